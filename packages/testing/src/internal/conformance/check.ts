/** One check of the contract, as data. */
import { describe } from "@effect-sandbox/core/SandboxError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Bench } from "./bench.ts"
import type { Capability } from "./capability.ts"
import { CheckFailed } from "./failure.ts"

export interface Check {
  /** Stable and unique, in kebab case. */
  readonly id: string
  readonly topic: string
  /** What is true of a driver that passes. */
  readonly title: string
  /** The rules and known failures that it is about: `S1`, `F17`, … */
  readonly marks: ReadonlyArray<string>
  /** What a driver must have for it. */
  readonly needs: ReadonlyArray<Capability>
  /** Whether it can only run while no other check does. */
  readonly exclusive: boolean
  /** How many times the usual time limit it may take. */
  readonly patience: number
  readonly run: (bench: Bench) => Effect.Effect<void, CheckFailed, Scope.Scope>
}

export interface Details {
  /** Default: none. */
  readonly marks?: ReadonlyArray<string> | undefined
  /** Default: nothing. */
  readonly needs?: ReadonlyArray<Capability> | undefined
  /** Default: false. */
  readonly exclusive?: boolean | undefined
  /** Default: 1. */
  readonly patience?: number | undefined
}

/** What a body failed with, as a failure of the check. A defect of the driver is one as well. */
const asFailure = (cause: Cause.Cause<unknown>): Effect.Effect<never, CheckFailed> => {
  for (const reason of cause.reasons) {
    if (Cause.isInterruptReason(reason)) continue
    const error: unknown = Cause.isFailReason(reason) ? reason.error : reason.defect
    if (error instanceof CheckFailed) return Effect.fail(error)
    const kind = Cause.isFailReason(reason) ? "an unexpected error" : "a defect"
    return Effect.fail(new CheckFailed({ message: `${kind}: ${describe(error)}`, cause: error }))
  }
  return Effect.interrupt
}

/** Makes the checks of one topic. Whatever a body fails with that is no `CheckFailed` was not expected. */
export const inTopic =
  (topic: string) =>
  <E>(
    id: string,
    title: string,
    details: Details,
    run: (bench: Bench) => Effect.Effect<void, E, Scope.Scope>
  ): Check => ({
    id,
    topic,
    title,
    marks: details.marks ?? [],
    needs: details.needs ?? [],
    exclusive: details.exclusive ?? false,
    patience: details.patience ?? 1,
    run: (bench) =>
      Effect.catchCause(
        Effect.suspend(() => run(bench)),
        asFailure
      )
  })
