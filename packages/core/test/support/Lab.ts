/**
 * An environment on the test driver whose two features do what a test tells them, and what must be true of every life.
 */
import {
  Environment,
  type EnvironmentConfig,
  EventRecorder,
  Feature,
  Sandbox,
  type SandboxDriver,
  type SandboxEvent,
  SandboxStatus
} from "@effect-sandbox/core"
import { assert } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Layer, Schema, type Scope } from "effect"
import { TestClock } from "effect/testing"
import * as TestDriver from "./TestDriver.ts"

/** The typed error of users. */
export class Boom extends Schema.TaggedError<Boom>()("Boom", { what: Schema.String }) {
  override get message() {
    return `boom: ${this.what}`
  }
}

export class One extends Context.Service<One, { readonly name: string }>()("test/One") {}
export class Two extends Context.Service<Two, { readonly name: string }>()("test/Two") {}

/** What a scripted feature does, each after it was written to the log. Can be changed while the environment runs. */
export interface Script {
  setup?: Effect.Effect<unknown, Boom, Feature.SetupServices>
  /** Finalizers cannot fail, only die. */
  teardown?: Effect.Effect<unknown>
  session?: Effect.Effect<unknown, Boom, Feature.SetupServices>
  sessionTeardown?: Effect.Effect<unknown>
  housekeep?: Effect.Effect<unknown, Boom>
}

/** A sandbox feature that does what its script says. */
export const feature = <Id>(
  key: Context.Key<Id, { readonly name: string }>,
  log: Array<string>,
  script: Script,
  options: { readonly images?: ReadonlyArray<string>; readonly housekeepInterval?: string } = {}
): Feature.Feature<Id, Boom, never> => {
  const name = key.key.slice(key.key.lastIndexOf("/") + 1).toLowerCase()
  /** A step and what undoes it: when the one is in the log the other will be, wherever it is interrupted. */
  const pair = <A>(up: string, down: string, undo: () => Effect.Effect<A> | undefined) =>
    Effect.acquireRelease(
      Effect.sync(() => log.push(`${up} ${name}`)),
      () =>
        Effect.suspend((): Effect.Effect<unknown> => {
          log.push(`${down} ${name}`)
          return undo() ?? Effect.void
        })
    )
  const perhaps = <A, E, R>(effect: () => Effect.Effect<A, E, R> | undefined) =>
    Effect.suspend((): Effect.Effect<unknown, E, R> => effect() ?? Effect.void)
  return Feature.make(key, {
    images: options.images,
    housekeepInterval: options.housekeepInterval as "1 second" | undefined,
    setup: Effect.gen(function* () {
      const sandbox = yield* Sandbox
      yield* pair("setup", "teardown", () => script.teardown)
      yield* perhaps(() => script.setup)
      return {
        session: Effect.gen(function* () {
          yield* pair("session", "session teardown", () => script.sessionTeardown)
          yield* perhaps(() => script.session)
          return { name: `${name} in ${sandbox.id}` }
        }),
        housekeep: Effect.suspend((): Effect.Effect<unknown, Boom> => script.housekeep ?? Effect.void)
      }
    })
  })
}

export type Features = Feature.Feature<One, Boom, never> | Feature.Feature<Two, Boom, never>
export type LabEnvironment = Environment.Environment<Features>

export interface Options extends Omit<EnvironmentConfig.Options, "features"> {
  readonly one?: Script
  readonly two?: Script
  readonly log?: Array<string>
  readonly housekeep?: string
}

/** An environment with the features `One` and `Two`. Default: one image, one sandbox. */
export const make = ({ housekeep, log = [], one = {}, two = {}, ...options }: Options = {}) => {
  const interval = housekeep === undefined ? {} : { housekeepInterval: housekeep }
  return Environment.make({
    id: "env",
    images: ["base"],
    pool: 1,
    ...options,
    features: [feature(One, log, one, interval), feature(Two, log, two, interval)]
  })
}

/** Lets everything run that needs no time. */
export const settle = TestClock.adjust(0)

