/**
 * Expectations about the events of environments: which came, in which order, how often, and whether a life was well
 * formed. What fails shows the record with marks, like a diff.
 *
 * ```ts
 * import { it } from "@effect/vitest"
 * import { Effect, Layer } from "effect"
 * import { Environment, EventRecorder } from "@effect-sandbox/core"
 * import { EventExpect, SimDriver } from "@effect-sandbox/testing"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"], pool: 1 }) {}
 *
 * it.effect("a session is set up and ends", () =>
 *   Effect.gen(function*() {
 *     yield* Effect.provide(Lab.withSession({ id: "s1" }, Effect.void), Lab.layer)
 *     const recorder = yield* EventRecorder
 *     yield* EventExpect.inOrder(recorder, [
 *       "app/Lab started",
 *       "<box> Ready -> Acquired",
 *       { _tag: "SessionStarted", sessionId: "s1", sandboxId: "<box>" },
 *       /ended/
 *     ])
 *     yield* EventExpect.never(recorder, { _tag: "SessionEnded", error: { isStateError: true } })
 *     yield* EventExpect.assertWellFormed(recorder)
 *   }).pipe(Effect.provide(Layer.mergeAll(SimDriver.layer(), EventRecorder.layer))))
 * ```
 *
 * A pattern is a line as `EventLogger.title` writes it, a regular expression for such a line, some fields of an event,
 * or a predicate. In lines and in texts of fields, `<name>` stands for an id that is not known before: the same name for
 * the same id, different names for different ids.
 */
import type { EventRecorder } from "@effect-sandbox/core/EventRecorder"
import type * as SandboxEvent from "@effect-sandbox/core/SandboxEvent"
import type * as Brand from "effect/Brand"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { alignExactly, searchInOrder } from "./internal/events/eventAlignment.ts"
import { violationsOf } from "./internal/events/eventLife.ts"
import { compile, noBindings, type Row, rowsOf } from "./internal/events/eventPattern.ts"
import { type Entry, nearest, render, widthOf } from "./internal/events/eventReport.ts"
import * as Turns from "./Turns.ts"

type Event = SandboxEvent.SandboxEvent

/** The value of a field, or for texts a regular expression or a text with placeholders; of records some fields. */
export type Expected<V> =
  V extends Brand.Brand<string>
    ? string | RegExp
    : V extends string
      ? V | RegExp
      : V extends object
        ? { readonly [K in keyof V]?: Expected<V[K]> | undefined }
        : V

/** Some fields of an event of one kind. A field that is `undefined` must not be there. */
export type Fields<T extends SandboxEvent.Tag> = T extends SandboxEvent.Tag
  ? { readonly _tag: T } & {
      readonly [K in Exclude<keyof SandboxEvent.Of<T>, "_tag">]?: Expected<SandboxEvent.Of<T>[K]> | undefined
    }
  : never

/** What an event must be like. */
export type Pattern = string | RegExp | Fields<SandboxEvent.Tag> | ((event: Event) => boolean)

/** Where events come from: a recorder, or a list of them. */
export type Recorded = EventRecorder["Service"] | ReadonlyArray<Event>

/** Which of the recorded events are looked at. Default: all. */
export interface Where {
  readonly environment?: string | undefined
  readonly image?: string | undefined
  readonly sandbox?: string | undefined
  /** Events that bear the session's id. */
  readonly session?: string | undefined
  readonly feature?: string | undefined
  readonly kinds?: ReadonlyArray<SandboxEvent.Tag> | undefined
}

/** The record is not as expected. */
export class EventExpectationError extends Schema.TaggedError<EventExpectationError>()("EventExpectationError", {
  summary: Schema.String,
  /** The record with marks: `=` as expected, `-` missing, `+` not expected, `~` the nearest to what is missing. */
  report: Schema.Array(Schema.String)
}) {
  override get message() {
    return [this.summary, ...this.report].join("\n")
  }
}

/** All of these came, in this order; others may have come before, between and after. */
export const inOrder = (
  recorded: Recorded,
  patterns: ReadonlyArray<Pattern>,
  where: Where = {}
): Effect.Effect<void, EventExpectationError> =>
  Effect.flatMap(select(recorded, where), (rows) => {
    const matchers = patterns.map(compile)
    const { bindings, found } = searchInOrder(matchers, rows)
    const missing = matchers[found.length]
    if (missing === undefined) return Effect.void
    const after = found.at(-1) ?? -1
    const later = rows.slice(after + 1)
    const early = rows.find((row, index) => index <= after && !found.includes(index) && missing.match(row, bindings))
    const near = early === undefined ? nearest(missing, later, bindings) : { row: early, note: "came too early" }
    const entries = rows.flatMap((row, index): ReadonlyArray<Entry> => [
      entryOf(row, found.includes(index) ? "=" : " ", near),
      ...(index === after ? [expectedNext(missing.text)] : [])
    ])
    const rest = matchers.slice(found.length + 1).map(({ text }): Entry => ({ mark: "-", line: text }))
    return fail(
      `The events did not come in this order${inWords(where)}: ${found.length} of ${patterns.length} did`,
      after === -1 ? [expectedNext(missing.text), ...entries] : entries,
      { keep: true, after: rest }
    )
  })

