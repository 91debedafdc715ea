/**
 * What tests of the core look at: fibers and timers that are left, set-ups without a teardown, and sessions that last
 * for as long as a test wants.
 */
import { type Environment, Sandbox, type SandboxStatus } from "@effect-sandbox/core"
import { assert } from "@effect/vitest"
import type { Fiber } from "effect"
import { Clock, Context, Deferred, Effect, Exit, Metric, type Scope } from "effect"
import { TestClock } from "effect/testing"

/** Lets everything run that needs no time. */
export const settle = TestClock.adjust(0)

/** Yields until something is so; a test in which it never becomes so fails. */
export const until = (what: string, isSo: () => boolean, turns = 5000): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (let i = 0; i < turns; i++) {
      if (isSo()) return
      yield* Effect.yieldNow
    }
    assert.fail(`it never came true that ${what}`)
  })

// ---------------------------------------------------------------------------------------------------------------------
// Fibers and timers
// ---------------------------------------------------------------------------------------------------------------------

export interface Watch {
  /** Fibers that were started under the watch and have not ended. */
  readonly fibers: () => number
  /** Sleeps that have not ended. */
  readonly timers: () => number
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** Counts the fibers and the timers of an effect and of everything that it starts (I7). */
export const watch: Effect.Effect<Watch> = Effect.gen(function* () {
  let fibers = 0
  let timers = 0
  const clock = yield* Clock.Clock
  const watched: typeof clock = {
    ...clock,
    sleep: (duration) =>
      Effect.acquireUseRelease(
        Effect.sync(() => timers++),
        () => clock.sleep(duration),
        () => Effect.sync(() => timers--)
      )
  }
  const services = Context.make(Clock.Clock, watched).pipe(
    Context.add(Metric.FiberRuntimeMetrics, {
      recordFiberStart: () => void fibers++,
      recordFiberEnd: () => void fibers--
    })
  )
  return {
    fibers: () => fibers,
    timers: () => timers,
    run: (effect) => Effect.provideContext(effect, services)
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// Set-ups and teardowns
// ---------------------------------------------------------------------------------------------------------------------

/** Who has set up what: a stack per place. What is not taken down in reverse order, or twice, is a problem (I1). */
export class Ledger {
  readonly open = new Map<string, Array<string>>()
  readonly problems: Array<string> = []
  readonly log: Array<string> = []
  begun = 0
  ended = 0

  /** Something that is set up now and taken down when the scope closes. */
  resource(place: string, name: string): Effect.Effect<void, never, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.sync(() => this.enter(place, name)),
      () => Effect.sync(() => this.leave(place, name))
    )
  }

  /** The same, with a turn between everything, so that it can be interrupted anywhere. */
  slow(place: string, name: string): Effect.Effect<void, never, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.andThen(
        Effect.sync(() => this.enter(place, name)),
        Effect.yieldNow
      ),
      () =>
        Effect.andThen(
          Effect.yieldNow,
          Effect.sync(() => this.leave(place, name))
        )
    )
  }

  enter(place: string, name: string): void {
    this.begun++
    this.log.push(`+${name} ${place}`)
    const stack = this.open.get(place) ?? []
    if (stack.includes(name)) this.problems.push(`${name} of ${place} was set up twice`)
    stack.push(name)
    this.open.set(place, stack)
  }

  leave(place: string, name: string): void {
    this.ended++
    this.log.push(`-${name} ${place}`)
    const stack = this.open.get(place) ?? []
    const top = stack.at(-1)
    if (top !== name)
      this.problems.push(`${name} of ${place} was taken down while ${stack.join(", ") || "nothing"} was up`)
    const index = stack.lastIndexOf(name)
    if (index !== -1) stack.splice(index, 1)
    if (stack.length === 0) this.open.delete(place)
  }

  /** What is up now. */
  left(): ReadonlyArray<string> {
    return [...this.open].flatMap(([place, names]) => names.map((name) => `${name} ${place}`))
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Sessions
// ---------------------------------------------------------------------------------------------------------------------

export interface Held<A, E> {
  readonly fiber: Fiber.Fiber<A, E>
  /** The sandbox it is in, once it is in one. */
  readonly sandbox: () => string | undefined
  readonly exit: () => Exit.Exit<A, E> | undefined
  /** Ends the body; the session then ends by itself. */
  readonly release: Effect.Effect<void>
}

/** A session whose body lasts until it is released. */
export const hold = <F>(
  environment: Environment.Environment<F>,
  options: Environment.SessionOptions = {}
): Effect.Effect<Held<string, Environment.WithSessionError<F>>> =>
  Effect.gen(function* () {
    const released = Deferred.makeUnsafe<void>()
    let inside: string | undefined
    const body = Effect.gen(function* () {
      const sandbox = yield* Sandbox
      inside = sandbox.id
      yield* Deferred.await(released)
      return sandbox.id as string
    })
    // Detached: a test may end before its sessions do. Everything else about the fiber is the same.
    const fiber = yield* Effect.forkDetach(environment.withSession(options, body), { startImmediately: true })
    return {
      fiber,
      sandbox: () => inside,
      exit: () => fiber.pollUnsafe(),
      release: Effect.asVoid(Deferred.succeed(released, undefined))
    }
  }) as Effect.Effect<Held<string, Environment.WithSessionError<F>>> // `Sandbox` is among what a session provides

/** The statistics of an image. */
export const statsOf = <F>(environment: Environment.Environment<F>, image = "base") =>
  Effect.flatMap(environment.stats, ({ images }) => {
    const stats = images.find((one) => one.image === image)
    return stats === undefined ? Effect.die(new Error(`no image ${image}`)) : Effect.succeed(stats)
  })

/** How many sandboxes have each status, without the zeros. */
export const countsOf = <F>(environment: Environment.Environment<F>, image = "base") =>
  Effect.map(
    statsOf(environment, image),
    ({ counts }) =>
      Object.fromEntries(Object.entries(counts).filter(([, count]) => count !== 0)) as {
        readonly [status in SandboxStatus.SandboxStatus]?: number
      }
  )

/** The error of an exit that failed with a typed one. */
export const errorOf = <A, E>(exit: Exit.Exit<A, E> | undefined): E => {
  if (exit === undefined) return assert.fail("it has not ended")
  if (Exit.isSuccess(exit)) return assert.fail(`it succeeded with ${String(exit.value)}`)
  for (const reason of exit.cause.reasons) if (reason._tag === "Fail") return reason.error
  return assert.fail(`it failed with ${String(exit.cause)}`)
}

/** An environment in a scope of its own, closed at the end of `use`: nothing of it is left (I1, I7). */
export const leavesNothing = <F>(environment: Environment.Environment<F>) =>
  Effect.gen(function* () {
    const stats = yield* environment.stats
    assert.deepStrictEqual(
      { sessions: stats.sessions, live: stats.ledger.live, lost: stats.ledger.created - stats.ledger.destroyed },
      { sessions: 0, live: 0, lost: 0 }
    )
  })
