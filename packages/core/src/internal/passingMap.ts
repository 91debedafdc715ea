/**
 * A map through which many short-lived things go. It is made anew now and then: a map makes its table anew every few
 * entries that come and go, and each old table refers to the next, so that one that has outlived a few collections of
 * garbage would make all later ones do the same, for as long as the map lives.
 */
export class PassingMap<K, V> {
  #entries = new Map<K, V>()
  #added = 0

  get size(): number {
    return this.#entries.size
  }

  has(key: K): boolean {
    return this.#entries.has(key)
  }

  set(key: K, value: V): void {
    // At least as many have come as are copied.
    if (++this.#added > 64 + this.#entries.size) {
      this.#entries = new Map(this.#entries)
      this.#added = 0
    }
    this.#entries.set(key, value)
  }

  delete(key: K): void {
    this.#entries.delete(key)
  }
}
