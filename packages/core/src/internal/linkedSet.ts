/** A set in order of insertion, from whose either end things can be taken in constant time. */
export interface LinkedSet<A extends object> extends Iterable<A> {
  readonly size: number
  readonly add: (item: A) => void
  readonly remove: (item: A) => boolean
  readonly take: () => A | undefined
}

interface Entry<A> {
  readonly item: A
  isIn: boolean
  previous: Entry<A> | undefined
  next: Entry<A> | undefined
}

/**
 * A doubly linked list with an index. (A `Set` as a queue leaves holes at its head, which every look at the first
 * element has to skip.) What is put in and taken out all the time keeps its entry: a map that many things pass through
 * makes its table anew every few of them, and each old table refers to the next, so that one that has outlived a few
 * collections of garbage makes all later ones do the same.
 */
export const linkedSet = <A extends object>(from: "oldest" | "newest" = "oldest"): LinkedSet<A> => {
  const entries = new WeakMap<A, Entry<A>>()
  let oldest: Entry<A> | undefined
  let newest: Entry<A> | undefined
  let size = 0
  const entryOf = (item: A): Entry<A> => {
    const known = entries.get(item)
    if (known !== undefined) return known
    const entry: Entry<A> = { item, isIn: false, previous: undefined, next: undefined }
    entries.set(item, entry)
    return entry
  }
  const unlink = (entry: Entry<A>): void => {
    const { next, previous } = entry
    if (previous === undefined) oldest = next
    else previous.next = next
    if (next === undefined) newest = previous
    else next.previous = previous
    // Nothing that is out keeps others alive.
    entry.previous = undefined
    entry.next = undefined
    entry.isIn = false
    size--
  }
  return {
    get size() {
      return size
    },
    add: (item) => {
      const entry = entryOf(item)
      if (entry.isIn) return
      entry.isIn = true
      entry.previous = newest
      if (newest === undefined) oldest = entry
      else newest.next = entry
      newest = entry
      size++
    },
    remove: (item) => {
      const entry = entries.get(item)
      if (entry === undefined || !entry.isIn) return false
      unlink(entry)
      return true
    },
    take: () => {
      const entry = from === "oldest" ? oldest : newest
      if (entry === undefined) return undefined
      unlink(entry)
      return entry.item
    },
    *[Symbol.iterator]() {
      // What is taken out meanwhile does not lead on to the others.
      const all: Array<Entry<A>> = []
      for (let entry = oldest; entry !== undefined; entry = entry.next) all.push(entry)
      for (const entry of all) if (entry.isIn) yield entry.item
    }
  }
}
