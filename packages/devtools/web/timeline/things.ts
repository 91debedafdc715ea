/** What there is to say about a thing: its fields, and what it belongs to. */
import { endUnknown, markKinds, outcomes, spanKinds, startUnknown, statuses } from "../../src/internal/timelineData.ts"
import * as format from "./format.ts"
import { generations, type Lane, type Model, session } from "./model.ts"
import type { Selection } from "./state.ts"

export interface Fact {
  readonly label: string
  readonly value: string
  readonly link?: Selection | undefined
  readonly isLong?: boolean | undefined
}

export interface Thing {
  /** What kind of thing it is. */
  readonly kind: string
  readonly title: string
  readonly outcome: string | undefined
  readonly facts: ReadonlyArray<Fact>
}

const kindNames: { readonly [kind: string]: string } = {
  Session: "Session",
  SandboxStart: "Start of a sandbox",
  SandboxShutDown: "Shutdown of a sandbox",
  EnvironmentStart: "Start of the environment",
  EnvironmentShutDown: "Shutdown of the environment",
  SandboxActivity: "Activity",
  FeatureActivity: "Activity of a feature",
  FeatureSetUp: "Set-up of a feature",
  FeatureTornDown: "Teardown of a feature",
  FeatureSessionSetUp: "Set-up of a feature for a session",
  FeatureSessionTornDown: "Teardown of a feature after a session",
  SandboxHousekeeping: "Housekeeping of a sandbox",
  FeatureHousekeeping: "Housekeeping of a feature",
  EnvironmentHousekeeping: "Housekeeping of the environment"
}

const outcomeNames = ["ok", "user error", "state error", "interrupted", "no end was seen"]

export const kindName = (kind: number): string => kindNames[spanKinds[kind]!]!
export const outcomeName = (outcome: number): string => outcomeNames[outcome]!

/** How a span is called. */
export const spanTitle = ({ data }: Model, span: number): string => {
  const name = data.strings.at(data.spans.name[span]!)
  const feature = data.strings.at(data.spans.feature[span]!)
  switch (spanKinds[data.spans.kind[span]!]) {
    case "SandboxStart":
    case "SandboxShutDown":
      return data.strings.at(data.sandboxes.name[data.spans.sandbox[span]!]!)
    case "FeatureActivity":
    case "FeatureHousekeeping":
      return `${feature}: ${name}`
    case "EnvironmentStart":
    case "EnvironmentShutDown":
      return "environment"
    default:
      return name
  }
}

/** The time of a thing. */
export const extent = (
  { data, spanEnd, start, end, lanes }: Model,
  { index, kind }: Selection
): readonly [number, number] => {
  switch (kind) {
    case "span":
      return [data.spans.start[index]!, spanEnd[index]!]
    case "segment":
      return [data.segments.start[index]!, data.segments.start[index]! + data.segments.duration[index]!]
    case "sandbox":
      return [data.sandboxes.start[index]!, data.sandboxes.end[index]!]
    case "outage":
      return [data.outages.start[index]!, data.outages.start[index]! + data.outages.duration[index]!]
    case "failure":
      return [data.failures.start[index]!, data.failures.start[index]! + data.failures.waited[index]!]
    case "mark":
      return [data.marks.start[index]!, data.marks.start[index]!]
    case "lane": {
      const own = lanes[index]!.sandboxes
      return own.length === 0 ? [start, end] : [data.sandboxes.start[own[0]!]!, data.sandboxes.end[own.at(-1)!]!]
    }
  }
}

/** The lane of a thing, if it has one. */
export const laneOf = ({ data, groups }: Model, { index, kind }: Selection): number | undefined => {
  switch (kind) {
    case "span":
      return data.spans.lane[index]
    case "segment":
      return data.segments.lane[index]
    case "sandbox":
      return data.sandboxes.lane[index]
    case "outage":
    case "failure": {
      const pool = kind === "outage" ? data.outages.pool[index] : data.failures.pool[index]
      return groups.find((group) => group.pool === pool)?.lanes[0]?.index
    }
    case "mark":
      return undefined
    case "lane":
      return index
  }
}

