import {
  Environment,
  EnvironmentClosedError,
  EnvironmentOverloadError,
  LoadBalancer,
  Sandbox,
  SandboxDriver,
  Session
} from "@effect-sandbox/core"
import { Faults, HeldSession, Latency, SimDriver, TestEnvironment, Turns } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Random, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { failure, settle } from "./support/Lab.ts"

const here = Effect.map(Sandbox, ({ id }) => id)
const image = { images: ["base"], id: "env", keepaliveInterval: 0 } as const

it.effect("P1 `min` sandboxes are brought up at start, bounded in parallel, and kept", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    let at = 0
    let most = 0
    faults.on("create", () =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          most = Math.max(most, ++at)
        }),
        () => Effect.sleep("1 second"),
        () => Effect.sync(() => at--)
      )
    )
    const starting = yield* Effect.forkChild(Environment.make({ ...image, pool: { min: 6, max: 8 }, concurrency: 2 }))
    yield* TestClock.adjust("3 seconds")
    const env = yield* Fiber.join(starting)
    assert.strictEqual(most, 2)
    assert.deepStrictEqual((yield* env.stats).images[0]?.counts.Ready, 6)
    yield* driver.kill("env/base:3:0")
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual((yield* env.stats).images[0]?.counts.Ready, 6)
  }).pipe(TestEnvironment.run)
)

it.effect("P1 an exact id comes first, then the first pattern that matches the whole id", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({
      ...image,
      images: ["python:3", "python:3-slim", "my-python:3", "node:24"],
      pool: { "python:.*": { min: 2, max: 3 }, "python:3": { min: 1, max: 1 }, ".*": { min: 0, max: 7 } }
    })
    assert.deepStrictEqual(
      (yield* env.stats).images.map(({ image, max, min }) => [image, min, max]),
      [
        ["python:3", 1, 1],
        ["python:3-slim", 2, 3],
        ["my-python:3", 0, 7],
        ["node:24", 0, 7]
      ]
    )
  }).pipe(TestEnvironment.run)
)

it.effect("P1 a pool of 0 is a sandbox per session, shut down afterwards", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const env = yield* Environment.make({ ...image, pool: 0 })
    assert.deepStrictEqual(driver.alive(), [])
    const first = yield* env.withSession({}, here)
    assert.deepStrictEqual(driver.alive(), [])
    assert.notStrictEqual(yield* env.withSession({}, here), first)
    const both = yield* Effect.all([env.withSession({}, here), env.withSession({}, here)], { concurrency: 2 })
    assert.notStrictEqual(both[0], both[1])
    assert.deepStrictEqual((yield* env.stats).ledger, { created: 4, destroyed: 4, live: 0, leaked: 0 })
  }).pipe(TestEnvironment.run)
)

it.effect("P2 a ready sandbox is taken before the pool grows, round robin", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: { min: 3, max: 9 } })
    const used: Array<string> = []
    for (let i = 0; i < 6; i++) {
      used.push(yield* env.withSession({}, here))
      yield* settle
    }
    assert.deepStrictEqual(used.slice(0, 3), used.slice(3))
    assert.strictEqual(new Set(used).size, 3)
    assert.strictEqual((yield* env.stats).ledger.created, 3)
  }).pipe(TestEnvironment.run)
)

it.effect("P2 whichever comes first serves the waiter: a released sandbox or a grown one", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: { min: 1, max: 2 } })
    const first = yield* HeldSession.open(env)
    yield* faults.add({ at: ["create"], how: { _tag: "Slow", millis: 10_000 } })
    const second = yield* HeldSession.open(env)
    yield* TestClock.adjust("1 second")
    yield* first.end
    yield* settle
    assert.strictEqual(yield* second.isInside, "env/base:0:0", "the released one")
    const third = yield* HeldSession.open(env)
    yield* TestClock.adjust("9 seconds")
    assert.strictEqual(yield* third.isInside, "env/base:1:0", "the grown one")
    yield* second.end
    yield* third.end
  }).pipe(TestEnvironment.run)
)

