/** A server that answers as an engine would, or would not: for what a real one cannot be brought to do. */
import * as http from "node:http"
import * as https from "node:https"
import type { AddressInfo } from "node:net"
import type { Duplex } from "node:stream"
import { NodeServices } from "@effect/platform-node"
import { Effect, FileSystem, Path } from "effect"
import * as DockerClient from "../../src/DockerClient.ts"
import type { Tls } from "../../src/DockerConnection.ts"

export interface FakeEngine {
  /** `GET /v1.41/info`, …, as they came. */
  readonly requests: ReadonlyArray<string>
  readonly address: string
}

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void

/** Answers pings with the version; everything else is the handler's. */
export const make = (options: {
  readonly version?: string | undefined
  readonly handle?: Handler
  readonly upgrade?: (socket: Duplex) => void
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca: string } | undefined
}) =>
  Effect.gen(function* () {
    const requests: Array<string> = []
    const handle: Handler = (request, response) => {
      requests.push(`${request.method} ${request.url}`)
      if (request.url === "/_ping") {
        if (options.version !== undefined) response.setHeader("api-version", options.version)
        response.end("OK")
      } else if (options.handle === undefined) {
        response.setHeader("content-type", "application/json").end("{}")
      } else {
        options.handle(request, response)
      }
    }
    const server =
      options.tls === undefined
        ? http.createServer(handle)
        : https.createServer({ ...options.tls, requestCert: true, rejectUnauthorized: true }, handle)
    server.on("upgrade", (request, socket: Duplex) => {
      requests.push(`${request.method} ${request.url} upgrade`)
      options.upgrade?.(socket)
    })
    // Whether a handshake fails is the client's to say.
    server.on("tlsClientError", () => {})
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () =>
        Effect.sync(() => {
          server.close()
          server.closeAllConnections()
        })
    )
    const { port } = server.address() as AddressInfo // it listens on TCP
    const engine: FakeEngine = { requests, address: `tcp://127.0.0.1:${port}` }
    return engine
  })

/** A client for it. */
export const connect = (engine: FakeEngine, options: DockerClient.Options & { readonly tls?: Tls } = {}) => {
  const url = new URL(engine.address.replace("tcp:", "http:"))
  const { tls, ...others } = options
  const connection =
    tls === undefined ? engine.address : { _tag: "Tcp" as const, host: url.hostname, port: Number(url.port), tls }
  return DockerClient.make({ connection, ...others }).pipe(Effect.provide(NodeServices.layer))
}

/** A socket's path at which nothing listens. */
export const noSocket = Effect.gen(function* () {
  const directory = yield* Effect.flatMap(FileSystem.FileSystem, (files) => files.makeTempDirectoryScoped())
  return (yield* Path.Path).join(directory, "docker.sock")
}).pipe(Effect.provide(NodeServices.layer))
