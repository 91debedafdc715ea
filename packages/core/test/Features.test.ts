import {
  CallLifetime,
  Environment,
  EnvironmentClosedError,
  type EnvironmentConfig,
  EventRecorder,
  Feature,
  FeatureNotApplicableError,
  Sandbox,
  SandboxStateError,
  SessionTeardownError
} from "@effect-sandbox/core"
import { Faults, FeatureProbe, SimDriver, SimulatedError, TestEnvironment } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, FileSystem, Layer, Path, Ref, Scheduler, Schema } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { TestClock } from "effect/testing"
import * as Lab from "./support/Lab.ts"
import * as programs from "./support/programs.ts"

const { Boom } = Lab

class One extends Context.Service<One, { readonly name: string }>()("test/One") {}

/** The name of the sandbox one is in. */
const here = Effect.map(Sandbox, ({ id }) => id)

const base = (generation: number) => `env/base:0:${generation}`

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** Lines of a journal, all of them about the first sandbox. */
const first = (...lines: ReadonlyArray<string>) => lines.map((line) => `${line} in ${base(0)}`)

// ---------------------------------------------------------------------------------------------------------------------
// I1
// ---------------------------------------------------------------------------------------------------------------------

it.effect(
  "I1 features are set up in the order of the list, for sandboxes and for sessions, and torn down in reverse",
  () => {
    const { journal, start } = Lab.probes()
    const test = Effect.gen(function* () {
      const env = yield* start({ pool: 0 })
      yield* env.withSession(
        {},
        Effect.sync(() => journal.note("body"))
      )
      assert.deepStrictEqual(
        journal.lines().filter((line) => !line.startsWith("reset")),
        [
          `create ${base(0)}`,
          ...first("setup one", "setup two", "session one", "session two"),
          "body",
          ...first("session teardown two", "session teardown one", "teardown two", "teardown one"),
          `destroy ${base(0)}`
        ]
      )
    })
    return TestEnvironment.run(test, { driver: { journal } })
  }
)

it.effect("I1 the sandbox's set-up runs once and is kept over its sessions; each session is set up anew", () =>
  Effect.gen(function* () {
    const { journal, one, start } = Lab.probes()
    const env = yield* start()
    for (let i = 0; i < 3; i++) {
      yield* env.withSession({}, Effect.void)
      yield* Lab.settle
    }
    yield* env.shutdown
    assert.deepStrictEqual(
      (["setup", "teardown", "session", "sessionTeardown"] as const).map((hook) => one.calls(hook).length),
      [1, 1, 4, 4]
    )
    yield* journal.ledger.assertBalanced
  }).pipe(TestEnvironment.run)
)

const Fault = Schema.Struct({
  features: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 5 })),
  at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 })),
  phase: Schema.Literals(["setup", "session", "sessionTeardown", "teardown"]),
  kind: Schema.Literals(["fail", "die", "state error", "state error as a defect", "hang"]),
  proactive: Schema.Boolean,
  pooled: Schema.Boolean
})

it.effect.prop(
  "I1 whichever step of whichever feature fails or hangs: what began is torn down once, in reverse",
  [Fault],
  ([fault]) =>
    Effect.gen(function* () {
      const journal = FeatureProbe.journal()
      const probes = Array.from({ length: fault.features }, (_, n) => FeatureProbe.make(`f${n}`, { journal }))
      const faulty = probes[fault.at % fault.features] ?? assert.fail("there is none")
      const behaviours: { readonly [kind in typeof fault.kind]: FeatureProbe.Behaviour } = {
        fail: { _tag: "Fail" },
        die: { _tag: "Die" },
        "state error": { _tag: "Fail", kind: "state" },
        "state error as a defect": ({ sandboxId = "none" }) => Effect.die(Lab.stateError(sandboxId, "feature")),
        hang: { _tag: "Hang" }
      }
      faulty.on(fault.phase, behaviours[fault.kind])
      const env = yield* Environment.make({
        id: "env",
        images: ["base"],
        pool: fault.pooled ? { min: 0, max: 1 } : 0,
        proactiveSessionSetup: fault.proactive,
        outageGracePeriod: "1 second",
        teardownTimeout: "10 seconds",
        features: probes.map(({ feature }) => feature)
      })
      const caller = yield* fork(env.withSession({}, Effect.void))
      yield* TestClock.adjust("1 minute")
      yield* Effect.forkChild(Fiber.interrupt(caller), { startImmediately: true })
      const shutdown = yield* fork(env.shutdown)
      yield* TestClock.adjust("5 minutes")
      assert.isDefined(caller.pollUnsafe(), "the caller still waits")
      assert.isDefined(shutdown.pollUnsafe(), "the shutdown still waits")
      yield* journal.ledger.assertBalanced
      faulty.off()
    }).pipe(TestEnvironment.run),
  { arbitrary: { runs: 150 } }
)

