/**
 * The way to an agent that was offered a socket: whichever it takes, the socket or the engine's attached stream. The stream
 * is the lease in either case: when it ends, so does the socket.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import type { Transport } from "./agent/connection.ts"
import type { Accepted, Offer } from "./directSockets.ts"
import { eachPulled } from "./eachPulled.ts"
import { errnoText } from "./protocol/errno.ts"
import { agentFrame, Decoder, MalformedFrame } from "./protocol/frames.ts"
import { decode } from "./protocol/payload.ts"

export interface DirectTransport extends Transport {
  /** Whether it is the socket; false as long as the agent has not said so. */
  readonly isDirect: () => boolean
  /** Waits until the attached stream has nothing more to say, beside the socket. */
  readonly isOver: Effect.Effect<void>
}

/** The agent's word that it stays with the attached stream. */
class Indirect {
  readonly errno: number
  constructor(errno: number) {
    this.errno = errno
  }
}

/** What the agent may say on the attached stream as long as it was not spoken to. */
const greeting = () =>
  new Decoder<Indirect | MalformedFrame>("agent", (type, _detail, channel, payload) => {
    const errno = type === agentFrame.indirect && channel === 0 ? decode(payload, (reader) => reader.u32()) : undefined
    return errno === undefined ? unexpected : new Indirect(errno)
  })

const unexpected = new MalformedFrame({ description: "it came on the attached stream, beside the socket" })

/** The fibers that watch belong to the scope. */
export const make = (offer: Offer, attached: Transport): Effect.Effect<DirectTransport, never, Scope.Scope> =>
  Effect.gen(function* () {
    const chosen = Deferred.makeUnsafe<Transport, unknown>()
    let way: Transport | undefined
    let socket: Accepted | undefined
    const choose = (transport: Transport): void => {
      way = transport
      Deferred.doneUnsafe(chosen, Exit.succeed(transport))
    }
    /** How the lease has ended, when it was not just the end. */
    let breach: Effect.Effect<never, unknown> = Cause.done()

    const decoder = greeting()
    const lease = attached
      .receive((chunk) => (socket === undefined ? decoder.push(chunk) : unexpected))
      .pipe(
        Effect.catch((end) =>
          Effect.gen(function* () {
            yield* offer.withdraw
            if (end instanceof Indirect) {
              yield* Effect.logDebug(`The agent cannot connect to its socket: ${errnoText(end.errno)}`)
              return choose(attached)
            }
            breach = Effect.fail(end)
            Deferred.doneUnsafe(chosen, Exit.fail(end))
          })
        ),
        // The end of the lease is that of everything.
        Effect.ensuring(Effect.suspend(() => socket?.close ?? Effect.void))
      )
    const meeting = Effect.flatMap(offer.accepted, (accepted) =>
      Effect.sync(() => {
        socket = accepted
        if (accepted !== undefined) choose(transportOf(accepted, () => breach))
      })
    )
    const watching = yield* Effect.forkScoped(lease, { startImmediately: true })
    yield* Effect.forkScoped(meeting, { startImmediately: true })
    return {
      receive: (take) => Effect.flatMap(Deferred.await(chosen), ({ receive }) => receive(take)),
      write: (chunks) => way?.write(chunks) ?? Effect.flatMap(Deferred.await(chosen), ({ write }) => write(chunks)),
      isDirect: () => socket !== undefined,
      isOver: Effect.asVoid(Fiber.await(watching))
    }
  })

const transportOf = ({ connection }: Accepted, breach: () => Effect.Effect<never, unknown>): Transport => ({
  receive: (take) => {
    const received = connection.receive === undefined ? eachPulled(connection.pull, take) : connection.receive(take)
    return Pull.catchDone(received, breach)
  },
  write: (chunks) => connection.write(...chunks)
})
