/**
 * What a dashboard costs the sandboxes: session cycles a second on a driver that does nothing, with no browser, with one
 * and with 300 that follow. The browsers are connections of a process of their own, which reads all that it gets.
 *
 * The environments alternate, and the median of the paired ratios counts. Prints a table and writes
 * `bench/dashboard-results.json`.
 *
 * `node --expose-gc bench/dashboard.ts [--quick]`
 */
import { Environment, EventHandler } from "@effect-sandbox/core"
import { Dashboard } from "@effect-sandbox/devtools"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Context, Effect, Layer, Schedule } from "effect"
import { fork } from "node:child_process"
import { get } from "node:http"
import { heap, isQuick, pair, Report, time, times } from "./measure.ts"
import * as NoopDriver from "./NoopDriver.ts"

const options = { images: ["noop"], keepaliveInterval: 0, pool: 1 } as const

/** Cycles a second, over so long that some ticks fall into it. */
const rate = (environment: Environment.Environment<unknown>, n: number) =>
  Effect.map(time(times(n, environment.withSession({}, Effect.void))), (seconds) => n / seconds)

/** An environment with a dashboard of its own, and so many browsers. */
const observed = (browsers: number) =>
  Effect.gen(function* () {
    const context = yield* Layer.build(Layer.fresh(Dashboard.layer({ port: 0 })))
    const environment = yield* Environment.make({ ...options, id: `${browsers} browsers` }).pipe(
      Effect.provide(context)
    )
    if (browsers > 0) yield* follow(Context.get(context, Dashboard).url, browsers)
    return environment
  })

/** Opens the connections in a process of its own, and waits until all of them got something. */
const follow = (url: string, browsers: number) =>
  Effect.acquireRelease(
    Effect.sync(() => fork(import.meta.filename, ["--browsers", url, String(browsers)], { stdio: "inherit" })),
    (child) => Effect.sync(() => child.kill())
  ).pipe(
    Effect.flatMap((child) =>
      Effect.callback<void>((resume) => {
        child.once("message", () => resume(Effect.void))
      })
    )
  )

const browse = (url: string, browsers: number): void => {
  let waiting = browsers
  for (let i = 0; i < browsers; i++) {
    get(`${url}api/events`, { agent: false }, (response) => {
      response.once("data", () => {
        if (--waiting === 0) process.send?.("ready")
      })
      response.resume()
    })
  }
}

/** A handler that has as much of its own to do as a counter. */
const counted = Effect.gen(function* () {
  let handled = 0
  const counter = EventHandler.layer({ name: "count", handle: () => Effect.sync(() => handled++) })
  const context = yield* Layer.build(Layer.fresh(counter))
  return yield* Environment.make({ ...options, id: "counted" }).pipe(Effect.provide(context))
})

const perSecond = (value: number): string => `${Math.round(value).toLocaleString("en")}/s`

const run = Effect.gen(function* () {
  const quick = yield* isQuick
  const rounds = quick ? 3 : 9
  const n = quick ? 40_000 : 100_000
  const report = new Report()
  const inScope = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.scoped(effect)

  yield* inScope(
    Effect.gen(function* () {
      const found = yield* pair(rounds, rate(yield* observed(0), n), rate(yield* counted, n))
      yield* report.compare(
        "cycles/s: dashboard, no browser / counting handler",
        undefined,
        found,
        perSecond,
        "at least"
      )
    })
  )
  for (const [browsers, limit] of [
    [1, 0.9],
    [300, 0.8]
  ] as const) {
    yield* inScope(
      Effect.gen(function* () {
        const subject = yield* observed(browsers)
        const found = yield* pair(rounds, rate(subject, n), rate(yield* observed(0), n))
        yield* report.compare(`cycles/s: ${browsers} browsers / none`, limit, found, perSecond, "at least")
      })
    )
  }

  yield* inScope(
    Effect.gen(function* () {
      const subject = yield* observed(300)
      yield* rate(subject, 50_000) // the history is full
      const before = yield* heap
      yield* rate(subject, quick ? 50_000 : 400_000)
      // What handlers have still to do is not kept by the dashboard.
      yield* Effect.repeat(subject.stats, {
        schedule: Schedule.spaced("50 millis"),
        until: ({ handlers }) => handlers.every((handler) => handler.queued === 0)
      })
      const after = yield* heap
      yield* report.row({
        name: "heap after many cycles with 300 browsers / before",
        limit: 1.1,
        direction: "at most",
        ratio: after / before,
        subject: `${(after / 2 ** 20).toFixed(1)} MiB`,
        baseline: `${(before / 2 ** 20).toFixed(1)} MiB`
      })
      const [handler] = (yield* subject.stats).handlers
      yield* Console.log(
        `The dashboard handled ${handler?.handled.toLocaleString("en")} events, dropped ${handler?.dropped}`
      )
    })
  )
  yield* report.write("dashboard-results.json", { quick })
})

const at = process.argv.indexOf("--browsers")
if (at < 0) {
  NodeRuntime.runMain(run.pipe(Effect.provide(NoopDriver.layer), Effect.provide(NodeServices.layer)))
} else {
  browse(process.argv[at + 1] ?? "", Number(process.argv[at + 2]))
}
