/**
 * Random programs over an environment, held to the invariants of the library: they open and end sessions in every way,
 * interrupt, let time pass, break sandboxes, drivers and features, and shut down, under random configurations. They run
 * on the real core with a simulated driver, in virtual time. What breaks a rule is shrunk to a minimal program and
 * shown as a timeline, with what replays it.
 *
 * It is how the library is tested, and how you test features of your own:
 *
 * ```ts
 * import { it } from "@effect/vitest"
 * import { Context, Effect } from "effect"
 * import { Feature, Sandbox } from "@effect-sandbox/core"
 * import { Lifecycle } from "@effect-sandbox/testing"
 *
 * class Greeter extends Context.Service<Greeter, { readonly greet: Effect.Effect<string> }>()("app/Greeter") {
 *   static readonly feature = Feature.make(Greeter, {
 *     setup: Effect.gen(function*() {
 *       const sandbox = yield* Sandbox
 *       return { session: Effect.succeed({ greet: Effect.succeed(`hello from ${sandbox.id}`) }) }
 *     })
 *   })
 * }
 *
 * it.effect("survives whatever happens around it", () =>
 *   Lifecycle.check({
 *     features: [Greeter.feature],
 *     use: Effect.flatMap(Greeter, (greeter) => greeter.greet)
 *   }))
 * ```
 */
import type { SessionServices } from "@effect-sandbox/core/Environment"
import type * as Feature from "@effect-sandbox/core/Feature"
import * as ConfigOptions from "@effect-sandbox/core/Options"
import type { InvalidConfigurationError } from "@effect-sandbox/core/SandboxError"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import * as arbitraries from "./internal/lifecycle/arbitrary.ts"
import * as programs from "./internal/lifecycle/program.ts"
import * as runner from "./internal/lifecycle/runner.ts"
import * as shrinking from "./internal/lifecycle/shrink.ts"
import * as timelines from "./internal/lifecycle/timeline.ts"
import type { Options as Inside } from "./internal/lifecycle/world.ts"
import * as tokens from "./internal/lifecycle/token.ts"

/** How an environment is configured, and the world around it. */
export const Configuration = programs.Configuration
export type Configuration = programs.Configuration

/** One step of a program. */
export const Step = programs.Step
export type Step = programs.Step

/** A whole program: configuration, faults, steps. */
export const Program = programs.Program
export type Program = programs.Program

/** What a run has come to. */
export type Trace = runner.Outcome

/** A rule was broken. The message is the whole report. */
export class LifecycleFailure extends Schema.TaggedError<LifecycleFailure>()("LifecycleFailure", {
  /** The mark of the rule: `I1` to `I10`, or one of DESIGN section 4. */
  rule: Schema.String,
  /** What was found, in a sentence. */
  violation: Schema.String,
  /** The smallest program that breaks the rule. */
  program: programs.Program,
  /** Replays that program: `Lifecycle.check({ replay })`. */
  replay: Schema.String,
  seed: Schema.Union([Schema.String, Schema.Finite]),
  /** Programs that were run until one broke the rule. */
  runs: Schema.Finite,
  /** Programs that were run to make it smaller. */
  tries: Schema.Finite,
  report: Schema.String
}) {
  override get message() {
    return this.report
  }
}

/** What was run. */
export interface Report {
  readonly seed: string | number
  readonly runs: number
  /** Programs that were run twice, to see that they run the same way (I10). */
  readonly repeated: number
  readonly steps: number
  readonly sessions: number
  /** Faults that struck. */
  readonly struck: number
  /** How often each interesting situation came up: what sandboxes died in, how sessions ended, which faults struck. */
  readonly situations: { readonly [situation: string]: number }
}

export interface RunOptions<
  F extends ReadonlyArray<Feature.Any> = ReadonlyArray<Feature.Any>,
  A = unknown,
  E = unknown,
  R = never
