/**
 * What a caller may get for the way in which its session went (I9, X1 to X6, P4, S2, S4, S6): its own value or error
 * exactly as it was raised, or what ended it from outside, and that only for a reason.
 */
import type { SandboxStateError } from "@effect-sandbox/core/SandboxError"
import * as Cause from "effect/Cause"
import type * as Exit from "effect/Exit"
import { parseSandboxId } from "./names.ts"
import { type Configuration, isFineGrained } from "./program.ts"
import type { Sandboxes } from "./sandboxes.ts"
import { tagOf, type User } from "./user.ts"
import type { Blame } from "./violation.ts"

/** The classes of exits, as the reference model predicts them. */
export type Class =
  | "value"
  | "own error"
  | "own defect"
  | "interrupted"
  | "state error"
  | "limit"
  | "closed"
  | "outage"
  | "overload"
  | "duplicate"
  | "unknown image"
  | "ended"
  | "set-up error"
  | "teardown error"
  | "?"

/** What the judge knows besides the user. */
export interface Facts {
  readonly configuration: Configuration
  readonly sandboxes: Sandboxes
  readonly now: number
  /** Whether faults struck while sandboxes or sessions of the user's image were set up. */
  readonly hitSetUp: boolean
  /** Whether things may have come later than they could have. */
  readonly isLate: boolean
  /** Whether a sandbox was made to die, or something of it failed. */
  readonly isBroken: (sandboxId: string) => boolean
  /** Whether the teardown of a session raised an error that is not a state error; of its sandbox, too, where that goes with it. */
  readonly teardownRaised: (sessionId: string) => boolean
  /** Whether the features that are checked may have failed by themselves. */
  readonly hasForeign: boolean
}

export const judge = (user: User, exit: Exit.Exit<string, unknown>, facts: Facts, blame: Blame): Class => {
  const reasons = exit._tag === "Success" ? [] : exit.cause.reasons
  const fails = reasons.filter(Cause.isFailReason).map((reason) => reason.error)
  const dies = reasons.filter(Cause.isDieReason).map((reason) => reason.defect)
  const got = describe(exit)
  const wrong = (rule: string, expected: string): Class => {
    blame(rule, `what ${user.name} got`, expected, got)
    return "?"
  }
  if (exit._tag === "Failure" && reasons.length === 0) return wrong("I9", "a reason")
  const { own } = user

  if (fails.length === 1 && dies.length === 0 && tagOf(fails[0]) === "DuplicateSessionError") {
    if (user.refusal !== "duplicate" && !user.mayBeDuplicate) return wrong("S2", "no duplicate: nobody else has its id")
    return "duplicate"
  }
  if (user.refusal !== undefined && !isInterruption(exit, user)) {
    const expected = {
      closed: "EnvironmentClosedError",
      "unknown image": "UnknownImageError",
      duplicate: "DuplicateSessionError"
    }[user.refusal]
    const got = fails.length === 1 && dies.length === 0 ? tagOf(fails[0]) : undefined
    if (got === expected) return user.refusal
    // Whether the environment is online is looked at first, perhaps only after a turn.
    if (got === "EnvironmentClosedError") return "closed"
    return wrong(user.refusal === "duplicate" ? "S2" : "X1", expected)
  }

  if (exit._tag === "Success") {
    if (own?._tag !== "Succeeded" || exit.value !== own.value) return wrong("I9", ownOf(user))
    if (user.way !== "host" && user.sessionId !== undefined && !user.isClosed && facts.teardownRaised(user.sessionId)) {
      return wrong("X6", "the error of its teardown")
    }
    return "value"
  }

  if (Cause.hasInterruptsOnly(exit.cause)) {
    return user.isInterrupted ? "interrupted" : wrong("I9", "no interruption, because nobody has asked for one")
  }

  const isOwn = ownClass(user, fails, dies)
  if (isOwn !== undefined) return isOwn
  // A body that yields after every few operations can be stopped between its decision and its end.
  const mayBeStopped = isFineGrained(facts.configuration)
  if (own !== undefined && !mayBeStopped) {
    if (own._tag !== "Succeeded" || !isTeardownError(fails[0] ?? dies[0])) return wrong("I9", ownOf(user))
  }
  if (own?._tag === "Succeeded" && fails.length + dies.length === 1 && isTeardownError(fails[0] ?? dies[0])) {
    const error = (user.way === "session" ? dies : fails)[0]
    if (!isTeardownError(error)) return wrong("X6", user.way === "session" ? "a defect" : "a failure")
    const { sessionId = user.sessionId } = error as { readonly sessionId?: string } & object
    if (sessionId === undefined || !facts.teardownRaised(sessionId)) return wrong("X6", ownOf(user))
    return "teardown error"
  }

  // It was ended from outside, or never began.
  const [error] = fails
  const began = user.sessionId !== undefined
  if (fails.length === 0) {
    const isFault = dies.every((defect) => tagOf(defect) === "SimulatedDefect" || tagOf(defect) === "SimulatedError")
    if (!began && ((isFault && facts.hitSetUp) || facts.hasForeign)) return "set-up error"
    return wrong("I9", "no defect, because nothing has died")
  }
  if (fails.length > 1 || dies.length > 0) return wrong("I9", "one error")
  const { configuration, now, sandboxes } = facts
  switch (tagOf(error)) {
    case "SandboxStateError": {
      // The tag says what it is; state errors are made nowhere else.
      const { sandboxId } = error as SandboxStateError
      if (!began && sandboxId === "host" && facts.hitSetUp) return "set-up error"
      if (began && sandboxId !== user.sandboxId) return wrong("X3", `a state error of ${user.sandboxId}`)
      if (!began && parseSandboxId(sandboxId)?.image !== user.image)
        return wrong("X5", `a state error of ${user.image}`)
      return facts.isBroken(sandboxId)
        ? "state error"
        : wrong("X3", `no state error: nothing has happened to ${sandboxId}`)
    }
    case "SessionLimitError": {
      // A session whose limit passes before its body has had a turn ends without it.
      if (!began && facts.isLate) return "limit"
      if (!began || user.leftAt === undefined) return wrong("S6", "no limit before the session")
      const { limit } = error as { readonly limit: "lifetime" | "idle" } & object
      const after = limit === "lifetime" ? configuration.sessionLifetime : configuration.sessionIdleTimeout
      const since = limit === "lifetime" ? user.startedAt : user.lastActivity
      const passed = user.leftAt - since
      if (after === undefined || (passed !== after && !facts.isLate)) {
        return wrong("S6", `${limit} after ${String(after)} ms, not after ${user.leftAt - since} ms`)
      }
      return "limit"
    }
    case "EnvironmentClosedError":
      return "closed"
    case "EnvironmentOutageError": {
      // It may have ended in the same moment.
      const past = sandboxes.pastOutages.get(user.image)
      const outage = sandboxes.outages.get(user.image) ?? (past?.until === now ? past : undefined)
      if (began) return wrong("H3", "no outage in a session")
      if (outage === undefined) return wrong("H3", `no outage of ${user.image}`)
      const { offlineMillis } = error as { readonly offlineMillis: number } & object
      const grace = configuration.outageGracePeriod ?? 300_000
      if (now - outage.since < grace) return wrong("H3", `an outage of at least ${grace} ms, not ${now - outage.since}`)
      return offlineMillis === now - outage.since ? "outage" : wrong("H3", `offline for ${now - outage.since} ms`)
    }
    case "EnvironmentOverloadError": {
      const { waitedMillis } = error as { readonly waitedMillis: number } & object
      const timeout = configuration.acquireTimeout ?? defaultAcquireTimeout
      if (began) return wrong("P4", "no overload in a session")
      if (waitedMillis < timeout || (waitedMillis > timeout && !facts.isLate) || now - user.openedAt < timeout) {
        return wrong("P4", `to wait for ${timeout} ms, not ${now - user.openedAt}`)
      }
      return "overload"
    }
    case "SessionEndedError":
      return user.isClosed ? "ended" : wrong("I9", "not ended, because nobody has closed it")
    case "SimulatedError":
      return !began && facts.hitSetUp ? "set-up error" : wrong("I9", "no error of a set-up")
    default:
      return !began && facts.hasForeign ? "set-up error" : wrong("I9", "an error that was raised")
  }
}

