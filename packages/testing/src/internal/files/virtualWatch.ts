/** `watch`: the changes of a file, of a directory's entries, or of everything below, as a stream. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { refuse } from "./virtualError.ts"
import { allows, permission } from "./virtualNode.ts"
import { lookup } from "./virtualPath.ts"
import type { System } from "./virtualSystem.ts"

/** How many events are kept for a slow reader; those that come on top of them are lost, as in Linux. */
const capacity = 16_384

export const make =
  ({ call, volume }: System): FileSystem.FileSystem["watch"] =>
  (path, options) =>
    Stream.callback(
      (queue) =>
        Effect.acquireRelease(
          call("watch", path, (caller) =>
            Result.flatMap(lookup(volume, caller, path, "always"), ({ node }) => {
              if (!allows(node, caller.user, permission.read)) return refuse("EACCES")
              const watcher = {
                node,
                name: volume.path.basename(volume.path.resolve(caller.workdir, path)),
                recursive: options?.recursive === true,
                exists: () => Result.isSuccess(lookup(volume, caller, path, "always")),
                offer: offerTo(queue)
              }
              volume.watchers.add(watcher)
              return Result.succeed(watcher)
            })
          ),
          (watcher) => Effect.sync(() => volume.watchers.remove(watcher))
        ).pipe(Effect.tap(Effect.sync(() => options?.onReady?.()))),
      { bufferSize: capacity, strategy: "dropping" }
    )

/** As in Linux, an event like the last one that nobody has read yet says nothing new. */
const offerTo = (queue: Queue.Queue<FileSystem.WatchEvent, PlatformError | Cause.Done>) => {
  let last: FileSystem.WatchEvent | undefined
  return (event: FileSystem.WatchEvent): void => {
    const isUnread = Queue.sizeUnsafe(queue) > 0
    if (isUnread && last !== undefined && last._tag === event._tag && last.path === event.path) return
    last = event
    Queue.offerUnsafe(queue, event)
  }
}
