import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, FileSystem, Path, Pull, Redacted, Scope, Stream } from "effect"
import * as DockerClient from "../src/DockerClient.ts"
import type { DockerError } from "../src/DockerError.ts"
import * as apiVersion from "../src/internal/engine/apiVersion.ts"
import * as fake from "./support/fakeEngine.ts"

const failure = <A, R>(effect: Effect.Effect<A, DockerError, R>) =>
  Effect.map(Effect.flip(effect), ({ message, reason }) => ({ tag: reason._tag, message }))

describe("the version of the API", () => {
  it("is the newest that both speak", () => {
    const { choose, newest } = apiVersion
    assert.deepStrictEqual(["1.40", "1.41", "1.9", "1.39", "2.0", "1.99", "1.41.0", "", "x", "1.41-ce"].map(choose), [
      "1.40",
      "1.41",
      undefined,
      undefined,
      newest,
      newest,
      "1.41",
      undefined,
      undefined,
      undefined
    ])
  })

  it.live("is asked for once, and spoken", () =>
    Effect.gen(function* () {
      const engine = yield* fake.make({ version: "1.43" })
      const docker = yield* fake.connect(engine)
      assert.deepStrictEqual(engine.requests, [])
      yield* docker.info
      yield* docker.info
      assert.deepStrictEqual(engine.requests, ["GET /_ping", "GET /v1.43/info", "GET /v1.43/info"])
      assert.strictEqual(yield* docker.ping, "1.43")
    })
  )

  it.live("that is too old is refused in words", () =>
    Effect.gen(function* () {
      const docker = yield* fake.connect(yield* fake.make({ version: "1.39" }))
      const { message, tag } = yield* failure(docker.ping)
      assert.strictEqual(tag, "UnsupportedVersion")
      assert.include(message, "The engine speaks version 1.39 of the API; 1.40 to")
    })
  )

  it.live("is asked for again after the engine was replaced by an older one", () =>
    Effect.gen(function* () {
      let refuse = true
      const handle: Parameters<typeof fake.make>[0]["handle"] = (_, response) => {
        response.statusCode = refuse ? 400 : 200
        const message = "client version 1.43 is too new. Maximum supported API version is 1.41"
        response.end(refuse ? JSON.stringify({ message }) : "{}")
        refuse = false
      }
      const engine = yield* fake.make({ version: "1.43", handle })
      const docker = yield* fake.connect(engine)
      assert.strictEqual((yield* failure(docker.info)).tag, "UnsupportedVersion")
      yield* docker.info
      assert.strictEqual(engine.requests.filter((request) => request === "GET /_ping").length, 2)
    })
  )

  it.live("is what tells an engine from another server", () =>
    Effect.gen(function* () {
      const docker = yield* fake.connect(yield* fake.make({}))
      const { message, tag } = yield* failure(docker.ping)
      assert.strictEqual(tag, "MalformedResponse")
      assert.include(message, "Is it an engine that listens there?")
    })
  )
})

describe("an engine that is not there", () => {
  it.live("is said to be missing, with the place and the variable", () =>
    Effect.gen(function* () {
      const path = yield* fake.noSocket
      const docker = yield* DockerClient.make({ connection: `unix://${path}` }).pipe(Effect.provide(NodeServices.layer))
      for (const call of [docker.ping, docker.info, Effect.scoped(docker.containers.attach("x"))]) {
        const { message, tag } = yield* failure<unknown, never>(call)
        assert.strictEqual(tag, "EngineUnavailable")
        assert.include(message, `at unix://${path}, which comes from the option connection: there is no such socket`)
      }
    })
  )

  it.live("is found when it has come", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const engine = yield* Scope.provide(fake.make({ version: "1.41" }), scope)
      yield* Scope.close(scope, Exit.void)
      const docker = yield* fake.connect(engine)
      assert.strictEqual((yield* failure(docker.ping)).tag, "EngineUnavailable")
      assert.include((yield* failure(docker.ping)).message, "nothing listens there")
    })
  )
})

