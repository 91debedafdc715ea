/**
 * Handlers of events, as layers that are provided *to* an environment: they subscribe before its first event and are
 * drained after its last (V2).
 *
 * Each handler has a queue of its own. Publishing is a synchronous, constant-time offer to every queue, so a slow or
 * failing handler neither delays nor breaks a sandbox (L24); what does not fit into a bounded queue is dropped,
 * counted, and told to the log once.
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
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { EnvironmentControl, HandlerStats } from "./EnvironmentControl.ts"
import * as eventSubscriber from "./internal/eventSubscriber.ts"
import { CurrentSubscriber, defaultCapacity, type Subscriber } from "./internal/eventSubscriber.ts"
import type { SandboxEvent } from "./SandboxEvent.ts"

export type { HandlerStats }

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
         * Called with all events of a turn of the program, in their order, soon after; it takes what it needs of them. For
         * handlers that need little of an event, so that not all of it is kept for as long as handling takes. What it
         * throws is logged and counted.
         */
        readonly takeAll: (events: ReadonlyArray<SandboxEvent>) => void
        /** Run once for all events that were taken since: when no more come, or thousands have. */
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

  const subscribe = (options: Options) =>
    Effect.acquireRelease(
      Effect.tap(eventSubscriber.start(options), ({ subscriber }) => Effect.sync(() => add(subscriber))),
      ({ close, subscriber }) =>
        Effect.suspend(() => {
          remove(subscriber)
          return close
        })
    ).pipe(Effect.asVoid)

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
