/** Containers of an engine. */
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import type * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { DockerError, MalformedResponse } from "../../DockerError.ts"
import type { Connection } from "../byteSocket.ts"
import { eachPulled } from "../eachPulled.ts"
import * as Model from "../../DockerModel.ts"
import * as DockerStream from "../../DockerStream.ts"
import type { EngineHttp } from "./engineHttp.ts"
import * as imageReference from "./imageReference.ts"
import { type Labels, labelFilter } from "./labels.ts"

/** How the machine sees a container; the names are the engine's. What is left out is the engine's default. */
export interface HostConfig {
  readonly AutoRemove?: boolean | undefined
  /** none, bridge, host, a network's name, or `container:<id>`. */
  readonly NetworkMode?: string | undefined
  readonly ReadonlyRootfs?: boolean | undefined
  readonly Privileged?: boolean | undefined
  /** Engines fill these up with an init process of their own. */
  readonly Init?: boolean | undefined
  readonly CapAdd?: ReadonlyArray<string> | undefined
  readonly CapDrop?: ReadonlyArray<string> | undefined
  readonly SecurityOpt?: ReadonlyArray<string> | undefined
  readonly Runtime?: string | undefined
  /** Bytes. */
  readonly Memory?: number | undefined
  /** Bytes, memory included; the same as `Memory` is no swap. */
  readonly MemorySwap?: number | undefined
  readonly NanoCpus?: number | undefined
  readonly CpuShares?: number | undefined
  readonly CpusetCpus?: string | undefined
  readonly PidsLimit?: number | undefined
  readonly OomScoreAdj?: number | undefined
  readonly ShmSize?: number | undefined
  readonly Binds?: ReadonlyArray<string> | undefined
  readonly Mounts?: ReadonlyArray<Mount> | undefined
  /** Path → options of the mount. */
  readonly Tmpfs?: { readonly [path: string]: string } | undefined
  readonly StorageOpt?: { readonly [name: string]: string } | undefined
  readonly Sysctls?: { readonly [name: string]: string } | undefined
  readonly Ulimits?: ReadonlyArray<{ readonly Name: string; readonly Soft: number; readonly Hard: number }> | undefined
  readonly ExtraHosts?: ReadonlyArray<string> | undefined
  readonly Dns?: ReadonlyArray<string> | undefined
  readonly LogConfig?:
    | { readonly Type: string; readonly Config?: { readonly [name: string]: string } | undefined }
    | undefined
  readonly CgroupnsMode?: "host" | "private" | undefined
  readonly IpcMode?: string | undefined
  readonly UsernsMode?: string | undefined
  readonly MaskedPaths?: ReadonlyArray<string> | undefined
  readonly ReadonlyPaths?: ReadonlyArray<string> | undefined
  readonly GroupAdd?: ReadonlyArray<string> | undefined
}

export interface Mount {
  readonly Type: "bind" | "volume" | "tmpfs"
  readonly Source?: string | undefined
  readonly Target: string
  readonly ReadOnly?: boolean | undefined
  readonly BindOptions?: { readonly Propagation?: string | undefined } | undefined
  readonly VolumeOptions?: { readonly NoCopy?: boolean | undefined; readonly Labels?: Labels | undefined } | undefined
  readonly TmpfsOptions?: { readonly SizeBytes?: number | undefined; readonly Mode?: number | undefined } | undefined
}

/** A container to be; the names are the engine's. */
export interface ContainerSpec {
  readonly Image: string
  readonly Cmd?: ReadonlyArray<string> | undefined
  readonly Entrypoint?: ReadonlyArray<string> | undefined
  readonly Env?: ReadonlyArray<string> | undefined
  readonly User?: string | undefined
  readonly WorkingDir?: string | undefined
  readonly Hostname?: string | undefined
  readonly Labels?: Labels | undefined
  readonly Tty?: boolean | undefined
  readonly OpenStdin?: boolean | undefined
  /** Standard input ends when its first client goes. */
  readonly StdinOnce?: boolean | undefined
  readonly AttachStdin?: boolean | undefined
  readonly AttachStdout?: boolean | undefined
  readonly AttachStderr?: boolean | undefined
  readonly NetworkDisabled?: boolean | undefined
  readonly StopSignal?: string | undefined
  readonly Healthcheck?: { readonly Test: ReadonlyArray<string> } | undefined
  readonly HostConfig?: HostConfig | undefined
}

export interface NamedSpec {
  readonly name: string
  readonly spec: ContainerSpec
  readonly platform?: string | undefined
}

export interface Attachment extends Omit<Connection<DockerError>, "receive"> {
  /** What comes, taken apart; for containers without a terminal, and instead of `pull`. */
  readonly pieces: Pull.Pull<Arr.NonEmptyReadonlyArray<DockerStream.Piece>, DockerError>
  /**
   * Instead of `pieces`: hands each over as soon as it comes, and only lends its bytes. Fails with what `take` gives back,
   * and is done when the other side has closed.
   */
  readonly receive: <S>(take: (piece: DockerStream.Piece) => S | undefined) => Pull.Pull<never, DockerError | S>
}

