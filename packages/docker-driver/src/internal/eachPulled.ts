/** What is pulled, as if it were handed over. */
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"

/** Hands over what is pulled, until `take` gives something back, with which it fails. */
export const eachPulled = <A, E, S>(
  pull: Pull.Pull<Arr.NonEmptyReadonlyArray<A>, E>,
  take: (value: A) => S | undefined
): Pull.Pull<never, E | S> =>
  Effect.forever(
    Effect.flatMap(pull, (values): Effect.Effect<void, S> => {
      for (const value of values) {
        const stop = take(value)
        if (stop !== undefined) return Effect.fail(stop)
      }
      return Effect.void
    }),
    { disableYield: true }
  )