/** Probes whose set-ups take a moment each. */
const slowProbes = () => {
  const probes = Lab.probes()
  for (const probe of [probes.one, probes.two]) {
    probe.on("setup", { _tag: "Slow", millis: 10 })
    probe.on("session", { _tag: "Slow", millis: 10 })
  }
  return probes
}

/** Sandboxes take as long to come up. */
const onSlowDriver = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  TestEnvironment.run(test, { driver: { latency: { create: 10 } } })

it.effect("I1 S5 interrupted in the middle of its start, an environment takes everything down again", () =>
  Effect.gen(function* () {
    for (let step = 0; step < 8; step++) {
      yield* Effect.gen(function* () {
        const driver = yield* SimDriver
        const { journal, start } = slowProbes()
        const starting = yield* fork(Effect.scoped(Effect.andThen(start(), Effect.never)))
        yield* TestClock.adjust(step * 10 + 5)
        yield* Fiber.interrupt(starting)
        assert.deepStrictEqual(driver.alive(), [], `interrupted after ${step * 10 + 5} ms`)
        yield* journal.ledger.assertBalanced
      }).pipe(onSlowDriver)
    }
  })
)

it.effect("I1 H5 shut down in the middle of a set-up, nothing is left", () =>
  Effect.gen(function* () {
    for (let step = 0; step < 8; step++) {
      yield* Effect.gen(function* () {
        const driver = yield* SimDriver
        const { journal, start } = slowProbes()
        const env = yield* start({ pool: { min: 0, max: 1 } })
        const caller = yield* fork(env.withSession({}, Effect.never))
        yield* TestClock.adjust(step * 10 + 5)
        yield* env.shutdown
        assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), EnvironmentClosedError)
        assert.deepStrictEqual(driver.alive(), [], `shut down after ${step * 10 + 5} ms`)
        yield* journal.ledger.assertBalanced
      }).pipe(onSlowDriver)
    }
  })
)

it.effect("I1 H2 a sandbox that dies in the middle of its set-up is taken down completely", () =>
  Effect.gen(function* () {
    for (let step = 0; step < 4; step++) {
      yield* Effect.gen(function* () {
        const driver = yield* SimDriver
        const { journal, start } = slowProbes()
        const env = yield* start({ pool: { min: 0, max: 1 } })
        const caller = yield* fork(env.withSession({}, here))
        yield* TestClock.adjust(step * 10 + 5)
        yield* driver.kill(base(0))
        yield* Lab.settle
        assert.notInclude(driver.alive(), base(0))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* Fiber.join(caller), base(1))
        yield* env.shutdown
        yield* journal.ledger.assertBalanced
      }).pipe(TestEnvironment.run)
    }
  })
)

// ---------------------------------------------------------------------------------------------------------------------
// What a feature is given
// ---------------------------------------------------------------------------------------------------------------------

for (const way of Lab.ways) {
  it.effect(`I3 each session has a service of its own (${way.name})`, () =>
    Effect.gen(function* () {
      const { one, start } = Lab.probes()
      const env = yield* start()
      const first = yield* way.open(env, {}, Effect.all([one.key, one.key]))
      yield* Lab.settle
      const second = yield* way.open(env, {}, one.key)
      assert.strictEqual(first[1], first[0])
      assert.deepStrictEqual([first[0].session, second.session], [1, 2])
    }).pipe(TestEnvironment.run)
  )
}

const placeOf = ({ name, sandboxId }: FeatureProbe.Service) => `${name} in ${sandboxId}`

