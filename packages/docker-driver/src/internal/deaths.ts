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
  /** Whether the kernel killed something in it because its memory ran out. */
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
  outOfMemory: boolean
  readonly death: Deferred.Deferred<Death>
}

/** The engine may be gone for long, and comes back when it does. */
const reconnection = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")]).pipe(
  Schedule.jittered
)

/** Listens until the scope closes. */
export const make = Effect.fnUntraced(function* (docker: DockerClient["Service"], owner: string) {
  const notes = new Map<string, Note>()
  const take = ({ Action, Actor }: Model.Event): void => {
    const note = notes.get(Actor.ID)
    if (note === undefined) return
    if (Action === "oom") note.outOfMemory = true
    if (Action !== "die") return
    const code = Number(Actor.Attributes["exitCode"] ?? Number.NaN)
    const exitCode = Number.isInteger(code) ? code : undefined
    Deferred.doneUnsafe(note.death, Effect.succeed({ outOfMemory: note.outOfMemory, exitCode }))
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
          const note = { outOfMemory: false, death: Deferred.makeUnsafe<Death>() }
          notes.set(containerId, note)
          return note
        }),
        () => Effect.sync(() => notes.delete(containerId))
      ).pipe(Effect.map((note) => ({ death: Deferred.await(note.death) })))
  }
  return deaths
})
