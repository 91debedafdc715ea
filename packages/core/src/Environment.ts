/**
 * An environment keeps pools of sandboxes, one pool per image, heals them, and hands out sessions.
 *
 * There are two ways to have one: as a service (`class Lab extends Environment.Service<Lab>()("app/Lab", options) {}`,
 * with `Lab.layer`), and as a scoped value (`Environment.make(options)`). And two ways to a session, with the same
 * behaviour: `withSession`, and the scoped `session`.
 *
 * ```ts
 * import { Effect, FileSystem } from "effect"
 * import { Environment, Sandbox } from "@effect-sandbox/core"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"], pool: { min: 1, max: 4 } }) {}
 *
 * const program = Lab.withSession({ image: "base" }, Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   yield* fs.writeFileString("greeting.txt", "hello")
 *   const sandbox = yield* Sandbox
 *   return (yield* sandbox.exec("cat", ["greeting.txt"])).stdout
 * }))
 * // program.pipe(Effect.provide(Lab.layer), Effect.provide(LocalDriver.layer()), …)
 * ```
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Path from "effect/Path"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as EnvironmentConfig from "./EnvironmentConfig.ts"
import type { EnvironmentControl, ImageStats, Stats } from "./EnvironmentControl.ts"
import type * as Feature from "./Feature.ts"
import type { ImageId, SandboxId, SessionId } from "./Id.ts"
import { type Restore, typed } from "./internal/engine.ts"
import * as environmentRuntime from "./internal/environmentRuntime.ts"
import type { SessionRuntime } from "./internal/sandboxRuntime.ts"
import * as span from "./internal/span.ts"
import type { Sandbox } from "./Sandbox.ts"
import type { SandboxDriver } from "./SandboxDriver.ts"
import type {
  DuplicateSessionError,
  EnvironmentClosedError,
  EnvironmentOutageError,
  EnvironmentOverloadError,
  FeatureNotApplicableError,
  FeatureTeardownError,
  InvalidConfigurationError,
  SandboxStateError,
  SessionEndedError,
  SessionLimitError,
  SessionTeardownError,
  UnknownImageError,
  UnknownSandboxError
} from "./SandboxError.ts"
import type { SandboxEvent } from "./SandboxEvent.ts"
import type { Session } from "./Session.ts"
import type { EnvironmentStatus } from "./SandboxStatus.ts"

export type { ImageStats, Stats }

/** What every session provides, whatever its features. */
export type SessionServices = Sandbox | Session | FileSystem.FileSystem | Path.Path | ChildProcessSpawner

/** What the use of one feature is given: a whole session, or for a host feature only itself. */
export type FeatureProvides<F, Id> = [Id] extends [Feature.HostId<F>] ? Id : SessionServices | Feature.Id<F>

/** Why no session could be had. */
export type AcquireError =
  | SandboxStateError
  | EnvironmentOutageError
  | EnvironmentOverloadError
  | EnvironmentClosedError
  | UnknownImageError
  | FeatureNotApplicableError
  | DuplicateSessionError

/** Why a session ended under its body. */
export type InterruptError = SandboxStateError | SessionLimitError | EnvironmentClosedError | SessionEndedError

/** Which session is wanted. */
export interface SessionOptions {
  /** Default: the first of the environment's images. */
  readonly image?: string | undefined
  /** A name for the session; must not be in use (S2). Default: a fresh one. */
  readonly id?: string | undefined
  /** Features that the image must have: the first image that has them, or `FeatureNotApplicableError`. */
  readonly features?: ReadonlyArray<Feature.Any> | undefined
}

