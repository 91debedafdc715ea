/** Runs one program on the real core and a simulated driver, and checks everything on the way. */
import * as Environment from "@effect-sandbox/core/Environment"
import { isStateError } from "@effect-sandbox/core/SandboxError"
import * as EventHandler from "@effect-sandbox/core/EventHandler"
import * as Feature from "@effect-sandbox/core/Feature"
import type { Sandbox } from "@effect-sandbox/core/Sandbox"
import { SandboxDriver } from "@effect-sandbox/core/SandboxDriver"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import type { Fault } from "../../FaultPlan.ts"
import { Faults, type Struck } from "../../Faults.ts"
import type { Latency } from "../../Latency.ts"
import { SimDriver } from "../../SimDriver.ts"
import { type Class, describe, judge } from "./exits.ts"
import { parseSandboxId } from "./names.ts"
import { Oracle, personOf } from "./oracle.ts"
import type * as Model from "./model.ts"
import { HostProbe, hostProbe, Probe1, probes } from "./probes.ts"
import { isFineGrained, isWhole, type Program, sizeOf, type Step } from "./program.ts"
import * as Rest from "./rest.ts"
import { settingsOf } from "./settings.ts"
import { Sandboxes } from "./sandboxes.ts"
import { Setups } from "./setups.ts"
import { body, hostBody, type Instruction, type Subject, type User, useAfter } from "./user.ts"
import { type Blame, show, type Violation } from "./violation.ts"
import * as VirtualTime from "./virtualTime.ts"
import { watchDriver } from "./watchedDriver.ts"

/** What else a run is given, besides its program. */
export interface Options {
  readonly features: ReadonlyArray<Feature.Any>
  /** Exercises the features in a session. */
  readonly use: Effect.Effect<unknown, unknown, unknown>
}

type ActiveSession = Environment.ActiveSession<Feature.Any>

/** Something that happened, for the timeline. */
export type Happening =
  | { readonly _tag: "Step"; readonly at: number; readonly index: number; readonly step: Step }
  | { readonly _tag: "Event"; readonly at: number; readonly event: SandboxEvent }
  | { readonly _tag: "Struck"; readonly at: number; readonly struck: Struck }
  | { readonly _tag: "Entered"; readonly at: number; readonly user: string; readonly sandboxId: string }
  | { readonly _tag: "Ended"; readonly at: number; readonly user: string; readonly result: string }
  | { readonly _tag: "Phase"; readonly at: number; readonly what: string }

/** A violation, and where in the program it was found. */
export interface Found extends Violation {
  /** The step after which it was found; undefined after the last. */
  readonly step: number | undefined
  readonly at: number
}

export interface Outcome {
  readonly found: Found | undefined
  readonly happenings: ReadonlyArray<Happening>
  /** How often each interesting situation came up. */
  readonly situations: ReadonlyMap<string, number>
  readonly steps: number
  readonly sessions: number
  readonly struck: number
}

/** Virtual time in which everything must have ended after it was asked to. */
const patience = 3_600_000

export const run = (program: Program, options: Options): Effect.Effect<Outcome, never, unknown> =>
  Effect.gen(function* () {
    const random = yield* Random.withSeed(Random.Random, program.configuration.seed)
    const one = new Run(program, options, random)
    yield* one.all
    return one.outcome()
  })

/** The types of features are known to the caller, who provides what they need. */
const typed = <A, E>(effect: Effect.Effect<A, E, unknown>): Effect.Effect<A, E> =>
  // @effect-diagnostics-next-line unsafeEffectTypeAssertion:off
  effect as Effect.Effect<A, E>

class Run {
  readonly program: Program
  readonly options: Options
  readonly time: VirtualTime.VirtualTime
  private context: Context.Context<never>
  private readonly setups: Setups
  private readonly sandboxes: Sandboxes
  private readonly happenings: Array<Happening> = []
  private readonly situations = new Map<string, number>()
  private readonly users: Array<User> = []
  /** The latest user of each number. */
  private readonly current = new Map<number, User>()
  private readonly inside = new Map<string, User>()
  private readonly dead = new Set<string>()
  private readonly blamed = new Set<string>()
  private readonly teardownErrors = new Set<string>()
  private readonly shutdowns: Array<Fiber.Fiber<void>> = []
  private environment: Subject | undefined
  private starting: Fiber.Fiber<Subject, unknown> | undefined
  /** Who was told last that the environment is closed. */
  private toldClosed: User | undefined
  private found: Found | undefined
  private step: number | undefined
  private steps = 0
  /** Events that the handler has not handled. */
  private queued = (): number => 0
  private readonly handlerScope = Scope.makeUnsafe()
  private shutDownAt = 0
  /** The latest moment that a step may wait for. */
  private lastMoment: Step["until"]
  private isAtRest = true
  private onlineSince = 0
  /** Whether somebody has asked for a shutdown, or something that has happened asks for one. */
  private mayShutDown = false
  /** What the model is asked about; nothing when it has no answer to this program. */
  private oracle: Oracle | undefined
  /** What the current step does, in the words of the model. */
  private action: Model.Action | undefined
  private readonly memory: Rest.Memory = { pending: new Map(), healed: new Map(), troubles: 0 }
  private isInstant: boolean
  private mayStrike: boolean
  private simulation: { readonly sim: SimDriver["Service"]; readonly faults: Faults["Service"] } | undefined
  private readonly seenStruck: Array<Struck> = []

