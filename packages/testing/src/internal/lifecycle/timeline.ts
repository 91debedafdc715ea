/** A run as people read it: what was done, what happened, and when, in columns. */
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as EventLogger from "@effect-sandbox/core/EventLogger"
import type { Fault } from "../../FaultPlan.ts"
import type { Configuration, Program, Step } from "./program.ts"
import type { Found, Happening } from "./log.ts"
import type { Outcome } from "./runner.ts"

/** The options as one line each. */
export const configurationLines = (configuration: Configuration): ReadonlyArray<string> => {
  const { images, ...rest } = configuration
  return [
    `images: ${images.map(({ id, max, min }) => (max === 0 ? `${id} (not pooled)` : `${id} (${min} to ${max})`)).join(", ")}`,
    ...Object.entries(rest).map(
      ([key, value]) => `${key}: ${typeof value === "object" ? JSON.stringify(value) : String(value)}`
    )
  ]
}

export const faultLine = ({ at, how, ...when }: Fault): string => {
  const { _tag, ...details } = how
  const fields = Object.entries({ ...details, ...when }).map(([key, value]) => `${key} ${JSON.stringify(value)}`)
  return [`${_tag} at ${at.join(", ")}`, ...fields].join(", ")
}

/** A step in words. */
export const stepLine = (step: Step): string => {
  const { _tag, turns, until, ...fields } = step
  const pause = [...(until === undefined ? [] : [`until ${until}`]), ...(turns === undefined ? [] : [`${turns} turns`])]
  const details = Object.entries(fields).map(([key, value]) => {
    if (key === "who") return `#${String(value)}`
    if (key === "fault") return faultLine(value as Fault)
    return `${key} ${String(value)}`
  })
  return [_tag, ...details, ...(pause.length === 0 ? [] : [`(then ${pause.join(" and ")})`])].join(" ")
}

const eventLine = (event: SandboxEvent): string => EventLogger.title(event)

const lineOf = (happening: Happening): string => {
  switch (happening._tag) {
    case "Step":
      return stepLine(happening.step)
    case "Event":
      return eventLine(happening.event)
    case "Struck": {
      const { call, fault } = happening.struck
      return `fault: ${faultLine(fault)}: ${call.sandboxId ?? "host"}`
    }
    case "Entered":
      return `${happening.user} is in ${happening.sandboxId}`
    case "Ended":
      return `${happening.user} ends: ${happening.result}`
    case "Phase":
      return happening.what
  }
}

/** The happenings as rows: time, step, what. */
export const timeline = (happenings: ReadonlyArray<Happening>): ReadonlyArray<string> => {
  const rows = happenings.map((happening) => ({
    at: `${happening.at} ms`,
    step: happening._tag === "Step" ? String(happening.index) : happening._tag === "Phase" ? "end" : "",
    what: happening._tag === "Step" || happening._tag === "Phase" ? lineOf(happening) : `  ${lineOf(happening)}`
  }))
  const width = Math.max(4, ...rows.map(({ at }) => at.length))
  const stepWidth = Math.max(4, ...rows.map(({ step }) => step.length))
  return [
    `${"time".padStart(width)}  ${"step".padStart(stepWidth)}  what`,
    ...rows.map(({ at, step, what }) => `${at.padStart(width)}  ${step.padStart(stepWidth)}  ${what}`)
  ]
}

export const violationLines = (found: Found): ReadonlyArray<string> => [
  `${found.rule}: ${found.what}`,
  ...(found.expected === undefined ? [] : [`  expected: ${found.expected}`]),
  ...(found.actual === undefined ? [] : [`  actual:   ${found.actual}`]),
  `  found ${found.step === undefined ? "after the last step" : `at step ${found.step}`}, at ${found.at} ms`
]

/** Everything about a program that broke a rule. */
export const report = (program: Program, outcome: Outcome): string => {
  const indent = (lines: ReadonlyArray<string>): ReadonlyArray<string> => lines.map((line) => `  ${line}`)
  return [
    ...(outcome.found === undefined ? ["no rule was broken"] : violationLines(outcome.found)),
    "",
    "configuration",
    ...indent(configurationLines(program.configuration)),
    ...(program.faults.length === 0 ? [] : ["faults", ...indent(program.faults.map(faultLine))]),
    ...(program.startTurns === undefined ? [] : [`the start is given ${program.startTurns} turns`]),
    "",
    ...timeline(outcome.happenings)
  ].join("\n")
}

/** Where two runs of the same program part, if they do (I10). */
export const difference = (first: Outcome, second: Outcome): Found | undefined => {
  if (second.found !== undefined)
    return { ...second.found, rule: "I10", what: `only the second run: ${second.found.what}` }
  const length = Math.max(first.happenings.length, second.happenings.length)
  for (let i = 0; i < length; i++) {
    const [one, two] = [first.happenings[i], second.happenings[i]]
    const [a, b] = [one, two].map((happening) => (happening === undefined ? "nothing" : JSON.stringify(happening)))
    if (a !== b) {
      return {
        rule: "I10",
        what: "the same program with the same seed does not run the same way",
        expected: one === undefined ? "nothing" : lineOf(one),
        actual: two === undefined ? "nothing" : lineOf(two),
        step: undefined,
        at: (one ?? two)?.at ?? 0
      }
    }
  }
  return undefined
}
