/**
 * Copies as Node's `cp` and `copyFile` make them, which users of the Node platform see: what exists is kept unless it may
 * be overwritten, modes come along, and relative links become absolute.
 */
import * as Result from "effect/Result"
import { changeMode, readDirectory, setMode, setOwner } from "./virtualAttributes.ts"
import { type Answer, done, isCode, refuse, refuseUnknown } from "./virtualError.ts"
import * as names from "./virtualNames.ts"
import { type Node, sorted, superuser } from "./virtualNode.ts"
import * as open from "./virtualOpen.ts"
import { type Caller, lookup } from "./virtualPath.ts"
import { makeDirectories } from "./virtualTrees.ts"
import type { Volume } from "./virtualVolume.ts"

export interface Options {
  readonly overwrite?: boolean | undefined
  readonly preserveTimestamps?: boolean | undefined
}

interface Copying {
  readonly volume: Volume
  readonly caller: Caller
  readonly options: Options
  /** What has still to be done, the next last: a list instead of recursion, for trees of any depth. */
  readonly work: Array<() => Answer<void>>
}

export const copy = (volume: Volume, caller: Caller, from: string, to: string, options: Options): Answer<void> => {
  const copying: Copying = { volume, caller, options, work: [] }
  copying.work.push(() => copyTop(copying, from, to))
  for (let next = copying.work.pop(); next !== undefined; next = copying.work.pop()) {
    const answer = next()
    if (Result.isFailure(answer)) return answer
  }
  return done
}

/** What is at the end of a path, where nothing may be, too. */
const find = (copying: Copying, path: string, follow: "always" | "before slash"): Answer<Node | undefined> => {
  const found = lookup(copying.volume, copying.caller, path, follow)
  if (Result.isSuccess(found)) return Result.succeed(found.success.node)
  return isCode(found, "ENOENT") ? Result.succeed(undefined) : Result.fail(found.failure)
}

const isWithinPath = (above: string, path: string): boolean =>
  path === above || path.startsWith(above === "/" ? above : `${above}/`)

const copyTop = (copying: Copying, from: string, to: string): Answer<void> =>
  Result.gen(function* () {
    const { caller, volume } = copying
    const { path } = volume
    const [source, target] = yield* check(copying, from, to)
    const sourceParent = path.resolve(caller.workdir, path.dirname(from))
    let above = path.resolve(caller.workdir, path.dirname(to))
    while (above !== sourceParent && above !== "/") {
      const node = yield* find(copying, above, "always")
      if (node === undefined) break
      if (node === source) return yield* refuseUnknown("EINVAL")
      above = path.dirname(above)
    }
    const parent = path.dirname(to)
    if ((yield* find(copying, parent, "always")) === undefined) {
      yield* makeDirectories(volume, caller, parent, 0o777)
    }
    yield* copyNode(copying, source, from, target, to)
  })

/** The source and the target, when the one may be copied over the other. */
const check = (copying: Copying, from: string, to: string): Answer<readonly [Node, Node | undefined]> =>
  Result.gen(function* () {
    const { caller, volume } = copying
    const source = (yield* lookup(volume, caller, from, "before slash")).node
    const target = yield* find(copying, to, "before slash")
    if (source === target) return yield* refuseUnknown("EINVAL")
    const isDirectory = source._tag === "Directory"
    if (target !== undefined && isDirectory && target._tag !== "Directory") return yield* refuseUnknown("EISDIR")
    if (target?._tag === "Directory" && !isDirectory) return yield* refuseUnknown("ENOTDIR")
    const absolute = (path: string) => volume.path.resolve(caller.workdir, path)
    if (isDirectory && isWithinPath(absolute(from), absolute(to))) return yield* refuseUnknown("EINVAL")
    return [source, target] as const
  })

const copyNode = (copying: Copying, source: Node, from: string, target: Node | undefined, to: string): Answer<void> => {
  switch (source._tag) {
    case "Directory":
      return copyDirectory(copying, source, from, target, to)
    case "SymbolicLink":
      return copyLink(copying, source.target, from, target, to)
    default:
      return copyContent(copying, source, from, target, to)
  }
}

