/** One environment at work: start, sessions, housekeeping, shutdown. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { Resolved } from "../EnvironmentConfig.ts"
import type { EnvironmentControl, ImageStats, Stats } from "../EnvironmentControl.ts"
import * as EventHandler from "../EventHandler.ts"
import * as Feature from "../Feature.ts"
import { type FeatureId, ImageId, SessionId } from "../Id.ts"
import { SandboxDriver } from "../SandboxDriver.ts"
import {
  DuplicateSessionError,
  EnvironmentClosedError,
  FeatureNotApplicableError,
  SessionLimitError,
  SessionTeardownError,
  UnknownImageError,
  UnknownSandboxError
} from "../SandboxError.ts"
import type { EnvironmentStatus } from "../SandboxStatus.ts"
import * as bounded from "./bounded.ts"
import { causeInfo, closedError, emit, type Engine, errorInfo, hasEnded, now, provide, type Restore } from "./engine.ts"
import { type HostPart, ImagePool } from "./imagePool.ts"
import { PassingMap } from "./passingMap.ts"
import type { SandboxRuntime, SessionRuntime } from "./sandboxRuntime.ts"
import { randomSessionId } from "./sessionId.ts"
import * as span from "./span.ts"

/** How long shutdown waits for handlers; their layers wait once more when they close. */
const drainTimeoutMillis = 10_000

interface Host {
  readonly feature: Feature.Any
  readonly scope: Scope.Closeable
  active: Feature.Active | undefined
  /** Whether an event told of its set-up. */
  isTold: boolean
}

/** A session of a host feature alone. */
interface HostSession {
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  readonly ended: Deferred.Deferred<void>
  isStopped: boolean
}

export class EnvironmentRuntime implements Engine {
  readonly config: Resolved
  readonly driver: SandboxDriver["Service"]
  readonly hub: EventHandler.EventHub["Service"]
  readonly clock: Clock.Clock
  readonly path: Path.Path
  readonly services: Context.Context<never>
  readonly background: Engine["background"]
  readonly sessions = new PassingMap<SessionId, SessionRuntime>()
  readonly pools = new Map<string, ImagePool>()
  status: EnvironmentStatus = "Created"
  created = 0
  destroyed = 0
  leaked = 0
  private readonly startedAt: number
  private readonly random: Random.Random
  private readonly housekeepIntervals: ReadonlyMap<FeatureId, number>
  private readonly hosts: Array<Host> = []
  /** Whether its start was told and how that ended was not. */
  private isStarting = false
  /** Completed when the environment is offline. */
  private readonly offline = Deferred.makeUnsafe<void>()
  private housekeepingCounter = 0
  /** Housekeeping, which ends when the shutdown begins. */
  private readonly loops: Array<Fiber.Fiber<unknown, unknown>> = []

  constructor(options: {
    readonly config: Resolved
    readonly driver: SandboxDriver["Service"]
    readonly hub: EventHandler.EventHub["Service"]
    readonly clock: Clock.Clock
    readonly path: Path.Path
    readonly services: Context.Context<never>
    readonly background: Engine["background"]
    readonly random: Random.Random
  }) {
    this.config = options.config
    this.driver = options.driver
    this.hub = options.hub
    this.clock = options.clock
    this.path = options.path
    this.services = options.services
    this.background = options.background
    this.random = options.random
    this.startedAt = now(this)
    this.housekeepIntervals = new Map(
      options.config.features.flatMap((feature) =>
        feature.housekeepInterval === undefined
          ? []
          : [[feature.id, Duration.toMillis(feature.housekeepInterval)] as const]
      )
    )
  }

