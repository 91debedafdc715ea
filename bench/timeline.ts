/**
 * How large a timeline may be: events are made into a page, which is opened in a headless Chromium, panned and zoomed.
 *
 * `node bench/timeline.ts [events] [lanes] [file]`, by default a million events in 64 lanes, and the page is not kept
 */
import type { SandboxEvent } from "@effect-sandbox/core"
import { EnvironmentId, FeatureId, ImageId, SandboxId, SessionId } from "@effect-sandbox/core/Id"
import { Timeline } from "@effect-sandbox/devtools"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Clock, Console, Effect, FileSystem, Path, Stream } from "effect"
import { cpus, loadavg } from "node:os"
import { executable, launch, open } from "../packages/devtools/test/support/browser.ts"

const environmentId = EnvironmentId.make("bench")
const featureId = FeatureId.make("app/Shell")

/** Sessions of 13 events, one after the other in each lane, with set-ups, activities and now and then an error. */
function* events(count: number, lanes: number): Generator<SandboxEvent.SandboxEvent> {
  yield {
    _tag: "EnvironmentStarting",
    environmentId,
    timestamp: 0,
    pools: [0, 1, 2, 3].map((n) => ({ image: ImageId.make(`image-${n}`), min: 0, max: Math.ceil(lanes / 4) }))
  }
  let made = 1
  // A small generator of our own: the same file each time.
  let seed = 42
  const random = (max: number) => (seed = (seed * 48_271) % 2_147_483_647) % max
  const times = Array.from({ length: lanes }, () => random(2_000))
  const generations = Array.from({ length: lanes }, () => 0)
  const born = [...times]
  const statuses = Array.from({ length: lanes }, () => "Created" as "Created" | "Ready")
  for (let session = 0; made < count; session++) {
    const lane = session % lanes
    const image = ImageId.make(`image-${lane % 4}`)
    const sandboxId = SandboxId.make(`bench/${image}:${Math.floor(lane / 4)}:${generations[lane]!}`)
    const sessionId = SessionId.make(`session-${session}`)
    let timestamp = times[lane]!
    const facts = () => ({ environmentId, timestamp, sandboxId, image })
    let since = timestamp
    const move = (from: SandboxEvent.Of<"SandboxStatusChanged">["from"], to: typeof from, later: number) => {
      timestamp += later
      const spentMillis = timestamp - since
      since = timestamp
      return { _tag: "SandboxStatusChanged" as const, ...facts(), from, to, spentMillis }
    }
    const error =
      random(200) === 0
        ? { tag: "SandboxStateError", message: `Sandbox ${sandboxId} broke`, isStateError: true }
        : random(50) === 0
          ? { tag: "WrongAnswerError", message: `expected 42, got ${random(100)}`, isStateError: false }
          : undefined
    if (statuses[lane] === "Created") {
      born[lane] = timestamp
      yield move("Created", "SettingUp", 0)
      const durationMillis = 400 + random(900)
      yield move("SettingUp", "Ready", durationMillis)
      yield { _tag: "SandboxStarted", ...facts(), durationMillis }
      made += 3
    }
    yield move("Ready", "Acquired", random(300))
    yield move("Acquired", "SettingUp", 1)
    const setUp = 5 + random(20)
    yield move("SettingUp", "InSession", setUp)
    yield { _tag: "FeatureSessionSetUp", ...facts(), featureId, sessionId, durationMillis: setUp }
    yield { _tag: "SessionStarted", ...facts(), sessionId, durationMillis: setUp, waitedMillis: random(200) }
    const started = timestamp - setUp
    for (const name of ["exec python", "exec pytest", "read results"]) {
      const durationMillis = 20 + random(400)
      timestamp += durationMillis
      yield { _tag: "SandboxActivity", ...facts(), sessionId, name, durationMillis }
    }
    yield move("InSession", "ExitingSession", 0)
    yield { _tag: "FeatureSessionTornDown", ...facts(), featureId, sessionId, durationMillis: 3 }
    timestamp += 5
    yield { _tag: "SessionEnded", ...facts(), sessionId, durationMillis: 5, lifetimeMillis: timestamp - started, error }
    made += 11
    if (error?.isStateError === true) {
      yield move("ExitingSession", "ShuttingDown", 1)
      yield move("ShuttingDown", "Offline", 120)
      const lifetimeMillis = timestamp - born[lane]!
      yield { _tag: "SandboxShutDown", ...facts(), reason: "broke", durationMillis: 120, lifetimeMillis }
      made += 3
      generations[lane]!++
      statuses[lane] = "Created"
      timestamp += 500
    } else {
      yield move("ExitingSession", "SettingUp", 1)
      yield move("SettingUp", "Ready", 10 + random(30))
      made += 2
      statuses[lane] = "Ready"
    }
    times[lane] = timestamp
  }
}

