/**
 * A handler that tells what happens in environments to the log, one readable line per event, and now and then how many
 * sessions, sandboxes and errors there are.
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Environment, EventLogger } from "@effect-sandbox/core"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"] }) {}
 *
 * const LabLive = Lab.layer.pipe(
 *   Layer.provideMerge(EventLogger.layer({
 *     kinds: ["SessionStarted", "SessionEnded", "SandboxShutDown"],
 *     statsInterval: "1 minute"
 *   }))
 * )
 * ```
 */
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Tracer from "effect/Tracer"
import * as EventHandler from "./EventHandler.ts"
import type { SandboxId, SessionId } from "./Id.ts"
import { InvalidConfigurationError } from "./SandboxError.ts"
import * as SandboxEvent from "./SandboxEvent.ts"

export interface Options {
  /** Only events of these kinds. Default: all. */
  readonly kinds?: ReadonlyArray<SandboxEvent.Tag> | undefined
  /** Only events whose line (without colours) a regular expression finds something in. Default: all. */
  readonly pattern?: string | undefined
  /** Only events that carry an error. Default: false. */
  readonly errorsOnly?: boolean | undefined
  /**
   * Whether lines are coloured. `"auto"`: on a terminal, unless `NO_COLOR` is set (Effect's `TerminalCapabilities`).
   * Default: `"auto"`.
   */
  readonly colors?: boolean | "auto" | undefined
  /** How often a line with counts is written, whatever the filters. Default: never. */
  readonly statsInterval?: Duration.Input | undefined
  /**
   * Whether ids are added to log records as annotations, for exporters: `sandbox.environment.id`, `sandbox.id`,
   * `sandbox.image`, `sandbox.session.id`, `sandbox.feature.id`, `sandbox.event` and `error.type`. On a terminal
   * Effect's loggers print them below each line. Default: false.
   */
  readonly annotate?: boolean | undefined
  /** Where lines go. Default: the log, at level `Info`, or `Warn` for events that carry an error. */
  readonly write?: ((line: string) => Effect.Effect<void>) | undefined
}

/** The logger as a layer, to be provided to environments. Options that cannot work fail its construction (X1). */
export const layer = (options: Options = {}): Layer.Layer<EventHandler.EventHub, InvalidConfigurationError> =>
  EventHandler.layerEffect(make(options))

/**
 * One line about an event: what happened, how long it took, and the error if there is one.
 *
 * ```ts
 * import { EventLogger, type SandboxEvent } from "@effect-sandbox/core"
 *
 * // "app/Lab/base:0:0 Ready -> Acquired (120 ms)"
 * const show = (event: SandboxEvent.SandboxEvent): string => EventLogger.format(event, { colors: false })
 * ```
 */
export const format = (
  event: SandboxEvent.SandboxEvent,
  options: { readonly colors?: boolean | undefined } = {}
): string => {
  const paint = options.colors === true ? coloured : plain
  const { subject, what } = phrase(event)
  const error = SandboxEvent.errorOf(event)
  const facts = details(event)
  return [
    paint("cyan", subject),
    error === undefined ? what : paint("red", `${what}: ${error.tag}: ${oneLine(error.message)}`),
    ...(facts.length === 0 ? [] : [paint("dim", `(${facts.join(", ")})`)])
  ].join(" ")
}

/**
 * The shortest line about an event: what happened, with the kind of error if there is one, and without times, so that
 * it is the same in every run.
 */
export const title = (event: SandboxEvent.SandboxEvent): string => {
  const { subject, what } = phrase(event)
  const error = SandboxEvent.errorOf(event)
  return error === undefined ? `${subject} ${what}` : `${subject} ${what}: ${error.tag}`
}

const make = Effect.fnUntraced(function* (options: Options) {
  const { matches, statsMillis } = yield* check(options)
  const capabilities = yield* TerminalCapabilities.TerminalCapabilities
  const colors = options.colors === undefined || options.colors === "auto" ? capabilities.canColor : options.colors
  const kinds = options.kinds === undefined ? undefined : new Set(options.kinds)
  const { write } = options
  const counts = new Counts()

  const log = (line: string, isError: boolean): Effect.Effect<void> =>
    write !== undefined ? write(line) : isError ? Effect.logWarning(line) : Effect.logInfo(line)

  if (statsMillis !== undefined) {
    // A `write` that dies must not end the lines that follow.
    const round = Effect.suspend(() => log(counts.line(), false)).pipe(
      Effect.ignoreCause({ log: "Warn", message: "The event logger could not write its counts" })
    )
    yield* Effect.forkScoped(Effect.forever(Effect.delay(round, statsMillis)))
  }

  const handle = (event: SandboxEvent.SandboxEvent): Effect.Effect<void> => {
    counts.add(event)
    const error = SandboxEvent.errorOf(event)
    if (options.errorsOnly === true && error === undefined) return Effect.void
    if (kinds !== undefined && !kinds.has(event._tag)) return Effect.void
    if (matches !== undefined && !matches.test(format(event))) return Effect.void
    const line = log(format(event, { colors }), error !== undefined)
    const annotated = options.annotate === true ? Effect.annotateLogs(line, annotations(event)) : line
    return event.trace === undefined
      ? annotated
      : Effect.withParentSpan(annotated, Tracer.externalSpan({ ...event.trace, sampled: true }))
  }
  return { name: "EventLogger", handle }
})

