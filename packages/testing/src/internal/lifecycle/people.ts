/** The users of a program: who they are, what they are told, where they are, and how they end. */
import type * as Environment from "@effect-sandbox/core/Environment"
import * as Feature from "@effect-sandbox/core/Feature"
import type { Sandbox } from "@effect-sandbox/core/Sandbox"
import { isStateError } from "@effect-sandbox/core/SandboxError"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { describe, judge } from "./exits.ts"
import { personOf } from "./oracle.ts"
import { HostProbe, Probe1 } from "./probes.ts"
import { isFineGrained, type Step } from "./program.ts"
import { body, type Host, hostBody, type Instruction, type Subject, type User, useAfter } from "./user.ts"
import { typed, type World } from "./world.ts"

/** How many users there can be at once. */
const places = 8

type Open = Extract<Step, { readonly _tag: "Open" }>

export class People {
  readonly all: Array<User> = []
  private readonly world: World
  /** The latest user of each place. */
  private readonly current = new Map<number, User>()
  /** Who is in a sandbox. */
  private readonly inside = new Map<string, User>()
  /** The latest session of each sandbox that has ended. */
  private readonly lastSessions = new Map<string, string>()
  /** Sessions whose teardown raised an error of the user's kind. */
  private readonly teardownErrors = new Set<string>()
  /** Who was told last that the environment is closed. */
  private toldClosed: User | undefined

  constructor(world: World) {
    this.world = world
  }

  /** The user of a number, or of the next one of whom something is so: steps seldom go astray. */
  find(who: number, isSo: (user: User) => boolean): User | undefined {
    for (let i = 0; i < places; i++) {
      const user = this.current.get((who + i) % places)
      if (user !== undefined && isSo(user)) return user
    }
    return undefined
  }

  /** The same of those who have not ended. */
  present(who: number): User | undefined {
    return this.find(who, (user) => user.exit === undefined)
  }

  /** Everything is at rest. */
  look(): void {
    if (this.toldClosed !== undefined && this.world.sandboxes.environment === "started") {
      const { name } = this.toldClosed
      this.world.log.blame("L4", `${name} was told that the environment is closed`, "not so", "it is online")
    }
  }

