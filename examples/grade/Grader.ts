/**
 * Grades one task, in the session it is run in: places the files, runs the command within its limits, and compares, or
 * lets the checking command decide.
 */
import type { Command } from "@effect-sandbox/core"
import { Sandbox } from "@effect-sandbox/core"
import { Effect, FileSystem, Path } from "effect"
import { holdsHostile } from "./Drivers.ts"
import type { Task } from "./Task.ts"
import * as Verdict from "./Verdict.ts"

/** A judgement with what it is based on. */
export interface Graded extends Verdict.Judgement {
  /** Missing when the submission was not run. */
  readonly result?: Command.Result | undefined
}

/** The checking command is the grader's own, so its limits are not the submission's. */
const checkLimits: Command.Options = { timeout: "30 seconds", maxOutputBytes: 65_536, forceKillAfter: "500 millis" }

/** Fails only for the sandbox's or the task's sake; whatever a submission does is a judgement. */
export const grade = Effect.fnUntraced(function* (task: Task) {
  const sandbox = yield* Sandbox
  if (task.hostile && !holdsHostile(sandbox.isolation.level)) {
    return graded({ verdict: "skipped", reason: `hostile, and the isolation is ${sandbox.isolation.level}` })
  }
  yield* Effect.forEach(Object.entries(task.files), ([name, text]) => place(name, text), { discard: true })
  const ran = yield* run(task)
  if ("verdict" in ran) return graded(ran)
  const { outcome } = ran
  const early = Verdict.ofOutcome(ran)
  if (early !== undefined) return graded(early, ran)
  if (task.check !== undefined) return graded(yield* check(task.check, task.checkFiles ?? {}, ran), ran)
  // A task has either `check` or `expect`, and only what exited has no verdict by now.
  return task.expect !== undefined && outcome._tag === "Exited"
    ? graded(Verdict.ofExpectation(task.expect, outcome.code, ran), ran)
    : graded({ verdict: "error", reason: "the task says nothing about what is right" }, ran)
})

const graded = (judgement: Verdict.Judgement, result?: Command.Result): Graded => ({ ...judgement, result })

const run = Effect.fnUntraced(function* ({
  command: [program = "", ...args],
  maxOutputBytes,
  stdin,
  timeoutMillis
}: Task) {
  const sandbox = yield* Sandbox
  return yield* sandbox
    .exec(program, args, {
      stdin,
      timeout: timeoutMillis,
      maxOutputBytes,
      onOutputLimit: "kill",
      forceKillAfter: "500 millis"
    })
    .pipe(
      Effect.catchReasons("PlatformError", {
        NotFound: () => Effect.succeed<Verdict.Judgement>({ verdict: "not-found", reason: `there is no ${program}` }),
        PermissionDenied: () => Effect.succeed(Verdict.failed(`${program} may not be executed`))
      })
    )
})

/** Runs the checking command over what the submission left behind and wrote. */
const check = Effect.fnUntraced(function* (
  [program = "", ...args]: ReadonlyArray<string>,
  files: { readonly [name: string]: string },
  { stdoutBytes }: Command.Result
) {
  const sandbox = yield* Sandbox
  const prepared = yield* Effect.gen(function* () {
    yield* endLeftovers
    // Anything may lie where these belong, also links to other places.
    yield* clear(".grade")
    yield* place(".grade/stdout", stdoutBytes)
    for (const [name, text] of Object.entries(files)) {
      yield* clear(name)
      yield* place(name, text)
    }
  }).pipe(Effect.as(undefined), Effect.catchTag("PlatformError", Effect.succeed))
  // It worked before the submission was run.
  if (prepared !== undefined)
    return Verdict.failed(`what it left behind is in the way of the check: ${prepared.message}`)
  return Verdict.ofCheck(yield* sandbox.exec(program, args, checkLimits))
})

/**
 * Ends what the submission has left running, which might change what is checked. Drivers do it at the end of the session
 * at the latest. Only inside an isolation does "every process that I may signal" mean no others.
 */
const endLeftovers = Effect.gen(function* () {
  const sandbox = yield* Sandbox
  if (holdsHostile(sandbox.isolation.level)) yield* sandbox.exec("sh", ["-c", "kill -9 -1"], checkLimits)
})

const place = Effect.fnUntraced(function* (name: string, content: string | Uint8Array) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = path.dirname(name)
  if (directory !== ".") yield* fs.makeDirectory(directory, { recursive: true })
  yield* typeof content === "string" ? fs.writeFileString(name, content) : fs.writeFile(name, content)
})

/** Removes what is at a path, and what is on the way to it and no real directory. */
const clear = Effect.fnUntraced(function* (name: string) {
  const fs = yield* FileSystem.FileSystem
  const segments = name.split("/")
  for (let length = 1; length < segments.length; length++) {
    const parent = segments.slice(0, length).join("/")
    const isLink = yield* Effect.isSuccess(fs.readLink(parent))
    const isDirectory =
      !isLink &&
      (yield* fs.stat(parent).pipe(
        Effect.map((info) => info.type === "Directory"),
        Effect.orElseSucceed(() => false)
      ))
    if (!isDirectory) yield* fs.remove(parent, { force: true })
  }
  yield* fs.remove(name, { recursive: true, force: true })
})