it.effect("P2 I8 L3 waiters are served in order, at once, and all of them", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 2 })
    const served: Array<number> = []
    const users = yield* Effect.forEach(Array.from({ length: 64 }), (_, index) =>
      Effect.forkChild(
        env.withSession(
          {},
          Effect.andThen(
            Effect.sync(() => served.push(index)),
            Effect.sleep("1 second")
          )
        ),
        { startImmediately: true }
      )
    )
    assert.strictEqual((yield* env.stats).images[0]?.waiters, 62)
    yield* TestClock.adjust("32 seconds")
    yield* Fiber.joinAll(users)
    assert.deepStrictEqual(
      served,
      Array.from({ length: 64 }, (_, index) => index)
    )
    assert.strictEqual((yield* env.stats).images[0]?.waiters, 0)
  }).pipe(TestEnvironment.run)
)

const shortly = Latency.uniform(0, 20)

it.effect("P3 I2 L1 F33 never more than `max`, however many race for it", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const env = yield* Environment.make({ ...image, pool: { min: 0, max: 5 } })
    const inside = new Map<string, number>()
    const use = Effect.gen(function* () {
      const id = yield* here
      assert.isUndefined(inside.get(id), "I3 F33 two owners")
      inside.set(id, 1)
      yield* Effect.sleep(yield* Random.nextIntBetween(0, 30))
      inside.delete(id)
    })
    const users = yield* Effect.forEach(Array.from({ length: 200 }), (_, index) =>
      Effect.forkChild(Effect.delay(env.withSession({}, use), index % 50))
    )
    for (let i = 0; i < 300; i++) {
      yield* TestClock.adjust("10 millis")
      const stats = yield* env.stats
      const pool = stats.images[0]
      assert.isAtMost(stats.ledger.live, 5)
      assert.strictEqual(stats.ledger.created - stats.ledger.destroyed - stats.ledger.live, 0)
      if ((pool?.waiters ?? 0) > 0) assert.strictEqual(pool?.counts.Ready, 0, "I8 a waiter while one is ready")
    }
    yield* Fiber.joinAll(users)
    assert.isAtMost(driver.peak(), 5)
    yield* Effect.forkChild(env.shutdown)
    yield* TestClock.adjust(20)
  }).pipe((test) => TestEnvironment.run(test, { driver: { latency: { create: shortly, destroy: shortly } } }))
)

it.effect("P3 no wake-up is lost: a sandbox that goes offline is made up for while someone waits", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const env = yield* Environment.make({ ...image, pool: 1 })
    const first = yield* HeldSession.open(env)
    const second = yield* HeldSession.open(env)
    yield* driver.kill("env/base:0:0")
    yield* settle
    assert.isTrue(Exit.isFailure(yield* Fiber.await(first.fiber)))
    assert.strictEqual(yield* second.isInside, "env/base:0:1")
    yield* second.end
  }).pipe(TestEnvironment.run)
)

it.effect("P4 a waiter gives up after acquireTimeout and says how large the pool is and how long it waited", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1, acquireTimeout: "3 seconds" })
    const first = yield* HeldSession.open(env)
    const late = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.void)), { startImmediately: true })
    yield* TestClock.adjust("3 seconds")
    const error = failure(yield* Fiber.join(late))
    assert.instanceOf(error, EnvironmentOverloadError)
    assert.strictEqual(error.poolSize, 1)
    assert.strictEqual(error.waitedMillis, 3000)
    assert.strictEqual((yield* env.stats).images[0]?.waiters, 0)
    yield* first.end
  }).pipe(TestEnvironment.run)
)

it.effect("P4 an interrupted waiter leaves no trace", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1 })
    const first = yield* HeldSession.open(env)
    const waiting = yield* HeldSession.open(env)
    const last = yield* HeldSession.open(env)
    yield* Fiber.interrupt(waiting.fiber)
    assert.strictEqual((yield* env.stats).images[0]?.waiters, 1)
    yield* first.end
    yield* settle
    assert.strictEqual(yield* last.isInside, "env/base:0:0")
    yield* last.end
    yield* settle
    assert.strictEqual((yield* env.stats).images[0]?.counts.Ready, 1)
  }).pipe(TestEnvironment.run)
)

it.effect("P4 a waiter that is interrupted in the moment it is served gives the sandbox back", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1 })
    const first = yield* HeldSession.open(env)
    const waiting = yield* HeldSession.open(env)
    assert.isUndefined(waiting.sandboxId())
    const ended = yield* Effect.forkChild(first.end, { startImmediately: true })
    yield* Fiber.interrupt(waiting.fiber)
    yield* Fiber.join(ended)
    yield* settle
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:0")
  }).pipe(TestEnvironment.run)
)

