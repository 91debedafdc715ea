/** Symbolic and hard links. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"

const check = inTopic("links")

export const checks = [
  check(
    "link-symbolic",
    "a symbolic link leads to its target, and is told from it by lstat",
    { needs: ["symlinks"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        yield* files.writeFileString("file", "content")
        yield* files.symlink("file", "link")
        yield* expect.equal(yield* files.readFileString("link"), "content", "the content")
        yield* expect.equal((yield* files.stat("link")).type, "File", "stat")
        yield* expect.equal((yield* files.lstat("link")).type, "SymbolicLink", "lstat")
        yield* files.writeFileString("link", "changed")
        yield* expect.equal(yield* files.readFileString("file"), "changed", "what was written through it")
      })
  ),

  check("link-text", "a link holds its text as it was given", { needs: ["symlinks"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      for (const target of ["missing", "./a/../b", "with space", "日本", "a\nb", "x".repeat(1000)]) {
        yield* files.symlink(target, "link")
        yield* expect.equal(yield* files.readLink("link"), target, "its text")
        yield* files.remove("link")
      }
    })
  ),

  check("link-fails", "links say why they fail", { marks: ["F6"], needs: ["symlinks"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      yield* expect.platformError(files.symlink("x", "file"), "AlreadyExists", "a link in place of a file")
      yield* expect.platformError(
        files.symlink("x", "missing/link"),
        "NotFound",
        "a link in a directory that is missing"
      )
      yield* expect.platformError(files.readLink("missing"), "NotFound", "readLink of what is missing")
      yield* expect.platformError(files.readLink("file"), undefined, "readLink of a file")
    })
  ),

  check(
    "link-dangling",
    "a link that leads nowhere is there, and its target is not",
    { needs: ["symlinks"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        yield* files.symlink("missing", "link")
        yield* expect.equal(yield* files.exists("link"), false, "whether its target exists")
        yield* expect.platformError(files.stat("link"), "NotFound", "stat")
        yield* expect.platformError(files.readFile("link"), "NotFound", "readFile")
        yield* expect.equal((yield* files.lstat("link")).type, "SymbolicLink", "lstat")
        yield* files.writeFileString("link", "made")
        yield* expect.equal(yield* files.readFileString("missing"), "made", "what was written through it")
      })
  ),

  check(
    "link-loop",
    "links that lead to each other are BadResource, and can be removed",
    { needs: ["symlinks"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        yield* files.symlink("b", "a")
        yield* files.symlink("a", "b")
        yield* files.symlink("self", "self")
        for (const path of ["a", "self", "a/file"]) {
          yield* expect.platformError(
            expect.promptly(files.readFile(path), "readFile"),
            "BadResource",
            `readFile of ${path}`
          )
          yield* expect.platformError(expect.promptly(files.stat(path), "stat"), "BadResource", `stat of ${path}`)
        }
        for (const path of ["a", "b", "self"]) yield* files.remove(path)
        yield* expect.equal(yield* files.readDirectory("."), [], "what is left")
      })
  ),

  check(
    "link-to-directory",
    "a link to a directory leads into it, and removing it leaves the directory",
    { needs: ["symlinks"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        yield* files.makeDirectory("directory")
        yield* files.writeFileString("directory/file", "content")
        yield* files.symlink("directory", "link")
        yield* expect.equal(yield* files.readFileString("link/file"), "content", "a file through it")
        yield* expect.equal(yield* files.readDirectory("link"), ["file"], "its listing")
        yield* files.writeFileString("link/new", "")
        yield* expect.equal(yield* files.exists("directory/new"), true, "whether a file made through it is there")
        yield* files.remove("link", { recursive: true })
        yield* expect.equal(
          (yield* files.readDirectory("directory")).sort(),
          ["file", "new"],
          "what is in the directory"
        )
      })
  ),

  check("link-moved", "remove and rename act on a link, not on its target", { needs: ["symlinks"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "content")
      yield* files.symlink("file", "link")
      yield* files.rename("link", "moved")
      yield* expect.equal(
        [yield* files.readLink("moved"), yield* files.exists("link")],
        ["file", false],
        "the moved link"
      )
      yield* files.remove("moved")
      yield* expect.equal(yield* files.readFileString("file"), "content", "the target")
    })
  ),

  check("link-real-path", "realPath resolves links, dots and relative paths", { needs: ["symlinks"] }, (bench) =>
    Effect.gen(function* () {
      const { files, workdir } = yield* bench.create()
      yield* files.makeDirectory("a/b", { recursive: true })
      yield* files.writeFileString("a/b/file", "")
      yield* files.symlink("a/b", "link")
      yield* files.symlink("link/file", "second")
      const root = yield* files.realPath(".")
      yield* expect.equal(yield* files.realPath(workdir), root, "the workspace")
      for (const path of ["second", "link/file", "a/../a/./b/file", `${workdir}/second`]) {
        yield* expect.equal(yield* files.realPath(path), `${root}/a/b/file`, `realPath of ${path}`)
      }
      yield* expect.platformError(files.realPath("missing"), "NotFound", "of what is missing")
    })
  ),

  check(
    "link-by-commands",
    "links that commands make and FileSystem makes are the same",
    { needs: ["shell", "symlinks"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { files } = sandbox
        yield* files.writeFileString("file", "content")
        yield* sandbox.output("ln -s file by-command")
        yield* files.symlink("file", "by-files")
        yield* expect.equal(yield* files.readLink("by-command"), "file", "the command's")
        const script = "readlink by-files; cat by-files; [ -L by-files ] && echo link"
        yield* expect.equal(yield* sandbox.output(script), "file\ncontentlink\n", "FileSystem's")
      })
  ),

  check("link-hard", "hard links are one file with several names", { needs: ["hardLinks"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "content")
      yield* files.link("file", "other")
      const [one, two] = yield* Effect.all([files.stat("file"), files.stat("other")])
      yield* expect.isTrue(Option.isNone(one.ino) || isSame(one.ino, two.ino), "they have different inodes")
      yield* expect.isTrue(Option.isNone(one.nlink) || one.nlink.value === 2n, "their number of names is not 2")
      yield* files.writeFileString("other", "changed", { flag: "r+" })
      yield* expect.equal(yield* files.readFileString("file"), "changed", "what was written by the other name")
      yield* files.remove("file")
      yield* expect.equal(yield* files.readFileString("other"), "changed", "after removing one name")
    })
  ),

  check("link-hard-fails", "hard links say why they fail", { marks: ["F6"], needs: ["hardLinks"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      yield* files.writeFileString("other", "kept")
      yield* files.makeDirectory("directory")
      yield* expect.platformError(files.link("missing", "new"), "NotFound", "to what is missing")
      yield* expect.platformError(files.link("file", "other"), "AlreadyExists", "over a file")
      yield* expect.platformError(files.link("file", "missing/new"), "NotFound", "in a directory that is missing")
      yield* expect.platformError(files.link("directory", "new"), undefined, "to a directory")
      yield* expect.equal(yield* files.readFileString("other"), "kept", "the other file")
    })
  )
]

const isSame = (one: Option.Option<bigint>, two: Option.Option<bigint>): boolean =>
  Option.isSome(one) && Option.isSome(two) && one.value === two.value
