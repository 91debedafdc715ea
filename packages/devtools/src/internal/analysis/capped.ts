/** A table with at most so many rows: what comes later shares one last row. */
export class Capped<Row> {
  private readonly limit: number
  private readonly other: () => Row
  private readonly known = new Map<string, Row>()
  private last: Row | undefined

  /** `other` makes the row that is shared. */
  constructor(limit: number, other: () => Row) {
    this.limit = limit
    this.other = other
  }

  of(key: string, make: () => Row): Row {
    const known = this.known.get(key)
    if (known !== undefined) return known
    if (this.known.size >= this.limit) return (this.last ??= this.other())
    const row = make()
    this.known.set(key, row)
    return row
  }

  /** In the order in which they came, the shared one last. */
  rows(): ReadonlyArray<Row> {
    return this.last === undefined ? [...this.known.values()] : [...this.known.values(), this.last]
  }
}

/** A list that keeps only its first entries, and counts all. */
export class First<A> {
  readonly kept: Array<A> = []
  total = 0
  private readonly limit: number

  constructor(limit: number) {
    this.limit = limit
  }

  /** Makes the entry only when it is kept. */
  add(make: () => A): void {
    this.total++
    if (this.kept.length < this.limit) this.kept.push(make())
  }

  copy(): First<A> {
    const copy = new First<A>(this.limit)
    copy.kept.push(...this.kept)
    copy.total = this.total
    return copy
  }
}
