/**
 * Lines of notes, made and written in a thread when there are many. A thread costs a message in each direction, which few
 * events are not worth; and where none can be had, or it has ended, lines are made here.
 */
import { Worker } from "node:worker_threads"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Reply, Request, Target } from "./lineWorker.ts"
import { linesOf, type Notes } from "./noteLines.ts"
import * as thread from "./thread.ts"

/**
 * The lines of notes, as text or in UTF-8; the bytes are good until more lines are made. When there is a target, and the
 * thread has put all of them there, only how many bytes they were. One at a time.
 */
export type LineMaker = (notes: Notes, target?: Target) => Effect.Effect<string | Uint8Array | number>

/** Fewer events than this are made into lines here. */
const worthwhile = 512

/** A thread takes as long to come up as thousands of events to be published, so nobody waits for that. */
type State = "none" | "starting" | "running" | "ended"

/** Starts a thread when one is first of use, and ends it with the scope: after that it writes nothing any more. */
export const make = (file: URL = thread.fileOf("lineWorker")): Effect.Effect<LineMaker, never, Scope.Scope> =>
  Effect.gen(function* () {
    let state: State = "none"
    let worker: Worker | undefined
    /** Where the thread puts lines. */
    let memory = new SharedArrayBuffer(0)
    /** Completed with what the thread did, or with nothing when it has ended. */
    let awaited: Deferred.Deferred<Uint8Array | number | undefined> | undefined

    const answer = (made: Uint8Array | number | undefined) => {
      const answered = awaited
      awaited = undefined // before whoever waits goes on at once and asks again
      if (answered !== undefined) Deferred.doneUnsafe(answered, Effect.succeed(made))
    }
    const end = () => {
      state = "ended"
      answer(undefined)
    }
    const start = () => {
      state = "starting"
      worker = new Worker(file)
      worker.on("online", () => {
        if (state === "starting") state = "running"
      })
      worker.on("message", (reply: Reply) => {
        memory = reply.memory
        answer(reply.isWritten ? reply.length : new Uint8Array(memory, 0, reply.length))
      })
      worker.on("error", end)
      worker.on("exit", end)
    }
    yield* Effect.addFinalizer(() => {
      const ended = Promise.resolve(worker?.terminate())
      // A disk may hold the thread up for ever; it ends with the write.
      return awaited === undefined ? Effect.promise(() => ended) : Effect.void
    })

    return (notes, target) =>
      Effect.suspend(() => {
        if (notes.count >= worthwhile && state === "none") start()
        if (notes.count < worthwhile || state !== "running" || worker === undefined)
          return Effect.succeed(linesOf(notes))
        const request: Request = { notes, memory, target }
        thread.post(worker, request)
        awaited = Deferred.makeUnsafe()
        // Uninterruptible, so that the next answer is to the next request.
        return Effect.uninterruptible(Effect.map(Deferred.await(awaited), (made) => made ?? linesOf(notes)))
      })
  })
