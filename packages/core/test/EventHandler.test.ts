import {
  Environment,
  EnvironmentId,
  EventHandler,
  Feature,
  Sandbox,
  SandboxEvent,
  SandboxStatus
} from "@effect-sandbox/core"
import * as EventMetrics from "@effect-sandbox/core/EventMetrics"
import { EventRecorder } from "@effect-sandbox/core/EventRecorder"
import { Faults, SimDriver } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import {
  Arbitrary,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Metric,
  Ref,
  Schema,
  Scope,
  Stream,
  Tracer
} from "effect"
import { TestClock } from "effect/testing"
import { settle } from "./support/Lab.ts"

class Greeter extends Context.Service<Greeter, { readonly greet: Effect.Effect<string> }>()("test/Greeter") {
  static readonly feature = Feature.make(Greeter, {
    housekeepInterval: "1 second",
    setup: Effect.gen(function* () {
      yield* Effect.addFinalizer(() => Effect.void)
      return {
        session: Effect.map(Sandbox, (sandbox) =>
          Greeter.of({ greet: sandbox.activity("greet", Effect.succeed("hello")) })
        ),
        housekeep: Effect.void
      }
    })
  })
}

class Host extends Context.Service<Host, { readonly name: string }>()("test/Host") {
  static readonly feature = Feature.host(Host, { setup: Effect.succeed({ session: Effect.succeed({ name: "host" }) }) })
}

class Lab extends Environment.Service<Lab>()("env", {
  images: ["image"],
  pool: { min: 1, max: 2 },
  features: [Host.feature, Greeter.feature]
}) {}

/** The environment with a handler and a recorder beside it. */
const labWith = <E>(handler: Layer.Layer<EventHandler.EventHub, E>) =>
  Lab.layer.pipe(
    Layer.provideMerge(Layer.mergeAll(EventRecorder.layer, handler)),
    Layer.provideMerge(SimDriver.layer())
  )

const noHandler = EventHandler.EventHub.layer

const exec = (command: string) => Effect.flatMap(Sandbox, (sandbox) => sandbox.exec(command))

const statsOf = (handler: string) =>
  Effect.flatMap(Lab.stats, ({ handlers }) => Effect.fromNullishOr(handlers.find(({ name }) => name === handler)))

/** What is written to the log. */
const logOf = (lines: Array<string>) =>
  Logger.layer([Logger.make(({ logLevel, message }) => lines.push(`${logLevel} ${String(message)}`))])

// ---------------------------------------------------------------------------------------------------------------------

const json = Schema.fromJsonString(Schema.toCodecJson(SandboxEvent.SandboxEvent))

/** The one number that JSON does not have. */
const hasNegativeZero = (value: unknown): boolean =>
  Object.is(value, -0) || (typeof value === "object" && value !== null && Object.values(value).some(hasNegativeZero))

const roundTrip = Effect.fnUntraced(function* (event: SandboxEvent.SandboxEvent) {
  const text = yield* Schema.encodeEffect(json)(event)
  assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(json)(text), event)
})

it.effect("V1 every kind of event survives a trip through JSON", () =>
  Effect.gen(function* () {
    const seen = new Set<string>()
    const result = yield* Arbitrary.checkEffect(
      Arbitrary.schema(SandboxEvent.SandboxEvent),
      (event) => {
        seen.add(event._tag)
        return hasNegativeZero(event) ? Effect.succeed(true) : Effect.as(roundTrip(event), true)
      },
      { runs: 500 }
    )
    assert.strictEqual(result._tag, "Passed")
    assert.deepStrictEqual([...seen].toSorted(), Object.keys(SandboxEvent.SandboxEvent.cases).toSorted())
  })
)

