/** What makes a shell leave a command before its end. */
import * as Effect from "effect/Effect"

/** Something went wrong that a script does not survive, unless a command that is not special did it. */
export interface Failure {
  readonly _tag: "Failed"
  readonly message: string
  readonly status: number
  /** The built-in command that it is about. */
  readonly command: string | undefined
  /** It has been printed, where the error output led when it happened. */
  readonly isTold: boolean
}

export type Jump =
  | { readonly _tag: "Break"; readonly levels: number }
  | { readonly _tag: "Continue"; readonly levels: number }
  /** Out of a function or a sourced script. */
  | { readonly _tag: "Return"; readonly status: number }
  | { readonly _tag: "Exit"; readonly status: number }
  | Failure

export const fail = (message: string, status: number = 2): Effect.Effect<never, Jump> =>
  Effect.fail({ _tag: "Failed", message, status, command: undefined, isTold: false })

export const exit = (status: number): Effect.Effect<never, Jump> => Effect.fail({ _tag: "Exit", status })
