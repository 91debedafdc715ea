/**
 * Lines of notes, made in a thread when there are many. A thread costs a message in each direction, which few events are
 * not worth; and where none can be had, or it has ended, lines are made here.
 */
import { Worker } from "node:worker_threads"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { linesOf, type Notes } from "./noteLines.ts"

/** The lines of notes, as text or in UTF-8. */
export type LineMaker = (notes: Notes) => Effect.Effect<string | Uint8Array>

/** Fewer events than this are made into lines here. */
const worthwhile = 512

const workerFile = new URL(import.meta.url.endsWith(".ts") ? "./lineWorker.ts" : "./lineWorker.js", import.meta.url)

/** Starts a thread when one is needed first, and ends it with the scope. */
export const make: Effect.Effect<LineMaker, never, Scope.Scope> = Effect.gen(function* () {
  /** In the order of the requests; without lines when the thread has ended. */
  let waiting: Array<Deferred.Deferred<Uint8Array | undefined>> = []
  let worker: Worker | undefined
  let hasEnded = false

  const end = () => {
    hasEnded = true
    for (const reply of waiting) Deferred.doneUnsafe(reply, Effect.succeed(undefined))
    waiting = []
  }
  const start = () => {
    const started = new Worker(workerFile)
    started.on("message", (lines: Uint8Array) => {
      const reply = waiting.shift()
      if (reply !== undefined) Deferred.doneUnsafe(reply, Effect.succeed(lines))
    })
    started.on("error", end)
    started.on("exit", end)
    return started
  }
  yield* Effect.addFinalizer(() => Effect.promise(async () => worker?.terminate()))

  return (notes) =>
    Effect.suspend(() => {
      if (hasEnded || notes.count < worthwhile) return Effect.succeed(linesOf(notes))
      worker ??= start()
      const reply = Deferred.makeUnsafe<Uint8Array | undefined>()
      // Copied and not handed over, so that nothing is lost with the thread.
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      worker.postMessage(notes)
      waiting.push(reply)
      return Effect.map(Deferred.await(reply), (lines) => lines ?? linesOf(notes))
    })
})
