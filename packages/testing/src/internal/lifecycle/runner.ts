/** Runs one program on the real core and a simulated driver, and checks everything on the way. */
import * as Environment from "@effect-sandbox/core/Environment"
import * as EventHandler from "@effect-sandbox/core/EventHandler"
import * as Feature from "@effect-sandbox/core/Feature"
import { SandboxDriver } from "@effect-sandbox/core/SandboxDriver"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import { Faults } from "../../Faults.ts"
import { SimDriver } from "../../SimDriver.ts"
import { end } from "./ending.ts"
import { watchFeature } from "./foreign.ts"
import type { Found, Happening } from "./log.ts"
import { hostProbe, probes } from "./probes.ts"
import { isWhole, type Program, sizeOf } from "./program.ts"
import { settingsOf } from "./settings.ts"
import { perform } from "./steps.ts"
import { watchDriver } from "./watchedDriver.ts"
import { type Options, typed, World } from "./world.ts"

/** What a run has come to. */
export interface Outcome {
  /** The first rule that was broken. */
  readonly found: Found | undefined
  readonly happenings: ReadonlyArray<Happening>
  /** How often each interesting situation came up. */
  readonly situations: ReadonlyMap<string, number>
  readonly steps: number
  readonly sessions: number
  /** Faults that struck. */
  readonly struck: number
}

export const run = (program: Program, options: Options): Effect.Effect<Outcome, never, unknown> =>
  Effect.gen(function* () {
    const random = yield* Random.withSeed(Random.Random, program.configuration.seed)
    const world = new World(program, options, random)
    const { log, time } = world
    const driverScope = Scope.makeUnsafe()
    const scopes = { environment: Scope.makeUnsafe(), handler: Scope.makeUnsafe() }
    let steps = 0
    if (yield* simulate(world, driverScope)) {
      yield* observe(world, scopes.handler)
      const settings = settingsOf(program.configuration, featuresOf(world))
      world.starting = yield* world.fork(Scope.provide(typed(Environment.make(settings)), scopes.environment))
      const { startTurns } = program
      yield* world.pass(startTurns === undefined ? {} : { turns: startTurns })
      // Whether it was looked at before the step, so that the model knows from where it goes on.
      let isKnown = startTurns === undefined
      for (const [index, step] of program.steps.entries()) {
        if (log.found !== undefined) break
        log.step = index
        steps++
        log.happened({ _tag: "Step", at: time.now(), index, step })
        world.action = { _tag: "Nothing" }
        yield* perform(world, step)
        yield* world.pass(step, isKnown ? world.action : undefined)
        isKnown = isWhole(step)
      }
      yield* end(world, scopes)
    }
    yield* world.fork(Scope.close(driverScope, Exit.void))
    time.settle()
    if (world.oracle !== undefined) log.situations.set("steps that the model predicted", world.oracle.predictions)
    return {
      found: log.found,
      happenings: log.happenings,
      situations: log.situations,
      steps,
      sessions: world.people.all.filter((user) => user.sessionId !== undefined).length,
      struck: world.strikes.all.length
    }
  })

/** Makes the simulated driver, watched. */
const simulate = (world: World, scope: Scope.Closeable): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    const { faults: plan, configuration } = world.program
    const { latency } = configuration
    const layer = SimDriver.layer({ ...(latency === undefined ? {} : { latency }), faults: plan })
    const building = yield* world.fork(Layer.buildWithScope(layer, scope))
    world.time.settle()
    const built = building.pollUnsafe()
    if (built === undefined || Exit.isFailure(built)) {
      world.log.blame("X1", "the driver cannot be made", undefined, built && Cause.pretty(built.cause))
      return false
    }
    const sim = Context.get(built.value, SimDriver)
    const faults = Context.get(built.value, Faults)
    world.simulation = { sim, faults }
    world.strikes.watch(faults)
    const driver = watchDriver(Context.get(built.value, SandboxDriver), {
      max: (image) => sizeOf(configuration, image).max,
      told: (id) => world.sandboxes.all.get(id),
      processes: (id) => sim.sandbox(id)?.processes() ?? [],
      isBroken: (id) => world.isBroken(id),
      blame: world.log.blame,
      count: world.log.count
    })
    world.context = Context.add(world.context, SandboxDriver, driver)
    return true
  })

/** Looks at every event the moment it is published; a handler has them later, and takes its time. */
const observe = (world: World, scope: Scope.Closeable): Effect.Effect<void> =>
  Effect.gen(function* () {
    const hub = yield* EventHandler.make
    const { handlerMillis } = world.program.configuration
    if (handlerMillis !== undefined) {
      const handle = () => (handlerMillis === 0 ? Effect.void : Effect.sleep(handlerMillis))
      const subscribed = hub.subscribe({ name: "handler", capacity: "unbounded", handle })
      yield* world.fork(Scope.provide(subscribed, scope))
      world.queued = () => hub.handlers().reduce((sum, { queued }) => sum + queued, 0)
    }
    world.context = Context.add(world.context, EventHandler.EventHub, {
      ...hub,
      isObserved: () => true,
      publish: (event) => {
        world.onEvent(event)
        hub.publish(event)
      }
    })
  })

/** The probes around the features under test, all with faults. */
const featuresOf = (world: World): ReadonlyArray<Feature.Any> => {
  const { hostProbe: hasHost, images, probeInterval, probes: count = 0 } = world.program.configuration
  const own = probes(count, world.setups, probeInterval)
  const host = hasHost === true ? [hostProbe(world.setups, probeInterval)] : []
  const foreign = world.options.features.filter(
    (one) => one.kind === "host" || images.some(({ id }) => Feature.appliesTo(one, id))
  )
  const watched = foreign.map((feature) => watchFeature(feature, world))
  const faulty = world.simulation?.faults.feature ?? ((feature) => feature)
  return [...host, ...own.slice(0, 1), ...watched, ...own.slice(1)].map((feature) => faulty(feature))
}
