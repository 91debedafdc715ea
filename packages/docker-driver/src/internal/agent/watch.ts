/** `watch`: the changes of a file, of a directory's entries, or of everything below, as a stream. */
import { CallLifetime } from "@effect-sandbox/core/SandboxDriver"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as PlatformError from "effect/PlatformError"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { eventKind, fileOperation } from "../protocol/frames.ts"
import type { Connection } from "./connection.ts"
import * as files from "./files.ts"

/** How many events are kept for a slow reader, as many as Linux keeps. */
const capacity = 16_384

const tags: { readonly [kind: number]: FileSystem.WatchEvent["_tag"] } = {
  [eventKind.created]: "Create",
  [eventKind.changed]: "Update",
  [eventKind.removed]: "Remove"
}

/** A stream that lost events ends with an error: whoever watches has to look again. */
export const watch =
  (connection: Connection, workdir: string): FileSystem.FileSystem["watch"] =>
  (path, options = {}) =>
    Stream.callback<FileSystem.WatchEvent, PlatformError.PlatformError>(
      (queue) =>
        Effect.gen(function* () {
          const request: files.Request<void> = {
            method: "watch",
            path,
            operation: fileOperation.watch,
            fields: (writer) => writer.str(path).u8(options.recursive === true ? 1 : 0),
            result: files.nothing
          }
          const refused = files.refusePath(request)
          if (refused !== undefined) return yield* refused
          const lost = () => Queue.failCauseUnsafe(queue, Cause.fail(lostEvents(path)))
          const onEvent = (kind: number, name: string) => {
            if (kind === eventKind.ready) return options.onReady?.()
            const _tag = tags[kind]
            if (_tag === undefined) return lost()
            if (!Queue.offerUnsafe(queue, { _tag, path: name === "" ? ownName(workdir, path) : name })) lost()
          }
          const lifetime = yield* CallLifetime
          const operation = yield* Effect.acquireRelease(
            Effect.sync(() => files.start(connection, request, lifetime, { onEvent })),
            (operation) => operation.abandon
          )
          yield* Effect.mapError(operation.await, files.toError(request))
          yield* Queue.end(queue)
        }),
      { bufferSize: capacity, strategy: "dropping" }
    )

const lostEvents = (path: string) =>
  PlatformError.systemError({
    _tag: "Unknown",
    module: "FileSystem",
    method: "watch",
    pathOrDescriptor: path,
    description: "there were too many events, and some of them are lost"
  })

/** The name of what is watched itself. */
const ownName = (workdir: string, path: string): string => {
  const names = (path.startsWith("/") ? path : `${workdir}/${path}`).split("/")
  const resolved: Array<string> = []
  for (const name of names) {
    if (name === "..") resolved.pop()
    else if (name !== "" && name !== ".") resolved.push(name)
  }
  return resolved.at(-1) ?? ""
}
