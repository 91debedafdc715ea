/**
 * Why a file operation was refused: the numbered errors of POSIX, and how they appear to programs, which is how the Node
 * platform shows them.
 */
import * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

const descriptions = {
  EACCES: "Permission denied",
  EBADF: "Bad file descriptor",
  EBUSY: "Device or resource busy",
  EEXIST: "File exists",
  EFBIG: "File too large",
  EINVAL: "Invalid argument",
  EISDIR: "Is a directory",
  ELOOP: "Too many levels of symbolic links",
  ENAMETOOLONG: "File name too long",
  ENOENT: "No such file or directory",
  ENOSPC: "No space left on device",
  ENOTDIR: "Not a directory",
  ENOTEMPTY: "Directory not empty",
  EPERM: "Operation not permitted"
} as const

/** The name of an error of the system. */
export type Errno = keyof typeof descriptions

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

/** The `cause` of each `PlatformError` of a virtual file system that a real system would have raised as well. */
export class SystemCallError extends Schema.TaggedError<SystemCallError>()("SystemCallError", {
  /** `ENOENT`, `EACCES`, … */
  code: Schema.String
}) {
  override get message() {
    return this.code in descriptions ? `${this.code}: ${descriptions[this.code as Errno]}` : this.code // `in` has just told
  }
}

export type Refusal =
  | { readonly _tag: "Errno"; readonly code: Errno; readonly tag: PlatformError.SystemErrorTag }
  | { readonly _tag: "BadArgument"; readonly description: string }

/** What a system call gives. */
export type Answer<A> = Result.Result<A, Refusal>

export const done: Answer<void> = Result.succeed(undefined)

export const refuse = (code: Errno): Result.Result<never, Refusal> =>
  Result.fail({ _tag: "Errno", code, tag: tags[code] ?? "Unknown" })

/** For what Node finds out by itself: its own error codes say nothing to the Node platform. */
export const refuseUnknown = (code: Errno): Result.Result<never, Refusal> =>
  Result.fail({ _tag: "Errno", code, tag: "Unknown" })

export const badArgument = (description: string): Result.Result<never, Refusal> =>
  Result.fail({ _tag: "BadArgument", description })

export const isCode = (answer: Answer<unknown>, ...codes: ReadonlyArray<Errno>): boolean =>
  Result.isFailure(answer) && answer.failure._tag === "Errno" && codes.includes(answer.failure.code)

export const toPlatformError = (
  method: string,
  pathOrDescriptor: string | number,
  refusal: Refusal
): PlatformError.PlatformError =>
  refusal._tag === "BadArgument"
    ? PlatformError.badArgument({ module: "FileSystem", method, description: refusal.description })
    : PlatformError.systemError({
        _tag: refusal.tag,
        module: "FileSystem",
        method,
        pathOrDescriptor,
        description: descriptions[refusal.code],
        cause: new SystemCallError({ code: refusal.code })
      })
