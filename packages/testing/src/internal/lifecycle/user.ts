/** Someone who wants a session, what its body is told to do, and what became of it. */
import type * as Environment from "@effect-sandbox/core/Environment"
import type * as Feature from "@effect-sandbox/core/Feature"
import { SandboxId } from "@effect-sandbox/core/Id"
import { Sandbox } from "@effect-sandbox/core/Sandbox"
import { SandboxStateError } from "@effect-sandbox/core/SandboxError"
import { Session } from "@effect-sandbox/core/Session"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import type { Class } from "./exits.ts"

/** The environment under test; its features are known to the caller of the checker, and to nobody here. */
export type Subject = Environment.Environment<Feature.Any>

/** The typed error of the body of a session: the user's own kind. */
export class UserError extends Data.TaggedError("UserError")<{ readonly user: string }> {
  override get message() {
    return `the error of ${this.user}`
  }
}

/** What the body of a session came to by itself. */
export type Own =
  | { readonly _tag: "Succeeded"; readonly value: string }
  | { readonly _tag: "Failed"; readonly error: unknown }
  | { readonly _tag: "Died"; readonly defect: unknown }

/** What a body can be told. */
export type Instruction =
  | { readonly _tag: "Finish" | "Fail" | "Die" | "FailState" | "FailOther" | "Report" | "WriteFile" | "Use" }
  | { readonly _tag: "ShutdownInside" | "CloseInside" }
  | { readonly _tag: "Activity"; readonly millis: number }
  | { readonly _tag: "Exec"; readonly command: string }

export interface User {
  /** `u` and its number in the order of opening. */
  readonly name: string
  /** The order of opening. */
  readonly number: number
  readonly who: number
  readonly image: string
  readonly way: "withSession" | "session" | "feature" | "host"
  /** The id that it asked for. */
  readonly id: string | undefined
  readonly openedAt: number
  /** What must happen at once, whatever happens else. */
  readonly refusal: "closed" | "unknown image" | "duplicate" | undefined
  /** Whether somebody asked for the same id in the same moment: one of them is refused. */
  mayBeDuplicate: boolean
  fiber: Fiber.Fiber<string, unknown> | undefined
  exit: Exit.Exit<string, unknown> | undefined
  endedAt: number
  /** The sandbox that it is or was in. */
  sandboxId: string | undefined
  sessionId: string | undefined
  startedAt: number
  /** When its body ended, by itself or not. */
  leftAt: number | undefined
  lastActivity: number
  /** Activities that are going on. */
  activities: number
  /** Until when, as far as it is known. */
  busyUntil: number
  /** How it ended, judged. */
  verdict: Class | undefined
  own: Own | undefined
  isInterrupted: boolean
  /** Whether it was in its session when everything was at rest before. */
  wasSeenInside: boolean
  isClosed: boolean
  /** Whether its own body has closed it, and goes on outside of it. */
  closedInside: boolean
  /** The state error that it has reported. */
  reported: SandboxStateError | undefined
  /** What it has kept. */
  sandbox: Sandbox["Service"] | undefined
  files: FileSystem.FileSystem | undefined
  active: Environment.ActiveSession<Feature.Any> | undefined
  readonly inbox: Array<Instruction>
  wake: (() => void) | undefined
}

/** What a body tells the runner. */
export interface Host {
  readonly now: () => number
  readonly environment: () => Subject | undefined
  readonly onEnter: (user: User, sandbox: Sandbox["Service"], sessionId: string) => Effect.Effect<void>
  /** The user is about to break its sandbox. */
  readonly onBreak: (user: User) => void
  readonly onLeave: (user: User) => void
  /** What is done with the features under test, in a sandbox of that image. */
  readonly use: (image: string) => Effect.Effect<unknown, unknown, unknown>
}

const take = (user: User): Effect.Effect<Instruction> =>
  Effect.suspend(() => {
    const next = user.inbox.shift()
    if (next !== undefined) return Effect.succeed(next)
    return Effect.flatMap(
      Effect.callback<void>((resume) => {
        user.wake = () => {
          user.wake = undefined
          resume(Effect.void)
        }
        // It may have come in a turn between the look and this.
        if (user.inbox.length > 0) user.wake()
        return Effect.sync(() => {
          user.wake = undefined
        })
      }),
      () => take(user)
    )
  })

export const stateErrorOf = (sandboxId: string, operation: string): SandboxStateError =>
  new SandboxStateError({ sandboxId: SandboxId.make(sandboxId), operation, description: "told to" })

