/**
 * Interruption after every yield (F28). `MaxOpsBeforeYield` makes every fiber of an environment yield after that many
 * operations, from 3 to 64, and whatever is tested is interrupted after its first, second, third … turn until it gets
 * to its end. Afterwards nothing may be left of it, and the pool must serve as many sessions as ever.
 */
import { Environment, EventRecorder, Feature, Sandbox } from "@effect-sandbox/core"
import { assert, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Effect, Exit, Fiber, Layer, References } from "effect"
import { TestClock } from "effect/testing"
import { hold, Ledger, until, watch } from "./support/Probe.ts"
import * as TestDriver from "./support/TestDriver.ts"

const sweep = Array.from({ length: 62 }, (_, index) => index + 3)

class Tool extends Context.Service<Tool, { readonly n: number }>()("test/Tool") {}
class Host extends Context.Service<Host, { readonly n: number }>()("test/Host") {}

const tool = (ledger: Ledger) =>
  Feature.make(Tool, {
    setup: Effect.gen(function* () {
      const { id } = yield* Sandbox
      yield* ledger.slow(id, "tool")
      yield* ledger.slow(id, "tool's helper")
      return {
        session: Effect.gen(function* () {
          yield* ledger.slow(id, "session")
          yield* Effect.yieldNow
          yield* ledger.slow(id, "session's helper")
          return { n: 1 }
        })
      }
    })
  })

const host = (ledger: Ledger) =>
  Feature.host(Host, {
    setup: Effect.gen(function* () {
      yield* ledger.slow("host", "host")
      return { session: Effect.as(Effect.yieldNow, { n: 1 }) }
    })
  })

type Env = Environment.Environment<ReturnType<typeof tool> | ReturnType<typeof host>>

interface Options {
  readonly pool?: number | { readonly min: number; readonly max: number }
  readonly proactiveSessionSetup?: boolean
  readonly acquireTimeout?: number
}

interface Fixture {
  readonly env: Env
  readonly driver: TestDriver.TestDriver["Service"]
  readonly ledger: Ledger
  readonly max: number
  /** What the failing case is called. */
  readonly at: string
}

/** Makes an environment that yields after so many operations, and checks at the end that nothing of it is left. */
const withEnvironment = <E>(
  options: Options,
  maxOps: number,
  use: (fixture: Omit<Fixture, "at">) => Effect.Effect<void, E, Scope.Scope>
) =>
  Effect.gen(function* () {
    const driver = yield* TestDriver.TestDriver
    const ledger = new Ledger()
    const watching = yield* watch
    driver.faults.create = () => Effect.yieldNow
    driver.faults.reset = () => Effect.yieldNow
    driver.faults.destroy = () => Effect.yieldNow
    const { pool = { min: 1, max: 2 }, ...rest } = options
    yield* Effect.gen(function* () {
      const env = yield* Environment.make({
        id: "env",
        images: ["base"],
        pool,
        keepaliveInterval: 0,
        ...rest,
        features: [host(ledger), tool(ledger)]
      })
      const max = typeof pool === "number" ? (pool === 0 ? 2 : pool) : pool.max
      yield* use({ env, driver, ledger, max })
    }).pipe(Effect.scoped, Effect.provideService(References.MaxOpsBeforeYield, maxOps), watching.run)
    const at = `MaxOpsBeforeYield ${maxOps}`
    // What was detached may take a few turns more.
    for (let i = 0; i < 5000 && watching.fibers() > 0; i++) yield* Effect.yieldNow
    assert.deepStrictEqual(driver.alive(), [], `I7 ${at}: instances are left`)
    assert.deepStrictEqual(ledger.left(), [], `I1 ${at}: set-ups are left`)
    assert.deepStrictEqual(ledger.problems, [], `I1 ${at}`)
    assert.strictEqual(ledger.begun, ledger.ended, `I1 ${at}`)
    assert.strictEqual(watching.fibers(), 0, `I7 ${at}: fibers are left`)
    assert.strictEqual(watching.timers(), 0, `I7 ${at}: timers are left`)
  }).pipe(Effect.provide(TestDriver.layer))

