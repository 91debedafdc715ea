/**
 * A process that records an environment until it is killed: `node killed.ts <kind> <file> <first number>`.
 *
 * It prints how many events are acknowledged whenever there are more. Besides those of the environment it publishes
 * numbered events, without gaps, which tell whether any are missing, doubled or out of order.
 */
import { Environment, EventHandler } from "@effect-sandbox/core"
import { EventJournal, type JournalWriter, SqliteJournal } from "@effect-sandbox/devtools"
import { SimDriver } from "@effect-sandbox/testing"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Effect, Stream } from "effect"
import { nth, range } from "./journals.ts"

const [, , kind, file = "", first] = process.argv

const record = Effect.fn("record")(function* (journal: JournalWriter.JournalWriter) {
  const hub = yield* EventHandler.EventHub
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
  return yield* Effect.forever(
    Effect.all([lab.withSession({}, numbered), lab.withSession({}, numbered), Effect.sleep("1 millis")], {
      concurrency: "unbounded"
    })
  )
})

const lines = Effect.flatMap(EventJournal.EventJournal, record).pipe(
  Effect.provide(EventJournal.layer({ file, sync: "always", maxBytes: 30_000 }))
)
const database = Effect.flatMap(SqliteJournal.SqliteJournal, record).pipe(
  Effect.provide(SqliteJournal.layer({ file, sync: "always" }))
)

const program = kind === "SqliteJournal" ? database : lines

program.pipe(Effect.scoped, Effect.provide(SimDriver.layer()), Effect.provide(NodeServices.layer), NodeRuntime.runMain)
