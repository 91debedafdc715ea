/**
 * A journal of events as lines of JSON, one event a line, in a file that is rotated when it is full.
 *
 * ```ts
 * import { Console, Effect, Layer, Stream } from "effect"
 * import { NodeServices } from "@effect/platform-node"
 * import { Environment } from "@effect-sandbox/core"
 * import { EventJournal } from "@effect-sandbox/devtools"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"] }) {}
 *
 * const LabLive = Lab.layer.pipe(
 *   Layer.provideMerge(EventJournal.layer({ file: "lab.jsonl", maxBytes: 100_000_000, maxFiles: 10 })),
 *   Layer.provide(NodeServices.layer)
 * )
 *
 * // Later, or from another process:
 * const failures = EventJournal.read("lab.jsonl", { filter: { outcomes: ["state_error"] } }).pipe(
 *   Stream.runForEach((event) => Console.log(event)),
 *   Effect.provide(NodeServices.layer)
 * )
 * ```
 *
 * One writer at a time: two of them in one file write over each other.
 */
import { EventHub } from "@effect-sandbox/core/EventHandler"
import * as OptionCheck from "@effect-sandbox/core/Options"
import type { InvalidConfigurationError } from "@effect-sandbox/core/SandboxError"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { EventFilter } from "./EventFilter.ts"
import { Notebook } from "./internal/eventNotes.ts"
import * as LineReader from "./internal/lineReader.ts"
import * as LineStore from "./internal/lineStore.ts"
import * as Recorder from "./internal/recorder.ts"
import type { JournalError } from "./JournalError.ts"
import type { JournalWriter } from "./JournalWriter.ts"

/** The journal that is being written. */
export class EventJournal extends Context.Service<EventJournal, JournalWriter>()(
  "@effect-sandbox/devtools/EventJournal"
) {}

export interface Options {
  /** Where events are written. Directories are made; what is there already stays, and is written on to. */
  readonly file: string
  /**
   * How many bytes a file may have. When the next line would not fit, the file gets the next number (`file.000001`, …)
   * and a new one is begun; lines are never divided. Default: no limit.
   */
  readonly maxBytes?: number | undefined
  /** How many files there may be, the one that is written to included; the oldest are removed. At least 2. Default: all. */
  readonly maxFiles?: number | undefined
  /**
   * When what is written is made to survive a loss of power. `"always"`: before events count as handled, once for
   * everything that waits. A duration: that often. `"never"`: when the system likes, which survives the end of the
   * process all the same. Default: 1 second.
   */
  readonly sync?: "always" | "never" | Duration.Input | undefined
  /** How many events may wait; what comes on top is dropped and counted. Default: 65,536. */
  readonly capacity?: number | undefined
  /** How long closing waits for what is left. Default: 10 seconds. */
  readonly drainTimeout?: Duration.Input | undefined
  /** How long it waits after it could not write before it tries again. Default: 1 second. */
  readonly retryInterval?: Duration.Input | undefined
}

const Shape = Schema.Struct({
  ...Recorder.shape,
  maxBytes: Schema.optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))),
  maxFiles: Schema.optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(2)))
})

/**
 * The journal as a layer, to be provided to environments. It fails when options cannot work or the file cannot be opened;
 * what goes wrong later is logged, counted and tried again, and never reaches an environment.
 */
export const layer = (
  options: Options
): Layer.Layer<EventJournal | EventHub, InvalidConfigurationError | JournalError, FileSystem.FileSystem> =>
  Layer.effect(EventJournal, make(options)).pipe(Layer.provideMerge(EventHub.layer))

const make = Effect.fnUntraced(function* (options: Options) {
  yield* OptionCheck.check("EventJournal", Shape, options)
  const { file, sync = "1 second" } = options
  const store = yield* LineStore.open({
    file,
    maxBytes: options.maxBytes ?? Infinity,
    maxFiles: options.maxFiles ?? Infinity,
    keepsUnsynced: sync === "always",
    syncs: sync !== "never"
  })
  return yield* Recorder.record(store, {
    name: `EventJournal ${file}`,
    options,
    sync,
    handling: (write) => {
      const notebook = new Notebook(notesSize)
      return {
        takeAll: (events) => {
          for (const event of events) notebook.add(event)
        },
        handleTaken: Effect.gen(function* () {
          for (const notes of notebook.takeAll()) {
            yield* write(notes.count, notes)
            notebook.giveBack(notes)
          }
        })
      }
    }
  })
})

/** How many events are written together at most: more than come together when nothing holds them up. */
const notesSize = 32_768

export interface ReadOptions {
  /** Only events that pass. Default: all. */
  readonly filter?: EventFilter | undefined
  /**
   * Whether the stream goes on when all is read, with what is written from then on, by this process or another; also
   * when there is no file yet. Default: false.
   */
  readonly follow?: boolean | undefined
  /** How often it looks for more when it follows: looking works on every file system, unlike being told. Default: 100 ms. */
  readonly pollInterval?: Duration.Input | undefined
  /**
   * What a line is to that holds no event. `"fail"`: the end, with the error `Damaged`, after what comes before.
   * `"skip"`: nothing but a line in the log for the first. The last line, while it has no end, is no damage: it is being
   * written, or was when the process died, and is left out. Default: `"fail"`.
   */
  readonly onDamage?: "fail" | "skip" | undefined
}

/** The events of a journal in the order of writing, from its oldest file to its newest, with constant memory. */
export const read = (
  file: string,
  options: ReadOptions = {}
): Stream.Stream<SandboxEvent, JournalError, FileSystem.FileSystem> => LineReader.read(file, options)