it.effect("P1 a feature is set up on the images that it is for, matched as a whole, and on no others", () =>
  Effect.gen(function* () {
    const journal = FeatureProbe.journal()
    const one = FeatureProbe.make("one", { journal, images: ["python"] })
    const two = FeatureProbe.make("two", { journal, images: ["python:.*", "no.*"] })
    const env = yield* Environment.make({
      id: "env",
      images: ["python", "python:3", "node"],
      pool: 1,
      features: [one.feature, two.feature]
    })
    const images = (yield* Effect.forEach(["python", "python:3", "node"], (image) =>
      env.withSession(
        { image },
        Effect.gen(function* () {
          const services = [yield* Effect.serviceOption(one.key), yield* Effect.serviceOption(two.key)]
          return services.map((option) => (option._tag === "Some" ? placeOf(option.value) : "-"))
        })
      )
    )) satisfies ReadonlyArray<ReadonlyArray<string>>
    assert.deepStrictEqual(images, [
      ["one in env/python:0:0", "-"],
      ["-", "two in env/python:3:0:0"],
      ["-", "two in env/node:0:0"]
    ])
    assert.deepStrictEqual(
      journal.lines().filter((line) => line.startsWith("setup")),
      ["setup one in env/python:0:0", "setup two in env/python:3:0:0", "setup two in env/node:0:0"]
    )
  }).pipe(TestEnvironment.run)
)

it.effect("X1 withFeature takes the first image that has the feature, or the named one, and refuses a wrong one", () =>
  Effect.gen(function* () {
    const one = FeatureProbe.make("one", { images: ["python:.*"] })
    const two = FeatureProbe.make("two")
    const env = yield* Environment.make({
      id: "env",
      images: ["base", "python:3", "python:4"],
      pool: { min: 0, max: 1 },
      features: [one.feature, two.feature]
    })
    const use = (service: FeatureProbe.Service) => Effect.succeed(placeOf(service))
    assert.strictEqual(yield* env.withFeature(one.key, use), "one in env/python:3:0:0")
    assert.strictEqual(yield* env.withFeature(one.key, use, { image: "python:4" }), "one in env/python:4:0:0")
    assert.strictEqual(yield* env.withFeature(two.key, use), "two in env/base:0:0")
    const error = Lab.failure(yield* Effect.exit(env.withFeature(one.key, use, { image: "base" })))
    assert.instanceOf(error, FeatureNotApplicableError)
    assert.deepStrictEqual([error.featureId as string, error.image], ["one", "base"])
  }).pipe(TestEnvironment.run)
)

it.effect("X1 a feature's service can have another key than its name", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const one = Feature.make(One, { id: "shell", setup: Effect.succeed({ session: Effect.succeed({ name: "a" }) }) })
    const env = yield* Environment.make({ id: "env", images: ["base"], pool: 1, features: [one] })
    assert.strictEqual(yield* env.withFeature(One, ({ name }) => Effect.succeed(name)), "a")
    assert.include(yield* recorder.lines, `${base(0)} feature shell set up`)
  }).pipe(TestEnvironment.run)
)

it.effect("V4 F6 what a feature does in its sandbox bears its name, and says in which phase it failed", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const one = Feature.make(One, {
      setup: Effect.gen(function* () {
        const sandbox = yield* Sandbox
        yield* sandbox.exec("true")
        return {
          session: Effect.gen(function* () {
            const inside = yield* Sandbox
            yield* Effect.ignore(inside.activity("warm up", Effect.fail("cold")))
            return { name: "one" }
          })
        }
      })
    })
    const env = yield* Environment.make({ id: "env", images: ["base"], pool: 1, features: [one] })
    yield* env.withSession({ id: "s" }, Effect.void)
    const activities = (yield* recorder.events).flatMap((event) =>
      event._tag === "FeatureActivity" ? [[event.featureId as string, event.name, event.error?.message]] : []
    )
    assert.deepStrictEqual(activities.slice(0, 2), [
      ["test/One", "exec true", undefined],
      ["test/One", "warm up", "cold"]
    ])
  }).pipe(TestEnvironment.run)
)

