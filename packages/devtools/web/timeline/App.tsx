import { useSignalEffect } from "@preact/signals"
import { useEffect, useRef } from "preact/hooks"
import * as format from "./format.ts"
import { Help } from "./Help.tsx"
import { Panel } from "./Panel.tsx"
import { overviewHeight, type Stage } from "./stage.ts"
import * as state from "./state.ts"
import { describe, laneTitle } from "./things.ts"
import { Headline, Legend, Toolbar } from "./Toolbar.tsx"

export const App = ({ stage }: { readonly stage: Stage }) => {
  useSignalEffect(() => {
    void state.filters.value
    stage.refilter()
  })
  useSignalEffect(() => {
    void state.density.value
    stage.relayout()
  })
  useSignalEffect(() => {
    stage.find(state.query.value)
  })
  useSignalEffect(() => {
    void [state.selection.value, state.lane.value, state.isDark.value, state.view.value]
    stage.schedule()
  })
  useSignalEffect(() => {
    const { value: selected } = state.selection
    const { value: lane } = state.lane
    if (selected !== undefined) {
      const thing = describe(stage.model, selected)
      const duration = thing.facts.find(({ label }) => label === "Duration")
      stage.spoken.value = `${thing.kind} ${thing.title}, ${duration?.value ?? ""}${thing.outcome === undefined ? "" : `, ${format.words(thing.outcome)}`}`
    } else if (lane !== undefined) stage.spoken.value = `Lane ${laneTitle(stage.model.lanes[lane]!)}`
  })
  useEffect(() => {
    const key = (event: KeyboardEvent) => globalKey(event, stage)
    addEventListener("keydown", key)
    return () => removeEventListener("keydown", key)
  }, [stage])
  return (
    <>
      <header class="top">
        <Headline model={stage.model} />
        <Toolbar stage={stage} />
      </header>
      <main class={state.panelOpen.value ? "with-panel" : ""}>
        <Canvases stage={stage} />
        {state.panelOpen.value && <Panel stage={stage} />}
      </main>
      <Legend />
      {state.helpOpen.value && <Help />}
      <p class="hidden" role="status" aria-live="polite">
        {stage.spoken.value}
      </p>
    </>
  )
}

const Canvases = ({ stage }: { readonly stage: Stage }) => {
  const lanes = useRef<HTMLCanvasElement>(null)
  const overview = useRef<HTMLCanvasElement>(null)
  useEffect(() => stage.attach(lanes.current!, overview.current!), [stage])
  const { height, room, top } = stage.scrolling.value
  return (
    <div class="stage">
      <canvas
        ref={overview}
        class="overview"
        height={overviewHeight}
        tabIndex={0}
        role="application"
        aria-roledescription="overview"
        aria-label="Overview of the whole time: sessions in flight, sandboxes, waiting and errors. Arrow keys pan, plus and minus zoom."
      />
      <canvas
        ref={lanes}
        class="lanes"
        tabIndex={0}
        role="application"
        aria-roledescription="timeline"
        aria-label="Lanes of sandboxes. Arrow keys pan and choose a lane, plus and minus zoom, Shift and arrow keys choose a bar, Enter opens its details. The panel has the lane as a table."
      />
      {height > room && <Thumb stage={stage} height={height} room={room} top={top} />}
      {stage.shown.value.lanes === 0 && (
        <p class="empty">
          {state.isFiltered.value ? "No lane passes the filters." : "No sandboxes: the events tell of none."}
        </p>
      )}
      <Tooltip stage={stage} />
    </div>
  )
}

/** How far the lanes are scrolled; with the mouse, it scrolls. */
const Thumb = ({ stage, height, room, top }: { stage: Stage; height: number; room: number; top: number }) => {
  const track = room - 8
  const size = Math.max(28, (room / height) * track)
  const place = (top / Math.max(1, height - room)) * (track - size)
  return (
    <div
      class="thumb"
      aria-hidden="true"
      style={{ height: `${size}px`, transform: `translateY(${place}px)` }}
      onPointerDown={(down) => {
        const thumb = down.currentTarget
        thumb.setPointerCapture(down.pointerId)
        const move = (event: PointerEvent) =>
          stage.scrollTo(top + ((event.clientY - down.clientY) / Math.max(1, track - size)) * (height - room))
        const up = () => {
          thumb.removeEventListener("pointermove", move)
          thumb.removeEventListener("pointerup", up)
        }
        thumb.addEventListener("pointermove", move)
        thumb.addEventListener("pointerup", up)
      }}
    />
  )
}

const Tooltip = ({ stage }: { readonly stage: Stage }) => {
  const hovered = stage.hovered.value
  if (hovered === undefined) return null
  const thing = describe(stage.model, hovered.selection)
  const facts = thing.facts.filter(({ label }) =>
    ["Duration", "Waited for a sandbox", "Outcome", "Error", "Session", "Generation", "Reason", "What"].includes(label)
  )
  const style = {
    left: `${hovered.x}px`,
    top: `${hovered.y + overviewHeight}px`,
    transform: `translate(${hovered.x > innerWidth / 2 ? "calc(-100% - 12px)" : "14px"}, ${hovered.y > innerHeight / 2 ? "calc(-100% - 10px)" : "14px"})`
  }
  return (
    <div class="tooltip" style={style} aria-hidden="true">
      <b>{thing.title}</b>
      <span class="kind">{thing.kind}</span>
      {facts.map(({ label, value }) => (
        <span key={label}>
          {label}: {value}
        </span>
      ))}
    </div>
  )
}

const isTyping = ({ target }: KeyboardEvent): boolean =>
  target instanceof HTMLInputElement && ["search", "text"].includes(target.type)

const globalKey = (event: KeyboardEvent, stage: Stage): void => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return
  if (event.key === "Escape") {
    if (state.helpOpen.value) state.helpOpen.value = false
    else if (document.activeElement?.closest("details[open]")) document.activeElement.closest("details")!.open = false
    else if (isTyping(event)) document.querySelector<HTMLElement>(".lanes")?.focus()
    else if (state.selection.value !== undefined) {
      state.select(undefined)
      document.querySelector<HTMLElement>(".lanes")?.focus()
    } else if (state.panelOpen.value) {
      state.panelOpen.value = false
      document.querySelector<HTMLElement>(".lanes")?.focus()
    } else return
    event.preventDefault()
    return
  }
  if (isTyping(event) || event.target instanceof HTMLSelectElement || state.helpOpen.value) return
  const actions: { readonly [key: string]: () => void } = {
    "/": () => document.querySelector<HTMLElement>("#search")?.focus(),
    "?": () => {
      state.helpOpen.value = true
    },
    "0": () => stage.all(),
    n: () => stage.next(1),
    N: () => stage.next(-1),
    e: () => stage.nextError(1),
    E: () => stage.nextError(-1),
    d: () => {
      state.density.value = stage.layout.isCompact ? "full" : "compact"
    },
    t: () => {
      state.panelOpen.value = true
      state.tab.value = "lane"
    },
    p: () => {
      state.panelOpen.value = !state.panelOpen.value
    }
  }
  const action = actions[event.key]
  if (action === undefined) return
  action()
  event.preventDefault()
}
