/**
 * Features for tests: they note every call of their hooks, and at each hook they do what a test tells them, also to
 * fail. Several can be plugged into one environment; a journal that they share keeps the order among them.
 *
 * ```ts
 * import { assert, it } from "@effect/vitest"
 * import { Effect } from "effect"
 * import { Environment } from "@effect-sandbox/core"
 * import { FeatureProbe, SimDriver } from "@effect-sandbox/testing"
 *
 * it.effect("a session that cannot be set up is torn down again", () =>
 *   Effect.gen(function*() {
 *     const shell = FeatureProbe.make("shell")
 *     shell.on("session", { _tag: "Fail", message: "no terminal" }, { times: 1 })
 *     const lab = yield* Environment.make({ images: ["base"], pool: 0, features: [shell.feature] })
 *     const error = yield* Effect.flip(lab.withSession({}, shell.key))
 *     assert.strictEqual(error.message, "Simulated error at session: no terminal")
 *     assert.deepStrictEqual(shell.calls().map((call) => call.hook),
 *       ["setup", "session", "sessionTeardown", "teardown"])
 *   }).pipe(Effect.scoped, Effect.provide(SimDriver.layer())))
 * ```
 */
import * as Feature from "@effect-sandbox/core/Feature"
import { type ImageId, SandboxId } from "@effect-sandbox/core/Id"
import { Sandbox } from "@effect-sandbox/core/Sandbox"
import { SandboxStateError } from "@effect-sandbox/core/SandboxError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { featurePoints } from "./FaultPlan.ts"
import { SimulatedDefect, SimulatedError } from "./Faults.ts"
import * as Ledger from "./Ledger.ts"

/** Where a probe is called: `setup` and `teardown` once per sandbox, `session` and `sessionTeardown` once per session. */
export type Hook = (typeof featurePoints)[number]

/** One call of a hook. A host probe has no sandbox. */
export interface Call {
  readonly hook: Hook
  /** The name of the probe. */
  readonly probe: string
  readonly sandboxId?: SandboxId | undefined
  readonly image?: ImageId | undefined
  /** Which session of that sandbox (or of the host) it is about, counted from 1 in the order of their set-ups. */
  readonly session?: number | undefined
  /** How many calls of this hook the probe has had with this one. */
  readonly count: number
  /** Milliseconds since the epoch. */
  readonly timestamp: number
}

/** What a probe fails with. */
export type Failure = SimulatedError | SandboxStateError

/** What a probe can be told to do at a hook, in the words of `FaultPlan.How`. */
export type Behaviour<R = never> =
  /** Fails with `SimulatedError`, the user's own kind, or with a state error. In teardown, dies with it. */
  | { readonly _tag: "Fail"; readonly kind?: "user" | "state" | undefined; readonly message?: string | undefined }
  /** Dies with `SimulatedDefect`. */
  | { readonly _tag: "Die"; readonly message?: string | undefined }
  /** Never comes back until the behaviour is taken away; can be interrupted where the hook can be. */
  | { readonly _tag: "Hang" }
  /** Takes that much longer. */
  | { readonly _tag: "Slow"; readonly millis: number }
  /** Runs an effect. What it fails with in a teardown, the probe dies with. */
  | ((call: Call) => Effect.Effect<unknown, Failure, R>)

/** When a behaviour applies. Default: at every call. */
export interface When {
  /** Only at these calls, counted from 1 since the probe was told. */
  readonly calls?: ReadonlyArray<number> | undefined
  /** At most so many times. */
  readonly times?: number | undefined
}

/** What the probe of a name provides to sessions. */
export interface Provided<Name extends string> {
  readonly "~@effect-sandbox/testing/FeatureProbe": Name
}

/** The service of a probe. */
export interface Service {
  readonly name: string
  readonly sandboxId: SandboxId | undefined
  /** Which session of its sandbox (or of the host) this is, counted from 1. */
  readonly session: number
}

