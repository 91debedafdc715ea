/** A sandbox over a connection: how its death is told, and what a reset says. */
import { SandboxId } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as instances from "../src/internal/agent/instance.ts"
import { agentFrame, fileOperation, hostFrame } from "../src/internal/protocol/frames.ts"
import { Reader } from "../src/internal/protocol/payload.ts"
import { FakeAgent, hello, turns } from "./support/FakeAgent.ts"

const sandboxId = SandboxId.make("test/base:0:0")

const bench = (explainEnd?: instances.Options["explainEnd"]) =>
  Effect.gen(function* () {
    const agent = new FakeAgent()
    agent.welcome()
    const instance = yield* instances.make({ sandboxId, transport: agent.transport, hello, explainEnd })
    yield* agent.take(hostFrame.hello)
    return { agent, instance }
  })

/** Tells in which order a death and an operation in flight were heard of. */
const ordered = (explainEnd?: instances.Options["explainEnd"]) =>
  Effect.gen(function* () {
    const { agent, instance } = yield* bench(explainEnd)
    const order: Array<string> = []
    const note = (line: string) => Effect.sync(() => order.push(line))
    const waiting = yield* Effect.forEach(
      [
        Effect.tapError(instance.fileSystem.stat("file"), ({ message }) => note(message)),
        Effect.tapError(instance.ping, ({ description }) => note(`ping: ${description}`)),
        Effect.tapError(instance.awaitDeath, ({ operation, description }) => note(`${operation}: ${description}`))
      ],
      (effect: Effect.Effect<unknown, unknown>) => Effect.forkChild(Effect.exit(effect), { startImmediately: true })
    )
    yield* turns(2)
    agent.end()
    yield* turns(2)
    return { order, instance, waiting: Fiber.joinAll(waiting) }
  })

const ended = "the connection to the agent has ended: the agent's output has ended"

describe("a death", () => {
  it.effect("is told before anything in flight fails, and is the error of all that follows", () =>
    Effect.gen(function* () {
      const { instance, order, waiting } = yield* ordered()
      yield* waiting
      assert.deepStrictEqual(order, [`run: ${ended}`, `ping: ${ended}`, `BadResource: Sandbox.stat: ${ended}`])
      const death = yield* Effect.flip(instance.awaitDeath)
      assert.strictEqual(yield* Effect.flip(instance.ping), death)
      assert.strictEqual(yield* Effect.flip(instance.reset), death)
    })
  )

  it.effect("is explained first by whoever can", () =>
    Effect.gen(function* () {
      const { order, waiting } = yield* ordered(() => Effect.as(Effect.sleep("300 millis"), "out of memory"))
      assert.deepStrictEqual(order, [])
      yield* TestClock.adjust("300 millis")
      yield* waiting
      assert.strictEqual(order[0], `run: out of memory (${ended})`)
      assert.lengthOf(order, 3)
    })
  )

  it.effect("is told without an explanation that does not come, or fails", () =>
    Effect.gen(function* () {
      for (const explain of [() => Effect.never, () => Effect.die("a bug")]) {
        const { order, waiting } = yield* ordered(explain)
        yield* TestClock.adjust("1 second")
        yield* waiting
        assert.strictEqual(order[0], `run: ${ended}`)
      }
    })
  )

  it.effect("on the way up is an error of creation", () =>
    Effect.gen(function* () {
      const agent = new FakeAgent()
      agent.end()
      const error = yield* Effect.flip(
        Effect.scoped(
          instances.make({
            sandboxId,
            transport: agent.transport,
            hello,
            explainEnd: () => Effect.succeed("exec format error")
          })
        )
      )
      assert.deepStrictEqual(
        [error.sandboxId, error.operation, error.description],
        [sandboxId, "create", `exec format error (${ended})`]
      )
    })
  )

  it.effect("is not what the end of the scope is", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { instance } = yield* Scope.provide(bench(), scope)
      const death = yield* Effect.forkChild(Effect.exit(instance.awaitDeath), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      yield* turns(5)
      assert.isUndefined(death.pollUnsafe())
      assert.strictEqual((yield* Effect.flip(instance.ping)).operation, "ping")
      yield* Fiber.interrupt(death)
    })
  )
})

describe("a reset", () => {
  it.effect("succeeds when nothing is left, and otherwise says what is", () =>
    Effect.gen(function* () {
      const { agent, instance } = yield* bench()
      const first = yield* Effect.forkChild(instance.reset, { startImmediately: true })
      const { channel, payload } = yield* agent.take(hostFrame.reset)
      assert.lengthOf(payload, 0)
      agent.send(agentFrame.reply, 0, channel)
      yield* Fiber.join(first)
      const second = yield* Effect.forkChild(Effect.flip(instance.reset), { startImmediately: true })
      agent.error((yield* agent.take(hostFrame.reset)).channel, 39, 0, "/work/file is left")
      const { description, operation } = yield* Fiber.join(second)
      assert.deepStrictEqual([operation, description], ["reset", "/work/file is left: Directory not empty"])
    })
  )
})

describe("temporary files", () => {
  it.effect("go where the environment says, and are removed with their scope", () =>
    Effect.gen(function* () {
      const { agent, instance } = yield* bench()
      const scope = yield* Scope.make()
      const making = yield* Effect.forkChild(
        Scope.provide(instance.fileSystem.makeTempFileScoped({ prefix: "a-", suffix: ".txt" }), scope),
        { startImmediately: true }
      )
      const made = yield* agent.take(hostFrame.file)
      const reader = new Reader(made.payload)
      assert.deepStrictEqual(
        [reader.u8(), reader.str(), reader.str(), reader.str(), reader.u8()],
        [fileOperation.mktemp, "/tmp", "a-", ".txt", 0]
      )
      const answer = new TextEncoder().encode("/tmp/a-x.txt")
      agent.send(agentFrame.reply, 0, made.channel, Uint8Array.of(answer.length, 0, 0, 0, ...answer))
      assert.strictEqual(yield* Fiber.join(making), "/tmp/a-x.txt")
      agent.answer = ({ channel }) => agent.send(agentFrame.reply, 0, channel)
      yield* Scope.close(scope, Exit.void)
      const removed = new Reader((yield* agent.take(hostFrame.file)).payload)
      assert.deepStrictEqual(
        [removed.u8(), removed.str(), removed.u8(), removed.u8()],
        [fileOperation.remove, "/tmp/a-x.txt", 1, 1]
      )
    })
  )
})