/** A session as a scoped resource: it ends when its scope closes. */
export interface ActiveSession<F> {
  readonly id: SessionId
  readonly sandboxId: SandboxId
  readonly image: ImageId
  /** The services in the sandbox and those of the features that apply to the image. */
  readonly context: Context.Context<SessionServices | Feature.Id<F>>
  /**
   * Runs an effect in the session. When the sandbox dies or a limit ends the session, the effect is interrupted at
   * once and the reason is the error (S4, S6).
   */
  readonly run: <A, E, R>(
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | InterruptError, Exclude<R, SessionServices | Feature.Id<F>>>
  /** Ends the session before its scope does. */
  readonly close: Effect.Effect<void, SessionTeardownError | FeatureTeardownError>
}

/** What can be done with an environment whose features are `F`. */
export interface Environment<F> extends EnvironmentControl {
  /** A session as a scoped resource. */
  readonly session: (
    options?: SessionOptions
  ) => Effect.Effect<ActiveSession<F>, AcquireError | Feature.Error<F>, Scope.Scope>
  /** Runs an effect in a session of its own and ends the session afterwards, whatever happens. */
  readonly withSession: <A, E, R>(
    options: SessionOptions,
    body: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | WithSessionError<F>, Exclude<R, SessionServices | Feature.Id<F>>>
  /**
   * Runs `use` in a session on the first image that the feature applies to; for a host feature without a sandbox, unless
   * an image is asked for.
   */
  readonly withFeature: <Id extends Feature.Id<F>, S, A, E, R>(
    key: Context.Key<Id, S>,
    use: (service: S) => Effect.Effect<A, E, R>,
    options?: Omit<SessionOptions, "features">
  ) => Effect.Effect<A, E | WithSessionError<F>, Exclude<R, FeatureProvides<F, Id>>>
  /** The events from now on. */
  readonly events: Stream.Stream<SandboxEvent>
}

/** Everything that `withSession` adds to the errors of its body. */
export type WithSessionError<F> =
  | AcquireError
  | InterruptError
  | SessionTeardownError
  | FeatureTeardownError
  | Feature.Error<F>

/** Why an environment could not be started. */
export type StartError<F> =
  | InvalidConfigurationError
  | EnvironmentOutageError
  | EnvironmentClosedError
  | Feature.Error<F>

type FeatureOf<F extends ReadonlyArray<Feature.Any>> = F[number]

/** Makes an environment that lives as long as the scope. */
export const make = <const F extends ReadonlyArray<Feature.Any> = readonly []>(
  options: EnvironmentConfig.Options<F>
): Effect.Effect<
  Environment<FeatureOf<F>>,
  StartError<FeatureOf<F>>,
  SandboxDriver | Scope.Scope | Feature.Services<FeatureOf<F>>
> =>
  typed(
    Effect.flatMap(EnvironmentConfig.resolve(options), (config) =>
      Effect.map(environmentRuntime.make(config), (runtime) => facade<FeatureOf<F>>(runtime))
    )
  )

const facade = <F>(runtime: environmentRuntime.EnvironmentRuntime): Environment<F> => {
  type Provided = SessionServices | Feature.Id<F>

  const acquire = (options: SessionOptions, restore: Restore) =>
    typed<SessionRuntime, AcquireError | Feature.Error<F>, never>(runtime.openSession(options, restore))

  /** Acquires; when spans are collected, one spans the whole session: acquire, set-up, activities and teardown. */
  const open = (options: SessionOptions, restore: Restore) =>
    Effect.withFiber<SessionRuntime, AcquireError | Feature.Error<F>>((fiber) => {
      if (!span.isTraced(fiber)) return acquire(options, restore)
      const attributes = { "sandbox.environment.id": runtime.config.id }
      return Effect.flatMap(Effect.makeSpan("session", { attributes }), (whole) => {
        const acquired = span.around(acquire(options, restore), "session.acquire", () => attributes)
        return Effect.onExit(span.below(whole, acquired), (exit) =>
          Effect.sync(() => {
            if (Exit.isFailure(exit)) span.end(runtime, whole, exit)
            else exit.value.traceWith(whole)
          })
        )
      })
    })

  const inSession = <A, E, R>(
    session: SessionRuntime,
    body: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | InterruptError, Exclude<R, Provided>> =>
    session.run<A, E, Exclude<R, Provided>>(
      Effect.provideContext(body, session.context as Context.Context<Provided>) // filled by the features in `F`
    )

  /** Ends a session after its body. The body's own error comes first (X6). */
  const end = <A, E>(
    session: SessionRuntime,
    exit: Exit.Exit<A, E>
  ): Effect.Effect<A, E | SessionTeardownError | FeatureTeardownError> =>
    Effect.flatMap(
      session.end(Exit.isFailure(exit) ? exit.cause : undefined),
      (error): Effect.Effect<A, E | SessionTeardownError | FeatureTeardownError> =>
        Exit.isSuccess(exit) && error !== undefined ? Effect.fail(error) : exit
    )

  const withSession = <A, E, R>(
    options: SessionOptions,
    body: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | WithSessionError<F>, Exclude<R, Provided>> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(open(options, restore), (session) =>
        Effect.flatMap(Effect.exit(restore(inSession(session, body))), (exit) => end(session, exit))
      )
    )

  const session: Environment<F>["session"] = (options = {}) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const scope = yield* Scope.Scope
        const active = yield* open(options, restore)
        const { id } = active
        if (id === undefined) return yield* Effect.die(new Error("an open session has an id"))
        let isClosed = false
        yield* Scope.addFinalizerExit(scope, (exit) =>
          Effect.flatMap(
            active.end(Exit.isFailure(exit) ? exit.cause : undefined),
            // X6: raised as a defect, and only when nothing else is on its way to the caller.
            (error) => (error !== undefined && Exit.isSuccess(exit) && !isClosed ? Effect.die(error) : Effect.void)
          )
        )
        return {
          id,
          sandboxId: active.sandbox.id,
          image: active.sandbox.pool.image,
          context: active.context as Context.Context<Provided>, // filled by the features in `F`
          run: (effect) => inSession(active, effect),
          close: Effect.flatMap(active.end(undefined), (error) => {
            isClosed = true // the error has been told
            return error === undefined ? Effect.void : Effect.fail(error)
          })
        }
      })
    )

