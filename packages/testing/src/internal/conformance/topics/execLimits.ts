/** Limits of `sandbox.exec`: time, output and interruption, each of which is something else (F1, F2, F3, F7, F25). */
import { Sandbox } from "@effect-sandbox/core/Sandbox"
import type * as Command from "@effect-sandbox/core/Command"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { exited, inSession, sh } from "../inSession.ts"
import { ticks } from "../subject.ts"
import * as text from "../text.ts"

const check = inTopic("exec-limits")

const timedOut = (timeoutMillis: number): Command.Outcome => ({ _tag: "TimedOut", timeoutMillis })

export const checks = [
  check(
    "exec-background-holds-output",
    "exec returns when the command exits, whoever else holds its output",
    { marks: ["F1"], needs: ["shell"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const result = yield* expect.promptly(
            sh("sleep 60 & setsid sleep 60 & echo started; echo said >&2; exit 2"),
            "exec"
          )
          yield* expect.equal(
            [result.outcome, result.stdout, result.stderr],
            [exited(2), "started\n", "said\n"],
            "the result"
          )
        })
      )
  ),

  check(
    "exec-background-floods-output",
    "a background process that never stops writing holds nobody up",
    { marks: ["F1", "F7"], needs: ["shell"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const run = sh("echo first; yes >&2 & sleep 0.2", { maxOutputBytes: 1000 })
          const result = yield* expect.promptly(run, "exec", "8 seconds")
          yield* expect.equal([result.outcome, result.stdout], [exited(0), "first\n"], "the result")
        })
      )
  ),

  check(
    "exec-timeout-kills-tree",
    "a timeout kills the whole tree inside, and says so",
    { marks: ["F2", "F25"], needs: ["shell", "processTree"] },
    (bench) =>
      inSession(bench, (sandbox) =>
        Effect.gen(function* () {
          const script = `(${ticks("a")}) & sh -c '${ticks("b")}' & ${ticks("c")}`
          const result = yield* expect.promptly(sh(script, { timeout: "2 seconds" }), "exec", "10 seconds")
          yield* expect.equal(result.outcome, timedOut(2000), "the outcome")
          for (const file of ["a", "b", "c"]) {
            yield* expect.atLeast(yield* sandbox.size(file), 1, `traces in ${file}`)
            yield* sandbox.stoppedTicking(file, `what ticked into ${file} is gone`)
          }
        })
      )
  ),

  check(
    "exec-timeout-kills-daemons",
    "a timeout kills what has left the command's process group, too",
    { marks: ["F2"], needs: ["shell", "processTree"] },
    (bench) =>
      inSession(bench, (sandbox) =>
        Effect.gen(function* () {
          const script = `setsid sh -c '${ticks("a")}' & (setsid sh -c '${ticks("b")}' &); sleep 60`
          const result = yield* expect.promptly(sh(script, { timeout: "2 seconds" }), "exec", "10 seconds")
          yield* expect.equal(result.outcome, timedOut(2000), "the outcome")
          for (const file of ["a", "b"]) {
            yield* expect.atLeast(yield* sandbox.size(file), 1, `traces in ${file}`)
            yield* sandbox.stoppedTicking(file, `what ticked into ${file} is gone`)
          }
        })
      )
  ),

  check(
    "exec-timeout-politely",
    "a timeout asks the command to end first, and what it writes then is kept",
    { marks: ["F2"], needs: ["shell", "signals"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const script = "trap 'echo polite; exit 3' TERM; echo out; while :; do sleep 0.05; done"
          const result = yield* expect.promptly(
            sh(script, { timeout: "1500 millis", forceKillAfter: "5 seconds" }),
            "exec",
            "12 seconds"
          )
          yield* expect.equal([result.outcome, result.stdout], [timedOut(1500), "out\npolite\n"], "the result")
        })
      )
  ),

  check(
    "exec-timeout-by-force",
    "a timeout ends a command that ignores polite signals and whose children hold its output",
    { marks: ["F2", "F3"], needs: ["shell"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const script = 'trap "" TERM INT HUP; echo out; setsid sleep 60 & while :; do sleep 1; done'
          const run = sh(script, { timeout: "1500 millis", forceKillAfter: "500 millis" })
          const result = yield* expect.promptly(run, "exec with a time limit of 1.5 s", "10 seconds")
          yield* expect.equal([result.outcome, result.stdout], [timedOut(1500), "out\n"], "the result")
        })
      )
  ),

  check(
    "exec-timeout-without-end",
    "a time limit ends a command that reads an input that never comes",
    { marks: ["F3", "F7"], needs: ["programs"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox
          const stdin = Stream.concat(Stream.make(text.encode("given")), Stream.never)
          const run = sandbox.exec("cat", [], { stdin, timeout: "1500 millis", forceKillAfter: "500 millis" })
          const result = yield* expect.promptly(run, "exec", "10 seconds")
          yield* expect.equal([result.outcome, result.stdout], [timedOut(1500), "given"], "the result")
        })
      )
  ),

  check(
    "exec-timeout-not-reached",
    "a time limit that is not reached changes nothing",
    { marks: ["F25"], needs: ["shell"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const result = yield* sh("sleep 0.2; echo done; exit 4", { timeout: "15 seconds" })
          yield* expect.equal([result.outcome, result.stdout], [exited(4), "done\n"], "the result")
        })
      )
  ),

  check(
    "exec-ends-are-told-apart",
    "an exit, a signal, a time limit, an output limit and an interruption are five different things",
    { marks: ["F25", "F31"], needs: ["shell", "signals"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const ends = [
            (yield* sh("exit 124")).outcome._tag,
            (yield* sh("kill -TERM $$; sleep 5")).outcome._tag,
            (yield* sh("sleep 60", { timeout: "300 millis" })).outcome._tag,
            (yield* sh("yes", { maxOutputBytes: 100, onOutputLimit: "kill" })).outcome._tag
          ]
          yield* expect.equal(ends, ["Exited", "Signalled", "TimedOut", "OutputLimit"], "the outcomes")
          const fiber = yield* Effect.forkChild(sh("sleep 60", { timeout: "30 seconds" }), { startImmediately: true })
          yield* Effect.sleep("300 millis")
          yield* expect.promptly(Fiber.interrupt(fiber), "interruption", "10 seconds")
          const exit = yield* Fiber.await(fiber)
          yield* expect.isTrue(
            Exit.isFailure(exit) && Exit.hasInterrupts(exit) && !Exit.hasFails(exit),
            "the interruption is told as something else"
          )
        })
      )
  ),

  check(
    "exec-interruption-kills",
    "interrupting exec kills the command with everything it has started",
    { marks: ["S5"], needs: ["shell", "processTree"] },
    (bench) =>
      inSession(bench, (sandbox) =>
        Effect.gen(function* () {
          const script = `(${ticks("a")}) & setsid sh -c '${ticks("b")}' & wait`
          const fiber = yield* Effect.forkChild(sh(script, { forceKillAfter: "500 millis" }))
          yield* sandbox.isTicking("a")
          yield* sandbox.isTicking("b")
          yield* expect.promptly(Fiber.interrupt(fiber), "interruption", "10 seconds")
          yield* sandbox.stoppedTicking("a", "the child is gone")
          yield* sandbox.stoppedTicking("b", "the daemon is gone")
        })
      )
  ),

  check(
    "exec-prompts-for-ever",
    "a program that asks a closed input for ever is held by its limits, which are reported",
    { marks: ["F7"], needs: ["shell"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const script = "while :; do echo 'Continue? [y/n]'; read -r answer; done"
          const run = sh(script, { timeout: "1500 millis", maxOutputBytes: 500, forceKillAfter: "500 millis" })
          const result = yield* expect.promptly(run, "exec", "10 seconds")
          yield* expect.equal(
            [result.outcome, result.stdoutBytes.length, result.truncated.stdout],
            [timedOut(1500), 500, true],
            "the outcome, the bytes kept, and whether some were cut"
          )
        })
      )
  ),

  check(
    "exec-output-limit",
    "output beyond the limit is cut and reported, for each stream",
    { marks: ["F7"], needs: ["shell"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const cut = yield* sh("head -c 500000 /dev/zero; echo short >&2; exit 4", { maxOutputBytes: 1000 })
          yield* expect.equal(
            [cut.outcome, cut.stdoutBytes.length, cut.stderr, cut.truncated],
            [exited(4), 1000, "short\n", { stdout: true, stderr: false }],
            "beyond the limit"
          )
          const exact = yield* sh("head -c 1000 /dev/zero", { maxOutputBytes: 1000 })
          yield* expect.equal([exact.stdoutBytes.length, exact.truncated.stdout], [1000, false], "at the limit")
        })
      )
  ),

  check(
    "exec-output-limit-kills",
    "a command is killed at the output limit when that is asked for",
    { marks: ["F7", "F2"], needs: ["shell", "processTree"] },
    (bench) =>
      inSession(bench, (sandbox) =>
        Effect.gen(function* () {
          const script = `(${ticks("ticks")}) & sleep 0.5; yes`
          const run = sh(script, { maxOutputBytes: 1000, onOutputLimit: "kill", forceKillAfter: "500 millis" })
          const result = yield* expect.promptly(run, "exec", "10 seconds")
          yield* expect.equal(result.outcome, { _tag: "OutputLimit", maxOutputBytes: 1000 }, "the outcome")
          yield* sandbox.stoppedTicking("ticks", "its child is gone")
        })
      )
  )
]