it.effect("S1 the driver is told what belongs to a sandbox's set-up and what to a session", () =>
  Effect.gen(function* () {
    const faults = yield* Faults
    const files: Array<string> = []
    const commands: Array<string> = []
    const noteIn = (list: Array<string>, what = "") =>
      Effect.map(CallLifetime, (lifetime) => list.push(`${lifetime} ${what}`))
    faults.on("file", ({ path }) => noteIn(files, path))
    faults.on("spawn", ({ operation }) => noteIn(commands, operation))
    const touch = (path: string) => Effect.flatMap(FileSystem.FileSystem, (fs) => fs.writeFileString(path, ""))
    const run = (command: string) => Effect.flatMap(Sandbox, (sandbox) => sandbox.exec(command))
    const spawn = (command: string) =>
      Effect.flatMap(ChildProcessSpawner.ChildProcessSpawner, (spawner) =>
        spawner.exitCode(ChildProcess.make(command, []))
      )
    const one = Feature.make(One, {
      housekeepInterval: "1 second",
      setup: Effect.gen(function* () {
        yield* Effect.all([touch("setup"), run("true"), spawn("true")])
        return {
          session: Effect.as(Effect.all([touch("session"), run("true"), spawn("true")]), { name: "one" }),
          housekeep: touch("housekeep")
        }
      })
    })
    const env = yield* Environment.make({ id: "env", images: ["base"], pool: 1, features: [one] })
    const caller = yield* fork(env.withSession({}, Effect.andThen(touch("body"), Effect.sleep("1500 millis"))))
    yield* TestClock.adjust("2 seconds")
    yield* Fiber.join(caller)
    assert.deepStrictEqual(files.slice(0, 4), ["sandbox setup", "session session", "session body", "sandbox housekeep"])
    assert.deepStrictEqual(commands.slice(0, 4), ["sandbox true", "sandbox true", "session true", "session true"])
  }).pipe(TestEnvironment.run)
)

it.effect("I1 what a feature needs from outside comes from the environment's layer", () =>
  Effect.gen(function* () {
    class Licence extends Context.Service<Licence, { readonly key: string }>()("test/Licence") {}
    const feature = Feature.make(One, {
      setup: Effect.gen(function* () {
        const licence = yield* Licence
        return { session: Effect.map(Licence, ({ key }) => ({ name: `${licence.key}, ${key}` })) }
      })
    })
    class Licensed extends Environment.Service<Licensed>()("licensed", {
      images: ["base"],
      pool: 1,
      features: [feature]
    }) {}
    const name = yield* Licensed.withFeature(One, (one) => Effect.succeed(one.name)).pipe(
      Effect.provide(Licensed.layer.pipe(Layer.provide(Layer.succeed(Licence, { key: "secret" }))))
    )
    assert.strictEqual(name, "secret, secret")
  }).pipe(TestEnvironment.run)
)

it.effect("S1 paths that a feature makes are those of its sandbox, and start in the workspace", () =>
  Effect.gen(function* () {
    const resolve = Effect.map(Path.Path, (path) => path.resolve("data.csv"))
    const one = Feature.make(One, { setup: Effect.map(resolve, (name) => ({ session: Effect.succeed({ name }) })) })
    const env = yield* Environment.make({ id: "env", images: ["base"], pool: 1, features: [one] })
    assert.deepStrictEqual(yield* env.withSession({}, Effect.all([resolve, Effect.map(One, ({ name }) => name)])), [
      "/workspace/data.csv",
      "/workspace/data.csv"
    ])
  }).pipe(TestEnvironment.run)
)

// ---------------------------------------------------------------------------------------------------------------------
// F34
// ---------------------------------------------------------------------------------------------------------------------

class Shell extends Context.Service<Shell, { readonly evaluate: Effect.Effect<string> }>()("test/Shell") {}

/** A shell that runs as long as its sandbox, and says so when it does not. */
const reportingShell = Feature.make(Shell, {
  setup: Effect.gen(function* () {
    const sandbox = yield* Sandbox
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const shell = yield* spawner.spawn(ChildProcess.make("daemon", []))
    yield* Effect.exit(shell.exitCode).pipe(
      Effect.flatMap((exit) =>
        sandbox.report(
          new SandboxStateError({
            sandboxId: sandbox.id,
            operation: "shell",
            description: `the shell exited with ${Exit.isSuccess(exit) ? exit.value : "an error"}`
          })
        )
      ),
      Effect.forkScoped
    )
    return { session: Effect.succeed({ evaluate: Effect.succeed("ok") }) }
  })
})

/** What becomes of processes and their sandboxes, from now on. */
const lifeOfProcesses = Effect.map(Faults, (faults) => {
  const life: Array<string> = []
  faults.on("spawn", ({ operation }) =>
    Effect.map(CallLifetime, (lifetime) => life.push(`spawn ${operation} of the ${lifetime}`))
  )
  faults.on("kill", ({ operation }) => Effect.sync(() => life.push(`kill ${operation}`)))
  faults.on("destroy", () => Effect.sync(() => life.push("destroy")))
  return life
})

const shellLab = <E>(feature: Feature.Feature<Shell, E, never>) =>
  Environment.make({ id: "env", images: ["base"], pool: 1, features: [feature] })

