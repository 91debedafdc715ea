/** One life of an environment, from its start to its shutdown: what has begun in it and not ended. */
import type { EnvironmentStatus, SandboxStatus } from "@effect-sandbox/core/SandboxStatus"
import type { Leak } from "../../Analysis.ts"
import { optional } from "./optional.ts"
import type { PoolFold, Stay, Use } from "./poolFold.ts"

export interface LiveSandbox {
  readonly pool: PoolFold
  status: SandboxStatus
  use: Use
  since: number
  readonly startedAt: number
  sessionId: string | undefined
}

export interface LiveSession {
  readonly pool: PoolFold
  readonly sandboxId: string
  readonly since: number
}

export interface LiveOutage {
  readonly pool: PoolFold
  readonly since: number
  readonly error: string | undefined
}

/** What was set up and not torn down yet, by whom it was set up for. */
class Parts {
  private readonly byOwner = new Map<string, Map<string, { count: number; readonly since: number }>>()

  begin(owner: string, featureId: string, at: number): void {
    let parts = this.byOwner.get(owner)
    if (parts === undefined) {
      parts = new Map()
      this.byOwner.set(owner, parts)
    }
    const known = parts.get(featureId)
    if (known === undefined) parts.set(featureId, { count: 1, since: at })
    else known.count++
  }

  /** Whether it had begun. */
  end(owner: string, featureId: string): boolean {
    const parts = this.byOwner.get(owner)
    const known = parts?.get(featureId)
    if (parts === undefined || known === undefined) return false
    known.count--
    if (known.count === 0) {
      parts.delete(featureId)
      if (parts.size === 0) this.byOwner.delete(owner)
    }
    return true
  }

  /** What one owner has. */
  of(owner: string): ReadonlyArray<readonly [featureId: string, since: number]> {
    return [...(this.byOwner.get(owner) ?? [])].flatMap(([featureId, { count, since }]) =>
      Array.from({ length: count }, () => [featureId, since] as const)
    )
  }

  forget(owner: string): void {
    this.byOwner.delete(owner)
  }

  owners(): ReadonlyArray<string> {
    return [...this.byOwner.keys()]
  }

  get size(): number {
    let size = 0
    for (const parts of this.byOwner.values()) for (const { count } of parts.values()) size += count
    return size
  }
}

/** Who owns the features of the host, and their sessions without a sandbox. No sandbox is called so. */
export const host = (sessionId?: string): string => (sessionId === undefined ? "" : `\u0000${sessionId}`)

export class Life {
  readonly environmentId: string
  /** Whether its beginning was seen, so that nothing can have begun before. */
  readonly isWhole: boolean
  status: EnvironmentStatus
  /** When it was last heard of. */
  lastAt: number
  readonly sandboxes = new Map<string, LiveSandbox>()
  readonly sessions = new Map<string, LiveSession>()
  readonly outages = new Map<string, LiveOutage>()
  readonly features = new Parts()
  readonly sessionFeatures = new Parts()

  constructor(environmentId: string, isWhole: boolean, at: number) {
    this.environmentId = environmentId
    this.isWhole = isWhole
    this.status = isWhole ? "Created" : "Online"
    this.lastAt = at
  }

  get isOver(): boolean {
    return this.status === "Offline"
  }

  get isEmpty(): boolean {
    return this.sandboxes.size + this.sessions.size + this.features.size + this.sessionFeatures.size === 0
  }

  /** Everything that has begun and not ended, as leaks. */
  left(fate: "Leaked" | "Abandoned"): ReadonlyArray<Leak> {
    const { environmentId } = this
    const why = fate === "Leaked" ? "when its environment had shut down" : "when its environment was started again"
    const leaks: Array<Leak> = []
    for (const [sandboxId, { pool, startedAt, status }] of this.sandboxes) {
      leaks.push({
        what: "sandbox",
        fate,
        environmentId,
        image: pool.image,
        sandboxId,
        at: startedAt,
        description: `sandbox ${sandboxId} was ${status} ${why}`
      })
    }
    for (const [sessionId, { pool, sandboxId, since }] of this.sessions) {
      leaks.push({
        what: "session",
        fate,
        environmentId,
        image: pool.image,
        sandboxId,
        sessionId,
        at: since,
        description: `session ${sessionId} had not ended ${why}`
      })
    }
    for (const owner of this.features.owners()) leaks.push(...this.leftOf("feature", owner, fate, why))
    for (const owner of this.sessionFeatures.owners()) leaks.push(...this.leftOf("feature session", owner, fate, why))
    return leaks
  }

  /** What one owner has left of its features. */
  leftOf(what: "feature" | "feature session", owner: string, fate: Leak["fate"], why: string): ReadonlyArray<Leak> {
    const parts = what === "feature" ? this.features : this.sessionFeatures
    const sessionId = owner.startsWith("\u0000") ? owner.slice(1) : undefined
    const sandboxId = owner === "" || sessionId !== undefined ? undefined : owner
    const of = sandboxId ?? (sessionId === undefined ? this.environmentId : `session ${sessionId}`)
    return parts.of(owner).map(([featureId, since]) => ({
      what,
      fate,
      environmentId: this.environmentId,
      ...optional({ sandboxId, sessionId }),
      featureId,
      at: since,
      description: `${what === "feature" ? "feature" : "the session of feature"} ${featureId} of ${of} was not torn down ${why}`
    }))
  }
}

export const stayOf = ({ since, status, use }: LiveSandbox): Stay => ({ since, status, use })
