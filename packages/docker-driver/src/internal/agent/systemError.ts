/** Refusals of the system inside as errors of the platform, which are those that Node's platform gives. */
import * as PlatformError from "effect/PlatformError"
import * as Schema from "effect/Schema"
import { errnoName, errnoNumber, errnoText, type Errno } from "../protocol/errno.ts"

/** The `cause` of a `PlatformError` that the system inside has raised. */
export class SystemCallError extends Schema.TaggedError<SystemCallError>()("SystemCallError", {
  /** `ENOENT`, `EACCES`, … */
  code: Schema.String,
  errno: Schema.Int
}) {
  override get message() {
    return `${this.code}: ${errnoText(this.errno)}`
  }
}

const tags: { readonly [code in Errno]?: PlatformError.SystemErrorTag } = {
  EACCES: "PermissionDenied",
  EBUSY: "Busy",
  EEXIST: "AlreadyExists",
  EISDIR: "BadResource",
  ELOOP: "BadResource",
  ENOENT: "NotFound",
  ENOTDIR: "BadResource",
  EPERM: "PermissionDenied"
}

const tagsByNumber = new Map<number, PlatformError.SystemErrorTag>()
for (const [name, tag] of Object.entries(tags)) {
  tagsByNumber.set(errnoNumber(name as Errno), tag) // a key of the literal above
}

export interface Refusal {
  readonly module: string
  readonly method: string
  readonly pathOrDescriptor?: string | number | undefined
  /** 0 when it was not the system. */
  readonly errno: number
  /** What the agent has to say about it. */
  readonly message: string
  /** Default: what Node's platform makes of the number. */
  readonly tag?: PlatformError.SystemErrorTag | undefined
}

export const systemError = ({ errno, message, method, module, pathOrDescriptor, tag }: Refusal) => {
  const text = errno === 0 ? "the agent refused" : errnoText(errno)
  return PlatformError.systemError({
    _tag: tag ?? tagsByNumber.get(errno) ?? "Unknown",
    module,
    method,
    pathOrDescriptor,
    description: message === "" || message === text ? text : errno === 0 ? message : `${text}: ${message}`,
    cause: errno === 0 ? undefined : new SystemCallError({ code: errnoName(errno), errno })
  })
}

/** The same for what the host knows by itself. */
export const refuse = (
  module: string,
  method: string,
  pathOrDescriptor: string | number,
  code: Errno,
  tag?: PlatformError.SystemErrorTag
): PlatformError.PlatformError =>
  systemError({ module, method, pathOrDescriptor, errno: errnoNumber(code), message: "", tag })
