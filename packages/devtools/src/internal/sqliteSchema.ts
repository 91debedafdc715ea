/** The tables of a journal, and whether a database is one. */
import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { JournalError, NewerSchema, NotAJournal, Unavailable } from "../JournalError.ts"

/** Tells journals from other databases: "ESJL". */
const applicationId = 0x45534a4c

const migrationsTable = "journal_migrations"

/**
 * `id` is the order of writing. Columns but `event` repeat what is in it, for the indices. Errors are few, and looked for,
 * so only they are indexed by outcome; a query must say `outcome <> 'ok'` to profit.
 */
const migrations: Record<string, Effect.Effect<void, SqlError, SqlClient.SqlClient>> = {
  "1_events": Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql`CREATE TABLE events (
      id INTEGER PRIMARY KEY,
      timestamp REAL NOT NULL,
      kind TEXT NOT NULL,
      environment TEXT NOT NULL,
      image TEXT,
      sandbox TEXT,
      session TEXT,
      outcome TEXT NOT NULL,
      event TEXT NOT NULL
    ) STRICT`
    yield* sql`CREATE INDEX events_timestamp ON events (timestamp)`
    yield* sql`CREATE INDEX events_kind ON events (kind)`
    yield* sql`CREATE INDEX events_environment ON events (environment)`
    yield* sql`CREATE INDEX events_image ON events (image) WHERE image IS NOT NULL`
    yield* sql`CREATE INDEX events_sandbox ON events (sandbox) WHERE sandbox IS NOT NULL`
    yield* sql`CREATE INDEX events_session ON events (session) WHERE session IS NOT NULL`
    yield* sql`CREATE INDEX events_outcome ON events (outcome) WHERE outcome <> 'ok'`
  })
}

/** The latest schema that is known here. */
export const version = Object.keys(migrations).length

/**
 * Makes the tables, or brings them up to date. The mark comes first: whatever a process that dies leaves of a journal is
 * known as one.
 */
export const migrate = Effect.fnUntraced(function* (sql: SqlClient.SqlClient) {
  yield* sql`PRAGMA application_id = ${sql.literal(String(applicationId))}`
  yield* Migrator.make({})({ loader: Migrator.fromRecord(migrations), table: migrationsTable }).pipe(
    Effect.provideService(SqlClient.SqlClient, sql)
  )
})

/** Whether a database is a journal that can be read; if not, it is empty. Fails when it is anything else. */
export const check = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, file: string) {
  // In this order, since another process may be making it: no table comes before the mark.
  const tables = yield* sql`SELECT name FROM sqlite_schema WHERE type = 'table'`.values
  const [[id] = [0]] = yield* sql`PRAGMA application_id`.values
  if (id !== applicationId) {
    if (id === 0 && tables.length === 0) return false
    return yield* new JournalError({ reason: new NotAJournal({ file, description: "it is another database" }) })
  }
  const names = new Set(tables.map(([name]) => name))
  if (!names.has("events") || !names.has(migrationsTable)) return false
  const [[found] = [0]] = yield* sql`SELECT max(migration_id) FROM ${sql(migrationsTable)}`.values
  if (Number(found) > version) {
    return yield* new JournalError({ reason: new NewerSchema({ file, version: Number(found), known: version }) })
  }
  return true
})

/** SQLite's code for a file that is no database. */
const notADatabase = 26

/** Says what was going on. */
export const unavailable =
  (file: string, operation: string) =>
  (error: SqlError | Migrator.MigrationError | JournalError): JournalError => {
    if (error._tag === "JournalError") return error
    const cause: unknown = error._tag === "SqlError" ? error.reason.cause : error.cause
    const code = typeof cause === "object" && cause !== null && "errno" in cause ? cause.errno : undefined
    return new JournalError({
      reason:
        code === notADatabase
          ? new NotAJournal({ file, description: "it is no SQLite database" })
          : new Unavailable({ file, operation, description: error.message, cause: error })
    })
  }
