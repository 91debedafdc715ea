import { assert, it } from "@effect/vitest"
import { Effect, Exit, type FileSystem, Option, type PlatformError, Scope } from "effect"
import * as VirtualFileSystem from "../src/VirtualFileSystem.ts"
import { errorOf } from "./support/FileErrors.ts"

const bytes = (text: string) => new TextEncoder().encode(text)
const text = (content: Uint8Array) => new TextDecoder().decode(content)

const made = (files?: VirtualFileSystem.Options["files"]) =>
  Effect.map(VirtualFileSystem.make({ files, devices: false }), (made) => ({ made, files: made.view() }))

const readAll = (file: FileSystem.File) =>
  Effect.map(file.readAlloc(1000, { position: 0n }), Option.match({ onNone: () => "", onSome: text }))

it.effect("each flag opens as it says", () =>
  Effect.gen(function* () {
    const flags: ReadonlyArray<FileSystem.OpenFlag> = ["r", "r+", "w", "wx", "w+", "wx+", "a", "ax", "a+", "ax+"]
    const lines: Array<string> = []
    for (const flag of flags) {
      const { files } = yield* made({ "/there": "old" })
      const use = (path: string) =>
        Effect.scoped(
          Effect.gen(function* () {
            const file = yield* files.open(path, { flag })
            const written = yield* errorOf(file.writeAll(bytes("new!")))
            const read = yield* errorOf(file.readAlloc(10, { position: 0n }))
            return `write ${written}, read ${read}`
          })
        )
      const outcome = (path: string) =>
        Effect.gen(function* () {
          const used = yield* Effect.catch(use(path), (error) => Effect.succeed(error.reason._tag))
          const left = yield* Effect.orElseSucceed(files.readFileString(path), () => "nothing")
          return `${used}: ${left}`
        })
      lines.push(`${flag} | ${yield* outcome("/there")} | ${yield* outcome("/new")}`)
    }
    assert.deepStrictEqual(lines, [
      "r | write Unknown EBADF, read ok: old | NotFound: nothing",
      "r+ | write ok, read ok: new! | NotFound: nothing",
      "w | write ok, read Unknown EBADF: new! | write ok, read Unknown EBADF: new!",
      "wx | AlreadyExists: old | write ok, read Unknown EBADF: new!",
      "w+ | write ok, read ok: new! | write ok, read ok: new!",
      "wx+ | AlreadyExists: old | write ok, read ok: new!",
      "a | write ok, read Unknown EBADF: oldnew! | write ok, read Unknown EBADF: new!",
      "ax | AlreadyExists: old | write ok, read Unknown EBADF: new!",
      "a+ | write ok, read ok: oldnew! | write ok, read ok: new!",
      "ax+ | AlreadyExists: old | write ok, read ok: new!"
    ])
  })
)

it.effect("a cursor moves by reading, writing and seeking; positional reads leave it", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/f": "0123456789" })
    const file = yield* files.open("/f", { flag: "r+" })
    const buffer = new Uint8Array(4)
    assert.strictEqual(yield* file.read(buffer), 4)
    assert.strictEqual(text(buffer), "0123")
    assert.strictEqual(yield* file.read(buffer, { position: 8n }), 2)
    assert.strictEqual(text(buffer), "8923")
    yield* file.writeAll(bytes("AB"))
    assert.strictEqual(yield* file.seek(-1n, "current"), 5n)
    assert.deepStrictEqual(Option.map(yield* file.readAlloc(3), text), Option.some("B67"))
    assert.strictEqual(yield* errorOf(file.seek(-9n, "current")), "BadArgument")
    assert.strictEqual(yield* file.seek(0n, "current"), 8n)
    assert.strictEqual(yield* file.seek(100n, "start"), 100n)
    assert.deepStrictEqual(yield* file.readAlloc(3), Option.none())
    assert.strictEqual(yield* file.read(new Uint8Array(0)), 0)
    assert.strictEqual(yield* errorOf(file.readAlloc(-1)), "BadArgument")
    assert.strictEqual(yield* errorOf(file.read(buffer, { position: -1n })), "BadArgument")
    assert.strictEqual(yield* errorOf(file.read(buffer, { position: 2n ** 63n })), "BadArgument")
    assert.strictEqual(yield* file.read(buffer, { position: 2n ** 62n }), 0)
  })
)

it.effect("writing behind the end leaves a hole of zeros", () =>
  Effect.gen(function* () {
    const { files, made: system } = yield* made({ "/f": "x" })
    const file = yield* files.open("/f", { flag: "r+" })
    yield* file.seek(10n ** 12n, "start")
    yield* file.writeAll(bytes("end"))
    const info = yield* file.stat
    assert.strictEqual(info.size, 10n ** 12n + 3n)
    assert.isBelow(system.usage().bytes, 70_000)
    assert.deepStrictEqual(
      Option.map(yield* file.readAlloc(3, { position: 10n ** 11n }), (part) => [...part]),
      Option.some([0, 0, 0])
    )
    assert.deepStrictEqual(
      Option.map(yield* file.readAlloc(3, { position: 0n }), (part) => [...part]),
      Option.some([120, 0, 0])
    )
    yield* file.seek(2n ** 44n, "start")
    assert.strictEqual(yield* errorOf(file.write(bytes("x"))), "Unknown EFBIG")
    yield* file.seek(2n ** 60n, "start")
    assert.strictEqual(yield* errorOf(file.write(bytes("x"))), "BadArgument")
  })
)

