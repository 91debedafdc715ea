import {
  DuplicateSessionError,
  Environment,
  EnvironmentClosedError,
  EnvironmentId,
  EnvironmentOutageError,
  EnvironmentOverloadError,
  EventRecorder,
  Feature,
  FeatureId,
  FeatureNotApplicableError,
  FeatureTeardownError,
  ImageId,
  InvalidConfigurationError,
  Sandbox,
  SandboxId,
  SandboxStateError,
  SessionEndedError,
  SessionId,
  SessionLimitError,
  SessionTeardownError,
  stateErrors,
  hasUserError,
  UnknownImageError,
  UnsupportedOptionError
} from "@effect-sandbox/core"
import { EventExpect, Faults, FeatureProbe, SimDriver, SimulatedError, TestEnvironment } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, FileSystem, PlatformError, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Lab from "./support/Lab.ts"
import * as programs from "./support/programs.ts"

const { Boom } = Lab

/** The name of the sandbox one is in. */
const here = Effect.map(Sandbox, ({ id }) => id)

const stateErrorHere = (description = "told to") =>
  Effect.map(Sandbox, ({ id }) => Lab.stateError(id, "test", description))

const base = (generation: number) => `env/base:0:${generation}`

/** The commands that the driver was asked for. */
const spawns = (driver: SimDriver["Service"]) => driver.calls().filter((call) => call.startsWith("spawn"))

/** Lines of a journal, all of them about the first sandbox. */
const first = (...lines: ReadonlyArray<string>) => lines.map((line) => `${line} in ${base(0)}`)

const order = ["session teardown two", "session teardown one"]

const broken = new Boom({ what: "teardown" })

// ---------------------------------------------------------------------------------------------------------------------
// X1
// ---------------------------------------------------------------------------------------------------------------------