  const withFeature = <Id extends Feature.Id<F>, S, A, E, R>(
    key: Context.Key<Id, S>,
    use: (service: S) => Effect.Effect<A, E, R>,
    options: Omit<SessionOptions, "features"> = {}
  ): Effect.Effect<A, E | WithSessionError<F>, Exclude<R, FeatureProvides<F, Id>>> => {
    const feature = runtime.config.features.find((one) => one.key === key.key)
    const body = Effect.flatMap(key, use)
    if (feature?.kind !== "host" || options.image !== undefined) {
      // `Id` is one of `Provided`, which the compiler cannot see through `Exclude`.
      return typed(withSession<A, E, R | Id>({ ...options, features: feature === undefined ? [] : [feature] }, body))
    }
    return typed(
      Effect.flatMap(Effect.context<Exclude<R, FeatureProvides<F, Id>>>(), (context) =>
        runtime.withHost(feature.id, (provided) =>
          // Filled by the host feature and by the caller.
          Effect.provideContext(typed<A, E, never>(body), Context.merge(context, provided))
        )
      )
    )
  }

  return { ...runtime.control, session, withSession, withFeature, events: runtime.hub.events() }
}

/** The statics of an environment's service class. */
export interface ServiceStatics<Self, F extends Feature.Any> {
  /** What it was declared with, its id filled in: for layers of one's own, such as those of tests. */
  readonly options: EnvironmentConfig.Options<ReadonlyArray<F>> & { readonly id: string }
  /** Starts the environment, and shuts it down when the layer closes. */
  readonly layer: Layer.Layer<Self, StartError<F>, SandboxDriver | Feature.Services<F>>
  /** The same with settings from `Config`, which go before those in the code. Default: `EnvironmentConfig.config`. */
  readonly layerConfig: (
    config?: Config.Config<EnvironmentConfig.Settings>
  ) => Layer.Layer<Self, StartError<F> | Config.ConfigError, SandboxDriver | Feature.Services<F>>
  /** The same with some options changed, for tests and other places. */
  readonly layerWith: (
    options: Omit<EnvironmentConfig.Options, "features">
  ) => Layer.Layer<Self, StartError<F>, SandboxDriver | Feature.Services<F>>
  readonly session: (
    options?: SessionOptions
  ) => Effect.Effect<ActiveSession<F>, AcquireError | Feature.Error<F>, Self | Scope.Scope>
  readonly withSession: <A, E, R>(
    options: SessionOptions,
    body: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | WithSessionError<F>, Self | Exclude<R, SessionServices | Feature.Id<F>>>
  readonly withFeature: <Id extends Feature.Id<F>, S, A, E, R>(
    key: Context.Key<Id, S>,
    use: (service: S) => Effect.Effect<A, E, R>,
    options?: Omit<SessionOptions, "features">
  ) => Effect.Effect<A, E | WithSessionError<F>, Self | Exclude<R, FeatureProvides<F, Id>>>
  readonly stats: Effect.Effect<Stats, never, Self>
  readonly status: Effect.Effect<EnvironmentStatus, never, Self>
  readonly events: Stream.Stream<SandboxEvent, never, Self>
  readonly drain: Effect.Effect<void, never, Self>
  readonly recycle: (sandboxId: string) => Effect.Effect<void, UnknownSandboxError, Self>
  readonly shutdown: Effect.Effect<void, never, Self>
}

/** The class of an environment as a service, made by `Environment.Service`. */
export type ServiceClass<Self, Key extends string, F extends Feature.Any> = Context.ServiceClass<
  Self,
  Key,
  Environment<F>
> &
  ServiceStatics<Self, F>

/**
 * Declares an environment as a service whose type knows its features.
 *
 * ```ts
 * import { Environment } from "@effect-sandbox/core"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", {
 *   images: ["python:3.12", "node:24"],
 *   pool: { "python:.*": { min: 4, max: 64 }, ".*": { min: 0, max: 16 } },
 *   outageGracePeriod: "5 minutes"
 * }) {}
 * ```
 */
export const Service =
  <Self>() =>
  <const Key extends string, const F extends ReadonlyArray<Feature.Any> = readonly []>(
    key: Key,
    options: EnvironmentConfig.Options<F>
  ): ServiceClass<Self, Key, FeatureOf<F>> => {
    type Features = FeatureOf<F>
    const named = { ...options, id: options.id ?? key }
    const service = Context.Service<Self, Environment<Features>>()(key)
    const layerOf = (all: EnvironmentConfig.Options<F>) => Layer.effect(service, make(all))
    const use = <A, E, R>(f: (environment: Environment<Features>) => Effect.Effect<A, E, R>) =>
      Effect.flatMap(service, f)
    const statics: ServiceStatics<Self, Features> = {
      options: named,
      layer: layerOf(named),
      layerConfig: (config = EnvironmentConfig.config) =>
        Layer.unwrap(Effect.map(config, (settings) => layerOf({ ...named, ...settings }))),
      layerWith: (changes) => layerOf({ ...named, ...changes }),
      session: (sessionOptions) => use((environment) => environment.session(sessionOptions)),
      withSession: (sessionOptions, body) => use((environment) => environment.withSession(sessionOptions, body)),
      withFeature: (feature, body, sessionOptions) =>
        use((environment) => environment.withFeature(feature, body, sessionOptions)),
      stats: use((environment) => environment.stats),
      status: use((environment) => environment.status),
      events: Stream.unwrap(Effect.map(service, (environment) => environment.events)),
      drain: use((environment) => environment.drain),
      recycle: (sandboxId) => use((environment) => environment.recycle(sandboxId)),
      shutdown: use((environment) => environment.shutdown)
    }
    return Object.assign(service, statics)
  }
