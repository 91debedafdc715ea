import {
  Environment,
  EnvironmentId,
  EventHandler,
  EventRecorder,
  Feature,
  Sandbox,
  SandboxEvent
} from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, FileSystem, Layer, Schema, Scope } from "effect"
import { expectTypeOf } from "vitest"
import * as EventExpect from "../src/EventExpect.ts"
import { Faults, SimulatedError } from "../src/Faults.ts"
import * as FeatureProbe from "../src/FeatureProbe.ts"
import { SimDriver } from "../src/SimDriver.ts"
import * as TestEnvironment from "../src/TestEnvironment.ts"

class Licence extends Context.Service<Licence, { readonly key: string }>()("test/Licence") {}
class NoLicence extends Schema.TaggedError<NoLicence>()("NoLicence", {}) {}

class Python extends Context.Service<Python, { readonly evaluate: (code: string) => Effect.Effect<string> }>()(
  "test/Python"
) {
  static readonly feature = Feature.make(Python, {
    images: ["python:.*"],
    housekeepInterval: "10 seconds",
    setup: Effect.gen(function* () {
      const { key } = yield* Licence
      if (key === "") return yield* new NoLicence()
      return { session: Effect.succeed(Python.of({ evaluate: (code) => Effect.succeed(`${key} ${code}`) })) }
    })
  })
}

class Shell extends Context.Service<Shell, { readonly prompt: string }>()("test/Shell") {
  static readonly feature = Feature.make(Shell, {
    setup: Effect.succeed({ session: Effect.succeed({ prompt: "$" }) })
  })
}

class Lab extends Environment.Service<Lab>()("test/Lab", {
  images: ["python:3", "node:24"],
  features: [Python.feature, Shell.feature],
  pool: 1
}) {}

const licence = Layer.succeed(Licence, { key: "mine" })

const program = Lab.withFeature(Python, (python) =>
  Effect.gen(function* () {
    const { prompt } = yield* Shell
    return `${prompt} ${yield* python.evaluate("6 * 7")} in ${(yield* Sandbox).id}`
  })
)

describe("layer", () => {
  it.effect("runs a service class on a simulated driver, with its own features", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* program, "$ mine 6 * 7 in test/Lab/python:3:0:0")
      assert.deepStrictEqual<ReadonlyArray<string>>((yield* SimDriver).alive(), [
        "test/Lab/python:3:0:0",
        "test/Lab/node:24:0:0"
      ])
      yield* EventExpect.inOrder(yield* EventRecorder, ["test/Lab started", "session <s> started", "session <s> ended"])
    }).pipe(Effect.provide(TestEnvironment.layer(Lab)), Effect.provide(licence))
  )

  it.effect("gives other services in place of features, which then need nothing", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* program, "$ always 43 in test/Lab/python:3:0:0")
      yield* EventExpect.count(yield* EventRecorder, /feature test\/Python set up/, 1)
    }).pipe(
      Effect.provide(
        TestEnvironment.layer(Lab, {
          services: Context.make(Python, { evaluate: () => Effect.succeed("always 43") })
        })
      )
    )
  )

  it.effect("a replaced feature still applies to its images alone", () =>
    Effect.gen(function* () {
      const names = yield* Lab.withSession(
        { image: "node:24" },
        Effect.map(Effect.serviceOption(Python), (python) => python._tag)
      )
      assert.strictEqual(names, "None")
    }).pipe(
      Effect.provide(
        TestEnvironment.layer(Lab, {
          services: Context.make(Python, { evaluate: () => Effect.succeed("") })
        })
      )
    )
  )

  it.effect("changes options, and strikes with faults in the driver and in the features", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Lab.withSession({}, Effect.void))
      assert.deepStrictEqual<unknown>(error, new SimulatedError({ point: "session", description: "no terminal" }))
      const outage = yield* Effect.flip(Lab.withSession({ image: "node:24" }, Effect.void))
      assert.strictEqual(outage._tag, "EnvironmentOutageError")
      assert.strictEqual((yield* Lab.stats).id, "other")
      assert.deepStrictEqual(
        (yield* Faults).struck().map(({ call }) => call.point),
        ["session", "create"]
      )
    }).pipe(
      Effect.provide(
        TestEnvironment.layer(Lab, {
          config: { id: "other", pool: 0, outageGracePeriod: 0 },
          driver: {
            faults: [
              {
                at: ["session"],
                feature: "test/Shell",
                image: "python.*",
                how: { _tag: "Fail", message: "no terminal" }
              },
              { at: ["create"], image: "node.*", how: { _tag: "Fail" } }
            ]
          }
        })
      ),
      Effect.provide(licence)
    )
  )

  it.effect("a feature that cannot be set up fails the layer with its own error", () =>
    Effect.gen(function* () {
      const built = TestEnvironment.layer(Lab).pipe(Layer.provide(Layer.succeed(Licence, { key: "" })))
      const error = yield* Effect.flip(Effect.scoped(Layer.build(built)))
      assert.strictEqual(error._tag, "NoLicence")
    })
  )

  it("asks for what the features need that are left", () => {
    const whole = TestEnvironment.layer(Lab)
    expectTypeOf<Layer.Services<typeof whole>>().toEqualTypeOf<Licence>()
    expectTypeOf<Layer.Success<typeof whole>>().toEqualTypeOf<Lab | TestEnvironment.Services>()
    expectTypeOf<Layer.Error<typeof whole>>().toEqualTypeOf<
      Environment.StartError<typeof Python.feature> | SimulatedError
    >()
    const fakes = { services: Context.make(Python, { evaluate: () => Effect.succeed("") }) }
    const replaced = TestEnvironment.layer(Lab, fakes)
    expectTypeOf<Layer.Services<typeof replaced>>().toEqualTypeOf<never>()
    const other = TestEnvironment.layer(Lab, { services: Context.make(Shell, { prompt: "" }) })
    expectTypeOf<Layer.Services<typeof other>>().toEqualTypeOf<Licence>()
    // @ts-expect-error the environment has no such feature
    TestEnvironment.layer(Lab, { services: Context.make(Licence, { key: "" }) })
    assert.isDefined(other)
  })
})

