/** The command line tool as a real process. */
import { NodeServices } from "@effect/platform-node"
import { EventHandler, EventLogger, type SandboxEvent } from "@effect-sandbox/core"
import { Analysis, Report, SqliteJournal } from "@effect-sandbox/devtools"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Path, Schema, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { TestClock } from "effect/testing"
import * as Sample from "./support/sampleRun.ts"

const bin = new URL("../src/bin.ts", import.meta.url).pathname

/** A journal of a run, and what is in it. */
const journal = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "cli-" })
  const file = path.join(directory, "lab.jsonl")
  const events = yield* Sample.run({ faults: true }).pipe(Effect.provide(TestClock.layer()))
  yield* fs.writeFileString(file, linesOf(events))
  return { file, events, directory }
})

const linesOf = (events: ReadonlyArray<SandboxEvent.SandboxEvent>): string =>
  events.map((event) => `${JSON.stringify(event)}\n`).join("")

const command = (args: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  ChildProcess.make(process.execPath, [bin, ...args], {
    stdin: "ignore",
    extendEnv: true,
    env: { NO_COLOR: "", FORCE_COLOR: "", ...env }
  })

/** Runs it to its end. */
const run = Effect.fnUntraced(function* (args: ReadonlyArray<string>, env?: Record<string, string>) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const handle = yield* spawner.spawn(command(args, env))
  const [stdout, stderr, code] = yield* Effect.all(
    [
      Stream.mkString(Stream.decodeText(handle.stdout)),
      Stream.mkString(Stream.decodeText(handle.stderr)),
      handle.exitCode
    ],
    { concurrency: "unbounded" }
  )
  return { stdout, stderr, code: Number(code) }
}, Effect.scoped)

const tailLine = (event: SandboxEvent.SandboxEvent): string =>
  `${new Date(event.timestamp).toISOString()} ${EventLogger.format(event)}\n`

