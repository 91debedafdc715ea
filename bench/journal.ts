/**
 * What journals cost: events per second written and read, and how long one event keeps the program's thread.
 *
 * `node bench/journal.ts [events]`
 */
import {
  type EnvironmentId,
  EventHandler,
  type ImageId,
  type SandboxEvent,
  type SandboxId,
  type SessionId
} from "@effect-sandbox/core"
import { EventJournal, Journal, SqliteJournal } from "@effect-sandbox/devtools"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, FileSystem, type Layer, Stream } from "effect"
import { time } from "./measure.ts"

const count = Number(process.argv[2] ?? 300_000)

/** As many as are published before others have their turn. */
const burst = 1_000

const nth = (n: number): SandboxEvent.SandboxEvent => ({
  _tag: "SandboxActivity",
  environmentId: "app/Lab" as EnvironmentId,
  timestamp: 1_795_694_400_000 + n,
  sandboxId: `app/Lab/base:${n % 64}:0` as SandboxId,
  image: "base" as ImageId,
  sessionId: `session-${n % 1000}` as SessionId,
  durationMillis: n / 7,
  name: "exec node -v"
})

const publishAll = Effect.gen(function* () {
  const hub = yield* EventHandler.EventHub
  for (let n = 0; n < count; n += burst) {
    for (let i = n; i < n + burst; i++) hub.publish(nth(i))
    yield* Effect.sleep(0)
    while ((hub.handlers()[0]?.queued ?? 0) > 32_768) yield* Effect.sleep(1)
  }
  yield* hub.drain
})

const rate = (seconds: number): string => `${Math.round(count / seconds / 1000)}k/s`

const measure = <A, E, R>(name: string, file: string, journal: Layer.Layer<EventHandler.EventHub | A, E, R>) =>
  Effect.gen(function* () {
    const before = process.threadCpuUsage()
    const writing = yield* time(publishAll).pipe(Effect.provide(journal))
    const used = process.threadCpuUsage(before)
    const micros = (used.user + used.system) / count
    const reading = yield* time(Stream.runDrain(Journal.read(file)))
    const few = yield* time(Stream.runDrain(Journal.read(file, { filter: { sessions: ["session-7"] } })))
    yield* Console.log(
      [
        name.padEnd(24),
        `written ${rate(writing)}`.padEnd(16),
        `${micros.toFixed(1)} µs of the thread each`.padEnd(30),
        `read ${rate(reading)}`.padEnd(14),
        `one session of a thousand in ${Math.round(few * 1000)} ms`
      ].join(" ")
    )
  })

const run = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped()
  for (const sync of ["always", "1 second", "never"] as const) {
    const lines = `${directory}/${sync}.jsonl`
    yield* measure(`lines, ${sync}`, lines, EventJournal.layer({ file: lines, sync, maxBytes: 50_000_000 }))
    const database = `${directory}/${sync}.db`
    yield* measure(`SQLite, ${sync}`, database, SqliteJournal.layer({ file: database, sync }))
  }
})

run.pipe(Effect.scoped, Effect.provide(NodeServices.layer), NodeRuntime.runMain)
