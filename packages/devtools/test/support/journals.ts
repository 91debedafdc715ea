/** What tests of journals share: events, a hub to publish them, and disks that fail. */
import {
  type EnvironmentId,
  EventHandler,
  type ImageId,
  SandboxEvent,
  type SandboxId,
  type SessionId
} from "@effect-sandbox/core"
import type { JournalWriter } from "@effect-sandbox/devtools"
import { NodeServices } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import { Arbitrary, Context, Effect, Exit, FileSystem, Layer, PlatformError, Scope } from "effect"
import { closeSync, openSync } from "node:fs"

/** Any events at all. */
export const events = Arbitrary.array(Arbitrary.schema(SandboxEvent.SandboxEvent), { maxLength: 40 })

/** As a journal gives them back: without keys that are there and undefined, and without the zero that is negative. */
export const plain = <A>(value: A): A => JSON.parse(JSON.stringify(value)) as A

/** An event that is easy to tell from others: the n-th. */
export const nth = (n: number): SandboxEvent.Of<"SandboxActivity"> => ({
  _tag: "SandboxActivity",
  environmentId: "lab" as EnvironmentId,
  timestamp: 1_000_000 + n,
  sandboxId: `lab/base:${n % 8}:0` as SandboxId,
  image: "base" as ImageId,
  sessionId: `s${n % 100}` as SessionId,
  durationMillis: n,
  name: "exec node -v"
})

/** Which one it is. */
export const numberOf = (event: SandboxEvent.SandboxEvent): number =>
  event._tag === "SandboxActivity" ? event.durationMillis : Number.NaN

export const range = (from: number, until: number): Array<number> =>
  Array.from({ length: until - from }, (_, index) => from + index)

/** Builds a layer with a hub, and gives its services and how to close it before the test ends. */
export const open = <I, E, R>(
  key: Context.Key<I, JournalWriter.JournalWriter>,
  layer: Layer.Layer<I | EventHandler.EventHub, E, R>
) =>
  Effect.gen(function* () {
    const scope = yield* Scope.fork(yield* Effect.scope)
    const context = yield* Layer.buildWithScope(Layer.fresh(layer), scope)
    const hub = Context.get(context, EventHandler.EventHub)
    return {
      journal: Context.get(context, key),
      hub,
      publish: (published: Iterable<SandboxEvent.SandboxEvent>) =>
        Effect.sync(() => {
          for (const event of published) hub.publish(event)
        }),
      close: Scope.close(scope, Exit.void)
    }
  })

export const temporary = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped())

/** A descriptor of Node's own, until the scope closes. */
export const descriptorOf = (path: string, flags: string) =>
  Effect.acquireRelease(
    Effect.sync(() => openSync(path, flags)),
    (descriptor) => Effect.sync(() => closeSync(descriptor))
  )

/** A disk that tests can fill, and slow down. */
export class Disk extends Context.Service<
  Disk,
  {
    /** How many more bytes can be written; what is beyond is refused after the rest was written. */
    room: number
    /** Whether syncs fail. */
    isBroken: boolean
    /** Whether they do not come back. */
    isHanging: boolean
    /** What every write waits for first. */
    delay: Effect.Effect<void>
    /** What was done to files. */
    readonly log: Array<string>
  }
>()("test/Disk") {}

/** A file with something between itself and whoever uses it. */
export const withBetween = (
  file: FileSystem.File,
  between: Partial<FileSystem.File> & { readonly fd?: number | undefined }
): FileSystem.File => ({
  [FileSystem.FileTypeId]: FileSystem.FileTypeId,
  stat: file.stat,
  sync: file.sync,
  seek: (offset, from) => file.seek(offset, from),
  read: (buffer, options) => file.read(buffer, options),
  readAlloc: (size, options) => file.readAlloc(size, options),
  truncate: (length) => file.truncate(length),
  write: (buffer) => file.write(buffer),
  writeAll: (buffer) => file.writeAll(buffer),
  ...between
})

const full = PlatformError.systemError({
  _tag: "Unknown",
  module: "FileSystem",
  method: "write",
  cause: new Error("ENOSPC: no space left on device, write")
})

/** The real file system on such a disk. */
export const diskLayer: Layer.Layer<Disk | FileSystem.FileSystem> = Layer.effectContext(
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const disk = Disk.of({ room: Infinity, isBroken: false, isHanging: false, delay: Effect.void, log: [] })
    const around = (file: FileSystem.File): FileSystem.File =>
      withBetween(file, {
        sync: Effect.suspend(() => {
          disk.log.push("sync")
          return disk.isHanging ? Effect.never : disk.isBroken ? Effect.fail(full) : file.sync
        }),
        writeAll: (buffer) =>
          Effect.suspend(() => {
            disk.log.push(`write ${buffer.length}`)
            const fits = Math.min(buffer.length, disk.room)
            disk.room -= fits
            return Effect.andThen(
              disk.delay,
              fits === buffer.length
                ? file.writeAll(buffer)
                : Effect.andThen(file.writeAll(buffer.subarray(0, fits)), Effect.fail(full))
            )
          })
      })
    return Context.make(Disk, disk).pipe(
      Context.add(FileSystem.FileSystem, {
        ...fs,
        open: (path, options) => Effect.map(fs.open(path, options), around)
      })
    )
  })
).pipe(Layer.provide(NodeServices.layer))

/** The same, without a page of differences when it is not. */
export const assertSame = (actual: ReadonlyArray<number>, expected: ReadonlyArray<number>, message = ""): void => {
  const at = actual.findIndex((value, index) => value !== expected[index])
  assert.deepStrictEqual(
    { at, length: actual.length, value: actual[at] },
    { at: -1, length: expected.length, value: undefined },
    message
  )
}
