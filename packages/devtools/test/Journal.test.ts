/** What holds for both kinds of journals. */
import { Environment, EventHandler, type SandboxEvent } from "@effect-sandbox/core"
import { EventFilter, EventJournal, Journal, SqliteJournal } from "@effect-sandbox/devtools"
import { SimDriver } from "@effect-sandbox/testing"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Fiber, FileSystem, Layer, Schema, type Scope, Stream } from "effect"
import { DatabaseSync } from "node:sqlite"
import { assertSame, events, nth, numberOf, open, plain, range, temporary } from "./support/journals.ts"

type Sync = EventJournal.Options["sync"]

interface Kind {
  readonly name: string
  readonly open: (
    file: string,
    sync?: Sync
  ) => Effect.Effect<Effect.Success<ReturnType<typeof open>>, unknown, FileSystem.FileSystem | Scope.Scope>
  readonly read: typeof EventJournal.read
  /** Makes the third of the records something else. */
  readonly damage: (file: string) => Effect.Effect<void, unknown, FileSystem.FileSystem>
}

const kinds: ReadonlyArray<Kind> = [
  {
    name: "EventJournal",
    open: (file, sync) => open(EventJournal.EventJournal, EventJournal.layer({ file, sync, maxBytes: 50_000 })),
    read: EventJournal.read,
    damage: (file) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const lines = (yield* fs.readFileString(file)).split("\n")
        lines[2] = '{"_tag":"SandboxActivity"}'
        yield* fs.writeFileString(file, lines.join("\n"))
      })
  },
  {
    name: "SqliteJournal",
    open: (file, sync) => open(SqliteJournal.SqliteJournal, SqliteJournal.layer({ file, sync })),
    read: SqliteJournal.read,
    damage: (file) =>
      Effect.sync(() => {
        const database = new DatabaseSync(file)
        database.exec(`UPDATE events SET event = '{"_tag":"SandboxActivity"}' WHERE id = 3`)
        database.close()
      })
  }
]

/** Which values of the events a filter asks for, by their places. */
const Choice = Schema.Struct({
  from: Schema.optionalKey(Schema.Natural),
  until: Schema.optionalKey(Schema.Natural),
  environments: Schema.Array(Schema.Natural),
  images: Schema.Array(Schema.Natural),
  sandboxes: Schema.Array(Schema.Natural),
  sessions: Schema.Array(Schema.Natural),
  kinds: Schema.Array(Schema.Natural),
  outcomes: Schema.Array(EventFilter.Outcome)
})

const some = Arbitrary.array(Arbitrary.schema(Choice), { minLength: 6, maxLength: 6 })

const filterOf = (
  all: ReadonlyArray<SandboxEvent.SandboxEvent>,
  choice: typeof Choice.Type
): EventFilter.EventFilter => {
  const at = (index: number) => all[index % Math.max(1, all.length)]
  const values = (key: string, indices: ReadonlyArray<number>) =>
    indices.flatMap((index) => {
      const value = (at(index) as Record<string, unknown> | undefined)?.[key]
      return typeof value === "string" ? [value] : []
    })
  return {
    from: choice.from === undefined ? undefined : at(choice.from)?.timestamp,
    until: choice.until === undefined ? undefined : at(choice.until)?.timestamp,
    environments: values("environmentId", choice.environments),
    images: values("image", choice.images),
    sandboxes: values("sandboxId", choice.sandboxes),
    sessions: values("sessionId", choice.sessions),
    kinds: values("_tag", choice.kinds) as Array<SandboxEvent.Tag>,
    outcomes: choice.outcomes
  }
}

