/**
 * What a backend implements so that sandboxes can run on it: small, scoped and raw. Statuses, sessions, features,
 * events and limits are the library's; a driver only makes a place with processes and files, and takes it away again.
 *
 * The contract, which the conformance suite of `@effect-sandbox/testing` checks:
 *
 * - `create` is all or nothing: when it fails or is interrupted nothing is left, and the scope's finalizers take
 *   everything down, also processes that were left behind (F26).
 * - Relative paths, and commands without `cwd`, start in the workspace.
 * - Commands and files are never retried: what cannot be known to have run is the sandbox's death (F27).
 * - When a sandbox dies, `awaitDeath` fails *before* the operations in flight do.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import type { EnvironmentId, ImageId, SandboxId } from "./Id.ts"
import type { EnvironmentOutageError, SandboxStateError } from "./SandboxError.ts"

/** What the environment asks a driver for. */
export interface SandboxSpec {
  readonly environmentId: EnvironmentId
  readonly sandboxId: SandboxId
  readonly image: ImageId
  /** The place in the image's pool that this sandbox fills. */
  readonly slot: number
  /** How many sandboxes were started in that slot before this one. */
  readonly generation: number
}

/** How strongly a sandbox keeps what runs in it from everything else. */
export interface Isolation {
  /** `none`, `bubblewrap`, `container`, `simulated`, … */
  readonly level: string
  /** The stronger level that was wished for and could not be had, and why. */
  readonly fallback?: { readonly from: string; readonly reason: string } | undefined
}

/** One running sandbox, as its driver sees it. */
export interface SandboxInstance {
  /**
   * Processes inside. A death by signal fails `exitCode` with a `PlatformError` whose `cause` is a `ProcessSignalled`, or
   * a `ProcessOutOfMemory` when the system sent it for want of memory.
   */
  readonly spawner: ChildProcessSpawner["Service"]
  /** Files inside. */
  readonly fileSystem: FileSystem.FileSystem
  /** The workspace's absolute path inside. */
  readonly workdir: string
  /**
   * A directory that `reset` leaves alone: features write to it in set-up, sessions can only read it. Default: the
   * workspace, which lasts for one session.
   */
  readonly home?: string | undefined
  /** Succeeds when the sandbox answers. Slow is not dead (F19): the caller judges time. */
  readonly ping: Effect.Effect<void, SandboxStateError>
  /**
   * Removes every trace of a session: files, processes, temporary files, environment (S1); leaves `home` and processes
   * of the lifetime `"sandbox"` alone (see `CallLifetime`). Called before the first session, too.
   */
  readonly reset: Effect.Effect<void, SandboxStateError>
  /** Fails as soon as the sandbox has died by itself; never succeeds. */
  readonly awaitDeath: Effect.Effect<never, SandboxStateError>
  /** Whether it can serve another session after its first; one that cannot is replaced. Default: true. */
  readonly reusable?: boolean | undefined
  /** Default: `{ level: "unknown" }`. */
  readonly isolation?: Isolation | undefined
  /** Options of `exec` that not every driver can honour; those not named are refused (F5). */
  readonly capabilities?: { readonly user?: boolean | undefined } | undefined
  /** Services only this driver has (ports, snapshots, …), reached through `sandbox.service(Key)`. */
  readonly services?: Context.Context<never> | undefined
}

/**
 * The backend that makes sandboxes. Swap it by swapping the layer.
 */
export class SandboxDriver extends Context.Service<
  SandboxDriver,
  {
    /** The driver's name, for messages and events. */
    readonly name: string
    /** Brings up one sandbox; its finalizers take it down. */
    readonly create: (
      spec: SandboxSpec
    ) => Effect.Effect<SandboxInstance, SandboxStateError | EnvironmentOutageError, Scope.Scope>
  }
>()("@effect-sandbox/core/SandboxDriver") {}

/** The cause of an `exitCode` that failed because a signal ended the process: what the system said, never a guess (F31). */
export class ProcessSignalled extends Schema.TaggedError<ProcessSignalled>()("ProcessSignalled", {
  /** `SIGKILL`, `SIGTERM`, … */
  signal: Schema.String
}) {
  override get message() {
    return `ended by ${this.signal}`
  }
}

/** The cause of an `exitCode` that failed because the system killed the process for want of memory (F25). */
export class ProcessOutOfMemory extends Schema.TaggedError<ProcessOutOfMemory>()("ProcessOutOfMemory", {
  /** How much memory there was for it and what it shared the limit with, in bytes. */
  limitBytes: Schema.Finite
}) {
  override get message() {
    return `killed because the memory limit of ${this.limitBytes} bytes was reached`
  }
}

/** The user inside the sandbox that commands run as; set by `exec`'s `user` option, read by spawners that can. */
export const CommandUser = Context.Reference<string | undefined>("@effect-sandbox/core/CommandUser", {
  defaultValue: () => undefined
})

/**
 * Whether a call belongs to a session or to the sandbox itself, that is to the set-up of its features. What a session
 * started and wrote, `reset` removes; what belongs to the sandbox it leaves alone.
 */
export const CallLifetime = Context.Reference<"sandbox" | "session">("@effect-sandbox/core/CallLifetime", {
  defaultValue: () => "session" as const
})
