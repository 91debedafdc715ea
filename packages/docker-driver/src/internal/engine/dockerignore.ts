/** The file `.dockerignore`: what of a directory is no part of a build's context. */

export interface Ignore {
  readonly ignores: (path: string) => boolean
  /** Whether nothing below an ignored directory can be wanted, so that it need not be looked at. */
  readonly isSimple: boolean
}

/** The last rule that fits a path, or a directory above it, counts. Paths are relative, with slashes. */
export const parse = (text: string): Ignore => {
  const rules = text
    .split(/\r?\n/)
    .filter((line) => !line.startsWith("#"))
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .map((line) => {
      const includes = line.startsWith("!")
      const pattern = (includes ? line.slice(1).trim() : line).replace(/^\/+|\/+$/g, "").replace(/^(\.\/)+/, "")
      return { includes, matcher: new RegExp(`^${translate(pattern)}(?:/.*)?$`, "s") }
    })
  return {
    ignores: (path) => {
      let ignored = false
      for (const { includes, matcher } of rules) if (ignored === includes && matcher.test(path)) ignored = !includes
      return ignored
    },
    isSimple: !rules.some(({ includes }) => includes)
  }
}

const translate = (pattern: string): string => {
  if (pattern === "." || pattern === "") return "(?!)"
  let result = ""
  for (let at = 0; at < pattern.length; at++) {
    const rest = pattern.slice(at)
    const set = /^\[(\^?)((?:\\.|[^\]\\])+)\]/.exec(rest)
    if (rest.startsWith("**/")) {
      result += "(?:.*/)?"
      at += 2
    } else if (rest.startsWith("**")) {
      result += ".*"
      at += 1
    } else if (rest.startsWith("*")) {
      result += "[^/]*"
    } else if (rest.startsWith("?")) {
      result += "[^/]"
    } else if (set !== null) {
      result += `[${set[1]}${set[2]?.replaceAll("[", "\\[")}]`
      at += set[0].length - 1
    } else {
      const escaped = rest.startsWith("\\") && rest.length > 1
      if (escaped) at += 1
      result += (pattern[at] ?? "").replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")
    }
  }
  return result
}
