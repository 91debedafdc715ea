/** The history of a sandbox and of those before it in its slot, at the side. */
import { signal } from "@preact/signals"
import { useEffect, useLayoutEffect, useRef } from "preact/hooks"
import type { SandboxHistory } from "../../src/internal/dashboard/protocol.ts"
import { ask } from "./ActionDialog.tsx"
import * as api from "./api.ts"
import { Entry } from "./EventLog.tsx"
import { clock, plural, span, words } from "./format.ts"
import { actions, connection, openSandbox } from "./state.ts"

const found = signal<api.Answer<SandboxHistory> | undefined>(undefined)

export const SandboxPanel = () => (openSandbox.value === undefined ? null : <Panel id={openSandbox.value} />)

const Panel = ({ id }: { readonly id: string }) => {
  const heading = useRef<HTMLHeadingElement>(null)
  // With the layout: effects end after the next painting only, and until then keys would go to nobody.
  useLayoutEffect(() => {
    const cameFrom = document.activeElement
    heading.current?.focus()
    return () => {
      if (cameFrom instanceof HTMLElement) cameFrom.focus()
    }
  }, [])
  useEffect(() => {
    let isGone = false
    found.value = undefined
    const load = async (): Promise<void> => {
      const answer = await api.sandbox(id)
      // What was found stays while the server cannot be reached.
      if (!isGone && (found.value === undefined || "value" in answer)) found.value = answer
    }
    void load()
    const timer = setInterval(() => {
      if (connection.value === "live") void load()
    }, 1000)
    return () => {
      isGone = true
      clearInterval(timer)
    }
  }, [id])
  const close = (): void => {
    openSandbox.value = undefined
  }
  const answer = found.value
  return (
    <div
      class="panel"
      role="dialog"
      aria-label={`History of ${id}`}
      onKeyDown={(event) => {
        if (event.key === "Escape") close()
      }}
    >
      <div class="bar">
        <h2 ref={heading} tabIndex={-1}>
          Sandbox
        </h2>
        <span class="spring" />
        <button type="button" class="quiet" onClick={close}>
          Close
        </button>
      </div>
      {answer === undefined ? (
        <p class="empty">Loading …</p>
      ) : "problem" in answer ? (
        <p class="empty">{answer.problem}</p>
      ) : (
        <Found history={answer.value} />
      )}
    </div>
  )
}

const Found = ({ history }: { readonly history: SandboxHistory }) => {
  const { entries, environment, generations, sandboxId, since, spentMillis, status, time } = history
  const spent = Object.entries(spentMillis).filter(([name, millis]) => name !== "Offline" && millis > 0)
  const total = spent.reduce((sum, [, millis]) => sum + millis, 0)
  return (
    <>
      <p class="id">{sandboxId}</p>
      <p class="facts">
        <span>
          <i class={`cell ${status}`} aria-hidden="true" /> {words(status)} for {span(Math.max(0, time - since))}
        </span>
        {actions.value && status !== "Offline" && status !== "ShuttingDown" && (
          <button
            type="button"
            disabled={connection.value !== "live"}
            onClick={() => ask({ action: "recycle", environment, sandbox: sandboxId, isInSession: status !== "Ready" })}
          >
            Recycle…
          </button>
        )}
      </p>
      <h3>Time by status</h3>
      <div class="spent" aria-hidden="true">
        {spent.map(([name, millis]) => (
          <i key={name} class={`cell ${name}`} style={{ flexGrow: millis / Math.max(1, total) }} />
        ))}
      </div>
      <ul class="legend">
        {spent.map(([name, millis]) => (
          <li key={name}>
            <i class={`cell ${name}`} aria-hidden="true" />
            {words(name)} <b>{span(millis)}</b>
          </li>
        ))}
      </ul>
      <h3>{plural(generations.length, "generation")} of this slot</h3>
      <div class="scroll" tabIndex={0} role="group" aria-label="Generations">
        <table>
          <thead>
            <tr>
              <th class="number">No.</th>
              <th>Started</th>
              <th class="number">Set-up</th>
              <th class="number">Sessions</th>
              <th class="number">Failed</th>
              <th>End</th>
            </tr>
          </thead>
          <tbody>
            {generations.map((one) => (
              <tr key={one.generation}>
                <td class="number">{one.generation}</td>
                <td class="when">{clock(one.startedAt).slice(0, 8)}</td>
                <td class="number">{one.setUpMillis === undefined ? "–" : span(one.setUpMillis)}</td>
                <td class="number">{one.sessions}</td>
                <td class={one.failed > 0 ? "number bad" : "number"}>{one.failed}</td>
                <td>
                  {one.endedAt === undefined
                    ? "lives"
                    : `${one.reason ?? "gone"}, after ${span(one.endedAt - one.startedAt)}`}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <h3>Events</h3>
      {entries.length === 0 && <p class="empty">They are so old that they are not kept any more.</p>}
      <ol class="entries">
        {entries.map((entry) => (
          <Entry key={entry.seq} entry={entry} isNamed={false} />
        ))}
      </ol>
    </>
  )
}
