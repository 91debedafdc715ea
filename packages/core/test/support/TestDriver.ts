/**
 * A driver in memory for the core's own tests: it does nothing but what a test tells it, and counts what is alive.
 */
import {
  type SandboxId,
  SandboxDriver,
  type SandboxInstance,
  type SandboxSpec,
  SandboxStateError
} from "@effect-sandbox/core"
import { Context, Deferred, Effect, FileSystem, Layer, PlatformError, type Scope, Sink, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"

type Hook = (spec: SandboxSpec) => Effect.Effect<unknown, SandboxStateError>

export interface Faults {
  /** Runs in the middle of `create`, after the first resource was taken. */
  create: Hook
  reset: Hook
  ping: Hook
  /** Runs when the instance is taken down; what it dies with is what the driver could not destroy. */
  destroy: (spec: SandboxSpec) => Effect.Effect<unknown>
}

export class TestDriver extends Context.Service<
  TestDriver,
  {
    readonly faults: Faults
    /** What is alive, in order of creation. */
    readonly alive: () => ReadonlyArray<string>
    /** Everything that was asked for, in order. */
    readonly calls: Array<string>
    /** The largest number of instances that were ever alive or being created at once. */
    readonly peak: () => number
    /** Makes a sandbox die by itself. */
    readonly kill: (id: string) => Effect.Effect<void>
  }
>()("test/TestDriver") {}

export const stateError = (sandboxId: SandboxId, operation: string, description = "told to"): SandboxStateError =>
  new SandboxStateError({ sandboxId, operation, description })

export const layer: Layer.Layer<TestDriver | SandboxDriver> = Layer.effectContext(
  Effect.sync(() => {
    const deaths = new Map<string, Deferred.Deferred<never, SandboxStateError>>()
    const calls: Array<string> = []
    let peak = 0
    let creating = 0
    const ok: Hook = () => Effect.void
    const faults: Faults = { create: ok, reset: ok, ping: ok, destroy: () => Effect.void }

    const create = (spec: SandboxSpec): Effect.Effect<SandboxInstance, SandboxStateError, Scope.Scope> =>
      Effect.gen(function* () {
        calls.push(`create ${spec.sandboxId}`)
        creating++
        peak = Math.max(peak, creating + deaths.size)
        const died = yield* Effect.acquireRelease(
          Effect.sync(() => {
            creating--
            const died = Deferred.makeUnsafe<never, SandboxStateError>()
            deaths.set(spec.sandboxId, died)
            return died
          }),
          () =>
            Effect.suspend(() => {
              calls.push(`destroy ${spec.sandboxId}`)
              deaths.delete(spec.sandboxId)
              return faults.destroy(spec)
            })
        )
        yield* Effect.suspend(() => faults.create(spec))
        return {
          spawner: spawner(calls, died),
          fileSystem: FileSystem.makeNoop({
            readFileString: (path) => Effect.succeed(`contents of ${path}`),
            writeFileString: () => Effect.void
          }),
          workdir: "/workspace",
          ping: Effect.suspend(() => {
            calls.push(`ping ${spec.sandboxId}`)
            return Effect.asVoid(faults.ping(spec))
          }),
          reset: Effect.suspend(() => {
            calls.push(`reset ${spec.sandboxId}`)
            return Effect.asVoid(faults.reset(spec))
          }),
          awaitDeath: Deferred.await(died),
          isolation: { level: "simulated" }
        }
      })

    return Context.make(TestDriver, {
      faults,
      calls,
      alive: () => [...deaths.keys()],
      peak: () => peak,
      kill: (id) =>
        Effect.suspend(() => {
          const died = deaths.get(id)
          return died === undefined
            ? Effect.die(new Error(`${id} is not alive`))
            : Deferred.fail(died, stateError(id as SandboxId, "life", "killed by the test"))
        })
    }).pipe(Context.add(SandboxDriver, { name: "test", create }))
  })
)

/** Commands by name: `true`, `exit N`, `echo …`, `hang` (until killed), `dies` (of SIGKILL). */
const spawner = (calls: Array<string>, died: Deferred.Deferred<never, SandboxStateError>) =>
  ChildProcessSpawner.make((command) =>
    Effect.gen(function* () {
      if (!ChildProcess.isStandardCommand(command)) return yield* Effect.die(new Error("pipes are not simulated"))
      if (command.command === "missing") {
        return yield* PlatformError.systemError({
          _tag: "NotFound",
          module: "ChildProcess",
          method: "spawn",
          pathOrDescriptor: "missing"
        })
      }
      const args = command.args.map(String)
      yield* Effect.acquireRelease(
        Effect.sync(() => calls.push(`spawn ${command.command}`)),
        () => Effect.sync(() => calls.push(`kill ${command.command}`))
      )
      const stdout =
        command.command === "echo" ? Stream.make(new TextEncoder().encode(`${args.join(" ")}\n`)) : Stream.empty
      const broken = PlatformError.systemError({
        _tag: "BadResource",
        module: "ChildProcess",
        method: "exitCode",
        description: "channel closed"
      })
      return ChildProcessSpawner.makeHandle({
        pid: ChildProcessSpawner.ProcessId(1),
        exitCode:
          command.command === "hang"
            ? Effect.mapError(Deferred.await(died), () => broken)
            : Effect.succeed(ChildProcessSpawner.ExitCode(command.command === "exit" ? Number(args[0]) : 0)),
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
    })
  )