it.effect(
  "F34 a feature's own process that ends is noticed in a session: the caller is told, the sandbox replaced",
  () =>
    Effect.gen(function* () {
      const daemon = yield* programs.Daemon
      const driver = yield* SimDriver
      const env = yield* shellLab(reportingShell)
      const caller = yield* fork(
        env.withSession(
          {},
          Effect.andThen(
            Effect.flatMap(Shell, ({ evaluate }) => evaluate),
            Effect.never
          )
        )
      )
      yield* Lab.settle
      assert.isTrue(yield* daemon.end(0))
      yield* Lab.settle
      const error = Lab.failure(yield* Fiber.await(caller))
      assert.instanceOf(error, SandboxStateError)
      assert.strictEqual(error.description, "the shell exited with 0")
      assert.strictEqual(yield* env.withFeature(Shell, ({ evaluate }) => evaluate), "ok")
      assert.deepStrictEqual<ReadonlyArray<string>>(driver.alive(), [base(1)])
    }).pipe(programs.run)
)

it.effect(
  "F34 H2 a feature's own process that ends between two sessions is noticed: the sandbox is replaced at once",
  () =>
    Effect.gen(function* () {
      const daemon = yield* programs.Daemon
      const driver = yield* SimDriver
      const env = yield* shellLab(reportingShell)
      yield* env.withSession({}, Effect.void)
      yield* Lab.settle
      yield* daemon.end(1)
      yield* Lab.settle
      assert.deepStrictEqual<ReadonlyArray<string>>(driver.alive(), [base(1)])
      assert.strictEqual(yield* env.withSession({}, here), base(1))
    }).pipe(programs.run)
)

it.effect("F34 S1 a process of a feature's set-up lasts over the sessions and ends with the sandbox", () =>
  Effect.gen(function* () {
    const life = yield* lifeOfProcesses
    const env = yield* shellLab(reportingShell)
    for (let i = 0; i < 3; i++) {
      yield* env.withSession({}, Effect.void)
      yield* Lab.settle
    }
    assert.deepStrictEqual(life, ["spawn daemon of the sandbox"])
    yield* env.shutdown
    assert.deepStrictEqual(life, ["spawn daemon of the sandbox", "kill daemon", "destroy"])
  }).pipe(programs.run)
)

it.effect("F34 a feature can restart its own process: nobody in the session notices", () =>
  Effect.gen(function* () {
    const daemon = yield* programs.Daemon
    const feature = Feature.make(Shell, {
      setup: Effect.gen(function* () {
        const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
        const starts = yield* Ref.make(0)
        const shell = Effect.scoped(
          Effect.gen(function* () {
            const process = yield* spawner.spawn(ChildProcess.make("daemon", []))
            yield* Ref.update(starts, (n) => n + 1)
            yield* process.exitCode
          })
        )
        yield* Effect.forkScoped(Effect.forever(Effect.ignore(shell)), { startImmediately: true })
        return { session: Effect.succeed({ evaluate: Effect.map(Ref.get(starts), (n) => `start ${n}`) }) }
      })
    })
    const env = yield* shellLab(feature)
    const body = Effect.gen(function* () {
      const { evaluate } = yield* Shell
      const before = yield* evaluate
      yield* daemon.end(0)
      yield* Effect.sleep(1)
      return [before, yield* evaluate, yield* here]
    })
    const caller = yield* fork(env.withSession({}, body))
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual((yield* Fiber.join(caller)).map(String), ["start 1", "start 2", base(0)])
  }).pipe(programs.run)
)

it.effect("F34 S5 a process of a feature's session ends with the session", () =>
  Effect.gen(function* () {
    const life = yield* lifeOfProcesses
    const feature = Feature.make(Shell, {
      setup: Effect.succeed({
        session: Effect.gen(function* () {
          const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
          yield* spawner.spawn(ChildProcess.make("daemon", []))
          return { evaluate: Effect.succeed("ok") }
        })
      })
    })
    const env = yield* Environment.make({
      id: "env",
      images: ["base"],
      pool: 1,
      features: [feature],
      proactiveSessionSetup: false
    })
    yield* env.withSession({}, Effect.void)
    yield* Lab.settle
    assert.deepStrictEqual(life, ["spawn daemon of the session", "kill daemon"])
  }).pipe(programs.run)
)

// ---------------------------------------------------------------------------------------------------------------------
// H4, L19
// ---------------------------------------------------------------------------------------------------------------------

