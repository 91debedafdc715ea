/** Pages in a real Chromium, where there is one; tests that need it are skipped elsewhere, and say so. */
import { Effect, type Scope } from "effect"
import { existsSync, mkdirSync } from "node:fs"
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core"

/** Where Chromium is, or nothing. */
export const executable = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path)
)

/** Screenshots for people to look at; CI keeps the folder. */
export const screenshots = new URL("../../../../.artefacts/screenshots/", import.meta.url).pathname

/** A browser that closes with the scope. */
export const launch: Effect.Effect<Browser, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(() =>
    chromium.launch({
      executablePath: executable ?? "chromium",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync"
      ]
    })
  ),
  (browser) => Effect.promise(() => browser.close())
)

/** A page of its own; what it logs as an error, or throws, is collected. */
export const open = (browser: Browser, options: BrowserContextOptions = {}) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
      const page = await context.newPage()
      const errors: Array<string> = []
      page.on("pageerror", (error) => errors.push(String(error)))
      page.on("console", (message) => {
        if (message.type() === "error") errors.push(message.text())
      })
      return { context, errors, page }
    }),
    ({ context }) => Effect.promise(() => context.close())
  )

/** Keeps a picture of the page. */
export const screenshot = (page: Page, name: string) =>
  Effect.promise(() => {
    mkdirSync(screenshots, { recursive: true })
    return page.screenshot({ path: `${screenshots}${name}.png` })
  })
