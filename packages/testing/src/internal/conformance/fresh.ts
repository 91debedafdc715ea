/** What a sandbox must be like after `reset`. */
import * as Effect from "effect/Effect"
import * as expect from "./expect.ts"
import type { Subject } from "./subject.ts"

/** The workspace is empty, and works. */
export const isFresh = (sandbox: Subject) =>
  Effect.gen(function* () {
    yield* expect.equal(yield* sandbox.files.readDirectory("."), [], "the workspace after reset")
    yield* sandbox.files.makeDirectory("new")
    yield* sandbox.files.writeFileString("new/file", "content")
    yield* expect.equal(yield* sandbox.files.readFileString("new/file"), "content", "a new file")
    yield* sandbox.files.remove("new", { recursive: true })
  })

/** The same, and nothing that lives on writes into it. */
export const staysFresh = (sandbox: Subject) =>
  Effect.gen(function* () {
    yield* isFresh(sandbox)
    yield* Effect.sleep("400 millis")
    yield* expect.equal(yield* sandbox.files.readDirectory("."), [], "the workspace a moment after reset")
  })
