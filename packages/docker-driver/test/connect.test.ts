/** Connections to ports inside and from there, against a scripted agent. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scheduler, Scope } from "effect"
import { Socket } from "effect/socket"
import { connect, listen } from "../src/internal/agent/connect.ts"
import { agentFrame, hostFrame, streamCredit } from "../src/internal/protocol/frames.ts"
import { Reader, Writer } from "../src/internal/protocol/payload.ts"
import { connected, type FakeAgent, turns } from "./support/FakeAgent.ts"

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

const opened = (agent: FakeAgent, channel: number, port?: number) =>
  agent.send(agentFrame.opened, 0, channel, port === undefined ? new Writer() : new Writer().u16(port))

/** A connection that the agent has made. */
const linked = Effect.gen(function* () {
  const { agent, connection } = yield* connected()
  const scope = yield* Scope.make()
  const socket = connect(connection, { port: 8080, address: "::1" })
  const opening = yield* Effect.forkChild(Scope.provide(socket.reader, scope), { startImmediately: true })
  const { channel, payload } = yield* agent.take(hostFrame.connect)
  const reader = new Reader(payload)
  assert.deepStrictEqual([reader.u16(), reader.str(), reader.isDone], [8080, "::1", true])
  opened(agent, channel)
  return { agent, connection, channel, scope, socket, reader: yield* Fiber.join(opening) }
})

describe("a connection to a port inside", () => {
  it.effect("carries bytes both ways, and ends by halves", () =>
    Effect.gen(function* () {
      const { agent, channel, connection, reader, socket } = yield* linked
      yield* Effect.scoped(Effect.flatMap(socket.writer, ({ writeAll }) => writeAll(["a", bytes("b")])))
      const sent = yield* agent.rest
      assert.deepStrictEqual(
        sent.map(({ type }) => type),
        [hostFrame.data, hostFrame.data, hostFrame.end]
      )
      agent.send(agentFrame.data, 1, channel, bytes("answer"))
      assert.deepStrictEqual(yield* reader.pull, [bytes("answer")])
      agent.send(agentFrame.end, 1, channel)
      const { reason } = yield* Effect.flip(reader.pull)
      assert.isTrue(reason._tag === "SocketCloseError" && reason.code === 1000)
      agent.send(agentFrame.closed, 0, channel)
      yield* turns(3)
      assert.strictEqual(connection.channelCount, 0)
      const written = yield* Effect.flip(Effect.scoped(Effect.flatMap(socket.writer, ({ write }) => write("late"))))
      assert.strictEqual(written.reason._tag, "SocketWriteError")
    })
  )

  it.effect("waits for room, and is told when it breaks", () =>
    Effect.gen(function* () {
      const { agent, channel, reader, socket } = yield* linked
      const writer = yield* socket.writer
      const writing = yield* Effect.forkChild(Effect.flip(writer.write(new Uint8Array(streamCredit + 1))), {
        startImmediately: true
      })
      const pulling = yield* Effect.forkChild(Effect.flip(reader.pull), { startImmediately: true })
      yield* turns(3)
      assert.isUndefined(writing.pollUnsafe())
      agent.error(channel, 104)
      assert.strictEqual((yield* Fiber.join(writing)).reason._tag, "SocketWriteError")
      const { reason } = yield* Fiber.join(pulling)
      assert.include(reason._tag === "SocketReadError" ? String(reason.cause) : reason._tag, "Connection reset by peer")
    })
  )

  it.effect("is broken off by its scope, or on demand", () =>
    Effect.gen(function* () {
      const { agent, channel, connection, reader, scope, socket } = yield* linked
      const pulling = yield* Effect.forkChild(Effect.flip(reader.pull), { startImmediately: true })
      const writer = yield* socket.writer
      const closing = yield* Effect.forkChild(writer.write(new Socket.CloseEvent(1006)), { startImmediately: true })
      yield* agent.take(hostFrame.close)
      agent.send(agentFrame.data, 1, channel, bytes("crossed"))
      agent.send(agentFrame.closed, 0, channel)
      yield* Fiber.join(closing)
      yield* Fiber.join(pulling)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(connection.channelCount, 0)
      assert.isUndefined(connection.end)
    })
  )

  it.effect("that is given up at any moment leaves no channel open", () =>
    Effect.gen(function* () {
      for (const operations of [3, 5, 2048]) {
        yield* Effect.gen(function* () {
          const { agent, connection } = yield* connected()
          agent.answer = ({ channel, type }) => {
            if (type === hostFrame.connect) opened(agent, channel)
            if (type === hostFrame.close) agent.send(agentFrame.closed, 0, channel)
          }
          const use = Effect.scoped(Effect.flatMap(connect(connection, { port: 1 }).reader, ({ pull }) => pull))
          for (let count = 0; count < 25; count++) {
            const fiber = yield* Effect.forkChild(use, { startImmediately: true })
            yield* turns(count)
            yield* Fiber.interrupt(fiber)
            assert.strictEqual(connection.channelCount, 0)
          }
        }).pipe(Effect.provideService(Scheduler.MaxOpsBeforeYield, operations))
      }
    })
  )
})

