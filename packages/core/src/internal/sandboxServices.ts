/**
 * What programs inside a sandbox are given: its handle, Effect's `FileSystem`, `Path` and `ChildProcessSpawner`. Each
 * is bound to a session (or to the sandbox's set-up) and refuses to work once that is over (L18); every operation is
 * an activity (V4).
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as PlatformError from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { type FeatureId, pathSegment } from "../Id.ts"
import type { Result } from "../Command.ts"
import { type ExecError, Sandbox } from "../Sandbox.ts"
import { CallLifetime, type SandboxInstance } from "../SandboxDriver.ts"
import { SandboxStateError, SessionEndedError, UnsupportedOptionError } from "../SandboxError.ts"
import { causeInfo, emit, now } from "./engine.ts"
import { exec } from "./exec.ts"
import type { SandboxRuntime, SessionRuntime } from "./sandboxRuntime.ts"
import * as span from "./span.ts"

type SandboxService = Sandbox["Service"]

/** Who uses the services: a session, or the set-up of the sandbox when there is none. */
interface User {
  readonly sandbox: SandboxRuntime
  readonly instance: SandboxInstance
  readonly session: SessionRuntime | undefined
  readonly scope: Scope.Scope
}

const isOver = ({ sandbox, session }: User): boolean =>
  session === undefined ? sandbox.status === "Offline" : session.phase === "ended"

const refusal = (user: User, operation: string): SessionEndedError | SandboxStateError | undefined => {
  const { sandbox, session } = user
  if (isOver(user)) return new SessionEndedError({ sandboxId: sandbox.id, sessionId: session?.id, operation })
  return sandbox.death // nothing is sent into a channel that is known to be broken (F4)
}

/** The same as an error of the platform, for services that can fail with nothing else. */
const platformRefusal = (error: SessionEndedError | SandboxStateError, method: string): PlatformError.PlatformError =>
  PlatformError.systemError({
    _tag: "BadResource",
    module: "Sandbox",
    method,
    description: error.message,
    cause: error
  })

/** Runs an effect as a named activity: an event, a span, and a sign of life for the idle limit. */
const activity = <A, E, R>(
  user: User,
  name: string,
  effect: Effect.Effect<A, E, R>,
  featureId?: FeatureId,
  process?: { readonly [attribute: `process.${string}`]: string }
): Effect.Effect<A, E, R> => {
  const timed = Effect.suspend(() => {
    if (isOver(user)) return effect // it goes on, but it is nothing to the sandbox any more
    const {
      engine,
      id: sandboxId,
      pool: { image }
    } = user.sandbox
    const started = now(engine)
    user.session?.enter()
    return Effect.onExit(effect, (exit) =>
      Effect.sync(() => {
        user.session?.leave()
        if (user.sandbox.status === "Offline") return
        emit(engine, (timestamp) => {
          const facts = {
            environmentId: engine.config.id,
            timestamp,
            sandboxId,
            image,
            sessionId: user.session?.id,
            name,
            durationMillis: timestamp - started,
            error: exit._tag === "Failure" ? causeInfo(exit.cause) : undefined
          }
          return featureId === undefined
            ? { _tag: "SandboxActivity", ...facts }
            : { _tag: "FeatureActivity", featureId, ...facts }
        })
      })
    )
  })
  const attributes = () => ({
    "sandbox.environment.id": user.sandbox.engine.config.id,
    "sandbox.id": user.sandbox.id,
    "sandbox.image": user.sandbox.pool.image,
    "sandbox.session.id": user.session?.id,
    "sandbox.feature.id": featureId,
    ...process
  })
  return span.around(timed, name, attributes, process === undefined ? "internal" : "client")
}

