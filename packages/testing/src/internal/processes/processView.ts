/** A simulated process as its program sees it. */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { SimChild, SimInput, SimProcess, SimProgram, SpawnOptions } from "../../SimProgram.ts"
import * as files from "./processFiles.ts"
import type { Body, Process } from "./process.ts"
import { Pipe } from "./processPipe.ts"
import type { Signal } from "./processSignal.ts"
import * as text from "./processText.ts"

const newline = 10

/** What runs when a program is executed. */
export const bodyOf =
  (program: SimProgram): Body =>
  (process) =>
    Scope.provide(program.run(make(process)), process.scope)

/** The bytes that a read gives until it gives none. */
export const streamOf = (read: Effect.Effect<Uint8Array, PlatformError>): Stream.Stream<Uint8Array, PlatformError> =>
  Stream.fromPull(
    Effect.succeed(Effect.flatMap(read, (bytes) => (bytes.length === 0 ? Cause.done() : Effect.succeed(Arr.of(bytes)))))
  )

/** A line without its newline, and whether it had one. */
export interface Line {
  readonly text: string
  readonly isWhole: boolean
}

/** The next line; nothing at the end. Takes nothing beyond it. */
export const readLine = (process: Process, fd: number): Effect.Effect<Line | undefined, PlatformError> =>
  Effect.gen(function* () {
    const parts: Array<Uint8Array> = []
    while (true) {
      const bytes = yield* process.readUntil(fd, newline)
      if (bytes.length === 0 && parts.length === 0) return undefined
      const isWhole = bytes.at(-1) === newline
      parts.push(isWhole ? bytes.subarray(0, -1) : bytes)
      if (isWhole || bytes.length === 0) return { text: text.decode(text.concat(parts)), isWhole }
    }
  })

const inputOf = (process: Process): SimInput => {
  const read = process.read(0)
  return {
    stream: streamOf(read),
    read: Effect.map(read, (bytes) => (bytes.length === 0 ? Option.none() : Option.some(bytes))),
    readLine: Effect.map(readLine(process, 0), (line) => (line === undefined ? Option.none() : Option.some(line.text))),
    text: Stream.mkString(Stream.decodeText(streamOf(read)))
  }
}

/** A program may use its buffer again, but what is in a pipe must stay. */
const copied = (data: string | Uint8Array) => (typeof data === "string" ? data : new Uint8Array(data))

const make = (process: Process): SimProcess => {
  const { cwd, environment } = process
  const setDisposition = (wanted: ReadonlyArray<Signal>, disposition: "ignore" | ((signal: Signal) => void)) =>
    Effect.sync(() => {
      for (const signal of wanted) process.dispositions.set(signal, disposition)
    })
  return {
    pid: process.pid,
    name: process.name,
    args: process.argv.slice(1),
    env: environment,
    cwd,
    fileSystem: process.files,
    stdin: inputOf(process),
    stdout: (data) => process.write(1, copied(data)),
    stderr: (data) => process.write(2, copied(data)),
    spawn: (command, args = [], options = {}) => spawn(process, [command, ...args], options),
    exit: (code = 0) => process.exit(code),
    raise: (signal) => process.raise(signal),
    onSignal: (wanted, handler) =>
      Effect.contextWith((context) =>
        setDisposition(wanted, (signal) => {
          Fiber.runIn(Effect.runForkWith(context)(handler(signal)), process.scope)
        })
      ),
    ignoreSignals: (ignored) => setDisposition(ignored, "ignore"),
    awaitSignal: (wanted) =>
      Effect.callback((resume) => {
        const before = wanted.map((signal) => [signal, process.dispositions.get(signal)] as const)
        const restore = () => {
          for (const [signal, disposition] of before) {
            if (disposition === undefined) process.dispositions.delete(signal)
            else process.dispositions.set(signal, disposition)
          }
        }
        for (const signal of wanted) {
          process.dispositions.set(signal, () => {
            restore()
            resume(Effect.succeed(signal))
          })
        }
        return Effect.sync(restore)
      })
  }
}

const spawn = (
  process: Process,
  argv: readonly [string, ...ReadonlyArray<string>],
  options: SpawnOptions
): Effect.Effect<SimChild, PlatformError> =>
  Effect.uninterruptible(
    Effect.gen(function* () {
      const cwd = files.resolvePath(process.cwd, options.cwd ?? ".")
      const environment = { ...process.environment, ...options.env }
      yield* files.requireDirectory(process.files, cwd)
      const program = yield* process.kernel.executables.find(argv, { cwd, environment, files: process.files })
      const descriptors = new Map(process.descriptors.inherited)
      const opened: Array<files.OpenFile> = []
      const kept = new Map<number, number>()
      const wire = Effect.fnUntraced(function* (fd: number, how: "inherit" | "ignore" | "pipe" = "inherit") {
        if (how === "inherit") return
        if (how === "ignore") {
          descriptors.set(fd, files.openNull())
          return
        }
        const pipe = new Pipe()
        const ends = { reader: new files.PipeReader(pipe), writer: new files.PipeWriter(pipe) }
        const theirs = fd === 0 ? ends.reader : ends.writer
        const ours = fd === 0 ? ends.writer : ends.reader
        descriptors.set(fd, theirs)
        opened.push(theirs)
        kept.set(fd, yield* process.descriptors.keep(ours))
      })
      yield* wire(0, options.stdin)
      yield* wire(1, options.stdout)
      yield* wire(2, options.stderr)
      const started = process.fork({
        argv: program.argv,
        environment,
        cwd,
        descriptors,
        body: (child) => {
          if (options.newSession === true) child.newSession()
          return program.body(child)
        }
      })
      const child = yield* Effect.onExit(started, () =>
        Effect.forEach(opened, (file) => file.release, { discard: true })
      )
      const inputFd = kept.get(0)
      const output = (fd: number) => {
        const own = kept.get(fd)
        return own === undefined ? Stream.empty : streamOf(process.read(own))
      }
      return {
        pid: child.pid,
        exit: process.wait(child),
        kill: (signal = "SIGTERM") => process.kernel.kill(process, child.pid, signal),
        stdin: (data) => process.write(inputFd ?? -1, copied(data)),
        closeStdin: inputFd === undefined ? Effect.void : process.descriptors.close(inputFd),
        stdout: output(1),
        stderr: output(2)
      }
    })
  )