export const describe = (model: Model, selection: Selection): Thing => {
  const { data } = model
  const { strings } = data
  const { index } = selection
  const [start, end] = extent(model, selection)
  const when = (flags = 0): ReadonlyArray<Fact> => [
    {
      label: "Start",
      value: `${(flags & startUnknown) !== 0 ? "before " : ""}${format.moment(data.meta.origin + start)} (+${format.duration(start - model.start)})`
    },
    {
      label: "End",
      value: `${(flags & endUnknown) !== 0 ? "no end was seen; drawn until " : ""}${format.moment(data.meta.origin + end)}`
    },
    { label: "Duration", value: format.duration(end - start) }
  ]
  const error = (row: number): ReadonlyArray<Fact> =>
    row < 0
      ? []
      : [
          { label: "Error", value: strings.at(data.errors.tag[row]!) },
          { label: "Message", value: strings.at(data.errors.message[row]!), isLong: true },
          { label: "Kind of error", value: words(outcomes[data.errors.outcome[row]!]!) }
        ]
  const pool = (row: number): ReadonlyArray<Fact> => [
    { label: "Environment", value: strings.at(data.environments.name[data.pools.environment[row]!]!) },
    ...(data.pools.image[row]! < 0 ? [] : [{ label: "Image", value: strings.at(data.pools.image[row]!) }])
  ]
  const sandboxLink = (row: number, label = "Sandbox"): ReadonlyArray<Fact> =>
    row < 0 ? [] : [{ label, value: strings.at(data.sandboxes.name[row]!), link: { kind: "sandbox", index: row } }]
  const sessionLink = (row: number): ReadonlyArray<Fact> =>
    row < 0
      ? []
      : [
          {
            label: "Session",
            value: strings.at(data.sessions.name[row]!),
            link: model.sessionSpan[row]! < 0 ? undefined : { kind: "span", index: model.sessionSpan[row]! }
          }
        ]
  const millis = (label: string, value: number): ReadonlyArray<Fact> =>
    value < 0 ? [] : [{ label, value: format.duration(value) }]

  switch (selection.kind) {
    case "span": {
      const { spans } = data
      const kind = spans.kind[index]!
      const lane = model.lanes[spans.lane[index]!]!
      const own = spans.session[index]!
      const neighbours = kind === session ? neighbouringSessions(model, lane, index) : []
      return {
        kind: kindName(kind),
        title: spanTitle(model, index),
        outcome: outcomes[spans.outcome[index]!],
        facts: [
          { label: "Outcome", value: outcomeName(spans.outcome[index]!) },
          ...error(spans.error[index]!),
          ...when(spans.flags[index]!),
          ...(kind === session
            ? [
                ...millis("Waited for a sandbox", data.sessions.waited[own]!),
                ...millis("Set-up", data.sessions.setUp[own]!),
                ...millis("Teardown", data.sessions.tearDown[own]!)
              ]
            : sessionLink(own)),
          ...(spans.feature[index]! < 0 ? [] : [{ label: "Feature", value: strings.at(spans.feature[index]!) }]),
          ...(spanKinds[kind] === "SandboxShutDown"
            ? [{ label: "Reason", value: strings.at(spans.name[index]!) }]
            : []),
          ...sandboxLink(spans.sandbox[index]!),
          ...pool(data.lanes.pool[lane.index]!),
          { label: "Lane", value: lane.label, link: { kind: "lane", index: lane.index } },
          ...neighbours
        ]
      }
    }
    case "segment": {
      const { segments } = data
      return {
        kind: "Status of a sandbox",
        title: words(statuses[segments.status[index]!]!),
        outcome: undefined,
        facts: [
          ...when(segments.flags[index]!),
          ...sandboxLink(segments.sandbox[index]!),
          ...pool(data.lanes.pool[segments.lane[index]!]!)
        ]
      }
    }
    case "sandbox": {
      const { sandboxes } = data
      const { after, before } = generations(model, index)
      const lane = model.lanes[sandboxes.lane[index]!]!
      const served = sessionsOf(model, lane, index)
      const text = (label: string, row: number): ReadonlyArray<Fact> =>
        row < 0 ? [] : [{ label, value: strings.at(row), isLong: true }]
      return {
        kind: "Sandbox",
        title: strings.at(sandboxes.name[index]!),
        outcome: undefined,
        facts: [
          ...when(sandboxes.flags[index]!),
          { label: "Generation", value: String(sandboxes.generation[index]!) },
          ...text("Isolation", sandboxes.isolation[index]!),
          ...text("Weaker because", sandboxes.fallback[index]!),
          ...text("Went because", sandboxes.reason[index]!),
          ...pool(data.lanes.pool[lane.index]!),
          { label: "Lane", value: lane.label, link: { kind: "lane", index: lane.index } },
          ...(model.sandboxSpans.get(index) ?? []).map((span): Fact => ({
            label: kindName(data.spans.kind[span]!).replace(" of a sandbox", ""),
            value: `${format.duration(data.spans.duration[span]!)}, ${outcomeName(data.spans.outcome[span]!)}`,
            link: { kind: "span", index: span }
          })),
          ...(before === undefined ? [] : sandboxLink(before, "Generation before")),
          ...(after === undefined ? [] : sandboxLink(after, "Generation after")),
          { label: "Sessions", value: format.count(served.length) },
          ...served.slice(0, 12).map((span): Fact => ({
            label: format.duration(data.spans.duration[span]!),
            value: `${spanTitle(model, span)}${data.spans.outcome[span] === 0 ? "" : ` (${outcomeName(data.spans.outcome[span]!)})`}`,
            link: { kind: "span", index: span }
          }))
        ]
      }
    }
    case "outage":
      return {
        kind: "Outage",
        title: strings.at(data.pools.image[data.outages.pool[index]!]!),
        outcome: "state_error",
        facts: [
          ...when(data.outages.flags[index]!),
          { label: "Attempts", value: format.count(data.outages.attempts[index]!) },
          ...error(data.outages.error[index]!),
          ...pool(data.outages.pool[index]!)
        ]
      }
    case "failure":
      return {
        kind: "Nobody got a sandbox",
        title: strings.at(data.pools.image[data.failures.pool[index]!]!),
        outcome: outcomes[data.failures.outcome[index]!],
        facts: [...when(), ...error(data.failures.error[index]!), ...pool(data.failures.pool[index]!)]
      }
    case "mark": {
      const text = strings.at(data.marks.text[index]!)
      return {
        kind: "Environment",
        title: words(markKinds[data.marks.kind[index]!]!),
        outcome: undefined,
        facts: [
          { label: "Time", value: format.moment(data.meta.origin + start) },
          ...(text === "" ? [] : [{ label: "What", value: text }]),
          ...(data.marks.sandbox[index]! < 0
            ? []
            : [{ label: "Sandbox", value: strings.at(data.marks.sandbox[index]!) }]),
          ...error(data.marks.error[index]!),
          { label: "Environment", value: strings.at(data.environments.name[data.marks.environment[index]!]!) }
        ]
      }
    }
    case "lane": {
      const lane = model.lanes[index]!
      return {
        kind: "Lane",
        title: laneTitle(lane),
        outcome: undefined,
        facts: [
          ...when(),
          ...pool(lane.group.pool),
          { label: "State errors", value: format.count(lane.stateErrors) },
          { label: "User errors", value: format.count(lane.userErrors) },
          { label: "Sandboxes", value: format.count(lane.sandboxes.length) },
          ...lane.sandboxes
            .slice(0, 20)
            .flatMap((sandbox) => sandboxLink(sandbox, `Generation ${data.sandboxes.generation[sandbox]!}`))
        ]
      }
    }
  }
}

