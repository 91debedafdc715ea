/** What failed, and where. */
import * as EventMetrics from "@effect-sandbox/core/EventMetrics"
import type { ErrorInfo, SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import type { FailureRow } from "../../Analysis.ts"
import { Capped } from "./capped.ts"
import { optional } from "./optional.ts"

type Row = { -readonly [K in keyof FailureRow]: FailureRow[K] }

export class Failures {
  private readonly table = new Capped<Row>(300, () => ({
    tag: "other",
    isStateError: false,
    event: "other",
    environmentId: "other",
    count: 0,
    firstAt: Number.POSITIVE_INFINITY,
    lastAt: Number.NEGATIVE_INFINITY,
    message: ""
  }))

  add(event: SandboxEvent, error: ErrorInfo): void {
    if (EventMetrics.outcome(error) === "interrupted") return
    const { environmentId, timestamp: at } = event
    const image = "image" in event ? event.image : undefined
    const featureId = "featureId" in event ? event.featureId : undefined
    const activity = "name" in event ? event.name : undefined
    const key = [event._tag, environmentId, image, featureId, activity, error.tag, error.isStateError].join("\u0000")
    const row = this.table.of(key, () => ({
      tag: error.tag,
      isStateError: error.isStateError,
      event: event._tag,
      environmentId,
      ...optional({ image, featureId, activity }),
      count: 0,
      firstAt: at,
      lastAt: at,
      message: error.message.slice(0, 500),
      ...optional({
        sandboxId: "sandboxId" in event ? event.sandboxId : undefined,
        sessionId: "sessionId" in event ? event.sessionId : undefined
      })
    }))
    row.count++
    if (at < row.firstAt) row.firstAt = at
    if (at > row.lastAt) row.lastAt = at
  }

  report(): ReadonlyArray<FailureRow> {
    return this.table
      .rows()
      .map((row) => ({ ...row }))
      .toSorted((a, b) => b.count - a.count)
  }
}
