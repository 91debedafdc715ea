/**
 * What the events tell, put together: the status of every sandbox, its features and its sessions, the images' outages
 * and the environment itself. Whatever cannot follow on what was told before is a violation (I3 to I6, H2, H3, S2).
 */
import { parseSandboxId } from "./names.ts"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as SandboxStatus from "@effect-sandbox/core/SandboxStatus"
import { type Configuration, sizeOf } from "./program.ts"
import type { Blame } from "./violation.ts"

/** One sandbox, as told. */
export interface Told {
  readonly id: string
  readonly image: string
  readonly slot: number
  readonly generation: number
  readonly bornAt: number
  status: SandboxStatus.SandboxStatus
  /** Since when it has had its status. */
  since: number
  /** When it came up. */
  cameUpAt: number | undefined
  /** Sessions that have ended. */
  served: number
  /** When the last of them did. */
  endedAt: number
  session: string | undefined
  /** Why it must not serve any more, once the core knows. */
  broken: string | undefined
  /** Whether it was reset since it was created, or since its last session. */
  wasReset: boolean
  /** Whether a teardown of its current session failed. */
  teardownFailed: boolean
  isGone: boolean
  /** When its place was free again. */
  leftAt: number | undefined
  /** Orders what became ready, and what has left. */
  order: number
  /** Checks that are running. */
  checks: number
  readonly up: Array<string>
  readonly sessionUp: Array<string>
}

/** The outage of an image, as told. */
interface Outage {
  readonly since: number
}

/** What events do not tell. */
export interface Facts {
  /** Whether a sandbox has died, or something of it has failed that is not its user's. */
  readonly isBroken: (sandboxId: string) => boolean
  /** Whether the environment may be on its way down before it says so. */
  readonly mayShutDown: () => boolean
  /** Whether features that nobody knows may do anything. */
  readonly hasForeign: boolean
}

export class Sandboxes {
  readonly all = new Map<string, Told>()
  readonly outages = new Map<string, Outage>()
  /** The latest outage of each image that is over. */
  readonly pastOutages = new Map<string, Outage & { readonly until: number }>()
  /** The sandboxes that were asked to be replaced, and their status then. */
  readonly recycled = new Map<string, SandboxStatus.SandboxStatus>()
  /** Sessions that are open, by id; with their sandbox. */
  readonly sessions = new Map<string, Told>()
  environment: "none" | "starting" | "started" | "failed" | "draining" | "shuttingDown" | "shutDown" = "none"
  readonly hostUp: Array<string> = []
  private readonly slots = new Map<string, Told>()
  private readonly configuration: Configuration
  private readonly facts: Facts
  private readonly blame: Blame
  private lastTime = 0
  private moves = 0
  /** The most sandboxes that an image had at once since it was last asked for. */
  private readonly most = new Map<string, number>()

  constructor(configuration: Configuration, facts: Facts, blame: Blame) {
    this.configuration = configuration
    this.facts = facts
    this.blame = blame
  }

  /** The sandboxes of an image that take a place. */
  live(image: string): ReadonlyArray<Told> {
    return [...this.all.values()].filter((one) => one.image === image && one.status !== "Offline")
  }

  /** The most sandboxes that an image had at once since the last time this was asked. */
  takeMost(image: string): number {
    const most = this.most.get(image) ?? 0
    this.most.delete(image)
    return most
  }