/** Two probes on the host that share a journal. */
const hostProbes = (options: Pick<FeatureProbe.Options, "housekeepInterval"> = {}) => {
  const journal = FeatureProbe.journal()
  return {
    journal,
    host: FeatureProbe.host("host", { ...options, journal }),
    other: FeatureProbe.host("other", { ...options, journal })
  }
}

const hostLab = <const F extends ReadonlyArray<Feature.Any>>(
  features: F,
  options: Omit<EnvironmentConfig.Options, "features"> = {}
) => Environment.make({ id: "env", images: ["base"], pool: 1, ...options, features })

it.effect("H4 I1 host features are set up before the first sandbox and torn down after the last, in reverse", () =>
  Effect.suspend(() => {
    const { host, journal, other } = hostProbes()
    const one = FeatureProbe.make("one", { journal })
    const test = Effect.gen(function* () {
      const env = yield* hostLab([host.feature, one.feature, other.feature])
      yield* env.shutdown
      assert.deepStrictEqual(
        journal.lines().filter((line) => !line.startsWith("reset")),
        [
          "setup host",
          "setup other",
          `create ${base(0)}`,
          ...first("setup one"),
          "session host",
          "session other",
          ...first("session one", "session teardown one"),
          "session teardown other",
          "session teardown host",
          ...first("teardown one"),
          `destroy ${base(0)}`,
          "teardown other",
          "teardown host"
        ]
      )
    })
    return TestEnvironment.run(test, { driver: { journal } })
  })
)

it.effect("H4 X5 a host feature whose set-up fails fails the start, and what was set up is torn down", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const { host, journal, other } = hostProbes()
    const boom = new SimulatedError({ point: "setup", description: "told to" })
    other.on("setup", () => Effect.fail(boom))
    const exit = yield* Effect.exit(hostLab([host.feature, other.feature]))
    assert.strictEqual(Lab.failure(exit), boom)
    assert.deepStrictEqual(journal.lines(), ["setup host", "setup other", "teardown other", "teardown host"])
    assert.deepStrictEqual(driver.calls(), [])
  }).pipe(TestEnvironment.run)
)

it.effect("H4 a host feature whose housekeeping fails shuts the environment down, and sessions are told", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const { host } = hostProbes({ housekeepInterval: "5 seconds" })
    const env = yield* hostLab([host.feature])
    const user = yield* fork(env.withSession({}, Effect.never))
    yield* TestClock.adjust("12 seconds")
    assert.strictEqual(yield* env.status, "Online")
    host.on("housekeep", { _tag: "Fail" })
    yield* TestClock.adjust("5 seconds")
    assert.strictEqual(yield* env.status, "Offline")
    assert.instanceOf(Lab.failure(yield* Fiber.await(user)), EnvironmentClosedError)
    const lines = yield* recorder.lines
    assert.includeMembers(
      [...lines],
      ["env feature host housekeeping failed: SimulatedError", "env shutting down: SimulatedError", "env shut down"]
    )
    assert.strictEqual(lines.filter((line) => line.endsWith("feature host housekeeping done")).length, 2)
  }).pipe(TestEnvironment.run)
)

it.effect("H4 H5 L12 shutdown does not wait for the next housekeeping of a host feature", () =>
  Effect.gen(function* () {
    const { host } = hostProbes({ housekeepInterval: "5 seconds" })
    host.on("housekeep", { _tag: "Hang" })
    const env = yield* hostLab([host.feature])
    yield* TestClock.adjust("7 seconds")
    const shutdown = yield* fork(env.shutdown)
    yield* Lab.settle
    assert.isDefined(shutdown.pollUnsafe())
  }).pipe(TestEnvironment.run)
)

it.effect("H4 X6 the teardown of host features never stops half-way, and shutdown does not fail", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const { host, journal, other } = hostProbes()
    for (const probe of [host, other]) probe.on("teardown", () => Effect.die(new Boom({ what: "teardown" })))
    const env = yield* hostLab([host.feature, other.feature])
    yield* env.shutdown
    assert.deepStrictEqual(journal.lines().slice(-2), ["teardown other", "teardown host"])
    assert.includeMembers(
      [...(yield* recorder.lines)],
      ["env feature other teardown failed: Boom", "env feature host teardown failed: Boom"]
    )
  }).pipe(TestEnvironment.run)
)

