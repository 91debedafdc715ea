/** The features under test, looked at from outside: whose state errors they raise, and what fails in them by itself. */
import type * as Feature from "@effect-sandbox/core/Feature"
import { Sandbox } from "@effect-sandbox/core/Sandbox"
import { stateErrors } from "@effect-sandbox/core/SandboxError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { World } from "./world.ts"

export const watchFeature = <F extends Feature.Any>(feature: F, world: World): F => {
  const { log, strikes } = world

  /** Whether something that the program did may be why a feature fails. */
  const isExcused = (sandboxId: string | undefined): boolean => {
    strikes.note()
    if (strikes.hitFeature(feature.id, sandboxId) || world.mayShutDown) return true
    if (sandboxId === undefined) return false
    return world.isBroken(sandboxId) || strikes.all.some(({ call }) => call.sandboxId === sandboxId)
  }

  const watch =
    (what: string, sandboxId: string | undefined) =>
    <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.onExit(effect, (exit) =>
        Effect.sync(() => {
          if (Exit.isSuccess(exit)) return
          const stranger = stateErrors(exit.cause).find((error) => error.sandboxId !== sandboxId)
          if (stranger !== undefined) {
            log.blame("X3", `${what} of ${feature.id} breaks another sandbox`, sandboxId ?? "none", stranger.sandboxId)
          }
          if (!Cause.hasInterrupts(exit.cause) && !isExcused(sandboxId)) {
            log.blame("X5", `${what} of ${feature.id} fails, and nothing is wrong`, "success", Cause.pretty(exit.cause))
          }
        })
      )

  const processesIn = (sandboxId: string | undefined) =>
    sandboxId === undefined ? [] : (world.simulation?.sim.sandbox(sandboxId)?.processes() ?? [])

  /** Gives a set-up a scope of its own, whose closing is watched: what the set-up has started must have ended then. */
  const scoped = <A, E, R>(what: string, sandboxId: string | undefined, effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const own = Scope.makeUnsafe()
      let started: ReadonlyArray<number> = []
      const looked = Effect.sync(() => {
        if (started.length === 0 || isExcused(sandboxId)) return
        const left = processesIn(sandboxId).filter(({ pid, state }) => started.includes(pid) && state !== "zombie")
        const lines = left.map(({ command, pid }) => `${pid} ${command.join(" ")}`)
        if (left.length > 0) log.blame("I7", `processes that the ${what} of ${feature.id} leaves`, "none", lines)
      })
      yield* Effect.addFinalizer((exit) => Effect.andThen(watch(what, sandboxId)(Scope.close(own, exit)), looked))
      const before = new Set(processesIn(sandboxId).map(({ pid }) => pid))
      const result = yield* Effect.provideService(effect, Scope.Scope, own)
      started = processesIn(sandboxId).flatMap(({ pid }) => (before.has(pid) ? [] : [pid]))
      return result
    })

  const setup = Effect.gen(function* () {
    const sandbox = Option.getOrUndefined(yield* Effect.serviceOption(Sandbox))
    const watched = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>) => watch(what, sandbox?.id)(effect)
    const active = yield* scoped("teardown", sandbox?.id, watched("set-up", feature.setup))
    const result: Feature.Active = {
      session: scoped("session teardown", sandbox?.id, watched("session set-up", active.session)),
      housekeep: active.housekeep === undefined ? undefined : watched("housekeeping", active.housekeep)
    }
    return result
  })
  return { ...feature, setup }
}
