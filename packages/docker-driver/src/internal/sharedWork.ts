/**
 * Work that several want at the same time is done once. It runs in a fiber of its own, which ends when the last of those
 * who wait for it has been interrupted, or with the scope.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

export interface SharedWork<A, E, P> {
  /** Joins the work of that key, or begins it. `listen` is told of progress until the caller goes. */
  readonly join: (
    key: string,
    work: (publish: (progress: P) => Effect.Effect<void>) => Effect.Effect<A, E>,
    listen: (progress: P) => Effect.Effect<void>
  ) => Effect.Effect<A, E>
}

interface Running<A, E, P> {
  readonly fiber: Fiber.Fiber<A, E>
  readonly listeners: Set<(progress: P) => Effect.Effect<void>>
}

export const make = <A, E, P>(): Effect.Effect<SharedWork<A, E, P>, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const running = new Map<string, Running<A, E, P>>()
    return {
      join: (key, work, listen) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.gen(function* () {
            // A listener of its own for each caller, also when two pass the same function.
            const listener = (progress: P) => listen(progress)
            let mine = running.get(key)
            if (mine === undefined) {
              const listeners: Running<A, E, P>["listeners"] = new Set()
              const publish = (progress: P) =>
                Effect.forEach(listeners, (tell) => Effect.ignoreCause(tell(progress)), { discard: true })
              const fiber = yield* Effect.forkIn(
                Effect.ensuring(
                  Effect.suspend(() => work(publish)),
                  Effect.sync(() => {
                    if (running.get(key)?.listeners === listeners) running.delete(key)
                  })
                ),
                scope
              )
              mine = { fiber, listeners }
              running.set(key, mine)
            }
            const { fiber, listeners } = mine
            listeners.add(listener)
            return yield* restore(Fiber.join(fiber)).pipe(
              Effect.ensuring(
                Effect.suspend(() => {
                  listeners.delete(listener)
                  if (listeners.size > 0) return Effect.void
                  // Nobody may join what is being interrupted.
                  if (running.get(key)?.listeners === listeners) running.delete(key)
                  return Fiber.interrupt(fiber)
                })
              )
            )
          })
        )
    }
  })