it.effect("P5 dynamic images only where they are allowed, and `min` is not kept for them", () =>
  Effect.gen(function* () {
    const strict = yield* Environment.make({ ...image, id: "strict", pool: { min: 1, max: 1 } })
    assert.strictEqual(
      (yield* Effect.flip(strict.withSession({ image: "other" }, Effect.void)))._tag,
      "UnknownImageError"
    )
    const loose = yield* Environment.make({
      ...image,
      id: "loose",
      pool: { min: 2, max: 2 },
      dynamicImages: ["py.*"],
      idleTimeToLive: "1 minute"
    })
    assert.strictEqual(yield* loose.withSession({ image: "python" }, here), "loose/python:0:0")
    assert.strictEqual(
      (yield* Effect.flip(loose.withSession({ image: "a-python" }, Effect.void)))._tag,
      "UnknownImageError"
    )
    const dynamic = (yield* loose.stats).images.find((one) => one.image === "python")
    assert.strictEqual(dynamic?.min, 0)
    yield* TestClock.adjust("3 minutes")
    assert.strictEqual((yield* loose.stats).images.find((one) => one.image === "python")?.counts.Ready, 0)
  }).pipe(TestEnvironment.run)
)

it.effect("P6 idle sandboxes above `min` are taken down after idleTimeToLive", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({
      ...image,
      pool: { min: 1, max: 4 },
      idleTimeToLive: "1 minute",
      housekeepInterval: "10 seconds"
    })
    const users = yield* Effect.all(Array.from({ length: 4 }, () => HeldSession.open(env)))
    yield* Effect.forEach(users, (user) => user.end)
    yield* settle
    assert.strictEqual((yield* env.stats).ledger.live, 4)
    yield* TestClock.adjust("50 seconds")
    assert.strictEqual((yield* env.stats).ledger.live, 4)
    yield* TestClock.adjust("30 seconds")
    assert.strictEqual((yield* env.stats).ledger.live, 1)
    yield* TestClock.adjust("10 minutes")
    assert.strictEqual((yield* env.stats).ledger.live, 1)
  }).pipe(TestEnvironment.run)
)

it.effect("P6 a sandbox is recycled after maxSessions, and after maxLifetime, never under a session", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1, maxSessions: 2 })
    const used: Array<string> = []
    for (let i = 0; i < 5; i++) {
      used.push(yield* env.withSession({}, here))
      yield* settle
    }
    assert.deepStrictEqual(
      used,
      [0, 0, 1, 1, 2].map((generation) => `env/base:0:${generation}`)
    )
    const old = yield* Environment.make({ ...image, id: "old", pool: 1, maxLifetime: "1 minute" })
    const long = yield* HeldSession.open(old)
    yield* TestClock.adjust("2 minutes")
    assert.strictEqual((yield* old.stats).images[0]?.counts.InSession, 1)
    assert.isTrue(Exit.isSuccess(yield* long.end))
    yield* settle
    assert.strictEqual(yield* old.withSession({}, here), "old/base:0:1")
    yield* TestClock.adjust("2 minutes")
    assert.strictEqual(yield* old.withSession({}, here), "old/base:0:3", "an idle one goes at housekeeping")
  }).pipe(TestEnvironment.run)
)

it.effect("P6 a sandbox that its driver cannot clean is replaced after its session", () =>
  Effect.gen(function* () {
    const driver = yield* SandboxDriver
    const once = SandboxDriver.of({
      ...driver,
      create: (spec) => Effect.map(driver.create(spec), (instance) => ({ ...instance, reusable: false }))
    })
    const env = yield* Environment.make({ ...image, pool: 1 }).pipe(Effect.provideService(SandboxDriver, once))
    const used: Array<string> = []
    for (let i = 0; i < 3; i++) {
      used.push(yield* env.withSession({}, here))
      yield* settle
      assert.strictEqual((yield* env.stats).images[0]?.counts.Ready, 1, "the next one is there already")
    }
    assert.deepStrictEqual(used, ["env/base:0:0", "env/base:0:1", "env/base:0:2"])
  }).pipe(TestEnvironment.run)
)

it.effect("L1 min > max is refused", () =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(Environment.make({ ...image, pool: { min: 3, max: 2 } }))
    assert.strictEqual(error._tag, "InvalidConfigurationError")
    assert.include(error.message, "pool.min")
  }).pipe(TestEnvironment.run)
)

