/** What a shell does about signals and at its end. */
import type { Process } from "../processes/process.ts"
import { WaitList } from "../processes/processPipe.ts"
import * as signals from "../processes/processSignal.ts"

/** A signal, or the end of the shell. */
export type Condition = signals.Signal | "EXIT"

export const parseCondition = (given: string): Condition | undefined =>
  given === "EXIT" || given === "0" ? "EXIT" : signals.parse(given)

export class Traps {
  /** Wakes when a signal came that is trapped. */
  readonly arrived = new WaitList()
  readonly #process: Process
  readonly #actions = new Map<Condition, string>()
  /** Ignored from the start, which a shell cannot change. */
  readonly #ignoredBefore: ReadonlySet<Condition>
  #pending: Array<signals.Signal> = []

  /** A subshell can change more than a shell: only what its shell cannot is out of its reach. */
  constructor(process: Process, ignoredBefore: ReadonlySet<Condition> = new Set(process.dispositions.keys())) {
    this.#process = process
    this.#ignoredBefore = ignoredBefore
    for (const signal of process.dispositions.keys()) this.#actions.set(signal, "")
  }

  get ignoredBefore(): ReadonlySet<Condition> {
    return this.#ignoredBefore
  }

  get isEmpty(): boolean {
    return [...this.#actions.values()].every((action) => action === "")
  }

  /** Those that are set, by number. */
  get all(): ReadonlyArray<readonly [Condition, string]> {
    const number = (condition: Condition) => (condition === "EXIT" ? 0 : signals.numberOf(condition))
    return [...this.#actions].sort(([left], [right]) => number(left) - number(right))
  }

  get hasPending(): boolean {
    return this.#pending.length > 0
  }

  /** The signal that came first of those that no trap has run for. */
  get firstPending(): signals.Signal | undefined {
    return this.#pending[0]
  }

  /** An empty action ignores the signal. */
  set(condition: Condition, action: string | undefined): void {
    if (this.#ignoredBefore.has(condition)) return
    if (action === undefined) this.#actions.delete(condition)
    else this.#actions.set(condition, action)
    if (condition === "EXIT" || condition === "SIGKILL" || condition === "SIGSTOP") return
    if (action === undefined) this.#process.dispositions.delete(condition)
    else if (action === "") this.#process.dispositions.set(condition, "ignore")
    else {
      this.#process.dispositions.set(condition, (signal) => {
        this.#pending.push(signal)
        this.arrived.wake()
      })
    }
  }

  takePending(): ReadonlyArray<string> {
    if (this.#pending.length === 0) return []
    const pending = this.#pending
    this.#pending = []
    return pending.flatMap((signal) => this.#actions.get(signal) ?? [])
  }

  /** What is to run at the end, once. */
  takeExit(): string | undefined {
    const action = this.#actions.get("EXIT")
    this.#actions.delete("EXIT")
    return action
  }
}