/** These came and nothing else, in this order. */
export const exactly = (
  recorded: Recorded,
  patterns: ReadonlyArray<Pattern>,
  where: Where = {}
): Effect.Effect<void, EventExpectationError> =>
  Effect.flatMap(select(recorded, where), (rows) => {
    const entries = alignExactly(patterns.map(compile), rows)
    const missing = entries.filter(({ mark }) => mark === "-").length
    const unexpected = entries.filter(({ mark }) => mark === "+").length
    return missing + unexpected === 0
      ? Effect.void
      : fail(
          `The events are not exactly those expected${inWords(where)}: ${missing} missing (-), ${unexpected} not expected (+)`,
          entries
        )
  })

/** None like that came. */
export const never = (
  recorded: Recorded,
  pattern: Pattern,
  where: Where = {}
): Effect.Effect<void, EventExpectationError> =>
  Effect.flatMap(select(recorded, where), (rows) => {
    const matcher = compile(pattern)
    const bad = rows.filter((row) => matcher.match(row, noBindings) !== undefined)
    return bad.length === 0
      ? Effect.void
      : fail(
          `${events(bad.length)} came that never should${inWords(where)}: ${matcher.text}`,
          rows.map((row) => entryOf(row, bad.includes(row) ? "+" : " "))
        )
  })

/** So many like that came, or so many at least and at most. */
export const count = (
  recorded: Recorded,
  pattern: Pattern,
  expected: number | { readonly min?: number | undefined; readonly max?: number | undefined },
  where: Where = {}
): Effect.Effect<void, EventExpectationError> =>
  Effect.flatMap(select(recorded, where), (rows) => {
    const matcher = compile(pattern)
    const found = rows.filter((row) => matcher.match(row, noBindings) !== undefined)
    const { max = Number.POSITIVE_INFINITY, min = 0 } =
      typeof expected === "number" ? { min: expected, max: expected } : expected
    if (found.length >= min && found.length <= max) return Effect.void
    const wanted = min === max ? String(min) : max === Number.POSITIVE_INFINITY ? `at least ${min}` : `${min} to ${max}`
    const near = found.length === 0 ? nearest(matcher, rows, noBindings) : undefined
    return fail(
      `Expected ${wanted} of these events${inWords(where)}, and ${found.length} came: ${matcher.text}`,
      rows.map((row) => entryOf(row, found.includes(row) ? "=" : " ", near)),
      { keep: true }
    )
  })

/**
 * One like that has come, or comes: waits for it by turns of the scheduler (default: 5000), or with `timeout` by the
 * `Clock`. Gives the event.
 */
export const eventually = (
  recorder: EventRecorder["Service"],
  pattern: Pattern,
  options: Where & Turns.Options & { readonly timeout?: Duration.Input | undefined } = {}
): Effect.Effect<Event, EventExpectationError> =>
  Effect.gen(function* () {
    const matcher = compile(pattern)
    const { timeout, turn, turns = 5000, ...where } = options
    let found: Event | undefined
    const look = Effect.map(select(recorder, where), (rows) => {
      found = rows.find((row) => matcher.match(row, noBindings) !== undefined)?.event
      return found !== undefined
    })
    yield* timeout === undefined
      ? Effect.ignore(Turns.until("it comes", look, { turn, turns }))
      : Effect.timeoutOption(
          recorder.waitFor((event) => isSelected(event, where) && matchesOne(matcher, event)),
          timeout
        )
    if (yield* look) if (found !== undefined) return found
    const rows = yield* select(recorder, where)
    const near = nearest(matcher, rows, noBindings)
    const entries = rows.map((row) => entryOf(row, " ", near))
    return yield* fail(
      `It has not come${inWords(where)}, ${timeout === undefined ? `in ${turns} turns` : "in time"}: ${matcher.text}`,
      [...entries, { mark: "-", line: matcher.text, note: "expected" }]
    )
  })

/** The recorded events as lines. */
export const lines = (recorded: Recorded, where: Where = {}): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(select(recorded, where), (rows) => rows.map(({ line }) => line))

// ---------------------------------------------------------------------------------------------------------------------
// Whole lives
// ---------------------------------------------------------------------------------------------------------------------

/**
 * A rule that events break, by its mark in the design.
 *
 * - `I1`: every set-up has exactly one teardown, in reverse order.
 * - `I3`: one session per sandbox at a time.
 * - `I4`: a sandbox with a state error never serves again.
 * - `I5`: only legal moves.
 * - `I6`: chains are unbroken, starts and ends are paired, durations are not negative.
 * - `I7`: at the end every sandbox is offline.
 */
