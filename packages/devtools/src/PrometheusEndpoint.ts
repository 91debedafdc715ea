/**
 * Serves the metrics of this process to Prometheus: Effect's own format of them, on a port of its own. Programs that
 * have an HTTP server already add Effect's `PrometheusMetrics.layerHttp` to it instead.
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Environment, EventMetrics } from "@effect-sandbox/core"
 * import { EnvironmentGauges, PrometheusEndpoint } from "@effect-sandbox/devtools"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"] }) {}
 *
 * // http://127.0.0.1:9464/metrics
 * const LabLive = Lab.layer.pipe(
 *   Layer.provideMerge(Layer.mergeAll(EventMetrics.layer, EnvironmentGauges.layer)),
 *   Layer.provideMerge(PrometheusEndpoint.layer())
 * )
 * ```
 */
import * as OptionCheck from "@effect-sandbox/core/Options"
import type { InvalidConfigurationError } from "@effect-sandbox/core/SandboxError"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { createServer } from "node:http"

/** It could not listen there, most often because another program does. */
export class PrometheusEndpointError extends Schema.TaggedError<PrometheusEndpointError>()("PrometheusEndpointError", {
  host: Schema.String,
  port: Schema.Finite,
  /** Whether another program listens there. */
  isInUse: Schema.Boolean,
  cause: Schema.Defect()
}) {
  override get message() {
    if (this.isInUse) return `port ${this.port} of ${this.host} is in use; choose another, or 0 for any that is free`
    const why = Predicate.isError(this.cause) ? this.cause.message : String(this.cause)
    return `metrics could not be served on port ${this.port} of ${this.host}: ${why}`
  }
}

export interface Options {
  /** Where to listen; 0 takes any port that is free. Default: 9464, as OpenTelemetry's exporters for Prometheus do. */
  readonly port?: number | undefined
  /** Metrics tell the names of images and activities to whoever can connect. Default: `"127.0.0.1"`. */
  readonly host?: string | undefined
  /** Default: `"/metrics"`. */
  readonly path?: string | undefined
}

const OptionsSchema = Schema.Struct({
  port: Schema.optional(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65_535 }))),
  host: Schema.optional(Schema.NonEmptyString),
  path: Schema.optional(Schema.String.check(Schema.isStartingWith("/")))
})

/** The endpoint while it listens. */
export class PrometheusEndpoint extends Context.Service<
  PrometheusEndpoint,
  {
    readonly port: number
    /** What Prometheus is to scrape, as seen from this machine. */
    readonly url: string
  }
>()("@effect-sandbox/devtools/PrometheusEndpoint") {}

/** The endpoint as a layer; it listens until the layer is closed. */
export const layer = (
  options: Options = {}
): Layer.Layer<PrometheusEndpoint, PrometheusEndpointError | InvalidConfigurationError> =>
  Layer.effect(PrometheusEndpoint, make(options))

const make = Effect.fnUntraced(function* (options: Options) {
  yield* OptionCheck.check("PrometheusEndpoint", OptionsSchema, options)
  const { host = "127.0.0.1", path = "/metrics", port: wanted = 9464 } = options
  const node = createServer()
  const server = yield* Effect.mapError(
    NodeHttpServer.make(() => node, { host, port: wanted }),
    ({ cause }) =>
      new PrometheusEndpointError({
        host,
        port: wanted,
        isInUse: Predicate.hasProperty(cause, "code") && cause.code === "EADDRINUSE",
        cause
      })
  )
  // Prometheus keeps its connection, and the server's own finalizer would wait for one that is busy.
  yield* Effect.addFinalizer(() =>
    Effect.callback<void>((resume) => {
      node.close(() => resume(Effect.void))
    }).pipe(Effect.timeoutOption("1 second"), Effect.andThen(Effect.sync(() => node.closeAllConnections())))
  )
  yield* server.serve(respond(path)).pipe(
    // A span for each scrape would tell nothing about the program.
    Effect.provideService(HttpMiddleware.TracerDisabledWhen, () => true)
  )
  const port = "port" in server.address ? server.address.port : wanted
  return PrometheusEndpoint.of({ port, url: `http://${host.includes(":") ? `[${host}]` : host}:${port}${path}` })
})

const respond = (path: string) =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest
    const [asked] = request.url.split("?")
    if (asked !== path) return HttpServerResponse.text(`The metrics are at ${path}\n`, { status: 404 })
    if (request.method !== "GET" && request.method !== "HEAD") return HttpServerResponse.empty({ status: 405 })
    return HttpServerResponse.text(yield* PrometheusMetrics.format(), {
      contentType: "text/plain; version=0.0.4; charset=utf-8"
    })
  })
