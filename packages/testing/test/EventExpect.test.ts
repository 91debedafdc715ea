import {
  Environment,
  EnvironmentId,
  EventRecorder,
  FeatureId,
  ImageId,
  SandboxEvent,
  SandboxId,
  type SandboxStatus,
  SessionId
} from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { expectTypeOf } from "vitest"
import * as EventExpect from "../src/EventExpect.ts"
import * as FeatureProbe from "../src/FeatureProbe.ts"
import { SimDriver } from "../src/SimDriver.ts"

const at = { environmentId: EnvironmentId.make("env"), timestamp: 0 }
const inBox = (slot: number) => ({
  ...at,
  sandboxId: SandboxId.make(`env/base:${slot}:0`),
  image: ImageId.make("base")
})
const took = { durationMillis: 0 }

const { cases } = SandboxEvent.SandboxEvent
type Status = SandboxStatus.SandboxStatus
const move = (slot: number, from: Status, to: Status) =>
  cases.SandboxStatusChanged.make({ ...inBox(slot), from, to, spentMillis: 0 })
const started = (id: string, slot = 0) =>
  cases.SessionStarted.make({ ...inBox(slot), ...took, sessionId: SessionId.make(id), waitedMillis: 0 })
const ended = (id: string, slot = 0, error?: SandboxEvent.ErrorInfo) =>
  cases.SessionEnded.make({ ...inBox(slot), ...took, sessionId: SessionId.make(id), lifetimeMillis: 0, error })
const feature = (slot: number, id: string) => ({ ...inBox(slot), ...took, featureId: FeatureId.make(id) })

const record: ReadonlyArray<SandboxEvent.SandboxEvent> = [
  cases.EnvironmentStarting.make(at),
  move(0, "Created", "SettingUp"),
  move(1, "Created", "SettingUp"),
  move(0, "SettingUp", "Ready"),
  move(1, "SettingUp", "Ready"),
  cases.EnvironmentStarted.make({ ...at, ...took }),
  move(0, "Ready", "Acquired"),
  started("session-abc"),
  ended("session-abc", 0, { tag: "Boom", message: "boom", isStateError: false }),
  move(1, "Ready", "Acquired"),
  started("session-xyz", 1),
  ended("session-xyz", 1)
]

const messageOf = <A>(effect: Effect.Effect<A, EventExpect.EventExpectationError>) =>
  Effect.map(Effect.flip(effect), (error) => error.message)

