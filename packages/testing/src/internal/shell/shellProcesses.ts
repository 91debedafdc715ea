/** What a shell runs in other processes: subshells, pipelines, command substitutions, and commands in the background. */
import * as Effect from "effect/Effect"
import type { ExitStatus } from "../../SimProgram.ts"
import type { Process } from "../processes/process.ts"
import * as files from "../processes/processFiles.ts"
import { Pipe } from "../processes/processPipe.ts"
import * as signals from "../processes/processSignal.ts"
import * as text from "../processes/processText.ts"
import { type Mode, type Run, Shell } from "./shell.ts"
import { main, run } from "./shellInterpreter.ts"
import { fail, type Jump } from "./shellJump.ts"
import type { Command } from "./shellSyntax.ts"

/** For the background: what the keyboard sends is not for it. */
const ignoredInBackground = ["SIGINT", "SIGQUIT"] as const

interface ForkOptions {
  readonly isTested?: boolean | undefined
  readonly isBackground?: boolean | undefined
  readonly descriptors?: ReadonlyMap<number, files.OpenFile> | undefined
}

/** Starts a process of the shell's. */
export const start = (shell: Shell, options: Parameters<Process["fork"]>[0]): Effect.Effect<Process, Jump> =>
  Effect.catch(shell.process.fork(options), () => fail("Cannot fork"))

/** Runs a command in a shell like this one, in a process of its own. */
const fork = (shell: Shell, command: Command, options: ForkOptions): Effect.Effect<Process, Jump> =>
  Effect.suspend(() => {
    const mode: Mode = { isTested: options.isTested === true, isLast: true }
    const ignored = options.isBackground === true ? ignoredInBackground : []
    // As it is now, and not when the child gets its turn.
    const parent = new Shell(shell.process, shell)
    return start(shell, {
      descriptors: options.descriptors,
      body: (child) =>
        Effect.suspend(() => {
          for (const signal of ignored) child.dispositions.set(signal, "ignore")
          const subshell = new Shell(child, parent, ignored)
          return main(subshell, run(subshell, command, mode))
        })
    })
  })

/** A subshell needs no process of its own when it is the last thing that its shell does. */
export const subshell = (shell: Shell, body: Command, mode: Mode): Run =>
  mode.isLast && shell.traps.isEmpty
    ? run(shell, body, mode)
    : Effect.flatMap(fork(shell, body, { isTested: mode.isTested }), (child) => waitFor(shell, [child]))

/** Runs commands that are connected by pipes. */
export const pipeline = (shell: Shell, commands: ReadonlyArray<Command>, isTested: boolean): Run =>
  Effect.flatMap(connect(shell, commands, { isTested }), (children) => waitFor(shell, children))

export const background = (shell: Shell, command: Command): Run =>
  Effect.gen(function* () {
    const commands = command._tag === "Pipeline" && !command.isNegated ? command.commands : [command]
    const children = yield* connect(shell, commands, { isBackground: true })
    const last = children.at(-1)
    if (last !== undefined) shell.lastBackground = last.pid
    shell.jobs.add(children)
    return (shell.status = 0)
  })

/** What a command writes, without the newlines at the end. */
export const substitute = (shell: Shell, body: Command): Effect.Effect<string, Jump> =>
  Effect.gen(function* () {
    const { process } = shell
    const pipe = new Pipe()
    const writer = new files.PipeWriter(pipe)
    const own = yield* process.descriptors.keep(new files.PipeReader(pipe))
    const descriptors = new Map([...process.descriptors.inherited, [1, writer] as const])
    const child = yield* Effect.ensuring(fork(shell, body, { descriptors }), writer.release)
    const output = yield* Effect.orElseSucceed(
      files.readAll({ read: (max) => process.read(own, max) }),
      () => new Uint8Array(0)
    )
    yield* process.descriptors.close(own)
    shell.substitutionStatus = yield* waitFor(shell, [child])
    return text.decode(output.filter((byte) => byte !== 0)).replace(/\n+$/, "")
  })

/** Starts commands that are connected by pipes; in the background, with nothing to read. */
const connect = (
  shell: Shell,
  commands: ReadonlyArray<Command>,
  options: ForkOptions
): Effect.Effect<ReadonlyArray<Process>, Jump> =>
  Effect.uninterruptible(
    Effect.gen(function* () {
      const children: Array<Process> = []
      let source: files.OpenFile | undefined = options.isBackground === true ? files.openNull() : undefined
      for (const [index, command] of commands.entries()) {
        const descriptors = new Map(shell.process.descriptors.inherited)
        const ends: Array<files.OpenFile> = source === undefined ? [] : [source]
        if (source !== undefined) descriptors.set(0, source)
        source = undefined
        if (index < commands.length - 1) {
          const pipe = new Pipe()
          const writer = new files.PipeWriter(pipe)
          source = new files.PipeReader(pipe)
          descriptors.set(1, writer)
          ends.push(writer)
        }
        const next = source
        const child = yield* fork(shell, command, { ...options, descriptors }).pipe(
          Effect.ensuring(Effect.forEach(ends, (end) => end.release, { discard: true })),
          Effect.onError(() => next?.release ?? Effect.void)
        )
        children.push(child)
      }
      return children
    })
  )

/** Waits for commands in the foreground; gives the status of the last. */
export const waitFor = (shell: Shell, children: ReadonlyArray<Process>): Effect.Effect<number> =>
  Effect.gen(function* () {
    let status = 0
    for (const child of children) {
      const ended = yield* Effect.orElseSucceed(shell.process.wait(child), () => undefined)
      // Nobody is told how it ended when the machine is gone, and this shell ends as well.
      if (ended === undefined) return yield* Effect.never
      status = codeOf(ended)
      yield* announce(shell, ended)
    }
    yield* shell.jobs.reap
    return status
  })

/** Says that a signal ended a command, where that is news. */
export const announce = (shell: Shell, status: ExitStatus): Effect.Effect<void> => {
  const description = status._tag === "Signalled" ? signals.description(status.signal) : undefined
  return description === undefined ? Effect.void : Effect.ignore(shell.process.write(2, `${description}\n`))
}

/** An end as the shell counts it. */
export const codeOf = (status: ExitStatus): number =>
  status._tag === "Exited" ? status.code : 128 + signals.numberOf(status.signal)
