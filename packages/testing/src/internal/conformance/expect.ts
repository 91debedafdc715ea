/** What checks assert with. Each assertion is an effect that fails with a `CheckFailed`, or succeeds with nothing. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import type { PlatformError } from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import { describe, isStateError, type SandboxStateError } from "@effect-sandbox/core/SandboxError"
import * as bounded from "./bounded.ts"
import { CheckFailed, show } from "./failure.ts"

type Assertion<A = void> = Effect.Effect<A, CheckFailed>

/** What a failure of the platform is called: the tag of its reason. */
export type Reason = PlatformError["reason"]["_tag"]

export const fail = (message: string): Assertion<never> => Effect.fail(new CheckFailed({ message }))

/** Two values are the same, structures by their content. Not for what changes later: hashes are kept. */
export const equal = <A>(actual: A, expected: A, what: string): Assertion =>
  Equal.equals(actual, expected) ? Effect.void : Effect.fail(new CheckFailed({ message: what, expected, actual }))

export const isTrue = (condition: boolean, what: string): Assertion => (condition ? Effect.void : fail(what))

/** A text holds another. */
export const includes = (actual: string, part: string, what: string): Assertion =>
  actual.includes(part)
    ? Effect.void
    : Effect.fail(new CheckFailed({ message: what, expected: `a text with ${show(part)}`, actual }))

export const atMost = (actual: number, limit: number, what: string): Assertion =>
  actual <= limit ? Effect.void : Effect.fail(new CheckFailed({ message: what, expected: `at most ${limit}`, actual }))

export const atLeast = (actual: number, limit: number, what: string): Assertion =>
  actual >= limit ? Effect.void : Effect.fail(new CheckFailed({ message: what, expected: `at least ${limit}`, actual }))

/** Two sequences of bytes are the same. */
export const bytes = (actual: Uint8Array, expected: Uint8Array, what: string): Assertion => {
  const differs = actual.findIndex((byte, index) => byte !== expected[index])
  if (differs < 0 && actual.length === expected.length) return Effect.void
  const position = differs < 0 ? Math.min(actual.length, expected.length) : differs
  const from = Math.max(0, position - 8)
  return Effect.fail(
    new CheckFailed({
      message: `${what}: they differ at byte ${position}`,
      expected: `${expected.length} bytes, from ${from} on ${show(expected.subarray(from, from + 32))}`,
      actual: `${actual.length} bytes, from ${from} on ${show(actual.subarray(from, from + 32))}`
    })
  )
}

/** The typed failure of an effect; its success, a defect or an interruption is not what was expected. */
export const fails = <A, E, R>(effect: Effect.Effect<A, E, R>, what: string): Effect.Effect<E, CheckFailed, R> =>
  Effect.flatMap(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit)) {
      return Effect.fail(
        new CheckFailed({ message: `${what}: it did not fail`, expected: "a typed failure", actual: exit.value })
      )
    }
    const failure = exit.cause.reasons.find((reason) => reason._tag === "Fail")
    if (failure !== undefined) return Effect.succeed(failure.error)
    const [reason] = exit.cause.reasons
    return Effect.fail(
      new CheckFailed({
        message: `${what}: no typed failure`,
        expected: "a typed failure",
        actual: reason?._tag === "Die" ? `a defect: ${describe(reason.defect)}` : "an interruption",
        cause: exit.cause
      })
    )
  })

/** An effect fails with an error of the platform whose reason is one of those; any reason when none is given. */
export const platformError = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  reasons: Reason | ReadonlyArray<Reason> | undefined,
  what: string
): Effect.Effect<PlatformError, CheckFailed, R> =>
  Effect.flatMap(fails(effect, what), (error) => {
    const expected = typeof reasons === "string" ? [reasons] : reasons
    if (!isPlatformError(error)) {
      return Effect.fail(
        new CheckFailed({
          message: `${what}: not an error of the platform`,
          expected: "PlatformError",
          actual: describe(error),
          cause: error
        })
      )
    }
    return expected === undefined || expected.includes(error.reason._tag)
      ? Effect.succeed(error)
      : Effect.fail(
          new CheckFailed({
            message: `${what}: ${error.message}`,
            expected: expected.join(" or "),
            actual: error.reason._tag,
            cause: error
          })
        )
  })

const isPlatformError = (error: unknown): error is PlatformError => Predicate.isTagged(error, "PlatformError")

/** An effect fails with the state error of a sandbox, one that says what was going on (F6). */
export const stateError = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  sandboxId: string | undefined,
  what: string
): Effect.Effect<SandboxStateError, CheckFailed, R> =>
  Effect.flatMap(fails(effect, what), (error) => {
    if (!isStateError(error)) {
      return Effect.fail(
        new CheckFailed({ message: what, expected: "SandboxStateError", actual: describe(error), cause: error })
      )
    }
    const named =
      sandboxId === undefined ? Effect.void : equal<string>(error.sandboxId, sandboxId, `${what}: whose it is`)
    return named.pipe(
      Effect.andThen(isTrue(error.operation !== "", `${what}: it names no operation`)),
      Effect.as(error)
    )
  })

/** Whatever an effect does, it ends within a time that is short where the wrong behaviour would take for ever. */
export const promptly = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  what: string,
  limit: Duration.Input = "8 seconds"
): Effect.Effect<A, E | CheckFailed, R> =>
  Effect.flatMap(bounded.exit(effect, limit), (exit): Effect.Effect<A, E | CheckFailed> =>
    exit._tag === "Some" ? exit.value : fail(`${what}: not within ${Duration.format(Duration.fromInputUnsafe(limit))}`)
  )

const poll = "20 millis"

/** Something becomes true, for what may take a moment and has no event. */
export const eventually = <E, R>(
  condition: Effect.Effect<boolean, E, R>,
  what: string,
  limit: Duration.Input = "8 seconds"
): Effect.Effect<void, E | CheckFailed, R> =>
  Effect.gen(function* () {
    const deadline = (yield* Clock.currentTimeMillis) + Duration.toMillis(limit)
    while (!(yield* condition)) {
      if ((yield* Clock.currentTimeMillis) > deadline) {
        return yield* fail(`${what}: not within ${Duration.format(Duration.fromInputUnsafe(limit))}`)
      }
      yield* Effect.sleep(poll)
    }
  })
