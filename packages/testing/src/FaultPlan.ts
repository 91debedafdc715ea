/**
 * What is to go wrong, as plain data: at which points of a driver or a feature, for whom, when, and how. A plan can be
 * written down, stored and generated; `Faults` carries it out.
 *
 * ```ts
 * import { FaultPlan, SimDriver } from "@effect-sandbox/testing"
 *
 * const driver = SimDriver.layer({
 *   faults: [
 *     // The second sandbox of any node image does not come up.
 *     { at: ["create"], image: "node:.*", calls: [2], how: { _tag: "Fail" } },
 *     // One command in a hundred takes its sandbox with it.
 *     { at: ["spawn"], probability: 0.01, how: { _tag: "Kill" } },
 *     // Nothing comes up for half a minute, from the tenth second on.
 *     FaultPlan.outage({ from: "10 seconds", to: "40 seconds" })
 *   ]
 * })
 * ```
 */
import * as Options from "@effect-sandbox/core/Options"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/** The points of the driver's contract. */
export const driverPoints = ["create", "destroy", "ping", "reset", "spawn", "exit", "kill", "file"] as const

/** The points of a feature. */
export const featurePoints = ["setup", "teardown", "session", "sessionTeardown", "housekeep"] as const

/**
 * Where something can go wrong.
 *
 * - `create`, `destroy`, `ping`, `reset`: of the driver. What `destroy` fails with is what could not be taken down.
 * - `spawn`: before a command is started. `exit`: before its end is told. `kill`: before a command that still runs is
 *   ended, through its handle or with its scope; while that hangs, the command cannot be killed.
 * - `file`: before an operation of the `FileSystem` or on an open file.
 * - `setup`, `teardown`, `session`, `sessionTeardown`, `housekeep`: of a feature, each after its own work, so that there
 *   is something to clean up.
 */
export const Point = Schema.Literals([...driverPoints, ...featurePoints])
export type Point = typeof Point.Type

/** What happens. */
export const How = Schema.TaggedUnion({
  /**
   * The call fails. As a `SandboxStateError` at the driver's points (as a `PlatformError` at `spawn`, `exit`, `kill`
   * and `file`, which can fail with nothing else), as a `SimulatedError`, the user's own kind, in features. `kind` asks
   * for another: `"state"`, `"user"`, or `"outage"` at `create`. Teardown and the end of a scope cannot fail, so they die
   * with the error.
   */
  Fail: {
    kind: Schema.optional(Schema.Literals(["state", "user", "outage"])),
    message: Schema.optional(Schema.String)
  },
  /** The call dies with a defect. */
  Die: { message: Schema.optional(Schema.String) },
  /** The call never comes back; it can be interrupted where the call can be. */
  Hang: {},
  /** The call takes that much longer. */
  Slow: { millis: Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)) },
  /** The sandbox dies, and the call with it. */
  Kill: {}
})
export type How = typeof How.Type

const Positive = Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))
const Millis = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))

/** One thing that goes wrong. Everything that is left out matches everything. */
export const Fault = Schema.Struct({
  at: Schema.NonEmptyArray(Point),
  /** Regular expressions for whole ids. */
  image: Schema.optional(Options.Pattern),
  sandbox: Schema.optional(Options.Pattern),
  feature: Schema.optional(Options.Pattern),
  /** The command's name at `spawn`, `exit` and `kill`, the method's at `file`, as a regular expression. */
  operation: Schema.optional(Options.Pattern),
  /** Only these of the matching calls, counted from 1; those that another fault strikes count as well. */
  calls: Schema.optional(Schema.Array(Positive)),
  /** At most so many times. */
  times: Schema.optional(Positive),
  /** Only so often, between 0 and 1. */
  probability: Schema.optional(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))),
  /** Only between these times, in milliseconds since the plan was taken up; `to` is the first moment after it. */
  window: Schema.optional(Schema.Struct({ from: Schema.optional(Millis), to: Schema.optional(Millis) })),
  how: How
}).check(
  Schema.makeFilter(({ at, how }) => {
    if (how._tag !== "Fail" || how.kind === undefined) return true
    const misplaced = at.find((point) => !kindsAt(point).includes(how.kind ?? "state"))
    return (
      misplaced === undefined || {
        path: ["how", "kind"],
        issue: `expected one of ${kindsAt(misplaced).join(", ") || "none"} at ${misplaced}, got ${how.kind}`
      }
    )
  })
)
export interface Fault extends Schema.Schema.Type<typeof Fault> {}

/** The kinds of errors that a call at a point may fail with by its contract. */
const kindsAt = (point: Point): ReadonlyArray<"state" | "user" | "outage"> => {
  switch (point) {
    case "create":
      return ["state", "outage"]
    case "destroy":
    case "ping":
    case "reset":
      return ["state"]
    case "spawn":
    case "exit":
    case "kill":
    case "file":
      return []
    default:
      return ["user", "state"]
  }
}

/** Faults, in the order in which they are looked at: the first that matches a call strikes. */
export const FaultPlan = Schema.Array(Fault)
export type FaultPlan = typeof FaultPlan.Type

/** An interval in which no sandbox of the images comes up, and none that is up answers when `pings` is set. */
export const outage = (options: {
  readonly from: Duration.Input
  readonly to: Duration.Input
  /** Default: every image. */
  readonly image?: string | undefined
  readonly pings?: boolean | undefined
}): Fault => ({
  at: options.pings === true ? ["create", "ping"] : ["create"],
  image: options.image,
  window: { from: millisOf(options.from), to: millisOf(options.to) },
  how: { _tag: "Fail", kind: "state", message: "the backend is out" }
})

const millisOf = (input: Duration.Input): number =>
  Option.match(Duration.fromInput(input), { onNone: () => Number.NaN, onSome: Duration.toMillis })
