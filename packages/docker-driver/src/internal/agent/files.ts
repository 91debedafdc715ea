/** File operations as the agent knows them: what is asked for, on whose behalf, and how a refusal is told. */
import { CallLifetime } from "@effect-sandbox/core/SandboxDriver"
import * as Effect from "effect/Effect"
import * as PlatformError from "effect/PlatformError"
import { errorStage, hostFrame } from "../protocol/frames.ts"
import { type Reader, Writer } from "../protocol/payload.ts"
import type { Connection } from "./connection.ts"
import { toPlatformError } from "./connectionEnd.ts"
import { type Failure, Operation, type Options, run } from "./operation.ts"
import { systemError } from "./systemError.ts"

export type Lifetime = (typeof CallLifetime)["Service"]

/** What an operation is about, for its errors. */
export interface Subject {
  readonly method: string
  readonly path: string | number
  readonly otherPath?: string | undefined
  /** The tag of a refusal that Node's platform does not tell by the system's number. Default: by that number. */
  readonly tag?: ((errno: number) => PlatformError.SystemErrorTag | undefined) | undefined
}

export interface Request<A> extends Subject {
  readonly operation: number
  readonly fields: (writer: Writer) => Writer
  readonly result: (reader: Reader) => A
}

type Streams = Pick<Options<unknown>, "onEvent" | "reads" | "writes">

export const badArgument = (method: string, description: string): PlatformError.PlatformError =>
  PlatformError.badArgument({ module: "FileSystem", method, description })

export const toError =
  ({ method, otherPath, path, tag }: Subject) =>
  (failure: Failure): PlatformError.PlatformError => {
    if (failure._tag === "ConnectionEnded") return toPlatformError(method, failure)
    if (failure._tag === "Reset") {
      return PlatformError.systemError({
        _tag: "BadResource",
        module: "FileSystem",
        method,
        pathOrDescriptor: path,
        description: "the sandbox was reset meanwhile"
      })
    }
    const { errno, message, stage } = failure
    const about = stage === errorStage.secondPath && otherPath !== undefined ? `(${otherPath}) ${message}` : message
    return systemError({
      module: "FileSystem",
      method,
      pathOrDescriptor: path,
      errno,
      message: about,
      tag: tag?.(errno)
    })
  }

/** On whose behalf: what belongs to the sandbox itself may do more, and outlives resets. */
export const detailOf = (lifetime: Lifetime): number => (lifetime === "sandbox" ? 1 : 0)

/** Starts an operation, which whoever starts it has to see to its end. */
export const start = <A>(
  connection: Connection,
  request: Request<A>,
  lifetime: Lifetime,
  streams: Streams = {}
): Operation<A> =>
  new Operation(connection, {
    ...optionsOf(request, lifetime),
    ...streams
  })

const optionsOf = <A>(request: Request<A>, lifetime: Lifetime): Options<A> => ({
  type: hostFrame.file,
  detail: detailOf(lifetime),
  payload: request.fields(new Writer().u8(request.operation)),
  result: request.result,
  toStreamError: toError(request)
})

/** Runs an operation without streams. Default of the lifetime: the caller's. */
export const call = <A>(
  connection: Connection,
  request: Request<A>,
  lifetime?: Lifetime
): Effect.Effect<A, PlatformError.PlatformError> =>
  Effect.withFiber((fiber) => {
    const refused = refusePath(request)
    if (refused !== undefined) return Effect.fail(refused)
    const options = optionsOf(request, lifetime ?? fiber.getRef(CallLifetime))
    return Effect.mapError(run(connection, options), toError(request))
  })

/** A path of the system ends at a NUL. */
export const refusePath = ({ method, otherPath, path }: Subject): PlatformError.PlatformError | undefined => {
  const hasNul = (typeof path === "string" && path.includes("\0")) || otherPath?.includes("\0") === true
  if (!hasNul) return undefined
  return method.startsWith("readDirectory")
    ? // As Node's `readdir` says it.
      PlatformError.systemError({
        _tag: "Unknown",
        module: "FileSystem",
        method,
        pathOrDescriptor: path,
        description: "a path has a null byte"
      })
    : badArgument(method, "a path has a null byte")
}

export const nothing = (): void => undefined
