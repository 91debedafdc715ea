/**
 * Which events one wants to see: a conjunction of what they are about, what they are, when they were and how they ended.
 *
 * ```ts
 * import { EventFilter } from "@effect-sandbox/devtools"
 * import type { SandboxEvent } from "@effect-sandbox/core"
 *
 * const isBrokenSession = EventFilter.matches({
 *   kinds: ["SessionStarted", "SessionEnded"],
 *   outcomes: ["state_error"]
 * })
 * const broken = (events: ReadonlyArray<SandboxEvent.SandboxEvent>) => events.filter(isBrokenSession)
 * ```
 */
import * as EventMetrics from "@effect-sandbox/core/EventMetrics"
import * as SandboxEvent from "@effect-sandbox/core/SandboxEvent"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaTransformation from "effect/SchemaTransformation"

/** The name of a kind of event. */
export const Kind = Schema.Literals(
  // The cases are keyed by their tags.
  Object.keys(SandboxEvent.SandboxEvent.cases) as ReadonlyArray<SandboxEvent.Tag>
)

/** How something ended; events without an error are `"ok"`, whatever they tell. */
export const Outcome = Schema.Literals(["ok", "state_error", "user_error", "interrupted"])

const names = Schema.optional(Schema.Array(Schema.String))

/** The filter as data, such as in a request. */
export const EventFilter = Schema.Struct({
  /** Not before this, in milliseconds since the epoch. Default: from the beginning. */
  from: Schema.optional(Schema.Finite),
  /** Before this, in milliseconds since the epoch. Default: to the end. */
  until: Schema.optional(Schema.Finite),
  /** Only events of these environments. Default, as with all lists, also when it is empty: all. */
  environments: names,
  /** Only events about these images. Default: all, also those that are about no image. */
  images: names,
  /** Only events about these sandboxes. Default: all. */
  sandboxes: names,
  /** Only events of these sessions. Default: all. */
  sessions: names,
  /** Only these kinds of events. Default: all. */
  kinds: Schema.optional(Schema.Array(Kind)),
  /** Only what ended so. Default: all. */
  outcomes: Schema.optional(Schema.Array(Outcome))
})
export interface EventFilter {
  /** Not before this, in milliseconds since the epoch. Default: from the beginning. */
  readonly from?: number | undefined
  /** Before this, in milliseconds since the epoch. Default: to the end. */
  readonly until?: number | undefined
  /** Only events of these environments. Default, as with all lists, also when it is empty: all. */
  readonly environments?: ReadonlyArray<string> | undefined
  /** Only events about these images. Default: all, also those that are about no image. */
  readonly images?: ReadonlyArray<string> | undefined
  /** Only events about these sandboxes. Default: all. */
  readonly sandboxes?: ReadonlyArray<string> | undefined
  /** Only events of these sessions. Default: all. */
  readonly sessions?: ReadonlyArray<string> | undefined
  /** Only these kinds of events. Default: all. */
  readonly kinds?: ReadonlyArray<SandboxEvent.Tag> | undefined
  /** Only what ended so (`EventMetrics.outcome`); events without an error are `"ok"`. Default: all. */
  readonly outcomes?: ReadonlyArray<EventMetrics.Outcome> | undefined
}

/** How the error of an event, or that it has none, is counted. */
export const outcome = (event: SandboxEvent.SandboxEvent): EventMetrics.Outcome =>
  EventMetrics.outcome(SandboxEvent.errorOf(event))

/** Whether an event passes. */
export const matches = (filter: EventFilter): ((event: SandboxEvent.SandboxEvent) => boolean) => {
  const { from = -Infinity, until = Infinity } = filter
  const kinds = setOf(filter.kinds)
  const environments = setOf(filter.environments)
  const images = setOf(filter.images)
  const sandboxes = setOf(filter.sandboxes)
  const sessions = setOf(filter.sessions)
  const outcomes = setOf(filter.outcomes)
  return (event) =>
    event.timestamp >= from &&
    event.timestamp < until &&
    (kinds === undefined || kinds.has(event._tag)) &&
    (environments === undefined || environments.has(event.environmentId)) &&
    (images === undefined || ("image" in event && event.image !== undefined && images.has(event.image))) &&
    (sandboxes === undefined ||
      ("sandboxId" in event && event.sandboxId !== undefined && sandboxes.has(event.sandboxId))) &&
    (sessions === undefined ||
      ("sessionId" in event && event.sessionId !== undefined && sessions.has(event.sessionId))) &&
    (outcomes === undefined || outcomes.has(outcome(event)))
}

