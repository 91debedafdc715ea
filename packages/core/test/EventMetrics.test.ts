import {
  Environment,
  EnvironmentId,
  Feature,
  FeatureId,
  ImageId,
  Sandbox,
  SandboxEvent,
  SandboxId
} from "@effect-sandbox/core"
import { EventHub } from "@effect-sandbox/core/EventHandler"
import * as EventMetrics from "@effect-sandbox/core/EventMetrics"
import { Faults, SimDriver } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Metric, Scope } from "effect"
import { TestClock } from "effect/testing"

class Greeter extends Context.Service<Greeter, { readonly greet: Effect.Effect<string> }>()("test/Greeter") {
  static readonly feature = Feature.make(Greeter, {
    setup: Effect.succeed({ session: Effect.succeed(Greeter.of({ greet: Effect.succeed("hello") })) })
  })
}

class Lab extends Environment.Service<Lab>()("env", {
  images: ["image"],
  pool: { min: 1, max: 3 },
  features: [Greeter.feature]
}) {}

const LabTest = Lab.layer.pipe(Layer.provideMerge(EventMetrics.layer), Layer.provideMerge(SimDriver.layer()))

/** Tests run at the same time, each with metrics of its own. */
const freshRegistry = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => Effect.provideService(effect, Metric.MetricRegistry, new Map()))

/** Every series of a metric: `label=value,…` → number (of a histogram: how often it was updated). */
const read = (metric: { readonly id: string }) =>
  Effect.map(Metric.snapshot, (snapshot) => {
    const series: Record<string, number> = {}
    for (const one of snapshot) {
      if (one.id !== metric.id) continue
      const labels = Object.entries(one.attributes ?? {})
        .filter(([label]) => label !== "unit")
        .toSorted(([one], [two]) => Number(one === "outcome") - Number(two === "outcome"))
        .map(([label, value]) => `${label}=${value}`)
      const value =
        one.type === "Counter" || one.type === "Histogram"
          ? Number(one.state.count)
          : one.type === "Gauge"
            ? Number(one.state.value)
            : Number.NaN
      series[labels.join(",")] = value
    }
    return series
  })

/** Waits until the events so far are counted. */
const counted = Effect.andThen(
  TestClock.adjust(0),
  Effect.flatMap(EventHub, (hub) => hub.drain)
)

const place = "environment=env,image=image"

/** Only what is not zero. */
const present = (series: Record<string, number>): Record<string, number> =>
  Object.fromEntries(Object.entries(series).filter(([, value]) => value !== 0))

it.effect("V4 counts sandboxes, sessions and activities, and times them", () =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(
      Lab.withSession(
        {},
        Effect.gen(function* () {
          const sandbox = yield* Sandbox
          yield* sandbox.activity("think", Effect.sleep("3 seconds"))
          yield* sandbox.exec("echo")
          yield* Effect.flip(sandbox.activity("fail", Effect.fail("oops")))
        })
      )
    )
    yield* TestClock.adjust("3 seconds")
    yield* Fiber.join(fiber)
    yield* Lab.shutdown
    assert.deepStrictEqual(yield* read(EventMetrics.sandboxesCreated), { [place]: 1 })
    assert.deepStrictEqual(yield* read(EventMetrics.sandboxesDestroyed), { [place]: 1 })
    assert.deepStrictEqual(yield* read(EventMetrics.sessions), { [`${place},outcome=ok`]: 1 })
    const activities = {
      [`${place},activity=think,outcome=ok`]: 1,
      [`${place},activity=exec echo,outcome=ok`]: 1,
      [`${place},activity=fail,outcome=user_error`]: 1
    }
    assert.deepStrictEqual(yield* read(EventMetrics.activities), activities)
    assert.deepStrictEqual(yield* read(EventMetrics.activityDuration), activities)
    assert.deepStrictEqual(yield* read(EventMetrics.errors), {
      [`${place},event=SandboxActivity,error.type=string`]: 1
    })
    for (const metric of [EventMetrics.sandboxStart, EventMetrics.sessionSetUp, EventMetrics.sessionTeardown]) {
      assert.deepStrictEqual(yield* read(metric), { [`${place},outcome=ok`]: 1 }, metric.id)
    }
    assert.deepStrictEqual(yield* read(EventMetrics.sessionAcquireWait), { [`${place},outcome=ok`]: 1 })
    for (const metric of [EventMetrics.featureSetUp, EventMetrics.featureTeardown]) {
      assert.deepStrictEqual(yield* read(metric), { [`${place},feature=test/Greeter,outcome=ok`]: 1 }, metric.id)
    }
    const sessionsOfFeature = yield* read(EventMetrics.featureSessionSetUp)
    assert.isAtLeast(sessionsOfFeature[`${place},feature=test/Greeter,outcome=ok`] ?? 0, 1)
    assert.deepStrictEqual(yield* read(EventMetrics.featureSessionTeardown), sessionsOfFeature)
    const lifetime = yield* Metric.value(
      Metric.withAttributes(EventMetrics.sessionLifetime, { environment: "env", image: "image", outcome: "ok" })
    )
    assert.deepInclude(lifetime, { count: 1, sum: 3 }) // seconds
  }).pipe(Effect.provide(LabTest), freshRegistry)
)

