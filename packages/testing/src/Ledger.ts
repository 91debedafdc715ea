/**
 * Who has set up what, and where: every set-up must be taken down exactly once, in reverse order (I1). A ledger is told
 * of both and knows what is still up and what went wrong.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Ledger } from "@effect-sandbox/testing"
 *
 * const test = Effect.gen(function*() {
 *   const ledger = Ledger.make()
 *   yield* Effect.scoped(Effect.gen(function*() {
 *     yield* ledger.resource("env/base:0:0", "shell")
 *     yield* ledger.resource("env/base:0:0", "shell's history")
 *   }))
 *   yield* ledger.assertBalanced // nothing is up, and the history went first
 * })
 * ```
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

/** Set-ups without their teardown, and teardowns out of order or without a set-up. */
export class LedgerError extends Schema.TaggedError<LedgerError>()("LedgerError", {
  problems: Schema.Array(Schema.String),
  /** What is still up, as `name of place`. */
  left: Schema.Array(Schema.String)
}) {
  override get message() {
    const lines = [...this.problems, ...this.left.map((what) => `${what} is still up`)]
    return `Set-ups and teardowns do not match (I1):\n${lines.map((line) => `  ${line}`).join("\n")}`
  }
}

export interface Ledger {
  /** Something is up from now on. What is up in one place comes down in reverse order; places are independent. */
  readonly enter: (place: string, name: string) => void
  /** It is down. */
  readonly leave: (place: string, name: string) => void
  /**
   * Something that is up until the scope closes. With `turns`, so many turns of the scheduler pass within its set-up and
   * within its teardown, so that both can be disturbed in the middle. Default: none.
   */
  readonly resource: (
    place: string,
    name: string,
    options?: { readonly turns?: number | undefined }
  ) => Effect.Effect<void, never, Scope.Scope>
  /** Everything so far, as `+name place` and `-name place`. */
  readonly lines: () => ReadonlyArray<string>
  /** What is up now, by place, the oldest first. */
  readonly open: () => ReadonlyMap<string, ReadonlyArray<string>>
  /** What is up now, as `name of place`. */
  readonly left: () => ReadonlyArray<string>
  /** What came down out of order, twice, or without having been up; and what went up twice. */
  readonly problems: () => ReadonlyArray<string>
  /** Fails when something is up or was out of order. */
  readonly assertBalanced: Effect.Effect<void, LedgerError>
}

/** A ledger in which nothing is written yet. */
export const make = (): Ledger => {
  const places = new Map<string, Array<string>>()
  const lines: Array<string> = []
  const problems: Array<string> = []

  const enter = (place: string, name: string): void => {
    lines.push(`+${name} ${place}`)
    const up = places.get(place) ?? []
    if (up.includes(name)) problems.push(`${name} of ${place} was set up while it was up`)
    up.push(name)
    places.set(place, up)
  }

  const leave = (place: string, name: string): void => {
    lines.push(`-${name} ${place}`)
    const up = places.get(place) ?? []
    const index = up.lastIndexOf(name)
    if (index === -1) {
      problems.push(`${name} of ${place} was taken down while it was not up`)
    } else {
      const above = up.slice(index + 1)
      if (above.length > 0) problems.push(`${name} of ${place} was taken down before ${above.join(", ")}`)
      up.splice(index, 1)
    }
    if (up.length === 0) places.delete(place)
  }

  const left = (): ReadonlyArray<string> =>
    [...places].flatMap(([place, names]) => names.map((name) => `${name} of ${place}`))

  return {
    enter,
    leave,
    resource: (place, name, { turns = 0 } = {}) => {
      const pass = turnsOf(turns)
      return Effect.acquireRelease(
        Effect.andThen(
          Effect.sync(() => enter(place, name)),
          pass
        ),
        () =>
          Effect.andThen(
            pass,
            Effect.sync(() => leave(place, name))
          )
      )
    },
    lines: () => [...lines],
    open: () => new Map([...places].map(([place, names]) => [place, [...names]])),
    left,
    problems: () => [...problems],
    assertBalanced: Effect.suspend(() =>
      problems.length === 0 && places.size === 0
        ? Effect.void
        : Effect.fail(new LedgerError({ problems: [...problems], left: left() }))
    )
  }
}

const turnsOf = (turns: number): Effect.Effect<void> =>
  turns === 0 ? Effect.void : Effect.forEach(Array.from({ length: turns }), () => Effect.yieldNow, { discard: true })
