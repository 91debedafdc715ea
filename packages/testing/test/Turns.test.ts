import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as Turns from "../src/Turns.ts"

describe("Turns", () => {
  it.effect("until waits for what another fiber does", () =>
    Effect.gen(function* () {
      let done = false
      yield* Effect.forkChild(
        Effect.andThen(
          Turns.pass(10),
          Effect.sync(() => {
            done = true
          })
        )
      )
      yield* Turns.until("it is done", () => done)
      assert.isTrue(done)
    })
  )

  it.effect("until fails after so many turns, and asks once more at the end", () =>
    Effect.gen(function* () {
      let asked = 0
      const error = yield* Effect.flip(
        Turns.until(
          "the moon is full",
          () => {
            asked++
            return false
          },
          { turns: 3 }
        )
      )
      assert.strictEqual(error.message, "It did not come true within 3 turns that the moon is full")
      assert.strictEqual(asked, 4)
      yield* Turns.until("it is so at once", () => true, { turns: 0 })
    })
  )

  it.effect("until asks an effect, and lets time pass where it is told to", () =>
    Effect.gen(function* () {
      let woken = false
      yield* Effect.forkChild(
        Effect.andThen(
          Effect.sleep("1 second"),
          Effect.sync(() => {
            woken = true
          })
        ),
        { startImmediately: true }
      )
      yield* Effect.flip(Turns.until("it wakes", () => woken))
      yield* Turns.until(
        "it wakes",
        Effect.sync(() => woken),
        { turn: TestClock.adjust("100 millis"), turns: 20 }
      )
      assert.strictEqual(yield* Turns.until("x", Effect.fail("broken")).pipe(Effect.flip), "broken")
    })
  )
})
