/** Requests to an engine: addresses encoded, answers decoded, every failure with its reason. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Ndjson from "effect/encoding/Ndjson"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { HttpClientError } from "effect/http/HttpClientError"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import type { HttpMethod } from "effect/http/HttpMethod"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Target } from "../../DockerConnection.ts"
import {
  DockerError,
  EngineUnavailable,
  InvalidRequest,
  MalformedResponse,
  type Reason,
  TimedOut,
  UnsupportedVersion
} from "../../DockerError.ts"
import type { Connection } from "../byteSocket.ts"
import * as apiVersion from "./apiVersion.ts"
import * as classify from "./classify.ts"
import * as hijack from "./hijack.ts"
import type { Transport } from "./transport.ts"

type QueryValue = string | number | boolean | ReadonlyArray<string> | { readonly [key: string]: unknown } | undefined

export interface Request extends classify.Call {
  readonly method: HttpMethod
  /** Segments, not encoded yet. */
  readonly path: ReadonlyArray<string>
  /** Objects are sent as JSON, lists as a value each; what is undefined is left out. */
  readonly query?: { readonly [name: string]: QueryValue } | undefined
  readonly headers?: { readonly [name: string]: string } | undefined
  readonly body?: { readonly json: unknown } | { readonly tar: Stream.Stream<Uint8Array, DockerError> } | undefined
  /** Statuses besides 2xx that are no failure. */
  readonly accept?: ReadonlyArray<number> | undefined
  /** Whether the answer may take as long as it likes to begin. Default: false. */
  readonly patient?: boolean | undefined
}

export interface EngineHttp {
  /** An answer that is JSON. */
  readonly json: <S extends Schema.Decoder<unknown>>(
    request: Request,
    schema: S
  ) => Effect.Effect<S["Type"], DockerError>
  /** An answer that says nothing but its status. */
  readonly unit: (request: Request) => Effect.Effect<void, DockerError>
  readonly headers: (request: Request) => Effect.Effect<{ readonly [name: string]: string | undefined }, DockerError>
  readonly bytes: (request: Request) => Stream.Stream<Uint8Array, DockerError>
  /** A value per line. */
  readonly lines: <S extends Schema.Decoder<unknown>>(
    request: Request,
    schema: S
  ) => Stream.Stream<S["Type"], DockerError>
  /** The connection itself, both ways. */
  readonly hijack: (request: Request) => Effect.Effect<Connection<DockerError>, DockerError, Scope.Scope>
  /** The version of the API that is spoken; asks the engine when that is not known yet. */
  readonly version: Effect.Effect<string, DockerError>
}

const ErrorBody = Schema.fromJsonString(Schema.Struct({ message: Schema.String }))

/** Longer lines are no progress messages. */
const longestLine = 8 * 1024 * 1024

const failed = (reason: Reason) => new DockerError({ reason })