for (const way of Lab.ways) {
  it.effect(`X1 an unknown image is a typed error that names the known ones (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start({ images: ["base", "other"], pool: { min: 0, max: 1 } })
      const error = Lab.failure(yield* Effect.exit(way.open(env, { image: "nowhere" }, Effect.void)))
      assert.instanceOf(error, UnknownImageError)
      assert.strictEqual(error.environmentId, "env")
      assert.strictEqual(error.image, "nowhere")
      assert.deepStrictEqual(error.images, ["base", "other"])
      assert.include(error.message, "nowhere")
      assert.deepStrictEqual((yield* env.stats).ledger, { created: 0, destroyed: 0, live: 0, leaked: 0 })
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X1 a feature that does not apply to the image is a typed error (${way.name})`, () =>
    Effect.gen(function* () {
      const one = FeatureProbe.make("one", { images: ["base"] }).feature
      const two = FeatureProbe.make("two", { images: ["o.*"] }).feature
      const env = yield* Environment.make({ id: "env", images: ["base", "other"], features: [one, two] })
      const named = Lab.failure(yield* Effect.exit(way.open(env, { image: "other", features: [one] }, Effect.void)))
      assert.instanceOf(named, FeatureNotApplicableError)
      assert.strictEqual(named.featureId, "one")
      assert.strictEqual(named.image, "other")
      assert.deepStrictEqual(named.patterns, ["base"])
      const none = Lab.failure(yield* Effect.exit(way.open(env, { features: [one, two] }, Effect.void)))
      assert.instanceOf(none, FeatureNotApplicableError)
      assert.isUndefined(none.image)
      assert.strictEqual(
        yield* way.open(
          env,
          { features: [two] },
          Effect.map(Sandbox, ({ image }) => image)
        ),
        "other"
      )
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X1 a feature that is none of the environment's does not apply to any image (${way.name})`, () =>
    Effect.gen(function* () {
      const stranger = FeatureProbe.make("stranger").feature
      const env = yield* Lab.start()
      const exit = yield* Effect.exit(way.open(env, { features: [stranger] }, Effect.void))
      const error = Lab.failure(exit)
      assert.instanceOf(error, FeatureNotApplicableError)
      assert.strictEqual(error.featureId, "stranger")
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X1 P4 an overload tells the size of the pool and how long the caller waited (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start({ pool: 1, acquireTimeout: "7 seconds" })
      yield* Effect.forkScoped(env.withSession({}, Effect.never), { startImmediately: true })
      const second = yield* Effect.forkChild(way.open(env, {}, Effect.void), { startImmediately: true })
      yield* TestClock.adjust("7 seconds")
      const error = Lab.failure(yield* Fiber.await(second))
      assert.instanceOf(error, EnvironmentOverloadError)
      assert.strictEqual(error.image, "base")
      assert.strictEqual(error.poolSize, 1)
      assert.strictEqual(error.waitedMillis, 7000)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X1 H3 an outage tells for how long and why (${way.name})`, () =>
    Effect.gen(function* () {
      const faults = yield* Faults
      const env = yield* Lab.start({ pool: { min: 0, max: 1 }, outageGracePeriod: "1 minute" })
      yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
      const asker = yield* Effect.forkChild(way.open(env, {}, Effect.void), { startImmediately: true })
      yield* TestClock.adjust("90 seconds")
      const error = Lab.failure(yield* Fiber.await(asker))
      assert.instanceOf(error, EnvironmentOutageError)
      assert.strictEqual(error.image, "base")
      assert.strictEqual(error.offlineMillis, 60_000)
      assert.instanceOf(error.cause, SandboxStateError)
      // Whoever comes now is told at once.
      const late = Lab.failure(yield* Effect.exit(way.open(env, {}, Effect.void)))
      assert.instanceOf(late, EnvironmentOutageError)
      assert.strictEqual(late.offlineMillis, 90_000)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X1 L4 an environment that was shut down refuses with a typed error (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      yield* env.shutdown
      const error = Lab.failure(yield* Effect.exit(way.open(env, {}, Effect.void)))
      assert.instanceOf(error, EnvironmentClosedError)
      assert.strictEqual(error.status, "Offline")
      assert.strictEqual(error.environmentId, "env")
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X1 F5 an option that the driver cannot honour is refused before anything runs (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const env = yield* Lab.start()
      const exec = Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("echo", ["a"], { user: "root" }))
      const error = Lab.failure(yield* Effect.exit(way.open(env, {}, exec)))
      assert.instanceOf(error, UnsupportedOptionError)
      assert.strictEqual(error.option, "user")
      assert.strictEqual(error.driver, "sim")
      assert.deepStrictEqual(spawns(driver), [])
    }).pipe(TestEnvironment.run)
  )

  it.effect(
    `X1 F31 a command that cannot be started is an error of the platform and the sandbox stays (${way.name})`,
    () =>
      Effect.gen(function* () {
        const env = yield* Lab.start()
        const exec = Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("missing"))
        const error = Lab.failure(yield* Effect.exit(way.open(env, {}, exec)))
        assert.instanceOf(error, PlatformError.PlatformError)
        assert.strictEqual(error.reason._tag, "NotFound")
        yield* Lab.settle
        assert.strictEqual(yield* way.open(env, {}, here), base(0))
      }).pipe(TestEnvironment.run)
  )

  it.effect(`X1 X3 a state error tells the sandbox, the operation and the cause (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      const cause = new Error("the disk is full")
      const body = Effect.flatMap(Sandbox, ({ id }) =>
        Effect.fail(new SandboxStateError({ sandboxId: id, operation: "evaluate 1 + 1", cause }))
      )
      const error = Lab.failure(yield* Effect.exit(way.open(env, {}, body)))
      assert.instanceOf(error, SandboxStateError)
      assert.strictEqual(error.sandboxId, base(0))
      assert.strictEqual(error.operation, "evaluate 1 + 1")
      assert.strictEqual(error.cause, cause)
      assert.strictEqual(error.message, "Sandbox env/base:0:0 broke during evaluate 1 + 1: the disk is full")
    }).pipe(TestEnvironment.run)
  )
}

it.effect("X1 options that cannot work are reported all at once, with their paths, before anything is started", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const error = Lab.failure(
      yield* Effect.exit(
        Environment.make({
          images: ["base", ""],
          acquireTimeout: "-1 second",
          concurrency: 0,
          pool: { base: { min: 3, max: 2 }, "(": 1 }
        })
      )
    )
    assert.instanceOf(error, InvalidConfigurationError)
    assert.sameMembers(
      error.issues.map(({ path }) => path),
      ["images.1", "acquireTimeout", "concurrency", "pool.base.min", "pool.("]
    )
    assert.deepStrictEqual(driver.calls(), [])
  }).pipe(TestEnvironment.run)
)

it.effect("X1 features that cannot work are reported with their place in the list", () =>
  Effect.gen(function* () {
    const error = Lab.failure(
      yield* Effect.exit(
        Environment.make({
          images: ["base"],
          features: [
            FeatureProbe.make("one").feature,
            FeatureProbe.make("one").feature,
            FeatureProbe.make("two", { images: ["python.*"] }).feature
          ]
        })
      )
    )
    assert.instanceOf(error, InvalidConfigurationError)
    assert.deepStrictEqual(
      error.issues.map(({ path }) => path),
      ["features.1", "features.2.images"]
    )
  }).pipe(TestEnvironment.run)
)

it.effect("X1 V1 every error can be stored and sent, and says the same afterwards", () =>
  Effect.gen(function* () {
    const environmentId = EnvironmentId.make("env")
    const image = ImageId.make("base")
    const sandboxId = SandboxId.make("env/base:0:0")
    const sessionId = SessionId.make("s1")
    const featureId = FeatureId.make("shell")
    const roundTrip = Effect.fnUntraced(function* <S extends Schema.Codec<Error, unknown, never, never>>(
      schema: S,
      error: S["Type"]
    ) {
      const json = Schema.fromJsonString(Schema.toCodecJson(schema))
      const text = yield* Schema.encodeEffect(json)(error)
      const back = yield* Schema.decodeUnknownEffect(json)(text)
      assert.strictEqual(back.message, error.message)
      assert.strictEqual(back.constructor, error.constructor)
      assert.isAtLeast(error.message.length, 10)
    })
    yield* roundTrip(SandboxStateError, Lab.stateError(sandboxId, "ping"))
    yield* roundTrip(
      SandboxStateError,
      new SandboxStateError({ sandboxId, operation: "ping", cause: new Error("closed") })
    )
    yield* roundTrip(
      EnvironmentOutageError,
      new EnvironmentOutageError({ environmentId, image, offlineMillis: 5, cause: new Error("no engine") })
    )
    yield* roundTrip(
      EnvironmentOverloadError,
      new EnvironmentOverloadError({ environmentId, image, poolSize: 4, waitedMillis: 1000 })
    )
    yield* roundTrip(EnvironmentClosedError, new EnvironmentClosedError({ environmentId, status: "Offline" }))
    yield* roundTrip(UnknownImageError, new UnknownImageError({ environmentId, image: "x", images: ["base"] }))
    yield* roundTrip(
      FeatureNotApplicableError,
      new FeatureNotApplicableError({ environmentId, featureId, patterns: ["a", "b"] })
    )
    yield* roundTrip(DuplicateSessionError, new DuplicateSessionError({ environmentId, sessionId }))
    yield* roundTrip(
      InvalidConfigurationError,
      new InvalidConfigurationError({ subject: "Environment env", issues: [{ path: "pool", message: "too small" }] })
    )
    yield* roundTrip(UnsupportedOptionError, new UnsupportedOptionError({ driver: "test", option: "user" }))
    yield* roundTrip(
      SessionLimitError,
      new SessionLimitError({ sessionId, sandboxId, limit: "idle", limitMillis: 5000 })
    )
    yield* roundTrip(SessionEndedError, new SessionEndedError({ sandboxId, sessionId, operation: "run ls" }))
    const teardown = { sandboxId, hasUserError: true, errors: { shell: new Error("stuck") } }
    yield* roundTrip(FeatureTeardownError, new FeatureTeardownError(teardown))
    yield* roundTrip(SessionTeardownError, new SessionTeardownError({ ...teardown, sessionId }))
  })
)

it("X1 the classification of causes finds state errors among failures and defects, and tells user errors apart", () => {
  const state = Lab.stateError(SandboxId.make("a"), "ping")
  const other = Lab.stateError(SandboxId.make("b"), "ping")
  assert.deepStrictEqual(stateErrors(Cause.combine(Cause.fail(state), Cause.die(other))), [state, other])
  assert.deepStrictEqual(stateErrors(Cause.combine(Cause.fail("user"), Cause.interrupt(1))), [])
  assert.isFalse(hasUserError(Cause.fail(state)))
  assert.isFalse(hasUserError(Cause.interrupt(1)))
  assert.isTrue(hasUserError(Cause.combine(Cause.die(state), Cause.die("user"))))
})

// ---------------------------------------------------------------------------------------------------------------------
// X2, X4
// ---------------------------------------------------------------------------------------------------------------------

for (const way of Lab.ways) {
  it.effect(`X4 a user error ends the session and is raised, and the sandbox stays (${way.name})`, () =>
    Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const env = yield* Lab.start()
      const boom = new Boom({ what: "body" })
      const body = Effect.andThen(here, Effect.fail(boom))
      assert.strictEqual(Lab.failure(yield* Effect.exit(way.open(env, { id: "s1" }, body))), boom)
      assert.include(yield* recorder.lines, "session s1 ended: Boom")
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(0))
      assert.deepStrictEqual((yield* env.stats).ledger, { created: 1, destroyed: 0, live: 1, leaked: 0 })
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X2 X4 a defect of the body stays a defect, and the sandbox stays (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      const bug = new TypeError("x is not a function")
      assert.strictEqual(Lab.defect(yield* Effect.exit(way.open(env, {}, Effect.die(bug)))), bug)
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(0))
      assert.deepStrictEqual(
        yield* way.open(
          env,
          {},
          Effect.flatMap(Sandbox, (s) => s.stateErrors)
        ),
        []
      )
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X2 X4 a body that throws is a defect, and the sandbox stays (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      const bug = new Error("thrown")
      const body = Effect.sync(() => {
        throw bug
      })
      assert.strictEqual(Lab.defect(yield* Effect.exit(way.open(env, {}, body))), bug)
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(0))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X2 a body that interrupts itself is an interruption, and the sandbox stays (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      const exit = yield* Effect.exit(way.open(env, {}, Effect.interrupt))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(0))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X2 a failure of any type is the user's: strings, undefined, errors of the platform (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      const platform = PlatformError.systemError({ _tag: "NotFound", module: "FileSystem", method: "open" })
      for (const error of ["text", undefined, null, 0, { _tag: "Odd" }, platform]) {
        assert.strictEqual(Lab.failure(yield* Effect.exit(way.open(env, {}, Effect.fail(error)))), error)
        yield* Lab.settle
      }
      assert.strictEqual(yield* way.open(env, {}, here), base(0))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X2 a failing file operation is the body's own error, and the sandbox stays (${way.name})`, () =>
    Effect.gen(function* () {
      const faults = yield* Faults
      const env = yield* Lab.start()
      const readFile = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString("a"))
      const missing = Lab.failure(yield* Effect.exit(way.open(env, {}, readFile)))
      assert.instanceOf(missing, PlatformError.PlatformError)
      assert.strictEqual(missing.reason._tag, "NotFound")
      yield* Lab.settle
      yield* faults.add({ at: ["file"], how: { _tag: "Fail" } })
      const failed = Lab.failure(yield* Effect.exit(way.open(env, {}, readFile)))
      assert.instanceOf(failed, PlatformError.PlatformError)
      assert.strictEqual(failed.reason._tag, "Unknown")
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(0))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X2 X3 only on request does a user error become a state error: refine (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      const boom = new Boom({ what: "connection reset" })
      const body = Effect.flatMap(Sandbox, ({ id: sandboxId }) =>
        Effect.fail(boom).pipe(
          SandboxStateError.refine({ sandboxId, operation: "browse", when: (error) => error === boom })
        )
      )
      const error = Lab.failure(yield* Effect.exit(way.open(env, {}, body)))
      assert.instanceOf(error, SandboxStateError)
      assert.strictEqual(error.cause, boom)
      assert.strictEqual(error.operation, "browse")
      assert.include(error.message, "boom: connection reset")
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(1))
    }).pipe(TestEnvironment.run)
  )
}

