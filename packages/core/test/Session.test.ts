import type { Command } from "@effect-sandbox/core"
import {
  DuplicateSessionError,
  Environment,
  EnvironmentClosedError,
  EnvironmentConfig,
  EnvironmentOverloadError,
  EventRecorder,
  Feature,
  pathSegment,
  Sandbox,
  SandboxStateError,
  Session,
  SessionEndedError,
  SessionLimitError
} from "@effect-sandbox/core"
import { EventExpect, Faults, FeatureProbe, Interruption, SimDriver, TestEnvironment } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import {
  Cause,
  Config,
  ConfigProvider,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  FileSystem,
  Layer,
  Option,
  Path,
  PlatformError,
  Random,
  Schema,
  Scheduler,
  Scope,
  Stream
} from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { TestClock } from "effect/testing"
import * as Lab from "./support/Lab.ts"
import * as programs from "./support/programs.ts"

const { Boom } = Lab

/** The name of the sandbox one is in. */
const here = Effect.map(Sandbox, ({ id }) => id)

const exec = (command: string, args: ReadonlyArray<string> = [], options: Command.Options = {}) =>
  Effect.flatMap(Sandbox, (sandbox) => sandbox.exec(command, args, options))

const base = (generation: number) => `env/base:0:${generation}`

/** Lines of a journal, all of them about the first sandbox. */
const first = (...lines: ReadonlyArray<string>) => lines.map((line) => `${line} in ${base(0)}`)

const sessionTeardown = ["session teardown two", "session teardown one"]

/** The commands that the driver was asked for. */
const spawns = (driver: SimDriver["Service"]) => driver.calls().filter((call) => call.startsWith("spawn"))

/** Tells when a command that still runs is killed. */
const onKill = (tell: (command: string) => void) =>
  Effect.map(Faults, (faults) => faults.on("kill", ({ operation = "" }) => Effect.sync(() => tell(operation))))

/** A test that looks at the order of what features and driver do: all of it is in the journal. */
const withJournal = <A, E, R>(test: (probes: ReturnType<typeof Lab.probes>) => Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const probes = Lab.probes()
    return programs.run(test(probes), { journal: probes.journal })
  })

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** For hundreds of cases on a busy machine. */
const sweepTimeout = 180_000

const isInterrupted = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)

// ---------------------------------------------------------------------------------------------------------------------
// S1
// ---------------------------------------------------------------------------------------------------------------------

for (const way of Lab.ways) {
  it.effect(
    `S1 a sandbox is reset between two sessions, after the one's teardown and before the next set-up (${way.name})`,
    () =>
      withJournal(({ journal, start }) =>
        Effect.gen(function* () {
          const env = yield* start()
          const before = journal.lines().length
          yield* way.open(
            env,
            {},
            Effect.sync(() => journal.note("body"))
          )
          yield* Lab.settle
          assert.deepStrictEqual(journal.lines().slice(before), [
            "body",
            ...first(...sessionTeardown),
            `reset ${base(0)}`,
            ...first("session one", "session two")
          ])
        })
      )
  )

  it.effect(`S1 a sandbox is reset also when the body failed or was interrupted (${way.name})`, () =>
    Effect.gen(function* () {
      const { calls } = yield* SimDriver
      const env = yield* Lab.start()
      const resets = () => calls().filter((call) => call === `reset ${base(0)}`).length
      const before = resets()
      yield* Effect.exit(way.open(env, {}, Effect.fail("user")))
      yield* Lab.settle
      assert.strictEqual(resets(), before + 1)
      const caller = yield* fork(way.open(env, {}, Effect.never))
      yield* Lab.settle
      yield* Fiber.interrupt(caller)
      yield* Lab.settle
      assert.strictEqual(resets(), before + 2)
      assert.strictEqual(yield* way.open(env, {}, here), base(0))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S1 nobody is served while the reset runs (${way.name})`, () =>
    Effect.gen(function* () {
      const faults = yield* Faults
      const env = yield* Lab.start()
      yield* faults.add({ at: ["reset"], how: { _tag: "Slow", millis: 3000 } })
      yield* way.open(env, {}, Effect.void)
      const next = yield* fork(way.open(env, {}, here))
      yield* TestClock.adjust("2 seconds")
      assert.isUndefined(next.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(next), base(0))
      yield* TestClock.adjust("3 seconds")
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S1 S5 a process that a session left behind ends with the session, before the reset (${way.name})`, () =>
    withJournal(({ journal, start }) =>
      Effect.gen(function* () {
        yield* onKill((command) => journal.note(`kill ${command}`))
        const env = yield* start()
        const outside = yield* Effect.scope
        yield* way.open(
          env,
          {},
          Effect.flatMap(ChildProcessSpawner.ChildProcessSpawner, (spawner) =>
            Scope.provide(spawner.spawn(ChildProcess.make("hang", [])), outside)
          )
        )
        yield* Lab.settle
        const killed = journal.lines().indexOf("kill hang")
        assert.isAtLeast(killed, 0)
        assert.isBelow(killed, journal.lines().lastIndexOf(`reset ${base(0)}`))
      })
    )
  )
}

it.effect(
  "S1 the first session of a sandbox starts as all others do: after a reset of what its features' set-up left",
  () =>
    withJournal(({ journal, start }) =>
      Effect.gen(function* () {
        yield* start()
        assert.deepStrictEqual(journal.lines(), [
          `create ${base(0)}`,
          ...first("setup one", "setup two"),
          `reset ${base(0)}`,
          ...first("session one", "session two")
        ])
      })
    )
)

it.effect("S1 P1 a sandbox for one session serves once and is gone with it", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const env = yield* Lab.start({ pool: 0 })
    assert.strictEqual(yield* env.withSession({}, here), base(0))
    assert.deepStrictEqual(driver.alive(), [])
    assert.strictEqual(yield* env.withSession({}, here), base(1))
  }).pipe(TestEnvironment.run)
)

// ---------------------------------------------------------------------------------------------------------------------
// S2
// ---------------------------------------------------------------------------------------------------------------------

const idsOf = (seed: string, count: number) =>
  Effect.gen(function* () {
    const env = yield* Lab.start({ pool: { min: 0, max: 4 } })
    return yield* Effect.forEach(Array.from({ length: count }), () =>
      env.withSession(
        {},
        Effect.map(Session, ({ id }) => id)
      )
    )
  }).pipe(Random.withSeed(seed), TestEnvironment.run)

it.effect("S2 I10 the same seed gives the same session ids, another one others", () =>
  Effect.gen(function* () {
    const first = yield* idsOf("a", 20)
    assert.deepStrictEqual(yield* idsOf("a", 20), first)
    assert.strictEqual(new Set([...first, ...(yield* idsOf("b", 20))]).size, 40)
  })
)

it.effect("S2 L7 session ids are unique, thousands of them", () =>
  Effect.gen(function* () {
    const ids = yield* idsOf("many", 3000)
    assert.strictEqual(new Set(ids).size, 3000)
  })
)

