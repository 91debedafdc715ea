/** The parts behind the dashboard, in virtual time: what is kept, what is sent, and what is said of it. */
import { EnvironmentId, ImageId, SandboxId, type SandboxEvent, SessionId } from "@effect-sandbox/core"
import type { EnvironmentControl } from "@effect-sandbox/core/EnvironmentControl"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Feed } from "../src/internal/dashboard/feed.ts"
import * as findings from "../src/internal/dashboard/findings.ts"
import { MovingHistogram } from "../src/internal/dashboard/histogram.ts"
import { Model } from "../src/internal/dashboard/model.ts"
import type * as Protocol from "../src/internal/dashboard/protocol.ts"

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void
const heap = (): number => {
  collect()
  collect()
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const environmentId = EnvironmentId.make("lab")
const image = ImageId.make("base")
const sandboxId = (slot: number, generation: number) => SandboxId.make(`lab/base:${slot}:${generation}`)

const ended = (session: string, timestamp = 0): SandboxEvent.SandboxEvent => ({
  _tag: "SessionEnded",
  environmentId,
  timestamp,
  sandboxId: sandboxId(0, 0),
  image,
  sessionId: SessionId.make(session),
  durationMillis: 1,
  lifetimeMillis: 100
})

const moved = (
  slot: number,
  generation: number,
  from: SandboxEvent.Of<"SandboxStatusChanged">["from"],
  to: SandboxEvent.Of<"SandboxStatusChanged">["to"],
  timestamp = 0
): SandboxEvent.SandboxEvent => ({
  _tag: "SandboxStatusChanged",
  environmentId,
  timestamp,
  sandboxId: sandboxId(slot, generation),
  image,
  from,
  to,
  spentMillis: 10
})

const makeFeed = (history = 1000, environments: ReadonlyArray<EnvironmentControl> = []) => {
  const model = new Model(history)
  return { model, feed: new Feed({ model, environments: () => environments, epoch: "e", actions: false }) }
}

const Message = Schema.Struct({ event: Schema.String, data: Schema.Unknown })
const parse = (bytes: Uint8Array): ReadonlyArray<typeof Message.Type> =>
  new TextDecoder()
    .decode(bytes)
    .split("\n\n")
    .filter((part) => part !== "")
    .map((part) => {
      const lines = part.split("\n")
      const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? ""
      return { event: field("event"), data: JSON.parse(field("data")) as unknown }
    })
const eventsOf = (bytes: Uint8Array | undefined) => parse(bytes ?? new Uint8Array()).map((one) => one.event)

/** A browser that takes something only when it is told to. */
const browser = (feed: Feed, disconnect = () => {}) =>
  Effect.map(Stream.toPull(feed.connect(undefined, disconnect)), (pull) => Effect.map(pull, (chunks) => chunks[0]))

describe("Dashboard: the feed", () => {
  it.effect("sends four ticks a second to one browser, and fewer to each of many", () =>
    Effect.gen(function* () {
      const { feed, model } = makeFeed()
      yield* Effect.forkScoped(feed.run)
      const counts: Array<number> = Array.from({ length: 400 }, () => 0)
      let n = 0
      yield* Effect.forkScoped(
        Effect.forever(
          Effect.delay(
            Effect.sync(() => model.add(ended(`s${n++}`))),
            "50 millis"
          )
        )
      )
      const join = (index: number) =>
        Stream.runForEach(
          feed.connect(undefined, () => {}),
          () =>
            Effect.sync(() => {
              counts[index] = (counts[index] ?? 0) + 1
            })
        ).pipe(Effect.forkScoped)
      yield* join(0)
      yield* TestClock.adjust("10 seconds")
      assert.approximately(counts[0] ?? 0, 41, 2)
      for (let i = 1; i < 400; i++) yield* join(i)
      yield* TestClock.adjust("250 millis")
      counts.fill(0)
      yield* TestClock.adjust("10 seconds")
      assert.approximately(counts[0] ?? 0, 10, 1)
      assert.approximately(counts[399] ?? 0, 10, 1)
    })
  )

  it.effect("says something every second also when nothing happens", () =>
    Effect.gen(function* () {
      const { feed } = makeFeed()
      yield* Effect.forkScoped(feed.run)
      const fiber = yield* Effect.forkScoped(
        Stream.runCollect(
          Stream.take(
            feed.connect(undefined, () => {}),
            6
          )
        )
      )
      yield* TestClock.adjust("5500 millis")
      const chunks = yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        chunks.map((chunk) => eventsOf(chunk)),
        [["snapshot", "log"], ["tick"], ["tick"], ["tick"], ["tick"], ["tick"]]
      )
    })
  )

  it.effect("gives a browser that fell behind the ticks it missed, or the whole when they are gone", () =>
    Effect.gen(function* () {
      const { feed, model } = makeFeed()
      yield* Effect.forkScoped(feed.run)
      const take = yield* browser(feed)
      assert.deepStrictEqual(eventsOf(yield* take), ["snapshot", "log"])
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(eventsOf(yield* take), ["tick", "tick", "tick"])
      for (let i = 0; i < 300; i++) model.add(ended(`s${i}`))
      yield* TestClock.adjust("1 minute")
      const whole = parse((yield* take) ?? new Uint8Array())
      assert.deepStrictEqual(
        whole.map((one) => one.event),
        ["snapshot", "log"]
      )
      const log = whole[1]?.data as Protocol.LogPart // what it sends is checked in Dashboard.test.ts
      assert.strictEqual(log.entries.length, 200)
      assert.strictEqual(log.missed, 100)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(eventsOf(yield* take), ["tick"])
    })
  )

  it.effect("keeps nothing for browsers that never read, and hangs up on them after half a minute", () =>
    Effect.gen(function* () {
      const { feed, model } = makeFeed(2000)
      let disconnected = 0
      const takes = yield* Effect.forEach(Array.from({ length: 200 }), () => browser(feed, () => disconnected++))
      yield* Effect.forEach(takes, (take) => take, { discard: true })
      const second = Effect.gen(function* () {
        for (let i = 0; i < 500; i++) model.add(ended(`session ${i}`))
        yield* TestClock.adjust("1 second")
        yield* feed.round
      })
      yield* Effect.repeat(second, { times: 20 })
      assert.strictEqual(disconnected, 0)
      const before = heap()
      yield* Effect.repeat(second, { times: 400 })
      const grown = heap() - before
      assert.isBelow(grown, 4 * 1024 * 1024, "200,000 events for 200 browsers")
      assert.isAtLeast(disconnected, 200)
      const [first] = takes
      if (first === undefined) return
      const chunk = yield* first
      assert.isBelow(chunk?.length ?? 0, 512 * 1024)
    })
  )

  it.effect("chooses errors first when more happens than fits into a tick", () =>
    Effect.gen(function* () {
      const { feed, model } = makeFeed(10_000)
      yield* feed.round
      const take = yield* browser(feed)
      yield* take
      const error = { tag: "Boom", message: "boom", isStateError: false }
      model.add({ ...ended("bad"), error } as SandboxEvent.SandboxEvent) // `error` fits this kind
      for (let i = 0; i < 5000; i++) model.add(ended(`s${i}`))
      yield* feed.round
      const [tick] = parse((yield* take) ?? new Uint8Array())
      if (tick === undefined) return assert.fail("no tick")
      const { log } = tick.data as Protocol.Tick
      assert.strictEqual(log.entries.length, 40)
      assert.strictEqual(log.entries[0]?.outcome, "user_error")
      assert.strictEqual(log.missed, 5001 - 40)
    })
  )

  it.effect("ends with what was left and a goodbye", () =>
    Effect.gen(function* () {
      const { feed, model } = makeFeed()
      const fiber = yield* Effect.forkScoped(Stream.runCollect(feed.connect(undefined, () => {})))
      yield* TestClock.adjust("1 second")
      model.add(ended("last"))
      yield* feed.close
      const chunks = yield* Fiber.join(fiber)
      const last = chunks.flatMap((chunk) => parse(chunk))
      assert.strictEqual(last.at(-1)?.event, "stopped")
      assert.include(JSON.stringify(last), "session last ended")
      const late = yield* Stream.runCollect(feed.connect(undefined, () => {}))
      assert.strictEqual(late.length, 1)
    })
  )
})

