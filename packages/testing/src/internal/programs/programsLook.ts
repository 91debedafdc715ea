/** Built-in programs that look at files: `find`, `ls`, `readlink`, `realpath`, `stat`. */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as errno from "../processes/processErrno.ts"
import * as files from "../processes/processFiles.ts"
import * as calls from "./programsCall.ts"
import * as pattern from "../shell/shellPattern.ts"

type Info = FileSystem.File.Info

/** As the C locale sorts. */
const sortedNames = (names: ReadonlyArray<string>): ReadonlyArray<string> =>
  names.toSorted((left, right) => (left < right ? -1 : left > right ? 1 : 0))

const permissions = ({ mode, type }: Info): string => {
  const kind = { Directory: "d", SymbolicLink: "l", CharacterDevice: "c", FIFO: "p", Socket: "s" }
  const first = Object.hasOwn(kind, type) ? kind[type as keyof typeof kind] : "-" // `hasOwn` has just told
  return `${first}${[6, 3, 0]
    .map((shift) => [4, 2, 1].map((bit, index) => ((mode >> shift) & bit ? "rwx"[index] : "-")).join(""))
    .join("")}`
}

const ls = calls.withOptions(
  "ls",
  "aA1dlRrt",
  (call, { flags, operands }) =>
    Effect.gen(function* () {
      const view = call.process.files
      const line = (name: string, info: Info): string =>
        flags.has("l")
          ? `${permissions(info)} ${Option.getOrElse(info.nlink, () => 1n)} ${Option.getOrElse(info.uid, () => 0)} ${Option.getOrElse(info.gid, () => 0)} ${ByteSize.toBigInt(info.size)} ${name}\n`
          : `${name}\n`
      const list = (path: string) =>
        Effect.gen(function* () {
          const entries = yield* view.readDirectory(path)
          const all = flags.has("a") ? [".", "..", ...entries] : entries
          const shown = sortedNames(all.filter((name) => flags.has("a") || flags.has("A") || !name.startsWith(".")))
          if (!flags.has("l")) return shown.map((name) => `${name}\n`).join("")
          const lines: Array<string> = []
          for (const name of shown) lines.push(line(name, yield* view.lstat(`${path}/${name}`)))
          return lines.join("")
        })
      const names: Array<string> = []
      const directories: Array<string> = []
      const code = yield* calls.each(
        call,
        sortedNames(operands.length === 0 ? ["."] : operands),
        (name) => `cannot access '${name}'`,
        (name) =>
          Effect.gen(function* () {
            const info = yield* Effect.catch(view.stat(name), () => view.lstat(name))
            if (info.type === "Directory" && !flags.has("d")) directories.push(name)
            else names.push(line(name, info))
          })
      )
      yield* calls.out(call, names.join(""))
      const listed = yield* calls.each(
        call,
        directories,
        (name) => `cannot open directory '${name}'`,
        (name) =>
          Effect.gen(function* () {
            const heading =
              operands.length > 1 ? `${name === directories[0] && names.length === 0 ? "" : "\n"}${name}:\n` : ""
            yield* calls.out(call, heading + (yield* list(name)))
          })
      )
      return code === 0 && listed === 0 ? 0 : 2
    }),
  { usage: 2 }
)

type Test = (entry: { readonly name: string; readonly info: Info; readonly children: number }) => boolean

const kinds: { readonly [letter: string]: FileSystem.File.Type } = {
  f: "File",
  d: "Directory",
  l: "SymbolicLink",
  c: "CharacterDevice"
}

