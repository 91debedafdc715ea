/**
 * A file system in memory: Effect's `FileSystem` for tests of any program that is written against it, and what simulated
 * sandboxes have. It behaves as Linux does beneath the Node platform: links, permissions, open files, times, watching and
 * a full disk, with the same errors. Times are the `Clock`'s, names of temporary files the `Random`'s, and every operation
 * happens at once, so that a run can be repeated.
 *
 * ```ts
 * import { assert, it } from "@effect/vitest"
 * import { Effect, FileSystem } from "effect"
 * import { VirtualFileSystem } from "@effect-sandbox/testing"
 *
 * it.effect("only the owner reads the key", () =>
 *   Effect.gen(function*() {
 *     const files = yield* VirtualFileSystem.make({
 *       files: { "/etc/key": { content: "secret", mode: 0o600 }, "/etc/motd": "hello" }
 *     })
 *     const guest = files.view({ user: Effect.succeed({ uid: 1000, gid: 1000 }) })
 *     assert.strictEqual(yield* guest.readFileString("/etc/motd"), "hello")
 *     const error = yield* Effect.flip(guest.readFileString("/etc/key"))
 *     assert.strictEqual(error.reason._tag, "PermissionDenied")
 *     assert.deepStrictEqual(files.tree("/etc"), ["-rw------- 0:0 6 /etc/key", "-rw-r--r-- 0:0 5 /etc/motd"])
 *   }))
 *
 * it.effect("or as a layer", () =>
 *   Effect.gen(function*() {
 *     const files = yield* FileSystem.FileSystem
 *     yield* files.writeFileString("notes.txt", "in /home/ada")
 *   }).pipe(Effect.provide(VirtualFileSystem.layer({ workdir: "/home/ada" }))))
 * ```
 */
import * as OptionCheck from "@effect-sandbox/core/Options"
import { InvalidConfigurationError } from "@effect-sandbox/core/SandboxError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { lines } from "./internal/files/virtualLines.ts"
import { type DeviceName, superuser } from "./internal/files/virtualNode.ts"
import { lookup } from "./internal/files/virtualPath.ts"
import * as view from "./internal/files/virtualView.ts"
import * as volume from "./internal/files/virtualVolume.ts"

export { type Errno, SystemCallError } from "./internal/files/virtualError.ts"

/** Who asks. User 0 may do nearly everything, as usual. */
export interface User {
  readonly uid: number
  readonly gid: number
}

export interface ViewOptions {
  /** Where relative paths start. Default: `/`. */
  readonly workdir?: string | undefined
  /** Asked at every operation, so that a view can change its user. Default: root (0:0). */
  readonly user?: Effect.Effect<User> | undefined
  /** The permissions that new files and directories do not get. Default: 0o022. */
  readonly umask?: number | undefined
  /** Where temporary files go unless told otherwise. Default: `/tmp`. */
  readonly temporary?: string | undefined
}

/** What there is and what is in use, for tests that look for leaks. */
export interface Usage {
  /** Regular files, once each however many names they have, and those that only an open handle still keeps. */
  readonly files: number
  /** Directories, the root among them. */
  readonly directories: number
  /** Symbolic links. */
  readonly links: number
  /** What the files keep, in bytes: their sizes without the pieces of 64 KiB that nothing was written to. */
  readonly bytes: number
  /** Open handles. */
  readonly handles: number
  /** Running `watch` streams. */
  readonly watchers: number
}

/** A file, a link or a directory that is there from the start. A text is written as UTF-8. Owners default to root. */
export type InitialFile =
  | string
  | Uint8Array
  | {
      readonly content: string | Uint8Array
      /** Default: 0o644. */
      readonly mode?: number | undefined
      readonly uid?: number | undefined
      readonly gid?: number | undefined
    }
  | { readonly link: string }
  | {
      readonly directory: true
      /** Default: 0o755. */
      readonly mode?: number | undefined
      readonly uid?: number | undefined
      readonly gid?: number | undefined
    }

export interface Options {
  /** How many bytes fit; writing more fails as a full disk does. Default: no limit. */
  readonly capacity?: number | undefined
  /** What there is at the start, by path; missing parents are made. Default: nothing. */
  readonly files?: { readonly [path: string]: InitialFile } | undefined
  /** Whether there are `/dev/null`, `/dev/zero`, `/dev/full` and `/dev/urandom`. Default: true. */
  readonly devices?: boolean | undefined
}

export interface VirtualFileSystem {
  /** Effect's `FileSystem` as one user sees it. All views show the same files. */
  readonly view: (options?: ViewOptions) => FileSystem.FileSystem
  readonly usage: () => Usage
  /**
   * Everything below a path as lines for assertions, directories before what is in them, names in order: permissions,
   * owner, size of a file, path, and where a link leads. No times. Empty when there is nothing by the path. Default: `/`.
   */
  readonly tree: (path?: string) => ReadonlyArray<string>
  /** An independent copy, without open handles and watchers. It takes room only where the two come to differ. */
  readonly clone: Effect.Effect<VirtualFileSystem>
}

const name = "VirtualFileSystem"

