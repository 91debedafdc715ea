/** What the built-in programs have in common: how they are called, and how they complain. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as PlatformErrors from "effect/PlatformError"
import * as errno from "../processes/processErrno.ts"
import * as files from "../processes/processFiles.ts"
import type { Body, Process } from "../processes/process.ts"
import * as text from "../processes/processText.ts"

type PlatformError = PlatformErrors.PlatformError

export interface Call {
  readonly process: Process
  /** What it was called as. */
  readonly name: string
  readonly args: ReadonlyArray<string>
}

export type Run = (call: Call) => Effect.Effect<number, PlatformError>

/** A program's name and what it runs. */
export type Program = readonly [name: string, body: Body]

export const program = (name: string, run: Run): Program => [
  name,
  (process) => {
    const call: Call = { process, name: process.name, args: process.argv.slice(1) }
    return Effect.catch(run(call), (error) => complain(call, describe(error)))
  }
]

/** A program whose exit code is 0 unless something was complained about. */
export const silent = (name: string, run: (call: Call) => Effect.Effect<void, PlatformError>): Program =>
  program(name, (call) => Effect.as(run(call), 0))

const describe = (error: PlatformError): string => {
  if (error.reason._tag === "BadArgument") return error.reason.description ?? error.message
  const { method, pathOrDescriptor } = error.reason
  const said = errno.text(error)
  if (method === "write") return `write error: ${said}`
  return pathOrDescriptor === undefined || typeof pathOrDescriptor === "number" ? said : `${pathOrDescriptor}: ${said}`
}

/** Prints a complaint; gives the exit code for it. */
export const complain = (call: Call, message: string, code: number = 1): Effect.Effect<number> =>
  call.process.write(2, `${call.name}: ${message}\n`).pipe(Effect.ignore, Effect.as(code))

export const out = (call: Call, data: string | Uint8Array): Effect.Effect<void, PlatformError> =>
  call.process.write(1, data)

/** A failure that says everything itself. */
export const problem = (description: string): PlatformError =>
  PlatformErrors.badArgument({ module: "Process", method: "run", description })

/** Goes through all items; what fails is complained about, and makes the exit code 1. */
export const each = <A>(
  call: Call,
  items: ReadonlyArray<A>,
  label: (item: A) => string,
  use: (item: A) => Effect.Effect<void, PlatformError>
): Effect.Effect<number, PlatformError> =>
  Effect.gen(function* () {
    let code = 0
    for (const item of items) {
      const result = yield* Effect.result(use(item))
      if (result._tag === "Success") continue
      if (result.failure.reason.method === "write") return yield* result.failure
      const { reason } = result.failure
      const isProblem = reason._tag === "BadArgument" && reason.module === "Process"
      const said = isProblem ? (reason.description ?? "") : `${label(item)}: ${errno.text(result.failure)}`
      code = yield* complain(call, said)
    }
    return code
  })

/** Something to read: a file, or standard input. */
export interface Reader {
  readonly name: string
  readonly read: (max?: number) => Effect.Effect<Uint8Array, PlatformError>
}

/** Opens a file to read, or standard input for `-`. */
export const withReader = <A, E>(
  { process }: Call,
  name: string,
  use: (reader: Reader) => Effect.Effect<A, E>
): Effect.Effect<A, E | PlatformError> =>
  name === "-"
    ? use({ name, read: (max) => process.read(0, max) })
    : Effect.acquireUseRelease(
        process.open(name),
        (file: files.OpenFile) =>
          use({ name, read: (max = files.blockSize) => Effect.andThen(process.resumed, file.read(max)) }),
        (file) => file.release
      )

/** Opens a file to write. */
export const withWriter = <A, E>(
  { process }: Call,
  path: string,
  flag: FileSystem.OpenFlag,
  use: (file: files.OpenFile) => Effect.Effect<A, E>
): Effect.Effect<A, E | PlatformError> =>
  Effect.acquireUseRelease(process.open(path, flag), use, (file) => file.release)

/** Makes sure that there is a file. */
export const create = (
  { process }: Call,
  path: string,
  flag: FileSystem.OpenFlag,
  mode?: number
): Effect.Effect<void, PlatformError> =>
  Effect.uninterruptible(Effect.flatMap(process.open(path, flag, mode), (file) => file.release))

