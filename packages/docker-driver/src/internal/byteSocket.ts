/**
 * Bytes both ways over sockets of Node's: what writes to one whose other side has gone is told so, and what is read costs no
 * memory where the socket can lend it.
 */
import { Buffer } from "node:buffer"
import * as net from "node:net"
import type { Duplex } from "node:stream"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Pull from "effect/Pull"

/** Bytes both ways. */
export interface Connection<E> {
  /** Everything that has come, at least one chunk; is done when the other side has closed. Reads nothing ahead of it. */
  readonly pull: Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, E>
  /**
   * Instead of `pull`, where it can be had: hands over what comes as soon as it does, which costs no memory, so that the
   * chunks are only borrowed. Fails with what `take` gives back, and is done when the other side has closed.
   */
  readonly receive?: (<S>(take: (chunk: Uint8Array) => S | undefined) => Pull.Pull<never, E | S>) | undefined
  /**
   * Sends in order; waits until the system has taken all of it, after which the chunks may change. Fails when there is no
   * other side any more.
   */
  readonly write: (...chunks: ReadonlyArray<Uint8Array>) => Effect.Effect<void, E>
  /** Tells the other side that no more will come. Reading goes on. */
  readonly end: Effect.Effect<void>
}

/** Where all sockets read to: what has come is dealt with before another one reads. */
let readBuffer: Uint8Array | undefined
const readSize = 262_144

/** The option of a socket that hands over what it has read, borrowed, to `take`, which tells whether more may come. */
export const borrowed = (take: (chunk: Uint8Array) => boolean): net.OnReadOpts => {
  readBuffer ??= new Uint8Array(readSize)
  return { buffer: readBuffer, callback: (size, buffer) => take(buffer.subarray(0, size)) }
}

/** What comes from a socket that reads into borrowed memory: copied as long as nobody takes it at once. */
export class Source {
  readonly #socket: net.Socket
  #chunks: Array<Uint8Array> = []
  #receive: ((chunk: Uint8Array) => void) | undefined
  /** Called when something has come. */
  wake: (() => void) | undefined

  constructor(socket: net.Socket) {
    this.#socket = socket
  }

  take(chunk: Uint8Array): boolean {
    if (this.#receive !== undefined) {
      this.#receive(chunk)
      return true
    }
    this.#chunks.push(Buffer.from(chunk))
    this.wake?.()
    // Nothing is read ahead of whoever pulls.
    return false
  }

  /** What has come; when there is nothing, more may. */
  get next(): Uint8Array | undefined {
    const chunk = this.#chunks.shift()
    if (chunk === undefined) this.#socket.resume()
    return chunk
  }

  receive(take: ((chunk: Uint8Array) => void) | undefined): void {
    this.#receive = take
    if (take === undefined) return
    const chunks = this.#chunks
    this.#chunks = []
    for (const chunk of chunks) take(chunk)
    this.#socket.resume()
  }
}

/** `source`: where what comes is, when the socket reads into borrowed memory. */
export const fromDuplex = <E>(socket: Duplex, onLost: (cause: unknown) => E, source?: Source): Connection<E> => {
  let failure: Error | undefined
  let wakeReader: (() => void) | undefined
  const wake = () => wakeReader?.()
  socket.on("error", (cause) => {
    failure = cause
  })
  if (source !== undefined) source.wake = wake
  for (const event of source === undefined ? ["readable", "end", "close"] : ["end", "close"]) socket.on(event, wake)

  const ended = (): Pull.Pull<never, E> | undefined => {
    if (failure !== undefined) return Effect.fail(onLost(failure))
    return socket.readableEnded || socket.destroyed ? Cause.done() : undefined
  }
  const take = (): Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, E> | undefined => {
    const chunk: unknown = source === undefined ? socket.read() : source.next
    return chunk instanceof Uint8Array ? Effect.succeed(Arr.of(chunk)) : ended()
  }
  const somethingHappens = Effect.callback<void>((resume) => {
    wakeReader = () => resume(Effect.void)
    return Effect.sync(() => {
      wakeReader = undefined
    })
  })
  // The bytes are taken by the fiber that wants them, so an interruption loses none.
  const pull: Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, E> = Effect.suspend(
    () => take() ?? Effect.flatMap(somethingHappens, () => pull)
  )

  const gone = (cause = failure ?? new Error("the other side has closed the connection")) => Effect.fail(onLost(cause))
  const write = (...chunks: ReadonlyArray<Uint8Array>): Effect.Effect<void, E> =>
    Effect.callback((resume) => {
      // Engines do not close one direction alone.
      if (socket.destroyed || socket.writableEnded || socket.readableEnded) return resume(gone())
      let left = chunks.length
      const stop = () => socket.off("close", onClose)
      const onClose = () => {
        stop()
        resume(gone())
      }
      const onWritten = (error?: Error | null) => {
        if (error || --left === 0) stop()
        if (error) resume(gone(failure ?? error))
        else if (left === 0) resume(Effect.void)
      }
      if (left === 0) return resume(Effect.void)
      socket.on("close", onClose)
      if (chunks.length > 1) socket.cork()
      for (const chunk of chunks) socket.write(chunk, onWritten)
      if (chunks.length > 1) socket.uncork()
      return Effect.sync(stop)
    })

  const receive =
    source === undefined
      ? undefined
      : <S>(take: (chunk: Uint8Array) => S | undefined): Pull.Pull<never, E | S> =>
          Effect.callback((resume) => {
            const stop = () => {
              source.receive(undefined)
              wakeReader = undefined
            }
            wakeReader = () => {
              const end = ended()
              if (end !== undefined) resume(end)
            }
            source.receive((chunk) => {
              const reason = take(chunk)
              if (reason === undefined) return
              stop()
              resume(Effect.fail(reason))
            })
            wake()
            return Effect.sync(stop)
          })
  return { pull, receive, write, end: Effect.sync(() => void socket.end()) }
}

/**
 * A socket that a server of Node's has taken (with `pauseOnConnect`, so that it has read nothing yet), and what closes it.
 * Such a one cannot be told where to read to, so another one takes its handle, where there is one as in all of Node's
 * releases so far: four times as cheap.
 */
export const accepted = <E>(
  socket: net.Socket,
  onLost: (cause: unknown) => E
): { readonly connection: Connection<E>; readonly close: () => void } => {
  const handle = Predicate.hasProperty(socket, "_handle") ? socket._handle : undefined
  if (!Predicate.isObject(handle)) {
    socket.on("error", ignore)
    return { connection: fromDuplex(socket, onLost), close: () => void socket.destroy() }
  }
  const onread = borrowed((chunk) => source.take(chunk))
  // Without a type of their own: only handles that a program may make by itself have one.
  const options: object = { handle, onread }
  const reader = new net.Socket(options)
  Object.assign(socket, { _handle: null })
  socket.destroy()
  const source: Source = new Source(reader)
  return { connection: fromDuplex(reader, onLost, source), close: () => void reader.destroy() }
}

const ignore = () => {}
