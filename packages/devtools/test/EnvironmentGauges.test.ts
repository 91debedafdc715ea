import { Environment, EventHandler } from "@effect-sandbox/core"
import { EnvironmentGauges } from "@effect-sandbox/devtools"
import { Faults, SimDriver } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Layer, Metric } from "effect"
import { TestClock } from "effect/testing"

class Lab extends Environment.Service<Lab>()("lab", {
  images: ["base"],
  pool: { min: 1, max: 2 },
  keepaliveInterval: 0
}) {}

const freshRegistry = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => Effect.provideService(effect, Metric.MetricRegistry, new Map()))

/** Every series of a metric: `label=value,…` → number. */
const read = (metric: { readonly id: string }) =>
  Effect.map(Metric.snapshot, (snapshot) => {
    const series: Record<string, number> = {}
    for (const one of snapshot) {
      if (one.id !== metric.id) continue
      const labels = Object.entries(one.attributes ?? {}).filter(([label]) => label !== "unit")
      const value = one.type === "Counter" ? one.state.count : one.type === "Gauge" ? one.state.value : Number.NaN
      series[labels.map((label) => label.join("=")).join(",")] = Number(value)
    }
    return series
  })

const pool = "environment=lab,image=base"

it.effect("waiters, starts and the size of pools are read from the environment when they are asked for", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    yield* faults.add({ at: ["create"], how: { _tag: "Slow", millis: 5000 } })
    const hold = yield* Effect.forkChild(
      Effect.forEach([1, 2, 3, 4, 5], () => Lab.withSession({}, Effect.sleep("1 minute")), { concurrency: 5 })
    )
    yield* TestClock.adjust(0)
    assert.deepStrictEqual(yield* read(EnvironmentGauges.waiters), { [pool]: 4 })
    assert.deepStrictEqual(yield* read(EnvironmentGauges.starting), { [pool]: 1 })
    yield* TestClock.adjust("10 seconds")
    assert.deepStrictEqual(yield* read(EnvironmentGauges.waiters), { [pool]: 3 })
    assert.deepStrictEqual(yield* read(EnvironmentGauges.starting), { [pool]: 0 })
    assert.deepStrictEqual(yield* read(EnvironmentGauges.min), { [pool]: 1 })
    assert.deepStrictEqual(yield* read(EnvironmentGauges.max), { [pool]: 2 })
    yield* TestClock.adjust("5 minutes")
    yield* Fiber.join(hold)
    assert.deepStrictEqual(yield* read(EnvironmentGauges.waiters), { [pool]: 0 })
  }).pipe(
    Effect.provide(Lab.layer.pipe(Layer.provideMerge(EnvironmentGauges.layer), Layer.provideMerge(SimDriver.layer()))),
    freshRegistry
  )
)

it.effect("the status of an environment is one of all; its series go when it has shut down", () =>
  Effect.gen(function* () {
    yield* Effect.gen(function* () {
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(yield* read(EnvironmentGauges.environmentStatus), {
        "environment=lab,status=Created": 0,
        "environment=lab,status=Online": 1,
        "environment=lab,status=Draining": 0,
        "environment=lab,status=ShuttingDown": 0,
        "environment=lab,status=Offline": 0
      })
      const open = yield* Effect.forkChild(Lab.withSession({}, Effect.sleep("1 second")), { startImmediately: true })
      const drain = yield* Effect.forkChild(Lab.drain, { startImmediately: true })
      assert.strictEqual((yield* read(EnvironmentGauges.environmentStatus))["environment=lab,status=Draining"], 1)
      yield* TestClock.adjust("1 second")
      yield* Fiber.joinAll([open, drain])
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(yield* read(EnvironmentGauges.environmentStatus), {})
      assert.deepStrictEqual(yield* read(EnvironmentGauges.waiters), {})
    }).pipe(
      Effect.provide(Lab.layer.pipe(Layer.provideMerge(EnvironmentGauges.layer), Layer.provide(SimDriver.layer())))
    )
    assert.deepStrictEqual(
      (yield* Metric.snapshot).filter(({ id }) => id.startsWith("effect_sandbox_")),
      []
    )
  }).pipe(freshRegistry)
)

it.effect("what handlers drop, and what fails in them, is counted", () => {
  const gate = Latch.makeUnsafe(false)
  const Bad = EventHandler.layer({ name: "bad", handle: () => Effect.fail("oops") })
  const Slow = EventHandler.layer({ name: "slow", handle: () => gate.await, capacity: 1 })
  return Effect.gen(function* () {
    yield* Lab.withSession({}, Effect.void)
    yield* TestClock.adjust(0)
    const handlers = new Map((yield* Lab.stats).handlers.map((stats) => [stats.name, stats]))
    const [dropped, failed, queued] = [
      yield* read(EnvironmentGauges.dropped),
      yield* read(EnvironmentGauges.failed),
      yield* read(EnvironmentGauges.queued)
    ]
    assert.isAbove(dropped["handler=slow"] ?? 0, 0)
    assert.strictEqual(dropped["handler=slow"], handlers.get("slow")?.dropped)
    assert.strictEqual(dropped["handler=bad"], 0)
    assert.isAbove(failed["handler=bad"] ?? 0, 0)
    assert.strictEqual(failed["handler=bad"], handlers.get("bad")?.failed)
    assert.strictEqual(queued["handler=slow"], handlers.get("slow")?.queued)
    yield* gate.open
  }).pipe(
    Effect.provide(
      Lab.layer.pipe(
        Layer.provideMerge(Layer.mergeAll(EnvironmentGauges.layer, Bad, Slow)),
        Layer.provide(SimDriver.layer())
      )
    ),
    freshRegistry
  )
})
