/** Commands over a connection: what is asked for, and that nothing is left whatever happens in between. */
import { CallLifetime, CommandUser } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { type Cause, Effect, Exit, Fiber, PlatformError, Queue, Scheduler, Scope, Sink, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { TestClock } from "effect/testing"
import { make as makeSpawner } from "../src/internal/agent/spawner.ts"
import { agentFrame, errorStage, exitKind, hostFrame, runFlag, streamCredit } from "../src/internal/protocol/frames.ts"
import { Reader } from "../src/internal/protocol/payload.ts"
import { connected, type FakeAgent, type Frame, hello, runOf, turns } from "./support/FakeAgent.ts"

const bench = Effect.gen(function* () {
  const { agent, connection } = yield* connected()
  return { agent, connection, spawner: makeSpawner({ connection, environment: hello.environment }) }
})

/** Starts a command that the agent says to have started. */
const spawned = (command = ChildProcess.make("work", [], { stdin: "ignore" })) =>
  Effect.gen(function* () {
    const { agent, connection, spawner } = yield* bench
    const scope = yield* Scope.make()
    const spawning = yield* Effect.forkChild(Scope.provide(spawner.spawn(command), scope), { startImmediately: true })
    const { channel } = yield* agent.take(hostFrame.run)
    agent.started(channel)
    const handle = yield* Fiber.join(spawning)
    const close = Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
    return { agent, connection, channel, handle, close }
  })

/** Ends what was let go of, or killed, as the agent would. */
const closes = (agent: FakeAgent) => (frame: Frame) => {
  if (frame.type === hostFrame.close) agent.send(agentFrame.closed, 0, frame.channel)
}

const signalOf = ({ payload }: Frame): number => new Reader(payload).u32()

/** A sink that gives everything at once. */
const whole: Sink.Sink<Uint8Array, Uint8Array, never, PlatformError.PlatformError> = Sink.map(
  Sink.collect<Uint8Array>(),
  (chunks) => new Uint8Array(Buffer.concat(chunks))
)

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

describe("a command", () => {
  it.effect("is told to the agent as it was asked for", () =>
    Effect.gen(function* () {
      const { agent, spawner } = yield* bench
      const ask = (command: ChildProcess.Command) =>
        Effect.gen(function* () {
          yield* Effect.forkScoped(Effect.scoped(spawner.spawn(command)), { startImmediately: true })
          const frame = yield* agent.take(hostFrame.run)
          agent.error(frame.channel, 2)
          return runOf(frame)
        })
      assert.deepStrictEqual(yield* ask(ChildProcess.make("ls", ["-l", "ä b"])), {
        flags: runFlag.stdin,
        user: "",
        cwd: "",
        argv: ["ls", "-l", "ä b"],
        env: ["PATH=/bin", "TMPDIR=/tmp"],
        fds: []
      })
      const options: ChildProcess.CommandOptions = {
        cwd: "sub",
        env: { A: "1", PATH: undefined },
        stdin: "ignore",
        stdout: "ignore",
        stderr: { stream: "ignore" },
        shell: true,
        additionalFds: { fd3: { type: "input" }, fd4: { type: "output" }, fd9: { type: "duplex" } }
      }
      const run = ask(ChildProcess.make("echo $A | cat", options)).pipe(
        Effect.provideService(CommandUser, "root"),
        Effect.provideService(CallLifetime, "sandbox")
      )
      assert.deepStrictEqual(yield* run, {
        flags: runFlag.sandbox | runFlag.noStdout | runFlag.noStderr,
        user: "root",
        cwd: "sub",
        argv: ["/bin/sh", "-c", "echo $A | cat"],
        env: ["A=1"],
        fds: [
          [3, 1],
          [4, 2],
          [9, 3]
        ]
      })
      const extended = yield* ask(ChildProcess.make("x", [], { env: { TMPDIR: undefined, B: "2" }, extendEnv: true }))
      assert.deepStrictEqual(extended.env, ["PATH=/bin", "B=2"])
    })
  )

  it.effect("that no system would start is refused, and nothing is sent", () =>
    Effect.gen(function* () {
      const { agent, spawner } = yield* bench
      const refused = (command: ChildProcess.Command) =>
        Effect.map(Effect.flip(Effect.scoped(spawner.spawn(command))), ({ reason }) => reason._tag)
      const tags = yield* Effect.forEach(
        [
          ChildProcess.make("ls", [], { stdin: "inherit" }),
          ChildProcess.make("ls", [], { stderr: { stream: "inherit" } }),
          ChildProcess.make("ls", ["a"], { shell: "/bin/bash" }),
          ChildProcess.make("ls", ["a\0b"]),
          ChildProcess.make("ls", [], { env: { A: "\0" } }),
          ChildProcess.make("ls", [], { cwd: "\0" }),
          ChildProcess.make("ls", [], { additionalFds: { fd256: { type: "input" } } }),
          ChildProcess.make("ls", ["x".repeat(5_000_000)])
        ],
        refused
      )
      assert.deepStrictEqual(tags, [...Array.from({ length: 7 }, () => "BadArgument"), "Unknown"])
      assert.deepStrictEqual(yield* agent.rest, [])
    })
  )

  it.effect("that could not be started says why", () =>
    Effect.gen(function* () {
      const { agent, connection, spawner } = yield* bench
      const failed = (errno: number, stage: number, message = "") =>
        Effect.gen(function* () {
          const command = ChildProcess.make("tool", [], { cwd: "place" })
          const spawning = yield* Effect.forkChild(Effect.flip(Effect.scoped(spawner.spawn(command))), {
            startImmediately: true
          })
          const { channel } = yield* agent.take(hostFrame.run)
          agent.error(channel, errno, stage, message)
          return (yield* Fiber.join(spawning)).message
        })
      assert.deepStrictEqual(
        [
          yield* failed(2, errorStage.exec),
          yield* failed(13, errorStage.exec),
          yield* failed(2, errorStage.cwd),
          yield* failed(20, errorStage.cwd),
          yield* failed(0, errorStage.user, "no user nobody2"),
          yield* failed(11, errorStage.start, "fork")
        ],
        [
          "NotFound: ChildProcess.spawn (tool): No such file or directory",
          "PermissionDenied: ChildProcess.spawn (tool): Permission denied",
          "NotFound: ChildProcess.spawn (place): No such file or directory",
          "BadResource: ChildProcess.spawn (place): Not a directory",
          "NotFound: ChildProcess.spawn: no user nobody2",
          "Unknown: ChildProcess.spawn (tool): Resource temporarily unavailable: fork"
        ]
      )
      assert.strictEqual(connection.channelCount, 0)
      assert.isFalse(agent.log.some((line) => line.startsWith("close")))
    })
  )

  it.effect("that has ended is let go of, and its output can still be read", () =>
    Effect.gen(function* () {
      const { agent, channel, close, connection, handle } = yield* spawned()
      agent.send(agentFrame.data, 1, channel, bytes("out"))
      agent.exit(channel, 3)
      assert.strictEqual(yield* handle.exitCode, 3)
      assert.isFalse(yield* handle.isRunning)
      yield* Fiber.join(yield* close)
      assert.strictEqual((yield* agent.take(hostFrame.close)).detail, 0)
      // What crosses is of no interest.
      agent.send(agentFrame.data, 1, channel, bytes("more"))
      agent.send(agentFrame.end, 1, channel)
      agent.send(agentFrame.end, 2, channel)
      agent.send(agentFrame.closed, 0, channel)
      yield* turns(3)
      assert.strictEqual(connection.channelCount, 0)
      assert.strictEqual(yield* Stream.mkString(Stream.decodeText(handle.stdout)), "out")
      assert.strictEqual(yield* handle.exitCode, 3)
    })
  )

  it.effect("tells a signal, a want of memory, and an end that nobody knows", () =>
    Effect.gen(function* () {
      const endOf = (say: (agent: FakeAgent, channel: number) => void) =>
        Effect.scoped(
          Effect.gen(function* () {
            const { agent, channel, handle } = yield* spawned()
            say(agent, channel)
            const { cause, message } = yield* Effect.flip(handle.exitCode)
            return { cause, message }
          })
        )
      const ends = [
        yield* endOf((agent, channel) => agent.exit(channel, 9, exitKind.signal)),
        yield* endOf((agent, channel) => agent.exit(channel, 9, exitKind.memory, 1024n)),
        yield* endOf((agent, channel) => agent.send(agentFrame.closed, 0, channel))
      ]
      assert.deepInclude(ends[0]?.cause, { _tag: "ProcessSignalled", signal: "SIGKILL" })
      assert.deepInclude(ends[1]?.cause, { _tag: "ProcessOutOfMemory", limitBytes: 1024 })
      assert.deepStrictEqual(
        ends.map(({ message }) => message),
        [
          "Unknown: ChildProcess.exitCode: the process was ended by SIGKILL",
          "Unknown: ChildProcess.exitCode: the process was killed because the memory limit of 1024 bytes was reached",
          "Unknown: ChildProcess.exitCode: the agent did not say how the command ended"
        ]
      )
    })
  )
})

describe("ending a command", () => {
  it.effect("that runs is polite, then waits for the whole tree", () =>
    Effect.gen(function* () {
      const { agent, channel, close } = yield* spawned()
      const closing = yield* close
      const signal = yield* agent.take(hostFrame.signal)
      assert.deepStrictEqual([signal.detail, signalOf(signal)], [1, 15])
      agent.exit(channel, 15, exitKind.signal)
      assert.strictEqual((yield* agent.take(hostFrame.close)).detail, 1)
      yield* turns(5)
      assert.isUndefined(closing.pollUnsafe())
      agent.send(agentFrame.closed, 0, channel)
      yield* Fiber.join(closing)
    })
  )

  it.effect("that has closed its output leaves it a moment to exit by itself", () =>
    Effect.gen(function* () {
      const { agent, channel, close } = yield* spawned()
      agent.send(agentFrame.end, 1, channel)
      yield* turns(2)
      const closing = yield* close
      yield* turns(5)
      agent.exit(channel, 0)
      yield* Fiber.join(closing)
      assert.strictEqual((yield* agent.take(hostFrame.close)).detail, 0)

      const other = yield* spawned()
      other.agent.send(agentFrame.end, 2, other.channel)
      yield* turns(2)
      yield* other.close
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(signalOf(yield* other.agent.take(hostFrame.signal)), 15)
    })
  )

  it.effect("that does not listen is forced to after a while", () =>
    Effect.gen(function* () {
      const command = ChildProcess.make("work", [], { killSignal: "SIGINT", forceKillAfter: "3 seconds" })
      const { agent, channel, close } = yield* spawned(command)
      const closing = yield* close
      assert.strictEqual(signalOf(yield* agent.take(hostFrame.signal)), 2)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* agent.rest, [])
      yield* TestClock.adjust("1 second")
      assert.strictEqual(signalOf(yield* agent.take(hostFrame.signal)), 9)
      agent.exit(channel, 9, exitKind.signal)
      assert.strictEqual((yield* agent.take(hostFrame.close)).detail, 1)
      agent.send(agentFrame.closed, 0, channel)
      yield* Fiber.join(closing)
    })
  )

  it.effect("waits for the rest of its process group as long as for the command", () =>
    Effect.gen(function* () {
      const { agent, channel, handle } = yield* spawned()
      const killing = yield* Effect.forkChild(handle.kill({ forceKillAfter: "2 seconds" }), { startImmediately: true })
      yield* agent.take(hostFrame.signal)
      const { payload } = { payload: new Uint8Array(37) }
      payload[0] = exitKind.signal
      payload[1] = 15
      agent.send(agentFrame.exit, 0, channel, payload)
      yield* TestClock.adjust("1 second")
      assert.isUndefined(killing.pollUnsafe())
      agent.send(agentFrame.gone, 0, channel)
      yield* Fiber.join(killing)
      // Nobody is left to be signalled.
      yield* handle.kill()
      assert.deepStrictEqual(yield* agent.rest, [])
    })
  )

  it.effect("does not end what nobody waits for", () =>
    Effect.gen(function* () {
      const { agent, close, handle } = yield* spawned()
      const reref = yield* handle.unref
      yield* reref
      yield* Effect.asVoid(handle.unref)
      yield* Fiber.join(yield* close)
      assert.strictEqual((yield* agent.take(hostFrame.close)).detail, 0)
    })
  )
})

