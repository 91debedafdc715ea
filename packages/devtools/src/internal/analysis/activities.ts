/** How long activities took, by name, and which were the slowest. */
import * as EventMetrics from "@effect-sandbox/core/EventMetrics"
import type * as SandboxEvent from "@effect-sandbox/core/SandboxEvent"
import type { ActivityRow, SlowActivity } from "../../Analysis.ts"
import { Capped } from "./capped.ts"
import { Durations } from "./durations.ts"
import { optional } from "./optional.ts"
import { noOutcomes } from "./poolFold.ts"

interface Row {
  readonly name: string
  readonly environmentId: string
  readonly image?: string
  readonly featureId?: string
  readonly outcomes: ReturnType<typeof noOutcomes>
  readonly durations: Durations
}

export class Activities {
  private readonly limit: number
  private readonly table = new Capped<Row>(500, () => ({
    name: "other",
    environmentId: "other",
    outcomes: noOutcomes(),
    durations: new Durations()
  }))
  /** The slowest first; of those that took as long, the first. */
  private readonly slow: Array<SlowActivity> = []

  constructor(limit: number) {
    this.limit = limit
  }

  add(event: SandboxEvent.Of<"SandboxActivity"> | SandboxEvent.Of<"FeatureActivity">): void {
    const { durationMillis, environmentId, image, name } = event
    const featureId = event._tag === "FeatureActivity" ? event.featureId : undefined
    const row = this.table.of(`${environmentId}\u0000${image ?? ""}\u0000${featureId ?? ""}\u0000${name}`, () => ({
      name,
      environmentId,
      ...optional({ image, featureId }),
      outcomes: noOutcomes(),
      durations: new Durations()
    }))
    row.outcomes[EventMetrics.outcome(event.error)]++
    row.durations.add(durationMillis)
    if (this.slow.length >= this.limit && durationMillis <= (this.slow.at(-1)?.durationMillis ?? Infinity)) return
    const after = this.slow.findIndex((one) => one.durationMillis < durationMillis)
    this.slow.splice(after === -1 ? this.slow.length : after, 0, {
      name,
      environmentId,
      ...optional({ image, featureId, sandboxId: event.sandboxId, sessionId: event.sessionId }),
      at: event.timestamp - durationMillis,
      durationMillis,
      ...optional({ error: event.error?.tag })
    })
    if (this.slow.length > this.limit) this.slow.pop()
  }

  slowest(): ReadonlyArray<SlowActivity> {
    return [...this.slow]
  }

  report(): ReadonlyArray<ActivityRow> {
    return this.table
      .rows()
      .toSorted((a, b) => b.durations.sum - a.durations.sum)
      .flatMap(({ durations, outcomes, ...row }) => {
        const duration = durations.summary()
        return duration === undefined ? [] : [{ ...row, outcomes: { ...outcomes }, duration }]
      })
  }
}
