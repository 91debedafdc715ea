/**
 * Simulated processes. A process is a fiber with a number, a parent, a group, open files and a way to treat signals; its
 * life is
 *
 * ```text
 *   running <-> stopped
 *      |           |
 *      +-----+-----+
 *            v
 *         zombie ----> gone
 * ```
 *
 * A process that ended is a zombie until its parent waited for it, or is gone at once when nobody will.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import type { ExitStatus } from "../../SimProgram.ts"
import { Descriptors } from "./processDescriptors.ts"
import * as errno from "./processErrno.ts"
import * as files from "./processFiles.ts"
import type { Kernel } from "./processKernel.ts"
import { WaitList } from "./processPipe.ts"
import * as signals from "./processSignal.ts"
import * as text from "./processText.ts"

export type Lifetime = "session" | "sandbox"
export type Environment = { readonly [name: string]: string }

/** How a process sees the files. */
export interface View {
  /** Where relative paths start. */
  readonly cwd: string
  readonly lifetime: Lifetime
  /** The permissions that new files do not get. */
  readonly umask: number
}

/** What a process runs: gives its exit code. */
export type Body = (process: Process) => Effect.Effect<number>

/** What a process does about a signal instead of the default. */
export type Disposition = "ignore" | ((signal: signals.Signal) => void)

export interface StartOptions {
  readonly parent: Process | undefined
  readonly argv: ReadonlyArray<string>
  readonly environment: Environment
  readonly cwd: string
  readonly lifetime: Lifetime
  readonly descriptors: ReadonlyMap<number, files.OpenFile>
  readonly body: Body
}

export const initialUmask = 0o022
/** A process starts at once, inside of the call that starts it; every so many generations it waits for its turn. */
const generationsAtOnce = 8

export class Process {
  readonly kernel: Kernel
  readonly pid: number
  readonly startedAt: number
  readonly lifetime: Lifetime
  /** The process that the host asked for and that this one comes from. */
  readonly origin: number
  readonly scope = Scope.makeUnsafe()
  readonly descriptors: Descriptors
  readonly children = new Set<Process>()
  readonly dispositions = new Map<signals.Signal, Disposition>()
  readonly #ended = Deferred.makeUnsafe<ExitStatus, PlatformError>()
  readonly #generation: number
  readonly #continued = new WaitList()
  readonly #pending = new Set<signals.Signal>()
  parent: Process | undefined
  pgid: number
  sid: number
  argv: ReadonlyArray<string>
  environment: Environment
  umask: number
  cwd: string
  #view: { readonly cwd: string; readonly umask: number; readonly files: FileSystem.FileSystem } | undefined
  #state: "running" | "stopped" | "zombie" | "gone" = "running"
  /** Its files are being closed; then it has ended. */
  #isEnding = false
  /** How it is going to end, known before its fiber has ended. */
  #fate: ExitStatus | undefined
  #fiber: Fiber.Fiber<unknown, unknown> | undefined

  constructor(kernel: Kernel, pid: number, startedAt: number, options: StartOptions) {
    const { parent } = options
    this.kernel = kernel
    this.pid = pid
    this.startedAt = startedAt
    this.parent = parent
    this.lifetime = options.lifetime
    this.argv = options.argv
    this.environment = options.environment
    this.cwd = options.cwd
    this.pgid = parent?.pgid ?? pid
    this.sid = parent?.sid ?? pid
    this.origin = parent?.origin ?? pid
    this.umask = parent?.umask ?? initialUmask
    this.#generation = parent === undefined ? 0 : parent.#generation + 1
    this.descriptors = new Descriptors(options.descriptors)
    for (const [signal, disposition] of parent?.dispositions ?? []) {
      if (disposition === "ignore") this.dispositions.set(signal, disposition)
    }
    parent?.children.add(this)
  }

  get state() {
    return this.#state
  }

  get isEnded(): boolean {
    return this.#state === "zombie" || this.#state === "gone"
  }

  /** It is going to end, or has. */
  get isDoomed(): boolean {
    return this.#fate !== undefined || this.#isEnding
  }

  get name(): string {
    return this.argv[0] ?? ""
  }

