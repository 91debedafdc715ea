/**
 * Random programs over an environment, held to the invariants of DESIGN section 5. A program opens and ends sessions in
 * every way, breaks sandboxes, driver and features, and lets time pass; a seed makes it the same program again.
 */
import type { SandboxStateError } from "@effect-sandbox/core"
import { Environment, EventRecorder, Feature, LoadBalancer, Sandbox } from "@effect-sandbox/core"
import { assert, it } from "@effect/vitest"
import type { Fiber } from "effect"
import { Arbitrary, Cause, Context, Effect, Exit, Layer, Queue, Random, Schedule, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Boom, checkEvents } from "./support/Lab.ts"
import { Ledger, watch } from "./support/Probe.ts"
import * as TestDriver from "./support/TestDriver.ts"

// ---------------------------------------------------------------------------------------------------------------------
// Programs
// ---------------------------------------------------------------------------------------------------------------------

const below = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))
const who = below(7)

/** Where something can go wrong, and how. */
const Point = Schema.Literals([
  "create",
  "reset",
  "ping",
  "destroy",
  "setup",
  "teardown",
  "session",
  "sessionTeardown",
  "housekeep"
])
const How = Schema.Literals(["user", "defect", "state", "slow"])

const Command = Schema.TaggedUnion({
  Open: { who, image: Schema.Literals(["base", "base", "other", "single"]) },
  OpenMany: { image: Schema.Literals(["base", "other"]) },
  Finish: { who },
  FailAsUser: { who },
  Die: { who },
  FailAsState: { who },
  Report: { who },
  Activity: { who, millis: below(3000) },
  Exec: { who },
  Interrupt: { who },
  /** Interrupts and releases in the same turn. */
  InterruptAndFinish: { who, other: who },
  Kill: { which: below(9) },
  /** Kills while a session is being opened. */
  OpenAndKill: { who, which: below(9) },
  Advance: { millis: below(40_000) },
  Fault: { point: Point, how: How, times: Schema.Literals([1, 1, 2, 5]) },
  Recover: {}
})
type Command = typeof Command.Type

const Program = Schema.Struct({
  seed: below(1_000_000),
  min: below(2),
  extra: below(2),
  proactive: Schema.Boolean,
  concurrency: Schema.Literals([1, 2, 32]),
  balancer: below(2),
  maxSessions: Schema.Literals([0, 0, 1, 3]),
  idle: Schema.Boolean,
  limits: Schema.Boolean,
  patience: Schema.Literals([2000, 300_000]),
  startFault: Schema.Boolean,
  shutDownEarly: Schema.Boolean
})

const program = Arbitrary.all({
  options: Arbitrary.schema(Program),
  commands: Arbitrary.array(Arbitrary.schema(Command), { minLength: 1, maxLength: 40 })
})
type Program = { readonly options: typeof Program.Type; readonly commands: ReadonlyArray<Command> }

// ---------------------------------------------------------------------------------------------------------------------
// The world
// ---------------------------------------------------------------------------------------------------------------------

class Tool extends Context.Service<Tool, { readonly n: number }>()("test/Tool") {}
class Host extends Context.Service<Host, { readonly n: number }>()("test/Host") {}

/** Faults by the place where they strike. */
class Faults {
  private readonly waiting = new Map<string, { readonly how: typeof How.Type; left: number }>()
  readonly teardownErrors: Array<string> = []
  struck = 0

  add(point: typeof Point.Type, how: typeof How.Type, times: number): void {
    this.waiting.set(point, { how, left: times })
  }

  clear(): void {
    this.waiting.clear()
  }

  strike(point: typeof Point.Type, id: string): Effect.Effect<void, Boom | SandboxStateError> {
    return Effect.suspend((): Effect.Effect<void, Boom | SandboxStateError> => {
      const fault = this.waiting.get(point)
      if (fault === undefined || fault.left === 0) return Effect.void
      fault.left--
      this.struck++
      switch (fault.how) {
        case "user":
          return Effect.fail(new Boom({ what: point }))
        case "defect":
          return Effect.die(new Boom({ what: `${point} (defect)` }))
        case "state":
          return Effect.fail(TestDriver.stateError(id as never, point))
        case "slow":
          return Effect.sleep(3000)
      }
    })
  }

