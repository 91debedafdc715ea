import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Exit, FileSystem, Option, PlatformError, Random, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as VirtualFileSystem from "../src/VirtualFileSystem.ts"
import { errorOf } from "./support/FileErrors.ts"

const made = (files?: VirtualFileSystem.Options["files"], view?: VirtualFileSystem.ViewOptions) =>
  Effect.map(VirtualFileSystem.make({ files, devices: false }), (made) => ({ made, files: made.view(view) }))

const bytes = (text: string) => new TextEncoder().encode(text)

describe("files", () => {
  it.effect("are written, read, replaced and appended to", () =>
    Effect.gen(function* () {
      const { files } = yield* made()
      yield* files.writeFileString("/a", "one")
      assert.strictEqual(yield* files.readFileString("/a"), "one")
      yield* files.writeFileString("/a", "2")
      yield* files.writeFileString("/a", "3", { flag: "a" })
      assert.strictEqual(yield* files.readFileString("/a"), "23")
      assert.strictEqual(yield* errorOf(files.writeFileString("/a", "", { flag: "wx" })), "AlreadyExists EEXIST")
      assert.strictEqual(yield* files.exists("/a"), true)
      assert.strictEqual(yield* files.exists("/b"), false)
    })
  )

  it.effect("keep bytes that are no text, and copies of what was given", () =>
    Effect.gen(function* () {
      const { files } = yield* made()
      const data = Uint8Array.from({ length: 256 }, (_, index) => index)
      yield* files.writeFile("/a", data)
      data.fill(0)
      const read = yield* files.readFile("/a")
      assert.deepStrictEqual(
        [...read],
        Array.from({ length: 256 }, (_, index) => index)
      )
      read.fill(1)
      assert.strictEqual((yield* files.readFile("/a"))[2], 2)
    })
  )

  it.effect("have names with spaces, line breaks and any letters, and sort by their bytes", () =>
    Effect.gen(function* () {
      const { files } = yield* made()
      const names = ["a b", "a\nb", "é", "ö/ß", "\u{1F600}", "\uFF5E", "-rf", "*", "\uD800"]
      for (const name of names) {
        yield* files.makeDirectory(`/d/${name}`, { recursive: true })
        yield* files.writeFileString(`/d/${name}/f`, name)
      }
      // What is no text becomes what it is in UTF-8; and an emoji sorts behind a letter, other than in UTF-16.
      assert.deepStrictEqual(yield* files.readDirectory("/d"), [
        "*",
        "-rf",
        "a\nb",
        "a b",
        "é",
        "ö",
        "\uFF5E",
        "\uFFFD",
        "\u{1F600}"
      ])
    })
  )

  it.effect("have names of 255 bytes and paths of 4095, and no longer ones", () =>
    Effect.gen(function* () {
      const { files } = yield* made()
      yield* files.writeFileString(`/${"é".repeat(127)}x`, "")
      assert.strictEqual(yield* errorOf(files.writeFileString(`/${"é".repeat(128)}`, "")), "Unknown ENAMETOOLONG")
      assert.strictEqual(yield* errorOf(files.stat(`/${"x".repeat(256)}/a`)), "Unknown ENAMETOOLONG")
      yield* files.stat("/".repeat(4095))
      assert.strictEqual(yield* errorOf(files.stat("/".repeat(4096))), "Unknown ENAMETOOLONG")
      assert.strictEqual(yield* errorOf(files.symlink("x".repeat(4096), "/l")), "Unknown ENAMETOOLONG")
      assert.strictEqual(yield* errorOf(files.stat("")), "NotFound ENOENT")
      assert.strictEqual(yield* errorOf(files.stat("a\0b")), "BadArgument")
      assert.strictEqual(yield* errorOf(files.rename("a", "a\0b")), "BadArgument")
    })
  )

  it.effect("grow with zeros and shrink", () =>
    Effect.gen(function* () {
      const { files, made: system } = yield* made({ "/a": "hello" })
      yield* files.truncate("/a", 3)
      yield* files.truncate("/a", 6)
      assert.strictEqual(yield* files.readFileString("/a"), "hel\0\0\0")
      yield* files.truncate("/a")
      assert.strictEqual(yield* files.readFileString("/a"), "")
      yield* files.truncate("/a", 10 ** 12)
      assert.strictEqual((yield* files.stat("/a")).size, BigInt(10 ** 12))
      assert.strictEqual(system.usage().bytes, 0)
      assert.strictEqual(yield* errorOf(files.readFile("/a")), "Unknown EFBIG")
      assert.strictEqual(yield* errorOf(files.truncate("/a", 2 ** 44)), "Unknown EFBIG")
      assert.strictEqual(yield* errorOf(files.truncate("/a", 1.5)), "BadArgument")
    })
  )

  it.effect("go through streams and sinks", () =>
    Effect.gen(function* () {
      const { files, made: system } = yield* made({ "/in": "0123456789" })
      yield* Stream.run(files.stream("/in", { chunkSize: 3 }), files.sink("/out"))
      assert.strictEqual(yield* files.readFileString("/out"), "0123456789")
      const part = files.stream("/in", { offset: 2, bytesToRead: 5, chunkSize: 2 })
      assert.deepStrictEqual(
        (yield* Stream.runCollect(part)).map((chunk) => new TextDecoder().decode(chunk)),
        ["23", "45", "6"]
      )
      yield* Stream.run(Stream.make(bytes("a"), bytes("b")), files.sink("/in", { flag: "a" }))
      assert.strictEqual(yield* files.readFileString("/in"), "0123456789ab")
      assert.strictEqual(system.usage().handles, 0)
    })
  )
})

