/**
 * The cost of the library itself, as ratios against a baseline of the same run: subject and baseline alternate, and
 * the median of the paired ratios counts. Prints a table and writes `bench/results.json`.
 *
 * `pnpm bench [--quick]`
 */
import { Environment, EventHandler, Feature } from "@effect-sandbox/core"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import {
  Clock,
  Console,
  Context,
  Effect,
  Exit,
  Fiber,
  FileSystem,
  Layer,
  Path,
  Pool,
  Schema,
  Scope,
  Semaphore,
  Stdio
} from "effect"
import * as NoopDriver from "./NoopDriver.ts"

interface Row {
  readonly name: string
  readonly ratio: number
  readonly limit: number
  /** Whether the ratio should be at most the limit, or at least. */
  readonly direction: "at most" | "at least"
  readonly subject: string
  readonly baseline: string
}

const isQuick = Effect.map(
  Effect.flatMap(Stdio.Stdio, (stdio) => stdio.args),
  (args) => args.includes("--quick")
)

const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** Seconds that an effect takes. */
const time = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const started = yield* Clock.monotonicTimeNanos
    yield* effect
    return Number((yield* Clock.monotonicTimeNanos) - started) / 1e9
  })

const times = <A, E, R>(n: number, effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    let i = 0
    return Effect.whileLoop({ while: () => i++ < n, body: () => effect, step: () => {} })
  })

/** Medians of the subject, the baseline, and their paired ratios. */
const pair = <E, R, E2, R2>(
  rounds: number,
  subject: Effect.Effect<number, E, R>,
  baseline: Effect.Effect<number, E2, R2>
) =>
  Effect.gen(function* () {
    yield* subject
    yield* baseline
    const samples: Array<{ readonly subject: number; readonly baseline: number }> = []
    for (let round = 0; round < rounds; round++) {
      if (round % 2 === 0) {
        const first = yield* subject
        samples.push({ subject: first, baseline: yield* baseline })
      } else {
        const first = yield* baseline
        samples.push({ baseline: first, subject: yield* subject })
      }
    }
    return {
      subject: median(samples.map((sample) => sample.subject)),
      baseline: median(samples.map((sample) => sample.baseline)),
      ratio: median(samples.map((sample) => sample.subject / sample.baseline))
    }
  })

const micros = (seconds: number): string => `${(seconds * 1e6).toFixed(2)} µs`
const seconds = (value: number): string => `${value.toFixed(3)} s`

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

const heap = Effect.sync(() => {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
})

const run = Effect.gen(function* () {
  const quick = yield* isQuick
  const rounds = quick ? 5 : 15
  const n = quick ? 2_000 : 10_000
  const rows: Array<Row> = []
  const report = (row: Row) => {
    rows.push(row)
    const isGood = row.direction === "at most" ? row.ratio <= row.limit : row.ratio >= row.limit
    return Console.log(
      `${isGood ? "ok  " : "MISS"} ${row.name.padEnd(52)} ${row.ratio.toFixed(2).padStart(8)} (${row.direction} ${row.limit})  ${row.subject} / ${row.baseline}`
    )
  }
  const compare = (
    name: string,
    limit: number,
    result: { readonly subject: number; readonly baseline: number; readonly ratio: number },
    format: (value: number) => string = micros,
    direction: Row["direction"] = "at most"
  ) =>
    report({
      name,
      limit,
      direction,
      ratio: result.ratio,
      subject: format(result.subject),
      baseline: format(result.baseline)
    })

  const bare = yield* Environment.make({ ...options, id: "bare" })
  yield* compare("session cycle / scoped Pool.get", 15, yield* pair(rounds, cycle(bare, n), poolCycle(n)))

  const featured = yield* Environment.make({
    ...options,
    id: "featured",
    features: [scopedFeature(First), scopedFeature(Second)]
  })
  yield* compare(
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
  const observed = yield* Environment.make({ ...options, id: "observed" }).pipe(Effect.provide(observedContext))
  yield* compare("session cycle, one handler / without", 1.5, yield* pair(rounds, cycle(observed, n), cycle(bare, n)))
  if (handled === 0) return yield* Effect.die(new Error("the handler saw nothing"))

  const work = Effect.sleep(1)
  const jobs = quick ? 1_000 : 4_000
  const eight = yield* Environment.make({ ...options, id: "eight", pool: 8 })
  const semaphore = yield* Semaphore.make(8)
  const inParallel = <E, R>(one: Effect.Effect<unknown, E, R>) =>
    Effect.map(
      time(Effect.forEach(Array.from({ length: jobs }), () => one, { concurrency: 64, discard: true })),
      (total) => jobs / total
    )
  yield* compare(
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
  yield* compare("session cycle, 10,000 ready / 10 ready", 1.2, yield* pair(rounds, cycle(large, n), cycle(small, n)))
  yield* report({
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
  yield* compare(
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
  yield* report({
    name: `heap after ${cycles.toLocaleString("en")} cycles / before`,
    limit: 1.02,
    direction: "at most",
    ratio: (heapBefore + grown) / heapBefore,
    subject: `${((heapBefore + grown) / 1024 / 1024).toFixed(1)} MiB`,
    baseline: `${(heapBefore / 1024 / 1024).toFixed(1)} MiB`
  })

  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const file = path.join(import.meta.dirname, "results.json")
  const json = Schema.encodeSync(Schema.fromJsonString(Schema.Unknown))({ node: process.version, quick, rows })
  yield* fs.writeFileString(file, `${json}\n`)
  yield* Console.log(`Written to ${path.relative(process.cwd(), file)}`)
})

NodeRuntime.runMain(run.pipe(Effect.scoped, Effect.provide(NoopDriver.layer), Effect.provide(NodeServices.layer)))
