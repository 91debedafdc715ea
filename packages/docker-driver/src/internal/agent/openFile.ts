/** An open file inside as Effect's `File`: its cursor is on the host's side, and its scope closes it. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as PlatformError from "effect/PlatformError"
import { fileOperation, maxRead } from "../protocol/frames.ts"
import type { Connection } from "./connection.ts"
import { readInfo } from "./fileInfo.ts"
import * as files from "./files.ts"
import { refuse } from "./systemError.ts"

/** The handle's own position, which only handles that append are written at. */
const ownPosition = -1n
const largestPosition = 2n ** 63n - 1n

export interface OpenFile extends FileSystem.File {
  /** Whom the handle belongs to. */
  readonly lifetime: files.Lifetime
  /** Makes every further use of it fail; tells whether this is the first time. The agent's handle is not touched. */
  readonly forget: () => boolean
}

export interface Handle {
  readonly number: number
  /** Whether everything is written at the end. */
  readonly append: boolean
  readonly lifetime: files.Lifetime
}

export const make = (connection: Connection, { append, lifetime, number: handle }: Handle): OpenFile => {
  let cursor = 0n
  let isClosed = false

  const call = <A>(method: string, request: Pick<files.Request<A>, "fields" | "operation" | "result">) =>
    files.call(connection, { method, path: handle, ...request }, lifetime)

  /** Fails when it is closed: the agent may have given the number to another file. */
  const usable = <A>(method: string, effect: Effect.Effect<A, PlatformError.PlatformError>) =>
    Effect.suspend(() => (isClosed ? Effect.fail(refuse("FileSystem", method, handle, "EBADF")) : effect))

  const readOnce = (method: string, position: bigint, size: number) =>
    call(method, {
      operation: fileOperation.read,
      fields: (writer) => writer.u32(handle).i64(position).u32(size),
      result: (reader) => new Uint8Array(reader.rest())
    })

  /** As much as there is, in as many pieces as it takes. */
  const readFrom = (
    method: string,
    from: bigint,
    size: number
  ): Effect.Effect<Array<Uint8Array>, PlatformError.PlatformError> =>
    Effect.gen(function* () {
      const parts: Array<Uint8Array> = []
      let left = size
      do {
        const wanted = Math.min(left, maxRead)
        const part = yield* readOnce(method, from + BigInt(size - left), wanted)
        if (part.length > 0) parts.push(part)
        left -= part.length
        if (part.length < wanted) break
      } while (left > 0)
      return parts
    })

  /** Moves the cursor over what was read, unless the position was given. Who asks for nothing makes no system call. */
  const read = (method: string, size: number, options: FileSystem.File.ReadOptions | undefined) =>
    usable(
      method,
      Effect.suspend(() => {
        const explicit = options?.position
        const position = explicit ?? cursor
        if (position < 0n) return Effect.fail(files.badArgument(method, "Cannot read before the start of the file"))
        if (position > largestPosition - BigInt(size)) {
          return Effect.fail(files.badArgument(method, `there is no position ${position}`))
        }
        if (size === 0) return Effect.succeed([])
        return Effect.map(readFrom(method, position, size), (parts) => {
          if (explicit === undefined) cursor = position + BigInt(lengthOf(parts))
          return parts
        })
      })
    )

  const writeOnce = (method: string, buffer: Uint8Array) =>
    Effect.suspend(() => {
      if (!append && cursor > BigInt(Number.MAX_SAFE_INTEGER)) {
        return Effect.fail(files.badArgument(method, `position exceeds the safe integer range: ${cursor}`))
      }
      const position = append ? ownPosition : cursor
      const written = call(method, {
        operation: fileOperation.write,
        fields: (writer) => writer.u32(handle).i64(position).bytes(buffer.subarray(0, maxRead)),
        result: (reader) => reader.u32()
      })
      return Effect.map(written, (count) => {
        if (!append) cursor = position + BigInt(count)
        return count
      })
    })

  const writeFrom = (
    method: string,
    buffer: Uint8Array,
    offset: number
  ): Effect.Effect<void, PlatformError.PlatformError> =>
    Effect.flatMap(writeOnce(method, buffer.subarray(offset)), (count) => {
      if (count === 0) return Effect.fail(writeZero(method, handle))
      return offset + count < buffer.length ? writeFrom(method, buffer, offset + count) : Effect.void
    })

  return {
    [FileSystem.FileTypeId]: FileSystem.FileTypeId,
    lifetime,
    forget: () => {
      const isFirst = !isClosed
      isClosed = true
      return isFirst
    },
    stat: usable(
      "stat",
      call("stat", {
        operation: fileOperation.fstat,
        fields: (writer) => writer.u32(handle),
        result: readInfo
      })
    ),
    sync: usable(
      "sync",
      call("sync", {
        operation: fileOperation.fsync,
        fields: (writer) => writer.u32(handle),
        result: files.nothing
      })
    ),
    seek: (offset, from) =>
      usable(
        "seek",
        Effect.suspend(() => {
          const position = from === "start" ? offset : cursor + offset
          if (position < 0n) return Effect.fail(files.badArgument("seek", "Cannot seek before the start of the file"))
          cursor = position
          return Effect.succeed(position)
        })
      ),
    read: (buffer, options) =>
      Effect.map(read("read", buffer.length, options), (parts) => {
        copyInto(buffer, parts)
        return lengthOf(parts)
      }),
    readAlloc: (size, options) => {
      if (!Number.isInteger(size) || size < 0) {
        return Effect.fail(files.badArgument("readAlloc", "size must be a non-negative integer"))
      }
      return Effect.map(read("readAlloc", size, options), (parts) => {
        const [first] = parts
        if (first === undefined) return Option.none()
        if (parts.length === 1) return Option.some(first)
        const all = new Uint8Array(lengthOf(parts))
        copyInto(all, parts)
        return Option.some(all)
      })
    },
    truncate: (length = 0) => {
      if (!Number.isSafeInteger(length)) {
        return Effect.fail(files.badArgument("truncate", `a length is an integer, not ${length}`))
      }
      const size = BigInt(Math.max(0, length))
      const cut = call("truncate", {
        operation: fileOperation.ftruncate,
        fields: (writer) => writer.u32(handle).u64(size),
        result: files.nothing
      })
      return usable(
        "truncate",
        Effect.map(cut, () => {
          if (!append && cursor > size) cursor = size
        })
      )
    },
    write: (buffer) => usable("write", writeOnce("write", buffer)),
    writeAll: (buffer) => usable("writeAll", buffer.length === 0 ? Effect.void : writeFrom("writeAll", buffer, 0))
  }
}

const writeZero = (method: string, handle: number) =>
  PlatformError.systemError({
    module: "FileSystem",
    method,
    _tag: "WriteZero",
    pathOrDescriptor: handle,
    description: "write returned 0 bytes written"
  })

const lengthOf = (parts: ReadonlyArray<Uint8Array>): number => parts.reduce((sum, { length }) => sum + length, 0)

const copyInto = (target: Uint8Array, parts: ReadonlyArray<Uint8Array>): void => {
  let offset = 0
  for (const part of parts) {
    target.set(part, offset)
    offset += part.length
  }
}
