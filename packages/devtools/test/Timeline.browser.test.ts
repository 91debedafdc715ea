/* oxlint-disable no-await-in-loop -- what somebody does with a page comes one after the other */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, FileSystem, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { createRequire } from "node:module"
import type { Browser, BrowserContextOptions, CDPSession, Page } from "playwright-core"
import { Timeline } from "../src/index.ts"
import { executable, launch, open, screenshot } from "./support/browser.ts"
import { sample } from "./support/sample.ts"

/** A browser, and the page of the sample, which must reach nothing but itself. */
class Opened extends Context.Service<
  Opened,
  { readonly browser: Browser; readonly file: string; readonly slowest: string }
>()("test/Opened") {
  static readonly layer = Layer.effect(
    Opened,
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* fs.makeTempDirectoryScoped()}/sample.html`
      const events = yield* sample().pipe(Effect.provide(TestClock.layer()))
      yield* Timeline.write(file, Stream.fromIterable(events), { title: "grade: 120 tasks" })
      const slowest = events
        .flatMap((event) => (event._tag === "SessionEnded" ? [event] : []))
        .reduce((one, other) => (other.lifetimeMillis > one.lifetimeMillis ? other : one)).sessionId
      return { browser: yield* launch, file, slowest }
    })
  ).pipe(Layer.provide(NodeServices.layer))
}

interface Options extends BrowserContextOptions {
  readonly hash?: string
}

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js")

const visit = Effect.fnUntraced(function* ({ hash = "", ...options }: Options = {}) {
  const { browser, file } = yield* Opened
  const { context, errors, page } = yield* open(browser, { viewport: { width: 1440, height: 900 }, ...options })
  const requests: Array<string> = []
  page.on("request", (request) => requests.push(request.url()))
  yield* Effect.promise(() => context.setOffline(true))
  yield* Effect.promise(() => page.goto(`file://${file}${hash}`))
  yield* Effect.promise(() => page.waitForSelector("html[data-ready=true]"))
  // Whatever a test does, nothing was asked for and nothing went wrong.
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      assert.deepStrictEqual(errors, [])
      assert.deepStrictEqual(requests, [`file://${file}${hash}`.replace(/#.*/, "")])
    })
  )
  return page
})

const act = <A>(action: () => Promise<A>) => Effect.promise(action)

/** What the page keeps in its address, when that has come to rest. */
const address = (page: Page) =>
  act(async () => {
    await page.waitForTimeout(600)
    return new URLSearchParams(new URL(page.url()).hash.slice(1))
  })

/** The part of time that is seen. */
const view = (page: Page) =>
  Effect.map(address(page), (hash) => {
    const from = Number(hash.get("from") ?? Number.NaN)
    const until = Number(hash.get("until") ?? Number.NaN)
    return { from, until, span: until - from, isAll: !hash.has("from") }
  })

const focusLanes = (page: Page) => act(() => page.locator(".lanes").focus())
const press = (page: Page, ...keys: ReadonlyArray<string>) =>
  act(async () => {
    for (const key of keys) {
      await page.keyboard.press(key)
      await page.waitForTimeout(30)
    }
  })

/** The colour in the middle of the strip of statuses at a place, in hexadecimal digits. */
const pixel = (page: Page, selector: string, x: number, y: number) =>
  act(() =>
    page.evaluate<string>(
      `(() => { const canvas = document.querySelector(${JSON.stringify(selector)}); const ratio = canvas.width / canvas.clientWidth
        return [...canvas.getContext("2d").getImageData(${x} * ratio, ${y} * ratio, 1, 1).data.slice(0, 3)].map((n) => n.toString(16).padStart(2, "0")).join("") })()`
    )
  )

