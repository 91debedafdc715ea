/**
 * The sandbox one is in: its names, its state, and the short way to run a command. Inside sessions and features it is
 * a service; files and processes are Effect's own `FileSystem` and `ChildProcessSpawner`.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import type * as Command from "./Command.ts"
import type { ImageId, SandboxId } from "./Id.ts"
import type { Isolation } from "./SandboxDriver.ts"
import type { SandboxStateError, SessionEndedError, UnsupportedOptionError } from "./SandboxError.ts"
import type { SandboxStatus } from "./SandboxStatus.ts"

/**
 * What `exec` can fail with: the sandbox broke, the command could not be started (not found, not executable, no such
 * directory: a `PlatformError`), the driver cannot honour an option, or the session is over.
 */
export type ExecError = SandboxStateError | PlatformError | UnsupportedOptionError | SessionEndedError

/**
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "@effect-sandbox/core"
 *
 * const version = Effect.gen(function*() {
 *   const sandbox = yield* Sandbox
 *   const result = yield* sandbox.exec("node", ["--version"], { timeout: "5 seconds" })
 *   return result.outcome._tag === "Exited" ? result.stdout : "none"
 * })
 * ```
 */
export class Sandbox extends Context.Service<
  Sandbox,
  {
    readonly id: SandboxId
    readonly image: ImageId
    readonly slot: number
    readonly generation: number
    /** The workspace's absolute path inside. */
    readonly workdir: string
    /**
     * A directory inside whose content lasts as long as the sandbox. Features have one each and write to it in set-up
     * (they make it themselves); sessions can only read.
     */
    readonly home: string
    /** How strongly this sandbox is isolated, and what it fell back from. */
    readonly isolation: Isolation
    readonly status: Effect.Effect<SandboxStatus>
    /** The state errors recorded so far; after the first it serves no more sessions (X3). */
    readonly stateErrors: Effect.Effect<ReadonlyArray<SandboxStateError>>
    /**
     * Runs one command to its end. However it ended is a value (`outcome`); see `Command.Options` for the limits.
     * Interruption kills the command with everything it has started (S5).
     */
    readonly exec: (
      command: string,
      args?: ReadonlyArray<string>,
      options?: Command.Options
    ) => Effect.Effect<Command.Result, ExecError>
    /** Names an operation: it becomes an event, a span and a metric (V4). */
    readonly activity: <A, E, R>(name: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
    /** Declares this sandbox broken: its session ends and it is replaced (X3). */
    readonly report: (error: SandboxStateError) => Effect.Effect<void>
    /** Asks the sandbox whether it is there. */
    readonly ping: Effect.Effect<void, SandboxStateError>
    /** A service that only some drivers have. */
    readonly service: <I, S>(key: Context.Key<I, S>) => Option.Option<S>
  }
>()("@effect-sandbox/core/Sandbox") {}
