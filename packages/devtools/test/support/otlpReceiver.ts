/** Receives what is exported by OTLP/HTTP, as a collector would, and reads it: JSON by a schema, protobuf by number. */
import { Effect, Schema, type Scope } from "effect"
import { createServer } from "node:http"

export interface Request {
  readonly path: string
  readonly contentType: string
  readonly body: Buffer
}

/** A receiver on a free port, until the scope closes. */
export const listen: Effect.Effect<
  { readonly url: string; readonly requests: ReadonlyArray<Request> },
  never,
  Scope.Scope
> = Effect.gen(function* () {
  const requests: Array<Request> = []
  const server = createServer((request, response) => {
    const chunks: Array<Buffer> = []
    request.on("data", (chunk: Buffer) => chunks.push(chunk))
    request.on("end", () => {
      requests.push({
        path: request.url ?? "",
        contentType: request.headers["content-type"] ?? "",
        body: Buffer.concat(chunks)
      })
      response.writeHead(200, { "content-type": "application/json" }).end("{}")
    })
  })
  const port = yield* Effect.acquireRelease(
    Effect.callback<number>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
      })
    }),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
  return { url: `http://127.0.0.1:${port}`, requests }
})

const AnyValue = Schema.Union([
  Schema.Struct({ stringValue: Schema.String }),
  Schema.Struct({ boolValue: Schema.Boolean }),
  Schema.Struct({ intValue: Schema.Union([Schema.String, Schema.Finite]) }),
  Schema.Struct({ doubleValue: Schema.Finite }),
  Schema.Struct({ arrayValue: Schema.Unknown }),
  Schema.Struct({ kvlistValue: Schema.Unknown })
])
const Attributes = Schema.Array(Schema.Struct({ key: Schema.String, value: AnyValue }))
type Attributes = typeof Attributes.Type

/** Attributes as a record. */
export const record = (attributes: Attributes): Record<string, unknown> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))

// Numbers of 64 bits are strings in OTLP/JSON.
const Nanos = Schema.String.check(Schema.isPattern(/^\d{19}$/))
const Resource = Schema.Struct({ attributes: Attributes })

const Span = Schema.Struct({
  traceId: Schema.String.check(Schema.isPattern(/^[0-9a-f]{32}$/)),
  spanId: Schema.String.check(Schema.isPattern(/^[0-9a-f]{16}$/)),
  parentSpanId: Schema.optionalKey(Schema.String.check(Schema.isPattern(/^[0-9a-f]{16}$/))),
  name: Schema.String,
  /** 1 internal, 3 client. */
  kind: Schema.Finite,
  startTimeUnixNano: Nanos,
  endTimeUnixNano: Nanos,
  attributes: Attributes,
  links: Schema.Array(Schema.Struct({ traceId: Schema.String, spanId: Schema.String })),
  /** 0 unset, 1 ok, 2 error. */
  status: Schema.Struct({ code: Schema.Finite, message: Schema.optionalKey(Schema.String) })
})

const LogRecord = Schema.Struct({
  timeUnixNano: Nanos,
  severityNumber: Schema.Finite,
  body: AnyValue,
  attributes: Attributes,
  traceId: Schema.optionalKey(Schema.String),
  spanId: Schema.optionalKey(Schema.String)
})

const NumberPoint = Schema.Struct({ attributes: Attributes, timeUnixNano: Nanos, asDouble: Schema.Finite })
const Metric = Schema.Struct({
  name: Schema.String,
  description: Schema.String,
  unit: Schema.String,
  gauge: Schema.optionalKey(Schema.Struct({ dataPoints: Schema.Array(NumberPoint) })),
  sum: Schema.optionalKey(
    Schema.Struct({
      dataPoints: Schema.Array(NumberPoint),
      isMonotonic: Schema.Boolean,
      aggregationTemporality: Schema.Literal(2)
    })
  ),
  histogram: Schema.optionalKey(
    Schema.Struct({
      dataPoints: Schema.Array(
        Schema.Struct({
          attributes: Attributes,
          count: Schema.Finite,
          sum: Schema.Finite,
          bucketCounts: Schema.Array(Schema.Finite),
          explicitBounds: Schema.Array(Schema.Finite)
        })
      )
    })
  )
})

