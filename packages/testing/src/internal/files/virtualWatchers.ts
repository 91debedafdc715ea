/** Who watches which node, and what each change tells them: as inotify does, with paths as Node's `watch` gives them. */
import type * as FileSystem from "effect/FileSystem"
import type { Directory, Entry, Node } from "./virtualNode.ts"

export interface Watcher {
  readonly node: Node
  /** What the watched thing itself is called in events. */
  readonly name: string
  readonly recursive: boolean
  /** Whether there is something by the watched path now. */
  readonly exists: () => boolean
  readonly offer: (event: FileSystem.WatchEvent) => void
}

export interface Watchers {
  readonly size: () => number
  readonly add: (watcher: Watcher) => void
  readonly remove: (watcher: Watcher) => void
  readonly created: (entry: Entry) => void
  /** Content or attributes changed, seen through this name. */
  readonly changed: (entry: Entry) => void
  /** The node changed in a way that its directory does not hear of: the number of its names. */
  readonly changedNode: (node: Node) => void
  readonly removed: (node: Node, parent: Directory | undefined, name: string) => void
  readonly moved: (entry: Entry, oldParent: Directory | undefined, oldName: string, replaced: Node | undefined) => void
}

export const watchers = (): Watchers => {
  const byNode = new Map<Node, Set<Watcher>>()
  let size = 0
  let recursive = 0

  const tell = (node: Node, event: (watcher: Watcher) => FileSystem.WatchEvent): void => {
    for (const watcher of byNode.get(node) ?? []) watcher.offer(event(watcher))
  }

  const inDirectory = (tag: FileSystem.WatchEvent["_tag"], parent: Directory | undefined, name: string): void => {
    if (size === 0 || parent === undefined) return
    tell(parent, () => ({ _tag: tag, path: name }))
    if (recursive === 0) return
    let path = name
    let { entry } = parent
    while (entry.parent !== undefined) {
      path = `${entry.name}/${path}`
      for (const watcher of byNode.get(entry.parent) ?? []) if (watcher.recursive) watcher.offer({ _tag: tag, path })
      entry = entry.parent.entry
    }
  }

  const changedNode = (node: Node): void => {
    if (size > 0) tell(node, ({ name }) => ({ _tag: "Update", path: name }))
  }
  const lostName = (node: Node): void => {
    if (size > 0) tell(node, ({ exists, name }) => ({ _tag: exists() ? "Create" : "Remove", path: name }))
  }

  const lostLink = (node: Node): void => {
    if (node._tag !== "Directory") changedNode(node)
    if (node.links === 0) lostName(node)
  }

  return {
    size: () => size,
    add: (watcher) => {
      const all = byNode.get(watcher.node) ?? new Set()
      byNode.set(watcher.node, all.add(watcher))
      size++
      if (watcher.recursive) recursive++
    },
    remove: (watcher) => {
      const all = byNode.get(watcher.node)
      if (all?.delete(watcher) !== true) return
      if (all.size === 0) byNode.delete(watcher.node)
      size--
      if (watcher.recursive) recursive--
    },
    created: (entry) => inDirectory("Create", entry.parent, entry.name),
    changed: (entry) => {
      changedNode(entry.node)
      inDirectory("Update", entry.parent, entry.name)
    },
    changedNode,
    removed: (node, parent, name) => {
      lostLink(node)
      inDirectory("Remove", parent, name)
    },
    moved: (entry, oldParent, oldName, replaced) => {
      inDirectory("Remove", oldParent, oldName)
      inDirectory("Create", entry.parent, entry.name)
      lostName(entry.node)
      if (replaced !== undefined) lostLink(replaced)
    }
  }
}