const copyDirectory = (
  copying: Copying,
  source: Node,
  from: string,
  target: Node | undefined,
  to: string
): Answer<void> =>
  Result.gen(function* () {
    const { caller, volume, work } = copying
    if (target === undefined) {
      yield* names.makeDirectory(volume, caller, to, 0o777)
      const { mode } = source
      work.push(() => changeMode(volume, caller, to, mode))
    }
    const directory = yield* readDirectory(volume, caller, from)
    for (const { name } of sorted(directory).toReversed()) {
      const fromItem = volume.path.join(from, name)
      const toItem = volume.path.join(to, name)
      work.push(() =>
        Result.flatMap(check(copying, fromItem, toItem), ([source, target]) =>
          copyNode(copying, source, fromItem, target, toItem)
        )
      )
    }
  })

const copyContent = (
  copying: Copying,
  source: Node,
  from: string,
  target: Node | undefined,
  to: string
): Answer<void> =>
  Result.gen(function* () {
    const { caller, options, volume } = copying
    if (target !== undefined) {
      if (options.overwrite !== true) return
      yield* names.unlink(volume, caller, to)
    }
    yield* copyFile(volume, caller, from, to)
    yield* changeMode(volume, caller, to, source.mode)
    if (options.preserveTimestamps !== true) return
    const { node } = yield* lookup(volume, caller, to, "always")
    node.accessed = source.accessed
    node.modified = source.modified
  })

const copyLink = (copying: Copying, link: string, from: string, target: Node | undefined, to: string): Answer<void> =>
  Result.gen(function* () {
    const { caller, volume } = copying
    const absolute = (link: string, path: string) =>
      volume.path.isAbsolute(link) ? link : volume.path.resolve(caller.workdir, volume.path.dirname(path), link)
    const aim = absolute(link, from)
    if (target !== undefined) {
      if (target._tag !== "SymbolicLink") return yield* refuse("EEXIST")
      const oldAim = absolute(target.target, to)
      const inside = (above: string, path: string) =>
        isWithinPath(volume.path.resolve(caller.workdir, above), volume.path.resolve(caller.workdir, path))
      const isDirectory = (yield* lookup(volume, caller, from, "always")).node._tag === "Directory"
      if (isDirectory && (inside(aim, oldAim) || inside(oldAim, aim))) return yield* refuseUnknown("EINVAL")
      yield* names.unlink(volume, caller, to)
    }
    yield* names.symlink(volume, caller, aim, to)
  })

/** Copies one file's content and permissions. What cannot be copied whole is removed again. */
export const copyFile = (volume: Volume, caller: Caller, from: string, to: string): Answer<void> =>
  Result.gen(function* () {
    const source = yield* open.open(volume, caller, from, "r", 0)
    open.close(volume, source)
    const target = yield* open.openWith(volume, caller, to, creating, source.entry.node.mode)
    open.close(volume, target)
    const copied = copyInto(volume, caller, source, target)
    if (Result.isFailure(copied) && target.entry.node._tag === "File") names.unlink(volume, caller, to)
    return yield* copied
  })

const creating: open.Access = {
  read: false,
  write: true,
  append: false,
  create: true,
  exclusive: false,
  truncate: false
}

const copyInto = (volume: Volume, caller: Caller, source: open.OpenFile, target: open.OpenFile): Answer<void> => {
  const from = source.entry.node
  const to = target.entry.node
  if (from === to) return done
  if (to._tag !== "File") return refuse("EINVAL")
  volume.resize(to, 0)
  setOwner(to, caller.user, from.uid, from.gid) // as far as it may
  const mode = setMode(to, caller.user, from.mode)
  if (Result.isFailure(mode)) return mode
  if (from._tag === "Directory") return refuse("EISDIR")
  if (from._tag === "File") {
    const shared = volume.share(from, to)
    if (Result.isFailure(shared)) return shared
    from.accessed = caller.now
  }
  // Who writes nothing takes no set-user bit away.
  const isEmpty = from._tag !== "File" || from.bytes.size === 0
  open.changed(volume, target.entry, isEmpty ? superuser : caller.user, caller.now)
  return done
}
