/** Images of an engine. */
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Credentials } from "../../DockerAuth.ts"
import { BuildFailed, DockerError, InvalidRequest, MalformedResponse, type Reason } from "../../DockerError.ts"
import * as Model from "../../DockerModel.ts"
import * as classify from "./classify.ts"
import type { EngineHttp, Request } from "./engineHttp.ts"
import * as imageReference from "./imageReference.ts"
import { type Labels, labelFilter } from "./labels.ts"

export interface BuildOptions {
  /** The context, with the Dockerfile in it. */
  readonly context: Stream.Stream<Uint8Array, DockerError>
  /** Where in the context it is. Default: Dockerfile. */
  readonly dockerfile?: string | undefined
  readonly tag?: string | undefined
  readonly arguments?: { readonly [name: string]: string } | undefined
  readonly labels?: Labels | undefined
  /** The stage to stop at. Default: the last. */
  readonly target?: string | undefined
  readonly platform?: string | undefined
  /** The network of its steps. Default: the engine's. */
  readonly network?: string | undefined
  /** Whether to do every step again. Default: false. */
  readonly noCache?: boolean | undefined
}

/** What has happened so far, and in the end the id of the image. */
export type Building =
  | { readonly _tag: "Progress"; readonly progress: Model.Progress }
  | { readonly _tag: "Done"; readonly id: string }

export interface Images {
  readonly inspect: (image: string) => Effect.Effect<Model.Image, DockerError>
  readonly list: (options: {
    /** Each `name` or `name=value`; an image must have all. */
    readonly labels?: ReadonlyArray<string> | undefined
  }) => Effect.Effect<ReadonlyArray<Model.ImageSummary>, DockerError>
  /** The progress of a pull, which has succeeded when the stream ends. */
  readonly pull: (
    image: string,
    options?: { readonly platform?: string | undefined; readonly credentials?: Credentials | undefined }
  ) => Stream.Stream<Model.Progress, DockerError>
  /** The progress of a build; the last element is its result. */
  readonly build: (options: BuildOptions) => Stream.Stream<Building, DockerError>
  /** Makes an image of a root file system; gives its id. */
  readonly importArchive: (options: {
    readonly archive: Stream.Stream<Uint8Array, DockerError>
    readonly tag?: string | undefined
    readonly platform?: string | undefined
    /** As in a Dockerfile: `LABEL a=b`, `ENV PATH=/bin`, … */
    readonly changes?: ReadonlyArray<string> | undefined
  }) => Effect.Effect<string, DockerError>
  readonly tag: (image: string, tag: string) => Effect.Effect<void, DockerError>
  /** `WrongState` when containers use it and not forced. */
  readonly remove: (
    image: string,
    options?: { readonly force?: boolean | undefined }
  ) => Effect.Effect<void, DockerError>
}

