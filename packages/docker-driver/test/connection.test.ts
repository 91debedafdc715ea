/** The conversation with an agent: how it begins, what may be said in it, and how it ends. */
import { assert, describe, it } from "@effect/vitest"
import { SandboxId } from "@effect-sandbox/core"
import { Effect, Exit, Fiber, Scope } from "effect"
import { ChildProcess } from "effect/process"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { make as connect } from "../src/internal/agent/connection.ts"
import type { ConnectionEnded } from "../src/internal/agent/connectionEnd.ts"
import { agentFrame, fatalReason, hostFrame, magic } from "../src/internal/protocol/frames.ts"
import { Reader, Writer } from "../src/internal/protocol/payload.ts"
import { make } from "../src/internal/agent/instance.ts"
import { run } from "../src/internal/agent/operation.ts"
import { connected, FakeAgent, hello, turns } from "./support/FakeAgent.ts"

const greeted = (agent: FakeAgent) => connect({ transport: agent.transport, hello })

/** Why there is no connection. */
const failure = (say: (agent: FakeAgent) => void) =>
  Effect.suspend(() => {
    const agent = new FakeAgent()
    say(agent)
    return Effect.scoped(Effect.flip(greeted(agent)))
  })

const reset = { type: hostFrame.reset, detail: 0, result: () => undefined }

describe("the handshake", () => {
  it.effect("says what is to be prepared, and hears who answers", () =>
    Effect.gen(function* () {
      const agent = new FakeAgent()
      const connecting = yield* Effect.forkScoped(greeted(agent), { startImmediately: true })
      const frame = yield* agent.take(hostFrame.hello)
      const reader = new Reader(frame.payload)
      assert.deepStrictEqual(
        [reader.str(), reader.u16(), reader.u16(), reader.str(), reader.str(), reader.str(), reader.strings()],
        [magic, 1, 1, "1000", "/work", "/home/sandbox", ["/work", "/tmp"]]
      )
      assert.deepStrictEqual(
        reader.list(() => [reader.str(), reader.str()]),
        []
      )
      assert.deepStrictEqual(reader.strings(), ["PATH=/bin", "TMPDIR=/tmp"])
      assert.isTrue(reader.isDone)
      agent.welcome()
      const connection = yield* Fiber.join(connecting)
      assert.deepStrictEqual(connection.welcome, {
        version: 1,
        build: "fake",
        uid: 1000,
        gid: 1000,
        userHome: "/root",
        pid: 1
      })
    })
  )

  it.effect("fails when the agent gives up, is none, or is gone", () =>
    Effect.gen(function* () {
      const reasons = yield* Effect.forEach(
        [
          (agent: FakeAgent) =>
            agent.send(agentFrame.fatal, 0, 0, new Writer().u8(fatalReason.preparation).str("no room")),
          (agent: FakeAgent) => agent.welcome(2),
          (agent: FakeAgent) => agent.raw(new TextEncoder().encode("exec /agent: no such file or directory\n")),
          (agent: FakeAgent) => agent.started(1),
          (agent: FakeAgent) => agent.end(),
          (agent: FakeAgent) => agent.break(new Error("connection reset"))
        ],
        (say) => Effect.map(failure(say), ({ description, reason }) => `${reason}: ${description}`)
      )
      assert.deepStrictEqual(reasons, [
        "fatal: the sandbox could not be prepared: no room",
        "malformed: the agent sent version 2 of the protocol was not offered",
        "malformed: malformed frame: there is no frame of type 0x20",
        "malformed: the agent sent a frame of type 0x83 before the welcome",
        "ended: the agent's output has ended",
        "broken: connection reset"
      ])
    })
  )

  it.effect("can be interrupted", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const connecting = yield* Effect.forkChild(Scope.provide(greeted(new FakeAgent()), scope))
      yield* turns(3)
      yield* Fiber.interrupt(connecting)
      yield* Scope.close(scope, Exit.void)
    })
  )
})

