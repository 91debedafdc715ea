/**
 * Carries a `FaultPlan` out: wraps a driver (any driver) and features, so that every call is looked up in the plan
 * first. Faults can be added and cleared while an environment runs; what struck is kept, with its time.
 *
 * ```ts
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { Environment, LocalDriver } from "@effect-sandbox/core"
 * import { Faults } from "@effect-sandbox/testing"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["shell"] }) {}
 *
 * // Real processes, of which every third cannot be started.
 * const driver = Faults.driverLayer.pipe(
 *   Layer.provideMerge(Faults.layer([{ at: ["spawn"], calls: [3, 6, 9], how: { _tag: "Fail" } }])),
 *   Layer.provide(LocalDriver.layer()),
 *   Layer.provide(NodeServices.layer)
 * )
 * const test = Lab.withSession({}, Effect.void).pipe(Effect.provide(Lab.layer), Effect.provide(driver))
 * ```
 */
import type * as Feature from "@effect-sandbox/core/Feature"
import { EnvironmentId, type FeatureId, ImageId, SandboxId } from "@effect-sandbox/core/Id"
import * as Options from "@effect-sandbox/core/Options"
import { SandboxDriver } from "@effect-sandbox/core/SandboxDriver"
import {
  EnvironmentOutageError,
  type InvalidConfigurationError,
  SandboxStateError
} from "@effect-sandbox/core/SandboxError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as PlatformError from "effect/PlatformError"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Plan from "./FaultPlan.ts"
import { faultyDriver, faultyFeature } from "./internal/driver/faulty.ts"

/** The typed error that a fault raises in a feature: the user's own kind. */
export class SimulatedError extends Schema.TaggedError<SimulatedError>()("SimulatedError", {
  point: Plan.Point,
  description: Schema.String
}) {
  override get message() {
    return `Simulated error at ${this.point}: ${this.description}`
  }
}

/** What a fault dies with. */
export class SimulatedDefect extends Schema.TaggedError<SimulatedDefect>()("SimulatedDefect", {
  point: Plan.Point,
  description: Schema.String
}) {
  override get message() {
    return `Simulated defect at ${this.point}: ${this.description}`
  }
}

/** A feature that can fail with `SimulatedError` as well. */
export type Faulty<F> =
  F extends Feature.Feature<infer Id, infer E, infer R, infer Kind>
    ? Feature.Feature<Id, E | SimulatedError, R, Kind>
    : never

/** One call at a point of a driver or a feature. What does not belong to a sandbox (of a host feature) has no ids. */
export interface Call {
  readonly point: Plan.Point
  readonly environmentId?: EnvironmentId | undefined
  readonly sandboxId?: SandboxId | undefined
  readonly image?: ImageId | undefined
  readonly slot?: number | undefined
  readonly generation?: number | undefined
  readonly featureId?: FeatureId | undefined
  /** The command at `spawn`, `exit` and `kill`, the method at `file`. */
  readonly operation?: string | undefined
  /** The path at `file`. */
  readonly path?: string | undefined
}

/** A fault that struck. */
export interface Struck {
  /** Milliseconds since the epoch. */
  readonly timestamp: number
  readonly call: Call
  readonly fault: Plan.Fault
}

/** What a call may fail with because of a fault. Which of them depends on the point; see `FaultPlan.How`. */
export type Failure = SimulatedError | SandboxStateError | EnvironmentOutageError | PlatformError.PlatformError

export class Faults extends Context.Service<
  Faults,
  {
    /** Adds to the plan. */
    readonly add: (...faults: Plan.FaultPlan) => Effect.Effect<void, InvalidConfigurationError>
    /** Empties the plan; what hangs goes on. */
    readonly clear: Effect.Effect<void>
    /**
     * Runs an effect at every call of a point, before the plan is looked up: for what a plan cannot say. It takes the
     * place of the one that was there before.
     */
    readonly on: (point: Plan.Point, hook: (call: Call) => Effect.Effect<unknown, Failure>) => void
    /** What struck so far, in order. */
    readonly struck: () => ReadonlyArray<Struck>
    /** The same driver, with faults. */
    readonly driver: (
      driver: SandboxDriver["Service"],
      options?: {
        /** What a driver of one's own does when one of its sandboxes was made to die. */
        readonly onDeath?: ((id: SandboxId, error: SandboxStateError) => Effect.Effect<void>) | undefined
      }
    ) => SandboxDriver["Service"]
    /** The same feature, with faults. */
    readonly feature: <F extends Feature.Any>(feature: F) => Faulty<F>
    /** Looks a call up in the plan, for points of one's own. */
    readonly strike: (call: Call) => Effect.Effect<void, Failure>
    /** Makes a sandbox of a wrapped driver die by itself; tells whether it was alive. */
    readonly kill: (sandboxId: string, description?: string) => Effect.Effect<boolean>
  }
