/**
 * Sandboxes that are containers of a Docker engine, each with our agent as its first process: commands, files and ports
 * go over one stream to it. The container's input is a lease: when this process dies, however it dies, its containers are
 * gone within two seconds.
 *
 * An image's id is the engine's name of it, unless `images` says otherwise; what the engine does not have is pulled.
 *
 * ```ts
 * import { NodeRuntime, NodeServices } from "@effect/platform-node"
 * import { Environment, Sandbox } from "@effect-sandbox/core"
 * import { DockerDriver } from "@effect-sandbox/docker-driver"
 * import { Effect, Layer } from "effect"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["node:24"] }) {}
 *
 * const program = Lab.withSession({}, Effect.gen(function* () {
 *   const sandbox = yield* Sandbox
 *   return (yield* sandbox.exec("node", ["--version"])).stdout
 * }))
 *
 * program.pipe(
 *   Effect.tap(Effect.log),
 *   Effect.provide(Lab.layer.pipe(Layer.provide(DockerDriver.layer()), Layer.provide(NodeServices.layer))),
 *   NodeRuntime.runMain
 * )
 * ```
 */
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as OptionCheck from "@effect-sandbox/core/Options"
import { CallLifetime, SandboxDriver, type SandboxInstance, type SandboxSpec } from "@effect-sandbox/core/SandboxDriver"
import { type InvalidConfigurationError, isStateError, SandboxStateError } from "@effect-sandbox/core/SandboxError"
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as ContainerOptions from "./ContainerOptions.ts"
import * as DockerClient from "./DockerClient.ts"
import { DockerError, WrongPlatform } from "./DockerError.ts"
import type * as Model from "./DockerModel.ts"
import * as DockerImage from "./DockerImage.ts"
import { DockerSandbox } from "./DockerSandbox.ts"
import * as connect from "./internal/agent/connect.ts"
import * as hostFiles from "./internal/agent/hostFiles.ts"
import { CommandTerminal } from "./internal/agent/spawner.ts"
import * as agentVolume from "./internal/agentVolume.ts"
import * as container from "./internal/container.ts"
import type { ImageFacts } from "./internal/containerBody.ts"
import * as containerBody from "./internal/containerBody.ts"
import * as deaths from "./internal/deaths.ts"
import * as directSockets from "./internal/directSockets.ts"
import * as egressProxy from "./internal/egressProxy.ts"
import type { Connection } from "./internal/agent/connection.ts"
import * as places from "./internal/places.ts"
import * as ownership from "./internal/owner.ts"
import * as relay from "./internal/relay.ts"
import * as snapshot from "./internal/snapshot.ts"
import * as stats from "./internal/stats.ts"
import * as sweep from "./internal/sweep.ts"

/** How an image's sandboxes are made, and where the image comes from. */
export interface ImageOptions extends ContainerOptions.ContainerOptions {
  /** Default: the engine's image of that name, pulled when it is missing. */
  readonly source?: DockerImage.Source | undefined
}

export interface Options {
  /** Where the engine is. Default: where the docker command finds it. */
  readonly engine?: DockerClient.Options | undefined
  /** For every image, before what `images` says. */
  readonly defaults?: ContainerOptions.ContainerOptions | undefined
  /** By image id or pattern: an exact id first, then the first pattern that matches the whole id. */
  readonly images?: { readonly [pattern: string]: ImageOptions } | undefined
  /** From the polite signal to the final one when a command has to be killed. Default: 2 seconds. */
  readonly forceKillAfter?: Duration.Input | undefined
  /**
   * How this process and its containers speak with each other. `auto`: over a socket of their own where the engine is on
   * this machine and shares its files, which is found out by itself, else over the engine's attached stream; `attached`:
   * always over that. Default: auto.
   */
  readonly transport?: "auto" | "attached" | undefined
  /**
   * Whether to remove, at the first use of the engine, what dead processes of ours have left on it, and in this machine's
   * directory for temporary files. Default: true.
   */
  readonly sweep?: boolean | undefined
  /** Is told of pulls, builds and imports. Default: a line is logged when one begins. */
  readonly onProgress?: ((progress: DockerImage.Progress) => Effect.Effect<void>) | undefined
}

