/** Redirects of a shell: what descriptors refer to while a command runs. */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as errno from "../processes/processErrno.ts"
import * as files from "../processes/processFiles.ts"
import * as text from "../processes/processText.ts"
import * as expand from "./shellExpand.ts"
import type { Shell } from "./shell.ts"
import { fail, type Jump } from "./shellJump.ts"
import type { Redirect } from "./shellSyntax.ts"

/** Redirects that are in force. They end in one of two ways. */
export interface Redirection {
  /** Puts back what was there before. */
  readonly undo: Effect.Effect<void>
  /** Makes it stay. */
  readonly settle: Effect.Effect<void>
}

const none: Redirection = { undo: Effect.void, settle: Effect.void }

/** Redirects descriptors of the shell itself. When one of the redirects fails, none is left. */
export const apply = (shell: Shell, redirects: ReadonlyArray<Redirect>): Effect.Effect<Redirection, Jump> => {
  if (redirects.length === 0) return Effect.succeed(none)
  return Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      let all = none
      for (const redirect of redirects) {
        const before = all
        const file = yield* Effect.onError(open(shell, redirect, restore), () => before.undo)
        const one = yield* replace(shell, redirect.fd, file)
        all = {
          undo: Effect.andThen(one.undo, before.undo),
          settle: Effect.andThen(one.settle, before.settle)
        }
      }
      return all
    })
  )
}

/** Redirects as `apply` does; what cannot be done is only complained about, and nothing is given. */
export const attempt = (
  shell: Shell,
  redirects: ReadonlyArray<Redirect>
): Effect.Effect<Redirection | undefined, Jump> =>
  Effect.catchIf(
    apply(shell, redirects),
    (jump) => jump._tag === "Failed",
    (jump) => Effect.as(shell.tell(jump), undefined)
  )

const replace = ({ process }: Shell, fd: number, file: files.OpenFile | undefined): Effect.Effect<Redirection> =>
  Effect.gen(function* () {
    const before = process.descriptors.get(fd)
    const saved = before === undefined ? undefined : yield* process.descriptors.keep(before.retain())
    yield* file === undefined ? process.descriptors.close(fd) : process.descriptors.assign(fd, file)
    return {
      undo: Effect.suspend(() => {
        const kept = saved === undefined ? undefined : process.descriptors.get(saved)
        if (saved === undefined || kept === undefined) return process.descriptors.close(fd)
        return Effect.andThen(process.descriptors.assign(fd, kept.retain()), process.descriptors.close(saved))
      }),
      settle: saved === undefined ? Effect.void : process.descriptors.close(saved)
    }
  })

/** The file that a descriptor is to refer to; none when it is to be closed. What was opened is not lost on the way. */
const open = (
  shell: Shell,
  { operator, target }: Redirect,
  restore: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
): Effect.Effect<files.OpenFile | undefined, Jump> =>
  Effect.gen(function* () {
    const word = yield* restore(expand.single(shell, target))
    switch (operator) {
      case "<<":
        return new files.Content(text.encode(word))
      case "<&":
      case ">&": {
        if (word === "-") return undefined
        if (!/^\d+$/.test(word)) return yield* fail("Syntax error: Bad fd number")
        const other = shell.process.descriptors.get(Number(word))
        return other === undefined ? yield* fail(`${word}: Bad file descriptor`) : other.retain()
      }
      default:
        return yield* Effect.catch(openFile(shell, operator, word), (error) =>
          fail(`cannot ${operator === "<" ? "open" : "create"} ${word}: ${describe(error, operator)}`)
        )
    }
  })

const openFile = (
  { process }: Shell,
  operator: "<" | ">" | ">>" | ">|" | "<>",
  path: string
): Effect.Effect<files.OpenFile, PlatformError> => {
  switch (operator) {
    case "<":
      return process.open(path, "r")
    case ">>":
      return process.open(path, "a")
    case "<>":
      return Effect.catchIf(
        process.open(path, "r+"),
        (error) => errno.codeOf(error) === "ENOENT",
        () => process.open(path, "w+")
      )
    default:
      return process.open(path, "w")
  }
}

const describe = (error: PlatformError, operator: Redirect["operator"]): string => {
  if (errno.codeOf(error) !== "ENOENT") return errno.text(error)
  return operator === "<" ? "No such file" : "Directory nonexistent"
}
