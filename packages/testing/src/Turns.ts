/**
 * Waiting without time: by turns of the scheduler, after a bounded number of which a test fails instead of hanging.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Turns } from "@effect-sandbox/testing"
 *
 * const test = Effect.gen(function*() {
 *   let done = false
 *   yield* Effect.forkChild(Effect.andThen(Turns.pass(10), Effect.sync(() => { done = true })))
 *   yield* Turns.until("the other fiber is done", () => done)
 * })
 * ```
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** What was waited for did not come true. */
export class NeverError extends Schema.TaggedError<NeverError>()("NeverError", {
  what: Schema.String,
  turns: Schema.Finite
}) {
  override get message() {
    return `It did not come true within ${this.turns} turns that ${this.what}`
  }
}

export interface Options {
  /** How many turns at most. Default: 5000. */
  readonly turns?: number | undefined
  /**
   * What one turn is: `TestClock.adjust("100 millis")` lets virtual time pass, `Effect.sleep("1 milli")` real time.
   * Default: `Effect.yieldNow`, in which no time passes.
   */
  readonly turn?: Effect.Effect<unknown> | undefined
}

/** Lets so many turns pass. */
export const pass = (turns: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    let passed = 0
    return Effect.whileLoop({ while: () => passed++ < turns, body: () => Effect.yieldNow, step: () => {} })
  })

/** Lets turns pass until something is so. `what` is said in the failure, after "that". */
export const until = <E = never, R = never>(
  what: string,
  isSo: (() => boolean) | Effect.Effect<boolean, E, R>,
  options: Options = {}
): Effect.Effect<void, NeverError | E, R> =>
  Effect.gen(function* () {
    const { turn = Effect.yieldNow, turns = 5000 } = options
    const ask = Effect.isEffect(isSo) ? isSo : Effect.sync(isSo)
    for (let passed = 0; passed < turns; passed++) {
      if (yield* ask) return
      yield* turn
    }
    if (!(yield* ask)) return yield* new NeverError({ what, turns })
  })
