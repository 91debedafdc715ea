/** The codec of the protocol: whatever comes in whatever chunks is understood, or refused. */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Schema } from "effect"
import * as fs from "node:fs"
import * as errno from "../src/internal/protocol/errno.ts"
import * as frames from "../src/internal/protocol/frames.ts"
import { decode, Writer } from "../src/internal/protocol/payload.ts"

const Byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
const U32 = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff_ffff }))
const Frame = Schema.Struct({
  type: Schema.Literals(Object.values(frames.agentFrame)),
  detail: Byte,
  channel: U32,
  /** How long its payload is, and what it begins with. */
  size: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 5000 })),
  start: Byte
})
type Frame = typeof Frame.Type

const payloadOf = ({ size, start }: Frame): Uint8Array =>
  Uint8Array.from({ length: size }, (_, index) => (start + index) % 256)

const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]))

/** Cuts bytes into chunks of these sizes, which are repeated until nothing is left. */
const cut = (bytes: Uint8Array, sizes: ReadonlyArray<number>): Array<Uint8Array> => {
  const chunks: Array<Uint8Array> = []
  for (let offset = 0, index = 0; offset < bytes.length; index++) {
    const size = sizes[index % sizes.length] ?? bytes.length
    // In a larger buffer, as chunks of sockets are.
    const around = new Uint8Array(size + 7)
    around.set(bytes.subarray(offset, offset + size), 3)
    chunks.push(around.subarray(3, 3 + Math.min(size, bytes.length - offset)))
    offset += size
  }
  return chunks
}

interface Taken {
  readonly type: number
  readonly detail: number
  readonly channel: number
  readonly payload: ReadonlyArray<number>
}

const take = (chunks: ReadonlyArray<Uint8Array>, sender: frames.Sender = "agent") => {
  const taken: Array<Taken> = []
  const isData = (type: number) => type === frames.agentFrame.data || type === frames.hostFrame.data
  const decoder = new frames.Decoder(sender, (type, detail, channel, payload) => {
    const last = taken.at(-1)
    // Bytes of a stream may come in pieces, which are told together here.
    if (
      last !== undefined &&
      isData(type) &&
      [last.type, last.detail, last.channel].join() === [type, detail, channel].join()
    ) {
      taken[taken.length - 1] = { ...last, payload: [...last.payload, ...payload] }
    } else taken.push({ type, detail, channel, payload: [...payload] })
    return undefined
  })
  let stop: frames.MalformedFrame | undefined
  for (const chunk of chunks) stop = decoder.push(chunk) ?? stop
  return { taken, stop, isBetweenFrames: decoder.isBetweenFrames }
}

const chunkSizes = Arbitrary.array(
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 4000 }))),
  {
    minLength: 1,
    maxLength: 6
  }
)

