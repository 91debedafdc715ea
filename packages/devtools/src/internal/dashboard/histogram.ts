/**
 * Percentiles of durations over a moving window, in constant memory whatever the number of durations: counts in
 * buckets, each 8 % wider than the one before. A percentile is within 4 % of the true one.
 */

const growth = Math.log(1.08)
/** Milliseconds; shorter ones count as nothing. */
const shortest = 0.05
/** The last bucket begins at about two hours. */
const buckets = 250

const bucketOf = (millis: number): number =>
  millis < shortest ? 0 : Math.min(buckets - 1, 1 + Math.floor(Math.log(millis / shortest) / growth))

const valueOf = (bucket: number): number => (bucket === 0 ? 0 : shortest * Math.exp((bucket - 0.5) * growth))

export class MovingHistogram {
  private readonly seconds: Array<Uint32Array>
  private readonly sums = new Float64Array(buckets)
  private total = 0
  private current = 0

  constructor(seconds: number) {
    this.seconds = Array.from({ length: seconds }, () => new Uint32Array(buckets))
  }

  add(millis: number): void {
    const bucket = bucketOf(millis)
    const second = this.seconds[this.current]
    if (second === undefined) return
    second[bucket] = (second[bucket] ?? 0) + 1
    this.sums[bucket] = (this.sums[bucket] ?? 0) + 1
    this.total++
  }

  /** Begins the next second; the oldest falls out of the window. */
  next(): void {
    this.current = (this.current + 1) % this.seconds.length
    const oldest = this.seconds[this.current]
    if (oldest === undefined || this.total === 0) return
    for (let i = 0; i < buckets; i++) {
      const count = oldest[i] ?? 0
      if (count === 0) continue
      this.sums[i] = (this.sums[i] ?? 0) - count
      this.total -= count
    }
    oldest.fill(0)
  }

  /** Nothing when the window is empty. */
  quantile(q: number): number | undefined {
    if (this.total === 0) return undefined
    const rank = Math.max(1, Math.ceil(q * this.total))
    let seen = 0
    for (let i = 0; i < buckets; i++) {
      seen += this.sums[i] ?? 0
      if (seen >= rank) return valueOf(i)
    }
    return valueOf(buckets - 1)
  }
}
