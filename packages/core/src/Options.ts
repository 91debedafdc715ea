/**
 * Checks of options, for drivers and other layers that take some: every problem at once, each with the path of what it
 * is about, before anything is started (X1).
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Options } from "@effect-sandbox/core"
 *
 * const Shape = Schema.Struct({
 *   socket: Schema.optional(Schema.NonEmptyString),
 *   timeout: Schema.optional(Options.DurationInput("positive")),
 *   images: Schema.optional(Schema.Array(Options.Pattern))
 * })
 * const checked = Options.check("MyDriver", Shape, { timeout: "soon" }) // fails: timeout: expected a duration …
 * ```
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { InvalidConfigurationError } from "./SandboxError.ts"

/** One thing that is wrong. */
export interface Problem {
  readonly path: string
  readonly message: string
}

const millis = (input: unknown): number | undefined =>
  Option.getOrUndefined(Option.map(Duration.fromInput(input as Duration.Input), Duration.toMillis)) // any value is safe: fromInput gives none

/** A `Duration.Input` that is not negative, or longer than zero. It stays as it was given. */
export const DurationInput = (minimum: "zero" | "positive") =>
  Schema.Unknown.check(
    Schema.makeFilter((input) => {
      const value = millis(input)
      if (value === undefined) return 'expected a duration such as "30 seconds" or a number of milliseconds'
      if (minimum === "positive" && value <= 0) return "expected a duration longer than zero"
      return value >= 0 || "expected a duration that is not negative"
    })
  )

/** The source of a regular expression. */
export const Pattern = Schema.String.check(
  Schema.makeFilter((source) => isPattern(source) || `expected a regular expression, got ${JSON.stringify(source)}`)
)

/** Whether a text is the source of a regular expression. */
export const isPattern = (source: string): boolean => Result.isSuccess(Result.try(() => whole(source)))

/** A regular expression that must match the whole of a text. */
export const whole = (pattern: string): RegExp => new RegExp(`^(?:${pattern})$`)

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()

/** Everything that is wrong with an input; `prefix` goes before the paths. */
export const problemsOf = (schema: Schema.Decoder<unknown>, input: unknown, prefix: string): ReadonlyArray<Problem> => {
  const result = Schema.decodeUnknownResult(schema)(input, { errors: "all", onExcessProperty: "error" })
  if (Result.isSuccess(result)) return []
  return formatIssue(result.failure.issue).issues.map((issue) => ({
    path:
      [
        ...(prefix === "" ? [] : [prefix]),
        ...(issue.path ?? []).map((part) => String(Predicate.isObject(part) && "key" in part ? part.key : part))
      ].join(".") || "options",
    message: issue.message
  }))
}

/** Fails with all problems at once, when there are any. */
export const check = (
  subject: string,
  schema: Schema.Decoder<unknown>,
  input: unknown
): Effect.Effect<void, InvalidConfigurationError> => {
  const issues = problemsOf(schema, input, "")
  return issues.length === 0 ? Effect.void : Effect.fail(new InvalidConfigurationError({ subject, issues }))
}
