import { EventRecorder, Sandbox } from "@effect-sandbox/core"
import { it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Scheduler } from "effect"
import { TestClock } from "effect/testing"
import * as Lab from "../support/Lab.ts"
const exec = (command: string, args: ReadonlyArray<string> = []) => Effect.flatMap(Sandbox, (s) => s.exec(command, args))
it.effect("sweep", () => Effect.gen(function*() {
  const bad = new Map<string, number>()
  for (const way of Lab.ways) for (let maxOps = 3; maxOps <= 64; maxOps++) for (let yields = 0; yields < 30; yields++) {
    let lines: ReadonlyArray<string> = []
    const exit = yield* Effect.exit(Effect.gen(function*() {
      const log: string[] = []
      const env = yield* Lab.make({ log, pool: { min: 0, max: 1 }, proactiveSessionSetup: yields % 2 === 0 })
      const caller = yield* Effect.forkChild(Effect.provideService(way.open(env, { id: "s" }, Effect.andThen(exec("echo"), Effect.yieldNow)), Scheduler.MaxOpsBeforeYield, maxOps), { startImmediately: true })
      for (let i = 0; i < yields; i++) yield* Effect.yieldNow
      yield* Fiber.interrupt(caller)
      yield* TestClock.adjust("1 second")
      yield* env.shutdown
      lines = [...yield* (yield* EventRecorder).lines, ...log.map((l) => "LOG " + l)]
    }).pipe(Lab.run))
    if (Exit.isFailure(exit)) {
      const key = String(Cause.squash(exit.cause)).split(":")[0]! + String(Cause.squash(exit.cause)).slice(-60)
      if (!bad.has(key)) console.log(way.name, maxOps, yields, key, "\n" + lines.join("\n"))
      bad.set(key, (bad.get(key) ?? 0) + 1)
    }
  }
  console.log(bad)
}), 60000)
