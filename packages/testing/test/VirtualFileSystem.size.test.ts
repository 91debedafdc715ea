/** Large files, deep trees and many files. */
import { assert, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as VirtualFileSystem from "../src/VirtualFileSystem.ts"

const made = () => Effect.map(VirtualFileSystem.make({ devices: false }), (made) => ({ made, files: made.view() }))

it.effect(
  "100 MB in one file, written in parts, read and cut off",
  () =>
    Effect.gen(function* () {
      const { files, made: system } = yield* made()
      const part = new Uint8Array(1_000_000).fill(7)
      yield* Stream.run(Stream.fromIterable(Array.from({ length: 100 }, () => part)), files.sink("/big"))
      const content = yield* files.readFile("/big")
      assert.strictEqual(content.length, 100_000_000)
      assert.isTrue(content.every((byte) => byte === 7))
      yield* files.truncate("/big", 70_000)
      assert.strictEqual(system.usage().bytes, 70_000)
    }),
  60_000
)

it.effect(
  "trees of 2,000 levels",
  () =>
    Effect.gen(function* () {
      const { files, made: system } = yield* made()
      const deep = `/a${"/a".repeat(1999)}`
      yield* files.makeDirectory(deep, { recursive: true })
      yield* files.writeFileString(`${deep}/f`, "down here")
      assert.strictEqual((yield* files.readDirectory("/a", { recursive: true })).length, 2000)
      yield* files.copy("/a", "/b")
      assert.strictEqual(system.tree("/b").length, 2000)
      assert.strictEqual(yield* files.realPath(`${deep}/f`), `${deep}/f`)
      const clone = yield* system.clone
      yield* files.remove("/a", { recursive: true })
      yield* files.remove("/b", { recursive: true })
      assert.deepStrictEqual(system.tree(), ["drwxrwxrwt 0:0 /tmp"])
      assert.strictEqual(yield* clone.view().readFileString(`${deep}/f`), "down here")
      // Deeper than any path: by moving one tree to the end of another.
      yield* clone.view().rename("/b", `${deep}/b`)
      yield* clone.view().remove("/a", { recursive: true })
      assert.deepStrictEqual(clone.usage(), { files: 0, directories: 2, links: 0, bytes: 0, handles: 0, watchers: 0 })
    }),
  60_000
)

it.effect(
  "100,000 files",
  () =>
    Effect.gen(function* () {
      const { files, made: system } = yield* made()
      for (let directory = 0; directory < 100; directory++) {
        yield* files.makeDirectory(`/d/${directory}`, { recursive: true })
        for (let file = 0; file < 1000; file++) yield* files.writeFileString(`/d/${directory}/${file}`, "x")
      }
      assert.strictEqual((yield* files.glob("**/*", { root: "/d" })).length, 100_100)
      assert.strictEqual(system.usage().files, 100_000)
      yield* files.remove("/d", { recursive: true })
      assert.deepStrictEqual(system.usage(), { files: 0, directories: 2, links: 0, bytes: 0, handles: 0, watchers: 0 })
    }),
  60_000
)