/** Runs through the bytes of a reader until there are no more, or the use says that it has enough. */
export const forEachChunk = <E>(
  reader: Reader,
  use: (bytes: Uint8Array) => Effect.Effect<"enough" | void, E>
): Effect.Effect<void, E | PlatformError> =>
  Effect.gen(function* () {
    while (true) {
      const bytes = yield* reader.read()
      if (bytes.length === 0 || (yield* use(bytes)) === "enough") return
    }
  })

const newline = 10

/** Runs through the lines of a reader, which have no newlines; the last may have had none. */
export const forEachLine = <E>(
  reader: Reader,
  use: (line: string, isWhole: boolean) => Effect.Effect<"enough" | void, E>
): Effect.Effect<void, E | PlatformError> =>
  Effect.gen(function* () {
    let rest = new Uint8Array(0)
    while (true) {
      const bytes = yield* reader.read()
      if (bytes.length === 0) break
      const all = rest.length === 0 ? bytes : text.concat([rest, bytes])
      const end = all.lastIndexOf(newline)
      rest = new Uint8Array(all.subarray(end + 1))
      if (end < 0) continue
      for (const line of text.decode(all.subarray(0, end)).split("\n")) {
        if ((yield* use(line, true)) === "enough") return
      }
    }
    if (rest.length > 0) yield* use(text.decode(rest), false)
  })

export const allLines = (reader: Reader): Effect.Effect<ReadonlyArray<string>, PlatformError> =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    yield* forEachLine(reader, (line) => Effect.sync(() => void lines.push(line)))
    return lines
  })

/** The options and operands of a command line. */
export interface Options {
  readonly flags: ReadonlySet<string>
  readonly values: ReadonlyMap<string, string>
  readonly operands: ReadonlyArray<string>
}

/**
 * Parses options as POSIX programs do. `letters` names them; a colon says that the one before has a value. Long options
 * are given as `longs`, each with the letter it stands for.
 */
export const parse = (
  args: ReadonlyArray<string>,
  letters: string,
  longs: { readonly [name: string]: string } = {},
  style: { readonly stopAtOperand?: boolean } = {}
): Options | { readonly error: string } => {
  const flags = new Set<string>()
  const values = new Map<string, string>()
  const operands: Array<string> = []
  const takesValue = (letter: string) => letters.includes(`${letter}:`)
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? ""
    if (arg === "--") {
      operands.push(...args.slice(i + 1))
      break
    }
    if (arg === "-" || !arg.startsWith("-")) {
      operands.push(arg)
      if (!style.stopAtOperand) continue
      operands.push(...args.slice(i + 1))
      break
    }
    if (arg.startsWith("--")) {
      const [name = "", ...value] = arg.slice(2).split("=")
      const letter = Object.hasOwn(longs, name) ? longs[name] : undefined
      if (letter === undefined) return { error: `unrecognized option '${arg}'` }
      if (takesValue(letter)) values.set(letter, value.length > 0 ? value.join("=") : (args[++i] ?? ""))
      else flags.add(letter)
      continue
    }
    for (let j = 1; j < arg.length; j++) {
      const letter = arg[j] ?? ""
      if (letter === ":" || !letters.includes(letter)) return { error: `invalid option -- '${letter}'` }
      if (!takesValue(letter)) {
        flags.add(letter)
        continue
      }
      const value = arg.length > j + 1 ? arg.slice(j + 1) : args[++i]
      if (value === undefined) return { error: `option requires an argument -- '${letter}'` }
      values.set(letter, value)
      break
    }
  }
  return { flags, values, operands }
}

/** A program with options; a wrong one is complained about with exit code 1 (or another). */
export const withOptions = (
  name: string,
  letters: string,
  run: (call: Call, options: Options) => Effect.Effect<number, PlatformError>,
  style: {
    readonly longs?: { readonly [name: string]: string }
    readonly stopAtOperand?: boolean
    readonly usage?: number
  } = {}
): Program =>
  program(name, (call) => {
    const options = parse(call.args, letters, style.longs, style)
    return "error" in options ? complain(call, options.error, style.usage ?? 1) : run(call, options)
  })
