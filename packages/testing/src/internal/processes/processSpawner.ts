/** The processes of a simulated sandbox as the host sees them: Effect's `ChildProcessSpawner`. */
import * as CommandPipeline from "@effect-sandbox/core/CommandPipeline"
import { CallLifetime, ProcessSignalled } from "@effect-sandbox/core/SandboxDriver"
import * as Effect from "effect/Effect"
import * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import type * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type { ExitStatus } from "../../SimProgram.ts"
import * as files from "./processFiles.ts"
import { type Environment, initialUmask, type Process } from "./process.ts"
import type { Kernel } from "./processKernel.ts"
import { Stdio } from "./processStdio.ts"

export interface Options {
  readonly kernel: Kernel
  readonly environment: Environment
  readonly workdir: string
  /** What comes before a command starts: its latency, its faults. */
  readonly onSpawn: (command: string) => Effect.Effect<void, PlatformError.PlatformError>
}

const shell = "/bin/sh"
const forceKillAfter = "2 seconds"
/** How long a kill that need not be enforced waits for the rest of the group. */
const groupGrace = "1 second"

export const make = (options: Options): ChildProcessSpawner.ChildProcessSpawner["Service"] =>
  CommandPipeline.spawner((command) => spawn(options, command))

// --- one command -------------------------------------------------------------------------------------------------

const spawn = Effect.fnUntraced(function* (options: Options, command: ChildProcess.StandardCommand) {
  const { kernel } = options
  yield* refuse(command)
  yield* Effect.raceFirst(options.onSpawn(command.command), kernel.gone)
  const lifetime = yield* CallLifetime
  const cwd = files.resolvePath(options.workdir, command.options.cwd ?? ".")
  const view = kernel.files({ cwd, lifetime, umask: initialUmask })
  yield* files.requireDirectory(view, cwd)
  const environment = environmentOf(options.environment, command.options)
  const program = yield* kernel.executables.find(wordsOf(command), { cwd, environment, files: view })
  const stdio = new Stdio(command.options)
  const starting = kernel.start({
    parent: undefined,
    argv: program.argv,
    environment,
    cwd,
    lifetime,
    descriptors: stdio.descriptors,
    body: program.body
  })
  let isReferenced = true
  const process = yield* Effect.acquireRelease(starting.pipe(Effect.onExit(() => stdio.handOver)), (process) =>
    Effect.andThen(
      Effect.suspend(() => (process.isEnded || !isReferenced ? Effect.void : killTree(process, command.options))),
      stdio.abandon
    )
  )
  yield* Effect.acquireRelease(
    Effect.sync(() => kernel.haltListeners.add(stdio.break)),
    () => Effect.sync(() => kernel.haltListeners.delete(stdio.break))
  )
  yield* stdio.feed
  const exit = Effect.flatMap(process.status, exitOf)
  return ChildProcessSpawner.makeHandle({
    pid: ChildProcessSpawner.ProcessId(process.pid),
    // Input that broke off makes every exit code doubtful.
    exitCode: stdio.isFed ? Effect.raceFirst(stdio.inputFailure, exit) : exit,
    isRunning: Effect.suspend(() => {
      const { halted } = kernel
      return halted === undefined ? Effect.succeed(!process.isEnded) : Effect.fail(halted)
    }),
    kill: (how) =>
      Effect.suspend(() => {
        const { halted } = kernel
        return halted === undefined ? killGroup(process, how ?? {}) : Effect.fail(halted)
      }),
    stdin: stdio.input(0),
    stdout: stdio.output(1),
    stderr: stdio.output(2),
    all: Stream.merge(stdio.output(1), stdio.output(2)),
    getInputFd: (fd) => (fd < 3 ? Sink.drain : stdio.input(fd)),
    getOutputFd: (fd) => (fd < 3 ? Stream.empty : stdio.output(fd)),
    unref: Effect.sync(() => {
      isReferenced = false
      return Effect.sync(() => {
        isReferenced = true
      })
    })
  })
})

const badArgument = (description: string) =>
  Effect.fail(PlatformError.badArgument({ module: "ChildProcess", method: "spawn", description }))

const isInherited = (stdio: unknown): boolean =>
  stdio === "inherit" || (Predicate.hasProperty(stdio, "stream") && stdio.stream === "inherit")

const plain = (value: string | Redacted.Redacted<string>): string =>
  Redacted.isRedacted(value) ? Redacted.value(value) : value

/** What no system would start. */
const refuse = ({ args, command, options }: ChildProcess.StandardCommand) => {
  if ([options.stdin, options.stdout, options.stderr].some(isInherited)) {
    return badArgument("a sandbox cannot inherit the host's streams; use the handle's")
  }
  if (options.shell !== undefined && options.shell !== false && args.length > 0) {
    return badArgument("the shell option cannot be combined with arguments; pass the whole script as the command")
  }
  const values = Object.values(options.env ?? {}).map((value) => (value === undefined ? "" : plain(value)))
  return [command, ...args.map(plain), ...values].some((word) => word.includes("\0"))
    ? badArgument("the command, an argument or a variable contains a NUL character")
    : Effect.void
}

const wordsOf = ({ args, command, options }: ChildProcess.StandardCommand): readonly [string, ...Array<string>] =>
  options.shell === undefined || options.shell === false
    ? [command, ...args.map(plain)]
    : [typeof options.shell === "string" ? options.shell : shell, "-c", command]

const environmentOf = (base: Environment, options: ChildProcess.CommandOptions): Environment => {
  const result: { [name: string]: string } = options.env === undefined || options.extendEnv === true ? { ...base } : {}
  for (const [name, value] of Object.entries(options.env ?? {})) {
    if (value === undefined) delete result[name]
    else result[name] = plain(value)
  }
  return result
}

/** What the system said about an end; a signal is no exit code (F31). */
const exitOf = (status: ExitStatus) =>
  status._tag === "Exited"
    ? Effect.succeed(ChildProcessSpawner.ExitCode(status.code))
    : Effect.fail(
        PlatformError.systemError({
          _tag: "Unknown",
          module: "ChildProcess",
          method: "exitCode",
          description: `the process was ended by ${status.signal}`,
          cause: new ProcessSignalled({ signal: status.signal })
        })
      )

/** Ends a process group, first politely. Without `forceKillAfter` it may take for ever. */
const killGroup = (process: Process, how: ChildProcess.KillOptions): Effect.Effect<void> => {
  const isMeant = ({ pgid }: Process) => pgid === process.pid
  const { kernel } = process
  const gone = kernel.ended(isMeant)
  const asked = kernel.signalAll(isMeant, how.killSignal ?? "SIGTERM")
  if (how.forceKillAfter === undefined) {
    const leaderGone = kernel.ended((other) => other === process)
    return Effect.all([asked, leaderGone, Effect.timeoutOption(gone, groupGrace)], { discard: true })
  }
  const forced = Effect.andThen(Effect.sleep(how.forceKillAfter), kernel.signalAll(isMeant, "SIGKILL"))
  return Effect.andThen(
    asked,
    Effect.suspend(() => Effect.raceFirst(gone, forced))
  )
}

/** Ends a process with everything that came from it, also what left its group (F2). */
const killTree = (process: Process, how: ChildProcess.KillOptions): Effect.Effect<void> =>
  Effect.andThen(
    killGroup(process, { killSignal: how.killSignal, forceKillAfter: how.forceKillAfter ?? forceKillAfter }),
    process.kernel.signalAll(({ origin }) => origin === process.pid, "SIGKILL")
  )
