/** What a command's name stands for: a simulated program, or a script that names its interpreter. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as errno from "./processErrno.ts"
import * as files from "./processFiles.ts"
import type { Body, Environment } from "./process.ts"
import * as text from "./processText.ts"

export interface Executable {
  /** Where it was found. */
  readonly path: string
  readonly argv: ReadonlyArray<string>
  readonly body: Body
}

/** From where a command's name is looked at. */
export interface Viewpoint {
  readonly cwd: string
  readonly environment: Environment
  readonly files: FileSystem.FileSystem
}

type Argv = readonly [string, ...ReadonlyArray<string>]

const defaultPath = "/usr/local/bin:/usr/bin:/bin"
const shell = "/bin/sh"
/** Of a script that is run by a script that is run by a script … */
const maxInterpreters = 4
/** A longer first line names no interpreter. */
const maxFirstLine = 256

export class Executables {
  readonly #programs = new Map<string, Body>()

  /** The last program of a name wins. */
  add(name: string, body: Body): void {
    this.#programs.set(name, body)
  }

  /** The program that a path names, which is absolute and normal. */
  programAt(path: string): Body | undefined {
    const name = /^\/(?:usr\/)?bin\/([^/]+)$/.exec(path)?.[1]
    return name === undefined ? undefined : this.#programs.get(name)
  }

  /** The absolute path of a command, as `command -v` prints it. */
  locate(name: string, view: Viewpoint): Effect.Effect<string, PlatformError> {
    return Effect.gen({ self: this }, function* () {
      if (name === "") return yield* notFound(name)
      let isFound = false
      for (const candidate of candidates(name, view)) {
        if (this.programAt(candidate) !== undefined) return candidate
        const info = yield* Effect.option(view.files.stat(candidate))
        if (Option.isSome(info)) {
          isFound = true
          if (info.value.type === "File" && (info.value.mode & 0o111) !== 0) return candidate
        } else if ((yield* this.linkedProgram(candidate, view.files)) !== undefined) return candidate
      }
      return yield* isFound ? denied(name) : notFound(name)
    })
  }

  find(argv: Argv, view: Viewpoint): Effect.Effect<Executable, PlatformError> {
    return Effect.flatMap(this.locate(argv[0], view), (path) => this.#load(path, argv, view, 0))
  }

  /** What a link to a program leads to: programs are no files, so the link looks broken. */
  linkedProgram(path: string, view: FileSystem.FileSystem): Effect.Effect<Body | undefined> {
    return Effect.map(Effect.option(view.readLink(path)), (target) =>
      Option.isNone(target)
        ? undefined
        : this.programAt(files.resolvePath(path.slice(0, path.lastIndexOf("/")), target.value))
    )
  }

  #load(path: string, argv: Argv, view: Viewpoint, depth: number): Effect.Effect<Executable, PlatformError> {
    return Effect.gen({ self: this }, function* () {
      const program = this.programAt(path) ?? (yield* this.linkedProgram(path, view.files))
      if (program !== undefined) return { path, argv, body: program }
      if (depth === maxInterpreters) return yield* errno.fail("ELOOP", { method: "exec", path })
      const { interpreter, argument } = yield* interpreterOf(path, view.files)
      const script = argv[0].includes("/") ? argv[0] : path
      const words: Argv = [interpreter, ...(argument === undefined ? [] : [argument]), script, ...argv.slice(1)]
      const found = yield* this.locate(interpreter, view)
      return yield* this.#load(found, words, view, depth + 1)
    })
  }
}

const notFound = (name: string) => errno.fail("ENOENT", { module: "ChildProcess", method: "spawn", path: name })

const denied = (name: string) => errno.fail("EACCES", { module: "ChildProcess", method: "spawn", path: name })

const candidates = (name: string, { cwd, environment }: Viewpoint): ReadonlyArray<string> =>
  name.includes("/")
    ? [files.resolvePath(cwd, name)]
    : (environment["PATH"] ?? defaultPath).split(":").map((directory) => files.resolvePath(cwd, `${directory}/${name}`))

/** The interpreter that the first line of a script names; the shell when there is no such line. */
const interpreterOf = (
  path: string,
  view: FileSystem.FileSystem
): Effect.Effect<{ readonly interpreter: string; readonly argument: string | undefined }, PlatformError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const file = yield* view.open(path, { flag: "r" })
      const start = Option.getOrElse(yield* file.readAlloc(maxFirstLine), () => new Uint8Array(0))
      if (start.includes(0)) return yield* errno.fail("ENOEXEC", { method: "exec", path })
      const named = /^#![ \t]*(\S+)(?:[ \t]+(.*?))?[ \t]*(?:\n|$)/.exec(text.decode(start))
      return { interpreter: named?.[1] ?? shell, argument: named?.[2] === "" ? undefined : named?.[2] }
    })
  )
