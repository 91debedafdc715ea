/** The other side of a connection, as tests want it: it takes the host's frames, and says whatever it is told to. */
import { Cause, Deferred, Effect, Queue, type Scope } from "effect"
import { eachPulled } from "../../src/internal/eachPulled.ts"
import * as frames from "../../src/internal/protocol/frames.ts"
import { Reader, Writer } from "../../src/internal/protocol/payload.ts"
import { type Connection, make as connect, type Hello, type Transport } from "../../src/internal/agent/connection.ts"
import type { ConnectionEnded } from "../../src/internal/agent/connectionEnd.ts"

export interface Frame {
  readonly type: number
  readonly detail: number
  readonly channel: number
  readonly payload: Uint8Array
}

export const hello: Hello = {
  user: "1000",
  workdir: "/work",
  home: "/home/sandbox",
  writable: ["/work", "/tmp"],
  environment: { PATH: "/bin", TMPDIR: "/tmp" }
}

const names = new Map<number, string>(Object.entries(frames.hostFrame).map(([name, type]) => [type, name]))

export class FakeAgent {
  readonly transport: Transport
  /** Every frame that came, as a line. */
  readonly log: Array<string> = []
  /** What it answers by itself. Default: nothing. */
  answer: (frame: Frame) => void = () => undefined
  /** How often the host wrote. */
  writes = 0
  readonly #received = Effect.runSync(Queue.unbounded<Frame>())
  readonly #toHost = Effect.runSync(Queue.unbounded<Uint8Array, unknown>())
  #isBlocked: Deferred.Deferred<void> | undefined

  constructor() {
    const decoder = new frames.Decoder("host", (type, detail, channel, payload) => {
      const frame = { type, detail, channel, payload: new Uint8Array(payload) }
      this.log.push(`${names.get(type)}${detail === 0 ? "" : `/${detail}`} ${channel}`)
      Queue.offerUnsafe(this.#received, frame)
      this.answer(frame)
      return undefined
    })
    this.transport = {
      receive: (take) => eachPulled(Queue.takeAll(this.#toHost), take),
      write: (chunks) =>
        Effect.suspend(() => {
          this.writes++
          for (const chunk of chunks) {
            const malformed = decoder.push(chunk)
            if (malformed !== undefined) return Effect.die(malformed)
          }
          return this.#isBlocked === undefined ? Effect.void : Deferred.await(this.#isBlocked)
        })
    }
  }

  /** Says something on a channel. */
  send(type: number, detail: number, channel: number, payload: Uint8Array | Writer = new Uint8Array(0)): void {
    const frame =
      payload instanceof Writer ? payload.frame(type, detail, channel) : frames.encode(type, detail, channel, payload)
    this.raw(frame)
  }

  raw(bytes: Uint8Array): void {
    Queue.offerUnsafe(this.#toHost, bytes)
  }

  welcome(version = frames.version): void {
    const payload = new Writer().u16(version).str("fake").u32(1000).u32(1000).str("/root").u32(1)
    this.send(frames.agentFrame.welcome, 0, 0, payload)
  }

  started(channel: number, pid = 7): void {
    this.send(frames.agentFrame.started, 0, channel, new Writer().u32(pid))
  }

  exit(channel: number, value: number, kind: number = frames.exitKind.code, limit = 0n): void {
    const payload = new Writer().u8(kind).u32(value).u64(1n).u64(2n).u64(3n).u64(limit)
    this.send(frames.agentFrame.exit, 0, channel, payload)
    this.send(frames.agentFrame.gone, 0, channel)
  }

  error(channel: number, errno: number, stage: number = frames.errorStage.operation, message = ""): void {
    this.send(frames.agentFrame.error, 0, channel, new Writer().u32(errno).u8(stage).str(message))
  }

  credit(channel: number, stream: number, more: number): void {
    this.send(frames.agentFrame.credit, stream, channel, new Writer().u32(more))
  }

  /** The end of its output. */
  end(): void {
    Queue.failCauseUnsafe(this.#toHost, Cause.fail(Cause.Done()))
  }

  break(error: unknown): void {
    Queue.failCauseUnsafe(this.#toHost, Cause.fail(error))
  }

  /** The host's next frame, which has to be of this type. */
  take(type: number): Effect.Effect<Frame> {
    return Effect.map(Queue.take(this.#received), (frame) => {
      if (frame.type !== type) throw new Error(`${names.get(type)} was expected, not ${names.get(frame.type)}`)
      return frame
    })
  }

  /** All frames that have come and were not taken. */
  get rest(): Effect.Effect<ReadonlyArray<Frame>> {
    return Effect.map(Effect.andThen(turns(5), Queue.clear(this.#received)), (rest) => [...rest])
  }
}

/** Lets everybody else go on for so long. */
export const turns = (count: number): Effect.Effect<void> =>
  Effect.forEach(Array.from({ length: count }), () => Effect.yieldNow, { discard: true })

/** A connection to an agent that has welcomed the host. */
export const connected = (
  onEnd?: (end: ConnectionEnded) => Effect.Effect<void>
): Effect.Effect<{ readonly agent: FakeAgent; readonly connection: Connection }, ConnectionEnded, Scope.Scope> =>
  Effect.gen(function* () {
    const agent = new FakeAgent()
    agent.welcome()
    const connection = yield* connect({ transport: agent.transport, hello, onEnd })
    yield* agent.take(frames.hostFrame.hello)
    return { agent, connection }
  })

export interface Run {
  readonly flags: number
  readonly user: string
  readonly cwd: string
  readonly argv: ReadonlyArray<string>
  readonly env: ReadonlyArray<string>
  readonly fds: ReadonlyArray<readonly [number, number]>
}

export const runOf = ({ payload }: Frame): Run => {
  const reader = new Reader(payload)
  return {
    flags: reader.u8(),
    user: reader.str(),
    cwd: reader.str(),
    argv: reader.strings(),
    env: reader.strings(),
    fds: reader.list(() => [reader.u32(), reader.u8()] as const)
  }
}
