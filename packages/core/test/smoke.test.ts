import { Environment, Feature, Sandbox } from "@effect-sandbox/core"
import { TestEnvironment } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Context, Effect, FileSystem } from "effect"

class Greeter extends Context.Service<Greeter, { readonly greet: Effect.Effect<string> }>()("test/Greeter") {
  static readonly feature = Feature.make(Greeter, {
    images: ["base"],
    setup: Effect.gen(function* () {
      const sandbox = yield* Sandbox
      return { session: Effect.succeed(Greeter.of({ greet: Effect.succeed(`hello from ${sandbox.id}`) })) }
    })
  })
}

class Lab extends Environment.Service<Lab>()("test/Lab", {
  images: ["base"],
  features: [Greeter.feature],
  pool: { min: 1, max: 2 }
}) {}

it.effect("runs", () =>
  Effect.gen(function* () {
    const text = yield* Lab.withSession(
      { image: "base" },
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const greeter = yield* Greeter
        const sandbox = yield* Sandbox
        yield* fs.writeFileString("x", "contents of x")
        const result = yield* sandbox.exec("echo", ["a"])
        return [yield* fs.readFileString("x"), yield* greeter.greet, result.stdout]
      })
    )
    assert.deepStrictEqual(text, ["contents of x", "hello from test/Lab/base:0:0", "a\n"])
    const stats = yield* Lab.stats
    assert.deepStrictEqual(stats.ledger, { created: 1, destroyed: 0, live: 1, leaked: 0 })
  }).pipe(Effect.provide(Lab.layer), TestEnvironment.run)
)