describe("Dashboard: the model", () => {
  it("keeps the generations of a slot, and takes late events of an old one for what they are", () => {
    const model = new Model(100)
    for (const event of [
      moved(0, 0, "Created", "SettingUp", 10),
      moved(0, 0, "SettingUp", "Ready", 20),
      moved(0, 0, "Ready", "ShuttingDown", 30),
      moved(0, 1, "Created", "SettingUp", 40),
      moved(0, 0, "ShuttingDown", "Offline", 50),
      moved(0, 1, "SettingUp", "Ready", 60)
    ]) {
      model.add(event)
    }
    assert.deepStrictEqual(model.cells()[0]?.cells, [[0, 1, "Ready", 60]])
    const history = model.history("lab/base:0:0", 100)
    assert.strictEqual(history?.sandboxId, "lab/base:0:1")
    assert.deepStrictEqual(history?.spentMillis, { Created: 10, SettingUp: 10, Ready: 40 })
    assert.deepStrictEqual(
      history?.generations.map((one) => one.generation),
      [1, 0]
    )
  })

  it("begins anew with an environment of the same name", () => {
    const model = new Model(100)
    model.add(moved(0, 3, "Created", "SettingUp"))
    model.add({ _tag: "EnvironmentStarting", environmentId, timestamp: 1, pools: [{ image, min: 1, max: 2 }] })
    model.add(moved(0, 0, "Created", "SettingUp", 2))
    assert.deepStrictEqual(model.cells()[0]?.cells, [[0, 0, "SettingUp", 2]])
  })

  it("takes sandboxes away with their environment, also when their last events were dropped", () => {
    const model = new Model(100)
    model.add(moved(0, 0, "Created", "SettingUp"))
    model.takeChanges()
    model.add({ _tag: "EnvironmentShutDown", environmentId, timestamp: 9, durationMillis: 1, lifetimeMillis: 9 })
    assert.deepStrictEqual(model.cells(), [])
    assert.deepStrictEqual(model.takeChanges()[0]?.cells, [[0, 0, "Offline", 9]])
    assert.strictEqual(model.states(10)[0]?.health.title, "Offline")
  })

  it("is bounded whatever the number of slots, images, environments and events", () => {
    const model = new Model(100)
    for (let i = 0; i < 5000; i++) {
      model.add(moved(i, 0, "Created", "SettingUp"))
      model.add(moved(i, 0, "SettingUp", "ShuttingDown"))
      model.add(moved(i, 0, "ShuttingDown", "Offline"))
      model.add({
        ...moved(100_000, 0, "Created", "SettingUp"),
        image: ImageId.make(`image ${i}`)
      } as SandboxEvent.SandboxEvent)
      const other = EnvironmentId.make(`other ${i}`)
      model.add({ _tag: "EnvironmentStarting", environmentId: other, timestamp: 0 })
      model.add({
        _tag: "EnvironmentShutDown",
        environmentId: other,
        timestamp: 0,
        durationMillis: 0,
        lifetimeMillis: 0
      })
    }
    assert.isAtMost(model.states(0).length, 50)
    assert.isAtMost(model.states(0).find((one) => one.id === environmentId)?.images.length ?? 0, 200)
    assert.isUndefined(model.history("lab/base:0:0", 0))
    assert.isDefined(model.history("lab/base:4999:0", 0))
    assert.strictEqual(model.log.oldest, model.log.seq - 99)
  })
})

