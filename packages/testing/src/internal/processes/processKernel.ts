/** All processes of one simulated machine, and what it does to them. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import { Process, type StartOptions, type View } from "./process.ts"
import * as errno from "./processErrno.ts"
import type { Executables } from "./processExecutable.ts"
import { WaitList } from "./processPipe.ts"
import type * as signals from "./processSignal.ts"

export class Kernel {
  readonly processes = new Map<number, Process>()
  /** Wakes when a process ended. */
  readonly changed = new WaitList()
  readonly executables: Executables
  readonly files: (view: View) => FileSystem.FileSystem
  /** Told first when the machine is gone, so that what others wait for fails, and does not look finished. */
  readonly haltListeners = new Set<(error: PlatformError) => void>()
  readonly #scope: Scope.Scope
  readonly #maxProcesses: number
  readonly #gone = Deferred.makeUnsafe<never, PlatformError>()
  #lastPid = 1
  #halted: PlatformError | undefined

  constructor(options: {
    readonly executables: Executables
    readonly files: Kernel["files"]
    /** Owns the fibers. */
    readonly scope: Scope.Scope
    readonly maxProcesses: number
  }) {
    this.executables = options.executables
    this.files = options.files
    this.#scope = options.scope
    this.#maxProcesses = options.maxProcesses
  }

  /** Why everything fails, when the machine is gone. */
  get halted(): PlatformError | undefined {
    return this.#halted
  }

  /** Fails when the machine is gone. */
  get gone(): Effect.Effect<never, PlatformError> {
    return Deferred.await(this.#gone)
  }

  start(options: StartOptions): Effect.Effect<Process, PlatformError> {
    return Effect.withFiber((fiber) => {
      if (this.#halted !== undefined) return Effect.fail(this.#halted)
      // A signal that a process got while it was about to fork has not reached the child.
      if (options.parent?.isDoomed === true) return Effect.interrupt
      if (this.processes.size >= this.#maxProcesses) {
        // Later, so that those who try again and again let others run.
        return Effect.andThen(Effect.yieldNow, Effect.fail(errno.fail("EAGAIN", { method: "fork" })))
      }
      const startedAt = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
      const process = new Process(this, ++this.#lastPid, startedAt, options)
      this.processes.set(process.pid, process)
      // All at once: in between there would be a process without a fiber, which nothing can end.
      Fiber.runIn(Effect.runForkWith(fiber.context)(process.run(options.body)), this.#scope)
      return Effect.succeed(process)
    })
  }

  /** Sends a signal to a process, to the sender's group (0), to a group (negative), or to all others (-1). */
  kill(sender: Process, pid: number, signal: signals.Signal | undefined): Effect.Effect<void, PlatformError> {
    return Effect.suspend(() => {
      if (pid === 1) return Effect.fail(errno.fail("EPERM", { method: "kill", path: pid }))
      const group = pid === 0 ? sender.pgid : -pid
      const targets = [...this.processes.values()].filter((process) => {
        if (pid > 0) return process.pid === pid
        return pid === -1 ? process !== sender : process.pgid === group
      })
      if (targets.length === 0) return Effect.fail(errno.fail("ESRCH", { method: "kill", path: pid }))
      if (signal === undefined) return Effect.void
      // Itself last: the others get theirs even when this ends the sender.
      const ordered = [
        ...targets.filter((target) => target !== sender),
        ...targets.filter((target) => target === sender)
      ]
      return Effect.forEach(ordered, (target) => target.deliver(signal), { discard: true })
    })
  }

  /** Sends a signal to all processes that are meant. */
  signalAll(isMeant: (process: Process) => boolean, signal: signals.Signal): Effect.Effect<void> {
    return Effect.suspend(() =>
      Effect.forEach([...this.processes.values()].filter(isMeant), (process) => process.deliver(signal), {
        discard: true
      })
    )
  }

  /** Waits until all that are meant have ended. */
  ended(isMeant: (process: Process) => boolean): Effect.Effect<void> {
    return this.changed.until(() =>
      [...this.processes.values()].every((process) => process.isEnded || !isMeant(process))
    )
  }

  /** Everything ends at once and nothing starts any more. */
  halt(error: PlatformError): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#halted !== undefined) return Effect.void
      this.#halted = error
      for (const listener of this.haltListeners) listener(error)
      Deferred.doneUnsafe(this.#gone, Effect.fail(error))
      return Effect.forEach([...this.processes.values()], (process) => process.halt(error), { discard: true })
    })
  }
}
