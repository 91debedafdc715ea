/** The words of a shell script: quotes, parameters, substitutions and arithmetic. */
import { Source } from "./shellSource.ts"
import { type Command, isName, type ParameterOperator, type Parsing, type Part, type Word } from "./shellSyntax.ts"

/** The text of a word that is nothing but text; what was quoted in it is told apart. */
export const plainText = (word: Word): { readonly text: string; readonly isQuoted: boolean } | undefined => {
  let text = ""
  let isQuoted = false
  for (const part of word) {
    if (part._tag === "Tilde") text += `~${part.user}`
    else if (part._tag !== "Text") return undefined
    else {
      text += part.text
      isQuoted ||= part.isQuoted
    }
  }
  return { text, isQuoted }
}

/** Collects the parts of a word. */
export class WordBuilder {
  readonly parts: Array<Part> = []
  #text = ""
  #isQuoted = false

  add(text: string, isQuoted: boolean): void {
    if (this.#text !== "" && this.#isQuoted !== isQuoted) this.flush()
    this.#text += text
    this.#isQuoted = isQuoted
  }

  addPart(part: Part): void {
    this.flush()
    this.parts.push(part)
  }

  flush(): void {
    if (this.#text !== "") this.parts.push({ _tag: "Text", text: this.#text, isQuoted: this.#isQuoted })
    this.#text = ""
  }

  get isEmpty(): boolean {
    return this.parts.length === 0 && this.#text === ""
  }
}

export abstract class Words extends Source {
  /** The commands up to a `)`, which is taken, of a command substitution. */
  protected abstract substitution(): Parsing<Command>
  /** All commands of a text. */
  protected abstract commandsOf(text: string): Parsing<Command>

  protected *word(): Parsing<Word> {
    const builder = new WordBuilder()
    while (true) {
      const character = yield* this.character()
      if (character === undefined || /[ \t\n;&|<>()]/.test(character)) break
      yield* this.#unquoted(builder, character)
    }
    builder.flush()
    return withTildes(builder.parts)
  }

  /** What stands outside of quotes. */
  *#unquoted(builder: WordBuilder, character: string): Parsing<void> {
    if (character === "\\") {
      const next = yield* this.character(1)
      if (next === "\n") return this.skipNewline(2)
      this.at += next === undefined ? 1 : 2
      return builder.add(next ?? "\\", true)
    }
    if (character === "'") return yield* this.#singleQuoted(builder)
    if (character === '"') return yield* this.#doubleQuoted(builder)
    if (character === "$") return yield* this.#dollar(builder, false)
    if (character === "`") return yield* this.#backquoted(builder, false)
    this.at++
    builder.add(character, false)
  }

  *#singleQuoted(builder: WordBuilder): Parsing<void> {
    this.at++
    let text = ""
    while (true) {
      const character = yield* this.character()
      if (character === undefined) return yield* this.fail("Unterminated quoted string")
      this.advance(character)
      if (character === "'") break
      text += character
    }
    builder.addPart({ _tag: "Text", text, isQuoted: true })
  }

