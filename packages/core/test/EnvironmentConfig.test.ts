import { Environment, EnvironmentConfig, Feature, InvalidConfigurationError, LoadBalancer } from "@effect-sandbox/core"
import { SimDriver, TestEnvironment } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Arbitrary, Config, ConfigProvider, Context, Duration, Effect, Exit, Option, Schema } from "effect"

/** What `resolve` finds wrong with options of any shape, as JavaScript or untyped settings could pass them. */
const problems = (options: unknown) =>
  Effect.map(Effect.flip(EnvironmentConfig.resolve(options as EnvironmentConfig.Options)), (error) => {
    assert.instanceOf(error, InvalidConfigurationError)
    return error
  })

const paths = (options: unknown) =>
  Effect.map(problems(options), ({ issues }) => [...new Set(issues.map(({ path }) => path))].toSorted())

class Thing extends Context.Service<Thing, { readonly n: number }>()("test/Thing") {}
class Other extends Context.Service<Other, { readonly n: number }>()("test/Other") {}
const recipe = { setup: Effect.succeed({ session: Effect.succeed({ n: 1 }) }) }

// ---------------------------------------------------------------------------------------------------------------------
// Checks
// ---------------------------------------------------------------------------------------------------------------------

it.effect("X1 every problem is reported at once, each with the path of its option", () =>
  Effect.gen(function* () {
    const error = yield* problems({
      id: "",
      images: ["ok", ""],
      dynamicImages: ["fine", "("],
      pool: { "py.*": { min: 3, max: 2 }, "(": 1, node: { min: -1 }, other: 1.5, odd: { mx: 3 } },
      proactiveSessionSetup: "yes",
      acquireTimeout: "soon",
      concurrency: 0,
      outageGracePeriod: -1,
      onOutage: "panic",
      keepaliveInterval: "-1 second",
      pingTimeout: 0,
      missedPings: 0,
      housekeepInterval: 0,
      teardownTimeout: "0 seconds",
      sessionLifetime: 0,
      sessionIdleTimeout: "never",
      idleTimeToLive: 0,
      maxSessions: 0,
      maxLifetime: Number.NaN
    })
    const found = [...new Set(error.issues.map(({ path }) => path))].toSorted()
    assert.deepStrictEqual(
      found,
      [
        "acquireTimeout",
        "concurrency",
        "dynamicImages.1",
        "housekeepInterval",
        "id",
        "idleTimeToLive",
        "images.1",
        "keepaliveInterval",
        "maxLifetime",
        "maxSessions",
        "missedPings",
        "onOutage",
        "outageGracePeriod",
        "pingTimeout",
        "pool.(",
        "pool.node.min",
        "pool.odd.mx",
        "pool.other",
        "pool.py.*.min",
        "proactiveSessionSetup",
        "sessionIdleTimeout",
        "sessionLifetime",
        "teardownTimeout"
      ].toSorted()
    )
    for (const { message, path } of error.issues) {
      assert.include(error.message, path)
      assert.isAbove(message.length, 5)
    }
  })
)

it.effect("X1 L1 a minimum above the maximum is refused wherever it is, also above the default maximum", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(yield* paths({ pool: { min: 2, max: 1 } }), ["pool.min"])
    assert.deepStrictEqual(yield* paths({ pool: { min: 17 } }), ["pool.min"])
    assert.deepStrictEqual(yield* paths({ pool: { ".*": { min: 17 } } }), ["pool..*.min"])
    assert.deepStrictEqual(yield* paths({ pool: { min: 1, max: 0 } }), ["pool.min"])
    assert.isTrue(Exit.isSuccess(yield* Effect.exit(EnvironmentConfig.resolve({ pool: { min: 16 } }))))
    assert.isTrue(Exit.isSuccess(yield* Effect.exit(EnvironmentConfig.resolve({ pool: { min: 0, max: 0 } }))))
  })
)

