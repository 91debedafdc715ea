/** Waiting that ends, also for work that nothing can interrupt. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"

/** The exit of an effect, or nothing when it is not there in time; it is then told to end, and not waited for. */
export const exit = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  limit: Duration.Input
): Effect.Effect<Option.Option<Exit.Exit<A, E>>, never, R> =>
  // Detached because what cannot be interrupted would hold its parent; interrupted below, whatever happens.
  Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), (fiber) =>
    Fiber.await(fiber).pipe(Effect.timeoutOption(limit), Effect.ensuring(Effect.sync(() => fiber.interruptUnsafe())))
  )