  *#doubleQuoted(builder: WordBuilder): Parsing<void> {
    this.at++
    builder.flush()
    const before = builder.parts.length
    while (true) {
      const character = yield* this.character()
      if (character === undefined) return yield* this.fail("Unterminated quoted string")
      if (character === '"') break
      yield* this.quoted(builder, character, '$`"\\')
    }
    this.at++
    builder.flush()
    if (builder.parts.length === before) builder.addPart({ _tag: "Text", text: "", isQuoted: true })
  }

  /** What stands inside of double quotes, where a backslash only quotes a few characters. */
  protected *quoted(builder: WordBuilder, character: string, escapable: string): Parsing<void> {
    if (character === "\\") {
      const next = yield* this.character(1)
      if (next === "\n") return this.skipNewline(2)
      if (next !== undefined && escapable.includes(next)) {
        this.at += 2
        return builder.add(next, true)
      }
    }
    if (character === "$") return yield* this.#dollar(builder, true)
    if (character === "`") return yield* this.#backquoted(builder, true)
    this.advance(character)
    builder.add(character, true)
  }

  *#dollar(builder: WordBuilder, isQuoted: boolean): Parsing<void> {
    const next = yield* this.character(1)
    if (next === "{") return yield* this.#braced(builder, isQuoted)
    if (next === "(") {
      if ((yield* this.character(2)) === "(") return yield* this.#arithmetic(builder, isQuoted)
      this.at += 2
      return builder.addPart({ _tag: "Substitution", body: yield* this.substitution(), isQuoted })
    }
    const [name] = /^(?:[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])/.exec(this.source.slice(this.at + 1)) ?? []
    this.at += 1 + (name?.length ?? 0)
    if (name === undefined) builder.add("$", isQuoted)
    else builder.addPart({ _tag: "Parameter", name, operator: undefined, word: [], isQuoted })
  }

  *#braced(builder: WordBuilder, isQuoted: boolean): Parsing<void> {
    this.at += 2
    const rest = this.source.slice(this.at)
    const length = /^#([A-Za-z_][A-Za-z0-9_]*|\d+|[@*?$!-])\}/.exec(rest)
    if (length !== null) {
      this.at += length[0].length
      return builder.addPart({ _tag: "Length", name: length[1] ?? "", isQuoted })
    }
    const [name = ""] = /^(?:[A-Za-z_][A-Za-z0-9_]*|\d+|[@*#?$!-])/.exec(rest) ?? []
    this.at += name.length
    const [given = ""] = /^(?::?[-=?+]|##?|%%?)/.exec(this.source.slice(this.at)) ?? []
    this.at += given.length
    const operator = operatorOf(given)
    const isTrim = operator !== undefined && !("isColon" in operator)
    const word = yield* this.#bracedWord(isQuoted && !isTrim)
    if (name === "" || (operator === undefined && word.length > 0)) builder.addPart({ _tag: "BadSubstitution" })
    else builder.addPart({ _tag: "Parameter", name, operator, word, isQuoted })
  }

  /** The word in `${x:-word}`, up to the brace, which is taken. */
  *#bracedWord(isQuoted: boolean): Parsing<Word> {
    const builder = new WordBuilder()
    while (true) {
      const character = yield* this.character()
      if (character === undefined) return yield* this.fail("Missing '}'")
      if (character === "}") break
      // Quotes inside of quotes end the quoting for a while.
      if (isQuoted && character !== '"') yield* this.quoted(builder, character, '$`"\\}')
      else if (character === "\n") {
        this.skipNewline(1)
        builder.add("\n", false)
      } else yield* this.#unquoted(builder, character)
    }
    this.at++
    builder.flush()
    return isQuoted ? builder.parts : withTildes(builder.parts)
  }

  *#arithmetic(builder: WordBuilder, isQuoted: boolean): Parsing<void> {
    this.at += 3
    const expression = new WordBuilder()
    for (let depth = 0; ;) {
      const character = yield* this.character()
      if (character === undefined) return yield* this.fail("missing '))'")
      if (character === ")" && depth === 0) {
        if ((yield* this.character(1)) !== ")") return yield* this.fail("missing '))'")
        break
      }
      if (character === "(") depth++
      if (character === ")") depth--
      yield* this.quoted(expression, character, '$`"\\')
    }
    this.at += 2
    expression.flush()
    builder.addPart({ _tag: "Arithmetic", expression: expression.parts, isQuoted })
  }

  *#backquoted(builder: WordBuilder, isQuoted: boolean): Parsing<void> {
    this.at++
    let source = ""
    while (true) {
      const character = yield* this.character()
      if (character === undefined) return yield* this.fail("EOF in backquote substitution")
      if (character === "`") break
      const next = character === "\\" ? yield* this.character(1) : undefined
      if (next !== undefined && (isQuoted ? '$`\\"' : "$`\\").includes(next)) {
        source += next
        this.at += 2
      } else {
        source += character
        this.advance(character)
      }
    }
    this.at++
    builder.addPart({ _tag: "Substitution", body: yield* this.commandsOf(source), isQuoted })
  }
}

const operatorOf = (given: string): ParameterOperator | undefined => {
  switch (given) {
    case "#":
    case "##":
    case "%":
    case "%%":
      return { kind: given }
    case "":
      return undefined
    default: {
      const kind = given.at(-1)
      const isColon = given.length === 2
      return kind === "-" || kind === "=" || kind === "?" || kind === "+" ? { kind, isColon } : undefined
    }
  }
}

/** Splits `~` off the start of a word, or of what follows `=` and each `:` in an assignment. */
const withTildes = (parts: ReadonlyArray<Part>): Word => {
  const [first, ...rest] = parts
  if (first?._tag !== "Text" || first.isQuoted || !first.text.includes("~")) return parts
  const equals = first.text.indexOf("=")
  if (equals <= 0 || !isName(first.text.slice(0, equals))) return [...tilde(first.text, rest.length === 0), ...rest]
  const before: Part = { _tag: "Text", text: first.text.slice(0, equals + 1), isQuoted: false }
  const values = first.text.slice(equals + 1).split(":")
  const expanded = values.flatMap((value, index): Array<Part> => {
    const isLast = index === values.length - 1
    const colon: Array<Part> = isLast ? [] : [{ _tag: "Text", text: ":", isQuoted: false }]
    return [...tilde(value, !isLast || rest.length === 0), ...colon]
  })
  return [before, ...expanded, ...rest]
}

/** Only the whole of a name is a user's: `~"a"` and `~$x` are none. */
const tilde = (text: string, isWhole: boolean): Array<Part> => {
  const [all, user, path] = /^~([A-Za-z0-9_.-]*)(\/.*)?$/s.exec(text) ?? []
  if (all === undefined || user === undefined || (path === undefined && !isWhole)) {
    return text === "" ? [] : [{ _tag: "Text", text, isQuoted: false }]
  }
  return [
    { _tag: "Tilde", user },
    ...(path === undefined ? [] : [{ _tag: "Text" as const, text: path, isQuoted: false }])
  ]
}
