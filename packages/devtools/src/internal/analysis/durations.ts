/**
 * Percentiles of durations in bounded memory: exact while there are few, then by logarithmic bins (a DDSketch), whose
 * relative error is bounded for every percentile, also those in a long tail.
 */
import type { Distribution } from "../../Analysis.ts"

/** As many durations are kept as they are. */
export const exactLimit = 1000

/** The largest relative error of a percentile beyond that. */
export const accuracy = 0.005

const gamma = (1 + accuracy) / (1 - accuracy)
const binsPerLog = 1 / Math.log(gamma)
/** Durations below a nanosecond are taken for none; with a longest of a thousand years there are some 5,000 bins. */
const smallest = 1e-6
const none = Number.NEGATIVE_INFINITY

export class Durations {
  count = 0
  sum = 0
  private min = Number.POSITIVE_INFINITY
  private max = 0
  private exact: Array<number> | undefined = []
  private readonly bins = new Map<number, number>()

  /** Negative ones, which a clock that was set back makes, count as none. */
  add(millis: number): void {
    const value = Math.max(0, millis)
    this.count++
    this.sum += value
    if (value < this.min) this.min = value
    if (value > this.max) this.max = value
    if (this.exact === undefined) {
      this.bin(value)
    } else if (this.exact.length < exactLimit) {
      this.exact.push(value)
    } else {
      for (const one of this.exact) this.bin(one)
      this.exact = undefined
      this.bin(value)
    }
  }

  private bin(value: number): void {
    const index = value < smallest ? none : Math.ceil(Math.log(value) * binsPerLog)
    this.bins.set(index, (this.bins.get(index) ?? 0) + 1)
  }

  /** Nothing when there are none. */
  summary(): Distribution | undefined {
    if (this.count === 0) return undefined
    const [p50 = 0, p90 = 0, p95 = 0, p99 = 0] = this.percentiles([0.5, 0.9, 0.95, 0.99])
    return {
      count: this.count,
      isExact: this.exact !== undefined,
      mean: this.sum / this.count,
      min: this.min,
      p50,
      p90,
      p95,
      p99,
      max: this.max
    }
  }

  /** The smallest duration that so large a part of them does not exceed; parts in ascending order. */
  private percentiles(parts: ReadonlyArray<number>): ReadonlyArray<number> {
    const ranks = parts.map((part) => Math.max(1, Math.ceil(part * this.count)))
    if (this.exact !== undefined) {
      const sorted = this.exact.toSorted((a, b) => a - b)
      return ranks.map((rank) => sorted[rank - 1] ?? 0)
    }
    const bins = [...this.bins].toSorted(([a], [b]) => a - b)
    let at = 0
    let passed = bins[0]?.[1] ?? 0
    return ranks.map((rank) => {
      while (passed < rank && at < bins.length - 1) passed += bins[++at]?.[1] ?? 0
      const index = bins[at]?.[0] ?? none
      const middle = index === none ? 0 : (2 * gamma ** index) / (gamma + 1)
      return Math.min(this.max, Math.max(this.min, middle))
    })
  }
}
