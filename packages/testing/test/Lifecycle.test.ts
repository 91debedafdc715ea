import { Feature, Sandbox, SandboxId, SandboxStateError } from "@effect-sandbox/core"
import { Lifecycle } from "@effect-sandbox/testing"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, FileSystem, Schema, Scope } from "effect"

class Tool extends Context.Service<Tool, { readonly run: Effect.Effect<void> }>()("test/Tool") {}

const ok = Tool.of({ run: Effect.void })

/** Starts a process that nobody ends. */
const daemon = Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("sh", ["-c", "sleep 100000 &"]))

/** The rule that was broken. */
const broken = <R>(check: Effect.Effect<Lifecycle.Report, Lifecycle.CheckError, R>) =>
  Effect.flip(Effect.catchTag(check, "InvalidConfigurationError", Effect.die))

/** What the checker says of a feature that it must not accept. */
const complaint = (feature: Feature.Feature<Tool, unknown, never>, runs = 200) =>
  broken(Lifecycle.check({ features: [feature], use: Effect.flatMap(Tool, (tool) => tool.run), runs, seed: "bad" }))

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

  it.effect("I7 one that leaves a file of its sandbox open", () =>
    Effect.gen(function* () {
      const error = yield* complaint(
        Feature.make(Tool, {
          setup: Effect.succeed({
            session: Effect.gen(function* () {
              const files = yield* FileSystem.FileSystem
              yield* files.writeFileString("log.txt", "")
              yield* Scope.provide(files.open("log.txt"), Scope.makeUnsafe()) // nobody closes it
              return ok
            })
          })
        })
      )
      assert.deepStrictEqual([error.rule, error.violation], ["I7", "files that are left open in env/alpha:0:0"])
    })
  )

  it.effect.each([
    ["session", (start: typeof daemon) => ({ setup: Effect.succeed({ session: Effect.as(start, ok) }) })],
    ["sandbox", (start: typeof daemon) => ({ setup: Effect.as(start, { session: Effect.succeed(ok) }) })]
  ] as const)("I7 one that leaves a process of its %s running", ([, recipe]) =>
    Effect.gen(function* () {
      const error = yield* complaint(Feature.make(Tool, recipe(daemon)))
      assert.strictEqual(error.rule, "I7")
      assert.include(error.message, "sleep 100000")
    })
  )

  it.effect("I1 I7 one that is not torn down when its set-up is interrupted", () =>
    Effect.gen(function* () {
      const error = yield* complaint(
        Feature.make(Tool, {
          setup: Effect.gen(function* () {
            const helper = yield* Effect.forkDetach(Effect.never)
            yield* Effect.sleep("1 milli") // whoever is interrupted here never comes to the next line
            yield* Effect.addFinalizer(() => Effect.sync(() => helper.interruptUnsafe()))
            return { session: Effect.succeed(ok) }
          })
        })
      )
      assert.deepStrictEqual([error.rule, error.violation], ["I7", "fibers that are left"])
    })
  )

  it.effect("I7 what is left outside is named by the caller", () =>
    Effect.gen(function* () {
      const connections = new Set<string>()
      const feature = Feature.make(Tool, {
        setup: Effect.gen(function* () {
          const { id } = yield* Sandbox
          yield* Effect.sync(() => connections.add(id))
          yield* Effect.sleep("1 second")
          yield* Effect.addFinalizer(() => Effect.sync(() => connections.delete(id)))
          return { session: Effect.succeed(ok) }
        })
      })
      const leftovers = Effect.sync(() => {
        const left = [...connections]
        connections.clear()
        return left
      })
      const error = yield* broken(Lifecycle.check({ features: [feature], leftovers, runs: 300, seed: "bad" }))
      assert.deepStrictEqual([error.rule, error.violation], ["I7", "what the features leave outside"])
      assert.include(error.message, "env/")
    })
  )

  it.effect("X6 one whose teardown fails by itself", () =>
    Effect.gen(function* () {
      const fails = Effect.addFinalizer(() => Effect.die(new Error("no such connection")))
      const ofSandbox = yield* complaint(
        Feature.make(Tool, { setup: Effect.as(fails, { session: Effect.succeed(ok) }) })
      )
      assert.strictEqual(ofSandbox.violation, "teardown of test/Tool fails, and nothing is wrong")
      const ofSession = yield* complaint(
        Feature.make(Tool, { setup: Effect.succeed({ session: Effect.as(fails, ok) }) })
      )
      assert.strictEqual(ofSession.violation, "session teardown of test/Tool fails, and nothing is wrong")
    })
  )

  it.effect("X5 one whose set-up fails by itself", () =>
    Effect.gen(function* () {
      const error = yield* complaint(
        Feature.make(Tool, { setup: Effect.succeed({ session: Effect.fail("no such command") }) })
      )
      assert.deepStrictEqual(
        [error.rule, error.violation],
        ["X5", "session set-up of test/Tool fails, and nothing is wrong"]
      )
      assert.include(error.message, "no such command")
    })
  )

  it.effect("X3 one that raises the state error of another sandbox", () =>
    Effect.gen(function* () {
      const stranger = new SandboxStateError({ sandboxId: SandboxId.make("env/alpha:7:7"), operation: "connect" })
      const error = yield* complaint(Feature.make(Tool, { setup: Effect.succeed({ session: Effect.fail(stranger) }) }))
      assert.deepStrictEqual(
        [error.rule, error.violation],
        ["X3", "session set-up of test/Tool breaks another sandbox"]
      )
    })
  )

  it.effect("P4 one that hangs while it is set up", () =>
    Effect.gen(function* () {
      const error = yield* complaint(Feature.make(Tool, { setup: Effect.succeed({ session: Effect.never }) }))
      assert.include(["P4", "H2", "H3"], error.rule)
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

describe("configurations", () => {
  it.effect("X1 one in which no fiber gets anywhere is refused, and so is any other that no program can have", () =>
    Effect.gen(function* () {
      const refused = (configuration: Partial<Lifecycle.Configuration>) =>
        Effect.map(Effect.flip(Lifecycle.check({ runs: 1, configuration })), (error) =>
          error._tag === "InvalidConfigurationError" ? error.issues.map(({ path }) => path) : error.message
        )
      assert.deepStrictEqual(yield* refused({ maxOpsBeforeYield: 2 }), ["configuration.maxOpsBeforeYield"])
      assert.deepStrictEqual(yield* refused({ missedPings: 0, probes: 4 }), [
        "configuration.missedPings",
        "configuration.probes"
      ])
    })
  )

  it.effect("the smallest number of operations between two turns lets programs run to their end", () =>
    Effect.gen(function* () {
      const report = yield* Lifecycle.check({ runs: 20, seed: "turns", configuration: { maxOpsBeforeYield: 3 } })
      assert.isAbove(report.sessions, 0)
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
      const again = yield* broken(Lifecycle.check({ features: [feature], replay: first.replay }))
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
