/** One command inside, as the host sees it: the channel that a `RUN` opens. */
import { ProcessOutOfMemory, ProcessSignalled } from "@effect-sandbox/core/SandboxDriver"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as PlatformError from "effect/PlatformError"
import { ExitCode } from "effect/process/ChildProcessSpawner"
import { signalName } from "../protocol/errno.ts"
import { agentFrame, exitKind, hostFrame, signalTarget } from "../protocol/frames.ts"
import { decode, type Writer } from "../protocol/payload.ts"
import type { Channel, Connection } from "./connection.ts"
import { type ConnectionEnded, toPlatformError } from "./connectionEnd.ts"
import { Inbox } from "./inbox.ts"
import { type Failure, refusalOf } from "./operation.ts"
import { Outbox } from "./outbox.ts"

export interface Options {
  readonly detail: number
  readonly payload: Writer
  readonly inputs: ReadonlyArray<number>
  readonly outputs: ReadonlyArray<number>
  /** Why it could not be started, as the caller is told. */
  readonly toStartError: (failure: Extract<Failure, { readonly _tag: "Refused" }>) => PlatformError.PlatformError
}

/** How a command is asked to end. */
export interface End {
  readonly signal: number
  /** When it is not asked any more but killed. Default: never. */
  readonly forceAfter: Duration.Input | undefined
}

const sigkill = 9
/** How long the exit of a command can come after the end of its output. */
const exitGrace = "100 millis"
/** How long the rest of a process group that was not, or cannot be, killed is waited for. */
const groupGrace = "1 second"

export class Process implements Channel {
  readonly inputs = new Map<number, Outbox>()
  readonly outputs = new Map<number, Inbox>()
  readonly #connection: Connection
  readonly #toStartError: Options["toStartError"]
  readonly #number: number
  readonly #started = Deferred.makeUnsafe<number, PlatformError.PlatformError>()
  readonly #exited = Deferred.makeUnsafe<ExitCode, PlatformError.PlatformError>()
  /** Its process group has no members any more. */
  readonly #gone = Deferred.makeUnsafe<void>()
  readonly #closed = Deferred.makeUnsafe<void>()
  #pid: number | undefined
  #exit: Exit.Exit<ExitCode, PlatformError.PlatformError> | undefined
  #isGone = false
  /** Whether the host has let go of it: what still comes is of no interest. */
  #isClosing = false
  #isClosed = false

