/**
 * Strategies that choose which ready sandbox serves next (P2). A balancer is asked for one set per image; every
 * operation of the built-in sets takes constant time, whatever the size of the pool.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { linkedSet } from "./internal/linkedSet.ts"

/** The ready sandboxes of one image. An item is in the set at most once. */
export interface ReadySet<A extends object> extends Iterable<A> {
  readonly size: number
  readonly add: (item: A) => void
  /** Takes an item out that became unusable; false when it was not in. */
  readonly remove: (item: A) => boolean
  /** Takes out the one that serves next. */
  readonly take: () => A | undefined
}

/** Makes the set of ready sandboxes for an image. */
export interface LoadBalancer {
  readonly name: string
  readonly make: <A extends object>() => Effect.Effect<ReadySet<A>>
}

/** The one that has been ready for longest: every sandbox serves in turn. The default. */
export const roundRobin: LoadBalancer = {
  name: "roundRobin",
  make: <A extends object>() => Effect.sync(() => linkedSet<A>("oldest"))
}

/** The one that became ready last: keeps few sandboxes warm and lets the others go idle, for `idleTimeToLive`. */
export const mostRecent: LoadBalancer = {
  name: "mostRecent",
  make: <A extends object>() => Effect.sync(() => linkedSet<A>("newest"))
}

/** Any, by the `Random` service, so that a seed reproduces the choice. */
export const random: LoadBalancer = {
  name: "random",
  make: <A extends object>() =>
    Effect.map(Random.Random, (random): ReadySet<A> => {
      const items: Array<A> = []
      /** Of those that are in; what is out keeps its last one, so that nothing is made anew for each that comes back. */
      const positions = new WeakMap<A, number>()
      const removeAt = (position: number): A | undefined => {
        const item = items[position]
        const last = items.pop()
        if (item === undefined || last === undefined) return undefined
        if (last !== item) {
          items[position] = last
          positions.set(last, position)
        }
        return item
      }
      return {
        get size() {
          return items.length
        },
        add: (item) => {
          positions.set(item, items.length)
          items.push(item)
        },
        remove: (item) => {
          const position = positions.get(item)
          return position !== undefined && items[position] === item && removeAt(position) !== undefined
        },
        take: () => (items.length === 0 ? undefined : removeAt(Math.floor(random.nextDoubleUnsafe() * items.length))),
        [Symbol.iterator]: () => items[Symbol.iterator]()
      }
    })
}
