/**
 * A handler that keeps Effect `Metric`s about environments, for whatever exporter the program uses.
 *
 * Series are labelled with `environment`, and where it applies with `image`, `feature`, `activity`, `status`,
 * `error.type` (as OpenTelemetry calls it; `error_type` in Prometheus), `event` and `outcome`; never with ids of
 * sandboxes or sessions. Of names that users choose (images, activities, errors) only the first few hundred get series
 * of their own; the rest share the label `"other"`. Names are those of Prometheus, and the attribute `unit`, which
 * Effect's exporters read, tells OpenTelemetry the unit.
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
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as EventHandler from "./EventHandler.ts"
import type { EnvironmentId, SandboxId } from "./Id.ts"
import { type ErrorInfo, errorOf, type Of, type SandboxEvent } from "./SandboxEvent.ts"
import type { SandboxStatus } from "./SandboxStatus.ts"

const counter = (name: string, unit: string, description: string) =>
  Metric.counter(name, { description, incremental: true, attributes: { unit } })

// Without a unit Effect's OTLP exporter says "1", a ratio, and collectors then add `_ratio` to the names of gauges.
const gauge = (name: string, unit: string, description: string) =>
  Metric.gauge(name, { description, attributes: { unit } })

/** From milliseconds to an hour. */
const boundaries = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600]

const histogram = (name: string, unit: string, description: string) =>
  Metric.histogram(name, { description, boundaries, attributes: { unit } })

const seconds = (name: string, description: string) => histogram(name, "s", description)

/** Sandboxes that began to start. Labels: environment, image. */
export const sandboxesCreated = counter(
  "effect_sandbox_sandboxes_created_total",
  "{sandbox}",
  "Sandboxes that began to start"
)

/** Sandboxes that went offline. Labels: environment, image. */
export const sandboxesDestroyed = counter(
  "effect_sandbox_sandboxes_destroyed_total",
  "{sandbox}",
  "Sandboxes that went offline"
)

/** Sessions that are over, also those that failed to start. Labels: environment, image, outcome. */
export const sessions = counter("effect_sandbox_sessions_total", "{session}", "Sessions that are over")

/** Activities that are over. Labels: environment, image, feature (if one's own), activity, outcome. */
export const activities = counter("effect_sandbox_activities_total", "{activity}", "Activities that are over")

/**
 * Events that carry an error. One error may be told by several events, so count one kind of `event`.
 * Labels: environment, image (if any), event, error.type.
 */
export const errors = counter("effect_sandbox_errors_total", "{error}", "Events that carry an error")

/** What was asked for from outside the program, such as in a dashboard. Labels: environment, action. */
export const actions = counter("effect_sandbox_actions_total", "{action}", "Actions that were asked for from outside")

/** Sandboxes that have a status now. Labels: environment, image, status. */
export const sandboxes = gauge("effect_sandbox_sandboxes", "{sandbox}", "Sandboxes by status")

/** Sandboxes created − destroyed − live: 0, or sandboxes (or their events) were lost. Label: environment. */
export const ledger = gauge(
  "effect_sandbox_ledger",
  "{sandbox}",
  "Sandboxes created minus destroyed minus live; must be 0"
)

/** Images that are in an outage now. Labels: environment, image. */
export const outages = gauge("effect_sandbox_outages", "{outage}", "Outages that last")

/** How long outages lasted that are over. Labels: environment, image. */
export const outageDuration = seconds("effect_sandbox_outage_seconds", "Duration of outages that are over")

/** How long sandboxes took to come up. Labels: environment, image, outcome. */
export const sandboxStart = seconds("effect_sandbox_sandbox_start_seconds", "Time to bring a sandbox up")

/**
 * How long callers waited for a sandbox before their session was set up, or until they were told that there is none.
 * Labels: environment, image, outcome (`"ok"`: they got one).
 */
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

/**
 * How long rounds of housekeeping took: of an environment, a sandbox (image), or a feature. Labels: environment, image
 * (if any), feature (if any), outcome.
 */
export const housekeeping = seconds("effect_sandbox_housekeeping_seconds", "Duration of rounds of housekeeping")

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

/** What has been added to since the last flush. */
interface Touched {
  readonly flush: (context: Context.Context<never>) => void
}

/** What a metric is to be changed by, until a whole batch of events was looked at: one update instead of hundreds. */
class Tally {
  private readonly metric: Metric.Metric<number, unknown>
  private readonly touched: Array<Touched>
  private by = 0
  private isTouched = false

  constructor(metric: Metric.Metric<number, unknown>, touched: Array<Touched>) {
    this.metric = metric
    this.touched = touched
  }

  add(by: number): void {
    this.by += by
    if (this.isTouched) return
    this.isTouched = true
    this.touched.push(this)
  }

