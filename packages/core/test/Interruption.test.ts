/**
 * Interruption wherever it can strike (F28). Fibers take turns after very few operations, from 3 to 64, and at turns all
 * over a phase of an environment's life whatever is tested is interrupted, or disturbed in another way. Afterwards
 * nothing may be left of it, and the pool must serve as many sessions as ever.
 */
import { Environment, type EnvironmentConfig, Feature, Sandbox } from "@effect-sandbox/core"
import {
  Faults,
  FeatureProbe,
  HeldSession,
  Interruption,
  LeakCheck,
  Ledger,
  SimDriver,
  TestEnvironment,
  Turns
} from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, References } from "effect"
import { TestClock } from "effect/testing"

/** Every budget from 3 to 64 has turns of its own; with all turns of each it would take minutes. */
const every = 7
const budgets = Array.from({ length: 62 }, (_, index) => index + 3)
const timeout = 300_000

class Tool extends Context.Service<Tool, { readonly n: number }>()("test/Tool") {}
class Host extends Context.Service<Host, { readonly n: number }>()("test/Host") {}

/** With a turn in the middle of both, so that either can be disturbed there. */
const slowly = { turns: 1 }

const tool = (ledger: Ledger.Ledger) =>
  Feature.make(Tool, {
    setup: Effect.gen(function* () {
      const { id } = yield* Sandbox
      yield* ledger.resource(id, "tool", slowly)
      yield* ledger.resource(id, "tool's helper", slowly)
      return {
        session: Effect.gen(function* () {
          yield* ledger.resource(id, "session", slowly)
          yield* Effect.yieldNow
          yield* ledger.resource(id, "session's helper", slowly)
          return { n: 1 }
        })
      }
    })
  })

const host = (ledger: Ledger.Ledger) =>
  Feature.host(Host, {
    setup: Effect.gen(function* () {
      yield* ledger.resource("host", "host", slowly)
      return { session: Effect.as(Effect.yieldNow, { n: 1 }) }
    })
  })

/** A driver that yields wherever it is called. */
const yielding = Layer.effectDiscard(
  Effect.map(Faults, (faults) => {
    for (const point of ["create", "reset", "destroy"] as const) faults.on(point, () => Effect.yieldNow)
  })
).pipe(Layer.provideMerge(SimDriver.layer()))

/** How each case of a sweep makes its environment, and what must be true of it afterwards, and of its end. */
const laboratory = Effect.fnUntraced(function* (settings: EnvironmentConfig.Settings = {}) {
  const driver = yield* SimDriver
  let ledger = Ledger.make()
  const make = Effect.gen(function* () {
    const own = Ledger.make()
    ledger = own
    yield* Effect.addFinalizer(() => Effect.orDie(own.assertBalanced)) // runs last
    return yield* Environment.make({
      id: "env",
      images: ["base"],
      pool: { min: 1, max: 2 },
      keepaliveInterval: 0,
      ...settings,
      features: [host(own), tool(own)]
    })
  })
  const check = (env: Effect.Success<typeof make>) =>
    Effect.map(env.stats, (stats) => {
      assert.strictEqual(driver.alive().length, stats.ledger.live, "instances without a sandbox")
      assert.deepStrictEqual(ledger.problems(), [], "I1")
      for (const [place, names] of ledger.open()) {
        if (place !== "host") assert.include<string>([...driver.alive()], place, `${names.join(", ")} of nothing`)
      }
    })
  return { driver, make, check, left: () => ledger.left() }
})

const body = Turns.pass(2)

it.effect(
  "F28 I1 S5 interrupted at any turn of a session that was set up ahead: acquire, start, body, end",
  () =>
    Effect.gen(function* () {
      const { check, make } = yield* laboratory()
      yield* Interruption.environment({ phase: "session", make, body, check, every })
    }).pipe(Effect.provide(yielding)),
  timeout
)

it.effect(
  "F28 I1 S5 interrupted at any turn of a session that is set up on demand",
  () =>
    Effect.gen(function* () {
      const { check, make } = yield* laboratory({ proactiveSessionSetup: false })
      yield* Interruption.environment({ phase: "session", make, body, check, every })
    }).pipe(Effect.provide(yielding)),
  timeout
)

it.effect(
  "F28 I1 S5 interrupted at any turn of a session with a sandbox of its own",
  () =>
    Effect.gen(function* () {
      const { check, make } = yield* laboratory({ pool: 0 })
      yield* Interruption.environment({ phase: "session", make, body, check, every })
    }).pipe(Effect.provide(yielding)),
  timeout
)

