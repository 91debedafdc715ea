/** A program as plain data: how an environment is configured, what goes wrong, and what its users do, step by step. */
import * as Schema from "effect/Schema"
import * as SandboxStatus from "@effect-sandbox/core/SandboxStatus"
import { Fault, FaultPlan } from "../../FaultPlan.ts"
import { Latency } from "../../Latency.ts"

const int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const Count = int(0, 1000)
const Positive = int(1, 1000)
const day = 86_400_000
const Millis = int(0, day)
const PositiveMillis = int(1, day)

/** One image and its pool; a `max` of 0 is no pooling. */
export const Image = Schema.Struct({ id: Schema.NonEmptyString, min: Count, max: Count }).check(
  Schema.makeFilter(({ max, min }) => min <= max || { path: ["min"], issue: "expected at most max" })
)
export interface Image extends Schema.Schema.Type<typeof Image> {}

/** How long operations of the driver take. What is left out takes no time. */
const Latencies = Schema.Struct({
  create: Schema.optionalKey(Latency),
  destroy: Schema.optionalKey(Latency),
  reset: Schema.optionalKey(Latency),
  ping: Schema.optionalKey(Latency),
  spawn: Schema.optionalKey(Latency),
  files: Schema.optionalKey(Latency)
})

/** The options of the environment, and of the world around it. What is left out is off; durations are milliseconds. */
export const Configuration = Schema.Struct({
  images: Schema.NonEmptyArray(Image),
  /** Images whose id begins with `dynamic` are allowed, too. */
  dynamicImages: Schema.optionalKey(Schema.Boolean),
  /** Default: as the core has it. */
  proactiveSessionSetup: Schema.optionalKey(Schema.Boolean),
  /** Default: as the core has it. */
  concurrency: Schema.optionalKey(Positive),
  /** Default: round robin. */
  loadBalancer: Schema.optionalKey(Schema.Literals(["roundRobin", "mostRecent", "random"])),
  maxSessions: Schema.optionalKey(Positive),
  maxLifetime: Schema.optionalKey(PositiveMillis),
  idleTimeToLive: Schema.optionalKey(PositiveMillis),
  sessionLifetime: Schema.optionalKey(PositiveMillis),
  sessionIdleTimeout: Schema.optionalKey(PositiveMillis),
  /** Default: 100 seconds. */
  acquireTimeout: Schema.optionalKey(Millis),
  keepaliveInterval: Schema.optionalKey(Millis),
  /** Default: as the core has it. */
  pingTimeout: Schema.optionalKey(PositiveMillis),
  /** Default: as the core has it. */
  missedPings: Schema.optionalKey(Positive),
  /** Default: as the core has it. */
  housekeepInterval: Schema.optionalKey(PositiveMillis),
  /** Default: as the core has it. */
  teardownTimeout: Schema.optionalKey(PositiveMillis),
  /** Default: as the core has it. */
  outageGracePeriod: Schema.optionalKey(Millis),
  /** Default: every five seconds, without an end. */
  outageRetry: Schema.optionalKey(
    Schema.Struct({
      every: PositiveMillis,
      times: Schema.optionalKey(Count),
      jittered: Schema.optionalKey(Schema.Boolean)
    })
  ),
  /** Default: `"fail"`. */
  onOutage: Schema.optionalKey(Schema.Literals(["fail", "shutdown"])),
  /** How many probes are plugged in, besides the features that are checked. Default: 0. */
  probes: Schema.optionalKey(int(0, 3)),
  /** Whether there is a probe beside the sandboxes, too. */
  hostProbe: Schema.optionalKey(Schema.Boolean),
  /** How often probes look after themselves. */
  probeInterval: Schema.optionalKey(PositiveMillis),
  latency: Schema.optionalKey(Latencies),
  /** How long a handler of events takes for each. Default: there is no handler. */
  handlerMillis: Schema.optionalKey(Millis),
  /** How many operations a fiber runs before others have their turn; with 2 it gets nowhere. Default: as Effect has it. */
  maxOpsBeforeYield: Schema.optionalKey(int(3, 100_000)),
  /** Whether what could run next is chosen at random, instead of in order. */
  shuffled: Schema.optionalKey(Schema.Boolean),
  /** What chance comes from. */
  seed: int(0, 0x7fff_ffff)
})
export interface Configuration extends Schema.Schema.Type<typeof Configuration> {}