export interface Probe<Name extends string, Kind extends "sandbox" | "host" = "sandbox"> {
  readonly name: Name
  /** The key of the service that sessions are given. */
  readonly key: Context.Key<Provided<Name>, Service>
  /** The feature, for the options of an environment. */
  readonly feature: Feature.Feature<Provided<Name>, Failure, never, Kind>
  /** Tells what to do at a hook from now on, after the call was noted; takes the place of what was told before. */
  readonly on: (
    hook: Hook,
    behaviour: Behaviour<Kind extends "host" ? Scope.Scope : Feature.SetupServices>,
    when?: When
  ) => void
  /** Takes a behaviour away, or all; what hangs goes on. */
  readonly off: (hook?: Hook) => void
  /** Its calls so far, in order: all, or those of one hook. */
  readonly calls: (hook?: Hook) => ReadonlyArray<Call>
  readonly journal: Journal
}

/** What several probes note together. */
export interface Journal {
  /** Every call of every probe, in order. */
  readonly calls: () => ReadonlyArray<Call>
  /** The same as lines: `setup shell in env/base:0:0`; of a host probe `setup shell`. What was noted is among them. */
  readonly lines: () => ReadonlyArray<string>
  /** Whether every set-up had its teardown, in reverse order (I1), by sandbox. */
  readonly ledger: Ledger.Ledger
  /** Notes a call. For probes of one's own. */
  readonly add: (call: Call) => void
  /** Adds a line of one's own, whose place among the calls matters. */
  readonly note: (line: string) => void
}

export interface Options {
  /** Regular expressions for the whole ids of its images. Default: every image. */
  readonly images?: ReadonlyArray<string> | undefined
  /** How often its housekeeping runs. Default: never. */
  readonly housekeepInterval?: Duration.Input | undefined
  /** Where it notes its calls. Default: a journal of its own. */
  readonly journal?: Journal | undefined
}

/** A journal for several probes. */
export const journal = (): Journal => {
  const calls: Array<Call> = []
  const lines: Array<string> = []
  const ledger = Ledger.make()
  return {
    calls: () => [...calls],
    lines: () => [...lines],
    ledger,
    note: (line) => void lines.push(line),
    add: (call) => {
      calls.push(call)
      lines.push(lineOf(call))
      const place = call.sandboxId ?? "host"
      const session = `session ${call.session} of ${call.probe}`
      // Sessions on the host overlap, in a sandbox they do not.
      const sessionPlace = call.sandboxId ?? `host, ${session}`
      switch (call.hook) {
        case "setup":
          return ledger.enter(place, call.probe)
        case "teardown":
          return ledger.leave(place, call.probe)
        case "session":
          return ledger.enter(sessionPlace, session)
        case "sessionTeardown":
          return ledger.leave(sessionPlace, session)
      }
    }
  }
}

/** A probe in sandboxes. Its feature is called by its name, which must be unique in an environment. */
export const make = <const Name extends string>(name: Name, options: Options = {}): Probe<Name> => {
  const { setup, ...controls } = build<Feature.SetupServices>(name, options.journal ?? journal())
  const key = keyOf(name)
  const feature = Feature.make(key, {
    id: name,
    images: options.images,
    housekeepInterval: options.housekeepInterval,
    setup: Effect.flatMap(Sandbox, ({ id, image }) => setup({ sandboxId: id, image }))
  })
  return { name, key, feature, ...controls }
}

/** A probe on the host, beside the sandboxes: set up once per environment. */
export const host = <const Name extends string>(
  name: Name,
  options: Omit<Options, "images"> = {}
): Probe<Name, "host"> => {
  const { setup, ...controls } = build<Scope.Scope>(name, options.journal ?? journal())
  const key = keyOf(name)
  const feature = Feature.host(key, { id: name, housekeepInterval: options.housekeepInterval, setup: setup({}) })
  return { name, key, feature, ...controls }
}

const keyOf = <Name extends string>(name: Name): Context.Key<Provided<Name>, Service> =>
  Context.Service<Provided<Name>, Service>(`@effect-sandbox/testing/FeatureProbe/${name}`)

const lineOf = (call: Call): string => {
  const what = call.hook === "sessionTeardown" ? "session teardown" : call.hook
  return `${what} ${call.probe}${call.sandboxId === undefined ? "" : ` in ${call.sandboxId}`}`
}

/** What was told at a hook, and what has become of it. */
interface Rule<R> {
  readonly behaviour: Behaviour<R>
  readonly when: When
  /** Calls since then. */
  seen: number
  /** How often it applied. */
  struck: number
}

