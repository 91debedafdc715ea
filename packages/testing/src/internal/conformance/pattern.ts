/**
 * Bytes that are known by their position, so that what was lost, doubled or exchanged shows, and where, without keeping
 * any of it.
 */
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { CheckFailed, show } from "./failure.ts"

/** A unit that is repeated for ever. */
export interface Pattern {
  readonly unit: Uint8Array
  /** The unit often enough to take any chunk of the usual size out of it. */
  readonly block: Uint8Array
}

const blockSize = 256 * 1024

export const repeat = (unit: Uint8Array): Pattern => {
  const times = Math.ceil(blockSize / unit.length) + 1
  const block = new Uint8Array(unit.length * times)
  for (let i = 0; i < times; i++) block.set(unit, i * unit.length)
  return { unit, block }
}

/** All byte values in no order. Its length is a prime, so that it looks different at every chunk's edge. */
export const noise: Pattern = repeat(
  (() => {
    const unit = new Uint8Array(65521)
    let state = 1
    for (let i = 0; i < unit.length; i++) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0
      unit[i] = state >>> 16
    }
    return unit
  })()
)

/** The bytes from an offset on. */
export const slice = ({ block, unit }: Pattern, offset: number, length: number): Uint8Array => {
  const bytes = new Uint8Array(length)
  const window = block.length - unit.length
  for (let done = 0; done < length;) {
    const start = (offset + done) % unit.length
    const size = Math.min(window, length - done)
    bytes.set(block.subarray(start, start + size), done)
    done += size
  }
  return bytes
}

/** The first bytes as a stream; every chunk is its receiver's own. */
export const stream = (pattern: Pattern, length: number, chunkSize = 64 * 1024): Stream.Stream<Uint8Array> =>
  Stream.unfold(0, (offset) =>
    Effect.sync(() =>
      offset >= length
        ? undefined
        : ([slice(pattern, offset, Math.min(chunkSize, length - offset)), offset + chunkSize] as const)
    )
  )

const mismatch = ({ unit }: Pattern, chunk: Uint8Array, offset: number): number => {
  let position = offset % unit.length
  for (let i = 0; i < chunk.length; i++) {
    if (chunk[i] !== unit[position]) return i
    if (++position === unit.length) position = 0
  }
  return -1
}

/** A stream holds exactly so many bytes of a pattern. Reads it to its end, or to the first wrong byte. */
export const verify = <E, R>(
  stream: Stream.Stream<Uint8Array, E, R>,
  pattern: Pattern,
  expected: { readonly length: number; readonly offset?: number | undefined },
  what: string
): Effect.Effect<void, E | CheckFailed, R> =>
  Effect.gen(function* () {
    const offset = expected.offset ?? 0
    const received = yield* Ref.make(0)
    yield* Stream.runForEach(stream, (chunk) =>
      Effect.flatMap(
        Ref.getAndUpdate(received, (total) => total + chunk.length),
        (before) => {
          const wrong = mismatch(pattern, chunk, offset + before)
          return wrong < 0
            ? Effect.void
            : Effect.fail(
                new CheckFailed({
                  message: `${what}: byte ${before + wrong} is wrong`,
                  expected: show(slice(pattern, offset + before + wrong, 16)),
                  actual: show(chunk.subarray(wrong, wrong + 16))
                })
              )
        }
      )
    )
    const total = yield* Ref.get(received)
    if (total !== expected.length) {
      return yield* new CheckFailed({ message: `${what}: its length`, expected: expected.length, actual: total })
    }
  })
