import { SandboxStatus } from "@effect-sandbox/core"
import { EventExpect, Lifecycle } from "@effect-sandbox/testing"
import { Analysis } from "@effect-sandbox/devtools"
import { assert, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import * as naive from "./support/naive.ts"
import { type Events, eventsOf, interleaved, moved, withUnsteadyClock } from "./support/runs.ts"

const close = (actual: number, expected: number, message: string): void =>
  assert.isTrue(
    Math.abs(actual - expected) <= 1e-6 * Math.max(1, Math.abs(expected)),
    `${message}: ${actual} is not ${expected}`
  )

const analyse = (events: Events, options?: Analysis.Options): Analysis.Report => {
  const analysis = Analysis.make(options)
  for (const event of events) analysis.add(event)
  return analysis.report()
}

const isDistributionOf = (
  actual: Analysis.Distribution | undefined,
  values: ReadonlyArray<number>,
  what: string
): void => {
  assert.strictEqual(actual?.count ?? 0, values.length, what)
  if (actual === undefined) return
  const slack = actual.isExact ? 0 : 0.0051
  for (const [part, found] of [
    [0.5, actual.p50],
    [0.9, actual.p90],
    [0.95, actual.p95],
    [0.99, actual.p99]
  ] as const) {
    const exact = naive.percentile(values, part)
    assert.isTrue(Math.abs(found - exact) <= slack * exact, `${what} p${part * 100}: ${found} is not ${exact}`)
  }
  assert.strictEqual(actual.max, Math.max(...values), what)
  assert.strictEqual(actual.min, Math.min(...values), what)
  close(actual.mean, values.reduce((sum, one) => sum + one, 0) / values.length, what)
}

/** Everything that the whole list says is what the incremental analysis says. */
const agrees = (events: Events, report: Analysis.Report): void => {
  const [first] = events
  if (first === undefined) {
    assert.isUndefined(report.span)
    return
  }
  const until = Math.max(...events.map(({ timestamp }) => timestamp))
  assert.deepStrictEqual(report.span, { from: first.timestamp, until })
  assert.strictEqual(report.events.total, events.length)
  for (const image of report.images) {
    const name = naive.poolOf(image)
    const expected = naive.pool(events, name, report.bucketMillis)
    for (const status of SandboxStatus.all) {
      close(image.statusMillis[status], expected.statusMillis(status), `${name} ${status}`)
    }
    assert.deepStrictEqual(image.peak, expected.peak, name)
    const { created, ended, replacements } = image.sandboxes
    assert.deepStrictEqual(
      { created, ended, replacements },
      { created: expected.created, ended: expected.ended, replacements: expected.replacements },
      name
    )
    assert.deepStrictEqual(image.sessions.outcomes, expected.outcomes, name)
    assert.strictEqual(image.acquires.failed, expected.refusals, name)
    isDistributionOf(image.acquires.wait, expected.waits, `${name} waits`)
    isDistributionOf(image.sessions.setUp, expected.setUps, `${name} set-ups`)
    isDistributionOf(image.sessions.lifetime, expected.lifetimes, `${name} lifetimes`)
    isDistributionOf(image.sandboxes.start, expected.sandboxStarts, `${name} starts`)
    assert.strictEqual(image.series.length, expected.series.length, name)
    for (const [index, bucket] of image.series.entries()) {
      const wanted = expected.series[index]
      for (const field of [
        "at",
        "live",
        "inSession",
        "settingUp",
        "ready",
        "inUse",
        "refreshing",
        "waiting"
      ] as const) {
        close(bucket[field], wanted?.[field] ?? Number.NaN, `${name} bucket ${index} ${field}`)
      }
    }
  }
  assert.deepStrictEqual(
    Object.fromEntries(report.failures.map((row) => [naive.failureKey(row), row.count])),
    naive.failures(events)
  )
  const byTime = (
    a: { readonly from: number; readonly pool: string },
    b: { readonly from: number; readonly pool: string }
  ) => a.from - b.from || (a.pool < b.pool ? -1 : 1)
  assert.deepStrictEqual(
    report.outages
      .map((one) => ({ pool: naive.poolOf(one), from: one.from, until: one.until, how: one.end }))
      .toSorted(byTime),
    naive.outages(events).toSorted(byTime)
  )
  const durations = events.flatMap((event) =>
    event._tag === "SandboxActivity" || event._tag === "FeatureActivity" ? [event.durationMillis] : []
  )
  assert.deepStrictEqual(
    report.slowest.map(({ durationMillis }) => durationMillis),
    durations.toSorted((a, b) => b - a).slice(0, 20)
  )
  assert.strictEqual(
    report.activities.reduce((sum, { duration }) => sum + duration.count, 0),
    durations.length
  )
}

/** Runs of a few sandboxes, and how they are mixed. */
const Mix = Schema.Struct({
  /** Later than the run before, in milliseconds. */
  later: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5000 })),
  /** How much of the beginning and of the end is missing, in parts of a hundred. */
  skipped: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 60 })),
  cut: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 30 })),
  clock: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 50 }))),
  buckets: Schema.Int.check(Schema.isBetween({ minimum: 10, maximum: 400 }))
})

