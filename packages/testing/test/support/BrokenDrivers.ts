/** Drivers that break the contract in exactly one place each: a good driver with one thing done wrong. */
import {
  CallLifetime,
  ProcessSignalled,
  SandboxDriver,
  type SandboxInstance,
  type SandboxSpec,
  SandboxStateError
} from "@effect-sandbox/core"
import { NodeServices } from "@effect/platform-node"
import { Effect, FileSystem, Layer, Path, PlatformError, Predicate, Scope, Semaphore, Sink, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"

type Handle = ChildProcessSpawner.ChildProcessHandle
type Driver = SandboxDriver["Service"]

/** Changes what a driver makes. */
type Change = (instance: SandboxInstance, spec: SandboxSpec) => Effect.Effect<SandboxInstance, never, Scope.Scope>

/** A layer that changes the driver below it. */
export type Breaking = Layer.Layer<SandboxDriver, never, SandboxDriver>

const breaking = (make: (driver: Driver) => Driver): Breaking =>
  Layer.effect(SandboxDriver, Effect.map(SandboxDriver, make))

/** Breaks every instance. */
const instances = (change: () => Change): Breaking =>
  breaking((driver) => {
    const changed = change()
    return {
      name: driver.name,
      create: (spec) => Effect.flatMap(driver.create(spec), (instance) => changed(instance, spec))
    }
  })

const simple = (change: (instance: SandboxInstance) => SandboxInstance): Breaking =>
  instances(() => (instance) => Effect.succeed(change(instance)))

/** Breaks the way commands are started. */
const spawning = (
  spawn: (
    spawner: ChildProcessSpawner.ChildProcessSpawner["Service"],
    command: ChildProcess.Command,
    instance: SandboxInstance
  ) => Effect.Effect<Handle, PlatformError.PlatformError, Scope.Scope>
): Breaking =>
  simple((instance) => ({
    ...instance,
    spawner: ChildProcessSpawner.make((command) => spawn(instance.spawner, command, instance))
  }))

/** Breaks what is known of a started command. */
const handles = (change: (handle: Handle) => Partial<Handle>): Breaking =>
  spawning((spawner, command) =>
    Effect.map(spawner.spawn(command), (handle) => ChildProcessSpawner.makeHandle({ ...handle, ...change(handle) }))
  )

/** Changes the options of a command. */
const withOptions = (
  command: ChildProcess.Command,
  change: (options: ChildProcess.CommandOptions) => ChildProcess.CommandOptions
): ChildProcess.Command =>
  ChildProcess.isStandardCommand(command)
    ? ChildProcess.make(command.command, command.args, change(command.options))
    : ChildProcess.pipeTo(withOptions(command.left, change), withOptions(command.right, change), command.options)

const options = (
  change: (options: ChildProcess.CommandOptions, instance: SandboxInstance) => ChildProcess.CommandOptions
): Breaking =>
  spawning((spawner, command, instance) => spawner.spawn(withOptions(command, (of) => change(of, instance))))

const unknown = (method: string, cause: unknown) =>
  PlatformError.systemError({ _tag: "Unknown", module: "FileSystem", method, cause })

export const exitsWithZero = handles((handle) => ({
  exitCode: Effect.orElseSucceed(handle.exitCode, () => ChildProcessSpawner.ExitCode(0)).pipe(
    Effect.as(ChildProcessSpawner.ExitCode(0))
  )
}))

/** As a shell would: 128 and the signal's number. */
export const signalsAreCodes = handles((handle) => ({
  exitCode: Effect.catchIf(
    handle.exitCode,
    ({ cause }) => cause instanceof ProcessSignalled,
    () => Effect.succeed(ChildProcessSpawner.ExitCode(137))
  )
}))

export const mergesStderr = handles((handle) => ({ stdout: handle.all, stderr: Stream.empty }))

export const cutsInput = options((of) => {
  const { stdin } = of
  if (!Stream.isStream(stdin)) return of
  let room = 64 * 1024
  const cut = Stream.map(stdin, (chunk) => {
    const kept = chunk.subarray(0, room)
    room -= kept.length
    return kept
  })
  return { ...of, stdin: Stream.takeUntil(cut, () => room === 0) }
})

/** A command without input waits for one. */
export const leavesInputOpen = options((of) => (of.stdin === "ignore" ? { ...of, stdin: Stream.never } : of))

export const cutsOutput = handles((handle) => {
  let room = 1024 * 1024
  return {
    stdout: Stream.map(handle.stdout, (chunk) => {
      const kept = chunk.subarray(0, room)
      room -= kept.length
      return kept
    })
  }
})

export const holdsOutputBack = handles((handle) => ({
  stdout: Stream.unwrap(Effect.map(Stream.runCollect(handle.stdout), Stream.fromIterable))
}))

export const decodesOutput = handles((handle) => ({
  stdout: Stream.map(handle.stdout, (chunk) => new TextEncoder().encode(new TextDecoder().decode(chunk)))
}))

/** Only the command itself, and nothing that it has started. */
export const killsOnlyTheFirst: Breaking = instances(
  () => (instance) =>
    Effect.map(Scope.Scope, (sandbox) => {
      const end = (handle: Handle, { forceKillAfter, killSignal = "SIGTERM" }: ChildProcess.KillOptions) =>
        Effect.gen(function* () {
          const signal = (name: string) =>
            Effect.ignore(
              instance.spawner.exitCode(ChildProcess.make("kill", [`-${name.slice(3)}`, String(handle.pid)]))
            )
          if (!(yield* handle.isRunning)) return
          yield* signal(killSignal)
          const ended = Effect.exit(handle.exitCode)
          const inTime = yield* forceKillAfter === undefined
            ? Effect.asSome(ended)
            : Effect.timeoutOption(ended, forceKillAfter)
          if (inTime._tag === "None") yield* Effect.andThen(signal("SIGKILL"), ended)
        })
      const spawner = ChildProcessSpawner.make((command) => {
        const of = ChildProcess.isStandardCommand(command) ? command.options : {}
        return Effect.acquireRelease(Scope.provide(instance.spawner.spawn(command), sandbox), (handle) =>
          Effect.ignore(end(handle, { forceKillAfter: "2 seconds", ...of }))
        ).pipe(
          Effect.map((handle) =>
            ChildProcessSpawner.makeHandle({ ...handle, kill: (options = {}) => end(handle, options) })
          )
        )
      })
      return { ...instance, spawner }
    })
)

/** Runs a command again that did not end well. */
export const retries = spawning((spawner, command) =>
  Effect.gen(function* () {
    const scope = yield* Scope.Scope
    const first = yield* spawner.spawn(command)
    const again = Effect.flatMap(Scope.provide(spawner.spawn(command), scope), (second) => second.exitCode)
    const exitCode = Effect.filterOrElse(
      first.exitCode,
      (code) => code !== 1,
      () => again
    )
    return ChildProcessSpawner.makeHandle({ ...first, exitCode: yield* Effect.cached(exitCode) })
  })
)

const own = new Set(["PATH", "HOME", "TMPDIR", "LANG"])

export const leaksVariables = options((of) => ({
  ...of,
  extendEnv: of.env === undefined || of.extendEnv === true,
  env: { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.has(name))), ...of.env }
}))

