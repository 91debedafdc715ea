/** What a check is doing at the moment, so that one that hangs can say where. */
import * as Effect from "effect/Effect"

export interface Steps {
  /** Names an operation for as long as it takes. */
  readonly during: <A, E, R>(name: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** The operations that have begun and not ended, oldest first. */
  readonly current: () => ReadonlyArray<string>
}

export const make = (): Steps => {
  const running = new Map<number, string>()
  let begun = 0
  return {
    during: (name, effect) =>
      Effect.suspend(() => {
        const key = begun++
        running.set(key, name)
        return Effect.ensuring(
          effect,
          Effect.sync(() => running.delete(key))
        )
      }),
    current: () => [...running.values()]
  }
}
