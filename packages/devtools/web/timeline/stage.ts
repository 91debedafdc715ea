/** The part with the canvases: what is seen, and how mouse, touch and keyboard change it. */
import { signal } from "@preact/signals"
import type { Model } from "./model.ts"
import { drawOverview, overviewHeight } from "./overview.ts"
import { axisHeight, gutter, Painter } from "./paint.ts"
import { type Item, itemAt, type Layout, makeLayout, makeScene, makeSegments, type Scene, sizes } from "./scene.ts"
import { type Found, nothing, search } from "./search.ts"
import * as state from "./state.ts"
import type { Selection } from "./state.ts"
import { extent, laneOf } from "./things.ts"
import { type Bars, barAt, lowerBound, type Range } from "./tracks.ts"

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)")

/** The shortest time that can be seen. */
const least = 0.05

export class Stage {
  readonly model: Model
  readonly found = signal<Found>(nothing)
  /** Which of the found things was gone to last. */
  readonly current = signal(-1)
  /** What is under the pointer. */
  readonly hovered = signal<{ readonly selection: Selection; readonly x: number; readonly y: number } | undefined>(
    undefined
  )
  /** Follows `state.view` when it has come to rest. */
  readonly settled = signal(state.view.value)
  readonly scrolling = signal({ top: 0, room: 1, height: 1 })
  /** How many lanes there are in the scene, and which scene it is. */
  readonly shown = signal({ lanes: 0, version: 0 })
  /** For those who do not see the canvas. */
  readonly spoken = signal("")
  scene: Scene
  layout: Layout
  top = 0

  private readonly segments: Bars
  private painter: Painter | undefined
  private canvas: HTMLCanvasElement | undefined
  private overview: HTMLCanvasElement | undefined
  private searched: { readonly query: string; readonly scene: Scene } | undefined
  private frame = 0
  private settling: ReturnType<typeof setTimeout> | undefined
  private animation:
    | { readonly from: number; readonly until: number; readonly to: readonly [number, number]; since: number }
    | undefined

  constructor(model: Model) {
    this.model = model
    this.segments = makeSegments(model)
    this.scene = makeScene(model, this.segments, state.filters.peek())
    this.layout = makeLayout(this.scene, state.density.peek())
  }

  /** Draws on these from now on. */
  attach(canvas: HTMLCanvasElement, overview: HTMLCanvasElement): () => void {
    this.canvas = canvas
    this.overview = overview
    this.painter = new Painter(canvas)
    const resized = new ResizeObserver(() => this.draw())
    resized.observe(canvas)
    const ends = [this.onLanes(canvas), this.onOverview(overview), () => resized.disconnect()]
    this.draw()
    return () => ends.forEach((end) => end())
  }

  refilter(): void {
    this.scene = makeScene(this.model, this.segments, state.filters.peek())
    this.relayout()
    this.search(state.query.peek())
    this.shown.value = { lanes: this.scene.lanes.length, version: this.shown.peek().version + 1 }
  }