const OptionsSchema = Schema.Struct({
  capacity: Schema.optional(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))),
  files: Schema.optional(Schema.Record(Schema.String, Schema.Unknown)),
  devices: Schema.optional(Schema.Boolean)
})

const Content = Schema.Union([Schema.String, Schema.Uint8Array])
const Id = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 32 - 2 }))
const attributes = {
  mode: Schema.optional(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0o7777 }))),
  uid: Schema.optional(Id),
  gid: Schema.optional(Id)
}
const LinkSchema = Schema.Struct({ link: Schema.String })
const DirectorySchema = Schema.Struct({ directory: Schema.Literal(true), ...attributes })
const FileSchema = Schema.Struct({ content: Content, ...attributes })

/** The one that was meant: problems with all of them at once would help nobody. */
const schemaOf = (file: InitialFile) => {
  if (typeof file === "string" || file instanceof Uint8Array) return Content
  if ("link" in file) return LinkSchema
  return "directory" in file ? DirectorySchema : FileSchema
}

const deviceNames: ReadonlyArray<DeviceName> = ["null", "zero", "full", "urandom"]

/**
 * A new file system with a `/tmp` for everybody. Fails when an option makes no sense, and when one of `files` cannot be
 * made.
 */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<VirtualFileSystem, InvalidConfigurationError> {
  yield* OptionCheck.check(name, OptionsSchema, options)
  const issues = Object.entries(options.files ?? {}).flatMap(([path, file]) =>
    OptionCheck.problemsOf(schemaOf(file), file, `files.${path}`)
  )
  if (issues.length > 0) return yield* new InvalidConfigurationError({ subject: name, issues })
  const path = yield* Effect.provide(Path.Path, Path.layer)
  const now = yield* Clock.currentTimeMillis
  const made = volume.make(path, options.capacity ?? Number.POSITIVE_INFINITY, now)
  const { root } = made
  const maker = (mode: number): volume.Maker => ({ user: superuser, mode, now })
  made.makeDirectory(root, "tmp", maker(0o1777))
  if (options.devices !== false) {
    const { node } = made.makeDirectory(root, "dev", maker(0o755))
    if (node._tag === "Directory") for (const device of deviceNames) made.makeDevice(node, device, device, maker(0o666))
  }
  const files = view.make(made, { umask: 0 })
  for (const [path, file] of Object.entries(options.files ?? {})) {
    yield* Effect.mapError(put(files, made.path, path, file), invalid(`files.${path}`))
  }
  return over(made)
})

/** A `FileSystem` of its own. `workdir` and `temporary` are made when they are missing, and belong to `user`. */
export const layer = (
  options: Options & ViewOptions = {}
): Layer.Layer<FileSystem.FileSystem, InvalidConfigurationError> =>
  Layer.effect(
    FileSystem.FileSystem,
    Effect.gen(function* () {
      const { capacity, devices, files, ...seen } = options
      const made = yield* make({ capacity, devices, files })
      const user = yield* seen.user ?? Effect.succeed(superuser)
      const admin = made.view()
      for (const option of ["workdir", "temporary"] as const) {
        const path = seen[option]
        if (path !== undefined) yield* Effect.mapError(prepare(admin, path, user), invalid(option))
      }
      return made.view(seen)
    })
  )

const over = (made: volume.Volume): VirtualFileSystem => ({
  view: (options = {}) => view.make(made, options),
  usage: made.usage,
  tree: (path = "/") => {
    const found = lookup(made, { user: superuser, workdir: "/" }, path, "before slash")
    return Result.isFailure(found) ? [] : lines(found.success, made.path.resolve("/", path))
  },
  clone: Effect.sync(() => over(made.clone()))
})

const invalid = (path: string) => (error: PlatformError) => {
  const message = error.reason.description ?? error.message
  return new InvalidConfigurationError({ subject: name, issues: [{ path, message }] })
}

const prepare = Effect.fnUntraced(function* (files: FileSystem.FileSystem, path: string, user: User) {
  if (yield* files.exists(path)) return
  yield* files.makeDirectory(path, { recursive: true })
  yield* files.chown(path, user.uid, user.gid)
})

const put = Effect.fnUntraced(function* (
  files: FileSystem.FileSystem,
  { dirname, resolve }: Path.Path,
  given: string,
  file: InitialFile
) {
  const path = resolve("/", given)
  yield* files.makeDirectory(dirname(path), { recursive: true, mode: 0o755 })
  const described = typeof file === "string" || file instanceof Uint8Array ? { content: file } : file
  if ("link" in described) return yield* files.symlink(described.link, path)
  const { gid = 0, mode, uid = 0 } = described
  if ("directory" in described) {
    const isNew = !(yield* files.exists(path))
    yield* files.makeDirectory(path, { recursive: true, mode: 0o755 })
    if (isNew || uid !== 0 || gid !== 0) yield* files.chown(path, uid, gid)
    if (mode !== undefined) yield* files.chmod(path, mode)
    return
  }
  const { content } = described
  yield* typeof content === "string"
    ? files.writeFileString(path, content, { flag: "wx" })
    : files.writeFile(path, content, { flag: "wx" })
  // In this order: a change of the owner takes the set-user bit away.
  yield* files.chown(path, uid, gid)
  yield* files.chmod(path, mode ?? 0o644)
})
