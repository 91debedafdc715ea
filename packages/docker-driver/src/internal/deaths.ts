/** Why containers die: what the engine says about those of one owner, for as long as somebody asks. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { DockerClient } from "../DockerClient.ts"
import type * as Model from "../DockerModel.ts"
import * as labels from "./labels.ts"

export interface Death {
  /** Whether the kernel has killed something in it just before, because its memory ran out. */
  readonly outOfMemory: boolean
  readonly exitCode: number | undefined
}

export interface Deaths {
  /** Notes what is said about a container from now on. */
  readonly watch: (containerId: string) => Effect.Effect<Watch, never, Scope.Scope>
}

export interface Watch {
  /** Waits until the engine has told of its death. */
  readonly death: Effect.Effect<Death>
}

interface Note {
  /** When its memory last ran out, in nanoseconds as the engine counts. */
  lastOutOfMemory: number
  readonly death: Deferred.Deferred<Death>
}

/** An earlier want of memory, which it has survived, is not what it died of. */
const justBefore = 2e9

/** The engine may be gone for long, and comes back when it does. */
const reconnection = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")]).pipe(
  Schedule.jittered
)

/** Listens until the scope closes. */
export const make = Effect.fnUntraced(function* (docker: DockerClient["Service"], owner: string) {
  const notes = new Map<string, Note>()
  const take = ({ Action, Actor, timeNano }: Model.Event): void => {
    const note = notes.get(Actor.ID)
    if (note === undefined) return
    const at = timeNano ?? 0
    if (Action === "oom") note.lastOutOfMemory = at
    if (Action !== "die") return
    const code = Number(Actor.Attributes["exitCode"] ?? Number.NaN)
    const exitCode = Number.isInteger(code) ? code : undefined
    const outOfMemory = at - note.lastOutOfMemory < justBefore
    Deferred.doneUnsafe(note.death, Effect.succeed({ outOfMemory, exitCode }))
  }
  const events = docker.events({
    types: ["container"],
    actions: ["oom", "die"],
    labels: [`${labels.owner}=${owner}`]
  })
  yield* Stream.runForEach(events, (event) => Effect.sync(() => take(event))).pipe(
    Effect.ignore,
    Effect.repeat(reconnection),
    Effect.forkScoped
  )
  const deaths: Deaths = {
    watch: (containerId) =>
      Effect.acquireRelease(
        Effect.sync((): Note => {
          const note = { lastOutOfMemory: Number.NEGATIVE_INFINITY, death: Deferred.makeUnsafe<Death>() }
          notes.set(containerId, note)
          return note
        }),
        () => Effect.sync(() => notes.delete(containerId))
      ).pipe(Effect.map((note) => ({ death: Deferred.await(note.death) })))
  }
  return deaths
})
