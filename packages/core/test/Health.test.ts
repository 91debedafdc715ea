import {
  Environment,
  EnvironmentOutageError,
  EventRecorder,
  Feature,
  Sandbox,
  type SandboxEvent,
  type SandboxId,
  SandboxStateError
} from "@effect-sandbox/core"
import { assert, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Random, References, Schedule, Scheduler, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Lab from "./support/Lab.ts"
import * as TestDriver from "./support/TestDriver.ts"

const { Boom, One } = Lab
const here = Effect.map(Sandbox, ({ id }) => id)
const image = { images: ["base"], id: "env", keepaliveInterval: 0 } as const
const counts = (env: Lab.LabEnvironment | Environment.Environment<never>) =>
  Effect.map(env.stats, ({ images }) => images[0]?.counts)

const pings = (calls: ReadonlyArray<string>) => calls.filter((call) => call.startsWith("ping")).length

it.effect("H1 sandboxes are pinged at their interval, ready or in a session; a failure takes them offline", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({ ...image, pool: 1, keepaliveInterval: "10 seconds" })
    yield* TestClock.adjust("30 seconds")
    assert.strictEqual(pings(driver.calls), 3)
    const busy = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.never)), { startImmediately: true })
    yield* TestClock.adjust("20 seconds")
    assert.strictEqual(pings(driver.calls), 5)
    driver.faults.ping = (spec) =>
      spec.generation === 0 ? Effect.fail(TestDriver.stateError(spec.sandboxId, "ping")) : Effect.void
    yield* TestClock.adjust("10 seconds")
    const error = Lab.failure(yield* Fiber.join(busy))
    assert.instanceOf(error, SandboxStateError)
    assert.strictEqual(error.operation, "ping")
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:1")
  }).pipe(Lab.run)
)

it.effect("H1 a feature's housekeeping runs at its interval, and its failure takes the sandbox offline", () =>
  Effect.gen(function* () {
    let rounds = 0
    const one: Lab.Script = { housekeep: Effect.sync(() => rounds++) }
    const env = yield* Lab.make({ one, housekeep: "10 seconds", keepaliveInterval: 0 })
    yield* TestClock.adjust("35 seconds")
    assert.strictEqual(rounds, 3)
    one.housekeep = Effect.fail(new Boom({ what: "housekeeping" }))
    yield* TestClock.adjust("10 seconds")
    delete one.housekeep
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:1")
    const events = yield* (yield* EventRecorder).events
    const done = events.filter((event) => event._tag === "FeatureHousekeepingDone" && event.featureId === "test/One")
    const failed = done.filter((event) => "error" in event && event.error !== undefined)
    assert.strictEqual(failed.length, 1, "L21 one failure, and no success after it")
    const counters = done.flatMap((event) =>
      event._tag === "FeatureHousekeepingDone" && event.sandboxId === "env/base:0:0" ? [event.counter] : []
    )
    assert.deepStrictEqual(counters, [0, 1, 2, 3], "L21 counters advance by one")
  }).pipe(Lab.run)
)

it.effect("H1 L23 no check during set-up or teardown: they interrupt one that runs", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    let checking = false
    const during: Array<string> = []
    const note = (what: string) => Effect.sync(() => checking && during.push(what))
    const one: Lab.Script = { session: note("session"), sessionTeardown: note("teardown"), setup: note("setup") }
    driver.faults.ping = () =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          checking = true
        }),
        () => Effect.sleep("4 seconds"),
        () =>
          Effect.sync(() => {
            checking = false
          })
      )
    const env = yield* Lab.make({ one, keepaliveInterval: "5 seconds", proactiveSessionSetup: false })
    for (let i = 0; i < 20; i++) {
      yield* TestClock.adjust("700 millis")
      const session = yield* Effect.forkChild(env.withSession({}, Effect.sleep("900 millis")), {
        startImmediately: true
      })
      yield* TestClock.adjust("900 millis")
      yield* Fiber.join(session)
    }
    assert.isAbove(pings(driver.calls), 1)
    assert.deepStrictEqual(during, [])
  }).pipe(Lab.run)
)

it.effect("F19 H1 slow is not dead: only `missedPings` in a row condemn, and none of an earlier generation", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({
      ...image,
      pool: 1,
      keepaliveInterval: "10 seconds",
      pingTimeout: "1 second",
      missedPings: 3
    })
    driver.faults.ping = () => Effect.sleep("5 seconds")
    yield* TestClock.adjust("24 seconds")
    driver.faults.ping = () => Effect.void
    yield* TestClock.adjust("30 seconds")
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:0", "two slow pings, then an answer")
    driver.faults.ping = (spec) => (spec.generation === 0 ? Effect.never : Effect.void)
    yield* TestClock.adjust("50 seconds")
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:1")
    yield* TestClock.adjust("5 minutes")
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:1")
  }).pipe(Lab.run)
)

it.effect("L20 a defect in a ping does not end housekeeping", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({ ...image, pool: 2, keepaliveInterval: "10 seconds" })
    driver.faults.ping = (spec) => (spec.sandboxId === "env/base:0:0" ? Effect.die(new Error("bug")) : Effect.void)
    yield* TestClock.adjust("11 seconds")
    assert.deepStrictEqual((yield* counts(env))?.Ready, 2)
    const before = pings(driver.calls)
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual(pings(driver.calls) - before, 2)
  }).pipe(Lab.run)
)

it.effect("H2 F21 a death is noticed at once, and the sandbox replaced in its slot under the next generation", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({ ...image, pool: 3 })
    yield* driver.kill("env/base:1:0")
    yield* Lab.settle
    assert.sameMembers([...driver.alive()], ["env/base:0:0", "env/base:1:1", "env/base:2:0"])
    assert.strictEqual((yield* env.stats).images[0]?.replaced, 1)
  }).pipe(Lab.run)
)

it.effect("H2 what could not be replaced at once is made up for by housekeeping", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    let isBroken = false
    const one: Lab.Script = {
      setup: Effect.suspend(() => (isBroken ? Effect.fail(new Boom({ what: "setup" })) : Effect.void))
    }
    const env = yield* Lab.make({ one, pool: 2, keepaliveInterval: 0, housekeepInterval: "30 seconds" })
    isBroken = true
    yield* driver.kill("env/base:0:0")
    yield* Lab.settle
    assert.strictEqual((yield* counts(env))?.Ready, 1)
    isBroken = false
    yield* TestClock.adjust("31 seconds")
    assert.strictEqual((yield* counts(env))?.Ready, 2)
  }).pipe(Lab.run)
)

