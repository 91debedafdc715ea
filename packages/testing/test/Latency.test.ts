import { Latency } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Effect, Random, Schema } from "effect"

/** Sorted samples of a model. */
const samples = (latency: Latency.Latency, count = 20_000) =>
  Effect.map(Random.Random, (random) =>
    Array.from({ length: count }, () => Latency.sample(latency, () => random.nextDoubleUnsafe())).toSorted(
      (a, b) => a - b
    )
  ).pipe(Random.withSeed("latency"))

const quantile = (sorted: ReadonlyArray<number>, q: number) => sorted[Math.floor(q * sorted.length)] ?? Number.NaN

it.effect("a constant latency is always the same", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(new Set(yield* samples(Latency.constant("3 seconds"), 100)), new Set([3000]))
    assert.deepStrictEqual(new Set(yield* samples(Latency.none, 100)), new Set([0]))
    assert.deepStrictEqual(Latency.fromInput("2 seconds"), Latency.constant(2000))
    assert.deepStrictEqual(Latency.fromInput(Latency.none), Latency.none)
  })
)

it.effect("a uniform latency stays within its bounds and fills them evenly", () =>
  Effect.gen(function* () {
    const sorted = yield* samples(Latency.uniform(100, 200))
    assert.isAtLeast(quantile(sorted, 0), 100)
    assert.isAtMost(sorted.at(-1) ?? Number.NaN, 200)
    for (const q of [0.1, 0.5, 0.9]) assert.approximately(quantile(sorted, q), 100 + 100 * q, 2)
  })
)

it.effect("a long-tailed latency has the median and the 99th percentile that it was given, and a tail beyond", () =>
  Effect.gen(function* () {
    const sorted = yield* samples(Latency.longTailed({ median: "100 millis", p99: "1 second" }))
    assert.approximately(quantile(sorted, 0.5), 100, 4)
    assert.approximately(quantile(sorted, 0.99), 1000, 100)
    assert.isAbove(sorted.at(-1) ?? Number.NaN, 2000)
    assert.isAbove(quantile(sorted, 0), 0)
  })
)

it.effect("a tail that ends at the median is no tail", () =>
  Effect.gen(function* () {
    const model = Latency.longTailed({ median: 100, p99: 100 })
    assert.deepStrictEqual(new Set(yield* samples(model, 100)), new Set([100]))
  })
)

it("models are plain data", () => {
  const model = Latency.longTailed({ median: 1, p99: 2 })
  assert.deepStrictEqual(Schema.decodeUnknownSync(Latency.Latency)(JSON.parse(JSON.stringify(model))), model)
  assert.throws(() => Schema.decodeUnknownSync(Latency.Latency)({ _tag: "Constant", millis: -1 }))
})
