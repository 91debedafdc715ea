/**
 * A journal of events as an SQLite database, for looking things up in it: every part of a filter has an index, and other
 * tools can query it. The table is `events`, with the event as JSON in `event`.
 *
 * ```ts
 * import { Console, Effect, Layer, Stream } from "effect"
 * import { NodeServices } from "@effect/platform-node"
 * import { Environment } from "@effect-sandbox/core"
 * import { SqliteJournal } from "@effect-sandbox/devtools"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"] }) {}
 *
 * const LabLive = Lab.layer.pipe(
 *   Layer.provideMerge(SqliteJournal.layer({ file: "lab.db" })),
 *   Layer.provide(NodeServices.layer)
 * )
 *
 * // Later, or from another process:
 * const session = SqliteJournal.read("lab.db", { filter: { sessions: ["task-17"] } }).pipe(
 *   Stream.runForEach((event) => Console.log(event)),
 *   Effect.provide(NodeServices.layer)
 * )
 * ```
 *
 * The database lives in a thread of its own, so that a slow disk, or a lock that another process holds, slows no
 * environment. It is in WAL mode: readers and the writer do not wait for each other.
 */
import { EventHub } from "@effect-sandbox/core/EventHandler"
import * as OptionCheck from "@effect-sandbox/core/Options"
import type { InvalidConfigurationError } from "@effect-sandbox/core/SandboxError"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { ReadOptions } from "./EventJournal.ts"
import * as Recorder from "./internal/recorder.ts"
import * as SqliteReader from "./internal/sqliteReader.ts"
import * as SqliteStore from "./internal/sqliteStore.ts"
import type { JournalError } from "./JournalError.ts"
import type { JournalWriter } from "./JournalWriter.ts"

/** The journal that is being written. */
export class SqliteJournal extends Context.Service<SqliteJournal, JournalWriter>()(
  "@effect-sandbox/devtools/SqliteJournal"
) {}

export interface Options {
  /** Where the database is. Directories are made; what is there already stays, and is written on to. */
  readonly file: string
  /**
   * When what is written is made to survive a loss of power. `"always"`: with each transaction (`synchronous = FULL`). A
   * duration: that often (`NORMAL`, and a checkpoint). `"never"`: when the system likes (`OFF`), which survives the end
   * of the process all the same. Default: 1 second.
   */
  readonly sync?: "always" | "never" | Duration.Input | undefined
  /** How long SQLite waits for a lock that another process holds before that counts as a failure. Default: 5 seconds. */
  readonly busyTimeout?: Duration.Input | undefined
  /** How many events may wait; what comes on top is dropped and counted. Default: 65,536. */
  readonly capacity?: number | undefined
  /** How long closing waits for what is left. Default: 10 seconds. */
  readonly drainTimeout?: Duration.Input | undefined
  /** How long it waits after it could not write before it tries again. Default: 1 second. */
  readonly retryInterval?: Duration.Input | undefined
}

const Shape = Schema.Struct({
  ...Recorder.shape,
  busyTimeout: Schema.optional(OptionCheck.DurationInput("zero"))
})

/**
 * The journal as a layer, to be provided to environments. It fails when options cannot work, the file cannot be opened,
 * or is something else than a journal; what goes wrong later is logged, counted and tried again, and never reaches an
 * environment.
 */
export const layer = (
  options: Options
): Layer.Layer<SqliteJournal | EventHub, InvalidConfigurationError | JournalError, FileSystem.FileSystem> =>
  Layer.effect(SqliteJournal, make(options)).pipe(Layer.provideMerge(EventHub.layer))

const make = Effect.fnUntraced(function* (options: Options) {
  yield* OptionCheck.check("SqliteJournal", Shape, options)
  const { file, sync = "1 second" } = options
  const store = yield* SqliteStore.open({
    file,
    busyTimeoutMillis: Duration.toMillis(Duration.fromInputUnsafe(options.busyTimeout ?? "5 seconds")),
    synchronous: sync === "always" ? "FULL" : sync === "never" ? "OFF" : "NORMAL"
  })
  return yield* Recorder.record(store, {
    name: `SqliteJournal ${file}`,
    options,
    // With FULL a transaction that is over is on the disk.
    sync: sync === "always" ? "never" : sync,
    handling: (write) => ({
      // The event loop has its turn in between.
      handleAll: (events) =>
        Effect.forEach(Arr.chunksOf(events, 1024), (part) => write(part.length, part), { discard: true })
    })
  })
})

/** The events of a journal in the order of writing, page by page: no read keeps the database for long. */
export const read = (
  file: string,
  options: ReadOptions = {}
): Stream.Stream<SandboxEvent, JournalError, FileSystem.FileSystem> => SqliteReader.read(file, options)