/** One way to run an effect in a session. */
export interface Way {
  readonly name: string
  readonly open: <A, E>(
    environment: LabEnvironment,
    options: Environment.SessionOptions,
    body: Effect.Effect<A, E, Environment.SessionServices | One | Two>
  ) => Effect.Effect<A, E | Environment.WithSessionError<Features>>
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

/**
 * Runs a test on a driver and a recorder of its own. The environments it makes are closed at its end, and what they
 * have done must be well formed.
 */
export const run = <A, E>(test: Effect.Effect<A, E, Services>) => runWith(test, checkEvents)

/** The same without a look at the events: only the instances must be gone. */
export const runUnchecked = <A, E>(test: Effect.Effect<A, E, Services>) => runWith(test, () => {})

type Services = TestDriver.TestDriver | SandboxDriver | Layer.Success<typeof EventRecorder.layer> | Scope.Scope

const runWith = <A, E>(
  test: Effect.Effect<A, E, Services>,
  check: (events: ReadonlyArray<SandboxEvent.SandboxEvent>) => void
) =>
  Effect.gen(function* () {
    const value = yield* Effect.scoped(test)
    const driver = yield* TestDriver.TestDriver
    assert.deepStrictEqual(driver.alive(), [], "I7 instances are left")
    check(yield* (yield* EventRecorder).events)
    return value
  }).pipe(Effect.provide(Layer.mergeAll(TestDriver.layer, EventRecorder.layer)))

/** The typed failures and the defects of an exit, in order. */
export const failures = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<unknown> =>
  Exit.isSuccess(exit) ? [] : exit.cause.reasons.flatMap((reason) => (Cause.isFailReason(reason) ? [reason.error] : []))
export const defects = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<unknown> =>
  Exit.isSuccess(exit) ? [] : exit.cause.reasons.flatMap((reason) => (Cause.isDieReason(reason) ? [reason.defect] : []))

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

const isOf = (id: string) => (event: SandboxEvent.SandboxEvent) => "sandboxId" in event && event.sandboxId === id

/** The sandboxes that events tell of, in order. */
export const sandboxes = (events: ReadonlyArray<SandboxEvent.SandboxEvent>): ReadonlyArray<string> => [
  ...new Set(events.flatMap((e) => ("sandboxId" in e && e.sandboxId !== undefined ? [e.sandboxId] : [])))
]

/** I1, I3, I4, I5 and I6 of a whole life that has ended. */
export const checkEvents = (events: ReadonlyArray<SandboxEvent.SandboxEvent>): void => {
  for (const id of sandboxes(events)) {
    const own = events.filter(isOf(id))
    let status: SandboxStatus.SandboxStatus = "Created"
    let session: string | undefined
    let broken = false
    const up: Array<string> = []
    const sessionUp: Array<string> = []
    for (const event of own) {
      const at = `${id} at ${event._tag}`
      if ("durationMillis" in event) assert.isAtLeast(event.durationMillis, 0, `I6 ${at}`)
      switch (event._tag) {
        case "SandboxStatusChanged":
          assert.strictEqual(event.from, status, `I6 a move is missing: ${at}`)
          assert.isTrue(SandboxStatus.isLegal(event.from, event.to), `I5 ${event.from} -> ${event.to}: ${at}`)
          status = event.to
          break
        case "SessionStarted":
          if (event.error !== undefined) break
          assert.isUndefined(session, `I3 two sessions: ${at}`)
          assert.isFalse(broken, `I4 it serves again: ${at}`)
          session = event.sessionId
          break
        case "SessionEnded":
          assert.strictEqual(event.sessionId, session, `I6 an end without a start: ${at}`)
          session = undefined
          break
        case "FeatureSetUp":
          up.push(event.featureId)
          break
        case "FeatureTornDown":
          assert.strictEqual(event.featureId, up.pop(), `I1 torn down out of order: ${at}`)
          assert.deepStrictEqual(sessionUp, [], `I1 a session is still up: ${at}`)
          break
        case "FeatureSessionSetUp":
          sessionUp.push(event.featureId)
          break
        case "FeatureSessionTornDown":
          assert.strictEqual(event.featureId, sessionUp.pop(), `I1 torn down out of order: ${at}`)
          break
      }
      // The body of a session may have failed with the state error of another sandbox.
      if ("error" in event && event.error?.isStateError === true && event.error.message.includes(`${id} `))
        broken = true
    }
    assert.strictEqual(status, "Offline", `I7 ${id}`)
    assert.isUndefined(session, `I6 a session without an end: ${id}`)
    assert.deepStrictEqual(up, [], `I1 features of ${id} are left`)
    assert.deepStrictEqual(sessionUp, [], `I1 sessions of features of ${id} are left`)
  }
  const tags = events.map((event) => event._tag)
  const count = (tag: SandboxEvent.Tag) => tags.filter((one) => one === tag).length
  assert.strictEqual(count("EnvironmentStarting"), count("EnvironmentStarted"), "I6 environments started")
  assert.strictEqual(count("EnvironmentStarting"), count("EnvironmentShutDown"), "I6 environments shut down")
}
