/**
 * Random programs of file operations, which run on any `FileSystem` and tell what happened in lines that can be compared:
 * those of the virtual one with those of the Node platform.
 *
 * No path leads out of the directory that a program works in: there is one `..` at most, behind a name, and none in the
 * target of a link.
 */
import { Effect, Exit, type FileSystem, Option, type PlatformError, Predicate, Schema, Scope, Stream } from "effect"
import type * as VirtualFileSystem from "../../src/VirtualFileSystem.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

const ordinary = ["a", "b", "c", "a/b", "a/c", "b/a", "a/b/c", "a/b/a", "b/c"] as const

const Path = Schema.Union([
  Schema.Literals(ordinary),
  Schema.Literals(ordinary),
  Schema.Literals(ordinary),
  Schema.Literals([
    "a/",
    "b/",
    "a/b/",
    "c//",
    "a/.",
    "a/b/.",
    "a/..",
    "a/../b",
    "b/../a/c",
    "./a",
    "a//b",
    ".",
    "",
    "a/b/../c",
    "c/../c/",
    "a b",
    "ä/ö",
    "ä",
    "\u{1F600}",
    "\uFF5E",
    "a\nb",
    "\uD800",
    "\0",
    "a\0b",
    "x".repeat(255),
    "x".repeat(256),
    `a/${"x".repeat(256)}`,
    "\u00E9".repeat(127),
    "\u00E9".repeat(128),
    `${"a/".repeat(2100)}a`
  ])
])

const Target = Schema.Literals([
  ...ordinary,
  "a/",
  "b/",
  "./b",
  "nowhere",
  "b/nowhere",
  "ROOT/a",
  "ROOT/b/",
  "ROOT/c",
  "",
  "c/.",
  "y".repeat(300),
  "z/".repeat(2100)
])

const Flag = Schema.Literals(["r", "r+", "w", "wx", "w+", "wx+", "a", "ax", "a+", "ax+"])
const Mode = Schema.Literals([0o644, 0o755, 0o600, 0o777, 0o000, 0o4755, 0o2770, 0o1777, 0o444, 0o111, 0o100700])
const Data = Schema.Literals(["", "x", "hello", "0123456789", "é😀"])
const Size = Schema.Literals([0, 1, 3, 5, 10, 70_000, -1, 1.5])
const Slot = Schema.Literals([0, 1])

const Step = Schema.TaggedUnion({
  Read: { size: Schema.Literals([0, 1, 4, 100_000]) },
  ReadAt: { size: Schema.Literals([0, 1, 4]), position: Schema.Literals([0, 2, 70_000, -1]) },
  ReadAlloc: { size: Schema.Literals([0, 1, 4, 100, -1]) },
  Seek: { offset: Schema.Literals([0, 2, 5, 66_000, -1, -100]), from: Schema.Literals(["start", "current"]) },
  Write: { data: Data },
  WriteAll: { data: Data },
  Truncate: { size: Schema.Literals([0, 3, 66_000]) },
  Stat: {},
  Sync: {}
})
type Step = typeof Step.Type

