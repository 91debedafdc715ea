import { Environment, Feature, Sandbox } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, References, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Faults } from "../src/Faults.ts"
import * as FeatureProbe from "../src/FeatureProbe.ts"
import * as HeldSession from "../src/HeldSession.ts"
import * as Interruption from "../src/Interruption.ts"
import * as LeakCheck from "../src/LeakCheck.ts"
import * as Ledger from "../src/Ledger.ts"
import { SimDriver } from "../src/SimDriver.ts"
import * as Turns from "../src/Turns.ts"

class Boom extends Schema.TaggedError<Boom>()("Boom", {}) {
  override get message() {
    return "boom"
  }
}

/** Gives its lease back, unless it is interrupted between taking it and watching over it. */
const careless = {
  make: Effect.sync(() => Ledger.make()),
  run: (ledger: Ledger.Ledger) =>
    Effect.gen(function* () {
      ledger.enter("pool", "lease")
      yield* Effect.void
      yield* Effect.ensuring(
        Effect.void,
        Effect.sync(() => ledger.leave("pool", "lease"))
      )
    }),
  check: (ledger: Ledger.Ledger) => ledger.assertBalanced
}

describe("sweep", () => {
  it.effect("F28 interrupts at every turn until it ends by itself, for every budget", () =>
    Effect.gen(function* () {
      const cases: Array<string> = []
      const stats = yield* Interruption.sweep({
        make: Effect.void,
        run: () => Turns.pass(2),
        maxOps: [100, 200],
        check: (_, { exit, isDisturbed, maxOps, turn }) =>
          Effect.sync(() => cases.push(`${maxOps} ${turn} ${isDisturbed} ${exit._tag}`))
      })
      assert.deepStrictEqual(cases, [
        "100 1 true Failure",
        "100 2 true Failure",
        "100 3 false Success",
        "200 1 true Failure",
        "200 2 true Failure",
        "200 3 false Success"
      ])
      assert.deepStrictEqual(stats, { cases: 6, disturbed: 4, completed: 2, turns: 3 })
    })
  )

  it.effect("F28 a smaller budget has more turns, and the default is 3 to 64", () =>
    Effect.gen(function* () {
      const turns = new Map<number, number>()
      const stats = yield* Interruption.sweep({
        make: Effect.void,
        run: () => Effect.forEach(Array.from({ length: 20 }), () => Effect.sync(() => {}), { discard: true }),
        check: (_, { maxOps, turn }) => Effect.sync(() => turns.set(maxOps, turn))
      })
      assert.deepStrictEqual(
        [...turns.keys()],
        Array.from({ length: 62 }, (_, i) => i + 3)
      )
      assert.isAbove(turns.get(3) ?? 0, turns.get(6) ?? 0)
      assert.strictEqual(stats.completed, 62)
      assert.strictEqual(stats.turns, turns.get(3))
    })
  )

  it.effect("F28 strikes at every so many-th turn, at others with each budget", () =>
    Effect.gen(function* () {
      const cases: Array<string> = []
      const stats = yield* Interruption.sweep({
        make: Effect.void,
        run: () => Turns.pass(6),
        maxOps: [99, 100, 101],
        every: 3,
        check: (_, { isDisturbed, maxOps, turn }) =>
          Effect.sync(() => {
            if (isDisturbed) cases.push(`${maxOps} ${turn}`)
          })
      })
      assert.deepStrictEqual(cases, ["99 1", "99 4", "100 2", "100 5", "101 3", "101 6"])
      assert.deepStrictEqual(stats, { cases: 9, disturbed: 6, completed: 3, turns: 9 })
    })
  )

  it.effect("F28 each turn is the state after exactly one step more, also of the fibers it waits for", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      yield* Interruption.sweep({
        make: Effect.sync(() => ({ steps: 0 })),
        run: (fixture) =>
          Effect.forEach(
            Array.from({ length: 5 }),
            () =>
              Effect.andThen(
                Effect.yieldNow,
                Effect.sync(() => fixture.steps++)
              ),
            { discard: true }
          ).pipe(Effect.forkDetach, Effect.flatMap(Fiber.join)),
        maxOps: [1000],
        leaks: false,
        disturb: (fixture) => Effect.sync(() => seen.push(fixture.steps))
      })
      // Turn 1: forked; turn 2: started; then one step a turn.
      assert.deepStrictEqual(seen, [0, 0, 1, 2, 3, 4])
    })
  )

  it.effect("F28 finds a lease that is lost between two operations, and names the case", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Interruption.sweep(careless))
      assert.strictEqual(
        error.message,
        `At turn ${error.turn} with MaxOpsBeforeYield 3 the check fails: Set-ups and teardowns do not match (I1):
  lease of pool is still up
To run this case alone: only: { maxOps: 3, turn: ${error.turn} }`
      )
      const { maxOps, turn } = error
      const again = yield* Effect.flip(Interruption.sweep({ ...careless, only: { maxOps, turn } }))
      assert.strictEqual(again.message, error.message)
      const before = yield* Interruption.sweep({ ...careless, only: { maxOps, turn: turn - 1 } })
      assert.deepStrictEqual(before, { cases: 1, disturbed: 1, completed: 0, turns: turn - 1 })
    })
  )

  it.effect("the same sweep gives the same numbers", () =>
    Effect.gen(function* () {
      const sweep = Interruption.sweep({
        make: Effect.sync(() => Ledger.make()),
        run: (ledger) => Effect.scoped(Effect.forEach([1, 2, 3], (n) => ledger.resource("a", `r${n}`, { turns: 1 }))),
        check: (ledger) => ledger.assertBalanced,
        maxOps: [3, 4, 9, 40]
      })
      assert.deepStrictEqual(yield* sweep, yield* sweep)
    })
  )

  it.effect("I7 a fiber or a timer that is left fails the case, unless it is told not to look", () =>
    Effect.gen(function* () {
      const options = {
        make: Effect.void,
        run: () => Effect.andThen(Effect.forkDetach(Effect.sleep("1 hour")), Effect.yieldNow),
        patience: 50,
        only: { maxOps: 50, turn: 3 }
      }
      const error = yield* Effect.flip(Interruption.sweep(options))
      assert.strictEqual(
        error.message,
        `At turn 3 with MaxOpsBeforeYield 50 something is left: 2 things are left (I7):
  fiber  without a name
  timer  1h, due at 3600000, without a name
To run this case alone: only: { maxOps: 50, turn: 3 }`
      )
      yield* Interruption.sweep({ ...options, leaks: false })
    })
  )

  it.effect("tells which part failed", () =>
    Effect.gen(function* () {
      const one = { maxOps: [10], make: Effect.void, run: () => Effect.yieldNow, patience: 50 }
      const parts = yield* Effect.forEach(
        [
          Interruption.sweep({ ...one, make: Effect.fail(new Boom()) }),
          Interruption.sweep({ ...one, make: Effect.addFinalizer(() => Effect.die(new Boom())) }),
          Interruption.sweep({ ...one, disturb: () => Effect.fail(new Boom()) }),
          Interruption.sweep({ ...one, check: () => Effect.fail(new Boom()) }),
          Interruption.sweep({ ...one, run: () => Effect.uninterruptible(Effect.never) }),
          Interruption.sweep({ ...one, run: () => Effect.forever(Effect.yieldNow), maxTurns: 5 }),
          Interruption.sweep({ ...one, run: () => Effect.void, maxOps: [1000, 2000] })
        ],
        Effect.flip
      )
      assert.deepStrictEqual(
        parts.map(({ message }) => message.split("\n")[0]),
        [
          "At turn 1 with MaxOpsBeforeYield 10 the fixture cannot be made: boom",
          "At turn 1 with MaxOpsBeforeYield 10 the fixture cannot be closed: boom",
          "At turn 1 with MaxOpsBeforeYield 10 the disturbance fails: boom",
          "At turn 1 with MaxOpsBeforeYield 10 the check fails: boom",
          "At turn 1 with MaxOpsBeforeYield 10 it does not end: still running after 50 ticks",
          "At turn 5 with MaxOpsBeforeYield 10 it does not end: it has not ended by itself after 5 turns",
          "Nothing was interrupted: with none of these budgets it stops before its end"
        ]
      )
    })
  )

  it.effect("an assertion that fails in the check is its message", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        Interruption.sweep({
          make: Effect.void,
          run: () => Effect.yieldNow,
          maxOps: [10],
          check: () => Effect.sync(() => assert.strictEqual(1, 2, "one is not two"))
        })
      )
      assert.include(error.message, "the check fails: one is not two")
    })
  )

  it.effect("what is run may get to its end although it was interrupted, or fail by itself", () =>
    Effect.gen(function* () {
      const exits: Array<string> = []
      yield* Interruption.sweep({
        make: Effect.void,
        run: () =>
          Effect.uninterruptible(
            Effect.andThen(
              Effect.yieldNow,
              Effect.sync(() => exits.push("done"))
            )
          ),
        maxOps: [100],
        check: (_, { exit, isDisturbed }) => Effect.sync(() => exits.push(`${isDisturbed} ${exit._tag}`))
      })
      yield* Interruption.sweep({
        make: Effect.void,
        run: () => Effect.andThen(Effect.yieldNow, Effect.fail(new Boom())),
        maxOps: [100],
        check: (_, { exit, isDisturbed }) =>
          Effect.sync(() => exits.push(`${isDisturbed} ${Exit.hasFails(exit) ? "Boom" : "interrupted"}`))
      })
      assert.deepStrictEqual(exits, ["done", "true Failure", "done", "false Success", "true interrupted", "false Boom"])
    })
  )

  it.effect("lets virtual time pass where it is told to", () =>
    Effect.gen(function* () {
      const stats = yield* Interruption.sweep({
        make: Effect.sync(() => Ledger.make()),
        run: (ledger) =>
          Effect.acquireUseRelease(
            Effect.sync(() => ledger.enter("a", "b")),
            () => Effect.sleep("1 second"),
            () =>
              Effect.andThen(
                Effect.sleep("1 second"),
                Effect.sync(() => ledger.leave("a", "b"))
              )
          ),
        check: (ledger) => ledger.assertBalanced,
        maxOps: [3, 20],
        tick: TestClock.adjust("100 millis")
      })
      assert.isAbove(stats.disturbed, 2)
    })
  )

  it.live("works in real time, too", () =>
    Effect.gen(function* () {
      const stats = yield* Interruption.sweep({
        make: Effect.sync(() => Ledger.make()),
        run: (ledger) =>
          Effect.scoped(Effect.andThen(ledger.resource("a", "b", { turns: 2 }), Effect.sleep("1 milli"))),
        check: (ledger) => ledger.assertBalanced,
        maxOps: [3, 20],
        tick: Effect.sleep("1 milli")
      })
      assert.isAbove(stats.disturbed, 4)
      yield* Effect.flip(Interruption.sweep(careless))
    })
  )

  it.effect("several budgets can be swept at the same time", () =>
    Effect.gen(function* () {
      const options = {
        make: Effect.void,
        run: () => Turns.pass(5),
        maxOps: [3, 4, 5, 6]
      }
      assert.deepStrictEqual(
        yield* Interruption.sweep({ ...options, concurrency: 4 }),
        yield* Interruption.sweep(options)
      )
    })
  )

  it.effect("I7 a sweep that is interrupted leaves nothing", () =>
    Effect.gen(function* () {
      const ledger = Ledger.make()
      yield* LeakCheck.run(
        Effect.gen(function* () {
          const started = yield* Deferred.make<void>()
          const fiber = yield* Effect.forkChild(
            Interruption.sweep({
              make: ledger.resource("a", "fixture"),
              run: () => Effect.andThen(Deferred.succeed(started, undefined), Effect.never)
            })
          )
          yield* Deferred.await(started)
          yield* Fiber.interrupt(fiber)
        })
      )
      yield* ledger.assertBalanced
    })
  )
})

