/**
 * Where the engine is, and how we come to think so: from options, or as the docker command finds it, in this order:
 * `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context of `config.json`, the default socket.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { DockerError, InvalidConnection } from "./DockerError.ts"

/** Certificates and keys as PEM text. */
export const Tls = Schema.Struct({
  /** Whether the engine's certificate must be good. Only `false` accepts any. */
  verify: Schema.Boolean,
  /** Authorities to trust instead of the system's. */
  ca: Schema.optional(Schema.String),
  cert: Schema.optional(Schema.String),
  key: Schema.optional(Schema.Redacted(Schema.String))
})
export type Tls = typeof Tls.Type

const Port = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65_535 }))

export const DockerConnection = Schema.TaggedUnion({
  /** A socket of this machine (on Windows a named pipe). */
  Unix: { path: Schema.NonEmptyString },
  /** Without `tls` anyone on the way can take over the engine, and with it its machine. */
  Tcp: { host: Schema.NonEmptyString, port: Port, tls: Schema.optional(Tls) },
  /** The engine of another machine through `ssh` and the `docker` command there, as the docker command does it. */
  Ssh: {
    host: Schema.NonEmptyString,
    user: Schema.optional(Schema.NonEmptyString),
    port: Schema.optional(Port),
    /** The engine's socket on that machine. Default: whatever `docker` uses there. */
    path: Schema.optional(Schema.NonEmptyString)
  }
})
export type DockerConnection = typeof DockerConnection.Type

/** A connection, and where it comes from, for messages. */
export interface Target {
  readonly connection: DockerConnection
  /** `unix:///var/run/docker.sock`, … */
  readonly address: string
  /** `DOCKER_HOST`, `the context work`, `the default`, … */
  readonly source: string
}

export interface Options {
  /** The engine, or its address as in `DOCKER_HOST`. Default: as the docker command finds it. */
  readonly connection?: DockerConnection | string | undefined
  /** A context of the docker command, which goes before its variables. Default: none. */
  readonly context?: string | undefined
}

export const defaultPath = "/var/run/docker.sock"

const { Unix, Tcp, Ssh } = DockerConnection.cases

/** The address of a connection, as one would write it into `DOCKER_HOST`. */
export const format = (connection: DockerConnection): string =>
  DockerConnection.match(connection, {
    Unix: ({ path }) => (path.startsWith("//./pipe/") ? `npipe://${path}` : `unix://${path}`),
    Tcp: ({ host, port }) => `tcp://${host.includes(":") ? `[${host}]` : host}:${port}`,
    Ssh: ({ host, path, port, user }) =>
      `ssh://${user === undefined ? "" : `${user}@`}${host.includes(":") ? `[${host}]` : host}${port === undefined ? "" : `:${port}`}${path ?? ""}`
  })

const forms = "unix:///path/to/docker.sock, tcp://host:2376, or ssh://user@host"

