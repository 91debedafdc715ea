/**
 * A program that has an environment, for tests that kill it: `node controller.ts '{"labels": …, "task": …}'`. Tells on its
 * standard output what it has come to.
 */
import { Environment, Sandbox } from "@effect-sandbox/core"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Effect, Layer, Schema } from "effect"
import * as DockerDriver from "../../src/DockerDriver.ts"
import { DockerSandbox } from "../../src/DockerSandbox.ts"
import * as images from "./images.ts"

const Order = Schema.fromJsonString(
  Schema.Struct({
    /** Of its containers. */
    labels: Schema.Record(Schema.String, Schema.String),
    /** `busy`: every sandbox runs commands; `one`: asks for one sandbox, and tells why there is none. */
    task: Schema.Literals(["busy", "one"]),
    sandboxes: Schema.Int,
    /** Default: auto. */
    transport: Schema.optional(Schema.Literals(["auto", "attached"])),
    /** The engine's address. Default: where the docker command finds it. */
    engine: Schema.optional(Schema.String)
  })
)

const tell = (line: string) => Effect.sync(() => void process.stdout.write(`${line}\n`))

const program = Effect.gen(function* () {
  const {
    engine: connection,
    labels,
    sandboxes,
    task,
    transport
  } = yield* Schema.decodeUnknownEffect(Order)(process.argv[2])
  const driver = yield* Layer.build(
    DockerDriver.layer({
      engine: { connection },
      transport,
      sweep: false,
      defaults: { memory: 64 * 1024 * 1024, labels }
    })
  )
  const environment = yield* Environment.make({
    images: [images.names.shell],
    pool: { min: 0, max: sandboxes },
    concurrency: sandboxes,
    outageGracePeriod: 0
  }).pipe(Effect.provide(driver))
  if (task === "one") {
    yield* environment.withSession({}, Effect.void).pipe(
      Effect.matchEffect({
        onSuccess: () => tell("served"),
        onFailure: (error) => tell(JSON.stringify({ tag: error._tag, message: error.message }))
      })
    )
    return
  }
  const busy = Effect.gen(function* () {
    const sandbox = yield* Sandbox
    yield* sandbox.exec("true")
    yield* tell(`up, over ${(yield* Effect.fromOption(sandbox.service(DockerSandbox))).transport}`)
    const talks = sandbox.exec("sh", ["-c", "while :; do echo something; usleep 100000; done"])
    const runs = Effect.forever(Effect.delay(sandbox.exec("sh", ["-c", "echo once"]), "50 millis"))
    yield* Effect.all([talks, runs], { concurrency: 2 })
  })
  yield* Effect.all(
    Array.from({ length: sandboxes }, () => environment.withSession({}, busy)),
    { concurrency: "unbounded" }
  )
}).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

NodeRuntime.runMain(program)
