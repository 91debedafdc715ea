/**
 * An instance that can be made to die. From then on every operation fails at once, those in flight included, and
 * `awaitDeath` has failed before they do, as the driver's contract asks.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as PlatformError from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { SandboxInstance } from "@effect-sandbox/core/SandboxDriver"
import type { SandboxStateError } from "@effect-sandbox/core/SandboxError"
import { aroundFileSystem } from "./aroundFileSystem.ts"

export interface Mortal {
  readonly instance: SandboxInstance
  /** Makes it die. Only the first time counts. */
  readonly kill: (error: SandboxStateError) => Effect.Effect<void>
  /** The same, and waits until its processes have ended. */
  readonly end: (error: SandboxStateError) => Effect.Effect<void>
}

/** What happens before an operation, within it: it takes as long, and it fails as the operation does. */
export interface Before {
  readonly ping: Effect.Effect<unknown, SandboxStateError>
  readonly reset: Effect.Effect<unknown, SandboxStateError>
  readonly spawn: (command: string) => Effect.Effect<unknown, PlatformError.PlatformError>
  readonly exit: (command: string) => Effect.Effect<unknown, PlatformError.PlatformError>
  /** Also at the end of a command's scope, when it still runs. */
  readonly kill: (command: string) => Effect.Effect<unknown, PlatformError.PlatformError>
  readonly file: (method: string, path: string) => Effect.Effect<unknown, PlatformError.PlatformError>
  /** Runs when it has died. */
  readonly death: (error: SandboxStateError) => Effect.Effect<void>
}

export const mortalInstance = (instance: SandboxInstance, before: Before): Mortal => {
  const died = Deferred.makeUnsafe<never, SandboxStateError>()
  /** The processes, which end with the sandbox. */
  const running = new Set<Scope.Closeable>()
  let death: SandboxStateError | undefined
  /** Who ends the processes of the dead. */
  let ending: Fiber.Fiber<unknown> | undefined

  /** Runs an operation until the sandbox dies. */
  const alive =
    <E2>(errorOf: (error: SandboxStateError) => E2) =>
    <A, E, R>(operation: Effect.Effect<A, E, R>): Effect.Effect<A, E | E2, R> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend((): Effect.Effect<A, E | E2, R> => {
          if (death !== undefined) return Effect.fail(errorOf(death))
          return Effect.flatMap(Effect.forkChild(operation, { startImmediately: true }), (fiber) => {
            const done = fiber.pollUnsafe()
            if (done !== undefined) return done
            const failure = Effect.mapError(Deferred.await(died), errorOf)
            return restore(Effect.raceFirst(Fiber.join(fiber), failure)).pipe(
              // A stalled operation must not keep the caller from hearing of the death (F3, F4).
              Effect.onExit(() =>
                Effect.suspend(() => {
                  if (death === undefined) return Fiber.interrupt(fiber)
                  fiber.interruptUnsafe()
                  return Effect.void
                })
              )
            )
          })
        })
      )
  const aliveState = alive((error) => error)
  const alivePlatform = (method: string) => alive((cause) => broken(method, cause))
  const untilDeath = <A, E, R>(stream: Stream.Stream<A, E, R>): Stream.Stream<A, E | PlatformError.PlatformError, R> =>
    Stream.interruptWhen(
      stream,
      Effect.mapError(Deferred.await(died), (cause) => broken("read", cause))
    )

  const fileSystem = aroundFileSystem(instance.fileSystem, {
    effect: (method, path, operation) => alivePlatform(method)(Effect.andThen(before.file(method, path), operation)),
    stream: untilDeath
  })

  const spawner = ChildProcessSpawner.make((command) => {
    const name = commandName(command)
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const scope = yield* Scope.fork(yield* Scope.Scope)
        running.add(scope)
        yield* Scope.addFinalizer(
          scope,
          Effect.sync(() => running.delete(scope))
        )
        const spawn = Effect.andThen(before.spawn(name), Scope.provide(instance.spawner.spawn(command), scope))
        const handle = yield* restore(alivePlatform("spawn")(spawn)).pipe(
          Effect.onError(() => Scope.close(scope, Exit.void))
        )
        const isRunning = Effect.orElseSucceed(handle.isRunning, () => false)
        yield* Scope.addFinalizer(
          scope,
          // Of a dead sandbox nothing is killed any more. The scope's end dies of what fails here, as it says.
          Effect.flatMap(isRunning, (running) =>
            running && death === undefined ? Effect.orDie(before.kill(name)) : Effect.void
          )
        )
        return ChildProcessSpawner.makeHandle({
          ...handle,
          exitCode: alivePlatform("exitCode")(Effect.andThen(before.exit(name), handle.exitCode)),
          isRunning: alivePlatform("isRunning")(handle.isRunning),
          kill: (options) => alivePlatform("kill")(Effect.andThen(before.kill(name), handle.kill(options))),
          stdout: untilDeath(handle.stdout),
          stderr: untilDeath(handle.stderr),
          all: untilDeath(handle.all),
          getOutputFd: (fd) => untilDeath(handle.getOutputFd(fd))
        })
      })
    )
  })

  const kill = (error: SandboxStateError): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (death !== undefined) return Effect.void
      death = error
      Deferred.doneUnsafe(died, Exit.fail(error))
      const scopes = [...running]
      if (scopes.length === 0) return before.death(error)
      const ends = Effect.forEach(scopes, (scope) => Scope.close(scope, Exit.void), {
        concurrency: "unbounded",
        discard: true
      })
      // Detached: whoever kills does not wait for processes that will not go.
      return Effect.andThen(
        before.death(error),
        Effect.map(Effect.forkDetach(ends), (fiber) => {
          ending = fiber
        })
      )
    })

  return {
    instance: {
      ...instance,
      fileSystem,
      spawner,
      ping: aliveState(Effect.andThen(before.ping, instance.ping)),
      reset: aliveState(Effect.andThen(before.reset, instance.reset)),
      awaitDeath: Effect.raceFirst(Deferred.await(died), instance.awaitDeath)
    },
    kill,
    end: (error) =>
      Effect.andThen(
        kill(error),
        Effect.suspend(() => (ending === undefined ? Effect.void : Effect.asVoid(Fiber.await(ending))))
      )
  }
}

/** A state error where only the platform's errors can be told. */
export const broken = (method: string, cause: SandboxStateError): PlatformError.PlatformError =>
  PlatformError.systemError({
    _tag: "BadResource",
    module: "Sandbox",
    method,
    description: cause.message,
    cause
  })

/** What a command is called: its file's name. */
const commandName = (command: ChildProcess.Command): string =>
  ChildProcess.isStandardCommand(command)
    ? command.command.slice(command.command.lastIndexOf("/") + 1)
    : commandName(command.right)
