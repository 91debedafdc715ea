/** Lists of events from real runs: random programs on the real core and a simulated driver. */
import { EnvironmentId, SandboxId, type SandboxEvent } from "@effect-sandbox/core"
import { Lifecycle } from "@effect-sandbox/testing"
import { Effect } from "effect"

type Event = SandboxEvent.SandboxEvent
export type Events = ReadonlyArray<Event>

/** What a random program has published. */
export const eventsOf = (program: Lifecycle.Program): Effect.Effect<Events> =>
  Effect.map(Lifecycle.run(program), ({ happenings }) =>
    happenings.flatMap((one) => (one._tag === "Event" ? [one.event] : []))
  )

/** The same in an environment of another name, some time later. */
export const moved = (events: Events, id: string, laterMillis = 0): Events =>
  events.map((event) => {
    const timestamp = event.timestamp + laterMillis
    const environmentId = EnvironmentId.make(id)
    if (!("sandboxId" in event) || event.sandboxId === undefined) return { ...event, environmentId, timestamp }
    const sandboxId = SandboxId.make(id + event.sandboxId.slice(event.environmentId.length))
    // The kind of the event stays, which a spread of a union cannot tell.
    return { ...event, environmentId, sandboxId, timestamp } as Event
  })

/** All in the order of time; of the same moment, those of the first list come first. */
export const interleaved = (...lists: ReadonlyArray<Events>): Events =>
  lists.flat().toSorted((a, b) => a.timestamp - b.timestamp)

/** The clock is set back by some milliseconds now and then: the order of the events stays. */
export const withUnsteadyClock = (events: Events, offsets: ReadonlyArray<number>): Events =>
  events.map((event, index) => ({ ...event, timestamp: event.timestamp - (offsets[index % offsets.length] ?? 0) }))
