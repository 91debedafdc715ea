/** What a simulated sandbox is made from, and what its files look like before the first session. */
import * as Options from "@effect-sandbox/core/Options"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import type { SimProgram } from "../../SimProgram.ts"
import * as VirtualFileSystem from "../../VirtualFileSystem.ts"

/** Where a session's files are, what survives it, and where temporary files go. */
export const places = { workspace: "/workspace", home: "/home", temporary: "/tmp" } as const

/** Whom commands run as; the set-up of features is root's. */
export const sessionUser: VirtualFileSystem.User = { uid: 1000, gid: 1000 }
export const rootUser: VirtualFileSystem.User = { uid: 0, gid: 0 }

/** What an image holds besides the built-in commands. */
export interface SimImage {
  /** Its files. Those without an absolute path are in every session's workspace. Default: none. */
  readonly files?: { readonly [path: string]: VirtualFileSystem.InitialFile } | undefined
  /** Its commands, which go before the driver's and the built-in ones of the same name. Default: none. */
  readonly programs?: ReadonlyArray<SimProgram> | undefined
  /** Added to the environment of commands. Default: nothing. */
  readonly env?: { readonly [name: string]: string } | undefined
}

/** What is there for an id: under exactly this name, else under the first pattern that matches the whole id. */
export const imageFor = <A>(images: { readonly [idOrPattern: string]: A }, id: string): A | undefined =>
  images[id] ?? Object.entries(images).find(([key]) => Options.isPattern(key) && Options.whole(key).test(id))?.[1]

/** The files that every sandbox of the image starts with. */
export const templateOf = Effect.fnUntraced(function* (image: SimImage, capacity: number | undefined) {
  const files: { [path: string]: VirtualFileSystem.InitialFile } = {
    [places.home]: { directory: true },
    [places.workspace]: { directory: true }
  }
  for (const [path, file] of Object.entries(image.files ?? {})) {
    files[path.startsWith("/") ? path : `${places.workspace}/${path}`] = file
  }
  const made = yield* VirtualFileSystem.make({ capacity, files })
  yield* Effect.orDie(give(made.view(), places.workspace)) // root may change the owner of what it has just made
  return made
})

/** Gives a directory with everything in it to the session's user, but for what was given to somebody. */
const give = (files: FileSystem.FileSystem, path: string): Effect.Effect<void, PlatformError> =>
  Effect.gen(function* () {
    const info = yield* files.lstat(path)
    if (info.type === "SymbolicLink") return
    if (info.uid._tag === "None" || info.uid.value === 0) yield* files.chown(path, sessionUser.uid, sessionUser.gid)
    if (info.type !== "Directory") return
    for (const name of yield* files.readDirectory(path)) yield* give(files, `${path}/${name}`)
  })

/** Takes everything out of a directory, and makes it again when it has been removed or replaced (F26). */
export const wipe = (files: FileSystem.FileSystem, directory: string): Effect.Effect<void, PlatformError> =>
  Effect.gen(function* () {
    const found = yield* Effect.option(files.lstat(directory))
    if (found._tag === "None" || found.value.type !== "Directory") {
      yield* files.remove(directory, { force: true })
      return yield* files.makeDirectory(directory, { recursive: true })
    }
    for (const name of yield* files.readDirectory(directory)) {
      yield* files.remove(`${directory}/${name}`, { recursive: true, force: true })
    }
  })

/** Copies what is in a directory of one file system to the same place in another, with owners and permissions. */
export const restore = (
  from: FileSystem.FileSystem,
  to: FileSystem.FileSystem,
  path: string
): Effect.Effect<void, PlatformError> =>
  Effect.gen(function* () {
    const info = yield* from.lstat(path)
    if (info.type === "SymbolicLink") return yield* to.symlink(yield* from.readLink(path), path)
    if (info.type === "Directory") {
      yield* to.makeDirectory(path, { recursive: true })
      for (const name of yield* from.readDirectory(path)) yield* restore(from, to, `${path}/${name}`)
    } else {
      yield* to.writeFile(path, yield* from.readFile(path))
    }
    if (info.uid._tag === "Some" && info.gid._tag === "Some") yield* to.chown(path, info.uid.value, info.gid.value)
    yield* to.chmod(path, info.mode & 0o7777)
  })
