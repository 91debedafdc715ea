/** The open files of one process, by number. */
import * as Effect from "effect/Effect"
import type { OpenFile } from "./processFiles.ts"

/** Where descriptors go that no child is to have. */
const firstPrivate = 10

export class Descriptors {
  readonly #open: Map<number, OpenFile>
  readonly #private = new Set<number>()
  #isClosed = false

  /** Holds what it is given, besides whoever gives it. */
  constructor(given: ReadonlyMap<number, OpenFile>) {
    this.#open = new Map([...given].map(([fd, file]) => [fd, file.retain()]))
  }

  get(fd: number): OpenFile | undefined {
    return this.#open.get(fd)
  }

  /** What a child gets. */
  get inherited(): ReadonlyMap<number, OpenFile> {
    return new Map([...this.#open].filter(([fd]) => !this.#private.has(fd)))
  }

  /** Puts an open file, which is held from then on, in a descriptor's place. */
  assign(fd: number, file: OpenFile): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#isClosed) return file.release
      const before = this.#open.get(fd)
      this.#open.set(fd, file)
      this.#private.delete(fd)
      return before === undefined ? Effect.void : before.release
    })
  }

  /** Holds an open file in a descriptor that no child gets. */
  keep(file: OpenFile): Effect.Effect<number> {
    return Effect.suspend(() => {
      let fd = firstPrivate
      while (this.#open.has(fd)) fd++
      return Effect.as(
        Effect.tap(this.assign(fd, file), () => Effect.sync(() => this.#private.add(fd))),
        fd
      )
    })
  }

  close(fd: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const file = this.#open.get(fd)
      this.#open.delete(fd)
      this.#private.delete(fd)
      return file === undefined ? Effect.void : file.release
    })
  }

  /** Closes what no child gets. */
  get closePrivate(): Effect.Effect<void> {
    return Effect.suspend(() => Effect.forEach([...this.#private], (fd) => this.close(fd), { discard: true }))
  }

  /** Closes everything, for good. */
  get closeAll(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#isClosed = true
      return Effect.forEach([...this.#open.keys()], (fd) => this.close(fd), { discard: true })
    })
  }
}
