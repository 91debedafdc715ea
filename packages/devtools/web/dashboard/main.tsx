import { render } from "preact"
import { App } from "./App.tsx"
import { connect } from "./connection.ts"

// A token in the address has become a cookie, and must not stay in the history of the browser.
if (location.search !== "") history.replaceState(null, "", location.pathname)

const app = document.getElementById("app")
if (app !== null) {
  render(<App />, app)
  connect()
}
