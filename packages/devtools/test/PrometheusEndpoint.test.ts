import { EventMetrics } from "@effect-sandbox/core"
import { EnvironmentGauges, PrometheusEndpoint } from "@effect-sandbox/devtools"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Metric, Schema } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import { action, counted, Lab, LabLive, outage, round } from "./support/busyLab.ts"
import * as prometheus from "./support/prometheus.ts"

const freshRegistry = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => Effect.provideService(effect, Metric.MetricRegistry, new Map()))

const Live = LabLive.pipe(
  Layer.provideMerge(PrometheusEndpoint.layer({ port: 0 })),
  Layer.provideMerge(FetchHttpClient.layer),
  Layer.provideMerge(NodeServices.layer)
)

const scrape = Effect.gen(function* () {
  const { url } = yield* PrometheusEndpoint.PrometheusEndpoint
  const client = yield* HttpClient.HttpClient
  return yield* Effect.flatMap(client.get(url), (response) => response.text)
})

describe("without Prometheus", () => {
  it.live("serves metrics on loopback, and nothing else", () =>
    Effect.gen(function* () {
      yield* Lab.withSession({}, Effect.void)
      yield* counted
      const { port, url } = yield* PrometheusEndpoint.PrometheusEndpoint
      assert.strictEqual(url, `http://127.0.0.1:${port}/metrics`)
      const client = yield* HttpClient.HttpClient
      const response = yield* client.get(`${url}?collect=all`)
      assert.strictEqual(response.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
      const text = yield* response.text
      assert.include(text, '\neffect_sandbox_sessions_total{environment="lab",image="base",outcome="ok"} 1\n')
      assert.include(text, '\neffect_sandbox_pool_max{environment="lab",image="base"} 2\n')
      assert.notInclude(text, "_total_total")
      assert.notInclude(text, "unit=")
      const elsewhere = yield* client.get(url.replace("/metrics", "/"))
      assert.deepStrictEqual([elsewhere.status, yield* elsewhere.text], [404, "The metrics are at /metrics\n"])
      assert.strictEqual((yield* client.post(url)).status, 405)
    }).pipe(Effect.provide(Live), freshRegistry)
  )

  it.live("a port that is taken is a typed error that names it", () =>
    Effect.gen(function* () {
      const { port } = yield* PrometheusEndpoint.PrometheusEndpoint
      const error = yield* Effect.flip(Effect.scoped(Layer.build(PrometheusEndpoint.layer({ port }))))
      assert.strictEqual(error._tag, "PrometheusEndpointError")
      assert.strictEqual(
        error.message,
        `port ${port} of 127.0.0.1 is in use; choose another, or 0 for any that is free`
      )
      const wrong = yield* Effect.flip(
        Effect.scoped(Layer.build(PrometheusEndpoint.layer({ port: 70_000, path: "x" })))
      )
      assert.strictEqual(wrong._tag, "InvalidConfigurationError")
      assert.include(wrong.message, "port")
      assert.include(wrong.message, "path")
    }).pipe(Effect.provide(PrometheusEndpoint.layer({ port: 0 })))
  )

  it.live("stops listening when the layer is closed, also while somebody keeps a connection", () =>
    Effect.gen(function* () {
      const client = yield* HttpClient.HttpClient
      const url = yield* Effect.gen(function* () {
        const { url } = yield* PrometheusEndpoint.PrometheusEndpoint
        yield* client.get(url)
        return url
      }).pipe(Effect.provide(PrometheusEndpoint.layer({ port: 0 })))
      const error = yield* Effect.flip(client.get(url))
      assert.strictEqual(error.reason._tag, "TransportError")
    }).pipe(Effect.provide(FetchHttpClient.layer))
  )
})

const Dashboard = Schema.fromJsonString(
  Schema.Struct({
    panels: Schema.Array(
      Schema.Struct({
        title: Schema.String,
        targets: Schema.optionalKey(Schema.Array(Schema.Struct({ expr: Schema.String })))
      })
    ),
    templating: Schema.Struct({ list: Schema.Array(Schema.Struct({ name: Schema.String, query: Schema.Unknown })) })
  })
)

/** What Grafana puts in for its variables. */
const substitute = (expression: string): string =>
  expression
    .replaceAll("$__rate_interval", "1m")
    .replaceAll("$__range", "1m")
    .replaceAll("$environment", ".*")
    .replaceAll("$image", ".*")

describe.skipIf(prometheus.executable === undefined)("with a real Prometheus", () => {
  it.live("promtool finds nothing to complain about", () =>
    Effect.gen(function* () {
      yield* round
      yield* outage
      yield* action
      yield* counted
      const text = yield* scrape
      const { code, said } = yield* prometheus.lint(text)
      assert.deepStrictEqual({ code, said }, { code: 0, said: "" })
      // Every metric that there is was in it.
      const all = [EventMetrics, EnvironmentGauges].flatMap((module): ReadonlyArray<unknown> => Object.values(module))
      const ids = all.flatMap((one) => (Metric.isMetric(one) ? [one.id] : []))
      assert.isAbove(ids.length, 25)
      assert.deepStrictEqual(
        ids.filter((id) => !text.includes(`# HELP ${id} `)),
        []
      )
    }).pipe(Effect.provide(Live), freshRegistry)
  )

  it.live(
    "Prometheus has the same figures as the environment, and every query of the Grafana dashboard finds some",
    () =>
      Effect.gen(function* () {
        const endpoint = yield* PrometheusEndpoint.PrometheusEndpoint
        const { query } = yield* prometheus.start(endpoint)
        yield* round
        yield* Effect.sleep("600 millis") // so that Prometheus has seen the first values, from which rates are reckoned
        yield* round
        yield* outage
        yield* Effect.sleep("1500 millis")
        yield* round
        yield* action
        yield* counted
        yield* Effect.sleep("800 millis")

        const { images, ledger } = yield* Lab.stats
        const value = (expression: string) => Effect.map(query(expression), ([first]) => first?.value)
        const ended = images.reduce((sum, { sessionsServed }) => sum + sessionsServed, 0)
        assert.strictEqual(yield* value("sum(effect_sandbox_sessions_total)"), ended)
        assert.strictEqual(yield* value("sum(effect_sandbox_session_lifetime_seconds_count)"), ended)
        assert.strictEqual(yield* value("sum(effect_sandbox_sandboxes_created_total)"), ledger.created)
        assert.strictEqual(yield* value("sum(effect_sandbox_sandboxes_destroyed_total)"), ledger.destroyed)
        assert.strictEqual(yield* value("sum(effect_sandbox_sandboxes)"), ledger.live)
        assert.strictEqual(yield* value("sum(effect_sandbox_ledger)"), 0)
        for (const { image, max, min, replaced } of images) {
          assert.strictEqual(yield* value(`effect_sandbox_pool_min{image="${image}"}`), min)
          assert.strictEqual(yield* value(`effect_sandbox_pool_max{image="${image}"}`), max)
          assert.strictEqual(yield* value(`effect_sandbox_sandboxes_replaced_total{image="${image}"}`), replaced)
        }
        assert.isAbove(
          (yield* value('effect_sandbox_errors_total{event="AcquireFailed",error_type="EnvironmentOverloadError"}')) ??
            0,
          0
        )
        const held = yield* value(
          'histogram_quantile(0.5, sum by (le) (effect_sandbox_session_lifetime_seconds_bucket{image="other"}))'
        )
        assert.isTrue(held !== undefined && held > 0 && held <= 0.5, `median lifetime ${held}`)

        const fs = yield* FileSystem.FileSystem
        const file = new URL("../../../docs/grafana-dashboard.json", import.meta.url).pathname
        const { panels, templating } = yield* Effect.flatMap(fs.readFileString(file), Schema.decodeEffect(Dashboard))
        const expressions = panels.flatMap(({ targets, title }) => (targets ?? []).map(({ expr }) => ({ title, expr })))
        assert.isAbove(expressions.length, 40)
        const empty: Array<string> = []
        for (const { expr, title } of expressions) {
          const found = yield* query(substitute(expr))
          if (found.length === 0) empty.push(`${title}: ${expr}`)
        }
        assert.deepStrictEqual(empty, [])
        const labels = templating.list.flatMap((variable) => {
          const asked = /label_values\((.*), (\w+)\)/.exec(JSON.stringify(variable.query).replaceAll('\\"', '"'))
          return asked === null ? [] : [{ series: asked[1] ?? "", label: asked[2] ?? "" }]
        })
        assert.deepStrictEqual(
          labels.map(({ label }) => label),
          ["environment", "image"]
        )
        for (const { label, series } of labels) {
          const found = yield* query(substitute(series))
          assert.isTrue(found.length > 0 && found.every(({ metric }) => metric[label] !== undefined), series)
        }
      }).pipe(Effect.scoped, Effect.provide(Live), freshRegistry)
  )
})