  /** Starts it. From now on the channel has to be closed. */
  constructor(connection: Connection, { detail, inputs, outputs, payload, toStartError }: Options) {
    this.#connection = connection
    this.#toStartError = toStartError
    for (const fd of inputs) {
      const sender = {
        data: (bytes: Uint8Array) => connection.sendData(fd, this.#number, bytes),
        end: () => connection.send(hostFrame.end, fd, this.#number)
      }
      this.inputs.set(fd, new Outbox(sender))
    }
    for (const fd of outputs) {
      this.outputs.set(fd, new Inbox((more) => connection.sendU32(hostFrame.credit, fd, this.#number, more)))
    }
    this.#number = connection.open(this, hostFrame.run, detail, payload)
  }

  /** Its number inside, once it has been started. */
  get started(): Effect.Effect<number, PlatformError.PlatformError> {
    return Deferred.await(this.#started)
  }

  /** How it ended. */
  readonly exitCode: Effect.Effect<ExitCode, PlatformError.PlatformError> = Effect.suspend(
    () => this.#exit ?? Deferred.await(this.#exited)
  )

  get isRunning(): Effect.Effect<boolean, PlatformError.PlatformError> {
    return Effect.suspend(() => {
      const { end } = this.#connection
      // What is dead is not known to have ended by itself.
      return end === undefined || this.hasEnded
        ? Effect.succeed(!this.hasEnded)
        : Effect.fail(toPlatformError("isRunning", end))
    })
  }

  get hasEnded(): boolean {
    return this.#exit !== undefined
  }

  /** Waits a moment for the end of a command that has closed its output, as it does when it exits. */
  get settled(): Effect.Effect<void> {
    return Effect.suspend(() =>
      this.hasEnded || ![1, 2].some((fd) => this.outputs.get(fd)?.hasEnded)
        ? Effect.void
        : Effect.asVoid(Effect.timeoutOption(Effect.exit(this.exitCode), exitGrace))
    )
  }

  /** Ends its process group, first politely. Without `forceAfter` it may take for ever. */
  end({ forceAfter, signal }: End): Effect.Effect<void, PlatformError.PlatformError> {
    return Effect.suspend(() => {
      const { end } = this.#connection
      if (end !== undefined) return Effect.fail(toPlatformError("kill", end))
      if (this.#isGone || this.#isClosed) return Effect.void
      this.#signalGroup(signal)
      const leader = Effect.exit(this.exitCode)
      const others = Effect.andThen(leader, Effect.timeoutOption(Deferred.await(this.#gone), groupGrace))
      if (forceAfter === undefined) return Effect.asVoid(others)
      return Effect.flatMap(Effect.timeoutOption(Deferred.await(this.#gone), forceAfter), (inTime) => {
        if (inTime._tag === "Some") return Effect.void
        this.#signalGroup(sigkill)
        return Effect.asVoid(others)
      })
    })
  }

  /** Gives its terminal another size. */
  readonly resize = ({ columns, rows }: { readonly rows: number; readonly columns: number }): Effect.Effect<void> =>
    // Two numbers of 16 bits, which are one of 32.
    Effect.sync(() => this.#connection.sendU32(hostFrame.resize, 0, this.#number, (rows | (columns << 16)) >>> 0))

  /** Lets go of it: what runs goes on, and nobody reads or writes any more. */
  release(): void {
    this.#close(0)
  }

  /** Kills it with everything that came from it, and waits until nothing of that is left. */
  get kill(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#isClosed) return Effect.void
      this.#close(1)
      return Deferred.await(this.#closed)
    })
  }

  onFrame(type: number, detail: number, payload: Uint8Array): boolean {
    switch (type) {
      case agentFrame.started: {
        const pid = decode(payload, (reader) => reader.u32())
        if (pid === undefined || this.#pid !== undefined) return false
        this.#pid = pid
        Deferred.doneUnsafe(this.#started, Exit.succeed(pid))
        return true
      }
      case agentFrame.data: {
        const output = this.outputs.get(detail)
        return output !== undefined && (this.#isClosing || output.data(payload))
      }
      case agentFrame.end: {
        const output = this.outputs.get(detail)
        return output !== undefined && (this.#isClosing || output.end())
      }
      case agentFrame.credit: {
        const more = decode(payload, (reader) => reader.u32())
        const input = this.inputs.get(detail)
        if (more === undefined || input === undefined) return false
        input.credit(more)
        return true
      }
      case agentFrame.exit:
        return this.#onExit(payload)
      case agentFrame.gone:
        if (this.#exit === undefined || this.#isGone) return false
        this.#isGone = true
        Deferred.doneUnsafe(this.#gone, Exit.void)
        return payload.length === 0
      case agentFrame.error:
        return this.#onError(payload)
      case agentFrame.closed:
        this.#finish(unknownEnd, Cause.done())
        return payload.length === 0
      default:
        return false
    }
  }

  onEnd(end: ConnectionEnded): void {
    const method = this.#pid === undefined ? "spawn" : "exitCode"
    this.#finish(Exit.fail(toPlatformError(method, end)), Effect.fail(toPlatformError("read", end)))
  }

  #onExit(payload: Uint8Array): boolean {
    const exit = decode(payload, (reader) => {
      const status = { kind: reader.u8(), value: reader.u32() }
      for (const _ of ["user time", "system time", "largest size"]) reader.u64()
      return { ...status, memoryLimit: reader.u64() }
    })
    if (exit === undefined || this.#pid === undefined || this.#exit !== undefined) return false
    const outcome = outcomeOf(exit)
    if (outcome === undefined) return false
    this.#setExit(outcome)
    return true
  }

  #onError(payload: Uint8Array): boolean {
    const refusal = refusalOf(payload)
    if (refusal === undefined || this.#pid !== undefined) return false
    const error = this.#toStartError(refusal)
    this.#finish(Exit.fail(error), Cause.done())
    return true
  }

  #setExit(exit: Exit.Exit<ExitCode, PlatformError.PlatformError>): void {
    if (this.#exit !== undefined) return
    this.#exit = exit
    Deferred.doneUnsafe(this.#exited, exit)
  }

  /** Nothing more comes on the channel. */
  #finish(
    exit: Exit.Exit<ExitCode, PlatformError.PlatformError>,
    end: Effect.Effect<never, PlatformError.PlatformError | Cause.Done>
  ): void {
    if (this.#isClosed) return
    this.#isClosed = true
    if (Exit.isFailure(exit)) Deferred.doneUnsafe(this.#started, Exit.failCause(exit.cause))
    this.#setExit(exit)
    this.#isGone = true
    Deferred.doneUnsafe(this.#gone, Exit.void)
    for (const output of this.outputs.values()) output.close(end)
    for (const input of this.inputs.values()) input.closeUnread()
    Deferred.doneUnsafe(this.#closed, Exit.void)
  }

  #close(detail: 0 | 1): void {
    if (this.#isClosed) return
    this.#isClosing = true
    this.#connection.send(hostFrame.close, detail, this.#number)
    for (const output of this.outputs.values()) output.close(Cause.done())
    for (const input of this.inputs.values()) input.closeUnread()
  }

  #signalGroup(signal: number): void {
    if (!this.#isGone) this.#connection.sendU32(hostFrame.signal, signalTarget.group, this.#number, signal)
  }
}

const failedExit = (description: string, cause?: unknown): Exit.Exit<never, PlatformError.PlatformError> =>
  Exit.fail(
    PlatformError.systemError({ _tag: "Unknown", module: "ChildProcess", method: "exitCode", description, cause })
  )

const unknownEnd = failedExit("the agent did not say how the command ended")

/** What the system said about an end; a signal is no exit code (F31). */
const outcomeOf = (exit: {
  readonly kind: number
  readonly value: number
  readonly memoryLimit: bigint
}): Exit.Exit<ExitCode, PlatformError.PlatformError> | undefined => {
  switch (exit.kind) {
    case exitKind.code:
      return Exit.succeed(ExitCode(exit.value))
    case exitKind.signal: {
      const cause = new ProcessSignalled({ signal: signalName(exit.value) })
      return failedExit(`the process was ${cause.message}`, cause)
    }
    case exitKind.memory: {
      const cause = new ProcessOutOfMemory({ limitBytes: Number(exit.memoryLimit) })
      return failedExit(`the process was ${cause.message}`, cause)
    }
    default:
      return undefined
  }
}
