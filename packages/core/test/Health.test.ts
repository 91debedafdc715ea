import {
  Environment,
  type EnvironmentConfig,
  EnvironmentOutageError,
  EventRecorder,
  Sandbox,
  type SandboxEvent,
  SandboxStateError
} from "@effect-sandbox/core"
import { Faults, FeatureProbe, Interruption, SimDriver, SimulatedError, TestEnvironment } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Random, Schedule, Scheduler, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Lab from "./support/Lab.ts"

const here = Effect.map(Sandbox, ({ id }) => id)
const image = { images: ["base"], id: "env", keepaliveInterval: 0 } as const
const counts = <F>(env: Environment.Environment<F>) => Effect.map(env.stats, ({ images }) => images[0]?.counts)

const pings = (calls: ReadonlyArray<string>) => calls.filter((call) => call.startsWith("ping")).length

it.effect("H1 sandboxes are pinged at their interval, ready or in a session; a failure takes them offline", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: 1, keepaliveInterval: "10 seconds" })
    yield* TestClock.adjust("30 seconds")
    assert.strictEqual(pings(driver.calls()), 3)
    const busy = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.never)), { startImmediately: true })
    yield* TestClock.adjust("20 seconds")
    assert.strictEqual(pings(driver.calls()), 5)
    yield* faults.add({ at: ["ping"], sandbox: ".*:0", how: { _tag: "Fail" } })
    yield* TestClock.adjust("10 seconds")
    const error = Lab.failure(yield* Fiber.join(busy))
    assert.instanceOf(error, SandboxStateError)
    assert.strictEqual(error.operation, "ping")
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:1")
  }).pipe(TestEnvironment.run)
)

it.effect("H1 a feature's housekeeping runs at its interval, and its failure takes the sandbox offline", () =>
  Effect.gen(function* () {
    const { one, start } = Lab.probes({ housekeepInterval: "10 seconds" })
    const env = yield* start({ keepaliveInterval: 0 })
    yield* TestClock.adjust("35 seconds")
    assert.strictEqual(one.calls("housekeep").length, 3)
    one.on("housekeep", { _tag: "Fail" })
    yield* TestClock.adjust("10 seconds")
    one.off("housekeep")
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:1")
    const events = yield* (yield* EventRecorder).events
    const done = events.filter((event) => event._tag === "FeatureHousekeepingDone" && event.featureId === "one")
    const failed = done.filter((event) => "error" in event && event.error !== undefined)
    assert.strictEqual(failed.length, 1, "L21 one failure, and no success after it")
    const counters = done.flatMap((event) =>
      event._tag === "FeatureHousekeepingDone" && event.sandboxId === "env/base:0:0" ? [event.counter] : []
    )
    assert.deepStrictEqual(counters, [0, 1, 2, 3], "L21 counters advance by one")
  }).pipe(TestEnvironment.run)
)

it.effect("H1 L23 no check during set-up or teardown: they interrupt one that runs", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    let checking = false
    const during: Array<string> = []
    const note = (what: string) => Effect.sync(() => checking && during.push(what))
    const { one, start } = Lab.probes()
    for (const hook of ["setup", "session", "sessionTeardown"] as const) one.on(hook, () => note(hook))
    faults.on("ping", () =>
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
    )
    const env = yield* start({ keepaliveInterval: "5 seconds", proactiveSessionSetup: false })
    for (let i = 0; i < 20; i++) {
      yield* TestClock.adjust("700 millis")
      const session = yield* Effect.forkChild(env.withSession({}, Effect.sleep("900 millis")), {
        startImmediately: true
      })
      yield* TestClock.adjust("900 millis")
      yield* Fiber.join(session)
    }
    assert.isAbove(pings(driver.calls()), 1)
    assert.deepStrictEqual(during, [])
  }).pipe(TestEnvironment.run)
)

it.effect("H1 a check that is interrupted by nobody but itself has failed", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const recorder = yield* EventRecorder
    // What a driver gets that waits for the fiber of a connection which has gone.
    const connection = yield* Effect.forkChild(Effect.never)
    yield* Fiber.interrupt(connection)
    for (const operation of ["ping", "housekeep one"]) {
      const { one, start } = Lab.probes({ housekeepInterval: "10 seconds" })
      const env = yield* start({ id: operation, keepaliveInterval: "10 seconds" })
      if (operation === "ping") faults.on("ping", () => Fiber.join(connection))
      else one.on("housekeep", () => Fiber.join(connection))
      yield* TestClock.adjust("10 seconds")
      faults.on("ping", () => Effect.void)
      one.off("housekeep")
      assert.strictEqual(yield* env.withSession({}, here), `${operation}/base:0:1`)
    }
    const done = (yield* recorder.events).filter((event) => event._tag === "SandboxHousekeepingDone")
    assert.deepStrictEqual(
      done.flatMap(({ error }) => (error === undefined ? [] : [error.message])),
      [
        "Sandbox ping/base:0:0 broke during ping: it interrupted itself",
        "Sandbox housekeep one/base:0:0 broke during housekeep one: it interrupted itself"
      ]
    )
  }).pipe(TestEnvironment.run)
)

it.effect("F19 H1 slow is not dead: only `missedPings` in a row condemn, and none of an earlier generation", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({
      ...image,
      pool: 1,
      keepaliveInterval: "10 seconds",
      pingTimeout: "1 second",
      missedPings: 3
    })
    yield* faults.add({ at: ["ping"], how: { _tag: "Slow", millis: 5000 } })
    yield* TestClock.adjust("24 seconds")
    yield* faults.clear
    yield* TestClock.adjust("30 seconds")
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:0", "two slow pings, then an answer")
    yield* faults.add({ at: ["ping"], sandbox: ".*:0", how: { _tag: "Hang" } })
    yield* TestClock.adjust("50 seconds")
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:1")
    yield* TestClock.adjust("5 minutes")
    assert.strictEqual(yield* env.withSession({}, here), "env/base:0:1")
  }).pipe(TestEnvironment.run)
)

