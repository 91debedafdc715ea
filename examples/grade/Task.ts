/**
 * The tasks of a batch: their format (described in `TASKS.md`), and a reader that checks a whole file before anything
 * runs and reports every problem with its line and field.
 */
import { Effect, FileSystem, Predicate, Result, Schema, SchemaIssue, Stream } from "effect"
import { CliError } from "effect/cli"
import * as Verdict from "./Verdict.ts"

/** Why a name is no path in the workspace that a task may use, if so: `.grade` is the grader's. */
const problemOfName = (name: string): string | undefined => {
  const segments = name.split("/")
  if (name.includes("\0") || segments.some((segment) => segment === "" || segment === "." || segment === "..")) {
    return "expected a relative path inside the workspace"
  }
  return segments[0] === ".grade" ? "expected another directory, this one is the grader's own" : undefined
}

const Files = Schema.Record(Schema.String, Schema.String).check(
  Schema.makeFilter((files) =>
    Object.keys(files).flatMap((name) => {
      const issue = problemOfName(name)
      return issue === undefined ? [] : [{ path: [name], issue }]
    })
  )
)

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
    return [...shown, ...(rest > 0 ? [`… and ${rest} more problems`] : [])].join("\n  ")
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
const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown)))
const decode = Schema.decodeUnknownResult(Task)

/** `expect.exitCode`, `command[0]`, `files["a b"]` */
const fieldOf = (path: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }>): string =>
  path
    .map((part) => (Predicate.isObject(part) ? part.key : part))
    .reduce<string>((field, key) => {
      if (typeof key === "number") return `${field}[${key}]`
      const name = String(key)
      if (!/^\w+$/.test(name)) return `${field}[${JSON.stringify(name)}]`
      return field === "" ? name : `${field}.${name}`
    }, "")

const messageOf = (message: string): string =>
  message === "Expected no excess property" ? "there is no such field" : message.replace(/^E/, "e")

/** Collects the tasks and problems of a file, line by line. */
class Reader {
  readonly tasks: Array<Task> = []
  readonly problems: Array<Problem> = []
  readonly #images: ReadonlyArray<string>
  readonly #lineOf = new Map<unknown, number>()
  #line = 0

  constructor(images: ReadonlyArray<string>) {
    this.#images = images
  }

  take(text: string): void {
    this.#line++
    const trimmed = text.replace(/^\uFEFF/, "").trim()
    if (trimmed === "") return
    const json = decodeJson(trimmed)
    if (Result.isFailure(json)) return this.report("", "expected a JSON object on a line of its own")
    const { id, image } = json.success
    const first = this.#lineOf.get(id)
    if (first !== undefined) this.report("id", `line ${first} has ${JSON.stringify(id)} already`)
    else if (id !== undefined) this.#lineOf.set(id, this.#line)
    if (typeof image === "string" && !this.#images.includes(image)) {
      this.report("image", `expected one of ${this.#images.join(", ")}, got ${JSON.stringify(image)}`)
    }
    const task = decode(json.success, { errors: "all", onExcessProperty: "error" })
    if (Result.isSuccess(task)) {
      this.tasks.push(task.success)
      return
    }
    for (const { message, path = [] } of formatIssue(task.failure.issue).issues) {
      this.report(fieldOf(path), messageOf(message))
    }
  }

  report(field: string, message: string): void {
    this.problems.push({ line: this.#line, field, message })
  }
}

/** Reads and checks a file of tasks, one JSON object a line. Empty lines are left out. */
export const readAll = Effect.fnUntraced(function* (file: string, images: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  const reader = new Reader(images)
  const failWith = (message: string) =>
    Effect.fail(new InvalidTasksError({ file, problems: [{ line: 0, field: "", message }] }))
  yield* fs.stream(file).pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.runForEach((text) => Effect.sync(() => reader.take(text))),
    Effect.catchReason(
      "PlatformError",
      "NotFound",
      () => failWith("there is no such file"),
      (reason) => failWith(reason.message)
    )
  )
  if (reader.problems.length > 0) return yield* new InvalidTasksError({ file, problems: reader.problems })
  if (reader.tasks.length === 0) return yield* failWith("there are no tasks in it")
  return reader.tasks
})
