/**
 * The conversation with one agent: the handshake, channels that share one stream of bytes, and pings.
 *
 * Frames are handed to their channels synchronously by the one fiber that reads, and whatever is to be sent in one turn
 * is written at once by the one fiber that writes; an idle connection holds nothing but these two.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import * as frames from "../protocol/frames.ts"
import { decode, Writer } from "../protocol/payload.ts"
import { ConnectionEnded } from "./connectionEnd.ts"
import * as frameBuffers from "./frameBuffers.ts"

/** A stream of bytes in each direction. */
export interface Transport {
  /**
   * Hands over what comes, which is only borrowed. Fails with what `take` gives back, with `Cause.Done` when nothing more
   * comes, and with anything else when the stream broke.
   */
  readonly receive: <S>(take: (chunk: Uint8Array) => S | undefined) => Effect.Effect<never, unknown>
  /** Writes in this order, and waits while the other side takes nothing. Afterwards the chunks may change. */
  readonly write: (chunks: NonEmptyReadonlyArray<Uint8Array>) => Effect.Effect<void, unknown>
}

/** What the agent is to prepare, see `HELLO` in the protocol. */
export interface Hello {
  /** `name`, `uid`, `name:group` or `uid:gid`. */
  readonly user: string
  readonly workdir: string
  /** Default: none. */
  readonly home?: string | undefined
  readonly writable: ReadonlyArray<string>
  /** Default: none. */
  readonly seeds?: ReadonlyArray<{ readonly from: string; readonly to: string }> | undefined
  readonly environment: { readonly [name: string]: string }
}

/** What the agent says of itself, see `WELCOME` in the protocol. */
export interface Welcome {
  readonly version: number
  readonly build: string
  readonly uid: number
  readonly gid: number
  /** The user's home directory, as the image's `/etc/passwd` has it; empty when unknown. */
  readonly userHome: string
  readonly pid: number
}

export interface Options {
  readonly transport: Transport
  readonly hello: Hello
  /**
   * Runs when the connection has ended by itself, before what is in flight fails: to find out more about it, and to tell
   * whoever has to hear of it first. Default: nothing.
   */
  readonly onEnd?: ((end: ConnectionEnded) => Effect.Effect<void>) | undefined
}

/** The host's side of one channel. */
export interface Channel {
  /** Takes a frame, whose payload is only borrowed; tells whether it is one that may come. Final ones free the channel. */
  readonly onFrame: (type: number, detail: number, payload: Uint8Array) => boolean
  /** The connection has ended, and with it the channel. */
  readonly onEnd: (end: ConnectionEnded) => void
}

/** Opens a connection that ends with its scope. Fails when the agent does not welcome the host; waits for it forever. */
export const make = (options: Options): Effect.Effect<Connection, ConnectionEnded, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const scope = yield* Scope.Scope
      const connection = new Connection(options)
      yield* Effect.forkIn(connection.reading, scope, { startImmediately: true })
      yield* Effect.forkIn(connection.writing, scope, { startImmediately: true })
      yield* Scope.addFinalizer(scope, connection.close)
      yield* restore(connection.greet(options.hello))
      return connection
    })
  )

/** How long a failure to write waits for one to read. */
const writeFailureGrace = "200 millis"

/** Frames up to this size are put together before they are written. */
const smallWrite = 65_536

const welcomeOf = (payload: Uint8Array): Welcome | undefined =>
  decode(payload, (reader) => ({
    version: reader.u16(),
    build: reader.str(),
    uid: reader.u32(),
    gid: reader.u32(),
    userHome: reader.str(),
    pid: reader.u32()
  }))

const fatalReasons: { readonly [reason: number]: string } = {
  [frames.fatalReason.malformed]: "the agent could not understand the host",
  [frames.fatalReason.version]: "the agent speaks no version of the protocol that the host speaks",
  [frames.fatalReason.preparation]: "the sandbox could not be prepared"
}

