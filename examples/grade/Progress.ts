/**
 * The progress display on standard error: a few lines that are drawn again ten times a second on a terminal, and a
 * line every few seconds elsewhere. What is logged meanwhile goes above the lines.
 */
import type { Environment } from "@effect-sandbox/core"
import { Clock, Effect, Logger, Schedule, Stdio } from "effect"
import type { Tally } from "./Tally.ts"

/** Standard error, with a block of lines at its end that can be replaced. */
class Screen {
  #height = 0
  readonly isTerminal: boolean

  constructor(isTerminal: boolean) {
    this.isTerminal = isTerminal
  }

  /** Replaces the block. */
  draw(lines: ReadonlyArray<string>): void {
    this.#write(this.#back() + lines.map((line) => `${fit(line)}\n`).join(""))
    this.#height = lines.length
  }

  /** Prints something that stays, above the block until the next `draw`. */
  print(text: string): void {
    this.#write(`${this.#back()}${text}\n`)
    this.#height = 0
  }

  clear(): void {
    this.#write(this.#back())
    this.#height = 0
  }

  #back(): string {
    return this.#height === 0 ? "" : `\u001b[${this.#height}A\r\u001b[J`
  }

  #write(text: string): void {
    if (text !== "") process.stderr.write(text)
  }
}

/** A line that would wrap could not be drawn over. */
const fit = (line: string): string => line.slice(0, (process.stderr.columns ?? 80) - 1)

export interface Progress {
  /** Says something once. */
  readonly print: (text: string) => Effect.Effect<void>
  /** Shows how an environment gets on, until the effect ends. */
  readonly during: <A, E, R>(
    stats: Effect.Effect<Environment.Stats>,
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R>
  /** A logger that does not write into the display. */
  readonly logger: Logger.Logger<unknown, void>
}

export const make = Effect.fnUntraced(function* (tally: Tally) {
  const screen = new Screen(yield* (yield* Stdio.Stdio).stderrIsTerminal)
  const started = yield* Clock.currentTimeMillis

  const tick = (stats: Effect.Effect<Environment.Stats>) =>
    Effect.gen(function* () {
      const elapsed = (yield* Clock.currentTimeMillis) - started
      const now = yield* stats
      if (screen.isTerminal) screen.draw([bar(tally), pace(tally, elapsed), ...now.images.map(pool)])
      else screen.print(`${tally.done}/${tally.total} ${pace(tally, elapsed)} | ${now.images.map(pool).join(" | ")}`)
    })

  const progress: Progress = {
    print: (text) => Effect.sync(() => screen.print(text)),
    during: (stats, effect) =>
      Effect.raceFirst(
        effect,
        tick(stats).pipe(
          screen.isTerminal
            ? Effect.repeat(Schedule.spaced("100 millis"))
            : Effect.schedule(Schedule.spaced("3 seconds")),
          Effect.andThen(Effect.never)
        )
      ).pipe(Effect.ensuring(Effect.sync(() => screen.clear()))),
    logger: Logger.map(Logger.formatSimple, (text) => screen.print(text))
  }
  return progress
})

const bar = ({ done, total }: Tally): string => {
  const width = 40
  const full = total === 0 ? width : Math.floor((width * done) / total)
  return `[${"#".repeat(full)}${".".repeat(width - full)}] ${done}/${total}`
}

const pace = (tally: Tally, elapsedMillis: number): string => {
  const perSecond = elapsedMillis === 0 ? 0 : (tally.doneNow / elapsedMillis) * 1000
  const eta = perSecond === 0 ? "?" : clock(tally.left / perSecond)
  return `${tally.text || "nothing yet"}; ${tally.surprises.length} unexpected; ${perSecond.toFixed(1)}/s; ETA ${eta}`
}

const pool = ({ counts, image, max, outage, starting }: Environment.ImageStats): string => {
  const statuses = Object.entries(counts).flatMap(([status, count]) =>
    count === 0 ? [] : [`${count} ${status.replace(/(?!^)[A-Z]/g, " $&").toLowerCase()}`]
  )
  const parts = [
    ...(starting === 0 ? [] : [`${starting} starting`]),
    ...statuses,
    ...(outage === undefined ? [] : ["in an outage"])
  ]
  return `${image} (at most ${max}): ${parts.join(", ") || "no sandboxes"}`
}

/** Minutes and seconds. */
export const clock = (seconds: number): string =>
  `${Math.floor(Math.ceil(seconds) / 60)}:${String(Math.ceil(seconds) % 60).padStart(2, "0")}`
