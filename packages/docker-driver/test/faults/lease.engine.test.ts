import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, type Scope } from "effect"
import { spawn, type ChildProcess } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as os from "node:os"
import { fileURLToPath } from "node:url"
import * as DockerClient from "../../src/DockerClient.ts"
import * as labels from "../../src/internal/labels.ts"
import * as ownership from "../../src/internal/owner.ts"
import * as places from "../../src/internal/places.ts"
import * as sweep from "../../src/internal/sweep.ts"
import * as engine from "../support/engine.ts"
import * as images from "../support/images.ts"
import * as lab from "../support/lab.ts"

const limit = 60_000

interface Controller {
  readonly process: ChildProcess
  /** Its lines so far. */
  readonly lines: Array<string>
  /** Kills it as nobody can catch; when it is no more. */
  readonly kill: Effect.Effect<void>
}

/** A process of its own that has an environment; gone with the scope. */
const controller = (mark: string, sandboxes: number, transport: "auto" | "attached" = "auto") =>
  Effect.acquireRelease(
    Effect.sync((): Controller => {
      const program = fileURLToPath(new URL("../support/controller.ts", import.meta.url))
      const order = { labels: { [engine.label]: mark }, sandboxes, transport, task: "busy" }
      const child = spawn(process.execPath, [program, JSON.stringify(order)], { stdio: ["ignore", "pipe", "inherit"] })
      const lines: Array<string> = []
      let rest = ""
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        const parts = (rest + text).split("\n")
        rest = parts.pop() ?? ""
        lines.push(...parts)
      })
      const kill = Effect.promise(async () => {
        if (child.exitCode !== null || child.signalCode !== null) return
        child.kill("SIGKILL")
        await once(child, "exit")
      })
      return { process: child, lines, kill }
    }),
    ({ kill }) => kill
  )

const up = ({ lines }: Controller, count: number) =>
  lab.eventually(
    `${count} sandboxes are up`,
    Effect.sync(() => lines.filter((line) => line.startsWith("up")).length >= count),
    40_000
  )

/** Something on the engine that goes with the scope. */
const container = (docker: lab.Docker, name: string, owned: { readonly [label: string]: string }) =>
  docker.containers.scoped({
    name,
    spec: {
      Image: `${images.names.shell}:latest`,
      Entrypoint: [places.agent],
      Labels: owned,
      HostConfig: { NetworkMode: "none" }
    }
  })

const withEngine = <A, E>(
  test: (docker: lab.Docker, mark: string) => Effect.Effect<A, E, FileSystem.FileSystem | Scope.Scope>
) =>
  Effect.gen(function* () {
    yield* images.ensure("shell")
    const docker = yield* DockerClient.DockerClient
    const mark = lab.mark()
    yield* Effect.addFinalizer(() =>
      Effect.orDie(
        Effect.flatMap(lab.containersOf(docker, mark), (left) =>
          Effect.forEach(left, ({ Id }) => docker.containers.remove(Id), { discard: true })
        )
      )
    )
    return yield* test(docker, mark)
  }).pipe(Effect.scoped, Effect.provide(engine.layer))

