/** Built-in programs that change files and directories. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as Random from "effect/Random"
import * as errno from "../processes/processErrno.ts"
import * as files from "../processes/processFiles.ts"
import type { Process } from "../processes/process.ts"
import * as calls from "./programsCall.ts"

const quoted = (name: string): string => `'${name}'`

const baseName = (path: string): string => {
  const trimmed = path.replace(/(?<=.)\/+$/, "")
  return trimmed === "/" ? trimmed : trimmed.slice(trimmed.lastIndexOf("/") + 1)
}

const directoryName = (path: string): string => {
  const trimmed = path.replace(/(?<=.)\/+$/, "")
  const slash = trimmed.lastIndexOf("/")
  if (slash < 0) return "."
  return trimmed.slice(0, slash).replace(/\/+$/, "") || "/"
}

const isDirectory = (process: Process, path: string): Effect.Effect<boolean> =>
  Effect.match(process.files.stat(path), { onFailure: () => false, onSuccess: ({ type }) => type === "Directory" })

const missing = (call: calls.Call, operands: ReadonlyArray<string>) => {
  const [first] = operands
  return calls.complain(
    call,
    first === undefined ? "missing file operand" : `missing destination file operand after ${quoted(first)}`
  )
}

const mkdir = calls.withOptions(
  "mkdir",
  "pm:v",
  (call, { flags, operands, values }) => {
    if (operands.length === 0) return calls.complain(call, "missing operand")
    const mode = values.has("m") ? Number.parseInt(values.get("m") ?? "", 8) : 0o777 & ~call.process.umask
    return calls.each(
      call,
      operands,
      (name) => `cannot create directory ${quoted(name)}`,
      (name) => call.process.files.makeDirectory(name, { recursive: flags.has("p"), mode })
    )
  },
  { longs: { parents: "p", mode: "m" } }
)

const rmdir = calls.withOptions("rmdir", "p", (call, { operands }) =>
  calls.each(
    call,
    operands,
    (name) => `failed to remove ${quoted(name)}`,
    (name) => removeEmptyDirectory(call.process, name)
  )
)

const removeEmptyDirectory = ({ files }: Process, name: string) =>
  Effect.gen(function* () {
    const info = yield* files.lstat(name)
    if (info.type !== "Directory") return yield* errno.fail("ENOTDIR", { method: "rmdir", path: name })
    if ((yield* files.readDirectory(name)).length > 0) {
      return yield* errno.fail("ENOTEMPTY", { method: "rmdir", path: name })
    }
    // Without `recursive`, directories are refused: that is for files.
    yield* files.remove(name, { recursive: true })
  })

const rm = calls.withOptions(
  "rm",
  "rRfvid",
  (call, { flags, operands }) => {
    const recursive = flags.has("r") || flags.has("R")
    const force = flags.has("f")
    if (operands.length === 0) return force ? Effect.succeed(0) : calls.complain(call, "missing operand")
    const { files } = call.process
    return calls.each(
      call,
      operands,
      (name) => `cannot remove ${quoted(name)}`,
      (name) =>
        Effect.gen(function* () {
          const info = yield* Effect.result(files.lstat(name))
          if (info._tag === "Failure") {
            return force && errno.codeOf(info.failure) === "ENOENT" ? undefined : yield* info.failure
          }
          if (info.success.type !== "Directory") return yield* files.remove(name)
          if (flags.has("d") && !recursive) return yield* removeEmptyDirectory(call.process, name)
          if (!recursive) return yield* errno.fail("EISDIR", { method: "unlink", path: name })
          yield* files.remove(name, { recursive: true, force })
        })
    )
  },
  { longs: { recursive: "r", force: "f" } }
)

/** Where things go: into the last operand when that is a directory, otherwise to its name. */
const targetsOf = (call: calls.Call, operands: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const sources = operands.slice(0, -1)
    const last = operands.at(-1) ?? ""
    const inside = yield* isDirectory(call.process, last)
    if (sources.length > 1 && !inside)
      return yield* errno.fail("ENOTDIR", { method: "stat", path: `target ${quoted(last)}` })
    return sources.map((source) => ({
      source,
      target: inside ? `${last.replace(/\/+$/, "")}/${baseName(source)}` : last
    }))
  })

