/** An open file as Effect's `File`: with a cursor of its own, and a scope that closes it. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Result from "effect/Result"
import { infoOf } from "./virtualAttributes.ts"
import { type Answer, badArgument, done, refuse } from "./virtualError.ts"
import * as open from "./virtualOpen.ts"
import { moment, toEffect } from "./virtualSystem.ts"
import type { Volume } from "./virtualVolume.ts"

const largestPosition = 2n ** 63n - 1n

export const make = (volume: Volume, file: open.OpenFile): FileSystem.File => {
  let cursor = 0n

  const call = <A>(method: string, run: (moment: open.Moment) => Answer<A>): Effect.Effect<A, PlatformError> =>
    Effect.flatMap(moment, (moment) => toEffect(method, file.descriptor, run(moment)))

  const usable: () => Answer<void> = () => (file.closed ? refuse("EBADF") : done)

  const checkReadPosition = (position: bigint, length: number): Answer<number> => {
    if (position < 0n) return badArgument("Cannot read before the start of the file")
    if (position > largestPosition - BigInt(length)) return badArgument(`there is no position ${position}`)
    return Result.succeed(Number(position)) // what is lost beyond 2^53 lies behind the end of every file
  }
  const writePosition = (): Answer<number> =>
    cursor <= BigInt(Number.MAX_SAFE_INTEGER)
      ? Result.succeed(Number(cursor))
      : badArgument(`position exceeds the safe integer range: ${cursor}`)

  /** Moves the cursor over what was read, unless the position was given. Who asks for nothing makes no system call. */
  const read = (
    now: open.Moment,
    size: number,
    options: FileSystem.File.ReadOptions | undefined,
    buffer?: Uint8Array
  ): Answer<Uint8Array> =>
    Result.gen(function* () {
      yield* usable()
      const position = yield* checkReadPosition(options?.position ?? cursor, size)
      const target = buffer ?? new Uint8Array(available(size, position))
      if (size === 0) return target
      const count = yield* open.read(file, now, position, target)
      if (options?.position === undefined) cursor += BigInt(count)
      return target.subarray(0, count)
    })

  const write = (now: open.Moment, source: Uint8Array): Answer<number> =>
    Result.gen(function* () {
      const position = file.append ? 0 : yield* writePosition()
      const count = yield* open.write(volume, file, now, position, source)
      if (!file.append) cursor += BigInt(count)
      return count
    })

  /** How much there can be to read at most, so that a reader may ask for more than there is memory. */
  const available = (size: number, position: number): number => {
    const { node } = file.entry
    return node._tag === "File" ? Math.max(0, Math.min(size, node.bytes.size - position)) : size
  }

  return {
    [FileSystem.FileTypeId]: FileSystem.FileTypeId,
    stat: call("stat", () => Result.map(usable(), () => infoOf(file.entry.node))),
    sync: call("sync", usable),
    seek: (offset, from) =>
      call("seek", () =>
        Result.gen(function* () {
          yield* usable()
          const position = from === "start" ? offset : cursor + offset
          if (position < 0n) return yield* badArgument("Cannot seek before the start of the file")
          cursor = position
          return position
        })
      ),
    read: (buffer, options) =>
      call("read", (now) => Result.map(read(now, buffer.length, options, buffer), (part) => part.length)),
    readAlloc: (size, options) =>
      call("readAlloc", (now) =>
        Result.gen(function* () {
          if (!Number.isInteger(size) || size < 0) return yield* badArgument("size must be a non-negative integer")
          const part = yield* read(now, size, options)
          return part.length === 0 ? Option.none() : Option.some(part)
        })
      ),
    truncate: (length = 0) =>
      call("truncate", (now) =>
        Result.map(open.truncate(volume, file, now, length), () => {
          const end = BigInt(Math.max(0, length))
          if (!file.append && cursor > end) cursor = end
        })
      ),
    write: (buffer) => call("write", (now) => write(now, buffer)),
    writeAll: (buffer) =>
      call("writeAll", (now) =>
        Result.gen(function* () {
          yield* usable()
          for (let written = 0; written < buffer.length;) written += yield* write(now, buffer.subarray(written))
        })
      )
  }
}