describe("inOrder", () => {
  it.effect("accepts a subsequence of lines, regular expressions, fields and predicates", () =>
    EventExpect.inOrder(record, [
      "env starting",
      /^env\/base:\d:0 SettingUp -> Ready$/g,
      { _tag: "SandboxStatusChanged", sandboxId: "env/base:1:0", to: "Ready" },
      { _tag: "SessionEnded", error: { tag: /^B/, isStateError: false } },
      (event) => event._tag === "SessionEnded"
    ])
  )

  it.effect("a field that is undefined must not be there", () =>
    Effect.gen(function* () {
      yield* EventExpect.inOrder(record, [{ _tag: "SessionEnded", sessionId: "session-xyz", error: undefined }])
      yield* Effect.flip(
        EventExpect.inOrder(record, [{ _tag: "SessionEnded", sessionId: "session-abc", error: undefined }])
      )
    })
  )

  it.effect("a placeholder stands for one id, and finds the one with which all of it fits", () =>
    Effect.gen(function* () {
      yield* EventExpect.inOrder(record, ["session <a> started", "session <a> ended: Boom", "session <b> started"])
      // Not the first session that started, but the one that ended well.
      yield* EventExpect.inOrder(record, [
        "session <a> started",
        { _tag: "SessionEnded", sessionId: "<a>", error: undefined }
      ])
      yield* Effect.flip(EventExpect.inOrder(record, ["session <a> ended", "session <a> started"]))
      // Different names are different ids.
      yield* Effect.flip(EventExpect.inOrder(record, ["session <a> started", "session <b> ended: Boom"]))
      yield* EventExpect.inOrder(record, ["<box> Ready -> Acquired", { _tag: "SessionEnded", sandboxId: "<box>" }])
    })
  )

  it.effect("shows where it stopped, what was expected next, and the nearest to it", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* messageOf(
          EventExpect.inOrder(record, [
            "env starting",
            "env started",
            "env/base:0:0 Ready -> ShuttingDown",
            "session s1 ended"
          ])
        ),
        `The events did not come in this order: 2 of 4 did.
   1 = env starting
       … 2 more
   4   env/base:0:0 SettingUp -> Ready
   5   env/base:1:0 SettingUp -> Ready
   6 = env started
     - env/base:0:0 Ready -> ShuttingDown   <- expected next
   7 ~ env/base:0:0 Ready -> Acquired   <- nearest
   8   session session-abc started
   9   session session-abc ended: Boom
  10   env/base:1:0 Ready -> Acquired
       … 2 more
and then
     - session s1 ended`
      )
    })
  )

  it.effect("says when the event came too early", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* messageOf(
          EventExpect.inOrder(record, ["env started", "env/base:0:0 SettingUp -> Ready"], { environment: "env" })
        ),
        `The events did not come in this order (of environment env): 1 of 2 did.
   1   env starting
   2   env/base:0:0 Created -> SettingUp
   3   env/base:1:0 Created -> SettingUp
   4 ~ env/base:0:0 SettingUp -> Ready   <- came too early
   5   env/base:1:0 SettingUp -> Ready
   6 = env started
     - env/base:0:0 SettingUp -> Ready   <- expected next
   7   env/base:0:0 Ready -> Acquired
   8   session session-abc started
   9   session session-abc ended: Boom
       … 3 more`
      )
    })
  )

  it.effect("says which fields differ", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* messageOf(
          EventExpect.inOrder(record, [{ _tag: "SessionEnded", sessionId: "session-abc", error: { tag: "Bam" } }], {
            session: "session-abc"
          })
        ),
        `The events did not come in this order (of session session-abc): 0 of 1 did.
    - SessionEnded { sessionId: "session-abc", error: { tag: "Bam" } }   <- expected next
  8   session session-abc started
  9 ~ session session-abc ended: Boom   <- nearest: error.tag is "Boom"`
      )
    })
  )

  it.effect("an empty record is said to be empty", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* messageOf(EventExpect.never([], "env started").pipe(Effect.andThen(EventExpect.count([], "a", 1)))),
        "Expected 1 of these events, and 0 came: a.\n  nothing was recorded"
      )
    })
  )

  it("patterns know the fields of each kind of event", () => {
    expectTypeOf<{ readonly _tag: "SessionEnded"; readonly sessionId: "s1" }>().toExtend<EventExpect.Pattern>()
    expectTypeOf<{ readonly _tag: "SandboxStatusChanged"; readonly to: "Ready" }>().toExtend<EventExpect.Pattern>()
    expectTypeOf<{ readonly _tag: "SandboxStatusChanged"; readonly to: "Gone" }>().not.toExtend<EventExpect.Pattern>()
    expectTypeOf<{ readonly _tag: "Nothing" }>().not.toExtend<EventExpect.Pattern>()
    // @ts-expect-error not a field of this event
    const pattern: EventExpect.Pattern = { _tag: "EnvironmentStarting", sessionId: "s1" }
    assert.isDefined(pattern)
  })
})

