/** What the page of a timeline computes, against the same done the slow way. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { TimelineBuilder } from "../src/internal/timelineBuilder.ts"
import * as Data from "../src/internal/timelineData.ts"
import { duration, tick } from "../web/timeline/format.ts"
import { makeModel, type Model, session } from "../web/timeline/model.ts"
import { barAt, type Bars, makeBars, walk } from "../web/timeline/tracks.ts"
import { sample } from "./support/sample.ts"
import { decodeAll } from "./support/timelineFile.ts"

const Span = Schema.Struct({
  start: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2_000 })),
  duration: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 300 })),
  isError: Schema.Boolean
})
const Window = Schema.Struct({
  from: Schema.Int.check(Schema.isBetween({ minimum: -200, maximum: 2_200 })),
  perPixel: Schema.Literals([0.25, 1, 7, 60]),
  width: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 60 }))
})

const barsOf = (spans: ReadonlyArray<typeof Span.Type>): Bars => {
  const sorted = spans.toSorted((a, b) => a.start - b.start)
  return makeBars({
    count: sorted.length,
    id: (i) => i,
    start: (id) => sorted[id]!.start,
    duration: (id) => sorted[id]!.duration,
    classOf: () => 0,
    sumOf: () => 0,
    sumCount: 1,
    isStateError: (id) => sorted[id]!.isError,
    isUserError: () => false,
    isFirst: (i) => i === 0
  })
}

/** One after the other, as in all rows but the last of a lane, with gaps. */
const apart = (spans: ReadonlyArray<typeof Span.Type>): ReadonlyArray<typeof Span.Type> => {
  let at = 0
  return spans.map((span) => {
    const start = at + (span.start % 50)
    at = start + span.duration
    return { ...span, start }
  })
}

const whole = (bars: Bars) => ({ from: 0, to: bars.ids.length })

describe("tracks", () => {
  it.prop(
    "walks over every visible bar once, in no more steps than there are bars that show",
    { spans: Schema.Array(Span), window: Window },
    ({ spans, window }) => {
      const bars = barsOf(apart(spans))
      const seen: Array<number> = []
      const errors = new Set<number>()
      let dense = 0
      walk(bars, whole(bars), window, {
        bar: (i, x0, x1) => {
          assert.isTrue(x0 >= 0 && x1 <= window.width && x1 > x0)
          seen.push(i)
        },
        dense: (i, j, x) => {
          assert.isTrue(x >= 0 && x < window.width && j > i)
          dense++
          for (let k = i; k < j; k++) {
            seen.push(k)
            assert.isBelow(bars.end[k]! - bars.start[k]!, window.perPixel)
          }
          if (bars.stateErrors[j]! > bars.stateErrors[i]!) errors.add(x)
        }
      })
      assert.strictEqual(new Set(seen).size, seen.length)
      assert.isAtMost(dense, 2 * window.width + bars.ids.length - seen.length + 1)
      const until = window.from + window.perPixel * window.width
      for (let i = 0; i < bars.ids.length; i++) {
        const isWide = bars.end[i]! - bars.start[i]! >= window.perPixel
        // What only touches the edge may round to nothing.
        const shows = isWide
          ? bars.end[i]! >= window.from + window.perPixel && bars.start[i]! <= until - window.perPixel
          : bars.start[i]! >= window.from && bars.start[i]! < until
        if (shows) assert.include(seen, i)
        if (shows && !isWide && bars.stateErrors[i + 1]! > bars.stateErrors[i]!) {
          assert.isTrue(errors.has(Math.floor((bars.start[i]! - window.from) / window.perPixel)))
        }
      }
    },
    { arbitrary: { runs: 2_000 } }
  )

  it.prop(
    "finds the bar at a time, also where bars overlap",
    { spans: Schema.Array(Span), time: Window.fields.from },
    ({ spans, time }) => {
      const bars = barsOf(spans)
      const found = barAt(bars, whole(bars), time, 20)
      const away = (i: number) => Math.max(0, bars.start[i]! - time, time - bars.end[i]!)
      const least = Math.min(...Array.from(bars.ids, away))
      if (least > 20) assert.isUndefined(found)
      if (least < 20) assert.strictEqual(away(found!), least)
    },
    { arbitrary: { runs: 2_000 } }
  )
})

