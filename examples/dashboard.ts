/**
 * A dashboard to look at: an environment of simulated sandboxes under a steady load, with what goes wrong in real ones.
 *
 *     node examples/dashboard.ts --seconds 600            then open the address that it prints
 *     node examples/dashboard.ts --port 8080 --seconds 60
 *
 * Without options it ends after a few seconds.
 */
import { Environment, Sandbox } from "@effect-sandbox/core"
import { Dashboard } from "@effect-sandbox/devtools"
import { Latency, SimDriver } from "@effect-sandbox/testing"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Data, Effect, Layer, Random } from "effect"
import { Command, Flag } from "effect/cli"

class Lab extends Environment.Service<Lab>()("examples/Lab", {
  images: ["python:3", "node:24"],
  pool: { "python:3": { min: 8, max: 24 }, "node:24": { min: 2, max: 6 } },
  concurrency: 8
}) {}

class WrongAnswer extends Data.TaggedError("WrongAnswer")<{ readonly message: string }> {}

/** A session as a grader would have it: a few commands, and now and then a wrong answer. */
const session = Effect.gen(function* () {
  const image = (yield* Random.next) < 0.75 ? "python:3" : "node:24"
  yield* Lab.withSession(
    { image },
    Effect.gen(function* () {
      const sandbox = yield* Sandbox
      yield* sandbox.exec("echo", ["compile"])
      yield* sandbox.activity("test", Effect.sleep(300 + 2500 * (yield* Random.next) ** 3))
      if ((yield* Random.next) < 0.02) return yield* new WrongAnswer({ message: "expected 42, got 41" })
    })
  ).pipe(Effect.ignore)
  yield* Effect.sleep(50 + 400 * (yield* Random.next))
})

const driver = SimDriver.layer({
  latency: {
    create: Latency.longTailed({ median: "900 millis", p99: "2 seconds" }),
    reset: "40 millis",
    spawn: "15 millis"
  },
  faults: [{ at: ["spawn"], probability: 0.002, how: { _tag: "Kill" } }]
})

const command = Command.make(
  "dashboard",
  {
    port: Flag.Int("port").pipe(Flag.withDescription("Where it listens (default: any free port)"), Flag.withDefault(0)),
    seconds: Flag.Int("seconds").pipe(Flag.withDescription("How long the load lasts"), Flag.withDefault(4)),
    actions: Flag.Boolean("actions").pipe(
      Flag.withDescription("Allow to drain, to recycle and to shut down"),
      Flag.withDefault(false)
    )
  },
  ({ actions, port, seconds }) =>
    Effect.gen(function* () {
      const dashboard = yield* Dashboard
      yield* Console.log(`Open ${dashboard.url} within ${seconds} seconds.`)
      yield* Effect.forEach(Array.from({ length: 20 }), () => Effect.forever(session), {
        concurrency: "unbounded",
        discard: true
      }).pipe(Effect.timeoutOption(seconds * 1000))
      const { images } = yield* Lab.stats
      yield* Console.log(`${images.reduce((total, image) => total + image.sessionsServed, 0)} sessions were served.`)
    }).pipe(
      Effect.provide(Lab.layer.pipe(Layer.provideMerge(Dashboard.layer({ port, actions })), Layer.provide(driver)))
    )
).pipe(Command.withDescription("Shows the dashboard on simulated sandboxes"))

NodeRuntime.runMain(command.pipe(Command.run({ version: "0.1.0" }), Effect.provide(NodeServices.layer)))
