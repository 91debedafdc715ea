/** Features that do nothing but note their set-ups, each with something to clean up at every point of it. */
import * as Feature from "@effect-sandbox/core/Feature"
import { Sandbox } from "@effect-sandbox/core/Sandbox"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Setups } from "./setups.ts"

interface Shape {
  readonly name: string
}
export class Probe1 extends Context.Service<Probe1, Shape>()(
  "@effect-sandbox/testing/internal/lifecycle/probes/Probe1"
) {}
export class Probe2 extends Context.Service<Probe2, Shape>()(
  "@effect-sandbox/testing/internal/lifecycle/probes/Probe2"
) {}
export class Probe3 extends Context.Service<Probe3, Shape>()(
  "@effect-sandbox/testing/internal/lifecycle/probes/Probe3"
) {}
export class HostProbe extends Context.Service<HostProbe, Shape>()(
  "@effect-sandbox/testing/internal/lifecycle/probes/HostProbe"
) {}

type Make = (setups: Setups, housekeepInterval: number | undefined) => Feature.Any

const sandboxProbe =
  <Id>(key: Context.Key<Id, Shape>, name: string): Make =>
  (setups, housekeepInterval) =>
    Feature.make(key, {
      id: name,
      housekeepInterval,
      setup: Effect.gen(function* () {
        const { id } = yield* Sandbox
        yield* setups.resource(id, name)
        yield* Effect.yieldNow
        yield* setups.resource(id, `${name}'s helper`)
        return {
          session: Effect.gen(function* () {
            yield* setups.resource(id, `session of ${name}`)
            yield* Effect.yieldNow
            yield* setups.resource(id, `session's helper of ${name}`)
            return { name }
          }),
          housekeep: Effect.yieldNow
        }
      })
    })

const all = [sandboxProbe(Probe1, "probe1"), sandboxProbe(Probe2, "probe2"), sandboxProbe(Probe3, "probe3")]

/** The first so many probes of sandboxes. */
export const probes = (
  count: number,
  setups: Setups,
  housekeepInterval: number | undefined
): ReadonlyArray<Feature.Any> => all.slice(0, count).map((make) => make(setups, housekeepInterval))

/** A probe beside the sandboxes. Its sessions overlap, so that each has a place of its own. */
export const hostProbe = (setups: Setups, housekeepInterval: number | undefined): Feature.Any => {
  let sessions = 0
  return Feature.host(HostProbe, {
    id: "host",
    housekeepInterval,
    setup: Effect.gen(function* () {
      yield* setups.resource("the host", "host")
      yield* Effect.yieldNow
      yield* setups.resource("the host", "host's helper")
      return {
        session: Effect.gen(function* () {
          const place = `session ${++sessions} of the host`
          yield* setups.resource(place, "host")
          yield* Effect.yieldNow
          yield* setups.resource(place, "host's helper")
          return { name: "host" }
        }),
        housekeep: Effect.yieldNow
      }
    })
  })
}
