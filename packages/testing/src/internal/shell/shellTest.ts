/** `test` and `[`: expressions about files, strings and numbers. */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as files from "../processes/processFiles.ts"
import type { Process } from "../processes/process.ts"

/** Why an expression makes no sense. */
export class TestError {
  readonly _tag = "TestError"
  readonly message: string
  constructor(message: string) {
    this.message = message
  }
}

type Result = Effect.Effect<boolean, TestError>

const unary = new Set([
  "-b",
  "-c",
  "-d",
  "-e",
  "-f",
  "-h",
  "-L",
  "-n",
  "-p",
  "-r",
  "-s",
  "-S",
  "-t",
  "-w",
  "-x",
  "-z",
  "-g",
  "-u",
  "-k"
])
const binary = new Set(["=", "!=", "<", ">", "-eq", "-ne", "-gt", "-ge", "-lt", "-le", "-nt", "-ot", "-ef"])

/** What an expression says. */
export const evaluate = (process: Process, words: ReadonlyArray<string>): Result => {
  const parser = new Parser(process, words)
  return words.length === 0 ? Effect.succeed(false) : parser.whole()
}

class Parser {
  readonly #process: Process
  readonly #words: ReadonlyArray<string>
  #at = 0

  constructor(process: Process, words: ReadonlyArray<string>) {
    this.#process = process
    this.#words = words
  }

  whole(): Result {
    return Effect.gen({ self: this }, function* () {
      const result = yield* this.#either()
      if (this.#left === 0) return result
      return yield* Effect.fail(new TestError(`${this.#words[this.#at - 1]}: unexpected operator`))
    })
  }

  #either(): Result {
    return Effect.gen({ self: this }, function* () {
      let result = yield* this.#both()
      while (this.#take("-o")) result = (yield* this.#both()) || result
      return result
    })
  }

  #both(): Result {
    return Effect.gen({ self: this }, function* () {
      let result = yield* this.#not()
      while (this.#take("-a")) result = (yield* this.#not()) && result
      return result
    })
  }

  #not(): Result {
    return Effect.gen({ self: this }, function* () {
      // Alone, or as an operand, `!` is a word like any other.
      const isWord = this.#left === 1 || (this.#left >= 3 && binary.has(this.#peek(1)))
      if (this.#peek(0) !== "!" || isWord) return yield* this.#primary()
      this.#at++
      return !(yield* this.#not())
    })
  }

  #primary(): Result {
    return Effect.gen({ self: this }, function* () {
      if (this.#left === 0) return yield* Effect.fail(new TestError("argument expected"))
      const first = this.#peek(0)
      if (this.#left === 2 && binary.has(this.#peek(1)) && !unary.has(first) && first !== "!") {
        return yield* Effect.fail(new TestError(`${this.#peek(1)}: argument expected`))
      }
      if (this.#left >= 3 && binary.has(this.#peek(1))) {
        this.#at += 3
        return yield* this.#compare(first, this.#words[this.#at - 2] ?? "", this.#words[this.#at - 1] ?? "")
      }
      if (first === "(" && this.#left > 1) {
        this.#at++
        const result = yield* this.#either()
        return this.#take(")") ? result : yield* Effect.fail(new TestError("closing paren expected"))
      }
      this.#at++
      if (!unary.has(first) || this.#left === 0) return first !== ""
      return yield* this.#ask(first, this.#words[this.#at++] ?? "")
    })
  }

  get #left(): number {
    return this.#words.length - this.#at
  }

  #peek(offset: number): string {
    return this.#words[this.#at + offset] ?? ""
  }

  #take(word: string): boolean {
    if (this.#words[this.#at] !== word) return false
    this.#at++
    return true
  }

  #compare(left: string, operator: string, right: string): Result {
    switch (operator) {
      case "=":
        return Effect.succeed(left === right)
      case "!=":
        return Effect.succeed(left !== right)
      case "<":
        return Effect.succeed(left < right)
      case ">":
        return Effect.succeed(left > right)
      case "-nt":
      case "-ot":
      case "-ef":
        return this.#compareFiles(left, operator, right)
      default:
        return Effect.gen(function* () {
          const difference = (yield* toInteger(left)) - (yield* toInteger(right))
          if (operator === "-eq") return difference === 0n
          if (operator === "-ne") return difference !== 0n
          if (operator === "-gt") return difference > 0n
          if (operator === "-ge") return difference >= 0n
          return operator === "-lt" ? difference < 0n : difference <= 0n
        })
    }
  }

