/** What goes over a socket of this machine, what does not, and that neither lets anything in or out. */
import { Sandbox, SandboxDriver } from "@effect-sandbox/core"
import { EnvironmentId, ImageId, SandboxId } from "@effect-sandbox/core/Id"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Option, Random, type Scope } from "effect"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import * as DockerClient from "../src/DockerClient.ts"
import * as DockerDriver from "../src/DockerDriver.ts"
import { DockerSandbox } from "../src/DockerSandbox.ts"
import * as places from "../src/internal/places.ts"
import * as docker from "./support/docker.ts"
import * as engine from "./support/engine.ts"
import * as images from "./support/images.ts"
import * as lab from "./support/lab.ts"
import * as secondEngine from "./support/secondEngine.ts"
import * as slowEngine from "./support/slowEngine.ts"

const limit = 60_000

const directory = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "transport-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

/** Where this process has its temporary files meanwhile. */
const useTemporary = (directory: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = process.env["TMPDIR"]
      process.env["TMPDIR"] = directory
      return before
    }),
    (before) =>
      Effect.sync(() => {
        if (before === undefined) delete process.env["TMPDIR"]
        else process.env["TMPDIR"] = before
      })
  )

const temporary = Effect.tap(directory, useTemporary)

const live = (
  name: string,
  test: (temporary: string) => Effect.Effect<void, unknown, Scope.Scope | NodeServices.NodeServices>,
  timeout = limit
) =>
  it.live(name, () => Effect.scoped(Effect.flatMap(temporary, test)).pipe(Effect.provide(NodeServices.layer)), timeout)

const inside = Effect.map(Sandbox, (sandbox) => Option.getOrThrow(sandbox.service(DockerSandbox)))
const transport = Effect.map(inside, (sandbox) => sandbox.transport)

/** A sandbox without an environment around it. */
let sandboxes = 0
const create = (driver: SandboxDriver["Service"], image: string = lab.image) =>
  Effect.map(
    driver.create({
      environmentId: EnvironmentId.make("env"),
      sandboxId: SandboxId.make(`env/transport:0:${++sandboxes}`),
      image: ImageId.make(image),
      slot: 0,
      generation: 0
    }),
    (instance) => Context.getUnsafe(instance.services ?? Context.empty(), DockerSandbox)
  )

const driverOn = (options: DockerDriver.Options) =>
  Effect.map(Layer.build(docker.layer(["shell"], options)), (context) => Context.get(context, SandboxDriver))

/** The number of a container in its name: the driver counts. */
const numberOf = (client: DockerClient.DockerClient["Service"], id: string) =>
  Effect.map(client.containers.inspect(id), ({ Name }) => Number(Name.split("-").at(-1)))

