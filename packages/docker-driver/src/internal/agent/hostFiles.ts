/**
 * Files between this machine and a sandbox. As streams they would be new memory for every piece, which costs more than the
 * copying itself; here two pieces of memory do for a whole file: one is filled while the other is emptied.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import { openFlag } from "../protocol/errno.ts"
import type { Connection } from "./connection.ts"
import * as frameBuffers from "./frameBuffers.ts"
import * as transfer from "./transfer.ts"

export interface Options {
  readonly connection: Connection
  /** The files of this machine. */
  readonly host: FileSystem.FileSystem
  /** What is copied, on the side that it comes from. */
  readonly from: string
  /** Where to, on the other side; what is there is overwritten. */
  readonly to: string
  /** Of what is made. */
  readonly mode: number
}

const pieceSize = 1_048_576
/** Without those that let a program run as somebody else. */
const permissions = 0o777

export const upload = ({ connection, from, host, mode, to }: Options): Effect.Effect<void, PlatformError> =>
  Effect.gen(function* () {
    const file = yield* host.open(from)
    const fill = (piece: Uint8Array) => Effect.uninterruptible(file.read(piece))
    const flags = openFlag.writeOnly | openFlag.create | openFlag.truncate
    let writing: transfer.Writing | undefined
    yield* pump(
      fill,
      Effect.map(
        transfer.writing(connection, { method: "upload", path: to, flags, mode: mode & permissions }),
        (made) => {
          writing = made
          return made.write
        }
      )
    )
    yield* writing?.finish ?? Effect.void
  }).pipe(Effect.scoped)

export const download = ({ connection, from, host, mode, to }: Options): Effect.Effect<void, PlatformError> =>
  Effect.gen(function* () {
    const reading = yield* transfer.reading(connection, { method: "download", path: from })
    const open = Effect.map(
      host.open(to, { flag: "w", mode: mode & permissions }),
      (file) => (bytes: Uint8Array) => Effect.as(Effect.uninterruptible(file.writeAll(bytes)), true)
    )
    yield* pump(gather(reading.pull), open)
    yield* reading.finish
  }).pipe(Effect.scoped)

/**
 * Fills one piece while the other is emptied, until nothing is left or nobody takes any more. Where to is opened when the
 * first is there: what cannot be read overwrites nothing.
 */
const pump = (
  fill: (piece: Uint8Array) => Effect.Effect<number, PlatformError>,
  open: Effect.Effect<(bytes: Uint8Array) => Effect.Effect<boolean, PlatformError>, PlatformError, Scope.Scope>
) =>
  Effect.gen(function* () {
    let full = new Uint8Array(pieceSize)
    let empty = new Uint8Array(pieceSize)
    let size = yield* fill(full)
    const write = yield* open
    while (size > 0) {
      const [isTaken, next] = yield* Effect.all([write(full.subarray(0, size)), fill(empty)], { concurrency: 2 })
      if (!isTaken) return
      const last = full
      full = empty
      empty = last
      size = next
    }
  })

/** Fills pieces with the lent chunks that are pulled; 0 at the end. */
const gather = (pull: transfer.Reading["pull"]) => {
  /** What did not fit into the piece before; of the first, `offset` bytes did. */
  let chunks: ReadonlyArray<Uint8Array> = []
  let offset = 0
  return (piece: Uint8Array) => {
    let size = 0
    const copy = () => {
      let done = 0
      for (const chunk of chunks) {
        const part = chunk.subarray(offset, offset + piece.length - size)
        piece.set(part, size)
        size += part.length
        offset += part.length
        if (offset < chunk.length) break
        offset = 0
        done++
      }
      frameBuffers.giveBack(chunks.slice(0, done))
      chunks = chunks.slice(done)
    }
    const more: Effect.Effect<number, PlatformError> = Effect.suspend(() => {
      copy()
      if (size === piece.length) return Effect.succeed(size)
      return Pull.catchDone(
        Effect.flatMap(pull, (next) => {
          chunks = next
          return more
        }),
        () => Effect.succeed(size)
      )
    })
    return more
  }
}
