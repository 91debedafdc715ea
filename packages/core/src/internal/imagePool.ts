/**
 * The sandboxes of one image: who is ready, who waits, who is coming up, and whether the image is in an outage.
 *
 * Everything is decided synchronously between two `yield*`s, so the counts are exact at any moment (P3): a place is
 * taken before its sandbox is created and given back when it is offline.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { ImageStats } from "../EnvironmentControl.ts"
import type * as Feature from "../Feature.ts"
import type { FeatureId, ImageId } from "../Id.ts"
import type { ReadySet } from "../LoadBalancer.ts"
import {
  type EnvironmentClosedError,
  EnvironmentOutageError,
  EnvironmentOverloadError,
  isStateError
} from "../SandboxError.ts"
import * as SandboxStatus from "../SandboxStatus.ts"
import { causeInfo, closedError, closingReason, emit, type Engine, isClosing, now, type Restore } from "./engine.ts"
import { linkedSet } from "./linkedSet.ts"
import { SandboxRuntime } from "./sandboxRuntime.ts"

/** Someone who waits for a sandbox. */
interface Waiter {
  readonly since: number
  readonly answer: Deferred.Deferred<SandboxRuntime, unknown>
  /** The sandbox that was handed over, which must go back if its new owner has gone (P4). */
  assigned: SandboxRuntime | undefined
}

/** A host feature that was set up. */
export interface HostPart {
  readonly feature: Feature.Any
  readonly active: Feature.Active | undefined
}

interface Outage {
  readonly since: number
  attempts: number
  cause: Cause.Cause<unknown>
  /** Whether it has lasted longer than the grace period. */
  isOver: boolean
  readonly fibers: Array<Fiber.Fiber<unknown, unknown>>
}

export class ImagePool {
  readonly engine: Engine
  readonly image: ImageId
  readonly min: number
  readonly max: number
  /** Whether sandboxes serve more than one session (P1). */
  readonly isPooled: boolean
  readonly isProactive: boolean
  readonly features: ReadonlyArray<Feature.Any>
  readonly housekeepIntervals: ReadonlyMap<FeatureId, number>
  readonly hostParts: () => ReadonlyArray<HostPart>
  readonly ready: ReadySet<SandboxRuntime>
  readonly counts = SandboxStatus.noCounts()
  /** Every sandbox that takes a place: from its creation until it is offline. */
  readonly live = new Set<SandboxRuntime>()
  served = 0
  replaced = 0
  outage: Outage | undefined
  /** How many sandboxes are being brought up. */
  starting = 0
  /** Completed when `min` sandboxes are up, while the environment starts. */
  private startup: Deferred.Deferred<void, unknown> | undefined
  /** While the environment starts `min` sandboxes, so many at a time. */
  private isFilling = false
  /** How many sandboxes there should be: `min`, and those that waiters asked for. */
  private target: number
  private readonly waiters = linkedSet<Waiter>()
  private readonly freeSlots: Array<number> = []
  private readonly generations: Array<number> = []

  constructor(options: {
    readonly engine: Engine
    readonly image: ImageId
    readonly min: number
    readonly max: number
    readonly ready: ReadySet<SandboxRuntime>
    readonly features: ReadonlyArray<Feature.Any>
    readonly housekeepIntervals: ReadonlyMap<FeatureId, number>
    readonly hostParts: () => ReadonlyArray<HostPart>
  }) {
    this.engine = options.engine
    this.image = options.image
    this.isPooled = options.max > 0
    this.min = options.min
    this.max = this.isPooled ? options.max : Number.POSITIVE_INFINITY
    this.isProactive = this.isPooled && options.engine.config.proactiveSessionSetup
    this.ready = options.ready
    this.features = options.features
    this.housekeepIntervals = options.housekeepIntervals
    this.hostParts = options.hostParts
    this.target = options.min
  }

