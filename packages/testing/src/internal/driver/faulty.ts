/** Drivers and features whose every call is offered to a fault plan. */
import type * as Feature from "@effect-sandbox/core/Feature"
import type { SandboxId } from "@effect-sandbox/core/Id"
import { Sandbox } from "@effect-sandbox/core/Sandbox"
import type { SandboxDriver, SandboxSpec } from "@effect-sandbox/core/SandboxDriver"
import { type EnvironmentOutageError, isStateError, SandboxStateError } from "@effect-sandbox/core/SandboxError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as PlatformError from "effect/PlatformError"
import type { Call, Failure, Faulty } from "../../Faults.ts"
import { broken, mortalInstance } from "./mortalInstance.ts"

/** Looks a call up in the plan. */
export type Strike = (call: Call) => Effect.Effect<void, Failure>

export const faultyDriver = (
  driver: SandboxDriver["Service"],
  options: {
    readonly strike: Strike
    /** Called with what makes a new sandbox die, and again without it when the sandbox is taken down. */
    readonly register: (id: SandboxId, kill: ((error: SandboxStateError) => Effect.Effect<void>) | undefined) => void
    readonly onDeath: (id: SandboxId, error: SandboxStateError) => Effect.Effect<void>
  }
): SandboxDriver["Service"] => {
  const { onDeath, register, strike } = options
  const create = Effect.fnUntraced(function* (spec: SandboxSpec) {
    // After the driver's own finalizers: what it fails with is what could not be taken down.
    yield* Effect.addFinalizer(() => Effect.orDie(strike({ point: "destroy", ...spec }))) // meant to: the core looks at it
    const made = yield* driver.create(spec)
    const mortal = mortalInstance(made, {
      ping: asState(strike({ point: "ping", ...spec })),
      reset: asState(strike({ point: "reset", ...spec })),
      spawn: (operation) => asPlatform("spawn", strike({ point: "spawn", ...spec, operation })),
      exit: (operation) => asPlatform("exitCode", strike({ point: "exit", ...spec, operation })),
      kill: (operation) => asPlatform("kill", strike({ point: "kill", ...spec, operation })),
      file: (operation, path) => asPlatform(operation, strike({ point: "file", ...spec, operation, path })),
      death: (error) => onDeath(spec.sandboxId, error)
    })
    yield* Effect.acquireRelease(
      Effect.sync(() => register(spec.sandboxId, mortal.kill)),
      () =>
        Effect.suspend(() => {
          register(spec.sandboxId, undefined)
          // Whoever has kept it is told that it is over (L18).
          const description = "the sandbox was taken down"
          return mortal.end(new SandboxStateError({ sandboxId: spec.sandboxId, operation: "destroy", description }))
        })
    )
    yield* asCreate(strike({ point: "create", ...spec }))
    return mortal.instance
  })
  return { name: driver.name, create }
}

export const faultyFeature = <F extends Feature.Any>(feature: F, strike: Strike): Faulty<F> => {
  const setup = Effect.gen(function* () {
    const sandbox = Option.getOrUndefined(yield* Effect.serviceOption(Sandbox))
    const call = (point: Call["point"]): Call => ({
      point,
      featureId: feature.id,
      sandboxId: sandbox?.id,
      image: sandbox?.image,
      slot: sandbox?.slot,
      generation: sandbox?.generation
    })
    // A finalizer can only die, which is how the core is told of a teardown that failed.
    const finalizer = (point: "teardown" | "sessionTeardown") =>
      Effect.addFinalizer(() => Effect.orDie(strike(call(point))))
    yield* finalizer("teardown")
    const active = yield* feature.setup
    yield* strike(call("setup"))
    const faulty: Feature.Active = {
      session: Effect.gen(function* () {
        yield* finalizer("sessionTeardown")
        const added = yield* active.session
        yield* strike(call("session"))
        return added
      }),
      housekeep:
        active.housekeep === undefined ? undefined : Effect.andThen(active.housekeep, strike(call("housekeep")))
    }
    return faulty
  })
  // `Faulty<F>` is `F` with one more error, which only its phantom fields tell.
  return { ...feature, setup } as unknown as Faulty<F>
}

/** The driver's points fail with state errors only; the plan was checked for that. */
const asState = (effect: Effect.Effect<void, Failure>): Effect.Effect<void, SandboxStateError> =>
  Effect.catch(effect, (error) => (isStateError(error) ? Effect.fail(error) : Effect.die(error)))

const asCreate = (
  effect: Effect.Effect<void, Failure>
): Effect.Effect<void, SandboxStateError | EnvironmentOutageError> =>
  Effect.catch(effect, (error) =>
    isStateError(error) || error._tag === "EnvironmentOutageError" ? Effect.fail(error) : Effect.die(error)
  )

const asPlatform = (
  method: string,
  effect: Effect.Effect<void, Failure>
): Effect.Effect<void, PlatformError.PlatformError> =>
  Effect.catch(effect, (error) =>
    error instanceof PlatformError.PlatformError
      ? Effect.fail(error)
      : isStateError(error)
        ? Effect.fail(broken(method, error))
        : Effect.die(error)
  )