>()("@effect-sandbox/testing/Faults") {
  /** A plan, taken up when the layer is built. With a seed, chance is the same in every run. */
  static readonly layer = (
    plan: Plan.FaultPlan = [],
    options: { readonly seed?: string | number | undefined } = {}
  ): Layer.Layer<Faults, InvalidConfigurationError> =>
    Layer.effect(Faults, options.seed === undefined ? make(plan) : Random.withSeed(make(plan), options.seed))

  /** The driver that is there, with faults. */
  static readonly driverLayer: Layer.Layer<SandboxDriver, never, Faults | SandboxDriver> = Layer.effect(
    SandboxDriver,
    Effect.gen(function* () {
      const faults = yield* Faults
      return faults.driver(yield* SandboxDriver)
    })
  )
}

const PlanSchema = Schema.Struct({ faults: Plan.FaultPlan })

/** A fault of the plan and what has become of it. */
interface Entry {
  readonly fault: Plan.Fault
  readonly matches: (call: Call) => boolean
  /** Matching calls so far. */
  seen: number
  /** How often it struck. */
  struck: number
}

const entryOf = (fault: Plan.Fault): Entry => {
  const patterns = {
    image: fault.image === undefined ? undefined : Options.whole(fault.image),
    sandboxId: fault.sandbox === undefined ? undefined : Options.whole(fault.sandbox),
    featureId: fault.feature === undefined ? undefined : Options.whole(fault.feature),
    operation: fault.operation === undefined ? undefined : Options.whole(fault.operation)
  }
  const fits = (pattern: RegExp | undefined, value: string | undefined) =>
    pattern === undefined || (value !== undefined && pattern.test(value))
  return {
    fault,
    matches: (call) =>
      fault.at.includes(call.point) &&
      fits(patterns.image, call.image) &&
      fits(patterns.sandboxId, call.sandboxId) &&
      fits(patterns.featureId, call.featureId) &&
      fits(patterns.operation, call.operation),
    seen: 0,
    struck: 0
  }
}

