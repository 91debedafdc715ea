/** One chart of a few lines over time, with its latest values as text. */
import { useEffect, useRef } from "preact/hooks"
import uPlot from "uplot"
import { colour, colours } from "./theme.ts"

export interface Line {
  readonly name: string
  /** A colour of the style sheet. */
  readonly colour: "blue" | "amber" | "red" | "soft"
  readonly fill?: boolean
  /** A bar for each second, for what is counted. */
  readonly bars?: boolean
}

interface Props {
  readonly title: string
  readonly lines: ReadonlyArray<Line>
  readonly format: (value: number) => string
  readonly times: ReadonlyArray<number>
  readonly values: ReadonlyArray<ReadonlyArray<number | null>>
}

const height = 120
const seconds = 300
const bars = uPlot.paths.bars?.({ size: [1, 100, 1] })

const minute = (time: number): string =>
  new Date(time * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })

export const Chart = ({ format, lines, times, title, values }: Props) => {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | undefined>(undefined)
  const data = (): uPlot.AlignedData => [[...times], ...values.map((line) => [...line])]

  useEffect(() => {
    const { current } = place
    if (current === null) return
    const axis = { stroke: colour("soft"), font: "11px system-ui, sans-serif", ticks: { show: false } }
    const grid = { stroke: colour("grid"), width: 1 }
    const chart = new uPlot(
      {
        width: current.clientWidth,
        height,
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        padding: [8, 8, 0, 0],
        scales: {
          x: {
            time: true,
            // Also while there is little to show, so that nothing jumps.
            range: (_chart, _least, most) => [most - seconds, most]
          },
          y: { range: (_chart, _least, most) => [0, most > 0 ? most * 1.1 : 1] }
        },
        axes: [
          {
            ...axis,
            grid: { show: false },
            space: 60,
            size: 26,
            incrs: [60, 300],
            values: (chart, marks) =>
              marks.map((mark) => (mark > (chart.scales["x"]?.max ?? 0) - 20 ? "" : minute(mark)))
          },
          { ...axis, grid, size: 56, space: 28, values: (_chart, marks) => marks.map(format) }
        ],
        series: [
          {},
          ...lines.map((line): uPlot.Series => ({
            label: line.name,
            stroke: colour(line.colour),
            width: 1.5,
            points: { show: false },
            spanGaps: false,
            ...(line.bars === true && bars !== undefined ? { paths: bars } : {}),
            ...(line.fill === true ? { fill: `${colour(line.colour)}22` } : {})
          }))
        ],
        hooks: { setCursor: [(chart) => showAt(current, chart, lines, format)] }
      },
      data(),
      current
    )
    plot.current = chart
    const observer = new ResizeObserver(() => chart.setSize({ width: current.clientWidth, height }))
    observer.observe(current)
    return () => {
      observer.disconnect()
      chart.destroy()
      plot.current = undefined
    }
    // `data` of later renders comes by the effect below.
  }, [colours.value, lines])

  useEffect(() => plot.current?.setData(data()))

  const latest = lines.map((line, index) => {
    const value = values[index]?.at(-1)
    return { ...line, text: value === undefined || value === null ? "–" : format(value) }
  })
  return (
    <figure class="card chart">
      <figcaption>
        <h3>{title}</h3>
        <ul>
          {latest.map((line) => (
            <li key={line.name}>
              <i class={line.colour} aria-hidden="true" />
              {line.name} <b>{line.text}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div
        ref={place}
        role="img"
        aria-label={`${title}: ${latest.map((line) => `${line.name} ${line.text}`).join(", ")}`}
      />
      <p class="tip" hidden />
    </figure>
  )
}

/** The values under the pointer. */
const showAt = (
  place: HTMLElement,
  chart: uPlot,
  lines: ReadonlyArray<Line>,
  format: (value: number) => string
): void => {
  const tip = place.parentElement?.querySelector<HTMLElement>(".tip")
  const { idx } = chart.cursor
  const time = idx === undefined || idx === null ? undefined : chart.data[0][idx]
  if (tip === undefined || tip === null) return
  tip.hidden = time === undefined
  if (time === undefined || idx === undefined || idx === null) return
  const values = lines.map((line, index) => {
    const value = chart.data[index + 1]?.[idx]
    return `${line.name} ${value === undefined || value === null ? "–" : format(value)}`
  })
  tip.textContent = `${new Date(time * 1000).toLocaleTimeString()}  ·  ${values.join("  ·  ")}`
}
