/**
 * A suite that any driver can be held to: some 300 checks of the contract in `SandboxDriver`, and of what users of
 * other sandboxes have suffered (the marks `F1`, `F2`, … name those cases).
 *
 * In vitest, `driverConformance` of `@effect-sandbox/testing/vitest` makes a test of each check. Anywhere else:
 *
 * ```ts
 * import { NodeServices } from "@effect/platform-node"
 * import { Console, Effect, Layer } from "effect"
 * import { LocalDriver } from "@effect-sandbox/core"
 * import * as DriverConformance from "@effect-sandbox/testing/DriverConformance"
 *
 * const driver = LocalDriver.layer({ isolation: "none" }).pipe(Layer.provide(NodeServices.layer))
 *
 * const program = DriverConformance.run(driver, { image: "shell", capabilities: { home: true } }).pipe(
 *   Effect.map(DriverConformance.format),
 *   Effect.flatMap(Console.log)
 * )
 * ```
 *
 * What a driver does not have is declared as a missing capability, and shown as such: nothing passes that was not
 * checked. The suite needs real time (not `TestClock`), and nothing of the runtime but Effect.
 *
 * All checks share one driver, as the sandboxes of an environment do, and each has sandboxes of its own: that they do
 * not get in each other's way is part of the contract.
 */
import type { InvalidConfigurationError } from "@effect-sandbox/core/SandboxError"
import type { SandboxDriver, SandboxInstance, SandboxSpec } from "@effect-sandbox/core/SandboxDriver"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as capability from "./internal/conformance/capability.ts"
import * as allChecks from "./internal/conformance/checks.ts"
import type { Check } from "./internal/conformance/check.ts"
import * as resolution from "./internal/conformance/options.ts"
import * as reports from "./internal/conformance/report.ts"
import * as runner from "./internal/conformance/runner.ts"

export type { Bench, Lab } from "./internal/conformance/bench.ts"
export { type Check, type Details, inTopic } from "./internal/conformance/check.ts"
export { CheckFailed } from "./internal/conformance/failure.ts"
export { CheckResult, Outcome, Report } from "./internal/conformance/report.ts"
export type { End, Ended, Subject } from "./internal/conformance/subject.ts"

/** A capability that is declared by name. */
export type Flag = capability.Flag

/** What a check can need: declared by name, or there because its option is. */
export type Capability = capability.Capability

/** What each capability means, and whether it is on when nothing is said. Those that need an option are off without. */
export const capabilities: ReadonlyArray<{
  readonly name: Capability
  readonly description: string
  readonly default: boolean
  /** The option that declares it; `capabilities` when undefined. */
  readonly option: string | undefined
}> = [
  ...capability.allFlags.map((name) => ({ name, ...capability.flags[name], option: undefined })),
  ...capability.allHooks.map((name) => ({ name, ...capability.hooks[name], default: false }))
]

/** A sandbox that runs. */
export interface Running {
  readonly spec: SandboxSpec
  readonly instance: SandboxInstance
}

export interface Options {
  /** The image of the sandboxes. Default: `"conformance"`. */
  readonly image?: string | undefined
  /** What the driver has and has not, see `capabilities`. Default: what the contract asks of every driver. */
  readonly capabilities?: { readonly [flag in Flag]?: boolean | undefined } | undefined
  /** Makes a sandbox die from outside, as a crash would. Default: none, and deaths are not checked. */
  readonly kill?: ((target: Running) => Effect.Effect<unknown, unknown>) | undefined
  /** Makes a sandbox fall silent without closing anything, as a stalled connection would. Default: none. */
  readonly freeze?: ((target: Running) => Effect.Effect<unknown, unknown>) | undefined
  /**
   * Lists what the driver still has: sandboxes, directories, processes, connections, a line for each that tells it from
   * all others. Default: none, and leaks are not checked.
   */
  readonly alive?: Effect.Effect<ReadonlyArray<string>, unknown> | undefined
  /** A file of the host outside of every sandbox, with a content nobody could guess. Default: none. */
  readonly hostFile?: { readonly path: string; readonly read: Effect.Effect<string, unknown> } | undefined
  /** The name of a variable in the host's environment that the driver was not told to pass on. Default: none. */
  readonly hostVariable?: string | undefined
  /** Another user of the image. Default: none, and the option `user` of `exec` must be refused. */
  readonly user?: { readonly name: string; readonly uid: number } | undefined
  /** How long one check may take; a few large ones may take several times that. Default: 20 seconds. */
  readonly timeLimit?: Duration.Input | undefined
  /** How many checks run at a time. Default: 4. */
  readonly concurrency?: number | undefined
  /** Runs only those checks that each of these names. Default: all. */
  readonly only?:
    | {
        readonly topics?: ReadonlyArray<string> | undefined
        readonly ids?: ReadonlyArray<string> | undefined
        readonly marks?: ReadonlyArray<string> | undefined
      }
    | undefined
  /** The checks to choose from; a driver's own are made with `inTopic`. Default: `checks`. */
  readonly checks?: ReadonlyArray<Check> | undefined
}

/** Every check of the suite, by topic. */
export const checks: ReadonlyArray<Check> = allChecks.all

/** Runs the checks on a driver; what they find is in the report, and only a driver that cannot be made is an error. */
export const run = <E, R>(
  layer: Layer.Layer<SandboxDriver, E, R>,
  options: Options = {}
): Effect.Effect<reports.Report, E | InvalidConfigurationError, R> =>
  Effect.gen(function* () {
    const resolved = yield* Effect.fromResult(resolution.resolve(options, checks))
    const context = yield* Layer.build(layer)
    return yield* Effect.provideContext(runAll(resolved), context)
  }).pipe(Effect.scoped)

const runAll = (resolved: resolution.Resolved) =>
  Effect.gen(function* () {
    const { conduct, report } = runner.make(resolved)
    // Those that need the driver for themselves come last, so that they do not wait in the others' way.
    const shared = resolved.checks.filter((check) => !check.exclusive)
    const exclusive = resolved.checks.filter((check) => check.exclusive)
    yield* Effect.forEach(shared, conduct, { concurrency: resolved.concurrency, discard: true })
    yield* Effect.forEach(exclusive, conduct, { discard: true })
    return yield* report
  })

/** A report to read: a table by topic, the failures, and the missing capabilities with what they skip. */
export const format: (report: reports.Report) => string = reports.format