it.effect("H3 F22 an outage is retried by the schedule, told in events and stats, and over at the first success", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({
      ...image,
      pool: { min: 0, max: 4 },
      outageRetry: Schedule.spaced("10 seconds"),
      outageGracePeriod: "1 hour"
    })
    driver.faults.create = (spec) => Effect.fail(TestDriver.stateError(spec.sandboxId, "create"))
    const users = yield* Effect.forEach([1, 2, 3], () =>
      Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    )
    yield* TestClock.adjust("100 seconds")
    const attempts = driver.calls.filter((call) => call.startsWith("create")).length
    assert.isAtMost(attempts, 14, "no tight loop")
    const outage = (yield* env.stats).images[0]?.outage
    assert.strictEqual(outage?.durationMillis, 100_000)
    driver.faults.create = () => Effect.void
    yield* TestClock.adjust("10 seconds")
    yield* Fiber.joinAll(users)
    assert.isUndefined((yield* env.stats).images[0]?.outage)
    const events = yield* (yield* EventRecorder).events
    const tags = events.map((event) => event._tag).filter((tag) => tag.startsWith("ImageOutage"))
    assert.deepStrictEqual(tags, ["ImageOutageStarted", "ImageOutageEnded"])
  }).pipe(Lab.run)
)

it.effect(
  "H3 L6 past the grace period waiters fail, new ones at once, until a background attempt succeeds; other images go on",
  () =>
    Effect.gen(function* () {
      const driver = yield* TestDriver.TestDriver
      const env = yield* Environment.make({
        ...image,
        images: ["base", "good"],
        pool: { min: 0, max: 4 },
        outageRetry: Schedule.spaced("10 seconds"),
        outageGracePeriod: "1 minute"
      })
      driver.faults.create = (spec) =>
        spec.image === "base" ? Effect.fail(TestDriver.stateError(spec.sandboxId, "create")) : Effect.void
      const waiting = yield* Effect.forkChild(Effect.exit(env.withSession({}, here)), { startImmediately: true })
      yield* TestClock.adjust("59 seconds")
      assert.isUndefined(waiting.pollUnsafe())
      assert.strictEqual(yield* env.withSession({ image: "good" }, here), "env/good:0:0")
      yield* TestClock.adjust("1 second")
      const error = Lab.failure(yield* Fiber.join(waiting))
      assert.instanceOf(error, EnvironmentOutageError)
      assert.strictEqual(error.offlineMillis, 60_000)
      assert.instanceOf(Lab.failure(yield* Effect.exit(env.withSession({}, here))), EnvironmentOutageError)
      assert.strictEqual(yield* env.withSession({ image: "good" }, here), "env/good:0:0")
      driver.faults.create = () => Effect.void
      yield* TestClock.adjust("10 seconds")
      assert.match(yield* env.withSession({}, here), /^env\/base:/)
      assert.strictEqual(yield* env.status, "Online")
    }).pipe(Lab.run)
)

it.effect("H3 onOutage: shutdown ends the environment instead", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({
      ...image,
      pool: { min: 0, max: 1 },
      onOutage: "shutdown",
      outageGracePeriod: "1 minute"
    })
    driver.faults.create = (spec) => Effect.fail(TestDriver.stateError(spec.sandboxId, "create"))
    const waiting = yield* Effect.forkChild(Effect.exit(env.withSession({}, here)), { startImmediately: true })
    yield* TestClock.adjust("2 minutes")
    assert.isTrue(Exit.isFailure(yield* Fiber.join(waiting)))
    assert.strictEqual(yield* env.status, "Offline")
  }).pipe(Lab.run)
)

it.effect("H3 L22 a user error neither begins nor ends an outage, nor moves its clock", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const one: Lab.Script = { setup: Effect.fail(new Boom({ what: "setup" })) }
    const env = yield* Lab.make({
      one,
      keepaliveInterval: 0,
      pool: { min: 0, max: 2 },
      outageRetry: Schedule.spaced("10 seconds"),
      outageGracePeriod: "1 hour"
    })
    assert.instanceOf(Lab.failure(yield* Effect.exit(env.withSession({}, here))), Boom)
    assert.isUndefined((yield* env.stats).images[0]?.outage)
    driver.faults.create = (spec) => Effect.fail(TestDriver.stateError(spec.sandboxId, "create"))
    const waiting = yield* Effect.forkChild(Effect.exit(env.withSession({}, here)), { startImmediately: true })
    yield* TestClock.adjust("25 seconds")
    driver.faults.create = () => Effect.void
    yield* TestClock.adjust("10 seconds")
    assert.instanceOf(Lab.failure(yield* Fiber.join(waiting)), Boom)
    assert.isAtLeast((yield* env.stats).images[0]?.outage?.durationMillis ?? 0, 35_000)
  }).pipe(Lab.run)
)

class Host extends Context.Service<Host, { readonly n: number }>()("test/Host") {}
const host = (log: Array<string>, housekeep: Effect.Effect<unknown, unknown> = Effect.void) =>
  Feature.host(Host, {
    housekeepInterval: "10 seconds",
    setup: Effect.gen(function* () {
      yield* Effect.acquireRelease(
        Effect.sync(() => log.push("host up")),
        () => Effect.sync(() => log.push("host down"))
      )
      return { session: Effect.succeed({ n: 1 }), housekeep }
    })
  })

it.effect("H4 host features are set up before the first sandbox and torn down after the last", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const features = [Lab.feature(One, log, {}), host(log)] as const
    const env = yield* Environment.make({ ...image, pool: 1, features })
    assert.strictEqual(
      yield* env.withSession(
        {},
        Effect.map(Host, ({ n }) => n)
      ),
      1
    )
    yield* env.shutdown
    assert.strictEqual(log[0], "host up")
    assert.strictEqual(log.at(-1), "host down")
    assert.include(log, "teardown one")
  }).pipe(Lab.run)
)

