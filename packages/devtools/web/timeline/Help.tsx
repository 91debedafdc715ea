import { useLayoutEffect, useRef } from "preact/hooks"
import { helpOpen } from "./state.ts"

const keys = [
  ["← →", "pan"],
  ["+ −", "zoom"],
  ["0", "the whole time"],
  ["Home, End", "to the beginning, to the end"],
  ["↑ ↓", "lane above, below"],
  ["Page Up, Page Down", "scroll the lanes"],
  ["Shift ← →", "previous, next bar of the lane"],
  ["Shift ↑ ↓", "out of, into nested bars"],
  ["Enter", "details of the bar"],
  ["e, E", "next, previous error"],
  ["/", "search; Enter and Shift Enter for the next and previous match"],
  ["n, N", "next, previous match"],
  ["d", "low or tall lanes"],
  ["t", "the lane as a table"],
  ["p", "show or hide the panel"],
  ["Esc", "close, or deselect"],
  ["?", "this help"]
] as const

const pointing = [
  ["Wheel", "zoom where the pointer is; with Shift, or over the names of lanes, scroll"],
  ["Drag", "pan and scroll"],
  ["Click, tap", "details; double click: zoom to it"],
  ["Two fingers", "zoom and pan"],
  ["Overview", "drag the window or its edges; drag beside it to choose another; double click: all"]
] as const

export const Help = () => {
  const dialog = useRef<HTMLDialogElement>(null)
  useLayoutEffect(() => dialog.current?.showModal(), [])
  const close = () => {
    helpOpen.value = false
    document.querySelector<HTMLElement>(".lanes")?.focus()
  }
  return (
    <dialog
      ref={dialog}
      class="help"
      aria-labelledby="help-title"
      onClose={close}
      onClick={(event) => {
        if (event.target === dialog.current) close()
      }}
    >
      <h2 id="help-title">Keys and gestures</h2>
      <dl>
        {[...keys, ...pointing].map(([key, does]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <p>
        A lane is a slot of the pool. The strip on top is the status of its sandbox, below it are its sessions, and
        below those what went on in them. Where a sandbox was replaced, a line leads to the next generation. The address
        of this page holds what you see, and can be sent along with the file.
      </p>
      <button type="button" onClick={close}>
        Close
      </button>
    </dialog>
  )
}
