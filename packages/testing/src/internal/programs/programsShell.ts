/** The program `sh`. */
import * as Effect from "effect/Effect"
import * as errno from "../processes/processErrno.ts"
import * as files from "../processes/processFiles.ts"
import { readLine } from "../processes/processView.ts"
import * as text from "../processes/processText.ts"
import type { Program } from "./programsCall.ts"
import type { Shell } from "../shell/shell.ts"
import { bodyOf, evaluate, interpret } from "../shell/shellInterpreter.ts"
import { fail, type Jump } from "../shell/shellJump.ts"
import { setOptions } from "../shell/shellSpecials.ts"

const start = (shell: Shell): Effect.Effect<number, Jump> =>
  Effect.gen(function* () {
    const { process } = shell
    let isCommand = false
    let isInput = false
    const given: Array<string> = []
    let operands: ReadonlyArray<string> = process.argv.slice(1)
    shell.line = 0
    while (/^[-+]./.test(operands[0] ?? "") && operands[0] !== "--") {
      const [option = "", ...rest] = operands
      if (option.startsWith("-") && !option.startsWith("-o")) {
        if (option.includes("c")) isCommand = true
        if (option.includes("s")) isInput = true
      }
      const kept = option.startsWith("-o") ? option : option.replace(/[cs]/g, "")
      if (kept.length > 1) given.push(kept)
      operands = rest
      if (option.endsWith("o")) given.push(...operands.slice(0, 1))
      if (option.endsWith("o")) operands = operands.slice(1)
    }
    yield* setOptions(shell, given)
    if (operands[0] === "--" || operands[0] === "-") operands = operands.slice(1)
    const mode = { isTested: false, isLast: true }
    if (isCommand) {
      const [script, name, ...args] = operands
      if (script === undefined) return yield* fail("-c requires an argument")
      if (name !== undefined) shell.name = name
      shell.positional = args
      return yield* evaluate(shell, script, mode, 1)
    }
    const [file, ...args] = operands
    if (file === undefined || isInput) {
      shell.positional = operands
      shell.line = 1
      return yield* interpret(
        shell,
        Effect.map(readLine(process, 0), (line) => (line === undefined ? undefined : `${line.text}\n`))
      )
    }
    shell.positional = args
    const content = yield* Effect.catch(
      Effect.acquireUseRelease(process.open(file), files.readAll, (opened) => opened.release),
      (error) => fail(`cannot open ${file}: ${errno.codeOf(error) === "ENOENT" ? "No such file" : errno.text(error)}`)
    )
    shell.name = file
    return yield* evaluate(shell, text.decode(content), { ...mode, isLast: false }, 1)
  })

export const shellPrograms: ReadonlyArray<Program> = [["sh", bodyOf(start)]]
