/** One subscriber of an event hub: what waits for it, and the fibers that handle that. */
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
  /** Never fails, and costs next to nothing. */
  readonly offer: (event: SandboxEvent) => void
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
const enough = 16_384

/** A subscriber with fibers of its own, until it is closed. */
class Worker implements Subscriber {
  readonly #options: Options
  readonly #capacity: number
  readonly #idle = Latch.makeUnsafe(true)
  /** Rings when events came. */
  readonly #events = new Bell(() => this.#kept.length > 0)
  /** Rings when enough was taken, or nothing more comes. */
  readonly #taken = new Bell(() => this.#isDue)
  #kept: Array<SandboxEvent> = []
  /** How many were taken since the last round of handling. */
  #takenCount = 0
  #isDue = false
  #handled = 0
  #pending = 0
  #dropped = 0
  #failed = 0

  constructor(options: Options) {
    this.#options = options
    const { capacity = defaultCapacity } = options
    this.#capacity = capacity === "unbounded" ? Infinity : capacity
  }

  offer(event: SandboxEvent): void {
    if (this.#kept.length + this.#takenCount >= this.#capacity) {
      this.#dropped++
      return
    }
    this.#pending++
    const kept = this.#kept
    kept[kept.length] = event // V8 leaves a `push` here to a call
    if (kept.length > 1) return // the first has rung
    if (this.#pending === 1) this.#idle.closeUnsafe()
    this.#events.ring()
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

  /** What its fibers do. */
  get loops(): ReadonlyArray<Effect.Effect<void>> {
    const options = this.#options
    if ("takeAll" in options) {
      const round = Effect.suspend(() => this.#handleTaken(options.handleTaken))
      return [
        Effect.andThen(this.#events.heard, this.#takeWhileTheyCome(options.takeAll)),
        Effect.andThen(this.#taken.heard, round)
      ]
    }
    const handleAll =
      "handleAll" in options
        ? (events: ReadonlyArray<SandboxEvent>) =>
            this.#counted(events.length, `${events.length} events`, () => options.handleAll(events))
        : (events: ReadonlyArray<SandboxEvent>) =>
            Effect.forEach(events, (event) => this.#counted(1, event._tag, () => options.handle(event)), {
              discard: true
            })
    const round = Effect.suspend(() => handleAll(this.#takeKept()))
    return [Effect.andThen(this.#events.heard, round)]
  }

  /** Waits for what is left, with a limit, and ends its fibers. */
  close(fibers: ReadonlyArray<Fiber.Fiber<void>>): Effect.Effect<void> {
    const { drainTimeout = "10 seconds", name } = this.#options
    return Effect.gen({ self: this }, function* () {
      yield* Effect.timeoutOption(this.awaitIdle, drainTimeout)
      const left = this.#pending
      yield* Effect.timeoutOption(Fiber.interruptAll(fibers), drainTimeout) // one may be in an uninterruptible region
      if (this.#dropped > 0) {
        yield* Effect.logWarning(`Event handler ${name} was too slow: ${this.#dropped} events were dropped`)
      }
      if (left > 0) yield* Effect.logWarning(`Event handler ${name} did not finish: ${left} events were not handled`)
    })
  }

  #takeKept(): ReadonlyArray<SandboxEvent> {
    const kept = this.#kept
    this.#kept = []
    return kept
  }

  /**
   * Takes what came, turn by turn, so that no event has to be kept for longer; handling waits until nothing more comes,
   * since a round of that costs as much as many events.
   */
  #takeWhileTheyCome(takeAll: (events: ReadonlyArray<SandboxEvent>) => void): Effect.Effect<void> {
    const take = (): Effect.Effect<void> => {
      const events = this.#takeKept()
      this.#takenCount += events.length
      const result = Result.try(() => takeAll(events))
      if (this.#takenCount >= enough) this.#ringTaken()
      return Result.isSuccess(result)
        ? Effect.yieldNow
        : Effect.andThen(
            this.#noteFailure(events.length, `${events.length} events`, Cause.die(result.failure)),
            Effect.yieldNow
          )
    }
    return Effect.andThen(
      Effect.whileLoop({ while: () => this.#kept.length > 0, body: take, step: () => {} }),
      Effect.sync(() => this.#ringTaken())
    )
  }

  #ringTaken(): void {
    this.#isDue = true
    this.#taken.ring()
  }

  #handleTaken(handleTaken: Effect.Effect<unknown, unknown>): Effect.Effect<void> {
    const count = this.#takenCount
    this.#takenCount = 0
    this.#isDue = false
    return this.#counted(count, `${count} events`, () => handleTaken)
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
          this.#noteFailure(count, what, cause),
          Effect.sync(() => this.#areHandled(count))
        )
    })
  }

  #areHandled(count: number): void {
    this.#handled += count
    this.#pending -= count
    if (this.#pending === 0) this.#idle.openUnsafe()
  }

  #noteFailure(count: number, what: string, cause: Cause.Cause<unknown>): Effect.Effect<void> {
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
  Effect.gen(function* () {
    const worker = new Worker(options)
    const fibers: Array<Fiber.Fiber<void>> = []
    for (const loop of worker.loops) {
      const fiber = yield* Effect.forever(loop).pipe(
        Effect.ignoreCause,
        Effect.provideService(CurrentSubscriber, worker),
        // The span in which the layer was made has nothing to do with what is handled.
        Effect.updateContext((context: Context.Context<never>) => Context.omit(Tracer.ParentSpan)(context)),
        Effect.forkDetach({ startImmediately: true }) // ended by `close`, after it was drained
      )
      fibers.push(fiber)
    }
    return { subscriber: worker, close: worker.close(fibers) }
  })
