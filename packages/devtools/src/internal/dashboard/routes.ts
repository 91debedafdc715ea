/** What can be asked of the dashboard's server, and who may ask it. */
import type { EventHub } from "@effect-sandbox/core/EventHandler"
import * as ByteSize from "effect/ByteSize"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import type * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpRouter from "effect/http/HttpRouter"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as EventFilter from "../../EventFilter.ts"
import * as access from "./access.ts"
import { matches } from "./eventLog.ts"
import type { Feed } from "./feed.ts"
import type { Model } from "./model.ts"
import * as pages from "./page.ts"
import * as Protocol from "./protocol.ts"

export interface Options {
  readonly hub: EventHub["Service"]
  readonly model: Model
  readonly feed: Feed
  readonly page: pages.Page
  readonly access: access.Access
  readonly actions: boolean
  /** Browsers that may follow at the same time. */
  readonly connections: number
  /** Where actions run, which go on when the browser that asked for them has gone. */
  readonly scope: Scope.Scope
}

type Response = HttpServerResponse.HttpServerResponse

/** Of every answer. */
const headers = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "same-origin", // with "no-referrer" browsers say that our own login comes from nowhere
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin"
}

const no = (status: number, error: string, message: string): Response =>
  HttpServerResponse.jsonUnsafe({ error, message } satisfies Protocol.Problem, { status })

/** `HttpServerResponse.schemaJson` would write `null` for what is undefined, which the schemas do not allow. */
const json = <A, I>(schema: Schema.Codec<A, I>, value: A, status = 200): Effect.Effect<Response> =>
  Effect.map(
    Effect.orDie(Schema.encodeEffect(schema)(value)), // our own values fit
    (encoded) => HttpServerResponse.jsonUnsafe(encoded, { status })
  )

const html = (page: pages.Page, status = 200): Response =>
  HttpServerResponse.text(page.html, {
    status,
    contentType: "text/html; charset=utf-8",
    headers: { "content-security-policy": page.policy }
  })

const count = (least: number) => Schema.FiniteFromString.check(Schema.isInt(), Schema.isGreaterThanOrEqualTo(least))

/** Besides those of `EventFilter.FromStrings`. */
const PageQuery = Schema.Struct({
  text: Schema.optionalKey(Schema.String),
  before: Schema.optionalKey(count(0)),
  limit: Schema.optionalKey(count(1))
})

const longestPage = 500

/** The application answers everything and never fails. */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<
  { readonly application: Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest | Scope.Scope> },
  never,
  Scope.Scope
