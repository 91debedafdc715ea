/**
 * Random programs. What can happen at all is chosen first, per program (some without faults, some without latencies,
 * some without shutdowns, …), because programs in which everything happens at once reach little.
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import type { Fault, Point } from "../../FaultPlan.ts"
import type { Latency } from "../../Latency.ts"
import type { Configuration, Image, Program, Step } from "./program.ts"

type Gen<A> = Arbitrary.Arbitrary<A>

/** Generators by their key: to derive one from a schema takes longer than to use it a hundred times. */
const cached = <K extends string, A>(make: (key: K) => A): ((key: K) => A) => {
  const known = new Map<K, A>()
  return (key) => {
    const one = known.get(key) ?? make(key)
    known.set(key, one)
    return one
  }
}

const intBetween = cached((key: `${number} ${number}`): Gen<number> => {
  const [minimum = 0, maximum = 0] = key.split(" ").map(Number)
  return Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))
})
const int = (minimum: number, maximum: number): Gen<number> => intBetween(`${minimum} ${maximum}`)

/** One of some values; shrinks to the first. */
const pick = <const A>(...values: ReadonlyArray<A>): Gen<A> => {
  const [first] = values
  return Arbitrary.map(int(0, values.length - 1), (index) => values[index] ?? (first as A)) // within bounds
}

/** One of some generators, each so often; shrinks to the first. */
const weighted = <A>(...entries: ReadonlyArray<readonly [number, Gen<A>]>): Gen<A> => {
  const table = entries.flatMap(([weight, gen]) => Array.from({ length: weight }, () => gen))
  return Arbitrary.flatMap(int(0, table.length - 1), (index) => table[index] ?? Arbitrary.Constant(undefined as A)) // within bounds
}

/** A value in so many of ten cases, otherwise nothing. */
const maybe = <A>(tenths: number, gen: Gen<A>): Gen<A | undefined> => {
  const none: Gen<A | undefined> = Arbitrary.Constant(undefined)
  return Arbitrary.flatMap(int(0, 9), (n) => (n >= 10 - tenths ? gen : none))
}

type Defined<T> = { readonly [K in keyof T]: Exclude<T[K], undefined> }

/** An object without the fields that are undefined. */
const struct = <T extends object>(fields: { readonly [K in keyof T]: Gen<T[K] | undefined> }): Gen<T> =>
  Arbitrary.map(
    // The fields are generators of what the object's are.
    Arbitrary.all(fields as unknown as Record<string, Gen<unknown>>),
    (value) => Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as Defined<T> as T
  )

/** What can happen in a program. */
interface Scope {
  readonly images: ReadonlyArray<string>
  readonly hasFaults: boolean
  readonly hasLatency: boolean
  readonly hasTurns: boolean
  readonly hasDeaths: boolean
  readonly hasShutdown: boolean
  readonly hasLimits: boolean
  readonly hasTime: boolean
  readonly hasUse: boolean
  /** Whether there are several images. */
  readonly hasImages: boolean
}

export interface Options {
  readonly images: ReadonlyArray<string>
  /** Whether there is something to use. */
  readonly hasUse: boolean
  readonly faults: boolean
  /** The largest number of steps. */
  readonly size: number
}

const often = pick(false, true, true)
const half = pick(false, true)
const seldom = pick(false, false, false, true)

export const program = (options: Options): Gen<Program> => {
  const known = new Map<string, Gen<Program>>()
  return Arbitrary.flatMap(
    Arbitrary.all({
      hasImages: half,
      hasFaults: options.faults ? half : Arbitrary.Constant(false),
      hasLatency: half,
      hasTurns: often,
      hasDeaths: options.faults ? half : Arbitrary.Constant(false),
      hasShutdown: seldom,
      hasLimits: seldom,
      hasTime: often
    }),
    (chosen) => {
      const key = Object.values(chosen).join()
      const one = known.get(key) ?? inScope({ ...chosen, images: options.images, hasUse: options.hasUse }, options.size)
      known.set(key, one)
      return one
    }
  )
}

