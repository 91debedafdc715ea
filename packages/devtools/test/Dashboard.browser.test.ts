import { Environment, type SandboxEvent } from "@effect-sandbox/core"
import { EventHub } from "@effect-sandbox/core/EventHandler"
import { SimDriver } from "@effect-sandbox/testing"
import { assert, describe, it } from "@effect/vitest"
import axe from "axe-core"
import { Context, Data, Deferred, Effect, Exit, Layer, Random, Schedule, Scope } from "effect"
import type { Page } from "playwright-core"
import { Dashboard, type DashboardOptions } from "../src/Dashboard.ts"
import { executable, launch, open, screenshot } from "./support/browser.ts"

class WrongAnswer extends Data.TaggedError("WrongAnswer")<{ readonly message: string }> {}

const token = "correct-horse-battery-staple"

/** An environment with a dashboard, as long as the scope lives. */
const start = (options: DashboardOptions = {}, pool = { min: 4, max: 12 }) =>
  Effect.gen(function* () {
    const context = yield* Layer.build(Dashboard.layer({ port: 0, ...options }))
    const lab = yield* Environment.make({ id: "app/Lab", images: ["python:3", "node:24"], pool }).pipe(
      Effect.provide(context),
      Effect.provide(
        SimDriver.layer({
          latency: { create: "300 millis", reset: "20 millis" },
          faults: [{ at: ["spawn"], probability: 0.004, how: { _tag: "Kill" } }]
        })
      )
    )
    const { hub, url } = { hub: Context.get(context, EventHub), ...Context.get(context, Dashboard) }
    const events: Array<SandboxEvent.SandboxEvent> = []
    yield* hub.subscribe({ name: "Recorder", handle: (event) => Effect.sync(() => events.push(event)) })
    return { lab, url, events }
  })

type Lab = Effect.Success<ReturnType<typeof start>>["lab"]

/** Sessions one after the other, `width` at a time, some of which fail. */
const load = (lab: Lab, width: number) =>
  Effect.gen(function* () {
    const image = (yield* Random.next) < 0.7 ? "python:3" : "node:24"
    const body = Effect.gen(function* () {
      yield* Effect.sleep(100 + 900 * (yield* Random.next) ** 2)
      if ((yield* Random.next) < 0.03) return yield* new WrongAnswer({ message: "expected 42, got 41" })
    })
    yield* Effect.ignore(lab.withSession({ image }, body))
  }).pipe(
    Effect.forever,
    (one) => Effect.forEach(Array.from({ length: width }), () => one, { concurrency: "unbounded", discard: true }),
    Effect.forkScoped
  )

const on = <A>(run: () => Promise<A>) => Effect.promise(run)
const shows = (page: Page, text: string | RegExp) => on(() => page.getByText(text).first().waitFor({ timeout: 15_000 }))
const isLive = (page: Page) => on(() => page.locator(".connection.live").waitFor({ timeout: 15_000 }))
const rows = (page: Page) => page.locator(".log .entries > li")

const until = (condition: () => Promise<boolean> | boolean) =>
  Effect.promise(async () => condition()).pipe(
    Effect.repeat({ schedule: Schedule.spaced("50 millis"), until: (isTrue) => isTrue }),
    Effect.timeout("20 seconds")
  )