  onEvent(event: SandboxEvent, now: number): void {
    const blame: Blame = (rule, what, expected, actual) =>
      this.blame(rule, `${what}, at ${event._tag}`, expected, actual)
    if (event.timestamp !== now) blame("I6", "the timestamp is not the time", now, event.timestamp)
    if (event.timestamp < this.lastTime) blame("I6", "time goes back", this.lastTime, event.timestamp)
    this.lastTime = event.timestamp
    if ("durationMillis" in event && !(event.durationMillis >= 0)) {
      blame("I6", "a duration is negative", ">= 0", event.durationMillis)
    }
    if (this.environment === "shutDown") blame("I6", "it came after the environment was shut down")
    if ("sandboxId" in event && event.sandboxId !== undefined) {
      const told = this.told(event, blame)
      if (told !== undefined) this.onSandboxEvent(told, event, blame)
      return
    }
    switch (event._tag) {
      case "EnvironmentStarting":
        if (this.environment !== "none") blame("I6", "the environment starts twice")
        this.environment = "starting"
        return
      case "EnvironmentStarted":
        if (this.environment !== "starting" && this.environment !== "shuttingDown" && this.environment !== "shutDown") {
          blame("I6", "it was not starting", "starting", this.environment)
        }
        if (this.environment === "starting") this.environment = event.error === undefined ? "started" : "failed"
        return
      case "EnvironmentDraining":
        if (this.environment !== "started") blame("I6", "it was not online", "started", this.environment)
        this.environment = "draining"
        return
      case "EnvironmentShuttingDown":
        if (this.environment === "shuttingDown") blame("H5", "the shutdown begins twice")
        this.environment = "shuttingDown"
        return
      case "EnvironmentShutDown":
        if (this.environment !== "shuttingDown") blame("I6", "it was not shutting down")
        this.environment = "shutDown"
        return
      case "ImageOutageStarted":
        if (this.outages.has(event.image)) blame("H3", `${event.image} is in an outage already`)
        if (event.error?.isStateError !== true && event.error?.tag !== "EnvironmentOutageError") {
          blame("H3", `an outage of ${event.image} began with an error of another kind`, "a state error", event.error)
        }
        this.outages.set(event.image, { since: event.timestamp })
        return
      case "ImageOutageEnded": {
        const outage = this.outages.get(event.image)
        if (outage === undefined) blame("H3", `${event.image} is in no outage`)
        else if (event.durationMillis !== event.timestamp - outage.since) {
          blame("I6", "the outage's duration", event.timestamp - outage.since, event.durationMillis)
        }
        if (!this.live(event.image).some((one) => one.cameUpAt === event.timestamp)) {
          blame("H3", `the outage of ${event.image} ends although nothing came up`)
        }
        if (outage !== undefined) this.pastOutages.set(event.image, { ...outage, until: event.timestamp })
        this.outages.delete(event.image)
        return
      }
      case "FeatureSetUp":
        this.hostUp.push(event.featureId)
        return
      case "FeatureTornDown": {
        const last = this.hostUp.pop()
        if (last !== event.featureId) blame("I1", "a host feature is torn down out of order", last, event.featureId)
        if (this.sessions.size > 0) blame("H5", "a host feature is torn down before the sessions have ended")
        return
      }
      default:
        return
    }
  }

  /** What is known of the event's sandbox; its first event makes it known. */
  private told(event: Extract<SandboxEvent, { readonly sandboxId?: unknown }>, blame: Blame): Told | undefined {
    const id = String(event.sandboxId)
    const known = this.all.get(id)
    if (known !== undefined) return known
    const name = parseSandboxId(id)
    if (name === undefined) {
      blame("L7", `${id} is no name of a sandbox`)
      return undefined
    }
    const { generation, image, slot } = name
    const before = this.slots.get(`${image}:${slot}`)
    if (before !== undefined && before.status !== "Offline") {
      blame("H2", `${id} takes a place that is taken`, "Offline", `${before.id} is ${before.status}`)
    }
    if (generation !== (before === undefined ? 0 : before.generation + 1)) {
      blame("H2", `the generation of ${id}`, before === undefined ? 0 : before.generation + 1, generation)
    }
    const told: Told = {
      id,
      image,
      slot,
      generation,
      bornAt: event.timestamp,
      status: "Created",
      since: event.timestamp,
      cameUpAt: undefined,
      served: 0,
      endedAt: event.timestamp,
      session: undefined,
      broken: undefined,
      wasReset: false,
      teardownFailed: false,
      isGone: false,
      leftAt: undefined,
      order: 0,
      checks: 0,
      up: [],
      sessionUp: []
    }
    const { max } = sizeOf(this.configuration, image)
    if (slot >= max) blame("P3", `${id} has a slot beyond the pool`, `< ${max}`, slot)
    this.all.set(id, told)
    this.most.set(image, Math.max(this.most.get(image) ?? 0, this.live(image).length))
    this.slots.set(`${image}:${slot}`, told)
    return told
  }

