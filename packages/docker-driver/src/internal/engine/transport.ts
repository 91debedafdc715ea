/** The way to an engine: Effect's HTTP client over whatever the connection is, and where `hijack` connects to. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as HttpClient from "effect/http/HttpClient"
import type * as Path from "effect/Path"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { DockerConnection, type Target } from "../../DockerConnection.ts"
import type { DockerError } from "../../DockerError.ts"
import type { Endpoint } from "./hijack.ts"
import * as sshProxy from "./sshProxy.ts"

export interface Transport {
  readonly http: HttpClient.HttpClient
  /** What every URL begins with. */
  readonly origin: string
  readonly endpoint: Endpoint
  /** What a helper on the way said before it gave up, if there is one and it did. */
  readonly complaint: Effect.Effect<string | undefined>
}

export const make = (
  target: Target
): Effect.Effect<Transport, DockerError, Scope.Scope | FileSystem.FileSystem | Path.Path | ChildProcessSpawner> =>
  DockerConnection.match(target.connection, {
    Unix: ({ path }) => connect({ socketPath: path }),
    Tcp: ({ host, port, tls }) =>
      connect({
        host,
        port,
        tls:
          tls === undefined
            ? undefined
            : {
                ca: tls.ca,
                cert: tls.cert,
                key: tls.key === undefined ? undefined : Redacted.value(tls.key),
                rejectUnauthorized: tls.verify
              }
      }),
    Ssh: (ssh) =>
      Effect.gen(function* () {
        const proxy = yield* sshProxy.make(ssh, target)
        const transport = yield* connect({ socketPath: proxy.path })
        return { ...transport, complaint: proxy.complaint }
      })
  })

const connect = (endpoint: Endpoint): Effect.Effect<Transport, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { host, port, socketPath, tls } = endpoint
    const dispatcher = yield* NodeHttpClient.makeDispatcherOptions({ connect: { ...tls, ...definedPath(socketPath) } })
    const http = yield* Effect.provideService(NodeHttpClient.makeUndici, NodeHttpClient.Dispatcher, dispatcher)
    const authority = host === undefined ? "docker" : `${host.includes(":") ? `[${host}]` : host}:${port}`
    return {
      http,
      origin: `${tls === undefined ? "http" : "https"}://${authority}`,
      endpoint,
      complaint: Effect.succeed(undefined)
    }
  })

const definedPath = (socketPath: string | undefined) => (socketPath === undefined ? {} : { socketPath })