> {
  /** The features under test. Default: none, only the library's own probes. */
  readonly features?: F | undefined
  /** What programs do with the features in sessions. What it fails with is the session's own error. Default: nothing. */
  readonly use?: Effect.Effect<A, E, R> | undefined
  /**
   * What is left of the features outside of sandboxes (connections, files of the host, …), asked when a program has
   * ended: whatever it names was leaked. Default: nothing.
   */
  readonly leftovers?: Effect.Effect<ReadonlyArray<string>, never, R> | undefined
}

export interface Options<
  F extends ReadonlyArray<Feature.Any> = ReadonlyArray<Feature.Any>,
  A = unknown,
  E = unknown,
  R = never
> extends RunOptions<F, A, E, R> {
  /** How many programs are run. Default: 100. */
  readonly runs?: number | undefined
  /** The same programs again. Default: other ones each time, from `Random`. */
  readonly seed?: string | number | undefined
  /** The largest number of steps. Default: 40. */
  readonly size?: number | undefined
  /** The images. Name those that the features are for. Default: `alpha`, `beta` and `gamma`. */
  readonly images?: ReadonlyArray<string> | undefined
  /** Options that all programs have. Default: none, all are random. */
  readonly configuration?: Partial<Configuration> | undefined
  /** Whether anything goes wrong: faults, and sandboxes that die. Default: true. */
  readonly faults?: boolean | undefined
  /** Every program of so many is run twice. Default: 20. */
  readonly repeatEvery?: number | undefined
  /** How many programs may be run to make one smaller. Default: 3000. */
  readonly maxShrinks?: number | undefined
  /** Runs this program only. */
  readonly replay?: string | undefined
}

/** What sessions provide, whatever the features. */
type Provided<F extends ReadonlyArray<Feature.Any>> = SessionServices | Feature.Id<F[number]>

/** What features and their use need from the caller. */
export type Services<F extends ReadonlyArray<Feature.Any>, R> = Feature.Services<F[number]> | Exclude<R, Provided<F>>

const defaultImages = ["alpha", "beta", "gamma"]

const insideOf = (options: RunOptions<ReadonlyArray<Feature.Any>, unknown, unknown, unknown>): Inside => ({
  features: options.features ?? [],
  use: options.use ?? Effect.void,
  leftovers: options.leftovers ?? Effect.succeed([])
})

/** What was asked for by the options' types; inside nobody knows them. */
const typed = <A, E, F extends ReadonlyArray<Feature.Any>, R>(
  effect: Effect.Effect<A, E, unknown>
): Effect.Effect<A, E, Services<F, R>> =>
  // @effect-diagnostics-next-line unsafeEffectTypeAssertion:off
  effect as Effect.Effect<A, E, Services<F, R>>

/** Runs one program. */
export const run = <const F extends ReadonlyArray<Feature.Any> = readonly [], A = never, E = never, R = never>(
  program: Program,
  options: RunOptions<F, A, E, R> = {}
): Effect.Effect<Trace, never, Services<F, R>> => typed<Trace, never, F, R>(runner.run(program, insideOf(options)))

/** Random programs, for properties of your own. */
export const arbitrary = (
  options: { readonly images?: ReadonlyArray<string> | undefined; readonly faults?: boolean | undefined } = {}
): Arbitrary.Arbitrary<Program> =>
  arbitraries.program({
    images: options.images ?? defaultImages,
    hasUse: false,
    faults: options.faults ?? true,
    size: 40
  })

/** A program and what came of it, as people read it. */
export const format = (program: Program, trace: Trace): string => timelines.report(program, trace)

/** What `check` fails with: a rule that was broken, or options that no program can have. */
export type CheckError = LifecycleFailure | InvalidConfigurationError

/** Runs random programs until one breaks a rule; fails with the smallest one that does. */
export const check = <const F extends ReadonlyArray<Feature.Any> = readonly [], A = never, E = never, R = never>(
  options: Options<F, A, E, R> = {}
): Effect.Effect<Report, CheckError, Services<F, R>> => typed<Report, CheckError, F, R>(checkAll(options))

