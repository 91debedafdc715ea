import { Environment, EventHandler, type SandboxEvent } from "@effect-sandbox/core"
import { SimDriver } from "@effect-sandbox/testing"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Context, Data, Effect, Exit, Layer, Logger, Redacted, Schedule, Schema, Scope } from "effect"
import { createHash } from "node:crypto"
import * as net from "node:net"
import { networkInterfaces } from "node:os"
import { Dashboard, type DashboardOptions } from "../src/Dashboard.ts"
import * as Protocol from "../src/internal/dashboard/protocol.ts"
import { follow, post, request } from "./support/http.ts"

class WrongAnswer extends Data.TaggedError("WrongAnswer")<{ readonly message: string }> {}

const token = "correct-horse-battery-staple"

const open = (options: DashboardOptions = {}) =>
  Effect.map(Layer.build(Dashboard.layer({ port: 0, ...options })), (context) => ({
    context,
    hub: Context.get(context, EventHandler.EventHub),
    ...Context.get(context, Dashboard)
  }))

/** A dashboard with an environment of simulated sandboxes. */
const openWith = (options: DashboardOptions = {}, id = "lab") =>
  Effect.gen(function* () {
    const dashboard = yield* open(options)
    const lab = yield* Environment.make({ id, images: ["base"], pool: { min: 2, max: 4 } }).pipe(
      Effect.provide(dashboard.context),
      Effect.provide(SimDriver.layer())
    )
    return { ...dashboard, lab }
  })

/** Everything that is published from now on. */
const record = (hub: EventHandler.EventHub["Service"]) =>
  Effect.gen(function* () {
    const events: Array<SandboxEvent.SandboxEvent> = []
    yield* hub.subscribe({ name: "record", handle: (event) => Effect.sync(() => events.push(event)) })
    return events
  })

const strict = { onExcessProperty: "error" } as const
const decode =
  <A>(schema: Schema.Decoder<A>) =>
  (value: unknown): A =>
    Schema.decodeUnknownSync(schema)(value, strict)
const json = (text: string): unknown => JSON.parse(text)

const until = (condition: Effect.Effect<boolean, unknown>) =>
  Effect.repeat(condition, { schedule: Schedule.spaced("20 millis"), until: (isTrue) => isTrue }).pipe(
    Effect.timeout("20 seconds")
  )

const confirmed = { environment: "lab", confirm: "lab" }

