/**
 * Interruption wherever it can strike (F28). A fiber can be interrupted whenever it stops for a moment, and with
 * `MaxOpsBeforeYield` it stops as often as one likes: `sweep` runs an effect again and again, interrupts it at its
 * first, second, third … stop until it gets to its end, for every budget from 3 to 64 operations, and has a test look at
 * what is left each time.
 *
 * ```ts
 * import { assert, it } from "@effect/vitest"
 * import { Effect } from "effect"
 * import { Interruption } from "@effect-sandbox/testing"
 *
 * it.effect("a lease is given back, wherever its user is interrupted", () =>
 *   Interruption.sweep({
 *     make: Effect.sync(() => ({ leases: 0 })),
 *     run: (pool) =>
 *       Effect.acquireUseRelease(
 *         Effect.sync(() => pool.leases++),
 *         () => Effect.void,
 *         () => Effect.sync(() => pool.leases--)
 *       ),
 *     check: (pool) => Effect.sync(() => assert.strictEqual(pool.leases, 0))
 *   }))
 * ```
 *
 * A failure names the budget and the turn; `only: { maxOps, turn }` runs that case alone, the same way. In
 * `environment` the phases of an environment's life are ready to be swept with one's own features.
 */
import type * as Environment from "@effect-sandbox/core/Environment"
import type { EventHub } from "@effect-sandbox/core/EventHandler"
import type { EventRecorder } from "@effect-sandbox/core/EventRecorder"
import type * as Feature from "@effect-sandbox/core/Feature"
import { describe } from "@effect-sandbox/core/SandboxError"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as phases from "./internal/interruption/environmentPhases.ts"
import { defaultPatience, runCase } from "./internal/interruption/interruptionCase.ts"
import { UnfitError } from "./internal/interruption/unfitError.ts"
import * as Turns from "./Turns.ts"

export {
  /** An environment that does not serve as it did before it was disturbed, or of which something is left. */
  UnfitError
}

/** One case of a sweep failed. */
export class InterruptionFailure extends Schema.TaggedError<InterruptionFailure>()("InterruptionFailure", {
  maxOps: Schema.Finite,
  turn: Schema.Finite,
  /** What failed: a part of the case, or what was looked at after it. */
  part: Schema.Literals(["make", "run", "disturb", "check", "close", "leaks", "sweep"]),
  /** Why, in words. */
  description: Schema.String,
  cause: Schema.optional(Schema.Defect())
}) {
  override get message() {
    if (this.part === "sweep") return this.description
    return `At turn ${this.turn} with MaxOpsBeforeYield ${this.maxOps} ${partNames[this.part]}: ${this.description}
To run this case alone: only: { maxOps: ${this.maxOps}, turn: ${this.turn} }`
  }
}

const partNames = {
  make: "the fixture cannot be made",
  run: "it does not end",
  disturb: "the disturbance fails",
  check: "the check fails",
  close: "the fixture cannot be closed",
  leaks: "something is left",
  sweep: ""
}

/** What has become of `run` in one case. */
export interface Outcome<A, E> {
  readonly maxOps: number
  readonly turn: number
  /** Whether it was disturbed; false when it ended before. */
  readonly isDisturbed: boolean
  readonly exit: Exit.Exit<A, E>
}

/** What a sweep did. */
export interface Stats {
  readonly cases: number
  /** Cases that were disturbed at some turn. */
  readonly disturbed: number
  /** Cases that got to their end: one for each of `maxOps`. */
  readonly completed: number
  /** The most turns that `run` took; with `every`, at most so many less. */
  readonly turns: number
}

