/**
 * The images that tests, examples and benchmarks run in, made from what this machine has, as there may be no registry:
 *
 * - `effect-sandbox-test/shell`: BusyBox with all its programs, users root, nobody and sandbox (1000), a /tmp
 * - `effect-sandbox-test/node`: the same with the workspace's Node
 * - `effect-sandbox-test/scratch`: a single static program, `/busybox`, which needs to be told what to
 *   be (`/busybox echo hello`); no shell, no users, no /tmp
 *
 * An image has a label with what it was made of, and is made again when that has changed.
 */
import { createHash } from "node:crypto"
import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { Effect, FileSystem, Path, Schema, Semaphore, Stream } from "effect"
import { Tar } from "effect/encoding"
import * as DockerClient from "../../src/DockerClient.ts"

export const names = {
  shell: "effect-sandbox-test/shell",
  node: "effect-sandbox-test/node",
  scratch: "effect-sandbox-test/scratch"
} as const
export type Name = keyof typeof names

/** The label that names what an image was made of. */
export const label = "effect-sandbox.test-image"

/** Something is not on this machine that an image is made of. */
export class IngredientMissing extends Schema.TaggedError<IngredientMissing>()("IngredientMissing", {
  message: Schema.String
}) {}

/** Test files run at the same time, but in one process each file has its own copy of this; the engine copes with both. */
const one = Semaphore.makeUnsafe(1)

/** Makes an image unless it is there; gives its name. */
export const ensure = Effect.fn("images.ensure")(function* (name: Name) {
  const docker = yield* DockerClient.DockerClient
  const tag = `${names[name]}:latest`
  const { entries, changes } = yield* ingredients[name]
  const fingerprint = createHash("sha256")
    .update(JSON.stringify([entries.map(({ identity }) => identity), changes]))
    .digest("hex")
    .slice(0, 32)
  const found = yield* docker.images
    .inspect(tag)
    .pipe(Effect.catchReason("DockerError", "ImageNotFound", () => Effect.succeed(undefined)))
  if (found?.Config?.Labels[label] === fingerprint) return tag
  const archive = Stream.fromIterable(entries.map(({ entry }) => entry)).pipe(
    Stream.pipeThroughChannel(Tar.encode<never, unknown, Tar.Entry<never>>()),
    Stream.orDie
  )
  yield* docker.images.importArchive({ archive, tag, changes: [...changes, `LABEL ${label}=${fingerprint}`] })
  // Without its name it would stay for ever. When a container still uses it, it does.
  if (found !== undefined) yield* Effect.ignore(docker.images.remove(found.Id))
  return tag
}, one.withPermit)

interface Ingredient {
  readonly entry: Tar.Entry<never>
  /** The same for the same content. */
  readonly identity: string
}

const directory = (path: string, mode = 0o755, uid = 0): Ingredient => ({
  entry: Tar.directory(path, { mode, uid, gid: uid }),
  identity: `directory ${path} ${mode} ${uid}`
})

const text = (path: string, content: string): Ingredient => ({
  entry: Tar.file(path, content),
  identity: `text ${path} ${content}`
})

const link = (path: string, target: string): Ingredient => ({
  entry: Tar.symlink(path, target),
  identity: `link ${path} ${target}`
})

/** A program of this machine, streamed when it is needed. */
const program = (path: string, source: string) =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const real = yield* files.realPath(source)
    const info = yield* files.stat(real)
    const content = Stream.orDie(files.stream(real, { chunkSize: 256 * 1024 }))
    const ingredient: Ingredient = {
      entry: Tar.fileStream(path, Number(info.size), content, { mode: 0o755 }),
      identity: `program ${path} ${real} ${info.size} ${info.mtime._tag === "Some" ? info.mtime.value.getTime() : ""}`
    }
    return ingredient
  })

const run = (command: string, ...args: ReadonlyArray<string>) =>
  Effect.tryPromise({
    try: () => promisify(execFile)(command, args),
    catch: (cause) => new IngredientMissing({ message: `${command} ${args.join(" ")} failed: ${String(cause)}` })
  }).pipe(Effect.map(({ stdout }) => stdout))

const busybox = Effect.gen(function* () {
  const files = yield* FileSystem.FileSystem
  for (const path of ["/bin/busybox", "/usr/bin/busybox"]) {
    if (yield* files.exists(path)) {
      // One with libraries would not run in an image.
      const linked = yield* Effect.option(run("ldd", path))
      if (linked._tag === "None" || /not a dynamic|statically/.test(linked.value)) return path
    }
  }
  return yield* new IngredientMissing({ message: "there is no static BusyBox (Debian's package busybox-static)" })
})

const users = [
  text(
    "etc/passwd",
    [
      "root:x:0:0:root:/root:/bin/sh",
      "nobody:x:65534:65534:nobody:/nonexistent:/bin/false",
      "sandbox:x:1000:1000:sandbox:/home/sandbox:/bin/sh",
      ""
    ].join("\n")
  ),
  text("etc/group", ["root:x:0:", "nogroup:x:65534:", "sandbox:x:1000:", ""].join("\n"))
]

const shell = Effect.gen(function* () {
  const source = yield* busybox
  const applets = (yield* run(source, "--list")).split("\n").filter((name) => name !== "" && name !== "busybox")
  return {
    entries: [
      ...["bin/", "etc/", "usr/", "usr/bin/", "usr/local/", "usr/local/bin/", "var/"].map((path) => directory(path)),
      directory("root/", 0o700),
      directory("home/"),
      directory("home/sandbox/", 0o755, 1000),
      directory("tmp/", 0o1777),
      directory("var/tmp/", 0o1777),
      yield* program("bin/busybox", source),
      ...applets.map((name) => link(`bin/${name}`, "busybox")),
      link("usr/bin/env", "../../bin/busybox"),
      ...users
    ],
    changes: ["ENV PATH=/usr/local/bin:/usr/bin:/bin", 'CMD ["sh"]']
  }
})

const node = Effect.gen(function* () {
  const path = yield* Path.Path
  const base = yield* shell
  const libraries = (yield* run("ldd", process.execPath)).matchAll(/(?:=> )?(\/\S+) \(0x/g)
  const paths = [...new Set([...libraries].map(([, library]) => library ?? ""))]
  const directories = new Set<string>()
  for (const library of paths) {
    for (let at = path.dirname(library); at !== "/"; at = path.dirname(at)) directories.add(at.slice(1))
  }
  return {
    entries: [
      ...base.entries,
      ...[...directories].sort().map((name) => directory(`${name}/`)),
      ...(yield* Effect.forEach(paths, (library) => program(library.slice(1), library))),
      yield* program("usr/local/bin/node", process.execPath)
    ],
    changes: base.changes
  }
})

const scratch = Effect.gen(function* () {
  return { entries: [yield* program("busybox", yield* busybox)], changes: ['ENTRYPOINT ["/busybox"]'] }
})

const ingredients = { shell, node, scratch }
