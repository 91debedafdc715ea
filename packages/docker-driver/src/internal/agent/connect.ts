/**
 * Connections to ports inside, and from inside to the host, as Effect's `Socket`: with them a sandbox without any network
 * can be spoken to, and can reach what the host offers it.
 */
import { CallLifetime } from "@effect-sandbox/core/SandboxDriver"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import type { PlatformError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import { agentFrame, hostFrame } from "../protocol/frames.ts"
import { decode, encodeText, Writer } from "../protocol/payload.ts"
import type { Channel, Connection } from "./connection.ts"
import { type ConnectionEnded, toPlatformError } from "./connectionEnd.ts"
import { detailOf, type Lifetime } from "./files.ts"
import { Inbox } from "./inbox.ts"
import { refusalOf } from "./operation.ts"
import { Outbox } from "./outbox.ts"
import { refuse, systemError } from "./systemError.ts"

export interface ConnectOptions {
  readonly port: number
  /** An address inside. Default: `127.0.0.1`, then `::1`. */
  readonly address?: string | undefined
}

export interface ListenOptions {
  /** Default: any that is free. */
  readonly port?: number | undefined
  /** An address inside. Default: `127.0.0.1`. */
  readonly address?: string | undefined
  /** How many connections can be taken at the same moment. Default: 8. */
  readonly backlog?: number | undefined
}

/** A port inside that the host answers. */
export interface Listener {
  readonly port: number
  /** Runs a handler for each connection, all at the same time; a connection ends when its handler does. */
  readonly run: <E, R>(
    handler: (socket: Socket.Socket) => Effect.Effect<unknown, E, R>
  ) => Effect.Effect<never, PlatformError, R>
}

const upwards = 0
const downwards = 1
const defaultBacklog = 8

/** A channel that becomes a connection: by `CONNECT`, or by `ACCEPT`. */
class Link implements Channel {
  readonly inbox: Inbox
  readonly outbox: Outbox
  /** Completed with what `OPENED` says. */
  readonly opened = Deferred.makeUnsafe<number, PlatformError>()
  readonly number: number
  readonly #connection: Connection
  readonly #method: string
  readonly #what: string
  readonly #closed = Deferred.makeUnsafe<void>()
  #isOpen = false
  #isClosing = false
  #isClosed = false

  constructor(connection: Connection, method: string, what: string, type: number, lifetime: Lifetime, payload: Writer) {
    this.#connection = connection
    this.#method = method
    this.#what = what
    this.inbox = new Inbox((more) => connection.sendU32(hostFrame.credit, downwards, this.number, more))
    this.outbox = new Outbox({
      data: (bytes) => connection.sendData(upwards, this.number, bytes),
      end: () => connection.send(hostFrame.end, upwards, this.number)
    })
    this.number = connection.open(this, type, detailOf(lifetime), payload)
  }

  /** Breaks it off if it goes on. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#isClosed) return Effect.void
      if (!this.#isClosing) {
        this.#isClosing = true
        this.#connection.send(hostFrame.close, 0, this.number)
        this.inbox.close(Cause.done())
        this.outbox.closeUnread()
      }
      return Deferred.await(this.#closed)
    })
  }

  onFrame(type: number, detail: number, payload: Uint8Array): boolean {
    switch (type) {
      case agentFrame.opened: {
        const port = decode(payload, (reader) => (reader.hasMore ? reader.u16() : 0))
        if (port === undefined || this.#isOpen) return false
        this.#isOpen = true
        Deferred.doneUnsafe(this.opened, Exit.succeed(port))
        return true
      }
      case agentFrame.data:
        return detail === downwards && this.#isOpen && (this.#isClosing || this.inbox.data(payload))
      case agentFrame.end:
        return detail === downwards && this.#isOpen && (this.#isClosing || this.inbox.end())
      case agentFrame.credit: {
        const more = decode(payload, (reader) => reader.u32())
        if (more === undefined || detail !== upwards) return false
        this.outbox.credit(more)
        return true
      }
      case agentFrame.error: {
        const refusal = refusalOf(payload)
        if (refusal === undefined) return false
        const { errno, message } = refusal
        this.#finish(
          systemError({ module: "Socket", method: this.#method, pathOrDescriptor: this.#what, errno, message })
        )
        return true
      }
      case agentFrame.closed:
        this.#finish(undefined)
        return payload.length === 0
      default:
        return false
    }
  }

  onEnd(end: ConnectionEnded): void {
    this.#finish(toPlatformError(this.#method, end))
  }

  #finish(error: PlatformError | undefined): void {
    if (this.#isClosed) return
    this.#isClosed = true
    const failure = error ?? systemError({ module: "Socket", method: this.#method, errno: 0, message: "it was closed" })
    Deferred.doneUnsafe(this.opened, Exit.fail(failure))
    this.inbox.close(error === undefined ? Cause.done() : Effect.fail(error))
    this.outbox.close(error === undefined ? Effect.succeed(false) : Effect.fail(error))
    Deferred.doneUnsafe(this.#closed, Exit.void)
  }
}

/** A socket to a port inside. As with Node's, opening its reader makes the connection, and its scope ends it. */
export const connect = (connection: Connection, { address = "", port }: ConnectOptions): Socket.Socket =>
  socketOf(
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const lifetime = yield* CallLifetime
        const payload = new Writer().u16(port).str(address)
        const what = address === "" ? String(port) : `${address}:${port}`
        const link = new Link(connection, "connect", what, hostFrame.connect, lifetime, payload)
        yield* Effect.addFinalizer(() => link.close)
        yield* restore(Deferred.await(link.opened))
        return link
      })
    )
  )

