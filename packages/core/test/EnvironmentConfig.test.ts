import { Environment, EnvironmentConfig, Feature, InvalidConfigurationError } from "@effect-sandbox/core"
import { assert, it } from "@effect/vitest"
import { Config, ConfigProvider, Context, Duration, Effect } from "effect"
import * as TestDriver from "./support/TestDriver.ts"

class Tool extends Context.Service<Tool, object>()("test/Tool") {}
const tool = (images: ReadonlyArray<string>) =>
  Feature.make(Tool, { images, setup: Effect.succeed({ session: Effect.succeed({}) }) })

const problems = (options: EnvironmentConfig.Options) =>
  Effect.map(Effect.flip(EnvironmentConfig.resolve(options)), (error) => {
    assert.instanceOf(error, InvalidConfigurationError)
    return error.issues.map((issue) => issue.path)
  })

it.effect("X1 every problem is reported at once, each with its path", () =>
  Effect.gen(function* () {
    const wrong = {
      images: ["a", ""],
      pool: { a: { min: 3, max: 2 }, "(": 1, b: -1, c: { min: 1.5 } },
      acquireTimeout: "soon",
      housekeepInterval: 0,
      concurrency: 0,
      onOutage: "panic",
      surprise: true
    } as unknown as EnvironmentConfig.Options
    assert.sameMembers(
      [...(yield* problems(wrong))],
      [
        "images.1",
        "acquireTimeout",
        "housekeepInterval",
        "concurrency",
        "onOutage",
        "surprise",
        "pool.a.min",
        "pool.(",
        "pool.b",
        "pool.c.min"
      ]
    )
  })
)

it.effect("X1 images listed twice, features listed twice, and features that apply to nothing are refused", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(yield* problems({ images: ["a", "a"] }), ["images"])
    assert.deepStrictEqual(yield* problems({ images: ["a"], features: [tool([".*"]), tool([".*"])] }), ["features.1"])
    assert.deepStrictEqual(yield* problems({ images: ["a"], features: [tool(["b.*"])] }), ["features.0.images"])
    assert.deepStrictEqual(yield* problems({ images: ["a"], features: [tool(["("])] }), ["features.0.images.0"])
    const fine = yield* EnvironmentConfig.resolve({ images: ["a"], dynamicImages: true, features: [tool(["b.*"])] })
    assert.strictEqual(fine.features.length, 1)
  })
)

it.effect("options accept every Duration.Input", () =>
  Effect.gen(function* () {
    const { acquireTimeout, idleTimeToLive, keepaliveInterval, maxLifetime } = yield* EnvironmentConfig.resolve({
      acquireTimeout: "2 seconds",
      keepaliveInterval: 0,
      idleTimeToLive: Duration.minutes(1),
      maxLifetime: 1500
    })
    assert.deepStrictEqual([acquireTimeout, keepaliveInterval, idleTimeToLive, maxLifetime], [2000, 0, 60_000, 1500])
  })
)

it.effect("P1 sizes: a number, a range, an exact id before patterns, the first pattern that matches the whole id", () =>
  Effect.gen(function* () {
    const size = (pool: EnvironmentConfig.Settings["pool"], image: string) =>
      Effect.map(EnvironmentConfig.resolve({ pool }), ({ poolSize }) => poolSize(image))
    assert.deepStrictEqual(yield* size(3, "a"), { min: 3, max: 3 })
    assert.deepStrictEqual(yield* size({ min: 1 }, "a"), { min: 1, max: 16 })
    assert.deepStrictEqual(yield* size(undefined, "a"), { min: 0, max: 16 })
    const pool = { "py.*": 1, ".*3": 2, "python:3": 4 }
    assert.deepStrictEqual(yield* size(pool, "python:3"), { min: 4, max: 4 })
    assert.deepStrictEqual(yield* size(pool, "pypy:3"), { min: 1, max: 1 })
    assert.deepStrictEqual(yield* size(pool, "node:3"), { min: 2, max: 2 })
    assert.deepStrictEqual(yield* size(pool, "my-python"), { min: 0, max: 16 })
  })
)

class Lab extends Environment.Service<Lab>()("test/Lab", { images: ["a"], pool: 1 }) {}

it.effect("settings can come from Config, and go before those in the code", () =>
  Effect.gen(function* () {
    const { images } = yield* Lab.stats
    assert.deepStrictEqual(
      images.map(({ image, max, min }) => [image, min, max]),
      [
        ["x", 1, 7],
        ["y", 1, 7]
      ]
    )
  }).pipe(
    Effect.provide(Lab.layerConfig(Config.nested(EnvironmentConfig.config, "LAB"))),
    Effect.provide(TestDriver.layer),
    Effect.provide(
      ConfigProvider.layer(
        ConfigProvider.fromUnknown({
          LAB: { IMAGES: "x,y", POOL_MIN: "1", POOL_MAX: "7", ACQUIRE_TIMEOUT: "3 seconds" }
        })
      )
    )
  )
)

it.effect("settings from Config are checked like those in the code", () =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(
      Effect.provide(
        Lab.stats,
        Lab.layerConfig(Config.succeed({ concurrency: -1 } satisfies EnvironmentConfig.Settings))
      ).pipe(Effect.provide(TestDriver.layer))
    )
    assert.strictEqual(error._tag, "InvalidConfigurationError")
    assert.include(error.message, "concurrency")
  })
)
