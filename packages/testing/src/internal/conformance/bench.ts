/** What a check works with: the driver, sandboxes and environments on it, and what the options say about it. */
import * as Environment from "@effect-sandbox/core/Environment"
import type * as EnvironmentConfig from "@effect-sandbox/core/EnvironmentConfig"
import { EventRecorder } from "@effect-sandbox/core/EventRecorder"
import { EnvironmentId, ImageId, SandboxId } from "@effect-sandbox/core/Id"
import { SandboxDriver, type SandboxInstance, type SandboxSpec } from "@effect-sandbox/core/SandboxDriver"
import type { EnvironmentOutageError, SandboxStateError } from "@effect-sandbox/core/SandboxError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Running } from "../../DriverConformance.ts"
import type { Capability } from "./capability.ts"
import { CheckFailed } from "./failure.ts"
import type { Resolved } from "./options.ts"
import type { Steps } from "./steps.ts"
import * as subject from "./subject.ts"

/** An environment of one sandbox on the driver under check. */
export interface Lab extends Environment.Environment<never> {
  readonly recorder: EventRecorder["Service"]
  /** The sandbox that the driver made last. */
  readonly latest: Effect.Effect<Running, CheckFailed>
}

export interface Bench extends Steps {
  readonly driver: SandboxDriver["Service"]
  readonly has: (capability: Capability) => boolean
  readonly options: Resolved["options"]
  /** Names that no other sandbox of the run has; some can be chosen. */
  readonly spec: (chosen?: Partial<{ readonly [K in keyof SandboxSpec]: string | number }>) => SandboxSpec
  /** A sandbox as an environment would hand it out: made, and reset once. */
  readonly create: (
    spec?: SandboxSpec
  ) => Effect.Effect<subject.Subject, SandboxStateError | EnvironmentOutageError, Scope.Scope>
  /** The core's environment on the driver. Default: one sandbox, made when it is needed. */
  readonly environment: (
    settings?: EnvironmentConfig.Settings
  ) => Effect.Effect<Lab, Environment.StartError<never>, Scope.Scope>
  /** The same as `create`, for an instance that was made by an environment. */
  readonly subject: (running: Running) => subject.Subject
  /** Makes a sandbox die. */
  readonly kill: (target: Running) => Effect.Effect<void, CheckFailed>
  /** Makes a sandbox fall silent. */
  readonly freeze: (target: Running) => Effect.Effect<void, CheckFailed>
  /** What the driver still has. */
  readonly alive: Effect.Effect<ReadonlyArray<string>, CheckFailed>
}

const missing = (option: string) =>
  Effect.fail(new CheckFailed({ message: `the check needs the option \`${option}\` and does not say so` }))

/** `nextNumber` gives each number once in a run. */
export const make = (
  driver: SandboxDriver["Service"],
  resolved: Resolved,
  steps: Steps,
  nextNumber: () => number
): Bench => {
  const { during } = steps
  const { alive, freeze, kill } = resolved.options

  const spec: Bench["spec"] = (chosen = {}) => {
    const slot = Number(chosen.slot ?? nextNumber())
    const generation = Number(chosen.generation ?? 0)
    const environmentId = String(chosen.environmentId ?? "conformance")
    const image = String(chosen.image ?? resolved.image)
    return {
      environmentId: EnvironmentId.make(environmentId),
      sandboxId: SandboxId.make(String(chosen.sandboxId ?? `${environmentId}/${image}:${slot}:${generation}`)),
      image: ImageId.make(image),
      slot,
      generation
    }
  }

  return {
    ...steps,
    driver,
    has: resolved.has,
    options: resolved.options,
    spec,
    create: (wanted = spec()) =>
      Effect.gen(function* () {
        const instance = yield* during(`creating sandbox ${wanted.sandboxId}`, driver.create(wanted))
        yield* during("the first reset", instance.reset)
        return subject.make(wanted, instance, steps)
      }),
    subject: ({ instance, spec }) => subject.make(spec, instance, steps),
    environment: (settings = {}) =>
      Effect.gen(function* () {
        const created: Array<Running> = []
        const recording: SandboxDriver["Service"] = {
          name: driver.name,
          create: (wanted) =>
            Effect.tap(driver.create(wanted), (instance: SandboxInstance) =>
              Effect.sync(() => created.push({ spec: wanted, instance }))
            )
        }
        const context = yield* Layer.build(EventRecorder.layer)
        const environment = yield* Environment.make({
          id: `conformance-${nextNumber()}`,
          images: [resolved.image],
          pool: { min: 0, max: 1 },
          ...settings
        }).pipe(Effect.provideContext(Context.add(context, SandboxDriver, recording)))
        return {
          ...environment,
          recorder: Context.get(context, EventRecorder),
          latest: Effect.suspend(() => {
            const last = created.at(-1)
            return last === undefined
              ? Effect.fail(new CheckFailed({ message: "the environment has not made any sandbox" }))
              : Effect.succeed(last)
          })
        }
      }),
    kill: (target) =>
      kill === undefined
        ? missing("kill")
        : during(`the option \`kill\` for ${target.spec.sandboxId}`, Effect.mapError(kill(target), helpFailed("kill"))),
    freeze: (target) =>
      freeze === undefined
        ? missing("freeze")
        : during(
            `the option \`freeze\` for ${target.spec.sandboxId}`,
            Effect.mapError(freeze(target), helpFailed("freeze"))
          ),
    alive:
      alive === undefined ? missing("alive") : during("the option `alive`", Effect.mapError(alive, helpFailed("alive")))
  }
}

const helpFailed = (option: string) => (cause: unknown) =>
  new CheckFailed({ message: `the option \`${option}\` failed`, cause })
