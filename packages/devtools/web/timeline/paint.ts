/**
 * Draws what is seen. Bars are written as pixels into memory, column by column for each row, and shown at once: a frame
 * costs the same however many bars there are. Only labels, marks and lines are drawn on top of that.
 */
import { endUnknown, markKinds, startUnknown } from "../../src/internal/timelineData.ts"
import * as format from "./format.ts"
import { itemAt, type Item, type Layout, type Scene, sizes, statusSums } from "./scene.ts"
import type { Selection } from "./state.ts"
import { blend, classIndex, pixelOf, type Theme, themeOf } from "./theme.ts"
import { lowerBound, type Range, walk, type Window } from "./tracks.ts"

export interface Frame {
  readonly scene: Scene
  readonly layout: Layout
  readonly from: number
  readonly until: number
  /** How far lanes are scrolled down. */
  readonly top: number
  readonly selection: Selection | undefined
  /** The lane that the keyboard is on. */
  readonly lane: number | undefined
  readonly matches: ReadonlySet<number>
  readonly isDark: boolean
  readonly hasFocus: boolean
}

/** Width of the labels of lanes. */
export const gutter = (width: number): number => (width < 640 ? 64 : 132)

export const axisHeight = 24

interface Pixels {
  readonly statuses: ReadonlyArray<number>
  readonly bars: ReadonlyArray<number>
  readonly edges: ReadonlyArray<number>
  readonly stripes: number
}

const pixels = new Map<Theme, Pixels>()
const pixelsOf = (theme: Theme): Pixels => {
  let known = pixels.get(theme)
  if (known === undefined) {
    const bars = theme.bars.map(({ fill }) => pixelOf(fill))
    const texts = theme.bars.map(({ text }) => pixelOf(text))
    known = {
      statuses: theme.statuses.map(pixelOf),
      bars,
      edges: bars.map((bar, index) => blend(bar, texts[index]!, 0.38)),
      stripes: pixelOf(theme.stateError)
    }
    pixels.set(theme, known)
  }
  return known
}

const stateErrorClass = classIndex("stateError")
const userErrorClass = classIndex("userError")
const fontOf = (size: number, weight = 400) =>
  `${weight} ${size}px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif`

/** The canvas of the lanes, with the axis above them. */
export class Painter {
  private readonly canvas: HTMLCanvasElement
  private readonly context: CanvasRenderingContext2D
  private image: ImageData | undefined
  private memory = new Uint32Array(0)
  private columns = new Uint32Array(0)
  private background = new Uint32Array(0)
  private ratio = 1
  /** How long the last frame took. */
  lastMillis = 0

  constructor(canvas: HTMLCanvasElement) {
    this.canvas = canvas
    this.context = canvas.getContext("2d", { alpha: false, willReadFrequently: true })!
  }

