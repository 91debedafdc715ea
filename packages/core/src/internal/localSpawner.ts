/** Commands of a local sandbox: the host's spawner with a clean environment, a place to start in, and isolation. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { CallLifetime, ProcessSignalled } from "../SandboxDriver.ts"
import * as bubblewrap from "./bubblewrap.ts"
import type { Places } from "./confinedFileSystem.ts"
import * as strays from "./strays.ts"

export interface Host {
  readonly files: FileSystem.FileSystem
  readonly path: Path.Path
  readonly spawner: ChildProcessSpawner.ChildProcessSpawner["Service"]
}

export interface Settings {
  readonly environment: { readonly [name: string]: string }
  readonly forceKillAfterMillis: number
  readonly isolation: bubblewrap.Settings | undefined
  /** The control group that commands join, which limits the number of processes. */
  readonly controlGroup: string | undefined
}

type Mark = ReturnType<typeof strays.mark>
type Environment = { [name: string]: string | Redacted.Redacted<string> }

const shell = "/bin/sh"
/** The report is in the pipe before the process exits; whoever else holds the pipe is dead by then. */
const reportLimit = "5 seconds"

const error = (tag: "NotFound" | "PermissionDenied", command: string, description: string) =>
  PlatformError.systemError({
    _tag: tag,
    module: "ChildProcess",
    method: "spawn",
    pathOrDescriptor: command,
    description
  })

const inherits = (stdio: unknown): boolean =>
  stdio === "inherit" || (Predicate.hasProperty(stdio, "stream") && stdio.stream === "inherit")

const isWithin = (root: string, target: string): boolean => target === root || target.startsWith(`${root}/`)

/** The file that a command's name stands for, looked for as `execvp` would. */
const findExecutable = (
  host: Host,
  command: string,
  cwd: string,
  searchPath: string,
  isVisible: (path: string) => boolean
) =>
  Effect.gen(function* () {
    const candidates = command.includes("/")
      ? [host.path.resolve(cwd, command)]
      : searchPath.split(":").map((directory) => host.path.resolve(cwd, directory, command))
    let found = false
    for (const candidate of candidates) {
      if (!isVisible(candidate)) continue
      const info = yield* Effect.option(host.files.stat(candidate))
      if (info._tag === "None") continue
      found = true
      if (info.value.type === "File" && (info.value.mode & 0o111) !== 0) return candidate
    }
    return yield* found
      ? error("PermissionDenied", command, "it is not an executable file")
      : error("NotFound", command, command.includes("/") ? "no such file" : `no such command in ${searchPath}`)
  })

/** The way a process of the host ended, for callers who need more than a message (F31). */
const translateExit = (failure: PlatformError.PlatformError): PlatformError.PlatformError => {
  const { cause } = failure
  const signal = Predicate.isError(cause) ? /signal: '?(SIG[A-Z0-9]+)'?/.exec(cause.message)?.[1] : undefined
  return signal === undefined ? failure : signalled(signal)
}

const signalled = (signal: string): PlatformError.PlatformError =>
  PlatformError.systemError({
    _tag: "Unknown",
    module: "ChildProcess",
    method: "exitCode",
    description: `the process was ended by ${signal}`,
    cause: new ProcessSignalled({ signal })
  })

