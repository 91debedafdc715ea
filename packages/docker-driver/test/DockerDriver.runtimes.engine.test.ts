/* oxlint-disable vitest/no-conditional-tests, vitest/no-disabled-tests -- what cannot be had here is shown as skipped */
import { driverConformance } from "@effect-sandbox/testing/vitest"
import { SandboxDriver } from "@effect-sandbox/core"
import { EnvironmentId, ImageId, SandboxId } from "@effect-sandbox/core/Id"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as DockerClient from "../src/DockerClient.ts"
import * as DockerDriver from "../src/DockerDriver.ts"
import { DockerSandbox } from "../src/DockerSandbox.ts"
import * as docker from "./support/docker.ts"
import * as images from "./support/images.ts"
import * as runtimeEngine from "./support/runtimeEngine.ts"

/** Where runtimes differ most: processes and signals. `SANDBOX_TEST_ALL_TOPICS=1` runs all, see the guide. */
const topics = ["spawning", "kill", "trees", "reset-processes", "death"]

for (const [runtime, transport] of [
  ["crun", "socket"],
  // It lets nobody connect to sockets from outside.
  ["runsc", "attached"]
] as const) {
  const missing = runtimeEngine.missing(runtime)
  if (missing === undefined) {
    const on = (address: string) => DockerClient.layer({ connection: address, timeout: "2 minutes" })
    let engine: string | undefined
    const use = <A, E>(act: (docker: DockerClient.DockerClient["Service"]) => Effect.Effect<A, E>) =>
      Effect.suspend(() =>
        Effect.flatMap(DockerClient.DockerClient, act).pipe(
          Effect.provide(Layer.provide(on(engine ?? ""), NodeServices.layer))
        )
      )
    const layer = Layer.unwrap(
      Effect.gen(function* () {
        const address = yield* runtimeEngine.make
        engine = address
        yield* Effect.provide(images.ensure("debian"), on(address))
        return DockerDriver.layer({ engine: { connection: address }, defaults: { runtime } })
      })
    ).pipe(Layer.provide(NodeServices.layer), Layer.orDie)
    it.live(`DockerDriver on ${runtime} goes over what it finds`, () =>
      Effect.gen(function* () {
        const driver = yield* SandboxDriver
        const instance = yield* driver.create({
          environmentId: EnvironmentId.make("env"),
          sandboxId: SandboxId.make(`env/${runtime}:0:0`),
          image: ImageId.make(images.names.debian),
          slot: 0,
          generation: 0
        })
        const sandbox = Context.getUnsafe(instance.services ?? Context.empty(), DockerSandbox)
        assert.strictEqual(sandbox.transport, transport)
      }).pipe(Effect.scoped, Effect.provide(layer))
    )
    driverConformance(`DockerDriver on ${runtime}`, layer, {
      image: images.names.debian,
      timeLimit: "1 minute",
      layerTimeout: "3 minutes",
      capabilities: { home: true, permissions: true, additionalFds: true, processIsolation: true },
      kill: (target) => use(({ containers }) => containers.kill(docker.containerOf(target))),
      alive: use(({ containers }) => Effect.map(containers.list({}), (found) => found.map(({ Id }) => Id))),
      user: { name: "nobody", uid: 65534 },
      ...(process.env["SANDBOX_TEST_ALL_TOPICS"] === "1" ? {} : { only: { topics } })
    })
  } else {
    describe(`DockerDriver on ${runtime}`, () => {
      it.skip(`cannot be checked here: ${missing}`, () => {})
    })
  }
}
