/** How far a batch is: the counts behind the progress display and the summary. */
import type { Line } from "./Results.ts"
import type { Task } from "./Task.ts"
import { expectedVerdict } from "./Task.ts"
import * as Verdict from "./Verdict.ts"

/** A verdict that is not the one that the task names. */
export interface Surprise {
  readonly id: string
  readonly expected: Verdict.Expected
  readonly verdict: Verdict.Verdict
  readonly reason?: string | undefined
}

export class Tally {
  readonly total: number
  readonly surprises: Array<Surprise> = []
  readonly #expected: ReadonlyMap<string, Verdict.Expected>
  readonly #counts = new Map<Verdict.Verdict, number>()
  readonly #done = new Set<string>()
  /** How many of those done were done by an earlier run. */
  #resumed = 0

  constructor(tasks: ReadonlyArray<Task>) {
    this.total = tasks.length
    this.#expected = new Map(tasks.map((task) => [task.id, expectedVerdict(task)]))
  }

  /** Counts the results of an earlier run; those of tasks that are not in the batch any more do not matter. */
  resume(lines: ReadonlyArray<Line>): void {
    for (const line of lines) this.add(line)
    this.#resumed = this.#done.size
  }

  add({ id, reason, verdict }: Line): void {
    const expected = this.#expected.get(id)
    if (expected === undefined || this.#done.has(id)) return
    this.#done.add(id)
    this.#counts.set(verdict, this.count(verdict) + 1)
    if (verdict !== expected && verdict !== "skipped") this.surprises.push({ id, expected, verdict, reason })
  }

  has(id: string): boolean {
    return this.#done.has(id)
  }

  count(verdict: Verdict.Verdict): number {
    return this.#counts.get(verdict) ?? 0
  }

  get done(): number {
    return this.#done.size
  }

  get resumed(): number {
    return this.#resumed
  }

  get doneNow(): number {
    return this.done - this.#resumed
  }

  get left(): number {
    return this.total - this.done
  }

  /** `195 passed, 48 failed, …`, without what did not occur. */
  get text(): string {
    return Verdict.Verdict.literals
      .flatMap((verdict) => (this.count(verdict) === 0 ? [] : [`${this.count(verdict)} ${verdict}`]))
      .join(", ")
  }
}
