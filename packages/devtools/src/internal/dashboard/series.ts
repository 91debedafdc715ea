/** Rates and latencies by the second, of an image or of a whole environment. */
import * as EventMetrics from "@effect-sandbox/core/EventMetrics"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import { MovingHistogram } from "./histogram.ts"
import type * as Protocol from "./protocol.ts"

/** How many seconds are kept. */
export const length = 300

/** Over how many seconds latencies are taken, so that slow sessions make a line, too. */
const windowSeconds = 15

export type Gauges = Pick<Protocol.Point, "busy" | "ready" | "live" | "waiters">

export const nothing: Gauges = { busy: 0, ready: 0, live: 0, waiters: 0 }

const round = (value: number): number => Number(value.toPrecision(3))

const percentiles = (histogram: MovingHistogram): readonly [number, number] | undefined => {
  const median = histogram.quantile(0.5)
  const high = histogram.quantile(0.95)
  return median === undefined || high === undefined ? undefined : [round(median), round(high)]
}

export class Seconds {
  readonly points: Array<Protocol.Point> = []
  private ended = 0
  private failed = 0
  private readonly wait = new MovingHistogram(windowSeconds)
  private readonly setUp = new MovingHistogram(windowSeconds)
  private readonly lifetime = new MovingHistogram(windowSeconds)

  add(event: SandboxEvent): void {
    switch (event._tag) {
      case "SessionStarted":
        this.wait.add(event.waitedMillis)
        this.setUp.add(event.durationMillis)
        if (event.error !== undefined) this.count(EventMetrics.outcome(event.error))
        return
      case "SessionEnded":
        this.lifetime.add(event.lifetimeMillis)
        this.count(EventMetrics.outcome(event.error))
        return
      case "AcquireFailed":
        this.wait.add(event.waitedMillis)
        this.count(EventMetrics.outcome(event.error))
        return
      default:
        return
    }
  }

  /** Ends a second. */
  close(t: number, gauges: Gauges): Protocol.Point {
    const wait = percentiles(this.wait)
    const setUp = percentiles(this.setUp)
    const lifetime = percentiles(this.lifetime)
    const point: Protocol.Point = {
      t,
      ended: this.ended,
      failed: this.failed,
      busy: gauges.busy,
      ready: gauges.ready,
      live: gauges.live,
      waiters: gauges.waiters,
      ...(wait === undefined ? {} : { wait }),
      ...(setUp === undefined ? {} : { setUp }),
      ...(lifetime === undefined ? {} : { lifetime })
    }
    this.ended = 0
    this.failed = 0
    for (const histogram of [this.wait, this.setUp, this.lifetime]) histogram.next()
    this.points.push(point)
    if (this.points.length > length) this.points.shift()
    return point
  }

  private count(outcome: EventMetrics.Outcome): void {
    if (outcome === "ok" || outcome === "interrupted") this.ended++
    else this.failed++
  }
}