const inScope = (scope: Scope, size: number): Gen<Program> =>
  struct<Program>({
    configuration: configuration(scope),
    faults: scope.hasFaults ? Arbitrary.array(fault(scope), { maxLength: 3 }) : Arbitrary.Constant([]),
    startTurns: scope.hasTurns ? maybe(2, int(0, 60)) : Arbitrary.Constant(undefined),
    steps: Arbitrary.map(Arbitrary.array(episode(scope), { minLength: 1, maxLength: size }), (episodes) =>
      episodes.flat().slice(0, size)
    )
  })

const image = (id: string): Gen<Image> =>
  Arbitrary.map(
    weighted<readonly [number, number]>(
      [3, Arbitrary.map(int(1, 3), (max) => [0, max] as const)],
      [3, Arbitrary.map(Arbitrary.all([int(1, 2), int(0, 2)]), ([min, more]) => [min, min + more] as const)],
      [2, Arbitrary.Constant([0, 0] as const)]
    ),
    ([min, max]) => ({ id, min, max })
  )

const latency: Gen<Latency> = weighted<Latency>(
  [2, Arbitrary.map(pick(1, 10, 1000), (millis) => ({ _tag: "Constant", millis }))],
  [2, Arbitrary.map(pick(10, 100, 4000), (max) => ({ _tag: "Uniform", min: 0, max }))],
  [1, Arbitrary.Constant<Latency>({ _tag: "LongTailed", median: 20, p99: 2000 })]
)

const configuration = (scope: Scope): Gen<Configuration> => {
  const limited = (tenths: number): number => (scope.hasLimits ? tenths : 0)
  const timed = (tenths: number): number => (scope.hasTime ? tenths : 0)
  const [first = "alpha", ...others] = scope.hasImages ? scope.images : scope.images.slice(0, 1)
  const images = Arbitrary.map(
    Arbitrary.all([image(first), ...others.map(image)]),
    ([one, ...more]): Configuration["images"] => [one as Image, ...more] // the first one is always there
  )
  return struct<Configuration>({
    images,
    dynamicImages: maybe(scope.hasImages ? 4 : 0, Arbitrary.Constant(true)),
    proactiveSessionSetup: maybe(4, half),
    concurrency: maybe(3, pick(1, 2)),
    loadBalancer: maybe(4, pick("roundRobin", "mostRecent", "random")),
    maxSessions: maybe(3, pick(1, 2, 3)),
    maxLifetime: maybe(limited(5), pick(30_000, 7000)),
    idleTimeToLive: maybe(timed(3), pick(20_000, 6000)),
    sessionLifetime: maybe(limited(5), pick(40_000, 9000, 3000)),
    sessionIdleTimeout: maybe(limited(5), pick(30_000, 5000, 3000)),
    acquireTimeout: maybe(5, pick(20_000, 3000, 3000, 0)),
    keepaliveInterval: maybe(timed(6), pick(5000, 1000)),
    pingTimeout: maybe(5, pick(2000)),
    missedPings: maybe(3, pick(1, 2)),
    housekeepInterval: maybe(timed(4), pick(8000, 30_000)),
    teardownTimeout: maybe(4, pick(5000, 2000)),
    outageGracePeriod: maybe(5, pick(60_000, 10_000, 0)),
    outageRetry: maybe(
      4,
      struct({
        every: pick(5000, 5000, 5000, 1000),
        times: maybe(3, pick(0, 1, 3)),
        jittered: maybe(5, Arbitrary.Constant(true))
      })
    ),
    onOutage: maybe(2, Arbitrary.Constant("shutdown" as const)),
    probes: weighted([1, Arbitrary.Constant(0)], [2, Arbitrary.Constant(1)], [3, Arbitrary.Constant(2)]),
    hostProbe: maybe(3, Arbitrary.Constant(true)),
    probeInterval: maybe(timed(4), pick(7000)),
    latency: scope.hasLatency
      ? struct({
          create: maybe(5, latency),
          destroy: maybe(3, latency),
          reset: maybe(4, latency),
          ping: maybe(3, latency),
          spawn: maybe(1, latency),
          files: maybe(1, latency)
        })
      : Arbitrary.Constant(undefined),
    handlerMillis: maybe(1, pick(1, 100)),
    maxOpsBeforeYield: scope.hasTurns ? maybe(6, pick(64, 16, 7, 5, 3)) : Arbitrary.Constant(undefined),
    shuffled: scope.hasTurns ? maybe(2, Arbitrary.Constant(true)) : Arbitrary.Constant(undefined),
    seed: int(0, 1_000_000)
  })
}

