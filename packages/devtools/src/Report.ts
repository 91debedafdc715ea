/**
 * A report of `Analysis` as people read it in a terminal, and as JSON.
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { NodeServices } from "@effect/platform-node"
 * import { Analysis, Journal, Report } from "@effect-sandbox/devtools"
 *
 * const program = Effect.gen(function*() {
 *   const report = yield* Analysis.fromStream(Journal.read("lab.jsonl"))
 *   yield* Console.log(Report.text(report, { width: 120, colors: true }))
 *   yield* Console.log(Report.json(report))
 * }).pipe(Effect.provide(NodeServices.layer))
 * ```
 */
import * as Schema from "effect/Schema"
import * as Analysis from "./Analysis.ts"
import { sections } from "./internal/reportText.ts"

export interface Options {
  /** How many cells a line may take, at least 60. Default: 80. */
  readonly width?: number | undefined
  /** Whether it is coloured. Default: false. */
  readonly colors?: boolean | undefined
  /** How many rows of each table are shown. Default: 10. */
  readonly rows?: number | undefined
}

/** The report as text, the answer first; without a line break at the end. */
export const text = (report: Analysis.Report, options: Options = {}): string =>
  sections(report, {
    width: Math.max(60, Math.floor(options.width ?? 80)),
    colors: options.colors ?? false,
    rows: Math.max(1, Math.floor(options.rows ?? 10))
  })
    .map((lines) => lines.join("\n"))
    .join("\n\n")

const encode = Schema.encodeSync(Schema.fromJsonString(Analysis.Report))

/** The report as one line of JSON, which `Analysis.Report` decodes. */
export const json = (report: Analysis.Report): string => encode(report)
