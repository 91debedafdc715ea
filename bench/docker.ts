/**
 * What the Docker driver adds to its engine, and saves: each as a ratio against the engine's own API, the docker command
 * or testcontainers, in the same run on the same engine. Prints a table and writes `bench/docker-results.json`.
 *
 * `npm run bench:docker [-- --quick] [-- --only <part>]`
 */
import {
  Environment,
  Sandbox,
  SandboxDriver,
  type SandboxInstance,
  SandboxId,
  ImageId,
  EnvironmentId
} from "@effect-sandbox/core"
import { DockerClient, DockerDriver, DockerSandbox } from "@effect-sandbox/docker-driver"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Context, Effect, Exit, FileSystem, Path, Scope, Stdio, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { execFile } from "node:child_process"
import { promisify } from "node:util"
import * as images from "../examples/support/images.ts"
import { isQuick, median, millis, pair, Report, seconds, time, times } from "./measure.ts"
import * as raw from "./rawEngine.ts"
import * as testcontainers from "./testcontainers.ts"

const mebibyte = 1024 * 1024

/** Why there is no engine to measure on; undefined when there is one, which the raw API then uses as well. */
const missing = Effect.gen(function* () {
  const docker = yield* DockerClient.DockerClient
  const { connection } = docker.target
  if (connection._tag !== "Unix") return "the one that is set up is not on a socket of this machine"
  raw.use(connection.path)
  return yield* docker.ping.pipe(
    Effect.timeout("20 seconds"),
    Effect.match({ onSuccess: () => undefined, onFailure: (error) => error.message })
  )
})

const promise = <A>(work: () => Promise<A>) => Effect.promise(work)

/** A command that ends with its input, so that nothing is left when the benchmark is killed. */
const idle = ["cat"]

/** A container of the engine's API itself, for as long as the scope is open. */
const rawContainer = (image: string, command: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    promise(() => raw.createAttachStart(image, command)),
    ({ id }) => promise(() => raw.remove(id))
  )

/** Reads on while what was read before is being written. */
const ahead = <A, E, R>(stream: Stream.Stream<A, E, R>) => Stream.buffer(stream, { capacity: 4 })

let sandboxes = 0

/** A sandbox of the driver's, without an environment around it. */
const create = (image: string): Effect.Effect<SandboxInstance, unknown, SandboxDriver | Scope.Scope> =>
  Effect.flatMap(SandboxDriver, (driver) =>
    driver.create({
      environmentId: EnvironmentId.make("bench"),
      sandboxId: SandboxId.make(`bench-${++sandboxes}`),
      image: ImageId.make(image),
      slot: sandboxes,
      generation: 0
    })
  )

/** Seconds until what is acquired is there; what takes it down is not measured. */
const timeToReady = <A, E, R>(acquire: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const taken = yield* Scope.provide(time(acquire), scope)
    yield* Scope.close(scope, Exit.void)
    return taken
  })

/** The median of the seconds that each of some runs takes. */
const medianOf = <E, R>(runs: number, one: Effect.Effect<unknown, E, R>) =>
  Effect.gen(function* () {
    const taken: Array<number> = []
    for (let run = 0; run < runs; run++) taken.push(yield* time(one))
    return median(taken)
  })

const inParallel = <E, R>(n: number, concurrency: number, one: Effect.Effect<unknown, E, R>) =>
  Effect.forEach(Array.from({ length: n }), () => one, { concurrency, discard: true })

/** How many a second. */
const perSecond = <E, R>(n: number, concurrency: number, one: Effect.Effect<unknown, E, R>) =>
  Effect.map(time(inParallel(n, concurrency, one)), (taken) => n / taken)

const options = { keepaliveInterval: 0, pool: 1, proactiveSessionSetup: true } as const

const must = (command: string, ...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const sandbox = yield* Sandbox
    const { outcome, stderr } = yield* sandbox.exec(command, args)
    if (outcome._tag !== "Exited" || outcome.code !== 0) {
      return yield* Effect.die(new Error(`${command}: ${JSON.stringify(outcome)} ${stderr}`))
    }
  })

const rate = (value: number): string => `${value.toFixed(0)}/s`
const throughput = (value: number): string => `${value.toFixed(0)} MiB/s`

interface Bench {
  readonly report: Report
  readonly quick: boolean
}

const rawReady = (image: string) => timeToReady(rawContainer(image, idle))

