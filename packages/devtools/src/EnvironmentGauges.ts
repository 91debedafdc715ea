/**
 * Metrics of what events do not tell, read from environments at the moment when metrics are exported: who waits, how
 * large pools may be, and how far handlers are behind. They complete `EventMetrics`.
 *
 * Environments are found through the hub of events, so this is a layer that is provided *to* them like a handler.
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Environment, EventMetrics } from "@effect-sandbox/core"
 * import { EnvironmentGauges } from "@effect-sandbox/devtools"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"] }) {}
 *
 * const LabLive = Lab.layer.pipe(Layer.provideMerge(Layer.mergeAll(EventMetrics.layer, EnvironmentGauges.layer)))
 * ```
 */
import type { ImageStats, Stats } from "@effect-sandbox/core/EnvironmentControl"
import { EventHub, type HandlerStats } from "@effect-sandbox/core/EventHandler"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import { EnvironmentStatus } from "@effect-sandbox/core/SandboxStatus"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"

const gauge = (name: string, unit: string, description: string) =>
  Metric.gauge(name, { description, attributes: { unit } })

const counter = (name: string, unit: string, description: string) =>
  Metric.counter(name, { description, incremental: true, attributes: { unit } })

/** Callers that wait for a sandbox now. Labels: environment, image. */
export const waiters = gauge("effect_sandbox_pool_waiters", "{caller}", "Callers that wait for a sandbox")

/** Sandboxes that are being started now. Labels: environment, image. */
export const starting = gauge("effect_sandbox_pool_starting", "{sandbox}", "Sandboxes that are being started")

/** How many sandboxes are kept. Labels: environment, image. */
export const min = gauge("effect_sandbox_pool_min", "{sandbox}", "Sandboxes that are kept")

/** How many sandboxes there may be; images that are not pooled have no such series. Labels: environment, image. */
export const max = gauge("effect_sandbox_pool_max", "{sandbox}", "Sandboxes that there may be")

/** Sandboxes that were started because another had gone. Labels: environment, image. */
export const replaced = counter(
  "effect_sandbox_sandboxes_replaced_total",
  "{sandbox}",
  "Sandboxes that were started because another had gone"
)

/** Sandboxes that the driver could not take down completely. Label: environment. */
export const leaked = counter(
  "effect_sandbox_sandboxes_leaked_total",
  "{sandbox}",
  "Sandboxes that could not be taken down completely"
)

/** 1 for the status that the environment has, 0 for the others. Labels: environment, status. */
export const environmentStatus = gauge(
  "effect_sandbox_environment_status",
  "{environment}",
  "1 for the status that the environment has"
)

/** Events that a handler has handled. Label: handler. */
export const handled = counter("effect_sandbox_handler_events_total", "{event}", "Events that were handled")

/** Events that did not fit into a handler's queue. Label: handler. */
export const dropped = counter(
  "effect_sandbox_handler_dropped_events_total",
  "{event}",
  "Events that were dropped because their handler was too slow"
)

/** Events whose handling failed. Label: handler. */
export const failed = counter("effect_sandbox_handler_failed_events_total", "{event}", "Events whose handling failed")

/** Events that wait for a handler now. Label: handler. */
export const queued = gauge("effect_sandbox_handler_queued_events", "{event}", "Events that wait for their handler")

/** The gauges as a layer, to be provided to environments. */
export const layer: Layer.Layer<EventHub> = Layer.effectDiscard(
  Effect.gen(function* () {
    const hub = yield* EventHub
    const register = new Register(hub, yield* Effect.context<never>())
    yield* Effect.addFinalizer(() => Effect.sync(() => register.removeAll()))
    yield* hub.subscribe({
      name: "EnvironmentGauges",
      handleAll: (events) => Effect.sync(() => events.forEach((event) => register.learn(event)))
    })
  })
).pipe(Layer.provideMerge(EventHub.layer))

/** Beyond so many images of an environment, no more get series. */
const maxImages = 200

type Labels = Readonly<Record<string, string>>

/** The series that there are. Each asks its environment when it is read, so they cost nothing in between. */
class Register {
  private readonly hub: EventHub["Service"]
  private readonly context: Context.Context<never>
  private readonly environments = new Map<string, { readonly images: Set<string>; readonly series: Series }>()
  private readonly handlers = new Map<string, Series>()

