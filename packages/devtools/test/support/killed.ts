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

/** In bursts that a thread is worth, which then makes and writes lines: how many events, and every how many milliseconds. */
const [size, pause] = kind === "EventJournal in bursts" ? [700, 50] : [7, 1]

const record = Effect.fn("record")(function* (journal: JournalWriter.JournalWriter) {
  const hub = yield* EventHandler.EventHub
  const lab = yield* Environment.make({ id: "lab", images: ["base"], pool: 4 })
  yield* journal.acknowledged.pipe(
    Stream.runForEach((count) => Effect.sync(() => process.stdout.write(`${count}\n`))),
    Effect.forkScoped
  )
  let next = Number(first)
  const numbered = Effect.sync(() => {
    for (const n of range(next, next + size)) hub.publish(nth(n))
    next += size
  })
  return yield* Effect.forever(
    Effect.all([lab.withSession({}, numbered), lab.withSession({}, numbered), Effect.sleep(pause)], {
      concurrency: "unbounded"
    })
  )
})

const lines = (options: Partial<EventJournal.Options>) =>
  Effect.flatMap(EventJournal.EventJournal, record).pipe(Effect.provide(EventJournal.layer({ file, ...options })))
const database = Effect.flatMap(SqliteJournal.SqliteJournal, record).pipe(
  Effect.provide(SqliteJournal.layer({ file, sync: "always" }))
)

const program =
  kind === "SqliteJournal"
    ? database
    : kind === "EventJournal in bursts"
      ? lines({ sync: "never", maxBytes: 500_000 })
      : lines({ sync: "always", maxBytes: 30_000 })

program.pipe(Effect.scoped, Effect.provide(SimDriver.layer()), Effect.provide(NodeServices.layer), NodeRuntime.runMain)
