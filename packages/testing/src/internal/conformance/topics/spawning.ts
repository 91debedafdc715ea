/** Starting commands: what is no command, scripts, and that each runs once (F6, F27, F31). */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { endOf, exited } from "../subject.ts"

const check = inTopic("spawning")

export const checks = [
  check(
    "spawn-not-found",
    "a command that is not on PATH is NotFound, and the error names it",
    { marks: ["F6"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const error = yield* expect.platformError(sandbox.run("no-such-command-7291"), "NotFound", "spawning it")
        yield* expect.includes(error.message, "no-such-command-7291", "the error's message names the command")
      })
  ),

  check("spawn-path-not-found", "a path that leads nowhere is NotFound", { marks: ["F6"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      for (const command of ["/no/such/file", "./missing", "missing/file", `${sandbox.workdir}/missing`]) {
        yield* expect.platformError(sandbox.run(command), "NotFound", `spawning ${command}`)
      }
    })
  ),

  check(
    "spawn-not-executable",
    "a file that is not executable is PermissionDenied",
    { marks: ["F6"], needs: ["modes", "programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.files.writeFileString("plain", "#!/bin/sh\necho ran\n", { mode: 0o644 })
        yield* expect.platformError(sandbox.run("./plain"), "PermissionDenied", "spawning a file of mode 644")
      })
  ),

  check(
    "spawn-directory",
    "a directory is no command but PermissionDenied",
    { marks: ["F6"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.files.makeDirectory("directory")
        yield* expect.platformError(sandbox.run("./directory"), "PermissionDenied", "spawning a directory")
      })
  ),

  check(
    "spawn-bad-interpreter",
    "a script whose interpreter is missing never ends with 0",
    { marks: ["F31"], needs: ["modes"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.files.writeFileString("script", "#!/no/such/interpreter\n")
        yield* sandbox.files.chmod("script", 0o755)
        const result = yield* Effect.result(expect.promptly(sandbox.run("./script"), "running it"))
        if (result._tag === "Success") {
          yield* expect.isTrue(
            result.success.end._tag !== "Exited" || result.success.end.code !== 0,
            "it is told as a success"
          )
        } else yield* expect.equal(result.failure._tag, "PlatformError", "the kind of error")
      })
  ),

  check(
    "spawn-script",
    "a file with `#!` that was written through FileSystem is a command, with its arguments",
    { needs: ["shell", "modes"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.files.writeFileString("script", '#!/bin/sh\necho "ran $1 in $#"\nexit 5\n')
        yield* sandbox.files.chmod("script", 0o755)
        const { end, stdout } = yield* sandbox.run("./script", ["a b", "c"])
        yield* expect.equal({ end, stdout }, { end: exited(5), stdout: "ran a b in 2\n" }, "the script")
        const absolute = yield* sandbox.run(`${sandbox.workdir}/script`, ["x"])
        yield* expect.equal(absolute.stdout, "ran x in 1\n", "the script by its absolute path")
      })
  ),

  check(
    "spawn-after-failure",
    "a command that could not be started does the sandbox no harm",
    { marks: ["X2"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* Effect.forEach(
          Array.from({ length: 20 }, (_, index) => `missing-${index}`),
          (command) => Effect.exit(sandbox.run(command)),
          { concurrency: 5 }
        )
        yield* sandbox.instance.ping
        yield* expect.equal((yield* sandbox.run("echo", ["on"])).stdout, "on\n", "the next command")
      })
  ),

  check(
    "spawn-runs-once",
    "a command runs once, whatever its end and whoever asks for it",
    { marks: ["F27", "X7"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        for (const end of ["exit 0", "exit 1", "exit 125", "kill -KILL $$", "exec >&- 2>&-"]) {
          const handle = yield* sandbox.startScript(`echo x >>count; ${end}`)
          yield* Effect.all([endOf(handle), endOf(handle), Stream.runDrain(handle.all)], { concurrency: 3 })
          yield* endOf(handle)
        }
        yield* Effect.sleep("300 millis")
        yield* expect.equal(yield* sandbox.files.readFileString("count"), "x\n".repeat(5), "five commands, a line each")
      })
  )
]