describe("directories", () => {
  it.effect("are made, listed and removed", () =>
    Effect.gen(function* () {
      const { files, made: system } = yield* made()
      yield* files.makeDirectory("/a/b/c", { recursive: true })
      yield* files.makeDirectory("/a/b/c", { recursive: true })
      yield* files.writeFileString("/a/b/f", "")
      yield* files.symlink("b", "/a/l")
      assert.strictEqual(yield* errorOf(files.makeDirectory("/a")), "AlreadyExists EEXIST")
      assert.strictEqual(yield* errorOf(files.makeDirectory("/x/y")), "NotFound ENOENT")
      assert.deepStrictEqual(yield* files.readDirectory("/a"), ["b", "l"])
      assert.deepStrictEqual(yield* files.readDirectoryEntries("/a/b"), [
        { name: "c", type: "Directory" },
        { name: "f", type: "File" }
      ])
      assert.deepStrictEqual(yield* files.readDirectoryEntries("/a"), [
        { name: "b", type: "Directory" },
        { name: "l", type: "SymbolicLink" }
      ])
      assert.deepStrictEqual(yield* files.glob("**", { root: "/a" }), ["b", "b/c", "b/f", "l"])
      assert.strictEqual(yield* errorOf(files.remove("/a")), "Unknown EISDIR")
      yield* files.remove("/a", { recursive: true })
      assert.deepStrictEqual(system.tree(), ["drwxrwxrwt 0:0 /tmp"])
      assert.strictEqual(yield* errorOf(files.remove("/a")), "NotFound ENOENT")
      yield* files.remove("/a", { force: true })
      assert.strictEqual(yield* errorOf(files.remove("/", { recursive: true })), "Busy EBUSY")
    })
  )

  it.effect("listed with everything below follow links to directories, in a circle only once", () =>
    Effect.gen(function* () {
      const { files } = yield* made({
        "/a/b/f": "",
        "/a/up": { link: "../a" },
        "/a/side": { link: "b" },
        "/c": { link: "c" }
      })
      assert.deepStrictEqual(yield* files.readDirectory("/a", { recursive: true }), [
        "b",
        "side",
        "up",
        "side/f",
        "b/f"
      ])
      const relative = (yield* made({ "/w/a/f": "" }, { workdir: "/w" })).files
      assert.deepStrictEqual(yield* relative.readDirectory(".", { recursive: true }), ["a", "a/f"])
      assert.deepStrictEqual(yield* relative.readDirectory("../w/a", { recursive: true }), ["f"])
    })
  )

  it.effect("are no files, and files are no directories", () =>
    Effect.gen(function* () {
      const { files } = yield* made({ "/d/f": "" })
      assert.strictEqual(yield* errorOf(files.readFile("/d")), "BadResource EISDIR")
      assert.strictEqual(yield* errorOf(files.writeFileString("/d", "")), "BadResource EISDIR")
      assert.strictEqual(yield* errorOf(files.writeFileString("/d/new/", "")), "BadResource EISDIR")
      assert.strictEqual(yield* errorOf(files.truncate("/d")), "BadResource EISDIR")
      assert.strictEqual(yield* errorOf(files.copyFile("/d", "/e")), "BadResource EISDIR")
      assert.strictEqual(yield* errorOf(files.readDirectory("/d/f")), "BadResource ENOTDIR")
      assert.strictEqual(yield* errorOf(files.stat("/d/f/")), "BadResource ENOTDIR")
      assert.strictEqual(yield* errorOf(files.stat("/d/f/..")), "BadResource ENOTDIR")
      assert.strictEqual(yield* errorOf(files.exists("/d/f/x")), "BadResource ENOTDIR")
      assert.strictEqual(yield* errorOf(files.makeDirectory("/d/f/x", { recursive: true })), "BadResource ENOTDIR")
      assert.strictEqual(yield* errorOf(files.link("/d", "/e")), "PermissionDenied EPERM")
    })
  )

  it.effect("count the ways that lead to them", () =>
    Effect.gen(function* () {
      const { files } = yield* made({ "/a/b": { directory: true }, "/a/c": { directory: true }, "/a/f": "" })
      const links = Effect.map(files.stat("/a"), ({ nlink }) => Option.getOrThrow(nlink))
      assert.strictEqual(yield* links, 4n)
      yield* files.rename("/a/b", "/b")
      assert.strictEqual(yield* links, 3n)
      yield* files.remove("/a/c", { recursive: true })
      assert.strictEqual(yield* links, 2n)
    })
  )
})