for (const way of Lab.ways) {
  it.effect(`S2 an id that is in use is a typed error, and who uses it is not disturbed (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start({ pool: 2 })
      const go = yield* Deferred.make<string>()
      const first = yield* fork(way.open(env, { id: "mine" }, Deferred.await(go)))
      const error = Lab.failure(yield* Effect.exit(way.open(env, { id: "mine" }, Effect.void)))
      assert.instanceOf(error, DuplicateSessionError)
      assert.strictEqual(error.sessionId, "mine")
      assert.strictEqual(error.environmentId, "env")
      yield* Deferred.succeed(go, "done")
      assert.strictEqual(yield* Fiber.join(first), "done")
      yield* Lab.settle
      assert.strictEqual(
        yield* way.open(
          env,
          { id: "mine" },
          Effect.map(Session, ({ id }) => id)
        ),
        "mine"
      )
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S2 an id is in use also while its session waits for a sandbox, and while it ends (${way.name})`, () =>
    Effect.gen(function* () {
      const { one, start } = Lab.probes()
      const env = yield* start({ pool: 1 })
      const go = yield* Deferred.make<void>()
      const first = yield* fork(way.open(env, { id: "first" }, Deferred.await(go)))
      const second = yield* fork(way.open(env, { id: "second" }, Effect.void))
      const isTaken = (id: string) =>
        Effect.map(Effect.exit(way.open(env, { id }, Effect.void)), (exit) =>
          assert.instanceOf(Lab.failure(exit), DuplicateSessionError)
        )
      yield* isTaken("second")
      one.on("sessionTeardown", { _tag: "Slow", millis: 1000 })
      yield* Deferred.succeed(go, undefined)
      yield* Lab.settle
      yield* isTaken("first")
      one.off("sessionTeardown")
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.joinAll([first, second])
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S2 P4 an id is free again when its caller gave up or was interrupted (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start({ pool: 1, acquireTimeout: "5 seconds" })
      const go = yield* Deferred.make<void>()
      const first = yield* fork(way.open(env, {}, Deferred.await(go)))
      const late = yield* fork(way.open(env, { id: "a" }, Effect.void))
      yield* TestClock.adjust("5 seconds")
      assert.instanceOf(Lab.failure(yield* Fiber.await(late)), EnvironmentOverloadError)
      const gone = yield* fork(way.open(env, { id: "a" }, Effect.void))
      yield* Fiber.interrupt(gone)
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(first)
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, { id: "a" }, here), base(0))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S2 the session tells its id, its sandbox and when it started (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      yield* TestClock.adjust("3 seconds")
      const session = yield* way.open(env, { id: "s1" }, Session)
      assert.deepStrictEqual({ ...session }, { id: session.id, sandboxId: session.sandboxId, startedAt: 3000 })
      assert.deepStrictEqual([session.id, session.sandboxId], ["s1", base(0)])
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S2 I3 F33 under many racers a sandbox serves one session at a time (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start({ pool: { min: 1, max: 3 } })
      const busy = new Set<string>()
      let served = 0
      const body = Effect.gen(function* () {
        const { id } = yield* Sandbox
        assert.isFalse(busy.has(id), "two sessions in one sandbox")
        busy.add(id)
        yield* Effect.sleep(10)
        busy.delete(id)
        served++
      })
      const callers = yield* Effect.forEach(Array.from({ length: 50 }), () => fork(way.open(env, {}, body)))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.joinAll(callers)
      assert.strictEqual(served, 50)
    }).pipe(TestEnvironment.run)
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// S3
// ---------------------------------------------------------------------------------------------------------------------

/** Probes whose sessions take five seconds to set up. */
const slowProbes = () => {
  const probes = Lab.probes()
  probes.one.on("session", { _tag: "Slow", millis: 5000 })
  return probes
}

for (const way of Lab.ways) {
  it.effect(`S3 the next session is set up behind the last one, so that the user does not wait (${way.name})`, () =>
    Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const starting = yield* fork(slowProbes().start())
      yield* TestClock.adjust("5 seconds")
      const env = yield* Fiber.join(starting)
      assert.strictEqual(yield* way.open(env, { id: "a" }, here), base(0))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* way.open(env, { id: "b" }, here), base(0))
      yield* TestClock.adjust("5 seconds")
      const waits = (yield* recorder.events).flatMap((event) =>
        event._tag === "SessionStarted" ? [event.waitedMillis, event.durationMillis] : []
      )
      assert.deepStrictEqual(waits, [0, 0, 0, 0])
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S3 who comes before the set-up is done waits for the rest of it (${way.name})`, () =>
    Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const starting = yield* fork(slowProbes().start())
      yield* TestClock.adjust("5 seconds")
      const env = yield* Fiber.join(starting)
      yield* way.open(env, {}, Effect.void)
      yield* TestClock.adjust("2 seconds")
      const caller = yield* fork(way.open(env, { id: "b" }, Effect.void))
      yield* TestClock.adjust("3 seconds")
      assert.isDefined(caller.pollUnsafe())
      const started = (yield* recorder.events).find(
        (event) => event._tag === "SessionStarted" && event.sessionId === "b"
      )
      assert.strictEqual(started?._tag === "SessionStarted" ? started.waitedMillis : undefined, 3000)
      yield* TestClock.adjust("5 seconds")
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S3 without it the session is set up when its user has come (${way.name})`, () =>
    Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const { journal, start } = slowProbes()
      const env = yield* start({ proactiveSessionSetup: false })
      assert.deepStrictEqual(journal.lines(), first("setup one", "setup two"))
      const caller = yield* fork(way.open(env, { id: "b" }, Effect.void))
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(caller.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(caller)
      yield* Lab.settle
      assert.deepStrictEqual(
        (yield* recorder.lines).filter((line) => line.includes("->")).map((line) => line.slice(base(0).length + 1)),
        [
          "Created -> SettingUp",
          "SettingUp -> Ready",
          "Ready -> Acquired",
          "Acquired -> SettingUp",
          "SettingUp -> InSession",
          "InSession -> ExitingSession",
          "ExitingSession -> Ready"
        ]
      )
    }).pipe(TestEnvironment.run)
  )
}

it.effect("S3 the moves of a sandbox that is set up ahead", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const env = yield* Lab.start()
    yield* env.withSession({}, Effect.void)
    yield* Lab.settle
    assert.deepStrictEqual(
      (yield* recorder.lines).filter((line) => line.includes("->")).map((line) => line.slice(base(0).length + 1)),
      [
        "Created -> SettingUp",
        "SettingUp -> Ready",
        "Ready -> Acquired",
        "Acquired -> SettingUp",
        "SettingUp -> InSession",
        "InSession -> ExitingSession",
        "ExitingSession -> SettingUp",
        "SettingUp -> Ready"
      ]
    )
  }).pipe(TestEnvironment.run)
)

it.effect("S3 I1 a session that was set up and that nobody came for is torn down with its sandbox", () =>
  Effect.gen(function* () {
    const { journal, start } = Lab.probes()
    const env = yield* start()
    yield* env.shutdown
    assert.deepStrictEqual(journal.lines().slice(4), first(...sessionTeardown, "teardown two", "teardown one"))
  }).pipe(TestEnvironment.run)
)

it.effect("S3 H2 a sandbox that dies while it is set up for its next session is replaced at once", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const { start, two } = Lab.probes()
    const env = yield* start()
    two.on("session", { _tag: "Hang" }, { times: 1 })
    yield* env.withSession({}, Effect.void)
    yield* Lab.settle
    yield* driver.kill(base(0))
    yield* Lab.settle
    assert.deepStrictEqual<ReadonlyArray<string>>(driver.alive(), [base(1)])
    assert.strictEqual(yield* env.withSession({}, here), base(1))
  }).pipe(TestEnvironment.run)
)

it.effect("S3 H5 a shutdown does not wait for a background set-up that hangs", () =>
  Effect.gen(function* () {
    const { start, two } = Lab.probes()
    const env = yield* start()
    two.on("session", { _tag: "Hang" })
    yield* env.withSession({}, Effect.void)
    yield* Lab.settle
    const shutdown = yield* fork(env.shutdown)
    yield* Lab.settle
    assert.isDefined(shutdown.pollUnsafe())
  }).pipe(TestEnvironment.run)
)

// ---------------------------------------------------------------------------------------------------------------------
// S4
// ---------------------------------------------------------------------------------------------------------------------

