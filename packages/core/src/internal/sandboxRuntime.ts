/**
 * One sandbox and its sessions, from the first move to the last. The only place that writes a sandbox's status.
 *
 * Everything between two `yield*`s is atomic, so no locks are needed; what may be interrupted is marked by `restore`.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Path from "effect/Path"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type * as Feature from "../Feature.ts"
import { sandboxId, type SandboxId, type SessionId } from "../Id.ts"
import type { SandboxInstance } from "../SandboxDriver.ts"
import {
  describe,
  type EnvironmentClosedError,
  FeatureTeardownError,
  hasUserError,
  SandboxStateError,
  SessionEndedError,
  type SessionLimitError,
  SessionTeardownError,
  stateErrors
} from "../SandboxError.ts"
import { Session } from "../Session.ts"
import type { ErrorInfo } from "../SandboxEvent.ts"
import * as SandboxStatus from "../SandboxStatus.ts"
import * as bounded from "./bounded.ts"
import {
  causeInfo,
  closingReason,
  emit,
  type Engine,
  errorInfo,
  isClosing,
  now,
  provide,
  publish,
  type Restore
} from "./engine.ts"
import type { ImagePool } from "./imagePool.ts"
import * as sandboxServices from "./sandboxServices.ts"
import { SandboxStatusChanged, SessionEnded, SessionStarted } from "./sessionEvents.ts"
import * as span from "./span.ts"

/** Why a session is ended from outside. */
export type StopReason = SandboxStateError | SessionLimitError | EnvironmentClosedError

/** One feature that was set up, for a sandbox or for a session. */
interface Part {
  readonly feature: Feature.Any
  readonly scope: Scope.Closeable
  active: Feature.Active | undefined
  /** Whether events told of its set-up; an interruption may come before that. */
  isTold: boolean
}

/** Something to look after at an interval. */
interface Task {
  /** As errors name it. */
  readonly operation: string
  readonly interval: number
  due: number
  readonly run: Effect.Effect<unknown, unknown>
}

/** The tasks that were due at the same time, while they run. */
interface Check {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  operation: string
  /** Takes note of how it ended, once: by its own doing, or given up. */
  readonly end: (exit: Exit.Exit<unknown, unknown>) => void
}

/** What is told to whoever ends a session. */
type TeardownError = SessionTeardownError | FeatureTeardownError

/** What teardown raised: feature → cause. */
type TeardownErrors = { [featureId: string]: Cause.Cause<unknown> }

export class SandboxRuntime {
  readonly engine: Engine
  readonly pool: ImagePool
  readonly id: SandboxId
  readonly slot: number
  readonly generation: number
  readonly createdAt: number
  readonly stateErrors: Array<SandboxStateError> = []
  /** Completed with what teardown raised, once the sandbox is offline. */
  readonly offline = Deferred.makeUnsafe<FeatureTeardownError | undefined>()
  status: SandboxStatus.SandboxStatus = "Created"
  /** Since when it has had its status. */
  since: number
  served = 0
  /** Whether it has been ready once: only such a sandbox is missed when it goes. */
  wasReady = false
  /** Whether somebody has it: from the hand-over until the end of the session. */
  isInUse = false
  /** Whether it was asked to go although nothing is wrong with it. */
  isToBeRecycled = false
  /** Whether its set-up was interrupted by nobody but itself, which is its own failure (X5). */
  hasInterruptedItself = false
  /** The death that the driver reported. */
  death: SandboxStateError | undefined
  /** The session that is prepared or running. */
  session: SessionRuntime | undefined
  /** The features that were set up, in that order. */
  private readonly parts: Array<Part> = []
  private knownSessionFeatures: SandboxRuntime["sessionFeatures"] | undefined
  /** Holds the driver's instance. */
  private readonly scope = Scope.makeUnsafe()
  private instance: SandboxInstance | undefined
  /** What features are given: the services that they asked the environment's layer for, and paths inside. */
  private services: Context.Context<never> = Context.empty()
  /** Paths inside. */
  private paths: Context.Context<never> = Context.empty()
  /** Set when the sandbox must go as soon as it can; fails whoever sets it up. */
  private readonly stopped = Deferred.makeUnsafe<never, StopReason>()
  private stopReason: StopReason | undefined
  /** Who prepares it for its next session. */
  private refreshing: Fiber.Fiber<unknown, unknown> | undefined
  /** The check that runs now; interrupted by any set-up or teardown (H1). */
  private check: Check | undefined

  constructor(engine: Engine, pool: ImagePool, slot: number, generation: number) {
    this.engine = engine
    this.pool = pool
    this.slot = slot
    this.generation = generation
    this.id = sandboxId(engine.config.id, pool.image, slot, generation)
    this.createdAt = now(engine)
    this.since = this.createdAt
    pool.counts.Created++
  }

