/**
 * A capability plugged into sandboxes, or into the host: an ordinary service key plus a recipe that makes the service.
 *
 * `setup` runs once per sandbox (or once per environment for a host feature) and its finalizers are the teardown; the
 * `session` that it returns runs once per session, makes the service, and its finalizers are the session's teardown.
 * Inside, Effect's own `FileSystem`, `Path` and `ChildProcessSpawner` are those of the sandbox.
 *
 * ```ts
 * import { Context, Effect } from "effect"
 * import { Feature, Sandbox } from "@effect-sandbox/core"
 *
 * class Greeter extends Context.Service<Greeter, {
 *   readonly greet: Effect.Effect<string>
 * }>()("app/Greeter") {
 *   static readonly feature = Feature.make(Greeter, {
 *     images: ["base.*"],
 *     setup: Effect.gen(function*() {
 *       const sandbox = yield* Sandbox
 *       yield* Effect.acquireRelease(Effect.void, () => Effect.logDebug("torn down"))
 *       return { session: Effect.succeed(Greeter.of({ greet: Effect.succeed(`hello from ${sandbox.id}`) })) }
 *     })
 *   })
 * }
 * ```
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import { FeatureId } from "./Id.ts"
import type { Sandbox } from "./Sandbox.ts"

const TypeId = "~@effect-sandbox/core/Feature"

/**
 * What the setup and the sessions of a sandbox feature may use without asking the environment's layer for it. (Not
 * `Session`: with proactive setup a session is set up before anyone has asked for it.)
 */
export type SetupServices = Sandbox | FileSystem.FileSystem | Path.Path | ChildProcessSpawner | Scope.Scope

/**
 * A feature that provides `Id`, may fail with `E`, and needs `R` from the environment's layer.
 */
export interface Feature<out Id, out E, out R, out Kind extends "sandbox" | "host" = "sandbox"> {
  readonly [TypeId]: {
    readonly id: (_: never) => Id
    readonly error: (_: never) => E
    readonly context: (_: never) => R
  }
  readonly id: FeatureId
  /** Whether it lives in a sandbox or beside them (H4). */
  readonly kind: Kind
  /** The key of the service it provides. */
  readonly key: string
  /** Regular expressions; the feature applies to images whose whole id matches one of them. */
  readonly images: ReadonlyArray<string>
  /** How often its housekeeping runs; never when undefined (H1). */
  readonly housekeepInterval: Duration.Input | undefined
  readonly setup: Effect.Effect<Active, unknown, unknown>
}

/** A feature of any kind. */
export type Any = Feature<unknown, unknown, unknown, "sandbox" | "host">

/** A feature that was set up. */
export interface Active {
  /** One session: makes the service, adds what takes it down to the scope, and gives what adds it to a context. */
  readonly session: Effect.Effect<(context: Context.Context<never>) => Context.Context<never>, unknown, unknown>
  readonly housekeep: Effect.Effect<unknown, unknown, unknown> | undefined
}

/** The service identifiers that some features provide. */
export type Id<F> = F extends Feature<infer I, unknown, unknown, "sandbox" | "host"> ? I : never

/** The errors that their setups and sessions fail with. */
export type Error<F> = F extends Feature<unknown, infer E, unknown, "sandbox" | "host"> ? E : never

/** The service identifiers of those that live beside the sandboxes. */
export type HostId<F> = F extends Feature<infer I, unknown, unknown, "host"> ? I : never

/** What they need from the environment's layer. */
export type Services<F> = F extends Feature<unknown, unknown, infer R, "sandbox" | "host"> ? R : never

/** The recipe of a feature. */
export interface Recipe<S, E1, R1, E2, R2, E3, R3> {
  /** The feature's name. Default: the key of the service. */
  readonly id?: string | undefined
  /** How often `housekeep` runs. Default: never. */
  readonly housekeepInterval?: Duration.Input | undefined
  /** Once per sandbox; finalizers are the teardown. */
  readonly setup: Effect.Effect<
    {
      /** Once per session; finalizers are the session's teardown. */
      readonly session: Effect.Effect<S, E2, R2>
      /** Checks that the feature still works; a failure takes the sandbox offline (H1). */
      readonly housekeep?: Effect.Effect<unknown, E3, R3> | undefined
    },
    E1,
    R1
  >
}

/** A type that comes from the recipe alone, never from where the feature is put. */
type Own<T> = T extends infer U ? U : never

const build = <const Kind extends "sandbox" | "host", Id, S, E1, R1, E2, R2, E3, R3>(
  kind: Kind,
  key: Context.Key<Id, S>,
  images: ReadonlyArray<string>,
  recipe: Recipe<S, E1, R1, E2, R2, E3, R3>
) => {
  const phantom = (_: never): never => _
  return {
    [TypeId]: { id: phantom, error: phantom, context: phantom },
    id: FeatureId.make(recipe.id ?? key.key),
    kind,
    key: key.key,
    images,
    housekeepInterval: recipe.housekeepInterval,
    setup: Effect.map(recipe.setup, (active): Active => ({
      session: Effect.map(
        active.session,
        (service) => (context: Context.Context<never>) => Context.add(context, key, service)
      ),
      housekeep: active.housekeep
    }))
  }
}

/**
 * A feature of sandboxes.
 *
 * `images` are regular expressions matched against the whole image id. Default: every image.
 */
export const make = <Id, S, E1, R1, E2, R2, E3 = never, R3 = never>(
  key: Context.Key<Id, S>,
  recipe: Recipe<S, E1, R1, E2, R2, E3, R3> & { readonly images?: ReadonlyArray<string> | undefined }
): Feature<Id, Own<E1 | E2>, Own<Exclude<R1 | R2 | R3, SetupServices>>> =>
  build("sandbox", key, recipe.images ?? [".*"], recipe)

/**
 * A feature of the host: set up when the environment starts and torn down after the last sandbox (H4). Its `session`
 * runs once for each session, beside the sandbox, and knows nothing of it.
 */
export const host = <Id, S, E1, R1, E2, R2, E3 = never, R3 = never>(
  key: Context.Key<Id, S>,
  recipe: Recipe<S, E1, R1, E2, R2, E3, R3>
): Feature<Id, Own<E1 | E2>, Own<Exclude<R1 | R2 | R3, Scope.Scope>>, "host"> => build("host", key, [], recipe)

/** Whether a feature applies to an image. Host features belong to every session. */
export const appliesTo = (feature: Any, image: string): boolean =>
  feature.kind === "host" || feature.images.some((pattern) => new RegExp(`^(?:${pattern})$`).test(image))
