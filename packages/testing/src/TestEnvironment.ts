/**
 * Environments for tests: one's own service class, or options, on a simulated driver, with a recorder of events and
 * with faults that strike in the driver and in the features.
 *
 * ```ts
 * import { assert, it } from "@effect/vitest"
 * import { Context, Effect } from "effect"
 * import { Environment, Feature } from "@effect-sandbox/core"
 * import { EventExpect, TestEnvironment } from "@effect-sandbox/testing"
 *
 * class Python extends Context.Service<Python, {
 *   readonly evaluate: (code: string) => Effect.Effect<string>
 * }>()("app/Python") {
 *   static readonly feature = Feature.make(Python, {
 *     setup: Effect.succeed({ session: Effect.succeed(Python.of({ evaluate: () => Effect.succeed("42") })) })
 *   })
 * }
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["python:3"], features: [Python.feature] }) {}
 *
 * const program = Lab.withFeature(Python, (python) => python.evaluate("6 * 7"))
 *
 * it.effect("the program, with the real feature on a simulated sandbox", () =>
 *   Effect.gen(function*() {
 *     assert.strictEqual(yield* program, "42")
 *   }).pipe(Effect.provide(TestEnvironment.layer(Lab))))
 *
 * it.effect("the program alone, with a feature that answers what a test wants", () =>
 *   Effect.gen(function*() {
 *     assert.strictEqual(yield* program, "43")
 *   }).pipe(Effect.provide(TestEnvironment.layer(Lab, {
 *     services: Context.make(Python, { evaluate: () => Effect.succeed("43") })
 *   }))))
 *
 * it.effect("nothing is left, and the events are well formed", () =>
 *   Effect.gen(function*() {
 *     const { environment, recorder } = yield* TestEnvironment.make({ images: ["base"], features: [Python.feature] })
 *     yield* environment.withSession({ id: "s1" }, Effect.void)
 *     yield* EventExpect.inOrder(recorder, ["session s1 started", "session s1 ended"])
 *   }))
 *
 * it.effect("the same for environments that a test makes itself", () =>
 *   Effect.gen(function*() {
 *     const blue = yield* Environment.make({ id: "blue", images: ["base"] })
 *     const green = yield* Environment.make({ id: "green", images: ["base"] })
 *     yield* blue.withSession({}, green.withSession({}, Effect.void))
 *   }).pipe(TestEnvironment.run))
 * ```
 */
import * as Environment from "@effect-sandbox/core/Environment"
import type * as EnvironmentConfig from "@effect-sandbox/core/EnvironmentConfig"
import type { EventHub } from "@effect-sandbox/core/EventHandler"
import { EventRecorder } from "@effect-sandbox/core/EventRecorder"
import type * as Feature from "@effect-sandbox/core/Feature"
import type { SandboxDriver } from "@effect-sandbox/core/SandboxDriver"
import type { InvalidConfigurationError } from "@effect-sandbox/core/SandboxError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as EventExpect from "./EventExpect.ts"
import { Faults, type SimulatedError } from "./Faults.ts"
import * as LeakCheck from "./LeakCheck.ts"
import { SimDriver, type SimDriverOptions } from "./SimDriver.ts"

/** What a test environment brings along. */
export type Services = SimDriver | SandboxDriver | Faults | EventRecorder | EventHub

/** A feature that can fail by a fault; one whose service is among `S` needs and does nothing of its own. */
export type Simulated<F, S = never> =
  F extends Feature.Feature<infer Id, infer E, infer R, infer Kind>
    ? [Id] extends [S]
      ? Feature.Feature<Id, SimulatedError, never, Kind>
      : Feature.Feature<Id, E | SimulatedError, R, Kind>
    : never

export interface LayerOptions<S = never> {
  /** The simulated driver, and the plan of its faults, which also strike in the features. */
  readonly driver?: SimDriverOptions | undefined
  /** Changes the options of the environment. */
  readonly config?: Omit<EnvironmentConfig.Options, "features"> | undefined
  /**
   * Takes the place of features: one whose service is in here is not set up at all, and sessions are given this. What
   * such a feature needs from outside is then not needed.
   */
  readonly services?: Context.Context<S> | undefined
}

/** What a service class tells of itself; `Environment.Service` makes it. */
export type ServiceClass<Self, F extends Feature.Any> = Context.Key<Self, Environment.Environment<F>> &
  Pick<Environment.ServiceStatics<Self, F>, "options">

/**
 * A service class of one's own on a simulated driver, with all that controls it. The class does not know that its
 * features may fail with `SimulatedError` now, at a fault of a plan: what runs in its sessions can, and does not say so.
 */
export const layer = <Self, F extends Feature.Any, S extends Feature.Id<F> = never>(
  service: ServiceClass<Self, F>,
  options: LayerOptions<S> = {}
): Layer.Layer<
  Self | Services,
  Environment.StartError<Simulated<F, S>> | InvalidConfigurationError,
  Feature.Services<Simulated<F, S>>
> =>
  Layer.effect(
    service,
    Effect.gen(function* () {
      const { features = [], ...declared } = service.options
      const simulated = yield* simulate<F, S>(features, options.services)
      const environment = yield* Environment.make({ ...declared, ...options.config, features: simulated })
      // It provides the same as the class says; that it can fail by a fault is said above.
      return environment as Environment.Environment<unknown> as Environment.Environment<F>
    })
  ).pipe(Layer.provideMerge(worldOf(options)))

