/** Nothing that was acknowledged is lost when the process is killed, at whatever moment, again and again. */
import { EventJournal, Journal, SqliteJournal } from "@effect-sandbox/devtools"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Random, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { fileURLToPath } from "node:url"
import { assertSame, nth, numberOf, open, range, temporary } from "./support/journals.ts"

/** How often each journal's process is killed. */
const kills = Number(process.env["JOURNAL_KILLS"] ?? 8)

const program = fileURLToPath(new URL("./support/killed.ts", import.meta.url))

/** Lets a process record until it is killed, some time after its first acknowledgement; what it acknowledged last. */
const killed = (kind: string, file: string, first: number, afterMillis: number) =>
  Effect.gen(function* () {
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const handle = yield* spawner.spawn(
      ChildProcess.make(process.execPath, [program, kind, file, String(first)], { stderr: "inherit" })
    )
    let acknowledged = 0
    const reading = yield* handle.stdout.pipe(
      Stream.decodeText(),
      Stream.splitLines,
      Stream.runForEach((line) => Effect.sync(() => (acknowledged = Number(line)))),
      Effect.forkScoped
    )
    const hasBegun = Effect.sleep("1 millis").pipe(Effect.repeat({ until: () => acknowledged > 0 }))
    const ended = Effect.flatMap(handle.exitCode, (code) => Effect.die(`it ended by itself, with ${code}`))
    yield* Effect.raceFirst(hasBegun, ended)
    yield* Effect.sleep(afterMillis)
    yield* handle.kill({ killSignal: "SIGKILL" }).pipe(Effect.ignore)
    yield* Fiber.join(reading) // what it had still said
    return acknowledged
  }).pipe(Effect.scoped)

describe.each(["EventJournal", "EventJournal in bursts", "SqliteJournal"] as const)("%s", (kind) => {
  it.live(`loses nothing acknowledged in ${kills} kills`, () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* temporary
      const file = `${directory}/journal`
      // Somebody looks on all the time.
      const follower = yield* Journal.read(file, { follow: true, pollInterval: "5 millis" }).pipe(
        Stream.filter((event) => event._tag === "SandboxActivity"),
        Stream.takeUntil((event) => event.name === "the last"),
        Stream.map(numberOf),
        Stream.runCollect,
        Effect.forkChild
      )
      let before = 0
      let next = 0
      for (let round = 0; round < kills; round++) {
        const acknowledged = yield* killed(kind, file, next, yield* Random.nextIntBetween(0, 150))
        const all = yield* Stream.runCollect(Journal.read(file))
        const numbers = all
          .filter((event) => event.environmentId === "lab" && event._tag === "SandboxActivity")
          .map(numberOf)
        assert.isAtLeast(all.length, before + acknowledged, `round ${round}: every acknowledged event is there`)
        assertSame(numbers, range(0, numbers.length), `round ${round}: in order, none twice, none missing`)
        const starts = all.filter((event) => event._tag === "EnvironmentStarting").length
        assert.strictEqual(starts, round + 1)
        before = all.length
        next = numbers.length
      }
      assert.isAbove(next, kills)
      // A writer that lives goes on after all that.
      const writer =
        kind !== "SqliteJournal"
          ? open(EventJournal.EventJournal, EventJournal.layer({ file }))
          : open(SqliteJournal.SqliteJournal, SqliteJournal.layer({ file }))
      const { close, publish } = yield* writer
      const last = { ...nth(next), name: "the last" }
      yield* publish([last])
      yield* close
      assert.deepStrictEqual((yield* Stream.runCollect(Journal.read(file))).at(-1), last)
      assertSame(yield* Fiber.join(follower), range(0, next + 1))
      if (kind === "EventJournal") assert.isAbove((yield* fs.readDirectory(directory)).length, kills / 2)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})
