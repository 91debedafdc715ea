/** Ending commands: by signal, by closing their scope (F2, S5). */
import * as Effect from "effect/Effect"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { endOf, exited, isGone, opened, signalled, ticks } from "../subject.ts"

const check = inTopic("kill")

export const checks = [
  check(
    "kill-politely",
    "kill sends SIGTERM and returns when the command has ended",
    { needs: ["programs", "signals"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.start("sleep", ["60"])
        yield* expect.promptly(handle.kill(), "kill")
        yield* expect.equal(yield* handle.isRunning, false, "isRunning after kill")
        yield* expect.equal(yield* endOf(handle), signalled("SIGTERM"), "the end")
      })
  ),

  check("kill-by-signal", "kill sends the signal that was asked for", { needs: ["programs", "signals"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      for (const killSignal of ["SIGKILL", "SIGINT", "SIGHUP", "SIGUSR1"] as const) {
        const handle = yield* sandbox.start("sleep", ["60"])
        yield* expect.promptly(handle.kill({ killSignal }), `kill by ${killSignal}`)
        yield* expect.equal(yield* endOf(handle), signalled(killSignal), "the end")
      }
    })
  ),

  check(
    "kill-is-handled",
    "a command may handle the signal and end in its own way",
    { needs: ["shell", "signals"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.startScript(
          "trap 'echo handled >said; exit 3' TERM; echo ready >ready; while :; do sleep 0.05; done"
        )
        yield* expect.eventually(sandbox.files.exists("ready"), "the command is ready")
        yield* expect.promptly(handle.kill({ forceKillAfter: "5 seconds" }), "kill")
        yield* expect.equal(yield* endOf(handle), exited(3), "the end")
        yield* expect.equal(yield* sandbox.files.readFileString("said"), "handled\n", "what it did last")
      })
  ),

  check(
    "kill-by-force",
    "a command that ignores the signal is killed after forceKillAfter",
    { marks: ["F2"], needs: ["shell", "signals"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.startScript(`trap "" TERM INT HUP; ${ticks("ticks")}`)
        yield* sandbox.isTicking("ticks")
        yield* expect.promptly(handle.kill({ forceKillAfter: "500 millis" }), "kill")
        yield* expect.equal(yield* endOf(handle), signalled("SIGKILL"), "the end")
        yield* sandbox.stoppedTicking("ticks", "it is gone")
      })
  ),

  check(
    "kill-twice",
    "killing what has ended, or is being killed, does no harm",
    { needs: ["programs", "signals"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const other = yield* sandbox.start("sleep", ["30"])
        const ended = yield* sandbox.start("true")
        yield* endOf(ended)
        yield* Effect.exit(expect.promptly(Effect.ignore(ended.kill()), "killing what has ended"))
        yield* expect.equal(yield* endOf(ended), exited(0), "its end")
        const handle = yield* sandbox.start("sleep", ["60"])
        const kill = Effect.ignore(handle.kill())
        yield* expect.promptly(Effect.all([kill, kill, kill], { concurrency: 3 }), "killing three times at once")
        yield* expect.promptly(kill, "killing once more")
        yield* expect.equal(yield* endOf(handle), signalled("SIGTERM"), "the end")
        yield* expect.equal(yield* other.isRunning, true, "isRunning of another command")
      })
  ),

  check(
    "kill-only-this",
    "killing one command leaves the others of the sandbox alone, the same program included",
    { marks: ["F30"], needs: ["shell", "signals"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const [one, two] = yield* Effect.all([sandbox.startScript(ticks("a")), sandbox.startScript(ticks("b"))])
        yield* sandbox.isTicking("a")
        yield* sandbox.isTicking("b")
        yield* expect.promptly(one.kill(), "kill")
        yield* sandbox.stoppedTicking("a", "the killed command is gone")
        yield* sandbox.isTicking("b")
        yield* expect.equal(yield* two.isRunning, true, "isRunning of the other")
      })
  ),

  check(
    "close-ends-command",
    "closing the scope of a command ends it",
    { marks: ["S5"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const started = yield* opened(sandbox.start("sleep", ["60"]))
        yield* started.close
        const end = yield* expect.promptly(endOf(started.value), "the end")
        yield* expect.isTrue(isGone(end), "the end is told as a success")
        yield* expect.equal(yield* started.value.isRunning, false, "isRunning")
      })
  ),

  check(
    "close-after-the-end",
    "closing the scope of a command that has ended is quick",
    { needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        for (const command of ["true", "false"]) {
          const started = yield* opened(sandbox.start(command))
          yield* endOf(started.value)
          yield* expect.promptly(started.close, `closing \`${command}\``, "4 seconds")
        }
      })
  ),

  check(
    "kill-stopped",
    "a command that is stopped can be killed",
    { marks: ["F2"], needs: ["shell", "signals"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const started = yield* opened(
          sandbox.startScript("echo x >ready; kill -STOP $$; sleep 60", { forceKillAfter: "500 millis" })
        )
        yield* expect.eventually(sandbox.files.exists("ready"), "the command is about to stop")
        yield* Effect.sleep("200 millis")
        yield* started.close
        yield* expect.equal(yield* started.value.isRunning, false, "isRunning")
      })
  ),

  check(
    "kill-own-group",
    "a command that signals its whole process group hurts nobody else",
    { marks: ["F30"], needs: ["shell", "signals"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const other = yield* sandbox.startScript(ticks("other"))
        yield* sandbox.isTicking("other")
        for (const [script, signal] of [
          ["kill 0; sleep 5", "SIGTERM"],
          ["kill -KILL 0; sleep 5", "SIGKILL"]
        ] as const) {
          const { end } = yield* expect.promptly(sandbox.sh(script), `\`${script}\``)
          yield* expect.equal(end, signalled(signal), `the end of \`${script}\``)
        }
        yield* sandbox.isTicking("other")
        yield* expect.equal(yield* other.isRunning, true, "isRunning of another command")
        yield* sandbox.instance.ping
      })
  )
]
