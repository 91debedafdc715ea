/** What the tables mean: groups of lanes, numbers over time, and the answers at a glance. */
import {
  endUnknown,
  firstNested,
  outcomes,
  spanKinds,
  statuses,
  type SpanKind,
  type TimelineData
} from "../../src/internal/timelineData.ts"

export const ok = outcomes.indexOf("ok")
export const userError = outcomes.indexOf("user_error")
export const stateError = outcomes.indexOf("state_error")
export const interrupted = outcomes.indexOf("interrupted")
export const unknown = outcomes.indexOf("unknown")

export const kindOf = (name: SpanKind): number => spanKinds.indexOf(name)
export const session = kindOf("Session")
export const sandboxStart = kindOf("SandboxStart")

export const isError = (outcome: number): boolean => outcome === userError || outcome === stateError

/** Ranges of a table that is sorted by lane. */
export interface Lane {
  readonly index: number
  readonly group: Group
  readonly label: string
  /** Its sandboxes, in the order of their start. */
  readonly sandboxes: Array<number>
  /** When each of them started. */
  starts: Float64Array
  segmentFrom: number
  segmentTo: number
  /** Rows of spans: the first is what the lane consists of, the others are nested. */
  readonly rows: Array<{ readonly from: number; to: number }>
  stateErrors: number
  userErrors: number
}

/** The lanes of an image, or of an environment itself. */
export interface Group {
  readonly pool: number
  readonly environment: string
  readonly image: string
  readonly min: number
  readonly max: number
  readonly lanes: Array<Lane>
  readonly outages: Array<number>
  readonly failures: Array<number>
}

export interface Series {
  readonly bins: number
  /** Sessions in flight, sandboxes there, and callers waiting: the average of each bin. */
  readonly inFlight: Float64Array
  readonly sandboxes: Float64Array
  readonly waiting: Float64Array
  readonly top: number
  readonly topWaiting: number
  readonly stateErrors: Uint32Array
  readonly userErrors: Uint32Array
}

export interface Distribution {
  readonly count: number
  readonly p50: number
  readonly p95: number
  readonly max: number
}

export interface Named {
  readonly name: string
  readonly kind: number
  readonly count: number
  readonly failed: number
  readonly total: number
  readonly p95: number
  readonly max: number
  readonly slowest: number
}

export interface Failure {
  readonly tag: string
  readonly outcome: number
  readonly count: number
  readonly message: string
  /** The first one. */
  readonly span: number
}

/** How the sandboxes of an image were used. */
export interface PoolUse {
  readonly pool: number
  readonly sessions: number
  readonly peak: number
  /** Sandboxes that there may be at once, if that was told. */
  readonly max: number | undefined
  /** Share of the time in which sessions had all of them. */
  readonly full: number
  /** Share of the time in which somebody waited. */
  readonly someWaited: number
  readonly waits: Distribution
}

export interface Summary {
  readonly sessions: number
  readonly byOutcome: ReadonlyArray<number>
  readonly peak: number
  /** Sandboxes that there may be at once, if that was told. */
  readonly max: number | undefined
  readonly pools: ReadonlyArray<PoolUse>
  /** Share of the time in which somebody waited. */
  readonly someWaited: number
  /** Share of the time of sandboxes that sessions had. */
  readonly utilisation: number
  readonly waits: Distribution
  readonly lengths: Distribution
  readonly starts: Distribution
  readonly sandboxes: number
  /** Starts that failed. */
  readonly failedStarts: number
  readonly outages: number
  readonly outageMillis: number
  readonly failures: number
  readonly unfinished: number
  readonly slowestSessions: ReadonlyArray<number>
  readonly longestWaits: ReadonlyArray<number>
  readonly names: ReadonlyArray<Named>
  readonly errors: ReadonlyArray<Failure>
}

