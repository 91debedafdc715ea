/** Contents of files: reading and writing them, whole and in streams, and how each of them fails. */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import * as pattern from "../pattern.ts"
import { collect } from "../subject.ts"
import * as text from "../text.ts"

const check = inTopic("files")

export const checks = [
  check("file-write-read", "what is written is read, also nothing and all byte values", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      for (const length of [0, 1, 256, 65_521, 300_000]) {
        const written = pattern.slice(pattern.noise, 0, length)
        yield* files.writeFile("file", written)
        yield* expect.bytes(yield* files.readFile("file"), written, `${length} bytes`)
      }
    })
  ),

  check("file-write-replaces", "writing a file replaces what was in it, also with less", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "a long content")
      yield* files.writeFileString("file", "short")
      yield* expect.equal(yield* files.readFileString("file"), "short", "the content")
    })
  ),

  check(
    "file-read-fails",
    "reading says why it fails: missing, a directory, a path through a file",
    { marks: ["F6"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        yield* files.makeDirectory("directory")
        yield* files.writeFileString("file", "")
        for (const [path, reason] of [
          ["missing", "NotFound"],
          ["missing/file", "NotFound"],
          ["directory", "BadResource"],
          ["file/inner", "BadResource"]
        ] as const) {
          yield* expect.platformError(files.readFile(path), reason, `readFile of ${path}`)
          yield* expect.platformError(files.readFileString(path), reason, `readFileString of ${path}`)
          yield* expect.platformError(collect(files.stream(path)), reason, `stream of ${path}`)
        }
      })
  ),

  check("file-write-fails", "writing says why it fails, and changes nothing", { marks: ["F6"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.makeDirectory("directory")
      yield* files.writeFileString("file", "kept")
      for (const [path, reason] of [
        ["missing/file", "NotFound"],
        ["directory", "BadResource"],
        ["file/inner", "BadResource"]
      ] as const) {
        yield* expect.platformError(files.writeFileString(path, "new"), reason, `writeFile to ${path}`)
        const sink = Stream.run(Stream.make(text.encode("new")), files.sink(path))
        yield* expect.platformError(sink, reason, `sink to ${path}`)
      }
      yield* expect.equal(yield* files.readFileString("file"), "kept", "the file")
      yield* expect.equal((yield* files.readDirectory(".")).sort(), ["directory", "file"], "the workspace")
    })
  ),

  check("file-write-flags", "flags append, or refuse a file that exists", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "one ", { flag: "a" })
      yield* files.writeFileString("file", "two", { flag: "a" })
      yield* expect.equal(yield* files.readFileString("file"), "one two", "after appending twice")
      yield* expect.platformError(
        files.writeFileString("file", "new", { flag: "wx" }),
        "AlreadyExists",
        "flag wx on a file"
      )
      yield* expect.platformError(
        files.writeFileString("file", "new", { flag: "ax" }),
        "AlreadyExists",
        "flag ax on a file"
      )
      yield* files.writeFileString("fresh", "new", { flag: "wx" })
      yield* files.writeFileString("file", "ONE", { flag: "r+" })
      yield* expect.platformError(
        files.writeFileString("missing", "x", { flag: "r+" }),
        "NotFound",
        "flag r+ on nothing"
      )
      yield* expect.equal(yield* files.readFileString("file"), "ONE two", "after writing over its start")
    })
  ),

  check("file-text", "text is UTF-8, whatever is in it", { marks: ["F16"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      const content = "line\nzwei\r\n\u0000 é 日本語 🙂 e\u0301\u2028"
      yield* files.writeFileString("text", content)
      yield* expect.equal(yield* files.readFileString("text"), content, "the text")
      yield* expect.bytes(yield* files.readFile("text"), text.encode(content), "its bytes")
      yield* expect.platformError(
        files.readFileString("text", "no-such-encoding"),
        "BadArgument",
        "an unknown encoding"
      )
    })
  ),

  check("file-exists", "exists tells files, directories and nothing apart from errors", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      yield* files.makeDirectory("directory")
      const found = yield* Effect.forEach([".", "file", "directory", "missing", "missing/file"], files.exists)
      yield* expect.equal(found, [true, true, true, false, false], "., a file, a directory, and two that are missing")
    })
  ),

  check("file-access", "access succeeds on what is there and can be read and written", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      yield* files.access("file")
      yield* files.access("file", { readable: true, writable: true })
      yield* files.access(".", { readable: true, writable: true })
      yield* expect.platformError(files.access("missing"), "NotFound", "access to what is missing")
      yield* expect.platformError(files.access("missing", { readable: true }), "NotFound", "access to what is missing")
    })
  ),

  check("file-stream", "a file can be read as a stream, in part and in chunks of a size", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      const length = 300_007
      yield* files.writeFile("file", pattern.slice(pattern.noise, 0, length))
      yield* pattern.verify(files.stream("file"), pattern.noise, { length }, "the whole")
      const part = files.stream("file", { offset: 100_000, bytesToRead: 50_000 })
      yield* pattern.verify(part, pattern.noise, { length: 50_000, offset: 100_000 }, "a part")
      const end = files.stream("file", { offset: length - 10, bytesToRead: 1000 })
      yield* pattern.verify(end, pattern.noise, { length: 10, offset: length - 10 }, "the end")
      yield* expect.equal(
        (yield* collect(files.stream("file", { offset: length + 5 }))).length,
        0,
        "bytes beyond the end"
      )
      yield* expect.equal((yield* collect(files.stream("file", { bytesToRead: 0 }))).length, 0, "no bytes")
      const chunks = yield* Stream.runCollect(files.stream("file", { chunkSize: 1000, bytesToRead: 10_000 }))
      yield* expect.isTrue(
        chunks.every((chunk) => chunk.length <= 1000),
        "a chunk is larger than asked for"
      )
      yield* expect.bytes(text.concat(chunks), pattern.slice(pattern.noise, 0, 10_000), "what is in the chunks")
    })
  ),

  check("file-sink", "a stream can be written to a file, anew or at its end", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      const length = 200_000
      yield* files.writeFileString("file", "x".repeat(300_000))
      yield* Stream.run(pattern.stream(pattern.noise, length, 777), files.sink("file"))
      yield* pattern.verify(files.stream("file"), pattern.noise, { length }, "what was written")
      yield* Stream.run(Stream.make(text.encode("more")), files.sink("file", { flag: "a" }))
      const { size } = yield* files.stat("file")
      yield* expect.equal(ByteSize.toBigInt(size), BigInt(length + 4), "its size after appending")
    })
  ),

  check(
    "file-read-while-written",
    "a stream that was opened reads what its file was, also when it is removed",
    {},
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        const length = 2_000_000
        yield* files.writeFile("file", pattern.slice(pattern.noise, 0, length))
        let removed = false
        const reading = Stream.tap(files.stream("file"), () =>
          Effect.suspend(() => {
            if (removed) return Effect.void
            removed = true
            return files.remove("file")
          })
        )
        yield* pattern.verify(reading, pattern.noise, { length }, "what was read")
        yield* expect.equal(yield* files.exists("file"), false, "whether the file exists")
      })
  ),

  check(
    "file-seen-by-commands",
    "files are the same for commands and for FileSystem",
    { marks: ["F4"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { files } = sandbox
        yield* files.makeDirectory("a")
        yield* files.writeFileString("a/given", "from outside\n")
        const script =
          "cat a/given; echo from inside >a/made; printf more >>a/given; mv a/made a/moved; mkdir b; rm -f a/none"
        yield* expect.equal(yield* sandbox.output(script), "from outside\n", "what a command reads")
        yield* expect.equal(yield* files.readFileString("a/moved"), "from inside\n", "what a command wrote")
        yield* expect.equal(yield* files.readFileString("a/given"), "from outside\nmore", "what a command appended")
        yield* files.remove("a", { recursive: true })
        yield* expect.equal(yield* sandbox.output("ls"), "b\n", "what a command sees after a removal")
      })
  ),

  check(
    "file-appended-by-command",
    "what a running command writes can be read while it runs",
    { marks: ["F13"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.startScript("for i in 1 2 3; do echo $i >>log; sleep 0.1; done; sleep 30")
        const isWritten = Effect.gen(function* () {
          return (yield* sandbox.files.exists("log")) && (yield* sandbox.files.readFileString("log")) === "1\n2\n3\n"
        })
        yield* expect.eventually(isWritten, "three lines in the log")
      })
  )
]