  /** Waits until it is told how it ended; it stays a zombie. */
  get status(): Effect.Effect<ExitStatus, PlatformError> {
    return Deferred.await(this.#ended)
  }

  /** The files, as they look from the working directory. */
  get files(): FileSystem.FileSystem {
    const { cwd, lifetime, umask } = this
    if (this.#view?.cwd !== cwd || this.#view.umask !== umask) {
      this.#view = { cwd, umask, files: this.kernel.files({ cwd, lifetime, umask }) }
    }
    return this.#view.files
  }

  // --- what it runs ----------------------------------------------------------------------------------------------

  run(body: Body): Effect.Effect<void> {
    const turn = this.#generation % generationsAtOnce === generationsAtOnce - 1 ? Effect.yieldNow : Effect.void
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiber<void>((fiber) => {
        this.#fiber = fiber
        const work = Effect.andThen(
          turn,
          Effect.suspend(() => body(this))
        )
        return Effect.gen({ self: this }, function* () {
          // A signal may have come before its first turn.
          const exit = this.isDoomed ? Exit.interrupt() : yield* Effect.exit(restore(work))
          yield* Scope.close(this.scope, exit)
          const status = this.#fate ?? (yield* restore(this.#statusOf(exit)).pipe(Effect.catchCause(() => aborted)))
          yield* this.resumed
          yield* this.#end(status)
        })
      })
    )
  }

  /** Forks a process like this one. */
  fork(options: {
    readonly body: Body
    readonly argv?: ReadonlyArray<string> | undefined
    readonly environment?: Environment | undefined
    readonly cwd?: string | undefined
    /** Default: those of this process. */
    readonly descriptors?: ReadonlyMap<number, files.OpenFile> | undefined
  }): Effect.Effect<Process, PlatformError> {
    return Effect.andThen(
      this.resumed,
      Effect.suspend(() =>
        this.kernel.start({
          parent: this,
          argv: options.argv ?? this.argv,
          environment: options.environment ?? this.environment,
          cwd: options.cwd ?? this.cwd,
          lifetime: this.lifetime,
          descriptors: options.descriptors ?? this.descriptors.inherited,
          body: options.body
        })
      )
    )
  }

  /** Becomes another program. */
  exec(program: { readonly argv: ReadonlyArray<string>; readonly body: Body }, environment: Environment) {
    return Effect.suspend(() => {
      this.argv = program.argv
      this.environment = environment
      for (const [signal, disposition] of this.dispositions) {
        if (disposition !== "ignore") this.dispositions.delete(signal)
      }
      return Effect.andThen(this.descriptors.closePrivate, program.body(this)).pipe(
        Effect.flatMap((code) => this.exit(code))
      )
    })
  }

  /** Ends with a code. */
  exit(code: number): Effect.Effect<never> {
    return this.#meet({ _tag: "Exited", code: code & 0xff })
  }

