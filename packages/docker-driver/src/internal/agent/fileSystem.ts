/** The files inside: Effect's whole `FileSystem` over a connection to the agent. */
import { CallLifetime } from "@effect-sandbox/core/SandboxDriver"
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import type { Connection } from "./connection.ts"
import { errnoNumber, openFlag } from "../protocol/errno.ts"
import { fileOperation } from "../protocol/frames.ts"
import { Reader } from "../protocol/payload.ts"
import { readInfo, typeOf } from "./fileInfo.ts"
import * as files from "./files.ts"
import * as openFile from "./openFile.ts"
import { refuse } from "./systemError.ts"
import * as transfer from "./transfer.ts"
import { watch } from "./watch.ts"

export interface Options {
  readonly connection: Connection
  /** Where relative paths start. */
  readonly workdir: string
  /** Where temporary files go unless a place is given. */
  readonly temporary: string
}

export interface AgentFileSystem {
  readonly fileSystem: FileSystem.FileSystem
  /** Makes the files that sessions have open unusable: a reset has closed them, and their numbers may come again. */
  readonly forgetSessionFiles: () => void
}

type Method<Name extends keyof FileSystem.FileSystem> = FileSystem.FileSystem[Name]

export const make = (options: Options): AgentFileSystem => {
  const { connection, temporary, workdir } = options
  const opened = new Set<openFile.OpenFile>()
  const call = <A>(request: files.Request<A>) => files.call(connection, request)

  const stat = (method: string, follow: boolean) => (path: string) =>
    call({
      method,
      path,
      operation: fileOperation.stat,
      fields: (writer) => writer.str(path).u8(follow ? 1 : 0),
      result: readInfo
    })

  const remove =
    (method: string): Method<"remove"> =>
    (path, { force = false, recursive = false } = {}) =>
      call({
        method,
        path,
        operation: fileOperation.remove,
        fields: (writer) =>
          writer
            .str(path)
            .u8(recursive ? 1 : 0)
            .u8(force ? 1 : 0),
        result: files.nothing,
        // Node finds out by itself that it is a directory, and has a number of its own for that.
        tag: (errno) => (errno === errnoNumber("EISDIR") ? "Unknown" : undefined)
      })

  const twoPaths = (method: string, operation: number) => (path: string, otherPath: string) =>
    call({
      method,
      path,
      otherPath,
      operation,
      fields: (writer) => writer.str(path).str(otherPath),
      result: files.nothing
    })

  const oneString = (method: string, operation: number) => (path: string) =>
    call({ method, path, operation, fields: (writer) => writer.str(path), result: (reader) => reader.str() })

  const list = (method: string, path: string, recursive: boolean) =>
    Effect.map(
      transfer.download(connection, {
        method,
        path,
        operation: fileOperation.list,
        fields: (writer) => writer.str(path).u8(recursive ? 1 : 0),
        result: files.nothing
      }),
      entriesOf
    )

  const temporaryPath = (
    method: string,
    kind: 0 | 1,
    { directory, prefix = "", suffix = "" }: Parameters<Method<"makeTempFile">>[0] & {} = {}
  ) => {
    const parent = withoutSlash(directory ?? temporary)
    return call({
      method,
      path: `${parent}/${prefix}`,
      otherPath: suffix,
      operation: fileOperation.mktemp,
      fields: (writer) => writer.str(parent).str(prefix).str(suffix).u8(kind),
      result: (reader) => reader.str()
    })
  }

  const temporaryScoped = (method: string, made: Effect.Effect<string, PlatformError>) =>
    Effect.acquireRelease(made, (path) =>
      remove(method)(path, { recursive: true, force: true }).pipe(
        // Of a sandbox that is gone everything is.
        Effect.catch((error) => (connection.end === undefined ? Effect.fail(error) : Effect.void)),
        Effect.ignoreCause({ log: "Warn", message: `could not remove ${path}` })
      )
    )

  const open: Method<"open"> = (path, { flag = "r", mode = 0o666, noFollow = false } = {}) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        const lifetime = fiber.getRef(CallLifetime)
        const flags = flagsOf(flag)
        const request: files.Request<number> = {
          method: "open",
          path,
          operation: fileOperation.open,
          fields: (writer) =>
            writer
              .str(path)
              .u32((flags ?? 0) | (noFollow ? openFlag.noFollow : 0))
              .u32(mode),
          result: (reader) => reader.u32()
        }
        const refused =
          files.refusePath(request) ?? (flags === undefined ? badFlag("open", flag) : checkMode("open", mode))
        if (refused !== undefined) return Effect.fail(refused)
        const operation = files.start(connection, request, lifetime)
        const close = (handle: number) =>
          Effect.ignore(
            files.call(
              connection,
              {
                method: "close",
                path: handle,
                operation: fileOperation.close,
                fields: (writer) => writer.u32(handle),
                result: files.nothing
              },
              lifetime
            )
          )
        // What was opened although nobody wants it any more.
        const undo = Effect.andThen(
          operation.abandon,
          Effect.suspend(() => (operation.exit?._tag === "Success" ? close(operation.exit.value) : Effect.void))
        )
        return Effect.gen(function* () {
          const number = yield* Effect.onError(
            Effect.mapError(restore(operation.await), files.toError(request)),
            () => undo
          )
          const file = openFile.make(connection, { number, lifetime, append: flag.startsWith("a") })
          opened.add(file)
          yield* Effect.addFinalizer(() =>
            Effect.suspend(() => {
              opened.delete(file)
              return file.forget() ? close(number) : Effect.void
            })
          )
          return file
        })
      })
    )

  const makeTempDirectory: Method<"makeTempDirectory"> = (given) => temporaryPath("makeTempDirectory", 1, given)
  const makeTempFile: Method<"makeTempFile"> = (given) => temporaryPath("makeTempFile", 0, given)

  const derived = FileSystem.make({
    access: (path, { readable = false, writable = false } = {}) =>
      call({
        method: "access",
        path,
        operation: fileOperation.access,
        fields: (writer) => writer.str(path).u8((readable ? 4 : 0) | (writable ? 2 : 0)),
        result: files.nothing
      }),
    chmod: (path, mode) =>
      checked(checkMode("chmod", mode), () =>
        call({
          method: "chmod",
          path,
          operation: fileOperation.chmod,
          fields: (writer) => writer.str(path).u32(mode),
          result: files.nothing
        })
      ),
    chown: (path, uid, gid) =>
      checked(checkId("uid", uid) ?? checkId("gid", gid), () =>
        call({
          method: "chown",
          path,
          operation: fileOperation.chown,
          fields: (writer) => writer.str(path).u32(uid).u32(gid),
          result: files.nothing
        })
      ),
    copy: (path, otherPath, { overwrite = false, preserveTimestamps = false } = {}) =>
      call({
        method: "copy",
        path,
        otherPath,
        operation: fileOperation.copy,
        fields: (writer) =>
          writer
            .str(path)
            .str(otherPath)
            .u8(overwrite ? 1 : 0)
            .u8(preserveTimestamps ? 1 : 0),
        result: files.nothing,
        // Node finds out by itself that a directory cannot replace a file.
        tag: (errno) => (errno === errnoNumber("EISDIR") ? "Unknown" : undefined)
      }),
    copyFile: twoPaths("copyFile", fileOperation.copyfile),
    link: twoPaths("link", fileOperation.link),
    lstat: stat("lstat", false),
    makeDirectory: (path, { mode = 0o777, recursive = false } = {}) =>
      checked(checkMode("makeDirectory", mode), () =>
        call({
          method: "makeDirectory",
          path,
          operation: fileOperation.mkdir,
          fields: (writer) =>
            writer
              .str(path)
              .u32(mode)
              .u8(recursive ? 1 : 0),
          result: files.nothing
        })
      ),
    makeTempDirectory,
    makeTempDirectoryScoped: (given) => temporaryScoped("makeTempDirectoryScoped", makeTempDirectory(given)),
    makeTempFile,
    makeTempFileScoped: (given) => temporaryScoped("makeTempFileScoped", makeTempFile(given)),
    open,
    readDirectory: (path, { recursive = false } = {}) =>
      Effect.map(list("readDirectory", path, recursive), (entries) => entries.map(({ name }) => name)),
    readDirectoryEntries: (path) => list("readDirectoryEntries", path, false),
    readFile: (path) => transfer.readFile(connection, path),
    readLink: oneString("readLink", fileOperation.readlink),
    realPath: oneString("realPath", fileOperation.realpath),
    remove: remove("remove"),
    rename: twoPaths("rename", fileOperation.rename),
    stat: stat("stat", true),
    symlink: twoPaths("symlink", fileOperation.symlink),
    truncate: (path, length = 0) =>
      checked(
        Number.isSafeInteger(length)
          ? undefined
          : files.badArgument("truncate", `a length is an integer, not ${length}`),
        () =>
          call({
            method: "truncate",
            path,
            operation: fileOperation.truncate,
            fields: (writer) => writer.str(path).u64(BigInt(Math.max(0, length))),
            result: files.nothing
          })
      ),
    utimes: (path, atime, mtime) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const times = { atime: nanosOf(path, atime, now), mtime: nanosOf(path, mtime, now) }
        if (typeof times.atime !== "bigint") return Effect.fail(times.atime)
        if (typeof times.mtime !== "bigint") return Effect.fail(times.mtime)
        const { atime: accessed, mtime: modified } = times
        return call({
          method: "utime",
          path,
          operation: fileOperation.utimes,
          fields: (writer) => writer.str(path).i64(accessed).i64(modified),
          result: files.nothing
        })
      }),
    watch: watch(connection, workdir),
    writeFile: (path, data, { flag = "w", mode = 0o666 } = {}) => {
      const flags = flagsOf(flag)
      if (flags === undefined) return Effect.fail(badFlag("writeFile", flag))
      return checked(checkMode("writeFile", mode), () => transfer.writeFile(connection, path, data, flags, mode))
    }
  })

  return {
    fileSystem: {
      ...derived,
      // Without a round trip for each chunk.
      stream: (path, given = {}) =>
        given.chunkSize === undefined || isChunkSize(given.chunkSize)
          ? transfer.stream(connection, path, sizeOf(given.offset) ?? 0n, sizeOf(given.bytesToRead), given.chunkSize)
          : derived.stream(path, given),
      sink: (path, { flag = "w", mode = 0o666 } = {}) => {
        const flags = flagsOf(flag)
        return flags === undefined || checkMode("sink", mode) !== undefined
          ? derived.sink(path, { flag, mode })
          : transfer.sink(connection, path, flags, mode)
      }
    },
    forgetSessionFiles: () => {
      for (const file of opened) {
        if (file.lifetime !== "session") continue
        opened.delete(file)
        file.forget()
      }
    }
  }
}

