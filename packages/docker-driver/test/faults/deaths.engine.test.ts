import { SandboxStateError } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import * as engine from "../support/engine.ts"
import * as lab from "../support/lab.ts"

const limit = 30_000

/** What somebody else does to a container, and what is said of it. */
const ways: ReadonlyArray<{
  readonly name: string
  readonly says: RegExp
  readonly kill: (docker: lab.Docker, id: string) => Effect.Effect<unknown, unknown>
}> = [
  {
    name: "kill -9 of the first process, from the host",
    says: /died with exit code 137/,
    kill: ({ containers }, id) =>
      Effect.map(containers.inspect(id), ({ State }) => {
        assert.isAbove(State.Pid, 1)
        process.kill(State.Pid, "SIGKILL")
      })
  },
  {
    name: "docker rm -f",
    says: /died with exit code 137/,
    kill: ({ containers }, id) => containers.remove(id)
  },
  {
    name: "docker kill",
    says: /died with exit code 137/,
    kill: ({ containers }, id) => containers.kill(id)
  },
  {
    name: "docker stop",
    says: /died with exit code 0/,
    kill: ({ containers }, id) => Effect.asVoid(containers.stop(id, 10))
  }
]

describe.skipIf(engine.missing !== undefined)(`deaths of containers${engine.because}`, { concurrent: true }, () => {
  for (const { kill, name, says } of ways) {
    it.live(
      `S4 H2 F29 ${name} interrupts the session at once and names the cause; the next generation takes its place`,
      () =>
        Effect.gen(function* () {
          const environment = yield* lab.make()
          const struck = yield* Deferred.make<number>()
          const strike = Effect.gen(function* () {
            const id = yield* lab.containerId
            yield* Effect.sleep(100)
            yield* Deferred.succeed(struck, performance.now())
            yield* kill(environment.docker, id).pipe(Effect.forkDetach)
            return yield* Effect.never
          })
          const body = Effect.all([strike, lab.exec("sleep", [lab.token()])], { concurrency: 2 })
          const error = yield* Effect.flip(environment.withSession({ id: "first" }, body))
          const millis = performance.now() - (yield* Deferred.await(struck))
          assert.instanceOf(error, SandboxStateError)
          assert.match(error.message, says)
          assert.isBelow(millis, 2000, "the body ran on")
          assert.strictEqual(yield* environment.withSession({ id: "second" }, lab.generation), 1)
          const lines = yield* environment.recorder.lines
          assert.includeMembers(
            [...lines],
            [
              "env/effect-sandbox-test/shell:0:0 InSession -> ExitingSession",
              "env/effect-sandbox-test/shell:0:0 ShuttingDown -> Offline",
              "session second started"
            ]
          )
        }),
      limit
    )
  }

  it.live(
    "F4 a command that was running fails with the sandbox's death, and so does all that comes after it",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make()
        const errors: Array<unknown> = []
        const body = Effect.gen(function* () {
          const id = yield* lab.containerId
          yield* Effect.addFinalizer(() =>
            Effect.gen(function* () {
              errors.push(yield* Effect.flip(lab.exec("true")))
            }).pipe(Effect.orDie)
          )
          yield* Effect.sleep(200).pipe(Effect.andThen(environment.docker.containers.kill(id)), Effect.forkChild)
          return yield* Effect.tapError(lab.exec("sleep", [lab.token()]), (error) =>
            Effect.sync(() => errors.push(error))
          )
        }).pipe(Effect.scoped)
        const error = yield* Effect.flip(environment.withSession({}, body))
        assert.instanceOf(error, SandboxStateError)
        assert.isNotEmpty(errors)
        for (const one of errors) assert.include(["SandboxStateError", "SessionEndedError"], (one as Error).name)
      }),
    limit
  )

  it.live(
    "H2 F21 one that dies while nobody uses it is replaced, and its corpse is handed to nobody",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({ pool: 1 })
        const id = yield* environment.container
        yield* environment.docker.containers.kill(id)
        assert.strictEqual(yield* environment.withSession({}, Effect.as(lab.output("true"), 1)), 1)
        const { ledger } = yield* environment.stats
        assert.strictEqual(ledger.created, 2)
      }),
    limit
  )

  it.live(
    "F31 a command that is killed from the host was signalled, and the sandbox lives on",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make()
        const sleep = lab.token()
        const body = Effect.gen(function* () {
          const command = yield* Effect.forkChild(lab.sh(`echo before; exec sleep ${sleep}`))
          yield* lab.running(sleep)
          for (const pid of lab.processesWith(sleep)) lab.kill(Number(pid))
          const result = yield* Fiber.join(command)
          assert.deepStrictEqual(result.outcome, { _tag: "Signalled", signal: "SIGKILL" })
          assert.strictEqual(result.stdout, "before\n")
          assert.strictEqual(yield* lab.output("echo alive"), "alive\n")
        })
        yield* environment.withSession({}, body)
        assert.strictEqual(yield* environment.withSession({}, lab.generation), 0)
      }),
    limit
  )

  it.live(
    "F31 when everything but the first process is killed from the host, every command ends, and the next ones run",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make()
        const sleep = lab.token()
        const body = Effect.gen(function* () {
          const { State } = yield* environment.docker.containers.inspect(yield* lab.containerId)
          const commands = yield* Effect.forEach([1, 2, 3], () =>
            Effect.forkChild(lab.sh(`setsid sleep ${sleep} & sleep ${sleep}`))
          )
          yield* lab.running(sleep, 6)
          const others = lab.processesBeside(State.Pid)
          assert.isAtLeast(others.length, 6)
          for (const pid of others) lab.kill(pid)
          for (const command of commands) {
            const { outcome } = yield* Fiber.join(command)
            assert.include(["Signalled", "Unknown"], outcome._tag)
          }
          yield* lab.gone(sleep)
          assert.strictEqual(yield* lab.output("echo alive"), "alive\n")
        })
        yield* environment.withSession({}, body)
        assert.strictEqual(yield* environment.withSession({}, lab.output("echo again")), "again\n")
      }),
    limit
  )
})
