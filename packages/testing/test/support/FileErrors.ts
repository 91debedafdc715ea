/** Errors of file operations as one line: the reason and the system's name for it. */
import { Effect, type PlatformError } from "effect"
import { SystemCallError } from "../../src/VirtualFileSystem.ts"

const line = (error: PlatformError.PlatformError): string => {
  const { cause } = error
  return cause instanceof SystemCallError ? `${error.reason._tag} ${cause.code}` : error.reason._tag
}

/** What an operation that must fail fails with; a success shows as `ok`. */
export const errorOf = <A, R>(effect: Effect.Effect<A, PlatformError.PlatformError, R>) =>
  Effect.match(effect, { onFailure: line, onSuccess: () => "ok" })