it.effect("V1 what an environment publishes fits its schemas, errors included", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const driver = yield* SimDriver
    const faults = yield* Faults
    yield* Lab.withSession(
      {},
      Effect.gen(function* () {
        yield* exec("true")
        yield* Effect.flatMap(Greeter, (greeter) => greeter.greet)
        yield* TestClock.adjust("30 seconds") // housekeeping
      })
    )
    yield* Effect.exit(Lab.withSession({}, Effect.fail(new Error("the user's"))))
    yield* faults.add({ at: ["create"], how: { _tag: "Fail" } })
    yield* Effect.exit(
      Lab.withSession(
        {},
        Effect.flatMap(Sandbox, (sandbox) => driver.kill(sandbox.id).pipe(Effect.andThen(Effect.never)))
      )
    )
    yield* settle
    yield* faults.clear
    yield* TestClock.adjust("1 minute")
    yield* Effect.scoped(
      Effect.gen(function* () {
        const held = yield* Lab.session()
        const waiting = yield* Effect.forkChild(Lab.withSession({}, Effect.void), { startImmediately: true })
        yield* Fiber.interrupt(waiting)
        yield* Effect.forkChild(Lab.drain, { startImmediately: true })
        yield* held.close
      })
    )
    yield* Lab.shutdown
    const events = yield* recorder.events
    for (const event of events) yield* roundTrip(event)
    assert.deepStrictEqual(
      [...new Set(events.map((event) => event._tag))].toSorted(),
      Object.keys(SandboxEvent.SandboxEvent.cases)
        .filter((kind) => kind !== "ActionRequested") // told by whoever asks
        .toSorted()
    )
  }).pipe(Effect.provide(labWith(noHandler)))
)

// ---------------------------------------------------------------------------------------------------------------------

it.effect("V2 a handler sees the first event of an environment and the last", () =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    const handler = EventHandler.layer({
      name: "slow",
      handle: (event) =>
        Effect.delay(
          Effect.sync(() => seen.push(event._tag)),
          1
        )
    })
    const life = yield* Effect.forkChild(
      Lab.withSession({}, Effect.void).pipe(
        Effect.provide(Lab.layer.pipe(Layer.provide(handler), Layer.provide(SimDriver.layer())))
      ),
      { startImmediately: true }
    )
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(life)
    assert.strictEqual(seen[0], "EnvironmentStarting")
    assert.strictEqual(seen.at(-1), "EnvironmentShutDown")
    assert.include(seen, "SessionEnded")
  })
)

it.effect("V2 a handler of everything that waits gets it at once, in order, and all of it", () =>
  Effect.gen(function* () {
    const gate = yield* Deferred.make<void>()
    const batches: Array<ReadonlyArray<string>> = []
    const handler = EventHandler.layer({
      name: "batches",
      handleAll: (events) =>
        Effect.andThen(
          Deferred.await(gate),
          Effect.suspend(() => {
            batches.push(events.map((event) => event._tag))
            return batches.length === 1 ? Effect.fail("a disk that is full") : Effect.void
          })
        )
    })
    const log: Array<string> = []
    yield* Effect.gen(function* () {
      for (let i = 0; i < 3; i++) yield* Lab.withSession({}, Effect.void)
      assert.deepStrictEqual(batches, [])
      yield* Deferred.succeed(gate, undefined)
      yield* Lab.shutdown
      const published = (yield* (yield* EventRecorder).events).map((event) => event._tag)
      assert.deepStrictEqual(batches.flat(), published)
      assert.isAtMost(batches.length, 4)
      const stats = yield* statsOf("batches")
      assert.deepStrictEqual([stats.handled, stats.failed, stats.queued], [published.length, batches[0]?.length, 0])
    }).pipe(Effect.provide(labWith(handler)), Effect.provide(logOf(log)))
    assert.deepStrictEqual(log, [
      `Warn Event handler batches failed on ${batches[0]?.length} events; later failures are only counted`
    ])
  })
)

