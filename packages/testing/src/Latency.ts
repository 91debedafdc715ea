/**
 * How long simulated operations take: a constant, anything within bounds, or mostly short with a long tail. A model is
 * plain data; its samples come from Effect's `Random` and pass on the `Clock`, so that under `TestClock` they cost no
 * time and the same seed gives the same ones.
 *
 * ```ts
 * import { Latency, SimDriver } from "@effect-sandbox/testing"
 *
 * const slowStarts = SimDriver.layer({
 *   latency: {
 *     create: Latency.longTailed({ median: "150 millis", p99: "2 seconds" }),
 *     spawn: Latency.uniform("1 millis", "5 millis"),
 *     files: "100 micros"
 *   }
 * })
 * ```
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const Millis = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))

/** A latency model. All fields are milliseconds. */
export const Latency = Schema.TaggedUnion({
  /** Always the same. */
  Constant: { millis: Millis },
  /** Anything between two bounds, with equal probability. */
  Uniform: { min: Millis, max: Millis },
  /** Log-normal: half of the samples are below `median`, one in a hundred is above `p99`. */
  LongTailed: { median: Millis, p99: Millis }
})
export type Latency = typeof Latency.Type

/** A model, or a duration for a constant one. */
export type Input = Latency | Duration.Input

/** Always the same. */
export const constant = (duration: Duration.Input): Latency => ({ _tag: "Constant", millis: millisOf(duration) })

/** Anything between two bounds, with equal probability. */
export const uniform = (min: Duration.Input, max: Duration.Input): Latency => ({
  _tag: "Uniform",
  min: millisOf(min),
  max: millisOf(max)
})

/** Half of the samples are below `median`, one in a hundred is above `p99`, and a few are far above it. */
export const longTailed = (options: { readonly median: Duration.Input; readonly p99: Duration.Input }): Latency => ({
  _tag: "LongTailed",
  median: millisOf(options.median),
  p99: millisOf(options.p99)
})

/** No time at all. */
export const none: Latency = { _tag: "Constant", millis: 0 }

/** A model for what was given. */
export const fromInput = (input: Input): Latency => (isLatency(input) ? input : constant(input))

/** Whether a value is a model, and not a duration. */
export const isLatency = Schema.is(Latency)

/** The 99th percentile of the standard normal distribution. */
const z99 = 2.3263478740408408

/** One sample, in milliseconds, from a source of random numbers in [0, 1). From a millisecond on they are whole ones. */
export const sample = (latency: Latency, random: () => number): number => {
  switch (latency._tag) {
    case "Constant":
      return latency.millis
    case "Uniform":
      return readable(latency.min + random() * (latency.max - latency.min))
    case "LongTailed": {
      if (latency.median === 0 || latency.p99 <= latency.median) return latency.median
      const sigma = Math.log(latency.p99 / latency.median) / z99
      return readable(latency.median * Math.exp(sigma * normal(random)))
    }
  }
}

/** Whole milliseconds: what is printed of a run can be read, and added up without an error. */
const readable = (millis: number): number => (millis < 1 ? millis : Math.round(millis))

/** A sample of the standard normal distribution (Box and Muller). */
const normal = (random: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())

const millisOf = (input: Duration.Input): number =>
  Option.match(Duration.fromInput(input), { onNone: () => Number.NaN, onSome: Duration.toMillis })
