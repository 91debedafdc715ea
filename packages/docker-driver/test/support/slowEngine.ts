/** A socket on the way to the real engine: it can be slow, mute, unwilling, or not be there at all. */
import { Effect } from "effect"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import * as DockerClient from "../../src/DockerClient.ts"
import * as engine from "./engine.ts"

/** The socket of the engine that tests run on; undefined when it is reached in another way. */
export const enginePath: Effect.Effect<string | undefined> = Effect.map(DockerClient.DockerClient, ({ target }) =>
  target.connection._tag === "Unix" ? target.connection.path : undefined
).pipe(Effect.provide(engine.layer), Effect.orDie)

export interface Way {
  /** As `DOCKER_HOST` has it. */
  readonly address: string
  readonly path: string
  /** Milliseconds by which everything is late, in each direction. */
  delay: number
  /** Whether what the engine says gets lost from now on; a connection that lost something loses the rest as well. */
  isMute: boolean
  /** Milliseconds by which creations of containers reach the engine later than all else. */
  creationDelay: number
  /** Requests that are answered by an error in the engine's place, as long as it says so; the first line is looked at. */
  refuses: (requestLine: string) => boolean
  /** Begins to listen. */
  readonly open: Effect.Effect<void>
  /** Breaks every connection, and does not listen any more. */
  readonly close: Effect.Effect<void>
}

/** A way that nobody listens on yet; gone with the scope. */
export const make = Effect.gen(function* () {
  const target = yield* enginePath
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "slow-engine-"))),
    (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
  )
  const socketPath = path.join(directory, "engine.sock")
  const sockets = new Set<net.Socket>()
  let server: net.Server | undefined
  /** Everything in order, each piece as late as it has to be. */
  const pump = (from: net.Socket, to: net.Socket, options: { readonly isFromEngine: boolean }) => {
    let isStalled = false
    let held = 0
    const later = (act: () => void) => void setTimeout(act, way.delay + held)
    from.on("data", (bytes) => {
      if (!options.isFromEngine && way.refuses(bytes.toString("latin1").split("\r\n", 1)[0] ?? "")) {
        const body = JSON.stringify({ message: "device or resource busy" })
        from.write(`HTTP/1.1 500 No\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
        return
      }
      if (!options.isFromEngine && bytes.includes("/containers/create")) held = way.creationDelay
      later(() => {
        isStalled ||= options.isFromEngine && way.isMute
        if (!isStalled && !to.destroyed) to.write(bytes)
      })
    })
    from.on("end", () => later(() => to.end()))
    from.on("close", () => later(() => to.destroy()))
    from.on("error", () => {})
  }
  const way: Way = {
    address: `unix://${socketPath}`,
    path: socketPath,
    delay: 0,
    isMute: false,
    creationDelay: 0,
    refuses: () => false,
    open: Effect.callback<void>((resume) => {
      server = net.createServer({ allowHalfOpen: true }, (client) => {
        const upstream = net.connect({ path: target ?? "", allowHalfOpen: true })
        for (const socket of [client, upstream]) {
          sockets.add(socket)
          socket.on("close", () => sockets.delete(socket))
        }
        pump(client, upstream, { isFromEngine: false })
        pump(upstream, client, { isFromEngine: true })
      })
      server.listen(socketPath, () => resume(Effect.void))
    }),
    close: Effect.sync(() => {
      server?.close()
      server = undefined
      for (const socket of sockets) socket.destroy()
    })
  }
  yield* Effect.addFinalizer(() => way.close)
  return way
})