export const make = (
  host: Host,
  places: Places & { readonly directory: string },
  settings: Settings
): ChildProcessSpawner.ChildProcessSpawner["Service"] => {
  const { isolation } = settings

  const isVisible = (target: string): boolean =>
    isolation === undefined ||
    bubblewrap.isVisible(isolation, host.path, target) ||
    Object.values(places).some((root) => isWithin(root, target))

  const workingDirectory = (cwd: string | undefined) =>
    Effect.gen(function* () {
      const target = host.path.resolve(places.workspace, cwd ?? ".")
      const real = yield* host.files.realPath(target)
      const { home, temporary, workspace } = places
      if ([workspace, temporary, home].some((root) => isWithin(root, real))) return real
      return yield* error("PermissionDenied", target, "the working directory is outside the sandbox")
    })

  let commands = 0

  const environment = (options: ChildProcess.CommandOptions, mark: Mark): Environment => {
    const wanted = options.env === undefined || options.extendEnv === true ? settings.environment : {}
    const result: Environment = {}
    for (const [name, value] of Object.entries({ ...wanted, ...options.env, ...mark })) {
      if (value !== undefined) result[name] = value
    }
    return result
  }

  /** One command as the host is to run it. */
  const standard = (command: ChildProcess.StandardCommand, mark: Mark, reports: boolean) =>
    Effect.gen(function* () {
      const { options } = command
      if (inherits(options.stdin) || inherits(options.stdout) || inherits(options.stderr)) {
        return yield* PlatformError.badArgument({
          module: "ChildProcess",
          method: "spawn",
          description: "a sandbox cannot inherit the host's streams; use the handle's"
        })
      }
      const lifetime = yield* CallLifetime
      const cwd = yield* workingDirectory(options.cwd)
      const env = environment(options, mark)
      const words =
        options.shell === undefined || options.shell === false
          ? [command.command, ...command.args]
          : [
              typeof options.shell === "string" ? options.shell : shell,
              "-c",
              [
                command.command,
                ...command.args.map((word) => (Redacted.isRedacted(word) ? Redacted.value(word) : word))
              ].join(" ")
            ]
      const name = String(words[0])
      const searchPath = env["PATH"] === undefined || Redacted.isRedacted(env["PATH"]) ? "/usr/bin:/bin" : env["PATH"]
      const executable = yield* findExecutable(host, name, cwd, searchPath, isVisible)
      const groups = settings.controlGroup === undefined ? "" : `echo $$ >"$0/cgroup.procs" || exit 125; `
      const shellName = settings.controlGroup ?? "sh"
      const full: ReadonlyArray<string | Redacted.Redacted<string>> =
        isolation !== undefined
          ? [
              shell,
              "-c",
              groups + bubblewrap.shielded,
              shellName,
              ...bubblewrap.commandLine(isolation, places, { executable, cwd, homeIsWritable: lifetime === "sandbox" }),
              ...words
            ]
          : settings.controlGroup === undefined
            ? words
            : [shell, "-c", `${groups}exec "$@"`, shellName, ...words]
      return ChildProcess.make(String(full[0]), full.slice(1), {
        ...options,
        cwd,
        env,
        extendEnv: false,
        shell: false,
        detached: true,
        forceKillAfter: options.forceKillAfter ?? settings.forceKillAfterMillis,
        ...(isolation !== undefined && reports
          ? { additionalFds: { ...options.additionalFds, [`fd${bubblewrap.reportFd}`]: { type: "output" as const } } }
          : {})
      })
    })

  const prepare = (
    command: ChildProcess.Command,
    mark: Mark,
    reports: boolean
  ): Effect.Effect<ChildProcess.Command, PlatformError.PlatformError> =>
    ChildProcess.isStandardCommand(command)
      ? standard(command, mark, reports)
      : Effect.gen(function* () {
          const left = yield* prepare(command.left, mark, false)
          const right = yield* prepare(command.right, mark, reports)
          return ChildProcess.pipeTo(left, right, command.options)
        })

  return ChildProcessSpawner.make((command) =>
    Effect.gen(function* () {
      const mark = strays.mark(places.directory, yield* CallLifetime, ++commands)
      const prepared = yield* prepare(command, mark, true)
      let killed = true
      if (isolation === undefined) {
        // The host's spawner kills the process group; this is for those who left it (F2).
        yield* Effect.addFinalizer(() =>
          Effect.suspend(() => (killed ? strays.kill(host, strays.ofCommand(mark)) : Effect.void))
        )
      }
      // Node throws where the system refuses at once, as it does an argument list that is too long.
      const handle = yield* Effect.catchDefect(host.spawner.spawn(prepared), (cause) =>
        Effect.fail(
          PlatformError.systemError({
            _tag: "Unknown",
            module: "ChildProcess",
            method: "spawn",
            description: Predicate.isError(cause) ? cause.message : "the system refused",
            cause
          })
        )
      )
      if (isolation === undefined) {
        // A command that had ended by itself was not killed, and what it left may stay until the session ends (F1).
        yield* Effect.addFinalizer(() =>
          Effect.map(
            Effect.orElseSucceed(handle.isRunning, () => true),
            (running) => {
              killed = running
            }
          )
        )
        return ChildProcessSpawner.makeHandle({ ...handle, exitCode: Effect.mapError(handle.exitCode, translateExit) })
      }
      const report = yield* Effect.forkScoped(
        Stream.mkString(Stream.decodeText(handle.getOutputFd(bubblewrap.reportFd)))
      )
      const exitCode = Effect.gen(function* () {
        const ended = yield* Effect.result(handle.exitCode)
        const text = yield* Fiber.join(report).pipe(
          Effect.timeoutOption(reportLimit),
          Effect.catch(() => Effect.succeedNone)
        )
        const end = text._tag === "Some" ? bubblewrap.parseReport(text.value) : undefined
        if (end !== undefined && "code" in end) return ChildProcessSpawner.ExitCode(end.code)
        if (end !== undefined && "signal" in end) return yield* signalled(end.signal)
        if (ended._tag === "Failure") return yield* translateExit(ended.failure)
        return yield* PlatformError.systemError({
          _tag: "Unknown",
          module: "ChildProcess",
          method: "exitCode",
          description:
            end === undefined
              ? `bubblewrap ended with ${ended.success} and did not say how the command ended`
              : `the command could not be started inside: error ${end.failed}`
        })
      })
      return ChildProcessSpawner.makeHandle({ ...handle, exitCode: yield* Effect.cached(exitCode) })
    })
  )
}