/** Whether it lets everything through. */
export const isEmpty = (filter: EventFilter): boolean =>
  Object.values(filter).every((value) => value === undefined || (Array.isArray(value) && value.length === 0))

const setOf = <A>(values: ReadonlyArray<A> | undefined): ReadonlySet<A> | undefined =>
  values === undefined || values.length === 0 ? undefined : new Set(values)

/** Milliseconds since the epoch, or a date such as `2026-11-26T12:00:00Z`. */
const Time = Schema.String.pipe(
  Schema.decodeTo(
    Schema.Finite,
    SchemaTransformation.transformEffect({
      decode: (text: string) => {
        const trimmed = text.trim()
        const number = trimmed === "" ? Number.NaN : Number(trimmed)
        const millis = Number.isFinite(number)
          ? number
          : Option.getOrUndefined(Option.map(DateTime.make(trimmed), DateTime.toEpochMillis))
        return millis === undefined
          ? Effect.fail(
              new SchemaIssue.InvalidValue({
                message: `expected milliseconds since 1970 or a date such as 2026-11-26T12:00:00Z, got ${JSON.stringify(text)}`
              })
            )
          : Effect.succeed(millis)
      },
      encode: (millis: number) => Effect.succeed(String(millis))
    })
  )
)

/** One or more values. */
const texts = Schema.Union([Schema.String, Schema.Array(Schema.String)]).pipe(
  Schema.decodeTo(
    Schema.Array(Schema.String),
    SchemaTransformation.transform<ReadonlyArray<string>, string | ReadonlyArray<string>>({
      decode: (value) => (typeof value === "string" ? [value] : value),
      encode: (values) => values
    })
  )
)

const oneOf = <A extends string>(item: Schema.Codec<A>) =>
  Schema.optionalKey(
    texts.pipe(Schema.decodeTo(Schema.Array(item), SchemaTransformation.passthrough({ strict: false })))
  )
const anyText = Schema.optionalKey(texts)

const Strings = Schema.Struct({
  from: Schema.optionalKey(Time),
  until: Schema.optionalKey(Time),
  environment: anyText,
  image: anyText,
  sandbox: anyText,
  session: anyText,
  kind: oneOf(Kind),
  outcome: oneOf(Outcome)
})

/**
 * The filter as query strings and command lines have it: `from` and `until` are milliseconds or dates; `environment`,
 * `image`, `sandbox`, `session`, `kind` and `outcome` are a text or several. Keys that it does not know are ignored.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { EventFilter } from "@effect-sandbox/devtools"
 *
 * // { from: 1795694400000, images: ["node", "python"], outcomes: ["state_error"] }
 * const filter = Schema.decodeUnknownSync(EventFilter.FromStrings)({
 *   from: "2026-11-26T12:00:00Z",
 *   image: ["node", "python"],
 *   outcome: "state_error"
 * })
 * ```
 */
export const FromStrings = Strings.pipe(
  Schema.decodeTo(
    EventFilter,
    SchemaTransformation.transform<(typeof EventFilter)["Encoded"], (typeof Strings)["Type"]>({
      decode: ({ environment, from, image, kind, outcome, sandbox, session, until }) => ({
        ...(from !== undefined && { from }),
        ...(until !== undefined && { until }),
        ...(environment !== undefined && { environments: environment }),
        ...(image !== undefined && { images: image }),
        ...(sandbox !== undefined && { sandboxes: sandbox }),
        ...(session !== undefined && { sessions: session }),
        ...(kind !== undefined && { kinds: kind }),
        ...(outcome !== undefined && { outcomes: outcome })
      }),
      encode: ({ environments, from, images, kinds, outcomes, sandboxes, sessions, until }) => ({
        ...(from !== undefined && { from }),
        ...(until !== undefined && { until }),
        ...(environments !== undefined && { environment: environments }),
        ...(images !== undefined && { image: images }),
        ...(sandboxes !== undefined && { sandbox: sandboxes }),
        ...(sessions !== undefined && { session: sessions }),
        ...(kinds !== undefined && { kind: kinds }),
        ...(outcomes !== undefined && { outcome: outcomes })
      })
    })
  )
)