it.effect(
  "F28 I1 S5 interrupted at any turn of a session as a scoped resource, closed before its scope",
  () =>
    Effect.gen(function* () {
      const { check, make } = yield* laboratory()
      yield* Interruption.sweep({
        make,
        run: (env) =>
          Effect.scoped(
            Effect.gen(function* () {
              const session = yield* env.session({ id: "mine" })
              yield* session.run(body)
              yield* session.close
            })
          ),
        check: (env) => Effect.andThen(Interruption.assertServes(env), check(env)),
        every
      })
    }).pipe(Effect.provide(yielding)),
  timeout
)

it.effect(
  "F28 P4 I8 interrupted at any turn while it waits in line and a sandbox is released to it",
  () =>
    Effect.gen(function* () {
      const { check, make } = yield* laboratory({ pool: 1 })
      yield* Interruption.environment({ phase: "acquire", make, body, check, every })
    }).pipe(Effect.provide(yielding)),
  timeout
)

it.effect(
  "F28 P4 the time-out of a waiter at any turn of its being served",
  () =>
    Effect.gen(function* () {
      const { check, make } = yield* laboratory({ pool: 1, acquireTimeout: 1000 })
      yield* Interruption.environment({
        phase: "acquire",
        make,
        body,
        disturb: () => TestClock.adjust(1000),
        check,
        every
      })
    }).pipe(Effect.provide(yielding)),
  timeout
)

it.effect(
  "F28 S4 X3 H2 the sandbox dies at any turn of its session, or of the set-up of the next",
  () =>
    Effect.gen(function* () {
      for (const proactiveSessionSetup of [true, false]) {
        const { check, driver, make } = yield* laboratory({ pool: 1, proactiveSessionSetup })
        yield* Interruption.sweep({
          make,
          run: (env) => {
            const session = Effect.exit(env.withSession({}, body))
            return Effect.andThen(session, session)
          },
          disturb: () => Effect.suspend(() => driver.kill(driver.alive()[0] ?? "none")),
          check: (env) => Effect.andThen(Interruption.assertServes(env), check(env)),
          every
        })
      }
    }).pipe(Effect.provide(yielding)),
  timeout
)

it.effect(
  "F28 H5 L11 shut down at any turn of a session: everything is taken down",
  () =>
    Effect.gen(function* () {
      for (const pool of [{ min: 1, max: 2 }, 0]) {
        const { check, driver, make } = yield* laboratory({ pool })
        let ended = 0
        const { disturbed } = yield* Interruption.environment({
          phase: "session",
          make,
          body,
          disturb: (env) =>
            Effect.gen(function* () {
              yield* env.shutdown
              ended++
              assert.deepStrictEqual(driver.alive(), [])
              assert.strictEqual(yield* env.status, "Offline")
            }),
          check,
          every
        })
        assert.strictEqual(ended, disturbed)
      }
    }).pipe(Effect.provide(yielding)),
  timeout
)

it.effect(
  "F28 H5 L12 a shutdown that is interrupted at any turn is carried on, and the next caller waits for it",
  () =>
    Effect.gen(function* () {
      const { driver, left, make } = yield* laboratory({ pool: 2 })
      yield* Interruption.sweep({
        make: Effect.gen(function* () {
          const env = yield* make
          const user = yield* HeldSession.open(env)
          yield* user.isInside
          return { env, user }
        }),
        run: ({ env }) => env.shutdown,
        check: ({ env, user }) =>
          Effect.gen(function* () {
            yield* env.shutdown
            assert.deepStrictEqual(driver.alive(), [])
            assert.deepStrictEqual(left(), [])
            assert.strictEqual(yield* env.status, "Offline")
            assert.strictEqual(user.exit()?._tag, "Failure")
          }),
        every
      })
    }).pipe(Effect.provide(yielding)),
  timeout
)

it.effect(
  "F28 I1 L9 a start that is interrupted at any turn leaves nothing",
  () =>
    Effect.gen(function* () {
      const { check, make } = yield* laboratory({ pool: 2 })
      yield* Interruption.environment({ phase: "start", make, check, every })
    }).pipe(Effect.provide(yielding)),
  timeout
)

it.effect(
  "F28 L19 interrupted at any turn of a session of a host feature alone",
  () =>
    Effect.gen(function* () {
      const { check, make } = yield* laboratory()
      yield* Interruption.sweep({
        make,
        run: (env) => env.withFeature(Host, () => body),
        check: (env) => Effect.andThen(Interruption.assertServes(env), check(env))
      })
    }).pipe(Effect.provide(yielding)),
  timeout
)

