/**
 * A driver in memory for the core's own tests: it does nothing but what a test tells it, and counts what is alive.
 */
import {
  CallLifetime,
  ProcessSignalled,
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
  /** Runs before a file is read or written. */
  file: (spec: SandboxSpec, path: string) => Effect.Effect<unknown, PlatformError.PlatformError>
  /** Runs before a command is started. */
  spawn: (spec: SandboxSpec, command: string) => Effect.Effect<unknown, PlatformError.PlatformError>
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
    /** The same for the sandboxes of one image. */
    readonly peakOf: (image: string) => number
    /** Makes a sandbox die by itself. */
    readonly kill: (id: string) => Effect.Effect<void>
    /** Fails when the sandbox dies. */
    readonly awaitDeath: (id: string) => Effect.Effect<never, SandboxStateError>
    /** Every command with the lifetime it was started with: `sandbox daemon`, `session echo`. */
    readonly lifetimes: Array<string>
    /** Ends every running process of a command that waits for it (`daemon …`); false when there is none. */
    readonly endProcess: (command: string, code?: number) => Effect.Effect<boolean>
  }
>()("test/TestDriver") {}

export const stateError = (sandboxId: SandboxId, operation: string, description = "told to"): SandboxStateError =>
  new SandboxStateError({ sandboxId, operation, description })

/** A hook that does something on the n-th call (1 is the first), and nothing on the others. */
export const onNth = (n: number, hook: Hook): Hook => {
  let calls = 0
  return (spec) => Effect.suspend(() => (++calls === n ? hook(spec) : Effect.void))
}

/** A hook that fails with a state error. */
export const fails =
  (operation: string): Hook =>
  (spec) =>
    Effect.fail(stateError(spec.sandboxId, operation))

export const layer: Layer.Layer<TestDriver | SandboxDriver> = Layer.effectContext(
  Effect.sync(() => {
    const deaths = new Map<string, Deferred.Deferred<never, SandboxStateError>>()
    const calls: Array<string> = []
    let peak = 0
    let creating = 0
    const places = new Map<string, number>()
    const peaks = new Map<string, number>()
    const occupy = (image: string, change: 1 | -1): void => {
      const now = (places.get(image) ?? 0) + change
      places.set(image, now)
      peaks.set(image, Math.max(now, peaks.get(image) ?? 0))
    }
    const ok: Hook = () => Effect.void
    const faults: Faults = {
      create: ok,
      reset: ok,
      ping: ok,
      destroy: () => Effect.void,
      file: () => Effect.void,
      spawn: () => Effect.void
    }
    const processes: Processes = { calls, lifetimes: [], running: new Map() }

    const create = (spec: SandboxSpec): Effect.Effect<SandboxInstance, SandboxStateError, Scope.Scope> =>
      Effect.gen(function* () {
        calls.push(`create ${spec.sandboxId}`)
        creating++
        peak = Math.max(peak, creating + deaths.size)
        const died = yield* Effect.acquireRelease(
          Effect.sync(() => {
            creating--
            occupy(spec.image, 1)
            const died = Deferred.makeUnsafe<never, SandboxStateError>()
            deaths.set(spec.sandboxId, died)
            return died
          }),
          () =>
            Effect.suspend(() => {
              calls.push(`destroy ${spec.sandboxId}`)
              deaths.delete(spec.sandboxId)
              occupy(spec.image, -1)
              return faults.destroy(spec)
            })
        )
        yield* Effect.suspend(() => faults.create(spec))
        return {
          spawner: spawner(processes, died, (command) => Effect.suspend(() => faults.spawn(spec, command))),
          fileSystem: FileSystem.makeNoop({
            readFileString: (path) =>
              Effect.as(
                Effect.suspend(() => faults.file(spec, path)),
                `contents of ${path}`
              ),
            writeFileString: (path) => Effect.asVoid(Effect.suspend(() => faults.file(spec, path))),
            sink: (path) =>
              Sink.unwrap(
                Effect.as(
                  Effect.suspend(() => faults.file(spec, path)),
                  Sink.drain
                )
              )
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
      peakOf: (image) => peaks.get(image) ?? 0,
      lifetimes: processes.lifetimes,
      awaitDeath: (id) =>
        Effect.suspend(() => {
          const died = deaths.get(id)
          return died === undefined ? Effect.die(new Error(`${id} is not alive`)) : Deferred.await(died)
        }),
      endProcess: (command, code = 0) =>
        Effect.suspend(() => {
          const running = processes.running.get(command) ?? []
          processes.running.delete(command)
          return Effect.as(
            Effect.forEach(running, (ended) => Deferred.succeed(ended, code)),
            running.length > 0
          )
        }),
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

interface Processes {
  readonly calls: Array<string>
  readonly lifetimes: Array<string>
  /** Who waits to be ended, by command. */
  readonly running: Map<string, Array<Deferred.Deferred<number>>>
}

/**
 * Commands by name: `true`, `exit N`, `echo …`, `hang` (until killed), `zombie` (cannot be killed), `daemon` (until `endProcess`), `dies` (of
 * SIGKILL), `vanishes` (the system does not say how), `missing` (there is no such command).
 */
const spawner = (
  { calls, lifetimes, running }: Processes,
  died: Deferred.Deferred<never, SandboxStateError>,
  before: (command: string) => Effect.Effect<unknown, PlatformError.PlatformError>
) =>
  ChildProcessSpawner.make((command) =>
    Effect.gen(function* () {
      if (!ChildProcess.isStandardCommand(command)) return yield* Effect.die(new Error("pipes are not simulated"))
      lifetimes.push(`${yield* CallLifetime} ${command.command}`)
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
        () =>
          Effect.andThen(
            Effect.sync(() => calls.push(`kill ${command.command}`)),
            command.command === "zombie" ? Effect.never : Effect.void
          )
      )
      yield* before(command.command)
      const stdout =
        command.command === "echo" ? Stream.make(new TextEncoder().encode(`${args.join(" ")}\n`)) : Stream.empty
      const failed = (description: string, cause?: unknown) =>
        PlatformError.systemError({
          _tag: "BadResource",
          module: "ChildProcess",
          method: "exitCode",
          description,
          cause
        })
      const broken = Effect.mapError(Deferred.await(died), () => failed("channel closed"))
      const exit = (code: number) => Effect.succeed(ChildProcessSpawner.ExitCode(code))
      const exitCode = (): Effect.Effect<ChildProcessSpawner.ExitCode, PlatformError.PlatformError> => {
        switch (command.command) {
          case "hang":
          case "zombie":
            return broken
          case "daemon": {
            const ended = Deferred.makeUnsafe<number>()
            running.set("daemon", [...(running.get("daemon") ?? []), ended])
            return Effect.raceFirst(Effect.flatMap(Deferred.await(ended), exit), broken)
          }
          case "dies":
            return Effect.fail(failed("killed", new ProcessSignalled({ signal: "SIGKILL" })))
          case "vanishes":
            return Effect.fail(failed("nobody knows"))
          default:
            return exit(command.command === "exit" ? Number(args[0]) : 0)
        }
      }
      return ChildProcessSpawner.makeHandle({
        pid: ChildProcessSpawner.ProcessId(1),
        exitCode: exitCode(),
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
