/**
 * What an analysis costs: a million events of environments side by side, life after life, folded one by one.
 *
 * `node --expose-gc bench/analysis.ts [events]`
 */
import {
  EnvironmentId,
  ImageId,
  SandboxId,
  type SandboxEvent,
  type SandboxStatus,
  SessionId
} from "@effect-sandbox/core"
import { Analysis, Report } from "@effect-sandbox/devtools"
import { Console, Effect } from "effect"
import { NodeRuntime } from "@effect/platform-node"
import { memoryUsage } from "node:process"

const count = Number(process.argv[2] ?? 1_000_000)
const environments = 20
const slots = 8
const sessionsOfALife = 50

type Status = SandboxStatus.SandboxStatus

/** One life of one environment, each sandbox of which serves sessions one after the other. */
function* life(name: string, from: number, round: number): Generator<SandboxEvent.SandboxEvent> {
  const environmentId = EnvironmentId.make(name)
  const image = ImageId.make("base")
  let timestamp = from
  const facts = (slot: number) => ({
    environmentId,
    timestamp,
    image,
    sandboxId: SandboxId.make(`${name}/base:${slot}:0`)
  })
  const move = (slot: number, from: Status, to: Status): SandboxEvent.SandboxEvent => ({
    _tag: "SandboxStatusChanged",
    ...facts(slot),
    from,
    to,
    spentMillis: 0
  })
  yield { _tag: "EnvironmentStarting", environmentId, timestamp, pools: [{ image, min: 2, max: slots }] }
  for (let slot = 0; slot < slots; slot++) {
    yield move(slot, "Created", "SettingUp")
    yield move(slot, "SettingUp", "Ready")
  }
  for (let session = 0; session < sessionsOfALife; session++) {
    for (let slot = 0; slot < slots; slot++) {
      timestamp += 7
      const sessionId = SessionId.make(`${round}-${session}-${slot}`)
      const durationMillis = (session * 131 + slot * 17) % 997
      yield move(slot, "Ready", "Acquired")
      yield move(slot, "Acquired", "SettingUp")
      yield move(slot, "SettingUp", "InSession")
      yield { _tag: "SessionStarted", ...facts(slot), sessionId, waitedMillis: slot, durationMillis: 1 }
      yield { _tag: "SandboxActivity", ...facts(slot), sessionId, name: `exec ${session % 5}`, durationMillis }
      yield move(slot, "InSession", "ExitingSession")
      yield { _tag: "SessionEnded", ...facts(slot), sessionId, durationMillis: 1, lifetimeMillis: durationMillis }
      yield move(slot, "ExitingSession", "Ready")
    }
  }
  for (let slot = 0; slot < slots; slot++) {
    yield move(slot, "Ready", "ShuttingDown")
    yield move(slot, "ShuttingDown", "Offline")
  }
  yield { _tag: "EnvironmentShutDown", environmentId, timestamp, durationMillis: 0, lifetimeMillis: timestamp - from }
}

const heap = (): string => {
  globalThis.gc?.()
  return `${(memoryUsage().heapUsed / 1e6).toFixed(0)} MB`
}

const run = Effect.gen(function* () {
  const analysis = Analysis.make()
  let made = 0
  let folding = 0
  for (let round = 0; made < count; round++) {
    const lives = Array.from({ length: environments }, (_, index) => life(`lab ${index}`, round * 4000, round))
    const events: Array<SandboxEvent.SandboxEvent> = []
    for (let left = true; left;) {
      left = false
      for (const one of lives) {
        const next = one.next()
        if (next.done === true) continue
        events.push(next.value)
        left = true
      }
    }
    const before = performance.now()
    for (const event of events) analysis.add(event)
    folding += performance.now() - before
    made += events.length
    if (round % 4 === 0) yield* Console.log(`${made} events: ${Math.round(folding)} ms, heap ${heap()}`)
  }
  const before = performance.now()
  const report = analysis.report()
  const reporting = performance.now() - before
  yield* Console.log(
    [
      `${report.events.total} events, ${report.images.reduce((sum, { sessions }) => sum + sessions.started, 0)} sessions:`,
      `folded in ${Math.round(folding)} ms (${((folding * 1000) / made).toFixed(2)} µs each), heap ${heap()},`,
      `the report took ${Math.round(reporting)} ms, its JSON has ${(Report.json(report).length / 1e6).toFixed(1)} MB`
    ].join(" ")
  )
})

NodeRuntime.runMain(run)