/** Opens a port inside, whose connections the host answers until the scope closes. */
export const listen = (
  connection: Connection,
  { address = "", backlog = defaultBacklog, port = 0 }: ListenOptions = {}
): Effect.Effect<Listener, PlatformError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const lifetime = yield* CallLifetime
      const payload = new Writer().str(address).u16(port)
      const what = address === "" ? String(port) : `${address}:${port}`
      const listener = new Link(connection, "listen", what, hostFrame.listen, lifetime, payload)
      yield* Effect.addFinalizer(() => listener.close)
      const opened = yield* restore(Deferred.await(listener.opened))
      const accept = () =>
        new Link(connection, "accept", what, hostFrame.accept, lifetime, new Writer().u32(listener.number))
      return { port: opened, run: answer(accept, backlog) }
    })
  )

/** Keeps some links waiting for connections, and gives each that has one to the handler. */
const answer =
  (accept: () => Link, backlog: number): Listener["run"] =>
  (handler) =>
    Effect.scoped(
      Effect.gen(function* () {
        const handlers = yield* FiberSet.make()
        const one = Effect.uninterruptibleMask((restore) =>
          Effect.suspend(() => {
            const link = accept()
            return Effect.andThen(
              Effect.onError(restore(Deferred.await(link.opened)), () => link.close),
              FiberSet.run(
                handlers,
                handler(socketOf(Effect.succeed(link))).pipe(
                  Effect.ignoreCause({ log: "Debug", message: "a connection from inside has failed" }),
                  Effect.ensuring(link.close)
                )
              )
            )
          })
        )
        return yield* Effect.flatMap(
          Effect.forEach(Array.from({ length: backlog }), () => Effect.forever(one), {
            concurrency: "unbounded",
            discard: true
          }),
          () => Effect.never
        )
      })
    )

/** A link as a socket; opening the reader takes it. */
const socketOf = (open: Effect.Effect<Link, PlatformError, Scope.Scope>): Socket.Socket => {
  let current: Link | undefined
  const latch = Latch.makeUnsafe(false)

  const reader: Socket.Socket["reader"] = Effect.gen(function* () {
    const link = yield* Effect.mapError(open, (cause) =>
      socketError(new Socket.SocketOpenError({ kind: "Unknown", cause }))
    )
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        latch.closeUnsafe()
        current = undefined
        // Who still pulls is told.
        link.inbox.close(Cause.done())
      })
    )
    current = link
    latch.openUnsafe()
    const pull = link.inbox.pull.pipe(
      Effect.mapError((error) =>
        Cause.isDone(error)
          ? socketError(new Socket.SocketCloseError({ code: 1000 }))
          : socketError(new Socket.SocketReadError({ cause: error }))
      )
    )
    return { pull, upgrade: Socket.SocketUpgradeError.unsupported }
  })

  const write = (chunk: Uint8Array | string | Socket.CloseEvent): Effect.Effect<void, Socket.SocketError> =>
    Effect.suspend(() => {
      const link = current
      if (link === undefined) return latch.whenOpen(write(chunk))
      if (Socket.isCloseEvent(chunk)) return link.close
      return Effect.flatMap(
        Effect.mapError(link.outbox.write(typeof chunk === "string" ? encodeText(chunk) : chunk), (cause) =>
          socketError(new Socket.SocketWriteError({ cause }))
        ),
        (isRead) => (isRead ? Effect.void : Effect.fail(closedForWriting()))
      )
    })

  return Socket.make({
    reader,
    writer: Effect.acquireRelease(
      Effect.succeed({ write, writeAll: (chunks) => Effect.forEach(chunks, write, { discard: true }) }),
      () => Effect.sync(() => current?.outbox.end())
    )
  })
}

const socketError = (
  reason: Socket.SocketCloseError | Socket.SocketOpenError | Socket.SocketReadError | Socket.SocketWriteError
): Socket.SocketError => new Socket.SocketError({ reason })

const closedForWriting = () =>
  socketError(new Socket.SocketWriteError({ cause: refuse("Socket", "write", 0, "EPIPE") }))
