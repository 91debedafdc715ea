/** Runs of simulated sandboxes, for tests of what makes something of their events. */
import { Environment, EventRecorder, Sandbox } from "@effect-sandbox/core"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import { FaultPlan, FeatureProbe, Latency, SimDriver } from "@effect-sandbox/testing"
import { Effect, Fiber, Layer, Random, Schema } from "effect"
import { TestClock } from "effect/testing"

/** What somebody does wrong in a sandbox. */
export class WrongAnswerError extends Schema.TaggedError<WrongAnswerError>()("WrongAnswerError", {
  text: Schema.String
}) {
  override get message() {
    return this.text
  }
}

export interface SampleOptions {
  readonly sessions?: number | undefined
  readonly faults?: FaultPlan.FaultPlan | undefined
  readonly seed?: string | undefined
}

/** Something of everything: a sandbox that dies, a start that fails, an outage, features that fail. */
export const faults: FaultPlan.FaultPlan = [
  { at: ["spawn"], calls: [40, 130, 131], how: { _tag: "Kill" } },
  { at: ["create"], image: "python", calls: [3], how: { _tag: "Fail", message: "no space left on device" } },
  { at: ["reset"], calls: [55], how: { _tag: "Fail", message: "the workspace could not be emptied" } },
  FaultPlan.outage({ from: "17 seconds", to: "27 seconds", image: "node" })
]

/** The events of a batch of sessions with two images, under virtual time. */
export const sample = (options: SampleOptions = {}): Effect.Effect<ReadonlyArray<SandboxEvent>> =>
  Effect.gen(function* () {
    const shell = FeatureProbe.make("shell")
    const notebook = FeatureProbe.make("notebook")
    shell.on("setup", { _tag: "Slow", millis: 300 })
    notebook.on("session", { _tag: "Slow", millis: 60 })
    notebook.on("session", { _tag: "Fail", message: "the kernel did not answer" }, { calls: [17] })
    const sessions = options.sessions ?? 120
    const recorder = yield* EventRecorder
    const program = Effect.gen(function* () {
      const environment = yield* Environment.make({
        id: "grade",
        images: ["python", "node"],
        features: [shell.feature, notebook.feature],
        pool: { python: { min: 2, max: 4 }, node: { min: 1, max: 2 } },
        keepaliveInterval: "10 seconds",
        outageGracePeriod: "6 seconds",
        acquireTimeout: "30 seconds"
      })
      yield* Effect.forEach(
        Array.from({ length: sessions }, (_, index) => index),
        (index) =>
          environment
            .withSession(
              { id: `task-${String(index).padStart(3, "0")}`, image: index % 3 === 2 ? "node" : "python" },
              grade(index)
            )
            .pipe(Effect.ignoreCause),
        { concurrency: 9, discard: true }
      )
      yield* environment.drain
    }).pipe(Effect.scoped)
    const fiber = yield* Effect.forkChild(program)
    for (let step = 0; step < 4000 && fiber.pollUnsafe() === undefined; step++) yield* TestClock.adjust("250 millis")
    yield* Fiber.join(fiber)
    return yield* recorder.events
  }).pipe(
    Effect.provide(
      Layer.mergeAll(
        EventRecorder.layer,
        SimDriver.layer({
          seed: options.seed ?? "sample",
          faults: options.faults ?? faults,
          latency: {
            create: Latency.longTailed({ median: "600 millis", p99: "3 seconds" }),
            reset: "40 millis",
            spawn: Latency.longTailed({ median: "120 millis", p99: "1200 millis" }),
            destroy: "150 millis"
          }
        })
      )
    ),
    Effect.orDie,
    Random.withSeed(options.seed ?? "sample")
  ) as Effect.Effect<ReadonlyArray<SandboxEvent>> // with the test's clock

/** One task: some commands in a named activity, and now and then a wrong answer. */
const grade = (index: number) =>
  Effect.gen(function* () {
    const sandbox = yield* Sandbox
    yield* sandbox.exec("echo", ["compile"])
    yield* sandbox.activity(
      "run the tests",
      Effect.forEach(
        [1, 2, 3].slice(0, 1 + (index % 3)),
        (round) => Effect.andThen(Effect.sleep(150 * (1 + (index % 7))), sandbox.exec("echo", [String(round)])),
        { discard: true }
      )
    )
    if (index % 11 === 7) {
      return yield* new WrongAnswerError({
        text: `expected 42, got ${index} </script><img src=x onerror="document.title='owned'">`
      })
    }
    if (index === 50) yield* Effect.sleep("9 seconds")
  })
