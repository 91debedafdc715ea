/**
 * The tasks of a batch: their format (described in `TASKS.md`), and a reader that checks a whole file before anything
 * runs and reports every problem with its line and field.
 */
import { Effect, FileSystem, Predicate, Result, Schema, SchemaIssue, Stream } from "effect"
import { CliError } from "effect/cli"
import * as Verdict from "./Verdict.ts"

/** A path in the workspace that leaves it by no means, and leaves `.grade` to the grader. */
const FileName = Schema.String.check(
  Schema.makeFilter((name) => {
    const segments = name.split("/")
    if (name.includes("\0") || segments.some((segment) => segment === "" || segment === "." || segment === "..")) {
      return `expected a relative path inside the workspace, got ${JSON.stringify(name)}`
    }
    return segments[0] !== ".grade" || `.grade is the grader's own directory, got ${JSON.stringify(name)}`
  })
)
const Files = Schema.Record(FileName, Schema.String)

const Word = Schema.String.check(Schema.makeFilter((word) => !word.includes("\0") || "expected no NUL character"))
const Command = Schema.Array(Word).check(
  Schema.makeFilter((words) =>
    words[0] === undefined || words[0] === "" ? "expected a program and its arguments" : undefined
  )
)

const whole = (minimum: number, maximum: number) =>
  Schema.Finite.check(
    Schema.makeFilter(
      (value) =>
        (Number.isInteger(value) && value >= minimum && value <= maximum) ||
        `expected a whole number from ${minimum} to ${maximum}, got ${value}`
    )
  )

const Expectation = Schema.Struct({
  exitCode: whole(0, 255),
  stdout: Schema.optionalKey(Schema.String),
  stdoutContains: Schema.optionalKey(Schema.String),
  stderrContains: Schema.optionalKey(Schema.String)
})

export const Task = Schema.Struct({
  id: Schema.NonEmptyString,
  image: Schema.NonEmptyString,
  files: Files.pipe(Schema.withDecodingDefaultKey(Effect.succeed({}))),
  command: Command,
  stdin: Schema.optionalKey(Schema.String),
  timeoutMillis: whole(1, 3_600_000).pipe(Schema.withDecodingDefaultKey(Effect.succeed(10_000))),
  /** For each of the two streams. */
  maxOutputBytes: whole(1, 64 * 1024 * 1024).pipe(Schema.withDecodingDefaultKey(Effect.succeed(65_536))),
  expect: Schema.optionalKey(Expectation),
  check: Schema.optionalKey(Command),
  checkFiles: Schema.optionalKey(Files),
  hostile: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(Effect.succeed(false))),
  verdict: Schema.optionalKey(Verdict.Expected)
}).check(
  Schema.makeFilter((task) => {
    if (task.expect !== undefined && task.check !== undefined) {
      return { path: ["check"], issue: "expected either expect or check, got both" }
    }
    if (task.expect === undefined && task.check === undefined) {
      return { path: ["expect"], issue: "expected either expect or check, got neither" }
    }
    return (
      task.checkFiles === undefined ||
      task.check !== undefined || { path: ["checkFiles"], issue: "expected only together with check" }
    )
  })
)
export type Task = typeof Task.Type

/** The verdict that a right grader gives. A task that names none is meant to be solved. */
export const expectedVerdict = (task: Task): Verdict.Expected => task.verdict ?? "passed"

/** The batch cannot be run as it is. Nothing was. */
export class InvalidTasksError extends Schema.TaggedError<InvalidTasksError>()("InvalidTasksError", {
  file: Schema.String,
  /** Line 0 is about the whole file. */
  problems: Schema.Array(Schema.Struct({ line: Schema.Finite, field: Schema.String, message: Schema.String }))
}) {
  override get message() {
    const shown = this.problems
      .slice(0, 50)
      .map(({ field, line, message }) =>
        [...(line === 0 ? [this.file] : [`${this.file}:${line}`]), ...(field === "" ? [] : [field]), message].join(": ")
      )
    const rest = this.problems.length - shown.length
    return [...shown, ...(rest > 0 ? [`… and ${rest} more problems`] : [])].join("\n")
  }
  override get [CliError.userMessage]() {
    return this.message
  }
}

interface Problem {
  readonly line: number
  readonly field: string
  readonly message: string
}

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()
const parseJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Unknown))
const decode = Schema.decodeUnknownResult(Task)

const parse = (text: string, line: number): Result.Result<Task, ReadonlyArray<Problem>> => {
  const json = parseJson(text)
  if (Result.isFailure(json))
    return Result.fail([{ line, field: "", message: "expected one JSON object, which this is not" }])
  return Result.mapError(decode(json.success, { errors: "all", onExcessProperty: "error" }), ({ issue }) =>
    formatIssue(issue).issues.map(({ message, path = [] }) => ({
      line,
      field: path.map((part) => String(Predicate.isObject(part) && "key" in part ? part.key : part)).join("."),
      message: message.replace(/^E/, "e")
    }))
  )
}

/** Reads and checks a file of tasks, one JSON object a line. Empty lines are left out. */
export const readAll = Effect.fnUntraced(function* (file: string, images: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  const tasks: Array<Task> = []
  const problems: Array<Problem> = []
  const lineOf = new Map<string, number>()
  let line = 0
  const take = (text: string) => {
    line++
    const trimmed = text.replace(/^\uFEFF/, "").trim()
    if (trimmed === "") return
    const result = parse(trimmed, line)
    if (Result.isFailure(result)) {
      problems.push(...result.failure)
      return
    }
    const task = result.success
    const first = lineOf.get(task.id)
    if (first === undefined) lineOf.set(task.id, line)
    else problems.push({ line, field: "id", message: `line ${first} has ${JSON.stringify(task.id)} already` })
    if (!images.includes(task.image)) {
      const message = `expected one of ${images.join(", ")}, got ${JSON.stringify(task.image)}`
      problems.push({ line, field: "image", message })
    }
    tasks.push(task)
  }
  yield* fs.stream(file).pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.runForEach((text) => Effect.sync(() => take(text))),
    Effect.catchTag("PlatformError", (error) =>
      Effect.sync(() => {
        problems.push({ line: 0, field: "", message: error.message })
      })
    )
  )
  if (problems.length === 0 && tasks.length === 0)
    problems.push({ line: 0, field: "", message: "there are no tasks in it" })
  if (problems.length > 0) return yield* new InvalidTasksError({ file, problems })
  return tasks
})
