import { SandboxDriver } from "@effect-sandbox/core"
import { EnvironmentId, ImageId, SandboxId } from "@effect-sandbox/core/Id"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Random, Schedule } from "effect"
import * as DockerClient from "../../src/DockerClient.ts"
import * as docker from "../support/docker.ts"
import * as engine from "../support/engine.ts"
import * as lab from "../support/lab.ts"

const limit = 60_000

describe.skipIf(engine.missing !== undefined)(`interruptions${engine.because}`, () => {
  it.live(
    "F26 I1 a creation that is interrupted at any moment leaves no container",
    () =>
      Effect.gen(function* () {
        const marked = lab.mark()
        const context = yield* Layer.build(
          Layer.merge(docker.layer(["shell"], { defaults: { labels: { [engine.label]: marked } } }), engine.layer)
        )
        const driver = Context.get(context, SandboxDriver)
        const client = Context.get(context, DockerClient.DockerClient)
        const left = Effect.map(lab.containersOf(client, marked), (found) => found.map(({ State }) => State))
        const create = (generation: number) =>
          Effect.scoped(
            driver.create({
              environmentId: EnvironmentId.make("env"),
              sandboxId: SandboxId.make(`env/shell:0:${generation}`),
              image: ImageId.make(lab.image),
              slot: 0,
              generation
            })
          )
        const [millis] = yield* lab.timed(create(0))
        assert.deepStrictEqual(yield* left, [])
        const tries = Array.from({ length: 30 }, (_, index) => index)
        yield* Effect.forEach(
          tries,
          (index) =>
            Effect.gen(function* () {
              const creation = yield* Effect.forkChild(create(index + 1), { startImmediately: true })
              yield* Effect.sleep((millis * (index + (yield* Random.next))) / tries.length)
              yield* Fiber.interrupt(creation)
            }),
          { concurrency: 4, discard: true }
        )
        assert.deepStrictEqual(yield* left, [])
      }).pipe(Effect.scoped),
    limit
  )

  it.live(
    "I7 a shutdown while sandboxes are made leaves no container",
    () =>
      Effect.forEach(
        [1, 50, 150, 300, 600],
        (millis) =>
          Effect.scoped(
            Effect.gen(function* () {
              const environment = yield* lab.make({ pool: { min: 0, max: 6 } })
              const sessions = yield* Effect.forkChild(
                Effect.forEach(
                  Array.from({ length: 6 }),
                  () => Effect.exit(environment.withSession({}, Effect.never)),
                  {
                    concurrency: "unbounded"
                  }
                )
              )
              yield* Effect.sleep(millis)
              yield* environment.shutdown
              assert.deepStrictEqual(yield* environment.containers, [])
              const exits = yield* Fiber.join(sessions)
              assert.isTrue(exits.every((exit) => exit._tag === "Failure"))
              const { ledger } = yield* environment.stats
              assert.deepStrictEqual(
                { ...ledger, created: 0, destroyed: 0 },
                { created: 0, destroyed: 0, live: 0, leaked: 0 }
              )
              assert.strictEqual(ledger.created, ledger.destroyed)
            })
          ),
        { discard: true }
      ),
    limit
  )

  it.live(
    "P4 callers that go away while sandboxes are made for them leave no more than the pool may hold",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({ pool: { min: 0, max: 3 } })
        const caller = (index: number) =>
          environment.withSession({}, Effect.sleep(50)).pipe(Effect.timeoutOption(37 * index), Effect.asVoid)
        yield* Effect.forEach(
          Array.from({ length: 15 }, (_, index) => index),
          caller,
          {
            concurrency: 5,
            discard: true
          }
        )
        assert.isAtMost((yield* environment.containers).length, 3)
        assert.strictEqual(yield* environment.withSession({}, lab.output("echo fine")), "fine\n")
      }),
    limit
  )

  it.live(
    "F32 a process that is blocked for ten seconds kills nothing of its own",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({
          keepaliveInterval: "200 millis",
          pingTimeout: "1 second",
          missedPings: 2,
          outageRetry: Schedule.spaced("100 millis")
        })
        const body = Effect.gen(function* () {
          const before = yield* lab.containerId
          const counting = yield* Effect.forkChild(
            lab.sh("i=0; while [ $i -lt 60 ]; do echo $i; i=$((i+1)); usleep 100000; done", { timeout: "30 seconds" })
          )
          yield* Effect.sleep(500)
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10_000)
          const result = yield* Fiber.join(counting)
          assert.deepStrictEqual(result.outcome, lab.exited(0))
          assert.strictEqual(result.stdout.trim().split("\n").length, 60)
          assert.strictEqual(yield* lab.containerId, before)
          // Pings go on.
          yield* Effect.sleep(3000)
          assert.strictEqual(yield* lab.output("echo alive"), "alive\n")
        })
        yield* environment.withSession({}, body)
        assert.strictEqual(yield* environment.withSession({}, lab.generation), 0)
      }),
    limit
  )
})
