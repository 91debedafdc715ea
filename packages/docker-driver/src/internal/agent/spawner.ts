/** Commands inside: Effect's `ChildProcessSpawner` over a connection to the agent. */
import * as CommandPipeline from "@effect-sandbox/core/CommandPipeline"
import { CallLifetime, CommandUser } from "@effect-sandbox/core/SandboxDriver"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import type * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { signalNumber } from "../protocol/errno.ts"
import { errorStage, maxPayload, runFlag } from "../protocol/frames.ts"
import { Writer } from "../protocol/payload.ts"
import type { Connection } from "./connection.ts"
import { type End, Process } from "./process.ts"
import * as stdio from "./stdio.ts"
import { refuse, systemError } from "./systemError.ts"

export type Environment = { readonly [name: string]: string }

export interface Options {
  readonly connection: Connection
  /** What commands get unless they bring their own. */
  readonly environment: Environment
  /** From the polite signal to the final one at the end of a command's scope. Default: 2 seconds. */
  readonly forceKillAfter?: Duration.Input | undefined
}

/** The size of a terminal, in characters. */
export interface Size {
  readonly rows: number
  readonly columns: number
}

/** The terminal that a command gets, for those who offer one; `ChildProcess` has no word for it. */
export interface Terminal extends Size {
  /** The sizes that it has later. */
  readonly resizes: Stream.Stream<Size> | undefined
}

/** Set around `spawn` by whoever starts a command on a terminal. Pipelines have none. */
export const CommandTerminal = Context.Reference<Terminal | undefined>(
  "@effect-sandbox/docker-driver/internal/CommandTerminal",
  { defaultValue: () => undefined }
)

const shell = "/bin/sh"
const defaultForceKillAfter = "2 seconds"
const largestFd = 255

export const make = (options: Options): ChildProcessSpawner.ChildProcessSpawner["Service"] =>
  CommandPipeline.spawner((command) => spawn(options, command))

// --- one command -------------------------------------------------------------------------------------------------

const spawn = (options: Options, command: ChildProcess.StandardCommand) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber) => {
      const terminal = fiber.getRef(CommandTerminal)
      // A terminal is one stream each way.
      const streams = stdio.of(terminal === undefined ? command.options : { ...command.options, stderr: "ignore" })
      const prepared = prepare(options, command, streams, {
        lifetime: fiber.getRef(CallLifetime),
        user: fiber.getRef(CommandUser),
        terminal
      })
      if (prepared instanceof PlatformError.PlatformError) return Effect.fail(prepared)
      const { kill, payload } = prepared
      const process = new Process(options.connection, {
        detail: 0,
        payload,
        inputs: streams.inputs.map(({ fd }) => fd),
        outputs: streams.outputs.map(({ fd }) => fd),
        toStartError: (refusal) => startError(command, refusal)
      })
      return Effect.flatMap(
        Effect.onError(restore(process.started), () => process.kill),
        (pid) => {
          const attached = attach(options, command, streams, process, pid, kill)
          return terminal?.resizes === undefined
            ? attached
            : Effect.tap(attached, Effect.forkScoped(Stream.runForEach(terminal.resizes, process.resize)))
        }
      )
    })
  )

/** Gives the command that has started to its scope, and its handle to the caller. */
const attach = Effect.fnUntraced(function* (
  options: Options,
  command: ChildProcess.StandardCommand,
  streams: stdio.Stdio,
  process: Process,
  pid: number,
  killSignal: number
) {
  let isReferenced = true
  const end: End = {
    signal: killSignal,
    forceAfter: command.options.forceKillAfter ?? options.forceKillAfter ?? defaultForceKillAfter
  }
  const finish = Effect.suspend(() => {
    if (process.hasEnded || !isReferenced) return Effect.sync(() => process.release())
    return Effect.andThen(Effect.ignore(process.end(end)), process.kill)
  })
  // Who has read everything may be faster than the exit, and what was left behind must not depend on that (F1).
  yield* Effect.addFinalizer(() => Effect.andThen(process.settled, finish))
  let { exitCode } = process
  if (stdio.isFed(streams)) {
    const failed = Deferred.makeUnsafe<never, PlatformError.PlatformError>()
    yield* stdio.feed(streams, process, failed)
    // Input that broke off makes every exit code doubtful.
    exitCode = Effect.raceFirst(Deferred.await(failed), process.exitCode)
  }
  return ChildProcessSpawner.makeHandle({
    pid: ChildProcessSpawner.ProcessId(pid),
    exitCode,
    isRunning: process.isRunning,
    kill: (how) =>
      Effect.suspend(() => {
        const signal = signalNumber(how?.killSignal ?? "SIGTERM")
        return signal === undefined
          ? Effect.fail(badArgument("kill", `there is no signal ${how?.killSignal}`))
          : process.end({ signal, forceAfter: how?.forceKillAfter })
      }),
    stdin: stdio.input(streams, process, 0),
    stdout: stdio.output(streams, process, 1),
    stderr: stdio.output(streams, process, 2),
    all: stdio.both(streams, process),
    getInputFd: (fd) => (fd < 3 ? Sink.drain : stdio.input(streams, process, fd)),
    getOutputFd: (fd) => (fd < 3 ? Stream.empty : stdio.output(streams, process, fd)),
    unref: Effect.sync(() => {
      isReferenced = false
      return Effect.sync(() => {
        isReferenced = true
      })
    })
  })
})