it.effect("H4 a failing housekeeping of a host feature shuts the environment down", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    let fails = false
    const check = Effect.suspend(() => (fails ? Effect.fail("broken") : Effect.void))
    const env = yield* Environment.make({ ...image, pool: 1, features: [host(log, check)] })
    yield* TestClock.adjust("35 seconds")
    assert.strictEqual(yield* env.status, "Online")
    fails = true
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual(yield* env.status, "Offline")
    assert.strictEqual(log.at(-1), "host down")
  }).pipe(Lab.run)
)

it.effect(
  "H5 L12 L13 shutdown does its work once, every caller waits for all of it, and it ends in Offline at once",
  () =>
    Effect.gen(function* () {
      const driver = yield* TestDriver.TestDriver
      const env = yield* Environment.make({ ...image, pool: 4, keepaliveInterval: "1 hour", concurrency: 2 })
      let at = 0
      let most = 0
      driver.faults.destroy = () =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            most = Math.max(most, ++at)
          }),
          () => Effect.sleep("1 second"),
          () => Effect.sync(() => at--)
        )
      const callers = yield* Effect.forEach([1, 2, 3], () =>
        Effect.forkChild(
          Effect.andThen(
            env.shutdown,
            Effect.sync(() => driver.alive().length)
          ),
          { startImmediately: true }
        )
      )
      const impatient = yield* Effect.forkChild(env.shutdown, { startImmediately: true })
      yield* Fiber.interrupt(impatient)
      assert.strictEqual(yield* env.status, "ShuttingDown")
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* Effect.forEach(callers, Fiber.join), [0, 0, 0])
      assert.strictEqual(yield* env.status, "Offline")
      assert.strictEqual(most, 2, "in parallel, bounded")
      assert.strictEqual(driver.calls.filter((call) => call.startsWith("destroy")).length, 4)
      const closed = yield* Effect.flip(env.withSession({}, Effect.void))
      assert.strictEqual(closed._tag, "EnvironmentClosedError")
    }).pipe(Lab.run)
)

it.effect("H5 shutdown ends running sessions and returns after every event was handled", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 2 })
    const users = yield* Effect.forEach([1, 2], () =>
      Effect.forkChild(Effect.exit(env.withSession({}, Effect.never)), { startImmediately: true })
    )
    yield* env.shutdown
    for (const user of users) {
      assert.propertyVal(Lab.failure(yield* Fiber.join(user)), "_tag", "EnvironmentClosedError")
    }
    const events: ReadonlyArray<SandboxEvent.SandboxEvent> = yield* (yield* EventRecorder).events
    assert.strictEqual(events.at(-1)?._tag, "EnvironmentShutDown")
  }).pipe(Lab.run)
)

it.effect("L8 a sandbox that comes up while the environment stops is taken down, pooled or not", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    for (const pool of [0, { min: 0, max: 3 }]) {
      driver.faults.create = () => Effect.uninterruptible(Effect.sleep("10 seconds"))
      const env = yield* Environment.make({ ...image, id: `env${JSON.stringify(pool)}`, pool })
      const user = yield* Effect.forkChild(Effect.exit(env.withSession({}, here)), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      const stopping = yield* Effect.forkChild(env.shutdown, { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(stopping)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(user)))
      assert.deepStrictEqual(driver.alive(), [])
      assert.strictEqual((yield* env.stats).ledger.live, 0)
    }
  }).pipe(Lab.run)
)

it.effect("L9 a failed start leaves nothing behind", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    let n = 0
    const one: Lab.Script = {
      setup: Effect.suspend(() => (++n === 3 ? Effect.fail(new Boom({ what: "third" })) : Effect.sleep("1 second")))
    }
    const starting = yield* Effect.forkChild(
      Effect.exit(Effect.scoped(Lab.make({ one, pool: 5, keepaliveInterval: 0 })))
    )
    yield* TestClock.adjust("5 seconds")
    assert.instanceOf(Lab.failure(yield* Fiber.join(starting)), Boom)
    assert.deepStrictEqual(driver.alive(), [])
  }).pipe(Lab.run)
)

it.effect("L9 stopping during the start ends it, and the environment does not come online", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    driver.faults.create = () => Effect.sleep("10 seconds")
    const scope = yield* Scope.make()
    const starting = yield* Effect.forkChild(Scope.provide(Environment.make({ ...image, pool: 3 }), scope))
    yield* TestClock.adjust("1 second")
    yield* Fiber.interrupt(starting)
    yield* Scope.close(scope, Exit.void)
    assert.deepStrictEqual(driver.alive(), [])
    const events = yield* (yield* EventRecorder).events
    assert.strictEqual(events.at(-1)?._tag, "EnvironmentShutDown")
  }).pipe(Lab.run)
)

it.effect("L10 F23 a sandbox that cannot be destroyed does not keep the others, and is reported as leaked", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({ ...image, pool: 20 })
    driver.faults.destroy = (spec) => (spec.slot === 7 ? Effect.die(new Error("device busy")) : Effect.void)
    yield* env.shutdown
    const { ledger } = yield* env.stats
    assert.deepStrictEqual(ledger, { created: 20, destroyed: 20, live: 0, leaked: 1 })
    const events = yield* (yield* EventRecorder).events
    const shutDown = events.filter((event) => event._tag === "SandboxShutDown")
    assert.strictEqual(shutDown.length, 20)
    const failed = shutDown.filter((event) => event.error !== undefined)
    assert.deepStrictEqual(
      failed.map((event) => [event.sandboxId, event.error?.message]),
      [["env/base:7:0", "device busy"]]
    )
  }).pipe(Lab.run)
)

it.effect("L11 an ending session does not bring a stopped sandbox back", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const release = yield* Deferred.make<void>()
    const one: Lab.Script = { sessionTeardown: Deferred.await(release) }
    const env = yield* Lab.make({ one, keepaliveInterval: 0 })
    const user = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.void)), { startImmediately: true })
    yield* Lab.settle
    assert.strictEqual((yield* counts(env))?.ExitingSession, 1)
    const stopping = yield* Effect.forkChild(env.shutdown, { startImmediately: true })
    yield* Deferred.succeed(release, undefined)
    yield* Fiber.join(stopping)
    yield* Fiber.join(user)
    const lines = yield* (yield* EventRecorder).lines
    assert.isFalse(
      lines.slice(lines.findIndex((line) => line.includes("ExitingSession"))).some((line) => line.includes("-> Ready"))
    )
    assert.deepStrictEqual(driver.alive(), [])
  }).pipe(Lab.run)
)