/** Commands start in another directory than the workspace. */
export const startsElsewhere = options((of, instance) => ({ ...of, cwd: of.cwd ?? instance.home }))

export const acceptsAnyUser = simple((instance) => ({ ...instance, capabilities: { user: true } }))

/** Brings some files back after each reset. */
const remembers = (
  what: (instance: SandboxInstance) => {
    readonly instance: SandboxInstance
    readonly files: Effect.Effect<ReadonlyArray<string>, PlatformError.PlatformError>
  }
): Breaking =>
  simple((given) => {
    const { files, instance } = what(given)
    const { fileSystem, reset } = given
    return {
      ...instance,
      reset: Effect.gen(function* () {
        const paths = yield* Effect.orElseSucceed(files, () => [])
        yield* reset
        yield* Effect.forEach(paths, (path) =>
          Effect.ignore(
            Effect.andThen(
              fileSystem.makeDirectory(path.slice(0, path.lastIndexOf("/") + 1) || ".", { recursive: true }),
              fileSystem.writeFileString(path, "")
            )
          )
        )
      })
    }
  })

export const forgetsTemporaryFiles = remembers((instance) => {
  const made: Array<string> = []
  const { fileSystem } = instance
  const makeTempFile: FileSystem.FileSystem["makeTempFile"] = (options) =>
    Effect.tap(fileSystem.makeTempFile(options), (path) => Effect.sync(() => made.push(path)))
  return {
    instance: { ...instance, fileSystem: { ...fileSystem, makeTempFile } },
    files: Effect.sync(() => made.splice(0))
  }
})

