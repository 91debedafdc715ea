/** What becomes of words: parameters, substitutions and arithmetic are put in, then fields are split and patterns expanded. */
import * as Effect from "effect/Effect"
import * as text from "../processes/processText.ts"
import * as arithmetic from "./shellArithmetic.ts"
import type { Shell } from "./shell.ts"
import { fail, type Jump } from "./shellJump.ts"
import * as pattern from "./shellPattern.ts"
import { substitute } from "./shellProcesses.ts"
import type { ParameterOperator, Part, Word } from "./shellSyntax.ts"

/** Whether a text is as it was written, was quoted, or was put in and is to be split. */
type Kind = "written" | "quoted" | "inserted"

type Piece =
  | { readonly _tag: "Text"; readonly text: string; readonly kind: Kind }
  /** Between two of the positional parameters. */
  | { readonly _tag: "Break" }

type Pieces = Effect.Effect<ReadonlyArray<Piece>, Jump>

/** The words of a command: each word becomes any number of them. */
export const fields = (shell: Shell, words: ReadonlyArray<Word>): Effect.Effect<Array<string>, Jump> =>
  Effect.gen(function* () {
    const result: Array<string> = []
    for (const word of words) {
      for (const field of split(yield* piecesOf(shell, word, "written"), shell.variables.get("IFS"))) {
        result.push(...(yield* shell.options.has("f") ? Effect.succeed([field.text]) : pathnames(shell, field)))
      }
    }
    return result
  })

/** A word that stays one: neither split nor a pattern. */
export const single = (shell: Shell, word: Word): Effect.Effect<string, Jump> =>
  Effect.map(piecesOf(shell, word, "written"), joined)

/** A word as a pattern, in which what was quoted stands for itself. */
export const asPattern = (shell: Shell, word: Word): Effect.Effect<string, Jump> =>
  Effect.map(piecesOf(shell, word, "written"), (pieces) => pieces.map(patternOf).join(""))

const joined = (pieces: ReadonlyArray<Piece>): string =>
  pieces.map((piece) => (piece._tag === "Break" ? " " : piece.text)).join("")

const patternOf = (piece: Piece): string => {
  if (piece._tag === "Break") return " "
  return piece.kind === "quoted" ? pattern.escape(piece.text) : piece.text
}

// --- putting in --------------------------------------------------------------------------------------------------

const piecesOf = (shell: Shell, word: Word, plain: Kind): Pieces =>
  Effect.gen(function* () {
    const result: Array<Piece> = []
    for (const part of word) result.push(...(yield* piecesOfPart(shell, part, plain)))
    return result
  })

const piecesOfPart = (shell: Shell, part: Part, plain: Kind): Pieces => {
  switch (part._tag) {
    case "Text":
      return Effect.succeed([{ _tag: "Text", text: part.text, kind: part.isQuoted ? "quoted" : plain }])
    case "Tilde": {
      const home = part.user === "" ? shell.variables.get("HOME") : undefined
      return Effect.succeed([{ _tag: "Text", text: home ?? `~${part.user}`, kind: "quoted" }])
    }
    case "BadSubstitution":
      return fail("Bad substitution")
    case "Length":
      return Effect.map(valueOf(shell, part.name), (value) => [inserted(String(text.byteLength(value)), part.isQuoted)])
    case "Substitution":
      return Effect.map(substitute(shell, part.body), (output) => [inserted(output, part.isQuoted)])
    case "Arithmetic":
      return Effect.gen(function* () {
        const value = yield* calculate(shell, yield* single(shell, part.expression))
        return [inserted(String(value), part.isQuoted)]
      })
    case "Parameter":
      return part.operator === undefined
        ? Effect.map(valueOf(shell, part.name, true), () => present(shell, part.name, part.isQuoted))
        : operated(shell, part.name, part.operator, part.word, part.isQuoted)
  }
}

const inserted = (value: string, isQuoted: boolean): Piece => ({
  _tag: "Text",
  text: value,
  kind: isQuoted ? "quoted" : "inserted"
})

/** The value of a parameter; an unset one is empty, or an error with `set -u`. */
const valueOf = (shell: Shell, name: string, mayBeList: boolean = false): Effect.Effect<string, Jump> => {
  const value = shell.parameter(name)
  const isUnset = value === undefined && !(mayBeList && (name === "@" || name === "*"))
  return isUnset && shell.options.has("u") ? fail(`${name}: parameter not set`) : Effect.succeed(value ?? "")
}

/** A parameter that is set: `$@` and `$*` are many. */
const present = (shell: Shell, name: string, isQuoted: boolean): ReadonlyArray<Piece> => {
  if (name === "*" && isQuoted) {
    return [inserted(shell.positional.join((shell.variables.get("IFS") ?? " ").slice(0, 1)), isQuoted)]
  }
  if (name === "@" || name === "*") {
    return shell.positional.flatMap((value, index): ReadonlyArray<Piece> => {
      const piece = inserted(value, isQuoted)
      return index === 0 ? [piece] : [{ _tag: "Break" }, piece]
    })
  }
  return [inserted(shell.parameter(name) ?? "", isQuoted)]
}

