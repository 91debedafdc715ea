import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Schema, Stream } from "effect"
import * as DockerStream from "../src/DockerStream.ts"

type Block = readonly [kind: number, bytes: Uint8Array]

const block = ([kind, bytes]: Block): Uint8Array => {
  const { length } = bytes
  return Uint8Array.from([
    kind,
    0,
    0,
    0,
    length >>> 24,
    (length >>> 16) & 255,
    (length >>> 8) & 255,
    length & 255,
    ...bytes
  ])
}

const join = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => Uint8Array.from(chunks.flatMap((chunk) => [...chunk]))

const split = (bytes: Uint8Array, sizes: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const chunks: Array<Uint8Array> = []
  let at = 0
  for (const size of sizes) {
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  return [...chunks, bytes.subarray(at)].filter((chunk) => chunk.length > 0)
}

/** What comes out of each stream, and in which order the streams took turns. */
const gather = (pieces: ReadonlyArray<DockerStream.Piece>) => {
  const merged: Array<{ source: string; bytes: Array<number> }> = []
  for (const { bytes, source } of pieces) {
    const last = merged.at(-1)
    if (last?.source === source) last.bytes.push(...bytes)
    else merged.push({ source, bytes: [...bytes] })
  }
  return merged
}

const expected = (blocks: ReadonlyArray<Block>) =>
  gather(
    blocks
      .filter(([, bytes]) => bytes.length > 0)
      .map(([kind, bytes]) => ({ source: kind === 2 ? "stderr" : "stdout", bytes }) as const)
  )

const push = (chunks: ReadonlyArray<Uint8Array>) => {
  const { end, push } = DockerStream.demultiplexer("a test")
  return { pieces: chunks.flatMap(push), end: end() }
}

const Byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))

const blocks = Arbitrary.array(
  Arbitrary.all([
    Arbitrary.schema(Schema.Literals([1, 2])),
    Arbitrary.schema(Schema.Array(Byte)).pipe(Arbitrary.map((bytes) => Uint8Array.from(bytes)))
  ]),
  { maxLength: 6 }
)

describe("the stream of an attached container", () => {
  it.prop(
    "is the same however it is cut into chunks",
    [blocks, Arbitrary.schema(Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 20 }))))],
    ([blocks, sizes]) => {
      const bytes = join(blocks.map(block))
      const { end, pieces } = push(split(bytes, sizes))
      assert.deepStrictEqual(gather(pieces), expected(blocks))
      assert.isUndefined(end)
    },
    { arbitrary: { runs: 500 } }
  )

  it("is the same for each of the two cuts that a stream can have", () => {
    const text = new TextEncoder().encode("héllo")
    const blocks: ReadonlyArray<Block> = [
      [1, text],
      [2, new Uint8Array(0)],
      [2, text],
      [1, Uint8Array.of(7)]
    ]
    const bytes = join(blocks.map(block))
    for (let first = 0; first <= bytes.length; first++) {
      for (let second = first; second <= bytes.length; second++) {
        const { end, pieces } = push(split(bytes, [first, second - first]))
        assert.deepStrictEqual(gather(pieces), expected(blocks), `cut at ${first} and ${second}`)
        assert.isUndefined(end)
      }
    }
  })

  it.prop(
    "says so when it ends in the middle of a block",
    [blocks, Arbitrary.schema(Schema.Natural)],
    ([blocks, where]) => {
      const bytes = join(blocks.map(block))
      const boundaries = new Set([0])
      for (const one of blocks) boundaries.add(Math.max(...boundaries) + block(one).length)
      const cut = where % (bytes.length + 1)
      const { end } = push(split(bytes.subarray(0, cut), []))
      assert.strictEqual(end === undefined, boundaries.has(cut))
      if (end !== undefined) assert.strictEqual(end.reason._tag, "MalformedResponse")
    }
  )

  it("does not wait for the end of a large block, nor copy it", () => {
    const { push } = DockerStream.demultiplexer("a test")
    const start = Uint8Array.of(1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3)
    const [piece] = push(start)
    assert.deepStrictEqual([...(piece?.bytes ?? [])], [1, 2, 3])
    assert.strictEqual(piece?.bytes.buffer, start.buffer)
  })

  it("refuses what is no such stream", () => {
    for (const bad of [
      [4, 0, 0, 0, 0, 0, 0, 0],
      [1, 1, 0, 0, 0, 0, 0, 0],
      [...new TextEncoder().encode("HTTP/1.1 ")]
    ]) {
      const { failure, push } = DockerStream.demultiplexer("a test")
      assert.deepStrictEqual(push(Uint8Array.from(bad)), [])
      assert.strictEqual(failure()?.reason._tag, "MalformedResponse", String(bad))
    }
  })

  it.effect("ends with what the engine itself has to say", () =>
    Effect.gen(function* () {
      const complaint = block([3, new TextEncoder().encode("error grabbing logs")])
      const seen: Array<string> = []
      const error = yield* Stream.fromIterable(split(join([block([1, Uint8Array.of(1)]), complaint]), [11, 4])).pipe(
        DockerStream.demultiplex("a test"),
        Stream.runForEach(({ source }) => Effect.sync(() => seen.push(source))),
        Effect.flip
      )
      assert.deepStrictEqual(seen, ["stdout"])
      assert.strictEqual(error.message, "The engine failed at a test (500): error grabbing logs")
    })
  )

  it.effect("as a stream fails at an end in the middle of a block", () =>
    Effect.gen(function* () {
      const cut = Stream.make(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 2, 65)).pipe(DockerStream.demultiplex("a test"))
      const error = yield* Effect.flip(Stream.runDrain(cut))
      assert.strictEqual(error.reason._tag, "MalformedResponse")
    })
  )
})
