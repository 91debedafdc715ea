/** Commands of a local sandbox: the host's spawner with a clean environment, a place to start in, and isolation. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
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

export interface LocalSpawner {
  readonly spawner: ChildProcessSpawner.ChildProcessSpawner["Service"]
  /** Ends the commands of a lifetime that still run. */
  readonly end: (lifetime: Lifetime) => Effect.Effect<void>
}

type Lifetime = (typeof CallLifetime)["Service"]
type Mark = ReturnType<typeof strays.mark>
type Environment = { [name: string]: string | Redacted.Redacted<string> }

const shell = "/bin/sh"
/** The report is in the pipe before the process exits; whoever else holds the pipe is dead by then. */
const reportLimit = "5 seconds"

/** What is dead leaves at once; this is for what the kernel does not let go of. */
const killLimit = "5 seconds"
/** The system's numbers of errors that have a name here. */
const startFailures: { readonly [number: number]: "NotFound" | "PermissionDenied" } = {
  2: "NotFound",
  13: "PermissionDenied"
}

const error = (tag: "NotFound" | "PermissionDenied" | "Unknown", command: string, description: string) =>
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

/** Whether an error tells how a process of the host ended. */
const isExit = ({ reason }: PlatformError.PlatformError): boolean =>
  reason.module === "ChildProcess" && reason.method === "exitCode"

const signalled = (signal: string): PlatformError.PlatformError =>
  PlatformError.systemError({
    _tag: "Unknown",
    module: "ChildProcess",
    method: "exitCode",
    description: `the process was ended by ${signal}`,
    cause: new ProcessSignalled({ signal })
  })

export const make = (host: Host, places: Places & { readonly directory: string }, settings: Settings): LocalSpawner => {
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

  /** Commands that have not been seen to their end yet. */
  const running = new Map<ChildProcessSpawner.ChildProcessHandle, Lifetime>()

  const spawnOnHost = (prepared: ChildProcess.Command) =>
    Effect.gen(function* () {
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
      yield* Effect.acquireRelease(
        Effect.flatMap(CallLifetime, (lifetime) => Effect.sync(() => running.set(handle, lifetime))),
        () => Effect.sync(() => running.delete(handle))
      )
      return handle
    })

  const spawnWithoutIsolation = (prepared: ChildProcess.Command, mark: Mark) =>
    Effect.gen(function* () {
      let killed = true
      // The host's spawner kills the process group; this is for those who left it (F2).
      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => (killed ? strays.kill(host, strays.ofCommand(mark)) : Effect.void))
      )
      const handle = yield* spawnOnHost(prepared)
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
    })

  const spawnIsolated = (prepared: ChildProcess.Command, name: string) =>
    Effect.gen(function* () {
      /** Closes after the command was ended, so that its end can still be read. */
      const reading = yield* Scope.fork(yield* Scope.Scope)
      const handle = yield* spawnOnHost(prepared)
      const began = Deferred.makeUnsafe<void>()
      const reported = Deferred.makeUnsafe<void>()
      let report = bubblewrap.parseReport("")
      let said = ""
      const reader = handle.getOutputFd(bubblewrap.reportFd).pipe(
        Stream.decodeText(),
        Stream.runForEach((text) =>
          Effect.sync(() => {
            said += text
            report = bubblewrap.parseReport(said)
            if (report.start !== undefined) Deferred.doneUnsafe(began, Effect.void)
          })
        ),
        Effect.ignore,
        Effect.ensuring(
          Effect.sync(() => {
            Deferred.doneUnsafe(began, Effect.void)
            Deferred.doneUnsafe(reported, Effect.void)
          })
        )
      )
      yield* Effect.forkIn(reader, reading, { startImmediately: true })
      yield* Scope.addFinalizer(reading, Effect.ignore(Effect.timeoutOption(Deferred.await(reported), reportLimit)))
      // Polite signals would be lost until the command has begun, and there is nobody to be polite to.
      yield* Effect.onError(Deferred.await(began), () => Effect.ignore(handle.kill({ killSignal: "SIGKILL" })))
      if (typeof report.start === "number") {
        return yield* error(
          startFailures[report.start] ?? "Unknown",
          name,
          `it cannot be executed: error ${report.start}`
        )
      }
      const exitCode = Effect.gen(function* () {
        const ended = yield* Effect.result(handle.exitCode)
        // An input that broke off is told before the end, and in place of it.
        if (ended._tag === "Failure" && !isExit(ended.failure)) return yield* ended.failure
        yield* Effect.timeoutOption(Deferred.await(reported), reportLimit)
        const { end } = report
        if (end !== undefined && "code" in end) return ChildProcessSpawner.ExitCode(end.code)
        if (end !== undefined) return yield* signalled(end.signal)
        if (ended._tag === "Failure") return yield* translateExit(ended.failure)
        return yield* PlatformError.systemError({
          _tag: "Unknown",
          module: "ChildProcess",
          method: "exitCode",
          description: `bubblewrap ended with ${ended.success} and did not say how the command ended`
        })
      })
      return ChildProcessSpawner.makeHandle({ ...handle, exitCode })
    })

  return {
    spawner: ChildProcessSpawner.make((command) =>
      Effect.gen(function* () {
        const mark = strays.mark(places.directory, yield* CallLifetime, ++commands)
        const prepared = yield* prepare(command, mark, true)
        return yield* isolation === undefined
          ? spawnWithoutIsolation(prepared, mark)
          : spawnIsolated(prepared, nameOf(command))
      })
    ),
    end: (lifetime) =>
      Effect.suspend(() => {
        const handles = [...running].flatMap(([handle, of]) => (of === lifetime ? [handle] : []))
        const end = ({ isRunning, kill }: ChildProcessSpawner.ChildProcessHandle) =>
          Effect.flatMap(isRunning, (is) =>
            is ? Effect.timeoutOption(kill({ killSignal: "SIGKILL" }), killLimit) : Effect.void
          )
        return Effect.forEach(handles, (handle) => Effect.ignore(end(handle)), {
          concurrency: "unbounded",
          discard: true
        })
      })
  }
}

const nameOf = (command: ChildProcess.Command): string =>
  ChildProcess.isStandardCommand(command) ? command.command : nameOf(command.right)
