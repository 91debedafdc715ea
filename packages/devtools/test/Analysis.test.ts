import {
  type Environment,
  EnvironmentId,
  type EnvironmentControl,
  EventHandler,
  EventMetrics,
  FeatureId,
  ImageId,
  SandboxId,
  type SandboxEvent,
  type SandboxStatus,
  SessionId
} from "@effect-sandbox/core"
import { Analysis } from "@effect-sandbox/devtools"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { moved } from "./support/runs.ts"
import * as Sample from "./support/sampleRun.ts"

type Event = SandboxEvent.SandboxEvent

const analyse = (events: ReadonlyArray<Event>, options?: Analysis.Options, now?: number): Analysis.Report => {
  const analysis = Analysis.make(options)
  for (const event of events) analysis.add(event)
  return analysis.report(now)
}

const imageOf = (report: Analysis.Report): Analysis.ImageReport => {
  const [image] = report.images
  if (image === undefined) throw new Error("the report has no image")
  return image
}

const environmentId = EnvironmentId.make("lab")
const image = ImageId.make("base")
const sandboxId = SandboxId.make("lab/base:0:0")
const sessionId = SessionId.make("s1")
const featureId = FeatureId.make("tool")
const error = { tag: "Oops", message: "it broke", isStateError: false }

const at = (timestamp: number) => ({ environmentId, timestamp })
const starting = (timestamp: number, min = 1, max: number | undefined = 2): Event => ({
  _tag: "EnvironmentStarting",
  ...at(timestamp),
  pools: [{ image, min, max }]
})
const started = (timestamp: number): Event => ({ _tag: "EnvironmentStarted", ...at(timestamp), durationMillis: 0 })
const shutDown = (timestamp: number): Event => ({
  _tag: "EnvironmentShutDown",
  ...at(timestamp),
  durationMillis: 0,
  lifetimeMillis: 0
})
const move = (
  timestamp: number,
  from: SandboxStatus.SandboxStatus,
  to: SandboxStatus.SandboxStatus,
  id: string = sandboxId,
  spentMillis = 0
): Event => ({
  _tag: "SandboxStatusChanged",
  ...at(timestamp),
  sandboxId: SandboxId.make(id),
  image,
  from,
  to,
  spentMillis
})
const activity = (timestamp: number, name: string, durationMillis: number, message?: string): Event => ({
  _tag: "SandboxActivity",
  ...at(timestamp),
  sandboxId,
  image,
  sessionId,
  name,
  durationMillis,
  error: message === undefined ? undefined : { ...error, message }
})
const sessionStarted = (timestamp: number, waitedMillis = 0, id: string = sessionId): Event => ({
  _tag: "SessionStarted",
  ...at(timestamp),
  sandboxId,
  image,
  sessionId: SessionId.make(id),
  waitedMillis,
  durationMillis: 0
})
const sessionEnded = (timestamp: number, lifetimeMillis = 0, id: string = sessionId): Event => ({
  _tag: "SessionEnded",
  ...at(timestamp),
  sandboxId,
  image,
  sessionId: SessionId.make(id),
  durationMillis: 0,
  lifetimeMillis
})

/** One sandbox comes up, has a session from 200 to 600, and goes. */
const life: ReadonlyArray<Event> = [
  starting(0),
  started(100),
  move(0, "Created", "SettingUp"),
  move(100, "SettingUp", "Ready"),
  move(200, "Ready", "Acquired"),
  move(200, "Acquired", "SettingUp"),
  move(200, "SettingUp", "InSession"),
  sessionStarted(200),
  activity(400, "work", 150),
  move(600, "InSession", "ExitingSession"),
  sessionEnded(600, 400),
  move(700, "ExitingSession", "Ready"),
  move(900, "Ready", "ShuttingDown"),
  move(1000, "ShuttingDown", "Offline"),
  shutDown(1000)
]