> {
  const { feed, hub, model, page } = options
  // A search takes the processor; sandboxes need it, too.
  const searching = yield* Semaphore.make(1)

  const withCookie = (response: Response): Effect.Effect<Response> =>
    options.access.token === undefined
      ? Effect.succeed(response)
      : Effect.orDie(
          HttpServerResponse.setCookie(response, options.access.cookieName, access.cookieValue(options.access.token), {
            httpOnly: true,
            sameSite: "strict",
            path: "/",
            maxAge: "30 days"
          })
        )

  const state = Effect.suspend(() => json(Protocol.Snapshot, feed.state()))

  const events = (request: HttpServerRequest.HttpServerRequest) =>
    Effect.gen(function* () {
      if (feed.connections >= options.connections) {
        return no(503, "TooManyConnections", `${options.connections} browsers are connected already`)
      }
      const { last } = yield* HttpServerRequest.schemaSearchParams(
        Schema.Struct({ last: Schema.optionalKey(Schema.String) })
      )
      const connection = NodeHttpServerRequest.toServerResponse(request)
      const stream = feed.connect(request.headers["last-event-id"] ?? last, () => connection.destroy())
      return HttpServerResponse.stream(stream, {
        contentType: "text/event-stream; charset=utf-8",
        headers: { "x-accel-buffering": "no" } // a proxy must not hold events back
      })
    })

  const history = Effect.gen(function* () {
    const query = yield* HttpServerRequest.schemaSearchParams(PageQuery)
    const filter = yield* HttpServerRequest.schemaSearchParams(EventFilter.FromStrings)
    const accepts = matches(filter, query.text?.trim() ?? "")
    const limit = Math.min(query.limit ?? 100, longestPage)
    const found = model.log.search(accepts, query.before ?? Number.POSITIVE_INFINITY, limit)
    return yield* json(Protocol.History, yield* searching.withPermit(found))
  })

  const sandbox = Effect.gen(function* () {
    const { id } = yield* HttpServerRequest.schemaSearchParams(Schema.Struct({ id: Schema.String }))
    const found = model.history(id, yield* Clock.currentTimeMillis)
    if (found === undefined) return no(404, "UnknownSandbox", `Nothing is known of ${id}`)
    // Of all generations of its slot.
    const prefix = found.sandboxId.slice(0, found.sandboxId.lastIndexOf(":") + 1)
    const ofSlot = model.log.search(
      (event) => "sandboxId" in event && event.sandboxId?.startsWith(prefix) === true,
      Number.POSITIVE_INFINITY,
      200
    )
    const { entries } = yield* searching.withPermit(ofSlot)
    return yield* json(Protocol.SandboxHistory, { ...found, entries })
  })

  const action = (name: Protocol.ActionName) => (request: HttpServerRequest.HttpServerRequest) =>
    Effect.gen(function* () {
      if (!options.actions) return no(403, "ActionsDisabled", "This dashboard was made without `actions: true`")
      // A form of another page cannot send this type.
      if (!request.headers["content-type"]?.startsWith("application/json")) {
        return no(415, "NotJson", "The content type must be application/json")
      }
      const asked = yield* HttpServerRequest.schemaBodyJson(Protocol.ActionRequest)
      const environment = hub.environments().find((one) => one.id === asked.environment)
      if (environment === undefined) {
        return no(404, "UnknownEnvironment", `There is no environment ${asked.environment}`)
      }
      const subject = name === "recycle" ? asked.sandbox : asked.environment
      if (subject === undefined) return no(400, "SandboxMissing", "Which sandbox is to be recycled?")
      if (asked.confirm !== subject) {
        return no(400, "NotConfirmed", `\`confirm\` must be ${subject}, as a sign that this is meant`)
      }
      const from = Option.getOrElse(request.remoteAddress, () => "an unknown address")
      const by = asked.by?.trim()
      const requestedBy = by === undefined || by === "" ? `dashboard, ${from}` : `${by} (dashboard, ${from})`
      hub.publish({
        _tag: "ActionRequested",
        environmentId: environment.id,
        timestamp: yield* Clock.currentTimeMillis,
        action: name,
        ...(name === "recycle" ? { sandboxId: asked.sandbox } : {}),
        requestedBy
      })
      if (name === "recycle") yield* environment.recycle(subject)
      else yield* Effect.forkIn(name === "drain" ? environment.drain : environment.shutdown, options.scope)
      return yield* json(Protocol.ActionAccepted, { accepted: name, requestedBy }, 202)
    })

  const login = Effect.gen(function* () {
    const { token } = yield* HttpServerRequest.schemaBodyUrlParams(Schema.Struct({ token: Schema.String }))
    if (!access.isToken(options.access, token)) return html(pages.login(true), 401)
    return yield* withCookie(HttpServerResponse.redirect("/", { status: 303 }))
  })

  const routed = yield* HttpRouter.toHttpEffect(
    Layer.mergeAll(
      HttpRouter.add("GET", "/", html(page)),
      HttpRouter.add("GET", "/api/state", state),
      HttpRouter.add("GET", "/api/events", events),
      HttpRouter.add("GET", "/api/history", history),
      HttpRouter.add("GET", "/api/sandbox", sandbox),
      HttpRouter.add("POST", "/api/actions/drain", action("drain")),
      HttpRouter.add("POST", "/api/actions/recycle", action("recycle")),
      HttpRouter.add("POST", "/api/actions/shutdown", action("shutdown"))
    )
  )

  const guarded = Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    if (!access.isKnownHost(options.access, request.headers["host"])) {
      return no(
        403,
        "UnknownHost",
        "The dashboard is asked for under a name that it does not know; `hosts` says which names are its own"
      )
    }
    const url = new URL(request.url, "http://dashboard.invalid")
    const isPage = request.method === "GET" && url.pathname === "/"
    // Links to the page are followed from anywhere, and show nothing to where they are.
    if (!isPage && !access.isSameOrigin(request.headers)) {
      return no(403, "ForeignOrigin", "The dashboard answers its own pages only")
    }
    if (options.access.token === undefined) return yield* routed
    if (request.method === "POST" && url.pathname === "/login") return yield* login
    const given = isPage ? url.searchParams.get("token") : null
    if (given !== null) {
      // The page itself and no redirect: a strict cookie would not come along when the link was on another site.
      return access.isToken(options.access, given) ? yield* withCookie(html(page)) : html(pages.login(true), 401)
    }
    if (access.isAuthorized(options.access, request.headers, request.cookies)) return yield* routed
    if (isPage) return html(pages.login(false), 401)
    return HttpServerResponse.setHeader(
      no(401, "Unauthorized", "A token is needed: `Authorization: Bearer …`, or log in on the page"),
      "www-authenticate",
      "Bearer"
    )
  })

  const application = guarded.pipe(
    Effect.catchTags({
      HttpServerError: (error) => Effect.succeed(refusal(error)),
      SchemaError: (error) => Effect.succeed(no(400, "BadRequest", error.message)),
      UnknownSandboxError: (error) => Effect.succeed(no(404, error._tag, error.message))
    }),
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.failCause(cause)
        : Effect.as(
            Effect.logWarning("The dashboard could not answer a request", cause),
            no(500, "InternalError", "The dashboard could not answer this; the log of the program says why")
          )
    ),
    Effect.map(HttpServerResponse.setHeaders(headers)),
    Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.kibibytes(16))
  )
  return { application }
})

const refusal = ({ reason }: HttpServerError.HttpServerError): Response =>
  reason._tag === "RouteNotFound"
    ? no(404, "NotFound", "There is nothing here")
    : no(400, "BadRequest", "The request could not be read")
