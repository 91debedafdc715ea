/**
 * What the dashboard's server and its page tell each other. The page imports the types only.
 *
 * Everything is JSON as it stands: times are milliseconds since the epoch, and what is not known is left out.
 */
import { EnvironmentId, ImageId, SandboxId } from "@effect-sandbox/core/Id"
import { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import { EnvironmentStatus, SandboxStatus } from "@effect-sandbox/core/SandboxStatus"
import * as Schema from "effect/Schema"

const Count = Schema.Finite
const Time = Schema.Finite

/** How something ended, as `EventMetrics.outcome` has it. */
export const Outcome = Schema.Literals(["ok", "state_error", "user_error", "interrupted"])

/** An answer to a question that people have when they look. */
export const Finding = Schema.Struct({
  level: Schema.Literals(["good", "idle", "warn", "bad"]),
  /** A few words. */
  title: Schema.String,
  /** The figures behind it. */
  detail: Schema.String
})
export type Finding = typeof Finding.Type

export const ImageState = Schema.Struct({
  image: ImageId,
  counts: Schema.Record(SandboxStatus, Count),
  min: Count,
  /** Missing for images that are not pooled. */
  max: Schema.optionalKey(Count),
  starting: Count,
  waiters: Count,
  sessionsServed: Count,
  replaced: Count,
  outage: Schema.optionalKey(Schema.Struct({ durationMillis: Count, attempts: Count }))
})
export type ImageState = typeof ImageState.Type

/** Errors of one kind, of the last minutes. */
export const Failure = Schema.Struct({
  /** The kind of event that told it. */
  kind: Schema.String,
  tag: Schema.String,
  /** That of the latest. */
  message: Schema.String,
  image: Schema.optionalKey(ImageId),
  isStateError: Schema.Boolean,
  count: Count,
  last: Time
})
export type Failure = typeof Failure.Type

export const EnvironmentState = Schema.Struct({
  id: EnvironmentId,
  status: EnvironmentStatus,
  startedAt: Schema.optionalKey(Time),
  stoppedAt: Schema.optionalKey(Time),
  sessions: Count,
  images: Schema.Array(ImageState),
  ledger: Schema.Struct({ created: Count, destroyed: Count, live: Count, leaked: Count }),
  handlers: Schema.Array(
    Schema.Struct({ name: Schema.String, handled: Count, dropped: Count, failed: Count, queued: Count })
  ),
  health: Finding,
  pool: Finding,
  failing: Finding,
  failures: Schema.Array(Failure)
})
export type EnvironmentState = typeof EnvironmentState.Type

/** Slot, generation, status, and since when it has that. */
export const Cell = Schema.Tuple([Count, Count, SandboxStatus, Time])
export type Cell = typeof Cell.Type

export const Cells = Schema.Struct({ environment: EnvironmentId, image: ImageId, cells: Schema.Array(Cell) })
export type Cells = typeof Cells.Type

/** Median and 95th percentile of the last 15 seconds, in milliseconds. */
const Latency = Schema.optionalKey(Schema.Tuple([Schema.Finite, Schema.Finite]))

/** One second. */
export const Point = Schema.Struct({
  /** Its end. */
  t: Time,
  /** Sessions that ended well, and those that failed or could not be had. */
  ended: Count,
  failed: Count,
  /** Sandboxes that serve, that are ready, and that are alive. */
  busy: Count,
  ready: Count,
  live: Count,
  waiters: Count,
  wait: Latency,
  setUp: Latency,
  lifetime: Latency
})
export type Point = typeof Point.Type

/** The seconds of an image, or of the whole environment. */
export const Series = Schema.Struct({
  environment: EnvironmentId,
  image: Schema.optionalKey(ImageId),
  points: Schema.Array(Point)
})
export type Series = typeof Series.Type

export const LogEntry = Schema.Struct({
  /** Counts the events of this server. */
  seq: Count,
  outcome: Outcome,
  /** One line for people. */
  text: Schema.String,
  event: Schema.toEncoded(SandboxEvent)
})
export type LogEntry = typeof LogEntry.Type

/** Everything but the log. */
export const Snapshot = Schema.Struct({
  /** Another one is another server, whose events are counted anew. */
  epoch: Schema.String,
  time: Time,
  /** Whether actions may be asked for. */
  actions: Schema.Boolean,
  environments: Schema.Array(EnvironmentState),
  sandboxes: Schema.Array(Cells),
  series: Schema.Array(Series)
})
export type Snapshot = typeof Snapshot.Type

/** The latest events, oldest first. */
export const LogPart = Schema.Struct({
  entries: Schema.Array(LogEntry),
  /** Events since what came before that are not here. */
  missed: Count
})
export type LogPart = typeof LogPart.Type

/** What has changed. */
export const Tick = Schema.Struct({
  time: Time,
  environments: Schema.Array(EnvironmentState),
  sandboxes: Schema.Array(Cells),
  points: Schema.Array(Series),
  log: LogPart
})
export type Tick = typeof Tick.Type

/** A page of the event log, newest first. */
export const History = Schema.Struct({
  entries: Schema.Array(LogEntry),
  /** Ask for events before this one to go on; missing at the end. */
  before: Schema.optionalKey(Count),
  /** The oldest event that is kept. */
  oldest: Count
})
export type History = typeof History.Type

/** One life in a slot. */
export const Generation = Schema.Struct({
  generation: Count,
  startedAt: Time,
  endedAt: Schema.optionalKey(Time),
  /** What bringing it up took. */
  setUpMillis: Schema.optionalKey(Count),
  sessions: Count,
  failed: Count,
  reason: Schema.optionalKey(Schema.String)
})
export type Generation = typeof Generation.Type

/** A slot of a pool: its sandbox, and those before it. */
export const SandboxHistory = Schema.Struct({
  sandboxId: SandboxId,
  environment: EnvironmentId,
  image: ImageId,
  slot: Count,
  status: SandboxStatus,
  since: Time,
  /** How long this generation was in each status, until `time`. */
  spentMillis: Schema.Record(Schema.String, Count),
  time: Time,
  /** The latest first. */
  generations: Schema.Array(Generation),
  /** Events of the slot, newest first. */
  entries: Schema.Array(LogEntry)
})
export type SandboxHistory = typeof SandboxHistory.Type

export const ActionName = Schema.Literals(["drain", "recycle", "shutdown"])
export type ActionName = typeof ActionName.Type

export const ActionRequest = Schema.Struct({
  environment: Schema.String,
  /** For `recycle`. */
  sandbox: Schema.optionalKey(SandboxId),
  /** The name of what it is done to, again: the environment, or the sandbox. */
  confirm: Schema.String,
  /** Who asks; in one line, as it comes into logs. */
  by: Schema.optionalKey(Schema.String.check(Schema.isPattern(/^\P{C}{0,100}$/u)))
})
export type ActionRequest = typeof ActionRequest.Type

export const ActionAccepted = Schema.Struct({ accepted: ActionName, requestedBy: Schema.String })
export type ActionAccepted = typeof ActionAccepted.Type

/** The body of every answer that says no. */
export const Problem = Schema.Struct({ error: Schema.String, message: Schema.String })
export type Problem = typeof Problem.Type
