/**
 * The thread that a database lives in. SQLite's calls block while a disk is slow or another process holds a lock; here
 * they block nobody else.
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"
import { parentPort, workerData } from "node:worker_threads"
import * as Result from "effect/Result"

/** What the thread is started with. */
export interface WorkerOptions {
  readonly file: string
  readonly readOnly: boolean
  /** How long SQLite waits for a lock. */
  readonly busyTimeoutMillis: number
}

export type Request =
  | {
      readonly operation: "rows" | "values" | "raw"
      readonly sql: string
      readonly parameters: ReadonlyArray<SQLInputValue>
      /** Whether the statement is likely to come again. */
      readonly isKept: boolean
    }
  /** The same statement for each row, in a transaction; the last id. */
  | { readonly operation: "batch"; readonly sql: string; readonly rows: ReadonlyArray<ReadonlyArray<SQLInputValue>> }
  | { readonly operation: "open" }
  | { readonly operation: "close" }

/** Errors lose their fields on the way between threads, hence the plain data. */
export type Reply =
  | { readonly ok: true; readonly value: unknown; readonly isTransaction: boolean }
  | { readonly ok: false; readonly message: string; readonly code: number | undefined; readonly isTransaction: boolean }

const maxKept = 100

class Database {
  private readonly options: WorkerOptions
  private readonly statements = new Map<string, StatementSync>()
  private database: DatabaseSync | undefined

  constructor(options: WorkerOptions) {
    this.options = options
  }

  get isTransaction(): boolean {
    return this.database?.isTransaction ?? false
  }

  handle(request: Request): unknown {
    switch (request.operation) {
      case "open":
        this.database = new DatabaseSync(this.options.file, {
          readOnly: this.options.readOnly,
          timeout: this.options.busyTimeoutMillis
        })
        return undefined
      case "close":
        this.database?.close()
        this.database = undefined
        return undefined
      case "batch":
        return this.batch(this.open, request.sql, request.rows)
      default: {
        const statement = this.statement(request.sql, request.isKept)
        if (statement.columns().length === 0) {
          const result = statement.run(...request.parameters)
          return request.operation === "raw" ? result : []
        }
        statement.setReturnArrays(request.operation === "values")
        return statement.all(...request.parameters)
      }
    }
  }

  private get open(): DatabaseSync {
    if (this.database === undefined) throw new Error("the database is not open")
    return this.database
  }

  private batch(database: DatabaseSync, sql: string, rows: ReadonlyArray<ReadonlyArray<SQLInputValue>>): number {
    const statement = this.statement(sql, true)
    database.exec("BEGIN IMMEDIATE")
    const result = Result.try(() => {
      let last: number | bigint = 0
      for (const row of rows) last = statement.run(...row).lastInsertRowid
      database.exec("COMMIT")
      return Number(last)
    })
    if (Result.isSuccess(result)) return result.success
    // Some failures, such as a full disk, have rolled back already.
    if (database.isTransaction) database.exec("ROLLBACK")
    throw result.failure
  }

  private statement(sql: string, isKept: boolean): StatementSync {
    const known = this.statements.get(sql)
    if (known !== undefined) return known
    const statement = this.open.prepare(sql)
    if (isKept) {
      if (this.statements.size >= maxKept) this.statements.clear()
      this.statements.set(sql, statement)
    }
    return statement
  }
}

const codeOf = (error: unknown): number | undefined =>
  typeof error === "object" && error !== null && "errcode" in error && typeof error.errcode === "number"
    ? error.errcode
    : undefined

// Only the thread has a port; whoever imports the types has none.
if (parentPort !== null) {
  const port = parentPort
  const database = new Database(workerData as WorkerOptions) // sqliteClient.ts gives nothing else
  port.on("message", (request: Request) => {
    const result = Result.try(() => database.handle(request))
    const { isTransaction } = database
    const reply: Reply = Result.isSuccess(result)
      ? { ok: true, value: result.success, isTransaction }
      : {
          ok: false,
          message: result.failure instanceof Error ? result.failure.message : String(result.failure),
          code: codeOf(result.failure),
          isTransaction
        }
    port.postMessage(reply)
    if (request.operation === "close") port.close()
  })
}
