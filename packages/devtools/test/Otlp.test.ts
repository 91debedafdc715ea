import { Environment, EventLogger, EventMetrics, Sandbox } from "@effect-sandbox/core"
import { EnvironmentGauges } from "@effect-sandbox/devtools"
import { SimDriver } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Metric } from "effect"
import { FetchHttpClient } from "effect/http"
import { Otlp } from "effect/observability"
import { action } from "./support/busyLab.ts"
import * as receiver from "./support/otlpReceiver.ts"

class Lab extends Environment.Service<Lab>()("lab", { images: ["base"], pool: 1, keepaliveInterval: 0 }) {}

const freshRegistry = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => Effect.provideService(effect, Metric.MetricRegistry, new Map()))

const body = Effect.gen(function* () {
  const sandbox = yield* Sandbox
  yield* Effect.log("in the session")
  yield* sandbox.activity("train", Effect.log("in the activity"))
  yield* sandbox.exec("echo", ["hello"])
})

const program = Effect.gen(function* () {
  yield* Effect.withSpan(Lab.withSession({ id: "s1" }, body), "caller")
  yield* Effect.exit(Lab.withSession({ id: "s2" }, Effect.fail("oops")))
  yield* action
})

/** The three signals, exported to a receiver until the layers are closed, which sends what is left. */
const exported = Effect.fnUntraced(function* (exporter: typeof Otlp.layerJson) {
  const { requests, url } = yield* receiver.listen
  const Live = Lab.layer.pipe(
    Layer.provideMerge(
      Layer.mergeAll(EventLogger.layer({ annotate: true, colors: false }), EventMetrics.layer, EnvironmentGauges.layer)
    ),
    Layer.provide(SimDriver.layer()),
    Layer.withSpan("start of the program"),
    Layer.provideMerge(
      exporter({ baseUrl: url, resource: { serviceName: "lab-tests" }, loggerMergeWithExisting: false })
    ),
    Layer.provide(FetchHttpClient.layer)
  )
  yield* freshRegistry(Effect.provide(program, Live))
  return requests
})

it.live("spans: a session is one trace, with attributes and statuses as OpenTelemetry knows them", () =>
  Effect.gen(function* () {
    const requests = yield* exported(Otlp.layerJson)
    assert.deepStrictEqual([...new Set(receiver.service(requests))], ["lab-tests"])
    const spans = receiver.spans(requests)
    const named = (name: string) => spans.filter((span) => span.name === name)
    const one = (name: string) => named(name)[0] ?? assert.fail(`no span ${name}`)
    const [caller, session] = [one("caller"), one("session")]
    assert.deepStrictEqual([session.traceId, session.parentSpanId], [caller.traceId, caller.spanId])
    for (const name of ["session.acquire", "train", "exec echo"]) {
      assert.deepStrictEqual([one(name).traceId, one(name).parentSpanId], [session.traceId, session.spanId], name)
    }
    const place = { "sandbox.environment.id": "lab", "sandbox.id": "lab/base:0:0", "sandbox.image": "base" }
    assert.deepStrictEqual(receiver.record(session.attributes), { ...place, "sandbox.session.id": "s1" })
    assert.strictEqual(session.status.code, 1)
    const exec = one("exec echo")
    assert.strictEqual(exec.kind, 3)
    assert.strictEqual(session.kind, 1)
    const { "process.exit.code": code, ...executed } = receiver.record(exec.attributes)
    assert.deepStrictEqual(executed, { ...place, "sandbox.session.id": "s1", "process.executable.name": "echo" })
    assert.strictEqual(Number(code), 0)
    const failed = named("session")[1] ?? assert.fail("no second session")
    assert.strictEqual(failed.status.code, 2)
    assert.strictEqual(receiver.record(failed.attributes)["error.type"], "string")
    assert.deepInclude(receiver.record(one("sandbox.create").attributes), place)
  })
)

it.live("logs: what runs in a session has its span; events have the span in which they happened, and ids", () =>
  Effect.gen(function* () {
    const requests = yield* exported(Otlp.layerJson)
    const spans = receiver.spans(requests)
    const logs = receiver.logs(requests)
    const one = (line: string) =>
      logs.find(({ body }) => String(Object.values(body)[0]).startsWith(line)) ?? assert.fail(`no line ${line}`)
    const spanOf = ({ spanId, traceId }: { readonly spanId?: string; readonly traceId?: string }) =>
      spans.find((span) => span.spanId === spanId && span.traceId === traceId)?.name
    assert.strictEqual(spanOf(one("in the session")), "session")
    assert.strictEqual(spanOf(one("in the activity")), "train")
    assert.strictEqual(spanOf(one("session s1 started")), "session.acquire")
    assert.strictEqual(spanOf(one("lab/base:0:0 train")), "train")
    assert.strictEqual(spanOf(one("lab/base:0:0 exec echo")), "exec echo")
    const ended = one("session s1 ended")
    assert.strictEqual(spanOf(ended), "session")
    const { "effect.fiberId": _, ...attributes } = receiver.record(ended.attributes)
    assert.deepStrictEqual(attributes, {
      "sandbox.event": "SessionEnded",
      "sandbox.environment.id": "lab",
      "sandbox.id": "lab/base:0:0",
      "sandbox.image": "base",
      "sandbox.session.id": "s1"
    })
    const failed = one("session s2 ended")
    assert.strictEqual(receiver.record(failed.attributes)["error.type"], "string")
    assert.strictEqual(failed.severityNumber, 13)
    // Not the span in which the handler's layer was made.
    assert.isUndefined(one("lab/base:0:0 recycle requested").spanId)
  })
)