const make = Effect.fnUntraced(function* (plan: Plan.FaultPlan) {
  const check = (faults: Plan.FaultPlan) => Options.check("Faults", PlanSchema, { faults })
  yield* check(plan)
  const clock = yield* Clock.Clock
  const random = yield* Random.Random
  const now = () => clock.currentTimeMillisUnsafe()
  const began = now()
  const struck: Array<Struck> = []
  const hooks = new Map<Plan.Point, (call: Call) => Effect.Effect<unknown, Failure>>()
  /** What makes a sandbox die, by its id. */
  const killers = new Map<string, (error: SandboxStateError) => Effect.Effect<void>>()
  let entries = plan.map(entryOf)
  /** What hangs waits for this. */
  let released = Deferred.makeUnsafe<void>()
  const release = Effect.sync(() => {
    Deferred.doneUnsafe(released, Exit.void)
    released = Deferred.makeUnsafe()
  })
  yield* Effect.addFinalizer(() => release)

  const isIn = ({ window }: Plan.Fault): boolean => {
    const at = now() - began
    return window === undefined || (at >= (window.from ?? 0) && at < (window.to ?? Number.POSITIVE_INFINITY))
  }

  /** The fault that strikes a call, noted. */
  const find = (call: Call): Plan.Fault | undefined => {
    const matching = entries.filter((entry) => entry.matches(call) && isIn(entry.fault))
    for (const entry of matching) entry.seen++
    for (const entry of matching) {
      const { fault } = entry
      if (fault.calls !== undefined && !fault.calls.includes(entry.seen)) continue
      if (fault.times !== undefined && entry.struck >= fault.times) continue
      if (fault.probability !== undefined && random.nextDoubleUnsafe() >= fault.probability) continue
      entry.struck++
      struck.push({ timestamp: now(), call, fault })
      return fault
    }
    return undefined
  }

  const kill = (sandboxId: string, operation: string, description: string): Effect.Effect<boolean> =>
    Effect.suspend(() => {
      const die = killers.get(sandboxId)
      const error = new SandboxStateError({ sandboxId: SandboxId.make(sandboxId), operation, description })
      return die === undefined ? Effect.succeed(false) : Effect.as(die(error), true)
    })

  const strike: Faults["Service"]["strike"] = (call) =>
    Effect.suspend((): Effect.Effect<void, Failure> => {
      const hook = hooks.get(call.point)
      return hook === undefined
        ? byPlan(call)
        : Effect.andThen(
            Effect.suspend(() => hook(call)),
            byPlan(call)
          )
    })

  const byPlan = (call: Call): Effect.Effect<void, Failure> =>
    Effect.suspend((): Effect.Effect<void, Failure> => {
      if (entries.length === 0) return Effect.void
      const how = find(call)?.how
      switch (how?._tag) {
        case undefined:
          return Effect.void
        case "Slow":
          return Effect.sleep(how.millis)
        case "Hang":
          return Deferred.await(released)
        case "Die":
          return Effect.die(
            new SimulatedDefect({ point: call.point, description: how.message ?? "a fault of the plan" })
          )
        case "Fail":
          return Effect.fail(failureOf(call, how.kind, how.message ?? "a fault of the plan"))
        case "Kill": {
          const error = stateError(call, "life", `killed at ${call.point} by a fault of the plan`)
          return Effect.andThen(killers.get(error.sandboxId)?.(error) ?? Effect.void, Effect.fail(error))
        }
      }
    })

  return Faults.of({
    add: (...faults) =>
      Effect.andThen(
        check(faults),
        Effect.sync(() => {
          entries = [...entries, ...faults.map(entryOf)]
        })
      ),
    clear: Effect.andThen(
      Effect.sync(() => {
        entries = []
      }),
      release
    ),
    on: (point, hook) => void hooks.set(point, hook),
    struck: () => [...struck],
    strike,
    kill: (sandboxId, description = "killed by the test") => kill(sandboxId, "life", description),
    driver: (driver, options) =>
      faultyDriver(driver, {
        strike,
        register: (id, die) => {
          if (die === undefined) killers.delete(id)
          else killers.set(id, die)
        },
        onDeath: options?.onDeath ?? (() => Effect.void)
      }),
    feature: (feature) => faultyFeature(feature, strike)
  })
})

const stateError = (call: Call, operation: string, description: string): SandboxStateError =>
  new SandboxStateError({ sandboxId: call.sandboxId ?? SandboxId.make("host"), operation, description })

/** The error that a call may fail with at its point. */
const failureOf = (call: Call, kind: "state" | "user" | "outage" | undefined, description: string): Failure => {
  switch (call.point) {
    case "spawn":
    case "exit":
    case "kill":
    case "file":
      return PlatformError.systemError({
        _tag: "Unknown",
        module: call.point === "file" ? "FileSystem" : "ChildProcess",
        method: call.point === "exit" ? "exitCode" : call.point === "file" ? (call.operation ?? "file") : call.point,
        pathOrDescriptor: call.path ?? call.operation,
        description
      })
    case "create":
      if (kind !== "outage") break
      return new EnvironmentOutageError({
        environmentId: call.environmentId ?? EnvironmentId.make("unknown"),
        image: call.image ?? ImageId.make("unknown"),
        offlineMillis: 0,
        cause: new SimulatedError({ point: call.point, description })
      })
    case "setup":
    case "teardown":
    case "session":
    case "sessionTeardown":
    case "housekeep":
      if (kind === "state") break
      return new SimulatedError({ point: call.point, description })
  }
  const operation = call.featureId === undefined ? call.point : `${call.point} of ${call.featureId}`
  return stateError(call, operation, description)
}
