import { Environment, EnvironmentOutageError } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schedule } from "effect"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import * as DockerDriver from "../../src/DockerDriver.ts"
import * as docker from "../support/docker.ts"
import * as engine from "../support/engine.ts"
import * as lab from "../support/lab.ts"
import * as slowEngine from "../support/slowEngine.ts"

const limit = 60_000
const hasSocket = engine.missing === undefined && (await Effect.runPromise(slowEngine.enginePath)) !== undefined
const because =
  engine.missing === undefined && !hasSocket
    ? " (skipped, the engine is not on a socket of this machine)"
    : engine.because

/** Attempts of an outage, at a steady pace. */
const outageRetry = Schedule.spaced("100 millis")

const outageOf = (error: unknown): EnvironmentOutageError => {
  assert.instanceOf(error, EnvironmentOutageError)
  return error
}

describe.skipIf(!hasSocket)(`an engine that is not there${because}`, { concurrent: true }, () => {
  it.live(
    "H3 is an outage that says where it was looked for, and is over when it comes",
    () =>
      Effect.gen(function* () {
        const way = yield* slowEngine.make
        const environment = yield* lab.make({
          driver: { engine: { connection: way.address } },
          outageGracePeriod: "30 seconds",
          outageRetry
        })
        const waiting = yield* Effect.forkChild(environment.withSession({}, lab.output("echo served")))
        const started = yield* lab.event(environment.recorder, "ImageOutageStarted")
        assert.isTrue("error" in started)
        assert.match(JSON.stringify(started), new RegExp(`No container engine answers at ${way.address}`))
        const { images } = yield* environment.stats
        assert.isDefined(images[0]?.outage)
        yield* Effect.sleep(500)
        yield* way.open
        assert.strictEqual(yield* Fiber.join(waiting), "served\n")
        yield* lab.event(environment.recorder, "ImageOutageEnded")
      }),
    limit
  )

  it.live(
    "is asked by its own driver only, also when another driver of the same program has one",
    () =>
      Effect.gen(function* () {
        const way = yield* slowEngine.make
        const reference = "there-is-no-such-image"
        const images = { [reference]: { source: { _tag: "Reference", reference, pull: "never" } } } as const
        const errorOf = (options: DockerDriver.Options) =>
          Effect.gen(function* () {
            const environment = yield* Environment.make({ images: [reference], outageGracePeriod: 0 })
            return lab.causesOf(yield* Effect.flip(environment.withSession({}, Effect.void)))
          }).pipe(Effect.scoped, Effect.provide(DockerDriver.layer({ ...options, images })))
        const [there, absent] = yield* Effect.all([errorOf({}), errorOf({ engine: { connection: way.address } })]).pipe(
          // Layers of one program are built once, if they are the same.
          Effect.provide(engine.layer)
        )
        assert.match(there, /There is no image there-is-no-such-image/)
        assert.match(absent, /No container engine answers/)
      }).pipe(Effect.scoped),
    limit
  )

  it.live(
    "H3 is given up after the grace period, with the cause, for everyone who waits and who comes later",
    () =>
      Effect.gen(function* () {
        const way = yield* slowEngine.make
        const environment = yield* lab.make({
          driver: { engine: { connection: way.address } },
          outageGracePeriod: "700 millis",
          outageRetry
        })
        const [millis, error] = yield* lab.timed(Effect.flip(environment.withSession({}, Effect.void)))
        assert.match(lab.causesOf(outageOf(error)), /No container engine answers at unix:.*Start it \(systemctl/s)
        assert.isAtLeast(millis, 700)
        assert.isBelow(millis, 5000)
        const [again, later] = yield* lab.timed(Effect.flip(environment.withSession({}, Effect.void)))
        outageOf(later)
        assert.isBelow(again, 500)
        // It is tried on, and heals.
        yield* way.open
        yield* lab.event(environment.recorder, "ImageOutageEnded")
        assert.strictEqual(yield* environment.withSession({}, lab.output("echo served")), "served\n")
      }),
    limit
  )

  it.live(
    "H3 H5 ends the environment when it is told so",
    () =>
      Effect.gen(function* () {
        const way = yield* slowEngine.make
        const environment = yield* lab.make({
          driver: { engine: { connection: way.address } },
          outageGracePeriod: "300 millis",
          onOutage: "shutdown",
          outageRetry
        })
        outageOf(yield* Effect.flip(environment.withSession({}, Effect.void)))
        yield* lab.event(environment.recorder, "EnvironmentShutDown")
        const error = yield* Effect.flip(environment.withSession({}, Effect.void))
        assert.strictEqual(error._tag, "EnvironmentClosedError")
      }),
    limit
  )

  it.live(
    "whose socket may not be used says so, and how to mend it",
    () =>
      Effect.gen(function* () {
        const way = yield* slowEngine.make
        yield* way.open
        fs.chmodSync(way.path, 0o600)
        fs.chmodSync(fileURLToPath(new URL(".", `file://${way.path}`)), 0o755)
        // Root may use any socket, so somebody else asks.
        const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
        if (process.getuid?.() !== 0) fs.chmodSync(way.path, 0)
        const program = fileURLToPath(new URL("../support/controller.ts", import.meta.url))
        const order = { labels: { [engine.label]: lab.mark() }, task: "one", sandboxes: 1, engine: way.address }
        const said = yield* Effect.callback<string>((resume) => {
          const child = spawn(process.execPath, [program, JSON.stringify(order)], {
            ...nobody,
            stdio: ["ignore", "pipe", "inherit"]
          })
          let text = ""
          child.stdout.on("data", (bytes: Buffer) => (text += bytes.toString()))
          child.on("close", () => resume(Effect.succeed(text)))
          return Effect.sync(() => child.kill("SIGKILL"))
        })
        assert.match(said, /EnvironmentOutageError/)
        assert.match(said, /You may not use the engine's socket at unix:.*Join its group/)
      }).pipe(Effect.scoped),
    limit
  )
})

describe.skipIf(!hasSocket)(`an engine on a bad way${because}`, { concurrent: true }, () => {
  it.live(
    "that is slow in everything serves all the same, and nothing is taken for dead (F19)",
    () =>
      Effect.gen(function* () {
        const way = yield* slowEngine.make
        way.delay = 150
        yield* way.open
        const environment = yield* lab.make({
          driver: { engine: { connection: way.address } },
          keepaliveInterval: "100 millis",
          pingTimeout: "1 second"
        })
        const body = Effect.forEach([1, 2, 3], (index) => lab.output(`echo ${index}`))
        assert.deepStrictEqual(yield* environment.withSession({}, body), ["1\n", "2\n", "3\n"])
        assert.strictEqual(yield* environment.withSession({}, lab.generation), 0)
      }),
    limit
  )

  it.live(
    "that takes everything and answers nothing is an outage with the question it did not answer",
    () =>
      Effect.gen(function* () {
        const way = yield* slowEngine.make
        way.isMute = true
        yield* way.open
        const environment = yield* lab.make({
          driver: { engine: { connection: way.address, timeout: "2 seconds" } },
          outageGracePeriod: "1 second",
          outageRetry
        })
        const error = outageOf(yield* Effect.flip(environment.withSession({}, Effect.void)))
        assert.match(lab.causesOf(error), /The engine did not answer a ping within 2000 ms/)
        way.isMute = false
        yield* lab.event(environment.recorder, "ImageOutageEnded")
        assert.strictEqual(yield* environment.withSession({}, lab.output("echo served")), "served\n")
      }),
    limit
  )

  it.live(
    "F26 whose answers get lost while sandboxes are made leaves none of them behind",
    () =>
      Effect.gen(function* () {
        const way = yield* slowEngine.make
        yield* way.open
        const environment = yield* lab.make({
          driver: { engine: { connection: way.address, timeout: "2 seconds" } },
          pool: { min: 0, max: 8 },
          outageGracePeriod: "30 seconds",
          outageRetry
        })
        yield* environment.withSession({}, Effect.void) // what is done once is done
        for (const millis of [5, 60, 150]) {
          const sessions = yield* Effect.forkChild(
            Effect.forEach([1, 2, 3], () => environment.withSession({}, Effect.sleep(300)), { concurrency: 3 })
          )
          yield* Effect.sleep(millis)
          way.isMute = true
          yield* Effect.sleep(2500)
          way.isMute = false
          yield* Effect.ignore(Fiber.join(sessions))
        }
        const known = yield* environment.stats
        yield* lab.eventually(
          "there are as many containers as sandboxes",
          Effect.map(environment.containers, (found) => found.length <= known.ledger.live)
        )
      }),
    limit
  )

  it.live(
    "F26 that creates what was given up long ago leaves none of it behind when the driver has ended",
    () =>
      Effect.gen(function* () {
        const way = yield* slowEngine.make
        yield* way.open
        const marked = lab.mark()
        const attempts = Effect.gen(function* () {
          const driver = yield* Layer.build(
            docker.layer(["shell"], {
              engine: { connection: way.address, timeout: "2 seconds" },
              defaults: { labels: { [engine.label]: marked } }
            })
          )
          const environment = yield* Environment.make({
            images: [lab.image],
            outageGracePeriod: "30 seconds",
            outageRetry
          }).pipe(Effect.provideContext(driver))
          yield* environment.withSession({}, Effect.void) // what is done once is done
          yield* environment.shutdown
          const other = yield* Environment.make({
            images: [lab.image],
            outageGracePeriod: "1 second",
            outageRetry
          }).pipe(Effect.provideContext(driver))
          way.creationDelay = 3000
          outageOf(yield* Effect.flip(other.withSession({}, Effect.void)))
          yield* other.shutdown
          yield* Effect.sleep(4000)
        })
        yield* Effect.scoped(attempts)
        const left = yield* docker.onEngine((client) => lab.containersOf(client, marked))
        assert.deepStrictEqual(left, [])
      }).pipe(Effect.scoped),
    limit
  )

  it.live(
    "S4 whose connections all break interrupts the sessions, which are served again at once",
    () =>
      Effect.gen(function* () {
        const way = yield* slowEngine.make
        yield* way.open
        const environment = yield* lab.make({ driver: { engine: { connection: way.address } }, outageRetry })
        const session = yield* Effect.forkChild(
          lab.timed(Effect.flip(environment.withSession({ id: "s" }, lab.exec("sleep", [lab.token()]))))
        )
        yield* lab.event(environment.recorder, "SessionStarted")
        yield* Effect.sleep(200)
        yield* way.close
        const [, error] = yield* Fiber.join(session)
        assert.strictEqual(error._tag, "SandboxStateError")
        yield* way.open
        assert.strictEqual(yield* environment.withSession({}, lab.output("echo served")), "served\n")
      }),
    limit
  )
})