describe("report", () => {
  it.live("says what a run came to", () =>
    Effect.gen(function* () {
      const { events, file } = yield* journal
      const report = yield* Analysis.fromStream(Stream.fromIterable(events))
      const plain = yield* run(["report", file])
      assert.deepStrictEqual(plain, { stdout: `${Report.text(report, { width: 100 })}\n`, stderr: "", code: 0 })
      const narrow = yield* run(["report", file, "--width", "70", "--rows", "3"], { FORCE_COLOR: "1" })
      assert.strictEqual(narrow.stdout, `${Report.text(report, { width: 70, rows: 3, colors: true })}\n`)
      const forbidden = yield* run(["report", file], { FORCE_COLOR: "1", NO_COLOR: "1" })
      assert.strictEqual(forbidden.stdout, plain.stdout)
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.live("as JSON, of a part of the events", () =>
    Effect.gen(function* () {
      const { events, file } = yield* journal
      const read = (...args: ReadonlyArray<string>) =>
        Effect.flatMap(run(["report", file, "--json", ...args]), ({ stdout }) =>
          Schema.decodeEffect(Schema.fromJsonString(Analysis.Report))(stdout)
        )
      const of = (accept: (event: SandboxEvent.SandboxEvent) => boolean, options?: Analysis.Options) =>
        Analysis.fromStream(Stream.fromIterable(events.filter(accept)), options)
      assert.deepStrictEqual(yield* read(), yield* of(() => true))
      // The sizes of the pools were told when the environment started.
      const pools = [{ environmentId: "app/Lab", image: "python:3.12", min: 2, max: 6 }]
      const part = yield* read("--from", "20000", "--until", "1970-01-01T00:00:30Z")
      assert.deepStrictEqual(part, yield* of(({ timestamp }) => timestamp >= 20_000 && timestamp < 30_000, { pools }))
      assert.deepStrictEqual(part.images[0]?.pool, { min: 2, max: 6 })
      // What is about no image stays: it says that the environment has ended.
      const none = yield* read("--image", "another")
      assert.deepStrictEqual(none, yield* of((event) => !("image" in event)))
      assert.strictEqual(none.environments[0]?.status, "Offline")
      assert.strictEqual((yield* read("--environment", "another")).events.total, 0)
    }).pipe(Effect.provide(NodeServices.layer))
  )
})

it.live("reads databases as well", () =>
  Effect.gen(function* () {
    const { directory, events } = yield* journal
    const file = `${directory}/lab.db`
    yield* Effect.gen(function* () {
      const hub = yield* EventHandler.EventHub
      for (const event of events) hub.publish(event)
      yield* hub.drain
    }).pipe(Effect.provide(SqliteJournal.layer({ file })))
    const report = yield* Analysis.fromStream(Stream.fromIterable(events))
    assert.strictEqual((yield* run(["report", file])).stdout, `${Report.text(report, { width: 100 })}\n`)
    assert.strictEqual((yield* run(["tail", file])).stdout, events.map(tailLine).join(""))
  }).pipe(Effect.provide(NodeServices.layer))
)

describe("tail", () => {
  it.live("prints events as the logger does, those that were asked for", () =>
    Effect.gen(function* () {
      const { events, file } = yield* journal
      const all = yield* run(["tail", file])
      assert.deepStrictEqual(all, { stdout: events.map(tailLine).join(""), stderr: "", code: 0 })
      const ended = yield* run([
        "tail",
        file,
        "--kind",
        "SessionEnded",
        "--kind",
        "SessionStarted",
        "--session",
        "task-5"
      ])
      const expected = events.filter(
        (event) => (event._tag === "SessionEnded" || event._tag === "SessionStarted") && event.sessionId === "task-5"
      )
      assert.strictEqual(expected.length, 2)
      assert.strictEqual(ended.stdout, expected.map(tailLine).join(""))
      const broken = yield* run(["tail", file, "--outcome", "state_error", "--kind", "SessionEnded"])
      assert.strictEqual(broken.stdout.split("\n").length, 4)
      const sandbox = yield* run(["tail", file, "--sandbox", "app/Lab/python:3.12:0:0", "--image", "python:3.12"])
      const ofSandbox = events.filter((event) => "sandboxId" in event && event.sandboxId === "app/Lab/python:3.12:0:0")
      assert.strictEqual(sandbox.stdout, ofSandbox.map(tailLine).join(""))
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.live("follows what is written, until it is interrupted", () =>
    Effect.gen(function* () {
      const { events, file } = yield* journal
      const fs = yield* FileSystem.FileSystem
      const first = events.slice(0, 10)
      const rest = events.slice(10, 30)
      yield* fs.writeFileString(file, linesOf(first))
      const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
      const handle = yield* spawner.spawn(command(["tail", file, "--follow"]))
      const errors = yield* Effect.forkChild(Stream.mkString(Stream.decodeText(handle.stderr)), {
        startImmediately: true
      })
      const lines = yield* handle.stdout.pipe(
        Stream.decodeText(),
        Stream.splitLines,
        Stream.zipWithIndex,
        Stream.tap(([, index]) =>
          index === first.length - 1 ? fs.writeFileString(file, linesOf(rest), { flag: "a" }) : Effect.void
        ),
        Stream.map(([line]) => `${line}\n`),
        Stream.take(first.length + rest.length),
        Stream.runCollect
      )
      assert.deepStrictEqual(lines, [...first, ...rest].map(tailLine))
      process.kill(handle.pid, "SIGINT")
      assert.strictEqual(Number(yield* handle.exitCode), 130)
      assert.strictEqual(yield* Fiber.join(errors), "")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})

it.live("makes a page of what happened", () =>
  Effect.gen(function* () {
    const { directory, file } = yield* journal
    const fs = yield* FileSystem.FileSystem
    const page = `${directory}/lab.html`
    assert.deepStrictEqual(yield* run(["timeline", file, "--output", page]), {
      stdout: `${page}\n`,
      stderr: "",
      code: 0
    })
    const html = yield* fs.readFileString(page)
    assert.match(html, /^<!doctype html>/i)
    assert.include(html, "<title>lab.jsonl</title>")
    yield* run(["timeline", file, "--output", page, "--until", "0", "--title", "Nothing & nobody"])
    const empty = yield* fs.readFileString(page)
    assert.match(empty, /<title>Nothing &(#38|amp); nobody<\/title>/)
    assert.isBelow(empty.length, html.length)
    const nowhere = yield* run(["timeline", file, "--output", `${directory}/none/lab.html`])
    assert.strictEqual(nowhere.code, 1)
    assert.include(nowhere.stderr, "none/lab.html")
  }).pipe(Effect.provide(NodeServices.layer))
)

it.live("stops quietly when nobody reads on", () =>
  Effect.gen(function* () {
    const { directory, events, file } = yield* journal
    const fs = yield* FileSystem.FileSystem
    // Much more than a pipe holds.
    const many = linesOf(events).repeat(20)
    yield* fs.writeFileString(file, many)
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    for (const args of ["tail", "report --json"]) {
      const script = `{ '${process.execPath}' '${bin}' ${args} '${file}' 2>'${directory}/stderr'; echo $? >'${directory}/code'; } | head -c 100`
      const output = yield* spawner.string(
        ChildProcess.make("sh", ["-c", script], { stdin: "ignore", extendEnv: true })
      )
      assert.strictEqual(output.length, 100)
      assert.strictEqual(yield* fs.readFileString(`${directory}/stderr`), "")
      assert.strictEqual(yield* fs.readFileString(`${directory}/code`), "0\n")
    }
  }).pipe(Effect.provide(NodeServices.layer))
)

describe("what is wrong is said on standard error, with exit code 1", () => {
  const fails = (args: ReadonlyArray<string>, message: RegExp) =>
    Effect.map(run(args), ({ code, stderr, stdout }) => {
      assert.strictEqual(code, 1)
      assert.match(stderr, message)
      assert.notMatch(stderr, /\n\s+at .*:\d+:\d+/) // no stack
      return stdout
    })

  it.live("no such file, and one that is no journal", () =>
    Effect.gen(function* () {
      const { directory } = yield* journal
      assert.strictEqual(
        yield* fails(["report", `${directory}/none.jsonl`], /There is no journal at .*none\.jsonl/),
        ""
      )
      assert.strictEqual(yield* fails(["report", bin], /bin\.ts/), "")
      assert.strictEqual(yield* fails(["tail", bin], /bin\.ts/), "")
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.live("a command line that cannot be understood", () =>
    Effect.gen(function* () {
      yield* fails(["report"], /journal/)
      yield* fails(["tail", "lab.jsonl", "--kind", "SessionEndet"], /SessionEndet/)
      yield* fails(["tail", "lab.jsonl", "--from", "yesterday"], /expected milliseconds.*yesterday/)
      yield* fails(["report", "lab.jsonl", "--width", "5"], /at least 60/)
      yield* fails(["reprot", "lab.jsonl"], /reprot/)
    }).pipe(Effect.provide(NodeServices.layer))
  )
})

it.live("explains itself", () =>
  Effect.gen(function* () {
    const help = yield* run(["--help"])
    assert.strictEqual(help.code, 0)
    assert.match(help.stdout, /report .*\n.*tail /)
    const version = yield* run(["--version"])
    assert.match(version.stdout, /^effect-sandbox v\d+\.\d+\.\d+\n$/)
  }).pipe(Effect.provide(NodeServices.layer))
)