  /** The one writer of `status`. An illegal move is a defect (I5). */
  move(to: SandboxStatus.SandboxStatus, at = now(this.engine)): void {
    const from = this.status
    if (!SandboxStatus.isLegal(from, to)) throw new Error(`${this.id}: illegal move from ${from} to ${to}`)
    this.status = to
    if (to === "Ready") this.wasReady = true
    this.isInUse =
      to === "Acquired" || (to === "SettingUp" && from === "Acquired") || to === "InSession" || to === "ExitingSession"
    this.pool.counts[from]--
    this.pool.counts[to]++
    // Six times per session, so made without a closure and in one go, as are the two events of the session itself.
    if (this.engine.hub.isObserved()) {
      publish(
        this.engine,
        new SandboxStatusChanged({
          _tag: "SandboxStatusChanged",
          environmentId: this.engine.config.id,
          timestamp: at,
          sandboxId: this.id,
          image: this.pool.image,
          from,
          to,
          spentMillis: at - this.since,
          sessionId: this.session?.id
        })
      )
    }
    this.since = at
    if (!this.isInUse) this.engine.settle()
  }

  facts(timestamp: number) {
    return { environmentId: this.engine.config.id, timestamp, sandboxId: this.id, image: this.pool.image }
  }

  /** What its spans say. */
  private readonly attributes = () => ({
    "sandbox.environment.id": this.engine.config.id,
    "sandbox.id": this.id,
    "sandbox.image": this.pool.image
  })

  get isCondemned(): boolean {
    return this.stopReason !== undefined || this.stateErrors.length > 0
  }

  /** Remembers a state error; the same one once (X3). */
  record(error: SandboxStateError): void {
    if (!this.stateErrors.includes(error)) this.stateErrors.push(error)
  }

  /** The sandbox is broken: recorded, its session ends, it goes offline (X3, S4). */
  condemn(error: SandboxStateError): void {
    this.record(error)
    this.stop(error)
  }

  /** Makes the sandbox go offline as soon as its status allows. May be called at any time, by anyone. */
  stop(reason: StopReason): void {
    if (this.stopReason !== undefined) return
    this.stopReason = reason
    Deferred.doneUnsafe(this.stopped, Exit.fail(reason))
    switch (this.status) {
      case "Ready":
        this.pool.ready.remove(this)
        this.engine.background(this.shutDown(describe(reason)))
        return
      case "InSession":
        if (this.session !== undefined) this.engine.background(this.session.stop(reason))
        return
      case "SettingUp": // whoever sets it up is failed by `stopped`, or interrupted
      case "ExitingSession": // the end of the session looks
        this.refreshing?.interruptUnsafe()
        return
      case "Created":
      case "Acquired": // whoever acquired it looks before it starts a session
      case "ShuttingDown":
      case "Offline":
        return
    }
  }