  private onSandboxEvent(
    told: Told,
    event: Extract<SandboxEvent, { readonly sandboxId?: unknown }>,
    blame: Blame
  ): void {
    const { id } = told
    if (told.isGone) {
      blame("I6", `${id} was shut down before`)
    }
    switch (event._tag) {
      case "SandboxStatusChanged":
        this.onMove(told, event, blame)
        return
      case "SandboxStarted":
        if (told.cameUpAt !== undefined) blame("I6", `${id} started twice`)
        if (event.error === undefined) told.cameUpAt = event.timestamp
        else this.breaks(told, event)
        return
      case "SessionStarted": {
        if (event.error !== undefined) return
        if (told.status !== "InSession") blame("I6", `${id} is not in a session`, "InSession", told.status)
        if (told.session !== undefined) blame("I3", `${id} is in a session already`, told.session, event.sessionId)
        if (told.broken !== undefined) blame("I4", `${id} serves again`, told.broken, event.sessionId)
        if (this.sessions.has(event.sessionId)) blame("S2", `there is a session ${event.sessionId} already`)
        if (!(event.waitedMillis >= 0)) blame("I6", "the time waited", ">= 0", event.waitedMillis)
        const { maxSessions } = this.configuration
        if (maxSessions !== undefined && told.served >= maxSessions) {
          blame("P6", `${id} serves more than ${maxSessions} sessions`)
        }
        told.session = event.sessionId
        told.teardownFailed = false
        this.sessions.set(event.sessionId, told)
        return
      }
      case "SessionEnded":
        if (told.session !== event.sessionId) {
          blame("I6", `the session that ends in ${id}`, told.session ?? "none", event.sessionId)
        }
        if (told.status !== "ExitingSession") blame("I6", `${id} ends a session`, "ExitingSession", told.status)
        told.session = undefined
        told.served++
        told.endedAt = event.timestamp
        told.wasReset = false
        this.sessions.delete(event.sessionId)
        if (event.error?.isStateError === true && told.broken === undefined) {
          if (!this.facts.isBroken(id) && !this.facts.hasForeign) {
            blame("X3", `the session in ${id} broke it`, "nothing that breaks a sandbox", event.error.message)
          }
        }
        this.breaks(told, event)
        return
      case "SandboxShutDown":
        if (told.status !== "Offline") blame("I6", `${id} is shut down`, "Offline", told.status)
        if (event.lifetimeMillis !== event.timestamp - told.bornAt) {
          blame("I6", `the lifetime of ${id}`, event.timestamp - told.bornAt, event.lifetimeMillis)
        }
        told.isGone = true
        told.leftAt = event.timestamp
        return
      case "FeatureSetUp":
        told.up.push(event.featureId)
        this.breaks(told, event)
        return
      case "FeatureTornDown": {
        const last = told.up.pop()
        if (last !== event.featureId) blame("I1", `${id} is torn down out of order`, last ?? "none", event.featureId)
        if (told.checks > 0 && told.broken === undefined) blame("H1", `${id} is checked while it is torn down`)
        if (told.sessionUp.length > 0) blame("I1", `a session of ${id} is still up`, "none", told.sessionUp)
        return
      }
      case "FeatureSessionSetUp":
        told.sessionUp.push(event.featureId)
        this.breaks(told, event)
        return
      case "FeatureSessionTornDown": {
        const last = told.sessionUp.pop()
        if (last !== event.featureId) {
          blame("I1", `the session in ${id} is torn down out of order`, last ?? "none", event.featureId)
        }
        if (event.error !== undefined) told.teardownFailed = true
        this.breaks(told, event)
        return
      }
      case "SandboxHousekeepingDone":
      case "FeatureHousekeepingDone":
        // A check may be interrupted at any time, by whoever has something better to do.
        if (event.error !== undefined && event.error.tag !== "Interrupted") told.broken ??= event.error.message
        return
      default:
        return
    }
  }

