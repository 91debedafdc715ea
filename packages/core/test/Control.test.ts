/** What others than the program itself may do with an environment: drain it, recycle a sandbox, shut it down. */
import {
  Environment,
  EnvironmentClosedError,
  EnvironmentId,
  EventHandler,
  EventRecorder,
  Feature,
  UnknownSandboxError
} from "@effect-sandbox/core"
import { Faults, HeldSession, Interruption, SimDriver, TestEnvironment } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { failure, settle } from "./support/Lab.ts"

const image = { images: ["base"], id: "env", keepaliveInterval: 0 } as const

const draining = (status: string) => new EnvironmentClosedError({ environmentId: EnvironmentId.make("env"), status })

it.effect("drain lets running sessions end, hands out no new ones, and then shuts down", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const env = yield* Environment.make({ ...image, pool: { min: 3, max: 3 } })
    const held = yield* HeldSession.open(env)
    yield* held.isInside
    const drained = yield* Effect.forkChild(env.drain, { startImmediately: true })
    assert.strictEqual(yield* env.status, "Draining")
    assert.deepStrictEqual(failure(yield* Effect.exit(env.withSession({}, Effect.void))), draining("Draining"))
    yield* settle
    assert.strictEqual(driver.alive().length, 1, "what nobody uses goes at once")
    yield* TestClock.adjust("1 hour")
    assert.isUndefined(drained.pollUnsafe())
    assert.isTrue(Exit.isSuccess(yield* held.end))
    yield* Fiber.join(drained)
    assert.strictEqual(yield* env.status, "Offline")
    assert.deepStrictEqual((yield* env.stats).ledger, { created: 3, destroyed: 3, live: 0, leaked: 0 })
  }).pipe(TestEnvironment.run)
)

it.effect("drain tells whoever waits for a sandbox at once, and brings nothing up any more", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const recorder = yield* EventRecorder
    const env = yield* Environment.make({ ...image, pool: 1 })
    const held = yield* HeldSession.open(env)
    yield* held.isInside
    const waiting = yield* HeldSession.open(env)
    yield* TestClock.adjust("2 seconds")
    yield* Effect.forkChild(env.drain, { startImmediately: true })
    assert.deepStrictEqual(failure(yield* Fiber.await(waiting.fiber)), draining("Draining"))
    const told = (yield* recorder.events).filter((event) => event._tag === "AcquireFailed")
    assert.deepStrictEqual(
      told.map(({ error, image, waitedMillis }) => [image, waitedMillis, error?.tag]),
      [["base", 2000, "EnvironmentClosedError"]]
    )
    yield* driver.kill("env/base:0:0") // the sandbox that is in use: its session ends, and it is not replaced
    assert.isTrue(Exit.isFailure(yield* Fiber.await(held.fiber)))
    yield* settle
    assert.strictEqual(yield* env.status, "Offline")
    assert.strictEqual((yield* env.stats).ledger.created, 1)
  }).pipe(TestEnvironment.run)
)

it.effect("drain waits for a session whose set-up has begun, and interrupts sandboxes that come up for nobody", () =>
  Effect.gen(function* () {
    const gate = Deferred.makeUnsafe<void>()
    class Slow extends Context.Service<Slow, { readonly n: number }>()("test/Slow") {}
    const slow = Feature.make(Slow, {
      setup: Effect.succeed({ session: Effect.as(Deferred.await(gate), { n: 1 }) })
    })
    const faults = yield* Faults
    const env = yield* Environment.make({
      ...image,
      pool: { min: 0, max: 2 },
      proactiveSessionSetup: false,
      features: [slow]
    })
    const opening = yield* Effect.forkChild(
      env.withSession(
        {},
        Effect.map(Slow, ({ n }) => n)
      )
    )
    yield* settle
    faults.on("create", () => Effect.never)
    const second = yield* HeldSession.open(env)
    yield* settle
    const drained = yield* Effect.forkChild(env.drain, { startImmediately: true })
    yield* settle
    assert.isTrue(Exit.isFailure(yield* Fiber.await(second.fiber)))
    assert.strictEqual(yield* env.status, "Draining")
    assert.strictEqual((yield* env.stats).ledger.live, 1)
    yield* Deferred.succeed(gate, undefined)
    assert.strictEqual(yield* Fiber.join(opening), 1)
    yield* Fiber.join(drained)
    assert.strictEqual(yield* env.status, "Offline")
  }).pipe(TestEnvironment.run)
)