const part = (events: Events, skipped: number, cut: number): Events =>
  events.slice(Math.floor((events.length * skipped) / 100), Math.ceil((events.length * (100 - cut)) / 100))

it.effect.prop(
  "a run, from its beginning, comes to the same as the whole list of its events",
  [Lifecycle.arbitrary(), Schema.Boolean],
  ([program]) =>
    Effect.gen(function* () {
      const events = yield* eventsOf(program)
      const report = yield* Analysis.fromStream(Stream.fromIterable(events))
      agrees(events, report)
      // Nothing is left of a run that has come to its end, and it does not contradict itself: the core keeps its rules.
      assert.strictEqual(report.leaks.leaked + report.leaks.abandoned, 0, JSON.stringify(report.leaks.list))
      assert.deepStrictEqual(report.contradictions, { total: 0, list: [] })
      assert.strictEqual(report.unknownStarts, 0)
      assert.deepStrictEqual(report.open, { environments: 0, sandboxes: 0, sessions: 0, features: 0 })
    }),
  { arbitrary: { runs: 60, size: 60, maxShrinks: 20 } }
)

it.effect.prop(
  "so do environments side by side and after each other, from the middle on, with a clock that is set back",
  [Lifecycle.arbitrary(), Lifecycle.arbitrary(), Lifecycle.arbitrary(), Mix],
  ([one, two, three, mix]) =>
    Effect.gen(function* () {
      const [a, b, c] = yield* Effect.all([eventsOf(one), eventsOf(two), eventsOf(three)])
      const endOfA = Math.max(0, ...a.map(({ timestamp }) => timestamp))
      const clock = mix.clock.length === 0 ? [0] : mix.clock
      // `c` is the second life of the environment of `a`, which may have died in its first.
      const first = [...part(moved(a, "one"), 0, mix.cut), ...moved(c, "one", endOfA + mix.later)]
      const events = withUnsteadyClock(part(interleaved(first, moved(b, "two", mix.later)), mix.skipped, 0), clock)
      agrees(events, analyse(events, { buckets: mix.buckets }))
    }),
  { arbitrary: { runs: 60, size: 60, maxShrinks: 20 } }
)

it.effect.prop(
  "what a journal that ends early has left open is what has not ended, and no leak",
  [Lifecycle.arbitrary(), Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100 }))],
  ([program, cut]) =>
    Effect.gen(function* () {
      const events = part(yield* eventsOf(program), 0, cut)
      const report = analyse(events)
      const violations = EventExpect.wellFormed(events, { isOver: true })
      const ofKind = (pattern: RegExp) => violations.filter(({ description }) => pattern.test(description)).length
      const isOver = events.at(-1)?._tag === "EnvironmentShutDown" || events.length === 0
      assert.deepStrictEqual(report.open, {
        environments: isOver ? 0 : 1,
        sandboxes: ofKind(/^it ended /),
        sessions: ofKind(/^session \S+ never ended/),
        features: ofKind(/never torn down/)
      })
      assert.strictEqual(report.leaks.leaked, 0)
    }),
  { arbitrary: { runs: 60, size: 60, maxShrinks: 20 } }
)

it.effect.prop(
  "events that go missing are leaks or contradictions, unless they begin nothing and end nothing",
  [Lifecycle.arbitrary(), Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 }))],
  ([program, at]) =>
    Effect.gen(function* () {
      const events = yield* eventsOf(program)
      const index = at % Math.max(1, events.length)
      const missing = events[index]
      const report = analyse(events.filter((_, one) => one !== index))
      const found = report.leaks.leaked + report.contradictions.total
      const kinds = new Set([
        "SandboxStatusChanged",
        "FeatureSetUp",
        "FeatureTornDown",
        "FeatureSessionSetUp",
        "FeatureSessionTornDown",
        "SessionEnded"
      ])
      if (missing === undefined) return
      if (kinds.has(missing._tag) || (missing._tag === "SessionStarted" && missing.error === undefined)) {
        assert.isAbove(found, 0, JSON.stringify(missing))
      } else if (missing._tag !== "EnvironmentStarting" && missing._tag !== "EnvironmentShutDown") {
        assert.strictEqual(found, 0, JSON.stringify(missing))
      }
    }),
  { arbitrary: { runs: 100, size: 60, maxShrinks: 20 } }
)
