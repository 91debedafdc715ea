import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, type FileSystem, Latch, Option, Queue, Scope, Stream } from "effect"
import * as VirtualFileSystem from "../src/VirtualFileSystem.ts"
import { errorOf } from "./support/FileErrors.ts"

const made = (files?: VirtualFileSystem.Options["files"]) =>
  Effect.map(VirtualFileSystem.make({ files, devices: false }), (made) => ({ made, files: made.view() }))

/** Starts to watch. */
const watching = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  path: string,
  options?: { readonly recursive?: boolean }
) {
  const events = yield* Queue.unbounded<string>()
  let isReady = false
  const onReady = () => {
    isReady = true
  }
  yield* files.watch(path, { ...options, onReady }).pipe(
    Stream.runForEach((event) => Queue.offer(events, `${event._tag} ${event.path}`)),
    Effect.forkScoped({ startImmediately: true })
  )
  while (!isReady) yield* Effect.yieldNow
  return {
    /** What has come since it was asked last. */
    events: Effect.gen(function* () {
      for (let turn = 0; turn < 10; turn++) yield* Effect.yieldNow
      return yield* Queue.clear(events)
    })
  }
})

it.effect("a directory tells of its entries, by their names", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/d/old": "", "/other/f": "", "/d/sub/f": "" })
    const { events } = yield* watching(files, "/d")
    yield* files.writeFileString("/d/new", "x")
    assert.deepStrictEqual(yield* events, ["Create new", "Update new"])
    yield* files.writeFileString("/d/old", "", { flag: "a" })
    yield* files.readFileString("/d/old")
    assert.deepStrictEqual(yield* events, [])
    yield* files.chmod("/d/old", 0o600)
    yield* files.utimes("/d/old", 1, 1)
    yield* files.truncate("/d/old", 5)
    assert.deepStrictEqual(new Set(yield* events), new Set(["Update old"]))
    yield* files.rename("/d/old", "/d/renamed")
    yield* files.rename("/other/f", "/d/f")
    yield* files.rename("/d/f", "/other/f")
    assert.deepStrictEqual(yield* events, ["Remove old", "Create renamed", "Create f", "Remove f"])
    yield* files.makeDirectory("/d/dir")
    yield* files.symlink("nowhere", "/d/link")
    yield* files.link("/d/new", "/d/hard")
    yield* files.remove("/d/new")
    yield* files.remove("/d/dir", { recursive: true })
    assert.deepStrictEqual(yield* events, ["Create dir", "Create link", "Create hard", "Remove new", "Remove dir"])
    yield* files.writeFileString("/d/sub/f", "not its child")
    yield* files.writeFileString("/other/g", "elsewhere")
    assert.deepStrictEqual(yield* events, [])
  })
)

it.effect("with everything below when asked to, by paths relative to it", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/d/a/b/f": "" })
    const { events } = yield* watching(files, "/d", { recursive: true })
    yield* files.writeFileString("/d/a/b/f", "x")
    yield* files.makeDirectory("/d/new")
    yield* files.writeFileString("/d/new/g", "")
    yield* files.rename("/d/a/b", "/d/new/b")
    yield* files.remove("/d/new/b/f")
    assert.deepStrictEqual(yield* events, [
      "Update a/b/f",
      "Create new",
      "Create new/g",
      "Remove a/b",
      "Create new/b",
      "Remove new/b/f"
    ])
  })
)

it.effect("a file tells of itself, by whatever name it changes", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/d/f": "" })
    yield* files.link("/d/f", "/hard")
    const { events } = yield* watching(files, "/d/f")
    yield* files.writeFileString("/hard", "x")
    assert.deepStrictEqual(yield* events, ["Update f"])
    yield* files.writeFileString("/d/g", "x")
    assert.deepStrictEqual(yield* events, [])
    yield* files.remove("/hard")
    assert.deepStrictEqual(yield* events, ["Update f"])
    // As editors save: the path has another file then.
    yield* files.writeFileString("/d/f.new", "y")
    yield* files.rename("/d/f.new", "/d/f")
    assert.deepStrictEqual(yield* events, ["Update f", "Create f"])
    const { events: again } = yield* watching(files, "/d/f")
    yield* files.remove("/d/f")
    assert.deepStrictEqual(yield* again, ["Update f", "Remove f"])
  })
)