it.effect("X1 pool sizes that are no sizes are refused", () =>
  Effect.gen(function* () {
    for (const pool of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.deepStrictEqual(yield* paths({ pool }), ["pool"], String(pool))
    }
    assert.deepStrictEqual(yield* paths({ pool: "many" }), ["pool"])
    assert.deepStrictEqual(yield* paths({ pool: null }), ["pool"])
    assert.deepStrictEqual(yield* paths({ pool: { max: 1.5 } }), ["pool.max"])
    assert.deepStrictEqual(yield* paths({ pool: { base: null } }), ["pool.base"])
  })
)

it.effect("X1 an option that does not exist is reported, not dropped", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(yield* paths({ image: ["base"], poolSize: 3 }), ["image", "poolSize"])
  })
)

it.effect("X1 an image that is listed twice is reported", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(yield* paths({ images: ["a", "b", "a"] }), ["images"])
  })
)

it.effect("X1 features that cannot work are reported with their place in the list", () =>
  Effect.gen(function* () {
    const bad = (options: unknown) => paths({ images: ["base"], ...(options as object) })
    const thing = Feature.make(Thing, recipe)
    assert.deepStrictEqual(yield* bad({ features: [thing, thing] }), ["features.1"])
    assert.deepStrictEqual(yield* bad({ features: [thing, Feature.make(Thing, { ...recipe, id: "another name" })] }), [
      "features.1"
    ])
    assert.deepStrictEqual(yield* bad({ features: [Feature.make(Other, { ...recipe, images: ["node:.*"] })] }), [
      "features.0.images"
    ])
    assert.deepStrictEqual(yield* bad({ features: [thing, Feature.make(Other, { ...recipe, images: ["ok", "["] })] }), [
      "features.1.images.1"
    ])
    assert.deepStrictEqual(yield* bad({ features: [Feature.make(Thing, { ...recipe, housekeepInterval: 0 })] }), [
      "features.0.housekeepInterval"
    ])
    const dynamic = {
      images: ["base"],
      dynamicImages: true,
      features: [Feature.make(Other, { ...recipe, images: ["x"] })]
    }
    assert.isTrue(
      Exit.isSuccess(yield* Effect.exit(EnvironmentConfig.resolve(dynamic))),
      "an image may come that it fits"
    )
  })
)

it.effect("X1 nothing is started with options that cannot work", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const error = yield* Effect.flip(Environment.make({ id: "env", images: ["base"], pool: { min: 2, max: 1 } }))
    assert.strictEqual(error._tag, "InvalidConfigurationError")
    assert.deepStrictEqual(driver.calls(), [])
  }).pipe(TestEnvironment.run)
)

it.effect.prop(
  "X1 L1 a pool size is either refused, or min <= max for every image",
  [
    Arbitrary.schema(
      Schema.Union([Schema.Int.check(Schema.isBetween({ minimum: -2, maximum: 40 })), Schema.Undefined])
    ),
    Arbitrary.schema(Schema.Union([Schema.Int.check(Schema.isBetween({ minimum: -2, maximum: 40 })), Schema.Undefined]))
  ],
  ([min, max]) =>
    Effect.gen(function* () {
      const valid = (min ?? 0) >= 0 && (max ?? 16) >= 0 && (min ?? 0) <= (max ?? 16)
      const exit = yield* Effect.exit(EnvironmentConfig.resolve({ images: ["base"], pool: { min, max } }))
      assert.strictEqual(Exit.isSuccess(exit), valid)
      if (Exit.isSuccess(exit)) {
        assert.deepStrictEqual(exit.value.poolSize("base"), { min: min ?? 0, max: max ?? 16 })
      }
    }),
  { arbitrary: { runs: 200 } }
)

// ---------------------------------------------------------------------------------------------------------------------
// Defaults and durations
// ---------------------------------------------------------------------------------------------------------------------

