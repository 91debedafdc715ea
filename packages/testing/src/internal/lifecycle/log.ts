/** What happened in a run, the situations that came up, and the first rule that was broken. */
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import type { Struck } from "../../Faults.ts"
import type { Step } from "./program.ts"
import { type Blame, show, type Violation } from "./violation.ts"

/** Something that happened, for the timeline. */
export type Happening =
  | { readonly _tag: "Step"; readonly at: number; readonly index: number; readonly step: Step }
  | { readonly _tag: "Event"; readonly at: number; readonly event: SandboxEvent }
  | { readonly _tag: "Struck"; readonly at: number; readonly struck: Struck }
  | { readonly _tag: "Entered"; readonly at: number; readonly user: string; readonly sandboxId: string }
  | { readonly _tag: "Ended"; readonly at: number; readonly user: string; readonly result: string }
  | { readonly _tag: "Phase"; readonly at: number; readonly what: string }

/** A violation, and where in the program it was found. */
export interface Found extends Violation {
  /** The step after which it was found; undefined after the last. */
  readonly step: number | undefined
  /** In milliseconds since the program began. */
  readonly at: number
}

export class Log {
  readonly happenings: Array<Happening> = []
  /** How often each interesting situation came up. */
  readonly situations = new Map<string, number>()
  found: Found | undefined
  /** The step that runs. */
  step: number | undefined
  private readonly now: () => number

  constructor(now: () => number) {
    this.now = now
  }

  readonly happened = (happening: Happening): void => void this.happenings.push(happening)

  /** A new part of the program begins. */
  phase(what: string): void {
    this.happened({ _tag: "Phase", at: this.now(), what })
  }

  readonly count = (situation: string): void =>
    void this.situations.set(situation, (this.situations.get(situation) ?? 0) + 1)

  readonly blame: Blame = (rule, what, expected, actual) => {
    this.found ??= {
      rule,
      what,
      expected: expected === undefined ? undefined : show(expected),
      actual: actual === undefined ? undefined : show(actual),
      step: this.step,
      at: this.now()
    }
  }
}
