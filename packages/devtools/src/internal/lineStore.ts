/**
 * The journal of lines as it is written. The state is where good data ends: after anything failed, the file is opened
 * anew, cut there, and written on, so that a line that was written in part never stays and none is written twice.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { JournalError } from "../JournalError.ts"
import { descriptorOf } from "./descriptor.ts"
import { parse } from "./eventLines.ts"
import { numbered, numbers, readFully, split, unavailable } from "./journalFiles.ts"
import * as LineThread from "./lineThread.ts"
import type { Notes } from "./noteLines.ts"
import type { Store } from "./recorder.ts"

export interface Settings {
  readonly file: string
  readonly maxBytes: number
  readonly maxFiles: number
  /** Whether data is written again that may not have reached the disk, since a sync of it failed. */
  readonly keepsUnsynced: boolean
  /** Whether files are synced before they are full. */
  readonly syncs: boolean
}

interface Open {
  readonly file: FileSystem.File
  /** By which the thread that makes lines can write to it. None where lines are kept beyond the write. */
  readonly descriptor: number | undefined
  readonly scope: Scope.Closeable
}

/** What is kept to be written again after a failed sync is synced at the latest when it has grown to this. */
const maxUnsynced = 4 * 1024 * 1024

/** Longer texts get memory that is not kept. */
const maxScratch = 4 * 1024 * 1024

const newline = 0x0a

const nothing = new Uint8Array(0)

