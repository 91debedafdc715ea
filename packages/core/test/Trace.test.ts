import { Environment, EventRecorder, Sandbox } from "@effect-sandbox/core"
import { SimDriver, TestEnvironment } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, References, Tracer } from "effect"
import { start } from "./support/Lab.ts"

/** Keeps every span, as a telemetry exporter would. */
const collecting = (spans: Array<Tracer.Span>) =>
  Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })

const tree = (spans: ReadonlyArray<Tracer.Span>, root: Tracer.Span): ReadonlyArray<string> =>
  spans
    .filter((span) => span.parent._tag === "Some" && span.parent.value.spanId === root.spanId)
    .map((span) => span.name)

for (const proactiveSessionSetup of [false, true]) {
  it.effect(
    `V4 a session is one trace: acquire, set-up per feature, activities, teardown (${proactiveSessionSetup ? "proactive" : "on demand"})`,
    () => {
      const spans: Array<Tracer.Span> = []
      return Effect.gen(function* () {
        const env = yield* start({ proactiveSessionSetup, keepaliveInterval: 0 })
        const body = Effect.flatMap(Sandbox, (sandbox) => sandbox.activity("work", Effect.void))
        yield* Effect.withSpan(env.withSession({ id: "s" }, body), "caller")
        const whole = spans.find((span) => span.name === "session") ?? assert.fail("no span of the session")
        assert.strictEqual(
          whole.parent._tag === "Some" && whole.parent.value._tag === "Span" && whole.parent.value.name,
          "caller"
        )
        assert.strictEqual(whole.attributes.get("sandbox.session.id"), "s")
        assert.strictEqual(whole.attributes.get("sandbox.id"), "env/base:0:0")
        assert.deepStrictEqual(tree(spans, whole), ["session.acquire", "work", "teardown two", "teardown one"])
        const setUps = spans.filter((span) => span.name.startsWith("session "))
        const acquire = spans.find((span) => span.name === "session.acquire") ?? assert.fail("no span of acquire")
        if (proactiveSessionSetup) {
          assert.includeMembers(
            whole.links.map(({ span }) => span.spanId),
            setUps.slice(0, 2).map((span) => span.spanId)
          )
        } else {
          assert.deepStrictEqual(tree(spans, acquire), ["session one", "session two"])
        }
        for (const span of spans.filter(({ traceId }) => traceId === whole.traceId)) {
          if (span.name !== "caller") assert.strictEqual(span.status._tag, "Ended", span.name)
        }
      }).pipe(TestEnvironment.run, Effect.provideService(Tracer.Tracer, collecting(spans)))
    }
  )
}

it.effect("V4 a session that fails ends its span with the failure", () => {
  const spans: Array<Tracer.Span> = []
  return Effect.gen(function* () {
    const env = yield* Environment.make({ images: ["base"], id: "env", keepaliveInterval: 0, pool: 1 })
    yield* Effect.exit(env.withSession({}, Effect.fail("oops")))
    yield* Effect.exit(env.withSession({ image: "unknown" }, Effect.void))
    const ends = spans.filter((span) => span.name === "session").map((span) => span.status)
    assert.deepStrictEqual(
      ends.map((status) => status._tag === "Ended" && status.exit._tag),
      ["Failure", "Failure"]
    )
  }).pipe(TestEnvironment.run, Effect.provideService(Tracer.Tracer, collecting(spans)))
})

it.effect(
  "V4 a session has the span and the annotations of its caller, not those under which its layer was made",
  () => {
    class Lab extends Environment.Service<Lab>()("env", { images: ["base"], keepaliveInterval: 0, pool: 1 }) {}
    const spans: Array<Tracer.Span> = []
    const live = Lab.layer.pipe(
      Layer.provideMerge(EventRecorder.layer),
      Layer.provide(SimDriver.layer()),
      Layer.withSpan("start of the program")
    )
    return Effect.gen(function* () {
      const seen = Effect.all({
        span: Effect.map(Effect.currentSpan, ({ name }) => name),
        annotations: References.CurrentLogAnnotations
      })
      const { annotations, span } = yield* Effect.annotateLogs(Lab.withSession({ id: "s" }, seen), { task: "one" })
      assert.strictEqual(span, "session")
      assert.deepStrictEqual(annotations, { task: "one" })
      // Events know where they happened.
      const recorder = yield* EventRecorder
      const ended = yield* recorder.waitFor((event) => event._tag === "SessionEnded")
      const whole = spans.find(({ name }) => name === "session")
      assert.deepStrictEqual(ended.trace, { traceId: whole?.traceId, spanId: whole?.spanId })
    }).pipe(
      Effect.provide(live),
      Effect.annotateLogs({ task: "all" }),
      Effect.provideService(Tracer.Tracer, collecting(spans))
    )
  }
)

it.effect("V4 spans bear the type of the error that ended them, and none for an interruption", () => {
  const spans: Array<Tracer.Span> = []
  return Effect.gen(function* () {
    const env = yield* Environment.make({ images: ["base"], id: "env", keepaliveInterval: 0, pool: 1 })
    const body = (name: string, effect: Effect.Effect<void, string>) =>
      Effect.exit(
        env.withSession(
          {},
          Effect.flatMap(Sandbox, (sandbox) => sandbox.activity(name, effect))
        )
      )
    yield* body("fails", Effect.fail("oops"))
    yield* body("interrupts", Effect.interrupt)
    yield* body("works", Effect.void)
    const types = (name: string) =>
      spans.filter((span) => span.name === name).map((span) => span.attributes.get("error.type"))
    assert.deepStrictEqual(
      [types("fails"), types("interrupts"), types("works")],
      [["string"], [undefined], [undefined]]
    )
    assert.deepStrictEqual(types("session"), ["string", undefined, undefined])
    const failed = spans.find((span) => span.name === "fails")
    assert.isFalse(failed?.attributes.has("sandbox.feature.id"))
  }).pipe(TestEnvironment.run, Effect.provideService(Tracer.Tracer, collecting(spans)))
})