describe("an engine that misbehaves", () => {
  it.live("by saying something else is found out", () =>
    Effect.gen(function* () {
      const bodies = ["{", "[]", '{"Id":7}', "<html>", ""]
      let next = 0
      const engine = yield* fake.make({
        version: "1.41",
        handle: (_, response) => response.end(bodies[next++])
      })
      const docker = yield* fake.connect(engine)
      for (const body of bodies) {
        const { tag } = yield* failure(docker.containers.inspect("web"))
        assert.strictEqual(tag, "MalformedResponse", body)
      }
    })
  )

  it.live("by saying nothing is given up in time, and the connection with it", () =>
    Effect.gen(function* () {
      let closed = 0
      const engine = yield* fake.make({
        version: "1.41",
        handle: (request) => request.socket.on("close", () => closed++)
      })
      const docker = yield* fake.connect(engine, { timeout: "150 millis" })
      const { message, tag } = yield* failure(docker.containers.inspect("web"))
      assert.strictEqual(tag, "TimedOut")
      assert.include(message, "did not answer a look at container web within 150 ms")
      yield* Effect.sleep("50 millis")
      assert.strictEqual(closed, 1)
    })
  )

  it.live("by stopping in the middle has lost the connection", () =>
    Effect.gen(function* () {
      const engine = yield* fake.make({
        version: "1.41",
        handle: (request, response) => {
          if (request.url?.endsWith("/json") === true) {
            response.setHeader("content-length", "100")
            response.write("{")
            setTimeout(() => request.socket.destroy(), 20)
          } else {
            request.socket.destroy()
          }
        }
      })
      const docker = yield* fake.connect(engine)
      assert.strictEqual((yield* failure(docker.info)).tag, "ConnectionLost")
      assert.strictEqual((yield* failure(docker.containers.inspect("web"))).tag, "ConnectionLost")
    })
  )

  it.live("by refusing without a word is quoted by its status", () =>
    Effect.gen(function* () {
      const engine = yield* fake.make({
        version: "1.41",
        handle: (_, response) => {
          response.statusCode = 502
          response.end()
        },
        upgrade: (socket) =>
          socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 27\r\n\r\n{"message":"no such thing"}')
      })
      const docker = yield* fake.connect(engine)
      assert.strictEqual(
        (yield* failure(docker.info)).message,
        "The engine failed at a question for its settings (502): status 502"
      )
      const attached = yield* failure(Effect.scoped(docker.containers.attach("web")))
      assert.strictEqual(attached.message, "There is no container web: no such thing")
    })
  )
})

describe("requests", () => {
  it.live("have their names and values encoded, whatever is in them", () =>
    Effect.gen(function* () {
      const engine = yield* fake.make({ version: "1.41", handle: (_, response) => response.end("[]") })
      const docker = yield* fake.connect(engine)
      yield* docker.containers.start("a/../b?c=d#e%2f ü")
      yield* docker.containers.list({ labels: ["a=b&c", 'd="e"'] })
      yield* Effect.ignore(docker.containers.statPath("x", "/tmp/a b&c"))
      for (const name of ["", ".", ".."]) {
        assert.strictEqual((yield* failure(docker.containers.start(name))).tag, "InvalidRequest")
      }
      assert.deepStrictEqual(engine.requests.slice(1), [
        "POST /v1.41/containers/a%2F..%2Fb%3Fc%3Dd%23e%252f%20%C3%BC/start",
        "GET /v1.41/containers/json?all=1&filters=%7B%22label%22%3A%5B%22a%3Db%26c%22%2C%22d%3D%5C%22e%5C%22%22%5D%7D",
        "HEAD /v1.41/containers/x/archive?path=%2Ftmp%2Fa+b%26c"
      ])
    })
  )

  it.live("that are interrupted end their connection", () =>
    Effect.gen(function* () {
      const closed = new Set<unknown>()
      const engine = yield* fake.make({
        version: "1.41",
        handle: (request, response) => {
          request.socket.on("close", () => closed.add(request.socket))
          if (request.url?.includes("stats") === true) response.write("\n")
        }
      })
      const docker = yield* fake.connect(engine)
      for (const call of [docker.info, docker.containers.wait("x"), Stream.runDrain(docker.containers.stats("x"))]) {
        const fiber = yield* Effect.forkChild(Effect.ignore(call))
        yield* Effect.sleep("100 millis")
        yield* Fiber.interrupt(fiber)
      }
      yield* Effect.sleep("50 millis")
      assert.strictEqual(closed.size, 3)
    })
  )
})

