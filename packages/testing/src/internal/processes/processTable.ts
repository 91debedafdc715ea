/**
 * The processes of one simulated sandbox: what they are, how the host starts them, and how all of them end.
 *
 * Everything happens on the `Clock` of the fiber that spawned a command, and in an order that only depends on what the
 * programs do.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as PlatformError from "effect/PlatformError"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Scope from "effect/Scope"
import type { SimProgram } from "../../SimProgram.ts"
import { Executables } from "./processExecutable.ts"
import type { Environment, Lifetime, Process, View } from "./process.ts"
import { Kernel } from "./processKernel.ts"
import * as spawner from "./processSpawner.ts"
import { bodyOf } from "./processView.ts"
import { builtIns } from "../programs/programs.ts"

export interface ProcessInfo {
  readonly pid: number
  /** 1 for those that the host started, and for those whose parent ended. */
  readonly ppid: number
  readonly pgid: number
  readonly sid: number
  readonly command: ReadonlyArray<string>
  readonly lifetime: Lifetime
  readonly state: "running" | "stopped" | "zombie"
  /** On the `Clock`, in milliseconds. */
  readonly startedAt: number
}

export interface ProcessTable {
  readonly spawner: ChildProcessSpawner["Service"]
  readonly processes: () => ReadonlyArray<ProcessInfo>
  /** Kills (SIGKILL) every process of a lifetime, or all, and waits until they are gone. */
  readonly killAll: (lifetime?: Lifetime) => Effect.Effect<void>
  /**
   * The machine is gone: every process ends, and everything in flight and every later call fails at once with
   * `BadResource` and the cause.
   */
  readonly halt: (cause: unknown) => Effect.Effect<void>
}

export interface Options {
  /** The files as processes see them. */
  readonly fileSystem: (view: View) => FileSystem.FileSystem
  /** Programs besides the built-in ones; of the same name, these win. */
  readonly programs: ReadonlyArray<SimProgram>
  readonly environment: Environment
  /** Where commands start. */
  readonly workdir: string
  /** How many processes there may be at once. Default: 1024. */
  readonly maxProcesses?: number | undefined
  /** What comes before a command starts: its latency, its faults. Default: nothing. */
  readonly onSpawn?: ((command: string) => Effect.Effect<void, PlatformError.PlatformError>) | undefined
}

/** How long `killAll` waits for what killed programs still do to clean up. Processes are gone before. */
const lingerLimit = "1 second"

export const make = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<ProcessTable, never, Scope.Scope> {
  const fibers = Scope.makeUnsafe("parallel")
  const executables = new Executables()
  for (const [name, body] of builtIns) executables.add(name, body)
  for (const program of options.programs) executables.add(program.name, bodyOf(program))
  const kernel = new Kernel({
    executables,
    files: options.fileSystem,
    scope: fibers,
    maxProcesses: options.maxProcesses ?? 1024
  })
  const halt = (description: string, cause?: unknown): Effect.Effect<void> =>
    kernel.halt(
      PlatformError.systemError({ _tag: "BadResource", module: "ChildProcess", method: "spawn", description, cause })
    )

  yield* Effect.addFinalizer((exit) => Effect.andThen(halt("the sandbox was taken down"), Scope.close(fibers, exit)))

  return {
    spawner: spawner.make({
      kernel,
      environment: options.environment,
      workdir: options.workdir,
      onSpawn: options.onSpawn ?? (() => Effect.void)
    }),
    processes: () => [...kernel.processes.values()].map(infoOf),
    killAll: (lifetime) =>
      Effect.suspend(() => {
        const isMeant = (process: Process) => lifetime === undefined || process.lifetime === lifetime
        const killed = [...kernel.processes.values()].filter(isMeant)
        const quiet = Effect.forEach(killed, (process) => process.quiet, { discard: true })
        return Effect.all(
          [kernel.signalAll(isMeant, "SIGKILL"), kernel.ended(isMeant), Effect.timeoutOption(quiet, lingerLimit)],
          { discard: true }
        )
      }),
    halt: (cause) => halt("the machine is gone", cause)
  }
})

const infoOf = (process: Process): ProcessInfo => ({
  pid: process.pid,
  ppid: process.parent?.pid ?? 1,
  pgid: process.pgid,
  sid: process.sid,
  command: process.argv,
  lifetime: process.lifetime,
  state: process.state === "gone" ? "zombie" : process.state,
  startedAt: process.startedAt
})
