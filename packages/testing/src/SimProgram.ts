/**
 * Simulated commands: what runs in a simulated sandbox when something is spawned there. A program is a small Effect
 * that reads and writes as a process does; it takes time on the `Clock`, waits when a pipe is full, is interrupted by
 * signals, and can have children.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SimProgram } from "@effect-sandbox/testing"
 *
 * const compile = SimProgram.make("compile", (process) =>
 *   Effect.gen(function*() {
 *     const source = yield* process.fileSystem.readFileString(process.args[0] ?? "main.c")
 *     yield* Effect.sleep("2 seconds")
 *     if (source.includes("bug")) {
 *       yield* process.stderr("error: there is a bug\n")
 *       return 1
 *     }
 *     yield* process.fileSystem.writeFileString("a.out", "compiled")
 *   }))
 *
 * // The same kind of thing as plain data, which can be stored and generated:
 * const stubborn = SimProgram.script("stubborn", [
 *   { _tag: "IgnoreSignals", signals: ["SIGTERM", "SIGINT"] },
 *   { _tag: "Write", stdout: "ready\n" },
 *   { _tag: "Hang" }
 * ])
 * ```
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import type * as ChildProcess from "effect/process/ChildProcess"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

export type Signal = ChildProcess.Signal

/** How a process ended. */
export type ExitStatus =
  | { readonly _tag: "Exited"; readonly code: number }
  | { readonly _tag: "Signalled"; readonly signal: Signal }

/** The standard input of a process. Whatever reads, reads on where the last reader stopped. */
export interface SimInput {
  /** The bytes until the end, as they come. */
  readonly stream: Stream.Stream<Uint8Array, PlatformError>
  /** The next bytes, at most 64 KiB; `None` at the end. */
  readonly read: Effect.Effect<Option.Option<Uint8Array>, PlatformError>
  /** The next line without its newline; `None` at the end. Takes nothing beyond it. */
  readonly readLine: Effect.Effect<Option.Option<string>, PlatformError>
  /** Everything until the end, decoded as UTF-8. */
  readonly text: Effect.Effect<string, PlatformError>
}

export interface SpawnOptions {
  /** Default: that of the process. */
  readonly cwd?: string | undefined
  /** Added to the environment of the process. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** `"pipe"` gives it to the process, see `SimChild`. Default: `"inherit"`. */
  readonly stdin?: "inherit" | "ignore" | "pipe" | undefined
  /** Default: `"inherit"`. */
  readonly stdout?: "inherit" | "ignore" | "pipe" | undefined
  /** Default: `"inherit"`. */
  readonly stderr?: "inherit" | "ignore" | "pipe" | undefined
  /** Leaves the process group, as `setsid` does, and with it whatever is done to the group. Default: `false`. */
  readonly newSession?: boolean | undefined
}

/** A child of a simulated process. It lives on when the process ends, and is a zombie from its end until `exit`. */
export interface SimChild {
  readonly pid: number
  /** Waits for its end, and takes it off the process table. */
  readonly exit: Effect.Effect<ExitStatus, PlatformError>
  /** Default: SIGTERM. */
  readonly kill: (signal?: Signal) => Effect.Effect<void, PlatformError>
  /** Fails unless it was spawned with `stdin: "pipe"`. */
  readonly stdin: (data: string | Uint8Array) => Effect.Effect<void, PlatformError>
  readonly closeStdin: Effect.Effect<void>
  /** Empty unless it was spawned with `stdout: "pipe"`. */
  readonly stdout: Stream.Stream<Uint8Array, PlatformError>
  readonly stderr: Stream.Stream<Uint8Array, PlatformError>
}

/** What a running program has. */
export interface SimProcess {
  readonly pid: number
  /** What it was called as. */
  readonly name: string
  readonly args: ReadonlyArray<string>
  readonly env: { readonly [name: string]: string }
  readonly cwd: string
  /** The files of the sandbox. Relative paths start in `cwd`. */
  readonly fileSystem: FileSystem.FileSystem
  readonly stdin: SimInput
  /**
   * Writes to standard output; waits while the pipe is full, which it is at 64 KiB. When nobody reads any more, the
   * process is ended by SIGPIPE, or the write fails when that is ignored.
   */
  readonly stdout: (data: string | Uint8Array) => Effect.Effect<void, PlatformError>
  readonly stderr: (data: string | Uint8Array) => Effect.Effect<void, PlatformError>
  /** Starts a child: a program's name or the path of an executable. It has the process's group and open files. */
  readonly spawn: (
    command: string,
    args?: ReadonlyArray<string>,
    options?: SpawnOptions
  ) => Effect.Effect<SimChild, PlatformError>
  /** Ends at once. Default: with code 0. */
  readonly exit: (code?: number) => Effect.Effect<never>
  /** Ends by a signal, or does with it what the process has chosen to do. */
  readonly raise: (signal: Signal) => Effect.Effect<void>
  /** From now on signals run the handler, in a fiber of its own, instead of ending the process. SIGKILL cannot be handled. */
  readonly onSignal: (
    signals: ReadonlyArray<Signal>,
    handler: (signal: Signal) => Effect.Effect<unknown, never>
  ) => Effect.Effect<void>
  /** From now on these signals do nothing. SIGKILL cannot be ignored. Children ignore them, too. */
  readonly ignoreSignals: (signals: ReadonlyArray<Signal>) => Effect.Effect<void>
  /** Waits for the next of these signals, which do nothing else meanwhile. */
  readonly awaitSignal: (signals: ReadonlyArray<Signal>) => Effect.Effect<Signal>
}

