/**
 * What is set up in each sandbox, as the features see it: everything is taken down exactly once, last set-up first,
 * whatever failed or was interrupted in between (I1).
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Blame } from "./violation.ts"

export class Setups {
  private readonly places = new Map<string, Array<string>>()
  /** Places where a teardown was given up because it took too long: the order is lost there, rightly. */
  private readonly excused = new Set<string>()
  private readonly blame: Blame
  count = 0

  constructor(blame: Blame) {
    this.blame = blame
  }

  /** Something that is up until the scope closes, with a turn in the middle of its set-up and of its teardown. */
  resource(place: string, name: string): Effect.Effect<void, never, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.sync(() => this.enter(place, name)),
      () =>
        Effect.andThen(
          Effect.yieldNow,
          Effect.sync(() => this.leave(place, name))
        )
    )
  }

  enter(place: string, name: string): void {
    this.count++
    const up = this.places.get(place)
    if (up === undefined) this.places.set(place, [name])
    else {
      if (up.includes(name)) this.blame("I1", `${name} of ${place} was set up while it was up`)
      up.push(name)
    }
  }

  leave(place: string, name: string): void {
    const up = this.places.get(place) ?? []
    const index = up.lastIndexOf(name)
    if (index === -1) {
      this.blame("I1", `${name} of ${place} was taken down, but it was not up`)
      return
    }
    if (index < up.length - 1 && !this.excused.has(place)) {
      this.blame("I1", `${name} of ${place} was taken down out of order`, up.slice(index + 1).toReversed(), name)
    }
    up.splice(index, 1)
    if (up.length === 0) this.places.delete(place)
  }

  excuse(place: string): void {
    this.excused.add(place)
  }

  isExcused(place: string): boolean {
    return this.excused.has(place)
  }

  /** What is up in a place, or everywhere, the oldest first. */
  left(place?: string): ReadonlyArray<string> {
    if (place !== undefined) return this.places.get(place) ?? []
    return [...this.places].flatMap(([at, names]) => names.map((name) => `${name} of ${at}`))
  }
}
