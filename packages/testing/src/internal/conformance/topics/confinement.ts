/** Nothing inside reaches the host's files: not by `..`, not by an absolute path, not through links. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Bench } from "../bench.ts"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { CheckFailed } from "../failure.ts"
import type { Subject } from "../subject.ts"
import * as text from "../text.ts"

const check = inTopic("confinement")

/** The host's file, its content, and a body's proof that it has stayed so. */
const hostFile = (bench: Bench) =>
  Effect.gen(function* () {
    const { hostFile } = bench.options
    if (hostFile === undefined) return yield* new CheckFailed({ message: "the check needs the option `hostFile`" })
    const read = Effect.mapError(
      hostFile.read,
      (cause) => new CheckFailed({ message: "the host's file cannot be read", cause })
    )
    const content = yield* read
    const slash = hostFile.path.lastIndexOf("/")
    return {
      path: hostFile.path,
      directory: hostFile.path.slice(0, slash) || "/",
      name: hostFile.path.slice(slash + 1),
      content,
      isUnchanged: Effect.flatMap(read, (now) => expect.equal(now, content, "the host's file"))
    }
  })

/** The ways to name a file of the host from the workspace. */
const waysTo = (sandbox: Subject, target: string) => {
  const up = "../".repeat(sandbox.workdir.split("/").length + 5)
  return [
    target,
    `${up}${target.slice(1)}`,
    `${sandbox.workdir}/${up}${target.slice(1)}`,
    `./missing/../${up}${target.slice(1)}`
  ]
}

/** An effect does not give the host's content; that it fails is the usual way. */
const keepsSecret = <E, R>(effect: Effect.Effect<string, E, R>, secret: string, what: string) =>
  Effect.flatMap(Effect.option(effect), (found) =>
    expect.isTrue(
      found._tag === "None" || !found.value.includes(secret),
      `${what} gives the content of the host's file`
    )
  )