type Place = Pick<Call, "sandboxId" | "image">

/** The hooks of a probe, and the control of them. `R` is what the hooks of its kind may use. */
const build = <R>(name: string, journal: Journal) => {
  const rules = new Map<Hook, Rule<R>>()
  const calls: Array<Call> = []
  const counts = new Map<Hook, number>()
  /** What hangs waits for this. */
  const released = new Map<Hook, Deferred.Deferred<void>>()

  const release = (hook: Hook): void => {
    const waiting = released.get(hook)
    released.delete(hook)
    if (waiting !== undefined) Deferred.doneUnsafe(waiting, Exit.void)
  }

  const hang = (hook: Hook): Effect.Effect<void> =>
    Effect.suspend(() => {
      const waiting = released.get(hook) ?? Deferred.makeUnsafe<void>()
      released.set(hook, waiting)
      return Deferred.await(waiting)
    })

  const note = (hook: Hook, place: Place, session?: number): Effect.Effect<Call> =>
    Effect.map(Clock.currentTimeMillis, (timestamp) => {
      const count = (counts.get(hook) ?? 0) + 1
      counts.set(hook, count)
      const call: Call = { hook, probe: name, ...place, session, count, timestamp }
      calls.push(call)
      journal.add(call)
      return call
    })

  /** Does what the probe was told to do at this call. */
  const behave = (call: Call): Effect.Effect<unknown, Failure, R> =>
    Effect.suspend((): Effect.Effect<unknown, Failure, R> => {
      const rule = rules.get(call.hook)
      if (rule === undefined) return Effect.void
      rule.seen++
      if (rule.when.calls !== undefined && !rule.when.calls.includes(rule.seen)) return Effect.void
      if (rule.when.times !== undefined && rule.struck >= rule.when.times) return Effect.void
      rule.struck++
      const { behaviour } = rule
      if (typeof behaviour === "function") return behaviour(call)
      switch (behaviour._tag) {
        case "Fail":
          return Effect.fail(failureOf(call, behaviour.kind, behaviour.message ?? "told to"))
        case "Die":
          return Effect.die(new SimulatedDefect({ point: call.hook, description: behaviour.message ?? "told to" }))
        case "Hang":
          return hang(call.hook)
        case "Slow":
          return Effect.sleep(behaviour.millis)
      }
    })

  /** Notes a set-up and makes sure of its teardown in one step, wherever it is interrupted afterwards (I1). */
  const pair = (up: Hook, down: Hook, place: Place, session?: number) =>
    Effect.flatMap(
      Effect.acquireRelease(note(up, place, session), () =>
        // A finalizer can only die, which is how the core is told of a teardown that failed.
        Effect.flatMap(note(down, place, session), (call) => Effect.orDie(behave(call)))
      ),
      behave
    )

  const setup = Effect.fnUntraced(function* (place: Place) {
    let sessions = 0
    yield* pair("setup", "teardown", place)
    return {
      session: Effect.suspend(() => {
        const session = ++sessions
        return Effect.as(pair("session", "sessionTeardown", place, session), {
          name,
          sandboxId: place.sandboxId,
          session
        })
      }),
      housekeep: Effect.flatMap(note("housekeep", place), behave)
    }
  })

  return {
    setup,
    journal,
    on: (hook: Hook, behaviour: Behaviour<R>, when: When = {}): void => {
      release(hook)
      rules.set(hook, { behaviour, when, seen: 0, struck: 0 })
    },
    off: (hook?: Hook): void => {
      for (const one of hook === undefined ? [...rules.keys()] : [hook]) {
        rules.delete(one)
        release(one)
      }
    },
    calls: (hook?: Hook): ReadonlyArray<Call> => calls.filter((call) => hook === undefined || call.hook === hook)
  }
}

const failureOf = (call: Call, kind: "user" | "state" | undefined, description: string): Failure =>
  kind === "state"
    ? new SandboxStateError({
        sandboxId: call.sandboxId ?? SandboxId.make("host"),
        operation: `${call.hook} of ${call.probe}`,
        description
      })
    : new SimulatedError({ point: call.hook, description })
