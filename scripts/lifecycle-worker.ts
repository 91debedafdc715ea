/**
 * Runs random programs on the core that it finds beside it, and prints what came of them as a line of JSON. For
 * `mutate.ts` and `long.ts`, which run several of it.
 *
 *     node scripts/lifecycle-worker.ts --runs 1000 --seed a --batch 500
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Option, Result } from "effect"
import { Command, Flag } from "effect/cli"
import * as Lifecycle from "../packages/testing/src/Lifecycle.ts"

const worker = Command.make(
  "lifecycle-worker",
  {
    runs: Flag.Int("runs").pipe(Flag.withDescription("Programs to run"), Flag.withDefault(1000)),
    seed: Flag.String("seed").pipe(Flag.withDescription("Where the programs come from"), Flag.withDefault("lifecycle")),
    batch: Flag.Int("batch").pipe(Flag.withDescription("Programs between two lines of output"), Flag.optional),
    shrinks: Flag.Int("shrinks").pipe(Flag.withDescription("Programs to try for a smaller one"), Flag.withDefault(3000))
  },
  Effect.fn(function* ({ batch, runs, seed, shrinks }) {
    const size = Option.getOrElse(batch, () => runs)
    for (let done = 0, part = 0; done < runs; done += size, part++) {
      const result = yield* Effect.result(
        Lifecycle.check({
          runs: Math.min(size, runs - done),
          seed: Option.isNone(batch) ? seed : `${seed} ${part}`,
          maxShrinks: shrinks
        }).pipe(Effect.catchTag("InvalidConfigurationError", Effect.die)) // none is given
      )
      if (Result.isFailure(result)) {
        const { program, report, rule, tries, violation } = result.failure
        const failure = {
          rule,
          violation,
          runs: done + result.failure.runs,
          tries,
          size: program.steps.length,
          program,
          report
        }
        return yield* Console.log(JSON.stringify({ failure }))
      }
      yield* Console.log(JSON.stringify({ report: result.success }))
    }
  })
)

Error.stackTraceLimit = 3 // programs make errors by the thousand, and nobody reads where

NodeRuntime.runMain(Command.run(worker, { version: "1" }).pipe(Effect.provide(NodeServices.layer)))
