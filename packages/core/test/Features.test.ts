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
import { assert, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, FileSystem, Layer, Path, Ref, Schema } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { TestClock } from "effect/testing"
import * as Lab from "./support/Lab.ts"
import * as TestDriver from "./support/TestDriver.ts"

const { Boom, One, Two } = Lab

/** The name of the sandbox one is in. */
const here = Effect.map(Sandbox, ({ id }) => id)

const base = (generation: number) => `env/base:0:${generation}`

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** The key of the service of the n-th feature. */
const key = (n: number) => Context.Service<{ readonly n: number }, { readonly name: string }>(`test/F${n}`)

/** Every `x` is answered by `teardown x` (or `session x` by `session teardown x`), the last one first. */
const assertBrackets = (log: ReadonlyArray<string>, where = "") => {
  const open: Array<string> = []
  for (const line of log) {
    const match = /^(session |host |host session )?(?:(setup )|(teardown ))?(.*)$/.exec(line)
    const [, kind = "", , isDown, name = ""] = match ?? []
    if (isDown === undefined) open.push(`${kind}${name}`)
    else assert.strictEqual(`${kind}${name}`, open.pop(), `${where}\n${log.join("\n")}`)
  }
  assert.deepStrictEqual(open, [], `${where}\n${log.join("\n")}`)
}

// ---------------------------------------------------------------------------------------------------------------------
// I1
// ---------------------------------------------------------------------------------------------------------------------

it.effect(
  "I1 features are set up in the order of the list, for sandboxes and for sessions, and torn down in reverse",
  () =>
    Effect.gen(function* () {
      const { calls } = yield* TestDriver.TestDriver
      const env = yield* Lab.make({ pool: 0, log: calls })
      yield* env.withSession(
        {},
        Effect.sync(() => calls.push("body"))
      )
      assert.deepStrictEqual(
        calls.filter((call) => !call.startsWith("reset")),
        [
          `create ${base(0)}`,
          "setup one",
          "setup two",
          "session one",
          "session two",
          "body",
          "session teardown two",
          "session teardown one",
          "teardown two",
          "teardown one",
          `destroy ${base(0)}`
        ]
      )
    }).pipe(Lab.run)
)

it.effect("I1 the sandbox's set-up runs once and is kept over its sessions; each session is set up anew", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const env = yield* Lab.make({ log })
    for (let i = 0; i < 3; i++) {
      yield* env.withSession({}, Effect.void)
      yield* Lab.settle
    }
    yield* env.shutdown
    const count = (line: string) => log.filter((one) => one === line).length
    assert.deepStrictEqual(
      ["setup one", "teardown one", "session one", "session teardown one"].map(count),
      [1, 1, 4, 4]
    )
    assertBrackets(log)
  }).pipe(Lab.run)
)

const Fault = Schema.Struct({
  features: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 5 })),
  at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 })),
  phase: Schema.Literals(["setup", "session", "sessionTeardown", "teardown"]),
  kind: Schema.Literals(["fail", "die", "state error", "hang"]),
  proactive: Schema.Boolean,
  pooled: Schema.Boolean
})

it.effect.prop(
  "I1 whichever step of whichever feature fails or hangs: what began is torn down once, in reverse",
  [Fault],
  ([fault]) =>
    Effect.gen(function* () {
      const driver = yield* TestDriver.TestDriver
      const log: Array<string> = []
      const fail: Effect.Effect<never, Lab.Boom> = {
        fail: Effect.fail(new Boom({ what: "feature" })),
        die: Effect.die(new Boom({ what: "feature" })),
        "state error": Effect.suspend(() =>
          Effect.die(TestDriver.stateError((driver.alive().at(-1) ?? "none") as Sandbox["Service"]["id"], "feature"))
        ),
        hang: Effect.never
      }[fault.kind]
      const script: Lab.Script = { [fault.phase]: fault.phase.includes("eardown") ? Effect.orDie(fail) : fail }
      const env = yield* Environment.make({
        id: "env",
        images: ["base"],
        pool: fault.pooled ? { min: 0, max: 1 } : 0,
        proactiveSessionSetup: fault.proactive,
        outageGracePeriod: "1 second",
        teardownTimeout: "10 seconds",
        features: Array.from({ length: fault.features }, (_, n) =>
          Lab.feature(key(n), log, n === fault.at % fault.features ? script : {})
        )
      })
      const caller = yield* fork(env.withSession({}, Effect.void))
      yield* TestClock.adjust("1 minute")
      yield* Effect.forkChild(Fiber.interrupt(caller), { startImmediately: true })
      const shutdown = yield* fork(env.shutdown)
      yield* TestClock.adjust("5 minutes")
      assert.isDefined(caller.pollUnsafe(), "the caller still waits")
      assert.isDefined(shutdown.pollUnsafe(), "the shutdown still waits")
      assertBrackets(log)
    }).pipe(Lab.run),
  { arbitrary: { runs: 150 } }
)