export class Connection {
  readonly #transport: Transport
  readonly #onEnd: (end: ConnectionEnded) => Effect.Effect<void>
  readonly #channels = new Map<number, Channel>()
  readonly #pings = new Map<number, (pong: Effect.Effect<void, ConnectionEnded>) => void>()
  readonly #welcomed = Deferred.makeUnsafe<Welcome, ConnectionEnded>()
  readonly #ended = Deferred.makeUnsafe<never, ConnectionEnded>()
  #welcome: Welcome | undefined
  #end: ConnectionEnded | undefined
  /** Whether channels have been told of the end, so that no new one can wait for that. */
  #isOver = false
  #lastChannel = 0
  #lastPing = 0
  /** What is to be written next. */
  #unsent: Array<Uint8Array> = []
  /** Those of them whose memory is used again. */
  #lent: Array<Uint8Array> = []
  /** Wakes up the fiber that writes. */
  #wakeWriter: ((effect: Effect.Effect<void>) => void) | undefined

  constructor({ onEnd = () => Effect.void, transport }: Options) {
    this.#transport = transport
    this.#onEnd = onEnd
  }

  /** What the agent said of itself; there as soon as anybody else has the connection. */
  get welcome(): Welcome | undefined {
    return this.#welcome
  }

  /** How it ended, when it has. */
  get end(): ConnectionEnded | undefined {
    return this.#end
  }

  /** How many channels are open. */
  get channelCount(): number {
    return this.#channels.size
  }