  relayout(): void {
    this.layout = makeLayout(this.scene, state.density.peek())
    this.scrollTo(this.top)
    this.schedule()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Drawing
  // -------------------------------------------------------------------------------------------------------------------

  schedule(): void {
    if (this.frame !== 0) return
    this.frame = requestAnimationFrame((now) => {
      this.frame = 0
      this.animate(now)
      this.draw()
    })
  }

  draw(): void {
    const { canvas, overview, painter } = this
    if (canvas === undefined || overview === undefined || painter === undefined) return
    const { from, until } = state.view.peek()
    const active = document.activeElement
    const isDark = state.isDark.peek()
    painter.draw({
      scene: this.scene,
      layout: this.layout,
      from,
      until,
      top: this.top,
      selection: state.selection.peek(),
      lane: state.lane.peek(),
      matches: this.found.peek().spans,
      isDark,
      hasFocus: active === canvas && canvas.matches(":focus-visible")
    })
    drawOverview(overview, {
      model: this.model,
      from,
      until,
      isDark,
      hasFocus: active === overview && overview.matches(":focus-visible"),
      found: this.found.peek().times
    })
    const scrolling = this.scrolling.peek()
    if (scrolling.top !== this.top || scrolling.room !== this.room || scrolling.height !== this.layout.height) {
      this.scrolling.value = { top: this.top, room: this.room, height: this.layout.height }
    }
  }

  private animate(now: number): void {
    const { animation } = this
    if (animation === undefined) return
    if (animation.since === 0) animation.since = now - 16
    const part = Math.min(1, (now - animation.since) / 160)
    const eased = 1 - (1 - part) ** 3
    const between = (a: number, b: number) => (part === 1 ? b : a + (b - a) * eased)
    this.setView(between(animation.from, animation.to[0]), between(animation.until, animation.to[1]))
    if (part === 1) this.animation = undefined
    else this.schedule()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Moving
  // -------------------------------------------------------------------------------------------------------------------

  private get width(): number {
    const width = this.canvas?.clientWidth ?? 1000
    return Math.max(1, width - gutter(width))
  }

  private get room(): number {
    return Math.max(1, (this.canvas?.clientHeight ?? 600) - axisHeight)
  }

  private setView(from: number, until: number): void {
    const { end, start } = this.model
    const all = end - start
    const span = Math.min(Math.max(until - from, least), all * 1.04)
    const margin = Math.max(span * 0.5, all * 0.02)
    const first = Math.min(Math.max(from, start - margin), end + margin - span)
    const view =
      span >= all
        ? span === all
          ? { from: start, until: end }
          : { from: first, until: first + span }
        : { from: first, until: first + span }
    const { from: oldFrom, until: oldUntil } = state.view.peek()
    if (view.from === oldFrom && view.until === oldUntil) return
    state.view.value = view
    clearTimeout(this.settling)
    this.settling = setTimeout(() => {
      this.settled.value = state.view.peek()
    }, 150)
    this.schedule()
  }

  goTo(from: number, until: number, isSmooth = true): void {
    if (!isSmooth || reducedMotion.matches) {
      this.animation = undefined
      this.setView(from, until)
      return
    }
    const now = state.view.peek()
    this.animation = { from: now.from, until: now.until, to: [from, until], since: 0 }
    this.schedule()
  }

  /** Where the view is, or is about to be. */
  private get aim(): readonly [number, number] {
    const { from, until } = state.view.peek()
    return this.animation?.to ?? [from, until]
  }

  all(): void {
    this.goTo(this.model.start, this.model.end)
  }

  panBy(share: number, isSmooth = true): void {
    const [from, until] = this.aim
    const by = (until - from) * share
    const { end, start } = this.model
    // The edges of the whole stay in sight.
    const limited = Math.min(Math.max(by, start - until + (until - from) * 0.5), end - from - (until - from) * 0.5)
    this.goTo(from + limited, until + limited, isSmooth)
  }

  zoomBy(factor: number, at?: number, isSmooth = true): void {
    const [from, until] = this.aim
    const span = Math.max(least, Math.min((until - from) * factor, this.model.end - this.model.start))
    const around = at ?? (from + until) / 2
    const share = (around - from) / (until - from)
    const first = around - span * share
    if (span === this.model.end - this.model.start) this.goTo(this.model.start, this.model.end, isSmooth)
    else this.goTo(first, first + span, isSmooth)
  }

  scrollTo(top: number): void {
    this.top = Math.max(0, Math.min(top, this.layout.height - this.room))
    this.schedule()
  }

  private revealLane(index: number): void {
    const item = this.layout.items.find((one) => one.scene?.lane.index === index)
    if (item === undefined) return
    // The head of its group stays above it.
    if (item.y - sizes.head < this.top) this.scrollTo(item.y - sizes.head)
    else if (item.y + item.height > this.top + this.room) this.scrollTo(item.y + item.height - this.room + 8)
  }

  /** Shows a thing, with something around it, and selects it. */
  reveal(what: Selection): void {
    state.select(what)
    const lane = laneOf(this.model, what)
    if (lane !== undefined) {
      state.lane.value = lane
      this.revealLane(lane)
    }
    const [start, end] = extent(this.model, what)
    const [from, until] = this.aim
    const span = until - from
    const length = end - start
    const isTiny = length / span < 3 / this.width
    const fits = start >= from && end <= until && !isTiny
    if (!fits && what.kind !== "lane") {
      const shown = isTiny ? Math.max(length * 40, least) : length > span * 0.9 ? length * 1.25 : span
      const middle = (start + end) / 2
      this.goTo(middle - shown / 2, middle + shown / 2)
    }
    this.schedule()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Finding
  // -------------------------------------------------------------------------------------------------------------------

  /** Finds what the query asks for; what was found already stays as it is. */
  find(query: string): void {
    if (state.query.peek() !== query) state.query.value = query
    if (this.searched?.query === query && this.searched.scene === this.scene) return
    this.search(query)
  }

  private search(query: string): void {
    this.searched = { query, scene: this.scene }
    this.found.value = search(this.scene, query)
    this.current.value = -1
    this.schedule()
  }

  next(step: 1 | -1): void {
    const { matches } = this.found.peek()
    if (matches.length === 0) return
    const now = this.current.peek()
    const next = now === -1 ? (step === 1 ? 0 : matches.length - 1) : (now + step + matches.length) % matches.length
    this.current.value = next
    this.reveal(matches[next]!)
  }

  /** Goes to the next error after what is selected, or after the beginning of the view. */
  nextError(step: 1 | -1): void {
    const { spans } = this.scene
    const shown = new Set(spans.ids)
    const errors = [...this.model.errors].filter((span) => shown.has(span))
    if (errors.length === 0) return
    const selected = state.selection.peek()
    const at = selected?.kind === "span" ? errors.indexOf(selected.index) : -1
    const { from } = state.view.peek()
    const start = at >= 0 ? at + step : errors.findIndex((span) => this.model.spanEnd[span]! >= from)
    this.reveal({ kind: "span", index: errors[(start + errors.length) % errors.length]! })
  }

  /** Selects what comes before or after in the lane. */
  step(step: 1 | -1): void {
    const index = state.lane.peek() ?? this.scene.lanes[0]?.lane.index
    const scene = this.scene.lanes.find(({ lane }) => lane.index === index)
    if (scene === undefined) return
    state.lane.value = index
    const { spans } = this.scene
    const selected = state.selection.peek()
    const inLane =
      selected?.kind === "span" && this.model.data.spans.lane[selected.index] === index ? selected.index : undefined
    const row =
      (inLane === undefined ? undefined : scene.rows.find((range) => includes(spans, range, inLane) >= 0)) ??
      scene.rows.find((range) => range.to > range.from)
    if (row === undefined) return
    const { from } = state.view.peek()
    const at = inLane === undefined ? -1 : includes(spans, row, inLane)
    const next = at >= 0 ? at + step : Math.min(row.to - 1, lowerBound(spans.start, from, row.from, row.to))
    if (next < row.from || next >= row.to) return
    this.reveal({ kind: "span", index: spans.ids[next]! })
  }

  /** Goes into the nested bars of what is selected, or out again. */
  private nest(step: 1 | -1): boolean {
    const selected = state.selection.peek()
    if (selected?.kind !== "span") return false
    const scene = this.scene.lanes.find(({ lane }) => lane.index === this.model.data.spans.lane[selected.index])
    if (scene === undefined) return false
    const { spans } = this.scene
    const row = scene.rows.findIndex((range) => includes(spans, range, selected.index) >= 0)
    const [start, end] = extent(this.model, selected)
    for (let r = row + step; r >= 0 && r < scene.rows.length; r += step) {
      const found = barAt(spans, scene.rows[r]!, step === 1 ? start : (start + end) / 2, step === 1 ? end - start : 0)
      if (found !== undefined) {
        this.reveal({ kind: "span", index: spans.ids[found]! })
        return true
      }
    }
    return false
  }

  moveLane(step: number): void {
    const { lanes } = this.scene
    if (lanes.length === 0) return
    const now = lanes.findIndex(({ lane }) => lane.index === state.lane.peek())
    const next = now === -1 ? 0 : Math.max(0, Math.min(lanes.length - 1, now + step))
    state.lane.value = lanes[next]!.lane.index
    this.revealLane(lanes[next]!.lane.index)
    this.schedule()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Pointing
  // -------------------------------------------------------------------------------------------------------------------

  private timeAt(x: number): number {
    const { from, until } = state.view.peek()
    const left = gutter(this.canvas?.clientWidth ?? 1000)
    return from + ((x - left) / this.width) * (until - from)
  }

  /** What is at a point of the canvas. */
  at(x: number, y: number): Selection | undefined {
    if (y < axisHeight) return this.markAt(x)
    const item = itemAt(this.layout, y - axisHeight + this.top)
    if (item === undefined) return undefined
    const left = gutter(this.canvas?.clientWidth ?? 1000)
    if (x < left) return item.scene === undefined ? undefined : { kind: "lane", index: item.scene.lane.index }
    return this.inItem(item, this.timeAt(x), y - axisHeight + this.top - item.y)
  }

  private markAt(x: number): Selection | undefined {
    const { marks } = this.model.data
    const time = this.timeAt(x)
    const near = (12 / this.width) * this.span
    for (let i = 0; i < marks.length; i++) {
      // Flags stand to the right of their moment.
      if (time >= marks.start[i]! - near / 3 && time <= marks.start[i]! + near * 5) return { kind: "mark", index: i }
    }
    return undefined
  }

  private get span(): number {
    const { from, until } = state.view.peek()
    return until - from
  }

  private inItem(item: Item, time: number, y: number): Selection | undefined {
    const { data } = this.model
    const near = (4 / this.width) * this.span
    if (item.scene === undefined) {
      const { failures } = data
      const failure = item.group.failures.find(
        (one) => Math.abs(failures.start[one]! + failures.waited[one]! - time) < near * 1.5
      )
      if (failure !== undefined) return { kind: "failure", index: failure }
      const outage = item.group.outages.find(
        (one) =>
          time >= data.outages.start[one]! - near &&
          time <= data.outages.start[one]! + data.outages.duration[one]! + near
      )
      return outage === undefined ? undefined : { kind: "outage", index: outage }
    }
    const { errors, rows, segments } = item.scene
    const span = (range: Range | undefined, distance: number): Selection | undefined => {
      const found = range === undefined ? undefined : barAt(this.scene.spans, range, time, distance)
      return found === undefined ? undefined : { kind: "span", index: this.scene.spans.ids[found]! }
    }
    const status = (): Selection | undefined => {
      const found = barAt(this.scene.segments, segments, time, near)
      return found === undefined ? undefined : { kind: "segment", index: this.scene.segments.ids[found]! }
    }
    const error = (): Selection | undefined => {
      const { ids, time: times } = this.scene.errors
      const reach = near * 1.5
      const found = lowerBound(times, time - reach, errors.from, errors.to)
      return found < errors.to && times[found]! <= time + reach ? { kind: "span", index: ids[found]! } : undefined
    }
    if (this.layout.isCompact) return error() ?? span(rows[0], near) ?? status()
    if (y < sizes.pad + sizes.strip) return error() ?? status()
    const main = sizes.pad + sizes.strip + sizes.main
    if (y < main) return span(rows[0], near) ?? status()
    return span(rows[1 + Math.floor((y - main) / sizes.nested)], near)
  }

  private onLanes(canvas: HTMLCanvasElement): () => void {
    const pointers = new Map<number, { x: number; y: number }>()
    let moved = 0
    let began: { readonly x: number; readonly y: number; top: number; from: number; until: number } | undefined
    let pinch: { readonly distance: number; readonly time: number; readonly span: number } | undefined

    const local = (event: MouseEvent) => {
      const box = canvas.getBoundingClientRect()
      return { x: event.clientX - box.left, y: event.clientY - box.top }
    }
    const begin = (at: { x: number; y: number }) => {
      const { from, until } = state.view.peek()
      began = { ...at, top: this.top, from, until }
    }
    const down = (event: PointerEvent) => {
      if (event.button !== 0) return
      canvas.setPointerCapture(event.pointerId)
      const at = local(event)
      pointers.set(event.pointerId, at)
      this.hovered.value = undefined
      this.animation = undefined
      if (pointers.size === 1) {
        moved = 0
        begin(at)
      } else if (pointers.size === 2) {
        const [a, b] = [...pointers.values()] as [{ x: number; y: number }, { x: number; y: number }]
        pinch = {
          distance: Math.max(8, Math.abs(a.x - b.x), Math.abs(a.y - b.y)),
          time: this.timeAt((a.x + b.x) / 2),
          span: this.span
        }
        moved = Number.POSITIVE_INFINITY
      }
    }
    const move = (event: PointerEvent) => {
      const at = local(event)
      if (!pointers.has(event.pointerId)) {
        if (event.pointerType !== "mouse") return
        const selection = this.at(at.x, at.y)
        const known = this.hovered.peek()
        if (selection === undefined && known === undefined) return
        this.hovered.value = selection === undefined ? undefined : { selection, ...at }
        return
      }
      pointers.set(event.pointerId, at)
      if (pinch !== undefined && pointers.size >= 2) {
        const [a, b] = [...pointers.values()] as [{ x: number; y: number }, { x: number; y: number }]
        const distance = Math.max(8, Math.abs(a.x - b.x), Math.abs(a.y - b.y))
        const span = Math.max(
          least,
          Math.min((pinch.span * pinch.distance) / distance, this.model.end - this.model.start)
        )
        const left = gutter(canvas.clientWidth)
        const share = ((a.x + b.x) / 2 - left) / this.width
        this.setView(pinch.time - span * share, pinch.time - span * share + span)
        return
      }
      if (began === undefined) return
      moved = Math.max(moved, Math.abs(at.x - began.x), Math.abs(at.y - began.y))
      if (moved < 4) return
      const by = ((began.x - at.x) / this.width) * (began.until - began.from)
      this.setView(began.from + by, began.until + by)
      this.scrollTo(began.top + began.y - at.y)
    }
    const up = (event: PointerEvent) => {
      const at = local(event)
      if (!pointers.delete(event.pointerId)) return
      if (pointers.size === 0) {
        pinch = undefined
        began = undefined
        if (moved < 4 && event.type === "pointerup") this.tap(at.x, at.y)
      } else {
        pinch = undefined
        begin([...pointers.values()][0]!)
      }
    }
    const wheel = (event: WheelEvent) => {
      event.preventDefault()
      const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? this.room : 1
      const [dx, dy] = [event.deltaX * lines, event.deltaY * lines]
      const { x } = local(event)
      this.hovered.value = undefined
      if (event.shiftKey || x < gutter(canvas.clientWidth)) this.scrollTo(this.top + (dy || dx))
      else if (Math.abs(dx) > Math.abs(dy)) this.panBy(dx / this.width, false)
      else
        this.zoomBy(
          Math.exp(Math.max(-200, Math.min(200, dy)) * (event.ctrlKey ? 0.01 : 0.0022)),
          this.timeAt(x),
          false
        )
    }
    const double = (event: MouseEvent) => {
      const { x, y } = local(event)
      const what = this.at(x, y)
      if (what === undefined) return
      const [start, end] = extent(this.model, what)
      const margin = Math.max((end - start) * 0.1, least)
      this.goTo(start - margin, end + margin)
    }
    const leave = () => {
      this.hovered.value = undefined
    }
    const key = (event: KeyboardEvent) => this.key(event)
    const redraw = () => this.schedule()
    const listening = new AbortController()
    const whileListening = { signal: listening.signal }
    canvas.addEventListener("pointerdown", down, whileListening)
    canvas.addEventListener("pointermove", move, whileListening)
    canvas.addEventListener("pointerup", up, whileListening)
    canvas.addEventListener("pointercancel", up, whileListening)
    canvas.addEventListener("pointerleave", leave, whileListening)
    canvas.addEventListener("wheel", wheel, { passive: false, ...whileListening })
    canvas.addEventListener("dblclick", double, whileListening)
    canvas.addEventListener("keydown", key, whileListening)
    canvas.addEventListener("focus", redraw, whileListening)
    canvas.addEventListener("blur", redraw, whileListening)
    return () => listening.abort()
  }

  private tap(x: number, y: number): void {
    const what = this.at(x, y)
    if (what === undefined) {
      state.select(undefined)
    } else {
      state.select(what)
      state.panelOpen.value = true
    }
    const item = itemAt(this.layout, y - axisHeight + this.top)
    if (item?.scene !== undefined) state.lane.value = item.scene.lane.index
    this.schedule()
  }

  /** Keys on the lanes. */
  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const { end, start } = this.model
    const [from, until] = this.aim
    const span = until - from
    const done = ((): boolean => {
      switch (event.key) {
        case "ArrowLeft":
        case "ArrowRight": {
          const sign = event.key === "ArrowLeft" ? -1 : 1
          if (event.shiftKey) this.step(sign)
          else this.panBy(sign * 0.2)
          return true
        }
        case "ArrowUp":
        case "ArrowDown": {
          const sign = event.key === "ArrowUp" ? -1 : 1
          if (!event.shiftKey || !this.nest(sign)) this.moveLane(sign)
          return true
        }
        case "+":
        case "=":
          this.zoomBy(0.6)
          return true
        case "-":
        case "_":
          this.zoomBy(1 / 0.6)
          return true
        case "Home":
          this.goTo(start, start + span)
          return true
        case "End":
          this.goTo(end - span, end)
          return true
        case "PageUp":
        case "PageDown":
          this.scrollTo(this.top + (event.key === "PageUp" ? -1 : 1) * this.room * 0.9)
          return true
        case "Enter":
        case " ":
          this.details()
          return true
        default:
          return false
      }
    })()
    if (done) event.preventDefault()
  }

  /** Opens the details of what is selected; of nothing, of the first thing in the lane that is seen. */
  private details(): void {
    if (state.selection.peek() === undefined) this.step(1)
    state.panelOpen.value = true
    if (state.selection.peek() !== undefined) state.tab.value = "details"
    requestAnimationFrame(() => document.getElementById("panel-title")?.focus())
  }

  private onOverview(canvas: HTMLCanvasElement): () => void {
    let drag:
      | {
          readonly mode: "move" | "from" | "until" | "new"
          readonly time: number
          readonly from: number
          readonly until: number
        }
      | undefined
    let moved = false
    const timeOf = (event: MouseEvent) => {
      const box = canvas.getBoundingClientRect()
      const left = gutter(canvas.clientWidth)
      const share = (event.clientX - box.left - left) / Math.max(1, canvas.clientWidth - left)
      return this.model.start + share * (this.model.end - this.model.start)
    }
    const modeAt = (event: MouseEvent) => {
      const time = timeOf(event)
      const { from, until } = state.view.peek()
      const near = ((this.model.end - this.model.start) / Math.max(1, canvas.clientWidth)) * 7
      const isAll = from <= this.model.start && until >= this.model.end
      if (Math.abs(time - from) < near) return "from" as const
      if (Math.abs(time - until) < near) return "until" as const
      return !isAll && time > from && time < until ? ("move" as const) : ("new" as const)
    }
    const down = (event: PointerEvent) => {
      if (event.button !== 0) return
      canvas.setPointerCapture(event.pointerId)
      this.animation = undefined
      moved = false
      drag = { mode: modeAt(event), time: timeOf(event), ...state.view.peek() }
    }
    const move = (event: PointerEvent) => {
      if (drag === undefined) {
        const mode = modeAt(event)
        canvas.style.cursor = mode === "move" ? "grab" : mode === "new" ? "crosshair" : "ew-resize"
        return
      }
      const time = timeOf(event)
      const by = time - drag.time
      const pixels = (Math.abs(by) / (this.model.end - this.model.start)) * canvas.clientWidth
      if (!moved && pixels < 3) return
      moved = true
      if (drag.mode === "move") this.setView(drag.from + by, drag.until + by)
      else if (drag.mode === "from") this.setView(Math.min(drag.from + by, drag.until - least), drag.until)
      else if (drag.mode === "until") this.setView(drag.from, Math.max(drag.until + by, drag.from + least))
      else this.setView(Math.min(time, drag.time), Math.max(time, drag.time))
    }
    const up = (event: PointerEvent) => {
      if (drag !== undefined && !moved && drag.mode === "new") {
        const time = timeOf(event)
        this.goTo(time - this.span / 2, time + this.span / 2)
      }
      drag = undefined
    }
    const wheel = (event: WheelEvent) => {
      event.preventDefault()
      this.zoomBy(Math.exp(Math.max(-200, Math.min(200, event.deltaY)) * 0.0022), timeOf(event), false)
    }
    const key = (event: KeyboardEvent) => this.key(event)
    const redraw = () => this.schedule()
    const all = () => this.all()
    const listening = new AbortController()
    const whileListening = { signal: listening.signal }
    canvas.addEventListener("pointerdown", down, whileListening)
    canvas.addEventListener("pointermove", move, whileListening)
    canvas.addEventListener("pointerup", up, whileListening)
    canvas.addEventListener("pointercancel", up, whileListening)
    canvas.addEventListener("wheel", wheel, { passive: false, ...whileListening })
    canvas.addEventListener("dblclick", all, whileListening)
    canvas.addEventListener("keydown", key, whileListening)
    canvas.addEventListener("focus", redraw, whileListening)
    canvas.addEventListener("blur", redraw, whileListening)
    return () => listening.abort()
  }
}

/** Where a span lies in a row, or -1. */
const includes = (bars: Bars, { from, to }: Range, id: number): number => {
  // The ids of a row ascend, as its starts do.
  const at = lowerBound(bars.ids, id, from, to)
  return at < to && bars.ids[at] === id ? at : -1
}

export { overviewHeight }