describe("exactly", () => {
  const sessions = { kinds: ["SessionStarted", "SessionEnded"] } as const

  it.effect("accepts the whole of what is looked at", () =>
    EventExpect.exactly(
      record,
      [
        "session <a> started",
        "session <a> ended: Boom",
        "session <b> started",
        { _tag: "SessionEnded", sessionId: "<b>" }
      ],
      sessions
    )
  )

  it.effect("shows a diff", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* messageOf(
          EventExpect.exactly(record, [
            "env starting",
            "env/base:0:0 Created -> SettingUp",
            "env/base:1:0 Created -> SettingUp",
            "env/base:0:0 SettingUp -> Ready",
            "env/base:1:0 SettingUp -> Ready",
            "env started",
            "env/base:0:0 Ready -> Acquired",
            "env/base:0:0 Acquired -> SettingUp",
            "session <a> started",
            { _tag: "SessionEnded", sessionId: "<a>", error: { tag: "Bam" } },
            "env/base:1:0 Ready -> Acquired",
            "session <b> started"
          ])
        ),
        `The events are not exactly those expected: 2 missing (-), 2 not expected (+).
       … 4 more
   5 = env/base:1:0 SettingUp -> Ready
   6 = env started
   7 = env/base:0:0 Ready -> Acquired
     - env/base:0:0 Acquired -> SettingUp
   8 = session session-abc started
     - SessionEnded { sessionId: "<a>", error: { tag: "Bam" } }   <- error.tag is "Boom"
   9 + session session-abc ended: Boom
  10 = env/base:1:0 Ready -> Acquired
  11 = session session-xyz started
  12 + session session-xyz ended`
      )
    })
  )

  it.effect("a placeholder that stood for another id is a difference", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* messageOf(
          EventExpect.exactly(
            record,
            ["session <a> started", "session <b> ended: Boom", "session <c> started", "session <c> ended"],
            sessions
          )
        ),
        `The events are not exactly those expected (of SessionStarted, SessionEnded): 1 missing (-), 1 not expected (+).
   8 = session session-abc started
     - session <b> ended: Boom
   9 + session session-abc ended: Boom
  11 = session session-xyz started
  12 = session session-xyz ended`
      )
    })
  )
})

describe("never, count, lines", () => {
  it.effect("never shows what came", () =>
    Effect.gen(function* () {
      yield* EventExpect.never(record, { _tag: "SandboxShutDown" })
      yield* EventExpect.never(record, /session-xyz/, { sandbox: "env/base:0:0" })
      assert.strictEqual(
        yield* messageOf(EventExpect.never(record, /session-xyz/)),
        `2 events came that never should: /session-xyz/.
       … 7 more
   8   session session-abc started
   9   session session-abc ended: Boom
  10   env/base:1:0 Ready -> Acquired
  11 + session session-xyz started
  12 + session session-xyz ended`
      )
    })
  )

  it.effect("count takes a number or bounds, and shows those that came", () =>
    Effect.gen(function* () {
      yield* EventExpect.count(record, "session <a> started", 2)
      yield* EventExpect.count(record, /started/, { min: 2 })
      yield* EventExpect.count(record, /started/, { max: 3 })
      assert.strictEqual(
        yield* messageOf(EventExpect.count(record, { _tag: "SandboxStatusChanged", to: "Acquired" }, 3)),
        `Expected 3 of these events, and 2 came: SandboxStatusChanged { to: "Acquired" }.
       … 6 more
   7 = env/base:0:0 Ready -> Acquired
       … 2 more
  10 = env/base:1:0 Ready -> Acquired
       … 2 more`
      )
      assert.strictEqual(
        yield* messageOf(
          EventExpect.count(
            record,
            "env/base:0:0 Acquired -> InSession",
            { min: 1, max: 2 },
            { sandbox: "env/base:0:0" }
          )
        ),
        `Expected 1 to 2 of these events (of sandbox env/base:0:0), and 0 came: env/base:0:0 Acquired -> InSession.
  2   env/base:0:0 Created -> SettingUp
  4   env/base:0:0 SettingUp -> Ready
  7 ~ env/base:0:0 Ready -> Acquired   <- nearest
  8   session session-abc started
  9   session session-abc ended: Boom`
      )
    })
  )

  it.effect("lines are those of what is looked at", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* EventExpect.lines(record, { session: "session-xyz" }), [
        "session session-xyz started",
        "session session-xyz ended"
      ])
      assert.deepStrictEqual(yield* EventExpect.lines(record, { sandbox: "env/base:1:0", kinds: ["SessionStarted"] }), [
        "session session-xyz started"
      ])
      assert.lengthOf(yield* EventExpect.lines(record, { image: "base" }), 10)
      assert.lengthOf(yield* EventExpect.lines(record, { feature: "one" }), 0)
    })
  )
})

