/**
 * Handlers of events, as layers that are provided *to* an environment: they subscribe before its first event and are
 * drained after its last (V2).
 *
 * Each handler has a queue of its own. Publishing is a synchronous, constant-time offer to every queue, so a slow or
 * failing handler neither delays nor breaks a sandbox (L24); what does not fit into a bounded queue is dropped,
 * counted, and told to the log once. A handler that keeps little of an event, such as a count, may take that at once
 * instead of having the event kept for it, and handle what it has taken later.
 *
 * ```ts
 * import { Console, Layer } from "effect"
 * import { EventHandler } from "@effect-sandbox/core"
 *
 * const Printer = EventHandler.layer({
 *   name: "printer",
 *   handle: (event) => Console.log(event._tag)
 * })
 * // Lab.layer.pipe(Layer.provideMerge(Printer), Layer.provide(driver))
 * ```
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import type { EnvironmentControl, HandlerStats } from "./EnvironmentControl.ts"
import type { SandboxEvent } from "./SandboxEvent.ts"

export type { HandlerStats }

interface Subscriber {
  readonly offer: (event: SandboxEvent) => void
  readonly stats: () => HandlerStats
  readonly idle: () => boolean
  readonly awaitIdle: Effect.Effect<void>
}

/**
 * Where an environment publishes its events. Handler layers bring it along; an environment without handlers makes its
 * own.
 */
export class EventHub extends Context.Service<
  EventHub,
  {
    /** Whether anyone listens: without listeners events need not even be made. */
    readonly isObserved: () => boolean
    readonly publish: (event: SandboxEvent) => void
    /** Subscribes now, and until the scope closes. */
    readonly subscribe: (options: Options) => Effect.Effect<void, never, Scope.Scope>
    /** The events from now on; a consumer that falls behind by more than `capacity` (default 65,536) misses some. */
    readonly events: (options?: { readonly capacity?: number | undefined }) => Stream.Stream<SandboxEvent>
    /** Waits until every handler has handled everything published so far; a handler that calls it, for the others. */
    readonly drain: Effect.Effect<void>
    /** What each handler has done, in the order of subscription. */
    readonly handlers: () => ReadonlyArray<HandlerStats>
    /** Makes an environment known, until the scope closes; environments do that by themselves. */
    readonly register: (environment: EnvironmentControl) => Effect.Effect<void, never, Scope.Scope>
    /** The environments that publish here and have not been closed, in the order of their start. */
    readonly environments: () => ReadonlyArray<EnvironmentControl>
  }
>()("@effect-sandbox/core/EventHandler/EventHub") {
  /** One hub for all handlers and environments of a composition. */
  static readonly layer: Layer.Layer<EventHub> = Layer.effect(
    EventHub,
    Effect.suspend(() => makeHub)
  )
}

/** A handler of single events, of everything that waits at once, or of what it took of events. */
export type Options = Settings &
  (
    | {
        /** Called with one event after the other; what it fails or dies with is logged and counted. */
        readonly handle: (event: SandboxEvent) => Effect.Effect<unknown, unknown>
      }
    | {
        /** Called with all events that wait, in their order, for handlers to which a round costs more than an event. */
        readonly handleAll: (events: ReadonlyArray<SandboxEvent>) => Effect.Effect<unknown, unknown>
      }
    | {
        /**
         * Called while an event is published, for handlers that keep little of it, so that a busy program need not keep
         * all of it. Whoever publishes waits for that: it may cost no more than a few operations in memory, and publish
         * nothing. What it throws is logged and counted.
         */
        readonly take: (event: SandboxEvent) => void
        /** Run in the background, once for all events that were taken since. */
        readonly handleTaken: Effect.Effect<unknown, unknown>
      }
  )

export interface Settings {
  /** For messages and statistics. */
  readonly name: string
  /** How many events may wait; `"unbounded"` never drops and may fill memory. Default: 65,536. */
  readonly capacity?: number | "unbounded" | undefined
  /** How long closing waits for the events that are left. Default: 10 seconds. */
  readonly drainTimeout?: Duration.Input | undefined
}

