import { SandboxDriver, SandboxStateError } from "@effect-sandbox/core"
import * as DriverConformance from "@effect-sandbox/testing/DriverConformance"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schema } from "effect"

const { CheckFailed, checks, format, inTopic, run } = DriverConformance

/** A driver that makes nothing. */
const driver = Layer.succeed(SandboxDriver, {
  name: "stub",
  create: ({ sandboxId }) => Effect.fail(new SandboxStateError({ sandboxId, operation: "create" }))
})

const check = inTopic("topic")
const passing = check("passes", "it passes", { marks: ["F1"] }, () => Effect.void)
const failing = check("fails", "it fails", { marks: ["F2", "S1"] }, () =>
  Effect.fail(new CheckFailed({ message: "two numbers", expected: 1, actual: [2, "3"] }))
)

const runOf = (own: ReadonlyArray<DriverConformance.Check>, options: DriverConformance.Options = {}) =>
  run(driver, { image: "image", ...options, checks: own })

/** How each check ended, and the message of those that failed. */
const endsOf = ({ results }: DriverConformance.Report) =>
  results.map(({ id, outcome }) => [id, outcome._tag === "Failed" ? outcome.message : outcome._tag])

describe("the checks", () => {
  it("have unique ids in kebab case, and say what is true of a driver that passes", () => {
    assert.isAtLeast(checks.length, 160)
    const ids = checks.map(({ id }) => id)
    assert.strictEqual(new Set(ids).size, ids.length)
    for (const { id, needs, title } of checks) {
      assert.match(id, /^[a-z0-9]+(-[a-z0-9]+)*$/)
      assert.match(title, /^[^A-Z].*[^.]$/)
      assert.strictEqual(new Set(needs).size, needs.length, id)
    }
  })

  it("cover the failures of the field that every driver must withstand", () => {
    const marks = new Set(checks.flatMap((one) => one.marks))
    const wanted = [1, 2, 3, 4, 5, 6, 7, 13, 14, 16, 17, 18, 19, 20, 21, 24, 25, 26, 27, 29, 30]
    assert.deepStrictEqual(
      wanted.filter((number) => !marks.has(`F${number}`)),
      []
    )
    assert.isTrue(marks.has("S1") && marks.has("S4") && marks.has("I7"))
  })

  it("are useful without a shell, and without any program", () => {
    const without = (...lacking: ReadonlyArray<string>) =>
      checks.filter((one) => !one.needs.some((needed) => lacking.includes(needed))).length
    assert.isAtLeast(without("shell"), 140)
    assert.isAtLeast(without("shell", "programs"), 100)
  })

  it("need only capabilities that are documented", () => {
    const known = new Set<string>(DriverConformance.capabilities.map(({ name }) => name))
    for (const { needs } of checks) for (const needed of needs) assert.isTrue(known.has(needed), needed)
    for (const { description } of DriverConformance.capabilities) assert.isAtLeast(description.length, 20)
  })
})

