/** A record of events as lines, with marks: what a failed expectation shows. */
import type { Bindings, Matcher, Row } from "./eventPattern.ts"

/** `=` as expected, `-` expected and missing, `+` recorded and not expected, `~` the nearest to what is missing. */
export type Mark = " " | "=" | "-" | "+" | "~"

/** One line of a report: a recorded one has a number, a missing one has none. */
export interface Entry {
  readonly mark: Mark
  readonly number?: number | undefined
  readonly line: string
  readonly note?: string | undefined
}

/** How many lines are shown before and after those that matter. */
const around = 3

/**
 * The lines of a report. What is as expected is context: shown near what is not. With `keep`, it is always shown, and
 * what is not expected to be anything at all is the context.
 */
export const render = (
  entries: ReadonlyArray<Entry>,
  options: { readonly keep: boolean; readonly width?: number | undefined }
): ReadonlyArray<string> => {
  const matters = ({ mark, note }: Entry) => (mark !== " " && mark !== "=") || note !== undefined
  const shown = entries.map(
    (entry, index) =>
      (options.keep && entry.mark === "=") ||
      entries.slice(Math.max(0, index - around), index + around + 1).some(matters)
  )
  const width = options.width ?? widthOf(entries)
  const lines: Array<string> = []
  let skipped = 0
  const skip = (): void => {
    if (skipped > 0) lines.push(`  ${" ".repeat(width)}   … ${skipped} more`)
    skipped = 0
  }
  for (const [index, { line, mark, note, number }] of entries.entries()) {
    if (shown[index] !== true) {
      skipped++
      continue
    }
    skip()
    const place = (number === undefined ? "" : String(number)).padStart(width)
    lines.push(`  ${place} ${mark} ${line}${note === undefined ? "" : `   <- ${note}`}`)
  }
  skip()
  return lines.length === 0 ? ["  nothing was recorded"] : lines
}

/** How wide the numbers are. */
export const widthOf = (entries: ReadonlyArray<Entry>): number =>
  String(Math.max(0, ...entries.map(({ number }) => number ?? 0))).length

/** The row that is most like what was expected, if any is like it at all. */
export const nearest = (
  matcher: Matcher,
  rows: ReadonlyArray<Row>,
  bindings: Bindings
): { readonly row: Row; readonly note: string; readonly difference?: string | undefined } | undefined => {
  let best: { readonly row: Row; readonly score: number; readonly difference: string | undefined } | undefined
  for (const row of rows) {
    const { difference, score } = matcher.likeness(row, bindings)
    if (score >= 0.5 && (best === undefined || score > best.score)) best = { row, score, difference }
  }
  if (best === undefined) return undefined
  const { difference, row } = best
  return difference === undefined || difference === ""
    ? { row, note: "nearest" }
    : { row, note: `nearest: ${difference}`, difference }
}