/** As the public benchmark of cloud sandboxes measures it: create or acquire, then the first command. */
const interactive = ({ quick, report }: Bench) =>
  Effect.gen(function* () {
    const image = yield* images.ensure("node")
    const cold = timeToReady(
      Effect.gen(function* () {
        const environment = yield* Environment.make({ ...options, id: "cold", images: [image], features: [] })
        yield* environment.withSession({}, must("node", "-v"))
      })
    )
    const rawCold = timeToReady(
      Effect.flatMap(rawContainer(image, ["node", "-v"]), ({ socket }) => promise(() => raw.drain(socket)))
    )
    yield* report.compare(
      "time to interactive, cold / raw run of node -v",
      undefined,
      yield* pair(quick ? 2 : 9, cold, rawCold),
      millis
    )
    const environment = yield* Environment.make({ ...options, id: "warm", images: [image], features: [] })
    const warm = time(environment.withSession({}, must("node", "-v")))
    const { id } = yield* rawContainer(image, idle)
    const exec = time(promise(() => raw.exec(id, ["node", "-v"])))
    yield* report.compare(
      "time to interactive, warm / exec API of node -v",
      undefined,
      yield* pair(quick ? 3 : 21, warm, exec),
      millis
    )
  }).pipe(Effect.scoped)

const commands = ({ quick, report }: Bench) =>
  Effect.gen(function* () {
    const image = yield* images.ensure("shell")
    const docker = yield* DockerClient.DockerClient
    const { id } = yield* rawContainer(image, idle)
    const environment = yield* Environment.make({ ...options, id: "commands", images: [image], features: [] })
    yield* environment.withSession(
      {},
      Effect.gen(function* () {
        const sandbox = yield* Sandbox
        const command = must("true")
        const exec = promise(() => raw.exec(id, ["true"]))
        yield* times(200, command)
        yield* report.compare(
          "command p50 / exec API",
          1 / 30,
          yield* pair(quick ? 3 : 11, medianOf(40, command), medianOf(5, exec)),
          millis
        )
        yield* report.compare(
          "commands with 64 in flight / exec API",
          50,
          yield* pair(quick ? 2 : 5, perSecond(1024, 64, command), perSecond(64, 64, exec)),
          rate,
          "at least"
        )
        yield* report.compare(
          "ping / the engine's",
          undefined,
          yield* pair(quick ? 3 : 11, medianOf(100, sandbox.ping), medianOf(20, docker.ping)),
          millis
        )
      })
    )
  }).pipe(Effect.scoped)

const output = ({ quick, report }: Bench) =>
  Effect.gen(function* () {
    const image = yield* images.ensure("shell")
    const size = quick ? 128 : 512
    const args = ["if=/dev/zero", "bs=65536", `count=${size * 16}`]
    const instance = yield* create(image)
    const counted = Effect.gen(function* () {
      const { stdout } = yield* instance.spawner.spawn(ChildProcess.make("dd", args, { stderr: "ignore" }))
      const length = yield* Stream.runFold(
        stdout,
        () => 0,
        (sum, chunk) => sum + chunk.length
      )
      if (length !== size * mebibyte) return yield* Effect.die(new Error(`${length} bytes came`))
    }).pipe(Effect.scoped)
    const ours = Effect.map(time(counted), (taken) => size / taken)
    const attached = Effect.gen(function* () {
      const { socket } = yield* rawContainer(image, ["dd", ...args])
      const taken = yield* time(promise(() => raw.drain(socket)))
      return size / taken
    }).pipe(Effect.scoped)
    const found = yield* pair(quick ? 2 : 5, ours, attached)
    yield* report.row({
      name: "MiB/s of output",
      ratio: found.subject,
      limit: 100,
      direction: "at least",
      subject: throughput(found.subject),
      baseline: "1 MiB/s"
    })
    yield* report.compare("output / attached stream", undefined, found, throughput, "at least")
  }).pipe(Effect.scoped)

const run = promisify(execFile)

