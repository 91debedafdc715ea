/** Ending a command with everything that it has started (F2, S5). */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Exit from "effect/Exit"
import type { ChildProcessHandle } from "effect/process/ChildProcessSpawner"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import type { CheckFailed } from "../failure.ts"
import { endOf, exited, isGone, opened, type Subject, ticks } from "../subject.ts"

const check = inTopic("trees")

const yieldTimes = (turns: number) =>
  Effect.forEach(Array.from({ length: turns }), () => Effect.yieldNow, { discard: true })

/** A command that is to leave nothing behind, and the files that it ticks into. */
interface Tree {
  readonly what: string
  readonly script: string
  readonly files: ReadonlyArray<string>
}

const trees: ReadonlyArray<Tree> = [
  { what: "children", script: `(${ticks("a")}) & (${ticks("b")}) & wait`, files: ["a", "b"] },
  { what: "grandchildren", script: `sh -c 'sh -c "${ticks("c")}" & wait' & wait`, files: ["c"] },
  { what: "a pipeline", script: `(${ticks("d")}) | cat | (${ticks("e")})`, files: ["d", "e"] },
  { what: "children that ignore signals", script: `(trap "" TERM HUP INT; ${ticks("f")}) & wait`, files: ["f"] }
]

/** Starts a tree, ends it in some way, and sees to it that nothing ticks any more. */
const killsTree =
  <E>(
    sandbox: Subject,
    end: (started: {
      readonly value: ChildProcessHandle
      readonly close: Effect.Effect<void, CheckFailed>
    }) => Effect.Effect<void, E>
  ) =>
  ({ files, script, what }: Tree) =>
    Effect.gen(function* () {
      const started = yield* opened(sandbox.startScript(script, { forceKillAfter: "500 millis" }))
      yield* Effect.forEach(files, sandbox.isTicking)
      yield* end(started)
      yield* Effect.forEach(files, (file) => sandbox.stoppedTicking(file, `${what} are gone`), { concurrency: 3 })
    })

export const checks = [
  check(
    "kill-tree",
    "kill ends everything that the command has started",
    { marks: ["F2", "S5"], needs: ["shell", "processTree", "signals"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const kill = killsTree(sandbox, ({ value }) =>
          Effect.gen(function* () {
            yield* expect.promptly(value.kill({ forceKillAfter: "500 millis" }), "kill")
            yield* expect.isTrue(isGone(yield* endOf(value)), "the end is told as a success")
          })
        )
        yield* Effect.forEach(trees, kill, { concurrency: "unbounded" })
      })
  ),

  check(
    "close-ends-tree",
    "closing the scope of a command ends everything that it has started",
    { marks: ["F2", "S5"], needs: ["shell", "processTree"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const closed = killsTree(sandbox, ({ close }) => close)
        yield* Effect.forEach(trees, closed, { concurrency: "unbounded" })
      })
  ),

  check(
    "close-ends-daemons",
    "closing the scope of a command that runs ends what has left its process group, too",
    { marks: ["F2", "S5"], needs: ["shell", "processTree"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const script = `setsid sh -c '${ticks("a")}' & nohup sh -c '${ticks("b")}' >nohup.log 2>&1 & (setsid sh -c 'trap "" TERM HUP; ${ticks("c")}' &) ; sleep 60`
        yield* killsTree(sandbox, ({ close }) => close)({ what: "daemons", script, files: ["a", "b", "c"] })
      })
  ),

  check(
    "interruption-ends-command",
    "interrupting whoever waits for a command ends it with everything it has started",
    { marks: ["S5", "F25"], needs: ["shell", "processTree"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const fiber = yield* Effect.forkChild(
          sandbox.sh(`(${ticks("a")}) & ${ticks("b")}`, { forceKillAfter: "500 millis" })
        )
        yield* sandbox.isTicking("a")
        yield* sandbox.isTicking("b")
        yield* expect.promptly(Fiber.interrupt(fiber), "interruption", "12 seconds")
        const exit = yield* Fiber.await(fiber)
        yield* expect.isTrue(Exit.hasInterrupts(exit), "the interruption is told as something else")
        yield* sandbox.stoppedTicking("a", "the child is gone")
        yield* sandbox.stoppedTicking("b", "the command is gone")
      })
  ),

  check(
    "interruption-at-any-moment",
    "a command that is interrupted while it starts is not left behind",
    { marks: ["S5", "F26", "F28"], needs: ["shell", "processTree"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const tick = sandbox.sh(ticks("ticks"), { forceKillAfter: "500 millis" })
        const after = (wait: Effect.Effect<unknown>, what: string) =>
          Effect.gen(function* () {
            const fiber = yield* Effect.forkChild(tick, { startImmediately: true })
            yield* wait
            yield* expect.promptly(Fiber.interrupt(fiber), `interruption after ${what}`, "12 seconds")
          })
        const moments = [
          ...Array.from({ length: 24 }, (_, turns) => after(yieldTimes(turns), `${turns} turns`)),
          ...[1, 2, 4, 8, 16, 32, 64].map((millis) => after(Effect.sleep(millis), `${millis} ms`))
        ]
        yield* Effect.all(moments, { concurrency: 4 })
        yield* sandbox.stoppedTicking("ticks", "no command is left")
      })
  ),

  check(
    "background-outlives-or-ends",
    "what a command leaves behind does not keep its scope from closing",
    { marks: ["F1"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        for (const script of ["sleep 60 & exit 0", "sleep 60 >/dev/null 2>&1 & exit 0", "setsid sleep 60 & exit 0"]) {
          const started = yield* opened(sandbox.startScript(script))
          yield* expect.equal(yield* expect.promptly(endOf(started.value), "the end"), exited(0), "the end")
          yield* started.close
        }
      })
  ),

  check(
    "orphans-are-reaped",
    "processes whose parent has gone are reaped when they end",
    { marks: ["F20"], needs: ["shell", "orphanReaping"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        // A process that nobody has waited for can still be signalled after its end.
        const script = `
          for i in 1 2 3 4 5; do sh -c 'sleep 0.2 >/dev/null & echo $!' >>pids; done
          sleep 1
          left=0
          while read -r pid; do kill -0 "$pid" 2>/dev/null && left=$((left + 1)); done <pids
          echo $left`
        yield* expect.equal(yield* sandbox.output(script), "0\n", "zombies of five orphans")
      })
  )
]