it.effect(
  "V2 a handler that takes what it needs gets every event soon, also while it handles what it took before",
  () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const taken: Array<string> = []
      const handled: Array<number> = []
      const handler = EventHandler.layer({
        name: "takes",
        takeAll: (events) => {
          taken.push(...events.map((event) => event._tag))
        },
        handleTaken: Effect.suspend(() => {
          handled.push(taken.length)
          return Deferred.await(gate)
        })
      })
      yield* Effect.gen(function* () {
        const recorder = yield* EventRecorder
        const published = Effect.map(recorder.events, (events) => events.map((event) => event._tag))
        yield* settle
        for (let i = 0; i < 3; i++) yield* Lab.withSession({}, Effect.void)
        yield* settle
        assert.deepStrictEqual(taken, yield* published)
        assert.strictEqual(handled.length, 1)
        assert.isBelow(handled[0] ?? 0, taken.length)
        assert.strictEqual((yield* statsOf("takes")).queued, taken.length)
        yield* Deferred.succeed(gate, undefined)
        yield* Lab.shutdown
        assert.deepStrictEqual(taken, yield* published)
        assert.strictEqual(handled.at(-1), taken.length)
        const stats = yield* statsOf("takes")
        assert.deepStrictEqual([stats.handled, stats.failed, stats.queued], [taken.length, 0, 0])
      }).pipe(Effect.provide(labWith(handler)))
    })
)

it.effect("V2 a handler that takes what it needs handles that when no more comes, or thousands have come", () =>
  Effect.gen(function* () {
    let taken = 0
    const handled: Array<number> = []
    const handler = EventHandler.layer({
      name: "takes",
      takeAll: (events) => {
        taken += events.length
      },
      handleTaken: Effect.sync(() => {
        handled.push(taken)
        taken = 0
      })
    })
    yield* Effect.gen(function* () {
      const hub = yield* EventHandler.EventHub
      const publish = (turns: number) =>
        Effect.gen(function* () {
          for (let turn = 0; turn < turns; turn++) {
            for (let i = 0; i < 100; i++) {
              hub.publish({
                _tag: "EnvironmentStarted",
                environmentId: EnvironmentId.make("env"),
                timestamp: turn,
                durationMillis: i
              })
            }
            yield* Effect.yieldNow
          }
          yield* settle
        })
      yield* publish(20)
      assert.deepStrictEqual(handled, [2000])
      yield* publish(200)
      assert.isAtLeast(handled.length, 3)
      assert.isAtMost(handled.length, 8)
      assert.strictEqual(
        handled.reduce((sum, count) => sum + count, 0),
        22_000
      )
    }).pipe(Effect.provide(handler))
  })
)

it.effect("V2 who subscribes gets what is published from then on, and who asks for statistics finds all of it", () =>
  Effect.gen(function* () {
    const hub = yield* EventHandler.EventHub
    const seen: { [name: string]: Array<number> } = { early: [], late: [] }
    const subscribe = (name: string) =>
      hub.subscribe({
        name,
        handleAll: (events) => Effect.sync(() => seen[name]?.push(...events.map((event) => event.timestamp)))
      })
    const publish = (from: number, until: number) => {
      for (let timestamp = from; timestamp < until; timestamp++) {
        hub.publish({
          _tag: "EnvironmentStarted",
          environmentId: EnvironmentId.make("env"),
          timestamp,
          durationMillis: 0
        })
      }
    }
    const queued = () => hub.handlers().map((stats) => stats.queued)
    yield* subscribe("early")
    publish(0, 3)
    assert.deepStrictEqual(queued(), [3])
    publish(3, 5)
    yield* subscribe("late")
    publish(5, 30_000) // more than a turn has
    assert.deepStrictEqual(queued(), [30_000, 29_995])
    yield* hub.drain
    assert.deepStrictEqual(queued(), [0, 0])
    assert.deepStrictEqual(
      seen["early"],
      Array.from({ length: 30_000 }, (_, index) => index)
    )
    assert.deepStrictEqual(seen["late"], seen["early"]?.slice(5))
  }).pipe(Effect.provide(noHandler))
)

it.effect("V2 what a handler has taken and not handled counts against its capacity", () =>
  Effect.gen(function* () {
    const gate = yield* Deferred.make<void>()
    let taken = 0
    const handler = EventHandler.layer({
      name: "takes",
      takeAll: (events) => {
        taken += events.length
      },
      handleTaken: Deferred.await(gate),
      capacity: 5
    })
    yield* Effect.gen(function* () {
      for (let i = 0; i < 10; i++) {
        yield* Lab.withSession({}, Effect.void)
        yield* settle
      }
      const stats = yield* statsOf("takes")
      assert.strictEqual(stats.queued, taken)
      assert.strictEqual(taken, 10) // in hand, and waiting
      assert.isAtLeast(stats.dropped, 60)
      yield* Deferred.succeed(gate, undefined)
    }).pipe(Effect.provide(labWith(handler)))
  })
)

