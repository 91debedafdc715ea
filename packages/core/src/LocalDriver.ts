/**
 * Sandboxes on this machine: a directory and real processes each, built on Effect's platform services alone.
 *
 * - `isolation: "bubblewrap"` runs every command in fresh Linux namespaces (Debian's package `bubblewrap`).
 * - `isolation: "none"` is no security boundary: commands run as you do, see your files and can reach the network. It
 *   keeps well-behaved programs apart, and cleans up after them.
 * - `isolation: "auto"` takes the strongest that works here; `sandbox.isolation` and the event `SandboxStarted` say
 *   which, and why it is not the strongest.
 *
 * An image is only a name, unless `images` gives a directory whose content every session's workspace starts with.
 *
 * ```ts
 * import { NodeRuntime, NodeServices } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { Environment, LocalDriver, Sandbox } from "@effect-sandbox/core"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["shell"] }) {}
 *
 * const program = Lab.withSession({}, Effect.gen(function*() {
 *   const sandbox = yield* Sandbox
 *   return (yield* sandbox.exec("uname", ["-a"])).stdout
 * }))
 *
 * program.pipe(
 *   Effect.tap(Effect.log),
 *   Effect.provide(Lab.layer.pipe(Layer.provide(LocalDriver.layer()), Layer.provide(NodeServices.layer))),
 *   NodeRuntime.runMain
 * )
 * ```
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import { type PlatformError, systemError } from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { pathSegment } from "./Id.ts"
import type * as bubblewrap from "./internal/bubblewrap.ts"
import * as confinedFileSystem from "./internal/confinedFileSystem.ts"
import * as localSpawner from "./internal/localSpawner.ts"
import * as processLimit from "./internal/processLimit.ts"
import * as strays from "./internal/strays.ts"
import * as OptionCheck from "./Options.ts"
import { type Isolation, SandboxDriver, type SandboxInstance, type SandboxSpec } from "./SandboxDriver.ts"
import { InvalidConfigurationError, isStateError, SandboxStateError, UnsupportedOptionError } from "./SandboxError.ts"

export interface Options {
  /** Where the sandboxes' directories go. Default: a temporary directory that is removed in the end. */
  readonly root?: string | undefined
  /** How commands are kept from everything else. Default: `"auto"`. */
  readonly isolation?: "auto" | "bubblewrap" | "none" | undefined
  /** Whether commands can reach the network. Default: false; without isolation nothing keeps them from it. */
  readonly network?: boolean | undefined
  /** Variables of every command. Default: `PATH` and `LANG`; `HOME` and `TMPDIR` are the sandbox's own. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** More of the host's files that commands see, read-only; only isolation hides any. */
  readonly readOnlyPaths?: ReadonlyArray<string> | undefined
  /** Directories by image id, copied into the workspace before each session. */
  readonly images?: { readonly [image: string]: string } | undefined
  /** How many processes may live at the same time. Default: no limit. */
  readonly maxProcesses?: number | undefined
  /** From the polite signal to the final one when a command has to be killed. Default: 2 seconds. */
  readonly forceKillAfter?: Duration.Input | undefined
}

const OptionsSchema = Schema.Struct({
  root: Schema.optional(Schema.NonEmptyString),
  isolation: Schema.optional(Schema.Literals(["auto", "bubblewrap", "none"])),
  network: Schema.optional(Schema.Boolean),
  env: Schema.optional(Schema.Record(Schema.String, Schema.String)),
  readOnlyPaths: Schema.optional(Schema.Array(Schema.NonEmptyString)),
  images: Schema.optional(Schema.Record(Schema.String, Schema.NonEmptyString)),
  maxProcesses: Schema.optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(8))),
  forceKillAfter: Schema.optional(OptionCheck.DurationInput("positive"))
})

const name = "LocalDriver"
const defaultPath = "/usr/local/bin:/usr/bin:/bin"

/** What was found out about this machine, once for all sandboxes. */
interface Machine {
  readonly host: localSpawner.Host
  readonly root: string
  readonly isolation: Isolation
  readonly bubblewrap: bubblewrap.Settings | undefined
  readonly limit: processLimit.ProcessLimit | undefined
  readonly options: Options
}

/**
 * The driver. Fails when an option is invalid, and when one is asked for that cannot be honoured here (F5): bubblewrap
 * that does not work, `network: false` without isolation, a `maxProcesses` that nothing enforces.
 */
