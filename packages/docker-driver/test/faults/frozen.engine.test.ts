import { SandboxStateError } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, FileSystem, Option } from "effect"
import * as engine from "../support/engine.ts"
import * as lab from "../support/lab.ts"

const limit = 40_000

describe.skipIf(engine.missing !== undefined)(`frozen containers${engine.because}`, { concurrent: true }, () => {
  it.live(
    "F19 one that is frozen for less than the limit of missed pings goes on as if nothing had been",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({
          keepaliveInterval: "100 millis",
          pingTimeout: "500 millis",
          missedPings: 6
        })
        const body = Effect.gen(function* () {
          const id = yield* lab.containerId
          const counting = yield* Effect.forkChild(
            lab.output("for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; usleep 100000; done")
          )
          yield* Effect.sleep(300)
          yield* environment.docker.containers.pause(id)
          yield* Effect.sleep(1200)
          yield* environment.docker.containers.unpause(id)
          return [yield* Fiber.join(counting), yield* lab.output("echo after")]
        })
        const found = yield* environment.withSession({}, body)
        assert.deepStrictEqual(found, ["1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", "after\n"])
        assert.strictEqual(yield* environment.withSession({}, lab.generation), 0)
      }),
    limit
  )

  it.live(
    "F19 one whose processor time is used up by its own commands is slow, and not dead",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({
          driver: { defaults: { cpus: 0.2 } },
          keepaliveInterval: "200 millis",
          pingTimeout: "2 seconds",
          missedPings: 3
        })
        const body = Effect.gen(function* () {
          const spinning = Array.from({ length: 10 }, () => lab.sh("while :; do :; done", { timeout: "5 seconds" }))
          const results = yield* Effect.all(spinning, { concurrency: "unbounded" })
          for (const { outcome } of results) assert.strictEqual(outcome._tag, "TimedOut")
          assert.strictEqual(yield* lab.output("echo alive"), "alive\n")
        })
        yield* environment.withSession({}, body)
        assert.strictEqual(yield* environment.withSession({}, lab.generation), 0)
      }),
    limit
  )

  it.live(
    "F3 F24 one that stays frozen is replaced after the limit of missed pings; until then the environment answers",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({
          keepaliveInterval: "200 millis",
          pingTimeout: "500 millis",
          missedPings: 3,
          pool: { min: 0, max: 2 }
        })
        const frozen = yield* Deferred.make<void>()
        const body = Effect.gen(function* () {
          yield* environment.docker.containers.pause(yield* lab.containerId)
          yield* Deferred.succeed(frozen, undefined)
          return yield* lab.exec("true", [], { forceKillAfter: "100 millis" })
        })
        const session = yield* Effect.forkChild(lab.timed(Effect.flip(environment.withSession({}, body))))
        yield* Deferred.await(frozen)
        const [askedMillis, stats] = yield* lab.timed(environment.stats)
        assert.strictEqual(stats.sessions, 1)
        assert.strictEqual(yield* environment.status, "Online")
        assert.isBelow(askedMillis, 100)
        // Others are served meanwhile.
        assert.strictEqual(yield* environment.withSession({}, lab.output("echo other")), "other\n")
        const [millis, error] = yield* Fiber.join(session)
        assert.instanceOf(error, SandboxStateError)
        assert.match(error.message, /3 pings in a row took longer than 500 ms/)
        // The pings, and then as long as the kill of the command may take.
        assert.isBelow(millis, 15_000)
        assert.strictEqual(yield* environment.withSession({}, lab.output("echo again")), "again\n")
        // A frozen container can be removed all the same.
        const states = Effect.map(environment.containers, (found) => found.map(({ State }) => State))
        yield* lab.eventually(
          "the frozen one is gone",
          Effect.map(states, (found) => !found.includes("paused"))
        )
      }),
    limit
  )

  it.live(
    "F3 a command with a timeout ends at its deadline, though nobody inside hears of it",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make()
        const body = Effect.gen(function* () {
          const id = yield* lab.containerId
          const running = yield* Effect.forkChild(
            lab.timed(Effect.flip(lab.exec("sleep", ["100"], { timeout: "1 second", forceKillAfter: "100 millis" })))
          )
          yield* Effect.sleep(200)
          yield* environment.docker.containers.pause(id)
          const [millis, error] = yield* Fiber.join(running)
          assert.instanceOf(error, SandboxStateError)
          assert.match(error.message, /could not be killed within/)
          return millis
        })
        const millis = yield* Effect.flip(environment.withSession({}, body)).pipe(
          lab.timed,
          Effect.map(([millis, error]) => {
            assert.instanceOf(error, SandboxStateError)
            return millis
          })
        )
        // The deadline, the grace, and as long as a kill may take.
        assert.isBelow(millis, 10_000)
        assert.strictEqual(yield* environment.withSession({}, lab.generation), 1)
      }),
    limit
  )

  it.live(
    "F3 S4 a session that waits for a file of a frozen sandbox ends when the pings are missed",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({
          keepaliveInterval: "200 millis",
          pingTimeout: "300 millis",
          missedPings: 3
        })
        const body = Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          yield* environment.docker.containers.pause(yield* lab.containerId)
          return yield* files.readFileString("/etc/passwd")
        })
        const [millis, error] = yield* lab.timed(Effect.flip(environment.withSession({}, body)))
        assert.instanceOf(error, SandboxStateError)
        assert.match(error.message, /pings in a row/)
        assert.isBelow(millis, 15_000)
        assert.strictEqual(yield* environment.withSession({}, lab.generation), 1)
      }),
    limit
  )

  it.live(
    "F3 an operation on a file with a timeout ends at it, though nobody inside hears of it",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make()
        const body = Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          const id = yield* lab.containerId
          yield* environment.docker.containers.pause(id)
          yield* Effect.forkChild(Effect.delay(environment.docker.containers.unpause(id), "12 seconds"))
          const [millis, answer] = yield* lab.timed(Effect.timeoutOption(files.exists("/etc/passwd"), "500 millis"))
          assert.isTrue(Option.isNone(answer))
          assert.isBelow(millis, 10_000)
          // Late answers are nobody's, and do no harm.
          assert.isTrue(yield* files.exists("/etc/passwd"))
        })
        yield* environment.withSession({}, body)
      }),
    limit
  )

  it.live(
    "F3 F26 one that freezes while it is cleaned is replaced, and holds nobody up for ever",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({
          driver: { engine: { timeout: "3 seconds" } },
          keepaliveInterval: "200 millis",
          pingTimeout: "300 millis",
          missedPings: 3
        })
        const body = Effect.flatMap(lab.containerId, environment.docker.containers.pause)
        yield* environment.withSession({}, body)
        const [millis, generation] = yield* lab.timed(environment.withSession({}, lab.generation))
        assert.strictEqual(generation, 1)
        assert.isBelow(millis, 15_000)
      }),
    limit
  )
})