it.effect("I1 S5 interrupted in the middle of its start, an environment takes everything down again", () =>
  Effect.gen(function* () {
    for (let step = 0; step < 8; step++) {
      yield* Effect.gen(function* () {
        const driver = yield* TestDriver.TestDriver
        driver.faults.create = () => Effect.sleep(10)
        const log: Array<string> = []
        const slow: Lab.Script = { setup: Effect.sleep(10), session: Effect.sleep(10) }
        const starting = yield* fork(
          Effect.scoped(Effect.andThen(Lab.make({ log, one: slow, two: slow }), Effect.never))
        )
        yield* TestClock.adjust(step * 10 + 5)
        yield* Fiber.interrupt(starting)
        assert.deepStrictEqual(driver.alive(), [])
        assertBrackets(log, `interrupted after ${step * 10 + 5} ms`)
      }).pipe(Lab.run)
    }
  })
)

it.effect("I1 H5 shut down in the middle of a set-up, nothing is left", () =>
  Effect.gen(function* () {
    for (let step = 0; step < 8; step++) {
      yield* Effect.gen(function* () {
        const driver = yield* TestDriver.TestDriver
        driver.faults.create = () => Effect.sleep(10)
        const log: Array<string> = []
        const slow: Lab.Script = { setup: Effect.sleep(10), session: Effect.sleep(10) }
        const env = yield* Lab.make({ pool: { min: 0, max: 1 }, log, one: slow, two: slow })
        const caller = yield* fork(env.withSession({}, Effect.never))
        yield* TestClock.adjust(step * 10 + 5)
        yield* env.shutdown
        assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), EnvironmentClosedError)
        assert.deepStrictEqual(driver.alive(), [])
        assertBrackets(log, `shut down after ${step * 10 + 5} ms`)
      }).pipe(Lab.run)
    }
  })
)

it.effect("I1 H2 a sandbox that dies in the middle of its set-up is taken down completely", () =>
  Effect.gen(function* () {
    for (let step = 0; step < 4; step++) {
      yield* Effect.gen(function* () {
        const driver = yield* TestDriver.TestDriver
        const log: Array<string> = []
        const slow: Lab.Script = { setup: Effect.sleep(10), session: Effect.sleep(10) }
        const env = yield* Lab.make({ pool: { min: 0, max: 1 }, log, one: slow, two: slow })
        const caller = yield* fork(env.withSession({}, here))
        yield* TestClock.adjust(step * 10 + 5)
        yield* driver.kill(base(0))
        yield* Lab.settle
        assert.notInclude(driver.alive(), base(0))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* Fiber.join(caller), base(1))
        yield* env.shutdown
        assertBrackets(log, `died after ${step * 10 + 5} ms`)
      }).pipe(Lab.run)
    }
  })
)

// ---------------------------------------------------------------------------------------------------------------------
// What a feature is given
// ---------------------------------------------------------------------------------------------------------------------