export const layer = (
  options: Options = {}
): Layer.Layer<
  SandboxDriver,
  InvalidConfigurationError | UnsupportedOptionError | PlatformError,
  FileSystem.FileSystem | Path.Path | ChildProcessSpawner
> => Layer.effect(SandboxDriver, make(options))

/** The settings that are plain data, from `SANDBOX_LOCAL_ROOT`, `_ISOLATION`, `_NETWORK` and `_MAX_PROCESSES`. */
export const config: Config.Config<Options> = Config.all({
  root: Config.option(Config.String("ROOT")),
  isolation: Config.option(Config.Literals(["auto", "bubblewrap", "none"], "ISOLATION")),
  network: Config.option(Config.Boolean("NETWORK")),
  maxProcesses: Config.option(Config.Int("MAX_PROCESSES"))
}).pipe(
  Config.nested("SANDBOX_LOCAL"),
  Config.map((settings) => ({
    root: Option.getOrUndefined(settings.root),
    isolation: Option.getOrUndefined(settings.isolation),
    network: Option.getOrUndefined(settings.network),
    maxProcesses: Option.getOrUndefined(settings.maxProcesses)
  }))
)

/** The same with settings from `Config`, which go before those in the code. */
export const layerConfig = (
  settings: Config.Config<Options> = config,
  options: Options = {}
): Layer.Layer<
  SandboxDriver,
  Config.ConfigError | InvalidConfigurationError | UnsupportedOptionError | PlatformError,
  FileSystem.FileSystem | Path.Path | ChildProcessSpawner
> =>
  Layer.unwrap(
    Effect.map(settings, (found) => {
      const given = Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined))
      return layer({ ...options, ...given })
    })
  )

/** The same as `layer`, as a scoped effect. */
export const make = Effect.fnUntraced(function* (options: Options = {}) {
  yield* OptionCheck.check(name, OptionsSchema, options)
  const host: localSpawner.Host = {
    files: yield* FileSystem.FileSystem,
    path: yield* Path.Path,
    spawner: yield* ChildProcessSpawner
  }
  for (const [image, directory] of Object.entries(options.images ?? {})) {
    const info = yield* Effect.option(host.files.stat(directory))
    if (info._tag === "None" || info.value.type !== "Directory") {
      const issue = { path: `images.${image}`, message: `${directory} is no directory` }
      return yield* new InvalidConfigurationError({ subject: name, issues: [issue] })
    }
  }
  const root = yield* makeRoot(host, options.root)
  const isolated = yield* findIsolation(host, root, options)
  const machine: Machine = { host, root, options, ...isolated }
  return SandboxDriver.of({ name: "local", create: (spec) => create(machine, spec) })
})

const makeRoot = (host: localSpawner.Host, root: string | undefined) =>
  Effect.gen(function* () {
    if (root === undefined) {
      return yield* host.files.realPath(yield* host.files.makeTempDirectoryScoped({ prefix: "effect-sandbox-" }))
    }
    yield* host.files.makeDirectory(root, { recursive: true })
    return yield* host.files.realPath(root)
  })

const unsupported = (option: string, description: string) =>
  new UnsupportedOptionError({ driver: name, option, description })

const findIsolation = (host: localSpawner.Host, root: string, options: Options) =>
  Effect.gen(function* () {
    const wished = options.isolation ?? "auto"
    const isolating = wished === "none" ? undefined : yield* Effect.result(probe(host, root, options))
    if (isolating?._tag === "Success") {
      return {
        isolation: { level: "bubblewrap" },
        bubblewrap: isolating.success.settings,
        limit: isolating.success.limit
      }
    }
    if (isolating !== undefined && wished === "bubblewrap") return yield* unsupported("isolation", isolating.failure)
    const reason = isolating?.failure
    const because = reason === undefined ? "" : ` (${reason})`
    if (options.network === false) {
      return yield* unsupported("network", `without isolation nothing keeps commands from the network${because}`)
    }
    const limit = options.maxProcesses === undefined ? undefined : yield* processLimit.make(host, options.maxProcesses)
    if (options.maxProcesses !== undefined && limit === undefined) {
      const why = "no control group for processes can be made here, and nothing else keeps the limit without isolation"
      return yield* unsupported("maxProcesses", `${why}${because}`)
    }
    return {
      isolation: { level: "none", fallback: reason === undefined ? undefined : { from: "bubblewrap", reason } },
      bubblewrap: undefined,
      limit
    }
  })

