import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import { NodeServices } from "@effect/platform-node"
import { stringify } from "../src/internal/eventLines.ts"
import { Notebook } from "../src/internal/eventNotes.ts"
import * as LineThread from "../src/internal/lineThread.ts"
import { readFileSync } from "node:fs"
import { descriptorOf, nth, range, temporary } from "./support/journals.ts"

const notesOf = (from: number, count: number) => {
  const notebook = new Notebook(count)
  for (const n of range(from, from + count)) notebook.add(nth(n))
  const [notes] = notebook.takeAll()
  return Effect.fromNullishOr(notes)
}

const parsed = (lines: string | Uint8Array | number): ReadonlyArray<unknown> =>
  (typeof lines === "object" ? new TextDecoder().decode(lines.slice()) : String(lines))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown)

const expected = (from: number, count: number) =>
  range(from, from + count).map((n) => JSON.parse(stringify(nth(n))) as unknown)

/** Makes lines until they come from a thread. */
const untilThread = (lines: LineThread.LineMaker) =>
  Effect.gen(function* () {
    const notes = yield* notesOf(0, 1000)
    while (typeof (yield* lines(notes)) === "string") yield* Effect.sleep(1)
  })

describe("LineThread", () => {
  it.live("makes the same lines in the thread, whatever their number", () =>
    Effect.gen(function* () {
      const lines = yield* LineThread.make()
      yield* untilThread(lines)
      for (const [index, count] of [512, 20_000, 1000, 600].entries()) {
        const made = yield* lines(yield* notesOf(index * 100_000, count))
        assert.instanceOf(made, Uint8Array)
        assert.deepStrictEqual(parsed(made), expected(index * 100_000, count))
      }
      const few = yield* lines(yield* notesOf(0, 3))
      assert.isString(few)
      assert.deepStrictEqual(parsed(few), expected(0, 3))
    }).pipe(Effect.scoped)
  )

  it.live("writes them in the thread to where they belong, and gives those back that it cannot write", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const lines = yield* LineThread.make()
      yield* untilThread(lines)
      const descriptor = yield* descriptorOf(`${directory}/lines`, "w+")
      const ends = [100]
      for (const [index, count] of [512, 20_000, 1000].entries()) {
        const position = ends[index] ?? 0
        const length = yield* lines(yield* notesOf(index * 100_000, count), { descriptor, position, room: Infinity })
        assert.isNumber(length)
        ends.push(position + Number(length))
      }
      const bytes = readFileSync(`${directory}/lines`)
      assert.strictEqual(bytes.length, ends[3])
      assert.deepStrictEqual(parsed(bytes.subarray(100, ends[1])), expected(0, 512))
      assert.deepStrictEqual(parsed(bytes.subarray(ends[1], ends[2])), expected(100_000, 20_000))
      assert.deepStrictEqual(parsed(bytes.subarray(ends[2], ends[3])), expected(200_000, 1000))

      const notes = yield* notesOf(0, 600)
      const needed = (yield* lines(notes, { descriptor, position: 0, room: Infinity })) as number
      assert.strictEqual(yield* lines(notes, { descriptor, position: 0, room: needed }), needed)
      const readOnly = yield* descriptorOf(`${directory}/lines`, "r")
      for (const target of [
        { descriptor, position: bytes.length, room: needed - 1 },
        { descriptor: readOnly, position: bytes.length, room: Infinity },
        { descriptor: 1_000_000, position: bytes.length, room: Infinity }
      ]) {
        assert.deepStrictEqual(parsed(yield* lines(notes, target)), expected(0, 600))
      }
      assert.strictEqual(readFileSync(`${directory}/lines`).length, bytes.length, "nothing of them was written")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("makes lines without a thread where none can be had, or when it has ended, and loses nothing", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* fs.makeTempFileScoped({ suffix: ".mjs" })
      const file = new URL(`file://${path}`)
      const missing = yield* LineThread.make(new URL("file:///nowhere/worker.mjs"))
      for (const program of [
        "throw new Error('broken')",
        "import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => process.exit(3))"
      ]) {
        yield* fs.writeFileString(path, program)
        for (const lines of [missing, yield* LineThread.make(file)]) {
          for (const round of range(0, 20)) {
            const made = yield* lines(yield* notesOf(round, 600))
            assert.deepStrictEqual(parsed(made), expected(round, 600))
            yield* Effect.sleep(10)
          }
        }
      }
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})
