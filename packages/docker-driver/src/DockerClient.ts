/**
 * An engine: those parts of its API that sandboxes need. Docker 19.03 or newer, over any connection.
 *
 * Nothing is repeated by itself (F27). Everything that is opened belongs to a scope; what is only created does not, so
 * label and name it, and remove it in a finalizer. A request that is interrupted may have been carried out.
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Path from "effect/Path"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as DockerConnection from "./DockerConnection.ts"
import type * as DockerError from "./DockerError.ts"
import * as Model from "./DockerModel.ts"
import * as containers from "./internal/engine/containers.ts"
import * as engineHttp from "./internal/engine/engineHttp.ts"
import * as images from "./internal/engine/images.ts"
import * as networks from "./internal/engine/networks.ts"
import * as transport from "./internal/engine/transport.ts"
import * as volumes from "./internal/engine/volumes.ts"

export type { Attachment, Containers, ContainerSpec, HostConfig, Mount } from "./internal/engine/containers.ts"
export type { BuildOptions, Images } from "./internal/engine/images.ts"
export type { Networks } from "./internal/engine/networks.ts"
export type { Volumes } from "./internal/engine/volumes.ts"

export interface Options extends DockerConnection.Options {
  /** How long the engine may take for an answer to what is quick. Default: 1 minute. */
  readonly timeout?: Duration.Input | undefined
}

export interface EventFilter {
  /** Labels that the subject must have, each `name` or `name=value`. Default: any. */
  readonly labels?: ReadonlyArray<string> | undefined
  /** container, network, volume, image. Default: all. */
  readonly types?: ReadonlyArray<string> | undefined
  /** start, die, oom, destroy, … Default: all. */
  readonly actions?: ReadonlyArray<string> | undefined
  /** From when on, in seconds since 1970. Default: now. */
  readonly since?: number | undefined
}

export class DockerClient extends Context.Service<
  DockerClient,
  {
    /** Where the engine is, and who said so. */
    readonly target: DockerConnection.Target
    /** Succeeds when the engine answers, with the version of the API that is spoken. */
    readonly ping: Effect.Effect<string, DockerError.DockerError>
    readonly version: Effect.Effect<Model.Version, DockerError.DockerError>
    readonly info: Effect.Effect<Model.Info, DockerError.DockerError>
    /** What happens on the engine, until the connection breaks. */
    readonly events: (filter?: EventFilter) => Stream.Stream<Model.Event, DockerError.DockerError>
    readonly images: images.Images
    readonly containers: containers.Containers
    readonly volumes: volumes.Volumes
    readonly networks: networks.Networks
  }
>()("@effect-sandbox/docker-driver/DockerClient") {}

type Platform = FileSystem.FileSystem | Path.Path | ChildProcessSpawner

/** The client. Fails when settings make no sense; that an engine answers is only found out by asking it. */
export const layer = (options: Options = {}): Layer.Layer<DockerClient, DockerError.DockerError, Platform> =>
  Layer.effect(DockerClient, make(options))

/** `SANDBOX_DOCKER_HOST`, `_CONTEXT` and `_TIMEOUT`; what is not set is found as the docker command finds it. */
export const config: Config.Config<Options> = Config.all({
  connection: Config.option(Config.String("HOST")),
  context: Config.option(Config.String("CONTEXT")),
  timeout: Config.option(Config.Duration("TIMEOUT"))
}).pipe(
  Config.nested("SANDBOX_DOCKER"),
  Config.map((settings) => ({
    connection: Option.getOrUndefined(settings.connection),
    context: Option.getOrUndefined(settings.context),
    timeout: Option.getOrUndefined(settings.timeout)
  }))
)

/** The same with settings from `Config`, which go before those in the code. */
export const layerConfig = (
  settings: Config.Config<Options> = config,
  options: Options = {}
): Layer.Layer<DockerClient, Config.ConfigError | DockerError.DockerError, Platform> =>
  Layer.unwrap(
    Effect.map(settings, (found) => {
      const given = Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined))
      return layer({ ...options, ...given })
    })
  )

/** The same as `layer`, as a scoped effect. */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<DockerClient["Service"], DockerError.DockerError, Platform | Scope.Scope> {
  const target = yield* DockerConnection.resolve(options)
  const way = yield* transport.make(target)
  const timeout = Duration.fromInputUnsafe(options.timeout ?? "1 minute")
  const http = engineHttp.make(way, target, { timeout })
  const about = (operation: string) => ({ operation, subject: "the engine" })
  return DockerClient.of({
    target,
    ping: Effect.flatMap(http.version, (version) =>
      Effect.as(http.unit({ ...about("a ping"), method: "GET", path: ["_ping"] }), version)
    ),
    version: http.json({ ...about("a question for its version"), method: "GET", path: ["version"] }, Model.Version),
    info: http.json({ ...about("a question for its settings"), method: "GET", path: ["info"] }, Model.Info),
    events: (filter = {}) =>
      http.lines(
        {
          ...about("the stream of events"),
          method: "GET",
          path: ["events"],
          query: {
            since: filter.since,
            filters: { label: filter.labels ?? [], type: filter.types ?? [], event: filter.actions ?? [] }
          },
          // The answer begins with the first event.
          patient: true
        },
        Model.Event
      ),
    images: images.make(http),
    containers: containers.make(http),
    volumes: volumes.make(http),
    networks: networks.make(http)
  })
})