/** Tries bubblewrap out, as commands will be run with it; fails with the reason when it does not work. */
const probe = (host: localSpawner.Host, root: string, options: Options) =>
  Effect.gen(function* () {
    const find = (command: string) =>
      Effect.gen(function* () {
        for (const directory of ["/usr/bin", "/usr/local/bin", "/bin", "/run/current-system/sw/bin"]) {
          const candidate = host.path.join(directory, command)
          if (yield* Effect.orElseSucceed(host.files.exists(candidate), () => false)) return candidate
        }
        return yield* Effect.fail(`${command} is not installed`)
      })
    const limit = options.maxProcesses === undefined ? undefined : yield* processLimit.make(host, options.maxProcesses)
    const user = yield* Effect.option(host.files.stat("/proc/self"))
    const isRoot = user._tag === "Some" && Option.getOrUndefined(user.value.uid) === 0
    if (options.maxProcesses !== undefined && limit === undefined && isRoot) {
      return yield* Effect.fail("maxProcesses cannot be kept for root without a control group")
    }
    const settings: bubblewrap.Settings = {
      bwrap: yield* find("bwrap"),
      perl: yield* find("perl"),
      network: options.network ?? false,
      readOnlyPaths: options.readOnlyPaths ?? [],
      prlimit:
        options.maxProcesses === undefined || limit !== undefined
          ? undefined
          : { path: yield* find("prlimit"), maxProcesses: options.maxProcesses }
    }
    const places = yield* Effect.acquireRelease(makePlaces(host, root, "probe"), (made) =>
      Effect.ignore(host.files.remove(made.directory, { recursive: true, force: true }))
    )
    const { spawner } = localSpawner.make(host, places, {
      environment: { PATH: defaultPath },
      forceKillAfterMillis: 1000,
      isolation: settings,
      controlGroup: limit === undefined ? undefined : yield* limit.make(places.directory)
    })
    const handle = yield* spawner.spawn(ChildProcess.make("sh", ["-c", "exit 7"], { stdin: "ignore" }))
    const [code, messages] = yield* Effect.all(
      [Effect.result(handle.exitCode), Stream.mkString(Stream.decodeText(handle.stderr))],
      { concurrency: 2 }
    )
    if (code._tag === "Failure" || code.success !== 7) {
      return yield* Effect.fail(`bubblewrap does not work here: ${messages.trim() || "no reason was given"}`)
    }
    return { settings, limit }
  }).pipe(
    Effect.scoped,
    Effect.mapError((error) => (typeof error === "string" ? error : error.message))
  )

const makePlaces = (host: localSpawner.Host, root: string, name: string) =>
  Effect.gen(function* () {
    // A fresh name, so that nothing an earlier run has left is taken for ours (F9).
    const directory = yield* host.files.makeTempDirectory({ directory: root, prefix: `${pathSegment(name)}-` })
    const places = {
      directory,
      workspace: host.path.join(directory, "workspace"),
      temporary: host.path.join(directory, "tmp"),
      home: host.path.join(directory, "home")
    }
    const { home, temporary, workspace } = places
    yield* Effect.forEach([workspace, temporary, home], (place) => host.files.makeDirectory(place), {
      discard: true
    }).pipe(Effect.onError(() => Effect.ignore(host.files.remove(directory, { recursive: true, force: true })))) // F26
    return places
  })

/** Retries what a dying process may still hold (F15). */
const removalRetries = { schedule: Schedule.exponential("20 millis"), times: 6 }

/** Removes a file or directory, also one whose permissions are in the way. */
const remove = (host: localSpawner.Host, target: string): Effect.Effect<void, PlatformError> => {
  const once = host.files.remove(target, { recursive: true, force: true })
  const open = host.spawner.exitCode(ChildProcess.make("chmod", ["-R", "u+rwX", "--", target], { stderr: "ignore" }))
  return once.pipe(
    Effect.tapError(() => Effect.ignore(open)),
    Effect.retry(removalRetries)
  )
}

