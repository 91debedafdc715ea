/** Effect's `FileSystem` over a volume, as one user sees it. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import type { ViewOptions } from "../../VirtualFileSystem.ts"
import * as attributes from "./virtualAttributes.ts"
import { copy, copyFile } from "./virtualCopy.ts"
import * as file from "./virtualFile.ts"
import * as names from "./virtualNames.ts"
import { permission, sorted } from "./virtualNode.ts"
import * as open from "./virtualOpen.ts"
import { realPath } from "./virtualPath.ts"
import * as system from "./virtualSystem.ts"
import * as temporary from "./virtualTemporary.ts"
import { listTree, makeDirectories, remove } from "./virtualTrees.ts"
import type { Volume } from "./virtualVolume.ts"
import * as watch from "./virtualWatch.ts"

export const make = (volume: Volume, options: ViewOptions): FileSystem.FileSystem => {
  const seen = system.make(volume, options)
  const { call } = seen
  return FileSystem.make({
    access: (path, options) =>
      call("access", path, (caller) => {
        const read = options?.readable === true ? permission.read : 0
        const write = options?.writable === true ? permission.write : 0
        return attributes.access(volume, caller, path, read | write)
      }),
    chmod: (path, mode) => call("chmod", path, (caller) => attributes.changeMode(volume, caller, path, mode)),
    chown: (path, uid, gid) => call("chown", path, (caller) => attributes.changeOwner(volume, caller, path, uid, gid)),
    copy: (from, to, options = {}) => call("copy", from, (caller) => copy(volume, caller, from, to, options), to),
    copyFile: (from, to) => call("copyFile", from, (caller) => copyFile(volume, caller, from, to), to),
    link: (from, to) => call("link", from, (caller) => names.link(volume, caller, from, to), to),
    lstat: (path) => call("lstat", path, (caller) => attributes.stat(volume, caller, path, "before slash")),
    makeDirectory: (path, options) =>
      call("makeDirectory", path, (caller) =>
        Result.flatMap(attributes.checkMode(options?.mode ?? 0o777), (mode) =>
          options?.recursive === true
            ? makeDirectories(volume, caller, path, mode)
            : names.makeDirectory(volume, caller, path, mode)
        )
      ),
    open: (path, options = {}) =>
      Effect.map(
        Effect.acquireRelease(
          call("open", path, (caller) =>
            Result.flatMap(attributes.checkMode(options.mode ?? 0o666), (mode) =>
              open.open(volume, caller, path, options.flag ?? "r", mode, options.noFollow)
            )
          ),
          (opened) => Effect.sync(() => open.close(volume, opened))
        ),
        (opened) => file.make(volume, opened)
      ),
    readDirectory: (path, options) =>
      call("readDirectory", path, (caller) => {
        if (options?.recursive === true) return listTree(volume, caller, path)
        const directory = attributes.readDirectory(volume, caller, path)
        return Result.map(directory, (directory) => sorted(directory).map(({ name }) => name))
      }),
    readDirectoryEntries: (path) =>
      call("readDirectoryEntries", path, (caller) => {
        const directory = attributes.readDirectory(volume, caller, path)
        return Result.map(directory, (directory) =>
          sorted(directory).map(({ name, node }) => ({ name, type: node._tag }))
        )
      }),
    readFile: (path) => call("readFile", path, (caller) => open.readFile(volume, caller, path)),
    readLink: (path) => call("readLink", path, (caller) => names.readLink(volume, caller, path)),
    realPath: (path) => call("realPath", path, (caller) => realPath(volume, caller, path)),
    remove: (path, options = {}) => call("remove", path, (caller) => remove(volume, caller, path, options)),
    rename: (from, to) => call("rename", from, (caller) => names.rename(volume, caller, from, to), to),
    stat: (path) => call("stat", path, (caller) => attributes.stat(volume, caller, path, "always")),
    symlink: (target, path) => call("symlink", target, (caller) => names.symlink(volume, caller, target, path), path),
    truncate: (path, length = 0) => call("truncate", path, (caller) => open.truncatePath(volume, caller, path, length)),
    utimes: (path, accessed, modified) =>
      call("utime", path, (caller) => attributes.changeTimes(volume, caller, path, accessed, modified)),
    watch: watch.make(seen),
    writeFile: (path, data, options = {}) =>
      call("writeFile", path, (caller) =>
        Result.flatMap(attributes.checkMode(options.mode ?? 0o666), (mode) =>
          open.writeFile(volume, caller, path, data, options.flag, mode)
        )
      ),
    ...temporary.make(seen, options.temporary ?? "/tmp")
  })
}
