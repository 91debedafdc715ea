import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, FileSystem, Path, Redacted } from "effect"
import * as DockerConnection from "../src/DockerConnection.ts"
import * as sshProxy from "../src/internal/engine/sshProxy.ts"

const good: ReadonlyArray<readonly [address: string, connection: object, formatted?: string]> = [
  ["unix:///var/run/docker.sock", { _tag: "Unix", path: "/var/run/docker.sock" }],
  ["unix:///run/user/1000/my docker.sock", { _tag: "Unix", path: "/run/user/1000/my docker.sock" }],
  ["npipe:////./pipe/docker_engine", { _tag: "Unix", path: "//./pipe/docker_engine" }],
  ["tcp://10.0.0.1:2376", { _tag: "Tcp", host: "10.0.0.1", port: 2376 }],
  ["tcp://engine", { _tag: "Tcp", host: "engine", port: 2375 }, "tcp://engine:2375"],
  ["tcp://engine:2375/", { _tag: "Tcp", host: "engine", port: 2375 }, "tcp://engine:2375"],
  ["tcp://:1234", { _tag: "Tcp", host: "127.0.0.1", port: 1234 }, "tcp://127.0.0.1:1234"],
  ["tcp://[::1]:2375", { _tag: "Tcp", host: "::1", port: 2375 }],
  ["http://engine:80", { _tag: "Tcp", host: "engine", port: 80 }, "tcp://engine:80"],
  ["https://engine", { _tag: "Tcp", host: "engine", port: 2376, tls: { verify: true } }, "tcp://engine:2376"],
  ["ssh://me@host", { _tag: "Ssh", host: "host", user: "me" }],
  ["ssh://host:2222/run/docker.sock", { _tag: "Ssh", host: "host", port: 2222, path: "/run/docker.sock" }],
  [" ssh://host/ ", { _tag: "Ssh", host: "host" }, "ssh://host"]
]

const bad: ReadonlyArray<readonly [address: string, expected: string]> = [
  ["docker.sock", "an address such as"],
  ["/var/run/docker.sock", "an address such as"],
  ["unix://docker.sock", "an absolute path"],
  ["unix://", "an absolute path"],
  ["fd://", "not fd://"],
  ["ftp://host", "not ftp://"],
  ["tcp://host:port", "a port between"],
  ["tcp://host:0", "a port between"],
  ["tcp://host:65536", "a port between"],
  ["tcp://host:2375/path", "no path"],
  ["tcp://me@host", "no user"],
  ["tcp://a b:1", "a host"],
  ["ssh://", "a host"],
  ["ssh://-oProxyCommand=evil", "a host"],
  ["ssh://-l@host", "a user"],
  ["ssh://me:secret@host", "no password"]
]

const clean = (value: object) => JSON.parse(JSON.stringify(value)) as object // drops what is undefined

describe("addresses", () => {
  for (const [address, connection, formatted] of good) {
    it.effect(address, () =>
      Effect.gen(function* () {
        const parsed = yield* DockerConnection.parse(address, "DOCKER_HOST")
        assert.deepStrictEqual(clean(parsed), connection)
        assert.strictEqual(DockerConnection.format(parsed), formatted ?? address)
      })
    )
  }

  for (const [address, expected] of bad) {
    it.effect(`${address} is none`, () =>
      Effect.gen(function* () {
        const { message, reason } = yield* Effect.flip(DockerConnection.parse(address, "DOCKER_HOST"))
        assert.strictEqual(reason._tag, "InvalidConnection")
        assert.match(message, /^DOCKER_HOST is "/)
        assert.include(message, `expected`)
        assert.include(message, expected)
        assert.notInclude(message, "secret")
      })
    )
  }

  it("of ssh become words that no shell here sees", () => {
    const Ssh = DockerConnection.DockerConnection.cases.Ssh
    assert.deepStrictEqual(
      sshProxy.args(Ssh.make({ host: "host", user: "me", port: 22, path: "/run/it's.sock" })).slice(3),
      ["-l", "me", "-p", "22", "--", "host", "docker", "--host", `'unix:///run/it'\\''s.sock'`, "system", "dial-stdio"]
    )
  })
})

interface Home {
  readonly env?: { readonly [name: string]: string }
  readonly currentContext?: string
  readonly contexts?: {
    readonly [name: string]: { readonly host: string; readonly tls?: boolean; readonly skip?: boolean }
  }
  readonly certificates?: boolean
}

/** Resolves with a home directory of its own. */
const resolve = (home: Home, options: DockerConnection.Options = {}) =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const directory = yield* files.makeTempDirectoryScoped()
    const docker = path.join(directory, ".docker")
    const write = (file: string, content: string) =>
      Effect.andThen(files.makeDirectory(path.dirname(file), { recursive: true }), files.writeFileString(file, content))
    yield* write(
      path.join(docker, "config.json"),
      JSON.stringify({
        auths: {},
        ...(home.currentContext === undefined ? {} : { currentContext: home.currentContext })
      })
    )
    const pem = (where: string) =>
      Effect.forEach(["ca", "cert", "key"], (name) => write(path.join(where, `${name}.pem`), `the ${name}`))
    if (home.certificates === true) yield* pem(path.join(directory, "certificates"))
    for (const [index, [name, { host, skip, tls }]] of Object.entries(home.contexts ?? {}).entries()) {
      const Endpoints = { docker: { Host: host, SkipTLSVerify: skip ?? false } }
      const meta = path.join(docker, "contexts/meta", `id${index}`, "meta.json")
      yield* write(meta, JSON.stringify({ Name: name, Metadata: {}, Endpoints }))
      if (tls === true) yield* pem(path.join(docker, "contexts/tls", `id${index}`, "docker"))
    }
    const env = Object.fromEntries(
      Object.entries({ HOME: directory, ...home.env }).map(([name, value]) => [name, value.replace("~", directory)])
    )
    const target = yield* DockerConnection.resolve(options).pipe(
      Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord(env)))
    )
    return { ...target, source: target.source.replaceAll(directory, "~") }
  }).pipe(Effect.provide(NodeServices.layer))

