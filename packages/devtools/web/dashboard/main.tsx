import { effect } from "@preact/signals"
import { render } from "preact"
import { App } from "./App.tsx"
import { connect } from "./connection.ts"
import { environment } from "./state.ts"

// A token in the address has become a cookie, and must not stay in the history of the browser.
if (location.search !== "") history.replaceState(null, "", location.pathname)

// So that a tab among many says whether one should look.
effect(() => {
  const shown = environment.value
  if (shown !== undefined) document.title = `${shown.health.title} · ${shown.id}`
})

const app = document.getElementById("app")
if (app !== null) {
  render(<App />, app)
  connect()
}
