// @effect-diagnostics missingEffectContext:off missingEffectError:off
import { Environment, type Feature, Sandbox, SandboxStateError } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { expectTypeOf } from "vitest"
import { Faults, SimulatedDefect, SimulatedError } from "../src/Faults.ts"
import * as FeatureProbe from "../src/FeatureProbe.ts"
import * as HeldSession from "../src/HeldSession.ts"
import { SimDriver } from "../src/SimDriver.ts"

const options = { id: "env", images: ["base"], pool: 1, keepaliveInterval: 0 } as const

const defectsOf = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<unknown> =>
  Exit.isSuccess(exit) ? [] : exit.cause.reasons.flatMap((reason) => (Cause.isDieReason(reason) ? [reason.defect] : []))

describe("FeatureProbe", () => {
  it.effect("I1 notes every call with its sandbox and its session, in the order of all probes", () =>
    Effect.gen(function* () {
      const journal = FeatureProbe.journal()
      const one = FeatureProbe.make("one", { journal })
      const two = FeatureProbe.make("two", { journal })
      const host = FeatureProbe.host("host", { journal })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const env = yield* Environment.make({
            ...options,
            proactiveSessionSetup: false,
            features: [one.feature, two.feature, host.feature]
          })
          for (let i = 0; i < 2; i++) {
            yield* env.withSession(
              {},
              Effect.gen(function* () {
                assert.deepStrictEqual(yield* one.key, { name: "one", sandboxId: (yield* Sandbox).id, session: i + 1 })
                assert.deepStrictEqual(yield* host.key, { name: "host", sandboxId: undefined, session: i + 1 })
              })
            )
          }
        })
      )
      const session = [
        "session host",
        "session one in env/base:0:0",
        "session two in env/base:0:0",
        "session teardown two in env/base:0:0",
        "session teardown one in env/base:0:0",
        "session teardown host"
      ]
      assert.deepStrictEqual(journal.lines(), [
        "setup host",
        "setup one in env/base:0:0",
        "setup two in env/base:0:0",
        ...session,
        ...session,
        "teardown two in env/base:0:0",
        "teardown one in env/base:0:0",
        "teardown host"
      ])
      yield* journal.ledger.assertBalanced
      const first = {
        hook: "sessionTeardown",
        probe: "one",
        sandboxId: "env/base:0:0",
        image: "base",
        session: 1,
        count: 1,
        timestamp: 0
      }
      assert.deepStrictEqual<unknown>(one.calls("sessionTeardown"), [first, { ...first, session: 2, count: 2 }])
      assert.deepStrictEqual(
        host.calls().map(({ count, hook }) => `${hook} ${count}`),
        ["setup 1", "session 1", "sessionTeardown 1", "session 2", "sessionTeardown 2", "teardown 1"]
      )
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("S1 the journal can hold what the driver was asked for, too, and lines of one's own", () => {
    const journal = FeatureProbe.journal()
    const one = FeatureProbe.make("one", { journal })
    return Effect.scoped(
      Effect.gen(function* () {
        const env = yield* Environment.make({ ...options, pool: 0, features: [one.feature] })
        yield* env.withSession(
          {},
          Effect.sync(() => journal.note("body"))
        )
        assert.deepStrictEqual(journal.lines(), [
          "create env/base:0:0",
          "setup one in env/base:0:0",
          "reset env/base:0:0",
          "session one in env/base:0:0",
          "body",
          "session teardown one in env/base:0:0",
          "teardown one in env/base:0:0",
          "destroy env/base:0:0"
        ])
        assert.strictEqual(journal.calls().length, 4)
      })
    ).pipe(Effect.provide(SimDriver.layer({ journal })))
  })

  it.effect("fails with the user's own error, or with a state error", () =>
    Effect.gen(function* () {
      const one = FeatureProbe.make("one")
      const env = yield* Environment.make({ ...options, pool: 0, features: [one.feature] })
      one.on("setup", { _tag: "Fail", message: "no disk" })
      assert.deepStrictEqual(
        yield* Effect.flip(env.withSession({}, Effect.void)),
        new SimulatedError({ point: "setup", description: "no disk" })
      )
      one.off("setup")
      one.on("session", { _tag: "Fail", kind: "state" })
      const error = yield* Effect.flip(env.withSession({}, Effect.void))
      assert.instanceOf(error, SandboxStateError)
      assert.strictEqual(error.message, "Sandbox env/base:0:1 broke during session of one: told to")
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("X6 what a teardown is told to fail with, it dies with", () =>
    Effect.gen(function* () {
      const one = FeatureProbe.make("one")
      const env = yield* Environment.make({ ...options, features: [one.feature] })
      one.on("sessionTeardown", { _tag: "Fail" })
      const error = yield* Effect.flip(env.withSession({}, Effect.void))
      assert.strictEqual(error._tag, "SessionTeardownError")
      assert.include(error.message, "one (Simulated error at sessionTeardown: told to)")
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("dies with a defect", () =>
    Effect.gen(function* () {
      const one = FeatureProbe.make("one")
      const env = yield* Environment.make({ ...options, pool: 0, features: [one.feature] })
      one.on("session", { _tag: "Die", message: "a bug" })
      assert.deepStrictEqual(defectsOf(yield* Effect.exit(env.withSession({}, Effect.void))), [
        new SimulatedDefect({ point: "session", description: "a bug" })
      ])
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("applies to some calls, and so many times, counted from when it was told", () =>
    Effect.gen(function* () {
      const one = FeatureProbe.make("one")
      const env = yield* Environment.make({ ...options, pool: 0, features: [one.feature] })
      const outcomes = (count: number) =>
        Effect.forEach(Array.from({ length: count }), () =>
          Effect.match(env.withSession({}, Effect.void), { onFailure: () => "x", onSuccess: () => "." })
        )
      assert.strictEqual((yield* outcomes(2)).join(""), "..")
      one.on("session", { _tag: "Fail" }, { calls: [2, 4] })
      assert.strictEqual((yield* outcomes(5)).join(""), ".x.x.")
      one.on("session", { _tag: "Fail" }, { times: 2 })
      assert.strictEqual((yield* outcomes(4)).join(""), "xx..")
      one.on("session", { _tag: "Fail" })
      assert.strictEqual((yield* outcomes(3)).join(""), "xxx")
      one.off()
      assert.strictEqual((yield* outcomes(2)).join(""), "..")
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("is slow, and hangs until it is told to go on", () =>
    Effect.gen(function* () {
      const one = FeatureProbe.make("one")
      const env = yield* Environment.make({ ...options, pool: 0, features: [one.feature] })
      one.on("setup", { _tag: "Slow", millis: 1000 })
      one.on("session", { _tag: "Hang" })
      const held = yield* HeldSession.open(env)
      yield* TestClock.adjust(999)
      assert.lengthOf(one.calls("session"), 0)
      yield* TestClock.adjust(1)
      assert.lengthOf(one.calls("session"), 1)
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(held.sandboxId())
      one.off("session")
      yield* held.isInside
      assert.strictEqual(held.sandboxId(), "env/base:0:0")
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("what hangs can be interrupted", () =>
    Effect.gen(function* () {
      const one = FeatureProbe.make("one")
      const env = yield* Environment.make({ ...options, pool: 0, features: [one.feature] })
      one.on("session", { _tag: "Hang" })
      const fiber = yield* Effect.forkChild(env.withSession({}, Effect.void), { startImmediately: true })
      yield* TestClock.adjust(0)
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(
        one.calls().map(({ hook }) => hook),
        ["setup", "session", "sessionTeardown", "teardown"]
      )
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("runs an effect, which knows the call and may use what features may", () =>
    Effect.gen(function* () {
      const one = FeatureProbe.make("one")
      const driver = yield* SimDriver
      const seen: Array<string> = []
      one.on("session", ({ count, sandboxId }) =>
        Effect.map(Sandbox, ({ id }) => seen.push(`${count} ${id === sandboxId}`))
      )
      one.on("teardown", ({ sandboxId }) => Effect.sync(() => seen.push(`teardown ${sandboxId}`)))
      const env = yield* Environment.make({ ...options, proactiveSessionSetup: false, features: [one.feature] })
      yield* env.withSession({}, Effect.void)
      one.on("session", ({ sandboxId }) => driver.kill(sandboxId ?? ""), { times: 1 })
      assert.strictEqual((yield* Effect.flip(env.withSession({}, Effect.void)))._tag, "SandboxStateError")
      yield* env.withSession({}, Effect.void)
      assert.deepStrictEqual(seen, ["1 true", "teardown env/base:0:0"])
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("H1 H4 housekeeping is noted, and fails when it is told to", () =>
    Effect.gen(function* () {
      const one = FeatureProbe.make("one", { housekeepInterval: "10 seconds" })
      const host = FeatureProbe.host("host", { housekeepInterval: "1 minute" })
      const env = yield* Environment.make({ ...options, features: [one.feature, host.feature] })
      yield* TestClock.adjust("25 seconds")
      assert.deepStrictEqual(
        one.calls("housekeep").map(({ count, timestamp }) => `${count} ${timestamp}`),
        ["1 10000", "2 20000"]
      )
      one.on("housekeep", { _tag: "Fail" }, { times: 1 })
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(
        one.calls("teardown").map(({ sandboxId }) => sandboxId),
        one
          .calls("setup")
          .slice(0, 1)
          .map(({ sandboxId }) => sandboxId)
      )
      host.on("housekeep", { _tag: "Fail" })
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(yield* env.status, "Offline")
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("applies to the images it is told, and takes faults of a plan besides", () =>
    Effect.gen(function* () {
      const faults = yield* Faults
      const one = FeatureProbe.make("one", { images: ["python:.*"] })
      const env = yield* Environment.make({
        ...options,
        images: ["node", "python:3"],
        pool: 0,
        features: [faults.feature(one.feature)]
      })
      yield* env.withSession({ image: "node" }, Effect.void)
      assert.lengthOf(one.calls(), 0)
      assert.strictEqual(yield* env.withFeature(one.key, ({ name }) => Effect.succeed(name)), "one")
      yield* faults.add({ at: ["session"], feature: "one", how: { _tag: "Fail" } })
      assert.strictEqual(
        (yield* Effect.flip(env.withSession({ image: "python:3" }, Effect.void)))._tag,
        "SimulatedError"
      )
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it("has types of its own", () => {
    const one = FeatureProbe.make("one")
    const host = FeatureProbe.host("host")
    expectTypeOf<Feature.Id<typeof one.feature>>().toEqualTypeOf<FeatureProbe.Provided<"one">>()
    expectTypeOf<Feature.HostId<typeof host.feature>>().toEqualTypeOf<FeatureProbe.Provided<"host">>()
    expectTypeOf<Feature.Error<typeof one.feature>>().toEqualTypeOf<SimulatedError | SandboxStateError>()
    expectTypeOf<Feature.Services<typeof one.feature>>().toEqualTypeOf<never>()
    // @ts-expect-error a host probe knows no sandbox
    host.on("setup", () => Sandbox)
    // @ts-expect-error a probe can only fail with what it declares
    one.on("setup", () => Effect.fail("something else"))
    assert.isDefined(one)
  })
})
