/**
 * Memory for data on its way, used again once it has been sent, or taken by who lets go of it. Without it every piece of an upload would be garbage
 * that lies outside of the heap, of which the engine of JavaScript gets rid by looking at the whole heap each time.
 */
import { headerSize, maxData, setHeader } from "../protocol/frames.ts"

const size = headerSize + maxData
/** So many are kept when nothing is being sent: 4 MiB. */
const mostKept = 64
/** Smaller pieces are not worth it. */
export const leastBytes = 4096

const free: Array<Uint8Array> = []

/** Memory for the payload of a frame, whatever it holds now. */
export const take = (): Uint8Array => (free.pop() ?? new Uint8Array(size)).subarray(0, maxData)

/** A frame with a copy of the bytes. */
export const encode = (type: number, detail: number, channel: number, bytes: Uint8Array): Uint8Array => {
  const buffer = free.pop() ?? new Uint8Array(size)
  const frame = buffer.subarray(0, headerSize + bytes.length)
  frame.set(bytes, headerSize)
  setHeader(frame, type, detail, channel)
  return frame
}

/** Nobody looks at these any more. */
export const giveBack = (chunks: ReadonlyArray<Uint8Array>): void => {
  for (const { buffer } of chunks) {
    if (buffer.byteLength === size && free.length < mostKept) free.push(new Uint8Array(buffer))
  }
}
