/** The figures of an analysis, computed from the whole list of events, as simply as can be: slow, and easy to check. */
import { EventMetrics, type SandboxEvent, type SandboxStatus } from "@effect-sandbox/core"
import type { Events } from "./runs.ts"

type Status = SandboxStatus.SandboxStatus

/** A sandbox had a status for a time. */
interface Stay {
  readonly pool: string
  readonly status: Status
  readonly isInUse: boolean
  readonly isRefreshing: boolean
  readonly from: number
  readonly until: number
  /** The indices of the events that began and ended it; the first may be before the list. */
  readonly begin: number
  readonly end: number
}

export const poolOf = (event: { readonly environmentId: string; readonly image: string }): string =>
  `${event.environmentId} ${event.image}`

const isOf =
  <T extends SandboxEvent.Tag>(...tags: ReadonlyArray<T>) =>
  (event: SandboxEvent.SandboxEvent): event is SandboxEvent.Of<T> =>
    tags.some((tag) => tag === event._tag)

/** The lives of environments as ranges of indices: from one start to the next of that id. */
const livesOf = (events: Events) => {
  const ids = [...new Set(events.map(({ environmentId }) => environmentId))]
  return ids.flatMap((id) => {
    const indices = [...events.keys()].filter((index) => events[index]?.environmentId === id)
    const starts = indices.filter((index) => events[index]?._tag === "EnvironmentStarting")
    const borders = [...new Set([indices[0] ?? 0, ...starts])]
    return borders.map((first, at) => {
      const next = borders[at + 1]
      const own = indices.filter((index) => index >= first && (next === undefined || index < next))
      return { id, own, isFollowed: next !== undefined }
    })
  })
}

/** When a life came to its end, as far as its sandboxes' times are concerned: the index of an event, and a time. */
const endOfLife = (events: Events, own: ReadonlyArray<number>, isFollowed: boolean, until: number) => {
  const shutDown = own.find((index) => events[index]?._tag === "EnvironmentShutDown")
  if (shutDown !== undefined) return { index: shutDown, at: events[shutDown]?.timestamp ?? 0 }
  if (!isFollowed) return { index: events.length, at: until }
  const lastAt = Math.max(...own.map((index) => events[index]?.timestamp ?? 0))
  return { index: Math.max(...own) + 0.5, at: lastAt }
}

export const staysOf = (events: Events, until: number): ReadonlyArray<Stay> => {
  const stays: Array<Stay> = []
  for (const { isFollowed, own } of livesOf(events)) {
    const over = endOfLife(events, own, isFollowed, until)
    const moves = own.flatMap((index) => {
      const event = events[index]
      return event?._tag === "SandboxStatusChanged" && index < over.index ? [{ event, index }] : []
    })
    for (const id of new Set(moves.map(({ event }) => event.sandboxId))) {
      const chain = moves.filter(({ event }) => event.sandboxId === id)
      let since = 0
      for (const [at, { event, index }] of chain.entries()) {
        const before = chain[at - 1]
        const from = before === undefined ? event.timestamp - Math.max(0, event.spentMillis) : since
        stays.push({
          pool: poolOf(event),
          status: event.from,
          isInUse: isInUse(before?.event.from, event.from),
          isRefreshing: before?.event.from === "ExitingSession" && event.from === "SettingUp",
          from,
          until: event.timestamp,
          begin: before?.index ?? -1,
          end: index
        })
        since = before === undefined ? event.timestamp : Math.max(event.timestamp, since)
      }
      const last = chain.at(-1)
      if (last === undefined || last.event.to === "Offline") continue
      stays.push({
        pool: poolOf(last.event),
        status: last.event.to,
        isInUse: isInUse(last.event.from, last.event.to),
        isRefreshing: last.event.from === "ExitingSession" && last.event.to === "SettingUp",
        from: since,
        until: over.at,
        begin: last.index,
        end: over.index
      })
    }
  }
  return stays
}

const isInUse = (from: Status | undefined, status: Status): boolean =>
  status === "Acquired" ||
  status === "InSession" ||
  status === "ExitingSession" ||
  (status === "SettingUp" && from === "Acquired")

const overlap = (stay: { readonly from: number; readonly until: number }, from: number, until: number): number =>
  Math.max(0, Math.min(stay.until, until) - Math.max(stay.from, from))

const total = (numbers: ReadonlyArray<number>): number => numbers.reduce((sum, one) => sum + one, 0)

export const percentile = (values: ReadonlyArray<number>, part: number): number =>
  values.toSorted((a, b) => a - b)[Math.max(1, Math.ceil(part * values.length)) - 1] ?? Number.NaN

