/** A sandbox whose agent has been reached: what every container is to the environment, whatever made it. */
import type { SandboxId } from "@effect-sandbox/core/Id"
import type { SandboxInstance } from "@effect-sandbox/core/SandboxDriver"
import { SandboxStateError } from "@effect-sandbox/core/SandboxError"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { errnoText } from "../protocol/errno.ts"
import { hostFrame } from "../protocol/frames.ts"
import { Writer } from "../protocol/payload.ts"
import * as connections from "./connection.ts"
import type { ConnectionEnded } from "./connectionEnd.ts"
import { make as makeFileSystem } from "./fileSystem.ts"
import { nothing } from "./files.ts"
import { run } from "./operation.ts"
import { make as makeSpawner } from "./spawner.ts"

export interface Options {
  readonly sandboxId: SandboxId
  readonly transport: connections.Transport
  readonly hello: connections.Hello
  /** Where temporary files go. Default: `TMPDIR` of the environment, or `/tmp`. */
  readonly temporary?: string | undefined
  /** From the polite signal to the final one when a command has to be killed. Default: 2 seconds. */
  readonly forceKillAfter?: Duration.Input | undefined
  /**
   * Finds out why the connection has ended by itself; nothing fails before that is known, or a second has passed.
   * Default: what the connection says.
   */
  readonly explainEnd?: ((end: ConnectionEnded) => Effect.Effect<string | undefined>) | undefined
}

export interface AgentInstance extends Pick<
  SandboxInstance,
  "awaitDeath" | "capabilities" | "fileSystem" | "home" | "ping" | "reset" | "spawner" | "workdir"
> {
  readonly connection: connections.Connection
}

const explanationLimit = "1 second"

/** Speaks with the agent until the scope closes. */
export const make = (options: Options): Effect.Effect<AgentInstance, SandboxStateError, Scope.Scope> =>
  Effect.gen(function* () {
    const { hello, sandboxId, transport } = options
    const died = Deferred.makeUnsafe<never, SandboxStateError>()
    let death: SandboxStateError | undefined
    let isCreated = false
    const stateError = (operation: string, end: ConnectionEnded) =>
      death ?? new SandboxStateError({ sandboxId, operation, description: end.message, cause: end })

    const onEnd = (end: ConnectionEnded) =>
      Effect.gen(function* () {
        const explained = options.explainEnd?.(end) ?? Effect.succeed(undefined)
        const known = yield* Effect.option(Effect.timeoutOption(Effect.exit(explained), explanationLimit))
        const exit = known._tag === "Some" && known.value._tag === "Some" ? known.value.value : undefined
        const reason = exit !== undefined && Exit.isSuccess(exit) ? exit.value : undefined
        death = new SandboxStateError({
          sandboxId,
          operation: isCreated ? "run" : "create",
          description: reason === undefined ? end.message : `${reason} (${end.message})`,
          cause: end
        })
        Deferred.doneUnsafe(died, Exit.fail(death))
      })

    const connection = yield* Effect.mapError(connections.make({ transport, hello, onEnd }), (end) =>
      stateError("create", end)
    )
    isCreated = true
    const { fileSystem, forgetSessionFiles } = makeFileSystem({
      connection,
      workdir: hello.workdir,
      temporary: options.temporary ?? hello.environment["TMPDIR"] ?? "/tmp"
    })
    const reset = Effect.suspend(() => {
      forgetSessionFiles()
      return run(connection, { type: hostFrame.reset, detail: 0, payload: new Writer(), result: nothing })
    })
    return {
      connection,
      spawner: makeSpawner({ connection, environment: hello.environment, forceKillAfter: options.forceKillAfter }),
      fileSystem,
      workdir: hello.workdir,
      home: hello.home,
      capabilities: { user: true },
      ping: Effect.mapError(connection.ping, (end) => stateError("ping", end)),
      reset: Effect.mapError(reset, (failure) => {
        if (failure._tag === "ConnectionEnded") return stateError("reset", failure)
        const description =
          failure._tag === "Reset"
            ? "the agent gave the reset up"
            : [failure.message, failure.errno === 0 ? "" : errnoText(failure.errno)]
                .filter((part) => part !== "")
                .join(": ")
        return new SandboxStateError({ sandboxId, operation: "reset", description })
      }),
      awaitDeath: Deferred.await(died)
    }
  })
