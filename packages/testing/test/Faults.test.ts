import {
  Environment,
  EnvironmentOutageError,
  Feature,
  InvalidConfigurationError,
  LocalDriver,
  Sandbox,
  SandboxStateError
} from "@effect-sandbox/core"
import { FaultPlan, Faults, SimDriver, SimulatedDefect, SimulatedError } from "@effect-sandbox/testing"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Cause, Context, Effect, Exit, Fiber, FileSystem, Layer, PlatformError, Schema } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { TestClock } from "effect/testing"

const settings = { images: ["base", "other"], pool: { min: 0, max: 1 }, keepaliveInterval: 0 } as const

const withFaults = <A, E>(
  plan: FaultPlan.FaultPlan,
  test: Effect.Effect<A, E, Layer.Success<ReturnType<typeof SimDriver.layer>> | Scope.Scope>
) => Effect.scoped(test).pipe(Effect.provide(SimDriver.layer({ faults: plan, seed: "faults" })))

const failureOf = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit)
    ? assert.fail("it succeeded")
    : exit.cause.reasons.map((reason) =>
        Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : reason
      )[0]

const idOf = Effect.map(Sandbox, (sandbox) => sandbox.id as string)

class Tool extends Context.Service<Tool, { readonly n: number }>()("test/Tool") {}

/** A feature that writes down what it does. */
const tool = (log: Array<string>) => {
  const pair = (up: string, down: string) =>
    Effect.acquireRelease(
      Effect.sync(() => log.push(up)),
      () => Effect.sync(() => log.push(down))
    )
  return Feature.make(Tool, {
    housekeepInterval: "10 seconds",
    setup: Effect.gen(function* () {
      yield* pair("setup", "teardown")
      return {
        session: Effect.as(pair("session", "session teardown"), Tool.of({ n: 1 })),
        housekeep: Effect.sync(() => log.push("housekeep"))
      }
    })
  })
}

describe("plans", () => {
  it("are plain data", () => {
    const plan: FaultPlan.FaultPlan = [
      { at: ["create", "ping"], image: "node:.*", calls: [2], times: 1, how: { _tag: "Kill" } },
      FaultPlan.outage({ from: "10 seconds", to: "40 seconds", image: "base", pings: true })
    ]
    assert.deepStrictEqual(Schema.decodeUnknownSync(FaultPlan.FaultPlan)(JSON.parse(JSON.stringify(plan))), plan)
  })

  it.effect("that cannot work are refused before anything is started, with the path of what is wrong", () =>
    Effect.gen(function* () {
      const bad: ReadonlyArray<readonly [unknown, string]> = [
        [{ at: [], how: { _tag: "Hang" } }, "faults.0.at"],
        [{ at: ["ping"], image: "(", how: { _tag: "Hang" } }, "faults.0.image"],
        [{ at: ["ping"], probability: 2, how: { _tag: "Hang" } }, "faults.0.probability"],
        [{ at: ["ping"], calls: [0], how: { _tag: "Hang" } }, "faults.0.calls.0"],
        [{ at: ["ping"], how: { _tag: "Slow", millis: -1 } }, "faults.0.how.millis"],
        [{ at: ["setup", "ping"], how: { _tag: "Fail", kind: "user" } }, "faults.0.how.kind"],
        [{ at: ["reset"], how: { _tag: "Fail", kind: "outage" } }, "faults.0.how.kind"],
        [{ at: ["spawn"], how: { _tag: "Fail", kind: "state" } }, "faults.0.how.kind"]
      ]
      for (const [fault, path] of bad) {
        // What a plan that was read from a file may hold.
        const layer = SimDriver.layer({ faults: [fault] as never })
        const error = yield* Effect.flip(Effect.scoped(Layer.build(layer)))
        assert.instanceOf(error, InvalidConfigurationError)
        assert.include(error.message, path, JSON.stringify(fault))
      }
    })
  )
})

