import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Ref, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import * as engine from "../support/engine.ts"
import * as lab from "../support/lab.ts"

const limit = 60_000
const mebibyte = 1024 * 1024
/**
 * V8 lets 128 MiB of garbage outside of its heap gather before it insists on a collection; on a busy machine, at some
 * 500 MiB a second, as much again comes until that is over.
 */
const collectable = 256 * mebibyte

/** How much more memory this process had at most, while an effect ran, than before it. */
const peak = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const used = () => {
      const { arrayBuffers, heapUsed } = process.memoryUsage()
      return arrayBuffers + heapUsed
    }
    const before = used()
    const most = yield* Ref.make(0)
    const watch = Effect.forever(
      Effect.delay(
        Ref.update(most, (known) => Math.max(known, used() - before)),
        "20 millis"
      )
    )
    const value = yield* Effect.raceFirst(effect, watch)
    return { value, bytes: yield* Ref.get(most) }
  })

describe.skipIf(engine.missing !== undefined)(`much of everything${engine.because}`, () => {
  it.live(
    "a gigabyte of output that nobody wants is cut at bounded memory, and holds up no other command",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make()
        const body = Effect.gen(function* () {
          const flood = yield* Effect.forkChild(
            lab.exec("head", ["-c", "1000000000", "/dev/zero"], { maxOutputBytes: 1000 })
          )
          const waits: Array<number> = []
          while (flood.pollUnsafe() === undefined) {
            const [millis] = yield* lab.timed(lab.output("echo other"))
            waits.push(millis)
            yield* Effect.sleep(200)
          }
          return { result: yield* Fiber.join(flood), waits }
        })
        const { bytes, value } = yield* peak(environment.withSession({}, body))
        const { result, waits } = value
        assert.deepStrictEqual(result.outcome, lab.exited(0))
        assert.lengthOf(result.stdoutBytes, 1000)
        assert.deepStrictEqual(result.truncated, { stdout: true, stderr: false })
        assert.isBelow(bytes, collectable)
        assert.isNotEmpty(waits)
        assert.isBelow(waits.toSorted((a, b) => a - b)[waits.length >> 1] ?? 0, 1000)
      }),
    180_000 // a busy machine needs long for so much
  )

  it.live(
    "a gigabyte of output that is read slowly waits inside, at bounded memory on both sides",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make()
        const body = Effect.gen(function* () {
          const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
          const command = ChildProcess.make("head", ["-c", "1000000000", "/dev/zero"], { stdin: "ignore" })
          const handle = yield* spawner.spawn(command)
          let received = 0
          const reading = yield* Stream.runForEach(handle.stdout, (chunk) =>
            Effect.delay(
              Effect.sync(() => {
                received += chunk.length
              }),
              "20 millis"
            )
          ).pipe(Effect.forkChild)
          for (let i = 0; i < 20; i++) {
            assert.strictEqual(yield* lab.output("echo other"), "other\n")
            yield* Effect.sleep(50)
          }
          assert.isAbove(received, 0)
          assert.isBelow(received, 100 * mebibyte)
          yield* handle.kill({ killSignal: "SIGKILL" })
          yield* Fiber.await(reading)
        }).pipe(Effect.scoped)
        const { bytes } = yield* peak(environment.withSession({}, body))
        assert.isBelow(bytes, 128 * mebibyte)
        assert.strictEqual(yield* environment.withSession({}, lab.generation), 0)
      }),
    limit
  )

  it.live(
    "200 commands run in one sandbox at once, each with its own output and end",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({ driver: { defaults: { memory: 512 * mebibyte, pids: 2048 } } })
        const one = (index: number) =>
          Effect.map(lab.sh(`cat; echo ${index} >&2; sleep 1; exit ${index}`, { stdin: `in ${index}` }), (result) => {
            assert.deepStrictEqual(result.outcome, lab.exited(index))
            assert.strictEqual(result.stdout, `in ${index}`)
            assert.strictEqual(result.stderr, `${index}\n`)
          })
        const all = Effect.forEach(
          Array.from({ length: 200 }, (_, index) => index),
          one,
          { concurrency: "unbounded", discard: true }
        )
        const [millis] = yield* environment.withSession({}, lab.timed(all))
        // They do not wait for each other.
        assert.isBelow(millis, 20_000)
      }),
    limit
  )
})