describe("streams", () => {
  it.effect("of a command hold no more than one window, and give room back as they are read", () =>
    Effect.gen(function* () {
      const { agent, channel, connection, handle } = yield* spawned()
      const piece = new Uint8Array(streamCredit / 8).fill(1)
      for (let sent = 0; sent < 8; sent++) agent.send(agentFrame.data, 1, channel, piece)
      yield* turns(3)
      assert.deepStrictEqual(yield* agent.rest, [])
      let read = 0
      const reading = yield* handle.stdout.pipe(
        Stream.runForEach((chunk) => Effect.sync(() => (read += chunk.length))),
        Effect.forkChild({ startImmediately: true })
      )
      const credit = yield* agent.take(hostFrame.credit)
      assert.deepStrictEqual([credit.detail, signalOf(credit)], [1, streamCredit])
      let room = streamCredit
      for (let total = 1; total < 40; total++) {
        if (room < piece.length) room += signalOf(yield* agent.take(hostFrame.credit))
        room -= piece.length
        agent.send(agentFrame.data, 1, channel, piece)
      }
      agent.send(agentFrame.end, 1, channel)
      yield* Fiber.join(reading)
      assert.strictEqual(read, (8 + 39) * piece.length)
      // One byte more than there is room for is malformed.
      for (let sent = 0; sent < 8; sent++) agent.send(agentFrame.data, 2, channel, piece)
      yield* turns(2)
      assert.isUndefined(connection.end)
      agent.send(agentFrame.data, 2, channel, new Uint8Array(1))
      assert.strictEqual((yield* Effect.flip(connection.awaitEnd)).reason, "malformed")
    })
  )

  it.effect("of many small pieces are kept in few", () =>
    Effect.gen(function* () {
      const { agent, channel, handle } = yield* spawned()
      for (let sent = 0; sent < 20_000; sent++) agent.send(agentFrame.data, 1, channel, Uint8Array.of(sent % 251))
      agent.send(agentFrame.end, 1, channel)
      yield* turns(5)
      const chunks = yield* Stream.runCollect(handle.stdout)
      assert.isBelow(chunks.length, 10)
      const all = chunks.flatMap((chunk) => [...chunk])
      assert.strictEqual(all.length, 20_000)
      assert.isTrue(all.every((value, index) => value === index % 251))
    })
  )

  it.effect("to a command wait for room, in order, and end when they end", () =>
    Effect.gen(function* () {
      const { agent, channel, handle } = yield* spawned(ChildProcess.make("work"))
      const source = Uint8Array.from({ length: streamCredit + 100_000 }, (_, index) => index % 241)
      const writing = yield* Effect.forkChild(Stream.run(Stream.make(source), handle.stdin), { startImmediately: true })
      yield* turns(3)
      const sizes = (frames: ReadonlyArray<Frame>) => frames.reduce((sum, { payload }) => sum + payload.length, 0)
      const first = yield* agent.rest
      assert.strictEqual(sizes(first), streamCredit)
      assert.isUndefined(writing.pollUnsafe())
      agent.credit(channel, 0, 70_000)
      const second = yield* agent.rest
      assert.strictEqual(sizes(second), 70_000)
      agent.credit(channel, 0, 70_000)
      yield* Fiber.join(writing)
      const last = yield* agent.rest
      assert.strictEqual(last.at(-1)?.type, hostFrame.end)
      const sent = [...first, ...second, ...last].flatMap(({ payload }) => [...payload])
      assert.isTrue(sent.length === source.length && sent.every((value, index) => value === source[index]))
    })
  )

  it.effect("to a command end quietly when it does not read any more", () =>
    Effect.gen(function* () {
      const { agent, channel, connection, handle } = yield* spawned(ChildProcess.make("work"))
      const endless = Stream.forever(Stream.make(new Uint8Array(50_000)))
      const writing = yield* Effect.forkChild(Stream.run(endless, handle.stdin), { startImmediately: true })
      yield* turns(5)
      agent.credit(channel, 0, 0)
      yield* Fiber.join(writing)
      yield* Stream.run(endless, handle.stdin)
      assert.isUndefined(connection.end)
    })
  )

  it.effect("that were given come as they are, and one that fails makes the exit doubtful", () =>
    Effect.gen(function* () {
      const source = yield* Queue.unbounded<Uint8Array, "broken" | Cause.Done>()
      const failure = PlatformError.badArgument({ module: "Test", method: "source" })
      const stdin = Stream.mapError(Stream.fromQueue(source), () => failure)
      const { agent, channel, handle } = yield* spawned(ChildProcess.make("work", [], { stdin, stdout: whole }))
      yield* Queue.offer(source, bytes("one"))
      assert.deepStrictEqual((yield* agent.take(hostFrame.data)).payload, bytes("one"))
      agent.send(agentFrame.data, 1, channel, bytes("a"))
      agent.send(agentFrame.data, 1, channel, bytes("b"))
      agent.send(agentFrame.end, 1, channel)
      assert.strictEqual(yield* Stream.mkString(Stream.decodeText(handle.stdout)), "ab")
      yield* Queue.fail(source, "broken")
      assert.strictEqual((yield* Effect.flip(handle.exitCode)).reason._tag, "BadArgument")
    })
  )

  it.effect("of both outputs come in their order", () =>
    Effect.gen(function* () {
      const { agent, channel, handle } = yield* spawned()
      let seen = ""
      const reading = yield* Effect.forkChild(
        handle.all.pipe(
          Stream.decodeText(),
          Stream.runForEach((text) => Effect.sync(() => (seen += text)))
        ),
        { startImmediately: true }
      )
      for (const [index, letter] of [..."abcdef"].entries()) {
        agent.send(agentFrame.data, 1 + (index % 2), channel, bytes(letter))
        yield* turns(2)
      }
      agent.send(agentFrame.end, 1, channel)
      agent.send(agentFrame.data, 2, channel, bytes("!"))
      agent.send(agentFrame.end, 2, channel)
      yield* Fiber.join(reading)
      assert.strictEqual(seen, "abcdef!")
    })
  )
})

