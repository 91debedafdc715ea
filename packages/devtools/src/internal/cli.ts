/** The commands of `effect-sandbox`, which read journals. */
import * as EventLogger from "@effect-sandbox/core/EventLogger"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import * as Analysis from "../Analysis.ts"
import * as EventFilter from "../EventFilter.ts"
import * as Journal from "../Journal.ts"
import * as Report from "../Report.ts"
import * as Timeline from "../Timeline.ts"
import { painter } from "./terminal.ts"

const journal = Argument.String("journal").pipe(
  Argument.withDescription("The journal: what EventJournal or SqliteJournal has written")
)

const many = (name: string, description: string) =>
  Flag.String(name).pipe(Flag.withDescription(`${description}; may be given several times`), Flag.atLeast(0))

const time = (name: string, description: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("time"),
    Flag.withDescription(`${description}: a date such as 2026-11-26T12:00:00Z, or milliseconds since 1970`),
    Flag.optional
  )

const range = {
  from: time("from", "Only events from then on"),
  until: time("until", "Only events before then"),
  environment: many("environment", "Only events of this environment"),
  image: many("image", "Only events about this image")
}

const selection = {
  ...range,
  sandbox: many("sandbox", "Only events about this sandbox"),
  session: many("session", "Only events of this session"),
  kind: Flag.Literals("kind", EventFilter.Kind.literals).pipe(
    Flag.withMetavar("kind"),
    Flag.withDescription("Only this kind of event, such as SessionEnded; may be given several times"),
    Flag.atLeast(0)
  ),
  outcome: Flag.Literals("outcome", EventFilter.Outcome.literals).pipe(
    Flag.withDescription("Only what ended so; may be given several times"),
    Flag.atLeast(0)
  )
}

/** What was asked for on the command line, as a filter. */
const filterOf = (given: {
  readonly from: Option.Option<string>
  readonly until: Option.Option<string>
  readonly [list: string]: ReadonlyArray<string> | Option.Option<string>
}): Effect.Effect<EventFilter.EventFilter, CliError.UserError> => {
  const { from, until, ...lists } = given
  return Schema.decodeUnknownEffect(EventFilter.FromStrings)({
    ...(Option.isSome(from) && { from: from.value }),
    ...(Option.isSome(until) && { until: until.value }),
    ...lists
  }).pipe(Effect.mapError((cause) => new CliError.UserError({ cause })))
}

/** What is about none of the images stays: it says when environments ended, and how large their pools are. */
const isOf =
  (images: ReadonlyArray<string>) =>
  (one: SandboxEvent | Analysis.PoolSize): boolean =>
    images.length === 0 || !("image" in one) || one.image === undefined || images.includes(one.image)

/** Writes to standard output. Whoever reads it may go away at any time, such as `head`: that is no error. */
const print = <E, R>(text: Stream.Stream<string, E, R>): Effect.Effect<void, E | PlatformError, R | Stdio.Stdio> =>
  Effect.flatMap(Stdio.Stdio, (stdio) =>
    Effect.catchIf(Stream.run(text, stdio.stdout({ endOnDone: false })), isBrokenPipe, () => Effect.void)
  )

const isBrokenPipe = (error: unknown): boolean =>
  Predicate.isTagged(error, "PlatformError") &&
  Predicate.hasProperty(error, "cause") &&
  Predicate.hasProperty(error.cause, "code") &&
  error.cause.code === "EPIPE"

/** How large the pools were that had been started by then. */
const sizesBefore = (journal: string, until: number) =>
  Journal.read(journal, { filter: { until, kinds: ["EnvironmentStarting"] } }).pipe(
    Stream.runFold(
      (): ReadonlyArray<Analysis.PoolSize> => [],
      (known, event) => {
        if (event._tag !== "EnvironmentStarting") return known
        const { environmentId, pools = [] } = event
        return [
          ...known.filter((pool) => pool.environmentId !== environmentId),
          ...pools.map((pool) => ({ ...pool, environmentId }))
        ]
      }
    )
  )