  /** Gauges are changed by differences, so that several handlers and environments add up. */
  flush(context: Context.Context<never>): void {
    this.metric.modifyUnsafe(this.by, context)
    this.by = 0
    this.isTouched = false
  }
}

/** A series of durations. It is looked up in the registry once for a batch of events instead of for each duration. */
class Times {
  private readonly metric: Metric.Metric<number, unknown>
  private readonly context: Context.Context<never>
  private readonly touched: Array<Touched>
  private readonly key: string
  private hooks: Metric.Metric.Hooks<number, unknown> | undefined

  constructor(metric: Metric.Metric<number, unknown>, context: Context.Context<never>, touched: Array<Touched>) {
    this.metric = metric
    this.context = context
    this.touched = touched
    // Only a registry tells under which key it has a metric.
    const registry: Metric.MetricRegistry = new Map()
    metric.valueUnsafe(Context.add(context, Metric.MetricRegistry, registry))
    this.key = [...registry.keys()].join()
  }

  add(millis: number): void {
    if (this.hooks === undefined) {
      this.hooks = this.lookUp()
      this.touched.push(this)
    }
    this.hooks.update(millis / 1000, this.context)
  }

  flush(): void {
    this.hooks = undefined
  }

  private lookUp(): Metric.Metric.Hooks<number, unknown> {
    const registry = Context.get(this.context, Metric.MetricRegistry)
    if (!registry.has(this.key)) this.metric.valueUnsafe(this.context) // which puts it there
    const series = registry.get(this.key)
    if (series === undefined) throw new Error(`the registry does not know ${this.metric.id} as ${this.key}`)
    return series.hooks
  }
}

/**
 * Makes the series of metrics. Each is a metric of its own with the same name, not a `Metric.withAttributes`: many of
 * those share one metric, which works out its key anew whenever another of them was used in between.
 */
class Book {
  private readonly context: Context.Context<never>
  private readonly touched: Array<Touched> = []

  constructor(context: Context.Context<never>) {
    this.context = context
  }

  counter(of: Metric.Counter<number>, labels: Labels): Tally {
    const { description, id } = of
    return new Tally(Metric.counter(id, { description, incremental: true, attributes: all(of, labels) }), this.touched)
  }

  gauge(of: Metric.Gauge<number>, labels: Labels): Tally {
    const { description, id } = of
    return new Tally(Metric.gauge(id, { description, attributes: all(of, labels) }), this.touched)
  }

  times(of: Metric.Histogram<number>, labels: Labels): Times {
    const { description, id } = of
    const metric = Metric.histogram(id, { description, boundaries, attributes: all(of, labels) })
    return new Times(metric, this.context, this.touched)
  }

  flush(): void {
    for (const touched of this.touched) touched.flush(this.context)
    this.touched.length = 0
  }
}

/** A metric's own attributes, and the labels that have a value. */
const all = (of: { readonly attributes: Metric.Metric.AttributeSet | undefined }, labels: Labels) => {
  const attributes: Record<string, string> = { ...of.attributes }
  for (const [label, value] of Object.entries(labels)) if (value !== undefined) attributes[label] = value
  return attributes
}

/** Makes something once for each key. */
const once = <K, A>(make: (key: K) => A): ((key: K) => A) => {
  const known = new Map<K, A>()
  return (key) => {
    let made = known.get(key)
    if (made === undefined) {
      made = make(key)
      known.set(key, made)
    }
    return made
  }
}

/** The series of an image in an environment, or of the environment when there is no image. */
class Place {
  readonly environment: EnvironmentId
  readonly created: Tally
  readonly destroyed: Tally
  readonly ledger: Tally
  readonly outages: Tally
  readonly outageDuration: Times
  readonly sandboxes: (status: SandboxStatus) => Tally
  readonly error: (event: string) => (type: string) => Tally
  readonly action: (action: string) => Tally
  readonly ended: (outcome: Outcome) => Endings
  private well: Endings | undefined

  constructor(book: Book, environment: EnvironmentId, image: string | undefined) {
    const labels = { environment, image }
    this.environment = environment
    this.created = book.counter(sandboxesCreated, labels)
    this.destroyed = book.counter(sandboxesDestroyed, labels)
    this.ledger = book.gauge(ledger, { environment })
    this.outages = book.gauge(outages, labels)
    this.outageDuration = book.times(outageDuration, labels)
    this.sandboxes = once((status) => book.gauge(sandboxes, { ...labels, status }))
    this.error = once((event) => once((type) => book.counter(errors, { ...labels, event, "error.type": type })))
    this.action = once((action) => book.counter(actions, { environment, action }))
    this.ended = once((how) => new Endings(book, { ...labels, outcome: how }))
  }

  /** What ended well, as most things do. */
  get endedWell(): Endings {
    this.well ??= this.ended("ok")
    return this.well
  }
}

