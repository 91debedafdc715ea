/**
 * Makes a program that breaks a rule smaller, as long as the smaller one breaks the same rule: steps go first, in large
 * pieces and then one by one, then faults and options, and at last what is left is made plainer.
 */
import * as Effect from "effect/Effect"
import type { Configuration, Image, Program, Step } from "./program.ts"

export interface Shrunk {
  readonly program: Program
  /** Programs that were tried. */
  readonly tries: number
  /** Those of them that were smaller and failed the same way. */
  readonly shrinks: number
}

/** `fails` runs a program; `limit` is how many may be run. */
export const shrink = <R>(
  program: Program,
  fails: (program: Program) => Effect.Effect<boolean, never, R>,
  limit: number
): Effect.Effect<Shrunk, never, R> =>
  Effect.gen(function* () {
    let best = program
    let tries = 0
    let shrinks = 0
    const attempt = Effect.fnUntraced(function* (candidate: Program) {
      if (tries >= limit) return false
      tries++
      if (!(yield* fails(candidate))) return false
      shrinks++
      best = candidate
      return true
    })

    const removeSteps = Effect.gen(function* () {
      for (let size = Math.ceil(best.steps.length / 2); size >= 1; size = Math.floor(size / 2)) {
        // From the end: what comes later depends on what was before.
        for (let end = best.steps.length; end > 0;) {
          const start = Math.max(0, end - size)
          yield* attempt({ ...best, steps: [...best.steps.slice(0, start), ...best.steps.slice(end)] })
          end = start
        }
      }
    })

    for (let before: Program | undefined; before !== best && tries < limit;) {
      before = best
      yield* removeSteps
      for (const simplify of simplifications) {
        // Again and again: one simplification may make room for the next.
        for (let index = 0; ; index++) {
          const candidate = simplify(best, index)
          if (candidate === "done") break
          if (candidate !== undefined && (yield* attempt(candidate))) index--
        }
      }
    }
    return { program: best, tries, shrinks }
  })

/** The candidate of a number, nothing when there is none of that number, or `done` when there are no more. */
type Simplify = (program: Program, index: number) => Program | undefined | "done"

const without = <T>(items: ReadonlyArray<T>, index: number): ReadonlyArray<T> => items.filter((_, at) => at !== index)
const replaced = <T>(items: ReadonlyArray<T>, index: number, item: T): ReadonlyArray<T> =>
  items.map((one, at) => (at === index ? item : one))

const removeFault: Simplify = (program, index) =>
  index >= program.faults.length ? "done" : { ...program, faults: without(program.faults, index) }

const removeOption: Simplify = (program, index) => {
  const optional = Object.keys(program.configuration).filter((key) => key !== "images" && key !== "seed")
  const key = optional[index]
  if (key === undefined) return "done"
  const { [key]: _, ...rest } = program.configuration as Configuration & { readonly [key: string]: unknown }
  return { ...program, configuration: rest as Configuration } // only optional fields are left out
}

const removeImage: Simplify = (program, index) => {
  const { images } = program.configuration
  if (index >= images.length) return "done"
  const [first, ...others] = without(images, index)
  return first === undefined
    ? undefined
    : { ...program, configuration: { ...program.configuration, images: [first, ...others] } }
}

const simplerImages = ({ id, max, min }: Image): ReadonlyArray<Image> => [
  ...(min > 0
    ? [
        { id, min: 0, max },
        { id, min: min - 1, max }
      ]
    : []),
  ...(max > 1 && max > min ? [{ id, min, max: max - 1 }] : []),
  ...(max === 0 ? [{ id, min: 0, max: 1 }] : [])
]

const simplerImage: Simplify = (program, index) => {
  const { images } = program.configuration
  const all = images.flatMap((image, at) => simplerImages(image).map((simpler) => ({ at, simpler })))
  const chosen = all[index]
  if (chosen === undefined) return "done"
  const [first, ...others] = replaced(images, chosen.at, chosen.simpler)
  return first === undefined
    ? undefined
    : { ...program, configuration: { ...program.configuration, images: [first, ...others] } }
}

const startCompletely: Simplify = (program, index) => {
  if (index > 0 || program.startTurns === undefined) return "done"
  const { startTurns: _, ...rest } = program
  return rest
}

const simplerNumbers = (value: number): ReadonlyArray<number> => [
  ...new Set([0, 1, Math.floor(value / 10), Math.floor(value / 2), value - 1].filter((one) => one >= 0 && one < value))
]

/** Plainer forms of a step, the plainest first. */
const simplerSteps = (step: Step): ReadonlyArray<Step> => {
  const simpler: Array<object> = []
  const { turns, until, ...rest } = step
  if (turns !== undefined || until !== undefined) simpler.push(rest)
  if (until !== undefined) simpler.push(turns === undefined ? { ...rest, turns: 0 } : { ...rest, turns })
  if (turns !== undefined) {
    for (const fewer of simplerNumbers(turns)) simpler.push({ ...step, turns: fewer })
  }
  for (const [key, value] of Object.entries(step)) {
    if (key === "_tag" || key === "turns" || key === "until" || key === "who") continue
    if (typeof value === "number") for (const less of simplerNumbers(value)) simpler.push({ ...step, [key]: less })
    if (key === "way" || key === "id" || key === "times" || key === "status") {
      simpler.push(Object.fromEntries(Object.entries(step).filter(([name]) => name !== key)))
    }
  }
  return simpler as ReadonlyArray<Step> // only optional fields were left out, and numbers made smaller
}

const simplerStep: Simplify = (program, index) => {
  let left = index
  for (const [at, step] of program.steps.entries()) {
    const simpler = simplerSteps(step)
    const chosen = simpler[left]
    if (chosen !== undefined) return { ...program, steps: replaced(program.steps, at, chosen) }
    left -= simpler.length
  }
  return "done"
}

const smallerSeed: Simplify = (program, index) =>
  index > 0 || program.configuration.seed === 0
    ? "done"
    : { ...program, configuration: { ...program.configuration, seed: 0 } }

const simplifications: ReadonlyArray<Simplify> = [
  removeFault,
  removeOption,
  removeImage,
  startCompletely,
  simplerStep,
  simplerImage,
  smallerSeed
]
