/** One subscriber of an event hub: what waits for it, and the fiber that handles that. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Result from "effect/Result"
import * as Tracer from "effect/Tracer"
import type { HandlerStats } from "../EnvironmentControl.ts"
import type { Options } from "../EventHandler.ts"
import type { SandboxEvent } from "../SandboxEvent.ts"
import { Bell } from "./bell.ts"

export interface Subscriber {
  /** Gives it the events of a turn. Never fails, and does not wait for anything. */
  readonly offer: (events: ReadonlyArray<SandboxEvent>) => void
  /** Tells it that there were none in a turn, after some in which there were. */
  readonly pause: () => void
  readonly stats: () => HandlerStats
  readonly idle: () => boolean
  readonly awaitIdle: Effect.Effect<void>
}

/** The handler that a fiber works for: what it waits for cannot wait for it (L24). */
export const CurrentSubscriber = Context.Reference<Subscriber | undefined>(
  "@effect-sandbox/core/EventHandler/CurrentSubscriber",
  { defaultValue: () => undefined }
)

export const defaultCapacity = 65_536

/** As many taken events as are handled without waiting for more. */
const enough = 4096

/** A subscriber with a fiber of its own, until it is closed. */
class Worker implements Subscriber {
  readonly #options: Options
  readonly #capacity: number
  readonly #idle = Latch.makeUnsafe(true)
  /** Rings when there is something to handle. */
  readonly #due = new Bell(() => this.#isDue)
  #isDue = false
  /** Those that wait, if they were not taken. */
  #kept: Array<SandboxEvent> = []
  /** How many wait, taken or not. */
  #waiting = 0
  #handled = 0
  #pending = 0
  #dropped = 0
  #failed = 0
  /** Tells of the first failure, if that has not been done. */
  #untold: Effect.Effect<void> = Effect.void

  constructor(options: Options) {
    this.#options = options
    const { capacity = defaultCapacity } = options
    this.#capacity = capacity === "unbounded" ? Infinity : capacity
  }

  offer(events: ReadonlyArray<SandboxEvent>): void {
    const room = this.#capacity - this.#waiting
    const fitting = events.length <= room ? events : events.slice(0, room)
    const { length } = fitting
    this.#dropped += events.length - length
    if (length === 0) return
    this.#waiting += length
    if (this.#pending === 0) this.#idle.closeUnsafe()
    this.#pending += length
    const options = this.#options
    if (!("takeAll" in options)) {
      for (const event of fitting) this.#kept.push(event)
      this.#ring()
      return
    }
    const taken = Result.try(() => options.takeAll(fitting))
    if (Result.isFailure(taken)) {
      this.#untold = Effect.andThen(this.#untold, this.#noteFailure(length, Cause.die(taken.failure)))
    }
    if (this.#waiting >= enough) this.#ring()
  }

  /** A round of handling costs as much as many events, so it waits until nothing more comes. */
  pause(): void {
    if (this.#waiting > 0) this.#ring()
  }

  #ring(): void {
    this.#isDue = true
    this.#due.ring()
  }

  stats(): HandlerStats {
    return {
      name: this.#options.name,
      handled: this.#handled,
      dropped: this.#dropped,
      failed: this.#failed,
      queued: this.#pending
    }
  }

  idle(): boolean {
    return this.#pending === 0
  }

  get awaitIdle(): Effect.Effect<void> {
    return this.#idle.await
  }

  /** What its fiber does. */
  get loop(): Effect.Effect<void> {
    return Effect.andThen(
      this.#due.heard,
      Effect.suspend(() => {
        const events = this.#kept
        const count = this.#waiting
        this.#kept = []
        this.#waiting = 0
        this.#isDue = false
        return this.#handle(events, count)
      })
    )
  }

  #handle(events: ReadonlyArray<SandboxEvent>, count: number): Effect.Effect<void> {
    const options = this.#options
    const what = `${count} events`
    if ("takeAll" in options) {
      const untold = this.#untold
      this.#untold = Effect.void
      return Effect.andThen(
        untold,
        this.#counted(count, what, () => options.handleTaken)
      )
    }
    if ("handleAll" in options) return this.#counted(count, what, () => options.handleAll(events))
    return Effect.forEach(events, (event) => this.#counted(1, event._tag, () => options.handle(event)), {
      discard: true
    })
  }

  /** Waits for what is left, with a limit, and ends its fiber. */
  close(fiber: Fiber.Fiber<void>): Effect.Effect<void> {
    const { drainTimeout = "10 seconds", name } = this.#options
    return Effect.gen({ self: this }, function* () {
      yield* Effect.timeoutOption(this.awaitIdle, drainTimeout)
      const left = this.#pending
      yield* Effect.timeoutOption(Fiber.interrupt(fiber), drainTimeout) // it may be in an uninterruptible region
      if (this.#dropped > 0) {
        yield* Effect.logWarning(`Event handler ${name} was too slow: ${this.#dropped} events were dropped`)
      }
      if (left > 0) yield* Effect.logWarning(`Event handler ${name} did not finish: ${left} events were not handled`)
    })
  }

  #counted(count: number, what: string, handling: () => Effect.Effect<unknown, unknown>): Effect.Effect<void> {
    return Effect.matchCauseEffect(Effect.suspend(handling), {
      onSuccess: () => {
        this.#areHandled(count)
        return Effect.void
      },
      // Also when the handler interrupts itself; the end of the worker does not come this way.
      onFailure: (cause) =>
        // Told before it counts as handled: whoever waits for that may close the handler in the same moment.
        Effect.ensuring(
          this.#noteFailure(count, cause, what),
          Effect.sync(() => this.#areHandled(count))
        )
    })
  }

  #areHandled(count: number): void {
    this.#handled += count
    this.#pending -= count
    if (this.#pending === 0) this.#idle.openUnsafe()
  }

  #noteFailure(count: number, cause: Cause.Cause<unknown>, what = `${count} events`): Effect.Effect<void> {
    const isFirst = this.#failed === 0
    this.#failed += count
    if (!isFirst) return Effect.void
    const message = `Event handler ${this.#options.name} failed on ${what}; later failures are only counted`
    return Effect.logWarning(message, cause)
  }
}

/** Starts a subscriber; it has to be closed. */
export const start = (
  options: Options
): Effect.Effect<{ readonly subscriber: Subscriber; readonly close: Effect.Effect<void> }> =>
  Effect.suspend(() => {
    const worker = new Worker(options)
    const running = Effect.forever(worker.loop).pipe(
      Effect.ignoreCause,
      Effect.provideService(CurrentSubscriber, worker),
      // The span in which the layer was made has nothing to do with what is handled.
      Effect.updateContext((context: Context.Context<never>) => Context.omit(Tracer.ParentSpan)(context)),
      Effect.forkDetach({ startImmediately: true }) // ended by `close`, after it was drained
    )
    return Effect.map(running, (fiber) => ({ subscriber: worker, close: worker.close(fiber) }))
  })