it.effect("V4 sessions are counted by how they ended", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    yield* Lab.withSession({}, Effect.void)
    yield* Effect.exit(Lab.withSession({}, Effect.fail("the user's")))
    yield* Effect.exit(
      Lab.withSession(
        {},
        Effect.flatMap(Sandbox, (sandbox) => Effect.andThen(driver.kill(sandbox.id), Effect.never))
      )
    )
    const open = yield* Effect.forkChild(Effect.exit(Lab.withSession({}, Effect.never)), { startImmediately: true })
    yield* TestClock.adjust(0)
    yield* Lab.shutdown
    yield* Fiber.join(open)
    assert.deepStrictEqual(yield* read(EventMetrics.sessions), {
      [`${place},outcome=ok`]: 1,
      [`${place},outcome=user_error`]: 1,
      [`${place},outcome=state_error`]: 1,
      [`${place},outcome=interrupted`]: 1
    })
    const errors = yield* read(EventMetrics.errors)
    assert.strictEqual(errors[`${place},event=SessionEnded,error.type=string`], 1)
    assert.strictEqual(errors[`${place},event=SessionEnded,error.type=SandboxStateError`], 1)
    assert.isUndefined(errors[`${place},event=SessionEnded,error.type=EnvironmentClosedError`])
  }).pipe(Effect.provide(LabTest), freshRegistry)
)

it.effect("sandboxes are counted by status while they live, and the ledger balances at any moment", () =>
  Effect.gen(function* () {
    const balanced = Effect.gen(function* () {
      yield* counted
      assert.deepStrictEqual(yield* read(EventMetrics.ledger), { "environment=env": 0 })
      const { images, ledger } = yield* Lab.stats
      assert.strictEqual(ledger.created - ledger.destroyed - ledger.live, 0)
      const sandboxes = present(yield* read(EventMetrics.sandboxes))
      assert.deepStrictEqual(
        sandboxes,
        Object.fromEntries(
          Object.entries(images[0]?.counts ?? {}).flatMap(([status, count]) =>
            count === 0 ? [] : [[`${place},status=${status}`, count]]
          )
        )
      )
      return sandboxes
    })
    const driver = yield* SimDriver
    const faults = yield* Faults
    assert.deepStrictEqual(yield* balanced, { [`${place},status=Ready`]: 1 })
    yield* Lab.withSession(
      {},
      Lab.withSession(
        {},
        Effect.gen(function* () {
          assert.deepStrictEqual(yield* balanced, { [`${place},status=InSession`]: 2 })
          yield* Effect.flatMap(Sandbox, (sandbox) => driver.kill(sandbox.id))
        })
      )
    ).pipe(Effect.exit)
    assert.deepStrictEqual(yield* balanced, { [`${place},status=Ready`]: 2 })
    yield* faults.add({ at: ["destroy"], how: { _tag: "Slow", millis: 1000 } })
    const shutdown = yield* Effect.forkChild(Lab.shutdown, { startImmediately: true })
    assert.deepStrictEqual(yield* balanced, { [`${place},status=ShuttingDown`]: 2 })
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(shutdown)
    assert.deepStrictEqual(yield* balanced, {})
    assert.deepStrictEqual(yield* read(EventMetrics.sandboxesCreated), { [place]: 3 })
    assert.deepStrictEqual(yield* read(EventMetrics.sandboxesDestroyed), { [place]: 3 })
  }).pipe(Effect.provide(LabTest), freshRegistry)
)

it.effect("outages show while they last, also when the environment ends in one", () =>
  Effect.gen(function* () {
    yield* Effect.gen(function* () {
      const driver = yield* SimDriver
      const faults = yield* Faults
      const kill = Effect.exit(
        Lab.withSession(
          {},
          Effect.flatMap(Sandbox, (sandbox) => driver.kill(sandbox.id))
        )
      )
      yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
      yield* kill
      yield* counted
      assert.deepStrictEqual(yield* read(EventMetrics.outages), { [place]: 1 })
      yield* faults.clear
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* read(EventMetrics.outages), { [place]: 0 })
      yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
      yield* kill
      yield* counted
      assert.deepStrictEqual(yield* read(EventMetrics.outages), { [place]: 1 })
    }).pipe(Effect.provide(LabTest))
    assert.deepStrictEqual(yield* read(EventMetrics.outages), { [place]: 0 })
    assert.deepStrictEqual(yield* read(EventMetrics.ledger), { "environment=env": 0 })
    assert.deepStrictEqual(present(yield* read(EventMetrics.sandboxes)), {})
  }).pipe(freshRegistry)
)

