/** Open files: the system calls that open them, and those that read, write and cut off through them. */
import type * as FileSystem from "effect/FileSystem"
import type * as Random from "effect/Random"
import * as Result from "effect/Result"
import { unprivileged } from "./virtualAttributes.ts"
import { type Answer, badArgument, done, refuse, refuseUnknown } from "./virtualError.ts"
import { mayCreate, maker } from "./virtualNames.ts"
import { allows, type Device, type Directory, type Entry, isRoot, permission, setGroup } from "./virtualNode.ts"
import { type Caller, type Follow, locate, type Place } from "./virtualPath.ts"
import type { Volume } from "./virtualVolume.ts"

/** What an open flag asks for. */
export interface Access {
  readonly read: boolean
  readonly write: boolean
  readonly append: boolean
  readonly create: boolean
  readonly exclusive: boolean
  readonly truncate: boolean
}

export interface OpenFile extends Pick<Access, "read" | "write" | "append"> {
  readonly descriptor: number
  /** The name that it was opened by, wherever that has been moved to. */
  readonly entry: Entry
  /** Who opened it, which decides what may be done with it. */
  readonly user: Caller["user"]
  closed: boolean
}

/** What a call on an open file needs to know of its moment. */
export interface Moment {
  readonly now: number
  readonly random: Random.Random
}

const accessOf = (flag: string): Access | undefined => {
  const [, letter, exclusive, plus] = /^([rwa])(x?)(\+?)$/.exec(flag) ?? []
  if (letter === undefined || (letter === "r" && exclusive === "x")) return undefined
  return {
    read: letter === "r" || plus === "+",
    write: letter !== "r" || plus === "+",
    append: letter === "a",
    create: letter !== "r",
    exclusive: exclusive === "x",
    truncate: letter === "w"
  }
}

export const open = (
  volume: Volume,
  caller: Caller,
  path: string,
  flag: FileSystem.OpenFlag,
  mode: number,
  noFollow = false
): Answer<OpenFile> =>
  Result.gen(function* () {
    const access = accessOf(flag)
    if (access === undefined) return yield* badArgument(`${flag} is no flag to open a file with`)
    return yield* openWith(volume, caller, path, access, mode, noFollow)
  })

export const openWith = (
  volume: Volume,
  caller: Caller,
  path: string,
  access: Access,
  mode: number,
  noFollow = false
): Answer<OpenFile> =>
  Result.gen(function* () {
    const place = yield* locate(volume, caller, path, followOf(access, noFollow))
    const entry = access.create ? yield* obtain(volume, caller, place, access, mode) : yield* existing(place)
    const isNew = place.entry === undefined
    if (!isNew) yield* mayOpen(caller, entry, access)
    if (!isNew && access.truncate) truncateNode(volume, entry, caller)
    const { append, read, write } = access
    const descriptor = volume.open(entry.node)
    return { descriptor, entry, user: caller.user, append, read, write, closed: false }
  })

const followOf = (access: Access, noFollow: boolean): Follow => {
  if (access.create) return noFollow || access.exclusive ? "never" : "unless slash"
  return noFollow ? "before slash" : "always"
}

const existing = ({ entry, slash }: Place): Answer<Entry> => {
  if (entry === undefined) return refuse("ENOENT")
  return slash && entry.node._tag !== "Directory" ? refuse("ENOTDIR") : Result.succeed(entry)
}

const obtain = (volume: Volume, caller: Caller, place: Place, access: Access, mode: number): Answer<Entry> => {
  const { entry, kind, name, parent, slash } = place
  if (kind === "name" && slash) return refuse("EISDIR")
  if (entry !== undefined) return access.exclusive ? refuse("EEXIST") : Result.succeed(entry)
  return Result.map(mayCreate(parent, caller), () =>
    volume.makeFile(parent, name, maker(caller, fileMode(parent, caller, mode)))
  )
}

/** Nobody makes a program that runs as a group that is not theirs. */
const fileMode = (parent: Directory, { user }: Caller, mode: number): number => {
  const isProgram = (mode & (setGroup | 0o010)) === (setGroup | 0o010)
  const isForeign = (parent.mode & setGroup) !== 0 && !isRoot(user) && parent.gid !== user.gid
  return mode & 0o7777 & (isProgram && isForeign ? ~setGroup : -1)
}

const mayOpen = (caller: Caller, { node }: Entry, access: Access): Answer<void> => {
  if (node._tag === "SymbolicLink") return refuse("ELOOP")
  if (node._tag === "Directory" && (access.write || access.create)) return refuse("EISDIR")
  const wanted = (access.read ? permission.read : 0) | (access.write ? permission.write : 0)
  return allows(node, caller.user, wanted) ? done : refuse("EACCES")
}

const truncateNode = (volume: Volume, entry: Entry, caller: Caller): void => {
  if (entry.node._tag !== "File") return
  volume.resize(entry.node, 0)
  changed(volume, entry, caller.user, caller.now)
}

