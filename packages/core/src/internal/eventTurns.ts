import * as Effect from "effect/Effect"
import type { SandboxEvent } from "../SandboxEvent.ts"
import { Bell } from "./bell.ts"
import type { Subscriber } from "./eventSubscriber.ts"

/** More than a turn has, unless somebody publishes without ever letting others have theirs. */
const most = 8192

/**
 * Events on their way from a hub to its subscribers: those of one turn of the program are given to all of them in the
 * next. Publishing thus costs no more with many subscribers than with one, and they have work for a while when it is
 * theirs.
 */
export class EventTurns {
  /** Never changed, but replaced: it may be, by what is called with each. */
  #subscribers: ReadonlyArray<Subscriber> = []
  #events: Array<SandboxEvent> = []
  /** Whether any came since subscribers were told of a pause. */
  #isDue = false
  readonly #bell = new Bell(() => this.#isDue)

  static readonly make: Effect.Effect<EventTurns> = Effect.suspend(() => {
    const turns = new EventTurns()
    // Detached, and never ended: it waits for what only those can publish who have the hub, and goes with them.
    return Effect.as(Effect.forkDetach(Effect.forever(turns.#deliverAll), { startImmediately: true }), turns)
  })

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
    this.#isDue = true
    this.#bell.ring()
  }

  /** A step apart from whoever publishes, and turn by turn, until nothing more comes. */
  get #deliverAll(): Effect.Effect<void> {
    return this.#bell.heard.pipe(
      Effect.andThen(
        Effect.whileLoop({
          while: () => this.#events.length > 0,
          body: () => {
            this.#deliver()
            return Effect.yieldNow
          },
          step: () => {}
        })
      ),
      Effect.andThen(
        Effect.sync(() => {
          this.#isDue = this.#events.length > 0
          for (const subscriber of this.#subscribers) subscriber.pause()
        })
      )
    )
  }

  #deliver(): void {
    const events = this.#events
    if (events.length === 0) return
    this.#events = []
    for (const subscriber of this.#subscribers) subscriber.offer(events)
  }
}
