/**
 * The file of results: one JSON object a line, appended as results come, so that whatever ends the program, what was
 * graded until then is on disk.
 */
import { Effect, FileSystem, Result, Schema, Semaphore } from "effect"
import { CliError } from "effect/cli"
import type { Graded } from "./Grader.ts"
import type { Task } from "./Task.ts"
import { expectedVerdict } from "./Task.ts"
import * as Verdict from "./Verdict.ts"

/** One line of the file. */
export const Line = Schema.Struct({
  id: Schema.String,
  verdict: Verdict.Verdict,
  expected: Verdict.Expected,
  /** Why, unless the verdict says it. */
  reason: Schema.optionalKey(Schema.String),
  /** The exit code, if the submission exited by itself. */
  exit: Schema.optionalKey(Schema.Int),
  /** The signal that ended it. */
  signal: Schema.optionalKey(Schema.String),
  /** What the submission took; missing when it was not run. */
  durationMillis: Schema.optionalKey(Schema.Finite),
  /** The first characters of what it wrote. */
  stdout: Schema.optionalKey(Schema.String),
  stderr: Schema.optionalKey(Schema.String)
})
export type Line = typeof Line.Type

const headLength = 400

/** The first characters of a text, without half of one at the end. */
const head = (text: string): string => text.slice(0, headLength).replace(/[\uD800-\uDBFF]$/, "")

export const line = (task: Task, { reason, result, verdict }: Graded): Line => ({
  id: task.id,
  verdict,
  expected: expectedVerdict(task),
  ...(reason === undefined ? {} : { reason }),
  ...(result?.outcome._tag === "Exited" ? { exit: result.outcome.code } : {}),
  ...(result?.outcome._tag === "Signalled" ? { signal: result.outcome.signal } : {}),
  ...(result === undefined
    ? {}
    : { durationMillis: Math.round(result.durationMillis), stdout: head(result.stdout), stderr: head(result.stderr) })
})

/** What should be resumed is no file of results. It was left alone. */
export class InvalidResultsError extends Schema.TaggedError<InvalidResultsError>()("InvalidResultsError", {
  file: Schema.String,
  line: Schema.Finite
}) {
  override get message() {
    return `${this.file}:${this.line}: this is no line of results; without --resume the file is replaced`
  }
  override get [CliError.userMessage]() {
    return this.message
  }
}

export interface Results {
  /** What the file held already. */
  readonly previous: ReadonlyArray<Line>
  /** Adds one whole line; once it has begun it is not interrupted. */
  readonly append: (line: Line) => ReturnType<FileSystem.File["writeAll"]>
}

const Json = Schema.fromJsonString(Line)
const encode = Schema.encodeSync(Json)
const decode = Schema.decodeUnknownResult(Json)

/** Opens the file until the scope closes: empty, or behind the results that it holds. */
export const open = Effect.fnUntraced(function* (file: string, options: { readonly resume: boolean }) {
  const fs = yield* FileSystem.FileSystem
  const previous = options.resume ? yield* recover(file) : []
  const handle = yield* fs.open(file, { flag: options.resume ? "a" : "w" })
  yield* Effect.addFinalizer(() => Effect.ignore(handle.sync)) // not everything that can be written can be synced
  const oneAtATime = yield* Semaphore.make(1)
  const results: Results = {
    previous,
    append: (line) =>
      oneAtATime.withPermit(Effect.uninterruptible(handle.writeAll(new TextEncoder().encode(`${encode(line)}\n`))))
  }
  return results
})

/** Reads what an earlier run wrote, and cuts off a last line that it could not finish. */
const recover = Effect.fnUntraced(function* (file: string) {
  const fs = yield* FileSystem.FileSystem
  const bytes = yield* fs
    .readFile(file)
    .pipe(Effect.catchReason("PlatformError", "NotFound", () => Effect.succeed(new Uint8Array())))
  const end = bytes.lastIndexOf(0x0a) + 1
  const lines: Array<Line> = []
  for (const [index, text] of new TextDecoder().decode(bytes.subarray(0, end)).split("\n").entries()) {
    if (text === "") continue
    const decoded = decode(text)
    if (Result.isFailure(decoded)) return yield* new InvalidResultsError({ file, line: index + 1 })
    lines.push(decoded.success)
  }
  if (end < bytes.length) {
    if (bytes[end] !== 0x7b) return yield* new InvalidResultsError({ file, line: lines.length + 1 }) // not even a `{`
    yield* fs.truncate(file, end)
  }
  return lines
})