it.effect("no label holds the id of a sandbox or a session", () =>
  Effect.gen(function* () {
    yield* Effect.exit(Lab.withSession({ id: "the-session" }, Effect.fail("oops")))
    yield* Lab.shutdown
    const snapshot = (yield* Metric.snapshot).filter(({ id }) => id.startsWith("effect_sandbox_"))
    assert.isAtLeast(snapshot.length, 10)
    for (const { attributes, id } of snapshot) {
      for (const value of Object.values(attributes ?? {})) {
        assert.notInclude(value, "the-session", id)
        assert.notInclude(value, "image:", id)
      }
    }
  }).pipe(Effect.provide(LabTest), freshRegistry)
)

const { cases } = SandboxEvent.SandboxEvent
const facts = {
  environmentId: EnvironmentId.make("env"),
  timestamp: 0,
  sandboxId: SandboxId.make("env/image:0:0"),
  image: ImageId.make("image")
}

it.effect("names that users make up cannot make series without end", () =>
  Effect.gen(function* () {
    const hub = yield* EventHub
    for (let i = 0; i < 1000; i++) {
      hub.publish(cases.SandboxActivity.make({ ...facts, name: `exec /tmp/${i}`, durationMillis: 0 }))
    }
    yield* counted
    const series = yield* read(EventMetrics.activities)
    assert.strictEqual(Object.keys(series).length, 201)
    assert.strictEqual(series[`${place},activity=other,outcome=ok`], 800)
  }).pipe(Effect.provide(EventMetrics.layer), freshRegistry)
)

it.effect("events that were lost show in the ledger, and leave no sandbox in the gauges", () =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(EventMetrics.layer, scope)
    const hub = Context.get(context, EventHub)
    const move = (from: "Created" | "SettingUp" | "Acquired", to: "SettingUp" | "InSession") =>
      hub.publish(cases.SandboxStatusChanged.make({ ...facts, from, to, spentMillis: 0 }))
    move("Created", "SettingUp")
    move("Acquired", "InSession") // what was between got lost
    yield* hub.drain
    assert.deepStrictEqual(present(yield* read(EventMetrics.sandboxes)), { [`${place},status=InSession`]: 1 })
    assert.deepStrictEqual(yield* read(EventMetrics.ledger), { "environment=env": 0 })
    yield* Scope.close(scope, Exit.void)
    assert.deepStrictEqual(present(yield* read(EventMetrics.sandboxes)), {})
    assert.deepStrictEqual(yield* read(EventMetrics.ledger), { "environment=env": 1 })
  }).pipe(freshRegistry)
)

it.effect("callers who get no sandbox are in the waits; actions, housekeeping and outages have metrics", () =>
  Effect.gen(function* () {
    const hub = yield* EventHub
    const { environmentId, image, sandboxId } = facts
    const error = (tag: string) => ({ tag, message: tag, isStateError: false })
    const refused = { environmentId, image, timestamp: 0, waitedMillis: 20_000 }
    hub.publish(cases.AcquireFailed.make({ ...refused, error: error("EnvironmentOverloadError") }))
    hub.publish(cases.AcquireFailed.make({ ...refused, error: error("Interrupted") }))
    hub.publish(
      cases.ActionRequested.make({ environmentId, timestamp: 0, action: "recycle", sandboxId, requestedBy: "me" })
    )
    const round = { timestamp: 0, environmentId, durationMillis: 100, counter: 0 }
    hub.publish(cases.EnvironmentHousekeepingDone.make({ ...round, started: 0 }))
    hub.publish(cases.SandboxHousekeepingDone.make({ ...facts, ...round, error: error("Dead") }))
    hub.publish(cases.FeatureHousekeepingDone.make({ ...facts, ...round, featureId: FeatureId.make("f") }))
    hub.publish(cases.ImageOutageStarted.make({ environmentId, image, timestamp: 0 }))
    hub.publish(cases.ImageOutageEnded.make({ environmentId, image, timestamp: 0, attempts: 2, durationMillis: 5000 }))
    yield* counted
    assert.deepStrictEqual(yield* read(EventMetrics.sessionAcquireWait), {
      [`${place},outcome=user_error`]: 1,
      [`${place},outcome=interrupted`]: 1
    })
    assert.deepStrictEqual(yield* read(EventMetrics.errors), {
      [`${place},event=AcquireFailed,error.type=EnvironmentOverloadError`]: 1,
      [`${place},event=SandboxHousekeepingDone,error.type=Dead`]: 1
    })
    assert.deepStrictEqual(yield* read(EventMetrics.actions), { "environment=env,action=recycle": 1 })
    assert.deepStrictEqual(yield* read(EventMetrics.housekeeping), {
      "environment=env,outcome=ok": 1,
      [`${place},outcome=user_error`]: 1,
      [`${place},feature=f,outcome=ok`]: 1
    })
    const outage = yield* Metric.value(
      Metric.withAttributes(EventMetrics.outageDuration, { environment: "env", image: "image" })
    )
    assert.deepStrictEqual([outage.count, outage.sum], [1, 5])
    assert.deepStrictEqual(yield* read(EventMetrics.outages), { [place]: 0 })
  }).pipe(Effect.provide(EventMetrics.layer), freshRegistry)
)
