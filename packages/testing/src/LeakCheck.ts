/**
 * Nothing may be left when something is over: no fiber, no timer, no sandbox, session, process, file handle or watcher
 * (I7). A check counts what an effect starts and what of it has ended, and tells by name what has not.
 *
 * ```ts
 * import { it } from "@effect/vitest"
 * import { Effect } from "effect"
 * import { Environment } from "@effect-sandbox/core"
 * import { LeakCheck, SimDriver } from "@effect-sandbox/testing"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"], pool: 2 }) {}
 *
 * it.effect("my program leaves nothing", () =>
 *   LeakCheck.run(Lab.withSession({}, Effect.void).pipe(Effect.provide(Lab.layer))).pipe(
 *     Effect.provide(SimDriver.layer())
 *   ))
 * ```
 *
 * What is seen: fibers and sleeps that were started by the effect, directly or by what it started; what a `SimDriver`
 * holds, when there is one around the check; environments that the check was told of (`watch`). Fibers bear the names
 * of the spans and of the `Effect.fn` they were started in. Not seen: fibers that were started before the check, and
 * those that code starts with a context that it got elsewhere.
 *
 * `processes` looks for processes of the host.
 */
import type { Environment } from "@effect-sandbox/core/Environment"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import { SimDriver } from "./SimDriver.ts"

/** One thing that is left. */
export const Leak = Schema.Struct({
  kind: Schema.Literals(["environment", "session", "sandbox", "process", "file handle", "watcher", "fiber", "timer"]),
  /** Which one, as far as it is known. */
  what: Schema.String
})
export type Leak = typeof Leak.Type

/** Something is left. */
export class LeakError extends Schema.TaggedError<LeakError>()("LeakError", { leaks: Schema.Array(Leak) }) {
  override get message() {
    const width = Math.max(...this.leaks.map(({ kind }) => kind.length))
    const lines = this.leaks.map(({ kind, what }) => `  ${kind.padEnd(width)}  ${what}`)
    return `${this.leaks.length === 1 ? "1 thing is" : `${this.leaks.length} things are`} left (I7):\n${lines.join("\n")}`
  }
}

export interface Options {
  /**
   * How many turns of the scheduler may pass until everything has ended; what is still ending needs a few. Time never
   * passes. Default: 5000.
   */
  readonly turns?: number | undefined
  /**
   * Tells where each fiber was started, too, as far as the stack of calls knows. Costs time for every fiber. Of fibers
   * in the same context it is not known which has ended; then all their places are told. Default: false.
   */
  readonly stacks?: boolean | undefined
}

export interface LeakCheck {
  /** Runs an effect and counts what it starts. Can be used for several effects, also at the same time. */
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** The fibers that were started and have not ended, by name. */
  readonly fibers: () => ReadonlyArray<string>
  /** The sleeps that have not ended. */
  readonly timers: () => ReadonlyArray<string>
  /** Looks at an environment, too: its sessions, its sandboxes, and whether it is offline. */
  readonly watch: (environment: Pick<Environment<never>, "id" | "stats">) => void
  /** Everything that is left now. */
  readonly left: Effect.Effect<ReadonlyArray<Leak>>
  /** Fails when something is left, after it has waited for what is just ending. */
  readonly assertNone: Effect.Effect<void, LeakError>
}