it.effect("L2 F21 a sandbox that is being taken down, or that died, is never handed out", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: { min: 2, max: 2 } })
    yield* faults.add({ at: ["destroy"], how: { _tag: "Slow", millis: 5000 } })
    yield* driver.kill("env/base:0:0")
    const used = yield* Effect.all([env.withSession({}, here), env.withSession({}, here)])
    assert.deepStrictEqual(used, ["env/base:1:0", "env/base:1:0"])
    yield* TestClock.adjust("5 seconds")
    yield* faults.clear
    assert.strictEqual((yield* env.stats).images[0]?.counts.Ready, 2)
  }).pipe(TestEnvironment.run)
)

it.effect("L4 waiters are woken when the environment stops", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1 })
    const first = yield* HeldSession.open(env)
    const waiting = yield* HeldSession.open(env)
    yield* env.shutdown
    assert.instanceOf(failure(yield* Fiber.await(waiting.fiber)), EnvironmentClosedError)
    assert.instanceOf(failure(yield* Fiber.await(first.fiber)), EnvironmentClosedError)
  }).pipe(TestEnvironment.run)
)

it.effect("L5 an unused session effect acquires nothing; a dropped handle goes with its scope", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1 })
    void env.session()
    assert.strictEqual((yield* env.stats).images[0]?.counts.Ready, 1)
    const scope = yield* Scope.make()
    yield* Scope.provide(env.session(), scope)
    assert.strictEqual((yield* env.stats).sessions, 1)
    yield* Scope.close(scope, Exit.void)
    yield* settle
    assert.strictEqual((yield* env.stats).sessions, 0)
    assert.strictEqual((yield* env.stats).images[0]?.counts.Ready, 1)
  }).pipe(TestEnvironment.run)
)

it.effect("L7 sandbox ids never repeat, also not those of failed attempts", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    yield* Environment.make({ ...image, pool: 2 })
    for (let i = 0; i < 20; i++) {
      if (i % 3 === 0) yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
      else yield* faults.clear
      for (const id of driver.alive()) yield* driver.kill(id)
      yield* TestClock.adjust("1 minute")
    }
    const created = driver.calls().filter((call) => call.startsWith("create "))
    assert.strictEqual(new Set(created).size, created.length)
    assert.isAbove(created.length, 20)
  }).pipe(TestEnvironment.run)
)

it.effect("L7 S2 session ids are long and do not collide", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1 })
    const ids = new Set<string>()
    for (let i = 0; i < 2000; i++)
      ids.add(
        yield* env.withSession(
          {},
          Effect.map(Session, ({ id }) => id)
        )
      )
    assert.strictEqual(ids.size, 2000)
    // 24 digits of base 36 that hold 26 bits for each six.
    for (const id of ids) assert.match(id, /^session-[0-9a-z]{24}$/)
  }).pipe(TestEnvironment.run)
)

it.effect("P4 who does not want to wait gets what is ready, or an answer at once", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1, acquireTimeout: 0 })
    const first = yield* HeldSession.open(env)
    assert.strictEqual(yield* first.isInside, "env/base:0:0")
    const error = failure(yield* Effect.exit(env.withSession({}, here)))
    assert.instanceOf(error, EnvironmentOverloadError)
    assert.strictEqual(error.waitedMillis, 0)
    yield* first.end
  }).pipe(TestEnvironment.run)
)

it.effect("P4 a sandbox that was grown for someone who gave up is kept for the next", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: { min: 0, max: 2 }, acquireTimeout: "3 seconds" })
    yield* faults.add({ at: ["create"], how: { _tag: "Slow", millis: 10_000 } })
    const impatient = yield* HeldSession.open(env)
    yield* TestClock.adjust("3 seconds")
    assert.instanceOf(failure(yield* Fiber.await(impatient.fiber)), EnvironmentOverloadError)
    yield* TestClock.adjust("7 seconds")
    assert.deepInclude((yield* env.stats).images[0]?.counts, { Ready: 1, SettingUp: 0 })
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:0")
    assert.strictEqual((yield* env.stats).ledger.created, 1)
  }).pipe(TestEnvironment.run)
)

it.effect("P4 P1 without a pool, a sandbox that was made for someone who gave up is taken down", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: 0, acquireTimeout: "3 seconds" })
    yield* faults.add({ at: ["create"], how: { _tag: "Slow", millis: 10_000 } })
    const impatient = yield* HeldSession.open(env)
    yield* TestClock.adjust("3 seconds")
    assert.instanceOf(failure(yield* Fiber.await(impatient.fiber)), EnvironmentOverloadError)
    yield* TestClock.adjust("7 seconds")
    assert.deepStrictEqual(driver.alive(), [])
    assert.strictEqual((yield* env.stats).ledger.live, 0)
  }).pipe(TestEnvironment.run)
)

