/**
 * A limit on the number of processes of a sandbox, kept by a control group of the kernel. Needs write access to the
 * `pids` hierarchy, as root has it in most containers and machines.
 */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Host } from "./localSpawner.ts"

export interface ProcessLimit {
  /** A group for one sandbox, removed with the scope. Gives the directory whose `cgroup.procs` commands join. */
  readonly make: (directory: string) => Effect.Effect<string, PlatformError, Scope.Scope>
}

/** Version 1 and version 2 of the kernel's interface. */
const hierarchies = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]

const makeGroup = (host: Host, hierarchy: string, name: string, maxProcesses: number) =>
  Effect.gen(function* () {
    const group = host.path.join(hierarchy, name)
    yield* Effect.acquireRelease(host.files.makeDirectory(group), () =>
      // Processes that were killed leave their group only when they are gone.
      host.spawner
        .exitCode(ChildProcess.make("rmdir", [group], { stderr: "ignore" }))
        .pipe(
          Effect.repeat({ until: (code) => code === 0, schedule: Schedule.spaced("20 millis"), times: 100 }),
          Effect.ignore
        )
    )
    yield* host.files.writeFileString(host.path.join(group, "pids.max"), String(maxProcesses))
    return group
  })

/** The limit, if this machine has a hierarchy that can be written to. */
export const make = (host: Host, maxProcesses: number): Effect.Effect<ProcessLimit | undefined> =>
  Effect.gen(function* () {
    for (const hierarchy of hierarchies) {
      const name = `effect-sandbox-probe-${host.path.basename(yield* host.files.makeTempDirectoryScoped())}`
      const works = yield* Effect.isSuccess(Effect.scoped(makeGroup(host, hierarchy, name, maxProcesses)))
      if (works) {
        return {
          make: (directory: string) =>
            makeGroup(host, hierarchy, `effect-sandbox-${host.path.basename(directory)}`, maxProcesses)
        }
      }
    }
    return undefined
  }).pipe(
    Effect.scoped,
    Effect.orElseSucceed(() => undefined)
  )