/** Nobody is in a session, nothing is lost, and `max` sessions can be had at once. */
const serves = ({ at, driver, env, ledger, max }: Fixture) =>
  Effect.gen(function* () {
    const statsOf = Effect.runSyncWith(Context.empty())
    const quiet = () => {
      const { images, ledger, sessions } = statsOf(env.stats)
      const [pool] = images
      const resting = pool === undefined || pool.counts.Ready === ledger.live
      return sessions === 0 && resting && (pool?.waiters ?? 0) === 0 && (pool?.starting ?? 0) === 0
    }
    yield* until(`everything is at rest (${at}: ${JSON.stringify(statsOf(env.stats))})`, quiet)
    const before = statsOf(env.stats)
    assert.strictEqual(before.ledger.created - before.ledger.destroyed - before.ledger.live, 0, `ledger, ${at}`)
    assert.strictEqual(before.ledger.leaked, 0, at)
    assert.strictEqual(driver.alive().length, before.ledger.live, `instances without a sandbox, ${at}`)
    assert.deepStrictEqual(ledger.problems, [], `I1 ${at}`)
    for (const [place, names] of ledger.open) {
      if (place !== "host") assert.include([...driver.alive()], place, `${names.join(", ")} of nothing, ${at}`)
    }
    const users = yield* Effect.forEach(Array.from({ length: max }), () => hold(env))
    yield* until(`${max} sessions are served (${at})`, () => users.every((user) => user.sandbox() !== undefined))
    assert.strictEqual(new Set(users.map((user) => user.sandbox())).size, max, `F33 ${at}`)
    for (const user of users) yield* user.release
    yield* until(`the sessions end (${at})`, () => users.every((user) => user.exit() !== undefined))
    for (const user of users) assert.strictEqual(user.exit()?._tag, "Success", at)
    yield* until(`everything is at rest again (${at})`, quiet)
  })

/** Runs an effect in a fiber, does something to it after so many turns, and tells whether it had ended by itself. */
const disturb = <A, E, R, E2>(
  effect: Effect.Effect<A, E, R>,
  turns: number,
  disturbance: (fiber: Fiber.Fiber<A, E>) => Effect.Effect<unknown, E2>
) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    for (let i = 0; i < turns; i++) yield* Effect.yieldNow
    const ended = fiber.pollUnsafe() !== undefined
    yield* disturbance(fiber)
    yield* until("a disturbed fiber ends", () => fiber.pollUnsafe() !== undefined)
    return ended
  })

/** Disturbs an effect after its first, second, third … turn, until it has ended before it is disturbed. */
const atEveryTurn = <A, E, R, E2, E3>(
  fixture: Omit<Fixture, "at">,
  maxOps: number,
  scenario: (
    fixture: Omit<Fixture, "at">,
    turns: number
  ) => Effect.Effect<
    {
      readonly effect: Effect.Effect<A, E, R>
      readonly disturbance: (fiber: Fiber.Fiber<A, E>) => Effect.Effect<unknown, E2>
      /** Runs before everything is looked at. */
      readonly after?: Effect.Effect<unknown>
    },
    E3
  >
) =>
  Effect.gen(function* () {
    let turns = 0
    for (; turns < 1000; turns++) {
      const { after = Effect.void, disturbance, effect } = yield* scenario(fixture, turns)
      const ended = yield* disturb(effect, turns, disturbance)
      yield* after
      yield* serves({ ...fixture, at: `MaxOpsBeforeYield ${maxOps}, after turn ${turns}` })
      if (ended) break
    }
    assert.isAbove(turns, 0, "it had nothing to disturb")
    assert.isBelow(turns, 1000, "it never ended")
  })

const body = Effect.andThen(Effect.yieldNow, Effect.yieldNow)