it.effect(
  "F28 P3 I2 F33 many are interrupted at different turns: never more than max, one owner each, nobody is lost",
  () =>
    Effect.gen(function* () {
      const { check, driver, make } = yield* laboratory({ pool: { min: 0, max: 3 } })
      for (const maxOps of budgets) {
        const inside = new Set<string>()
        const use = Effect.gen(function* () {
          const { id } = yield* Sandbox
          assert.isFalse(inside.has(id), `I3 F33 two owners, MaxOpsBeforeYield ${maxOps}`)
          inside.add(id)
          yield* Effect.ensuring(
            body,
            Effect.sync(() => inside.delete(id))
          )
        })
        const scenario = Effect.gen(function* () {
          const env = yield* make
          const users: Array<Fiber.Fiber<unknown, unknown>> = []
          for (let i = 0; i < 24; i++) {
            users.push(yield* Effect.forkChild(env.withSession({}, use), { startImmediately: i % 2 === 0 }))
            if (i % 3 === 2) users[i - (i % 7)]?.interruptUnsafe()
            for (let j = 0; j < (i * 5) % 11; j++) yield* Effect.yieldNow
          }
          for (const [index, user] of users.entries()) if (index % 5 === 0) user.interruptUnsafe()
          yield* Turns.until("all have ended", () => users.every((user) => user.pollUnsafe() !== undefined))
          for (const user of users) {
            const exit = user.pollUnsafe()
            if (exit !== undefined && Exit.isFailure(exit)) {
              assert.isTrue(
                exit.cause.reasons.every((reason) => reason._tag === "Interrupt"),
                String(exit.cause)
              )
            }
          }
          assert.isAtMost(driver.peak("base"), 3, `P3 MaxOpsBeforeYield ${maxOps}`)
          yield* Interruption.assertServes(env)
          yield* check(env)
        })
        yield* LeakCheck.run(Effect.provideService(scenario, References.MaxOpsBeforeYield, maxOps))
      }
    }).pipe(Effect.provide(yielding)),
  timeout
)

it.effect(
  "F28 H1 no check runs during the set-up or the teardown of a session, wherever the fibers yield",
  () =>
    Effect.gen(function* () {
      for (const maxOps of budgets) {
        for (let turns = 0; turns < 12; turns++) {
          const scenario = Effect.gen(function* () {
            let checking = 0
            let changing = 0
            const overlaps: Array<string> = []
            const during = (what: "check" | "set-up" | "teardown") => {
              const count = (change: 1 | -1) =>
                Effect.sync(() => {
                  if (what === "check") checking += change
                  else changing += change
                  if (checking > 0 && changing > 0) overlaps.push(what)
                })
              return Effect.acquireUseRelease(
                count(1),
                () => Turns.pass(2),
                () => count(-1)
              )
            }
            const faults = yield* Faults
            faults.on("ping", () => during("check"))
            const probe = FeatureProbe.make("probe")
            probe.on("session", () => during("set-up"))
            probe.on("sessionTeardown", () => during("teardown"))
            const env = yield* Environment.make({
              id: "env",
              images: ["base"],
              pool: 1,
              keepaliveInterval: 1000,
              proactiveSessionSetup: false,
              features: [probe.feature]
            })
            const clock = yield* Effect.forkChild(TestClock.adjust(1000), { startImmediately: true })
            for (let i = 0; i < turns; i++) yield* Effect.yieldNow
            yield* env.withSession({}, body)
            yield* Fiber.join(clock)
            assert.deepStrictEqual(overlaps, [], `MaxOpsBeforeYield ${maxOps}, after turn ${turns}`)
          })
          yield* TestEnvironment.run(Effect.provideService(scenario, References.MaxOpsBeforeYield, maxOps))
        }
      }
    }),
  timeout
)

it.effect(
  "F28 I6 a start that is interrupted at any turn is told from its beginning to its end, or not at all",
  () =>
    // After each turn the events must be well formed: whatever was told to start was told to end, too.
    Interruption.environment({
      phase: "start",
      make: Environment.make({ images: ["base"], pool: 1, keepaliveInterval: 0 }),
      maxOps: [3, 5, 8, 13, 21, 2048]
    }).pipe(Effect.provide(SimDriver.layer())),
  timeout
)
