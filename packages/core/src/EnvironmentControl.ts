/**
 * An environment as those see it who were not told its features: dashboards and other tools. `EventHub.environments`
 * has those that publish there.
 */
import type * as Effect from "effect/Effect"
import type { EnvironmentId, ImageId } from "./Id.ts"
import type { UnknownSandboxError } from "./SandboxError.ts"
import type { EnvironmentStatus, SandboxStatus } from "./SandboxStatus.ts"

/** What can be seen of an environment and done with it, whatever its features. */
export interface EnvironmentControl {
  readonly id: EnvironmentId
  readonly stats: Effect.Effect<Stats>
  readonly status: Effect.Effect<EnvironmentStatus>
  /**
   * Lets the sessions that run come to their end, hands out no new ones, and then shuts down. Whoever waits for a
   * sandbox is told so at once. Returns when the environment is offline; an interruption does not take it back.
   */
  readonly drain: Effect.Effect<void>
  /**
   * Replaces a sandbox although nothing is wrong with it: at once while it is ready, else when its session is over.
   * Returns at once. Fails with `UnknownSandboxError` when there is none of that id.
   */
  readonly recycle: (sandboxId: string) => Effect.Effect<void, UnknownSandboxError>
  /** Ends everything; may be called by anyone at any time, and never fails (H5). */
  readonly shutdown: Effect.Effect<void>
}

/** What one image's pool looks like. */
export interface ImageStats {
  readonly image: ImageId
  /** How many sandboxes have each status; none is offline for long. */
  readonly counts: { readonly [status in SandboxStatus]: number }
  readonly min: number
  /** Infinite for images that are not pooled. */
  readonly max: number
  readonly starting: number
  readonly waiters: number
  /** Sessions that have ended. */
  readonly sessionsServed: number
  /** Sandboxes that were started because another had gone. */
  readonly replaced: number
  readonly outage:
    | { readonly sinceMillis: number; readonly durationMillis: number; readonly attempts: number }
    | undefined
}

/** What an environment looks like: a few numbers per image, cheap enough to be asked for ten times a second. */
export interface Stats {
  readonly id: EnvironmentId
  readonly status: EnvironmentStatus
  readonly images: ReadonlyArray<ImageStats>
  readonly sessions: number
  /** Every sandbox that was ever created is destroyed or alive: `created - destroyed - live` is 0. */
  readonly ledger: {
    readonly created: number
    readonly destroyed: number
    readonly live: number
    readonly leaked: number
  }
  readonly handlers: ReadonlyArray<HandlerStats>
}

/** What one handler has done so far. */
export interface HandlerStats {
  readonly name: string
  readonly handled: number
  /** Events that did not fit into the handler's queue. */
  readonly dropped: number
  /** Events whose handling failed or died. */
  readonly failed: number
  readonly queued: number
}