it.effect("L20 a defect in a ping does not end housekeeping", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: 2, keepaliveInterval: "10 seconds" })
    yield* faults.add({ at: ["ping"], sandbox: "env/base:0:0", how: { _tag: "Die" } })
    yield* TestClock.adjust("11 seconds")
    assert.deepStrictEqual((yield* counts(env))?.Ready, 2)
    const before = pings(driver.calls())
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual(pings(driver.calls()) - before, 2)
  }).pipe(TestEnvironment.run)
)

it.effect("H2 F21 a death is noticed at once, and the sandbox replaced in its slot under the next generation", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const env = yield* Environment.make({ ...image, pool: 3 })
    yield* driver.kill("env/base:1:0")
    yield* Lab.settle
    assert.sameMembers([...driver.alive()], ["env/base:0:0", "env/base:1:1", "env/base:2:0"])
    assert.strictEqual((yield* env.stats).images[0]?.replaced, 1)
  }).pipe(TestEnvironment.run)
)

it.effect("H2 what could not be replaced at once is made up for by housekeeping", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const { one, start } = Lab.probes()
    const env = yield* start({ pool: 2, keepaliveInterval: 0, housekeepInterval: "30 seconds" })
    one.on("setup", { _tag: "Fail" })
    yield* driver.kill("env/base:0:0")
    yield* Lab.settle
    assert.strictEqual((yield* counts(env))?.Ready, 1)
    one.off("setup")
    yield* TestClock.adjust("31 seconds")
    assert.strictEqual((yield* counts(env))?.Ready, 2)
  }).pipe(TestEnvironment.run)
)

it.effect("H3 F22 an outage is retried by the schedule, told in events and stats, and over at the first success", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    const env = yield* Environment.make({
      ...image,
      pool: { min: 0, max: 4 },
      outageRetry: Schedule.spaced("10 seconds"),
      outageGracePeriod: "1 hour"
    })
    yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
    const users = yield* Effect.forEach([1, 2, 3], () =>
      Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    )
    yield* TestClock.adjust("100 seconds")
    const attempts = driver.calls().filter((call) => call.startsWith("create")).length
    assert.isAtMost(attempts, 14, "no tight loop")
    const outage = (yield* env.stats).images[0]?.outage
    assert.strictEqual(outage?.durationMillis, 100_000)
    yield* faults.clear
    yield* TestClock.adjust("10 seconds")
    yield* Fiber.joinAll(users)
    assert.isUndefined((yield* env.stats).images[0]?.outage)
    const events = yield* (yield* EventRecorder).events
    const tags = events.map((event) => event._tag).filter((tag) => tag.startsWith("ImageOutage"))
    assert.deepStrictEqual(tags, ["ImageOutageStarted", "ImageOutageEnded"])
  }).pipe(TestEnvironment.run)
)

it.effect(
  "H3 L6 past the grace period waiters fail, new ones at once, until a background attempt succeeds; other images go on",
  () =>
    Effect.gen(function* () {
      const faults = yield* Faults
      const env = yield* Environment.make({
        ...image,
        images: ["base", "good"],
        pool: { min: 0, max: 4 },
        outageRetry: Schedule.spaced("10 seconds"),
        outageGracePeriod: "1 minute"
      })
      yield* faults.add({ at: ["create"], image: "base", how: { _tag: "Fail" } })
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
      yield* faults.clear
      yield* TestClock.adjust("10 seconds")
      assert.match(yield* env.withSession({}, here), /^env\/base:/)
      assert.strictEqual(yield* env.status, "Online")
    }).pipe(TestEnvironment.run)
)

it.effect("H3 onOutage: shutdown ends the environment instead", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({
      ...image,
      pool: { min: 0, max: 1 },
      onOutage: "shutdown",
      outageGracePeriod: "1 minute"
    })
    yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
    const waiting = yield* Effect.forkChild(Effect.exit(env.withSession({}, here)), { startImmediately: true })
    yield* TestClock.adjust("2 minutes")
    assert.isTrue(Exit.isFailure(yield* Fiber.join(waiting)))
    assert.strictEqual(yield* env.status, "Offline")
  }).pipe(TestEnvironment.run)
)

it.effect("H3 L22 a user error neither begins nor ends an outage, nor moves its clock", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const { one, start } = Lab.probes()
    one.on("setup", { _tag: "Fail" })
    const env = yield* start({
      keepaliveInterval: 0,
      pool: { min: 0, max: 2 },
      outageRetry: Schedule.spaced("10 seconds"),
      outageGracePeriod: "1 hour"
    })
    assert.instanceOf(Lab.failure(yield* Effect.exit(env.withSession({}, here))), SimulatedError)
    assert.isUndefined((yield* env.stats).images[0]?.outage)
    yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
    const waiting = yield* Effect.forkChild(Effect.exit(env.withSession({}, here)), { startImmediately: true })
    yield* TestClock.adjust("25 seconds")
    yield* faults.clear
    yield* TestClock.adjust("10 seconds")
    assert.instanceOf(Lab.failure(yield* Fiber.join(waiting)), SimulatedError)
    assert.isAtLeast((yield* env.stats).images[0]?.outage?.durationMillis ?? 0, 35_000)
  }).pipe(TestEnvironment.run)
)

