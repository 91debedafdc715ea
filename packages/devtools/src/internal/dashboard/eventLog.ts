/** The latest events, as many as fit into a ring, each with a number that counts all there were. */
import * as EventLogger from "@effect-sandbox/core/EventLogger"
import * as EventMetrics from "@effect-sandbox/core/EventMetrics"
import { errorOf, type SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as Effect from "effect/Effect"
import * as EventFilter from "../../EventFilter.ts"
import type * as Protocol from "./protocol.ts"

export interface Numbered {
  readonly seq: number
  readonly event: SandboxEvent
}

export const entry = ({ event, seq }: Numbered): Protocol.LogEntry => ({
  seq,
  outcome: EventMetrics.outcome(errorOf(event)),
  text: EventLogger.format(event),
  event
})

/** A filter, and a text that must be in the line of the event, in any case. */
export const matches = (filter: EventFilter.EventFilter, text: string): ((event: SandboxEvent) => boolean) => {
  const accepts = EventFilter.matches(filter)
  const wanted = text.toLowerCase()
  if (wanted === "") return accepts
  return (event) => accepts(event) && EventLogger.format(event).toLowerCase().includes(wanted)
}

/** How many events are looked at before others get the processor. */
const stride = 500

export class EventLog {
  /** The number of the latest event; the first is 1. */
  seq = 0
  private readonly ring: Array<SandboxEvent | undefined> = []
  private readonly capacity: number

  constructor(capacity: number) {
    this.capacity = capacity
  }

  add(event: SandboxEvent): void {
    this.ring[this.seq % this.capacity] = event
    this.seq++
  }

  /** The number of the oldest event that is kept. */
  get oldest(): number {
    return Math.max(1, this.seq - this.capacity + 1)
  }

  at(seq: number): SandboxEvent | undefined {
    return seq < this.oldest || seq > this.seq ? undefined : this.ring[(seq - 1) % this.capacity]
  }

  /** The latest events after `seq`, oldest first and at most `limit`, and how many more there were. */
  since(seq: number, limit: number): Protocol.LogPart {
    const from = Math.max(seq + 1, this.oldest, this.seq - limit + 1)
    const entries: Array<Protocol.LogEntry> = []
    for (let i = from; i <= this.seq; i++) {
      const event = this.at(i)
      if (event !== undefined) entries.push(entry({ seq: i, event }))
    }
    return { entries, missed: this.seq - seq - entries.length }
  }

  /** Like `since`, but errors go first when there is not room for all. */
  errorsFirst(seq: number, limit: number): Protocol.LogPart {
    const count = this.seq - seq
    if (count <= limit) return this.since(seq, limit)
    const chosen: Array<Numbered> = []
    for (let i = this.seq; i > seq && i >= this.oldest && chosen.length < limit / 2; i--) {
      const event = this.at(i)
      if (event !== undefined && errorOf(event) !== undefined) chosen.push({ seq: i, event })
    }
    const taken = new Set(chosen.map((one) => one.seq))
    for (let i = this.seq; i > seq && chosen.length < limit; i--) {
      const event = this.at(i)
      if (event !== undefined && !taken.has(i)) chosen.push({ seq: i, event })
    }
    chosen.sort((a, b) => a.seq - b.seq)
    return { entries: chosen.map(entry), missed: count - chosen.length }
  }

  /** Newest first, from before `before`; gives way to others now and then. */
  search(accepts: (event: SandboxEvent) => boolean, before: number, limit: number): Effect.Effect<Protocol.History> {
    return Effect.suspend(() => {
      const entries: Array<Protocol.LogEntry> = []
      let seq = Math.min(before - 1, this.seq)
      const scan = (): void => {
        for (let left = stride; left > 0 && seq >= this.oldest && entries.length < limit; left--, seq--) {
          const event = this.at(seq)
          if (event !== undefined && accepts(event)) entries.push(entry({ seq, event }))
        }
      }
      return Effect.map(
        Effect.whileLoop({
          while: () => seq >= this.oldest && entries.length < limit,
          body: () => Effect.andThen(Effect.sync(scan), Effect.yieldNow),
          step: () => {}
        }),
        () => ({ entries, oldest: this.oldest, ...(seq >= this.oldest ? { before: seq + 1 } : {}) })
      )
    })
  }
}