describe("a port inside that the host answers", () => {
  it.effect("gives each connection to the handler, and ends them with it", () =>
    Effect.gen(function* () {
      const { agent, connection } = yield* connected()
      const scope = yield* Scope.make()
      agent.answer = ({ channel, type }) => {
        if (type === hostFrame.listen) opened(agent, channel, 4000)
        if (type === hostFrame.close) agent.send(agentFrame.closed, 0, channel)
      }
      const listener = yield* Scope.provide(listen(connection, { backlog: 2, port: 4000 }), scope)
      assert.strictEqual(listener.port, 4000)
      yield* agent.take(hostFrame.listen)
      const done = yield* Deferred.make<void>()
      const handled: Array<string> = []
      const running = yield* Effect.forkChild(
        listener.run((socket) =>
          Effect.scoped(
            Effect.gen(function* () {
              const { pull } = yield* socket.reader
              const chunks = yield* pull
              handled.push(chunks.map((chunk) => new TextDecoder().decode(Buffer.from(chunk))).join(""))
              yield* Deferred.await(done)
            })
          )
        ),
        { startImmediately: true }
      )
      const waiting = [yield* agent.take(hostFrame.accept), yield* agent.take(hostFrame.accept)]
      for (const [index, { channel }] of waiting.entries()) {
        opened(agent, channel, 50_000 + index)
        agent.send(agentFrame.data, 1, channel, bytes(`hello ${index}`))
      }
      // As many as before wait for the next ones.
      yield* agent.take(hostFrame.accept)
      yield* agent.take(hostFrame.accept)
      yield* turns(3)
      assert.deepStrictEqual(handled, ["hello 0", "hello 1"])
      assert.strictEqual(connection.channelCount, 5)
      yield* Deferred.succeed(done, undefined)
      yield* turns(5)
      assert.strictEqual(connection.channelCount, 3)
      yield* Fiber.interrupt(running)
      assert.strictEqual(connection.channelCount, 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(connection.channelCount, 0)
      assert.isUndefined(connection.end)
    })
  )

  it.effect("that cannot be had, or is lost, is an error", () =>
    Effect.gen(function* () {
      const { agent, connection } = yield* connected()
      const refused = yield* Effect.forkChild(Effect.flip(Effect.scoped(listen(connection, { port: 80 }))), {
        startImmediately: true
      })
      agent.error((yield* agent.take(hostFrame.listen)).channel, 98)
      assert.include((yield* Fiber.join(refused)).message, "Address already in use")
      const listening = yield* Effect.forkChild(
        Effect.flip(Effect.scoped(Effect.flatMap(listen(connection), ({ run }) => run(() => Effect.void)))),
        { startImmediately: true }
      )
      const { channel } = yield* agent.take(hostFrame.listen)
      opened(agent, channel, 4000)
      const accepts = yield* Effect.forEach(Array.from({ length: 8 }), () => agent.take(hostFrame.accept))
      // As a reset ends them.
      agent.send(agentFrame.closed, 0, channel)
      for (const accept of accepts) agent.send(agentFrame.closed, 0, accept.channel)
      assert.include((yield* Fiber.join(listening)).message, "it was closed")
    })
  )
})
