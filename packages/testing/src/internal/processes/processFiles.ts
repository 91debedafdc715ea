/** Open files of processes: what a descriptor refers to, shared by all that inherited or duplicated it. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as errno from "./processErrno.ts"
import type { Pipe } from "./processPipe.ts"
import * as text from "./processText.ts"

/** How much programs read at once. */
export const blockSize = 64 * 1024
const lineSize = 4096
const nothing = new Uint8Array(0)

export abstract class OpenFile {
  #holders = 1

  /** At most `max` bytes; none at the end. */
  abstract read(max: number): Effect.Effect<Uint8Array, PlatformError>
  /** The bytes up to and with a delimiter, or fewer when it is not there yet; none at the end. */
  abstract readUntil(delimiter: number): Effect.Effect<Uint8Array, PlatformError>
  abstract write(bytes: Uint8Array): Effect.Effect<void, PlatformError>
  protected abstract readonly close: Effect.Effect<void>
  /** About the file, where there is one. */
  get info(): Effect.Effect<Option.Option<FileSystem.File.Info>, PlatformError> {
    return Effect.succeedNone
  }

  /** One more holder, who has to release it as well. */
  retain(): this {
    this.#holders++
    return this
  }

  /** Closed with its last holder. */
  readonly release: Effect.Effect<void> = Effect.suspend(() => (--this.#holders === 0 ? this.close : Effect.void))
}

const badDescriptor = (method: string) => Effect.fail(errno.fail("EBADF", { method }))

export class PipeReader extends OpenFile {
  readonly #pipe: Pipe
  protected override readonly close
  constructor(pipe: Pipe) {
    super()
    this.#pipe = pipe
    this.close = Effect.sync(pipe.addReader())
  }
  override read(max: number) {
    return this.#pipe.read(max)
  }
  override readUntil(delimiter: number) {
    return this.#pipe.readUntil(delimiter)
  }
  override write() {
    return badDescriptor("write")
  }
}

export class PipeWriter extends OpenFile {
  readonly #pipe: Pipe
  protected override readonly close
  constructor(pipe: Pipe) {
    super()
    this.#pipe = pipe
    this.close = Effect.sync(pipe.addWriter())
  }
  override read() {
    return badDescriptor("read")
  }
  override readUntil() {
    return badDescriptor("read")
  }
  override write(bytes: Uint8Array) {
    return this.#pipe.write(bytes)
  }
}

/** Both directions at once, over two pipes. */
export class Duplex extends OpenFile {
  readonly #input: Pipe
  readonly #output: Pipe
  protected override readonly close
  constructor(input: Pipe, output: Pipe) {
    super()
    this.#input = input
    this.#output = output
    const closeInput = input.addReader()
    const closeOutput = output.addWriter()
    this.close = Effect.sync(() => {
      closeInput()
      closeOutput()
    })
  }
  override read(max: number) {
    return this.#input.read(max)
  }
  override readUntil(delimiter: number) {
    return this.#input.readUntil(delimiter)
  }
  override write(bytes: Uint8Array) {
    return this.#output.write(bytes)
  }
}

class RegularFile extends OpenFile {
  readonly #file: FileSystem.File
  protected override readonly close
  constructor(file: FileSystem.File, scope: Scope.Closeable) {
    super()
    this.#file = file
    this.close = Scope.close(scope, Exit.void)
  }
  override get info() {
    return Effect.asSome(this.#file.stat)
  }
  override read(max: number) {
    return Effect.map(
      this.#file.readAlloc(max),
      Option.getOrElse(() => nothing)
    )
  }
  override readUntil(delimiter: number) {
    return Effect.flatMap(this.read(lineSize), (bytes) => {
      const index = bytes.indexOf(delimiter)
      if (index < 0 || index === bytes.length - 1) return Effect.succeed(bytes)
      const line = bytes.subarray(0, index + 1)
      return Effect.as(this.#file.seek(BigInt(line.length - bytes.length), "current"), line)
    })
  }
  override write(bytes: Uint8Array) {
    return bytes.length === 0 ? Effect.void : this.#file.writeAll(bytes)
  }
}

/** Text that is all there, such as a here-document. */
export class Content extends OpenFile {
  #rest: Uint8Array
  protected override readonly close = Effect.void
  constructor(content: Uint8Array) {
    super()
    this.#rest = content
  }
  override read(max: number) {
    return Effect.sync(() => this.#take(Math.min(max, this.#rest.length)))
  }
  override readUntil(delimiter: number) {
    return Effect.sync(() => {
      const index = this.#rest.indexOf(delimiter)
      return this.#take(index < 0 ? this.#rest.length : index + 1)
    })
  }
  override write() {
    return badDescriptor("write")
  }
  #take(size: number): Uint8Array {
    const taken = this.#rest.subarray(0, size)
    this.#rest = this.#rest.subarray(size)
    return taken
  }
}

/** A device, which is the same for everybody and never closed. */
class Device extends OpenFile {
  readonly #input: (max: number) => Effect.Effect<Uint8Array, PlatformError>
  readonly #output: Effect.Effect<void, PlatformError>
  protected override readonly close = Effect.void
  constructor(
    input: (max: number) => Effect.Effect<Uint8Array, PlatformError>,
    output: Effect.Effect<void, PlatformError>
  ) {
    super()
    this.#input = input
    this.#output = output
  }
  override read(max: number) {
    return this.#input(max)
  }
  override readUntil() {
    return this.#input(1)
  }
  override write() {
    return this.#output
  }
}

const zeros = (max: number) => Effect.sync(() => new Uint8Array(Math.min(max, blockSize)))
const randomBytes = (max: number) =>
  Effect.map(Random.Random, (random) =>
    new Uint8Array(Math.min(max, blockSize)).map(() => Math.floor(random.nextDoubleUnsafe() * 256))
  )

const devices: { readonly [path: string]: () => OpenFile } = {
  "/dev/null": () => new Device(() => Effect.succeed(nothing), Effect.void),
  "/dev/zero": () => new Device(zeros, Effect.void),
  "/dev/full": () => new Device(zeros, Effect.fail(errno.fail("ENOSPC", { method: "write", path: "/dev/full" }))),
  "/dev/random": () => new Device(randomBytes, Effect.void),
  "/dev/urandom": () => new Device(randomBytes, Effect.void)
}

export const openNull = (): OpenFile => new Device(() => Effect.succeed(nothing), Effect.void)

const standard: { readonly [path: string]: number } = { "/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2 }

/** The descriptor that a path names, as `/dev/stdin` names 0. */
const descriptorAt = (path: string): number | undefined => {
  const numbered = /^\/dev\/fd\/(\d+)$/.exec(path)?.[1]
  return numbered === undefined ? standard[path] : Number(numbered)
}

/** Whether a path, which is absolute and normal, names a device. */
export const isDevice = (path: string): boolean => Object.hasOwn(devices, path) || descriptorAt(path) !== undefined

/** Opens a file or a device. Whoever calls it holds the result and releases it. */
export const open = (
  path: string,
  options: {
    readonly files: FileSystem.FileSystem
    readonly cwd: string
    readonly flag: FileSystem.OpenFlag
    readonly mode: number
    readonly descriptor: (fd: number) => OpenFile | undefined
  }
): Effect.Effect<OpenFile, PlatformError> =>
  Effect.suspend((): Effect.Effect<OpenFile, PlatformError> => {
    const absolute = resolvePath(options.cwd, path)
    const device = Object.hasOwn(devices, absolute) ? devices[absolute] : undefined
    if (device !== undefined) return Effect.succeed(device())
    const fd = descriptorAt(absolute)
    if (fd !== undefined) {
      const file = options.descriptor(fd)
      return file === undefined
        ? Effect.fail(errno.fail("ENOENT", { method: "open", path }))
        : Effect.succeed(file.retain())
    }
    return Effect.uninterruptibleMask((restore) => {
      const scope = Scope.makeUnsafe()
      return restore(options.files.open(path, { flag: options.flag, mode: options.mode })).pipe(
        Scope.provide(scope),
        Effect.map((file) => new RegularFile(file, scope)),
        Effect.onError(() => Scope.close(scope, Exit.void))
      )
    })
  })

/** An absolute path without `.`, `..` and doubled slashes, links not looked at. */
export const resolvePath = (cwd: string, path: string): string => {
  const names: Array<string> = []
  for (const name of (path.startsWith("/") ? path : `${cwd}/${path}`).split("/")) {
    if (name === "..") names.pop()
    else if (name !== "" && name !== ".") names.push(name)
  }
  return `/${names.join("/")}`
}

/** Fails where a directory is needed and there is none. */
export const requireDirectory = (files: FileSystem.FileSystem, path: string): Effect.Effect<void, PlatformError> =>
  Effect.flatMap(files.stat(path), ({ type }) =>
    type === "Directory" ? Effect.void : Effect.fail(errno.fail("ENOTDIR", { method: "chdir", path }))
  )

/** All that is left to read, as text that loses nothing. */
export const readAll = (file: Pick<OpenFile, "read">): Effect.Effect<Uint8Array, PlatformError> =>
  Effect.gen(function* () {
    const parts: Array<Uint8Array> = []
    while (true) {
      const bytes = yield* file.read(blockSize)
      if (bytes.length === 0) return text.concat(parts)
      parts.push(bytes)
    }
  })
