/**
 * Removes what an earlier process of ours has left on an engine. Containers that run are held by their lease, so that only
 * those are left which were created and never started, or which the engine forgot in a crash of its own (F8 to F11).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { DockerClient } from "../DockerClient.ts"
import type * as Model from "../DockerModel.ts"
import * as labels from "./labels.ts"
import * as ownership from "./owner.ts"

/** Nobody needs longer from the creation of a container to its start; clocks may differ. */
const startGraceMillis = 10 * 60 * 1000

/** Whether a container is certainly nobody's any more. In doubt it is left alone (F9). */
const isLeft = (files: FileSystem.FileSystem, now: number, container: Model.ContainerSummary) =>
  Effect.gen(function* () {
    if (yield* ownership.isGone(files, container.Labels[labels.owner] ?? "")) return true
    const isOld = now - container.Created * 1000 > startGraceMillis
    return isOld && (container.State === "created" || container.State === "exited" || container.State === "dead")
  })

/** Removes them, and gives their ids. What cannot be removed is left to the next sweep. */
export const run = Effect.fnUntraced(function* (docker: DockerClient["Service"], files: FileSystem.FileSystem) {
  const removed: Array<string> = []
  for (const kind of [labels.kinds.sandbox, labels.kinds.helper]) {
    const found = yield* docker.containers.list({ labels: [`${labels.kind}=${kind}`, labels.owner] })
    for (const container of found) {
      const now = yield* Clock.currentTimeMillis
      // The filter is the engine's; whether it is ours is seen here again (F10).
      if (container.Labels[labels.kind] !== kind || !(yield* isLeft(files, now, container))) continue
      const gone = yield* Effect.result(docker.containers.remove(container.Id))
      if (gone._tag === "Success") removed.push(container.Id)
    }
  }
  return removed
})

/** Removes what is left of an owner that ends, as far as that can be done: creations whose answers were lost. */
export const end = Effect.fnUntraced(function* (docker: DockerClient["Service"], owner: string) {
  const found = yield* docker.containers.list({ labels: [`${labels.owner}=${owner}`] })
  yield* Effect.forEach(found, ({ Id }) => Effect.ignore(docker.containers.remove(Id)), { discard: true })
})