it.effect("L17 housekeeping that fails under a session ends it with the state error", () =>
  Effect.gen(function* () {
    const one: Lab.Script = {}
    const env = yield* Lab.make({ one, housekeep: "10 seconds", keepaliveInterval: 0 })
    const user = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.never)), { startImmediately: true })
    one.housekeep = Effect.fail(new Boom({ what: "check" }))
    yield* TestClock.adjust("10 seconds")
    assert.instanceOf(Lab.failure(yield* Fiber.join(user)), SandboxStateError)
    delete one.housekeep
  }).pipe(Lab.run)
)

it.effect("F24 stats and status answer while everything hangs", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({ ...image, pool: 2, keepaliveInterval: "1 second", pingTimeout: "1 hour" })
    driver.faults.ping = () => Effect.never
    driver.faults.reset = () => Effect.never
    const user = yield* Effect.forkChild(env.withSession({}, Effect.uninterruptible(Effect.sleep("1 hour"))), {
      startImmediately: true
    })
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual((yield* counts(env))?.InSession, 1)
    assert.strictEqual(yield* env.status, "Online")
    assert.strictEqual(yield* env.withSession({}, here), "env/base:1:0", "another sandbox is not held up")
    yield* TestClock.adjust("1 hour")
    yield* Fiber.join(user)
    driver.faults.reset = () => Effect.void
  }).pipe(Lab.run)
)

/** A life with everything in it; tells what happened as lines. */
const life = Effect.gen(function* () {
  const driver = yield* TestDriver.TestDriver
  driver.faults.create = () => Effect.flatMap(Random.nextIntBetween(1, 50), (millis) => Effect.sleep(millis))
  const env = yield* Lab.make({ pool: { min: 1, max: 3 }, keepaliveInterval: "1 second" }).pipe((starting) =>
    Effect.flatMap(Effect.forkChild(starting, { startImmediately: true }), (fiber) =>
      Effect.andThen(TestClock.adjust("1 second"), Fiber.join(fiber))
    )
  )
  const users = yield* Effect.forEach(Array.from({ length: 20 }), () =>
    Effect.forkChild(
      Effect.gen(function* () {
        yield* Effect.sleep(yield* Random.nextIntBetween(0, 500))
        const kind = yield* Random.nextIntBetween(0, 4)
        const body = Effect.gen(function* () {
          yield* Effect.sleep(yield* Random.nextIntBetween(0, 300))
          if (kind === 1) return yield* new Boom({ what: "body" })
          if (kind === 2) return yield* TestDriver.stateError(yield* here, "body")
          if (kind === 3) {
            yield* driver.kill(yield* here)
            return yield* Effect.never
          }
        })
        yield* Effect.exit(env.withSession({}, body))
      })
    )
  )
  yield* TestClock.adjust("20 seconds")
  yield* Fiber.joinAll(users)
  const { ledger } = yield* env.stats
  assert.strictEqual(ledger.created - ledger.destroyed - ledger.live, 0)
  return yield* (yield* EventRecorder).lines
})

it.effect("I10 the same seed gives the same run", () =>
  Effect.gen(function* () {
    const run = (seed: string) => life.pipe(Lab.run, Random.withSeed(seed))
    const first = yield* run("a")
    assert.isAbove(first.length, 100)
    assert.deepStrictEqual(yield* run("a"), first)
    assert.notDeepEqual(yield* run("b"), first)
  })
)

it.effect("I1 I2 I3 I4 I5 I6 I7 I8 I9 random lives are well formed, whatever the seed", () =>
  Effect.gen(function* () {
    for (let seed = 0; seed < 40; seed++) yield* life.pipe(Lab.run, Random.withSeed(`life ${seed}`))
  })
)

const sweep = Array.from({ length: 62 }, (_, index) => index + 3)

it.effect(
  "F28 I1 I7 interrupted at any step of acquire, session start, body, end or shutdown, nothing is stranded",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        for (const proactiveSessionSetup of [true, false]) {
          const scenario = Effect.gen(function* () {
            const driver = yield* TestDriver.TestDriver
            const env = yield* Lab.make({ pool: { min: 1, max: 2 }, proactiveSessionSetup, keepaliveInterval: 0 })
            const user = yield* Effect.forkChild(
              Effect.provideService(env.withSession({}, Effect.yieldNow), References.MaxOpsBeforeYield, maxOps)
            )
            for (let i = 0; i < maxOps % 12; i++) yield* Effect.yieldNow
            yield* Fiber.interrupt(user)
            yield* Lab.settle
            const { images, ledger, sessions } = yield* env.stats
            assert.strictEqual(sessions, 0, `maxOps ${maxOps}`)
            assert.strictEqual(images[0]?.waiters, 0)
            assert.strictEqual(images[0]?.counts.Ready, ledger.live, `stranded at ${maxOps}: ${JSON.stringify(images)}`)
            for (let i = 0; i < 3; i++) yield* env.withSession({}, Effect.void)
            const stopping = yield* Effect.forkChild(
              Effect.provideService(env.shutdown, References.MaxOpsBeforeYield, maxOps)
            )
            yield* Effect.yieldNow
            yield* Fiber.interrupt(stopping)
            yield* env.shutdown
            assert.deepStrictEqual(driver.alive(), [])
          })
          yield* Lab.run(scenario)
        }
      }
    })
)

it.effect("F28 I1 L9 a start that is interrupted at any step leaves nothing", () =>
  Effect.gen(function* () {
    for (const maxOps of sweep) {
      const scenario = Effect.gen(function* () {
        const driver = yield* TestDriver.TestDriver
        const starting = yield* Effect.forkChild(
          Effect.scoped(
            Effect.provideService(Lab.make({ pool: 3, keepaliveInterval: 0 }), References.MaxOpsBeforeYield, maxOps)
          )
        )
        for (let i = 0; i < maxOps % 17; i++) yield* Effect.yieldNow
        yield* Fiber.interrupt(starting)
        assert.deepStrictEqual(driver.alive(), [], `maxOps ${maxOps}`)
      })
      yield* Lab.run(scenario)
    }
  })
)