/** How long users wait when their program does not say. */
export const defaultAcquireTimeout = 100_000

const isInterruption = (exit: Exit.Exit<string, unknown>, user: User): boolean =>
  exit._tag === "Failure" && user.isInterrupted && Cause.hasInterruptsOnly(exit.cause)

const ownClass = ({ own }: User, fails: ReadonlyArray<unknown>, dies: ReadonlyArray<unknown>): Class | undefined => {
  if (own?._tag === "Failed" && fails.length === 1 && fails[0] === own.error && dies.length === 0) return "own error"
  if (own?._tag === "Died" && dies.length === 1 && dies[0] === own.defect && fails.length === 0) return "own defect"
  return undefined
}

const isTeardownError = (error: unknown): boolean =>
  tagOf(error) === "SessionTeardownError" || tagOf(error) === "FeatureTeardownError"

const ownOf = ({ own }: User): string => {
  switch (own?._tag) {
    case "Succeeded":
      return own.value
    case "Failed":
      return `Fail(${nameOf(own.error)})`
    case "Died":
      return `Die(${nameOf(own.defect)})`
    case undefined:
      return "not that: the body has come to no end by itself"
  }
}

const nameOf = (error: unknown): string => {
  const tag = typeof error === "object" && error !== null && "_tag" in error ? `${String(error._tag)}: ` : ""
  return `${tag}${error instanceof Error ? error.message : String(error)}`
}

/** An exit as a violation or a timeline shows it. */
export const describe = (exit: Exit.Exit<string, unknown>): string =>
  exit._tag === "Success"
    ? exit.value
    : exit.cause.reasons
        .map((reason) => {
          if (Cause.isFailReason(reason)) return `Fail(${nameOf(reason.error)})`
          return Cause.isDieReason(reason) ? `Die(${nameOf(reason.defect)})` : "Interrupt"
        })
        .join(" + ") || "an empty cause"