const operated = (shell: Shell, name: string, operator: ParameterOperator, word: Word, isQuoted: boolean): Pieces => {
  if (!("isColon" in operator)) {
    return Effect.gen(function* () {
      const value = yield* valueOf(shell, name)
      const wanted = yield* asPattern(shell, word)
      return [inserted(trim(value, operator.kind, pattern.compile(wanted)), isQuoted)]
    })
  }
  const value = shell.parameter(name)
  const isSet = value !== undefined && !(operator.isColon && value === "")
  const alternative = Effect.map(piecesOf(shell, word, isQuoted ? "quoted" : "inserted"), (pieces) =>
    isQuoted && pieces.length === 0 ? [inserted("", true)] : pieces
  )
  switch (operator.kind) {
    case "-":
      return isSet ? Effect.succeed(present(shell, name, isQuoted)) : alternative
    case "+":
      return isSet ? alternative : Effect.succeed(isQuoted ? [inserted("", true)] : [])
    case "?":
      return isSet
        ? Effect.succeed(present(shell, name, isQuoted))
        : Effect.flatMap(single(shell, word), (message) =>
            fail(`${name}: ${message === "" ? `parameter not set${operator.isColon ? " or null" : ""}` : message}`)
          )
    case "=":
      return isSet
        ? Effect.succeed(present(shell, name, isQuoted))
        : Effect.gen(function* () {
            const wanted = yield* single(shell, word)
            yield* shell.assign(name, wanted)
            return [inserted(wanted, isQuoted)]
          })
  }
}

/** Takes away the shortest (`#`, `%`) or longest (`##`, `%%`) start or end that matches. */
const trim = (value: string, kind: "#" | "##" | "%" | "%%", matches: (text: string) => boolean): string => {
  const characters = Array.from(value)
  const isStart = kind.startsWith("#")
  const lengths = [...characters.keys(), characters.length]
  for (const length of kind.length === 1 ? lengths : lengths.toReversed()) {
    const at = isStart ? length : characters.length - length
    const [start, end] = [characters.slice(0, at).join(""), characters.slice(at).join("")]
    if (matches(isStart ? start : end)) return isStart ? end : start
  }
  return value
}

/** The value of an arithmetic expression. */
export const calculate = (shell: Shell, expression: string): Effect.Effect<bigint, Jump> =>
  Effect.suspend(() => {
    let refused: string | undefined
    const result = arithmetic.evaluate(expression, {
      get: (name) => shell.parameter(name),
      set: (name, value) => {
        if (shell.variables.isReadonly(name)) refused ??= name
        else shell.variables.set(name, value)
      }
    })
    if (refused !== undefined) return fail(`${refused}: is read only`)
    return result._tag === "Success" ? Effect.succeed(result.success) : fail(result.failure)
  })

// --- splitting ---------------------------------------------------------------------------------------------------

interface Field {
  readonly text: string
  readonly pattern: string
}

/** The fields of a word. White space of IFS only separates; its other characters delimit, so that fields may be empty. */
const split = (pieces: ReadonlyArray<Piece>, ifs: string = " \t\n"): ReadonlyArray<Field> => {
  const result: Array<Field> = []
  let current: { text: string; pattern: string } | undefined
  /** White space ended a field; a delimiter right after it ends the same one. */
  let isAfterSpace = false
  const add = (added: string, addedPattern: string): void => {
    current = { text: (current?.text ?? "") + added, pattern: (current?.pattern ?? "") + addedPattern }
    isAfterSpace = false
  }
  const end = (): void => {
    if (current !== undefined) result.push(current)
    current = undefined
  }
  for (const piece of pieces) {
    if (piece._tag === "Break") {
      end()
      isAfterSpace = false
    } else if (piece.kind !== "inserted") add(piece.text, patternOf(piece))
    else {
      for (const character of piece.text) {
        if (!ifs.includes(character)) add(character, character)
        else if (/\s/.test(character)) {
          if (current !== undefined) {
            end()
            isAfterSpace = true
          }
        } else if (isAfterSpace) isAfterSpace = false
        else {
          current ??= { text: "", pattern: "" }
          end()
        }
      }
    }
  }
  end()
  return result
}

// --- pathnames ---------------------------------------------------------------------------------------------------

/** The paths that match a field, or the field itself. */
const pathnames = (shell: Shell, field: Field): Effect.Effect<ReadonlyArray<string>> =>
  Effect.gen(function* () {
    if (!pattern.hasWildcards(field.pattern)) return [field.text]
    const isAbsolute = field.pattern.startsWith("/")
    const components = field.pattern.split(/\/+/).filter((component) => component !== "")
    let found = [isAbsolute ? "/" : ""]
    for (const [index, component] of components.entries()) {
      const isLast = index === components.length - 1
      const next: Array<string> = []
      for (const base of found) next.push(...(yield* matching(shell, base, component, isLast)))
      found = next
    }
    if (field.pattern.endsWith("/")) found = found.map((path) => `${path}/`)
    return found.length === 0 ? [field.text] : found.sort(byText)
  })

const byText = (left: string, right: string): number => (left < right ? -1 : left > right ? 1 : 0)

/** The entries of a directory that match one component. */
const matching = (
  shell: Shell,
  base: string,
  component: string,
  isLast: boolean
): Effect.Effect<ReadonlyArray<string>> => {
  const { files } = shell.process
  const at = (name: string) => (base === "" || base.endsWith("/") ? `${base}${name}` : `${base}/${name}`)
  if (!pattern.hasWildcards(component)) {
    const path = at(pattern.literal(component))
    return Effect.match(files.lstat(path), { onFailure: () => [], onSuccess: () => [path] })
  }
  const matches = pattern.compile(component)
  return Effect.gen(function* () {
    const names = yield* Effect.orElseSucceed(files.readDirectory(base === "" ? "." : base), () => [])
    const found = names.filter((name) => matches(name) && (!name.startsWith(".") || component.startsWith("."))).map(at)
    if (isLast) return found
    return yield* Effect.filter(found, (path) =>
      Effect.match(files.stat(path), { onFailure: () => false, onSuccess: ({ type }) => type === "Directory" })
    )
  })
}