for (const way of Lab.ways) {
  it.effect(`I3 each session has a service of its own (${way.name})`, () =>
    Effect.gen(function* () {
      let sessions = 0
      const one = Feature.make(One, {
        setup: Effect.succeed({ session: Effect.sync(() => ({ name: `session ${++sessions}` })) })
      })
      const env = yield* Environment.make({
        id: "env",
        images: ["base"],
        pool: 1,
        features: [one, Lab.feature(Two, [], {})]
      })
      const name = Effect.map(One, (one) => one.name)
      const first = yield* way.open(env, {}, Effect.all([name, name]))
      yield* Lab.settle
      const second = yield* way.open(env, {}, name)
      assert.deepStrictEqual([...first, second], ["session 1", "session 1", "session 2"])
    }).pipe(Lab.run)
  )
}

it.effect("P1 a feature is set up on the images that it is for, matched as a whole, and on no others", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const env = yield* Environment.make({
      id: "env",
      images: ["python", "python:3", "node"],
      pool: 1,
      features: [
        Lab.feature(One, log, {}, { images: ["python"] }),
        Lab.feature(Two, log, {}, { images: ["python:.*", "no.*"] })
      ]
    })
    const images = (yield* Effect.forEach(["python", "python:3", "node"], (image) =>
      env.withSession(
        { image },
        Effect.gen(function* () {
          const names = [yield* Effect.serviceOption(One), yield* Effect.serviceOption(Two)]
          return names.map((option) => (option._tag === "Some" ? option.value.name : "-"))
        })
      )
    )) satisfies ReadonlyArray<ReadonlyArray<string>>
    assert.deepStrictEqual(images, [
      ["one in env/python:0:0", "-"],
      ["-", "two in env/python:3:0:0"],
      ["-", "two in env/node:0:0"]
    ])
    assert.strictEqual(log.filter((line) => line.startsWith("setup")).length, 3)
  }).pipe(Lab.run)
)

it.effect("X1 withFeature takes the first image that has the feature, or the named one, and refuses a wrong one", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({
      id: "env",
      images: ["base", "python:3", "python:4"],
      pool: { min: 0, max: 1 },
      features: [Lab.feature(One, [], {}, { images: ["python:.*"] }), Lab.feature(Two, [], {})]
    })
    const use = ({ name }: { readonly name: string }) => Effect.succeed(name)
    assert.strictEqual(yield* env.withFeature(One, use), "one in env/python:3:0:0")
    assert.strictEqual(yield* env.withFeature(One, use, { image: "python:4" }), "one in env/python:4:0:0")
    assert.strictEqual(yield* env.withFeature(Two, use), "two in env/base:0:0")
    const error = Lab.failure(yield* Effect.exit(env.withFeature(One, use, { image: "base" })))
    assert.instanceOf(error, FeatureNotApplicableError)
    assert.deepStrictEqual([error.featureId as string, error.image], ["test/One", "base"])
  }).pipe(Lab.run)
)

it.effect("X1 a feature's service can have another key than its name", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const one = Feature.make(One, { id: "shell", setup: Effect.succeed({ session: Effect.succeed({ name: "a" }) }) })
    const env = yield* Environment.make({ id: "env", images: ["base"], pool: 1, features: [one] })
    assert.strictEqual(yield* env.withFeature(One, ({ name }) => Effect.succeed(name)), "a")
    assert.include(yield* recorder.lines, `${base(0)} feature shell set up`)
  }).pipe(Lab.run)
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
  }).pipe(Lab.run)
)

it.effect("S1 the driver is told what belongs to a sandbox's set-up and what to a session", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const files: Array<string> = []
    driver.faults.file = (_, path) => Effect.map(CallLifetime, (lifetime) => files.push(`${lifetime} ${path}`))
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
    assert.deepStrictEqual(driver.lifetimes.slice(0, 4), [
      "sandbox true",
      "sandbox true",
      "session true",
      "session true"
    ])
  }).pipe(Lab.run)
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
  }).pipe(Lab.run)
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
  }).pipe(Lab.run)
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

const shellLab = <E>(feature: Feature.Feature<Shell, E, never>) =>
  Environment.make({ id: "env", images: ["base"], pool: 1, features: [feature] })

