/**
 * Grades a batch of untrusted submissions, each in a sandbox of its own, and writes a verdict for each.
 *
 *     npm start                        the batch that comes with the example, with known verdicts
 *     npm start -- --help              all options
 *     npm start -- --input mine.jsonl --output verdicts.jsonl
 *     npm start -- --resume            goes on where an earlier run was stopped
 *     npm start -- --driver docker     in containers; needs a Docker engine
 *     npm start -- --dashboard         with a page that shows what happens while it runs
 *
 * The formats of both files are described in `TASKS.md`. Exit code 0 says that every verdict is the one that its task
 * names, or that every task without one was passed.
 */
import { Dashboard } from "@effect-sandbox/devtools"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Cause, Clock, Console, Effect, Exit, FileSystem, Logger, Path, Runtime, Schema } from "effect"
import { CliError, Command, Flag } from "effect/cli"
import { availableParallelism } from "node:os"
import * as Batch from "./Batch.ts"
import * as Drivers from "./Drivers.ts"
import * as Progress from "./Progress.ts"
import * as Results from "./Results.ts"
import { Tally } from "./Tally.ts"
import * as Task from "./Task.ts"

/** The batch ran to its end, and some verdicts are not the expected ones. The summary has said so. */
class UnexpectedVerdictsError extends Schema.TaggedError<UnexpectedVerdictsError>()("UnexpectedVerdictsError", {
  count: Schema.Finite
}) {
  override readonly [Runtime.errorReported] = false
}

const flags = {
  driver: Flag.ChoiceWithValue(
    "driver",
    Drivers.drivers.map((driver) => [driver.name, driver] as const)
  ).pipe(
    Flag.withDescription(
      `Where sandboxes come from: ${Drivers.drivers.map(({ description, name }) => `${name} (${description})`).join(", ")}`
    ),
    Flag.withDefault(Drivers.local)
  ),
  isolation: Flag.Literals("isolation", Drivers.isolations).pipe(
    Flag.withDescription(
      "How the local driver keeps sandboxes apart from the machine: auto takes the strongest that works here"
    ),
    Flag.withDefault("auto")
  ),
  concurrency: Flag.Int("concurrency").pipe(
    Flag.filter(
      (count) => count >= 1 && count <= 10_000,
      (count) => `1 to 10000, got ${count}`
    ),
    Flag.withDescription("How many tasks run at the same time (default: the number of CPUs and 2)"),
    Flag.withDefault(availableParallelism() + 2)
  ),
  input: Flag.String("input").pipe(
    Flag.withAlias("i"),
    Flag.withMetavar("file"),
    Flag.withDescription("The tasks, one JSON object a line (default: those of the example)"),
    Flag.withDefault(`${import.meta.dirname}/tasks.jsonl`)
  ),
  output: Flag.String("output").pipe(
    Flag.withAlias("o"),
    Flag.withMetavar("file"),
    Flag.withDescription("Where the results go (default: grade-results.jsonl); an existing file is replaced"),
    Flag.withDefault("grade-results.jsonl")
  ),
  resume: Flag.Boolean("resume").pipe(
    Flag.withDescription("Keep the results that the output file has, and run only the other tasks"),
    Flag.withDefault(false)
  ),
  dashboard: Flag.Boolean("dashboard").pipe(
    Flag.withDescription("Serve a page that shows what happens, until the run ends; it says where"),
    Flag.withDefault(false)
  ),
  dashboardPort: Flag.Int("dashboard-port").pipe(
    Flag.withDescription("The port of the dashboard; 0 takes a free one"),
    Flag.withDefault(7770)
  )
}

