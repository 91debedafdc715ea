/** One operation of the agent that ends by an answer: on files, or a reset. It may have a stream each way, and events. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { agentFrame, hostFrame } from "../protocol/frames.ts"
import { decode, type Reader, type Writer } from "../protocol/payload.ts"
import type { Channel, Connection } from "./connection.ts"
import type { ConnectionEnded } from "./connectionEnd.ts"
import * as frameBuffers from "./frameBuffers.ts"
import { Inbox } from "./inbox.ts"
import { Outbox } from "./outbox.ts"
import type { PlatformError } from "effect/PlatformError"

/** Why an operation failed. */
export type Failure =
  | { readonly _tag: "Refused"; readonly errno: number; readonly stage: number; readonly message: string }
  /** A reset ended it. */
  | { readonly _tag: "Reset" }
  | ConnectionEnded

export interface Options<A> {
  readonly type: number
  readonly detail: number
  readonly payload: Writer
  readonly result: (reader: Reader) => A
  /** How a failure is told to whoever reads or writes a stream of the operation. */
  readonly toStreamError?: ((failure: Failure) => PlatformError) | undefined
  /** Whether there is a stream from the agent: with `lends`, its reader gives the chunks back to `frameBuffers`. */
  readonly reads?: boolean | "lends" | undefined
  /** Whether there is a stream to the agent. */
  readonly writes?: boolean | undefined
  readonly onEvent?: ((kind: number, name: string) => void) | undefined
}

/** Longer than any step of an operation takes, and much shorter than what hangs. */
const abandonLimit = "5 seconds"

/** The stream towards the agent. */
const upwards = 0
/** The stream from it. */
const downwards = 1

/** What an `ERROR` says. */
export const refusalOf = (payload: Uint8Array): Extract<Failure, { readonly _tag: "Refused" }> | undefined =>
  decode(payload, (reader) => ({
    _tag: "Refused" as const,
    errno: reader.u32(),
    stage: reader.u8(),
    message: reader.str()
  }))

export class Operation<A> implements Channel {
  readonly inbox: Inbox | undefined
  readonly outbox: Outbox | undefined
  readonly #connection: Connection
  readonly #options: Options<A>
  readonly #number: number
  readonly #done = Deferred.makeUnsafe<A, Failure>()
  /** How it ended. */
  #exit: Exit.Exit<A, Failure> | undefined
  #isAbandoned = false
  /** Whether the agent did not answer that it was given up. */
  #isSilent = false

  /** Starts it. */
  constructor(connection: Connection, options: Options<A>) {
    this.#connection = connection
    this.#options = options
    if (options.reads !== undefined && options.reads !== false) {
      this.inbox = new Inbox(
        (more) => connection.sendU32(hostFrame.credit, downwards, this.#number, more),
        options.reads === "lends" ? frameBuffers.take : undefined
      )
    }
    if (options.writes === true) {
      this.outbox = new Outbox({
        data: (bytes) => connection.sendData(upwards, this.#number, bytes),
        end: () => connection.send(hostFrame.end, upwards, this.#number)
      })
    }
    this.#number = connection.open(this, options.type, options.detail, options.payload)
  }

  /** How it ended, when it has. */
  get exit(): Exit.Exit<A, Failure> | undefined {
    return this.#exit
  }

  /** Its answer. */
  get await(): Effect.Effect<A, Failure> {
    return this.#exit ?? Deferred.await(this.#done)
  }

  /**
   * Gives it up, and waits until nothing of it goes on, or the agent does not answer (F3). What had been answered
   * meanwhile is in `exit`.
   */
  get abandon(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#exit !== undefined) return Effect.void
      if (!this.#isAbandoned) {
        this.#isAbandoned = true
        this.#connection.send(hostFrame.close, 0, this.#number)
      }
      // Whoever comes after one who has waited in vain need not.
      if (this.#isSilent) return Effect.void
      return Effect.map(Effect.timeoutOption(Effect.exit(Deferred.await(this.#done)), abandonLimit), ({ _tag }) => {
        if (_tag === "None") this.#isSilent = true
      })
    })
  }

  onFrame(type: number, detail: number, payload: Uint8Array): boolean {
    switch (type) {
      case agentFrame.reply: {
        const value = decode(payload, (reader) => ({ result: this.#options.result(reader) }))
        if (value === undefined) return false
        this.#finish(Exit.succeed(value.result))
        return true
      }
      case agentFrame.error: {
        const failure = refusalOf(payload)
        if (failure === undefined) return false
        this.#finish(Exit.fail(failure))
        return true
      }
      case agentFrame.closed:
        this.#finish(Exit.fail({ _tag: "Reset" }))
        return payload.length === 0
      case agentFrame.data:
        return detail === downwards && this.inbox !== undefined && (this.#isAbandoned || this.inbox.data(payload))
      case agentFrame.end:
        return detail === downwards && this.inbox !== undefined && (this.#isAbandoned || this.inbox.end())
      case agentFrame.credit: {
        const more = decode(payload, (reader) => reader.u32())
        if (more === undefined || detail !== upwards || this.outbox === undefined) return false
        this.outbox.credit(more)
        return true
      }
      case agentFrame.event: {
        const { onEvent } = this.#options
        const event = decode(payload, (reader) => ({ kind: reader.u8(), name: reader.str() }))
        if (event === undefined || onEvent === undefined) return false
        if (!this.#isAbandoned) onEvent(event.kind, event.name)
        return true
      }
      default:
        return false
    }
  }

  onEnd(end: ConnectionEnded): void {
    this.#finish(Exit.fail(end))
  }

  #finish(exit: Exit.Exit<A, Failure>): void {
    if (this.#exit !== undefined) return
    this.#exit = exit
    if (this.inbox !== undefined || this.outbox !== undefined) {
      const error = Exit.isFailure(exit) ? Cause.findErrorOption(exit.cause) : undefined
      const failed =
        error?._tag === "Some" && this.#options.toStreamError !== undefined
          ? Effect.fail(this.#options.toStreamError(error.value))
          : undefined
      this.inbox?.close(failed ?? Cause.done())
      if (failed === undefined) this.outbox?.closeUnread()
      else this.outbox?.close(failed)
    }
    Deferred.doneUnsafe(this.#done, exit)
  }
}

/** Runs an operation that has no streams. Whoever is interrupted waits until nothing of it goes on. */
export const run = <A>(connection: Connection, options: Options<A>): Effect.Effect<A, Failure> =>
  Effect.uninterruptibleMask((restore) => {
    const operation = new Operation(connection, options)
    return Effect.onInterrupt(restore(operation.await), () => operation.abandon)
  })
