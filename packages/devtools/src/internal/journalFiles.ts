/**
 * The files of a journal of lines: `events.jsonl` is written to; when it is full it becomes `events.jsonl.000001`,
 * then `events.jsonl.000002`, and so on. A number is given once, and the file that has it never changes again.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import { JournalError, Unavailable } from "../JournalError.ts"

/** The first bytes of an SQLite database. */
export const sqliteMagic = "SQLite format 3\u0000"

/** The directory of a file, and its name in there. */
export const split = (file: string): { readonly directory: string; readonly name: string } => {
  const slash = file.includes("/") ? file.lastIndexOf("/") : file.lastIndexOf("\\")
  return slash === -1
    ? { directory: ".", name: file }
    : { directory: slash === 0 ? "/" : file.slice(0, slash), name: file.slice(slash + 1) }
}

/** The name of a full file. */
export const numbered = (file: string, number: number): string => `${file}.${String(number).padStart(6, "0")}`

/** The numbers of the full files, in the order of writing. */
export const numbers = (
  fs: FileSystem.FileSystem,
  file: string
): Effect.Effect<ReadonlyArray<number>, PlatformError> => {
  const { directory, name } = split(file)
  return Effect.map(
    Effect.catchReason(fs.readDirectory(directory), "PlatformError", "NotFound", () => Effect.succeed([])),
    (entries) =>
      entries
        .filter((entry) => entry.startsWith(`${name}.`) && /^\d{6,}$/.test(entry.slice(name.length + 1)))
        .map((entry) => Number(entry.slice(name.length + 1)))
        .sort((a, b) => a - b)
  )
}

/** Whether two names, or a name and an open file, are the same file. Where files have no identity, they are. */
export const isSame = (one: FileSystem.File.Info, other: FileSystem.File.Info): boolean =>
  Option.isNone(one.ino) || Option.isNone(other.ino) || (one.dev === other.dev && one.ino.value === other.ino.value)

/** Says what was going on, and what the system said: for a full disk and the like Effect has no word of its own. */
export const unavailable =
  (file: string, operation: string) =>
  (error: PlatformError): JournalError => {
    const { cause } = error.reason
    const description = cause instanceof Error ? cause.message : error.message
    return new JournalError({ reason: new Unavailable({ file, operation, description, cause: error }) })
  }

/** Fills the bytes from a position on, as far as the file goes; how many there were. */
export const readFully = Effect.fnUntraced(function* (file: FileSystem.File, bytes: Uint8Array, position: number) {
  let filled = 0
  while (filled < bytes.length) {
    const count = yield* file.read(bytes.subarray(filled), { position: BigInt(position + filled) })
    if (count === 0) break
    filled += count
  }
  return filled
})
