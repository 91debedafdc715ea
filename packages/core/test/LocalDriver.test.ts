import type { LocalDriver } from "@effect-sandbox/core"
import { CommandUser, Environment, Sandbox, SandboxDriver } from "@effect-sandbox/core"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, FileSystem, Layer, PlatformError, Sink, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { TestClock } from "effect/testing"
import { spawn as spawnOnHost } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import {
  cannot,
  driver,
  eventually,
  exec,
  gone,
  hostDirectory,
  inSession,
  instance,
  lab,
  layer,
  levels,
  output,
  processesWith,
  running,
  scoped,
  sh,
  spawn,
  spec,
  timed,
  token
} from "./support/LocalTest.ts"

const limit = 20_000
const exited = (code: number) => ({ _tag: "Exited", code })

for (const isolation of levels) {
  const options: LocalDriver.Options = { isolation }

  describe.skipIf(cannot(isolation))(`isolation ${isolation}`, () => {
    describe("ends of commands", () => {
      it.live(
        "F1 returns when the command exits, whoever else holds its output; what stays behind dies with the session",
        () =>
          Effect.gen(function* () {
            const sleep = token()
            const environment = yield* lab(options)
            const [millis, result] = yield* timed(
              environment.withSession({}, sh(`sleep ${sleep} & setsid sleep ${sleep} & echo started; echo oops >&2`))
            )
            assert.deepStrictEqual(result.outcome, exited(0))
            assert.strictEqual(result.stdout, "started\n")
            assert.strictEqual(result.stderr, "oops\n")
            assert.isBelow(millis, 3000)
            yield* environment.withSession({}, Effect.void)
            assert.deepStrictEqual(processesWith(sleep), [])
          }),
        limit
      )

      it.live(
        "F1 a background process that never stops writing holds nobody up",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const [millis, result] = yield* timed(sh("echo first; yes >&2 & sleep 0.2", { maxOutputBytes: 1000 }))
              assert.deepStrictEqual(result.outcome, exited(0))
              assert.strictEqual(result.stdout, "first\n")
              assert.isTrue(result.truncated.stderr)
              assert.isBelow(millis, 4000)
            })
          ),
        limit
      )

      it.live(
        "F2 a timeout kills the whole tree, politely first, and says so",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const sleep = token()
              const script = `trap 'echo >polite; exit 3' TERM; sh -c "sleep ${sleep} & wait" & echo out; wait`
              const [millis, result] = yield* timed(sh(script, { timeout: "400 millis" }))
              assert.deepStrictEqual(result.outcome, { _tag: "TimedOut", timeoutMillis: 400 })
              assert.strictEqual(result.stdout, "out\n")
              assert.strictEqual(yield* output("ls"), "polite\n")
              assert.isBelow(millis, 4000)
              assert.isAtLeast(result.durationMillis, 400)
              assert.deepStrictEqual(processesWith(sleep), [])
            })
          ),
        limit
      )

      it.live(
        "F2 a timeout kills what left the command's process group, too",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const sleep = token()
              yield* sh(`setsid sleep ${sleep} & sleep ${sleep}`, { timeout: "400 millis" })
              assert.deepStrictEqual(processesWith(sleep), [])
            })
          ),
        limit
      )

      it.live(
        "F2 F3 a command that ignores the polite signal is killed after forceKillAfter",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const sleep = token()
              const script = `trap "" TERM INT HUP; echo out; sh -c "sleep ${sleep}"; sleep ${sleep}`
              const [millis, result] = yield* timed(sh(script, { timeout: "300 millis", forceKillAfter: "300 millis" }))
              assert.deepStrictEqual(result.outcome, { _tag: "TimedOut", timeoutMillis: 300 })
              assert.strictEqual(result.stdout, "out\n")
              assert.isBelow(millis, 3500)
              yield* gone(sleep)
            })
          ),
        limit
      )

      it.live(
        "F18 the exit code is the system's",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              for (const code of [0, 1, 3, 125, 126, 127, 130, 137, 143, 255]) {
                assert.deepStrictEqual((yield* sh(`exit ${code}`)).outcome, exited(code))
              }
            })
          ),
        limit
      )

      it.live(
        "F18 F31 a death by signal is no exit code, and what was written before is kept",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              for (const signal of ["KILL", "SEGV", "TERM", "ABRT", "HUP"]) {
                const result = yield* sh(`echo before; kill -${signal} $$; echo after`)
                assert.deepStrictEqual(result.outcome, { _tag: "Signalled", signal: `SIG${signal}` })
                assert.strictEqual(result.stdout, "before\n")
              }
            })
          ),
        limit
      )

      it.live(
        "F30 a command that signals its whole process group hurts nobody else",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const other = yield* Effect.forkChild(output("sleep 1; echo survived"), { startImmediately: true })
              for (const [kill, signal] of [
                ["kill 0", "SIGTERM"],
                ["kill -KILL 0", "SIGKILL"]
              ]) {
                const result = yield* sh(`echo before; ${kill}; sleep 5; echo after`)
                assert.deepStrictEqual(result.outcome, { _tag: "Signalled", signal })
                assert.strictEqual(result.stdout, "before\n")
              }
              // In namespaces the leader of the group cannot be named.
              assert.notStrictEqual((yield* sh("kill -TERM -$$")).outcome._tag, "Unknown")
              assert.strictEqual(yield* Fiber.join(other), "survived\n")
            })
          ),
        limit
      )

      it.live(
        "S5 interruption kills the command, its children and its grandchildren",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const sleep = token()
              const fiber = yield* Effect.forkChild(
                sh(`sh -c "sleep ${sleep} & wait" & setsid sleep ${sleep} & sleep ${sleep}`)
              )
              yield* eventually("three sleeps", () => processesWith(`sleep\0${sleep}`).length >= 3)
              yield* Fiber.interrupt(fiber)
              yield* gone(sleep)
            })
          ),
        limit
      )

      it.live(
        "S5 interrupting the user of a session kills what runs in it",
        () =>
          Effect.gen(function* () {
            const sleep = token()
            const environment = yield* lab(options)
            const body = Effect.gen(function* () {
              const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
              yield* spawner.spawn(ChildProcess.make("sleep", [sleep]))
              yield* sh(`sleep ${sleep}`)
            })
            const fiber = yield* Effect.forkChild(environment.withSession({}, Effect.scoped(body)))
            yield* running(sleep, 2)
            yield* Fiber.interrupt(fiber)
            assert.deepStrictEqual(processesWith(sleep), [])
            assert.strictEqual(yield* environment.withSession({}, output("echo on")), "on\n")
          }),
        limit
      )
    })
  })
}
