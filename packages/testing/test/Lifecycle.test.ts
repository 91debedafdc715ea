import { Feature, Sandbox } from "@effect-sandbox/core"
import { Lifecycle } from "@effect-sandbox/testing"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Schema } from "effect"

class Tool extends Context.Service<Tool, { readonly run: Effect.Effect<void> }>()("test/Tool") {}

const ok = Tool.of({ run: Effect.void })

/** What the checker says of a feature that it must not accept. */
const complaint = (feature: Feature.Feature<Tool, unknown, never>, runs = 200) =>
  Effect.flip(
    Lifecycle.check({ features: [feature], use: Effect.flatMap(Tool, (tool) => tool.run), runs, seed: "bad" })
  )

describe("good features", () => {
  it.effect("I1 I2 I3 I4 I5 I6 I7 I8 I9 I10 keep the rules in every program", () =>
    Effect.gen(function* () {
      const good = Feature.make(Tool, {
        setup: Effect.gen(function* () {
          const sandbox = yield* Sandbox
          return { session: Effect.succeed({ run: Effect.ignore(sandbox.exec("echo", ["used"])) }) }
        })
      })
      const report = yield* Lifecycle.check({
        features: [good],
        use: Effect.flatMap(Tool, (tool) => tool.run),
        runs: 200,
        seed: "good"
      })
      assert.strictEqual(report.runs, 200)
      assert.isAtLeast(report.repeated, 5)
      assert.isAbove(report.sessions, 200)
      assert.isAbove(report.struck, 100)
      for (const situation of [
        "died: InSession",
        "ended: limit",
        "ended: outage",
        "ended: overload",
        "interrupted: in a session"
      ]) {
        assert.isAbove(report.situations[situation] ?? 0, 0, situation)
      }
    })
  )

  it.effect("I10 the same seed gives the same programs", () =>
    Effect.gen(function* () {
      const one = yield* Lifecycle.check({ runs: 30, seed: 7 })
      assert.deepStrictEqual(yield* Lifecycle.check({ runs: 30, seed: 7 }), one)
      assert.notDeepEqual((yield* Lifecycle.check({ runs: 30, seed: 8 })).situations, one.situations)
    })
  )

  it.effect("without faults nothing dies and nothing strikes", () =>
    Effect.gen(function* () {
      const report = yield* Lifecycle.check({ runs: 50, seed: "quiet", faults: false })
      assert.strictEqual(report.struck, 0)
      assert.deepStrictEqual(
        Object.keys(report.situations).filter((situation) => situation.startsWith("died")),
        []
      )
    })
  )
})

describe("bad features are caught", () => {
  it.effect("I7 one that leaves a fiber", () =>
    Effect.gen(function* () {
      const error = yield* complaint(
        Feature.make(Tool, {
          setup: Effect.succeed({ session: Effect.as(Effect.forkDetach(Effect.never), ok) })
        })
      )
      assert.strictEqual(error.rule, "I7")
      assert.include(error.message, "fiber")
      assert.isAtMost(error.program.steps.length, 2, "the smallest program that opens a session")
    })
  )

  it.effect("I7 one that leaves a timer", () =>
    Effect.gen(function* () {
      const error = yield* complaint(
        Feature.make(Tool, {
          setup: Effect.as(Effect.forkDetach(Effect.sleep("10000 days")), { session: Effect.succeed(ok) })
        })
      )
      assert.strictEqual(error.rule, "I7")
    })
  )

  it.effect("I7 one whose set-up cannot be interrupted and never ends", () =>
    Effect.gen(function* () {
      const error = yield* complaint(
        Feature.make(Tool, {
          setup: Effect.succeed({ session: Effect.as(Effect.uninterruptible(Effect.never), ok) })
        })
      )
      assert.strictEqual(error.rule, "I7")
      assert.include(error.violation, "did not come to its end")
    })
  )

  it.effect("X2 one whose use dies", () =>
    Effect.gen(function* () {
      const error = yield* complaint(
        Feature.make(Tool, {
          setup: Effect.succeed({ session: Effect.succeed({ run: Effect.die(new Error("a bug of the feature")) }) })
        })
      )
      assert.strictEqual(error.rule, "I9")
      assert.include(error.message, "a bug of the feature")
      assert.include(error.message, "Use")
    })
  )
})

describe("what it prints", () => {
  it.effect("a failure replays by its token, and says so", () =>
    Effect.gen(function* () {
      const feature = Feature.make(Tool, {
        setup: Effect.succeed({ session: Effect.as(Effect.forkDetach(Effect.never), ok) })
      })
      const first = yield* complaint(feature)
      assert.include(first.message, `Lifecycle.check({ replay: "${first.replay}" })`)
      const again = yield* Effect.flip(Lifecycle.check({ features: [feature], replay: first.replay }))
      assert.deepStrictEqual([again.rule, again.violation], [first.rule, first.violation])
      assert.deepStrictEqual(again.program, first.program)
    })
  )

  it.effect("a program as a timeline", () =>
    Effect.gen(function* () {
      const program = yield* Schema.decodeUnknownEffect(Lifecycle.Program)({
        configuration: { images: [{ id: "alpha", min: 1, max: 1 }], seed: 1 },
        faults: [],
        steps: [
          { _tag: "Open", who: 0, image: "alpha", id: "s1" },
          { _tag: "Activity", who: 0, millis: 1500 },
          { _tag: "Advance", millis: 2000 },
          { _tag: "Finish", who: 0 }
        ]
      })
      const trace = yield* Lifecycle.run(program)
      assert.isUndefined(trace.found)
      const lines = Lifecycle.format(program, trace).split("\n")
      const from = lines.findIndex((line) => line.trimStart().startsWith("time"))
      assert.deepStrictEqual(
        lines.slice(from).map((line) => line.trimEnd()),
        [
          "   time  step  what",
          "   0 ms          env starting",
          "   0 ms          env/alpha:0:0 Created -> SettingUp",
          "   0 ms          env/alpha:0:0 started",
          "   0 ms          env/alpha:0:0 SettingUp -> Ready",
          "   0 ms          env started",
          "   0 ms     0  Open #0 image alpha id s1",
          "   0 ms          env/alpha:0:0 Ready -> Acquired",
          "   0 ms          env/alpha:0:0 Acquired -> SettingUp",
          "   0 ms          env/alpha:0:0 SettingUp -> InSession",
          "   0 ms          session s1 started",
          "   0 ms          u0 is in env/alpha:0:0",
          "   0 ms     1  Activity #0 millis 1500",
          "   0 ms     2  Advance millis 2000",
          "1500 ms          env/alpha:0:0 work",
          "2000 ms     3  Finish #0",
          "2000 ms          env/alpha:0:0 InSession -> ExitingSession",
          "2000 ms          session s1 ended",
          "2000 ms          env/alpha:0:0 ExitingSession -> SettingUp",
          "2000 ms          env/alpha:0:0 SettingUp -> Ready",
          "2000 ms          u0 ends: the value of u0",
          "2000 ms   end  the end: every second user finishes",
          "2000 ms   end  the environment is shut down",
          "2000 ms          env shutting down",
          "2000 ms          env/alpha:0:0 Ready -> ShuttingDown",
          "2000 ms          env/alpha:0:0 ShuttingDown -> Offline",
          "2000 ms          env/alpha:0:0 shut down",
          "2000 ms          env shut down",
          "2000 ms   end  its scope is closed"
        ]
      )
    })
  )
})