describe("pings", () => {
  it.effect("are answered, whatever the order, and may be given up", () =>
    Effect.gen(function* () {
      const { agent, connection } = yield* connected()
      const pings = yield* Effect.forEach([0, 1, 2], () =>
        Effect.forkChild(connection.ping, { startImmediately: true })
      )
      const asked = yield* Effect.forEach([0, 1, 2], () => agent.take(hostFrame.ping))
      yield* Effect.forEach(pings.slice(1, 2), Fiber.interrupt)
      for (const { payload } of asked.toReversed()) agent.send(agentFrame.pong, 0, 0, payload)
      yield* Effect.forEach([pings[0], pings[2]], (ping) => (ping === undefined ? Effect.void : Fiber.join(ping)))
      assert.isUndefined(connection.end)
    }).pipe(Effect.timeout("5 seconds"))
  )

  it.effect("that nobody sent are malformed", () =>
    Effect.gen(function* () {
      const { agent, connection } = yield* connected()
      agent.send(agentFrame.pong, 0, 0, new Uint8Array(8))
      assert.strictEqual((yield* Effect.flip(connection.awaitEnd)).reason, "malformed")
    })
  )
})

describe("what is sent", () => {
  it.effect("in one turn is written at once", () =>
    Effect.gen(function* () {
      const { agent, connection } = yield* connected()
      const before = agent.writes
      const pings = yield* Effect.forEach(Array.from({ length: 50 }), () =>
        Effect.forkChild(connection.ping, { startImmediately: true })
      )
      yield* turns(5)
      assert.strictEqual(agent.writes - before, 1)
      assert.strictEqual((yield* agent.rest).length, 50)
      yield* Fiber.interruptAll(pings)
    })
  )
})

describe("what the agent may not say", () => {
  const cases: ReadonlyArray<readonly [what: string, say: (agent: FakeAgent) => void, isAnswered?: boolean]> = [
    ["a frame on a channel that was never opened", (agent) => agent.started(77)],
    ["a second welcome", (agent) => agent.welcome()],
    ["a payload that is too short", (agent) => agent.send(agentFrame.error, 0, 1, new Uint8Array(3))],
    ["something that the channel does not know", (agent) => agent.started(1)],
    ["a stream that there is not", (agent) => agent.send(agentFrame.data, 1, 1, new Uint8Array(3))],
    [
      "more than one final frame",
      (agent) => {
        agent.send(agentFrame.reply, 0, 1)
        agent.send(agentFrame.reply, 0, 1)
      },
      true
    ]
  ]
  it.effect.each(cases)("ends the conversation: %s", ([, say, isAnswered = false]) =>
    Effect.gen(function* () {
      const { agent, connection } = yield* connected()
      const waiting = yield* Effect.forkChild(Effect.exit(run(connection, { ...reset, payload: new Writer() })), {
        startImmediately: true
      })
      yield* agent.take(hostFrame.reset)
      say(agent)
      const end = yield* Effect.flip(connection.awaitEnd)
      assert.strictEqual(end.reason, "malformed")
      const failed = yield* Effect.timeout(Fiber.join(waiting), "5 seconds")
      assert.strictEqual(Exit.isFailure(failed), !isAnswered)
      assert.strictEqual(connection.channelCount, 0)
    })
  )
})