const sandboxId = SandboxId.make("a")
const refine = (when: (error: unknown) => boolean) => SandboxStateError.refine({ sandboxId, operation: "op", when })

it.effect("X2 refine lets what the matcher refuses through unchanged: failures, defects, interruption, success", () =>
  Effect.gen(function* () {
    const boom = new Boom({ what: "a" })
    const never = refine(() => false)
    assert.strictEqual(Lab.failure(yield* Effect.exit(never(Effect.fail(boom)))), boom)
    assert.strictEqual(Lab.defect(yield* Effect.exit(never(Effect.die(boom)))), boom)
    assert.strictEqual(yield* never(Effect.succeed(1)), 1)
    const interrupted = yield* Effect.exit(refine(() => true)(Effect.interrupt))
    assert.isTrue(Exit.isFailure(interrupted) && Cause.hasInterruptsOnly(interrupted.cause))
  })
)

it.effect("X2 refine turns a matching defect into a typed state error, with the defect as its cause", () =>
  Effect.gen(function* () {
    const bug = new TypeError("ECONNRESET")
    const exit = yield* Effect.exit(refine((error) => error instanceof TypeError)(Effect.die(bug)))
    const error = Lab.failure(exit)
    assert.instanceOf(error, SandboxStateError)
    assert.strictEqual(error.cause, bug)
    assert.strictEqual(error.sandboxId, "a")
  })
)

it.effect("X2 refine asks about every reason of a cause", () =>
  Effect.gen(function* () {
    const boom = new Boom({ what: "a" })
    const both = Cause.combine(Cause.fail("first"), Cause.die(boom))
    const error = Lab.failure(yield* Effect.exit(refine((one) => one === boom)(Effect.failCause(both))))
    assert.instanceOf(error, SandboxStateError)
    assert.strictEqual(error.cause, boom)
  })
)

it.effect("X2 refine also finds failures that are undefined", () =>
  Effect.gen(function* () {
    const error = Lab.failure(yield* Effect.exit(refine((one) => one === undefined)(Effect.fail(undefined))))
    assert.instanceOf(error, SandboxStateError)
  })
)

// ---------------------------------------------------------------------------------------------------------------------
// X3
// ---------------------------------------------------------------------------------------------------------------------

