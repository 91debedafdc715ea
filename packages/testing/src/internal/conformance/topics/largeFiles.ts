/** Files of 100 MB, by every way in and out. */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import * as pattern from "../pattern.ts"
import { endOf, exited, type Subject } from "../subject.ts"

const check = inTopic("large-files")
const megabyte = 1024 * 1024
const length = 100 * megabyte
const chunkSize = megabyte

const write = (sandbox: Subject) =>
  Stream.run(pattern.stream(pattern.noise, length, chunkSize), sandbox.files.sink("large"))

export const checks = [
  check(
    "large-stream",
    "100 MB are written and read as streams, to the last byte",
    { needs: ["largeFiles"], patience: 3 },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* bench.during("writing 100 MB", write(sandbox))
        const { size } = yield* sandbox.files.stat("large")
        yield* expect.equal(ByteSize.toBigInt(size), BigInt(length), "the size")
        const reading = pattern.verify(
          sandbox.files.stream("large", { chunkSize }),
          pattern.noise,
          { length },
          "what was read"
        )
        yield* bench.during("reading 100 MB", reading)
      })
  ),

  check("large-whole", "100 MB are written and read in one piece", { needs: ["largeFiles"], patience: 3 }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* bench.during("writing 100 MB", files.writeFile("large", pattern.slice(pattern.noise, 0, length)))
      const read = yield* bench.during("reading 100 MB", files.readFile("large"))
      yield* pattern.verify(Stream.make(read), pattern.noise, { length }, "what was read")
    })
  ),

  check(
    "large-offsets",
    "parts of a file of 100 MB are read and written where they are",
    { needs: ["largeFiles"], patience: 3 },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { files } = sandbox
        yield* bench.during("writing 100 MB", write(sandbox))
        for (const offset of [0, 7, 50 * megabyte + 1, 99 * megabyte, length - 1000]) {
          const size = Math.min(100_000, length - offset)
          const part = files.stream("large", { offset, bytesToRead: size })
          yield* pattern.verify(part, pattern.noise, { length: size, offset }, `the bytes from ${offset} on`)
        }
        const file = yield* files.open("large", { flag: "r+" })
        yield* file.seek(BigInt(70 * megabyte), "start")
        yield* file.writeAll(new Uint8Array(10))
        const found = yield* file.readAlloc(20, { position: BigInt(70 * megabyte - 5) })
        yield* expect.bytes(
          found._tag === "Some" ? found.value : new Uint8Array(0),
          Uint8Array.from({ length: 20 }, (_, index) =>
            index >= 5 && index < 15 ? 0 : (pattern.slice(pattern.noise, 70 * megabyte - 5 + index, 1)[0] ?? 0)
          ),
          "around the bytes that were written over"
        )
      })
  ),

  check(
    "large-by-commands",
    "100 MB go from FileSystem to a command and back",
    { needs: ["largeFiles", "shell"], patience: 3 },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* bench.during("writing 100 MB", write(sandbox))
        const handle = yield* sandbox.startScript("cat large | cat >copy && rm large && wc -c <copy")
        yield* expect.equal(yield* bench.during("copying 100 MB", endOf(handle)), exited(0), "the end")
        const reading = pattern.verify(
          sandbox.files.stream("copy", { chunkSize }),
          pattern.noise,
          { length },
          "the copy"
        )
        yield* bench.during("reading 100 MB", reading)
      })
  )
]
