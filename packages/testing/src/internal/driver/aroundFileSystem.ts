/** A file system whose every operation, also on open files, goes through one function. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"

/** Is given the method's name and the path (of an open file, that it was opened by), and the operation. */
export interface Around {
  readonly effect: <A, R>(
    method: string,
    path: string,
    operation: Effect.Effect<A, PlatformError, R>
  ) => Effect.Effect<A, PlatformError, R>
  /** For what goes on after it was begun: the events of a watched path. */
  readonly stream: <A, R>(stream: Stream.Stream<A, PlatformError, R>) => Stream.Stream<A, PlatformError, R>
}

export const aroundFileSystem = (files: FileSystem.FileSystem, around: Around): FileSystem.FileSystem => {
  const on =
    <Rest extends ReadonlyArray<unknown>, A, R>(
      method: string,
      use: (path: string, ...rest: Rest) => Effect.Effect<A, PlatformError, R>
    ) =>
    (path: string, ...rest: Rest): Effect.Effect<A, PlatformError, R> =>
      around.effect(
        method,
        path,
        Effect.suspend(() => use(path, ...rest))
      )

  const temporary =
    <O extends { readonly directory?: string | undefined }, R>(
      method: string,
      use: (options?: O) => Effect.Effect<string, PlatformError, R>
    ) =>
    (options?: O): Effect.Effect<string, PlatformError, R> =>
      around.effect(
        method,
        options?.directory ?? "",
        Effect.suspend(() => use(options))
      )

  /** The other methods of `FileSystem` are made of these. */
  return FileSystem.make({
    access: on("access", files.access),
    copy: on("copy", files.copy),
    copyFile: on("copyFile", files.copyFile),
    chmod: on("chmod", files.chmod),
    chown: on("chown", files.chown),
    link: on("link", files.link),
    lstat: on("lstat", files.lstat),
    makeDirectory: on("makeDirectory", files.makeDirectory),
    makeTempDirectory: temporary("makeTempDirectory", files.makeTempDirectory),
    makeTempDirectoryScoped: temporary("makeTempDirectory", files.makeTempDirectoryScoped),
    makeTempFile: temporary("makeTempFile", files.makeTempFile),
    makeTempFileScoped: temporary("makeTempFile", files.makeTempFileScoped),
    open: on("open", (path, options?: Parameters<FileSystem.FileSystem["open"]>[1]) =>
      Effect.map(files.open(path, options), (file) => aroundFile(file, path, around))
    ),
    readDirectory: on("readDirectory", files.readDirectory),
    readDirectoryEntries: on("readDirectory", files.readDirectoryEntries),
    readFile: on("readFile", files.readFile),
    readLink: on("readLink", files.readLink),
    realPath: on("realPath", files.realPath),
    remove: on("remove", files.remove),
    rename: on("rename", files.rename),
    stat: on("stat", files.stat),
    symlink: (from, to) => around.effect("symlink", to, files.symlink(from, to)),
    truncate: on("truncate", files.truncate),
    utimes: on("utimes", files.utimes),
    watch: (path, options) =>
      Stream.unwrap(
        around.effect(
          "watch",
          path,
          Effect.sync(() => around.stream(files.watch(path, options)))
        )
      ),
    writeFile: on("writeFile", files.writeFile)
  })
}

const aroundFile = (file: FileSystem.File, path: string, { effect: around }: Around): FileSystem.File => ({
  [FileSystem.FileTypeId]: FileSystem.FileTypeId,
  stat: around("stat", path, file.stat),
  seek: (offset, from) => around("seek", path, file.seek(offset, from)),
  sync: around("sync", path, file.sync),
  read: (buffer, options) => around("read", path, file.read(buffer, options)),
  readAlloc: (size, options) => around("read", path, file.readAlloc(size, options)),
  truncate: (length) => around("truncate", path, file.truncate(length)),
  write: (buffer) => around("write", path, file.write(buffer)),
  writeAll: (buffer) => around("write", path, file.writeAll(buffer))
})