/** A simulated command. */
export interface SimProgram {
  /** What it is called: on `PATH`, and as `/bin/NAME` and `/usr/bin/NAME`. */
  readonly name: string
  /** Runs it as a process; gives the exit code. */
  readonly run: (process: SimProcess) => Effect.Effect<number, never, Scope.Scope>
}

/**
 * A program from an effect that gives the exit code, or nothing for 0.
 *
 * - A failure prints its message on standard error and exits with 1.
 * - A defect prints its message there and ends the process by SIGABRT.
 * - A signal that is neither handled nor ignored interrupts the effect, and its finalizers still run; after SIGKILL
 *   they run as well, but the process is gone by then: it has no open files and its end was told.
 */
export const make = <E>(
  name: string,
  run: (process: SimProcess) => Effect.Effect<number | void, E, Scope.Scope>
): SimProgram => ({
  name,
  run: (process) =>
    run(process).pipe(
      Effect.map((code) => (typeof code === "number" ? code : 0)),
      Effect.catch((error) =>
        process
          .stderr(`${process.name}: ${Predicate.isError(error) ? error.message : String(error)}\n`)
          .pipe(Effect.ignore, Effect.as(1))
      )
    )
})

const SignalName = Schema.Literals([
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGABRT",
  "SIGKILL",
  "SIGUSR1",
  "SIGSEGV",
  "SIGUSR2",
  "SIGPIPE",
  "SIGALRM",
  "SIGTERM",
  "SIGSTOP",
  "SIGCONT"
])

/** One thing that a scripted program does. */
export const Step = Schema.TaggedUnion({
  Write: { stdout: Schema.optional(Schema.String), stderr: Schema.optional(Schema.String) },
  /** Writes a file, whose directory has to be there. */
  WriteFile: { path: Schema.String, content: Schema.String },
  Sleep: { millis: Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)) },
  /** Reads standard input to its end, and writes it to standard output with `echo`. */
  ReadStdin: { echo: Schema.optional(Schema.Boolean) },
  IgnoreSignals: { signals: Schema.Array(SignalName) },
  /** Starts a child and waits for it, unless it is for the background. With `newSession` it leaves the process group. */
  Spawn: {
    command: Schema.String,
    args: Schema.optional(Schema.Array(Schema.String)),
    background: Schema.optional(Schema.Boolean),
    newSession: Schema.optional(Schema.Boolean)
  },
  /** Does nothing any more, until a signal ends it. */
  Hang: {},
  /** Is ended by a signal. */
  Die: { signal: SignalName },
  Exit: { code: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 })) }
})
export type Step = typeof Step.Type

/** A program that takes steps one after the other, and exits with 0 after the last. */
export const script = (name: string, steps: ReadonlyArray<Step>): SimProgram =>
  make(name, (process) => Effect.forEach(steps, (step) => take(process, step), { discard: true }))

const take = (process: SimProcess, step: Step): Effect.Effect<void, PlatformError> =>
  Step.match(step, {
    Write: ({ stderr = "", stdout = "" }) => Effect.andThen(process.stdout(stdout), process.stderr(stderr)),
    WriteFile: ({ content, path }) => process.fileSystem.writeFileString(path, content),
    Sleep: ({ millis }) => Effect.sleep(millis),
    ReadStdin: ({ echo }) =>
      Stream.runForEach(process.stdin.stream, (bytes) => (echo === true ? process.stdout(bytes) : Effect.void)),
    IgnoreSignals: ({ signals }) => process.ignoreSignals(signals),
    Spawn: ({ args, background, command, newSession }) =>
      Effect.flatMap(process.spawn(command, args, { newSession }), (child) =>
        background === true ? Effect.void : Effect.asVoid(child.exit)
      ),
    Hang: () => Effect.never,
    Die: ({ signal }) => process.raise(signal),
    Exit: ({ code }) => process.exit(code)
  })
