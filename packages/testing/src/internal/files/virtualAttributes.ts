/** The system calls about what is known of a node. */
import * as ByteSize from "effect/ByteSize"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { User } from "../../VirtualFileSystem.ts"
import { type Answer, badArgument, done, refuse } from "./virtualError.ts"
import { allows, type DeviceName, isRoot, type Node, owns, permission, setGroup, setUser } from "./virtualNode.ts"
import { byteLength, type Caller, type Follow, lookup } from "./virtualPath.ts"
import type { Volume } from "./virtualVolume.ts"

const typeBits = { File: 0o100000, Directory: 0o040000, SymbolicLink: 0o120000, CharacterDevice: 0o020000 } as const

const deviceMinor: { readonly [name in DeviceName]: bigint } = { null: 3n, zero: 5n, full: 7n, urandom: 9n }
const memoryDevices = 1n << 8n

const blockSize = 4096

const sizeOf = (node: Node): number =>
  node._tag === "File"
    ? node.bytes.size
    : node._tag === "Directory"
      ? blockSize
      : node._tag === "SymbolicLink"
        ? byteLength(node.target)
        : 0

const storedIn = (node: Node): number =>
  node._tag === "File" ? node.bytes.stored : node._tag === "Directory" ? blockSize : 0

export const infoOf = (node: Node): FileSystem.File.Info => ({
  type: node._tag,
  mtime: Option.some(new Date(node.modified)),
  atime: Option.some(new Date(node.accessed)),
  birthtime: Option.some(new Date(node.created)),
  dev: 1n,
  ino: Option.some(BigInt(node.ino)),
  mode: typeBits[node._tag] | node.mode,
  nlink: Option.some(BigInt(node.links)),
  uid: Option.some(node.uid),
  gid: Option.some(node.gid),
  rdev: Option.some(node._tag === "CharacterDevice" ? memoryDevices | deviceMinor[node.device] : 0n),
  size: ByteSize.bytes(sizeOf(node)),
  blksize: Option.some(ByteSize.bytes(blockSize)),
  blocks: Option.some(BigInt(Math.ceil(storedIn(node) / blockSize) * (blockSize / 512)))
})

export const stat = (volume: Volume, caller: Caller, path: string, follow: Follow): Answer<FileSystem.File.Info> =>
  Result.map(lookup(volume, caller, path, follow), ({ node }) => infoOf(node))

export const access = (volume: Volume, caller: Caller, path: string, wanted: number): Answer<void> =>
  Result.flatMap(lookup(volume, caller, path, "always"), ({ node }) =>
    allows(node, caller.user, wanted) ? done : refuse("EACCES")
  )

/** A mode as it was given, which may be any 32 bits. */
export const checkMode = (mode: number): Answer<number> =>
  Number.isInteger(mode) && mode >= 0 && mode < 2 ** 32
    ? Result.succeed(mode)
    : badArgument(`a mode is an integer from 0 to 2^32 - 1, not ${mode}`)

export const changeMode = (volume: Volume, caller: Caller, path: string, mode: number): Answer<void> =>
  Result.gen(function* () {
    const given = yield* checkMode(mode)
    const entry = yield* lookup(volume, caller, path, "always")
    yield* setMode(entry.node, caller.user, given)
    volume.watchers.changed(entry)
  })

export const setMode = (node: Node, user: User, mode: number): Answer<void> => {
  if (!owns(node, user)) return refuse("EPERM")
  const keepsGroup = isRoot(user) || user.gid === node.gid
  node.mode = mode & 0o7777 & (keepsGroup ? -1 : ~setGroup)
  return done
}

const unchangedId = 2 ** 32 - 1

const checkId = (name: string, id: number): Answer<number | undefined> => {
  if (!Number.isInteger(id) || id < -1 || id >= 2 ** 32) return badArgument(`${name} is an integer from -1, not ${id}`)
  return Result.succeed(id === -1 || id === unchangedId ? undefined : id)
}

export const changeOwner = (volume: Volume, caller: Caller, path: string, uid: number, gid: number): Answer<void> =>
  Result.gen(function* () {
    const newUser = yield* checkId("uid", uid)
    const newGroup = yield* checkId("gid", gid)
    const entry = yield* lookup(volume, caller, path, "always")
    yield* setOwner(entry.node, caller.user, newUser, newGroup)
    volume.watchers.changed(entry)
  })

/** Gives a node to another user or group, where one is given; only root may name any. */
export const setOwner = (
  node: Node,
  user: User,
  newUser: number | undefined,
  newGroup: number | undefined
): Answer<void> => {
  const isOwner = isRoot(user) || node.uid === user.uid
  const mayUser = newUser === undefined || isRoot(user) || (isOwner && newUser === node.uid)
  const mayGroup =
    newGroup === undefined || isRoot(user) || (isOwner && (newGroup === user.gid || newGroup === node.gid))
  const mode = node._tag === "Directory" ? node.mode : unprivileged(node, user)
  // Also who asks for no change at all takes those bits away, which only the owner may.
  if (!mayUser || !mayGroup || (mode !== node.mode && !isOwner)) return refuse("EPERM")
  node.mode = mode
  node.uid = newUser ?? node.uid
  node.gid = newGroup ?? node.gid
  return done
}

/** The mode without what lets a program run as its file's owner or group: that outlives no change of either. */
export const unprivileged = (node: Node, user: User): number => {
  const isProgram = (node.mode & 0o010) !== 0
  const isForeign = !isRoot(user) && user.gid !== node.gid
  return node.mode & ~setUser & (isProgram || isForeign ? ~setGroup : -1)
}

const latestDate = 8.64e15

/** As Node does: a number is seconds, and one that is negative means now. */
const toMillis = (time: Date | number, now: number): Answer<number> => {
  if (typeof time === "number" && !Number.isFinite(time)) {
    return badArgument(`a time is a Date or a number of seconds, not ${time}`)
  }
  const millis = typeof time !== "number" ? time.getTime() : time < 0 ? now : Math.floor(time * 1000)
  return Math.abs(millis) <= latestDate ? Result.succeed(millis) : refuse("EINVAL")
}

export const changeTimes = (
  volume: Volume,
  caller: Caller,
  path: string,
  accessed: Date | number,
  modified: Date | number
): Answer<void> =>
  Result.gen(function* () {
    const newAccessed = yield* toMillis(accessed, caller.now)
    const newModified = yield* toMillis(modified, caller.now)
    const entry = yield* lookup(volume, caller, path, "always")
    if (!owns(entry.node, caller.user)) return yield* refuse("EPERM")
    entry.node.accessed = newAccessed
    entry.node.modified = newModified
    volume.watchers.changed(entry)
  })

export const readDirectory = (volume: Volume, caller: Caller, path: string) =>
  Result.gen(function* () {
    const { node } = yield* lookup(volume, caller, path, "always")
    if (node._tag !== "Directory") return yield* refuse("ENOTDIR")
    if (!allows(node, caller.user, permission.read)) return yield* refuse("EACCES")
    node.accessed = caller.now
    return node
  })
