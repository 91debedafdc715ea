/**
 * A page that shows live what environments do: pools by image and status, sessions, waiters, rates, latencies, failures,
 * an event log, and the history of a sandbox.
 *
 * The dashboard is a handler like any other, provided *to* the environments that it is to show; the program stays as it
 * is. It listens on loopback, and with a token elsewhere. See `docs/dashboard.md`.
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Environment } from "@effect-sandbox/core"
 * import { Dashboard } from "@effect-sandbox/devtools"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"] }) {}
 *
 * // The log says: Dashboard: http://127.0.0.1:7770/
 * const live = Lab.layer.pipe(Layer.provideMerge(Dashboard.layer({ port: 7770 })))
 * ```
 */
import { EventHub } from "@effect-sandbox/core/EventHandler"
import * as OptionCheck from "@effect-sandbox/core/Options"
import type { InvalidConfigurationError } from "@effect-sandbox/core/SandboxError"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import { CannotListen, DashboardError, PortInUse } from "./DashboardError.ts"
import * as access from "./internal/dashboard/access.ts"
import { Feed } from "./internal/dashboard/feed.ts"
import { listen } from "./internal/dashboard/listener.ts"
import { Model } from "./internal/dashboard/model.ts"
import * as page from "./internal/dashboard/page.ts"
import * as routes from "./internal/dashboard/routes.ts"

export interface DashboardOptions {
  /** Where it listens; 0 takes a port that is free. Default: 7770. */
  readonly port?: number | undefined
  /** The address that it listens on; one that others can reach makes a token necessary. Default: `"127.0.0.1"`. */
  readonly host?: string | undefined
  /**
   * What everybody must bring who wants to see something, 16 characters or more. Default: none on loopback, and elsewhere
   * a new one for each start, which is told in the log.
   */
  readonly token?: string | Redacted.Redacted | undefined
  /**
   * Names under which browsers may ask for it, such as `"build.example.org"`. Addresses and `localhost` need not be
   * listed. Default: none.
   */
  readonly hosts?: ReadonlyArray<string> | undefined
  /** Whether environments may be drained and shut down, and sandboxes recycled. Default: `false`. */
  readonly actions?: boolean | undefined
  /** How many events are kept, about half a kilobyte each. Default: 20,000. */
  readonly history?: number | undefined
  /** How many browsers may follow at the same time. Default: 1,000. */
  readonly connections?: number | undefined
}

const isToken = (token: unknown): boolean =>
  (typeof token === "string" ? token : Redacted.isRedacted(token) ? String(Redacted.value(token)) : "").length >= 16

const OptionsSchema = Schema.Struct({
  port: Schema.optional(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65_535 }))),
  host: Schema.optional(Schema.NonEmptyString),
  // The message must not hold the token.
  token: Schema.optional(
    Schema.Unknown.check(Schema.makeFilter((token) => isToken(token) || "expected at least 16 characters"))
  ),
  hosts: Schema.optional(Schema.Array(Schema.NonEmptyString)),
  actions: Schema.optional(Schema.Boolean),
  history: Schema.optional(Schema.Int.check(Schema.isBetween({ minimum: 100, maximum: 1_000_000 }))),
  connections: Schema.optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(1)))
})

const setting = <A>(of: Config.Config<A>): Config.Config<A | undefined> =>
  Config.map(Config.option(of), Option.getOrUndefined)

/** A dashboard that runs. */
export class Dashboard extends Context.Service<
  Dashboard,
  {
    /** Where it is, with the port that it got. */
    readonly url: string
    /** What browsers must bring; nothing when everybody on this machine may look. */
    readonly token: Redacted.Redacted | undefined
  }
