/** What the tests beside it test: a feature, an environment that has it, and a program that uses both. */
import { Environment, Feature, isStateError, Sandbox, type SandboxStateError } from "@effect-sandbox/core"
import { Context, Effect, FileSystem, type PlatformError, Schema } from "effect"

/** A page could not be counted. */
export class CountError extends Schema.TaggedError<CountError>()("CountError", {
  page: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `Page ${this.page} cannot be counted: ${this.reason}`
  }
}

/** Pages in the sandbox, whose words a command counts. */
export class Notebook extends Context.Service<
  Notebook,
  {
    readonly write: (page: string, text: string) => Effect.Effect<void, PlatformError.PlatformError>
    readonly words: (page: string) => Effect.Effect<number, CountError | SandboxStateError>
  }
>()("examples/Notebook") {
  static readonly feature = Feature.make(Notebook, {
    images: ["notes.*"],
    housekeepInterval: "30 seconds",
    setup: Effect.gen(function* () {
      const sandbox = yield* Sandbox
      const files = yield* FileSystem.FileSystem
      const index = `${sandbox.home}/index`
      yield* files.makeDirectory(sandbox.home, { recursive: true })
      yield* files.writeFileString(index, "made for all sessions\n")
      return {
        session: Effect.gen(function* () {
          const inside = yield* Sandbox
          const pages = yield* FileSystem.FileSystem
          yield* Effect.acquireRelease(pages.writeFileString(".open", ""), () =>
            Effect.ignore(pages.remove(".open", { force: true }))
          )
          return Notebook.of({
            write: (page, text) => pages.writeFileString(page, text),
            words: Effect.fnUntraced(function* (page) {
              const failed = (reason: string) => new CountError({ page, reason })
              const { outcome, stderr, stdout } = yield* inside
                .exec("wc", ["-w", page], { timeout: "5 seconds" })
                .pipe(Effect.mapError((error) => (isStateError(error) ? error : failed(error.message))))
              if (outcome._tag === "TimedOut") return yield* failed("it takes too long")
              if (outcome._tag !== "Exited" || outcome.code !== 0) return yield* failed(stderr.trim())
              return Number.parseInt(stdout)
            })
          })
        }),
        housekeep: files.access(index)
      }
    })
  })
}

export class Office extends Environment.Service<Office>()("examples/Office", {
  images: ["notes:1"],
  features: [Notebook.feature],
  pool: { min: 1, max: 2 }
}) {}

/** Counts the words of a text, if need be in another sandbox when the first one breaks. */
export const count = (text: string) =>
  Office.withFeature(Notebook, (notebook) => Effect.andThen(notebook.write("page", text), notebook.words("page"))).pipe(
    Effect.retry({ times: 2, while: isStateError })
  )
