import { Environment, type EnvironmentConfig, Sandbox } from "@effect-sandbox/core"
import { NodeHttpServer, NodeServices, NodeSocket } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Layer, Option, Queue, Schedule, Stream } from "effect"
import { HttpServer, HttpServerResponse } from "effect/http"
import { ChildProcess } from "effect/process"
import type { Socket } from "effect/socket"
import * as fs from "node:fs"
import * as http from "node:http"
import * as os from "node:os"
import * as path from "node:path"
import type * as DockerDriver from "../src/DockerDriver.ts"
import type { ContainerOptions } from "../src/ContainerOptions.ts"
import { DockerSandbox } from "../src/DockerSandbox.ts"
import * as docker from "./support/docker.ts"
import * as engine from "./support/engine.ts"
import * as images from "./support/images.ts"

const image = images.names.shell
const needed: ReadonlyArray<images.Name> = ["shell", "node", "scratch"]

/** An environment of one sandbox on the real engine. */
const lab = <A, E, R>(
  options: ContainerOptions,
  use: (environment: Environment.Environment<never>) => Effect.Effect<A, E, R>,
  settings: Partial<EnvironmentConfig.Options> = {},
  driver: DockerDriver.Options = {}
) =>
  Effect.gen(function* () {
    const environment = yield* Environment.make({
      id: "docker",
      images: [image],
      pool: 1,
      keepaliveInterval: 0,
      ...settings,
      features: []
    })
    return yield* use(environment)
  }).pipe(
    Effect.scoped,
    Effect.provide(docker.layer(needed, { ...driver, defaults: options })),
    Effect.provide(NodeServices.layer)
  )

/** What a script writes to standard output, in a session of its own. */
const output = (script: string) =>
  Effect.gen(function* () {
    const sandbox = yield* Sandbox
    const { outcome, stderr, stdout } = yield* sandbox.exec("sh", ["-c", script], { timeout: "30 seconds" })
    assert.deepStrictEqual(outcome, { _tag: "Exited", code: 0 }, `${script}: ${stderr}`)
    return stdout.trimEnd()
  })

const inContainer = Effect.gen(function* () {
  return Option.getOrThrow((yield* Sandbox).service(DockerSandbox))
})

const bytes = (text: string) => new TextEncoder().encode(text)

/** Everything that comes over a connection. */
const readAll = (socket: Socket.Socket) =>
  Effect.gen(function* () {
    const { pull } = yield* socket.reader
    const decoder = new TextDecoder()
    let text = ""
    const more = Effect.map(pull, (chunks) => {
      for (const chunk of chunks) text += typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true })
    })
    yield* Effect.flip(Effect.forever(more))
    return text
  }).pipe(Effect.scoped)

const live = (name: string, effect: Effect.Effect<void, unknown>) => it.live(name, () => effect)