for (const way of Lab.ways) {
  it.effect(
    `S4 F29 a body that waits is interrupted as soon as its sandbox dies, and the caller knows why (${way.name})`,
    () =>
      Effect.gen(function* () {
        const driver = yield* SimDriver
        const { journal, start } = Lab.probes()
        const env = yield* start()
        const before = journal.lines().length
        const body = Effect.onInterrupt(Effect.sleep("1 hour"), () => Effect.sync(() => journal.note("interrupted")))
        const caller = yield* fork(way.open(env, {}, body))
        yield* Lab.settle
        yield* driver.kill(base(0))
        yield* Lab.settle
        const error = Lab.failure(yield* Fiber.await(caller))
        assert.instanceOf(error, SandboxStateError)
        assert.strictEqual(error.description, "killed by the test")
        assert.deepStrictEqual(journal.lines().slice(before, before + 5), [
          "interrupted",
          ...first(...sessionTeardown, "teardown two", "teardown one")
        ])
      }).pipe(TestEnvironment.run)
  )

  it.effect(`S4 F4 an operation that fails because the sandbox died is the sandbox's error (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const faults = yield* Faults
      const env = yield* Lab.start()
      // In flight when the sandbox dies, it fails with an error of the platform.
      yield* faults.add({ at: ["file"], how: { _tag: "Hang" } })
      const caller = yield* fork(
        way.open(
          env,
          {},
          Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString("a"))
        )
      )
      yield* Lab.settle
      yield* driver.kill(base(0))
      yield* Lab.settle
      assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), SandboxStateError)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S4 F4 the same where the body cannot be interrupted: in an acquisition, say (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const faults = yield* Faults
      const env = yield* Lab.start()
      // In flight when the sandbox dies, it fails with an error of the platform.
      yield* faults.add({ at: ["file"], how: { _tag: "Hang" } })
      const acquire = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString("a"))
      const body = Effect.scoped(Effect.acquireRelease(acquire, () => Effect.void))
      const caller = yield* fork(way.open(env, {}, body))
      yield* Lab.settle
      yield* driver.kill(base(0))
      yield* Lab.settle
      assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), SandboxStateError)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S4 F4 a command that runs when the sandbox dies fails with the state error (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const env = yield* Lab.start()
      let seen: unknown
      const body = Effect.onExit(exec("hang"), (exit) =>
        Effect.sync(() => {
          seen = exit
        })
      )
      const caller = yield* fork(way.open(env, {}, body))
      yield* Lab.settle
      yield* driver.kill(base(0))
      yield* Lab.settle
      assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), SandboxStateError)
      assert.isTrue(Exit.isExit(seen) && Exit.isFailure(seen))
      assert.deepStrictEqual(spawns(driver), [`spawn ${base(0)} hang`])
      assert.strictEqual(driver.resources().processes, 0)
    }).pipe(programs.run)
  )

  it.effect(
    `S4 F29 nothing is restarted under a session: its handle stays that of the dead sandbox (${way.name})`,
    () =>
      Effect.gen(function* () {
        const driver = yield* SimDriver
        const env = yield* Lab.start()
        const after: Array<unknown> = []
        const body = Effect.gen(function* () {
          const sandbox = yield* Sandbox
          // Cannot be interrupted, and goes on after the death.
          yield* Effect.uninterruptible(
            Effect.gen(function* () {
              yield* Effect.sleep("10 seconds")
              after.push(yield* Effect.flip(sandbox.exec("echo", ["a"])))
            })
          )
        })
        const caller = yield* fork(way.open(env, {}, body))
        yield* Lab.settle
        yield* driver.kill(base(0))
        yield* TestClock.adjust("10 seconds")
        const error = Lab.failure(yield* Fiber.await(caller))
        assert.instanceOf(error, SandboxStateError)
        assert.deepStrictEqual(after, [error], "a command was run on a dead sandbox")
        assert.deepStrictEqual(spawns(driver), [])
      }).pipe(TestEnvironment.run)
  )

  it.effect(`S4 a body that cannot be interrupted does not keep a dead sandbox for ever (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const env = yield* Lab.start({ teardownTimeout: "10 seconds" })
      const go = yield* Deferred.make<void>()
      const caller = yield* fork(way.open(env, {}, Effect.uninterruptible(Deferred.await(go))))
      yield* Lab.settle
      yield* driver.kill(base(0))
      yield* TestClock.adjust("11 seconds")
      assert.deepStrictEqual<ReadonlyArray<string>>(driver.alive(), [base(1)])
      yield* Deferred.succeed(go, undefined)
      yield* Lab.settle
      assert.isDefined(caller.pollUnsafe())
    }).pipe(TestEnvironment.run)
  )

  it.effect(
    `S4 F25 a body's own error while its sandbox dies holds no interruption that nobody asked for (${way.name})`,
    () =>
      Effect.gen(function* () {
        const driver = yield* SimDriver
        const env = yield* Lab.start()
        const boom = new Boom({ what: "body" })
        const body = Effect.uninterruptible(Effect.delay(Effect.fail(boom), "1 second"))
        const caller = yield* fork(way.open(env, {}, body))
        yield* Lab.settle
        yield* driver.kill(base(0))
        yield* TestClock.adjust("1 second")
        const error = Lab.failure(yield* Fiber.await(caller))
        assert.isTrue(error === boom || error instanceof SandboxStateError)
      }).pipe(TestEnvironment.run)
  )

  it.effect(`S4 L2 F21 a sandbox that died while it was ready is not handed out (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const env = yield* Lab.start({ pool: 2 })
      yield* driver.kill("env/base:0:0")
      assert.strictEqual(yield* way.open(env, {}, here), "env/base:1:0")
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S4 I9 a death during the session's teardown is not raised: the body had succeeded (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const { one, start } = Lab.probes()
      one.on("sessionTeardown", { _tag: "Slow", millis: 1000 })
      const env = yield* start()
      const caller = yield* fork(way.open(env, {}, Effect.succeed("kept")))
      yield* Lab.settle
      yield* driver.kill(base(0))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(caller), "kept")
      one.off("sessionTeardown")
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(1))
    }).pipe(TestEnvironment.run)
  )
}

for (const way of Lab.ways) {
  it.effect(`S4 a body is interrupted also when its caller cannot be (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const env = yield* Lab.start()
      const caller = yield* fork(Effect.uninterruptible(way.open(env, {}, Effect.never)))
      yield* Lab.settle
      yield* driver.kill(base(0))
      yield* Lab.settle
      assert.isDefined(caller.pollUnsafe(), "it waits on a corpse")
      assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), SandboxStateError)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S5 what a body has forked ends with it, and what it has detached is refused (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const env = yield* Lab.start()
      const late = yield* Deferred.make<unknown>()
      yield* way.open(
        env,
        {},
        Effect.gen(function* () {
          yield* Effect.forkChild(Effect.delay(exec("echo", ["forked"]), "1 second"))
          const detached = Effect.delay(Effect.flip(exec("echo", ["detached"])), "1 second")
          yield* Effect.forkDetach(Effect.flatMap(detached, (error) => Deferred.succeed(late, error)))
        })
      )
      yield* TestClock.adjust("2 seconds")
      assert.instanceOf(yield* Deferred.await(late), SessionEndedError)
      assert.deepStrictEqual(spawns(driver), [])
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S2 a body sees what its caller has set (${way.name})`, () =>
    Effect.gen(function* () {
      const Setting = Context.Reference<string>("test/Setting", { defaultValue: () => "default" })
      const env = yield* Lab.start()
      const program = way.open(
        env,
        {},
        Effect.map(Setting, (setting) => setting)
      )
      assert.strictEqual(yield* Effect.provideService(program, Setting, "own"), "own")
    }).pipe(TestEnvironment.run)
  )
}

for (const way of Lab.ways) {
  it.effect(`S4 I1 a body that breaks its sandbox in its first step is over before its session is (${way.name})`, () =>
    Effect.gen(function* () {
      const { journal, start } = Lab.probes()
      const env = yield* start()
      const body = Effect.gen(function* () {
        const sandbox = yield* Sandbox
        yield* sandbox.report(Lab.stateError(sandbox.id, "report"))
        return yield* Effect.never
      }).pipe(Effect.ensuring(Effect.sync(() => journal.note("body over"))))
      const error = yield* Effect.flip(way.open(env, {}, body))
      assert.instanceOf(error, SandboxStateError)
      const over = journal.lines().indexOf("body over")
      assert.deepStrictEqual(journal.lines().slice(over, over + 2), ["body over", ...first("session teardown two")])
    }).pipe(TestEnvironment.run)
  )
}

for (const way of Lab.ways) {
  it.effect(`S4 I1 F28 no body outlasts its session, whenever the sandbox dies (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      for (const operations of [3, 4, 5, 6, 7, 8, 10, 12]) {
        for (let turns = 0; turns < 15; turns++) {
          const { journal, start } = Lab.probes()
          const id = `env${operations}-${turns}`
          const env = yield* start({ id })
          const body = Effect.onExit(
            Effect.andThen(
              Effect.sync(() => journal.note("body")),
              Effect.never
            ),
            () => Effect.sync(() => journal.note("body over"))
          )
          const user = yield* fork(
            Effect.provideService(way.open(env, {}, body), Scheduler.MaxOpsBeforeYield, operations)
          )
          for (let i = 0; i < turns; i++) yield* Effect.yieldNow
          yield* driver.kill(`${id}/base:0:0`)
          yield* Effect.repeat(Effect.yieldNow, { times: 200 })
          yield* Fiber.interrupt(user)
          yield* env.shutdown
          const begun = journal.lines().indexOf("body")
          if (begun !== -1)
            assert.deepStrictEqual(
              journal
                .lines()
                .slice(begun, begun + 3)
                .map((line) => line.replace(/ in .*/, "")),
              ["body", "body over", "session teardown two"]
            )
        }
      }
    }).pipe(TestEnvironment.run)
  )
}

