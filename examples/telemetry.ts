/**
 * The three signals of telemetry: traces, metrics and logs by OTLP, and metrics for Prometheus as well. So that it runs
 * anywhere, a small receiver in this program takes the place of an OpenTelemetry collector.
 */
import { Environment, EventLogger, EventMetrics, LocalDriver, Sandbox } from "@effect-sandbox/core"
import { EnvironmentGauges, PrometheusEndpoint } from "@effect-sandbox/devtools"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Ref } from "effect"
import { FetchHttpClient, HttpClient, HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import { Otlp } from "effect/observability"
import { createServer } from "node:http"

class Lab extends Environment.Service<Lab>()("examples/Lab", { images: ["shell"], pool: { min: 1, max: 2 } }) {}

/** A session in a span of the program's own; what is logged inside carries the session's trace. */
const greet = (name: string) =>
  Lab.withSession(
    {},
    Effect.gen(function* () {
      const sandbox = yield* Sandbox
      yield* Effect.log(`greeting ${name}`)
      return yield* sandbox.exec("echo", [`hello ${name}`])
    })
  ).pipe(Effect.withSpan("greet", { attributes: { name } }))

/** Counts what arrives. A real program has the address of a collector instead: http://localhost:4318 */
const receive = Effect.gen(function* () {
  const bytes = yield* Ref.make<Record<string, number>>({})
  const route = HttpRouter.add(
    "POST",
    "/v1/:signal",
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const { byteLength } = yield* request.arrayBuffer
      yield* Ref.update(bytes, (all) => ({ ...all, [request.url]: (all[request.url] ?? 0) + byteLength }))
      return HttpServerResponse.text("{}")
    })
  )
  yield* Layer.build(HttpRouter.serve(route, { disableLogger: true, disableListenLog: true }))
  const { address } = yield* HttpServer.HttpServer
  return { bytes, url: `http://127.0.0.1:${"port" in address ? address.port : 0}` }
})

const live = (collector: string) =>
  Lab.layer.pipe(
    Layer.provideMerge(
      Layer.mergeAll(
        EventMetrics.layer,
        EnvironmentGauges.layer,
        EventLogger.layer({ annotate: true, colors: false, kinds: ["SessionEnded"] })
      )
    ),
    Layer.provideMerge(PrometheusEndpoint.layer({ port: 0 })),
    Layer.provide(LocalDriver.layer()),
    // Below everything, so that it is closed last and sends what is left.
    Layer.provideMerge(
      Otlp.layerJson({ baseUrl: collector, resource: { serviceName: "greeter" }, loggerMergeWithExisting: false })
    )
  )

const program = Effect.gen(function* () {
  yield* Effect.forEach(["Ada", "Grace", "Edsger"], greet, { concurrency: 3 })
  const { url } = yield* PrometheusEndpoint.PrometheusEndpoint
  const client = yield* HttpClient.HttpClient
  const metrics = yield* Effect.flatMap(client.get(url), (response) => response.text)
  yield* Console.log(`What Prometheus would read at ${url}, among other things:`)
  for (const line of metrics.split("\n")) {
    if (/^effect_sandbox_(sessions_total|pool_|ledger)/.test(line)) yield* Console.log(`  ${line}`)
  }
})

Effect.gen(function* () {
  const { bytes, url } = yield* receive
  yield* Effect.provide(program, live(url))
  yield* Console.log("What a collector has received:")
  for (const [path, count] of Object.entries(yield* Ref.get(bytes)).toSorted()) {
    yield* Console.log(`  ${path}: ${count} bytes`)
  }
}).pipe(
  Effect.scoped,
  Effect.provide([NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" }), FetchHttpClient.layer]),
  NodeRuntime.runMain
)