const contexts = {
  work: { host: "ssh://me@work" },
  lab: { host: "tcp://lab:2376", tls: true },
  lax: { host: "tcp://lax:2376", tls: true, skip: true }
}

describe("the engine", () => {
  it.effect("is found in the order of the docker command", () =>
    Effect.gen(function* () {
      const found: Array<string> = []
      const everything = {
        env: { DOCKER_HOST: "tcp://host:1", DOCKER_CONTEXT: "lab" },
        currentContext: "work",
        contexts
      }
      const look = (home: Home, options?: DockerConnection.Options) =>
        Effect.map(resolve(home, options), ({ address, source }) => found.push(`${address} from ${source}`))
      yield* look(everything, { connection: "tcp://option:2" })
      yield* look(everything, { connection: { _tag: "Unix", path: "/x" } })
      yield* look(everything, { context: "lax" })
      yield* look(everything, { context: "default" })
      yield* look(everything)
      yield* look({ ...everything, env: { DOCKER_CONTEXT: "lab" } })
      yield* look({ ...everything, env: { DOCKER_HOST: "", DOCKER_CONTEXT: "" } })
      yield* look({ ...everything, env: { DOCKER_CONTEXT: "default" } })
      yield* look({ contexts })
      yield* look({ currentContext: "default", contexts })
      assert.deepStrictEqual(found, [
        "tcp://option:2 from the option connection",
        "unix:///x from the option connection",
        "tcp://lax:2376 from the context lax, set by the option context",
        "unix:///var/run/docker.sock from the default, as neither DOCKER_HOST nor a context is set",
        "tcp://host:1 from DOCKER_HOST",
        "tcp://lab:2376 from the context lab, set by DOCKER_CONTEXT",
        "ssh://me@work from the context work, set by ~/.docker/config.json",
        "unix:///var/run/docker.sock from the default, as neither DOCKER_HOST nor a context is set",
        "unix:///var/run/docker.sock from the default, as neither DOCKER_HOST nor a context is set",
        "unix:///var/run/docker.sock from the default, as neither DOCKER_HOST nor a context is set"
      ])
    })
  )

  it.effect("is spoken to with the certificates that belong to it", () =>
    Effect.gen(function* () {
      const tlsOf = (home: Home) =>
        Effect.map(resolve(home), ({ connection }) => {
          if (connection._tag !== "Tcp" || connection.tls === undefined) return undefined
          const { ca, cert, key, verify } = connection.tls
          return `${verify} ${ca} ${cert} ${key === undefined ? undefined : Redacted.value(key)} ${connection.port}`
        })
      const host = { DOCKER_HOST: "tcp://host", DOCKER_CERT_PATH: "~/certificates" }
      assert.isUndefined(yield* tlsOf({ env: host, certificates: true }))
      const verify = { env: { ...host, DOCKER_TLS_VERIFY: "1" }, certificates: true }
      assert.strictEqual(yield* tlsOf(verify), "true the ca the cert the key 2376")
      const only = { env: { ...host, DOCKER_TLS: "1" }, certificates: true }
      assert.strictEqual(yield* tlsOf(only), "false the ca the cert the key 2376")
      assert.strictEqual(yield* tlsOf({ currentContext: "lab", contexts }), "true the ca the cert the key 2376")
      assert.strictEqual(yield* tlsOf({ currentContext: "lax", contexts }), "false the ca the cert the key 2376")
    })
  )

  it.effect("is not found by settings that make no sense, which are named", () =>
    Effect.gen(function* () {
      const complaint = (home: Home, options?: DockerConnection.Options) =>
        Effect.map(Effect.flip(resolve(home, options)), ({ message }) => message)
      assert.match(yield* complaint({ env: { DOCKER_HOST: "tcp:/oops" } }), /^DOCKER_HOST is "tcp:\/oops": expected/)
      assert.match(yield* complaint({ env: { DOCKER_CONTEXT: "no" }, contexts }), /^DOCKER_CONTEXT is "no": expected/)
      assert.match(
        yield* complaint({ currentContext: "gone" }),
        /config\.json is "gone": expected the name of a context/
      )
      assert.match(yield* complaint({}, { context: "no" }), /^the option context is "no"/)
      const odd = { odd: { host: "carrier-pigeon://roof" } }
      assert.match(yield* complaint({ currentContext: "odd", contexts: odd }), /^the context odd .*not carrier-pigeon/s)
    })
  )
})
