/** `exec` where the event loop is busy with other things. */
import { Environment, Sandbox, SandboxDriver } from "@effect-sandbox/core"
import { assert, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Sink, Stream } from "effect"
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

const driver = Layer.succeed(SandboxDriver, {
  name: "late",
  create: () =>
    Effect.succeed({
      spawner: ChildProcessSpawner.make(() =>
        Effect.succeed(
          ChildProcessSpawner.makeHandle({
            pid: ChildProcessSpawner.ProcessId(1),
            exitCode: Effect.succeed(ChildProcessSpawner.ExitCode(0)),
            isRunning: Effect.succeed(false),
            kill: () => Effect.void,
            stdin: Sink.drain,
            stdout: late,
            stderr: Stream.empty,
            all: late,
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
