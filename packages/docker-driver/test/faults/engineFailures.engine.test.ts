import { Sandbox } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Queue, Schedule, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import * as engine from "../support/engine.ts"
import * as lab from "../support/lab.ts"
import * as slowEngine from "../support/slowEngine.ts"

const hasSocket = engine.missing === undefined && (await Effect.runPromise(slowEngine.enginePath)) !== undefined
const isRemoval = (line: string) => /^DELETE \S*\/containers\//.test(line)
const isCreation = (line: string) => /^POST \S*\/containers\/create/.test(line)
const bytes = (text: string) => new TextEncoder().encode(text)

describe.skipIf(engine.missing !== undefined || !hasSocket)(`an engine that fails${engine.because}`, () => {
  it.live("F15 a removal that fails is tried again, until the container has gone", () =>
    Effect.gen(function* () {
      const way = yield* slowEngine.make
      yield* way.open
      const environment = yield* lab.make({ driver: { engine: { connection: way.address } }, pool: 0 })
      let refusals = 0
      yield* environment.withSession(
        {},
        Effect.gen(function* () {
          // Else the agent sees the end of its input, and nothing is left to be removed.
          yield* environment.docker.containers.pause(yield* lab.containerId)
          way.refuses = (line) => isRemoval(line) && refusals++ < 3
        })
      )
      yield* lab.eventually(
        "it is tried again",
        Effect.sync(() => refusals > 3),
        10_000
      )
      yield* lab.eventually(
        "it has gone",
        Effect.map(environment.containers, (found) => found.length === 0),
        10_000
      )
      assert.strictEqual((yield* environment.stats).ledger.leaked, 0)
    }).pipe(Effect.scoped)
  )

  it.live("F12 F23 what cannot be removed is counted as a leak, never taken for gone", () =>
    Effect.gen(function* () {
      const way = yield* slowEngine.make
      yield* way.open
      const environment = yield* lab.make({ driver: { engine: { connection: way.address } }, pool: 0 })
      yield* environment.withSession(
        {},
        Effect.gen(function* () {
          yield* environment.docker.containers.pause(yield* lab.containerId)
          way.refuses = isRemoval
        })
      )
      const leaked = Effect.map(environment.stats, ({ ledger }) => ledger.leaked === 1)
      yield* lab.eventually("the leak is counted", leaked, 20_000)
      assert.lengthOf(yield* environment.containers, 1)
      way.refuses = () => false
      yield* Effect.flatMap(environment.container, environment.docker.containers.remove)
    }).pipe(Effect.scoped)
  )

  it.live(
    "F22 creations that fail are tried again by the schedule and not faster, and succeed as soon as they can",
    () =>
      Effect.gen(function* () {
        const way = yield* slowEngine.make
        yield* way.open
        let attempts = 0
        let isFailing = true
        way.refuses = (line) => isCreation(line) && ++attempts > 0 && isFailing
        const environment = yield* lab.make({
          driver: { engine: { connection: way.address } },
          pool: { min: 0, max: 4 },
          outageRetry: Schedule.spaced("500 millis"),
          outageGracePeriod: "1 minute"
        })
        const waiting = yield* Effect.forkChild(
          Effect.all(
            Array.from({ length: 4 }, () => environment.withSession({}, Effect.void)),
            { concurrency: "unbounded" }
          )
        )
        yield* Effect.sleep("2 seconds")
        // One for each waiter at first, then one every half second.
        assert.isAtMost(attempts, 4 + 4)
        isFailing = false
        yield* Fiber.join(waiting).pipe(Effect.timeout("30 seconds"))
      }).pipe(Effect.scoped)
  )
})

describe.skipIf(engine.missing !== undefined)(`sandboxes and those who use them${engine.because}`, () => {
  it.live("F33 of many who want a sandbox at the same moment one at a time has it", () =>
    Effect.gen(function* () {
      const environment = yield* lab.make({ pool: { min: 2, max: 2 } })
      const within = new Map<string, number>()
      const racer = environment.withSession(
        {},
        Effect.gen(function* () {
          const { id } = yield* Sandbox
          within.set(id, (within.get(id) ?? 0) + 1)
          assert.strictEqual(within.get(id), 1)
          assert.strictEqual(yield* lab.output("ls; echo mine >file; cat file"), "mine\n")
          within.set(id, 0)
        })
      )
      yield* Effect.all(
        Array.from({ length: 60 }, () => racer),
        { concurrency: "unbounded", discard: true }
      )
      assert.strictEqual(within.size, 2)
    }).pipe(Effect.scoped)
  )

  it.live("F34 a shell that is told to exit has exited, is known to, and can be started again", () =>
    Effect.gen(function* () {
      const environment = yield* lab.make()
      yield* environment.withSession(
        {},
        Effect.gen(function* () {
          const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
          for (let round = 0; round < 2; round++) {
            const lines = yield* Queue.unbounded<Uint8Array>()
            const shell = yield* spawner.spawn(ChildProcess.make("sh", [], { stdin: Stream.fromQueue(lines) }))
            yield* Queue.offer(lines, bytes("echo before\nexit 0\n"))
            assert.strictEqual(Number(yield* Effect.timeout(shell.exitCode, "5 seconds")), 0)
            assert.isFalse(yield* shell.isRunning)
            yield* Queue.offer(lines, bytes("echo after\n"))
            assert.strictEqual(yield* Stream.mkString(Stream.decodeText(shell.stdout)), "before\n")
            assert.strictEqual(yield* lab.output("echo still here"), "still here\n")
          }
        }).pipe(Effect.scoped)
      )
    }).pipe(Effect.scoped)
  )

  it.live("F11 F12 an image that declares volumes leaves none", () =>
    Effect.gen(function* () {
      const text = `FROM ${lab.image}\nVOLUME /data`
      const source = { _tag: "Build", text, tag: "effect-sandbox-test/volumes" } as const
      const environment = yield* lab.make({
        images: ["volumes"],
        driver: { images: { volumes: { source } } }
      })
      const names = Effect.map(environment.docker.volumes.list([]), (found) =>
        found.map(({ Name }) => Name).filter((name) => !name.startsWith("effect-sandbox-agent-"))
      )
      const before = yield* names
      for (let session = 0; session < 2; session++) {
        const left = yield* environment.withSession({}, lab.output("ls /data; echo trace >/data/file; cat /data/file"))
        assert.strictEqual(left, "trace\n")
      }
      assert.deepStrictEqual(yield* names, before)
    }).pipe(Effect.scoped)
  )
})