describe("links", () => {
  it.effect("are followed where they stand, and `..` after them", () =>
    Effect.gen(function* () {
      const { files } = yield* made({
        "/real/dir/f": "f",
        "/real/sibling": "s",
        "/abs": { link: "/real/dir" },
        "/rel": { link: "real/dir" },
        "/real/up": { link: "../real/./dir/" }
      })
      assert.strictEqual(yield* files.readFileString("/abs/f"), "f")
      assert.strictEqual(yield* files.readFileString("/rel/../sibling"), "s")
      assert.strictEqual(yield* files.readFileString("/real/up/f"), "f")
      assert.strictEqual(yield* files.readLink("/abs"), "/real/dir")
      assert.strictEqual((yield* files.lstat("/abs")).type, "SymbolicLink")
      assert.strictEqual((yield* files.lstat("/abs/")).type, "Directory")
      assert.strictEqual((yield* files.stat("/abs")).type, "Directory")
      assert.strictEqual(yield* files.realPath("/real/up/../up/f"), "/real/dir/f")
      assert.strictEqual(yield* errorOf(files.readLink("/real/dir/f")), "Unknown EINVAL")
    })
  )

  it.effect("that lead nowhere can be written through", () =>
    Effect.gen(function* () {
      const { files } = yield* made({ "/l": { link: "later" } })
      assert.strictEqual(yield* errorOf(files.readFile("/l")), "NotFound ENOENT")
      assert.strictEqual(yield* files.exists("/l"), false)
      assert.strictEqual(yield* errorOf(files.writeFileString("/l", "", { flag: "wx" })), "AlreadyExists EEXIST")
      assert.strictEqual(yield* errorOf(files.makeDirectory("/l")), "AlreadyExists EEXIST")
      yield* files.writeFileString("/l", "now")
      assert.strictEqual(yield* files.readFileString("/later"), "now")
    })
  )

  it.effect("in a circle, or more than forty, end in an error", () =>
    Effect.gen(function* () {
      const { files } = yield* made({ "/a": { link: "b" }, "/b": { link: "a" }, "/0": "end" })
      assert.strictEqual(yield* errorOf(files.readFile("/a")), "BadResource ELOOP")
      assert.strictEqual(yield* errorOf(files.writeFileString("/a", "")), "BadResource ELOOP")
      assert.strictEqual(yield* errorOf(files.realPath("/a")), "BadResource ELOOP")
      for (let index = 1; index <= 41; index++) yield* files.symlink(`${index - 1}`, `/${index}`)
      assert.strictEqual(yield* files.readFileString("/40"), "end")
      assert.strictEqual(yield* errorOf(files.readFileString("/41")), "BadResource ELOOP")
      const open = Effect.scoped(files.open("/1", { noFollow: true }))
      assert.strictEqual(yield* errorOf(open), "BadResource ELOOP")
    })
  )

  it.effect("of the hard kind share content and attributes, and are counted", () =>
    Effect.gen(function* () {
      const { files, made: system } = yield* made({ "/a": "one", "/l": { link: "a" } })
      yield* files.link("/a", "/b")
      yield* files.link("/l", "/m")
      assert.strictEqual((yield* files.lstat("/m")).type, "SymbolicLink")
      yield* files.writeFileString("/b", "two")
      yield* files.chmod("/b", 0o600)
      assert.strictEqual(yield* files.readFileString("/a"), "two")
      const info = yield* files.stat("/a")
      assert.deepStrictEqual([info.mode, info.nlink], [0o100600, Option.some(2n)])
      assert.deepStrictEqual(info.ino, (yield* files.stat("/b")).ino)
      assert.strictEqual(yield* errorOf(files.link("/a", "/b")), "AlreadyExists EEXIST")
      yield* files.remove("/a")
      assert.deepStrictEqual((yield* files.stat("/b")).nlink, Option.some(1n))
      assert.strictEqual(system.usage().files, 1)
      yield* files.remove("/b")
      assert.deepStrictEqual(system.usage(), { files: 0, directories: 2, links: 1, bytes: 0, handles: 0, watchers: 0 })
    })
  )
})

