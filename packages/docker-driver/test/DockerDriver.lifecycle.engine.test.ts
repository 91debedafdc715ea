import { Environment, EventRecorder, Sandbox, SandboxStateError } from "@effect-sandbox/core"
import { EventExpect, FeatureProbe } from "@effect-sandbox/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Option, Random, Ref, Schema } from "effect"
import { DockerSandbox } from "../src/DockerSandbox.ts"
import * as docker from "./support/docker.ts"
import * as engine from "./support/engine.ts"
import * as images from "./support/images.ts"

class Boom extends Schema.TaggedError<Boom>()("Boom", {}) {}

const max = 3
const people = 6
const sessionsEach = 6

/** What somebody does in a session, by chance: work, err, break the sandbox, kill its container, or be interrupted. */
const behave = Effect.gen(function* () {
  const sandbox = yield* Sandbox
  const work = sandbox.exec("sh", ["-c", "ls; echo trace >trace; (sleep 60 &) ; sleep 0.0$(($$ % 10))"])
  const { stdout } = yield* work
  assert.strictEqual(stdout, "", "S1 nothing of another session is there")
  const chance = yield* Random.nextIntBetween(0, 100)
  if (chance < 15) return yield* new Boom()
  if (chance < 25) return yield* Effect.die("defect")
  if (chance < 35) {
    return yield* new SandboxStateError({ sandboxId: sandbox.id, operation: "behave", description: "told to" })
  }
  if (chance < 45) {
    const { containerId } = Option.getOrThrow(sandbox.service(DockerSandbox))
    yield* Effect.forkChild(docker.onEngine(({ containers }) => containers.kill(containerId)))
    return yield* Effect.never
  }
  if (chance < 60) return yield* sandbox.exec("sleep", ["60"], { timeout: "100 millis" })
  return yield* work
})

describe.skipIf(engine.missing !== undefined)(`random lives on a real engine${engine.because}`, () => {
  for (const seed of ["one", "two"]) {
    it.live(`S1 S2 S4 P3 X3 X4 I1 I3 I6 I7 seed ${seed}`, () => {
      const mark = `lives-${process.pid}-${seed}`
      const probe = FeatureProbe.make("probe")
      const alive = docker.onEngine(({ containers }) => containers.list({ labels: [`effect-sandbox.test=${mark}`] }))
      return Effect.gen(function* () {
        const most = yield* Ref.make(0)
        yield* Effect.gen(function* () {
          const lab = yield* Environment.make({
            id: "lives",
            images: [images.names.shell],
            features: [probe.feature],
            pool: { min: 1, max },
            keepaliveInterval: "500 millis",
            maxSessions: 7
          })
          const serving = new Map<string, string>()
          const one = (who: string) =>
            Effect.gen(function* () {
              const session = lab.withSession(
                {},
                Effect.gen(function* () {
                  const { id } = yield* Sandbox
                  assert.isFalse(serving.has(id), "I3 one session per sandbox")
                  yield* Effect.acquireUseRelease(
                    Effect.sync(() => serving.set(id, who)),
                    () => behave,
                    () => Effect.sync(() => serving.delete(id))
                  )
                })
              )
              const fiber = yield* Effect.forkChild(session)
              if (yield* Random.nextBoolean) return yield* Fiber.await(fiber)
              yield* Effect.sleep(yield* Random.nextIntBetween(0, 300))
              yield* Fiber.interrupt(fiber)
              return yield* Fiber.await(fiber)
            })
          const watch = Effect.flatMap(lab.stats, ({ images: [found] }) => {
            const live = Object.entries(found?.counts ?? {}).reduce(
              (sum, [status, count]) => (status === "Offline" ? sum : sum + count),
              0
            )
            return Ref.update(most, (before) => Math.max(before, live))
          })
          yield* Effect.forkScoped(Effect.forever(Effect.andThen(watch, Effect.sleep("10 millis"))))
          const exits = yield* Effect.forEach(
            Array.from({ length: people }, (_, index) => `person ${index}`),
            (who) =>
              Effect.forEach(Array.from({ length: sessionsEach }), () => one(who)).pipe(Random.withSeed(`${seed} ${who}`)),
            { concurrency: "unbounded" }
          )
          const failures = exits.flat().filter(Exit.hasDies).map(String)
          for (const failure of failures) assert.include(failure, "defect", "nothing dies but what was told to")
        }).pipe(Effect.scoped)
        assert.isAtMost(yield* Ref.get(most), max, "P3")
        yield* EventExpect.assertWellFormed(yield* EventRecorder)
        yield* probe.journal.ledger.assertBalanced // I1
        assert.deepStrictEqual(yield* alive, [], "I7")
      }).pipe(
        Effect.provide(
          Layer.provideMerge(
            docker.layer(["shell"], { defaults: { labels: { "effect-sandbox.test": mark }, memory: 64 * 2 ** 20 } }),
            EventRecorder.layer
          )
        )
      )
    })
  }
})
