import { Environment, EventHandler, type SandboxEvent } from "@effect-sandbox/core"
import { EventJournal } from "@effect-sandbox/devtools"
import { SimDriver } from "@effect-sandbox/testing"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Array, Effect, Fiber, FileSystem, Latch, Logger, type Scope, Stream } from "effect"
import { readFileSync } from "node:fs"
import {
  assertSame,
  descriptorOf,
  Disk,
  diskLayer,
  nth,
  numberOf,
  open,
  range,
  temporary,
  withBetween
} from "./support/journals.ts"

const live = NodeServices.layer

const openJournal = (options: EventJournal.Options) => open(EventJournal.EventJournal, EventJournal.layer(options))

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
      assertSame(yield* numbersIn(file), range(0, 500))
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

  it.effect("goes on after a process that died while it began a new file", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* temporary}/events.jsonl`
      yield* written({ file, maxBytes: 1_000 }, range(0, 10).map(nth))
      const numbers = (yield* fs.readDirectory(file.slice(0, file.lastIndexOf("/")))).length - 1
      yield* fs.rename(file, `${file}.${String(numbers + 1).padStart(6, "0")}`)
      assertSame(yield* numbersIn(file), range(0, 10))
      yield* written({ file, maxBytes: 1_000 }, range(10, 20).map(nth))
      assertSame(yield* numbersIn(file), range(0, 20))
    }).pipe(Effect.provide(live))
  )

  /**
   * Writes bursts that are worth a thread: so many at most until it is seen to write one, and then twenty; how many
   * writes of those went through Effect's files, which say that they have some descriptor.
   */
  const writtenInBursts = (
    options: EventJournal.Options,
    atMost: number,
    said: (real: number, path: string) => Effect.Effect<number | undefined, never, Scope.Scope>
  ) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      let writes = 0
      const spied = FileSystem.FileSystem.of({
        ...fs,
        open: (path, flag) =>
          Effect.gen(function* () {
            const file = yield* fs.open(path, flag)
            const fd = yield* said("fd" in file ? Number(file.fd) : Number.NaN, path)
            return withBetween(file, {
              ...(fd === undefined ? {} : { fd }),
              writeAll: (buffer) => {
                writes++
                return file.writeAll(buffer)
              }
            })
          })
      })
      const { close, journal, publish } = yield* openJournal(options).pipe(
        Effect.provideService(FileSystem.FileSystem, spied)
      )
      let next = 0
      const burst = Effect.suspend(() => {
        next += 1000
        return Effect.andThen(publish(range(next - 1000, next).map(nth)), journal.flush)
      })
      for (let before = -1; before !== writes && next < 1000 * atMost;) {
        yield* Effect.sleep("10 millis")
        before = writes
        yield* burst
      }
      writes = 0
      for (let n = 0; n < 20; n++) yield* burst
      yield* close
      assertSame(yield* numbersIn(options.file), range(0, next))
      return writes
    })

  it.live("lets the thread that makes lines write them, across rotations", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const fs = yield* FileSystem.FileSystem
      const file = `${directory}/events.jsonl`
      const writes = yield* writtenInBursts({ file, maxBytes: 1_000_000 }, 1000, (real) => Effect.succeed(real))
      const files = (yield* fs.readDirectory(directory)).length
      assert.isAtLeast(files, 4)
      assert.isAtMost(writes, 10, "only what ends a file and begins the next")
    }).pipe(Effect.scoped, Effect.provide(live))
  )

  it.live(
    "keeps to the file system when that has something between, or a descriptor that is none or cannot be written",
    () =>
      Effect.gen(function* () {
        const directory = yield* temporary
        const other = yield* descriptorOf(`${directory}/other`, "w+")
        const descriptors = [
          () => Effect.undefined,
          () => Effect.succeed(other), // opened by Node, but another file
          () => Effect.succeed(1_000_000),
          (_: number, path: string) => descriptorOf(path, "r")
        ]
        for (const [index, said] of descriptors.entries()) {
          const file = `${directory}/events${index}.jsonl`
          const writes = yield* writtenInBursts({ file, sync: "never" }, 20, said)
          assert.strictEqual(writes, 20, `descriptor ${index}`)
        }
        assert.strictEqual(readFileSync(`${directory}/other`).length, 0)
      }).pipe(Effect.scoped, Effect.provide(live))
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
      assertSame(yield* Fiber.join(reader), range(0, 3_000))
    }).pipe(Effect.scoped, Effect.provide(live))
  )

  it.effect("keeps as many files as it is told, and goes on with the numbers", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* temporary
      const file = `${directory}/events.jsonl`
      const options = { file, maxBytes: 2_000, maxFiles: 3 }
      yield* written(options, range(0, 100).map(nth))
      const before = (yield* fs.readDirectory(directory)).sort()
      assert.strictEqual(before.length, 3)
      yield* written(options, range(100, 200).map(nth))
      const after = (yield* fs.readDirectory(directory)).sort()
      assert.strictEqual(after.length, 3)
      const lastNumber = (names: ReadonlyArray<string>) => Number(names.at(-1)?.split(".").at(-1))
      assert.isAbove(lastNumber(after), lastNumber(before) + 5)
      const kept = yield* numbersIn(file)
      assert.isAbove(kept.length, 15)
      assertSame(kept, range(200 - kept.length, 200))
    }).pipe(Effect.provide(live))
  )

  it.effect("gives a line that is longer than a file may be a file of its own", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* temporary
      const file = `${directory}/events.jsonl`
      yield* written({ file, maxBytes: 500 }, [nth(0), { ...nth(1), name: "x".repeat(2_000) }, nth(2)])
      assert.strictEqual((yield* fs.readDirectory(directory)).length, 3)
      assert.deepStrictEqual(yield* numbersIn(file), [0, 1, 2])
    }).pipe(Effect.provide(live))
  )

  it.effect("reads lines that are longer than what it reads at once", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/events.jsonl`
      const long = { ...nth(1), name: "é".repeat(1_000_000) }
      yield* written({ file }, [nth(0), long, nth(2)])
      assert.deepStrictEqual(yield* readAll(file), [nth(0), long, nth(2)])
    }).pipe(Effect.provide(live))
  )

  it.effect("tells where damage is, also when it is not text", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* temporary}/events.jsonl`
      yield* written({ file }, range(0, 5).map(nth))
      const bytes = yield* fs.readFile(file)
      const third = bytes.indexOf(10, bytes.indexOf(10) + 1) + 1
      for (const [damage, description] of [
        [0xff, "not UTF-8"],
        [0x00, "not JSON"],
        [0x20, "not JSON"]
      ] as const) {
        const damaged = bytes.slice()
        damaged.fill(damage, third, third + 20)
        yield* fs.writeFile(file, damaged)
        const error = yield* Effect.flip(readAll(file))
        assert.strictEqual(error.message, `${file} is damaged at ${third}: ${description}`)
        assert.deepStrictEqual(yield* numbersIn(file, { onDamage: "skip" }), [0, 1, 3, 4])
      }
    }).pipe(Effect.provide(live))
  )

  it.effect("takes a torn line for damage where another file follows", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* temporary}/events.jsonl`
      yield* written({ file, maxBytes: 450 }, range(0, 4).map(nth))
      const first = `${file}.000001`
      const bytes = yield* fs.readFile(first)
      yield* fs.writeFile(first, bytes.subarray(0, bytes.length - 10))
      const error = yield* Effect.flip(readAll(file))
      assert.strictEqual(error.reason._tag, "Damaged")
      assert.deepStrictEqual(yield* numbersIn(file, { onDamage: "skip" }), [0, 2, 3])
    }).pipe(Effect.provide(live))
  )

  it.effect("says that a database is no journal of lines", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* temporary}/events.jsonl`
      yield* fs.writeFileString(file, "SQLite format 3\u0000 and so on")
      const error = yield* Effect.flip(readAll(file))
      assert.strictEqual(error.reason._tag, "NotAJournal")
    }).pipe(Effect.provide(live))
  )

  it.effect("fails to open where it cannot write, and says so", () =>
    Effect.gen(function* () {
      const file = yield* temporary // a directory
      const error = yield* Effect.flip(openJournal({ file }))
      assert.strictEqual(error._tag, "JournalError")
      assert.include(error.message, `The journal ${file} failed at open`)
    }).pipe(Effect.provide(live))
  )

  it.live("on a full disk waits, tells once, and goes on when there is room, without a line lost or doubled", () =>
    Effect.gen(function* () {
      for (const sync of ["always", "never", "1 millis"] as const) {
        const disk = yield* Disk
        const logged: Array<string> = []
        const Log = Logger.layer([Logger.make(({ message }) => logged.push(String(Array.ensure(message)[0])))])
        const file = `${yield* temporary}/events.jsonl`
        yield* Effect.gen(function* () {
          disk.room = 3_333 // ends within a line
          const { close, journal, publish } = yield* openJournal({
            file,
            sync,
            maxBytes: 5_000,
            retryInterval: "2 millis"
          })
          for (let n = 0; n < 100; n += 10) yield* publish(range(n, n + 10).map(nth))
          while ((yield* journal.stats).failures < 5) yield* Effect.sleep("1 millis")
          const full = yield* journal.stats
          assert.strictEqual(full.written + full.waiting, 100)
          assert.include(full.trouble?.message, "ENOSPC")
          // Whoever reads meanwhile sees whole lines from the first on.
          const meanwhile = yield* numbersIn(file)
          assertSame(meanwhile, range(0, meanwhile.length))
          disk.room = 4_000
          while ((yield* journal.stats).failures < 10) yield* Effect.sleep("1 millis")
          disk.room = Infinity
          yield* journal.flush
          yield* publish(range(100, 200).map(nth))
          yield* journal.flush
          const { dropped, trouble, waiting, written } = yield* journal.stats
          assert.deepStrictEqual(
            { written, waiting, dropped, trouble },
            { written: 200, waiting: 0, dropped: 0, trouble: undefined }
          )
          yield* close
        }).pipe(Effect.provide(Log))
        assertSame(yield* numbersIn(file), range(0, 200), sync)
        assert.strictEqual(logged.filter((line) => line.includes("goes on trying")).length, 1, sync)
        assert.strictEqual(logged.filter((line) => line.includes("works again")).length, 1, sync)
      }
    }).pipe(Effect.scoped, Effect.provide(diskLayer))
  )

  it.live("writes again what a failed sync may have lost", () =>
    Effect.gen(function* () {
      const disk = yield* Disk
      const file = `${yield* temporary}/events.jsonl`
      const { close, journal, publish } = yield* openJournal({
        file,
        sync: "always",
        maxBytes: 3_000,
        retryInterval: "2 millis"
      })
      yield* publish(range(0, 10).map(nth))
      yield* journal.flush
      disk.isBroken = true
      yield* publish(range(10, 40).map(nth))
      while ((yield* journal.stats).failures < 3) yield* Effect.sleep("1 millis")
      const { acknowledged, trouble } = yield* journal.stats
      assert.strictEqual(acknowledged, 10)
      assert.include(trouble?.message, "ENOSPC")
      const before = disk.log.length
      disk.isBroken = false
      yield* journal.flush
      assert.strictEqual((yield* journal.stats).acknowledged, 40)
      const again = disk.log.slice(before)
      assert.isTrue(
        again.some((line) => line.startsWith("write ")),
        "the system may have forgotten it"
      )
      yield* close
      assertSame(yield* numbersIn(file), range(0, 40))
    }).pipe(Effect.scoped, Effect.provide(diskLayer))
  )

  it.live("syncs once for everything that waits", () =>
    Effect.gen(function* () {
      const disk = yield* Disk
      const file = `${yield* temporary}/events.jsonl`
      const { journal, publish } = yield* openJournal({ file, sync: "always" })
      yield* journal.flush
      const gate = yield* Latch.make(false)
      disk.delay = gate.await
      disk.log.length = 0
      yield* publish([nth(0)])
      while (disk.log.length === 0) yield* Effect.sleep("1 millis") // it is being written, and the others come
      yield* publish(range(1, 400).map(nth))
      yield* gate.open
      yield* journal.flush
      assert.deepStrictEqual(
        disk.log.map((line) => line.split(" ")[0]),
        ["write", "sync", "write", "sync"]
      )
    }).pipe(Effect.scoped, Effect.provide(diskLayer))
  )

  it.live("on a disk that stands still slows no environment, and keeps memory bounded", () =>
    Effect.gen(function* () {
      const disk = yield* Disk
      const file = `${yield* temporary}/events.jsonl`
      const { hub, journal } = yield* openJournal({ file, capacity: 500 })
      const gate = yield* Latch.make(false)
      disk.delay = gate.await
      const lab = yield* Environment.make({ id: "lab", images: ["base"], pool: 4 }).pipe(
        Effect.provide(SimDriver.layer()),
        Effect.provideService(EventHandler.EventHub, hub)
      )
      yield* Effect.forEach(range(0, 1_000), () => lab.withSession({}, Effect.void), { concurrency: 8, discard: true })
      // A thousand sessions have passed, and nothing was written.
      const still = yield* journal.stats
      assert.strictEqual(still.written, 0)
      assert.isAtMost(still.waiting, 1_000) // the queue, and what is being written
      assert.isAbove(still.dropped, 5_000)
      yield* gate.open
      yield* journal.flush
      const { written } = yield* journal.stats
      assert.isAtLeast(written, still.waiting)
      const all = yield* readAll(file)
      assert.strictEqual(all.length, written)
      assert.strictEqual(all[0]?._tag, "EnvironmentStarting")
    }).pipe(Effect.scoped, Effect.provide(diskLayer))
  )

  it.live("is closed in time although a write does not come back", () =>
    Effect.gen(function* () {
      const disk = yield* Disk
      const file = `${yield* temporary}/events.jsonl`
      const { close, publish } = yield* openJournal({ file, drainTimeout: "50 millis" })
      yield* publish([nth(0)])
      disk.delay = Effect.never
      yield* close
    }).pipe(Effect.scoped, Effect.provide(diskLayer))
  )

  it.live("is closed in time although a sync does not come back", () =>
    Effect.gen(function* () {
      const disk = yield* Disk
      for (const sync of ["always", "1 millis", "1 hour"] as const) {
        const file = `${yield* temporary}/events.jsonl`
        const { close, journal, publish } = yield* openJournal({ file, sync, drainTimeout: "50 millis" })
        disk.isHanging = true
        yield* publish([nth(0)])
        while ((yield* journal.stats).written < 1) yield* Effect.sleep("1 millis")
        yield* Effect.sleep("20 millis")
        yield* close
        assert.deepStrictEqual(yield* numbersIn(file), [0])
        disk.isHanging = false
      }
    }).pipe(Effect.scoped, Effect.provide(diskLayer))
  )

  it.live("is closed in time although the disk is full", () =>
    Effect.gen(function* () {
      const disk = yield* Disk
      const file = `${yield* temporary}/events.jsonl`
      const { close, publish } = yield* openJournal({ file, drainTimeout: "50 millis" })
      yield* publish([nth(0)])
      disk.room = 0
      yield* close
      assert.deepStrictEqual(yield* readAll(file), [])
    }).pipe(Effect.scoped, Effect.provide(diskLayer))
  )

  it.live("goes on after its file was taken away while it could not write", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const disk = yield* Disk
      const file = `${yield* temporary}/events.jsonl`
      const { journal, publish } = yield* openJournal({ file, retryInterval: "2 millis" })
      yield* publish([nth(0)])
      yield* journal.flush
      disk.room = 0
      yield* publish([nth(1)])
      while ((yield* journal.stats).failures < 1) yield* Effect.sleep("1 millis")
      yield* fs.rename(file, `${file}.elsewhere`)
      disk.room = Infinity
      yield* journal.flush
      assert.deepStrictEqual(yield* numbersIn(file), [1])
      assert.deepStrictEqual(yield* numbersIn(`${file}.elsewhere`), [0])
    }).pipe(Effect.scoped, Effect.provide(diskLayer))
  )

  /** Reads while the file is written on and rotated just before the reader does that with it, for the n-th time. */
  const readWhileRotated = (operation: "stat" | "open", time: number) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* temporary}/events.jsonl`
      const line = (n: number) => `${JSON.stringify(nth(n))}\n`
      yield* fs.writeFileString(file, line(0) + line(1))
      let calls = 0
      const rotate = Effect.suspend(() =>
        ++calls === time
          ? Effect.gen(function* () {
              yield* fs.writeFileString(file, line(2), { flag: "a" })
              yield* fs.rename(file, `${file}.000001`)
              yield* fs.writeFileString(file, line(3))
            })
          : Effect.void
      )
      const rotating = FileSystem.FileSystem.of({
        ...fs,
        stat: (path) => Effect.andThen(operation === "stat" && path === file ? rotate : Effect.void, fs.stat(path)),
        open: (path, options) =>
          Effect.andThen(operation === "open" && path === file ? rotate : Effect.void, fs.open(path, options))
      })
      return yield* numbersIn(file).pipe(Effect.provideService(FileSystem.FileSystem, rotating))
    })

  it.effect.each([
    ["open", 1],
    ["stat", 1],
    ["stat", 2]
  ] as const)("misses nothing when it is rotated before %s number %i of a reader", ([operation, time]) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* readWhileRotated(operation, time), [0, 1, 2, 3])
    }).pipe(Effect.provide(live))
  )

  it.live("is followed by a reader that is so slow that files are gone when it gets there", () =>
    Effect.gen(function* () {
      const file = `${yield* temporary}/events.jsonl`
      const { journal, publish } = yield* openJournal({ file, maxBytes: 2_000, maxFiles: 3 })
      yield* publish([nth(0)])
      yield* journal.flush
      const gate = yield* Latch.make(false)
      const reader = yield* EventJournal.read(file, { follow: true, pollInterval: "1 millis" }).pipe(
        Stream.map(numberOf),
        Stream.tap(() => gate.await),
        Stream.takeUntil((n) => n === 499),
        Stream.runCollect,
        Effect.forkChild
      )
      yield* Effect.sleep("20 millis")
      yield* publish(range(1, 500).map(nth))
      yield* journal.flush
      yield* gate.open
      const seen = yield* Fiber.join(reader)
      assert.strictEqual(seen[0], 0)
      assert.isTrue(
        seen.every((n, index) => index === 0 || n > (seen[index - 1] ?? -1)),
        "in order, none twice"
      )
      const kept = yield* numbersIn(file)
      assertSame(seen.slice(-kept.length), kept)
    }).pipe(Effect.scoped, Effect.provide(live))
  )
})