describe("over time", () => {
  it("a report without events says so", () => {
    const report = analyse([])
    assert.isUndefined(report.span)
    assert.deepStrictEqual(report.images, [])
  })

  it("tells the time in each status, and the utilisation by bucket", () => {
    const report = analyse(life, { buckets: 10 })
    const { peak, series, statusMillis, utilisation } = imageOf(report)
    assert.deepStrictEqual(statusMillis, {
      Created: 0,
      SettingUp: 100,
      Ready: 300,
      Acquired: 0,
      InSession: 400,
      ExitingSession: 100,
      ShuttingDown: 100,
      Offline: 0
    })
    assert.strictEqual(utilisation, 0.4)
    assert.deepStrictEqual(peak, { live: 1, inUse: 1 })
    assert.strictEqual(report.bucketMillis, 200)
    assert.deepStrictEqual(
      series.map(({ at, inSession, ready, settingUp }) => [at, settingUp, ready, inSession]),
      [
        [0, 0.5, 0.5, 0],
        [200, 0, 0, 1],
        [400, 0, 0, 1],
        [600, 0, 0.5, 0],
        [800, 0, 0.5, 0]
      ]
    )
  })

  it("has never more buckets than it may, however long it takes, and their sums stay", () => {
    const analysis = Analysis.make({ buckets: 10 })
    for (const event of life.slice(0, 4)) analysis.add(event)
    for (let day = 1; day <= 400; day++) analysis.add(activity(day * 86_400_000, "work", 1))
    const { images, span } = analysis.report()
    const [only] = images
    assert.isAtMost(only?.series.length ?? Infinity, 10)
    const sum = only?.series.reduce((total, bucket) => total + bucket.ready, 0) ?? 0
    assert.isAbove(sum / (only?.series.length ?? 0), 0.999999)
    assert.deepStrictEqual(span, { from: 0, until: 400 * 86_400_000 })
  })

  it("what has not ended lasts until now", () => {
    const report = analyse(life.slice(0, 8), {}, 1200)
    assert.strictEqual(imageOf(report).statusMillis.InSession, 1000)
    assert.strictEqual(imageOf(report).sessions.running, 1)
    assert.deepStrictEqual(report.span, { from: 0, until: 1200 })
  })

  it("a report does not change what comes after it", () => {
    const analysis = Analysis.make()
    for (const [index, event] of life.entries()) {
      analysis.add(event)
      if (index % 3 === 0) analysis.report()
    }
    assert.deepStrictEqual(analysis.report(), analyse(life))
  })

  it("a journal that begins in the middle knows how long the present status has lasted, within its span", () => {
    const report = analyse([activity(500, "work", 1), move(600, "InSession", "ExitingSession", sandboxId, 400)])
    assert.strictEqual(imageOf(report).statusMillis.InSession, 100)
    assert.strictEqual(report.unknownStarts, 1)
    assert.strictEqual(report.contradictions.total, 0)
  })
})