/** The names of things, as spans call them too. */
const annotations = (event: SandboxEvent.SandboxEvent): Record<string, string> => {
  const all = {
    "sandbox.event": event._tag,
    "sandbox.environment.id": event.environmentId,
    "sandbox.id": "sandboxId" in event ? event.sandboxId : undefined,
    "sandbox.image": "image" in event ? event.image : undefined,
    "sandbox.session.id": "sessionId" in event ? event.sessionId : undefined,
    "sandbox.feature.id": "featureId" in event ? event.featureId : undefined,
    "error.type": SandboxEvent.errorOf(event)?.tag
  }
  const told: Record<string, string> = {}
  for (const [name, value] of Object.entries(all)) if (value !== undefined) told[name] = value
  return told
}

/** The options that can be wrong, checked; every problem with its path. */
const check = (
  options: Options
): Effect.Effect<
  { readonly matches: RegExp | undefined; readonly statsMillis: number | undefined },
  InvalidConfigurationError
> => {
  const issues: Array<{ readonly path: string; readonly message: string }> = []
  const { kinds = [], pattern, statsInterval } = options
  for (const [index, kind] of kinds.entries()) {
    if (!Object.hasOwn(SandboxEvent.SandboxEvent.cases, kind)) {
      issues.push({
        path: `kinds[${index}]`,
        message: `expected the name of a kind of event, got ${JSON.stringify(kind)}`
      })
    }
  }
  const matches = pattern === undefined ? undefined : Result.getOrUndefined(Result.try(() => new RegExp(pattern)))
  if (pattern !== undefined && matches === undefined) {
    issues.push({ path: "pattern", message: `expected a regular expression, got ${JSON.stringify(pattern)}` })
  }
  const statsMillis =
    statsInterval === undefined
      ? undefined
      : Option.getOrElse(Option.map(Duration.fromInput(statsInterval), Duration.toMillis), () => 0)
  if (statsMillis !== undefined && !(statsMillis > 0)) {
    issues.push({ path: "statsInterval", message: "expected a duration longer than zero" })
  }
  return issues.length === 0
    ? Effect.succeed({ matches, statsMillis })
    : Effect.fail(new InvalidConfigurationError({ subject: "EventLogger", issues }))
}

/** What the line of counts tells, counted from the events of all environments that are handled here. */
class Counts {
  private readonly sandboxes = new Set<SandboxId>()
  private readonly sessions = new Set<SessionId>()
  private ended = 0
  private errors = 0

  add(event: SandboxEvent.SandboxEvent): void {
    if (SandboxEvent.errorOf(event) !== undefined) this.errors++
    if (event._tag === "SandboxStatusChanged") {
      if (event.to === "Offline") this.sandboxes.delete(event.sandboxId)
      else this.sandboxes.add(event.sandboxId)
    } else if (event._tag === "SessionStarted" && event.error === undefined) {
      this.sessions.add(event.sessionId)
    } else if (event._tag === "SessionEnded") {
      this.ended++
      this.sessions.delete(event.sessionId)
    }
  }

  line(): string {
    return `sandboxes ${this.sandboxes.size}, sessions ${this.sessions.size} (${this.ended} ended), errors ${this.errors}`
  }
}

