/** Pipes between processes, and between a process and whoever spawned it: bounded, so that writers wait for readers. */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as errno from "./processErrno.ts"
import * as text from "./processText.ts"

/** What a pipe holds, as on Linux. */
const capacity = 64 * 1024
/** A write of at most this many bytes is never split. */
const atomic = 4096
/** How many wake-ups may be nested in each other before one is put off to the fiber's next turn. */
const maxNesting = 16

const nothing = new Uint8Array(0)

/**
 * Whoever waits for something that somebody else brings about. Waiters go on at once, inside of the call that wakes
 * them: what follows from an event has happened when the call returns, which keeps virtual time exact.
 */
export class WaitList {
  // Of the stack, which is one for all.
  static #nesting = 0
  readonly #waiters = new Set<() => void>()

  wake(): void {
    if (this.#waiters.size === 0) return
    const woken = [...this.#waiters]
    this.#waiters.clear()
    WaitList.#nesting++
    for (const waiter of woken) waiter()
    WaitList.#nesting--
  }

  /** Waits until something is true that only becomes so where `wake` is called after it. */
  until(condition: () => boolean): Effect.Effect<void> {
    // Looking and waiting are one step: nothing can change in between.
    return Effect.callback((resume) => {
      if (condition()) return resume(Effect.void)
      const waiter = () => {
        const again = this.until(condition)
        resume(WaitList.#nesting > maxNesting ? Effect.andThen(Effect.yieldNow, again) : again)
      }
      this.#waiters.add(waiter)
      return Effect.sync(() => this.#waiters.delete(waiter))
    })
  }
}

export class Pipe {
  readonly #readable = new WaitList()
  readonly #writable = new WaitList()
  #chunks: Array<Uint8Array> = []
  #size = 0
  #readers = 0
  #writers = 0
  #isAbandoned = false
  #broken: PlatformError | undefined

  /** Adds an end; the result takes it away again. */
  addReader(): () => void {
    this.#readers++
    return () => {
      if (--this.#readers === 0) this.#writable.wake()
    }
  }

  addWriter(): () => void {
    this.#writers++
    return () => {
      if (--this.#writers === 0) this.#readable.wake()
    }
  }

  /** Waits for bytes and takes at most `max` of them; none at the end. */
  read(max: number): Effect.Effect<Uint8Array, PlatformError> {
    return this.#whenReadable(() => this.#take(max))
  }

  /** Takes the bytes up to and with a delimiter, or fewer when it is not there yet. */
  readUntil(delimiter: number): Effect.Effect<Uint8Array, PlatformError> {
    return this.#whenReadable(() => {
      const [first = nothing] = this.#chunks
      const index = first.indexOf(delimiter)
      return this.#take(index < 0 ? first.length : index + 1)
    })
  }

  /** Writes all of it, as room comes. The bytes are kept, not copied. */
  write(bytes: Uint8Array): Effect.Effect<void, PlatformError> {
    return Effect.suspend(() => {
      if (this.#broken !== undefined) return Effect.fail(this.#broken)
      if (this.#readers === 0) return Effect.fail(errno.fail("EPIPE", { method: "write" }))
      const room = capacity - this.#size
      if (bytes.length <= room) {
        this.#put(bytes)
        return Effect.void
      }
      if (this.#isAbandoned) return Effect.void
      if (bytes.length <= atomic || room === 0) {
        const needed = bytes.length <= atomic ? bytes.length : 1
        return Effect.andThen(
          this.#writable.until(() => this.#isWritable(needed)),
          this.write(bytes)
        )
      }
      this.#put(bytes.subarray(0, room))
      return this.write(bytes.subarray(room))
    })
  }

  /** Nobody will read any more: what there is no room for is dropped, and writers never wait. */
  abandon(): void {
    this.#isAbandoned = true
    this.#writable.wake()
  }

  /** Fails everybody on either side, unless the other side had gone before. */
  break(error: PlatformError): void {
    if (this.#writers === 0 || this.#readers === 0) return
    this.#broken = error
    this.#readable.wake()
    this.#writable.wake()
  }

  #whenReadable(take: () => Uint8Array): Effect.Effect<Uint8Array, PlatformError> {
    return Effect.suspend(() => {
      if (this.#broken !== undefined) return Effect.fail(this.#broken)
      if (this.#size > 0) return Effect.succeed(take())
      if (this.#writers === 0) return Effect.succeed(nothing)
      return Effect.andThen(
        this.#readable.until(() => this.#isReadable),
        this.#whenReadable(take)
      )
    })
  }

  get #isReadable(): boolean {
    return this.#size > 0 || this.#writers === 0 || this.#broken !== undefined
  }

  #isWritable(bytes: number): boolean {
    const hasRoom = capacity - this.#size >= bytes
    return hasRoom || this.#isAbandoned || this.#readers === 0 || this.#broken !== undefined
  }

  #put(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#chunks.push(bytes)
    this.#size += bytes.length
    this.#readable.wake()
  }

  #take(max: number): Uint8Array {
    const taken: Array<Uint8Array> = []
    let count = 0
    let size = 0
    while (size < max) {
      const chunk = this.#chunks[count]
      if (chunk === undefined) break
      const fits = chunk.length <= max - size
      taken.push(fits ? chunk : chunk.subarray(0, max - size))
      if (fits) count++
      else this.#chunks[count] = chunk.subarray(max - size)
      size += fits ? chunk.length : max - size
    }
    this.#chunks.splice(0, count)
    this.#size -= size
    const result = text.concat(taken)
    this.#writable.wake()
    return result
  }
}