describe("leaks", () => {
  const setUp = (timestamp: number): Event => ({
    _tag: "FeatureSetUp",
    ...at(timestamp),
    sandboxId,
    image,
    featureId,
    durationMillis: 0
  })

  it("what is left when the environment has shut down is a leak", () => {
    const report = analyse([...life.slice(0, 8), setUp(250), shutDown(1000)])
    assert.deepStrictEqual(
      report.leaks.list.map(({ description }) => description),
      [
        "sandbox lab/base:0:0 was InSession when its environment had shut down",
        "session s1 had not ended when its environment had shut down",
        "feature tool of lab/base:0:0 was not torn down when its environment had shut down"
      ]
    )
    assert.strictEqual(report.leaks.leaked, 3)
    assert.deepStrictEqual(report.open, { environments: 0, sandboxes: 0, sessions: 0, features: 0 })
    // It counts as live no longer: nothing more will be heard of it.
    assert.strictEqual(imageOf(analyse([...life.slice(0, 8), shutDown(1000)], {}, 5000)).statusMillis.InSession, 800)
  })

  it("what lives while the environment lives is open, and no leak", () => {
    const report = analyse([...life.slice(0, 8), setUp(250)])
    assert.deepStrictEqual(report.leaks, { leaked: 0, abandoned: 0, notTakenDown: 0, list: [] })
    assert.deepStrictEqual(report.open, { environments: 1, sandboxes: 1, sessions: 1, features: 1 })
  })

  it("what ends after the shutdown was late, and is no leak", () => {
    const late = life.filter(({ _tag }) => _tag !== "EnvironmentShutDown")
    const report = analyse([...late.slice(0, 12), shutDown(800), ...late.slice(12)])
    assert.strictEqual(report.leaks.leaked, 0)
    assert.strictEqual(report.contradictions.total, 0)
  })

  it("an environment that starts again without having shut down was abandoned", () => {
    const report = analyse([
      ...life.slice(0, 8),
      starting(5000),
      ...life.slice(1).map((event) => ({ ...event, timestamp: event.timestamp + 5000 }))
    ])
    assert.deepStrictEqual([report.leaks.abandoned, report.leaks.leaked], [2, 0])
    assert.deepInclude(report.environments[0], { starts: 2, shutDowns: 1, abandoned: 1, status: "Offline" })
    // Its sandbox was last seen at 200, and cannot be told from one that has gone then.
    assert.strictEqual(imageOf(report).statusMillis.InSession, 400)
  })

  it("a sandbox that its driver could not take down is told", () => {
    const report = analyse([
      ...life.slice(0, 14),
      {
        _tag: "SandboxShutDown",
        ...at(1000),
        sandboxId,
        image,
        durationMillis: 100,
        lifetimeMillis: 1000,
        reason: "idle",
        error: { ...error, isStateError: true }
      },
      shutDown(1000)
    ])
    assert.strictEqual(report.leaks.notTakenDown, 1)
    assert.strictEqual(report.leaks.leaked, 0)
  })

  it("a chain of statuses that is broken is a contradiction", () => {
    const report = analyse(life.filter((event) => !(event._tag === "SandboxStatusChanged" && event.to === "Acquired")))
    assert.deepStrictEqual(report.contradictions.list, [
      { at: 200, subject: "lab/base:0:0", description: "a move is missing: it was Ready, and left Acquired" }
    ])
  })
})

describe("tables", () => {
  it("tells the slowest activities, and of those that took as long the first", () => {
    const report = analyse(
      [10, 30, 20, 30, 40].map((millis, index) => activity(100 + index, `a${index}`, millis)),
      { slowest: 3 }
    )
    assert.deepStrictEqual(
      report.slowest.map(({ at, durationMillis, name }) => [name, durationMillis, at]),
      [
        ["a4", 40, 64],
        ["a1", 30, 71],
        ["a3", 30, 73]
      ]
    )
  })

  it("what comes after the first rows shares one", () => {
    const analysis = Analysis.make()
    for (let index = 0; index < 700; index++) analysis.add(activity(index, `activity ${index}`, 1, `message ${index}`))
    const report = analysis.report()
    assert.strictEqual(report.activities.length, 501)
    assert.deepInclude(report.activities.find(({ name }) => name === "other")?.duration, { count: 200 })
    assert.strictEqual(report.failures.length, 301)
    assert.deepInclude(report.failures[0], { tag: "other", count: 400 })
  })

  it("errors are told apart by what failed and where, and interruptions are none", () => {
    const interrupted: Event = {
      _tag: "SessionEnded",
      ...at(5),
      sandboxId,
      image,
      sessionId,
      durationMillis: 0,
      lifetimeMillis: 1,
      error: { tag: "Interrupted", message: "", isStateError: false }
    }
    const report = analyse([
      activity(1, "a", 1, "first"),
      activity(3, "a", 1, "second"),
      activity(2, "b", 1, "third"),
      interrupted
    ])
    assert.deepStrictEqual(
      report.failures.map(({ activity, count, firstAt, lastAt, message }) => [
        activity,
        count,
        firstAt,
        lastAt,
        message
      ]),
      [
        ["a", 2, 1, 3, "first"],
        ["b", 1, 2, 2, "third"]
      ]
    )
    assert.strictEqual(imageOf(report).sessions.outcomes.interrupted, 1)
  })

  it("percentiles of many durations are within half a percent", () => {
    const analysis = Analysis.make()
    for (let index = 1; index <= 20_000; index++) analysis.add(activity(index, "work", (index * 7919) % 20_000))
    const [row] = analysis.report().activities
    assert.isFalse(row?.duration.isExact)
    for (const [found, exact] of [
      [row?.duration.p50, 10_000],
      [row?.duration.p90, 18_000],
      [row?.duration.p99, 19_800]
    ] as const) {
      assert.isAtMost(Math.abs((found ?? 0) - exact) / exact, 0.0051)
    }
    assert.deepInclude(row?.duration, { count: 20_000, max: 19_999, min: 0 })
  })

  it("reasons that hold a message are of one kind", () => {
    const ended = (index: number, reason: string): Event => ({
      _tag: "SandboxShutDown",
      ...at(index),
      sandboxId: SandboxId.make(`lab/base:${index}:0`),
      image,
      durationMillis: 0,
      lifetimeMillis: 10,
      reason
    })
    const report = analyse([
      ended(1, "Sandbox lab/base:1:0 broke during ping: gone"),
      ended(2, "Sandbox lab/base:2:0 broke during exec: gone"),
      ended(3, "set-up failed: Sandbox lab/base:3:0 broke during create"),
      ended(4, "Environment lab hands out no sessions: it is ShuttingDown"),
      ended(5, "the environment shuts down"),
      ended(6, "idle")
    ])
    assert.deepStrictEqual(
      imageOf(report).sandboxes.reasons.map(({ count, reason }) => [reason, count]),
      [
        ["broken", 2],
        ["the environment shuts down", 2],
        ["set-up failed", 1],
        ["idle", 1]
      ]
    )
  })
})

