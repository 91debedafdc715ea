/**
 * A connection that the engine hands over: after its answer 101 the bytes of a container go both ways.
 *
 * Effect's own client can do this (`HttpClientRequest.upgrade`), but writing to its socket after the other side has
 * closed waits for ever (F4), and a container may die at any moment. So this stands on `node:http`; see decision 0013.
 */
import { Buffer } from "node:buffer"
import * as http from "node:http"
import * as https from "node:https"
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

type Opened = { readonly _tag: "Open"; readonly socket: Duplex } | ({ readonly _tag: "Refused" } & Refused)

/** As much of a refusal as is worth reading. */
const longestRefusal = 65_536

/** Asks for a hand-over; the connection closes with the scope. `onLost` makes the errors from those of the system. */
export const open = <E>(
  endpoint: Endpoint,
  request: { readonly path: string; readonly headers?: { readonly [name: string]: string } | undefined },
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

const fromDuplex = <E>(socket: Duplex, onLost: (cause: unknown) => E): Connection<E> => {
  let failure: Error | undefined
  let wakeReader: (() => void) | undefined
  const wake = () => wakeReader?.()
  socket.on("error", (cause) => {
    failure = cause
  })
  for (const event of ["readable", "end", "close"]) socket.on(event, wake)

  const take = (): Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, E> | undefined => {
    const chunk: unknown = socket.read()
    if (chunk instanceof Uint8Array) return Effect.succeed(Arr.of(chunk))
    if (failure !== undefined) return Effect.fail(onLost(failure))
    return socket.readableEnded || socket.destroyed ? Cause.done() : undefined
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

  return { pull, write, end: Effect.sync(() => void socket.end()) }
}