/** What assistive technology would stumble over. */
const audit = (page: Page) =>
  on(async () => {
    // A script of the tester, which the page's own policy would not allow as an element.
    await page.evaluate(axe.source)
    const found = await page.evaluate(
      "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] })"
    )
    const { violations } = found as axe.AxeResults
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 160)).join("\n")}`)
  })

describe.skipIf(executable === undefined)("Dashboard in a browser", () => {
  it.live("shows at a glance how an environment does, live, in light, in dark and on a phone", () =>
    Effect.gen(function* () {
      const { lab, url } = yield* start({ actions: true })
      yield* load(lab, 14)
      const browser = yield* launch
      const { errors, page } = yield* open(browser, { viewport: { width: 1280, height: 1400 } })
      yield* on(() => page.goto(url))
      yield* isLive(page)
      yield* shows(page, "Is the pool the right size?")
      const served = () => page.locator(".pool .facts").first().innerText()
      const before = yield* on(served)
      yield* until(async () => (await served()) !== before)
      yield* until(async () => (await page.locator("button.cell.InSession").count()) > 2)
      yield* until(async () => (await page.title()).endsWith(" · app/Lab"))
      yield* shows(page, "WrongAnswer")
      yield* Effect.sleep("25 seconds") // until it can tell whether the pool is the right size
      yield* until(async () => !(await page.locator(".answers").innerText()).includes("Too early"))
      assert.deepStrictEqual(yield* audit(page), [])
      yield* screenshot(page, "dashboard-light")

      const dark = yield* open(browser, { colorScheme: "dark", viewport: { width: 1280, height: 1400 } })
      yield* on(() => dark.page.goto(url))
      yield* isLive(dark.page)
      yield* until(async () => (await rows(dark.page).count()) > 5)
      assert.deepStrictEqual(yield* audit(dark.page), [])
      yield* screenshot(dark.page, "dashboard-dark")

      const phone = yield* open(browser, { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true })
      yield* on(() => phone.page.goto(url))
      yield* isLive(phone.page)
      yield* until(async () => (await rows(phone.page).count()) > 5)
      const overflow = yield* on(() =>
        phone.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
      )
      assert.strictEqual(overflow, 0, "nothing sticks out to the side")
      assert.deepStrictEqual(yield* audit(phone.page), [])
      yield* screenshot(phone.page, "dashboard-phone")
      assert.deepStrictEqual([...errors, ...dark.errors, ...phone.errors], [])
    })
  )

  it.live("filters the log, opens an event, holds the log still, and goes back in it", () =>
    Effect.gen(function* () {
      const { lab, url } = yield* start()
      const session = (id: string, image = "python:3") => Effect.ignore(lab.withSession({ id, image }, Effect.void))
      for (let i = 0; i < 60; i++) yield* session(`early-${i}`)
      yield* Effect.ignore(lab.withSession({ id: "bad" }, new WrongAnswer({ message: "expected 42" })))
      for (let i = 0; i < 60; i++) yield* session(`late-${i}`, "node:24")
      const browser = yield* launch
      const { errors, page } = yield* open(browser)
      yield* on(() => page.goto(url))
      yield* isLive(page)
      const texts = () => rows(page).locator(".text").allInnerTexts()

      // Further back than what came at first.
      yield* on(() => page.getByLabel("Outcome", { exact: true }).selectOption("All errors"))
      yield* until(async () => (await rows(page).count()) === 1)
      assert.include((yield* on(texts))[0], "session bad ended: WrongAnswer: expected 42")
      yield* on(() => page.locator(".summary").first().click())
      yield* shows(page, "lifetimeMillis")
      yield* screenshot(page, "dashboard-filter")

      yield* on(() => page.getByLabel("Outcome", { exact: true }).selectOption("All outcomes"))
      yield* on(() => page.getByLabel("Kind", { exact: true }).selectOption("Sessions"))
      yield* on(() => page.getByLabel("Image", { exact: true }).selectOption("node:24"))
      yield* until(async () => (await texts()).every((text) => text.includes("session late-")))
      yield* on(() => page.getByLabel("Text", { exact: true }).fill("LATE-59 ended"))
      yield* until(async () => (await texts()).length === 1)
      yield* on(() => page.getByLabel("Text", { exact: true }).fill("no such thing"))
      yield* shows(page, "No event fits these filters.")

      yield* on(() => page.getByLabel("Text", { exact: true }).fill(""))
      yield* on(() => page.getByLabel("Image", { exact: true }).selectOption("All images"))
      yield* session("followed")
      yield* until(async () => (await texts())[0]?.includes("session followed ended") === true)
      yield* on(() => page.getByRole("button", { name: "Pause" }).click())
      yield* session("unseen")
      yield* shows(page, /Resume \(\d+ new\)/)
      assert.include((yield* on(texts))[0], "session followed ended")
      yield* on(() => page.getByRole("button", { name: /Resume/ }).click())
      yield* until(async () => (await texts())[0]?.includes("session unseen ended") === true)

      yield* until(async () => {
        await page.getByRole("button", { name: "Older events" }).click()
        return (await texts()).some((text) => text.includes("session early-0 started"))
      })
      assert.deepStrictEqual(errors, [])
    })
  )

  it.live("tells the history of a sandbox, by mouse and by keyboard", () =>
    Effect.gen(function* () {
      const { lab, url } = yield* start()
      const id = yield* Effect.scoped(
        Effect.map(lab.session({ id: "first", image: "python:3" }), (one) => one.sandboxId)
      )
      yield* lab.recycle(id)
      const release = yield* Deferred.make<void>()
      const browser = yield* launch
      const { errors, page } = yield* open(browser)
      yield* on(() => page.goto(url))
      yield* isLive(page)
      const slot = /:(\d+):\d+$/.exec(id)?.[1]
      const cell = page.getByRole("button", { name: `Slot ${slot}, generation 1: ready` }).first()
      yield* on(() => cell.click({ timeout: 15_000 }))
      const panel = page.getByRole("dialog")
      yield* on(() => panel.getByText("2 generations of this slot").waitFor())
      yield* on(() => panel.getByText(/recycled, after/).waitFor())
      yield* on(() => panel.getByText(/session first ended/).waitFor())
      // It goes on while one looks.
      yield* lab.withSession({ id: "second", image: "python:3" }, Deferred.await(release)).pipe(Effect.forkScoped)
      yield* screenshot(page, "dashboard-sandbox")
      assert.deepStrictEqual(yield* audit(page), [])
      const focused = () => page.evaluate("document.activeElement.ariaLabel ?? ''") as Promise<string>
      // In the very moment that the panel has gone: a key that is pressed right then must not be lost.
      yield* on(() =>
        page.evaluate(`window.focusedThen = new Promise((resolve) => {
          new MutationObserver((_, observer) => {
            if (document.querySelector("[role=dialog]") !== null) return
            observer.disconnect()
            resolve(document.activeElement.ariaLabel)
          }).observe(document.body, { childList: true, subtree: true })
        }); undefined`)
      )
      yield* on(() => page.keyboard.press("Escape"))
      const focusedThen = yield* on(() => page.evaluate("window.focusedThen"))
      assert.match(String(focusedThen), new RegExp(`^Slot ${slot}, generation 1`))
      assert.match(yield* on(focused), new RegExp(`^Slot ${slot}, generation 1`))
      yield* on(() => page.keyboard.press("Home"))
      yield* on(() => page.keyboard.press("ArrowRight"))
      assert.match(yield* on(focused), /^Slot 1,/)
      yield* on(() => page.keyboard.press("Enter"))
      yield* on(() =>
        panel
          .getByText(/python:3:1:\d+/)
          .first()
          .waitFor()
      )
      yield* Deferred.succeed(release, undefined)
      assert.deepStrictEqual(errors, [])
    })
  )

  it.live("comes back by itself after a restart on the same port, and forgets nothing that is still true", () =>
    Effect.gen(function* () {
      const browser = yield* launch
      const { errors, page } = yield* open(browser)
      const first = yield* Scope.make()
      const { lab, url } = yield* Scope.provide(start(), first)
      yield* lab.withSession({ id: "before" }, Effect.void)
      yield* on(() => page.goto(url))
      yield* isLive(page)
      yield* shows(page, /session before ended/)
      yield* Scope.close(first, Exit.void)
      yield* on(() => page.locator(".connection.stopped").waitFor())
      yield* shows(page, /The program has ended/)
      yield* shows(page, "Offline")
      yield* screenshot(page, "dashboard-stopped")
      const again = yield* start({ port: Number(new URL(url).port) })
      yield* isLive(page)
      yield* again.lab.withSession({ id: "after" }, Effect.void)
      yield* shows(page, /session after ended/)
      assert.strictEqual(
        yield* on(() => page.getByText(/session before/).count()),
        0,
        "the other server's events are gone"
      )
      assert.strictEqual(yield* on(() => page.getByText(/The program has ended/).count()), 0)
      // The browser itself notes each attempt that failed.
      assert.deepStrictEqual(
        errors.filter(
          (error) => !error.includes("ERR_CONNECTION_REFUSED") && !error.includes("ERR_INCOMPLETE_CHUNKED")
        ),
        []
      )
    })
  )

  it.live("refuses a wrong token, accepts the right one, and keeps it out of the address", () =>
    Effect.gen(function* () {
      const { url } = yield* start({ token })
      const browser = yield* launch
      const { errors, page } = yield* open(browser)
      yield* on(() => page.goto(url))
      yield* on(() => page.getByLabel("Token").fill("wrong"))
      yield* on(() => page.getByRole("button", { name: "Log in" }).click())
      yield* shows(page, "That is not the token.")
      assert.deepStrictEqual(yield* audit(page), [])
      yield* screenshot(page, "dashboard-login")
      yield* on(() => page.getByLabel("Token").fill(token))
      yield* on(() => page.getByRole("button", { name: "Log in" }).click())
      yield* isLive(page)
      yield* on(() => page.reload())
      yield* isLive(page)

      const linked = yield* open(browser)
      yield* on(() => linked.page.goto(`${url}?token=${token}`))
      yield* isLive(linked.page)
      assert.strictEqual(linked.page.url(), url)
      assert.deepStrictEqual(
        errors.filter((error) => !error.includes("401")),
        []
      )
      assert.deepStrictEqual(linked.errors, [])
    })
  )

  it.live("asks before it acts, says what it does, and shows what came of it", () =>
    Effect.gen(function* () {
      const plain = yield* start()
      const browser = yield* launch
      const without = yield* open(browser)
      yield* on(() => without.page.goto(plain.url))
      yield* isLive(without.page)
      assert.strictEqual(yield* on(() => without.page.getByRole("button", { name: "Drain…" }).count()), 0)

      const { events, lab, url } = yield* start({ actions: true })
      const release = yield* Deferred.make<void>()
      yield* lab.withSession({ id: "long" }, Deferred.await(release)).pipe(Effect.forkScoped)
      const { errors, page } = yield* open(browser)
      yield* on(() => page.goto(url))
      yield* isLive(page)
      const asked = () => events.filter((event) => event._tag === "ActionRequested").map((event) => event.action)

      yield* on(() => page.locator("button.cell.Ready").first().click({ timeout: 15_000 }))
      yield* on(() => page.getByRole("button", { name: "Recycle…" }).click())
      yield* on(() => page.getByLabel(/Your name/).fill("Ada"))
      yield* on(() => page.getByRole("button", { name: "Recycle", exact: true }).click())
      yield* until(() => asked().includes("recycle"))
      yield* shows(page, /recycle requested by Ada \(dashboard, 127\.0\.0\.1\)/)
      yield* on(() => page.getByRole("button", { name: "Close" }).click())

      const dialog = page.locator("dialog")
      yield* on(() => page.getByRole("button", { name: "Drain…" }).click())
      yield* on(() => dialog.getByText(/1 session in flight may come to an end/).waitFor())
      assert.deepStrictEqual(yield* audit(page), [])
      yield* screenshot(page, "dashboard-drain")
      yield* on(() => page.getByRole("button", { name: "Cancel" }).click())
      yield* on(() => page.getByRole("button", { name: "Drain…" }).click())
      yield* on(() => dialog.getByRole("textbox").waitFor())
      yield* on(() => page.keyboard.press("Escape"))
      yield* until(async () => (await dialog.count()) === 0)
      assert.deepStrictEqual(asked(), ["recycle"])
      assert.strictEqual(yield* lab.status, "Online")

      yield* on(() => page.getByRole("button", { name: "Drain…" }).click())
      yield* on(() => page.getByRole("button", { name: "Drain", exact: true }).click())
      yield* on(() => page.locator(".badge.draining").waitFor())
      yield* Deferred.succeed(release, undefined)
      yield* on(() => page.locator(".badge.offline").waitFor({ timeout: 15_000 }))
      assert.deepStrictEqual(asked(), ["recycle", "drain"])
      assert.strictEqual(yield* on(() => page.getByRole("button", { name: "Shut down…" }).count()), 0)
      assert.deepStrictEqual(errors, [])
    })
  )
})
