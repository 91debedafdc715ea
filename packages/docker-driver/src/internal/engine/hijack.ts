/**
 * A connection that the engine hands over: after its answer 101 the bytes of a container go both ways.
 *
 * Effect's own client can do this (`HttpClientRequest.upgrade`), but writing to its socket after the other side has
 * closed waits for ever (F4), and a container may die at any moment. So this stands on Node's own sockets; see decision
 * 0013.
 */
import { Buffer } from "node:buffer"
import * as http from "node:http"
import * as https from "node:https"
import * as net from "node:net"
import type { Duplex } from "node:stream"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"

/** Where to connect to, as `node:http` wants it. */
export interface Endpoint {
  readonly socketPath?: string | undefined
  readonly host?: string | undefined
  readonly port?: number | undefined
  /** With it the connection is encrypted. */
  readonly tls?:
    | {
        readonly ca?: string | undefined
        readonly cert?: string | undefined
        readonly key?: string | undefined
        readonly rejectUnauthorized: boolean
      }
    | undefined
}

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

/** The engine did not hand over. */
export interface Refused {
  readonly status: number
  readonly body: string
}

/** What opens a connection. */
type Ask = { readonly path: string; readonly headers?: { readonly [name: string]: string } | undefined }

type Opened = { readonly _tag: "Open"; readonly socket: Duplex } | ({ readonly _tag: "Refused" } & Refused)

/** As much of a refusal as is worth reading. */
const longestRefusal = 65_536

/** Asks for a hand-over; the connection closes with the scope. `onLost` makes the errors from those of the system. */
export const open = <E>(
  endpoint: Endpoint,
  request: Ask,
  onLost: (cause: unknown) => E
): Effect.Effect<Connection<E> | Refused, E, Scope.Scope> =>
  endpoint.tls === undefined
    ? // Who does not get over is told why by the usual way.
      Effect.flatMap(openPlain(endpoint, request, onLost), (opened) =>
        opened === undefined ? openAny(endpoint, request, onLost) : Effect.succeed(opened)
      )
    : openAny(endpoint, request, onLost)

/** By Node's client, which also encrypts and reads refusals. */
const openAny = <E>(
  endpoint: Endpoint,
  request: Ask,
  onLost: (cause: unknown) => E
): Effect.Effect<Connection<E> | Refused, E, Scope.Scope> =>
  Effect.gen(function* () {
    let asked: http.ClientRequest | undefined
    let taken: Duplex | undefined
    // Before anything is opened, so that an interruption at any moment closes it.
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        asked?.destroy()
        taken?.destroy()
      })
    )
    const opened = yield* Effect.callback<Opened, E>((resume) => {
      const { tls, ...at } = endpoint
      const options = {
        ...at,
        ...tls,
        method: "POST",
        path: request.path,
        agent: false,
        headers: { ...request.headers, connection: "Upgrade", upgrade: "tcp" }
      }
      asked = tls === undefined ? http.request(options) : https.request(options)
      asked.on("error", (cause) => resume(Effect.fail(onLost(cause))))
      asked.on("upgrade", (_, socket, head) => {
        taken = socket
        socket.on("error", ignore)
        if (head.length > 0) socket.unshift(head)
        resume(Effect.succeed({ _tag: "Open", socket }))
      })
      asked.on("response", (response) => {
        const parts: Array<Buffer> = []
        let length = 0
        const finish = () =>
          resume(
            Effect.succeed({
              _tag: "Refused",
              status: response.statusCode ?? 0,
              body: Buffer.concat(parts).toString("utf8")
            })
          )
        response.on("data", (part: Buffer) => {
          parts.push(part)
          length += part.length
          if (length > longestRefusal) finish()
        })
        response.on("end", finish)
        response.on("error", (cause) => resume(Effect.fail(onLost(cause))))
      })
      asked.end()
    })
    return opened._tag === "Open" ? fromDuplex(opened.socket, onLost) : { status: opened.status, body: opened.body }
  })

const ignore = () => {}

// --- without new memory for everything that comes -------------------------------------------------------------------

/** Where all sockets read to: what has come is dealt with before another one reads. */
let readBuffer: Uint8Array | undefined
const readSize = 262_144
const endOfHead = "\r\n\r\n"
const longestHead = 65_536
const handedOver = /^HTTP\/1\.1 101 /

/** By a socket of its own that reads into one and the same memory. Undefined when the engine does not hand over. */
const openPlain = <E>(
  endpoint: Endpoint,
  request: Ask,
  onLost: (cause: unknown) => E
): Effect.Effect<Connection<E> | undefined, E, Scope.Scope> =>
  Effect.gen(function* () {
    let socket: net.Socket | undefined
    yield* Effect.addFinalizer(() => Effect.sync(() => socket?.destroy()))
    return yield* Effect.callback<Connection<E> | undefined, E>((resume) => {
      let head = ""
      /** Takes what comes; tells whether more may. */
      let take = (chunk: Uint8Array): boolean => {
        head += Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).toString("latin1")
        const end = head.indexOf(endOfHead)
        if (end < 0 && head.length <= longestHead) return true
        if (end < 0 || !handedOver.test(head)) {
          opened.destroy()
          resume(Effect.succeed(undefined))
          return false
        }
        const source = new Source(opened)
        take = (next) => source.take(next)
        resume(Effect.succeed(fromDuplex(opened, onLost, source)))
        const rest = Buffer.from(head.slice(end + endOfHead.length), "latin1")
        return rest.length === 0 || source.take(rest)
      }
      const { host, port = 0, socketPath } = endpoint
      readBuffer ??= new Uint8Array(readSize)
      const onread = {
        buffer: readBuffer,
        callback: (size: number, buffer: Uint8Array) => take(buffer.subarray(0, size))
      }
      const opened = net.connect(socketPath === undefined ? { host, port, onread } : { path: socketPath, onread })
      socket = opened
      opened.on("error", (cause) => resume(Effect.fail(onLost(cause))))
      opened.on("close", () => resume(Effect.succeed(undefined)))
      opened.write(headOf(endpoint, request))
    })
  })

const headOf = ({ host, port }: Endpoint, { headers, path }: Ask): string =>
  [
    `POST ${path} HTTP/1.1`,
    `Host: ${host === undefined ? "localhost" : `${host}:${port}`}`,
    ...Object.entries(headers ?? {}).map(([name, value]) => `${name}: ${value}`),
    "Connection: Upgrade",
    "Upgrade: tcp",
    "Content-Length: 0",
    "",
    ""
  ].join("\r\n")

/** What comes from a socket that reads into borrowed memory: copied as long as nobody takes it at once. */
class Source {
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
const fromDuplex = <E>(socket: Duplex, onLost: (cause: unknown) => E, source?: Source): Connection<E> => {
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
