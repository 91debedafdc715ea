import {
  Environment,
  EnvironmentId,
  type EventHandler,
  ImageId,
  Sandbox,
  SandboxEvent,
  SandboxId,
  SessionId
} from "@effect-sandbox/core"
import { EventHub } from "@effect-sandbox/core/EventHandler"
import * as EventLogger from "@effect-sandbox/core/EventLogger"
import { SimDriver } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Duration, Effect, Layer, Logger } from "effect"
import { TerminalCapabilities } from "effect/cli"
import { TestClock } from "effect/testing"

class Lab extends Environment.Service<Lab>()("env", { images: ["image"], pool: 1 }) {}

/** The lines that a logger writes about a program. */
const linesOf = Effect.fnUntraced(function* (
  options: EventLogger.Options,
  program: Effect.Effect<unknown, unknown, Lab>
) {
  const lines: Array<string> = []
  const logger = EventLogger.layer({ write: (line) => Effect.sync(() => lines.push(line)), colors: false, ...options })
  yield* program.pipe(
    Effect.exit,
    Effect.provide(Lab.layer.pipe(Layer.provide(logger), Layer.provide(SimDriver.layer())))
  )
  return lines
})

const exec = Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("true"))
const session = Lab.withSession({ id: "s1" }, exec)
const failing = Lab.withSession({ id: "s2" }, Effect.fail(new Error("line 1\nline 2")))

it.effect("V2 writes one line per event, from the first to the last", () =>
  Effect.gen(function* () {
    const lines = yield* linesOf({}, session)
    assert.strictEqual(lines[0], "env starting")
    assert.strictEqual(lines.at(-1), "env shut down (lived 0 ms, took 0 ms)")
    assert.include(lines, "env/image:0:0 Ready -> Acquired (after 0 ms)")
    assert.include(lines, "session s1 started (in env/image:0:0, waited 0 ms, took 0 ms)")
    assert.include(lines, "env/image:0:0 exec true (session s1, took 0 ms)")
    assert.strictEqual(
      lines.find((line) => line.includes("\n")),
      undefined
    )
  })
)

it.effect("tells errors with their message on one line", () =>
  Effect.gen(function* () {
    const lines = yield* linesOf({ errorsOnly: true }, Effect.andThen(session, failing))
    assert.deepStrictEqual(lines, ["session s2 ended: Error: line 1 line 2 (in env/image:0:0, lived 0 ms, took 0 ms)"])
  })
)

it.effect("kinds keeps events of some kinds", () =>
  Effect.gen(function* () {
    const lines = yield* linesOf({ kinds: ["EnvironmentStarted", "SessionEnded"] }, session)
    assert.deepStrictEqual(lines, [
      "env started (took 0 ms)",
      "session s1 ended (in env/image:0:0, lived 0 ms, took 0 ms)"
    ])
  })
)

it.effect("pattern keeps lines that it matches, whatever their colours", () =>
  Effect.gen(function* () {
    const pattern = "^env/image:0:\\d+ .*-> (Ready|Offline)"
    const expected = [
      "env/image:0:0 SettingUp -> Ready (after 0 ms)",
      "env/image:0:0 SettingUp -> Ready (after 0 ms)",
      "env/image:0:0 ShuttingDown -> Offline (after 0 ms)"
    ]
    const program = Effect.andThen(session, TestClock.adjust(0))
    assert.deepStrictEqual(yield* linesOf({ pattern }, program), expected)
    const colored = yield* linesOf({ pattern, colors: true }, program)
    assert.deepStrictEqual(colored.map(withoutColors), expected)
    assert.notDeepEqual(colored, expected)
  })
)

// oxlint-disable-next-line no-control-regex
const withoutColors = (line: string): string => line.replaceAll(/\u001b\[\d+m/g, "")

it.effect("filters add up", () =>
  Effect.gen(function* () {
    const options = { errorsOnly: true, kinds: ["SessionEnded"], pattern: "s1" } as const
    assert.deepStrictEqual(yield* linesOf(options, Effect.andThen(session, failing)), [])
  })
)

it.effect("colours follow the terminal unless they are told", () =>
  Effect.gen(function* () {
    const terminal = (canColor: boolean) =>
      Effect.provideService(TerminalCapabilities.TerminalCapabilities, {
        canColor,
        canAnimate: false,
        canPrompt: false
      })
    const first = Effect.fnUntraced(function* (colors: boolean | "auto" | undefined, canColor: boolean) {
      const lines = yield* linesOf({ kinds: ["EnvironmentStarting"], colors }, Effect.void).pipe(terminal(canColor))
      return lines[0]
    })
    const colored = "\u001b[36menv\u001b[0m starting"
    assert.strictEqual(yield* first(undefined, true), colored)
    assert.strictEqual(yield* first("auto", true), colored)
    assert.strictEqual(yield* first("auto", false), "env starting")
    assert.strictEqual(yield* first(false, true), "env starting")
    assert.strictEqual(yield* first(true, false), colored)
  })
)

it.effect("logs at Info, and events with errors at Warn, unless it is given a `write`", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const logger = Logger.layer([Logger.make(({ logLevel, message }) => log.push(`${logLevel} ${String(message)}`))])
    yield* Effect.exit(Effect.andThen(session, failing)).pipe(
      Effect.provide(
        Lab.layer.pipe(
          Layer.provide(EventLogger.layer({ colors: false, kinds: ["SessionEnded"] })),
          Layer.provide(SimDriver.layer())
        )
      ),
      Effect.provide(logger)
    )
    assert.deepStrictEqual(log, [
      "Info session s1 ended (in env/image:0:0, lived 0 ms, took 0 ms)",
      "Warn session s2 ended: Error: line 1 line 2 (in env/image:0:0, lived 0 ms, took 0 ms)"
    ])
  })
)

