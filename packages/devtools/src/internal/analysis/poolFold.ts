/** What the sandboxes of one image in one environment come to. */
import * as EventMetrics from "@effect-sandbox/core/EventMetrics"
import type * as SandboxEvent from "@effect-sandbox/core/SandboxEvent"
import { noCounts, type SandboxStatus } from "@effect-sandbox/core/SandboxStatus"
import type { Bucket, ImageReport } from "../../Analysis.ts"
import { Capped } from "./capped.ts"
import { Durations } from "./durations.ts"
import { optional } from "./optional.ts"
import { categoryOf } from "./reason.ts"
import type { Series, TimeGrid } from "./timeGrid.ts"
import { verdictOf } from "./verdict.ts"

/** What is summed over time. */
export const quantity = {
  live: 0,
  inSession: 1,
  settingUp: 2,
  ready: 3,
  inUse: 4,
  refreshing: 5,
  waiting: 6,
  full: 7,
  outage: 8
} as const
const quantities = Object.keys(quantity).length

/** What a sandbox is busy with: somebody has it, or it is made ready for whoever comes next. */
export type Use = "inUse" | "refreshing" | "none"

/** How long a sandbox has had a status. */
export interface Stay {
  readonly status: SandboxStatus
  readonly use: Use
  readonly since: number
}

export const noOutcomes = () => ({ ok: 0, user_error: 0, state_error: 0, interrupted: 0 })

/** What has not ended when a report is made. */
export interface Open {
  readonly until: number
  readonly stays: ReadonlyArray<Stay>
  readonly outagesSince: ReadonlyArray<number>
  readonly sessions: number
}

export class PoolFold {
  readonly environmentId: string
  readonly image: string
  size: { readonly min: number; readonly max?: number } | undefined
  created = 0
  failedStarts = 0
  replacements = 0
  ended = 0
  sessionsStarted = 0
  sessionsFailed = 0
  acquiresFailed = 0
  refused = 0
  outages = 0
  outageMillis = 0
  readonly outcomes = noOutcomes()
  readonly start = new Durations()
  readonly lifetime = new Durations()
  readonly setUp = new Durations()
  readonly sessionLifetime = new Durations()
  readonly teardown = new Durations()
  readonly wait = new Durations()
  readonly failedWait = new Durations()
  private readonly reasons = new Capped<{ readonly reason: string; count: number; readonly example: string }>(
    50,
    () => ({ reason: "other", count: 0, example: "" })
  )
  private readonly series: Series
  private readonly grid: TimeGrid
  private readonly statusMillis = noCounts()
  private live = 0
  private ready = 0
  private inUse = 0
  private refreshing = 0
  private peakLive = 0
  private peakInUse = 0
  private fullSince: number | undefined