const requireSource = (process: Process, source: string) =>
  Effect.mapError(process.files.lstat(source), (error) =>
    calls.problem(`cannot stat ${quoted(source)}: ${errno.text(error)}`)
  )

const cp = calls.withOptions(
  "cp",
  "rRafpvdT",
  (call, { flags, operands }) =>
    Effect.gen(function* () {
      if (operands.length < 2) return yield* missing(call, operands)
      const { process } = call
      const recursive = flags.has("r") || flags.has("R") || flags.has("a")
      return yield* calls.each(
        call,
        yield* targetsOf(call, operands),
        ({ source }) => `cannot copy ${quoted(source)}`,
        ({ source, target }) =>
          Effect.gen(function* () {
            if (files.isDevice(files.resolvePath(process.cwd, source))) return yield* copyBytes(call, source, target)
            yield* requireSource(process, source)
            if (yield* isDirectory(process, source)) {
              if (!recursive) return yield* calls.problem(`-r not specified; omitting directory ${quoted(source)}`)
              return yield* copyTree(process, source, target)
            }
            yield* process.files.copyFile(source, target)
          })
      )
    }),
  { longs: { recursive: "r", force: "f", archive: "a" } }
)

const copyBytes = (call: calls.Call, source: string, target: string) =>
  calls.withWriter(call, target, "w", (output) =>
    calls.withReader(call, source, (reader) => calls.forEachChunk(reader, (bytes) => output.write(bytes)))
  )

/** Copies into a directory that may be there already. */
const copyTree = (process: Process, source: string, target: string): Effect.Effect<void, PlatformError> =>
  Effect.gen(function* () {
    const view = process.files
    const { mode } = yield* view.stat(source)
    if (!(yield* isDirectory(process, target))) yield* view.makeDirectory(target, { mode: mode & 0o7777 })
    for (const name of yield* view.readDirectory(source)) {
      const [from, to] = [`${source}/${name}`, `${target}/${name}`]
      const info = yield* view.lstat(from)
      if (info.type === "Directory") yield* copyTree(process, from, to)
      else if (info.type === "SymbolicLink") yield* view.symlink(yield* view.readLink(from), to)
      else yield* view.copyFile(from, to)
    }
  })

const mv = calls.withOptions("mv", "fvnT", (call, { operands }) =>
  Effect.gen(function* () {
    if (operands.length < 2) return yield* missing(call, operands)
    return yield* calls.each(
      call,
      yield* targetsOf(call, operands),
      ({ source }) => `cannot move ${quoted(source)}`,
      ({ source, target }) =>
        Effect.andThen(requireSource(call.process, source), call.process.files.rename(source, target))
    )
  })
)

const ln = calls.withOptions("ln", "sfnvT", (call, { flags, operands }) =>
  Effect.gen(function* () {
    const view = call.process.files
    const all = operands.length === 1 ? [operands[0] ?? "", "."] : operands
    if (all.length < 2) return yield* missing(call, operands)
    const kind = flags.has("s") ? "symbolic" : "hard"
    return yield* calls.each(
      call,
      yield* targetsOf(call, all),
      ({ target }) => `failed to create ${kind} link ${quoted(target)}`,
      ({ source, target }) =>
        Effect.gen(function* () {
          if (flags.has("f")) yield* view.remove(target, { force: true })
          yield* flags.has("s") ? view.symlink(source, target) : view.link(source, target)
        })
    )
  })
)

const touch = calls.withOptions("touch", "acmd:r:t:", (call, { flags, operands }) =>
  calls.each(
    call,
    operands,
    (name) => `cannot touch ${quoted(name)}`,
    (name) =>
      Effect.gen(function* () {
        const { process } = call
        const now = (yield* Clock.currentTimeMillis) / 1000
        if (yield* process.files.exists(name)) return yield* process.files.utimes(name, now, now)
        if (flags.has("c")) return
        yield* calls.create(call, name, "a")
      })
  )
)