/** Tells the driver whether a call belongs to a session or to set-up. */
const inLifetime = <A, E, R>(user: User, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  user.session === undefined ? Effect.provideService(effect, CallLifetime, "sandbox") : effect

/**
 * One user's view of the file system. Its methods are getters: an object that is made for every session should not
 * carry thirty closures that few sessions use. (Copies by `{ ...fileSystem }` are therefore empty.)
 */
class GuardedFileSystem implements FileSystem.FileSystem {
  readonly #user: User
  constructor(user: User) {
    this.#user = user
  }

  #run<A, R>(
    method: string,
    use: (files: FileSystem.FileSystem) => Effect.Effect<A, PlatformError.PlatformError, R>
  ): Effect.Effect<A, PlatformError.PlatformError, R> {
    const user = this.#user
    return Effect.suspend(() => {
      const refused = refusal(user, `use the file system (${method})`)
      return refused === undefined
        ? activity(user, `fs.${method}`, inLifetime(user, use(user.instance.fileSystem)))
        : Effect.fail(platformRefusal(refused, method))
    })
  }

  get "~effect/FileSystem"() {
    return "~effect/FileSystem" as const
  }

  get access(): FileSystem.FileSystem["access"] {
    return (path, options) => this.#run("access", (files) => files.access(path, options))
  }

  get copy(): FileSystem.FileSystem["copy"] {
    return (from, to, options) => this.#run("copy", (files) => files.copy(from, to, options))
  }

  get copyFile(): FileSystem.FileSystem["copyFile"] {
    return (from, to) => this.#run("copyFile", (files) => files.copyFile(from, to))
  }

  get chmod(): FileSystem.FileSystem["chmod"] {
    return (path, mode) => this.#run("chmod", (files) => files.chmod(path, mode))
  }

  get chown(): FileSystem.FileSystem["chown"] {
    return (path, uid, gid) => this.#run("chown", (files) => files.chown(path, uid, gid))
  }

  get glob(): FileSystem.FileSystem["glob"] {
    return (pattern, options) => this.#run("glob", (files) => files.glob(pattern, options))
  }

  get exists(): FileSystem.FileSystem["exists"] {
    return (path) => this.#run("exists", (files) => files.exists(path))
  }

  get link(): FileSystem.FileSystem["link"] {
    return (from, to) => this.#run("link", (files) => files.link(from, to))
  }

  get lstat(): FileSystem.FileSystem["lstat"] {
    return (path) => this.#run("lstat", (files) => files.lstat(path))
  }

  get makeDirectory(): FileSystem.FileSystem["makeDirectory"] {
    return (path, options) => this.#run("makeDirectory", (files) => files.makeDirectory(path, options))
  }

  get makeTempDirectory(): FileSystem.FileSystem["makeTempDirectory"] {
    return (options) => this.#run("makeTempDirectory", (files) => files.makeTempDirectory(options))
  }

  get makeTempDirectoryScoped(): FileSystem.FileSystem["makeTempDirectoryScoped"] {
    return (options) => this.#run("makeTempDirectory", (files) => files.makeTempDirectoryScoped(options))
  }

  get makeTempFile(): FileSystem.FileSystem["makeTempFile"] {
    return (options) => this.#run("makeTempFile", (files) => files.makeTempFile(options))
  }

  get makeTempFileScoped(): FileSystem.FileSystem["makeTempFileScoped"] {
    return (options) => this.#run("makeTempFile", (files) => files.makeTempFileScoped(options))
  }

  get open(): FileSystem.FileSystem["open"] {
    return (path, options) => this.#run("open", (files) => files.open(path, options))
  }

  get readDirectory(): FileSystem.FileSystem["readDirectory"] {
    return (path, options) => this.#run("readDirectory", (files) => files.readDirectory(path, options))
  }

  get readDirectoryEntries(): FileSystem.FileSystem["readDirectoryEntries"] {
    return (path) => this.#run("readDirectory", (files) => files.readDirectoryEntries(path))
  }

  get readFile(): FileSystem.FileSystem["readFile"] {
    return (path) => this.#run("readFile", (files) => files.readFile(path))
  }

  get readFileString(): FileSystem.FileSystem["readFileString"] {
    return (path, encoding) => this.#run("readFile", (files) => files.readFileString(path, encoding))
  }

  get readLink(): FileSystem.FileSystem["readLink"] {
    return (path) => this.#run("readLink", (files) => files.readLink(path))
  }

  get realPath(): FileSystem.FileSystem["realPath"] {
    return (path) => this.#run("realPath", (files) => files.realPath(path))
  }

  get remove(): FileSystem.FileSystem["remove"] {
    return (path, options) => this.#run("remove", (files) => files.remove(path, options))
  }

  get rename(): FileSystem.FileSystem["rename"] {
    return (from, to) => this.#run("rename", (files) => files.rename(from, to))
  }

  get stat(): FileSystem.FileSystem["stat"] {
    return (path) => this.#run("stat", (files) => files.stat(path))
  }

  get symlink(): FileSystem.FileSystem["symlink"] {
    return (from, to) => this.#run("symlink", (files) => files.symlink(from, to))
  }

  get truncate(): FileSystem.FileSystem["truncate"] {
    return (path, length) => this.#run("truncate", (files) => files.truncate(path, length))
  }

  get utimes(): FileSystem.FileSystem["utimes"] {
    return (path, atime, mtime) => this.#run("utimes", (files) => files.utimes(path, atime, mtime))
  }

  get writeFile(): FileSystem.FileSystem["writeFile"] {
    return (path, data, options) => this.#run("writeFile", (files) => files.writeFile(path, data, options))
  }

  get writeFileString(): FileSystem.FileSystem["writeFileString"] {
    return (path, data, options) => this.#run("writeFile", (files) => files.writeFileString(path, data, options))
  }

  get sink(): FileSystem.FileSystem["sink"] {
    return (path, options) => Sink.unwrap(this.#run("writeFile", (files) => Effect.succeed(files.sink(path, options))))
  }

  get stream(): FileSystem.FileSystem["stream"] {
    return (path, options) =>
      Stream.unwrap(this.#run("readFile", (files) => Effect.succeed(files.stream(path, options))))
  }

  get watch(): FileSystem.FileSystem["watch"] {
    return (path, options) => Stream.unwrap(this.#run("watch", (files) => Effect.succeed(files.watch(path, options))))
  }
}

/** What a command is called in activities: its file's name. */
const commandName = (command: ChildProcess.Command): string =>
  ChildProcess.isStandardCommand(command) ? fileName(command.command) : commandName(command.right)

const fileName = (path: string): string => path.slice(path.lastIndexOf("/") + 1)

/** A spawner whose processes end with the session, if not earlier (S5). */
const spawner = (user: User, quiet: boolean): ChildProcessSpawner.ChildProcessSpawner["Service"] =>
  ChildProcessSpawner.make((command) =>
    Effect.suspend(() => {
      const name = commandName(command)
      const refused = refusal(user, `run ${name}`)
      if (refused !== undefined) return Effect.fail(platformRefusal(refused, "spawn"))
      const spawn = Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const scope = yield* Scope.fork(user.scope)
          yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
          return yield* restore(inLifetime(user, Scope.provide(user.instance.spawner.spawn(command), scope)))
        })
      )
      return quiet ? spawn : activity(user, `spawn ${name}`, spawn, undefined, { "process.executable.name": name })
    })
  )

