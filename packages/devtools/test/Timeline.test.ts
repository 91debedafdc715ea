import { NodeServices } from "@effect/platform-node"
import type { SandboxEvent } from "@effect-sandbox/core"
import { outcome } from "@effect-sandbox/core/EventMetrics"
import { EnvironmentId, FeatureId, ImageId, SandboxId, SessionId } from "@effect-sandbox/core/Id"
import * as SandboxStatus from "@effect-sandbox/core/SandboxStatus"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Schema, Stream } from "effect"
import { createHash } from "node:crypto"
import { Analysis, Timeline } from "../src/index.ts"
import { maxText, TimelineBuilder } from "../src/internal/timelineBuilder.ts"
import * as Data from "../src/internal/timelineData.ts"
import { sample } from "./support/sample.ts"
import { decodeAll, readTimeline } from "./support/timelineFile.ts"

type Event = SandboxEvent.SandboxEvent

/** What the page would be given. */
const dataOf = (events: Iterable<Event>): Data.TimelineData => {
  const builder = new TimelineBuilder()
  for (const event of events) builder.add(event)
  return decodeAll(Buffer.concat(Data.encode(builder.finish("test"))))
}

const range = (length: number): Array<number> => Array.from({ length }, (_, index) => index)
const sorted = (lines: Iterable<string>): Array<string> => [...lines].sort()
/** Times as they are kept, to the microsecond. */
const time = (millis: number): string => millis.toFixed(3)

/** Which kind of bar tells of which kind of event. */
const kindOf: { readonly [tag in SandboxEvent.Tag]?: Data.SpanKind } = {
  EnvironmentStarted: "EnvironmentStart",
  EnvironmentHousekeepingDone: "EnvironmentHousekeeping",
  EnvironmentShutDown: "EnvironmentShutDown",
  SandboxStarted: "SandboxStart",
  SandboxActivity: "SandboxActivity",
  SandboxHousekeepingDone: "SandboxHousekeeping",
  SandboxShutDown: "SandboxShutDown",
  FeatureSetUp: "FeatureSetUp",
  FeatureTornDown: "FeatureTornDown",
  FeatureSessionSetUp: "FeatureSessionSetUp",
  FeatureSessionTornDown: "FeatureSessionTornDown",
  FeatureActivity: "FeatureActivity",
  FeatureHousekeepingDone: "FeatureHousekeeping"
}

const errorLine = (error: SandboxEvent.ErrorInfo | undefined): string =>
  error === undefined ? "ok" : `${outcome(error)} ${error.tag}: ${error.message}`

/** Everything that the data says, as lines that events can be compared with. */
const told = (data: Data.TimelineData) => {
  const { errors, failures, marks, outages, pools, sandboxes, segments, sessions, spans, strings } = data
  const at = (millis: number) => time(data.meta.origin + millis)
  const error = (row: number) =>
    row < 0
      ? "ok"
      : `${Data.outcomes[errors.outcome[row]!]} ${strings.at(errors.tag[row]!)}: ${strings.at(errors.message[row]!)}`
  const image = (pool: number) => strings.at(pools.image[pool]!)
  const sandbox = (row: number) => (row < 0 ? "-" : strings.at(sandboxes.name[row]!))
  const all = range(spans.length)
  return {
    sandboxes: sorted(range(sandboxes.length).map(sandbox)),
    segments: sorted(
      range(segments.length)
        .filter((row) => segments.flags[row] === 0)
        .map(
          (row) =>
            `${sandbox(segments.sandbox[row]!)} ${Data.statuses[segments.status[row]!]} until ${at(segments.start[row]! + segments.duration[row]!)} for ${time(segments.duration[row]!)}`
        )
    ),
    sessions: sorted(
      all
        .filter((row) => Data.spanKinds[spans.kind[row]!] === "Session")
        .map(
          (row) =>
            `${strings.at(spans.name[row]!)} in ${sandbox(spans.sandbox[row]!)} until ${at(spans.start[row]! + spans.duration[row]!)}: ${error(spans.error[row]!)}`
        )
    ),
    waits: sorted(
      range(sessions.length).map((row) => `${strings.at(sessions.name[row]!)} ${time(sessions.waited[row]!)}`)
    ),
    spans: sorted(
      all
        .filter((row) => Data.spanKinds[spans.kind[row]!] !== "Session")
        .map((row) => {
          const session = spans.session[row]!
          return [
            Data.spanKinds[spans.kind[row]!],
            sandbox(spans.sandbox[row]!),
            session < 0 ? "-" : strings.at(sessions.name[session]!),
            strings.at(spans.feature[row]!),
            Data.spanKinds[spans.kind[row]!]!.endsWith("Activity") ? strings.at(spans.name[row]!) : "",
            `until ${at(spans.start[row]! + spans.duration[row]!)} for ${time(spans.duration[row]!)}`,
            error(spans.error[row]!)
          ].join(" ")
        })
    ),
    outages: sorted(
      range(outages.length).map(
        (row) =>
          `${image(outages.pool[row]!)} for ${time(outages.duration[row]!)} with ${outages.attempts[row]}: ${error(outages.error[row]!)}`
      )
    ),
    failures: sorted(
      range(failures.length).map(
        (row) => `${image(failures.pool[row]!)} after ${time(failures.waited[row]!)}: ${error(failures.error[row]!)}`
      )
    ),
    marks: sorted(range(marks.length).map((row) => `${Data.markKinds[marks.kind[row]!]} ${at(marks.start[row]!)}`))
  }
}

