/** Open files: flags, cursors, positions, and what ends with their scope. */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import * as text from "../text.ts"

const check = inTopic("handles")

const content = "0123456789"

export const checks = [
  check("handle-read", "a handle reads from its cursor on, and tells the end", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", content)
      const file = yield* files.open("file")
      const buffer = new Uint8Array(4)
      const read = Effect.map(file.read(buffer), (count) => text.decode(buffer.subarray(0, count)))
      yield* expect.equal(
        [yield* read, yield* read, yield* read, yield* read],
        ["0123", "4567", "89", ""],
        "what was read"
      )
    })
  ),

  check("handle-read-alloc", "readAlloc gives what is there, and nothing at the end", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", content)
      const file = yield* files.open("file")
      const read = Effect.map(file.readAlloc(7), (found) =>
        found._tag === "Some" ? text.decode(found.value) : undefined
      )
      yield* expect.equal([yield* read, yield* read, yield* read], ["0123456", "789", undefined], "what was read")
      yield* expect.platformError(file.readAlloc(-1), "BadArgument", "a negative size")
    })
  ),

  check("handle-position", "reading at a position leaves the cursor where it is", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", content)
      const file = yield* files.open("file")
      const read = (position?: bigint) =>
        Effect.map(file.readAlloc(3, position === undefined ? {} : { position }), (found) =>
          found._tag === "Some" ? text.decode(found.value) : undefined
        )
      const found = [yield* read(), yield* read(8n), yield* read(100n), yield* read(0n), yield* read()]
      yield* expect.equal(found, ["012", "89", undefined, "012", "345"], "what was read")
      yield* expect.platformError(read(-1n), "BadArgument", "a negative position")
      const buffer = new Uint8Array(2)
      yield* expect.equal(yield* file.read(buffer, { position: 5n }), 2, "bytes read into a buffer at a position")
      yield* expect.equal(text.decode(buffer), "56", "what the buffer holds")
    })
  ),

  check("handle-seek", "the cursor moves from the start or from where it is, never before the start", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", content)
      const file = yield* files.open("file")
      const read = Effect.map(file.readAlloc(2), (found) =>
        found._tag === "Some" ? text.decode(found.value) : undefined
      )
      yield* expect.equal(yield* file.seek(6n, "start"), 6n, "the cursor")
      yield* expect.equal(yield* read, "67", "from 6 on")
      yield* expect.equal(yield* file.seek(-4n, "current"), 4n, "the cursor")
      yield* expect.equal(yield* read, "45", "from 4 on")
      yield* expect.platformError(file.seek(-100n, "current"), "BadArgument", "before the start")
      yield* expect.equal(yield* read, "67", "the cursor has not moved")
      yield* file.seek(100n, "start")
      yield* expect.equal(yield* read, undefined, "beyond the end")
    })
  ),

  check("handle-write", "a handle writes at its cursor, and leaves zeros where it jumped", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      const file = yield* files.open("file", { flag: "w" })
      yield* expect.equal(Number(yield* file.write(text.encode("abc"))), 3, "bytes written")
      yield* file.writeAll(text.encode("def"))
      yield* file.writeAll(new Uint8Array(0))
      yield* file.seek(1n, "start")
      yield* file.writeAll(text.encode("B"))
      yield* file.seek(8n, "start")
      yield* file.writeAll(text.encode("!"))
      yield* file.sync
      yield* expect.equal(yield* files.readFileString("file"), "aBcdef\0\0!", "the content")
    })
  ),

  check("handle-flags", "flags decide whether a file is read, written, emptied, made or refused", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      const open = (path: string, flag: "a+" | "r" | "r+" | "w" | "w+" | "wx" | "wx+" | "ax") =>
        Effect.scoped(
          Effect.flatMap(files.open(path, { flag }), (file) =>
            flag === "r" ? Effect.void : file.writeAll(text.encode("XY"))
          )
        )
      const after = (flag: Parameters<typeof open>[1]) =>
        Effect.gen(function* () {
          yield* files.writeFileString("file", content)
          yield* open("file", flag)
          return yield* files.readFileString("file")
        })
      yield* expect.equal(yield* after("r"), content, "after r")
      yield* expect.equal(yield* after("r+"), "XY23456789", "after r+")
      yield* expect.equal(yield* after("w"), "XY", "after w")
      yield* expect.equal(yield* after("w+"), "XY", "after w+")
      yield* expect.equal(yield* after("a+"), `${content}XY`, "after a+")
      for (const flag of ["wx", "wx+", "ax"] as const) {
        yield* expect.platformError(open("file", flag), "AlreadyExists", `flag ${flag} on a file`)
        yield* open(`new-${flag}`, flag)
      }
      yield* expect.platformError(open("missing", "r"), "NotFound", "flag r on nothing")
      yield* expect.platformError(open("missing", "r+"), "NotFound", "flag r+ on nothing")
      yield* expect.platformError(open("missing/file", "w"), "NotFound", "flag w in a directory that is missing")
    })
  ),

  check("handle-append", "a handle that appends writes at the end, wherever its cursor is", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "one")
      const file = yield* files.open("file", { flag: "a+" })
      yield* file.seek(0n, "start")
      yield* file.writeAll(text.encode(" two"))
      yield* files.writeFileString("file", " three", { flag: "a" })
      yield* file.writeAll(text.encode(" four"))
      yield* expect.equal(yield* files.readFileString("file"), "one two three four", "the content")
    })
  ),

  check(
    "handle-direction",
    "a handle for reading does not write, and one for writing does not read",
    { marks: ["F6"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        yield* files.writeFileString("file", content)
        const reader = yield* files.open("file", { flag: "r" })
        yield* expect.platformError(reader.writeAll(text.encode("x")), undefined, "writing to a handle for reading")
        const writer = yield* files.open("other", { flag: "w" })
        yield* expect.platformError(writer.readAlloc(1), undefined, "reading from a handle for writing")
        yield* expect.equal(yield* files.readFileString("file"), content, "the content")
      })
  ),

  check("handle-stat-truncate", "a handle tells its file's size, and cuts it", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", content)
      const file = yield* files.open("file", { flag: "r+" })
      const size = Effect.map(file.stat, (info) => [info.type, ByteSize.toBigInt(info.size)])
      yield* expect.equal(yield* size, ["File", 10n], "type and size")
      yield* file.truncate(4)
      yield* expect.equal(yield* size, ["File", 4n], "type and size after cutting it")
      yield* expect.equal(yield* files.readFileString("file"), "0123", "the content")
    })
  ),

  check("handle-outlives-name", "a handle stays on its file when that is renamed or removed", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", content)
      const file = yield* files.open("file", { flag: "r+" })
      yield* files.rename("file", "moved")
      yield* file.writeAll(text.encode("AB"))
      yield* expect.equal(yield* files.readFileString("moved"), "AB23456789", "written through the handle")
      yield* files.remove("moved")
      yield* files.writeFileString("moved", "another")
      const rest = yield* file.readAlloc(100)
      yield* expect.equal(rest._tag === "Some" ? text.decode(rest.value) : "", "23456789", "read through the handle")
    })
  ),

  check(
    "handle-closed",
    "a handle ends with its scope, and is never that of a file that was opened later",
    { marks: ["I7"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        yield* files.writeFileString("file", content)
        yield* files.writeFileString("other", "kept")
        const closed = yield* Effect.scoped(files.open("file", { flag: "r+" }))
        yield* Effect.forEach(Array.from({ length: 30 }), () => files.open("other", { flag: "r+" }))
        yield* expect.platformError(closed.readAlloc(1), undefined, "reading from it")
        yield* expect.platformError(closed.writeAll(text.encode("lost")), undefined, "writing to it")
        yield* expect.platformError(closed.truncate(0), undefined, "cutting it")
        yield* expect.equal(yield* files.readFileString("other"), "kept", "the other file")
      })
  ),

  check(
    "handle-many",
    "300 handles can be opened and closed, and 50 be open at the same time",
    { marks: ["I7"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        yield* files.writeFileString("file", content)
        const one = Effect.scoped(Effect.flatMap(files.open("file"), (file) => file.readAlloc(10)))
        yield* Effect.forEach(Array.from({ length: 300 }), () => one, { concurrency: 20, discard: true })
        const open = yield* Effect.forEach(Array.from({ length: 50 }), () => files.open("file"), { concurrency: 10 })
        const first = yield* Effect.forEach(open, (file) => file.readAlloc(1))
        yield* expect.isTrue(
          first.every((found) => found._tag === "Some"),
          "a handle has its own cursor"
        )
      })
  ),

  check(
    "handle-no-follow",
    "noFollow refuses a link, or is refused itself",
    { marks: ["F5"], needs: ["symlinks"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        yield* files.writeFileString("file", content)
        yield* files.symlink("file", "link")
        const open = (path: string) => Effect.scoped(Effect.asVoid(files.open(path, { noFollow: true })))
        const error = yield* expect.platformError(
          open("link"),
          ["BadResource", "BadArgument", "PermissionDenied"],
          "opening a link"
        )
        if (error.reason._tag !== "BadArgument") yield* open("file")
      })
  )
]