describe("Dashboard: what it says of an environment", () => {
  const point = (busy: number, live: number, waiters: number, ended = 1, failed = 0): Protocol.Point => ({
    t: 0,
    ended,
    failed,
    busy,
    ready: live - busy,
    live,
    waiters
  })
  const state: Protocol.ImageState = {
    image,
    counts: {} as Protocol.ImageState["counts"], // not looked at
    min: 1,
    max: 8,
    starting: 0,
    waiters: 0,
    sessionsServed: 0,
    replaced: 0
  }
  const view = (points: ReadonlyArray<Protocol.Point>, more: Partial<findings.View> = {}): findings.View => ({
    status: "Online",
    images: [state],
    leaked: 0,
    dropped: 0,
    sessions: 0,
    points,
    pointsOf: () => points,
    failures: [],
    ...more
  })
  const times = (n: number, one: Protocol.Point) => Array.from({ length: n }, () => one)

  it("whether the pool is the right size", () => {
    const title = (points: ReadonlyArray<Protocol.Point>) => findings.pool(view(points)).title
    assert.strictEqual(title([]), "No sessions yet")
    assert.strictEqual(title(times(60, point(0, 8, 0))), "No sessions yet")
    assert.strictEqual(title(times(10, point(8, 8, 3))), "Too early to tell")
    assert.strictEqual(title([...times(80, point(8, 8, 0)), ...times(20, point(8, 8, 3))]), "Too small")
    assert.strictEqual(title([...times(95, point(8, 8, 0)), ...times(5, point(8, 8, 3))]), "Right size")
    assert.strictEqual(title(times(60, point(2, 8, 0))), "Larger than needed")
    assert.strictEqual(title(times(60, point(1, 1, 0))), "Right size")
  })

  it("whether it is healthy", () => {
    const level = (more: Partial<findings.View>) => findings.health(view([], more)).level
    assert.strictEqual(level({}), "good")
    assert.strictEqual(level({ images: [{ ...state, outage: { durationMillis: 5000, attempts: 3 } }] }), "bad")
    assert.strictEqual(level({ leaked: 1 }), "bad")
    assert.strictEqual(level({ dropped: 1 }), "warn")
    assert.strictEqual(level({ status: "Draining" }), "warn")
    assert.strictEqual(level({ status: "Offline" }), "idle")
  })

  it("what fails", () => {
    const finding = (points: ReadonlyArray<Protocol.Point>) => findings.failing(view(points))
    assert.deepInclude(finding([]), { level: "idle", title: "No failures" })
    assert.deepInclude(finding(times(10, point(1, 1, 0, 5))), { level: "good", title: "No failures" })
    assert.deepInclude(finding(times(10, point(1, 1, 0, 99, 1))), { level: "warn", title: "1 % fail" })
    assert.deepInclude(finding(times(10, point(1, 1, 0, 1, 1))), { level: "bad", title: "50 % fail" })
  })

  it.prop("percentiles are within 4 % of the true ones", [Schema.Array(Schema.Finite)], ([numbers]) => {
    const values = numbers.map((n) => 0.1 + (Math.abs(n) % 1_000_000)).sort((a, b) => a - b)
    const histogram = new MovingHistogram(3)
    for (const value of values) histogram.add(value)
    for (const q of [0.5, 0.95, 1]) {
      const found = histogram.quantile(q)
      const exact = values[Math.max(1, Math.ceil(q * values.length)) - 1]
      if (exact === undefined) assert.isUndefined(found)
      else assert.approximately((found ?? 0) / exact, 1, 0.041)
    }
    histogram.next()
    histogram.next()
    histogram.next()
    assert.isUndefined(histogram.quantile(0.5), "the window has passed")
  })
})
