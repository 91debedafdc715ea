/** A plain HTTP client for tests: it sends the headers that it is given, also `Host`, and reads event streams. */
import { Effect, Schedule, type Scope } from "effect"
import * as http from "node:http"

export interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

interface Request {
  readonly method?: string
  readonly headers?: { readonly [name: string]: string }
  readonly body?: string
}

export const request = (url: string, { body, headers, method }: Request = {}): Effect.Effect<Answer, Error> =>
  Effect.callback((resume) => {
    const sent = http.request(url, { method: method ?? "GET", headers: { ...headers }, agent: false }, (response) => {
      const chunks: Array<Buffer> = []
      response.on("data", (chunk: Buffer) => chunks.push(chunk))
      response.on("end", () =>
        resume(
          Effect.succeed({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString()
          })
        )
      )
      response.on("error", (error) => resume(Effect.fail(error)))
    })
    sent.on("error", (error) => resume(Effect.fail(error)))
    sent.end(body)
    return Effect.sync(() => sent.destroy())
  })

export const post = (url: string, body: unknown, headers: { readonly [name: string]: string } = {}) =>
  request(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body)
  })

export interface Message {
  readonly event: string
  readonly id: string | undefined
  readonly data: unknown
}

/** What has come of a stream so far. */
export interface Stream {
  readonly status: () => number
  readonly messages: ReadonlyArray<Message>
  readonly hasEnded: () => boolean
  /** Waits for a message. */
  readonly next: (accepts: (message: Message) => boolean) => Effect.Effect<Message>
}

/** Follows a stream of server-sent events until the scope closes. */
export const follow = (
  url: string,
  headers: { readonly [name: string]: string } = {}
): Effect.Effect<Stream, Error, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly stream: Stream; readonly sent: http.ClientRequest }, Error>((resume) => {
      const messages: Array<Message> = []
      let text = ""
      let hasEnded = false
      const sent = http.get(url, { headers: { ...headers }, agent: false }, (response) => {
        response.setEncoding("utf8")
        response.on("data", (chunk: string) => {
          const parts = (text + chunk).split("\n\n")
          text = parts.pop() ?? ""
          for (const part of parts) {
            const fields = new Map(
              part.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)])
            )
            messages.push({
              event: fields.get("event") ?? "message",
              id: fields.get("id"),
              data: JSON.parse(fields.get("data") ?? "null")
            })
          }
        })
        response.on("close", () => (hasEnded = true))
        response.on("error", () => (hasEnded = true))
        resume(
          Effect.succeed({
            sent,
            stream: {
              status: () => response.statusCode ?? 0,
              messages,
              hasEnded: () => hasEnded,
              next: (accepts) =>
                Effect.suspend(() => {
                  const found = messages.find(accepts)
                  return found === undefined ? Effect.fail("not yet") : Effect.succeed(found)
                }).pipe(Effect.retry(Schedule.spaced("20 millis")), Effect.orDie)
            }
          })
        )
      })
      sent.on("error", (error) => resume(Effect.fail(error)))
    }),
    ({ sent }) => Effect.sync(() => sent.destroy())
  ).pipe(Effect.map(({ stream }) => stream))
