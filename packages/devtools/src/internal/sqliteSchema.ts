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
    yield* sql`PRAGMA application_id = ${sql.literal(String(applicationId))}`
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

/** Brings the tables up to date. */
export const migrate: Effect.Effect<void, SqlError | Migrator.MigrationError, SqlClient.SqlClient> = Effect.asVoid(
  Migrator.make({})({ loader: Migrator.fromRecord(migrations), table: migrationsTable })
)

/** Fails unless the database is a journal of ours, or empty; whether it is a journal. */
export const check = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, file: string) {
  const [[id] = [0]] = yield* sql`PRAGMA application_id`.values
  const [[tables] = [0]] = yield* sql`SELECT count(*) FROM sqlite_schema`.values
  if (id === 0 && tables === 0) return false
  if (id !== applicationId) {
    return yield* new JournalError({ reason: new NotAJournal({ file, description: "it is another database" }) })
  }
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
