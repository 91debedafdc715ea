import { Environment, LoadBalancer, SandboxId } from "@effect-sandbox/core"
import { assert, it } from "@effect/vitest"
import { Arbitrary, Effect, Fiber, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import { countsOf, errorOf, hold, settle, statsOf } from "./support/Probe.ts"
import * as TestDriver from "./support/TestDriver.ts"

/** A pool of one image that nobody pings. */
const lab = (options: Omit<Parameters<typeof Environment.make>[0], "features"> = {}) =>
  Environment.make({ id: "env", images: ["base"], keepaliveInterval: 0, ...options })

const test = TestDriver.TestDriver

const run = <E, R>(body: Effect.Effect<unknown, E, R>) => Effect.provide(body, TestDriver.layer)

// ---------------------------------------------------------------------------------------------------------------------
// P1
// ---------------------------------------------------------------------------------------------------------------------

it.effect("P1 a number is how many sandboxes there are: no fewer and no more", () =>
  Effect.gen(function* () {
    const driver = yield* test
    const env = yield* lab({ pool: 3 })
    assert.deepStrictEqual(driver.alive(), ["env/base:0:0", "env/base:1:0", "env/base:2:0"])
    assert.deepStrictEqual(yield* countsOf(env), { Ready: 3 })
    for (let i = 0; i < 5; i++) yield* hold(env)
    yield* settle
    const stats = yield* statsOf(env)
    assert.deepInclude(stats, { min: 3, max: 3, waiters: 2 })
    assert.strictEqual(driver.peakOf("base"), 3)
  }).pipe(run)
)