describe.skipIf(!engine.sharesFiles)(`the transport${engine.because}`, () => {
  live("is a socket where the engine is on this machine, and stays it through resets", (temporary) =>
    Effect.gen(function* () {
      const world = yield* lab.make({ pool: 1 })
      const session = Effect.all([transport, lab.containerId, lab.output("cat left 2>/dev/null; echo x >left")])
      const first = yield* world.withSession({}, session)
      assert.strictEqual(first[0], "socket")
      assert.deepStrictEqual(yield* world.withSession({}, session), first)
      assert.lengthOf(fs.readdirSync(temporary), 1)
    })
  )

  live("leaves nothing inside that could be connected to or written to, by root either", (temporary) =>
    Effect.gen(function* () {
      const world = yield* lab.make({ pool: 1, driver: { defaults: { user: "0" } } })
      yield* world.withSession(
        {},
        Effect.gen(function* () {
          assert.strictEqual(yield* transport, "socket")
          const at = places.socketDirectory
          assert.strictEqual(yield* lab.output(`ls -A ${at}`), "")
          const [mount = ""] = (yield* lab.output(`grep ' ${at} ' /proc/self/mountinfo`)).split("\n")
          const [, , , source = "", , options = ""] = mount.split(" ")
          assert.include(options.split(","), "ro")
          assert.isTrue(source.endsWith(`${path.basename(temporary)}/${fs.readdirSync(temporary)[0]}/1`), source)
          for (const attempt of [
            `touch ${at}/file`,
            `mkfifo ${at}/pipe`,
            `chmod 777 ${at}`,
            `chown 1000 ${at}`,
            `rmdir ${at}`,
            `mv ${at} ${places.home}/`,
            `mount -o remount,rw ${at}`,
            `umount ${at}`
          ]) {
            const { outcome } = yield* lab.sh(attempt)
            assert.isFalse(outcome._tag === "Exited" && outcome.code === 0, attempt)
          }
          // None listens; the agent's is one that is connected.
          const sockets = (yield* lab.output("cat /proc/net/unix")).split("\n").slice(1)
          assert.isNotEmpty(sockets)
          assert.deepStrictEqual(
            sockets.filter((line) => line.split(/ +/)[3] === "00010000"),
            []
          )
          assert.notInclude(yield* lab.output("ls -l /proc/self/fd"), "socket:")
          assert.strictEqual(yield* lab.output("for fd in 0 1 2 3 4; do readlink /proc/1/fd/$fd; done; :"), "")
        })
      )
      // Nor on this machine.
      const [root = ""] = fs.readdirSync(temporary)
      assert.strictEqual(fs.statSync(path.join(temporary, root)).mode & 0o777, 0o700)
      assert.deepStrictEqual(fs.readdirSync(path.join(temporary, root), { recursive: true }), ["1"])
    })
  )

  live("leaves nothing in an image of a snapshot", () =>
    Effect.gen(function* () {
      const world = yield* lab.make({ pool: 1 })
      const { containers, images } = world.docker
      const image = yield* Effect.acquireRelease(
        world.withSession(
          {},
          Effect.flatMap(inside, (sandbox) => sandbox.snapshot())
        ),
        (id) => Effect.ignore(images.remove(id))
      )
      const name = lab.mark()
      const { Id } = yield* containers.scoped({ name, spec: { Image: image, Entrypoint: [places.agent] } })
      const error = yield* Effect.flip(containers.statPath(Id, places.socketDirectory))
      assert.strictEqual(error.reason._tag, "NotFound")
    }).pipe(Effect.scoped)
  )

  live("is the attached stream when that is asked for", (temporary) =>
    Effect.gen(function* () {
      const driver = yield* driverOn({ transport: "attached" })
      const sandbox = yield* create(driver)
      assert.strictEqual(sandbox.transport, "attached")
      assert.deepStrictEqual(fs.readdirSync(temporary), [])
    })
  )

  live("is the attached stream where the agent cannot connect, from then on without another attempt", () =>
    Effect.gen(function* () {
      const noUnixSockets = JSON.stringify({
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [{ names: ["socket"], action: "SCMP_ACT_ERRNO", args: [{ index: 0, value: 1, op: "SCMP_CMP_EQ" }] }]
      })
      const driver = yield* driverOn({ images: { [lab.image]: { seccomp: noUnixSockets } } })
      const client = Context.get(yield* Layer.build(engine.layer), DockerClient.DockerClient)
      for (const isFirst of [true, false]) {
        const { containerId, transport } = yield* create(driver)
        assert.strictEqual(transport, "attached")
        const { State } = yield* client.containers.inspect(containerId)
        const command = fs.readFileSync(`/proc/${State.Pid}/cmdline`, "utf8")
        assert.include(command, places.agent)
        assert.strictEqual(command.includes("--socket"), isFirst)
      }
      // Others can.
      assert.strictEqual((yield* create(driver, `${lab.image}:latest`)).transport, "socket")
    })
  )

  live("is the attached stream over TCP, whose other end may be anywhere", (temporary) =>
    Effect.gen(function* () {
      const target = yield* slowEngine.enginePath
      const server = yield* Effect.acquireRelease(
        Effect.callback<net.Server>((resume) => {
          const server = net.createServer((from) => {
            const to = net.connect(target ?? "")
            for (const [one, other] of [
              [from, to],
              [to, from]
            ] as const) {
              one.pipe(other)
              one.on("error", () => other.destroy())
            }
          })
          server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => void server.close())
      )
      const address = server.address()
      const port = typeof address === "object" ? address?.port : undefined
      const driver = yield* driverOn({ engine: { connection: `tcp://127.0.0.1:${port}` } })
      assert.strictEqual((yield* create(driver)).transport, "attached")
      assert.deepStrictEqual(fs.readdirSync(temporary), [])
    })
  )

  live("leaves no directory when a creation is interrupted at any moment, and none when the driver goes", (temporary) =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const driver = yield* driverOn({})
          const [millis] = yield* lab.timed(Effect.scoped(create(driver)))
          const tries = Array.from({ length: 20 }, (_, index) => index)
          yield* Effect.forEach(
            tries,
            (index) =>
              Effect.gen(function* () {
                const creation = yield* Effect.forkChild(Effect.scoped(create(driver)), { startImmediately: true })
                yield* Effect.sleep((millis * (index + (yield* Random.next))) / tries.length)
                yield* Fiber.interrupt(creation)
              }),
            { concurrency: 4, discard: true }
          )
          const [root = ""] = fs.readdirSync(temporary)
          assert.deepStrictEqual(fs.readdirSync(path.join(temporary, root)), [])
        })
      )
      assert.deepStrictEqual(fs.readdirSync(temporary), [])
    })
  )

  live("dies with its container, and tells why and what the agent's last words were", () =>
    Effect.gen(function* () {
      const world = yield* lab.make({ pool: 1 })
      const body = Effect.gen(function* () {
        const id = yield* lab.containerId
        const running = yield* Effect.forkChild(Effect.flip(lab.sh("sleep 100")), { startImmediately: true })
        yield* world.docker.containers.kill(id)
        return yield* Fiber.join(running)
      })
      const error = yield* Effect.flip(world.withSession({}, Effect.flatMap(body, Effect.fail)))
      assert.include(lab.causesOf(error), "exit code 137")
    })
  )
})