describe("make", () => {
  const defectOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
    Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isDieReason)?.defect : undefined

  it.effect("gives an environment and all that controls it", () =>
    Effect.gen(function* () {
      const { driver, environment, faults, recorder } = yield* TestEnvironment.make({
        id: "env",
        images: ["base"],
        pool: 0,
        features: [FeatureProbe.make("one").feature]
      })
      yield* faults.add({ at: ["session"], feature: "one", times: 1, how: { _tag: "Fail" } })
      assert.strictEqual((yield* Effect.flip(environment.withSession({}, Effect.void)))._tag, "SimulatedError")
      yield* environment.withSession(
        { id: "s1" },
        Effect.map(Sandbox, ({ id }) => assert.deepStrictEqual([...driver.alive()], [id]))
      )
      yield* EventExpect.inOrder(recorder, ["session s1 started", "session s1 ended"])
    })
  )

  it.effect("several live side by side, each on a driver of its own", () =>
    Effect.gen(function* () {
      const blue = yield* TestEnvironment.make({ id: "blue", images: ["base"], pool: 1 })
      const green = yield* TestEnvironment.make({ id: "green", images: ["base"], pool: 1 })
      assert.deepStrictEqual([...blue.driver.alive(), ...green.driver.alive()], ["blue/base:0:0", "green/base:0:0"])
      yield* EventExpect.never(blue.recorder, /green/)
    })
  )

  it.effect("I7 the end of the scope dies of what is left", () =>
    Effect.gen(function* () {
      const test = Effect.gen(function* () {
        const { environment, leaks } = yield* TestEnvironment.make({ id: "env", images: ["base"], pool: 1 })
        yield* environment.withSession({}, Effect.void)
        yield* leaks.run(Effect.forkDetach(Effect.never))
      })
      const defect = defectOf(yield* Effect.exit(Effect.scoped(test)))
      assert.strictEqual(String(defect), "LeakError: 1 thing is left (I7):\n  fiber  without a name")
    })
  )

  it.effect(
    "I7 F23 the end of the scope dies of sandboxes that could not be taken down, unless it is told not to look",
    () =>
      Effect.gen(function* () {
        const test = (checks: boolean) =>
          TestEnvironment.make({
            id: "env",
            images: ["base"],
            pool: 1,
            checks,
            driver: { faults: [{ at: ["destroy"], how: { _tag: "Fail" } }] }
          })
        const defect = defectOf(yield* Effect.exit(Effect.scoped(test(true))))
        assert.include(String(defect), "sandbox  1 of env could not be taken down by the driver")
        yield* Effect.scoped(test(false))
      })
  )

  it.effect("a test that fails keeps its own error", () =>
    Effect.gen(function* () {
      const test = Effect.gen(function* () {
        const { leaks } = yield* TestEnvironment.make({ id: "env", images: ["base"] })
        yield* leaks.run(Effect.forkDetach(Effect.never))
        return yield* new NoLicence()
      })
      assert.strictEqual((yield* Effect.flip(Effect.scoped(test)))._tag, "NoLicence")
    })
  )

  it.effect("files are there in a session, and gone after it", () =>
    Effect.gen(function* () {
      const { environment } = yield* TestEnvironment.make({ images: ["base"], pool: 1 })
      yield* environment.withSession(
        {},
        Effect.flatMap(FileSystem.FileSystem, (fs) => fs.writeFileString("a.txt", "a"))
      )
      const left = yield* environment.withSession(
        {},
        Effect.flatMap(FileSystem.FileSystem, (fs) => fs.exists("a.txt"))
      )
      assert.isFalse(left)
    })
  )
})

