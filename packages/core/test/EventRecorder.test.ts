import { Environment, Sandbox, type SandboxEvent } from "@effect-sandbox/core"
import * as EventHandler from "@effect-sandbox/core/EventHandler"
import { EventRecorder } from "@effect-sandbox/core/EventRecorder"
import { SimDriver } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer } from "effect"

class Lab extends Environment.Service<Lab>()("env", { images: ["image"], pool: 1 }) {}

const LabTest = Lab.layer.pipe(Layer.provideMerge(EventRecorder.layer), Layer.provideMerge(SimDriver.layer()))

const shuttingDown = (event: SandboxEvent.SandboxEvent): boolean => event._tag === "EnvironmentShuttingDown"

it.effect("V2 tells a whole life as lines, from the first event to the last", () =>
  Effect.gen(function* () {
    yield* Lab.withSession(
      { id: "s1" },
      Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("echo", ["a"]))
    )
    yield* Lab.shutdown
    const recorder = yield* EventRecorder
    assert.deepStrictEqual(yield* recorder.lines, [
      "env starting",
      "env/image:0:0 Created -> SettingUp",
      "env/image:0:0 started",
      "env/image:0:0 SettingUp -> Ready",
      "env started",
      "env/image:0:0 Ready -> Acquired",
      "env/image:0:0 Acquired -> SettingUp",
      "env/image:0:0 SettingUp -> InSession",
      "session s1 started",
      "env/image:0:0 exec echo",
      "env/image:0:0 InSession -> ExitingSession",
      "session s1 ended",
      "env/image:0:0 ExitingSession -> SettingUp",
      "env/image:0:0 SettingUp -> Ready",
      "env shutting down",
      "env/image:0:0 Ready -> ShuttingDown",
      "env/image:0:0 ShuttingDown -> Offline",
      "env/image:0:0 shut down",
      "env shut down"
    ])
  }).pipe(Effect.provide(LabTest))
)

it.effect("lines name the kind of error", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    yield* recorder.clear
    yield* Effect.exit(Lab.withSession({ id: "s1" }, Effect.fail({ _tag: "MyError" })))
    assert.include(yield* recorder.lines, "session s1 ended: MyError")
  }).pipe(Effect.provide(LabTest))
)

it.effect("waitFor resolves for a past event, and for a future one", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const past = yield* recorder.waitFor((event) => event._tag === "EnvironmentStarting")
    assert.strictEqual(past.environmentId, "env")
    const future = yield* Effect.forkChild(recorder.waitFor(shuttingDown), { startImmediately: true })
    assert.isUndefined(future.pollUnsafe())
    yield* Lab.shutdown
    assert.strictEqual((yield* Fiber.join(future))._tag, "EnvironmentShuttingDown")
  }).pipe(Effect.provide(LabTest))
)

it.effect("a waiter whose predicate throws dies, and harms nobody else", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    yield* recorder.clear
    const bad = yield* Effect.forkChild(
      recorder.waitFor(() => {
        throw new Error("oops")
      }),
      { startImmediately: true }
    )
    const interrupted = yield* Effect.forkChild(recorder.waitFor(shuttingDown), { startImmediately: true })
    const good = yield* Effect.forkChild(recorder.waitFor(shuttingDown), { startImmediately: true })
    yield* Fiber.interrupt(interrupted)
    yield* Lab.shutdown
    assert.isTrue(Exit.hasDies(yield* Fiber.await(bad)))
    assert.strictEqual((yield* Fiber.join(good))._tag, "EnvironmentShuttingDown")
    const [stats] = (yield* Lab.stats).handlers
    assert.strictEqual(stats?.failed, 0)
  }).pipe(Effect.provide(LabTest))
)

it.effect("clear forgets what was published so far", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    assert.isNotEmpty(yield* recorder.events)
    yield* recorder.clear
    assert.deepStrictEqual(yield* recorder.events, [])
    yield* Lab.shutdown
    assert.strictEqual((yield* recorder.events)[0]?._tag, "EnvironmentShuttingDown")
  }).pipe(Effect.provide(LabTest))
)

it.effect("V2 has everything that was published when it is asked, and keeps it when the layer has closed", () =>
  Effect.gen(function* () {
    const recorder = yield* Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const hub = yield* EventHandler.EventHub
      const [first] = yield* recorder.events
      if (first === undefined) return yield* Effect.die("nothing was recorded")
      yield* recorder.clear
      for (let i = 0; i < 100_000; i++) hub.publish(first)
      assert.strictEqual((yield* recorder.events).length, 100_000)
      yield* recorder.clear
      return recorder
    }).pipe(Effect.provide(LabTest))
    const lines = yield* recorder.lines
    assert.strictEqual(lines[0], "env shutting down")
    assert.strictEqual(lines.at(-1), "env shut down")
  })
)
