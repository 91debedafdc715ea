/**
 * A handler that keeps Effect `Metric`s about environments, for whatever exporter the program uses.
 *
 * Series are labelled with `environment`, and where it applies with `image`, `feature`, `activity`, `status`, `error`,
 * `event` and `outcome`; never with ids of sandboxes or sessions. Of names that users choose (images, activities,
 * errors) only the first few hundred get series of their own; the rest share the label `"other"`.
 *
 * ```ts
 * import { Effect, Layer, Metric } from "effect"
 * import { Environment, EventMetrics } from "@effect-sandbox/core"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"] }) {}
 *
 * const LabLive = Lab.layer.pipe(Layer.provideMerge(EventMetrics.layer))
 *
 * const ledger = Metric.value(Metric.withAttributes(EventMetrics.ledger, { environment: "app/Lab" }))
 * const isBalanced = Effect.map(ledger, ({ value }) => value === 0)
 * ```
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as EventHandler from "./EventHandler.ts"
import type { EnvironmentId, SandboxId } from "./Id.ts"
import type { ErrorInfo, SandboxEvent } from "./SandboxEvent.ts"
import type { SandboxStatus } from "./SandboxStatus.ts"

/** Sandboxes that began to start. Labels: environment, image. */
export const sandboxesCreated = Metric.counter("effect_sandbox_sandboxes_created_total", {
  description: "Sandboxes that began to start",
  incremental: true
})

/** Sandboxes that went offline. Labels: environment, image. */
export const sandboxesDestroyed = Metric.counter("effect_sandbox_sandboxes_destroyed_total", {
  description: "Sandboxes that went offline",
  incremental: true
})

/** Sessions that are over, also those that failed to start. Labels: environment, image, outcome. */
export const sessions = Metric.counter("effect_sandbox_sessions_total", {
  description: "Sessions that are over",
  incremental: true
})

/** Activities that are over. Labels: environment, image, feature (if one's own), activity, outcome. */
export const activities = Metric.counter("effect_sandbox_activities_total", {
  description: "Activities that are over",
  incremental: true
})

/**
 * Events that carry an error. One error may be told by several events, so count one kind of `event`.
 * Labels: environment, image (if any), event, error.
 */
export const errors = Metric.counter("effect_sandbox_errors_total", {
  description: "Events that carry an error",
  incremental: true
})

/** Sandboxes that have a status now. Labels: environment, image, status. */
export const sandboxes = Metric.gauge("effect_sandbox_sandboxes", { description: "Sandboxes by status" })

/** Sandboxes created − destroyed − live: 0, or sandboxes (or their events) were lost. Label: environment. */
export const ledger = Metric.gauge("effect_sandbox_ledger", {
  description: "Sandboxes created minus destroyed minus live; must be 0"
})

/** Images that are in an outage now. Labels: environment, image. */
export const outages = Metric.gauge("effect_sandbox_outages", { description: "Outages that last" })

/** From milliseconds to an hour. */
const boundaries = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600]

const seconds = (name: string, description: string) => Metric.histogram(name, { description, boundaries })

/** How long sandboxes took to come up. Labels: environment, image, outcome. */
export const sandboxStart = seconds("effect_sandbox_sandbox_start_seconds", "Time to bring a sandbox up")

/** How long callers waited for a sandbox before their session was set up. Labels: environment, image. */
export const sessionAcquireWait = seconds(
  "effect_sandbox_session_acquire_wait_seconds",
  "Time that callers waited for a sandbox"
)

/** How long callers then waited for the session. Labels: environment, image, outcome. */
export const sessionSetUp = seconds("effect_sandbox_session_setup_seconds", "Time to set a session up")

/** How long sessions lived. Labels: environment, image, outcome. */
export const sessionLifetime = seconds("effect_sandbox_session_lifetime_seconds", "Lifetime of sessions")

/** How long it took to end sessions. Labels: environment, image, outcome. */
export const sessionTeardown = seconds("effect_sandbox_session_teardown_seconds", "Time to end a session")

/** How long features took for a sandbox or the host. Labels: environment, image (if any), feature, outcome. */
export const featureSetUp = seconds("effect_sandbox_feature_setup_seconds", "Time to set a feature up")

/** Labels: environment, image (if any), feature, outcome. */
export const featureTeardown = seconds("effect_sandbox_feature_teardown_seconds", "Time to tear a feature down")

/** How long features took for one session. Labels: environment, image, feature, outcome. */
export const featureSessionSetUp = seconds(
  "effect_sandbox_feature_session_setup_seconds",
  "Time to set a feature up for a session"
)