  /** The same where nothing can fail, but die. */
  strikeFinalizer(point: "teardown" | "sessionTeardown", id: string): Effect.Effect<void> {
    return Effect.tapCause(Effect.orDie(this.strike(point, id)), (cause) =>
      Effect.sync(() => this.teardownErrors.push(String(Cause.squash(cause))))
    )
  }

  /** The same for the driver, which only knows state errors and defects. */
  strikeDriver(point: "create" | "reset" | "ping", id: string): Effect.Effect<void, SandboxStateError> {
    return Effect.catchTag(this.strike(point, id), "Boom", (boom) => Effect.die(boom))
  }
}

const tool = (ledger: Ledger, faults: Faults) =>
  Feature.make(Tool, {
    housekeepInterval: "7 seconds",
    setup: Effect.gen(function* () {
      const { id } = yield* Sandbox
      yield* ledger.resource(id, "tool")
      yield* Effect.addFinalizer(() => faults.strikeFinalizer("teardown", id))
      yield* faults.strike("setup", id)
      yield* ledger.resource(id, "tool's helper")
      return {
        session: Effect.gen(function* () {
          yield* ledger.resource(id, "session")
          yield* Effect.addFinalizer(() => faults.strikeFinalizer("sessionTeardown", id))
          yield* faults.strike("session", id)
          yield* ledger.resource(id, "session's helper")
          return { n: 1 }
        }),
        housekeep: faults.strike("housekeep", id)
      }
    })
  })

const host = (ledger: Ledger) =>
  Feature.host(Host, {
    setup: Effect.as(ledger.resource("host", "host"), { session: Effect.succeed({ n: 2 }) })
  })

type Outcome =
  | { readonly _tag: "Finish" }
  | { readonly _tag: "Fail"; readonly error: Boom | SandboxStateError }
  | { readonly _tag: "Die"; readonly defect: Error }

type Instruction =
  | Outcome
  | { readonly _tag: "Activity"; readonly millis: number }
  | { readonly _tag: "Exec" }
  | { readonly _tag: "Report" }

interface User {
  readonly fiber: Fiber.Fiber<string, unknown>
  readonly instructions: Queue.Queue<Instruction>
  readonly isInterrupted: () => boolean
  interrupt: () => void
  readonly sandbox: () => string | undefined
  /** What the body itself came to. */
  readonly outcome: () => Outcome | undefined
}