describe("run", () => {
  it.live("tells what passed, what failed and how, and what was skipped and why", () =>
    Effect.gen(function* () {
      const report = yield* runOf(
        [
          passing,
          failing,
          check("skipped", "it needs much", { needs: ["death", "home", "symlinks"] }, () => Effect.die("it was run")),
          check("off", "it needs what is switched off", { needs: ["symlinks", "watch"] }, () =>
            Effect.die("it was run")
          )
        ],
        { capabilities: { watch: false } }
      )
      assert.strictEqual(report.driver, "stub")
      assert.strictEqual(report.image, "image")
      assert.deepStrictEqual(
        report.results.map(({ outcome }) => outcome),
        [
          { _tag: "Passed" },
          { _tag: "Failed", message: "two numbers", expected: "1", actual: '[2,"3"]' },
          {
            _tag: "Skipped",
            reason: "death: no `kill` in the options; home: not declared in `capabilities`",
            missing: ["death", "home"]
          },
          { _tag: "Skipped", reason: "watch: switched off in `capabilities`", missing: ["watch"] }
        ]
      )
      assert.deepStrictEqual(
        [report.capabilities["watch"], report.capabilities["symlinks"], report.capabilities["death"]],
        [false, true, false]
      )
    })
  )

  it.live("takes an unexpected error, a defect, an interruption and a finalizer that dies for failures", () =>
    Effect.gen(function* () {
      const report = yield* runOf([
        check("error", "it fails otherwise", {}, (bench) => bench.create()),
        check("defect", "it dies", {}, () => Effect.die(new Error("boom"))),
        check("thrown", "it throws", {}, () => {
          throw new Error("thrown")
        }),
        check("interrupted", "it is interrupted", {}, () => Effect.interrupt),
        check("finalizer", "it cannot clean up", {}, () => Effect.addFinalizer(() => Effect.die(new Error("left")))),
        check("both", "it fails and cannot clean up", {}, () =>
          Effect.andThen(
            Effect.addFinalizer(() => Effect.die(new Error("left"))),
            Effect.fail(new CheckFailed({ message: "failed" }))
          )
        )
      ])
      assert.deepStrictEqual(endsOf(report), [
        ["error", `an unexpected error: ${"Sandbox conformance/image:0:0 broke during create"}`],
        ["defect", "a defect: boom"],
        ["thrown", "a defect: thrown"],
        ["interrupted", "something interrupted the check"],
        ["finalizer", "a defect at the end of the check: left"],
        ["both", "failed\nand a defect at the end of the check: left"]
      ])
    })
  )

  it.live("F3 a check that hangs fails at its time limit and says where, also when nothing can interrupt it", () =>
    Effect.gen(function* () {
      const report = yield* runOf(
        [
          check("hangs", "it hangs", {}, (bench) => bench.during("reading a file", Effect.never)),
          check("patient", "it takes longer", { patience: 5 }, () => Effect.sleep("600 millis")),
          check("stuck", "it cannot be interrupted", {}, (bench) =>
            Effect.uninterruptible(bench.during("waiting", Effect.never))
          )
        ],
        { timeLimit: "300 millis" }
      )
      assert.deepStrictEqual(endsOf(report), [
        ["hangs", "it hangs: not at its end after 0.3 s, in the middle of reading a file"],
        ["patient", "Passed"],
        [
          "stuck",
          "it hangs: not at its end after 0.3 s, in the middle of waiting; and it cannot be interrupted within 5 s"
        ]
      ])
    })
  )

  it.live("runs so many checks at a time, those that want the driver for themselves alone, and reports in order", () =>
    Effect.gen(function* () {
      let running = 0
      let most = 0
      const alone: Array<number> = []
      const one = (exclusive: boolean) => () =>
        Effect.gen(function* () {
          running++
          most = Math.max(most, running)
          yield* Effect.sleep("20 millis")
          if (exclusive) alone.push(running)
          running--
        })
      const own = Array.from({ length: 12 }, (_, index) =>
        check(`check-${index}`, "it counts", { exclusive: index % 4 === 0 }, one(index % 4 === 0))
      )
      const report = yield* runOf(own, { concurrency: 3 })
      assert.strictEqual(most, 3)
      assert.deepStrictEqual(alone, [1, 1, 1])
      assert.deepStrictEqual(
        report.results.map(({ id }) => id),
        own.map(({ id }) => id)
      )
    })
  )

  it.live("runs what is selected by id, topic and mark", () =>
    Effect.gen(function* () {
      const own = [passing, failing, inTopic("other")("third", "it passes", { marks: ["F2"] }, () => Effect.void)]
      const selected = (only: DriverConformance.Options["only"]) =>
        Effect.map(runOf(own, { only }), (report) => report.results.map(({ id }) => id))
      assert.deepStrictEqual(yield* selected({}), ["passes", "fails", "third"])
      assert.deepStrictEqual(yield* selected({ ids: ["third", "passes"] }), ["passes", "third"])
      assert.deepStrictEqual(yield* selected({ topics: ["topic"] }), ["passes", "fails"])
      assert.deepStrictEqual(yield* selected({ marks: ["F2"] }), ["fails", "third"])
      assert.deepStrictEqual(yield* selected({ marks: ["F2"], topics: ["other"] }), ["third"])
    })
  )

  it.live("X1 refuses options that cannot work, each with its path, before the driver is made", () =>
    Effect.gen(function* () {
      const unmade = Layer.effect(SandboxDriver, Effect.die("the driver was made"))
      const wrong: Record<string, unknown> = {
        image: "",
        capabilities: { shel: true, home: 1 },
        timeLimit: "soon",
        concurrency: 0,
        hostFile: { path: "/x" }
      }
      const error = yield* Effect.flip(run(unmade, wrong))
      assert.strictEqual(error._tag, "InvalidConfigurationError")
      assert.deepStrictEqual(error.issues.map(({ path }) => path).sort(), [
        "capabilities.home",
        "capabilities.shel",
        "concurrency",
        "hostFile.read",
        "image",
        "timeLimit"
      ])
      const unknown = yield* Effect.flip(run(unmade, { only: { ids: ["exit-zero", "exit-zeros"], marks: ["F99"] } }))
      assert.deepStrictEqual(unknown.issues, [
        { path: "only.ids.1", message: 'no check has "exit-zeros"' },
        { path: "only.marks.0", message: 'no check has "F99"' }
      ])
    })
  )

  it.live("fails with the error of the layer when the driver cannot be made", () =>
    Effect.gen(function* () {
      const broken = Layer.effect(SandboxDriver, Effect.fail("no engine" as const))
      assert.deepStrictEqual(yield* Effect.exit(run(broken)), Exit.fail("no engine" as const))
    })
  )
})