describe("Dashboard: who may look", () => {
  it.live("listens on loopback only, unless told otherwise", () =>
    Effect.gen(function* () {
      const { token, url } = yield* open()
      assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/$/)
      assert.isUndefined(token)
      assert.strictEqual((yield* request(url)).status, 200)
      const other = Object.values(networkInterfaces())
        .flat()
        .find((one) => one?.family === "IPv4" && !one.internal)
      if (other === undefined) return // a machine without a network has nowhere else to try
      const refused = yield* Effect.flip(request(url.replace("127.0.0.1", other.address)))
      assert.include(String(refused), "ECONNREFUSED")
    })
  )

  it.live("makes a token when it can be reached from elsewhere, and tells it in the log", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.map(Logger.formatSimple, (line) => {
        lines.push(line)
      })
      const { token, url } = yield* open({ host: "0.0.0.0" }).pipe(Effect.provide(Logger.layer([logger])))
      if (token === undefined) return assert.fail("no token")
      assert.isAtLeast(Redacted.value(token).length, 32)
      assert.include(lines.join("\n"), `${url}?token=${Redacted.value(token)}`)
      const at = url.replace("localhost", "127.0.0.1")
      assert.strictEqual((yield* request(`${at}api/state`)).status, 401)
      const welcome = yield* request(`${at}?token=${Redacted.value(token)}`)
      assert.strictEqual(welcome.status, 200)
    })
  )

  it.live("wants the token for everything: as a bearer, or as the cookie of the login", () =>
    Effect.gen(function* () {
      const { url } = yield* openWith({ token, actions: true })
      for (const path of ["api/state", "api/events", "api/history", "api/sandbox?id=lab/base:0:0", "nothing"]) {
        const answer = yield* request(url + path)
        assert.strictEqual(answer.status, 401, path)
        assert.notInclude(answer.body, "base")
        const wrong = yield* request(url + path, { headers: { authorization: `Bearer ${token}x` } })
        assert.strictEqual(wrong.status, 401, path)
        const asCookie = yield* request(url + path, {
          headers: { cookie: `effect-sandbox-${new URL(url).port}=${token}` }
        })
        assert.strictEqual(asCookie.status, 401, "the token itself is no cookie")
      }
      assert.strictEqual((yield* post(`${url}api/actions/shutdown`, confirmed)).status, 401)
      assert.strictEqual((yield* request(`${url}api/state?token=${token}`)).status, 401, "only the page takes it")
      const bearer = yield* request(`${url}api/state`, { headers: { authorization: `Bearer ${token}` } })
      assert.strictEqual(bearer.status, 200)

      const login = yield* request(url)
      assert.strictEqual(login.status, 401)
      assert.include(login.body, "<form")
      const refused = yield* request(`${url}?token=wrong`)
      assert.strictEqual(refused.status, 401)
      assert.isUndefined(refused.headers["set-cookie"])
      const form = (given: string) =>
        request(`${url}login`, {
          method: "POST",
          headers: { "content-type": "application/x-www-form-urlencoded" },
          body: `token=${encodeURIComponent(given)}`
        })
      assert.strictEqual((yield* form("wrong")).status, 401)
      const accepted = yield* form(token)
      assert.strictEqual(accepted.status, 303)
      const [cookie = ""] = accepted.headers["set-cookie"] ?? []
      assert.include(cookie, "HttpOnly")
      assert.include(cookie, "SameSite=Strict")
      assert.notInclude(cookie, token)
      const linked = yield* request(`${url}?token=${token}`)
      assert.strictEqual(linked.status, 200)
      assert.deepStrictEqual(linked.headers["set-cookie"]?.[0]?.split(";")[0], cookie.split(";")[0])
      const headers = { cookie: cookie.split(";")[0] ?? "" }
      assert.strictEqual((yield* request(`${url}api/state`, { headers })).status, 200)
    })
  )

  it.live("refuses tokens that can be guessed, without telling them", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(open({ token: "hunter2", port: 70_000 })))
      assert.strictEqual(error._tag, "InvalidConfigurationError")
      assert.include(error.message, "token: expected at least 16 characters")
      assert.include(error.message, "port:")
      assert.notInclude(error.message, "hunter2")
    })
  )

  it.live("answers only to its own names (DNS rebinding)", () =>
    Effect.gen(function* () {
      const { url } = yield* open({ hosts: ["build.example.org"] })
      const status = (host: string) =>
        Effect.map(request(`${url}api/state`, { headers: { host } }), (one) => one.status)
      assert.strictEqual(yield* status("evil.example.com"), 403)
      assert.strictEqual(yield* status("127.0.0.1.evil.example.com"), 403)
      assert.strictEqual(yield* status("localhost.evil.example.com:80"), 403)
      assert.strictEqual(yield* status("192.168.0.7:7770"), 403, "it does not listen there")
      for (const host of ["localhost", "localhost:9000", "127.0.0.1", "[::1]:7770", "BUILD.example.org:443"]) {
        assert.strictEqual(yield* status(host), 200, host)
      }
      const reachable = yield* open({ host: "0.0.0.0", token })
      const authorization = `Bearer ${token}`
      const elsewhere = (host: string) =>
        Effect.map(
          request(`${reachable.url.replace("localhost", "127.0.0.1")}api/state`, { headers: { host, authorization } }),
          (one) => one.status
        )
      assert.strictEqual(yield* elsewhere("192.168.0.7:7770"), 200)
      assert.strictEqual(yield* elsewhere("evil.example.com"), 403)
    })
  )

  it.live("refuses what pages of other origins ask for, but lets them link to it", () =>
    Effect.gen(function* () {
      const { hub, lab, url } = yield* openWith({ actions: true })
      const events = yield* record(hub)
      const action = (headers: { readonly [name: string]: string }) =>
        Effect.map(post(`${url}api/actions/shutdown`, confirmed, headers), (one) => one.status)
      assert.strictEqual(yield* action({ origin: "https://evil.example.com" }), 403)
      assert.strictEqual(yield* action({ origin: "null" }), 403)
      assert.strictEqual(yield* action({ origin: "http://localhost:1" }), 403)
      assert.strictEqual(yield* action({ "sec-fetch-site": "same-site" }), 403)
      assert.strictEqual(yield* action({ "content-type": "text/plain" }), 415)
      const stream = yield* request(`${url}api/events`, { headers: { "sec-fetch-site": "cross-site" } })
      assert.strictEqual(stream.status, 403)
      const link = yield* request(url, { headers: { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" } })
      assert.strictEqual(link.status, 200)
      assert.strictEqual(yield* lab.status, "Online")
      assert.isFalse(events.some((event) => event._tag === "ActionRequested"))
      const { origin } = new URL(url)
      assert.strictEqual(yield* action({ origin, "sec-fetch-site": "same-origin" }), 202)
    })
  )

  it.live("allows the page what is in it and nothing else, and lets nothing be stored", () =>
    Effect.gen(function* () {
      const { url } = yield* openWith()
      const { body, headers } = yield* request(url)
      const policy = String(headers["content-security-policy"])
      const script = /<script[^>]*>([^]*?)<\/script>/.exec(body)?.[1] ?? ""
      assert.isAbove(script.length, 1000)
      assert.include(policy, `script-src 'sha256-${createHash("sha256").update(script).digest("base64")}'`)
      assert.include(policy, "default-src 'none'")
      assert.include(policy, "frame-ancestors 'none'")
      assert.notInclude(policy, "unsafe")
      for (const path of ["", "api/state", "api/history", "nothing"]) {
        const answer = yield* request(url + path)
        assert.strictEqual(answer.headers["cache-control"], "no-store", path)
        assert.strictEqual(answer.headers["x-content-type-options"], "nosniff", path)
      }
      assert.strictEqual((yield* request(`${url}nothing`)).status, 404)
    })
  )
})

describe("Dashboard: actions", () => {
  it.live("there are none unless they were enabled", () =>
    Effect.gen(function* () {
      const { hub, lab, url } = yield* openWith()
      const events = yield* record(hub)
      for (const name of ["drain", "recycle", "shutdown"]) {
        const answer = yield* post(`${url}api/actions/${name}`, { ...confirmed, sandbox: "lab/base:0:0" })
        assert.strictEqual(answer.status, 403)
        assert.strictEqual(decode(Protocol.Problem)(json(answer.body)).error, "ActionsDisabled")
      }
      assert.strictEqual(yield* lab.status, "Online")
      assert.strictEqual(events.length, 0)
    })
  )

  it.live("need a confirmation, and are published with who asked", () =>
    Effect.gen(function* () {
      const { hub, lab, url } = yield* openWith({ actions: true })
      const events = yield* record(hub)
      const recycle = (body: object) => post(`${url}api/actions/recycle`, { environment: "lab", ...body })
      const sandbox = "lab/base:0:0"
      assert.strictEqual((yield* recycle({ sandbox, confirm: "yes" })).status, 400)
      assert.strictEqual((yield* recycle({ sandbox })).status, 400)
      assert.strictEqual((yield* recycle({ confirm: sandbox })).status, 400)
      assert.strictEqual((yield* recycle({ sandbox, confirm: sandbox, by: "a\nb" })).status, 400)
      assert.strictEqual((yield* recycle({ sandbox, confirm: sandbox, environment: "other" })).status, 404)
      assert.strictEqual((yield* post(`${url}api/actions/drain`, "{")).status, 400)
      assert.strictEqual(events.length, 0)

      const unknown = yield* recycle({ sandbox: "lab/base:7:7", confirm: "lab/base:7:7" })
      assert.strictEqual(unknown.status, 404)
      const done = yield* recycle({ sandbox, confirm: sandbox, by: "Ada" })
      assert.strictEqual(done.status, 202)
      const { requestedBy } = decode(Protocol.ActionAccepted)(json(done.body))
      assert.strictEqual(requestedBy, "Ada (dashboard, 127.0.0.1)")
      yield* until(Effect.sync(() => events.some((event) => event._tag === "SandboxStarted")))
      const requests = events.filter((event) => event._tag === "ActionRequested")
      assert.deepStrictEqual(
        requests.map(({ action, requestedBy, sandboxId }) => ({ action, requestedBy, sandboxId: String(sandboxId) })),
        [
          { action: "recycle", requestedBy: "dashboard, 127.0.0.1", sandboxId: "lab/base:7:7" },
          { action: "recycle", requestedBy: "Ada (dashboard, 127.0.0.1)", sandboxId: sandbox }
        ]
      )

      const drain = yield* post(`${url}api/actions/drain`, confirmed)
      assert.strictEqual(drain.status, 202)
      yield* until(Effect.map(lab.status, (status) => status === "Offline"))
      yield* until(Effect.sync(() => events.some((event) => event._tag === "EnvironmentDraining")))
      assert.strictEqual((yield* post(`${url}api/actions/shutdown`, confirmed)).status, 202, "it is registered still")
    })
  )

  it.live("refuse bodies that are larger than any request", () =>
    Effect.gen(function* () {
      const { url } = yield* openWith({ actions: true })
      const answer = yield* post(`${url}api/actions/drain`, { ...confirmed, by: "x".repeat(100_000) })
      assert.strictEqual(answer.status, 400)
    })
  )
})

describe("Dashboard: the stream", () => {
  it.live("begins with the whole, goes on with what changes, and fits its schemas", () =>
    Effect.gen(function* () {
      const { lab, url } = yield* openWith()
      const stream = yield* follow(`${url}api/events`)
      const first = decode(Protocol.Snapshot)((yield* stream.next((one) => one.event === "snapshot")).data)
      assert.deepStrictEqual(
        first.environments.map(({ id, images, status }) => ({ id, status, images: images.map((one) => one.image) })),
        [{ id: "lab", status: "Online", images: ["base"] }] as never
      )
      assert.strictEqual(first.sandboxes[0]?.cells.length, 2)
      assert.deepStrictEqual(
        first.sandboxes[0]?.cells.map((cell) => cell[2]),
        ["Ready", "Ready"]
      )
      yield* Effect.ignore(lab.withSession({ id: "bad" }, new WrongAnswer({ message: "41" })))
      const told = yield* stream.next(
        ({ data, event }) =>
          event === "tick" &&
          decode(Protocol.Tick)(data).log.entries.some(
            ({ event, outcome }) =>
              event._tag === "SessionEnded" && event.sessionId === "bad" && outcome === "user_error"
          )
      )
      const tick = decode(Protocol.Tick)(told.data)
      assert.isAbove(tick.sandboxes.length, 0)
      const rated = yield* stream.next(
        ({ data, event }) =>
          event === "tick" &&
          decode(Protocol.Tick)(data).points.some(({ points }) => points.some((one) => one.failed === 1))
      )
      const [environment] = decode(Protocol.Tick)(rated.data).environments
      assert.strictEqual(environment?.failing.level, "bad")
      assert.strictEqual(environment?.failures[0]?.tag, "WrongAnswer")
      for (const message of stream.messages) {
        if (message.event === "log") decode(Protocol.LogPart)(message.data)
        if (message.event === "tick") decode(Protocol.Tick)(message.data)
      }
      const state = yield* request(`${url}api/state`)
      assert.strictEqual(decode(Protocol.Snapshot)(json(state.body)).environments.length, 1)
    })
  )

  it.live("is resumed where it was left, and tells of a gap", () =>
    Effect.gen(function* () {
      const { lab, url } = yield* openWith({ history: 100 })
      const first = yield* Effect.scoped(
        Effect.gen(function* () {
          const stream = yield* follow(`${url}api/events`)
          return yield* stream.next((one) => one.event === "log")
        })
      )
      const seen = decode(Protocol.LogPart)(first.data).entries.at(-1)?.seq ?? 0
      const rest = (id: string | undefined, by: "header" | "query") =>
        Effect.scoped(
          Effect.gen(function* () {
            const stream =
              by === "header"
                ? yield* follow(`${url}api/events`, { "last-event-id": id ?? "" })
                : yield* follow(`${url}api/events?last=${encodeURIComponent(id ?? "")}`)
            return decode(Protocol.LogPart)((yield* stream.next((one) => one.event === "log")).data)
          })
        )
      yield* lab.withSession({ id: "one" }, Effect.void)
      const handled = Effect.map(request(`${url}api/history?session=one&kind=SessionEnded`), ({ body }) =>
        body.includes("SessionEnded")
      )
      yield* until(handled)
      const short = yield* rest(first.id, "header")
      assert.strictEqual(short.missed, 0)
      assert.strictEqual(short.entries[0]?.seq, seen + 1)
      assert.isTrue(short.entries.some((entry) => entry.event._tag === "SessionEnded"))
      assert.deepStrictEqual(yield* rest(first.id, "query"), short)

      for (let i = 0; i < 40; i++) yield* lab.withSession({ id: `many ${i}` }, Effect.void)
      yield* until(
        Effect.map(request(`${url}api/history?session=many%2039&kind=SessionEnded`), ({ body }) =>
          body.includes("SessionEnded")
        )
      )
      const gap = yield* rest(first.id, "header")
      assert.strictEqual(gap.entries.length, 100)
      assert.isAbove(gap.missed, 0)
      assert.strictEqual((gap.entries[0]?.seq ?? 0) - seen - 1, gap.missed)
      // The id of another server says nothing. What all browsers get at first is made once for each tick.
      yield* until(Effect.map(rest("another.7", "header"), ({ entries }) => entries.length === 100))
      const anew = yield* rest("another.7", "header")
      assert.strictEqual(anew.missed, 0)
      assert.strictEqual(anew.entries.length, 100)
      const nonsense = yield* rest(`${first.id}9999999`, "header")
      assert.strictEqual(nonsense.missed, 0)
    })
  )

  it.live("is for a number of browsers, and gives way when one leaves", () =>
    Effect.gen(function* () {
      const { url } = yield* openWith({ connections: 2 })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const one = yield* follow(`${url}api/events`)
          const two = yield* follow(`${url}api/events`)
          yield* one.next(() => true)
          yield* two.next(() => true)
          assert.strictEqual((yield* request(`${url}api/events`)).status, 503)
        })
      )
      yield* until(Effect.scoped(Effect.map(follow(`${url}api/events`), (stream) => stream.status() === 200)))
    })
  )
})