  get stats(): ImageStats {
    const { outage } = this
    return {
      image: this.image,
      counts: { ...this.counts },
      min: this.min,
      max: this.max,
      starting: this.starting,
      waiters: this.waiters.size,
      sessionsServed: this.served,
      replaced: this.replaced,
      outage:
        outage === undefined
          ? undefined
          : {
              sinceMillis: outage.since,
              durationMillis: now(this.engine) - outage.since,
              attempts: outage.attempts
            }
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Acquiring
  // -------------------------------------------------------------------------------------------------------------------

  /** A ready sandbox, moved to `Acquired`; grows the pool, or waits in line (P2). */
  acquire(restore: Restore): Effect.Effect<SandboxRuntime, unknown> {
    return Effect.suspend(() => {
      if (this.engine.status !== "Online") return Effect.fail(closedError(this.engine))
      const ready = this.waiters.size === 0 ? this.ready.take() : undefined
      if (ready !== undefined) {
        ready.move("Acquired")
        return Effect.succeed(ready)
      }
      if (this.outage?.isOver === true) {
        const cause = Cause.fail(this.outageError(this.outage))
        this.tellFailure(now(this.engine), cause)
        return Effect.failCause(cause)
      }
      return this.wait(restore)
    })
  }

  private wait(restore: Restore): Effect.Effect<SandboxRuntime, unknown> {
    const started = now(this.engine)
    const waiter: Waiter = { since: started, answer: Deferred.makeUnsafe(), assigned: undefined }
    this.waiters.add(waiter)
    this.grow()
    const { acquireTimeout, id } = this.engine.config
    return Effect.flatMap(
      Effect.exit(restore(Effect.timeoutOption(Deferred.await(waiter.answer), acquireTimeout))),
      (exit): Effect.Effect<SandboxRuntime, unknown> => {
        const hasGivenUp = this.waiters.remove(waiter) // nobody has answered
        if (Exit.isSuccess(exit) && Option.isSome(exit.value)) return Effect.succeed(exit.value.value)
        // The answer came in the same moment as the time-out or the interruption.
        if (waiter.assigned !== undefined) {
          if (Exit.isSuccess(exit)) return Effect.succeed(waiter.assigned)
          this.giveBack(waiter.assigned)
        }
        const cause: Cause.Cause<unknown> = Exit.isFailure(exit)
          ? exit.cause
          : Cause.fail(
              new EnvironmentOverloadError({
                environmentId: id,
                image: this.image,
                poolSize: this.isPooled ? this.max : this.live.size,
                waitedMillis: now(this.engine) - started
              })
            )
        if (hasGivenUp) this.tellFailure(started, cause)
        return Effect.failCause(cause)
      }
    )
  }

  /** Takes back a sandbox whose acquirer went away before its session started. */
  giveBack(sandbox: SandboxRuntime): void {
    if (sandbox.isCondemned || !this.isPooled) {
      this.engine.background(sandbox.shutDown("its acquirer went away"))
    } else {
      this.offer(sandbox)
    }
  }

  /** A sandbox is free: hands it to who has waited longest, or keeps it ready (I8). */
  offer(sandbox: SandboxRuntime): void {
    sandbox.move("Ready")
    const reason = sandbox.isCondemned
      ? "broken"
      : isClosing(this.engine)
        ? closingReason(this.engine)
        : sandbox.isToBeRecycled
          ? "recycled"
          : undefined
    if (reason !== undefined) {
      this.engine.background(sandbox.shutDown(reason))
      return
    }
    const waiter = this.waiters.take()
    if (waiter !== undefined) {
      sandbox.move("Acquired")
      waiter.assigned = sandbox
      Deferred.doneUnsafe(waiter.answer, Exit.succeed(sandbox))
    } else if (this.isPooled) {
      this.ready.add(sandbox)
    } else {
      this.engine.background(sandbox.shutDown("nobody waits for it any more"))
    }
  }

  /** The environment shuts down: whoever waits is told (L4), and nothing is tried any more. */
  close(error: EnvironmentClosedError): void {
    this.failWaiters(() => error)
    for (const fiber of this.outage?.fibers ?? []) fiber.interruptUnsafe()
  }

  /** Fails everyone who waits. */
  private failWaiters(error: () => unknown): void {
    for (let waiter = this.waiters.take(); waiter !== undefined; waiter = this.waiters.take()) {
      this.refuse(waiter, Cause.fail(error()))
    }
  }

  private refuse(waiter: Waiter, cause: Cause.Cause<unknown>): void {
    this.tellFailure(waiter.since, cause)
    Deferred.doneUnsafe(waiter.answer, Exit.failCause(cause))
  }

  private tellFailure(since: number, cause: Cause.Cause<unknown>): void {
    emit(this.engine, (timestamp) => ({
      _tag: "AcquireFailed",
      environmentId: this.engine.config.id,
      timestamp,
      image: this.image,
      waitedMillis: timestamp - since,
      error: causeInfo(cause)
    }))
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Starting
  // -------------------------------------------------------------------------------------------------------------------

  /** Brings `min` sandboxes up; succeeds when they are, however often it had to be tried (P1, H3). */
  readonly start: Effect.Effect<void, unknown> = Effect.suspend(() => {
    if (this.min === 0) return Effect.void
    const startup = Deferred.makeUnsafe<void, unknown>()
    this.startup = startup
    this.isFilling = true
    // From taking a place on, only the set-up itself may be interrupted: what has a place must come up or go.
    const one = Effect.uninterruptibleMask((restore) =>
      this.outage === undefined && this.live.size < this.max
        ? Effect.asVoid(this.bringUp(this.place(), restore))
        : Effect.void
    )
    const all = Effect.forEach(Array.from({ length: this.min }), () => one, {
      concurrency: this.engine.config.concurrency,
      discard: true
    })
    const filled = Effect.sync(() => {
      this.isFilling = false
      this.grow() // what an outage has left out
    })
    return Effect.raceFirst(
      Effect.andThen(Effect.andThen(all, filled), Deferred.await(startup)),
      Deferred.await(startup)
    )
  })

  private finishStartup(exit: Exit.Exit<void, unknown>): void {
    if (this.startup !== undefined) Deferred.doneUnsafe(this.startup, exit)
    this.startup = undefined
    this.isFilling = false
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Growing and replacing
  // -------------------------------------------------------------------------------------------------------------------

  /** Starts as many sandboxes as are missing, within `max`. While the image is in an outage only the retry does. */
  grow(): number {
    let started = 0
    while (this.wantsMore() && this.outage === undefined) {
      const sandbox = this.place()
      // The yield keeps a sandbox that comes up at once from growing the next one on top of its own stack.
      this.engine.background(
        Effect.uninterruptibleMask((restore) => Effect.andThen(Effect.yieldNow, this.bringUp(sandbox, restore)))
      )
      started++
    }
    return started
  }

  private wantsMore(): boolean {
    if (isClosing(this.engine) || this.live.size >= this.max) return false
    // While the environment starts, `start` brings up what is kept, so many at a time.
    return this.waiters.size > this.starting || (!this.isFilling && this.live.size < this.target)
  }

  /** Takes a place in the pool, for a sandbox that is to be brought up. */
  place(): SandboxRuntime {
    const slot = this.freeSlots.pop() ?? this.generations.length
    const generation = this.generations[slot] ?? 0
    this.generations[slot] = generation + 1
    const sandbox = new SandboxRuntime(this.engine, this, slot, generation)
    this.live.add(sandbox)
    this.starting++
    this.engine.created++
    if (this.isPooled) this.target = Math.max(this.target, this.live.size)
    return sandbox
  }

  /** Brings a placed sandbox up. Its failure begins an outage or is somebody's own error (H3); the exit tells. */
  bringUp(sandbox: SandboxRuntime, restore: Restore): Effect.Effect<Exit.Exit<void, unknown>> {
    return Effect.flatMap(Effect.exit(sandbox.start(restore)), (exit) =>
      Effect.sync(() => {
        this.starting--
        if (Exit.isSuccess(exit)) {
          this.recovered()
          this.engine.background(sandbox.housekeeping)
          this.offer(sandbox)
          this.grow()
          if (this.live.size - this.starting >= this.min) this.finishStartup(Exit.void)
        } else if (sandbox.hasInterruptedItself || !Cause.hasInterruptsOnly(exit.cause)) {
          this.failed(exit.cause)
        } else {
          this.grow() // an attempt that an outage's end has cut short, and that somebody may wait for
        }
        return exit
      })
    )
  }

  /** A set-up in the background failed after the sandbox had been up: nobody asked for it, so nobody is told (S3). */
  backgroundFailed(cause: Cause.Cause<unknown>): Effect.Effect<void> {
    return Effect.logDebug("A sandbox could not be made ready for its next session", cause)
  }

  private failed(cause: Cause.Cause<unknown>): void {
    if (isClosing(this.engine)) return
    if (isOutage(cause)) {
      this.beginOutage(cause)
      return
    }
    // A user error belongs to whoever asked (X5); what nobody asked for waits for the next housekeeping round.
    this.target = Math.max(this.min, Math.min(this.target, this.live.size))
    this.finishStartup(Exit.failCause(cause))
    const waiter = this.waiters.take()
    if (waiter !== undefined) this.refuse(waiter, cause)
    if (this.waiters.size > 0) this.grow()
  }

  /** A sandbox has gone offline: its place is free, and filled again if it is missed (H2). */
  left(sandbox: SandboxRuntime): void {
    this.live.delete(sandbox)
    this.engine.destroyed++
    this.counts.Offline--
    this.freeSlots.push(sandbox.slot)
    // What was never ready is not missed: whoever brings it up decides what comes next.
    if (sandbox.wasReady) this.replaced += this.grow()
  }

  /** Takes idle sandboxes beyond `min` down, and those that are too old (P6). */
  shrink(): void {
    const { idleTimeToLive } = this.engine.config
    for (const sandbox of [...this.ready]) {
      const reason = sandbox.recycleReason()
      if (reason !== undefined) {
        this.engine.background(sandbox.shutDown(reason))
      } else if (
        idleTimeToLive !== undefined &&
        this.live.size - this.counts.ShuttingDown > this.min &&
        now(this.engine) - sandbox.since >= idleTimeToLive
      ) {
        this.target = Math.max(this.min, this.target - 1)
        this.engine.background(sandbox.shutDown("idle"))
      }
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Outages
  // -------------------------------------------------------------------------------------------------------------------

  outageError(outage: Outage): EnvironmentOutageError {
    const cause = outage.cause.reasons.flatMap((reason) => (Cause.isFailReason(reason) ? [reason.error] : []))[0]
    return new EnvironmentOutageError({
      environmentId: this.engine.config.id,
      image: this.image,
      offlineMillis: now(this.engine) - outage.since,
      cause
    })
  }

  private beginOutage(cause: Cause.Cause<unknown>): void {
    if (this.outage !== undefined) {
      this.outage.attempts++
      this.outage.cause = cause
      return
    }
    const outage: Outage = { since: now(this.engine), attempts: 1, cause, isOver: false, fibers: [] }
    this.outage = outage
    emit(this.engine, (timestamp) => ({
      _tag: "ImageOutageStarted",
      environmentId: this.engine.config.id,
      timestamp,
      image: this.image,
      error: causeInfo(cause)
    }))
    outage.fibers.push(this.engine.background(this.retry(false)), this.engine.background(this.expire(outage)))
  }

  /** Looks after missing sandboxes, also in an outage whose schedule has given up (H2); tells how many it started. */
  heal(): number {
    const retry = this.outage?.fibers[0]
    if (this.outage === undefined || retry === undefined) return this.grow()
    if (retry.pollUnsafe() === undefined) return 0
    this.outage.fibers[0] = this.engine.background(this.retry(true))
    return 1
  }

  /** Tries again and again, at the pace of the schedule, until a sandbox comes up (F22); at once, or when that says so. */
  private retry(isAtOnce: boolean): Effect.Effect<void> {
    return Effect.suspend(() => {
      let isFirst = !isAtOnce
      const attempt = Effect.suspend((): Effect.Effect<void, "failed"> => {
        if (isFirst) {
          isFirst = false
          return Effect.fail("failed")
        }
        if (this.live.size >= this.max) return Effect.fail("failed")
        return Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(this.bringUp(this.place(), restore), (exit) =>
            Exit.isSuccess(exit) ? Effect.void : Effect.fail("failed")
          )
        )
      })
      return Effect.ignore(Effect.retry(attempt, this.engine.config.outageRetry))
    })
  }

  /** Fails the waiters when the grace period is over. */
  private expire(outage: Outage): Effect.Effect<void> {
    return Effect.delay(
      Effect.suspend(() => {
        outage.isOver = true
        this.failWaiters(() => this.outageError(outage))
        this.finishStartup(Exit.fail(this.outageError(outage)))
        return this.engine.config.onOutage === "shutdown" ? this.engine.shutDown(this.outageError(outage)) : Effect.void
      }),
      this.engine.config.outageGracePeriod
    )
  }

  private recovered(): void {
    const { outage } = this
    if (outage === undefined) return
    this.outage = undefined
    emit(this.engine, (timestamp) => ({
      _tag: "ImageOutageEnded",
      environmentId: this.engine.config.id,
      timestamp,
      image: this.image,
      durationMillis: timestamp - outage.since,
      attempts: outage.attempts
    }))
    for (const fiber of outage.fibers) fiber.interruptUnsafe()
  }
}

/** Whether a failed start says that the image cannot be brought up, and not that a feature's own code failed (H3). */
const isOutage = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => {
    const error = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
    return isStateError(error) || (Cause.isFailReason(reason) && error instanceof EnvironmentOutageError)
  })
