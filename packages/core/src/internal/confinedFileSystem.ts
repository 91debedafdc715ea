/**
 * A file system that ends at some directories' edges: relative paths start in the first of them, and what leads out of
 * all of them, by `..`, as an absolute path or through a symbolic link, is `PermissionDenied`.
 *
 * Paths are checked before they are used. A process inside the sandbox that swaps a directory for a link in between can
 * win that race; where that matters, files are exchanged while no untrusted command is running.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as PlatformError from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CallLifetime } from "../SandboxDriver.ts"

/** What an operation does with the last component of its path, and to its content. */
interface Access {
  /** Whether a symbolic link there is followed. */
  readonly follow: boolean
  readonly write: boolean
}

const reading: Access = { follow: true, write: false }
const writing: Access = { follow: true, write: true }
const entry: Access = { follow: false, write: true }

export interface Places {
  /** Where relative paths start. */
  readonly workspace: string
  /** Where temporary files go. */
  readonly temporary: string
  /** Kept between sessions; only set-up may write here. */
  readonly home: string
}

export const make = (files: FileSystem.FileSystem, path: Path.Path, places: Places): FileSystem.FileSystem => {
  const denied = (method: string, given: string, description: string) =>
    PlatformError.systemError({
      _tag: "PermissionDenied",
      module: "FileSystem",
      method,
      pathOrDescriptor: given,
      description
    })

  const isWithin = (root: string, target: string): boolean => target === root || target.startsWith(root + path.sep)

  /** Where a path ends up, links resolved, also when its last components do not exist yet. */
  const real = (target: string): Effect.Effect<string, PlatformError.PlatformError> =>
    Effect.catchIf(
      files.realPath(target),
      (error) => error.reason._tag === "NotFound",
      (error) =>
        Effect.flatMap(Effect.option(files.readLink(target)), (link) => {
          // A dangling link would be followed by whoever creates its target.
          if (link._tag === "Some") return real(path.resolve(path.dirname(target), link.value))
          const parent = path.dirname(target)
          if (parent === target) return Effect.fail(error)
          return Effect.map(real(parent), (resolved) => path.join(resolved, path.basename(target)))
        })
    )

  /** The path to use in place of the one that was given. */
  const confine = (method: string, given: string, access: Access) =>
    Effect.gen(function* () {
      const target = path.resolve(places.workspace, given)
      const resolved = access.follow
        ? yield* real(target)
        : path.join(yield* real(path.dirname(target)), path.basename(target))
      if (isWithin(places.workspace, resolved) || isWithin(places.temporary, resolved)) return resolved
      if (!isWithin(places.home, resolved)) return yield* denied(method, given, "the path leads out of the sandbox")
      if (access.write && (yield* CallLifetime) === "session") {
        return yield* denied(method, given, "sessions cannot change what set-up has put there")
      }
      return resolved
    })

  const on = <A, R>(
    method: string,
    given: string,
    access: Access,
    use: (path: string) => Effect.Effect<A, PlatformError.PlatformError, R>
  ): Effect.Effect<A, PlatformError.PlatformError, R> => Effect.flatMap(confine(method, given, access), use)

  const onBoth = <A>(
    method: string,
    from: readonly [path: string, access: Access],
    to: readonly [path: string, access: Access],
    use: (from: string, to: string) => Effect.Effect<A, PlatformError.PlatformError>
  ) => on(method, ...from, (source) => on(method, ...to, (target) => use(source, target)))

  /** Removing or renaming a root would take the sandbox apart. */
  const unlessRoot = (
    method: string,
    resolved: string,
    effect: Effect.Effect<void, PlatformError.PlatformError>
  ): Effect.Effect<void, PlatformError.PlatformError> =>
    Object.values(places).includes(resolved)
      ? Effect.fail(denied(method, resolved, "the directory belongs to the sandbox"))
      : effect

  const inTemporary = <O extends { readonly directory?: string | undefined }, A, R>(
    method: string,
    options: O | undefined,
    use: (options: O & { readonly directory: string }) => Effect.Effect<A, PlatformError.PlatformError, R>
  ): Effect.Effect<A, PlatformError.PlatformError, R> =>
    on(
      method,
      options?.directory ?? places.temporary,
      writing,
      (directory) => use({ ...options, directory } as O & { readonly directory: string }) // `O` has nothing but options
    )

  return FileSystem.make({
    access: (given, options) => on("access", given, reading, (target) => files.access(target, options)),
    copy: (from, to, options) =>
      onBoth("copy", [from, reading], [to, writing], (source, target) => files.copy(source, target, options)),
    copyFile: (from, to) => onBoth("copyFile", [from, reading], [to, writing], files.copyFile),
    chmod: (given, mode) => on("chmod", given, writing, (target) => files.chmod(target, mode)),
    chown: (given, uid, gid) => on("chown", given, writing, (target) => files.chown(target, uid, gid)),
    link: (from, to) => onBoth("link", [from, writing], [to, entry], files.link),
    lstat: (given) => on("lstat", given, { follow: false, write: false }, files.lstat),
    makeDirectory: (given, options) =>
      on("makeDirectory", given, writing, (target) => files.makeDirectory(target, options)),
    makeTempDirectory: (options) => inTemporary("makeTempDirectory", options, files.makeTempDirectory),
    makeTempDirectoryScoped: (options) => inTemporary("makeTempDirectory", options, files.makeTempDirectoryScoped),
    makeTempFile: (options) => inTemporary("makeTempFile", options, files.makeTempFile),
    makeTempFileScoped: (options) => inTemporary("makeTempFile", options, files.makeTempFileScoped),
    open: (given, options) =>
      on("open", given, { follow: options?.noFollow !== true, write: (options?.flag ?? "r") !== "r" }, (target) =>
        Effect.flatMap(files.open(target, options), (file) => untilClosed(file, given))
      ),
    readDirectory: (given, options) =>
      on("readDirectory", given, reading, (target) => files.readDirectory(target, options)),
    readDirectoryEntries: (given) => on("readDirectory", given, reading, files.readDirectoryEntries),
    readFile: (given) => on("readFile", given, reading, files.readFile),
    readLink: (given) => on("readLink", given, { follow: false, write: false }, files.readLink),
    realPath: (given) => on("realPath", given, reading, files.realPath),
    remove: (given, options) =>
      on("remove", given, entry, (target) => unlessRoot("remove", target, files.remove(target, options))),
    rename: (from, to) =>
      onBoth("rename", [from, entry], [to, entry], (source, target) =>
        unlessRoot("rename", source, unlessRoot("rename", target, files.rename(source, target)))
      ),
    stat: (given) => on("stat", given, reading, files.stat),
    // Where the link leads does not matter here: it is checked whenever somebody follows it.
    symlink: (from, to) => on("symlink", to, entry, (target) => files.symlink(from, target)),
    truncate: (given, length) => on("truncate", given, writing, (target) => files.truncate(target, length)),
    utimes: (given, atime, mtime) => on("utimes", given, writing, (target) => files.utimes(target, atime, mtime)),
    watch: (given, options) =>
      Stream.unwrap(Effect.map(confine("watch", given, reading), (target) => files.watch(target, options))),
    writeFile: (given, data, options) =>
      on("writeFile", given, writing, (target) => files.writeFile(target, data, options))
  })
}