it.effect("P3 I2 a sandbox takes its place until it is gone: what replaces it waits for that", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const env = yield* Environment.make({ ...image, pool: 2, maxSessions: 1 })
    for (let i = 0; i < 2; i++) yield* (yield* HeldSession.open(env)).end
    const waiting = yield* Effect.all(Array.from({ length: 4 }, () => HeldSession.open(env)))
    for (let i = 0; i < 40; i++) {
      yield* TestClock.adjust("1 second")
      for (const user of waiting) yield* Effect.forkChild(user.end)
      const stats = yield* env.stats
      assert.isAtMost(stats.ledger.live, 2)
    }
    assert.strictEqual(driver.peak("base"), 2)
    for (const user of waiting) assert.isTrue(Exit.isSuccess(yield* Fiber.await(user.fiber)))
    yield* Effect.forkChild(env.shutdown)
    yield* TestClock.adjust("5 seconds")
  }).pipe((test) => TestEnvironment.run(test, { driver: { latency: { destroy: "5 seconds" } } }))
)

it.effect("P5 P3 many who are the first on a dynamic image share its pool", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const slowly: LoadBalancer.LoadBalancer = {
      name: "slow",
      make: <A extends object>() => Effect.delay(LoadBalancer.roundRobin.make<A>(), 10)
    }
    const options = { ...image, images: [], pool: { min: 0, max: 3 }, dynamicImages: true, loadBalancer: slowly }
    const env = yield* Environment.make(options)
    const users = yield* Effect.forEach(Array.from({ length: 9 }), () =>
      Effect.forkChild(env.withSession({ image: "new" }, Effect.delay(here, 1000)), { startImmediately: true })
    )
    yield* TestClock.adjust("4 seconds")
    const used = yield* Fiber.joinAll(users)
    assert.strictEqual(new Set(used).size, 3)
    assert.strictEqual(driver.peak("new"), 3)
    assert.strictEqual((yield* env.stats).images.length, 1)
  }).pipe(TestEnvironment.run)
)

it.effect("P6 shrinking does not go below `min`, also while those before are still going", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({
      ...image,
      pool: { min: 2, max: 6 },
      idleTimeToLive: "1 minute",
      housekeepInterval: "10 seconds"
    })
    const users = yield* Effect.all(Array.from({ length: 6 }, () => HeldSession.open(env)))
    yield* Effect.forEach(users, (user) => user.end)
    yield* faults.add({ at: ["destroy"], how: { _tag: "Slow", millis: 25_000 } })
    for (let i = 0; i < 20; i++) {
      yield* TestClock.adjust("10 seconds")
      assert.isAtLeast((yield* env.stats).images[0]?.counts.Ready ?? 0, 2)
    }
    assert.strictEqual((yield* env.stats).ledger.live, 2)
    assert.strictEqual((yield* env.stats).ledger.created, 6, "none was taken down to be started again")
    yield* faults.clear
  }).pipe(TestEnvironment.run)
)

it.effect("P6 the most recent one serves, so that the others go idle", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({
      ...image,
      pool: { min: 0, max: 4 },
      idleTimeToLive: "1 minute",
      housekeepInterval: "10 seconds",
      loadBalancer: LoadBalancer.mostRecent
    })
    const users = yield* Effect.all(Array.from({ length: 4 }, () => HeldSession.open(env)))
    yield* Effect.forEach(users, (user) => user.end)
    yield* settle
    const used = new Set<string>()
    for (let i = 0; i < 20; i++) {
      used.add(yield* env.withSession({}, here))
      yield* TestClock.adjust("10 seconds")
    }
    assert.strictEqual(used.size, 1)
    assert.strictEqual((yield* env.stats).ledger.live, 1)
  }).pipe(TestEnvironment.run)
)

it.effect("P6 I8 who waits for a sandbox that is recycled gets its successor", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1, maxSessions: 1 })
    const first = yield* HeldSession.open(env)
    const second = yield* HeldSession.open(env)
    yield* first.end
    yield* settle
    assert.strictEqual(yield* second.isInside, "env/base:0:1")
    yield* second.end
  }).pipe(TestEnvironment.run)
)

