/** A driver that does nothing: what is measured with it is the library itself. */
import { SandboxDriver } from "@effect-sandbox/core"
import { Effect, FileSystem, Layer, Sink, Stream } from "effect"
import { ChildProcessSpawner } from "effect/process"

const handle = ChildProcessSpawner.makeHandle({
  pid: ChildProcessSpawner.ProcessId(1),
  exitCode: Effect.succeed(ChildProcessSpawner.ExitCode(0)),
  isRunning: Effect.succeed(false),
  kill: () => Effect.void,
  stdin: Sink.drain,
  stdout: Stream.empty,
  stderr: Stream.empty,
  all: Stream.empty,
  getInputFd: () => Sink.drain,
  getOutputFd: () => Stream.empty,
  unref: Effect.succeed(Effect.void)
})

const instance = {
  spawner: ChildProcessSpawner.make(() => Effect.succeed(handle)),
  fileSystem: FileSystem.makeNoop({}),
  workdir: "/workspace",
  ping: Effect.void,
  reset: Effect.void,
  awaitDeath: Effect.never
}

export const layer: Layer.Layer<SandboxDriver> = Layer.succeed(SandboxDriver, {
  name: "noop",
  create: () => Effect.succeed(instance)
})