  private breaks(
    told: Told,
    event: { readonly error?: { readonly isStateError: boolean; readonly message: string } | undefined }
  ): void {
    if (event.error?.isStateError === true) told.broken ??= event.error.message
  }

  private onMove(
    told: Told,
    event: Extract<SandboxEvent, { readonly _tag: "SandboxStatusChanged" }>,
    blame: Blame
  ): void {
    const { id } = told
    const { from, to } = event
    const move = `${from} -> ${to}`
    if (from !== told.status) blame("I6", `a move of ${id} is missing`, `from ${told.status}`, move)
    if (!SandboxStatus.isLegal(from, to)) blame("I5", `an illegal move of ${id}`, undefined, move)
    if (event.spentMillis !== event.timestamp - told.since) {
      blame("I6", `the time that ${id} was ${from}`, event.timestamp - told.since, event.spentMillis)
    }
    if (told.broken !== undefined && (to === "Acquired" || to === "InSession")) {
      blame("I4", `${id} is broken and goes on: ${move}`, `not to serve after: ${told.broken}`, move)
    }
    if (to === "Acquired" && this.recycled.has(id)) {
      blame("P6", `${id} was to be replaced and is handed out`, "ShuttingDown", move)
    }
    if (
      to === "ShuttingDown" &&
      (from === "Ready" || from === "ExitingSession") &&
      !this.mayGo(told, event.timestamp)
    ) {
      blame("P6", `${id} is taken down for no reason`, from === "Ready" ? "Ready" : "another session", move)
    }
    if (from === "ExitingSession" && to !== "ShuttingDown") {
      if (told.broken !== undefined) blame("X3", `${id} is broken and stays`, "ShuttingDown", move)
      if (told.teardownFailed) blame("X6", `the teardown of the session failed and ${id} stays`, "ShuttingDown", move)
      const { isPooled } = sizeOf(this.configuration, told.image)
      const proactive = isPooled && this.configuration.proactiveSessionSetup !== false
      if (proactive !== (to === "SettingUp")) {
        blame("S3", `what ${id} does after a session`, proactive ? "SettingUp" : "Ready", to)
      }
      if (!isPooled) blame("P1", `${id} is not pooled and stays`, "ShuttingDown", move)
      // One that is asked for while the session ends may come too late to spare the sandbox its reset.
      const asked = this.recycled.get(id) ?? "ExitingSession"
      const reason =
        asked === "ExitingSession" ? this.recycleReason(told, told.endedAt) : `was to be replaced while ${asked}`
      if (reason !== undefined) blame("P6", `${id} ${reason} and stays`, "ShuttingDown", move)
    }
    if (told.checks > 0 && told.broken === undefined && to !== "Acquired" && to !== "ShuttingDown") {
      blame("H1", `${id} is checked while it goes on: ${move}`)
    }
    told.status = to
    told.since = event.timestamp
    if (to === "Ready" || to === "Offline") told.order = ++this.moves
  }

  /** Why a sandbox that works must be replaced (P6). */
  private recycleReason(told: Told, now: number): string | undefined {
    const { maxLifetime, maxSessions } = this.configuration
    if (maxSessions !== undefined && told.served >= maxSessions) return `has served ${maxSessions} sessions`
    return maxLifetime !== undefined && now - told.bornAt >= maxLifetime ? `is ${now - told.bornAt} ms old` : undefined
  }

  /** Whether there is a reason to take a sandbox down that is ready, or whose session has ended. */
  private mayGo(told: Told, now: number): boolean {
    const { idleTimeToLive } = this.configuration
    const { isPooled, min } = sizeOf(this.configuration, told.image)
    if (!isPooled || told.broken !== undefined || told.teardownFailed || this.facts.isBroken(told.id)) return true
    if (this.environment !== "started" || this.facts.mayShutDown() || this.facts.hasForeign) return true
    if (this.recycled.has(told.id) || this.recycleReason(told, now) !== undefined) return true
    if (told.status !== "Ready" || idleTimeToLive === undefined || now - told.since < idleTimeToLive) return false
    const staying = this.live(told.image).filter((one) => one.status !== "ShuttingDown")
    return staying.length > min
  }
}