/** Refuses to work once the scope has closed, when the descriptor's number may already be that of another file. */
const untilClosed = (file: FileSystem.File, path: string): Effect.Effect<FileSystem.File, never, Scope.Scope> =>
  Effect.gen(function* () {
    let isOpen = true
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isOpen = false
      })
    )
    const whileOpen = <A>(
      method: string,
      operation: () => Effect.Effect<A, PlatformError.PlatformError>
    ): Effect.Effect<A, PlatformError.PlatformError> =>
      Effect.suspend(() =>
        isOpen
          ? operation()
          : Effect.fail(
              PlatformError.systemError({
                _tag: "BadResource",
                module: "FileSystem",
                method,
                pathOrDescriptor: path,
                description: "the file is closed"
              })
            )
      )
    return {
      [FileSystem.FileTypeId]: FileSystem.FileTypeId,
      stat: whileOpen("stat", () => file.stat),
      seek: (offset, from) => whileOpen("seek", () => file.seek(offset, from)),
      sync: whileOpen("sync", () => file.sync),
      read: (buffer, options) => whileOpen("read", () => file.read(buffer, options)),
      readAlloc: (size, options) => whileOpen("readAlloc", () => file.readAlloc(size, options)),
      truncate: (length) => whileOpen("truncate", () => file.truncate(length)),
      write: (buffer) => whileOpen("write", () => file.write(buffer)),
      writeAll: (buffer) => whileOpen("writeAll", () => file.writeAll(buffer))
    }
  })