describe("was the pool the right size?", () => {
  const verdictOf = (options: Sample.Options) =>
    Effect.map(Sample.run(options), (events) => imageOf(analyse(events)).verdict)

  it.effect("too small, when callers wait for others to end", () =>
    Effect.gen(function* () {
      const verdict = yield* verdictOf({ callers: 12, pool: { min: 3, max: 3 } })
      assert.strictEqual(verdict.fit, "TooSmall")
      assert.isAbove(verdict.waitingShare, 0.6)
      assert.isAbove(verdict.waitingWhileFullShare, 0.9)
      assert.isAtLeast(Math.ceil(verdict.peakWanted), 11)
    })
  )

  it.effect("too few kept, when they wait for sandboxes to come up", () =>
    Effect.gen(function* () {
      const verdict = yield* verdictOf({ tasks: 20, callers: 10, pool: { min: 0, max: 20 }, startMillis: 20_000 })
      assert.strictEqual(verdict.fit, "TooFewKept", verdict.text)
    })
  )

  it.effect("fits, when nobody waits and most are used", () =>
    Effect.gen(function* () {
      const verdict = yield* verdictOf({ callers: 4, pool: { min: 5, max: 8 } })
      assert.strictEqual(verdict.fit, "Fits", verdict.text)
      assert.isBelow(verdict.waitingShare, 0.05)
    })
  )

  it.effect("larger than needed, when most are never used", () =>
    Effect.gen(function* () {
      const verdict = yield* verdictOf({ callers: 2, pool: { min: 8, max: 8 } })
      assert.strictEqual(verdict.fit, "LargerThanNeeded", verdict.text)
      assert.isAbove(verdict.idleShare, 0.6)
    })
  )

  it.effect("unused, when nobody asks", () =>
    Effect.map(verdictOf({ tasks: 0, pool: { min: 2, max: 2 } }), ({ fit }) => assert.strictEqual(fit, "Unused"))
  )

  it.effect("not to be told, when the size is not in the journal", () =>
    Effect.gen(function* () {
      const events = yield* Sample.run({ callers: 12, pool: { min: 3, max: 3 } })
      const { verdict } = imageOf(analyse(events.slice(1)))
      assert.strictEqual(verdict.fit, "Unknown")
    })
  )

  it("rests on figures that can be computed by hand", () => {
    const first: ReadonlyArray<Event> = [
      starting(0, 1, 2),
      move(0, "Created", "SettingUp"),
      move(0, "SettingUp", "Ready"),
      move(0, "Ready", "Acquired"),
      move(0, "Acquired", "SettingUp"),
      move(0, "SettingUp", "InSession"),
      sessionStarted(0)
    ]
    const other = "lab/base:1:0"
    // The second place is filled from 400 on, and ready until it is taken at 500: full from 500 to 900.
    const second: ReadonlyArray<Event> = [
      move(400, "Created", "SettingUp", other),
      move(400, "SettingUp", "Ready", other),
      move(500, "Ready", "Acquired", other),
      move(500, "Acquired", "SettingUp", other),
      move(500, "SettingUp", "InSession", other)
    ]
    // Its set-up takes 100, for which nobody waits for a sandbox: the caller has waited from 600 to 900.
    const third: Event = {
      _tag: "SessionStarted",
      ...at(1000),
      sandboxId,
      image,
      sessionId: SessionId.make("s3"),
      waitedMillis: 300,
      durationMillis: 100
    }
    const report = analyse([
      ...first,
      ...second,
      move(900, "InSession", "ExitingSession"),
      sessionEnded(900, 900),
      move(900, "ExitingSession", "Ready"),
      third,
      // And one more has waited from 900 to 1000, while a sandbox was ready.
      sessionStarted(1000, 100, "s4")
    ])
    const { verdict, series } = imageOf(report)
    assert.strictEqual(report.bucketMillis, 10)
    assert.strictEqual(verdict.fullShare, 0.4)
    assert.strictEqual(verdict.waitingShare, 400 / (400 + 900 + 100))
    assert.strictEqual(verdict.waitingWhileFullShare, 0.75)
    assert.strictEqual(verdict.peakWanted, 3)
    assert.strictEqual(verdict.idleShare, 200 / 1600)
    assert.deepStrictEqual(
      series.filter(({ waiting }) => waiting > 0).map(({ at }) => at),
      Array.from({ length: 40 }, (_, index) => 600 + 10 * index)
    )
  })

  it("an outage that lasts is counted until now", () => {
    const outage: Event = { _tag: "ImageOutageStarted", ...at(500), image, error }
    const report = analyse([starting(0), outage], {}, 900)
    assert.deepStrictEqual(imageOf(report).outages, { count: 1, millis: 400 })
    assert.deepStrictEqual(report.outages, [
      { environmentId: "lab", image: "base", from: 500, end: "Lasts", error: "it broke" }
    ])
    const over = analyse([starting(0), outage, shutDown(700)], {}, 900)
    assert.deepStrictEqual(imageOf(over).outages, { count: 1, millis: 200 })
    assert.strictEqual(over.outages[0]?.end, "ShutDown")
  })

  it("an outage is not the pool's fault", () => {
    const refused: Event = {
      _tag: "AcquireFailed",
      ...at(10_000),
      image,
      waitedMillis: 9000,
      error: { tag: "EnvironmentOverloadError", message: "", isStateError: false }
    }
    const outage: Event = { _tag: "ImageOutageEnded", ...at(12_000), image, durationMillis: 11_900, attempts: 3 }
    assert.strictEqual(imageOf(analyse([starting(0), refused, outage])).verdict.fit, "Outage")
    assert.strictEqual(imageOf(analyse([starting(0), refused])).verdict.fit, "TooSmall")
  })
})

