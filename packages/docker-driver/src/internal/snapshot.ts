/**
 * An image of what a sandbox holds now. Its root is read-only, so everything that can have changed is in the writable
 * places: they become a directory of the new image, from which sandboxes of that image fill theirs.
 */
import type { SandboxInstance } from "@effect-sandbox/core/SandboxDriver"
import * as Effect from "effect/Effect"
import * as Tar from "effect/encoding/Tar"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"
import type { DockerClient } from "../DockerClient.ts"
import { DockerError, SnapshotFailed } from "../DockerError.ts"
import * as labels from "./labels.ts"
import * as places from "./places.ts"

export interface Request {
  readonly owner: string
  readonly sandbox: Pick<SandboxInstance, "fileSystem">
  /** The writable places. */
  readonly writable: ReadonlyArray<string>
  readonly imageId: string
  readonly containerName: string
  /** A name for the image. */
  readonly tag: string | undefined
}

/** Every directory, file and link of the places; others (sockets, pipes) do not outlive their processes. */
const entries = ({ sandbox, writable }: Pick<Request, "sandbox" | "writable">) => {
  const files = sandbox.fileSystem
  const entryOf = (path: string): Effect.Effect<ReadonlyArray<Tar.Entry<PlatformError>>, PlatformError> =>
    Effect.gen(function* () {
      const info = yield* files.lstat(path)
      const name = `${places.snapshot}${path}`.slice(1)
      const options = { mode: info.mode & 0o7777, mtime: Option.getOrUndefined(info.mtime) }
      switch (info.type) {
        case "Directory":
          return [Tar.directory(name, options)]
        case "SymbolicLink":
          return [Tar.symlink(name, yield* files.readLink(path), options)]
        case "File":
          return [Tar.fileStream(name, Number(info.size), files.stream(path), options)]
        default:
          return []
      }
    })
  return Stream.fromIterable(writable).pipe(
    Stream.flatMap((place) =>
      Stream.fromEffect(files.readDirectory(place, { recursive: true })).pipe(
        Stream.flatMap((names) => Stream.fromIterable([place, ...names.map((name) => `${place}/${name}`)]))
      )
    ),
    Stream.mapEffect(entryOf),
    Stream.flatMap(Stream.fromIterable)
  )
}

/** Gives the image's id. */
export const take = (docker: DockerClient["Service"], request: Request): Effect.Effect<string, DockerError> =>
  Effect.gen(function* () {
    const { containerName, imageId, owner, tag, writable } = request
    const helper = yield* docker.containers.scoped({
      name: containerName,
      spec: {
        Image: imageId,
        // Never started.
        Entrypoint: [places.agent],
        Labels: labels.ofHelper(owner),
        HostConfig: { NetworkMode: "none" }
      }
    })
    const archive = entries(request).pipe(
      Stream.pipeThroughChannel(Tar.encode<PlatformError, unknown, Tar.Entry<PlatformError>>()),
      Stream.mapError(({ message }) => new DockerError({ reason: new SnapshotFailed({ description: message }) }))
    )
    yield* docker.containers.putArchive(helper.Id, "/", archive)
    return yield* docker.containers.commit(helper.Id, {
      tag,
      labels: { [labels.kind]: labels.kinds.snapshot, [labels.snapshot]: JSON.stringify(writable) }
    })
  }).pipe(Effect.scoped)
