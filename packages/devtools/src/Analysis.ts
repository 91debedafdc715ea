/**
 * What a run of environments comes to, computed from its events one at a time: how well the pools were used, how long
 * things took, what failed, what was slow, what was left behind, and whether the pools had the right size.
 *
 * It needs memory for what is live, and for tables and series of a fixed size, so that a million events are no
 * trouble. Events may come from several environments, from lives that follow each other under one id, from a journal
 * that begins in the middle, and from a clock that is set back a little.
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import type { SandboxEvent } from "@effect-sandbox/core"
 * import { Analysis, Report } from "@effect-sandbox/devtools"
 *
 * declare const journal: Stream.Stream<SandboxEvent.SandboxEvent>
 *
 * const text = Effect.map(Analysis.fromStream(journal), (report) => Report.text(report, { width: 100 }))
 * ```
 *
 * Or beside a program while it runs:
 *
 * ```ts
 * import { Console, Effect, Layer } from "effect"
 * import { Environment } from "@effect-sandbox/core"
 * import { Analysis, Report } from "@effect-sandbox/devtools"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"] }) {}
 *
 * const LabLive = Lab.layer.pipe(Layer.provideMerge(Analysis.layer()))
 *
 * const program = Effect.gen(function*() {
 *   yield* Lab.withSession({}, Effect.void)
 *   const { report } = yield* Analysis.LiveAnalysis
 *   yield* Console.log(Report.text(yield* report))
 * }).pipe(Effect.provide(LabLive))
 * ```
 */
import * as EventHandler from "@effect-sandbox/core/EventHandler"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as SandboxStatus from "@effect-sandbox/core/SandboxStatus"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Fold } from "./internal/analysis/fold.ts"

// ---------------------------------------------------------------------------------------------------------------------
// The report
// ---------------------------------------------------------------------------------------------------------------------

/** Durations in milliseconds. A percentile is the smallest one that so many of all do not exceed. */
export const Distribution = Schema.Struct({
  count: Schema.Finite,
  /** Whether the percentiles are exact; with more than 1,000 durations they are within 0.5 % of it. */
  isExact: Schema.Boolean,
  mean: Schema.Finite,
  min: Schema.Finite,
  p50: Schema.Finite,
  p90: Schema.Finite,
  p95: Schema.Finite,
  p99: Schema.Finite,
  max: Schema.Finite
})
export type Distribution = typeof Distribution.Type

/** How many things ended how, as `EventMetrics.outcome` tells it. */
export const Outcomes = Schema.Struct({
  ok: Schema.Finite,
  user_error: Schema.Finite,
  state_error: Schema.Finite,
  interrupted: Schema.Finite
})
export type Outcomes = typeof Outcomes.Type

/** A part of the time, all of it averages over that part: 1.5 sandboxes are one all the time and one half of it. */
export const Bucket = Schema.Struct({
  /** When it begins, in milliseconds since the epoch. */
  at: Schema.Finite,
  /** Sandboxes that take a place: from the beginning of their start until they are offline. */
  live: Schema.Finite,
  inSession: Schema.Finite,
  settingUp: Schema.Finite,
  ready: Schema.Finite,
  /** Sandboxes that somebody has: handed over, in a session, or in its end. */
  inUse: Schema.Finite,
  /** Sandboxes that are made ready for their next session. */
  refreshing: Schema.Finite,
  /** Callers that waited for a sandbox. Known when their wait is over, so those that still wait are missing. */
  waiting: Schema.Finite,
  /** The part of the live sandboxes that is in a session, 0 to 1; missing when none lived. */
  utilisation: Schema.optionalKey(Schema.Finite)
})
export type Bucket = typeof Bucket.Type

/**
 * Whether a pool had the right size.
 *
 * - `TooSmall`: callers got none, or spent 5 % of their time or more waiting, mostly while all places were taken and
 *   most of the sandboxes in use or made ready for the next: `max` was too low.
 * - `TooFewKept`: they waited as long, mostly for sandboxes that came up: `min` was too low, or starts are too slow.
 * - `Outage`: they waited as long, or got none, mostly while sandboxes could not be started.
 * - `LargerThanNeeded`: of the sandboxes that were kept on average, at least half (and two) were never used at a time.
 * - `Fits`: none of these.
 * - `Unused`: nobody wanted a sandbox.
 * - `NotPooled`: sandboxes were made for one session each.
 * - `Unknown`: the size of the pool is not among the events, and callers waited.
 */
export const Fit = Schema.Literals([
  "TooSmall",
  "TooFewKept",
  "Outage",
  "LargerThanNeeded",
  "Fits",
  "Unused",
  "NotPooled",
  "Unknown"
])
export type Fit = typeof Fit.Type