  /** Waits for a child to end, and lets go of it. */
  wait(child: Process): Effect.Effect<ExitStatus, PlatformError> {
    return Effect.tap(child.status, () => Effect.sync(() => child.#remove()))
  }

  /** A session and a group of its own; not for one that leads a group. */
  newSession(): boolean {
    if ([...this.kernel.processes.values()].some((process) => process.pgid === this.pid)) return false
    this.sid = this.pid
    this.pgid = this.pid
    return true
  }

  // --- its files -------------------------------------------------------------------------------------------------

  read(fd: number, max: number = files.blockSize): Effect.Effect<Uint8Array, PlatformError> {
    return this.#on(fd, "read", (file) => file.read(max))
  }

  readUntil(fd: number, delimiter: number): Effect.Effect<Uint8Array, PlatformError> {
    return this.#on(fd, "read", (file) => file.readUntil(delimiter))
  }

  /** Writes all of it. The bytes are kept, not copied. Where nobody reads any more, SIGPIPE ends the process. */
  write(fd: number, data: string | Uint8Array): Effect.Effect<void, PlatformError> {
    const bytes = typeof data === "string" ? text.encode(data) : data
    return Effect.catchIf(
      this.#on(fd, "write", (file) => file.write(bytes)),
      (error) => errno.codeOf(error) === "EPIPE",
      (error) => Effect.andThen(this.raise("SIGPIPE"), Effect.fail(error))
    )
  }

  /** Opens a file or a device. Whoever calls it releases the result. */
  open(
    path: string,
    flag: FileSystem.OpenFlag = "r",
    mode: number = 0o666
  ): Effect.Effect<files.OpenFile, PlatformError> {
    return Effect.andThen(
      this.resumed,
      Effect.suspend(() =>
        files.open(path, {
          files: this.files,
          cwd: this.cwd,
          flag,
          mode: mode & ~this.umask,
          descriptor: (fd) => this.descriptors.get(fd)
        })
      )
    )
  }

  // --- signals ---------------------------------------------------------------------------------------------------

  /** Waits while it is stopped. */
  get resumed(): Effect.Effect<void> {
    return this.#continued.until(() => this.#state !== "stopped")
  }

  /** A signal from anybody. */
  deliver(signal: signals.Signal): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#isEnding) return Effect.void
      if (signal === "SIGKILL") {
        this.#fate = { _tag: "Signalled", signal }
        const ending = this.#end(this.#fate)
        return Effect.andThen(
          ending,
          Effect.sync(() => this.#fiber?.interruptUnsafe())
        )
      }
      if (signal === "SIGCONT" && this.#state === "stopped") {
        this.#state = "running"
        this.#continued.wake()
        const pending = [...this.#pending]
        this.#pending.clear()
        return Effect.forEach([signal, ...pending], (each) => this.deliver(each), { discard: true })
      }
      const disposition = signal === "SIGSTOP" ? undefined : this.dispositions.get(signal)
      if (disposition === "ignore") return Effect.void
      const action = signals.defaultAction(signal)
      if (this.#state === "stopped" && (disposition !== undefined || action === "terminate")) {
        this.#pending.add(signal)
        return Effect.void
      }
      if (disposition !== undefined) return Effect.sync(() => disposition(signal))
      if (action === "stop") this.#state = "stopped"
      if (action === "terminate") {
        this.#fate ??= { _tag: "Signalled", signal }
        this.#fiber?.interruptUnsafe()
      }
      return Effect.void
    })
  }

  /** A signal to itself: returns only when that did not end it. */
  raise(signal: signals.Signal): Effect.Effect<void> {
    return Effect.andThen(
      this.deliver(signal),
      Effect.suspend(() => (this.#fate === undefined ? this.resumed : Effect.interrupt))
    )
  }

  // --- its end ---------------------------------------------------------------------------------------------------

  /** Ends without anybody having been told how, because the machine is gone. */
  halt(error: PlatformError): Effect.Effect<void> {
    return Effect.andThen(
      this.#end(undefined, error),
      Effect.sync(() => this.#fiber?.interruptUnsafe())
    )
  }

  /** Waits until nothing of it runs any more, which may be later than its end when it cleans up after SIGKILL. */
  get quiet(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const fiber = this.#fiber
      if (fiber === undefined) return resume(Effect.void)
      return Effect.sync(fiber.addObserver(() => resume(Effect.void)))
    })
  }

  #meet(fate: ExitStatus): Effect.Effect<never> {
    return Effect.suspend(() => {
      this.#fate ??= fate
      this.#fiber?.interruptUnsafe()
      return Effect.interrupt
    })
  }

  /** How it ended when no signal and no `exit` has said so. */
  #statusOf(exit: Exit.Exit<number>): Effect.Effect<ExitStatus, PlatformError> {
    if (Exit.isSuccess(exit)) return Effect.succeed({ _tag: "Exited", code: exit.value & 0xff })
    const defect = exit.cause.reasons.find(Cause.isDieReason)?.defect
    const message = Predicate.isError(defect) ? defect.message : String(defect ?? "it interrupted itself")
    return Effect.andThen(this.write(2, `${this.name}: ${message}\n`), aborted)
  }

  #end(status: ExitStatus | undefined, error?: PlatformError): Effect.Effect<void> {
    return Effect.uninterruptible(
      Effect.suspend(() => {
        if (this.#isEnding) return Effect.void
        this.#isEnding = true
        return Effect.andThen(
          this.descriptors.closeAll,
          Effect.sync(() => this.#ceased(status, error))
        )
      })
    )
  }

  #ceased(status: ExitStatus | undefined, error: PlatformError | undefined): void {
    this.#state = "zombie"
    for (const child of this.children) {
      child.parent = undefined
      if (child.#state === "zombie") child.#remove()
    }
    this.children.clear()
    if (this.parent === undefined) this.#remove()
    if (status !== undefined) Deferred.doneUnsafe(this.#ended, Effect.succeed(status))
    else if (error !== undefined) Deferred.doneUnsafe(this.#ended, Effect.fail(error))
    this.#continued.wake()
    this.kernel.changed.wake()
  }

  #remove(): void {
    if (this.#state !== "zombie") return
    this.#state = "gone"
    this.parent?.children.delete(this)
    this.kernel.processes.delete(this.pid)
  }

  #on<A>(
    fd: number,
    method: string,
    use: (file: files.OpenFile) => Effect.Effect<A, PlatformError>
  ): Effect.Effect<A, PlatformError> {
    return Effect.andThen(
      this.resumed,
      Effect.suspend(() => {
        const file = this.descriptors.get(fd)
        return file === undefined ? Effect.fail(errno.fail("EBADF", { method, path: fd })) : use(file)
      })
    )
  }
}

const aborted: Effect.Effect<ExitStatus> = Effect.succeed({ _tag: "Signalled", signal: "SIGABRT" })
