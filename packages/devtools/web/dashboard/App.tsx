/** The whole page. */
import { ActionDialog } from "./ActionDialog.tsx"
import { Charts } from "./Charts.tsx"
import { EventLog } from "./EventLog.tsx"
import { Failures, Handlers } from "./Tables.tsx"
import { Header } from "./Header.tsx"
import { Overview } from "./Overview.tsx"
import { Pools } from "./Pools.tsx"
import { SandboxPanel } from "./SandboxPanel.tsx"
import { connection, environment, now } from "./state.ts"

export const App = () => {
  const shown = environment.value
  if (connection.value === "refused") {
    return (
      <main class="alone">
        <h1>The token is not accepted any more</h1>
        <p>
          <a href="/">Log in again</a>
        </p>
      </main>
    )
  }
  return (
    <>
      <Header />
      <Notices />
      <main class={connection.value === "live" ? "" : "stale"}>
        {shown === undefined ? (
          <p class="empty">
            {now.value === 0 ? "Connecting …" : "No environment yet. Those that this layer is provided to appear here."}
          </p>
        ) : (
          <>
            <Overview environment={shown} />
            <Pools environment={shown} />
            <Charts environment={shown} />
            <div class="columns">
              <Failures environment={shown} />
              <Handlers environment={shown} />
            </div>
            <EventLog environment={shown} />
          </>
        )}
      </main>
      <SandboxPanel />
      <ActionDialog />
    </>
  )
}

/** What must be seen before anything else. */
const Notices = () => {
  const shown = environment.value
  const isOff = connection.value === "reconnecting" || connection.value === "stopped"
  return (
    <div role="status" class="notices">
      {isOff && (
        <p class="notice warn">
          {connection.value === "stopped"
            ? "The program has ended. What is shown is how it was then; when it starts again, this page follows it."
            : "The connection is lost; trying again. What is shown is how it was then."}
        </p>
      )}
      {shown?.images
        .filter((image) => image.outage !== undefined)
        .map((image) => (
          <p class="notice bad" key={image.image}>
            <strong>Outage of {image.image}:</strong> no sandbox can be started for{" "}
            {Math.round((image.outage?.durationMillis ?? 0) / 1000)} s, {image.outage?.attempts} attempts so far.
          </p>
        ))}
    </div>
  )
}