/** An answer to "was the pool the right size?", and the figures it rests on. */
export const Verdict = Schema.Struct({
  fit: Fit,
  /** The answer in a sentence. */
  text: Schema.String,
  /** The part of their time that callers waited, of waiting, set-up and sessions together, 0 to 1. */
  waitingShare: Schema.Finite,
  /** The part of the waiting in which the pool was full; estimated from the series. */
  waitingWhileFullShare: Schema.Finite,
  /** The part of the waiting in which the image was in an outage; estimated from the series. */
  waitingInOutageShare: Schema.Finite,
  /** Callers that waited too long and got none. */
  refused: Schema.Finite,
  /** The part of the time in which the pool was full: no place left, none ready, at least half of all busy. */
  fullShare: Schema.Finite,
  /** The part of the sandboxes' time in which they were ready and nobody had them. */
  idleShare: Schema.Finite,
  /** The most sandboxes that were in use, made ready for the next, or waited for at a time; averages over a bucket. */
  peakWanted: Schema.Finite
})
export type Verdict = typeof Verdict.Type

/** What came of the sandboxes of one image in one environment. */
export const ImageReport = Schema.Struct({
  environmentId: Schema.String,
  /** `"other"` for those that came after the first 300. */
  image: Schema.String,
  /** The size of the pool; missing when no event told it. Without a `max` sandboxes are not pooled. */
  pool: Schema.optionalKey(Schema.Struct({ min: Schema.Finite, max: Schema.optionalKey(Schema.Finite) })),
  verdict: Verdict,
  /** The part of the sandboxes' time that they were in sessions, 0 to 1; missing when none lived. */
  utilisation: Schema.optionalKey(Schema.Finite),
  /** How long sandboxes had each status, in milliseconds, all together. */
  statusMillis: Schema.Record(SandboxStatus.SandboxStatus, Schema.Finite),
  /** The most at a time. */
  peak: Schema.Struct({ live: Schema.Finite, inUse: Schema.Finite }),
  sandboxes: Schema.Struct({
    /** Those that began to start. */
    created: Schema.Finite,
    failedToStart: Schema.Finite,
    /** Those that began to start in a place that another had before. */
    replacements: Schema.Finite,
    /** Those that went offline. */
    ended: Schema.Finite,
    /** Those that are there at the end of the events. */
    live: Schema.Finite,
    /** How long those that came up took. */
    start: Schema.optionalKey(Distribution),
    lifetime: Schema.optionalKey(Distribution),
    /** Why they ended, the most frequent first. */
    reasons: Schema.Array(
      Schema.Struct({
        reason: Schema.String,
        count: Schema.Finite,
        /** What the first of them said. */
        example: Schema.String
      })
    )
  }),
  sessions: Schema.Struct({
    started: Schema.Finite,
    failedToStart: Schema.Finite,
    running: Schema.Finite,
    /** Of those that are over, those included that failed to start. */
    outcomes: Outcomes,
    setUp: Schema.optionalKey(Distribution),
    lifetime: Schema.optionalKey(Distribution),
    teardown: Schema.optionalKey(Distribution)
  }),
  acquires: Schema.Struct({
    /** Callers that got a sandbox. */
    served: Schema.Finite,
    /** How long they had waited. */
    wait: Schema.optionalKey(Distribution),
    /** Callers that got none, for whatever reason. */
    failed: Schema.Finite,
    /** How long those had waited. */
    failedWait: Schema.optionalKey(Distribution)
  }),
  outages: Schema.Struct({ count: Schema.Finite, millis: Schema.Finite }),
  series: Schema.Array(Bucket)
})
export type ImageReport = typeof ImageReport.Type

/** What came of one environment, of all its lives together. */
export const EnvironmentReport = Schema.Struct({
  /** `"other"` for those that came after the first 200. */
  environmentId: Schema.String,
  starts: Schema.Finite,
  failedStarts: Schema.Finite,
  shutDowns: Schema.Finite,
  /** Lives that were followed by another without having shut down: the process had died. */
  abandoned: Schema.Finite,
  /** At the end of the events. */
  status: SandboxStatus.EnvironmentStatus,
  start: Schema.optionalKey(Distribution)
})
export type EnvironmentReport = typeof EnvironmentReport.Type