export const Operation = Schema.TaggedUnion({
  WriteFile: { path: Path, data: Data, flag: Schema.optionalKey(Flag), mode: Schema.optionalKey(Mode) },
  ReadFile: { path: Path },
  MakeDirectory: { path: Path, recursive: Schema.Boolean, mode: Schema.optionalKey(Mode) },
  Remove: { path: Path, recursive: Schema.Boolean, force: Schema.Boolean },
  Rename: { from: Path, to: Path },
  Link: { from: Path, to: Path },
  Symlink: { target: Target, path: Path },
  ReadLink: { path: Path },
  RealPath: { path: Path },
  Stat: { path: Path },
  Lstat: { path: Path },
  Access: { path: Path, readable: Schema.Boolean, writable: Schema.Boolean },
  Exists: { path: Path },
  Chmod: { path: Path, mode: Mode },
  Chown: { path: Path, uid: Schema.Literals([-1, 0, 1000, 2000]), gid: Schema.Literals([-1, 0, 1000, 2000]) },
  Truncate: { path: Path, size: Schema.optionalKey(Size) },
  Utimes: { path: Path, accessed: Schema.Literals([0, 1.5, 1000]), modified: Schema.Literals([0, 2.25, 99_999]) },
  Copy: { from: Path, to: Path, overwrite: Schema.Boolean, preserve: Schema.Boolean },
  CopyFile: { from: Path, to: Path },
  ReadDirectory: { path: Path, recursive: Schema.Boolean },
  Entries: { path: Path },
  Glob: { pattern: Schema.Literals(["**", "*", "a/*", "*/*", "**/c", "{a,b}/**"]), path: Schema.Literals(["", "a"]) },
  StreamFile: { path: Path, offset: Schema.Literals([0, 2]), bytes: Schema.Literals([1, 100]) },
  SinkFile: { path: Path, flag: Schema.optionalKey(Flag), data: Schema.Array(Data).check(Schema.isMaxLength(2)) },
  Open: { slot: Slot, path: Path, flag: Flag, noFollow: Schema.Boolean },
  Use: { slot: Slot, step: Step },
  Close: { slot: Slot }
})
export type Operation = typeof Operation.Type

/** The same operation with another mode, when it has one. */
export const mapMode = (operation: Operation, change: (mode: number) => number): Operation =>
  "mode" in operation && operation.mode !== undefined
    ? // The schema's modes are some examples; any other does as well.
      ({ ...operation, mode: change(operation.mode) } as Operation)
    : operation

const octal = (mode: number) => mode.toString(8)

const describeInfo = (info: FileSystem.File.Info, root: boolean) =>
  [
    info.type,
    octal(info.mode),
    `${Option.getOrThrow(info.uid)}:${Option.getOrThrow(info.gid)}`,
    info.type === "Directory" && root ? "" : `nlink ${Option.getOrThrow(info.nlink)}`,
    info.type === "Directory" ? "" : `size ${info.size}`
  ].join(" ")

/** The code that the system, or Node in its own name, gave. */
const codeOf = (cause: unknown): string => {
  if (Predicate.hasProperty(cause, "info") && Predicate.hasProperty(cause.info, "code")) return String(cause.info.code)
  const code = Predicate.hasProperty(cause, "code") ? String(cause.code) : "no code"
  const own: Record<string, string> = { ERR_FS_FILE_TOO_LARGE: "EFBIG", ERR_INVALID_ARG_VALUE: "EINVAL" }
  return own[code] ?? code
}

const describeError = (error: PlatformError.PlatformError): string => {
  const { reason } = error
  if (reason._tag === "BadArgument") return `${reason.module}.${reason.method}: BadArgument`
  const about = typeof reason.pathOrDescriptor === "string" ? reason.pathOrDescriptor : "descriptor"
  return `${reason.module}.${reason.method}: ${reason._tag} ${codeOf(reason.cause)} ${JSON.stringify(about)}`
}

const text = (content: Uint8Array) =>
  `${content.length} ${JSON.stringify(new TextDecoder("latin1").decode(content.subarray(0, 40)))}`

export interface Runner {
  /** Runs one operation and tells what came of it. */
  readonly run: (operation: Operation) => Effect.Effect<string>
  /** Everything in the directory. */
  readonly snapshot: Effect.Effect<string>
  readonly close: Effect.Effect<void>
}

