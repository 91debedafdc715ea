/**
 * What a dashboard costs the sandboxes: session cycles a second on a driver that does nothing, with no browser, with one
 * and with 300 that follow. The browsers are connections of a process of their own, which reads all that it gets.
 *
 * They alternate, and the median of the paired ratios counts. Prints a table and writes
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

/** An environment with a dashboard of its own. */
const observed = Effect.gen(function* () {
  const context = yield* Layer.build(Layer.fresh(Dashboard.layer({ port: 0 })))
  const environment = yield* Environment.make({ ...options, id: "observed" }).pipe(Effect.provide(context))
  return { environment, url: Context.get(context, Dashboard).url }
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

  yield* Effect.scoped(
    Effect.gen(function* () {
      const { environment } = yield* observed
      const found = yield* pair(rounds, rate(environment, n), rate(yield* counted, n))
      yield* report.compare("cycles/s: dashboard, no browser / a counter", undefined, found, perSecond, "at least")
    })
  )

  // The connections are there for the subject only: those of an idle environment would cost its baseline something, too.
  const { environment, url } = yield* observed
  const alone = rate(environment, n)
  for (const [browsers, limit] of [
    [1, 0.9],
    [300, 0.8]
  ] as const) {
    const watched = Effect.scoped(Effect.andThen(follow(url, browsers), alone))
    const found = yield* pair(rounds, watched, alone)
    yield* report.compare(`cycles/s: ${browsers} browsers / none`, limit, found, perSecond, "at least")
  }

  yield* follow(url, 300)
  yield* rate(environment, 50_000) // the history is full
  const before = yield* heap
  yield* rate(environment, quick ? 50_000 : 400_000)
  // What handlers have still to do is not kept by the dashboard.
  yield* Effect.repeat(environment.stats, {
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
  const [handler] = (yield* environment.stats).handlers
  yield* Console.log(
    `The dashboard handled ${handler?.handled.toLocaleString("en")} events, dropped ${handler?.dropped}`
  )
  yield* report.write("dashboard-results.json", { quick })
})

const at = process.argv.indexOf("--browsers")
if (at < 0) {
  NodeRuntime.runMain(run.pipe(Effect.scoped, Effect.provide(NoopDriver.layer), Effect.provide(NodeServices.layer)))
} else {
  browse(process.argv[at + 1] ?? "", Number(process.argv[at + 2]))
}