describe("frames", () => {
  it.effect.prop(
    "come out as they went in, however the stream was cut",
    [Arbitrary.array(Arbitrary.schema(Frame), { maxLength: 12 }), chunkSizes],
    ([sent, sizes]) =>
      Effect.sync(() => {
        const bytes = concat(
          sent.map((frame) => frames.encode(frame.type, frame.detail, frame.channel, payloadOf(frame)))
        )
        const { isBetweenFrames, stop, taken } = take(cut(bytes, sizes))
        const expected = take(
          sent.map((frame) => frames.encode(frame.type, frame.detail, frame.channel, payloadOf(frame)))
        ).taken
        assert.deepStrictEqual(
          expected.flatMap(({ payload }) => payload),
          sent.flatMap((frame) => [...payloadOf(frame)])
        )
        assert.deepStrictEqual(taken, expected)
        assert.isUndefined(stop)
        assert.isTrue(isBetweenFrames)
      }),
    { arbitrary: { runs: 150 } }
  )

  it.effect.prop(
    "are refused or understood when they are garbage, and nothing is ever thrown",
    [Arbitrary.array(Arbitrary.schema(Byte), { maxLength: 400 }), chunkSizes],
    ([garbage, sizes]) =>
      Effect.sync(() => {
        for (const sender of ["agent", "host"] as const) {
          const { stop } = take(cut(Uint8Array.from(garbage), sizes), sender)
          assert.isTrue(stop === undefined || stop._tag === "MalformedFrame")
        }
      }),
    { arbitrary: { runs: 300 } }
  )

  it.effect.prop(
    "are refused or understood when one byte of them is another",
    [
      Arbitrary.array(Arbitrary.schema(Frame), { minLength: 1, maxLength: 4 }),
      Arbitrary.schema(U32),
      Arbitrary.schema(Byte),
      chunkSizes
    ],
    ([sent, where, value, sizes]) =>
      Effect.sync(() => {
        const bytes = concat(
          sent.map((frame) => frames.encode(frame.type, frame.detail, frame.channel, payloadOf(frame)))
        )
        bytes[where % bytes.length] = value
        const { stop, taken } = take(cut(bytes, sizes))
        assert.isAtMost(taken.length, bytes.length / frames.headerSize)
        assert.isTrue(stop === undefined || stop._tag === "MalformedFrame")
      }),
    { arbitrary: { runs: 150 } }
  )

  it("of the largest size are understood, and larger ones are refused before anything is kept of them", () => {
    const data = frames.encode(frames.agentFrame.data, 1, 1, new Uint8Array(frames.maxData))
    assert.strictEqual(take(cut(data, [9, 1000])).taken[0]?.payload.length, frames.maxData)
    const largest = new Uint8Array(frames.maxPayload)
    const reply = frames.encode(frames.agentFrame.reply, 0, 1, largest)
    let size = -1
    const decoder = new frames.Decoder("agent", (_type, _detail, _channel, payload) => {
      size = payload.length
      return undefined
    })
    decoder.push(reply)
    assert.strictEqual(size, frames.maxPayload)
    for (const [type, length] of [
      [frames.agentFrame.data, frames.maxData + 1],
      [frames.agentFrame.data, 0],
      [frames.agentFrame.reply, frames.maxPayload + 1],
      [frames.agentFrame.reply, -1],
      [frames.agentFrame.reply, 0xffff_fff9]
    ] as const) {
      const header = new Uint8Array(frames.headerSize)
      new DataView(header.buffer).setUint32(0, length + 6, true)
      header[4] = type
      assert.instanceOf(take([header]).stop, frames.MalformedFrame, `a payload of ${length} bytes`)
    }
  })

  it("of the other side are refused, and so is everything behind what was refused", () => {
    const wrong = frames.encode(frames.hostFrame.ping, 0, 0, new Uint8Array(8))
    const right = frames.encode(frames.agentFrame.pong, 0, 0, new Uint8Array(8))
    const { stop, taken } = take([right, wrong, right])
    assert.strictEqual(stop?.message, "malformed frame: there is no frame of type 0x2")
    assert.strictEqual(taken.length, 1)
  })

  it("end where the receiver says so", () => {
    let count = 0
    const decoder = new frames.Decoder<"enough">("agent", () => (++count === 2 ? "enough" : undefined))
    const pong = frames.encode(frames.agentFrame.pong, 0, 0)
    assert.strictEqual(decoder.push(concat([pong, pong, pong])), "enough")
    assert.strictEqual(decoder.push(pong), "enough")
    assert.strictEqual(count, 2)
  })
})

describe("payloads", () => {
  const Values = Schema.Struct({
    u8: Byte,
    u16: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff })),
    u32: U32,
    u64: Schema.BigInt,
    i64: Schema.BigInt,
    text: Schema.String,
    list: Schema.Array(Schema.String),
    rest: Schema.Array(Byte)
  })

  const write = (values: typeof Values.Type): Uint8Array =>
    new Writer()
      .u8(values.u8)
      .u16(values.u16)
      .u32(values.u32)
      .u64(BigInt.asUintN(64, values.u64))
      .i64(BigInt.asIntN(64, values.i64))
      .str(values.text)
      .strings(values.list)
      .bytes(Uint8Array.from(values.rest))
      .frame(frames.hostFrame.file, 0, 1)
      .subarray(frames.headerSize)

  const read = (payload: Uint8Array) =>
    decode(payload, (reader) => ({
      u8: reader.u8(),
      u16: reader.u16(),
      u32: reader.u32(),
      u64: reader.u64(),
      i64: reader.i64(),
      text: reader.str(),
      list: reader.strings(),
      rest: [...reader.rest()]
    }))

  it.effect.prop("are read as they were written", [Arbitrary.schema(Values)], ([values]) =>
    Effect.sync(() => {
      // A lone surrogate is no text that UTF-8 could hold.
      const valid = (text: string) =>
        new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(text))
      assert.deepStrictEqual(read(write(values)), {
        ...values,
        u64: BigInt.asUintN(64, values.u64),
        i64: BigInt.asIntN(64, values.i64),
        text: valid(values.text),
        list: values.list.map(valid),
        rest: [...values.rest]
      })
    })
  )

  it.effect.prop(
    "of any bytes are understood to the last one or not at all",
    [Arbitrary.array(Arbitrary.schema(Byte), { maxLength: 200 })],
    ([bytes]) =>
      Effect.sync(() => {
        decode(Uint8Array.from(bytes), (reader) => reader.list(() => [reader.str(), reader.u64(), reader.strings()]))
      }),
    { arbitrary: { runs: 300 } }
  )

  it("are not understood when something is missing or left over", () => {
    const payload = new Writer().u32(7).str("a").frame(1, 0, 0).subarray(frames.headerSize)
    const parse = (bytes: Uint8Array) => decode(bytes, (reader) => [reader.u32(), reader.str()])
    assert.deepStrictEqual(parse(payload), [7, "a"])
    assert.isUndefined(parse(payload.subarray(0, -1)))
    assert.isUndefined(parse(concat([payload, Uint8Array.of(0)])))
    const endless = new Writer().u32(0xffff_ffff).frame(1, 0, 0).subarray(frames.headerSize)
    assert.isUndefined(decode(endless, (reader) => reader.strings()))
  })
})