it.live("metrics: names and units from which a collector makes the same names as Prometheus has", () =>
  Effect.gen(function* () {
    const metrics = receiver.metrics(yield* exported(Otlp.layerJson))
    const one = (name: string) => metrics.find((metric) => metric.name === name) ?? assert.fail(`no metric ${name}`)
    for (const { description, name, unit } of metrics.filter((metric) => metric.name.startsWith("effect_sandbox_"))) {
      assert.notInclude(name, "_total_total")
      assert.notStrictEqual(unit, "1", `${name}: a collector would add _ratio`)
      assert.notStrictEqual(description, "", name)
      if (name.endsWith("_seconds")) assert.strictEqual(unit, "s", name)
    }
    const sessions = one("effect_sandbox_sessions_total")
    assert.strictEqual(sessions.unit, "{session}")
    assert.isTrue(sessions.sum?.isMonotonic)
    assert.deepStrictEqual(
      sessions.sum?.dataPoints.map(({ asDouble, attributes }) => ({ ...receiver.record(attributes), asDouble })),
      ["ok", "user_error"].map((outcome) => ({
        unit: "{session}",
        environment: "lab",
        image: "base",
        outcome,
        asDouble: 1
      }))
    )
    const [error] = one("effect_sandbox_errors_total").sum?.dataPoints ?? []
    assert.strictEqual(receiver.record(error?.attributes ?? [])["error.type"], "string")
    const lifetime = one("effect_sandbox_session_lifetime_seconds").histogram?.dataPoints ?? []
    assert.deepStrictEqual(
      lifetime.map(({ bucketCounts, count, explicitBounds }) => [
        count,
        bucketCounts.reduce((sum, n) => sum + n, 0),
        bucketCounts.length - explicitBounds.length
      ]),
      [
        [1, 1, 1],
        [1, 1, 1]
      ]
    )
    assert.deepStrictEqual(
      one("effect_sandbox_ledger").gauge?.dataPoints.map(({ asDouble }) => asDouble),
      [0]
    )
  })
)

it.live("protobuf: the same arrives in OpenTelemetry's binary form", () =>
  Effect.gen(function* () {
    const requests = yield* exported(Otlp.layerProtobuf)
    const read = (path: string, fields: ReadonlyArray<number>) =>
      requests
        .filter((request) => request.path === path)
        .flatMap((request) => {
          assert.strictEqual(request.contentType, "application/x-protobuf")
          return receiver.messagesAt(receiver.message(request.body), fields)
        })
    // The numbers of the fields are those of opentelemetry-proto.
    const spans = read("/v1/traces", [1, 2, 2])
    const session = spans.find((span) => receiver.text(span, 5) === "session") ?? assert.fail("no span of a session")
    const exec = spans.find((span) => receiver.text(span, 5) === "exec echo") ?? assert.fail("no span of a command")
    assert.match(receiver.hex(session, 1), /^[0-9a-f]{32}$/)
    assert.strictEqual(receiver.hex(exec, 1), receiver.hex(session, 1))
    assert.strictEqual(receiver.hex(exec, 4), receiver.hex(session, 2))
    assert.strictEqual(exec.get(6)?.[0], 3n)
    const line = (record: receiver.Message) => receiver.messagesAt(record, [5]).map((body) => receiver.text(body, 1))[0]
    const said =
      read("/v1/logs", [1, 2, 2]).find((record) => line(record) === "in the session") ?? assert.fail("no log record")
    assert.deepStrictEqual(
      [receiver.hex(said, 9), receiver.hex(said, 10)],
      [receiver.hex(session, 1), receiver.hex(session, 2)]
    )
    const sessions =
      read("/v1/metrics", [1, 2, 2]).findLast(
        (metric) => receiver.text(metric, 1) === "effect_sandbox_sessions_total"
      ) ?? assert.fail("no metric")
    assert.strictEqual(receiver.text(sessions, 3), "{session}")
    const points = receiver.messagesAt(sessions, [7, 1])
    assert.deepStrictEqual(
      points.map((point) => {
        const bits = point.get(4)?.[0]
        return typeof bits === "bigint" ? new Float64Array(BigUint64Array.of(bits).buffer)[0] : undefined
      }),
      [1, 1]
    )
  })
)
