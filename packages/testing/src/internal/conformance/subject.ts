/** One sandbox under check, with the short ways to run commands in it. */
import type { SandboxInstance, SandboxSpec } from "@effect-sandbox/core/SandboxDriver"
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessHandle, ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as expect from "./expect.ts"
import { CheckFailed } from "./failure.ts"
import type { Steps } from "./steps.ts"
import * as text from "./text.ts"

/** How a command ended, as the driver says. */
export type End =
  | { readonly _tag: "Exited"; readonly code: number }
  | { readonly _tag: "Signalled"; readonly signal: string }
  /** The driver does not know, or the sandbox has gone. */
  | { readonly _tag: "Lost"; readonly message: string }

export const exited = (code: number): End => ({ _tag: "Exited", code })
export const signalled = (signal: string): End => ({ _tag: "Signalled", signal })

export interface Ended {
  readonly end: End
  readonly stdout: string
  readonly stderr: string
  readonly stdoutBytes: Uint8Array
  readonly stderrBytes: Uint8Array
}

export interface Subject {
  readonly spec: SandboxSpec
  readonly instance: SandboxInstance
  readonly files: FileSystem.FileSystem
  readonly spawner: ChildProcessSpawner["Service"]
  readonly workdir: string
  /** Starts a command. Standard input is closed and `env` adds to the sandbox's, unless the options say otherwise. */
  readonly start: (
    command: string,
    args?: ReadonlyArray<string>,
    options?: ChildProcess.CommandOptions
  ) => Effect.Effect<ChildProcessHandle, PlatformError, Scope.Scope>
  /** The same for a script of the shell. */
  readonly startScript: (
    script: string,
    options?: ChildProcess.CommandOptions
  ) => Effect.Effect<ChildProcessHandle, PlatformError, Scope.Scope>
  /** Runs a command to its end. */
  readonly run: (
    command: string,
    args?: ReadonlyArray<string>,
    options?: ChildProcess.CommandOptions
  ) => Effect.Effect<Ended, PlatformError>
  /** Runs a script of the shell to its end. */
  readonly sh: (script: string, options?: ChildProcess.CommandOptions) => Effect.Effect<Ended, PlatformError>
  /** What a script that must succeed writes to standard output. */
  readonly output: (
    script: string,
    options?: ChildProcess.CommandOptions
  ) => Effect.Effect<string, PlatformError | CheckFailed>
  /** The size of a file, 0 when there is none. */
  readonly size: (path: string) => Effect.Effect<number, PlatformError>
  /** Waits until a file that a script `ticks` into is there and grows. */
  readonly isTicking: (path: string) => Effect.Effect<void, PlatformError | CheckFailed>
  /** The file that a script ticked into grows no more. */
  readonly stoppedTicking: (path: string, what: string) => Effect.Effect<void, PlatformError | CheckFailed>
}

/** A loop for scripts that leaves a trace in a file as long as it lives. */
export const ticks = (path: string): string => `while :; do echo x >>${path}; sleep 0.05; done`

/** How a started command ends. */
export const endOf = (handle: ChildProcessHandle): Effect.Effect<End> =>
  Effect.match(handle.exitCode, {
    onSuccess: (code) => exited(Number(code)),
    onFailure: ({ cause, message }): End =>
      Predicate.isTagged(cause, "ProcessSignalled") && Predicate.hasProperty(cause, "signal")
        ? signalled(String(cause.signal))
        : { _tag: "Lost", message }
  })

/** Everything a stream holds. */
export const collect = <E, R>(stream: Stream.Stream<Uint8Array, E, R>): Effect.Effect<Uint8Array, E, R> =>
  Effect.map(Stream.runCollect(stream), text.concat)

/** Reads a started command's output to the end, and how it ended. */
export const finish = (handle: ChildProcessHandle): Effect.Effect<Ended, PlatformError> =>
  Effect.map(
    Effect.all([collect(handle.stdout), collect(handle.stderr), endOf(handle)], { concurrency: 3 }),
    ([stdoutBytes, stderrBytes, end]) => ({
      end,
      stdout: text.decode(stdoutBytes),
      stderr: text.decode(stderrBytes),
      stdoutBytes,
      stderrBytes
    })
  )

export const make = (spec: SandboxSpec, instance: SandboxInstance, { during }: Steps): Subject => {
  const { fileSystem: files, spawner } = instance
  const start: Subject["start"] = (command, args = [], options = {}) =>
    during(
      `spawning ${command}`,
      spawner.spawn(ChildProcess.make(command, args, { stdin: "ignore", extendEnv: true, ...options }))
    )
  const run: Subject["run"] = (command, args = [], options = {}) =>
    during(
      `running ${[command, ...args].join(" ").slice(0, 200)}`,
      Effect.scoped(Effect.flatMap(start(command, args, options), finish))
    )
  const sh: Subject["sh"] = (script, options) => run("sh", ["-c", script], options)

  const size: Subject["size"] = (path) =>
    files.stat(path).pipe(
      Effect.map((info) => Number(ByteSize.toBigInt(info.size))),
      Effect.catchIf(
        (error) => error.reason._tag === "NotFound",
        () => Effect.succeed(0)
      )
    )

  return {
    spec,
    instance,
    files,
    spawner,
    workdir: instance.workdir,
    start,
    startScript: (script, options) => start("sh", ["-c", script], options),
    run,
    sh,
    output: (script, options) =>
      Effect.flatMap(sh(script, options), ({ end, stderr, stdout }) =>
        end._tag === "Exited" && end.code === 0
          ? Effect.succeed(stdout)
          : Effect.fail(
              new CheckFailed({
                message: `the script ${JSON.stringify(script)} failed: ${stderr.trim() || "it wrote no message"}`,
                expected: exited(0),
                actual: end
              })
            )
      ),
    size,
    isTicking: (path) =>
      during(
        `waiting for ${path} to grow`,
        Effect.gen(function* () {
          yield* expect.eventually(
            Effect.map(size(path), (now) => now > 0),
            `a command leaves traces in ${path}`
          )
          const before = yield* size(path)
          yield* expect.eventually(
            Effect.map(size(path), (now) => now > before),
            `a command goes on leaving traces in ${path}`
          )
        })
      ),
    stoppedTicking: (path, what) =>
      during(
        `watching ${path}`,
        expect.eventually(
          Effect.gen(function* () {
            const before = yield* size(path)
            yield* Effect.sleep("400 millis")
            return before === (yield* size(path))
          }),
          what
        )
      )
  }
}

/** Starts a command in a scope of its own, and gives what closes that. */
export const opened = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.gen(function* () {
    const scope = yield* Effect.acquireRelease(Scope.make(), (made) => Scope.close(made, Exit.void))
    const value = yield* Scope.provide(effect, scope)
    return { value, close: expect.promptly(Scope.close(scope, Exit.void), "closing the command's scope", "12 seconds") }
  })

/** Whether an end may be that of a command that was killed. */
export const isGone = (end: End): boolean => end._tag !== "Exited" || end.code !== 0
