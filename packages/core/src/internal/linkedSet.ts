/** A set in order of insertion, from whose either end things can be taken in constant time. */
export interface LinkedSet<A extends object> extends Iterable<A> {
  readonly size: number
  readonly add: (item: A) => void
  readonly remove: (item: A) => boolean
  readonly take: () => A | undefined
}

interface Entry<A> {
  readonly item: A
  previous: Entry<A> | undefined
  next: Entry<A> | undefined
}

/**
 * A doubly linked list with an index. (A `Set` as a queue leaves holes at its head, which every look at the first
 * element has to skip.)
 */
export const linkedSet = <A extends object>(from: "oldest" | "newest" = "oldest"): LinkedSet<A> => {
  const entries = new Map<A, Entry<A>>()
  let oldest: Entry<A> | undefined
  let newest: Entry<A> | undefined
  const unlink = (entry: Entry<A>): void => {
    entries.delete(entry.item)
    if (entry.previous === undefined) oldest = entry.next
    else entry.previous.next = entry.next
    if (entry.next === undefined) newest = entry.previous
    else entry.next.previous = entry.previous
  }
  return {
    get size() {
      return entries.size
    },
    add: (item) => {
      const entry: Entry<A> = { item, previous: newest, next: undefined }
      entries.set(item, entry)
      if (newest === undefined) oldest = entry
      else newest.next = entry
      newest = entry
    },
    remove: (item) => {
      const entry = entries.get(item)
      if (entry === undefined) return false
      unlink(entry)
      return true
    },
    take: () => {
      const entry = from === "oldest" ? oldest : newest
      if (entry === undefined) return undefined
      unlink(entry)
      return entry.item
    },
    [Symbol.iterator]: () => entries.keys()
  }
}
