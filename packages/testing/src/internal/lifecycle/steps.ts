/** What each step of a program does. */
import * as Effect from "effect/Effect"
import { parseSandboxId } from "./names.ts"
import type { Step } from "./program.ts"
import { takesNoTime } from "./strikes.ts"
import type { World } from "./world.ts"

/** How long a shutdown waits for the handlers of events. */
const drainLimit = 10_000

export const perform = (world: World, step: Step): Effect.Effect<void> => {
  switch (step._tag) {
    case "Open":
      return world.people.open(step)
    case "Interrupt":
      return Effect.sync(() => world.people.interrupt(step.who))
    case "Close":
      return world.people.close(step.who, step.times ?? 1)
    case "UseAfter":
      return world.people.useAfter(step.who)
    case "Kill":
      return kill(world, step)
    case "Advance":
      world.action = step
      return Effect.sync(() => {
        // What goes on comes to rest first: timers are then due from when they were asked for.
        world.isAtRest = world.time.settle()
        if (!world.isAtRest || !world.time.advance(step.millis)) world.log.blame("I7", "something runs in circles")
      })
    case "Recycle":
      return recycle(world, step)
    case "Drain": {
      const { environment } = world
      if (environment === undefined) return Effect.void
      world.action = step
      const drain = shutdown(world, environment.drain)
      return Effect.map(world.fork(drain), (fiber) => void world.shutdowns.push(fiber))
    }
    case "Shutdown": {
      const { environment } = world
      if (environment === undefined) return Effect.void
      world.action = step
      const one = Effect.map(
        world.fork(shutdown(world, environment.shutdown)),
        (fiber) => void world.shutdowns.push(fiber)
      )
      return Effect.forEach(Array.from({ length: step.times ?? 1 }), () => one, { discard: true })
    }
    case "InterruptShutdown":
      return Effect.sync(() => {
        for (const fiber of world.shutdowns) fiber.interruptUnsafe()
      })
    case "InterruptStart":
      return Effect.sync(() => {
        if (world.starting?.pollUnsafe() === undefined) world.log.count("interrupted: the start")
        world.starting?.interruptUnsafe()
      })
    case "AddFault": {
      const { simulation } = world
      if (simulation === undefined) return Effect.void
      world.strikes.isPossible = true
      world.oracle = undefined
      if (!takesNoTime(step.fault)) world.isInstant = false
      return Effect.catch(simulation.faults.add(step.fault), (error) =>
        Effect.sync(() => world.log.blame("X1", error.message))
      )
    }
    case "ClearFaults":
      return Effect.asVoid(world.fork(world.simulation?.faults.clear ?? Effect.void))
    default:
      return Effect.sync(() => world.people.tell(world.people.present(step.who), step))
  }
}

const kill = (world: World, step: Extract<Step, { readonly _tag: "Kill" }>): Effect.Effect<void> => {
  const { log, sandboxes, simulation, strikes } = world
  const statusOf = (id: string) => sandboxes.all.get(id)?.status
  const alive = (simulation?.sim.alive() ?? []).filter(
    (id) => step.status === undefined || statusOf(id) === step.status
  )
  const victim = alive[step.which % Math.max(1, alive.length)]
  if (simulation === undefined || victim === undefined || strikes.dead.has(victim)) return Effect.void
  const status = statusOf(victim)
  const name = parseSandboxId(victim)
  world.action = name === undefined ? undefined : { _tag: "Kill", image: name.image, slot: name.slot }
  // Before it is so: whoever is told learns of it at once.
  strikes.dead.add(victim)
  const killed = Effect.map(simulation.sim.kill(victim), (wasAlive) => {
    if (wasAlive) log.count(`died: ${status ?? "unknown"}`)
    else strikes.dead.delete(victim)
  })
  return Effect.asVoid(world.fork(killed))
}

/** Has a sandbox replaced, which must be known as long as it has not gone. */
const recycle = (world: World, step: Extract<Step, { readonly _tag: "Recycle" }>): Effect.Effect<void> => {
  const { environment, log, sandboxes } = world
  const there = [...sandboxes.all.values()].filter(
    ({ status }) => status !== "Offline" && (step.status === undefined || status === step.status)
  )
  const one = there[step.which % Math.max(1, there.length)]
  if (environment === undefined || one === undefined) return Effect.void
  world.action = { _tag: "Recycle", image: one.image, slot: one.slot }
  log.count(`recycled: ${one.status}`)
  // Before it is so: what is ready goes at once.
  sandboxes.recycled.set(one.id, one.status)
  return Effect.asVoid(
    world.fork(
      Effect.catch(environment.recycle(one.id), (error) =>
        Effect.sync(() => log.blame("P6", error.message, one.status))
      )
    )
  )
}

/** Shuts the environment down; whoever has waited for that finds nothing left (H5), and all events handled (V2). */
export const shutdown = (world: World, down: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.suspend(() => {
    world.askShutdown()
    return Effect.map(down, () => {
      nothingIsUp(world, "when the shutdown returned")
      const queued = world.queued()
      // It waits for handlers, but not for ever.
      if (queued > 0 && world.time.now() - world.shutDownAt < drainLimit) {
        world.log.blame("V2", "events that were not handled when the shutdown returned", 0, queued)
      }
    })
  })

export const nothingIsUp = ({ log, setups, simulation, strikes }: World, when: string): void => {
  if (simulation === undefined || strikes.mayLeaveThings) return
  const alive = simulation.sim.alive()
  if (alive.length > 0) log.blame("H5", `sandboxes that are left ${when}`, "none", alive)
  const left = setups.left()
  if (left.length > 0) log.blame("I1", `what is still up ${when}`, "nothing", left)
}