/** A place in the first lane under which there is a session. */
const findSession = (page: Page) =>
  act(async () => {
    const box = (await page.locator(".lanes").boundingBox())!
    const y = box.y + 24 + 26 + 4 + 6 + 8
    for (let x = box.x + 150; x < box.x + box.width; x += 5) {
      await page.mouse.move(x, y)
      await page.waitForTimeout(15)
      const tip = page.locator(".tooltip")
      if ((await tip.count()) > 0 && (await tip.locator(".kind").textContent()) === "Session") {
        return { x, y, name: (await tip.locator("b").textContent())! }
      }
    }
    throw new Error("no session was found")
  })

const violations = Effect.fnUntraced(function* (page: Page) {
  // The policy of the page lets no other script in; an isolated world is not the page's.
  const source = yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(axe))
  const session = yield* act(() => page.context().newCDPSession(page))
  const found = yield* act(() => evaluateApart(session, source))
  return found.map(({ id, nodes }) => `${id}: ${nodes.join(" | ")}`)
}, Effect.provide(NodeServices.layer))

const evaluateApart = async (
  session: CDPSession,
  source: string
): Promise<ReadonlyArray<{ readonly id: string; readonly nodes: ReadonlyArray<string> }>> => {
  const { frameTree } = await session.send("Page.getFrameTree")
  const { executionContextId } = await session.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id })
  const run = async (expression: string) => {
    const { exceptionDetails, result } = await session.send("Runtime.evaluate", {
      contextId: executionContextId,
      expression,
      awaitPromise: true,
      returnByValue: true
    })
    if (exceptionDetails !== undefined)
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
    return result.value
  }
  await run(`${source}; undefined`)
  return run(`axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }).then(({ violations }) =>
    violations.filter(({ impact }) => impact === "serious" || impact === "critical" || impact === "moderate")
      .map(({ id, nodes }) => ({ id, nodes: nodes.map(({ failureSummary, html }) => html.slice(0, 120) + " " + failureSummary) })))`)
}

