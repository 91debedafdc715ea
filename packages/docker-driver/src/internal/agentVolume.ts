/**
 * The agent on an engine: a volume that was filled once and that every container mounts read-only. So the agent reaches
 * any image, also one without a shell, and any engine, also one that does not share our files.
 */
import * as Effect from "effect/Effect"
import * as Tar from "effect/encoding/Tar"
import type * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import { fileURLToPath } from "node:url"
import type { DockerClient } from "../DockerClient.ts"
import { AgentMissing, DockerError } from "../DockerError.ts"
import * as labels from "./labels.ts"
import * as places from "./places.ts"

/** Processors that an agent was built for, by the engine's names. */
export const architectures = ["amd64", "arm64"] as const
export type Architecture = (typeof architectures)[number]

export const isArchitecture = (name: string): name is Architecture => architectures.some((known) => known === name)

const file = (architecture: Architecture): string =>
  fileURLToPath(new URL(`../../agent/prebuilt/agent-${architecture}`, import.meta.url))

export interface Request {
  readonly owner: string
  readonly architecture: Architecture
  /** An image of the engine's by which a container can be made. */
  readonly imageId: string
  /** Nobody else on the engine has it. */
  readonly containerName: string
}

/** Sees to it that there is a volume with the agent, and gives its name. */
export const ensure = Effect.fnUntraced(function* (
  docker: DockerClient["Service"],
  files: FileSystem.FileSystem,
  { architecture, containerName, imageId, owner }: Request
) {
  const path = file(architecture)
  const agent = yield* Effect.mapError(
    files.readFile(path),
    ({ message }) => new DockerError({ reason: new AgentMissing({ path, description: message }) })
  )
  // Volumes cannot change under those who use them: another agent has another name.
  const hash = createHash("sha256").update(agent).digest("hex").slice(0, 16)
  const name = `effect-sandbox-agent-${architecture}-${hash}`
  yield* docker.volumes.create({ name, labels: { [labels.kind]: labels.kinds.agent } })
  yield* Effect.gen(function* () {
    const helper = yield* docker.containers.scoped({
      name: containerName,
      spec: {
        Image: imageId,
        // Never started.
        Entrypoint: [places.agent],
        Labels: labels.ofHelper(owner),
        HostConfig: {
          NetworkMode: "none",
          Mounts: [{ Type: "volume", Source: name, Target: places.agentDirectory, VolumeOptions: { NoCopy: true } }]
        }
      }
    })
    const found = yield* docker.containers
      .statPath(helper.Id, places.agent)
      .pipe(Effect.catchReason("DockerError", "NotFound", () => Effect.succeed(undefined)))
    // A file that somebody else is still writing, or never finished, is shorter.
    if (found?.size === agent.length) return
    const archive = Stream.make(Tar.file("agent", agent, { mode: 0o755 })).pipe(
      Stream.pipeThroughChannel(Tar.encode()),
      Stream.orDie // the entry is well formed
    )
    yield* docker.containers.putArchive(helper.Id, places.agentDirectory, archive)
  }).pipe(Effect.scoped)
  return name
})
