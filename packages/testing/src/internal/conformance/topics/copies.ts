/** Moving, copying and removing files, and how each of them fails. */
import * as Effect from "effect/Effect"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import * as pattern from "../pattern.ts"
import * as text from "../text.ts"

const check = inTopic("copies")

export const checks = [
  check("file-remove", "remove takes away files, and says when there is none", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      yield* files.remove("file")
      yield* expect.equal(yield* files.exists("file"), false, "whether it exists")
      yield* expect.platformError(files.remove("file"), "NotFound", "removing what is missing")
      yield* files.remove("file", { force: true })
      yield* files.remove("missing/file", { force: true })
    })
  ),

  check("file-rename", "rename moves a file, and replaces what is there", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.makeDirectory("directory")
      yield* files.writeFileString("a", "content of a")
      yield* files.writeFileString("b", "content of b")
      yield* files.rename("a", "directory/c")
      yield* files.rename("directory/c", "b")
      yield* expect.equal(yield* files.readFileString("b"), "content of a", "the file that was replaced")
      yield* expect.equal((yield* files.readDirectory(".")).sort(), ["b", "directory"], "the workspace")
      yield* files.rename("b", "b")
      yield* expect.equal(yield* files.readFileString("b"), "content of a", "after renaming it to itself")
    })
  ),

  check("file-rename-fails", "rename says why it fails, and changes nothing", { marks: ["F6"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "kept")
      yield* files.makeDirectory("directory/inner", { recursive: true })
      yield* expect.platformError(files.rename("missing", "new"), "NotFound", "renaming what is missing")
      yield* expect.platformError(files.rename("file", "missing/new"), "NotFound", "renaming into what is missing")
      yield* expect.platformError(files.rename("file", "directory"), "BadResource", "renaming a file over a directory")
      yield* expect.platformError(files.rename("directory", "file"), "BadResource", "renaming a directory over a file")
      yield* expect.platformError(
        files.rename("directory", "directory/inner/new"),
        undefined,
        "renaming a directory into itself"
      )
      yield* expect.equal(yield* files.readFileString("file"), "kept", "the file")
      yield* expect.equal(yield* files.exists("directory/inner"), true, "whether the directory is there")
    })
  ),

  check("file-copy-file", "copyFile copies the content and replaces what is there", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      const content = pattern.slice(pattern.noise, 0, 100_000)
      yield* files.writeFile("a", content)
      yield* files.writeFileString("b", "old")
      yield* files.copyFile("a", "b")
      yield* files.copyFile("a", "c")
      yield* files.writeFileString("a", "changed")
      yield* expect.bytes(yield* files.readFile("b"), content, "the copy that replaced a file")
      yield* expect.bytes(yield* files.readFile("c"), content, "the new copy")
    })
  ),

  check("file-copy-file-fails", "copyFile says why it fails", { marks: ["F6"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "kept")
      yield* files.makeDirectory("directory")
      yield* expect.platformError(files.copyFile("missing", "new"), "NotFound", "copying what is missing")
      yield* expect.platformError(files.copyFile("file", "missing/new"), "NotFound", "copying into what is missing")
      yield* expect.platformError(files.copyFile("directory", "new"), undefined, "copying a directory as a file")
      yield* expect.platformError(files.copyFile("file", "directory"), undefined, "copying a file over a directory")
    })
  ),

  check("file-copy", "copy copies files and whole directories", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.makeDirectory("from/a/b", { recursive: true })
      yield* files.makeDirectory("from/empty")
      yield* files.writeFileString("from/file", "1")
      yield* files.writeFileString("from/a/b/.hidden", "2")
      yield* files.copy("from", "to")
      yield* files.remove("from", { recursive: true })
      const found = (yield* files.readDirectory("to", { recursive: true })).sort()
      yield* expect.equal(found, ["a", "a/b", "a/b/.hidden", "empty", "file"], "what the copy holds")
      yield* expect.equal(yield* files.readFileString("to/a/b/.hidden"), "2", "a file in it")
      yield* files.copy("to/file", "single")
      yield* expect.equal(yield* files.readFileString("single"), "1", "the copy of a single file")
      yield* expect.platformError(files.copy("missing", "new"), "NotFound", "copying what is missing")
    })
  ),

  check("file-copy-overwrite", "copy keeps what is there, unless it is to overwrite it", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.makeDirectory("from")
      yield* files.makeDirectory("to")
      yield* files.writeFileString("from/both", "new")
      yield* files.writeFileString("from/fresh", "new")
      yield* files.writeFileString("to/both", "old")
      yield* files.writeFileString("to/own", "old")
      const contents = Effect.forEach(["to/both", "to/fresh", "to/own"], (path) => files.readFileString(path))
      yield* Effect.exit(files.copy("from", "to"))
      yield* expect.equal(yield* files.readFileString("to/both"), "old", "a file that was there")
      yield* files.copy("from", "to", { overwrite: true })
      yield* expect.equal(yield* contents, ["new", "new", "old"], "after overwriting")
    })
  ),

  check("file-copy-times", "copy keeps times when that is asked for", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("a", "")
      yield* files.utimes("a", 1_000_000, 1_200_000)
      yield* files.copy("a", "b", { preserveTimestamps: true })
      const { mtime } = yield* files.stat("b")
      yield* expect.equal(mtime._tag === "Some" ? mtime.value.getTime() : undefined, 1_200_000_000, "the copy's mtime")
    })
  ),

  check("file-truncate", "truncate cuts a file, and extends it with zeros", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "0123456789")
      yield* files.truncate("file", 4)
      yield* expect.equal(yield* files.readFileString("file"), "0123", "cut at 4")
      yield* files.truncate("file", 6)
      yield* expect.bytes(yield* files.readFile("file"), text.encode("0123\0\0"), "extended to 6")
      yield* files.truncate("file")
      yield* expect.equal((yield* files.readFile("file")).length, 0, "its size by default")
      yield* expect.platformError(files.truncate("missing", 1), "NotFound", "truncating what is missing")
      yield* files.makeDirectory("directory")
      yield* expect.platformError(files.truncate("directory", 1), "BadResource", "truncating a directory")
    })
  )
]