describe("renaming", () => {
  it.effect("replaces files and empty directories, by their like", () =>
    Effect.gen(function* () {
      const { files, made: system } = yield* made({
        "/f": "f",
        "/g": "g",
        "/full/x": "",
        "/empty": { directory: true },
        "/other": { directory: true }
      })
      yield* files.rename("/f", "/g")
      assert.strictEqual(yield* files.readFileString("/g"), "f")
      assert.strictEqual(yield* errorOf(files.rename("/g", "/empty")), "BadResource EISDIR")
      assert.strictEqual(yield* errorOf(files.rename("/empty", "/g")), "BadResource ENOTDIR")
      assert.strictEqual(yield* errorOf(files.rename("/empty", "/full")), "Unknown ENOTEMPTY")
      yield* files.rename("/full", "/empty")
      assert.deepStrictEqual(system.tree(), [
        "drwxr-xr-x 0:0 /empty",
        "-rw-r--r-- 0:0 0 /empty/x",
        "-rw-r--r-- 0:0 1 /g",
        "drwxr-xr-x 0:0 /other",
        "drwxrwxrwt 0:0 /tmp"
      ])
      assert.strictEqual(system.usage().files, 2)
    })
  )

  it.effect("onto itself does nothing, and into itself is refused", () =>
    Effect.gen(function* () {
      const { files } = yield* made({ "/a/b/f": "f" })
      yield* files.link("/a/b/f", "/g")
      yield* files.rename("/a/b/f", "/g")
      yield* files.rename("/g", "/g")
      assert.strictEqual(yield* files.readFileString("/a/b/f"), "f")
      assert.strictEqual(yield* errorOf(files.rename("/a", "/a/b/c")), "Unknown EINVAL")
      assert.strictEqual(yield* errorOf(files.rename("/a/b", "/a")), "Unknown ENOTEMPTY")
      assert.strictEqual(yield* errorOf(files.rename("/a/.", "/c")), "Busy EBUSY")
      assert.strictEqual(yield* errorOf(files.rename("/", "/c")), "Busy EBUSY")
      assert.strictEqual(yield* errorOf(files.rename("/g/", "/c")), "BadResource ENOTDIR")
      assert.strictEqual(yield* errorOf(files.rename("/none", "/c")), "NotFound ENOENT")
    })
  )

  it.effect("of a directory takes along what is open in it", () =>
    Effect.gen(function* () {
      const { files } = yield* made({ "/a/f": "" })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const file = yield* files.open("/a/f", { flag: "a" })
          yield* files.rename("/a", "/b")
          yield* file.writeAll(bytes("still here"))
        })
      )
      assert.strictEqual(yield* files.readFileString("/b/f"), "still here")
    })
  )
})

