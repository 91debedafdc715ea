/** What it costs to watch: metrics and a journal of every event, and a handler that does not come along. */
import { Environment, EventHandler, EventMetrics } from "@effect-sandbox/core"
import { EventJournal } from "@effect-sandbox/devtools"
import { Effect, FileSystem, Latch, Layer } from "effect"
import { heap, median, pair, type Report, time, times } from "./measure.ts"

const options = { images: ["noop"], keepaliveInterval: 0, pool: 1 } as const

/**
 * Session cycles per second until everything about them is handled: with a journal, until it is in the file. So many that
 * the end of the handling, when nothing else goes on any more, is little of it.
 */
const throughput = (cycles: number, environment: Environment.Environment<unknown>, drained: Effect.Effect<void>) =>
  Effect.map(
    time(Effect.andThen(times(cycles, environment.withSession({}, Effect.void)), drained)),
    (total) => cycles / total
  )

/**
 * Seconds that a caller waits for a session cycle, in the median, while there is time between bursts of them in which
 * what they told is handled: what a program sees that does not keep its thread busy with nothing but sessions. Without
 * handlers there is as much time, since whatever goes on after a pause takes longer at first.
 */
const waited = (environment: Environment.Environment<unknown>, drained: Effect.Effect<void>) =>
  Effect.gen(function* () {
    const bursts = 200
    const size = 10
    const waits: Array<number> = []
    for (let burst = 0; burst < bursts; burst++) {
      waits.push(yield* time(times(size, environment.withSession({}, Effect.void))))
      yield* drained
      yield* Effect.sleep(1)
    }
    return median(waits) / size
  })

const perSecond = (value: number): string => `${value.toFixed(0)}/s`

/** At least three quarters of the cycles per second that there are without. */
export const measure = Effect.fnUntraced(function* (report: Report, rounds: number) {
  const cycles = rounds < 10 ? 20_000 : 50_000
  // A busy machine changes its pace within a second, so there are many pairs that are close together.
  const pairs = 3 * rounds
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "effect-sandbox-bench-" })
  const bare = yield* Environment.make({ ...options, id: "unobserved" })
  const journal = (name: string) =>
    EventJournal.layer({ file: `${directory}/${name}.jsonl`, maxBytes: 200_000_000, maxFiles: 2, capacity: 500_000 })

  const compare = Effect.fnUntraced(function* <R>(
    name: string,
    handlers: Layer.Layer<EventHandler.EventHub, unknown, R>
  ) {
    const context = yield* Layer.build(Layer.fresh(handlers))
    const { hub, observed } = yield* Effect.all({
      hub: EventHandler.EventHub,
      observed: Environment.make({ ...options, id: "observed" })
    }).pipe(Effect.provide(context))
    yield* report.compare(
      `throughput with ${name} / without`,
      0.75,
      yield* pair(pairs, throughput(cycles, observed, hub.drain), throughput(cycles, bare, Effect.void)),
      perSecond,
      "at least"
    )
    yield* report.compare(
      `cycle with ${name}, handled in the background / without`,
      1.25,
      yield* pair(rounds, waited(observed, hub.drain), waited(bare, Effect.void))
    )
    const lost = hub.handlers().reduce((sum, { dropped, failed }) => sum + dropped + failed, 0)
    if (lost === 0) return
    const subject = `${lost.toLocaleString("en")} events`
    yield* report.row({
      name: `lost with ${name}`,
      limit: 0,
      direction: "at most",
      ratio: lost,
      subject,
      baseline: "0"
    })
  })
  yield* compare("metrics", EventMetrics.layer)
  yield* compare("a journal", journal("alone"))
  yield* compare("metrics and a journal", Layer.mergeAll(EventMetrics.layer, journal("both")))

  const gate = Latch.makeUnsafe(false)
  const Stuck = EventHandler.layer({ name: "stuck", handle: () => gate.await })
  const context = yield* Layer.build(Layer.fresh(Stuck))
  const { hub, stuck } = yield* Effect.all({
    hub: EventHandler.EventHub,
    stuck: Environment.make({ ...options, id: "stuck" })
  }).pipe(Effect.provide(context))
  const cycle = stuck.withSession({}, Effect.void)
  yield* times(20_000, cycle) // more events than its queue holds
  const full = yield* heap
  yield* times(100_000, cycle)
  const later = yield* heap
  const [stats] = hub.handlers()
  yield* gate.open
  if (stats === undefined || stats.handled > 0 || stats.dropped === 0) {
    return yield* Effect.die(new Error("the handler was not too slow"))
  }
  yield* report.row({
    name: "heap behind a stuck handler, 100,000 cycles later",
    limit: 1.02,
    direction: "at most",
    ratio: later / full,
    subject: `${(later / 1024 / 1024).toFixed(1)} MiB`,
    baseline: `${(full / 1024 / 1024).toFixed(1)} MiB, ${stats.dropped.toLocaleString("en")} events dropped`
  })
})