it.effect("X1 every option has the default that its comment promises", () =>
  Effect.gen(function* () {
    const { features, isDynamic, loadBalancer, outageRetry, poolSize, ...rest } = yield* EnvironmentConfig.resolve({})
    assert.deepStrictEqual(rest, {
      id: rest.id,
      images: [],
      proactiveSessionSetup: true,
      acquireTimeout: 300_000,
      concurrency: 32,
      outageGracePeriod: 300_000,
      onOutage: "fail",
      keepaliveInterval: 15_000,
      pingTimeout: 10_000,
      missedPings: 3,
      housekeepInterval: 30_000,
      teardownTimeout: 30_000,
      sessionLifetime: undefined,
      sessionIdleTimeout: undefined,
      idleTimeToLive: undefined,
      maxSessions: undefined,
      maxLifetime: undefined
    })
    assert.strictEqual(rest.id, "environment")
    assert.deepStrictEqual(poolSize("any"), { min: 0, max: 16 })
    assert.isFalse(isDynamic("any"))
    assert.strictEqual(loadBalancer, LoadBalancer.roundRobin)
    assert.deepStrictEqual([...features], [])
    assert.isDefined(outageRetry)
  })
)

it.effect("X1 an option that is undefined is an option that is not there", () =>
  Effect.gen(function* () {
    const bare = yield* EnvironmentConfig.resolve({})
    const spelled = yield* EnvironmentConfig.resolve({
      id: undefined,
      images: undefined,
      pool: undefined,
      acquireTimeout: undefined,
      maxSessions: undefined,
      outageRetry: undefined,
      loadBalancer: undefined,
      features: undefined
    })
    assert.strictEqual(spelled.acquireTimeout, bare.acquireTimeout)
    assert.deepStrictEqual(spelled.poolSize("x"), bare.poolSize("x"))
  })
)

const durations: ReadonlyArray<readonly [Duration.Input, number]> = [
  [1500, 1500],
  ["1500 millis", 1500],
  ["90 seconds", 90_000],
  ["2 minutes", 120_000],
  ["1 hour", 3_600_000],
  [Duration.seconds(7), 7000],
  [2_000_000n, 2],
  [[3, 500_000_000], 3500]
]

it.effect("X1 durations are Duration.Inputs of every kind", () =>
  Effect.gen(function* () {
    for (const [input, millis] of durations) {
      const resolved = yield* EnvironmentConfig.resolve({
        acquireTimeout: input,
        outageGracePeriod: input,
        keepaliveInterval: input,
        pingTimeout: input,
        housekeepInterval: input,
        teardownTimeout: input,
        sessionLifetime: input,
        sessionIdleTimeout: input,
        idleTimeToLive: input,
        maxLifetime: input
      })
      for (const name of [
        "acquireTimeout",
        "outageGracePeriod",
        "keepaliveInterval",
        "pingTimeout",
        "housekeepInterval",
        "teardownTimeout",
        "sessionLifetime",
        "sessionIdleTimeout",
        "idleTimeToLive",
        "maxLifetime"
      ] as const) {
        assert.strictEqual(resolved[name], millis, `${name} of ${String(input)}`)
      }
    }
  })
)

it.effect("H1 X1 zero is allowed where it means something: no keepalive, no waiting, no grace", () =>
  Effect.gen(function* () {
    const resolved = yield* EnvironmentConfig.resolve({ keepaliveInterval: 0, acquireTimeout: 0, outageGracePeriod: 0 })
    assert.strictEqual(resolved.keepaliveInterval, 0)
    assert.strictEqual(resolved.acquireTimeout, 0)
    assert.strictEqual(resolved.outageGracePeriod, 0)
  })
)

// ---------------------------------------------------------------------------------------------------------------------
// Patterns
// ---------------------------------------------------------------------------------------------------------------------

const sizesOf = (pool: EnvironmentConfig.Settings["pool"], ...images: ReadonlyArray<string>) =>
  Effect.map(EnvironmentConfig.resolve({ pool }), ({ poolSize }) =>
    images.map((image) => {
      const { max, min } = poolSize(image)
      return `${min}..${max}`
    })
  )

it.effect("P1 an exact id comes first, wherever it stands", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(yield* sizesOf({ ".*": 9, "py.*": 8, python: 1 }, "python", "pypy", "node"), [
      "1..1",
      "9..9",
      "9..9"
    ])
  })
)

it.effect("P1 then the first pattern in order that matches", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(yield* sizesOf({ "py.*": 2, "python:.*": 3, ".*": 4 }, "python:3", "node"), ["2..2", "4..4"])
    assert.deepStrictEqual(yield* sizesOf({ "python:.*": 3, "py.*": 2, ".*": 4 }, "python:3", "pypy"), ["3..3", "2..2"])
  })
)

