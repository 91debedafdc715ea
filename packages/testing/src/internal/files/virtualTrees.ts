/** What works on whole trees, none of it by recursion: trees may be thousands of levels deep. */
import * as Result from "effect/Result"
import { readDirectory } from "./virtualAttributes.ts"
import { type Answer, done, isCode, refuse, refuseUnknown } from "./virtualError.ts"
import * as names from "./virtualNames.ts"
import { allows, type Directory, type Entry, permission, sorted } from "./virtualNode.ts"
import { type Caller, lookup } from "./virtualPath.ts"
import type { Volume } from "./virtualVolume.ts"

/** Makes a directory and those above it that are missing, each with the same mode. */
export const makeDirectories = (volume: Volume, caller: Caller, path: string, mode: number): Answer<void> => {
  const pending = [path]
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const made = names.makeDirectory(volume, caller, next, mode)
    if (Result.isSuccess(made)) continue
    if (isCode(made, "ENOENT")) {
      const above = next.slice(0, Math.max(0, next.lastIndexOf("/")))
      if (above === "") return made
      pending.push(next, above)
      continue
    }
    if (!isCode(made, "EEXIST", "EISDIR", "ELOOP", "ENAMETOOLONG")) return made
    const there = lookup(volume, caller, next, "always")
    if (Result.isSuccess(there) && there.success.node._tag === "Directory") continue
    if (isCode(made, "EEXIST") && pending.length > 0) return refuse("ENOTDIR")
    return Result.isSuccess(there) ? refuse("EEXIST") : Result.fail(there.failure)
  }
  return done
}

/**
 * The paths of everything below a directory, relative to it, in the order in which Node lists them. As there, links to
 * directories are followed; a directory within itself is listed only once, though.
 */
export const listTree = (volume: Volume, caller: Caller, path: string): Answer<Array<string>> =>
  Result.gen(function* () {
    const listed: Array<string> = []
    const top = yield* readDirectory(volume, caller, path)
    const base = volume.path.normalize(path)
    const pending: Array<Listing> = [{ directory: top, path: "", above: undefined }]
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      for (const { name } of sorted(next.directory)) {
        const relative = next.path === "" ? name : `${next.path}/${name}`
        listed.push(relative)
        const full = volume.path.join(base, relative)
        const found = lookup(volume, caller, full, "always")
        if (Result.isFailure(found) || found.success.node._tag !== "Directory") continue
        if (isAbove(next, found.success.node)) continue
        const directory = yield* readDirectory(volume, caller, full)
        pending.push({ directory, path: relative, above: next })
      }
    }
    return listed
  })

interface Listing {
  readonly directory: Directory
  readonly path: string
  readonly above: Listing | undefined
}

const isAbove = (listing: Listing, directory: Directory): boolean => {
  let at: Listing | undefined = listing
  while (at !== undefined && at.directory !== directory) at = at.above
  return at !== undefined
}

/** Removes a file, or with `recursive` a directory and everything in it. */
export const remove = (
  volume: Volume,
  caller: Caller,
  path: string,
  options: { readonly recursive?: boolean | undefined; readonly force?: boolean | undefined }
): Answer<void> => {
  const found = lookup(volume, caller, path, "before slash")
  if (Result.isFailure(found))
    return options.force === true && isCode(found, "ENOENT") ? done : Result.fail(found.failure)
  const { node } = found.success
  if (node._tag !== "Directory") return names.unlink(volume, caller, path)
  if (options.recursive !== true) return refuseUnknown("EISDIR")
  const removed = names.removeDirectory(volume, caller, path)
  // A link with a slash behind it: Node leaves both the link and the directory.
  if (isCode(removed, "ENOTDIR")) return done
  if (!keepsOthers(removed)) return removed
  const emptied = removeBelow(volume, caller, node)
  if (Result.isFailure(emptied)) return emptied
  const last = names.removeDirectory(volume, caller, path)
  // The path may have led through what was in it, as `a/..` does.
  return isCode(last, "ENOENT") ? done : last
}

/** Whether a directory could not be removed because of what is in it, or what is in it can be removed all the same. */
const keepsOthers = (answer: Answer<void>): boolean => isCode(answer, "ENOTEMPTY", "EPERM")

/** Removes what can be removed, and fails with the first thing that cannot. */
const removeBelow = (volume: Volume, caller: Caller, top: Directory): Answer<void> => {
  let failed: Answer<void> = done
  const note = (answer: Answer<void>): void => {
    if (Result.isSuccess(failed)) failed = answer
  }
  /** Directories come twice: before and after what is in them. */
  const pending: Array<readonly [entry: Entry, emptied: boolean]> = []
  const enter = (directory: Directory): void => {
    if (!allows(directory, caller.user, permission.read)) return note(refuse("EACCES"))
    for (const entry of sorted(directory).toReversed()) pending.push([entry, false])
  }
  enter(top)
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [entry, emptied] = next
    if (entry.node._tag !== "Directory") {
      note(names.unlinkEntry(volume, caller, entry))
      continue
    }
    const removed = names.removeEmpty(volume, caller, entry)
    if (!emptied && keepsOthers(removed)) {
      pending.push([entry, true])
      enter(entry.node)
    } else {
      note(removed)
    }
  }
  return failed
}