/** The same of events. */
const expected = (events: ReadonlyArray<Event>): ReturnType<typeof told> => {
  const lines = (f: (event: Event) => ReadonlyArray<string>) => sorted(events.flatMap(f))
  return {
    sandboxes: sorted(
      new Set(
        events.flatMap((event) =>
          "sandboxId" in event && event._tag !== "ActionRequested" && event.sandboxId !== undefined
            ? [event.sandboxId]
            : []
        )
      )
    ),
    segments: lines((event) =>
      event._tag === "SandboxStatusChanged"
        ? [`${event.sandboxId} ${event.from} until ${time(event.timestamp)} for ${time(event.spentMillis)}`]
        : []
    ),
    sessions: lines((event) =>
      event._tag === "SessionEnded" || (event._tag === "SessionStarted" && event.error !== undefined)
        ? [`${event.sessionId} in ${event.sandboxId} until ${time(event.timestamp)}: ${errorLine(event.error)}`]
        : []
    ),
    waits: lines((event) =>
      event._tag === "SessionStarted" ? [`${event.sessionId} ${time(event.waitedMillis)}`] : []
    ),
    spans: lines((event) => {
      const kind = kindOf[event._tag]
      if (kind === undefined || !("durationMillis" in event)) return []
      return [
        [
          kind,
          "sandboxId" in event ? (event.sandboxId ?? "-") : "-",
          "sessionId" in event ? (event.sessionId ?? "-") : "-",
          "featureId" in event ? event.featureId : "",
          "name" in event ? event.name : "",
          `until ${time(event.timestamp)} for ${time(event.durationMillis)}`,
          errorLine("error" in event ? event.error : undefined)
        ].join(" ")
      ]
    }),
    outages: lines((event) => {
      if (event._tag !== "ImageOutageEnded") return []
      const start = events.findLast(
        (one) => one._tag === "ImageOutageStarted" && one.image === event.image && one.timestamp <= event.timestamp
      )
      const error = start !== undefined && "error" in start ? start.error : undefined
      return [`${event.image} for ${time(event.durationMillis)} with ${event.attempts}: ${errorLine(error)}`]
    }),
    failures: lines((event) =>
      event._tag === "AcquireFailed"
        ? [`${event.image} after ${time(event.waitedMillis)}: ${errorLine(event.error)}`]
        : []
    ),
    marks: lines((event) =>
      (Data.markKinds as ReadonlyArray<string>).includes(event._tag) ? [`${event._tag} ${time(event.timestamp)}`] : []
    )
  }
}

