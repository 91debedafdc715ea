/**
 * The settings of an environment: their types, defaults and checks, from code or from `Config`. Everything is checked
 * at construction and reported together, each problem with its path (X1).
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Feature from "./Feature.ts"
import { EnvironmentId, ImageId } from "./Id.ts"
import * as LoadBalancer from "./LoadBalancer.ts"
import { DurationInput, isPattern, Pattern, type Problem, problemsOf, whole } from "./Options.ts"
import { InvalidConfigurationError } from "./SandboxError.ts"

/** A fixed number of sandboxes, or how many are kept at least and may be at most. */
export type PoolSize = number | { readonly min?: number | undefined; readonly max?: number | undefined }

/** The settings that are plain data, which can come from `Config` as well. Durations are `Duration.Input`s. */
export interface Settings {
  /** The images that the environment serves. The first one is the default. Default: none. */
  readonly images?: ReadonlyArray<string> | undefined
  /** Images besides the listed ones: all, or those whose whole id matches one of the patterns (P5). Default: false. */
  readonly dynamicImages?: boolean | ReadonlyArray<string> | undefined
  /**
   * How many sandboxes an image has (P1): one size for all, or sizes by image id or pattern, of which an exact id comes
   * first and then the first pattern in order that matches the whole id. `0` means a sandbox per session.
   * Default, also for images that nothing matches: `{ min: 0, max: 16 }`.
   */
  readonly pool?: PoolSize | { readonly [imageOrPattern: string]: PoolSize } | undefined
  /** Sets the next session up in the background, right after the previous one has ended (S3). Default: true. */
  readonly proactiveSessionSetup?: boolean | undefined
  /** How long a caller waits for a sandbox before `EnvironmentOverloadError` (P4). Default: 5 minutes. */
  readonly acquireTimeout?: Duration.Input | undefined
  /** How many sandboxes start, and how many are taken down, at the same time. Default: 32. */
  readonly concurrency?: number | undefined
  /** How long an image may be in an outage before its callers get `EnvironmentOutageError` (H3). Default: 5 minutes. */
  readonly outageGracePeriod?: Duration.Input | undefined
  /** What else happens then: only that image's callers fail, or the environment shuts down. Default: `"fail"`. */
  readonly onOutage?: "fail" | "shutdown" | undefined
  /** How often an idle or busy sandbox is pinged (H1); 0 is never. Default: 15 seconds. */
  readonly keepaliveInterval?: Duration.Input | undefined
  /** How long a ping may take. One that takes longer counts as missed: slow is not dead (F19). Default: 10 seconds. */
  readonly pingTimeout?: Duration.Input | undefined
  /** After this many missed pings in a row the sandbox is taken for dead. Default: 3. */
  readonly missedPings?: number | undefined
  /** How often the environment looks after missing sandboxes and host features (H2). Default: 30 seconds. */
  readonly housekeepInterval?: Duration.Input | undefined
  /** How long a teardown, or the end of a check, may take before it is reported and left alone. Default: 30 seconds. */
  readonly teardownTimeout?: Duration.Input | undefined
  /** A session older than this is ended (S6). Default: no limit. */
  readonly sessionLifetime?: Duration.Input | undefined
  /** A session without an activity for this long is ended (S6). Default: no limit. */
  readonly sessionIdleTimeout?: Duration.Input | undefined
  /** Sandboxes beyond `min` that nobody used for this long are taken down (P6). Default: never. */
  readonly idleTimeToLive?: Duration.Input | undefined
  /** A sandbox that served this many sessions is replaced (P6). Default: no limit. */
  readonly maxSessions?: number | undefined
  /** A sandbox older than this is replaced when its session ends, or at the next housekeeping round (P6). Default: no limit. */
  readonly maxLifetime?: Duration.Input | undefined
}

