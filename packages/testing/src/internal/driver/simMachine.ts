/** One simulated machine: its files, its processes, and what the core sees of it. */
import { CallLifetime, type SandboxInstance, type SandboxSpec } from "@effect-sandbox/core/SandboxDriver"
import { SandboxStateError } from "@effect-sandbox/core/SandboxError"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Scope from "effect/Scope"
import type { SimProgram } from "../../SimProgram.ts"
import type * as VirtualFileSystem from "../../VirtualFileSystem.ts"
import { aroundFileSystem } from "./aroundFileSystem.ts"
import * as processTable from "../processes/processTable.ts"
import { places, restore, rootUser, sessionUser, type SimImage, wipe } from "./simImage.ts"

export interface SimMachine {
  readonly instance: SandboxInstance
  /** Its files, as root sees them. */
  readonly fileSystem: FileSystem.FileSystem
  readonly processes: () => ReadonlyArray<processTable.ProcessInfo>
  readonly usage: () => VirtualFileSystem.Usage
  /** Ends all its processes; what is asked of them afterwards fails. */
  readonly halt: (error: SandboxStateError) => Effect.Effect<void>
}

/** What happens before the operations of an instance: they take time, and are noted. */
export interface Before {
  readonly ping: Effect.Effect<void>
  readonly reset: Effect.Effect<void>
  readonly spawn: (command: string) => Effect.Effect<void>
  readonly files: Effect.Effect<void>
}

export const simMachine = (options: {
  readonly spec: SandboxSpec
  readonly image: SimImage
  /** The image's files. */
  readonly template: VirtualFileSystem.VirtualFileSystem
  readonly programs: ReadonlyArray<SimProgram>
  readonly maxProcesses: number | undefined
  readonly before: Before
}): Effect.Effect<SimMachine, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { before, image, spec, template } = options
    const disk = yield* template.clone
    const { home, temporary, workspace } = places
    const seen = { workdir: workspace, temporary }
    const root = disk.view(seen)
    const userOf = (lifetime: "session" | "sandbox") => (lifetime === "sandbox" ? rootUser : sessionUser)
    const files = disk.view({ ...seen, user: Effect.map(CallLifetime, userOf) })

    const scope = yield* Scope.Scope
    let table: processTable.ProcessTable | undefined
    /** Made when the first command is: many sandboxes run none. */
    const processes = Effect.suspend(() =>
      table !== undefined
        ? Effect.succeed(table)
        : Effect.map(Scope.provide(makeTable, scope), (made) => (table ??= made))
    )
    const makeTable = processTable.make({
      fileSystem: ({ cwd, lifetime, umask }) =>
        disk.view({ ...seen, workdir: cwd, umask, user: Effect.succeed(userOf(lifetime)) }),
      programs: [...options.programs, ...(image.programs ?? [])],
      environment: {
        PATH: "/usr/bin:/bin",
        LANG: "C.UTF-8",
        HOME: workspace,
        TMPDIR: temporary,
        ...image.env
      },
      workdir: workspace,
      maxProcesses: options.maxProcesses,
      onSpawn: before.spawn
    })

    /** Whether there can be anything to clean up; what set-up has left running can write at any time. */
    const isDirty = () => isTouched || isExposed || (table?.processes().length ?? 0) > 0
    let isTouched = false
    /** Whether somebody outside has its files. */
    let isExposed = false
    const touch = <A, E, R>(operation: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.suspend(() => {
        isTouched = true
        return operation
      })
    const broken = (cause: unknown) => new SandboxStateError({ sandboxId: spec.sandboxId, operation: "reset", cause })
    const clean = Effect.gen(function* () {
      if (table !== undefined) yield* table.killAll("session")
      for (const directory of [workspace, temporary]) {
        yield* wipe(root, directory)
        yield* restore(template.view(), root, directory)
      }
      isTouched = false
    }).pipe(Effect.mapError(broken))

    const instance: SandboxInstance = {
      spawner: ChildProcessSpawner.make((command) =>
        touch(Effect.flatMap(processes, ({ spawner }) => spawner.spawn(command)))
      ),
      fileSystem: aroundFileSystem(files, {
        effect: (_method, _path, operation) => touch(Effect.andThen(before.files, operation)),
        stream: (stream) => stream
      }),
      workdir: workspace,
      home,
      ping: before.ping,
      reset: Effect.andThen(
        before.reset,
        Effect.suspend(() => (isDirty() ? clean : Effect.void))
      ),
      awaitDeath: Effect.never,
      isolation: { level: "simulated" }
    }
    return {
      instance,
      get fileSystem() {
        isExposed = true
        return root
      },
      processes: () => table?.processes() ?? [],
      usage: disk.usage,
      halt: (error) => Effect.suspend(() => table?.halt(error) ?? Effect.void)
    }
  })
