/**
 * Rows of bars that are sorted by start, and what can be asked of them without a look at each bar: which are visible
 * (binary search), and what a pixel holds in which many of them begin (sums up to each bar).
 */

/** Where an ascending array first reaches a value. */
export const lowerBound = (values: ArrayLike<number>, value: number, from: number, to: number): number => {
  while (from < to) {
    const middle = (from + to) >>> 1
    if (values[middle]! < value) from = middle + 1
    else to = middle
  }
  return from
}

/** The same, when it is probably near `from`. */
const gallop = (values: ArrayLike<number>, value: number, from: number, to: number): number => {
  let step = 1
  let before = from
  let at = from
  while (at < to && values[at]! < value) {
    before = at + 1
    at += step
    step *= 2
  }
  return lowerBound(values, value, before, Math.min(at, to))
}

/** Bars of all rows, one row after the other. */
export interface Bars {
  readonly ids: Int32Array
  readonly start: Float64Array
  readonly end: Float64Array
  /** The latest end of a bar of the row up to this one; ascending, also where bars overlap. */
  readonly reach: Float64Array
  /** The class of each bar, which says its colour. */
  readonly classes: Uint8Array
  /** For each class with sums, the time up to each bar; and how many bars of the alarming classes there are. */
  readonly sums: ReadonlyArray<Float64Array>
  readonly stateErrors: Uint32Array
  readonly userErrors: Uint32Array
}

/** A row of bars. */
export interface Range {
  readonly from: number
  readonly to: number
}

export interface BarsSource {
  readonly count: number
  readonly id: (i: number) => number
  readonly start: (id: number) => number
  readonly duration: (id: number) => number
  readonly classOf: (id: number) => number
  /** To which of the sums a bar belongs. */
  readonly sumOf: (id: number) => number
  readonly sumCount: number
  readonly isStateError: (id: number) => boolean
  readonly isUserError: (id: number) => boolean
  /** Whether a new row begins with it. */
  readonly isFirst: (i: number) => boolean
}

export const makeBars = (source: BarsSource): Bars => {
  const { count } = source
  const bars = {
    ids: new Int32Array(count),
    start: new Float64Array(count),
    end: new Float64Array(count),
    reach: new Float64Array(count),
    classes: new Uint8Array(count),
    sums: Array.from({ length: source.sumCount }, () => new Float64Array(count + 1)),
    stateErrors: new Uint32Array(count + 1),
    userErrors: new Uint32Array(count + 1)
  }
  let reach = Number.NEGATIVE_INFINITY
  for (let i = 0; i < count; i++) {
    const id = source.id(i)
    const start = source.start(id)
    const duration = source.duration(id)
    const end = start + duration
    if (source.isFirst(i)) reach = Number.NEGATIVE_INFINITY
    if (end > reach) reach = end
    bars.ids[i] = id
    bars.start[i] = start
    bars.end[i] = end
    bars.reach[i] = reach
    bars.classes[i] = source.classOf(id)
    const own = source.sumOf(id)
    for (let s = 0; s < bars.sums.length; s++) {
      const sum = bars.sums[s]!
      sum[i + 1] = sum[i]! + (s === own ? duration : 0)
    }
    bars.stateErrors[i + 1] = bars.stateErrors[i]! + (source.isStateError(id) ? 1 : 0)
    bars.userErrors[i + 1] = bars.userErrors[i]! + (source.isUserError(id) ? 1 : 0)
  }
  return bars
}

/** What is seen: pixel 0 begins at `from`, and each pixel takes `perPixel` milliseconds. */
export interface Window {
  readonly from: number
  readonly perPixel: number
  readonly width: number
}

/** The first bar of a row that may be visible. */
export const firstVisible = (bars: Bars, { from, to }: Range, time: number): number => {
  let low = from
  let high = to
  while (low < high) {
    const middle = (low + high) >>> 1
    if (bars.reach[middle]! <= time) low = middle + 1
    else high = middle
  }
  return low
}

export interface Brush {
  /** A bar that is at least a pixel wide. */
  readonly bar: (i: number, x0: number, x1: number) => void
  /** A pixel in which the bars from `i` to `j` begin, none of which is as wide. */
  readonly dense: (i: number, j: number, x: number) => void
}

/** Walks over what is visible of a row: at most about two steps for each pixel, however many bars there are. */
export const walk = (bars: Bars, range: Range, { from, perPixel, width }: Window, brush: Brush): void => {
  const { end, start } = bars
  const { to } = range
  let i = firstVisible(bars, range, from)
  while (i < to) {
    const x = (start[i]! - from) / perPixel
    if (x >= width) return
    const wide = end[i]! - start[i]! >= perPixel
    if (wide) {
      const x0 = Math.max(0, Math.round(x))
      const x1 = Math.min(width, Math.max(x0 + 1, Math.round((end[i]! - from) / perPixel)))
      if (x1 > x0) brush.bar(i, x0, x1)
      i++
      continue
    }
    const pixel = Math.max(0, Math.floor(x))
    let j = gallop(start, from + (pixel + 1) * perPixel, i + 1, to)
    // The last one that begins here may be wide, and is a bar of its own.
    if (j - 1 > i && end[j - 1]! - start[j - 1]! >= perPixel) j--
    brush.dense(i, Math.max(j, i + 1), pixel)
    i = Math.max(j, i + 1)
  }
}

/** The bar of a row under a point in time, or the nearest within a distance. */
export const barAt = (bars: Bars, range: Range, time: number, near: number): number | undefined => {
  let best: number | undefined
  let distance = near
  for (let i = firstVisible(bars, range, time - near); i < range.to && bars.start[i]! <= time + near; i++) {
    const away = Math.max(0, bars.start[i]! - time, time - bars.end[i]!)
    if (away < distance || (away === distance && best === undefined) || away === 0) {
      distance = away
      best = i
    }
    if (i - (best ?? i) > 256) break
  }
  return best
}
