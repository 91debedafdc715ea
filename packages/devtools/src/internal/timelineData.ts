/**
 * What a timeline file carries, and how it is written: tables of columns, each column a run of variable-length
 * integers (decision 0017). Made in Node, read in the page; so nothing here depends on either.
 *
 * ```text
 * u32 length of the header │ header (JSON) │ columns, table by table │ text of all strings (UTF-8)
 * ```
 *
 * Times are milliseconds since `meta.origin`, kept to the microsecond. A reference to a row that is not there is -1.
 */

/** Raised when a reader of today could not read what a writer of tomorrow writes. */
export const version = 1

/** Statuses of a sandbox, in the order of `SandboxStatus.all`. */
export const statuses = [
  "Created",
  "SettingUp",
  "Ready",
  "Acquired",
  "InSession",
  "ExitingSession",
  "ShuttingDown",
  "Offline"
] as const

/** What a bar stands for. The first ones are what a lane consists of, the others are nested in them. */
export const spanKinds = [
  "Session",
  "SandboxStart",
  "SandboxShutDown",
  "EnvironmentStart",
  "EnvironmentShutDown",
  "SandboxActivity",
  "FeatureActivity",
  "FeatureSetUp",
  "FeatureTornDown",
  "FeatureSessionSetUp",
  "FeatureSessionTornDown",
  "SandboxHousekeeping",
  "FeatureHousekeeping",
  "EnvironmentHousekeeping"
] as const
export type SpanKind = (typeof spanKinds)[number]

/** Kinds below this one are what a lane consists of. */
export const firstNested = spanKinds.indexOf("SandboxActivity")

export const outcomes = ["ok", "user_error", "state_error", "interrupted", "unknown"] as const
export type Outcome = (typeof outcomes)[number]

/** Moments in the life of an environment. */
export const markKinds = [
  "EnvironmentStarting",
  "EnvironmentDraining",
  "EnvironmentShuttingDown",
  "ActionRequested"
] as const

/** Bits of `flags`. */
export const startUnknown = 1
export const endUnknown = 2

/** More rows of nested bars than this share the last one. */
export const maxRow = 8

/**
 * How a column is written: `int` as it is, `delta` as the difference to the row before, `time` and `duration` the same
 * two for milliseconds.
 */
type Kind = "int" | "delta" | "time" | "duration"

const schema = {
  environments: { name: "int", start: "time", end: "time" },
  /** One for each image of each environment, and one without image for what belongs to the environment itself. */
  pools: { environment: "int", image: "int", min: "int", max: "int" },
  /** One for each slot of a pool, in the order in which they are shown. */
  lanes: { pool: "int", slot: "int" },
  errors: { tag: "int", message: "int", outcome: "int" },
  sandboxes: {
    name: "delta",
    lane: "delta",
    generation: "int",
    start: "time",
    end: "time",
    flags: "int",
    isolation: "int",
    fallback: "int",
    reason: "int"
  },
  /** Time that a sandbox spent in a status; sorted by lane and start. */
  segments: { lane: "delta", sandbox: "delta", status: "int", start: "time", duration: "duration", flags: "int" },
  /** What the span of a session does not say. */
  sessions: { name: "delta", sandbox: "delta", waited: "duration", setUp: "duration", tearDown: "duration" },
  /** Bars; sorted by lane, row and start. */
  spans: {
    kind: "int",
    lane: "delta",
    row: "delta",
    sandbox: "delta",
    session: "delta",
    name: "delta",
    feature: "int",
    start: "time",
    duration: "duration",
    outcome: "int",
    error: "int",
    flags: "int"
  },
  outages: { pool: "int", start: "time", duration: "duration", attempts: "int", error: "int", flags: "int" },
  /** Those who waited for a sandbox and got none. */
  failures: { pool: "int", start: "time", waited: "duration", error: "int", outcome: "int" },
  marks: { kind: "int", environment: "int", start: "time", text: "int", sandbox: "int", error: "int" }
} as const satisfies { readonly [table: string]: { readonly [column: string]: Kind } }

type Schema = typeof schema
export type TableName = keyof Schema
type Column<K> = K extends "int" | "delta" ? Int32Array : Float64Array

/** A table: one array for each of its columns. */
export type Table<T extends TableName> = { readonly length: number } & {
  readonly [C in keyof Schema[T]]: Column<Schema[T][C]>
}

/** A row of a table, to be written. */
export type Row<T extends TableName> = { readonly [C in keyof Schema[T]]: number }

export type Tables = { readonly [T in TableName]: Table<T> }