/** A check that counts what is run with it. */
export const make = (options: Options = {}): Effect.Effect<LeakCheck> =>
  Effect.gen(function* () {
    const fibers = new Names()
    const timers = new Names()
    const environments = new Set<Pick<Environment<never>, "id" | "stats">>()
    const driver = Option.getOrUndefined(yield* Effect.serviceOption(SimDriver))

    const metrics: Metric.FiberRuntimeMetricsService = {
      recordFiberStart: (context) =>
        fibers.add(context, nameOf(context), options.stacks === true ? place() : undefined),
      // A fiber gives every context back that it has taken on, so that it ends in the one it started in.
      recordFiberEnd: (context) => fibers.remove(context)
    }

    const left: Effect.Effect<ReadonlyArray<Leak>> = Effect.gen(function* () {
      const leaks: Array<Leak> = []
      for (const environment of environments) leaks.push(...leaksOf(environment.id, yield* environment.stats))
      const drivers = new Set([driver, Option.getOrUndefined(yield* Effect.serviceOption(SimDriver))])
      for (const one of drivers) if (one !== undefined) leaks.push(...simulated(one))
      for (const what of fibers.all()) leaks.push({ kind: "fiber", what })
      for (const what of timers.all()) leaks.push({ kind: "timer", what })
      return leaks
    })

    return {
      run: (effect) =>
        Effect.flatMap(Clock.Clock, (clock) =>
          Effect.provideContext(
            effect,
            Context.make(Clock.Clock, watchedClock(clock, timers)).pipe(
              Context.add(Metric.FiberRuntimeMetrics, metrics)
            )
          )
        ),
      fibers: () => fibers.all(),
      timers: () => timers.all(),
      watch: (environment) => void environments.add(environment),
      left,
      assertNone: Effect.gen(function* () {
        for (let turn = 0; turn < (options.turns ?? 5000); turn++) {
          if ((yield* left).length === 0) return
          yield* Effect.yieldNow
        }
        const leaks = yield* left
        if (leaks.length > 0) return yield* new LeakError({ leaks })
      })
    }
  })

/**
 * Runs an effect in a scope of its own, closes the scope, and fails when something is left. When the effect fails, its
 * own error comes first.
 */
export const run = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: Options = {}
): Effect.Effect<A, E | LeakError, Exclude<R, Scope.Scope>> =>
  Effect.gen(function* () {
    const check = yield* make(options)
    const exit = yield* Effect.exit(check.run(Effect.scoped(effect)))
    const checked = yield* Effect.exit(check.assertNone)
    if (Exit.isSuccess(exit)) return yield* Effect.andThen(checked, exit)
    return yield* Exit.isSuccess(checked)
      ? exit
      : Effect.failCause(Cause.combine<E, LeakError>(exit.cause, checked.cause))
  })

/** A process of the host. */
export interface HostProcess {
  readonly pid: number
  /** Its command line. */
  readonly command: string
}

/**
 * The processes of this machine that have an entry such as `LAB_RUN=7f3a` in the environment they were started with.
 * Needs a Linux, whose `/proc` it reads through the host's `FileSystem`; the processes of others are not seen.
 *
 * ```ts
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import { LeakCheck } from "@effect-sandbox/testing"
 *
 * const left = LeakCheck.processes("LAB_RUN=7f3a").pipe(Effect.provide(NodeServices.layer))
 * ```
 */
export const processes = (
  entry: string
): Effect.Effect<ReadonlyArray<HostProcess>, PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    // A process may end while it is looked at.
    const read = (path: string) => Effect.orElseSucceed(fs.readFileString(path), () => "")
    const found: Array<HostProcess> = []
    for (const pid of (yield* fs.readDirectory("/proc")).filter((name) => /^\d+$/.test(name))) {
      if (!(yield* read(`/proc/${pid}/environ`)).split("\0").includes(entry)) continue
      const command = (yield* read(`/proc/${pid}/cmdline`)).split("\0").join(" ").trim()
      found.push({ pid: Number(pid), command })
    }
    return found.sort((a, b) => a.pid - b.pid)
  })

/**
 * Fails when there are processes with that entry in their environment, after it has looked several times. `turns`: how
 * often. Default: 50.
 */
export const assertNoProcesses = (
  entry: string,
  options: { readonly turns?: number | undefined } = {}
): Effect.Effect<void, LeakError | PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    let left = yield* processes(entry)
    for (let turn = 1; left.length > 0 && turn < (options.turns ?? 50); turn++) left = yield* processes(entry)
    if (left.length === 0) return
    return yield* new LeakError({
      leaks: left.map(({ command, pid }) => ({ kind: "process", what: `${pid} ${command}` }))
    })
  })

/** What there is, each under a key and with a name. Several may share a key, and then have the same name. */
class Names {
  private readonly entries = new Map<unknown, { readonly name: string; readonly places: Set<string>; count: number }>()

  add(key: unknown, name: string, place?: string): void {
    const entry = this.entries.get(key) ?? { name, places: new Set(), count: 0 }
    this.entries.set(key, entry)
    entry.count++
    if (place !== undefined) entry.places.add(place)
  }

  remove(key: unknown): void {
    const entry = this.entries.get(key)
    if (entry !== undefined && --entry.count === 0) this.entries.delete(key)
  }

