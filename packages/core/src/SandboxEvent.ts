/**
 * Everything that can happen in an environment, as one tagged union of schemas (V1), so that events can be stored and
 * sent. Events are past facts: ids, times and plain data, never handles.
 *
 * Times are milliseconds: `timestamp` since the epoch, `durationMillis` what the thing itself took, `lifetimeMillis`
 * how long its subject had lived by then.
 */
import * as Schema from "effect/Schema"
import { EnvironmentId, FeatureId, ImageId, SandboxId, SessionId } from "./Id.ts"
import * as SandboxStatus from "./SandboxStatus.ts"

/** An error as it is told to others. */
export const ErrorInfo = Schema.Struct({
  /** The error's `_tag`, or the name of its class. */
  tag: Schema.String,
  message: Schema.String,
  /** Whether it condemns the sandbox, or is the user's own (X2). */
  isStateError: Schema.Boolean
})
export type ErrorInfo = typeof ErrorInfo.Type

/** The span in which something happened, when spans are collected: where to find it in a trace. */
export const Trace = Schema.Struct({ traceId: Schema.String, spanId: Schema.String })
export type Trace = typeof Trace.Type

const environment = { environmentId: EnvironmentId, timestamp: Schema.Finite, trace: Schema.optional(Trace) }
const sandbox = { ...environment, sandboxId: SandboxId, image: ImageId }
const session = { ...sandbox, sessionId: SessionId }
const feature = {
  ...environment,
  featureId: FeatureId,
  /** Missing for host features. */
  sandboxId: Schema.optional(SandboxId),
  image: Schema.optional(ImageId)
}
const duration = { durationMillis: Schema.Finite }
const lifetime = { lifetimeMillis: Schema.Finite }
const error = { error: Schema.optional(ErrorInfo) }

export const SandboxEvent = Schema.TaggedUnion({
  EnvironmentStarting: {
    ...environment,
    /** How many sandboxes of each listed image are kept, and may be had at most; without a most they are not pooled. */
    pools: Schema.optional(
      Schema.Array(Schema.Struct({ image: ImageId, min: Schema.Finite, max: Schema.optional(Schema.Finite) }))
    )
  },
  EnvironmentStarted: { ...environment, ...duration, ...error },
  EnvironmentHousekeepingDone: {
    ...environment,
    ...duration,
    ...error,
    counter: Schema.Finite,
    /** Sandboxes that this round started because one was missing. */
    started: Schema.Finite
  },
  EnvironmentDraining: {
    ...environment,
    ...lifetime,
    /** Sessions that go on to their end. */
    sessions: Schema.Finite
  },
  EnvironmentShuttingDown: { ...environment, ...lifetime, ...error },
  EnvironmentShutDown: { ...environment, ...duration, ...lifetime },
  ImageOutageStarted: { ...environment, ...error, image: ImageId },
  ImageOutageEnded: { ...environment, ...duration, image: ImageId, attempts: Schema.Finite },
  /** Somebody waited for a sandbox and got none: too long, in an outage, interrupted, or the start of it failed. */
  AcquireFailed: { ...environment, ...error, image: ImageId, waitedMillis: Schema.Finite },
  /** Somebody has asked for this from outside the program, such as in a dashboard. */
  ActionRequested: {
    ...environment,
    action: Schema.Literals(["drain", "recycle", "shutdown"]),
    /** The sandbox that is to be recycled. */
    sandboxId: Schema.optional(SandboxId),
    requestedBy: Schema.String
  },

  SandboxStarted: {
    ...sandbox,
    ...duration,
    ...error,
    /** How strongly the sandbox is isolated; missing when it did not start. */
    isolation: Schema.optional(Schema.String),
    /** Why that is weaker than what was wished for. */
    isolationFallback: Schema.optional(Schema.String)
  },
  SandboxStatusChanged: {
    ...sandbox,
    from: SandboxStatus.SandboxStatus,
    to: SandboxStatus.SandboxStatus,
    /** Time spent in the old status. */
    spentMillis: Schema.Finite,
    sessionId: Schema.optional(SessionId)
  },
  SessionStarted: {
    ...session,
    ...duration,
    ...error,
    /** How long the caller had waited for a sandbox. */
    waitedMillis: Schema.Finite
  },
  SessionEnded: { ...session, ...duration, ...lifetime, ...error },
  SandboxActivity: { ...sandbox, ...duration, ...error, sessionId: Schema.optional(SessionId), name: Schema.String },
  SandboxHousekeepingDone: { ...sandbox, ...duration, ...error, counter: Schema.Finite },
  SandboxShutDown: { ...sandbox, ...duration, ...lifetime, ...error, reason: Schema.String },

  FeatureSetUp: { ...feature, ...duration, ...error },
  FeatureTornDown: { ...feature, ...duration, ...error },
  FeatureSessionSetUp: { ...feature, ...duration, ...error, sessionId: Schema.optional(SessionId) },
  FeatureSessionTornDown: { ...feature, ...duration, ...error, sessionId: Schema.optional(SessionId) },
  FeatureActivity: { ...feature, ...duration, ...error, sessionId: Schema.optional(SessionId), name: Schema.String },
  FeatureHousekeepingDone: { ...feature, ...duration, ...error, counter: Schema.Finite }
})
export type SandboxEvent = typeof SandboxEvent.Type

/** The name of a kind of event. */
export type Tag = SandboxEvent["_tag"]

/** An event of one kind. */
export type Of<T extends Tag> = Extract<SandboxEvent, { readonly _tag: T }>

/** The error that an event tells of, if any. */
export const errorOf = (event: SandboxEvent): ErrorInfo | undefined => ("error" in event ? event.error : undefined)
