/** What most tests of the core start with, and how they look at the ends of effects. */
import { Environment, type EnvironmentConfig, type Feature, SandboxId, SandboxStateError } from "@effect-sandbox/core"
import { FeatureProbe } from "@effect-sandbox/testing"
import { assert } from "@effect/vitest"
import { Cause, Effect, Exit, Schema } from "effect"
import { TestClock } from "effect/testing"

/** The typed error of users. */
export class Boom extends Schema.TaggedError<Boom>()("Boom", { what: Schema.String }) {
  override get message() {
    return `boom: ${this.what}`
  }
}

/** Two probes, `one` and `two`, that share a journal, and environments with them. */
export const probes = (options: Pick<FeatureProbe.Options, "housekeepInterval"> = {}) => {
  const journal = FeatureProbe.journal()
  const one = FeatureProbe.make("one", { ...options, journal })
  const two = FeatureProbe.make("two", { ...options, journal })
  return {
    journal,
    one,
    two,
    /** Default: one image, one sandbox. */
    start: (settings: Omit<EnvironmentConfig.Options, "features"> = {}) =>
      Environment.make({
        id: "env",
        images: ["base"],
        pool: 1,
        ...settings,
        features: [one.feature, two.feature]
      })
  }
}

/** An environment with two probes that nobody tells anything. */
export const start = (settings: Omit<EnvironmentConfig.Options, "features"> = {}) => probes().start(settings)

export const stateError = (sandboxId: string, operation: string, description = "told to"): SandboxStateError =>
  new SandboxStateError({ sandboxId: SandboxId.make(sandboxId), operation, description })

/** Lets everything run that needs no time. */
export const settle = TestClock.adjust(0)

/** One way to run an effect in a session. */
export interface Way {
  readonly name: string
  readonly open: <F, A, E>(
    environment: Environment.Environment<F>,
    options: Environment.SessionOptions,
    body: Effect.Effect<A, E, Environment.SessionServices | Feature.Id<F>>
  ) => Effect.Effect<A, E | Environment.WithSessionError<F>>
}

/** Both ways to a session must behave the same. */
export const ways: ReadonlyArray<Way> = [
  { name: "withSession", open: (environment, options, body) => environment.withSession(options, body) },
  {
    name: "session",
    open: (environment, options, body) =>
      Effect.scoped(Effect.flatMap(environment.session(options), (session) => session.run(body)))
  }
]

/** The one reason of a failed exit: nothing was added to it and nothing was lost. */
const onlyReason = (exit: Exit.Exit<unknown, unknown>): Cause.Reason<unknown> => {
  if (Exit.isSuccess(exit)) return assert.fail("it succeeded")
  const [reason, ...others] = exit.cause.reasons
  assert.deepStrictEqual(others, [], Cause.pretty(exit.cause))
  return reason ?? assert.fail("an empty cause")
}

/** The typed failure of an exit that holds nothing else. */
export const failure = (exit: Exit.Exit<unknown, unknown>): unknown => {
  const reason = onlyReason(exit)
  return Cause.isFailReason(reason) ? reason.error : assert.fail(`no typed failure: ${String(reason)}`)
}

/** The defect of an exit that holds nothing else. */
export const defect = (exit: Exit.Exit<unknown, unknown>): unknown => {
  const reason = onlyReason(exit)
  return Cause.isDieReason(reason) ? reason.defect : assert.fail(`no defect: ${String(reason)}`)
}
