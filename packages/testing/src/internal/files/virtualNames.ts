/** The system calls that make, move and remove names. */
import * as Result from "effect/Result"
import { type Answer, done, refuse } from "./virtualError.ts"
import {
  allows,
  type Directory,
  type Entry,
  isWithin,
  type Node,
  owns,
  permission,
  setGroup,
  setUser,
  sticky
} from "./virtualNode.ts"
import { approach, type Caller, checkName, checkPath, locate, lookup, type Place } from "./virtualPath.ts"
import type { Maker, Volume } from "./virtualVolume.ts"

/** Whether a user may put names into a directory. */
export const mayCreate = (parent: Directory, caller: Caller): Answer<void> =>
  allows(parent, caller.user, permission.write | permission.execute) ? done : refuse("EACCES")

const mayDelete = (entry: Entry, caller: Caller, as: "directory" | "other"): Answer<void> => {
  const { node, parent } = entry
  if (parent === undefined) return refuse("EBUSY")
  if (!allows(parent, caller.user, permission.write | permission.execute)) return refuse("EACCES")
  if ((parent.mode & sticky) !== 0 && !owns(node, caller.user) && !owns(parent, caller.user)) return refuse("EPERM")
  if (as === "directory") return node._tag === "Directory" ? done : refuse("ENOTDIR")
  return node._tag === "Directory" ? refuse("EISDIR") : done
}

/** A name that nothing has yet. */
const vacant = (volume: Volume, caller: Caller, path: string, as: "directory" | "other"): Answer<Place> =>
  Result.flatMap(locate(volume, caller, path, "never"), (place) => {
    if (place.entry !== undefined) return refuse("EEXIST")
    return place.slash && as === "other" ? refuse("ENOENT") : Result.succeed(place)
  })

/** Where something new can be made. */
const free = (volume: Volume, caller: Caller, path: string, as: "directory" | "other"): Answer<Place> =>
  Result.gen(function* () {
    const place = yield* vacant(volume, caller, path, as)
    yield* mayCreate(place.parent, caller)
    return place
  })

export const maker = (caller: Caller, mode: number): Maker => ({
  user: caller.user,
  mode: mode & ~caller.umask,
  now: caller.now
})

export const makeDirectory = (volume: Volume, caller: Caller, path: string, mode: number): Answer<void> =>
  Result.map(free(volume, caller, path, "directory"), ({ name, parent }) => {
    volume.makeDirectory(parent, name, maker(caller, mode & 0o1777))
  })

export const removeDirectory = (volume: Volume, caller: Caller, path: string): Answer<void> =>
  Result.gen(function* () {
    const { entry, kind } = yield* locate(volume, caller, path, "never")
    if (kind === "/") return yield* refuse("EBUSY")
    if (kind === ".") return yield* refuse("EINVAL")
    if (kind === "..") return yield* refuse("ENOTEMPTY")
    if (entry === undefined) return yield* refuse("ENOENT")
    return yield* removeEmpty(volume, caller, entry)
  })

export const removeEmpty = (volume: Volume, caller: Caller, entry: Entry): Answer<void> =>
  Result.gen(function* () {
    yield* mayDelete(entry, caller, "directory")
    if (entry.node._tag === "Directory" && entry.node.entries.size > 0) return yield* refuse("ENOTEMPTY")
    volume.unlink(entry, caller.now)
  })

export const unlink = (volume: Volume, caller: Caller, path: string): Answer<void> =>
  Result.gen(function* () {
    const { entry, kind, slash } = yield* locate(volume, caller, path, "never")
    if (kind !== "name") return yield* refuse("EISDIR")
    if (entry === undefined) return yield* refuse("ENOENT")
    if (slash) return yield* refuse(entry.node._tag === "Directory" ? "EISDIR" : "ENOTDIR")
    return yield* unlinkEntry(volume, caller, entry)
  })

export const unlinkEntry = (volume: Volume, caller: Caller, entry: Entry): Answer<void> =>
  Result.map(mayDelete(entry, caller, "other"), () => volume.unlink(entry, caller.now))

/** As with `fs.protected_hardlinks`, which is on nearly everywhere: only files that one may read and write. */
const mayLink = (node: Node, caller: Caller): boolean =>
  owns(node, caller.user) ||
  (node._tag === "File" &&
    (node.mode & setUser) === 0 &&
    (node.mode & (setGroup | 0o010)) !== (setGroup | 0o010) &&
    allows(node, caller.user, permission.read | permission.write))

export const link = (volume: Volume, caller: Caller, from: string, to: string): Answer<void> =>
  Result.gen(function* () {
    const { node } = yield* lookup(volume, caller, from, "before slash")
    const { name, parent } = yield* vacant(volume, caller, to, "other")
    if (!mayLink(node, caller)) return yield* refuse("EPERM")
    yield* mayCreate(parent, caller)
    if (node._tag === "Directory") return yield* refuse("EPERM")
    volume.link(parent, name, node, caller.now)
  })

export const symlink = (volume: Volume, caller: Caller, target: string, path: string): Answer<void> =>
  Result.gen(function* () {
    const given = yield* checkPath(target)
    const { name, parent } = yield* free(volume, caller, path, "other")
    volume.makeLink(parent, name, given, { user: caller.user, mode: 0o777, now: caller.now })
  })

export const readLink = (volume: Volume, caller: Caller, path: string): Answer<string> =>
  Result.gen(function* () {
    const { node } = yield* lookup(volume, caller, path, "before slash")
    if (node._tag !== "SymbolicLink") return yield* refuse("EINVAL")
    node.accessed = caller.now
    return node.target
  })

export const rename = (volume: Volume, caller: Caller, from: string, to: string): Answer<void> =>
  Result.gen(function* () {
    const source = yield* approach(volume, caller, from, "never")
    const target = yield* approach(volume, caller, to, "never")
    if (source.kind !== "name" || target.kind !== "name") return yield* refuse("EBUSY")
    const { entry } = yield* checkName(source)
    if (entry === undefined) return yield* refuse("ENOENT")
    const { entry: replaced } = yield* checkName(target)
    const isDirectory = entry.node._tag === "Directory"
    if (!isDirectory && (source.slash || target.slash)) return yield* refuse("ENOTDIR")
    if (isWithin(entry.node, target.parent)) return yield* refuse("EINVAL")
    if (replaced !== undefined && source.parent !== target.parent && isWithin(replaced.node, source.parent)) {
      return yield* refuse("ENOTEMPTY")
    }
    if (replaced?.node === entry.node) return
    yield* mayDelete(entry, caller, isDirectory ? "directory" : "other")
    if (replaced === undefined) yield* mayCreate(target.parent, caller)
    else yield* mayDelete(replaced, caller, isDirectory ? "directory" : "other")
    // Its `..` is about to change.
    const moves = isDirectory && source.parent !== target.parent
    if (moves && !allows(entry.node, caller.user, permission.write)) return yield* refuse("EACCES")
    if (replaced?.node._tag === "Directory" && replaced.node.entries.size > 0) return yield* refuse("ENOTEMPTY")
    volume.move(entry, target.parent, target.name, caller.now)
  })