it.effect("L24 V2 a handler that throws while it takes events breaks nothing, and gets those that come later", () =>
  Effect.gen(function* () {
    let taken = 0
    const handler = EventHandler.layer({
      name: "throws",
      takeAll: (events) => {
        if (events.some((event) => event._tag === "SessionStarted")) throw new Error("no idea what that is")
        taken += events.length
      },
      handleTaken: Effect.void
    })
    const log: Array<string> = []
    yield* Effect.gen(function* () {
      for (let i = 0; i < 3; i++) assert.strictEqual(yield* Lab.withSession({}, Effect.succeed(i)), i)
      yield* settle
      yield* Lab.shutdown
      const published = (yield* (yield* EventRecorder).events).length
      assert.isAtLeast(taken, 2)
      const stats = yield* statsOf("throws")
      assert.deepStrictEqual([stats.handled, stats.failed, stats.dropped], [published, published - taken, 0])
    }).pipe(Effect.provide(labWith(handler)), Effect.provide(logOf(log)))
    assert.strictEqual(log.length, 1)
    assert.match(log[0] ?? "", /^Warn Event handler throws failed on \d+ events; later failures are only counted$/)
  })
)

it.effect("V2 shutdown waits until handlers have handled everything", () =>
  Effect.gen(function* () {
    const handled = yield* Ref.make(0)
    const handler = EventHandler.layer({
      name: "slow",
      handle: () =>
        Effect.delay(
          Ref.update(handled, (n) => n + 1),
          "100 millis"
        )
    })
    yield* Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const shutdown = yield* Effect.forkChild(Lab.shutdown, { startImmediately: true })
      yield* settle
      const published = (yield* recorder.events).length
      assert.strictEqual((yield* recorder.events).at(-1)?._tag, "EnvironmentShutDown")
      yield* TestClock.adjust((published - 1) * 100)
      assert.isUndefined(shutdown.pollUnsafe())
      yield* TestClock.adjust(100)
      assert.isDefined(shutdown.pollUnsafe())
      assert.strictEqual(yield* Ref.get(handled), published)
    }).pipe(Effect.provide(labWith(handler)))
  })
)

for (const [how, hang] of [
  ["hangs", Effect.never],
  ["cannot even be interrupted", Effect.uninterruptible(Effect.never)]
] as const) {
  it.effect(`V2 a handler that ${how} is waited for with a limit, and what it left is told to the log`, () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const handler = EventHandler.layer({ name: "hung", handle: () => hang, drainTimeout: "3 seconds" })
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Layer.provide(labWith(handler), logOf(log)), scope)
      const shutdown = yield* Effect.forkChild(Context.get(context, Lab).shutdown, { startImmediately: true })
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(shutdown.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.isDefined(shutdown.pollUnsafe())
      const published = (yield* Context.get(context, EventRecorder).events).length
      const close = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      assert.isUndefined(close.pollUnsafe())
      yield* TestClock.adjust("4 seconds")
      assert.isDefined(close.pollUnsafe())
      assert.deepStrictEqual(log, [`Warn Event handler hung did not finish: ${published} events were not handled`])
    })
  )
}

it.effect("V2 events that do not fit are counted, visible in the stats and told to the log", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const seen: Array<string> = []
    const gate = yield* Deferred.make<void>()
    const handler = EventHandler.layer({
      name: "small",
      capacity: 2,
      handle: (event) =>
        Effect.andThen(
          Deferred.await(gate),
          Effect.sync(() => seen.push(event._tag))
        )
    })
    const dropped = yield* Effect.gen(function* () {
      for (let i = 0; i < 3; i++) yield* Lab.withSession({}, exec("true"))
      const published = (yield* (yield* EventRecorder).events).length
      const stats = yield* statsOf("small")
      assert.strictEqual(stats.handled, 0)
      assert.isAtLeast(stats.dropped, 1)
      assert.strictEqual(stats.queued + stats.dropped, published)
      yield* Deferred.succeed(gate, undefined)
      yield* Lab.shutdown
      return (yield* statsOf("small")).dropped
    }).pipe(Effect.provide(labWith(handler)), Effect.provide(logOf(log)))
    assert.include(seen, "EnvironmentStarting")
    assert.deepStrictEqual(log, [`Warn Event handler small was too slow: ${dropped} events were dropped`])
  })
)

