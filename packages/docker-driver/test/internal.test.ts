import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, FileSystem, Path, Stream } from "effect"
import { Tar } from "effect/encoding"
import * as buildContext from "../src/internal/engine/buildContext.ts"
import * as dockerignore from "../src/internal/engine/dockerignore.ts"
import * as imageReference from "../src/internal/engine/imageReference.ts"
import * as sharedWork from "../src/internal/sharedWork.ts"

describe("names of images", () => {
  it("have a registry, a tag or a digest", () => {
    const digest = `sha256:${"a".repeat(64)}`
    const parts = (text: string) => {
      const found = imageReference.parse(text)
      return found === undefined ? undefined : [found.registry, found.name, found.tag ?? found.digest].join(" ")
    }
    assert.deepStrictEqual(
      [
        "node",
        "node:24",
        "owner/tool",
        "ghcr.io/owner/tool:1.2",
        "localhost:5000/tool",
        "localhost/tool:x",
        "127.0.0.1:5000/a/b:c",
        `node@${digest}`,
        `ghcr.io/a:1@${digest}`,
        "",
        "a b",
        ":tag",
        "node:",
        "@x"
      ].map(parts),
      [
        "docker.io node latest",
        "docker.io node 24",
        "docker.io owner/tool latest",
        "ghcr.io ghcr.io/owner/tool 1.2",
        "localhost:5000 localhost:5000/tool latest",
        "localhost localhost/tool x",
        "127.0.0.1:5000 127.0.0.1:5000/a/b c",
        `docker.io node ${digest}`,
        "ghcr.io ghcr.io/a 1",
        undefined,
        undefined,
        undefined,
        undefined,
        undefined
      ]
    )
  })
})

describe(".dockerignore", () => {
  const ignored = (rules: string, ...paths: ReadonlyArray<string>) => {
    const { ignores } = dockerignore.parse(rules)
    return paths.filter(ignores)
  }

  it("takes patterns as docker build does", () => {
    assert.deepStrictEqual(ignored("node_modules", "node_modules", "node_modules/a/b", "src/node_modules"), [
      "node_modules",
      "node_modules/a/b"
    ])
    assert.deepStrictEqual(
      ignored("**/node_modules\n# no\n\n/dist/", "src/node_modules/a", "dist/a", "a/dist", "# no"),
      ["src/node_modules/a", "dist/a"]
    )
    assert.deepStrictEqual(
      ignored("*.md\n!README.md\na?c\nd/*/e", "a.md", "README.md", "x/a.md", "abc", "d/x/e", "d/e"),
      ["a.md", "abc", "d/x/e"]
    )
    assert.deepStrictEqual(ignored("a+(b).txt\n[ab].x\nq\\*", "a+(b).txt", "aab.txt", "a.x", "c.x", "q*", "qq"), [
      "a+(b).txt",
      "a.x",
      "q*"
    ])
    assert.deepStrictEqual(ignored("", "a"), [])
    assert.deepStrictEqual(ignored("**", "a", "b/c"), ["a", "b/c"])
  })
})

describe("a build's context", () => {
  it.live("is the directory without what it ignores, with the Dockerfile and what links lead to", () =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const directory = yield* files.makeTempDirectoryScoped()
      const write = (name: string, content: string, mode = 0o644) =>
        Effect.andThen(
          files.makeDirectory(path.dirname(path.join(directory, name)), { recursive: true }),
          Effect.andThen(
            files.writeFileString(path.join(directory, name), content),
            files.chmod(path.join(directory, name), mode)
          )
        )
      yield* write(".dockerignore", "skipped\n*.log\n!keep.log\nDockerfile")
      yield* write("Dockerfile", "FROM scratch")
      yield* write("bin/run", "#!/bin/sh", 0o755)
      yield* write("skipped/a", "")
      yield* write("skipped/keep.log", "")
      yield* write("a.log", "")
      yield* write("keep.log", "kept")
      yield* files.symlink("bin/run", path.join(directory, "link"))
      const entries = yield* buildContext.make({ files, path }, { directory, text: "FROM x", image: "a" }).pipe(
        Stream.pipeThroughChannel(Tar.decode()),
        Stream.map(({ header }) => `${header.type} ${header.path} ${header.mode.toString(8)}`),
        Stream.runCollect
      )
      assert.deepStrictEqual(entries, [
        "File .effect-sandbox.Dockerfile 644",
        "File .dockerignore 644",
        "File Dockerfile 644",
        "Directory bin/ 755",
        "File bin/run 755",
        "File keep.log 644",
        "Symlink link 777"
      ])
      const missing = buildContext.make({ files, path }, { directory: path.join(directory, "no"), image: "a" })
      const { message } = yield* Effect.flip(Stream.runDrain(missing))
      assert.match(message, /^Building a failed at the build context: .*no/)
    }).pipe(Effect.provide(NodeServices.layer))
  )
})

describe("shared work", () => {
  const never = () => Effect.void

  it.effect("is done once for all who want it, and tells each of its progress", () =>
    Effect.gen(function* () {
      const shared = yield* sharedWork.make<number, string, string>()
      const gate = yield* Deferred.make<void>()
      let runs = 0
      const heard: Array<string> = []
      const work = (publish: (progress: string) => Effect.Effect<void>) =>
        Effect.gen(function* () {
          runs++
          yield* publish("begun")
          yield* Deferred.await(gate)
          yield* publish("done")
          return runs
        })
      const listen = (name: string) => (progress: string) => Effect.sync(() => heard.push(`${name} ${progress}`))
      const fibers = yield* Effect.forEach(["a", "b"], (name) => Effect.forkChild(shared.join("k", work, listen(name))))
      yield* Effect.yieldNow
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* Fiber.joinAll(fibers), [1, 1])
      assert.includeMembers(heard, ["a begun", "a done", "b done"])
      assert.strictEqual(yield* shared.join("k", work, never), 2)
    })
  )

  it.effect("ends when the last of those who wait has gone, and not before", () =>
    Effect.gen(function* () {
      const shared = yield* sharedWork.make<number, string, string>()
      let ended = 0
      const work = () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => ended++))
      const [a, b] = yield* Effect.forEach([1, 2] as const, () => Effect.forkChild(shared.join("k", work, never)))
      yield* Effect.yieldNow
      yield* Effect.yieldNow
      if (a !== undefined) yield* Fiber.interrupt(a)
      assert.strictEqual(ended, 0)
      if (b !== undefined) yield* Fiber.interrupt(b)
      assert.strictEqual(ended, 1)
      assert.strictEqual(yield* shared.join("k", () => Effect.succeed(7), never), 7)
    })
  )

  it.effect("fails for all, and is tried again by the next", () =>
    Effect.gen(function* () {
      const shared = yield* sharedWork.make<number, string, string>()
      const fail = () => Effect.andThen(Effect.yieldNow, Effect.fail("no"))
      const exits = yield* Effect.all(
        [1, 2, 3].map(() => Effect.exit(shared.join("k", fail, never))),
        { concurrency: 3 }
      )
      assert.deepStrictEqual(
        exits,
        [1, 2, 3].map(() => Exit.fail("no"))
      )
      assert.strictEqual(yield* shared.join("k", () => Effect.succeed(1), never), 1)
    })
  )
})
