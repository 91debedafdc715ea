/** A simulated machine for the tests of processes: a virtual file system and a process table on it. */
import { ProcessSignalled } from "@effect-sandbox/core"
import { Cause, Effect, Exit, Fiber, type FileSystem, type PlatformError, type Redacted, Stream } from "effect"
import { ChildProcess, type ChildProcessSpawner } from "effect/process"
import * as processTable from "../../src/internal/processes/processTable.ts"
import * as VirtualFileSystem from "../../src/VirtualFileSystem.ts"

export interface Machine extends processTable.ProcessTable {
  readonly files: FileSystem.FileSystem
  readonly usage: () => VirtualFileSystem.Usage
}

export const workdir = "/work"

export const environment = { PATH: "/usr/bin:/bin", HOME: workdir, TMPDIR: "/tmp", LANG: "C.UTF-8" }

export const machine = Effect.fnUntraced(function* (
  options: Partial<Omit<processTable.Options, "fileSystem">> & {
    readonly files?: VirtualFileSystem.Options["files"]
  } = {}
) {
  const { files, ...rest } = options
  const disk = yield* VirtualFileSystem.make({ files: { [workdir]: { directory: true, mode: 0o755 }, ...files } })
  const table = yield* processTable.make({
    programs: [],
    environment,
    workdir,
    ...rest,
    fileSystem: ({ cwd, umask }) => disk.view({ workdir: cwd, umask })
  })
  return { ...table, files: disk.view({ workdir }), usage: disk.usage } satisfies Machine
})

/** How a command ended: its code, or the signal. */
export const ending = (exit: Exit.Exit<number, PlatformError.PlatformError>): number | string => {
  if (Exit.isSuccess(exit)) return exit.value
  const error = Cause.squash(exit.cause)
  if (error instanceof Error && error.cause instanceof ProcessSignalled) return error.cause.signal
  return error instanceof Error ? error.message : String(error)
}

export const read = (stream: Stream.Stream<Uint8Array, PlatformError.PlatformError>) =>
  Stream.mkString(Stream.decodeText(stream))

/** Reads a command's output while it runs, and waits for its end. */
export const outcome = Effect.fnUntraced(function* (handle: ChildProcessSpawner.ChildProcessHandle) {
  const out = yield* Effect.forkChild(read(handle.stdout), { startImmediately: true })
  const err = yield* Effect.forkChild(read(handle.stderr), { startImmediately: true })
  const exit = yield* Effect.exit(handle.exitCode)
  return { end: ending(exit), stdout: yield* Fiber.join(out), stderr: yield* Fiber.join(err) }
})

export const command = (
  name: string,
  args: ReadonlyArray<string | Redacted.Redacted<string>> = [],
  options: ChildProcess.CommandOptions = {}
) => ChildProcess.make(name, args, { stdin: "ignore", ...options })

export const script = (text: string, options?: ChildProcess.CommandOptions) => command("sh", ["-c", text], options)

/** Runs a command to its end. */
export const run = (table: processTable.ProcessTable, given: ChildProcess.Command) =>
  Effect.scoped(Effect.flatMap(table.spawner.spawn(given), outcome))

/** Runs a script to its end. */
export const sh = (table: processTable.ProcessTable, text: string, options?: ChildProcess.CommandOptions) =>
  run(table, script(text, options))

/** The processes as lines: `2 <- 1 running sh -c …`. */
export const processes = (table: processTable.ProcessTable): ReadonlyArray<string> =>
  table.processes().map(({ command, pid, ppid, state }) => `${pid} <- ${ppid} ${state} ${command.join(" ")}`)
