/** How the end of a command is told: what the system said, once, and never a guess (F18, F31). */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { collect, endOf, exited, finish, signalled } from "../subject.ts"

const check = inTopic("exits")

const codes = [0, 1, 2, 3, 7, 42, 64, 99, 100, 124, 125, 126, 127, 128, 129, 130, 137, 139, 143, 200, 254, 255]

export const checks = [
  check("exit-zero", "a command that succeeds exits with 0", { marks: ["F18"], needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const { end, stderr, stdout } = yield* sandbox.run("true")
      yield* expect.equal(end, exited(0), "the end of `true`")
      yield* expect.equal(stdout + stderr, "", "the output of `true`")
    })
  ),

  check(
    "exit-one",
    "a command that fails exits with its own code",
    { marks: ["F18", "F31"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* expect.equal((yield* sandbox.run("false")).end, exited(1), "the end of `false`")
      })
  ),

  check(
    "exit-codes",
    "every exit code is told as it is, also those that shells use for something else",
    { marks: ["F18", "F31"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const ends = yield* Effect.forEach(codes, (code) => Effect.map(sandbox.sh(`exit ${code}`), ({ end }) => end), {
          concurrency: 4
        })
        yield* expect.equal(ends, codes.map(exited), `the ends of \`exit\` with ${codes.join(", ")}`)
      })
  ),

  check(
    "exit-by-sigkill",
    "a death by SIGKILL is told as a signal, not as a code",
    { marks: ["F18", "F31"], needs: ["shell", "signals"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* expect.equal((yield* sandbox.sh("kill -KILL $$")).end, signalled("SIGKILL"), "the end")
      })
  ),

  check(
    "exit-by-signals",
    "a death by any other signal is told by the signal's name",
    { marks: ["F18", "F31"], needs: ["shell", "signals"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        for (const signal of ["TERM", "HUP", "INT", "QUIT", "ABRT", "SEGV", "USR1", "ALRM"]) {
          const { end } = yield* sandbox.sh(`kill -${signal} $$; sleep 5`)
          yield* expect.equal(end, signalled(`SIG${signal}`), `the end by SIG${signal}`)
        }
      })
  ),

  check(
    "exit-code-of-signalled-child",
    "a shell's code for a child that was killed is a code, not a signal",
    { marks: ["F31"], needs: ["shell", "signals"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { end } = yield* sandbox.sh("sh -c 'kill -KILL $$'; exit $?")
        yield* expect.equal(end, exited(137), "the end")
      })
  ),

  check(
    "exit-keeps-output-before-signal",
    "what was written before a death by signal is kept",
    { marks: ["F18"], needs: ["shell", "signals"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { end, stderr, stdout } = yield* sandbox.sh("echo before; echo error >&2; kill -KILL $$; echo after")
        yield* expect.equal(
          { end, stdout, stderr },
          { end: signalled("SIGKILL"), stdout: "before\n", stderr: "error\n" },
          "the command"
        )
      })
  ),

  check(
    "exit-known-once",
    "the end of a command is the same for everyone who asks, now, at once and later",
    { marks: ["F18"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.startScript("sleep 0.2; exit 7")
        const together = yield* Effect.all(
          Array.from({ length: 10 }, () => endOf(handle)),
          { concurrency: "unbounded" }
        )
        const later = [yield* endOf(handle), yield* endOf(handle)]
        for (const end of [...together, ...later]) yield* expect.equal(end, exited(7), "one of the answers")
      })
  ),

  check(
    "exit-wait-given-up",
    "whoever gives up waiting for the end does not take it from others, nor from themselves",
    { marks: ["F18"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.startScript("echo out; sleep 0.6; exit 7")
        const other = yield* Effect.forkChild(endOf(handle))
        yield* Effect.timeoutOption(endOf(handle), "100 millis")
        yield* Effect.timeoutOption(collect(handle.stderr), "100 millis")
        yield* expect.equal([yield* Fiber.join(other), yield* endOf(handle)], [exited(7), exited(7)], "the ends")
        yield* expect.equal(yield* handle.isRunning, false, "isRunning")
      })
  ),

  check(
    "exit-not-before-the-end",
    "no exit code is made up while the command runs",
    { marks: ["F18"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.start("sleep", ["30"])
        const early = yield* Effect.timeoutOption(endOf(handle), "700 millis")
        yield* expect.equal(early._tag, "None", "an end of `sleep 30` after less than a second")
      })
  ),

  check(
    "exit-told-promptly",
    "the end is told when it happens",
    { marks: ["F18", "F3"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.start("sleep", ["0.3"])
        const end = yield* expect.promptly(endOf(handle), "the end of `sleep 0.3`")
        yield* expect.equal(end, exited(0), "the end of `sleep 0.3`")
      })
  ),

  check("exit-is-running", "isRunning is true until the end and false after it", { needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const handle = yield* sandbox.start("sleep", ["0.6"])
      yield* expect.equal(yield* handle.isRunning, true, "isRunning of a command that has just begun")
      yield* endOf(handle)
      yield* expect.equal(yield* handle.isRunning, false, "isRunning after the end")
    })
  ),

  check(
    "exit-while-output-is-held",
    "the end is told although a background process still holds the output",
    { marks: ["F1"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.startScript("sleep 40 & echo started; exit 3")
        const end = yield* expect.promptly(endOf(handle), "the end of a command whose child holds its output")
        yield* expect.equal(end, exited(3), "the end")
      })
  ),

  check(
    "exit-without-reader",
    "the end is told although nobody reads the output, and the output is still there",
    { marks: ["F18", "F14"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.startScript("head -c 20000 /dev/zero; echo end >&2; exit 4")
        yield* expect.equal(yield* expect.promptly(endOf(handle), "the end"), exited(4), "the end")
        yield* Effect.sleep("200 millis")
        const { stderr, stdoutBytes } = yield* expect.promptly(finish(handle), "reading the output")
        yield* expect.equal([stdoutBytes.length, stderr], [20000, "end\n"], "the size of stdout, and stderr")
      })
  )
]