describe.skipIf(engine.missing !== undefined)(`the lease${engine.because}`, () => {
  const ways = [
    { sandboxes: 50, transport: "auto", over: engine.sharesFiles ? "socket" : "attached" },
    { sandboxes: 10, transport: "attached", over: "attached" }
  ] as const
  for (const { over, sandboxes, transport } of ways) {
    it.live(
      `F8 two seconds after a process was killed that had ${sandboxes} busy sandboxes (${transport}), there is none of them`,
      () =>
        withEngine((docker, mark) =>
          Effect.gen(function* () {
            const child = yield* controller(mark, sandboxes, transport)
            yield* up(child, sandboxes)
            assert.deepStrictEqual([...new Set(child.lines)], [`up, over ${over}`])
            assert.lengthOf(yield* lab.containersOf(docker, mark), sandboxes)
            const slowness = yield* lab.slowness(docker)
            yield* child.kill
            // Nobody asks meanwhile: the engine has enough to do.
            yield* Effect.sleep(2000 * slowness)
            assert.lengthOf(yield* lab.containersOf(docker, mark), 0)
          })
        ),
      limit
    )
  }

  it.live(
    "F8 F11 one that was killed while it made sandboxes leaves at most what never started, and that the next driver removes",
    () =>
      withEngine((docker, mark) =>
        Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          const child = yield* controller(mark, 16)
          const created = Effect.map(lab.containersOf(docker, mark), (found) =>
            found.some(({ State }) => State === "created")
          )
          yield* lab.eventually("one is created, and not started", created, 20_000)
          yield* child.kill
          const [first] = yield* lab.containersOf(docker, mark)
          const owner = first?.Labels[labels.owner] ?? ""
          assert.isTrue(yield* ownership.isGone(files, owner))
          // One for certain, whatever moment it was.
          const own = { [labels.kind]: labels.kinds.sandbox, [labels.owner]: owner, [engine.label]: mark }
          yield* container(docker, `effect-sandbox-${mark}-left`, own)
          yield* Effect.sleep(2000)
          const left = yield* lab.containersOf(docker, mark)
          assert.isNotEmpty(left)
          assert.deepStrictEqual([...new Set(left.map(({ State }) => State))], ["created"])
          const directories = () =>
            fs.readdirSync(os.tmpdir()).filter((name) => name.includes(`-${child.process.pid}-`))
          if (engine.sharesFiles) assert.isNotEmpty(directories())
          // A driver sweeps when it is asked for its first sandbox.
          const environment = yield* lab.make()
          yield* environment.withSession({}, Effect.void)
          assert.deepStrictEqual(yield* lab.containersOf(docker, mark), [])
          assert.deepStrictEqual(directories(), [])
        })
      ),
    limit
  )

  it.live(
    "F9 F10 the sweep takes what a dead process of ours has left, and nothing that only looks like it",
    () =>
      withEngine((docker, mark) =>
        Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          const alive = yield* ownership.current(files, process.pid)
          const [random = "", boot = "", pid = "", start = ""] = alive.split("/")
          const kind = { [labels.kind]: labels.kinds.sandbox, [engine.label]: mark }
          const dead = `${random}/${boot}/${pid}/1${start}`
          const make = (name: string, owned: { readonly [label: string]: string }) =>
            Effect.map(container(docker, `effect-sandbox-${mark}-${name}`, owned), ({ Id }) => Id)
          const ours = [
            yield* make("reused-pid", { ...kind, [labels.owner]: dead }),
            yield* make("helper", { ...kind, [labels.kind]: labels.kinds.helper, [labels.owner]: dead })
          ]
          yield* make("alive", { ...kind, [labels.owner]: alive })
          yield* make("other-boot", { ...kind, [labels.owner]: `${random}/00000000-0000-0000-0000-000000000000/1/1` })
          yield* make("no-owner", kind)
          yield* make("odd-owner", { ...kind, [labels.owner]: "somebody" })
          yield* make("other-kind", { ...kind, [labels.kind]: "sandboxes", [labels.owner]: dead })
          yield* make("only-a-name", { [engine.label]: mark })
          const removed = yield* sweep.run(docker, files)
          assert.includeMembers(removed, ours)
          const left = yield* lab.containersOf(docker, mark)
          assert.deepStrictEqual(
            left.map(({ Names }) => Names[0]?.slice(`/effect-sandbox-${mark}-`.length)).toSorted(),
            ["alive", "no-owner", "odd-owner", "only-a-name", "other-boot", "other-kind"]
          )
        })
      ),
    limit
  )

  it.live(
    "F8 a frozen container of a killed process goes as soon as it is thawed, and is swept while it is not",
    () =>
      withEngine((docker, mark) =>
        Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          const child = yield* controller(mark, 3)
          yield* up(child, 3)
          const [first, second] = yield* lab.containersOf(docker, mark)
          assert.isDefined(first)
          assert.isDefined(second)
          yield* docker.containers.pause(first.Id)
          yield* docker.containers.pause(second.Id)
          yield* child.kill
          const states = Effect.map(lab.containersOf(docker, mark), (found) => found.map(({ State }) => State))
          yield* lab.eventually(
            "only the frozen ones are left",
            Effect.map(states, (found) => found.join() === "paused,paused"),
            2000
          )
          yield* docker.containers.unpause(first.Id)
          yield* lab.eventually(
            "the thawed one has gone",
            Effect.map(states, (found) => found.join() === "paused"),
            2000
          )
          assert.include(yield* sweep.run(docker, files), second.Id)
          assert.deepStrictEqual(yield* states, [])
        })
      ),
    limit
  )
})