it.effect("X5 H3 a set-up that interrupts itself is told to whoever asked, and not tried again and again", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    const creates = () => driver.calls().filter((call) => call.startsWith("create")).length
    const isInterrupted = (exit: Exit.Exit<unknown, unknown>) =>
      Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
    for (const point of ["create", "setup"] as const) {
      const { one, start } = Lab.probes()
      // It gives in at last, so that the test ends also when it is tried for ever.
      let left = 100
      const interrupt = () => Effect.suspend(() => (left-- > 0 ? Effect.interrupt : Effect.void))
      if (point === "create") faults.on("create", interrupt)
      else one.on("setup", interrupt)
      const env = yield* start({ id: point, pool: { min: 0, max: 2 }, keepaliveInterval: 0 })
      const before = creates()
      assert.isTrue(isInterrupted(yield* Effect.exit(env.withSession({}, here))), point)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(creates() - before, 1)
      const failed = yield* Effect.exit(Effect.scoped(start({ id: `${point} at start`, keepaliveInterval: 0 })))
      assert.isTrue(isInterrupted(failed), `${point} at start`)
      faults.on("create", () => Effect.void)
      one.off()
      assert.match(yield* env.withSession({}, here), new RegExp(`^${point}/base:`))
    }
  }).pipe(TestEnvironment.run)
)

it.effect("H4 host features are set up before the first sandbox and torn down after the last", () =>
  Effect.gen(function* () {
    const journal = FeatureProbe.journal()
    const host = FeatureProbe.host("host", { journal })
    const features = [FeatureProbe.make("one", { journal }).feature, host.feature] as const
    const env = yield* Environment.make({ ...image, pool: 1, features })
    assert.deepStrictEqual(yield* env.withSession({}, host.key), { name: "host", sandboxId: undefined, session: 1 })
    yield* env.shutdown
    const lines = journal.lines()
    assert.strictEqual(lines[0], "setup host")
    assert.strictEqual(lines.at(-1), "teardown host")
    assert.include(lines, "teardown one in env/base:0:0")
  }).pipe(TestEnvironment.run)
)

it.effect("H4 a failing housekeeping of a host feature shuts the environment down", () =>
  Effect.gen(function* () {
    const host = FeatureProbe.host("host", { housekeepInterval: "10 seconds" })
    const env = yield* Environment.make({ ...image, pool: 1, features: [host.feature] })
    yield* TestClock.adjust("35 seconds")
    assert.strictEqual(yield* env.status, "Online")
    host.on("housekeep", { _tag: "Fail" })
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual(yield* env.status, "Offline")
    assert.strictEqual(host.calls().at(-1)?.hook, "teardown")
  }).pipe(TestEnvironment.run)
)

it.effect("H4 I1 a host feature is torn down after its housekeeping has ended", () =>
  Effect.gen(function* () {
    const journal = FeatureProbe.journal()
    const host = FeatureProbe.host("host", { journal, housekeepInterval: "10 seconds" })
    host.on("housekeep", () =>
      Effect.onInterrupt(Effect.never, () =>
        Effect.andThen(
          Effect.sleep("2 seconds"),
          Effect.sync(() => journal.note("housekeep is over"))
        )
      )
    )
    const env = yield* Environment.make({ ...image, pool: 0, features: [host.feature] })
    yield* TestClock.adjust("11 seconds")
    const stopping = yield* Effect.forkChild(env.shutdown, { startImmediately: true })
    yield* TestClock.adjust("2 seconds")
    yield* Fiber.join(stopping)
    assert.deepStrictEqual(journal.lines(), ["setup host", "housekeep host", "housekeep is over", "teardown host"])
  }).pipe(TestEnvironment.run)
)

it.effect(
  "F24 H5 a host feature's housekeeping that cannot be interrupted holds up neither a shutdown nor the end of the scope",
  () =>
    Effect.gen(function* () {
      const host = FeatureProbe.host("host", { housekeepInterval: "10 seconds" })
      host.on("housekeep", () => Effect.uninterruptible(Effect.sleep("1 hour")))
      const scope = yield* Scope.make()
      const options = { ...image, pool: 1, features: [host.feature], teardownTimeout: "5 seconds" } as const
      const env = yield* Scope.provide(Environment.make(options), scope)
      yield* TestClock.adjust("11 seconds")
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      assert.strictEqual(yield* env.status, "Offline")
      assert.strictEqual(host.calls().at(-1)?.hook, "teardown")
      const recorder = yield* EventRecorder
      const last = (yield* recorder.events).length
      yield* TestClock.adjust("2 hours")
      assert.strictEqual((yield* recorder.events).length, last, "its late end is nobody's business")
    }).pipe(TestEnvironment.run)
)

it.effect("H4 H5 a host feature's housekeeping may ask for a shutdown", () =>
  Effect.gen(function* () {
    const host = FeatureProbe.host("host", { housekeepInterval: "10 seconds" })
    const env = yield* Environment.make({ ...image, pool: 1, features: [host.feature] })
    host.on("housekeep", () => env.shutdown)
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual(yield* env.status, "Offline", "at once: no time passes here")
  }).pipe(TestEnvironment.run)
)

it.effect("H4 a host feature's housekeeping that interrupts itself has failed", () =>
  Effect.gen(function* () {
    const host = FeatureProbe.host("host", { housekeepInterval: "10 seconds" })
    const env = yield* Environment.make({ ...image, pool: 1, features: [host.feature] })
    host.on("housekeep", () => Effect.interrupt)
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual(yield* env.status, "Offline")
  }).pipe(TestEnvironment.run)
)

it.effect(
  "H5 L12 L13 shutdown does its work once, every caller waits for all of it, and it ends in Offline at once",
  () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const faults = yield* Faults
      const env = yield* Environment.make({ ...image, pool: 4, keepaliveInterval: "1 hour", concurrency: 2 })
      let at = 0
      let most = 0
      faults.on("destroy", () =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            most = Math.max(most, ++at)
          }),
          () => Effect.sleep("1 second"),
          () => Effect.sync(() => at--)
        )
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
      assert.strictEqual(driver.calls().filter((call) => call.startsWith("destroy")).length, 4)
      const closed = yield* Effect.flip(env.withSession({}, Effect.void))
      assert.strictEqual(closed._tag, "EnvironmentClosedError")
    }).pipe(TestEnvironment.run)
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
  }).pipe(TestEnvironment.run)
)

