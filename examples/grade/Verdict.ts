/**
 * What a grader says about a submission, and how it comes to say so: pure functions from what a command did to a
 * verdict with its reason.
 */
import type { Command } from "@effect-sandbox/core"
import { Schema } from "effect"

/** The verdicts that a task may name as its right one. */
export const Expected = Schema.Literals([
  /** Everything is as expected, or the checking command accepted. */
  "passed",
  /** The submission ended by itself, and not as expected. */
  "failed",
  /** It ran longer than it may. */
  "timed-out",
  /** It wrote more than it may. */
  "output-limit",
  /** It took more memory than it may. */
  "memory-limit",
  /** A signal that the grader did not send ended it. */
  "signalled",
  /** Its command does not exist. */
  "not-found"
])
export type Expected = typeof Expected.Type

export const Verdict = Schema.Literals([
  ...Expected.literals,
  /** The task is hostile, and this sandbox would not hold it. */
  "skipped",
  /** No verdict: the sandbox or the task itself was at fault. */
  "error"
])
export type Verdict = typeof Verdict.Type

/** A verdict and, unless it says everything, why. */
export interface Judgement {
  readonly verdict: Verdict
  readonly reason?: string | undefined
}

/** What a submission should do. */
export interface Expectation {
  readonly exitCode: number
  readonly stdout?: string | undefined
  readonly stdoutContains?: string | undefined
  readonly stderrContains?: string | undefined
}

/** A submission that did not end by itself, within its limits, has its verdict whatever was expected of it. */
export const ofOutcome = ({ outcome, truncated }: Command.Result): Judgement | undefined => {
  if (outcome._tag === "TimedOut") return { verdict: "timed-out", reason: `killed after ${outcome.timeoutMillis} ms` }
  // A command may be gone before it could be killed for writing too much.
  if (outcome._tag === "OutputLimit" || truncated.stdout || truncated.stderr) {
    const streams = [...(truncated.stdout ? ["stdout"] : []), ...(truncated.stderr ? ["stderr"] : [])]
    return { verdict: "output-limit", reason: `wrote too much to ${streams.join(" and ")}` }
  }
  if (outcome._tag === "Signalled") return { verdict: "signalled", reason: `ended by ${outcome.signal}` }
  if (outcome._tag === "MemoryLimit") {
    return { verdict: "memory-limit", reason: `took more than ${outcome.limitBytes} bytes of memory` }
  }
  return outcome._tag === "Unknown" ? { verdict: "error", reason: outcome.description } : undefined
}

/** Compares what a submission that exited did with what it should do. */
export const ofExpectation = (expect: Expectation, exitCode: number, result: Command.Result): Judgement => {
  const { stdout, stdoutContains, stderrContains } = expect
  if (exitCode !== expect.exitCode) return failed(`exit code ${exitCode} instead of ${expect.exitCode}`)
  if (stdout !== undefined && result.stdout !== stdout) return failed(difference(stdout, result.stdout))
  if (stdoutContains !== undefined && !result.stdout.includes(stdoutContains)) {
    return failed(`stdout does not contain ${quote(stdoutContains)}`)
  }
  if (stderrContains !== undefined && !result.stderr.includes(stderrContains)) {
    return failed(`stderr does not contain ${quote(stderrContains)}`)
  }
  return { verdict: "passed" }
}

/** The checking command accepts by exit code 0, and refuses by anything else. */
export const ofCheck = ({ outcome }: Command.Result): Judgement => {
  switch (outcome._tag) {
    case "Exited":
      return outcome.code === 0 ? { verdict: "passed" } : failed(`the check exited with ${outcome.code}`)
    case "Signalled":
      return failed(`the check was ended by ${outcome.signal}`)
    case "TimedOut":
      return failed(`the check was killed after ${outcome.timeoutMillis} ms`)
    case "OutputLimit":
      return failed("the check wrote too much")
    case "MemoryLimit":
      return failed("the check took too much memory")
    case "Unknown":
      return { verdict: "error", reason: `the check: ${outcome.description}` }
  }
}

export const failed = (reason: string): Judgement => ({ verdict: "failed", reason })

/** Where two texts part, shown with a little of each. */
const difference = (expected: string, actual: string): string => {
  let at = 0
  while (at < expected.length && expected[at] === actual[at]) at++
  const line = expected.slice(0, at).split("\n").length
  const start = expected.lastIndexOf("\n", at - 1) + 1
  return `stdout differs in line ${line}: ${quote(actual.slice(start))} instead of ${quote(expected.slice(start))}`
}

const quote = (text: string): string =>
  text.length > 40 ? `${JSON.stringify(text.slice(0, 40))}…` : JSON.stringify(text)