for (const way of Lab.ways) {
  it.effect(`X3 I4 a state error in a body is recorded and raised, and the sandbox is replaced (${way.name})`, () =>
    Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const env = yield* Lab.start()
      let sandbox: Sandbox["Service"] | undefined
      const body = Effect.gen(function* () {
        sandbox = yield* Sandbox
        return yield* Effect.fail(yield* stateErrorHere())
      })
      const error = Lab.failure(yield* Effect.exit(way.open(env, { id: "s1" }, body)))
      assert.instanceOf(error, SandboxStateError)
      yield* Lab.settle
      assert.deepStrictEqual(yield* sandbox?.stateErrors ?? Effect.succeed([]), [error])
      assert.strictEqual(yield* sandbox?.status ?? Effect.succeed(undefined), "Offline")
      const lines = yield* recorder.lines
      assert.includeMembers([...lines], ["session s1 ended: SandboxStateError", `${base(0)} shut down`])
      assert.strictEqual(yield* way.open(env, {}, here), base(1))
      const stats = yield* env.stats
      assert.deepStrictEqual(stats.ledger, { created: 2, destroyed: 1, live: 1, leaked: 0 })
      assert.strictEqual(stats.images[0]?.replaced, 1)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X3 S4 a reported state error interrupts the body at once and is what the caller gets (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      let interrupted = false
      const body = Effect.gen(function* () {
        const sandbox = yield* Sandbox
        yield* sandbox.report(Lab.stateError(sandbox.id, "look"))
        return yield* Effect.never
      }).pipe(
        Effect.onInterrupt(() =>
          Effect.sync(() => {
            interrupted = true
          })
        )
      )
      const error = Lab.failure(yield* Effect.exit(way.open(env, {}, body)))
      assert.instanceOf(error, SandboxStateError)
      assert.strictEqual(error.operation, "look")
      assert.isTrue(interrupted)
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(1))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X3 a state error that is thrown as a defect condemns too, and stays a defect (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      const body = Effect.flatMap(stateErrorHere(), Effect.die)
      assert.instanceOf(Lab.defect(yield* Effect.exit(way.open(env, {}, body))), SandboxStateError)
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(1))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X3 L26 a state error of another sandbox condemns that one only (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start({ images: ["base", "other"] })
      const inner = way.open(
        env,
        { image: "other" },
        Effect.flatMap(stateErrorHere(), (error) => Effect.fail(error))
      )
      const error = Lab.failure(yield* Effect.exit(way.open(env, { image: "base" }, inner)))
      assert.instanceOf(error, SandboxStateError)
      assert.strictEqual(error.sandboxId, "env/other:0:0")
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, { image: "base" }, here), base(0))
      assert.strictEqual(yield* way.open(env, { image: "other" }, here), "env/other:0:1")
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X3 a state error of a command condemns although the body handles it (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const env = yield* Lab.start()
      const body = Effect.gen(function* () {
        const sandbox = yield* Sandbox
        yield* Effect.forkChild(Effect.delay(driver.kill(sandbox.id), "1 second"))
        yield* Effect.ignore(sandbox.exec("hang"))
        return yield* Effect.never
      })
      const caller = yield* Effect.forkChild(way.open(env, {}, body), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), SandboxStateError)
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(1))
    }).pipe(programs.run)
  )

  it.effect(`X3 F3 a command that cannot be killed condemns, although the body handles it (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start({ teardownTimeout: "10 seconds" })
      let handled: unknown
      const body = Effect.gen(function* () {
        const sandbox = yield* Sandbox
        const options = { timeout: "1 second", forceKillAfter: "1 second" } as const
        yield* Effect.catch(sandbox.exec("zombie", [], options), (error) =>
          Effect.sync(() => {
            handled = error
          })
        )
        return yield* Effect.never
      })
      const caller = yield* Effect.forkChild(way.open(env, {}, body), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      const error = Lab.failure(yield* Fiber.await(caller))
      assert.instanceOf(error, SandboxStateError)
      assert.strictEqual(error.operation, "exec zombie")
      assert.isTrue(handled === undefined || handled === error)
      assert.strictEqual(yield* way.open(env, {}, here), base(1))
      // What cannot be killed would be left.
      yield* (yield* Faults).clear
    }).pipe(programs.run)
  )

  it.effect(`X3 V1 the error of another sandbox is told as none of this one, also in a shutdown (${way.name})`, () =>
    Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const { one, start } = Lab.probes()
      one.on("sessionTeardown", { _tag: "Slow", millis: 2000 })
      const env = yield* start()
      const other = Lab.stateError("env/base:9:9", "elsewhere")
      yield* Effect.forkChild(Effect.exit(way.open(env, {}, Effect.fail(other))), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      yield* Effect.forkChild(env.shutdown, { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      const events = yield* recorder.events
      const told = events.flatMap((event) => (event._tag === "SessionEnded" ? [event.error?.isStateError] : []))
      assert.deepStrictEqual(told, [false])
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X3 I4 the same state error is recorded once, further ones as well (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      let sandbox: Sandbox["Service"] | undefined
      const body = Effect.gen(function* () {
        sandbox = yield* Sandbox
        const [a, b] = [Lab.stateError(sandbox.id, "a"), Lab.stateError(sandbox.id, "b")]
        yield* sandbox.report(a)
        yield* sandbox.report(a)
        yield* sandbox.report(b)
        return yield* Effect.fail(a)
      }).pipe(Effect.uninterruptible) // it would end with the first report
      const error = Lab.failure(yield* Effect.exit(way.open(env, {}, body)))
      assert.strictEqual(error instanceof SandboxStateError ? error.operation : undefined, "a")
      const recorded = yield* sandbox?.stateErrors ?? Effect.succeed([])
      assert.deepStrictEqual(
        recorded.map(({ operation }) => operation),
        ["a", "b"]
      )
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X3 H1 a failed ping ends the session that runs, with the driver's error (${way.name})`, () =>
    Effect.gen(function* () {
      const faults = yield* Faults
      const env = yield* Lab.start({ keepaliveInterval: "10 seconds" })
      yield* faults.add({ at: ["ping"], how: { _tag: "Fail", message: "no answer" } })
      const caller = yield* Effect.forkChild(way.open(env, {}, Effect.never), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      const error = Lab.failure(yield* Fiber.await(caller))
      assert.instanceOf(error, SandboxStateError)
      assert.strictEqual(error.description, "no answer")
    }).pipe(TestEnvironment.run)
  )

  it.effect(
    `X3 H1 L17 a failed housekeeping ends the session that runs, with a state error about it (${way.name})`,
    () =>
      Effect.gen(function* () {
        const { one, start } = Lab.probes({ housekeepInterval: "5 seconds" })
        const gone = new SimulatedError({ point: "housekeep", description: "the interpreter is gone" })
        one.on("housekeep", () => Effect.fail(gone))
        const env = yield* start()
        const caller = yield* Effect.forkChild(way.open(env, {}, Effect.never), { startImmediately: true })
        yield* TestClock.adjust("5 seconds")
        const error = Lab.failure(yield* Fiber.await(caller))
        assert.instanceOf(error, SandboxStateError)
        assert.strictEqual(error.cause, gone)
        yield* Lab.settle
        assert.strictEqual((yield* env.stats).ledger.destroyed, 1)
      }).pipe(TestEnvironment.run)
  )
}

it.effect("X3 a state error that left `run` ends the session: what runs in it next is refused", () =>
  Effect.gen(function* () {
    const env = yield* Lab.start()
    yield* Effect.scoped(
      Effect.gen(function* () {
        const session = yield* env.session()
        const error = Lab.failure(yield* Effect.exit(session.run(Effect.flatMap(stateErrorHere(), Effect.fail))))
        assert.instanceOf(error, SandboxStateError)
        yield* Lab.settle
        let ran = false
        const next = yield* Effect.exit(
          session.run(
            Effect.sync(() => {
              ran = true
            })
          )
        )
        assert.isFalse(ran, "a body ran in a condemned sandbox")
        assert.strictEqual(Lab.failure(next), error)
      })
    )
    yield* Lab.settle
    assert.strictEqual(yield* env.withSession({}, here), base(1))
  }).pipe(TestEnvironment.run)
)

// ---------------------------------------------------------------------------------------------------------------------
// X5
// ---------------------------------------------------------------------------------------------------------------------