>()("@effect-sandbox/devtools/Dashboard") {
  /** `DASHBOARD_PORT`, `_HOST`, `_TOKEN`, `_HOSTS` (comma-separated), `_ACTIONS`, `_HISTORY` and `_CONNECTIONS`. */
  static readonly config: Config.Config<DashboardOptions> = Config.nested(
    Config.all({
      port: setting(Config.Int("PORT")),
      host: setting(Config.String("HOST")),
      token: setting(Config.Redacted("TOKEN")),
      hosts: setting(Config.Array(Schema.String, "HOSTS")),
      actions: setting(Config.Boolean("ACTIONS")),
      history: setting(Config.Int("HISTORY")),
      connections: setting(Config.Int("CONNECTIONS"))
    }),
    "DASHBOARD"
  )

  /** The same as `layer`, as a scoped effect on a hub. */
  static readonly make = (
    options: DashboardOptions = {}
  ): Effect.Effect<Dashboard["Service"], DashboardError | InvalidConfigurationError, EventHub | Scope.Scope> =>
    make(options)

  /** Serves it until the layer closes; provide it to environments (`Layer.provideMerge` or `Layer.provide`). */
  static readonly layer = (
    options: DashboardOptions = {}
  ): Layer.Layer<Dashboard | EventHub, DashboardError | InvalidConfigurationError> =>
    Layer.effect(Dashboard, make(options)).pipe(Layer.provideMerge(EventHub.layer))

  /** The same with settings from `Config`, which go before those in the code. */
  static readonly layerConfig = (
    settings: Config.Config<DashboardOptions> = Dashboard.config,
    options: DashboardOptions = {}
  ): Layer.Layer<Dashboard | EventHub, Config.ConfigError | DashboardError | InvalidConfigurationError> =>
    Layer.unwrap(
      Effect.map(settings, (found) => {
        const given = Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined))
        return Dashboard.layer({ ...options, ...given })
      })
    )
}

const make = Effect.fnUntraced(function* (
  options: DashboardOptions = {}
): Effect.fn.Return<Dashboard["Service"], DashboardError | InvalidConfigurationError, EventHub | Scope.Scope> {
  yield* OptionCheck.check("Dashboard", OptionsSchema, options)
  const hub = yield* EventHub
  const scope = yield* Effect.scope
  const host = options.host ?? "127.0.0.1"
  const isLocal = access.isLoopback(host)
  const token =
    options.token === undefined
      ? isLocal
        ? undefined
        : Redacted.make(yield* randomText)
      : typeof options.token === "string"
        ? Redacted.make(options.token)
        : options.token

  const built = yield* Effect.mapError(page.load, (reason) => new DashboardError({ reason }))
  const port = options.port ?? defaultPort
  const listener = yield* Effect.mapError(
    listen({ host, port }),
    ({ cause }) =>
      new DashboardError({
        reason:
          Predicate.hasProperty(cause, "code") && cause.code === "EADDRINUSE"
            ? new PortInUse({ host, port })
            : new CannotListen({ host, port, cause })
      })
  )

  const actions = options.actions ?? false
  const model = new Model(options.history ?? 20_000)
  const feed = new Feed({
    model,
    environments: hub.environments,
    epoch: (yield* randomText).slice(0, 8),
    actions
  })
  const { application } = yield* routes.make({
    hub,
    model,
    feed,
    page: built,
    access: {
      isLoopback: isLocal,
      hosts: [host, ...(options.hosts ?? [])].map((name) => name.toLowerCase()),
      token,
      cookieName: `effect-sandbox-${listener.port}` // cookies are shared by all ports of a host
    },
    actions,
    connections: options.connections ?? 1000,
    scope
  })
  yield* feed.round // so that it has a time before the first browser comes
  // The other way round when it closes: the last events are handled, sent, and then connections end.
  yield* listener.serve(application, feed.close)
  yield* Effect.forkScoped(feed.run)
  yield* hub.subscribe({
    name: "Dashboard",
    handleAll: (events) =>
      Effect.sync(() => {
        for (const event of events) model.add(event)
      })
  })

  const url = `http://${urlHost(host)}:${listener.port}/`
  const isGenerated = token !== undefined && options.token === undefined
  yield* Effect.logInfo(`Dashboard: ${url}${isGenerated ? `?token=${Redacted.value(token)}` : ""}`)
  return { url, token }
})

const defaultPort = 7770

const randomText = Effect.sync(() => randomBytes(24).toString("base64url"))

/** As it stands in a URL; of all addresses of this machine, the one that works from here. */
const urlHost = (host: string): string =>
  host === "0.0.0.0" || host === "::" ? "localhost" : host.includes(":") && !host.startsWith("[") ? `[${host}]` : host
