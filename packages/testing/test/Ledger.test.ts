import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import * as Ledger from "../src/Ledger.ts"

describe("Ledger", () => {
  it.effect("I1 set-ups that come down once and in reverse order are balanced", () =>
    Effect.gen(function* () {
      const ledger = Ledger.make()
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* ledger.resource("a", "shell")
          yield* ledger.resource("b", "shell")
          yield* ledger.resource("a", "history", { turns: 2 })
          assert.deepStrictEqual(ledger.left(), ["shell of a", "history of a", "shell of b"])
          assert.deepStrictEqual(
            [...ledger.open()],
            [
              ["a", ["shell", "history"]],
              ["b", ["shell"]]
            ]
          )
        })
      )
      yield* ledger.assertBalanced
      assert.deepStrictEqual(ledger.lines(), [
        "+shell a",
        "+shell b",
        "+history a",
        "-history a",
        "-shell b",
        "-shell a"
      ])
      assert.deepStrictEqual(ledger.left(), [])
    })
  )

  it.effect("I1 tells what came down out of order, twice or without a set-up, and what is still up", () =>
    Effect.gen(function* () {
      const ledger = Ledger.make()
      ledger.enter("a", "shell")
      ledger.enter("a", "history")
      ledger.enter("a", "prompt")
      ledger.leave("a", "shell")
      ledger.enter("a", "prompt")
      ledger.leave("a", "prompt")
      ledger.leave("a", "prompt")
      ledger.leave("a", "prompt")
      ledger.leave("b", "shell")
      const error = yield* Effect.flip(ledger.assertBalanced)
      assert.strictEqual(
        error.message,
        `Set-ups and teardowns do not match (I1):
  shell of a was taken down before history, prompt
  prompt of a was set up while it was up
  prompt of a was taken down while it was not up
  shell of b was taken down while it was not up
  history of a is still up`
      )
      assert.strictEqual(error._tag, "LedgerError")
      assert.deepStrictEqual(error.left, ["history of a"])
    })
  )

  it.effect("a resource with turns is taken down when it is interrupted within its set-up", () =>
    Effect.gen(function* () {
      const ledger = Ledger.make()
      const scope = yield* Scope.make()
      const fiber = yield* ledger
        .resource("a", "shell", { turns: 3 })
        .pipe(Scope.provide(scope), Effect.forkChild({ startImmediately: true }))
      assert.deepStrictEqual(ledger.left(), ["shell of a"])
      yield* Fiber.interrupt(fiber)
      yield* Scope.close(scope, Exit.void)
      yield* ledger.assertBalanced
      assert.deepStrictEqual(ledger.lines(), ["+shell a", "-shell a"])
    })
  )
})