/** What the report should say of one pool. */
export const pool = (events: Events, name: string, bucketMillis: number) => {
  const origin = events[0]?.timestamp ?? 0
  const end = Math.max(...events.map(({ timestamp }) => timestamp))
  const stays = staysOf(events, end).filter((stay) => stay.pool === name)
  const own = events.filter(
    (event) => "image" in event && event.image !== undefined && poolOf({ ...event, image: event.image }) === name
  )
  const sum = (accept: (stay: Stay) => boolean, from = origin, until = end) =>
    total(stays.filter(accept).map((stay) => overlap(stay, from, until)))
  const first = Math.floor(origin / bucketMillis)
  const starts = own.filter(isOf("SessionStarted"))
  const refusals = own.filter(isOf("AcquireFailed"))
  const waits = [
    ...starts.map((event) => ({
      from: event.timestamp - event.durationMillis - event.waitedMillis,
      until: event.timestamp - event.durationMillis
    })),
    ...refusals.map((event) => ({ from: event.timestamp - event.waitedMillis, until: event.timestamp }))
  ]
  const over = [...own.filter(isOf("SessionEnded")), ...starts.filter(({ error }) => error !== undefined)]
  const outcomes = { ok: 0, user_error: 0, state_error: 0, interrupted: 0 }
  for (const { error } of over) outcomes[EventMetrics.outcome(error)]++
  // What lives after an event: what began at it or before, and ends later.
  const peak = (accept: (stay: Stay) => boolean) =>
    Math.max(
      0,
      ...events.map(
        (_, index) =>
          stays.filter((stay) => accept(stay) && stay.begin !== -1 && stay.begin <= index && stay.end > index).length
      )
    )
  const moves = own.filter(isOf("SandboxStatusChanged"))
  return {
    statusMillis: (status: Status) => sum((stay) => stay.status === status),
    peak: { live: peak(() => true), inUse: peak((stay) => stay.isInUse) },
    created: moves.filter(({ from }) => from === "Created").length,
    replacements: moves.filter(({ from, sandboxId }) => from === "Created" && !sandboxId.endsWith(":0")).length,
    ended: moves.filter(({ to }) => to === "Offline").length,
    outcomes,
    waits: starts.map(({ waitedMillis }) => waitedMillis),
    refusals: refusals.length,
    setUps: starts.map(({ durationMillis }) => durationMillis),
    lifetimes: own.filter(isOf("SessionEnded")).map(({ lifetimeMillis }) => lifetimeMillis),
    sandboxStarts: own
      .filter(isOf("SandboxStarted"))
      .flatMap(({ durationMillis, error }) => (error === undefined ? [durationMillis] : [])),
    series:
      end === origin
        ? []
        : Array.from({ length: Math.ceil(end / bucketMillis) - first }, (_, offset) => {
            const at = (first + offset) * bucketMillis
            const from = Math.max(origin, at)
            const until = Math.min(end, at + bucketMillis)
            const average = (accept: (stay: Stay) => boolean) => sum(accept, from, until) / (until - from)
            return {
              at,
              live: average(() => true),
              inSession: average(({ status }) => status === "InSession"),
              settingUp: average(({ status }) => status === "SettingUp"),
              ready: average(({ status }) => status === "Ready"),
              inUse: average(({ isInUse }) => isInUse),
              refreshing: average(({ isRefreshing }) => isRefreshing),
              waiting: total(waits.map((wait) => overlap(wait, from, until))) / (until - from)
            }
          })
  }
}

/** Errors by everything that a row of the table is told apart by. */
export const failures = (events: Events): { readonly [key: string]: number } => {
  const counts: { [key: string]: number } = {}
  for (const event of events) {
    if (!("error" in event) || event.error === undefined || EventMetrics.outcome(event.error) === "interrupted")
      continue
    const key = failureKey({
      ...event,
      event: event._tag,
      ...event.error,
      activity: "name" in event ? event.name : undefined
    })
    counts[key] = (counts[key] ?? 0) + 1
  }
  return counts
}

export const failureKey = (row: {
  readonly event: string
  readonly environmentId: string
  readonly image?: string | undefined
  readonly featureId?: string | undefined
  readonly activity?: string | undefined
  readonly tag: string
  readonly isStateError: boolean
}): string =>
  [row.event, row.environmentId, row.image, row.featureId, row.activity, row.tag, row.isStateError].join(" ")

/** Outages that have ended or last: from, until, how. */
export const outages = (events: Events) => {
  const end = Math.max(...events.map(({ timestamp }) => timestamp))
  return livesOf(events).flatMap(({ isFollowed, own }) => {
    const over = endOfLife(events, own, isFollowed, end)
    const started = own.flatMap((index) => {
      const event = events[index]
      return event?._tag === "ImageOutageStarted" ? [{ event, index }] : []
    })
    const known = started.map(({ event, index }) => {
      const recovered = own.find((later) => {
        const one = events[later]
        return later > index && one?._tag === "ImageOutageEnded" && one.image === event.image
      })
      const until = recovered === undefined ? over.at : (events[recovered]?.timestamp ?? 0)
      const how =
        recovered !== undefined
          ? "Recovered"
          : over.index === events.length
            ? "Lasts"
            : Number.isInteger(over.index)
              ? "ShutDown"
              : "Abandoned"
      return { pool: poolOf(event), from: event.timestamp, until: how === "Lasts" ? undefined : until, how }
    })
    const unknown = own.flatMap((index) => {
      const event = events[index]
      if (event?._tag !== "ImageOutageEnded") return []
      const isKnown = started.some((one) => one.index < index && one.event.image === event.image)
      return isKnown
        ? []
        : [
            {
              pool: poolOf(event),
              from: event.timestamp - event.durationMillis,
              until: event.timestamp,
              how: "Recovered"
            }
          ]
    })
    return [...known, ...unknown]
  })
}
