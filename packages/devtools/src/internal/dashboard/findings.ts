/** Answers from figures: is it healthy, is the pool the right size, and what fails. */
import type { EnvironmentStatus } from "@effect-sandbox/core/SandboxStatus"
import type { ImageId } from "@effect-sandbox/core/Id"
import type * as Protocol from "./protocol.ts"

/** What they are made from; points and failures are those of the last minutes. */
export interface View {
  readonly status: EnvironmentStatus
  readonly images: ReadonlyArray<Protocol.ImageState>
  readonly leaked: number
  readonly dropped: number
  readonly sessions: number
  readonly points: ReadonlyArray<Protocol.Point>
  readonly pointsOf: (image: ImageId) => ReadonlyArray<Protocol.Point>
  readonly failures: ReadonlyArray<Protocol.Failure>
}

/** Before that nothing is said about sizes. */
const enoughSeconds = 20

/** The size is judged by that much, so that a change of it shows soon. */
const sizeSeconds = 120

/** A pool is too small when callers waited in more than this share of the time. */
const waitingShare = 0.1

/** A pool is larger than needed when less than this share of it was ever in use. */
const neededShare = 0.5

export const health = (view: View): Protocol.Finding => {
  const outage = view.images.find((image) => image.outage !== undefined)
  switch (view.status) {
    case "Created":
      return outage === undefined
        ? { level: "idle", title: "Starting", detail: "The first sandboxes are being brought up" }
        : inOutage(outage)
    case "Offline":
      return { level: "idle", title: "Offline", detail: "The environment has shut down" }
    case "Draining":
      return { level: "warn", title: "Draining", detail: `${count(view.sessions, "session")} left; no new ones` }
    case "ShuttingDown":
      return { level: "warn", title: "Shutting down", detail: "Sandboxes are being taken down" }
    case "Online":
      break
  }
  if (outage !== undefined) return inOutage(outage)
  if (view.leaked !== 0) {
    return {
      level: "bad",
      title: "Sandboxes leaked",
      detail: `${count(view.leaked, "sandbox", "sandboxes")} could not be destroyed`
    }
  }
  const lost = view.failures.filter((one) => one.isStateError && one.kind !== "SandboxActivity")
  const lostCount = lost.reduce((total, one) => total + one.count, 0)
  if (lostCount > 0) {
    return {
      level: "warn",
      title: "Losing sandboxes",
      detail: `${count(lostCount, "error")} that condemned a sandbox in the last minutes, mostly ${lost[0]?.tag}`
    }
  }
  if (view.dropped > 0) {
    return {
      level: "warn",
      title: "Events dropped",
      detail: `${count(view.dropped, "event")} did not fit into a handler's queue`
    }
  }
  return { level: "good", title: "Healthy", detail: "No outage, no leak, no sandbox lost" }
}

const inOutage = (image: Protocol.ImageState): Protocol.Finding => ({
  level: "bad",
  title: "Outage",
  detail: `${image.image}: no sandbox starts for ${span(image.outage?.durationMillis ?? 0)}, ${count(image.outage?.attempts ?? 0, "attempt")}`
})

export const pool = (view: View): Protocol.Finding => {
  if (view.status === "Offline") return { level: "idle", title: "No pool", detail: "Offline" }
  const images = view.images.map((image) => size(image, view.pointsOf(image.image)))
  const small = images.find((one) => one.level === "warn")
  if (small !== undefined) return small
  const right = images.find((one) => one.level === "good")
  return right ?? images.find((one) => one.title !== "No sessions yet") ?? noSessions
}

const noSessions: Protocol.Finding = {
  level: "idle",
  title: "No sessions yet",
  detail: "Sizes are judged once there is some load"
}

const size = (image: Protocol.ImageState, all: ReadonlyArray<Protocol.Point>): Protocol.Finding => {
  const points = all.slice(-sizeSeconds)
  const used = points.filter((point) => point.busy > 0 || point.waiters > 0)
  if (used.length === 0) return noSessions
  const peak = Math.max(...points.map((point) => point.busy))
  const live = Math.max(...points.map((point) => point.live))
  const most = image.max ?? live
  if (points.length < enoughSeconds) {
    return { level: "idle", title: "Too early to tell", detail: `${image.image}: ${peak} of ${most} in use so far` }
  }
  const waiting = points.filter((point) => point.waiters > 0)
  const waits = points.flatMap((point) => (point.wait === undefined ? [] : [point.wait[1]]))
  if (waiting.length / points.length > waitingShare) {
    const long = waits.length === 0 ? "" : `, at worst ${span(Math.max(...waits))}`
    return {
      level: "warn",
      title: "Too small",
      detail: `${image.image}: callers waited in ${percent(waiting.length / points.length)} of the time${long}`
    }
  }
  const kept = Math.min(...points.map((point) => point.live))
  if (kept > 1 && peak < neededShare * kept) {
    return {
      level: "idle",
      title: "Larger than needed",
      detail: `${image.image}: at most ${peak} of ${kept} sandboxes in use`
    }
  }
  return {
    level: "good",
    title: "Right size",
    detail: `${image.image}: up to ${peak} of ${most} in use, ${waiting.length === 0 ? "nobody waits" : "hardly anybody waits"}`
  }
}

export const failing = (view: View): Protocol.Finding => {
  const ended = view.points.reduce((total, point) => total + point.ended, 0)
  const failed = view.points.reduce((total, point) => total + point.failed, 0)
  const all = ended + failed
  const [top] = view.failures
  if (failed === 0) {
    return top === undefined
      ? {
          level: all === 0 ? "idle" : "good",
          title: "No failures",
          detail: all === 0 ? "No session has ended yet" : `${count(all, "session")} in the last minutes`
        }
      : {
          level: "warn",
          title: "No session failed",
          detail: `But ${top.tag} was told ${top.count === 1 ? "once" : `${top.count} times`}`
        }
  }
  return {
    level: failed / all >= 0.05 ? "bad" : "warn",
    title: `${percent(failed / all)} fail`,
    detail: `${failed} of ${count(all, "session")}${top === undefined ? "" : `, mostly ${top.tag}`}`
  }
}

const count = (n: number, one: string, many = `${one}s`): string => `${n.toLocaleString("en")} ${n === 1 ? one : many}`

const percent = (share: number): string =>
  share >= 0.995 || share === 0 ? `${Math.round(share * 100)} %` : `${Number((share * 100).toPrecision(2))} %`

const span = (millis: number): string =>
  millis < 1000
    ? `${Math.round(millis)} ms`
    : millis < 120_000
      ? `${Number((millis / 1000).toPrecision(2))} s`
      : `${Math.round(millis / 60_000)} min`
