/** A driver of one's own, as small as can be: sandboxes that are files in memory, and run no commands. */
import { SandboxDriver, SandboxStateError } from "@effect-sandbox/core"
import { VirtualFileSystem } from "@effect-sandbox/testing"
import { Effect, Layer, PlatformError } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"

const workdir = "/workspace"
/** Whom sessions write as; the workspace is theirs, and what it is in is root's. */
const user = { uid: 1000, gid: 1000 }

const noCommands = ChildProcessSpawner.make((command) =>
  Effect.fail(
    PlatformError.systemError({
      _tag: "NotFound",
      module: "ChildProcess",
      method: "spawn",
      pathOrDescriptor: ChildProcess.isStandardCommand(command) ? command.command : "a pipe",
      description: "there are no commands in these sandboxes"
    })
  )
)

export const layer: Layer.Layer<SandboxDriver> = Layer.succeed(SandboxDriver, {
  name: "files",
  create: Effect.fnUntraced(function* ({ sandboxId }) {
    const broken = (operation: string) => (cause: unknown) => new SandboxStateError({ sandboxId, operation, cause })
    const disk = yield* VirtualFileSystem.make({ files: { [workdir]: { directory: true, ...user } } }).pipe(
      Effect.mapError(broken("create"))
    )
    const root = disk.view()
    const empty = Effect.fnUntraced(function* (directory: string) {
      for (const name of yield* root.readDirectory(directory)) {
        yield* root.remove(`${directory}/${name}`, { recursive: true })
      }
    })
    return {
      spawner: noCommands,
      fileSystem: disk.view({ workdir, user: Effect.succeed(user) }),
      workdir,
      ping: Effect.void,
      reset: Effect.mapError(Effect.andThen(empty(workdir), empty("/tmp")), broken("reset")),
      awaitDeath: Effect.never
    }
  })
})
