import { SandboxDriver } from "@effect-sandbox/core"
import { Faults } from "@effect-sandbox/testing/Faults"
import { SimDriver } from "@effect-sandbox/testing/SimDriver"
import { driverConformance } from "@effect-sandbox/testing/vitest"
import { Effect, Layer } from "effect"

/** What the options need to reach the simulation that the suite works with. */
let sim: SimDriver["Service"] | undefined
let faults: Faults["Service"] | undefined

const layer = Layer.effect(
  SandboxDriver,
  Effect.gen(function* () {
    sim = yield* SimDriver
    faults = yield* Faults
    return yield* SandboxDriver
  })
).pipe(Layer.provide(SimDriver.layer()))

const literal = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")

process.env["SIM_CONFORMANCE_VARIABLE"] = "of the host"

driverConformance("SimDriver", layer, {
  image: "base",
  // The machine may have much else to do.
  timeLimit: "1 minute",
  capabilities: {
    home: true,
    permissions: true,
    additionalFds: true,
    commandConfinement: true,
    processIsolation: true
  },
  kill: ({ spec }) => Effect.suspend(() => sim?.kill(spec.sandboxId) ?? Effect.void),
  freeze: ({ spec }) =>
    Effect.suspend(
      () =>
        faults?.add({
          at: ["ping", "reset", "spawn", "exit", "file"],
          sandbox: literal(spec.sandboxId),
          how: { _tag: "Hang" }
        }) ?? Effect.void
    ),
  alive: Effect.sync(() => [
    ...(sim?.alive() ?? []),
    ...Object.entries(sim?.resources() ?? {}).flatMap(([what, count]) => (count === 0 ? [] : [`${count} ${what}`]))
  ]),
  // There is no host that a simulated sandbox could reach.
  hostFile: { path: "/secret-of-the-host", read: Effect.succeed("3b5c8f0e-9a55-4a0f-8a67-6f7f0a4e5d21") },
  hostVariable: "SIM_CONFORMANCE_VARIABLE"
})
