/** Descriptors of open files: by them a thread can write to a file that was opened through Effect's `FileSystem`. */
import * as fs from "node:fs"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"

/**
 * The descriptor of a file that Node has open. None for other file systems, and none for one that puts something between
 * itself and Node: whatever that is, it wants to see what is written.
 */
export const descriptorOf = (
  file: FileSystem.File,
  { dev, ino }: FileSystem.File.Info
): Effect.Effect<number | undefined> => {
  // Files of Effect's Node platform have it, though their type does not say so.
  const descriptor = "fd" in file && Object.hasOwn(file, "fd") ? file.fd : undefined
  if (typeof descriptor !== "number" || Option.isNone(ino)) return Effect.undefined
  return Effect.callback((resume) => {
    // A number of another kind may be that of a file that has nothing to do with it.
    fs.fstat(descriptor, { bigint: true }, (error, found) => {
      const isIt = error === null && found.dev === dev && found.ino === ino.value
      resume(Effect.succeed(isIt ? descriptor : undefined))
    })
  })
}
