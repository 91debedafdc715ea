/** The world of one program: its time, the environment, its users, and everybody who watches them. */
import type * as Environment from "@effect-sandbox/core/Environment"
import * as Feature from "@effect-sandbox/core/Feature"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import type { Faults } from "../../Faults.ts"
import type { SimDriver } from "../../SimDriver.ts"
import { Log } from "./log.ts"
import type * as Model from "./model.ts"
import { Oracle } from "./oracle.ts"
import { People } from "./people.ts"
import { isFineGrained, isWhole, type Program, sizeOf, type Step } from "./program.ts"
import * as Rest from "./rest.ts"
import { Sandboxes } from "./sandboxes.ts"
import { Setups } from "./setups.ts"
import { Strikes, takesNoTime } from "./strikes.ts"
import type { Subject } from "./user.ts"
import * as VirtualTime from "./virtualTime.ts"

/** What else a run is given, besides its program. */
export interface Options {
  readonly features: ReadonlyArray<Feature.Any>
  /** Exercises the features in a session. */
  readonly use: Effect.Effect<unknown, unknown, unknown>
  /** What is left of the features outside of sandboxes, asked when everything was taken down. */
  readonly leftovers: Effect.Effect<ReadonlyArray<string>, never, unknown>
}

export interface Simulation {
  readonly sim: SimDriver["Service"]
  readonly faults: Faults["Service"]
}

/** The types of features are known to the caller, who provides what they need. */
export const typed = <A, E>(effect: Effect.Effect<A, E, unknown>): Effect.Effect<A, E> =>
  // @effect-diagnostics-next-line unsafeEffectTypeAssertion:off
  effect as Effect.Effect<A, E>

export class World {
  readonly program: Program
  readonly options: Options
  readonly time: VirtualTime.VirtualTime
  readonly log: Log
  readonly setups: Setups
  readonly strikes: Strikes
  readonly sandboxes: Sandboxes
  readonly people: People
  context: Context.Context<never>
  simulation: Simulation | undefined
  starting: Fiber.Fiber<Subject, unknown> | undefined
  environment: Subject | undefined
  onlineSince = 0
  /** Whether somebody has asked for a shutdown, or something that has happened asks for one. */
  private isShutdownAsked = false
  shutDownAt = 0
  /** Who waits for a shutdown. */
  readonly shutdowns: Array<Fiber.Fiber<void>> = []
  /** Events that the handler has not handled. */
  queued = (): number => 0
  isAtRest = true
  /** Whether time has passed while something went on, which then came later than it could have. */
  isLate = false
  /** Whether nothing takes time: no latency, and no fault that hangs or is slow. */
  isInstant: boolean
  /** What the model is asked about; nothing when it has no answer to this program. */
  oracle: Oracle | undefined
  /** What the current step does, in the words of the model. */
  action: Model.Action | undefined
  /** The latest moment that a step may wait for. */
  private lastMoment: Step["until"]
  private readonly memory: Rest.Memory = { pending: new Map(), healed: new Map(), troubles: 0 }
  private readonly isInOrder: boolean

  constructor(program: Program, options: Options, random: (typeof Random.Random)["Service"]) {
    const { configuration, faults } = program
    this.program = program
    this.options = options
    this.time = VirtualTime.make({
      maxOpsBeforeYield: configuration.maxOpsBeforeYield,
      choose: configuration.shuffled === true ? (count) => Math.floor(random.nextDoubleUnsafe() * count) : undefined
    })
    this.context = Context.add(this.time.context, Random.Random, random)
    this.log = new Log(this.time.now)
    this.setups = new Setups(this.log.blame)
    this.strikes = new Strikes(configuration, faults.length > 0, this.log, this.setups)
    const facts = {
      isBroken: (id: string) => this.isBroken(id),
      mayShutDown: () => this.mayShutDown,
      hasForeign: this.hasForeign
    }
    this.sandboxes = new Sandboxes(configuration, facts, this.log.blame)
    this.people = new People(this)
    this.isInOrder = !isFineGrained(configuration) && configuration.shuffled !== true
    const takesTime = configuration.latency !== undefined || this.hasForeign
    this.isInstant = !takesTime && faults.every(takesNoTime)
    if (!takesTime && this.isInOrder && faults.length === 0) this.oracle = new Oracle(configuration, this.log.blame)
  }