export const Violation = Schema.Struct({
  invariant: Schema.Literals(["I1", "I3", "I4", "I5", "I6", "I7"]),
  /** The sandbox, or the environment. */
  subject: Schema.String,
  description: Schema.String,
  /** The index of the event that breaks it; missing for what is missing at the end. */
  at: Schema.optional(Schema.Finite)
})
export type Violation = typeof Violation.Type

/** Events that no life of an environment may have. */
export class MalformedEventsError extends Schema.TaggedError<MalformedEventsError>()("MalformedEventsError", {
  violations: Schema.Array(Violation),
  /** The line of each event that breaks a rule; empty for what is missing at the end. */
  lines: Schema.Array(Schema.String)
}) {
  override get message() {
    const lines = this.violations.map(({ at, description, invariant, subject }, index) => {
      const where = at === undefined ? "at the end" : `at event ${at + 1}, ${this.lines[index] ?? ""}`
      return `  ${invariant} ${subject}: ${description} (${where})`
    })
    return `The events break ${lines.length === 1 ? "a rule" : `rules in ${lines.length} places`}:\n${lines.join("\n")}`
  }
}

export interface LifeOptions {
  /** Whether the life has ended, so that whatever began must have ended, too. Default: true. */
  readonly isOver?: boolean | undefined
}

/** Every violation of the rules that hold for any life of any environment, in the order of the events. */
export const wellFormed = (events: ReadonlyArray<Event>, options: LifeOptions = {}): ReadonlyArray<Violation> =>
  violationsOf(events, options.isOver ?? true)

/** Fails when events are not well formed. */
export const assertWellFormed = (
  recorded: Recorded,
  options: LifeOptions = {}
): Effect.Effect<void, MalformedEventsError> =>
  Effect.flatMap(select(recorded, {}), (rows) => {
    const violations = wellFormed(
      rows.map(({ event }) => event),
      options
    )
    if (violations.length === 0) return Effect.void
    return Effect.fail(
      new MalformedEventsError({
        violations,
        lines: violations.map(({ at }) => (at === undefined ? "" : (rows[at]?.line ?? "")))
      })
    )
  })

// ---------------------------------------------------------------------------------------------------------------------

/** The rows that are looked at. They keep the numbers that they have in the whole record. */
const select = (recorded: Recorded, where: Where): Effect.Effect<ReadonlyArray<Row>> =>
  Effect.map("events" in recorded ? recorded.events : Effect.succeed(recorded), (all) =>
    rowsOf(all).filter(({ event }) => isSelected(event, where))
  )

const isSelected = (event: Event, where: Where): boolean =>
  (where.environment === undefined || event.environmentId === where.environment) &&
  (where.image === undefined || ("image" in event && event.image === where.image)) &&
  (where.sandbox === undefined || ("sandboxId" in event && event.sandboxId === where.sandbox)) &&
  (where.session === undefined || ("sessionId" in event && event.sessionId === where.session)) &&
  (where.feature === undefined || ("featureId" in event && event.featureId === where.feature)) &&
  (where.kinds === undefined || where.kinds.includes(event._tag))

const inWords = ({ environment, feature, image, kinds, sandbox, session }: Where): string => {
  const parts = Object.entries({ environment, image, sandbox, session, feature }).flatMap(([what, id]) =>
    id === undefined ? [] : [`${what} ${id}`]
  )
  if (kinds !== undefined) parts.push(kinds.join(", "))
  return parts.length === 0 ? "" : ` (of ${parts.join(", ")})`
}

const events = (count: number): string => (count === 1 ? "1 event" : `${count} events`)

const expectedNext = (line: string): Entry => ({ mark: "-", line, note: "expected next" })

const entryOf = (row: Row, mark: Entry["mark"], near?: { readonly row: Row; readonly note: string }): Entry =>
  near?.row === row
    ? { mark: mark === " " ? "~" : mark, number: row.number, line: row.line, note: near.note }
    : { mark, number: row.number, line: row.line }

const matchesOne = (matcher: ReturnType<typeof compile>, event: Event): boolean =>
  rowsOf([event]).some((row) => matcher.match(row, noBindings) !== undefined)

/** Fails with the record around what matters; `after` is what would have been expected then. */
const fail = (
  summary: string,
  entries: ReadonlyArray<Entry>,
  options: { readonly keep?: boolean | undefined; readonly after?: ReadonlyArray<Entry> | undefined } = {}
): Effect.Effect<never, EventExpectationError> => {
  const { after = [], keep = false } = options
  const report = [...render(entries, { keep })]
  if (after.length > 0) report.push("and then", ...render(after, { keep, width: widthOf(entries) }))
  return Effect.fail(new EventExpectationError({ summary: `${summary}.`, report }))
}