it.effect(
  "F34 a feature's own process that ends is noticed in a session: the caller is told, the sandbox replaced",
  () =>
    Effect.gen(function* () {
      const driver = yield* TestDriver.TestDriver
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
      assert.isTrue(yield* driver.endProcess("daemon", 0))
      yield* Lab.settle
      const error = Lab.failure(yield* Fiber.await(caller))
      assert.instanceOf(error, SandboxStateError)
      assert.strictEqual(error.description, "the shell exited with 0")
      assert.strictEqual(yield* env.withFeature(Shell, ({ evaluate }) => evaluate), "ok")
      assert.deepStrictEqual(driver.alive(), [base(1)])
    }).pipe(Lab.run)
)

it.effect(
  "F34 H2 a feature's own process that ends between two sessions is noticed: the sandbox is replaced at once",
  () =>
    Effect.gen(function* () {
      const driver = yield* TestDriver.TestDriver
      const env = yield* shellLab(reportingShell)
      yield* env.withSession({}, Effect.void)
      yield* Lab.settle
      yield* driver.endProcess("daemon", 1)
      yield* Lab.settle
      assert.deepStrictEqual(driver.alive(), [base(1)])
      assert.strictEqual(yield* env.withSession({}, here), base(1))
    }).pipe(Lab.run)
)

it.effect("F34 S1 a process of a feature's set-up lasts over the sessions and ends with the sandbox", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const env = yield* shellLab(reportingShell)
    for (let i = 0; i < 3; i++) {
      yield* env.withSession({}, Effect.void)
      yield* Lab.settle
    }
    assert.strictEqual(driver.calls.filter((call) => call === "spawn daemon").length, 1)
    assert.notInclude(driver.calls, "kill daemon")
    assert.deepStrictEqual(driver.lifetimes, ["sandbox daemon"])
    yield* env.shutdown
    assert.include(driver.calls, "kill daemon")
    assert.isBelow(driver.calls.indexOf("kill daemon"), driver.calls.indexOf(`destroy ${base(0)}`))
  }).pipe(Lab.run)
)

it.effect("F34 a feature can restart its own process: nobody in the session notices", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
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
      yield* driver.endProcess("daemon", 0)
      yield* Effect.sleep(1)
      return [before, yield* evaluate, yield* here]
    })
    const caller = yield* fork(env.withSession({}, body))
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual((yield* Fiber.join(caller)).map(String), ["start 1", "start 2", base(0)])
  }).pipe(Lab.run)
)

it.effect("F34 S5 a process of a feature's session ends with the session", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
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
    assert.deepStrictEqual(
      driver.calls.filter((call) => call.endsWith("daemon")),
      ["spawn daemon", "kill daemon"]
    )
    assert.deepStrictEqual(driver.lifetimes, ["session daemon"])
  }).pipe(Lab.run)
)

// ---------------------------------------------------------------------------------------------------------------------
// H4, L19
// ---------------------------------------------------------------------------------------------------------------------

class Host extends Context.Service<Host, { readonly name: string }>()("test/Host") {}
class Other extends Context.Service<Other, { readonly name: string }>()("test/Other") {}

/** What a scripted host feature does. */
interface HostScript {
  setup?: Effect.Effect<unknown, Lab.Boom>
  teardown?: Effect.Effect<unknown>
  session?: Effect.Effect<unknown, Lab.Boom>
  sessionTeardown?: Effect.Effect<unknown>
  housekeep?: Effect.Effect<unknown, Lab.Boom>
}