/** Labels: environment, image, feature, outcome. */
export const featureSessionTeardown = seconds(
  "effect_sandbox_feature_session_teardown_seconds",
  "Time to tear a feature down after a session"
)

/** How long activities took. Labels: environment, image, feature (if one's own), activity, outcome. */
export const activityDuration = seconds("effect_sandbox_activity_seconds", "Duration of activities")

/** How something ended, as a label. */
export type Outcome = "ok" | "state_error" | "user_error" | "interrupted"

/** What the error of an event (or its absence) means. */
export const outcome = (error: ErrorInfo | undefined): Outcome => {
  if (error === undefined) return "ok"
  if (error.isStateError) return "state_error"
  return interruptions.has(error.tag) ? "interrupted" : "user_error"
}

/** Ended from outside, by no fault of what ran. */
const interruptions: ReadonlySet<string> = new Set(["Interrupted", "EnvironmentClosedError", "SessionLimitError"])

type Labels = { readonly [label: string]: string | undefined }

/** The series of one metric, made once for each set of labels. */
const seriesOf = <State>(metric: Metric.Metric<number, State>) => {
  const known = new Map<string, Metric.Metric<number, State>>()
  return (labels: Labels): Metric.Metric<number, State> => {
    const key = Object.values(labels).join("\u0000")
    let series = known.get(key)
    if (series === undefined) {
      const attributes: Record<string, string> = {}
      for (const [label, value] of Object.entries(labels)) if (value !== undefined) attributes[label] = value
      series = Metric.withAttributes(metric, attributes)
      known.set(key, series)
    }
    return series
  }
}

/** Lets the first names through; those that come later are called `"other"`. */
const firstOf = (max: number): ((name: string) => string) => {
  const known = new Set<string>()
  return (name) => {
    if (known.has(name)) return name
    if (known.size >= max) return "other"
    known.add(name)
    return name
  }
}

interface Place {
  readonly environment: EnvironmentId
  readonly image: string
}

/** Gauges are changed by differences, so that several handlers and environments add up. */
class Recorder {
  private readonly context: Context.Context<never>
  private readonly image = firstOf(200)
  private readonly activity = firstOf(200)
  private readonly errorTag = firstOf(200)
  private readonly created = seriesOf(sandboxesCreated)
  private readonly destroyed = seriesOf(sandboxesDestroyed)
  private readonly sessions = seriesOf(sessions)
  private readonly activities = seriesOf(activities)
  private readonly errors = seriesOf(errors)
  private readonly sandboxes = seriesOf(sandboxes)
  private readonly ledger = seriesOf(ledger)
  private readonly outages = seriesOf(outages)
  private readonly sandboxStart = seriesOf(sandboxStart)
  private readonly sessionAcquireWait = seriesOf(sessionAcquireWait)
  private readonly sessionSetUp = seriesOf(sessionSetUp)
  private readonly sessionLifetime = seriesOf(sessionLifetime)
  private readonly sessionTeardown = seriesOf(sessionTeardown)
  private readonly features = {
    FeatureSetUp: seriesOf(featureSetUp),
    FeatureTornDown: seriesOf(featureTeardown),
    FeatureSessionSetUp: seriesOf(featureSessionSetUp),
    FeatureSessionTornDown: seriesOf(featureSessionTeardown)
  }
  private readonly activityDuration = seriesOf(activityDuration)
  private readonly live = new Map<SandboxId, Place & { readonly status: SandboxStatus }>()
  private readonly lasting = new Map<string, Place>()

  constructor(context: Context.Context<never>) {
    this.context = context
  }

