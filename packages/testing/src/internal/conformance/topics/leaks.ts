/** Whatever a sandbox goes through, taking it down leaves nothing (I7, F26). */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import type { Bench } from "../bench.ts"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { endOf, type Subject } from "../subject.ts"

const check = inTopic("leaks")

/** Runs something that makes sandboxes, and sees to it that afterwards the driver has nothing more than before. */
const leavesNothing = <E, R>(bench: Bench, body: Effect.Effect<unknown, E, R>, what: string) =>
  Effect.gen(function* () {
    const before = yield* bench.alive
    yield* body
    const added = Effect.map(bench.alive, (now) => now.filter((one) => !before.includes(one)))
    // A moment for what goes away by itself once it was told to.
    yield* Effect.ignore(
      expect.eventually(
        Effect.map(added, (left) => left.length === 0),
        what,
        "5 seconds"
      )
    )
    yield* expect.equal(yield* added, [], what)
  })

const within = (bench: Bench, use: (sandbox: Subject) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
  Effect.scoped(Effect.flatMap(bench.create(), use))

/** Interrupts the creation of a sandbox after so many turns or milliseconds; whatever was made is taken down. */
const interrupted = (bench: Bench, wait: Effect.Effect<void>, what: string) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(Effect.scoped(bench.create()), { startImmediately: true })
    yield* wait
    yield* expect.promptly(Fiber.interrupt(fiber), `interrupting create ${what}`, "15 seconds")
  })

const turns = (count: number) => Effect.forEach(Array.from({ length: count }), () => Effect.yieldNow, { discard: true })

export const checks = [
  check(
    "leak-create-and-close",
    "after ten sandboxes nothing is left",
    { marks: ["I7", "F11"], needs: ["leaks"], exclusive: true, patience: 2 },
    (bench) =>
      leavesNothing(
        bench,
        Effect.forEach(
          Array.from({ length: 10 }),
          () => within(bench, ({ files }) => files.writeFileString("file", "x")),
          { concurrency: 4 }
        ),
        "what ten sandboxes have left"
      )
  ),

  check(
    "leak-processes",
    "taking a sandbox down ends every process in it, in whatever disguise",
    { marks: ["I7", "F26"], needs: ["leaks", "shell"], exclusive: true },
    (bench) =>
      leavesNothing(
        bench,
        within(bench, (sandbox) =>
          Effect.gen(function* () {
            const script = `
            sleep 300 & setsid sleep 300 >/dev/null 2>&1 & (setsid sh -c 'trap "" TERM; sleep 300; sleep 300' >/dev/null 2>&1 &)
            nohup sleep 300 >/dev/null 2>&1 & cd / && setsid sleep 300 >/dev/null 2>&1 & sleep 0.3`
            yield* endOf(yield* sandbox.startScript(script))
            yield* sandbox.startScript("sleep 300 & wait")
          })
        ),
        "what the sandbox has left"
      )
  ),

  check(
    "leak-mess",
    "taking a sandbox down removes files that are protected, odd, and many",
    { marks: ["I7", "F15"], needs: ["leaks", "shell"], exclusive: true },
    (bench) =>
      leavesNothing(
        bench,
        within(bench, (sandbox) =>
          Effect.gen(function* () {
            yield* sandbox.files.makeDirectory(Array.from({ length: 200 }, (_, level) => `l${level}`).join("/"), {
              recursive: true
            })
            yield* sandbox.files.makeTempDirectory()
            yield* sandbox.output(
              "mkdir -p a/b; echo x >a/b/c; ln -s / root; ln -s missing dangling; chmod 000 a/b a; chmod 500 ."
            )
          })
        ),
        "what the sandbox has left"
      )
  ),

  check(
    "leak-interrupted-create",
    "creation that is interrupted at any moment leaves nothing",
    { marks: ["F26", "F28", "L5"], needs: ["leaks"], exclusive: true, patience: 3 },
    (bench) =>
      leavesNothing(
        bench,
        Effect.gen(function* () {
          for (let count = 0; count < 30; count++) yield* interrupted(bench, turns(count), `after ${count} turns`)
          for (const millis of [1, 2, 3, 5, 8, 13, 21, 34, 55, 100, 200]) {
            yield* interrupted(bench, Effect.sleep(millis), `after ${millis} ms`)
          }
        }),
        "what interrupted creations have left"
      )
  ),

  check(
    "leak-interrupted-between-steps",
    "creation that yields after a few operations and is interrupted there leaves nothing",
    { marks: ["F28"], needs: ["leaks"], exclusive: true, patience: 3 },
    (bench) =>
      leavesNothing(
        bench,
        Effect.forEach(
          [3, 5, 9, 17, 33],
          (operations) =>
            Effect.forEach(
              [0, 1, 2, 4, 8, 16, 32],
              (count) => interrupted(bench, turns(count), `after ${count} turns`),
              {
                discard: true
              }
            ).pipe(Effect.provideService(Scheduler.MaxOpsBeforeYield, operations)),
          { discard: true }
        ),
        "what interrupted creations have left"
      )
  ),

  check(
    "leak-interrupted-use",
    "a sandbox whose user is interrupted in the middle of things leaves nothing",
    { marks: ["S5", "I7"], needs: ["leaks", "shell"], exclusive: true, patience: 2 },
    (bench) =>
      leavesNothing(
        bench,
        Effect.forEach(
          [0, 20, 60, 150, 300],
          (millis) =>
            Effect.gen(function* () {
              const use = within(bench, (sandbox) =>
                sandbox.sh("sleep 300 & setsid sleep 300 & sleep 300", { forceKillAfter: "500 millis" })
              )
              const fiber = yield* Effect.forkChild(use, { startImmediately: true })
              yield* Effect.sleep(millis)
              yield* expect.promptly(Fiber.interrupt(fiber), `interruption after ${millis} ms`, "15 seconds")
            }),
          { concurrency: "unbounded" }
        ),
        "what interrupted users have left"
      )
  ),

  check(
    "leak-interrupted-close",
    "taking a sandbox down goes through to its end, also when whoever does it is interrupted",
    { marks: ["F26", "X6"], needs: ["leaks", "shell"], exclusive: true },
    (bench) =>
      leavesNothing(
        bench,
        Effect.forEach(
          [0, 1, 5, 20],
          (millis) =>
            Effect.gen(function* () {
              const scope = yield* Scope.make()
              const sandbox = yield* Scope.provide(bench.create(), scope)
              yield* sandbox.output("mkdir a; echo x >a/b; sleep 300 >/dev/null 2>&1 &")
              yield* Scope.provide(sandbox.startScript("sleep 300"), scope)
              const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
              yield* Effect.sleep(millis)
              yield* expect.promptly(Fiber.interrupt(closing), "interrupting whoever takes it down", "15 seconds")
            }),
          { concurrency: "unbounded" }
        ),
        "what the sandboxes have left"
      )
  ),

  check(
    "leak-environment",
    "an environment that was shut down with sessions open leaves nothing",
    { marks: ["I7", "H5"], needs: ["leaks", "programs"], exclusive: true },
    (bench) =>
      leavesNothing(
        bench,
        Effect.scoped(
          Effect.gen(function* () {
            const lab = yield* bench.environment({ pool: { min: 2, max: 4 } })
            yield* Effect.forEach([1, 2, 3], () => lab.session())
            yield* expect.promptly(lab.shutdown, "shutdown", "15 seconds")
            const { ledger } = yield* lab.stats
            yield* expect.equal([ledger.live, ledger.leaked], [0, 0], "sandboxes that live, and that leaked")
          })
        ),
        "what the environment has left"
      )
  )
]