describe("a container that belongs to a scope", () => {
  it.live("is removed by its name when nobody knows whether it was made", () =>
    Effect.gen(function* () {
      const engine = yield* fake.make({
        version: "1.41",
        handle: (request, response) => {
          if (request.method === "DELETE") response.end()
        }
      })
      const docker = yield* fake.connect(engine, { timeout: "150 millis" })
      const made = Effect.scoped(docker.containers.scoped({ name: "web", spec: { Image: "a" } }))
      assert.strictEqual((yield* failure(made)).tag, "TimedOut")
      assert.deepStrictEqual(engine.requests.slice(1), [
        "POST /v1.41/containers/create?name=web",
        "DELETE /v1.41/containers/web?force=1&v=1"
      ])
    })
  )

  it.live("is made or not, but not half, when that is interrupted", () =>
    Effect.gen(function* () {
      const engine = yield* fake.make({
        version: "1.41",
        handle: (request, response) => {
          if (request.method === "GET") response.statusCode = 404
          setTimeout(() => response.end(request.method === "POST" ? '{"Id":"1a"}' : ""), 100)
        }
      })
      const docker = yield* fake.connect(engine)
      const made = Effect.scoped(docker.containers.scoped({ name: "web", spec: { Image: "a" } }))
      const fiber = yield* Effect.forkChild(made)
      yield* Effect.sleep("50 millis")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(engine.requests.slice(1), [
        "POST /v1.41/containers/create?name=web",
        "DELETE /v1.41/containers/1a?force=1&v=1",
        "GET /v1.41/containers/1a/json"
      ])
    })
  )

  it.live("that cannot be removed is tried a few times, and then a defect (F15, F23)", () =>
    Effect.gen(function* () {
      let refusals = 2
      const engine = yield* fake.make({
        version: "1.41",
        handle: (request, response) => {
          if (request.method === "POST") return response.end('{"Id":"1a"}')
          if (request.method === "GET") response.statusCode = 404
          else response.statusCode = refusals-- > 0 ? 500 : 204
          return response.end('{"message":"driver failed to remove root filesystem: device or resource busy"}')
        }
      })
      const docker = yield* fake.connect(engine)
      const made = Effect.scoped(docker.containers.scoped({ name: "web", spec: { Image: "a" } }))
      yield* made
      assert.strictEqual(engine.requests.filter((request) => request.startsWith("DELETE")).length, 3)
      refusals = Number.POSITIVE_INFINITY
      const exit = yield* Effect.exit(made)
      assert.isTrue(Exit.hasDies(exit))
    })
  )

  it.live("is seen to have gone: the engine may take its time after it has answered (F15, F23)", () =>
    Effect.gen(function* () {
      let looks = 3
      const engine = yield* fake.make({
        version: "1.41",
        handle: (request, response) => {
          if (request.method === "POST") return response.end('{"Id":"1a"}')
          if (request.method === "DELETE") response.statusCode = 409
          else if (looks-- <= 0) response.statusCode = 404
          else return response.end("{}")
          return response.end('{"message":"removal of container 1a is already in progress"}')
        }
      })
      const docker = yield* fake.connect(engine)
      yield* Effect.scoped(docker.containers.scoped({ name: "web", spec: { Image: "a" } }))
      assert.strictEqual(looks, -1)
    })
  )
})

