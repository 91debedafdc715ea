/** One case of a sweep: what is run, disturbed at one turn, and looked at. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import type { InterruptionFailure, Options, Outcome } from "../../Interruption.ts"
import * as LeakCheck from "../../LeakCheck.ts"
import * as Turns from "../../Turns.ts"
import { steppingScheduler } from "./steppingScheduler.ts"

export type Part = InterruptionFailure["part"]

export const defaultPatience = 20_000

/** One case from its fixture to its end. */
export const runCase = <Fixture, A, E, E1, R1, R2, E3, R3, E4, R4>(
  options: Options<Fixture, A, E, E1, R1, R2, E3, R3, E4, R4>,
  at: { readonly maxOps: number; readonly turn: number },
  fail: (part: Part, cause: unknown) => InterruptionFailure
): Effect.Effect<Outcome<A, E>, InterruptionFailure, Exclude<R1 | R2 | R3 | R4, Scope.Scope>> =>
  Effect.gen(function* () {
    const { patience = defaultPatience, tick } = options
    const { maxOps, turn } = at
    const check = yield* LeakCheck.make({ turns: patience })
    const stepping = steppingScheduler(yield* Scheduler.Scheduler)
    const scope = yield* Scope.make()
    /** What belongs to the case. */
    const inside = <B, E5, R5>(effect: Effect.Effect<B, E5, R5>) =>
      check.run(Effect.provideService(effect, Scope.Scope, scope))
    /** The same, scheduled by us: whatever it starts goes on like that, also after it. */
    const scheduled = <B, E5, R5>(effect: Effect.Effect<B, E5, R5>) =>
      inside(effect).pipe(
        Effect.provideService(Scheduler.MaxOpsBeforeYield, maxOps),
        Effect.provideService(Scheduler.Scheduler, stepping.scheduler)
      )
    const ended = <B, E5>(
      part: Part,
      fiber: Fiber.Fiber<B, E5>
    ): Effect.Effect<Exit.Exit<B, E5>, InterruptionFailure> =>
      Turns.until(`${part} ends`, () => fiber.pollUnsafe() !== undefined, { turns: patience, turn: tick }).pipe(
        Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Effect.sync(() => fiber.interruptUnsafe()))),
        Effect.mapError(() => fail(part, `still running after ${patience} ticks`)),
        Effect.andThen(Fiber.await(fiber))
      )
    const succeeded = <B, E5>(part: Part, exit: Exit.Exit<B, E5>): Effect.Effect<B, InterruptionFailure> =>
      Exit.isSuccess(exit) ? Effect.succeed(exit.value) : Effect.fail(fail(part, Cause.squash(exit.cause)))
    const part = <B, E5, R5>(part: Part, effect: Effect.Effect<B, E5, R5>) =>
      effect.pipe(
        Effect.forkDetach({ startImmediately: true }), // a part that hangs must not hang the sweep
        Effect.flatMap((fiber) => ended(part, fiber)),
        Effect.flatMap((exit) => succeeded(part, exit))
      )

    const whole = Effect.gen(function* () {
      const fixture = yield* part("make", scheduled(options.make))
      const runServices = yield* Effect.context<Exclude<R2, Scope.Scope>>()
      const disturbServices = yield* Effect.context<Exclude<R3, Scope.Scope>>()
      let disturbing: Fiber.Fiber<unknown, E3> | undefined
      let isDisturbed = false
      // In one step: no task runs between the start and the moment from which they are counted.
      const fiber = yield* Effect.sync(() => {
        stepping.begin()
        const fiber = Effect.runForkWith(runServices)(scheduled(options.run(fixture)))
        const strike = (): void => {
          if (fiber.pollUnsafe() !== undefined) return
          isDisturbed = true
          if (options.disturb === undefined) return fiber.interruptUnsafe()
          disturbing = Effect.runForkWith(disturbServices)(inside(options.disturb(fixture, fiber)))
        }
        if (turn === 1) strike()
        else stepping.after(turn - 1, strike)
        return fiber
      })
      const exit = yield* ended("run", fiber)
      stepping.stop()
      if (disturbing !== undefined) yield* succeeded("disturb", yield* ended("disturb", disturbing))
      const outcome: Outcome<A, E> = { ...at, isDisturbed, exit }
      if (options.check !== undefined) yield* part("check", inside(options.check(fixture, outcome)))
      return outcome
    })
    const outcome = yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(restore(whole))
        const closed = yield* Effect.exit(part("close", inside(Scope.close(scope, exit))))
        return yield* Exit.isFailure(exit) ? exit : Effect.as(closed, exit.value)
      })
    )
    if (options.leaks !== false) {
      yield* Effect.mapError(check.assertNone, (leak) => fail("leaks", leak))
    }
    return outcome
  })
