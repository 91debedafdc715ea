/** Runs checks: so many at a time, each within its time limit, whatever the driver does. */
import { SandboxDriver } from "@effect-sandbox/core/SandboxDriver"
import { describe } from "@effect-sandbox/core/SandboxError"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Semaphore from "effect/Semaphore"
import * as bench from "./bench.ts"
import type { Check } from "./check.ts"
import { CheckFailed } from "./failure.ts"
import { missing, type Resolved } from "./options.ts"
import * as report from "./report.ts"
import * as steps from "./steps.ts"

/** How long an interrupted check may take to clean up before nobody waits for it any more. */
const cleanUpMillis = 5000

export interface Runner {
  /** Runs one check, or skips it; waits for its turn. Gives the failure, where it is to be raised. */
  readonly conduct: (check: Check) => Effect.Effect<CheckFailed | undefined, never, SandboxDriver>
  /** What was found so far, in the order of the checks. */
  readonly report: Effect.Effect<report.Report, never, SandboxDriver>
}

/** Everything that went wrong: a check, and what its finalizers died with. */
const failureOf = (cause: Cause.Cause<CheckFailed>): CheckFailed => {
  const errors = cause.reasons.flatMap((reason): ReadonlyArray<unknown> =>
    Cause.isFailReason(reason) ? [reason.error] : Cause.isDieReason(reason) ? [reason.defect] : []
  )
  const [first, ...others] = errors
  if (first === undefined) return new CheckFailed({ message: "something interrupted the check" })
  if (first instanceof CheckFailed && others.length === 0) return first
  const found = errors.map((error) =>
    error instanceof CheckFailed ? error.message : `a defect at the end of the check: ${describe(error)}`
  )
  return new CheckFailed({ message: found.join("\nand "), cause })
}

const hung = (limitMillis: number, current: ReadonlyArray<string>, ended: boolean) =>
  new CheckFailed({
    message: [
      `it hangs: not at its end after ${limitMillis / 1000} s`,
      current.length === 0 ? "" : `, in the middle of ${current.join(", ")}`,
      ended ? "" : `; and it cannot be interrupted within ${cleanUpMillis / 1000} s`
    ].join("")
  })

export const make = (resolved: Resolved): Runner => {
  let numbers = 0
  const turns = Semaphore.makeUnsafe(resolved.concurrency)

  const perform = (check: Check) =>
    Effect.gen(function* () {
      const driver = yield* SandboxDriver
      const progress = steps.make()
      const limitMillis = resolved.timeLimitMillis * check.patience
      const body = Effect.scoped(check.run(bench.make(driver, resolved, progress, () => numbers++)))
      // Detached, because a driver that cannot be interrupted must not hold the suite. Interrupted below.
      const fiber = yield* Effect.forkDetach(body, { startImmediately: true })
      const end = Effect.suspend(() => {
        fiber.interruptUnsafe()
        return Effect.timeoutOption(Fiber.await(fiber), cleanUpMillis)
      })
      const exit = yield* Fiber.await(fiber).pipe(
        Effect.timeoutOption(limitMillis),
        Effect.onInterrupt(() => end)
      )
      if (exit._tag === "Some") return Exit.isSuccess(exit.value) ? undefined : failureOf(exit.value.cause)
      const current = progress.current()
      const ended = yield* end
      return hung(limitMillis, current, ended._tag === "Some")
    })

  let startedAt: number | undefined
  const results = new Map<string, report.CheckResult>()

  const conduct: Runner["conduct"] = (check) =>
    Effect.gen(function* () {
      startedAt ??= yield* Clock.currentTimeMillis
      const { id, marks, title, topic } = check
      const note = (outcome: report.Outcome, durationMillis: number) =>
        results.set(id, { id, topic, title, marks, outcome, durationMillis })
      const lacking = missing(resolved, check)
      if (lacking.length > 0) {
        note(report.skipped(lacking), 0)
        return undefined
      }
      const turn = Effect.gen(function* () {
        const [duration, failure] = yield* Effect.timed(perform(check))
        const outcome = failure === undefined ? report.Outcome.cases.Passed.make({}) : report.failed(failure)
        note(outcome, Math.round(Duration.toMillis(duration)))
        return failure
      })
      return yield* turns.withPermits(check.exclusive ? resolved.concurrency : 1)(turn)
    })

  return {
    conduct,
    report: Effect.gen(function* () {
      const { name } = yield* SandboxDriver
      const now = yield* Clock.currentTimeMillis
      return report.Report.make({
        driver: name,
        image: resolved.image,
        startedAt: startedAt ?? now,
        durationMillis: now - (startedAt ?? now),
        capabilities: resolved.declared,
        results: resolved.checks.flatMap((check) => results.get(check.id) ?? [])
      })
    })
  }
}