/** A host feature that does what its script says. */
const hostFeature = <Id>(
  key: Context.Key<Id, { readonly name: string }>,
  log: Array<string>,
  script: HostScript = {},
  housekeepInterval?: "5 seconds"
) => {
  const name = key.key.slice(key.key.lastIndexOf("/") + 1).toLowerCase()
  let sessions = 0
  const pair = (up: string, down: string, undo: () => Effect.Effect<unknown> | undefined) =>
    Effect.acquireRelease(
      Effect.sync(() => log.push(up)),
      () =>
        Effect.suspend((): Effect.Effect<unknown> => {
          log.push(down)
          return undo() ?? Effect.void
        })
    )
  const perhaps = (hook: () => Effect.Effect<unknown, Lab.Boom> | undefined) =>
    Effect.suspend((): Effect.Effect<unknown, Lab.Boom> => hook() ?? Effect.void)
  return Feature.host(key, {
    housekeepInterval,
    setup: Effect.gen(function* () {
      yield* pair(`host setup ${name}`, `host teardown ${name}`, () => script.teardown)
      yield* perhaps(() => script.setup)
      return {
        session: Effect.gen(function* () {
          const n = ++sessions
          yield* pair(`host session ${name} ${n}`, `host session teardown ${name} ${n}`, () => script.sessionTeardown)
          yield* perhaps(() => script.session)
          return { name: `${name} ${n}` }
        }),
        housekeep: perhaps(() => script.housekeep)
      }
    })
  })
}

const hostLab = <const F extends ReadonlyArray<Feature.Any>>(
  features: F,
  options: Omit<EnvironmentConfig.Options, "features"> = {}
) => Environment.make({ id: "env", images: ["base"], pool: 1, ...options, features })

it.effect("H4 I1 host features are set up before the first sandbox and torn down after the last, in reverse", () =>
  Effect.gen(function* () {
    const { calls } = yield* TestDriver.TestDriver
    const env = yield* hostLab([hostFeature(Host, calls), Lab.feature(Lab.One, calls, {}), hostFeature(Other, calls)])
    yield* env.shutdown
    assert.deepStrictEqual(
      calls.filter((call) => !call.startsWith("reset")),
      [
        "host setup host",
        "host setup other",
        `create ${base(0)}`,
        "setup one",
        "host session host 1",
        "host session other 1",
        "session one",
        "session teardown one",
        "host session teardown other 1",
        "host session teardown host 1",
        "teardown one",
        `destroy ${base(0)}`,
        "host teardown other",
        "host teardown host"
      ]
    )
  }).pipe(Lab.run)
)

it.effect("H4 X5 a host feature whose set-up fails fails the start, and what was set up is torn down", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const log: Array<string> = []
    const boom = new Boom({ what: "host" })
    const exit = yield* Effect.exit(
      hostLab([hostFeature(Host, log), hostFeature(Other, log, { setup: Effect.fail(boom) })])
    )
    assert.strictEqual(Lab.failure(exit), boom)
    assert.deepStrictEqual(log, ["host setup host", "host setup other", "host teardown other", "host teardown host"])
    assert.deepStrictEqual(driver.calls, [])
  }).pipe(Lab.run)
)

it.effect("H4 a host feature whose housekeeping fails shuts the environment down, and sessions are told", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const script: HostScript = {}
    const env = yield* hostLab([hostFeature(Host, [], script, "5 seconds")])
    const user = yield* fork(env.withSession({}, Effect.never))
    yield* TestClock.adjust("12 seconds")
    assert.strictEqual(yield* env.status, "Online")
    script.housekeep = Effect.fail(new Boom({ what: "host" }))
    yield* TestClock.adjust("5 seconds")
    assert.strictEqual(yield* env.status, "Offline")
    assert.instanceOf(Lab.failure(yield* Fiber.await(user)), EnvironmentClosedError)
    const lines = yield* recorder.lines
    assert.includeMembers(
      [...lines],
      ["env feature test/Host housekeeping failed: Boom", "env shutting down: Boom", "env shut down"]
    )
    assert.strictEqual(lines.filter((line) => line.endsWith("housekeeping done") && line.includes("Host")).length, 2)
  }).pipe(Lab.run)
)

it.effect("H4 H5 L12 shutdown does not wait for the next housekeeping of a host feature", () =>
  Effect.gen(function* () {
    const env = yield* hostLab([hostFeature(Host, [], { housekeep: Effect.never }, "5 seconds")])
    yield* TestClock.adjust("7 seconds")
    const shutdown = yield* fork(env.shutdown)
    yield* Lab.settle
    assert.isDefined(shutdown.pollUnsafe())
  }).pipe(Lab.run)
)

