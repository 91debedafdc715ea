/**
 * Frames, the units of the protocol between the host and the agent (`docs/agent-protocol.md`): their numbers, which are
 * those of the agent's `protocol.h`, and how they are told apart in a stream of bytes that comes in any chunks.
 */
import * as Schema from "effect/Schema"

export const magic = "effect-sandbox"
export const version = 1

/** Bytes before the payload: length, type, detail and channel. */
export const headerSize = 10
export const maxData = 65_536
export const maxPayload = 4_194_304
/** What may be sent on a stream before the receiver has said anything. */
export const streamCredit = 262_144
/** The most that one read of a file gives. */
export const maxRead = 1_048_576
/** Owns `home`. */
export const sandboxGroup = 64_999

/** Frames from the host. */
export const hostFrame = {
  hello: 0x01,
  ping: 0x02,
  run: 0x03,
  data: 0x04,
  end: 0x05,
  credit: 0x06,
  signal: 0x07,
  resize: 0x08,
  close: 0x09,
  file: 0x0a,
  connect: 0x0b,
  reset: 0x0c,
  listen: 0x0d,
  accept: 0x0e
} as const

/** Frames from the agent. */
export const agentFrame = {
  welcome: 0x81,
  pong: 0x82,
  started: 0x83,
  data: 0x84,
  end: 0x85,
  credit: 0x86,
  reply: 0x87,
  exit: 0x88,
  error: 0x89,
  closed: 0x8a,
  event: 0x8b,
  opened: 0x8c,
  gone: 0x8d,
  indirect: 0x8e,
  fatal: 0x8f
} as const

export const errorStage = { operation: 0, user: 1, cwd: 2, exec: 3, start: 4, secondPath: 5 } as const
export const fatalReason = { malformed: 1, version: 2, preparation: 3 } as const
export const runFlag = { terminal: 1, stdin: 2, sandbox: 4, noStdout: 8, noStderr: 16 } as const
export const exitKind = { code: 0, signal: 1, memory: 2 } as const
export const signalTarget = { process: 0, group: 1, tree: 2 } as const
export const eventKind = { ready: 0, created: 1, changed: 2, removed: 3, lost: 4 } as const
export const fileType = {
  file: 1,
  directory: 2,
  link: 3,
  block: 4,
  character: 5,
  fifo: 6,
  socket: 7
} as const
export const fileOperation = {
  stat: 1,
  access: 2,
  mkdir: 3,
  readlink: 4,
  realpath: 5,
  remove: 6,
  rename: 7,
  link: 8,
  symlink: 9,
  chmod: 10,
  chown: 11,
  truncate: 12,
  utimes: 13,
  copy: 14,
  copyfile: 15,
  list: 16,
  mktemp: 17,
  open: 18,
  close: 19,
  read: 20,
  write: 21,
  fstat: 22,
  fsync: 23,
  ftruncate: 24,
  download: 25,
  upload: 26,
  watch: 27,
  mkstream: 28
} as const

/** What came is no frame of the protocol, or not one that may come here. */
export class MalformedFrame extends Schema.TaggedError<MalformedFrame>()("MalformedFrame", {
  description: Schema.String
}) {
  override get message() {
    return `malformed frame: ${this.description}`
  }
}

/** Who sent the frames that are decoded. */
export type Sender = "host" | "agent"

/**
 * Receives the frames, in order. The payload is only borrowed, and that of a `DATA` frame may come in several pieces, as
 * if each of them were a frame. What is given back ends the decoding.
 */
export type OnFrame<E> = (type: number, detail: number, channel: number, payload: Uint8Array) => E | undefined

const typesOf: { readonly [sender in Sender]: ReadonlySet<number> } = {
  host: new Set(Object.values(hostFrame)),
  agent: new Set(Object.values(agentFrame))
}
const dataOf = { host: hostFrame.data, agent: agentFrame.data } as const

const u32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)) >>> 0

/** Takes chunks of a stream, however it was cut, and gives frames; bytes of streams are never copied. */
export class Decoder<E = never> {
  readonly #types: ReadonlySet<number>
  readonly #data: number
  readonly #onFrame: OnFrame<E>
  /** The header of the frame that is not complete, and how much of it is there. */
  readonly #header = new Uint8Array(headerSize)
  #headerFilled = 0
  /** How much of its payload is missing. */
  #missing = 0
  /** Where its payload is put together, unless it is data. */
  #payload: Uint8Array | undefined
  #stop: MalformedFrame | E | undefined