it.effect("V2 a consumer of the stream of events that falls behind shows in the stats", () =>
  Effect.gen(function* () {
    const hub = yield* EventHandler.EventHub
    const gate = yield* Deferred.make<void>()
    const consumer = yield* Effect.forkChild(
      Stream.runForEach(hub.events({ capacity: 1 }), () => Deferred.await(gate)),
      { startImmediately: true }
    )
    yield* settle
    for (let i = 0; i < 10; i++) hub.publish(starting)
    yield* settle
    for (let i = 0; i < 10; i++) hub.publish(starting)
    const stats = hub.handlers()
    assert.deepStrictEqual(
      stats.map(({ name }) => name),
      ["stream"]
    )
    assert.isAtLeast(stats[0]?.dropped ?? 0, 10)
    yield* Fiber.interrupt(consumer)
    assert.deepStrictEqual(hub.handlers(), [])
  }).pipe(Effect.provide(EventHandler.EventHub.layer))
)

const starting = SandboxEvent.SandboxEvent.cases.EnvironmentStarting.make({
  environmentId: EnvironmentId.make("env"),
  timestamp: 0
})

// ---------------------------------------------------------------------------------------------------------------------

it.effect("V3 the events of a sandbox are in order and its moves are one unbroken chain", () =>
  Effect.gen(function* () {
    const recorder = yield* EventRecorder
    const driver = yield* SimDriver
    const one = (i: number) =>
      Effect.exit(
        Lab.withSession(
          { id: `s${i}` },
          Effect.gen(function* () {
            const sandbox = yield* Sandbox
            yield* Effect.sleep((i % 3) + 1)
            if (i % 7 === 6) yield* driver.kill(sandbox.id)
            if (i % 5 === 4) return yield* Effect.fail("the user's")
            yield* exec("true")
            yield* Effect.sleep(1)
          })
        )
      )
    const users = yield* Effect.forkChild(
      Effect.forEach(
        Array.from({ length: 40 }, (_, i) => i),
        one,
        { concurrency: "unbounded" }
      ),
      { startImmediately: true }
    )
    yield* TestClock.adjust("5 minutes")
    yield* Fiber.join(users)
    yield* Lab.shutdown
    const events = yield* recorder.events
    const ids = new Set(
      events.flatMap((event) => ("sandboxId" in event && event.sandboxId !== undefined ? [event.sandboxId] : []))
    )
    assert.isAtLeast(ids.size, 6)
    for (const id of ids) {
      const own = events.filter((event) => "sandboxId" in event && event.sandboxId === id)
      let status: string = "Created"
      let at = own[0]?.timestamp ?? 0
      let since = at
      for (const event of own) {
        assert.isAtLeast(event.timestamp, at)
        at = event.timestamp
        if (event._tag !== "SandboxStatusChanged") continue
        assert.strictEqual(event.from, status, `${id}: a move is missing`)
        assert.isTrue(SandboxStatus.isLegal(event.from, event.to), `${id}: ${event.from} -> ${event.to}`)
        assert.strictEqual(event.spentMillis, at - since)
        status = event.to
        since = at
      }
      assert.strictEqual(status, "Offline", id)
    }
  }).pipe(Effect.provide(labWith(noHandler)))
)

it.effect("L25 the move to SettingUp at the start is in the stream, as the sandbox's first event", () =>
  Effect.gen(function* () {
    const events = yield* (yield* EventRecorder).events
    const first = events.find((event) => "sandboxId" in event)
    assert.deepInclude(first, { _tag: "SandboxStatusChanged", from: "Created", to: "SettingUp" })
  }).pipe(Effect.provide(labWith(noHandler)))
)

// ---------------------------------------------------------------------------------------------------------------------

/** Remembers every span. */
const recordSpans = (spans: Array<Tracer.NativeSpan>) =>
  Effect.withTracer(
    Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
  )

