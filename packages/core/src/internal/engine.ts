/** What the parts of one environment share. */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Path from "effect/Path"
import * as Predicate from "effect/Predicate"
import * as Tracer from "effect/Tracer"
import type { Resolved } from "../EnvironmentConfig.ts"
import type { EventHub } from "../EventHandler.ts"
import type { SessionId } from "../Id.ts"
import type { SandboxDriver } from "../SandboxDriver.ts"
import { describe, EnvironmentClosedError, isStateError } from "../SandboxError.ts"
import type { ErrorInfo, SandboxEvent } from "../SandboxEvent.ts"
import type { EnvironmentStatus } from "../SandboxStatus.ts"
import type { PassingMap } from "./passingMap.ts"
import type { SessionRuntime } from "./sandboxRuntime.ts"

/** Makes one part of an uninterruptible region interruptible. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export interface Engine {
  readonly config: Resolved
  readonly driver: SandboxDriver["Service"]
  readonly hub: EventHub["Service"]
  readonly clock: Clock.Clock
  readonly path: Path.Path
  /** The services that features asked the environment's layer for. */
  readonly services: Context.Context<never>
  /** Runs work that belongs to the environment; ended with it. */
  readonly background: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  /** The sessions that are open or ending, by id. */
  readonly sessions: PassingMap<SessionId, SessionRuntime>
  /** Shuts the environment down, once; whoever comes second waits for the first (H5). */
  readonly shutDown: (reason?: unknown) => Effect.Effect<void>
  /** Looks whether a drained environment has nobody left to serve. */
  readonly settle: () => void
  status: EnvironmentStatus
  created: number
  destroyed: number
  /** Sandboxes whose driver could not take them down completely (F23). */
  leaked: number
}

export const now = (engine: Engine): number => engine.clock.currentTimeMillisUnsafe()

/** Whether the environment shuts down, or has. */
export const hasEnded = ({ status }: Engine): boolean => status === "ShuttingDown" || status === "Offline"

/** Whether what is not in use must go, and nothing may come up. */
export const isClosing = (engine: Engine): boolean => engine.status === "Draining" || hasEnded(engine)

/** Why a sandbox goes then. */
export const closingReason = ({ status }: Engine): string =>
  status === "Draining" ? "the environment is drained" : "the environment shuts down"

/** Publishes an event if anyone listens. */
export const emit = (engine: Engine, event: (timestamp: number) => SandboxEvent): void => {
  if (engine.hub.isObserved()) publish(engine, event(now(engine)))
}

/** Publishes an event; with the span of whoever publishes it, when spans are collected. */
export const publish = (engine: Engine, event: SandboxEvent): void => {
  const fiber = Fiber.getCurrent()
  const span = fiber?.cache.span
  if (fiber === undefined || span === undefined || fiber.getRef(Tracer.Tracer) === Tracer.nativeTracer) {
    engine.hub.publish(event)
  } else {
    engine.hub.publish({ ...event, trace: { traceId: span.traceId, spanId: span.spanId } })
  }
}

export const closedError = (engine: Engine): EnvironmentClosedError =>
  new EnvironmentClosedError({ environmentId: engine.config.id, status: engine.status })

/** An error as events tell it. */
export const errorInfo = (error: unknown): ErrorInfo => ({
  tag:
    Predicate.hasProperty(error, "_tag") && Predicate.isString(error._tag)
      ? error._tag
      : Predicate.isError(error)
        ? error.name
        : typeof error,
  message: describe(error),
  isStateError: isStateError(error)
})

/** The error of a cause as events tell it: a state error first, then failures, defects, and interruption. */
export const causeInfo = (cause: Cause.Cause<unknown>): ErrorInfo => {
  const errors = cause.reasons.flatMap((reason) =>
    Cause.isFailReason(reason) ? [reason.error] : Cause.isDieReason(reason) ? [reason.defect] : []
  )
  const error = errors.find(isStateError) ?? errors[0]
  return errors.length === 0 ? { tag: "Interrupted", message: "interrupted", isStateError: false } : errorInfo(error)
}

/**
 * Gives an effect the types back that the engine has forgotten. Features are kept without their types, in a list; what
 * they fail with and what they need is known to the environment's type, and nowhere else.
 */
export const typed = <A, E, R>(effect: Effect.Effect<A, unknown, unknown>): Effect.Effect<A, E, R> =>
  // @effect-diagnostics-next-line unsafeEffectTypeAssertion:off
  effect as Effect.Effect<A, E, R>

/** Provides a feature's effect with everything; the environment's type makes sure that `services` is that. */
export const provide = <A, E>(
  effect: Effect.Effect<A, E, unknown>,
  services: Context.Context<never>
): Effect.Effect<A, E> => Effect.provideContext(typed<A, E, never>(effect), services)