describe("at the driver's points", () => {
  it.effect("create fails, for one image and on the call that the plan says", () =>
    withFaults(
      [{ at: ["create"], image: "base", calls: [2], how: { _tag: "Fail" } }],
      Effect.gen(function* () {
        const env = yield* Environment.make({ ...settings, id: "env", pool: 0, outageRetry: undefined })
        const sim = yield* SimDriver
        assert.strictEqual(yield* env.withSession({}, idOf), "env/base:0:0")
        const second = yield* Effect.forkChild(env.withSession({}, idOf), { startImmediately: true })
        assert.strictEqual(yield* env.withSession({ image: "other" }, idOf), "env/other:0:0")
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(second), "env/base:0:2")
        assert.deepStrictEqual(sim.alive(), [])
        const { struck } = yield* Faults
        assert.deepStrictEqual(
          struck().map(({ call, timestamp }) => `${timestamp} ${call.point} ${call.sandboxId}`),
          ["0 create env/base:0:1"]
        )
      })
    )
  )

  it.effect("an outage lasts for its interval", () =>
    withFaults(
      [FaultPlan.outage({ from: 0, to: "30 seconds" })],
      Effect.gen(function* () {
        const env = yield* Environment.make({ ...settings, outageGracePeriod: "10 seconds" })
        const early = yield* Effect.forkChild(Effect.exit(env.withSession({}, idOf)))
        yield* TestClock.adjust("20 seconds")
        assert.instanceOf(failureOf(yield* Fiber.join(early)), EnvironmentOutageError)
        yield* TestClock.adjust("1 minute")
        yield* env.withSession({}, idOf)
      })
    )
  )

  it.effect("a driver that is out itself says so", () =>
    withFaults(
      [{ at: ["create"], how: { _tag: "Fail", kind: "outage" } }],
      Effect.gen(function* () {
        const env = yield* Environment.make({ ...settings, outageGracePeriod: 0 })
        const error = failureOf(yield* Effect.exit(env.withSession({}, idOf)))
        assert.instanceOf(error, EnvironmentOutageError)
      })
    )
  )

  it.effect("what hangs goes on when the plan is cleared", () =>
    withFaults(
      [{ at: ["reset"], how: { _tag: "Hang" } }],
      Effect.gen(function* () {
        const env = yield* Environment.make(settings)
        yield* env.withSession({}, idOf)
        const next = yield* Effect.forkChild(env.withSession({}, idOf))
        yield* TestClock.adjust("1 minute")
        assert.isUndefined(next.pollUnsafe())
        yield* Effect.flatMap(Faults, ({ clear }) => clear)
        yield* Fiber.join(next)
      })
    )
  )

  it.effect("F19 a slow ping takes longer", () =>
    withFaults(
      [{ at: ["ping"], times: 1, how: { _tag: "Slow", millis: 5000 } }],
      Effect.gen(function* () {
        const env = yield* Environment.make({ ...settings, pool: 1 })
        const ping = yield* Effect.forkChild(
          env.withSession(
            {},
            Effect.flatMap(Sandbox, (sandbox) => sandbox.ping)
          )
        )
        yield* TestClock.adjust("4999 millis")
        assert.isUndefined(ping.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(ping)
      })
    )
  )

  it.effect("S4 F29 a command takes its sandbox with it: the caller hears of the death, the sandbox is replaced", () =>
    withFaults(
      [{ at: ["spawn"], operation: "poison", how: { _tag: "Kill" } }],
      Effect.gen(function* () {
        const env = yield* Environment.make({ ...settings, id: "env" })
        const run = (command: string) => Effect.flatMap(Sandbox, (sandbox) => sandbox.exec(command))
        yield* env.withSession({}, run("true"))
        const error = failureOf(yield* Effect.exit(env.withSession({}, run("poison"))))
        assert.instanceOf(error, SandboxStateError)
        assert.include(error.message, "killed at spawn")
        assert.strictEqual(yield* env.withSession({}, idOf), "env/base:0:1")
      })
    )
  )

  it.effect("a command's end is not known, a file cannot be read: errors of the platform", () =>
    withFaults(
      [
        { at: ["exit"], how: { _tag: "Fail", message: "lost" } },
        { at: ["file"], operation: "readFile", how: { _tag: "Fail" } }
      ],
      Effect.gen(function* () {
        const env = yield* Environment.make(settings)
        const body = Effect.gen(function* () {
          const sandbox = yield* Sandbox
          const files = yield* FileSystem.FileSystem
          yield* files.writeFileString("a", "a")
          const error = yield* Effect.flip(files.readFileString("a"))
          assert.instanceOf(error, PlatformError.PlatformError)
          return (yield* sandbox.exec("true")).outcome
        })
        const outcome = yield* env.withSession({}, body)
        assert.strictEqual(outcome._tag, "Unknown")
      })
    )
  )

  it.effect("F3 a command that cannot be killed takes its sandbox with it", () =>
    withFaults(
      [{ at: ["kill"], operation: "sleep", how: { _tag: "Hang" } }],
      Effect.gen(function* () {
        const faults = yield* Faults
        const env = yield* Environment.make({ ...settings, id: "env" })
        const sleep = (seconds: string) =>
          Effect.flatMap(Sandbox, (sandbox) =>
            sandbox.exec("sleep", [seconds], { timeout: "2 seconds", forceKillAfter: "1 second" })
          )
        const user = yield* Effect.forkChild(env.withSession({}, Effect.andThen(sleep("1"), sleep("100"))))
        yield* TestClock.adjust("1 minute")
        const error = failureOf(yield* Fiber.await(user))
        assert.instanceOf(error, SandboxStateError)
        assert.include(error.message, "could not be killed")
        // The one that had ended by itself was not killed.
        assert.deepStrictEqual(
          faults.struck().map(({ call }) => call.operation),
          ["sleep"]
        )
        assert.strictEqual(yield* env.withSession({}, idOf), "env/base:0:1")
        yield* faults.clear
      })
    )
  )

  it.effect("a command that cannot be killed by its handle: an error of the platform, and it runs on", () =>
    withFaults(
      [{ at: ["kill"], times: 1, how: { _tag: "Fail", message: "no such signal" } }],
      Effect.gen(function* () {
        const env = yield* Environment.make(settings)
        const body = Effect.gen(function* () {
          const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
          const handle = yield* spawner.spawn(ChildProcess.make("sleep", ["100"]))
          const error = yield* Effect.flip(handle.kill())
          assert.instanceOf(error, PlatformError.PlatformError)
          assert.isTrue(yield* handle.isRunning)
          yield* handle.kill()
          assert.isFalse(yield* handle.isRunning)
        })
        yield* env.withSession({}, Effect.scoped(body))
      })
    )
  )

  it.effect("F23 what cannot be taken down is counted as a leak", () =>
    withFaults(
      [{ at: ["destroy"], how: { _tag: "Fail" } }],
      Effect.gen(function* () {
        const env = yield* Environment.make({ ...settings, pool: 0 })
        yield* env.withSession({}, idOf)
        assert.strictEqual((yield* env.stats).ledger.leaked, 1)
      })
    )
  )

  it.effect("probability strikes about so often, and the same with the same seed", () =>
    Effect.gen(function* () {
      const count = withFaults(
        [{ at: ["ping"], probability: 0.3, how: { _tag: "Fail" } }],
        Effect.gen(function* () {
          const faults = yield* Faults
          for (let i = 0; i < 1000; i++) yield* Effect.ignore(faults.strike({ point: "ping" }))
          return faults.struck().length
        })
      )
      const first = yield* count
      assert.approximately(first, 300, 45)
      assert.strictEqual(yield* count, first)
    })
  )

  it.effect("`times` limits, `calls` chooses, and the first fault that strikes is the one", () =>
    withFaults(
      [
        { at: ["ping"], times: 2, how: { _tag: "Fail", message: "a" } },
        { at: ["ping"], calls: [2, 4], how: { _tag: "Fail", message: "b" } }
      ],
      Effect.gen(function* () {
        const faults = yield* Faults
        const seen: Array<string> = []
        for (let i = 0; i < 5; i++) {
          const exit = yield* Effect.exit(faults.strike({ point: "ping" }))
          const error = Exit.isSuccess(exit) ? undefined : failureOf(exit)
          seen.push(error instanceof SandboxStateError ? (error.description ?? "") : "-")
        }
        assert.deepStrictEqual(seen, ["a", "a", "-", "b", "-"])
      })
    )
  )

  it.live("real processes get faults, too", () =>
    Effect.gen(function* () {
      const env = yield* Environment.make({ images: ["shell"], pool: { min: 0, max: 1 } })
      const run = Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("echo", ["a"]))
      assert.strictEqual((yield* env.withSession({}, run)).stdout, "a\n")
      assert.instanceOf(yield* Effect.flip(env.withSession({}, run)), PlatformError.PlatformError)
      const faults = yield* Faults
      const dies = Effect.flatMap(Sandbox, (sandbox) =>
        Effect.andThen(Effect.forkChild(faults.kill(sandbox.id)), sandbox.exec("sleep", ["60"]))
      )
      const error = yield* Effect.flip(env.withSession({}, dies))
      assert.instanceOf(error, SandboxStateError)
    }).pipe(
      Effect.provide(
        Faults.driverLayer.pipe(
          Layer.provideMerge(Faults.layer([{ at: ["spawn"], calls: [2], how: { _tag: "Fail" } }])),
          Layer.provide(LocalDriver.layer({ isolation: "none" })),
          Layer.provide(NodeServices.layer)
        )
      )
    )
  )
})

