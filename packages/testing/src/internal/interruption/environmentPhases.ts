/** The phases of an environment's life, each as something that can be disturbed and then looked at. */
import type * as Environment from "@effect-sandbox/core/Environment"
import type { EventHub } from "@effect-sandbox/core/EventHandler"
import { EventRecorder } from "@effect-sandbox/core/EventRecorder"
import type * as Feature from "@effect-sandbox/core/Feature"
import { describe } from "@effect-sandbox/core/SandboxError"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as EventExpect from "../../EventExpect.ts"
import * as HeldSession from "../../HeldSession.ts"
import * as Turns from "../../Turns.ts"
import { UnfitError } from "./unfitError.ts"

export type Phase = "start" | "acquire" | "sessionStart" | "sessionEnd" | "session" | "shutdown"

/** What the phases are made from. */
export interface Settings<F, E, R, E2, RB> {
  readonly phase: Phase
  readonly make: Effect.Effect<Environment.Environment<F>, E, R>
  readonly image: string | undefined
  readonly body: Effect.Effect<unknown, E2, RB>
  readonly waiting: Turns.Options
}

/** An environment, and who uses it while it is disturbed. */
export interface World<F> {
  /** Missing while it starts. */
  environment: Environment.Environment<F> | undefined
  /** The scope of the environment; whoever looks at its end closes it. */
  readonly scope: Scope.Closeable
  /** The scope of the session that starts or ends. */
  readonly sessionScope: Scope.Closeable
  readonly recorder: EventRecorder["Service"]
  readonly events: Context.Context<EventHub | EventRecorder>
  readonly held: Array<HeldSession.HeldSession<F>>
  session: Environment.ActiveSession<F> | undefined
}

/** The environment in the state in which the phase begins. */
export const makeWorld = <F, E, R, E2, RB>(settings: Settings<F, E, R, E2, RB>) =>
  Effect.gen(function* () {
    const events = yield* Layer.build(EventRecorder.layer) // closed after the environment
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
    const world: World<F> = {
      environment: undefined,
      scope,
      sessionScope: yield* Scope.fork(scope),
      recorder: Context.get(events, EventRecorder),
      events,
      held: [],
      session: undefined
    }
    if (settings.phase === "start") return world
    const environment = yield* startIn(settings, world)
    const options = { image: settings.image }
    if (settings.phase === "sessionEnd") {
      world.session = yield* environment.session(options).pipe(Scope.provide(world.sessionScope))
    } else if (settings.phase === "acquire" || settings.phase === "shutdown") {
      const size = yield* sizeOf(environment, settings.image)
      const users = settings.phase === "shutdown" ? 1 : Number.isFinite(size) ? size : 0
      for (let i = 0; i < users; i++) {
        const held = yield* HeldSession.open(environment, options).pipe(Scope.provide(scope))
        world.held.push(held)
        yield* insideOf(held, settings.waiting)
      }
    }
    return world
  })

/** What is disturbed. */
export const runPhase = <F, E, R, E2, RB>(settings: Settings<F, E, R, E2, RB>, world: World<F>) => {
  const { body, phase } = settings
  const options = { image: settings.image }
  const whenStarted = <A, E3, R3>(use: (environment: Environment.Environment<F>) => Effect.Effect<A, E3, R3>) =>
    world.environment === undefined ? Effect.die(new Error("it was not started")) : use(world.environment)
  type Ran = Effect.Effect<
    unknown,
    E | E2 | Environment.WithSessionError<F>,
    Exclude<R, EventHub | EventRecorder | Scope.Scope> | Exclude<RB, Environment.SessionServices | Feature.Id<F>>
  >
  const run = (): Ran => {
    switch (phase) {
      case "start":
        return startIn(settings, world)
      case "acquire": {
        const release = world.held[0]?.release ?? Effect.void
        return Effect.andThen(
          release,
          whenStarted((environment) => environment.withSession(options, body))
        )
      }
      case "sessionStart":
        return whenStarted((environment) => environment.session(options).pipe(Scope.provide(world.sessionScope)))
      case "sessionEnd":
        return world.session?.close ?? Effect.void
      case "session":
        return whenStarted((environment) => environment.withSession(options, body))
      case "shutdown":
        return whenStarted((environment) => environment.shutdown)
    }
  }
  return Effect.suspend(run)
}

/** What must hold afterwards: it serves as before, and at its end nothing of it is left. */
export const checkWorld = <F, E, R, E2, RB, A, E3, E4, R4>(
  { image, waiting }: Settings<F, E, R, E2, RB>,
  world: World<F>,
  outcome: { readonly isDisturbed: boolean; readonly exit: Exit.Exit<A, E3> },
  check: (environment: Environment.Environment<F>) => Effect.Effect<unknown, E4, R4>
) =>
  Effect.gen(function* () {
    const { environment, held, recorder, scope, sessionScope } = world
    if (!outcome.isDisturbed && Exit.isFailure(outcome.exit)) {
      const why = describe(Cause.squash(outcome.exit.cause))
      return yield* new UnfitError({ description: `it fails although nothing disturbs it: ${why}` })
    }
    for (const user of held) yield* user.release
    yield* Scope.close(sessionScope, Exit.void)
    if (environment !== undefined) {
      if ((yield* environment.status) === "Online") yield* assertServes(environment, { ...waiting, image })
      else yield* environment.shutdown
      yield* Turns.until("all sessions have ended", () => held.every((user) => user.exit() !== undefined), waiting)
      yield* check(environment)
    }
    yield* Scope.close(scope, Exit.void)
    if (environment !== undefined) yield* assertGone(environment)
    yield* EventExpect.assertWellFormed(recorder)
  })

