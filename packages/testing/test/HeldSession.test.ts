import { Environment } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as HeldSession from "../src/HeldSession.ts"
import * as LeakCheck from "../src/LeakCheck.ts"
import { SimDriver } from "../src/SimDriver.ts"
import * as Turns from "../src/Turns.ts"

const options = { id: "env", images: ["base", "other"], pool: 1, keepaliveInterval: 0 } as const

describe("HeldSession", () => {
  it.effect("I8 holds a sandbox until it is released, and then the next in line has it", () =>
    Effect.gen(function* () {
      const env = yield* Environment.make(options)
      const first = yield* HeldSession.open(env, { id: "s1" })
      const second = yield* HeldSession.open(env)
      const other = yield* HeldSession.open(env, { image: "other" })
      yield* first.isInside
      yield* other.isInside
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(second.sandboxId())
      assert.deepStrictEqual([first.sandboxId(), other.sandboxId()], ["env/base:0:0", "env/other:0:0"])
      assert.strictEqual((yield* env.stats).sessions, 2)
      yield* first.release
      assert.strictEqual(yield* second.isInside, "env/base:0:0")
      assert.strictEqual(yield* Fiber.join(first.fiber), "env/base:0:0")
      assert.deepStrictEqual<unknown>(first.exit(), Exit.succeed(second.sandboxId()))
      assert.isUndefined(second.exit())
      assert.deepStrictEqual<unknown>(yield* second.end, Exit.succeed("env/base:0:0"))
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("S4 L4 ends with the reason when its sandbox dies or its environment ends", () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const env = yield* Environment.make(options)
      const errorOf = (held: HeldSession.HeldSession<never>) => Effect.map(Effect.flip(Fiber.join(held.fiber)), String)
      const first = yield* HeldSession.open(env)
      yield* first.isInside
      yield* driver.kill(first.sandboxId() ?? "")
      assert.include(yield* errorOf(first), "SandboxStateError")
      const second = yield* HeldSession.open(env)
      const waiting = yield* HeldSession.open(env)
      yield* second.isInside
      yield* env.shutdown
      assert.include(yield* errorOf(second), "EnvironmentClosedError")
      assert.include(yield* errorOf(waiting), "EnvironmentClosedError")
      assert.isUndefined(yield* waiting.isInside)
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("S5 I7 the end of its scope interrupts it, and leaves nothing", () =>
    Effect.gen(function* () {
      const env = yield* Environment.make(options)
      const check = yield* LeakCheck.make()
      const use = Effect.gen(function* () {
        const held = yield* HeldSession.open(env)
        yield* held.isInside
        return held
      })
      const held = yield* check.run(Effect.scoped(use))
      const exit = held.exit()
      assert.isTrue(exit !== undefined && Exit.hasInterrupts(exit))
      assert.deepStrictEqual(check.fibers(), [])
      yield* Turns.until(
        "the session has ended",
        Effect.map(env.stats, ({ sessions }) => sessions === 0)
      )
    }).pipe(Effect.provide(SimDriver.layer()))
  )
})
