/** From a path to what it names, as the kernel walks: name by name, links followed where they stand, `..` after them. */
import type * as Random from "effect/Random"
import * as Result from "effect/Result"
import type { User } from "../../VirtualFileSystem.ts"
import { type Answer, refuse } from "./virtualError.ts"
import { allows, type Directory, type Entry, permission, superuser } from "./virtualNode.ts"
import type { Volume } from "./virtualVolume.ts"

/** Whoever walks along a path. */
export interface Walker {
  readonly user: User
  /** An absolute path. */
  readonly workdir: string
}

/** Whoever makes a system call, and when. */
export interface Caller extends Walker {
  readonly umask: number
  readonly now: number
  readonly random: Random.Random
}

/** Where a path ends: at an entry, or at a name that no entry has yet. */
export interface Place {
  readonly parent: Directory
  readonly name: string
  readonly kind: "name" | "." | ".." | "/"
  readonly entry: Entry | undefined
  /** A slash behind the last name: what is there must be a directory. */
  readonly slash: boolean
}

/** What to do with a link at the end of a path. */
export type Follow = "always" | "never" | "before slash" | "unless slash"

const follows: { readonly [follow in Follow]: (slash: boolean) => boolean } = {
  always: () => true,
  never: () => false,
  "before slash": (slash) => slash,
  "unless slash": (slash) => !slash
}

const longestPath = 4095
const longestName = 255
const maximumLinks = 40

/** How many bytes a text has in UTF-8. */
export const byteLength = (text: string): number => {
  let length = text.length
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit >= 0x800 && (unit < 0xd800 || unit > 0xdfff)) length += 2
    else if (unit >= 0x80) length += 1 // two surrogates are four bytes
  }
  return length
}

const isLonger = (text: string, limit: number): boolean =>
  text.length > limit || (text.length * 3 > limit && byteLength(text) > limit)

/** What a text becomes when it goes through UTF-8. */
const wellFormed = (text: string): string => text.replaceAll(/\p{Surrogate}/gu, "\uFFFD")

/** Checks what can be checked without looking at files, and gives the path as the system sees it. */
export const checkPath = (path: string): Answer<string> => {
  const given = wellFormed(path)
  if (given === "") return refuse("ENOENT")
  return isLonger(given, longestPath) ? refuse("ENAMETOOLONG") : Result.succeed(given)
}

/** The names in a path, the first one last, where `pop` takes it. */
const namesOf = (path: string): Array<string> => {
  const names: Array<string> = []
  for (let end = path.length; end > 0;) {
    const slash = path.lastIndexOf("/", end - 1)
    if (slash + 1 < end) names.push(path.slice(slash + 1, end))
    end = slash
  }
  return names
}

const start = (volume: Volume, caller: Walker, path: string): Answer<Directory> => {
  if (path.startsWith("/")) return Result.succeed(volume.root)
  // A process is in its working directory already, whether it could get there now or not.
  const everything: Walker = { user: superuser, workdir: "/" }
  return Result.flatMap(lookup(volume, everything, caller.workdir, "always"), ({ node }) =>
    node._tag === "Directory" ? Result.succeed(node) : refuse("ENOTDIR")
  )
}

/** Walks along a path to its last name, and looks what it names. */
export const locate = (volume: Volume, caller: Walker, path: string, follow: Follow): Answer<Place> =>
  Result.flatMap(approach(volume, caller, path, follow), checkName)

/** The same without a look at the last name's length, which some calls see only later. */
export const approach = (volume: Volume, caller: Walker, path: string, follow: Follow): Answer<Place> =>
  Result.flatMap(checkPath(path), (given) =>
    Result.flatMap(start(volume, caller, given), (from) => walk(volume, caller, from, given, follow))
  )

export const checkName = (place: Place): Answer<Place> =>
  isLonger(place.name, longestName) ? refuse("ENAMETOOLONG") : Result.succeed(place)

const walk = (volume: Volume, caller: Walker, from: Directory, path: string, follow: Follow): Answer<Place> => {
  let at = from
  let slash = path.endsWith("/")
  let links = 0
  const names = namesOf(path)
  for (;;) {
    const name = names.pop()
    if (name === undefined) {
      return Result.succeed({ parent: at, name: "", kind: "/", entry: at.entry, slash })
    }
    if (!allows(at, caller.user, permission.execute)) return refuse("EACCES")
    const isLast = names.length === 0
    if (name === "." || name === "..") {
      if (name === "..") at = at.entry.parent ?? at
      if (isLast) return Result.succeed({ parent: at, name, kind: name, entry: at.entry, slash })
      continue
    }
    if (!isLast && isLonger(name, longestName)) return refuse("ENAMETOOLONG")
    const entry = at.entries.get(name)
    if (entry?.node._tag === "SymbolicLink" && (!isLast || follows[follow](slash))) {
      if (++links > maximumLinks) return refuse("ELOOP")
      const { target } = entry.node
      if (target.startsWith("/")) at = volume.root
      if (isLast && target.endsWith("/")) slash = true
      for (const next of namesOf(target)) names.push(next)
      continue
    }
    if (isLast) return Result.succeed({ parent: at, name, kind: "name", entry, slash })
    if (entry === undefined) return refuse("ENOENT")
    if (entry.node._tag !== "Directory") return refuse("ENOTDIR")
    at = entry.node
  }
}

/** What a path names. */
export const lookup = (volume: Volume, caller: Walker, path: string, follow: Follow): Answer<Entry> =>
  Result.flatMap(locate(volume, caller, path, follow), ({ entry, slash }) => {
    if (entry === undefined) return refuse("ENOENT")
    return slash && entry.node._tag !== "Directory" ? refuse("ENOTDIR") : Result.succeed(entry)
  })

/**
 * A path without links, made as Node's `realpath` makes it: `..` is taken away before links are looked at, in the path as
 * well as in the links' targets.
 */
export const realPath = (volume: Volume, caller: Walker, path: string): Answer<string> =>
  Result.gen(function* () {
    let real = ""
    const names = namesOf(volume.path.resolve(caller.workdir, path))
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      const next = `${real}/${name}`
      const { node } = yield* lookup(volume, caller, next, "never")
      if (node._tag !== "SymbolicLink") {
        real = next
        continue
      }
      // Also the end of links that lead in a circle.
      yield* lookup(volume, caller, next, "always")
      const resolved = volume.path.resolve(real === "" ? "/" : real, node.target, ...names.toReversed())
      names.splice(0, names.length, ...namesOf(resolved))
      real = ""
    }
    return real === "" ? "/" : real
  })
