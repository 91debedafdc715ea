/**
 * Sees to it that an image is on the engine: looks, pulls, builds or imports. Those who want the same image at the same
 * time share the work.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as DockerAuth from "./DockerAuth.ts"
import { DockerClient } from "./DockerClient.ts"
import { BuildFailed, DockerError, ImageNotFound, MalformedResponse, WrongPlatform } from "./DockerError.ts"
import type * as Model from "./DockerModel.ts"
import * as buildContext from "./internal/engine/buildContext.ts"
import * as imageReference from "./internal/engine/imageReference.ts"
import * as sharedWork from "./internal/sharedWork.ts"

/** Where an image comes from. */
export type Source =
  | {
      readonly _tag: "Reference"
      /** `node:24`, `ghcr.io/owner/name@sha256:…`, or an id. */
      readonly reference: string
      /** Default: missing. */
      readonly pull?: "missing" | "always" | "never" | undefined
      /** `linux/amd64`, … Default: the engine's own, and no other; say so when it can run others. */
      readonly platform?: string | undefined
      /** Default: what `docker login` has left. */
      readonly credentials?: DockerAuth.Credentials | undefined
    }
  | {
      readonly _tag: "Build"
      /** The context. Default: an empty one. */
      readonly directory?: string | undefined
      /** Where the Dockerfile is in it. Default: Dockerfile. */
      readonly dockerfile?: string | undefined
      /** The Dockerfile itself, instead of a file. */
      readonly text?: string | undefined
      readonly tag?: string | undefined
      readonly arguments?: { readonly [name: string]: string } | undefined
      readonly labels?: { readonly [name: string]: string } | undefined
      readonly target?: string | undefined
      readonly platform?: string | undefined
      /** The network of its steps. Default: the engine's. */
      readonly network?: string | undefined
    }
  | {
      readonly _tag: "Import"
      /** A root file system as a tar archive, perhaps compressed. */
      readonly archive: string
      /** Its name. When the engine has an image of that name, nothing is imported. */
      readonly tag: string
      /** As in a Dockerfile: `ENV PATH=/bin`, … */
      readonly changes?: ReadonlyArray<string> | undefined
      readonly platform?: string | undefined
    }

/** What is going on, for people. */
export interface Progress {
  readonly image: string
  readonly phase: "pull" | "build" | "import"
  /** The layer or step, if it is about one. */
  readonly part: string | undefined
  readonly text: string
  readonly current: number | undefined
  readonly total: number | undefined
}

export interface EnsureOptions {
  /** Is told what is going on; the work waits for it, and its failures are nobody's. Default: nothing. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

export class DockerImage extends Context.Service<
  DockerImage,
  {
    /** The image, after it was pulled, built or imported if need be. */
    readonly ensure: (source: Source, options?: EnsureOptions) => Effect.Effect<Model.Image, DockerError>
  }
>()("@effect-sandbox/docker-driver/DockerImage") {}

type Platform = FileSystem.FileSystem | Path.Path | ChildProcessSpawner

export const layer: Layer.Layer<DockerImage, never, DockerClient | Platform> = Layer.effect(
  DockerImage,
  Effect.suspend(() => make)
)

/** What a source is called in messages. */
export const nameOf = (source: Source): string =>
  source._tag === "Reference"
    ? source.reference
    : source._tag === "Import"
      ? source.tag
      : (source.tag ?? source.directory ?? "of a Dockerfile")