describe("run", () => {
  it.effect("gives a driver, its faults and a recorder to environments that the test makes itself", () =>
    Effect.gen(function* () {
      yield* (yield* Faults).add({ at: ["create"], times: 1, how: { _tag: "Fail", kind: "outage" } })
      const options = { images: ["base"], pool: 1, outageGracePeriod: 0 }
      const error = yield* Effect.flip(Environment.make({ id: "blue", ...options }))
      assert.strictEqual(error._tag, "EnvironmentOutageError")
      yield* Environment.make({ id: "green", ...options })
      assert.deepStrictEqual<ReadonlyArray<string>>((yield* SimDriver).alive(), ["green/base:0:0"])
      yield* EventExpect.inOrder(yield* EventRecorder, ["blue starting", "blue shut down", "green started"])
    }).pipe(TestEnvironment.run)
  )

  it.effect("takes options of the driver", () =>
    TestEnvironment.run(
      Effect.gen(function* () {
        const env = yield* Environment.make({ images: ["base"], pool: 0, outageGracePeriod: 0 })
        assert.strictEqual((yield* Effect.flip(env.withSession({}, Effect.void)))._tag, "EnvironmentOutageError")
      }),
      { driver: { maxSandboxes: 0 } }
    )
  )

  it.effect("ends the fibers that the test has forked", () =>
    Effect.gen(function* () {
      const env = yield* Environment.make({ images: ["base"] })
      yield* Effect.forkChild(Effect.andThen(env.status, Effect.never))
      yield* Effect.forkScoped(Effect.sleep("1 hour"))
    }).pipe(TestEnvironment.run)
  )

  it.effect("I7 fails with what is left, unless it is told not to look", () =>
    Effect.gen(function* () {
      const test = Effect.gen(function* () {
        const scope = yield* Scope.make()
        yield* Environment.make({ id: "env", images: ["base"], pool: 1, keepaliveInterval: 0 }).pipe(
          Scope.provide(scope)
        )
        return scope
      })
      const error = yield* Effect.flip(TestEnvironment.run(test))
      assert.strictEqual(error._tag, "LeakError")
      assert.include(error.message, "sandbox  env/base:0:0")
      yield* Scope.close(yield* TestEnvironment.run(test, { checks: false }), Exit.void)
    })
  )

  it.effect("I6 fails with events that are not well formed", () =>
    Effect.gen(function* () {
      const hub = yield* EventHandler.EventHub
      const ended = { environmentId: EnvironmentId.make("env"), timestamp: 0, durationMillis: 0, lifetimeMillis: 0 }
      hub.publish(SandboxEvent.SandboxEvent.cases.EnvironmentShutDown.make(ended))
    }).pipe(
      TestEnvironment.run,
      Effect.flip,
      Effect.map((error) => assert.strictEqual(error._tag, "MalformedEventsError"))
    )
  )

  it.effect("a test that fails keeps its own error", () =>
    Effect.gen(function* () {
      yield* Effect.forkDetach(Effect.never)
      return yield* new NoLicence()
    }).pipe(
      TestEnvironment.run,
      Effect.flip,
      Effect.map((error) => assert.strictEqual(error._tag, "NoLicence"))
    )
  )
})