  constructor(hub: EventHub["Service"], context: Context.Context<never>) {
    this.hub = hub
    this.context = context
  }

  /** Finds new environments and images in events. */
  learn(event: SandboxEvent): void {
    const { environmentId } = event
    switch (event._tag) {
      case "EnvironmentStarting":
        this.environment(environmentId)
        for (const { image } of event.pools ?? []) this.image(environmentId, image)
        this.knowHandlers()
        return
      case "SandboxStatusChanged":
        if (event.from === "Created") this.image(environmentId, event.image)
        return
      case "ImageOutageStarted":
      case "AcquireFailed":
        this.image(environmentId, event.image)
        return
      case "EnvironmentShutDown":
        this.environments.get(environmentId)?.series.remove()
        this.environments.delete(environmentId)
        return
    }
  }

  removeAll(): void {
    for (const { series } of this.environments.values()) series.remove()
    for (const series of this.handlers.values()) series.remove()
    this.environments.clear()
    this.handlers.clear()
  }

  private environment(id: string): void {
    if (this.environments.has(id)) return
    const series = new Series(this.context)
    const stats = () => this.stats(id)
    series.counter(leaked, { environment: id }, () => stats()?.ledger.leaked)
    for (const status of EnvironmentStatus.literals) {
      series.gauge(environmentStatus, { environment: id, status }, () => (stats()?.status === status ? 1 : 0))
    }
    this.environments.set(id, { images: new Set(), series })
  }

  private image(id: string, image: string): void {
    const environment = this.environments.get(id)
    if (environment === undefined || environment.images.has(image) || environment.images.size >= maxImages) return
    environment.images.add(image)
    const labels = { environment: id, image }
    const { series } = environment
    const pool = (): ImageStats | undefined => this.stats(id)?.images.find((stats) => stats.image === image)
    series.gauge(waiters, labels, () => pool()?.waiters)
    series.gauge(starting, labels, () => pool()?.starting)
    series.counter(replaced, labels, () => pool()?.replaced)
    series.gauge(min, labels, () => pool()?.min)
    if (Number.isFinite(pool()?.max)) series.gauge(max, labels, () => pool()?.max)
  }

  /** Handlers subscribe before the first event; streams of events come and go, and have none of these. */
  private knowHandlers(): void {
    for (const { name } of this.hub.handlers()) {
      if (name === "stream" || this.handlers.has(name)) continue
      const series = new Series(this.context)
      const labels = { handler: name }
      const sum = (of: (stats: HandlerStats) => number) => () =>
        this.hub.handlers().reduce((total, stats) => (stats.name === name ? total + of(stats) : total), 0)
      series.counter(
        handled,
        labels,
        sum((stats) => stats.handled)
      )
      series.counter(
        dropped,
        labels,
        sum((stats) => stats.dropped)
      )
      series.counter(
        failed,
        labels,
        sum((stats) => stats.failed)
      )
      series.gauge(
        queued,
        labels,
        sum((stats) => stats.queued)
      )
      this.handlers.set(name, series)
    }
  }

  private stats(id: string): Stats | undefined {
    const environment = this.hub.environments().find((one) => one.id === id)
    return environment === undefined ? undefined : Effect.runSync(environment.stats)
  }
}

/** Series that are removed together. */
class Series {
  private readonly context: Context.Context<never>
  private readonly registrations: Array<Metric.Registration> = []

  constructor(context: Context.Context<never>) {
    this.context = context
  }

  gauge(of: Metric.Gauge<number>, labels: Labels, value: () => number | undefined): void {
    const metric = Metric.withAttributes(of, labels)
    this.add(
      Metric.registerUnsafe(metric, this.context, { get: () => ({ value: value() ?? 0 }), update, modify: update })
    )
  }

  counter(of: Metric.Counter<number>, labels: Labels, value: () => number | undefined): void {
    const metric = Metric.withAttributes(of, labels)
    const get = () => ({ count: value() ?? 0, incremental: true })
    this.add(Metric.registerUnsafe(metric, this.context, { get, update, modify: update }))
  }

  remove(): void {
    for (const registration of this.registrations) registration.remove()
    this.registrations.length = 0
  }

  private add(registration: Metric.Registration): void {
    this.registrations.push(registration)
  }
}

/** Registered series have no updates. */
const update = (): void => {}