  add(event: SandboxEvent): void {
    const environment = event.environmentId
    const image = "image" in event && event.image !== undefined ? this.image(event.image) : undefined
    const error = "error" in event ? event.error : undefined
    const ended = outcome(error)
    if (error !== undefined && ended !== "interrupted") {
      this.count(this.errors({ environment, image, event: event._tag, error: this.errorTag(error.tag) }))
    }
    switch (event._tag) {
      case "EnvironmentStarting":
        this.shift(this.ledger({ environment }), 0) // shown from the beginning
        return
      case "EnvironmentShutDown":
        this.forget(environment)
        return
      case "ImageOutageStarted":
      case "ImageOutageEnded":
        this.outage(environment, event.image, event._tag === "ImageOutageStarted")
        return
      case "SandboxStarted":
        this.observe(this.sandboxStart({ environment, image, outcome: ended }), event.durationMillis)
        return
      case "SandboxStatusChanged":
        this.move(event.sandboxId, { environment, image: this.image(event.image), status: event.to }, event.from)
        return
      case "SessionStarted":
        this.observe(this.sessionAcquireWait({ environment, image }), event.waitedMillis)
        this.observe(this.sessionSetUp({ environment, image, outcome: ended }), event.durationMillis)
        if (error !== undefined) this.count(this.sessions({ environment, image, outcome: ended }))
        return
      case "SessionEnded":
        this.count(this.sessions({ environment, image, outcome: ended }))
        this.observe(this.sessionLifetime({ environment, image, outcome: ended }), event.lifetimeMillis)
        this.observe(this.sessionTeardown({ environment, image, outcome: ended }), event.durationMillis)
        return
      case "SandboxActivity":
      case "FeatureActivity": {
        const feature = event._tag === "FeatureActivity" ? event.featureId : undefined
        const labels = { environment, image, feature, activity: this.activity(event.name), outcome: ended }
        this.count(this.activities(labels))
        this.observe(this.activityDuration(labels), event.durationMillis)
        return
      }
      case "FeatureSetUp":
      case "FeatureTornDown":
      case "FeatureSessionSetUp":
      case "FeatureSessionTornDown": {
        const labels = { environment, image, feature: event.featureId, outcome: ended }
        this.observe(this.features[event._tag](labels), event.durationMillis)
        return
      }
      case "SandboxShutDown": // told by the move to offline
      case "EnvironmentStarted":
      case "EnvironmentHousekeepingDone":
      case "EnvironmentShuttingDown":
      case "SandboxHousekeepingDone":
      case "FeatureHousekeepingDone":
        return
    }
  }

  /** The sandboxes and outages that are still there when nothing more will be heard of them. */
  forget(environment?: EnvironmentId): void {
    for (const [id, sandbox] of this.live) {
      if (environment === undefined || sandbox.environment === environment) this.setStatus(id, undefined)
    }
    for (const { environment: of, image } of this.lasting.values()) {
      if (environment === undefined || of === environment) this.outage(of, image, false)
    }
  }

  private move(id: SandboxId, to: Place & { readonly status: SandboxStatus }, from: SandboxStatus): void {
    const { environment, image } = to
    if (from === "Created") {
      this.count(this.created({ environment, image }))
      this.shift(this.ledger({ environment }), 1)
    }
    if (to.status === "Offline") {
      this.count(this.destroyed({ environment, image }))
      this.shift(this.ledger({ environment }), -1)
    }
    this.setStatus(id, to.status === "Offline" ? undefined : to)
  }

  /** Where a sandbox was is known from the event before, which keeps the gauges right when one was dropped. */
  private setStatus(id: SandboxId, now: (Place & { readonly status: SandboxStatus }) | undefined): void {
    const before = this.live.get(id)
    if (before !== undefined) {
      this.shift(this.sandboxes({ ...before }), -1)
      this.shift(this.ledger({ environment: before.environment }), 1)
      this.live.delete(id)
    }
    if (now !== undefined) {
      this.shift(this.sandboxes({ ...now }), 1)
      this.shift(this.ledger({ environment: now.environment }), -1)
      this.live.set(id, now)
    }
  }

  private outage(environment: EnvironmentId, image: string, lasts: boolean): void {
    const key = `${environment}\u0000${image}`
    if (this.lasting.has(key) === lasts) return
    if (lasts) this.lasting.set(key, { environment, image })
    else this.lasting.delete(key)
    this.shift(this.outages({ environment, image: this.image(image) }), lasts ? 1 : -1)
  }

  private count<State>(series: Metric.Metric<number, State>): void {
    series.updateUnsafe(1, this.context)
  }

  private shift<State>(series: Metric.Metric<number, State>, by: number): void {
    series.modifyUnsafe(by, this.context)
  }

  private observe<State>(series: Metric.Metric<number, State>, millis: number): void {
    series.updateUnsafe(millis / 1000, this.context)
  }
}

/** The metrics as a layer, to be provided to environments. */
export const layer: Layer.Layer<EventHandler.EventHub> = EventHandler.layerEffect(
  Effect.gen(function* () {
    const recorder = new Recorder(yield* Effect.context<never>())
    // Events that were dropped must not leave sandboxes behind in the gauges.
    yield* Effect.addFinalizer(() => Effect.sync(() => recorder.forget()))
    return { name: "EventMetrics", handle: (event: SandboxEvent) => Effect.sync(() => recorder.add(event)) }
  })
)