/** Opens, and repairs what a crash may have left. The scope closes the file. */
export const open = Effect.fnUntraced(function* (settings: Settings) {
  const fs = yield* FileSystem.FileSystem
  const { file: path } = settings
  const { directory } = split(path)
  const encoder = new TextEncoder()
  /** New memory costs more than what is done with it. Whatever is kept beyond the write has memory of its own. */
  let scratch: Uint8Array = nothing
  const bytesOf = (lines: string | Uint8Array): Uint8Array => {
    if (typeof lines !== "string") return settings.keepsUnsynced ? lines.slice() : lines
    const most = lines.length * 3 // bytes per UTF-16 unit
    if (settings.keepsUnsynced || most > maxScratch) return encoder.encode(lines)
    if (scratch.length < most) scratch = new Uint8Array(most)
    return scratch.subarray(0, encoder.encodeInto(lines, scratch).written)
  }
  let current: Open | undefined
  /** Where good data ends. */
  let end = 0
  /** Up to where a sync has succeeded; beyond is what `unsynced` holds. */
  let syncedEnd = 0
  let unsynced: Array<Uint8Array> = []
  let unsyncedBytes = 0
  /** The numbers of the full files. */
  let known: Array<number> = []
  let cannotRotate = false

  const close = Effect.suspend(() => {
    const closing = current
    current = undefined
    // A file system may say at the end that something went wrong; whatever matters was synced before.
    return closing === undefined ? Effect.void : Effect.ignoreCause(Scope.close(closing.scope, Exit.void))
  })

  /** What is written so far will not be written again. */
  const settle = () => {
    syncedEnd = end
    unsynced = []
    unsyncedBytes = 0
  }

  const openFile = Effect.gen(function* () {
    const exists = yield* fs.exists(path)
    if (!exists) yield* fs.makeDirectory(directory, { recursive: true })
    const scope = yield* Scope.make()
    const opened = Effect.gen(function* () {
      const file = yield* fs.open(path, { flag: exists ? "r+" : "w+" })
      const info = yield* file.stat
      const descriptor = settings.keepsUnsynced ? undefined : yield* descriptorOf(file, info)
      return { file, descriptor, size: Number(info.size) }
    })
    const { descriptor, file, size } = yield* opened.pipe(
      Scope.provide(scope),
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
    )
    current = { file, descriptor, scope }
    if (!exists && settings.syncs) yield* syncDirectory
    return { exists, file, size }
  })

  /** A new name in a directory is on the disk once the directory is; not every system can do that, and none need. */
  const syncDirectory = Effect.ignore(
    Effect.scoped(Effect.flatMap(fs.open(directory, { flag: "r" }), (opened) => opened.sync))
  )

  const write = (file: FileSystem.File, bytes: Uint8Array) =>
    Effect.gen(function* () {
      yield* file.seek(BigInt(end), "start")
      yield* file.writeAll(bytes)
      end += bytes.length
    })

  const cut = (file: FileSystem.File, at: number) =>
    Effect.map(file.truncate(at), () => {
      end = at
    })

  /** The file, ready to be written to at the end of good data. */
  const ready = Effect.gen(function* () {
    if (current !== undefined) return current.file
    const { exists, file, size } = yield* openFile
    const from = settings.keepsUnsynced ? syncedEnd : end
    if (!exists || size < from) {
      // Somebody took the file away. What was in it is not ours to write again.
      unsynced = []
      unsyncedBytes = 0
      end = size
      yield* repair(file, size)
    } else {
      yield* cut(file, from)
      for (const bytes of unsynced) yield* write(file, bytes)
    }
    return file
  })

  /** A last line that was not written to its end is cut off; one that only lacks its end gets it. */
  const repair = Effect.fnUntraced(function* (file: FileSystem.File, size: number) {
    const start = yield* lastLine(file, size)
    if (start < size) {
      const bytes = new Uint8Array(size - start)
      yield* readFully(file, bytes, start)
      if (Result.isSuccess(parse(new TextDecoder().decode(bytes)))) {
        end = size
        yield* write(file, Uint8Array.of(newline))
      } else {
        yield* cut(file, start)
      }
    } else {
      end = size
    }
    syncedEnd = end
  })

  const sync = (file: FileSystem.File) => Effect.map(file.sync, settle)

  /** Begins a new file. Where the name cannot be changed, the old one goes on growing. */
  const rotate = Effect.gen(function* () {
    const file = yield* ready
    if (settings.syncs) yield* sync(file)
    const number = (known.at(-1) ?? 0) + 1
    const renamed = yield* Effect.result(fs.rename(path, numbered(path, number)))
    if (Result.isFailure(renamed)) {
      const isFirst = !cannotRotate
      cannotRotate = true
      return isFirst
        ? yield* Effect.logWarning(
            `The journal ${path} grows beyond its limit, since it cannot be rotated: ${renamed.failure.message}`
          )
        : undefined
    }
    cannotRotate = false
    end = 0
    settle()
    known.push(number)
    yield* close
    yield* ready
    for (const old of known.splice(0, Math.max(0, known.length + 1 - settings.maxFiles))) {
      yield* Effect.ignore(fs.remove(numbered(path, old)))
    }
  })

  const attempt = <A>(operation: string, effect: Effect.Effect<A, PlatformError>): Effect.Effect<A, JournalError> =>
    effect.pipe(
      Effect.onError(() => close),
      Effect.mapError(unavailable(path, operation)),
      Effect.uninterruptible
    )

  const writeSome = (bytes: Uint8Array) =>
    Effect.gen(function* () {
      const file = yield* ready
      yield* write(file, bytes)
      if (!settings.keepsUnsynced) return
      unsynced.push(bytes)
      unsyncedBytes += bytes.length
      if (unsyncedBytes >= maxUnsynced) yield* sync(file)
    })

  yield* Effect.addFinalizer(() => close)
  const makeLines = yield* LineThread.make() // which ends before the file is closed
  yield* attempt(
    "open",
    Effect.gen(function* () {
      const { file, size } = yield* openFile
      yield* repair(file, size)
      known = [...(yield* numbers(fs, path))]
    })
  )

  /** Writes what fits into the file, or else begins a new one; how many bytes were written. */
  const step = Effect.fnUntraced(function* (bytes: Uint8Array) {
    let fitting = wholeLines(bytes, settings.maxBytes - end)
    if (fitting === 0 && end > 0) {
      yield* rotate
      fitting = cannotRotate ? bytes.length : wholeLines(bytes, settings.maxBytes - end)
    }
    // A line that is longer than a file may be gets a file of its own.
    const count = fitting === 0 ? bytes.indexOf(newline) + 1 : fitting
    yield* writeSome(bytes.subarray(0, count))
    return count
  })

  /** Lines of notes, but for those that the thread has written. */
  const unwritten = Effect.fnUntraced(function* (notes: Notes) {
    yield* ready
    const descriptor = current?.descriptor
    const target = descriptor === undefined ? undefined : { descriptor, position: end, room: settings.maxBytes - end }
    const made = yield* makeLines(notes, target)
    if (typeof made !== "number") return bytesOf(made)
    end += made
    return nothing
  })

  return {
    append: (notes) => {
      let rest: Uint8Array | undefined
      return Effect.gen(function* () {
        rest ??= yield* attempt("write", unwritten(notes))
        while (rest.length > 0) rest = rest.subarray(yield* attempt("write", step(rest)))
      })
    },
    sync: Effect.as(attempt("sync", Effect.flatMap(ready, sync)), true)
  } satisfies Store<Notes>
})

/** How many bytes of whole lines fit into so many bytes. */
const wholeLines = (bytes: Uint8Array, room: number): number =>
  bytes.length <= room ? bytes.length : room <= 0 ? 0 : bytes.lastIndexOf(newline, room - 1) + 1

/** Where the line begins that the file ends with: its size when that is empty. */
const lastLine = Effect.fnUntraced(function* (file: FileSystem.File, size: number) {
  const block = new Uint8Array(64 * 1024)
  let stop = size
  while (stop > 0) {
    const start = Math.max(0, stop - block.length)
    const bytes = block.subarray(0, stop - start)
    yield* readFully(file, bytes, start)
    const found = bytes.lastIndexOf(newline)
    if (found !== -1) return start + found + 1
    stop = start
  }
  return 0
})