export interface Containers {
  readonly create: (container: NamedSpec) => Effect.Effect<Model.Created, DockerError>
  /**
   * The same, removed with the scope, by force and with its anonymous volumes, and seen to have gone. What cannot be removed
   * within ten seconds is a defect of the finalizer (F15, F23). The creation itself cannot be interrupted.
   */
  readonly scoped: (container: NamedSpec) => Effect.Effect<Model.Created, DockerError, Scope.Scope>
  /**
   * The standard streams of a container, which need not run yet. With `StdinOnce` the end of the scope, or of this
   * process, is the end of its input.
   */
  readonly attach: (container: string) => Effect.Effect<Attachment, DockerError, Scope.Scope>
  readonly start: (container: string) => Effect.Effect<void, DockerError>
  readonly inspect: (container: string) => Effect.Effect<Model.Container, DockerError>
  readonly list: (options: {
    /** Each `name` or `name=value`; a container must have all. */
    readonly labels?: ReadonlyArray<string> | undefined
    /** Whether to include those that do not run. Default: true. */
    readonly all?: boolean | undefined
  }) => Effect.Effect<ReadonlyArray<Model.ContainerSummary>, DockerError>
  /** Default: SIGKILL. */
  readonly kill: (container: string, signal?: string) => Effect.Effect<void, DockerError>
  /** Terminates it politely, and after so many seconds for good. */
  readonly stop: (container: string, seconds: number) => Effect.Effect<void, DockerError>
  readonly pause: (container: string) => Effect.Effect<void, DockerError>
  readonly unpause: (container: string) => Effect.Effect<void, DockerError>
  /** Also when it runs, with its anonymous volumes. Succeeds when there is none, or when it is being removed. */
  readonly remove: (container: string) => Effect.Effect<void, DockerError>
  /** Succeeds when the condition holds, which may never happen. */
  readonly wait: (
    container: string,
    condition?: "not-running" | "next-exit" | "removed"
  ) => Effect.Effect<Model.Waited, DockerError>
  /** About one a second. */
  readonly stats: (container: string) => Stream.Stream<Model.Stats, DockerError>
  readonly logs: (
    container: string,
    options?: { readonly follow?: boolean | undefined; readonly tail?: number | undefined }
  ) => Stream.Stream<DockerStream.Piece, DockerError>
  /** Unpacks a tar archive into a directory that exists. */
  readonly putArchive: (
    container: string,
    path: string,
    archive: Stream.Stream<Uint8Array, DockerError>
  ) => Effect.Effect<void, DockerError>
  /** A file or directory as a tar archive. */
  readonly getArchive: (container: string, path: string) => Stream.Stream<Uint8Array, DockerError>
  readonly statPath: (container: string, path: string) => Effect.Effect<Model.PathStat, DockerError>
  /** Makes an image of what the container has written; gives its id. */
  readonly commit: (
    container: string,
    options?: {
      readonly tag?: string | undefined
      readonly labels?: Labels | undefined
      /** Whether processes inside stand still meanwhile. Default: true. */
      readonly pause?: boolean | undefined
      /** As in a Dockerfile: `WORKDIR /work`, … */
      readonly changes?: ReadonlyArray<string> | undefined
    }
  ) => Effect.Effect<string, DockerError>
}

/** A container that is being removed goes within milliseconds, and when its mounts are busy within seconds (F15). */
const removal = Schedule.min([Schedule.exponential("5 millis"), Schedule.spaced("250 millis")])
const removalLimit = "10 seconds"

const fromEngine = Schema.decodeUnknownEffect(Schema.fromJsonString(Model.PathStat))

