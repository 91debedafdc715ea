/** Directories: making, listing, removing and searching them. */
import * as Effect from "effect/Effect"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"

const check = inTopic("directories")

export const checks = [
  check("directory-make", "directories are made one by one, or with their parents", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.makeDirectory("a")
      yield* files.makeDirectory("b/c/d", { recursive: true })
      yield* files.makeDirectory("b/c/d", { recursive: true })
      yield* files.makeDirectory("b/c/d/e", { recursive: true })
      const types = yield* Effect.forEach(["a", "b/c/d/e"], (path) => Effect.map(files.stat(path), ({ type }) => type))
      yield* expect.equal(types, ["Directory", "Directory"], "their types")
    })
  ),

  check("directory-make-fails", "making a directory says why it fails", { marks: ["F6"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      yield* files.makeDirectory("directory")
      for (const [path, reason] of [
        ["directory", "AlreadyExists"],
        ["file", "AlreadyExists"],
        [".", "AlreadyExists"],
        ["missing/new", "NotFound"],
        ["file/new", "BadResource"]
      ] as const) {
        yield* expect.platformError(files.makeDirectory(path), reason, `makeDirectory of ${path}`)
      }
      const recursive = (path: string) => files.makeDirectory(path, { recursive: true })
      yield* expect.platformError(recursive("file"), ["AlreadyExists", "BadResource"], "a directory in place of a file")
      yield* expect.platformError(recursive("file/new"), ["BadResource", "AlreadyExists"], "a directory in a file")
    })
  ),

  check("directory-read", "a listing has the names of all entries, and nothing else", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* expect.equal(yield* files.readDirectory("."), [], "an empty workspace")
      yield* files.makeDirectory("directory")
      yield* files.writeFileString("directory/inner", "")
      yield* files.writeFileString("file", "")
      yield* files.writeFileString(".hidden", "")
      yield* expect.equal((yield* files.readDirectory(".")).sort(), [".hidden", "directory", "file"], "the workspace")
      yield* expect.equal(yield* files.readDirectory("directory"), ["inner"], "a directory in it")
      yield* expect.equal(yield* files.readDirectory("directory/"), ["inner"], "the same with a slash")
    })
  ),

  check("directory-read-recursively", "a recursive listing has the paths of everything below", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.makeDirectory("a/b/c", { recursive: true })
      yield* files.makeDirectory("empty")
      yield* files.writeFileString("a/b/file", "")
      yield* files.writeFileString("top", "")
      const found = (yield* files.readDirectory(".", { recursive: true })).sort()
      yield* expect.equal(found, ["a", "a/b", "a/b/c", "a/b/file", "empty", "top"], "everything below")
    })
  ),

  check("directory-read-fails", "listing says why it fails", { marks: ["F6"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.writeFileString("file", "")
      for (const [path, reason] of [
        ["missing", "NotFound"],
        ["file", "BadResource"],
        ["file/inner", "BadResource"]
      ] as const) {
        yield* expect.platformError(files.readDirectory(path), reason, `readDirectory of ${path}`)
        yield* expect.platformError(files.readDirectoryEntries(path), reason, `readDirectoryEntries of ${path}`)
      }
    })
  ),

  check(
    "directory-entries",
    "entries have the types of what they are, not of what they lead to",
    { needs: ["symlinks"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        yield* files.makeDirectory("directory")
        yield* files.writeFileString("file", "")
        yield* files.symlink("directory", "link")
        yield* files.symlink("nothing", "dangling")
        const entries = (yield* files.readDirectoryEntries(".")).map(({ name, type }) => `${name} ${type}`).sort()
        yield* expect.equal(
          entries,
          ["dangling SymbolicLink", "directory Directory", "file File", "link SymbolicLink"],
          "the entries"
        )
      })
  ),

  check("directory-remove", "a directory is removed with its content only when that is asked for", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.makeDirectory("a/b/c", { recursive: true })
      yield* files.writeFileString("a/b/file", "kept")
      yield* expect.platformError(files.remove("a"), undefined, "removing a directory that is not empty")
      yield* expect.equal(yield* files.readFileString("a/b/file"), "kept", "what is in it")
      yield* files.remove("a", { recursive: true })
      yield* expect.equal(yield* files.exists("a"), false, "whether it exists")
      yield* expect.platformError(files.remove("a", { recursive: true }), "NotFound", "removing it again")
      yield* files.remove("a", { recursive: true, force: true })
    })
  ),

  check("directory-rename", "a directory is renamed with its content", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* files.makeDirectory("a/b", { recursive: true })
      yield* files.writeFileString("a/b/file", "content")
      yield* files.makeDirectory("other")
      yield* files.rename("a", "other/c")
      yield* expect.equal(yield* files.readFileString("other/c/b/file"), "content", "a file in it")
      yield* expect.equal(yield* files.exists("a"), false, "whether the old name exists")
      yield* files.makeDirectory("full/inner", { recursive: true })
      yield* expect.platformError(
        files.rename("other", "full"),
        undefined,
        "renaming over a directory that is not empty"
      )
      yield* files.makeDirectory("empty")
      yield* files.rename("other", "empty")
      yield* expect.equal(yield* files.exists("empty/c/b/file"), true, "whether it replaced an empty directory")
    })
  ),

  check("directory-glob", "glob finds files by patterns", {}, (bench) =>
    Effect.gen(function* () {
      const { files, workdir } = yield* bench.create()
      yield* files.makeDirectory("src/deep/er", { recursive: true })
      for (const path of ["a.ts", "b.js", "src/c.ts", "src/deep/d.ts", "src/deep/er/e.ts", "src/.hidden.ts"]) {
        yield* files.writeFileString(path, "")
      }
      const glob = (pattern: string, options: Parameters<typeof files.glob>[1] = {}) =>
        Effect.map(files.glob(pattern, { root: workdir, ...options }), (found) => found.sort())
      yield* expect.equal(yield* glob("*.ts"), ["a.ts"], "*.ts")
      yield* expect.equal(yield* glob("**/*.ts"), ["a.ts", "src/c.ts", "src/deep/d.ts", "src/deep/er/e.ts"], "**/*.ts")
      yield* expect.equal(
        yield* glob("src/**/*.ts", { dot: true, exclude: ["src/deep/er/**"] }),
        ["src/.hidden.ts", "src/c.ts", "src/deep/d.ts"],
        "with hidden files, and without a directory"
      )
      yield* expect.equal(yield* glob("missing/*"), [], "in a directory that is missing")
      yield* expect.equal(yield* files.glob("src/*.ts"), ["src/c.ts"], "without a root, in the workspace")
    })
  ),

  check("directory-many-files", "a directory of 2,000 files is listed, read and removed", { patience: 2 }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      const names = Array.from({ length: 2000 }, (_, index) => `file-${String(index).padStart(4, "0")}`)
      yield* files.makeDirectory("many")
      yield* Effect.forEach(names, (name) => files.writeFileString(`many/${name}`, name), {
        concurrency: 32,
        discard: true
      })
      const found = (yield* files.readDirectory("many")).sort()
      yield* expect.equal(found.length, names.length, "how many there are")
      yield* expect.isTrue(found.join() === names.join(), "the names differ")
      yield* expect.equal(yield* files.readFileString("many/file-1234"), "file-1234", "one of them")
      yield* files.remove("many", { recursive: true })
      yield* expect.equal(yield* files.readDirectory("."), [], "what is left")
    })
  ),

  check("directory-deep", "a tree of 200 levels is made, used and removed", { patience: 2 }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      const deep = Array.from({ length: 200 }, (_, level) => `level-${level}`).join("/")
      yield* files.makeDirectory(deep, { recursive: true })
      yield* files.writeFileString(`${deep}/file`, "deep down")
      yield* expect.equal(yield* files.readFileString(`${deep}/file`), "deep down", "a file at the end")
      yield* expect.equal((yield* files.readDirectory("level-0", { recursive: true })).length, 200, "what is below")
      yield* files.remove("level-0", { recursive: true })
      yield* expect.equal(yield* files.readDirectory("."), [], "what is left")
    })
  )
]
