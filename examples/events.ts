/** What happens, told by handlers: a logger of one's own, metrics, and a ledger at the end. */
import { Environment, EventHandler, EventMetrics, LocalDriver, Sandbox } from "@effect-sandbox/core"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Layer, Metric } from "effect"

class Lab extends Environment.Service<Lab>()("examples/Lab", { images: ["shell"], pool: { min: 2, max: 4 } }) {}

const Printer = EventHandler.layer({
  name: "printer",
  handle: (event) =>
    event._tag === "SessionEnded" || event._tag === "SandboxActivity"
      ? Console.log(`${event._tag} on ${event.sandboxId} after ${event.durationMillis} ms`)
      : Effect.void
})

const one = (n: number) =>
  Lab.withSession(
    {},
    Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("sh", ["-c", `exit ${n}`]))
  )

const program = Effect.gen(function* () {
  yield* Effect.forEach([0, 1, 2, 3], one, { concurrency: 4 })
  const { ledger } = yield* Lab.stats
  yield* Console.log(`created ${ledger.created}, destroyed ${ledger.destroyed}, live ${ledger.live}`)
  const metrics = yield* Metric.snapshot
  yield* Console.log(`${metrics.length} time series of metrics`)
})

program.pipe(
  Effect.provide(
    Lab.layer.pipe(
      Layer.provide(Layer.mergeAll(Printer, EventMetrics.layer)),
      Layer.provide(LocalDriver.layer()),
      Layer.provide(NodeServices.layer)
    )
  ),
  NodeRuntime.runMain
)
