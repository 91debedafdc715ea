/**
 * One file system: its root, its capacity, what is in it, and who watches. The only place that changes which names and
 * nodes there are, so that counts, link counts, directory times and watch events stay true.
 */
import type * as Path from "effect/Path"
import * as Result from "effect/Result"
import type { Usage, User } from "../../VirtualFileSystem.ts"
import { Bytes } from "./virtualBytes.ts"
import { type Answer, done, refuse } from "./virtualError.ts"
import {
  type Device,
  type DeviceName,
  type Directory,
  type Entry,
  type Node,
  type RegularFile,
  setGroup,
  type SymbolicLink
} from "./virtualNode.ts"
import { type Watchers, watchers } from "./virtualWatchers.ts"

/** The largest file that ext4 knows. */
const maximumSize = 2 ** 44 - 4096

/** What a new node gets from whoever makes it. */
export interface Maker {
  readonly user: User
  readonly mode: number
  readonly now: number
}

export interface Volume {
  readonly path: Path.Path
  readonly root: Directory
  readonly watchers: Watchers
  readonly usage: () => Usage
  readonly makeFile: (parent: Directory, name: string, maker: Maker) => Entry
  readonly makeDirectory: (parent: Directory, name: string, maker: Maker) => Entry
  readonly makeLink: (parent: Directory, name: string, target: string, maker: Maker) => Entry
  readonly makeDevice: (parent: Directory, name: string, device: DeviceName, maker: Maker) => Entry
  /** Gives a node one more name. */
  readonly link: (parent: Directory, name: string, node: Node, now: number) => void
  /** Takes a name away, and the node with its last one. */
  readonly unlink: (entry: Entry, now: number) => void
  /** Moves a name, over another one if there is any. */
  readonly move: (entry: Entry, parent: Directory, name: string, now: number) => void
  /** Counts an open handle, and gives it a number. */
  readonly open: (node: Node) => number
  readonly close: (node: Node) => void
  /** Writes what fits; refused when nothing does. */
  readonly write: (file: RegularFile, position: number, source: Uint8Array) => Answer<number>
  readonly resize: (file: RegularFile, size: number) => Answer<void>
  /** Gives a file the content of another one. */
  readonly share: (from: RegularFile, to: RegularFile) => Answer<void>
  /** The same content again, shared until one of both changes. */
  readonly clone: () => Volume
}

/** What is copied from another file system. */
interface Source {
  readonly root: Directory
  readonly nextInode: number
}

export const make = (path: Path.Path, capacity: number, now: number): Volume =>
  build(path, capacity, {
    root: newDirectory(undefined, "", { ino: 2, mode: 0o755, uid: 0, gid: 0, ...times(now) }),
    nextInode: 11
  })