describe("with a recorder", () => {
  const test = Layer.mergeAll(SimDriver.layer(), EventRecorder.layer)

  it.effect("a whole life is exactly its lines, and well formed", () =>
    Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const one = FeatureProbe.make("one")
      yield* Effect.scoped(
        Effect.gen(function* () {
          const env = yield* Environment.make({ id: "env", images: ["base"], pool: 0, features: [one.feature] })
          yield* env.withSession({ id: "s1" }, Effect.void)
        })
      )
      yield* EventExpect.exactly(
        recorder,
        [
          "<box> Created -> SettingUp",
          "<box> feature one set up",
          "<box> started",
          "<box> SettingUp -> Ready",
          "<box> Ready -> Acquired",
          "<box> Acquired -> SettingUp",
          "<box> feature one session set up",
          "<box> SettingUp -> InSession",
          "session s1 started",
          "<box> InSession -> ExitingSession",
          "<box> feature one session torn down",
          "session s1 ended",
          "<box> ExitingSession -> ShuttingDown",
          "<box> feature one torn down",
          "<box> ShuttingDown -> Offline",
          "<box> shut down"
        ],
        { sandbox: "env/base:0:0" }
      )
      yield* EventExpect.assertWellFormed(recorder)
    }).pipe(Effect.provide(test))
  )

  it.effect("eventually waits for what comes, without time", () =>
    Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const env = yield* Environment.make({ id: "env", images: ["base"], pool: 0 })
      const waiting = yield* Effect.forkChild(
        EventExpect.eventually(recorder, { _tag: "SessionEnded", sessionId: "s1" }),
        { startImmediately: true }
      )
      yield* env.withSession({ id: "s1" }, Effect.yieldNow)
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "SessionEnded")
      assert.strictEqual(
        yield* messageOf(
          EventExpect.eventually(recorder, "session s2 ended", { turns: 3, kinds: ["SessionStarted", "SessionEnded"] })
        ),
        `It has not come (of SessionStarted, SessionEnded), in 3 turns: session s2 ended.
   9   session s1 started
  11 ~ session s1 ended   <- nearest
     - session s2 ended   <- expected`
      )
    }).pipe(Effect.provide(test))
  )

  it.effect("eventually waits by the clock", () =>
    Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const env = yield* Environment.make({ id: "env", images: ["base"], pool: 0 })
      const expectation = EventExpect.eventually(recorder, "session s1 ended", { timeout: "1 minute" })
      const inTime = yield* Effect.forkChild(expectation, { startImmediately: true })
      yield* Effect.forkChild(env.withSession({ id: "s1" }, Effect.sleep("50 seconds")), { startImmediately: true })
      yield* TestClock.adjust("50 seconds")
      assert.strictEqual((yield* Fiber.join(inTime))._tag, "SessionEnded")
      const late = yield* Effect.forkChild(
        messageOf(EventExpect.eventually(recorder, "session s2 ended", { timeout: "1 minute", session: "s2" })),
        { startImmediately: true }
      )
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(
        yield* Fiber.join(late),
        `It has not come (of session s2), in time: session s2 ended.
    - session s2 ended   <- expected`
      )
    }).pipe(Effect.provide(test))
  )
})

