/** Effect's HTTP server on a port, which hangs up when its scope closes, whatever its connections do. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import type { ServeError } from "effect/http/HttpServerError"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import type * as Scope from "effect/Scope"
import { createServer } from "node:http"
import type { Socket } from "node:net"

type Application = Effect.Effect<HttpServerResponse, never, HttpServerRequest | Scope.Scope>

export interface Listener {
  readonly port: number
  /** `beforeClosing` runs when the scope closes, while connections are still there. */
  readonly serve: (
    application: Application,
    beforeClosing: Effect.Effect<void>
  ) => Effect.Effect<void, never, Scope.Scope>
}

/** How long connections may take to send what was written to them last. */
const grace = "250 millis"

export const listen = Effect.fnUntraced(function* (options: {
  readonly host: string
  readonly port: number
}): Effect.fn.Return<Listener, ServeError, Scope.Scope> {
  const node = createServer({ headersTimeout: 10_000, requestTimeout: 30_000 })
  const sockets = new Set<Socket>()
  node.on("connection", (socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
  })
  const server = yield* NodeHttpServer.make(() => node, options)

  // The server's own finalizer waits for connections, for ever if need be: afterwards there are none.
  const hangUp = Effect.callback<void>((resume) => {
    node.close(() => resume(Effect.void))
  }).pipe(
    Effect.timeoutOption(grace),
    Effect.andThen(
      Effect.sync(() => {
        for (const socket of sockets) socket.destroy()
      })
    )
  )

  return {
    port: server.address._tag === "UnixPathAddress" ? 0 : server.address.port,
    serve: (application, beforeClosing) =>
      Effect.andThen(
        // A connection lasts for hours, and is nothing that the program's traces are about.
        Effect.provideService(server.serve(application), HttpMiddleware.TracerDisabledWhen, () => true),
        Effect.addFinalizer(() => Effect.andThen(beforeClosing, hangUp))
      )
  }
})