describe("Dashboard: history", () => {
  it.live("is filtered, newest first, and paged", () =>
    Effect.gen(function* () {
      const { context, lab, url } = yield* openWith()
      yield* Environment.make({ id: "other", images: ["small", "large"], pool: 1 }).pipe(
        Effect.provide(context),
        Effect.provide(SimDriver.layer())
      )
      for (const id of ["s1", "s2", "s3"]) yield* lab.withSession({ id }, Effect.void)
      yield* Effect.ignore(lab.withSession({ id: "bad" }, new WrongAnswer({ message: "expected 42" })))
      const ask = (query: string) =>
        Effect.map(request(`${url}api/history?${query}`), ({ body }) => decode(Protocol.History)(json(body)))
      yield* until(Effect.map(ask("session=bad&kind=SessionEnded"), ({ entries }) => entries.length === 1))

      const kinds = yield* ask("kind=SessionStarted&kind=SessionEnded&limit=500")
      assert.strictEqual(kinds.entries.length, 8)
      assert.deepStrictEqual(
        kinds.entries.map((entry) => entry.seq),
        kinds.entries.map((entry) => entry.seq).sort((a, b) => b - a)
      )
      const errors = yield* ask("outcome=user_error&outcome=state_error")
      assert.deepStrictEqual(
        errors.entries.map(({ event }) => event._tag),
        ["SessionEnded"]
      )
      assert.isTrue(
        (yield* ask("image=small")).entries.every(({ event }) => "image" in event && event.image === "small")
      )
      const other = yield* ask("environment=other&limit=500")
      assert.isAbove(other.entries.length, 5)
      assert.isTrue(other.entries.every(({ event }) => event.environmentId === "other"))
      const ofSandbox = yield* ask("sandbox=lab/base:1:0&limit=500")
      assert.isTrue(ofSandbox.entries.every(({ event }) => "sandboxId" in event && event.sandboxId === "lab/base:1:0"))
      assert.isAbove(ofSandbox.entries.length, 1)
      assert.deepStrictEqual(
        (yield* ask("text=EXPECTED%2042")).entries.map(({ event }) => event._tag),
        ["SessionEnded"]
      )
      assert.strictEqual((yield* ask("text=nothing%20like%20this")).entries.length, 0)

      const all = (yield* ask("limit=500")).entries.map((entry) => entry.seq)
      const paged: Array<number> = []
      let before: number | undefined
      do {
        const page: Protocol.History = yield* ask(`limit=7${before === undefined ? "" : `&before=${before}`}`)
        paged.push(...page.entries.map((entry) => entry.seq))
        before = page.before
      } while (before !== undefined)
      assert.deepStrictEqual(
        paged.filter((seq) => seq <= (all[0] ?? 0)),
        all
      )
      for (const query of ["limit=none", "before=-1", "kind=Nothing", "from=yesterday"]) {
        assert.strictEqual((yield* request(`${url}api/history?${query}`)).status, 400, query)
      }
    })
  )

  it.live("of a sandbox tells its generations, its time by status, and the events of its slot", () =>
    Effect.gen(function* () {
      const { lab, url } = yield* openWith()
      const id = yield* Effect.scoped(Effect.map(lab.session({ id: "s1" }), (session) => session.sandboxId))
      yield* lab.recycle(id)
      const next = id.replace(/:0$/, ":1")
      const ask = Effect.map(request(`${url}api/sandbox?id=${encodeURIComponent(next)}`), ({ body }) => body)
      yield* until(
        Effect.map(
          ask,
          (body) => body.includes(`"sandboxId":"${next}","environment"`) && body.includes('"status":"Ready"')
        )
      )
      const history = decode(Protocol.SandboxHistory)(json(yield* ask))
      assert.deepStrictEqual(
        history.generations.map(({ failed, generation, reason, sessions }) => ({
          failed,
          generation,
          reason,
          sessions
        })),
        [
          { failed: 0, generation: 1, reason: undefined, sessions: 0 },
          { failed: 0, generation: 0, reason: "recycled", sessions: 1 }
        ]
      )
      assert.containsAllKeys(history.spentMillis, ["SettingUp", "Ready"])
      assert.isTrue(history.entries.some(({ event }) => event._tag === "SessionEnded" && event.sessionId === "s1"))
      assert.strictEqual((yield* request(`${url}api/sandbox?id=lab/base:99:0`)).status, 404)
    })
  )
})