/** The body of a session in a sandbox. */
export const body = (user: User, host: Host): Effect.Effect<string, unknown, unknown> =>
  Effect.gen(function* () {
    const sandbox = yield* Sandbox
    const session = yield* Session
    const files = yield* FileSystem.FileSystem
    user.sandbox = sandbox
    user.files = files
    yield* host.onEnter(user, sandbox, session.id)
    while (true) {
      const next = yield* take(user)
      switch (next._tag) {
        case "FailState":
          host.onBreak(user)
          return yield* fail(user, stateErrorOf(sandbox.id, `the body of ${user.name}`))
        case "Report":
          host.onBreak(user)
          user.reported = stateErrorOf(sandbox.id, `the report of ${user.name}`)
          yield* sandbox.report(user.reported)
          break
        case "Activity":
          yield* active(user, host, sandbox.activity("work", Effect.sleep(next.millis)), host.now() + next.millis)
          break
        case "Exec":
          yield* active(user, host, Effect.exit(sandbox.exec(next.command, next.command === "sleep" ? ["3"] : [])))
          break
        case "WriteFile":
          yield* active(user, host, Effect.exit(files.writeFileString("session.txt", user.name)))
          break
        case "Use": {
          const used = yield* active(user, host, Effect.exit(host.use(sandbox.image)))
          if (used._tag === "Failure" && used.cause.reasons.every((reason) => reason._tag === "Fail")) {
            return yield* fail(user, used.cause.reasons[0]?.error)
          }
          yield* used
          break
        }
        case "CloseInside":
          if (user.active === undefined) break
          user.isClosed = true
          user.closedInside = true
          yield* Effect.exit(user.active.close)
          break
        default: {
          const value = yield* common(user, host, next)
          if (value !== undefined) return value
        }
      }
    }
  }).pipe(Effect.onExit(() => Effect.sync(() => host.onLeave(user))))

/** The body of a session of a host feature alone. */
export const hostBody = (user: User, host: Host): Effect.Effect<string, unknown> =>
  Effect.gen(function* () {
    user.startedAt = host.now()
    user.sessionId = "host"
    while (true) {
      const value = yield* common(user, host, yield* take(user))
      if (value !== undefined) return value
    }
  }).pipe(Effect.onExit(() => Effect.sync(() => host.onLeave(user))))

/** What bodies of both kinds can be told. */
const common = (user: User, host: Host, next: Instruction): Effect.Effect<string | undefined, unknown> => {
  switch (next._tag) {
    case "Finish": {
      const value = `the value of ${user.name}`
      user.own = { _tag: "Succeeded", value }
      return Effect.succeed(value)
    }
    case "Fail":
      return fail(user, new UserError({ user: user.name }))
    case "FailOther":
      return fail(user, stateErrorOf("another/sandbox:0:0", `the body of ${user.name}`))
    case "Die": {
      const defect = new Error(`the defect of ${user.name}`)
      user.own = { _tag: "Died", defect }
      return Effect.die(defect)
    }
    case "ShutdownInside":
      return Effect.as(host.environment()?.shutdown ?? Effect.void, undefined)
    default:
      return Effect.succeed(undefined)
  }
}

const fail = (user: User, error: unknown): Effect.Effect<never, unknown> => {
  user.own = { _tag: "Failed", error }
  return Effect.fail(error)
}

const active = <A, E, R>(
  user: User,
  host: Host,
  effect: Effect.Effect<A, E, R>,
  until = Number.POSITIVE_INFINITY
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    user.activities++
    user.busyUntil = until
    return Effect.onExit(effect, () =>
      Effect.sync(() => {
        user.activities--
        user.lastActivity = host.now()
      })
    )
  })

/** Uses what was kept of a session. All of it must be refused (L18); what is not is told. */
export const useAfter = (user: User): Effect.Effect<ReadonlyArray<string>> => {
  const { active, files, sandbox } = user
  if (sandbox === undefined || files === undefined) return Effect.succeed([])
  const refused = (name: string, tags: ReadonlyArray<string>, effect: Effect.Effect<unknown, unknown>) =>
    Effect.map(Effect.exit(effect), (exit): ReadonlyArray<string> => {
      const error = exit._tag === "Failure" ? exit.cause.reasons[0] : undefined
      const tag = error?._tag === "Fail" ? String(Context.isContext(error.error) ? "" : tagOf(error.error)) : undefined
      return tag !== undefined && tags.includes(tag)
        ? []
        : [`${name}: ${exit._tag === "Success" ? "it worked" : String(tag)}`]
    })
  return Effect.map(
    Effect.all([
      refused("exec", ["SessionEndedError"], sandbox.exec("true")),
      refused("file", ["PlatformError"], files.writeFileString("late.txt", "late")),
      ...(active === undefined
        ? []
        : [
            refused(
              "run",
              ["SessionEndedError", "SandboxStateError", "SessionLimitError", "EnvironmentClosedError"],
              active.run(Effect.void)
            )
          ])
    ]),
    (all) => all.flat()
  )
}

export const tagOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : String(error)
