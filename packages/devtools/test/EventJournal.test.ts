import type { SandboxEvent } from "@effect-sandbox/core"
import { EventJournal } from "@effect-sandbox/devtools"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, FileSystem, Stream } from "effect"
import { events, nth, numberOf, open, plain, range, temporary } from "./support/journals.ts"

const live = NodeServices.layer

const openJournal = (options: EventJournal.Options) =>
  Effect.map(open(EventJournal.layer(options)), (opened) => ({
    ...opened,
    journal: Context.get(opened.context, EventJournal.EventJournal)
  }))

const readAll = (file: string, options?: EventJournal.ReadOptions) =>
  Stream.runCollect(EventJournal.read(file, options))

const numbersIn = (file: string, options?: EventJournal.ReadOptions) =>
  Effect.map(readAll(file, options), (all) => all.map(numberOf))

const written = (options: EventJournal.Options, published: Iterable<SandboxEvent.SandboxEvent>) =>
  Effect.gen(function* () {
    const { close, publish } = yield* openJournal(options)
    yield* publish(published)
    yield* close
  })

describe("EventJournal", () => {
  it.effect.prop(
    "gives back what was published, whatever it is",
    [events],
    ([published]) =>
      Effect.gen(function* () {
        const file = `${yield* temporary}/events.jsonl`
        yield* written({ file, maxBytes: 2_000 }, published)
        assert.deepStrictEqual(yield* readAll(file), plain(published))
      }).pipe(Effect.scoped, Effect.provide(live)),
    { arbitrary: { runs: 60 } }
  )

  it.effect("appends to what is there, and makes directories", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/a/b/events.jsonl`
      yield* written({ file }, range(0, 10).map(nth))
      yield* written({ file }, range(10, 20).map(nth))
      assert.deepStrictEqual(yield* numbersIn(file), range(0, 20))
    }).pipe(Effect.provide(live))
  )

  it.effect("rotates between lines, and reads the files in order", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* temporary
      const file = `${directory}/events.jsonl`
      yield* written({ file, maxBytes: 10_000 }, range(0, 500).map(nth))
      const names = (yield* fs.readDirectory(directory)).sort()
      assert.isAbove(names.length, 8)
      assert.deepStrictEqual(names.slice(0, 3), ["events.jsonl", "events.jsonl.000001", "events.jsonl.000002"])
      for (const name of names) {
        const text = yield* fs.readFileString(`${directory}/${name}`)
        assert.isAtMost(text.length, 10_000)
        assert.isTrue(text.endsWith("\n"), `${name} ends with a line`)
      }
      assert.deepStrictEqual(yield* numbersIn(file), range(0, 500))
    }).pipe(Effect.provide(live))
  )

  it.effect("leaves out a line that was not written to its end, wherever it was torn, and goes on after it", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* temporary}/events.jsonl`
      yield* written({ file }, [nth(0), nth(1), { ...nth(2), image: "héé" as never }])
      const bytes = yield* fs.readFile(file)
      const lastLine = bytes.lastIndexOf(10, bytes.length - 2) + 1
      for (let size = lastLine; size <= bytes.length; size++) {
        yield* fs.writeFile(file, bytes.subarray(0, size))
        const isWhole = size >= bytes.length - 1
        assert.deepStrictEqual(yield* numbersIn(file), isWhole ? [0, 1, 2] : [0, 1], `read at ${size}`)
        yield* written({ file }, [nth(3)])
        assert.deepStrictEqual(yield* numbersIn(file), isWhole ? [0, 1, 2, 3] : [0, 1, 3], `opened at ${size}`)
      }
    }).pipe(Effect.provide(live))
  )

  it.live("follows a live file across rotations", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/events.jsonl`
      const reader = yield* EventJournal.read(file, { follow: true, pollInterval: "1 millis" }).pipe(
        Stream.map(numberOf),
        Stream.take(3_000),
        Stream.runCollect,
        Effect.forkChild
      )
      const { publish } = yield* openJournal({ file, maxBytes: 5_000 })
      for (let n = 0; n < 3_000; n += 10) {
        yield* publish(range(n, n + 10).map(nth))
        yield* Effect.sleep("1 millis")
      }
      assert.deepStrictEqual(yield* Fiber.join(reader), range(0, 3_000))
    }).pipe(Effect.scoped, Effect.provide(live))
  )
})