  onEvent(event: SandboxEvent, isPooled: boolean): void {
    switch (event._tag) {
      case "SessionStarted":
        this.teardownErrors.delete(event.sessionId)
        return
      case "FeatureSessionTornDown": {
        const isHost = event.sandboxId === undefined
        const session = isHost ? event.sessionId : this.world.sandboxes.all.get(event.sandboxId)?.session
        if (event.error !== undefined && session !== undefined && (isHost || !event.error.isStateError)) {
          this.teardownErrors.add(session)
        }
        return
      }
      case "SessionEnded": {
        this.lastSessions.set(event.sandboxId, event.sessionId)
        const user = this.inside.get(event.sandboxId)
        if (user === undefined) return
        this.inside.delete(event.sandboxId)
        if (!user.closedInside) this.world.log.blame("S5", `the session of ${user.name} ended while its body goes on`)
        return
      }
      case "FeatureTornDown": {
        const session = event.sandboxId === undefined ? undefined : this.lastSessions.get(event.sandboxId)
        // Without a pool the sandbox goes with its session.
        if (event.error !== undefined && !event.error.isStateError && session !== undefined && !isPooled) {
          this.teardownErrors.add(session)
        }
        return
      }
      default:
        return
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Coming
  // -------------------------------------------------------------------------------------------------------------------

  open(step: Open): Effect.Effect<void> {
    const { environment } = this.world
    if (environment === undefined) return Effect.void
    // In the first place from there on that is free.
    const who = Array.from({ length: places }, (_, i) => (step.who + i) % places).find(
      (place) => this.current.get(place)?.exit !== undefined || !this.current.has(place)
    )
    if (who === undefined) return Effect.void
    return Effect.flatMap(environment.status, (status) => {
      const user = this.userOf({ ...step, who }, status === "Online")
      this.all.push(user)
      this.current.set(who, user)
      this.world.log.count(`opened: ${user.refusal ?? user.way}`)
      this.world.action = { _tag: "Open", person: personOf(user) }
      return Effect.map(this.world.fork(Effect.suspend(() => this.session(environment, user))), (fiber) => {
        user.fiber = fiber
        fiber.addObserver((exit) => this.ended(user, exit))
      })
    })
  }

  private userOf(step: Open, isOnline: boolean): User {
    const { configuration } = this.world.program
    const { hostProbe = false, probes = 0 } = configuration
    const isPossible = (step.way !== "feature" || probes > 0) && (step.way !== "host" || hostProbe)
    const way = isPossible ? (step.way ?? "withSession") : "withSession"
    const id = way === "host" ? undefined : step.id
    const isKnown =
      way === "host" ||
      configuration.images.some((image) => image.id === step.image) ||
      (configuration.dynamicImages === true && step.image.startsWith("dynamic"))
    const rivals = id === undefined ? [] : this.all.filter((one) => one.id === id && this.holdsId(one))
    // While things go on nobody knows who comes first.
    const isRace = rivals.length > 0 && !this.world.isAtRest
    if (isRace) for (const one of rivals) one.mayBeDuplicate = true
    const isDuplicate = rivals.length > 0 && !isRace
    return {
      name: `u${this.all.length}`,
      number: this.all.length,
      who: step.who,
      image: step.image,
      way,
      id,
      openedAt: this.world.time.now(),
      refusal: !isOnline ? "closed" : !isKnown ? "unknown image" : isDuplicate ? "duplicate" : undefined,
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
  }

  /** Whether the id that a user asked for is in use because of it. */
  private holdsId(user: User): boolean {
    if (user.refusal !== undefined) return false
    if (user.sessionId !== undefined) return this.world.sandboxes.sessions.has(user.sessionId)
    return user.exit === undefined
  }

  private session(environment: Subject, user: User): Effect.Effect<string, unknown> {
    const options = { image: user.image, id: user.id }
    const inSession = typed(body(user, this.host))
    switch (user.way) {
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

  /** X3, X4: a scoped session goes on after an error of its user, and is over after one of its sandbox. */
  private again(user: User, active: Environment.ActiveSession<Feature.Any>): Effect.Effect<void> {
    const { log, program } = this.world
    const { own } = user
    const isDisturbed = user.isInterrupted || user.isClosed || isFineGrained(program.configuration)
    if (own?._tag !== "Failed" || isDisturbed) return Effect.void
    const isState = isStateError(own.error) && own.error.sandboxId === user.sandboxId
    return Effect.map(Effect.exit(typed(active.run(Effect.void))), (exit) => {
      const isBroken = user.sandboxId !== undefined && this.world.isBroken(user.sandboxId)
      if (isState && Exit.isSuccess(exit)) log.blame("X3", `the session of ${user.name} goes on`, String(own.error))
      if (!isState && Exit.isFailure(exit) && !isBroken && !this.world.mayShutDown) {
        log.blame("X4", `the session of ${user.name} does not go on`, undefined, Cause.pretty(exit.cause))
      }
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Being there
  // -------------------------------------------------------------------------------------------------------------------

  private readonly host: Host = {
    now: () => this.world.time.now(),
    environment: () => this.world.environment,
    use: (image) =>
      Effect.suspend(() => {
        const { features, use } = this.world.options
        // Dynamic images and those of others may be none that the features are for.
        return features.every((feature) => Feature.appliesTo(feature, image)) ? use : Effect.void
      }),
    onEnter: (user, sandbox, sessionId) =>
      Effect.map(Effect.all([sandbox.status, sandbox.stateErrors]), ([status, errors]) => {
        user.sandboxId = sandbox.id
        user.sessionId = sessionId
        user.startedAt = this.world.time.now()
        user.lastActivity = user.startedAt
        this.world.log.happened({ _tag: "Entered", at: user.startedAt, user: user.name, sandboxId: sandbox.id })
        this.enters(user, sandbox)
        // Things may have changed since, when a fiber yields after every few operations.
        if (!isFineGrained(this.world.program.configuration)) {
          const { blame } = this.world.log
          if (status !== "InSession") blame("I5", `${user.name} is in ${sandbox.id}`, "InSession", status)
          if (errors.length > 0) blame("I4", `${sandbox.id} serves with state errors`, "none", errors.map(String))
        }
      }),
    onBreak: (user) => {
      if (user.sandboxId !== undefined) this.world.strikes.blamed.add(user.sandboxId)
    },
    onLeave: (user) => {
      user.leftAt = this.world.time.now()
      if (user.sandboxId !== undefined && this.inside.get(user.sandboxId) === user) this.inside.delete(user.sandboxId)
    }
  }

  private enters(user: User, { id, image }: Sandbox["Service"]): void {
    const { blame } = this.world.log
    const told = this.world.sandboxes.all.get(id)
    const other = this.inside.get(id)
    if (other !== undefined) blame("I3", `${id} has two users`, other.name, `${other.name}, ${user.name}`)
    if (user.id !== undefined && user.id !== user.sessionId) blame("S2", "the session's id", user.id, user.sessionId)
    if (told?.session !== user.sessionId) blame("I6", `the session in ${id}`, told?.session, user.sessionId)
    if (image !== user.image) blame("P1", `the image of ${user.name}`, user.image, image)
    if (told !== undefined) {
      const mustBeReset = told.served > 0 || this.world.hasFeatures(image)
      if (mustBeReset && !told.wasReset) blame("S1", `${id} was not reset before the session of ${user.name}`)
      told.wasReset = false
    }
    this.inside.set(id, user)
  }

  tell(user: User | undefined, instruction: Instruction): void {
    if (user === undefined || user.exit !== undefined) return
    this.world.action = { _tag: "Tell", name: user.name, instruction }
    if (instruction._tag === "ShutdownInside") this.world.askShutdown()
    user.inbox.push(instruction)
    // In a turn of its own: others may come before.
    this.world.time.later(() => user.wake?.())
  }

  interrupt(who: number): void {
    const user = this.present(who)
    if (user?.fiber === undefined) return
    this.world.log.count(`interrupted: ${user.sessionId === undefined ? "without a session" : "in a session"}`)
    this.world.action = { _tag: "Interrupt", name: user.name }
    user.isInterrupted = true
    user.fiber.interruptUnsafe()
  }

  /** Closes a scoped session from outside, so many times at once. */
  close(who: number, times: number): Effect.Effect<void> {
    const user = this.find(who, (one) => one.active !== undefined && one.exit === undefined)
    if (user?.active === undefined) return Effect.void
    const { active } = user
    user.isClosed = true
    this.world.action = { _tag: "Close", name: user.name }
    this.world.log.count("closed from outside")
    return Effect.forEach(Array.from({ length: times }), () => this.world.fork(Effect.exit(active.close)), {
      discard: true
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Having been there
  // -------------------------------------------------------------------------------------------------------------------

  /** L18: whoever has been in a session uses what it has kept of it. */
  useAfter(who: number): Effect.Effect<void> {
    const user = this.find(who, (one) => one.exit !== undefined && one.sandbox !== undefined)
    if (user === undefined) return Effect.void
    this.world.log.count("used after the session")
    const used = Effect.map(useAfter(user), (problems) => {
      if (problems.length > 0) this.world.log.blame("L18", `what ${user.name} kept still works`, "refused", problems)
    })
    return Effect.asVoid(this.world.fork(used))
  }

  private ended(user: User, exit: Exit.Exit<string, unknown>): void {
    const { log, program, sandboxes, strikes } = this.world
    user.exit = exit
    user.endedAt = this.world.time.now()
    strikes.note()
    log.happened({ _tag: "Ended", at: user.endedAt, user: user.name, result: describe(exit) })
    const facts = {
      configuration: program.configuration,
      sandboxes,
      now: user.endedAt,
      isLate: this.world.isLate,
      hitSetUp: strikes.hitSetUpOf(user.image),
      isBroken: (id: string) => this.world.isBroken(id),
      teardownRaised: (sessionId: string) => this.teardownErrors.has(sessionId),
      hasForeign: this.world.hasForeign
    }
    user.verdict = judge(user, exit, facts, log.blame)
    log.count(`ended: ${user.verdict}`)
    if (user.verdict === "closed") this.toldClosed = user
  }
}
