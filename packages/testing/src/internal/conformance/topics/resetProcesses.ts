/** What runs in a session does not go on in the next one (S1). */
import { CallLifetime } from "@effect-sandbox/core/SandboxDriver"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import { Sandbox } from "@effect-sandbox/core/Sandbox"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { staysFresh } from "../fresh.ts"
import { endOf, ticks } from "../subject.ts"

const check = inTopic("reset-processes")
const inSetup = Effect.provideService(CallLifetime, "sandbox")

/** A loop that writes where the workspace was, whatever became of it. */
const haunts = (name: string): string => `while :; do echo x >>"$WORKSPACE/${name}" 2>/dev/null; sleep 0.05; done`

/** Processes that do not want to be found; each haunts a file that is named after its disguise. */
const disguises = [
  `(${haunts("background")}) &`,
  `(${haunts("silent")}) >/dev/null 2>&1 </dev/null &`,
  `nohup sh -c '${haunts("nohup")}' >/dev/null 2>&1 &`,
  `setsid sh -c '${haunts("setsid")}' >/dev/null 2>&1 &`,
  `(setsid sh -c '${haunts("orphan")}' >/dev/null 2>&1 &)`,
  `(trap "" TERM HUP INT QUIT; ${haunts("stubborn")}) >/dev/null 2>&1 &`,
  `(cd / && setsid sh -c '${haunts("elsewhere")}' >/dev/null 2>&1 &)`,
  `env -i WORKSPACE="$WORKSPACE" PATH="$PATH" setsid sh -c '${haunts("without-environment")}' >/dev/null 2>&1 &`
]

export const checks = [
  check(
    "reset-processes",
    "reset ends the processes of a session, in whatever disguise",
    { marks: ["S1", "F1"], needs: ["shell", "processTree"], patience: 2 },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        // It ends when all of them have begun.
        const until = `until [ "$(ls | grep -cv nohup.out)" -ge ${disguises.length} ]; do sleep 0.05; done`
        const script = `${disguises.join("\n")}\n${until}`
        const handle = yield* sandbox.startScript(script, { env: { WORKSPACE: sandbox.workdir } })
        yield* bench.during("all of them begin", endOf(handle))
        yield* sandbox.instance.reset
        yield* staysFresh(sandbox)
      })
  ),

  check(
    "reset-running-commands",
    "reset ends commands that still run, and their end is told",
    { marks: ["S1", "S5"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const options = { env: { WORKSPACE: sandbox.workdir } }
        const handle = yield* sandbox.startScript(haunts("a"), options)
        yield* sandbox.isTicking("a")
        yield* expect.promptly(sandbox.instance.reset, "reset while a command runs", "12 seconds")
        yield* staysFresh(sandbox)
        const end = yield* expect.promptly(endOf(handle), "the end of the command that ran")
        yield* expect.isTrue(end._tag !== "Exited" || end.code !== 0, "its end is told as a success")
        yield* expect.equal(yield* handle.isRunning, false, "isRunning")
      })
  ),

  check(
    "reset-forking-process",
    "reset ends a process that goes on forking away",
    { marks: ["S1"], needs: ["shell", "processTree"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const script = `echo '#!/bin/sh
        echo x >>"$WORKSPACE/a" 2>/dev/null
        sleep 0.05
        setsid sh "$0" >/dev/null 2>&1 &' >"$TMPDIR/flee"; setsid sh "$TMPDIR/flee" >/dev/null 2>&1 & sleep 0.3`
        yield* Effect.scoped(
          Effect.flatMap(sandbox.startScript(script, { env: { WORKSPACE: sandbox.workdir } }), endOf)
        )
        yield* sandbox.instance.reset
        yield* staysFresh(sandbox)
      })
  ),

  check(
    "reset-keeps-set-up-processes",
    "reset leaves the processes of set-up alone",
    { marks: ["S1"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const daemon = yield* sandbox.start("cat", [], { stdin: "pipe" }).pipe(inSetup)
        const child = yield* sandbox.startScript("sleep 60 & wait").pipe(inSetup)
        yield* sandbox.sh("sleep 60 >/dev/null 2>&1 &")
        yield* sandbox.instance.reset
        yield* sandbox.instance.reset
        yield* expect.equal(
          [yield* daemon.isRunning, yield* child.isRunning],
          [true, true],
          "isRunning of two processes of set-up"
        )
      })
  ),

  check(
    "reset-between-sessions",
    "a session sees nothing of the one before it on the same sandbox",
    { marks: ["S1"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment()
        const look = Effect.gen(function* () {
          const sandbox = yield* Sandbox
          const files = yield* FileSystem.FileSystem
          const script = 'ls -A; (cd "$TMPDIR" && ls -A); echo "${LEFT-unset} $(pwd) $(umask)"'
          const { stdout } = yield* sandbox.exec("sh", ["-c", script])
          return { id: sandbox.id, listing: yield* files.readDirectory("."), stdout }
        })
        const before = yield* lab.withSession({}, look)
        yield* lab.withSession(
          {},
          Effect.gen(function* () {
            const sandbox = yield* Sandbox
            const files = yield* FileSystem.FileSystem
            yield* files.writeFileString("file", "")
            yield* files.makeTempFile()
            const script = `export LEFT=1; umask 077; mkdir -p a/.b; touch "$TMPDIR/x"; chmod 000 a; (${ticks("t")}) >/dev/null 2>&1 & sleep 0.2`
            yield* sandbox.exec("sh", ["-c", script])
          })
        )
        const after = yield* lab.withSession({}, look)
        yield* expect.equal(after, before, "what the next session sees, compared with the first")
      })
  ),

  check(
    "reset-after-crash",
    "a session that ended in an error leaves no more than any other",
    { marks: ["S1", "X4"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment()
        const exit = yield* Effect.exit(
          lab.withSession(
            {},
            Effect.gen(function* () {
              const sandbox = yield* Sandbox
              yield* sandbox.exec("sh", ["-c", "echo x >file; sleep 60 >/dev/null 2>&1 &"])
              return yield* Effect.fail("the user's own error" as const)
            })
          )
        )
        yield* expect.equal(exit, Exit.fail("the user's own error" as const), "the session's error")
        const seen = yield* lab.withSession(
          {},
          Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("ls", ["-A"]))
        )
        yield* expect.equal(seen.stdout, "", "what the next session sees")
      })
  )
]