describe("a report", () => {
  it.live("can be stored and read", () =>
    Effect.gen(function* () {
      const codec = Schema.toCodecJson(DriverConformance.Report)
      const report = yield* runOf([
        passing,
        failing,
        check("skipped", "it needs a user", { needs: ["user"] }, () => Effect.void)
      ])
      const stored = JSON.stringify(yield* Schema.encodeEffect(codec)(report))
      assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(codec)(JSON.parse(stored)), report)
    })
  )

  it("is read as a table, with failures, and with what is missing", () => {
    const result = (id: string, outcome: DriverConformance.Outcome, topic = "files") => ({
      id,
      topic,
      title: `the title of ${id}`,
      marks: ["F1", "S1"],
      outcome,
      durationMillis: 1500
    })
    const text = format({
      driver: "mine",
      image: "debian",
      startedAt: 0,
      durationMillis: 4200,
      capabilities: {},
      results: [
        result("good", { _tag: "Passed" }),
        result("bad", { _tag: "Failed", message: "the content\ndiffers", expected: '"a"', actual: '"b"' }),
        result(
          "lost",
          { _tag: "Skipped", reason: "death: no `kill` in the options", missing: ["death", "home"] },
          "death"
        ),
        result("late", { _tag: "Skipped", reason: "death: no `kill` in the options", missing: ["death"] }, "death")
      ]
    })
    assert.deepStrictEqual(text.split("\n"), [
      "Driver mine on image debian: 1 passed, 1 failed, 2 skipped of 4 checks in 4.2 s",
      "",
      "topic  passed  failed  skipped   time",
      "files       1       1        0  3.0 s",
      "death       0       0        2  3.0 s",
      "total       1       1        2  6.0 s",
      "",
      "Failed:",
      "  files / bad: the title of bad (F1, S1)",
      "    the content",
      "    differs",
      '    expected "a"',
      '    actual   "b"',
      "",
      "Missing capabilities:",
      "  home (not declared in `capabilities`): `home` outlives `reset`, and sessions cannot write to it",
      "    skips lost",
      "  death (no `kill` in the options): the sandbox can die by itself, and the suite can make it",
      "    skips lost, late"
    ])
  })
})