export interface Meta {
  readonly title: string
  /** How many events it was made from. */
  readonly events: number
  /** Milliseconds since the epoch of what all times count from: the first event. */
  readonly origin: number
  /** When the first thing that is known began, which may be before the first event. */
  readonly start: number
  /** Of the last event. */
  readonly end: number
  /** Whether the pools had the right size, in the words of an analysis. */
  readonly verdicts: ReadonlyArray<{ readonly environment: string; readonly image: string; readonly text: string }>
}

export interface TimelineData extends Tables {
  readonly meta: Meta
  readonly strings: Strings
}

/** All texts, each of them once. They are decoded when they are asked for. */
export interface Strings {
  readonly length: number
  /** The text of a reference; of none, nothing. */
  readonly at: (index: number) => string
}

/** A table that grows. */
export class TableBuilder<T extends TableName> {
  readonly name: T
  length = 0
  private readonly columns: Array<Int32Array | Float64Array>
  private readonly names: ReadonlyArray<keyof Schema[T] & string>

  constructor(name: T) {
    this.name = name
    this.names = columnsOf(name)
    this.columns = this.names.map((column) => arrayFor(kindOf(name, column), 64))
  }

  push(row: Row<T>): number {
    const index = this.length++
    for (let c = 0; c < this.names.length; c++) {
      let column = this.columns[c]!
      if (index === column.length) {
        const larger = arrayFor(kindOf(this.name, this.names[c]!), column.length * 2)
        larger.set(column)
        column = this.columns[c] = larger
      }
      column[index] = row[this.names[c]!]
    }
    return index
  }

  get(index: number, column: keyof Schema[T] & string): number {
    return this.columns[this.names.indexOf(column)]![index]!
  }

  set(index: number, column: keyof Schema[T] & string, value: number): void {
    this.columns[this.names.indexOf(column)]![index] = value
  }

  /** The rows as a table, in the order that is given, or else in theirs. */
  table(order?: Uint32Array): Table<T> {
    const table: Record<string, unknown> = { length: this.length }
    this.names.forEach((name, c) => {
      const rows = this.columns[c]!.subarray(0, this.length)
      table[name] = order === undefined ? rows : rows.map((_, index) => rows[order[index]!]!)
    })
    // The names and the kinds of the arrays are those of the schema.
    return table as unknown as Table<T>
  }
}

const columnsOf = <T extends TableName>(table: T): ReadonlyArray<keyof Schema[T] & string> =>
  // `Object.keys` forgets the names that it lists.
  Object.keys(schema[table]) as unknown as ReadonlyArray<keyof Schema[T] & string>

const kindOf = (table: TableName, column: string): Kind =>
  (schema[table] as { readonly [column: string]: Kind })[column]!

const arrayFor = (kind: Kind, length: number): Int32Array | Float64Array =>
  kind === "int" || kind === "delta" ? new Int32Array(length) : new Float64Array(length)

const tableNames = Object.keys(schema) as unknown as ReadonlyArray<TableName>

// ---------------------------------------------------------------------------------------------------------------------
// Writing
// ---------------------------------------------------------------------------------------------------------------------

interface Header {
  readonly version: number
  readonly meta: Meta
  /** How many rows each table has. */
  readonly rows: { readonly [table: string]: number }
  /** How many bytes each column takes. */
  readonly bytes: { readonly [column: string]: number }
  readonly strings: number
}

/** What a file carries, as pieces of a few kilobytes to megabytes. */
export const encode = (
  data: Tables & { readonly meta: Meta; readonly strings: ReadonlyArray<string> }
): Array<Uint8Array> => {
  const bytes: Record<string, number> = {}
  const rows: Record<string, number> = {}
  const pieces: Array<Uint8Array> = []
  const write = (name: string, kind: Kind, values: ArrayLike<number>): void => {
    const piece = encodeColumn(kind, values)
    bytes[name] = piece.length
    pieces.push(piece)
  }
  for (const table of tableNames) {
    rows[table] = data[table].length
    for (const column of columnsOf(table)) {
      write(`${table}.${column}`, kindOf(table, column), (data[table] as unknown as Columns)[column]!)
    }
  }
  const encoder = new TextEncoder()
  const lengths = new Int32Array(data.strings.length)
  const texts: Array<Uint8Array> = []
  // Encoding many small strings one by one would leave as many small arrays.
  for (let from = 0; from < data.strings.length; from += 1024) {
    const some = data.strings.slice(from, from + 1024).map(wellFormed)
    some.forEach((text, index) => {
      lengths[from + index] = utf8Length(text)
    })
    texts.push(encoder.encode(some.join("")))
  }
  write("strings", "int", lengths)
  const header: Header = { version, meta: data.meta, rows, bytes, strings: data.strings.length }
  const json = encoder.encode(JSON.stringify(header))
  const length = new Uint8Array(4)
  new DataView(length.buffer).setUint32(0, json.length)
  return [length, json, ...pieces, ...texts]
}