  all(): ReadonlyArray<string> {
    return [...this.entries.values()].flatMap(({ count, name, places }) => {
      const line = places.size === 0 ? name : `${name}, started at ${[...places].join(" or ")}`
      return Array.from({ length: count }, () => line)
    })
  }
}

/** The calls of this moment that are neither the runtime's nor ours. */
const place = (): string => {
  const isTheirs = (line: string) => !/[/\\]node_modules[/\\]|node:|[/\\]LeakCheck\.[jt]s/.test(line)
  const calls = (new Error("here").stack ?? "").split("\n").slice(1).filter(isTheirs)
  return calls.length === 0
    ? "an unknown place"
    : calls
        .slice(0, 3)
        .map((line) => line.trim().replace(/^at /, ""))
        .join(" < ")
}

/** The names of the spans and functions that a context belongs to, from outside to inside. */
const nameOf = (context: Context.Context<never>): string => {
  const names: Array<string> = []
  let frame = Context.get(context, References.CurrentStackFrame)
  while (frame !== undefined) {
    // `Effect.fn` puts up two: where it was called, and where it was defined.
    if (!frame.name.endsWith(" (definition)")) names.unshift(frame.name)
    frame = frame.parent
  }
  const span = Option.getOrUndefined(Context.getOption(context, Tracer.ParentSpan))
  if (span?._tag === "Span" && names.at(-1) !== span.name) names.push(span.name)
  return names.length === 0 ? "without a name" : `in ${names.join(" > ")}`
}

/** The same clock, which tells who sleeps. */
const watchedClock = (clock: Clock.Clock, timers: Names): Clock.Clock => {
  const sleep: Clock.Clock["sleep"] = (duration) =>
    Effect.acquireUseRelease(
      Effect.withFiber((fiber) =>
        Effect.sync(() => {
          const timer = {}
          const due = clock.currentTimeMillisUnsafe() + Duration.toMillis(duration)
          timers.add(timer, `${Duration.format(duration)}, due at ${due}, ${nameOf(fiber.context)}`)
          return timer
        })
      ),
      // What the clock itself starts is not the effect's.
      () => Effect.provideService(clock.sleep(duration), Metric.FiberRuntimeMetrics, undefined),
      (timer) => Effect.sync(() => timers.remove(timer))
    )
  // Inherits: a `TestClock` can do more than a `Clock`, and whoever gets it back wants all of it.
  const watched: Clock.Clock = Object.create(clock, { sleep: { value: sleep } })
  return watched
}

const leaksOf = (id: string, stats: Effect.Success<Environment<never>["stats"]>): ReadonlyArray<Leak> => {
  const leaks: Array<Leak> = []
  if (stats.status !== "Offline") leaks.push({ kind: "environment", what: `${id} is ${stats.status}` })
  if (stats.sessions > 0) leaks.push({ kind: "session", what: `${stats.sessions} of ${id}` })
  if (stats.ledger.live > 0) leaks.push({ kind: "sandbox", what: `${stats.ledger.live} of ${id} are live` })
  if (stats.ledger.leaked > 0) {
    leaks.push({ kind: "sandbox", what: `${stats.ledger.leaked} of ${id} could not be taken down by the driver` })
  }
  const lost = stats.ledger.created - stats.ledger.destroyed - stats.ledger.live
  if (lost !== 0) leaks.push({ kind: "sandbox", what: `${lost} of ${id} are neither live nor destroyed` })
  return leaks
}

const simulated = (driver: SimDriver["Service"]): ReadonlyArray<Leak> => {
  const { handles, watchers } = driver.resources()
  const ids = driver.alive()
  const processes = ids.flatMap((id) =>
    (driver.sandbox(id)?.processes() ?? []).map(({ command, pid, state }): Leak => {
      const what = `${pid} ${command.join(" ")} in ${id}${state === "running" ? "" : ` (${state})`}`
      return { kind: "process", what }
    })
  )
  return [
    ...ids.map((id): Leak => ({ kind: "sandbox", what: id })),
    ...processes,
    ...(handles > 0 ? [{ kind: "file handle" as const, what: String(handles) }] : []),
    ...(watchers > 0 ? [{ kind: "watcher" as const, what: String(watchers) }] : [])
  ]
}
