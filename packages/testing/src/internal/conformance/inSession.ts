/** The short ways of checks that run in a session of the core's environment. */
import type * as Command from "@effect-sandbox/core/Command"
import type { SessionServices } from "@effect-sandbox/core/Environment"
import { Sandbox } from "@effect-sandbox/core/Sandbox"
import * as Effect from "effect/Effect"
import type { Bench } from "./bench.ts"
import type { Subject } from "./subject.ts"

export const exited = (code: number): Command.Outcome => ({ _tag: "Exited", code })

/** Runs a script of the shell by `exec`. */
export const sh = (script: string, options: Command.Options = {}) =>
  Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("sh", ["-c", script], options))

/** Runs a body in a session; it is given the sandbox from the driver's side as well. */
export const inSession = <E>(bench: Bench, body: (sandbox: Subject) => Effect.Effect<void, E, SessionServices>) =>
  Effect.gen(function* () {
    const lab = yield* bench.environment()
    yield* lab.withSession(
      {},
      Effect.flatMap(lab.latest, (running) => body(bench.subject(running)))
    )
  })
