/** The errors of system calls: what the system calls them, what it says, and how they look as a `PlatformError`. */
import * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import { SystemCallError } from "../files/virtualError.ts"

const errors = {
  E2BIG: ["Unknown", "Argument list too long"],
  EACCES: ["PermissionDenied", "Permission denied"],
  EAGAIN: ["Unknown", "Resource temporarily unavailable"],
  EBADF: ["Unknown", "Bad file descriptor"],
  EBUSY: ["Busy", "Device or resource busy"],
  EEXIST: ["AlreadyExists", "File exists"],
  EFBIG: ["Unknown", "File too large"],
  EINVAL: ["Unknown", "Invalid argument"],
  EIO: ["Unknown", "Input/output error"],
  EISDIR: ["BadResource", "Is a directory"],
  ELOOP: ["BadResource", "Too many levels of symbolic links"],
  EMFILE: ["Unknown", "Too many open files"],
  ENAMETOOLONG: ["Unknown", "File name too long"],
  ENOENT: ["NotFound", "No such file or directory"],
  ENOEXEC: ["Unknown", "Exec format error"],
  ENOSPC: ["Unknown", "No space left on device"],
  ENOTDIR: ["BadResource", "Not a directory"],
  ENOTEMPTY: ["Unknown", "Directory not empty"],
  EPERM: ["PermissionDenied", "Operation not permitted"],
  EPIPE: ["Unknown", "Broken pipe"],
  EROFS: ["Unknown", "Read-only file system"],
  ESRCH: ["Unknown", "No such process"],
  EXDEV: ["Unknown", "Invalid cross-device link"]
} as const satisfies { readonly [code: string]: readonly [PlatformError.SystemErrorTag, string] }

export type Errno = keyof typeof errors

const isErrno = (code: unknown): code is Errno => typeof code === "string" && Object.hasOwn(errors, code)

export const fail = (
  code: Errno,
  options: { readonly module?: string; readonly method: string; readonly path?: string | number }
): PlatformError.PlatformError =>
  PlatformError.systemError({
    _tag: errors[code][0],
    module: options.module ?? "Process",
    method: options.method,
    description: errors[code][1],
    ...(options.path === undefined ? {} : { pathOrDescriptor: options.path }),
    cause: new SystemCallError({ code })
  })

const byTag: { readonly [tag: string]: Errno } = {
  AlreadyExists: "EEXIST",
  Busy: "EBUSY",
  NotFound: "ENOENT",
  PermissionDenied: "EACCES"
}

/** The system's name of an error, also of one that somebody else's file system made. */
export const codeOf = ({ reason }: PlatformError.PlatformError): Errno | undefined => {
  const code = Predicate.hasProperty(reason.cause, "code") ? reason.cause.code : undefined
  if (isErrno(code)) return code
  const named = /\b(E[A-Z0-9]+)\b/.exec(reason.description ?? "")?.[1]
  return isErrno(named) ? named : byTag[reason._tag]
}

/** What programs print about an error: `No such file or directory`. */
export const text = (error: PlatformError.PlatformError): string => {
  const code = codeOf(error)
  return code === undefined ? (error.reason.description ?? error.message) : errors[code][1]
}
