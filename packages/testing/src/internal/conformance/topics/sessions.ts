/** Sessions of the core's environment on the driver: what they provide, and what ends with them (S5). */
import { Sandbox } from "@effect-sandbox/core/Sandbox"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Predicate from "effect/Predicate"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { exited, inSession, sh } from "../inSession.ts"
import { ticks } from "../subject.ts"

const check = inTopic("sessions")

export const checks = [
  check(
    "exec-hang-holds-nobody",
    "status, stats, files and other commands answer while a command hangs",
    { marks: ["F24"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment()
        const body = Effect.gen(function* () {
          const sandbox = yield* Sandbox
          const files = yield* FileSystem.FileSystem
          const hanging = yield* Effect.forkChild(
            sh('trap "" TERM; kill -STOP $$; sleep 60', { forceKillAfter: "300 millis" }),
            {
              startImmediately: true
            }
          )
          yield* Effect.sleep("300 millis")
          const others = Effect.gen(function* () {
            yield* sandbox.ping
            yield* files.writeFileString("file", "content")
            const status = yield* sandbox.status
            const stats = yield* lab.stats
            return [status, stats.sessions, (yield* sandbox.exec("cat", ["file"])).stdout]
          })
          const found = yield* expect.promptly(others, "everything else")
          yield* expect.equal(found, ["InSession", 1, "content"], "status, sessions, and the file")
          yield* expect.promptly(Fiber.interrupt(hanging), "interrupting the command that hangs", "10 seconds")
        })
        yield* lab.withSession({}, body)
      })
  ),

  check(
    "exec-activities",
    "what happens in a session is told as activities that name the operation and its error",
    { marks: ["F6", "V4"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment()
        const body = Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          const spawner = yield* ChildProcessSpawner
          yield* sh("exit 0")
          yield* files.writeFileString("file", "")
          yield* Effect.exit(files.readFile("missing"))
          yield* spawner.exitCode(ChildProcess.make("true"))
          yield* Effect.exit(Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("no-such-command")))
        })
        yield* lab.withSession({}, body)
        const activities = (yield* lab.recorder.events).flatMap((event) =>
          event._tag === "SandboxActivity"
            ? [`${event.name}${event.error === undefined ? "" : ` ${event.error.tag}`}`]
            : []
        )
        const expected = [
          "exec sh",
          "fs.writeFile",
          "fs.readFile PlatformError",
          "spawn true",
          "exec no-such-command PlatformError"
        ]
        yield* expect.equal(
          activities.filter((activity) => expected.includes(activity)),
          expected,
          "the activities"
        )
      })
  ),

  check(
    "session-is-a-platform",
    "in a session Effect's own services are those of the sandbox, and relative paths start in its workspace",
    { needs: ["shell"] },
    (bench) =>
      inSession(bench, (subject) =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox
          const files = yield* FileSystem.FileSystem
          const path = yield* Path.Path
          const spawner = yield* ChildProcessSpawner
          yield* files.makeDirectory("a/b", { recursive: true })
          yield* files.writeFileString("a/b/file", "content")
          yield* expect.equal(sandbox.workdir, subject.workdir, "the workspace")
          yield* expect.equal(path.resolve("a/b/file"), `${subject.workdir}/a/b/file`, "Path.resolve")
          yield* expect.equal(
            yield* files.readFileString(path.resolve("a/b/file")),
            "content",
            "the file by its absolute path"
          )
          yield* expect.equal(
            yield* spawner.string(ChildProcess.make("cat", ["a/b/file"])),
            "content",
            "the file, to a command"
          )
        })
      )
  ),

  check(
    "session-end-kills",
    "when a session ends, its commands end, in the foreground and in the background",
    { marks: ["S5", "F1"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment()
        const started = yield* Effect.scoped(
          Effect.gen(function* () {
            const session = yield* lab.session()
            yield* session.run(sh(`(${ticks("background")}) >/dev/null 2>&1 & exit 0`))
            const spawner = session.run(
              Effect.gen(function* () {
                const spawner = yield* ChildProcessSpawner
                return yield* spawner.spawn(ChildProcess.make("sleep", ["60"], { stdin: "ignore" }))
              })
            )
            return yield* spawner
          })
        )
        yield* expect.promptly(Effect.exit(started.exitCode), "the end of a command of a session that has ended")
        const left = yield* lab.withSession(
          {},
          Effect.gen(function* () {
            yield* Effect.sleep("300 millis")
            return (yield* sh("ls -A")).stdout
          })
        )
        yield* expect.equal(left, "", "what the next session sees")
      })
  ),

  check(
    "session-interruption",
    "interrupting the user of a session ends the session and what runs in it; the sandbox serves on",
    { marks: ["S5", "F25"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment()
        const fiber = yield* Effect.forkChild(
          lab.withSession({}, sh("sleep 60 & sleep 60", { forceKillAfter: "500 millis" })),
          {
            startImmediately: true
          }
        )
        yield* lab.recorder.waitFor((event) => event._tag === "SessionStarted")
        yield* Effect.sleep("300 millis")
        const first = yield* lab.latest
        yield* expect.promptly(Fiber.interrupt(fiber), "interruption", "12 seconds")
        yield* expect.equal((yield* lab.withSession({}, sh("echo on"))).stdout, "on\n", "the next session")
        yield* expect.equal((yield* lab.latest).spec.sandboxId, first.spec.sandboxId, "the sandbox of the next session")
      })
  ),

  check(
    "session-keepalive",
    "a session that keeps its sandbox busy is not ended by pings",
    { marks: ["F19"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment({ keepaliveInterval: "200 millis", pingTimeout: "5 seconds" })
        const script =
          "for i in 1 2 3; do (while :; do :; done) & done; sleep 2; kill $! 2>/dev/null; echo done; exit 0"
        const result = yield* lab.withSession({}, sh(script))
        yield* expect.equal([result.outcome, result.stdout], [exited(0), "done\n"], "a busy command")
        const bad = (yield* lab.recorder.events).filter(
          (event) => Predicate.hasProperty(event, "error") && event.error !== undefined
        )
        yield* expect.equal(
          bad.map((event) => event._tag),
          [],
          "events of errors"
        )
      })
  )
]