it.effect("V4 an activity is an event, a span and a metric", () =>
  Effect.gen(function* () {
    const spans: Array<Tracer.NativeSpan> = []
    const session = yield* Effect.forkChild(
      Lab.withSession(
        { id: "s1" },
        Effect.gen(function* () {
          const sandbox = yield* Sandbox
          yield* sandbox.activity("think", Effect.sleep("2 seconds"))
          yield* sandbox.exec("echo", ["a"])
          yield* Effect.flatMap(Greeter, (greeter) => greeter.greet)
        })
      ).pipe(recordSpans(spans))
    )
    yield* TestClock.adjust("2 seconds")
    yield* Fiber.join(session)
    const recorder = yield* EventRecorder
    const activities = (yield* recorder.events).filter(
      (event) => event._tag === "SandboxActivity" || event._tag === "FeatureActivity"
    )
    assert.deepStrictEqual(
      activities.map(
        (event) => `${event._tag} ${event.sandboxId} ${event.sessionId} ${event.name} ${event.durationMillis}`
      ),
      [
        "SandboxActivity env/image:0:0 s1 think 2000",
        "SandboxActivity env/image:0:0 s1 exec echo 0",
        "FeatureActivity env/image:0:0 s1 greet 0"
      ]
    )
    assert.deepStrictEqual(
      activities.map(({ name }) => {
        const span = spans.find((one) => one.name === name)
        return `${name} ${span?.status._tag} ${String(span?.attributes.get("sandbox.id"))}`
      }),
      ["think Ended env/image:0:0", "exec echo Ended env/image:0:0", "greet Ended env/image:0:0"]
    )
    yield* Lab.shutdown // after every event was handled
    const count = (labels: Metric.Metric.AttributeSet) =>
      Effect.map(
        Metric.value(
          Metric.withAttributes(EventMetrics.activities, {
            environment: "env",
            image: "image",
            outcome: "ok",
            ...labels
          })
        ),
        (state) => state.count
      )
    assert.strictEqual(yield* count({ activity: "think" }), 1)
    assert.strictEqual(yield* count({ activity: "exec echo" }), 1)
    assert.strictEqual(yield* count({ activity: "greet", feature: "test/Greeter" }), 1)
  }).pipe(Effect.provide(labWith(EventMetrics.layer)), Effect.provideService(Metric.MetricRegistry, new Map()))
)

it.effect("V4 the span of an activity names its session, also when a feature described it at set-up", () =>
  Effect.gen(function* () {
    const spans: Array<Tracer.NativeSpan> = []
    yield* Lab.withSession(
      { id: "s1" },
      Effect.flatMap(Greeter, (greeter) => greeter.greet)
    ).pipe(recordSpans(spans))
    assert.strictEqual(spans.find(({ name }) => name === "greet")?.attributes.get("sandbox.session.id"), "s1")
  }).pipe(Effect.provide(labWith(noHandler)))
)

// ---------------------------------------------------------------------------------------------------------------------

const raising: ReadonlyArray<readonly [string, (event: SandboxEvent.SandboxEvent) => Effect.Effect<unknown, unknown>]> =
  [
    ["fails", () => Effect.fail("oops")],
    ["dies", () => Effect.die("oops")],
    ["interrupts itself", () => Effect.interrupt],
    [
      "throws",
      () => {
        throw new Error("oops")
      }
    ]
  ]

for (const [how, handle] of raising) {
  it.effect(`L24 a handler that ${how} harms no user, no sandbox and no other handler`, () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const stats = yield* Effect.gen(function* () {
        assert.strictEqual(yield* Lab.withSession({}, Effect.succeed(1)), 1)
        yield* settle
        const { images } = yield* Lab.stats
        assert.strictEqual(images[0]?.counts.Ready, 1)
        yield* Lab.shutdown
        const recorder = yield* EventRecorder
        const events = yield* recorder.events
        assert.strictEqual(events.at(-1)?._tag, "EnvironmentShutDown")
        const stats = yield* statsOf("raising")
        assert.strictEqual(stats.failed, events.length)
        return stats
      }).pipe(Effect.provide(labWith(EventHandler.layer({ name: "raising", handle }))), Effect.provide(logOf(log)))
      assert.deepInclude(stats, { queued: 0, dropped: 0 })
      assert.lengthOf(log, 1)
      assert.include(log[0], "Warn Event handler raising failed on EnvironmentStarting")
    })
  )
}