/** Runs a program from the start of an environment to its end; everything is checked on the way. Gives the trace. */
const run = ({ commands, options }: Program) =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const recorder = yield* EventRecorder
    const ledger = new Ledger()
    const faults = new Faults()
    const watching = yield* watch
    const trace: Array<string> = []
    const max = Math.max(1, options.min + options.extra)

    driver.faults.create = (spec) => faults.strikeDriver("create", spec.sandboxId)
    driver.faults.reset = (spec) => faults.strikeDriver("reset", spec.sandboxId)
    driver.faults.ping = (spec) => faults.strikeDriver("ping", spec.sandboxId)
    driver.faults.destroy = (spec) => Effect.orDie(faults.strike("destroy", spec.sandboxId))
    if (options.startFault) faults.add("create", "state", 2)

    const scope = yield* Scope.make()
    /** Lets time pass until a fiber has ended. */
    const finish = <A, E>(fiber: Fiber.Fiber<A, E>) =>
      Effect.gen(function* () {
        for (let i = 0; i < 1000 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust("1 second")
        return fiber.pollUnsafe() ?? assert.fail("I7 it hangs")
      })

    const starting = yield* Environment.make({
      id: "env",
      images: ["base", "other", "single"],
      pool: { base: { min: options.min, max }, other: { min: 0, max: 2 }, single: 0 },
      features: [host(ledger), tool(ledger, faults)],
      proactiveSessionSetup: options.proactive,
      concurrency: options.concurrency,
      loadBalancer: [LoadBalancer.roundRobin, LoadBalancer.mostRecent, LoadBalancer.random][options.balancer],
      maxSessions: options.maxSessions === 0 ? undefined : options.maxSessions,
      idleTimeToLive: options.idle ? "20 seconds" : undefined,
      sessionLifetime: options.limits ? "90 seconds" : undefined,
      sessionIdleTimeout: options.limits ? "40 seconds" : undefined,
      acquireTimeout: options.patience,
      keepaliveInterval: "5 seconds",
      pingTimeout: "2 seconds",
      outageGracePeriod: "1 minute",
      outageRetry: Schedule.spaced("5 seconds").pipe(Schedule.jittered)
    }).pipe(Scope.provide(scope), watching.run, Effect.forkChild({ startImmediately: true }))
    const started = yield* finish(starting)
    if (Exit.isFailure(started)) return assert.fail(`it did not start: ${Cause.pretty(started.cause)}`)
    const env = started.value

    const users = new Map<number, User>()
    const all: Array<User> = []
    const inside = new Map<string, number>()
    const broken = new Set<string>()

    const open = (n: number, image: string) =>
      Effect.gen(function* () {
        const instructions = yield* Queue.unbounded<Instruction>()
        let sandboxId: string | undefined
        let outcome: Outcome | undefined
        let interrupted = false
        const body = Effect.gen(function* () {
          const sandbox = yield* Sandbox
          const tool = yield* Tool
          assert.strictEqual(tool.n + (yield* Host).n, 3)
          sandboxId = sandbox.id
          assert.isFalse(broken.has(sandbox.id), `I4 ${sandbox.id} serves again`)
          assert.deepStrictEqual([...(yield* sandbox.stateErrors)], [], `I4 ${sandbox.id} serves with state errors`)
          assert.strictEqual(yield* sandbox.status, "InSession")
          assert.isUndefined(inside.get(sandbox.id), `I3 F33 ${sandbox.id} has two owners`)
          inside.set(sandbox.id, n)
          while (true) {
            const next = yield* Queue.take(instructions)
            switch (next._tag) {
              case "Activity":
                yield* sandbox.activity("work", Effect.sleep(next.millis))
                break
              case "Exec":
                yield* Effect.ignore(sandbox.exec("echo", ["a"]))
                break
              case "Report":
                broken.add(sandbox.id)
                yield* sandbox.report(TestDriver.stateError(sandbox.id, "report"))
                return yield* Effect.never
              case "Finish":
                outcome = next
                return sandbox.id as string
              case "Fail": {
                const error =
                  next.error._tag === "Boom"
                    ? next.error
                    : TestDriver.stateError(sandbox.id, "body", next.error.message)
                if (error._tag === "SandboxStateError") broken.add(sandbox.id)
                outcome = { _tag: "Fail", error }
                return yield* Effect.fail(error)
              }
              case "Die":
                outcome = next
                return yield* Effect.die(next.defect)
            }
          }
        }).pipe(
          Effect.ensuring(
            Effect.sync(() => {
              if (sandboxId !== undefined && inside.get(sandboxId) === n) inside.delete(sandboxId)
            })
          )
        )
        const fiber = yield* env
          .withSession({ image }, body)
          .pipe(watching.run, Effect.forkDetach({ startImmediately: true }))
        const user: User = {
          fiber,
          instructions,
          isInterrupted: () => interrupted,
          interrupt: () => {
            interrupted = true
            fiber.interruptUnsafe()
          },
          sandbox: () => sandboxId,
          outcome: () => outcome
        }
        users.set(n, user)
        all.push(user)
      })

    const tell = (n: number, instruction: Instruction) =>
      Effect.suspend(() => {
        const user = users.get(n)
        return user === undefined ? Effect.void : Queue.offer(user.instructions, instruction)
      })

    const kill = (which: number) =>
      Effect.suspend(() => {
        const alive = driver.alive()
        const victim = alive[which % Math.max(1, alive.length)]
        return victim === undefined ? Effect.void : driver.kill(victim)
      })

    let anonymous = 100
    const step = (command: Command): Effect.Effect<unknown> => {
      switch (command._tag) {
        case "Open": {
          const before = users.get(command.who)
          return before === undefined || before.fiber.pollUnsafe() !== undefined
            ? open(command.who, command.image)
            : Effect.void
        }
        case "OpenMany":
          return Effect.forEach([1, 2, 3, 4], () =>
            Effect.andThen(
              Effect.suspend(() => open(anonymous, command.image)),
              tell(anonymous++, { _tag: "Finish" })
            )
          )
        case "Finish":
          return tell(command.who, { _tag: "Finish" })
        case "FailAsUser":
          return tell(command.who, { _tag: "Fail", error: new Boom({ what: "body" }) })
        case "Die":
          return tell(command.who, { _tag: "Die", defect: new Error("a bug") })
        case "FailAsState":
          return tell(command.who, { _tag: "Fail", error: TestDriver.stateError("of this sandbox" as never, "body") })
        case "Report":
          return tell(command.who, { _tag: "Report" })
        case "Activity":
          return tell(command.who, { _tag: "Activity", millis: command.millis })
        case "Exec":
          return tell(command.who, { _tag: "Exec" })
        case "Interrupt":
          return Effect.sync(() => users.get(command.who)?.interrupt())
        case "InterruptAndFinish":
          return Effect.andThen(
            tell(command.other, { _tag: "Finish" }),
            Effect.sync(() => users.get(command.who)?.interrupt())
          )
        case "Kill":
          return kill(command.which)
        case "OpenAndKill":
          return Effect.andThen(open(anonymous++, "base"), kill(command.which))
        case "Advance":
          return TestClock.adjust(command.millis)
        case "Fault":
          return Effect.sync(() => faults.add(command.point, command.how, command.times))
        case "Recover":
          return Effect.sync(() => faults.clear())
      }
    }

    /** What must be true whenever nothing can go on without time. */
    const look = (at: string) =>
      Effect.gen(function* () {
        const stats = yield* env.stats
        const { created, destroyed, live } = stats.ledger
        assert.strictEqual(created - destroyed - live, 0, `the ledger after ${at}`)
        let counted = 0
        for (const pool of stats.images) {
          const sum = Object.values(pool.counts).reduce((a, b) => a + b, 0)
          counted += sum
          assert.isAtMost(sum, pool.max, `I2 P3 ${pool.image} after ${at}`)
          assert.isTrue(
            Object.values(pool.counts).every((count) => count >= 0),
            `counts of ${pool.image} after ${at}`
          )
          if (pool.waiters > 0 && stats.status === "Online") {
            assert.strictEqual(pool.counts.Ready, 0, `I8 ${pool.image}: waiters while one is ready, after ${at}`)
            if (pool.outage === undefined && sum < pool.max) {
              assert.isAtLeast(pool.starting, pool.waiters, `P3 ${pool.image}: a lost wake-up, after ${at}`)
            }
          }
        }
        assert.strictEqual(counted, live, `statuses and the ledger after ${at}`)
        assert.isAtMost(driver.peakOf("base"), max, `I2 P3 base after ${at}`)
        assert.isAtMost(driver.peakOf("other"), 2, `I2 P3 other after ${at}`)
        assert.deepStrictEqual(ledger.problems, [], `I1 after ${at}`)
      })

    for (const [index, command] of commands.entries()) {
      yield* step(command)
      yield* TestClock.adjust(0)
      for (let i = 0; i < 20; i++) yield* Effect.yieldNow
      yield* look(`step ${index}, ${command._tag}`)
      if (options.shutDownEarly && index === 10) yield* Effect.forkDetach(env.shutdown)
    }

    // Everything ends: some sessions by themselves, the others because the environment does.
    for (const [n, user] of users) if (n % 2 === 0) yield* Queue.offer(user.instructions, { _tag: "Finish" })
    yield* TestClock.adjust("1 second")
    yield* look("the end")
    yield* finish(yield* Effect.forkChild(env.shutdown))
    yield* finish(yield* Effect.forkChild(Scope.close(scope, Exit.void)))
    assert.strictEqual(yield* env.status, "Offline", "L13")

    for (const user of all) {
      const exit = yield* finish(user.fiber)
      trace.push(`${user.sandbox()} ${user.outcome()?._tag} ${Exit.isSuccess(exit) ? "Success" : names(exit.cause)}`)
      checkExit(user, exit, faults)
    }

    const events = yield* recorder.events
    checkEvents(events)
    assert.strictEqual(events[0]?._tag, "EnvironmentStarting", "I6")
    assert.strictEqual(events.at(-1)?._tag, "EnvironmentShutDown", "I6")
    const { ledger: books, sessions } = yield* env.stats
    assert.strictEqual(sessions, 0, "I7 sessions are left")
    assert.deepStrictEqual([books.live, books.created - books.destroyed], [0, 0], "I7 sandboxes are left")
    assert.deepStrictEqual(driver.alive(), [], "I7 instances are left")
    assert.deepStrictEqual(ledger.left(), [], "I1 set-ups are left")
    assert.deepStrictEqual(ledger.problems, [], "I1")
    assert.strictEqual(ledger.begun, ledger.ended, "I1")
    for (let i = 0; i < 100 && watching.fibers() > 0; i++) yield* Effect.yieldNow
    assert.strictEqual(watching.fibers(), 0, "I7 fibers are left")
    assert.strictEqual(watching.timers(), 0, "I7 timers are left")
    return [
      ...events.map((event) => JSON.stringify(event)),
      ...driver.calls,
      ...ledger.log,
      ...trace,
      JSON.stringify({ ...books, sessions: all.length, faults: faults.struck })
    ]
  }).pipe(Random.withSeed(options.seed), Effect.provide(Layer.mergeAll(TestDriver.layer, EventRecorder.layer)))

