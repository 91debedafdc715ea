import { ImageId, type SandboxEvent } from "@effect-sandbox/core"
import { Analysis, Report } from "@effect-sandbox/devtools"
import { assert, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { fit, sparkline, table, painter, widthOf, wrap } from "../src/internal/terminal.ts"
import { count, duration, percent } from "../src/internal/words.ts"
import { moved } from "./support/runs.ts"
import * as Sample from "./support/sampleRun.ts"

type Event = SandboxEvent.SandboxEvent

const reportOf = (events: ReadonlyArray<Event>) => Analysis.fromStream(Stream.fromIterable(events))

// oxlint-disable-next-line no-control-regex
const withoutColors = (text: string): string => text.replaceAll(/\u001b\[\d+m/g, "")

it.effect("begins with the answers", () =>
  Effect.gen(function* () {
    const report = yield* reportOf(yield* Sample.run({ tasks: 60, callers: 12, pool: { min: 2, max: 3 } }))
    const lines = Report.text(report, { width: 100 }).split("\n")
    assert.strictEqual(lines[0], "app/Lab")
    assert.match(lines[1] ?? "", /^1970-01-01 00:00:00 to 1970-01-01 00:0\d:\d\d UTC, .+, \d+ events$/)
    assert.match(
      lines.slice(3, 5).join(" ").replaceAll(/ +/g, " "),
      /^✗ The pool of python:3\.12 was too small: callers spent \d\d % of their time waiting, >?\d+ % of that while all 3 sandboxes were taken; about 1[2-5] were wanted at the busiest$/
    )
    assert.deepStrictEqual(lines.slice(5, 7), ["! 60 sessions: 56 went well, 4 failed", "✓ Nothing was left behind"])
  })
)

it.effect("has a section for everything that there is, and none for what there is not", () =>
  Effect.gen(function* () {
    const titles = (text: string) => text.split("\n\n").map((section) => section.split("\n")[0])
    const eventful = yield* reportOf(yield* Sample.run({ faults: true }))
    assert.deepStrictEqual(titles(Report.text(eventful)).slice(2), [
      "python:3.12",
      "Pools",
      "Times",
      "Failures",
      "Slowest activities",
      "Activities, by the time they took together",
      "Features",
      "Outages",
      "Why sandboxes ended"
    ])
    const unused = yield* reportOf(yield* Sample.run({ tasks: 0 }))
    assert.deepStrictEqual(titles(Report.text(unused)).slice(2), [
      "python:3.12",
      "Pools",
      "Times",
      "Features",
      "Why sandboxes ended"
    ])
    assert.strictEqual(Report.text(yield* reportOf([])), "No events.")
  })
)

it.effect("no line is wider than it may be", () =>
  Effect.gen(function* () {
    const one = yield* Sample.run({ faults: true })
    const long = moved(one, "an environment/with a name/that is longer than most names of environments ever are", 500)
    const report = yield* reportOf([...one, ...long])
    for (const width of [60, 80, 100, 160]) {
      for (const line of Report.text(report, { width }).split("\n")) {
        assert.isAtMost(widthOf(line), width, `${width}: ${line}`)
      }
    }
  })
)

it.effect("colours change nothing but the colours, and are only there when asked for", () =>
  Effect.gen(function* () {
    const report = yield* reportOf(yield* Sample.run({ faults: true }))
    const coloured = Report.text(report, { width: 100, colors: true })
    assert.notInclude(Report.text(report, { width: 100 }), "\u001b")
    assert.include(coloured, "\u001b[31m✗\u001b[0m")
    assert.strictEqual(withoutColors(coloured), Report.text(report, { width: 100 }))
  })
)

it.effect("names and messages cannot write to the terminal", () =>
  Effect.gen(function* () {
    const events = (yield* Sample.run({ faults: true })).map((event): Event => {
      const image = "image" in event ? { image: ImageId.make("evil\u001b[2J\n\rimage") } : {}
      const error =
        "error" in event && event.error !== undefined
          ? { error: { ...event.error, tag: "T\u001b]0;x\u0007", message: "a\nb\u001b[1A" } }
          : {}
      return { ...event, ...image, ...error } as Event // the same kind with other texts
    })
    const text = Report.text(yield* reportOf(events), { rows: 100 })
    // oxlint-disable-next-line no-control-regex
    assert.notMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/)
    const sections = text.split("\n\n").length
    assert.strictEqual(sections, 11)
  })
)

it.effect("shows as many rows as asked for, and says how many there are", () =>
  Effect.gen(function* () {
    const report = yield* reportOf(yield* Sample.run({ faults: true }))
    const section =
      Report.text(report, { rows: 2 })
        .split("\n\n")
        .find((one) => one.startsWith("Failures")) ?? ""
    assert.strictEqual(section.split("\n")[0], `Failures (the first 2 of ${report.failures.length})`)
    assert.strictEqual(section.split("\n").length, 4)
  })
)

it.effect("as JSON it is what the schema decodes", () =>
  Effect.gen(function* () {
    const report = yield* reportOf(yield* Sample.run({ tasks: 5 }))
    assert.deepStrictEqual(
      yield* Schema.decodeEffect(Schema.fromJsonString(Analysis.Report))(Report.json(report)),
      report
    )
    assert.notInclude(Report.json(report), "\n")
  })
)

it("durations are told with about three digits", () => {
  const told = [
    0, 0.25, 0.9999, 1, 9.994, 99.94, 999.4, 999.6, 1250, 99_940, 99_960, 125_000, 3_599_600, 11_520_000, 187_200_000,
    -5
  ]
  assert.deepStrictEqual(told.map(duration), [
    "0 ms",
    "250 µs",
    "1 ms",
    "1 ms",
    "9.99 ms",
    "99.9 ms",
    "999 ms",
    "1 s",
    "1.25 s",
    "99.9 s",
    "1 min 40 s",
    "2 min 5 s",
    "1 h",
    "3 h 12 min",
    "2 d 4 h",
    "-5 ms"
  ])
})

it("shares do not look like nothing or all when they are not", () => {
  assert.deepStrictEqual([0, 0.0001, 0.042, 0.37, 0.999, 1].map(percent), [
    "0 %",
    "<0.1 %",
    "4.2 %",
    "37 %",
    ">99 %",
    "100 %"
  ])
  assert.deepStrictEqual([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1 000", "1 234 567"])
})

it("texts are measured in cells, cut with a mark, and wrapped at spaces", () => {
  assert.strictEqual(widthOf("naïve 日本 e\u0301"), 12)
  assert.strictEqual(fit("日本語", 4), "日…")
  assert.strictEqual(fit("abcdef", 6), "abcdef")
  assert.deepStrictEqual(wrap("one two three four", 9, "  "), ["one two", "  three", "  four"])
})

it("tables are aligned, and the widest column that may is cut", () => {
  const columns = [
    { title: "name", min: 4 },
    { title: "count", align: "right" as const },
    { title: "what", min: 4 }
  ]
  const rows = [
    ["a", "1", "short"],
    ["日本語", "1000", "a text that does not fit"]
  ]
  assert.deepStrictEqual(table(columns, rows, { paint: painter(false), width: 32 }), [
    "  name    count  what",
    "  a           1  short",
    "  日本語   1000  a text that do…"
  ])
})

it("sparklines tell nothing, little and all apart", () => {
  assert.strictEqual(sparkline([0, 0.01, 0.5, 0.99, 1, undefined, 2], 1), " ▁▅██ █")
  assert.strictEqual(sparkline([1], 0), " ")
})