/** Everything that an environment can be told. */
export interface Options<F extends ReadonlyArray<Feature.Any> = ReadonlyArray<Feature.Any>> extends Settings {
  /** The environment's name in ids and events. Default: the service's key, or `"environment"`. */
  readonly id?: string | undefined
  /** What is plugged in, in the order of setup. Default: nothing. */
  readonly features?: F | undefined
  /** How often a failing image is tried again (H3). Default: 250 ms doubling up to 30 seconds, with jitter. */
  readonly outageRetry?: Schedule.Schedule<unknown, unknown> | undefined
  /** Which ready sandbox serves next (P2). Default: round robin. */
  readonly loadBalancer?: LoadBalancer.LoadBalancer | undefined
}

/** The checked settings with every default filled in. Durations are milliseconds. */
export interface Resolved {
  readonly id: EnvironmentId
  readonly images: ReadonlyArray<ImageId>
  readonly isDynamic: (image: string) => boolean
  readonly poolSize: (image: string) => { readonly min: number; readonly max: number }
  readonly features: ReadonlyArray<Feature.Any>
  readonly proactiveSessionSetup: boolean
  readonly acquireTimeout: number
  readonly concurrency: number
  readonly outageGracePeriod: number
  readonly outageRetry: Schedule.Schedule<unknown, unknown>
  readonly onOutage: "fail" | "shutdown"
  readonly keepaliveInterval: number
  readonly pingTimeout: number
  readonly missedPings: number
  readonly housekeepInterval: number
  readonly teardownTimeout: number
  readonly sessionLifetime: number | undefined
  readonly sessionIdleTimeout: number | undefined
  readonly idleTimeToLive: number | undefined
  readonly maxSessions: number | undefined
  readonly maxLifetime: number | undefined
  readonly loadBalancer: LoadBalancer.LoadBalancer
}

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Positive = Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))

const Range = Schema.Struct({ min: Schema.optional(Count), max: Schema.optional(Count) }).check(
  Schema.makeFilter(
    ({ max = defaultMax, min = 0 }) =>
      min <= max || { path: ["min"], issue: `expected at most max (${max}), got ${min}` }
  )
)
const defaultMax = 16

const duration = Schema.optional(DurationInput("zero"))
const positiveDuration = Schema.optional(DurationInput("positive"))

const Shape = {
  id: Schema.optional(Schema.NonEmptyString),
  images: Schema.optional(Schema.Array(Schema.NonEmptyString)),
  dynamicImages: Schema.optional(Schema.Union([Schema.Boolean, Schema.Array(Pattern)])),
  proactiveSessionSetup: Schema.optional(Schema.Boolean),
  acquireTimeout: duration,
  concurrency: Schema.optional(Positive),
  outageGracePeriod: duration,
  onOutage: Schema.optional(Schema.Literals(["fail", "shutdown"])),
  keepaliveInterval: duration,
  pingTimeout: positiveDuration,
  missedPings: Schema.optional(Positive),
  housekeepInterval: positiveDuration,
  teardownTimeout: positiveDuration,
  sessionLifetime: positiveDuration,
  sessionIdleTimeout: positiveDuration,
  idleTimeToLive: positiveDuration,
  maxSessions: Schema.optional(Positive),
  maxLifetime: positiveDuration,
  features: Schema.optional(Schema.Unknown),
  outageRetry: Schema.optional(Schema.Unknown),
  loadBalancer: Schema.optional(Schema.Unknown),
  pool: Schema.optional(Schema.Unknown)
}
const OptionsSchema = Schema.Struct(Shape)

const isRange = (pool: unknown): pool is { readonly min?: number; readonly max?: number } =>
  Predicate.isObject(pool) &&
  Object.keys(pool).length > 0 &&
  Object.keys(pool).every((key) => key === "min" || key === "max")

const range = (size: PoolSize): { readonly min: number; readonly max: number } =>
  typeof size === "number" ? { min: size, max: size } : { min: size.min ?? 0, max: size.max ?? defaultMax }