/** Others are refused by what is derived. */
const isChunkSize = (size: number): boolean => Number.isSafeInteger(size) && size > 0

const sizeOf = (size: ByteSize.Input | undefined): bigint | undefined =>
  size === undefined ? undefined : ByteSize.toBigInt(ByteSize.fromInputUnsafe(size))

const checked = <A>(
  refused: PlatformError | undefined,
  effect: () => Effect.Effect<A, PlatformError>
): Effect.Effect<A, PlatformError> => (refused === undefined ? effect() : Effect.fail(refused))

/** The path of a directory, so that a name can be put behind it. */
const withoutSlash = (path: string): string => path.replace(/(?<=.)\/+$/, "")

const entriesOf = (bytes: Uint8Array): Array<FileSystem.DirectoryEntry> => {
  const reader = new Reader(bytes)
  const entries: Array<FileSystem.DirectoryEntry> = []
  while (reader.hasMore) {
    const type = typeOf(reader.u8())
    entries.push({ type, name: reader.str() })
  }
  return entries
}

const flagsOf = (flag: string): number | undefined => {
  const [, letter, exclusive, plus] = /^([rwa])(x?)(\+?)$/.exec(flag) ?? []
  if (letter === undefined || (letter === "r" && exclusive === "x")) return undefined
  const access = plus === "+" ? openFlag.readWrite : letter === "r" ? openFlag.readOnly : openFlag.writeOnly
  const making = letter === "r" ? 0 : openFlag.create | (letter === "w" ? openFlag.truncate : openFlag.append)
  return access | making | (exclusive === "x" ? openFlag.exclusive : 0)
}