// ---------------------------------------------------------------------------------------------------------------------
// Others who know
// ---------------------------------------------------------------------------------------------------------------------

it.effect("agrees with what the environment itself says of its pool", () =>
  Effect.gen(function* () {
    let stats: EnvironmentControl.Stats | undefined
    const inspect = (environment: Environment.Environment<unknown>) =>
      Effect.map(environment.stats, (found) => {
        stats = found
      })
    const report = analyse(yield* Sample.run({ faults: true, shutDown: false, inspect }))
    const pool = stats?.images[0]
    const { outages, pool: size, sandboxes, sessions } = imageOf(report)
    assert.deepStrictEqual(size, { min: pool?.min ?? 0, max: pool?.max ?? 0 })
    const over = Object.values(sessions.outcomes).reduce((sum, count) => sum + count, 0)
    assert.strictEqual(over - sessions.failedToStart, pool?.sessionsServed)
    assert.deepStrictEqual(
      {
        created: sandboxes.created,
        destroyed: sandboxes.ended,
        live: sandboxes.live,
        leaked: report.leaks.notTakenDown
      },
      stats?.ledger
    )
    assert.strictEqual(sandboxes.replacements, sandboxes.created - 6) // of six places
    assert.strictEqual(outages.count, 1)
    assert.strictEqual(report.open.sandboxes, stats?.ledger.live)
  })
)