type Kind = "user" | "state" | "outage"

const fault = (scope: Scope): Gen<Fault> => {
  const at = (point: Point, ...kinds: ReadonlyArray<Kind>): Gen<Fault> => {
    const fails: Gen<Fault["how"]> = Arbitrary.map(pick(...kinds), (kind) => ({ _tag: "Fail", kind }))
    const slow = Arbitrary.map(pick(100, 3000, 40_000), (millis): Fault["how"] => ({ _tag: "Slow", millis }))
    const nothing = Arbitrary.Constant(undefined)
    return struct<Fault>({
      at: Arbitrary.Constant([point] as const),
      image: maybe(2, pick(...scope.images)),
      calls: maybe(
        4,
        Arbitrary.map(int(1, 4), (n) => [n])
      ),
      times: maybe(6, int(1, 3)),
      probability: maybe(2, pick(0.5, 0.2)),
      sandbox: nothing,
      feature: nothing,
      operation: nothing,
      window: nothing,
      how: weighted<Fault["how"]>(
        [5, fails],
        [1, Arbitrary.Constant({ _tag: "Die" })],
        [scope.hasDeaths ? 2 : 0, Arbitrary.Constant({ _tag: "Kill" })],
        [scope.hasLatency ? 2 : 0, slow],
        [scope.hasLatency ? 1 : 0, Arbitrary.Constant({ _tag: "Hang" })]
      )
    })
  }
  return weighted<Fault>(
    [3, at("create", "state", "outage")],
    [1, at("reset", "state")],
    [1, at("ping", "state")],
    [1, at("destroy", "state")],
    [2, at("setup", "user", "state")],
    [2, at("session", "user", "state")],
    [2, at("sessionTeardown", "user", "state")],
    [1, at("teardown", "user", "state")],
    [1, at("housekeep", "user", "state")]
  )
}