for (const way of Lab.ways) {
  for (const [pool, expected] of [
    [{ min: 0, max: 1 }, "pooled"],
    [0, "a sandbox per session"]
  ] as const) {
    it.effect(
      `X5 I1 an error of a feature's set-up is raised to who asked, and undone (${way.name}, ${expected})`,
      () =>
        Effect.gen(function* () {
          const { journal, start, two } = Lab.probes()
          const boom = new SimulatedError({ point: "setup", description: "told to" })
          two.on("setup", () => Effect.fail(boom))
          const env = yield* start({ pool })
          assert.strictEqual(Lab.failure(yield* Effect.exit(way.open(env, {}, Effect.void))), boom)
          assert.deepStrictEqual(journal.lines(), first("setup one", "setup two", "teardown two", "teardown one"))
          assert.deepStrictEqual((yield* env.stats).ledger, { created: 1, destroyed: 1, live: 0, leaked: 0 })
          two.off("setup")
          assert.strictEqual(yield* way.open(env, {}, here), base(1))
        }).pipe(TestEnvironment.run)
    )

    for (const proactiveSessionSetup of [true, false]) {
      it.effect(
        `X5 I1 L15 an error of a session's set-up is raised to who asked, and undone (${way.name}, ${expected}, ${
          proactiveSessionSetup ? "proactive" : "on demand"
        })`,
        () =>
          Effect.gen(function* () {
            const { journal, start, two } = Lab.probes()
            const boom = new SimulatedError({ point: "session", description: "told to" })
            two.on("session", () => Effect.fail(boom))
            const env = yield* start({ pool, proactiveSessionSetup })
            assert.strictEqual(Lab.failure(yield* Effect.exit(way.open(env, { id: "s" }, Effect.void))), boom)
            yield* Lab.settle
            // A sandbox that was ready before is replaced, in the background.
            const replaced = pool !== 0 && !proactiveSessionSetup
            assert.deepStrictEqual(
              replaced ? journal.lines().slice(0, 8) : journal.lines(),
              first("setup one", "setup two", "session one", "session two", ...order, "teardown two", "teardown one")
            )
            assert.strictEqual((yield* env.stats).ledger.live, replaced ? 1 : 0)
            assert.strictEqual((yield* env.stats).sessions, 0)
            two.off("session")
            // The id is free again.
            assert.strictEqual(yield* way.open(env, { id: "s" }, here), base(1))
          }).pipe(TestEnvironment.run)
      )
    }
  }

  it.effect(`X5 X2 a defect of a set-up is raised as a defect (${way.name})`, () =>
    Effect.gen(function* () {
      const bug = new Error("bug")
      const { one, start } = Lab.probes()
      one.on("setup", () => Effect.die(bug))
      const env = yield* start({ pool: { min: 0, max: 1 } })
      assert.strictEqual(Lab.defect(yield* Effect.exit(way.open(env, {}, Effect.void))), bug)
      assert.strictEqual((yield* env.stats).ledger.live, 0)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X5 X2 a defect of the driver is raised as a defect (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const faults = yield* Faults
      const bug = new Error("bug in the driver")
      faults.on("create", () => Effect.die(bug))
      const env = yield* Lab.start({ pool: { min: 0, max: 1 } })
      assert.strictEqual(Lab.defect(yield* Effect.exit(way.open(env, {}, Effect.void))), bug)
      assert.deepStrictEqual(driver.calls(), ["create env/base:0:0", "destroy env/base:0:0"])
    }).pipe(TestEnvironment.run)
  )

  it.effect(
    `X5 X3 a state error of a session's set-up is raised to who asked, and the sandbox is replaced (${way.name})`,
    () =>
      Effect.gen(function* () {
        const { one, start, two } = Lab.probes()
        const state = Lab.stateError(base(0), "session of two")
        two.on("session", () => Effect.die(state))
        const env = yield* start({ proactiveSessionSetup: false })
        assert.strictEqual(Lab.defect(yield* Effect.exit(way.open(env, {}, Effect.void))), state)
        two.off("session")
        yield* Lab.settle
        assert.strictEqual(yield* way.open(env, {}, here), base(1))
        assert.deepStrictEqual(
          one.calls("teardown").map(({ sandboxId }) => sandboxId),
          [SandboxId.make(base(0))]
        )
      }).pipe(TestEnvironment.run)
  )

  it.effect(`X5 every one of many askers gets an answer when set-ups fail, and nothing is left (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const { start, two } = Lab.probes()
      const boom = new SimulatedError({ point: "setup", description: "told to" })
      two.on("setup", () => Effect.delay(Effect.fail(boom), 100))
      const env = yield* start({ pool: { min: 0, max: 3 } })
      const askers = yield* Effect.forEach(Array.from({ length: 10 }), () =>
        Effect.forkChild(way.open(env, {}, Effect.void), { startImmediately: true })
      )
      yield* TestClock.adjust("1 second")
      for (const exit of yield* Fiber.awaitAll(askers)) assert.strictEqual(Lab.failure(exit), boom)
      assert.isAtMost(driver.peak(), 3)
      assert.deepStrictEqual(driver.alive(), [])
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X5 S4 a sandbox that dies while a session is set up on demand fails who asked (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const { journal, start, two } = Lab.probes()
      two.on("session", { _tag: "Hang" })
      const env = yield* start({ proactiveSessionSetup: false })
      const asker = yield* Effect.forkChild(way.open(env, {}, Effect.void), { startImmediately: true })
      yield* Lab.settle
      yield* driver.kill(base(0))
      yield* Lab.settle
      assert.instanceOf(Lab.failure(yield* Fiber.await(asker)), SandboxStateError)
      assert.deepStrictEqual(journal.lines().slice(4, 8), first(...order, "teardown two", "teardown one"))
    }).pipe(TestEnvironment.run)
  )
}

it.effect("X5 L9 an error of the first set-up fails the start of the environment, and everything is torn down", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const { journal, start, two } = Lab.probes()
    const boom = new SimulatedError({ point: "setup", description: "told to" })
    two.on("setup", () => Effect.fail(boom), { calls: [3] })
    assert.strictEqual(Lab.failure(yield* Effect.exit(start({ pool: 3 }))), boom)
    assert.deepStrictEqual(driver.alive(), [])
    assert.isAtLeast(two.calls("setup").length, 3)
    yield* journal.ledger.assertBalanced
  }).pipe(TestEnvironment.run)
)

it.effect(
  "X5 S3 an error of a background set-up is nobody's: the sandbox is replaced and the next asker is served",
  () =>
    Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const { start, two } = Lab.probes()
      const env = yield* start()
      two.on("session", { _tag: "Fail" }, { times: 1 })
      yield* env.withSession({}, Effect.void)
      yield* Lab.settle
      assert.strictEqual(yield* env.withSession({}, here), base(1))
      assert.include(yield* recorder.lines, `${base(0)} feature two session set-up failed: SimulatedError`)
    }).pipe(TestEnvironment.run)
)

// ---------------------------------------------------------------------------------------------------------------------
// X6
// ---------------------------------------------------------------------------------------------------------------------

it.effect("X6 withSession fails with everything that the session's teardown raised, and every finalizer runs", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const { journal, one, start, two } = Lab.probes()
    const [a, b] = [new Error("a"), new Error("b")]
    one.on("sessionTeardown", () => Effect.die(a))
    two.on("sessionTeardown", () => Effect.die(b))
    const env = yield* start()
    const error = Lab.failure(yield* Effect.exit(env.withSession({ id: "s1" }, Effect.succeed("lost"))))
    assert.instanceOf(error, SessionTeardownError)
    assert.strictEqual(error.sessionId, "s1")
    assert.strictEqual(error.sandboxId, base(0))
    assert.isTrue(error.hasUserError)
    assert.deepStrictEqual(Object.keys(error.errors), ["two", "one"])
    const causeOf = (feature: string) => {
      const cause = error.errors[feature]
      return Cause.isCause(cause) ? Cause.squash(cause) : cause
    }
    assert.strictEqual(causeOf("one"), a)
    assert.strictEqual(causeOf("two"), b)
    assert.deepStrictEqual(journal.lines().slice(4, 6), first(...order))
    assert.includeMembers(
      [...(yield* recorder.lines)],
      [
        `${base(0)} feature two session teardown failed: Error`,
        `${base(0)} feature one session teardown failed: Error`,
        "session s1 ended: SessionTeardownError"
      ]
    )
    yield* Lab.settle
    // The teardown failed, so the sandbox does not serve again.
    assert.strictEqual((yield* env.stats).ledger.destroyed, 1)
  }).pipe(TestEnvironment.run)
)

it.effect("X6 the scope of `session` dies with what the teardown raised", () =>
  Effect.gen(function* () {
    const { journal, one, start } = Lab.probes()
    one.on("sessionTeardown", () => Effect.die(broken))
    const env = yield* start()
    const error = Lab.defect(
      yield* Effect.exit(Effect.scoped(Effect.flatMap(env.session(), ({ run }) => run(Effect.succeed(1)))))
    )
    assert.instanceOf(error, SessionTeardownError)
    assert.deepStrictEqual(Object.keys(error.errors), ["one"])
    assert.deepStrictEqual(journal.lines().slice(4, 6), first(...order))
  }).pipe(TestEnvironment.run)
)

it.effect("X6 `close` fails with what the teardown raised, and the scope does not raise it again", () =>
  Effect.gen(function* () {
    const { one, start } = Lab.probes()
    one.on("sessionTeardown", () => Effect.die(broken))
    const env = yield* start()
    const exit = yield* Effect.exit(Effect.scoped(Effect.flatMap(env.session(), ({ close }) => Effect.flip(close))))
    assert.isTrue(Exit.isSuccess(exit), "the error that the caller has handled was raised once more, as a defect")
    assert.instanceOf(Exit.isSuccess(exit) ? exit.value : undefined, SessionTeardownError)
  }).pipe(TestEnvironment.run)
)

for (const way of Lab.ways) {
  it.effect(
    `X6 I9 the body's own error comes first, still typed; that of the teardown is published (${way.name})`,
    () =>
      Effect.gen(function* () {
        const recorder = yield* EventRecorder
        const { one, start } = Lab.probes()
        one.on("sessionTeardown", () => Effect.die(broken))
        const boom = new Boom({ what: "body" })
        const env = yield* start()
        const exit = yield* Effect.exit(
          way.open(env, {}, Effect.fail(boom)).pipe(Effect.catchTag("Boom", (error) => Effect.succeed(error)))
        )
        assert.strictEqual(Exit.isSuccess(exit) ? exit.value : exit.cause, boom)
        assert.include(yield* recorder.lines, `${base(0)} feature one session teardown failed: Boom`)
      }).pipe(TestEnvironment.run)
  )

  it.effect(`X6 a defect of the body stays the only reason when the teardown fails too (${way.name})`, () =>
    Effect.gen(function* () {
      const bug = new Error("bug")
      const { one, start } = Lab.probes()
      one.on("sessionTeardown", () => Effect.die(broken))
      const env = yield* start()
      assert.strictEqual(Lab.defect(yield* Effect.exit(way.open(env, {}, Effect.die(bug)))), bug)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X6 L16 a user error in teardown does not hide the body's state error (${way.name})`, () =>
    Effect.gen(function* () {
      const { one, start } = Lab.probes()
      one.on("sessionTeardown", () => Effect.die(broken))
      const env = yield* start()
      let attempts = 0
      // The loop that everybody writes: again, when the sandbox broke.
      const body = Effect.suspend(() =>
        ++attempts === 1 ? Effect.flatMap(stateErrorHere(), (error) => Effect.fail(error)) : here
      )
      const caller = yield* way
        .open(env, {}, body)
        .pipe(
          Effect.retry({ while: (error) => error._tag === "SandboxStateError", times: 3 }),
          Effect.forkChild({ startImmediately: true })
        )
      one.off("sessionTeardown")
      yield* Lab.settle
      assert.strictEqual(yield* Fiber.join(caller), base(1))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X6 S5 an interruption stays one when the teardown fails (${way.name})`, () =>
    Effect.gen(function* () {
      const { one, start } = Lab.probes()
      one.on("sessionTeardown", () => Effect.die(broken))
      const env = yield* start()
      const caller = yield* Effect.forkChild(way.open(env, {}, Effect.never), { startImmediately: true })
      yield* Lab.settle
      yield* Fiber.interrupt(caller)
      const exit = yield* Fiber.await(caller)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X6 I9 state errors found in teardown are recorded and published, not raised (${way.name})`, () =>
    Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const state = Lab.stateError(base(0), "cool down")
      const { one, start } = Lab.probes()
      one.on("sessionTeardown", () => Effect.die(state))
      const env = yield* start()
      let sandbox: Sandbox["Service"] | undefined
      const body = Effect.map(Sandbox, (service) => {
        sandbox = service
        return "kept"
      })
      assert.strictEqual(yield* way.open(env, {}, body), "kept")
      one.off("sessionTeardown")
      assert.deepStrictEqual(yield* sandbox?.stateErrors ?? Effect.succeed([]), [state])
      assert.include(yield* recorder.lines, `${base(0)} feature one session teardown failed: SandboxStateError`)
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(1))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X6 S4 the death of the sandbox is raised although its teardown fails (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const { one, start } = Lab.probes()
      one.on("sessionTeardown", () => Effect.die(broken))
      one.on("teardown", () => Effect.die(broken))
      const env = yield* start()
      const caller = yield* Effect.forkChild(way.open(env, {}, Effect.never), { startImmediately: true })
      yield* Lab.settle
      yield* driver.kill(base(0))
      yield* Lab.settle
      assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), SandboxStateError)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X6 S6 a limit is raised although the teardown fails (${way.name})`, () =>
    Effect.gen(function* () {
      const { one, start } = Lab.probes()
      one.on("sessionTeardown", () => Effect.die(broken))
      const env = yield* start({ sessionLifetime: "1 minute" })
      const caller = yield* Effect.forkChild(way.open(env, {}, Effect.never), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), SessionLimitError)
    }).pipe(TestEnvironment.run)
  )
}

it.effect("X6 state errors and user errors of one teardown are collected together", () =>
  Effect.gen(function* () {
    const state = Lab.stateError(base(0), "cool down")
    const { one, start, two } = Lab.probes()
    one.on("sessionTeardown", () => Effect.die(state))
    two.on("sessionTeardown", () => Effect.die(broken))
    const env = yield* start()
    let sandbox: Sandbox["Service"] | undefined
    const body = Effect.map(Sandbox, (service) => {
      sandbox = service
    })
    const error = Lab.failure(yield* Effect.exit(env.withSession({}, body)))
    assert.instanceOf(error, SessionTeardownError)
    assert.isTrue(error.hasUserError)
    assert.deepStrictEqual(Object.keys(error.errors), ["two", "one"])
    assert.deepStrictEqual(yield* sandbox?.stateErrors ?? Effect.succeed([]), [state])
  }).pipe(TestEnvironment.run)
)

it.effect("X6 a sandbox for one session: what the features' teardown raises fails withSession", () =>
  Effect.gen(function* () {
    const { journal, one, start } = Lab.probes()
    one.on("teardown", () => Effect.die(broken))
    const env = yield* start({ pool: 0 })
    const error = Lab.failure(yield* Effect.exit(env.withSession({}, Effect.void)))
    assert.instanceOf(error, FeatureTeardownError)
    assert.deepStrictEqual(Object.keys(error.errors), ["one"])
    assert.isTrue(error.hasUserError)
    assert.deepStrictEqual(journal.lines().slice(4), first(...order, "teardown two", "teardown one"))
    assert.strictEqual((yield* env.stats).ledger.live, 0)
  }).pipe(TestEnvironment.run)
)

it.effect("X6 a sandbox for one session: errors of both teardowns, and of the driver, and all of it still runs", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const recorder = yield* EventRecorder
    const { journal, one, start, two } = Lab.probes()
    for (const probe of [one, two]) {
      probe.on("sessionTeardown", () => Effect.die(broken))
      probe.on("teardown", () => Effect.die(broken))
    }
    faults.on("destroy", () => Effect.die(new Error("device busy")))
    const env = yield* start({ pool: 0 })
    const error = Lab.failure(yield* Effect.exit(env.withSession({}, Effect.void)))
    assert.instanceOf(error, SessionTeardownError)
    assert.deepStrictEqual(journal.lines().slice(4), first(...order, "teardown two", "teardown one"))
    assert.deepStrictEqual((yield* env.stats).ledger, { created: 1, destroyed: 1, live: 0, leaked: 1 })
    assert.includeMembers(
      [...(yield* recorder.lines)],
      [
        `${base(0)} feature two teardown failed: Boom`,
        `${base(0)} feature one teardown failed: Boom`,
        `${base(0)} shut down: Error`
      ]
    )
  }).pipe(TestEnvironment.run)
)

it.effect("X6 F23 what the driver cannot destroy is published and counted, not raised", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const recorder = yield* EventRecorder
    faults.on("destroy", () => Effect.die(new Error("device busy")))
    const env = yield* Lab.start({ pool: 0 })
    assert.strictEqual(yield* env.withSession({}, Effect.succeed(1)), 1)
    assert.strictEqual((yield* env.stats).ledger.leaked, 1)
    yield* EventExpect.count(recorder, { _tag: "SandboxShutDown", error: { message: "device busy" } }, 1)
  }).pipe(TestEnvironment.run)
)

it.effect("X6 a teardown that hangs is given up after its time limit, and the others still run", () =>
  Effect.gen(function* () {
    const { journal, start, two } = Lab.probes()
    two.on("sessionTeardown", { _tag: "Hang" }, { times: 1 })
    const env = yield* start({ teardownTimeout: "20 seconds" })
    const caller = yield* Effect.forkChild(env.withSession({}, Effect.void), { startImmediately: true })
    yield* TestClock.adjust("19 seconds")
    assert.isUndefined(caller.pollUnsafe())
    yield* TestClock.adjust("1 second")
    const error = Lab.failure(yield* Fiber.await(caller))
    assert.instanceOf(error, SessionTeardownError)
    assert.deepStrictEqual(Object.keys(error.errors), ["two"])
    assert.deepStrictEqual(journal.lines().slice(4, 6), first(...order))
    yield* Lab.settle
    assert.strictEqual(yield* env.withSession({}, here), base(1))
    two.off()
  }).pipe(TestEnvironment.run)
)

it.effect("X6 H5 shutdown does not fail when every teardown does", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const { one, start, two } = Lab.probes()
    for (const probe of [one, two]) {
      probe.on("sessionTeardown", () => Effect.die(broken))
      probe.on("teardown", () => Effect.die(broken))
    }
    const env = yield* start({ pool: 2 })
    yield* env.shutdown
    assert.strictEqual(yield* env.status, "Offline")
    for (const probe of [one, two]) {
      assert.strictEqual(probe.calls("sessionTeardown").length, 2)
      assert.strictEqual(probe.calls("teardown").length, 2)
    }
    assert.strictEqual((yield* recorder.lines).filter((line) => line.includes("teardown failed: Boom")).length, 8)
  }).pipe(TestEnvironment.run)
)

it.effect("X6 I1 several finalizers of one feature all run, last first, although each dies", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const finalizer = (name: string) =>
      Effect.addFinalizer(() => {
        log.push(name)
        return Effect.die(new Error(name))
      })
    const { one, start } = Lab.probes()
    one.on("session", () => Effect.all([finalizer("a"), finalizer("b"), finalizer("c")]))
    const env = yield* start()
    const error = Lab.failure(yield* Effect.exit(env.withSession({}, Effect.void)))
    assert.instanceOf(error, SessionTeardownError)
    assert.deepStrictEqual(log, ["c", "b", "a"])
    const cause = error.errors["one"]
    assert.deepStrictEqual(
      Cause.isCause(cause) ? cause.reasons.map((reason) => Cause.isDieReason(reason) && String(reason.defect)) : [],
      ["Error: c", "Error: b", "Error: a"]
    )
  }).pipe(TestEnvironment.run)
)

it.effect("X6 I1 the scope of `session` closes what else hangs on it although the teardown dies", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const { one, start } = Lab.probes()
    one.on("sessionTeardown", () => Effect.die(broken))
    const env = yield* start()
    const scope = yield* Scope.make()
    yield* Scope.addFinalizer(
      scope,
      Effect.sync(() => log.push("before"))
    )
    yield* Scope.provide(env.session(), scope)
    yield* Scope.addFinalizer(
      scope,
      Effect.sync(() => log.push("after"))
    )
    const exit = yield* Effect.exit(Scope.close(scope, Exit.void))
    assert.instanceOf(Lab.defect(exit), SessionTeardownError)
    assert.deepStrictEqual(log, ["after", "before"])
  }).pipe(TestEnvironment.run)
)

// ---------------------------------------------------------------------------------------------------------------------
// X2 to X6 together
// ---------------------------------------------------------------------------------------------------------------------

const bug = new TypeError("bug")
const boom = new Boom({ what: "body" })
const stateOf = (id: Sandbox["Service"]["id"]) => Lab.stateError(id, "body")

/** How bodies end, and whether the sandbox is condemned by it. */
const bodies: {
  readonly [name: string]: { readonly body: Effect.Effect<string, unknown, Sandbox>; readonly condemns: boolean }
} = {
  success: { body: Effect.succeed("value"), condemns: false },
  failure: { body: Effect.fail(boom), condemns: false },
  defect: { body: Effect.die(bug), condemns: false },
  interruption: { body: Effect.interrupt, condemns: false },
  "failure and defect": { body: Effect.failCause(Cause.combine(Cause.fail(boom), Cause.die(bug))), condemns: false },
  "state error": { body: Effect.flatMap(Sandbox, ({ id }) => Effect.fail(stateOf(id))), condemns: true },
  "state error as a defect": { body: Effect.flatMap(Sandbox, ({ id }) => Effect.die(stateOf(id))), condemns: true },
  "another's state error": { body: Effect.fail(stateOf(SandboxId.make("another"))), condemns: false },
  report: {
    body: Effect.flatMap(Sandbox, (s) => Effect.andThen(s.report(stateOf(s.id)), Effect.never)),
    condemns: true
  }
}

const state = Lab.stateError(base(0), "teardown")
const teardowns: { readonly [name: string]: Effect.Effect<unknown> | undefined } = {
  none: undefined,
  "user error": Effect.die(broken),
  "state error": Effect.die(state),
  both: Effect.failCause(Cause.combine(Cause.die(state), Cause.die(broken))),
  interruption: Effect.interrupt
}

/** What an effect ended with: its value, or every reason in order. */
const endOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isSuccess(exit)
    ? exit.value
    : exit.cause.reasons.map((reason) =>
        Cause.isFailReason(reason)
          ? `failed: ${String(reason.error)}`
          : Cause.isDieReason(reason)
            ? `died: ${String(reason.defect)}`
            : "interrupted"
      )

for (const way of Lab.ways) {
  for (const [name, { body, condemns }] of Object.entries(bodies)) {
    it.effect(`X2 X3 X4 X6 I9 L16 a body's ${name}, with every kind of teardown (${way.name})`, () =>
      Effect.gen(function* () {
        for (const pool of [1, 0]) {
          for (const [session, sessionTeardown] of Object.entries(teardowns)) {
            for (const [feature, teardown] of Object.entries(teardowns)) {
              const where = `pool ${pool}, session teardown: ${session}, teardown: ${feature}`
              yield* Effect.gen(function* () {
                const { start, two } = Lab.probes()
                if (sessionTeardown !== undefined) two.on("sessionTeardown", () => sessionTeardown)
                if (teardown !== undefined) two.on("teardown", () => teardown)
                const env = yield* start({ pool })
                const exit = yield* Effect.exit(way.open(env, {}, body))
                two.off("sessionTeardown")
                yield* Lab.settle
                two.off("teardown")

                const raises = (kind: string) => kind === "user error" || kind === "both"
                const ofSession = name === "success" && raises(session)
                const ofFeature = name === "success" && !ofSession && pool === 0 && raises(feature)
                if (ofSession || ofFeature) {
                  const error = way.name === "session" ? Lab.defect(exit) : Lab.failure(exit)
                  if (ofSession) assert.instanceOf(error, SessionTeardownError, where)
                  else assert.instanceOf(error, FeatureTeardownError, where)
                } else {
                  // Nothing but what the body ends with by itself.
                  const alone = body.pipe(
                    Effect.provideService(Sandbox, {
                      id: SandboxId.make(base(0)),
                      report: (error: SandboxStateError) => Effect.fail(error)
                    } as unknown as Sandbox["Service"])
                  )
                  assert.deepStrictEqual(endOf(exit), endOf(yield* Effect.exit(alone)), where)
                }
                const isReplaced = pool === 0 || condemns || session !== "none"
                assert.strictEqual(yield* env.withSession({}, here), base(isReplaced ? 1 : 0), where)
              }).pipe(TestEnvironment.run)
            }
          }
        }
      })
    )
  }
}

it.effect("X4 X6 a user error of one body in a session leaves the session and its other bodies alone", () =>
  Effect.gen(function* () {
    const env = yield* Lab.start()
    yield* Effect.scoped(
      Effect.gen(function* () {
        const session = yield* env.session()
        const other = yield* Effect.forkChild(session.run(Effect.as(Effect.sleep("1 second"), "fine")))
        assert.strictEqual(Lab.failure(yield* Effect.exit(session.run(Effect.fail(boom)))), boom)
        assert.strictEqual(Lab.defect(yield* Effect.exit(session.run(Effect.die(bug)))), bug)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(other), "fine")
        assert.strictEqual(yield* session.run(here), base(0))
      })
    )
  }).pipe(TestEnvironment.run)
)

// ---------------------------------------------------------------------------------------------------------------------
// X6 without a sandbox
// ---------------------------------------------------------------------------------------------------------------------

class Host extends Context.Service<Host, { readonly name: string }>()("test/Host") {}

const hostThatBreaks = Feature.host(Host, {
  setup: Effect.succeed({
    session: Effect.as(
      Effect.addFinalizer(() => Effect.die(broken)),
      { name: "host" }
    )
  })
})

it.effect("X6 L19 a session of a host feature alone: the body's own error stays typed when the teardown fails", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ id: "env", features: [hostThatBreaks] })
    const boom = new Boom({ what: "body" })
    assert.strictEqual(Lab.failure(yield* Effect.exit(env.withFeature(Host, () => Effect.fail(boom)))), boom)
  }).pipe(TestEnvironment.run)
)