const interrupt = <A, E>(fiber: Fiber.Fiber<A, E>) => Fiber.interrupt(fiber)

/** A scenario that is only interrupted. */
const interrupted =
  <A, E, R>(effect: (env: Env) => Effect.Effect<A, E, R>) =>
  ({ env }: Omit<Fixture, "at">) =>
    Effect.succeed({ effect: effect(env), disturbance: interrupt<A, E> })

const timeout = 120_000

it.effect(
  "F28 I1 S5 interrupted at any turn of a session that was set up ahead: acquire, start, body, end",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        yield* withEnvironment({}, maxOps, (fixture) =>
          atEveryTurn(
            fixture,
            maxOps,
            interrupted((env) => env.withSession({}, body))
          )
        )
      }
    }),
  timeout
)

it.effect(
  "F28 I1 S5 interrupted at any turn of a session that is set up on demand",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        yield* withEnvironment({ proactiveSessionSetup: false }, maxOps, (fixture) =>
          atEveryTurn(
            fixture,
            maxOps,
            interrupted((env) => env.withSession({}, body))
          )
        )
      }
    }),
  timeout
)

it.effect(
  "F28 I1 S5 interrupted at any turn of a session with a sandbox of its own",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        yield* withEnvironment({ pool: 0 }, maxOps, (fixture) =>
          atEveryTurn(
            fixture,
            maxOps,
            interrupted((env) => env.withSession({}, body))
          )
        )
      }
    }),
  timeout
)

it.effect(
  "F28 I1 S5 interrupted at any turn of a session as a scoped resource, closed before its scope",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        yield* withEnvironment({}, maxOps, (fixture) =>
          atEveryTurn(
            fixture,
            maxOps,
            interrupted((env) =>
              Effect.scoped(
                Effect.gen(function* () {
                  const session = yield* env.session({ id: "mine" })
                  yield* session.run(body)
                  yield* session.close
                })
              )
            )
          )
        )
      }
    }),
  timeout
)

it.effect(
  "F28 P4 I8 interrupted at any turn while it waits in line and a sandbox is released to it",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        yield* withEnvironment({ pool: 1 }, maxOps, (fixture) =>
          atEveryTurn(fixture, maxOps, ({ env }) =>
            Effect.gen(function* () {
              const first = yield* hold(env)
              yield* until("the first is served", () => first.sandbox() !== undefined)
              return {
                effect: Effect.andThen(first.release, env.withSession({}, body)),
                disturbance: interrupt
              }
            })
          )
        )
      }
    }),
  timeout
)

it.effect(
  "F28 P4 the time-out of a waiter at any turn of its being served",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        yield* withEnvironment({ pool: 1, acquireTimeout: 1000 }, maxOps, (fixture) =>
          atEveryTurn(fixture, maxOps, ({ env }) =>
            Effect.gen(function* () {
              const first = yield* hold(env)
              yield* until("the first is served", () => first.sandbox() !== undefined)
              return {
                effect: Effect.exit(Effect.andThen(first.release, env.withSession({}, body))),
                disturbance: () => TestClock.adjust(1000)
              }
            })
          )
        )
      }
    }),
  timeout
)

it.effect(
  "F28 S4 X3 H2 the sandbox dies at any turn of its session, or of the set-up of the next",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        for (const proactiveSessionSetup of [true, false]) {
          yield* withEnvironment({ pool: 1, proactiveSessionSetup }, maxOps, (fixture) =>
            atEveryTurn(fixture, maxOps, ({ driver, env }) =>
              Effect.succeed({
                effect: Effect.exit(env.withSession({}, body)),
                disturbance: () =>
                  Effect.suspend(() => {
                    const [victim] = driver.alive()
                    return victim === undefined ? Effect.void : driver.kill(victim)
                  })
              })
            )
          )
        }
      }
    }),
  timeout
)