it.effect("drain is told: how many sessions go on, and every sandbox with the reason", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const env = yield* Environment.make({ ...image, pool: 2 })
    const held = yield* HeldSession.open(env)
    yield* held.isInside
    yield* Effect.forkChild(env.drain, { startImmediately: true })
    yield* held.end
    yield* settle
    const events = yield* recorder.events
    const sessions = events.flatMap((event) => (event._tag === "EnvironmentDraining" ? [event.sessions] : []))
    assert.deepStrictEqual(sessions, [1])
    assert.deepStrictEqual(
      events.flatMap((event) => (event._tag === "SandboxShutDown" ? [event.reason] : [])),
      ["Environment env hands out no sessions: it is Draining", "the environment is drained"]
    )
    assert.strictEqual(events.at(-1)?._tag, "EnvironmentShutDown")
  }).pipe(TestEnvironment.run)
)

it.effect("drain goes on when whoever asked for it goes away, and a shutdown cuts it short", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1 })
    const held = yield* HeldSession.open(env)
    yield* held.isInside
    const drain = yield* Effect.forkChild(env.drain, { startImmediately: true })
    yield* Fiber.interrupt(drain)
    assert.strictEqual(yield* env.status, "Draining")
    const second = yield* Effect.forkChild(env.drain, { startImmediately: true })
    yield* env.shutdown
    assert.deepStrictEqual(failure(yield* Fiber.await(held.fiber)), draining("ShuttingDown"))
    yield* Fiber.join(second)
    yield* env.drain
    assert.strictEqual(yield* env.status, "Offline")
  }).pipe(TestEnvironment.run)
)

it.effect("drain waits for sessions of host features alone", () =>
  Effect.gen(function* () {
    class Host extends Context.Service<Host, { readonly n: number }>()("test/Host") {}
    const host = Feature.host(Host, { setup: Effect.succeed({ session: Effect.succeed({ n: 7 }) }) })
    const gate = Deferred.makeUnsafe<void>()
    const env = yield* Environment.make({ ...image, pool: { min: 0, max: 1 }, features: [host] })
    const using = yield* Effect.forkChild(
      env.withFeature(Host, ({ n }) => Effect.as(Deferred.await(gate), n)),
      { startImmediately: true }
    )
    const drained = yield* Effect.forkChild(env.drain, { startImmediately: true })
    yield* settle
    assert.strictEqual(yield* env.status, "Draining")
    yield* Deferred.succeed(gate, undefined)
    assert.strictEqual(yield* Fiber.join(using), 7)
    yield* Fiber.join(drained)
  }).pipe(TestEnvironment.run)
)

it.effect("F28 a drain may begin at any turn of a session, which then ends as it would, or never begins", () =>
  Effect.gen(function* () {
    let opened = 0
    let ended = 0
    yield* Interruption.sweep({
      make: Environment.make({ ...image, pool: { min: 1, max: 2 } }),
      run: (env) =>
        env
          .withSession(
            {},
            Effect.suspend(() => {
              opened++
              return Effect.yieldNow.pipe(
                Effect.andThen(Effect.yieldNow),
                Effect.andThen(
                  Effect.sync(() => {
                    ended++
                  })
                )
              )
            })
          )
          .pipe(Effect.catchTag("EnvironmentClosedError", () => Effect.void)),
      disturb: (env) => env.drain,
      check: (env) =>
        Effect.gen(function* () {
          yield* env.drain
          assert.strictEqual(yield* env.status, "Offline")
          assert.strictEqual(ended, opened, "a session was cut short")
          const { ledger } = yield* env.stats
          assert.strictEqual(ledger.created, ledger.destroyed)
        })
    })
  }).pipe(TestEnvironment.run)
)

for (const disturbance of ["drain", "shutdown"] as const) {
  it.effect(`F28 a ${disturbance} may begin at any turn of a session of a host feature alone`, () =>
    Effect.gen(function* () {
      class Host extends Context.Service<Host, { readonly n: number }>()("test/Host") {}
      let up = 0
      const resource = Effect.acquireRelease(
        Effect.sync(() => void up++),
        () => Effect.sync(() => void up--)
      )
      const host = Feature.host(Host, { setup: Effect.succeed({ session: Effect.as(resource, { n: 1 }) }) })
      yield* Interruption.sweep({
        make: Environment.make({ ...image, pool: { min: 0, max: 1 }, features: [host] }),
        run: (env) => Effect.exit(env.withFeature(Host, () => Effect.andThen(Effect.yieldNow, Effect.yieldNow))),
        disturb: (env) => Effect.map(env[disturbance], () => assert.strictEqual(up, 0, "a session is left")),
        check: (env) => Effect.map(env.shutdown, () => assert.strictEqual(up, 0))
      })
    }).pipe(TestEnvironment.run)
  )
}

