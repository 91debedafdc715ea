/** What the compiler knows: checked by `tsc`, the tests only give it a place and a name. */
// @effect-diagnostics missingEffectContext:off
import {
  type DuplicateSessionError,
  Environment,
  type EnvironmentClosedError,
  type EnvironmentConfig,
  type EnvironmentOutageError,
  type EnvironmentOverloadError,
  Feature,
  type FeatureNotApplicableError,
  type FeatureTeardownError,
  type InvalidConfigurationError,
  LocalDriver,
  Sandbox,
  type SandboxDriver,
  type SandboxEvent,
  type SandboxStateError,
  type SandboxStatus,
  Session,
  type SessionEndedError,
  type SessionLimitError,
  type SessionTeardownError,
  type UnknownImageError
} from "@effect-sandbox/core"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import {
  type Config,
  Context,
  Effect,
  FileSystem,
  Layer,
  Path,
  type PlatformError,
  Schema,
  type Scope,
  type Stream
} from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { expectTypeOf } from "vitest"

type ErrorOf<T> = T extends Effect.Effect<unknown, infer E, unknown> ? E : never
type ServicesOf<T> = T extends Effect.Effect<unknown, unknown, infer R> ? R : never

class SyntaxError extends Schema.TaggedError<SyntaxError>()("SyntaxError", { line: Schema.Int }) {}
class SetupError extends Schema.TaggedError<SetupError>()("SetupError", {}) {}
class SessionError extends Schema.TaggedError<SessionError>()("SessionError", {}) {}
class BodyError extends Schema.TaggedError<BodyError>()("BodyError", {}) {}

class Licence extends Context.Service<Licence, { readonly key: string }>()("types/Licence") {}
class Tracker extends Context.Service<Tracker, { readonly track: Effect.Effect<void> }>()("types/Tracker") {}

class Python extends Context.Service<
  Python,
  { readonly evaluate: (code: string) => Effect.Effect<string, SandboxStateError | SyntaxError> }
>()("types/Python") {
  static readonly feature = Feature.make(Python, {
    images: ["python:.*"],
    housekeepInterval: "30 seconds",
    setup: Effect.gen(function* () {
      const sandbox = yield* Sandbox
      yield* Effect.acquireRelease(Effect.void, () => Effect.void)
      if (sandbox.slot > 1000) return yield* new SetupError()
      return {
        session: Effect.gen(function* () {
          const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
          if (sandbox.slot > 1000) return yield* new SessionError()
          return Python.of({
            evaluate: (code) => Effect.orDie(spawner.string(ChildProcess.make("python", ["-c", code])))
          })
        }),
        housekeep: Effect.void
      }
    })
  })
}

class Shell extends Context.Service<Shell, { readonly prompt: string }>()("types/Shell") {
  static readonly feature = Feature.make(Shell, {
    setup: Effect.gen(function* () {
      const { key } = yield* Licence
      return { session: Effect.succeed({ prompt: key }) }
    })
  })
}

class Browser extends Context.Service<Browser, { readonly open: Effect.Effect<void> }>()("types/Browser") {}

class Bench extends Context.Service<Bench, { readonly name: string }>()("types/Bench") {
  static readonly feature = Feature.host(Bench, {
    setup: Effect.gen(function* () {
      yield* Tracker
      yield* Effect.addFinalizer(() => Effect.void)
      return { session: Effect.succeed({ name: "bench" }) }
    })
  })
}

class Lab extends Environment.Service<Lab>()("types/Lab", {
  images: ["python:3.12", "node:24"],
  features: [Python.feature, Shell.feature],
  pool: { "python:.*": { min: 4, max: 64 }, ".*": { min: 0, max: 16 } },
  outageGracePeriod: "5 minutes"
}) {}

class Bare extends Environment.Service<Bare>()("types/Bare", { images: ["base"] }) {}

const solve = Effect.gen(function* () {
  const python = yield* Python
  const fs = yield* FileSystem.FileSystem
  yield* fs.writeFileString("data.csv", "1,2,3")
  return yield* python.evaluate("open('data.csv').read()")
})

/** What `withSession` and `session` may fail with, besides the features' own errors and the body's. */
type Acquire =
  | SandboxStateError
  | EnvironmentOutageError
  | EnvironmentOverloadError
  | EnvironmentClosedError
  | UnknownImageError
  | FeatureNotApplicableError
  | DuplicateSessionError
type Interrupt = SandboxStateError | SessionLimitError | EnvironmentClosedError | SessionEndedError
type Teardown = SessionTeardownError | FeatureTeardownError

