/** A busy afternoon in virtual time: more callers than places, slow starts, failures, an outage, broken sandboxes. */
import { Environment, EventRecorder, Feature, Sandbox, type SandboxEvent } from "@effect-sandbox/core"
import { FaultPlan, Latency, SimDriver } from "@effect-sandbox/testing"
import { Context, Effect, Fiber, Layer, Random, Scope } from "effect"
import { TestClock } from "effect/testing"

class Judge extends Context.Service<Judge, { readonly score: (points: number) => Effect.Effect<number> }>()(
  "app/Judge"
) {
  static readonly feature = Feature.make(Judge, {
    setup: Effect.as(Effect.sleep("300 millis"), {
      session: Effect.gen(function* () {
        const sandbox = yield* Sandbox
        yield* Effect.sleep("40 millis")
        return Judge.of({ score: (points) => sandbox.activity("score", Effect.as(Effect.sleep(points), points)) })
      })
    })
  })
}

export interface Options {
  readonly id?: string | undefined
  readonly tasks?: number | undefined
  /** How many tasks run at the same time. */
  readonly callers?: number | undefined
  readonly pool?: { readonly min: number; readonly max: number } | undefined
  readonly startMillis?: number | undefined
  /** Default: false. */
  readonly faults?: boolean | undefined
  readonly shutDown?: boolean | undefined
  /** What is looked at before the environment shuts down, when all tasks are done. */
  readonly inspect?: ((environment: Environment.Environment<unknown>) => Effect.Effect<void>) | undefined
}

/** Runs it, on the test clock of the test, and gives what was published. */
export const run = (options: Options = {}): Effect.Effect<ReadonlyArray<SandboxEvent.SandboxEvent>, unknown> =>
  Effect.gen(function* () {
    const {
      callers = 16,
      faults = false,
      pool = { min: 2, max: 6 },
      shutDown = true,
      startMillis = 1500,
      tasks = 120
    } = options
    const scope = yield* Scope.make()
    const driver = SimDriver.layer({
      seed: 7,
      latency: {
        create: Latency.longTailed({ median: startMillis, p99: startMillis * 4 }),
        reset: "80 millis",
        destroy: "200 millis"
      },
      faults: faults ? [FaultPlan.outage({ from: "30 seconds", to: "50 seconds" })] : []
    })
    const context = yield* Layer.buildWithScope(Layer.mergeAll(driver, EventRecorder.layer), scope)
    const recorder = Context.get(context, EventRecorder)
    const sim = Context.get(context, SimDriver)
    const starting = yield* Environment.make({
      id: options.id ?? "app/Lab",
      images: ["python:3.12"],
      pool,
      features: [Judge.feature],
      acquireTimeout: "5 minutes",
      outageGracePeriod: "5 minutes"
    }).pipe(Scope.provide(scope), Effect.provideContext(context), Effect.forkChild({ startImmediately: true }))
    yield* TestClock.adjust("20 seconds")
    const environment = yield* Fiber.join(starting)
    const task = (index: number) =>
      Effect.gen(function* () {
        const millis = Math.round(200 * Math.exp(3 * (yield* Random.next)))
        yield* environment.withSession(
          { id: `task-${index}` },
          Effect.gen(function* () {
            const sandbox = yield* Sandbox
            yield* sandbox.activity("compile", Effect.sleep(millis / 4))
            if (index % 17 === 5)
              return yield* sandbox.activity("run tests", Effect.fail(new TypeError(`task ${index} has no answer`)))
            if (faults && index % 41 === 20) yield* sim.kill(sandbox.id, "out of memory")
            yield* sandbox.activity("run tests", Effect.sleep(millis))
            const judge = yield* Judge
            yield* judge.score(millis / 10)
          })
        )
      }).pipe(Effect.exit)
    const work = yield* Effect.forEach(Array.from({ length: tasks }).keys(), task, {
      concurrency: callers,
      discard: true
    }).pipe(Random.withSeed("tasks"), Effect.forkChild({ startImmediately: true }))
    while (work.pollUnsafe() === undefined) yield* TestClock.adjust("500 millis")
    if (options.inspect !== undefined) yield* options.inspect(environment)
    if (shutDown) {
      const closing = yield* Effect.forkChild(Scope.close(scope, yield* Effect.exit(Effect.void)), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(closing)
    }
    return yield* recorder.events
  })