type Columns = { readonly [column: string]: ArrayLike<number> }

/** A half of a surrogate pair has no bytes of its own in UTF-8. */
const wellFormed = (text: string): string =>
  text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd")

const utf8Length = (text: string): number => {
  let length = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x80) length += 1
    else if (code < 0x800) length += 2
    else if (code >= 0xd800 && code < 0xe000) length += 2 // half of a pair, which takes four
    else length += 3
  }
  return length
}

/** Beyond this, sums of two would not be exact any more; 35 years in microseconds. */
const limit = 2 ** 50

const isTime = (kind: Kind): boolean => kind === "time" || kind === "duration"

const encodeColumn = (kind: Kind, values: ArrayLike<number>): Uint8Array => {
  let bytes = new Uint8Array(Math.max(64, values.length * 2))
  let at = 0
  let before = 0
  const isDelta = kind === "delta" || kind === "time"
  const scale = isTime(kind) ? 1000 : 1
  for (let i = 0; i < values.length; i++) {
    if (at + 8 > bytes.length) {
      const larger = new Uint8Array(bytes.length * 2)
      larger.set(bytes)
      bytes = larger
    }
    const value = Math.max(-limit, Math.min(limit, Math.round(values[i]! * scale) || 0))
    const told = isDelta ? value - before : value
    before = value
    // The sign is the lowest bit, so that small numbers of either sign are short.
    let rest = told >= 0 ? told * 2 : -told * 2 - 1
    while (rest >= 0x80) {
      bytes[at++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    bytes[at++] = rest
  }
  return bytes.subarray(0, at)
}

// ---------------------------------------------------------------------------------------------------------------------
// Reading
// ---------------------------------------------------------------------------------------------------------------------

/** Reads what `encode` wrote. Stops after every few thousand values, so that a page can stay responsive. */
export function* decode(bytes: Uint8Array): Generator<void, TimelineData> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const decoder = new TextDecoder()
  let at = 4 + view.getUint32(0)
  const header = JSON.parse(decoder.decode(bytes.subarray(4, at))) as Header // what `encode` wrote
  if (header.version !== version) throw new Error(`unknown version ${header.version} of the format`)
  const read = function* (name: string, kind: Kind, rows: number): Generator<void, Int32Array | Float64Array> {
    const length = header.bytes[name]!
    const values = yield* decodeColumn(kind, bytes.subarray(at, at + length), rows)
    at += length
    return values
  }
  const tables: Record<string, unknown> = {}
  for (const table of tableNames) {
    const rows = header.rows[table]!
    const columns: Record<string, unknown> = { length: rows }
    for (const column of columnsOf(table)) {
      columns[column] = yield* read(`${table}.${column}`, kindOf(table, column), rows)
    }
    tables[table] = columns
  }
  const lengths = yield* read("strings", "int", header.strings)
  const offsets = new Uint32Array(header.strings + 1)
  for (let i = 0; i < header.strings; i++) offsets[i + 1] = offsets[i]! + lengths[i]!
  const text = bytes.subarray(at)
  const known: Array<string | undefined> = []
  const strings: Strings = {
    length: header.strings,
    at: (index) => {
      if (index < 0 || index >= header.strings) return ""
      return (known[index] ??= decoder.decode(text.subarray(offsets[index], offsets[index + 1])))
    }
  }
  // The tables are those of the schema.
  return { ...(tables as unknown as Tables), meta: header.meta, strings }
}

function* decodeColumn(kind: Kind, bytes: Uint8Array, rows: number): Generator<void, Int32Array | Float64Array> {
  const values = arrayFor(kind, rows)
  const isDelta = kind === "delta" || kind === "time"
  const inTime = isTime(kind)
  let at = 0
  let before = 0
  for (let i = 0; i < rows; i++) {
    let byte = bytes[at++]!
    let rest = byte & 0x7f
    let factor = 0x80
    while (byte >= 0x80) {
      byte = bytes[at++]!
      rest += (byte & 0x7f) * factor
      factor *= 0x80
    }
    const told = rest % 2 === 0 ? rest / 2 : -(rest + 1) / 2
    before = isDelta ? before + told : told
    values[i] = inTime ? before / 1000 : before
    if ((i & 0xffff) === 0xffff) yield
  }
  return values
}