it.effect("X6 L19 a session of a host feature alone: what its teardown raises is a typed error", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ id: "env", features: [hostThatBreaks] })
    const error = Lab.failure(yield* Effect.exit(env.withFeature(Host, () => Effect.void)))
    assert.instanceOf(error, SessionTeardownError)
  }).pipe(TestEnvironment.run)
)

it.effect("X6 L19 a host feature in a sandbox's session: what its teardown raises is a typed error", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ id: "env", images: ["base"], pool: 1, features: [hostThatBreaks] })
    const error = Lab.failure(yield* Effect.exit(env.withSession({}, Effect.void)))
    assert.instanceOf(error, SessionTeardownError)
    assert.deepStrictEqual(Object.keys(error.errors), ["test/Host"])
    const boom = new Boom({ what: "body" })
    yield* Lab.settle
    assert.strictEqual(Lab.failure(yield* Effect.exit(env.withSession({}, Effect.fail(boom)))), boom)
  }).pipe(TestEnvironment.run)
)

// ---------------------------------------------------------------------------------------------------------------------
// X7
// ---------------------------------------------------------------------------------------------------------------------

for (const way of Lab.ways) {
  it.effect(`X7 F27 a command whose start fails is sent once (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const faults = yield* Faults
      const env = yield* Lab.start()
      yield* faults.add({ at: ["spawn"], times: 1, how: { _tag: "Fail" } })
      const body = Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("echo", ["a"]))
      const error = Lab.failure(yield* Effect.exit(way.open(env, {}, body)))
      assert.instanceOf(error, PlatformError.PlatformError)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(spawns(driver), [`spawn ${base(0)} echo a`])
      yield* way.open(env, {}, body)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X7 a file operation that fails is asked for once (${way.name})`, () =>
    Effect.gen(function* () {
      const faults = yield* Faults
      const env = yield* Lab.start()
      let asked = 0
      faults.on("file", () => {
        asked++
        return Effect.fail(PlatformError.systemError({ _tag: "TimedOut", module: "FileSystem", method: "read" }))
      })
      const body = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString("a"))
      assert.instanceOf(Lab.failure(yield* Effect.exit(way.open(env, {}, body))), PlatformError.PlatformError)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(asked, 1)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`X7 F27 F29 a body is never run again, whatever happens to its sandbox (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const env = yield* Lab.start({ pool: 2 })
      let runs = 0
      const body = Effect.gen(function* () {
        runs++
        const sandbox = yield* Sandbox
        yield* Effect.forkChild(Effect.delay(driver.kill(sandbox.id), "1 second"))
        return yield* sandbox.exec("hang")
      })
      const caller = yield* Effect.forkChild(way.open(env, {}, body), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), SandboxStateError)
      assert.strictEqual(runs, 1)
      assert.strictEqual(spawns(driver).length, 1)
    }).pipe(programs.run)
  )

  it.effect(`X7 F26 a reset that fails is not repeated: the sandbox is replaced and nobody is told (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const faults = yield* Faults
      const env = yield* Lab.start()
      yield* faults.add({ at: ["reset"], sandbox: base(0), how: { _tag: "Fail" } })
      const resets = () => driver.calls().filter((call) => call === `reset ${base(0)}`).length
      const before = resets()
      assert.strictEqual(yield* way.open(env, {}, here), base(0))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(resets(), before + 1)
      assert.include(driver.calls(), `destroy ${base(0)}`)
      assert.strictEqual(yield* way.open(env, {}, here), base(1))
    }).pipe(TestEnvironment.run)
  )
}

it("a message can be had of any cause, also of one that cannot be printed", () => {
  const message = (cause: unknown) =>
    new SandboxStateError({ sandboxId: SandboxId.make("env/base:0:0"), operation: "create", cause }).message
  const bare = (fields: object) => Object.assign(Object.create(null), fields) as unknown
  assert.include(message(bare({ message: "no disk" })), "create: no disk")
  assert.include(message(bare({ _tag: "NoDisk" })), "create: NoDisk")
  assert.include(message(bare({})), "create: [object Object]")
  assert.include(message(new TypeError("")), "create: TypeError")
  assert.include(message(null), "create: null")
})
