/** The pool of each image: numbers, and its sandboxes as cells. */
import { useRef } from "preact/hooks"
import type { Cell, EnvironmentState, ImageState } from "../../src/internal/dashboard/protocol.ts"
import { count, plural, span, words } from "./format.ts"
import { cellsOf, now, openSandbox } from "./state.ts"

/** Those that a sandbox can be seen in. */
const statuses = ["SettingUp", "Ready", "Acquired", "InSession", "ExitingSession", "ShuttingDown"] as const

export const Pools = ({ environment }: { readonly environment: EnvironmentState }) => (
  <section aria-label="Pools" class="pools">
    {environment.images.map((image) => (
      <Pool key={image.image} environment={environment.id} image={image} />
    ))}
  </section>
)

const Pool = ({ environment, image }: { readonly environment: string; readonly image: ImageState }) => {
  const cells = cellsOf(environment, image.image)
  const free = image.max === undefined ? 0 : Math.max(0, Math.min(image.max, 400) - cells.length)
  return (
    <article class="card pool">
      <h3>
        {image.image}
        {image.outage !== undefined && <span class="badge bad">outage</span>}
        <span class="sizes">
          {image.max === undefined
            ? "not pooled"
            : `${cells.length} now · min ${count(image.min)} · max ${count(image.max)}`}
        </span>
      </h3>
      <Cells environment={environment} image={image.image} cells={cells} free={free} />
      <ul class="legend">
        {statuses.map((status) => {
          const n = cells.filter((cell) => cell[2] === status).length
          return (
            <li key={status} class={n === 0 ? "none" : ""}>
              <i class={`cell ${status}`} aria-hidden="true" />
              {status === "ExitingSession" ? "exiting" : words(status)} <b>{n}</b>
            </li>
          )
        })}
      </ul>
      <p class="facts">
        <span class={image.waiters > 0 ? "warn" : ""}>{count(image.waiters)} waiting</span>
        <span>{plural(image.sessionsServed, "session")} served</span>
        <span>{count(image.replaced)} replaced</span>
      </p>
    </article>
  )
}

interface CellsProps {
  readonly environment: string
  readonly image: string
  readonly cells: ReadonlyArray<Cell>
  readonly free: number
}

/** One stop for the keyboard; arrows go from cell to cell. */
const Cells = ({ cells, environment, free, image }: CellsProps) => {
  const grid = useRef<HTMLDivElement>(null)
  const current = useRef(0)
  const go = (event: KeyboardEvent): void => {
    const buttons = [...(grid.current?.querySelectorAll("button") ?? [])]
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement) // -1 for anything else
    const first = buttons[0]
    if (at < 0 || first === undefined) return
    const perRow = buttons.filter((button) => button.offsetTop === first.offsetTop).length
    const steps: { readonly [key: string]: number } = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: perRow,
      ArrowUp: -perRow,
      Home: -at,
      End: buttons.length - 1 - at
    }
    const step = steps[event.key]
    const next = step === undefined ? undefined : buttons[at + step]
    if (next === undefined) return
    event.preventDefault()
    for (const button of buttons) button.tabIndex = -1
    next.tabIndex = 0
    current.current = at + (step ?? 0)
    next.focus()
  }
  const focusable = Math.min(current.current, cells.length - 1)
  return (
    <div ref={grid} class="cells" role="group" aria-label={`Sandboxes of ${image}`} onKeyDown={go}>
      {cells.map((cell, index) => {
        const [slot, generation, status, since] = cell
        const age = span(Math.max(0, now.value - since))
        return (
          <button
            key={slot}
            type="button"
            class={`cell ${status}`}
            tabIndex={index === focusable ? 0 : -1}
            aria-label={`Slot ${slot}, generation ${generation}: ${words(status)}`}
            title={`${image}:${slot}:${generation}\n${words(status)} for ${age}`}
            onClick={() => {
              current.current = index
              openSandbox.value = `${environment}/${image}:${slot}:${generation}`
            }}
          />
        )
      })}
      {Array.from({ length: free }, (_, index) => (
        <i key={`free ${index}`} class="cell free" aria-hidden="true" />
      ))}
    </div>
  )
}
