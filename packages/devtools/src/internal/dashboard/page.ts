/** The page as it was built, the login, and what the browser may do with them. */
import * as Effect from "effect/Effect"
import { createHash } from "node:crypto"
import { readFile } from "node:fs/promises"
import { PageMissing } from "../../DashboardError.ts"

export interface Page {
  readonly html: string
  /** A content security policy that allows what is in the page, and nothing else. */
  readonly policy: string
}

const location = new URL("../../../web-dist/dashboard.html", import.meta.url)

export const load: Effect.Effect<Page, PageMissing> = Effect.map(
  Effect.tryPromise({ try: () => readFile(location, "utf8"), catch: (cause) => new PageMissing({ cause }) }),
  (html) => ({ html, policy: policyOf(html) })
)

const policyOf = (html: string): string => {
  const hashes = (tag: string): string => {
    const found = html.matchAll(new RegExp(`<${tag}[^>]*>([^]*?)</${tag}>`, "g"))
    const all = [...found].map(([, text = ""]) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`)
    return all.length === 0 ? "'none'" : all.join(" ")
  }
  return [
    "default-src 'none'",
    `script-src ${hashes("script")}`,
    `style-src ${hashes("style")}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'"
  ].join("; ")
}

const style = `
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --paper: #fcfcfd; --card: #fff; --line: #d9d9e0; --bad: #c62a2f; --accent: #3e63dd }
@media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --soft: #b0b4ba; --paper: #111113; --card: #18191b; --line: #363a3f; --bad: #ff9592; --accent: #9eb1ff } }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { width: min(22rem, calc(100vw - 3rem)); padding: 1.5rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px; box-sizing: border-box }
h1 { margin: 0 0 .25rem; font-size: 1.1rem }
p { margin: 0 0 1rem; color: var(--soft) }
.bad { color: var(--bad) }
label { display: block; font-weight: 600; margin-bottom: .25rem }
input, button { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem .6rem; border-radius: 6px }
input { border: 1px solid var(--line); background: var(--paper); color: var(--ink); margin-bottom: .75rem }
button { border: 0; background: #3e63dd; color: #fff; font-weight: 600; cursor: pointer }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
`

/** Asks for the token. It needs no script. */
export const login = (isWrong: boolean): Page => {
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · effect-sandbox dashboard</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
<main>
<h1>effect-sandbox dashboard</h1>
${isWrong ? '<p class="bad" role="alert">That is not the token.</p>' : "<p>The program that runs the sandboxes has told its token in its log, or was given one.</p>"}
<form method="post" action="/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Log in</button>
</form>
</main>
</body>
</html>
`
  return { html, policy: policyOf(html) }
}
