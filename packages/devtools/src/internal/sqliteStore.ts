/** The journal in a database as it is written. After anything failed, the database is opened anew. */
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Scope from "effect/Scope"
import * as EventFilter from "../EventFilter.ts"
import { stringify } from "./eventLines.ts"
import { split, unavailable as unavailableFile } from "./journalFiles.ts"
import type { Store } from "./recorder.ts"
import * as SqliteClient from "./sqliteClient.ts"
import { check, migrate, unavailable } from "./sqliteSchema.ts"

export interface Settings {
  readonly file: string
  readonly busyTimeoutMillis: number
  readonly synchronous: "FULL" | "NORMAL" | "OFF"
}

interface Open {
  readonly client: SqliteClient.SqliteClient
  readonly scope: Scope.Closeable
}

const insert =
  "INSERT INTO events (timestamp, kind, environment, image, sandbox, session, outcome, event) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

const row = (event: SandboxEvent) => [
  event.timestamp,
  event._tag,
  event.environmentId,
  ("image" in event ? event.image : undefined) ?? null,
  ("sandboxId" in event ? event.sandboxId : undefined) ?? null,
  ("sessionId" in event ? event.sessionId : undefined) ?? null,
  EventFilter.outcome(event),
  stringify(event)
]

/** Opens, and makes or migrates the tables. The scope closes the database. */
export const open = Effect.fnUntraced(function* (settings: Settings) {
  const fs = yield* FileSystem.FileSystem
  const { busyTimeoutMillis, file, synchronous } = settings
  let current: Open | undefined
  /** The id of the event that was stored last. */
  let lastId = 0

  const close = Effect.suspend(() => {
    const closing = current
    current = undefined
    return closing === undefined ? Effect.void : Effect.ignoreCause(Scope.close(closing.scope, Exit.void))
  })

  const prepare = Effect.fnUntraced(function* (client: SqliteClient.SqliteClient) {
    const { sql } = client
    yield* check(sql, file)
    yield* sql`PRAGMA journal_mode = WAL`
    yield* sql`PRAGMA synchronous = ${sql.literal(synchronous)}`
    yield* migrate(sql)
    const [[id] = []]: Rows = yield* sql`SELECT max(id) FROM events`.values
    lastId = Number(id ?? 0)
  })

  const ready = Effect.gen(function* () {
    if (current !== undefined) return current.client
    const scope = yield* Scope.make()
    const client = yield* Effect.gen(function* () {
      const made = yield* SqliteClient.make({ file, readOnly: false, busyTimeoutMillis })
      yield* prepare(made)
      return made
    }).pipe(
      Scope.provide(scope),
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
    )
    current = { client, scope }
    return client
  })

  yield* fs
    .makeDirectory(split(file).directory, { recursive: true })
    .pipe(Effect.mapError(unavailableFile(file, "open")))
  yield* Effect.addFinalizer(() => close)
  const run = <A, E extends Parameters<ReturnType<typeof unavailable>>[0]>(
    operation: string,
    use: (client: SqliteClient.SqliteClient) => Effect.Effect<A, E>
  ) =>
    Effect.flatMap(ready, use).pipe(
      Effect.onError(() => close),
      Effect.mapError(unavailable(file, operation)),
      Effect.withTracerEnabled(false), // what is traced is published, and would have to be stored again
      Effect.uninterruptible
    )
  yield* run("open", () => Effect.void)

  const append = (events: ReadonlyArray<SandboxEvent>) => {
    let rows: ReadonlyArray<ReturnType<typeof row>> | undefined
    /** The id before these events, as soon as they may have been stored. */
    let before: number | undefined
    const write = Effect.fnUntraced(function* ({ batch, sql }: SqliteClient.SqliteClient) {
      rows ??= events.map(row)
      if (before !== undefined) {
        // The transaction failed, or only the news of it did.
        const last: Rows = yield* sql`SELECT id, event FROM events ORDER BY id DESC LIMIT 1`.values
        const [[id, event] = []] = last
        if (id === before + rows.length && event === rows.at(-1)?.at(-1)) {
          lastId = Number(id)
          return
        }
      }
      before = lastId
      lastId = yield* batch(insert, rows)
    })
    return run("write", write)
  }

  return {
    append,
    sync: run("sync", ({ sql }) =>
      Effect.gen(function* () {
        const rows: Rows = yield* sql`PRAGMA wal_checkpoint(PASSIVE)`.values
        const [[busy, pages, checkpointed] = []] = rows
        // A reader in the middle of an old page keeps what came later out of the database, until the next time.
        return busy === 0 && pages === checkpointed
      })
    )
  } satisfies Store<ReadonlyArray<SandboxEvent>>
})

type Rows = ReadonlyArray<ReadonlyArray<unknown>>