class Tool extends Context.Service<Tool, { readonly n: number }>()("test/Tool") {}

/** Everything yields, so that it can be interrupted anywhere. */
const yielding = Layer.effectDiscard(
  Effect.map(Faults, (faults) => {
    for (const point of ["create", "reset", "destroy"] as const) faults.on(point, () => Effect.yieldNow)
  })
).pipe(Layer.provideMerge(SimDriver.layer()))

const options = { id: "env", images: ["base"], keepaliveInterval: 0 } as const

describe("environment", () => {
  const phases = ["start", "acquire", "sessionStart", "sessionEnd", "session", "shutdown"] as const

  it.effect.each(phases.flatMap((phase) => [0, { min: 1, max: 2 }].map((pool) => ({ phase, pool }))))(
    "F28 I1 I7 features survive interruption at any turn of $phase, with a pool of $pool",
    ({ phase, pool }) =>
      Effect.gen(function* () {
        const journals: Array<FeatureProbe.Journal> = []
        const stats = yield* Interruption.environment({
          phase,
          make: Effect.suspend(() => {
            const journal = FeatureProbe.journal()
            journals.push(journal)
            const probe = FeatureProbe.make("probe", { journal })
            const host = FeatureProbe.host("host", { journal })
            for (const hook of ["setup", "teardown", "session", "sessionTeardown"] as const) {
              probe.on(hook, () => Effect.yieldNow)
              host.on(hook, () => Effect.yieldNow)
            }
            return Environment.make({ ...options, pool, features: [host.feature, probe.feature] })
          }),
          maxOps: [6, 33]
        })
        assert.strictEqual(stats.completed, 2)
        assert.isAbove(stats.disturbed, 4)
        assert.isAtMost(journals.length, stats.cases) // a start may be interrupted before it makes anything
        for (const { ledger } of journals) yield* ledger.assertBalanced
      }).pipe(Effect.provide(yielding)),
    60_000
  )

  it.effect("F28 finds a feature that forgets, when it is interrupted, what it has set up", () =>
    Effect.gen(function* () {
      const ledgers: Array<Ledger.Ledger> = []
      const sweep = Interruption.environment({
        phase: "session",
        make: Effect.suspend(() => {
          const ledger = Ledger.make()
          ledgers.push(ledger)
          const forgetful = Feature.make(Tool, {
            setup: Effect.succeed({
              session: Effect.gen(function* () {
                const { id } = yield* Sandbox
                ledger.enter(id, "tool")
                yield* Effect.yieldNow
                yield* Effect.addFinalizer(() => Effect.sync(() => ledger.leave(id, "tool")))
                return { n: 1 }
              })
            })
          })
          return Environment.make({ ...options, pool: 0, features: [forgetful] })
        }),
        check: () => Effect.suspend(() => ledgers.at(-1)?.assertBalanced ?? Effect.void),
        maxOps: [20]
      })
      const error = yield* Effect.flip(sweep)
      assert.strictEqual(error.part, "check")
      assert.include(error.message, "tool of env/base:0:0 is still up")
    }).pipe(Effect.provide(yielding))
  )

  it.effect("F28 S4 X3 H2 H5 L11 a sandbox may die, and an environment end, at any turn of a session", () =>
    Effect.gen(function* () {
      const driver = yield* SimDriver
      const make = Environment.make({ ...options, pool: 1, features: [FeatureProbe.make("probe").feature] })
      yield* Interruption.environment({
        phase: "session",
        make,
        disturb: () => Effect.suspend(() => driver.kill(driver.alive()[0] ?? "")),
        maxOps: [5, 40]
      })
      const ends: Array<string> = []
      yield* Interruption.environment({
        phase: "session",
        make,
        disturb: (environment) => environment.shutdown,
        check: (environment) => Effect.map(environment.status, (status) => ends.push(status)),
        maxOps: [5, 40]
      })
      assert.deepStrictEqual([...new Set(ends)], ["Offline", "Online"])
    }).pipe(Effect.provide(yielding))
  )

  it.effect("a phase that fails by itself is no sweep", () =>
    Effect.gen(function* () {
      const probe = FeatureProbe.make("probe")
      probe.on("session", { _tag: "Fail" })
      const error = yield* Effect.flip(
        Interruption.environment({
          phase: "session",
          make: Environment.make({ ...options, pool: 0, features: [probe.feature] }),
          only: { maxOps: 64, turn: 5000 }
        })
      )
      assert.include(error.message, "it fails although nothing disturbs it: Simulated error at session: told to")
    }).pipe(Effect.provide(yielding))
  )

  it.effect("the environment runs with the budget, its background too", () =>
    Effect.gen(function* () {
      const budgets = new Set<number>()
      const probe = FeatureProbe.make("probe")
      for (const hook of ["setup", "session"] as const) {
        probe.on(hook, () => Effect.map(Effect.service(References.MaxOpsBeforeYield), (budget) => budgets.add(budget)))
      }
      yield* Interruption.environment({
        phase: "sessionEnd",
        make: Environment.make({ ...options, pool: 1, features: [probe.feature] }),
        maxOps: [7]
      })
      assert.deepStrictEqual([...budgets], [7])
    }).pipe(Effect.provide(yielding))
  )
})

describe("assertServes", () => {
  it.effect("tells what keeps an environment from its rest", () =>
    Effect.gen(function* () {
      const env = yield* Environment.make({ ...options, pool: 1 })
      yield* Interruption.assertServes(env)
      const held = yield* HeldSession.open(env)
      yield* held.isInside
      yield* HeldSession.open(env)
      const error = yield* Effect.flip(Interruption.assertServes(env, { turns: 20 }))
      assert.strictEqual(
        error.message,
        "it does not come to rest: 1 sessions; base has 1 waiters, 0 starting, 1 InSession"
      )
    }).pipe(Effect.provide(SimDriver.layer()))
  )

  it.effect("tells how many sessions can be had at once", () =>
    Effect.gen(function* () {
      const faults = yield* Faults
      const env = yield* Environment.make({ ...options, pool: { min: 0, max: 2 } })
      yield* faults.add({ at: ["create"], sandbox: ".*:1:.*", how: { _tag: "Hang" } })
      const few = yield* Effect.flip(Interruption.assertServes(env, { turns: 50 }))
      assert.strictEqual(few.message, "only 1 of 2 sessions can be had at once")
    }).pipe(Effect.provide(SimDriver.layer()))
  )
})