export const forgetsHiddenFiles = remembers((instance) => ({
  instance,
  files: Effect.map(instance.fileSystem.readDirectory("."), (names) => names.filter((name) => /^\.[a-z]/.test(name)))
}))

/** Takes every process for one of set-up. */
export const forgetsProcesses = spawning((spawner, command) =>
  Effect.provideService(spawner.spawn(command), CallLifetime, "sandbox")
)

export const neverTellsOfDeath = simple((instance) => ({ ...instance, awaitDeath: Effect.never }))

/** Tells of a death only when everything else has failed. */
export const tellsOfDeathLate = simple((instance) => ({
  ...instance,
  awaitDeath: Effect.catch(instance.awaitDeath, (error) =>
    Effect.andThen(Effect.sleep("300 millis"), Effect.fail(error))
  )
}))

/** What was in flight when the sandbox died never comes back. */
export const hangsAfterDeath = instances(
  () => (instance) =>
    Effect.sync(() => {
      const died = Effect.match(instance.awaitDeath, { onFailure: () => true, onSuccess: () => true })
      const isDead = Effect.map(Effect.timeoutOption(died, 20), (told) => told._tag === "Some")
      const hangWhenDead = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.catch(effect, (error) => Effect.flatMap(isDead, (dead) => (dead ? Effect.never : Effect.fail(error))))
      return {
        ...instance,
        ping: hangWhenDead(instance.ping),
        fileSystem: {
          ...instance.fileSystem,
          readFile: (path: string) => hangWhenDead(instance.fileSystem.readFile(path))
        },
        spawner: ChildProcessSpawner.make((command) =>
          Effect.map(instance.spawner.spawn(command), (handle) =>
            ChildProcessSpawner.makeHandle({ ...handle, exitCode: hangWhenDead(handle.exitCode) })
          )
        )
      }
    })
)

/** Makes up an exit code for what was in flight when the sandbox died. */
export const guessesAfterDeath = handles((handle) => ({
  exitCode: Effect.catchIf(
    handle.exitCode,
    ({ cause }) => Predicate.isTagged(cause, "SandboxStateError"),
    () => Effect.succeed(ChildProcessSpawner.ExitCode(0))
  )
}))

/** Reports deaths that there are not. */
export const makesUpDeaths = instances(
  () => (instance, spec) =>
    Effect.sync(() => {
      let resets = 0
      return {
        ...instance,
        reset: Effect.tap(instance.reset, () => Effect.sync(() => resets++)),
        awaitDeath: Effect.raceFirst(
          instance.awaitDeath,
          Effect.suspend(() =>
            resets > 1
              ? Effect.fail(
                  new SandboxStateError({
                    sandboxId: spec.sandboxId,
                    operation: "life",
                    description: "a missed heartbeat"
                  })
                )
              : Effect.void
          ).pipe(Effect.andThen(Effect.sleep("50 millis")), Effect.forever)
        )
      }
    })
)

/** What a sandbox needs is only given to its scope once all of it is there. */
export const leaksInterruptedCreation: Breaking = breaking((driver) => ({
  name: driver.name,
  create: (spec) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const instance = yield* Scope.provide(driver.create(spec), scope)
      yield* Effect.yieldNow
      yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
      return instance
    })
}))

