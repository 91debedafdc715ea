/** What a build is sent: a directory without what it ignores, and the Dockerfile, as a tar archive. */
import * as Effect from "effect/Effect"
import * as Tar from "effect/encoding/Tar"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"
import { BuildFailed, DockerError } from "../../DockerError.ts"
import * as dockerignore from "./dockerignore.ts"

interface Host {
  readonly files: FileSystem.FileSystem
  readonly path: Path.Path
}

/** No file of this name is likely to be in a directory. */
export const dockerfileOfText = ".effect-sandbox.Dockerfile"

/** Permissions are kept; owners and times are not, so that the same files are the same context. */
export const make = (
  { files, path }: Host,
  context: {
    readonly directory?: string | undefined
    /** Instead of a file in the directory; stands at `dockerfileOfText`. */
    readonly text?: string | undefined
    /** Is sent even when it is ignored. */
    readonly dockerfile?: string | undefined
    /** For messages. */
    readonly image: string
  }
): Stream.Stream<Uint8Array, DockerError> => {
  const { directory, dockerfile = "Dockerfile", image, text } = context
  const failed = (error: { readonly message: string }) =>
    new DockerError({
      reason: new BuildFailed({ image, step: "the build context", description: error.message, output: "" })
    })

  const entriesOf = (root: string, ignore: dockerignore.Ignore) => {
    const walk = (relative: string): Stream.Stream<Tar.Entry<PlatformError>, PlatformError> =>
      Stream.fromEffect(files.readDirectory(path.join(root, relative))).pipe(
        Stream.flatMap((names) => Stream.fromIterable(names.toSorted())),
        Stream.flatMap((name) => {
          const inside = relative === "" ? name : `${relative}/${name}`
          const ignored = inside !== dockerfile && ignore.ignores(inside)
          return Stream.unwrap(
            Effect.map(entryOf(inside), ({ entry, isDirectory }) =>
              isDirectory
                ? ignored && ignore.isSimple
                  ? Stream.empty
                  : Stream.concat(ignored || entry === undefined ? Stream.empty : Stream.succeed(entry), walk(inside))
                : ignored || entry === undefined
                  ? Stream.empty
                  : Stream.succeed(entry)
            )
          )
        })
      )

    const entryOf = (inside: string) =>
      Effect.gen(function* () {
        const full = path.join(root, inside)
        const info = yield* files.lstat(full)
        const mode = info.mode & 0o7777
        const entry: Tar.Entry<PlatformError> | undefined =
          info.type === "Directory"
            ? Tar.directory(inside, { mode })
            : info.type === "SymbolicLink"
              ? Tar.symlink(inside, yield* files.readLink(full))
              : info.type === "File"
                ? Tar.fileStream(inside, Number(info.size), files.stream(full), { mode })
                : undefined // Sockets and pipes are no files for an image.
        return { entry, isDirectory: info.type === "Directory" }
      })

    return walk("")
  }

  const fromDirectory: Stream.Stream<Tar.Entry<PlatformError>, PlatformError> = directory === undefined
    ? Stream.empty
    : Stream.unwrap(
        Effect.map(
          files
            .readFileString(path.join(directory, ".dockerignore"))
            .pipe(Effect.catchReason("PlatformError", "NotFound", () => Effect.succeed(""))),
          (rules) => entriesOf(directory, dockerignore.parse(rules))
        )
      )
  const fromText: Stream.Stream<Tar.Entry<PlatformError>> =
    text === undefined ? Stream.empty : Stream.succeed(Tar.file(dockerfileOfText, text))
  return Stream.concat(fromText, fromDirectory).pipe(
    Stream.pipeThroughChannel(Tar.encode<PlatformError, unknown, Tar.Entry<PlatformError>>()),
    Stream.mapError(failed)
  )
}
