/** Finds expected events in a record: as a subsequence, and exactly. */
import { type Bindings, type Matcher, noBindings, type Row } from "./eventPattern.ts"
import { type Entry, nearest } from "./eventReport.ts"

/** The rows at which the longest beginning of the patterns was found, by index. */
export interface Found {
  readonly found: ReadonlyArray<number>
  readonly bindings: Bindings
}

/** A search gives up looking for other bindings after so many attempts; it then may miss a match, never invent one. */
const maxAttempts = 100_000

/** Finds patterns as a subsequence. Placeholders are bound in every way until all of it fits. */
export const searchInOrder = (matchers: ReadonlyArray<Matcher>, rows: ReadonlyArray<Row>): Found => {
  let best: Found = { found: [], bindings: noBindings }
  let attempts = 0
  const from = (start: number, so: Found): boolean => {
    if (so.found.length > best.found.length) best = so
    const matcher = matchers[so.found.length]
    if (matcher === undefined) return true
    for (const [offset, row] of rows.slice(start).entries()) {
      if (++attempts > maxAttempts) return false
      const bindings = matcher.match(row, so.bindings)
      if (bindings === undefined) continue
      const index = start + offset
      if (from(index + 1, { found: [...so.found, index], bindings })) return true
      // The first match is the best one, unless it decides what a placeholder stands for.
      if (!matcher.isOpen(so.bindings)) return false
    }
    return false
  }
  from(0, best)
  return best
}

/** The record and the patterns side by side: as expected, missing, and not expected. */
export const alignExactly = (matchers: ReadonlyArray<Matcher>, rows: ReadonlyArray<Row>): ReadonlyArray<Entry> => {
  const entries: Array<Entry> = []
  let bindings = noBindings
  let same = 0
  for (; same < Math.min(matchers.length, rows.length); same++) {
    const row = rows[same]
    const next = row === undefined ? undefined : matchers[same]?.match(row, bindings)
    if (row === undefined || next === undefined) break
    bindings = next
    entries.push({ mark: "=", number: row.number, line: row.line })
  }
  const expected = matchers.slice(same)
  const recorded = rows.slice(same)
  const fits = (matcher: Matcher, row: Row) => matcher.match(row, bindings) !== undefined
  const lengths = commonLengths(expected, recorded, fits)
  let i = 0
  let j = 0
  while (i < expected.length || j < recorded.length) {
    const matcher = expected[i]
    const row = recorded[j]
    if (matcher !== undefined && row !== undefined && fits(matcher, row)) {
      entries.push({ mark: "=", number: row.number, line: row.line })
      i++
      j++
    } else if (
      row === undefined ||
      (matcher !== undefined && lengthAt(lengths, i + 1, j) >= lengthAt(lengths, i, j + 1))
    ) {
      const near = matcher === undefined ? undefined : nearest(matcher, recorded.slice(j, j + 1), bindings)
      entries.push({ mark: "-", line: matcher?.text ?? "", note: near?.difference })
      i++
    } else {
      entries.push({ mark: "+", number: row.number, line: row.line })
      j++
    }
  }
  return entries
}

type Lengths = ReadonlyArray<ReadonlyArray<number>>

const lengthAt = (lengths: Lengths, i: number, j: number): number => lengths[i]?.[j] ?? 0

/** How many of the patterns from `i` on fit the rows from `j` on, in order, at most: for all `i` and `j`. */
const commonLengths = (
  expected: ReadonlyArray<Matcher>,
  recorded: ReadonlyArray<Row>,
  fits: (matcher: Matcher, row: Row) => boolean
): Lengths => {
  const lengths: Array<Array<number>> = expected.map(() => [])
  for (let i = expected.length - 1; i >= 0; i--) {
    for (let j = recorded.length - 1; j >= 0; j--) {
      const matcher = expected[i]
      const row = recorded[j]
      const line = lengths[i]
      if (matcher === undefined || row === undefined || line === undefined) continue
      line[j] = fits(matcher, row)
        ? lengthAt(lengths, i + 1, j + 1) + 1
        : Math.max(lengthAt(lengths, i + 1, j), lengthAt(lengths, i, j + 1))
    }
  }
  return lengths
}
