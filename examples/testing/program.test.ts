/** Tests of a program and its feature on simulated sandboxes: nothing here runs a process or waits for a second. */
import { EventRecorder } from "@effect-sandbox/core/EventRecorder"
import {
  EventExpect,
  FaultPlan,
  Faults,
  Latency,
  SimDriver,
  SimProgram,
  TestEnvironment
} from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Context, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { count, CountError, Notebook, Office } from "./Notebook.ts"

// The built-in commands are enough here: `wc` counts what the feature has written to the simulated disk.
it.effect("counts the words of a text", () =>
  Effect.gen(function* () {
    assert.strictEqual(yield* count("to be or not to be"), 6)
  }).pipe(Effect.provide(TestEnvironment.layer(Office)))
)

// A command of one's own takes the place of the built-in one, and takes an hour of virtual time.
const slow = SimProgram.make("wc", () => Effect.as(Effect.sleep("1 hour"), 0))

it.effect("gives up on a count that takes too long", () =>
  Effect.gen(function* () {
    const counting = yield* Effect.forkChild(Effect.flip(count("a long story")))
    yield* TestClock.adjust("1 minute")
    const error = yield* Fiber.join(counting)
    assert.instanceOf(error, CountError)
    assert.strictEqual(error.message, "Page page cannot be counted: it takes too long")
    const sim = yield* SimDriver
    assert.strictEqual(sim.resources().processes, 0, "the command was killed")
  }).pipe(Effect.provide(TestEnvironment.layer(Office, { driver: { programs: [slow] } })))
)

it.effect("counts in another sandbox when the first one breaks", () =>
  Effect.gen(function* () {
    assert.strictEqual(yield* count("so it goes"), 3)
    const faults = yield* Faults
    assert.deepStrictEqual(
      faults.struck().map(({ call }) => `${call.point} ${call.operation} in ${call.sandboxId}`),
      ["spawn wc in examples/Office/notes:1:0:0"]
    )
    const recorder = yield* EventRecorder
    yield* EventExpect.inOrder(recorder, [
      "<broken> Ready -> Acquired",
      "session <first> started",
      { _tag: "SessionEnded", sessionId: "<first>", error: { isStateError: true } },
      "session <second> started",
      "session <second> ended"
    ])
  }).pipe(
    Effect.provide(
      TestEnvironment.layer(Office, {
        driver: { faults: [{ at: ["spawn"], operation: "wc", calls: [1], how: { _tag: "Kill" } }] }
      })
    )
  )
)

it.effect("is told of an outage, and works again when it is over", () =>
  Effect.gen(function* () {
    const early = yield* Effect.forkChild(Effect.flip(count("one two")))
    yield* TestClock.adjust("20 seconds")
    assert.strictEqual((yield* Fiber.join(early))._tag, "EnvironmentOutageError")
    yield* TestClock.adjust("2 minutes")
    assert.strictEqual(yield* count("one two three"), 3)
  }).pipe(
    Effect.provide(
      TestEnvironment.layer(Office, {
        config: { pool: { min: 0, max: 1 }, outageGracePeriod: "10 seconds" },
        driver: { faults: [FaultPlan.outage({ from: 0, to: "1 minute" })] }
      })
    )
  )
)

it.effect("a hundred texts share two sandboxes, however long each takes", () =>
  Effect.gen(function* () {
    const texts = Array.from({ length: 100 }, (_, index) => "word ".repeat(index))
    const counting = yield* Effect.forkChild(Effect.forEach(texts, count, { concurrency: "unbounded" }))
    yield* TestClock.adjust("1 hour")
    assert.deepStrictEqual(
      yield* Fiber.join(counting),
      texts.map((_, index) => index)
    )
    const sim = yield* SimDriver
    assert.strictEqual(sim.peak(), 2)
  }).pipe(
    Effect.provide(
      TestEnvironment.layer(Office, {
        // With `min: 1` the layer would wait for a sandbox before the test could let time pass.
        config: { pool: { min: 0, max: 2 } },
        driver: {
          seed: "a hundred texts",
          latency: {
            create: Latency.longTailed({ median: "200 millis", p99: "5 seconds" }),
            spawn: Latency.uniform("1 millis", "10 millis"),
            reset: "20 millis"
          }
        }
      })
    )
  )
)

// The program alone, with a feature that answers what the test wants: nothing is set up in the sandbox.
it.effect("does not try again what failed for another reason", () =>
  Effect.gen(function* () {
    let tries = 0
    const illegible = Context.make(Notebook, {
      write: () => Effect.void,
      words: (page) =>
        Effect.suspend(() => {
          tries++
          return Effect.fail(new CountError({ page, reason: "it is illegible" }))
        })
    })
    const error = yield* Effect.flip(count("text")).pipe(
      Effect.provide(TestEnvironment.layer(Office, { services: illegible }))
    )
    assert.instanceOf(error, CountError)
    assert.strictEqual(tries, 1)
  })
)
