/** The options of a run: their schema, and what they mean for it. */
import * as OptionCheck from "@effect-sandbox/core/Options"
import { InvalidConfigurationError } from "@effect-sandbox/core/SandboxError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Options } from "../../DriverConformance.ts"
import * as capability from "./capability.ts"
import type { Check } from "./check.ts"

/** Options with their defaults. */
export interface Resolved {
  readonly image: string
  readonly timeLimitMillis: number
  readonly concurrency: number
  readonly checks: ReadonlyArray<Check>
  readonly has: (needed: capability.Capability) => boolean
  readonly declared: { readonly [capability: string]: boolean }
  readonly options: Options
}

const FunctionValue = Schema.Unknown.check(
  Schema.makeFilter((input) => Predicate.isFunction(input) || "expected a function")
)
const EffectValue = Schema.Unknown.check(Schema.makeFilter((input) => Effect.isEffect(input) || "expected an effect"))

const OptionsSchema = Schema.Struct({
  image: Schema.optional(Schema.NonEmptyString),
  capabilities: Schema.optional(
    Schema.Struct(
      Object.fromEntries(capability.allFlags.map((flag) => [flag, Schema.optional(Schema.Boolean)] as const))
    )
  ),
  kill: Schema.optional(FunctionValue),
  freeze: Schema.optional(FunctionValue),
  alive: Schema.optional(EffectValue),
  hostFile: Schema.optional(Schema.Struct({ path: Schema.NonEmptyString, read: EffectValue })),
  hostVariable: Schema.optional(Schema.NonEmptyString),
  user: Schema.optional(Schema.Struct({ name: Schema.NonEmptyString, uid: Schema.Natural })),
  timeLimit: Schema.optional(OptionCheck.DurationInput("positive")),
  concurrency: Schema.optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))),
  only: Schema.optional(
    Schema.Struct({
      topics: Schema.optional(Schema.Array(Schema.String)),
      ids: Schema.optional(Schema.Array(Schema.String)),
      marks: Schema.optional(Schema.Array(Schema.String))
    })
  ),
  checks: Schema.optional(Schema.Array(Schema.Unknown))
})

/** A name in `only` that selects nothing is a mistake, not an empty run. */
const selectionProblems = (only: Options["only"], checks: ReadonlyArray<Check>) => {
  const unknown = (kind: "ids" | "marks" | "topics", known: ReadonlySet<string>) =>
    (only?.[kind] ?? []).flatMap((name, index) =>
      known.has(name) ? [] : [{ path: `only.${kind}.${index}`, message: `no check has ${JSON.stringify(name)}` }]
    )
  return [
    ...unknown("topics", new Set(checks.map((check) => check.topic))),
    ...unknown("ids", new Set(checks.map((check) => check.id))),
    ...unknown("marks", new Set(checks.flatMap((check) => check.marks)))
  ]
}

const isSelected = (only: Options["only"]) => (check: Check) =>
  (only?.topics?.includes(check.topic) ?? true) &&
  (only?.ids?.includes(check.id) ?? true) &&
  (only?.marks === undefined || check.marks.some((mark) => only.marks?.includes(mark)))

/** Checks options and fills in the defaults; reports every problem at once. */
export const resolve = (
  options: Options,
  allChecks: ReadonlyArray<Check>
): Result.Result<Resolved, InvalidConfigurationError> => {
  const checks = options.checks ?? allChecks
  const wrong = OptionCheck.problemsOf(OptionsSchema, options, "")
  const issues = wrong.length === 0 ? selectionProblems(options.only, checks) : wrong
  if (issues.length > 0) {
    return Result.fail(new InvalidConfigurationError({ subject: "DriverConformance", issues }))
  }
  const declared = new Set<capability.Capability>([
    ...capability.allFlags.filter((flag) => options.capabilities?.[flag] ?? capability.flags[flag].default),
    ...capability.allHooks.filter((hook) => options[capability.hooks[hook].option] !== undefined)
  ])
  if (declared.has("shell")) declared.add("programs")
  return Result.succeed({
    image: options.image ?? "conformance",
    timeLimitMillis: Duration.toMillis(options.timeLimit ?? "20 seconds"),
    concurrency: options.concurrency ?? 4,
    checks: checks.filter(isSelected(options.only)),
    has: (needed) => declared.has(needed),
    declared: Object.fromEntries(capability.all.map((one) => [one, declared.has(one)])),
    options
  })
}

/** What a check needs and the driver does not have. */
export const missing = (resolved: Resolved, check: Check): ReadonlyArray<capability.Capability> =>
  check.needs.filter((needed) => !resolved.has(needed))