const { missing } = secondEngine

/** A driver on an engine of its own, from which, or from whose runtime, temporary files are hidden. */
const apart = (hidden: keyof secondEngine.Options) =>
  Effect.gen(function* () {
    const temporary = yield* directory
    const second = yield* secondEngine.make({}, { [hidden]: temporary })
    yield* second.start
    yield* useTemporary(temporary)
    const context = yield* Layer.build(
      Layer.mergeAll(
        DockerClient.layer({ connection: second.address }),
        DockerDriver.layer({ engine: { connection: second.address }, defaults: { memory: 64 * 1024 * 1024 } })
      ).pipe(Layer.provide(NodeServices.layer))
    )
    yield* Effect.provide(images.ensure("shell"), Layer.merge(Layer.succeedContext(context), NodeServices.layer))
    return {
      temporary,
      driver: Context.get(context, SandboxDriver),
      client: Context.get(context, DockerClient.DockerClient)
    }
  })

describe.skipIf(missing !== undefined)(
  `the transport where an engine has other files${missing === undefined ? "" : ` (skipped, there can be no second engine: ${missing})`}`,
  () => {
    for (const [who, hidden] of [
      ["the engine", "hiddenFromEngine"],
      ["its runtime", "hiddenFromRuntime"]
    ] as const) {
      it.live(
        `is the attached stream when ${who} does not find the directory, from then on without another attempt`,
        () =>
          Effect.gen(function* () {
            const { client, driver, temporary } = yield* apart(hidden)
            const first = yield* create(driver)
            const second = yield* create(driver)
            assert.deepStrictEqual([first.transport, second.transport], ["attached", "attached"])
            const numbers = yield* Effect.forEach([first, second], ({ containerId }) => numberOf(client, containerId))
            // Each attempt takes two names, one for a helper that it may need.
            assert.strictEqual((numbers[1] ?? 0) - (numbers[0] ?? 0), 2)
            // Of the attempt that was refused, nothing is there.
            assert.lengthOf(yield* client.containers.list({}), 2)
            const [root = ""] = fs.readdirSync(temporary)
            assert.deepStrictEqual(fs.readdirSync(path.join(temporary, root)), [])
          }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
        120_000
      )
    }
  }
)

describe("the option", () => {
  it.effect("X1 knows two ways", () =>
    Effect.gen(function* () {
      // As from a program without types.
      const options = { transport: "pigeons" } as unknown as DockerDriver.Options
      const error = yield* Effect.flip(Layer.build(docker.bare(options)))
      assert.include(error.message, "transport")
    }).pipe(Effect.scoped)
  )
})
