import { SandboxEvent } from "@effect-sandbox/core"
import { assert, it } from "@effect/vitest"
import { Schema } from "effect"
import { stringify } from "../src/internal/eventLines.ts"
import { Notebook } from "../src/internal/eventNotes.ts"
import { linesOf } from "../src/internal/noteLines.ts"

const { cases } = SandboxEvent.SandboxEvent

/** What notes of events say, as a journal would have it. */
const written = (notebook: Notebook): ReadonlyArray<unknown> =>
  notebook.takeAll().flatMap((notes) => {
    const lines = linesOf(notes).split("\n")
    assert.strictEqual(lines.pop(), "")
    assert.strictEqual(lines.length, notes.count)
    return lines.map((line) => JSON.parse(line) as unknown)
  })

const plain = (events: ReadonlyArray<SandboxEvent.SandboxEvent>): ReadonlyArray<unknown> =>
  events.map((event) => JSON.parse(stringify(event)) as unknown)

it.prop(
  "notes of events give the same JSON as the events, whatever was noted before and however many at a time",
  [
    Schema.Array(
      Schema.Union([
        cases.SandboxStatusChanged,
        cases.SessionStarted,
        cases.SessionEnded,
        cases.SandboxActivity,
        cases.EnvironmentStarting
      ])
    ),
    Schema.Array(SandboxEvent.SandboxEvent),
    Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 40 }))
  ],
  ([frequent, any, size]) => {
    const notebook = new Notebook(size)
    // Twice, because the second time parts are remembered.
    for (const events of [[...frequent, ...any, ...frequent], frequent]) {
      for (const event of events) notebook.add(event)
      assert.strictEqual(notebook.noted, events.length)
      assert.deepStrictEqual(written(notebook), plain(events))
      assert.strictEqual(notebook.noted, 0)
    }
  },
  { arbitrary: { runs: 500 } }
)

it("a sandbox whose id is used with another image is not taken for the one before", () => {
  const event = (image: string) =>
    Schema.decodeUnknownSync(cases.SandboxStatusChanged)({
      _tag: "SandboxStatusChanged",
      environmentId: "env",
      timestamp: 1.5,
      sandboxId: 'env/"base"\u2028:0:0',
      image,
      sessionId: image,
      from: "Ready",
      to: "Acquired",
      spentMillis: 0.25
    })
  const events = ["one", "two", "one", "one"].map(event)
  const notebook = new Notebook(100)
  for (const event of events) notebook.add(event)
  assert.deepStrictEqual(written(notebook), plain(events))
})

it("an activity that is called like a session is not taken for it", () => {
  const event = Schema.decodeUnknownSync(cases.SandboxActivity)({
    _tag: "SandboxActivity",
    environmentId: "env",
    timestamp: 1,
    sandboxId: "env/base:0:0",
    image: "base",
    sessionId: "same",
    durationMillis: 1,
    name: "same"
  })
  const notebook = new Notebook(100)
  notebook.add(event)
  notebook.add(event)
  assert.deepStrictEqual(written(notebook), plain([event, event]))
})