it.effect(
  "F28 H5 L11 shut down at any turn of a session: everything is taken down",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        for (const pool of [{ min: 1, max: 2 }, 0]) {
          let isOver = false
          for (let turns = 0; !isOver && turns < 1000; turns++) {
            yield* withEnvironment({ pool }, maxOps, ({ driver, env }) =>
              Effect.gen(function* () {
                isOver = yield* disturb(Effect.exit(env.withSession({}, body)), turns, () => env.shutdown)
                assert.deepStrictEqual(driver.alive(), [], `MaxOpsBeforeYield ${maxOps}, after turn ${turns}`)
                assert.strictEqual(yield* env.status, "Offline")
              })
            )
          }
          assert.isTrue(isOver)
        }
      }
    }),
  timeout
)

it.effect(
  "F28 H5 L12 a shutdown that is interrupted at any turn is carried on, and the next caller waits for it",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        let isOver = false
        for (let turns = 0; !isOver && turns < 1000; turns++) {
          yield* withEnvironment({ pool: 2 }, maxOps, ({ driver, env, ledger }) =>
            Effect.gen(function* () {
              const user = yield* hold(env)
              yield* until("it is in a session", () => user.sandbox() !== undefined)
              isOver = yield* disturb(env.shutdown, turns, interrupt)
              yield* env.shutdown
              const at = `MaxOpsBeforeYield ${maxOps}, after turn ${turns}`
              assert.deepStrictEqual(driver.alive(), [], at)
              assert.deepStrictEqual(ledger.left(), [], at)
              assert.strictEqual(yield* env.status, "Offline", at)
              assert.strictEqual(user.exit()?._tag, "Failure", at)
            })
          )
        }
        assert.isTrue(isOver)
      }
    }),
  timeout
)

it.effect(
  "F28 I1 L9 a start that is interrupted at any turn leaves nothing",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        let isOver = false
        for (let turns = 0; !isOver && turns < 1000; turns++) {
          const scenario = Effect.gen(function* () {
            const driver = yield* TestDriver.TestDriver
            const ledger = new Ledger()
            const watching = yield* watch
            driver.faults.create = () => Effect.yieldNow
            driver.faults.destroy = () => Effect.yieldNow
            const options = { id: "env", images: ["base"], pool: 2, keepaliveInterval: 0 }
            const starting = Environment.make({ ...options, features: [host(ledger), tool(ledger)] }).pipe(
              Effect.scoped,
              Effect.provideService(References.MaxOpsBeforeYield, maxOps),
              watching.run
            )
            isOver = yield* disturb(starting, turns, interrupt)
            const at = `MaxOpsBeforeYield ${maxOps}, after turn ${turns}`
            for (let i = 0; i < 5000 && watching.fibers() > 0; i++) yield* Effect.yieldNow
            assert.deepStrictEqual(driver.alive(), [], at)
            assert.deepStrictEqual(ledger.left(), [], at)
            assert.deepStrictEqual(ledger.problems, [], at)
            assert.strictEqual(watching.fibers(), 0, `fibers, ${at}`)
            assert.strictEqual(watching.timers(), 0, `timers, ${at}`)
          })
          yield* scenario.pipe(Effect.provide(TestDriver.layer))
        }
        assert.isTrue(isOver)
      }
    }),
  timeout
)

it.effect(
  "F28 L19 interrupted at any turn of a session of a host feature alone",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        yield* withEnvironment({}, maxOps, (fixture) =>
          atEveryTurn(
            fixture,
            maxOps,
            interrupted((env) => env.withFeature(Host, () => body))
          )
        )
      }
    }),
  timeout
)

