/** Which environment, whether the page is live, and what can be done. */
import { ask } from "./ActionDialog.tsx"
import { actions, choose, connection, environment, environments, type Connection } from "./state.ts"
import { nextTheme, theme } from "./theme.ts"

const titles: { readonly [state in Connection]: string } = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  stopped: "Stopped",
  refused: "Refused"
}

export const Header = () => {
  const shown = environment.value
  return (
    <header>
      <h1>
        <span class="mark" aria-hidden="true">
          <i />
          <i />
          <i />
          <i />
        </span>
        <span class="name">effect-sandbox</span>
      </h1>
      {environments.value.length > 1 ? (
        <span class="pick">
          <select
            aria-label="Environment"
            value={shown?.id ?? ""}
            onChange={(event) => choose(event.currentTarget.value)}
          >
            {environments.value.map((one) => (
              <option key={one.id} value={one.id}>
                {one.id}
                {one.status === "Online" ? "" : ` (${one.status.toLowerCase()})`}
              </option>
            ))}
          </select>
        </span>
      ) : (
        <span class="environment">{shown?.id}</span>
      )}
      {shown !== undefined && <span class={`badge ${shown.status.toLowerCase()}`}>{shown.status}</span>}
      <span class="spring" />
      {actions.value && shown !== undefined && shown.status !== "Offline" && (
        <span class="buttons">
          <button
            type="button"
            disabled={shown.status !== "Online" || connection.value !== "live"}
            onClick={() => ask({ action: "drain", environment: shown.id, sessions: shown.sessions })}
          >
            Drain…
          </button>
          <button
            type="button"
            class="danger"
            disabled={shown.status === "ShuttingDown" || connection.value !== "live"}
            onClick={() => ask({ action: "shutdown", environment: shown.id, sessions: shown.sessions })}
          >
            Shut down…
          </button>
        </span>
      )}
      <button type="button" class="quiet" onClick={nextTheme}>
        <span class="hidden">Theme: </span>
        {theme.value === "system" ? "Auto" : theme.value === "light" ? "Light" : "Dark"}
      </button>
      <span class={`connection ${connection.value}`} role="status">
        <i aria-hidden="true" />
        {titles[connection.value]}
      </span>
    </header>
  )
}