const Traces = Schema.Struct({
  resourceSpans: Schema.Array(
    Schema.Struct({
      resource: Resource,
      scopeSpans: Schema.Array(Schema.Struct({ spans: Schema.Array(Span) }))
    })
  )
})
const Logs = Schema.Struct({
  resourceLogs: Schema.Array(
    Schema.Struct({
      resource: Resource,
      scopeLogs: Schema.Array(Schema.Struct({ logRecords: Schema.Array(LogRecord) }))
    })
  )
})
const Metrics = Schema.Struct({
  resourceMetrics: Schema.Array(
    Schema.Struct({
      resource: Resource,
      scopeMetrics: Schema.Array(Schema.Struct({ metrics: Schema.Array(Metric) }))
    })
  )
})

const bodies = <S extends Schema.Decoder<unknown>>(requests: ReadonlyArray<Request>, path: string, schema: S) =>
  requests
    .filter((request) => request.path === path && request.contentType === "application/json")
    .map(({ body }) => Schema.decodeUnknownSync(Schema.fromJsonString(schema))(body.toString()))

/** Every span that has arrived as JSON. */
export const spans = (requests: ReadonlyArray<Request>) =>
  bodies(requests, "/v1/traces", Traces).flatMap(({ resourceSpans }) =>
    resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans))
  )

/** Every log record that has arrived as JSON. */
export const logs = (requests: ReadonlyArray<Request>) =>
  bodies(requests, "/v1/logs", Logs).flatMap(({ resourceLogs }) =>
    resourceLogs.flatMap(({ scopeLogs }) => scopeLogs.flatMap(({ logRecords }) => logRecords))
  )

/** The metrics that arrived last as JSON. */
export const metrics = (requests: ReadonlyArray<Request>) =>
  (bodies(requests, "/v1/metrics", Metrics).at(-1)?.resourceMetrics ?? []).flatMap(({ scopeMetrics }) =>
    scopeMetrics.flatMap((scope) => scope.metrics)
  )

/** The service that the first request of a path named. */
export const service = (requests: ReadonlyArray<Request>) =>
  bodies(requests, "/v1/traces", Traces)
    .flatMap(({ resourceSpans }) => resourceSpans.map(({ resource }) => record(resource.attributes)))
    .map((resource) => resource["service.name"])

/** A protobuf message: its fields by number. Messages, bytes and strings are buffers. */
export type Message = ReadonlyMap<number, ReadonlyArray<Buffer | bigint | number>>

/** Reads a protobuf message without knowing what it is. */
export const message = (bytes: Buffer): Message => {
  const fields = new Map<number, Array<Buffer | bigint | number>>()
  let at = 0
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes.readUInt8(at++)
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
  }
  while (at < bytes.length) {
    const tag = Number(varint())
    const values = fields.get(tag >> 3) ?? []
    fields.set(tag >> 3, values)
    const kind = tag & 7
    if (kind === 0) values.push(varint())
    else if (kind === 1) {
      values.push(bytes.readBigUInt64LE(at))
      at += 8
    } else if (kind === 2) {
      const length = Number(varint())
      values.push(bytes.subarray(at, at + length))
      at += length
    } else if (kind === 5) {
      values.push(bytes.readUInt32LE(at))
      at += 4
    } else throw new Error(`no protobuf: wire type ${kind} at ${at}`)
  }
  return fields
}

/** The messages that a path of field numbers leads to. */
export const messagesAt = (root: Message, path: ReadonlyArray<number>): ReadonlyArray<Message> =>
  path.reduce<ReadonlyArray<Message>>(
    (messages, field) =>
      messages.flatMap((one) =>
        (one.get(field) ?? []).flatMap((value) => (Buffer.isBuffer(value) ? [message(value)] : []))
      ),
    [root]
  )

/** A field that holds text. */
export const text = (of: Message, field: number): string => {
  const value = of.get(field)?.[0]
  return Buffer.isBuffer(value) ? value.toString() : ""
}

/** A field that holds bytes, in hexadecimal digits. */
export const hex = (of: Message, field: number): string => {
  const value = of.get(field)?.[0]
  return Buffer.isBuffer(value) ? value.toString("hex") : ""
}
