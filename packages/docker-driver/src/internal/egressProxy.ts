/**
 * The way out of a sandbox whose `network` is an allow-list: an HTTP proxy that serves the connections which come out of
 * the container over the agent's stream, and dials only hosts that are on the list. Inside there is no network at all.
 */
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Socket from "effect/socket/Socket"
import * as dns from "node:dns"
import type * as net from "node:net"
import * as relay from "./relay.ts"

/** Where the proxy listens inside. */
export const port = 3128

/** What makes programs use it. */
export const environment: { readonly [name: string]: string } = Object.fromEntries(
  ["HTTP_PROXY", "HTTPS_PROXY"]
    .flatMap((name) => [name, name.toLowerCase()])
    .map((name) => [name, `http://127.0.0.1:${port}`])
    .concat([
      ["NO_PROXY", "localhost,127.0.0.1,::1"],
      ["no_proxy", "localhost,127.0.0.1,::1"]
    ])
)

const defaultPorts = new Set([80, 443])
const maxHeadBytes = 64 * 1024
const headTimeout = "30 seconds"
const openTimeout = "30 seconds"

/** A host and port that somebody inside wants to reach. */
export interface Target {
  readonly host: string
  readonly port: number
}

/** Whether a list lets a target through. */
export const allows = (list: ReadonlyArray<string>, target: Target): boolean => {
  const host = target.host.toLowerCase().replace(/\.$/, "")
  return list.some((entry) => {
    const [, pattern = "", listed] = /^(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? []
    const isPort = listed === undefined ? defaultPorts.has(target.port) : target.port === Number(listed)
    return isPort && (pattern.startsWith("*.") ? host.endsWith(pattern.slice(1)) : host === pattern)
  })
}

/** What the head of a request to a proxy asks for. */
export type Request =
  | { readonly _tag: "Tunnel"; readonly target: Target }
  | { readonly _tag: "Forward"; readonly target: Target; readonly head: string }

const parsePort = (text: string | undefined, otherwise: number): number | undefined => {
  if (text === undefined) return otherwise
  const value = Number(text)
  return value >= 1 && value <= 65535 ? value : undefined
}

/** Undefined when it is none that a proxy understands. */
export const parseHead = (head: string): Request | undefined => {
  const [first = "", ...fields] = head.split("\r\n")
  const [, method = "", uri = "", version = ""] = /^([A-Z]+) (\S+) (HTTP\/1\.[01])$/.exec(first) ?? []
  if (method === "CONNECT") {
    const [, host, digits] = /^([a-zA-Z0-9.-]+):(\d{1,5})$/.exec(uri) ?? []
    const to = parsePort(digits, 443)
    return host === undefined || to === undefined ? undefined : { _tag: "Tunnel", target: { host, port: to } }
  }
  const [, host, digits, path = ""] = /^http:\/\/([a-zA-Z0-9.-]+)(?::(\d{1,5}))?(\/\S*)?$/.exec(uri) ?? []
  const to = parsePort(digits, 80)
  if (host === undefined || to === undefined) return undefined
  // One request a connection: what follows on it goes to the same host, which is allowed.
  const kept = fields.filter((field) => !/^(proxy-[a-z-]+|connection|keep-alive|host)\s*:/i.test(field) && field !== "")
  const authority = to === 80 ? host : `${host}:${to}`
  const lines = [`${method} ${path === "" ? "/" : path} ${version}`, `Host: ${authority}`, ...kept, "Connection: close"]
  return { _tag: "Forward", target: { host, port: to }, head: `${lines.join("\r\n")}\r\n\r\n` }
}

const isLocal = (address: string): boolean =>
  /^(127\.|0\.|169\.254\.|::1$|::$|fe80:)/i.test(address.replace(/^::ffff:/i, ""))

/**
 * Looks a name up; addresses of this machine and of its link are answers only for names that say so, lest whoever owns an
 * allowed name's zone reach services of the host's.
 */
const lookup: net.LookupFunction = (host, options, callback) => {
  const isPlainlyLocal = host === "localhost" || host.endsWith(".localhost")
  dns.lookup(host, options, (error, answer, family) => {
    const addresses = Array.isArray(answer) ? answer.map(({ address }) => address) : [answer]
    if (error === null && !isPlainlyLocal && addresses.some(isLocal)) {
      callback(Object.assign(new Error(`${host} is an address of this machine`), { code: "EACCES" }), "", 0)
    } else callback(error, answer, family)
  })
}

const answer = (status: string, text: string): string =>
  `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`

const encoder = new TextEncoder()
const decoder = new TextDecoder("latin1")

const bytesOf = (chunk: Uint8Array | string): Uint8Array => (Predicate.isString(chunk) ? encoder.encode(chunk) : chunk)

/** Reads up to the empty line that ends the head; undefined when it is too long. */
const readHead = (pull: Effect.Effect<ReadonlyArray<Uint8Array | string>, Socket.SocketError>) =>
  Effect.gen(function* () {
    let bytes = Buffer.alloc(0)
    while (bytes.length <= maxHeadBytes) {
      bytes = Buffer.concat([bytes, ...(yield* pull).map(bytesOf)])
      const end = bytes.indexOf("\r\n\r\n")
      if (end >= 0) return { head: decoder.decode(bytes.subarray(0, end)), rest: bytes.subarray(end + 4) }
    }
    return undefined
  })

/** Serves one connection to its end. */
export const serve = (
  socket: Socket.Socket,
  list: ReadonlyArray<string>,
  onRefused: (target: Target) => Effect.Effect<void> = () => Effect.void
): Effect.Effect<void, Socket.SocketError> =>
  Effect.gen(function* () {
    const { pull } = yield* socket.reader
    const read = yield* Effect.timeoutOption(readHead(pull), headTimeout)
    const say = (text: string) =>
      Effect.scoped(Effect.flatMap(socket.writer, (writer) => writer.write(encoder.encode(text))))
    if (read._tag === "None") return yield* say(answer("408 Request Timeout", "no request came\n"))
    const request = read.value === undefined ? undefined : parseHead(read.value.head)
    if (read.value === undefined || request === undefined) {
      return yield* say(answer("400 Bad Request", "this is a proxy for http:// and https://\n"))
    }
    const { target } = request
    const name = `${target.host}:${target.port}`
    if (!allows(list, target)) {
      yield* onRefused(target)
      return yield* say(answer("403 Forbidden", `${name} is not on this sandbox's allow-list\n`))
    }
    const remote = yield* NodeSocket.makeNet({ ...target, lookup, allowHalfOpen: true, openTimeout })
    const dialled = yield* Effect.result(remote.reader)
    if (dialled._tag === "Failure") return yield* say(answer("502 Bad Gateway", `${name} cannot be reached\n`))
    const { rest } = read.value
    const head = request._tag === "Forward" ? encoder.encode(request.head) : new Uint8Array()
    // Its writer is not closed before the end, which would be the end of the direction.
    const toClient = yield* socket.writer
    if (request._tag === "Tunnel") yield* toClient.write(encoder.encode("HTTP/1.1 200 Connection established\r\n\r\n"))
    const already = Socket.make({ reader: Effect.succeed(dialled.success), writer: remote.writer })
    yield* relay.join({ socket, pull, first: Buffer.concat([head, rest]) }, already)
  }).pipe(Effect.scoped)