  constructor(program: Program, options: Options, random: (typeof Random.Random)["Service"]) {
    const { configuration } = program
    this.program = program
    this.options = options
    this.time = VirtualTime.make({
      maxOpsBeforeYield: configuration.maxOpsBeforeYield,
      choose: configuration.shuffled === true ? (count) => Math.floor(random.nextDoubleUnsafe() * count) : undefined
    })
    this.context = Context.add(this.time.context, Random.Random, random)
    this.setups = new Setups(this.blame)
    this.sandboxes = new Sandboxes(
      configuration,
      {
        isBroken: (id) => this.isBroken(id),
        mayShutDown: () => this.mayShutDown,
        hasForeign: options.features.length > 0
      },
      this.blame
    )
    const isInOrder = !isFineGrained(configuration) && configuration.shuffled !== true
    if (
      configuration.latency === undefined &&
      options.features.length === 0 &&
      isInOrder &&
      program.faults.length === 0
    ) {
      this.oracle = new Oracle(configuration, this.blame)
    }
    this.mayStrike = program.faults.length > 0
    if (configuration.onOutage === "shutdown") this.mayShutDown = true
    this.isInstant =
      configuration.latency === undefined && options.features.length === 0 && program.faults.every(takesNoTime)
  }

  readonly blame: Blame = (rule, what, expected, actual) => {
    this.found ??= {
      rule,
      what,
      expected: expected === undefined ? undefined : show(expected),
      actual: actual === undefined ? undefined : show(actual),
      step: this.step,
      at: this.time.now()
    }
  }

  outcome(): Outcome {
    if (this.oracle !== undefined) this.situations.set("steps that the model predicted", this.oracle.predictions)
    return {
      found: this.found,
      happenings: this.happenings,
      situations: this.situations,
      steps: this.steps,
      sessions: this.users.filter((user) => user.sessionId !== undefined).length,
      struck: this.seenStruck.length
    }
  }

  private happened(happening: Happening): void {
    this.happenings.push(happening)
  }

  private count(situation: string): void {
    this.situations.set(situation, (this.situations.get(situation) ?? 0) + 1)
  }