/** The pool sizes by rule P1. */
const sizes = (pool: Settings["pool"]): ((image: string) => { readonly min: number; readonly max: number }) => {
  if (pool === undefined) return () => ({ min: 0, max: defaultMax })
  if (typeof pool === "number" || isRange(pool)) {
    const all = range(pool)
    return () => all
  }
  const entries = Object.entries(pool).map(([key, size]) => ({
    key,
    matches: isPattern(key) ? whole(key) : undefined, // an exact id need not be one
    size: range(size ?? {})
  }))
  return (image) =>
    (entries.find((entry) => entry.key === image) ?? entries.find((entry) => entry.matches?.test(image) === true))
      ?.size ?? {
      min: 0,
      max: defaultMax
    }
}

const poolProblems = (pool: unknown, images: ReadonlyArray<unknown>): ReadonlyArray<Problem> => {
  if (pool === undefined) return []
  if (typeof pool === "number") return problemsOf(Count, pool, "pool")
  if (!Predicate.isObject(pool)) {
    return [{ path: "pool", message: "expected a number, { min, max }, or sizes by image" }]
  }
  if (isRange(pool)) return problemsOf(Range, pool, "pool")
  return Object.entries(pool).flatMap(([key, size]) => [
    ...(images.includes(key) ? [] : problemsOf(Pattern, key, `pool.${key}`)),
    ...(typeof size === "number" ? problemsOf(Count, size, `pool.${key}`) : problemsOf(Range, size, `pool.${key}`))
  ])
}

const featureProblems = (options: Options): ReadonlyArray<Problem> => {
  const problems: Array<Problem> = []
  const seen = new Set<string>()
  const keys = new Set<string>()
  for (const [index, feature] of (options.features ?? []).entries()) {
    const path = `features.${index}`
    if (seen.has(feature.id)) problems.push({ path, message: `the feature ${feature.id} is listed twice` })
    else if (keys.has(feature.key)) problems.push({ path, message: `another feature provides ${feature.key} already` })
    seen.add(feature.id)
    keys.add(feature.key)
    const bad = feature.images.flatMap((pattern, i) => problemsOf(Pattern, pattern, `${path}.images.${i}`))
    problems.push(...bad)
    if (feature.housekeepInterval !== undefined) {
      problems.push(...problemsOf(DurationInput("positive"), feature.housekeepInterval, `${path}.housekeepInterval`))
    }
    const dynamic = options.dynamicImages !== undefined && options.dynamicImages !== false
    if (
      bad.length === 0 &&
      !dynamic &&
      !(options.images ?? []).some((image) => Feature.appliesTo(feature, image)) &&
      feature.kind === "sandbox"
    ) {
      problems.push({
        path: `${path}.images`,
        message: `the feature ${feature.id} applies to none of the images: it is for ${feature.images.join(", ")}`
      })
    }
  }
  return problems
}

