/** Takes one event after the other into account. What it keeps grows with what is live, and with nothing else. */
import type * as SandboxEvent from "@effect-sandbox/core/SandboxEvent"
import * as SandboxStatus from "@effect-sandbox/core/SandboxStatus"
import type { Contradiction, EnvironmentReport, Leak, Outage, PoolSize, Report } from "../../Analysis.ts"
import { Activities } from "./activities.ts"
import { Capped, First } from "./capped.ts"
import { Durations } from "./durations.ts"
import { Failures } from "./failures.ts"
import { Features } from "./features.ts"
import { host, Life, type LiveSandbox, stayOf } from "./life.ts"
import { optional } from "./optional.ts"
import { PoolFold, type Use } from "./poolFold.ts"
import { TimeGrid } from "./timeGrid.ts"

type Event = SandboxEvent.SandboxEvent

export interface Settings {
  readonly buckets: number
  readonly slowest: number
  readonly pools: ReadonlyArray<PoolSize>
}

/** What is kept of one environment, of all its lives together. */
interface EnvironmentRow {
  readonly environmentId: string
  starts: number
  failedStarts: number
  shutDowns: number
  abandoned: number
  status: SandboxStatus.EnvironmentStatus
  readonly start: Durations
}

const environmentRow = (environmentId: string): EnvironmentRow => ({
  environmentId,
  starts: 0,
  failedStarts: 0,
  shutDowns: 0,
  abandoned: 0,
  status: "Created",
  start: new Durations()
})

/** Lives that are over and have left nothing are only kept for a while, in case that something is late. */
const keptLives = 1000

export class Fold {
  private readonly grid: TimeGrid
  private total = 0
  private errors = 0
  private readonly kinds = new Map<string, number>()
  private readonly lives = new Map<string, Life>()
  private readonly environments = new Capped<EnvironmentRow>(200, () => environmentRow("other"))
  private readonly pools: Capped<PoolFold>
  private readonly poolsByName = new Map<string, Map<string, PoolFold>>()
  private readonly failures = new Failures()
  private readonly activities: Activities
  private readonly features = new Features()
  private readonly outages = new First<Outage>(200)
  private readonly leaks = new First<Leak>(100)
  private readonly fates = { Leaked: 0, Abandoned: 0, NotTakenDown: 0 }
  private readonly contradictions = new First<Contradiction>(50)
  private unknownStarts = 0

  constructor({ buckets, pools, slowest }: Settings) {
    this.grid = new TimeGrid(buckets)
    this.pools = new Capped(300, () => new PoolFold("other", "other", this.grid))
    this.activities = new Activities(slowest)
    for (const size of pools) this.know(size)
  }