/** Every series of a counter: labels → number. */
const read = (metric: { readonly id: string }) =>
  Effect.map(Metric.snapshot, (snapshot) => {
    const series: Record<string, number> = {}
    for (const one of snapshot) {
      if (one.id !== metric.id || one.type !== "Counter" || Number(one.state.count) === 0) continue
      const { attributes = {} } = one
      series[
        Object.keys(attributes)
          .filter((label) => label !== "unit")
          .sort()
          .map((label) => `${label}=${String(Reflect.get(attributes, label))}`)
          .join(",")
      ] = Number(one.state.count)
    }
    return series
  })

it.effect("agrees with the metrics of the same events", () =>
  Effect.gen(function* () {
    const events = [
      ...(yield* Sample.run({ faults: true })),
      ...moved(yield* Sample.run({ callers: 3 }), "other lab", 1000)
    ]
    yield* Effect.gen(function* () {
      const hub = yield* EventHandler.EventHub
      for (const event of events) hub.publish(event)
      yield* hub.drain
    }).pipe(Effect.provide(EventMetrics.layer))
    const report = analyse(events)
    const sessions: Record<string, number> = {}
    for (const {
      environmentId,
      image,
      sessions: { outcomes }
    } of report.images) {
      for (const [outcome, count] of Object.entries(outcomes)) {
        if (count > 0) sessions[`environment=${environmentId},image=${image},outcome=${outcome}`] = count
      }
    }
    assert.deepStrictEqual(yield* read(EventMetrics.sessions), sessions)
    const errors: Record<string, number> = {}
    for (const { count, environmentId, event, image, tag } of report.failures) {
      const key = `environment=${environmentId},error.type=${tag},event=${event},image=${image}`
      errors[key] = (errors[key] ?? 0) + count
    }
    assert.deepStrictEqual(yield* read(EventMetrics.errors), errors)
    const place = ({ environmentId, image }: Analysis.ImageReport) => `environment=${environmentId},image=${image}`
    const by = (of: (image: Analysis.ImageReport) => number) =>
      Object.fromEntries(report.images.map((image) => [place(image), of(image)]))
    assert.deepStrictEqual(
      yield* read(EventMetrics.sandboxesCreated),
      by(({ sandboxes }) => sandboxes.created)
    )
    assert.deepStrictEqual(
      yield* read(EventMetrics.sandboxesDestroyed),
      by(({ sandboxes }) => sandboxes.ended)
    )
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
)

it.effect("is kept up to date beside a program that runs", () =>
  Effect.gen(function* () {
    const { report } = yield* Analysis.LiveAnalysis
    const hub = yield* EventHandler.EventHub
    for (const event of life.slice(0, 8)) hub.publish(event)
    yield* hub.drain
    yield* TestClock.adjust(1200)
    const running = yield* report
    assert.strictEqual(imageOf(running).sessions.running, 1)
    assert.strictEqual(imageOf(running).statusMillis.InSession, 1000)
    for (const event of life.slice(8)) hub.publish(event)
    yield* hub.drain
    assert.strictEqual(imageOf(yield* report).statusMillis.InSession, 400)
  }).pipe(Effect.provide(Analysis.layer()))
)

it.effect("a report as JSON is the report", () =>
  Effect.gen(function* () {
    const report = yield* Analysis.fromStream(Stream.fromIterable(yield* Sample.run({ faults: true })))
    const codec = Schema.fromJsonString(Analysis.Report)
    assert.deepStrictEqual(yield* Schema.decodeEffect(codec)(yield* Schema.encodeEffect(codec)(report)), report)
  })
)