describe("copies", () => {
  it.effect("take trees with modes and links, and keep what exists unless told otherwise", () =>
    Effect.gen(function* () {
      const { files, made: system } = yield* made({
        "/a/d": { directory: true, mode: 0o700 },
        "/a/d/f": { content: "new", mode: 0o640 },
        "/a/l": { link: "d/f" },
        "/b/d/f": "old"
      })
      yield* files.copy("/a", "/b")
      assert.strictEqual(yield* files.readFileString("/b/d/f"), "old")
      yield* files.copy("/a", "/b", { overwrite: true })
      assert.strictEqual(yield* files.readFileString("/b/d/f"), "new")
      yield* files.copy("/a", "/c/deep")
      assert.deepStrictEqual(system.tree("/c"), [
        "drwxr-xr-x 0:0 /c/deep",
        "drwx------ 0:0 /c/deep/d",
        "-rw-r----- 0:0 3 /c/deep/d/f",
        // As on Node.
        "lrwxrwxrwx 0:0 /c/deep/l -> /a/d/f"
      ])
      assert.strictEqual(yield* errorOf(files.copy("/a", "/a/d/e")), "Unknown EINVAL")
      assert.strictEqual(yield* errorOf(files.copy("/a", "/b/d/f")), "Unknown EISDIR")
      assert.strictEqual(yield* errorOf(files.copy("/a/d/f", "/b")), "Unknown ENOTDIR")
      assert.strictEqual(yield* errorOf(files.copy("/none", "/b")), "NotFound ENOENT")
    })
  )

  it.effect("take the times along when asked to", () =>
    Effect.gen(function* () {
      const { files } = yield* made({ "/a": "" })
      yield* files.utimes("/a", 5, 7)
      yield* TestClock.setTime(60_000)
      const modified = (path: string) => Effect.map(files.stat(path), ({ mtime }) => Option.getOrThrow(mtime).getTime())
      yield* files.copy("/a", "/b")
      yield* files.copy("/a", "/c", { preserveTimestamps: true })
      assert.deepStrictEqual([yield* modified("/b"), yield* modified("/c")], [60_000, 7000])
    })
  )

  it.effect("of one file are independent of it, and take its mode", () =>
    Effect.gen(function* () {
      const { files } = yield* made({ "/a": { content: "one", mode: 0o755 }, "/b": "longer than one" })
      yield* files.copyFile("/a", "/b")
      yield* files.writeFileString("/a", "TWO")
      yield* files.copyFile("/b", "/c")
      yield* files.writeFileString("/c", "x", { flag: "r+" })
      assert.strictEqual(yield* files.readFileString("/b"), "one")
      assert.strictEqual(yield* files.readFileString("/c"), "xne")
      assert.strictEqual((yield* files.stat("/c")).mode, 0o100755)
      yield* files.copyFile("/a", "/a")
      assert.strictEqual(yield* files.readFileString("/a"), "TWO")
    })
  )
})

// A date that is none can be made in no other way.
const noDate = new Date(Number.NaN)

describe("times", () => {
  it.effect("are the clock's", () =>
    Effect.gen(function* () {
      const { files } = yield* made()
      const times = (path: string) =>
        Effect.map(files.lstat(path), ({ atime, birthtime, mtime }) =>
          [birthtime, mtime, atime].map((time) => Option.getOrThrow(time).getTime())
        )
      yield* TestClock.setTime(1000)
      yield* files.makeDirectory("/d")
      yield* TestClock.setTime(2000)
      yield* files.writeFileString("/d/f", "x")
      assert.deepStrictEqual(yield* times("/d"), [1000, 2000, 1000])
      yield* TestClock.setTime(3000)
      yield* files.readFile("/d/f")
      yield* files.readDirectory("/d")
      yield* TestClock.setTime(4000)
      yield* files.chmod("/d/f", 0o600)
      assert.deepStrictEqual(yield* times("/d/f"), [2000, 2000, 3000])
      yield* files.writeFileString("/d/f", "y")
      assert.deepStrictEqual(yield* times("/d/f"), [2000, 4000, 3000])
      assert.deepStrictEqual(yield* times("/d"), [1000, 2000, 3000])
      yield* TestClock.setTime(5000)
      yield* files.remove("/d/f")
      assert.deepStrictEqual(yield* times("/d"), [1000, 5000, 3000])
    })
  )

  it.effect("can be set, in seconds or as dates", () =>
    Effect.gen(function* () {
      const { files } = yield* made({ "/f": "" })
      const times = Effect.map(files.stat("/f"), ({ atime, mtime }) =>
        [atime, mtime].map((time) => Option.getOrThrow(time).getTime())
      )
      yield* files.utimes("/f", 1.5, DateTime.toDate(DateTime.makeUnsafe(-500)))
      assert.deepStrictEqual(yield* times, [1500, -500])
      yield* TestClock.setTime(9000)
      yield* files.utimes("/f", -1, 0)
      assert.deepStrictEqual(yield* times, [9000, 0])
      assert.strictEqual(yield* errorOf(files.utimes("/f", Number.NaN, 0)), "BadArgument")
      assert.strictEqual(yield* errorOf(files.utimes("/f", noDate, 0)), "Unknown EINVAL")
      const error = yield* Effect.flip(files.utimes("/none", 0, 0))
      assert.strictEqual(error.reason.method, "utime")
    })
  )
})

