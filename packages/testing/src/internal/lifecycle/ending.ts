/** The end of a program: what went wrong is over, everybody ends, and nothing may be left (I7). */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { defaultAcquireTimeout } from "./exits.ts"
import { pendingOf } from "./rest.ts"
import { nothingIsUp, shutdown } from "./steps.ts"
import type { Subject } from "./user.ts"
import { typed, type World } from "./world.ts"

/** Virtual time in which everything must have ended after it was asked to. */
const patience = 3_600_000

/** What is closed in the end. */
export interface Scopes {
  readonly environment: Scope.Closeable
  readonly handler: Scope.Closeable
}

export const end = (world: World, scopes: Scopes): Effect.Effect<void> =>
  Effect.gen(function* () {
    const { environment, log, people, simulation, starting, strikes, time } = world
    if (simulation === undefined) return
    log.step = undefined
    if (environment !== undefined && log.found === undefined) yield* recover(world)
    if (log.found === undefined) {
      log.phase("the end: every second user finishes")
      for (const user of people.all) if (user.number % 2 === 0) people.tell(user, { _tag: "Finish" })
      yield* world.pass({})
    }
    if (environment !== undefined && log.found === undefined) {
      log.phase("the environment is shut down")
      const fiber = yield* world.fork(shutdown(world, environment.shutdown))
      wait(world, "H5", "the shutdown", () => fiber.pollUnsafe() !== undefined)
    }
    // Whoever has closed its own session goes on outside of it.
    const outside = people.all.filter((user) => user.closedInside)
    for (const user of outside) people.tell(user, { _tag: "Finish" })
    time.advanceUntil(() => outside.every((user) => user.exit !== undefined), patience)
    log.phase("its scope is closed")
    world.askShutdown()
    starting?.interruptUnsafe()
    wait(world, "I7", "the start", () => starting?.pollUnsafe() !== undefined)
    const closing = yield* world.fork(Scope.close(scopes.environment, Exit.void))
    wait(world, "I7", "the closing of the environment's scope", () => closing.pollUnsafe() !== undefined)
    if (log.found === undefined) nothingIsUp(world, "when the environment's scope was closed")
    yield* world.fork(simulation.faults.clear)
    time.settle()
    const handled = yield* world.fork(Scope.close(scopes.handler, Exit.void))
    if (log.found !== undefined) return
    wait(world, "V2", "the closing of the handler", () => handled.pollUnsafe() !== undefined)
    if (strikes.mayLeaveThings) time.advanceUntil(() => time.fibers() === 0, patience)
    yield* nothingIsLeft(world)
  })

/** H2, H3, P4: when nothing goes wrong any more everything that is missing comes back, and nobody waits for ever. */
const recover = (world: World): Effect.Effect<void> =>
  Effect.gen(function* () {
    const { environment, log, people, program, simulation, time } = world
    if (environment === undefined || simulation === undefined) return
    const { configuration } = program
    // In instant programs there is nothing to wait for: what must be is so at once.
    if (world.isInstant || !(yield* isMissing(environment))) return
    // Most of what is missing is only on its way.
    time.advance(5000)
    if (!(yield* isMissing(environment))) return
    log.phase("nothing goes wrong any more")
    log.count("recovered")
    yield* world.fork(simulation.faults.clear)
    const { acquireTimeout = defaultAcquireTimeout, housekeepInterval = 30_000, outageRetry } = configuration
    time.advance(acquireTimeout + housekeepInterval + (outageRetry?.every ?? 5000) * 2 + 60_000)
    yield* world.pass({})
    const stats = yield* environment.stats
    if (stats.status !== "Online") return
    for (const { counts, image, min, outage } of stats.images) {
      const pending = pendingOf(people.all, image).map(({ name }) => name)
      if (pending.length > 0) log.blame("P4", `who still waits for ${image}`, "nobody", pending)
      if (outage !== undefined) log.blame("H3", `the outage of ${image} does not end`, "none", outage)
      // One that is being replaced just now has its place, too.
      const placed = Object.values(counts).reduce((total, count) => total + count, 0)
      if (placed < min) log.blame("H2", `the sandboxes of ${image}`, `at least ${min}`, counts)
    }
  })

const isMissing = (environment: Subject): Effect.Effect<boolean> =>
  Effect.map(
    environment.stats,
    ({ images, status }) =>
      status === "Online" &&
      images.some(
        ({ counts, min, outage, waiters }) =>
          waiters > 0 || outage !== undefined || counts.Ready + counts.InSession < min || counts.SettingUp > 0
      )
  )

const wait = ({ log, time }: World, rule: string, what: string, isSo: () => boolean): void => {
  if (!time.advanceUntil(isSo, patience)) log.blame("I7", "something runs in circles")
  if (!isSo()) log.blame(rule, `${what} did not come to its end within ${patience} ms`)
}

const nothingIsLeft = (world: World): Effect.Effect<void> =>
  Effect.gen(function* () {
    const { environment, log, options, people, sandboxes, setups, simulation, time } = world
    const { blame } = log
    for (const user of people.all) {
      if (user.exit === undefined) blame("I7", `${user.name} has not ended`, "an end", user.sessionId ?? "it waits")
    }
    if (sandboxes.environment !== "shutDown" && sandboxes.environment !== "none") {
      blame("V2", "the last event", "EnvironmentShutDown", sandboxes.environment)
    }
    for (const { id, isGone, sessionUp, status, up } of sandboxes.all.values()) {
      if (status !== "Offline") blame("I6", `${id} at the end`, "Offline", status)
      if (!isGone) blame("I6", `${id} was not told to be shut down`)
      if (up.length > 0) blame("I1", `features of ${id} that are still up`, "none", up)
      if (sessionUp.length > 0) blame("I1", `session features of ${id} that are up`, "none", sessionUp)
    }
    if (sandboxes.sessions.size > 0) blame("I6", "sessions without an end", "none", [...sandboxes.sessions.keys()])
    const left = setups.left()
    if (left.length > 0) blame("I1", "what is still up at the end", "nothing", left)
    const resources = simulation?.sim.resources()
    if (resources !== undefined && Object.values(resources).some((count) => count > 0)) {
      blame("I7", "what the driver still has at the end", "nothing", resources)
    }
    if (environment !== undefined) {
      const { ledger, sessions, status } = yield* environment.stats
      if (status !== "Offline") blame("L13", "the environment at the end", "Offline", status)
      if (sessions > 0) blame("I7", "sessions at the end", 0, sessions)
      if (ledger.live !== 0 || ledger.created !== ledger.destroyed) {
        blame("I7", "the ledger at the end", "created = destroyed, live = 0", ledger)
      }
    }
    if (time.fibers() !== 0) blame("I7", "fibers that are left", 0, time.fibers())
    if (time.timers() !== 0) blame("I7", "timers that are left", 0, time.timers())
    const leftovers = yield* typed(options.leftovers)
    if (leftovers.length > 0) blame("I7", "what the features leave outside", "nothing", leftovers)
  })
