/** The built-in command `read`: a line of input, split over variables. */
import * as Effect from "effect/Effect"
import { readLine } from "../processes/processView.ts"
import type { Shell } from "./shell.ts"
import { fail } from "./shellJump.ts"
import type { Run } from "./shellSpecials.ts"
import { isName } from "./shellSyntax.ts"

export const read: Run = (shell, args) =>
  Effect.gen(function* () {
    let names = [...args]
    let isRaw = false
    while (names[0]?.startsWith("-") === true && names[0].length > 1) {
      const [option] = names.splice(0, 1)
      if (option === "-r") isRaw = true
      else if (option === "-p") yield* shell.process.write(2, names.splice(0, 1).join(""))
      else if (option === "--") break
      else return yield* fail(`Illegal option ${option}`)
    }
    if (names.length === 0) return yield* fail("arg count")
    const wrong = names.find((name) => !isName(name))
    if (wrong !== undefined) return yield* fail(`${wrong}: bad variable name`)
    const { characters, isEnd } = yield* readCharacters(shell, isRaw)
    const values = distribute(characters, names.length, shell.variables.get("IFS") ?? " \t\n")
    for (const [index, name] of names.entries()) yield* shell.assign(name, values[index] ?? "")
    return isEnd ? 1 : 0
  })

interface Character {
  readonly text: string
  /** It came after a backslash, and separates nothing. */
  readonly isEscaped: boolean
}

/** A line; without `-r` a backslash quotes what follows it, and joins lines. */
const readCharacters = (shell: Shell, isRaw: boolean) =>
  Effect.gen(function* () {
    const characters: Array<Character> = []
    while (true) {
      const line = yield* Effect.orElseSucceed(readLine(shell.process, 0), () => undefined)
      if (line === undefined) return { characters, isEnd: true }
      const { isWhole, text } = line
      let isContinued = false
      for (let i = 0; i < text.length; i++) {
        const isEscape = !isRaw && text[i] === "\\"
        if (isEscape && i === text.length - 1) isContinued = isWhole
        else if (isEscape) characters.push({ text: text[++i] ?? "", isEscaped: true })
        else characters.push({ text: text[i] ?? "", isEscaped: false })
      }
      if (!isContinued) return { characters, isEnd: !isWhole }
    }
  })

/** Splits a line over variables; the last gets all that is left. */
const distribute = (characters: ReadonlyArray<Character>, count: number, ifs: string): ReadonlyArray<string> => {
  const isSpace = ({ isEscaped, text }: Character) => !isEscaped && ifs.includes(text) && /\s/.test(text)
  const isDelimiter = ({ isEscaped, text }: Character) => !isEscaped && ifs.includes(text)
  const values: Array<string> = []
  let i = 0
  const skipSpaces = (): void => {
    while (i < characters.length && isSpace(characters[i] as Character)) i++ // within bounds
  }
  skipSpaces()
  while (values.length < count - 1 && i < characters.length) {
    let value = ""
    for (let next = characters[i]; next !== undefined && !isDelimiter(next); next = characters[++i]) value += next.text
    values.push(value)
    skipSpaces()
    const delimiter = characters[i]
    if (delimiter !== undefined && isDelimiter(delimiter) && !isSpace(delimiter)) {
      i++
      skipSpaces()
    }
  }
  const rest = characters.slice(i)
  while (rest.length > 0 && isSpace(rest.at(-1) as Character)) rest.pop() // not empty
  const last = rest.at(-1)
  // A single delimiter at the end belongs to the last field.
  if (last !== undefined && isDelimiter(last) && rest.filter(isDelimiter).length === 1) rest.pop()
  values.push(rest.map(({ text }) => text).join(""))
  return values
}