export interface SweepOptions {
  /**
   * The budgets: after so many operations a fiber yields. With a small one there are many turns, and as many cases; a
   * few, such as `[3, 5, 8, 13, 34]`, find most of what all of them find. Default: 3 to 64.
   */
  readonly maxOps?: Iterable<number> | undefined
  /**
   * Only every so many-th turn is a case, beginning with another one for each budget, so that all of them together still
   * strike everywhere. For what has many turns. Default: 1, every turn.
   */
  readonly every?: number | undefined
  /** Runs one case and no other. */
  readonly only?: { readonly maxOps: number; readonly turn: number } | undefined
  /** An effect that stops more often than that has no end. Default: 10,000. */
  readonly maxTurns?: number | undefined
  /**
   * What is done while a part of a case has not ended. Where time has to pass: `TestClock.adjust("100 millis")`, or
   * `Effect.sleep("1 milli")` in real time. Default: `Effect.yieldNow`.
   */
  readonly tick?: Effect.Effect<unknown> | undefined
  /** A part of a case that takes more ticks than that hangs. Default: 20,000. */
  readonly patience?: number | undefined
  /** Whether each case must leave no fiber and no timer, see `LeakCheck`. Default: true. */
  readonly leaks?: boolean | undefined
  /** How many budgets are swept at the same time. Default: 1. */
  readonly concurrency?: number | undefined
}

export interface Options<Fixture, A, E, E1, R1, R2, E3, R3, E4, R4> extends SweepOptions {
  /** What a case needs, made anew for each; its scope is closed after the check. */
  readonly make: Effect.Effect<Fixture, E1, R1>
  /** What is interrupted. */
  readonly run: (fixture: Fixture) => Effect.Effect<A, E, R2>
  /** What is done to it instead of an interruption. It need not end because of it, but end it must. */
  readonly disturb?: ((fixture: Fixture, fiber: Fiber.Fiber<A, E>) => Effect.Effect<unknown, E3, R3>) | undefined
  /** What must hold afterwards. Default: nothing but `leaks`. */
  readonly check?: ((fixture: Fixture, outcome: Outcome<A, E>) => Effect.Effect<unknown, E4, R4>) | undefined
}

/**
 * Runs an effect once for every budget and every turn at which it can be interrupted. A turn is one task that the
 * scheduler ran for it or for any fiber that it or the fixture has started; the first ends where it stops for the first
 * time. Fails at the first case that fails, and when there was nothing at all to interrupt.
 */
export const sweep = <Fixture, A, E, E1, R1, R2, E3 = never, R3 = never, E4 = never, R4 = never>(
  options: Options<Fixture, A, E, E1, R1, R2, E3, R3, E4, R4>
): Effect.Effect<Stats, InterruptionFailure, Exclude<R1 | R2 | R3 | R4, Scope.Scope>> =>
  Effect.gen(function* () {
    const { every = 1, maxTurns = 10_000, only } = options
    if (only !== undefined) {
      const outcome = yield* caseOf(options, only.maxOps, only.turn)
      return statsOf([
        { disturbed: outcome.isDisturbed ? 1 : 0, completed: outcome.isDisturbed ? 0 : 1, turns: only.turn }
      ])
    }
    const swept = yield* Effect.forEach(
      options.maxOps ?? defaultMaxOps,
      Effect.fnUntraced(function* (maxOps) {
        let disturbed = 0
        for (let turn = 1 + (maxOps % every); turn <= maxTurns; turn += every) {
          const { isDisturbed } = yield* caseOf(options, maxOps, turn)
          if (!isDisturbed) return { disturbed, completed: 1, turns: turn }
          disturbed++
        }
        return yield* failure(maxOps, maxTurns, "run", `it has not ended by itself after ${maxTurns} turns`)
      }),
      { concurrency: options.concurrency ?? 1 }
    )
    const stats = statsOf(swept)
    if (stats.disturbed === 0) {
      return yield* failure(
        0,
        0,
        "sweep",
        "Nothing was interrupted: with none of these budgets it stops before its end"
      )
    }
    return stats
  })

/**
 * The phases of an environment's life that can be swept:
 *
 * - `start`: bringing the environment up.
 * - `acquire`: waiting in line while all sandboxes are busy, and being handed one that is released; then a whole session.
 * - `sessionStart`: from asking for a session to having it.
 * - `sessionEnd`: from its end being asked for to its end.
 * - `session`: all of a session: acquire, set-up, body, teardown.
 * - `shutdown`: of an environment that has a session.
 */
export type Phase = phases.Phase

