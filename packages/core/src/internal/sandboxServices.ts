/**
 * What programs inside a sandbox are given: its handle, Effect's `FileSystem`, `Path` and `ChildProcessSpawner`. Each
 * is bound to a session (or to the sandbox's set-up) and refuses to work once that is over (L18); every operation is
 * an activity (V4).
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as PlatformError from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { FeatureId } from "../Id.ts"
import type { Result } from "../Command.ts"
import { type ExecError, Sandbox } from "../Sandbox.ts"
import type { SandboxInstance } from "../SandboxDriver.ts"
import { SessionEndedError, UnsupportedOptionError } from "../SandboxError.ts"
import { causeInfo, emit, now } from "./engine.ts"
import { exec } from "./exec.ts"
import type { SandboxRuntime, SessionRuntime } from "./sandboxRuntime.ts"

/** Who uses the services: a session, or the set-up of the sandbox when there is none. */
interface User {
  readonly sandbox: SandboxRuntime
  readonly instance: SandboxInstance
  readonly session: SessionRuntime | undefined
  readonly scope: Scope.Scope
}

const refusal = (user: User, operation: string): SessionEndedError | undefined => {
  const over = user.session === undefined ? user.sandbox.status === "Offline" : user.session.phase === "ended"
  return over
    ? new SessionEndedError({ sandboxId: user.sandbox.id, sessionId: user.session?.id, operation })
    : undefined
}

/** The same as an error of the platform, for services that can fail with nothing else. */
const platformRefusal = (error: SessionEndedError, method: string): PlatformError.PlatformError =>
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
  featureId?: FeatureId
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
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
  }).pipe((timed) =>
    // Suspended: with proactive set-up an activity may be described before its session has an id.
    Effect.suspend(() =>
      Effect.withSpan(timed, name, {
        attributes: {
          "sandbox.id": user.sandbox.id,
          "sandbox.image": user.sandbox.pool.image,
          "session.id": user.session?.id
        }
      })
    )
  )

const fileSystem = (user: User): FileSystem.FileSystem => {
  const files = user.instance.fileSystem
  const run = <A, R>(method: string, effect: () => Effect.Effect<A, PlatformError.PlatformError, R>) =>
    Effect.suspend(() => {
      const refused = refusal(user, `use the file system (${method})`)
      return refused === undefined
        ? activity(user, `fs.${method}`, effect())
        : Effect.fail(platformRefusal(refused, method))
    })
  return {
    ...files,
    access: (path, options) => run("access", () => files.access(path, options)),
    copy: (from, to, options) => run("copy", () => files.copy(from, to, options)),
    copyFile: (from, to) => run("copyFile", () => files.copyFile(from, to)),
    chmod: (path, mode) => run("chmod", () => files.chmod(path, mode)),
    chown: (path, uid, gid) => run("chown", () => files.chown(path, uid, gid)),
    glob: (pattern, options) => run("glob", () => files.glob(pattern, options)),
    exists: (path) => run("exists", () => files.exists(path)),
    link: (from, to) => run("link", () => files.link(from, to)),
    lstat: (path) => run("lstat", () => files.lstat(path)),
    makeDirectory: (path, options) => run("makeDirectory", () => files.makeDirectory(path, options)),
    makeTempDirectory: (options) => run("makeTempDirectory", () => files.makeTempDirectory(options)),
    makeTempDirectoryScoped: (options) => run("makeTempDirectory", () => files.makeTempDirectoryScoped(options)),
    makeTempFile: (options) => run("makeTempFile", () => files.makeTempFile(options)),
    makeTempFileScoped: (options) => run("makeTempFile", () => files.makeTempFileScoped(options)),
    open: (path, options) => run("open", () => files.open(path, options)),
    readDirectory: (path, options) => run("readDirectory", () => files.readDirectory(path, options)),
    readDirectoryEntries: (path) => run("readDirectory", () => files.readDirectoryEntries(path)),
    readFile: (path) => run("readFile", () => files.readFile(path)),
    readFileString: (path, encoding) => run("readFile", () => files.readFileString(path, encoding)),
    readLink: (path) => run("readLink", () => files.readLink(path)),
    realPath: (path) => run("realPath", () => files.realPath(path)),
    remove: (path, options) => run("remove", () => files.remove(path, options)),
    rename: (from, to) => run("rename", () => files.rename(from, to)),
    stat: (path) => run("stat", () => files.stat(path)),
    symlink: (from, to) => run("symlink", () => files.symlink(from, to)),
    truncate: (path, length) => run("truncate", () => files.truncate(path, length)),
    utimes: (path, atime, mtime) => run("utimes", () => files.utimes(path, atime, mtime)),
    writeFile: (path, data, options) => run("writeFile", () => files.writeFile(path, data, options)),
    writeFileString: (path, data, options) => run("writeFile", () => files.writeFileString(path, data, options)),
    sink: (path, options) => files.sink(path, options),
    stream: (path, options) =>
      Stream.unwrap(
        Effect.as(
          run("readFile", () => Effect.void),
          files.stream(path, options)
        )
      ),
    watch: (path, options) =>
      Stream.unwrap(
        Effect.as(
          run("watch", () => Effect.void),
          files.watch(path, options)
        )
      )
  }
}