it.effect("L18 V3 what is done outside of a session that is over is no activity of its sandbox", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const env = yield* Lab.start()
    const session = yield* env.session()
    const body = Effect.gen(function* () {
      const sandbox = yield* Sandbox
      yield* sandbox.activity("inside", session.close)
      yield* sandbox.activity("outside", env.shutdown)
    })
    yield* session.run(body)
    const events = yield* recorder.events
    assert.deepStrictEqual(
      events.flatMap((event) => (event._tag === "SandboxActivity" ? [event.name] : [])),
      ["inside"]
    )
    assert.strictEqual(events.at(-1)?._tag, "EnvironmentShutDown")
  }).pipe(TestEnvironment.run)
)

it.effect("S4 all that run in a session are interrupted and get the reason, also who comes later", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const env = yield* Lab.start()
    yield* Effect.scoped(
      Effect.gen(function* () {
        const session = yield* env.session()
        const both = yield* Effect.forEach([1, 2], () => fork(session.run(Effect.never)))
        yield* driver.kill(base(0))
        yield* Lab.settle
        const errors = (yield* Fiber.awaitAll(both)).map(Lab.failure)
        assert.instanceOf(errors[0], SandboxStateError)
        assert.strictEqual(errors[1], errors[0])
        assert.strictEqual(Lab.failure(yield* Effect.exit(session.run(Effect.void))), errors[0])
      })
    )
  }).pipe(TestEnvironment.run)
)

it.effect("S4 a sandbox that dies between two bodies of a session fails the next one", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const env = yield* Lab.start()
    yield* Effect.scoped(
      Effect.gen(function* () {
        const session = yield* env.session()
        yield* session.run(Effect.void)
        yield* driver.kill(session.sandboxId)
        yield* Lab.settle
        assert.instanceOf(Lab.failure(yield* Effect.exit(session.run(Effect.void))), SandboxStateError)
      })
    )
  }).pipe(TestEnvironment.run)
)

// ---------------------------------------------------------------------------------------------------------------------
// S5
// ---------------------------------------------------------------------------------------------------------------------