it.effect("L8 a sandbox that comes up while the environment stops is taken down, pooled or not", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    for (const pool of [0, { min: 0, max: 3 }]) {
      faults.on("create", () => Effect.uninterruptible(Effect.sleep("10 seconds")))
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
  }).pipe(TestEnvironment.run)
)

it.effect("L9 a failed start leaves nothing behind", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const { one, start } = Lab.probes()
    const third = new SimulatedError({ point: "setup", description: "the third" })
    one.on("setup", ({ count }) => (count === 3 ? Effect.fail(third) : Effect.sleep("1 second")))
    const starting = yield* Effect.forkChild(Effect.exit(Effect.scoped(start({ pool: 5, keepaliveInterval: 0 }))))
    yield* TestClock.adjust("5 seconds")
    assert.strictEqual(Lab.failure(yield* Fiber.join(starting)), third)
    assert.deepStrictEqual(driver.alive(), [])
  }).pipe(TestEnvironment.run)
)

it.effect("L9 stopping during the start ends it, and the environment does not come online", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    yield* faults.add({ at: ["create"], how: { _tag: "Slow", millis: 10_000 } })
    const scope = yield* Scope.make()
    const starting = yield* Effect.forkChild(Scope.provide(Environment.make({ ...image, pool: 3 }), scope))
    yield* TestClock.adjust("1 second")
    yield* Fiber.interrupt(starting)
    yield* Scope.close(scope, Exit.void)
    assert.deepStrictEqual(driver.alive(), [])
    const events = yield* (yield* EventRecorder).events
    assert.strictEqual(events.at(-1)?._tag, "EnvironmentShutDown")
  }).pipe(TestEnvironment.run)
)

it.effect("L10 F23 a sandbox that cannot be destroyed does not keep the others, and is reported as leaked", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: 20 })
    yield* faults.add({ at: ["destroy"], sandbox: ".*:7:.*", how: { _tag: "Die", message: "device busy" } })
    yield* env.shutdown
    const { ledger } = yield* env.stats
    assert.deepStrictEqual(ledger, { created: 20, destroyed: 20, live: 0, leaked: 1 })
    const events = yield* (yield* EventRecorder).events
    const shutDown = events.filter((event) => event._tag === "SandboxShutDown")
    assert.strictEqual(shutDown.length, 20)
    const failed = shutDown.filter((event) => event.error !== undefined)
    assert.deepStrictEqual(
      failed.map((event) => [event.sandboxId, event.error?.message]),
      [["env/base:7:0", "Simulated defect at destroy: device busy"]]
    )
  }).pipe(TestEnvironment.run)
)

it.effect("L11 an ending session does not bring a stopped sandbox back", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const release = yield* Deferred.make<void>()
    const { one, start } = Lab.probes()
    one.on("sessionTeardown", () => Deferred.await(release))
    const env = yield* start({ keepaliveInterval: 0 })
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
  }).pipe(TestEnvironment.run)
)

it.effect("L17 housekeeping that fails under a session ends it with the state error", () =>
  Effect.gen(function* () {
    const { one, start } = Lab.probes({ housekeepInterval: "10 seconds" })
    const env = yield* start({ keepaliveInterval: 0 })
    const user = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.never)), { startImmediately: true })
    one.on("housekeep", { _tag: "Fail" })
    yield* TestClock.adjust("10 seconds")
    assert.instanceOf(Lab.failure(yield* Fiber.join(user)), SandboxStateError)
    one.off("housekeep")
  }).pipe(TestEnvironment.run)
)

it.effect("F24 stats and status answer while everything hangs", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: 2, keepaliveInterval: "1 second", pingTimeout: "1 hour" })
    yield* faults.add({ at: ["ping", "reset"], how: { _tag: "Hang" } })
    const user = yield* Effect.forkChild(env.withSession({}, Effect.uninterruptible(Effect.sleep("1 hour"))), {
      startImmediately: true
    })
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual((yield* counts(env))?.InSession, 1)
    assert.strictEqual(yield* env.status, "Online")
    assert.strictEqual(yield* env.withSession({}, here), "env/base:1:0", "another sandbox is not held up")
    yield* TestClock.adjust("1 hour")
    yield* Fiber.join(user)
    yield* faults.clear
  }).pipe(TestEnvironment.run)
)

