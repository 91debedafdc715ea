/** Work that must not be waited for for ever. */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"

/**
 * The exit of an effect, or nothing when it is not there in time. The effect then runs on in its own fiber, because
 * half a teardown is worse than a late one (X6). Never fails; costs no timer when the effect ends at once.
 */
export const exit = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  limit: Duration.Input
): Effect.Effect<Option.Option<Exit.Exit<A, E>>, never, R> =>
  // Detached because it may outlive its caller; nobody interrupts it.
  Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), (fiber) => {
    const done = fiber.pollUnsafe()
    return done === undefined ? Effect.timeoutOption(Fiber.await(fiber), limit) : Effect.succeedSome(done)
  })

/** Interrupts a fiber; tells whether it ended within a limit. Costs no timer when it ends at once. */
export const interrupt = (fiber: Fiber.Fiber<unknown, unknown>, limit: Duration.Input): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    fiber.interruptUnsafe()
    if (fiber.pollUnsafe() !== undefined) return Effect.succeed(true)
    return Effect.map(Effect.timeoutOption(Fiber.await(fiber), limit), Option.isSome)
  })

/** Whether an effect ended within a limit, however it ended. */
export const wait = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  limit: Duration.Input
): Effect.Effect<boolean, never, R> => Effect.map(exit(effect, limit), Option.isSome)

/** The cause of what an effect failed with, a late one included. */
export const failure = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  limit: Duration.Input
): Effect.Effect<Cause.Cause<E | Cause.TimeoutError> | undefined, never, R> =>
  Effect.map(exit(effect, limit), (result) => {
    if (Option.isNone(result)) return Cause.die(new Cause.TimeoutError(`did not end within its time limit`))
    return Exit.isFailure(result.value) ? result.value.cause : undefined
  })

const nothing = Effect.succeed(undefined)

/** Closes a scope; gives the cause of what its finalizers failed with. Costs next to nothing when there are none. */
export const close = (scope: Scope.Closeable, limit: Duration.Input): Effect.Effect<Cause.Cause<unknown> | undefined> =>
  Effect.suspend(() => {
    const closing = Scope.closeUnsafe(scope, Exit.void)
    if (closing === undefined) return nothing
    // Like `failure`, without its intermediate steps: this is on the path of every session.
    return Effect.flatMap(Effect.forkDetach(closing, { startImmediately: true }), (fiber) => {
      const done = fiber.pollUnsafe()
      if (done === undefined) return failure(Fiber.join(fiber), limit)
      return Exit.isSuccess(done) ? nothing : Effect.succeed(done.cause)
    })
  })