for (const way of Lab.ways) {
  it.effect(
    `S5 an interruption ends the session properly: command killed, torn down, back in the pool (${way.name})`,
    () =>
      withJournal(({ journal, start }) =>
        Effect.gen(function* () {
          yield* onKill((command) => journal.note(`kill ${command}`))
          const env = yield* start()
          const before = journal.lines().length
          const caller = yield* fork(way.open(env, {}, exec("hang")))
          yield* Lab.settle
          assert.deepStrictEqual(journal.lines().slice(before), [`spawn ${base(0)} hang`])
          yield* Fiber.interrupt(caller)
          assert.isTrue(isInterrupted(yield* Fiber.await(caller)))
          yield* Lab.settle
          assert.deepStrictEqual(journal.lines().slice(before), [
            `spawn ${base(0)} hang`,
            "kill hang",
            ...first(...sessionTeardown),
            `reset ${base(0)}`,
            ...first("session one", "session two")
          ])
          assert.strictEqual(yield* way.open(env, {}, here), base(0))
        })
      )
  )

  it.effect(`S5 P4 an interrupted waiter leaves no trace (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      const go = yield* Deferred.make<void>()
      const first = yield* fork(way.open(env, {}, Deferred.await(go)))
      const second = yield* fork(way.open(env, {}, Effect.die("never runs")))
      assert.strictEqual((yield* env.stats).images[0]?.waiters, 1)
      yield* Fiber.interrupt(second)
      assert.strictEqual((yield* env.stats).images[0]?.waiters, 0)
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(first)
      yield* Lab.settle
      const stats = yield* env.stats
      assert.strictEqual(stats.images[0]?.counts.Ready, 1)
      assert.strictEqual(stats.ledger.created, 1)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S5 I1 interrupting while the session is set up on demand undoes it (${way.name})`, () =>
    Effect.gen(function* () {
      const { journal, start, two } = Lab.probes()
      two.on("session", { _tag: "Hang" }, { times: 1 })
      const env = yield* start({ proactiveSessionSetup: false })
      const caller = yield* fork(way.open(env, {}, Effect.die("never runs")))
      yield* Lab.settle
      yield* Fiber.interrupt(caller)
      yield* Lab.settle
      assert.deepStrictEqual(
        journal.lines().slice(2, 8),
        first("session one", "session two", ...sessionTeardown, "teardown two", "teardown one")
      )
      assert.strictEqual(yield* way.open(env, {}, here), base(1))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S5 I1 interrupting while a sandbox is brought up leaves it to the next (${way.name})`, () =>
    Effect.gen(function* () {
      const { one, start } = Lab.probes()
      one.on("setup", { _tag: "Slow", millis: 10_000 })
      const env = yield* start({ pool: { min: 0, max: 1 } })
      const caller = yield* fork(way.open(env, {}, Effect.die("never runs")))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.interrupt(caller)
      const next = yield* fork(way.open(env, {}, here))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* Fiber.join(next), base(0))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S5 interrupting waits for the teardown (${way.name})`, () =>
    Effect.gen(function* () {
      const { one, start } = Lab.probes()
      one.on("sessionTeardown", { _tag: "Slow", millis: 3000 })
      const env = yield* start()
      const caller = yield* fork(way.open(env, {}, Effect.never))
      yield* Lab.settle
      const interrupting = yield* fork(Fiber.interrupt(caller))
      yield* TestClock.adjust("2 seconds")
      assert.isUndefined(interrupting.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.isDefined(interrupting.pollUnsafe())
      // Shutting down tears the next session down as well.
      const shutdown = yield* fork(env.shutdown)
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(shutdown)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S5 a time limit of the caller's own ends the session as an interruption does (${way.name})`, () =>
    Effect.gen(function* () {
      const killed: Array<string> = []
      yield* onKill((command) => killed.push(command))
      const env = yield* Lab.start()
      const caller = yield* fork(Effect.timeout(way.open(env, {}, exec("hang")), "2 seconds"))
      yield* TestClock.adjust("2 seconds")
      assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), Cause.TimeoutError)
      assert.deepStrictEqual(killed, ["hang"])
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(0))
    }).pipe(programs.run)
  )

  it.effect(
    `S5 F28 I1 interrupted anywhere, nothing is left and the pool works (${way.name})`,
    () =>
      Effect.gen(function* () {
        const make = (settings: EnvironmentConfig.Settings) =>
          Effect.gen(function* () {
            const { journal, start } = Lab.probes()
            yield* Effect.addFinalizer(() => Effect.orDie(journal.ledger.assertBalanced)) // runs last
            return yield* start(settings)
          })
        for (const [index, cases] of sweeps.entries()) yield* sweep(way, make, cases, index % 2 === 0)
      }).pipe(Effect.provide(SimDriver.layer())),
    sweepTimeout
  )

  it.effect(
    `S5 F28 I6 interrupted anywhere, the events of set-up and teardown are paired (${way.name})`,
    () =>
      Effect.gen(function* () {
        const make = (settings: EnvironmentConfig.Settings) =>
          Effect.gen(function* () {
            const { one, two } = Lab.probes()
            // At its end it looks at its events.
            const test = yield* TestEnvironment.make({
              images: ["base"],
              ...settings,
              features: [one.feature, two.feature]
            })
            return test.environment
          })
        for (const [index, cases] of sweeps.entries()) yield* sweep(way, make, cases, index % 2 === 1)
      }),
    sweepTimeout
  )
}

/** Every turn with some budgets; with the smallest, of which each has hundreds of turns, the first ones. */
const sweeps: ReadonlyArray<Pick<Interruption.SweepOptions, "maxOps" | "only">> = [
  ...[11, 18, 34].map((maxOps) => ({ maxOps: [maxOps] })),
  ...[3, 4, 5, 6, 7].flatMap((maxOps) =>
    Array.from({ length: 25 }, (_, index) => ({ only: { maxOps, turn: index + 1 } }))
  )
]

/** Interrupts the user of a session wherever it stops; the pool must work afterwards, and the session's id be free. */
const sweep = <F, E, R>(
  way: Lab.Way,
  make: (settings: EnvironmentConfig.Settings) => Effect.Effect<Environment.Environment<F>, E, R>,
  cases: Pick<Interruption.SweepOptions, "maxOps" | "only">,
  proactiveSessionSetup: boolean
) =>
  Interruption.sweep({
    ...cases,
    make: make({ pool: { min: 0, max: 1 }, proactiveSessionSetup }),
    run: (env) => way.open(env, { id: "s" }, Effect.andThen(exec("echo", ["a"]), Effect.yieldNow)),
    check: (env) => Effect.andThen(Interruption.assertServes(env), way.open(env, { id: "s" }, here))
  })

// ---------------------------------------------------------------------------------------------------------------------
// S6
// ---------------------------------------------------------------------------------------------------------------------

for (const way of Lab.ways) {
  it.effect(`S6 F25 a session that is too old is ended with a typed error, and the sandbox stays (${way.name})`, () =>
    Effect.gen(function* () {
      const killed: Array<string> = []
      yield* onKill((command) => killed.push(command))
      const recorder = yield* EventRecorder
      const env = yield* Lab.start({ sessionLifetime: "1 minute" })
      const caller = yield* fork(way.open(env, { id: "s1" }, exec("hang")))
      yield* TestClock.adjust("59 seconds")
      assert.isUndefined(caller.pollUnsafe())
      yield* TestClock.adjust("1 second")
      const error = Lab.failure(yield* Fiber.await(caller))
      assert.instanceOf(error, SessionLimitError)
      assert.deepStrictEqual(
        [error.limit, error.limitMillis, error.sessionId, error.sandboxId],
        ["lifetime", 60_000, "s1", base(0)]
      )
      assert.deepStrictEqual(killed, ["hang"])
      assert.include(yield* recorder.lines, "session s1 ended: SessionLimitError")
      assert.strictEqual(yield* way.open(env, {}, here), base(0))
    }).pipe(programs.run)
  )

  it.effect(`S6 F25 a session in which nothing happens is ended with a typed error (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start({ sessionIdleTimeout: "30 seconds" })
      const body = Effect.andThen(Effect.andThen(Effect.sleep("20 seconds"), exec("true")), Effect.never)
      const caller = yield* fork(way.open(env, { id: "s1" }, body))
      yield* TestClock.adjust("49 seconds")
      assert.isUndefined(caller.pollUnsafe())
      yield* TestClock.adjust("1500 millis")
      const error = Lab.failure(yield* Fiber.await(caller))
      assert.instanceOf(error, SessionLimitError)
      assert.deepStrictEqual([error.limit, error.limitMillis], ["idle", 30_000])
      assert.strictEqual(yield* way.open(env, {}, here), base(0))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S6 commands, files and named activities are signs of life; what runs is not idle (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start({ sessionIdleTimeout: "10 seconds" })
      const body = Effect.gen(function* () {
        const sandbox = yield* Sandbox
        const fs = yield* FileSystem.FileSystem
        yield* Effect.sleep("9 seconds")
        yield* fs.writeFileString("a", "a")
        yield* Effect.sleep("9 seconds")
        yield* sandbox.exec("true")
        yield* Effect.sleep("9 seconds")
        yield* sandbox.activity("think", Effect.sleep("1 hour"))
        yield* Effect.sleep("9 seconds")
        return "alive"
      })
      const caller = yield* fork(way.open(env, {}, body))
      yield* TestClock.adjust("2 hours")
      assert.strictEqual(yield* Fiber.join(caller), "alive")
    }).pipe(TestEnvironment.run)
  )

  it.effect(`S6 the limits of a session that has ended do not touch the next (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start({ sessionLifetime: "10 seconds", sessionIdleTimeout: "8 seconds" })
      yield* way.open(env, { id: "s" }, Effect.void)
      yield* TestClock.adjust("5 seconds")
      const caller = yield* fork(way.open(env, { id: "s" }, Effect.as(Effect.sleep("7 seconds"), "done")))
      yield* TestClock.adjust("7 seconds")
      assert.strictEqual(yield* Fiber.join(caller), "done")
    }).pipe(TestEnvironment.run)
  )
}

it.effect("S6 L18 a session that a limit has ended refuses with that reason", () =>
  Effect.gen(function* () {
    const env = yield* Lab.start({ sessionLifetime: "10 seconds" })
    yield* Effect.scoped(
      Effect.gen(function* () {
        const session = yield* env.session()
        yield* TestClock.adjust("10 seconds")
        assert.instanceOf(Lab.failure(yield* Effect.exit(session.run(Effect.void))), SessionLimitError)
        // The sandbox serves somebody else meanwhile.
        assert.strictEqual(yield* env.withSession({}, here), session.sandboxId)
      })
    )
  }).pipe(TestEnvironment.run)
)

// ---------------------------------------------------------------------------------------------------------------------
// The four ends of F25, and the closed set of F31
// ---------------------------------------------------------------------------------------------------------------------

for (const way of Lab.ways) {
  it.effect(`F25 a time-out, an interruption, a limit and a death are different types (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const env = yield* Lab.start({ pool: 1, sessionLifetime: "1 minute" })
      const endOf = <E>(effect: Effect.Effect<unknown, E, Environment.SessionServices>, then: Effect.Effect<unknown>) =>
        Effect.gen(function* () {
          const caller = yield* fork(way.open(env, {}, effect))
          yield* Lab.settle
          yield* Effect.forkChild(Effect.andThen(then, Effect.void))
          yield* TestClock.adjust("1 minute")
          return yield* Fiber.await(caller)
        })
      const timedOut = yield* endOf(exec("hang", [], { timeout: "5 seconds" }), Effect.void)
      assert.deepStrictEqual(Exit.isSuccess(timedOut) ? (timedOut.value as Command.Result).outcome : timedOut, {
        _tag: "TimedOut",
        timeoutMillis: 5000
      })
      const limited = yield* endOf(exec("hang"), Effect.void)
      assert.instanceOf(Lab.failure(limited), SessionLimitError)
      const died = yield* endOf(exec("hang"), driver.kill(base(0)))
      assert.instanceOf(Lab.failure(died), SandboxStateError)
      const caller = yield* fork(way.open(env, {}, exec("hang")))
      yield* Lab.settle
      yield* Fiber.interrupt(caller)
      assert.isTrue(isInterrupted(yield* Fiber.await(caller)))
    }).pipe(programs.run)
  )

  it.effect(
    `F25 success, a failure, an interruption, a limit and a death are different in the events (${way.name})`,
    () =>
      Effect.gen(function* () {
        const driver = yield* SimDriver
        const recorder = yield* EventRecorder
        const env = yield* Lab.start({ sessionLifetime: "1 minute" })
        yield* way.open(env, { id: "success" }, Effect.void)
        yield* Lab.settle
        yield* Effect.exit(way.open(env, { id: "failure" }, Effect.fail(new Boom({ what: "body" }))))
        yield* Lab.settle
        const interrupted = yield* fork(way.open(env, { id: "interruption" }, Effect.never))
        yield* Lab.settle
        yield* Fiber.interrupt(interrupted)
        yield* Lab.settle
        const limited = yield* fork(way.open(env, { id: "limit" }, Effect.never))
        yield* TestClock.adjust("1 minute")
        yield* Fiber.await(limited)
        const dead = yield* fork(way.open(env, { id: "death" }, Effect.never))
        yield* Lab.settle
        yield* driver.kill(base(0))
        yield* Lab.settle
        yield* Fiber.await(dead)
        const ended = (yield* recorder.events).flatMap((event) =>
          event._tag === "SessionEnded" ? [[event.sessionId as string, event.error?.tag]] : []
        )
        assert.deepStrictEqual(Object.fromEntries(ended), {
          success: undefined,
          failure: "Boom",
          interruption: "Interrupted",
          limit: "SessionLimitError",
          death: "SandboxStateError"
        })
      }).pipe(TestEnvironment.run)
  )

  it.effect(`F31 F29 how a command ended is what the system said: a closed set (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      const outcomeOf = (command: string, args: ReadonlyArray<string> = [], options: Command.Options = {}) =>
        Effect.map(way.open(env, {}, exec(command, args, options)), ({ outcome }) => outcome)
      const run = yield* fork(
        Effect.all([
          outcomeOf("true"),
          outcomeOf("sh", ["-c", "exit 3"]),
          outcomeOf("dies"),
          Effect.map(outcomeOf("vanishes"), ({ _tag }) => _tag),
          outcomeOf("hang", [], { timeout: "1 second" }),
          outcomeOf("echo", ["abcdef"], { maxOutputBytes: 3, onOutputLimit: "kill" })
        ])
      )
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* Fiber.join(run), [
        { _tag: "Exited", code: 0 },
        { _tag: "Exited", code: 3 },
        { _tag: "Signalled", signal: "SIGKILL" },
        "Unknown",
        { _tag: "TimedOut", timeoutMillis: 1000 },
        { _tag: "OutputLimit", maxOutputBytes: 3 }
      ])
    }).pipe(programs.run)
  )
}