describe("the end of the connection", () => {
  it.effect("fails everything that waits for a command, and keeps what was received", () =>
    Effect.gen(function* () {
      const { agent, channel, close, handle } = yield* spawned(ChildProcess.make("work"))
      agent.send(agentFrame.data, 1, channel, bytes("kept"))
      yield* turns(2)
      const waiting = yield* Effect.forEach(
        [
          handle.exitCode,
          Stream.runDrain(handle.stderr),
          Stream.run(Stream.forever(Stream.make(new Uint8Array(100_000))), handle.stdin),
          handle.kill()
        ],
        (effect) => Effect.forkChild(Effect.exit(effect), { startImmediately: true })
      )
      yield* turns(3)
      agent.end()
      const [exit, read, , kill] = yield* Fiber.joinAll(waiting)
      assert.isTrue(exit !== undefined && Exit.isFailure(exit))
      assert.isTrue(read !== undefined && Exit.isFailure(read))
      assert.isDefined(kill)
      let kept = ""
      const reading = handle.stdout.pipe(
        Stream.decodeText(),
        Stream.runForEach((text) => Effect.sync(() => (kept += text)))
      )
      assert.strictEqual((yield* Effect.flip(reading)).reason.module, "Sandbox")
      assert.strictEqual(kept, "kept")
      assert.strictEqual((yield* Effect.flip(handle.kill())).reason.module, "Sandbox")
      yield* Fiber.join(yield* close)
    })
  )
})

