/**
 * How benchmarks measure: ratios against a baseline of the same run, in which subject and baseline alternate and the
 * median of the paired ratios counts; and how they report what they found.
 */
import { Clock, Console, Effect, FileSystem, Path, Schema, Stdio } from "effect"

export interface Row {
  readonly name: string
  readonly ratio: number
  /** Default: none; the row is for information. */
  readonly limit?: number | undefined
  /** Whether the ratio should be at most the limit, or at least. */
  readonly direction: "at most" | "at least"
  readonly subject: string
  readonly baseline: string
}

/** What `pair` found. */
export interface Pair {
  readonly subject: number
  readonly baseline: number
  readonly ratio: number
}

export const isQuick = Effect.map(
  Effect.flatMap(Stdio.Stdio, (stdio) => stdio.args),
  (args) => args.includes("--quick")
)

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** Seconds that an effect takes. */
export const time = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const started = yield* Clock.monotonicTimeNanos
    yield* effect
    return Number((yield* Clock.monotonicTimeNanos) - started) / 1e9
  })

export const times = <A, E, R>(n: number, effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    let i = 0
    return Effect.whileLoop({ while: () => i++ < n, body: () => effect, step: () => {} })
  })

/** Medians of the subject, the baseline, and their paired ratios. */
export const pair = <E, R, E2, R2>(
  rounds: number,
  subject: Effect.Effect<number, E, R>,
  baseline: Effect.Effect<number, E2, R2>
): Effect.Effect<Pair, E | E2, R | R2> =>
  Effect.gen(function* () {
    yield* subject
    yield* baseline
    const samples: Array<{ readonly subject: number; readonly baseline: number }> = []
    for (let round = 0; round < rounds; round++) {
      if (round % 2 === 0) {
        const first = yield* subject
        samples.push({ subject: first, baseline: yield* baseline })
      } else {
        const first = yield* baseline
        samples.push({ baseline: first, subject: yield* subject })
      }
    }
    return {
      subject: median(samples.map((sample) => sample.subject)),
      baseline: median(samples.map((sample) => sample.baseline)),
      ratio: median(samples.map((sample) => sample.subject / sample.baseline))
    }
  })

export const micros = (seconds: number): string => `${(seconds * 1e6).toFixed(2)} µs`
export const millis = (seconds: number): string => `${(seconds * 1e3).toFixed(2)} ms`
export const seconds = (value: number): string => `${value.toFixed(3)} s`

/** Bytes in use after a collection, without what lies outside of the heap. */
export const heap = Effect.sync(() => {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
})

/** Prints rows as they come, and keeps them. */
export class Report {
  readonly rows: Array<Row> = []

  row(row: Row): Effect.Effect<void> {
    this.rows.push(row)
    const { baseline, direction, limit, name, ratio, subject } = row
    const isGood = limit === undefined || (direction === "at most" ? ratio <= limit : ratio >= limit)
    const mark = limit === undefined ? "    " : isGood ? "ok  " : "MISS"
    const wanted = limit === undefined ? "" : ` (${direction} ${Number(limit.toPrecision(3))})`
    const digits = ratio < 0.1 ? 4 : 2
    return Console.log(
      `${mark} ${name.padEnd(52)} ${ratio.toFixed(digits).padStart(8)}${wanted}  ${subject} / ${baseline}`
    )
  }

  /** A row of what `pair` found. */
  compare(
    name: string,
    limit: number | undefined,
    { baseline, ratio, subject }: Pair,
    format: (value: number) => string = micros,
    direction: Row["direction"] = "at most"
  ): Effect.Effect<void> {
    return this.row({ name, limit, direction, ratio, subject: format(subject), baseline: format(baseline) })
  }

  /** Writes the rows to a file beside this one. */
  write(name: string, facts: { readonly [fact: string]: unknown }) {
    return Effect.gen({ self: this }, function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const file = path.join(import.meta.dirname, name)
      const json = Schema.encodeSync(Schema.fromJsonString(Schema.Unknown))({
        node: process.version,
        ...facts,
        rows: this.rows
      })
      yield* fs.writeFileString(file, `${json}\n`)
      yield* Console.log(`Written to ${path.relative(process.cwd(), file)}`)
    })
  }
}