  constructor(environmentId: string, image: string, grid: TimeGrid) {
    this.environmentId = environmentId
    this.image = image
    this.grid = grid
    this.series = grid.series(quantities)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Sandboxes
  // -------------------------------------------------------------------------------------------------------------------

  /** A sandbox has a status from now on. */
  enter({ status, use }: Stay, at: number): void {
    this.live++
    if (status === "Ready") this.ready++
    if (use === "inUse") this.inUse++
    else if (use === "refreshing") this.refreshing++
    if (this.live > this.peakLive) this.peakLive = this.live
    if (this.inUse > this.peakInUse) this.peakInUse = this.inUse
    this.lookWhetherFull(at)
  }

  /** A sandbox has had a status until now. */
  leave(stay: Stay, at: number): void {
    this.live--
    if (stay.status === "Ready") this.ready--
    if (stay.use === "inUse") this.inUse--
    else if (stay.use === "refreshing") this.refreshing--
    this.addStay(stay, at)
  }

  /** It has gone from one status to another; `enter` and `leave` in one, so that it is never missing in between. */
  change(from: Stay, to: Stay, at: number): void {
    this.leave(from, at)
    this.enter(to, at)
  }

  /** It has left its last status. */
  gone(stay: Stay, at: number): void {
    this.leave(stay, at)
    this.lookWhetherFull(at)
  }

  /** A status that it has had before anything was known of it. */
  addStay(stay: Stay, at: number): void {
    this.statusMillis[stay.status] += addTo(this.series, this.grid, stay, at)
  }

  private lookWhetherFull(at: number): void {
    const max = this.size?.max
    const busy = this.inUse + this.refreshing
    const isFull = max !== undefined && this.live >= max && this.ready === 0 && busy * 2 >= this.live
    if (isFull === (this.fullSince !== undefined)) return
    if (this.fullSince !== undefined) this.series.add(quantity.full, this.fullSince, at)
    this.fullSince = isFull ? at : undefined
  }

  shutDown({ lifetimeMillis, reason, sandboxId }: SandboxEvent.Of<"SandboxShutDown">): void {
    this.lifetime.add(lifetimeMillis)
    const category = categoryOf(reason, sandboxId)
    const row = this.reasons.of(category, () => ({ reason: category, count: 0, example: reason.slice(0, 200) }))
    row.count++
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Sessions, callers, outages
  // -------------------------------------------------------------------------------------------------------------------

  sessionStarted(event: SandboxEvent.Of<"SessionStarted">): void {
    this.wait.add(event.waitedMillis)
    this.setUp.add(event.durationMillis)
    const served = event.timestamp - event.durationMillis
    this.series.add(quantity.waiting, served - event.waitedMillis, served)
    if (event.error === undefined) {
      this.sessionsStarted++
    } else {
      this.sessionsFailed++
      this.outcomes[EventMetrics.outcome(event.error)]++
    }
  }

  sessionEnded(event: SandboxEvent.Of<"SessionEnded">): void {
    this.outcomes[EventMetrics.outcome(event.error)]++
    this.sessionLifetime.add(event.lifetimeMillis)
    this.teardown.add(event.durationMillis)
  }

  acquireFailed(event: SandboxEvent.Of<"AcquireFailed">): void {
    this.acquiresFailed++
    this.failedWait.add(event.waitedMillis)
    if (event.error?.tag === "EnvironmentOverloadError") this.refused++
    this.series.add(quantity.waiting, event.timestamp - event.waitedMillis, event.timestamp)
  }

  outageEnded(from: number, until: number): void {
    this.outages++
    this.outageMillis += Math.max(0, until - Math.max(from, this.grid.origin))
    this.series.add(quantity.outage, from, until)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The report
  // -------------------------------------------------------------------------------------------------------------------

  report(open: Open): ImageReport {
    const { grid } = this
    const { until } = open
    const series = this.series.copy()
    const statusMillis = { ...this.statusMillis }
    for (const stay of open.stays) statusMillis[stay.status] += addTo(series, grid, stay, until)
    if (this.fullSince !== undefined) series.add(quantity.full, this.fullSince, until)
    let outageMillis = this.outageMillis
    for (const since of open.outagesSince) {
      outageMillis += Math.max(0, until - Math.max(since, grid.origin))
      series.add(quantity.outage, since, until)
    }
    const buckets = bucketsOf(series, grid, until)
    const peak = { live: this.peakLive, inUse: this.peakInUse }
    const liveMillis = sum(Object.values(statusMillis))
    return {
      environmentId: this.environmentId,
      image: this.image,
      ...optional({ pool: this.size }),
      verdict: verdictOf({
        pool: this.size,
        peak,
        refused: this.refused,
        acquires: this.wait.count + this.acquiresFailed,
        waitingMillis: this.wait.sum + this.failedWait.sum,
        servedMillis: this.setUp.sum + this.sessionLifetime.sum,
        liveMillis,
        idleMillis: statusMillis.Ready,
        spanMillis: until - grid.origin,
        startMillis: this.start.summary()?.p50,
        buckets
      }),
      ...optional({ utilisation: liveMillis > 0 ? statusMillis.InSession / liveMillis : undefined }),
      statusMillis,
      peak,
      sandboxes: {
        created: this.created,
        failedToStart: this.failedStarts,
        replacements: this.replacements,
        ended: this.ended,
        live: open.stays.length,
        ...optional({ start: this.start.summary(), lifetime: this.lifetime.summary() }),
        reasons: this.reasons
          .rows()
          .map((row) => ({ ...row }))
          .toSorted((a, b) => b.count - a.count)
      },
      sessions: {
        started: this.sessionsStarted,
        failedToStart: this.sessionsFailed,
        running: open.sessions,
        outcomes: { ...this.outcomes },
        ...optional({
          setUp: this.setUp.summary(),
          lifetime: this.sessionLifetime.summary(),
          teardown: this.teardown.summary()
        })
      },
      acquires: {
        served: this.wait.count,
        failed: this.acquiresFailed,
        ...optional({ wait: this.wait.summary(), failedWait: this.failedWait.summary() })
      },
      outages: { count: this.outages + open.outagesSince.length, millis: outageMillis },
      series: buckets.map(({ bucket }) => bucket)
    }
  }
}

/** Adds the time of a stay; gives how long it was. */
const addTo = (series: Series, grid: TimeGrid, { since, status, use }: Stay, until: number): number => {
  const from = Math.max(since, grid.origin)
  if (!(until > from)) return 0
  series.add(quantity.live, from, until)
  if (use !== "none") series.add(quantity[use], from, until)
  if (status === "InSession") series.add(quantity.inSession, from, until)
  else if (status === "SettingUp") series.add(quantity.settingUp, from, until)
  else if (status === "Ready") series.add(quantity.ready, from, until)
  return until - from
}

/** A bucket of the series, and what only the verdict looks at: how much of it there is, and which part was full. */
export interface Measured {
  readonly bucket: Bucket
  readonly millis: number
  readonly fullShare: number
  readonly outageShare: number
}

const bucketsOf = (series: Series, { origin, width }: TimeGrid, until: number): ReadonlyArray<Measured> => {
  if (!(until > origin)) return []
  const first = Math.floor(origin / width)
  const last = Math.ceil(until / width)
  return Array.from({ length: last - first }, (_, offset) => {
    const index = first + offset
    const at = index * width
    const millis = Math.min(until, at + width) - Math.max(origin, at)
    const sums = series.at(index)
    const average = (which: number): number => (sums?.[which] ?? 0) / millis
    const live = average(quantity.live)
    const inSession = average(quantity.inSession)
    return {
      bucket: {
        at,
        live,
        inSession,
        settingUp: average(quantity.settingUp),
        ready: average(quantity.ready),
        inUse: average(quantity.inUse),
        refreshing: average(quantity.refreshing),
        waiting: average(quantity.waiting),
        ...optional({ utilisation: live > 0 ? inSession / live : undefined })
      },
      millis,
      fullShare: average(quantity.full),
      outageShare: Math.min(1, average(quantity.outage))
    }
  })
}

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((total, one) => total + one, 0)