/** A life with everything in it; tells what happened as lines. */
const life = Effect.gen(function* () {
  const driver = yield* SimDriver
  const faults = yield* Faults
  faults.on("create", () => Effect.flatMap(Random.nextIntBetween(1, 50), (millis) => Effect.sleep(millis)))
  const starting = yield* Effect.forkChild(Lab.start({ pool: { min: 1, max: 3 }, keepaliveInterval: "1 second" }), {
    startImmediately: true
  })
  yield* TestClock.adjust("1 second")
  const env = yield* Fiber.join(starting)
  const users = yield* Effect.forEach(Array.from({ length: 20 }), () =>
    Effect.forkChild(
      Effect.gen(function* () {
        yield* Effect.sleep(yield* Random.nextIntBetween(0, 500))
        const kind = yield* Random.nextIntBetween(0, 4)
        const body = Effect.gen(function* () {
          yield* Effect.sleep(yield* Random.nextIntBetween(0, 300))
          if (kind === 1) return yield* new Lab.Boom({ what: "body" })
          if (kind === 2) return yield* Lab.stateError(yield* here, "body")
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
    const run = (seed: string) => life.pipe(TestEnvironment.run, Random.withSeed(seed))
    const first = yield* run("a")
    assert.isAbove(first.length, 100)
    assert.deepStrictEqual(yield* run("a"), first)
    assert.notDeepEqual(yield* run("b"), first)
  })
)

it.effect("I1 I2 I3 I4 I5 I6 I7 I8 I9 random lives are well formed, whatever the seed", () =>
  Effect.gen(function* () {
    for (let seed = 0; seed < 40; seed++) yield* life.pipe(TestEnvironment.run, Random.withSeed(`life ${seed}`))
  })
)

it.effect(
  "F28 I1 I7 interrupted at any step of acquire, session start, body, end or shutdown, nothing is stranded",
  () =>
    Effect.gen(function* () {
      for (const phase of ["acquire", "sessionStart", "session", "sessionEnd", "shutdown"] as const) {
        for (const proactiveSessionSetup of [true, false]) {
          const { journal, start } = Lab.probes()
          const make = start({ pool: { min: 1, max: 2 }, proactiveSessionSetup, keepaliveInterval: 0 })
          yield* Interruption.environment({ phase, make, every: 25 })
          yield* journal.ledger.assertBalanced
        }
      }
    }).pipe(Effect.provide(SimDriver.layer()))
)

it.effect("F28 I1 L9 a start that is interrupted at any step leaves nothing", () =>
  Effect.gen(function* () {
    const { journal, start } = Lab.probes()
    yield* Interruption.environment({ phase: "start", make: start({ pool: 3, keepaliveInterval: 0 }), every: 25 })
    yield* journal.ledger.assertBalanced
  }).pipe(Effect.provide(SimDriver.layer()))
)

it.effect("H1 L23 nobody checks a sandbox before it is ready, however long its set-up takes", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    const { one, start } = Lab.probes({ housekeepInterval: "1 second" })
    one.on("setup", { _tag: "Slow", millis: 30_000 })
    yield* faults.add({ at: ["create"], how: { _tag: "Slow", millis: 30_000 } })
    const starting = yield* Effect.forkChild(start({ keepaliveInterval: "1 second" }))
    yield* TestClock.adjust("59 seconds")
    assert.strictEqual(pings(driver.calls()), 0)
    assert.strictEqual(one.calls("housekeep").length, 0)
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(starting)
    yield* TestClock.adjust("2 seconds")
    assert.strictEqual(pings(driver.calls()), 2)
    assert.strictEqual(one.calls("housekeep").length, 2)
  }).pipe(TestEnvironment.run)
)

it.effect("H1 L23 nobody checks during the background set-up of the next session, nor during a teardown", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const { one, start } = Lab.probes()
    const env = yield* start({ keepaliveInterval: "1 second" })
    one.on("session", { _tag: "Slow", millis: 10_000 })
    one.on("sessionTeardown", { _tag: "Slow", millis: 10_000 })
    const user = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    const before = pings(driver.calls())
    yield* TestClock.adjust("19 seconds")
    assert.strictEqual(pings(driver.calls()), before)
    yield* Fiber.join(user)
    yield* TestClock.adjust("4 seconds")
    assert.isAbove(pings(driver.calls()), before)
    one.off("sessionTeardown")
  }).pipe(TestEnvironment.run)
)

it.effect("H1 a keepalive interval of zero is never", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    yield* Environment.make({ ...image, pool: 1, keepaliveInterval: 0 })
    yield* TestClock.adjust("1 hour")
    assert.strictEqual(pings(driver.calls()), 0)
  }).pipe(TestEnvironment.run)
)

it.effect("F19 H1 a session does not wait for a slow ping, and the ping that it cuts short is not missed", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    const env = yield* Environment.make({
      ...image,
      pool: 1,
      keepaliveInterval: "10 seconds",
      pingTimeout: "9 seconds",
      missedPings: 1
    })
    yield* faults.add({ at: ["ping"], how: { _tag: "Slow", millis: 8000 } })
    for (let i = 0; i < 6; i++) {
      yield* TestClock.adjust("10500 millis")
      assert.strictEqual(yield* env.withSession({}, here), "env/base:0:0", "at once: no time passes here")
      yield* Lab.settle
    }
    assert.isAbove(pings(driver.calls()), 3)
  }).pipe(TestEnvironment.run)
)

/** An environment whose first sandbox has a check that hangs and cannot be interrupted. */
const stuck = Effect.fnUntraced(function* (by: "ping" | "housekeep", settings: EnvironmentConfig.Settings = {}) {
  const faults = yield* Faults
  // Nobody should do this; whoever waits for a stalled transport in a finalizer does.
  const hangs = Effect.uninterruptible(Effect.sleep("1 hour"))
  let left = 1
  const once = Effect.suspend(() => (left-- > 0 ? hangs : Effect.void))
  const { one, start } = Lab.probes({ housekeepInterval: "10 seconds" })
  if (by === "housekeep") one.on("housekeep", () => once)
  else faults.on("ping", () => once)
  return yield* start({
    keepaliveInterval: "10 seconds",
    teardownTimeout: "5 seconds",
    pingTimeout: "20 minutes",
    ...settings
  })
})

/** Runs a test on it. When its environment is gone, the late end of the check leaves nothing, either. */
const runStuck = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  TestEnvironment.run(
    Effect.andThen(
      Effect.addFinalizer(() => TestClock.adjust("1 hour")),
      test
    )
  )

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
      for (const [by, operation] of [
        ["ping", "ping"],
        ["housekeep", "housekeep one"]
      ] as const) {
        yield* runStuck(
          Effect.gen(function* () {
            const driver = yield* SimDriver
            const env = yield* stuck(by)
            yield* TestClock.adjust("11 seconds")
            const user = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
            const waiting = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
            yield* TestClock.adjust("4 seconds")
            assert.isUndefined(user.pollUnsafe())
            yield* TestClock.adjust("1 second")
            assert.strictEqual(yield* Fiber.join(user), "env/base:0:1")
            assert.strictEqual(yield* Fiber.join(waiting), "env/base:0:1")
            assert.deepStrictEqual([...driver.alive()], ["env/base:0:1"])
            assert.deepStrictEqual(yield* givenUp, told(operation))
          })
        )
      }
    })
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
  }).pipe(runStuck)
)