describe("temporary files", () => {
  it.effect("get names by chance, which a seed repeats, and belong to their maker alone", () =>
    Effect.gen(function* () {
      const { files, made: system } = yield* made({}, { temporary: "/tmp", umask: 0 })
      const make = Effect.all([
        files.makeTempDirectory(),
        files.makeTempDirectory({ prefix: "job-" }),
        files.makeTempFile({ prefix: "file-", suffix: ".txt" })
      ])
      const one = yield* Random.withSeed(make, "seed")
      assert.match(one.join(" "), /^\/tmp\/\w{6} \/tmp\/job-\w{6} \/tmp\/file-\w{6}\/\w{12}\.txt$/)
      assert.deepStrictEqual(
        system
          .tree("/tmp")
          .map((line) => line.replace(/ .*/, ""))
          .sort(),
        ["-rw-rw-rw-", "drwx------", "drwx------", "drwx------"]
      )
      yield* files.remove("/tmp", { recursive: true })
      yield* files.makeDirectory("/tmp")
      assert.deepStrictEqual(yield* Random.withSeed(make, "seed"), one)
      // A name that is taken is not used again.
      const [directory] = yield* Random.withSeed(make, "seed")
      assert.notInclude(one, directory)
    })
  )

  it.effect("go with their scope", () =>
    Effect.gen(function* () {
      const { files, made: system } = yield* made({ "/work": { directory: true } }, { workdir: "/work" })
      const scope = yield* Scope.make()
      const directory = yield* Scope.provide(files.makeTempDirectoryScoped({ directory: "." }), scope)
      const file = yield* Scope.provide(files.makeTempFileScoped({ directory: "/work/" }), scope)
      yield* files.writeFileString(`${directory}/x`, "")
      yield* files.remove(file)
      assert.strictEqual(system.usage().directories, 5)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* files.readDirectory("/work"), [])
      assert.strictEqual(yield* errorOf(files.makeTempFile({ directory: "/none" })), "NotFound ENOENT")
    })
  )

  it.effect("that cannot be removed any more do not break what their scope was for", () =>
    Effect.gen(function* () {
      let user = { uid: 1000, gid: 1000 }
      const { made: system } = yield* made()
      const files = system.view({ user: Effect.sync(() => user) })
      const use = Effect.andThen(
        files.makeTempDirectoryScoped(),
        Effect.sync(() => (user = { uid: 2000, gid: 2000 }))
      )
      yield* Effect.scoped(use)
      assert.strictEqual(system.usage().directories, 3)
    })
  )
})

describe("errors", () => {
  it.effect("say what was asked, of what, and what the system calls it", () =>
    Effect.gen(function* () {
      const { files } = yield* made()
      const error = yield* Effect.flip(files.readFile("/none"))
      assert.isTrue(PlatformError.isPlatformError(error))
      assert.strictEqual(error.message, "NotFound: FileSystem.readFile (/none): No such file or directory")
      assert.instanceOf(error.cause, VirtualFileSystem.SystemCallError)
      assert.strictEqual(String(error.cause), "SystemCallError: ENOENT: No such file or directory")
      const bad = yield* Effect.flip(files.chmod("/none", -1))
      assert.strictEqual(bad.reason._tag, "BadArgument")
    })
  )

  it.effect("of a full disk come when it is full, after what still fits", () =>
    Effect.gen(function* () {
      const made = yield* VirtualFileSystem.make({ capacity: 10 })
      const files = made.view()
      yield* files.writeFileString("/a", "12345")
      assert.strictEqual(yield* errorOf(files.writeFileString("/b", "1234567")), "Unknown ENOSPC")
      assert.strictEqual(yield* files.readFileString("/b"), "12345")
      assert.deepStrictEqual([made.usage().bytes, made.usage().files], [10, 2])
      yield* files.writeFileString("/a", "54321", { flag: "r+" })
      assert.strictEqual(yield* errorOf(files.copyFile("/a", "/c")), "Unknown ENOSPC")
      assert.strictEqual(yield* files.exists("/c"), false)
      yield* files.writeFileString("/empty", "")
      yield* files.remove("/b")
      yield* files.copyFile("/a", "/c")
      assert.strictEqual(yield* files.readFileString("/c"), "54321")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* files.truncate("/a", 3)
          const file = yield* files.open("/a", { flag: "a" })
          assert.strictEqual(yield* file.write(bytes("abc")), 2)
          assert.strictEqual(yield* errorOf(file.write(bytes("c"))), "Unknown ENOSPC")
          assert.strictEqual(yield* file.write(bytes("")), 0)
        })
      )
      // A hole takes no room.
      yield* files.truncate("/a", 2 ** 40)
      assert.strictEqual(made.usage().bytes, 10)
    })
  )
})

