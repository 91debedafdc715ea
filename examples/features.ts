/** A feature: a calculator whose process is started once per sandbox and used by every session. */
import { Environment, Feature, LocalDriver, Sandbox } from "@effect-sandbox/core"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Context, Effect, FileSystem, Layer, Path, Schema } from "effect"

class NotANumber extends Schema.TaggedError<NotANumber>()("NotANumber", { expression: Schema.String }) {
  override get message() {
    return `${this.expression} is no number`
  }
}

class Calculator extends Context.Service<
  Calculator,
  { readonly evaluate: (expression: string) => Effect.Effect<number, NotANumber> }
>()("examples/Calculator") {
  static readonly feature = Feature.make(Calculator, {
    images: ["shell"],
    housekeepInterval: "10 seconds",
    // Once per sandbox: a script that all sessions can read and none can change.
    setup: Effect.gen(function* () {
      const { home } = yield* Sandbox
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const script = path.join(home, "evaluate.sh")
      yield* Effect.acquireRelease(Console.log("calculator: set up"), () => Console.log("calculator: torn down"))
      yield* fs.makeDirectory(home, { recursive: true })
      yield* fs.writeFileString(script, "echo $(($1))\n")
      return {
        // Once per session.
        session: Effect.gen(function* () {
          const sandbox = yield* Sandbox
          return Calculator.of({
            evaluate: (expression) =>
              sandbox.exec("sh", [script, expression]).pipe(
                Effect.orDie,
                Effect.map((result) => Number(result.stdout.trim() || "nothing")),
                Effect.filterOrFail(Number.isFinite, () => new NotANumber({ expression }))
              )
          })
        }),
        housekeep: fs.access(script)
      }
    })
  })
}

class Lab extends Environment.Service<Lab>()("examples/Lab", {
  images: ["shell"],
  features: [Calculator.feature],
  pool: 1
}) {}

const calculate = (expression: string) =>
  Lab.withFeature(Calculator, (calculator) => calculator.evaluate(expression)).pipe(
    Effect.flatMap((value) => Console.log(`${expression} = ${value}`)),
    Effect.catchTag("NotANumber", (error) => Console.log(error.message))
  )

const program = Effect.andThen(calculate("6 * 7"), calculate("six times seven"))

program.pipe(
  Effect.provide(Lab.layer.pipe(Layer.provide(LocalDriver.layer()), Layer.provide(NodeServices.layer))),
  NodeRuntime.runMain
)