export const checks = [
  check(
    "confined-reading",
    "the host's files cannot be read by any path",
    { marks: ["L27"], needs: ["hostFile"] },
    (bench) =>
      Effect.gen(function* () {
        const host = yield* hostFile(bench)
        const sandbox = yield* bench.create()
        const { files } = sandbox
        for (const path of waysTo(sandbox, host.path)) {
          yield* keepsSecret(files.readFileString(path), host.content, `readFile of ${path}`)
          yield* keepsSecret(Stream.mkString(Stream.decodeText(files.stream(path))), host.content, `stream of ${path}`)
          yield* keepsSecret(
            Effect.andThen(files.copyFile(path, "copy"), files.readFileString("copy")),
            host.content,
            `copyFile of ${path}`
          )
          yield* Effect.ignore(files.remove("copy", { force: true }))
        }
        for (const path of waysTo(sandbox, host.directory)) {
          const listing = Effect.map(files.readDirectory(path), (names) => names.join("\n"))
          yield* keepsSecret(listing, host.name, `readDirectory of ${path}`)
        }
      })
  ),

  check(
    "confined-writing",
    "the host's files cannot be changed by any path",
    { marks: ["L27"], needs: ["hostFile"] },
    (bench) =>
      Effect.gen(function* () {
        const host = yield* hostFile(bench)
        const sandbox = yield* bench.create()
        const { files } = sandbox
        yield* files.writeFileString("own", "own")
        for (const path of waysTo(sandbox, host.path)) {
          yield* Effect.exit(files.writeFileString(path, "broken"))
          yield* Effect.exit(files.truncate(path))
          yield* Effect.exit(files.rename("own", path))
          yield* Effect.exit(files.copyFile("own", path))
          yield* Effect.exit(Stream.run(Stream.make(text.encode("broken")), files.sink(path)))
          yield* Effect.exit(files.remove(path))
          yield* Effect.exit(files.rename(path, "stolen"))
          yield* host.isUnchanged
        }
      })
  ),

  check(
    "confined-links",
    "links that lead to the host's files cannot be followed",
    { marks: ["L27"], needs: ["hostFile", "symlinks"] },
    (bench) =>
      Effect.gen(function* () {
        const host = yield* hostFile(bench)
        const sandbox = yield* bench.create()
        const { files } = sandbox
        for (const target of waysTo(sandbox, host.path)) {
          yield* Effect.exit(files.symlink(target, "link"))
          yield* Effect.exit(files.symlink("link", "second"))
          for (const path of ["link", "second"]) {
            yield* keepsSecret(files.readFileString(path), host.content, `reading a link to ${target}`)
            yield* Effect.exit(files.writeFileString(path, "broken"))
            yield* Effect.exit(Effect.scoped(files.open(path, { flag: "w" })))
            yield* Effect.exit(files.truncate(path))
            yield* Effect.exit(files.chmod(path, 0o777))
            yield* host.isUnchanged
          }
          yield* Effect.exit(files.remove("second"))
          yield* Effect.exit(files.remove("link"))
          yield* host.isUnchanged
        }
      })
  ),

  check(
    "confined-directory-links",
    "links to the host's directories cannot be entered",
    { marks: ["L27"], needs: ["hostFile", "symlinks"] },
    (bench) =>
      Effect.gen(function* () {
        const host = yield* hostFile(bench)
        const sandbox = yield* bench.create()
        const { files } = sandbox
        yield* Effect.exit(files.symlink(host.directory, "link"))
        const listing = Effect.map(files.readDirectory("link"), (names) => names.join("\n"))
        yield* keepsSecret(listing, host.name, "its listing")
        yield* keepsSecret(
          Effect.map(files.glob("link/*"), (names) => names.join("\n")),
          host.name,
          "glob"
        )
        yield* keepsSecret(files.readFileString(`link/${host.name}`), host.content, "a file in it")
        yield* Effect.exit(files.writeFileString(`link/${host.name}`, "broken"))
        yield* Effect.exit(files.writeFileString(`link/${host.name}.new`, "broken"))
        yield* Effect.exit(files.remove(`link/${host.name}`))
        yield* Effect.exit(files.makeTempFile({ directory: "link" }))
        yield* host.isUnchanged
        yield* Effect.exit(files.remove("link", { recursive: true }))
        yield* host.isUnchanged
      })
  ),

  check(
    "confined-links-by-commands",
    "a link that a command has made does not lead FileSystem out either",
    { marks: ["L27"], needs: ["hostFile", "symlinks", "shell"] },
    (bench) =>
      Effect.gen(function* () {
        const host = yield* hostFile(bench)
        const sandbox = yield* bench.create()
        const script = 'ln -s "$1" file; ln -s "$2" directory; mkdir -p a/b; ln -s ../../directory a/b/deep'
        yield* sandbox.run("sh", ["-c", script, "sh", host.path, host.directory])
        for (const path of ["file", `directory/${host.name}`, `a/b/deep/${host.name}`]) {
          yield* keepsSecret(sandbox.files.readFileString(path), host.content, `reading ${path}`)
          yield* Effect.exit(sandbox.files.writeFileString(path, "broken"))
          yield* host.isUnchanged
        }
      })
  ),

  check(
    "confined-reset",
    "reset does not follow links to the host's files",
    { marks: ["S1", "L27"], needs: ["hostFile", "symlinks"] },
    (bench) =>
      Effect.gen(function* () {
        const host = yield* hostFile(bench)
        const sandbox = yield* bench.create()
        yield* Effect.exit(sandbox.files.symlink(host.path, "file"))
        yield* Effect.exit(sandbox.files.symlink(host.directory, "directory"))
        yield* sandbox.instance.reset
        yield* host.isUnchanged
        yield* expect.equal(yield* sandbox.files.readDirectory("."), [], "the workspace")
      })
  ),

  check(
    "confined-cwd",
    "a command cannot be started in the host's directories",
    { marks: ["F13", "L27"], needs: ["hostFile", "shell"] },
    (bench) =>
      Effect.gen(function* () {
        const host = yield* hostFile(bench)
        const sandbox = yield* bench.create()
        yield* Effect.exit(sandbox.files.symlink(host.directory, "link"))
        for (const cwd of [...waysTo(sandbox, host.directory), "link"]) {
          yield* keepsSecret(
            Effect.map(sandbox.sh("cat *", { cwd }), ({ stdout }) => stdout),
            host.content,
            `\`cat *\` in ${cwd}`
          )
        }
      })
  ),

  check(
    "confined-commands",
    "commands cannot read or change the host's files",
    { needs: ["hostFile", "shell", "commandConfinement"] },
    (bench) =>
      Effect.gen(function* () {
        const host = yield* hostFile(bench)
        const sandbox = yield* bench.create()
        const script = 'cat "$1"; cat "../../../../../../../../../../$1"; ls "$2"; ln -s "$1" link && cat link; exit 0'
        const { stderr, stdout } = yield* sandbox.run("sh", ["-c", script, "sh", host.path, host.directory])
        yield* expect.isTrue(!`${stdout}${stderr}`.includes(host.content), "a command has read the host's file")
        yield* expect.isTrue(!stdout.includes(host.name), "a command has listed the host's directory")
        yield* sandbox.run("sh", ["-c", 'echo broken >"$1"; rm -f "$1"; exit 0', "sh", host.path])
        yield* host.isUnchanged
      })
  )
]