describe("the end", () => {
  it.effect("is told first, then to the hook, and then to everybody else", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const note = (line: string) => Effect.sync(() => order.push(line))
      const { agent, connection } = yield* connected((end) =>
        Effect.gen(function* () {
          yield* note(`hook: ${end.reason}`)
          yield* turns(10)
          yield* note("hook is done")
        })
      )
      const fibers = yield* Effect.forEach(
        [
          Effect.tapError(run(connection, { ...reset, payload: new Writer() }), (error) =>
            note(`reset: ${error._tag}`)
          ),
          Effect.tapError(connection.ping, (error) => note(`ping: ${error._tag}`)),
          Effect.tapError(connection.awaitEnd, (error) => note(`awaitEnd: ${error._tag}`))
        ],
        (effect) => Effect.forkChild(Effect.exit(effect), { startImmediately: true })
      )
      yield* turns(3)
      agent.end()
      yield* turns(4)
      // What begins in between waits like everything else.
      fibers.push(
        yield* Effect.forkChild(
          Effect.exit(
            Effect.tapError(run(connection, { ...reset, payload: new Writer() }), (error) =>
              note(`late: ${error._tag}`)
            )
          ),
          { startImmediately: true }
        ),
        yield* Effect.forkChild(
          Effect.exit(Effect.tapError(connection.ping, (error) => note(`late ping: ${error._tag}`))),
          { startImmediately: true }
        )
      )
      yield* Fiber.joinAll(fibers)
      assert.deepStrictEqual(order, [
        "awaitEnd: ConnectionEnded",
        "hook: ended",
        "hook is done",
        "ping: ConnectionEnded",
        "late ping: ConnectionEnded",
        "reset: ConnectionEnded",
        "late: ConnectionEnded"
      ])
      // Afterwards nothing waits at all.
      const after = yield* Effect.flip(connection.ping)
      assert.strictEqual(after.reason, "ended")
      assert.strictEqual(
        (yield* Effect.flip(run(connection, { ...reset, payload: new Writer() })))._tag,
        "ConnectionEnded"
      )
    })
  )

  it.effect("of the scope fails what is in flight, and is not told to the hook", () =>
    Effect.gen(function* () {
      const hooks: Array<ConnectionEnded> = []
      const scope = yield* Scope.make()
      const { connection } = yield* Scope.provide(
        connected((end) => Effect.sync(() => hooks.push(end))),
        scope
      )
      const ping = yield* Effect.forkChild(Effect.flip(connection.ping), { startImmediately: true })
      yield* turns(2)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(ping)).reason, "closed")
      assert.deepStrictEqual(hooks, [])
    })
  )

  it.effect("comes from writing, too", () =>
    Effect.gen(function* () {
      const agent = new FakeAgent()
      agent.welcome()
      let isBroken = false
      const transport = {
        ...agent.transport,
        write: (...[chunks]: Parameters<typeof agent.transport.write>) =>
          isBroken ? Effect.fail(new Error("broken pipe")) : agent.transport.write(chunks)
      }
      const connection = yield* connect({ transport, hello })
      isBroken = true
      const ping = yield* Effect.forkChild(Effect.flip(connection.ping), { startImmediately: true })
      yield* turns(3)
      // It is the reader that knows why.
      agent.send(agentFrame.fatal, 0, 0, new Writer().u8(fatalReason.malformed).str("what is this?"))
      assert.strictEqual(
        (yield* Fiber.join(ping)).description,
        "the agent could not understand the host: what is this?"
      )
    })
  )
})

describe("an idle connection", () => {
  it.effect("holds little memory", () =>
    Effect.gen(function* () {
      setFlagsFromString("--expose-gc")
      const collect: () => void = runInNewContext("gc")
      const used = () => {
        collect()
        const { arrayBuffers, heapUsed } = process.memoryUsage()
        return heapUsed + arrayBuffers
      }
      const instance = Effect.gen(function* () {
        const agent = new FakeAgent()
        agent.welcome()
        const { ping, spawner } = yield* make({ sandboxId: SandboxId.make("x"), transport: agent.transport, hello })
        agent.answer = ({ channel, payload, type }) => {
          if (type === hostFrame.ping) agent.send(agentFrame.pong, 0, 0, payload)
          if (type === hostFrame.run) {
            agent.started(channel)
            agent.exit(channel, 0)
          }
          if (type === hostFrame.close) agent.send(agentFrame.closed, 0, channel)
        }
        yield* ping
        yield* spawner.exitCode(ChildProcess.make("true"))
        return { ping, spawner }
      })
      const warm = yield* instance
      const before = used()
      const number = 200
      const all = yield* Effect.forEach(Array.from({ length: number }), () => instance)
      yield* turns(5)
      assert.isBelow((used() - before) / number / 1024, 60)
      yield* Effect.forEach([warm, ...all], ({ ping }) => ping)
    })
  )
})