const badFlag = (method: string, flag: string) => files.badArgument(method, `${flag} is no flag to open a file with`)

/** A mode as it was given, which may be any 32 bits. */
const checkMode = (method: string, mode: number): PlatformError | undefined =>
  Number.isInteger(mode) && mode >= 0 && mode < 2 ** 32
    ? undefined
    : files.badArgument(method, `a mode is an integer from 0 to 2^32 - 1, not ${mode}`)

const checkId = (name: string, id: number): PlatformError | undefined =>
  Number.isInteger(id) && id >= -1 && id < 2 ** 32
    ? undefined
    : files.badArgument("chown", `${name} is an integer from -1, not ${id}`)

const latestNanos = 2n ** 63n - 1n

/** As Node does: a number is seconds, and one that is negative means now. */
const nanosOf = (path: string, time: Date | number, now: number): bigint | PlatformError => {
  if (typeof time === "number" && !Number.isFinite(time)) {
    return files.badArgument("utime", `a time is a Date or a number of seconds, not ${time}`)
  }
  const micros = typeof time !== "number" ? time.getTime() * 1000 : time < 0 ? now * 1000 : Math.floor(time * 1e6)
  const nanos = Number.isFinite(micros) ? BigInt(Math.floor(micros)) * 1000n : latestNanos + 1n
  return nanos > latestNanos || nanos < -latestNanos ? refuse("FileSystem", "utime", path, "EINVAL") : nanos
}
