/**
 * The exclusive use of a sandbox for a while, as seen from inside.
 */
import * as Context from "effect/Context"
import type { SandboxId, SessionId } from "./Id.ts"

/** The session one is in. */
export class Session extends Context.Service<
  Session,
  {
    readonly id: SessionId
    readonly sandboxId: SandboxId
    /** When it started, in milliseconds since the epoch. */
    readonly startedAt: number
  }
>()("@effect-sandbox/core/Session") {}