it.effect("statsInterval writes counts now and then, whatever the filters", () =>
  Effect.gen(function* () {
    const lines = yield* linesOf(
      { statsInterval: "1 minute", kinds: [] },
      Effect.gen(function* () {
        yield* session
        yield* Effect.exit(failing)
        yield* Lab.withSession({}, TestClock.adjust("1 minute"))
        yield* TestClock.adjust("1 minute")
        yield* Lab.shutdown
        yield* TestClock.adjust("1 minute")
      })
    )
    assert.deepStrictEqual(lines, [
      "sandboxes 1, sessions 1 (2 ended), errors 1",
      "sandboxes 1, sessions 0 (3 ended), errors 1",
      "sandboxes 0, sessions 0 (3 ended), errors 1"
    ])
  })
)

it.effect("L24 a `write` that dies harms nobody and does not end the counts", () =>
  Effect.gen(function* () {
    let asked = 0
    const write = () =>
      Effect.suspend(() => {
        asked++
        return Effect.die("oops")
      })
    let stats: EventHandler.HandlerStats | undefined
    yield* linesOf(
      { write, kinds: ["SessionStarted"], statsInterval: "1 minute" },
      Effect.gen(function* () {
        yield* session
        yield* TestClock.adjust("2 minutes")
        stats = (yield* Lab.stats).handlers[0]
      })
    ).pipe(Effect.provide(Logger.layer([])))
    assert.strictEqual(asked, 3)
    assert.deepInclude(stats, { name: "EventLogger", failed: 1 })
  })
)

it.effect("X1 options that cannot work fail the construction, all of them with their paths", () =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(Layer.build(EventLogger.layer({ pattern: "(", statsInterval: Duration.zero })))
    assert.strictEqual(error._tag, "InvalidConfigurationError")
    assert.deepStrictEqual(error.issues, [
      { path: "pattern", message: 'expected a regular expression, got "("' },
      { path: "statsInterval", message: "expected a duration longer than zero" }
    ])
  })
)

it.effect("every kind of event has a line of its own", () =>
  Effect.gen(function* () {
    const sandbox = {
      environmentId: EnvironmentId.make("env"),
      timestamp: 0,
      sandboxId: SandboxId.make("env/image:0:0"),
      image: ImageId.make("image")
    }
    const { cases } = SandboxEvent.SandboxEvent
    const error = { tag: "Oops", message: "it \u001b[31mbroke", isStateError: true }
    const show = (event: SandboxEvent.SandboxEvent): string => EventLogger.format(event)
    assert.strictEqual(
      show(cases.SandboxShutDown.make({ ...sandbox, durationMillis: 1500, lifetimeMillis: 3_600_000, reason: "idle" })),
      "env/image:0:0 shut down (idle, lived 60.0 min, took 1.5 s)"
    )
    assert.strictEqual(
      show(cases.SandboxStarted.make({ ...sandbox, durationMillis: 12.4, error })),
      "env/image:0:0 failed to start: Oops: it  [31mbroke (took 12 ms)"
    )
    assert.strictEqual(
      show(cases.ImageOutageEnded.make({ ...sandbox, durationMillis: 60_000, attempts: 4 })),
      "env/image outage ended (4 attempts, took 60.0 s)"
    )
    const started = cases.SessionStarted.make({
      ...sandbox,
      sessionId: SessionId.make("s1"),
      waitedMillis: 1,
      durationMillis: 2,
      error
    })
    assert.strictEqual(EventLogger.title(started), "session s1 failed to start: Oops")
    assert.strictEqual(
      EventLogger.format(started, { colors: true }),
      "\u001b[36msession s1\u001b[0m \u001b[31mfailed to start: Oops: it  [31mbroke\u001b[0m \u001b[2m(in env/image:0:0, waited 1 ms, took 2 ms)\u001b[0m"
    )
    const hub = yield* EventHub
    assert.isFalse(hub.isObserved())
  }).pipe(Effect.provide(EventHub.layer))
)