it.effect("H1 L23 nobody checks a sandbox before it is ready, however long its set-up takes", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    let rounds = 0
    const one: Lab.Script = { setup: Effect.sleep("30 seconds"), housekeep: Effect.sync(() => rounds++) }
    driver.faults.create = () => Effect.sleep("30 seconds")
    const starting = yield* Effect.forkChild(Lab.make({ one, housekeep: "1 second", keepaliveInterval: "1 second" }))
    yield* TestClock.adjust("59 seconds")
    assert.strictEqual(pings(driver.calls), 0)
    assert.strictEqual(rounds, 0)
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(starting)
    yield* TestClock.adjust("2 seconds")
    assert.strictEqual(pings(driver.calls), 2)
    assert.strictEqual(rounds, 2)
  }).pipe(Lab.run)
)

it.effect("H1 L23 nobody checks during the background set-up of the next session, nor during a teardown", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const one: Lab.Script = {}
    const env = yield* Lab.make({ one, keepaliveInterval: "1 second" })
    one.session = Effect.sleep("10 seconds")
    one.sessionTeardown = Effect.sleep("10 seconds")
    const user = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    const before = pings(driver.calls)
    yield* TestClock.adjust("19 seconds")
    assert.strictEqual(pings(driver.calls), before)
    yield* Fiber.join(user)
    yield* TestClock.adjust("4 seconds")
    assert.isAbove(pings(driver.calls), before)
    delete one.sessionTeardown
  }).pipe(Lab.run)
)

it.effect("H1 a keepalive interval of zero is never", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    yield* Environment.make({ ...image, pool: 1, keepaliveInterval: 0 })
    yield* TestClock.adjust("1 hour")
    assert.strictEqual(pings(driver.calls), 0)
  }).pipe(Lab.run)
)

it.effect("F19 H1 a session does not wait for a slow ping, and the ping that it cuts short is not missed", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({
      ...image,
      pool: 1,
      keepaliveInterval: "10 seconds",
      pingTimeout: "9 seconds",
      missedPings: 1
    })
    driver.faults.ping = () => Effect.sleep("8 seconds")
    for (let i = 0; i < 6; i++) {
      yield* TestClock.adjust("10500 millis")
      assert.strictEqual(yield* env.withSession({}, here), "env/base:0:0", "at once: no time passes here")
      yield* Lab.settle
    }
    assert.isAbove(pings(driver.calls), 3)
  }).pipe(Lab.run)
)

/** An environment whose first sandbox has a check that hangs and cannot be interrupted. */
const stuck = Effect.fnUntraced(function* (by: "ping" | "housekeep", options: Lab.Options = {}) {
  const driver = yield* TestDriver.TestDriver
  // Nobody should do this; whoever waits for a stalled transport in a finalizer does.
  const hangs = Effect.uninterruptible(Effect.sleep("1 hour"))
  let left = 1
  const once = Effect.suspend(() => (left-- > 0 ? hangs : Effect.void))
  const one: Lab.Script = by === "housekeep" ? { housekeep: once } : {}
  if (by === "ping") driver.faults.ping = () => once
  return yield* Lab.make({
    one,
    housekeep: "10 seconds",
    keepaliveInterval: "10 seconds",
    teardownTimeout: "5 seconds",
    pingTimeout: "20 minutes",
    ...options
  })
})

/** What events tell of a check that was given up. */
const givenUp = Effect.gen(function* () {
  const events = yield* (yield* EventRecorder).events
  return events.flatMap((event) =>
    event._tag === "SandboxHousekeepingDone" && event.error !== undefined
      ? [`${event.sandboxId}: ${event.error.message}`]
      : []
  )
})

const told = (operation: string) => [
  `env/base:0:0: Sandbox env/base:0:0 broke during ${operation}: it was interrupted and did not end within 5000 ms`
]

it.effect(
  "F24 a check that cannot be interrupted holds up a caller for a limited time: another sandbox serves it",
  () =>
    Effect.gen(function* () {
      const driver = yield* TestDriver.TestDriver
      for (const [by, operation] of [
        ["ping", "ping"],
        ["housekeep", "housekeep test/One"]
      ] as const) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const env = yield* stuck(by)
            yield* TestClock.adjust("11 seconds")
            const user = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
            const waiting = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
            yield* TestClock.adjust("4 seconds")
            assert.isUndefined(user.pollUnsafe())
            yield* TestClock.adjust("1 second")
            assert.strictEqual(yield* Fiber.join(user), "env/base:0:1")
            assert.strictEqual(yield* Fiber.join(waiting), "env/base:0:1")
            assert.deepStrictEqual(driver.alive(), ["env/base:0:1"])
            assert.include(yield* givenUp, told(operation)[0])
          })
        )
      }
    }).pipe(Lab.runUnchecked)
)

it.effect("F24 S5 whoever goes away does not wait for a check that cannot be interrupted", () =>
  Effect.gen(function* () {
    const env = yield* stuck("ping")
    yield* TestClock.adjust("11 seconds")
    const user = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    yield* Fiber.interrupt(user)
    assert.deepInclude(yield* counts(env), { Acquired: 1, Ready: 0 })
    yield* TestClock.adjust("5 seconds")
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:1")
  }).pipe(Lab.run)
)

it.effect("H1 S5 a sandbox whose acquirer goes away while a check ends is free again", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({ ...image, pool: 1, keepaliveInterval: "10 seconds" })
    driver.faults.ping = () => Effect.onInterrupt(Effect.never, () => Effect.sleep("2 seconds"))
    yield* TestClock.adjust("11 seconds")
    const user = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    yield* Fiber.interrupt(user)
    const next = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* Fiber.join(next), "env/base:0:0")
  }).pipe(Lab.run)
)

it.effect("F24 I9 a check that cannot be interrupted holds up the end of a session for a limited time", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* stuck("ping")
    const user = yield* Effect.forkChild(env.withSession({}, Effect.delay(here, "11 seconds")), {
      startImmediately: true
    })
    yield* TestClock.adjust("15 seconds")
    assert.isUndefined(user.pollUnsafe())
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* Fiber.join(user), "env/base:0:0", "what its body gave is the caller's")
    yield* Lab.settle
    assert.deepStrictEqual(driver.alive(), ["env/base:0:1"])
    assert.deepStrictEqual(yield* givenUp, told("ping"))
  }).pipe(Lab.run)
)

