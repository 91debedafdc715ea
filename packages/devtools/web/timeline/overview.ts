/** The strip above everything: use of the pool, waiting and errors over the whole time, and which part is seen. */
import type { Model } from "./model.ts"
import { gutter } from "./paint.ts"
import { type Theme, themeOf } from "./theme.ts"

export interface OverviewFrame {
  readonly model: Model
  readonly from: number
  readonly until: number
  readonly isDark: boolean
  readonly hasFocus: boolean
  /** When things were found. */
  readonly found: ReadonlyArray<number>
}

const chart = { top: 4, height: 40 }
const waits = { top: 47, height: 13 }
const errors = { top: 63, height: 9 }
export const overviewHeight = 76

const font = (size: number, weight = 400) =>
  `${weight} ${size}px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif`

export const drawOverview = (canvas: HTMLCanvasElement, frame: OverviewFrame): void => {
  const ratio = Math.min(3, devicePixelRatio || 1)
  const width = canvas.clientWidth
  const height = canvas.clientHeight
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio)
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio)
  const context = canvas.getContext("2d", { alpha: false })!
  context.setTransform(ratio, 0, 0, ratio, 0, 0)
  const theme = themeOf(frame.isDark)
  const left = gutter(width)
  const room = width - left
  const { model } = frame
  const { series, summary } = model
  context.fillStyle = theme.background
  context.fillRect(0, 0, width, height)

  const toX = (time: number) => left + ((time - model.start) / (model.end - model.start)) * room
  const area = (values: Float64Array, top: number, of: { top: number; height: number }, fill: string) => {
    context.beginPath()
    context.moveTo(left, of.top + of.height)
    const columns = Math.min(series.bins, Math.round(room))
    for (let x = 0; x < columns; x++) {
      // Several bins of a column: their average, as each is one.
      const [a, b] = [Math.floor((x * series.bins) / columns), Math.floor(((x + 1) * series.bins) / columns)]
      let sum = 0
      for (let bin = a; bin < b; bin++) sum += values[bin]!
      const y = of.top + of.height - (sum / Math.max(1, b - a) / top) * of.height
      context.lineTo(left + (x * room) / columns, y)
      context.lineTo(left + ((x + 1) * room) / columns, y)
    }
    context.lineTo(width, of.top + of.height)
    context.closePath()
    context.fillStyle = fill
    context.fill()
  }
  area(series.sandboxes, series.top, chart, theme.statuses[2]!)
  area(series.inFlight, series.top, chart, theme.statuses[4]!)
  area(series.waiting, series.topWaiting, waits, theme.waiting)
  if (summary.max !== undefined && summary.max > 0) {
    const y = Math.round(chart.top + chart.height - (summary.max / series.top) * chart.height) + 0.5
    context.strokeStyle = theme.strong
    context.setLineDash([4, 3])
    context.beginPath()
    context.moveTo(left, y)
    context.lineTo(width, y)
    context.stroke()
    context.setLineDash([])
  }
  for (let bin = 0; bin < series.bins; bin++) {
    const [state, user] = [series.stateErrors[bin]!, series.userErrors[bin]!]
    if (state + user === 0) continue
    const x = left + ((bin + 0.5) * room) / series.bins
    // Errors of sandboxes are as tall as the row, those of users half as tall.
    if (user > 0) {
      context.fillStyle = theme.userError
      context.fillRect(x - 1, errors.top + errors.height / 2, 2, errors.height / 2)
    }
    if (state > 0) {
      context.fillStyle = theme.stateError
      context.fillRect(x - 1, errors.top, 2, errors.height)
    }
  }
  context.fillStyle = theme.accent
  for (const time of frame.found.slice(0, 2000)) context.fillRect(toX(time) - 1, 0, 2, 3)

  labels(context, frame, left, width, theme)

  const from = Math.max(left, toX(frame.from))
  const until = Math.min(width, toX(frame.until))
  context.fillStyle = frame.isDark ? "rgba(10, 13, 17, 0.62)" : "rgba(228, 233, 240, 0.66)"
  context.fillRect(left, 0, Math.max(0, from - left), overviewHeight)
  context.fillRect(until, 0, Math.max(0, width - until), overviewHeight)
  context.strokeStyle = theme.accent
  context.lineWidth = 1.5
  context.strokeRect(from + 0.75, 0.75, Math.max(2, until - from - 1.5), overviewHeight - 2)
  context.fillStyle = theme.accent
  for (const x of [from, until]) context.fillRect(x - 2.5, overviewHeight / 2 - 9, 5, 18)
  context.fillStyle = theme.line
  context.fillRect(0, overviewHeight - 1, width, 1)
  if (frame.hasFocus) {
    context.strokeStyle = theme.accent
    context.lineWidth = 2
    context.strokeRect(1, 1, width - 2, overviewHeight - 2)
  }
}

const labels = (
  context: CanvasRenderingContext2D,
  { model: { series, summary } }: OverviewFrame,
  left: number,
  width: number,
  theme: Theme
): void => {
  context.fillStyle = theme.background
  context.fillRect(0, 0, left, overviewHeight)
  context.fillStyle = theme.line
  context.fillRect(left - 1, 0, 1, overviewHeight)
  context.textBaseline = "middle"
  const narrow = left < 100
  const line = (text: string, y: number, colour: string) => {
    context.font = font(11)
    context.fillStyle = theme.faint
    context.fillText(text, narrow ? 14 : 24, y)
    context.fillStyle = colour
    context.fillRect(narrow ? 4 : 10, y - 4, narrow ? 6 : 8, 8)
  }
  line(narrow ? "in use" : "sessions in flight", chart.top + 9, theme.statuses[4]!)
  line(narrow ? "there" : "sandboxes", chart.top + 27, theme.statuses[2]!)
  line(narrow ? "waiting" : "waiting for one", waits.top + 6, theme.waiting)
  line("errors", errors.top + 5, theme.stateError)
  if (width < 640) return
  context.font = font(10)
  const scale = (text: string, y: number) => {
    const wide = context.measureText(text).width
    context.fillStyle = theme.background
    context.globalAlpha = 0.8
    context.fillRect(left + 3, y - 6, wide + 4, 12)
    context.globalAlpha = 1
    context.fillStyle = theme.faint
    context.fillText(text, left + 5, y)
  }
  const y = chart.top + chart.height - ((summary.max ?? series.top) / series.top) * chart.height
  scale(summary.max === undefined ? `${Math.ceil(series.top)}` : `at most ${summary.max}`, Math.max(8, y + 7))
  if (summary.someWaited > 0) scale(`${Math.ceil(series.topWaiting)}`, waits.top + 5)
}