const names = (cause: Cause.Cause<unknown>): string =>
  cause.reasons
    .map((reason) =>
      reason._tag === "Fail"
        ? String((reason.error as { readonly _tag?: string })._tag)
        : reason._tag === "Die"
          ? `Die(${String(reason.defect)})`
          : reason._tag
    )
    .join("+")

const outside = [
  "SandboxStateError",
  "SessionLimitError",
  "EnvironmentClosedError",
  "EnvironmentOutageError",
  "EnvironmentOverloadError"
]

/** What a caller may get for the way in which its body ended (I9, X2–X6). */
const checkExit = (user: User, exit: Exit.Exit<string, unknown>, faults: Faults): void => {
  const outcome = user.outcome()
  const reasons = Exit.isSuccess(exit) ? [] : exit.cause.reasons
  const what = `${outcome?._tag ?? "no end"} in ${user.sandbox()}: ${Exit.isSuccess(exit) ? "Success" : names(exit.cause)}`
  const fails = reasons.filter(Cause.isFailReason).map(({ error }) => error)
  const dies = reasons.filter(Cause.isDieReason).map(({ defect }) => defect)
  switch (outcome?._tag) {
    case "Finish": {
      if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) {
        if (!Exit.isSuccess(exit)) assert.isTrue(user.isInterrupted(), `I9 ${what}`)
        break
      }
      // Only what a teardown raised can be told, and never a state error.
      assert.deepStrictEqual(dies, [], `I9 ${what}`)
      assert.strictEqual(fails.length, 1, `I9 ${what}`)
      const [error] = fails as ReadonlyArray<{ readonly _tag: string; readonly hasUserError: boolean }>
      assert.include(["SessionTeardownError", "FeatureTeardownError"], error?._tag ?? "", `I9 ${what}`)
      assert.isTrue(error?.hasUserError, `I9 ${what}`)
      assert.isAbove(faults.teardownErrors.length, 0, `I9 ${what}`)
      break
    }
    case "Fail":
      assert.isFalse(Exit.isSuccess(exit), `I9 a user error was swallowed: ${what}`)
      assert.strictEqual(fails[0], outcome.error, `I9 ${what}`)
      assert.strictEqual(fails.length, 1, `I9 ${what}`)
      assert.deepStrictEqual(dies, [], `I9 ${what}`)
      break
    case "Die":
      assert.deepStrictEqual(dies, [outcome.defect], `I9 ${what}`)
      assert.deepStrictEqual(fails, [], `I9 ${what}`)
      break
    case undefined: {
      // It was ended from outside, or never began.
      if (Exit.isSuccess(exit)) return assert.fail(`I9 ${what}`)
      if (Cause.hasInterruptsOnly(exit.cause)) {
        assert.isTrue(user.isInterrupted(), `I9 an interruption that nobody asked for: ${what}`)
        break
      }
      const began = user.sandbox() !== undefined
      for (const error of fails as ReadonlyArray<{ readonly _tag: string }>) {
        assert.include(began ? outside : [...outside, "Boom"], error._tag, `I9 ${what}`)
      }
      // A defect is the one of a set-up, and never an illegal move or a failed assertion.
      for (const defect of dies) assert.isTrue(!began && defect instanceof Boom, `I5 I9 ${what}`)
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Properties
// ---------------------------------------------------------------------------------------------------------------------

const timeout = 120_000

it.effect.prop("I1 I2 I3 I4 I5 I6 I7 I8 I9 random programs", [program], ([one]) => run(one), {
  arbitrary: { runs: 300, seed: "invariants" },
  timeout
})

it.effect.prop(
  "I10 the same program with the same seed gives the same trace",
  [program],
  ([one]) =>
    Effect.gen(function* () {
      const again = () => run(one).pipe(Effect.provide(TestClock.layer()), Effect.scoped)
      const first = yield* again()
      assert.deepStrictEqual(yield* again(), first)
    }),
  { arbitrary: { runs: 100, seed: "the same" }, timeout }
)