  /** Fails when the connection ends, before anything that is in flight does. */
  readonly awaitEnd: Effect.Effect<never, ConnectionEnded> = Deferred.await(this.#ended)

  /** Succeeds when the agent answers. One that begins after the end is told of it as those before. */
  readonly ping: Effect.Effect<void, ConnectionEnded> = Effect.callback((resume) => {
    if (this.#isOver && this.#end !== undefined) return resume(Effect.fail(this.#end))
    this.#lastPing = (this.#lastPing + 1) >>> 0
    const token = this.#lastPing
    this.#pings.set(token, resume)
    this.#enqueue(new Writer().u32(token).u32(0).frame(frames.hostFrame.ping, 0, 0))
    // The pong still comes.
    return Effect.sync(() => this.#pings.set(token, ignorePong))
  })

  /**
   * Opens a channel by a frame, and gives its number. What opens after the end is told of it as those before: at once,
   * or when everybody is.
   */
  open(channel: Channel, type: number, detail: number, payload: Writer): number {
    let number = this.#lastChannel
    do number = number === 0xffff_ffff ? 1 : number + 1
    while (this.#channels.has(number))
    this.#lastChannel = number
    if (this.#isOver && this.#end !== undefined) {
      channel.onEnd(this.#end)
      return number
    }
    this.#channels.set(number, channel)
    this.#enqueue(payload.frame(type, detail, number))
    return number
  }

  /** Sends a frame on a channel. Nothing happens when the channel is not open any more: frames can cross. */
  send(type: number, detail: number, channel: number, payload?: Uint8Array): void {
    if (this.#channels.has(channel)) this.#enqueue(frames.encode(type, detail, channel, payload))
  }

  /** Sends bytes of a stream, which may be changed afterwards. */
  sendData(detail: number, channel: number, bytes: Uint8Array): void {
    if (bytes.length < frameBuffers.leastBytes) return this.send(frames.hostFrame.data, detail, channel, bytes)
    if (this.#end !== undefined || !this.#channels.has(channel)) return
    const frame = frameBuffers.encode(frames.hostFrame.data, detail, channel, bytes)
    this.#lent.push(frame)
    this.#enqueue(frame)
  }

  /** The same with a number as payload. */
  sendU32(type: number, detail: number, channel: number, value: number): void {
    if (this.#channels.has(channel)) this.#enqueue(new Writer().u32(value).frame(type, detail, channel))
  }

  /** Says `HELLO`, and waits for `WELCOME`. */
  greet(hello: Hello): Effect.Effect<void, ConnectionEnded> {
    return Effect.suspend(() => {
      const writer = new Writer()
        .str(frames.magic)
        .u16(frames.version)
        .u16(frames.version)
        .str(hello.user)
        .str(hello.workdir)
        .str(hello.home ?? "")
        .strings(hello.writable)
      writer
        .list(hello.seeds ?? [], ({ from, to }) => writer.str(from).str(to))
        .strings(Object.entries(hello.environment).map(([name, value]) => `${name}=${value}`))
      this.#enqueue(writer.frame(frames.hostFrame.hello, 0, 0))
      return Effect.asVoid(Deferred.await(this.#welcomed))
    })
  }

  /** Hands what comes to the channels, until the end. */
  get reading(): Effect.Effect<void> {
    const decoder = new frames.Decoder("agent", this.#onFrame)
    return this.#untilFailure(this.#transport.receive((chunk) => decoder.push(chunk)))
  }

  /** Writes what is to be sent: everything of one turn together. */
  get writing(): Effect.Effect<void> {
    const wait = Effect.callback<void>((resume) => {
      if (this.#unsent.length > 0) return resume(Effect.void)
      this.#wakeWriter = resume
      return Effect.sync(() => {
        this.#wakeWriter = undefined
      })
    })
    const flush = Effect.suspend(() => {
      const chunks = together(this.#unsent)
      const lent = this.#lent
      this.#unsent = []
      if (chunks === undefined) return Effect.void
      if (lent.length === 0) return this.#transport.write(chunks)
      this.#lent = []
      return Effect.map(this.#transport.write(chunks), () => frameBuffers.giveBack(lent))
    }).pipe(
      // Where writing fails, reading does too, and may have been told more.
      Effect.tapError(() => Effect.timeoutOption(Effect.exit(this.awaitEnd), writeFailureGrace))
    )
    const loop = wait.pipe(
      Effect.andThen(Effect.yieldNow),
      Effect.andThen(flush),
      Effect.forever({ disableYield: true })
    )
    return this.#untilFailure(loop)
  }

  /** The end that the scope's is. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#tell(new ConnectionEnded({ reason: "closed", description: "it was closed" }))
      this.#failAll()
      return Effect.void
    })
  }

  /** Runs one of the two loops; the failure of either is the connection's end. */
  #untilFailure(loop: Effect.Effect<unknown, unknown>): Effect.Effect<void> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.matchCauseEffect(restore(loop), {
        onSuccess: () => Effect.void,
        onFailure: (cause) => this.#finish(endOf(Cause.squash(cause)))
      })
    )
  }

  #finish(end: ConnectionEnded): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.#tell(end)) return Effect.void
      return Effect.andThen(
        // A step apart, so that whoever waits for the end has dealt with it when everything else fails.
        Effect.andThen(Effect.ignoreCause(this.#onEnd(end)), Effect.yieldNow),
        Effect.sync(() => this.#failAll())
      )
    })
  }

  /** Tells those who wait for the end, once. */
  #tell(end: ConnectionEnded): boolean {
    if (this.#end !== undefined) return false
    this.#end = end
    this.#unsent = []
    this.#lent = []
    Deferred.doneUnsafe(this.#ended, Exit.fail(end))
    return true
  }

  /** Ends everything in flight. */
  #failAll(): void {
    const end = this.#end
    if (end === undefined || this.#isOver) return
    this.#isOver = true
    Deferred.doneUnsafe(this.#welcomed, Exit.fail(end))
    const pings = [...this.#pings.values()]
    this.#pings.clear()
    for (const resume of pings) resume(Effect.fail(end))
    const channels = [...this.#channels.values()]
    this.#channels.clear()
    for (const channel of channels) channel.onEnd(end)
  }

  #enqueue(frame: Uint8Array): void {
    if (this.#end !== undefined) return
    this.#unsent.push(frame)
    const wake = this.#wakeWriter
    this.#wakeWriter = undefined
    wake?.(Effect.void)
  }

  readonly #onFrame: frames.OnFrame<ConnectionEnded> = (type, detail, number, payload) => {
    // What a channel did with an earlier frame may have led to the end.
    if (this.#end !== undefined) return undefined
    if (this.#welcome === undefined && type !== frames.agentFrame.welcome && type !== frames.agentFrame.fatal) {
      return malformed(`a frame of type 0x${type.toString(16)} before the welcome`)
    }
    switch (type) {
      case frames.agentFrame.welcome:
        return this.#onWelcome(payload)
      case frames.agentFrame.pong:
        return this.#onPong(payload)
      case frames.agentFrame.fatal:
        return this.#onFatal(payload)
    }
    const channel = this.#channels.get(number)
    if (channel === undefined)
      return malformed(`a frame of type 0x${type.toString(16)} on channel ${number}, which is not open`)
    if (isFinal(type)) this.#channels.delete(number)
    if (channel.onFrame(type, detail, payload)) return undefined
    // It has not taken its end, and must not wait for another one.
    this.#channels.set(number, channel)
    return malformed(`a frame of type 0x${type.toString(16)} that channel ${number} cannot take`)
  }

  #onWelcome(payload: Uint8Array): ConnectionEnded | undefined {
    const welcome = welcomeOf(payload)
    if (welcome === undefined || this.#welcome !== undefined) return malformed("a welcome that is none")
    if (welcome.version !== frames.version)
      return malformed(`version ${welcome.version} of the protocol was not offered`)
    this.#welcome = welcome
    Deferred.doneUnsafe(this.#welcomed, Exit.succeed(welcome))
    return undefined
  }

  #onPong(payload: Uint8Array): ConnectionEnded | undefined {
    const token = decode(payload, (reader) => {
      const low = reader.u32()
      reader.u32()
      return low
    })
    const resume = token === undefined ? undefined : this.#pings.get(token)
    if (token === undefined || resume === undefined) return malformed("a pong that nobody waits for")
    this.#pings.delete(token)
    resume(Effect.void)
    return undefined
  }

  #onFatal(payload: Uint8Array): ConnectionEnded | undefined {
    const fatal = decode(payload, (reader) => ({ reason: reader.u8(), message: reader.str() }))
    if (fatal === undefined) return malformed("a farewell that is none")
    const reason = fatalReasons[fatal.reason] ?? `reason ${fatal.reason}`
    return new ConnectionEnded({ reason: "fatal", description: `${reason}: ${fatal.message}` })
  }
}

const ignorePong = (): void => {}

const malformed = (description: string): ConnectionEnded =>
  new ConnectionEnded({ reason: "malformed", description: `the agent sent ${description}` })

const isFinal = (type: number): boolean =>
  type === frames.agentFrame.reply || type === frames.agentFrame.error || type === frames.agentFrame.closed

const endOf = (error: unknown): ConnectionEnded => {
  if (error instanceof ConnectionEnded) return error
  if (error instanceof frames.MalformedFrame) {
    return new ConnectionEnded({ reason: "malformed", description: error.message, cause: error })
  }
  return Cause.isDone(error)
    ? new ConnectionEnded({ reason: "ended", description: "the agent's output has ended" })
    : new ConnectionEnded({
        reason: "broken",
        description: Predicate.isError(error) ? error.message : String(error),
        cause: error
      })
}

/** Small frames in one piece, which costs less than to write them one by one. */
const together = (chunks: ReadonlyArray<Uint8Array>): NonEmptyReadonlyArray<Uint8Array> | undefined => {
  const [first, ...rest] = chunks
  if (first === undefined) return undefined
  if (rest.length === 0) return [first]
  const size = chunks.reduce((sum, { length }) => sum + length, 0)
  if (size > smallWrite) return [first, ...rest]
  const all = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    all.set(chunk, offset)
    offset += chunk.length
  }
  return [all]
}
