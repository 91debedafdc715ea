/** The special built-in commands of the shell: their errors end a script. */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as errno from "../processes/processErrno.ts"
import * as files from "../processes/processFiles.ts"
import * as signals from "../processes/processSignal.ts"
import * as text from "../processes/processText.ts"
import type { Mode, Shell } from "./shell.ts"
import { become } from "./shellCommand.ts"
import { evaluate } from "./shellInterpreter.ts"
import { fail, type Jump } from "./shellJump.ts"
import { isName } from "./shellSyntax.ts"
import { parseCondition } from "./shellTraps.ts"
import { quoted } from "./shellVariables.ts"

export type Run = (shell: Shell, args: ReadonlyArray<string>, mode: Mode) => Effect.Effect<number, Jump | PlatformError>

const done = Effect.succeed(0)

/** A number that is not negative. */
export const numberOf = (given: string): Effect.Effect<number, Jump> =>
  /^\d+$/.test(given) ? Effect.succeed(Number(given)) : fail(`Illegal number: ${given}`)

const nothing: Run = () => done

/** Out of as many loops as there are, at most. */
const leaveLoop =
  (tag: "Break" | "Continue"): Run =>
  (shell, [given = "1"]) =>
    Effect.flatMap(numberOf(given), (levels) => {
      if (levels === 0) return fail(`Illegal number: ${given}`)
      if (shell.loopDepth === 0) return done
      return Effect.fail<Jump>({ _tag: tag, levels: Math.min(levels, shell.loopDepth) })
    })

const leave =
  (tag: "Return" | "Exit"): Run =>
  (shell, [given]) =>
    Effect.flatMap(given === undefined ? Effect.succeed(shell.status) : numberOf(given), (status) =>
      Effect.fail<Jump>({ _tag: tag, status: status & 0xff })
    )

const evaluateArguments: Run = (shell, args, mode) =>
  args.length === 0 ? done : evaluate(shell, args.join(" "), { ...mode, isLast: false })

const exec: Run = (shell, args) => {
  const [command, ...rest] = args[0] === "--" ? args.slice(1) : args
  return command === undefined ? Effect.succeed(shell.status) : become(shell, [command, ...rest])
}

/** `.`: runs a script in this shell. */
const source: Run = (shell, [name], mode) =>
  Effect.gen(function* () {
    if (name === undefined) return 0
    const path = yield* locate(shell, name)
    const content = yield* Effect.catch(
      Effect.acquireUseRelease(shell.process.open(path), files.readAll, (file) => file.release),
      (error) => {
        const reason = errno.codeOf(error) === "ENOENT" ? "No such file" : errno.text(error)
        return fail(`cannot open ${name}: ${reason}`)
      }
    )
    const { line } = shell
    const run = Effect.catchIf(
      evaluate(shell, text.decode(content), { ...mode, isLast: false }, 1),
      (jump) => jump._tag === "Return",
      (jump) => Effect.succeed(jump.status)
    )
    const status = yield* run
    shell.line = line
    return status
  })

/** A name without a slash is looked for on the path. */
const locate = (shell: Shell, name: string): Effect.Effect<string, Jump> =>
  Effect.gen(function* () {
    if (name.includes("/")) return name
    for (const directory of (shell.variables.get("PATH") ?? "").split(":")) {
      const candidate = directory === "" ? name : `${directory}/${name}`
      if (yield* Effect.orElseSucceed(shell.process.files.exists(candidate), () => false)) return candidate
    }
    return yield* fail(`${name}: not found`)
  })

/** `export` and `readonly`. */
const declare =
  (word: "export" | "readonly"): Run =>
  (shell, args) =>
    Effect.gen(function* () {
      const { variables } = shell
      if (args.length === 0 || args[0] === "-p") {
        const listed = variables.list(word === "export" ? "exported" : "readonly")
        const lines = listed.map(
          ([name, value]) => `${word} ${name}${value === undefined ? "" : `=${quoted(value)}`}\n`
        )
        yield* shell.process.write(1, lines.join(""))
        return 0
      }
      for (const arg of args) {
        const equals = arg.indexOf("=")
        const name = equals < 0 ? arg : arg.slice(0, equals)
        if (!isName(name)) return yield* fail(`${name}: bad variable name`)
        if (equals >= 0) yield* shell.assign(name, arg.slice(equals + 1))
        if (word === "export") variables.setExported(name)
        else variables.setReadonly(name)
      }
      return 0
    })

const local: Run = (shell, args) =>
  Effect.gen(function* () {
    const saved = shell.locals.at(-1)
    if (saved === undefined) return yield* fail("not in a function")
    for (const arg of args) {
      const equals = arg.indexOf("=")
      const name = equals < 0 ? arg : arg.slice(0, equals)
      if (!isName(name)) return yield* fail(`${name}: bad variable name`)
      if (!saved.has(name)) saved.set(name, shell.variables.snapshot(name))
      if (equals >= 0) yield* shell.assign(name, arg.slice(equals + 1))
    }
    return 0
  })

