/** Content of files as streams, and whole: as much is on its way as the receiver has room for. */
import { CallLifetime } from "@effect-sandbox/core/SandboxDriver"
import { isReadonlyArrayNonEmpty, type NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { fileOperation, maxData } from "../protocol/frames.ts"
import type { Connection } from "./connection.ts"
import * as files from "./files.ts"
import * as frameBuffers from "./frameBuffers.ts"
import type { Operation } from "./operation.ts"
import { refuse } from "./systemError.ts"

/** The chunks that come without asking for a size. */
export const chunkSize = maxData

/** As much as Node reads into one piece of memory. */
const largestFile = 2 ** 31 - 1
const everything = 2n ** 63n - 1n

/** Runs an operation that has a stream, within a scope. */
const started = <A>(
  connection: Connection,
  request: files.Request<A>,
  streams: { readonly reads?: true | "lends"; readonly writes?: true }
): Effect.Effect<Operation<A>, PlatformError, Scope.Scope> =>
  Effect.uninterruptible(
    Effect.withFiber((fiber) => {
      const refused = files.refusePath(request)
      if (refused !== undefined) return Effect.fail(refused)
      const operation = files.start(connection, request, fiber.getRef(CallLifetime), streams)
      return Effect.as(
        Effect.addFinalizer(() => operation.abandon),
        operation
      )
    })
  )

const answerOf = <A>(operation: Operation<A>, request: files.Request<A>): Effect.Effect<A, PlatformError> =>
  Effect.mapError(operation.await, files.toError(request))

/** Runs an operation, and gives what came on its stream in one piece. */
export const download = <A>(
  connection: Connection,
  request: files.Request<A>,
  limit = Number.MAX_SAFE_INTEGER
): Effect.Effect<Uint8Array, PlatformError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber) => {
      const refused = files.refusePath(request)
      if (refused !== undefined) return Effect.fail(refused)
      const operation = files.start(connection, request, fiber.getRef(CallLifetime), { reads: true })
      const chunks: Array<Uint8Array> = []
      let size = 0
      const take = Effect.flatMap(operation.inbox?.pull ?? Cause.done(), (more) => {
        for (const chunk of more) {
          chunks.push(chunk)
          size += chunk.length
        }
        return size > limit
          ? Effect.fail(refuse("FileSystem", request.method, request.path, "EFBIG", "Unknown"))
          : Effect.void
      })
      const all = Pull.catchDone(Effect.forever(take, { disableYield: true }), () =>
        Effect.map(answerOf(operation, request), () => concat(chunks, size))
      )
      return Effect.onError(restore(all), () => operation.abandon)
    })
  )

const concat = (chunks: ReadonlyArray<Uint8Array>, size: number): Uint8Array => {
  const [first] = chunks
  if (first !== undefined && chunks.length === 1) return first
  const all = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    all.set(chunk, offset)
    offset += chunk.length
  }
  return all
}

const downloadRequest = (method: string, path: string, offset: bigint, size: bigint): files.Request<bigint> => ({
  method,
  path,
  operation: fileOperation.download,
  fields: (writer) => writer.str(path).u64(offset).u64(size),
  result: (reader) => reader.u64()
})

const uploadRequest = (method: string, path: string, flags: number, mode: number): files.Request<bigint> => ({
  method,
  path,
  operation: fileOperation.upload,
  fields: (writer) => writer.str(path).u32(flags).u32(mode),
  result: (reader) => reader.u64()
})

export const readFile = (connection: Connection, path: string): Effect.Effect<Uint8Array, PlatformError> =>
  download(connection, downloadRequest("readFile", path, 0n, BigInt(largestFile) + 1n), largestFile)

export const stream = (
  connection: Connection,
  path: string,
  offset: bigint,
  size: bigint = everything,
  chunk: number = chunkSize
): Stream.Stream<Uint8Array, PlatformError> => {
  const reads = chunk === chunkSize ? true : "lends"
  return Stream.unwrap(
    Effect.map(started(connection, downloadRequest("stream", path, offset, size), { reads }), ({ inbox }) => {
      const pull = inbox?.pull ?? Cause.done()
      return Stream.fromPull(Effect.sync(() => (chunk === chunkSize ? pull : rechunked(pull, chunk))))
    })
  )
}