type Page = Effect.Success<ReturnType<typeof open>>["page"]

const percentile = (values: ReadonlyArray<number>, share: number) =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0

const run = Effect.gen(function* () {
  const [count = 1_000_000, lanes = 64] = process.argv.slice(2, 4).map(Number)
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folder = yield* fs.makeTempDirectoryScoped()
  const file = path.resolve(process.argv[4] ?? `${folder}/bench.timeline.html`)
  yield* Console.log(
    `${count} events, ${lanes} lanes; ${cpus().length} processors, load ${loadavg()
      .map((n) => n.toFixed(1))
      .join(" ")}`
  )
  const started = yield* Clock.currentTimeMillis
  yield* Timeline.write(file, Stream.fromIterable(events(count, lanes), { chunkSize: 4096 }), { title: "Benchmark" })
  const took = (yield* Clock.currentTimeMillis) - started
  const { size } = yield* fs.stat(file)
  const { maxRSS } = process.resourceUsage()
  yield* Console.log(
    `made in ${(took / 1000).toFixed(1)} s, ${(Number(size) / 1e6).toFixed(1)} MB, process at most ${Math.round(maxRSS / 1024)} MB`
  )
  if (executable === undefined) return yield* Console.log("no Chromium, so nothing was opened")

  const browser = yield* launch
  const opened: Array<number> = []
  for (let round = 0; round < 5; round++) {
    const { page } = yield* open(browser, { viewport: { width: 1440, height: 900 } })
    yield* Effect.promise(() => page.goto(`file://${file}`, { waitUntil: "commit" }))
    yield* Effect.promise(() => page.waitForSelector("html[data-ready=true]", { timeout: 60_000 }))
    opened.push(
      yield* Effect.promise(() => page.evaluate<number>(`performance.getEntriesByName("timeline-drawn")[0].startTime`))
    )
    if (round < 4) {
      yield* Effect.promise(() => page.close())
      continue
    }
    const heap = yield* Effect.promise(() => page.evaluate<number>(`performance.memory.usedJSHeapSize / 1e6`))
    yield* Console.log(
      `opened in ${opened.map((ms) => (ms / 1000).toFixed(2)).join(", ")} s; heap ${Math.round(heap)} MB`
    )
    yield* frames(page)
  }
}).pipe(Effect.scoped)

/** Moves the view a little in each frame, as a wheel or a touchpad does, and looks how long frames take. */
const frames = Effect.fnUntraced(function* (page: Page) {
  /** Turns the wheel in each frame, half of them there and half of them back. */
  const measure = (deltaX: number, deltaY: number, count: number) =>
    Effect.promise(() =>
      page.evaluate<Array<number>>(
        `new Promise((resolve) => {
          const canvas = document.querySelector(".lanes")
          const frames = []
          let last
          let left = ${count}
          const step = (now) => {
            if (last !== undefined) frames.push(now - last)
            last = now
            if (left-- <= 0) return resolve(frames)
            const direction = left > ${count} / 2 ? 1 : -1
            canvas.dispatchEvent(new WheelEvent("wheel", {
              deltaX: ${deltaX} * direction,
              deltaY: ${deltaY} * direction,
              clientX: canvas.clientWidth * 0.6,
              clientY: 400,
              cancelable: true
            }))
            requestAnimationFrame(step)
          }
          requestAnimationFrame(step)
        })`
      )
    )
  const report = (name: string, times: Array<number>) =>
    Console.log(
      `${name.padEnd(26)} ${times.length} frames: p50 ${percentile(times, 0.5).toFixed(1)} ms, ` +
        `p95 ${percentile(times, 0.95).toFixed(1)} ms, max ${Math.max(...times).toFixed(1)} ms`
    )
  yield* report("zoom, all and back", yield* measure(0, -30, 180))
  for (const level of [1, 6, 40, 400, 4000]) {
    yield* Effect.promise(() => page.evaluate(`dispatchEvent(new KeyboardEvent("keydown", { key: "0" }))`))
    yield* Effect.promise(() => page.waitForTimeout(400))
    let factor = 1
    while (factor < level) {
      yield* Effect.promise(() =>
        page.evaluate(
          `document.querySelector(".lanes").dispatchEvent(new WheelEvent("wheel", { deltaY: -200, clientX: 600, clientY: 400, cancelable: true }))`
        )
      )
      factor *= Math.exp(200 * 0.0022)
    }
    yield* report(`pan, zoomed in ${factor.toFixed(0)}-fold`, yield* measure(14, 0, 240))
  }
})

NodeRuntime.runMain(run.pipe(Effect.provide(NodeServices.layer)))
