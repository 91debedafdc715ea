/**
 * A stream of bytes from the agent, as its reader sees it. What has come waits here, and only what is taken makes room
 * for more: at most one window's worth is held. The window of a reader that has to wait for the agent grows, so that what
 * can be on its way is no less than what the way takes: a slow way must not mean a slow stream.
 */
import { isReadonlyArrayNonEmpty, type NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import { maxData, streamCredit } from "../protocol/frames.ts"

/** The most that a window can grow to. */
const largestWindow = 4_194_304
/** What comes is put together in blocks of these sizes, the larger for what is no trickle. */
const smallBlock = 8192
const smallChunk = 2048

/** Where blocks come from. */
export type Memory = (size: number) => Uint8Array

const newMemory: Memory = (size) => new Uint8Array(size)

type Chunks = NonEmptyReadonlyArray<Uint8Array>

export class Inbox {
  readonly #giveCredit: (bytes: number) => void
  readonly #memory: Memory
  #chunks: Array<Uint8Array> = []
  /** Where what comes is gathered: the last of the chunks is its beginning. */
  #block: Uint8Array | undefined
  #unread = 0
  /** As much is held at most. Room is given back in pieces of half of it, not for every byte. */
  #window = streamCredit
  /** Whether the reader has waited for the agent since it last gave room back. */
  #hasWaited = false
  /** How much the agent may still send. */
  #allowed = streamCredit
  /** What was taken and not yet given back. */
  #owed = 0
  /** Set when nothing more comes. */
  #end: Effect.Effect<never, PlatformError | Cause.Done> | undefined
  #waiting: Array<() => void> = []

  /** `giveCredit` tells the agent that it may send more. Default of the memory: new. */
  constructor(giveCredit: (bytes: number) => void, memory: Memory = newMemory) {
    this.#giveCredit = giveCredit
    this.#memory = memory
  }

  /** Takes what has come, which is only borrowed; tells whether it may come. */
  data(bytes: Uint8Array): boolean {
    if (this.#end !== undefined || bytes.length > this.#allowed) return false
    this.#allowed -= bytes.length
    this.#unread += bytes.length
    this.#keep(bytes)
    this.#wake()
    return true
  }

  /** The stream has ended; tells whether it may. */
  end(): boolean {
    if (this.#end !== undefined) return false
    this.close(Cause.done())
    return true
  }

  /** Whether nothing more comes. */
  get hasEnded(): boolean {
    return this.#end !== undefined
  }

  /** Nothing more comes. What is there can still be taken. */
  close(end: Effect.Effect<never, PlatformError | Cause.Done>): void {
    if (this.#end !== undefined) return
    this.#end = end
    this.#wake()
  }

  /** Whatever is there, or what comes next, or the end. */
  readonly pull: Pull.Pull<Chunks, PlatformError> = Effect.suspend(() => this.#next ?? this.#wait)

  get stream(): Stream.Stream<Uint8Array, PlatformError> {
    return Stream.fromPull(Effect.succeed(this.pull))
  }

  /** Wakes up when there may be something; to be called off with what it gives back. */
  onNext(wake: () => void): () => void {
    this.#hasWaited = true
    this.#waiting.push(wake)
    return () => {
      const index = this.#waiting.indexOf(wake)
      if (index >= 0) this.#waiting.splice(index, 1)
    }
  }

  /** What can be taken without waiting. */
  get next(): Pull.Pull<Chunks, PlatformError> | undefined {
    return this.#next
  }

  get #next(): Pull.Pull<Chunks, PlatformError> | undefined {
    const chunks = this.#chunks
    if (!isReadonlyArrayNonEmpty(chunks)) return this.#end
    this.#chunks = []
    this.#block = undefined
    this.#owed += this.#unread
    this.#unread = 0
    if (this.#owed >= this.#window / 2 && this.#end === undefined) this.#giveBack()
    return Effect.succeed(chunks)
  }

  #giveBack(): void {
    const growth = this.#hasWaited ? Math.min(this.#window, largestWindow - this.#window) : 0
    const more = this.#owed + growth
    this.#window += growth
    this.#hasWaited = false
    this.#owed = 0
    this.#allowed += more
    this.#giveCredit(more)
  }

  readonly #wait: Pull.Pull<Chunks, PlatformError> = Effect.callback((resume) => {
    const cancel = this.onNext(() => resume(this.pull))
    return Effect.sync(cancel)
  })

  /** Copies what is only borrowed. */
  #keep(bytes: Uint8Array): void {
    const last = this.#chunks.length - 1
    const before = this.#chunks[last]
    if (before === undefined && bytes.length < smallChunk) {
      // Mostly all there is.
      this.#chunks.push(new Uint8Array(bytes))
      return
    }
    let taken = 0
    if (before !== undefined && this.#block !== undefined) {
      const part = bytes.subarray(0, this.#block.length - before.length)
      this.#block.set(part, before.length)
      this.#chunks[last] = this.#block.subarray(0, before.length + part.length)
      taken = part.length
    }
    if (taken === bytes.length) return
    const rest = bytes.subarray(taken)
    this.#block = this.#memory(bytes.length < smallChunk ? smallBlock : maxData)
    this.#block.set(rest)
    this.#chunks.push(this.#block.subarray(0, rest.length))
  }

  #wake(): void {
    if (this.#waiting.length === 0) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }
}

/** Several streams as one, in the order in which their bytes came, as far as that is known. */
export const merge = (inboxes: ReadonlyArray<Inbox>): Stream.Stream<Uint8Array, PlatformError> => {
  const left = new Set(inboxes)
  const wait: Pull.Pull<Chunks, PlatformError> = Effect.callback((resume) => {
    const cancels: Array<() => void> = []
    const cancel = () => {
      for (const one of cancels) one()
    }
    const wake = () => {
      cancel()
      resume(pull)
    }
    for (const inbox of left) cancels.push(inbox.onNext(wake))
    return Effect.sync(cancel)
  })
  const pull: Pull.Pull<Chunks, PlatformError> = Effect.suspend(() => {
    for (const inbox of left) {
      const { next } = inbox
      if (next === undefined) continue
      return Effect.catchIf(next, Cause.isDone, () => {
        left.delete(inbox)
        return left.size === 0 ? Cause.done() : pull
      })
    }
    return left.size === 0 ? Cause.done() : wait
  })
  return Stream.fromPull(Effect.succeed(pull))
}
