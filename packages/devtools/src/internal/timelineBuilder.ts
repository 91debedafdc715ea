/** Makes the tables of a timeline from events, one after the other; what it keeps is numbers, and each text once. */
import { outcome } from "@effect-sandbox/core/EventMetrics"
import type { ErrorInfo, Of, SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as Analysis from "../Analysis.ts"
import * as Data from "./timelineData.ts"

/** Longer messages are cut: a timeline is for looking, and the journal has the rest. */
export const maxText = 2_000

type SpanKind = Data.SpanKind

interface SandboxState {
  readonly index: number
  readonly environment: EnvironmentState
  readonly lane: number
  /** The status that it went to last, and when. */
  status: string | undefined
  since: number
  firstSeen: number
  hasEnded: boolean
}

interface SessionState {
  readonly index: number
  readonly lane: number
  readonly sandbox: number
  start: number | undefined
  firstSeen: number
  lastSeen: number
  hasEnded: boolean
}

/** What is known of one life of an environment; the same name may live again in a later run. */
interface EnvironmentState {
  readonly index: number
  readonly name: string
  readonly sandboxes: Map<string, SandboxState>
  readonly sessions: Map<string, SessionState>
  /** Outages that last, by image. */
  readonly outages: Map<string, number>
  lastSeen: number
}

export class TimelineBuilder {
  private readonly strings = new Map<string, number>()
  private readonly environments = new Data.TableBuilder("environments")
  private readonly pools = new Data.TableBuilder("pools")
  private readonly lanes = new Data.TableBuilder("lanes")
  private readonly errors = new Data.TableBuilder("errors")
  private readonly sandboxes = new Data.TableBuilder("sandboxes")
  private readonly segments = new Data.TableBuilder("segments")
  private readonly sessions = new Data.TableBuilder("sessions")
  private readonly spans = new Data.TableBuilder("spans")
  private readonly outages = new Data.TableBuilder("outages")
  private readonly failures = new Data.TableBuilder("failures")
  private readonly marks = new Data.TableBuilder("marks")

  private readonly live = new Map<string, EnvironmentState>()
  private readonly environmentNames = new Map<string, number>()
  private readonly poolKeys = new Map<string, number>()
  private readonly laneKeys = new Map<string, number>()
  private readonly errorKeys = new Map<string, number>()
  /** Lanes of sandboxes whose ids say no slot. */
  private oddLanes = 0
  /** What reports say of the pools, the page says, too. */
  private readonly analysis = Analysis.make({ slowest: 0 })
  private events = 0
  private origin: number | undefined
  private first = 0
  private last = 0

  add(event: SandboxEvent): void {
    this.events++
    this.analysis.add(event)
    // The first event may end something that began before it; times before the origin are negative.
    this.origin ??= event.timestamp
    const at = event.timestamp - this.origin
    this.last = Math.max(this.last, at)
    const environment = this.environment(event.environmentId, at, event._tag === "EnvironmentStarting")
    switch (event._tag) {
      case "EnvironmentStarting":
        for (const pool of event.pools ?? []) {
          const index = this.pool(environment, pool.image)
          this.pools.set(index, "min", pool.min)
          this.pools.set(index, "max", pool.max ?? -1)
        }
        this.mark(event, environment, at, "")
        return
      case "EnvironmentStarted":
        this.ownSpan("EnvironmentStart", environment, at, event, "start")
        return
      case "EnvironmentHousekeepingDone":
        this.ownSpan("EnvironmentHousekeeping", environment, at, event, `round ${event.counter}`)
        return
      case "EnvironmentDraining":
        this.mark(event, environment, at, `${event.sessions} sessions go on`)
        return
      case "EnvironmentShuttingDown":
        this.mark(event, environment, at, "")
        return
      case "EnvironmentShutDown":
        this.ownSpan("EnvironmentShutDown", environment, at, event, "shutdown")
        this.close(environment)
        this.live.delete(environment.name)
        return
      case "ActionRequested":
        this.mark(event, environment, at, `${event.action} by ${event.requestedBy}`)
        return
      case "ImageOutageStarted":
        this.endOutage(environment, event.image, at)
        environment.outages.set(
          event.image,
          this.outages.push({
            pool: this.pool(environment, event.image),
            start: at,
            duration: 0,
            attempts: 0,
            error: this.error(event.error),
            flags: Data.endUnknown
          })
        )
        return
      case "ImageOutageEnded":
        this.outageEnded(event, environment, at)
        return
      case "AcquireFailed":
        this.first = Math.min(this.first, at - event.waitedMillis)
        this.failures.push({
          pool: this.pool(environment, event.image),
          start: at - event.waitedMillis,
          waited: event.waitedMillis,
          error: this.error(event.error),
          outcome: outcomeOf(event.error)
        })
        return
      case "SandboxStatusChanged":
        this.statusChanged(event, environment, at)
        return
      case "SandboxStarted": {
        const sandbox = this.sandbox(environment, event, at - event.durationMillis)
        if (event.isolation !== undefined) {
          this.sandboxes.set(sandbox.index, "isolation", this.string(event.isolation))
        }
        if (event.isolationFallback !== undefined) {
          this.sandboxes.set(sandbox.index, "fallback", this.string(event.isolationFallback))
        }
        this.sandboxSpan("SandboxStart", sandbox, at, event, "start")
        return
      }
      case "SandboxShutDown": {
        const sandbox = this.sandbox(environment, event, at - event.lifetimeMillis)
        this.sandboxSpan("SandboxShutDown", sandbox, at, event, event.reason)
        this.sandboxes.set(sandbox.index, "reason", this.string(event.reason))
        this.sandboxes.set(sandbox.index, "start", at - event.lifetimeMillis)
        this.sandboxes.set(sandbox.index, "end", at)
        this.sandboxes.set(sandbox.index, "flags", 0)
        sandbox.hasEnded = true
        return
      }
      case "SessionStarted":
        this.sessionStarted(event, environment, at)
        return
      case "SessionEnded":
        this.sessionEnded(event, environment, at)
        return
      case "SandboxActivity":
        this.sandboxSpan("SandboxActivity", this.sandbox(environment, event, at), at, event, event.name)
        return
      case "SandboxHousekeepingDone":
        this.sandboxSpan(
          "SandboxHousekeeping",
          this.sandbox(environment, event, at),
          at,
          event,
          `check ${event.counter}`
        )
        return
      case "FeatureSetUp":
      case "FeatureTornDown":
      case "FeatureSessionSetUp":
      case "FeatureSessionTornDown":
        this.featureSpan(event._tag, event, environment, at, event.featureId)
        return
      case "FeatureActivity":
        this.featureSpan("FeatureActivity", event, environment, at, event.name)
        return
      case "FeatureHousekeepingDone":
        this.featureSpan("FeatureHousekeeping", event, environment, at, `check ${event.counter}`)
        return
    }
  }

  /** The tables. What has no end yet lasts until the last event. Nothing may be added afterwards. */
  finish(title: string): Data.Tables & { readonly meta: Data.Meta; readonly strings: ReadonlyArray<string> } {
    for (const environment of this.live.values()) {
      environment.lastSeen = this.last
      this.close(environment)
    }
    this.live.clear()
    this.sortLanes()
    return {
      environments: this.environments.table(),
      pools: this.pools.table(),
      lanes: this.lanes.table(),
      errors: this.errors.table(),
      sandboxes: this.sandboxes.table(),
      segments: this.segments.table(sortedBy(this.segments, ["lane", "start"])),
      sessions: this.sessions.table(),
      spans: this.sortedSpans(),
      outages: this.outages.table(),
      failures: this.failures.table(),
      marks: this.marks.table(),
      meta: {
        title,
        events: this.events,
        origin: this.origin ?? 0,
        start: this.first,
        end: this.last,
        verdicts: this.analysis.report().images.map(({ environmentId, image, verdict }) => ({
          environment: environmentId,
          image,
          text: verdict.text
        }))
      },
      strings: [...this.strings.keys()]
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Rows
  // -------------------------------------------------------------------------------------------------------------------

  private environment(name: string, at: number, isStart: boolean): EnvironmentState {
    let environment = this.live.get(name)
    if (environment !== undefined && isStart) {
      // The run before was killed: what it left has no end.
      this.close(environment)
      environment = undefined
    }
    if (environment === undefined) {
      let index = this.environmentNames.get(name)
      if (index === undefined) {
        index = this.environments.push({ name: this.string(name), start: at, end: at })
        this.environmentNames.set(name, index)
      }
      environment = { index, name, sandboxes: new Map(), sessions: new Map(), outages: new Map(), lastSeen: at }
      this.live.set(name, environment)
    }
    environment.lastSeen = Math.max(environment.lastSeen, at)
    this.environments.set(environment.index, "end", Math.max(this.environments.get(environment.index, "end"), at))
    return environment
  }

  /** Ends what still lasts in a life of an environment: nobody will tell of it any more. */
  private close(environment: EnvironmentState): void {
    const at = environment.lastSeen
    for (const sandbox of environment.sandboxes.values()) {
      if (sandbox.status !== undefined && sandbox.status !== "Offline") {
        this.segment(sandbox, sandbox.status, sandbox.since, at, Data.endUnknown)
      }
      if (!sandbox.hasEnded) this.sandboxes.set(sandbox.index, "end", sandbox.status === "Offline" ? sandbox.since : at)
    }
    for (const session of environment.sessions.values()) {
      if (session.hasEnded) continue
      const start = session.start ?? session.firstSeen
      const flags = Data.endUnknown | (session.start === undefined ? Data.startUnknown : 0)
      this.sessionSpan(
        session,
        start,
        Math.max(start, session.start === undefined ? session.lastSeen : at),
        undefined,
        flags
      )
    }
    for (const image of [...environment.outages.keys()]) this.endOutage(environment, image, at)
    this.environments.set(environment.index, "end", at)
  }

  private pool(environment: EnvironmentState, image: string | undefined): number {
    const key = `${environment.index}\u0000${image ?? ""}`
    let index = this.poolKeys.get(key)
    if (index === undefined) {
      const name = image === undefined ? -1 : this.string(image)
      index = this.pools.push({ environment: environment.index, image: name, min: -1, max: -1 })
      this.poolKeys.set(key, index)
    }
    return index
  }

  private lane(pool: number, slot: number): number {
    const key = `${pool}\u0000${slot}`
    let index = this.laneKeys.get(key)
    if (index === undefined) {
      index = this.lanes.push({ pool, slot })
      this.laneKeys.set(key, index)
    }
    return index
  }

  private ownLane(environment: EnvironmentState): number {
    return this.lane(this.pool(environment, undefined), -1)
  }

  private sandbox(
    environment: EnvironmentState,
    { image, sandboxId }: { readonly image: string; readonly sandboxId: string },
    seen: number
  ): SandboxState {
    let sandbox = environment.sandboxes.get(sandboxId)
    if (sandbox === undefined) {
      const name = /:(\d{1,9}):(\d{1,9})$/.exec(sandboxId)
      const pool = this.pool(environment, image)
      const lane = this.lane(pool, name === null ? 1_000_000_000 + this.oddLanes++ : Number(name[1]))
      const index = this.sandboxes.push({
        name: this.string(sandboxId),
        lane,
        generation: name === null ? 0 : Number(name[2]),
        start: seen,
        end: seen,
        flags: Data.startUnknown | Data.endUnknown,
        isolation: -1,
        fallback: -1,
        reason: -1
      })
      sandbox = {
        index,
        environment,
        lane,
        status: undefined,
        since: seen,
        firstSeen: seen,
        hasEnded: false
      }
      environment.sandboxes.set(sandboxId, sandbox)
    }
    if (seen < sandbox.firstSeen) {
      sandbox.firstSeen = seen
      this.sandboxes.set(sandbox.index, "start", seen)
    }
    this.first = Math.min(this.first, seen)
    return sandbox
  }

  private session(environment: EnvironmentState, sandbox: SandboxState, id: string, at: number, isStart: boolean) {
    let session = environment.sessions.get(id)
    // The id of a session that is over may be given to another.
    if (session !== undefined && isStart && (session.hasEnded || session.start !== undefined)) session = undefined
    if (session === undefined) {
      session = {
        index: this.sessions.push({
          name: this.string(id),
          sandbox: sandbox.index,
          waited: -1,
          setUp: -1,
          tearDown: -1
        }),
        lane: sandbox.lane,
        sandbox: sandbox.index,
        start: undefined,
        firstSeen: at,
        lastSeen: at,
        hasEnded: false
      }
      environment.sessions.set(id, session)
    }
    session.firstSeen = Math.min(session.firstSeen, at)
    session.lastSeen = Math.max(session.lastSeen, at)
    return session
  }

  private statusChanged(event: Of<"SandboxStatusChanged">, environment: EnvironmentState, at: number): void {
    const since = at - event.spentMillis
    // The same id again is a sandbox of a run whose start was not told.
    if (event.from === "Created" && environment.sandboxes.get(event.sandboxId)?.status !== undefined) {
      environment.sandboxes.delete(event.sandboxId)
    }
    const sandbox = this.sandbox(environment, event, since)
    if (event.from === "Created") {
      this.sandboxes.set(sandbox.index, "flags", this.sandboxes.get(sandbox.index, "flags") & ~Data.startUnknown)
    }
    this.segment(sandbox, event.from, since, at, 0)
    sandbox.status = event.to
    sandbox.since = at
    if (event.to === "Offline" && !sandbox.hasEnded) {
      this.sandboxes.set(sandbox.index, "end", at)
      this.sandboxes.set(sandbox.index, "flags", this.sandboxes.get(sandbox.index, "flags") & ~Data.endUnknown)
    }
    if (event.sessionId !== undefined) this.session(environment, sandbox, event.sessionId, at, false)
  }

  private segment(sandbox: SandboxState, status: string, from: number, until: number, flags: number): void {
    this.segments.push({
      lane: sandbox.lane,
      sandbox: sandbox.index,
      status: statusIndex.get(status)!,
      start: from,
      duration: until - from,
      flags
    })
  }

  private sessionStarted(event: Of<"SessionStarted">, environment: EnvironmentState, at: number): void {
    const sandbox = this.sandbox(environment, event, at)
    const session = this.session(environment, sandbox, event.sessionId, at, true)
    this.sessions.set(session.index, "waited", event.waitedMillis)
    this.sessions.set(session.index, "setUp", event.durationMillis)
    session.start = at - event.durationMillis
    this.first = Math.min(this.first, session.start - event.waitedMillis)
    if (event.error === undefined) return
    this.sessionSpan(session, session.start, at, event.error, 0)
  }

  private sessionEnded(event: Of<"SessionEnded">, environment: EnvironmentState, at: number): void {
    const sandbox = this.sandbox(environment, event, at)
    let session = this.session(environment, sandbox, event.sessionId, at, false)
    if (session.hasEnded) session = this.session(environment, sandbox, event.sessionId, at, true)
    this.sessions.set(session.index, "tearDown", event.durationMillis)
    const start = session.start ?? at - event.lifetimeMillis
    this.first = Math.min(this.first, start)
    this.sessionSpan(session, start, at, event.error, 0)
  }

  private sessionSpan(session: SessionState, start: number, end: number, error: ErrorInfo | undefined, flags: number) {
    session.hasEnded = true
    this.spans.push({
      kind: kindIndex("Session"),
      lane: session.lane,
      row: 0,
      sandbox: session.sandbox,
      session: session.index,
      name: this.sessions.get(session.index, "name"),
      feature: -1,
      start,
      duration: end - start,
      outcome: flags === 0 ? outcomeOf(error) : Data.outcomes.indexOf("unknown"),
      error: this.error(error),
      flags
    })
  }

  private sandboxSpan(
    kind: SpanKind,
    sandbox: SandboxState,
    at: number,
    event: Timed & { readonly sessionId?: string | undefined },
    name: string,
    feature = -1
  ): void {
    const start = at - event.durationMillis
    const session =
      event.sessionId === undefined
        ? -1
        : this.session(sandbox.environment, sandbox, event.sessionId, start, false).index
    this.span(kind, sandbox.lane, sandbox.index, session, at, event, name, feature)
  }

  private featureSpan(
    kind: SpanKind,
    event: Timed & {
      readonly featureId: string
      readonly sandboxId?: string | undefined
      readonly image?: string | undefined
      readonly sessionId?: string | undefined
    },
    environment: EnvironmentState,
    at: number,
    name: string
  ): void {
    const { image, sandboxId } = event
    const feature = this.string(event.featureId)
    if (sandboxId === undefined || image === undefined) {
      this.span(kind, this.ownLane(environment), -1, -1, at, event, name, feature)
      return
    }
    const sandbox = this.sandbox(environment, { image, sandboxId }, at - event.durationMillis)
    this.sandboxSpan(kind, sandbox, at, event, name, feature)
  }

  private ownSpan(kind: SpanKind, environment: EnvironmentState, at: number, event: Timed, name: string): void {
    this.span(kind, this.ownLane(environment), -1, -1, at, event, name, -1)
  }

  private span(
    kind: SpanKind,
    lane: number,
    sandbox: number,
    session: number,
    at: number,
    event: Timed,
    name: string,
    feature: number
  ): void {
    const start = at - event.durationMillis
    this.first = Math.min(this.first, start)
    this.spans.push({
      kind: kindIndex(kind),
      lane,
      row: 0,
      sandbox,
      session,
      name: this.string(name),
      feature,
      start,
      duration: event.durationMillis,
      outcome: outcomeOf(event.error),
      error: this.error(event.error),
      flags: 0
    })
  }

  private outageEnded(event: Of<"ImageOutageEnded">, environment: EnvironmentState, at: number): void {
    const start = at - event.durationMillis
    this.first = Math.min(this.first, start)
    const known = environment.outages.get(event.image)
    environment.outages.delete(event.image)
    const outage =
      known ??
      this.outages.push({
        pool: this.pool(environment, event.image),
        start,
        duration: 0,
        attempts: 0,
        error: -1,
        flags: 0
      })
    this.outages.set(outage, "duration", at - this.outages.get(outage, "start"))
    this.outages.set(outage, "attempts", event.attempts)
    this.outages.set(outage, "flags", 0)
  }

  private endOutage(environment: EnvironmentState, image: string, at: number): void {
    const outage = environment.outages.get(image)
    if (outage === undefined) return
    environment.outages.delete(image)
    this.outages.set(outage, "duration", at - this.outages.get(outage, "start"))
  }

  private mark(
    event: Of<(typeof Data.markKinds)[number]>,
    environment: EnvironmentState,
    at: number,
    text: string
  ): void {
    this.marks.push({
      kind: Data.markKinds.indexOf(event._tag),
      environment: environment.index,
      start: at,
      text: this.string(text),
      sandbox: "sandboxId" in event && event.sandboxId !== undefined ? this.string(event.sandboxId) : -1,
      error: "error" in event ? this.error(event.error) : -1
    })
  }

  private string(text: string): number {
    const kept = text.length <= maxText ? text : `${text.slice(0, maxText)}…`
    let index = this.strings.get(kept)
    if (index === undefined) {
      index = this.strings.size
      this.strings.set(kept, index)
    }
    return index
  }

  private error(error: ErrorInfo | undefined): number {
    if (error === undefined) return -1
    const row = { tag: this.string(error.tag), message: this.string(error.message), outcome: outcomeOf(error) }
    const key = `${row.tag} ${row.message} ${row.outcome}`
    let index = this.errorKeys.get(key)
    if (index === undefined) {
      index = this.errors.push(row)
      this.errorKeys.set(key, index)
    }
    return index
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Order
  // -------------------------------------------------------------------------------------------------------------------

  /** Lanes as they are shown: environments and images in the order of their first event, then by slot. */
  private sortLanes(): void {
    const order = sortedBy(this.lanes, ["pool", "slot"])
    const places = new Int32Array(this.lanes.length)
    order.forEach((lane, place) => {
      places[lane] = place
    })
    const sorted = [...order].map((lane) => ({
      pool: this.lanes.get(lane, "pool"),
      slot: this.lanes.get(lane, "slot")
    }))
    sorted.forEach(({ pool, slot }, lane) => {
      this.lanes.set(lane, "pool", pool)
      this.lanes.set(lane, "slot", slot)
    })
    const move = (
      table: Data.TableBuilder<"sandboxes"> | Data.TableBuilder<"segments"> | Data.TableBuilder<"spans">
    ) => {
      for (let i = 0; i < table.length; i++) table.set(i, "lane", places[table.get(i, "lane")]!)
    }
    move(this.sandboxes)
    move(this.segments)
    move(this.spans)
  }

  /** Gives nested bars rows in which they do not cover each other: the longest that begins first comes on top. */
  private sortedSpans(): Data.Table<"spans"> {
    const spans = this.spans.table(sortedBy(this.spans, ["lane", "start", "duration"], "duration"))
    let lane = -1
    let ends: Array<number> = []
    for (let i = 0; i < spans.length; i++) {
      if (spans.lane[i] !== lane) {
        lane = spans.lane[i]!
        ends = []
      }
      if (spans.kind[i]! < Data.firstNested) continue
      const free = ends.findIndex((end) => end <= spans.start[i]!)
      const row = Math.min(free === -1 ? ends.length : free, Data.maxRow - 1)
      ends[row] = Math.max(ends[row] ?? 0, spans.start[i]! + spans.duration[i]!)
      spans.row[i] = row + 1
    }
    const order = new Uint32Array(spans.length).map((_, index) => index)
    order.sort((a, b) => spans.lane[a]! - spans.lane[b]! || spans.row[a]! - spans.row[b]! || a - b)
    const sorted: Record<string, unknown> = { length: spans.length }
    for (const [name, column] of Object.entries(spans)) {
      if (typeof column !== "number") sorted[name] = column.map((_: number, index: number) => column[order[index]!]!)
    }
    // The same columns in another order.
    return sorted as unknown as Data.Table<"spans">
  }
}

interface Timed {
  readonly durationMillis: number
  readonly error?: ErrorInfo | undefined
}

const statusIndex: ReadonlyMap<string, number> = new Map(Data.statuses.map((status, index) => [status, index]))

const kinds: ReadonlyMap<SpanKind, number> = new Map(Data.spanKinds.map((kind, index) => [kind, index]))

const kindIndex = (kind: SpanKind): number => kinds.get(kind)!

const outcomeOf = (error: ErrorInfo | undefined): number => Data.outcomes.indexOf(outcome(error))

/** The rows in the order of some columns, one of which may count down. */
const sortedBy = <T extends Data.TableName>(
  table: Data.TableBuilder<T>,
  columns: ReadonlyArray<string>,
  down?: string
): Uint32Array => {
  // The names are those of columns of the table.
  const rows = table.table() as unknown as { readonly [column: string]: Int32Array | Float64Array }
  const keys = columns.map((name) => ({ values: rows[name]!, sign: name === down ? -1 : 1 }))
  return new Uint32Array(table.length)
    .map((_, index) => index)
    .sort((a, b) => {
      for (const { sign, values } of keys) {
        const difference = (values[a]! - values[b]!) * sign
        if (difference !== 0) return difference
      }
      return a - b
    })
}
