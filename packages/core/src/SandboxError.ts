/**
 * What can go wrong, in three kinds that never mix (rules X1 and X2).
 *
 * - **The sandbox broke**: `SandboxStateError`. It condemns the sandbox: recorded, its session ended, replaced (X3).
 * - **The environment cannot serve**: `EnvironmentOutageError`, `EnvironmentOverloadError`, `EnvironmentClosedError`,
 *   and the typed misuses `UnknownImageError`, `UnknownSandboxError`, `FeatureNotApplicableError`, `DuplicateSessionError`,
 *   `InvalidConfigurationError`, `UnsupportedOptionError`, `SessionLimitError`, `SessionEndedError`.
 * - **Everything else is the user's**: its own typed errors and defects pass through unchanged (X2, X4).
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { EnvironmentId, FeatureId, ImageId, SandboxId, SessionId } from "./Id.ts"

/**
 * The sandbox cannot be trusted any more. Raised by drivers and features; raised in a session's body it ends the
 * session, takes the sandbox offline and has it replaced (X3).
 */
export class SandboxStateError extends Schema.TaggedError<SandboxStateError>()("SandboxStateError", {
  sandboxId: SandboxId,
  /** What was going on: `create`, `ping`, `reset`, `exec node -v`, `setup of app/Python`, … (F6). */
  operation: Schema.String,
  /** What happened, in words. */
  description: Schema.optional(Schema.String),
  cause: Schema.optional(Schema.Defect())
}) {
  override get message() {
    const why = this.description ?? (this.cause === undefined ? undefined : describe(this.cause))
    return `Sandbox ${this.sandboxId} broke during ${this.operation}${why === undefined ? "" : `: ${why}`}`
  }

  /**
   * Turns those errors of an effect that the matcher accepts into state errors of the sandbox, with the original as
   * their cause (X2: nothing else ever does). The matcher sees typed failures and defects.
   *
   * ```ts
   * import { Effect } from "effect"
   * import { Sandbox, SandboxStateError } from "@effect-sandbox/core"
   *
   * const ping = Effect.fail("connection reset" as const)
   * const checked = Effect.gen(function*() {
   *   const sandbox = yield* Sandbox
   *   yield* ping.pipe(SandboxStateError.refine({
   *     sandboxId: sandbox.id,
   *     operation: "ping of the browser",
   *     when: (error) => error === "connection reset"
   *   }))
   * })
   * ```
   */
  static readonly refine =
    (options: {
      readonly sandboxId: SandboxId
      readonly operation: string
      readonly when: (error: unknown) => boolean
    }) =>
    <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SandboxStateError, R> =>
      Effect.catchCause(effect, (cause): Effect.Effect<never, E | SandboxStateError> => {
        for (const reason of cause.reasons) {
          if (Cause.isInterruptReason(reason)) continue
          const error: unknown = Cause.isFailReason(reason) ? reason.error : reason.defect
          if (options.when(error)) {
            return Effect.fail(
              new SandboxStateError({ sandboxId: options.sandboxId, operation: options.operation, cause: error })
            )
          }
        }
        return Effect.failCause(cause)
      })
}

/** Sandboxes of an image could not be brought up for longer than the grace period (H3). */
export class EnvironmentOutageError extends Schema.TaggedError<EnvironmentOutageError>()("EnvironmentOutageError", {
  environmentId: EnvironmentId,
  image: ImageId,
  /** How long the image has been in outage, in milliseconds. */
  offlineMillis: Schema.Finite,
  cause: Schema.optional(Schema.Defect())
}) {
  override get message() {
    const why = this.cause === undefined ? "" : `: ${describe(this.cause)}`
    return `Image ${this.image} of environment ${this.environmentId} has been in an outage for ${this.offlineMillis} ms${why}`
  }
}

/** No sandbox became free within `acquireTimeout` (P4). */
export class EnvironmentOverloadError extends Schema.TaggedError<EnvironmentOverloadError>()(
  "EnvironmentOverloadError",
  {
    environmentId: EnvironmentId,
    image: ImageId,
    /** The largest number of sandboxes that the image's pool may hold. */
    poolSize: Schema.Finite,
    /** How long the caller waited, in milliseconds. */
    waitedMillis: Schema.Finite
  }
) {
  override get message() {
    return `All ${this.poolSize} sandboxes of image ${this.image} in environment ${this.environmentId} stayed busy for ${this.waitedMillis} ms`
  }
}

/** The environment is not online: not started yet, shutting down, or offline (L4). */
export class EnvironmentClosedError extends Schema.TaggedError<EnvironmentClosedError>()("EnvironmentClosedError", {
  environmentId: EnvironmentId,
  status: Schema.String
}) {
  override get message() {
    return `Environment ${this.environmentId} hands out no sessions: it is ${this.status}`
  }
}

/** The image is not one of the environment's, and dynamic images are not allowed (P5). */
export class UnknownImageError extends Schema.TaggedError<UnknownImageError>()("UnknownImageError", {
  environmentId: EnvironmentId,
  image: Schema.String,
  images: Schema.Array(Schema.String)
}) {
  override get message() {
    const known = this.images.length === 0 ? "it lists none" : `it has ${this.images.join(", ")}`
    return `Environment ${this.environmentId} has no image ${JSON.stringify(this.image)}: ${known}`
  }
}

/** The environment has no such sandbox, or no longer. */
export class UnknownSandboxError extends Schema.TaggedError<UnknownSandboxError>()("UnknownSandboxError", {
  environmentId: EnvironmentId,
  sandboxId: Schema.String
}) {
  override get message() {
    return `Environment ${this.environmentId} has no sandbox ${JSON.stringify(this.sandboxId)}`
  }
}