it("DESIGN 2 the program compiles, needs the environment only, and runs on a driver's layer", () => {
  const program = Lab.withSession({ image: "python:3.12" }, solve)
  expectTypeOf<ServicesOf<typeof program>>().toEqualTypeOf<Lab>()
  expectTypeOf(program).toExtend<Effect.Effect<string, unknown, Lab>>()
  const runnable = program.pipe(
    Effect.provide(Lab.layer),
    Effect.provide(LocalDriver.layer()),
    Effect.provide(Layer.succeed(Licence, { key: "" })),
    Effect.provide(NodeServices.layer)
  )
  expectTypeOf<ServicesOf<typeof runnable>>().toEqualTypeOf<never>()
  const main = () => NodeRuntime.runMain(runnable)
  expectTypeOf(main).returns.toEqualTypeOf<void>()
})

it("DESIGN 2 a feature's type says what it provides, fails with and needs", () => {
  expectTypeOf(Python.feature).toEqualTypeOf<Feature.Feature<Python, SetupError | SessionError, never>>()
  expectTypeOf(Shell.feature).toEqualTypeOf<Feature.Feature<Shell, never, Licence>>()
  expectTypeOf(Bench.feature).toEqualTypeOf<Feature.Feature<Bench, never, Tracker, "host">>()
})

it("DESIGN 2 what a feature needs from outside is asked of the environment's layer, and nothing of the sandbox", () => {
  expectTypeOf(Lab.layer).toEqualTypeOf<
    Layer.Layer<
      Lab,
      InvalidConfigurationError | EnvironmentOutageError | EnvironmentClosedError | SetupError | SessionError,
      SandboxDriver | Licence
    >
  >()
  expectTypeOf<Layer.Services<typeof Bare.layer>>().toEqualTypeOf<SandboxDriver>()
  expectTypeOf<Layer.Services<ReturnType<typeof Lab.layerWith>>>().toEqualTypeOf<SandboxDriver | Licence>()
  expectTypeOf<Layer.Services<ReturnType<typeof Lab.layerConfig>>>().toEqualTypeOf<SandboxDriver | Licence>()
  expectTypeOf<Layer.Error<ReturnType<typeof Lab.layerConfig>>>().toEqualTypeOf<
    Layer.Error<typeof Lab.layer> | Config.ConfigError
  >()
})

it("a service class tells the options it was declared with, for layers of one's own", () => {
  expectTypeOf(Lab.options.features).toEqualTypeOf<
    ReadonlyArray<typeof Python.feature | typeof Shell.feature> | undefined
  >()
  expectTypeOf(Bare.options.features).toEqualTypeOf<ReadonlyArray<never> | undefined>()
  assert.strictEqual(Bare.options.id, "types/Bare")
  assert.deepStrictEqual(Lab.options.features, [Python.feature, Shell.feature])
  // The same features, of which each may be changed: what the environment provides stays the same.
  const changed = () => Environment.make({ ...Lab.options, features: (Lab.options.features ?? []).map((one) => one) })
  expectTypeOf<Effect.Success<ReturnType<typeof changed>>>().toEqualTypeOf<Lab["Service"]>()
})

it("DESIGN 2 the session is not there in the set-up of a feature: it may be set up before anyone has come (S3)", () => {
  const needsSession = Feature.make(Shell, {
    setup: Effect.map(Session, ({ id }) => ({ session: Effect.succeed({ prompt: id }) }))
  })
  expectTypeOf(needsSession).toEqualTypeOf<Feature.Feature<Shell, never, Session>>()
})

it("DESIGN 2 a host feature knows no sandbox: using one is asked of the environment's layer", () => {
  const needsSandbox = Feature.host(Bench, {
    setup: Effect.map(Sandbox, ({ id }) => ({ session: Effect.succeed({ name: id }) }))
  })
  expectTypeOf(needsSandbox).toEqualTypeOf<Feature.Feature<Bench, never, Sandbox, "host">>()
})

it("DESIGN 2 a feature must make the service of its key", () => {
  Feature.make(Shell, {
    // @ts-expect-error a prompt is text
    setup: Effect.succeed({ session: Effect.succeed({ prompt: 1 }) })
  })
  // @ts-expect-error there is no session
  Feature.make(Shell, { setup: Effect.succeed({}) })
  expectTypeOf<Feature.Id<typeof Shell.feature>>().toEqualTypeOf<Shell>()
})