  add(event: Event): void {
    const { environmentId, timestamp: at } = event
    this.grid.cover(at)
    this.total++
    this.kinds.set(event._tag, (this.kinds.get(event._tag) ?? 0) + 1)
    if ("error" in event && event.error !== undefined) {
      this.errors++
      this.failures.add(event, event.error)
    }
    if (event._tag === "EnvironmentStarting") {
      this.begin(event)
      return
    }
    const life = this.lives.get(environmentId) ?? this.lifeOf(environmentId, false, at)
    if (at > life.lastAt) life.lastAt = at
    switch (event._tag) {
      case "EnvironmentStarted": {
        const row = this.environment(environmentId)
        if (event.error === undefined) {
          row.start.add(event.durationMillis)
          this.setStatus(life, "Online")
        } else {
          row.failedStarts++
        }
        return
      }
      case "EnvironmentDraining":
        return this.setStatus(life, "Draining")
      case "EnvironmentShuttingDown":
        return this.setStatus(life, "ShuttingDown")
      case "EnvironmentShutDown":
        this.environment(environmentId).shutDowns++
        this.setStatus(life, "Offline")
        this.settle(life, at, "ShutDown")
        return this.forgetOld()
      case "ImageOutageStarted":
        if (!life.outages.has(event.image)) {
          const pool = this.pool(environmentId, event.image)
          life.outages.set(event.image, { pool, since: at, error: event.error?.message.slice(0, 200) })
        }
        return
      case "ImageOutageEnded": {
        const known = life.outages.get(event.image)
        life.outages.delete(event.image)
        const pool = known?.pool ?? this.pool(environmentId, event.image)
        const from = known?.since ?? at - event.durationMillis
        return this.outageEnded(pool, {
          from,
          until: at,
          end: "Recovered",
          attempts: event.attempts,
          error: known?.error
        })
      }
      case "AcquireFailed":
        return this.pool(environmentId, event.image).acquireFailed(event)
      case "SandboxStarted": {
        const pool = this.pool(environmentId, event.image)
        if (event.error === undefined) pool.start.add(event.durationMillis)
        else pool.failedStarts++
        return
      }
      case "SandboxStatusChanged":
        return this.move(life, event)
      case "SandboxShutDown":
        return this.shutDown(life, event)
      case "SessionStarted":
        return this.sessionStarted(life, event)
      case "SessionEnded":
        return this.sessionEnded(life, event)
      case "SandboxActivity":
      case "FeatureActivity":
        return this.activities.add(event)
      case "FeatureSetUp":
        this.features.add(event)
        return life.features.begin(event.sandboxId ?? host(), event.featureId, at)
      case "FeatureTornDown":
        this.features.add(event)
        if (!life.features.end(event.sandboxId ?? host(), event.featureId)) {
          this.unmatched(
            life,
            at,
            event.sandboxId ?? environmentId,
            `${event.featureId} was torn down without a set-up`
          )
        }
        return
      case "FeatureSessionSetUp":
        this.features.add(event)
        return life.sessionFeatures.begin(ownerOf(event), event.featureId, at)
      case "FeatureSessionTornDown":
        this.features.add(event)
        if (!life.sessionFeatures.end(ownerOf(event), event.featureId)) {
          const what = `the session of ${event.featureId} was torn down without a set-up`
          this.unmatched(life, at, event.sandboxId ?? environmentId, what)
        }
        return
      case "ActionRequested":
      case "EnvironmentHousekeepingDone":
      case "SandboxHousekeepingDone":
      case "FeatureHousekeepingDone":
        return
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Environments
  // -------------------------------------------------------------------------------------------------------------------

  private begin({ environmentId, pools = [], timestamp }: SandboxEvent.Of<"EnvironmentStarting">): void {
    const before = this.lives.get(environmentId)
    const row = this.environment(environmentId)
    if (before !== undefined) {
      if (!before.isOver) {
        row.abandoned++
        this.settle(before, before.lastAt, "Abandoned")
      }
      for (const leak of before.left(before.isOver ? "Leaked" : "Abandoned")) this.leaked(leak)
    }
    row.starts++
    this.lifeOf(environmentId, true, timestamp)
    for (const { image, max, min } of pools) this.know({ environmentId, image, min, max })
  }

  private know({ environmentId, image, max, min }: PoolSize): void {
    this.pool(environmentId, image).size = max === undefined ? { min } : { min, max }
  }

  private lifeOf(environmentId: string, isWhole: boolean, at: number): Life {
    const life = new Life(environmentId, isWhole, at)
    this.lives.set(environmentId, life)
    this.environment(environmentId).status = life.status
    return life
  }

  private setStatus(life: Life, status: SandboxStatus.EnvironmentStatus): void {
    life.status = status
    this.environment(life.environmentId).status = status
  }

  /** Nothing more will be heard of it: what is left in it has come to an end as far as times are concerned. */
  private settle(life: Life, at: number, end: "ShutDown" | "Abandoned"): void {
    for (const sandbox of life.sandboxes.values()) sandbox.pool.gone(stayOf(sandbox), at)
    for (const { error, pool, since } of life.outages.values()) {
      this.outageEnded(pool, { from: since, until: at, end, attempts: undefined, error })
    }
    life.outages.clear()
  }

  private forgetOld(): void {
    if (this.lives.size <= keptLives) return
    for (const [id, life] of this.lives) if (life.isOver && life.isEmpty) this.lives.delete(id)
  }

  private outageEnded(
    pool: PoolFold,
    outage: Pick<Outage, "from" | "end"> & {
      readonly until: number
      readonly attempts: number | undefined
      readonly error: string | undefined
    }
  ): void {
    const { attempts, end, error, from, until } = outage
    pool.outageEnded(from, until)
    const { environmentId, image } = pool
    this.outages.add(() => ({ environmentId, image, from, until, end, ...optional({ attempts, error }) }))
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Sandboxes and sessions
  // -------------------------------------------------------------------------------------------------------------------

  private move(life: Life, event: SandboxEvent.Of<"SandboxStatusChanged">): void {
    const { from, sandboxId, timestamp: at, to } = event
    const pool = this.pool(event.environmentId, event.image)
    const known = life.sandboxes.get(sandboxId)
    if (!SandboxStatus.isLegal(from, to)) this.contradiction(at, sandboxId, `it went from ${from} to ${to}`)
    if (from === "Created") {
      pool.created++
      if (generationOf(sandboxId) > 0) pool.replacements++
    }
    if (to === "Offline") pool.ended++
    if (known === undefined) {
      // Before its first move nobody knew of it.
      const stay = {
        status: from,
        use: useOf(undefined, from),
        since: at - Math.max(0, event.spentMillis)
      }
      if (from !== "Created") this.unmatched(life, at, sandboxId, `it left ${from}, and its start is missing`)
      if (!life.isOver) pool.addStay(stay, at)
      if (to === "Offline") return
      const sandbox: LiveSandbox = {
        pool,
        status: to,
        use: useOf(from, to),
        since: at,
        startedAt: stay.since,
        sessionId: undefined
      }
      life.sandboxes.set(sandboxId, sandbox)
      if (!life.isOver) pool.enter(stayOf(sandbox), at)
      return
    }
    if (known.status !== from) {
      this.contradiction(at, sandboxId, `a move is missing: it was ${known.status}, and left ${from}`)
    }
    const before = stayOf(known)
    known.use = useOf(from, to)
    known.status = to
    known.since = Math.max(at, before.since) // a clock that was set back
    if (to === "Offline") {
      if (!life.isOver) pool.gone(before, at)
      this.gone(life, sandboxId, known)
    } else if (!life.isOver) {
      pool.change(before, stayOf(known), at)
    }
  }

  /** A sandbox has gone: what it has left never ends. */
  private gone(life: Life, sandboxId: string, { pool, sessionId }: LiveSandbox): void {
    life.sandboxes.delete(sandboxId)
    const why = "when its sandbox went offline"
    for (const what of ["feature session", "feature"] as const) {
      for (const leak of life.leftOf(what, sandboxId, "Leaked", why)) this.leaked({ ...leak, image: pool.image })
    }
    life.features.forget(sandboxId)
    life.sessionFeatures.forget(sandboxId)
    const session = sessionId === undefined ? undefined : life.sessions.get(sessionId)
    if (sessionId === undefined || session === undefined) return
    life.sessions.delete(sessionId)
    this.leaked({
      what: "session",
      fate: "Leaked",
      environmentId: life.environmentId,
      image: pool.image,
      sandboxId,
      sessionId,
      at: session.since,
      description: `session ${sessionId} had not ended ${why}`
    })
  }

  private shutDown(life: Life, event: SandboxEvent.Of<"SandboxShutDown">): void {
    const { environmentId, error, image, sandboxId, timestamp: at } = event
    const pool = this.pool(environmentId, image)
    pool.shutDown(event)
    const known = life.sandboxes.get(sandboxId)
    if (known !== undefined) {
      this.contradiction(at, sandboxId, `it was shut down, and its move from ${known.status} is missing`)
      pool.ended++
      if (!life.isOver) pool.gone(stayOf(known), at)
      this.gone(life, sandboxId, known)
    }
    // What features raise in teardown is told under this tag; anything else comes from the driver.
    if (error === undefined || error.tag === "FeatureTeardownError") return
    const description = `sandbox ${sandboxId} could not be taken down: ${error.message.slice(0, 200)}`
    this.leaked({ what: "sandbox", fate: "NotTakenDown", environmentId, image, sandboxId, at, description })
  }

  private sessionStarted(life: Life, event: SandboxEvent.Of<"SessionStarted">): void {
    const { sandboxId, sessionId, timestamp: at } = event
    const pool = this.pool(event.environmentId, event.image)
    pool.sessionStarted(event)
    if (event.error !== undefined) return
    if (life.sessions.has(sessionId)) this.contradiction(at, `session ${sessionId}`, "it started and had not ended")
    life.sessions.set(sessionId, { pool, sandboxId, since: at })
    const sandbox = life.sandboxes.get(sandboxId)
    if (sandbox === undefined) return
    if (sandbox.sessionId !== undefined) {
      const what = `session ${sessionId} started while session ${sandbox.sessionId} was running`
      this.contradiction(at, sandboxId, what)
    }
    sandbox.sessionId = sessionId
  }

  private sessionEnded(life: Life, event: SandboxEvent.Of<"SessionEnded">): void {
    const { sandboxId, sessionId, timestamp: at } = event
    this.pool(event.environmentId, event.image).sessionEnded(event)
    if (!life.sessions.delete(sessionId)) this.unmatched(life, at, `session ${sessionId}`, "it ended without a start")
    const sandbox = life.sandboxes.get(sandboxId)
    if (sandbox?.sessionId === sessionId) sandbox.sessionId = undefined
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Tables
  // -------------------------------------------------------------------------------------------------------------------

  private environment(environmentId: string): EnvironmentRow {
    return this.environments.of(environmentId, () => environmentRow(environmentId))
  }

  /** Looked up in two steps, because names need not be joined for that. */
  private pool(environmentId: string, image: string): PoolFold {
    const known = this.poolsByName.get(environmentId)?.get(image)
    if (known !== undefined) return known
    const pool = this.pools.of(`${environmentId}\u0000${image}`, () => new PoolFold(environmentId, image, this.grid))
    if (pool.environmentId !== environmentId || pool.image !== image) return pool // the shared one
    const ofEnvironment = this.poolsByName.get(environmentId) ?? new Map<string, PoolFold>()
    ofEnvironment.set(image, pool)
    this.poolsByName.set(environmentId, ofEnvironment)
    return pool
  }

  private leaked(leak: Leak): void {
    this.fates[leak.fate]++
    this.leaks.add(() => leak)
  }

  /** An end without a beginning: of what began before the first event, or else events are missing. */
  private unmatched(life: Life, at: number, subject: string, description: string): void {
    if (life.isWhole) this.contradiction(at, subject, description)
    else this.unknownStarts++
  }

  private contradiction(at: number, subject: string, description: string): void {
    this.contradictions.add(() => ({ at, subject, description }))
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The report
  // -------------------------------------------------------------------------------------------------------------------

  report(now?: number): Report {
    const { grid } = this
    if (now !== undefined && this.total > 0) grid.cover(now)
    const fates = { ...this.fates }
    const leaks = this.leaks.copy()
    const open = { environments: 0, sandboxes: 0, sessions: 0, features: 0 }
    const stays = new Map<PoolFold, Array<ReturnType<typeof stayOf>>>()
    const sessions = new Map<PoolFold, number>()
    const outagesSince = new Map<PoolFold, Array<number>>()
    const lasting: Array<Outage> = []
    for (const life of this.lives.values()) {
      if (life.isOver) {
        for (const leak of life.left("Leaked")) {
          fates.Leaked++
          leaks.add(() => leak)
        }
        continue
      }
      open.environments++
      open.sandboxes += life.sandboxes.size
      open.sessions += life.sessions.size
      open.features += life.features.size + life.sessionFeatures.size
      for (const sandbox of life.sandboxes.values()) push(stays, sandbox.pool, stayOf(sandbox))
      for (const { pool } of life.sessions.values()) sessions.set(pool, (sessions.get(pool) ?? 0) + 1)
      for (const { error, pool, since } of life.outages.values()) {
        push(outagesSince, pool, since)
        const { environmentId, image } = pool
        lasting.push({ environmentId, image, from: since, end: "Lasts", ...optional({ error }) })
      }
    }
    return {
      ...optional({ span: this.total === 0 ? undefined : { from: grid.origin, until: grid.latest } }),
      bucketMillis: grid.width,
      events: { total: this.total, errors: this.errors, kinds: Object.fromEntries(this.kinds) },
      environments: this.environments
        .rows()
        .map(({ start, ...row }): EnvironmentReport => ({ ...row, ...optional({ start: start.summary() }) })),
      images: this.pools.rows().map((pool) =>
        pool.report({
          until: grid.latest,
          stays: stays.get(pool) ?? [],
          outagesSince: outagesSince.get(pool) ?? [],
          sessions: sessions.get(pool) ?? 0
        })
      ),
      failures: this.failures.report(),
      activities: this.activities.report(),
      slowest: this.activities.slowest(),
      features: this.features.report(),
      outages: [...this.outages.kept, ...lasting].slice(0, 200),
      leaks: {
        leaked: fates.Leaked,
        abandoned: fates.Abandoned,
        notTakenDown: fates.NotTakenDown,
        list: leaks.kept
      },
      open,
      unknownStarts: this.unknownStarts,
      contradictions: { total: this.contradictions.total, list: [...this.contradictions.kept] }
    }
  }
}

const push = <K, V>(map: Map<K, Array<V>>, key: K, value: V): void => {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}

/** Whose session of a feature it is: a sandbox has one session at a time, the host many. */
const ownerOf = (event: { readonly sandboxId?: string | undefined; readonly sessionId?: string | undefined }): string =>
  event.sandboxId ?? host(event.sessionId ?? "")

/** Somebody has a sandbox from the hand-over until the end of the session; then it may be made ready for the next. */
const useOf = (from: SandboxStatus.SandboxStatus | undefined, to: SandboxStatus.SandboxStatus): Use => {
  switch (to) {
    case "Acquired":
    case "InSession":
    case "ExitingSession":
      return "inUse"
    case "SettingUp":
      return from === "Acquired" ? "inUse" : from === "ExitingSession" ? "refreshing" : "none"
    default:
      return "none"
  }
}

/** `environment/image:slot:generation` */
const generationOf = (sandboxId: string): number => Number(sandboxId.slice(sandboxId.lastIndexOf(":") + 1)) || 0
