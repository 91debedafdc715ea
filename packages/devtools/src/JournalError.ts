/**
 * What can go wrong with a journal: one error, whose `reason` says what it was.
 *
 * ```ts
 * import { Console, Effect, Stream } from "effect"
 * import { EventJournal } from "@effect-sandbox/devtools"
 *
 * const count = EventJournal.read("events.jsonl").pipe(
 *   Stream.runCount,
 *   Effect.catchReason("JournalError", "Damaged", (reason) => Console.error(reason.message))
 * )
 * ```
 */
import * as Schema from "effect/Schema"

/** There is no such journal. */
export class JournalNotFound extends Schema.TaggedError<JournalNotFound>()("JournalNotFound", {
  file: Schema.String
}) {
  override get message() {
    return `There is no journal at ${this.file}`
  }
}

/** The file is something else. */
export class NotAJournal extends Schema.TaggedError<NotAJournal>()("NotAJournal", {
  file: Schema.String,
  description: Schema.String
}) {
  override get message() {
    return `${this.file} is not a journal: ${this.description}`
  }
}

/** The journal was written by a later version of this package. */
export class NewerSchema extends Schema.TaggedError<NewerSchema>()("NewerSchema", {
  file: Schema.String,
  version: Schema.Finite,
  /** The latest version that is understood here. */
  known: Schema.Finite
}) {
  override get message() {
    return `${this.file} was written by a later version: its schema is ${this.version}, and this one knows ${this.known}. Update @effect-sandbox/devtools.`
  }
}

/** A record is not an event. */
export class Damaged extends Schema.TaggedError<Damaged>()("Damaged", {
  file: Schema.String,
  /** Where the record begins: in a file of lines the byte, in a database the row. */
  position: Schema.Finite,
  description: Schema.String
}) {
  override get message() {
    return `${this.file} is damaged at ${this.position}: ${this.description}`
  }
}

/** The system, or the database, refused. */
export class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", {
  file: Schema.String,
  /** What was going on: `open`, `read`, `write`, `sync`, … */
  operation: Schema.String,
  description: Schema.String,
  cause: Schema.optional(Schema.Defect())
}) {
  override get message() {
    return `The journal ${this.file} failed at ${this.operation}: ${this.description}`
  }
}

export const Reason = Schema.Union([JournalNotFound, NotAJournal, NewerSchema, Damaged, Unavailable])
export type Reason = typeof Reason.Type

/** Everything that a journal can do to us. */
export class JournalError extends Schema.TaggedError<JournalError>()("JournalError", { reason: Reason }) {
  override get message() {
    return this.reason.message
  }
}