/** Reads an address such as `tcp://10.0.0.1:2376`; `source` names where it stands. */
export const parse = (address: string, source: string, tls?: Tls): Effect.Effect<DockerConnection, DockerError> => {
  const invalid = (expected: string) => {
    // A password in the address is nobody's business.
    const value = address.replace(/(\/\/[^/@:]*):[^@/]*@/, "$1:***@")
    return Effect.fail(new DockerError({ reason: new InvalidConnection({ source, value, expected }) }))
  }
  const found = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/s.exec(address.trim())
  if (found === null) return invalid(`an address such as ${forms}`)
  const [, scheme = "", rest = ""] = found
  if (scheme === "unix") {
    return rest.startsWith("/") ? Effect.succeed(Unix.make({ path: rest })) : invalid("unix:// and an absolute path")
  }
  if (scheme === "npipe") {
    return rest === "" ? invalid("npipe:// and a pipe's path") : Effect.succeed(Unix.make({ path: rest }))
  }
  if (!["tcp", "http", "https", "ssh"].includes(scheme)) return invalid(`one of ${forms}; not ${scheme}://`)

  const parts = /^(?:([^@/]*)@)?(\[[0-9a-f:.%]+\]|[^:/?#@[\]\s]+)?(?::([^/]*))?(\/[^?#]*)?$/i.exec(rest)
  if (parts === null) return invalid(`a host and perhaps a port, as in ${scheme}://host:2376`)
  const [, user, bracketed, portText, path] = parts
  const port = portText === undefined || portText === "" ? undefined : Number(portText)
  if (port !== undefined && (!/^\d{1,5}$/.test(portText ?? "") || port < 1 || port > 65_535)) {
    return invalid("a port between 1 and 65535")
  }
  const host = bracketed?.replace(/^\[|\]$/g, "")
  if (scheme === "ssh") {
    if (host === undefined || host.startsWith("-")) return invalid("a host, as in ssh://user@host")
    if (user !== undefined && (user === "" || user.startsWith("-"))) return invalid("a user before the @, or no @")
    if (user?.includes(":") === true) return invalid("no password: ssh uses keys")
    return Effect.succeed(Ssh.make({ host, user, port, path: path === "/" ? undefined : path }))
  }
  if (user !== undefined) return invalid("no user: engines know none")
  if (path !== undefined && path !== "/") return invalid("no path after the port")
  const secured = tls ?? (scheme === "https" ? { verify: true } : undefined)
  return Effect.succeed(
    Tcp.make({ host: host ?? "127.0.0.1", port: port ?? (secured === undefined ? 2375 : 2376), tls: secured })
  )
}

/** Variables of the docker command; an empty one counts as not set, as it does there. */
const variables = Config.all({
  host: Config.option(Config.String("DOCKER_HOST")),
  context: Config.option(Config.String("DOCKER_CONTEXT")),
  tls: Config.option(Config.String("DOCKER_TLS")),
  tlsVerify: Config.option(Config.String("DOCKER_TLS_VERIFY")),
  certPath: Config.option(Config.String("DOCKER_CERT_PATH"))
}).pipe(
  Config.map((found) => {
    const value = (option: Option.Option<string>) =>
      Option.getOrUndefined(Option.filter(option, (text) => text.trim() !== ""))
    return {
      host: value(found.host),
      context: value(found.context),
      tls: value(found.tls),
      tlsVerify: value(found.tlsVerify),
      certPath: value(found.certPath)
    }
  })
)

const Home = Config.all([
  Config.option(Config.String("DOCKER_CONFIG")),
  Config.option(Config.String("HOME")),
  Config.option(Config.String("USERPROFILE"))
])

/** The directory of the docker command's settings, if there is any. */
export const configDirectory: Effect.Effect<string | undefined, never, Path.Path> = Effect.gen(function* () {
  const path = yield* Path.Path
  const [config, home, profile] = yield* Home
  const base = Option.getOrUndefined(Option.orElse(home, () => profile))
  return Option.getOrElse(
    Option.filter(config, (text) => text !== ""),
    () => (base === undefined ? undefined : path.join(base, ".docker"))
  )
}).pipe(Effect.orElseSucceed(() => undefined))

const ConfigFile = Schema.fromJsonString(Schema.Struct({ currentContext: Schema.optional(Schema.String) }))

const ContextFile = Schema.fromJsonString(
  Schema.Struct({
    Name: Schema.String,
    Endpoints: Schema.Record(
      Schema.String,
      Schema.Struct({ Host: Schema.optional(Schema.String), SkipTLSVerify: Schema.optional(Schema.Boolean) })
    )
  })
)

const fail = (source: string, value: string, expected: string) =>
  new DockerError({ reason: new InvalidConnection({ source, value, expected }) })

const readIfThere = (file: string) =>
  Effect.flatMap(FileSystem.FileSystem, (files) =>
    files.readFileString(file).pipe(
      Effect.catchReason("PlatformError", "NotFound", () => Effect.succeed(undefined)),
      Effect.catch((error) => Effect.fail(fail(file, error.message, "a file that can be read")))
    )
  )

/** The certificates in a directory. */
const readTls = (directory: string, verify: boolean) =>
  Effect.gen(function* () {
    const path = yield* Path.Path
    const [ca, cert, key] = yield* Effect.forEach(["ca.pem", "cert.pem", "key.pem"], (file) =>
      readIfThere(path.join(directory, file))
    )
    if ((cert === undefined) !== (key === undefined)) {
      return yield* fail("DOCKER_CERT_PATH", directory, "both cert.pem and key.pem in that directory, or neither")
    }
    const tls: Tls = { verify, ca, cert, key: key === undefined ? undefined : Redacted.make(key) }
    return tls
  })

const findContext = (name: string, source: string) =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const directory = yield* configDirectory
    const contexts = path.join(directory ?? ".", "contexts")
    const ids = yield* Effect.orElseSucceed(files.readDirectory(path.join(contexts, "meta")), () => [])
    for (const id of ids) {
      const file = path.join(contexts, "meta", id, "meta.json")
      const text = yield* readIfThere(file)
      const context = text === undefined ? Option.none() : Schema.decodeOption(ContextFile)(text)
      if (Option.isNone(context) || context.value.Name !== name) continue
      const endpoint = context.value.Endpoints["docker"]
      if (endpoint?.Host === undefined) return yield* fail(file, name, "a context with an address for docker")
      const certificates = path.join(contexts, "tls", id, "docker")
      const hasTls = yield* Effect.orElseSucceed(files.exists(certificates), () => false)
      const tls = hasTls ? yield* readTls(certificates, endpoint.SkipTLSVerify !== true) : undefined
      const connection = yield* parse(endpoint.Host, `the context ${name} (${file})`, tls)
      return { connection, address: format(connection), source: `the context ${name}, set by ${source}` }
    }
    return yield* fail(source, name, "the name of a context that exists (docker context ls)")
  })

