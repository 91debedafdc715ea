/**
 * Credentials for registries, as `docker login` left them: helpers and plain entries of `~/.docker/config.json`.
 */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as DockerConnection from "./DockerConnection.ts"
import { DockerError, RegistryAuth } from "./DockerError.ts"

export interface Credentials {
  /** `docker.io`, `ghcr.io`, `localhost:5000`, … */
  readonly registry: string
  readonly username?: string | undefined
  readonly password?: Redacted.Redacted<string> | undefined
  /** Instead of a password. */
  readonly identityToken?: Redacted.Redacted<string> | undefined
}

const Entry = Schema.Struct({
  auth: Schema.optional(Schema.String),
  username: Schema.optional(Schema.String),
  password: Schema.optional(Schema.String),
  identitytoken: Schema.optional(Schema.String)
})

const ConfigFile = Schema.fromJsonString(
  Schema.Struct({
    auths: Schema.optional(Schema.Record(Schema.String, Entry)),
    credHelpers: Schema.optional(Schema.Record(Schema.String, Schema.String)),
    credsStore: Schema.optional(Schema.String)
  })
)

const Answer = Schema.fromJsonString(Schema.Struct({ Username: Schema.String, Secret: Schema.String }))

/** Under this name Docker's own registry is logged in to. */
const dockerHub = "https://index.docker.io/v1/"

/** The keys under which a registry may stand, the usual one first. */
const keysOf = (registry: string): ReadonlyArray<string> =>
  registry === "docker.io" || registry === "index.docker.io"
    ? [dockerHub, "docker.io", "index.docker.io", "registry-1.docker.io"]
    : [
        registry,
        `https://${registry}`,
        `https://${registry}/`,
        `http://${registry}`,
        `https://${registry}/v1/`,
        `https://${registry}/v2/`
      ]

/** What there is for a registry; undefined when nobody logged in to it. */
export const find = Effect.fnUntraced(function* (
  registry: string
): Effect.fn.Return<Credentials | undefined, DockerError, FileSystem.FileSystem | Path.Path | ChildProcessSpawner> {
  const failed = (description: string) => new DockerError({ reason: new RegistryAuth({ registry, description }) })
  const files = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = yield* DockerConnection.configDirectory
  if (directory === undefined) return undefined
  const file = path.join(directory, "config.json")
  const text = yield* files.readFileString(file).pipe(
    Effect.catchReason("PlatformError", "NotFound", () => Effect.succeed(undefined)),
    Effect.mapError((error) => failed(`${file} cannot be read: ${error.message}`))
  )
  if (text === undefined) return undefined
  const config = yield* Effect.mapError(Schema.decodeEffect(ConfigFile)(text), (error) =>
    failed(`${file} is not what docker login writes: ${error.message}`)
  )

  const keys = keysOf(registry)
  const helper = keys.map((key) => config.credHelpers?.[key]).find((found) => found !== undefined) ?? config.credsStore
  if (helper !== undefined && helper !== "") {
    const found = yield* askHelper(helper, keys[0] ?? registry, registry)
    if (found !== undefined) return found
  }
  const entry = keys.map((key) => config.auths?.[key]).find((found) => found !== undefined)
  return entry === undefined ? undefined : yield* Effect.mapError(fromEntry(registry, entry), failed)
})

const fromEntry = (registry: string, entry: typeof Entry.Type): Effect.Effect<Credentials | undefined, string> => {
  if (entry.identitytoken !== undefined && entry.identitytoken !== "") {
    return Effect.succeed({ registry, identityToken: Redacted.make(entry.identitytoken) })
  }
  if (entry.auth === undefined || entry.auth === "") {
    const { password, username } = entry
    return Effect.succeed(
      username === undefined || password === undefined
        ? undefined
        : { registry, username, password: Redacted.make(password) }
    )
  }
  const decoded = Base64.decodeString(entry.auth)
  const colon = Result.isSuccess(decoded) ? decoded.success.indexOf(":") : -1
  return Result.isSuccess(decoded) && colon > 0
    ? Effect.succeed({
        registry,
        username: decoded.success.slice(0, colon),
        // Old clients padded it with zeros.
        password: Redacted.make(decoded.success.slice(colon + 1).replace(/\0+$/, ""))
      })
    : Effect.fail("its entry in config.json is no user and password in base64")
}

/** Asks `docker-credential-<helper>`. */
const askHelper = (helper: string, key: string, registry: string) =>
  Effect.gen(function* () {
    const program = `docker-credential-${helper}`
    const failed = (description: string) =>
      new DockerError({ reason: new RegistryAuth({ registry, description: `${program} ${description}` }) })
    if (!/^[\w.-]+$/.test(helper)) return yield* failed("is no program's name (see credHelpers and credsStore)")
    const spawner = yield* ChildProcessSpawner
    const { code, output } = yield* Effect.gen(function* () {
      const command = ChildProcess.make(program, ["get"], {
        extendEnv: true,
        stdin: Stream.encodeText(Stream.succeed(key)),
        forceKillAfter: "2 seconds"
      })
      const child = yield* spawner.spawn(command)
      const output = yield* Stream.mkString(Stream.decodeText(child.all))
      return { output: output.trim(), code: yield* child.exitCode }
    }).pipe(
      Effect.scoped,
      Effect.mapError((error) => failed(`cannot be run: ${error.message}`)),
      Effect.timeoutOrElse({ duration: "30 seconds", orElse: () => Effect.fail(failed("did not answer within 30 s")) })
    )
    if (code !== 0) {
      return /credentials not found/i.test(output) ? undefined : yield* failed(`failed with ${code}: ${output}`)
    }
    const answer = yield* Effect.mapError(Schema.decodeEffect(Answer)(output), () =>
      failed("gave something that is no answer")
    )
    const secret = Redacted.make(answer.Secret)
    const credentials: Credentials =
      answer.Username === "<token>"
        ? { registry, identityToken: secret }
        : { registry, username: answer.Username, password: secret }
    return credentials
  })
