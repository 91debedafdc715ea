/**
 * Spans that cost nothing while nobody collects them: Effect's own tracer only keeps them in memory.
 *
 * Attributes are those of OpenTelemetry's semantic conventions where there are any (`error.type`, `process.*`), and
 * below `sandbox.` otherwise.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Tracer from "effect/Tracer"
import { causeInfo, type Engine, typed } from "./engine.ts"

type Attributes = { readonly [name: string]: unknown }

export const isTraced = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  fiber.getRef(Tracer.Tracer) !== Tracer.nativeTracer

/** Runs an effect in a span; the attributes are asked for only when there is one. */
export const around = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  name: string,
  attributes: () => Attributes,
  kind: Tracer.SpanKind = "internal"
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    if (!isTraced(fiber)) return effect
    const told = Effect.onExit(effect, (exit) =>
      Exit.isFailure(exit) ? Effect.annotateCurrentSpan(failure(exit.cause)) : Effect.void
    )
    // A parent span is no requirement of ours, whatever the type says.
    return typed<A, E, R>(
      Effect.withSpan(told, name, { attributes: known(attributes()), kind, captureStackTrace: false })
    )
  })

/** Adds attributes to the current span, if spans are collected. */
export const annotate = (attributes: () => Attributes): Effect.Effect<void> =>
  Effect.withFiber((fiber) => (isTraced(fiber) ? Effect.annotateCurrentSpan(known(attributes())) : Effect.void))

/** Without the attributes that have no value: exporters would call it "undefined". */
const known = (attributes: Attributes): Record<string, unknown> => {
  const told: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) told[name] = value
  return told
}

/** What failed, as one of few words; an interruption is no failure. */
const failure = (cause: Cause.Cause<unknown>): Record<string, unknown> =>
  Cause.hasInterruptsOnly(cause) ? {} : { "error.type": causeInfo(cause).tag }

/** Runs an effect below a span that was made elsewhere. */
export const below = <A, E, R>(
  span: Tracer.AnySpan | undefined,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => (span === undefined ? effect : typed<A, E, R>(Effect.withParentSpan(effect, span)))

/** Ends a span that was made by hand. */
export const end = (engine: Engine, span: Tracer.Span | undefined, exit: Exit.Exit<unknown, unknown>): void => {
  if (span?.status._tag !== "Started") return
  if (Exit.isFailure(exit)) for (const [key, value] of Object.entries(failure(exit.cause))) span.attribute(key, value)
  span.end(engine.clock.currentTimeNanosUnsafe(), exit)
}