it.effect("H4 X6 the teardown of host features never stops half-way, and shutdown does not fail", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const log: Array<string> = []
    const broken = { teardown: Effect.die(new Boom({ what: "teardown" })) }
    const env = yield* hostLab([hostFeature(Host, log, broken), hostFeature(Other, log, broken)])
    yield* env.shutdown
    assert.deepStrictEqual(log.slice(-2), ["host teardown other", "host teardown host"])
    assert.includeMembers(
      [...(yield* recorder.lines)],
      ["env feature test/Other teardown failed: Boom", "env feature test/Host teardown failed: Boom"]
    )
  }).pipe(Lab.run)
)

it.effect("H4 L19 a host feature is used without a sandbox", () =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const log: Array<string> = []
    const env = yield* Environment.make({ id: "env", features: [hostFeature(Host, log)] })
    assert.strictEqual(yield* env.withFeature(Host, ({ name }) => Effect.succeed(name)), "host 1")
    assert.strictEqual(yield* env.withFeature(Host, ({ name }) => Effect.succeed(name)), "host 2")
    assert.deepStrictEqual(log, [
      "host setup host",
      "host session host 1",
      "host session teardown host 1",
      "host session host 2",
      "host session teardown host 2"
    ])
    assert.deepStrictEqual(driver.calls, [])
  }).pipe(Lab.run)
)

it.effect("L19 concurrent sessions of a host feature are separate, with sandboxes and without", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const env = yield* hostLab([hostFeature(Host, log)], { pool: { min: 0, max: 4 } })
    const name = Effect.gen(function* () {
      const before = yield* Host
      yield* Effect.sleep("1 second")
      const after = yield* Host
      assert.strictEqual(before, after)
      return after.name
    })
    const all = yield* fork(
      Effect.all(
        [
          env.withSession({}, name),
          env.withSession({}, name),
          env.withFeature(Host, () => name),
          env.withFeature(Host, () => name)
        ],
        { concurrency: "unbounded" }
      )
    )
    yield* TestClock.adjust("1 minute")
    assert.strictEqual(new Set(yield* Fiber.join(all)).size, 4)
    yield* env.shutdown
    for (const line of log.filter((one) => one.startsWith("host session host"))) {
      assert.include(log, line.replace("session", "session teardown"))
    }
  }).pipe(Lab.run)
)

it.effect("L19 X5 X6 an error of one host session is its caller's alone", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const script: HostScript = {}
    const env = yield* Environment.make({ id: "env", features: [hostFeature(Host, log, script)] })
    const go = yield* Deferred.make<string>()
    const other = yield* fork(env.withFeature(Host, () => Deferred.await(go)))
    const boom = new Boom({ what: "session" })
    script.session = Effect.fail(boom)
    assert.strictEqual(Lab.failure(yield* Effect.exit(env.withFeature(Host, () => Effect.void))), boom)
    delete script.session
    assert.strictEqual(Lab.failure(yield* Effect.exit(env.withFeature(Host, () => Effect.fail(boom)))), boom)
    script.sessionTeardown = Effect.die(boom)
    const teardown = Lab.failure(yield* Effect.exit(env.withFeature(Host, () => Effect.void)))
    assert.instanceOf(teardown, SessionTeardownError)
    assert.deepStrictEqual(Object.keys(teardown.errors), ["test/Host"])
    delete script.sessionTeardown
    yield* Deferred.succeed(go, "fine")
    assert.strictEqual(yield* Fiber.join(other), "fine")
    assert.strictEqual(yield* env.status, "Online")
  }).pipe(Lab.run)
)

it.effect("L19 S5 an interrupted host session is torn down", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const env = yield* Environment.make({ id: "env", features: [hostFeature(Host, log)] })
    const user = yield* fork(env.withFeature(Host, () => Effect.never))
    yield* Lab.settle
    yield* Fiber.interrupt(user)
    assert.deepStrictEqual(log.slice(1), ["host session host 1", "host session teardown host 1"])
  }).pipe(Lab.run)
)

