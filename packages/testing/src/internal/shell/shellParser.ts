/** The grammar of the shell. */
import { Lexer, type Token } from "./shellLexer.ts"
import {
  type Assignment,
  type Branch,
  type Command,
  empty,
  isName,
  type Item,
  type Parsing,
  type Redirect,
  type Word
} from "./shellSyntax.ts"
import { plainText } from "./shellWords.ts"

const reserved = new Set([
  "!",
  "{",
  "}",
  "case",
  "do",
  "done",
  "elif",
  "else",
  "esac",
  "fi",
  "for",
  "if",
  "in",
  "then",
  "until",
  "while"
])

/** Those that end a list. */
const closing = new Set(["}", "do", "done", "elif", "else", "esac", "fi", "then"])

export const isReserved = (word: string): boolean => reserved.has(word)

export class Parser extends Lexer {
  protected override commandsOf(text: string): Parsing<Command> {
    return new Parser(text, { isWhole: true, line: this.line }).#all()
  }

  /** The commands of the next line that has any; nothing at the end. */
  *next(): Parsing<Command | undefined> {
    yield* this.#skipNewlines()
    if ((yield* this.peek())._tag === "End") return undefined
    const items: Array<Item> = []
    while (true) {
      const { isSeparated, item } = yield* this.#item()
      items.push(item)
      const token = yield* this.peek()
      if (token._tag === "End") break
      if (token._tag === "Newline") {
        yield* this.take()
        break
      }
      if (!isSeparated) return yield* this.#unexpected()
    }
    return listOf(items)
  }

