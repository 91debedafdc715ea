import { Environment, Sandbox } from "@effect-sandbox/core"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, FileSystem, Layer, Schema, Scope, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { TestClock } from "effect/testing"
import * as LeakCheck from "../src/LeakCheck.ts"
import { SimDriver } from "../src/SimDriver.ts"

class Boom extends Schema.TaggedError<Boom>()("Boom", {}) {}

const forgetful = Effect.fn("forgetful")(function* () {
  yield* Effect.forkDetach(Effect.never)
  yield* Effect.forkDetach(Effect.sleep("30 seconds")).pipe(Effect.withSpan("wait"))
  yield* Effect.yieldNow
})

const options = { images: ["base"], pool: 2, id: "env" }

describe("LeakCheck", () => {
  it.effect("I7 names the fibers and the timers that are left", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(LeakCheck.run(forgetful(), { turns: 10 }))
      assert.strictEqual(
        error.message,
        `3 things are left (I7):
  fiber  in forgetful
  fiber  in forgetful > wait
  timer  30s, due at 30000, in forgetful > wait`
      )
      assert.strictEqual(error._tag, "LeakError")
    })
  )

  it.effect("I7 a fiber without a name is left, too", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(LeakCheck.run(Effect.forkDetach(Effect.never), { turns: 10 }))
      assert.strictEqual(error.message, "1 thing is left (I7):\n  fiber  without a name")
    })
  )

  it.effect("tells where a fiber was started, on request", () =>
    Effect.gen(function* () {
      const background = yield* Effect.context<never>()
      const startIt = (): void => void Effect.runForkWith(background)(Effect.never)
      const check = yield* LeakCheck.make({ turns: 10, stacks: true })
      const services = yield* check.run(Effect.context<never>())
      const startItWatched = (): void => void Effect.runForkWith(services)(Effect.never)
      startIt()
      startItWatched()
      const error = yield* Effect.flip(check.assertNone)
      assert.match(
        error.message,
        /fiber {2}without a name, started at startItWatched \(.*LeakCheck\.test\.ts:\d+:\d+\)/
      )
      assert.strictEqual(error.leaks.length, 1)
    })
  )

  it.effect("I7 waits for what is just ending, and lets no time pass", () =>
    Effect.gen(function* () {
      const slowly = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow, { discard: true })
      yield* LeakCheck.run(Effect.forkDetach(slowly))
      const error = yield* Effect.flip(LeakCheck.run(Effect.forkDetach(slowly), { turns: 5 }))
      assert.strictEqual(error.leaks.length, 1)
      yield* Effect.flip(LeakCheck.run(Effect.forkDetach(Effect.sleep(1)), { turns: 50 }))
    })
  )

  it.effect("an interrupted sleep is no timer any more", () =>
    Effect.gen(function* () {
      const check = yield* LeakCheck.make()
      const fiber = yield* check.run(Effect.forkDetach(Effect.sleep("1 hour"), { startImmediately: true }))
      assert.deepStrictEqual(check.timers(), ["1h, due at 3600000, without a name"])
      assert.deepStrictEqual(check.fibers(), ["without a name"])
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(check.timers(), [])
      yield* check.assertNone
    })
  )

  it.effect("time can be advanced inside, and a sleep that has ended is gone", () =>
    Effect.gen(function* () {
      const slept = yield* LeakCheck.run(
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(Effect.as(Effect.sleep("1 hour"), "slept"))
          yield* TestClock.adjust("1 hour")
          return yield* Fiber.join(fiber)
        })
      )
      assert.strictEqual(slept, "slept")
    })
  )

  it.effect("a failing effect keeps its error, beside what it has left", () =>
    Effect.gen(function* () {
      const alone = yield* Effect.flip(LeakCheck.run(Effect.fail(new Boom())))
      assert.strictEqual(alone._tag, "Boom")
      const exit = yield* Effect.exit(
        LeakCheck.run(Effect.andThen(Effect.forkDetach(Effect.never), Effect.fail(new Boom())), { turns: 5 })
      )
      assert.isTrue(Exit.isFailure(exit))
      const tags = Exit.isFailure(exit)
        ? exit.cause.reasons.map((reason) => (Cause.isFailReason(reason) ? reason.error._tag : reason._tag))
        : []
      assert.deepStrictEqual(tags, ["Boom", "LeakError"])
    })
  )

  it.effect("I7 an environment leaves nothing behind, pooled or not", () =>
    Effect.gen(function* () {
      for (const pool of [0, 2]) {
        const check = yield* LeakCheck.make()
        yield* check.run(
          Effect.scoped(
            Effect.gen(function* () {
              const env = yield* Environment.make({ ...options, pool })
              check.watch(env)
              yield* env.withSession({}, Effect.void)
              if (pool > 0) assert.isAbove(check.fibers().length, 0)
            })
          )
        )
        yield* check.assertNone
      }
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("I7 tells the sessions, the sandboxes and the environment that are left", () =>
    Effect.gen(function* () {
      const check = yield* LeakCheck.make({ turns: 5 })
      const scope = yield* Scope.make()
      const env = yield* Environment.make({ ...options, keepaliveInterval: 0 }).pipe(Scope.provide(scope))
      check.watch(env)
      yield* env.session({ id: "s1" }).pipe(Scope.provide(scope))
      const error = yield* Effect.flip(check.assertNone)
      assert.strictEqual(
        error.message,
        `5 things are left (I7):
  environment  env is Online
  session      1 of env
  sandbox      2 of env are live
  sandbox      env/base:0:0
  sandbox      env/base:1:0`
      )
      yield* Scope.close(scope, Exit.void)
      yield* check.assertNone
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("I7 F23 tells what the driver could not take down", () =>
    Effect.gen(function* () {
      const check = yield* LeakCheck.make({ turns: 5 })
      yield* Effect.scoped(
        Effect.gen(function* () {
          check.watch(yield* Environment.make({ ...options, pool: 1 }))
        })
      )
      const error = yield* Effect.flip(check.assertNone)
      assert.strictEqual(
        error.message,
        "1 thing is left (I7):\n  sandbox  1 of env could not be taken down by the driver"
      )
    }).pipe(Effect.provide(SimDriver.layer({ faults: [{ at: ["destroy"], how: { _tag: "Fail" } }] })))
  )

  it.effect("I7 tells the processes, the open files and the watchers of simulated sandboxes", () =>
    Effect.gen(function* () {
      const check = yield* LeakCheck.make({ turns: 5 })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const env = yield* Environment.make({ ...options, pool: 1, keepaliveInterval: 0 })
          const session = yield* env.session()
          yield* session.run(
            Effect.gen(function* () {
              const fs = yield* FileSystem.FileSystem
              const sandbox = yield* Sandbox
              yield* fs.writeFileString("notes", "")
              yield* fs.open("notes")
              yield* Effect.forkScoped(Stream.runDrain(fs.watch(".")))
              yield* Effect.forkScoped(sandbox.exec("sleep", ["100"]))
              yield* TestClock.adjust(0)
              const error = yield* Effect.flip(check.assertNone)
              assert.strictEqual(
                error.message.replace(/\d+ sleep/, "PID sleep"),
                `4 things are left (I7):
  sandbox      env/base:0:0
  process      PID sleep 100 in env/base:0:0
  file handle  1
  watcher      1`
              )
            })
          )
        })
      )
      yield* check.assertNone
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.live("I7 in real time, too", () =>
    Effect.gen(function* () {
      yield* LeakCheck.run(
        Effect.gen(function* () {
          const env = yield* Environment.make({ ...options, keepaliveInterval: 1 })
          yield* env.withSession({}, Effect.sleep(3))
        })
      )
      const error = yield* Effect.flip(LeakCheck.run(forgetful(), { turns: 10 }))
      assert.strictEqual(error.leaks.length, 3)
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  describe.skipIf(process.platform !== "linux")("processes", () => {
    const mark = `LEAK_CHECK_TEST=${process.pid}`

    it.live("finds processes of the host by a mark in their environment, and nothing else", () =>
      Effect.gen(function* () {
        const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
        const command = ChildProcess.make("sleep", ["60"], {
          env: { LEAK_CHECK_TEST: String(process.pid) },
          extendEnv: true
        })
        const scope = yield* Scope.make()
        const handle = yield* spawner.spawn(command).pipe(Scope.provide(scope))
        assert.deepStrictEqual(yield* LeakCheck.processes(mark), [{ pid: handle.pid, command: "sleep 60" }])
        assert.deepStrictEqual(yield* LeakCheck.processes(`${mark}0`), [])
        const error = yield* Effect.flip(LeakCheck.assertNoProcesses(mark, { turns: 2 }))
        assert.strictEqual(error.message, `1 thing is left (I7):\n  process  ${handle.pid} sleep 60`)
        yield* Scope.close(scope, Exit.void)
        yield* LeakCheck.assertNoProcesses(mark)
      }).pipe(Effect.provide(Layer.mergeAll(NodeServices.layer)))
    )
  })
})