it.effect("H5 L19 shutdown ends sessions on host features, too, before it tears the features down", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const env = yield* Environment.make({ id: "env", features: [hostFeature(Host, log)] })
    const user = yield* fork(env.withFeature(Host, () => Effect.never))
    yield* Lab.settle
    yield* env.shutdown
    yield* Lab.settle
    assert.isDefined(user.pollUnsafe(), "it goes on, on a feature that was torn down")
    assert.instanceOf(Lab.failure(yield* Fiber.await(user)), EnvironmentClosedError)
    assert.deepStrictEqual(log, [
      "host setup host",
      "host session host 1",
      "host session teardown host 1",
      "host teardown host"
    ])
  }).pipe(Lab.run)
)

it.effect.each([
  ["at once", Effect.void],
  ["later", Effect.sleep(1)]
] as const)("H5 L14 L19 who uses a host feature may shut the environment down: %s", ([, before]) =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const env = yield* Environment.make({ id: "env", features: [hostFeature(Host, log)] })
    const user = yield* fork(env.withFeature(Host, () => Effect.andThen(before, env.shutdown)))
    yield* TestClock.adjust(1)
    assert.deepStrictEqual(log.slice(2), ["host session teardown host 1", "host teardown host"])
    assert.instanceOf(Lab.failure(yield* Fiber.await(user)), EnvironmentClosedError)
    assert.strictEqual(yield* env.status, "Offline")
  }).pipe(Lab.run)
)

it.effect("H5 L19 a user of a host feature that cannot be interrupted does not keep the environment for ever", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const go = yield* Deferred.make<void>()
    const env = yield* Environment.make({
      id: "env",
      features: [hostFeature(Host, log)],
      teardownTimeout: "10 seconds"
    })
    const user = yield* fork(env.withFeature(Host, () => Effect.uninterruptible(Deferred.await(go))))
    yield* Lab.settle
    const shutdown = yield* fork(env.shutdown)
    yield* TestClock.adjust("10 seconds")
    assert.isDefined(shutdown.pollUnsafe())
    yield* Deferred.succeed(go, undefined)
    yield* Fiber.await(user)
    assert.deepStrictEqual([...log].sort(), [
      "host session host 1",
      "host session teardown host 1",
      "host setup host",
      "host teardown host"
    ])
  }).pipe(Lab.run)
)

it.effect("L19 H4 a host feature is used beside a sandbox when an image is asked for", () =>
  Effect.gen(function* () {
    const env = yield* hostLab([hostFeature(Host, [])])
    yield* env.withFeature(Host, () => Effect.void, { image: "base" })
    yield* Lab.settle
    assert.strictEqual((yield* env.stats).images[0]?.sessionsServed, 1)
  }).pipe(Lab.run)
)

it.effect("X1 L19 a host feature of an environment that was shut down is refused", () =>
  Effect.gen(function* () {
    const env = yield* Environment.make({ id: "env", features: [hostFeature(Host, [])] })
    yield* env.shutdown
    const error = Lab.failure(yield* Effect.exit(env.withFeature(Host, () => Effect.void)))
    assert.instanceOf(error, EnvironmentClosedError)
  }).pipe(Lab.run)
)

it.effect("V1 L19 sessions of host features without a sandbox are told in events", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const env = yield* Environment.make({ id: "env", features: [hostFeature(Host, [])] })
    yield* env.withFeature(Host, () => Effect.void)
    assert.includeMembers(
      [...(yield* recorder.lines)],
      ["env feature test/Host session set up", "env feature test/Host session torn down"]
    )
  }).pipe(Lab.run)
)

it.effect("F5 X1 withFeature on a host feature does not drop the image that was asked for", () =>
  Effect.gen(function* () {
    const env = yield* hostLab([hostFeature(Host, [])])
    // Either a session on that image, or an error: not silence.
    const exit = yield* Effect.exit(env.withFeature(Host, () => Effect.serviceOption(Sandbox), { image: "nowhere" }))
    assert.isTrue(Exit.isFailure(exit), "an unknown image was accepted and ignored")
  }).pipe(Lab.run)
)