const SourceSchema = Schema.Union([
  Schema.TaggedStruct("Reference", {
    reference: Schema.NonEmptyString,
    pull: Schema.optional(Schema.Literals(["missing", "always", "never"])),
    platform: Schema.optional(Schema.NonEmptyString),
    credentials: Schema.optional(Schema.Unknown)
  }),
  Schema.TaggedStruct("Build", {
    directory: Schema.optional(Schema.NonEmptyString),
    dockerfile: Schema.optional(Schema.NonEmptyString),
    text: Schema.optional(Schema.NonEmptyString),
    tag: Schema.optional(Schema.NonEmptyString),
    arguments: Schema.optional(Schema.Record(Schema.String, Schema.String)),
    labels: Schema.optional(Schema.Record(Schema.String, Schema.String)),
    target: Schema.optional(Schema.NonEmptyString),
    platform: Schema.optional(Schema.NonEmptyString),
    network: Schema.optional(Schema.NonEmptyString)
  }),
  Schema.TaggedStruct("Import", {
    archive: Schema.NonEmptyString,
    tag: Schema.NonEmptyString,
    changes: Schema.optional(Schema.Array(Schema.String)),
    platform: Schema.optional(Schema.NonEmptyString)
  })
])

const OptionsSchema = Schema.Struct({
  engine: Schema.optional(Schema.Unknown), // the client checks it
  defaults: Schema.optional(ContainerOptions.ContainerOptions),
  images: Schema.optional(
    Schema.Record(
      OptionCheck.Pattern,
      Schema.Struct({ ...ContainerOptions.ContainerOptions.fields, source: Schema.optional(SourceSchema) })
    )
  ),
  forceKillAfter: Schema.optional(OptionCheck.DurationInput("positive")),
  transport: Schema.optional(Schema.Literals(["auto", "attached"])),
  sweep: Schema.optional(Schema.Boolean),
  onProgress: Schema.optional(Schema.Unknown)
})

const name = "DockerDriver"

type Platform = FileSystem.FileSystem | Path.Path | ChildProcessSpawner

/**
 * The driver. Fails when an option is invalid. That no engine answers is found out when a sandbox is wanted: it is an
 * outage of the image (H3), from which the environment recovers when the engine is there.
 */
export const layer = (
  options: Options = {}
): Layer.Layer<SandboxDriver, InvalidConfigurationError | DockerError, Platform> =>
  Layer.effect(SandboxDriver, make(options)).pipe(
    // Built anew, as that of another driver in the same program asks another engine.
    Layer.provide(Layer.fresh(DockerImage.layer)),
    Layer.provide(DockerClient.layer(options.engine))
  )

/** The same with the engine's place from `Config`: `SANDBOX_DOCKER_HOST`, `_CONTEXT`, `_TIMEOUT`. */
export const layerConfig = (
  settings: Config.Config<DockerClient.Options> = DockerClient.config,
  options: Options = {}
): Layer.Layer<SandboxDriver, Config.ConfigError | InvalidConfigurationError | DockerError, Platform> =>
  Layer.unwrap(
    Effect.map(settings, (found) => {
      const given = Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined))
      return layer({ ...options, engine: { ...options.engine, ...given } })
    })
  )

/** The same as `layer` on a client and images that are there, as a scoped effect. */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<
  SandboxDriver["Service"],
  InvalidConfigurationError,
  DockerClient.DockerClient | DockerImage.DockerImage | FileSystem.FileSystem | Scope.Scope
> {
  yield* OptionCheck.check(name, OptionsSchema, options)
  const docker = yield* DockerClient.DockerClient
  const images = yield* DockerImage.DockerImage
  const files = yield* FileSystem.FileSystem
  const owner = yield* ownership.current(files, process.pid)
  const mayShareFiles = docker.target.connection._tag === "Unix"
  const sockets =
    mayShareFiles && options.transport !== "attached"
      ? yield* directSockets.make({ files, owner, sweep: options.sweep !== false })
      : undefined
  const machine = new Machine({
    docker,
    images,
    files,
    owner,
    options,
    sockets,
    deaths: yield* deaths.make(docker, owner)
  })
  // After every sandbox: what is left was created, and nobody was told.
  yield* Effect.addFinalizer(() =>
    machine.isUsed
      ? sweep.end(docker, owner).pipe(Effect.timeout("10 seconds"), Effect.ignoreCause({ log: "Debug" }))
      : Effect.void
  )
  return SandboxDriver.of({ name: "docker", create: (spec) => machine.create(spec) })
})

interface Parts {
  readonly docker: DockerClient.DockerClient["Service"]
  readonly images: DockerImage.DockerImage["Service"]
  readonly files: FileSystem.FileSystem
  readonly owner: ownership.Owner
  readonly deaths: deaths.Deaths
  /** Undefined where the engine does not share our files for certain, and where they are not wanted. */
  readonly sockets: directSockets.DirectSockets | undefined
  readonly options: Options
}

type Refusal = DockerError | SandboxStateError

/** What is acquired by something that fails is released at once, not with the scope. */
const attempt = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const scope = yield* Scope.fork(yield* Scope.Scope)
      return yield* restore(Scope.provide(effect, scope)).pipe(
        Effect.onExit((exit) => (Exit.isFailure(exit) ? Scope.close(scope, exit) : Effect.void))
      )
    })
  )