it.effect("H1 S5 a sandbox whose acquirer goes away while a check ends is free again", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: 1, keepaliveInterval: "10 seconds" })
    faults.on("ping", () => Effect.onInterrupt(Effect.never, () => Effect.sleep("2 seconds")))
    yield* TestClock.adjust("11 seconds")
    const user = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    yield* Fiber.interrupt(user)
    const next = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* Fiber.join(next), "env/base:0:0")
  }).pipe(TestEnvironment.run)
)

it.effect("F24 I9 a check that cannot be interrupted holds up the end of a session for a limited time", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const env = yield* stuck("ping")
    const user = yield* Effect.forkChild(env.withSession({}, Effect.delay(here, "11 seconds")), {
      startImmediately: true
    })
    yield* TestClock.adjust("15 seconds")
    assert.isUndefined(user.pollUnsafe())
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* Fiber.join(user), "env/base:0:0", "what its body gave is the caller's")
    yield* Lab.settle
    assert.deepStrictEqual([...driver.alive()], ["env/base:0:1"])
    assert.deepStrictEqual(yield* givenUp, told("ping"))
  }).pipe(runStuck)
)

it.effect("F24 H5 a check that cannot be interrupted holds up neither a shutdown nor the end of the scope", () =>
  Effect.gen(function* () {
    for (const by of ["ping", "housekeep"] as const) {
      yield* runStuck(
        Effect.gen(function* () {
          const driver = yield* SimDriver
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
          const recorder = yield* EventRecorder
          const last = (yield* recorder.events).length
          yield* TestClock.adjust("2 hours")
          assert.strictEqual((yield* recorder.events).length, last, "its late end is nobody's business")
        })
      )
    }
  })
)

it.effect("F24 S4 a ping that takes too long and cannot be interrupted says that the sandbox is dead", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const env = yield* stuck("ping", { pingTimeout: "2 seconds" })
    const user = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.never)), { startImmediately: true })
    yield* TestClock.adjust("16 seconds")
    assert.isUndefined(user.pollUnsafe())
    yield* TestClock.adjust("1 second")
    const error = Lab.failure(yield* Fiber.join(user))
    assert.instanceOf(error, SandboxStateError)
    assert.strictEqual(error.operation, "ping")
    yield* Lab.settle
    assert.deepStrictEqual([...driver.alive()], ["env/base:0:1"])
  }).pipe(runStuck)
)

it.effect("H2 L7 a death is made up for in the same slot whatever the sandbox is doing", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const { one, start } = Lab.probes()
    const env = yield* start({ keepaliveInterval: 0, outageRetry: Schedule.spaced("1 second") })
    const dies = (status: string, from: string, to: string) =>
      Effect.gen(function* () {
        const now = (yield* counts(env)) as { readonly [status: string]: number }
        assert.strictEqual(now[status], 1, `${status}: ${JSON.stringify(now)}`)
        yield* driver.kill(from)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual([...driver.alive()], [to])
        assert.strictEqual((yield* counts(env))?.Ready, 1, status)
      })
    yield* dies("Ready", "env/base:0:0", "env/base:0:1")
    const inSession = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.never)), {
      startImmediately: true
    })
    yield* dies("InSession", "env/base:0:1", "env/base:0:2")
    assert.instanceOf(Lab.failure(yield* Fiber.join(inSession)), SandboxStateError)
    one.on("sessionTeardown", { _tag: "Slow", millis: 1000 })
    const exiting = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.void)), { startImmediately: true })
    yield* dies("ExitingSession", "env/base:0:2", "env/base:0:3")
    assert.isTrue(Exit.isSuccess(yield* Fiber.join(exiting)), "I9 the death is not the caller's: its body was done")
    one.off("sessionTeardown")
    one.on("session", { _tag: "Hang" }, { times: 1 })
    yield* env.withSession({}, Effect.void)
    yield* Lab.settle
    yield* dies("SettingUp", "env/base:0:3", "env/base:0:4")
  }).pipe(TestEnvironment.run)
)

it.effect("H3 P1 a start whose first attempts fail comes up with all of `min` when the image recovers", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    for (const concurrency of [1, 2, 32]) {
      const id = `env${concurrency}`
      yield* faults.add({ at: ["create"], times: 3, how: { _tag: "Fail" } })
      const starting = yield* Effect.forkChild(
        Environment.make({ ...image, id, pool: 3, concurrency, outageRetry: Schedule.spaced("1 second") })
      )
      yield* TestClock.adjust("5 seconds")
      const env = starting.pollUnsafe() ?? assert.fail("the start hangs")
      if (Exit.isFailure(env)) return assert.fail(String(env.cause))
      assert.strictEqual((yield* counts(env.value))?.Ready, 3)
    }
  }).pipe(TestEnvironment.run)
)

it.effect("H3 L9 L13 a start that is in an outage beyond the grace period fails, and leaves nothing", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
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
  }).pipe(TestEnvironment.run)
)