/** The feature does not apply to the image, or to none of the environment's images. */
export class FeatureNotApplicableError extends Schema.TaggedError<FeatureNotApplicableError>()(
  "FeatureNotApplicableError",
  {
    environmentId: EnvironmentId,
    featureId: FeatureId,
    image: Schema.optional(Schema.String),
    /** The patterns of image ids that the feature applies to. */
    patterns: Schema.Array(Schema.String)
  }
) {
  override get message() {
    const where = this.image === undefined ? `any image of environment ${this.environmentId}` : `image ${this.image}`
    return `Feature ${this.featureId} does not apply to ${where}: it is for ${this.patterns.join(", ")}`
  }
}

/** A session of that id is alive already (S2). */
export class DuplicateSessionError extends Schema.TaggedError<DuplicateSessionError>()("DuplicateSessionError", {
  environmentId: EnvironmentId,
  sessionId: SessionId
}) {
  override get message() {
    return `Environment ${this.environmentId} has a session ${this.sessionId} already`
  }
}

/** Options that cannot work, found before anything was started; every problem with its path (X1). */
export class InvalidConfigurationError extends Schema.TaggedError<InvalidConfigurationError>()(
  "InvalidConfigurationError",
  {
    /** What was to be made. */
    subject: Schema.String,
    issues: Schema.Array(Schema.Struct({ path: Schema.String, message: Schema.String }))
  }
) {
  override get message() {
    return `${this.subject} cannot be made with these options:\n${this.issues
      .map((issue) => `  ${issue.path}: ${issue.message}`)
      .join("\n")}`
  }
}

/** An option that the driver cannot honour; nothing was run (F5). */
export class UnsupportedOptionError extends Schema.TaggedError<UnsupportedOptionError>()("UnsupportedOptionError", {
  driver: Schema.String,
  option: Schema.String,
  description: Schema.optional(Schema.String)
}) {
  override get message() {
    return `Driver ${this.driver} cannot honour the option ${this.option}${
      this.description === undefined ? "" : `: ${this.description}`
    }`
  }
}

/** The session reached a limit of S6 and was ended. */
export class SessionLimitError extends Schema.TaggedError<SessionLimitError>()("SessionLimitError", {
  sessionId: SessionId,
  sandboxId: SandboxId,
  limit: Schema.Literals(["lifetime", "idle"]),
  limitMillis: Schema.Finite
}) {
  override get message() {
    return this.limit === "lifetime"
      ? `Session ${this.sessionId} was ended: it reached its lifetime of ${this.limitMillis} ms`
      : `Session ${this.sessionId} was ended: nothing happened in it for ${this.limitMillis} ms`
  }
}

/** Something was asked of a session or sandbox that is over (L18). */
export class SessionEndedError extends Schema.TaggedError<SessionEndedError>()("SessionEndedError", {
  sandboxId: SandboxId,
  sessionId: Schema.optional(SessionId),
  operation: Schema.String
}) {
  override get message() {
    return `Cannot ${this.operation}: ${
      this.sessionId === undefined ? `sandbox ${this.sandboxId} is not online` : `session ${this.sessionId} is over`
    }`
  }
}

const teardownFields = {
  /** Missing for a host feature that was used without a sandbox. */
  sandboxId: Schema.optional(SandboxId),
  /** Feature → everything that its teardown raised, state errors included. */
  errors: Schema.Record(Schema.String, Schema.Defect()),
  /** Whether there is anything among them that is not a state error. */
  hasUserError: Schema.Boolean
}

const teardownMessage = (what: string, errors: { readonly [feature: string]: unknown }): string =>
  `${what} failed for ${Object.entries(errors)
    .map(([feature, error]) => `${feature} (${describe(error)})`)
    .join(", ")}`

/** Teardown of features of a sandbox raised errors (X6). */
export class FeatureTeardownError extends Schema.TaggedError<FeatureTeardownError>()(
  "FeatureTeardownError",
  teardownFields
) {
  override get message() {
    return teardownMessage(`Teardown of sandbox ${this.sandboxId}`, this.errors)
  }
}

/** Teardown of a session raised errors (X6). */
export class SessionTeardownError extends Schema.TaggedError<SessionTeardownError>()("SessionTeardownError", {
  ...teardownFields,
  sessionId: SessionId
}) {
  override get message() {
    return teardownMessage(`Teardown of session ${this.sessionId}`, this.errors)
  }
}

/** The one classification: does this error condemn the sandbox it was raised in? */
export const isStateError = (error: unknown): error is SandboxStateError =>
  Predicate.isTagged(error, "SandboxStateError")

/** The state errors in a cause, also those that arrived as defects (finalizers cannot fail, only die). */
export const stateErrors = (cause: Cause.Cause<unknown>): ReadonlyArray<SandboxStateError> =>
  cause.reasons.flatMap((reason) => {
    const error = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
    return isStateError(error) ? [error] : []
  })

/** Whether a cause holds a failure or defect that is not a state error. */
export const hasUserError = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) =>
    Cause.isFailReason(reason) ? !isStateError(reason.error) : Cause.isDieReason(reason) && !isStateError(reason.defect)
  )

/** A short sentence about any error, also one that is no `Error` and one that cannot be printed. */
export const describe = (error: unknown): string => {
  if (Cause.isCause(error)) return describe(Cause.squash(error))
  if (typeof error === "string") return error
  if (!Predicate.isObject(error)) return String(error)
  const named = (field: "message" | "_tag" | "name") =>
    Predicate.hasProperty(error, field) && typeof error[field] === "string" && error[field] !== ""
      ? error[field]
      : undefined
  return named("message") ?? named("_tag") ?? named("name") ?? Object.prototype.toString.call(error)
}