it.effect("F24 H5 a check that cannot be interrupted holds up neither a shutdown nor the end of the scope", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    for (const by of ["ping", "housekeep"] as const) {
      const scope = yield* Scope.make()
      const env = yield* Scope.provide(stuck(by), scope)
      yield* TestClock.adjust("11 seconds")
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      assert.strictEqual(yield* env.status, "Offline")
      assert.deepStrictEqual(driver.alive(), [])
    }
    const last = (yield* (yield* EventRecorder).events).length
    yield* TestClock.adjust("2 hours")
    assert.strictEqual((yield* (yield* EventRecorder).events).length, last, "its late end is nobody's business")
  }).pipe(Lab.runUnchecked)
)

it.effect("F24 S4 a ping that takes too long and cannot be interrupted says that the sandbox is dead", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* stuck("ping", { pingTimeout: "2 seconds" })
    const user = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.never)), { startImmediately: true })
    yield* TestClock.adjust("16 seconds")
    assert.isUndefined(user.pollUnsafe())
    yield* TestClock.adjust("1 second")
    const error = Lab.failure(yield* Fiber.join(user))
    assert.instanceOf(error, SandboxStateError)
    assert.strictEqual(error.operation, "ping")
    yield* Lab.settle
    assert.deepStrictEqual(driver.alive(), ["env/base:0:1"])
  }).pipe(Lab.run)
)

it.effect("H2 L7 a death is made up for in the same slot whatever the sandbox is doing", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const one: Lab.Script = {}
    const env = yield* Lab.make({ one, keepaliveInterval: 0, outageRetry: Schedule.spaced("1 second") })
    const dies = (status: string, from: string, to: string) =>
      Effect.gen(function* () {
        const now = (yield* counts(env)) as { readonly [status: string]: number }
        assert.strictEqual(now[status], 1, `${status}: ${JSON.stringify(now)}`)
        yield* driver.kill(from)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(driver.alive(), [to])
        assert.strictEqual((yield* counts(env))?.Ready, 1, status)
      })
    yield* dies("Ready", "env/base:0:0", "env/base:0:1")
    const inSession = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.never)), {
      startImmediately: true
    })
    yield* dies("InSession", "env/base:0:1", "env/base:0:2")
    assert.instanceOf(Lab.failure(yield* Fiber.join(inSession)), SandboxStateError)
    one.sessionTeardown = Effect.sleep("1 second")
    const exiting = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.void)), { startImmediately: true })
    yield* dies("ExitingSession", "env/base:0:2", "env/base:0:3")
    assert.isTrue(Exit.isSuccess(yield* Fiber.join(exiting)), "I9 the death is not the caller's: its body was done")
    delete one.sessionTeardown
    one.session = Effect.suspend(() => {
      delete one.session
      return Effect.never
    })
    yield* env.withSession({}, Effect.void)
    yield* Lab.settle
    yield* dies("SettingUp", "env/base:0:3", "env/base:0:4")
  }).pipe(Lab.run)
)

it.effect("H3 P1 a start whose first attempts fail comes up with all of `min` when the image recovers", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    for (const concurrency of [1, 2, 32]) {
      const id = `env${concurrency}`
      let left = 3
      driver.faults.create = (spec) =>
        left-- > 0 ? Effect.fail(TestDriver.stateError(spec.sandboxId, "create")) : Effect.void
      const starting = yield* Effect.forkChild(
        Environment.make({ ...image, id, pool: 3, concurrency, outageRetry: Schedule.spaced("1 second") })
      )
      yield* TestClock.adjust("5 seconds")
      const env = starting.pollUnsafe() ?? assert.fail("the start hangs")
      if (Exit.isFailure(env)) return assert.fail(String(env.cause))
      assert.strictEqual((yield* counts(env.value))?.Ready, 3)
    }
  }).pipe(Lab.run)
)

it.effect("H3 L9 L13 a start that is in an outage beyond the grace period fails, and leaves nothing", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    driver.faults.create = (spec) => Effect.fail(TestDriver.stateError(spec.sandboxId, "create"))
    for (const onOutage of ["fail", "shutdown"] as const) {
      const starting = yield* Effect.forkChild(
        Effect.exit(
          Environment.make({ ...image, id: onOutage, pool: 3, onOutage, outageGracePeriod: "1 minute" }).pipe(
            Effect.scoped
          )
        )
      )
      yield* TestClock.adjust("59 seconds")
      assert.isUndefined(starting.pollUnsafe(), onOutage)
      yield* TestClock.adjust("2 seconds")
      const error = Lab.failure(yield* Fiber.join(starting))
      assert.instanceOf(error, EnvironmentOutageError, onOutage)
      assert.strictEqual(error.offlineMillis, 60_000)
      assert.deepStrictEqual(driver.alive(), [])
    }
  }).pipe(Lab.run)
)

it.effect("H3 V2 a start that an outage ends is told before the shutdown, however its fibers take turns", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const recorder = yield* EventRecorder
    driver.faults.create = (spec) => Effect.fail(TestDriver.stateError(spec.sandboxId, "create"))
    for (const turns of [3, 5, 8, 16, 2048]) {
      yield* recorder.clear
      yield* Environment.make({
        ...image,
        id: `env${turns}`,
        pool: 1,
        onOutage: "shutdown",
        outageGracePeriod: 0
      }).pipe(Effect.scoped, Effect.exit, Effect.provideService(Scheduler.MaxOpsBeforeYield, turns))
      const tags = (yield* recorder.events).map((event) => event._tag).filter((tag) => tag.startsWith("Environment"))
      assert.deepStrictEqual(
        tags,
        ["EnvironmentStarting", "EnvironmentStarted", "EnvironmentShuttingDown", "EnvironmentShutDown"],
        `${turns} operations a turn`
      )
    }
  }).pipe(Lab.run)
)

it.effect("H1 times that are not whole milliseconds do not keep housekeeping from sleeping", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    let housekept = 0
    const one = { housekeep: Effect.sync(() => housekept++) }
    // Adding an interval and taking off what has passed of it leaves less than nothing, for some of these times.
    driver.faults.create = (spec) => Effect.sleep(Math.sqrt(spec.environmentId.length) * 131.7)
    driver.faults.ping = (spec) => Effect.sleep(Math.sqrt(spec.environmentId.length) * 17.3)
    for (let i = 1; i <= 20; i++) {
      const starting = yield* Effect.forkChild(
        Lab.make({ id: "e".repeat(i), one, housekeep: "7 seconds", keepaliveInterval: "1 second" })
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(starting)
    }
    yield* TestClock.adjust("7 seconds")
    assert.isAtLeast(housekept, 20)
  }).pipe(Lab.run)
)