/** Steps that are about the same thing: what is done in the middle of something else is where the bugs are. */
const episode = (scope: Scope): Gen<ReadonlyArray<Step>> => {
  const who = int(0, 4)
  const [first = "alpha"] = scope.images
  const image = scope.hasImages ? pick(first, first, ...scope.images) : Arbitrary.Constant(first)
  /** In the middle of what comes next: after some turns, or when a sandbox moves. */
  const middle = Arbitrary.map(
    Arbitrary.all({
      turns: weighted<number | undefined>([4, int(0, 4)], [2, int(0, 40)], [1, int(0, 200)], [1, none]),
      until: maybe(
        7,
        pick(
          ...(["Acquired", "Acquired", "Acquired", "Started", "Started", "SetUp", "SettingUp", "Ready"] as const),
          ...(["InSession", "ExitingSession", "ShuttingDown", "Offline"] as const)
        )
      )
    }),
    ({ turns, until }) => ({ ...(turns === undefined ? {} : { turns }), ...(until === undefined ? {} : { until }) })
  )
  const rarely = scope.hasTurns ? maybe(2, int(0, 6)) : none
  const end = pick("Finish", "Finish", "Finish", "Fail", "Interrupt", "Die")
  const when = (isSo: boolean, weight: number): number => (isSo ? weight : 0)
  /** More users than there are sandboxes. */
  const crowd = Arbitrary.map(
    Arbitrary.all({ image, count: int(2, 6), turns: rarely, id: maybe(1, pick("s1", "s2")) }),
    ({ count, id, image, turns }): ReadonlyArray<Step> =>
      Array.from({ length: count }, (_, who) => ({
        _tag: "Open",
        who,
        image,
        ...(turns === undefined ? {} : { turns }),
        ...(id === undefined || who > 1 ? {} : { id })
      }))
  )
  /** One ends or goes away while another one does. */
  const race = Arbitrary.map(
    Arbitrary.all({ first: who, second: who, one: end, other: end, middle }),
    ({ first, middle, one, other, second }): ReadonlyArray<Step> => [
      { _tag: one, who: first, ...middle },
      { _tag: other, who: second }
    ]
  )
  /** A sandbox is handed to somebody who goes away in that moment. */
  const handedOver = Arbitrary.map(
    Arbitrary.all({
      image,
      middle,
      one: end,
      drains: half,
      other: pick("Interrupt", "Interrupt", "Shutdown", "Advance")
    }),
    ({ drains, image, middle, one, other }): ReadonlyArray<Step> => [
      { _tag: "Open", who: 0, image },
      { _tag: "Open", who: 1, image },
      { _tag: "Open", who: 2, image },
      { _tag: one, who: 0, ...middle },
      other === "Advance" && scope.hasTime
        ? { _tag: "Advance", millis: 3000 }
        : other === "Shutdown" && scope.hasShutdown
          ? { _tag: drains ? "Drain" : "Shutdown" }
          : { _tag: "Interrupt", who: 1 }
    ]
  )
  /** Somebody goes away, or a sandbox dies, while a session is opened. */
  const disturbed = Arbitrary.map(
    Arbitrary.all({
      who,
      image,
      middle,
      kills: scope.hasDeaths ? half : Arbitrary.Constant(false),
      which: int(0, 3)
    }),
    ({ image, kills, middle, which, who }): ReadonlyArray<Step> => [
      { _tag: "Open", who, image, ...middle },
      kills ? { _tag: "Kill", which } : { _tag: "Interrupt", who }
    ]
  )
  /** Nothing comes up for a while. */
  const outage = Arbitrary.map(
    Arbitrary.all({
      point: pick("create", "create", "reset"),
      image,
      millis: pick(12_000, 12_000, 70_000),
      ends: often,
      more: pick(8000, 1000)
    }),
    ({ ends, image, millis, more, point }): ReadonlyArray<Step> => [
      { _tag: "AddFault", fault: { at: [point], image, how: { _tag: "Fail", kind: "state" } } },
      { _tag: "Kill", which: 0 },
      { _tag: "Open", who: 0, image },
      { _tag: "Open", who: 1, image },
      { _tag: "Advance", millis },
      ...(ends ? [{ _tag: "ClearFaults" } as const] : []),
      { _tag: "Advance", millis: more }
    ]
  )
  /** Some sessions of a sandbox, one after the other. */
  const served = Arbitrary.map(
    Arbitrary.all({ who, image, count: int(1, 3), millis: scope.hasTime ? maybe(5, pick(1000, 3000, 9000)) : none }),
    ({ count, image, millis, who }): ReadonlyArray<Step> =>
      Array.from({ length: count }, (): ReadonlyArray<Step> => [
        { _tag: "Open", who, image },
        ...(millis === undefined ? [] : [{ _tag: "Advance", millis } as const]),
        { _tag: "Finish", who }
      ]).flat()
  )
  return weighted<ReadonlyArray<Step>>(
    [20, Arbitrary.map(step(scope), (one) => [one])],
    [2, crowd],
    [when(scope.hasTurns, 3), race],
    [when(scope.hasTurns, 3), disturbed],
    [when(scope.hasTurns, 2), handedOver],
    [2, served],
    [when(scope.hasFaults && scope.hasTime, 2), outage]
  )
}

const none: Gen<undefined> = Arbitrary.Constant(undefined)

