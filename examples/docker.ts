/**
 * Containers of a Docker engine: files, commands, a server inside, statistics, and an image of what was prepared.
 * Without an engine it says so, and that is all.
 */
import { Environment, Sandbox } from "@effect-sandbox/core"
import { DockerClient, DockerDriver, DockerSandbox } from "@effect-sandbox/docker-driver"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, FileSystem, Layer, Option, Schedule, Stream } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import * as images from "./support/images.ts"

class Lab extends Environment.Service<Lab>()("examples/Lab", { images: ["shell"] }) {}

/** What only sandboxes of this driver have. */
const docker = Effect.flatMap(Sandbox, (sandbox) => Effect.fromOption(sandbox.service(DockerSandbox)))

const prepare = Effect.gen(function* () {
  const sandbox = yield* Sandbox
  const files = yield* FileSystem.FileSystem
  yield* files.writeFileString("index.html", "hello from a container\n")
  const { stdout } = yield* sandbox.exec("sh", ["-c", "id -un; pwd; ls /sys/class/net; cat index.html"])
  yield* Console.log(`In ${sandbox.id} (isolation: ${sandbox.isolation.level}):\n${stdout.trimEnd()}`)
})

/** There is no network inside; ports are reached through the driver. */
const serve = Effect.gen(function* () {
  const { forward } = yield* docker
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  // Ends with the scope.
  yield* spawner.spawn(ChildProcess.make("httpd", ["-f", "-p", "8080"]))
  const { host, port } = yield* forward(8080)
  const page = yield* HttpClient.get(`http://${host}:${port}/`).pipe(
    Effect.flatMap(({ text }) => text),
    // It may not listen yet.
    Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 40 })
  )
  yield* Console.log(`Through port ${port} of this machine: ${page.trimEnd()}`)
}).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer))

const look = Effect.gen(function* () {
  const { stats } = yield* docker
  const reading = yield* Stream.runHead(stats)
  if (Option.isNone(reading)) return
  const { memory, pids } = reading.value
  yield* Console.log(`It uses ${Math.ceil(memory.used / 1024)} KiB of memory and ${pids.current} processes and threads`)
})

/** An image of what the session's sandbox holds, for as long as the scope is open. */
const snapshot = Effect.gen(function* () {
  const client = yield* DockerClient.DockerClient
  const { snapshot } = yield* docker
  return yield* Effect.acquireRelease(snapshot(), (image) => Effect.ignore(client.images.remove(image)))
})

const program = Effect.gen(function* () {
  const image = yield* Lab.withSession(
    {},
    prepare.pipe(Effect.andThen(serve), Effect.andThen(look), Effect.andThen(snapshot))
  )
  const copies = yield* Environment.make({ id: "copies", images: [image] })
  yield* copies.withSession(
    {},
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      yield* Console.log(
        `A sandbox of the snapshot starts with: ${(yield* files.readFileString("index.html")).trimEnd()}`
      )
    })
  )
}).pipe(Effect.scoped)

/** The image is made of what this machine has; with a registry, `images: ["debian:13"]` and no options would do. */
const driver = Layer.unwrap(
  Effect.map(images.ensure("shell"), (reference) =>
    DockerDriver.layer({ images: { shell: { source: { _tag: "Reference", reference, pull: "never" } } } })
  )
)

program.pipe(
  Effect.provide(
    Lab.layer.pipe(
      Layer.provideMerge(driver),
      Layer.provideMerge(DockerClient.layer()),
      Layer.provide(NodeServices.layer)
    )
  ),
  Effect.catchReasons("DockerError", {
    EngineUnavailable: ({ message }) => Console.log(`Skipped. ${message}`),
    PermissionDenied: ({ message }) => Console.log(`Skipped. ${message}`)
  }),
  Effect.catchTag("IngredientMissing", ({ message }) => Console.log(`Skipped: ${message}`)),
  NodeRuntime.runMain
)