  #compareFiles(left: string, operator: string, right: string): Result {
    return Effect.gen({ self: this }, function* () {
      const one = yield* Effect.option(stat(this.#process, left))
      const other = yield* Effect.option(stat(this.#process, right))
      const time = (info: Option.Option<FileSystem.File.Info>) =>
        Option.getOrUndefined(Option.flatMap(info, ({ mtime }) => mtime))?.getTime() ?? -1
      if (operator === "-nt") return time(one) > time(other)
      if (operator === "-ot") return time(one) < time(other)
      const inode = (info: Option.Option<FileSystem.File.Info>) =>
        Option.getOrUndefined(Option.flatMap(info, ({ ino }) => ino))
      return inode(one) !== undefined && inode(one) === inode(other)
    })
  }

  #ask(operator: string, operand: string): Result {
    if (operator === "-n") return Effect.succeed(operand !== "")
    if (operator === "-z") return Effect.succeed(operand === "")
    if (operator === "-t") return Effect.as(toInteger(operand), false)
    const isLink = operator === "-h" || operator === "-L"
    const info = isLink ? this.#process.files.lstat(operand) : stat(this.#process, operand)
    if (operator === "-r" || operator === "-w" || operator === "-x") return this.#isAllowed(operator, operand)
    return Effect.match(info, { onFailure: () => false, onSuccess: (info) => says(operator, info) })
  }

  #isAllowed(operator: "-r" | "-w" | "-x", operand: string): Effect.Effect<boolean> {
    const access = this.#process.files.access(operand, { readable: operator === "-r", writable: operator === "-w" })
    return Effect.match(Effect.andThen(operator === "-x" ? Effect.void : access, stat(this.#process, operand)), {
      onFailure: () => isSpecial(this.#process, operand),
      onSuccess: ({ mode, type }) => operator !== "-x" || type === "Directory" || (mode & 0o111) !== 0
    })
  }
}

const isSpecial = (process: Process, path: string): boolean => {
  const absolute = files.resolvePath(process.cwd, path)
  return files.isDevice(absolute) || process.kernel.executables.programAt(absolute) !== undefined
}

const special = (type: "CharacterDevice" | "File", mode: number): FileSystem.File.Info => ({
  type,
  mode,
  mtime: Option.none(),
  atime: Option.none(),
  birthtime: Option.none(),
  dev: 0n,
  ino: Option.none(),
  nlink: Option.none(),
  uid: Option.none(),
  gid: Option.none(),
  rdev: Option.none(),
  size: ByteSize.bytes(type === "File" ? 1 : 0),
  blksize: Option.none(),
  blocks: Option.none()
})

/** What is known of a file, of a device, or of a program, which is no file. */
const stat = (process: Process, path: string) =>
  Effect.catch(process.files.stat(path), (error) => {
    const absolute = files.resolvePath(process.cwd, path)
    if (files.isDevice(absolute)) return Effect.succeed(special("CharacterDevice", 0o666))
    return process.kernel.executables.programAt(absolute) === undefined
      ? Effect.fail(error)
      : Effect.succeed(special("File", 0o755))
  })

const says = (operator: string, info: FileSystem.File.Info): boolean => {
  switch (operator) {
    case "-b":
      return info.type === "BlockDevice"
    case "-c":
      return info.type === "CharacterDevice"
    case "-d":
      return info.type === "Directory"
    case "-f":
      return info.type === "File"
    case "-g":
      return (info.mode & 0o2000) !== 0
    case "-h":
    case "-L":
      return info.type === "SymbolicLink"
    case "-k":
      return (info.mode & 0o1000) !== 0
    case "-p":
      return info.type === "FIFO"
    case "-s":
      return ByteSize.toBigInt(info.size) > 0n
    case "-S":
      return info.type === "Socket"
    case "-u":
      return (info.mode & 0o4000) !== 0
    default:
      return true
  }
}

const toInteger = (word: string): Effect.Effect<bigint, TestError> =>
  /^\s*[-+]?\d+\s*$/.test(word)
    ? Effect.succeed(BigInt(word.trim().replace(/^\+/, "")))
    : Effect.fail(new TestError(`Illegal number: ${word}`))
