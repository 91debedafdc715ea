/** What is shown of the model: the bars that the filters leave, and where lanes lie. */
import { outcomes, spanKinds } from "../../src/internal/timelineData.ts"
import { type Group, isError, type Lane, type Model, stateError, userError } from "./model.ts"
import { type Density, type Filters, kindGroupOf, noFilters } from "./state.ts"
import { classIndex } from "./theme.ts"
import { type Bars, makeBars, type Range } from "./tracks.ts"

export interface SceneLane {
  readonly lane: Lane
  readonly segments: Range
  /** The first is what the lane consists of, the others are nested. */
  readonly rows: ReadonlyArray<Range>
  /** Errors of the lane in `Scene.errors`. */
  readonly errors: Range
}

export interface Scene {
  readonly model: Model
  readonly segments: Bars
  readonly spans: Bars
  /** Spans with errors lane by lane, each at its end. */
  readonly errors: { readonly ids: Int32Array; readonly time: Float64Array; readonly isState: Uint8Array }
  readonly groups: ReadonlyArray<{ readonly group: Group; readonly lanes: ReadonlyArray<SceneLane> }>
  readonly lanes: ReadonlyArray<SceneLane>
}

/** Sums of time by what a status means for use. */
export const statusSums = { inUse: 0, settingUp: 1, ready: 2, down: 3 }
const sumOfStatus = [1, 1, 2, 0, 0, 0, 3, 3]

const classOfKind = spanKinds.map((kind) => {
  switch (kind) {
    case "Session":
      return classIndex("session")
    case "SandboxStart":
      return classIndex("start")
    case "SandboxShutDown":
      return classIndex("shutdown")
    case "EnvironmentStart":
    case "EnvironmentShutDown":
      return classIndex("environment")
    case "SandboxActivity":
      return classIndex("activity")
    case "FeatureActivity":
      return classIndex("featureActivity")
    case "FeatureSetUp":
    case "FeatureSessionSetUp":
      return classIndex("setUp")
    case "FeatureTornDown":
    case "FeatureSessionTornDown":
      return classIndex("tearDown")
    default:
      return classIndex("housekeeping")
  }
})

const classOfOutcome = outcomes.map((outcome) => {
  switch (outcome) {
    case "ok":
      return -1
    case "user_error":
      return classIndex("userError")
    case "state_error":
      return classIndex("stateError")
    case "interrupted":
      return classIndex("interrupted")
    case "unknown":
      return classIndex("unknown")
  }
})

export const classOfSpan = (model: Model, span: number): number => {
  const special = classOfOutcome[model.data.spans.outcome[span]!]!
  return special >= 0 ? special : classOfKind[model.data.spans.kind[span]!]!
}

/** Whether a span passes the filters for kinds and outcomes. */
const spanFilter = (model: Model, { hiddenKinds, hiddenOutcomes }: Filters) => {
  const { spans } = model.data
  const kinds = spanKinds.map((_, kind) => !hiddenKinds.includes(kindGroupOf[kind]!))
  const passing = outcomes.map((outcome) => !hiddenOutcomes.includes(outcome))
  return (span: number): boolean => kinds[spans.kind[span]!]! && passing[spans.outcome[span]!]!
}

/** The bars of statuses, which no filter changes. */
export const makeSegments = (model: Model): Bars => {
  const { segments } = model.data
  return makeBars({
    count: segments.length,
    id: (i) => i,
    start: (id) => segments.start[id]!,
    duration: (id) => segments.duration[id]!,
    classOf: (id) => segments.status[id]!,
    sumOf: (id) => sumOfStatus[segments.status[id]!]!,
    sumCount: 4,
    isStateError: () => false,
    isUserError: () => false,
    isFirst: (i) => i === 0 || segments.lane[i] !== segments.lane[i - 1]
  })
}