const transfers = ({ quick, report }: Bench) =>
  Effect.gen(function* () {
    const hasDocker = yield* Effect.option(Effect.tryPromise(() => run("docker", ["--version"])))
    if (hasDocker._tag === "None") return yield* Console.log("     transfers: skipped, there is no docker command")
    const image = yield* images.ensure("shell")
    const host = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const directory = yield* host.makeTempDirectoryScoped()
    const size = 100 * mebibyte
    const local = path.join(directory, "up")
    yield* host.writeFile(
      local,
      new Uint8Array(size).map((_, index) => index * 31 + (index >> 8))
    )
    const { fileSystem, services = Context.empty(), workdir } = yield* create(image)
    const container = yield* Effect.fromOption(Context.getOption(services, DockerSandbox))
    const { id } = yield* rawContainer(image, idle)
    const inside = `${workdir}/up`
    const rounds = quick ? 1 : 5
    const copy = (from: string, to: string) => time(promise(() => run("docker", ["cp", "-q", from, to])))
    const copyUp = copy(local, `${id}:/up`)
    const copyDown = copy(`${id}:/up`, path.join(directory, "copied"))
    yield* report.compare(
      "upload of 100 MiB / docker cp",
      1,
      yield* pair(rounds, time(container.upload(local, inside)), copyUp),
      seconds
    )
    yield* report.compare(
      "upload of 100 MiB by streams / docker cp",
      undefined,
      yield* pair(
        rounds,
        time(Stream.run(ahead(host.stream(local, { chunkSize: mebibyte })), fileSystem.sink(inside))),
        copyUp
      ),
      seconds
    )
    yield* report.compare(
      "download of 100 MiB / docker cp",
      1,
      yield* pair(rounds, time(container.download(inside, path.join(directory, "down"))), copyDown),
      seconds
    )
    yield* report.compare(
      "download of 100 MiB by streams / docker cp",
      undefined,
      yield* pair(
        rounds,
        time(
          Stream.run(
            ahead(fileSystem.stream(inside, { chunkSize: mebibyte })),
            host.sink(path.join(directory, "streamed"))
          )
        ),
        copyDown
      ),
      seconds
    )
    const [before, after] = yield* Effect.all([host.readFile(local), host.readFile(path.join(directory, "down"))])
    if (Buffer.compare(before, after) !== 0) return yield* Effect.die(new Error("what came back is something else"))
  }).pipe(Effect.scoped)

const sessions = ({ quick, report }: Bench) =>
  Effect.gen(function* () {
    const image = yield* images.ensure("shell")
    const environment = yield* Environment.make({ ...options, id: "sessions", images: [image], features: [] })
    // One after the other on one sandbox: each waits until the reset after the one before has been done.
    const n = quick ? 20 : 50
    const cycle = Effect.map(time(times(n, environment.withSession({}, must("true")))), (taken) => taken / n)
    yield* report.compare(
      "warm session / testcontainers' start + exec + stop",
      1 / 40,
      yield* pair(quick ? 2 : 7, cycle, time(promise(() => testcontainers.cycle(image, ["true"])))),
      millis
    )
  }).pipe(Effect.scoped)

const starts = ({ quick, report }: Bench) =>
  Effect.gen(function* () {
    const image = yield* images.ensure("shell")
    yield* Effect.scoped(create(image))
    yield* report.compare(
      "cold create to ready / raw create + attach + start",
      1.3,
      yield* pair(quick ? 3 : 15, timeToReady(create(image)), rawReady(image)),
      millis
    )
    const n = quick ? 16 : 64
    yield* report.compare(
      `${n} sandboxes at once / raw API`,
      1.2,
      yield* pair(
        quick ? 1 : 3,
        timeToReady(inParallel(n, n, create(image))),
        timeToReady(inParallel(n, n, rawContainer(image, idle)))
      ),
      seconds
    )
  })

/** Everything that this process holds, after a collection. */
const held = Effect.gen(function* () {
  for (let round = 0; round < 3; round++) {
    globalThis.gc?.()
    yield* Effect.sleep("100 millis")
  }
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
})

const memory = ({ quick, report }: Bench) =>
  Effect.gen(function* () {
    const image = yield* images.ensure("shell")
    const n = quick ? 8 : 32
    const make = (id: string, pool: number) =>
      Environment.make({ ...options, id, images: [image], pool, concurrency: n, features: [] })
    const small = yield* make("small", 1)
    yield* Effect.scoped(make("first", n)) // connections to the engine that stay open
    const before = yield* held
    const large = yield* make("large", n)
    const perSandbox = ((yield* held) - before) / n
    yield* report.row({
      name: "KB of memory per idle sandbox",
      ratio: perSandbox / 1000,
      limit: 100,
      direction: "at most",
      subject: `${perSandbox.toFixed(0)} B`,
      baseline: "1 KB"
    })
    // Neither is to be collected before.
    yield* Effect.all([small.status, large.status])
  }).pipe(Effect.scoped)

const parts = { interactive, commands, output, transfers, sessions, starts, memory }

const main = Effect.gen(function* () {
  const reason = yield* missing
  if (reason !== undefined)
    return yield* Console.log(`The Docker driver is not measured, there is no engine: ${reason}`)
  const quick = yield* isQuick
  const args = yield* Effect.flatMap(Stdio.Stdio, (stdio) => stdio.args)
  const report = new Report()
  for (const [name, part] of Object.entries(parts)) {
    if (args.includes("--only") && !args.includes(name)) continue
    yield* part({ report, quick })
  }
  yield* report.write("docker-results.json", { quick })
})

NodeRuntime.runMain(
  main.pipe(
    Effect.provide(DockerDriver.layer()),
    Effect.provide(DockerClient.layer()),
    Effect.provide(NodeServices.layer)
  )
)