const defaultCapacity = 65_536

/** What a handler gets of events, until there is time for it. */
interface Intake {
  readonly add: (event: SandboxEvent) => void
  /** Handles all that was added, which is so many. */
  readonly handle: (count: number) => Effect.Effect<void>
}

/** The handler that a fiber works for: what it waits for cannot wait for it (L24). */
const CurrentSubscriber = Context.Reference<Subscriber | undefined>(
  "@effect-sandbox/core/EventHandler/CurrentSubscriber",
  { defaultValue: () => undefined }
)

const makeHub = Effect.sync(() => {
  /** Never changed, but replaced: it is looked through with every event, and may be changed by what that calls. */
  let subscribers: ReadonlyArray<Subscriber> = []
  const add = (subscriber: Subscriber): void => {
    subscribers = [...subscribers, subscriber]
  }
  const remove = (subscriber: Subscriber): void => {
    subscribers = subscribers.filter((other) => other !== subscriber)
  }
  const environments = new Set<EnvironmentControl>()

  const subscribe = Effect.fnUntraced(function* (options: Options) {
    const capacity = options.capacity === "unbounded" ? Infinity : (options.capacity ?? defaultCapacity)
    // The queue only wakes the worker, once per batch: it costs more per event than metrics need to handle one.
    const wake = yield* Queue.dropping<void>(1)
    const idle = Latch.makeUnsafe(true)
    /** How many events the next batch has. */
    let waiting = 0
    let pending = 0
    let handled = 0
    let dropped = 0
    let failed = 0
    const areHandled = (count: number): void => {
      handled += count
      pending -= count
      if (pending === 0) idle.openUnsafe()
    }
    const tell = (what: string, cause: Cause.Cause<unknown>) =>
      Effect.logWarning(`Event handler ${options.name} failed on ${what}; later failures are only counted`, cause)
    const counted = (count: number, what: string, handling: () => Effect.Effect<unknown, unknown>) =>
      Effect.matchCauseEffect(Effect.suspend(handling), {
        onSuccess: () => {
          areHandled(count)
          return Effect.void
        },
        // Also when the handler interrupts itself; the end of the worker does not come this way.
        onFailure: (cause) => {
          const isFirst = failed === 0
          failed += count
          // Told before it counts as handled: whoever waits for that may close the handler in the same moment.
          return Effect.ensuring(
            isFirst ? tell(what, cause) : Effect.void,
            Effect.sync(() => areHandled(count))
          )
        }
      })
    const keep = (handleAll: (events: ReadonlyArray<SandboxEvent>) => Effect.Effect<void>): Intake => {
      let kept: Array<SandboxEvent> = []
      return {
        add: (event) => {
          kept.push(event)
        },
        handle: () => {
          const events = kept
          kept = []
          return handleAll(events)
        }
      }
    }
    const take = (from: (event: SandboxEvent) => void, handleTaken: Effect.Effect<unknown, unknown>): Intake => {
      let current: SandboxEvent
      const takeCurrent = () => from(current)
      let firstFailure: Effect.Effect<void> = Effect.void
      return {
        add: (event) => {
          current = event
          const result = Result.try(takeCurrent)
          if (Result.isSuccess(result)) return
          if (++failed === 1) firstFailure = tell(event._tag, Cause.die(result.failure))
        },
        handle: (count) => {
          const told = firstFailure
          firstFailure = Effect.void
          return Effect.andThen(
            told,
            counted(count, `${count} events`, () => handleTaken)
          )
        }
      }
    }
    const intake =
      "take" in options
        ? take(options.take, options.handleTaken)
        : "handleAll" in options
          ? keep((events) => counted(events.length, `${events.length} events`, () => options.handleAll(events)))
          : keep((events) =>
              Effect.forEach(events, (event) => counted(1, event._tag, () => options.handle(event)), { discard: true })
            )
    const subscriber: Subscriber = {
      offer: (event) => {
        if (waiting >= capacity) {
          dropped++
          return
        }
        if (++waiting === 1) Queue.offerUnsafe(wake, undefined)
        if (++pending === 1) idle.closeUnsafe()
        intake.add(event)
      },
      stats: () => ({ name: options.name, handled, dropped, failed, queued: pending }),
      idle: () => pending === 0,
      awaitIdle: idle.await
    }
    const handleWaiting = Effect.suspend(() => {
      const count = waiting
      waiting = 0
      return intake.handle(count)
    })
    const worker = yield* Queue.take(wake).pipe(
      Effect.andThen(handleWaiting),
      Effect.forever,
      Effect.ignoreCause,
      Effect.provideService(CurrentSubscriber, subscriber),
      // The span in which the layer was made has nothing to do with what is handled.
      Effect.updateContext((context: Context.Context<never>) => Context.omit(Tracer.ParentSpan)(context)),
      Effect.forkDetach({ startImmediately: true }) // ended by the finalizer below, after it was drained
    )
    yield* Effect.acquireRelease(
      Effect.sync(() => add(subscriber)),
      () =>
        Effect.gen(function* () {
          remove(subscriber)
          const drainTimeout = options.drainTimeout ?? "10 seconds"
          yield* Effect.timeoutOption(subscriber.awaitIdle, drainTimeout)
          const left = pending
          yield* Effect.timeoutOption(Fiber.interrupt(worker), drainTimeout) // it may be in an uninterruptible region
          if (dropped > 0) {
            yield* Effect.logWarning(`Event handler ${options.name} was too slow: ${dropped} events were dropped`)
          }
          if (left > 0) {
            yield* Effect.logWarning(`Event handler ${options.name} did not finish: ${left} events were not handled`)
          }
        })
    )
  })

  return EventHub.of({
    isObserved: () => subscribers.length > 0,
    publish: (event) => {
      for (const subscriber of subscribers) subscriber.offer(event)
    },
    subscribe,
    events: (options) =>
      Stream.callback<SandboxEvent>(
        (queue) =>
          Effect.acquireRelease(
            Effect.sync(() => {
              let handled = 0
              let dropped = 0
              const subscriber: Subscriber = {
                offer: (event) => {
                  if (Queue.offerUnsafe(queue, event)) handled++
                  else dropped++
                },
                stats: () => ({ name: "stream", handled, dropped, failed: 0, queued: 0 }),
                idle: () => true,
                awaitIdle: Effect.void
              }
              add(subscriber)
              return subscriber
            }),
            (subscriber) => Effect.sync(() => remove(subscriber))
          ),
        { bufferSize: options?.capacity ?? defaultCapacity, strategy: "dropping" }
      ),
    drain: Effect.flatMap(CurrentSubscriber, (current) =>
      Effect.forEach(
        subscribers.filter((subscriber) => subscriber !== current && !subscriber.idle()),
        (subscriber) => subscriber.awaitIdle,
        {
          concurrency: "unbounded",
          discard: true
        }
      )
    ),
    handlers: () => subscribers.map((subscriber) => subscriber.stats()),
    register: (environment) =>
      Effect.acquireRelease(
        Effect.sync(() => environments.add(environment)),
        () => Effect.sync(() => environments.delete(environment))
      ),
    environments: () => [...environments]
  })
})

/** A hub without a layer, for environments that were composed without handlers. */
export const make: Effect.Effect<EventHub["Service"]> = makeHub

/** A handler as a layer. Provide it to the environment (`Layer.provideMerge` or `Layer.provide`). */
export const layer = (options: Options): Layer.Layer<EventHub> => layerEffect(Effect.succeed(options))

/** A handler whose making needs services or a scope; its finalizers run after the last event was handled. */
export const layerEffect = <E, R>(
  options: Effect.Effect<Options, E, R>
): Layer.Layer<EventHub, E, Exclude<R, Scope.Scope>> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const hub = yield* EventHub
      yield* hub.subscribe(yield* options)
    })
  ).pipe(Layer.provideMerge(EventHub.layer))