describe.skipIf(engine.missing !== undefined)(
  `commands that do not end as one wishes${engine.because}`,
  { concurrent: true },
  () => {
    it.live(
      "F2 one that ignores the polite signal is killed after forceKillAfter, with all that it has started",
      () =>
        Effect.gen(function* () {
          const environment = yield* lab.make()
          const sleep = lab.token()
          const body = Effect.gen(function* () {
            const script = `trap "" TERM INT HUP; echo out; sh -c "sleep ${sleep}" & sleep ${sleep}; sleep ${sleep}`
            const result = yield* lab.sh(script, { timeout: "500 millis", forceKillAfter: "300 millis" })
            assert.deepStrictEqual(result.outcome, { _tag: "TimedOut", timeoutMillis: 500 })
            assert.strictEqual(result.stdout, "out\n")
            yield* lab.gone(sleep)
          })
          yield* environment.withSession({}, body)
        }),
      limit
    )

    it.live(
      "one that closes its descriptors is waited for all the same",
      () =>
        Effect.gen(function* () {
          const environment = yield* lab.make()
          const body = lab.timed(lab.sh("echo before; exec <&- >&- 2>&-; sleep 1; exit 7"))
          const [millis, result] = yield* environment.withSession({}, body)
          assert.deepStrictEqual(result.outcome, lab.exited(7))
          assert.strictEqual(result.stdout, "before\n")
          assert.isAtLeast(millis, 1000)
        }),
      limit
    )

    it.live(
      "F1 one that leaves a daemon behind returns at once, and the daemon ends with the session at the latest",
      () =>
        Effect.gen(function* () {
          const environment = yield* lab.make()
          const sleep = lab.token()
          const body = Effect.gen(function* () {
            // Its own session, twice forked, and with the command's output in its hands.
            const script = `(setsid sh -c "(trap '' TERM HUP; sleep ${sleep}; sleep ${sleep}) &" &) ; sleep ${sleep} & echo started`
            const [millis, result] = yield* lab.timed(lab.sh(script))
            assert.deepStrictEqual(result.outcome, lab.exited(0))
            assert.strictEqual(result.stdout, "started\n")
            assert.isBelow(millis, 3000)
            yield* lab.running(sleep, 2)
          })
          yield* environment.withSession({}, body)
          assert.strictEqual(yield* environment.withSession({}, lab.generation), 0)
          assert.deepStrictEqual(lab.processesWith(sleep), [])
        }),
      limit
    )

    it.live(
      "F2 a timeout finds what left the command's group and parent",
      () =>
        Effect.gen(function* () {
          const environment = yield* lab.make()
          const sleep = lab.token()
          const body = Effect.gen(function* () {
            const script = `(setsid sh -c "(trap '' TERM; sleep ${sleep}; sleep ${sleep}) &" &); sleep ${sleep}`
            const result = yield* lab.sh(script, { timeout: "500 millis", forceKillAfter: "200 millis" })
            assert.strictEqual(result.outcome._tag, "TimedOut")
            yield* lab.gone(sleep)
            assert.strictEqual(yield* lab.output("echo alive"), "alive\n")
          })
          yield* environment.withSession({}, body)
        }),
      limit
    )

    it.live(
      "S5 an interruption kills the command's tree, and the sandbox serves on",
      () =>
        Effect.gen(function* () {
          const environment = yield* lab.make()
          const sleep = lab.token()
          const body = Effect.gen(function* () {
            const running = yield* Effect.forkChild(lab.sh(`setsid sleep ${sleep} & sleep ${sleep}`))
            yield* lab.running(sleep, 2)
            const exit = yield* Effect.andThen(Fiber.interrupt(running), Fiber.await(running))
            assert.isTrue(Exit.hasInterrupts(exit))
            yield* lab.gone(sleep)
            assert.strictEqual(yield* lab.output("echo alive"), "alive\n")
          })
          yield* environment.withSession({}, body)
        }),
      limit
    )

    it.live(
      "nothing inside can end the agent",
      () =>
        Effect.gen(function* () {
          const environment = yield* lab.make()
          const body = Effect.gen(function* () {
            assert.strictEqual(
              yield* lab.output("for s in 9 15 2 19; do kill -$s 1; done; kill -9 -1; echo alive"),
              "alive\n"
            )
            const asRoot = yield* lab.sh("for s in 9 15 2 19; do kill -$s 1; done; echo alive", { user: "root" })
            assert.strictEqual(asRoot.stdout, "alive\n")
            assert.strictEqual(yield* lab.output("echo alive"), "alive\n")
          })
          yield* environment.withSession({}, body)
          assert.strictEqual(yield* environment.withSession({}, lab.generation), 0)
        }),
      limit
    )
  }
)
