/**
 * Processes that outlived their command, also those that left its process group with `setsid`. They are known by a
 * variable in their environment that no stranger can have, or by a working directory inside the sandbox; never by name
 * (F30).
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
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
  const listed = files.readDirectory("/proc").pipe(
    Effect.orElseSucceed((): Array<string> => []), // no Linux: process groups are all there is
    Effect.map((names) => names.filter((name) => /^\d+$/.test(name)))
  )
  return Effect.gen(function* () {
    const known = new Set<string>()
    const meant: Array<string> = []
    // One that was listed may have forked and gone before it was looked at, so this looks until there are no new ones.
    for (let round = 0; round < maxRounds; round++) {
      const fresh = (yield* listed).filter((pid) => !known.has(pid))
      if (fresh.length === 0) break
      for (const pid of fresh) known.add(pid)
      meant.push(...(yield* Effect.filter(fresh, check, { concurrency: 16 })))
    }
    return meant
  })
}

/** Kills them until none is left; tells which survived. */
export const kill = (options: Options, isMeant: (traces: Traces) => boolean): Effect.Effect<ReadonlyArray<string>> =>
  Effect.gen(function* () {
    let left = yield* find(options, isMeant)
    for (let round = 0, clean = left.length === 0 ? 2 : 0; round < maxRounds && clean < 2; round++) {
      if (left.length > 0) {
        yield* ChildProcess.make("sh", ["-c", 'kill -KILL "$@" 2>/dev/null', "sh", ...left]).pipe(
          options.spawner.exitCode,
          Effect.ignore
        )
      }
      yield* Effect.sleep("10 millis")
      left = yield* find(options, isMeant)
      // In the middle of starting another program a process shows nothing, so one look is not enough.
      clean = left.length === 0 ? clean + 1 : 0
    }
    return left
  })