/** The same bytes in chunks of a size, the last of which may be smaller; what is pulled is lent. */
const rechunked = <E>(
  pull: Pull.Pull<NonEmptyReadonlyArray<Uint8Array>, E>,
  size: number
): Pull.Pull<NonEmptyReadonlyArray<Uint8Array>, E> => {
  let block = new Uint8Array(size)
  let filled = 0
  const fill = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<Uint8Array> => {
    const full: Array<Uint8Array> = []
    for (const chunk of chunks) {
      for (let offset = 0; offset < chunk.length;) {
        const part = chunk.subarray(offset, offset + size - filled)
        block.set(part, filled)
        filled += part.length
        offset += part.length
        if (filled < size) continue
        full.push(block)
        block = new Uint8Array(size)
        filled = 0
      }
    }
    frameBuffers.giveBack(chunks)
    return full
  }
  const next: Pull.Pull<NonEmptyReadonlyArray<Uint8Array>, E> = Effect.suspend(() =>
    Pull.catchDone(
      Effect.flatMap(pull, (chunks) => {
        const full = fill(chunks)
        return isReadonlyArrayNonEmpty(full) ? Effect.succeed(full) : next
      }),
      () => {
        if (filled === 0) return Cause.done()
        const last = block.subarray(0, filled)
        filled = 0
        return Effect.succeed([last] as const)
      }
    )
  )
  return next
}

export const writeFile = (
  connection: Connection,
  path: string,
  data: Uint8Array,
  flags: number,
  mode: number
): Effect.Effect<void, PlatformError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber) => {
      const request = uploadRequest("writeFile", path, flags, mode)
      const refused = files.refusePath(request)
      if (refused !== undefined) return Effect.fail(refused)
      const operation = files.start(connection, request, fiber.getRef(CallLifetime), { writes: true })
      return Effect.onError(
        restore(finish(operation, request, operation.outbox?.write(data) ?? Effect.void)),
        () => operation.abandon
      )
    })
  )

/** Writes the last there is, and waits until all of it has been. */
const finish = (
  operation: Operation<bigint>,
  request: files.Request<bigint>,
  last: Effect.Effect<unknown, PlatformError>
): Effect.Effect<void, PlatformError> =>
  Effect.andThen(
    last,
    Effect.suspend(() => {
      operation.outbox?.end()
      return Effect.asVoid(answerOf(operation, request))
    })
  )

export interface Writing {
  /** Gives false when nobody takes more. The bytes may be changed afterwards. */
  readonly write: (bytes: Uint8Array) => Effect.Effect<boolean, PlatformError>
  /** Waits until everything is in the file. */
  readonly finish: Effect.Effect<void, PlatformError>
}

/** A file that is being written, until the scope closes. */
export const writing = (
  connection: Connection,
  {
    flags,
    method,
    mode,
    path
  }: { readonly method: string; readonly path: string; readonly flags: number; readonly mode: number }
): Effect.Effect<Writing, PlatformError, Scope.Scope> => {
  const request = uploadRequest(method, path, flags, mode)
  return Effect.map(started(connection, request, { writes: true }), (operation) => ({
    write: (bytes) => operation.outbox?.write(bytes) ?? Effect.succeed(false),
    finish: finish(operation, request, Effect.void)
  }))
}

export interface Reading {
  /** The chunks are lent: they are given back to `frameBuffers`. */
  readonly pull: Pull.Pull<NonEmptyReadonlyArray<Uint8Array>, PlatformError>
  /** What went wrong, if anything did, when there is nothing more. */
  readonly finish: Effect.Effect<void, PlatformError>
}

/** A file that is being read, until the scope closes. */
export const reading = (
  connection: Connection,
  { method, path }: { readonly method: string; readonly path: string }
): Effect.Effect<Reading, PlatformError, Scope.Scope> => {
  const request = downloadRequest(method, path, 0n, everything)
  return Effect.map(started(connection, request, { reads: "lends" }), (operation) => ({
    pull: operation.inbox?.pull ?? Cause.done(),
    finish: Effect.asVoid(answerOf(operation, request))
  }))
}

export const sink = (
  connection: Connection,
  path: string,
  flags: number,
  mode: number
): Sink.Sink<void, Uint8Array, never, PlatformError> =>
  Sink.unwrap(
    Effect.map(writing(connection, { method: "sink", path, flags, mode }), ({ finish, write }) =>
      Sink.fromTransform((upstream) =>
        Effect.flatMap(upstream, (chunks) => Effect.forEach(chunks, write, { discard: true })).pipe(
          Effect.forever({ disableYield: true }),
          Pull.catchDone(() => Effect.map(finish, () => [undefined] as const))
        )
      )
    )
  )