const who = int(0, 99)
/** When the next step comes. Default: when everything is at rest. */
const pause = {
  /** After so many turns. */
  turns: Schema.optionalKey(int(0, 100_000)),
  /**
   * Only from that moment on, unless everything is at rest before: a sandbox takes a status, has come up (`Started`), or
   * has set up a session (`SetUp`).
   */
  until: Schema.optionalKey(Schema.Literals([...SandboxStatus.all, "Started", "SetUp"]))
}
const user = { who, ...pause }

/** One step. A step that does not apply (of a user that is not there, …) does nothing. */
export const Step = Schema.TaggedUnion({
  /** A user asks for a session: by `withSession`, as a scoped `session`, or by `withFeature` for a probe. */
  Open: {
    ...user,
    image: Schema.String,
    way: Schema.optionalKey(Schema.Literals(["session", "feature", "host"])),
    id: Schema.optionalKey(Schema.String)
  },
  /** The body of its session succeeds, fails, dies, or raises a state error: of its own sandbox, or of another one. */
  Finish: user,
  Fail: user,
  Die: user,
  FailState: user,
  FailOther: user,
  /** The body reports its sandbox as broken, and waits. */
  Report: user,
  /** The body does something in its sandbox. */
  Activity: { ...user, millis: Millis },
  Exec: { ...user, command: Schema.String },
  WriteFile: user,
  /** The body uses the features that are checked. */
  Use: user,
  /** The body shuts the environment down. */
  ShutdownInside: user,
  /** The body closes its own session (only a scoped one can). */
  CloseInside: user,
  /** Closes the session (only a scoped one can be) from outside, so many times at once. */
  Close: { ...user, times: Schema.optionalKey(int(1, 3)) },
  Interrupt: user,
  /** Whoever has been in a session uses what it has kept of it. */
  UseAfter: user,
  /** Makes a sandbox die: the n-th of those that are alive, or that have a status. */
  Kill: { which: int(0, 99), status: Schema.optionalKey(SandboxStatus.SandboxStatus), ...pause },
  /** Has a sandbox replaced: the n-th of those that are there, or that have a status. */
  Recycle: { which: int(0, 99), status: Schema.optionalKey(SandboxStatus.SandboxStatus), ...pause },
  /** Drains the environment: no new sessions, and a shutdown when the last one is over. */
  Drain: pause,
  /** Shuts the environment down, so many times at once. */
  Shutdown: { times: Schema.optionalKey(int(1, 3)), ...pause },
  /** Interrupts whoever waits for a shutdown or a drain, which goes on. */
  InterruptShutdown: pause,
  /** Interrupts the start of the environment. */
  InterruptStart: pause,
  Advance: { millis: Millis, ...pause },
  AddFault: { fault: Fault, ...pause },
  ClearFaults: pause
})
export type Step = typeof Step.Type

/** A whole program. The environment starts before its first step; `startTurns` is how far it gets. Default: to its end. */
export const Program = Schema.Struct({
  configuration: Configuration,
  faults: FaultPlan,
  startTurns: Schema.optionalKey(int(0, 100_000)),
  steps: Schema.Array(Step)
})
export interface Program extends Schema.Schema.Type<typeof Program> {}

/** The size of an image's pool; images that are not listed have one of their own, without a minimum (P5). */
export const sizeOf = (
  { images }: Configuration,
  image: string
): { readonly min: number; readonly max: number; readonly isPooled: boolean } => {
  const { max = dynamicMax, min = 0 } = images.find(({ id }) => id === image) ?? {}
  return { min, max: max === 0 ? Number.POSITIVE_INFINITY : max, isPooled: max > 0 }
}

/** How many sandboxes an image that is not listed may have. */
export const dynamicMax = 2

/** Whether a fiber may be disturbed between any two of its operations, so that few things happen in one step. */
export const isFineGrained = ({ maxOpsBeforeYield = 2048 }: Configuration): boolean => maxOpsBeforeYield < 200

/** Whether everything comes to rest after a step. */
export const isWhole = ({ turns, until }: Pick<Step, "turns" | "until">): boolean =>
  turns === undefined && until === undefined