it.effect("a directory tells of its own changes and end, and of its content wherever it is moved", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/d/f": "" })
    const { events } = yield* watching(files, "/d/")
    yield* files.chmod("/d", 0o700)
    yield* files.rename("/d", "/e")
    yield* files.writeFileString("/e/f", "x")
    yield* files.remove("/e", { recursive: true })
    assert.deepStrictEqual(yield* events, ["Update d", "Remove d", "Update f", "Remove f", "Remove d"])
  })
)

it.effect("an open file tells by the name that it has now", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/d/f": "" })
    const { events } = yield* watching(files, "/d")
    const file = yield* files.open("/d/f", { flag: "a" })
    yield* files.rename("/d/f", "/d/g")
    yield* file.writeAll(new Uint8Array(1))
    yield* files.remove("/d/g")
    yield* file.writeAll(new Uint8Array(1))
    assert.deepStrictEqual(yield* events, ["Remove f", "Create g", "Update g", "Remove g"])
  })
)

it.effect("a watcher ends with its scope, and a missing path or permission is an error", () =>
  Effect.gen(function* () {
    const { files, made: system } = yield* made({ "/d/f": "", "/secret": { directory: true, mode: 0o700 } })
    const scope = yield* Scope.make()
    const both = Effect.all([watching(files, "/d"), watching(files, "/d/f")])
    assert.strictEqual((yield* Scope.provide(both, scope)).length, 2)
    assert.strictEqual(system.usage().watchers, 2)
    yield* Scope.close(scope, Exit.void)
    assert.strictEqual(system.usage().watchers, 0)
    const first = yield* files.watch("/d").pipe(Stream.runHead, Effect.forkChild({ startImmediately: true }))
    yield* Effect.repeat(Effect.yieldNow, { until: () => system.usage().watchers === 1 })
    yield* files.chmod("/d/f", 0o600)
    assert.deepStrictEqual(yield* Fiber.join(first), Option.some({ _tag: "Update" as const, path: "f" }))
    assert.strictEqual(system.usage().watchers, 0)
    assert.strictEqual(yield* errorOf(Stream.runDrain(files.watch("/none"))), "NotFound ENOENT")
    const guest = system.view({ user: Effect.succeed({ uid: 1, gid: 1 }) })
    assert.strictEqual(yield* errorOf(Stream.runDrain(guest.watch("/secret"))), "PermissionDenied EACCES")
  })
)

it.effect("a reader that is too slow loses what comes on top of 16,384 events", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/d/f": "", "/d/g": "" })
    const gate = yield* Latch.make()
    const seen: Array<string> = []
    yield* files.watch("/d").pipe(
      Stream.runForEach((event) => gate.whenOpen(Effect.sync(() => seen.push(event.path)))),
      Effect.forkScoped({ startImmediately: true })
    )
    const settle = Effect.repeat(Effect.yieldNow, { times: 10 })
    const touch = (path: string) => files.chmod(path, 0o600)
    yield* settle
    yield* touch("/d/f")
    yield* settle
    for (let index = 0; index < 10_000; index++) yield* Effect.andThen(touch("/d/g"), touch("/d/f"))
    yield* gate.open
    yield* Effect.repeat(Effect.yieldNow, { until: () => seen.length > 16_000 })
    yield* settle
    yield* files.writeFileString("/d/after", "")
    yield* settle
    assert.deepStrictEqual([seen.length, seen.at(-1)], [1 + 16_384 + 1, "after"])
  })
)

it.effect("what nobody has read yet is not said twice", () =>
  Effect.gen(function* () {
    const { files } = yield* made({ "/d/f": "" })
    const { events } = yield* watching(files, "/d")
    yield* Effect.scoped(
      Effect.gen(function* () {
        const file = yield* files.open("/d/f", { flag: "a" })
        for (let index = 0; index < 100; index++) yield* file.writeAll(new Uint8Array(1000))
      })
    )
    assert.isBelow((yield* events).length, 100)
    yield* files.writeFileString("/d/f", "")
    assert.deepStrictEqual(yield* events, ["Update f"])
  })
)