/** Errors of one kind; interruptions are none. One error may be told by several kinds of events, each in its row. */
export const FailureRow = Schema.Struct({
  /** The tag of the error; `"other"` for what came after the first 300 rows. */
  tag: Schema.String,
  isStateError: Schema.Boolean,
  /** The kind of event that told it. */
  event: Schema.String,
  environmentId: Schema.String,
  image: Schema.optionalKey(Schema.String),
  featureId: Schema.optionalKey(Schema.String),
  activity: Schema.optionalKey(Schema.String),
  count: Schema.Finite,
  /** In milliseconds since the epoch. */
  firstAt: Schema.Finite,
  lastAt: Schema.Finite,
  /** What the first of them said, at most 500 characters. */
  message: Schema.String,
  /** Where the first of them happened. */
  sandboxId: Schema.optionalKey(Schema.String),
  sessionId: Schema.optionalKey(Schema.String)
})
export type FailureRow = typeof FailureRow.Type

/** Activities of one name. */
export const ActivityRow = Schema.Struct({
  /** `"other"` for what came after the first 500 rows. */
  name: Schema.String,
  environmentId: Schema.String,
  image: Schema.optionalKey(Schema.String),
  /** Whose it is, when not the sandbox's. */
  featureId: Schema.optionalKey(Schema.String),
  outcomes: Outcomes,
  duration: Distribution
})
export type ActivityRow = typeof ActivityRow.Type

/** One activity. */
export const SlowActivity = Schema.Struct({
  name: Schema.String,
  environmentId: Schema.String,
  image: Schema.optionalKey(Schema.String),
  featureId: Schema.optionalKey(Schema.String),
  sandboxId: Schema.optionalKey(Schema.String),
  sessionId: Schema.optionalKey(Schema.String),
  /** When it began, in milliseconds since the epoch. */
  at: Schema.Finite,
  durationMillis: Schema.Finite,
  /** The tag of its error. */
  error: Schema.optionalKey(Schema.String)
})
export type SlowActivity = typeof SlowActivity.Type

/** How long one feature took. */
export const FeatureRow = Schema.Struct({
  /** `"other"` for what came after the first 300 rows. */
  featureId: Schema.String,
  environmentId: Schema.String,
  /** Missing for what a host feature does outside of sandboxes. */
  image: Schema.optionalKey(Schema.String),
  failed: Schema.Finite,
  setUp: Schema.optionalKey(Distribution),
  sessionSetUp: Schema.optionalKey(Distribution),
  sessionTeardown: Schema.optionalKey(Distribution),
  teardown: Schema.optionalKey(Distribution)
})
export type FeatureRow = typeof FeatureRow.Type

/** A time in which sandboxes of an image could not be started. */
export const Outage = Schema.Struct({
  environmentId: Schema.String,
  image: Schema.String,
  from: Schema.Finite,
  /** Missing while it lasts. */
  until: Schema.optionalKey(Schema.Finite),
  /** How it ended: a sandbox came up, or the environment went first. */
  end: Schema.Literals(["Recovered", "ShutDown", "Abandoned", "Lasts"]),
  attempts: Schema.optionalKey(Schema.Finite),
  /** What began it. */
  error: Schema.optionalKey(Schema.String)
})
export type Outage = typeof Outage.Type

/**
 * Something that began and never ended.
 *
 * - `Leaked`: what it belongs to has ended without it.
 * - `Abandoned`: its environment was started again without having shut down, so nobody took care of it.
 * - `NotTakenDown`: the sandbox ended, and its driver told that it could not take it down completely.
 */
export const Leak = Schema.Struct({
  what: Schema.Literals(["sandbox", "session", "feature", "feature session"]),
  fate: Schema.Literals(["Leaked", "Abandoned", "NotTakenDown"]),
  environmentId: Schema.String,
  image: Schema.optionalKey(Schema.String),
  sandboxId: Schema.optionalKey(Schema.String),
  sessionId: Schema.optionalKey(Schema.String),
  featureId: Schema.optionalKey(Schema.String),
  /** When it began, or failed to be taken down. */
  at: Schema.Finite,
  description: Schema.String
})
export type Leak = typeof Leak.Type

/** Events that do not fit together: some were lost, or a rule was broken. */
export const Contradiction = Schema.Struct({
  at: Schema.Finite,
  subject: Schema.String,
  description: Schema.String
})
export type Contradiction = typeof Contradiction.Type