const unset: Run = (shell, args) =>
  Effect.gen(function* () {
    const isFunction = args[0] === "-f"
    for (const name of args[0] === "-f" || args[0] === "-v" ? args.slice(1) : args) {
      if (isFunction) shell.functions.delete(name)
      else if (!isName(name)) return yield* fail(`${name}: bad variable name`)
      else if (shell.variables.isReadonly(name)) return yield* fail(`${name}: is read only`)
      else shell.variables.delete(name)
    }
    return 0
  })

const longOptions: { readonly [name: string]: string } = {
  errexit: "e",
  noglob: "f",
  noexec: "n",
  nounset: "u",
  verbose: "v",
  xtrace: "x",
  allexport: "a",
  noclobber: "C",
  monitor: "m"
}

/** Those that do something here; the others are known, and refused. */
const supported = "efux"

/** Sets options from arguments; gives what is left of these, and whether they are operands for certain. */
export const setOptions = (
  shell: Shell,
  args: ReadonlyArray<string>
): Effect.Effect<{ readonly rest: ReadonlyArray<string>; readonly isExplicit: boolean }, Jump> =>
  Effect.gen(function* () {
    for (let i = 0; i < args.length; i++) {
      const arg = args[i] ?? ""
      if (arg === "--") return { rest: args.slice(i + 1), isExplicit: true }
      if (!/^[-+]./.test(arg)) return { rest: args.slice(i), isExplicit: false }
      for (const letter of arg.slice(1)) {
        const name = letter === "o" ? args[++i] : undefined
        const option = letter === "o" ? (longOptions[name ?? ""] ?? "") : letter
        if (option === "" || !supported.includes(option))
          return yield* fail(`Illegal option ${arg[0]}${name ?? letter}`)
        if (arg.startsWith("-")) shell.options.add(option)
        else shell.options.delete(option)
      }
    }
    return { rest: [], isExplicit: false }
  })

const set: Run = (shell, args) =>
  Effect.gen(function* () {
    if (args.length === 0) {
      const lines = shell.variables.list("all").map(([name, value = ""]) => `${name}=${quoted(value)}\n`)
      yield* shell.process.write(1, lines.join(""))
      return 0
    }
    if (args[0] === "-") {
      shell.options.delete("x")
      if (args.length === 1) return 0
    }
    const { isExplicit, rest } = yield* setOptions(shell, args[0] === "-" ? args.slice(1) : args)
    if (isExplicit || rest.length > 0) shell.positional = rest
    return 0
  })

const shift: Run = (shell, [given = "1"]) =>
  Effect.flatMap(numberOf(given), (count) => {
    if (count > shell.positional.length) return fail("can't shift that many")
    shell.positional = shell.positional.slice(count)
    return done
  })

const trap: Run = (shell, args) =>
  Effect.gen(function* () {
    const given = args[0] === "--" ? args.slice(1) : args
    const [action = ""] = given
    if (given.length === 0) {
      const lines = shell.traps.all.map(
        ([condition, action]) => `trap -- ${quoted(action)} ${condition.replace(/^SIG/, "")}\n`
      )
      yield* shell.process.write(1, lines.join(""))
      return 0
    }
    // A single word, or a number in front, resets.
    const isReset = action === "-" || given.length === 1 || /^\d+$/.test(action)
    let status = 0
    for (const name of action === "-" || !isReset ? given.slice(1) : given) {
      const condition = parseCondition(name)
      if (condition === undefined) {
        yield* shell.process.write(2, `trap: ${name}: bad trap\n`)
        status = 1
      } else shell.traps.set(condition, isReset ? undefined : action)
    }
    return status
  })

const times: Run = (shell) => Effect.as(shell.process.write(1, "0m0.000000s 0m0.000000s\n".repeat(2)), 0)

export const specials: ReadonlyMap<string, Run> = new Map<string, Run>([
  [":", nothing],
  [".", source],
  ["break", leaveLoop("Break")],
  ["continue", leaveLoop("Continue")],
  ["eval", evaluateArguments],
  ["exec", exec],
  ["exit", leave("Exit")],
  ["export", declare("export")],
  ["local", local],
  ["readonly", declare("readonly")],
  ["return", leave("Return")],
  ["set", set],
  ["shift", shift],
  ["times", times],
  ["trap", trap],
  ["unset", unset]
])

/** A signal's number, added to 128. */
export const statusOfSignal = (signal: signals.Signal): number => 128 + signals.numberOf(signal)