/** A mode such as `755`, `u+x,go-w` or `+x`. */
const changedMode = (given: string, before: number, umask: number): number | undefined => {
  if (/^[0-7]{1,4}$/.test(given)) return Number.parseInt(given, 8)
  let mode = before
  for (const clause of given.split(",")) {
    const match = /^([ugoa]*)([-+=])([rwxXst]*)$/.exec(clause)
    if (match === null) return undefined
    const [, who = "", operator, what = ""] = match
    const bits = (what.includes("r") ? 4 : 0) + (what.includes("w") ? 2 : 0) + (/[xX]/.test(what) ? 1 : 0)
    for (const [letter, shift] of [
      ["u", 6],
      ["g", 3],
      ["o", 0]
    ] as const) {
      if (who !== "" && !who.includes("a") && !who.includes(letter)) continue
      const mask = (bits << shift) & (who === "" ? ~umask : 0o777)
      if (operator === "=") mode = (mode & ~(7 << shift)) | mask
      else mode = operator === "+" ? mode | mask : mode & ~mask
    }
  }
  return mode
}

const chmod = calls.program("chmod", (call) => {
  const recursive = call.args[0] === "-R"
  const [given = "", ...operands] = recursive ? call.args.slice(1) : call.args
  const { process } = call
  const change = (name: string): Effect.Effect<void, PlatformError> =>
    Effect.gen(function* () {
      const info = yield* process.files.stat(name)
      const mode = changedMode(given, info.mode & 0o7777, process.umask)
      if (mode === undefined) return yield* calls.problem(`invalid mode: ${quoted(given)}`)
      yield* process.files.chmod(name, mode)
      if (!recursive || info.type !== "Directory") return
      for (const child of yield* process.files.readDirectory(name)) yield* change(`${name}/${child}`)
    })
  if (operands.length === 0)
    return calls.complain(call, given === "" ? "missing operand" : `missing operand after ${quoted(given)}`)
  return calls.each(call, operands, (name) => `cannot access ${quoted(name)}`, change)
})

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

const mktemp = calls.withOptions("mktemp", "dp:tqu", (call, { flags, operands, values }) =>
  Effect.gen(function* () {
    const { process } = call
    const template = operands[0] ?? "tmp.XXXXXXXXXX"
    const isPlaced = operands.length === 0 || flags.has("t") || values.has("p")
    const directory = values.get("p") ?? process.environment["TMPDIR"] ?? "/tmp"
    const [placeholder] = /X{3,}(?=[^X]*$)/.exec(template) ?? []
    if (placeholder === undefined) return yield* calls.complain(call, `too few X's in template ${quoted(template)}`)
    const random = yield* Random.Random
    for (let attempt = 0; attempt < 100; attempt++) {
      const name = template.replace(/X{3,}(?=[^X]*$)/, (run) =>
        Array.from(run, () => letters[Math.floor(random.nextDoubleUnsafe() * letters.length)]).join("")
      )
      const path = isPlaced ? `${directory}/${name}` : name
      const making = flags.has("d")
        ? process.files.makeDirectory(path, { mode: 0o700 })
        : calls.create(call, path, "wx", 0o600)
      const made = yield* Effect.result(making)
      if (made._tag === "Success") {
        yield* calls.out(call, `${path}\n`)
        return 0
      }
      if (errno.codeOf(made.failure) !== "EEXIST") {
        const kind = flags.has("d") ? "directory" : "file"
        return yield* calls.complain(
          call,
          `failed to create ${kind} via template ${quoted(path)}: ${errno.text(made.failure)}`
        )
      }
    }
    return yield* calls.complain(call, "no name is free")
  })
)

const basename = calls.program("basename", (call) => {
  const [path = "", suffix = ""] = call.args
  if (call.args.length === 0) return calls.complain(call, "missing operand")
  const name = baseName(path)
  const isCut = suffix !== "" && suffix !== name && name.endsWith(suffix)
  return Effect.as(calls.out(call, `${isCut ? name.slice(0, -suffix.length) : name}\n`), 0)
})

const dirname = calls.program("dirname", (call) =>
  call.args.length === 0
    ? calls.complain(call, "missing operand")
    : Effect.as(calls.out(call, call.args.map((path) => `${directoryName(path)}\n`).join("")), 0)
)

export const filePrograms: ReadonlyArray<calls.Program> = [
  basename,
  chmod,
  cp,
  dirname,
  ln,
  mkdir,
  mktemp,
  mv,
  rm,
  rmdir,
  touch
]