describe.skipIf(executable === undefined)("Timeline in a browser", () => {
  layer(Opened.layer, { excludeTestServices: true, timeout: "2 minutes" })((it) => {
    it.effect("answers at a glance", () =>
      Effect.gen(function* () {
        const page = yield* visit()
        const headline = (yield* act(() => page.locator(".headline").innerText())).replace(/\s+/g, " ")
        // In the order of the document: what it is, and how many.
        for (const part of [
          /grade: 120 tasks sessions \d+ /,
          /failed ▲ \d+ ○ \d+ /,
          /in flight at most 6 of 6 /,
          /got no sandbox \d+ /,
          /outages, [\d.]+ s \d+/
        ]) {
          assert.match(headline, part)
        }
        const panel = yield* act(() => page.locator(".panel").innerText())
        const { slowest } = yield* Opened
        for (const text of ["WrongAnswerError", "SandboxStateError", "Slowest sessions", slowest, "run the tests"]) {
          assert.include(panel, text)
        }
        assert.match(panel, /python too small: callers spent/)
        assert.isTrue((yield* view(page)).isAll)
        yield* screenshot(page, "timeline-all")
      })
    )

    it.effect("lets no text of an event become markup", () =>
      Effect.gen(function* () {
        const page = yield* visit()
        yield* act(() => page.fill("#search", "onerror"))
        yield* press(page, "Enter")
        yield* act(() => page.locator(".facts .long").waitFor())
        assert.include(yield* act(() => page.locator(".facts .long").innerText()), `</script><img src=x onerror=`)
        assert.strictEqual(yield* act(() => page.title()), "grade: 120 tasks")
        assert.strictEqual(yield* act(() => page.locator("img").count()), 0)
      })
    )

    it.effect("zooms with the wheel where the pointer is, pans by dragging, and fits all again", () =>
      Effect.gen(function* () {
        const page = yield* visit()
        yield* act(async () => {
          await page.mouse.move(700, 400)
          for (let i = 0; i < 4; i++) await page.mouse.wheel(0, -200)
        })
        const zoomed = yield* view(page)
        assert.isBelow(zoomed.span, 15_000)
        yield* act(async () => {
          await page.mouse.move(700, 400)
          await page.mouse.down()
          for (let x = 700; x >= 400; x -= 20) await page.mouse.move(x, 400)
          await page.mouse.up()
        })
        const panned = yield* view(page)
        assert.closeTo(panned.span, zoomed.span, 0.01)
        assert.closeTo((panned.from - zoomed.from) / zoomed.span, 300 / 978, 0.03)
        yield* screenshot(page, "timeline-zoomed")
        yield* act(() => page.mouse.wheel(120, 0))
        assert.isAbove((yield* view(page)).from, panned.from)
        yield* act(() => page.getByRole("button", { name: "All" }).click())
        assert.isTrue((yield* view(page)).isAll)
      })
    )

    it.effect("chooses a part in the overview, moves it and resizes it", () =>
      Effect.gen(function* () {
        const page = yield* visit()
        const drag = (from: number, to: number) =>
          act(async () => {
            await page.mouse.move(from, 110)
            await page.mouse.down()
            await page.mouse.move((from + to) / 2, 110)
            await page.mouse.move(to, 110)
            await page.mouse.up()
          })
        yield* drag(400, 700)
        const chosen = yield* view(page)
        assert.isFalse(chosen.isAll)
        yield* drag(550, 650)
        const moved = yield* view(page)
        assert.closeTo(moved.span, chosen.span, 1)
        assert.isAbove(moved.from, chosen.from)
        yield* drag(800, 900)
        assert.isAbove((yield* view(page)).span, moved.span)
        assert.closeTo((yield* view(page)).from, moved.from, 1)
        yield* screenshot(page, "timeline-overview")
      })
    )

    it.effect("tells all about a bar that is clicked on, and leads to what belongs to it", () =>
      Effect.gen(function* () {
        const page = yield* visit()
        const { name, x, y } = yield* findSession(page)
        yield* screenshot(page, "timeline-tooltip")
        yield* act(() => page.mouse.click(x, y))
        const panel = page.locator(".panel .body")
        assert.strictEqual(yield* act(() => page.locator("#panel-title").innerText()), name)
        const text = yield* act(() => panel.innerText())
        for (const label of [
          "Outcome",
          "Start",
          "End",
          "Duration",
          "Waited for a sandbox",
          "Set-up",
          "Sandbox",
          "Image"
        ]) {
          assert.include(text, label)
        }
        assert.match((yield* address(page)).get("sel") ?? "", /^span\.\d+$/)
        yield* screenshot(page, "timeline-details")
        yield* act(() =>
          panel
            .getByRole("button", { name: /^grade\/.*:\d+:\d+$/ })
            .first()
            .click()
        )
        assert.match((yield* address(page)).get("sel") ?? "", /^sandbox\.\d+$/)
        assert.include(yield* act(() => panel.innerText()), name)
        yield* screenshot(page, "timeline-sandbox")
      })
    )

    it.effect("leads from one generation to the next", () =>
      Effect.gen(function* () {
        const page = yield* visit()
        yield* act(() => page.fill("#search", "grade/node:0:0"))
        yield* press(page, "Enter")
        const titles: Array<string> = []
        const title = act(() => page.locator("#panel-title").innerText())
        titles.push(yield* title)
        yield* act(() => page.locator(".facts div", { hasText: "Generation after" }).getByRole("button").click())
        titles.push(yield* title)
        yield* act(() => page.locator(".facts div", { hasText: "Generation before" }).getByRole("button").click())
        titles.push(yield* title)
        assert.deepStrictEqual(titles, ["grade/node:0:0", "grade/node:0:1", "grade/node:0:0"])
      })
    )

    it.effect("finds things, and goes from one to the next and back", () =>
      Effect.gen(function* () {
        const page = yield* visit()
        yield* press(page, "/")
        yield* act(() => page.keyboard.type("WrongAnswer"))
        yield* act(() => page.locator(".found", { hasText: /^\d+$/ }).waitFor())
        const count = Number(yield* act(() => page.locator(".found").innerText()))
        assert.isAbove(count, 5)
        yield* press(page, "Enter", "Enter", "Enter", "Shift+Enter")
        assert.strictEqual(yield* act(() => page.locator(".found").innerText()), `2 of ${count}`)
        assert.include(yield* act(() => page.locator(".panel").innerText()), "WrongAnswerError")
        yield* screenshot(page, "timeline-search")
        yield* act(() => page.getByRole("button", { name: "Next match" }).click())
        assert.strictEqual(yield* act(() => page.locator(".found").innerText()), `3 of ${count}`)
        yield* act(() => page.fill("#search", "no such thing"))
        yield* act(() => page.locator(".found", { hasText: "nothing found" }).waitFor())
      })
    )

    it.effect("filters by image, outcome and kind, and shows only lanes with errors", () =>
      Effect.gen(function* () {
        const page = yield* visit()
        yield* act(() => page.locator(".filters summary").click())
        yield* act(() => page.getByLabel("Image").selectOption("node"))
        assert.strictEqual((yield* address(page)).get("image"), "node")
        yield* screenshot(page, "timeline-filter")
        yield* act(() => page.getByRole("tab", { name: "Lane" }).click())
        const lanes = () =>
          act(async () => {
            await page.waitForTimeout(200)
            return page.locator(".panel select option").allInnerTexts()
          })
        assert.deepStrictEqual(yield* lanes(), ["grade · node · slot 0", "grade · node · slot 1"])
        yield* act(() => page.getByLabel("Image").selectOption(""))
        assert.strictEqual((yield* lanes()).length, 7)
        yield* act(() => page.getByLabel("Only lanes with errors").check())
        const failing = yield* lanes()
        assert.isTrue(failing.length > 2 && failing.length < 7, String(failing))
        yield* act(() => page.getByLabel("ok", { exact: true }).uncheck())
        yield* act(() => page.getByLabel("Activities", { exact: true }).uncheck())
        assert.strictEqual((yield* address(page)).get("hide-outcomes"), "ok")
        const outcomes = yield* act(() => page.locator(".panel td:last-child").allInnerTexts())
        assert.isAbove(outcomes.length, 0)
        assert.isFalse(outcomes.includes("ok"))
        yield* act(() => page.getByRole("button", { name: "Show everything" }).click())
        assert.strictEqual((yield* lanes()).length, 7)
      })
    )

    it.effect("keeps what is seen in its address", () =>
      Effect.gen(function* () {
        const page = yield* visit({ hash: "#from=5000&until=9000&image=python&q=task-01&theme=dark&sel=sandbox.0" })
        const seen = yield* view(page)
        assert.deepStrictEqual([seen.from, seen.until], [5000, 9000])
        assert.strictEqual(yield* act(() => page.inputValue("#search")), "task-01")
        assert.match(yield* act(() => page.locator("#panel-title").innerText()), /^grade\/python:/)
        assert.strictEqual((yield* address(page)).get("theme"), "dark")
      })
    )

    it.effect("does everything with the keyboard alone", () =>
      Effect.gen(function* () {
        const page = yield* visit()
        const focused: Array<string> = []
        for (let i = 0; i < 14; i++) {
          yield* press(page, "Tab")
          focused.push(
            yield* act(() =>
              page.evaluate<string>(
                "document.activeElement.className || document.activeElement.id || document.activeElement.tagName"
              )
            )
          )
          if (focused.at(-1) === "lanes") break
        }
        assert.strictEqual(focused[0], "search")
        assert.deepStrictEqual(focused.slice(-2), ["overview", "lanes"])

        yield* press(page, "+", "+", "+")
        const zoomed = yield* view(page)
        assert.isFalse(zoomed.isAll)
        yield* press(page, "ArrowRight")
        assert.isAbove((yield* view(page)).from, zoomed.from)
        yield* press(page, "Home")
        const first = yield* view(page)
        assert.closeTo(first.span, zoomed.span, 0.01)
        yield* press(page, "End")
        assert.isAbove((yield* view(page)).from, first.until)
        yield* press(page, "-")
        assert.isAbove((yield* view(page)).span, first.span)
        yield* press(page, "0")
        assert.isTrue((yield* view(page)).isAll)

        const spoken = act(() => page.locator("p[aria-live]").innerText())
        yield* press(page, "ArrowDown")
        assert.include(yield* spoken, "slot 0")
        yield* press(page, "ArrowDown")
        assert.include(yield* spoken, "slot 1")
        yield* press(page, "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight")
        yield* act(() => page.waitForTimeout(300))
        assert.match(yield* spoken, /Session task-\d+, .*, (ok|user error)/)
        const outer = yield* spoken
        yield* press(page, "Shift+ArrowDown")
        yield* act(() => page.waitForTimeout(300))
        assert.match(yield* spoken, /^(Activity|Set-up)/)
        yield* press(page, "Shift+ArrowUp")
        yield* act(() => page.waitForTimeout(300))
        assert.strictEqual(yield* spoken, outer)
        yield* screenshot(page, "timeline-keyboard")
        yield* press(page, "Enter")
        yield* act(() => page.waitForTimeout(100))
        assert.strictEqual(yield* act(() => page.evaluate("document.activeElement.id")), "panel-title")
        yield* press(page, "Escape")
        assert.strictEqual(yield* act(() => page.evaluate("document.activeElement.className")), "lanes")
        assert.isFalse((yield* address(page)).has("sel"))

        yield* press(page, "e")
        yield* act(() => page.waitForTimeout(300))
        assert.match(yield* spoken, /(state|user) error$/)
        yield* press(page, "t")
        assert.strictEqual(yield* act(() => page.getByRole("tab", { selected: true }).innerText()), "Lane")
        assert.isAbove(yield* act(() => page.locator("tbody tr").count()), 0)
        yield* screenshot(page, "timeline-table")

        yield* press(page, "?")
        assert.isTrue(yield* act(() => page.locator("dialog").isVisible()))
        yield* screenshot(page, "timeline-help")
        yield* press(page, "Escape")
        assert.strictEqual(yield* act(() => page.locator("dialog").count()), 0)
      })
    )

    it.effect("scrolls lanes that do not fit", () =>
      Effect.gen(function* () {
        const page = yield* visit({ viewport: { width: 1000, height: 460 } })
        yield* focusLanes(page)
        const thumb = act(async () => {
          await page.waitForTimeout(100)
          return (await page.locator(".thumb").boundingBox())!.y
        })
        const top = yield* thumb
        yield* press(page, "PageDown")
        const down = yield* thumb
        assert.isAbove(down, top)
        yield* press(page, "PageUp")
        assert.strictEqual(yield* thumb, top)
        yield* act(async () => {
          await page.mouse.move(40, 300)
          await page.mouse.wheel(0, 200)
        })
        assert.isAbove(yield* thumb, top)
      })
    )

    it.effect("is dark where that is wished for, and by the switch", () =>
      Effect.gen(function* () {
        const page = yield* visit({ colorScheme: "dark", hash: "#from=12000&until=24000" })
        assert.strictEqual(yield* pixel(page, ".lanes", 400, 2), "12161c")
        yield* screenshot(page, "timeline-dark")
        yield* act(() => page.getByLabel("Colours").selectOption("light"))
        yield* act(() => page.waitForTimeout(100))
        assert.strictEqual(yield* pixel(page, ".lanes", 400, 2), "ffffff")
        assert.strictEqual(
          yield* act(() => page.evaluate("getComputedStyle(document.body).backgroundColor")),
          "rgb(255, 255, 255)"
        )
        yield* act(() => page.emulateMedia({ colorScheme: "light" }))
        yield* act(() => page.getByLabel("Colours").selectOption("dark"))
        assert.strictEqual(
          yield* act(() => page.evaluate("getComputedStyle(document.body).backgroundColor")),
          "rgb(18, 22, 28)"
        )
      })
    )

    for (const colorScheme of ["light", "dark"] as const) {
      it.effect(`has nothing that keeps people out, ${colorScheme}`, () =>
        Effect.gen(function* () {
          const page = yield* visit({ colorScheme, reducedMotion: "reduce" })
          assert.deepStrictEqual(yield* violations(page), [])
          yield* act(() => page.fill("#search", "WrongAnswer"))
          yield* press(page, "Enter")
          yield* act(() => page.locator(".filters summary").click())
          assert.deepStrictEqual(yield* violations(page), [])
          yield* act(() => page.getByRole("tab", { name: "Lane" }).click())
          assert.deepStrictEqual(yield* violations(page), [])
          yield* press(page, "Escape")
          yield* act(() => page.getByRole("button", { name: "Help" }).click())
          assert.deepStrictEqual(yield* violations(page), [])
        })
      )
    }

    it.effect("moves at once where motion is not wished for", () =>
      Effect.gen(function* () {
        const page = yield* visit({ reducedMotion: "reduce" })
        yield* focusLanes(page)
        const frames = yield* act(() =>
          page.evaluate<number>(
            `new Promise((resolve) => {
              const seen = new Set()
              const canvas = document.querySelector(".lanes")
              const look = (left) => {
                seen.add(canvas.toDataURL())
                if (left === 0) resolve(seen.size)
                else requestAnimationFrame(() => look(left - 1))
              }
              canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "+", bubbles: true }))
              look(12)
            })`
          )
        )
        assert.isAtMost(frames, 2) // before and after
      })
    )

    it.effect("fits a phone: pans with a finger, zooms with two, opens details with a tap", () =>
      Effect.gen(function* () {
        const page = yield* visit({
          viewport: { width: 390, height: 844 },
          hasTouch: true,
          isMobile: true,
          deviceScaleFactor: 2
        })
        yield* screenshot(page, "timeline-phone")
        assert.isTrue(yield* act(() => page.evaluate("document.documentElement.scrollWidth <= innerWidth")))
        const session = yield* act(() => page.context().newCDPSession(page))
        const touch = (
          type: "touchStart" | "touchMove" | "touchEnd",
          ...points: ReadonlyArray<readonly [number, number]>
        ) =>
          act(() =>
            session.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) })
          )
        yield* touch("touchStart", [180, 500], [260, 500])
        for (let step = 1; step <= 10; step++) yield* touch("touchMove", [180 - step * 9, 500], [260 + step * 9, 500])
        yield* touch("touchEnd")
        const zoomed = yield* view(page)
        assert.isBelow(zoomed.span, 30_000)
        yield* touch("touchStart", [300, 500])
        for (let step = 1; step <= 10; step++) yield* touch("touchMove", [300 - step * 15, 500])
        yield* touch("touchEnd")
        const panned = yield* view(page)
        assert.closeTo(panned.span, zoomed.span, 0.01)
        assert.isAbove(panned.from, zoomed.from)
        assert.isFalse((yield* address(page)).has("sel"))
        const box = (yield* act(() => page.locator(".lanes").boundingBox()))!
        yield* act(() => page.touchscreen.tap(200, box.y + 24 + 26 + 7))
        yield* act(() => page.locator("#panel-title").waitFor())
        assert.isTrue((yield* address(page)).has("sel"))
        yield* screenshot(page, "timeline-phone-details")
      })
    )

    it.effect("says so when it cannot be read", () =>
      Effect.gen(function* () {
        const { browser, file } = yield* Opened
        const fs = yield* FileSystem.FileSystem
        const broken = `${file}.broken.html`
        const html = yield* fs.readFileString(file)
        yield* fs.writeFileString(broken, html.replace(/(id="data">.{2000})[^<]*/, "$1"))
        const { page } = yield* open(browser)
        yield* act(() => page.goto(`file://${broken}`))
        yield* act(() => page.waitForSelector("html[data-ready=failed]"))
        assert.include(yield* act(() => page.locator("#app").innerText()), "could not be opened")
      }).pipe(Effect.provide(NodeServices.layer))
    )
  })
})
