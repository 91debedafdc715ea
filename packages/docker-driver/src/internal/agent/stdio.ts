/** The streams between the host and a command: which there are, and where they come from and go to. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import * as inboxes from "./inbox.ts"
import type { Process } from "./process.ts"

export type Bytes = Stream.Stream<Uint8Array, PlatformError>
type ByteSink = Sink.Sink<void, Uint8Array, never, PlatformError>
type Outputs = Sink.Sink<Uint8Array, Uint8Array, never, PlatformError>

interface Input {
  readonly fd: number
  readonly stream: Bytes | undefined
  readonly endOnDone: boolean
}

interface Output {
  readonly fd: number
  readonly sink: Outputs | undefined
}

/** What a command's options say of its streams. */
export interface Stdio {
  readonly inputs: ReadonlyArray<Input>
  readonly outputs: ReadonlyArray<Output>
  /** Those beyond the usual three: 1 to the command, 2 from it, 3 both. */
  readonly additional: ReadonlyArray<{ readonly fd: number; readonly direction: 1 | 2 | 3 }>
}

const nothing: { readonly sink: undefined } = { sink: undefined }

export const of = (options: ChildProcess.CommandOptions): Stdio => {
  const inputs: Array<Input> = []
  const outputs: Array<Output> = []
  const additional: Array<Stdio["additional"][number]> = []
  const { stderr, stdin, stdout } = options
  const input = typeof stdin === "object" && !Stream.isStream(stdin) ? stdin : { stream: stdin }
  if (input.stream !== "ignore") {
    const stream = Stream.isStream(input.stream) ? input.stream : undefined
    inputs.push({ fd: 0, stream, endOnDone: "endOnDone" in input ? (input.endOnDone ?? true) : true })
  }
  for (const [fd, config] of [
    [1, stdout],
    [2, stderr]
  ] as const) {
    const how = typeof config === "object" && !Sink.isSink(config) ? config.stream : config
    if (how !== "ignore") outputs.push({ fd, ...(Sink.isSink(how) ? { sink: how } : nothing) })
  }
  for (const [name, config] of Object.entries(options.additionalFds ?? {})) {
    const fd = ChildProcess.parseFdName(name)
    if (fd === undefined) continue
    if (config.type !== "output") inputs.push({ fd, stream: config.stream, endOnDone: true })
    if (config.type !== "input") outputs.push({ fd, sink: config.sink })
    additional.push({ fd, direction: config.type === "input" ? 1 : config.type === "output" ? 2 : 3 })
  }
  return { inputs, outputs, additional }
}

/** Whether a stream was given as input. */
export const isFed = ({ inputs }: Stdio): boolean => inputs.some(({ stream }) => stream !== undefined)

/** Ends quietly when the command reads no more: that is no error of whoever writes (F17). */
export const input = (stdio: Stdio, process: Process, fd: number): ByteSink => {
  const outbox = process.inputs.get(fd)
  if (outbox === undefined) return Sink.drain
  const endOnDone = stdio.inputs.find((input) => input.fd === fd)?.endOnDone !== false
  const sink = Sink.forEachWhile((bytes: Uint8Array) => outbox.write(bytes))
  return endOnDone ? Sink.onExit(sink, () => Effect.sync(() => outbox.end())) : sink
}

export const output = (stdio: Stdio, process: Process, fd: number): Bytes => {
  const stream = process.outputs.get(fd)?.stream ?? Stream.empty
  const sink = stdio.outputs.find((output) => output.fd === fd)?.sink
  return sink === undefined ? stream : Stream.transduce(stream, sink)
}

/** Standard output and standard error as they come. Few ask for it, so it is put together for those who do. */
export const both = (stdio: Stdio, process: Process): Bytes =>
  Stream.suspend(() => {
    if (stdio.outputs.some(({ fd, sink }) => fd < 3 && sink !== undefined)) {
      return Stream.merge(output(stdio, process, 1), output(stdio, process, 2))
    }
    return inboxes.merge([1, 2].flatMap((fd) => process.outputs.get(fd) ?? []))
  })

/** Writes the streams that were given as input; tells when one of them fails. */
export const feed = (
  stdio: Stdio,
  process: Process,
  failed: Deferred.Deferred<never, PlatformError>
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.forEach(
    stdio.inputs,
    ({ fd, stream }) =>
      stream === undefined
        ? Effect.void
        : Stream.run(
            Stream.tapError(stream, (error) => Deferred.fail(failed, error)),
            input(stdio, process, fd)
          ).pipe(Effect.forkScoped({ startImmediately: true })),
    { discard: true }
  )