it.effect("P1 a pattern must match the whole id, also one with alternatives or anchors", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(yield* sizesOf({ python: 2 }, "python:3", "my-python", "python"), ["0..16", "0..16", "2..2"])
    assert.deepStrictEqual(yield* sizesOf({ "a|b": 2 }, "a", "b", "ab", "ax", "xb"), [
      "2..2",
      "2..2",
      "0..16",
      "0..16",
      "0..16"
    ])
    assert.deepStrictEqual(yield* sizesOf({ "^py.*$": 2 }, "python", "cpython"), ["2..2", "0..16"])
  })
)

it.effect("P1 an exact id with characters of regular expressions is that id, and a pattern all the same", () =>
  Effect.gen(function* () {
    const { poolSize } = yield* EnvironmentConfig.resolve({ images: ["a.b", "axb"], pool: { ".*": 5, "a.b": 1 } })
    assert.strictEqual(poolSize("a.b").max, 1)
    assert.strictEqual(poolSize("axb").max, 5)
  })
)

it.effect("P1 X1 an exact id need not be a regular expression", () =>
  Effect.gen(function* () {
    const { poolSize } = yield* EnvironmentConfig.resolve({ images: ["g++", "gcc"], pool: { "g++": 1, ".*": 5 } })
    assert.strictEqual(poolSize("g++").max, 1)
    assert.strictEqual(poolSize("gcc").max, 5)
  })
)

it.effect("P1 what nothing matches has the default size; what a range leaves out has its default", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(yield* sizesOf({ a: { min: 2 }, b: { max: 3 }, c: {} }, "a", "b", "c", "d"), [
      "2..16",
      "0..3",
      "0..16",
      "0..16"
    ])
    assert.deepStrictEqual(yield* sizesOf({ min: 1, max: 2 }, "any"), ["1..2"])
    assert.deepStrictEqual(yield* sizesOf({}, "any"), ["0..16"])
    assert.deepStrictEqual(yield* sizesOf(0, "any"), ["0..0"])
  })
)

it.effect("P5 dynamic images: none, all, or those whose whole id matches", () =>
  Effect.gen(function* () {
    const dynamic = (dynamicImages: EnvironmentConfig.Settings["dynamicImages"], image: string) =>
      Effect.map(EnvironmentConfig.resolve({ dynamicImages }), ({ isDynamic }) => isDynamic(image))
    assert.isFalse(yield* dynamic(undefined, "python"))
    assert.isFalse(yield* dynamic(false, "python"))
    assert.isTrue(yield* dynamic(true, "python"))
    assert.isTrue(yield* dynamic(["node", "py.*"], "python"))
    assert.isFalse(yield* dynamic(["py"], "python"))
    assert.isFalse(yield* dynamic([], "python"))
  })
)

// ---------------------------------------------------------------------------------------------------------------------
// Config
// ---------------------------------------------------------------------------------------------------------------------

const fromEnv = (env: { readonly [name: string]: string }, prefix?: string) =>
  Effect.provide(
    Effect.gen(function* () {
      return yield* prefix === undefined ? EnvironmentConfig.config : Config.nested(EnvironmentConfig.config, prefix)
    }),
    ConfigProvider.layer(ConfigProvider.fromEnvRecord(env))
  )

it.effect("X1 without any setting the Config is empty, so that it overrides nothing", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(yield* fromEnv({}), {})
    assert.deepStrictEqual(yield* fromEnv({ UNRELATED: "1" }), {})
  })
)