it.effect("H4 L19 a host feature is used without a sandbox", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const { host, journal } = hostProbes()
    const env = yield* Environment.make({ id: "env", features: [host.feature] })
    assert.strictEqual(yield* env.withFeature(host.key, ({ session }) => Effect.succeed(session)), 1)
    assert.strictEqual(yield* env.withFeature(host.key, ({ session }) => Effect.succeed(session)), 2)
    const session = ["session host", "session teardown host"]
    assert.deepStrictEqual(journal.lines(), ["setup host", ...session, ...session])
    assert.deepStrictEqual(
      host.calls().map((call) => call.session),
      [undefined, 1, 1, 2, 2]
    )
    assert.deepStrictEqual(driver.calls(), [])
  }).pipe(TestEnvironment.run)
)

it.effect("L19 concurrent sessions of a host feature are separate, with sandboxes and without", () =>
  Effect.gen(function* () {
    const { host, journal } = hostProbes()
    const env = yield* hostLab([host.feature], { pool: { min: 0, max: 4 } })
    const session = Effect.gen(function* () {
      const before = yield* host.key
      yield* Effect.sleep("1 second")
      const after = yield* host.key
      assert.strictEqual(before, after)
      return after.session
    })
    const all = yield* fork(
      Effect.all(
        [
          env.withSession({}, session),
          env.withSession({}, session),
          env.withFeature(host.key, () => session),
          env.withFeature(host.key, () => session)
        ],
        { concurrency: "unbounded" }
      )
    )
    yield* TestClock.adjust("1 minute")
    assert.strictEqual(new Set(yield* Fiber.join(all)).size, 4)
    yield* env.shutdown
    yield* journal.ledger.assertBalanced
  }).pipe(TestEnvironment.run)
)

it.effect("L19 X5 X6 an error of one host session is its caller's alone", () =>
  Effect.gen(function* () {
    const { host } = hostProbes()
    const env = yield* Environment.make({ id: "env", features: [host.feature] })
    const go = yield* Deferred.make<string>()
    const other = yield* fork(env.withFeature(host.key, () => Deferred.await(go)))
    const failed = new SimulatedError({ point: "session", description: "told to" })
    host.on("session", () => Effect.fail(failed))
    assert.strictEqual(Lab.failure(yield* Effect.exit(env.withFeature(host.key, () => Effect.void))), failed)
    host.off("session")
    const boom = new Boom({ what: "session" })
    assert.strictEqual(Lab.failure(yield* Effect.exit(env.withFeature(host.key, () => Effect.fail(boom)))), boom)
    host.on("sessionTeardown", () => Effect.die(boom))
    const teardown = Lab.failure(yield* Effect.exit(env.withFeature(host.key, () => Effect.void)))
    assert.instanceOf(teardown, SessionTeardownError)
    assert.deepStrictEqual(Object.keys(teardown.errors), ["host"])
    host.off("sessionTeardown")
    yield* Deferred.succeed(go, "fine")
    assert.strictEqual(yield* Fiber.join(other), "fine")
    assert.strictEqual(yield* env.status, "Online")
  }).pipe(TestEnvironment.run)
)

it.effect("L19 S5 an interrupted host session is torn down", () =>
  Effect.gen(function* () {
    const { host, journal } = hostProbes()
    const env = yield* Environment.make({ id: "env", features: [host.feature] })
    const user = yield* fork(env.withFeature(host.key, () => Effect.never))
    yield* Lab.settle
    yield* Fiber.interrupt(user)
    assert.deepStrictEqual(journal.lines().slice(1), ["session host", "session teardown host"])
  }).pipe(TestEnvironment.run)
)

it.effect("H5 L19 shutdown ends sessions on host features, too, before it tears the features down", () =>
  Effect.gen(function* () {
    const { host, journal } = hostProbes()
    const env = yield* Environment.make({ id: "env", features: [host.feature] })
    const user = yield* fork(env.withFeature(host.key, () => Effect.never))
    yield* Lab.settle
    yield* env.shutdown
    yield* Lab.settle
    assert.isDefined(user.pollUnsafe(), "it goes on, on a feature that was torn down")
    assert.instanceOf(Lab.failure(yield* Fiber.await(user)), EnvironmentClosedError)
    assert.deepStrictEqual(journal.lines(), ["setup host", "session host", "session teardown host", "teardown host"])
  }).pipe(TestEnvironment.run)
)