/** Whom an event is about, and what happened to it. */
const phrase = (event: SandboxEvent.SandboxEvent): { readonly subject: string; readonly what: string } => {
  const failed = SandboxEvent.errorOf(event) !== undefined
  const { environmentId } = event
  switch (event._tag) {
    case "EnvironmentStarting":
      return { subject: environmentId, what: "starting" }
    case "EnvironmentStarted":
      return { subject: environmentId, what: failed ? "failed to start" : "started" }
    case "EnvironmentHousekeepingDone":
      return { subject: environmentId, what: failed ? "housekeeping failed" : "housekeeping done" }
    case "EnvironmentDraining":
      return { subject: environmentId, what: "draining" }
    case "EnvironmentShuttingDown":
      return { subject: environmentId, what: "shutting down" }
    case "EnvironmentShutDown":
      return { subject: environmentId, what: "shut down" }
    case "ImageOutageStarted":
      return { subject: `${environmentId}/${event.image}`, what: "outage started" }
    case "ImageOutageEnded":
      return { subject: `${environmentId}/${event.image}`, what: "outage ended" }
    case "AcquireFailed":
      return { subject: `${environmentId}/${event.image}`, what: "no sandbox could be had" }
    case "ActionRequested":
      return { subject: event.sandboxId ?? environmentId, what: `${event.action} requested by ${event.requestedBy}` }
    case "SandboxStarted":
      return { subject: event.sandboxId, what: failed ? "failed to start" : "started" }
    case "SandboxStatusChanged":
      return { subject: event.sandboxId, what: `${event.from} -> ${event.to}` }
    case "SessionStarted":
      return { subject: `session ${event.sessionId}`, what: failed ? "failed to start" : "started" }
    case "SessionEnded":
      return { subject: `session ${event.sessionId}`, what: "ended" }
    case "SandboxActivity":
      return { subject: event.sandboxId, what: event.name }
    case "SandboxHousekeepingDone":
      return { subject: event.sandboxId, what: failed ? "housekeeping failed" : "housekeeping done" }
    case "SandboxShutDown":
      return { subject: event.sandboxId, what: "shut down" }
    case "FeatureSetUp":
      return { subject: ofFeature(event), what: failed ? "set-up failed" : "set up" }
    case "FeatureTornDown":
      return { subject: ofFeature(event), what: failed ? "teardown failed" : "torn down" }
    case "FeatureSessionSetUp":
      return { subject: ofFeature(event), what: failed ? "session set-up failed" : "session set up" }
    case "FeatureSessionTornDown":
      return { subject: ofFeature(event), what: failed ? "session teardown failed" : "session torn down" }
    case "FeatureActivity":
      return { subject: ofFeature(event), what: event.name }
    case "FeatureHousekeepingDone":
      return { subject: ofFeature(event), what: failed ? "housekeeping failed" : "housekeeping done" }
  }
}

const ofFeature = (event: {
  readonly environmentId: string
  readonly featureId: string
  readonly sandboxId?: SandboxId | undefined
}): string => `${event.sandboxId ?? event.environmentId} feature ${event.featureId}`

/** Where, and how long it took. */
const details = (event: SandboxEvent.SandboxEvent): ReadonlyArray<string> => {
  const facts: Array<string> = []
  const isSession = event._tag === "SessionStarted" || event._tag === "SessionEnded"
  if (isSession) facts.push(`in ${event.sandboxId}`)
  else if ("sessionId" in event && event.sessionId !== undefined) facts.push(`session ${event.sessionId}`)
  if ("reason" in event) facts.push(oneLine(event.reason))
  if ("isolation" in event && event.isolation !== undefined) facts.push(`isolation ${event.isolation}`)
  if ("isolationFallback" in event && event.isolationFallback !== undefined)
    facts.push(oneLine(event.isolationFallback))
  if ("started" in event && event.started > 0) facts.push(`${event.started} sandboxes started`)
  if ("attempts" in event) facts.push(`${event.attempts} attempts`)
  if (event._tag === "EnvironmentDraining") facts.push(`${event.sessions} sessions go on`)
  if ("waitedMillis" in event) facts.push(`waited ${time(event.waitedMillis)}`)
  if ("lifetimeMillis" in event) facts.push(`lived ${time(event.lifetimeMillis)}`)
  if ("spentMillis" in event) facts.push(`after ${time(event.spentMillis)}`)
  if ("durationMillis" in event) facts.push(`took ${time(event.durationMillis)}`)
  return facts
}

const time = (millis: number): string =>
  millis < 1000
    ? `${Math.round(millis)} ms`
    : millis < 600_000
      ? `${(millis / 1000).toFixed(1)} s`
      : `${(millis / 60_000).toFixed(1)} min`

/** Messages of errors come from anywhere: line breaks and terminal codes in them must not break the line. */
// oxlint-disable-next-line no-control-regex
const oneLine = (text: string): string => text.trim().replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, " ")

const codes = { cyan: "36", red: "31", dim: "2" }

type Paint = (color: keyof typeof codes, text: string) => string

const plain: Paint = (_color, text) => text

const coloured: Paint = (color, text) => `\u001b[${codes[color]}m${text}\u001b[0m`