  constructor(sender: Sender, onFrame: OnFrame<E>) {
    this.#types = typesOf[sender]
    this.#data = dataOf[sender]
    this.#onFrame = onFrame
  }

  /** Whether the stream may end here: between two frames. */
  get isBetweenFrames(): boolean {
    return this.#headerFilled === 0
  }

  /** Why no frames come any more, if so: nothing follows what is malformed, or what the receiver has stopped at. */
  push(chunk: Uint8Array): MalformedFrame | E | undefined {
    let offset = 0
    while (this.#stop === undefined && offset < chunk.length) {
      if (this.#headerFilled === headerSize) offset = this.#takePayload(chunk, offset)
      else if (this.#headerFilled === 0 && chunk.length - offset >= headerSize) offset = this.#takeWhole(chunk, offset)
      else offset = this.#takeHeader(chunk, offset)
    }
    return this.#stop
  }

  /** A frame that lies in one chunk, or the header of one. */
  #takeWhole(chunk: Uint8Array, offset: number): number {
    const size = this.#check(chunk, offset)
    const start = offset + headerSize
    if (size >= 0 && chunk.length - start >= size) {
      this.#give(chunk, offset, view(chunk, start, size))
      return start + size
    }
    this.#header.set(chunk.subarray(offset, start))
    this.#begin(size)
    return start
  }

  #takeHeader(chunk: Uint8Array, offset: number): number {
    const part = chunk.subarray(offset, offset + headerSize - this.#headerFilled)
    this.#header.set(part, this.#headerFilled)
    this.#headerFilled += part.length
    if (this.#headerFilled === headerSize) {
      const size = this.#check(this.#header, 0)
      this.#begin(size)
      if (size === 0) this.#complete(new Uint8Array(0))
    }
    return offset + part.length
  }

  /** Waits for the payload of a frame whose header is there. */
  #begin(size: number): void {
    this.#headerFilled = headerSize
    this.#missing = size
    this.#payload = this.#header[4] === this.#data || size < 0 ? undefined : new Uint8Array(size)
  }

  #takePayload(chunk: Uint8Array, offset: number): number {
    const size = Math.min(this.#missing, chunk.length - offset)
    const piece = view(chunk, offset, size)
    const payload = this.#payload
    payload?.set(piece, payload.length - this.#missing)
    this.#missing -= size
    if (this.#missing === 0) this.#complete(payload ?? piece)
    else if (payload === undefined) this.#give(this.#header, 0, piece)
    return offset + size
  }

  #complete(payload: Uint8Array): void {
    this.#headerFilled = 0
    this.#payload = undefined
    this.#give(this.#header, 0, payload)
  }

  /** The size of the payload, or -1 when the header is none. */
  #check(bytes: Uint8Array, at: number): number {
    const size = u32(bytes, at) - (headerSize - 4)
    const type = bytes[at + 4] ?? 0
    if (!this.#types.has(type)) return this.#refuse(`there is no frame of type 0x${type.toString(16)}`)
    const isData = type === this.#data
    if (size < (isData ? 1 : 0) || size > (isData ? maxData : maxPayload)) {
      return this.#refuse(`a frame of type 0x${type.toString(16)} has a payload of ${size} bytes`)
    }
    return size
  }

  #refuse(description: string): -1 {
    this.#stop = new MalformedFrame({ description })
    return -1
  }

  #give(header: Uint8Array, at: number, payload: Uint8Array): void {
    this.#stop = this.#onFrame(header[at + 4] ?? 0, header[at + 5] ?? 0, u32(header, at + 6), payload)
  }
}

const view = (chunk: Uint8Array, offset: number, size: number): Uint8Array =>
  new Uint8Array(chunk.buffer, chunk.byteOffset + offset, size)

/** Writes a frame's header into the first bytes of its own buffer. */
export const setHeader = (frame: Uint8Array, type: number, detail: number, channel: number): void => {
  const length = frame.length - 4
  frame[0] = length
  frame[1] = length >>> 8
  frame[2] = length >>> 16
  frame[3] = length >>> 24
  frame[4] = type
  frame[5] = detail
  frame[6] = channel
  frame[7] = channel >>> 8
  frame[8] = channel >>> 16
  frame[9] = channel >>> 24
}

/** A frame whose payload is there already. */
export const encode = (type: number, detail: number, channel: number, payload?: Uint8Array): Uint8Array => {
  const frame = new Uint8Array(headerSize + (payload?.length ?? 0))
  if (payload !== undefined) frame.set(payload, headerSize)
  setHeader(frame, type, detail, channel)
  return frame
}
