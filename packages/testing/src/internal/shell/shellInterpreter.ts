/** How a shell runs scripts and the commands in them. */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import type { Body } from "../processes/process.ts"
import { type Mode, type Run, Shell } from "./shell.ts"
import { simple } from "./shellCommand.ts"
import * as expand from "./shellExpand.ts"
import { exit, fail, type Jump } from "./shellJump.ts"
import { Parser } from "./shellParser.ts"
import * as pattern from "./shellPattern.ts"
import { background, pipeline, subshell } from "./shellProcesses.ts"
import * as redirecting from "./shellRedirect.ts"
import type { Command, Item, SyntaxError } from "./shellSyntax.ts"

type Of<Tag extends Command["_tag"]> = Extract<Command, { readonly _tag: Tag }>

const inner: Mode = { isTested: false, isLast: false }
const tested: Mode = { isTested: true, isLast: false }

// --- whole scripts -----------------------------------------------------------------------------------------------

/** A program that is a shell. */
export const bodyOf =
  (start: (shell: Shell) => Run): Body =>
  (process) =>
    Effect.suspend(() => {
      const shell = new Shell(process)
      return main(shell, start(shell))
    })

/** Runs to the end, with what is trapped there; gives the exit code. */
export const main = (shell: Shell, run: Run): Effect.Effect<number> =>
  Effect.gen(function* () {
    shell.status = yield* settled(shell, run)
    const action = shell.traps.takeExit()
    if (action === undefined) return shell.status
    const { status } = shell
    return yield* settled(shell, Effect.as(evaluate(shell, action, inner), status))
  })

const settled = (shell: Shell, run: Run): Effect.Effect<number> =>
  Effect.catch(run, (jump) => {
    switch (jump._tag) {
      case "Exit":
      case "Return":
        return Effect.succeed(jump.status)
      case "Failed":
        return Effect.as(shell.tell(jump), jump.status)
      default:
        return Effect.succeed(shell.status)
    }
  })

/** Runs a text that is all there. */
export const evaluate = (shell: Shell, source: string, mode: Mode, line: number = shell.line): Run =>
  Effect.gen(function* () {
    const parser = new Parser(source, { isWhole: true, line })
    let status = 0
    while (true) {
      const step = parser.next().next()
      if (step.done !== true) return yield* step.value === "more" ? fail("no more input") : wrong(shell, step.value)
      if (step.value === undefined) return status
      status = yield* run(shell, step.value, { ...mode, isLast: mode.isLast && parser.isAtEnd })
    }
  })

/** Runs a text that comes line by line; what it leaves, its commands may read. */
export const interpret = (shell: Shell, readLine: Effect.Effect<string | undefined, PlatformError>): Run =>
  Effect.gen(function* () {
    const parser = new Parser("", { isWhole: false })
    while (true) {
      const parsing = parser.next()
      let step = parsing.next()
      while (step.done !== true) {
        if (step.value !== "more") return yield* wrong(shell, step.value)
        step = parsing.next(yield* Effect.orElseSucceed(readLine, () => undefined))
      }
      if (step.value === undefined) return shell.status
      yield* run(shell, step.value, inner)
    }
  })

const wrong = (shell: Shell, error: SyntaxError): Run => {
  shell.line = error.line
  return fail(error.message)
}

// --- commands ----------------------------------------------------------------------------------------------------

export const run = (shell: Shell, command: Command, mode: Mode): Run =>
  Effect.suspend(() => {
    switch (command._tag) {
      case "Simple":
        return checked(shell, simple(shell, command, mode), mode)
      case "Pipeline":
        return command.isNegated
          ? negated(shell, command.commands)
          : checked(shell, pipeline(shell, command.commands, mode.isTested), mode)
      case "Both":
        return both(shell, command, mode)
      case "List":
        return list(shell, command.items, mode)
      case "Subshell":
        return checked(shell, subshell(shell, command.body, mode), mode)
      case "Redirected":
        return redirected(shell, command, mode)
      case "If":
        return conditional(shell, command, mode)
      case "While":
        return whileLoop(shell, command, mode)
      case "For":
        return forLoop(shell, command, mode)
      case "Case":
        return choice(shell, command, mode)
      case "Function":
        return Effect.sync(() => {
          shell.functions.set(command.name, command.body)
          return (shell.status = 0)
        })
    }
  })

