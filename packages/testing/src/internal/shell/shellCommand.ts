/** Simple commands: assignments, built-in commands, functions, and programs. */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as errno from "../processes/processErrno.ts"
import type { Viewpoint } from "../processes/processExecutable.ts"
import type { Mode, Run, Shell } from "./shell.ts"
import { type Builtin, find as findBuiltin } from "./shellBuiltins.ts"
import * as expand from "./shellExpand.ts"
import { run } from "./shellInterpreter.ts"
import { fail, type Jump } from "./shellJump.ts"
import { assignmentOf } from "./shellParser.ts"
import { start, waitFor } from "./shellProcesses.ts"
import * as redirecting from "./shellRedirect.ts"
import type { Assignment, Command, Word } from "./shellSyntax.ts"

type Simple = Extract<Command, { readonly _tag: "Simple" }>
type Words = readonly [string, ...ReadonlyArray<string>]
type Assigned = ReadonlyArray<readonly [name: string, value: string]>

const maxFunctionDepth = 1000

/** Commands whose arguments may be assignments. */
const assigning = new Set(["export", "local", "readonly"])

export const simple = (shell: Shell, command: Simple, mode: Mode): Run =>
  Effect.gen(function* () {
    shell.line = command.line
    shell.substitutionStatus = 0
    const [name, ...args] = yield* argumentsOf(shell, command.words)
    if (name === undefined) return yield* assignOnly(shell, command)
    const words: Words = [name, ...args]
    const builtin = findBuiltin(name)
    const assigned = yield* valuesOf(shell, command.assignments)
    yield* trace(shell, assigned, words)
    if (builtin?.isSpecial === true) return yield* special(shell, command, words, assigned, builtin, mode)
    const redirection = yield* redirecting.attempt(shell, command.redirects)
    if (redirection === undefined) return 2
    const definition = shell.functions.get(name)
    const body =
      definition !== undefined
        ? during(shell, assigned, call(shell, definition, args, mode))
        : builtin !== undefined
          ? during(shell, assigned, regular(shell, words, builtin, mode))
          : external(shell, words, assigned, mode)
    return yield* Effect.ensuring(shell.telling(body), redirection.undo)
  })

/** Runs a command by name as `command` does: functions do not count, and nothing is special. */
export const runCommand = (shell: Shell, words: Words, mode: Mode): Run => {
  const builtin = findBuiltin(words[0])
  return builtin === undefined ? external(shell, words, [], mode) : regular(shell, words, builtin, mode)
}

/** Becomes another program. */
export const become = (shell: Shell, words: Words): Run =>
  Effect.gen(function* () {
    const found = yield* Effect.result(find(shell, words, shell.variables.get("PATH")))
    if (found._tag === "Success") return yield* shell.process.exec(found.success, shell.variables.environment)
    const { reason, status } = whyNot(found.failure)
    return yield* fail(`${words[0]}: ${reason}`, status)
  })

/** Where the file of a command is. */
export const locate = (shell: Shell, name: string): Effect.Effect<string, PlatformError> =>
  shell.process.kernel.executables.locate(name, viewpoint(shell, shell.variables.get("PATH")))

// --- words and assignments ---------------------------------------------------------------------------------------

/** The words of a command. What looks like an assignment to a command that assigns, is not split. */
const argumentsOf = (shell: Shell, words: ReadonlyArray<Word>): Effect.Effect<ReadonlyArray<string>, Jump> =>
  Effect.gen(function* () {
    const result: Array<string> = []
    for (const word of words) {
      const assignment = assigning.has(result[0] ?? "") ? assignmentOf(word) : undefined
      if (assignment === undefined) result.push(...(yield* expand.fields(shell, [word])))
      else result.push(`${assignment.name}=${yield* expand.single(shell, assignment.value)}`)
    }
    return result
  })

const valuesOf = (shell: Shell, assignments: ReadonlyArray<Assignment>): Effect.Effect<Assigned, Jump> =>
  Effect.forEach(assignments, ({ name, value }) =>
    Effect.map(expand.single(shell, value), (value) => [name, value] as const)
  )

const assignOnly = (shell: Shell, { assignments, redirects }: Simple): Run =>
  Effect.gen(function* () {
    const redirection = yield* redirecting.attempt(shell, redirects)
    if (redirection === undefined) return 2
    yield* redirection.undo
    for (const { name, value } of assignments) {
      const assigned = yield* expand.single(shell, value)
      yield* trace(shell, [[name, assigned]], [])
      yield* shell.assign(name, assigned)
    }
    return shell.substitutionStatus
  })