const report = Command.make(
  "report",
  {
    journal,
    ...range,
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("As JSON, with everything that the text leaves out"),
      Flag.withDefault(false)
    ),
    rows: Flag.Int("rows").pipe(
      Flag.filter(
        (rows) => rows >= 1,
        (rows) => `at least 1, got ${rows}`
      ),
      Flag.withDescription("How many rows of each table are shown (default: 10)"),
      Flag.withDefault(10)
    ),
    width: Flag.Int("width").pipe(
      Flag.filter(
        (width) => width >= 60,
        (width) => `at least 60, got ${width}`
      ),
      Flag.withDescription("How wide the text may be (default: the terminal, or 100)"),
      Flag.optional
    )
  },
  Effect.fnUntraced(
    function* ({ image, journal, json, rows, width, ...given }) {
      const filter = yield* filterOf(given)
      const events = Stream.filter(Journal.read(journal, { filter }), isOf(image))
      const pools = filter.from === undefined ? [] : yield* sizesBefore(journal, filter.from)
      const found = yield* Analysis.fromStream(events, { pools: pools.filter(isOf(image)) })
      if (json) return yield* print(Stream.make(`${Report.json(found)}\n`))
      const { canColor } = yield* TerminalCapabilities.TerminalCapabilities
      const options = { width: Option.getOrElse(width, () => 0) || (yield* terminalWidth), colors: canColor, rows }
      return yield* print(Stream.make(`${Report.text(found, options)}\n`))
    },
    Effect.catchTags({ JournalError: userError, PlatformError: userError })
  )
).pipe(
  Command.withDescription("Says what a run came to: was the pool the right size, what failed, what was slow"),
  Command.withExamples([
    { command: "effect-sandbox report lab.jsonl" },
    { command: "effect-sandbox report lab.jsonl --image python --from 2026-11-26T12:00:00Z" },
    { command: "effect-sandbox report lab.jsonl --json | jq '.images[].verdict'" }
  ])
)

const tail = Command.make(
  "tail",
  {
    journal,
    follow: Flag.Boolean("follow").pipe(
      Flag.withAlias("f"),
      Flag.withDescription("Go on with what is written from now on"),
      Flag.withDefault(false)
    ),
    ...selection
  },
  Effect.fnUntraced(
    function* ({ follow, journal, ...given }) {
      const filter = yield* filterOf(given)
      const { canColor } = yield* TerminalCapabilities.TerminalCapabilities
      const paint = painter(canColor)
      const line = (event: SandboxEvent): string =>
        `${paint("dim", new Date(event.timestamp).toISOString())} ${EventLogger.format(event, { colors: canColor })}\n`
      // One text for each batch, which is one write.
      const lines = Stream.mapArray(Journal.read(journal, { filter, follow }), (events) => [events.map(line).join("")])
      yield* print(lines)
    },
    Effect.catchTags({ JournalError: userError, PlatformError: userError })
  )
).pipe(
  Command.withDescription("Prints events, one a line"),
  Command.withExamples([
    { command: "effect-sandbox tail lab.jsonl --follow" },
    { command: "effect-sandbox tail lab.jsonl --outcome state_error --outcome user_error" },
    { command: "effect-sandbox tail lab.jsonl --kind SessionStarted --kind SessionEnded --image python" }
  ])
)

const timeline = Command.make(
  "timeline",
  {
    journal,
    output: Flag.String("output").pipe(
      Flag.withAlias("o"),
      Flag.withMetavar("file"),
      Flag.withDescription("Where the page goes; an existing file is replaced")
    ),
    title: Flag.String("title").pipe(
      Flag.withDescription("What the page is called (default: the name of the journal)"),
      Flag.optional
    ),
    ...range
  },
  Effect.fnUntraced(
    function* ({ image, journal, output, title, ...given }) {
      const filter = yield* filterOf(given)
      const path = yield* Path.Path
      const events = Stream.filter(Journal.read(journal, { filter }), isOf(image))
      yield* Timeline.write(output, events, { title: Option.getOrElse(title, () => path.basename(journal)) })
      yield* print(Stream.make(`${path.resolve(output)}\n`))
    },
    Effect.catchTags({ JournalError: userError, PlatformError: userError })
  )
).pipe(
  Command.withDescription("Makes a page that shows what happened when, as one file for a browser"),
  Command.withExamples([{ command: "effect-sandbox timeline lab.jsonl --output lab.html" }])
)

function userError(cause: Error) {
  return Effect.fail(new CliError.UserError({ cause }))
}

/** What is not a terminal is as wide as one likes. */
const terminalWidth = Effect.gen(function* () {
  const stdio = yield* Stdio.Stdio
  if (!(yield* stdio.stdoutIsTerminal)) return 100
  const terminal = yield* Terminal.Terminal
  return Math.max(60, (yield* terminal.columns) || 100)
})

export const command = Command.make("effect-sandbox").pipe(
  Command.withDescription("Shows what sandboxes have done, from a journal of their events"),
  Command.withSubcommands([report, tail, timeline])
)
