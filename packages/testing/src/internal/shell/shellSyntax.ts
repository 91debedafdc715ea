/** The syntax tree of the shell. */

export type Word = ReadonlyArray<Part>

/** A piece of a word. What is quoted is neither split nor a pattern. */
export type Part =
  | { readonly _tag: "Text"; readonly text: string; readonly isQuoted: boolean }
  | {
      /** `$x`, `${x:-word}`, `${x#pattern}` */
      readonly _tag: "Parameter"
      readonly name: string
      readonly operator: ParameterOperator | undefined
      readonly word: Word
      readonly isQuoted: boolean
    }
  /** `${#x}` */
  | { readonly _tag: "Length"; readonly name: string; readonly isQuoted: boolean }
  /** `$(…)` and the like with backquotes */
  | { readonly _tag: "Substitution"; readonly body: Command; readonly isQuoted: boolean }
  /** `$((…))` */
  | { readonly _tag: "Arithmetic"; readonly expression: Word; readonly isQuoted: boolean }
  /** `~` or `~user` at the start of a word */
  | { readonly _tag: "Tilde"; readonly user: string }
  /** Something in `${…}` that nobody understands; an error only when it is used. */
  | { readonly _tag: "BadSubstitution" }

/** With `isColon`, being empty counts as being unset. */
export type ParameterOperator =
  | { readonly kind: "-" | "=" | "?" | "+"; readonly isColon: boolean }
  | { readonly kind: "#" | "##" | "%" | "%%" }

export interface Redirect {
  readonly operator: "<" | ">" | ">>" | ">|" | "<>" | "<&" | ">&" | "<<"
  readonly fd: number
  /** The file, the descriptor, or the text of a here-document. */
  target: Word
}

export interface Assignment {
  readonly name: string
  readonly value: Word
}

export type Command =
  | {
      readonly _tag: "Simple"
      readonly assignments: ReadonlyArray<Assignment>
      readonly words: ReadonlyArray<Word>
      readonly redirects: ReadonlyArray<Redirect>
      readonly line: number
    }
  | { readonly _tag: "Pipeline"; readonly commands: ReadonlyArray<Command>; readonly isNegated: boolean }
  | { readonly _tag: "Both"; readonly operator: "&&" | "||"; readonly left: Command; readonly right: Command }
  | { readonly _tag: "List"; readonly items: ReadonlyArray<Item> }
  | { readonly _tag: "Subshell"; readonly body: Command }
  /** A command with redirects around it. */
  | {
      readonly _tag: "Redirected"
      readonly body: Command
      readonly redirects: ReadonlyArray<Redirect>
      readonly line: number
    }
  | {
      readonly _tag: "If"
      readonly condition: Command
      readonly body: Command
      readonly otherwise: Command | undefined
    }
  | { readonly _tag: "While"; readonly isUntil: boolean; readonly condition: Command; readonly body: Command }
  | {
      readonly _tag: "For"
      readonly name: string
      /** Without words it runs through the positional parameters. */
      readonly words: ReadonlyArray<Word> | undefined
      readonly body: Command
      readonly line: number
    }
  | { readonly _tag: "Case"; readonly subject: Word; readonly branches: ReadonlyArray<Branch>; readonly line: number }
  | { readonly _tag: "Function"; readonly name: string; readonly body: Command }

export interface Item {
  readonly command: Command
  readonly isBackground: boolean
}

export interface Branch {
  readonly patterns: ReadonlyArray<Word>
  readonly body: Command
}

export interface SyntaxError {
  readonly _tag: "SyntaxError"
  readonly message: string
  readonly line: number
}

/**
 * Parsing that may have to wait. A parser yields either that it needs more input, and is resumed with it (or with
 * nothing, at the end), or an error, and is never resumed.
 */
export type Parsing<A> = Generator<SyntaxError | "more", A, string | undefined>

export const isName = (text: string): boolean => /^[A-Za-z_][A-Za-z0-9_]*$/.test(text)

export const empty: Command = { _tag: "List", items: [] }