const facts = {
  environmentId: EnvironmentId.make("lab"),
  sandboxId: SandboxId.make("lab/base:0:0"),
  image: ImageId.make("base")
}
const moved = (
  from: SandboxStatus.SandboxStatus,
  to: SandboxStatus.SandboxStatus,
  timestamp: number,
  spentMillis = 0
): Event => ({
  _tag: "SandboxStatusChanged",
  ...facts,
  from,
  to,
  timestamp,
  spentMillis
})

describe("Timeline", () => {
  it("knows the statuses of the core", () => {
    assert.deepStrictEqual([...Data.statuses], [...SandboxStatus.all])
  })

  it.effect("tells of every sandbox, session, activity, error and outage of a run exactly once", () =>
    Effect.gen(function* () {
      const events = yield* sample()
      const html = yield* Timeline.html(Stream.fromIterable(events))
      const data = readTimeline(html)
      assert.strictEqual(data.meta.events, events.length)
      assert.deepStrictEqual(told(data), expected(events))
      // The run is one in which these things happen.
      for (const tag of [
        "ImageOutageEnded",
        "AcquireFailed",
        "SandboxActivity",
        "FeatureSessionSetUp",
        "SandboxShutDown"
      ] as const) {
        assert.isTrue(
          events.some((event) => event._tag === tag),
          tag
        )
      }
      for (const kind of ["state_error", "user_error"]) {
        assert.isTrue(
          told(data).sessions.some((line) => line.includes(kind)),
          kind
        )
      }
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("says of pools what a report says", () =>
    Effect.gen(function* () {
      const events = yield* sample({ seed: "verdicts" })
      const { images } = yield* Analysis.fromStream(Stream.fromIterable(events))
      assert.isNotEmpty(images)
      assert.deepStrictEqual(
        dataOf(events).meta.verdicts,
        images.map(({ environmentId, image, verdict }) => ({ environment: environmentId, image, text: verdict.text }))
      )
    })
  )

  it.effect("keeps bars of a row apart, and sorted", () =>
    Effect.gen(function* () {
      const { spans } = dataOf(yield* sample({ seed: "rows" }))
      for (let i = 1; i < spans.length; i++) {
        if (spans.lane[i] !== spans.lane[i - 1] || spans.row[i] !== spans.row[i - 1]) continue
        assert.isAtLeast(spans.start[i]!, spans.start[i - 1]!)
        if (spans.row[i]! > 0 && spans.row[i]! < Data.maxRow) {
          assert.isAtLeast(spans.start[i]! + 0.001, spans.start[i - 1]! + spans.duration[i - 1]!)
        }
      }
    })
  )

  it.effect("puts everything into the lane of its slot, and lanes in order", () =>
    Effect.gen(function* () {
      const data = dataOf(yield* sample({ seed: "lanes" }))
      const { environments, lanes, pools, sandboxes, segments, spans, strings } = data
      const lane = (row: number) => {
        const pool = lanes.pool[row]!
        return `${strings.at(environments.name[pools.environment[pool]!]!)}/${strings.at(pools.image[pool]!)}:${lanes.slot[row]}`
      }
      const laneOf = (sandbox: number) => strings.at(sandboxes.name[sandbox]!).replace(/:\d+$/, "")
      for (const table of [segments, spans]) {
        for (const row of range(table.length)) {
          const sandbox = table.sandbox[row]!
          assert.strictEqual(lane(table.lane[row]!), sandbox < 0 ? "grade/:-1" : laneOf(sandbox))
        }
      }
      assert.deepStrictEqual(range(lanes.length).map(lane), [
        ...[0, 1, 2, 3].map((slot) => `grade/python:${slot}`),
        ...[0, 1].map((slot) => `grade/node:${slot}`),
        "grade/:-1"
      ])
    })
  )

  it("takes an id that comes again for something new", () => {
    const ended = (timestamp: number): Event => ({
      _tag: "SessionEnded",
      ...facts,
      sessionId: SessionId.make("s1"),
      timestamp,
      durationMillis: 1,
      lifetimeMillis: 50
    })
    const data = dataOf([
      moved("Created", "SettingUp", 0),
      ended(100),
      ended(200),
      // The same sandbox, of a run whose start was not told.
      moved("Created", "SettingUp", 1_000),
      ended(1_100)
    ])
    assert.deepStrictEqual(told(data).sandboxes, ["lab/base:0:0", "lab/base:0:0"])
    assert.deepStrictEqual([...data.spans.start], [50, 150, 1_050])
    assert.deepStrictEqual([...data.spans.sandbox], [0, 0, 1])
  })

  it("gives what belongs to the environment itself a lane of its own", () => {
    const data = dataOf([
      {
        _tag: "FeatureSetUp",
        environmentId: facts.environmentId,
        featureId: FeatureId.make("host"),
        timestamp: 7,
        durationMillis: 7
      }
    ])
    assert.strictEqual(data.sandboxes.length, 0)
    assert.deepStrictEqual([...data.lanes.slot], [-1])
    assert.deepStrictEqual([...data.spans.lane], [0])
  })

  it.effect("draws any part of a run: everything that is mentioned, once", () =>
    Effect.gen(function* () {
      const events = yield* sample()
      for (let from = 0; from < events.length - 40; from += 97) {
        const part = events.slice(from, from + 40 + ((from * 7) % 900))
        const data = dataOf(part)
        const sees = told(data)
        const { sandboxes, spans } = expected(part)
        assert.deepStrictEqual(sees.sandboxes, sandboxes)
        assert.deepStrictEqual(sees.spans, spans)
        const mentioned = new Set(
          part.flatMap((event) =>
            "sessionId" in event &&
            event.sessionId !== undefined &&
            !(event._tag === "SandboxStatusChanged" && event.from === "ExitingSession")
              ? [event.sessionId]
              : []
          )
        )
        const drawn = range(data.spans.length).filter((row) => data.spans.kind[row] === 0)
        assert.deepStrictEqual(sorted(drawn.map((row) => data.strings.at(data.spans.name[row]!))), sorted(mentioned))
        for (const row of range(data.spans.length)) assert.isAtLeast(data.spans.duration[row]!, 0)
        for (const row of range(data.segments.length)) assert.isAtLeast(data.segments.duration[row]!, 0)
        for (const row of range(data.outages.length)) assert.isAtLeast(data.outages.duration[row]!, 0)
      }
    })
  )

  it.effect("draws what is left when events were dropped", () =>
    Effect.gen(function* () {
      const events = yield* sample()
      for (let seed = 1; seed <= 20; seed++) {
        const part = events.filter((_, index) => (index * 31 + seed * 17) % 7 < 1 + (seed % 6))
        const data = dataOf(part)
        assert.deepStrictEqual(told(data).sandboxes, expected(part).sandboxes)
        assert.deepStrictEqual(told(data).spans, expected(part).spans)
        for (const row of range(data.spans.length)) assert.isAtLeast(data.spans.duration[row]!, 0)
      }
    })
  )

  it("marks what has no end, and what was there before the first event", () => {
    const data = dataOf([
      moved("Ready", "Acquired", 1_000, 400),
      moved("Acquired", "InSession", 1_010, 10),
      {
        _tag: "SessionStarted",
        ...facts,
        timestamp: 1_010,
        sessionId: SessionId.make("s1"),
        durationMillis: 10,
        waitedMillis: 50
      },
      { _tag: "ImageOutageStarted", environmentId: facts.environmentId, image: facts.image, timestamp: 1_500 }
    ])
    assert.strictEqual(data.meta.origin, 1_000)
    assert.strictEqual(data.meta.start, -400)
    assert.strictEqual(data.meta.end, 500)
    assert.strictEqual(data.sandboxes.flags[0], Data.startUnknown | Data.endUnknown)
    assert.deepStrictEqual([...data.spans.flags], [Data.endUnknown])
    assert.deepStrictEqual([...data.spans.duration], [500])
    assert.strictEqual(Data.outcomes[data.spans.outcome[0]!], "unknown")
    assert.deepStrictEqual([...data.outages.flags], [Data.endUnknown])
    assert.deepStrictEqual(
      range(data.segments.length).map((row) => [
        Data.statuses[data.segments.status[row]!],
        data.segments.duration[row],
        data.segments.flags[row]
      ]),
      [
        ["Ready", 400, 0],
        ["Acquired", 10, 0],
        ["InSession", 490, Data.endUnknown]
      ]
    )
  })

  it.effect("takes a second run of the same environment for another life of it", () =>
    Effect.gen(function* () {
      const events = yield* sample({ sessions: 30 })
      const killed = events.slice(0, events.length / 2)
      const later = events.map((event) => ({ ...event, timestamp: event.timestamp + 100_000 }))
      const data = dataOf([...killed, ...later])
      const sandboxes = [...expected(killed).sandboxes, ...expected(later).sandboxes]
      assert.deepStrictEqual(told(data).sandboxes, sorted(sandboxes))
      assert.deepStrictEqual(told(data).spans, sorted([...expected(killed).spans, ...expected(later).spans]))
      // What the first run left ends where that was last heard of, and not in the second.
      const end = killed.at(-1)!.timestamp
      assert.strictEqual(
        data.segments.flags.filter((flags) => flags !== 0).length,
        [
          ...new Map(
            killed.flatMap((event) => (event._tag === "SandboxStatusChanged" ? [[event.sandboxId, event.to]] : []))
          )
        ].filter(([, status]) => status !== "Offline").length
      )
      for (const row of range(data.segments.length)) {
        if (data.segments.flags[row] === 0) continue
        assert.isAtMost(data.segments.start[row]! + data.segments.duration[row]!, end)
      }
    })
  )

  it.effect("has a page also for no events, and for one", () =>
    Effect.gen(function* () {
      assert.strictEqual(readTimeline(yield* Timeline.html(Stream.empty)).meta.events, 0)
      const one = readTimeline(yield* Timeline.html(Stream.make(moved("Created", "SettingUp", 5))))
      assert.deepStrictEqual(told(one).sandboxes, ["lab/base:0:0"])
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("lets no text of an event or a title become markup", () =>
    Effect.gen(function* () {
      const evil = `</script><script>alert(1)</script><!-- "'&`
      const html = yield* Timeline.html(
        Stream.make<Array<Event>>({
          _tag: "SandboxActivity",
          ...facts,
          timestamp: 5,
          name: evil,
          durationMillis: 1,
          error: { tag: evil, message: evil, isStateError: false }
        }),
        { title: evil }
      )
      const plain = yield* Timeline.html(Stream.empty)
      const elements = (text: string) => text.match(/<[/!a-z][^\s>]*/gi)?.length
      assert.strictEqual(elements(html), elements(plain))
      assert.notInclude(html, evil)
      const data = readTimeline(html)
      assert.strictEqual(data.strings.at(data.spans.name[0]!), evil)
      assert.strictEqual(data.meta.title, evil)
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("is one run of base64, however much there is", () =>
    Effect.gen(function* () {
      // Texts that cannot be compressed, so that there are many pieces.
      const events = range(20_000).map((index): Event => ({
        _tag: "SandboxActivity",
        ...facts,
        timestamp: index,
        name: createHash("sha256").update(String(index)).digest("hex"),
        durationMillis: 1
      }))
      const html = yield* Timeline.html(Stream.fromIterable(events))
      assert.match(/id="data">([^<]*)</.exec(html)![1]!, /^[A-Za-z0-9+/]{500000,}={0,2}$/)
      assert.deepStrictEqual(told(readTimeline(html)).spans, expected(events).spans)
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it("cuts long messages", () => {
    const data = dataOf([
      { _tag: "SandboxActivity", ...facts, timestamp: 5, name: "x".repeat(maxText + 5), durationMillis: 1 }
    ])
    assert.strictEqual(data.strings.at(data.spans.name[0]!), `${"x".repeat(maxText)}…`)
  })

  it.effect("replaces a file only by a whole one", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const file = `${folder}/a.html`
      yield* Timeline.write(file, Stream.make(moved("Created", "SettingUp", 5)), { title: "first" })
      const broken = Stream.concat(Stream.make(moved("Created", "SettingUp", 5)), Stream.fail("broken" as const))
      assert.strictEqual(yield* Effect.flip(Timeline.write(file, broken, { title: "second" })), "broken")
      assert.deepStrictEqual(yield* fs.readDirectory(folder), ["a.html"])
      assert.strictEqual(readTimeline(yield* fs.readFileString(file)).meta.title, "first")
      yield* Timeline.write(file, Stream.empty, { title: "third" })
      assert.strictEqual(readTimeline(yield* fs.readFileString(file)).meta.title, "third")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})

// ---------------------------------------------------------------------------------------------------------------------

const Text = Schema.String
const Index = Schema.Int.check(Schema.isBetween({ minimum: -1, maximum: 2 ** 31 - 1 }))
const Millis = Schema.Finite.check(Schema.isBetween({ minimum: -1e9, maximum: 1e9 }))

const emptyTables = () => new TimelineBuilder().finish("")

describe("timelineData", () => {
  it.prop(
    "gives back what was written",
    {
      title: Text,
      strings: Schema.Array(Text),
      rows: Schema.Array(Schema.Struct({ a: Index, b: Index, start: Millis, duration: Millis }))
    },
    ({ rows, strings, title }) => {
      const outages = new Data.TableBuilder("outages")
      const segments = new Data.TableBuilder("segments")
      for (const { a, b, duration, start } of rows) {
        outages.push({ pool: a, start, duration, attempts: b, error: -1, flags: 0 })
        segments.push({ lane: a, sandbox: b, status: 1, start, duration, flags: 3 })
      }
      const verdicts = [{ environment: title, image: "base", text: "fits" }]
      const meta = { title, events: 7, origin: 1e12, start: -1.5, end: 2, verdicts }
      const data = decodeAll(
        Buffer.concat(
          Data.encode({ ...emptyTables(), outages: outages.table(), segments: segments.table(), meta, strings })
        )
      )
      assert.deepStrictEqual(data.meta, meta)
      // Halves of pairs, which UTF-8 does not have, become replacement characters.
      assert.deepStrictEqual(
        range(data.strings.length).map(data.strings.at),
        strings.map((text) => Buffer.from(text).toString())
      )
      assert.deepStrictEqual(
        [...data.outages.pool],
        rows.map(({ a }) => a)
      )
      assert.deepStrictEqual(
        [...data.segments.lane],
        rows.map(({ a }) => a)
      )
      assert.deepStrictEqual(
        [...data.segments.sandbox],
        rows.map(({ b }) => b)
      )
      const exact = (millis: number) => (Math.round(millis * 1000) || 0) / 1000
      assert.deepStrictEqual(
        [...data.outages.start],
        rows.map(({ start }) => exact(start))
      )
      assert.deepStrictEqual(
        [...data.segments.duration],
        rows.map(({ duration }) => exact(duration))
      )
      assert.deepStrictEqual(
        [...data.segments.flags],
        rows.map(() => 3)
      )
    }
  )

  it("keeps times that make no sense within what can be written", () => {
    const outages = new Data.TableBuilder("outages")
    for (const start of [Number.MAX_VALUE, -Number.MAX_VALUE, Number.NaN, 1]) {
      outages.push({ pool: 0, start, duration: start, attempts: 0, error: -1, flags: 0 })
    }
    const data = decodeAll(Buffer.concat(Data.encode({ ...emptyTables(), outages: outages.table(), strings: [] })))
    assert.deepStrictEqual([...data.outages.start], [2 ** 50 / 1000, -(2 ** 50) / 1000, 0, 1])
  })

  it("says when it is of another version", () => {
    const [length, header, ...rest] = Data.encode(emptyTables())
    const other = Buffer.from(Buffer.from(header!).toString().replace('"version":1', '"version":9'))
    assert.throws(() => decodeAll(Buffer.concat([length!, other, ...rest])), "unknown version 9")
  })
})
