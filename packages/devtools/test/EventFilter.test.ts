import { SandboxEvent } from "@effect-sandbox/core"
import { EventFilter } from "@effect-sandbox/devtools"
import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { nth } from "./support/journals.ts"

const failed: SandboxEvent.SandboxEvent = {
  ...nth(3),
  error: { tag: "Oops", message: "no", isStateError: false }
}
const broken: SandboxEvent.SandboxEvent = { ...nth(4), error: { tag: "Oops", message: "no", isStateError: true } }
const cut: SandboxEvent.SandboxEvent = {
  ...nth(5),
  error: { tag: "Interrupted", message: "interrupted", isStateError: false }
}
const starting = SandboxEvent.SandboxEvent.cases.EnvironmentStarting.make({
  environmentId: nth(0).environmentId,
  timestamp: 1_000_000
})

const passing = (filter: EventFilter.EventFilter, events: ReadonlyArray<SandboxEvent.SandboxEvent>) =>
  events.filter(EventFilter.matches(filter))

describe("EventFilter", () => {
  it("lets everything through when it says nothing, or nothing but empty lists", () => {
    const events = [starting, nth(0), failed, broken]
    assert.deepStrictEqual(passing({}, events), events)
    assert.deepStrictEqual(passing({ images: [], kinds: [], outcomes: [] }, events), events)
    assert.isTrue(EventFilter.isEmpty({ images: [], from: undefined }))
    assert.isFalse(EventFilter.isEmpty({ from: 0 }))
  })

  it("takes a time with its beginning and without its end", () => {
    const events = [nth(0), nth(1), nth(2), nth(3)]
    assert.deepStrictEqual(passing({ from: 1_000_001, until: 1_000_003 }, events), [nth(1), nth(2)])
  })

  it("takes only what is about the things that are listed", () => {
    const events = [starting, nth(0), nth(1)]
    assert.deepStrictEqual(passing({ environments: ["lab", "other"] }, events), events)
    assert.deepStrictEqual(passing({ environments: ["other"] }, events), [])
    assert.deepStrictEqual(passing({ images: ["base"] }, events), [nth(0), nth(1)])
    assert.deepStrictEqual(passing({ sandboxes: ["lab/base:1:0"] }, events), [nth(1)])
    assert.deepStrictEqual(passing({ sessions: ["s0", "s9"] }, events), [nth(0)])
    assert.deepStrictEqual(passing({ kinds: ["EnvironmentStarting"] }, events), [starting])
    assert.deepStrictEqual(passing({ images: ["base"], sessions: ["s1"] }, events), [nth(1)])
  })

  it("takes what ended so", () => {
    const events = [starting, nth(0), failed, broken, cut]
    assert.deepStrictEqual(passing({ outcomes: ["ok"] }, events), [starting, nth(0)])
    assert.deepStrictEqual(passing({ outcomes: ["state_error", "user_error"] }, events), [failed, broken])
    assert.deepStrictEqual(passing({ outcomes: ["interrupted"] }, events), [cut])
  })

  it("knows every kind of event", () => {
    assert.deepStrictEqual([...EventFilter.Kind.literals], Object.keys(SandboxEvent.SandboxEvent.cases))
  })

  it("is read from strings, and written as such", () => {
    const decode = Schema.decodeUnknownSync(EventFilter.FromStrings)
    assert.deepStrictEqual(
      decode({
        from: "2026-11-26T12:00:00Z",
        until: "1795694400001",
        image: ["node", "python"],
        kind: "SessionEnded",
        outcome: "state_error",
        token: "unknown keys are somebody else's"
      }),
      {
        from: 1_795_694_400_000,
        until: 1_795_694_400_001,
        images: ["node", "python"],
        kinds: ["SessionEnded"],
        outcomes: ["state_error"]
      }
    )
    assert.deepStrictEqual(decode({}), {})
    const filter: EventFilter.EventFilter = { from: 5, environments: ["a"], sandboxes: ["b"], sessions: ["c", "d"] }
    assert.deepStrictEqual(decode(Schema.encodeSync(EventFilter.FromStrings)(filter)), filter)
  })

  it("refuses strings that mean nothing, and says what it wants", () => {
    const refusal = (input: unknown) => {
      const result = Schema.decodeUnknownResult(EventFilter.FromStrings)(input)
      return Result.isFailure(result) ? result.failure.message : "accepted"
    }
    assert.include(refusal({ from: "yesterday" }), 'a date such as 2026-11-26T12:00:00Z, got "yesterday"')
    assert.include(refusal({ from: "" }), "a date such as")
    assert.include(refusal({ kind: ["SessionStopped"] }), "SessionEnded")
    assert.include(refusal({ outcome: "bad" }), "state_error")
  })
})
