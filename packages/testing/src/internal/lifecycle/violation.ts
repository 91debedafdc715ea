/** A rule of the design that a run did not keep. */
export interface Violation {
  /** Its mark: `I1` to `I10`, or that of a rule of section 4. */
  readonly rule: string
  readonly what: string
  readonly expected?: string | undefined
  readonly actual?: string | undefined
}

/** Takes note of a violation. Only the first one counts: what follows may be its consequence. */
export type Blame = (rule: string, what: string, expected?: unknown, actual?: unknown) => void

/** How a value is shown in a violation. */
export const show = (value: unknown): string => {
  if (typeof value === "string") return value
  if (Array.isArray(value)) return value.length === 0 ? "nothing" : value.map(show).join(", ")
  if (typeof value === "object" && value !== null) {
    return Object.entries(value)
      .map(([key, one]) => `${key}: ${show(one)}`)
      .join(", ")
  }
  return String(value)
}