it.effect("X1 every setting can come from Config, by its name in capitals", () =>
  Effect.gen(function* () {
    const settings = yield* fromEnv({
      IMAGES: "python:3,node:24",
      POOL_MIN: "1",
      POOL_MAX: "3",
      DYNAMIC_IMAGES: "true",
      PROACTIVE_SESSION_SETUP: "false",
      ACQUIRE_TIMEOUT: "10 seconds",
      CONCURRENCY: "4",
      OUTAGE_GRACE_PERIOD: "1 minute",
      ON_OUTAGE: "shutdown",
      KEEPALIVE_INTERVAL: "3 seconds",
      PING_TIMEOUT: "2 seconds",
      MISSED_PINGS: "5",
      HOUSEKEEP_INTERVAL: "20 seconds",
      TEARDOWN_TIMEOUT: "4 seconds",
      SESSION_LIFETIME: "1 hour",
      SESSION_IDLE_TIMEOUT: "5 minutes",
      IDLE_TIME_TO_LIVE: "10 minutes",
      MAX_SESSIONS: "100",
      MAX_LIFETIME: "1 day"
    })
    const {
      isDynamic,
      loadBalancer: _,
      outageRetry: __,
      poolSize,
      ...rest
    } = yield* EnvironmentConfig.resolve(settings)
    assert.deepInclude(rest, {
      images: ["python:3", "node:24"] as never,
      proactiveSessionSetup: false,
      acquireTimeout: 10_000,
      concurrency: 4,
      outageGracePeriod: 60_000,
      onOutage: "shutdown",
      keepaliveInterval: 3000,
      pingTimeout: 2000,
      missedPings: 5,
      housekeepInterval: 20_000,
      teardownTimeout: 4000,
      sessionLifetime: 3_600_000,
      sessionIdleTimeout: 300_000,
      idleTimeToLive: 600_000,
      maxSessions: 100,
      maxLifetime: 86_400_000
    })
    assert.deepStrictEqual(poolSize("x"), { min: 1, max: 3 })
    assert.isTrue(isDynamic("x"))
  })
)

it.effect("X1 Config can be nested under a prefix", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(yield* fromEnv({ LAB_POOL_MAX: "3", POOL_MAX: "9" }, "LAB"), {
      pool: { min: undefined, max: 3 }
    })
  })
)

it.effect("X1 a setting that cannot be read is an error that names it", () =>
  Effect.gen(function* () {
    for (const [name, value] of [
      ["POOL_MAX", "many"],
      ["ACQUIRE_TIMEOUT", "soon"],
      ["ON_OUTAGE", "panic"],
      ["DYNAMIC_IMAGES", "perhaps"]
    ] as const) {
      const error = yield* Effect.flip(fromEnv({ [name]: value }))
      assert.include(String(error), name)
    }
  })
)

class Configured extends Environment.Service<Configured>()("test/Configured", {
  images: ["base"],
  pool: { min: 0, max: 2 },
  keepaliveInterval: 0
}) {}

const configured = (env: { readonly [name: string]: string }) =>
  Effect.provide(Configured.stats, Configured.layerConfig()).pipe(
    Effect.provide(SimDriver.layer()),
    Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord(env)))
  )

it.effect("P1 X1 layerConfig: what is configured goes before the code, what is not stays", () =>
  Effect.gen(function* () {
    const code = (yield* configured({})).images
    assert.deepStrictEqual(
      code.map(({ image, max, min }) => [image, min, max]),
      [["base", 0, 2]]
    )
    const overridden = (yield* configured({ POOL_MIN: "1", POOL_MAX: "3", IMAGES: "base,other" })).images
    assert.deepStrictEqual(
      overridden.map(({ counts, image, max, min }) => [image, min, max, counts.Ready]),
      [
        ["base", 1, 3, 1],
        ["other", 1, 3, 1]
      ]
    )
  })
)

it.effect("X1 L1 layerConfig: what does not fit together is refused with the path of the option", () =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(configured({ POOL_MIN: "5", POOL_MAX: "3" }))
    assert.instanceOf(error, InvalidConfigurationError)
    assert.deepStrictEqual(
      error.issues.map(({ path }) => path),
      ["pool.min"]
    )
  })
)

it.effect("X1 layerConfig takes a Config of one's own", () =>
  Effect.gen(function* () {
    const own = Config.map(Config.option(Config.Int("SIZE")), (size) => ({ pool: Option.getOrElse(size, () => 1) }))
    const stats = yield* Configured.stats.pipe(
      Effect.provide(Configured.layerConfig(own)),
      Effect.provide(SimDriver.layer()),
      Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord({ SIZE: "4" })))
    )
    assert.strictEqual(stats.images[0]?.max, 4)
    assert.strictEqual(stats.images[0]?.counts.Ready, 4)
  })
)