/** Whether the engine does not have the directory of that name, of ours, or may not mount it. */
const isMountRefused =
  (name: string | undefined) =>
  (error: Refusal): boolean =>
    error._tag === "DockerError" &&
    [name, places.socketDirectory].some((part) => part !== undefined && error.message.includes(part))

/** Whether the engine could not find the program that a container was to run. */
const isAgentMissing = (error: Refusal): boolean => error._tag === "DockerError" && error.message.includes(places.agent)

const factsOf = (image: Model.Image): ImageFacts => ({
  id: image.Id,
  env: image.Config?.Env ?? [],
  user: image.Config?.User ?? "",
  volumes: Object.keys(image.Config?.Volumes ?? {}),
  labels: image.Config?.Labels ?? {}
})

const portOf = (address: NetAddress.SocketAddress): number => ("port" in address ? address.port : 0)

/** The way out of a sandbox with an allow-list, as long as it lives. */
const serveProxy = Effect.fnUntraced(function* (
  connection: Connection,
  spec: SandboxSpec,
  list: ReadonlyArray<string>
) {
  const listener = yield* connect
    .listen(connection, { port: egressProxy.port })
    .pipe(Effect.provideService(CallLifetime, "sandbox"))
  const onRefused = ({ host, port }: egressProxy.Target) =>
    Effect.logDebug(`Refused ${host}:${port} to sandbox ${spec.sandboxId}`)
  yield* listener
    .run((socket) => Effect.ignore(egressProxy.serve(socket, list, onRefused)))
    .pipe(Effect.ignore, Effect.forkScoped)
})

/** What is done once for all sandboxes, and how each is made. */
class Machine {
  readonly #parts: Parts
  /** Work that is done once is done by one. */
  readonly #alone = Semaphore.makeUnsafe(1)
  #isSwept = false
  /** Kinds of containers whose agents cannot be reached but through the engine. */
  readonly #indirect = new Set<string>()
  readonly #volumes = new Map<agentVolume.Architecture, string>()
  #containers = 0

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Whether the engine was asked for containers. */
  get isUsed(): boolean {
    return this.#containers > 0
  }

