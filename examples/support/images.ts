/**
 * The images that tests, examples and benchmarks run in, made from what this machine has, as there may be no registry:
 *
 * - `effect-sandbox-test/shell`: BusyBox with all its programs, users root, nobody and sandbox (1000), a /tmp
 * - `effect-sandbox-test/node`: the same with the workspace's Node
 * - `effect-sandbox-test/debian`: the same with the shell and the tools of this machine in place of BusyBox's
 * - `effect-sandbox-test/debian-node`: both
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
import { DockerClient } from "@effect-sandbox/docker-driver"

export const names = {
  shell: "effect-sandbox-test/shell",
  node: "effect-sandbox-test/node",
  debian: "effect-sandbox-test/debian",
  debianNode: "effect-sandbox-test/debian-node",
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

/** Makes an image unless it is there, and gives its name. Says so when it is made. */
export const ensure = Effect.fn("images.ensure")(function* (
  name: Name,
  onMake: (tag: string) => Effect.Effect<void> = () => Effect.void
) {
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
  yield* onMake(tag)
  const archive = Stream.fromIterable(entries.map(({ entry }) => entry)).pipe(
    Stream.pipeThroughChannel(Tar.encode<never, unknown, Tar.Entry<never>>()),
    Stream.orDie
  )
  yield* docker.images.importArchive({ archive, tag, changes: [...changes, `LABEL ${label}=${fingerprint}`] })
  // Without its name it would stay for ever. When a container still uses it, it does.
  if (found !== undefined) yield* Effect.ignore(docker.images.remove(found.Id))
  return tag
}, one.withPermit)

interface Recipe {
  readonly entries: ReadonlyArray<Ingredient>
  /** As in a Dockerfile. */
  readonly changes: ReadonlyArray<string>
}

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

/** Later entries take the place of earlier ones: engines refuse two of the same path. */
const merged = (...parts: ReadonlyArray<ReadonlyArray<Ingredient>>): ReadonlyArray<Ingredient> => [
  ...new Map(parts.flat().map((ingredient) => [ingredient.entry.header.path, ingredient])).values()
]

/** Programs of this machine with the libraries that they need: name inside → path here. */
const withLibraries = (programs: ReadonlyMap<string, string>) =>
  Effect.gen(function* () {
    const path = yield* Path.Path
    const files = yield* FileSystem.FileSystem
    // Fails for those that are scripts or static; what it has printed of the others is all there is to know.
    const listed = yield* run("sh", "-c", 'ldd "$@" 2>/dev/null || :', "sh", ...programs.values())
    const libraries = [
      ...new Set([...listed.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, library]) => library ?? ""))
    ].toSorted()
    const directories = new Set<string>()
    for (const file of [...libraries, ...programs.keys()]) {
      for (let at = path.dirname(file); at !== "/"; at = path.dirname(at)) directories.add(at.slice(1))
    }
    for (const source of programs.values()) {
      if (!(yield* files.exists(source))) return yield* new IngredientMissing({ message: `there is no ${source}` })
    }
    return [
      ...[...directories].toSorted().map((name) => directory(`${name}/`)),
      ...(yield* Effect.forEach(libraries, (library) => program(library.slice(1), library))),
      ...(yield* Effect.forEach(programs, ([inside, source]) => program(inside.slice(1), source)))
    ]
  })

const withNode = <E, R>(base: Effect.Effect<Recipe, E, R>) =>
  Effect.gen(function* () {
    const { changes, entries } = yield* base
    const added = yield* withLibraries(new Map([["/usr/local/bin/node", process.execPath]]))
    return { entries: merged(entries, added), changes }
  })

/** The tools of this machine, which is a Debian in CI: what most images have, and BusyBox does differently. */
const debian = Effect.gen(function* () {
  const base = yield* shell
  const names = (yield* run("sh", "-c", "dpkg -L coreutils util-linux grep sed findutils procps 2>/dev/null || :"))
    .split("\n")
    .filter((name) => /^(\/usr)?\/s?bin\/[^/]+$/.test(name))
  if (names.length === 0) {
    const message = "this machine is no Debian (dpkg lists no programs), so its tools cannot be put into an image"
    return yield* new IngredientMissing({ message })
  }
  const programs = new Map([
    ["/bin/sh", "/bin/sh"],
    ...names.map((name) => [`/bin/${name.slice(name.lastIndexOf("/") + 1)}`, name] as const)
  ])
  return { entries: merged(base.entries, yield* withLibraries(programs)), changes: base.changes }
})

const scratch = Effect.gen(function* () {
  return { entries: [yield* program("busybox", yield* busybox)], changes: ['ENTRYPOINT ["/busybox"]'] }
})

const ingredients = { shell, node: withNode(shell), debian, debianNode: withNode(debian), scratch }
