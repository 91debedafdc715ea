/** The tokens of a shell script, and the here-documents between them. */
import type { Parsing, Redirect, Word } from "./shellSyntax.ts"
import { plainText, WordBuilder, Words } from "./shellWords.ts"

export type Token =
  | { readonly _tag: "Word"; readonly word: Word; readonly line: number }
  | { readonly _tag: "Operator"; readonly text: string }
  /** The number in front of a redirect's operator. */
  | { readonly _tag: "Number"; readonly fd: number }
  | { readonly _tag: "Newline" }
  | { readonly _tag: "End" }

const operators = ["<<-", "&&", "||", ";;", "<<", ">>", "<&", ">&", "<>", ">|", "&", "|", ";", "<", ">", "(", ")"]

interface HereDocument {
  readonly redirect: Redirect
  readonly delimiter: string
  readonly isQuoted: boolean
  readonly stripsTabs: boolean
}

export abstract class Lexer extends Words {
  #lookahead: Token | undefined
  #hereDocuments: Array<HereDocument> = [];

  protected *peek(): Parsing<Token> {
    this.#lookahead ??= yield* this.#token()
    return this.#lookahead
  }

  protected *take(): Parsing<Token> {
    const token = yield* this.peek()
    this.#lookahead = undefined
    if (token._tag === "Newline") yield* this.#readHereDocuments()
    return token
  }

  protected addHereDocument(redirect: Redirect, delimiter: Word, stripsTabs: boolean): void {
    const { isQuoted = false, text = "" } = plainText(delimiter) ?? {}
    this.#hereDocuments.push({ redirect, delimiter: text, isQuoted, stripsTabs })
  }

  *#token(): Parsing<Token> {
    while (true) {
      const character = yield* this.character()
      if (character === undefined) return { _tag: "End" }
      if (character === " " || character === "\t") this.at++
      else if (character === "\\" && (yield* this.character(1)) === "\n") this.skipNewline(2)
      else if (character === "#") yield* this.#skipComment()
      else break
    }
    const character = this.source[this.at]
    if (character === "\n") {
      this.skipNewline(1)
      return { _tag: "Newline" }
    }
    // All operators of more than one character are within one line.
    const operator = operators.find((operator) => this.source.startsWith(operator, this.at))
    if (operator !== undefined) {
      this.at += operator.length
      return { _tag: "Operator", text: operator }
    }
    const { line } = this
    const word = yield* this.word()
    const text = plainText(word)
    const next = this.source[this.at]
    if (text !== undefined && !text.isQuoted && /^\d$/.test(text.text) && (next === "<" || next === ">")) {
      return { _tag: "Number", fd: Number(text.text) }
    }
    return { _tag: "Word", word, line }
  }

  *#skipComment(): Parsing<void> {
    while (true) {
      const character = yield* this.character()
      if (character === undefined || character === "\n") return
      this.at++
    }
  }

  // --- here-documents --------------------------------------------------------------------------------------------

  *#readHereDocuments(): Parsing<void> {
    const waiting = this.#hereDocuments
    this.#hereDocuments = []
    for (const document of waiting) {
      const builder = new WordBuilder()
      while ((yield* this.character()) !== undefined && !(yield* this.#isDelimiter(document))) {
        yield* document.isQuoted ? this.#verbatimLine(builder) : this.#hereLine(builder)
      }
      if (builder.isEmpty) builder.addPart({ _tag: "Text", text: "", isQuoted: true })
      builder.flush()
      document.redirect.target = builder.parts
    }
  }

  /** At the start of a line: whether it ends the here-document. Then it is taken, otherwise only tabs are. */
  *#isDelimiter({ delimiter, stripsTabs }: HereDocument): Parsing<boolean> {
    while (stripsTabs && (yield* this.character()) === "\t") this.at++
    let length = 0
    while (true) {
      const character = yield* this.character(length)
      if (character === undefined || character === "\n") break
      length++
    }
    if (this.source.slice(this.at, this.at + length) !== delimiter) return false
    this.at += length
    if ((yield* this.character()) === "\n") this.skipNewline(1)
    return true
  }

  /** Up to the end of a line, in which only `$`, backquotes and backslashes mean something. */
  *#hereLine(builder: WordBuilder): Parsing<void> {
    while (true) {
      const character = yield* this.character()
      if (character === undefined) return
      yield* this.quoted(builder, character, "$`\\")
      if (character === "\n") return
    }
  }

  *#verbatimLine(builder: WordBuilder): Parsing<void> {
    while (true) {
      const character = yield* this.character()
      if (character === undefined) return
      this.advance(character)
      builder.add(character, true)
      if (character === "\n") return
    }
  }
}
