/** The characters of a shell script, which may come bit by bit, as they do from standard input. */
import type { Parsing } from "./shellSyntax.ts"

export abstract class Source {
  line: number
  protected source: string
  protected at = 0
  #isWhole: boolean

  constructor(source: string, options: { readonly isWhole: boolean; readonly line?: number }) {
    this.source = source
    this.#isWhole = options.isWhole
    this.line = options.line ?? 1
  }

  /** Whether nothing is left of an input that is all there is. */
  get isAtEnd(): boolean {
    return this.#isWhole && this.at >= this.source.length
  }

  protected *fail(message: string): Parsing<never> {
    yield { _tag: "SyntaxError", message: `Syntax error: ${message}`, line: this.line }
    return yield* this.fail(message)
  }

  /** The character at an offset, when there is one; asks for more input until there is. */
  protected *character(offset: number = 0): Parsing<string | undefined> {
    while (this.at + offset >= this.source.length) {
      if (this.#isWhole) return undefined
      const more = yield "more"
      if (more === undefined) this.#isWhole = true
      else {
        this.source = this.source.slice(this.at) + more
        this.at = 0
      }
    }
    return this.source[this.at + offset]
  }

  /** Takes a character. */
  protected advance(character: string): void {
    this.at++
    if (character === "\n") this.line++
  }

  /** Takes some characters, the last of which ends a line. */
  protected skipNewline(length: number): void {
    this.at += length
    this.line++
  }
}
