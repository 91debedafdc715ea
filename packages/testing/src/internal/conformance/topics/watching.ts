/** Watching files and directories for changes. */
import type { PlatformError } from "effect/PlatformError"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"

const check = inTopic("watch")

/** Watches a path; gives what waits for an event that is meant. */
const watching = (files: FileSystem.FileSystem, path: string, options: FileSystem.WatchOptions = {}) =>
  Effect.gen(function* () {
    const ready = yield* Deferred.make<void, PlatformError>()
    const events = yield* Queue.unbounded<FileSystem.WatchEvent>()
    yield* files.watch(path, { ...options, onReady: () => Deferred.doneUnsafe(ready, Effect.void) }).pipe(
      Stream.runForEach((event) => Queue.offer(events, event)),
      Effect.tapError((error) => Deferred.fail(ready, error)),
      Effect.forkScoped
    )
    yield* expect.promptly(Deferred.await(ready), `watching ${path}`)
    return (tags: ReadonlyArray<FileSystem.WatchEvent["_tag"]>, name: string, what: string) =>
      expect.promptly(
        Effect.repeat(Queue.take(events), {
          until: (event) => tags.includes(event._tag) && event.path.split("/").at(-1) === name
        }),
        `an event of ${what}`
      )
  })

export const checks = [
  check(
    "watch-directory",
    "making, changing and removing a file in a directory is told",
    { needs: ["watch"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        yield* files.makeDirectory("directory")
        const told = yield* watching(files, "directory")
        yield* files.writeFileString("directory/file", "")
        yield* told(["Create"], "file", "a new file")
        yield* files.writeFileString("directory/file", "changed")
        yield* told(["Update"], "file", "a change")
        yield* files.remove("directory/file")
        yield* told(["Remove"], "file", "a removal")
      })
  ),

  check("watch-commands", "what commands change is told as well", { needs: ["watch", "shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const told = yield* watching(sandbox.files, ".")
      yield* sandbox.output("echo x >made")
      yield* told(["Create", "Update"], "made", "a file that a command made")
      yield* sandbox.output("rm made")
      yield* told(["Remove"], "made", "a file that a command removed")
    })
  ),

  check("watch-file", "a single file can be watched", { needs: ["watch"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      const told = yield* watching(files, "file")
      yield* files.writeFileString("file", "changed")
      yield* told(["Update"], "file", "a change")
    })
  ),

  check(
    "watch-several",
    "several can watch, and one that stops does not stop the others",
    { needs: ["watch"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        const told = yield* watching(files, ".")
        yield* Effect.scoped(
          Effect.gen(function* () {
            const other = yield* watching(files, ".")
            yield* files.writeFileString("first", "")
            yield* other(["Create"], "first", "a new file, to the second watcher")
          })
        )
        yield* files.writeFileString("second", "")
        yield* told(["Create"], "second", "a new file, to the first watcher")
      })
  ),

  check("watch-fails", "watching what is missing is NotFound", { marks: ["F6"], needs: ["watch"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      const watch = expect.promptly(Stream.runDrain(files.watch("missing")), "watching what is missing")
      yield* expect.platformError(watch, "NotFound", "watching what is missing")
    })
  )
]