const badArgument = (method: string, description: string) =>
  PlatformError.badArgument({ module: "ChildProcess", method, description })

const isInherited = (how: unknown): boolean =>
  how === "inherit" || (Predicate.hasProperty(how, "stream") && how.stream === "inherit")

const plain = (value: string | Redacted.Redacted<string>): string =>
  Redacted.isRedacted(value) ? Redacted.value(value) : value

/** What is to be sent, or why there is nothing that could be. */
const prepare = (
  { environment }: Options,
  command: ChildProcess.StandardCommand,
  streams: stdio.Stdio,
  {
    lifetime,
    terminal,
    user
  }: {
    readonly lifetime: "sandbox" | "session"
    readonly user: string | undefined
    readonly terminal: Size | undefined
  }
): { readonly payload: Writer; readonly kill: number } | PlatformError.PlatformError => {
  const { options } = command
  if ([options.stdin, options.stdout, options.stderr].some(isInherited)) {
    return badArgument("spawn", "a sandbox cannot inherit the host's streams; use the handle's")
  }
  const isScript = options.shell !== undefined && options.shell !== false
  if (isScript && command.args.length > 0) {
    return badArgument(
      "spawn",
      "the shell option cannot be combined with arguments; pass the whole script as the command"
    )
  }
  const kill = signalNumber(options.killSignal ?? "SIGTERM")
  if (kill === undefined) return badArgument("spawn", `there is no signal ${options.killSignal}`)
  if (streams.additional.some(({ fd }) => fd > largestFd)) {
    return badArgument("spawn", `descriptors go up to ${largestFd}`)
  }
  const argv = isScript
    ? [typeof options.shell === "string" ? options.shell : shell, "-c", command.command]
    : [command.command, ...command.args.map(plain)]
  const env = environmentOf(environment, options)
  const cwd = options.cwd ?? ""
  if (hasNul(argv) || hasNul(env) || hasNul([cwd, user ?? ""])) {
    return badArgument(
      "spawn",
      "the command, an argument, a variable, the user or the directory contains a NUL character"
    )
  }
  const flags =
    (streams.inputs.some(({ fd }) => fd === 0) ? runFlag.stdin : 0) |
    (lifetime === "sandbox" ? runFlag.sandbox : 0) |
    (terminal === undefined ? 0 : runFlag.terminal) |
    (streams.outputs.some(({ fd }) => fd === 1) ? 0 : runFlag.noStdout) |
    (terminal !== undefined || streams.outputs.some(({ fd }) => fd === 2) ? 0 : runFlag.noStderr)
  const payload = new Writer()
    .u8(flags)
    .str(user ?? "")
    .str(cwd)
    .strings(argv)
    .strings(env)
  payload.list(streams.additional, ({ direction, fd }) => payload.u32(fd).u8(direction))
  const noLimits = 0
  payload
    .u32(noLimits)
    .u16(terminal?.rows ?? 0)
    .u16(terminal?.columns ?? 0)
  if (payload.size > maxPayload) return refuse("ChildProcess", "spawn", command.command, "E2BIG")
  return { payload, kill }
}

const hasNul = (words: ReadonlyArray<string>): boolean => words.some((word) => word.includes("\0"))

const environmentOf = (base: Environment, options: ChildProcess.CommandOptions): ReadonlyArray<string> => {
  const own = options.env
  const names = own === undefined || options.extendEnv === true ? { ...base } : {}
  for (const [name, value] of Object.entries(own ?? {})) {
    if (value === undefined) delete names[name]
    else names[name] = plain(value)
  }
  return Object.entries(names).map(([name, value]) => `${name}=${value}`)
}

const startError = (
  { command, options }: ChildProcess.StandardCommand,
  refusal: { readonly errno: number; readonly stage: number; readonly message: string }
): PlatformError.PlatformError => {
  const what = { module: "ChildProcess", method: "spawn", errno: refusal.errno, message: refusal.message }
  switch (refusal.stage) {
    case errorStage.user:
      return systemError({ ...what, tag: "NotFound", message: refusal.message || "there is no such user" })
    case errorStage.cwd:
      return systemError({ ...what, pathOrDescriptor: options.cwd })
    default:
      return systemError({ ...what, pathOrDescriptor: command })
  }
}
