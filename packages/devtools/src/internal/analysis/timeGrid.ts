/**
 * Time in buckets of equal width, for sums that are kept over time. There are never more buckets than a limit: when
 * time goes on, buckets become wider, from one round width to the next, and neighbours are merged.
 */

const second = 1000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

/** Each divides the next, so that merged buckets have the same borders. Beyond, widths double. */
const widths = [
  ...[1, 2, 10, 20, 100, 200],
  ...[1, 2, 10, 30].map((count) => count * second),
  ...[1, 2, 10, 30].map((count) => count * minute),
  ...[1, 2, 6, 12].map((count) => count * hour),
  day
]

const nextWidth = (width: number): number => widths.find((one) => one > width) ?? width * 2

export class TimeGrid {
  width = 1
  /** Time before counts as nothing: nobody knows what happened then. */
  origin = Number.NaN
  /** The latest time that was seen. */
  latest = Number.NaN
  private readonly limit: number
  private readonly all: Array<Series> = []

  constructor(limit: number) {
    this.limit = limit
  }

  series(quantities: number): Series {
    const series = new Series(this, quantities)
    this.all.push(series)
    return series
  }

  /** Makes room for a time. */
  cover(at: number): void {
    if (at <= this.latest) return
    if (Number.isNaN(this.origin)) this.origin = at
    this.latest = at
    while (Math.floor(at / this.width) - Math.floor(this.origin / this.width) >= this.limit) {
      const before = this.width
      this.width = nextWidth(before)
      for (const series of this.all) series.merge(this.width / before)
    }
  }
}

/** Sums of several quantities over time. */
export class Series {
  private readonly grid: TimeGrid
  private readonly quantities: number
  private buckets = new Map<number, Float64Array>()

  constructor(grid: TimeGrid, quantities: number) {
    this.grid = grid
    this.quantities = quantities
  }

  /** Adds the time of an interval, to each bucket that it touches the part that lies in it. */
  add(quantity: number, from: number, to: number): void {
    const { origin, width } = this.grid
    let start = Math.max(from, origin)
    if (!(to > start)) return
    for (let index = Math.floor(start / width); ; index++) {
      const end = (index + 1) * width
      const bucket = this.bucket(index)
      bucket[quantity] = (bucket[quantity] ?? 0) + Math.min(to, end) - start
      if (to <= end) return
      start = end
    }
  }

  /** The sums of the bucket that begins with this multiple of the width. */
  at(index: number): Float64Array | undefined {
    return this.buckets.get(index)
  }

  /** For intervals that are not over: they are added to a copy. */
  copy(): Series {
    const copy = new Series(this.grid, this.quantities)
    for (const [index, bucket] of this.buckets) copy.buckets.set(index, bucket.slice())
    return copy
  }

  merge(factor: number): void {
    const { buckets } = this
    this.buckets = new Map()
    for (const [index, bucket] of buckets) {
      const wide = this.bucket(Math.floor(index / factor))
      for (const [quantity, sum] of bucket.entries()) wide[quantity] = (wide[quantity] ?? 0) + sum
    }
  }

  private bucket(index: number): Float64Array {
    let bucket = this.buckets.get(index)
    if (bucket === undefined) {
      bucket = new Float64Array(this.quantities)
      this.buckets.set(index, bucket)
    }
    return bucket
  }
}
