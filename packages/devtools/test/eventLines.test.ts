import { SandboxEvent } from "@effect-sandbox/core"
import { assert, it } from "@effect/vitest"
import { Schema } from "effect"
import { encoder, stringify } from "../src/internal/eventLines.ts"

const { cases } = SandboxEvent.SandboxEvent

it.prop(
  "the fast way of writing an event gives the same JSON as the plain one, whatever was written before",
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
    Schema.Array(SandboxEvent.SandboxEvent)
  ],
  ([frequent, any]) => {
    const encode = encoder()
    // Twice, because the second time parts are remembered.
    for (const event of [...frequent, ...any, ...frequent]) {
      const line = encode(event)
      assert.notInclude(line, "\n")
      assert.deepStrictEqual(JSON.parse(line), JSON.parse(stringify(event)))
    }
  },
  { arbitrary: { runs: 500 } }
)

it("a sandbox whose id is used with another image is not taken for the one before", () => {
  const encode = encoder()
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
  for (const image of ["one", "two", "one"]) {
    assert.deepStrictEqual(JSON.parse(encode(event(image))), JSON.parse(stringify(event(image))))
  }
})