it.effect("recycle replaces a ready sandbox at once", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const env = yield* Environment.make({ ...image, pool: 2 })
    yield* env.recycle("env/base:1:0")
    yield* settle
    const { counts } = (yield* env.stats).images[0] ?? assert.fail("no image")
    assert.strictEqual(counts.Ready, 2)
    assert.deepStrictEqual(
      (yield* recorder.events).flatMap((event) =>
        event._tag === "SandboxShutDown" ? [`${event.sandboxId} ${event.reason}`] : []
      ),
      ["env/base:1:0 recycled"]
    )
    const ids = yield* Effect.all([HeldSession.open(env), HeldSession.open(env)])
    const inside = yield* Effect.forEach(ids, (held) => held.isInside)
    assert.deepStrictEqual<ReadonlyArray<string | undefined>>([...inside].toSorted(), ["env/base:0:0", "env/base:1:1"])
  }).pipe(TestEnvironment.run)
)

it.effect("recycle lets a session end first, and whoever waits gets the next generation", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1 })
    const held = yield* HeldSession.open(env)
    const sandboxId = (yield* held.isInside) ?? assert.fail("no sandbox")
    const waiting = yield* HeldSession.open(env)
    yield* env.recycle(sandboxId)
    yield* TestClock.adjust("1 minute")
    assert.isUndefined(held.exit())
    assert.isUndefined(waiting.sandboxId())
    yield* held.end
    assert.strictEqual(yield* waiting.isInside, "env/base:0:1")
  }).pipe(TestEnvironment.run)
)

it.effect("recycle also reaches a sandbox that is being made ready", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: 1 })
    const gate = Deferred.makeUnsafe<void>()
    faults.on("reset", () => Deferred.await(gate))
    yield* env.withSession({}, Effect.void)
    yield* settle
    assert.strictEqual((yield* env.stats).images[0]?.counts.SettingUp, 1)
    yield* env.recycle("env/base:0:0")
    const waiting = yield* HeldSession.open(env)
    yield* Deferred.succeed(gate, undefined)
    assert.strictEqual(yield* waiting.isInside, "env/base:0:1")
  }).pipe(TestEnvironment.run)
)

it.effect("recycle of a sandbox that is not there is a typed error", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1 })
    assert.deepStrictEqual(
      failure(yield* Effect.exit(env.recycle("env/base:7:0"))),
      new UnknownSandboxError({ environmentId: env.id, sandboxId: "env/base:7:0" })
    )
  }).pipe(TestEnvironment.run)
)

it.effect("a hub knows the environments that publish there, from their start to their end", () =>
  Effect.gen(function* () {
    const hub = yield* EventHandler.EventHub
    const names = () => hub.environments().map(({ id }) => id)
    assert.deepStrictEqual(names(), [])
    yield* Effect.scoped(
      Effect.gen(function* () {
        yield* Environment.make({ ...image, pool: 1 })
        yield* Environment.make({ ...image, id: "other", pool: { min: 1, max: 3 } })
        assert.deepStrictEqual<ReadonlyArray<string>>(names(), ["env", "other"])
        const stats = yield* Effect.forEach(hub.environments(), (one) => one.stats)
        assert.deepStrictEqual(
          stats.flatMap(({ images }) => images.map(({ max }) => max)),
          [1, 3]
        )
        yield* Effect.forEach(hub.environments(), (one) => one.shutdown)
      })
    )
    assert.deepStrictEqual(names(), [])
  }).pipe(TestEnvironment.run)
)

it.effect("P4 acquires that fail are told: overload, outage and interruption", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const faults = yield* Faults
    const env = yield* Environment.make({
      ...image,
      images: ["base", "broken"],
      pool: { base: 1, broken: { min: 0, max: 1 } },
      acquireTimeout: "3 seconds",
      outageGracePeriod: "1 second"
    })
    const held = yield* HeldSession.open(env)
    yield* held.isInside
    const late = yield* HeldSession.open(env)
    const gone = yield* HeldSession.open(env)
    yield* TestClock.adjust("1 second")
    yield* Fiber.interrupt(gone.fiber)
    yield* TestClock.adjust("2 seconds")
    yield* Fiber.await(late.fiber)
    yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
    const broken = yield* HeldSession.open(env, { image: "broken" })
    yield* TestClock.adjust("1 second")
    yield* Fiber.await(broken.fiber)
    yield* Effect.exit(env.withSession({ image: "broken" }, Effect.void))
    assert.deepStrictEqual(
      (yield* recorder.events).flatMap((event) =>
        event._tag === "AcquireFailed" ? [`${event.image} ${event.waitedMillis} ${event.error?.tag}`] : []
      ),
      [
        "base 1000 Interrupted",
        "base 3000 EnvironmentOverloadError",
        "broken 1000 EnvironmentOutageError",
        "broken 0 EnvironmentOutageError"
      ]
    )
  }).pipe(TestEnvironment.run)
)
