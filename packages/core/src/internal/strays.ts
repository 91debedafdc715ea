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
}

/** What tells whose a process is. */
interface Traces {
  readonly environment: ReadonlyArray<string>
  readonly cwd: string
}

/** The processes of one command. */
export const ofCommand =
  (marked: ReturnType<typeof mark>) =>
  ({ environment }: Traces): boolean =>
    environment.includes(`${variable}=${marked[variable]}`)

/** The processes of a sandbox that live for a session, for the sandbox, or either. */
export const ofLifetimes =
  (directory: string, lifetimes: ReadonlyArray<Lifetime>) =>
  ({ cwd, environment }: Traces): boolean => {
    const isMarked = (lifetime: Lifetime) =>
      environment.some((entry) => entry.startsWith(`${variable}=${prefix(directory, lifetime)}`))
    if (lifetimes.some(isMarked)) return true
    if (!lifetimes.includes("sandbox") && isMarked("sandbox")) return false
    return cwd === directory || cwd.startsWith(`${directory}/`)
  }

/** The processes that are meant, as far as the system shows them. */
const find = ({ files }: Options, isMeant: (traces: Traces) => boolean) => {
  const check = (pid: string) =>
    Effect.gen(function* () {
      const environment = text.decode(yield* files.readFile(`/proc/${pid}/environ`)).split("\0")
      return isMeant({ environment, cwd: yield* files.readLink(`/proc/${pid}/cwd`) })
    }).pipe(Effect.orElseSucceed(() => false)) // gone meanwhile, or somebody else's
  return files.readDirectory("/proc").pipe(
    Effect.orElseSucceed(() => []), // no Linux: process groups are all there is
    Effect.flatMap((names) =>
      Effect.filter(
        names.filter((name) => /^\d+$/.test(name)),
        check,
        { concurrency: 16 }
      )
    )
  )
}

/** Kills them until none is left; tells which survived. */
export const kill = (options: Options, isMeant: (traces: Traces) => boolean): Effect.Effect<ReadonlyArray<string>> => {
  const round = Effect.gen(function* () {
    const pids = yield* find(options, isMeant)
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
