/** The streams between the host and a process that it spawned. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import * as errno from "./processErrno.ts"
import * as files from "./processFiles.ts"
import { Pipe } from "./processPipe.ts"
import { streamOf } from "./processView.ts"

export type Bytes = Stream.Stream<Uint8Array, PlatformError>
type ByteSink = Sink.Sink<void, Uint8Array, never, PlatformError>
type Outputs = Sink.Sink<Uint8Array, Uint8Array, never, PlatformError>

/** Everything between the host and one process. */
export class Stdio {
  readonly descriptors = new Map<number, files.OpenFile>()
  /** Whether streams were given as input. */
  readonly isFed: boolean
  readonly #inputs = new Map<
    number,
    { readonly end: files.OpenFile; readonly endOnDone: boolean; stream: Bytes | undefined }
  >()
  readonly #outputs = new Map<number, { readonly pipe: Pipe; readonly sink: Outputs | undefined }>()
  readonly #pipes: Array<Pipe> = []
  readonly #failed = Deferred.makeUnsafe<never, PlatformError>()

  constructor(options: ChildProcess.CommandOptions) {
    const { stderr, stdin, stdout } = options
    const input = typeof stdin === "object" && !Stream.isStream(stdin) ? stdin : { stream: stdin, endOnDone: undefined }
    if (input.stream === "ignore") this.descriptors.set(0, files.openNull())
    else this.#addInput(0, Stream.isStream(input.stream) ? input.stream : undefined, input.endOnDone ?? true)
    this.#addStandard(1, typeof stdout === "object" && !Sink.isSink(stdout) ? stdout.stream : stdout)
    this.#addStandard(2, typeof stderr === "object" && !Sink.isSink(stderr) ? stderr.stream : stderr)
    for (const [name, config] of Object.entries(options.additionalFds ?? {})) {
      const fd = ChildProcess.parseFdName(name)
      if (fd === undefined) continue
      if (config.type === "input") this.#addInput(fd, config.stream, true)
      else if (config.type === "output") this.#addOutput(fd, config.sink)
      else this.#addDuplex(fd, config.stream, config.sink)
    }
    this.isFed = [...this.#inputs.values()].some(({ stream }) => stream !== undefined)
  }

  /** The process holds its ends now, and nobody else. */
  get handOver(): Effect.Effect<void> {
    return Effect.forEach([...this.descriptors.values()], (file) => file.release, { discard: true })
  }

  /** Fails as the streams that were given as input do. */
  get inputFailure(): Effect.Effect<never, PlatformError> {
    return Deferred.await(this.#failed)
  }

  /** Starts to write the streams that were given as input. */
  get feed(): Effect.Effect<void, never, Scope.Scope> {
    return Effect.forEach(
      [...this.#inputs],
      ([fd, { stream }]) =>
        stream === undefined
          ? Effect.void
          : Stream.run(
              Stream.tapError(stream, (error) => Deferred.fail(this.#failed, error)),
              this.input(fd)
            ).pipe(Effect.forkScoped({ startImmediately: true })),
      { discard: true }
    )
  }

  /** Ends quietly when the process reads no more: that is no error of whoever writes (F17). */
  input(fd: number): ByteSink {
    const input = this.#inputs.get(fd)
    if (input === undefined) return Sink.drain
    const write = (bytes: Uint8Array) => {
      const written = Effect.as(input.end.write(new Uint8Array(bytes)), true)
      return Effect.catchIf(
        written,
        (error) => errno.codeOf(error) === "EPIPE",
        () => Effect.succeed(false)
      )
    }
    return Sink.onExit(Sink.forEachWhile(write), () => (input.endOnDone ? this.#endInput(fd) : Effect.void))
  }

  output(fd: number): Bytes {
    const output = this.#outputs.get(fd)
    if (output === undefined) return Stream.empty
    const stream = streamOf(output.pipe.read(files.blockSize))
    return output.sink === undefined ? stream : Stream.transduce(stream, output.sink)
  }

  /** Nobody writes and reads any more. What was left behind must not be held up by that (F1). */
  get abandon(): Effect.Effect<void> {
    return Effect.suspend(() => {
      for (const { pipe } of this.#outputs.values()) pipe.abandon()
      return Effect.forEach([...this.#inputs.keys()], (fd) => this.#endInput(fd), { discard: true })
    })
  }

  /** Fails whoever reads and writes. */
  readonly break = (error: PlatformError): void => {
    for (const pipe of this.#pipes) pipe.break(error)
  }

  #endInput(fd: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const input = this.#inputs.get(fd)
      this.#inputs.delete(fd)
      return input === undefined ? Effect.void : input.end.release
    })
  }

  #addStandard(fd: number, how: ChildProcess.CommandOutput | undefined): void {
    if (how === "ignore") this.descriptors.set(fd, files.openNull())
    else this.#addOutput(fd, Sink.isSink(how) ? how : undefined)
  }

  #addInput(fd: number, stream: Bytes | undefined, endOnDone: boolean): void {
    const pipe = this.#newPipe()
    this.descriptors.set(fd, new files.PipeReader(pipe))
    this.#inputs.set(fd, { end: new files.PipeWriter(pipe), endOnDone, stream })
  }

  #addOutput(fd: number, sink: Outputs | undefined): void {
    const pipe = this.#newPipe()
    this.descriptors.set(fd, new files.PipeWriter(pipe))
    pipe.addReader()
    this.#outputs.set(fd, { pipe, sink })
  }

  #addDuplex(fd: number, stream: Bytes | undefined, sink: Outputs | undefined): void {
    const input = this.#newPipe()
    const output = this.#newPipe()
    this.descriptors.set(fd, new files.Duplex(input, output))
    this.#inputs.set(fd, { end: new files.PipeWriter(input), endOnDone: true, stream })
    output.addReader()
    this.#outputs.set(fd, { pipe: output, sink })
  }

  #newPipe(): Pipe {
    const pipe = new Pipe()
    this.#pipes.push(pipe)
    return pipe
  }
}