const startIn = <F, E, R, E2, RB>({ make }: Settings<F, E, R, E2, RB>, world: World<F>) =>
  make.pipe(
    Effect.provideContext(Context.add(world.events, Scope.Scope, world.scope)),
    Effect.tap((environment) =>
      Effect.sync(() => {
        world.environment = environment
      })
    )
  )

const statsOf = <F>(environment: Environment.Environment<F>, image: string | undefined) =>
  Effect.map(environment.stats, ({ images }) =>
    image === undefined ? images[0] : images.find((stats) => stats.image === image)
  )

/** How many sandboxes the image may have at once. */
const sizeOf = <F>(environment: Environment.Environment<F>, image: string | undefined): Effect.Effect<number> =>
  Effect.map(statsOf(environment, image), (stats) => stats?.max ?? Number.POSITIVE_INFINITY)

const insideOf = <F>(held: HeldSession.HeldSession<F>, waiting: Turns.Options) =>
  Turns.until("a session is in a sandbox", () => held.sandboxId() !== undefined || held.exit() !== undefined, waiting)

/** Nobody is in a session, nothing is lost, and as many sessions as ever can be had at the same time. */
export const assertServes = <F>(
  environment: Environment.Environment<F>,
  options: Turns.Options & { readonly image?: string | undefined } = {}
): Effect.Effect<void, UnfitError> =>
  Effect.scoped(
    Effect.gen(function* () {
      yield* assertRests(environment, options)
      const size = yield* sizeOf(environment, options.image)
      const users: Array<HeldSession.HeldSession<F>> = []
      for (let i = 0; i < (Number.isFinite(size) ? size : 2); i++) {
        users.push(yield* HeldSession.open(environment, { image: options.image }))
      }
      for (const [index, user] of users.entries()) {
        yield* Effect.mapError(
          insideOf(user, options),
          () => new UnfitError({ description: `only ${index} of ${users.length} sessions can be had at once` })
        )
      }
      for (const user of users) yield* user.release
      yield* asUnfit(Turns.until("the sessions end", () => users.every((user) => user.exit() !== undefined), options))
      for (const user of users) {
        const exit = user.exit()
        if (exit !== undefined && Exit.isFailure(exit)) {
          return yield* new UnfitError({ description: `a session fails: ${describe(Cause.squash(exit.cause))}` })
        }
      }
      const sandboxes = new Set(users.map((user) => user.sandboxId()))
      if (sandboxes.size < users.length) {
        return yield* new UnfitError({
          description: `${users.length} sessions at once share ${sandboxes.size} sandboxes: ${[...sandboxes].join(", ")}`
        })
      }
      yield* assertRests(environment, options)
    })
  )

const asUnfit = <A, R>(effect: Effect.Effect<A, Turns.NeverError, R>) =>
  Effect.mapError(effect, ({ message }) => new UnfitError({ description: message }))

/** No session, no waiter, nothing starting, every sandbox ready, and none lost. */
const assertRests = <F>(environment: Environment.Environment<F>, options: Turns.Options) =>
  Effect.gen(function* () {
    const isResting = Effect.map(
      environment.stats,
      ({ images, sessions }) =>
        sessions === 0 &&
        images.every(({ counts, starting, waiters }) => {
          const sandboxes = Object.values(counts).reduce((total, count) => total + count, 0)
          return waiters === 0 && starting === 0 && counts.Ready + counts.Offline === sandboxes
        })
    )
    const rested = yield* Effect.exit(Turns.until("it comes to rest", isResting, options))
    const { images, ledger, sessions } = yield* environment.stats
    if (Exit.isFailure(rested)) {
      const pools = images.map(({ counts, image, starting, waiters }) => {
        const some = Object.entries(counts).flatMap(([status, count]) => (count === 0 ? [] : [`${count} ${status}`]))
        return `${image} has ${waiters} waiters, ${starting} starting, ${some.join(", ") || "no sandbox"}`
      })
      return yield* new UnfitError({
        description: `it does not come to rest: ${sessions} sessions; ${pools.join("; ")}`
      })
    }
    const lost = ledger.created - ledger.destroyed - ledger.live
    if (lost !== 0 || ledger.leaked !== 0) {
      return yield* new UnfitError({ description: `${lost} sandboxes are lost, and ${ledger.leaked} leaked` })
    }
  })

const assertGone = <F>(environment: Environment.Environment<F>) =>
  Effect.gen(function* () {
    const { ledger, sessions, status } = yield* environment.stats
    if (status === "Offline" && sessions === 0 && ledger.live === 0 && ledger.created === ledger.destroyed) return
    return yield* new UnfitError({
      description: `its scope is closed, and it is ${status} with ${sessions} sessions, ${ledger.live} live sandboxes, ${ledger.created} created and ${ledger.destroyed} destroyed`
    })
  })
