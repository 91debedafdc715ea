/** Trees as lines for assertions: one for each name, as `ls -l` has them, without times. */
import { type Directory, type Entry, type Node, sorted } from "./virtualNode.ts"

const letters = { File: "-", Directory: "d", SymbolicLink: "l", CharacterDevice: "c" } as const

const permissions = (mode: number): string =>
  [6, 3, 0]
    .map((shift) => {
      const bits = mode >> shift
      const special = (mode & (0o1000 << (shift / 3))) !== 0
      const letter = shift === 0 ? "t" : "s"
      const execute = (bits & 1) !== 0 ? (special ? letter : "x") : special ? letter.toUpperCase() : "-"
      return `${(bits & 4) !== 0 ? "r" : "-"}${(bits & 2) !== 0 ? "w" : "-"}${execute}`
    })
    .join("")

/** Names with line breaks and the like must not look like several lines. */
const readable = (path: string): string => (/[\p{Cc}\p{Cf}"\\]/u.test(path) ? JSON.stringify(path) : path)

const line = (node: Node, path: string): string => {
  const what = `${letters[node._tag]}${permissions(node.mode)} ${node.uid}:${node.gid}`
  if (node._tag === "File") return `${what} ${node.bytes.size} ${readable(path)}`
  return `${what} ${readable(path)}${node._tag === "SymbolicLink" ? ` -> ${readable(node.target)}` : ""}`
}

/** A line for each name below a path, as `ls -l` has them. */
export const lines = (entry: Entry, path: string): ReadonlyArray<string> => {
  if (entry.node._tag !== "Directory") return [line(entry.node, path)]
  const result: Array<string> = []
  const pending: Array<readonly [node: Node, path: string]> = []
  const enter = (directory: Directory, path: string): void => {
    const prefix = path.endsWith("/") ? path : `${path}/`
    for (const { name, node } of sorted(directory).toReversed()) pending.push([node, `${prefix}${name}`])
  }
  enter(entry.node, path)
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [node, at] = next
    result.push(line(node, at))
    if (node._tag === "Directory") enter(node, at)
  }
  return result
}