/** What a command is called in activities: its file's name. */
const commandName = (command: ChildProcess.Command): string =>
  ChildProcess.isStandardCommand(command)
    ? command.command.slice(command.command.lastIndexOf("/") + 1)
    : commandName(command.right)

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
          return yield* restore(Scope.provide(user.instance.spawner.spawn(command), scope))
        })
      )
      return quiet ? spawn : activity(user, `spawn ${name}`, spawn)
    })
  )

const handle = (user: User, featureId: FeatureId | undefined): Sandbox["Service"] => {
  const { instance, sandbox } = user
  const quietSpawner = spawner(user, true)
  return Sandbox.of({
    id: sandbox.id,
    image: sandbox.pool.image,
    slot: sandbox.slot,
    generation: sandbox.generation,
    workdir: instance.workdir,
    isolation: instance.isolation ?? { level: "unknown" },
    status: Effect.sync(() => sandbox.status),
    stateErrors: Effect.sync(() => [...sandbox.stateErrors]),
    exec: (command, args = [], options = {}) =>
      Effect.suspend((): Effect.Effect<Result, ExecError> => {
        const refused = refusal(user, `run ${command}`)
        if (refused !== undefined) return Effect.fail(refused)
        if (options.user !== undefined && instance.capabilities?.user !== true) {
          return Effect.fail(new UnsupportedOptionError({ driver: sandbox.engine.driver.name, option: "user" }))
        }
        const target = { sandboxId: sandbox.id, spawner: quietSpawner, background: user.sandbox.engine.background }
        const run = Effect.catch(exec(target, command, args, options), (error) =>
          // A broken channel shows as an error of the platform first; what it means is that the sandbox is gone (F4).
          Effect.fail(sandbox.death ?? error)
        )
        return Effect.tapError(activity(user, `exec ${command}`, run, featureId), (error) =>
          error._tag === "SandboxStateError" ? Effect.sync(() => sandbox.condemn(error)) : Effect.void
        )
      }),
    activity: (name, effect) => activity(user, name, effect, featureId),
    report: (error) => Effect.sync(() => sandbox.condemn(error)),
    ping: instance.ping,
    service: (key) => Context.getOption(instance.services ?? Context.empty(), key)
  })
}

const pathIn = (path: Path.Path, workdir: string): Path.Path => ({
  ...path,
  resolve: (...segments) => path.resolve(workdir, ...segments)
})

/** The services for one user of a sandbox. */
export const make = (user: User): Context.Context<never> =>
  Context.empty().pipe(
    Context.add(Sandbox, handle(user, undefined)),
    Context.add(FileSystem.FileSystem, fileSystem(user)),
    Context.add(Path.Path, pathIn(user.sandbox.engine.path, user.instance.workdir)),
    Context.add(ChildProcessSpawner.ChildProcessSpawner, spawner(user, false))
  )

/** The same services for one feature, whose activities bear its name. */
export const forFeature = (
  services: Context.Context<never>,
  user: User,
  featureId: FeatureId
): Context.Context<never> => Context.add(services, Sandbox, handle(user, featureId))
