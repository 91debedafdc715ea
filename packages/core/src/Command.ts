/**
 * One command run in a sandbox by `sandbox.exec`: its options and its result.
 *
 * The outcome is a closed union and says what the system said (F31): a missing exit code is never zero, a timeout is
 * not an interruption, and a limit is not a crash (F25). The death of the sandbox is no outcome but a state error.
 */
import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"

/** How a command ended. */
export const Outcome = Schema.TaggedUnion({
  /** It exited by itself. */
  Exited: { code: Schema.Int },
  /** A signal that the library did not send ended it. */
  Signalled: { signal: Schema.String },
  /** It ran longer than `timeout` and was killed with everything it had started (F2). */
  TimedOut: { timeoutMillis: Schema.Finite },
  /** It wrote more than `maxOutputBytes` and was killed, because `onOutputLimit` is `"kill"`. */
  OutputLimit: { maxOutputBytes: Schema.Finite },
  /** The system killed it because memory ran out; the limit may be shared with what else ran. */
  MemoryLimit: { limitBytes: Schema.Finite },
  /** It is gone, and the system did not say how. */
  Unknown: { description: Schema.String }
})
export type Outcome = typeof Outcome.Type

/** What a command did. */
export interface Result {
  readonly outcome: Outcome
  /** Standard output decoded as UTF-8; bytes that are not become U+FFFD. Raw bytes: `stdoutBytes`. */
  readonly stdout: string
  readonly stderr: string
  readonly stdoutBytes: Uint8Array
  readonly stderrBytes: Uint8Array
  /** Which streams were cut at `maxOutputBytes`. */
  readonly truncated: { readonly stdout: boolean; readonly stderr: boolean }
  /** From the request to the outcome, in milliseconds. */
  readonly durationMillis: number
}

export interface Options {
  /** Working directory, absolute or relative to the workspace. Default: the workspace. */
  readonly cwd?: string | undefined
  /** Added to the sandbox's environment; `undefined` removes a variable. */
  readonly env?: { readonly [name: string]: string | undefined } | undefined
  /** Bytes or text for standard input, which is closed after them. Default: closed at once (F7). */
  readonly stdin?: string | Uint8Array | Stream.Stream<Uint8Array> | undefined
  /** After this long the command's whole process tree is killed. Default: no limit. */
  readonly timeout?: Duration.Input | undefined
  /** Bytes kept per stream; never more is held in memory. Default: 1 MiB. */
  readonly maxOutputBytes?: number | undefined
  /** What happens beyond that: the rest is read and dropped, or the command is killed. Default: `"truncate"`. */
  readonly onOutputLimit?: "truncate" | "kill" | undefined
  /** The user inside the sandbox; refused by drivers that cannot. */
  readonly user?: string | undefined
  /** From the polite signal to the final one when the command has to be killed. Default: 2 seconds. */
  readonly forceKillAfter?: Duration.Input | undefined
}