  /** Has it replaced: at once while it is ready, else when it would be ready again. */
  recycle(): void {
    this.isToBeRecycled = true
    if (this.status !== "Ready" || this.isCondemned) return
    this.pool.ready.remove(this)
    this.engine.background(this.shutDown("recycled"))
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Coming up
  // -------------------------------------------------------------------------------------------------------------------

  /** Brings the sandbox up until it could be handed out; when that fails or is interrupted, it is offline afterwards. */
  start(restore: Restore): Effect.Effect<void, unknown> {
    this.move("SettingUp")
    const setUp = Effect.gen({ self: this }, function* () {
      yield* this.create
      yield* this.setUpFeatures
      // The first session starts from the same state as all others (S1).
      if (this.parts.length > 0) yield* this.instanceOrDie.reset
      if (this.isSetUpAhead) yield* this.prepare
    })
    // Not seen when the set-up is interrupted from outside.
    const noted = Effect.tapCause(setUp, (cause) =>
      Effect.sync(() => {
        this.hasInterruptedItself = Cause.hasInterruptsOnly(cause)
      })
    )
    return this.guardedSetUp(restore(this.unlessStopped(noted)), (exit, durationMillis) =>
      emit(this.engine, (timestamp) => ({
        _tag: "SandboxStarted",
        ...this.facts(timestamp),
        durationMillis,
        error: Exit.isFailure(exit) ? causeInfo(exit.cause) : undefined,
        isolation: this.instance?.isolation?.level,
        isolationFallback: this.instance?.isolation?.fallback?.reason
      }))
    )
  }

  /** After a session: removes its traces and sets up the next (S1, S3). */
  get refresh(): Effect.Effect<void, unknown> {
    const setUp = Effect.suspend(() => {
      const reset = this.instanceOrDie.reset
      return this.isSetUpAhead ? Effect.andThen(reset, this.prepare) : reset
    })
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        // It has a fiber of its own, which is what `stop` interrupts.
        this.refreshing = fiber
        return this.guardedSetUp(restore(setUp), () => {
          this.refreshing = undefined
        })
      })
    )
  }

  /** Set-up that ends when the sandbox dies or has to go, and is followed by the whole teardown when it fails (I1). */
  private guardedSetUp(
    setUp: Effect.Effect<void, unknown>,
    onEnd: (exit: Exit.Exit<void, unknown>, durationMillis: number) => void
  ): Effect.Effect<void, unknown> {
    const started = now(this.engine)
    return Effect.flatMap(Effect.exit(setUp), (result) => {
      const exit =
        this.stopReason !== undefined && (Exit.isSuccess(result) || Cause.hasInterruptsOnly(result.cause))
          ? Exit.fail(this.stopReason)
          : result
      onEnd(exit, now(this.engine) - started)
      if (Exit.isSuccess(exit)) return Effect.void
      for (const error of stateErrors(exit.cause)) this.record(error)
      return Effect.andThen(
        this.shutDown(`set-up failed: ${causeInfo(exit.cause).message}`),
        Effect.failCause(exit.cause)
      )
    })
  }

  /** Runs set-up; fails as soon as the sandbox must go. */
  private unlessStopped<A, E>(setUp: Effect.Effect<A, E>): Effect.Effect<A, E | StopReason> {
    return Effect.raceFirst(setUp, Deferred.await(this.stopped))
  }

  private get create() {
    return Effect.suspend(() => {
      const { config, driver } = this.engine
      const create = driver.create({
        environmentId: config.id,
        sandboxId: this.id,
        image: this.pool.image,
        slot: this.slot,
        generation: this.generation
      })
      return Effect.flatMap(Scope.provide(create, this.scope), (instance) => {
        this.instance = instance
        this.paths = Context.make(Path.Path, sandboxServices.pathIn(this.engine.path, instance.workdir))
        this.services = Context.merge(this.engine.services, this.paths)
        const watch = Effect.catchCause(instance.awaitDeath, (cause) =>
          Effect.sync(() => {
            if (Cause.hasInterruptsOnly(cause)) return
            const error =
              stateErrors(cause)[0] ??
              new SandboxStateError({ sandboxId: this.id, operation: "awaitDeath", cause: Cause.squash(cause) })
            this.death = error
            this.condemn(error)
          })
        )
        return Effect.forkIn(watch, this.scope, { startImmediately: true })
      }).pipe((created) => span.around(created, "sandbox.create", this.attributes))
    })
  }

  private get setUpFeatures() {
    return Effect.suspend(() =>
      Effect.forEach(
        this.pool.features,
        (feature) => {
          const part: Part = { feature, scope: Scope.makeUnsafe(), active: undefined, isTold: false }
          this.parts.push(part)
          const user = { sandbox: this, instance: this.instanceOrDie, session: undefined, scope: part.scope }
          const services = sandboxServices.forFeature(sandboxServices.make(user, this.services), user, feature.id)
          const setUp = provide(feature.setup, Context.add(services, Scope.Scope, part.scope))
          return Effect.map(
            this.observed(setUp, `setup ${feature.id}`, (durationMillis, error) => {
              part.isTold = true
              emit(this.engine, (timestamp) => ({
                _tag: "FeatureSetUp",
                ...this.facts(timestamp),
                featureId: feature.id,
                durationMillis,
                error
              }))
            }),
            (active) => {
              part.active = active
            }
          )
        },
        { discard: true }
      )
    )
  }

  private get instanceOrDie(): SandboxInstance {
    if (this.instance === undefined) throw new Error(`${this.id} was used before it was created`)
    return this.instance
  }

  /** Sets up a session for someone who may not have come yet (S3). */
  private get prepare() {
    return Effect.suspend(() => {
      const session = this.makeSession()
      const user = { sandbox: this, instance: this.instanceOrDie, session, scope: session.scope }
      const setUps = Effect.forEach(
        this.sessionFeatures,
        ({ active, feature }) => {
          const part: Part = { feature, scope: Scope.makeUnsafe(), active, isTold: false }
          session.parts.push(part)
          const known = Context.merge(this.services, session.context)
          const services = sandboxServices.forFeature(known, { ...user, scope: part.scope }, feature.id)
          const setUp = provide(active.session, Context.add(services, Scope.Scope, part.scope))
          return Effect.map(
            this.observed(setUp, `session ${feature.id}`, (durationMillis, error) => {
              part.isTold = true
              emit(this.engine, (timestamp) => ({
                _tag: "FeatureSessionSetUp",
                ...this.facts(timestamp),
                featureId: feature.id,
                sessionId: session.id,
                durationMillis,
                error
              }))
            }),
            (addTo) => {
              session.context = addTo(session.context)
            }
          )
        },
        { discard: true }
      )
      return Effect.as(setUps, session)
    })
  }

  private makeSession(): SessionRuntime {
    const session = new SessionRuntime(this)
    this.session = session
    const user = { sandbox: this, instance: this.instanceOrDie, session, scope: session.scope }
    // Nothing of the environment's layer: what a body needs besides is its caller's.
    session.context = sandboxServices.make(user, this.paths)
    return session
  }

  /** Whether there is anything to set up for a session. One that needs nothing is made when it is asked for. */
  private get isSetUpAhead(): boolean {
    return this.pool.isProactive && this.sessionFeatures.length > 0
  }

  /** The features that sessions are given; known once all features are set up. */
  private get sessionFeatures(): ReadonlyArray<{ readonly feature: Feature.Any; readonly active: Feature.Active }> {
    this.knownSessionFeatures ??= [...this.pool.hostParts(), ...this.parts].flatMap(({ active, feature }) =>
      active === undefined ? [] : [{ feature, active }]
    )
    return this.knownSessionFeatures
  }

  /** A span around an effect and a note of how it ended; nothing while nobody looks. */
  private observed<A, E>(
    effect: Effect.Effect<A, E>,
    name: string,
    note: (durationMillis: number, error: ReturnType<typeof errorInfo> | undefined) => void
  ): Effect.Effect<A, E> {
    return Effect.withFiber((fiber) => {
      const isTraced = span.isTraced(fiber)
      if (!isTraced && !this.engine.hub.isObserved()) return effect
      const started = now(this.engine)
      const noted = Effect.onExit(effect, (exit) =>
        Effect.sync(() => note(now(this.engine) - started, Exit.isFailure(exit) ? causeInfo(exit.cause) : undefined))
      )
      return isTraced ? span.around(Effect.andThen(this.linkSetUp, noted), name, this.attributes) : noted
    })
  }

  /** Remembers the current span as one of the session's set-up, which may be long before its user comes. */
  private get linkSetUp(): Effect.Effect<void> {
    return Effect.withFiber((fiber) => {
      const current = Context.getOption(fiber.context, Tracer.ParentSpan)
      if (this.session?.phase === "prepared" && current._tag === "Some") this.session.setUpSpans.push(current.value)
      return Effect.void
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Sessions
  // -------------------------------------------------------------------------------------------------------------------

  /**
   * Turns an acquired sandbox into a running session. Fails like the features' session set-up does; the sandbox is
   * then on its way offline. Nothing is returned when it turned out to be dead before anything was done (F21).
   */
  openSession(
    id: SessionId,
    waitedMillis: number,
    restore: Restore
  ): Effect.Effect<SessionRuntime | undefined, unknown> {
    return Effect.suspend(() => {
      if (this.check !== undefined) {
        // Whoever goes away meanwhile does not wait for the check; the sandbox does before it is free again.
        const quiet = Effect.onInterrupt(restore(this.quiesce), () =>
          Effect.sync(() => this.engine.background(Effect.map(this.quiesce, () => this.pool.giveBack(this))))
        )
        return Effect.andThen(quiet, this.openSession(id, waitedMillis, restore))
      }
      if (this.isCondemned) {
        this.engine.background(this.shutDown("broken before its session started"))
        return nothing
      }
      const started = now(this.engine)
      this.move("SettingUp", started)
      const told = (timestamp: number, error?: ErrorInfo): void => {
        if (!this.engine.hub.isObserved()) return
        publish(
          this.engine,
          new SessionStarted({
            _tag: "SessionStarted",
            environmentId: this.engine.config.id,
            timestamp,
            sandboxId: this.id,
            image: this.pool.image,
            sessionId: id,
            waitedMillis,
            durationMillis: timestamp - started,
            error
          })
        )
      }
      const begin = (session: SessionRuntime): Effect.Effect<SessionRuntime> => {
        session.open(id)
        this.move("InSession")
        told(this.since)
        return Effect.succeed(session)
      }
      if (this.session !== undefined) return begin(this.session)
      if (this.sessionFeatures.length === 0) return begin(this.makeSession())
      return Effect.flatMap(Effect.exit(restore(this.unlessStopped(this.prepare))), (result) => {
        const exit = Exit.isSuccess(result) && this.stopReason !== undefined ? Exit.fail(this.stopReason) : result
        if (Exit.isSuccess(exit)) return begin(exit.value)
        for (const error of stateErrors(exit.cause)) this.record(error)
        const error = causeInfo(exit.cause)
        told(now(this.engine), error)
        this.engine.background(this.shutDown(`session set-up failed: ${error.message}`))
        return Effect.failCause(exit.cause)
      })
    })
  }

  /** Whether a check runs. */
  get isBusy(): boolean {
    return this.check !== undefined
  }

  /**
   * Interrupts a check that runs, before set-up or teardown (H1). One that does not end in time is given up, and
   * condemns the sandbox: nobody knows what it still does there.
   */
  get quiesce(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { check } = this
      if (check === undefined) return Effect.void
      return Effect.map(bounded.interrupt(check.fiber, this.engine.config.teardownTimeout), (hasEnded) => {
        if (!hasEnded) check.end(Exit.fail(this.stuckError(check.operation)))
      })
    })
  }

  private stuckError(operation: string): SandboxStateError {
    return this.checkError(
      operation,
      `it was interrupted and did not end within ${this.engine.config.teardownTimeout} ms`
    )
  }

  private checkError(operation: string, description: string): SandboxStateError {
    return new SandboxStateError({ sandboxId: this.id, operation, description })
  }

  /** What becomes of the sandbox when its session has ended, at that time. */
  afterSession(ended: number, teardownFailed: boolean): Effect.Effect<FeatureTeardownError | undefined> {
    return Effect.suspend((): Effect.Effect<FeatureTeardownError | undefined> => {
      this.session = undefined
      this.served++
      this.pool.served++
      const reason = this.isCondemned
        ? "broken"
        : teardownFailed
          ? "the teardown of its session failed"
          : isClosing(this.engine)
            ? closingReason(this.engine)
            : this.recycleReason()
      if (!this.pool.isPooled) return this.shutDown(reason ?? "not pooled")
      if (reason !== undefined) {
        this.engine.background(this.shutDown(reason))
        return Effect.succeed(undefined)
      }
      if (this.pool.isProactive) this.move("SettingUp", ended)
      this.engine.background(
        Effect.matchCauseEffect(this.refresh, {
          onFailure: (cause) => this.pool.backgroundFailed(cause),
          onSuccess: () => Effect.sync(() => this.pool.offer(this))
        })
      )
      return Effect.succeed(undefined)
    })
  }

  /** Why a sandbox that works should be replaced all the same (P6). */
  recycleReason(): string | undefined {
    const { maxLifetime, maxSessions } = this.engine.config
    if (this.isToBeRecycled) return "recycled"
    if (this.served > 0 && this.instance?.reusable === false) return "serves one session only"
    if (maxSessions !== undefined && this.served >= maxSessions) return `served ${maxSessions} sessions`
    if (maxLifetime !== undefined && now(this.engine) - this.createdAt >= maxLifetime) return "reached its lifetime"
    return undefined
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Health
  // -------------------------------------------------------------------------------------------------------------------

  /** The pings and the features' housekeeping, each at its interval, as long as the sandbox lives (H1). */
  get housekeeping(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { keepaliveInterval } = this.engine.config
      const tasks: Array<Task> = []
      const add = (operation: string, interval: number, run: Task["run"]): void => {
        tasks.push({ operation, interval, due: now(this.engine) + interval, run })
      }
      if (keepaliveInterval > 0) add("ping", keepaliveInterval, this.ping)
      for (const part of this.parts) {
        const interval = this.pool.housekeepIntervals.get(part.feature.id)
        if (part.active?.housekeep === undefined || interval === undefined) continue
        add(`housekeep ${part.feature.id}`, interval, this.housekeepFeature(part, part.active.housekeep))
      }
      if (tasks.length === 0) return Effect.void
      let counter = 0
      const round = Effect.gen({ self: this }, function* () {
        const next = tasks.reduce((earliest, task) => Math.min(earliest, task.due), Number.POSITIVE_INFINITY)
        // In whole milliseconds: a sleep that comes short of `next` by a rounding error would come again for ever.
        yield* Effect.sleep(Math.max(0, Math.ceil(next - now(this.engine))))
        const started = now(this.engine)
        const due = tasks.filter((task) => task.due <= started)
        if (this.isCheckable) {
          yield* this.runCheck(due, (exit) => {
            emit(this.engine, (timestamp) => ({
              _tag: "SandboxHousekeepingDone",
              ...this.facts(timestamp),
              counter,
              durationMillis: timestamp - started,
              error: Exit.isFailure(exit) ? causeInfo(exit.cause) : undefined
            }))
            counter++
            if (Exit.isFailure(exit)) {
              this.condemn(
                stateErrors(exit.cause)[0] ??
                  new SandboxStateError({
                    sandboxId: this.id,
                    operation: "housekeeping",
                    cause: Cause.squash(exit.cause)
                  })
              )
            }
          })
        }
        for (const task of due) task.due = now(this.engine) + task.interval
      })
      return Effect.whileLoop({
        while: () => !this.isCondemned && this.status !== "Offline",
        body: () => round,
        step: () => {}
      })
    })
  }

  /**
   * Runs tasks until they end or are given up. How they ended is noted before whoever waits for it goes on, unless they
   * were interrupted: then others have something better to do.
   */
  private runCheck(tasks: ReadonlyArray<Task>, note: (exit: Exit.Exit<unknown, unknown>) => void): Effect.Effect<void> {
    const over = Deferred.makeUnsafe<void>()
    const end = (exit: Exit.Exit<unknown, unknown>): void => {
      if (this.check?.end === end) {
        this.check = undefined
        if (Exit.isSuccess(exit) || !Cause.hasInterruptsOnly(exit.cause)) note(exit)
      }
      Deferred.doneUnsafe(over, Exit.void)
    }
    const running = Effect.withFiber<void, unknown>((fiber) => {
      fiber.addObserver(end)
      // Looked at once more in the same step in which others learn of the check (H1).
      if (!this.isCheckable) return Effect.void
      const check: Check = { fiber, operation: "", end }
      this.check = check
      const run = Effect.forEach(
        tasks,
        (task) => {
          check.operation = task.operation
          return task.run
        },
        { discard: true }
      )
      // Not seen when the check is interrupted from outside: an interruption that is seen is a task's own failure.
      return Effect.catchCause(run, (cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.fail(this.checkError(check.operation, "it interrupted itself"))
          : Effect.failCause(cause)
      )
    })
    return Effect.uninterruptibleMask((restore) =>
      // Detached because `quiesce` ends it, or leaves it alone when it cannot be ended.
      Effect.flatMap(Effect.forkDetach(running), (fiber) =>
        Effect.onInterrupt(restore(Deferred.await(over)), () => {
          fiber.interruptUnsafe()
          return this.quiesce
        })
      )
    )
  }

  /** Checks run while it is ready or in use, and not while something is set up or torn down (H1). */
  private get isCheckable(): boolean {
    return this.status === "Ready" || (this.status === "InSession" && this.session?.phase === "open")
  }

  private missed = 0

  private get ping() {
    const { missedPings, pingTimeout, teardownTimeout } = this.engine.config
    const missed = Effect.suspend(() => {
      this.missed++
      return this.missed < missedPings
        ? Effect.void
        : Effect.fail(
            new SandboxStateError({
              sandboxId: this.id,
              operation: "ping",
              description: `${this.missed} pings in a row took longer than ${pingTimeout} ms`
            })
          )
    })
    return Effect.uninterruptibleMask((restore) =>
      // Detached because a time limit waits for what it interrupts, and a ping may hang in its own finalizers.
      Effect.flatMap(Effect.forkDetach(this.instanceOrDie.ping, { startImmediately: true }), (fiber) =>
        Effect.flatMap(
          Effect.onInterrupt(restore(Effect.timeoutOption(Fiber.join(fiber), pingTimeout)), () =>
            Fiber.interrupt(fiber)
          ),
          (answer) => {
            if (answer._tag === "None") {
              return Effect.flatMap(bounded.interrupt(fiber, teardownTimeout), (hasEnded) =>
                hasEnded ? missed : Effect.fail(this.stuckError("ping"))
              )
            }
            this.missed = 0
            return Effect.void
          }
        )
      )
    )
  }

  private housekeepFeature(
    part: Part,
    housekeep: Effect.Effect<unknown, unknown, unknown>
  ): Effect.Effect<unknown, unknown> {
    let counter = 0
    const user = { sandbox: this, instance: this.instanceOrDie, session: undefined, scope: part.scope }
    const services = sandboxServices.forFeature(sandboxServices.make(user, this.services), user, part.feature.id)
    return this.observed(
      Effect.scoped(provide(housekeep, services)),
      `housekeep ${part.feature.id}`,
      (durationMillis, error) => {
        if (this.check === undefined) return // it was given up, and the sandbox may be gone
        emit(this.engine, (timestamp) => ({
          _tag: "FeatureHousekeepingDone",
          ...this.facts(timestamp),
          featureId: part.feature.id,
          counter: counter++,
          durationMillis,
          error
        }))
      }
    )
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Going down
  // -------------------------------------------------------------------------------------------------------------------

  /**
   * Takes everything down, last set-up first, and never stops half-way (X6). Whoever comes second waits for the
   * first. Not for a sandbox in a session: end the session.
   */
  shutDown(reason: string): Effect.Effect<FeatureTeardownError | undefined> {
    return Effect.uninterruptible(
      Effect.suspend(() => {
        if (this.status === "ShuttingDown" || this.status === "Offline") return Deferred.await(this.offline)
        this.pool.ready.remove(this)
        this.move("ShuttingDown")
        return Effect.gen({ self: this }, function* () {
          const started = now(this.engine)
          yield* this.quiesce
          const errors: TeardownErrors = {}
          const prepared = this.session
          this.session = undefined
          if (prepared !== undefined) yield* prepared.tearDown(errors)
          yield* this.tearDown(this.parts, errors, (part, durationMillis, error) =>
            emit(this.engine, (timestamp) => ({
              _tag: "FeatureTornDown",
              ...this.facts(timestamp),
              featureId: part.feature.id,
              durationMillis,
              error
            }))
          )
          const destroyed = yield* bounded.close(this.scope, this.engine.config.teardownTimeout)
          if (destroyed !== undefined) {
            this.engine.leaked++
            this.noteTeardown(destroyed)
          }
          const error = Object.values(errors).some(hasUserError)
            ? new FeatureTeardownError({ sandboxId: this.id, errors, hasUserError: true })
            : undefined
          this.move("Offline")
          const told = destroyed === undefined ? error : Cause.squash(destroyed)
          emit(this.engine, (timestamp) => ({
            _tag: "SandboxShutDown",
            ...this.facts(timestamp),
            reason,
            durationMillis: timestamp - started,
            lifetimeMillis: timestamp - this.createdAt,
            error: told === undefined ? undefined : errorInfo(told)
          }))
          this.pool.left(this)
          Deferred.doneUnsafe(this.offline, Exit.succeed(error))
          return error
        })
      })
    )
  }

  /** Closes the scopes of features, last first, each within its time limit; collects what they raise. */
  tearDown(
    parts: ReadonlyArray<Part>,
    errors: TeardownErrors,
    note: (part: Part, durationMillis: number, error: ReturnType<typeof errorInfo> | undefined) => void
  ): Effect.Effect<void> {
    if (parts.length === 0) return Effect.void
    return Effect.forEach(
      parts.toReversed(),
      (part) => {
        const started = part.isTold ? now(this.engine) : 0
        const closed = Effect.map(bounded.close(part.scope, this.engine.config.teardownTimeout), (cause) => {
          if (part.isTold) note(part, now(this.engine) - started, cause === undefined ? undefined : causeInfo(cause))
          if (cause === undefined) return
          errors[part.feature.id] = cause
          this.noteTeardown(cause)
        })
        return part.isTold ? span.around(closed, `teardown ${part.feature.id}`, this.attributes) : closed
      },
      { discard: true }
    )
  }

  /** State errors found in teardown are recorded, not raised (X6). */
  noteTeardown(cause: Cause.Cause<unknown>): void {
    for (const error of stateErrors(cause)) this.record(error)
  }
}

/** One session of a sandbox: prepared ahead of its user, open, ending, ended. */
export class SessionRuntime {
  readonly sandbox: SandboxRuntime
  /** Holds the session's processes. */
  readonly scope = Scope.makeUnsafe()
  readonly parts: Array<Part> = []
  /** Completed with what teardown raised, once the session is over. */
  readonly ended = Deferred.makeUnsafe<SessionTeardownError | FeatureTeardownError | undefined>()
  /** What programs in the session are given. */
  context: Context.Context<never> = Context.empty()
  id: SessionId | undefined
  /** Spans the whole session, when somebody collects spans. */
  span: Tracer.Span | undefined
  /** The spans of its set-up, which may have been long before its user came. */
  readonly setUpSpans: Array<Tracer.AnySpan> = []
  phase: "prepared" | "open" | "ending" | "ended" = "prepared"
  startedAt = 0
  /** Why it was ended from outside. */
  reason: StopReason | undefined
  lastActivity = 0
  private activities = 0
  private readonly bodies = new Set<Fiber.Fiber<unknown, unknown>>()

  constructor(sandbox: SandboxRuntime) {
    this.sandbox = sandbox
  }

  open(id: SessionId): void {
    const { engine } = this.sandbox
    this.id = id
    this.phase = "open"
    this.startedAt = now(engine)
    this.lastActivity = this.startedAt
    this.context = Context.add(
      this.context,
      Session,
      Session.of({ id, sandboxId: this.sandbox.id, startedAt: this.startedAt })
    )
  }

  /** Takes the span of the whole session; a set-up that was done ahead is linked to it. */
  traceWith(whole: Tracer.Span): void {
    this.span = whole
    whole.attribute("sandbox.session.id", this.id)
    whole.attribute("sandbox.id", this.sandbox.id)
    whole.attribute("sandbox.image", this.sandbox.pool.image)
    const ahead = this.setUpSpans.filter((one) => one.traceId !== whole.traceId)
    if (ahead.length > 0) whole.addLinks(ahead.map((one) => ({ span: one, attributes: {} })))
  }

  enter(): void {
    this.activities++
  }

  leave(): void {
    this.activities--
    this.lastActivity = now(this.sandbox.engine)
  }

  /** How long nothing has happened. */
  get idleMillis(): number {
    return this.activities > 0 ? 0 : now(this.sandbox.engine) - this.lastActivity
  }

  /**
   * Runs a body in the session. When the session is ended from outside the body is interrupted at once and the caller
   * gets the reason (S4, S6); a state error of this sandbox that leaves the body condemns it (X3).
   */
  run<A, E, R>(body: Effect.Effect<A, E, R>): Effect.Effect<A, E | StopReason | SessionEndedError, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        // In one step with the look at the session: from then on, its end waits for the body.
        const known = Effect.withFiber<A, E | StopReason | SessionEndedError, R>((fiber) => {
          if (this.phase !== "open") return Effect.fail(this.reason ?? this.overError)
          this.bodies.add(fiber)
          return span.below(this.span, body)
        })
        // No child, although it ends here in any case: a caller with many sessions would keep a set of them (0020).
        return Effect.flatMap(Effect.forkDetach(known, { startImmediately: true }), (fiber) => {
          const done = fiber.pollUnsafe()
          if (done !== undefined) {
            this.bodies.delete(fiber)
            return this.judge(done)
          }
          return Effect.flatMap(
            Effect.onInterrupt(restore(Fiber.await(fiber)), () => Fiber.interrupt(fiber)),
            (exit) => this.judge(exit)
          ).pipe(Effect.ensuring(Effect.sync(() => this.bodies.delete(fiber))))
        })
      })
    )
  }

  private get overError(): SessionEndedError {
    return new SessionEndedError({ sandboxId: this.sandbox.id, sessionId: this.id, operation: "run" })
  }

  /** What the caller gets for the way in which a body ended. */
  private judge<A, E>(exit: Exit.Exit<A, E>): Effect.Effect<A, E | StopReason | SessionEndedError> {
    if (Exit.isSuccess(exit)) return exit
    for (const error of stateErrors(exit.cause)) {
      if (error.sandboxId === this.sandbox.id) this.sandbox.condemn(error)
    }
    if (
      this.reason !== undefined &&
      (Cause.hasInterruptsOnly(exit.cause) || isBrokenChannel(this.reason, exit.cause))
    ) {
      return Effect.fail(this.reason)
    }
    if (this.phase !== "open" && Cause.hasInterruptsOnly(exit.cause)) {
      return Effect.fail(this.overError) // somebody has closed the session
    }
    // What interrupted the body was ours, and is nothing to the caller.
    const own =
      this.reason === undefined ? exit.cause.reasons : exit.cause.reasons.filter((one) => !Cause.isInterruptReason(one))
    return Effect.failCause(Cause.fromReasons(own))
  }

  /** Ends the session from outside: whoever runs in it is interrupted and gets the reason. */
  stop(reason: StopReason): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.phase === "open") this.reason ??= reason
      return Effect.asVoid(this.end(undefined))
    })
  }

  /**
   * Ends the session: bodies, then features last first, then processes. Happens once; whoever comes second waits for
   * the first and gets the same (L14).
   */
  end(cause: Cause.Cause<unknown> | undefined): Effect.Effect<TeardownError | undefined> {
    return Effect.uninterruptible(
      Effect.suspend(() => {
        if (this.phase !== "open") return Deferred.await(this.ended)
        this.phase = "ending"
        const quiet = this.bodies.size === 0 && !this.sandbox.isBusy
        const ending = quiet ? this.close(cause) : Effect.andThen(this.quiesce, this.close(cause))
        return span.below(this.span, ending)
      })
    )
  }

  /** Interrupts what still runs. */
  private get quiesce(): Effect.Effect<void> {
    return Effect.withFiber((self) => {
      // A body that ends its own session goes on, outside of it.
      const bodies = [...this.bodies].filter((body) => body !== self)
      for (const body of bodies) body.interruptUnsafe()
      const { teardownTimeout } = this.sandbox.engine.config
      return Effect.andThen(Effect.timeoutOption(Fiber.awaitAll(bodies), teardownTimeout), this.sandbox.quiesce)
    })
  }

  private close(cause: Cause.Cause<unknown> | undefined): Effect.Effect<TeardownError | undefined> {
    return Effect.suspend(() => {
      const { sandbox } = this
      const started = now(sandbox.engine)
      sandbox.move("ExitingSession", started)
      if (cause !== undefined) {
        for (const error of stateErrors(cause)) if (error.sandboxId === sandbox.id) sandbox.record(error)
      }
      const errors: TeardownErrors = {}
      return Effect.flatMap(this.tearDown(errors), () => {
        const error = this.teardownError(errors)
        const ended = now(sandbox.engine)
        this.tellEnd(ended, ended - started, cause, error)
        return Effect.map(sandbox.afterSession(ended, Object.keys(errors).length > 0), (shutdownError) => {
          const result = error ?? shutdownError
          span.end(sandbox.engine, this.span, cause === undefined ? Exit.void : Exit.failCause(cause))
          Deferred.doneUnsafe(this.ended, Exit.succeed(result))
          return result
        })
      })
    })
  }

  private teardownError(errors: TeardownErrors): SessionTeardownError | undefined {
    const sessionId = this.id
    return sessionId !== undefined && Object.values(errors).some(hasUserError)
      ? new SessionTeardownError({ sandboxId: this.sandbox.id, sessionId, errors, hasUserError: true })
      : undefined
  }

  private tellEnd(
    timestamp: number,
    durationMillis: number,
    cause: Cause.Cause<unknown> | undefined,
    teardownError: SessionTeardownError | undefined
  ): void {
    const { engine, id: sandboxId, pool, stateErrors: broken } = this.sandbox
    const sessionId = this.id
    if (sessionId === undefined) return
    engine.sessions.delete(sessionId)
    if (!engine.hub.isObserved()) return
    const told = this.reason ?? broken[0] ?? (cause === undefined ? teardownError : undefined)
    const error = told === undefined ? (cause === undefined ? undefined : causeInfo(cause)) : errorInfo(told)
    publish(
      engine,
      new SessionEnded({
        _tag: "SessionEnded",
        environmentId: engine.config.id,
        timestamp,
        sandboxId,
        image: pool.image,
        sessionId,
        durationMillis,
        lifetimeMillis: timestamp - this.startedAt,
        // The state error of another sandbox does not condemn this one.
        error: error === undefined ? undefined : { ...error, isStateError: broken.length > 0 && error.isStateError }
      })
    )
  }

  /** Takes down what the session's set-up has put up, also half a set-up (L15). */
  tearDown(errors: TeardownErrors): Effect.Effect<void> {
    const { engine } = this.sandbox
    const features = this.sandbox.tearDown(this.parts, errors, (part, durationMillis, error) =>
      emit(engine, (timestamp) => ({
        _tag: "FeatureSessionTornDown",
        ...this.sandbox.facts(timestamp),
        featureId: part.feature.id,
        sessionId: this.id,
        durationMillis,
        error
      }))
    )
    const processes = Effect.suspend(() => {
      this.phase = "ended"
      return Effect.map(bounded.close(this.scope, engine.config.teardownTimeout), (killed) => {
        if (killed === undefined) return
        errors["processes"] = killed
        this.sandbox.noteTeardown(killed)
      })
    })
    return Effect.andThen(features, processes)
  }
}

/** A body that failed with the platform's error because its sandbox died under it. */
const nothing = Effect.succeed(undefined)

const isBrokenChannel = (reason: StopReason, cause: Cause.Cause<unknown>): boolean =>
  reason._tag === "SandboxStateError" &&
  cause.reasons.every(
    (r) =>
      Cause.isInterruptReason(r) ||
      (Cause.isFailReason(r) && Cause.isCause(r.error) === false && isPlatformError(r.error))
  )

const isPlatformError = (error: unknown): boolean =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "PlatformError"
