/** The last minutes, second by second. */
import { signal } from "@preact/signals"
import type { EnvironmentState, Point } from "../../src/internal/dashboard/protocol.ts"
import { Chart, type Line } from "./Chart.tsx"
import { count, rate, span } from "./format.ts"
import { pointsOf } from "./state.ts"

const image = signal("")

interface Plot {
  readonly title: string
  readonly lines: ReadonlyArray<Line & { readonly of: (point: Point) => number | null }>
  readonly format: (value: number) => string
}

const latency = (title: string, of: (point: Point) => readonly [number, number] | undefined): Plot => ({
  title,
  format: span,
  lines: [
    { name: "p95", colour: "amber", of: (point) => of(point)?.[1] ?? null },
    { name: "median", colour: "blue", of: (point) => of(point)?.[0] ?? null }
  ]
})

const plots: ReadonlyArray<Plot> = [
  {
    title: "Sessions per second",
    format: rate,
    lines: [{ name: "ended well", colour: "blue", fill: true, bars: true, of: (point) => point.ended }]
  },
  {
    title: "Failures per second",
    format: rate,
    lines: [{ name: "failed", colour: "red", fill: true, bars: true, of: (point) => point.failed }]
  },
  {
    title: "Pool",
    format: (value) => count(Math.round(value)),
    lines: [
      { name: "sandboxes", colour: "soft", of: (point) => point.live },
      { name: "in use", colour: "blue", fill: true, of: (point) => point.busy },
      { name: "callers waiting", colour: "amber", of: (point) => point.waiters }
    ]
  },
  latency("Wait for a sandbox", (point) => point.wait),
  latency("Session set-up", (point) => point.setUp),
  latency("Session lifetime", (point) => point.lifetime)
]

export const Charts = ({ environment }: { readonly environment: EnvironmentState }) => {
  const chosen = environment.images.some((one) => one.image === image.value) ? image.value : ""
  const points = pointsOf(environment.id, chosen === "" ? undefined : chosen)
  const times = points.map((point) => point.t / 1000)
  return (
    <section aria-label="The last five minutes">
      <div class="bar">
        <h2>Last five minutes</h2>
        <span class="note">latencies over 15 seconds</span>
        <span class="spring" />
        <select
          aria-label="Image of the charts"
          value={chosen}
          onChange={(event) => (image.value = event.currentTarget.value)}
        >
          <option value="">All images</option>
          {environment.images.map((one) => (
            <option key={one.image} value={one.image}>
              {one.image}
            </option>
          ))}
        </select>
      </div>
      <div class="charts">
        {plots.map((plot) => (
          <Chart
            key={plot.title}
            title={plot.title}
            lines={plot.lines}
            format={plot.format}
            times={times}
            values={plot.lines.map((line) => points.map(line.of))}
          />
        ))}
      </div>
    </section>
  )
}
