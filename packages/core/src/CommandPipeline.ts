/**
 * Pipelines of commands for drivers that can start single ones: each command's input is the output of the one before, and
 * the handle is that of the last, with the input of the first.
 *
 * ```ts
 * import { CommandPipeline } from "@effect-sandbox/core"
 * import type { Effect, PlatformError, Scope } from "effect"
 * import type { ChildProcess, ChildProcessSpawner } from "effect/process"
 *
 * declare const spawn: (
 *   command: ChildProcess.StandardCommand
 * ) => Effect.Effect<ChildProcessSpawner.ChildProcessHandle, PlatformError.PlatformError, Scope.Scope>
 *
 * const spawner = CommandPipeline.spawner(spawn)
 * ```
 */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

type Handle = ChildProcessSpawner.ChildProcessHandle
type Bytes = Stream.Stream<Uint8Array, PlatformError>

/** Starts one command. */
export type Spawn = (command: ChildProcess.StandardCommand) => Effect.Effect<Handle, PlatformError, Scope.Scope>

/** A spawner of commands and pipelines. */
export const spawner = (spawn: Spawn): ChildProcessSpawner.ChildProcessSpawner["Service"] =>
  ChildProcessSpawner.make((command) =>
    ChildProcess.isStandardCommand(command) ? spawn(command) : pipeline(spawn, command)
  )

const pipeline = Effect.fnUntraced(function* (spawn: Spawn, command: ChildProcess.PipedCommand) {
  const [first, ...rest] = flatten(command)
  const source = yield* spawn(first.command)
  const handles = [source]
  let last = source
  for (const { command, from, to } of rest) {
    last = yield* spawn(withInput(command, sourceOf(last, from), to))
    handles.push(last)
  }
  return ChildProcessSpawner.makeHandle({
    ...last,
    stdin: source.stdin,
    kill: (how) => Effect.forEach(handles.toReversed(), (handle) => Effect.ignore(handle.kill(how)), { discard: true }),
    unref: Effect.map(
      Effect.forEach(handles, (handle) => handle.unref),
      (rerefs) => Effect.all(rerefs.toReversed(), { discard: true })
    )
  })
})

interface Stage extends ChildProcess.PipeOptions {
  readonly command: ChildProcess.StandardCommand
}

const flatten = (
  command: ChildProcess.Command,
  options: ChildProcess.PipeOptions = {}
): readonly [Stage, ...Array<Stage>] => {
  if (ChildProcess.isStandardCommand(command)) return [{ ...options, command }]
  const [first, ...rest] = flatten(command.left, options)
  return [first, ...rest, ...flatten(command.right, command.options)]
}

const sourceOf = (handle: Handle, from: ChildProcess.PipeFromOption = "stdout"): Bytes => {
  if (from === "stderr") return handle.stderr
  if (from === "all") return handle.all
  const fd = ChildProcess.parseFdName(from)
  return fd === undefined ? handle.stdout : handle.getOutputFd(fd)
}

const withInput = (
  command: ChildProcess.StandardCommand,
  stream: Bytes,
  to: ChildProcess.PipeToOption = "stdin"
): ChildProcess.StandardCommand => {
  const { options } = command
  if (to === "stdin") {
    const config = typeof options.stdin === "object" && !Stream.isStream(options.stdin) ? options.stdin : {}
    return ChildProcess.make(command.command, command.args, { ...options, stdin: { ...config, stream } })
  }
  const before = options.additionalFds?.[to]
  const config = before?.type === "duplex" ? { ...before, stream } : { type: "input" as const, stream }
  return ChildProcess.make(command.command, command.args, {
    ...options,
    additionalFds: { ...options.additionalFds, [to]: config }
  })
}