describe.each(kinds)("$name", (kind) => {
  const readAll = (file: string, options?: Journal.ReadOptions) => Stream.runCollect(kind.read(file, options))
  const numbersIn = (file: string, options?: Journal.ReadOptions) =>
    Effect.map(readAll(file, options), (all) => all.map(numberOf))
  const written = (file: string, published: Iterable<SandboxEvent.SandboxEvent>, sync?: Sync) =>
    Effect.gen(function* () {
      const { close, publish } = yield* kind.open(file, sync)
      yield* publish(published)
      yield* close
    })

  it.live.prop(
    "gives back what was published, whatever it is, and what passes any filter",
    [events, some],
    ([published, choices]) =>
      Effect.gen(function* () {
        const file = `${yield* temporary}/journal`
        yield* written(file, published)
        assert.deepStrictEqual(yield* readAll(file), plain(published))
        assert.deepStrictEqual(yield* Stream.runCollect(Journal.read(file)), plain(published))
        for (const choice of choices) {
          const filter = filterOf(published, choice)
          assert.deepStrictEqual(
            yield* readAll(file, { filter }),
            plain(published.filter(EventFilter.matches(filter))),
            JSON.stringify(filter)
          )
        }
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    { arbitrary: { runs: 12 } }
  )

  it.live("appends to what is there, and makes directories", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/a/b/journal`
      yield* written(file, range(0, 100).map(nth))
      yield* written(file, range(100, 200).map(nth))
      assertSame(yield* numbersIn(file), range(0, 200))
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("takes part in an environment's life from its first event to its last", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal`
      const { close, hub } = yield* kind.open(file)
      yield* Effect.gen(function* () {
        const lab = yield* Environment.make({ id: "lab", images: ["base"], pool: 2 })
        yield* lab.withSession({ id: "s1" }, Effect.void)
      }).pipe(Effect.scoped, Effect.provide(SimDriver.layer()), Effect.provideService(EventHandler.EventHub, hub))
      yield* close
      const tags = (yield* readAll(file)).map((event) => event._tag)
      assert.strictEqual(tags[0], "EnvironmentStarting")
      assert.strictEqual(tags.at(-1), "EnvironmentShutDown")
      const filter: EventFilter.EventFilter = { sessions: ["s1"], kinds: ["SessionStarted", "SessionEnded"] }
      const session = (yield* readAll(file, { filter })).map((event) => event._tag)
      assert.deepStrictEqual(session, ["SessionStarted", "SessionEnded"])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("acknowledges what is written, and tells", () =>
    Effect.gen(function* () {
      for (const sync of ["always", "never", "20 millis", "1 hour"] as const) {
        const file = `${yield* temporary}/journal`
        const { close, journal, publish } = yield* kind.open(file, sync)
        const told = yield* journal.acknowledged.pipe(
          Stream.takeUntil((count) => count >= 2_000),
          Stream.runCollect,
          Effect.forkChild
        )
        yield* publish(range(0, 2_000).map(nth))
        if (sync === "1 hour") yield* journal.flush
        const counts = yield* Fiber.join(told)
        assert.strictEqual(counts.at(-1), 2_000, sync)
        assert.isTrue(counts.every((count, index) => index === 0 || count > (counts[index - 1] ?? 0)))
        assert.deepStrictEqual(yield* journal.stats, {
          written: 2_000,
          acknowledged: 2_000,
          waiting: 0,
          dropped: 0,
          failures: 0,
          trouble: undefined
        })
        // It is on the disk while the journal is open.
        assertSame(yield* numbersIn(file), range(0, 2_000))
        yield* close
      }
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("writes what is left when it is closed", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal`
      yield* written(file, range(0, 5_000).map(nth), "1 hour")
      assertSame(yield* numbersIn(file), range(0, 5_000))
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("fails at a damaged record after the events before it, or leaves it out", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal`
      yield* written(file, range(0, 6).map(nth))
      yield* kind.damage(file)
      const seen: Array<number> = []
      const error = yield* kind.read(file).pipe(
        Stream.runForEach((event) => Effect.sync(() => seen.push(numberOf(event)))),
        Effect.flip
      )
      assert.deepStrictEqual(seen, [0, 1])
      assert.strictEqual(error.reason._tag, "Damaged")
      assert.include(error.message, `${file} is damaged at `)
      assert.include(error.message, "environmentId")
      assert.deepStrictEqual(yield* numbersIn(file, { onDamage: "skip" }), [0, 1, 3, 4, 5])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("says when there is no journal", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/nothing`
      for (const read of [kind.read, Journal.read]) {
        const error = yield* Effect.flip(Stream.runDrain(read(file)))
        assert.strictEqual(error.reason._tag, "JournalNotFound")
        assert.strictEqual(error.message, `There is no journal at ${file}`)
      }
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("is followed from before it is there, by several readers, with a filter", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal`
      const follow = (read: typeof kind.read, filter: EventFilter.EventFilter, count: number) =>
        read(file, { follow: true, pollInterval: "2 millis", filter }).pipe(
          Stream.map(numberOf),
          Stream.take(count),
          Stream.runCollect,
          Effect.forkChild
        )
      const all = yield* follow(kind.read, {}, 4_000)
      const either = yield* follow(Journal.read, {}, 4_000)
      const few = yield* follow(kind.read, { sessions: ["s7"] }, 40)
      const { publish } = yield* kind.open(file)
      for (let n = 0; n < 4_000; n += 20) {
        yield* publish(range(n, n + 20).map(nth))
        yield* Effect.sleep("1 millis")
      }
      assertSame(yield* Fiber.join(all), range(0, 4_000))
      assertSame(yield* Fiber.join(either), range(0, 4_000))
      assert.deepStrictEqual(
        yield* Fiber.join(few),
        range(0, 40).map((n) => n * 100 + 7)
      )
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("stops following when the reader is interrupted", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/journal`
      yield* written(file, [nth(0)])
      const reader = yield* Effect.forkChild(Stream.runDrain(kind.read(file, { follow: true })))
      yield* Effect.sleep("50 millis")
      yield* Fiber.interrupt(reader)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.effect("refuses options that cannot work", () =>
    Effect.gen(function* () {
      const options = { file: "", capacity: 0, sync: "soon" as never, retryInterval: 0 }
      const layer: Layer.Layer<never, { readonly message: string }, FileSystem.FileSystem> =
        kind.name === "EventJournal"
          ? Layer.effectDiscard(Layer.build(EventJournal.layer({ ...options, maxFiles: 1 })))
          : Layer.effectDiscard(Layer.build(SqliteJournal.layer({ ...options, busyTimeout: -1 })))
      const error = yield* Effect.flip(Layer.build(layer))
      for (const path of ["file", "capacity", "sync", "retryInterval"]) assert.include(error.message, path)
    }).pipe(Effect.provide(NodeServices.layer))
  )
})
