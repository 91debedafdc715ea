/** Temporary files and directories: names that nobody else has, and what is made for a scope goes with it. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import type * as Random from "effect/Random"
import * as Result from "effect/Result"
import { type Answer, isCode } from "./virtualError.ts"
import * as names from "./virtualNames.ts"
import * as open from "./virtualOpen.ts"
import type { Caller } from "./virtualPath.ts"
import { moment, type System } from "./virtualSystem.ts"
import { remove } from "./virtualTrees.ts"
import type { Volume } from "./virtualVolume.ts"

type Operations = Pick<
  FileSystem.FileSystem,
  "makeTempDirectory" | "makeTempDirectoryScoped" | "makeTempFile" | "makeTempFileScoped"
>

const attempts = 100

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

const randomName = (random: Random.Random, length: number): string =>
  Array.from({ length }, () => letters[Math.floor(random.nextDoubleUnsafe() * letters.length)]).join("")

/** As `mkdtemp`: adds six letters to what the name starts with. */
const makeUnique = (volume: Volume, caller: Caller, start: string): Answer<string> => {
  const attempt = (left: number): Answer<string> => {
    const path = `${start}${randomName(caller.random, 6)}`
    const made = names.makeDirectory(volume, caller, path, 0o700)
    return isCode(made, "EEXIST") && left > 1 ? attempt(left - 1) : Result.map(made, () => path)
  }
  return attempt(attempts)
}

export const make = ({ call, volume }: System, temporary: string): Operations => {
  const { path } = volume

  const directory = (method: string): FileSystem.FileSystem["makeTempDirectory"] => {
    return (options) => {
      const parent = options?.directory === undefined ? temporary : path.join(options.directory, ".")
      const start = options?.prefix ? path.join(parent, options.prefix) : `${parent}/`
      return call(method, start, (caller) => makeUnique(volume, caller, start))
    }
  }
  const file = (method: string): FileSystem.FileSystem["makeTempFile"] => {
    const makeDirectory = directory(method)
    return (options) =>
      Effect.gen(function* () {
        const parent = yield* makeDirectory(options)
        const { random } = yield* moment
        const name = path.join(parent, `${randomName(random, 12)}${options?.suffix ?? ""}`)
        yield* call("writeFile", name, (caller) => open.writeFile(volume, caller, name, new Uint8Array()))
        return name
      })
  }
  const scoped = (method: string, made: Effect.Effect<string, PlatformError>, directoryOf: (made: string) => string) =>
    Effect.acquireRelease(made, (name) => {
      const parent = directoryOf(name)
      const options = { recursive: true, force: true }
      return call(method, parent, (caller) => remove(volume, caller, parent, options)).pipe(
        Effect.ignoreCause({ log: "Warn", message: `could not remove ${parent}` })
      )
    })

  return {
    makeTempDirectory: directory("makeTempDirectory"),
    makeTempDirectoryScoped: (options) => {
      const method = "makeTempDirectoryScoped"
      return scoped(method, directory(method)(options), (name) => name)
    },
    makeTempFile: file("makeTempFile"),
    makeTempFileScoped: (options) => {
      const method = "makeTempFileScoped"
      return scoped(method, file(method)(options), path.dirname)
    }
  }
}