/** The content is another one now. */
export const changed = (volume: Volume, entry: Entry, user: Caller["user"], now: number): void => {
  const { node } = entry
  node.modified = now
  // What root writes leaves set-user and set-group alone.
  if (!isRoot(user)) node.mode = unprivileged(node, user)
  volume.watchers.changed(entry)
}

export const close = (volume: Volume, file: OpenFile): void => {
  if (file.closed) return
  file.closed = true
  volume.close(file.entry.node)
}

/** Reads into the target, and tells how much. */
export const read = (file: OpenFile, moment: Moment, position: number, target: Uint8Array): Answer<number> => {
  const { node } = file.entry
  if (file.closed || !file.read) return refuse("EBADF")
  if (node._tag === "Directory") return refuse("EISDIR")
  if (node._tag === "SymbolicLink") return refuse("EBADF")
  if (target.length > 0) node.accessed = moment.now
  return Result.succeed(
    node._tag === "File" ? node.bytes.read(position, target) : readDevice(node, moment.random, target)
  )
}

const readDevice = (device: Device, random: Random.Random, target: Uint8Array): number => {
  switch (device.device) {
    case "null":
      return 0
    case "full":
    case "zero":
      target.fill(0)
      return target.length
    case "urandom":
      for (let index = 0; index < target.length; index++) target[index] = Math.floor(random.nextDoubleUnsafe() * 256)
      return target.length
  }
}

/** Writes as much as fits, at the end of a file that was opened to append, and tells how much. */
export const write = (
  volume: Volume,
  file: OpenFile,
  moment: Moment,
  position: number,
  source: Uint8Array
): Answer<number> => {
  const { node } = file.entry
  if (file.closed || !file.write) return refuse("EBADF")
  if (node._tag === "CharacterDevice") {
    return node.device === "full" && source.length > 0 ? refuse("ENOSPC") : Result.succeed(source.length)
  }
  if (node._tag !== "File") return refuse("EBADF")
  return Result.map(volume.write(node, file.append ? node.bytes.size : position, source), (written) => {
    if (written > 0) changed(volume, file.entry, file.user, moment.now)
    return written
  })
}

/** Writes all of it, or as much as fits before it fails. */
export const writeAll = (
  volume: Volume,
  file: OpenFile,
  moment: Moment,
  position: number,
  source: Uint8Array
): Answer<void> =>
  Result.gen(function* () {
    let written = yield* write(volume, file, moment, position, source)
    while (written < source.length) {
      written += yield* write(volume, file, moment, position + written, source.subarray(written))
    }
  })

export const truncate = (volume: Volume, file: OpenFile, moment: Moment, length: number): Answer<void> => {
  const { node } = file.entry
  return Result.gen(function* () {
    const size = Math.max(0, yield* checkLength(length))
    if (file.closed) return yield* refuse("EBADF")
    if (!file.write || node._tag !== "File") return yield* refuse("EINVAL")
    yield* volume.resize(node, size)
    changed(volume, file.entry, file.user, moment.now)
  })
}

/** Opens, uses and closes. */
const using = <A>(volume: Volume, opened: Answer<OpenFile>, use: (file: OpenFile) => Answer<A>): Answer<A> =>
  Result.flatMap(opened, (file) => {
    const answer = use(file)
    close(volume, file)
    return answer
  })

const largestBuffer = 2 ** 31 - 1

/** Everything that is in it; a device without an end, or a file of more than 2 GiB, is refused. */
export const readFile = (volume: Volume, caller: Caller, path: string): Answer<Uint8Array> =>
  using(volume, open(volume, caller, path, "r", 0), (file) => {
    const { node } = file.entry
    const size = node._tag === "File" ? node.bytes.size : 0
    const endless = node._tag === "CharacterDevice" && node.device !== "null"
    if (endless || size > largestBuffer) return refuseUnknown("EFBIG")
    const content = new Uint8Array(size)
    if (size === 0) node.accessed = caller.now
    return Result.map(read(file, caller, 0, content), () => content)
  })

export const writeFile = (
  volume: Volume,
  caller: Caller,
  path: string,
  data: Uint8Array,
  flag: FileSystem.OpenFlag = "w",
  mode = 0o666
): Answer<void> =>
  using(volume, open(volume, caller, path, flag, mode), (file) => writeAll(volume, file, caller, 0, data))

export const truncatePath = (volume: Volume, caller: Caller, path: string, length: number): Answer<void> =>
  Result.flatMap(checkLength(length), () =>
    using(volume, open(volume, caller, path, "r+", 0), (file) => truncate(volume, file, caller, length))
  )

const checkLength = (length: number): Answer<number> =>
  Number.isSafeInteger(length) ? Result.succeed(length) : badArgument(`a length is an integer, not ${length}`)