const modelOf = (events: Iterable<Parameters<TimelineBuilder["add"]>[0]>): Model => {
  const builder = new TimelineBuilder()
  for (const event of events) builder.add(event)
  const steps = makeModel(decodeAll(Buffer.concat(Data.encode(builder.finish("test")))))
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

describe("model", () => {
  it.effect("counts what is in flight, who waits and what failed", () =>
    Effect.gen(function* () {
      const events = yield* sample()
      const { data, end, series, start, summary } = modelOf(events)
      const { sessions, spans } = data
      const rows = Array.from({ length: spans.length }, (_, row) => row).filter((row) => spans.kind[row] === session)
      const flights = rows.map((row) => [spans.start[row]!, spans.start[row]! + spans.duration[row]!] as const)
      const inFlight = (at: number) => flights.filter(([from, until]) => from <= at && at < until).length
      assert.strictEqual(summary.peak, Math.max(...flights.map(([from]) => inFlight(from))))
      assert.strictEqual(summary.max, 6)

      const ended = events.flatMap((event) => (event._tag === "SessionEnded" ? [event] : []))
      const failedAtStart = events.filter((event) => event._tag === "SessionStarted" && event.error !== undefined)
      assert.strictEqual(summary.sessions, ended.length + failedAtStart.length)
      assert.strictEqual(
        summary.byOutcome[Data.outcomes.indexOf("state_error")],
        ended.filter(({ error }) => error?.isStateError === true).length
      )
      assert.strictEqual(summary.failures, events.filter((event) => event._tag === "AcquireFailed").length)

      // The area below a curve is the time of all that it counts.
      const area = (values: Float64Array) => (values.reduce((a, b) => a + b, 0) * (end - start)) / series.bins
      const sum = (values: ReadonlyArray<number>) => values.reduce((a, b) => a + b, 0)
      assert.closeTo(area(series.inFlight), sum(flights.map(([from, until]) => until - from)), 0.1)
      const waited = sum(rows.map((row) => Math.max(0, sessions.waited[spans.session[row]!]!)))
      assert.closeTo(area(series.waiting), waited + sum([...data.failures.waited]), 0.1)
      for (const bin of [200, 700, 1_100]) {
        const at = start + ((bin + 0.5) * (end - start)) / series.bins
        assert.closeTo(series.inFlight[bin]!, inFlight(at), 1)
      }

      // Each pool: at most its own, and the time in which all of it was taken.
      for (const { full, max, peak, pool } of summary.pools) {
        const own = rows.filter((row) => data.lanes.pool[spans.lane[row]!] === pool)
        const taken = (at: number) =>
          own.filter((row) => spans.start[row]! <= at && at < spans.start[row]! + spans.duration[row]!).length
        const moments = own.flatMap((row) => [spans.start[row]!, spans.start[row]! + spans.duration[row]!])
        const sorted = [...new Set(moments)].sort((a, b) => a - b)
        assert.strictEqual(peak, Math.max(...sorted.map(taken)))
        const time = sum(sorted.slice(1).map((at, i) => (taken(sorted[i]!) >= max! ? at - sorted[i]! : 0)))
        assert.closeTo(full, time / (end - start), 1e-6)
      }
    })
  )

  it("has something to say when there is nothing", () => {
    const { groups, summary } = modelOf([])
    assert.deepStrictEqual(groups, [])
    assert.strictEqual(summary.sessions, 0)
    assert.strictEqual(summary.peak, 0)
  })
})

describe("format", () => {
  it("writes durations as people read them", () => {
    assert.deepStrictEqual([0, 0.25, 3.12, 250, 1_234, 59_940, 61_000, 3_700_000, 90_000_000].map(duration), [
      "0 s",
      "250 µs",
      "3.1 ms",
      "250 ms",
      "1.23 s",
      "59.9 s",
      "1 min 1 s",
      "1 h 1 min",
      "1 d 1 h"
    ])
  })

  it("writes ticks as exactly as neighbours need it", () => {
    assert.strictEqual(tick(1_500, 500), "1.5 s")
    assert.strictEqual(tick(61_000, 1_000), "1:01")
    assert.strictEqual(tick(61_250, 50), "1:01.25")
    assert.strictEqual(tick(0.05, 0.01), "50 µs")
  })
})