export const make = (http: EngineHttp): Containers => {
  const about = (what: string, container: string) => ({
    operation: `${what} container ${container}`,
    subject: `container ${container}`
  })

  const act = (what: string, container: string, path: string, query?: { readonly [name: string]: string | number }) =>
    http.unit({
      ...about(what, container),
      method: "POST",
      path: ["containers", container, path],
      query,
      // It is as asked for already.
      accept: [304],
      patient: path === "stop"
    })

  const create: Containers["create"] = ({ name, platform, spec }) =>
    http.json(
      {
        ...about("the creation of", name),
        image: spec.Image,
        name,
        platform,
        method: "POST",
        path: ["containers", "create"],
        query: { name, platform },
        body: { json: spec }
      },
      Model.Created
    )

  const remove: Containers["remove"] = (container) =>
    http
      .unit({
        ...about("the removal of", container),
        method: "DELETE",
        path: ["containers", container],
        query: { force: true, v: true },
        accept: [404]
      })
      .pipe(Effect.catchReason("DockerError", "WrongState", () => Effect.void))

  const inspect: Containers["inspect"] = (container) =>
    http.json(
      { ...about("a look at", container), method: "GET", path: ["containers", container, "json"] },
      Model.Container
    )

  /** Removes a container, and sees that it has gone; what stays is a leak, which somebody has to hear of. */
  const removeSurely = (container: string) =>
    // It can be "being removed" by itself; then the engine is still at it.
    Effect.as(Effect.andThen(remove(container), inspect(container)), false).pipe(
      Effect.catch(({ reason }) => Effect.succeed(reason._tag === "NotFound")),
      Effect.repeat({ schedule: removal, until: (gone) => gone }),
      Effect.timeoutOption(removalLimit),
      Effect.flatMap((gone) =>
        gone._tag === "Some" ? Effect.void : Effect.die(new Error(`container ${container} cannot be removed`))
      )
    )

  return {
    create,
    remove,
    inspect,
    scoped: (container) =>
      Effect.acquireRelease(
        create(container).pipe(
          // It may have been created nevertheless, and nobody else will have its name.
          Effect.tapError(({ reason }) =>
            reason._tag === "TimedOut" || reason._tag === "ConnectionLost" || reason._tag === "MalformedResponse"
              ? Effect.ignore(remove(container.name))
              : Effect.void
          )
        ),
        ({ Id }) => removeSurely(Id)
      ),
    attach: (container) => {
      const call = about("the attachment to", container)
      return Effect.map(
        http.hijack({
          ...call,
          method: "POST",
          path: ["containers", container, "attach"],
          query: { stream: true, stdin: true, stdout: true, stderr: true }
        }),
        ({ receive, ...connection }) => {
          const pieces = DockerStream.demultiplexPull(connection.pull, call.operation)
          return {
            ...connection,
            pieces,
            receive: (take) =>
              receive === undefined
                ? eachPulled(pieces, take)
                : DockerStream.demultiplexReceive(receive, call.operation, take)
          }
        }
      )
    },
    start: (container) => act("the start of", container, "start"),
    list: ({ all, labels }) =>
      http.json(
        {
          operation: "the list of containers",
          subject: "list of containers",
          method: "GET",
          path: ["containers", "json"],
          query: { all: all ?? true, filters: labelFilter(labels ?? []) }
        },
        Schema.Array(Model.ContainerSummary)
      ),
    kill: (container, signal = "SIGKILL") => act(`${signal} to`, container, "kill", { signal }),
    stop: (container, seconds) => act("the stop of", container, "stop", { t: seconds }),
    pause: (container) => act("the pause of", container, "pause"),
    unpause: (container) => act("the end of the pause of", container, "unpause"),
    wait: (container, condition = "not-running") =>
      http.json(
        {
          ...about("a wait for", container),
          method: "POST",
          path: ["containers", container, "wait"],
          query: { condition },
          patient: true
        },
        Model.Waited
      ),
    stats: (container) =>
      http.lines(
        {
          ...about("the statistics of", container),
          method: "GET",
          path: ["containers", container, "stats"],
          query: { stream: true },
          patient: true
        },
        Model.Stats
      ),
    logs: (container, options = {}) => {
      const call = about("the log of", container)
      return http
        .bytes({
          ...call,
          method: "GET",
          path: ["containers", container, "logs"],
          query: { stdout: true, stderr: true, follow: options.follow ?? false, tail: options.tail },
          patient: true
        })
        .pipe(DockerStream.demultiplex(call.operation))
    },
    putArchive: (container, path, archive) =>
      http.unit({
        ...about("an upload into", container),
        method: "PUT",
        path: ["containers", container, "archive"],
        query: { path },
        body: { tar: archive },
        patient: true
      }),
    getArchive: (container, path) =>
      http.bytes({
        ...about("a download from", container),
        subject: `${path} in container ${container}`,
        method: "GET",
        path: ["containers", container, "archive"],
        query: { path },
        patient: true
      }),
    statPath: (container, path) => {
      const call = { ...about("a look into", container), subject: `${path} in container ${container}` }
      return Effect.gen(function* () {
        const headers = yield* http.headers({
          ...call,
          method: "HEAD",
          path: ["containers", container, "archive"],
          query: { path }
        })
        const json = Result.getOrElse(
          Base64.decodeString(headers["x-docker-container-path-stat"] ?? ""),
          () => "no base64"
        )
        return yield* Effect.mapError(
          fromEngine(json),
          ({ message }) =>
            new DockerError({ reason: new MalformedResponse({ operation: call.operation, description: message }) })
        )
      })
    },
    commit: (container, options = {}) => {
      const reference = options.tag === undefined ? undefined : imageReference.parse(options.tag)
      return Effect.map(
        http.json(
          {
            ...about("a snapshot of", container),
            method: "POST",
            path: ["commit"],
            query: {
              container,
              repo: reference?.name ?? options.tag,
              tag: reference?.tag,
              pause: options.pause ?? true,
              changes: options.changes
            },
            body: { json: { Labels: options.labels ?? {} } },
            patient: true
          },
          Model.Committed
        ),
        ({ Id }) => imageReference.fullId(Id)
      )
    }
  }
}