/** Everything that an analysis has found. Times are milliseconds, moments milliseconds since the epoch. */
export const Report = Schema.Struct({
  /** From the first event to the last, or to now; missing without events. */
  span: Schema.optionalKey(Schema.Struct({ from: Schema.Finite, until: Schema.Finite })),
  /** The width of the buckets of all series. */
  bucketMillis: Schema.Finite,
  events: Schema.Struct({
    total: Schema.Finite,
    /** Those that carry an error. */
    errors: Schema.Finite,
    /** By their `_tag`. */
    kinds: Schema.Record(Schema.String, Schema.Finite)
  }),
  environments: Schema.Array(EnvironmentReport),
  /** One for each image of each environment, in the order in which they came. */
  images: Schema.Array(ImageReport),
  /** The most frequent first. */
  failures: Schema.Array(FailureRow),
  /** By the time that they took together, the most first. */
  activities: Schema.Array(ActivityRow),
  /** The slowest first. */
  slowest: Schema.Array(SlowActivity),
  features: Schema.Array(FeatureRow),
  /** In the order of their ends, then those that last. At most 200 are listed. */
  outages: Schema.Array(Outage),
  leaks: Schema.Struct({
    leaked: Schema.Finite,
    abandoned: Schema.Finite,
    notTakenDown: Schema.Finite,
    /** At most 100 of them. */
    list: Schema.Array(Leak)
  }),
  /** What lives at the end of the events in environments that are not shut down: none of it is a leak. */
  open: Schema.Struct({
    environments: Schema.Finite,
    sandboxes: Schema.Finite,
    sessions: Schema.Finite,
    features: Schema.Finite
  }),
  /** Ends of what began before the first event. */
  unknownStarts: Schema.Finite,
  contradictions: Schema.Struct({
    total: Schema.Finite,
    /** The first 50. */
    list: Schema.Array(Contradiction)
  })
})
export type Report = typeof Report.Type

// ---------------------------------------------------------------------------------------------------------------------
// Making one
// ---------------------------------------------------------------------------------------------------------------------

export interface Options {
  /** How many buckets series may have, at least 10. Default: 300. */
  readonly buckets?: number | undefined
  /** How many of the slowest activities are told. Default: 20. */
  readonly slowest?: number | undefined
  /** Sizes of pools that are known from before the first event; those that events tell go before them. Default: none. */
  readonly pools?: ReadonlyArray<PoolSize> | undefined
}

/** How large the pool of an image is. Without a `max` its sandboxes are not pooled. */
export interface PoolSize {
  readonly environmentId: string
  readonly image: string
  readonly min: number
  readonly max?: number | undefined
}

/** An analysis that is fed with events. */
export interface Analysis {
  /** Takes the next event into account. Events of one environment come in their order. */
  readonly add: (event: SandboxEvent) => void
  /**
   * What the events so far come to. What has not ended lasts until `now`, in milliseconds since the epoch. Default: the
   * time of the last event.
   */
  readonly report: (now?: number) => Report
}

/**
 * Makes an analysis of one's own to feed.
 *
 * ```ts
 * import type { SandboxEvent } from "@effect-sandbox/core"
 * import { Analysis } from "@effect-sandbox/devtools"
 *
 * const reportOf = (events: ReadonlyArray<SandboxEvent.SandboxEvent>): Analysis.Report => {
 *   const analysis = Analysis.make()
 *   for (const event of events) analysis.add(event)
 *   return analysis.report()
 * }
 * ```
 */
export const make = (options: Options = {}): Analysis => {
  const fold = new Fold({
    buckets: Math.max(10, Math.floor(options.buckets ?? 300)),
    slowest: Math.max(0, Math.floor(options.slowest ?? 20)),
    pools: options.pools ?? []
  })
  return { add: (event) => fold.add(event), report: (now) => fold.report(now) }
}

/** The report on a stream of events, once it has ended. */
export const fromStream = <E, R>(
  events: Stream.Stream<SandboxEvent, E, R>,
  options: Options = {}
): Effect.Effect<Report, E, R> =>
  Effect.suspend(() => {
    const analysis = make(options)
    const fed = Stream.runForEachArray(events, (batch) =>
      Effect.sync(() => {
        for (const event of batch) analysis.add(event)
      })
    )
    return Effect.map(fed, () => analysis.report())
  })

/** The analysis of the environments that run now. */
export class LiveAnalysis extends Context.Service<
  LiveAnalysis,
  {
    /** What was handled so far comes to; `EventHub.drain` waits until that is everything. */
    readonly report: Effect.Effect<Report>
  }
>()("@effect-sandbox/devtools/Analysis/LiveAnalysis") {}

/** A handler that keeps an analysis up to date, and the service to ask it. To be provided to environments. */
export const layer = (options: Options = {}): Layer.Layer<LiveAnalysis | EventHandler.EventHub> =>
  Layer.effect(
    LiveAnalysis,
    Effect.gen(function* () {
      const analysis = make(options)
      const hub = yield* EventHandler.EventHub
      yield* hub.subscribe({
        name: "Analysis",
        handleAll: (events) =>
          Effect.sync(() => {
            for (const event of events) analysis.add(event)
          })
      })
      return { report: Effect.map(Clock.currentTimeMillis, (now) => analysis.report(now)) }
    })
  ).pipe(Layer.provideMerge(EventHandler.EventHub.layer))