it.effect("what was cut off does not come back", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/f": "0123456789" })
    const file = yield* files.open("/f", { flag: "r+" })
    yield* file.seek(8n, "start")
    yield* file.truncate(3)
    assert.strictEqual(yield* file.seek(0n, "current"), 3n)
    yield* file.seek(6n, "start")
    yield* file.writeAll(bytes("x"))
    assert.strictEqual(yield* readAll(file), "012\0\0\0x")
    yield* file.seek(1n, "start")
    yield* file.truncate(5)
    assert.strictEqual(yield* file.seek(0n, "current"), 1n)
    yield* file.truncate()
    assert.strictEqual(yield* readAll(file), "")
    assert.strictEqual(
      yield* errorOf(Effect.scoped(Effect.flatMap(files.open("/f"), (file) => file.truncate()))),
      "Unknown EINVAL"
    )
  })
)

it.effect("appending goes to the end, whoever moved it there", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/f": "one" })
    const [one, two] = yield* Effect.all([files.open("/f", { flag: "a+" }), files.open("/f", { flag: "a" })])
    yield* one.writeAll(bytes(" two"))
    yield* two.writeAll(bytes(" three"))
    yield* one.seek(0n, "start")
    yield* one.writeAll(bytes(" four"))
    assert.deepStrictEqual(Option.map(yield* one.readAlloc(100), text), Option.some("one two three four"))
    yield* one.truncate(3)
    assert.strictEqual(yield* one.seek(0n, "current"), 18n)
    yield* two.writeAll(bytes("!"))
    assert.strictEqual(yield* readAll(one), "one!")
  })
)

it.effect("a file without a name lives as long as its handles", () =>
  Effect.gen(function* () {
    const { files, made: system } = yield* made({ "/f": "content", "/d/g": "g" })
    const scope = yield* Scope.make()
    const file = yield* Scope.provide(files.open("/f", { flag: "r+" }), scope)
    yield* files.remove("/f")
    assert.strictEqual(yield* files.exists("/f"), false)
    yield* files.writeFileString("/f", "another")
    yield* file.writeAll(bytes("CON"))
    assert.strictEqual(yield* readAll(file), "CONtent")
    assert.deepStrictEqual((yield* file.stat).nlink, Option.some(0n))
    yield* files.rename("/d/g", "/f")
    assert.deepStrictEqual([system.usage().files, system.usage().bytes, system.usage().handles], [2, 8, 1])
    yield* Scope.close(scope, Exit.void)
    assert.deepStrictEqual([system.usage().files, system.usage().bytes, system.usage().handles], [1, 1, 0])
  })
)

it.effect("nothing can be done with a handle whose scope has closed", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/f": "content" })
    const file = yield* Effect.scoped(files.open("/f", { flag: "r+" }))
    const uses: ReadonlyArray<Effect.Effect<unknown, PlatformError.PlatformError>> = [
      file.stat,
      file.sync,
      file.seek(0n, "start"),
      file.read(new Uint8Array(1)),
      file.readAlloc(1),
      file.truncate(),
      file.write(bytes("x")),
      file.writeAll(bytes("x")),
      file.writeAll(bytes(""))
    ]
    for (const use of uses) assert.strictEqual(yield* errorOf(use), "Unknown EBADF")
    const error = yield* Effect.flip(file.stat)
    assert.match(error.message, /^Unknown: FileSystem\.stat \(\d+\): Bad file descriptor$/)
    assert.strictEqual(yield* files.readFileString("/f"), "content")
  })
)

it.effect("a directory can be opened to be looked at, not to be read", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/d/f": "" })
    const directory = yield* files.open("/d")
    assert.strictEqual((yield* directory.stat).type, "Directory")
    assert.strictEqual(yield* errorOf(directory.read(new Uint8Array(1))), "BadResource EISDIR")
    assert.strictEqual(yield* errorOf(directory.write(bytes("x"))), "Unknown EBADF")
    assert.strictEqual(yield* errorOf(Effect.scoped(files.open("/d", { flag: "r+" }))), "BadResource EISDIR")
  })
)

it.effect("handles are closed when their opener is interrupted", () =>
  Effect.gen(function* () {
    const { files, made: system } = yield* made({ "/f": "content" })
    const fiber = yield* Effect.forkChild(Effect.scoped(Effect.andThen(files.open("/f"), Effect.never)), {
      startImmediately: true
    })
    assert.strictEqual(system.usage().handles, 1)
    yield* Effect.sync(() => fiber.interruptUnsafe())
    yield* Effect.yieldNow
    assert.strictEqual(system.usage().handles, 0)
  })
)

it.effect("two handles at once see each other's writes", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/f": "" })
    const use = (letter: string) =>
      Effect.scoped(
        Effect.gen(function* () {
          const file = yield* files.open("/f", { flag: "a" })
          for (let index = 0; index < 20; index++) {
            yield* file.writeAll(bytes(letter))
            yield* Effect.yieldNow
          }
        })
      )
    yield* Effect.all([use("a"), use("b"), use("c")], { concurrency: "unbounded" })
    assert.strictEqual((yield* files.readFileString("/f")).length, 60)
  })
)