describe("numbers", () => {
  const header = fs.readFileSync(new URL("../agent/src/protocol.h", import.meta.url), "utf8")

  const define = (name: string): string => {
    const found = new RegExp(`#define ${name} (\\S+)`).exec(header)?.[1]
    assert.isDefined(found, name)
    return String(found)
  }

  /** The members of an enumeration, their prefix left away. */
  const members = (name: string, prefix: string): { readonly [name: string]: number } => {
    const body = new RegExp(`enum ${name} \\{([^}]*)\\}`).exec(header)?.[1] ?? ""
    const found = [...body.replaceAll(/\/\*.*?\*\//gs, "").matchAll(/(\w+) = (\w+)/g)]
    assert.isNotEmpty(found, name)
    return Object.fromEntries(found.map(([, key = "", value = ""]) => [key.replace(prefix, ""), Number(value)]))
  }

  /** The same of the host: `noStdout` is `NO_STDOUT`. */
  const constants = (values: { readonly [name: string]: number }, suffix: (name: string) => string = () => "") =>
    Object.fromEntries(
      Object.entries(values).map(([name, value]) => [
        name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase() + suffix(name),
        value
      ])
    )

  it("are those of the agent", () => {
    assert.strictEqual(define("PROTOCOL_MAGIC"), JSON.stringify(frames.magic))
    for (const [name, value] of [
      ["PROTOCOL_VERSION", frames.version],
      ["FRAME_HEADER", frames.headerSize],
      ["FRAME_DATA_MAX", frames.maxData],
      ["FRAME_PAYLOAD_MAX", frames.maxPayload],
      ["STREAM_CREDIT", frames.streamCredit],
      ["READ_MAX", frames.maxRead],
      ["SANDBOX_GROUP", frames.sandboxGroup]
    ] as const) {
      assert.strictEqual(Number.parseInt(define(name), 10), value, name)
    }
    const both = new Set(["data", "end", "credit"])
    const suffix = (direction: string) => (name: string) => (both.has(name) ? direction : "")
    assert.deepStrictEqual(
      { ...constants(frames.hostFrame, suffix("_IN")), ...constants(frames.agentFrame, suffix("_OUT")) },
      members("frame_type", "FRAME_")
    )
    assert.deepStrictEqual(constants(frames.errorStage), members("error_stage", "STAGE_"))
    assert.deepStrictEqual(constants(frames.fatalReason), members("fatal_reason", "FATAL_"))
    assert.deepStrictEqual(constants(frames.runFlag), members("run_flag", "RUN_"))
    assert.deepStrictEqual(constants(frames.exitKind), members("exit_kind", "EXIT_"))
    assert.deepStrictEqual(constants(frames.signalTarget), members("signal_target", "SIGNAL_"))
    assert.deepStrictEqual(constants(frames.eventKind), members("event_kind", "EVENT_"))
    assert.deepStrictEqual(constants(frames.fileType), members("file_type", "TYPE_"))
    assert.deepStrictEqual(constants(frames.fileOperation), members("file_operation", "FILE_"))
  })

  it("of errors and signals are those of Linux", () => {
    assert.strictEqual(errno.errnoNumber("ENOENT"), 2)
    assert.strictEqual(errno.errnoName(111), "ECONNREFUSED")
    assert.strictEqual(errno.errnoName(4095), "errno 4095")
    assert.strictEqual(errno.errnoText(errno.errnoNumber("ENOTEMPTY")), "Directory not empty")
    const names = ["SIGHUP", "SIGKILL", "SIGTERM", "SIGSYS", "SIGIOT", "SIGBREAK"]
    assert.deepStrictEqual(names.map(errno.signalNumber), [1, 9, 15, 31, 6, undefined])
    assert.deepStrictEqual([9, 31, 33, 40].map(errno.signalName), ["SIGKILL", "SIGSYS", "signal 33", "SIGRTMIN+6"])
  })
})
