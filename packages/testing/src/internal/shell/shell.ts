/** One shell: what it knows. How it runs commands is in `shellInterpreter`. */
import * as Effect from "effect/Effect"
import type { Process } from "../processes/process.ts"
import { Jobs } from "./shellJobs.ts"
import { type Failure, fail, type Jump } from "./shellJump.ts"
import type { Command } from "./shellSyntax.ts"
import { type Condition, Traps } from "./shellTraps.ts"
import { Variables } from "./shellVariables.ts"

/** How a command runs. */
export interface Mode {
  /** Its status decides something, so that `set -e` does not mind it. */
  readonly isTested: boolean
  /** Nothing comes after it in this process, so that it may take the process over. */
  readonly isLast: boolean
}

/** Gives the status of a command. */
export type Run = Effect.Effect<number, Jump>

export class Shell {
  readonly process: Process
  readonly variables: Variables
  readonly functions: Map<string, Command>
  /** The letters that are set: `e`, `f`, `u`, `x`. */
  readonly options: Set<string>
  readonly traps: Traps
  readonly jobs: Jobs
  /** `$$`, also in subshells. */
  readonly rootPid: number
  /** `$0`. */
  name: string
  positional: ReadonlyArray<string>
  /** `$?`. */
  status: number
  line: number
  /** `$!`. */
  lastBackground: number | undefined
  /** How the last command substitution ended. */
  substitutionStatus = 0
  /** How many loops are running in the function that is. */
  loopDepth: number
  functionDepth: number
  /** What `local` puts back at the end of the functions that are running. */
  readonly locals: Array<Map<string, () => void>> = []

  /** A subshell starts as a copy, and can change nothing of its shell. */
  constructor(process: Process, parent?: Shell, ignored: ReadonlyArray<Condition> = []) {
    this.process = process
    this.variables = parent?.variables.copy() ?? initialVariables(process)
    this.functions = new Map(parent?.functions)
    this.options = new Set(parent?.options)
    this.name = parent?.name ?? process.name
    this.positional = parent?.positional ?? []
    this.rootPid = parent?.rootPid ?? process.pid
    this.status = parent?.status ?? 0
    this.line = parent?.line ?? 1
    this.lastBackground = parent?.lastBackground
    this.loopDepth = parent?.loopDepth ?? 0
    this.functionDepth = parent?.functionDepth ?? 0
    const before = parent === undefined ? undefined : new Set([...parent.traps.ignoredBefore, ...ignored])
    this.traps = new Traps(process, before)
    this.jobs = new Jobs(process)
  }

  /** The value of a parameter, when it is set. */
  parameter(name: string): string | undefined {
    switch (name) {
      case "?":
        return String(this.status)
      case "$":
        return String(this.rootPid)
      case "!":
        return this.lastBackground === undefined ? undefined : String(this.lastBackground)
      case "#":
        return String(this.positional.length)
      case "-":
        return [...this.options].join("")
      case "0":
        return this.name
      case "@":
      case "*":
        return this.positional.length === 0 ? undefined : this.positional.join(" ")
      case "LINENO":
        return String(this.line)
      default:
        return /^\d+$/.test(name) ? this.positional[Number(name) - 1] : this.variables.get(name)
    }
  }

  assign(name: string, value: string): Effect.Effect<void, Jump> {
    return Effect.suspend(() => {
      if (this.variables.isReadonly(name)) return fail(`${name}: is read only`)
      this.variables.set(name, value)
      return Effect.void
    })
  }

  /** Prints a message as shells do: with the script, the line, and the command that it is about. */
  complain(message: string, command?: string): Effect.Effect<void> {
    const about = command === undefined ? "" : `${command}: `
    return Effect.ignore(this.process.write(2, `${this.name}: ${this.line}: ${about}${message}\n`))
  }

  /** Prints a failure, once. */
  tell(failure: Failure): Effect.Effect<void> {
    return failure.isTold ? Effect.void : this.complain(failure.message, failure.command)
  }

  /** Where redirects end with a command, its failures have to be told before that. */
  telling<A>(run: Effect.Effect<A, Jump>): Effect.Effect<A, Jump> {
    return Effect.catchIf(
      run,
      (jump) => jump._tag === "Failed",
      (jump) => Effect.andThen(this.tell(jump), Effect.fail({ ...jump, isTold: true }))
    )
  }
}

const initialVariables = (process: Process): Variables => {
  const variables = Variables.fromEnvironment(process.environment)
  variables.set("IFS", " \t\n")
  variables.set("OPTIND", "1")
  variables.set("PPID", String(process.parent?.pid ?? 1))
  variables.set("PS4", "+ ")
  variables.set("PWD", process.cwd)
  variables.setExported("PWD")
  return variables
}
