/** Patterns of events: compiled, matched with placeholders, and compared with what came instead. */
import * as EventLogger from "@effect-sandbox/core/EventLogger"
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as Predicate from "effect/Predicate"
import type { Pattern } from "../../EventExpect.ts"

/** One recorded event and its line. */
export interface Row {
  /** Counted from 1, in the whole record. */
  readonly number: number
  readonly event: SandboxEvent
  readonly line: string
}

export const rowsOf = (events: ReadonlyArray<SandboxEvent>): ReadonlyArray<Row> =>
  events.map((event, index) => ({ number: index + 1, event, line: EventLogger.title(event) }))

/** What each placeholder stands for. Two never stand for the same. */
export type Bindings = ReadonlyMap<string, string>

export const noBindings: Bindings = new Map()

export interface Matcher {
  /** The pattern as it is shown. */
  readonly text: string
  /** Whether it has placeholders that are not bound yet, so that it matters which row it matches. */
  readonly isOpen: (bindings: Bindings) => boolean
  /** The bindings after a match, or nothing when it does not match. */
  readonly match: (row: Row, bindings: Bindings) => Bindings | undefined
  /** How much a row is like the pattern, from 0 to 1, and what differs if that can be said. */
  readonly likeness: (row: Row, bindings: Bindings) => Likeness
}

export interface Likeness {
  readonly score: number
  readonly difference?: string | undefined
}

export const compile = (pattern: Pattern): Matcher => {
  if (typeof pattern === "string") return ofLine(pattern)
  if (pattern instanceof RegExp) return ofRegExp(pattern)
  if (typeof pattern === "function") return ofPredicate(pattern)
  return ofFields(pattern)
}

const placeholder = /<([A-Za-z][\w -]*)>/g

const namesIn = (text: string): ReadonlyArray<string> => [...text.matchAll(placeholder)].map(([, name = ""]) => name)

const isOpenText = (text: string, bindings: Bindings): boolean => namesIn(text).some((name) => !bindings.has(name))

const escape = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")

/** Matches a text with placeholders, each of which stands for a word of any characters but spaces. */
const matchText = (expected: string, actual: string, bindings: Bindings): Bindings | undefined => {
  const open: Array<string> = []
  const parts = expected.split(placeholder).map((part, index) => {
    if (index % 2 === 0) return escape(part)
    const bound = bindings.get(part)
    if (bound !== undefined) return escape(bound)
    const again = open.indexOf(part)
    if (again !== -1) return `\\${again + 1}`
    open.push(part)
    return "(\\S+?)"
  })
  const found = new RegExp(`^${parts.join("")}$`).exec(actual)
  if (found === null) return undefined
  const next = new Map(bindings)
  for (const [index, name] of open.entries()) {
    const value = found[index + 1] ?? ""
    if ([...next.values()].includes(value)) return undefined
    next.set(name, value)
  }
  return next
}

/** A text in which the bound placeholders are filled in. */
const fill = (text: string, bindings: Bindings): string =>
  text.replaceAll(placeholder, (whole, name: string) => bindings.get(name) ?? whole)

const ofLine = (line: string): Matcher => ({
  text: line,
  isOpen: (bindings) => isOpenText(line, bindings),
  match: (row, bindings) => matchText(line, row.line, bindings),
  likeness: (row, bindings) => ({ score: likenessOf(fill(line, bindings), row.line) })
})

const ofRegExp = (pattern: RegExp): Matcher => {
  // Without the flags that make a match depend on the one before.
  const stateless = new RegExp(pattern.source, pattern.flags.replaceAll(/[gy]/g, ""))
  return {
    text: String(pattern),
    isOpen: () => false,
    match: (row, bindings) => (stateless.test(row.line) ? bindings : undefined),
    likeness: (row) => ({ score: likenessOf(pattern.source, row.line) })
  }
}

const ofPredicate = (predicate: (event: SandboxEvent) => boolean): Matcher => ({
  text: predicate.name === "" ? "an event that a predicate accepts" : `an event that ${predicate.name} accepts`,
  isOpen: () => false,
  match: (row, bindings) => (predicate(row.event) ? bindings : undefined),
  likeness: () => ({ score: 0 })
})

type Fields = Extract<Pattern, { readonly _tag: unknown }>

const ofFields = (pattern: Fields): Matcher => {
  const { _tag, ...fields } = pattern
  const text = Object.keys(fields).length === 0 ? _tag : `${_tag} ${show(fields)}`
  return {
    text,
    isOpen: (bindings) => textsIn(fields).some((value) => isOpenText(value, bindings)),
    match: (row, bindings) => {
      if (row.event._tag !== _tag) return undefined
      const wrong: Array<string> = []
      const next = compare(fields, row.event, "", bindings, wrong)
      return wrong.length === 0 ? next : undefined
    },
    likeness: (row, bindings) => {
      if (row.event._tag !== _tag) return { score: 0 }
      const wrong: Array<string> = []
      compare(fields, row.event, "", bindings, wrong)
      const count = Math.max(1, Object.keys(fields).length)
      return { score: 0.5 + Math.max(0, count - wrong.length) / count / 2, difference: wrong.join(", ") }
    }
  }
}

const textsIn = (value: unknown): ReadonlyArray<string> =>
  typeof value === "string"
    ? [value]
    : Predicate.isObject(value) && !(value instanceof RegExp)
      ? Object.values(value).flatMap(textsIn)
      : []

/** Compares fields; what differs is added to `wrong`, as `sessionId is "s2"`. */
const compare = (
  expected: unknown,
  actual: unknown,
  path: string,
  bindings: Bindings,
  wrong: Array<string>
): Bindings => {
  const differs = (): Bindings => {
    wrong.push(`${path} is ${show(actual)}`)
    return bindings
  }
  if (expected instanceof RegExp) {
    const stateless = new RegExp(expected.source, expected.flags.replaceAll(/[gy]/g, ""))
    return typeof actual === "string" && stateless.test(actual) ? bindings : differs()
  }
  if (typeof expected === "string" && typeof actual === "string") {
    return matchText(expected, actual, bindings) ?? differs()
  }
  if (!Predicate.isObject(expected)) return Object.is(expected, actual) ? bindings : differs()
  if (!Predicate.isObject(actual)) return differs()
  let next = bindings
  for (const [key, value] of Object.entries(expected)) {
    const field: unknown = Predicate.hasProperty(actual, key) ? actual[key] : undefined
    next = compare(value, field, path === "" ? key : `${path}.${key}`, next, wrong)
  }
  return next
}

const show = (value: unknown): string => {
  if (value instanceof RegExp || value === undefined) return String(value)
  if (!Predicate.isObject(value)) return JSON.stringify(value)
  return `{ ${Object.entries(value)
    .map(([key, field]) => `${key}: ${show(field)}`)
    .join(", ")} }`
}

/** How many pairs of neighbouring characters two texts share, from 0 (none) to 1 (all). */
const likenessOf = (a: string, b: string): number => {
  const pairs = new Map<string, number>()
  for (let i = 1; i < a.length; i++) {
    const pair = a.slice(i - 1, i + 1)
    pairs.set(pair, (pairs.get(pair) ?? 0) + 1)
  }
  let shared = 0
  for (let i = 1; i < b.length; i++) {
    const pair = b.slice(i - 1, i + 1)
    const left = pairs.get(pair) ?? 0
    if (left === 0) continue
    pairs.set(pair, left - 1)
    shared++
  }
  return a.length + b.length <= 2 ? 0 : (2 * shared) / (a.length + b.length - 2)
}
