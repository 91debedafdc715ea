/** Shell patterns: `*`, `?`, `[a-z]`, `[!a-z]`, `[[:digit:]]`; a backslash takes the meaning of what follows. */

type Piece = { readonly _tag: "Many" } | { readonly _tag: "One"; readonly matches: (character: string) => boolean }

const classes: { readonly [name: string]: RegExp } = {
  alnum: /^[0-9A-Za-z]$/,
  alpha: /^[A-Za-z]$/,
  blank: /^[ \t]$/,
  digit: /^[0-9]$/,
  lower: /^[a-z]$/,
  punct: /^[!-/:-@[-`{-~]$/,
  space: /^[\t-\r ]$/,
  upper: /^[A-Z]$/,
  xdigit: /^[0-9A-Fa-f]$/
}

/** Whether a pattern can match anything but itself. */
export const hasWildcards = (pattern: string): boolean => /(?<!\\)(?:\\\\)*[*?[]/.test(pattern)

/** The text that a pattern without wildcards stands for. */
export const literal = (pattern: string): string => pattern.replace(/\\(.)/gs, "$1")

/** The pattern that matches a text and nothing else. */
export const escape = (text: string): string => text.replace(/[*?[\]\\!^-]/g, "\\$&")

export const compile = (pattern: string): ((text: string) => boolean) => {
  const pieces = parse(Array.from(pattern))
  return (text) => matches(pieces, Array.from(text))
}

/** Goes on behind the last `*` with one character more whenever it gets stuck. */
const matches = (pieces: ReadonlyArray<Piece>, text: ReadonlyArray<string>): boolean => {
  let piece = 0
  let at = 0
  let retry: { readonly piece: number; at: number } | undefined
  while (at < text.length || piece < pieces.length) {
    const current = pieces[piece]
    if (current?._tag === "Many") {
      retry = { piece: ++piece, at }
      continue
    }
    if (current !== undefined && at < text.length && current.matches(text[at] ?? "")) {
      piece++
      at++
      continue
    }
    if (retry === undefined || retry.at >= text.length) return false
    at = ++retry.at
    piece = retry.piece
  }
  return true
}

const parse = (pattern: ReadonlyArray<string>): ReadonlyArray<Piece> => {
  const pieces: Array<Piece> = []
  const addLiteral = (wanted: string) => pieces.push({ _tag: "One", matches: (character) => character === wanted })
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i] ?? ""
    if (character === "*") pieces.push({ _tag: "Many" })
    else if (character === "?") pieces.push({ _tag: "One", matches: () => true })
    else if (character === "\\") addLiteral(pattern[++i] ?? "\\")
    else if (character === "[") {
      const set = parseSet(pattern, i + 1)
      if (set === undefined) {
        addLiteral("[")
        continue
      }
      pieces.push({ _tag: "One", matches: set.matches })
      i = set.end
    } else addLiteral(character)
  }
  return pieces
}

/** The set after a `[`, and where its `]` is. */
const parseSet = (pattern: ReadonlyArray<string>, start: number) => {
  const tests: Array<(character: string) => boolean> = []
  let i = start
  const isNegated = pattern[i] === "!" || pattern[i] === "^"
  if (isNegated) i++
  for (let isFirst = true; ; isFirst = false) {
    if (i >= pattern.length) return undefined
    if (pattern[i] === "]" && !isFirst) break
    const named = /^\[:(\w+):\]/.exec(pattern.slice(i, i + 12).join(""))
    if (named !== null) {
      const test = classes[named[1] ?? ""]
      if (test !== undefined) tests.push((character) => test.test(character))
      i += named[0].length
      continue
    }
    if (pattern[i] === "\\") i++
    const from = pattern[i++] ?? ""
    if (pattern[i] !== "-" || pattern[i + 1] === "]" || pattern[i + 1] === undefined) {
      tests.push((character) => character === from)
      continue
    }
    i += pattern[i + 1] === "\\" ? 2 : 1
    const to = pattern[i++] ?? ""
    tests.push((character) => character >= from && character <= to)
  }
  return { end: i, matches: (character: string) => tests.some((test) => test(character)) !== isNegated }
}
