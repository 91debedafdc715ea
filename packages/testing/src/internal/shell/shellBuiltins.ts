/** The built-in commands of the shell. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as errno from "../processes/processErrno.ts"
import * as files from "../processes/processFiles.ts"
import { parseKill } from "../programs/programsProcesses.ts"
import type { Shell } from "./shell.ts"
import { locate, runCommand } from "./shellCommand.ts"
import { fail } from "./shellJump.ts"
import { isReserved } from "./shellParser.ts"
import { announce, codeOf } from "./shellProcesses.ts"
import * as printing from "./shellPrintf.ts"
import { read } from "./shellRead.ts"
import { numberOf, type Run, specials, statusOfSignal } from "./shellSpecials.ts"
import * as expressions from "./shellTest.ts"

export interface Builtin {
  readonly isSpecial: boolean
  readonly run: Run
}

export const find = (name: string): Builtin | undefined => {
  const special = specials.get(name)
  if (special !== undefined) return { isSpecial: true, run: special }
  const run = regulars.get(name)
  return run === undefined ? undefined : { isSpecial: false, run }
}

const out = (shell: Shell, text: string) => shell.process.write(1, text)

const succeed: Run = () => Effect.succeed(0)

const echo: Run = (shell, args) => Effect.as(out(shell, printing.echo(args)), 0)

const printf: Run = (shell, args) =>
  Effect.gen(function* () {
    const [format, ...rest] = args[0] === "--" ? args.slice(1) : args
    if (format === undefined) return yield* fail("usage: printf format [arg ...]")
    const { complaints, text } = printing.printf(format, rest)
    yield* out(shell, text)
    for (const complaint of complaints) yield* shell.complain(complaint, "printf")
    return complaints.length === 0 ? 0 : 1
  })

const test =
  (name: "test" | "["): Run =>
  (shell, args) => {
    if (name === "[" && args.at(-1) !== "]") return fail("missing ]")
    return expressions.evaluate(shell.process, name === "[" ? args.slice(0, -1) : args).pipe(
      Effect.map((holds) => (holds ? 0 : 1)),
      Effect.catch(({ message }) => fail(message))
    )
  }

// --- places ------------------------------------------------------------------------------------------------------

const pwd: Run = (shell, args) =>
  Effect.gen(function* () {
    const { cwd, files } = shell.process
    yield* out(shell, `${args.includes("-P") ? yield* Effect.orElseSucceed(files.realPath("."), () => cwd) : cwd}\n`)
    return 0
  })

const cd: Run = (shell, args) =>
  Effect.gen(function* () {
    const isPhysical = args[0] === "-P"
    const [given] = /^-[LP]$/.test(args[0] ?? "") || args[0] === "--" ? args.slice(1) : args
    const { process, variables } = shell
    const name = given === "-" ? variables.get("OLDPWD") : (given ?? variables.get("HOME"))
    if (name === undefined) return given === undefined ? 0 : yield* fail("OLDPWD not set")
    const target = files.resolvePath(process.cwd, name)
    const path = yield* Effect.catch(
      Effect.andThen(
        files.requireDirectory(process.files, target),
        isPhysical ? process.files.realPath(target) : Effect.succeed(target)
      ),
      () => fail(`can't cd to ${given ?? name}`)
    )
    variables.set("OLDPWD", process.cwd)
    process.cwd = path
    variables.set("PWD", path)
    if (given === "-") yield* out(shell, `${path}\n`)
    return 0
  })

const umask: Run = (shell, [given]) =>
  Effect.gen(function* () {
    const { process } = shell
    if (given === undefined) yield* out(shell, `${process.umask.toString(8).padStart(4, "0")}\n`)
    else if (given === "-S") {
      const letters = (shift: number) =>
        [4, 2, 1].map((bit, index) => (((process.umask >> shift) & bit) === 0 ? "rwx"[index] : "")).join("")
      yield* out(shell, `u=${letters(6)},g=${letters(3)},o=${letters(0)}\n`)
    } else if (/^[0-7]{1,4}$/.test(given)) process.umask = Number.parseInt(given, 8) & 0o777
    else return yield* fail(`Illegal number: ${given}`)
    return 0
  })

const ulimit: Run = (shell, args) =>
  Effect.as(args.some((arg) => !arg.startsWith("-")) ? Effect.void : out(shell, "unlimited\n"), 0)

// --- input -------------------------------------------------------------------------------------------------------

const getopts: Run = (shell, args) =>
  Effect.gen(function* () {
    const [spec = "", name = "", ...given] = args
    const words = given.length > 0 ? given : shell.positional
    const [index = 1, offset = 1] = (shell.variables.get("OPTIND") ?? "1").split(":").map(Number)
    const word = words[index - 1]
    const isSilent = spec.startsWith(":")
    const finish = Effect.fnUntraced(function* (option: string, value: string | undefined, next: string) {
      yield* shell.assign(name, option)
      if (value === undefined) shell.variables.delete("OPTARG")
      else yield* shell.assign("OPTARG", value)
      yield* shell.assign("OPTIND", next)
      return 0
    })
    if (word === undefined || !word.startsWith("-") || word === "-" || word === "--") {
      yield* finish("?", undefined, String(word === "--" ? index + 1 : index))
      return 1
    }
    const letter = word[offset] ?? ""
    const isLastLetter = offset + 1 >= word.length
    const next = isLastLetter ? String(index + 1) : `${index}:${offset + 1}`
    const at = letter === ":" ? -1 : spec.indexOf(letter)
    if (at < 0) {
      if (!isSilent) yield* shell.process.write(2, `Illegal option -${letter}\n`)
      return yield* finish("?", isSilent ? letter : undefined, next)
    }
    if (spec[at + 1] !== ":") return yield* finish(letter, undefined, next)
    const value = isLastLetter ? words[index] : word.slice(offset + 1)
    if (value !== undefined) return yield* finish(letter, value, String(index + (isLastLetter ? 2 : 1)))
    if (!isSilent) yield* shell.process.write(2, `No arg for -${letter} option\n`)
    return yield* finish(isSilent ? ":" : "?", isSilent ? letter : undefined, String(index + 1))
  })

// --- names -------------------------------------------------------------------------------------------------------

/** What a command's name stands for. */
const kindOf = (shell: Shell, name: string) =>
  Effect.gen(function* () {
    if (isReserved(name)) return { _tag: "Keyword" as const }
    const builtin = find(name)
    if (builtin?.isSpecial === true) return { _tag: "Special" as const }
    if (shell.functions.has(name)) return { _tag: "Function" as const }
    if (builtin !== undefined) return { _tag: "Builtin" as const }
    const found = yield* Effect.option(locate(shell, name))
    return Option.isNone(found) ? undefined : { _tag: "File" as const, path: found.value }
  })