it.effect(
  "F28 P3 I2 F33 many are interrupted at different turns: never more than max, one owner each, nobody is lost",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        yield* withEnvironment({ pool: { min: 0, max: 3 } }, maxOps, (fixture) =>
          Effect.gen(function* () {
            const { driver, env } = fixture
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
            const users: Array<Fiber.Fiber<unknown, unknown>> = []
            for (let i = 0; i < 24; i++) {
              users.push(yield* Effect.forkChild(env.withSession({}, use), { startImmediately: i % 2 === 0 }))
              if (i % 3 === 2) users[i - (i % 7)]?.interruptUnsafe()
              for (let j = 0; j < (i * 5) % 11; j++) yield* Effect.yieldNow
            }
            for (const [index, user] of users.entries()) if (index % 5 === 0) user.interruptUnsafe()
            yield* until("all have ended", () => users.every((user) => user.pollUnsafe() !== undefined))
            for (const user of users) {
              const exit = user.pollUnsafe()
              if (exit !== undefined && Exit.isFailure(exit)) {
                assert.isTrue(
                  exit.cause.reasons.every((reason) => reason._tag === "Interrupt"),
                  String(exit.cause)
                )
              }
            }
            assert.isAtMost(driver.peakOf("base"), 3, `P3 MaxOpsBeforeYield ${maxOps}`)
            yield* serves({ ...fixture, at: `MaxOpsBeforeYield ${maxOps}` })
          })
        )
      }
    }),
  timeout
)

it.effect(
  "F28 H1 no check runs during the set-up or the teardown of a session, wherever the fibers yield",
  () =>
    Effect.gen(function* () {
      for (const maxOps of sweep) {
        for (let turns = 0; turns < 12; turns++) {
          const scenario = Effect.gen(function* () {
            const driver = yield* TestDriver.TestDriver
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
                () => Effect.andThen(Effect.yieldNow, Effect.yieldNow),
                () => count(-1)
              )
            }
            driver.faults.ping = () => during("check")
            const changes = Feature.make(Tool, {
              setup: Effect.succeed({
                session: Effect.gen(function* () {
                  yield* Effect.acquireRelease(during("set-up"), () => during("teardown"))
                  return { n: 1 }
                })
              })
            })
            const env = yield* Environment.make({
              id: "env",
              images: ["base"],
              pool: 1,
              keepaliveInterval: 1000,
              proactiveSessionSetup: false,
              features: [changes]
            })
            const clock = yield* Effect.forkChild(TestClock.adjust(1000), { startImmediately: true })
            for (let i = 0; i < turns; i++) yield* Effect.yieldNow
            yield* env.withSession({}, body)
            yield* Fiber.join(clock)
            assert.deepStrictEqual(overlaps, [], `MaxOpsBeforeYield ${maxOps}, after turn ${turns}`)
          })
          yield* scenario.pipe(
            Effect.scoped,
            Effect.provideService(References.MaxOpsBeforeYield, maxOps),
            Effect.provide(TestDriver.layer)
          )
        }
      }
    }),
  timeout
)

it.effect("F28 I6 a start that is interrupted at any turn is told from its beginning to its end, or not at all", () =>
  Effect.gen(function* () {
    for (const maxOps of [3, 5, 8, 13, 21, 2048]) {
      for (let turns = 0; turns < 300; turns++) {
        const [events, exit] = yield* Effect.gen(function* () {
          const recorder = yield* EventRecorder
          const starting = yield* Environment.make({ images: ["base"], pool: 1, keepaliveInterval: 0 }).pipe(
            Effect.scoped,
            Effect.provideService(References.MaxOpsBeforeYield, maxOps),
            Effect.forkChild({ startImmediately: true })
          )
          for (let i = 0; i < turns; i++) yield* Effect.yieldNow
          yield* Fiber.interrupt(starting)
          return [yield* recorder.events, yield* Fiber.await(starting)] as const
        }).pipe(Effect.provide(Layer.mergeAll(TestDriver.layer, EventRecorder.layer)))
        const count = (tag: string) => events.filter((event) => event._tag === tag).length
        const told = [count("EnvironmentStarting"), count("EnvironmentStarted"), count("EnvironmentShutDown")]
        assert.include([0, 1], told[0])
        assert.deepStrictEqual(told, [told[0], told[0], told[0]], `MaxOpsBeforeYield ${maxOps}, turn ${turns}`)
        if (Exit.isSuccess(exit)) break
      }
    }
  })
)