it("DESIGN 2 features can be written in the list of an environment", () => {
  const start = () =>
    Environment.make({
      images: ["base"],
      features: [
        Feature.make(Shell, { setup: Effect.succeed({ session: Effect.succeed({ prompt: "$" }) }) }),
        Feature.host(Bench, { setup: Effect.succeed({ session: Effect.succeed({ name: "bench" }) }) })
      ]
    })
  expectTypeOf<ServicesOf<ReturnType<typeof start>>>().toEqualTypeOf<SandboxDriver | Scope.Scope>()
  expectTypeOf<ErrorOf<ReturnType<typeof start>>>().toEqualTypeOf<
    InvalidConfigurationError | EnvironmentOutageError | EnvironmentClosedError
  >()
  class Inline extends Environment.Service<Inline>()("types/Inline", {
    images: ["base"],
    features: [Feature.make(Shell, { setup: Effect.succeed({ session: Effect.succeed({ prompt: "$" }) }) })]
  }) {}
  expectTypeOf<Layer.Services<typeof Inline.layer>>().toEqualTypeOf<SandboxDriver>()
  const prompt = Inline.withFeature(Shell, (shell) => Effect.succeed(shell.prompt))
  expectTypeOf<ServicesOf<typeof prompt>>().toEqualTypeOf<Inline>()
})

// ---------------------------------------------------------------------------------------------------------------------

it("DESIGN 2 withSession removes what the session provides, and exactly that", () => {
  const all = Effect.all([
    Sandbox,
    Session,
    FileSystem.FileSystem,
    Path.Path,
    ChildProcessSpawner.ChildProcessSpawner,
    Python,
    Shell
  ])
  const within = Lab.withSession({}, all)
  expectTypeOf<ServicesOf<typeof within>>().toEqualTypeOf<Lab>()
  const outside = Lab.withSession({}, Effect.all([Python, Licence, Tracker, Effect.scope]))
  expectTypeOf<ServicesOf<typeof outside>>().toEqualTypeOf<Lab | Licence | Tracker | Scope.Scope>()
})

it("DESIGN 2 a feature that the environment does not have stays a requirement", () => {
  const stranger = Lab.withSession({}, Effect.all([Python, Browser]))
  expectTypeOf<ServicesOf<typeof stranger>>().toEqualTypeOf<Lab | Browser>()
  const none = Bare.withSession({}, Python)
  expectTypeOf<ServicesOf<typeof none>>().toEqualTypeOf<Bare | Python>()
  // @ts-expect-error nobody provides the browser
  const runnable: Effect.Effect<unknown, unknown, Lab> = stranger
  void runnable
})

it("DESIGN 2 withFeature takes the environment's features only, and gives their service", () => {
  const evaluated = Lab.withFeature(Python, (python) => {
    expectTypeOf(python.evaluate).parameters.toEqualTypeOf<[code: string]>()
    return python.evaluate("1")
  })
  expectTypeOf<ServicesOf<typeof evaluated>>().toEqualTypeOf<Lab>()
  expectTypeOf<Extract<ErrorOf<typeof evaluated>, SyntaxError>>().toEqualTypeOf<SyntaxError>()
  // @ts-expect-error the lab has no browser
  const wrong = () => Lab.withFeature(Browser, ({ open }) => open)
  void wrong
})

it("DESIGN 2 sessions as scoped resources: run removes the same, session asks for a scope", () => {
  const opened = Lab.session({ image: "node:24" })
  expectTypeOf<ServicesOf<typeof opened>>().toEqualTypeOf<Lab | Scope.Scope>()
  const program = Effect.scoped(Effect.flatMap(opened, (session) => session.run(Effect.all([solve, Browser]))))
  expectTypeOf<ServicesOf<typeof program>>().toEqualTypeOf<Lab | Browser>()
  const read = Effect.map(opened, ({ context }) => Context.get(context, Python))
  expectTypeOf(read).toExtend<Effect.Effect<Python["Service"], unknown, Lab | Scope.Scope>>()
  // @ts-expect-error the lab has no browser
  const wrong = Effect.map(opened, ({ context }) => Context.get(context, Browser))
  void wrong
})

it("DESIGN 2 an environment as a value has the same types", () => {
  const start = () =>
    Environment.make({ images: ["python:3.12"], features: [Python.feature, Shell.feature, Bench.feature] })
  type Started = ReturnType<typeof start>
  expectTypeOf<ServicesOf<Started>>().toEqualTypeOf<SandboxDriver | Scope.Scope | Licence | Tracker>()
  expectTypeOf<ErrorOf<Started>>().toEqualTypeOf<
    InvalidConfigurationError | EnvironmentOutageError | EnvironmentClosedError | SetupError | SessionError
  >()
  const program = Effect.flatMap(start(), (lab) => lab.withSession({}, Effect.all([solve, Shell, Bench, Browser])))
  expectTypeOf<ServicesOf<typeof program>>().toEqualTypeOf<SandboxDriver | Scope.Scope | Licence | Tracker | Browser>()
})

