/** Runs a batch: every task in a session of its own, on pools of sandboxes, with the results written as they come. */
import { Environment, Sandbox } from "@effect-sandbox/core"
import { Effect } from "effect"
import type { Graded } from "./Grader.ts"
import * as Grader from "./Grader.ts"
import type { Progress } from "./Progress.ts"
import type { Results } from "./Results.ts"
import { line } from "./Results.ts"
import type { Tally } from "./Tally.ts"
import type { Task } from "./Task.ts"

export interface Options {
  readonly tasks: ReadonlyArray<Task>
  readonly concurrency: number
  readonly results: Results
  readonly tally: Tally
  readonly progress: Progress
}

/**
 * Runs the tasks and gives the isolation that they ran in. Trouble with one task or sandbox is that task's verdict;
 * when there are no sandboxes at all the batch ends, so that it can be resumed.
 */
export const run = Effect.fnUntraced(function* ({ concurrency, progress, results, tally, tasks }: Options) {
  const images = [...new Set(tasks.map((task) => task.image))]
  const environment = yield* Environment.make({
    id: "grade",
    images,
    // Two more than are used at a time: a sandbox is made ready for its next task while others work.
    pool: { min: 0, max: concurrency + 2 },
    // Whatever a submission leaves behind, its session ends.
    sessionLifetime: Math.max(...tasks.map((task) => task.timeoutMillis)) + 120_000,
    outageGracePeriod: "20 seconds"
  })
  let isolation: Sandbox["Service"]["isolation"] | undefined

  const noteIsolation = Effect.gen(function* () {
    const sandbox = yield* Sandbox
    if (isolation !== undefined) return
    isolation = sandbox.isolation
    const { fallback, level } = isolation
    if (fallback !== undefined) yield* progress.print(`isolation is ${level}, not ${fallback.from}: ${fallback.reason}`)
  })

  const grade = Effect.fnUntraced(function* (task: Task) {
    const graded = yield* environment
      .withSession({ image: task.image, id: task.id }, Effect.andThen(noteIsolation, Grader.grade(task)))
      .pipe(
        Effect.catchIf(
          (error) => error._tag !== "EnvironmentOutageError" && error._tag !== "EnvironmentClosedError",
          (error) => Effect.succeed<Graded>({ verdict: "error", reason: error.message })
        ),
        Effect.catchDefect((defect) => Effect.succeed<Graded>({ verdict: "error", reason: String(defect) }))
      )
    const written = line(task, graded)
    // What is counted is on disk, and the other way round.
    yield* Effect.uninterruptible(
      Effect.andThen(
        results.append(written),
        Effect.sync(() => tally.add(written))
      )
    )
  })

  yield* progress.during(environment.stats, Effect.forEach(tasks, grade, { concurrency, discard: true }))
  return isolation
}, Effect.scoped)
