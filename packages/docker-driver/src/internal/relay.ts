/** Two sockets joined: what comes from one goes to the other, until both sides have said all they had to. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Socket from "effect/socket/Socket"

type Chunks = NonEmptyReadonlyArray<Uint8Array | string>
type Pull = Effect.Effect<Chunks, Socket.SocketError>

const nothing = new Uint8Array()

const isEnd = ({ reason }: Socket.SocketError): boolean => reason._tag === "SocketCloseError" && reason.code === 1000

/** Sends what is pulled; when the source has ended, says so to the other side, which may go on talking. */
const pump = (pull: Pull, to: Socket.Socket, first: Uint8Array) =>
  Effect.gen(function* () {
    const writer = yield* to.writer
    if (first.length > 0) yield* writer.write(first)
    return yield* Effect.forever(Effect.flatMap(pull, writer.writeAll))
  }).pipe(
    Effect.scoped,
    Effect.catchIf(isEnd, () => Effect.void)
  )

/** Joins what is read by `from` and the socket it came from to another; `first` was read before. */
export const join = (
  from: { readonly socket: Socket.Socket; readonly pull: Pull; readonly first?: Uint8Array },
  to: Socket.Socket
): Effect.Effect<void, Socket.SocketError> =>
  Effect.gen(function* () {
    const back = yield* to.reader
    yield* Effect.all([pump(from.pull, to, from.first ?? nothing), pump(back.pull, from.socket, nothing)], {
      concurrency: 2,
      discard: true
    })
  }).pipe(Effect.scoped)

/** Joins two sockets. */
export const both = (one: Socket.Socket, other: Socket.Socket): Effect.Effect<void, Socket.SocketError> =>
  Effect.flatMap(one.reader, ({ pull }) => join({ socket: one, pull }, other)).pipe(Effect.scoped)