export interface EnvironmentOptions<F, E, R, E2, RB, E3, R3, E4, R4> extends SweepOptions {
  readonly phase: Phase
  /**
   * Starts an environment with one's own features, anew for each case. Keep its pool small: all of it is used in each
   * case, to see that nothing was lost.
   */
  readonly make: Effect.Effect<Environment.Environment<F>, E, R>
  /** The image that is used. Default: the environment's first. */
  readonly image?: string | undefined
  /** What the session does. Must succeed. Default: two turns pass. */
  readonly body?: Effect.Effect<unknown, E2, RB> | undefined
  /** What is done instead of an interruption, such as ending the environment or a sandbox. */
  readonly disturb?: ((environment: Environment.Environment<F>) => Effect.Effect<unknown, E3, R3>) | undefined
  /** What must hold besides, while the environment is still there. Not called when it was never started. */
  readonly check?: ((environment: Environment.Environment<F>) => Effect.Effect<unknown, E4, R4>) | undefined
}

/**
 * Sweeps one phase of an environment's life. Afterwards the environment must come to rest, be able to serve as many
 * sessions at once as its pool may have sandboxes, and leave nothing at its end; its events must be well formed.
 *
 * ```ts
 * import { it } from "@effect/vitest"
 * import { Effect } from "effect"
 * import { Environment } from "@effect-sandbox/core"
 * import { FeatureProbe, Interruption, SimDriver } from "@effect-sandbox/testing"
 *
 * const myFeature = FeatureProbe.make("mine").feature
 *
 * it.effect("my feature survives interruption at any turn of a session", () =>
 *   Interruption.environment({
 *     phase: "session",
 *     make: Environment.make({ images: ["base"], pool: 1, features: [myFeature] }),
 *     maxOps: [3, 5, 8]
 *   }).pipe(Effect.provide(SimDriver.layer())))
 * ```
 */
export const environment = <F, E, R, E2 = never, RB = never, E3 = never, R3 = never, E4 = never, R4 = never>(
  options: EnvironmentOptions<F, E, R, E2, RB, E3, R3, E4, R4>
): Effect.Effect<
  Stats,
  InterruptionFailure,
  Exclude<
    | Exclude<R, EventHub | EventRecorder | Scope.Scope>
    | Exclude<RB, Environment.SessionServices | Feature.Id<F>>
    | R3
    | R4,
    Scope.Scope
  >
> => {
  const { body = Turns.pass(2), check = () => Effect.void, disturb, image, make, phase, ...rest } = options
  const waiting = { turns: options.patience ?? defaultPatience, turn: options.tick }
  const settings: phases.Settings<F, E, R, E2, RB> = { phase, make, image, body, waiting }
  return sweep({
    ...rest,
    make: phases.makeWorld(settings),
    run: (world) => phases.runPhase(settings, world),
    check: (world, outcome) => phases.checkWorld(settings, world, outcome, check),
    disturb:
      disturb === undefined
        ? undefined
        : (world) => (world.environment === undefined ? Effect.void : disturb(world.environment))
  })
}

/**
 * Fails unless an environment is at rest, has lost nothing, and can serve as many sessions at once as the pool of the
 * image may have sandboxes (two when it is not pooled). For checks of one's own.
 */
export const assertServes: <F>(
  environment: Environment.Environment<F>,
  options?: Turns.Options & { readonly image?: string | undefined }
) => Effect.Effect<void, UnfitError> = phases.assertServes

const defaultMaxOps = Array.from({ length: 62 }, (_, index) => index + 3)

const failure = (maxOps: number, turn: number, part: InterruptionFailure["part"], cause: unknown) =>
  new InterruptionFailure({
    maxOps,
    turn,
    part,
    description: describe(cause),
    cause: typeof cause === "string" ? undefined : cause
  })

const caseOf = <Fixture, A, E, E1, R1, R2, E3, R3, E4, R4>(
  options: Options<Fixture, A, E, E1, R1, R2, E3, R3, E4, R4>,
  maxOps: number,
  turn: number
) => runCase(options, { maxOps, turn }, (part, cause) => failure(maxOps, turn, part, cause))

const statsOf = (swept: ReadonlyArray<Omit<Stats, "cases">>): Stats => {
  const sum = (of: (one: Omit<Stats, "cases">) => number) => swept.reduce((total, one) => total + of(one), 0)
  const disturbed = sum((one) => one.disturbed)
  const completed = sum((one) => one.completed)
  return { cases: disturbed + completed, disturbed, completed, turns: Math.max(0, ...swept.map(({ turns }) => turns)) }
}