describe("interruption", () => {
  /** An agent that does everything at once. */
  const willing = (agent: FakeAgent) => (frame: Frame) => {
    if (frame.type === hostFrame.run) {
      agent.started(frame.channel)
      agent.send(agentFrame.data, 1, frame.channel, bytes("out"))
    }
    if (frame.type === hostFrame.signal) agent.exit(frame.channel, 15, exitKind.signal)
    closes(agent)(frame)
  }

  it.effect.each([3, 4, 5, 8, 16, 2048])(
    "at any step closes what was opened, with %s operations to a turn",
    (operations) =>
      Effect.gen(function* () {
        const { agent, connection, spawner } = yield* bench
        agent.answer = willing(agent)
        const stdin = Stream.make(bytes("in"))
        const use = Effect.gen(function* () {
          const handle = yield* spawner.spawn(ChildProcess.make("work", [], { stdin }))
          yield* Stream.runDrain(Stream.take(handle.stdout, 1))
          return yield* Effect.never
        })
        for (let count = 0; count < 60; count++) {
          const fiber = yield* Effect.forkChild(Effect.scoped(use), { startImmediately: true })
          yield* turns(count)
          yield* Fiber.interrupt(fiber)
          assert.strictEqual(connection.channelCount, 0, `after ${count} turns`)
        }
        const count = (name: string) => agent.log.filter((line) => line.startsWith(name)).length
        assert.strictEqual(count("close"), count("run"))
        assert.isUndefined(connection.end)
      }).pipe(Effect.provideService(Scheduler.MaxOpsBeforeYield, operations))
  )

  it.effect("while a command is starting kills it", () =>
    Effect.gen(function* () {
      const { agent, spawner } = yield* bench
      const spawning = yield* Effect.forkChild(Effect.scoped(spawner.spawn(ChildProcess.make("slow"))), {
        startImmediately: true
      })
      const { channel } = yield* agent.take(hostFrame.run)
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(spawning), { startImmediately: true })
      assert.strictEqual((yield* agent.take(hostFrame.close)).detail, 1)
      agent.started(channel)
      agent.exit(channel, 9, exitKind.signal)
      yield* turns(3)
      assert.isUndefined(interrupting.pollUnsafe())
      agent.send(agentFrame.closed, 0, channel)
      yield* Fiber.join(interrupting)
    })
  )
})
