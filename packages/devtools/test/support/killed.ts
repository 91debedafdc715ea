/**
 * A process that records an environment until it is killed: `node killed.ts <kind> <file> <first number>`.
 *
 * It prints how many events are acknowledged whenever there are more. Besides those of the environment it publishes
 * numbered events, without gaps, which tell whether any are missing, doubled or out of order.
 */
import { Environment, EventHandler } from "@effect-sandbox/core"
import { EventJournal, SqliteJournal } from "@effect-sandbox/devtools"
import { SimDriver } from "@effect-sandbox/testing"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Effect, Layer, Stream } from "effect"
import { nth, range } from "./journals.ts"

const [, , kind, file = "", first] = process.argv

const run = Effect.gen(function* () {
  const hub = yield* EventHandler.EventHub
  const journal = kind === "SqliteJournal" ? yield* SqliteJournal.SqliteJournal : yield* EventJournal.EventJournal
  const lab = yield* Environment.make({ id: "lab", images: ["base"], pool: 4 })
  yield* journal.acknowledged.pipe(
    Stream.runForEach((count) => Effect.sync(() => process.stdout.write(`${count}\n`))),
    Effect.forkScoped
  )
  let next = Number(first)
  const numbered = Effect.sync(() => {
    for (const n of range(next, next + 7)) hub.publish(nth(n))
    next += 7
  })
  yield* Effect.forever(
    Effect.all([lab.withSession({}, numbered), lab.withSession({}, numbered), Effect.sleep("1 millis")], {
      concurrency: "unbounded"
    })
  )
})

const journal = Layer.merge(
  kind === "SqliteJournal" ? SqliteJournal.layer({ file, sync: "always" }) : Layer.empty,
  kind === "EventJournal" ? EventJournal.layer({ file, sync: "always", maxBytes: 30_000 }) : Layer.empty
) as Layer.Layer<EventHandler.EventHub | EventJournal.EventJournal | SqliteJournal.SqliteJournal> // one of the two is there

run.pipe(
  Effect.scoped,
  Effect.provide(SimDriver.layer()),
  Effect.provide(journal),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