it.effect("H3 P3 whoever waits is served at once when an outage ends while it is tried again", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    yield* faults.add({ at: ["create"], sandbox: ".*:1:0", how: { _tag: "Fail" } })
    yield* faults.add({ at: ["reset"], how: { _tag: "Slow", millis: 3000 } })
    const { one, start } = Lab.probes()
    one.on("setup", () => Effect.yieldNow)
    one.on("teardown", () => Effect.yieldNow)
    const env = yield* start({ ...image, pool: { min: 0, max: 2 }, outageRetry: Schedule.spaced("1 second") })
    const users = [1, 2].map(() => env.withSession({}, Effect.andThen(Effect.sleep("1 hour"), here)))
    yield* Effect.forEach(users, (user) => Effect.forkChild(user))
    // The first comes up after 3 seconds and ends the outage, while the next attempt for the second is on its way.
    yield* TestClock.adjust("8 seconds")
    assert.strictEqual((yield* counts(env))?.InSession, 2)
  }).pipe(TestEnvironment.run)
)

it.effect("H3 V2 a start that an outage ends is told before the shutdown, however its fibers take turns", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const recorder = yield* EventRecorder
    yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
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
  }).pipe(TestEnvironment.run)
)

it.effect("H1 times that are not whole milliseconds do not keep housekeeping from sleeping", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const { one, start } = Lab.probes({ housekeepInterval: "7 seconds" })
    // Adding an interval and taking off what has passed of it leaves less than nothing, for some of these times.
    faults.on("create", ({ environmentId = "" }) => Effect.sleep(Math.sqrt(environmentId.length) * 131.7))
    faults.on("ping", ({ environmentId = "" }) => Effect.sleep(Math.sqrt(environmentId.length) * 17.3))
    for (let i = 1; i <= 20; i++) {
      const starting = yield* Effect.forkChild(start({ id: "e".repeat(i), keepaliveInterval: "1 second" }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(starting)
    }
    yield* TestClock.adjust("7 seconds")
    assert.isAtLeast(one.calls("housekeep").length, 20)
  }).pipe(TestEnvironment.run)
)

it.effect("H3 F22 by default attempts are spaced by a back-off with jitter, from 250 ms to 30 s", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: { min: 0, max: 1 }, outageGracePeriod: "1 day" })
    yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
    const users = yield* Effect.forEach([1, 2, 3, 4], () =>
      Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    )
    yield* TestClock.adjust("4 minutes")
    const times = faults.struck().map(({ timestamp }) => timestamp)
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
    yield* faults.clear
    yield* TestClock.adjust("40 seconds")
    yield* Fiber.joinAll(users)
  }).pipe(TestEnvironment.run)
)

it.effect("H3 H2 a retry schedule that gives up is begun again by housekeeping", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    const env = yield* Environment.make({
      ...image,
      pool: { min: 0, max: 1 },
      outageRetry: Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 2 })),
      outageGracePeriod: "1 hour",
      housekeepInterval: "1 minute"
    })
    const creates = () => driver.calls().filter((call) => call.startsWith("create")).length
    yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
    const user = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    yield* TestClock.adjust("50 seconds")
    const first = creates()
    assert.strictEqual(first, 3)
    yield* TestClock.adjust("1 minute")
    assert.isAbove(creates(), first)
    yield* faults.clear
    yield* TestClock.adjust("1 minute")
    yield* Fiber.join(user)
  }).pipe(TestEnvironment.run)
)

it.effect("H2 H3 housekeeping tries again also what a schedule never does", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    yield* faults.add({ at: ["create"], calls: [1], how: { _tag: "Fail" } })
    const env = yield* Environment.make({
      ...image,
      pool: { min: 0, max: 1 },
      outageRetry: Schedule.recurs(0),
      outageGracePeriod: "1 hour",
      housekeepInterval: "1 minute"
    })
    const user = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
    yield* TestClock.adjust("59 seconds")
    assert.isUndefined(user.pollUnsafe())
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* Fiber.join(user), "env/base:0:1")
  }).pipe(TestEnvironment.run)
)

it.effect("H3 in an outage, sessions go on and sandboxes that are up are still handed out", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    const env = yield* Environment.make({
      ...image,
      pool: { min: 2, max: 3 },
      outageGracePeriod: "1 minute",
      outageRetry: Schedule.spaced("10 seconds")
    })
    yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
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
  }).pipe(TestEnvironment.run)
)

it.effect("H3 L22 stats answer in an outage, also the moment it begins", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: { min: 0, max: 1 }, outageGracePeriod: "1 hour" })
    yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
    yield* Effect.forkChild(Effect.exit(env.withSession({}, here)), { startImmediately: true })
    yield* Lab.settle
    assert.deepStrictEqual((yield* env.stats).images[0]?.outage, { sinceMillis: 0, durationMillis: 0, attempts: 1 })
    yield* TestClock.adjust("200 millis")
    assert.strictEqual((yield* env.stats).images[0]?.outage?.durationMillis, 200)
  }).pipe(TestEnvironment.run)
)

it.effect("L20 L21 a new image does not disturb housekeeping, whose counter advances by one", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({
      ...image,
      pool: { min: 0, max: 1 },
      dynamicImages: true,
      housekeepInterval: "10 seconds"
    })
    for (let i = 0; i < 6; i++) {
      if (i === 3) yield* faults.add({ at: ["create"], how: { _tag: "Die", message: "a bug of the driver" } })
      else yield* faults.clear
      yield* Effect.exit(env.withSession({ image: `new${i}` }, here))
      yield* TestClock.adjust("10 seconds")
    }
    const events = yield* (yield* EventRecorder).events
    assert.deepStrictEqual(
      events.flatMap((event) => (event._tag === "EnvironmentHousekeepingDone" ? [event.counter] : [])),
      [0, 1, 2, 3, 4, 5]
    )
  }).pipe(TestEnvironment.run)
)