describe("Dashboard: its life", () => {
  it.live("tells which port is taken", () =>
    Effect.gen(function* () {
      const { url } = yield* open()
      const port = Number(new URL(url).port)
      const error = yield* Effect.flip(Effect.scoped(open({ port })))
      if (error._tag !== "DashboardError") return assert.fail(error._tag)
      assert.strictEqual(error.reason._tag, "PortInUse")
      assert.include(error.message, `port ${port} of 127.0.0.1 is in use`)
    })
  )

  it.live("tells what else keeps it from listening", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(open({ host: "203.0.113.7", token })))
      if (error._tag !== "DashboardError") return assert.fail(error._tag)
      assert.strictEqual(error.reason._tag, "CannotListen")
      assert.include(error.message, "203.0.113.7")
    })
  )

  it.live("closes at once, with a goodbye, also when a browser never reads or never finishes its request", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { lab, url } = yield* Scope.provide(openWith(), scope)
      const stream = yield* follow(`${url}api/events`)
      yield* stream.next((one) => one.event === "log")
      const port = Number(new URL(url).port)
      const raw = (text: string) =>
        Effect.acquireRelease(
          Effect.callback<net.Socket>((resume) => {
            const socket = net.connect(port, "127.0.0.1", () => {
              socket.write(text)
              socket.pause()
              resume(Effect.succeed(socket))
            })
            socket.on("error", () => {})
          }),
          (socket) => Effect.sync(() => socket.destroy())
        )
      for (let i = 0; i < 5; i++) yield* raw("GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
      yield* raw("GET /api/st")
      yield* raw("POST /api/actions/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
      yield* Effect.sleep("200 millis")
      yield* lab.withSession({ id: "s1" }, Effect.void)
      const started = performance.now()
      yield* Scope.close(scope, Exit.void)
      const took = performance.now() - started
      assert.isBelow(took, 5000)
      const last = yield* stream.next((one) => one.event === "stopped")
      assert.strictEqual(last.event, "stopped")
      yield* until(Effect.sync(() => stream.hasEnded()))
      const offline = stream.messages.some(
        ({ data, event }) =>
          event === "tick" && decode(Protocol.Tick)(data).environments.some((one) => one.status === "Offline")
      )
      assert.isTrue(offline, "the end of the environment was told")
      assert.include(String(yield* Effect.flip(request(url))), "ECONNREFUSED")
    })
  )

  it.live("can be configured from outside", () =>
    Effect.gen(function* () {
      const config = ConfigProvider.layer(
        ConfigProvider.fromUnknown({ DASHBOARD: { PORT: "0", HOST: "localhost", TOKEN: token, ACTIONS: "true" } })
      )
      const context = yield* Layer.build(Dashboard.layerConfig(Dashboard.config, { port: 1, actions: false })).pipe(
        Effect.provide(config)
      )
      const dashboard = Context.get(context, Dashboard)
      assert.match(dashboard.url, /^http:\/\/localhost:\d+\/$/)
      const answer = yield* request(`${dashboard.url}api/state`, { headers: { authorization: `Bearer ${token}` } })
      assert.isTrue(decode(Protocol.Snapshot)(json(answer.body)).actions)
    })
  )
})