const grade = Command.make(
  "grade",
  flags,
  Effect.fnUntraced(
    function* ({ concurrency, dashboard, dashboardPort, driver, input, isolation, output, resume }) {
      const path = yield* Path.Path
      const tasks = yield* Task.readAll(relative(path, input), driver.images)
      yield* refuseSameFile(input, output)

      const started = yield* Clock.currentTimeMillis
      const tally = new Tally(tasks)
      const file = relative(path, output)
      const ranIn = yield* Effect.gen(function* () {
        const results = yield* Results.open(file, { resume })
        tally.resume(results.previous)
        const todo = tasks.filter((task) => !tally.has(task.id))
        const progress = yield* Progress.make(tally)
        const before = resume ? `, ${tally.resumed} of them done before` : ""
        yield* progress.print(
          `Grading ${tasks.length} tasks${before}: driver ${driver.name}, ${concurrency} at the same time`
        )
        if (todo.length === 0) return undefined
        return yield* Batch.run({ tasks: todo, concurrency, results, tally, progress }).pipe(
          (batch) => (dashboard ? Effect.provide(batch, Dashboard.layer({ port: dashboardPort })) : batch),
          Effect.provide(Logger.layer([progress.logger])),
          Effect.onExit((exit) => (Exit.isFailure(exit) ? explainEnd(exit.cause, tally, file) : Effect.void))
        )
        // The driver comes first: without one, the results of an earlier run are left alone.
      }).pipe(Effect.scoped, Effect.provide(driver.layer({ isolation })))
      yield* summarize(tally, ((yield* Clock.currentTimeMillis) - started) / 1000)
      const where =
        ranIn === undefined ? "" : ranIn.level === "none" ? " without isolation" : ` isolated by ${ranIn.level}`
      const graded =
        tally.doneNow === 0
          ? "Nothing was left to run"
          : `Shown: untrusted programs${where}, each graded in a session of its own on a pool of sandboxes`
      yield* Console.log(`${graded}.\nResults: ${path.resolve(output)}`)
      if (tally.surprises.length > 0) return yield* new UnexpectedVerdictsError({ count: tally.surprises.length })
    },
    Effect.catchTags({
      PlatformError: userError,
      DashboardError: userError,
      InvalidConfigurationError: userError,
      UnsupportedOptionError: userError,
      DockerError: userError,
      IngredientMissing: userError,
      EnvironmentOutageError: userError,
      EnvironmentClosedError: userError
    })
  )
).pipe(Command.withDescription("Grades a batch of untrusted submissions, each in a sandbox of its own"))

function userError(error: Error) {
  return Effect.fail(new CliError.UserError({ cause: error }))
}

/** A path as the user would write it, for messages. */
const relative = (path: Path.Path, file: string): string => {
  const short = path.relative(process.cwd(), file)
  return short === "" || short.startsWith("..") ? file : short
}

/** The results replace what the output file holds, which must not be the tasks. */
const refuseSameFile = Effect.fnUntraced(function* (input: string, output: string) {
  const fs = yield* FileSystem.FileSystem
  const [from, to] = yield* Effect.forEach([input, output], (file) =>
    Effect.orElseSucceed(fs.realPath(file), () => file)
  )
  if (from === to) {
    const message = `--output ${output} is the file with the tasks`
    return yield* new CliError.UserError({ cause: message })
  }
})

/** Says what is left of a run that did not come to its end. */
const explainEnd = (cause: Cause.Cause<unknown>, tally: Tally, file: string) =>
  Console.error(
    `${Cause.hasInterruptsOnly(cause) ? "Interrupted" : "Stopped"}: ${tally.done} of ${tally.total} results are in ${file}. ` +
      "The same command with --resume goes on from there."
  )

const summarize = Effect.fnUntraced(function* (tally: Tally, seconds: number) {
  yield* Console.log(`${tally.total} tasks: ${tally.text}; ${tally.doneNow} of them in ${seconds.toFixed(1)} s`)
  const skipped = tally.count("skipped")
  if (skipped > 0)
    yield* Console.log(`Skipped: ${skipped} hostile tasks, which run only where the isolation holds them.`)
  for (const { expected, id, reason, verdict } of tally.surprises.slice(0, 20)) {
    yield* Console.log(`  ${id}: ${verdict} instead of ${expected}${reason === undefined ? "" : ` (${reason})`}`)
  }
  const more = tally.surprises.length - 20
  if (more > 0) yield* Console.log(`  … and ${more} more`)
  yield* Console.log(
    tally.surprises.length === 0
      ? `All ${tally.total - skipped} verdicts are the expected ones.`
      : `${tally.surprises.length} verdicts are not the expected ones.`
  )
})

NodeRuntime.runMain(grade.pipe(Command.run({ version: "0.1.0" }), Effect.provide(NodeServices.layer)))
