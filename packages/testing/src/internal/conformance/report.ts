/** What a run found out, as data that can be stored, and as a text to read. */
import * as Schema from "effect/Schema"
import * as capability from "./capability.ts"
import { type CheckFailed, show } from "./failure.ts"

/** How one check ended. */
export const Outcome = Schema.TaggedUnion({
  Passed: {},
  Failed: {
    message: Schema.String,
    expected: Schema.optional(Schema.String),
    actual: Schema.optional(Schema.String)
  },
  Skipped: {
    reason: Schema.String,
    /** The capabilities that the driver does not have. */
    missing: Schema.Array(Schema.String)
  }
})
export type Outcome = typeof Outcome.Type

export const CheckResult = Schema.Struct({
  id: Schema.String,
  topic: Schema.String,
  title: Schema.String,
  marks: Schema.Array(Schema.String),
  outcome: Outcome,
  durationMillis: Schema.Finite
})
export type CheckResult = typeof CheckResult.Type

/** Everything about one run. */
export const Report = Schema.Struct({
  /** The driver's name. */
  driver: Schema.String,
  image: Schema.String,
  /** Milliseconds since the epoch. */
  startedAt: Schema.Finite,
  durationMillis: Schema.Finite,
  /** Which capabilities were declared. */
  capabilities: Schema.Record(Schema.String, Schema.Boolean),
  results: Schema.Array(CheckResult)
})
export type Report = typeof Report.Type

/** A failure as it is stored. */
export const failed = (failure: CheckFailed): Outcome =>
  Outcome.cases.Failed.make({
    message: failure.message,
    ...(failure.expected === undefined ? {} : { expected: show(failure.expected) }),
    ...(failure.actual === undefined ? {} : { actual: show(failure.actual) })
  })

export const skipped = (missing: ReadonlyArray<capability.Capability>): Outcome =>
  Outcome.cases.Skipped.make({
    reason: missing.map((one) => `${one}: ${capability.whyMissing(one)}`).join("; "),
    missing
  })

const count = (results: ReadonlyArray<CheckResult>, tag: Outcome["_tag"]): number =>
  results.filter((result) => result.outcome._tag === tag).length

const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ")
      .trimEnd()
  )
}

const indent = (text: string, by: string): string => text.replaceAll("\n", `\n${by}`)

/** How many checks each missing capability keeps from running. */
const skips = (report: Report): ReadonlyArray<string> => {
  const byCapability = new Map<string, Array<string>>()
  for (const { id, outcome } of report.results) {
    if (outcome._tag !== "Skipped") continue
    for (const one of outcome.missing) byCapability.set(one, [...(byCapability.get(one) ?? []), id])
  }
  return capability.all.flatMap((one) => {
    const ids = byCapability.get(one)
    if (ids === undefined) return []
    return [`  ${one} (${capability.whyMissing(one)}): ${capability.description(one)}`, `    skips ${ids.join(", ")}`]
  })
}

/** A table by topic with totals, every failure, and what the missing capabilities skip. */
export const format = (report: Report): string => {
  const { results } = report
  const topics = [...new Set(results.map((result) => result.topic))]
  const row = (name: string, some: ReadonlyArray<CheckResult>) => [
    name,
    String(count(some, "Passed")),
    String(count(some, "Failed")),
    String(count(some, "Skipped")),
    seconds(some.reduce((sum, result) => sum + result.durationMillis, 0))
  ]
  const failures = results.flatMap(({ id, marks, outcome, title, topic }) =>
    outcome._tag === "Failed"
      ? [
          `  ${topic} / ${id}: ${title}${marks.length === 0 ? "" : ` (${marks.join(", ")})`}`,
          `    ${indent(outcome.message, "    ")}`,
          ...(outcome.expected === undefined ? [] : [`    expected ${indent(outcome.expected, "    ")}`]),
          ...(outcome.actual === undefined ? [] : [`    actual   ${indent(outcome.actual, "    ")}`])
        ]
      : []
  )
  const missing = skips(report)
  return [
    `Driver ${report.driver} on image ${report.image}: ${count(results, "Passed")} passed, ${count(results, "Failed")} failed, ` +
      `${count(results, "Skipped")} skipped of ${results.length} checks in ${seconds(report.durationMillis)}`,
    "",
    ...table([
      ["topic", "passed", "failed", "skipped", "time"],
      ...topics.map((topic) =>
        row(
          topic,
          results.filter((result) => result.topic === topic)
        )
      ),
      row("total", results)
    ]),
    ...(failures.length === 0 ? [] : ["", "Failed:", ...failures]),
    ...(missing.length === 0 ? [] : ["", "Missing capabilities:", ...missing])
  ].join("\n")
}