/** The options that are data. */
const Given = Schema.Struct({
  configuration: Schema.optional(Configuration.mapFields(Struct.map(Schema.optionalKey)))
})

const checkAll = Effect.fnUntraced(function* (options: Options<ReadonlyArray<Feature.Any>, unknown, unknown, unknown>) {
  yield* ConfigOptions.check("Lifecycle", Given, { configuration: options.configuration })
  const inside = insideOf(options)
  const seed = options.seed ?? (yield* Random.nextInt)
  const repeatEvery = options.repeatEvery ?? 20
  const situations = new Map<string, number>()
  let runs = 0
  let repeated = 0
  let steps = 0
  let sessions = 0
  let struck = 0

  /** One program, perhaps twice. */
  const once = Effect.fnUntraced(function* (program: Program, isRepeated: boolean) {
    const outcome = yield* runner.run(program, inside)
    if (outcome.found !== undefined || !isRepeated) return outcome
    const again = yield* runner.run(program, inside)
    const difference = timelines.difference(outcome, again)
    return difference === undefined ? outcome : { ...outcome, found: difference }
  })

  const property = (generated: Program) =>
    Effect.map(
      once(configured(generated, options.configuration), runs % repeatEvery === repeatEvery - 1),
      (outcome) => {
        if (runs % repeatEvery === repeatEvery - 1) repeated++
        runs++
        steps += outcome.steps
        sessions += outcome.sessions
        struck += outcome.struck
        for (const [situation, count] of outcome.situations) {
          situations.set(situation, (situations.get(situation) ?? 0) + count)
        }
        return outcome.found === undefined
      }
    )

  let failing: Program | undefined
  if (options.replay === undefined) {
    const generator = arbitraries.program({
      images: options.images ?? defaultImages,
      hasUse: options.use !== undefined,
      faults: options.faults ?? true,
      size: options.size ?? 40
    })
    const result = yield* Arbitrary.checkEffect(generator, property, {
      runs: options.runs ?? 100,
      seed,
      // Programs grow with the number of the run; two thirds of the way they are as large as they get.
      size: Math.ceil((options.size ?? 40) * 1.5),
      maxShrinks: 0
    })
    if (result._tag === "Falsified") failing = configured(result.initialInput, options.configuration)
  } else {
    const program = yield* Effect.catch(tokens.decode(options.replay), (problem) =>
      Effect.die(new Error(`the replay token cannot be read: ${problem}`))
    )
    if (!(yield* property(program))) failing = program
  }
  if (failing === undefined) {
    const report: Report = {
      seed,
      runs,
      repeated,
      steps,
      sessions,
      struck,
      situations: Object.fromEntries([...situations].sort(([a], [b]) => (a < b ? -1 : 1)))
    }
    return report
  }

  const rule = (yield* once(failing, true)).found?.rule
  const { program, tries } = yield* shrinking.shrink(
    failing,
    (candidate) =>
      Effect.map(once(candidate, rule === "I10"), ({ found }) => found !== undefined && found.rule === rule),
    options.replay === undefined ? (options.maxShrinks ?? 3000) : 0
  )
  const outcome = yield* once(program, true)
  const replay = yield* tokens.encode(program)
  return yield* new LifecycleFailure({
    rule: outcome.found?.rule ?? "I10",
    violation: outcome.found?.what ?? "the program does not run the same way twice",
    program,
    replay,
    seed,
    runs,
    tries,
    report: [
      `A rule was broken after ${runs} programs (seed ${seed}); the smallest program that does, of ${tries} tries:`,
      "",
      timelines.report(program, outcome),
      "",
      `To replay it: Lifecycle.check({ replay: "${replay}" }), with the same features.`
    ].join("\n")
  })
})

const configured = (program: Program, configuration: Partial<Configuration> | undefined): Program =>
  configuration === undefined ? program : { ...program, configuration: { ...program.configuration, ...configuration } }
