/**
 * Reads a journal in a database, page by page and in the order of writing.
 *
 * The filter becomes SQL. An index that serves a single value yields rows in the order of `id`, which is what pages
 * need. With several values it would have to sort everything for each page; where many rows are to be expected the
 * table is walked instead, which `+` in front of a column makes SQLite do.
 */
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as EventFilter from "../EventFilter.ts"
import type { ReadOptions } from "../EventJournal.ts"
import { Damaged, JournalError, JournalNotFound, NotAJournal } from "../JournalError.ts"
import { parse } from "./eventLines.ts"
import { unavailable as unavailableFile } from "./journalFiles.ts"
import * as SqliteClient from "./sqliteClient.ts"
import { check, unavailable } from "./sqliteSchema.ts"

const pageSize = 2_000

const busyTimeoutMillis = 5_000

export const read = (
  file: string,
  options: ReadOptions
): Stream.Stream<SandboxEvent, JournalError, FileSystem.FileSystem> =>
  Stream.unwrap(
    Effect.map(openForReading(file, options), (sql) => Stream.fromPull(Effect.sync(() => pull(sql, file, options))))
  )

/** Opens it until the scope closes, or nothing when there is no journal in the file yet. */
const openIfThere = Effect.fnUntraced(function* (file: string) {
  const own = yield* Scope.fork(yield* Effect.scope)
  const open = Effect.gen(function* () {
    const { sql } = yield* Scope.provide(SqliteClient.make({ file, readOnly: true, busyTimeoutMillis }), own)
    return (yield* check(sql, file)) ? sql : undefined
  })
  const sql = yield* open.pipe(Effect.mapError(unavailable(file, "open")), Effect.withTracerEnabled(false))
  if (sql === undefined) yield* Scope.close(own, Exit.void)
  return sql
})

/** Waits for the journal to be there if it is to be followed. */
const openForReading = Effect.fnUntraced(function* (file: string, options: ReadOptions) {
  const { follow = false, pollInterval = "100 millis" } = options
  const fs = yield* FileSystem.FileSystem
  while (true) {
    const isThere = yield* Effect.mapError(fs.exists(file), unavailableFile(file, "open"))
    const sql = isThere ? yield* openIfThere(file) : undefined
    if (sql !== undefined) return sql
    if (!follow) {
      const reason = isThere ? new NotAJournal({ file, description: "it is empty" }) : new JournalNotFound({ file })
      return yield* new JournalError({ reason })
    }
    yield* Effect.sleep(pollInterval)
  }
})

const pull = (sql: SqlClient, file: string, options: ReadOptions) => {
  const { filter = {}, follow = false, onDamage = "fail", pollInterval = "100 millis" } = options
  // In the end the rule itself decides, also about texts that no database can hold.
  const passes = EventFilter.matches(filter)
  const conditions = conditionsOf(sql, filter)
  /** Up to here all is read. */
  let position = 0
  let isStarted = false
  let isDone = false
  let failure: JournalError | undefined
  let skipped = 0

  const start = Effect.gen(function* () {
    isStarted = true
    const { from, until } = filter
    if (from === undefined && until === undefined) return
    // Times come almost in order, so that the first row in time is a good place to begin. With `+` the index is asked.
    const [[first] = [null]] = yield* sql`SELECT min(+id) FROM events WHERE ${sql.and(timesOf(sql, filter))}`.values
    if (typeof first === "number") position = first - 1
  })

  const decode = Effect.fnUntraced(function* (rows: ReadonlyArray<ReadonlyArray<unknown>>) {
    const events: Array<SandboxEvent> = []
    for (const [id, text] of rows) {
      const event = parse(String(text))
      if (Result.isSuccess(event)) {
        if (passes(event.success)) events.push(event.success)
        continue
      }
      const reason = new Damaged({ file, position: Number(id), description: event.failure })
      const error = new JournalError({ reason })
      if (onDamage === "fail") {
        failure = error
        break
      }
      if (skipped++ === 0) {
        yield* Effect.logWarning(`Damaged rows are left out, and only the first is told: ${error.message}`)
      }
    }
    return events
  })

  const page = Effect.gen(function* () {
    if (!isStarted) yield* start
    const [[last] = [null]] = yield* sql`SELECT max(id) FROM events`.values
    const end = typeof last === "number" ? last : 0
    if (position >= end) return undefined
    const inRange = sql`id > ${position} AND id <= ${end}`
    const rows = yield* sql`SELECT id, event FROM events WHERE ${sql.and([inRange, ...conditions])}
      ORDER BY id LIMIT ${pageSize}`.values
    position = rows.length < pageSize ? end : Number(rows[rows.length - 1]?.[0])
    return yield* decode(rows)
  }).pipe(Effect.mapError(unavailable(file, "read")), Effect.withTracerEnabled(false))

  return Effect.gen(function* () {
    while (!isDone) {
      if (failure !== undefined) return yield* failure
      const events = yield* page
      if (events === undefined) {
        if (!follow) break
        yield* Effect.sleep(pollInterval)
      } else if (isReadonlyArrayNonEmpty(events)) {
        return events
      }
    }
    isDone = true
    return yield* Cause.done()
  })
}

const timesOf = (sql: SqlClient, { from, until }: EventFilter.EventFilter): ReadonlyArray<Fragment> => [
  ...(from === undefined ? [] : [sql`timestamp >= ${from}`]),
  ...(until === undefined ? [] : [sql`timestamp < ${until}`])
]

const conditionsOf = (sql: SqlClient, filter: EventFilter.EventFilter): ReadonlyArray<Fragment> => {
  const conditions: Array<Fragment> = []
  const { from, until } = filter
  if (from !== undefined) conditions.push(sql`+timestamp >= ${from}`)
  if (until !== undefined) conditions.push(sql`+timestamp < ${until}`)
  const among = (column: string, values: ReadonlyArray<string> | undefined, isSelective: boolean) => {
    if (values === undefined || values.length === 0) return
    const [only] = values
    if (values.length === 1 && only !== undefined) conditions.push(sql`${sql(column)} = ${only}`)
    else conditions.push(sql`${sql.literal(isSelective ? "" : "+")}${sql.in(column, values)}`)
  }
  among("kind", filter.kinds, false)
  among("environment", filter.environments, false)
  among("image", filter.images, false)
  among("sandbox", filter.sandboxes, true)
  among("session", filter.sessions, true)
  const { outcomes = [] } = filter
  if (outcomes.length > 0) {
    const areErrors = !outcomes.includes("ok")
    conditions.push(sql`${sql.literal(areErrors ? "" : "+")}${sql.in("outcome", outcomes)}`)
    if (areErrors) conditions.push(sql`outcome <> 'ok'`)
  }
  return conditions
}