it.effect("H5 L19 V2 a host session that is not torn down in time is given up before the feature, and told", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const settled = Effect.repeat(Effect.yieldNow, { times: 200 })
    const { host } = hostProbes()
    host.on("sessionTeardown", { _tag: "Slow", millis: 60_000 })
    for (const turns of [3, 8, 2048]) {
      const run = Effect.provideService(Scheduler.MaxOpsBeforeYield, turns)
      const features = [host.feature] as const
      const env = yield* run(Environment.make({ id: `env${turns}`, teardownTimeout: "5 seconds", features }))
      yield* fork(run(env.withFeature(host.key, () => Effect.never)))
      yield* settled
      yield* fork(run(env.shutdown))
      yield* settled
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(
        (yield* recorder.events).map((event) => event._tag).slice(-4),
        ["EnvironmentShuttingDown", "FeatureSessionTornDown", "FeatureTornDown", "EnvironmentShutDown"],
        `${turns} operations a turn`
      )
    }
  }).pipe(TestEnvironment.run)
)

it.effect.each([
  ["at once", Effect.void],
  ["later", Effect.sleep(1)]
] as const)("H5 L14 L19 who uses a host feature may shut the environment down: %s", ([, before]) =>
  Effect.gen(function* () {
    const { host, journal } = hostProbes()
    const env = yield* Environment.make({ id: "env", features: [host.feature] })
    const user = yield* fork(env.withFeature(host.key, () => Effect.andThen(before, env.shutdown)))
    yield* TestClock.adjust(1)
    assert.deepStrictEqual(journal.lines().slice(2), ["session teardown host", "teardown host"])
    assert.instanceOf(Lab.failure(yield* Fiber.await(user)), EnvironmentClosedError)
    assert.strictEqual(yield* env.status, "Offline")
  }).pipe(TestEnvironment.run)
)

it.effect("H5 L19 a user of a host feature that cannot be interrupted does not keep the environment for ever", () =>
  Effect.gen(function* () {
    const { host, journal } = hostProbes()
    const go = yield* Deferred.make<void>()
    const env = yield* Environment.make({ id: "env", features: [host.feature], teardownTimeout: "10 seconds" })
    const user = yield* fork(env.withFeature(host.key, () => Effect.uninterruptible(Deferred.await(go))))
    yield* Lab.settle
    const shutdown = yield* fork(env.shutdown)
    yield* TestClock.adjust("20 seconds") // one time limit for the body, one for the teardown
    assert.isDefined(shutdown.pollUnsafe())
    yield* Deferred.succeed(go, undefined)
    yield* Fiber.await(user)
    assert.deepStrictEqual([...journal.lines()].sort(), [
      "session host",
      "session teardown host",
      "setup host",
      "teardown host"
    ])
  }).pipe(TestEnvironment.run)
)

it.effect("L19 H4 a host feature is used beside a sandbox when an image is asked for", () =>
  Effect.gen(function* () {
    const { host } = hostProbes()
    const env = yield* hostLab([host.feature])
    yield* env.withFeature(host.key, () => Effect.void, { image: "base" })
    yield* Lab.settle
    assert.strictEqual((yield* env.stats).images[0]?.sessionsServed, 1)
  }).pipe(TestEnvironment.run)
)

it.effect("X1 L19 a host feature of an environment that was shut down is refused", () =>
  Effect.gen(function* () {
    const { host } = hostProbes()
    const env = yield* Environment.make({ id: "env", features: [host.feature] })
    yield* env.shutdown
    const error = Lab.failure(yield* Effect.exit(env.withFeature(host.key, () => Effect.void)))
    assert.instanceOf(error, EnvironmentClosedError)
  }).pipe(TestEnvironment.run)
)

it.effect("V1 L19 sessions of host features without a sandbox are told in events", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const { host } = hostProbes()
    const env = yield* Environment.make({ id: "env", features: [host.feature] })
    yield* env.withFeature(host.key, () => Effect.void)
    assert.includeMembers(
      [...(yield* recorder.lines)],
      ["env feature host session set up", "env feature host session torn down"]
    )
  }).pipe(TestEnvironment.run)
)

it.effect("F5 X1 withFeature on a host feature does not drop the image that was asked for", () =>
  Effect.gen(function* () {
    const { host } = hostProbes()
    const env = yield* hostLab([host.feature])
    // Either a session on that image, or an error: not silence.
    const use = () => Effect.serviceOption(Sandbox)
    const exit = yield* Effect.exit(env.withFeature(host.key, use, { image: "nowhere" }))
    assert.isTrue(Exit.isFailure(exit), "an unknown image was accepted and ignored")
  }).pipe(TestEnvironment.run)
)