  /** Whether there are features whose behaviour nobody here knows. */
  get hasForeign(): boolean {
    return this.options.features.length > 0
  }

  get mayShutDown(): boolean {
    return this.isShutdownAsked || this.strikes.hostFailed || this.program.configuration.onOutage === "shutdown"
  }

  askShutdown(): void {
    this.isShutdownAsked = true
  }

  isBroken(sandboxId: string): boolean {
    const { blamed, dead } = this.strikes
    return dead.has(sandboxId) || blamed.has(sandboxId) || this.sandboxes.all.get(sandboxId)?.broken !== undefined
  }

  /** Whether an image's sandboxes have features, and are reset before their first session for that. */
  hasFeatures(image: string): boolean {
    const { probes = 0 } = this.program.configuration
    return probes > 0 || this.options.features.some((one) => one.kind === "sandbox" && Feature.appliesTo(one, image))
  }

  /** Starts something in the world of the program; it runs its first steps at once. */
  fork<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<Fiber.Fiber<A, E>> {
    // Detached: the program ends what it has started.
    return Effect.forkDetach(Effect.provideContext(effect, this.context), { startImmediately: true })
  }

  /** Lets turns pass; when everything is at rest, looks at it. */
  pass(pause: Pick<Step, "turns" | "until">, action?: Model.Action): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.lastMoment = undefined
      if (pause.until !== undefined) while (this.lastMoment !== pause.until && !this.time.settle(1)) {}
      this.isAtRest = this.time.settle(pause.until === undefined ? pause.turns : (pause.turns ?? 0))
      if (isWhole(pause) && !this.isAtRest) this.log.blame("I7", "something runs in circles")
      const started = this.starting?.pollUnsafe()
      if (this.environment === undefined && started !== undefined && Exit.isSuccess(started)) {
        this.environment = started.value
        this.onlineSince = this.time.now()
      }
      return isWhole(pause) ? this.look(action) : Effect.void
    })
  }

  private look(action: Model.Action | undefined): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { environment, simulation } = this
      if (environment === undefined || simulation === undefined) return Effect.void
      this.strikes.note()
      this.people.look()
      return Effect.map(environment.stats, (stats) => this.lookAt(stats, simulation, action))
    })
  }

  private lookAt(stats: Environment.Stats, { sim }: Simulation, action: Model.Action | undefined): void {
    const { sandboxes, strikes } = this
    const { all: users } = this.people
    const now = this.time.now()
    const isOnline = stats.status === "Online"
    const { blamed, dead } = strikes
    const deaths = dead.size + blamed.size
    const isDraining = stats.status === "Draining"
    this.oracle?.look(action, { now, isOnline, isDraining, onlineSince: this.onlineSince, users, sandboxes, deaths })
    Rest.look(
      {
        configuration: this.program.configuration,
        stats,
        sandboxes,
        users,
        now,
        alive: new Set(sim.alive()),
        dead,
        isInstant: this.isInstant,
        isFaultless: strikes.all.length === 0 && dead.size === 0,
        isInOrder: this.isInOrder,
        onlineSince: this.onlineSince,
        isLate: this.isLate
      },
      this.memory,
      strikes.count,
      this.log.blame
    )
  }

  onEvent(event: SandboxEvent): void {
    this.strikes.note()
    this.log.happened({ _tag: "Event", at: this.time.now(), event })
    this.sandboxes.onEvent(event, this.time.now())
    this.people.onEvent(event, sizeOf(this.program.configuration, "image" in event ? (event.image ?? "") : "").isPooled)
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
      case "SandboxHousekeepingDone":
        if (event.error !== undefined) this.strikes.blamed.add(event.sandboxId)
        break
      default:
        break
    }
  }
}
