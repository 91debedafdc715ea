/**
 * The cost of the library itself, as ratios against a baseline of the same run: subject and baseline alternate, and
 * the median of the paired ratios counts. Prints a table and writes `bench/results.json`.
 *
 * `pnpm bench [--quick]`
 */
import { Environment, EventHandler, Feature } from "@effect-sandbox/core"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Context, Effect, Exit, Fiber, Layer, Pool, Scope, Semaphore } from "effect"
import { heap, isQuick, pair, Report, seconds, time, times } from "./measure.ts"
import * as NoopDriver from "./NoopDriver.ts"
import * as observed from "./observed.ts"

class First extends Context.Service<First, { readonly n: number }>()("bench/First") {}
class Second extends Context.Service<Second, { readonly n: number }>()("bench/Second") {}

const scopedFeature = <Id>(key: Context.Key<Id, { readonly n: number }>) =>
  Feature.make(key, {
    setup: Effect.succeed({
      session: Effect.acquireRelease(Effect.succeed({ n: 1 }), () => Effect.void)
    })
  })

const options = { images: ["noop"], keepaliveInterval: 0, pool: 1 } as const

/** Seconds per session cycle: acquire, start, end. */
const cycle = (environment: Environment.Environment<unknown>, n: number) =>
  Effect.map(time(times(n, environment.withSession({}, Effect.void))), (total) => total / n)

const poolCycle = (n: number) =>
  Effect.gen(function* () {
    const pool = yield* Pool.make({ acquire: Effect.succeed(1), size: 1 })
    return (yield* time(times(n, Effect.scoped(Pool.get(pool))))) / n
  }).pipe(Effect.scoped)

const run = Effect.gen(function* () {
  const quick = yield* isQuick
  const rounds = quick ? 5 : 15
  const n = quick ? 2_000 : 10_000
  const report = new Report()

  const bare = yield* Environment.make({ ...options, id: "bare" })
  yield* report.compare("session cycle / scoped Pool.get", 15, yield* pair(rounds, cycle(bare, n), poolCycle(n)))

  const featured = yield* Environment.make({
    ...options,
    id: "featured",
    features: [scopedFeature(First), scopedFeature(Second)]
  })
  yield* report.compare(
    "session cycle, two features / scoped Pool.get",
    35,
    yield* pair(rounds, cycle(featured, n), poolCycle(n))
  )

  let handled = 0
  const Handler = EventHandler.layer({
    name: "count",
    handle: () => Effect.sync(() => handled++),
    capacity: "unbounded"
  })
  const observedContext = yield* Layer.build(Handler)
  const counted = yield* Environment.make({ ...options, id: "observed" }).pipe(Effect.provide(observedContext))
  yield* report.compare(
    "session cycle, one handler / without",
    1.5,
    yield* pair(rounds, cycle(counted, n), cycle(bare, n))
  )
  if (handled === 0) return yield* Effect.die(new Error("the handler saw nothing"))

  yield* Effect.scoped(observed.measure(report, quick ? 9 : 31))

  const work = Effect.sleep(1)
  const jobs = quick ? 1_000 : 4_000
  const eight = yield* Environment.make({ ...options, id: "eight", pool: 8 })
  const semaphore = yield* Semaphore.make(8)
  const inParallel = <E, R>(one: Effect.Effect<unknown, E, R>) =>
    Effect.map(
      time(Effect.forEach(Array.from({ length: jobs }), () => one, { concurrency: 64, discard: true })),
      (total) => jobs / total
    )
  yield* report.compare(
    "throughput of 64 fibers on 8 sandboxes / Semaphore(8)",
    0.9,
    yield* pair(quick ? 3 : 7, inParallel(eight.withSession({}, work)), inParallel(semaphore.withPermit(work))),
    (value) => `${value.toFixed(0)}/s`,
    "at least"
  )

  const small = yield* Environment.make({ ...options, id: "small", pool: 10, concurrency: 10_000 })
  const before = yield* heap
  const large = yield* Environment.make({ ...options, id: "large", pool: 10_000, concurrency: 10_000 })
  const perSandbox = ((yield* heap) - before) / 10_000
  yield* report.compare(
    "session cycle, 10,000 ready / 10 ready",
    1.2,
    yield* pair(rounds, cycle(large, n), cycle(small, n))
  )
  yield* report.row({
    name: "KiB of heap per idle sandbox",
    limit: 10,
    direction: "at most",
    ratio: perSandbox / 1024,
    subject: `${perSandbox.toFixed(0)} B`,
    baseline: "1 KiB"
  })

  const start = Effect.gen(function* () {
    const scope = yield* Scope.make()
    const total = yield* time(
      Scope.provide(Environment.make({ ...options, id: "start", pool: 10_000, concurrency: 10_000 }), scope)
    )
    yield* Scope.close(scope, Exit.void)
    return total
  })
  const fibers = time(
    Effect.gen(function* () {
      const all: Array<Fiber.Fiber<void>> = []
      for (let i = 0; i < 10_000; i++)
        all.push(yield* Effect.forkChild(Effect.scoped(Effect.addFinalizer(() => Effect.void))))
      yield* Fiber.joinAll(all)
    })
  )
  yield* report.compare(
    "start of 10,000 sandboxes / 10,000 scoped fibers",
    10,
    yield* pair(quick ? 3 : 7, start, fibers),
    seconds
  )

  const cycles = quick ? 100_000 : 1_000_000
  yield* cycle(bare, 50_000)
  const heapBefore = yield* heap
  yield* cycle(bare, cycles)
  const grown = (yield* heap) - heapBefore
  yield* report.row({
    name: `heap after ${cycles.toLocaleString("en")} cycles / before`,
    limit: 1.02,
    direction: "at most",
    ratio: (heapBefore + grown) / heapBefore,
    subject: `${((heapBefore + grown) / 1024 / 1024).toFixed(1)} MiB`,
    baseline: `${(heapBefore / 1024 / 1024).toFixed(1)} MiB`
  })

  yield* report.write("results.json", { quick })
})

NodeRuntime.runMain(run.pipe(Effect.scoped, Effect.provide(NoopDriver.layer), Effect.provide(NodeServices.layer)))