/** The series of what ended in one way in one place. */
class Endings {
  readonly sandboxStart: Times
  readonly sessions: Tally
  readonly sessionAcquireWait: Times
  readonly sessionSetUp: Times
  readonly sessionLifetime: Times
  readonly sessionTeardown: Times
  /** Without a feature: what the sandbox or the environment does itself. */
  readonly by: (feature: string | undefined) => Doings

  constructor(book: Book, labels: Labels) {
    this.sandboxStart = book.times(sandboxStart, labels)
    this.sessions = book.counter(sessions, labels)
    this.sessionAcquireWait = book.times(sessionAcquireWait, labels)
    this.sessionSetUp = book.times(sessionSetUp, labels)
    this.sessionLifetime = book.times(sessionLifetime, labels)
    this.sessionTeardown = book.times(sessionTeardown, labels)
    this.by = once((feature) => new Doings(book, { ...labels, feature }))
  }
}

class Doings {
  readonly FeatureSetUp: Times
  readonly FeatureTornDown: Times
  readonly FeatureSessionSetUp: Times
  readonly FeatureSessionTornDown: Times
  readonly housekeeping: Times
  readonly activity: (name: string) => { readonly count: Tally; readonly times: Times }

  constructor(book: Book, labels: Labels) {
    this.FeatureSetUp = book.times(featureSetUp, labels)
    this.FeatureTornDown = book.times(featureTeardown, labels)
    this.FeatureSessionSetUp = book.times(featureSessionSetUp, labels)
    this.FeatureSessionTornDown = book.times(featureSessionTeardown, labels)
    this.housekeeping = book.times(housekeeping, labels)
    this.activity = once((activity) => ({
      count: book.counter(activities, { ...labels, activity }),
      times: book.times(activityDuration, { ...labels, activity })
    }))
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

/** A sandbox that there is. */
interface Live {
  readonly place: Place
  status: SandboxStatus
  /** The status that it is counted with until the next flush. */
  counted: SandboxStatus
  isMoved: boolean
}

class Recorder {
  private readonly book: Book
  private readonly image = firstOf(200)
  private readonly activity = firstOf(200)
  private readonly errorType = firstOf(200)
  private readonly places: (environment: EnvironmentId) => (image: string | undefined) => Place
  private readonly live = new Map<SandboxId, Live>()
  private lastId: SandboxId | undefined
  private lastLive: Live | undefined
  private readonly lasting = new Map<string, Place>()
  /** Those that have another status than at the last flush, or had for a while. */
  private readonly moved: Array<Live> = []

  constructor(context: Context.Context<never>) {
    this.book = new Book(context)
    this.places = once((environment) => once((image) => new Place(this.book, environment, image)))
  }

  /** Changes the metrics by what was added. */
  flush(): void {
    for (const live of this.moved) {
      live.isMoved = false
      if (live.status === live.counted) continue
      live.place.sandboxes(live.counted).add(-1)
      live.place.sandboxes(live.status).add(1)
      live.counted = live.status
    }
    this.moved.length = 0
    this.book.flush()
  }

  addAll(events: ReadonlyArray<SandboxEvent>): void {
    for (const event of events) this.add(event)
  }

  private add(event: SandboxEvent): void {
    // Most events are this one, and it needs little of what others need.
    if (event._tag === "SandboxStatusChanged") return this.move(event)
    const place = this.placeOf(event)
    const error = errorOf(event)
    const how = outcome(error)
    const ended = error === undefined ? place.endedWell : place.ended(how)
    if (error !== undefined && how !== "interrupted") place.error(event._tag)(this.errorType(error.tag)).add(1)
    switch (event._tag) {
      case "EnvironmentStarting":
        place.ledger.add(0) // shown from the beginning
        return
      case "EnvironmentShutDown":
        this.forget(event.environmentId)
        return
      case "ImageOutageStarted":
        this.outage(event.image, place, true)
        return
      case "ImageOutageEnded":
        this.outage(event.image, place, false)
        place.outageDuration.add(event.durationMillis)
        return
      case "AcquireFailed":
        ended.sessionAcquireWait.add(event.waitedMillis)
        return
      case "ActionRequested":
        place.action(event.action).add(1)
        return
      case "SandboxStarted":
        ended.sandboxStart.add(event.durationMillis)
        return
      case "SessionStarted":
        place.endedWell.sessionAcquireWait.add(event.waitedMillis)
        ended.sessionSetUp.add(event.durationMillis)
        if (error !== undefined) ended.sessions.add(1)
        return
      case "SessionEnded":
        ended.sessions.add(1)
        ended.sessionLifetime.add(event.lifetimeMillis)
        ended.sessionTeardown.add(event.durationMillis)
        return
      case "SandboxActivity":
      case "FeatureActivity": {
        const feature = event._tag === "FeatureActivity" ? event.featureId : undefined
        const activity = ended.by(feature).activity(this.activity(event.name))
        activity.count.add(1)
        activity.times.add(event.durationMillis)
        return
      }
      case "FeatureSetUp":
      case "FeatureTornDown":
      case "FeatureSessionSetUp":
      case "FeatureSessionTornDown":
        ended.by(event.featureId)[event._tag].add(event.durationMillis)
        return
      case "EnvironmentHousekeepingDone":
      case "SandboxHousekeepingDone":
        ended.by(undefined).housekeeping.add(event.durationMillis)
        return
      case "FeatureHousekeepingDone":
        ended.by(event.featureId).housekeeping.add(event.durationMillis)
        return
      case "SandboxShutDown": // told by the move to offline
      case "EnvironmentStarted":
      case "EnvironmentDraining":
      case "EnvironmentShuttingDown":
        return
    }
  }

  private placeOf(event: SandboxEvent): Place {
    const live = "sandboxId" in event && event.sandboxId !== undefined ? this.liveOf(event.sandboxId) : undefined
    if (live !== undefined) return live.place
    const image = "image" in event && event.image !== undefined ? this.image(event.image) : undefined
    return this.places(event.environmentId)(image)
  }

  /** The sandboxes and outages that are still there when nothing more will be heard of them. */
  private forget(environment?: EnvironmentId): void {
    for (const [id, live] of this.live) {
      if (environment === undefined || live.place.environment === environment) this.vanish(id, live)
    }
    for (const [key, place] of this.lasting) {
      if (environment !== undefined && place.environment !== environment) continue
      this.lasting.delete(key)
      place.outages.add(-1)
    }
  }

  /** Nothing more will be heard of anything. */
  forgetAll(): void {
    this.forget()
    this.book.flush()
  }

  /** Where a sandbox was is known from the event before, which keeps the gauges right when one was dropped. */
  private move(event: Of<"SandboxStatusChanged">): void {
    const { from, sandboxId, to } = event
    const live = this.liveOf(sandboxId)
    const place = live?.place ?? this.placeOf(event)
    if (from === "Created") {
      place.created.add(1)
      place.ledger.add(1)
    }
    if (to === "Offline") {
      place.destroyed.add(1)
      place.ledger.add(-1)
      if (live !== undefined) this.vanish(sandboxId, live)
    } else if (live === undefined) {
      this.appear(sandboxId, place, to)
    } else {
      live.status = to
      if (live.isMoved) return
      live.isMoved = true
      this.moved.push(live)
    }
  }

  /** Several events of one sandbox often come one after the other. */
  private liveOf(id: SandboxId): Live | undefined {
    if (id !== this.lastId) {
      this.lastId = id
      this.lastLive = this.live.get(id)
    }
    return this.lastLive
  }

  private appear(id: SandboxId, place: Place, status: SandboxStatus): void {
    this.lastLive = { place, status, counted: status, isMoved: false }
    this.live.set(id, this.lastLive)
    place.sandboxes(status).add(1)
    place.ledger.add(-1)
  }

  private vanish(id: SandboxId, live: Live): void {
    live.place.sandboxes(live.counted).add(-1)
    live.place.ledger.add(1)
    live.status = live.counted // nothing is left to be counted
    this.live.delete(id)
    if (id === this.lastId) this.lastLive = undefined
  }

  private outage(image: string, place: Place, lasts: boolean): void {
    const key = `${place.environment}\u0000${image}`
    if (this.lasting.has(key) === lasts) return
    if (lasts) this.lasting.set(key, place)
    else this.lasting.delete(key)
    place.outages.add(lasts ? 1 : -1)
  }
}

/** Every update looks two things up, which takes longer in a context that has others, or lacks these. */
const onlyWhatMetricsNeed = (context: Context.Context<never>): Context.Context<never> =>
  Context.make(Metric.MetricRegistry, Context.get(context, Metric.MetricRegistry)).pipe(
    Context.add(Metric.CurrentMetricAttributes, Context.get(context, Metric.CurrentMetricAttributes))
  )

/** The metrics as a layer, to be provided to environments. */
export const layer: Layer.Layer<EventHandler.EventHub> = EventHandler.layerEffect(
  Effect.gen(function* () {
    const recorder = new Recorder(onlyWhatMetricsNeed(yield* Effect.context<never>()))
    // Events that were dropped must not leave sandboxes behind in the gauges.
    yield* Effect.addFinalizer(() => Effect.sync(() => recorder.forgetAll()))
    return {
      name: "EventMetrics",
      takeAll: (events: ReadonlyArray<SandboxEvent>) => recorder.addAll(events),
      handleTaken: Effect.sync(() => recorder.flush())
    }
  })
)