for (const way of Lab.ways) {
  it.effect(`S2 the parts of the sandbox's handle can be taken apart (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      const body = Effect.gen(function* () {
        const { activity, exec, generation, home, id, image, ping, slot, status, workdir } = yield* Sandbox
        yield* ping
        const result = yield* activity("run", exec("echo", ["a"]))
        return [id, image, slot, generation, workdir, home, yield* status, result.stdout]
      })
      assert.deepStrictEqual(yield* way.open(env, {}, body), [
        base(0),
        "base",
        0,
        0,
        "/workspace",
        "/home",
        "InSession",
        "a\n"
      ])
    }).pipe(TestEnvironment.run)
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// L5, L14, L17, L18, L26, L27
// ---------------------------------------------------------------------------------------------------------------------

it.effect("L5 describing a session, or a handle without use, takes no sandbox away", () =>
  Effect.gen(function* () {
    const env = yield* Lab.start()
    for (let i = 0; i < 10; i++) {
      void env.session()
      void env.withSession({}, Effect.void)
    }
    yield* Lab.settle
    assert.strictEqual((yield* env.stats).images[0]?.counts.Ready, 1)
    for (let i = 0; i < 10; i++) {
      yield* Effect.scoped(env.session())
      yield* Lab.settle
    }
    const stats = yield* env.stats
    assert.strictEqual(stats.images[0]?.counts.Ready, 1)
    assert.strictEqual(stats.sessions, 0)
    assert.strictEqual(stats.ledger.created, 1)
  }).pipe(TestEnvironment.run)
)

it.effect(
  "L5 a handle that is dropped by a failure or an interruption before its first use gives its sandbox back",
  () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      yield* Effect.exit(Effect.scoped(Effect.andThen(env.session(), Effect.fail("other"))))
      yield* Lab.settle
      const holder = yield* fork(Effect.scoped(Effect.andThen(env.session(), Effect.never)))
      yield* Lab.settle
      yield* Fiber.interrupt(holder)
      yield* Lab.settle
      assert.strictEqual(yield* env.withSession({}, here), base(0))
    }).pipe(TestEnvironment.run)
)

it.effect("L5 a session whose scope is closed already is not kept", () =>
  Effect.gen(function* () {
    const env = yield* Lab.start()
    const scope = yield* Scope.make()
    yield* Scope.close(scope, Exit.void)
    const session = yield* Scope.provide(env.session(), scope)
    yield* Lab.settle
    assert.instanceOf(Lab.failure(yield* Effect.exit(session.run(Effect.void))), SessionEndedError)
    assert.strictEqual((yield* env.stats).images[0]?.counts.Ready, 1)
  }).pipe(TestEnvironment.run)
)

it.effect("L14 many ends of one session at once: torn down once, all of them wait, and the sandbox is free", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const { one, start, two } = Lab.probes()
    one.on("sessionTeardown", { _tag: "Slow", millis: 2000 })
    const env = yield* start()
    const scope = yield* Scope.make()
    const session = yield* Scope.provide(env.session({ id: "s" }), scope)
    const ends = yield* Effect.forEach([session.close, Scope.close(scope, Exit.void), session.close], fork)
    yield* TestClock.adjust("1 second")
    for (const end of ends) assert.isUndefined(end.pollUnsafe())
    yield* TestClock.adjust("1 second")
    yield* Fiber.joinAll(ends)
    yield* session.close
    yield* EventExpect.count(recorder, "session s ended", 1)
    assert.strictEqual(two.calls("sessionTeardown").length, 1)
    yield* Lab.settle
    assert.strictEqual((yield* env.stats).images[0]?.counts.Ready, 1)
    const shutdown = yield* fork(env.shutdown)
    yield* TestClock.adjust("2 seconds")
    yield* Fiber.join(shutdown)
  }).pipe(TestEnvironment.run)
)

for (const first of ["close", "kill", "shutdown", "interrupt"] as const) {
  for (const second of ["close", "kill", "shutdown", "interrupt", "report"] as const) {
    if (first === second) continue
    it.effect(`L14 I1 a session that is ended by ${first} and ${second} at once ends once`, () =>
      Effect.gen(function* () {
        const driver = yield* SimDriver
        const recorder = yield* EventRecorder
        const { one, start } = Lab.probes()
        one.on("sessionTeardown", () => Effect.yieldNow)
        const env = yield* start()
        const ready = yield* Deferred.make<Effect.Success<ReturnType<typeof env.session>>>()
        const user = yield* fork(
          Effect.scoped(
            Effect.gen(function* () {
              const session = yield* env.session({ id: "s" })
              yield* Deferred.succeed(ready, session)
              return yield* session.run(Effect.never)
            })
          )
        )
        const session = yield* Deferred.await(ready)
        const ends = {
          close: Effect.exit(session.close),
          kill: driver.kill(session.sandboxId),
          shutdown: env.shutdown,
          interrupt: Fiber.interrupt(user),
          report: Context.get(session.context, Sandbox).report(Lab.stateError(session.sandboxId, "look"))
        }
        const both = yield* Effect.forEach([ends[first], ends[second]], fork)
        yield* TestClock.adjust("1 second")
        for (const fiber of [...both, user]) assert.isDefined(fiber.pollUnsafe(), "somebody still waits")
        yield* EventExpect.count(recorder, /^session s ended/, 1)
        const stats = yield* env.stats
        assert.strictEqual(stats.sessions, 0)
        assert.strictEqual(stats.images[0]?.counts.ExitingSession, 0)
      }).pipe(TestEnvironment.run)
    )
  }
}

it.effect.each([
  ["at once", Effect.void],
  ["later", Effect.sleep(1)]
] as const)("L14 a body may end its own session: %s", ([, before]) =>
  Effect.gen(function* () {
    const env = yield* Lab.start()
    const caller = yield* fork(
      Effect.scoped(
        Effect.flatMap(env.session(), (session) => Effect.exit(session.run(Effect.andThen(before, session.close))))
      )
    )
    yield* TestClock.adjust(1)
    const isDone = caller.pollUnsafe() !== undefined
    yield* TestClock.adjust("1 minute")
    assert.isDefined(caller.pollUnsafe(), "it waits for itself, for ever")
    assert.isTrue(isDone, "it waits for itself, until the time limit of teardown")
  }).pipe(TestEnvironment.run)
)

it.effect.each([
  ["at once", Effect.void],
  ["later", Effect.sleep(1)]
] as const)("L14 L18 a body that has ended its own session goes on outside of it: %s", ([, before]) =>
  Effect.gen(function* () {
    const env = yield* Lab.start()
    const body = (session: Effect.Success<ReturnType<typeof env.session>>) =>
      Effect.gen(function* () {
        yield* before
        yield* session.close
        yield* Effect.sleep("1 second")
        return yield* Effect.flip(exec("true"))
      })
    const caller = yield* fork(
      Effect.scoped(Effect.flatMap(env.session(), (session) => Effect.exit(session.run(body(session)))))
    )
    yield* TestClock.adjust("2 seconds")
    const exit = yield* Fiber.join(caller)
    assert.instanceOf(Exit.isSuccess(exit) ? exit.value : Cause.pretty(exit.cause), SessionEndedError)
    assert.strictEqual(yield* env.withSession({}, here), base(0))
  }).pipe(TestEnvironment.run)
)

it.effect("F25 L14 a body whose session somebody else closes is told so: nobody has interrupted its caller", () =>
  Effect.gen(function* () {
    const env = yield* Lab.start()
    yield* Effect.scoped(
      Effect.gen(function* () {
        const session = yield* env.session({ id: "s1" })
        const caller = yield* fork(session.run(Effect.never))
        yield* session.close
        const error = Lab.failure(yield* Fiber.await(caller))
        assert.instanceOf(error, SessionEndedError)
        assert.strictEqual(error.sessionId, "s1")
      })
    )
  }).pipe(TestEnvironment.run)
)

it.effect("L14 a body that ends its own session from a fiber of its own does not wait for ever", () =>
  Effect.gen(function* () {
    const env = yield* Lab.start({ teardownTimeout: "10 seconds" })
    const caller = yield* fork(
      Effect.scoped(
        Effect.flatMap(env.session(), (session) => Effect.exit(session.run(Effect.timeout(session.close, "1 second"))))
      )
    )
    yield* TestClock.adjust("30 seconds")
    assert.isDefined(caller.pollUnsafe())
    assert.strictEqual(yield* env.withSession({}, here), base(0))
  }).pipe(TestEnvironment.run)
)

it.effect("L14 H5 a body may shut its own environment down", () =>
  Effect.gen(function* () {
    const env = yield* Lab.start()
    const caller = yield* fork(env.withSession({}, env.shutdown))
    yield* Lab.settle
    assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), EnvironmentClosedError)
    assert.strictEqual(yield* env.status, "Offline")
  }).pipe(TestEnvironment.run)
)

for (const way of Lab.ways) {
  it.effect(
    `L17 H1 a sandbox that housekeeping condemns fails what runs in it, and what comes after (${way.name})`,
    () =>
      Effect.gen(function* () {
        const driver = yield* SimDriver
        const { one, start } = Lab.probes({ housekeepInterval: "5 seconds" })
        const env = yield* start()
        let kept: Sandbox["Service"] | undefined
        const body = Effect.gen(function* () {
          kept = yield* Sandbox
          return yield* exec("hang")
        })
        const caller = yield* fork(way.open(env, {}, body))
        yield* Lab.settle
        one.on("housekeep", { _tag: "Fail", message: "gone" })
        yield* TestClock.adjust("5 seconds")
        one.off("housekeep")
        assert.instanceOf(Lab.failure(yield* Fiber.await(caller)), SandboxStateError)
        const late = Lab.failure(yield* Effect.exit(kept?.exec("echo", ["a"]) ?? Effect.void))
        assert.instanceOf(late, SessionEndedError)
        assert.deepStrictEqual(spawns(driver), [`spawn ${base(0)} hang`])
      }).pipe(programs.run)
  )

  it.effect(`L18 everything that a session gave is refused once it is over, and reaches no driver (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const faults = yield* Faults
      const env = yield* Lab.start()
      const kept = yield* way.open(
        env,
        { id: "s1" },
        Effect.all({
          sandbox: Sandbox,
          fs: FileSystem.FileSystem,
          spawner: ChildProcessSpawner.ChildProcessSpawner
        })
      )
      let files = 0
      faults.on("file", () => Effect.sync(() => files++))
      // The sandbox serves somebody else by now.
      yield* Lab.settle
      yield* way.open(
        env,
        {},
        Effect.gen(function* () {
          assert.strictEqual(yield* here, base(0))
          const refused = Lab.failure(yield* Effect.exit(kept.sandbox.exec("echo", ["a"])))
          assert.instanceOf(refused, SessionEndedError)
          assert.deepStrictEqual([refused.sessionId as string, refused.sandboxId as string], ["s1", base(0)])
          const late: ReadonlyArray<Effect.Effect<unknown, PlatformError.PlatformError>> = [
            kept.fs.readFileString("a"),
            kept.fs.writeFileString("a", "b"),
            kept.fs.readFile("a"),
            kept.fs.exists("a"),
            kept.fs.remove("a"),
            kept.fs.readDirectory("."),
            Effect.scoped(kept.fs.open("a")),
            Stream.runDrain(kept.fs.stream("a")),
            Stream.runDrain(kept.fs.watch("a")),
            Stream.run(Stream.make(new Uint8Array(1)), kept.fs.sink("a")),
            Effect.scoped(kept.spawner.spawn(ChildProcess.make("echo", ["a"]))),
            kept.spawner.string(ChildProcess.make("echo", ["a"]))
          ]
          for (const [index, call] of late.entries()) {
            const error = Lab.failure(yield* Effect.exit(call))
            assert.instanceOf(error, PlatformError.PlatformError, `call ${index}`)
            assert.instanceOf(error.cause, SessionEndedError, `call ${index}`)
          }
        })
      )
      assert.strictEqual(files, 0)
      assert.deepStrictEqual(spawns(driver), [])
    }).pipe(TestEnvironment.run)
  )

  it.effect(`L18 a handle that was kept does not ping a sandbox that is offline (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const env = yield* Lab.start({ pool: 0 })
      const sandbox = yield* way.open(env, {}, Sandbox)
      assert.strictEqual(yield* sandbox.status, "Offline")
      const exit = yield* Effect.exit(sandbox.ping)
      assert.notInclude(driver.calls(), `ping ${base(0)}`, "the driver was asked about a sandbox that it had destroyed")
      assert.instanceOf(Lab.failure(exit), SandboxStateError)
    }).pipe(TestEnvironment.run)
  )

  it.effect(`L18 a handle that was kept does not end the session of who came next (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start()
      const kept = yield* way.open(env, {}, Sandbox)
      yield* Lab.settle
      const go = yield* Deferred.make<string>()
      const next = yield* fork(way.open(env, {}, Deferred.await(go)))
      yield* Lab.settle
      yield* kept.report(Lab.stateError(kept.id, "a late finding"))
      yield* Lab.settle
      yield* Deferred.succeed(go, "done")
      assert.strictEqual(yield* Fiber.join(next), "done")
      // But it is not forgotten.
      yield* Lab.settle
      assert.strictEqual(yield* way.open(env, {}, here), base(1))
    }).pipe(TestEnvironment.run)
  )

  it.effect(`L18 L1 what a session's own teardown still needs goes through (${way.name})`, () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const env = yield* Lab.start()
      const body = Effect.gen(function* () {
        const sandbox = yield* Sandbox
        yield* Effect.addFinalizer(() => Effect.ignore(sandbox.exec("echo", ["bye"])))
      })
      const caller = yield* fork(way.open(env, {}, Effect.scoped(body)))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(caller)
      assert.deepStrictEqual(spawns(driver), [`spawn ${base(0)} echo bye`])
    }).pipe(TestEnvironment.run)
  )

  it.effect(`L26 several environments at once know only themselves (${way.name})`, () =>
    Effect.gen(function* () {
      const [a, b] = [yield* Lab.start({ id: "a" }), yield* Lab.start({ id: "b" })]
      const nested = way.open(
        a,
        { id: "s" },
        Effect.gen(function* () {
          const inner = yield* way.open(b, { id: "s" }, here)
          return [inner, yield* here, yield* Effect.map(Session, ({ sandboxId }) => sandboxId)]
        })
      )
      assert.deepStrictEqual((yield* nested).map(String), ["b/base:0:0", "a/base:0:0", "a/base:0:0"])
      yield* b.shutdown
      yield* Lab.settle
      assert.strictEqual(yield* way.open(a, {}, here), "a/base:0:0")
      assert.instanceOf(Lab.failure(yield* Effect.exit(way.open(b, {}, here))), EnvironmentClosedError)
      assert.deepStrictEqual([yield* a.status, yield* b.status], ["Online", "Offline"])
    }).pipe(TestEnvironment.run)
  )

  it.effect(`L26 sessions of one environment that are open at once see their own sandbox (${way.name})`, () =>
    Effect.gen(function* () {
      const { one, start } = Lab.probes()
      const env = yield* start({ pool: 3 })
      const look = (id: string) =>
        way.open(
          env,
          { id },
          Effect.gen(function* () {
            const before = yield* here
            yield* Effect.sleep("1 second")
            const session = yield* Session
            return [session.id === id, before === session.sandboxId, (yield* one.key).sandboxId === before]
          })
        )
      const all = yield* fork(Effect.all(["a", "b", "c"].map(look), { concurrency: "unbounded" }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        (yield* Fiber.join(all)).flat(),
        Array.from({ length: 9 }, () => true)
      )
    }).pipe(TestEnvironment.run)
  )

  it.effect(`L27 ids that look like paths are names, and nothing else (${way.name})`, () =>
    Effect.gen(function* () {
      const env = yield* Lab.start({ id: "../up", images: ["/etc/passwd"] })
      for (const id of ["..", "/", "a/../../b", "\0", "CON", "é"]) {
        const session = yield* way.open(env, { id }, Session)
        assert.strictEqual(session.id, id)
        yield* Lab.settle
      }
    }).pipe(TestEnvironment.run)
  )
}

