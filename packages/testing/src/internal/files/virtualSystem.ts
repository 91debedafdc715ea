/** How an operation becomes a system call: who asks is found out, and then it happens at once. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type { ViewOptions } from "../../VirtualFileSystem.ts"
import { type Answer, badArgument, refuse, toPlatformError } from "./virtualError.ts"
import { superuser } from "./virtualNode.ts"
import type { Moment } from "./virtualOpen.ts"
import type { Caller } from "./virtualPath.ts"
import type { Volume } from "./virtualVolume.ts"

export interface System {
  readonly volume: Volume
  readonly caller: Effect.Effect<Caller>
  /** Makes a system call, whose refusal becomes an error about this path. */
  readonly call: <A>(
    method: string,
    path: string,
    run: (caller: Caller) => Answer<A>,
    otherPath?: string
  ) => Effect.Effect<A, PlatformError>
}

/** The clock and the randomness of whoever runs it. */
export const moment: Effect.Effect<Moment> = Effect.withFiberSucceed((fiber) => ({
  now: fiber.getRef(Clock.Clock).currentTimeMillisUnsafe(),
  random: fiber.getRef(Random.Random)
}))

/** The answer of a system call as an effect. */
export const toEffect = <A>(
  method: string,
  pathOrDescriptor: string | number,
  answer: Answer<A>
): Effect.Effect<A, PlatformError> =>
  Effect.fromResult(Result.mapError(answer, (refusal) => toPlatformError(method, pathOrDescriptor, refusal)))

export const make = (volume: Volume, options: ViewOptions): System => {
  const umask = options.umask ?? 0o022
  const workdir = volume.path.resolve("/", options.workdir ?? "/")
  const caller = Effect.zipWith(options.user ?? Effect.succeed(superuser), moment, (user, moment) => ({
    user,
    umask,
    workdir,
    ...moment
  }))
  return {
    volume,
    caller,
    call: (method, path, run, otherPath = "") => {
      const hasNull = path.includes("\0") || otherPath.includes("\0")
      // A path of the system ends there. Node's `readdir` says so by an error as if of the system.
      const refused = method.startsWith("readDirectory") ? refuse("EINVAL") : badArgument("a path has a null byte")
      return Effect.flatMap(caller, (caller) => toEffect(method, path, hasNull ? refused : run(caller)))
    }
  }
}
