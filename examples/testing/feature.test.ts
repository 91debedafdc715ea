/** The same feature, under everything that can happen around it. */
import { Environment } from "@effect-sandbox/core"
import { Interruption, LeakCheck, Lifecycle, SimDriver } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { count, Notebook, Office } from "./Notebook.ts"

const features = [Notebook.feature] as const

it.effect("leaves nothing: no fiber, timer, process or open file", () =>
  LeakCheck.run(Effect.asVoid(count("to be or not to be").pipe(Effect.provide(Office.layer)))).pipe(
    Effect.provide(SimDriver.layer())
  )
)

it.effect("can be interrupted at any turn of a session, and the environment serves as before", () =>
  Effect.gen(function* () {
    const stats = yield* Interruption.environment({
      phase: "session",
      make: Environment.make({ images: ["notes:1"], pool: 1, features }),
      body: Effect.flatMap(Notebook, (notebook) => notebook.write("page", "text")),
      maxOps: [3, 8]
    })
    assert.isAbove(stats.disturbed, 100)
  }).pipe(Effect.provide(SimDriver.layer()))
)

it.effect("keeps the rules in random programs: deaths, faults, interruptions, limits, shutdowns", () =>
  Effect.gen(function* () {
    const report = yield* Lifecycle.check({
      features,
      images: ["notes:1", "notes:2"],
      use: Effect.flatMap(Notebook, (notebook) =>
        Effect.andThen(notebook.write("page", "three more words"), notebook.words("page"))
      ),
      runs: 50,
      seed: "notebook"
    })
    assert.strictEqual(report.runs, 50)
  })
)