describe.skipIf(engine.missing !== undefined)(`DockerDriver${engine.because}`, () => {
  live(
    "by default a sandbox is closed: no network, a read-only root, no capabilities, limits",
    lab({}, (environment) =>
      environment.withSession(
        {},
        Effect.gen(function* () {
          assert.strictEqual(yield* output("id -u; id -g"), "1000\n1000")
          assert.strictEqual(yield* output("pwd; echo $HOME"), "/workspace\n/workspace")
          assert.strictEqual(yield* output("ls /sys/class/net"), "lo")
          assert.strictEqual(yield* output("touch /file /bin/file /etc/file 2>/dev/null || echo refused"), "refused")
          const status = yield* output("cat /proc/self/status")
          for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) {
            assert.match(status, new RegExp(`^${set}:\\s+0+$`, "m"))
          }
          assert.match(status, /^NoNewPrivs:\s+1$/m)
          assert.match(status, /^Seccomp:\s+2$/m)
          const limits = yield* output(
            "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; :"
          )
          assert.include(limits, String(2 ** 30))
          const pids = yield* output("cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; :")
          assert.strictEqual(pids, "1024")
          assert.strictEqual(yield* output("kill -9 1 2>/dev/null || echo refused"), "refused")
          assert.strictEqual((yield* Sandbox).isolation.level, "container")
        })
      )
    )
  )

  live(
    "S1 user 0 has no capabilities either, and leaves no trace in the files that the engine mounts",
    lab({ user: "0" }, (environment) =>
      Effect.gen(function* () {
        const before = yield* environment.withSession({}, output("cat /etc/hosts"))
        const status = yield* environment.withSession(
          {},
          output("echo '1.2.3.4 trace' >>/etc/hosts; cat /proc/self/status")
        )
        assert.match(status, /^CapEff:\s+0+$/m)
        assert.strictEqual(yield* environment.withSession({}, output("cat /etc/hosts")), before)
      })
    )
  )

  live(
    "options reach the container: environment, user, workspace, mounts, hosts, limits",
    lab(
      {
        env: { GREETING: "hello" },
        user: "nobody",
        workdir: "/srv/work space",
        extraHosts: { "db.internal": "10.1.2.3" },
        memory: 256 * 2 ** 20,
        pids: 64,
        cpus: 0.5,
        disk: 8 * 2 ** 20,
        writable: ["/tmp", "/scratch"],
        mounts: [{ source: "/usr/share/doc", target: "/docs" }]
      },
      (environment) =>
        environment.withSession(
          {},
          Effect.gen(function* () {
            assert.strictEqual(yield* output("echo $GREETING; id -un; pwd"), "hello\nnobody\n/srv/work space")
            assert.include(yield* output("cat /etc/hosts"), "10.1.2.3\tdb.internal")
            assert.strictEqual(yield* output("touch /scratch/a && echo yes"), "yes")
            assert.strictEqual(yield* output("touch /var/tmp/a 2>/dev/null || echo no"), "no")
            assert.strictEqual(yield* output("ls /docs | head -n 1 | grep -c ."), "1")
            assert.strictEqual(yield* output("touch /docs/a 2>/dev/null || echo no"), "no")
            assert.strictEqual(
              yield* output("dd if=/dev/zero of=big bs=1M count=20 2>/dev/null; stat -c %s big"),
              String(8 * 2 ** 20)
            )
          })
        )
    )
  )

  live(
    "a workspace starts with its seed in every session",
    lab({ seed: "/etc" }, (environment) =>
      Effect.gen(function* () {
        const script = "ls; rm -rf passwd; echo changed >group"
        const first = yield* environment.withSession({}, output(script))
        assert.include(first.split("\n"), "passwd")
        assert.strictEqual(yield* environment.withSession({}, output(script)), first)
        assert.strictEqual(
          yield* environment.withSession({}, output("cat group")),
          yield* environment.withSession({}, output("cat /etc/group"))
        )
      })
    )
  )

  live(
    "reuse: reset cleans the same container, recreate takes another, keep keeps everything",
    Effect.gen(function* () {
      const twice = (reuse: "keep" | "recreate" | "reset") =>
        lab({ reuse }, (environment) =>
          Effect.forEach([1, 2], () =>
            environment.withSession(
              {},
              Effect.gen(function* () {
                const { containerId } = yield* inContainer
                return { containerId, files: yield* output("ls; touch trace") }
              })
            )
          )
        )
      const [first, second] = yield* twice("reset")
      assert.strictEqual(first?.containerId, second?.containerId)
      assert.deepStrictEqual([first?.files, second?.files], ["", ""])
      const [one, other] = yield* twice("recreate")
      assert.notStrictEqual(one?.containerId, other?.containerId)
      assert.deepStrictEqual([one?.files, other?.files], ["", ""])
      const [before, after] = yield* twice("keep")
      assert.strictEqual(before?.containerId, after?.containerId)
      assert.deepStrictEqual([before?.files, after?.files], ["", "trace"])
    })
  )

  live(
    "an image without a shell, users or /tmp",
    lab(
      {},
      (environment) =>
        environment.withSession(
          { image: images.names.scratch },
          Effect.gen(function* () {
            const sandbox = yield* Sandbox
            const files = yield* FileSystem.FileSystem
            yield* files.writeFileString("input", "from the host")
            assert.strictEqual((yield* sandbox.exec("/busybox", ["cat", "input"])).stdout, "from the host")
            assert.strictEqual((yield* sandbox.exec("/busybox", ["id", "-u"])).stdout, "1000\n")
          })
        ),
      { images: [images.names.scratch] }
    )
  )

  live(
    "a server inside is reached without a network, directly and through a local port",
    lab({}, (environment) =>
      environment.withSession(
        {},
        Effect.gen(function* () {
          const container = yield* inContainer
          yield* Effect.forkScoped(output("while :; do echo 'hello from inside' | nc -l -p 8080 || exit; done"))
          const patient = { schedule: Schedule.spaced("50 millis"), times: 100 }
          const direct = Effect.retry(
            Effect.filterOrFail(
              readAll(container.connect(8080)),
              (text) => text !== "",
              () => "nothing yet"
            ),
            patient
          )
          assert.strictEqual(yield* direct, "hello from inside\n")
          const { host, port } = yield* container.forward(8080)
          const forwarded = Effect.flatMap(NodeSocket.makeNet({ host, port }), readAll)
          assert.strictEqual(
            yield* Effect.retry(
              Effect.filterOrFail(
                forwarded,
                (text) => text !== "",
                () => "nothing yet"
              ),
              patient
            ),
            "hello from inside\n"
          )
        }).pipe(Effect.scoped)
      )
    )
  )

  live(
    "connecting where nobody listens fails, and says so",
    lab({}, (environment) =>
      environment.withSession(
        {},
        Effect.gen(function* () {
          const container = yield* inContainer
          const { reason } = yield* Effect.flip(Effect.scoped(container.connect(9).reader))
          assert.strictEqual(reason._tag, "SocketOpenError")
        })
      )
    )
  )

  live(
    "an egress allow-list lets its hosts through and nobody else",
    Effect.gen(function* () {
      const server = yield* HttpServer.HttpServer
      yield* server.serve(Effect.succeed(HttpServerResponse.text("from outside")))
      const port = "port" in server.address ? server.address.port : 0
      yield* lab(
        { network: { egress: [`localhost:${port}`] } },
        (environment) =>
          environment.withSession(
            {},
            Effect.gen(function* () {
              assert.strictEqual(yield* output(`wget -qO- http://localhost:${port}/ -Y on`), "from outside")
              assert.include(yield* output(`wget -O- http://example.com/ -Y on 2>&1 || :`), "403 Forbidden")
              assert.strictEqual(yield* output("ls /sys/class/net"), "lo")
            })
          ),
        {},
        {}
      )
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.fresh(NodeHttpServer.layer(() => http.createServer(), { port: 0, host: "127.0.0.1" })))
    )
  )

  live(
    "a command on a terminal has its size, also when that changes, and is typed to",
    lab({}, (environment) =>
      environment.withSession(
        {},
        Effect.gen(function* () {
          const container = yield* inContainer
          const sizes = yield* Queue.unbounded<{ readonly rows: number; readonly columns: number }>()
          // A trap waits for the command that runs, which must not be one that waits for ever.
          const script =
            'stty size; trap "stty size; exit 7" WINCH; read line; echo "got $line"; while :; do sleep 0.05; done'
          const typed = yield* Queue.unbounded<Uint8Array>()
          const handle = yield* container.terminal(
            ChildProcess.make("sh", ["-c", script], { stdin: Stream.fromQueue(typed) }),
            { size: { rows: 5, columns: 33 }, resizes: Stream.fromQueue(sizes) }
          )
          let text = ""
          const reading = yield* handle.stdout.pipe(
            Stream.decodeText(),
            Stream.runForEach((more) => Effect.sync(() => (text += more))),
            Effect.forkScoped
          )
          const seen = (what: string) =>
            Effect.sync(() => text).pipe(
              Effect.filterOrFail(
                (all) => all.includes(what),
                () => `${what} is not in ${text}`
              ),
              Effect.retry({ schedule: Schedule.spaced("20 millis"), times: 250 })
            )
          yield* seen("5 33\r\n")
          yield* Queue.offer(typed, bytes("hello\n"))
          yield* seen("hello\r\ngot hello\r\n")
          yield* Queue.offer(sizes, { rows: 44, columns: 300 })
          yield* seen("44 300\r\n")
          assert.strictEqual(Number(yield* handle.exitCode), 7)
          yield* Fiber.join(reading)
        }).pipe(Effect.scoped)
      )
    )
  )

  live(
    "sandboxes of a snapshot start with what the sandbox held",
    Effect.gen(function* () {
      const id = yield* lab({}, (environment) =>
        environment.withSession(
          {},
          Effect.gen(function* () {
            yield* output(
              "mkdir -p 'a b/c'; echo one >'a b/c/file'; ln -s file 'a b/c/link'; chmod 700 'a b'; echo tmp >/tmp/note"
            )
            return yield* (yield* inContainer).snapshot()
          })
        )
      )
      const script = "cat 'a b/c/link' /tmp/note; stat -c '%a %U' 'a b'; echo more >>'a b/c/file'; rm /tmp/note"
      yield* lab(
        {},
        (environment) =>
          Effect.gen(function* () {
            for (let session = 0; session < 2; session++) {
              assert.strictEqual(yield* environment.withSession({}, output(script)), "one\ntmp\n700 sandbox")
            }
          }),
        { images: [id] }
      ).pipe(Effect.ensuring(Effect.ignore(docker.onEngine(({ images }) => images.remove(id, { force: true })))))
    })
  )

  live(
    "files are copied from this machine into the workspace, and back",
    lab({}, (environment) =>
      environment.withSession(
        {},
        Effect.gen(function* () {
          const container = yield* inContainer
          const files = yield* FileSystem.FileSystem
          const directory = fs.mkdtempSync(path.join(os.tmpdir(), "copies-"))
          const [up, down] = [path.join(directory, "up"), path.join(directory, "down")]
          const content = Uint8Array.from({ length: 3_000_000 }, (_, index) => index * 31 + (index >> 8))
          fs.writeFileSync(up, content, { mode: 0o700 })
          yield* container.upload(up, "inside")
          assert.strictEqual(Buffer.compare(yield* files.readFile("inside"), content), 0)
          assert.strictEqual(yield* output("stat -c '%a %u' inside"), "700 1000")
          yield* container.download("inside", down)
          assert.strictEqual(Buffer.compare(fs.readFileSync(down), content), 0)
          fs.rmSync(directory, { recursive: true })
        })
      )
    )
  )

  live(
    "statistics tell what is used, and of how much",
    lab({ memory: 128 * 2 ** 20, pids: 100 }, (environment) =>
      environment.withSession(
        {},
        Effect.gen(function* () {
          yield* Effect.forkScoped(output("while :; do :; done & sleep 20; kill $!"))
          const readings = yield* (yield* inContainer).stats.pipe(Stream.take(3), Stream.runCollect)
          const last = readings.at(-1)
          assert.isAbove(last?.cpuNanos ?? 0, readings[0]?.cpuNanos ?? Number.NaN)
          assert.isAbove(last?.cpus ?? 0, 0)
          assert.strictEqual(last?.memory.limit, 128 * 2 ** 20)
          assert.isAbove(last?.memory.used ?? 0, 0)
          assert.strictEqual(last?.pids.limit, 100)
          assert.isAbove(last?.pids.current ?? 0, 1)
        }).pipe(Effect.scoped)
      )
    )
  )

  live(
    "X1 an image that cannot be had says what to do",
    lab(
      {},
      (environment) =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(environment.withSession({ image: "127.0.0.1:1/nowhere:1" }, Effect.void))
          assert.include(error.message, "127.0.0.1:1/nowhere:1")
        }),
      { images: ["127.0.0.1:1/nowhere:1"], pool: 0, outageGracePeriod: "1 second" }
    )
  )
})

it.effect("X1 F5 invalid options are refused by their paths before anything is asked of an engine", () =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(
      Layer.build(
        docker.bare({
          engine: { connection: "unix:///nowhere" },
          images: { "(": {}, a: { memory: 1 }, b: { source: { _tag: "Reference", reference: "" } } }
        })
      )
    )
    assert.strictEqual(error._tag, "InvalidConfigurationError")
    for (const path of ["images.(", "images.a.memory", "images.b.source"]) assert.include(error.message, path)
  }).pipe(Effect.scoped)
)
