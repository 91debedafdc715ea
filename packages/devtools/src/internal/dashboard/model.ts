/**
 * What the dashboard knows: environments, the sandboxes in their slots, rates and recent failures, made from events and
 * from the statistics of the environments. Everything in it is bounded.
 *
 * Where a sandbox is comes from events alone; when some of those were dropped, a slot is right again with the next
 * event about it.
 */
import type { Stats } from "@effect-sandbox/core/EnvironmentControl"
import * as EventMetrics from "@effect-sandbox/core/EventMetrics"
import type { EnvironmentId, ImageId, SandboxId } from "@effect-sandbox/core/Id"
import { type ErrorInfo, errorOf, type Of, type SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as SandboxStatus from "@effect-sandbox/core/SandboxStatus"
import { EventLog } from "./eventLog.ts"
import * as findings from "./findings.ts"
import type * as Protocol from "./protocol.ts"
import * as series from "./series.ts"

/** How much is kept, beside the event log. */
const limits = {
  /** Environments that are gone make room for new ones. */
  environments: 50,
  /** Images of an environment that are shown one by one. */
  images: 200,
  /** Slots of an image whose sandbox is gone. */
  emptySlots: 200,
  generations: 10,
  /** Failures of the last minutes that are counted one by one, per environment. */
  failures: 2000
}

/** Failures are told for as long as the charts go back. */
const recentMillis = series.length * 1000

/** The place of a sandbox in the pool of its image, with what was there before. */
interface Slot {
  sandboxId: SandboxId
  readonly number: number
  generation: number
  status: SandboxStatus.SandboxStatus
  since: number
  spentMillis: { [status: string]: number }
  /** The latest last; the last one is that of the slot's sandbox. */
  readonly generations: Array<{ -readonly [K in keyof Protocol.Generation]: Protocol.Generation[K] }>
}

interface Image {
  readonly id: ImageId
  readonly slots: Map<number, Slot>
  /** Slots without a sandbox, the one that has been empty for longest first. */
  readonly empty: Set<number>
  readonly changed: Set<Slot>
  readonly seconds: series.Seconds
}

interface Failure {
  readonly timestamp: number
  readonly event: SandboxEvent
  readonly error: ErrorInfo
}

interface Environment {
  readonly id: EnvironmentId
  status: SandboxStatus.EnvironmentStatus
  startedAt?: number
  stoppedAt?: number
  pools: NonNullable<Of<"EnvironmentStarting">["pools"]>
  stats?: Stats
  readonly images: Map<ImageId, Image>
  readonly seconds: series.Seconds
  failures: Array<Failure>
}

const idPattern = /:(\d+):(\d+)$/

export class Model {
  readonly log: EventLog
  private readonly environments = new Map<EnvironmentId, Environment>()

  constructor(history: number) {
    this.log = new EventLog(history)
  }

  add(event: SandboxEvent): void {
    this.log.add(event)
    const environment = this.environment(event.environmentId)
    const image = "image" in event && event.image !== undefined ? this.image(environment, event.image) : undefined
    const error = errorOf(event)
    if (error !== undefined && EventMetrics.outcome(error) !== "interrupted") {
      if (environment.failures.length >= 2 * limits.failures) environment.failures.splice(0, limits.failures)
      environment.failures.push({ timestamp: event.timestamp, event, error })
    }
    environment.seconds.add(event)
    image?.seconds.add(event)
    switch (event._tag) {
      case "EnvironmentStarting":
        environment.status = "Created"
        environment.startedAt = event.timestamp
        delete environment.stoppedAt
        environment.pools = event.pools ?? []
        // An environment of that name before counted its generations for itself.
        for (const one of environment.images.values()) one.slots.clear()
        for (const pool of environment.pools) this.image(environment, pool.image)
        return
      case "EnvironmentStarted":
        if (error === undefined) environment.status = "Online"
        return
      case "EnvironmentDraining":
        environment.status = "Draining"
        return
      case "EnvironmentShuttingDown":
        environment.status = "ShuttingDown"
        return
      case "EnvironmentShutDown":
        this.close(environment, event.timestamp)
        return
      case "SandboxStatusChanged":
        if (image !== undefined) this.move(image, event)
        return
      case "SandboxStarted": {
        const life = this.life(image, event.sandboxId)
        if (life !== undefined) life.setUpMillis = event.durationMillis
        return
      }
      case "SessionStarted":
      case "SessionEnded": {
        const life = this.life(image, event.sandboxId)
        if (life === undefined) return
        if (event._tag === "SessionStarted") life.sessions++
        const outcome = EventMetrics.outcome(error)
        if (outcome !== "ok" && outcome !== "interrupted") life.failed++
        return
      }
      case "SandboxShutDown": {
        const life = this.life(image, event.sandboxId)
        if (life !== undefined) life.reason = event.reason
        return
      }
      default:
        return
    }
  }

  /** What environments say of themselves; those that are not told of any more have been closed. */
  update(all: ReadonlyArray<Stats>, now: number): void {
    for (const stats of all) {
      const environment = this.environment(stats.id)
      environment.stats = stats
      environment.status = stats.status
    }
    for (const environment of this.environments.values()) {
      const isClosed = environment.stats !== undefined && !all.some((stats) => stats.id === environment.id)
      if (isClosed && environment.status !== "Offline") this.close(environment, now)
    }
  }

  /** Ends a second, for all; `t` is its end. */
  closeSecond(t: number): Array<Protocol.Series> {
    return [...this.environments.values()]
      .filter((environment) => environment.status !== "Offline" || (environment.stoppedAt ?? t) > t - 2000)
      .flatMap((environment) => {
        const images = environment.status === "Offline" ? [] : (environment.stats?.images ?? [])
        const whole: Protocol.Series = {
          environment: environment.id,
          points: [environment.seconds.close(t, sum(images.map(gauges)))]
        }
        return [
          whole,
          ...[...environment.images.values()].map((image): Protocol.Series => {
            const stats = images.find((one) => one.image === image.id)
            const now = stats === undefined ? series.nothing : gauges(stats)
            return { environment: environment.id, image: image.id, points: [image.seconds.close(t, now)] }
          })
        ]
      })
  }

  states(now: number): Array<Protocol.EnvironmentState> {
    return [...this.environments.values()].map((environment) => this.state(environment, now))
  }

  /** All slots with a sandbox. */
  cells(): Array<Protocol.Cells> {
    return this.cellsOf((image) => [...image.slots.values()].filter((slot) => slot.status !== "Offline"))
  }

  /** Those that have changed since this was asked last. */
  takeChanges(): Array<Protocol.Cells> {
    const changes = this.cellsOf((image) => [...image.changed])
    for (const environment of this.environments.values()) {
      for (const image of environment.images.values()) image.changed.clear()
    }
    return changes
  }

  series(): Array<Protocol.Series> {
    return [...this.environments.values()].flatMap((environment) => [
      { environment: environment.id, points: environment.seconds.points },
      ...[...environment.images.values()].map((image) => ({
        environment: environment.id,
        image: image.id,
        points: image.seconds.points
      }))
    ])
  }

  /** The slot of a sandbox, whatever its generation. */
  history(sandboxId: string, now: number): Omit<Protocol.SandboxHistory, "entries"> | undefined {
    for (const environment of this.environments.values()) {
      for (const image of environment.images.values()) {
        const slot = image.slots.get(slotOf(sandboxId)?.slot ?? -1)
        if (slot === undefined || prefixOf(slot.sandboxId) !== prefixOf(sandboxId)) continue
        const { since, status } = slot
        const spent = (slot.spentMillis[status] ?? 0) + (status === "Offline" ? 0 : Math.max(0, now - since))
        return {
          sandboxId: slot.sandboxId,
          environment: environment.id,
          image: image.id,
          slot: slot.number,
          status,
          since,
          spentMillis: { ...slot.spentMillis, [status]: spent },
          time: now,
          generations: slot.generations.toReversed()
        }
      }
    }
    return undefined
  }

  private close(environment: Environment, at: number): void {
    environment.status = "Offline"
    environment.stoppedAt = at
    for (const image of environment.images.values()) {
      for (const slot of image.slots.values()) {
        if (slot.status === "Offline") continue
        slot.status = "Offline" // its last events were dropped
        slot.since = at
        image.changed.add(slot)
      }
    }
  }

  private environment(id: EnvironmentId): Environment {
    const known = this.environments.get(id)
    if (known !== undefined) return known
    if (this.environments.size >= limits.environments) {
      const gone = [...this.environments.values()].find((one) => one.status === "Offline")
      if (gone !== undefined) this.environments.delete(gone.id)
    }
    const environment: Environment = {
      id,
      status: "Created",
      pools: [],
      images: new Map(),
      seconds: new series.Seconds(),
      failures: []
    }
    this.environments.set(id, environment)
    return environment
  }

  private image(environment: Environment, id: ImageId): Image | undefined {
    const known = environment.images.get(id)
    if (known !== undefined) return known
    if (environment.images.size >= limits.images) return undefined
    const image: Image = { id, slots: new Map(), empty: new Set(), changed: new Set(), seconds: new series.Seconds() }
    environment.images.set(id, image)
    return image
  }

  private move(image: Image, event: Of<"SandboxStatusChanged">): void {
    const place = slotOf(event.sandboxId)
    if (place === undefined) return
    let slot = image.slots.get(place.slot)
    if (slot === undefined || slot.generation < place.generation) {
      if (slot !== undefined) image.changed.delete(slot)
      slot = {
        sandboxId: event.sandboxId,
        number: place.slot,
        generation: place.generation,
        status: event.to,
        since: event.timestamp,
        spentMillis: {},
        generations: slot?.generations ?? []
      }
      slot.generations.push({
        generation: place.generation,
        startedAt: event.timestamp - event.spentMillis,
        sessions: 0,
        failed: 0
      })
      if (slot.generations.length > limits.generations) slot.generations.shift()
      image.slots.set(place.slot, slot)
      image.empty.delete(place.slot)
    } else if (slot.generation > place.generation) {
      return // the end of a sandbox whose slot has been taken again
    }
    slot.spentMillis[event.from] = (slot.spentMillis[event.from] ?? 0) + event.spentMillis
    slot.status = event.to
    slot.since = event.timestamp
    image.changed.add(slot)
    if (event.to !== "Offline") return
    const life = slot.generations.at(-1)
    if (life !== undefined) life.endedAt = event.timestamp
    image.empty.add(place.slot)
    if (image.empty.size > limits.emptySlots) {
      const [first] = image.empty
      if (first !== undefined) {
        image.empty.delete(first)
        image.slots.delete(first)
      }
    }
  }

  private life(image: Image | undefined, sandboxId: SandboxId) {
    const place = slotOf(sandboxId)
    if (image === undefined || place === undefined) return undefined
    return image.slots.get(place.slot)?.generations.findLast((one) => one.generation === place.generation)
  }

  private cellsOf(choose: (image: Image) => ReadonlyArray<Slot>): Array<Protocol.Cells> {
    return [...this.environments.values()].flatMap((environment) =>
      [...environment.images.values()].flatMap((image) => {
        const slots = choose(image)
        return slots.length === 0
          ? []
          : [
              {
                environment: environment.id,
                image: image.id,
                cells: slots.map((slot): Protocol.Cell => [slot.number, slot.generation, slot.status, slot.since])
              }
            ]
      })
    )
  }

  private state(environment: Environment, now: number): Protocol.EnvironmentState {
    const { stats, status } = environment
    environment.failures = environment.failures.filter((failure) => failure.timestamp > now - recentMillis)
    const isOffline = status === "Offline"
    const images = [...environment.images.values()].map((image) => {
      const told = stats?.images.find((one) => one.image === image.id)
      const pool = environment.pools.find((one) => one.image === image.id)
      if (told === undefined) return imageWithoutStats(image, pool)
      return isOffline ? goneImage(told) : imageState(told)
    })
    const failures = group(environment.failures)
    const view: findings.View = {
      status,
      images,
      leaked: stats?.ledger.leaked ?? 0,
      dropped: (stats?.handlers ?? []).reduce((total, handler) => total + handler.dropped, 0),
      sessions: isOffline ? 0 : (stats?.sessions ?? 0),
      points: environment.seconds.points.filter((point) => point.t > now - recentMillis),
      pointsOf: (image) =>
        (environment.images.get(image)?.seconds.points ?? []).filter((point) => point.t > now - recentMillis),
      failures
    }
    return {
      id: environment.id,
      status,
      ...(environment.startedAt === undefined ? {} : { startedAt: environment.startedAt }),
      ...(environment.stoppedAt === undefined ? {} : { stoppedAt: environment.stoppedAt }),
      sessions: view.sessions,
      images,
      ledger: {
        ...(stats?.ledger ?? { created: 0, destroyed: 0, leaked: 0 }),
        live: isOffline ? 0 : (stats?.ledger.live ?? 0)
      },
      handlers: stats?.handlers ?? [],
      health: findings.health(view),
      pool: findings.pool(view),
      failing: findings.failing(view),
      failures: failures.slice(0, 20)
    }
  }
}

const slotOf = (sandboxId: string): { readonly slot: number; readonly generation: number } | undefined => {
  const found = idPattern.exec(sandboxId)
  return found === null ? undefined : { slot: Number(found[1]), generation: Number(found[2]) }
}

/** Everything but the generation. */
const prefixOf = (sandboxId: string): string => sandboxId.slice(0, sandboxId.lastIndexOf(":"))

const busyStatuses = ["Acquired", "InSession", "ExitingSession"] as const

const gauges = ({ counts, waiters }: Stats["images"][number]): series.Gauges => ({
  busy: busyStatuses.reduce((total, status) => total + counts[status], 0),
  ready: counts.Ready,
  live: SandboxStatus.all.reduce((total, status) => total + (status === "Offline" ? 0 : counts[status]), 0),
  waiters
})

const sum = (all: ReadonlyArray<series.Gauges>): series.Gauges =>
  all.reduce(
    (total, one) => ({
      busy: total.busy + one.busy,
      ready: total.ready + one.ready,
      live: total.live + one.live,
      waiters: total.waiters + one.waiters
    }),
    series.nothing
  )

const imageState = (stats: Stats["images"][number]): Protocol.ImageState => ({
  image: stats.image,
  counts: stats.counts,
  min: stats.min,
  ...(Number.isFinite(stats.max) ? { max: stats.max } : {}), // JSON has no infinity
  starting: stats.starting,
  waiters: stats.waiters,
  sessionsServed: stats.sessionsServed,
  replaced: stats.replaced,
  ...(stats.outage === undefined
    ? {}
    : { outage: { durationMillis: stats.outage.durationMillis, attempts: stats.outage.attempts } })
})

/** What it has done, without what it had. */
const goneImage = (stats: Stats["images"][number]): Protocol.ImageState =>
  imageState({ ...stats, counts: SandboxStatus.noCounts(), starting: 0, waiters: 0, outage: undefined })

/** Before an environment has told of an image. */
const imageWithoutStats = (
  image: Image,
  pool: { readonly min: number; readonly max?: number | undefined } | undefined
): Protocol.ImageState => ({
  image: image.id,
  counts: SandboxStatus.noCounts(),
  min: pool?.min ?? 0,
  ...(pool?.max === undefined ? {} : { max: pool.max }),
  starting: 0,
  waiters: 0,
  sessionsServed: 0,
  replaced: 0
})

/** By kind of event, kind of error and image; the most frequent first. */
const group = (failures: ReadonlyArray<Failure>): Array<Protocol.Failure> => {
  const groups = new Map<string, { -readonly [K in keyof Protocol.Failure]: Protocol.Failure[K] }>()
  for (const { error, event, timestamp } of failures) {
    const image = "image" in event ? event.image : undefined
    const key = `${event._tag}\u0000${error.tag}\u0000${image}`
    const known = groups.get(key)
    if (known === undefined) {
      groups.set(key, {
        kind: event._tag,
        tag: error.tag,
        message: error.message.slice(0, 500),
        ...(image === undefined ? {} : { image }),
        isStateError: error.isStateError,
        count: 1,
        last: timestamp
      })
    } else {
      known.count++
      known.message = error.message.slice(0, 500)
      known.last = timestamp
    }
  }
  return [...groups.values()].sort((a, b) => b.count - a.count || b.last - a.last)
}
