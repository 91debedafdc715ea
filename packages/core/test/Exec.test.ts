/** `exec` where the event loop is busy with other things. */
import { Environment, ProcessOutOfMemory, Sandbox, SandboxDriver } from "@effect-sandbox/core"
import { assert, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, PlatformError, Sink, Stream } from "effect"
import { ChildProcessSpawner } from "effect/process"

/** Output that takes some turns of the event loop from the transport to the stream, as any decoder's does. */
const late = Stream.encodeText(
  Stream.fromEffect(
    Effect.as(
      Effect.forEach(Array.from({ length: 40 }), () => Effect.yieldNow),
      "on\n"
    )
  )
)

/** A driver all of whose commands have this output and this end. */
const driverOf = (
  stdout: ChildProcessSpawner.ChildProcessHandle["stdout"],
  exitCode: ChildProcessSpawner.ChildProcessHandle["exitCode"]
) =>
  Layer.succeed(SandboxDriver, {
    name: "scripted",
    create: () =>
      Effect.succeed({
        spawner: ChildProcessSpawner.make(() =>
          Effect.succeed(
            ChildProcessSpawner.makeHandle({
              pid: ChildProcessSpawner.ProcessId(1),
              exitCode,
              isRunning: Effect.succeed(false),
              kill: () => Effect.void,
              stdin: Sink.drain,
              stdout,
              stderr: Stream.empty,
              all: stdout,
              getInputFd: () => Sink.drain,
              getOutputFd: () => Stream.empty,
              unref: Effect.succeed(Effect.void)
            })
          )
        ),
        fileSystem: FileSystem.makeNoop({}),
        workdir: "/",
        ping: Effect.void,
        reset: Effect.void,
        awaitDeath: Effect.never
      })
  })

const driver = driverOf(late, Effect.succeed(ChildProcessSpawner.ExitCode(0)))

it.live("F14 F18 output that is on its way when the command has exited arrives, however long a turn takes", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ images: ["base"], pool: 1 })
    let isBusy = true
    const spin = () => {
      const end = performance.now() + 5
      while (performance.now() < end) {
        // other work
      }
      if (isBusy) setImmediate(spin)
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => setImmediate(spin)),
      () =>
        Effect.sync(() => {
          isBusy = false
        })
    )
    for (let i = 0; i < 5; i++) {
      const run = Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("echo", ["on"]))
      assert.strictEqual((yield* env.withSession({}, run)).stdout, "on\n")
    }
  }).pipe(Effect.provide(driver))
)

it.effect("F25 a command that the system killed for want of memory is told as such, with the limit", () =>
  Effect.gen(function* () {
    const cause = new ProcessOutOfMemory({ limitBytes: 67_108_864 })
    const error = PlatformError.systemError({ _tag: "Unknown", module: "ChildProcess", method: "exitCode", cause })
    const env = yield* Environment.make({ images: ["base"], pool: 1 }).pipe(
      Effect.provide(driverOf(Stream.empty, Effect.fail(error)))
    )
    const { outcome } = yield* env.withSession(
      {},
      Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("greedy"))
    )
    assert.deepStrictEqual(outcome, { _tag: "MemoryLimit", limitBytes: 67_108_864 })
  })
)