/** One user's handle of the sandbox; what it can do are getters, for the reason given above. */
class SandboxHandle implements SandboxService {
  readonly #user: User
  readonly #featureId: FeatureId | undefined
  constructor(user: User, featureId: FeatureId | undefined) {
    this.#user = user
    this.#featureId = featureId
  }

  get id() {
    return this.#user.sandbox.id
  }

  get image() {
    return this.#user.sandbox.pool.image
  }

  get slot() {
    return this.#user.sandbox.slot
  }

  get generation() {
    return this.#user.sandbox.generation
  }

  get workdir() {
    return this.#user.instance.workdir
  }

  get home() {
    const { instance, sandbox } = this.#user
    const home = instance.home ?? instance.workdir
    return this.#featureId === undefined ? home : sandbox.engine.path.join(home, pathSegment(this.#featureId))
  }

  get isolation() {
    return this.#user.instance.isolation ?? { level: "unknown" }
  }

  get status() {
    return Effect.sync(() => this.#user.sandbox.status)
  }

  get stateErrors() {
    return Effect.sync(() => [...this.#user.sandbox.stateErrors])
  }

  get exec(): SandboxService["exec"] {
    const user = this.#user
    const { instance, sandbox } = user
    return (command, args = [], options = {}) =>
      Effect.suspend((): Effect.Effect<Result, ExecError> => {
        const refused = refusal(user, `run ${command}`)
        if (refused !== undefined) return Effect.fail(refused)
        if (options.user !== undefined && instance.capabilities?.user !== true) {
          return Effect.fail(new UnsupportedOptionError({ driver: sandbox.engine.driver.name, option: "user" }))
        }
        const target = { sandboxId: sandbox.id, spawner: spawner(user, true), background: sandbox.engine.background }
        // A broken channel shows as an error of the platform first; what it means is that the sandbox is gone (F4).
        const run = Effect.mapError(exec(target, command, args, options), (error) => sandbox.death ?? error).pipe(
          Effect.tap(({ outcome }) =>
            outcome._tag === "Exited" ? span.annotate(() => ({ "process.exit.code": outcome.code })) : Effect.void
          )
        )
        const process = { "process.executable.name": fileName(command) }
        return Effect.tapError(activity(user, `exec ${command}`, run, this.#featureId, process), (error) =>
          error._tag === "SandboxStateError" ? Effect.sync(() => sandbox.condemn(error)) : Effect.void
        )
      })
  }

  get activity(): SandboxService["activity"] {
    return (name, effect) => activity(this.#user, name, effect, this.#featureId)
  }

  get report(): SandboxService["report"] {
    const { sandbox, session } = this.#user
    return (error) =>
      Effect.sync(() => {
        // A late finding replaces the sandbox, but does not end the session of who came next (L18).
        if (session?.phase === "ended" && sandbox.status === "InSession") sandbox.record(error)
        else sandbox.condemn(error)
      })
  }

  get ping(): SandboxService["ping"] {
    const { instance, sandbox } = this.#user
    return Effect.suspend(() =>
      sandbox.status === "Offline"
        ? Effect.fail(
            new SandboxStateError({ sandboxId: sandbox.id, operation: "ping", description: "the sandbox is offline" })
          )
        : instance.ping
    )
  }

  get service(): SandboxService["service"] {
    return (key) => Context.getOption(this.#user.instance.services ?? Context.empty(), key)
  }
}

/** The host's paths, but relative ones start in the workspace. The same for all users of a sandbox. */
export const pathIn = (path: Path.Path, workdir: string): Path.Path => ({
  ...path,
  resolve: (...segments) => path.resolve(workdir, ...segments)
})

/** The services for one user of a sandbox, added to those that all users share. */
export const make = (user: User, shared: Context.Context<never>): Context.Context<never> =>
  shared.pipe(
    Context.add(Sandbox, new SandboxHandle(user, undefined)),
    Context.add(FileSystem.FileSystem, new GuardedFileSystem(user)),
    Context.add(ChildProcessSpawner.ChildProcessSpawner, spawner(user, false))
  )

/** The same services for one feature, whose activities bear its name. */
export const forFeature = (
  services: Context.Context<never>,
  user: User,
  featureId: FeatureId
): Context.Context<never> => Context.add(services, Sandbox, new SandboxHandle(user, featureId))
