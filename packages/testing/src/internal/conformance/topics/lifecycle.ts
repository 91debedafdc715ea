/** Bringing sandboxes up and taking them down (F26, L18). */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { endOf, exited, ticks } from "../subject.ts"

const check = inTopic("lifecycle")

export const checks = [
  check(
    "create-answers",
    "a new sandbox works: files, commands, ping and reset",
    { marks: ["F26"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const spec = bench.spec()
        const instance = yield* bench.driver.create(spec)
        yield* instance.ping
        yield* instance.fileSystem.writeFileString("file", "content")
        const { end } = yield* bench.subject({ spec, instance }).run("true")
        yield* expect.equal(end, exited(0), "the end of `true`")
        yield* instance.reset
        yield* expect.equal(yield* instance.fileSystem.readDirectory("."), [], "the workspace")
        yield* expect.isTrue(
          instance.isolation === undefined || instance.isolation.level !== "",
          "its isolation has no level"
        )
      })
  ),

  check(
    "create-twenty",
    "20 sandboxes come up at the same time, all different",
    { marks: ["P1"], patience: 3 },
    (bench) =>
      Effect.gen(function* () {
        const sandboxes = yield* Effect.forEach(Array.from({ length: 20 }), () => bench.create(), {
          concurrency: "unbounded"
        })
        yield* Effect.forEach(sandboxes, ({ files }, index) => files.writeFileString("file", `${index}`), {
          concurrency: "unbounded"
        })
        const found = yield* Effect.forEach(sandboxes, ({ files }) => files.readFileString("file"))
        yield* expect.equal(
          found,
          sandboxes.map((_, index) => `${index}`),
          "the file of each"
        )
      })
  ),

  check(
    "create-same-name-again",
    "a name can be used again once its sandbox has gone, and nothing comes back",
    { marks: ["F26", "S1"] },
    (bench) =>
      Effect.gen(function* () {
        const spec = bench.spec()
        yield* Effect.scoped(Effect.flatMap(bench.create(spec), ({ files }) => files.writeFileString("file", "old")))
        const again = yield* bench.create(spec)
        yield* expect.equal(yield* again.files.readDirectory("."), [], "what the second sees")
      })
  ),

  check(
    "close-is-prompt",
    "a sandbox is taken down in seconds, whatever runs in it",
    { marks: ["H5", "F2"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const sandbox = yield* Scope.provide(bench.create(), scope)
        const start = (script: string) =>
          Scope.provide(sandbox.startScript(script, { forceKillAfter: "500 millis" }), scope)
        const stubborn = yield* start(`trap "" TERM HUP INT; ${ticks("ticks")}`)
        yield* start("yes")
        yield* start("kill -STOP $$; sleep 60")
        yield* sandbox.isTicking("ticks")
        yield* expect.promptly(Scope.close(scope, Exit.void), "taking it down", "15 seconds")
        const end = yield* expect.promptly(endOf(stubborn), "the end of a command of a sandbox that has gone")
        yield* expect.isTrue(end._tag !== "Exited" || end.code !== 0, "its end is told as a success")
      })
  ),

  check(
    "close-ends-everything",
    "nothing can be done with a sandbox that was taken down, and nothing hangs",
    { marks: ["L18", "F4"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* Effect.scoped(
          Effect.tap(bench.create(), ({ files }) => files.writeFileString("file", "content"))
        )
        const attempts: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown, Scope.Scope>]> = [
          ["reading a file", sandbox.files.readFileString("file")],
          ["writing a file", sandbox.files.writeFileString("file", "more")],
          ["listing the workspace", sandbox.files.readDirectory(".")],
          ["running a command", sandbox.run("true")]
        ]
        for (const [what, attempt] of attempts) {
          const exit = yield* Effect.exit(expect.promptly(Effect.scoped(attempt), what))
          yield* expect.isTrue(Exit.isFailure(exit), `${what} succeeds in a sandbox that has gone`)
          yield* expect.isTrue(!Exit.hasDies(exit), `${what} in a sandbox that has gone is a defect`)
        }
      })
  )
]
