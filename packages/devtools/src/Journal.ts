/**
 * Reads journals of either kind: whoever is given a path need not know what wrote it.
 *
 * ```ts
 * import { Console, Effect, Stream } from "effect"
 * import { NodeServices } from "@effect/platform-node"
 * import { Journal } from "@effect-sandbox/devtools"
 *
 * const program = Journal.read("lab.db", { filter: { kinds: ["SessionEnded"] } }).pipe(
 *   Stream.runForEach((event) => Console.log(event)),
 *   Effect.provide(NodeServices.layer)
 * )
 * ```
 */
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import * as EventJournal from "./EventJournal.ts"
import { sqliteMagic, unavailable } from "./internal/journalFiles.ts"
import type { JournalError } from "./JournalError.ts"
import * as SqliteJournal from "./SqliteJournal.ts"

/** What `EventJournal.read` and `SqliteJournal.read` take. */
export type ReadOptions = EventJournal.ReadOptions

/**
 * The events of a journal in the order of writing. The file itself tells whether it is a database; when it is followed and
 * not there yet, it is waited for.
 */
export const read = (
  file: string,
  options: ReadOptions = {}
): Stream.Stream<SandboxEvent, JournalError, FileSystem.FileSystem> =>
  Stream.unwrap(
    Effect.map(isDatabase(file, options), (found) =>
      found ? SqliteJournal.read(file, options) : EventJournal.read(file, options)
    )
  )

const isDatabase = Effect.fnUntraced(function* (file: string, options: ReadOptions) {
  const fs = yield* FileSystem.FileSystem
  while (true) {
    const start = yield* fs.open(file, { flag: "r" }).pipe(
      Effect.flatMap((opened) => {
        const bytes = new Uint8Array(sqliteMagic.length)
        return Effect.map(opened.read(bytes), (count) => bytes.subarray(0, count))
      }),
      Effect.scoped,
      Effect.catchReason("PlatformError", "NotFound", () => Effect.succeed(new Uint8Array(0))),
      Effect.mapError(unavailable(file, "open"))
    )
    // A journal of lines may have full files only, and one of either kind nothing in it yet.
    if (start.length > 0 || options.follow !== true) return new TextDecoder().decode(start) === sqliteMagic
    yield* Effect.sleep(options.pollInterval ?? "100 millis")
  }
})