const find = calls.program("find", (call) =>
  Effect.gen(function* () {
    const { args, process } = call
    const firstOption = args.findIndex((arg) => arg.startsWith("-") || arg === "!")
    const roots = firstOption < 0 ? args : args.slice(0, firstOption)
    const tests: Array<Test> = []
    const depths = { min: 0, max: Infinity }
    let separator = "\n"
    let isDeleting = false
    let negated = false
    const add = (test: Test): void => {
      const isNegated = negated
      tests.push((entry) => test(entry) !== isNegated)
      negated = false
    }
    for (let i = firstOption < 0 ? args.length : firstOption; i < args.length; i++) {
      const option = args[i]
      const value = () => args[++i] ?? ""
      if (option === "!" || option === "-not") negated = true
      else if (option === "-type") {
        const wanted = value().split(",")
        add(({ info }) => wanted.some((letter) => info.type === kinds[letter]))
      } else if (option === "-name") {
        const matches = pattern.compile(value())
        add(({ name }) => matches(name))
      } else if (option === "-empty") {
        add(({ children, info }) => (info.type === "Directory" ? children === 0 : ByteSize.toBigInt(info.size) === 0n))
      } else if (option === "-maxdepth") depths.max = Number(value())
      else if (option === "-mindepth") depths.min = Number(value())
      else if (option === "-print0") separator = "\0"
      else if (option === "-delete") isDeleting = true
      else if (option !== "-print") return yield* calls.complain(call, `unknown predicate '${option}'`)
    }
    const visit = (path: string, name: string, depth: number): Effect.Effect<void, PlatformError> =>
      Effect.gen(function* () {
        const info = yield* process.files.lstat(path)
        const children = info.type === "Directory" && depth < depths.max ? yield* process.files.readDirectory(path) : []
        const isWanted = depth >= depths.min && tests.every((test) => test({ name, info, children: children.length }))
        if (isWanted && !isDeleting) yield* calls.out(call, `${path}${separator}`)
        for (const child of sortedNames(children)) {
          yield* visit(path.endsWith("/") ? `${path}${child}` : `${path}/${child}`, child, depth + 1)
        }
        if (isWanted && isDeleting) yield* process.files.remove(path, { recursive: info.type === "Directory" })
      })
    return yield* calls.each(
      call,
      roots.length === 0 ? ["."] : roots,
      (root) => `'${root}'`,
      (root) => visit(root, root.replace(/\/+$/, "").replace(/^.*\//, ""), 0)
    )
  })
)

const readlink = calls.withOptions("readlink", "femnqz", (call, { flags, operands }) =>
  Effect.gen(function* () {
    let code = 0
    for (const name of operands) {
      const isFollowed = flags.has("f") || flags.has("e") || flags.has("m")
      const found = yield* Effect.option(isFollowed ? real(call, name) : call.process.files.readLink(name))
      if (Option.isSome(found)) yield* calls.out(call, `${found.value}${flags.has("n") ? "" : "\n"}`)
      else code = 1
    }
    return code
  })
)

const realpath = calls.program("realpath", (call) =>
  calls.each(
    call,
    call.args.filter((arg) => !arg.startsWith("-")),
    (name) => name,
    (name) => Effect.flatMap(real(call, name), (path) => calls.out(call, `${path}\n`))
  )
)

/** The canonical path, whose last name need not be there. */
const real = ({ process }: calls.Call, path: string) =>
  Effect.catchIf(
    process.files.realPath(path),
    (error) => errno.codeOf(error) === "ENOENT",
    () => {
      const absolute = files.resolvePath(process.cwd, path)
      const slash = absolute.lastIndexOf("/")
      return Effect.map(
        process.files.realPath(absolute.slice(0, slash) || "/"),
        (directory) => `${directory === "/" ? "" : directory}${absolute.slice(slash)}`
      )
    }
  )

const typeNames: { readonly [type: string]: string } = {
  File: "regular file",
  Directory: "directory",
  SymbolicLink: "symbolic link",
  CharacterDevice: "character special file"
}

const stat = calls.withOptions("stat", "Lc:", (call, { flags, operands, values }) =>
  calls.each(
    call,
    operands,
    (name) => `cannot statx '${name}'`,
    (name) =>
      Effect.gen(function* () {
        const { files: view } = call.process
        const info = yield* flags.has("L") ? view.stat(name) : view.lstat(name)
        const seconds = (date: Option.Option<Date>) =>
          String(Option.match(date, { onNone: () => 0, onSome: (at) => Math.floor(at.getTime() / 1000) }))
        const fields: { readonly [letter: string]: string } = {
          a: (info.mode & 0o7777).toString(8),
          A: permissions(info),
          F: typeNames[info.type] ?? "weird file",
          g: String(Option.getOrElse(info.gid, () => 0)),
          h: String(Option.getOrElse(info.nlink, () => 1n)),
          i: String(Option.getOrElse(info.ino, () => 0n)),
          n: name,
          s: String(ByteSize.toBigInt(info.size)),
          u: String(Option.getOrElse(info.uid, () => 0)),
          X: seconds(info.atime),
          Y: seconds(info.mtime)
        }
        const format = values.get("c") ?? "%n %s %a"
        yield* calls.out(call, `${format.replace(/%(.)/g, (whole, letter: string) => fields[letter] ?? whole)}\n`)
      })
  )
)

export const lookPrograms: ReadonlyArray<calls.Program> = [find, ls, readlink, realpath, stat]
