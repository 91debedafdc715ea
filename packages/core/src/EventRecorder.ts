/**
 * A handler that keeps every event, for tests: they assert on a whole life as a list of readable lines.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Environment, EventRecorder } from "@effect-sandbox/core"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"], pool: 1 }) {}
 *
 * const LabTest = Lab.layer.pipe(Layer.provideMerge(EventRecorder.layer))
 *
 * const test = Effect.gen(function*() {
 *   yield* Lab.withSession({ id: "s1" }, Effect.void)
 *   const recorder = yield* EventRecorder
 *   yield* recorder.waitFor((event) => event._tag === "SessionEnded")
 *   const lines = yield* recorder.lines // …, "app/Lab/base:0:0 Ready -> Acquired", "session s1 started", …
 *   return lines
 * })
 * ```
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { EventHub } from "./EventHandler.ts"
import * as EventLogger from "./EventLogger.ts"
import type { SandboxEvent } from "./SandboxEvent.ts"

export class EventRecorder extends Context.Service<
  EventRecorder,
  {
    /** Everything that was published so far, in order. */
    readonly events: Effect.Effect<ReadonlyArray<SandboxEvent>>
    /** The same as lines without times, see `EventLogger.title`. */
    readonly lines: Effect.Effect<ReadonlyArray<string>>
    /** Forgets what was published so far. */
    readonly clear: Effect.Effect<void>
    /** The first recorded event that the predicate accepts; waits for it when there is none yet. */
    readonly waitFor: (predicate: (event: SandboxEvent) => boolean) => Effect.Effect<SandboxEvent>
  }
>()("@effect-sandbox/core/EventRecorder") {
  /** Never drops an event, so it is not for programs that run for long. What it recorded outlives the layer. */
  static readonly layer: Layer.Layer<EventRecorder | EventHub> = Layer.effect(
    EventRecorder,
    Effect.suspend(() => make)
  ).pipe(Layer.provideMerge(EventHub.layer))
}

const name = "EventRecorder"

const make = Effect.gen(function* () {
  const hub = yield* EventHub
  const events: Array<SandboxEvent> = []
  const waiters = new Set<{
    readonly predicate: (event: SandboxEvent) => boolean
    readonly answer: Deferred.Deferred<SandboxEvent>
  }>()

  yield* hub.subscribe({
    name,
    capacity: "unbounded",
    handle: (event) =>
      Effect.sync(() => {
        events.push(event)
        for (const { answer, predicate } of waiters) {
          const verdict = Result.try(() => predicate(event))
          if (Result.isFailure(verdict)) Deferred.doneUnsafe(answer, Exit.die(verdict.failure))
          else if (verdict.success) Deferred.doneUnsafe(answer, Exit.succeed(event))
        }
      })
  })

  // Recording never waits for anything, so that what was published is recorded after a few turns.
  const settled = Effect.whileLoop({
    while: () => hub.handlers().some((handler) => handler.name === name && handler.queued > 0),
    body: () => Effect.yieldNow,
    step: () => {}
  })
  const snapshot = Effect.andThen(
    settled,
    Effect.sync((): ReadonlyArray<SandboxEvent> => [...events])
  )

  return EventRecorder.of({
    events: snapshot,
    lines: Effect.map(snapshot, (recorded) => recorded.map(EventLogger.title)),
    clear: Effect.andThen(
      settled,
      Effect.sync(() => {
        events.length = 0
      })
    ),
    waitFor: (predicate) =>
      Effect.suspend(() => {
        const past = events.find(predicate)
        if (past !== undefined) return Effect.succeed(past)
        const waiter = { predicate, answer: Deferred.makeUnsafe<SandboxEvent>() }
        waiters.add(waiter)
        return Effect.ensuring(
          Deferred.await(waiter.answer),
          Effect.sync(() => waiters.delete(waiter))
        )
      })
  })
})