describe("in features", () => {
  const lab = (log: Array<string>) =>
    Effect.gen(function* () {
      const { feature } = yield* Faults
      return yield* Environment.make({ ...settings, features: [feature(tool(log))], outageGracePeriod: "1 minute" })
    })

  it.effect("X5 I1 a set-up fails after its own work, which is taken down", () =>
    withFaults(
      [{ at: ["setup"], times: 1, how: { _tag: "Fail" } }],
      Effect.gen(function* () {
        const log: Array<string> = []
        const env = yield* lab(log)
        const error = failureOf(yield* Effect.exit(env.withSession({}, Effect.void)))
        assert.instanceOf(error, SimulatedError)
        assert.deepStrictEqual(log, ["setup", "teardown"])
        yield* env.withSession({}, Effect.void)
      })
    )
  )

  it.effect("X6 a teardown fails: told as the user's own error, after everything was taken down", () =>
    withFaults(
      [{ at: ["sessionTeardown"], feature: "test/Tool", times: 1, how: { _tag: "Fail" } }],
      Effect.gen(function* () {
        const log: Array<string> = []
        const env = yield* lab(log)
        const error = failureOf(yield* Effect.exit(env.withSession({}, Effect.void)))
        assert.strictEqual((error as { readonly _tag: string })._tag, "SessionTeardownError")
        assert.deepStrictEqual(log.slice(0, 3), ["setup", "session", "session teardown"])
      })
    )
  )

  it.effect("a session's set-up dies, its sandbox is killed, its housekeeping finds the sandbox broken", () =>
    withFaults(
      [
        { at: ["session"], calls: [1], how: { _tag: "Die", message: "bug" } },
        { at: ["session"], calls: [2], how: { _tag: "Kill" } },
        { at: ["housekeep"], times: 1, how: { _tag: "Fail", kind: "state" } }
      ],
      Effect.gen(function* () {
        const { feature } = yield* Faults
        const env = yield* Environment.make({
          ...settings,
          id: "env",
          pool: 0,
          features: [feature(tool([]))]
        })
        const defect = failureOf(yield* Effect.exit(env.withSession({}, Effect.void)))
        assert.instanceOf(defect, SimulatedDefect)
        const error = failureOf(yield* Effect.exit(env.withSession({}, Effect.void)))
        assert.instanceOf(error, SandboxStateError)
        assert.include(error.message, "killed at session")
        const user = yield* Effect.forkChild(Effect.exit(env.withSession({}, Effect.never)))
        yield* TestClock.adjust("11 seconds")
        assert.instanceOf(failureOf(yield* Fiber.join(user)), SandboxStateError)
      })
    )
  )

  it.effect("hooks of a test run before the plan is looked up", () =>
    withFaults(
      [],
      Effect.gen(function* () {
        const faults = yield* Faults
        const seen: Array<string> = []
        faults.on("reset", (call) => Effect.sync(() => seen.push(`${call.sandboxId}`)))
        const env = yield* Environment.make({ ...settings, id: "env" })
        yield* env.withSession({}, Effect.void)
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(seen, ["env/base:0:0"])
      })
    )
  )
})
