/**
 * What is sent to browsers. Everything is encoded once, for all: a tick holds what changed since the one before, and a
 * snapshot the whole. A connection has no queue. It takes the ticks after its last one when it has room, and when they
 * are no longer kept, a snapshot, so that a slow browser costs what a fast one does.
 */
import type { EnvironmentControl } from "@effect-sandbox/core/EnvironmentControl"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Model } from "./model.ts"
import type * as Protocol from "./protocol.ts"
import { length as seriesLength } from "./series.ts"

/** Four times a second. */
const tickMillis = 250

/** More messages than that are not sent in a second, to all browsers together: with many, ticks are rarer. */
const messagesPerSecond = 400

/** How many ticks a connection may fall behind. */
const keptTicks = 40

/** Events that go out with one tick; what is beyond can be had from the history. */
const eventsPerTick = 40

/** Events that a browser gets that comes, or comes back. */
const eventsAtFirst = 200

/** A connection that has taken nothing for so long is closed. */
const patienceMillis = 30_000

const encoder = new TextEncoder()

/** One server-sent event. The data are plain values of the schemas in `protocol.ts`, which JSON holds as they are. */
const message = (event: string, data: unknown, id?: string): Uint8Array =>
  encoder.encode(`${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)

interface Viewer {
  /** When it took something last. */
  tookAt: number
  readonly disconnect: () => void
}

export class Feed {
  private readonly model: Model
  private readonly environments: () => ReadonlyArray<EnvironmentControl>
  private readonly epoch: string
  private readonly actions: boolean
  private readonly viewers = new Set<Viewer>()
  private readonly ticks: Array<Uint8Array> = []
  /** The number of the latest tick. */
  private tick = 0
  private next = Deferred.makeUnsafe<void>()
  private isClosed = false
  private second = 0
  private sentSeq = 0
  private time = 0
  private snapshot: { readonly tick: number; readonly bytes: Uint8Array } | undefined
  private firstLog: { readonly tick: number; readonly bytes: Uint8Array } | undefined

  constructor(options: {
    readonly model: Model
    readonly environments: () => ReadonlyArray<EnvironmentControl>
    readonly epoch: string
    readonly actions: boolean
  }) {
    this.model = options.model
    this.environments = options.environments
    this.epoch = options.epoch
    this.actions = options.actions
  }

  get connections(): number {
    return this.viewers.size
  }

  /** Never ends. */
  readonly run: Effect.Effect<never> = Effect.forever(
    Effect.andThen(
      // An environment whose statistics fail must not end what others see.
      Effect.ignoreCause(
        Effect.suspend(() => this.round),
        {
          log: "Warn",
          message: "The dashboard could not tell what has changed"
        }
      ),
      Effect.suspend(() => Effect.sleep(this.interval)) // changes with the connections
    )
  )

  /** Asks the environments, ends the seconds that have passed, and sends what has changed. */
  readonly round: Effect.Effect<void> = Effect.gen({ self: this }, function* () {
    const stats = yield* Effect.forEach(this.environments(), (environment) => environment.stats)
    const now = yield* Clock.currentTimeMillis
    this.time = now
    this.model.update(stats, now)
    const { hasEnded, points } = this.endSeconds(now)
    if (this.viewers.size === 0) {
      this.model.takeChanges()
      this.sentSeq = this.model.log.seq
      this.ticks.length = 0
      this.tick++
      return
    }
    // Once a second also when nothing happens, so that a browser knows that we are there.
    if (!hasEnded && this.model.log.seq === this.sentSeq) return
    const tick: Protocol.Tick = {
      time: now,
      environments: this.model.states(now),
      sandboxes: this.model.takeChanges(),
      points,
      log: this.model.log.errorsFirst(this.sentSeq, eventsPerTick)
    }
    this.sentSeq = this.model.log.seq
    this.push(message("tick", tick, this.idOf(this.sentSeq)))
    for (const viewer of this.viewers) {
      if (now - viewer.tookAt > patienceMillis) viewer.disconnect()
    }
  })

  /** Sends what is left, says goodbye, and ends all connections. */
  readonly close: Effect.Effect<void> = Effect.suspend(() =>
    Effect.map(this.isClosed ? Effect.void : this.round, () => {
      this.isClosed = true
      this.push(message("stopped", {}))
    })
  )

  /** The whole, as a value. */
  state(): Protocol.Snapshot {
    return {
      epoch: this.epoch,
      time: this.time,
      actions: this.actions,
      environments: this.model.states(this.time),
      sandboxes: this.model.cells(),
      series: this.model.series()
    }
  }

  /** The bytes for one browser; `lastId` is the last that it got from an earlier connection. */
  connect(lastId: string | undefined, disconnect: () => void): Stream.Stream<Uint8Array> {
    return Stream.suspend(() => {
      const viewer: Viewer = { tookAt: this.time, disconnect }
      this.viewers.add(viewer)
      let at = -1
      let seq = this.seqOf(lastId)
      const take = (): Uint8Array => {
        viewer.tookAt = this.time
        const behind = this.tick - at
        const before = seq
        const isNew = at < 0
        at = this.tick
        seq = this.sentSeq
        return !isNew && behind <= this.ticks.length
          ? concat(this.ticks.slice(this.ticks.length - behind))
          : concat([this.snapshotBytes(), this.logBytes(before)])
      }
      const pull = (hasEnded: boolean): Effect.Effect<readonly [Uint8Array, boolean] | undefined> =>
        Effect.suspend(() => {
          if (hasEnded) return Effect.succeed(undefined)
          if (at < this.tick) return Effect.succeed([take(), this.isClosed] as const)
          if (this.isClosed) return Effect.succeed(undefined)
          return Effect.andThen(Deferred.await(this.next), pull(false))
        })
      return Stream.unfold(false, pull).pipe(Stream.ensuring(Effect.sync(() => this.viewers.delete(viewer))))
    })
  }

  private get interval(): number {
    return Math.max(tickMillis, (1000 * this.viewers.size) / messagesPerSecond)
  }

  private endSeconds(now: number) {
    const second = Math.floor(now / 1000)
    const points: Array<Protocol.Series> = []
    // After a long pause, such as that of a machine that slept, only what the charts can hold.
    let ended = this.second === 0 ? second : Math.max(this.second, second - seriesLength)
    for (; ended < second; ended++) points.push(...this.model.closeSecond((ended + 1) * 1000))
    const hasEnded = this.second < second
    this.second = second
    return { hasEnded, points }
  }

  private push(bytes: Uint8Array): void {
    this.ticks.push(bytes)
    if (this.ticks.length > keptTicks) this.ticks.shift()
    this.tick++
    const waiting = this.next
    this.next = Deferred.makeUnsafe<void>()
    Deferred.doneUnsafe(waiting, Effect.void)
  }

  private idOf(seq: number): string {
    return `${this.epoch}.${seq}`
  }

  /** What it has of our events; nothing when it was told of another server's. */
  private seqOf(lastId: string | undefined): number | undefined {
    if (lastId === undefined || !lastId.startsWith(`${this.epoch}.`)) return undefined
    const seq = Number(lastId.slice(this.epoch.length + 1))
    return Number.isSafeInteger(seq) && seq >= 0 && seq <= this.model.log.seq ? seq : undefined
  }

  private snapshotBytes(): Uint8Array {
    if (this.snapshot?.tick !== this.tick) {
      const bytes = concat([
        encoder.encode("retry: 1000\n"),
        message("snapshot", this.state(), this.idOf(this.sentSeq))
      ])
      this.snapshot = { tick: this.tick, bytes }
    }
    return this.snapshot.bytes
  }

  private logBytes(seq: number | undefined): Uint8Array {
    const { log } = this.model
    if (seq !== undefined) return message("log", log.since(seq, eventsAtFirst), this.idOf(log.seq))
    if (this.firstLog?.tick !== this.tick) {
      const from = Math.max(log.oldest - 1, log.seq - eventsAtFirst)
      this.firstLog = { tick: this.tick, bytes: message("log", log.since(from, eventsAtFirst), this.idOf(log.seq)) }
    }
    return this.firstLog.bytes
  }
}

const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const [first] = parts
  if (parts.length === 1 && first !== undefined) return first
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