/** Runs operations in a directory. */
export const runner = (files: FileSystem.FileSystem, root: string): Runner => {
  const slots = new Map<number, { readonly file: FileSystem.File; readonly scope: Scope.Closeable }>()
  const at = (path: string) => (path === "" ? "" : `${root}/${path}`)
  const told = <A, E extends PlatformError.PlatformError>(effect: Effect.Effect<A, E>, show: (value: A) => unknown) =>
    Effect.matchCause(effect, {
      onFailure: (cause) => {
        const [reason] = cause.reasons
        return reason?._tag === "Fail" ? describeError(reason.error) : `died: ${String(reason)}`
      },
      onSuccess: (value) => `ok ${JSON.stringify(show(value)) ?? ""}`
    }).pipe(Effect.map((line) => line.replaceAll(root, "ROOT")))
  const close = (slot: number) =>
    Effect.suspend(() => {
      const opened = slots.get(slot)
      slots.delete(slot)
      return opened === undefined ? Effect.void : Scope.close(opened.scope, Exit.void)
    })
  const nothing = () => undefined

  const use = (file: FileSystem.File, step: Step) =>
    Step.match(step, {
      Read: ({ size }) => {
        const buffer = new Uint8Array(size)
        return told(file.read(buffer), (count) => [count, text(buffer)])
      },
      ReadAt: ({ position, size }) => {
        const buffer = new Uint8Array(size)
        return told(file.read(buffer, { position: BigInt(position) }), (count) => [count, text(buffer)])
      },
      ReadAlloc: ({ size }) => told(file.readAlloc(size), (found) => Option.getOrUndefined(Option.map(found, text))),
      Seek: ({ from, offset }) => told(file.seek(BigInt(offset), from), String),
      Write: ({ data }) => told(file.write(bytes(data)), (count) => count),
      WriteAll: ({ data }) => told(file.writeAll(bytes(data)), nothing),
      Truncate: ({ size }) => told(file.truncate(size), nothing),
      Stat: () => told(file.stat, (info) => describeInfo(info, false)),
      Sync: () => told(file.sync, nothing)
    })

  const run = (operation: Operation): Effect.Effect<string> =>
    Operation.match(operation, {
      WriteFile: ({ data, path, ...options }) => told(files.writeFile(at(path), bytes(data), options), nothing),
      ReadFile: ({ path }) => told(files.readFile(at(path)), text),
      MakeDirectory: ({ path, ...options }) => told(files.makeDirectory(at(path), options), nothing),
      Remove: ({ path, ...options }) => told(files.remove(at(path), options), nothing),
      Rename: ({ from, to }) => told(files.rename(at(from), at(to)), nothing),
      Link: ({ from, to }) => told(files.link(at(from), at(to)), nothing),
      Symlink: ({ path, target }) => told(files.symlink(target.replace("ROOT", root), at(path)), nothing),
      ReadLink: ({ path }) => told(files.readLink(at(path)), (target) => target),
      RealPath: ({ path }) => (path === "" ? Effect.succeed("") : told(files.realPath(at(path)), (real) => real)),
      Stat: ({ path }) => told(files.stat(at(path)), (info) => describeInfo(info, false)),
      Lstat: ({ path }) => told(files.lstat(at(path)), (info) => describeInfo(info, false)),
      Access: ({ path, ...options }) => told(files.access(at(path), options), nothing),
      Exists: ({ path }) => told(files.exists(at(path)), (exists) => exists),
      Chmod: ({ mode, path }) => told(files.chmod(at(path), mode), nothing),
      Chown: ({ gid, path, uid }) => told(files.chown(at(path), uid, gid), nothing),
      Truncate: ({ path, size }) => told(files.truncate(at(path), size), nothing),
      Utimes: ({ accessed, modified, path }) =>
        told(Effect.andThen(files.utimes(at(path), accessed, modified), files.stat(at(path))), (info) => [
          Option.getOrThrow(info.atime).getTime(),
          Option.getOrThrow(info.mtime).getTime()
        ]),
      Copy: ({ from, overwrite, preserve, to }) =>
        told(files.copy(at(from), at(to), { overwrite, preserveTimestamps: preserve }), nothing),
      CopyFile: ({ from, to }) => told(files.copyFile(at(from), at(to)), nothing),
      ReadDirectory: ({ path, recursive }) => told(files.readDirectory(at(path), { recursive }), (names) => names),
      Entries: ({ path }) => told(files.readDirectoryEntries(at(path)), (entries) => entries),
      // It looks at several things at the same time; which of them fails first is by chance.
      Glob: ({ path, pattern }) =>
        Effect.map(
          told(files.glob(pattern, { root: `${root}/${path}` }), (found) => found),
          (line) => (line.startsWith("ok") ? line : "failed")
        ),
      StreamFile: ({ bytes, offset, path }) =>
        told(Stream.runCollect(files.stream(at(path), { offset, bytesToRead: bytes })), (chunks) => chunks.map(text)),
      SinkFile: ({ data, flag, path }) =>
        told(Stream.run(Stream.fromIterable(data.map(bytes)), files.sink(at(path), { flag })), nothing),
      Open: ({ flag, noFollow, path, slot }) =>
        Effect.gen(function* () {
          yield* close(slot)
          const scope = yield* Scope.make()
          return yield* told(Scope.provide(files.open(at(path), { flag, noFollow }), scope), (file) => {
            slots.set(slot, { file, scope })
          })
        }),
      Use: ({ slot, step }) => {
        const opened = slots.get(slot)
        return opened === undefined ? Effect.succeed("nothing open") : use(opened.file, step)
      },
      Close: ({ slot }) => Effect.as(close(slot), "closed")
    })

  const list = (path: string): Effect.Effect<ReadonlyArray<string>, PlatformError.PlatformError> =>
    Effect.gen(function* () {
      const info = yield* files.lstat(path)
      const line = `${path.replace(root, "ROOT")} ${describeInfo(info, path === root)}`
      if (info.type === "SymbolicLink") {
        return [`${line} -> ${(yield* files.readLink(path)).replaceAll(root, "ROOT")}`]
      }
      if (info.type !== "Directory") return [`${line} ${text(yield* files.readFile(path))}`]
      const lines = [line]
      for (const name of yield* files.readDirectory(path)) lines.push(...(yield* list(`${path}/${name}`)))
      return lines
    })

  return {
    run,
    snapshot: Effect.match(list(root), { onSuccess: (lines) => lines.join("\n"), onFailure: describeError }),
    close: Effect.andThen(close(0), close(1))
  }
}