  /** Starts something in the world of the program; it runs its first steps at once. */
  private fork<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<Fiber.Fiber<A, E>> {
    // Detached: the program ends what it has started.
    return Effect.forkDetach(Effect.provideContext(effect, this.context), { startImmediately: true })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The whole program
  // -------------------------------------------------------------------------------------------------------------------

  get all(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const driverScope = Scope.makeUnsafe()
      const scope = Scope.makeUnsafe()
      const { latency } = this.program.configuration
      const layer = SimDriver.layer({ ...(latency === undefined ? {} : { latency }), faults: this.program.faults })
      const built = yield* this.fork(Layer.buildWithScope(layer, driverScope))
      this.time.settle()
      const services = built.pollUnsafe()
      if (services === undefined || Exit.isFailure(services)) {
        this.blame("X1", "the driver cannot be made", undefined, services && Cause.pretty(services.cause))
        return
      }
      const sim = Context.get(services.value, SimDriver)
      const faults = Context.get(services.value, Faults)
      this.simulation = { sim, faults }
      const hub = yield* EventHandler.make
      const { handlerMillis } = this.program.configuration
      if (handlerMillis !== undefined) {
        const handle = () => (handlerMillis === 0 ? Effect.void : Effect.sleep(handlerMillis))
        const options = { name: "handler", capacity: "unbounded" as const, handle }
        yield* this.fork(Scope.provide(hub.subscribe(options), this.handlerScope))
        this.queued = () => hub.handlers().reduce((sum, { queued }) => sum + queued, 0)
      }
      const driver = watchDriver(Context.get(services.value, SandboxDriver), {
        max: (image) => sizeOf(this.program.configuration, image).max,
        told: (id) => this.sandboxes.all.get(id),
        hasFeatures: (image) => this.sandboxFeatures(image),
        blame: this.blame,
        count: (situation) => this.count(situation)
      })
      this.context = this.context.pipe(
        Context.add(SandboxDriver, driver),
        Context.add(EventHandler.EventHub, {
          ...hub,
          isObserved: () => true,
          publish: (event) => {
            this.onEvent(event)
            hub.publish(event)
          }
        })
      )
      this.starting = yield* this.fork(
        Scope.provide(typed(Environment.make(settingsOf(this.program.configuration, this.features(faults)))), scope)
      )
      const { startTurns } = this.program
      yield* this.pass(startTurns === undefined ? {} : { turns: startTurns })
      // Whether it was looked at before the step, so that the model knows from where it goes on.
      let isKnown = this.program.startTurns === undefined
      for (const [index, step] of this.program.steps.entries()) {
        if (this.found !== undefined) break
        this.step = index
        this.steps++
        this.happened({ _tag: "Step", at: this.time.now(), index, step })
        this.action = { _tag: "Nothing" }
        yield* this.perform(step)
        yield* this.pass(step, isKnown ? this.action : undefined)
        isKnown = isWhole(step)
      }
      yield* this.end(scope)
      yield* this.fork(Scope.close(driverScope, Exit.void))
      this.time.settle()
    })
  }

  private sandboxFeatures(image: string): boolean {
    const { probes: count = 0 } = this.program.configuration
    return count > 0 || this.options.features.some((one) => one.kind === "sandbox" && Feature.appliesTo(one, image))
  }

  /** The probes and the features under test, all with faults. */
  private features(faults: Faults["Service"]): ReadonlyArray<Feature.Any> {
    const { hostProbe: hasHost, images, probeInterval, probes: count = 0 } = this.program.configuration
    const own = probes(count, this.setups, probeInterval)
    const host = hasHost === true ? [hostProbe(this.setups, probeInterval)] : []
    const applicable = this.options.features.filter(
      (one) => one.kind === "host" || images.some(({ id }) => Feature.appliesTo(one, id))
    )
    return [...host, ...own.slice(0, 1), ...applicable, ...own.slice(1)].map((feature) => faults.feature(feature))
  }

  /** Lets turns pass; when everything is at rest, looks at it. */
  private pass(pause: Pick<Step, "turns" | "until">, action?: Model.Action): Effect.Effect<void> {
    return Effect.suspend(() => {
      const isWhole = pause.turns === undefined && pause.until === undefined
      this.lastMoment = undefined
      if (pause.until !== undefined) while (this.lastMoment !== pause.until && !this.time.settle(1)) {}
      this.isAtRest = this.time.settle(pause.until === undefined ? pause.turns : (pause.turns ?? 0))
      if (isWhole && !this.isAtRest) this.blame("I7", "something runs in circles")
      this.noteStart()
      return isWhole ? this.look(action) : Effect.void
    })
  }

  private noteStart(): void {
    const exit = this.starting?.pollUnsafe()
    if (exit === undefined || this.environment !== undefined || Exit.isFailure(exit)) return
    this.environment = exit.value
    this.onlineSince = this.time.now()
  }

  private isBroken(sandboxId: string): boolean {
    return (
      this.dead.has(sandboxId) || this.blamed.has(sandboxId) || this.sandboxes.all.get(sandboxId)?.broken !== undefined
    )
  }

  private look(action: Model.Action | undefined): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.environment === undefined || this.simulation === undefined) return Effect.void
      const { sim } = this.simulation
      this.noteStruck()
      if (this.toldClosed !== undefined && this.sandboxes.environment === "started") {
        this.blame("L4", `${this.toldClosed.name} was told that the environment is closed`, "not so", "it is online")
      }
      return Effect.map(this.environment.stats, (stats) => {
        this.oracle?.look(action, {
          now: this.time.now(),
          isOnline: stats.status === "Online",
          onlineSince: this.onlineSince,
          users: this.users,
          sandboxes: this.sandboxes,
          deaths: this.dead.size + this.blamed.size
        })
        Rest.look(
          {
            configuration: this.program.configuration,
            stats,
            sandboxes: this.sandboxes,
            users: this.users,
            now: this.time.now(),
            alive: new Set(sim.alive()),
            dead: this.dead,
            isInstant: this.isInstant,
            isFaultless: this.seenStruck.length === 0 && this.dead.size === 0,
            isInOrder: !isFineGrained(this.program.configuration) && this.program.configuration.shuffled !== true,
            onlineSince: this.onlineSince
          },
          this.memory,
          this.seenStruck.length + this.dead.size + this.blamed.size,
          this.blame
        )
      })
    })
  }

  private noteStruck(): void {
    if (this.simulation === undefined) return
    const all = this.simulation.faults.struck()
    for (let i = this.seenStruck.length; i < all.length; i++) {
      const struck = all[i]
      if (struck === undefined) continue
      this.seenStruck.push(struck)
      const { call, fault } = struck
      this.happened({ _tag: "Struck", at: struck.timestamp, struck })
      this.count(`${fault.how._tag} at ${call.point}`)
      if (call.sandboxId !== undefined) {
        if (fault.how._tag === "Kill") this.dead.add(call.sandboxId)
        if (!isUsers(fault, call.point)) this.blamed.add(call.sandboxId)
        if (!takesNoTime(fault)) this.setups.excuse(call.sandboxId)
      }
      if (!takesNoTime(fault)) this.setups.excuse("the host")
      if (call.sandboxId === undefined && call.point === "housekeep") this.mayShutDown = true
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What happens
  // -------------------------------------------------------------------------------------------------------------------

  private onEvent(event: SandboxEvent): void {
    if (this.mayStrike) this.noteStruck()
    this.happened({ _tag: "Event", at: this.time.now(), event })
    this.sandboxes.onEvent(event, this.time.now())
    switch (event._tag) {
      case "SandboxStatusChanged":
        this.lastMoment = event.to
        break
      case "SandboxStarted":
        this.lastMoment = "Started"
        break
      case "FeatureSessionSetUp":
        this.lastMoment = "SetUp"
        break
      case "EnvironmentShutDown":
        this.shutDownAt = this.time.now()
        break
      case "SessionStarted":
        this.teardownErrors.delete(event.sessionId)
        break
      case "FeatureSessionTornDown": {
        const told = event.sandboxId === undefined ? undefined : this.sandboxes.all.get(event.sandboxId)
        const session = event.sandboxId === undefined ? event.sessionId : told?.session
        if (event.error !== undefined && session !== undefined && (told === undefined || !event.error.isStateError)) {
          this.teardownErrors.add(session)
        }
        break
      }
      case "SessionEnded": {
        this.lastSession.set(event.sandboxId, event.sessionId)
        const user = this.inside.get(event.sandboxId)
        if (user === undefined) break
        this.inside.delete(event.sandboxId)
        if (!user.closedInside) this.blame("S5", `the session of ${user.name} ended while its body goes on`)
        break
      }
      case "FeatureTornDown": {
        const session = event.sandboxId === undefined ? undefined : this.lastSession.get(event.sandboxId)
        const { isPooled } = sizeOf(this.program.configuration, event.image ?? "")
        if (event.error !== undefined && !event.error.isStateError && session !== undefined && !isPooled) {
          this.teardownErrors.add(session)
        }
        break
      }
      case "SandboxHousekeepingDone":
        if (event.error !== undefined) this.blamed.add(event.sandboxId)
        break
      default:
        break
    }
  }

  private readonly lastSession = new Map<string, string>()

  private readonly host = {
    now: () => this.time.now(),
    environment: () => this.environment,
    use: Effect.suspend(() => this.options.use),
    onEnter: (user: User, sandbox: Sandbox["Service"], sessionId: string): Effect.Effect<void> =>
      Effect.map(Effect.all([sandbox.status, sandbox.stateErrors]), ([status, errors]) => {
        const { id } = sandbox
        user.sandboxId = id
        user.sessionId = sessionId
        user.startedAt = this.time.now()
        user.lastActivity = user.startedAt
        this.happened({ _tag: "Entered", at: user.startedAt, user: user.name, sandboxId: id })
        const told = this.sandboxes.all.get(id)
        const other = this.inside.get(id)
        if (other !== undefined) this.blame("I3", `${id} has two users`, other.name, `${other.name}, ${user.name}`)
        const isFine = isFineGrained(this.program.configuration)
        if (status !== "InSession" && !isFine) this.blame("I5", `${user.name} is in ${id}`, "InSession", status)
        if (errors.length > 0 && !isFine) this.blame("I4", `${id} serves with state errors`, "none", errors.map(String))
        if (user.id !== undefined && user.id !== sessionId) this.blame("S2", `the session's id`, user.id, sessionId)
        if (told?.session !== sessionId) this.blame("I6", `the session in ${id}`, told?.session, sessionId)
        if (sandbox.image !== user.image) this.blame("P1", `the image of ${user.name}`, user.image, sandbox.image)
        const isReused = told !== undefined && told.served > 0
        if (told !== undefined && !told.wasReset && (isReused || this.sandboxFeatures(sandbox.image))) {
          this.blame("S1", `${id} was not reset before the session of ${user.name}`)
        }
        if (told !== undefined) told.wasReset = false
        this.inside.set(id, user)
      }),
    onBreak: (user: User): void => {
      if (user.sandboxId !== undefined) this.blamed.add(user.sandboxId)
    },
    onLeave: (user: User): void => {
      user.leftAt = this.time.now()
      if (user.sandboxId !== undefined && this.inside.get(user.sandboxId) === user) this.inside.delete(user.sandboxId)
    }
  }

  private ended(user: User, exit: Exit.Exit<string, unknown>): void {
    user.exit = exit
    user.endedAt = this.time.now()
    this.noteStruck()
    this.happened({ _tag: "Ended", at: user.endedAt, user: user.name, result: describe(exit) })
    const verdict: Class = judge(
      user,
      exit,
      {
        configuration: this.program.configuration,
        sandboxes: this.sandboxes,
        now: user.endedAt,
        setUpFaults: (image) =>
          this.seenStruck.filter(
            ({ call }) => setUpPoints.has(call.point) && (call.image === undefined || call.image === image)
          ).length,
        isBroken: (id) => this.isBroken(id),
        teardownRaised: (sessionId) => this.teardownErrors.has(sessionId),
        hasForeign: this.options.features.length > 0
      },
      this.blame
    )
    user.verdict = verdict
    this.count(`ended: ${verdict}`)
    if (verdict === "closed") this.toldClosed = user
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Steps
  // -------------------------------------------------------------------------------------------------------------------

  private perform(step: Step): Effect.Effect<void> {
    switch (step._tag) {
      case "Open":
        return this.open(step)
      case "Advance":
        this.action = step
        return Effect.sync(() => {
          if (!this.time.advance(step.millis)) this.blame("I7", "something runs in circles")
        })
      case "Interrupt":
        return Effect.sync(() => {
          const user = this.present(step.who)
          if (user?.fiber === undefined) return
          this.count(user.sessionId === undefined ? "interrupted: without a session" : "interrupted: in a session")
          user.isInterrupted = true
          this.action = { _tag: "Interrupt", name: user.name }
          user.fiber.interruptUnsafe()
        })
      case "Close":
        return this.close(step.who, step.times ?? 1)
      case "UseAfter": {
        const user = this.find(step.who, (one) => one.exit !== undefined && one.sandbox !== undefined)
        if (user === undefined) return Effect.void
        this.count("used after the session")
        return Effect.asVoid(
          this.fork(
            Effect.map(useAfter(user), (problems) => {
              if (problems.length > 0) this.blame("L18", `what ${user.name} kept still works`, "refused", problems)
            })
          )
        )
      }
      case "Kill":
        return this.kill(step)
      case "Shutdown": {
        const { environment } = this
        if (environment === undefined) return Effect.void
        this.action = step
        return Effect.forEach(
          Array.from({ length: step.times ?? 1 }),
          () => Effect.map(this.fork(this.shutdown(environment)), (fiber) => void this.shutdowns.push(fiber)),
          { discard: true }
        )
      }
      case "InterruptShutdown":
        return Effect.sync(() => {
          for (const fiber of this.shutdowns) fiber.interruptUnsafe()
        })
      case "InterruptStart":
        return Effect.sync(() => {
          if (this.starting?.pollUnsafe() === undefined) this.count("interrupted: the start")
          this.starting?.interruptUnsafe()
        })
      case "AddFault": {
        this.mayStrike = true
        this.oracle = undefined
        if (!takesNoTime(step.fault)) this.isInstant = false
        const { faults } = this.simulation ?? {}
        return faults === undefined
          ? Effect.void
          : Effect.catch(faults.add(step.fault), (error) => Effect.sync(() => this.blame("X1", error.message)))
      }
      case "ClearFaults":
        return Effect.asVoid(this.fork(this.simulation?.faults.clear ?? Effect.void))
      default:
        return Effect.sync(() => this.tell(this.present(step.who), step))
    }
  }

  /** The user of a number, or of the next one of whom something is so: steps seldom go astray. */
  private find(who: number, isSo: (user: User) => boolean): User | undefined {
    for (let i = 0; i < places; i++) {
      const user = this.current.get((who + i) % places)
      if (user !== undefined && isSo(user)) return user
    }
    return undefined
  }

  private present(who: number): User | undefined {
    return this.find(who, (user) => user.exit === undefined)
  }

  private tell(user: User | undefined, instruction: Instruction): void {
    if (user === undefined || user.exit !== undefined) return
    this.action = { _tag: "Tell", name: user.name, instruction }
    if (instruction._tag === "ShutdownInside") this.mayShutDown = true
    user.inbox.push(instruction)
    // In a turn of its own: others may come before.
    this.time.later(() => user.wake?.())
  }

  private open(step: Extract<Step, { readonly _tag: "Open" }>): Effect.Effect<void> {
    const { environment } = this
    if (environment === undefined) return Effect.void
    // In the first place from there on that is free.
    const who = Array.from({ length: places }, (_, i) => (step.who + i) % places).find((place) => {
      const there = this.current.get(place)
      return there === undefined || there.exit !== undefined
    })
    if (who === undefined) return Effect.void
    return Effect.flatMap(environment.status, (status) =>
      this.openIn(environment, status === "Online", { ...step, who })
    )
  }

  private openIn(
    environment: Subject,
    isOnline: boolean,
    step: Extract<Step, { readonly _tag: "Open" }>
  ): Effect.Effect<void> {
    const { configuration } = this.program
    const way =
      (step.way === "feature" && (configuration.probes ?? 0) === 0) ||
      (step.way === "host" && configuration.hostProbe !== true)
        ? "withSession"
        : (step.way ?? "withSession")
    const isKnown =
      way === "host" ||
      configuration.images.some(({ id }) => id === step.image) ||
      (configuration.dynamicImages === true && step.image.startsWith("dynamic"))
    const sameId =
      way === "host" || step.id === undefined ? [] : this.users.filter((one) => one.id === step.id && this.holdsId(one))
    // While things go on nobody knows who comes first.
    const isRace = sameId.length > 0 && !this.isAtRest
    if (isRace) for (const one of sameId) one.mayBeDuplicate = true
    const user: User = {
      name: `u${this.users.length}`,
      number: this.users.length,
      who: step.who,
      image: step.image,
      way,
      id: way === "host" ? undefined : step.id,
      openedAt: this.time.now(),
      refusal: !isOnline
        ? "closed"
        : !isKnown
          ? "unknown image"
          : sameId.length > 0 && !isRace
            ? "duplicate"
            : undefined,
      mayBeDuplicate: isRace,
      fiber: undefined,
      exit: undefined,
      endedAt: 0,
      sandboxId: undefined,
      sessionId: undefined,
      startedAt: 0,
      leftAt: undefined,
      lastActivity: 0,
      activities: 0,
      busyUntil: 0,
      verdict: undefined,
      own: undefined,
      isInterrupted: false,
      wasSeenInside: false,
      isClosed: false,
      closedInside: false,
      reported: undefined,
      sandbox: undefined,
      files: undefined,
      active: undefined,
      inbox: [],
      wake: undefined
    }
    this.users.push(user)
    this.current.set(step.who, user)
    this.count(`opened: ${user.refusal ?? way}`)
    this.action = { _tag: "Open", person: personOf(user) }
    const options = { image: step.image, id: user.id }
    const inSession = typed(body(user, this.host))
    const session = (): Effect.Effect<string, unknown> => {
      switch (way) {
        case "withSession":
          return typed(environment.withSession(options, inSession))
        case "session":
          return Effect.scoped(
            Effect.flatMap(environment.session(options), (active) => {
              user.active = active
              return Effect.tapError(typed(active.run(inSession)), () => this.again(user, active))
            })
          )
        case "feature":
          return typed(environment.withFeature(Probe1, () => inSession, options))
        case "host":
          return typed(environment.withFeature(HostProbe, () => hostBody(user, this.host)))
      }
    }
    return Effect.map(this.fork(Effect.suspend(session)), (fiber) => {
      user.fiber = fiber
      fiber.addObserver((exit) => this.ended(user, exit))
    })
  }

  /** X3, X4: a session goes on after an error of its user, and is over after one of its sandbox. */
  private again(user: User, active: ActiveSession): Effect.Effect<void> {
    const { own } = user
    if (own?._tag !== "Failed" || user.isInterrupted || user.isClosed || isFineGrained(this.program.configuration)) {
      return Effect.void
    }
    const isState = isStateError(own.error) && own.error.sandboxId === user.sandboxId
    return Effect.map(Effect.exit(typed(active.run(Effect.void))), (exit) => {
      const isBroken = user.sandboxId !== undefined && this.isBroken(user.sandboxId)
      if (isState && Exit.isSuccess(exit)) this.blame("X3", `the session of ${user.name} goes on`, String(own.error))
      if (!isState && Exit.isFailure(exit) && !isBroken && !this.mayShutDown) {
        this.blame("X4", `the session of ${user.name} does not go on`, undefined, Cause.pretty(exit.cause))
      }
    })
  }

  /** Whether the id that a user asked for is in use because of it. */
  private holdsId(user: User): boolean {
    if (user.refusal !== undefined) return false
    if (user.sessionId !== undefined) return this.sandboxes.sessions.has(user.sessionId)
    return user.exit === undefined
  }

  private close(who: number, times: number): Effect.Effect<void> {
    const user = this.find(who, (one) => one.active !== undefined && one.exit === undefined)
    if (user?.active === undefined) return Effect.void
    const { active } = user
    user.isClosed = true
    this.action = { _tag: "Close", name: user.name }
    this.count("closed from outside")
    return Effect.forEach(Array.from({ length: times }), () => this.fork(Effect.exit(active.close)), { discard: true })
  }

  private kill(step: Extract<Step, { readonly _tag: "Kill" }>): Effect.Effect<void> {
    const { simulation } = this
    if (simulation === undefined) return Effect.void
    const alive = simulation.sim
      .alive()
      .filter((id) => step.status === undefined || this.sandboxes.all.get(id)?.status === step.status)
    const victim = alive[step.which % Math.max(1, alive.length)]
    if (victim === undefined) return Effect.void
    const status = this.sandboxes.all.get(victim)?.status
    if (this.dead.has(victim)) return Effect.void
    this.dead.add(victim)
    const name = parseSandboxId(victim)
    this.action = name === undefined ? undefined : { _tag: "Kill", image: name.image, slot: name.slot }
    return Effect.asVoid(
      this.fork(
        Effect.map(simulation.sim.kill(victim), (wasAlive) => {
          if (wasAlive) this.count(`died: ${status ?? "unknown"}`)
          else this.dead.delete(victim)
        })
      )
    )
  }

  private shutdown(environment: Subject): Effect.Effect<void> {
    this.mayShutDown = true
    return Effect.map(environment.shutdown, () => {
      this.isDown("when the shutdown returned")
      // It waits for handlers, but not for ever.
      if (this.queued() > 0 && this.time.now() - this.shutDownAt < drainLimit) {
        this.blame("V2", "events that were not handled when the shutdown returned", 0, this.queued())
      }
    })
  }

  /** H5: whoever waited for a shutdown finds nothing left. */
  private isDown(when: string): void {
    if (this.simulation === undefined || this.mayLeaveThings) return
    const alive = this.simulation.sim.alive()
    if (alive.length > 0) this.blame("H5", `sandboxes that are left ${when}`, "none", alive)
    const left = this.setups.left()
    if (left.length > 0) this.blame("I1", `what is still up ${when}`, "nothing", left)
  }

  /** Whether a teardown may have been given up: it went on after its time limit. */
  private get mayLeaveThings(): boolean {
    const { latency, teardownTimeout = 30_000 } = this.program.configuration
    if (latency?.destroy !== undefined && longest(latency.destroy) >= teardownTimeout) return true
    return this.seenStruck.some(
      ({ call, fault }) => !takesNoTime(fault) && ["destroy", "teardown", "sessionTeardown"].includes(call.point)
    )
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The end
  // -------------------------------------------------------------------------------------------------------------------

  /** Some users end by themselves, the others because the environment does; nothing may be left. */
  private end(scope: Scope.Closeable): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const { environment, simulation } = this
      if (simulation === undefined) return
      if (this.found === undefined) {
        this.step = undefined
        this.happened({ _tag: "Phase", at: this.time.now(), what: "the end: every second user finishes" })
        for (const user of this.users) if (this.users.indexOf(user) % 2 === 0) this.tell(user, { _tag: "Finish" })
        yield* this.pass({})
      }
      if (environment !== undefined && this.found === undefined) {
        this.happened({ _tag: "Phase", at: this.time.now(), what: "the environment is shut down" })
        const fiber = yield* this.fork(this.shutdown(environment))
        this.wait("H5", "the shutdown", () => fiber.pollUnsafe() !== undefined)
      }
      // Whoever has closed its own session goes on outside of it.
      const outside = this.users.filter((user) => user.closedInside)
      for (const user of outside) this.tell(user, { _tag: "Finish" })
      this.time.advanceUntil(() => outside.every((user) => user.exit !== undefined), patience)
      this.happened({ _tag: "Phase", at: this.time.now(), what: "its scope is closed" })
      this.starting?.interruptUnsafe()
      this.mayShutDown = true
      this.wait("I7", "the start", () => this.starting?.pollUnsafe() !== undefined)
      const closing = yield* this.fork(Scope.close(scope, Exit.void))
      this.wait("I7", "the closing of the environment's scope", () => closing.pollUnsafe() !== undefined)
      if (this.found !== undefined) {
        // Nothing of a failed run may go on, but nobody looks any more.
        yield* this.fork(simulation.faults.clear)
        this.time.settle()
        return
      }
      this.isDown("when the environment's scope was closed")
      yield* this.fork(simulation.faults.clear)
      this.time.settle()
      const handled = yield* this.fork(Scope.close(this.handlerScope, Exit.void))
      this.wait("V2", "the closing of the handler", () => handled.pollUnsafe() !== undefined)
      if (this.mayLeaveThings) this.time.advanceUntil(() => this.time.fibers() === 0, patience)
      yield* this.nothingIsLeft(simulation.sim)
    })
  }

  private wait(rule: string, what: string, isSo: () => boolean): void {
    if (!this.time.advanceUntil(isSo, patience)) this.blame("I7", "something runs in circles")
    if (!isSo()) this.blame(rule, `${what} did not come to its end within ${patience} ms`)
  }

  private nothingIsLeft(sim: SimDriver["Service"]): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      for (const user of this.users) {
        if (user.exit === undefined)
          this.blame("I7", `${user.name} has not ended`, "an end", user.sessionId ?? "it waits")
      }
      if (this.sandboxes.environment !== "shutDown" && this.sandboxes.environment !== "none") {
        this.blame("V2", "the last event", "EnvironmentShutDown", this.sandboxes.environment)
      }
      for (const told of this.sandboxes.all.values()) {
        if (told.status !== "Offline") this.blame("I6", `${told.id} at the end`, "Offline", told.status)
        if (!told.isGone) this.blame("I6", `${told.id} was not told to be shut down`)
        if (told.up.length > 0) this.blame("I1", `features of ${told.id} that are still up`, "none", told.up)
        if (told.sessionUp.length > 0)
          this.blame("I1", `session features of ${told.id} that are up`, "none", told.sessionUp)
      }
      if (this.sandboxes.sessions.size > 0) {
        this.blame("I6", "sessions without an end", "none", [...this.sandboxes.sessions.keys()])
      }
      const left = this.setups.left()
      if (left.length > 0) this.blame("I1", "what is still up at the end", "nothing", left)
      const resources = sim.resources()
      if (Object.values(resources).some((count) => count > 0)) {
        this.blame("I7", "what the driver still has at the end", "nothing", resources)
      }
      if (this.environment !== undefined) {
        const stats = yield* this.environment.stats
        if (stats.status !== "Offline") this.blame("L13", "the environment at the end", "Offline", stats.status)
        if (stats.sessions > 0) this.blame("I7", "sessions at the end", 0, stats.sessions)
        if (stats.ledger.live !== 0 || stats.ledger.created !== stats.ledger.destroyed) {
          this.blame("I7", "the ledger at the end", "created = destroyed, live = 0", stats.ledger)
        }
      }
      if (this.time.fibers() !== 0) this.blame("I7", "fibers that are left", 0, this.time.fibers())
      if (this.time.timers() !== 0) this.blame("I7", "timers that are left", 0, this.time.timers())
    })
  }
}

/** How long a shutdown waits for the handlers of events. */
const drainLimit = 10_000

/** How many users there can be at once. */
const places = 8

const setUpPoints: ReadonlySet<string> = new Set(["create", "reset", "setup", "session", "spawn", "exit", "file"])

/** How long something may take. */
const longest = (latency: Latency): number => {
  switch (latency._tag) {
    case "Constant":
      return latency.millis
    case "Uniform":
      return latency.max
    case "LongTailed":
      return Number.POSITIVE_INFINITY
  }
}

/** Whether a fault is the user's own, and leaves the sandbox alone. */
const isUsers = ({ how }: Fault, point: string): boolean =>
  how._tag === "Slow" ||
  how._tag === "Hang" ||
  (how._tag === "Fail" && how.kind !== "state" && how.kind !== "outage" && !driverPoints.has(point)) ||
  (how._tag === "Die" && !driverPoints.has(point))

const driverPoints: ReadonlySet<string> = new Set(["create", "destroy", "ping", "reset", "spawn", "exit", "file"])

/** Whether a fault fails at once. */
const takesNoTime = ({ how }: Fault): boolean => how._tag !== "Hang" && how._tag !== "Slow"