const build = (path: Path.Path, capacity: number, source: Source): Volume => {
  const watching = watchers()
  const count = { File: 0, Directory: 0, SymbolicLink: 0, CharacterDevice: 0 }
  let bytes = 0
  let handles = 0
  let nextInode = source.nextInode
  let nextDescriptor = 3

  const enter = (node: Node): void => {
    count[node._tag]++
    if (node._tag === "File") bytes += node.bytes.stored
  }
  /** A node goes with its last name and its last handle. */
  const forget = (node: Node): void => {
    count[node._tag]--
    if (node._tag !== "File") return
    bytes -= node.bytes.stored
    node.bytes.resize(0)
  }

  const attributes = (parent: Directory, maker: Maker) => {
    const inherits = (parent.mode & setGroup) !== 0
    return {
      ino: nextInode++,
      mode: maker.mode,
      uid: maker.user.uid,
      gid: inherits ? parent.gid : maker.user.gid,
      ...times(maker.now)
    }
  }

  const addName = (parent: Directory, entry: Entry, now: number): void => {
    parent.entries.set(entry.name, entry)
    if (entry.node._tag === "Directory") parent.links++
    parent.modified = now
  }
  const dropName = (entry: Entry, now: number): void => {
    const { parent } = entry
    if (parent === undefined) return
    parent.entries.delete(entry.name)
    if (entry.node._tag === "Directory") parent.links--
    parent.modified = now
    entry.parent = undefined
  }
  /** The name is gone, by removal or because another node has it now. */
  const release = (entry: Entry): void => {
    const { node } = entry
    node.links = node._tag === "Directory" ? 0 : node.links - 1
    if (node.links === 0 && !(node._tag === "File" && node.handles > 0)) forget(node)
  }

  const add = (parent: Directory, entry: Entry, now: number): Entry => {
    addName(parent, entry, now)
    enter(entry.node)
    watching.created(entry)
    return entry
  }

  /** Keeps count of what a change of the content stores or frees. */
  const counting = <A>(file: RegularFile, change: (content: Bytes) => A): A => {
    const before = file.bytes.stored
    const result = change(file.bytes)
    bytes += file.bytes.stored - before
    return result
  }

  for (const node of everyNode(source.root)) enter(node)

  return {
    path,
    root: source.root,
    watchers: watching,
    usage: () => ({
      files: count.File,
      directories: count.Directory,
      links: count.SymbolicLink,
      bytes,
      handles,
      watchers: watching.size()
    }),
    makeFile: (parent, name, maker) => {
      const made = attributes(parent, maker)
      const node: RegularFile = { _tag: "File", ...made, links: 1, bytes: new Bytes(), handles: 0 }
      return add(parent, { parent, name, node }, maker.now)
    },
    makeDirectory: (parent, name, maker) => {
      const inherited = maker.mode | (parent.mode & setGroup)
      const { entry } = newDirectory(parent, name, attributes(parent, { ...maker, mode: inherited }))
      return add(parent, entry, maker.now)
    },
    makeLink: (parent, name, target, maker) => {
      const node: SymbolicLink = { _tag: "SymbolicLink", ...attributes(parent, maker), links: 1, target }
      return add(parent, { parent, name, node }, maker.now)
    },
    makeDevice: (parent, name, device, maker) => {
      const node: Device = { _tag: "CharacterDevice", ...attributes(parent, maker), links: 1, device }
      return add(parent, { parent, name, node }, maker.now)
    },
    link: (parent, name, node, now) => {
      const entry: Entry = { parent, name, node }
      node.links++
      addName(parent, entry, now)
      watching.changedNode(node)
      watching.created(entry)
    },
    unlink: (entry, now) => {
      const { name, node, parent } = entry
      dropName(entry, now)
      release(entry)
      watching.removed(node, parent, name)
    },
    move: (entry, parent, name, now) => {
      const { name: oldName, parent: oldParent } = entry
      const replaced = parent.entries.get(name)
      if (replaced !== undefined) {
        dropName(replaced, now)
        release(replaced)
      }
      dropName(entry, now)
      entry.parent = parent
      entry.name = name
      addName(parent, entry, now)
      watching.moved(entry, oldParent, oldName, replaced?.node)
    },
    open: (node) => {
      handles++
      if (node._tag === "File") node.handles++
      return nextDescriptor++
    },
    close: (node) => {
      handles--
      if (node._tag !== "File") return
      node.handles--
      if (node.handles === 0 && node.links === 0) forget(node)
    },
    write: (file, position, source) => {
      if (source.length === 0) return Result.succeed(0)
      if (position >= maximumSize) return refuse("EFBIG")
      const fitting = source.subarray(0, maximumSize - position)
      const written = counting(file, (content) => content.write(position, fitting, capacity - bytes))
      return written === 0 ? refuse("ENOSPC") : Result.succeed(written)
    },
    resize: (file, size) => {
      if (size > maximumSize) return refuse("EFBIG")
      counting(file, (content) => content.resize(size))
      return done
    },
    share: (from, to) => {
      const growth = from.bytes.stored - to.bytes.stored
      if (growth > capacity - bytes) return refuse("ENOSPC")
      bytes += growth
      to.bytes = from.bytes.copy()
      return done
    },
    clone: () => build(path, capacity, { root: copyTree(source.root), nextInode })
  }
}

const times = (now: number) => ({ accessed: now, modified: now, created: now })

const newDirectory = (
  parent: Directory | undefined,
  name: string,
  attributes: Omit<Directory, "_tag" | "entries" | "entry" | "links">
): Directory => {
  const directory: Directory = {
    _tag: "Directory",
    ...attributes,
    links: 2,
    entries: new Map(),
    // Only here, where the two that refer to each other are made.
    get entry() {
      return entry
    }
  }
  const entry: Entry = { parent, name, node: directory }
  return directory
}

/** Every node below a directory, itself included, once each; without recursion, for trees of any depth. */
function* everyNode(root: Directory): Generator<Node> {
  const seen = new Set<Node>()
  const pending: Array<Node> = [root]
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (node.links > 1 && node._tag !== "Directory") {
      if (seen.has(node)) continue
      seen.add(node)
    }
    yield node
    if (node._tag === "Directory") for (const entry of node.entries.values()) pending.push(entry.node)
  }
}

const copyTree = (root: Directory): Directory => {
  const copies = new Map<Node, Node>()
  const copyRoot = newDirectory(undefined, "", attributesOf(root))
  const pending: Array<readonly [from: Directory, to: Directory]> = [[root, copyRoot]]
  for (let pair = pending.pop(); pair !== undefined; pair = pending.pop()) {
    const [from, to] = pair
    to.links = from.links
    for (const { name, node } of from.entries.values()) {
      if (node._tag === "Directory") {
        const directory = newDirectory(to, name, attributesOf(node))
        to.entries.set(name, directory.entry)
        pending.push([node, directory])
      } else {
        const copy: Node =
          copies.get(node) ?? (node._tag === "File" ? { ...node, bytes: node.bytes.copy(), handles: 0 } : { ...node })
        if (node.links > 1) copies.set(node, copy)
        to.entries.set(name, { parent: to, name, node: copy })
      }
    }
  }
  return copyRoot
}

const attributesOf = ({ accessed, created, gid, ino, mode, modified, uid }: Directory) => ({
  accessed,
  created,
  gid,
  ino,
  mode,
  modified,
  uid
})