export const make = (http: EngineHttp): Images => {
  const about = (what: string, image: string) => ({
    operation: `${what} image ${image}`,
    subject: `image ${image}`,
    image
  })

  /** The parts of a name, of an image that exists or is to exist. */
  const refer = (image: string) => {
    const reference = imageReference.parse(image)
    return reference === undefined
      ? Effect.fail(
          new DockerError({
            reason: new InvalidRequest({
              operation: `the image ${JSON.stringify(image)}`,
              description: "expected a name such as node:24, ghcr.io/owner/name or name@sha256:…"
            })
          })
        )
      : Effect.succeed(reference)
  }

  const progressOf = (request: Request) =>
    http.lines({ ...request, patient: true }, Model.Progress).pipe(
      Stream.mapEffect((line) => {
        const message = line.errorDetail?.message ?? line.error
        return message === undefined || message === null
          ? Effect.succeed(line)
          : Effect.fail(
              new DockerError({
                reason: classify.refusal({ status: line.errorDetail?.code ?? 500, message }, request)
              })
            )
      })
    )

  return {
    inspect: (image) =>
      http.json({ ...about("a look at", image), method: "GET", path: ["images", image, "json"] }, Model.Image),
    list: ({ labels }) =>
      http.json(
        {
          operation: "the list of images",
          subject: "list of images",
          method: "GET",
          path: ["images", "json"],
          query: { filters: labelFilter(labels ?? []) }
        },
        Schema.Array(Model.ImageSummary)
      ),
    pull: (image, options = {}) =>
      Stream.unwrap(
        Effect.map(refer(image), ({ digest, name, tag }) =>
          progressOf({
            ...about("the pull of", image),
            platform: options.platform,
            method: "POST",
            path: ["images", "create"],
            query: { fromImage: name, tag: digest ?? tag, platform: options.platform },
            headers: options.credentials === undefined ? {} : { "x-registry-auth": authHeader(options.credentials) }
          })
        )
      ),
    build: (options) => {
      const name = options.tag ?? "without a name"
      const request: Request = {
        operation: `the build of image ${name}`,
        subject: `image ${name}`,
        platform: options.platform,
        method: "POST",
        path: ["build"],
        query: {
          dockerfile: options.dockerfile,
          t: options.tag,
          buildargs: options.arguments,
          labels: options.labels,
          target: options.target,
          platform: options.platform,
          networkmode: options.network,
          nocache: options.noCache,
          rm: true,
          forcerm: true
        },
        body: { tar: options.context },
        patient: true
      }
      return building(http.lines(request, Model.Progress), name, request)
    },
    importArchive: ({ archive, changes, platform, tag }) =>
      Effect.gen(function* () {
        const reference = tag === undefined ? undefined : yield* refer(tag)
        const name = tag ?? "without a name"
        const request: Request = {
          operation: `the import of image ${name}`,
          subject: `image ${name}`,
          method: "POST",
          path: ["images", "create"],
          query: { fromSrc: "-", repo: reference?.name, tag: reference?.tag, platform, changes },
          body: { tar: archive }
        }
        // The last line is the id.
        const last = yield* Stream.runLast(progressOf(request))
        const id = Option.isSome(last) ? last.value.status?.trim() : undefined
        return id !== undefined && imageReference.isId(id) ? imageReference.fullId(id) : yield* noId(request)
      }),
    tag: (image, tag) =>
      Effect.flatMap(refer(tag), (reference) =>
        http.unit({
          ...about(`the name ${tag} for`, image),
          method: "POST",
          path: ["images", image, "tag"],
          query: { repo: reference.name, tag: reference.tag }
        })
      ),
    remove: (image, options = {}) =>
      http.unit({
        ...about("the removal of", image),
        method: "DELETE",
        path: ["images", image],
        query: { force: options.force ?? false }
      })
  }
}

const failed = (reason: Reason) => Effect.fail(new DockerError({ reason }))

const noId = ({ operation }: Request) =>
  failed(new MalformedResponse({ operation, description: "it names no image in the end" }))

const isResult = Schema.is(Model.BuildResult)

/** How much of what a step printed is kept. */
const longestOutput = 65_536

/** Follows a build: which step it is at, what that printed, and what comes out. */
const building = (
  lines: Stream.Stream<Model.Progress, DockerError>,
  image: string,
  request: Request
): Stream.Stream<Building, DockerError> =>
  Stream.suspend(() => {
    let step = "the beginning"
    let output = ""
    let id: string | undefined
    const progress = Stream.mapEffect(lines, (line): Effect.Effect<Building, DockerError> => {
      const text = line.stream ?? ""
      const begun = /^step \d+\/\d+ ?: .*/i.exec(text)?.[0]
      if (begun !== undefined) {
        step = begun
        output = ""
      } else {
        output = (output + text).slice(-longestOutput)
      }
      if (isResult(line.aux)) id = imageReference.fullId(line.aux.ID)
      const description = line.errorDetail?.message ?? line.error
      if (Predicate.isNullish(description)) return Effect.succeed({ _tag: "Progress", progress: line })
      const reason = classify.refusal({ status: line.errorDetail?.code ?? 500, message: description }, request)
      return failed(reason._tag === "DiskFull" ? reason : new BuildFailed({ image, step, description, output }))
    })
    const done = Effect.suspend((): Effect.Effect<Building, DockerError> =>
      id === undefined ? noId(request) : Effect.succeed({ _tag: "Done", id })
    )
    return Stream.concat(progress, Stream.fromEffect(done))
  }).pipe(
    // The Dockerfile itself is refused before anything is built.
    Stream.catchReason("DockerError", "InvalidRequest", ({ description }) =>
      Stream.fromEffect(failed(new BuildFailed({ image, step: "the Dockerfile", description, output: "" })))
    )
  )

const authHeader = ({ identityToken, password, registry, username }: Credentials): string =>
  Base64Url.encodePadded(
    JSON.stringify({
      username: username ?? "",
      password: password === undefined ? "" : Redacted.value(password),
      identitytoken: identityToken === undefined ? undefined : Redacted.value(identityToken),
      serveraddress: registry
    })
  )