it.effect("H3 F22 by default attempts are spaced by a back-off with jitter, from 250 ms to 30 s", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({ ...image, pool: { min: 0, max: 1 }, outageGracePeriod: "1 day" })
    const times: Array<number> = []
    driver.faults.create = (spec) =>
      Effect.flatMap(
        Effect.clockWith((clock) => clock.currentTimeMillis),
        (now) => {
          times.push(now)
          return Effect.fail(TestDriver.stateError(spec.sandboxId, "create"))
        }
      )
    const users = yield* Effect.forEach([1, 2, 3, 4], () =>
      Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    )
    yield* TestClock.adjust("4 minutes")
    const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0))
    assert.isAbove(gaps.length, 8)
    for (const [index, gap] of gaps.entries()) {
      const expected = Math.min(30_000, 250 * 2 ** index)
      assert.isAtLeast(gap, expected * 0.79, `attempt ${index}: ${gaps.join(", ")}`)
      assert.isAtMost(gap, expected * 1.21, `attempt ${index}: ${gaps.join(", ")}`)
    }
    assert.isTrue(
      gaps.some((gap, index) => gap !== Math.min(30_000, 250 * 2 ** index)),
      "jitter"
    )
    assert.strictEqual((yield* env.stats).images[0]?.outage?.attempts, times.length)
    driver.faults.create = () => Effect.void
    yield* TestClock.adjust("40 seconds")
    yield* Fiber.joinAll(users)
  }).pipe(Lab.run)
)

it.effect("H3 H2 a retry schedule that gives up is begun again by housekeeping", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({
      ...image,
      pool: { min: 0, max: 1 },
      outageRetry: Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 2 })),
      outageGracePeriod: "1 hour",
      housekeepInterval: "1 minute"
    })
    const creates = () => driver.calls.filter((call) => call.startsWith("create")).length
    driver.faults.create = (spec) => Effect.fail(TestDriver.stateError(spec.sandboxId, "create"))
    const user = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    yield* TestClock.adjust("50 seconds")
    const first = creates()
    assert.strictEqual(first, 3)
    yield* TestClock.adjust("1 minute")
    assert.isAbove(creates(), first)
    driver.faults.create = () => Effect.void
    yield* TestClock.adjust("1 minute")
    yield* Fiber.join(user)
  }).pipe(Lab.run)
)

it.effect("H3 in an outage, sessions go on and sandboxes that are up are still handed out", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({
      ...image,
      pool: { min: 2, max: 3 },
      outageGracePeriod: "1 minute",
      outageRetry: Schedule.spaced("10 seconds")
    })
    driver.faults.create = (spec) => Effect.fail(TestDriver.stateError(spec.sandboxId, "create"))
    const running = yield* Effect.forkChild(env.withSession({}, Effect.as(Effect.sleep("10 minutes"), "done")), {
      startImmediately: true
    })
    yield* driver.kill("env/base:1:0")
    yield* TestClock.adjust("2 minutes")
    assert.isDefined((yield* env.stats).images[0]?.outage)
    assert.instanceOf(Lab.failure(yield* Effect.exit(env.withSession({}, here))), EnvironmentOutageError)
    yield* TestClock.adjust("8 minutes")
    assert.strictEqual(yield* Fiber.join(running), "done")
    yield* Lab.settle
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:0")
  }).pipe(Lab.run)
)

it.effect("H3 L22 stats answer in an outage, also the moment it begins", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({ ...image, pool: { min: 0, max: 1 }, outageGracePeriod: "1 hour" })
    driver.faults.create = (spec) => Effect.fail(TestDriver.stateError(spec.sandboxId, "create"))
    yield* Effect.forkChild(Effect.exit(env.withSession({}, here)), { startImmediately: true })
    yield* Lab.settle
    assert.deepStrictEqual((yield* env.stats).images[0]?.outage, { sinceMillis: 0, durationMillis: 0, attempts: 1 })
    yield* TestClock.adjust("200 millis")
    assert.strictEqual((yield* env.stats).images[0]?.outage?.durationMillis, 200)
  }).pipe(Lab.run)
)

it.effect("L20 L21 a new image does not disturb housekeeping, whose counter advances by one", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({
      ...image,
      pool: { min: 0, max: 1 },
      dynamicImages: true,
      housekeepInterval: "10 seconds"
    })
    for (let i = 0; i < 6; i++) {
      driver.faults.create = () => (i === 3 ? Effect.die(new Error("a bug of the driver")) : Effect.void)
      yield* Effect.exit(env.withSession({ image: `new${i}` }, here))
      yield* TestClock.adjust("10 seconds")
    }
    const events = yield* (yield* EventRecorder).events
    assert.deepStrictEqual(
      events.flatMap((event) => (event._tag === "EnvironmentHousekeepingDone" ? [event.counter] : [])),
      [0, 1, 2, 3, 4, 5]
    )
  }).pipe(Lab.run)
)

it.effect("L20 a failing housekeeping of one sandbox's feature does not end that of the others", () =>
  Effect.gen(function* () {
    let rounds = 0
    const one: Lab.Script = {}
    const env = yield* Lab.make({ one, pool: 3, housekeep: "10 seconds", keepaliveInterval: 0 })
    one.housekeep = Effect.suspend(() => (rounds++ === 0 ? Effect.die("bug") : Effect.void))
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual(rounds, 3)
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual(rounds, 6)
    assert.strictEqual((yield* counts(env))?.Ready, 3)
  }).pipe(Lab.run)
)

it.effect("H5 S4 a session may shut its own environment down, and is ended by it", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1 })
    const exit = yield* Effect.exit(env.withSession({}, env.shutdown))
    assert.propertyVal(Lab.failure(exit), "_tag", "EnvironmentClosedError")
    yield* env.shutdown
    assert.strictEqual(yield* env.status, "Offline")
  }).pipe(Lab.run)
)