export const makeScene = (model: Model, segments: Bars, filters: Filters): Scene => {
  const { spans } = model.data
  const passes = spanFilter(model, filters)
  const all = filters.hiddenKinds.length === 0 && filters.hiddenOutcomes.length === 0
  const kept = new Int32Array(spans.length)
  let count = 0
  /** Where the kept ones of each lane's rows lie. */
  const ranges: Array<ReadonlyArray<Range>> = []
  const errors: Array<number> = []
  const errorRanges: Array<Range> = []
  for (const lane of model.lanes) {
    const rows: Array<Range> = []
    const firstError = errors.length
    for (const row of lane.rows) {
      const from = count
      for (let i = row.from; i < row.to; i++) {
        if (!all && !passes(i)) continue
        kept[count++] = i
        if (isError(spans.outcome[i]!)) errors.push(i)
      }
      rows.push({ from, to: count })
    }
    // A row that the filters have emptied takes no place.
    ranges.push(all ? rows : rows.filter((row, index) => index === 0 || row.to > row.from))
    const sorted = errors.slice(firstError).sort((a, b) => model.spanEnd[a]! - model.spanEnd[b]!)
    for (let i = 0; i < sorted.length; i++) errors[firstError + i] = sorted[i]!
    errorRanges.push({ from: firstError, to: errors.length })
  }
  const starts = new Set(ranges.flatMap((rows) => rows.map((row) => row.from)))
  const bars = makeBars({
    count,
    id: (i) => kept[i]!,
    start: (id) => spans.start[id]!,
    duration: (id) => spans.duration[id]!,
    classOf: (id) => classOfSpan(model, id),
    sumOf: () => 0,
    sumCount: 1,
    isStateError: (id) => spans.outcome[id] === stateError,
    isUserError: (id) => spans.outcome[id] === userError,
    isFirst: (i) => starts.has(i)
  })

  const isShown = ({ environment, image }: Group): boolean =>
    (filters.environment === "" || filters.environment === environment) &&
    (filters.image === "" || filters.image === image)
  const groups = model.groups.filter(isShown).flatMap((group) => {
    const lanes = group.lanes.flatMap((lane): ReadonlyArray<SceneLane> => {
      const rows = ranges[lane.index]!
      const own = errorRanges[lane.index]!
      if (filters.onlyErrors && own.to === own.from) return []
      if (!all && rows.every((row) => row.to === row.from)) return []
      return [{ lane, rows, segments: { from: lane.segmentFrom, to: lane.segmentTo }, errors: own }]
    })
    return lanes.length > 0 || (filters === noFilters && group.outages.length > 0) ? [{ group, lanes }] : []
  })
  return {
    model,
    segments,
    spans: bars,
    errors: {
      ids: Int32Array.from(errors),
      time: Float64Array.from(errors, (span) => model.spanEnd[span]!),
      isState: Uint8Array.from(errors, (span) => (spans.outcome[span] === stateError ? 1 : 0))
    },
    groups,
    lanes: groups.flatMap(({ lanes }) => lanes)
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Where things lie
// ---------------------------------------------------------------------------------------------------------------------

/** In CSS pixels from the top of the first group. */
export interface Item {
  readonly y: number
  readonly height: number
  readonly group: Group
  /** None for the head of a group. */
  readonly scene: SceneLane | undefined
}

export interface Layout {
  readonly items: ReadonlyArray<Item>
  readonly height: number
  readonly isCompact: boolean
}

export const sizes = {
  head: 26,
  pad: 4,
  strip: 6,
  main: 17,
  nested: 13,
  compact: 14,
  compactStrip: 11
}

export const makeLayout = ({ groups, lanes }: Scene, density: Density): Layout => {
  const isCompact = density === "compact" || (density === "auto" && lanes.length > 48)
  const items: Array<Item> = []
  let y = 0
  for (const { group, lanes: own } of groups) {
    items.push({ y, height: sizes.head, group, scene: undefined })
    y += sizes.head
    for (const scene of own) {
      const height = isCompact
        ? sizes.compact
        : sizes.pad * 2 + sizes.strip + sizes.main + Math.max(0, scene.rows.length - 1) * sizes.nested
      items.push({ y, height, group, scene })
      y += height
    }
  }
  return { items, height: y + 12, isCompact }
}

/** The item at a height. */
export const itemAt = ({ items }: Layout, y: number): Item | undefined => {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (items[middle]!.y + items[middle]!.height <= y) low = middle + 1
    else high = middle
  }
  const item = items[low]
  return item !== undefined && y >= item.y ? item : undefined
}
