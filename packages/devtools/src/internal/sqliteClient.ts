/**
 * Effect's `SqlClient` on Node's own SQLite, in a thread of its own (`docs/decisions/0014-sqlite-adapter.md`). As much
 * of it as journals need: one connection, statements one after the other, and rows that are inserted many at a time.
 */
import { Worker } from "node:worker_threads"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import type { SQLInputValue } from "node:sqlite"
import type { Reply, Request, WorkerOptions } from "./sqliteWorker.ts"
import * as thread from "./thread.ts"

export interface SqliteClient {
  readonly sql: SqlClient.SqlClient
  /** Inserts each row, all in one transaction, or none of them; the id of the last. */
  readonly batch: (sql: string, rows: ReadonlyArray<ReadonlyArray<SQLInputValue>>) => Effect.Effect<number, SqlError>
}

/** Opens a database until the scope closes. */
export const make = Effect.fnUntraced(function* (options: WorkerOptions) {
  const database = yield* openThread(options)
  const request = (message: Request) => database.request(message)
  const ask =
    (operation: "rows" | "values" | "raw", isKept: boolean) => (sql: string, parameters: ReadonlyArray<unknown>) =>
      // Whatever SQLite cannot take is refused in the thread.
      request({ operation, sql, parameters: parameters as ReadonlyArray<SQLInputValue>, isKept })
  // The statement decides what rows look like, as with every client of Effect's.
  const rows = (isKept: boolean): Connection["execute"] => {
    const execute = ask("rows", isKept)
    return (sql, parameters, transformRows) =>
      Effect.map(execute(sql, parameters), (result) => {
        const found = result as ReadonlyArray<object>
        return transformRows === undefined ? found : transformRows(found)
      })
  }
  const values = (isKept: boolean): Connection["executeValues"] => {
    const execute = ask("values", isKept)
    return (sql, parameters) =>
      Effect.map(execute(sql, parameters), (result) => result as ReadonlyArray<ReadonlyArray<unknown>>)
  }
  const execute = rows(true)
  const connection: Connection = {
    execute,
    executeRaw: ask("raw", true),
    executeStream: (sql, parameters, transformRows) =>
      Stream.unwrap(Effect.map(execute(sql, parameters, transformRows), Stream.fromIterable)),
    executeValues: values(true),
    executeValuesUnprepared: values(false),
    executeUnprepared: rows(false)
  }

  const acquirers = SqlClient.makeSqliteAcquirers({
    connection: Effect.succeed(connection),
    semaphore: yield* Semaphore.make(1),
    isTransaction: database.isTransaction
  })
  const sql = yield* SqlClient.make({
    ...acquirers,
    compiler: Statement.makeCompilerSqlite(),
    driver: "sqlite-node",
    spanAttributes: [["db.system.name", "sqlite"]]
  }).pipe(Effect.provide(Reactivity.layer))
  return {
    sql,
    batch: (statement, all) =>
      acquirers.borrower(() => Effect.map(request({ operation: "batch", sql: statement, rows: all }), Number))
  } satisfies SqliteClient as SqliteClient
})

/** Starts the thread with the database open; the scope closes the database and ends the thread. */
const openThread = Effect.fnUntraced(function* (options: WorkerOptions) {
  const replies: Array<Deferred.Deferred<unknown, SqlError>> = []
  let isTransaction = false
  let end: SqlError | undefined
  const ended = yield* Deferred.make<void>()

  const finish = (cause: unknown) => {
    end ??= new SqlError({
      reason: new ConnectionError({ message: "the thread of the database has ended", operation: "execute", cause })
    })
    for (const reply of replies.splice(0)) Deferred.doneUnsafe(reply, Effect.fail(end))
    Deferred.doneUnsafe(ended, Effect.void)
  }

  const worker = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const started = new Worker(thread.fileOf("sqliteWorker"), {
        workerData: options,
        // Node 22 calls its SQLite experimental, and would say so in the terminal of whoever opens a journal.
        execArgv: ["--disable-warning=ExperimentalWarning"]
      })
      started.on("message", (reply: Reply) => {
        isTransaction = reply.isTransaction
        const waiting = replies.shift()
        if (waiting === undefined) return
        Deferred.doneUnsafe(waiting, reply.ok ? Effect.succeed(reply.value) : Effect.fail(failed(reply)))
      })
      started.on("error", finish)
      started.on("exit", (code) => finish(`exit code ${code}`))
      return started
    }),
    (started) =>
      Effect.sync(() => thread.post<Request>(started, { operation: "close" })).pipe(
        Effect.andThen(Deferred.await(ended)),
        // A thread that a disk holds up does not hear, and perhaps cannot even be ended.
        Effect.timeoutOption("5 seconds"),
        Effect.andThen(Effect.promise(() => started.terminate())),
        Effect.timeoutOption("10 seconds")
      )
  )

  /** Replies come in the order of the requests. An interrupted request is carried out all the same. */
  const request = (message: Request): Effect.Effect<unknown, SqlError> =>
    Effect.suspend(() => {
      if (end !== undefined) return Effect.fail(end)
      const reply = Deferred.makeUnsafe<unknown, SqlError>()
      thread.post(worker, message)
      replies.push(reply)
      return Deferred.await(reply)
    })

  yield* request({ operation: "open" })
  return { request, isTransaction: () => isTransaction }
})

const failed = (reply: Extract<Reply, { readonly ok: false }>): SqlError =>
  new SqlError({
    reason: classifySqliteError(
      { message: reply.message, errno: reply.code },
      { message: reply.message, operation: "execute" }
    )
  })
