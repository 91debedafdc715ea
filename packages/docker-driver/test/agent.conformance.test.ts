/** The conformance suite on the agent as a process of this machine. */
import { driverConformance } from "@effect-sandbox/testing/vitest"
import { afterAll, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import * as LocalAgent from "./support/LocalAgent.ts"

if (LocalAgent.missing !== undefined) {
  describe.skip(`the agent on this machine [${LocalAgent.missing}]`, () => {
    it("conforms", () => undefined)
  })
} else {
  const scope = Scope.makeUnsafe()
  const machine = Effect.runSync(Scope.provide(LocalAgent.makeMachine, scope))
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

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
