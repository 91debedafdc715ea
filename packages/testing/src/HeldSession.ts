/**
 * Sessions that last as long as a test wants: for waiting lines, for ends of environments under their sessions, and for
 * everything else that needs a sandbox to be busy.
 *
 * ```ts
 * import { assert, it } from "@effect/vitest"
 * import { Effect } from "effect"
 * import { Environment } from "@effect-sandbox/core"
 * import { HeldSession, SimDriver } from "@effect-sandbox/testing"
 *
 * it.effect("the second caller waits for the first", () =>
 *   Effect.gen(function*() {
 *     const lab = yield* Environment.make({ images: ["base"], pool: 1 })
 *     const first = yield* HeldSession.open(lab)
 *     const second = yield* HeldSession.open(lab)
 *     const sandboxId = yield* first.isInside
 *     assert.isUndefined(second.sandboxId())
 *     yield* first.end
 *     assert.strictEqual(yield* second.isInside, sandboxId)
 *   }).pipe(Effect.scoped, Effect.provide(SimDriver.layer())))
 * ```
 */
import type * as Environment from "@effect-sandbox/core/Environment"
import type { SandboxId } from "@effect-sandbox/core/Id"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Turns from "./Turns.ts"

export interface HeldSession<F> {
  /** The fiber of its user; ends with the id of the sandbox. */
  readonly fiber: Fiber.Fiber<SandboxId, Environment.WithSessionError<F>>
  /** The sandbox it is in, once it is in one. */
  readonly sandboxId: () => SandboxId | undefined
  /** How it ended, once it has. */
  readonly exit: () => Exit.Exit<SandboxId, Environment.WithSessionError<F>> | undefined
  /** Waits until it is in a sandbox, which it gives, or has ended without one. Time does not pass. */
  readonly isInside: Effect.Effect<SandboxId | undefined, Turns.NeverError>
  /** Ends its body, and then itself. Does not wait for that. */
  readonly release: Effect.Effect<void>
  /** The same, and waits until it has ended; gives how. */
  readonly end: Effect.Effect<Exit.Exit<SandboxId, Environment.WithSessionError<F>>>
}

/** Asks for a session and holds it until it is released. Closing the scope interrupts its user. */
export const open = <F>(
  environment: Environment.Environment<F>,
  options: Environment.SessionOptions = {}
): Effect.Effect<HeldSession<F>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const released = Deferred.makeUnsafe<void>()
    let inside: SandboxId | undefined
    const use = Effect.gen(function* () {
      const session = yield* environment.session(options)
      inside = session.sandboxId
      yield* session.run(Deferred.await(released))
      yield* session.close
      return session.sandboxId
    })
    const fiber = yield* Effect.forkScoped(Effect.scoped(use), { startImmediately: true })
    const release = Effect.asVoid(Deferred.succeed(released, undefined))
    return {
      fiber,
      sandboxId: () => inside,
      exit: () => fiber.pollUnsafe(),
      isInside: Effect.map(
        Turns.until("a session is in a sandbox", () => inside !== undefined || fiber.pollUnsafe() !== undefined),
        () => inside
      ),
      release,
      end: Effect.andThen(release, Fiber.await(fiber))
    }
  })
