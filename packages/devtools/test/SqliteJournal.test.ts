import { Environment, EventHandler } from "@effect-sandbox/core"
import { type EventFilter, SqliteJournal } from "@effect-sandbox/devtools"
import { SimDriver } from "@effect-sandbox/testing"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Stream } from "effect"
import { DatabaseSync } from "node:sqlite"
import { assertSame, nth, numberOf, open, range, temporary } from "./support/journals.ts"

const openJournal = (options: SqliteJournal.Options) => open(SqliteJournal.SqliteJournal, SqliteJournal.layer(options))

const numbersIn = (file: string, filter?: EventFilter.EventFilter) =>
  Effect.map(Stream.runCollect(SqliteJournal.read(file, { filter })), (all) => all.map(numberOf))

const written = (file: string, numbers: ReadonlyArray<number>) =>
  Effect.gen(function* () {
    const { close, publish } = yield* openJournal({ file })
    yield* publish(numbers.map(nth))
    yield* close
  })

/** The database as another program has it. */
const another = (file: string) =>
  Effect.acquireRelease(
    Effect.sync(() => new DatabaseSync(file)),
    (database) => Effect.sync(() => database.close())
  )

describe("SqliteJournal", () => {
  it.live("is a database that other tools can query", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal.db`
      yield* written(file, range(0, 300))
      const database = yield* another(file)
      assert.deepStrictEqual(
        {
          ...database
            .prepare(
              "SELECT count(*) AS count, sum(event ->> 'durationMillis') AS total FROM events WHERE session = 's7'"
            )
            .get()
        },
        { count: 3, total: 7 + 107 + 207 }
      )
      assert.strictEqual(database.prepare("PRAGMA journal_mode").get()?.["journal_mode"], "wal")
      assert.strictEqual(database.prepare("PRAGMA integrity_check").get()?.["integrity_check"], "ok")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("leaves nothing beside the database when it is closed", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* temporary
      yield* written(`${directory}/journal.db`, range(0, 10))
      assert.deepStrictEqual(yield* fs.readDirectory(directory), ["journal.db"])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("has an index for every part of a filter", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal.db`
      yield* written(file, range(0, 10))
      const database = yield* another(file)
      const plan = (condition: string) =>
        database
          .prepare(
            `EXPLAIN QUERY PLAN SELECT id, event FROM events WHERE (id > 0 AND id <= 9 AND ${condition}) ORDER BY id LIMIT 10`
          )
          .all()
          .map((row) => String(row["detail"]))
          .join("; ")
      for (const column of ["kind", "environment", "image", "sandbox", "session"]) {
        assert.strictEqual(
          plan(`"${column}" = ?`),
          `SEARCH events USING INDEX events_${column} (${column}=? AND rowid>? AND rowid<?)`
        )
      }
      assert.include(plan("outcome IN (?) AND outcome <> 'ok'"), "USING INDEX events_outcome")
      assert.include(plan("+timestamp > ?"), "SEARCH events USING INTEGER PRIMARY KEY")
      const first = database.prepare("EXPLAIN QUERY PLAN SELECT min(+id) FROM events WHERE timestamp >= ?").all()
      assert.include(String(first[0]?.["detail"]), "USING COVERING INDEX events_timestamp")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("reads many pages with every kind of filter", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal.db`
      yield* written(file, range(0, 10_000))
      assertSame(yield* numbersIn(file), range(0, 10_000))
      assertSame(yield* numbersIn(file, { kinds: ["SandboxActivity", "SessionEnded"] }), range(0, 10_000))
      assertSame(yield* numbersIn(file, { outcomes: ["ok"], from: 1_002_500, until: 1_007_500 }), range(2_500, 7_500))
      assertSame(
        yield* numbersIn(file, { sandboxes: ["lab/base:1:0", "lab/base:3:0"] }),
        range(0, 10_000).filter((n) => n % 8 === 1 || n % 8 === 3)
      )
      assertSame(yield* numbersIn(file, { from: 2_000_000 }), [])
      assertSame(yield* numbersIn(file, { outcomes: ["state_error", "interrupted"] }), [])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("finds times also where they are not in order", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal.db`
      yield* written(file, [5, 1, 9, 3, 7])
      assert.deepStrictEqual(yield* numbersIn(file, { from: 1_000_003, until: 1_000_008 }), [5, 3, 7])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("refuses what is something else", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* temporary
      const text = `${directory}/text`
      yield* fs.writeFileString(text, "this is a text, and a long one, which is not a database. ".repeat(20))
      const other = `${directory}/other.db`
      ;(yield* another(other)).exec("CREATE TABLE people (name TEXT)")
      const empty = `${directory}/empty`
      yield* fs.writeFileString(empty, "")
      for (const [file, description] of [
        [text, "it is no SQLite database"],
        [other, "it is another database"]
      ] as const) {
        const message = `${file} is not a journal: ${description}`
        assert.strictEqual((yield* Effect.flip(openJournal({ file }))).message, message)
        assert.strictEqual((yield* Effect.flip(numbersIn(file))).message, message)
      }
      assert.strictEqual((yield* Effect.flip(numbersIn(empty))).message, `${empty} is not a journal: it is empty`)
      assert.strictEqual((yield* fs.readFileString(text)).length, 57 * 20)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("is completed when the process that made it died", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const whole = `${directory}/whole`
      yield* written(whole, [])
      const id = (yield* another(whole)).prepare("PRAGMA application_id").get()?.["application_id"]
      const steps = [
        `PRAGMA application_id = ${id}`,
        "CREATE TABLE journal_migrations (migration_id integer PRIMARY KEY NOT NULL, created_at datetime NOT NULL DEFAULT current_timestamp, name VARCHAR(255) NOT NULL)"
      ]
      for (let count = 0; count <= steps.length; count++) {
        const file = `${directory}/${count}`
        const database = yield* another(file)
        for (const step of steps.slice(0, count)) database.exec(step)
        if (count > 0) {
          assert.strictEqual((yield* Effect.flip(numbersIn(file))).message, `${file} is not a journal: it is empty`)
        }
        yield* written(file, [1, 2])
        assert.deepStrictEqual(yield* numbersIn(file), [1, 2])
      }
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("refuses a journal of a later version", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal.db`
      yield* written(file, [1])
      ;(yield* another(file)).exec("INSERT INTO journal_migrations (migration_id, name) VALUES (99, 'future')")
      for (const failing of [Effect.asVoid(openJournal({ file })), Effect.asVoid(numbersIn(file))]) {
        const error = yield* Effect.flip(failing)
        assert.strictEqual(error._tag === "JournalError" ? error.reason._tag : error._tag, "NewerSchema")
        assert.include(error.message, "its schema is 99")
      }
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("while another process holds a lock, waits, and slows no environment", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal.db`
      const { hub, journal } = yield* openJournal({ file, busyTimeout: "1 minute", capacity: 500 })
      const database = yield* another(file)
      database.exec("BEGIN IMMEDIATE")
      const lab = yield* Environment.make({ id: "lab", images: ["base"], pool: 4 }).pipe(
        Effect.provide(SimDriver.layer()),
        Effect.provideService(EventHandler.EventHub, hub)
      )
      yield* Effect.forEach(range(0, 1_000), () => lab.withSession({}, Effect.void), { concurrency: 8, discard: true })
      // SQLite has been waiting all the time, in its own thread.
      const still = yield* journal.stats
      assert.deepStrictEqual({ written: still.written, failures: still.failures }, { written: 0, failures: 0 })
      assert.isAtMost(still.waiting, 1_000)
      assert.isAbove(still.dropped, 5_000)
      database.exec("COMMIT")
      yield* journal.flush
      const { written } = yield* journal.stats
      assert.isAtLeast(written, still.waiting)
      assert.strictEqual((yield* numbersIn(file)).length, written)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("tries again after failures, and stores nothing twice", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal.db`
      const { close, journal, publish } = yield* openJournal({
        file,
        busyTimeout: "1 millis",
        retryInterval: "5 millis"
      })
      yield* publish(range(0, 10).map(nth))
      yield* journal.flush
      const database = yield* another(file)
      for (let n = 10; n < 100; n += 10) {
        database.exec("BEGIN IMMEDIATE")
        const before = (yield* journal.stats).failures
        yield* publish(range(n, n + 10).map(nth))
        while ((yield* journal.stats).failures < before + 2) yield* Effect.sleep("1 millis")
        assert.include((yield* journal.stats).trouble?.message, "database is locked")
        database.exec("COMMIT")
        yield* journal.flush
        assert.strictEqual((yield* journal.stats).trouble, undefined)
      }
      yield* close
      assertSame(yield* numbersIn(file), range(0, 100))
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("notices when a failed transaction was stored all the same", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal.db`
      const { close, journal, publish } = yield* openJournal({
        file,
        busyTimeout: "1 millis",
        retryInterval: "30 millis"
      })
      yield* publish(range(0, 5).map(nth))
      yield* journal.flush
      const database = yield* another(file)
      database.exec("BEGIN IMMEDIATE")
      yield* publish(range(5, 10).map(nth))
      while ((yield* journal.stats).failures < 1) yield* Effect.sleep("1 millis")
      // As if the failure had come after the commit.
      const insert = database.prepare(
        "INSERT INTO events (timestamp, kind, environment, image, sandbox, session, outcome, event) VALUES (?, 'SandboxActivity', 'lab', 'base', ?, ?, 'ok', ?)"
      )
      for (const event of range(5, 10).map(nth)) {
        insert.run(event.timestamp, event.sandboxId, event.sessionId ?? null, JSON.stringify(event))
      }
      database.exec("COMMIT")
      yield* journal.flush
      yield* publish(range(10, 15).map(nth))
      yield* close
      assertSame(yield* numbersIn(file), range(0, 15))
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("acknowledges an interval's events only when no reader keeps them out of the database", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal.db`
      const { journal, publish } = yield* openJournal({ file, sync: "5 millis" })
      yield* publish([nth(0)])
      yield* journal.flush
      const reader = yield* another(file)
      reader.exec("BEGIN")
      reader.prepare("SELECT count(*) FROM events").get()
      yield* publish([nth(1)])
      while ((yield* journal.stats).written < 2) yield* Effect.sleep("1 millis")
      yield* Effect.sleep("100 millis")
      const { acknowledged, trouble } = yield* journal.stats
      assert.deepStrictEqual({ acknowledged, trouble }, { acknowledged: 1, trouble: undefined })
      reader.exec("COMMIT")
      yield* journal.flush
      assert.strictEqual((yield* journal.stats).acknowledged, 2)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})