export interface Model {
  readonly data: TimelineData
  readonly start: number
  readonly end: number
  readonly groups: ReadonlyArray<Group>
  readonly lanes: ReadonlyArray<Lane>
  readonly series: Series
  readonly summary: Summary
  /** Ends of spans. */
  readonly spanEnd: Float64Array
  /** The span of each session. */
  readonly sessionSpan: Int32Array
  /** Spans with errors, by time. */
  readonly errors: Int32Array
  readonly sandboxSpans: ReadonlyMap<number, ReadonlyArray<number>>
}

export function* makeModel(data: TimelineData): Generator<void, Model> {
  const { spans, strings } = data
  const start = Math.min(data.meta.start, data.meta.end)
  const end = Math.max(start + 1, data.meta.end)

  const groups: Array<Group> = []
  const groupOf = new Map<number, Group>()
  for (let pool = 0; pool < data.pools.length; pool++) {
    const group: Group = {
      pool,
      environment: strings.at(data.environments.name[data.pools.environment[pool]!]!),
      image: strings.at(data.pools.image[pool]!),
      min: data.pools.min[pool]!,
      max: data.pools.max[pool]!,
      lanes: [],
      outages: [],
      failures: []
    }
    groupOf.set(pool, group)
    groups.push(group)
  }
  const lanes: Array<Lane> = []
  for (let index = 0; index < data.lanes.length; index++) {
    const group = groupOf.get(data.lanes.pool[index]!)!
    const slot = data.lanes.slot[index]!
    const lane: Lane = {
      index,
      group,
      label: slot < 0 ? "environment" : slot >= 1_000_000_000 ? "sandbox" : `slot ${slot}`,
      sandboxes: [],
      starts: new Float64Array(0),
      segmentFrom: 0,
      segmentTo: 0,
      rows: [],
      stateErrors: 0,
      userErrors: 0
    }
    group.lanes.push(lane)
    lanes.push(lane)
  }
  for (let i = 0; i < data.outages.length; i++) groupOf.get(data.outages.pool[i]!)!.outages.push(i)
  for (let i = 0; i < data.failures.length; i++) groupOf.get(data.failures.pool[i]!)!.failures.push(i)
  for (let i = 0; i < data.sandboxes.length; i++) lanes[data.sandboxes.lane[i]!]!.sandboxes.push(i)
  for (const lane of lanes) {
    lane.sandboxes.sort((a, b) => data.sandboxes.start[a]! - data.sandboxes.start[b]!)
    lane.starts = Float64Array.from(lane.sandboxes, (sandbox) => data.sandboxes.start[sandbox]!)
  }
  yield

  for (let i = 0; i < data.segments.length; i++) {
    const lane = lanes[data.segments.lane[i]!]!
    if (lane.segmentTo === 0) lane.segmentFrom = i
    lane.segmentTo = i + 1
  }
  yield

  const spanEnd = new Float64Array(spans.length)
  const sessionSpan = new Int32Array(data.sessions.length).fill(-1)
  const errors: Array<number> = []
  const sandboxSpans = new Map<number, Array<number>>()
  for (let i = 0; i < spans.length; i++) {
    spanEnd[i] = spans.start[i]! + spans.duration[i]!
    if (spans.kind[i] === session) sessionSpan[spans.session[i]!] = i
    const lane = lanes[spans.lane[i]!]!
    const row = spans.row[i]!
    while (lane.rows.length <= row) lane.rows.push({ from: i, to: i })
    lane.rows[row]!.to = i + 1
    const outcome = spans.outcome[i]!
    if (isError(outcome)) {
      errors.push(i)
      if (outcome === stateError) lane.stateErrors++
      else lane.userErrors++
    }
    if (spans.kind[i]! < firstNested && spans.kind[i] !== session && spans.sandbox[i]! >= 0) {
      const known = sandboxSpans.get(spans.sandbox[i]!)
      if (known === undefined) sandboxSpans.set(spans.sandbox[i]!, [i])
      else known.push(i)
    }
    if ((i & 0xffff) === 0xffff) yield
  }
  const sortedErrors = Int32Array.from(errors).sort((a, b) => spanEnd[a]! - spanEnd[b]!)
  yield

  return {
    data,
    start,
    end,
    groups: groups.filter((group) => group.lanes.length > 0 || group.outages.length > 0 || group.failures.length > 0),
    lanes,
    spanEnd,
    sessionSpan,
    errors: sortedErrors,
    sandboxSpans,
    series: yield* makeSeries(data, spanEnd, sortedErrors, start, end),
    summary: yield* summarize(data, spanEnd, sessionSpan, sortedErrors, start, end)
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Over time
// ---------------------------------------------------------------------------------------------------------------------

const bins = 1600

function* makeSeries(
  data: TimelineData,
  spanEnd: Float64Array,
  errors: Int32Array,
  start: number,
  end: number
): Generator<void, Series> {
  const { failures, sandboxes, sessions, spans } = data
  const perBin = (end - start) / bins
  const binOf = (time: number) => Math.min(bins - 1, Math.max(0, Math.floor((time - start) / perBin)))

  /** The average number of things that last in each bin. */
  class Gauge {
    private readonly steps = new Float64Array(bins + 1)
    private readonly parts = new Float64Array(bins)
    add(from: number, until: number): void {
      if (until <= from) return
      const [a, b] = [(from - start) / perBin, (until - start) / perBin]
      const [first, last] = [binOf(from), binOf(until)]
      if (first === last) {
        this.parts[first]! += b - a
        return
      }
      this.parts[first]! += first + 1 - a
      this.parts[last]! += b - last
      this.steps[first + 1]! += 1
      this.steps[last]! -= 1
    }
    get values(): Float64Array {
      let level = 0
      return this.parts.map((part, bin) => part + (level += this.steps[bin]!))
    }
  }
  const inFlight = new Gauge()
  const live = new Gauge()
  const waiting = new Gauge()
  for (let i = 0; i < spans.length; i++) {
    if (spans.kind[i] !== session) continue
    inFlight.add(spans.start[i]!, spanEnd[i]!)
    const waited = sessions.waited[spans.session[i]!]!
    if (waited > 0) waiting.add(spans.start[i]! - waited, spans.start[i]!)
    if ((i & 0xffff) === 0xffff) yield
  }
  for (let i = 0; i < sandboxes.length; i++) live.add(sandboxes.start[i]!, sandboxes.end[i]!)
  for (let i = 0; i < failures.length; i++) waiting.add(failures.start[i]!, failures.start[i]! + failures.waited[i]!)
  const stateErrors = new Uint32Array(bins)
  const userErrors = new Uint32Array(bins)
  for (const span of errors) {
    const counts = spans.outcome[span] === stateError ? stateErrors : userErrors
    counts[binOf(spanEnd[span]!)]!++
  }
  for (let i = 0; i < failures.length; i++) {
    const counts = failures.outcome[i] === stateError ? stateErrors : userErrors
    if (failures.outcome[i] !== interrupted) counts[binOf(failures.start[i]! + failures.waited[i]!)]!++
  }
  const top = (values: Float64Array) => values.reduce((max, value) => Math.max(max, value), 0)
  const series = { inFlight: inFlight.values, sandboxes: live.values, waiting: waiting.values }
  const max = poolMax(data) ?? 0
  return {
    bins,
    ...series,
    stateErrors,
    userErrors,
    top: Math.max(1, max, top(series.inFlight), top(series.sandboxes)),
    topWaiting: Math.max(1, top(series.waiting))
  }
}

const poolMax = ({ pools }: TimelineData): number | undefined => {
  let max: number | undefined
  for (let i = 0; i < pools.length; i++) if (pools.max[i]! >= 0) max = (max ?? 0) + pools.max[i]!
  return max
}

// ---------------------------------------------------------------------------------------------------------------------
// At a glance
// ---------------------------------------------------------------------------------------------------------------------

function* summarize(
  data: TimelineData,
  spanEnd: Float64Array,
  sessionSpan: Int32Array,
  errors: Int32Array,
  start: number,
  end: number
): Generator<void, Summary> {
  const { failures, outages, sandboxes, segments, sessions, spans, strings } = data
  const byOutcome = outcomes.map(() => 0)
  const sessionSpans = sessionSpan.filter((span) => span >= 0)
  for (const span of sessionSpans) byOutcome[spans.outcome[span]!]!++

  const max = poolMax(data)
  const waited = (span: number) => sessions.waited[spans.session[span]!]!
  /** What sessions, and those who got no sandbox, tell of use and waiting. */
  const useOf = (own: ArrayLike<number>, failed: ReadonlyArray<number>, most: number | undefined) => {
    const flights = sweep(
      own.length,
      (i) => spans.start[own[i]!]!,
      (i) => spanEnd[own[i]!]!,
      most ?? Number.POSITIVE_INFINITY
    )
    const failure = (i: number) => failed[i - own.length]!
    const waiters = sweep(
      own.length + failed.length,
      (i) => (i < own.length ? spans.start[own[i]!]! - Math.max(0, waited(own[i]!)) : failures.start[failure(i)]!),
      (i) => (i < own.length ? spans.start[own[i]!]! : failures.start[failure(i)]! + failures.waited[failure(i)]!),
      1
    )
    return {
      sessions: own.length,
      peak: flights.peak,
      max: most,
      full: flights.timeAt / (end - start),
      someWaited: waiters.timeAt / (end - start),
      waits: distribution(Float64Array.from(own, waited).filter((value) => value >= 0))
    }
  }
  const all = useOf(
    sessionSpans,
    Array.from({ length: failures.length }, (_, i) => i),
    max
  )
  yield
  const byPool = new Map<number, { readonly spans: Array<number>; readonly failures: Array<number> }>()
  const ofPool = (pool: number) => {
    let known = byPool.get(pool)
    if (known === undefined) byPool.set(pool, (known = { spans: [], failures: [] }))
    return known
  }
  for (const span of sessionSpans) ofPool(data.lanes.pool[spans.lane[span]!]!).spans.push(span)
  for (let i = 0; i < failures.length; i++) ofPool(failures.pool[i]!).failures.push(i)
  const pools: Array<PoolUse> = []
  for (const [pool, own] of byPool) {
    const most = data.pools.max[pool]!
    pools.push({ pool, ...useOf(own.spans, own.failures, most < 0 ? undefined : most) })
    yield
  }

  let inUse = 0
  let usable = 0
  for (let i = 0; i < segments.length; i++) {
    const status = statuses[segments.status[i]!]!
    const spent = segments.duration[i]!
    usable += spent
    if (status === "InSession" || status === "Acquired" || status === "ExitingSession") inUse += spent
  }
  yield

  const names = new Map<string, Array<number>>()
  const starts: Array<number> = []
  let failedStarts = 0
  for (let i = 0; i < spans.length; i++) {
    const kind = spans.kind[i]!
    if (kind === sandboxStart) {
      starts.push(spans.duration[i]!)
      if (spans.outcome[i] !== ok) failedStarts++
    }
    if (kind < firstNested || kind >= kindOf("SandboxHousekeeping")) continue
    const key = `${kind} ${spans.name[i]!} ${spans.feature[i]!}`
    const known = names.get(key)
    if (known === undefined) names.set(key, [i])
    else known.push(i)
    if ((i & 0xffff) === 0xffff) yield
  }
  const named: Array<Named> = []
  for (const of of names.values()) {
    const durations = Float64Array.from(of, (span) => spans.duration[span]!)
    const slowest = of[durations.indexOf(durations.reduce((a, b) => Math.max(a, b), 0))]!
    named.push({
      name: strings.at(spans.name[slowest]!),
      kind: spans.kind[slowest]!,
      failed: of.reduce((sum, span) => sum + (isError(spans.outcome[span]!) ? 1 : 0), 0),
      total: durations.reduce((a, b) => a + b, 0),
      slowest,
      ...distribution(durations)
    })
  }
  yield

  const failed = new Map<string, { tag: number; outcome: number; count: number; error: number; span: number }>()
  for (const span of errors) {
    const error = spans.error[span]!
    if (error < 0) continue
    const key = `${data.errors.tag[error]!} ${spans.outcome[span]!}`
    const known = failed.get(key)
    if (known === undefined) {
      failed.set(key, { tag: data.errors.tag[error]!, outcome: spans.outcome[span]!, count: 1, error, span })
    } else known.count++
  }
  const by = (value: (span: number) => number) =>
    [...sessionSpans]
      .filter((span) => value(span) > 0)
      .sort((a, b) => value(b) - value(a))
      .slice(0, 5)
  let outageMillis = 0
  for (let i = 0; i < outages.length; i++) outageMillis += outages.duration[i]!
  let unfinished = 0
  for (let i = 0; i < spans.length; i++) if ((spans.flags[i]! & endUnknown) !== 0) unfinished++

  return {
    sessions: sessionSpans.length,
    byOutcome,
    peak: all.peak,
    max,
    pools: pools.sort((a, b) => a.pool - b.pool),
    someWaited: all.someWaited,
    utilisation: usable === 0 ? 0 : inUse / usable,
    waits: all.waits,
    lengths: distribution(Float64Array.from(sessionSpans, (span) => spans.duration[span]!)),
    starts: distribution(Float64Array.from(starts)),
    sandboxes: sandboxes.length,
    failedStarts,
    outages: outages.length,
    outageMillis,
    failures: failures.length,
    unfinished,
    slowestSessions: by((span) => spans.duration[span]!),
    longestWaits: by(waited),
    names: named.sort((a, b) => b.total - a.total).slice(0, 8),
    errors: [...failed.values()]
      .sort((a, b) => b.count - a.count)
      .slice(0, 8)
      .map(({ count, error, outcome, span, tag }) => ({
        tag: strings.at(tag),
        message: strings.at(data.errors.message[error]!),
        outcome,
        count,
        span
      }))
  }
}

const distribution = (values: Float64Array): Distribution => {
  const sorted = values.toSorted()
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
  return { count: sorted.length, p50: at(0.5), p95: at(0.95), max: sorted.at(-1) ?? 0 }
}

/** How many things last at once at most, and for how long it is at least so many. */
const sweep = (count: number, start: (i: number) => number, end: (i: number) => number, level: number) => {
  const starts = new Float64Array(count)
  const ends = new Float64Array(count)
  for (let i = 0; i < count; i++) {
    starts[i] = start(i)
    ends[i] = end(i)
  }
  starts.sort()
  ends.sort()
  let now = 0
  let peak = 0
  let timeAt = 0
  let since = 0
  for (let s = 0, e = 0; e < count;) {
    // Who leaves at the moment at which another comes does not count twice.
    if (s < count && starts[s]! < ends[e]!) {
      now++
      if (now === level) since = starts[s]!
      s++
    } else {
      // A thing without length comes and goes at once.
      if (s < count && starts[s] === ends[e] && s === e) {
        s++
        e++
        continue
      }
      if (now === level) timeAt += ends[e]! - since
      now--
      e++
    }
    if (now > peak) peak = now
  }
  return { peak, timeAt }
}

/** The sandboxes before and after one, in the same slot. */
export const generations = (model: Model, sandbox: number) => {
  const lane = model.lanes[model.data.sandboxes.lane[sandbox]!]!
  const place = lane.sandboxes.indexOf(sandbox)
  return { before: lane.sandboxes[place - 1], after: lane.sandboxes[place + 1] }
}