/** Finds the engine. Only settings are read; nothing is connected to. */
export const resolve = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Target, DockerError, FileSystem.FileSystem | Path.Path> {
  const target = (connection: DockerConnection, source: string): Target => ({
    connection,
    address: format(connection),
    source
  })
  const given = options.connection
  if (typeof given === "object") return target(given, "the option connection")

  const path = yield* Path.Path
  const found = yield* variables.pipe(
    Effect.mapError((error) => fail("the environment", error.message, "variables that can be read"))
  )
  const directory = yield* configDirectory
  const wantsTls = found.tlsVerify !== undefined || found.tls !== undefined
  const tls = wantsTls ? yield* readTls(found.certPath ?? directory ?? ".", found.tlsVerify !== undefined) : undefined

  if (given !== undefined) return target(yield* parse(given, "the option connection", tls), "the option connection")
  if (options.context !== undefined && options.context !== "default") {
    return yield* findContext(options.context, "the option context")
  }
  if (options.context === undefined) {
    if (found.host !== undefined) {
      return target(yield* parse(found.host, "DOCKER_HOST", tls), "DOCKER_HOST")
    }
    if (found.context !== undefined && found.context !== "default") {
      return yield* findContext(found.context, "DOCKER_CONTEXT")
    }
    const file = path.join(directory ?? ".", "config.json")
    // Another user's home is no reason to fail; the docker command goes on as well.
    const text =
      found.context === undefined && directory !== undefined
        ? yield* Effect.tapError(readIfThere(file), (error) => Effect.logWarning(error.message)).pipe(
            Effect.orElseSucceed(() => undefined)
          )
        : undefined
    if (text !== undefined) {
      const settings = yield* Schema.decodeEffect(ConfigFile)(text).pipe(
        Effect.mapError((error) => fail(file, error.message, "the JSON that the docker command writes"))
      )
      const current = settings.currentContext
      if (current !== undefined && current !== "" && current !== "default") return yield* findContext(current, file)
    }
  }
  return target(Unix.make({ path: defaultPath }), "the default, as neither DOCKER_HOST nor a context is set")
})