it.effect("F21 a sandbox that dies in the moment it is handed over is not used: its acquirer gets another", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const env = yield* Environment.make({ ...image, pool: 2 })
    // The death is told while the acquirer is on its way to its session.
    for (let turns = 0; turns < 8; turns++) {
      const [victim] = driver.alive()
      if (victim === undefined) return assert.fail("none is alive")
      yield* Effect.forkChild(driver.kill(victim))
      for (let i = 0; i < turns; i++) yield* Effect.yieldNow
      const user = yield* HeldSession.open(env)
      yield* settle
      // Handed over before its death was known, it ends with the state error; afterwards it is never used.
      const ended = user.fiber.pollUnsafe()
      if (ended === undefined) assert.include([...driver.alive()], yield* user.isInside)
      else assert.propertyVal(failure(ended), "_tag", "SandboxStateError")
      yield* user.end
      yield* settle
      assert.strictEqual((yield* env.stats).images[0]?.counts.Ready, 2)
    }
  }).pipe(TestEnvironment.run)
)

it.effect("F21 I4 death at any turn of a hand-over: no session begins on a sandbox that is known to be dead", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: 1 })
    faults.on("reset", () => Turns.pass(2))
    let replaced = 0
    for (let turns = 0; turns < 12; turns++) {
      const first = yield* HeldSession.open(env)
      const [victim] = driver.alive()
      if (victim === undefined) return assert.fail("none is alive")
      const second = yield* Effect.forkChild(
        env.withSession(
          {},
          Effect.gen(function* () {
            const sandbox = yield* Sandbox
            assert.deepStrictEqual([...(yield* sandbox.stateErrors)], [], `after turn ${turns}`)
            yield* Effect.yieldNow
            return sandbox.id as string
          })
        ),
        { startImmediately: true }
      )
      yield* Effect.forkChild(first.end, { startImmediately: true })
      for (let i = 0; i < turns; i++) yield* Effect.yieldNow
      yield* driver.kill(victim)
      yield* settle
      const exit = yield* Fiber.await(second)
      if (Exit.isFailure(exit)) assert.propertyVal(failure(exit), "_tag", "SandboxStateError")
      else if (exit.value !== victim) replaced++
      yield* settle
      assert.strictEqual((yield* env.stats).images[0]?.counts.Ready, 1)
      assert.notInclude([...driver.alive()], victim)
    }
    assert.isAbove(replaced, 0)
  }).pipe(TestEnvironment.run)
)

it.effect.prop(
  "I8 P2 P4 waiters are served in order, whoever else gives up or is interrupted, and none is forgotten",
  [
    Schema.Struct({
      max: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 3 })),
      users: Schema.Array(
        Schema.Struct({
          arrives: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5000 })),
          stays: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 2000 })),
          interruptedAfter: Schema.Union([
            Schema.Undefined,
            Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 3000 }))
          ])
        })
      )
    })
  ],
  ([{ max, users }]) =>
    Effect.gen(function* () {
      const env = yield* Environment.make({ ...image, pool: max })
      const arrived: Array<number> = []
      const served: Array<number> = []
      const gone = new Set<number>()
      const fibers = yield* Effect.forEach(users, ({ arrives, interruptedAfter, stays }, index) =>
        Effect.gen(function* () {
          yield* Effect.sleep(arrives + 1)
          arrived.push(index)
          const session = env.withSession(
            {},
            Effect.andThen(
              Effect.sync(() => served.push(index)),
              Effect.sleep(stays)
            )
          )
          if (interruptedAfter === undefined) return yield* session
          const fiber = yield* Effect.forkChild(session, { startImmediately: true })
          yield* Effect.sleep(interruptedAfter)
          yield* Fiber.interrupt(fiber)
          if (!served.includes(index)) gone.add(index)
        }).pipe(Effect.forkChild)
      )
      for (let i = 0; i < 200; i++) {
        yield* TestClock.adjust(100)
        const [pool] = (yield* env.stats).images
        if ((pool?.waiters ?? 0) > 0) assert.strictEqual(pool?.counts.Ready, 0)
      }
      yield* TestClock.adjust("1 hour")
      yield* Fiber.joinAll(fibers)
      assert.deepStrictEqual(
        served,
        arrived.filter((index) => !gone.has(index))
      )
    }).pipe(TestEnvironment.run),
  { arbitrary: { runs: 60, seed: "waiters" }, timeout: 60_000 }
)
