/**
 * Reads a journal of lines across its files, also while it is written and rotated by another process.
 *
 * A file stays open until it is read to its end, whatever it is called by then. Whether more may come is known from its
 * name: what is no longer called as the journal is never written to again.
 */
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as EventFilter from "../EventFilter.ts"
import type { ReadOptions } from "../EventJournal.ts"
import { Damaged, JournalError, JournalNotFound, NotAJournal } from "../JournalError.ts"
import { parse } from "./eventLines.ts"
import { isSame, numbered, numbers, readFully, sqliteMagic, unavailable } from "./journalFiles.ts"

interface Part {
  readonly name: string
  readonly number: number
  readonly file: FileSystem.File
  readonly info: FileSystem.File.Info
  readonly scope: Scope.Closeable
  /** Whether nothing is written to it any more. */
  isFull: boolean
  /** Where the first line begins that was not read. */
  position: number
}

const blockBytes = 256 * 1024

/** A longer line is not an event but damage, so that memory stays small. */
const maxLineBytes = 64 * 1024 * 1024

const newline = 0x0a

export const read = (
  path: string,
  options: ReadOptions
): Stream.Stream<SandboxEvent, JournalError, FileSystem.FileSystem> =>
  Stream.unwrap(
    Effect.map(Effect.all([FileSystem.FileSystem, Effect.scope]), ([fs, scope]) =>
      Stream.fromPull(Effect.sync(() => pull(fs, scope, path, options)))
    )
  )

