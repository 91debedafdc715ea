/** Text for terminals: colours, tables whose columns are aligned, and sparklines. */

const codes = { bold: "1", dim: "2", red: "31", green: "32", yellow: "33", cyan: "36" } as const

export type Style = keyof typeof codes

export type Paint = (style: Style | undefined, text: string) => string

/** Colours, or nothing. */
export const painter = (colors: boolean): Paint =>
  colors
    ? (style, text) => (style === undefined || text === "" ? text : `\u001b[${codes[style]}m${text}\u001b[0m`)
    : (_style, text) => text

/** Texts come from anywhere: line breaks and terminal codes in them must not break a line. */
// oxlint-disable-next-line no-control-regex
export const oneLine = (text: string): string => text.trim().replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, " ")

/** Ranges of characters that take two cells of a terminal: Chinese, Japanese, Korean, and pictures. */
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1f64f}\u{1f680}-\u{1faff}\u{20000}-\u{3fffd}]/u
/** Marks that take none: they belong to the character before. */
const marks = /[\p{Mn}\p{Me}\p{Cf}]/u

const cells = (char: string): number => (marks.test(char) ? 0 : wide.test(char) ? 2 : 1)

/** How many cells of a terminal a text takes. */
export const widthOf = (text: string): number => {
  let width = 0
  for (const char of text) width += cells(char)
  return width
}

/** Cuts what does not fit, and says so. */
export const fit = (text: string, width: number): string => {
  if (widthOf(text) <= width) return text
  if (width < 1) return ""
  let kept = ""
  let used = 0
  for (const char of text) {
    used += cells(char)
    if (used > width - 1) break
    kept += char
  }
  return `${kept}…`
}

const pad = (text: string, width: number, side: "left" | "right"): string => {
  const space = " ".repeat(Math.max(0, width - widthOf(text)))
  return side === "right" ? space + text : text + space
}

/** Breaks a text at spaces into lines of at most so many cells; later lines are indented. */
export const wrap = (text: string, width: number, indent: string): ReadonlyArray<string> => {
  const lines: Array<string> = []
  let line = ""
  for (const word of text.split(" ")) {
    const longer = line === "" ? word : `${line} ${word}`
    if (line.trim() !== "" && widthOf(longer) > width) {
      lines.push(line)
      line = indent + word
    } else {
      line = longer
    }
  }
  lines.push(line)
  return lines
}

export interface Column {
  readonly title: string
  /** Numbers are aligned at the right. Default: left. */
  readonly align?: "left" | "right" | undefined
  /** What it may be cut to when the terminal is narrow. Default: it is never cut. */
  readonly min?: number | undefined
  /** Whether it may be left out when that is not enough; the last goes first. Default: false. */
  readonly isOptional?: boolean | undefined
}

/** A cell, or one with a colour. */
export type Cell = string | { readonly text: string; readonly style: Style | undefined }

const gap = "  "

/**
 * A table with a line of titles, indented by two. When it does not fit, the widest column that may is cut, and then
 * columns are left out that may be.
 */
export const table = (
  columns: ReadonlyArray<Column>,
  rows: ReadonlyArray<ReadonlyArray<Cell>>,
  { paint, width }: { readonly paint: Paint; readonly width: number }
): ReadonlyArray<string> => {
  const all = columns.map((column, index): Laid => {
    const cells = rows.map((row) => cleaned(row[index] ?? ""))
    return { column, cells, width: Math.max(widthOf(column.title), ...cells.map(({ text }) => widthOf(text))) }
  })
  const laid = narrowed(all, width)
  const line = (cellOf: (one: Laid) => { readonly text: string; readonly style: Style | undefined }): string =>
    laid
      .map((one, index) => {
        const { style, text } = cellOf(one)
        const cut = fit(text, one.width)
        const isRight = one.column.align === "right"
        const isLast = index === laid.length - 1 && !isRight
        return gap + paint(style, isLast ? cut : pad(cut, one.width, isRight ? "right" : "left"))
      })
      .join("")
      .trimEnd()
  return [
    line(({ column }) => ({ text: column.title, style: "dim" })),
    ...rows.map((_, row) => line(({ cells }) => cells[row] ?? { text: "", style: undefined }))
  ]
}

interface Laid {
  readonly column: Column
  readonly cells: ReadonlyArray<{ readonly text: string; readonly style: Style | undefined }>
  readonly width: number
}

const cleaned = (cell: Cell): Laid["cells"][number] =>
  typeof cell === "string" ? { text: oneLine(cell), style: undefined } : { ...cell, text: oneLine(cell.text) }

const narrowed = (columns: ReadonlyArray<Laid>, width: number): ReadonlyArray<Laid> => {
  const excess = columns.reduce((sum, one) => sum + gap.length + one.width, 0) - width
  if (excess <= 0) return columns
  const widest = columns.reduce<Laid | undefined>(
    (widest, one) => (one.width > (one.column.min ?? Infinity) && one.width > (widest?.width ?? 0) ? one : widest),
    undefined
  )
  if (widest !== undefined) {
    return narrowed(
      columns.map((one) => (one === widest ? { ...one, width: one.width - 1 } : one)),
      width
    )
  }
  const last = columns.findLastIndex(({ column }) => column.isOptional === true)
  return last === -1 ? columns : narrowed(columns.toSpliced(last, 1), width)
}

const bars = "▁▂▃▄▅▆▇█"

/** A line of bars, from 0 to `max`; nothing where there is no value, and where it is 0 a blank. */
export const sparkline = (values: ReadonlyArray<number | undefined>, max: number): string =>
  values
    .map((value) => {
      if (value === undefined || !(value > 0) || !(max > 0)) return " "
      return bars[Math.min(bars.length - 1, Math.floor((value / max) * bars.length))] ?? " "
    })
    .join("")

/** As many averages as there is room for, of values that each stand for as long a time. */
export const resample = (values: ReadonlyArray<number>, size: number): ReadonlyArray<number> => {
  if (values.length <= size) return values
  return Array.from({ length: size }, (_, index) => {
    const from = (index * values.length) / size
    const until = ((index + 1) * values.length) / size
    let sum = 0
    for (let at = Math.floor(from); at < until; at++) {
      sum += (values[at] ?? 0) * (Math.min(until, at + 1) - Math.max(from, at))
    }
    return sum / (until - from)
  })
}