const step = (scope: Scope): Gen<Step> => {
  const who = int(0, 4)
  const turns: Gen<number | undefined> = scope.hasTurns
    ? weighted<number | undefined>(
        [6, Arbitrary.Constant(undefined)],
        [2, Arbitrary.Constant(0)],
        [2, int(0, 12)],
        [1, int(0, 80)]
      )
    : Arbitrary.Constant(undefined)
  const when = (isSo: boolean, weight: number): number => (isSo ? weight : 0)
  const tag = <const T extends Step["_tag"]>(name: T) => Arbitrary.Constant(name)
  const [first = "alpha"] = scope.images
  const images = scope.hasImages
    ? [first, first, first, ...scope.images, ...scope.images, "dynamic", "nowhere"]
    : Array.from({ length: 20 }, (_, index) => (index === 19 ? "nowhere" : first))
  const ofUser = <const T extends Step["_tag"]>(name: T): Gen<Step> =>
    Arbitrary.map(
      struct<{ readonly who: number; readonly turns?: number }>({ who, turns }),
      (one) => ({ _tag: name, ...one }) as unknown as Step
    ) // steps of users have these fields
  return weighted<Step>(
    [4, ofUser("Finish")],
    [
      12,
      struct<Extract<Step, { _tag: "Open" }>>({
        _tag: tag("Open"),
        who,
        image: pick(...images),
        way: maybe(4, pick("session", "feature", "host")),
        id: maybe(2, pick("s1", "s2")),
        turns
      })
    ],
    [1, ofUser("Fail")],
    [1, ofUser("Die")],
    [1, ofUser("FailOther")],
    [when(scope.hasDeaths, 1), ofUser("FailState")],
    [when(scope.hasDeaths, 1), ofUser("Report")],
    [when(scope.hasUse, 4), ofUser("Use")],
    [
      when(scope.hasTime, 1),
      struct<Extract<Step, { _tag: "Activity" }>>({ _tag: tag("Activity"), who, millis: pick(100, 3000, 7000), turns })
    ],
    [
      1,
      struct<Extract<Step, { _tag: "Exec" }>>({
        _tag: tag("Exec"),
        who,
        command: pick("true", "sleep", "missing"),
        turns
      })
    ],
    [1, ofUser("WriteFile")],
    [when(scope.hasTurns, 4), ofUser("Interrupt")],
    [1, ofUser("Interrupt")],
    [1, ofUser("CloseInside")],
    [1, struct<Extract<Step, { _tag: "Close" }>>({ _tag: tag("Close"), who, times: maybe(3, int(2, 2)), turns })],
    [1, ofUser("UseAfter")],
    [
      when(scope.hasDeaths, 4),
      struct<Extract<Step, { _tag: "Kill" }>>({
        _tag: tag("Kill"),
        which: int(0, 5),
        status: maybe(5, pick("InSession", "Ready", "SettingUp", "Acquired", "ExitingSession", "ShuttingDown")),
        turns
      })
    ],
    [
      1,
      struct<Extract<Step, { _tag: "Recycle" }>>({
        _tag: tag("Recycle"),
        which: int(0, 5),
        status: maybe(5, pick("InSession", "Ready", "SettingUp", "Acquired", "ExitingSession")),
        turns
      })
    ],
    [when(scope.hasShutdown, 1), struct<Extract<Step, { _tag: "Drain" }>>({ _tag: tag("Drain"), turns })],
    [
      when(scope.hasShutdown, 1),
      struct<Extract<Step, { _tag: "Shutdown" }>>({ _tag: tag("Shutdown"), times: maybe(3, int(2, 2)), turns })
    ],
    [when(scope.hasShutdown, 1), ofUser("ShutdownInside")],
    [
      when(scope.hasShutdown, 1),
      struct<Extract<Step, { _tag: "InterruptShutdown" }>>({ _tag: tag("InterruptShutdown"), turns })
    ],
    [
      when(scope.hasShutdown, 1),
      struct<Extract<Step, { _tag: "InterruptStart" }>>({ _tag: tag("InterruptStart"), turns })
    ],
    [
      when(scope.hasTime, 5),
      struct<Extract<Step, { _tag: "Advance" }>>({
        _tag: tag("Advance"),
        millis: weighted<number>([3, pick(1000, 3000, 5000, 8000)], [1, pick(20_000, 45_000)], [2, int(1, 9000)]),
        turns
      })
    ],
    [
      when(scope.hasFaults, 1),
      struct<Extract<Step, { _tag: "AddFault" }>>({ _tag: tag("AddFault"), fault: fault(scope), turns })
    ],
    [when(scope.hasFaults, 1), struct<Extract<Step, { _tag: "ClearFaults" }>>({ _tag: tag("ClearFaults"), turns })]
  )
}