describe("devices", () => {
  it.effect("swallow, give zeros, are full and are random", () =>
    Effect.gen(function* () {
      const made = yield* VirtualFileSystem.make()
      const files = made.view({ user: Effect.succeed({ uid: 1000, gid: 1000 }) })
      const read = (path: string) =>
        Effect.scoped(
          Effect.flatMap(files.open(path), (file) =>
            Effect.map(
              file.readAlloc(4),
              Option.map((part) => [...part])
            )
          )
        )
      yield* files.writeFileString("/dev/null", "gone")
      assert.strictEqual(yield* files.readFileString("/dev/null"), "")
      assert.deepStrictEqual(yield* read("/dev/null"), Option.none())
      assert.deepStrictEqual(yield* read("/dev/zero"), Option.some([0, 0, 0, 0]))
      assert.strictEqual(yield* errorOf(files.writeFileString("/dev/full", "x")), "Unknown ENOSPC")
      assert.deepStrictEqual(
        yield* Random.withSeed(read("/dev/urandom"), 1),
        yield* Random.withSeed(read("/dev/urandom"), 1)
      )
      assert.strictEqual(yield* errorOf(files.readFile("/dev/zero")), "Unknown EFBIG")
      const info = yield* files.stat("/dev/null")
      assert.deepStrictEqual([info.type, info.mode, info.rdev], ["CharacterDevice", 0o020666, Option.some(259n)])
      assert.strictEqual(yield* errorOf(files.truncate("/dev/null")), "Unknown EINVAL")
      // Node would remove the device here.
      assert.strictEqual(yield* errorOf(made.view().copyFile("/tmp", "/dev/null")), "Unknown EINVAL")
      assert.strictEqual(yield* files.exists("/dev/null"), true)
      assert.deepStrictEqual(made.tree("/dev"), [
        "crw-rw-rw- 0:0 /dev/full",
        "crw-rw-rw- 0:0 /dev/null",
        "crw-rw-rw- 0:0 /dev/urandom",
        "crw-rw-rw- 0:0 /dev/zero"
      ])
    })
  )
})

describe("views", () => {
  it.effect("start relative paths in their own directories, and show the same files", () =>
    Effect.gen(function* () {
      const { made: system } = yield* made({ "/a/f": "a", "/b/f": "b" })
      const [one, two] = [system.view({ workdir: "/a" }), system.view({ workdir: "/b" })]
      assert.strictEqual(yield* one.readFileString("f"), "a")
      assert.strictEqual(yield* two.readFileString("f"), "b")
      assert.strictEqual(yield* two.readFileString("../a/f"), "a")
      assert.strictEqual(yield* one.realPath("."), "/a")
      assert.deepStrictEqual(yield* one.glob("*"), ["f"])
      yield* one.symlink("f", "l")
      assert.strictEqual(yield* two.readLink("/a/l"), "f")
      yield* one.remove("/b", { recursive: true })
      assert.strictEqual(yield* errorOf(two.writeFileString("f", "")), "NotFound ENOENT")
      assert.strictEqual(yield* errorOf(two.makeDirectory("x/y", { recursive: true })), "NotFound ENOENT")
    })
  )

  it.effect("mask the modes of what they make", () =>
    Effect.gen(function* () {
      const { made: system } = yield* made()
      const files = system.view({ umask: 0o027 })
      yield* files.writeFileString("/f", "")
      yield* files.writeFileString("/g", "", { mode: 0o4777 })
      yield* files.makeDirectory("/d", { mode: 0o1777 })
      yield* files.makeDirectory("/e/e", { recursive: true })
      yield* files.chmod("/f", 0o666)
      assert.deepStrictEqual(system.tree(), [
        "drwxr-x--T 0:0 /d",
        "drwxr-x--- 0:0 /e",
        "drwxr-x--- 0:0 /e/e",
        "-rw-rw-rw- 0:0 0 /f",
        "-rwsr-x--- 0:0 0 /g",
        "drwxrwxrwt 0:0 /tmp"
      ])
    })
  )
})

