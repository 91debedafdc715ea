/** What frames carry: integers, strings and lists, little endian. */
import { headerSize, setHeader } from "./frames.ts"

/** Every runtime has them as globals, and not every library of TypeScript declares them. */
declare const TextEncoder: new () => {
  readonly encode: (text: string) => Uint8Array
  readonly encodeInto: (text: string, bytes: Uint8Array) => { readonly written: number }
}
declare const TextDecoder: new (
  label: string,
  options: { readonly ignoreBOM: boolean }
) => { readonly decode: (bytes: Uint8Array) => string }

const encoder = new TextEncoder()
// A name may begin with a byte order mark.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

export const encodeText = (text: string): Uint8Array => encoder.encode(text)

/** Most frames fit into it. */
const firstSize = 512
const slabSize = 65_536
let slab = new Uint8Array(0)

/** Memory for a small frame, from a larger piece that frames share: memory of its own would cost more than the frame. */
const allocate = (size: number): Uint8Array<ArrayBuffer> => {
  if (size > slabSize / 16) return new Uint8Array(size)
  if (slab.length < size) slab = new Uint8Array(slabSize)
  const taken = slab.subarray(0, size)
  slab = slab.subarray(size)
  return taken
}

/** Puts a frame together. */
export class Writer {
  #bytes = allocate(firstSize)
  #length = headerSize

  /** How large the payload is by now. */
  get size(): number {
    return this.#length - headerSize
  }

  u8(value: number): this {
    this.#room(1)
    this.#bytes[this.#length++] = value
    return this
  }

  u16(value: number): this {
    return this.u8(value).u8(value >>> 8)
  }

  u32(value: number): this {
    this.#room(4)
    this.#setU32(this.#length, value)
    this.#length += 4
    return this
  }

  u64(value: bigint): this {
    return this.u32(Number(BigInt.asUintN(32, value))).u32(Number(BigInt.asUintN(32, value >> 32n)))
  }

  i64(value: bigint): this {
    return this.u64(value)
  }

  str(value: string): this {
    // UTF-8 needs at most three bytes for a unit of UTF-16.
    this.#room(4 + value.length * 3)
    const start = this.#length + 4
    const { written } = encoder.encodeInto(value, this.#bytes.subarray(start))
    this.#setU32(this.#length, written)
    this.#length = start + written
    return this
  }

  list<A>(values: ReadonlyArray<A>, write: (value: A) => void): this {
    this.u32(values.length)
    for (const value of values) write(value)
    return this
  }

  strings(values: ReadonlyArray<string>): this {
    return this.list(values, (value) => this.str(value))
  }

  bytes(value: Uint8Array): this {
    this.#room(value.length)
    this.#bytes.set(value, this.#length)
    this.#length += value.length
    return this
  }

  /** The whole frame. The writer is done with. */
  frame(type: number, detail: number, channel: number): Uint8Array {
    const frame = this.#bytes.subarray(0, this.#length)
    setHeader(frame, type, detail, channel)
    return frame
  }

  #setU32(at: number, value: number): void {
    const bytes = this.#bytes
    bytes[at] = value
    bytes[at + 1] = value >>> 8
    bytes[at + 2] = value >>> 16
    bytes[at + 3] = value >>> 24
  }

  #room(more: number): void {
    const needed = this.#length + more
    if (needed <= this.#bytes.length) return
    const larger = allocate(Math.max(needed, this.#bytes.length * 2))
    larger.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = larger
  }
}

/** Takes a payload apart. After the first read beyond its end everything reads as 0 or empty, and it is never done. */
export class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0
  #bad = false

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Whether everything was there and nothing is left over. */
  get isDone(): boolean {
    return !this.#bad && this.#at === this.#bytes.length
  }

  /** Whether there is anything left to read. */
  get hasMore(): boolean {
    return !this.#bad && this.#at < this.#bytes.length
  }

  u8(): number {
    const at = this.#take(1)
    return at < 0 ? 0 : this.#view.getUint8(at)
  }

  u16(): number {
    const at = this.#take(2)
    return at < 0 ? 0 : this.#view.getUint16(at, true)
  }

  u32(): number {
    const at = this.#take(4)
    return at < 0 ? 0 : this.#view.getUint32(at, true)
  }

  u64(): bigint {
    const at = this.#take(8)
    return at < 0 ? 0n : this.#view.getBigUint64(at, true)
  }

  i64(): bigint {
    const at = this.#take(8)
    return at < 0 ? 0n : this.#view.getBigInt64(at, true)
  }

  str(): string {
    return decoder.decode(this.bytes(this.u32()))
  }

  list<A>(read: () => A): Array<A> {
    const count = this.u32()
    const values: Array<A> = []
    for (let index = 0; index < count && !this.#bad; index++) values.push(read())
    return values
  }

  strings(): Array<string> {
    return this.list(() => this.str())
  }

  /** So many bytes, borrowed. */
  bytes(length: number): Uint8Array {
    const at = this.#take(length)
    return at < 0 ? new Uint8Array(0) : this.#bytes.subarray(at, at + length)
  }

  /** What is left, borrowed. */
  rest(): Uint8Array {
    return this.bytes(this.#bytes.length - this.#at)
  }

  #take(length: number): number {
    const at = this.#at
    if (this.#bad || length > this.#bytes.length - at) {
      this.#bad = true
      return -1
    }
    this.#at += length
    return at
  }
}

/** What a payload holds, or nothing when it cannot be decoded to its last byte. */
export const decode = <A>(payload: Uint8Array, read: (reader: Reader) => A): A | undefined => {
  const reader = new Reader(payload)
  const value = read(reader)
  return reader.isDone ? value : undefined
}