/**
 * Whether it can be foretold what an operation does on Node. Some do several things at the same time, or in the order in
 * which the disk happens to list names; what they leave when they fail half-way is by chance.
 */
export const inOrder = (
  operation: Operation,
  made: VirtualFileSystem.VirtualFileSystem,
  view: VirtualFileSystem.ViewOptions,
  root: string
): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    const trial = Effect.flatMap(made.clone, (clone) => {
      const { run } = runner(clone.view(view), root)
      return run(operation)
    })
    const succeeds = Effect.map(trial, (line) => line.startsWith("ok"))
    const typeAt = (path: string) =>
      Effect.match(made.view(view).lstat(path === "" ? "" : `${root}/${path}`), {
        onSuccess: (info): string => info.type,
        onFailure: (error) => error.reason._tag
      })
    switch (operation._tag) {
      // Links to directories are followed here, in circles as well; two of them take longer than anybody waits.
      case "ReadDirectory":
        return !operation.recursive || made.usage().links === 0
      // The paths by which things are removed may lead through what is being removed. And whatever a sticky directory
      // protects is taken for a directory, whose entries may be removed: those of the target when it is a link.
      case "Remove":
        if (operation.recursive) return !operation.path.endsWith("..") && (yield* succeeds)
        return !(yield* trial).includes("EPERM")
      // Of a tree that cannot be copied whole, anything may have been copied; and source and target are looked at together.
      case "Copy": {
        const [from, to] = yield* Effect.all([typeAt(operation.from), typeAt(operation.to)])
        if (yield* succeeds) return true
        if (from === "Directory") return to !== "Directory" && to !== "NotFound"
        const isThere = (what: string) => ["File", "Directory", "SymbolicLink"].includes(what)
        return isThere(from) || isThere(to) || to === "NotFound"
      }
      default:
        return true
    }
  })