/** The same as `layer`, as a scoped effect. */
export const make: Effect.Effect<DockerImage["Service"], never, DockerClient | Platform | Scope.Scope> = Effect.gen(
  function* () {
    const docker = yield* DockerClient
    const host = { files: yield* FileSystem.FileSystem, path: yield* Path.Path }
    const platform = yield* Effect.context<Platform>()
    const shared = yield* sharedWork.make<Model.Image, DockerError, Progress>()

    const lookUp = (reference: string) =>
      docker.images
        .inspect(reference)
        .pipe(Effect.catchReason("DockerError", "ImageNotFound", () => Effect.succeed(undefined)))

    const checkPlatform = (source: Source, image: Model.Image) =>
      Effect.gen(function* () {
        if (source.platform === undefined) {
          const { Arch, Os } = yield* docker.version
          if (fits(image, `${Os}/${Arch}`)) return image
          return yield* wrongPlatform(source, image, `${Os}/${Arch}, which is what the engine runs on,`)
        }
        return fits(image, source.platform) ? image : yield* wrongPlatform(source, image)
      })

    type Publish = (progress: Progress) => Effect.Effect<void>

    const pull = (source: Extract<Source, { _tag: "Reference" }>, publish: Publish) =>
      Effect.gen(function* () {
        const { reference } = source
        const registry = imageReference.registryOf(reference)
        const credentials = source.credentials ?? (yield* Effect.provide(DockerAuth.find(registry), platform))
        yield* docker.images
          .pull(reference, { platform: source.platform, credentials })
          .pipe(Stream.runForEach((line) => publish(progressOf(reference, "pull", line))))
        return yield* docker.images.inspect(reference)
      })

    const fromReference = (source: Extract<Source, { _tag: "Reference" }>, publish: Publish) =>
      Effect.gen(function* () {
        const { pull: policy = "missing", reference } = source
        const found = policy === "always" && !imageReference.isId(reference) ? undefined : yield* lookUp(reference)
        if (found !== undefined && (fits(found, source.platform) || policy === "never")) return found
        if (policy === "never" || imageReference.isId(reference)) {
          const description = "it is not on the engine, and is not to be pulled"
          return yield* new DockerError({ reason: new ImageNotFound({ image: reference, description }) })
        }
        // There is one for another platform: its registry may have more of them, or not be there at all.
        if (found !== undefined) {
          return yield* pull(source, publish).pipe(
            Effect.catchReasons("DockerError", {
              ImageNotFound: () => wrongPlatform(source, found),
              RegistryAuth: () => wrongPlatform(source, found)
            })
          )
        }
        return yield* pull(source, publish)
      })

    const build = (source: Extract<Source, { _tag: "Build" }>, publish: Publish) =>
      Effect.gen(function* () {
        const { directory, dockerfile, text } = source
        const image = nameOf(source)
        if (directory === undefined && text === undefined) {
          const description = "neither a directory nor the text of a Dockerfile is given"
          return yield* new DockerError({
            reason: new BuildFailed({ image, step: "the build context", description, output: "" })
          })
        }
        let id: string | undefined
        const context = buildContext.make(host, { directory, text, dockerfile, image })
        yield* docker.images
          .build({
            context,
            dockerfile: text === undefined ? dockerfile : buildContext.dockerfileOfText,
            tag: source.tag,
            arguments: source.arguments,
            labels: source.labels,
            target: source.target,
            platform: source.platform,
            network: source.network
          })
          .pipe(
            Stream.runForEach((event) => {
              if (event._tag === "Progress") return publish(progressOf(image, "build", event.progress))
              id = event.id
              return Effect.void
            })
          )
        return id === undefined ? yield* nothingCame(image) : yield* docker.images.inspect(id)
      })

    const importArchive = (source: Extract<Source, { _tag: "Import" }>, publish: Publish) =>
      Effect.gen(function* () {
        const { archive, changes, tag } = source
        const found = yield* lookUp(tag)
        if (found !== undefined) return found
        yield* publish(progressOf(tag, "import", { status: `Importing ${archive}` }))
        const bytes = host.files.stream(archive).pipe(
          Stream.mapError(
            (error) =>
              new DockerError({
                reason: new BuildFailed({ image: tag, step: "the import", description: error.message, output: "" })
              })
          )
        )
        const id = yield* docker.images.importArchive({ archive: bytes, tag, changes, platform: source.platform })
        return yield* docker.images.inspect(id)
      })

    return DockerImage.of({
      ensure: (source, options = {}) =>
        shared
          .join(
            keyOf(source),
            (publish) =>
              source._tag === "Reference"
                ? fromReference(source, publish)
                : source._tag === "Build"
                  ? build(source, publish)
                  : importArchive(source, publish),
            options.onProgress ?? (() => Effect.void)
          )
          .pipe(Effect.flatMap((image) => checkPlatform(source, image)))
    })
  }
)

/** Credentials are part of it: what one may pull another may not. Redacted ones are told apart by whose they are. */
const keyOf = (source: Source): string =>
  JSON.stringify(
    source._tag === "Reference"
      ? { ...source, credentials: source.credentials?.username ?? source.credentials !== undefined }
      : source
  )

/** `linux/arm64/v8` and what an image says of itself. */
const fits = (image: Model.Image, platform: string | undefined): boolean => {
  if (platform === undefined) return true
  const [os, architecture, variant] = platform.toLowerCase().split("/")
  // Imported ones need not say what they are for.
  if (image.Architecture === "") return os === image.Os.toLowerCase() || image.Os === ""
  return (
    os === image.Os.toLowerCase() &&
    (architecture === undefined || architectureOf(architecture) === architectureOf(image.Architecture)) &&
    // Few images name theirs, and v8 of arm64 is the only one there is.
    (variant === undefined || (image.Variant ?? "") === "" || image.Variant === variant)
  )
}

const architectures: { readonly [alias: string]: string } = { x86_64: "amd64", aarch64: "arm64", i386: "386" }

const architectureOf = (name: string): string => architectures[name.toLowerCase()] ?? name.toLowerCase()

const wrongPlatform = (
  source: Source,
  { Architecture, Os, Variant }: Model.Image,
  wanted: string = source.platform ?? ""
) => {
  const found = [Os, Architecture, ...(Variant === undefined || Variant === null || Variant === "" ? [] : [Variant])]
  const reason = new WrongPlatform({
    image: nameOf(source),
    wanted,
    found: found.join("/")
  })
  return Effect.fail(new DockerError({ reason }))
}

const nothingCame = (image: string) =>
  Effect.fail(
    new DockerError({
      reason: new MalformedResponse({ operation: `the build of image ${image}`, description: "it gave no image" })
    })
  )

const progressOf = (
  image: string,
  phase: Progress["phase"],
  line: Pick<Model.Progress, "id" | "progressDetail" | "status" | "stream">
): Progress => ({
  image,
  phase,
  part: line.id ?? undefined,
  text: (line.status ?? line.stream ?? "").trimEnd(),
  current: line.progressDetail?.current ?? undefined,
  total: line.progressDetail?.total ?? undefined
})