// ---------------------------------------------------------------------------------------------------------------------

it("X1 X2 the errors of a session are precise: the library's, the features' own, the body's", () => {
  const program = Lab.withSession({}, solve)
  expectTypeOf<ErrorOf<typeof program>>().toEqualTypeOf<
    Acquire | Interrupt | Teardown | SetupError | SessionError | SyntaxError | PlatformError.PlatformError
  >()
  const bare = Bare.withSession({}, Effect.fail(new BodyError()))
  expectTypeOf<ErrorOf<typeof bare>>().toEqualTypeOf<Acquire | Interrupt | Teardown | BodyError>()
  const opened = Lab.session()
  expectTypeOf<ErrorOf<typeof opened>>().toEqualTypeOf<Acquire | SetupError | SessionError>()
  type Opened = Effect.Success<typeof opened>
  expectTypeOf<ErrorOf<Opened["close"]>>().toEqualTypeOf<Teardown>()
  const run = (session: Opened) => session.run(Effect.fail(new BodyError()))
  expectTypeOf<ErrorOf<ReturnType<typeof run>>>().toEqualTypeOf<BodyError | Interrupt>()
})

it("X1 every error can be caught by its tag, until none is left", () => {
  const caught = Lab.withSession({}, Effect.fail(new BodyError())).pipe(
    Effect.catchTags({
      SandboxStateError: () => Effect.void,
      EnvironmentOutageError: () => Effect.void,
      EnvironmentOverloadError: () => Effect.void,
      EnvironmentClosedError: () => Effect.void,
      UnknownImageError: () => Effect.void,
      FeatureNotApplicableError: () => Effect.void,
      DuplicateSessionError: () => Effect.void,
      SessionLimitError: () => Effect.void,
      SessionEndedError: () => Effect.void,
      SessionTeardownError: () => Effect.void,
      FeatureTeardownError: () => Effect.void,
      SetupError: () => Effect.void,
      SessionError: () => Effect.void,
      BodyError: () => Effect.void
    })
  )
  expectTypeOf<ErrorOf<typeof caught>>().toEqualTypeOf<never>()
})

it("X1 an environment without features adds no error but the library's, and nothing is unknown or any", () => {
  type Start = ErrorOf<ReturnType<typeof Environment.make<readonly []>>>
  expectTypeOf<Start>().toEqualTypeOf<InvalidConfigurationError | EnvironmentOutageError | EnvironmentClosedError>()
  const program = Bare.withSession({}, Effect.succeed(1))
  expectTypeOf<ErrorOf<typeof program>>().not.toBeAny()
  expectTypeOf<ErrorOf<typeof program>>().not.toBeUnknown()
  expectTypeOf(program).toEqualTypeOf<Effect.Effect<number, Acquire | Interrupt | Teardown, Bare>>()
})

it("DESIGN 2 stats, status, events and shutdown never fail and need the environment only", () => {
  expectTypeOf(Lab.stats).toEqualTypeOf<Effect.Effect<Environment.Stats, never, Lab>>()
  expectTypeOf(Lab.status).toEqualTypeOf<Effect.Effect<SandboxStatus.EnvironmentStatus, never, Lab>>()
  expectTypeOf(Lab.events).toEqualTypeOf<Stream.Stream<SandboxEvent.SandboxEvent, never, Lab>>()
  expectTypeOf(Lab.shutdown).toEqualTypeOf<Effect.Effect<void, never, Lab>>()
})

it("X1 options are checked by the compiler: no unknown names, no wrong values", () => {
  const options: EnvironmentConfig.Options = { images: ["a"], pool: { min: 1 }, acquireTimeout: "5 seconds" }
  expectTypeOf(options).toExtend<EnvironmentConfig.Settings>()
  void (() => {
    // @ts-expect-error there is no such option
    void Environment.make({ images: ["a"], pooool: 1 })
    // @ts-expect-error not a duration
    void Environment.make({ images: ["a"], acquireTimeout: "5 bananas" })
    // @ts-expect-error not a feature
    void Environment.make({ images: ["a"], features: [Python] })
    // @ts-expect-error features cannot be changed afterwards: the type of the environment knows them
    void Lab.layerWith({ features: [] })
  })
})

it("L19 H4 a sandbox is not promised where there is none: in the use of a host feature alone", () => {
  const start = () => Environment.make({ features: [Bench.feature] })
  const program = Effect.flatMap(start(), (lab) => lab.withFeature(Bench, () => Sandbox))
  // At run time there is no sandbox here, so it must stay a requirement.
  expectTypeOf<Extract<ServicesOf<typeof program>, Sandbox>>().toEqualTypeOf<Sandbox>()
})