it.effect("L24 no handler runs inside of publishing, whether it waits for events or is at work", () => {
  const seen: Array<number> = []
  const Handler = EventHandler.layer({
    name: "handler",
    handle: ({ timestamp }) => Effect.sync(() => seen.push(timestamp))
  })
  return Effect.gen(function* () {
    const hub = yield* EventHandler.EventHub
    const { cases } = SandboxEvent.SandboxEvent
    const publish = (timestamp: number) =>
      hub.publish(cases.EnvironmentStarting.make({ environmentId: EnvironmentId.make("env"), timestamp }))
    for (const first of [1, 4]) {
      const before = [...seen]
      for (const timestamp of [first, first + 1, first + 2]) publish(timestamp)
      assert.deepStrictEqual(seen, before)
      yield* hub.drain
      assert.deepStrictEqual(seen, [...before, first, first + 1, first + 2])
    }
  }).pipe(Effect.provide(Handler))
})

it.effect("L24 a slow handler delays nobody", () =>
  Effect.gen(function* () {
    // No time passes: a wait for the handler anywhere would hang this test.
    for (let i = 0; i < 20; i++) yield* Lab.withSession({}, exec("true"))
    assert.strictEqual((yield* Lab.stats).images[0]?.sessionsServed, 20)
    const life = yield* Effect.forkChild(Lab.shutdown)
    yield* TestClock.adjust("10 seconds")
    yield* Fiber.join(life)
  }).pipe(
    Effect.provide(labWith(EventHandler.layer({ name: "slow", handle: () => Effect.sleep("1 hour"), drainTimeout: 0 })))
  )
)

it.effect("L24 a handler may open sessions itself, also when the pool is used up", () =>
  Effect.gen(function* () {
    const lab = yield* Deferred.make<Lab["Service"]>()
    const seen: Array<string> = []
    const handler = EventHandler.layer({
      name: "user",
      handle: (event) =>
        event._tag === "SessionStarted" && event.sessionId.startsWith("user")
          ? Effect.flatMap(Deferred.await(lab), (environment) =>
              environment.withSession(
                { id: `handler of ${event.sessionId}` },
                Effect.sync(() => seen.push(event.sessionId))
              )
            )
          : Effect.void
    })
    yield* Effect.gen(function* () {
      yield* Deferred.succeed(lab, yield* Lab)
      const user = (i: number) => Lab.withSession({ id: `user ${i}` }, Effect.sleep("1 second"))
      const users = yield* Effect.forkChild(Effect.forEach([1, 2, 3, 4, 5], user, { concurrency: "unbounded" }))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(users)
      yield* Lab.shutdown
      assert.deepStrictEqual(seen, ["user 1", "user 2", "user 3", "user 4", "user 5"])
    }).pipe(Effect.provide(labWith(handler)))
  })
)

it.effect("L24 a handler may shut the environment down", () =>
  Effect.gen(function* () {
    const lab = yield* Deferred.make<Lab["Service"]>()
    let returned = false
    const handler = EventHandler.layer({
      name: "stopper",
      handle: (event) =>
        event._tag === "SessionStarted"
          ? Deferred.await(lab).pipe(
              Effect.flatMap((environment) => environment.shutdown),
              Effect.tap(() =>
                Effect.sync(() => {
                  returned = true
                })
              )
            )
          : Effect.void
    })
    yield* Effect.gen(function* () {
      yield* Deferred.succeed(lab, yield* Lab)
      // No time passes here either.
      const error = yield* Effect.flip(Lab.withSession({}, Effect.never))
      assert.strictEqual(error._tag, "EnvironmentClosedError")
      yield* Lab.shutdown
      yield* settle
      assert.isTrue(returned)
      assert.strictEqual(yield* Lab.status, "Offline")
      assert.strictEqual((yield* (yield* EventRecorder).events).at(-1)?._tag, "EnvironmentShutDown")
    }).pipe(Effect.provide(labWith(handler)))
  })
)