/** Copies a directory's content: links as they are, owned by us so that commands can change it. */
const copyTree = (host: localSpawner.Host, from: string, to: string) =>
  Effect.gen(function* () {
    const script = 'cp -RPp -- "$1/." "$2" && chown -Rh -- "$(id -u):$(id -g)" "$2"'
    const handle = yield* host.spawner.spawn(
      ChildProcess.make("sh", ["-c", script, "sh", from, to], { stdin: "ignore" })
    )
    const messages = yield* Stream.mkString(Stream.decodeText(handle.stderr))
    const code = yield* handle.exitCode
    if (code !== 0) {
      return yield* systemError({
        _tag: "Unknown",
        module: "FileSystem",
        method: "copy",
        pathOrDescriptor: from,
        description: messages.trim()
      })
    }
  }).pipe(Effect.scoped)

const create = (machine: Machine, spec: SandboxSpec) =>
  Effect.gen(function* () {
    const { host, limit, options } = machine
    const { sandboxId } = spec
    const broken = (operation: string) =>
      Effect.mapError((cause: unknown) =>
        isStateError(cause) ? cause : new SandboxStateError({ sandboxId, operation, cause })
      )
    const dirty = (description: string) => new SandboxStateError({ sandboxId, operation: "reset", description })

    const places = yield* Effect.acquireRelease(
      makePlaces(host, machine.root, spec.sandboxId).pipe(broken("create")),
      // What cannot be removed is a leak, which the environment reports (F23).
      (made) => Effect.orDie(remove(host, made.directory))
    )
    /** Processes that escaped their command's group; namespaces leave none. */
    const killStrays = (...lifetimes: ReadonlyArray<"session" | "sandbox">) =>
      machine.bubblewrap !== undefined
        ? Effect.void
        : Effect.flatMap(strays.kill(host, strays.ofLifetimes(places.directory, lifetimes)), (left) =>
            left.length === 0 ? Effect.void : Effect.fail(dirty(`processes that cannot be killed: ${left.join(", ")}`))
          )
    yield* Effect.addFinalizer(() => Effect.orDie(killStrays("session", "sandbox")))

    const group = limit === undefined ? undefined : yield* limit.make(places.directory).pipe(broken("create"))
    const { home, temporary, workspace } = places
    const commands = localSpawner.make(host, places, {
      environment: { PATH: defaultPath, LANG: "C.UTF-8", HOME: workspace, TMPDIR: temporary, ...options.env },
      forceKillAfterMillis: Duration.toMillis(options.forceKillAfter ?? "2 seconds"),
      isolation: machine.bubblewrap,
      controlGroup: group
    })

    const template = options.images?.[spec.image]
    const fill = template === undefined ? Effect.void : copyTree(host, template, workspace)
    const empty = (directory: string) =>
      Effect.gen(function* () {
        // The directory itself may have been made unreadable, replaced by a link, or removed.
        const info = yield* Effect.option(host.files.lstat(directory))
        const names =
          info._tag === "Some" && info.value.type === "Directory"
            ? yield* Effect.orElseSucceed(host.files.readDirectory(directory), () => undefined)
            : undefined
        if (names === undefined) {
          yield* remove(host, directory)
          yield* host.files.makeDirectory(directory)
        } else {
          yield* Effect.forEach(names, (entry) => remove(host, host.path.join(directory, entry)), { discard: true })
          yield* host.files.chmod(directory, 0o755)
        }
        const listed = host.files.readDirectory(directory)
        // Names that are not UTF-8 come from `readDirectory` as others.
        const find = ChildProcess.make("find", [directory, "-mindepth", "1", "-delete"], { stderr: "ignore" })
        if ((yield* listed).length > 0) yield* Effect.ignore(host.spawner.exitCode(find))
        const left = yield* listed
        if (left.length > 0) return yield* dirty(`${directory} still holds ${left.join(", ")}`) // F26
      })
    const reset = Effect.gen(function* () {
      yield* commands.end("session")
      yield* killStrays("session")
      yield* empty(workspace)
      yield* empty(temporary)
      yield* fill
    }).pipe(broken("reset"))
    yield* fill.pipe(broken("create"))

    const instance: SandboxInstance = {
      spawner: commands.spawner,
      fileSystem: confinedFileSystem.make(host.files, host.path, places),
      workdir: workspace,
      home,
      isolation: machine.isolation,
      ping: host.files.access(workspace).pipe(broken("ping")),
      reset,
      awaitDeath: Effect.never
    }
    return instance
  })
