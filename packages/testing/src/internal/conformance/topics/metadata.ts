/** What is known about files: type, size, times, permission bits and owners. */
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { exited } from "../subject.ts"

const check = inTopic("metadata")

const permissions = ({ mode }: FileSystem.File.Info): string => (mode & 0o777).toString(8)
const millis = (time: Option.Option<Date>): number =>
  Option.match(time, { onNone: () => -1, onSome: (date) => date.getTime() })

export const checks = [
  check("stat-type-size", "stat tells type and size", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "12345")
      yield* files.makeDirectory("directory")
      const { size, type } = yield* files.stat("file")
      yield* expect.equal([type, ByteSize.toBigInt(size)], ["File", 5n], "of a file")
      const types = yield* Effect.forEach(["directory", "."], (path) =>
        Effect.map(files.stat(path), (info) => info.type)
      )
      yield* expect.equal(types, ["Directory", "Directory"], "of directories")
    })
  ),

  check("stat-fails", "stat and lstat say why they fail", { marks: ["F6"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      for (const [path, reason] of [
        ["missing", "NotFound"],
        ["missing/file", "NotFound"],
        ["file/inner", "BadResource"]
      ] as const) {
        yield* expect.platformError(files.stat(path), reason, `stat of ${path}`)
        yield* expect.platformError(files.lstat(path), reason, `lstat of ${path}`)
      }
    })
  ),

  check("stat-times", "a change moves a file's mtime", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      const first = millis((yield* files.stat("file")).mtime)
      yield* expect.atMost(Math.abs(first - (yield* Clock.currentTimeMillis)), 600_000, "how far the mtime is from now")
      yield* Effect.sleep("1200 millis")
      yield* files.writeFileString("file", "more")
      const second = millis((yield* files.stat("file")).mtime)
      yield* expect.atLeast(second - first, 900, "how far a change has moved the mtime after 1.2 s")
    })
  ),

  check("utimes", "times can be set, as numbers of seconds and as dates", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      yield* files.utimes("file", 1_000_000, 2_000_000)
      const byNumber = yield* files.stat("file")
      yield* expect.equal(
        [millis(byNumber.atime), millis(byNumber.mtime)],
        [1_000_000_000, 2_000_000_000],
        "by numbers"
      )
      const date = Option.getOrThrow(byNumber.mtime)
      yield* files.makeDirectory("directory")
      yield* files.utimes("directory", date, date)
      yield* expect.equal(millis((yield* files.stat("directory")).mtime), 2_000_000_000, "by dates, of a directory")
      yield* expect.platformError(files.utimes("missing", 1, 1), "NotFound", "of what is missing")
    })
  ),

  check("chmod", "permission bits can be set and are seen by stat", { needs: ["modes"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      yield* files.makeDirectory("directory")
      for (const mode of [0o600, 0o644, 0o755, 0o700, 0o444]) {
        yield* files.chmod("file", mode)
        yield* files.chmod("directory", mode | 0o300)
        yield* expect.equal(permissions(yield* files.stat("file")), mode.toString(8), "of a file")
        yield* expect.equal(permissions(yield* files.stat("directory")), (mode | 0o300).toString(8), "of a directory")
      }
      yield* expect.platformError(files.chmod("missing", 0o600), "NotFound", "of what is missing")
    })
  ),

  check(
    "mode-at-creation",
    "permission bits can be given when files and directories are made",
    { needs: ["modes"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        yield* files.writeFileString("file", "", { mode: 0o600 })
        yield* files.makeDirectory("directory", { mode: 0o700 })
        yield* Effect.scoped(files.open("opened", { flag: "w", mode: 0o640 }))
        const modes = yield* Effect.forEach(["file", "directory", "opened"], (path) =>
          Effect.map(files.stat(path), permissions)
        )
        yield* expect.equal(modes, ["600", "700", "640"], "of a file, a directory, and a file that was opened")
      })
  ),

  check(
    "chmod-for-commands",
    "a file that was made executable is a command, and otherwise is not",
    { needs: ["shell", "modes"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { files } = sandbox
        yield* files.writeFileString("script", "#!/bin/sh\nexit 3\n", { mode: 0o644 })
        yield* expect.platformError(sandbox.run("./script"), "PermissionDenied", "before")
        yield* files.chmod("script", 0o755)
        yield* expect.equal((yield* sandbox.run("./script")).end, exited(3), "after")
        yield* sandbox.output("chmod 640 script; mkdir -p d; chmod 710 d")
        const modes = yield* Effect.forEach(["script", "d"], (path) => Effect.map(files.stat(path), permissions))
        yield* expect.equal(modes, ["640", "710"], "what a command has set")
      })
  ),

  check(
    "permissions-bind-commands",
    "commands are kept from what its permission bits forbid",
    { needs: ["shell", "permissions"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { files } = sandbox
        yield* files.writeFileString("unreadable", "secret")
        yield* files.writeFileString("read-only", "kept")
        yield* files.makeDirectory("closed")
        yield* sandbox.output("chmod 000 unreadable closed; chmod 444 read-only")
        const { stdout } = yield* sandbox.sh(
          "cat unreadable || echo no read; (echo x >read-only) || echo no write; (echo x >closed/file) || echo no entry"
        )
        yield* expect.equal(stdout, "no read\nno write\nno entry\n", "what a command could do")
        yield* sandbox.output("chmod 755 closed")
      })
  ),

  check("chown", "files can be given to whom they belong already", { marks: ["F6"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      const { gid, uid } = yield* files.stat("file")
      yield* files.chown(
        "file",
        Option.getOrElse(uid, () => 0),
        Option.getOrElse(gid, () => 0)
      )
      yield* expect.equal((yield* files.stat("file")).uid, uid, "the owner")
      yield* expect.platformError(files.chown("missing", 0, 0), "NotFound", "of what is missing")
    })
  ),

  check(
    "owner-lets-commands-write",
    "what FileSystem has made, commands can change, and the other way round",
    { needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { files } = sandbox
        yield* files.makeDirectory("outside")
        yield* files.writeFileString("outside/file", "1")
        yield* sandbox.output(
          "echo 2 >>outside/file; touch outside/new; mkdir inside; echo 3 >inside/file; chmod 700 inside"
        )
        yield* files.writeFileString("inside/file", "4")
        yield* files.remove("outside/new")
        yield* files.remove("inside", { recursive: true })
        yield* sandbox.output("rm -r outside")
        yield* expect.equal(yield* files.readDirectory("."), [], "what is left")
      })
  )
]
