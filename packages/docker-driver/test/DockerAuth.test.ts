import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, FileSystem, Path, Redacted } from "effect"
import * as DockerAuth from "../src/DockerAuth.ts"

/** Helpers are looked for as every program is: each test has names of its own. */
const helpers = await Effect.runPromise(
  Effect.flatMap(FileSystem.FileSystem, (files) => files.makeTempDirectory()).pipe(Effect.provide(NodeServices.layer))
)
process.env["PATH"] = `${helpers}:${process.env["PATH"]}`

const find = (registry: string, config: unknown) =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const directory = yield* files.makeTempDirectoryScoped()
    const text = typeof config === "string" ? config : JSON.stringify(config)
    if (config !== undefined) yield* files.writeFileString(`${directory}/config.json`, text)
    const found = yield* DockerAuth.find(registry).pipe(
      Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord({ DOCKER_CONFIG: directory })))
    )
    return found === undefined
      ? undefined
      : {
          ...found,
          ...(found.password === undefined ? {} : { password: Redacted.value(found.password) }),
          ...(found.identityToken === undefined ? {} : { identityToken: Redacted.value(found.identityToken) })
        }
  }).pipe(Effect.provide(NodeServices.layer))

const helper = (name: string, script: string) =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const file = (yield* Path.Path).join(helpers, `docker-credential-${name}`)
    yield* files.writeFileString(file, `#!/bin/sh\n${script}\n`)
    yield* files.chmod(file, 0o755)
  }).pipe(Effect.provide(NodeServices.layer))

const base64 = (text: string) => Buffer.from(text).toString("base64")

describe("credentials", () => {
  it.live("are read from the entries that docker login writes", () =>
    Effect.gen(function* () {
      const config = {
        auths: {
          "https://index.docker.io/v1/": { auth: base64("me:pass:word") },
          "localhost:5000": { auth: base64("you:x\0\0") },
          "https://ghcr.io": { identitytoken: "token" },
          "plain.example": { username: "u", password: "p" },
          "empty.example": {}
        }
      }
      assert.deepStrictEqual(yield* find("docker.io", config), {
        registry: "docker.io",
        username: "me",
        password: "pass:word"
      })
      assert.deepStrictEqual(yield* find("localhost:5000", config), {
        registry: "localhost:5000",
        username: "you",
        password: "x"
      })
      assert.deepStrictEqual(yield* find("ghcr.io", config), { registry: "ghcr.io", identityToken: "token" })
      assert.strictEqual((yield* find("plain.example", config))?.username, "u")
      for (const none of ["empty.example", "other.example"]) assert.isUndefined(yield* find(none, config))
      assert.isUndefined(yield* find("docker.io", undefined))
    })
  )

  it.live("come from the helper of the registry before the one for all", () =>
    Effect.gen(function* () {
      yield* helper(
        "mine",
        'read server; printf \'{"ServerURL":"%s","Username":"of %s","Secret":"s"}\' "$server" "$server"'
      )
      yield* helper("all", 'cat >/dev/null; echo \'{"Username":"<token>","Secret":"t"}\'')
      yield* helper("empty", "cat >/dev/null; echo credentials not found in native keychain; exit 1")
      const config = {
        auths: { "none.example": { auth: base64("entry:x") } },
        credsStore: "all",
        credHelpers: { "ghcr.io": "mine", "none.example": "empty", "https://index.docker.io/v1/": "mine" }
      }
      assert.strictEqual((yield* find("ghcr.io", config))?.username, "of ghcr.io")
      assert.strictEqual((yield* find("docker.io", config))?.username, "of https://index.docker.io/v1/")
      assert.deepStrictEqual(yield* find("other.example", config), { registry: "other.example", identityToken: "t" })
      // A helper that knows nothing is no reason to ignore what was written down.
      assert.strictEqual((yield* find("none.example", config))?.username, "entry")
    })
  )

  it.live("that cannot be had are said to be so, and by whom", () =>
    Effect.gen(function* () {
      yield* helper("locked", "cat >/dev/null; echo the keychain is locked >&2; exit 3")
      yield* helper("odd", "cat >/dev/null; echo nonsense")
      const complaint = (credsStore: string) =>
        Effect.map(Effect.flip(find("ghcr.io", { credsStore })), ({ message, reason }) => `${reason._tag}: ${message}`)
      assert.match(yield* complaint("missing"), /^RegistryAuth: .*ghcr\.io.*docker-credential-missing cannot be run/s)
      assert.match(yield* complaint("locked"), /docker-credential-locked failed with 3: the keychain is locked/)
      assert.match(yield* complaint("odd"), /docker-credential-odd gave something that is no answer/)
      assert.match(yield* complaint("../../bin/sh"), /is no program's name/)
      const broken = yield* Effect.flip(find("ghcr.io", "{"))
      assert.match(broken.message, /config\.json is not what docker login writes/)
      const auth = yield* Effect.flip(find("ghcr.io", { auths: { "ghcr.io": { auth: "%" } } }))
      assert.match(auth.message, /no user and password in base64/)
    })
  )
})
