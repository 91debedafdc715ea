/** A stream of bytes to the agent: what is written waits until the agent has room for it. */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import { maxData, streamCredit } from "../protocol/frames.ts"

interface Writing {
  readonly bytes: Uint8Array
  offset: number
  readonly resume: (written: Effect.Effect<boolean, PlatformError>) => void
}

/** How bytes and the end of the stream are sent. */
export interface Sender {
  readonly data: (bytes: Uint8Array) => void
  readonly end: () => void
}

export class Outbox {
  readonly #sender: Sender
  #credit = streamCredit
  /** Those who wait for room, first come, first served. */
  #waiting: Array<Writing> = []
  /** Whether the end is to be sent as soon as nobody waits. */
  #isEnding = false
  /** What writing gives from now on: false when nobody reads any more. */
  #closed: Effect.Effect<boolean, PlatformError> | undefined

  constructor(sender: Sender) {
    this.#sender = sender
  }

  /** Succeeds when everything is on its way: with false when nobody reads it. The bytes may be changed afterwards. */
  write(bytes: Uint8Array): Effect.Effect<boolean, PlatformError> {
    return Effect.suspend(() => {
      if (this.#closed !== undefined) return this.#closed
      if (this.#isEnding) return unread
      if (this.#waiting.length === 0 && bytes.length <= this.#credit) {
        this.#send(bytes, 0, bytes.length)
        return taken
      }
      return Effect.callback<boolean, PlatformError>((resume) => {
        const writing = { bytes, offset: 0, resume }
        this.#waiting.push(writing)
        this.#pump()
        return Effect.sync(() => {
          const index = this.#waiting.indexOf(writing)
          if (index < 0) return
          this.#waiting.splice(index, 1)
          this.#pump()
        })
      })
    })
  }

  /** Nothing more is written; what waits still is. */
  end(): void {
    if (this.#closed !== undefined || this.#isEnding) return
    this.#isEnding = true
    this.#pump()
  }

  /** The agent has room for more, or tells by 0 that nobody reads any more. */
  credit(bytes: number): void {
    if (bytes === 0) return this.close(unread)
    this.#credit += bytes
    this.#pump()
  }

  /** Nothing can be written any more. */
  close(result: Effect.Effect<boolean, PlatformError>): void {
    if (this.#closed !== undefined) return
    this.#closed = result
    const waiting = this.#waiting
    this.#waiting = []
    for (const { resume } of waiting) resume(result)
  }

  /** Nobody reads on the other side, which is no error of whoever writes. */
  closeUnread(): void {
    this.close(unread)
  }

  #pump(): void {
    for (let first = this.#waiting[0]; first !== undefined && this.#closed === undefined; first = this.#waiting[0]) {
      const size = Math.min(this.#credit, first.bytes.length - first.offset)
      this.#send(first.bytes, first.offset, first.offset + size)
      first.offset += size
      if (first.offset < first.bytes.length) return
      this.#waiting.shift()
      first.resume(taken)
    }
    if (this.#isEnding && this.#closed === undefined) {
      this.#closed = unread
      this.#sender.end()
    }
  }

  #send(bytes: Uint8Array, from: number, to: number): void {
    this.#credit -= to - from
    for (let offset = from; offset < to; offset += maxData) {
      this.#sender.data(bytes.subarray(offset, Math.min(to, offset + maxData)))
    }
  }
}

const taken = Effect.succeed(true)
const unread = Effect.succeed(false)