/** Checks options and fills in the defaults; reports every problem at once. */
export const resolve = (options: Options): Effect.Effect<Resolved, InvalidConfigurationError> =>
  Effect.suspend(() => {
    const images = Array.isArray(options.images) ? options.images : []
    const problems = [...problemsOf(OptionsSchema, options, ""), ...poolProblems(options.pool, images)]
    if (problems.length === 0) {
      if (new Set(images).size < images.length) problems.push({ path: "images", message: "an image is listed twice" })
      problems.push(...featureProblems(options))
    }
    if (problems.length > 0) {
      return Effect.fail(
        new InvalidConfigurationError({
          subject: `Environment ${String(options.id ?? "environment")}`,
          issues: problems
        })
      )
    }
    const dynamic = options.dynamicImages ?? false
    const patterns = typeof dynamic === "boolean" ? [] : dynamic.map(whole)
    const optional = (input: Duration.Input | undefined) => (input === undefined ? undefined : Duration.toMillis(input))
    return Effect.succeed<Resolved>({
      id: EnvironmentId.make(options.id ?? "environment"),
      images: images.map((image) => ImageId.make(image)),
      isDynamic: (image) => dynamic === true || patterns.some((pattern) => pattern.test(image)),
      poolSize: sizes(options.pool),
      features: options.features ?? [],
      proactiveSessionSetup: options.proactiveSessionSetup ?? true,
      acquireTimeout: Duration.toMillis(options.acquireTimeout ?? "5 minutes"),
      concurrency: options.concurrency ?? 32,
      outageGracePeriod: Duration.toMillis(options.outageGracePeriod ?? "5 minutes"),
      outageRetry: options.outageRetry ?? defaultRetry,
      onOutage: options.onOutage ?? "fail",
      keepaliveInterval: Duration.toMillis(options.keepaliveInterval ?? "15 seconds"),
      pingTimeout: Duration.toMillis(options.pingTimeout ?? "10 seconds"),
      missedPings: options.missedPings ?? 3,
      housekeepInterval: Duration.toMillis(options.housekeepInterval ?? "30 seconds"),
      teardownTimeout: Duration.toMillis(options.teardownTimeout ?? "30 seconds"),
      sessionLifetime: optional(options.sessionLifetime),
      sessionIdleTimeout: optional(options.sessionIdleTimeout),
      idleTimeToLive: optional(options.idleTimeToLive),
      maxSessions: options.maxSessions,
      maxLifetime: optional(options.maxLifetime),
      loadBalancer: options.loadBalancer ?? LoadBalancer.roundRobin
    })
  })

const defaultRetry: Schedule.Schedule<unknown, unknown> = Schedule.min([
  Schedule.exponential("250 millis"),
  Schedule.spaced("30 seconds")
]).pipe(Schedule.jittered)

const setting = <A>(config: Config.Config<A>): Config.Config<A | undefined> =>
  Config.map(Config.option(config), Option.getOrUndefined)

/**
 * The settings as a `Config`: `IMAGES` (comma-separated), `POOL_MIN`, `POOL_MAX`, `ACQUIRE_TIMEOUT`, `CONCURRENCY`, and
 * so on, each by its name in capitals. Nest it for a prefix: `Config.nested(EnvironmentConfig.config, "LAB")`.
 */
export const config: Config.Config<Settings> = Config.map(
  Config.all({
    images: setting(Config.Array(Schema.String, "IMAGES")),
    poolMin: setting(Config.Int("POOL_MIN")),
    poolMax: setting(Config.Int("POOL_MAX")),
    dynamicImages: setting(Config.Boolean("DYNAMIC_IMAGES")),
    proactiveSessionSetup: setting(Config.Boolean("PROACTIVE_SESSION_SETUP")),
    acquireTimeout: setting(Config.Duration("ACQUIRE_TIMEOUT")),
    concurrency: setting(Config.Int("CONCURRENCY")),
    outageGracePeriod: setting(Config.Duration("OUTAGE_GRACE_PERIOD")),
    onOutage: setting(Config.Literals(["fail", "shutdown"], "ON_OUTAGE")),
    keepaliveInterval: setting(Config.Duration("KEEPALIVE_INTERVAL")),
    pingTimeout: setting(Config.Duration("PING_TIMEOUT")),
    missedPings: setting(Config.Int("MISSED_PINGS")),
    housekeepInterval: setting(Config.Duration("HOUSEKEEP_INTERVAL")),
    teardownTimeout: setting(Config.Duration("TEARDOWN_TIMEOUT")),
    sessionLifetime: setting(Config.Duration("SESSION_LIFETIME")),
    sessionIdleTimeout: setting(Config.Duration("SESSION_IDLE_TIMEOUT")),
    idleTimeToLive: setting(Config.Duration("IDLE_TIME_TO_LIVE")),
    maxSessions: setting(Config.Int("MAX_SESSIONS")),
    maxLifetime: setting(Config.Duration("MAX_LIFETIME"))
  }),
  ({ poolMax, poolMin, ...settings }) => {
    const known = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined))
    return poolMin === undefined && poolMax === undefined ? known : { ...known, pool: { min: poolMin, max: poolMax } }
  }
)