  create(spec: SandboxSpec): Effect.Effect<SandboxInstance, SandboxStateError, Scope.Scope> {
    const { sandboxId } = spec
    return this.#create(spec).pipe(
      Effect.mapError((cause) =>
        isStateError(cause) ? cause : new SandboxStateError({ sandboxId, operation: "create", cause })
      )
    )
  }

  #create(
    spec: SandboxSpec
  ): Effect.Effect<SandboxInstance, DockerError | PlatformError | SandboxStateError, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const { deaths, docker, options, owner } = this.#parts
      const { source, ...own } = ContainerOptions.find<ImageOptions>(options.images, spec.image) ?? {}
      const resolved = ContainerOptions.resolve(options.defaults, own)
      const found = yield* this.#image(source ?? { _tag: "Reference", reference: spec.image })
      const image = factsOf(found)
      yield* this.#sweepOnce
      const runBy = Effect.fnUntraced({ self: this }, function* (sockets: directSockets.DirectSockets | undefined) {
        return yield* container.run(docker, deaths, {
          spec,
          sockets,
          name: this.#containerName(),
          owner,
          options: resolved,
          image,
          platform: source?.platform,
          agentVolume: yield* this.#agentVolume(found),
          forceKillAfter: options.forceKillAfter,
          answerLimit: options.engine?.timeout ?? "1 minute"
        })
      })
      const run = this.#offering(resolved, runBy)
      // Somebody may have removed the volume since we looked; nothing has run then.
      const made = yield* Effect.catchIf(run, isAgentMissing, () => {
        this.#volumes.clear()
        return run
      })
      const { id, instance } = made
      if (typeof resolved.network === "object" && "egress" in resolved.network) {
        yield* serveProxy(instance.connection, spec, resolved.network.egress)
      }
      // On the span of the sandbox's creation, when spans are collected.
      yield* Effect.annotateCurrentSpan({
        "container.id": id,
        "container.image.id": image.id,
        "container.image.name": source?._tag === "Reference" ? source.reference : spec.image
      })
      return {
        ...instance,
        reset: resolved.reuse === "keep" ? Effect.void : instance.reset,
        reusable: resolved.reuse !== "recreate",
        isolation: { level: resolved.runtime === "runsc" ? "gvisor" : "container" },
        services: Context.make(DockerSandbox, this.#services(made, resolved, image))
      }
    })
  }

  /** Makes a container whose agent is offered a socket; without, where that turned out to be of no use before. */
  #offering(
    { runtime, seccomp }: ContainerOptions.Resolved,
    run: (sockets: directSockets.DirectSockets | undefined) => Effect.Effect<container.Container, Refusal, Scope.Scope>
  ): Effect.Effect<container.Container, Refusal, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const { sockets } = this.#parts
      // What may decide whether an agent gets at a socket, besides the engine.
      const kind = JSON.stringify([runtime, seccomp])
      if (sockets === undefined || this.#indirect.has(kind)) return yield* run(undefined)
      const name = yield* sockets.name
      const made = yield* Effect.catchIf(attempt(run(sockets)), isMountRefused(name), ({ message }) => {
        this.#indirect.add(kind)
        return Effect.andThen(Effect.logDebug(`The engine does not share our files: ${message}`), run(undefined))
      })
      if (made.socket === "offered") this.#indirect.add(kind)
      return made
    })
  }

  #image(source: DockerImage.Source) {
    const { images, options } = this.#parts
    let isTold = false
    const tellOnce = ({ image, phase }: DockerImage.Progress) =>
      Effect.suspend(() => {
        if (isTold) return Effect.void
        isTold = true
        return Effect.logInfo(`The ${phase} of image ${image} has begun`)
      })
    return images.ensure(source, { onProgress: options.onProgress ?? tellOnce })
  }

  /** A name that nobody else on the engine has. */
  #containerName(): string {
    const [random = ""] = this.#parts.owner.split("/")
    return `effect-sandbox-${random}-${++this.#containers}`
  }

  /** Left-overs are no reason not to make a sandbox. */
  get #sweepOnce(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#isSwept || this.#parts.options.sweep === false) return Effect.void
      this.#isSwept = true
      return sweep.run(this.#parts.docker, this.#parts.files).pipe(
        Effect.tap((removed) =>
          removed.length === 0
            ? Effect.void
            : Effect.logInfo(`Removed ${removed.length} containers that dead processes had left on the engine`)
        ),
        Effect.onExit((exit) =>
          Effect.sync(() => {
            this.#isSwept = exit._tag === "Success"
          })
        ),
        Effect.ignore({ log: "Warn" })
      )
    })
  }

  #agentVolume(image: { readonly Id: string; readonly Architecture: string; readonly Os: string }) {
    const { docker, files, owner } = this.#parts
    const architecture = image.Architecture
    if (image.Os !== "linux" || !agentVolume.isArchitecture(architecture)) {
      const found = `${image.Os}/${architecture}`
      const wanted = agentVolume.architectures.map((known) => `linux/${known}`).join(" or ")
      return Effect.fail(new DockerError({ reason: new WrongPlatform({ image: image.Id, wanted, found }) }))
    }
    const request = { owner, architecture, imageId: image.Id, containerName: this.#containerName() }
    return this.#alone.withPermit(
      Effect.suspend(() => {
        const known = this.#volumes.get(architecture)
        if (known !== undefined) return Effect.succeed(known)
        return Effect.tap(agentVolume.ensure(docker, files, request), (volume) =>
          Effect.sync(() => this.#volumes.set(architecture, volume))
        )
      })
    )
  }

  #services(
    { id: containerId, instance, socket }: container.Container,
    options: ContainerOptions.Resolved,
    image: ImageFacts
  ): DockerSandbox["Service"] {
    const { docker, files: host, owner } = this.#parts
    const { connection, fileSystem } = instance
    const connectTo: DockerSandbox["Service"]["connect"] = (port, { address } = {}) =>
      connect.connect(connection, { port, address })
    return DockerSandbox.of({
      containerId,
      transport: socket === "used" ? "socket" : "attached",
      connect: connectTo,
      forward: (port, { address, host = "127.0.0.1", localPort = 0 } = {}) =>
        Effect.gen(function* () {
          const server = yield* NodeSocketServer.make({ host, port: localPort, allowHalfOpen: true })
          yield* server
            .run((socket) => Effect.ignore(relay.both(socket, connectTo(port, { address }))))
            .pipe(Effect.forkScoped)
          return { host, port: portOf(server.address) }
        }),
      terminal: (command, { resizes, size = { rows: 24, columns: 80 } } = {}) =>
        instance.spawner.spawn(command).pipe(Effect.provideService(CommandTerminal, { ...size, resizes })),
      upload: (from, to) =>
        Effect.flatMap(host.stat(from), ({ mode }) => hostFiles.upload({ connection, host, from, to, mode })),
      download: (from, to) =>
        Effect.flatMap(fileSystem.stat(from), ({ mode }) => hostFiles.download({ connection, host, from, to, mode })),
      snapshot: ({ tag } = {}) =>
        snapshot.take(docker, {
          owner,
          sandbox: instance,
          writable: containerBody.writableOf(options, image),
          imageId: image.id,
          containerName: this.#containerName(),
          tag
        }),
      stats: Stream.map(docker.containers.stats(containerId), stats.of)
    })
  }
}
