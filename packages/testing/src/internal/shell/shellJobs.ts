/** The commands that a shell runs in the background. */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import type { ExitStatus } from "../../SimProgram.ts"
import type { Process } from "../processes/process.ts"

export interface Job {
  readonly pid: number
  readonly processes: ReadonlyArray<Process>
}

export class Jobs {
  readonly #process: Process
  readonly #jobs = new Map<number, Job>()
  /** How those ended that nobody has asked for yet. */
  readonly #statuses = new Map<Process, ExitStatus>()

  constructor(process: Process) {
    this.#process = process
  }

  get all(): ReadonlyArray<Job> {
    return [...this.#jobs.values()]
  }

  add(processes: ReadonlyArray<Process>): void {
    const last = processes.at(-1)
    if (last !== undefined) this.#jobs.set(last.pid, { pid: last.pid, processes })
  }

  /** The job of a process. */
  find(pid: number): Job | undefined {
    return this.all.find((job) => job.processes.some((process) => process.pid === pid))
  }

  forget(job: Job): void {
    this.#jobs.delete(job.pid)
    for (const process of job.processes) this.#statuses.delete(process)
  }

  /** Waits until a process of a job ends. */
  status(process: Process): Effect.Effect<ExitStatus, PlatformError> {
    return Effect.suspend(() => {
      const known = this.#statuses.get(process)
      if (known !== undefined) return Effect.succeed(known)
      return Effect.tap(this.#process.wait(process), (status) => Effect.sync(() => this.#statuses.set(process, status)))
    })
  }

  /** Takes those that have ended off the process table. */
  get reap(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const ended = this.all.flatMap(({ processes }) =>
        processes.filter((process) => process.state === "zombie" && !this.#statuses.has(process))
      )
      return Effect.forEach(ended, (process) => Effect.ignore(this.status(process)), { discard: true })
    })
  }
}