/** After a command: its status is known, traps run, and `set -e` may end it all. */
const checked = (shell: Shell, run: Run, mode: Mode): Run =>
  Effect.gen(function* () {
    const status = yield* run
    shell.status = status
    yield* shell.process.resumed
    for (const action of shell.traps.takePending()) {
      yield* evaluate(shell, action, inner)
      shell.status = status
    }
    if (status !== 0 && !mode.isTested && shell.options.has("e")) return yield* exit(status)
    return status
  })

const list = (shell: Shell, items: ReadonlyArray<Item>, mode: Mode): Run =>
  Effect.gen(function* () {
    let status = 0
    if (items.length === 0) shell.status = 0
    for (const [index, { command, isBackground }] of items.entries()) {
      const isLast = mode.isLast && index === items.length - 1
      status = yield* isBackground ? background(shell, command) : run(shell, command, { ...mode, isLast })
    }
    return status
  })

const negated = (shell: Shell, commands: ReadonlyArray<Command>): Run => {
  const [only] = commands
  const status =
    commands.length === 1 && only !== undefined ? run(shell, only, tested) : pipeline(shell, commands, true)
  return Effect.map(status, (status) => (shell.status = status === 0 ? 1 : 0))
}

const both = (shell: Shell, { left, operator, right }: Of<"Both">, mode: Mode): Run =>
  Effect.gen(function* () {
    const status = yield* run(shell, left, tested)
    return (status === 0) === (operator === "&&") ? yield* run(shell, right, mode) : status
  })

const conditional = (shell: Shell, { body, condition, otherwise }: Of<"If">, mode: Mode): Run =>
  Effect.gen(function* () {
    if ((yield* run(shell, condition, tested)) === 0) return yield* run(shell, body, mode)
    return otherwise === undefined ? (shell.status = 0) : yield* run(shell, otherwise, mode)
  })

const whileLoop = (shell: Shell, { body, condition, isUntil }: Of<"While">, mode: Mode): Run =>
  Effect.gen(function* () {
    let status = 0
    const round = Effect.gen(function* () {
      if (((yield* run(shell, condition, tested)) === 0) === isUntil) return false
      status = yield* run(shell, body, { ...mode, isLast: false })
      return true
    })
    while (yield* inLoop(shell, round));
    return (shell.status = status)
  })

const forLoop = (shell: Shell, { body, line, name, words }: Of<"For">, mode: Mode): Run =>
  Effect.gen(function* () {
    shell.line = line
    let status = 0
    for (const value of words === undefined ? shell.positional : yield* expand.fields(shell, words)) {
      yield* shell.assign(name, value)
      const round = Effect.map(run(shell, body, { ...mode, isLast: false }), (result) => {
        status = result
        return true
      })
      if (!(yield* inLoop(shell, round))) break
    }
    return (shell.status = status)
  })

/** One round of a loop; tells whether there may be another. */
const inLoop = (shell: Shell, round: Effect.Effect<boolean, Jump>): Effect.Effect<boolean, Jump> =>
  Effect.suspend(() => {
    shell.loopDepth++
    return Effect.ensuring(
      round,
      Effect.sync(() => void shell.loopDepth--)
    )
  }).pipe(
    Effect.catch((jump): Effect.Effect<boolean, Jump> => {
      if (jump._tag !== "Break" && jump._tag !== "Continue") return Effect.fail(jump)
      if (jump.levels > 1) return Effect.fail({ ...jump, levels: jump.levels - 1 })
      return Effect.succeed(jump._tag === "Continue")
    })
  )

const choice = (shell: Shell, { branches, line, subject }: Of<"Case">, mode: Mode): Run =>
  Effect.gen(function* () {
    shell.line = line
    const value = yield* expand.single(shell, subject)
    for (const { body, patterns } of branches) {
      for (const word of patterns) {
        if (pattern.compile(yield* expand.asPattern(shell, word))(value)) return yield* run(shell, body, mode)
      }
    }
    return (shell.status = 0)
  })

const redirected = (shell: Shell, { body, line, redirects }: Of<"Redirected">, mode: Mode): Run =>
  Effect.gen(function* () {
    shell.line = line
    const redirection = yield* redirecting.attempt(shell, redirects)
    if (redirection === undefined) return yield* checked(shell, Effect.succeed(2), mode)
    return yield* Effect.ensuring(shell.telling(run(shell, body, mode)), redirection.undo)
  })
