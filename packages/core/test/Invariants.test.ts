/**
 * Random programs over an environment, held to the invariants of DESIGN section 5 and to a model of what must come of
 * them. They are the same in every run; `test:long` runs others, and more of them.
 */
import { Lifecycle } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"

const timeout = 300_000

it.effect(
  "I1 I2 I3 I4 I5 I6 I7 I8 I9 random programs",
  () =>
    Effect.gen(function* () {
      const { situations, struck } = yield* Lifecycle.check({ seed: "invariants", runs: 1200 })
      assert.isAbove(struck, 500)
      const hard = [
        "a pool was full",
        ...["Ready", "SettingUp", "InSession"].map((status) => `died: ${status}`),
        ...["state error", "own error", "teardown error", "overload", "outage", "limit"].map((how) => `ended: ${how}`),
        ...["the start", "in a session", "without a session"].map((where) => `interrupted: ${where}`)
      ]
      for (const situation of hard) assert.isAbove(situations[situation] ?? 0, 0, `it never came up: ${situation}`)
    }),
  timeout
)

it.effect(
  "I10 the same program with the same seed gives the same trace",
  () =>
    Effect.gen(function* () {
      const { repeated } = yield* Lifecycle.check({ seed: "the same", runs: 300, repeatEvery: 1 })
      assert.strictEqual(repeated, 300)
    }),
  timeout
)

it.effect.each([3, 5, 7])(
  "F28 I1 I2 I3 I4 I5 I6 I7 I8 I9 random programs whose fibers take turns after every %s operations",
  (maxOpsBeforeYield) => Lifecycle.check({ seed: "turns", runs: 300, configuration: { maxOpsBeforeYield } }),
  timeout
)
