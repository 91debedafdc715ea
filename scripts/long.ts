/**
 * Many random programs on all processors, with progress: 100,000 unless told otherwise.
 *
 *     sh scripts/run.sh test:long [--runs N] [--seed TEXT] [--workers N]
 *
 * The first program that breaks a rule is made smaller and printed with what replays it; the exit code is then 1.
 * Interrupted, it prints what was run so far.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Clock, Console, Data, Effect, Path, Schema, Stream } from "effect"
import { Command, Flag } from "effect/cli"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { availableParallelism } from "node:os"

class RuleBroken extends Data.TaggedError("RuleBroken")<{ readonly message: string }> {}

/** A line of a worker. */
const Line = Schema.fromJsonString(
  Schema.Union([
    Schema.Struct({ failure: Schema.Struct({ report: Schema.String }) }),
    Schema.Struct({
      report: Schema.Struct({
        runs: Schema.Finite,
        repeated: Schema.Finite,
        steps: Schema.Finite,
        sessions: Schema.Finite,
        struck: Schema.Finite,
        situations: Schema.Record(Schema.String, Schema.Finite)
      })
    })
  ])
)

/** Programs between two lines of a worker. */
const batch = 500

const long = Command.make(
  "test:long",
  {
    runs: Flag.Int("runs").pipe(Flag.withDescription("Programs to run"), Flag.withDefault(100_000)),
    seed: Flag.String("seed").pipe(Flag.withDescription("Where the programs come from"), Flag.withDefault("long")),
    workers: Flag.Int("workers").pipe(
      Flag.withDescription("Processes at a time"),
      Flag.withDefault(availableParallelism())
    )
  },
  Effect.fn(function* ({ runs, seed, workers }) {
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const path = yield* Path.Path
    const started = yield* Clock.currentTimeMillis
    const total = { runs: 0, repeated: 0, steps: 0, sessions: 0, struck: 0 }
    const situations = new Map<string, number>()

    const figures = Effect.gen(function* () {
      const seconds = ((yield* Clock.currentTimeMillis) - started) / 1000
      const rate = seconds > 0 ? Math.round(total.runs / seconds) : 0
      const counts = `${total.steps} steps, ${total.sessions} sessions, ${total.struck} faults`
      return `${total.runs} of ${runs} programs, ${counts}; ${Math.round(seconds)} s, ${rate} a second`
    })
    const summary = Effect.gen(function* () {
      yield* Console.log(yield* figures)
      yield* Console.log(`${total.repeated} programs were run twice and ran the same way`)
      const width = Math.max(0, ...[...situations.keys()].map((situation) => situation.length))
      for (const [situation, count] of [...situations].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
        yield* Console.log(`  ${situation.padEnd(width)}  ${count}`)
      }
    })

    const onLine = Effect.fnUntraced(function* (text: string) {
      const line = yield* Schema.decodeEffect(Line)(text)
      if ("failure" in line) return yield* new RuleBroken({ message: line.failure.report })
      const { report } = line
      total.runs += report.runs
      total.repeated += report.repeated
      total.steps += report.steps
      total.sessions += report.sessions
      total.struck += report.struck
      for (const [situation, count] of Object.entries(report.situations)) {
        situations.set(situation, (situations.get(situation) ?? 0) + count)
      }
      if (total.runs % (10 * batch) === 0) yield* Console.error(yield* figures)
    })

    const share = (index: number) => Math.floor(((index + 1) * runs) / workers) - Math.floor((index * runs) / workers)
    const worker = Effect.fn(function* (index: number) {
      const node = path.resolve(import.meta.dirname, "../node_modules/.bin/node")
      const script = path.join(import.meta.dirname, "lifecycle-worker.ts")
      const args = ["--runs", String(share(index)), "--seed", `${seed} ${index}`, "--batch", String(batch)]
      const handle = yield* spawner.spawn(
        ChildProcess.make(node, [script, ...args], {
          extendEnv: true,
          stdin: "ignore",
          stderr: "inherit",
          forceKillAfter: "1 second"
        })
      )
      yield* handle.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.runForEach(onLine))
      const code = yield* handle.exitCode
      if (code !== 0) return yield* new RuleBroken({ message: `worker ${index} exited with ${code}` })
    }, Effect.scoped)

    yield* Effect.forEach(
      Array.from({ length: workers }, (_, index) => index),
      worker,
      {
        concurrency: workers,
        discard: true
      }
    ).pipe(Effect.ensuring(summary))
  })
)

NodeRuntime.runMain(Command.run(long, { version: "1" }).pipe(Effect.provide(NodeServices.layer)))
