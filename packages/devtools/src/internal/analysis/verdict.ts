/** Whether a pool had the right size, from what its callers had to wait for and from what it kept idle. */
import type { Fit, Verdict } from "../../Analysis.ts"
import type { Measured } from "./poolFold.ts"
import { duration, percent } from "../words.ts"

export interface Evidence {
  readonly pool: { readonly min: number; readonly max?: number } | undefined
  readonly peak: { readonly live: number; readonly inUse: number }
  readonly refused: number
  readonly acquires: number
  readonly waitingMillis: number
  /** Set-up of sessions, and sessions. */
  readonly servedMillis: number
  readonly liveMillis: number
  readonly idleMillis: number
  readonly spanMillis: number
  /** How long half of the starts took at most. */
  readonly startMillis: number | undefined
  readonly buckets: ReadonlyArray<Measured>
}

/** Who waits for less than so much of the time does not mind. */
const tolerableShare = 0.05

export const verdictOf = (evidence: Evidence): Verdict => {
  const { buckets, idleMillis, liveMillis, servedMillis, spanMillis, waitingMillis } = evidence
  let waited = 0
  let whileFull = 0
  let inOutage = 0
  let fullMillis = 0
  let peakWanted = 0
  let keptMillis = 0
  for (const { bucket, fullShare, millis, outageShare } of buckets) {
    waited += bucket.waiting * millis
    whileFull += bucket.waiting * millis * fullShare
    inOutage += bucket.waiting * millis * outageShare
    fullMillis += fullShare * millis
    peakWanted = Math.max(peakWanted, bucket.inUse + bucket.refreshing + bucket.waiting)
    if (bucket.live > 0) keptMillis += millis
  }
  const figures = {
    waitingShare: part(waitingMillis, waitingMillis + servedMillis),
    waitingWhileFullShare: part(whileFull, waited),
    waitingInOutageShare: part(inOutage, waited),
    refused: evidence.refused,
    fullShare: part(fullMillis, spanMillis),
    idleShare: part(idleMillis, liveMillis),
    peakWanted
  }
  const kept = part(liveMillis, keptMillis)
  const fit = fitOf(evidence, figures, kept)
  return { fit, text: sentence(fit, evidence, figures, kept), ...figures }
}

type Figures = Omit<Verdict, "fit" | "text">

const part = (some: number, all: number): number => (all > 0 ? some / all : 0)

const fitOf = ({ acquires, peak, pool }: Evidence, figures: Figures, kept: number): Fit => {
  if (acquires === 0) return "Unused"
  if (pool !== undefined && pool.max === undefined) return "NotPooled"
  if (figures.refused > 0 || figures.waitingShare >= tolerableShare) {
    if (figures.waitingInOutageShare >= 0.5) return "Outage"
    if (pool === undefined) return "Unknown"
    return figures.refused > 0 || figures.waitingWhileFullShare >= 0.5 ? "TooSmall" : "TooFewKept"
  }
  return kept - peak.inUse >= 2 && peak.inUse * 2 <= kept ? "LargerThanNeeded" : "Fits"
}

const sentence = (fit: Fit, evidence: Evidence, figures: Figures, kept: number): string => {
  const { peak, pool, refused, startMillis } = evidence
  const waits = `callers spent ${percent(figures.waitingShare)} of their time waiting`
  const none = refused === 0 ? "" : `, and ${refused} waited in vain`
  const max = pool?.max ?? 0
  switch (fit) {
    case "TooSmall":
      return (
        `too small: ${waits}${none}, ${percent(figures.waitingWhileFullShare)} of that while all ${max} sandboxes were taken; ` +
        `about ${Math.round(figures.peakWanted)} were wanted at the busiest`
      )
    case "TooFewKept": {
      const starts = startMillis === undefined ? "" : `, half of which took more than ${duration(startMillis)} to start`
      return `too few kept ready: ${waits}${none}, mostly for sandboxes to come up${starts}; ${pool?.min ?? 0} are kept`
    }
    case "Outage":
      return `cannot be judged: ${waits}${none}, mostly in an outage of the image`
    case "LargerThanNeeded":
      return `larger than needed: ${round(kept)} sandboxes were kept on average, and at most ${peak.inUse} were used at once`
    case "Fits":
      return `fits: ${waits}; at most ${peak.inUse}${pool === undefined ? "" : ` of ${max}`} sandboxes were in use at once`
    case "Unused":
      return `unused: nobody wanted a sandbox, and ${round(kept)} were kept on average`
    case "NotPooled":
      return `not pooled: one for each session, at most ${peak.live} at once; ${waits}`
    case "Unknown":
      return `cannot be judged: ${waits}${none}, and the events do not say how large the pool is`
  }
}

const round = (count: number): string => String(Math.round(count * 10) / 10)