it.effect("L20 a failing housekeeping of one sandbox's feature does not end that of the others", () =>
  Effect.gen(function* () {
    const { one, start } = Lab.probes({ housekeepInterval: "10 seconds" })
    const env = yield* start({ pool: 3, keepaliveInterval: 0 })
    one.on("housekeep", { _tag: "Die" }, { calls: [1] })
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual(one.calls("housekeep").length, 3)
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual(one.calls("housekeep").length, 6)
    assert.strictEqual((yield* counts(env))?.Ready, 3)
  }).pipe(TestEnvironment.run)
)

it.effect("H5 S4 a session may shut its own environment down, and is ended by it", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ ...image, pool: 1 })
    const exit = yield* Effect.exit(env.withSession({}, env.shutdown))
    assert.propertyVal(Lab.failure(exit), "_tag", "EnvironmentClosedError")
    yield* env.shutdown
    assert.strictEqual(yield* env.status, "Offline")
  }).pipe(TestEnvironment.run)
)

it.effect("H5 L12 teardowns may ask for a shutdown: they are given up after their time limit, and it goes on", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const { one, start } = Lab.probes()
    const env = yield* start({ keepaliveInterval: 0, teardownTimeout: "5 seconds" })
    one.on("sessionTeardown", () => env.shutdown)
    const user = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.void)), { startImmediately: true })
    yield* TestClock.adjust("20 seconds")
    assert.isDefined(user.pollUnsafe())
    assert.strictEqual(yield* env.status, "Offline")
    assert.deepStrictEqual(driver.alive(), [])
  }).pipe(TestEnvironment.run)
)

it.effect("H5 L10 F23 a destroy that hangs delays nobody, and counts as a leak", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const env = yield* Environment.make({ ...image, pool: 20, teardownTimeout: "10 seconds", concurrency: 32 })
    let destroyed = 0
    faults.on("destroy", ({ slot }) => (slot === 3 ? Effect.sleep("1 hour") : Effect.sync(() => destroyed++)))
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
    yield* TestClock.adjust("1 hour")
  }).pipe(TestEnvironment.run)
)

it.effect("L8 H5 a create that cannot be interrupted and never ends does not keep the shutdown", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    const scope = yield* Scope.make()
    const env = yield* Scope.provide(
      Environment.make({ ...image, pool: { min: 0, max: 1 }, teardownTimeout: "5 seconds" }),
      scope
    )
    faults.on("create", () => Effect.uninterruptible(Effect.sleep("1 day")))
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
  }).pipe(TestEnvironment.run)
)

it.effect("L11 a background set-up does not bring a stopped sandbox back", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    for (const at of ["reset", "session"] as const) {
      const { one, start } = Lab.probes()
      const env = yield* start({ id: at, keepaliveInterval: 0 })
      // It cannot be interrupted, so it ends after the shutdown has begun.
      const slowly = Effect.uninterruptible(Effect.sleep("10 seconds"))
      if (at === "reset") faults.on("reset", () => slowly)
      else one.on("session", () => slowly)
      yield* env.withSession({}, Effect.void)
      yield* Lab.settle
      assert.strictEqual((yield* counts(env))?.SettingUp, 1)
      const stopping = yield* Effect.forkChild(env.shutdown, { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(stopping)
      faults.on("reset", () => Effect.void)
      const moves = (yield* (yield* EventRecorder).events).flatMap((event) =>
        event._tag === "SandboxStatusChanged" && event.environmentId === at ? [event.to] : []
      )
      assert.deepStrictEqual(moves.slice(-3), ["SettingUp", "ShuttingDown", "Offline"])
      assert.deepStrictEqual(driver.alive(), [])
    }
  }).pipe(TestEnvironment.run)
)

it.effect("F26 a sandbox is ready only when its reset has succeeded", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    for (const proactiveSessionSetup of [true, false]) {
      const env = yield* Environment.make({
        ...image,
        id: `env${proactiveSessionSetup}`,
        pool: 1,
        proactiveSessionSetup,
        acquireTimeout: "1 hour"
      })
      yield* faults.add({ at: ["reset"], how: { _tag: "Slow", millis: 10_000 } })
      yield* env.withSession({}, Effect.void)
      const next = yield* Effect.forkChild(env.withSession({}, here), { startImmediately: true })
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(next.pollUnsafe(), "it must not be handed out before")
      assert.strictEqual((yield* counts(env))?.Ready, 0)
      yield* faults.clear
      yield* faults.add({ at: ["reset"], sandbox: ".*:0", how: { _tag: "Fail" } })
      yield* TestClock.adjust("1 second")
      assert.match(yield* Fiber.join(next), /:0:0$/)
      yield* Lab.settle
      assert.match(yield* env.withSession({}, here), /:0:1$/, "its reset failed: it is replaced")
      yield* faults.clear
    }
  }).pipe(TestEnvironment.run)
)

it.effect("F26 create is all or nothing: what was half made is taken down, failed, died or interrupted", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const faults = yield* Faults
    for (const [index, how] of (["Fail", "Die", "Hang"] as const).entries()) {
      const before = driver.calls().length
      yield* faults.clear
      yield* faults.add({ at: ["create"], how: { _tag: how } })
      const env = yield* Environment.make({
        ...image,
        id: `env${index}`,
        pool: { min: 0, max: 1 },
        acquireTimeout: 1000
      })
      yield* Effect.forkChild(Effect.exit(env.withSession({}, here)), { startImmediately: true })
      yield* TestClock.adjust("3 seconds")
      yield* env.shutdown
      const calls = driver.calls().slice(before)
      const created = calls.filter((call) => call.startsWith("create ")).map((call) => call.slice(7))
      const destroyed = calls.filter((call) => call.startsWith("destroy ")).map((call) => call.slice(8))
      assert.isAbove(created.length, 0)
      assert.deepStrictEqual(destroyed.toSorted(), created.toSorted())
      assert.deepStrictEqual(driver.alive(), [])
    }
  }).pipe(TestEnvironment.run)
)