it("L27 a path segment is one safe name: no separator, no dots alone, no leading dot, not too long", () => {
  for (const id of [
    "..",
    ".",
    "",
    "/",
    "../a",
    "/a",
    "a/b",
    "a\\b",
    "a\0b",
    "~",
    "%",
    ".git",
    "x".repeat(5000),
    "🙂"
  ]) {
    const segment = pathSegment(id)
    assert.match(segment, /^[A-Za-z0-9_%~-][A-Za-z0-9_.%;~-]*$/, id)
    assert.isAtMost(segment.length, 160, id)
  }
})

it.effect.prop(
  "L27 different ids have different path segments",
  [Schema.String, Schema.String],
  ([a, b]) =>
    Effect.sync(() => {
      assert.strictEqual(pathSegment(a) === pathSegment(b), a === b)
      const [longA, longB] = [a + "x".repeat(200), b + "x".repeat(200)]
      assert.strictEqual(pathSegment(longA) === pathSegment(longB), longA === longB)
    }),
  { arbitrary: { runs: 300 } }
)

// ---------------------------------------------------------------------------------------------------------------------
// Ways to an environment
// ---------------------------------------------------------------------------------------------------------------------

const [one, two] = [FeatureProbe.make("one"), FeatureProbe.make("two")]

class Served extends Environment.Service<Served>()("test/Served", {
  images: ["base"],
  pool: { min: 1, max: 2 },
  features: [one.feature, two.feature]
}) {}