/** A test environment as a scoped value. */
export interface TestEnvironment<F> {
  readonly environment: Environment.Environment<F>
  readonly driver: SimDriver["Service"]
  readonly faults: Faults["Service"]
  readonly recorder: EventRecorder["Service"]
  /** The fibers and timers of the environment. What a test runs with it is counted, too. */
  readonly leaks: LeakCheck.LeakCheck
  /** The driver, the faults and the recorder as services, for `Effect.provideContext`. */
  readonly context: Context.Context<Services>
}

export interface Options<F extends ReadonlyArray<Feature.Any>> extends EnvironmentConfig.Options<F> {
  /** The simulated driver, and the plan of its faults, which also strike in the features. */
  readonly driver?: SimDriverOptions | undefined
  /**
   * Whether, when the scope was closed and the test has succeeded, nothing must be left of the environment and its
   * events must be well formed. What is wrong is then a defect of the scope's end. Default: true.
   */
  readonly checks?: boolean | undefined
}

/** Starts an environment on a simulated driver of its own, and looks at what is left of it at the end of the scope. */
export const make = <const F extends ReadonlyArray<Feature.Any> = readonly []>(
  options: Options<F>
): Effect.Effect<
  TestEnvironment<Simulated<F[number]>>,
  Environment.StartError<Simulated<F[number]>> | InvalidConfigurationError,
  Scope.Scope | Feature.Services<Simulated<F[number]>>
> =>
  Effect.gen(function* () {
    const { checks = true, driver, features = [], ...config } = options
    const context = yield* Layer.build(worldOf({ driver }))
    const recorder = Context.get(context, EventRecorder)
    const leaks = yield* Effect.provideContext(LeakCheck.make(), context)
    const check = Effect.andThen(leaks.assertNone, EventExpect.assertWellFormed(recorder))
    // It runs after the environment was taken down. Dying is how the end of a scope tells a test that it fails; a test
    // that has failed already keeps its own error.
    yield* Effect.addFinalizer((exit) => (checks && Exit.isSuccess(exit) ? Effect.orDie(check) : Effect.void))
    const started = Effect.flatMap(simulate<F[number], never>(features, undefined), (simulated) =>
      Environment.make({ ...config, features: simulated })
    )
    const environment = yield* Effect.provideContext(leaks.run(started), context)
    leaks.watch(environment)
    return {
      environment,
      driver: Context.get(context, SimDriver),
      faults: Context.get(context, Faults),
      recorder,
      leaks,
      context
    }
  })

export interface RunOptions {
  /** The simulated driver, and the plan of its faults. */
  readonly driver?: SimDriverOptions | undefined
  /** Whether nothing must be left and the events must be well formed when the test has succeeded. Default: true. */
  readonly checks?: boolean | undefined
}

/**
 * Runs a test on a simulated driver of its own, for environments that it makes itself: several of them, or some that do
 * not start. Its scope and the fibers that it has forked are ended with it, and then it is looked at what is left.
 */
export const run = <A, E, R>(
  test: Effect.Effect<A, E, R>,
  options: RunOptions = {}
): Effect.Effect<
  A,
  E | LeakCheck.LeakError | EventExpect.MalformedEventsError | InvalidConfigurationError,
  Exclude<R, Services | Scope.Scope>
> =>
  Effect.acquireUseRelease(
    Scope.make(),
    (worldScope) =>
      Effect.gen(function* () {
        const { checks = true, driver } = options
        const context = yield* Layer.buildWithScope(worldOf({ driver }), worldScope)
        const leaks = yield* Effect.provideContext(LeakCheck.make(), context)
        const scope = yield* Scope.fork(worldScope)
        // In a fiber of its own, whose end is that of its children.
        const fiber = yield* test.pipe(
          Effect.provideContext(Context.add(context, Scope.Scope, scope)),
          Effect.onExit((exit) => Scope.close(scope, exit)),
          leaks.run,
          Effect.forkChild({ startImmediately: true })
        )
        const value = yield* Fiber.join(fiber)
        if (checks) {
          yield* leaks.assertNone
          yield* EventExpect.assertWellFormed(Context.get(context, EventRecorder))
        }
        return value
      }),
    (worldScope, exit) => Scope.close(worldScope, exit)
  )

const worldOf = (options: { readonly driver?: SimDriverOptions | undefined }) =>
  Layer.mergeAll(SimDriver.layer(options.driver), EventRecorder.layer)

/** Features with faults, those replaced whose services are given. */
const simulate = <F extends Feature.Any, S>(features: ReadonlyArray<F>, services: Context.Context<S> | undefined) =>
  Effect.map(Faults, (faults) =>
    features.map((feature) => {
      const simulated: Feature.Any = faults.feature(replace(feature, services))
      // A feature that was replaced needs nothing and does nothing, which its type cannot tell from the list it is in.
      return simulated as Simulated<F, S>
    })
  )

/** A feature that only gives what it was told to give, when there is something to give. */
const replace = (feature: Feature.Any, services: Context.Context<never> | undefined): Feature.Any => {
  if (services === undefined || !services.mapUnsafe.has(feature.key)) return feature
  const given = Context.makeUnsafe<never>(new Map([[feature.key, services.mapUnsafe.get(feature.key)]]))
  const active: Feature.Active = {
    session: Effect.succeed((context) => Context.merge(context, given)),
    housekeep: undefined
  }
  return { ...feature, housekeepInterval: undefined, setup: Effect.succeed(active) }
}