export const make = (
  transport: Transport,
  target: Target,
  options: { readonly timeout: Duration.Duration }
): EngineHttp => {
  let negotiated: string | undefined

  const pathOf = (request: Request): Effect.Effect<string, DockerError> => {
    // URLs give these a meaning of their own, whatever the encoding.
    const odd = request.path.find((segment) => segment === "" || segment === "." || segment === "..")
    return odd === undefined
      ? Effect.succeed(`/${request.path.map(encodeURIComponent).join("/")}`)
      : Effect.fail(
          failed(
            new InvalidRequest({
              operation: request.operation,
              description: `${JSON.stringify(odd)} is no name`
            })
          )
        )
  }

  const queryOf = (request: Request): string => {
    const query = new URLSearchParams()
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value === undefined) continue
      if (Array.isArray(value)) for (const item of value) query.append(name, item)
      else query.append(name, typeof value === "object" ? JSON.stringify(value) : formatScalar(value))
    }
    return query.size === 0 ? "" : `?${query.toString()}`
  }

  const broken = (error: unknown, request: Request) =>
    Effect.flatMap(transport.complaint, (complaint) => {
      const { address, source } = target
      return Effect.fail(
        failed(
          complaint === undefined
            ? classify.transport(error, target, request.operation)
            : new EngineUnavailable({ address, source, description: `ssh says: ${complaint}` })
        )
      )
    })

  /** What the body's stream failed with is ours; everything else is the connection's. */
  const translate = (error: HttpClientError, request: Request): Effect.Effect<never, DockerError> => {
    let cause: unknown = error.reason
    while (Predicate.hasProperty(cause, "cause")) {
      if (cause instanceof DockerError) return Effect.fail(cause)
      cause = cause.cause
    }
    return cause instanceof DockerError ? Effect.fail(cause) : broken(error, request)
  }

  const limited = <A, R>(effect: Effect.Effect<A, DockerError, R>, request: Request) =>
    request.patient === true
      ? effect
      : Effect.timeoutOrElse(effect, {
          duration: options.timeout,
          orElse: () =>
            Effect.fail(
              failed(new TimedOut({ operation: request.operation, limitMillis: Duration.toMillis(options.timeout) }))
            )
        })

  const refuse = (status: number, body: string, request: Request) => {
    const parsed = Schema.decodeOption(ErrorBody)(body)
    const message = Option.isSome(parsed) ? parsed.value.message.trim() : body.trim()
    const reason = classify.refusal({ status, message: message === "" ? `status ${status}` : message }, request)
    // The engine may have been replaced by an older one.
    if (reason._tag === "UnsupportedVersion") negotiated = undefined
    return Effect.fail(failed(reason))
  }

  const send = (request: Request, url: string) =>
    Effect.gen(function* () {
      let outgoing = HttpClientRequest.make(request.method)(`${transport.origin}${url}`)
      if (request.headers !== undefined) outgoing = HttpClientRequest.setHeaders(outgoing, request.headers)
      if (request.body !== undefined) {
        outgoing =
          "json" in request.body
            ? HttpClientRequest.bodyJsonUnsafe(outgoing, request.body.json)
            : HttpClientRequest.bodyStream(outgoing, request.body.tar, { contentType: "application/x-tar" })
      }
      const response = yield* transport.http.execute(outgoing)
      const fine =
        (response.status >= 200 && response.status < 300) || request.accept?.includes(response.status) === true
      if (!fine) return yield* refuse(response.status, yield* response.text, request)
      return response
    }).pipe(Effect.catchTag("HttpClientError", (error) => translate(error, request)))

  const ping: Request = { method: "GET", path: ["_ping"], operation: "a ping", subject: "the engine" }

  const version: Effect.Effect<string, DockerError> = Effect.suspend(() =>
    negotiated === undefined
      ? Effect.gen(function* () {
          const response = yield* limited(send(ping, "/_ping"), ping)
          yield* text(response, ping)
          const engine = response.headers["api-version"]
          if (engine === undefined) {
            const description = "it names no version of the API"
            return yield* failed(new MalformedResponse({ operation: ping.operation, description }))
          }
          const chosen = apiVersion.choose(engine)
          if (chosen === undefined) {
            const { newest, oldest } = apiVersion
            return yield* failed(new UnsupportedVersion({ engine, oldest, newest }))
          }
          negotiated = chosen
          return chosen
        })
      : Effect.succeed(negotiated)
  )

  const text = (response: HttpClientResponse, request: Request) =>
    Effect.catchTag(response.text, "HttpClientError", (error) => translate(error, request))

  /** Negotiates first; `then` is what is read of the answer, within the same time. */
  const ask = <A>(request: Request, then: (response: HttpClientResponse) => Effect.Effect<A, DockerError>) =>
    Effect.gen(function* () {
      const spoken = yield* version
      const url = `/v${spoken}${yield* pathOf(request)}${queryOf(request)}`
      return yield* limited(Effect.flatMap(send(request, url), then), request)
    })

  const decode = <S extends Schema.Decoder<unknown>>(schema: S, request: Request) => {
    const decoded = Schema.decodeUnknownEffect(schema)
    return (input: unknown): Effect.Effect<S["Type"], DockerError> =>
      Effect.mapError(decoded(input), (error) =>
        failed(new MalformedResponse({ operation: request.operation, description: error.message }))
      )
  }

  const bytes = (request: Request): Stream.Stream<Uint8Array, DockerError> =>
    Stream.unwrap(
      ask(request, (response) =>
        Effect.succeed(
          Stream.catchTag(response.stream, "HttpClientError", (error) => Stream.fromEffect(translate(error, request)))
        )
      )
    )

  return {
    version,
    bytes,
    json: (request, schema) =>
      ask(request, (response) =>
        Effect.flatMap(text(response, request), decode(Schema.fromJsonString(schema), request))
      ),
    unit: (request) => ask(request, (response) => Effect.asVoid(text(response, request))),
    headers: (request) => ask(request, (response) => Effect.as(text(response, request), response.headers)),
    lines: (request, schema) =>
      bytes(request).pipe(
        Stream.pipeThroughChannel(Ndjson.decode({ ignoreEmptyLines: true, maxLineBytes: longestLine })),
        Stream.catchTag("NdjsonError", (error) =>
          Stream.fail(failed(new MalformedResponse({ operation: request.operation, description: error.message })))
        ),
        Stream.mapEffect(decode(schema, request))
      ),
    hijack: (request) =>
      Effect.gen(function* () {
        const spoken = yield* version
        const path = `/v${spoken}${yield* pathOf(request)}${queryOf(request)}`
        const onLost = (cause: unknown) => failed(classify.transport(cause, target, request.operation))
        const opened = yield* limited(
          hijack.open(transport.endpoint, { path, headers: request.headers }, onLost),
          request
        )
        return "status" in opened ? yield* refuse(opened.status, opened.body, request) : opened
      })
  }
}

const formatScalar = (value: unknown): string => (typeof value === "boolean" ? (value ? "1" : "0") : String(value))
