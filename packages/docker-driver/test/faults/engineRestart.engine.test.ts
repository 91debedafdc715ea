import { Environment, SandboxStateError } from "@effect-sandbox/core"
import { EventRecorder } from "@effect-sandbox/core/EventRecorder"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Schedule } from "effect"
import * as DockerClient from "../../src/DockerClient.ts"
import * as DockerDriver from "../../src/DockerDriver.ts"
import * as images from "../support/images.ts"
import * as lab from "../support/lab.ts"
import * as secondEngine from "../support/secondEngine.ts"

const limit = 180_000
const { missing } = secondEngine
const because = missing === undefined ? "" : ` (skipped, there can be no second engine: ${missing})`

/** An environment on an engine of its own, which keeps two sandboxes, and patience for a minute. */
const world = Effect.fnUntraced(function* (settings: { readonly [name: string]: unknown }) {
  const engine = yield* secondEngine.make(settings)
  yield* engine.start
  const context = yield* Layer.build(
    Layer.mergeAll(
      DockerClient.layer({ connection: engine.address }),
      DockerDriver.layer({ engine: { connection: engine.address }, defaults: { memory: 64 * 1024 * 1024 } }),
      EventRecorder.layer
    ).pipe(Layer.provideMerge(NodeServices.layer))
  )
  yield* Effect.provideContext(images.ensure("shell"), context)
  const docker = Context.get(context, DockerClient.DockerClient)
  const environment = yield* Environment.make({
    id: "env",
    images: [lab.image],
    pool: { min: 2, max: 3 },
    outageGracePeriod: "1 minute",
    outageRetry: Schedule.spaced("250 millis")
  }).pipe(Effect.provideContext(context))
  return { engine, environment, docker, recorder: Context.get(context, EventRecorder) }
})

/** How an engine ends, whether it takes up again the containers that outlive it, and how long it is away. */
const ways = [
  { signal: "SIGTERM", settings: {}, away: 0, name: "an engine that is stopped" },
  { signal: "SIGKILL", settings: {}, away: 0, name: "an engine that is killed" },
  {
    signal: "SIGKILL",
    settings: { "live-restore": true },
    // By then nobody tries any more to remove what was there.
    away: 13_000,
    name: "an engine that is killed, keeps containers, and is away for long"
  }
] as const

describe.skipIf(missing !== undefined)(
  `engines that end in the middle of sessions${because}`,
  { concurrent: true },
  () => {
    for (const { away, name, settings, signal } of ways) {
      it.live(
        `S4 H2 H3 ${name} ends the sessions; the environment is there again when the engine is, and nothing is left`,
        () =>
          Effect.gen(function* () {
            const { docker, engine, environment, recorder } = yield* world(settings)
            const sleep = lab.token()
            const bodies = yield* Effect.forEach([1, 2], () =>
              Effect.forkChild(Effect.flip(environment.withSession({}, lab.exec("sleep", [sleep]))))
            )
            yield* lab.running(sleep, 2)
            yield* engine.stop(signal)
            for (const body of bodies) assert.instanceOf(yield* Fiber.join(body), SandboxStateError)
            yield* lab.event(recorder, "ImageOutageStarted")
            const next = yield* Effect.forkChild(environment.withSession({}, lab.output("echo served")))
            yield* Effect.sleep(away)
            yield* engine.start
            assert.strictEqual(yield* Fiber.join(next), "served\n")
            yield* lab.event(recorder, "ImageOutageEnded")
            const counts = Effect.gen(function* () {
              const { ledger } = yield* environment.stats
              const found = yield* docker.containers.list({})
              return ledger.live >= 2 && found.length === ledger.live
            })
            yield* lab.eventually("two sandboxes are kept, and nothing else", counts, 30_000)
            assert.deepStrictEqual(lab.processesWith(sleep), [])
            assert.strictEqual(yield* environment.status, "Online")
            yield* environment.shutdown
            assert.deepStrictEqual(yield* docker.containers.list({}), [])
          }).pipe(Effect.scoped),
        limit
      )
    }
  }
)
