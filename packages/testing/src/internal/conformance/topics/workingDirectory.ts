/** Where commands start: in the workspace, or where they were told to, never by way of a script (F13). */
import * as Effect from "effect/Effect"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"

const check = inTopic("cwd")

export const checks = [
  check("cwd-default", "commands start in the workspace", { marks: ["F13"], needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      yield* expect.equal((yield* sandbox.run("pwd")).stdout, `${sandbox.workdir}\n`, "the working directory")
    })
  ),

  check(
    "cwd-given",
    "a working directory may be absolute, or relative to the workspace",
    { marks: ["F13"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.files.makeDirectory("a/b", { recursive: true })
        for (const [cwd, expected] of [
          ["a", "a"],
          ["a/b", "a/b"],
          ["./a/../a/b/", "a/b"],
          [`${sandbox.workdir}/a`, "a"]
        ] as const) {
          const { stdout } = yield* sandbox.run("pwd", [], { cwd })
          yield* expect.equal(stdout, `${sandbox.workdir}/${expected}\n`, `the working directory ${cwd}`)
        }
      })
  ),

  check(
    "cwd-odd-names",
    "a working directory may have any name: it is never part of a script",
    { marks: ["F13"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        for (const name of [
          "with space",
          "quo'te",
          'dou"ble',
          "$HOME",
          "`id`",
          "$(id)",
          "new\nline",
          "a;b",
          "-dash",
          "日本",
          "*"
        ]) {
          yield* sandbox.files.makeDirectory(name)
          const { stdout } = yield* sandbox.run("pwd", [], { cwd: name })
          yield* expect.equal(stdout, `${sandbox.workdir}/${name}\n`, "the working directory")
        }
      })
  ),

  check(
    "cwd-not-there",
    "a working directory that is missing or a file is an error, and nothing runs",
    { marks: ["F13"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.files.writeFileString("file", "")
        const touch = (cwd: string) => sandbox.run("touch", [`${sandbox.workdir}/ran`], { cwd })
        yield* expect.platformError(touch("missing"), "NotFound", "a working directory that is missing")
        yield* expect.platformError(touch("file"), undefined, "a working directory that is a file")
        yield* expect.equal(yield* sandbox.files.exists("ran"), false, "whether the command ran")
      })
  ),

  check(
    "cwd-link",
    "a working directory may be a link inside the workspace",
    { marks: ["F13"], needs: ["shell", "symlinks"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.files.makeDirectory("target")
        yield* sandbox.files.symlink("target", "link")
        yield* sandbox.sh("echo x >made", { cwd: "link" })
        yield* expect.equal(yield* sandbox.files.exists("target/made"), true, "whether it led to its target")
      })
  ),

  check(
    "cwd-of-relative-command",
    "a relative path of a command starts in its working directory",
    { needs: ["shell", "modes"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.files.makeDirectory("here")
        yield* sandbox.files.writeFileString("here/script", "#!/bin/sh\npwd\n")
        yield* sandbox.files.chmod("here/script", 0o755)
        const { stdout } = yield* sandbox.run("./script", [], { cwd: "here" })
        yield* expect.equal(stdout, `${sandbox.workdir}/here\n`, "where it ran")
      })
  )
]