describe("a hijacked connection", () => {
  const handOver = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"

  it.live("fails a write after the other side has gone, instead of waiting for ever (F4)", () =>
    Effect.gen(function* () {
      const engine = yield* fake.make({
        version: "1.41",
        upgrade: (socket) => {
          socket.write(`${handOver}hello`)
          setTimeout(() => socket.destroy(), 30)
        }
      })
      const docker = yield* fake.connect(engine)
      const { pull, write } = yield* docker.containers.attach("web")
      yield* Effect.sleep("100 millis")
      // What had come before is not lost, whoever has noticed the end (F18).
      const [bytes] = yield* Effect.orDie(pull)
      assert.strictEqual(String(bytes), "hello")
      assert.strictEqual(yield* Pull.catchDone(Effect.as(pull, "more"), () => Effect.succeed("done")), "done")
      for (let attempt = 0; attempt < 3; attempt++) {
        const { tag } = yield* failure(write(Uint8Array.of(1)))
        assert.strictEqual(tag, "ConnectionLost")
      }
    })
  )

  it.live("fails a write that waits when the other side goes", () =>
    Effect.gen(function* () {
      const engine = yield* fake.make({
        version: "1.41",
        upgrade: (socket) => {
          socket.write(handOver)
          socket.pause()
          setTimeout(() => socket.destroy(), 200)
        }
      })
      const docker = yield* fake.connect(engine)
      const { write } = yield* docker.containers.attach("web")
      const endless = Effect.forever(write(new Uint8Array(1_000_000)))
      const { tag } = yield* failure(endless)
      assert.strictEqual(tag, "ConnectionLost")
    })
  )

  it.live("closes with its scope, also when that ends while it is being opened", () =>
    Effect.gen(function* () {
      let closed = 0
      const engine = yield* fake.make({
        version: "1.41",
        upgrade: (socket) => socket.on("end", () => closed++).resume()
      })
      const docker = yield* fake.connect(engine)
      const fiber = yield* Effect.forkChild(Effect.scoped(Effect.ignore(docker.containers.attach("web"))))
      yield* Effect.sleep("100 millis")
      yield* Fiber.interrupt(fiber)
      yield* Effect.sleep("50 millis")
      assert.strictEqual(closed, 1)
    })
  )

  it.live("loses no byte when a pull is interrupted", () =>
    Effect.gen(function* () {
      const engine = yield* fake.make({
        version: "1.41",
        upgrade: (socket) => {
          socket.write(handOver)
          let sent = 0
          const timer = setInterval(() => {
            socket.write(Uint8Array.of(sent++))
            if (sent === 100) {
              clearInterval(timer)
              socket.end()
            }
          }, 2)
        }
      })
      const docker = yield* fake.connect(engine)
      const { pull } = yield* docker.containers.attach("web")
      const seen: Array<number> = []
      const take = Effect.map(pull, (chunks) => {
        for (const chunk of chunks) seen.push(...chunk)
        return true
      })
      let going = true
      while (going) {
        const fiber = yield* Effect.forkChild(Pull.catchDone(take, () => Effect.succeed(false)))
        yield* Effect.sleep("1 millis")
        const exit = yield* Effect.exit(Effect.andThen(Fiber.interrupt(fiber), Fiber.join(fiber)))
        if (Exit.isSuccess(exit)) going = exit.value
      }
      assert.deepStrictEqual(
        seen,
        Array.from({ length: 100 }, (_, index) => index)
      )
    })
  )
})

/** Certificates of an authority of our own, made by the system's openssl. */
const certificates = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = yield* files.makeTempDirectoryScoped()
  const openssl = (...args: ReadonlyArray<string>) =>
    Effect.promise(() => promisify(execFile)("openssl", args, { cwd: directory }))
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
  yield* openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
  for (const name of ["server", "client"]) {
    yield* openssl("req", ...key, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`)
    yield* files.writeFileString(path.join(directory, "ext"), "subjectAltName=IP:127.0.0.1")
    const sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext", "-days", "2"]
    yield* openssl("x509", "-req", "-in", `${name}.csr`, "-out", `${name}.pem`, ...sign)
  }
  const read = (name: string) => files.readFileString(path.join(directory, name))
  return {
    ca: yield* read("ca.pem"),
    server: { key: yield* read("server.key"), cert: yield* read("server.pem"), ca: yield* read("ca.pem") },
    client: { key: Redacted.make(yield* read("client.key")), cert: yield* read("client.pem") }
  }
}).pipe(Effect.provide(NodeServices.layer))

const hasOpenssl = await promisify(execFile)("openssl", ["version"]).then(
  () => true,
  () => false
)

describe.skipIf(!hasOpenssl)("an encrypted connection", () => {
  it.live("needs the right certificates on both sides", () =>
    Effect.gen(function* () {
      const { ca, client, server } = yield* certificates
      const engine = yield* fake.make({
        version: "1.41",
        tls: server,
        upgrade: (socket) => socket.end("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhi")
      })
      const good = yield* fake.connect(engine, { tls: { verify: true, ca, ...client } })
      assert.strictEqual(yield* good.ping, "1.41")
      const { pull } = yield* good.containers.attach("web")
      const [bytes] = yield* Effect.orDie(pull)
      assert.strictEqual(String(bytes), "hi")

      const careless = yield* fake.connect(engine, { tls: { verify: false, ...client } })
      assert.strictEqual(yield* careless.ping, "1.41")

      const stranger = yield* fake.connect(engine, { tls: { verify: true, ...client } })
      const { message, tag } = yield* failure(stranger.ping)
      assert.strictEqual(tag, "EngineUnavailable")
      assert.include(message, "see DOCKER_CERT_PATH and DOCKER_TLS_VERIFY")

      const nobody = yield* fake.connect(engine, { tls: { verify: true, ca } })
      assert.include(["EngineUnavailable", "ConnectionLost"], (yield* failure(nobody.ping)).tag)
      const plain = yield* fake.connect(engine)
      assert.include(["EngineUnavailable", "ConnectionLost"], (yield* failure(plain.ping)).tag)
    })
  )
})
