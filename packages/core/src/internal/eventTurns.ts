import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"
import type { SandboxEvent } from "../SandboxEvent.ts"
import type { Subscriber } from "./eventSubscriber.ts"

/** More than a turn has, unless somebody publishes without ever letting others have theirs. */
const most = 8192

/**
 * Events on their way from a hub to its subscribers: those of one turn of the program are given to all of them in the
 * next. Publishing thus costs no more with many subscribers than with one, and they have work for a while when it is
 * theirs.
 */
export class EventTurns {
  readonly #dispatcher: Scheduler.SchedulerDispatcher
  /** Never changed, but replaced: it may be, by what is called with each. */
  #subscribers: ReadonlyArray<Subscriber> = []
  #events: Array<SandboxEvent> = []
  #isScheduled = false

  constructor(scheduler: Scheduler.Scheduler) {
    this.#dispatcher = scheduler.makeDispatcher()
  }

  static readonly make: Effect.Effect<EventTurns> = Effect.withFiber((fiber) =>
    Effect.succeed(new EventTurns(fiber.getRef(Scheduler.Scheduler)))
  )

  /** Those that get what is published from now on; whoever asks finds everything that was published with them. */
  get subscribers(): ReadonlyArray<Subscriber> {
    this.#deliver()
    return this.#subscribers
  }

  get hasSubscribers(): boolean {
    return this.#subscribers.length > 0
  }

  add(subscriber: Subscriber): void {
    this.#subscribers = [...this.subscribers, subscriber]
  }

  remove(subscriber: Subscriber): void {
    this.#subscribers = this.subscribers.filter((other) => other !== subscriber)
  }

  publish(event: SandboxEvent): void {
    if (this.#events.push(event) >= most) this.#deliver()
    if (!this.#isScheduled) this.#schedule()
  }

  #schedule(): void {
    this.#isScheduled = true
    this.#dispatcher.scheduleTask(this.#turn, 0)
  }

  readonly #turn = (): void => {
    if (this.#events.length > 0) {
      this.#deliver()
      this.#schedule()
      return
    }
    this.#isScheduled = false
    for (const subscriber of this.#subscribers) subscriber.pause()
  }

  #deliver(): void {
    const events = this.#events
    if (events.length === 0) return
    this.#events = []
    for (const subscriber of this.#subscribers) subscriber.offer(events)
  }
}