describe("trees, copies of the whole and options", () => {
  it.effect("a tree's lines stay lines, whatever the names are", () =>
    Effect.gen(function* () {
      const { made: system } = yield* made({ "/d/a\nb": "", '/d/"q"': "", "/d/with space": { link: "to\there" } })
      assert.deepStrictEqual(system.tree("/d"), [
        '-rw-r--r-- 0:0 0 "/d/\\"q\\""',
        '-rw-r--r-- 0:0 0 "/d/a\\nb"',
        'lrwxrwxrwx 0:0 /d/with space -> "to\\there"'
      ])
      assert.deepStrictEqual(system.tree("/d/with space"), ['lrwxrwxrwx 0:0 /d/with space -> "to\\there"'])
      assert.deepStrictEqual(system.tree("/none"), [])
    })
  )

  it.effect("a clone is the same, and then independent in both directions", () =>
    Effect.gen(function* () {
      const { files, made: original } = yield* made({
        "/a/f": { content: "one", uid: 5, gid: 6, mode: 0o640 },
        "/l": { link: "a" }
      })
      yield* files.link("/a/f", "/g")
      const open = yield* files.open("/a/f", { flag: "r+" })
      yield* files.remove("/a/f")
      const clone = yield* original.clone
      const cloned = clone.view()
      assert.deepStrictEqual(clone.tree(), original.tree())
      assert.deepStrictEqual(clone.usage(), { ...original.usage(), handles: 0 })
      yield* open.writeAll(bytes("ONE"))
      yield* cloned.writeFileString("/g", "two", { flag: "a" })
      yield* cloned.makeDirectory("/a/b")
      assert.strictEqual(yield* files.readFileString("/g"), "ONE")
      assert.strictEqual(yield* cloned.readFileString("/g"), "onetwo")
      assert.deepStrictEqual(yield* files.readDirectory("/a"), [])
      const again = (yield* clone.clone).view()
      yield* cloned.truncate("/g", 1)
      assert.strictEqual(yield* again.readFileString("/g"), "onetwo")
    })
  )

  it.effect("initial files bring their parents, owners and modes", () =>
    Effect.gen(function* () {
      const { made: system } = yield* made({
        "relative/f": "f",
        "/bin/su": { content: new Uint8Array(3), mode: 0o4755, uid: 0, gid: 9 },
        "/home/ada/f": "",
        "/home/ada": { directory: true, mode: 0o700, uid: 1000, gid: 1000 },
        "/tmp": { directory: true }
      })
      assert.deepStrictEqual(system.tree(), [
        "drwxr-xr-x 0:0 /bin",
        "-rwsr-xr-x 0:9 3 /bin/su",
        "drwxr-xr-x 0:0 /home",
        "drwx------ 1000:1000 /home/ada",
        "-rw-r--r-- 0:0 0 /home/ada/f",
        "drwxr-xr-x 0:0 /relative",
        "-rw-r--r-- 0:0 1 /relative/f",
        "drwxrwxrwt 0:0 /tmp"
      ])
    })
  )

  it.effect("options that make no sense are refused with their path (X1)", () =>
    Effect.gen(function* () {
      const issuesOf = (options: VirtualFileSystem.Options) =>
        Effect.map(Effect.flip(VirtualFileSystem.make(options)), ({ issues }) =>
          issues.map(({ message, path }) => `${path}: ${message}`)
        )
      const paths = (options: VirtualFileSystem.Options) =>
        Effect.map(issuesOf(options), (issues) => issues.map((issue) => issue.replace(/: .*/s, "")))
      assert.deepStrictEqual(yield* issuesOf({ files: { "/a": "", "/a/b": "" } }), ["files./a/b: File exists"])
      assert.deepStrictEqual(yield* issuesOf({ files: { "/a": "", a: "" } }), ["files.a: File exists"])
      assert.deepStrictEqual(yield* issuesOf({ capacity: 2, files: { "/a": "abc" } }), [
        "files./a: No space left on device"
      ])
      assert.deepStrictEqual(yield* paths({ capacity: -1 }), ["capacity"])
      assert.deepStrictEqual(yield* paths({ files: { "/a": { content: "", mode: -1 } } }), ["files./a.mode"])
    })
  )

  it.effect("a layer's directories are there, and belong to its user", () =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      yield* files.writeFileString("f", "x")
      assert.deepStrictEqual((yield* files.stat(".")).uid, Option.some(1000))
      assert.strictEqual(yield* files.realPath("f"), "/home/ada/f")
      assert.match(yield* files.makeTempFile(), /^\/home\/ada\/tmp\//)
    }).pipe(
      Effect.provide(
        VirtualFileSystem.layer({
          workdir: "/home/ada",
          temporary: "/home/ada/tmp",
          user: Effect.succeed({ uid: 1000, gid: 1000 })
        })
      )
    )
  )
})
