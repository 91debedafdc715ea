/** Spans that cost nothing while nobody collects them: Effect's own tracer only keeps them in memory. */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Tracer from "effect/Tracer"
import { type Engine, typed } from "./engine.ts"

type Attributes = { readonly [name: string]: unknown }

export const isTraced = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  fiber.getRef(Tracer.Tracer) !== Tracer.nativeTracer

/** Runs an effect in a span; the attributes are asked for only when there is one. */
export const around = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  name: string,
  attributes: () => Attributes
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) =>
    isTraced(fiber)
      ? // A parent span is no requirement of ours, whatever the type says.
        typed<A, E, R>(Effect.withSpan(effect, name, { attributes: attributes(), captureStackTrace: false }))
      : effect
  )

/** Runs an effect below a span that was made elsewhere. */
export const below = <A, E, R>(
  span: Tracer.AnySpan | undefined,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => (span === undefined ? effect : typed<A, E, R>(Effect.withParentSpan(effect, span)))

/** Ends a span that was made by hand. */
export const end = (engine: Engine, span: Tracer.Span | undefined, exit: Exit.Exit<unknown, unknown>): void => {
  if (span?.status._tag === "Started") span.end(engine.clock.currentTimeNanosUnsafe(), exit)
}