/** Variables that are only set while something runs. */
const during = (shell: Shell, assigned: Assigned, body: Run): Run =>
  Effect.gen(function* () {
    const restore = assigned.map(([name]) => shell.variables.snapshot(name))
    for (const [name, value] of assigned) {
      yield* shell.assign(name, value)
      shell.variables.setExported(name)
    }
    return yield* Effect.ensuring(
      body,
      Effect.sync(() => restore.forEach((put) => put()))
    )
  })

/** Prints what is about to run, with `set -x`. */
const trace = (shell: Shell, assigned: Assigned, words: ReadonlyArray<string>): Effect.Effect<void> => {
  if (!shell.options.has("x")) return Effect.void
  const all = [...assigned.map(([name, value]) => `${name}=${value}`), ...words]
  return Effect.ignore(shell.process.write(2, `${shell.variables.get("PS4") ?? "+ "}${all.join(" ")}\n`))
}

// --- what runs ---------------------------------------------------------------------------------------------------

/** Special built-ins are different: their assignments stay, and their errors end the script. */
const special = (shell: Shell, command: Simple, words: Words, assigned: Assigned, builtin: Builtin, mode: Mode): Run =>
  Effect.gen(function* () {
    const redirection = yield* redirecting.apply(shell, command.redirects)
    const body = Effect.andThen(
      Effect.forEach(assigned, ([name, value]) => shell.assign(name, value), { discard: true }),
      runBuiltin(shell, words, builtin, mode)
    )
    // The redirects of an `exec` without a command are there to stay.
    const isToStay = words[0] === "exec" && words.length === 1
    return yield* Effect.ensuring(shell.telling(body), isToStay ? redirection.settle : redirection.undo)
  })

/** The error of any other built-in is but its status. */
const regular = (shell: Shell, words: Words, builtin: Builtin, mode: Mode): Run =>
  Effect.catchIf(
    runBuiltin(shell, words, builtin, mode),
    (jump) => jump._tag === "Failed",
    (jump) => Effect.as(shell.tell(jump), jump.status)
  )

const runBuiltin = (shell: Shell, [name, ...args]: Words, builtin: Builtin, mode: Mode): Run =>
  Effect.catch(builtin.run(shell, args, mode), (error): Run => {
    if (error._tag === "PlatformError") return Effect.as(shell.complain(`${name}: I/O error`, name), 1)
    return Effect.fail(error._tag === "Failed" ? { ...error, command: error.command ?? name } : error)
  })

const call = (shell: Shell, definition: Command, args: ReadonlyArray<string>, mode: Mode): Run =>
  Effect.suspend(() => {
    if (shell.functionDepth >= maxFunctionDepth) {
      return fail(`Maximum function recursion depth (${maxFunctionDepth}) reached`)
    }
    const { loopDepth, positional } = shell
    shell.functionDepth++
    shell.positional = args
    shell.loopDepth = 0
    shell.locals.push(new Map())
    return Effect.ensuring(
      Effect.catchIf(
        run(shell, definition, { ...mode, isLast: false }),
        (jump) => jump._tag === "Return",
        (jump) => Effect.succeed(jump.status)
      ),
      Effect.sync(() => {
        shell.functionDepth--
        shell.positional = positional
        shell.loopDepth = loopDepth
        for (const put of shell.locals.pop()?.values() ?? []) put()
      })
    )
  })

const external = (shell: Shell, words: Words, assigned: Assigned, mode: Mode): Run =>
  Effect.gen(function* () {
    const environment = { ...shell.variables.environment, ...Object.fromEntries(assigned) }
    const found = yield* Effect.result(find(shell, words, environment["PATH"] ?? shell.variables.get("PATH")))
    if (found._tag === "Failure") {
      const { reason, status } = whyNot(found.failure)
      return yield* Effect.as(shell.complain(reason, words[0]), status)
    }
    const { argv, body } = found.success
    if (mode.isLast && shell.traps.isEmpty) return yield* shell.process.exec(found.success, environment)
    const child = yield* start(shell, { argv, environment, body })
    return yield* waitFor(shell, [child])
  })

const find = (shell: Shell, words: Words, path: string | undefined) =>
  shell.process.kernel.executables.find(words, viewpoint(shell, path))

const viewpoint = ({ process }: Shell, path: string | undefined): Viewpoint => ({
  cwd: process.cwd,
  files: process.files,
  environment: { PATH: path ?? "" }
})

/** Why a program cannot be run, and the status for that. */
const whyNot = (error: PlatformError): { readonly reason: string; readonly status: number } =>
  errno.codeOf(error) === "ENOENT" ? { reason: "not found", status: 127 } : { reason: errno.text(error), status: 126 }