/** All sandboxes are one. */
export const sharesOneSandbox: Breaking = Layer.effect(
  SandboxDriver,
  Effect.gen(function* () {
    const driver = yield* SandboxDriver
    const scope = yield* Scope.Scope
    const lock = yield* Semaphore.make(1)
    let shared: SandboxInstance | undefined
    return SandboxDriver.of({
      name: driver.name,
      create: (spec) =>
        lock.withPermit(
          Effect.suspend(() =>
            shared === undefined
              ? Effect.tap(Scope.provide(driver.create(spec), scope), (made) =>
                  Effect.sync(() => {
                    shared = made
                  })
                )
              : Effect.succeed(shared)
          )
        )
    })
  })
)

/** Taking a sandbox down ends the commands of all others as well. */
export const killsStrangers = instances(() => {
  const all = new Set<Handle>()
  return (instance) =>
    Effect.as(
      Effect.addFinalizer(() =>
        Effect.forEach([...all], (handle) => Effect.ignore(handle.kill()), { concurrency: 8, discard: true })
      ),
      {
        ...instance,
        spawner: ChildProcessSpawner.make((command) =>
          Effect.acquireRelease(
            Effect.tap(instance.spawner.spawn(command), (handle) => Effect.sync(() => all.add(handle))),
            (handle) => Effect.sync(() => all.delete(handle))
          )
        )
      }
    )
})

/** One lock for commands and files. */
export const locks = instances(
  () => (instance) =>
    Effect.map(Semaphore.make(1), (lock) => ({
      ...instance,
      ping: lock.withPermit(instance.ping),
      spawner: ChildProcessSpawner.make((command) =>
        Effect.gen(function* () {
          yield* Effect.acquireRelease(lock.take(1), () => lock.release(1), { interruptible: true })
          return yield* instance.spawner.spawn(command)
        })
      )
    }))
)

/** Checks only how paths look, and follows links anywhere. */
export const followsLinks: Breaking = Layer.effect(
  SandboxDriver,
  Effect.gen(function* () {
    const driver = yield* SandboxDriver
    const host = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    return SandboxDriver.of({
      name: driver.name,
      create: (spec) =>
        Effect.map(driver.create(spec), (instance) => {
          const { fileSystem: confined, workdir } = instance
          /** The path as it looks, when that is in the workspace. */
          const inside = (given: string) => {
            const target = path.resolve(workdir, given)
            return target.startsWith(`${workdir}/`) ? target : undefined
          }
          const readFile = (given: string) => {
            const target = inside(given)
            return target === undefined ? confined.readFile(given) : host.readFile(target)
          }
          const writeFile: FileSystem.FileSystem["writeFile"] = (given, data, options) => {
            const target = inside(given)
            return target === undefined
              ? confined.writeFile(given, data, options)
              : host.writeFile(target, data, options)
          }
          const fileSystem = FileSystem.make({ ...confined, readFile, writeFile })
          return { ...instance, fileSystem }
        })
    })
  })
).pipe(Layer.provide(NodeServices.layer))

/** Every failure is the same. */
export const hidesReasons = simple((instance) => ({
  ...instance,
  fileSystem: {
    ...instance.fileSystem,
    readFile: (path) => Effect.mapError(instance.fileSystem.readFile(path), (cause) => unknown("readFile", cause)),
    stat: (path) => Effect.mapError(instance.fileSystem.stat(path), (cause) => unknown("stat", cause))
  }
}))

export const cutsNames = simple((instance) => ({
  ...instance,
  fileSystem: {
    ...instance.fileSystem,
    readDirectory: (path, options) =>
      Effect.map(instance.fileSystem.readDirectory(path, options), (names) => names.map((name) => name.trim()))
  }
}))

export const losesWrites = simple((instance) => ({
  ...instance,
  fileSystem: {
    ...instance.fileSystem,
    sink: (path, options) =>
      Sink.mapInput(instance.fileSystem.sink(path, options), (chunk: Uint8Array) => chunk.subarray(0, 32 * 1024))
  }
}))

export const watchesNothing = simple((instance) => ({
  ...instance,
  fileSystem: {
    ...instance.fileSystem,
    watch: (path, options) =>
      Stream.unwrap(
        Effect.map(instance.fileSystem.stat(path), () => {
          options?.onReady?.()
          return Stream.never
        })
      )
  }
}))