it.effect("H5 L12 teardowns may ask for a shutdown: they are given up after their time limit, and it goes on", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    let env: Lab.LabEnvironment | undefined
    const one: Lab.Script = { sessionTeardown: Effect.suspend(() => env?.shutdown ?? Effect.void) }
    env = yield* Lab.make({ one, keepaliveInterval: 0, teardownTimeout: "5 seconds" })
    const user = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.void)), { startImmediately: true })
    yield* TestClock.adjust("20 seconds")
    assert.isDefined(user.pollUnsafe())
    assert.strictEqual(yield* env.status, "Offline")
    assert.deepStrictEqual(driver.alive(), [])
  }).pipe(Lab.run)
)

it.effect("H5 L10 F23 a destroy that hangs delays nobody, and counts as a leak", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* Environment.make({ ...image, pool: 20, teardownTimeout: "10 seconds", concurrency: 32 })
    let destroyed = 0
    driver.faults.destroy = (spec) =>
      spec.slot === 3
        ? Effect.sleep("1 hour")
        : Effect.sync(() => {
            destroyed++
          })
    const stopping = yield* Effect.forkChild(env.shutdown, { startImmediately: true })
    yield* Lab.settle
    assert.strictEqual(destroyed, 19, "no time has passed")
    yield* TestClock.adjust("9 seconds")
    assert.isUndefined(stopping.pollUnsafe())
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(stopping)
    assert.deepStrictEqual((yield* env.stats).ledger, { created: 20, destroyed: 20, live: 0, leaked: 1 })
    const events = yield* (yield* EventRecorder).events
    const failed = events.filter((event) => event._tag === "SandboxShutDown" && event.error !== undefined)
    assert.strictEqual(failed.length, 1)
  }).pipe(Lab.run)
)

it.effect("L8 H5 a create that cannot be interrupted and never ends does not keep the shutdown", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const scope = yield* Scope.make()
    const env = yield* Scope.provide(
      Environment.make({ ...image, pool: { min: 0, max: 1 }, teardownTimeout: "5 seconds" }),
      scope
    )
    driver.faults.create = () => Effect.uninterruptible(Effect.sleep("1 day"))
    const user = yield* Effect.forkChild(Effect.exit(env.withSession({}, here)), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    const stopping = yield* Effect.forkChild(env.shutdown, { startImmediately: true })
    yield* TestClock.adjust("5 minutes")
    assert.isDefined(stopping.pollUnsafe(), "the shutdown hangs")
    assert.propertyVal(Lab.failure(yield* Fiber.join(user)), "_tag", "EnvironmentClosedError")
    assert.strictEqual(yield* env.status, "Offline")
    const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
    yield* TestClock.adjust("2 days")
    yield* Fiber.join(closing)
    assert.deepStrictEqual(driver.alive(), [], "what came up late is taken down")
  }).pipe(Lab.runUnchecked)
)

it.effect("L11 a background set-up does not bring a stopped sandbox back", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    for (const at of ["reset", "session"] as const) {
      const one: Lab.Script = {}
      const env = yield* Lab.make({ id: at, one, keepaliveInterval: 0 })
      // It cannot be interrupted, so it ends after the shutdown has begun.
      const slowly = Effect.uninterruptible(Effect.sleep("10 seconds"))
      if (at === "reset") driver.faults.reset = () => slowly
      else one.session = slowly
      yield* env.withSession({}, Effect.void)
      yield* Lab.settle
      assert.strictEqual((yield* counts(env))?.SettingUp, 1)
      const stopping = yield* Effect.forkChild(env.shutdown, { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(stopping)
      driver.faults.reset = () => Effect.void
      const moves = (yield* (yield* EventRecorder).events).flatMap((event) =>
        event._tag === "SandboxStatusChanged" && event.environmentId === at ? [event.to] : []
      )
      assert.deepStrictEqual(moves.slice(-3), ["SettingUp", "ShuttingDown", "Offline"])
      assert.deepStrictEqual(driver.alive(), [])
    }
  }).pipe(Lab.run)
)

it.effect("F26 a sandbox is ready only when its reset has succeeded", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    for (const proactiveSessionSetup of [true, false]) {
      const env = yield* Environment.make({
        ...image,
        id: `env${proactiveSessionSetup}`,
        pool: 1,
        proactiveSessionSetup,
        acquireTimeout: "1 hour"
      })
      driver.faults.reset = () => Effect.sleep("10 seconds")
      yield* env.withSession({}, Effect.void)
      const next = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(next.pollUnsafe(), "it must not be handed out before")
      assert.strictEqual((yield* counts(env))?.Ready, 0)
      driver.faults.reset = (spec) =>
        spec.generation === 0 ? Effect.fail(TestDriver.stateError(spec.sandboxId, "reset")) : Effect.void
      yield* TestClock.adjust("1 second")
      assert.match(yield* Fiber.join(next), /:0:0$/)
      yield* Lab.settle
      assert.match(yield* env.withSession({}, here), /:0:1$/, "its reset failed: it is replaced")
      driver.faults.reset = () => Effect.void
    }
  }).pipe(Lab.run)
)

it.effect("F26 create is all or nothing: what was half made is taken down, failed, died or interrupted", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const kinds = [
      (id: SandboxId) => Effect.fail(TestDriver.stateError(id, "create")),
      () => Effect.die(new Error("a bug")),
      () => Effect.never
    ]
    for (const [index, kind] of kinds.entries()) {
      const before = driver.calls.length
      driver.faults.create = (spec) => kind(spec.sandboxId)
      const env = yield* Environment.make({
        ...image,
        id: `env${index}`,
        pool: { min: 0, max: 1 },
        acquireTimeout: 1000
      })
      yield* Effect.forkChild(Effect.exit(env.withSession({}, here)), { startImmediately: true })
      yield* TestClock.adjust("3 seconds")
      yield* env.shutdown
      const calls = driver.calls.slice(before)
      const created = calls.filter((call) => call.startsWith("create ")).map((call) => call.slice(7))
      const destroyed = calls.filter((call) => call.startsWith("destroy ")).map((call) => call.slice(8))
      assert.isAbove(created.length, 0)
      assert.deepStrictEqual(destroyed.toSorted(), created.toSorted())
      assert.deepStrictEqual(driver.alive(), [])
    }
  }).pipe(Lab.run)
)