const settings = (record: Record<string, string>) => ConfigProvider.layer(ConfigProvider.fromEnv({ env: record }))

it.effect("S2 an environment as a service: its layer starts it, and shuts it down when it closes", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(Served.layer, scope)
    const served = Context.get(context, Served)
    assert.deepStrictEqual<ReadonlyArray<string>>(driver.alive(), ["test/Served/base:0:0"])
    const program = Effect.all([
      Served.withSession({}, here),
      Effect.scoped(Effect.flatMap(Served.session(), ({ run }) => run(here))),
      Served.withFeature(two.key, ({ name, sandboxId }) => Effect.succeed(`${name} in ${sandboxId}`)),
      Effect.map(Served.stats, ({ id }) => id),
      Served.status
    ])
    const caller = yield* fork(Effect.provideContext(program, context))
    yield* Lab.settle
    assert.deepStrictEqual((yield* Fiber.join(caller)).map(String), [
      "test/Served/base:0:0",
      "test/Served/base:0:0",
      "two in test/Served/base:0:0",
      "test/Served",
      "Online"
    ])
    yield* Scope.close(scope, Exit.void)
    assert.deepStrictEqual(driver.alive(), [])
    assert.strictEqual(yield* served.status, "Offline")
  }).pipe(TestEnvironment.run)
)

it.effect("S2 an environment as a service: settings from Config go before those in the code", () =>
  Effect.gen(function* () {
    const images = (config?: Config.Config<EnvironmentConfig.Settings>) =>
      Effect.map(Served.stats, (stats) =>
        stats.images.map(({ image, max, min }) => ({ image: String(image), max, min }))
      ).pipe(Effect.provide(Served.layerConfig(config)), TestEnvironment.run)
    const env = { IMAGES: "a,b", POOL_MIN: "0", POOL_MAX: "3", SESSION_LIFETIME: "10 seconds" }
    assert.deepStrictEqual(yield* Effect.provide(images(), settings(env)), [
      { image: "a", max: 3, min: 0 },
      { image: "b", max: 3, min: 0 }
    ])
    assert.deepStrictEqual(yield* Effect.provide(images(), settings({})), [{ image: "base", max: 2, min: 1 }])
    const nested = Config.nested(EnvironmentConfig.config, "LAB")
    assert.deepStrictEqual(yield* Effect.provide(images(nested), settings({ LAB_POOL_MAX: "9" })), [
      { image: "base", max: 9, min: 0 }
    ])
    assert.deepStrictEqual(yield* images(Config.succeed({ pool: 1 })), [{ image: "base", max: 1, min: 1 }])
  })
)

it.effect("X1 an environment as a service: a Config that cannot be read, or does not fit, fails its layer", () =>
  Effect.gen(function* () {
    const build = (env: Record<string, string>) =>
      Effect.exit(Layer.build(Served.layerConfig().pipe(Layer.provide(settings(env)))))
    const unreadable = Lab.failure(yield* build({ POOL_MAX: "many" }))
    assert.instanceOf(unreadable, Config.ConfigError)
    const misfit = Lab.failure(yield* build({ POOL_MIN: "5", POOL_MAX: "3" }))
    assert.include(String(misfit), "pool.min")
  }).pipe(TestEnvironment.run)
)

it.effect("S2 an environment as a service: layerWith changes some options", () =>
  Effect.gen(function* () {
    const program = Effect.all([Served.withSession({ image: "other" }, here), Effect.map(Served.stats, ({ id }) => id)])
    const [sandbox, id] = yield* Effect.provide(program, Served.layerWith({ images: ["other"], id: "lab" }))
    assert.deepStrictEqual([sandbox, id].map(String), ["lab/other:0:0", "lab"])
  }).pipe(TestEnvironment.run)
)

it.effect("S2 environments as values: several at once, each as long as its scope", () =>
  Effect.gen(function* () {
    const driver = yield* SimDriver
    const a = yield* Lab.start({ id: "a" })
    yield* Effect.scoped(
      Effect.gen(function* () {
        const b = yield* Lab.start({ id: "b" })
        assert.strictEqual(yield* b.withSession({}, here), "b/base:0:0")
        assert.deepStrictEqual<ReadonlyArray<string>>(driver.alive(), ["a/base:0:0", "b/base:0:0"])
      })
    )
    assert.deepStrictEqual<ReadonlyArray<string>>(driver.alive(), ["a/base:0:0"])
    assert.strictEqual(yield* a.withSession({}, here), "a/base:0:0")
  }).pipe(TestEnvironment.run)
)

it.effect("S2 I10 the same seed gives the same run", () =>
  Effect.gen(function* () {
    const life = Effect.gen(function* () {
      const driver = yield* SimDriver
      const recorder = yield* EventRecorder
      const env = yield* Lab.start({ pool: { min: 1, max: 3 } })
      const one = (i: number) =>
        Effect.gen(function* () {
          const { id } = yield* Sandbox
          yield* Effect.sleep(yield* Random.nextIntBetween(1, 50))
          if ((yield* Random.next) < 0.2) yield* driver.kill(id)
          if ((yield* Random.next) < 0.2) return yield* Effect.fail(new Boom({ what: String(i) }))
          return yield* Effect.sleep(yield* Random.nextIntBetween(1, 50))
        })
      const users = yield* fork(
        Effect.forEach(
          Array.from({ length: 20 }, (_, i) => i),
          (i) => Effect.exit(env.withSession({}, one(i))),
          { concurrency: "unbounded" }
        )
      )
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(users)
      yield* env.shutdown
      const start = (yield* recorder.events)[0]?.timestamp ?? 0
      return (yield* recorder.events).map((event) => ({ ...event, timestamp: event.timestamp - start }))
    }).pipe(Random.withSeed("seed"), TestEnvironment.run)
    const first = yield* life
    assert.isAbove(first.length, 200)
    assert.deepStrictEqual(yield* life, first)
  })
)

for (const { name, open } of Lab.ways) {
  it.effect(`S1 a body in ${name} has its caller's services, and features have those of the environment's layer`, () =>
    Effect.gen(function* () {
      class Setting extends Context.Service<Setting, string>()("test/Setting") {}
      class Told extends Context.Service<Told, string>()("test/Told") {}
      const told = Feature.make(Told, { setup: Effect.succeed({ session: Setting }) })
      const env = yield* Effect.provideService(
        Environment.make({ id: "env", images: ["base"], features: [told] }),
        Setting,
        "the layer's"
      )
      const body = Effect.all([Told, Effect.serviceOption(Setting), Effect.map(Path.Path, (path) => path.resolve("a"))])
      const [feature, own, path] = yield* Effect.provideService(open(env, {}, body), Setting, "the caller's")
      assert.strictEqual(feature, "the layer's")
      assert.deepStrictEqual(own, Option.some("the caller's"))
      assert.match(path, /.+\/a$/)
      assert.deepStrictEqual((yield* open(env, {}, body))[1], Option.none())
    }).pipe(TestEnvironment.run)
  )
}