  *#all(): Parsing<Command> {
    const items: Array<Item> = []
    while (true) {
      const command = yield* this.next()
      if (command === undefined) return listOf(items)
      items.push({ command, isBackground: false })
    }
  }

  protected override *substitution(): Parsing<Command> {
    const body = yield* this.#list(true)
    yield* this.#expectOperator(")")
    return body
  }

  // --- lists -----------------------------------------------------------------------------------------------------

  /** Commands up to what ends a list, or up to a command that nothing separates from the next. */
  *#list(mayBeEmpty: boolean = false): Parsing<Command> {
    const items: Array<Item> = []
    yield* this.#skipNewlines()
    while (!(yield* this.#isEnd())) {
      const { isSeparated, item } = yield* this.#item()
      items.push(item)
      if (!(yield* this.#skipNewlines()) && !isSeparated) break
    }
    // At the end, whoever asked knows better what is missing.
    const isMissing = items.length === 0 && !mayBeEmpty && (yield* this.peek())._tag !== "End"
    return isMissing ? yield* this.#unexpected() : listOf(items)
  }

  /** A command with the `;` or `&` after it. */
  *#item(): Parsing<{ readonly item: Item; readonly isSeparated: boolean }> {
    const command = yield* this.#both()
    const isBackground = yield* this.#takeOperator("&")
    return { item: { command, isBackground }, isSeparated: isBackground || (yield* this.#takeOperator(";")) }
  }

  *#both(): Parsing<Command> {
    let left = yield* this.#pipeline()
    while (true) {
      const operator = (yield* this.#takeOperator("&&")) ? "&&" : (yield* this.#takeOperator("||")) ? "||" : undefined
      if (operator === undefined) return left
      yield* this.#skipNewlines()
      left = { _tag: "Both", operator, left, right: yield* this.#pipeline() }
    }
  }

  *#pipeline(): Parsing<Command> {
    const isNegated = yield* this.#takeReserved("!")
    const commands = [yield* this.#command()]
    while (yield* this.#takeOperator("|")) {
      yield* this.#skipNewlines()
      commands.push(yield* this.#command())
    }
    const [only] = commands
    return commands.length === 1 && only !== undefined && !isNegated ? only : { _tag: "Pipeline", commands, isNegated }
  }

  // --- commands --------------------------------------------------------------------------------------------------

  *#command(): Parsing<Command> {
    const { line } = this
    const body = yield* this.#compound()
    if (body === undefined) return yield* this.#simple()
    const redirects: Array<Redirect> = []
    while (true) {
      const redirect = yield* this.#redirect()
      if (redirect === undefined) break
      redirects.push(redirect)
    }
    return redirects.length === 0 ? body : { _tag: "Redirected", body, redirects, line }
  }

  *#compound(): Parsing<Command | undefined> {
    if (yield* this.#takeOperator("(")) {
      const body = yield* this.#list()
      yield* this.#expectOperator(")")
      return { _tag: "Subshell", body }
    }
    switch (yield* this.#reserved()) {
      case "{": {
        yield* this.take()
        const body = yield* this.#list()
        yield* this.#expect("}")
        return body
      }
      case "if":
        yield* this.take()
        return yield* this.#if()
      case "while":
      case "until":
        return yield* this.#while()
      case "for":
        return yield* this.#for()
      case "case":
        return yield* this.#case()
      default:
        return undefined
    }
  }

  *#if(): Parsing<Command> {
    const condition = yield* this.#list()
    yield* this.#expect("then")
    const body = yield* this.#list()
    if (yield* this.#takeReserved("elif")) return { _tag: "If", condition, body, otherwise: yield* this.#if() }
    const otherwise = (yield* this.#takeReserved("else")) ? yield* this.#list() : undefined
    yield* this.#expect("fi")
    return { _tag: "If", condition, body, otherwise }
  }

  *#while(): Parsing<Command> {
    const isUntil = (yield* this.#reserved()) === "until"
    yield* this.take()
    const condition = yield* this.#list()
    return { _tag: "While", isUntil, condition, body: yield* this.#doGroup() }
  }

  *#doGroup(): Parsing<Command> {
    yield* this.#expect("do")
    const body = yield* this.#list()
    yield* this.#expect("done")
    return body
  }

  *#for(): Parsing<Command> {
    yield* this.take()
    const { line } = this
    const token = yield* this.take()
    const name = token._tag === "Word" ? plainText(token.word) : undefined
    if (name === undefined || name.isQuoted || !isName(name.text)) return yield* this.fail("Bad for loop variable")
    yield* this.#skipNewlines()
    let words: Array<Word> | undefined
    if (yield* this.#takeReserved("in")) {
      words = []
      while (true) {
        const next = yield* this.peek()
        if (next._tag !== "Word") break
        words.push(next.word)
        yield* this.take()
      }
      const end = yield* this.peek()
      if (end._tag !== "Newline" && !(yield* this.#takeOperator(";"))) return yield* this.#unexpected()
    } else yield* this.#takeOperator(";")
    yield* this.#skipNewlines()
    return { _tag: "For", name: name.text, words, body: yield* this.#doGroup(), line }
  }

  *#case(): Parsing<Command> {
    yield* this.take()
    const { line } = this
    const token = yield* this.take()
    if (token._tag !== "Word") return yield* this.#unexpected("word", token)
    yield* this.#skipNewlines()
    yield* this.#expect("in")
    yield* this.#skipNewlines()
    const branches: Array<Branch> = []
    while (!(yield* this.#takeReserved("esac"))) {
      yield* this.#takeOperator("(")
      const patterns: Array<Word> = []
      do {
        const pattern = yield* this.take()
        if (pattern._tag !== "Word") return yield* this.#unexpected(pattern._tag === "End" ? '")"' : undefined, pattern)
        patterns.push(pattern.word)
      } while (yield* this.#takeOperator("|"))
      yield* this.#expectOperator(")")
      branches.push({ patterns, body: yield* this.#list(true) })
      if (!(yield* this.#takeOperator(";;"))) {
        yield* this.#expect("esac", ";;")
        break
      }
      yield* this.#skipNewlines()
    }
    return { _tag: "Case", subject: token.word, branches, line }
  }

  *#simple(): Parsing<Command> {
    const assignments: Array<Assignment> = []
    const words: Array<Word> = []
    const redirects: Array<Redirect> = []
    let line = this.line
    while (true) {
      const redirect = yield* this.#redirect()
      if (redirect !== undefined) {
        redirects.push(redirect)
        continue
      }
      const token = yield* this.peek()
      const isFirst = words.length + assignments.length + redirects.length === 0
      if (token._tag === "Word") {
        if (isFirst && (yield* this.#reserved()) !== undefined) return yield* this.#unexpected()
        if (isFirst) line = token.line
        const assignment = words.length === 0 ? assignmentOf(token.word) : undefined
        if (assignment === undefined) words.push(token.word)
        else assignments.push(assignment)
        yield* this.take()
      } else if (token._tag === "Operator" && token.text === "(" && words.length === 1 && assignments.length === 0) {
        return yield* this.#function(words[0] ?? [])
      } else if (isFirst) return yield* this.#unexpected()
      else break
    }
    return { _tag: "Simple", assignments, words, redirects, line }
  }

  *#function(word: Word): Parsing<Command> {
    yield* this.take()
    yield* this.#expectOperator(")")
    const name = plainText(word)
    if (name === undefined || name.isQuoted || !isName(name.text)) return yield* this.fail("Bad function name")
    yield* this.#skipNewlines()
    return { _tag: "Function", name: name.text, body: yield* this.#command() }
  }

  *#redirect(): Parsing<Redirect | undefined> {
    const first = yield* this.peek()
    const fd = first._tag === "Number" ? first.fd : undefined
    if (fd !== undefined) yield* this.take()
    const token = fd === undefined ? first : yield* this.peek()
    const operator = token._tag === "Operator" ? redirectOf(token.text) : undefined
    if (operator === undefined || token._tag !== "Operator") return undefined
    yield* this.take()
    const target = yield* this.peek()
    if (target._tag !== "Word") return yield* this.#unexpected()
    const redirect: Redirect = { operator, fd: fd ?? (operator.startsWith("<") ? 0 : 1), target: target.word }
    if (operator === "<<") this.addHereDocument(redirect, target.word, token.text === "<<-")
    yield* this.take()
    return redirect
  }

  // --- what comes next -------------------------------------------------------------------------------------------

  /** The reserved word that comes next, where one may. */
  *#reserved(): Parsing<string | undefined> {
    const token = yield* this.peek()
    if (token._tag !== "Word") return undefined
    const word = plainText(token.word)
    return word !== undefined && !word.isQuoted && reserved.has(word.text) ? word.text : undefined
  }

  /** Whether no command can start here, because a list ends. */
  *#isEnd(): Parsing<boolean> {
    const token = yield* this.peek()
    if (token._tag === "Operator") return token.text === ")" || token.text === ";;"
    const word = yield* this.#reserved()
    return token._tag === "End" || (word !== undefined && closing.has(word))
  }

  /** Tells whether there were any. */
  *#skipNewlines(): Parsing<boolean> {
    let isAny = false
    while ((yield* this.peek())._tag === "Newline") {
      yield* this.take()
      isAny = true
    }
    return isAny
  }

  *#takeOperator(text: string): Parsing<boolean> {
    const token = yield* this.peek()
    if (token._tag !== "Operator" || token.text !== text) return false
    yield* this.take()
    return true
  }

  *#takeReserved(word: string): Parsing<boolean> {
    if ((yield* this.#reserved()) !== word) return false
    yield* this.take()
    return true
  }

  *#expect(word: string, shown: string = word): Parsing<void> {
    if (!(yield* this.#takeReserved(word))) yield* this.#unexpected(`"${shown}"`)
  }

  *#expectOperator(text: string): Parsing<void> {
    if (!(yield* this.#takeOperator(text))) yield* this.#unexpected(`"${text}"`)
  }

  *#unexpected(expected?: string, given?: Token): Parsing<never> {
    const token = given ?? (yield* this.peek())
    return yield* this.fail(`${shownAs(token)} unexpected${expected === undefined ? "" : ` (expecting ${expected})`}`)
  }
}

const listOf = (items: ReadonlyArray<Item>): Command => {
  const [only] = items
  if (only === undefined) return empty
  return items.length === 1 && !only.isBackground ? only.command : { _tag: "List", items }
}

const shownAs = (token: Token): string => {
  switch (token._tag) {
    case "End":
      return "end of file"
    case "Newline":
      return "newline"
    case "Operator":
      return redirectOf(token.text) === undefined ? `"${token.text}"` : "redirection"
    case "Number":
      return "redirection"
    case "Word": {
      const word = plainText(token.word)
      return word !== undefined && !word.isQuoted && reserved.has(word.text) ? `"${word.text}"` : "word"
    }
  }
}

const redirectOf = (text: string): Redirect["operator"] | undefined => {
  switch (text) {
    case "<":
    case ">":
    case ">>":
    case ">|":
    case "<>":
    case "<&":
    case ">&":
    case "<<":
      return text
    case "<<-":
      return "<<"
    default:
      return undefined
  }
}

export const assignmentOf = (word: Word): Assignment | undefined => {
  const [first, ...rest] = word
  if (first?._tag !== "Text" || first.isQuoted) return undefined
  const equals = first.text.indexOf("=")
  const name = first.text.slice(0, equals)
  if (equals <= 0 || !isName(name)) return undefined
  const start = first.text.slice(equals + 1)
  return { name, value: start === "" ? rest : [{ ...first, text: start }, ...rest] }
}