  private facts(timestamp: number) {
    return { environmentId: this.config.id, timestamp }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Starting
  // -------------------------------------------------------------------------------------------------------------------

  /**
   * Host features, then the sandboxes of all images; on failure everything is taken down again (L9). Must be called in
   * an uninterruptible region, so that a start that was told of is told to its end (I6).
   */
  start(restore: Restore): Effect.Effect<void, unknown> {
    return Effect.suspend(() => {
      this.isStarting = true
      emit(this, (timestamp) => ({
        _tag: "EnvironmentStarting",
        ...this.facts(timestamp),
        pools: this.config.images.map((image) => {
          const { max, min } = this.config.poolSize(image)
          return { image, min, max: max > 0 ? max : undefined }
        })
      }))
      const bringUp = Effect.gen({ self: this }, function* () {
        for (const feature of this.config.features) if (feature.kind === "host") yield* this.setUpHost(feature)
        for (const image of this.config.images) yield* this.poolOf(image)
        yield* Effect.forEach(this.pools.values(), (pool) => pool.start, { concurrency: "unbounded", discard: true })
      })
      return Effect.flatMap(Effect.exit(restore(bringUp)), (result) => {
        const exit = Exit.isSuccess(result) && this.status !== "Created" ? Exit.fail(closedError(this)) : result
        if (Exit.isSuccess(exit)) {
          this.status = "Online"
          this.loops.push(this.background(this.housekeeping))
          for (const host of this.hosts) this.loops.push(this.background(this.hostHousekeeping(host)))
          for (const pool of this.pools.values()) pool.heal()
        }
        this.tellStart(exit)
        return Exit.isSuccess(exit) ? Effect.void : Effect.andThen(this.shutDown(), Effect.failCause(exit.cause))
      })
    }).pipe((starting) =>
      span.around(starting, "environment.start", () => ({ "sandbox.environment.id": this.config.id }))
    )
  }

  /** Tells how the start ended, once: a shutdown that overtakes it tells it first. */
  private tellStart(exit: Exit.Exit<unknown, unknown>): void {
    if (!this.isStarting) return
    this.isStarting = false
    emit(this, (timestamp) => ({
      _tag: "EnvironmentStarted",
      ...this.facts(timestamp),
      durationMillis: timestamp - this.startedAt,
      error: Exit.isFailure(exit) ? causeInfo(exit.cause) : undefined
    }))
  }

  private setUpHost(feature: Feature.Any): Effect.Effect<void, unknown> {
    const host: Host = { feature, scope: Scope.makeUnsafe(), active: undefined, isTold: false }
    this.hosts.push(host)
    const started = now(this)
    return Effect.onExit(provide(feature.setup, Context.add(this.services, Scope.Scope, host.scope)), (exit) =>
      Effect.sync(() => {
        host.isTold = true
        emit(this, (timestamp) => ({
          _tag: "FeatureSetUp",
          ...this.facts(timestamp),
          featureId: feature.id,
          durationMillis: timestamp - started,
          error: Exit.isFailure(exit) ? causeInfo(exit.cause) : undefined
        }))
      })
    ).pipe(
      Effect.map((active) => {
        host.active = active
      })
    )
  }

  private readonly hostParts = (): ReadonlyArray<HostPart> => this.hosts

  private poolOf(image: string): Effect.Effect<ImagePool> {
    return Effect.suspend(() => {
      const known = this.pools.get(image)
      if (known !== undefined) return Effect.succeed(known)
      const isListed = this.config.images.some((listed) => listed === image)
      const { max, min } = this.config.poolSize(image)
      return this.config.loadBalancer.make<SandboxRuntime>().pipe(
        Effect.map((ready) => {
          const raced = this.pools.get(image)
          if (raced !== undefined) return raced
          const pool = new ImagePool({
            engine: this,
            image: ImageId.make(image),
            min: isListed ? min : 0, // P5
            max,
            ready,
            features: this.config.features.filter(
              (feature) => feature.kind === "sandbox" && Feature.appliesTo(feature, image)
            ),
            housekeepIntervals: this.housekeepIntervals,
            hostParts: this.hostParts
          })
          this.pools.set(image, pool)
          return pool
        })
      )
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Sessions
  // -------------------------------------------------------------------------------------------------------------------

  /** The image for a request: the one named, else the first that all the wanted features apply to. */
  private imageFor(
    image: string | undefined,
    features: ReadonlyArray<Feature.Any>
  ): string | UnknownImageError | FeatureNotApplicableError {
    const { id: environmentId, images } = this.config
    const inapplicable = (feature: Feature.Any, to: string | undefined) =>
      new FeatureNotApplicableError({ environmentId, featureId: feature.id, image: to, patterns: feature.images })
    const known = (feature: Feature.Any): boolean => this.config.features.some((one) => one.id === feature.id)
    const stranger = features.find((feature) => !known(feature))
    if (stranger !== undefined) return inapplicable(stranger, image)
    if (image !== undefined) {
      if (!images.some((listed) => listed === image) && !this.config.isDynamic(image)) {
        return new UnknownImageError({ environmentId, image, images: [...images] })
      }
      const misfit = features.find((feature) => !Feature.appliesTo(feature, image))
      return misfit === undefined ? image : inapplicable(misfit, image)
    }
    const fit = images.find((listed) => features.every((feature) => Feature.appliesTo(feature, listed)))
    if (fit !== undefined) return fit
    const [first] = features
    return first === undefined
      ? new UnknownImageError({ environmentId, image: "", images: [] })
      : inapplicable(first, undefined)
  }

  /** A running session. Must be called in an uninterruptible region; only what `restore` wraps may be interrupted. */
  openSession(
    options: {
      readonly image?: string | undefined
      readonly id?: string | undefined
      readonly features?: ReadonlyArray<Feature.Any> | undefined
    },
    restore: Restore
  ): Effect.Effect<SessionRuntime, unknown> {
    return Effect.suspend(() => {
      if (this.status !== "Online") return Effect.fail(closedError(this))
      const image = this.imageFor(options.image, options.features ?? [])
      if (typeof image !== "string") return Effect.fail(image)
      const given = options.id === undefined || options.id === "" ? undefined : SessionId.make(options.id)
      if (given === undefined) return this.openOn(image, randomSessionId(this.random), restore)
      if (this.sessions.has(given) || this.reserved.has(given)) {
        return Effect.fail(new DuplicateSessionError({ environmentId: this.config.id, sessionId: given }))
      }
      this.reserved.add(given)
      return Effect.ensuring(
        this.openOn(image, given, restore),
        Effect.sync(() => this.reserved.delete(given))
      )
    })
  }

  private openOn(image: string, id: SessionId, restore: Restore): Effect.Effect<SessionRuntime, unknown> {
    const started = now(this)
    const from = (pool: ImagePool): Effect.Effect<SessionRuntime, unknown> =>
      Effect.flatMap(pool.acquire(restore), (sandbox) =>
        Effect.flatMap(sandbox.openSession(id, now(this) - started, restore), (session) => {
          if (session === undefined) return from(pool)
          this.sessions.set(id, session)
          this.limit(session, id)
          return Effect.succeed(session)
        })
      )
    const known = this.pools.get(image)
    return known === undefined ? Effect.flatMap(this.poolOf(image), from) : from(known)
  }

  /** Ids of sessions that are not open yet. */
  private readonly reserved = new Set<SessionId>()

  /** Watches over the limits of a session (S6). */
  private limit(session: SessionRuntime, sessionId: SessionId): void {
    const { sessionIdleTimeout, sessionLifetime } = this.config
    const stop = (limit: "lifetime" | "idle", limitMillis: number) =>
      session.stop(new SessionLimitError({ sessionId, sandboxId: session.sandbox.id, limit, limitMillis }))
    const watch = (effect: Effect.Effect<void>): void => {
      // The end of the session is awaited in the background: it must not interrupt itself.
      const timer = this.background(effect)
      this.background(
        Effect.andThen(
          Deferred.await(session.ended),
          Effect.sync(() => timer.interruptUnsafe())
        )
      )
    }
    if (sessionLifetime !== undefined)
      watch(
        Effect.delay(
          Effect.suspend(() => stop("lifetime", sessionLifetime)),
          sessionLifetime
        )
      )
    if (sessionIdleTimeout !== undefined) {
      const idle: Effect.Effect<void> = Effect.suspend(() => {
        const left = sessionIdleTimeout - session.idleMillis
        return left <= 0 ? stop("idle", sessionIdleTimeout) : Effect.andThen(Effect.sleep(Math.ceil(left)), idle)
      })
      watch(idle)
    }
  }

  /** Runs a body in a session of one host feature alone, without a sandbox (L19). */
  withHost<A, E>(
    featureId: FeatureId,
    body: (provided: Context.Context<never>) => Effect.Effect<A, E>
  ): Effect.Effect<A, unknown> {
    return Effect.uninterruptibleMask((restore) => {
      if (this.status !== "Online") return Effect.fail(closedError(this))
      const scope = Scope.makeUnsafe()
      const sessionId = randomSessionId(this.random)
      const session = this.hosts.find((one) => one.feature.id === featureId)?.active?.session
      const setUp: Effect.Effect<Context.Context<never>, unknown> = session === undefined
        ? Effect.succeed(Context.empty())
        : Effect.map(provide(session, Context.add(this.services, Scope.Scope, scope)), (addTo) =>
            addTo(Context.empty())
          )
      const facts = (timestamp: number) => ({ ...this.facts(timestamp), featureId, sessionId })
      const told = (
        tag: "FeatureSessionSetUp" | "FeatureSessionTornDown",
        since: number,
        cause?: Cause.Cause<unknown>
      ) =>
        emit(this, (timestamp) => ({
          _tag: tag,
          ...facts(timestamp),
          durationMillis: timestamp - since,
          error: cause === undefined ? undefined : causeInfo(cause)
        }))
      const started = now(this)
      let isSetUpTold = false
      const run = Effect.onExit(setUp, (exit) =>
        Effect.sync(() => {
          isSetUpTold = true
          told("FeatureSessionSetUp", started, Exit.isFailure(exit) ? exit.cause : undefined)
        })
      ).pipe(Effect.flatMap(body))
      const running: HostSession = { fiber: undefined, ended: Deferred.makeUnsafe(), isStopped: false }
      // Known from its first step on: the body may shut the environment down at once.
      const known = Effect.withFiber<A, unknown>((fiber) => {
        // Looked at once more in the same step: what ends the environment waits only for sessions that it knows.
        if (this.status !== "Online") return Effect.fail(closedError(this))
        running.fiber = fiber
        this.hostSessions.add(running)
        return run
      })
      return Effect.flatMap(Effect.forkChild(known, { startImmediately: true }), (fiber) => {
        const awaited = Effect.onInterrupt(restore(Fiber.await(fiber)), () => Fiber.interrupt(fiber))
        return Effect.flatMap(Effect.exit(awaited), (outer) => {
          const exit: Exit.Exit<A, unknown> = Exit.isSuccess(outer) ? outer.value : Exit.failCause(outer.cause)
          const ending = now(this)
          return Effect.flatMap(bounded.close(scope, this.config.teardownTimeout), (cause) => {
            if (isSetUpTold) told("FeatureSessionTornDown", ending, cause)
            this.hostSessions.delete(running)
            this.settle()
            Deferred.doneUnsafe(running.ended, Exit.void)
            if (Exit.isFailure(exit)) {
              return running.isStopped && Cause.hasInterruptsOnly(exit.cause) ? Effect.fail(closedError(this)) : exit
            }
            if (cause === undefined) return exit
            return Effect.fail(
              new SessionTeardownError({ sessionId, errors: { [featureId]: cause }, hasUserError: true })
            )
          })
        })
      })
    })
  }

  /** Sessions of host features without a sandbox. */
  private readonly hostSessions = new Set<HostSession>()

  // -------------------------------------------------------------------------------------------------------------------
  // Housekeeping
  // -------------------------------------------------------------------------------------------------------------------

  private readonly housekeeping: Effect.Effect<void> = Effect.suspend(() => {
    const { housekeepInterval, idleTimeToLive } = this.config
    const interval = Math.min(housekeepInterval, idleTimeToLive ?? housekeepInterval)
    const round = Effect.sync(() => {
      const started = now(this)
      let missing = 0
      for (const pool of this.pools.values()) {
        pool.shrink()
        missing += pool.heal()
      }
      emit(this, (timestamp) => ({
        _tag: "EnvironmentHousekeepingDone",
        ...this.facts(timestamp),
        durationMillis: timestamp - started,
        counter: this.housekeepingCounter++,
        started: missing
      }))
    })
    return Effect.forever(Effect.delay(round, interval))
  })

  private hostHousekeeping(host: Host): Effect.Effect<void> {
    const interval = this.housekeepIntervals.get(host.feature.id)
    const housekeep = host.active?.housekeep
    if (interval === undefined || housekeep === undefined) return Effect.void
    let counter = 0
    const check = Effect.uninterruptibleMask((restore) =>
      // Detached because one that cannot be interrupted must not hold up a shutdown, nor the end of the scope (F24).
      Effect.flatMap(
        Effect.forkDetach(Effect.scoped(provide(housekeep, this.services)), { startImmediately: true }),
        (fiber) =>
          Effect.onInterrupt(restore(Fiber.await(fiber)), () => bounded.interrupt(fiber, this.config.teardownTimeout))
      )
    )
    const round = Effect.suspend(() => {
      const started = now(this)
      return Effect.flatMap(check, (exit) => {
        emit(this, (timestamp) => ({
          _tag: "FeatureHousekeepingDone",
          ...this.facts(timestamp),
          featureId: host.feature.id,
          counter: counter++,
          durationMillis: timestamp - started,
          error: Exit.isFailure(exit) ? causeInfo(exit.cause) : undefined
        }))
        // A shutdown that interrupts it does not come by here: an interruption that does is its own failure (H4).
        return Exit.isSuccess(exit) ? Effect.void : this.shutDown(Cause.squash(exit.cause))
      })
    })
    return Effect.whileLoop({
      while: () => !hasEnded(this),
      body: () => Effect.delay(round, interval),
      step: () => {}
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Shutdown
  // -------------------------------------------------------------------------------------------------------------------

  /**
   * Ends the sessions, takes all sandboxes down, then the host features, and returns when every event was handled.
   * Never fails; the work is done once, in a fiber of its own, so that a caller may be interrupted (H5, L12).
   */
  readonly shutDown = (reason?: unknown): Effect.Effect<void> =>
    Effect.uninterruptibleMask((restore) => {
      const offline = restore(Deferred.await(this.offline))
      if (hasEnded(this)) return offline
      this.status = "ShuttingDown"
      // Detached: it must outlive whoever asks for it; `offline` tells when it is done.
      return Effect.andThen(Effect.forkDetach(this.takeDown(reason), { startImmediately: true }), offline)
    })

  // -------------------------------------------------------------------------------------------------------------------
  // Control from outside
  // -------------------------------------------------------------------------------------------------------------------

  /** Hands out no sessions any more, and shuts down when the last one is over. */
  private readonly drain: Effect.Effect<void> = Effect.uninterruptibleMask((restore) => {
    if (this.status !== "Online")
      return restore(this.status === "Created" ? this.shutDown() : Deferred.await(this.offline))
    this.status = "Draining"
    emit(this, (timestamp) => ({
      _tag: "EnvironmentDraining",
      ...this.facts(timestamp),
      lifetimeMillis: timestamp - this.startedAt,
      sessions: this.sessions.size + this.hostSessions.size
    }))
    const closed = closedError(this)
    for (const pool of this.pools.values()) {
      pool.close(closed)
      for (const sandbox of pool.live) if (!sandbox.isInUse) sandbox.stop(closed)
    }
    this.settle()
    return restore(Deferred.await(this.offline))
  })

  /** While draining: shuts down as soon as nobody is served any more. */
  settle(): void {
    if (this.status !== "Draining" || this.hostSessions.size > 0) return
    for (const pool of this.pools.values()) for (const sandbox of pool.live) if (sandbox.isInUse) return
    this.background(this.shutDown())
  }

  private recycle(id: string): Effect.Effect<void, UnknownSandboxError> {
    return Effect.suspend(() => {
      for (const pool of this.pools.values()) {
        for (const sandbox of pool.live) if (sandbox.id === id) return Effect.sync(() => sandbox.recycle())
      }
      return Effect.fail(new UnknownSandboxError({ environmentId: this.config.id, sandboxId: id }))
    })
  }

  private get stats(): Stats {
    let live = 0
    const images: Array<ImageStats> = []
    for (const pool of this.pools.values()) {
      live += pool.live.size
      images.push(pool.stats)
    }
    return {
      id: this.config.id,
      status: this.status,
      images,
      sessions: this.sessions.size,
      ledger: { created: this.created, destroyed: this.destroyed, live, leaked: this.leaked },
      handlers: this.hub.handlers()
    }
  }

  get control(): EnvironmentControl {
    return {
      id: this.config.id,
      stats: Effect.sync(() => this.stats),
      status: Effect.sync(() => this.status),
      drain: this.drain,
      recycle: (sandboxId) => this.recycle(sandboxId),
      shutdown: this.shutDown()
    }
  }

  private takeDown(reason: unknown): Effect.Effect<void> {
    return Effect.uninterruptible(
      Effect.gen({ self: this }, function* () {
        const started = now(this)
        this.tellStart(Exit.fail(reason ?? closedError(this)))
        emit(this, (timestamp) => ({
          _tag: "EnvironmentShuttingDown",
          ...this.facts(timestamp),
          lifetimeMillis: timestamp - this.startedAt,
          error: reason === undefined ? undefined : errorInfo(reason)
        }))
        const closed = new EnvironmentClosedError({ environmentId: this.config.id, status: this.status })
        for (const loop of this.loops) loop.interruptUnsafe()
        for (const pool of this.pools.values()) pool.close(closed)
        const sandboxes = [...this.pools.values()].flatMap((pool) => [...pool.live])
        // One time limit for each of: the bodies, a check, the session's features, its processes, the sandbox's
        // features, the driver's instance.
        const patience = this.config.teardownTimeout * (4 + 2 * this.config.features.length)
        yield* Effect.forEach(
          sandboxes,
          (sandbox) => {
            sandbox.stop(closed)
            return Effect.timeoutOption(Deferred.await(sandbox.offline), patience)
          },
          { concurrency: this.config.concurrency, discard: true }
        )
        for (const running of this.hostSessions) {
          running.isStopped = true
          running.fiber?.interruptUnsafe()
          // One time limit for its body, and one for its teardown, which must not be over in the same moment.
          yield* Effect.timeoutOption(Deferred.await(running.ended), 2 * this.config.teardownTimeout)
        }
        yield* Fiber.awaitAll(this.loops) // no host feature is torn down while it looks after itself
        for (const host of this.hosts.toReversed()) {
          const begun = now(this)
          const cause = yield* bounded.close(host.scope, this.config.teardownTimeout)
          if (!host.isTold) continue
          emit(this, (timestamp) => ({
            _tag: "FeatureTornDown",
            ...this.facts(timestamp),
            featureId: host.feature.id,
            durationMillis: timestamp - begun,
            error: cause === undefined ? undefined : causeInfo(cause)
          }))
        }
        this.status = "Offline"
        emit(this, (timestamp) => ({
          _tag: "EnvironmentShutDown",
          ...this.facts(timestamp),
          durationMillis: timestamp - started,
          lifetimeMillis: timestamp - this.startedAt
        }))
        yield* Effect.timeoutOption(this.hub.drain, drainTimeoutMillis)
        Deferred.doneUnsafe(this.offline, Exit.void)
      })
    )
  }
}

/**
 * What an environment's layer was given, without what tells where it was made: sessions and features have spans and
 * annotations of logs of their own, which these would hide.
 */
const withoutPlace = <R>(context: Context.Context<R>): Context.Context<R> =>
  // A span is no service that anyone asks for.
  Context.omit(
    Tracer.ParentSpan,
    References.CurrentLogAnnotations,
    References.CurrentLogSpans
  )(context) as Context.Context<R>

/** Runs what belongs to the scope and is ended with it. Most of it is done at once, and need not be kept in mind. */
const makeBackground = Effect.gen(function* () {
  const unfinished = yield* FiberSet.make<unknown, unknown>()
  const run = yield* FiberSet.runtime(unfinished)<never>()
  const start = Effect.runForkWith(yield* Effect.context<never>())
  return <A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> => {
    if (unfinished.state._tag === "Closed") return run(effect)
    const fiber = start(effect)
    if (fiber.pollUnsafe() === undefined) FiberSet.addUnsafe(unfinished, fiber)
    return fiber
  }
})

/** Makes and starts an environment; closing the scope shuts it down. */
export const make = Effect.fnUntraced(function* (config: Resolved) {
  const driver = yield* SandboxDriver
  const services = withoutPlace(yield* Effect.context<never>())
  const hub = Option.getOrUndefined(yield* Effect.serviceOption(EventHandler.EventHub)) ?? (yield* EventHandler.make)
  const clock = yield* Clock.Clock
  const random = yield* Random.Random
  const path = yield* Path.Path.pipe(Effect.provide(Path.layer))
  const background = yield* Effect.updateContext(makeBackground, withoutPlace)
  const environment = new EnvironmentRuntime({
    config,
    driver,
    hub,
    clock,
    path,
    services,
    random,
    background
  })
  yield* Effect.uninterruptibleMask((restore) =>
    hub
      .register(environment.control)
      .pipe(
        Effect.andThen(Effect.addFinalizer(() => environment.shutDown())),
        Effect.andThen(environment.start(restore))
      )
  )
  return environment
})
