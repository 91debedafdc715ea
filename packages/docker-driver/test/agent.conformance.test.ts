/* oxlint-disable vitest/no-conditional-tests, vitest/no-disabled-tests -- what cannot be had here is shown as skipped */
/** The conformance suite on the agent as a process of this machine. */
import { driverConformance } from "@effect-sandbox/testing/vitest"
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as LocalAgent from "./support/LocalAgent.ts"

if (LocalAgent.missing !== undefined) {
  describe("the agent on this machine", () => {
    it.skip(`cannot be checked here: ${LocalAgent.missing}`, () => {})
  })
} else {
  const machine = LocalAgent.makeMachine()
  driverConformance("the agent on this machine", LocalAgent.layer(machine), {
    image: "shell",
    capabilities: { home: true, permissions: true, additionalFds: true, processIsolation: true },
    kill: ({ spec }) => LocalAgent.kill(machine, spec.sandboxId),
    freeze: ({ spec }) => Effect.sync(() => process.kill(LocalAgent.agentPid(machine, spec.sandboxId), "SIGSTOP")),
    alive: Effect.sync(() => LocalAgent.alive(machine)),
    hostVariable: "HOST_SECRET",
    user: { name: "nobody", uid: 65_534 }
  })
}
