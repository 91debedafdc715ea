/** An environment in which everything happens that metrics tell about. */
import {
  Environment,
  EnvironmentId,
  EventMetrics,
  Feature,
  Sandbox,
  SandboxEvent,
  SandboxId
} from "@effect-sandbox/core"
import { EventHub } from "@effect-sandbox/core/EventHandler"
import { EnvironmentGauges } from "@effect-sandbox/devtools"
import { Faults, SimDriver } from "@effect-sandbox/testing"
import { Clock, Context, Effect, Layer } from "effect"

class Greeter extends Context.Service<Greeter, { readonly greet: Effect.Effect<string> }>()("test/Greeter") {
  static readonly feature = Feature.make(Greeter, {
    setup: Effect.succeed({
      session: Effect.acquireRelease(Effect.succeed({ greet: Effect.succeed("hi") }), () => Effect.void)
    })
  })
}

export class Lab extends Environment.Service<Lab>()("lab", {
  images: ["base", "other"],
  pool: { min: 1, max: 2 },
  features: [Greeter.feature],
  acquireTimeout: "200 millis",
  keepaliveInterval: "100 millis"
}) {}

export const LabLive = Lab.layer.pipe(
  Layer.provideMerge(Layer.mergeAll(EventMetrics.layer, EnvironmentGauges.layer)),
  Layer.provideMerge(SimDriver.layer({ latency: { create: 20, spawn: 2 } }))
)

const work = Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("echo", ["hello"]))

/** One of everything: sessions that end well, badly, by the sandbox's death; callers that are turned away. */
export const round = Effect.gen(function* () {
  const driver = yield* SimDriver
  yield* Lab.withSession({ image: "base" }, work)
  yield* Lab.withSession({ image: "other" }, work)
  yield* Effect.exit(Lab.withSession({ image: "base" }, Effect.fail("the user's")))
  yield* Effect.exit(
    Lab.withSession(
      { image: "base" },
      Effect.flatMap(Sandbox, (sandbox) => sandbox.activity("break", Effect.fail("broken")))
    )
  )
  yield* Effect.exit(
    Lab.withSession(
      { image: "base" },
      Effect.flatMap(Sandbox, (sandbox) => Effect.andThen(driver.kill(sandbox.id), Effect.never))
    )
  )
  const hold = Lab.withSession({ image: "other" }, Effect.sleep("300 millis"))
  yield* Effect.forEach([1, 2, 3], () => Effect.exit(hold), { concurrency: 3, discard: true })
})

/** An outage that begins and ends. */
export const outage = Effect.gen(function* () {
  const faults = yield* Faults
  const driver = yield* SimDriver
  yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
  yield* Effect.exit(
    Lab.withSession(
      { image: "base" },
      Effect.flatMap(Sandbox, (sandbox) => Effect.andThen(driver.kill(sandbox.id), Effect.never))
    )
  )
  yield* Effect.sleep("300 millis")
  yield* faults.clear
  const isOver = Effect.map(Lab.stats, ({ images }) => images.every((image) => image.outage === undefined))
  yield* Effect.repeat(Effect.delay(isOver, "50 millis"), { until: (over) => over })
})

/** Somebody asks for something in a dashboard. */
export const action = Effect.gen(function* () {
  const hub = yield* EventHub
  hub.publish(
    SandboxEvent.SandboxEvent.cases.ActionRequested.make({
      environmentId: EnvironmentId.make("lab"),
      timestamp: yield* Clock.currentTimeMillis,
      action: "recycle",
      sandboxId: SandboxId.make("lab/base:0:0"),
      requestedBy: "somebody"
    })
  )
})

/** Waits until the events so far are counted. */
export const counted = Effect.flatMap(EventHub, (hub) => hub.drain)
