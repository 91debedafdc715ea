/**
 * Processes that outlived their command, also those that left its process group with `setsid`. They are known by a
 * variable in their environment that no stranger can have, or by a working directory inside the sandbox; never by name
 * (F30).
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Schedule from "effect/Schedule"
import type { CallLifetime } from "../SandboxDriver.ts"
import * as text from "./text.ts"

type Lifetime = (typeof CallLifetime)["Service"]

const variable = "EFFECT_SANDBOX"
/** How often a process that keeps forking is chased. */
const maxRounds = 50

const prefix = (directory: string, lifetime: Lifetime) => `${lifetime}:${directory}:`

/**
 * The environment of the processes of one command in a sandbox. The sandbox's directory, which no other ever has, marks
 * them as the sandbox's, and the number as that command's.
 */
export const mark = (directory: string, lifetime: Lifetime, command: number): { readonly [name: string]: string } => ({
  [variable]: `${prefix(directory, lifetime)}${command}`
})

export interface Options {
  readonly files: FileSystem.FileSystem
  readonly spawner: ChildProcessSpawner["Service"]
  readonly directory: string
}

/** Which processes of a sandbox: all those of some lifetimes, or those of one command. */
export type Which = ReadonlyArray<Lifetime> | ReturnType<typeof mark>

const isOneCommand = (which: Which): which is ReturnType<typeof mark> => !Array.isArray(which)

/** The processes that belong to a sandbox, as far as the system shows them. */
const find = ({ directory, files }: Options, which: Which) => {
  const isMarked = (entry: string, lifetime: Lifetime) => entry.startsWith(`${variable}=${prefix(directory, lifetime)}`)
  const isOurs = (pid: string) =>
    Effect.gen(function* () {
      const environment = text.decode(yield* files.readFile(`/proc/${pid}/environ`)).split("\0")
      if (isOneCommand(which)) return environment.includes(`${variable}=${which[variable]}`)
      const lifetimes: ReadonlyArray<Lifetime> = which
      if (environment.some((entry) => lifetimes.some((lifetime) => isMarked(entry, lifetime)))) return true
      if (!lifetimes.includes("sandbox") && environment.some((entry) => isMarked(entry, "sandbox"))) return false
      const cwd = yield* files.readLink(`/proc/${pid}/cwd`)
      return cwd === directory || cwd.startsWith(`${directory}/`)
    }).pipe(Effect.orElseSucceed(() => false)) // gone meanwhile, or somebody else's
  return files.readDirectory("/proc").pipe(
    Effect.orElseSucceed(() => []), // no Linux: process groups are all there is
    Effect.flatMap((names) =>
      Effect.filter(
        names.filter((name) => /^\d+$/.test(name)),
        isOurs,
        { concurrency: 16 }
      )
    )
  )
}

/** Kills them until none is left; tells which survived. */
export const kill = (options: Options, which: Which): Effect.Effect<ReadonlyArray<string>> => {
  const round = Effect.gen(function* () {
    const pids = yield* find(options, which)
    if (pids.length === 0) return pids
    yield* ChildProcess.make("sh", ["-c", 'kill -KILL "$@" 2>/dev/null', "sh", ...pids]).pipe(
      options.spawner.exitCode,
      Effect.ignore
    )
    return pids
  })
  return Effect.repeat(round, {
    until: (pids) => pids.length === 0,
    schedule: Schedule.spaced("10 millis"),
    times: maxRounds
  })
}