const sentences = {
  Keyword: "a shell keyword",
  Special: "a special shell builtin",
  Function: "a shell function",
  Builtin: "a shell builtin"
}

const type: Run = (shell, args) =>
  Effect.gen(function* () {
    let status = 0
    for (const name of args) {
      const kind = yield* kindOf(shell, name)
      if (kind === undefined) status = 127
      const is = kind === undefined ? ": not found" : ` is ${kind._tag === "File" ? kind.path : sentences[kind._tag]}`
      yield* out(shell, `${name}${is}\n`)
    }
    return status
  })

const command: Run = (shell, args, mode) =>
  Effect.gen(function* () {
    const [option, name] = args
    if (option === "-v" || option === "-V") {
      if (name === undefined) return 127
      if (option === "-V") return yield* type(shell, [name], mode)
      const kind = yield* kindOf(shell, name)
      if (kind === undefined) return 127
      yield* out(shell, `${kind._tag === "File" ? kind.path : name}\n`)
      return 0
    }
    const [first, ...rest] = option === "-p" || option === "--" ? args.slice(1) : args
    return first === undefined ? 0 : yield* runCommand(shell, [first, ...rest], mode)
  })

// --- processes ---------------------------------------------------------------------------------------------------

const kill: Run = (shell, args) =>
  Effect.gen(function* () {
    const parsed = parseKill(args)
    if ("listing" in parsed) return yield* Effect.as(out(shell, parsed.listing), 0)
    if ("error" in parsed) return yield* fail(parsed.error)
    let status = 0
    for (const pid of parsed.pids) {
      const sent = yield* Effect.result(shell.process.kernel.kill(shell.process, pid, parsed.signal))
      if (sent._tag === "Success") continue
      yield* shell.complain(errno.text(sent.failure), "kill")
      status = 1
    }
    return status
  })

/** Waits for all jobs, or for some; a trapped signal ends the waiting. */
const wait: Run = (shell, args) =>
  Effect.gen(function* () {
    const { jobs } = shell
    if (args.length === 0) {
      for (const job of jobs.all) {
        for (const process of job.processes) {
          const ended = yield* unlessTrapped(shell, jobs.status(process))
          if (typeof ended === "number") return ended
        }
        jobs.forget(job)
      }
      return 0
    }
    let status = 0
    for (const arg of args) {
      const job = jobs.find(yield* numberOf(arg))
      if (job === undefined) status = 127
      else {
        for (const process of job.processes) {
          const ended = yield* unlessTrapped(shell, jobs.status(process))
          if (typeof ended === "number") return ended
          yield* announce(shell, ended)
          status = codeOf(ended)
        }
      }
    }
    return status
  })

const unlessTrapped = <A, E>(shell: Shell, wait: Effect.Effect<A, E>): Effect.Effect<A | number, E> => {
  const trapped = Effect.map(
    shell.traps.arrived.until(() => shell.traps.hasPending),
    () => (shell.traps.firstPending === undefined ? 0 : statusOfSignal(shell.traps.firstPending))
  )
  return Effect.raceFirst(wait, trapped)
}

const regulars: ReadonlyMap<string, Run> = new Map<string, Run>([
  ["[", test("[")],
  ["cd", cd],
  ["chdir", cd],
  ["command", command],
  ["echo", echo],
  ["false", () => Effect.succeed(1)],
  ["getopts", getopts],
  ["hash", succeed],
  ["kill", kill],
  ["printf", printf],
  ["pwd", pwd],
  ["read", read],
  ["test", test("test")],
  ["true", succeed],
  ["type", type],
  ["ulimit", ulimit],
  ["umask", umask],
  ["wait", wait]
])
