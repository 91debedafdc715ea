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
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as byteSocket from "../byteSocket.ts"

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
): Effect.Effect<byteSocket.Connection<E> | Refused, E, Scope.Scope> =>
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
): Effect.Effect<byteSocket.Connection<E> | Refused, E, Scope.Scope> =>
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
    return opened._tag === "Open"
      ? byteSocket.fromDuplex(opened.socket, onLost)
      : { status: opened.status, body: opened.body }
  })

const ignore = () => {}

// --- without new memory for everything that comes -------------------------------------------------------------------

const endOfHead = "\r\n\r\n"
const longestHead = 65_536
const handedOver = /^HTTP\/1\.1 101 /

/** By a socket of its own that reads into one and the same memory. Undefined when the engine does not hand over. */
const openPlain = <E>(
  endpoint: Endpoint,
  request: Ask,
  onLost: (cause: unknown) => E
): Effect.Effect<byteSocket.Connection<E> | undefined, E, Scope.Scope> =>
  Effect.gen(function* () {
    let socket: net.Socket | undefined
    yield* Effect.addFinalizer(() => Effect.sync(() => socket?.destroy()))
    return yield* Effect.callback<byteSocket.Connection<E> | undefined, E>((resume) => {
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
        const source = new byteSocket.Source(opened)
        take = (next) => source.take(next)
        resume(Effect.succeed(byteSocket.fromDuplex(opened, onLost, source)))
        const rest = Buffer.from(head.slice(end + endOfHead.length), "latin1")
        return rest.length === 0 || source.take(rest)
      }
      const { host, port = 0, socketPath } = endpoint
      const onread = byteSocket.borrowed((chunk) => take(chunk))
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