describe("wellFormed", () => {
  const shown = (events: ReadonlyArray<SandboxEvent.SandboxEvent>, isOver?: boolean) =>
    EventExpect.wellFormed(events, { isOver }).map(
      ({ description, invariant, subject }) => `${invariant} ${subject}: ${description}`
    )

  const up = [move(0, "Created", "SettingUp"), move(0, "SettingUp", "Ready")]
  const opened = [
    ...up,
    move(0, "Ready", "Acquired"),
    move(0, "Acquired", "SettingUp"),
    move(0, "SettingUp", "InSession")
  ]

  it("I1 I6 I7 what began must have ended, unless it is not over", () => {
    const events = [
      cases.EnvironmentStarting.make(at),
      cases.FeatureSetUp.make({ ...at, ...took, featureId: FeatureId.make("host") }),
      ...opened,
      cases.FeatureSetUp.make(feature(0, "one")),
      cases.FeatureSessionSetUp.make(feature(0, "one")),
      started("s1")
    ]
    assert.deepStrictEqual(shown(events, false), [])
    assert.deepStrictEqual(shown(events), [
      "I6 env/base:0:0: session s1 never ended",
      "I1 env/base:0:0: the session of feature one was never torn down",
      "I1 env/base:0:0: feature one was never torn down",
      "I7 env/base:0:0: it ended InSession, not Offline",
      "I6 env: its start never ended",
      "I6 env: it never shut down",
      "I1 env: host feature host was never torn down"
    ])
  })

  it("I1 teardowns come in reverse order, and sessions before features", () => {
    const { FeatureSessionSetUp, FeatureSessionTornDown, FeatureSetUp, FeatureTornDown } = cases
    assert.deepStrictEqual(
      shown(
        [
          FeatureSetUp.make(feature(0, "one")),
          FeatureSetUp.make(feature(0, "two")),
          FeatureSessionSetUp.make(feature(0, "two")),
          FeatureTornDown.make(feature(0, "one")),
          FeatureSessionTornDown.make(feature(0, "two")),
          FeatureTornDown.make(feature(0, "two")),
          FeatureTornDown.make(feature(0, "two")),
          FeatureSessionTornDown.make(feature(0, "one"))
        ],
        false
      ),
      [
        "I1 env/base:0:0: feature one was torn down before two",
        "I1 env/base:0:0: feature one was torn down while sessions of two were up",
        "I1 env/base:0:0: feature two was torn down without a set-up",
        "I1 env/base:0:0: the session of feature one was torn down without a set-up"
      ]
    )
  })

  it("I3 I4 one session at a time, and none after a state error", () => {
    const broke = { tag: "SandboxStateError", message: "Sandbox env/base:0:0 broke during ping", isStateError: true }
    const other = { ...broke, message: "Sandbox env/base:0:01 broke during ping" }
    assert.deepStrictEqual(shown([started("s1"), started("s2"), ended("s1")], false), [
      "I3 env/base:0:0: session s2 started while session s1 was running",
      "I6 env/base:0:0: session s1 ended, but s2 was running"
    ])
    assert.deepStrictEqual(shown([started("s1"), ended("s1", 0, broke), started("s2")], false), [
      "I4 env/base:0:0: session s2 started after a state error"
    ])
    assert.deepStrictEqual(shown([started("s1"), ended("s1", 0, other), started("s2"), started("s3", 1)], false), [])
  })

  it("I5 I6 only legal moves, in an unbroken chain", () => {
    assert.deepStrictEqual(shown([...up, move(0, "Ready", "InSession"), move(0, "SettingUp", "Ready")], false), [
      "I5 env/base:0:0: illegal move Ready -> InSession",
      "I6 env/base:0:0: a move is missing: it was InSession, and now leaves SettingUp"
    ])
  })

  it("I6 durations are not negative, and starts and ends are paired", () => {
    assert.deepStrictEqual(
      shown(
        [
          cases.EnvironmentShutDown.make({ ...at, durationMillis: 0, lifetimeMillis: -1 }),
          { ...started("s1"), waitedMillis: -5 }
        ],
        false
      ),
      [
        "I6 env: EnvironmentShutDown without a start",
        "I6 env: lifetimeMillis of EnvironmentShutDown is -1",
        "I6 env/base:0:0: waitedMillis of SessionStarted is -5"
      ]
    )
  })

  it("I1 sessions of host features may overlap", () => {
    const session = (id: string) => ({
      ...at,
      ...took,
      featureId: FeatureId.make("host"),
      sessionId: SessionId.make(id)
    })
    assert.deepStrictEqual(
      shown(
        [
          cases.FeatureSessionSetUp.make(session("s1")),
          cases.FeatureSessionSetUp.make(session("s2")),
          cases.FeatureSessionTornDown.make(session("s1")),
          cases.FeatureSessionTornDown.make(session("s1"))
        ],
        false
      ),
      ["I1 env: the session of host feature host was torn down without a set-up"]
    )
  })

  it.effect("an environment may be made again under its id when it has shut down", () =>
    Effect.gen(function* () {
      const recorder = yield* EventRecorder
      const shell = FeatureProbe.make("shell")
      const life = Effect.scoped(
        Effect.gen(function* () {
          const env = yield* Environment.make({ id: "env", images: ["base"], pool: 1, features: [shell.feature] })
          yield* env.withSession({ id: "s1" }, Effect.void)
        })
      )
      yield* life
      const once = (yield* recorder.events).length
      yield* life
      yield* EventExpect.count(recorder, "env/base:0:0 Created -> SettingUp", 2)
      yield* EventExpect.assertWellFormed(recorder)
      // The second begins before the first is over.
      const events = yield* recorder.events
      const early = [...events.slice(0, once - 1), ...events.slice(once), ...events.slice(once - 1, once)]
      assert.include(shown(early), "I6 env/base:0:0: a move is missing: it was Offline, and now leaves Created")
    }).pipe(Effect.provide(Layer.mergeAll(SimDriver.layer(), EventRecorder.layer)))
  )

  it("I1 I4 I7 a second life makes up for nothing in the first", () => {
    const begin = [cases.EnvironmentStarting.make(at), cases.EnvironmentStarted.make({ ...at, ...took })]
    const over = cases.EnvironmentShutDown.make({ ...at, ...took, lifetimeMillis: 0 })
    const down = [move(0, "Ready", "ShuttingDown"), move(0, "ShuttingDown", "Offline")]
    const broke = { tag: "SandboxStateError", message: "Sandbox env/base:0:0 broke during ping", isStateError: true }
    const { FeatureSetUp, FeatureTornDown } = cases
    const first = [...begin, ...up, FeatureSetUp.make(feature(0, "one")), started("s1"), ended("s1", 0, broke)]
    const second = [...begin, ...up, started("s1"), ended("s1"), FeatureTornDown.make(feature(0, "one")), ...down, over]
    assert.deepStrictEqual(shown([...first, ...down, over, ...second]), [
      "I1 env/base:0:0: feature one was never torn down",
      "I1 env/base:0:0: feature one was torn down without a set-up"
    ])
    assert.deepStrictEqual(shown([...begin, ...up, over, ...begin, ...up, ...down, over]), [
      "I6 env/base:0:0: a move is missing: it was Ready, and now leaves Created"
    ])
  })

  it.effect("tells all violations with their events", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(EventExpect.assertWellFormed([...up, started("s1"), started("s2")]))
      assert.strictEqual(
        error.message,
        `The events break rules in 3 places:
  I3 env/base:0:0: session s2 started while session s1 was running (at event 4, session s2 started)
  I6 env/base:0:0: session s2 never ended (at the end)
  I7 env/base:0:0: it ended Ready, not Offline (at the end)`
      )
      assert.strictEqual(error._tag, "MalformedEventsError")
    })
  )
})
