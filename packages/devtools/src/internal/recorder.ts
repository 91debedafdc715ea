/**
 * What both kinds of journals share: events from the hub go into a store, slice by slice, are tried again when the
 * store fails, and are counted.
 *
 * A failure never reaches the hub, which would take the events for handled. They wait in the handler's queue instead,
 * which is bounded, so that neither a sandbox nor memory suffers; what does not fit is dropped and counted there.
 */
import { EventHub } from "@effect-sandbox/core/EventHandler"
import * as OptionCheck from "@effect-sandbox/core/Options"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as PubSub from "effect/PubSub"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { JournalError } from "../JournalError.ts"
import type { JournalWriter } from "../JournalWriter.ts"

/** When what is written is made to survive a loss of power. */
export type Sync = "always" | "never" | Duration.Input

/** Where events are stored, in whatever form. Its operations are not run at the same time. */
export interface Store<Events> {
  /** An effect that appends these events. When it failed and is run again, it goes on where it was: nothing twice. */
  readonly append: (events: Events) => Effect.Effect<void, JournalError>
  /** Makes what was appended reach the disk; whether all of it did. */
  readonly sync: Effect.Effect<boolean, JournalError>
}

/** Stores so many events; tries until it works. */
export type Write<Events> = (count: number, events: Events) => Effect.Effect<void>

/** How events are taken from the hub and written. */
export type Handling =
  | { readonly handleAll: (events: ReadonlyArray<SandboxEvent>) => Effect.Effect<void> }
  | { readonly takeAll: (events: ReadonlyArray<SandboxEvent>) => void; readonly handleTaken: Effect.Effect<void> }

type Operation = "write" | "sync"

export interface Settings<Events> {
  /** For messages and statistics. */
  readonly name: string
  readonly options: Options
  readonly sync: Sync
  readonly handling: (write: Write<Events>) => Handling
}

/** The options that both kinds have, and how they are checked. */
export interface Options {
  readonly file: string
  readonly capacity?: number | undefined
  readonly drainTimeout?: Duration.Input | undefined
  readonly retryInterval?: Duration.Input | undefined
}

export const shape = {
  file: Schema.NonEmptyString,
  sync: Schema.optional(Schema.Union([Schema.Literals(["always", "never"]), OptionCheck.DurationInput("positive")])),
  capacity: Schema.optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))),
  drainTimeout: Schema.optional(OptionCheck.DurationInput("zero")),
  retryInterval: Schema.optional(OptionCheck.DurationInput("positive"))
}

/** Records until the scope closes; then what is left is stored and synced, with a limit. */
export const record = Effect.fnUntraced(function* <Events>(store: Store<Events>, settings: Settings<Events>) {
  const { name } = settings
  const { capacity, drainTimeout = "10 seconds", file, retryInterval = "1 second" } = settings.options
  const hub = yield* EventHub
  const lock = yield* Semaphore.make(1)
  let written = 0
  let acknowledged = 0
  let failures = 0
  let trouble: { readonly from: Operation; readonly error: JournalError } | undefined

  const failed = (from: Operation, error: JournalError) => {
    const isFirst = trouble === undefined
    failures++
    trouble = { from, error }
    return isFirst
      ? Effect.logWarning(`${name} goes on trying, and counts further failures only: ${error.message}`)
      : Effect.void
  }
  const works = (operation: Operation) => {
    // That syncing works says nothing about writing, and the other way round.
    if (trouble?.from !== operation) return Effect.void
    trouble = undefined
    return Effect.logInfo(`${name} works again, after ${failures} failures in all`)
  }
  /** Tries until it works. The lock is free in between. */
  const insistently = Effect.fnUntraced(function* <A>(operation: Operation, effect: Effect.Effect<A, JournalError>) {
    while (true) {
      const result = yield* Effect.result(lock.withPermit(effect))
      if (Result.isSuccess(result)) {
        yield* works(operation)
        return result.success
      }
      yield* failed(operation, result.failure)
      yield* Effect.sleep(retryInterval)
    }
  })

  /** Who listens wants the latest number. */
  const news = yield* PubSub.sliding<number>({ capacity: 1, replay: 1 })
  const acknowledge = (count: number) => {
    acknowledged = count
    return PubSub.publish(news, count)
  }
  yield* acknowledge(0)

  /** How far one got is known only while the lock is held. */
  const sync = Effect.suspend(() => {
    const upTo = written
    return Effect.tap(store.sync, (isComplete) => (isComplete ? acknowledge(upTo) : Effect.void))
  })
  const acknowledgesWritten = settings.sync === "never"
  const handling = settings.handling(
    Effect.fnUntraced(function* (count, events) {
      yield* insistently("write", store.append(events))
      written += count
      if (acknowledgesWritten) yield* acknowledge(written)
    })
  )
  const afterwards = settings.sync === "always" ? insistently("sync", sync) : Effect.void

  const syncRest = Effect.suspend(() => (acknowledged < written ? lock.withPermit(sync) : Effect.void))
  // A disk may hold a sync up for ever, and closing must not wait for that: hence fibers of their own, which are not
  // waited for beyond the limit.
  yield* Effect.addFinalizer(() =>
    Effect.forkDetach(syncRest).pipe(
      Effect.flatMap(Fiber.join),
      Effect.timeoutOrElse({
        duration: drainTimeout,
        orElse: () => Effect.logWarning(`${name} was closed before all of it had reached the disk`)
      }),
      Effect.catch((error) =>
        Effect.logWarning(`${name} was closed before all of it had reached the disk: ${error.message}`)
      )
    )
  )
  if (settings.sync !== "always" && settings.sync !== "never") {
    const syncing = yield* syncRest.pipe(
      Effect.matchEffect({ onFailure: (error) => failed("sync", error), onSuccess: () => works("sync") }),
      Effect.delay(settings.sync),
      Effect.forever,
      Effect.forkDetach // ended by the finalizer
    )
    yield* Effect.addFinalizer(() => Effect.timeoutOption(Fiber.interrupt(syncing), drainTimeout))
  }
  yield* hub.subscribe({
    name,
    capacity,
    drainTimeout,
    ...("takeAll" in handling
      ? { takeAll: handling.takeAll, handleTaken: Effect.andThen(handling.handleTaken, afterwards) }
      : { handleAll: (events) => Effect.andThen(handling.handleAll(events), afterwards) })
  })

  const own = () => hub.handlers().find((handler) => handler.name === name)
  /** The hub counts a batch when all of it is handled. */
  const waiting = () => {
    const { handled, queued } = own() ?? { handled: written, queued: 0 }
    return handled + queued - written
  }
  return {
    file,
    stats: Effect.sync(() => ({
      written,
      acknowledged,
      waiting: waiting(),
      dropped: own()?.dropped ?? 0,
      failures,
      trouble: trouble?.error
    })),
    acknowledged: Stream.changes(Stream.fromPubSub(news)),
    flush: Effect.andThen(
      hub.drain,
      Effect.suspend(() =>
        acknowledged < written
          ? insistently("sync", sync).pipe(
              Effect.repeat({ until: (isComplete) => isComplete, schedule: Schedule.spaced("100 millis") })
            )
          : Effect.void
      )
    )
  } satisfies JournalWriter
})
