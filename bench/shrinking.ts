/**
 * How small do failing programs get? Plants bugs in a feature, lets random programs find them, and makes what fails
 * smaller in three ways: with Effect's `Arbitrary`, with fast-check's commands, and as `Lifecycle.check` does it. See
 * docs/decisions/0012.
 *
 *     node bench/shrinking.ts [--seeds N]
 */
import { Feature } from "@effect-sandbox/core"
import { Lifecycle } from "@effect-sandbox/testing"
import { NodeRuntime } from "@effect/platform-node"
import { Arbitrary, Console, Context, Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
// The parts that `Lifecycle.check` is made of, to compare them.
import { program } from "../packages/testing/src/internal/lifecycle/arbitrary.ts"
import { shrink } from "../packages/testing/src/internal/lifecycle/shrink.ts"

class Tool extends Context.Service<Tool, { readonly use: Effect.Effect<void> }>()("bench/Tool") {}

const leak = Effect.asVoid(Effect.forkDetach(Effect.never))

/** Features that leave a fiber behind, each in another situation. */
const bugs: { readonly [name: string]: () => Feature.Feature<Tool, never, never> } = {
  "the second session of a sandbox": () =>
    Feature.make(Tool, {
      setup: Effect.sync(() => {
        let sessions = 0
        const session = Effect.suspend(() => (++sessions === 2 ? leak : Effect.void))
        return { session: Effect.as(session, Tool.of({ use: Effect.void })) }
      })
    }),
  "the session after one in which it was used": () =>
    Feature.make(Tool, {
      setup: Effect.sync(() => {
        let isUsed = false
        const use = Effect.sync(() => {
          isUsed = true
        })
        return {
          session: Effect.as(
            Effect.suspend(() => (isUsed ? leak : Effect.void)),
            Tool.of({ use })
          )
        }
      })
    }),
  "used twice in a session": () =>
    Feature.make(Tool, {
      setup: Effect.succeed({
        session: Effect.sync(() => {
          let uses = 0
          return Tool.of({ use: Effect.suspend(() => (++uses === 2 ? leak : Effect.void)) })
        })
      })
    }),
  "a set-up that is interrupted": () =>
    Feature.make(Tool, {
      setup: Effect.as(
        Effect.onInterrupt(Effect.sleep("5 seconds"), () => leak),
        { session: Effect.succeed(Tool.of({ use: Effect.void })) }
      )
    }),
  "used, and then not for ten seconds": () =>
    Feature.make(Tool, {
      setup: Effect.succeed({
        session: Effect.gen(function* () {
          let isUsed = false
          yield* Effect.forkScoped(
            Effect.forever(
              Effect.andThen(
                Effect.sleep("10 seconds"),
                Effect.suspend(() => (isUsed ? leak : Effect.void))
              )
            )
          )
          return Tool.of({
            use: Effect.sync(() => {
              isUsed = true
            })
          })
        })
      })
    }),
  "the third sandbox of an environment": () => {
    let sandboxes = 0
    return Feature.make(Tool, {
      setup: Effect.suspend(() =>
        Effect.as(++sandboxes === 3 ? leak : Effect.void, { session: Effect.succeed(Tool.of({ use: Effect.void })) })
      )
    })
  }
}

const use = Effect.flatMap(Tool, (tool) => tool.use)
const runs = 1000
const maxShrinks = 3000

/** What became of a search. `size` counts the steps, and what the configuration says beyond the least. */
interface Found {
  readonly steps: number
  readonly settings: number
  readonly faults: number
  readonly tries: number
  readonly millis: number
}

const measure = (program: Lifecycle.Program, tries: number, millis: number): Found => ({
  steps: program.steps.length,
  settings: Object.keys(program.configuration).length - 2 + (program.configuration.images.length - 1),
  faults: program.faults.length,
  tries,
  millis: Math.round(millis)
})

type Bug = () => Feature.Feature<Tool, never, never>

const breaks = (bug: Bug) => (program: Lifecycle.Program) =>
  Effect.map(Lifecycle.run(program, { features: [bug()], use }), ({ found }) => found !== undefined)

/** Effect's `Arbitrary`, which shrinks what it has generated; and what `Lifecycle.check` makes of the same program. */
const byArbitrary = Effect.fnUntraced(function* (bug: Bug, seed: number) {
  const fails = breaks(bug)
  let found = 0
  let tries = 0
  const generated = yield* Arbitrary.checkEffect(
    program({ images: ["alpha", "beta", "gamma"], hasUse: true, faults: true, size: 40 }),
    (candidate) =>
      Effect.map(fails(candidate), (broken) => {
        if (found > 0) tries++
        else if (broken) found = performance.now()
        return !broken
      }),
    { runs, seed, size: 40, maxShrinks }
  )
  if (generated._tag !== "Falsified") return { arbitrary: undefined, lifecycle: undefined }
  const arbitrary = measure(generated.shrunkInput, tries, performance.now() - found)
  const began = performance.now()
  const own = yield* shrink(generated.initialInput, fails, maxShrinks)
  return { arbitrary, lifecycle: measure(own.program, own.tries, performance.now() - began) }
})

/** A command of fast-check's that only says which step it is: the whole program is run when all of them have. */
const command = (step: Lifecycle.Step): fc.Command<object, Array<Lifecycle.Step>> => ({
  check: () => true,
  run: (_model, steps) => {
    steps.push(step)
  },
  toString: () => JSON.stringify(step)
})

const who = fc.integer({ min: 0, max: 5 })
const image = fc.constantFrom("alpha", "beta", "gamma")
const turns = fc.option(fc.nat({ max: 60 }), { nil: undefined })
const withoutUndefined = <A extends object>(record: A): A =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as A // fewer optional fields

const stepOf = (fields: { readonly [name: string]: fc.Arbitrary<unknown> }, tag: string) =>
  fc
    .record({ _tag: fc.constant(tag), ...fields })
    .map((record) => command(Schema.decodeUnknownSync(Lifecycle.Step)(withoutUndefined(record))))

const commands = fc.commands(
  [
    stepOf({ who, turns, image }, "Open"),
    stepOf({ who, turns }, "Finish"),
    stepOf({ who, turns }, "Fail"),
    stepOf({ who, turns }, "Die"),
    stepOf({ who, turns }, "FailState"),
    stepOf({ who, turns }, "Use"),
    stepOf({ who, turns }, "Interrupt"),
    stepOf({ millis: fc.integer({ min: 1, max: 40_000 }) }, "Advance")
  ],
  { maxCommands: 40 }
)

const pools = fc.record({ min: fc.nat({ max: 2 }), extra: fc.nat({ max: 2 }) })
const optional = <A>(arbitrary: fc.Arbitrary<A>) => fc.option(arbitrary, { nil: undefined })
const configuration = fc
  .record({
    alpha: pools,
    beta: optional(pools),
    gamma: optional(pools),
    proactiveSessionSetup: optional(fc.boolean()),
    maxSessions: optional(fc.integer({ min: 1, max: 4 })),
    sessionLifetime: optional(fc.integer({ min: 1000, max: 90_000 })),
    idleTimeToLive: optional(fc.integer({ min: 1000, max: 90_000 })),
    keepaliveInterval: optional(fc.integer({ min: 1000, max: 20_000 })),
    acquireTimeout: optional(fc.integer({ min: 0, max: 60_000 })),
    maxOpsBeforeYield: optional(fc.integer({ min: 3, max: 64 })),
    shuffled: optional(fc.boolean()),
    seed: fc.nat({ max: 1_000_000 })
  })
  .map(({ alpha, beta, gamma, ...rest }) => ({
    ...withoutUndefined(rest),
    images: Object.entries({ alpha, beta, gamma }).flatMap(([id, pool]) =>
      pool === undefined ? [] : [{ id, min: pool.min, max: Math.max(1, pool.min + pool.extra) }]
    )
  }))

/** fast-check's commands: arrays that know which of them were executed, and shrink by that. */
const byFastCheck = Effect.fnUntraced(function* (bug: Bug, seed: number) {
  const fails = breaks(bug)
  let found = 0
  let tries = 0
  let last: Lifecycle.Program | undefined
  const property = fc.asyncProperty(configuration, commands, async (chosen, planned) => {
    const steps: Array<Lifecycle.Step> = []
    fc.modelRun(() => ({ model: {}, real: steps }), planned)
    const candidate = Schema.decodeUnknownSync(Lifecycle.Program)({ configuration: chosen, faults: [], steps })
    const broken = await Effect.runPromise(fails(candidate).pipe(Effect.provide(TestClock.layer())))
    if (found > 0) tries++
    else if (broken) found = performance.now()
    if (broken) last = candidate
    return !broken && (found === 0 || tries <= maxShrinks)
  })
  const details = yield* Effect.promise(() => fc.check(property, { seed, numRuns: runs }))
  return details.failed && last !== undefined ? measure(last, tries, performance.now() - found) : undefined
})

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN

const main = Effect.gen(function* () {
  const seeds = Array.from({ length: Number(process.argv[process.argv.indexOf("--seeds") + 1] || 5) }, (_, i) => i + 1)
  yield* Console.log(`medians of ${seeds.length} seeds: steps, settings and faults of the smallest program; tries; ms`)
  for (const [name, bug] of Object.entries(bugs)) {
    const rows: { readonly [way: string]: Array<Found> } = { Arbitrary: [], "fast-check": [], Lifecycle: [] }
    for (const seed of seeds) {
      const { arbitrary, lifecycle } = yield* byArbitrary(bug, seed)
      if (arbitrary !== undefined) rows["Arbitrary"]?.push(arbitrary)
      if (lifecycle !== undefined) rows["Lifecycle"]?.push(lifecycle)
      const fastCheck = yield* byFastCheck(bug, seed)
      if (fastCheck !== undefined) rows["fast-check"]?.push(fastCheck)
    }
    yield* Console.log(name)
    for (const [way, found] of Object.entries(rows)) {
      const of = (key: keyof Found) => String(median(found.map((one) => one[key]))).padStart(6)
      yield* Console.log(
        `  ${way.padEnd(11)} found ${found.length}/${seeds.length}  steps${of("steps")}  settings${of("settings")}  faults${of("faults")}  tries${of("tries")}  ms${of("millis")}`
      )
    }
  }
})

NodeRuntime.runMain(main.pipe(Effect.provide(TestClock.layer()), Effect.scoped))
