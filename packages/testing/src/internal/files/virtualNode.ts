/** What a file system is made of: nodes, and the names that directories give to them. */
import type { User } from "../../VirtualFileSystem.ts"
import type { Bytes } from "./virtualBytes.ts"

interface Attributes {
  readonly ino: number
  /** The permissions and the set-user, set-group and sticky bits; not the type. */
  mode: number
  uid: number
  gid: number
  /** How many names there are; for a directory, how many ways lead to it. */
  links: number
  /** Milliseconds since 1970, as all times here. */
  accessed: number
  modified: number
  readonly created: number
}

export interface RegularFile extends Attributes {
  readonly _tag: "File"
  /** Replaced as a whole when a copy is made into it. */
  bytes: Bytes
  /** Open handles, which keep a file that has no name any more. */
  handles: number
}

export interface Directory extends Attributes {
  readonly _tag: "Directory"
  readonly entries: Map<string, Entry>
  /** Its own name, which says where `..` leads. */
  readonly entry: Entry
}

export interface SymbolicLink extends Attributes {
  readonly _tag: "SymbolicLink"
  readonly target: string
}

export type DeviceName = "null" | "zero" | "full" | "urandom"

export interface Device extends Attributes {
  readonly _tag: "CharacterDevice"
  readonly device: DeviceName
}

export type Node = RegularFile | Directory | SymbolicLink | Device

/** A name in a directory. It moves with its node when that is renamed, and an open file remembers it. */
export interface Entry {
  /** Missing for the root, and for what was removed. */
  parent: Directory | undefined
  name: string
  readonly node: Node
}

export const permission = { read: 4, write: 2, execute: 1 } as const
export const sticky = 0o1000
export const setGroup = 0o2000
export const setUser = 0o4000

export const superuser: User = { uid: 0, gid: 0 }

export const isRoot = (user: User): boolean => user.uid === 0

/** Whether the permissions of a node let a user do all of what is wanted. */
export const allows = (node: Node, user: User, wanted: number): boolean => {
  if (isRoot(user)) {
    return (wanted & permission.execute) === 0 || node._tag === "Directory" || (node.mode & 0o111) !== 0
  }
  const shift = node.uid === user.uid ? 6 : node.gid === user.gid ? 3 : 0
  return ((node.mode >> shift) & wanted) === wanted
}

/** Whether a user may change a node's mode and times. */
export const owns = (node: Node, user: User): boolean => isRoot(user) || node.uid === user.uid

/** Whether a directory is another or lies above it. */
export const isWithin = (above: Node, directory: Directory): boolean => {
  let at: Directory | undefined = directory
  while (at !== undefined && at !== above) at = at.entry.parent
  return at !== undefined
}

const codePoints = (one: string, other: string): number => {
  for (let index = 0; index < one.length && index < other.length; index++) {
    const left = one.charCodeAt(index)
    const right = other.charCodeAt(index)
    // Surrogates are what UTF-16 sorts differently from UTF-8.
    if (left !== right) return order(left) - order(right)
  }
  return one.length - other.length
}

const order = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit)

/** A directory's entries in the order of their names' bytes. */
export const sorted = (directory: Directory): ReadonlyArray<Entry> =>
  [...directory.entries.values()].sort((one, other) => codePoints(one.name, other.name))
