/** One session, one command: the smallest program. */
import { Environment, LocalDriver, Sandbox } from "@effect-sandbox/core"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"

class Lab extends Environment.Service<Lab>()("examples/Lab", { images: ["shell"] }) {}

const program = Lab.withSession(
  {},
  Effect.gen(function* () {
    const sandbox = yield* Sandbox
    const { outcome, stdout } = yield* sandbox.exec("sh", ["-c", "echo hello from $(pwd | tail -c 10)"])
    yield* Console.log(`${sandbox.id} (isolation: ${sandbox.isolation.level}): ${outcome._tag}, ${stdout.trim()}`)
  })
)

program.pipe(
  Effect.provide(Lab.layer.pipe(Layer.provide(LocalDriver.layer()), Layer.provide(NodeServices.layer))),
  NodeRuntime.runMain
)