  private resize(): void {
    const ratio = Math.min(3, devicePixelRatio || 1)
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio))
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio))
    if (width === this.canvas.width && height === this.canvas.height && this.ratio === ratio && this.image) return
    this.canvas.width = width
    this.canvas.height = height
    this.ratio = ratio
    this.image = this.context.createImageData(width, height)
    this.memory = new Uint32Array(this.image.data.buffer)
    this.columns = new Uint32Array(width)
    this.background = new Uint32Array(width)
  }

  draw(frame: Frame): void {
    const began = performance.now()
    this.resize()
    const theme = themeOf(frame.isDark)
    const { ratio } = this
    const left = Math.round(gutter(this.canvas.clientWidth) * ratio)
    const width = this.canvas.width - left
    const perPixel = (frame.until - frame.from) / Math.max(1, width)
    // Whole pixels: what a pixel holds does not change while the view moves.
    const window: Window = { from: Math.floor(frame.from / perPixel) * perPixel, perPixel, width }
    const items = this.visible(frame)

    this.memory.fill(pixelOf(theme.background))
    for (const item of items) this.fill(frame, item, window, left, theme)
    this.context.putImageData(this.image!, 0, 0)

    const context = this.context
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    const cssWidth = this.canvas.clientWidth
    const toX = (time: number) => left / ratio + (time - window.from) / perPixel / ratio
    for (const item of items) this.decorate(frame, item, window, toX, theme)
    this.marks(frame, toX, theme)
    this.axis(frame, toX, theme, cssWidth)
    context.setTransform(1, 0, 0, 1, 0, 0)
    this.lastMillis = performance.now() - began
  }

  private visible({ layout, top }: Frame): ReadonlyArray<Item> {
    const first = itemAt(layout, top)
    const from = first === undefined ? 0 : layout.items.indexOf(first)
    const bottom = top + this.canvas.clientHeight - axisHeight
    const items: Array<Item> = []
    for (let i = from; i < layout.items.length && layout.items[i]!.y < bottom; i++) items.push(layout.items[i]!)
    return items
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Pixels
  // -------------------------------------------------------------------------------------------------------------------

  /** Copies columns of colours into rows of pixels. */
  private blit(columns: Uint32Array, left: number, top: number, height: number): void {
    const { height: all, width } = this.canvas
    const first = Math.max(Math.round(axisHeight * this.ratio), Math.round(top * this.ratio))
    const last = Math.min(all, Math.round((top + height) * this.ratio))
    const part = columns.subarray(0, width - left)
    for (let y = first; y < last; y++) this.memory.set(part, y * width + left)
  }

  private fill(frame: Frame, item: Item, window: Window, left: number, theme: Theme): void {
    const { scene } = frame
    const { data } = scene.model
    const y = axisHeight + item.y - frame.top
    const base = pixelOf(item.scene === undefined ? theme.band : theme.background)
    this.background.fill(base)
    this.blit(this.background, 0, y, item.height)
    for (const outage of item.group.outages) {
      const from = Math.round((data.outages.start[outage]! - window.from) / window.perPixel)
      const until = from + Math.max(1, Math.round(data.outages.duration[outage]! / window.perPixel))
      this.background.fill(pixelOf(theme.outage), Math.max(0, from), Math.max(0, Math.min(window.width, until)))
    }
    this.blit(this.background, left, y, item.height)
    if (item.scene === undefined) return
    if (frame.layout.isCompact) {
      this.statuses(scene, item.scene.segments, window, theme)
      if (item.scene.segments.to === item.scene.segments.from) {
        this.bars(scene, item.scene.rows[0], window, theme)
      }
      this.blit(this.columns, left, y + 1, sizes.compactStrip)
      return
    }
    let at = y + sizes.pad
    this.statuses(scene, item.scene.segments, window, theme)
    this.blit(this.columns, left, at, sizes.strip)
    at += sizes.strip + 1
    item.scene.rows.forEach((row, index) => {
      const height = index === 0 ? sizes.main - 2 : sizes.nested - 1
      this.bars(scene, row, window, theme)
      this.blit(this.columns, left, at, height)
      at += index === 0 ? sizes.main : sizes.nested
    })
  }

  private statuses({ segments }: Scene, range: Range, window: Window, theme: Theme): void {
    const { columns } = this
    const colours = pixelsOf(theme).statuses
    const inUse = segments.sums[statusSums.inUse]!
    const settingUp = segments.sums[statusSums.settingUp]!
    const ready = segments.sums[statusSums.ready]!
    const down = segments.sums[statusSums.down]!
    columns.set(this.background)
    walk(segments, range, window, {
      bar: (i, x0, x1) => columns.fill(colours[segments.classes[i]!]!, x0, x1),
      dense: (i, j, x) => {
        const parts = [
          inUse[j]! - inUse[i]!,
          settingUp[j]! - settingUp[i]!,
          ready[j]! - ready[i]!,
          down[j]! - down[i]!
        ] as const
        const all = parts[0] + parts[1] + parts[2] + parts[3]
        if (all <= 0) return
        let colour = blend(colours[2]!, colours[4]!, parts[0] / Math.max(parts[0] + parts[2], 1e-9))
        colour = blend(colour, colours[1]!, parts[1] / all)
        columns[x] = blend(colour, colours[6]!, parts[3] / all)
      }
    })
  }

  private bars({ spans }: Scene, range: Range | undefined, window: Window, theme: Theme): void {
    const { columns } = this
    const { bars, edges } = pixelsOf(theme)
    columns.set(this.background)
    if (range === undefined) return
    const sum = spans.sums[0]!
    walk(spans, range, window, {
      bar: (i, x0, x1) => {
        const colour = bars[spans.classes[i]!]!
        columns.fill(colour, x0, x1)
        // Neighbours of the same colour stay apart.
        if (x1 - x0 >= 3) columns[x0] = edges[spans.classes[i]!]!
      },
      dense: (i, j, x) => {
        if (spans.stateErrors[j]! > spans.stateErrors[i]!) columns[x] = edges[stateErrorClass]!
        else if (spans.userErrors[j]! > spans.userErrors[i]!) columns[x] = edges[userErrorClass]!
        else {
          const share = (sum[j]! - sum[i]!) / window.perPixel
          columns[x] = blend(columns[x]!, edges[spans.classes[i]!]!, Math.max(0.25, Math.min(1, share)))
        }
      }
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // On top
  // -------------------------------------------------------------------------------------------------------------------

  private decorate(frame: Frame, item: Item, window: Window, toX: (time: number) => number, theme: Theme): void {
    const { context } = this
    const { isCompact } = frame.layout
    const y = axisHeight + item.y - frame.top
    const width = this.canvas.clientWidth
    const left = gutter(width)
    context.textBaseline = "middle"
    if (item.scene === undefined) {
      this.head(frame, item, y, toX, theme)
      return
    }
    const { lane } = item.scene
    if (!isCompact) {
      context.fillStyle = theme.line
      context.fillRect(0, Math.round(y + item.height) - 1, width, 1)
    }
    context.save()
    context.beginPath()
    context.rect(left, axisHeight, width - left, this.canvas.clientHeight - axisHeight)
    context.clip()
    this.joints(frame, item, y, window, toX, theme)
    if (!isCompact) this.labels(frame, item, y, window, theme)
    this.errors(frame, item, y, window, toX, theme)
    this.highlights(frame, item, y, toX, theme)
    context.restore()

    const isCurrent = frame.lane === lane.index
    context.fillStyle = isCurrent ? theme.band : theme.background
    context.fillRect(0, y, left - 1, item.height - (isCompact ? 0 : 1))
    if (isCurrent) {
      context.fillStyle = theme.accent
      context.fillRect(0, y, 3, item.height - (isCompact ? 0 : 1))
    }
    const isFew = isCompact && item.height < 14
    if (!isFew) {
      context.font = fontOf(isCompact ? 10 : 12, isCurrent ? 600 : 400)
      context.fillStyle = isCurrent ? theme.text : theme.faint
      const middle = isCompact ? y + item.height / 2 : y + sizes.pad + sizes.strip + sizes.main / 2
      context.fillText(lane.label, 10, middle)
      if (left > 100) {
        let right = left - 10
        context.textAlign = "right"
        for (const [sign, count, colour] of [
          ["○", lane.userErrors, theme.userError],
          ["▲", lane.stateErrors, theme.stateError]
        ] as const) {
          if (count === 0) continue
          const text = `${sign} ${format.count(count)}`
          context.fillStyle = colour
          context.fillText(text, right, middle)
          right -= context.measureText(text).width + 7
        }
        context.textAlign = "left"
      }
    }
    context.fillStyle = theme.line
    context.fillRect(left - 1, y, 1, item.height)
  }

  private head(frame: Frame, item: Item, y: number, toX: (time: number) => number, theme: Theme): void {
    const { context } = this
    const { data } = frame.scene.model
    const width = this.canvas.clientWidth
    const left = gutter(width)
    const { environment, image, lanes, max, min, outages } = item.group
    context.fillStyle = theme.line
    context.fillRect(0, Math.round(y), width, 1)
    context.font = fontOf(12, 600)
    context.fillStyle = theme.text
    const title = image === "" ? environment : `${environment} · ${image}`
    const middle = y + item.height / 2 + 1
    context.fillText(title, 10, middle)
    let at = 10 + context.measureText(title).width + 14
    context.font = fontOf(11)
    context.fillStyle = theme.faint
    const sandboxes = lanes.reduce((sum, lane) => sum + lane.sandboxes.length, 0)
    const facts =
      image === ""
        ? ""
        : [
            format.plural(sandboxes, "sandbox", "sandboxes"),
            ...(max < 0 ? [] : [min === max ? `pool of ${max}` : `pool of ${min} to ${max}`]),
            ...(outages.length === 0 ? [] : [format.plural(outages.length, "outage")])
          ].join(" · ")
    if (width > 480) {
      context.fillText(facts, at, middle)
      at += context.measureText(facts).width + 10
    }
    context.font = fontOf(11, 600)
    for (const outage of outages) {
      const from = Math.max(left, toX(data.outages.start[outage]!))
      const until = Math.min(width, toX(data.outages.start[outage]! + data.outages.duration[outage]!))
      if (until <= left || from >= width) continue
      context.fillStyle = theme.stateError
      context.fillRect(from, y + item.height - 3, Math.max(2, until - from), 3)
      if (until - from > 52 && from > at) context.fillText("outage", from + 5, middle)
    }
    this.failures(frame, item, y, toX, theme)
  }

  /** A cross for each who got no sandbox; where they are many, one for all. */
  private failures(frame: Frame, item: Item, y: number, toX: (time: number) => number, theme: Theme): void {
    const { context } = this
    const { failures } = frame.scene.model.data
    const left = gutter(this.canvas.clientWidth)
    context.strokeStyle = theme.userError
    context.lineWidth = 2
    let lastX = Number.NEGATIVE_INFINITY
    for (const failure of item.group.failures) {
      const x = toX(failures.start[failure]! + failures.waited[failure]!)
      if (x < left || x > this.canvas.clientWidth || x - lastX < 8) continue
      context.beginPath()
      for (const sign of [-1, 1]) {
        context.moveTo(x - 3.5, y + item.height / 2 - 3.5 * sign)
        context.lineTo(x + 3.5, y + item.height / 2 + 3.5 * sign)
      }
      context.stroke()
      lastX = x
    }
  }

  /** Where one sandbox of a slot follows another. */
  private joints(
    frame: Frame,
    item: Item,
    y: number,
    window: Window,
    toX: (time: number) => number,
    theme: Theme
  ): void {
    const { context } = this
    const { sandboxes } = frame.scene.model.data
    const { isCompact } = frame.layout
    const { sandboxes: own, starts } = item.scene!.lane
    const height = isCompact ? sizes.compactStrip : item.height - 3
    const middle = isCompact ? y + 1 + sizes.compactStrip / 2 : y + sizes.pad + sizes.strip / 2
    const gap = 4 * window.perPixel * this.ratio
    // One more than is visible, for the line that leads to it.
    const end = Math.min(own.length, lowerBound(starts, frame.until, 0, own.length) + 1)
    let i = Math.max(1, lowerBound(starts, frame.from, 0, own.length))
    while (i < end) {
      const x = toX(starts[i]!)
      const left = toX(sandboxes.end[own[i - 1]!]!)
      context.strokeStyle = theme.strong
      context.lineWidth = 1
      if (x - left > 6) {
        context.setLineDash([3, 2])
        context.beginPath()
        context.moveTo(Math.max(0, left), middle)
        context.lineTo(Math.min(this.canvas.clientWidth, x - 3), middle)
        context.stroke()
        context.setLineDash([])
      }
      context.fillStyle = theme.strong
      context.fillRect(Math.round(x) - 1, y + 1, 2, height)
      context.beginPath()
      context.moveTo(x + 1, middle - 3.5)
      context.lineTo(x + 5, middle)
      context.lineTo(x + 1, middle + 3.5)
      context.fill()
      i = Math.max(i + 1, lowerBound(starts, starts[i]! + gap, i, end))
    }
  }

  private labels(frame: Frame, item: Item, y: number, window: Window, theme: Theme): void {
    const { context, ratio } = this
    const { scene } = frame
    const { data } = scene.model
    const left = gutter(this.canvas.clientWidth)
    let at = y + sizes.pad + sizes.strip + 1
    item.scene!.rows.forEach((row, index) => {
      const height = index === 0 ? sizes.main - 2 : sizes.nested - 1
      const size = index === 0 ? 11 : 10
      const perLetter = size * 0.59
      const middle = at + height / 2 + 0.5
      if (middle > axisHeight && middle < this.canvas.clientHeight + height) {
        context.font = fontOf(size)
        walk(scene.spans, row, window, {
          bar: (i, x0, x1) => {
            const [from, until] = [x0 / ratio, x1 / ratio]
            const kind = scene.spans.classes[i]!
            if (kind === stateErrorClass && until - from > 4) this.stripes(left + from, at, until - from, height, theme)
            else if (kind === userErrorClass && until - from > 3) {
              context.fillStyle = theme.userError
              context.fillRect(left + from, at + height - 2, until - from, 2)
            }
            const flags = data.spans.flags[scene.spans.ids[i]!]!
            if (flags !== 0 && until - from > 6) this.openEnds(left + from, left + until, at, height, flags, theme)
            const letters = Math.floor((until - from - 8) / perLetter)
            if (letters < 3) return
            const text = data.strings.at(data.spans.name[scene.spans.ids[i]!]!)
            context.fillStyle = theme.bars[kind]!.text
            const isSession = index === 0 && data.spans.session[scene.spans.ids[i]!]! >= 0
            const shown = text.length <= letters ? text : shorten(text, letters, isSession)
            if (kind === stateErrorClass) this.plate(left + from + 4, at, shown, size, height, theme)
            context.fillText(shown, left + from + 5, middle, until - from - 8)
          },
          dense: () => {}
        })
      }
      at += index === 0 ? sizes.main : sizes.nested
    })
  }

  /** Makes a bar with a state error known without its colour. */
  private stripes(x: number, y: number, width: number, height: number, theme: Theme): void {
    const { context } = this
    const end = Math.min(x + width, this.canvas.clientWidth)
    const start = Math.max(x, 0)
    context.save()
    context.beginPath()
    context.rect(start, y, end - start, height)
    context.clip()
    context.strokeStyle = theme.stateError
    context.globalAlpha = 0.5
    context.lineWidth = 2
    context.beginPath()
    for (let at = start - height - (start % 7); at < end; at += 7) {
      context.moveTo(at, y + height)
      context.lineTo(at + height, y)
    }
    context.stroke()
    context.restore()
  }

  /** What text on stripes stands on. */
  private plate(x: number, y: number, text: string, size: number, height: number, theme: Theme): void {
    const { context } = this
    const before = context.fillStyle
    context.fillStyle = theme.bars[stateErrorClass]!.fill
    context.fillRect(x - 1, y + 1, text.length * size * 0.58 + 5, height - 2)
    context.fillStyle = before
  }

  /** Teeth where nobody knows the start or the end. */
  private openEnds(from: number, until: number, y: number, height: number, flags: number, theme: Theme): void {
    const { context } = this
    context.fillStyle = theme.background
    const tooth = height / 3
    for (let i = 0; i < 3; i++) {
      for (const [flag, x, direction] of [
        [endUnknown, until, -1],
        [startUnknown, from, 1]
      ] as const) {
        if ((flags & flag) === 0) continue
        context.beginPath()
        context.moveTo(x, y + i * tooth)
        context.lineTo(x + direction * 4, y + (i + 0.5) * tooth)
        context.lineTo(x, y + (i + 1) * tooth)
        context.fill()
      }
    }
  }

  /** A triangle for each state error, a ring for each error of a user; where they are many, one for all. */
  private errors(
    frame: Frame,
    item: Item,
    y: number,
    window: Window,
    toX: (time: number) => number,
    theme: Theme
  ): void {
    const { context } = this
    const { errors } = frame.scene
    const { from, to } = item.scene!.errors
    const at = frame.layout.isCompact ? y + 1 + sizes.compactStrip / 2 : y + sizes.pad + 2
    const gap = 9 * window.perPixel * this.ratio
    let i = lowerBound(errors.time, frame.from - gap, from, to)
    while (i < to && errors.time[i]! <= frame.until + gap) {
      const time = errors.time[i]!
      const j = lowerBound(errors.time, time + gap, i, to)
      let isState = false
      for (let k = i; k < Math.min(j, i + 64); k++) isState ||= errors.isState[k] === 1
      const x = toX(time)
      context.lineWidth = 1.5
      if (isState) {
        context.beginPath()
        context.moveTo(x, at - 5)
        context.lineTo(x + 5, at + 4)
        context.lineTo(x - 5, at + 4)
        context.closePath()
        context.fillStyle = theme.stateError
        context.strokeStyle = theme.background
        context.stroke()
        context.fill()
      } else {
        context.beginPath()
        context.arc(x, at, 3.4, 0, Math.PI * 2)
        context.fillStyle = theme.background
        context.fill()
        context.strokeStyle = theme.userError
        context.lineWidth = 2
        context.stroke()
      }
      i = Math.max(j, i + 1)
    }
  }

  /** Frames around what is selected and what was found. */
  private highlights(frame: Frame, item: Item, y: number, toX: (time: number) => number, theme: Theme): void {
    const { context } = this
    const { data, spanEnd } = frame.scene.model
    const { lane } = item.scene!
    const box = (from: number, until: number, top: number, height: number, colour: string, wide: boolean) => {
      const x = Math.max(-4, toX(from))
      const end = Math.min(this.canvas.clientWidth + 4, toX(until))
      context.strokeStyle = colour
      context.lineWidth = wide ? 2 : 1.5
      context.strokeRect(x - 1, top - 1, Math.max(3, end - x) + 2, height + 2)
    }
    const place = (span: number) => {
      const row = data.spans.row[span]!
      if (frame.layout.isCompact) return [y + 1, sizes.compactStrip] as const
      const shown = item.scene!.rows
      const index = Math.max(
        0,
        shown.findIndex(({ from, to }) => {
          const ids = frame.scene.spans.ids
          return to > from && data.spans.row[ids[from]!] === row
        })
      )
      const top = y + sizes.pad + sizes.strip + 1
      return index === 0 || row === 0
        ? ([top, sizes.main - 2] as const)
        : ([top + sizes.main + (index - 1) * sizes.nested, sizes.nested - 1] as const)
    }
    if (frame.matches.size > 0 && frame.matches.size <= 2000) {
      for (const span of frame.matches) {
        if (data.spans.lane[span] !== lane.index) continue
        const [top, height] = place(span)
        box(data.spans.start[span]!, spanEnd[span]!, top, height, theme.accent, false)
      }
    }
    const { selection } = frame
    if (selection === undefined) return
    const strip = frame.layout.isCompact
      ? ([y + 1, sizes.compactStrip] as const)
      : ([y + sizes.pad, sizes.strip] as const)
    if (selection.kind === "span" && data.spans.lane[selection.index] === lane.index) {
      const [top, height] = place(selection.index)
      box(data.spans.start[selection.index]!, spanEnd[selection.index]!, top, height, theme.selected, true)
    } else if (selection.kind === "segment" && data.segments.lane[selection.index] === lane.index) {
      const start = data.segments.start[selection.index]!
      box(start, start + data.segments.duration[selection.index]!, strip[0], strip[1], theme.selected, true)
    } else if (selection.kind === "sandbox" && data.sandboxes.lane[selection.index] === lane.index) {
      const { end, start } = data.sandboxes
      box(start[selection.index]!, end[selection.index]!, strip[0], strip[1], theme.selected, true)
    }
  }

  /** Lines for moments in the life of environments. */
  private marks(frame: Frame, toX: (time: number) => number, theme: Theme): void {
    const { context } = this
    const { marks } = frame.scene.model.data
    const left = gutter(this.canvas.clientWidth)
    context.fillStyle = theme.strong
    for (let i = 0; i < marks.length; i++) {
      if (markKinds[marks.kind[i]!] === "EnvironmentStarting" && marks.start[i] === frame.scene.model.start) continue
      const x = toX(marks.start[i]!)
      if (x < left || x > this.canvas.clientWidth) continue
      context.globalAlpha = 0.55
      for (let y = axisHeight; y < this.canvas.clientHeight; y += 6) context.fillRect(Math.round(x), y, 1, 3)
      context.globalAlpha = 1
    }
  }

  private axis(frame: Frame, toX: (time: number) => number, theme: Theme, width: number): void {
    const { context } = this
    const left = gutter(width)
    const { marks, strings } = frame.scene.model.data
    context.fillStyle = theme.background
    context.fillRect(0, 0, width, axisHeight)
    context.fillStyle = theme.line
    context.fillRect(0, axisHeight - 1, width, 1)
    context.fillRect(left - 1, 0, 1, axisHeight)
    const step = tickStep((frame.until - frame.from) / Math.max(1, (width - left) / 90))
    context.font = fontOf(11)
    context.fillStyle = theme.faint
    context.fillText(format.duration(frame.until - frame.from), 10, axisHeight / 2)
    const origin = frame.scene.model.start
    for (let tick = Math.ceil((frame.from - origin) / step); tick * step + origin <= frame.until; tick++) {
      const x = toX(tick * step + origin)
      if (x < left) continue
      context.fillStyle = theme.line
      context.fillRect(Math.round(x), axisHeight - 6, 1, 6)
      context.globalAlpha = 0.5
      context.fillRect(Math.round(x), axisHeight, 1, this.canvas.clientHeight)
      context.globalAlpha = 1
      context.fillStyle = theme.faint
      context.fillText(format.tick(tick * step, step), x + 4, axisHeight / 2)
    }
    let lastX = -100
    for (let i = 0; i < marks.length; i++) {
      const kind = markKinds[marks.kind[i]!]!
      if (kind === "EnvironmentStarting") continue
      const x = toX(marks.start[i]!)
      if (x < left || x > width || x - lastX < 12) continue
      const name =
        kind === "ActionRequested"
          ? strings.at(marks.text[i]!)
          : kind === "EnvironmentDraining"
            ? "draining"
            : "shutting down"
      const text = name.length > 24 ? `${name.slice(0, 23)}…` : name
      const wide = context.measureText(text).width + 10
      const start = Math.min(x, width - wide)
      context.fillStyle = theme.strong
      context.fillRect(start, 3, wide, axisHeight - 7)
      context.fillStyle = theme.background
      context.fillText(text, start + 5, axisHeight / 2)
      lastX = start + wide
    }
    if (frame.hasFocus) {
      context.strokeStyle = theme.accent
      context.lineWidth = 2
      context.strokeRect(1, 1, width - 2, this.canvas.clientHeight - 2)
    }
  }
}

/** Names tell things apart by their beginnings, ids of sessions often by their ends. */
const shorten = (text: string, letters: number, isSession: boolean): string => {
  if (!isSession) return `${text.slice(0, letters - 1)}…`
  if (letters < 9) return `…${text.slice(1 - letters)}`
  const head = Math.ceil((letters - 1) / 2)
  return `${text.slice(0, head)}…${text.slice(head + 1 - letters)}`
}

/** A distance of ticks that people can read. */
export const tickStep = (least: number): number => {
  const nice = [1, 2, 5, 10, 20, 50, 100, 200, 500]
  const seconds = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400]
  for (const micros of nice) if (micros / 1000 >= least) return micros / 1000
  for (const millis of nice) if (millis >= least) return millis
  for (const second of seconds) if (second * 1000 >= least) return second * 1000
  return Math.ceil(least / 86_400_000) * 86_400_000
}