const words = (name: string): string => {
  const text = format.words(name)
  return text.charAt(0).toUpperCase() + text.slice(1)
}

export const laneTitle = (lane: Lane): string =>
  lane.group.image === "" ? lane.group.environment : `${lane.group.environment} · ${lane.group.image} · ${lane.label}`

const sessionsOf = ({ data }: Model, lane: Lane, sandbox: number): ReadonlyArray<number> => {
  const row = lane.rows[0]
  const found: Array<number> = []
  if (row === undefined) return found
  for (let i = row.from; i < row.to; i++) {
    if (data.spans.kind[i] === session && data.spans.sandbox[i] === sandbox) found.push(i)
  }
  return found
}

const neighbouringSessions = ({ data }: Model, lane: Lane, span: number): ReadonlyArray<Fact> => {
  const row = lane.rows[0]!
  const next = (step: number): number | undefined => {
    for (let i = span + step; i >= row.from && i < row.to; i += step) if (data.spans.kind[i] === session) return i
    return undefined
  }
  const link = (label: string, other: number | undefined): ReadonlyArray<Fact> =>
    other === undefined
      ? []
      : [{ label, value: data.strings.at(data.spans.name[other]!), link: { kind: "span", index: other } }]
  return [...link("Session before", next(-1)), ...link("Session after", next(1))]
}