const pull = (fs: FileSystem.FileSystem, scope: Scope.Scope, path: string, options: ReadOptions) => {
  const { follow = false, onDamage = "fail", pollInterval = "100 millis" } = options
  const passes = EventFilter.matches(options.filter ?? {})
  const decoder = new TextDecoder("utf-8", { fatal: true })
  let buffer = new Uint8Array(blockBytes)
  let current: Part | undefined
  let lastNumber = 0
  let hasRead = false
  /** Within a line that is too long. */
  let isSkipping = false
  let skipped = 0
  /** What was found when there still were events to give before it. */
  let failure: JournalError | undefined
  let isDone = false

  const openPart = Effect.fnUntraced(function* (name: string, number: number, isFull: boolean) {
    const own = yield* Scope.fork(scope)
    return yield* Effect.gen(function* () {
      const file = yield* Scope.provide(fs.open(name, { flag: "r" }), own)
      const info = yield* file.stat
      return { name, number, file, info, scope: own, isFull, position: 0 } satisfies Part as Part
    }).pipe(Effect.onError((cause) => Scope.close(own, Exit.failCause(cause))))
  })

  const closePart = (part: Part) => Effect.ignoreCause(Scope.close(part.scope, Exit.void))

  /** The file that comes after the last one, if it is there. What was removed meanwhile is left out. */
  const next: Effect.Effect<Part | undefined, PlatformError> = Effect.gen(function* () {
    while (true) {
      const number = (yield* numbers(fs, path)).find((each) => each > lastNumber)
      const opened = yield* (
        number === undefined ? openPart(path, 0, false) : openPart(numbered(path, number), number, true)
      ).pipe(Effect.catchReason("PlatformError", "NotFound", () => Effect.succeed(undefined)))
      if (number !== undefined) {
        if (opened !== undefined) return opened
        lastNumber = number // it was removed since
        continue
      }
      // Between looking and opening it may have got a number, which would then be the one to read.
      const isLast = !(yield* numbers(fs, path)).some((each) => each > lastNumber)
      if (isLast && (opened === undefined || (yield* isLive(opened)))) {
        return opened === undefined ? undefined : { ...opened, number: lastNumber + 1 }
      }
      if (opened !== undefined) yield* closePart(opened)
    }
  })

  /** Whether the file still bears the journal's name, so that more may be written to it. */
  const isLive = (part: Part): Effect.Effect<boolean, PlatformError> =>
    fs.stat(path).pipe(
      Effect.map((info) => isSame(info, part.info)),
      Effect.catchReason("PlatformError", "NotFound", () => Effect.succeed(false))
    )

  const damaged = (part: Part, position: number, description: string) =>
    new JournalError({ reason: new Damaged({ file: part.name, position, description }) })

  /** Takes note of damage; whether reading goes on. */
  const isTolerable = Effect.fnUntraced(function* (error: JournalError) {
    if (onDamage === "fail") {
      failure = error
      return false
    }
    if (skipped++ === 0) {
      yield* Effect.logWarning(`Damaged lines are left out, and only the first is told: ${error.message}`)
    }
    return true
  })

  /** The events of these bytes, the last of which ends a line or the file. */
  const decode = Effect.fnUntraced(function* (part: Part, bytes: Uint8Array) {
    const start = part.position
    const events: Array<SandboxEvent> = []
    const text = Result.try(() => decoder.decode(bytes))
    // Texts are split much faster than bytes, but only bytes tell where something is.
    const lines = Result.isSuccess(text) ? text.success.split("\n") : undefined
    let from = 0
    for (let index = 0; lines === undefined ? from < bytes.length : index < lines.length; index++) {
      const line = lines === undefined ? decodeLine(bytes, from) : Result.succeed(lines[index] ?? "")
      if (lines === undefined) from = endOfLine(bytes, from)
      if (Result.isSuccess(line) && line.success.trim() === "") continue
      const event = Result.flatMap(line, parse)
      if (Result.isSuccess(event)) {
        if (passes(event.success)) events.push(event.success)
        continue
      }
      if (!(yield* isTolerable(damaged(part, start + startOfLine(bytes, index), event.failure)))) break
    }
    return events
  })
  const decodeLine = (bytes: Uint8Array, from: number): Result.Result<string, string> =>
    Result.mapError(
      Result.try(() => decoder.decode(bytes.subarray(from, endOfLine(bytes, from)))),
      () => "not UTF-8"
    )

  const finish = Effect.fnUntraced(function* (part: Part) {
    lastNumber = part.number
    current = undefined
    yield* closePart(part)
  })

  /** One round: some events, or none while there is more to do, or the end. */
  const round: Effect.Effect<ReadonlyArray<SandboxEvent> | undefined, JournalError> = Effect.gen(function* () {
    if (failure !== undefined) return yield* failure
    if (current === undefined) {
      current = yield* Effect.mapError(next, unavailable(path, "open"))
      if (current === undefined) {
        if (follow) yield* Effect.sleep(pollInterval)
        else if (hasRead) return undefined
        else return yield* new JournalError({ reason: new JournalNotFound({ file: path }) })
        return []
      }
      hasRead = true
    }
    const part = current
    const count = yield* Effect.mapError(readFully(part.file, buffer, part.position), unavailable(part.name, "read"))
    const bytes = buffer.subarray(0, count)
    if (part.position === 0 && isSqlite(bytes)) {
      const description = "it is an SQLite database; SqliteJournal.read and Journal.read open such"
      return yield* new JournalError({ reason: new NotAJournal({ file: part.name, description }) })
    }

    const whole = isSkipping ? bytes.indexOf(newline) + 1 : bytes.lastIndexOf(newline) + 1
    if (whole > 0) {
      const events = isSkipping ? [] : yield* decode(part, bytes.subarray(0, whole))
      isSkipping = false
      part.position += whole
      return events
    }
    if (count === buffer.length) {
      if (isSkipping) {
        part.position += count
      } else if (buffer.length < maxLineBytes) {
        buffer = new Uint8Array(buffer.length * 2)
      } else {
        yield* isTolerable(damaged(part, part.position, `a line of more than ${maxLineBytes} bytes`))
        buffer = new Uint8Array(blockBytes)
        isSkipping = true
      }
      return []
    }

    // The end of the file, with a line that has no end unless there are no bytes.
    if (!part.isFull) {
      const hasName = yield* Effect.mapError(isLive(part), unavailable(path, "read"))
      if (!hasName) {
        part.isFull = true // and what came in just before it lost its name is still to be read
        return []
      }
      if (follow) {
        yield* Effect.sleep(pollInterval)
        return []
      }
      yield* finish(part)
      const last = Result.flatMap(decodeLine(bytes, 0), parse)
      isDone = true
      return Result.isSuccess(last) && !isSkipping && passes(last.success) ? [last.success] : []
    }
    const events = isSkipping ? [] : yield* decode(part, bytes)
    isSkipping = false
    yield* finish(part)
    return events
  })

  return Effect.gen(function* () {
    while (!isDone) {
      const events = yield* round
      if (events === undefined) break
      if (isReadonlyArrayNonEmpty(events)) return events
    }
    return yield* Cause.done()
  })
}

/** Where the line ends that begins here, its line break included. */
const endOfLine = (bytes: Uint8Array, from: number): number => {
  const found = bytes.indexOf(newline, from)
  return found === -1 ? bytes.length : found + 1
}

/** Where a line begins, by its number. */
const startOfLine = (bytes: Uint8Array, line: number): number => {
  let start = 0
  for (let index = 0; index < line; index++) start = endOfLine(bytes, start)
  return start
}

const isSqlite = (bytes: Uint8Array): boolean =>
  bytes.length >= sqliteMagic.length && [...sqliteMagic].every((char, index) => bytes[index] === char.charCodeAt(0))
