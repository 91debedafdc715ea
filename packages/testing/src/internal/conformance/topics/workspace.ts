/** Where relative paths lead, temporary files, and `home`. */
import { CallLifetime } from "@effect-sandbox/core/SandboxDriver"
import * as Effect from "effect/Effect"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"

const check = inTopic("workspace")

export const checks = [
  check("workspace-exists", "the workspace is an absolute path, a directory, and empty", { marks: ["S1"] }, (bench) =>
    Effect.gen(function* () {
      const { files, workdir } = yield* bench.create()
      yield* expect.isTrue(
        workdir.startsWith("/") && !workdir.endsWith("/"),
        `${workdir} is no absolute path without a slash at its end`
      )
      yield* expect.equal((yield* files.stat(workdir)).type, "Directory", "its type")
      yield* expect.equal(yield* files.readDirectory(workdir), [], "what is in it")
    })
  ),

  check("workspace-relative", "relative paths start in the workspace, for every operation", {}, (bench) =>
    Effect.gen(function* () {
      const { files, workdir } = yield* bench.create()
      yield* files.makeDirectory("a")
      yield* files.writeFileString("a/file", "content")
      yield* expect.equal(yield* files.readFileString(`${workdir}/a/file`), "content", "by its absolute path")
      yield* files.copyFile("a/file", "copy")
      yield* files.rename("copy", "a/../moved")
      yield* files.writeFileString(`${workdir}/./absolute`, "")
      yield* expect.equal((yield* files.readDirectory(workdir)).sort(), ["a", "absolute", "moved"], "the workspace")
    })
  ),

  check("workspace-of-commands", "commands and FileSystem agree on the workspace", { needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      yield* sandbox.output('echo x >relative; echo y >"$(pwd)/absolute"')
      yield* expect.equal((yield* sandbox.files.readDirectory(".")).sort(), ["absolute", "relative"], "the listing")
      yield* expect.equal((yield* sandbox.run("pwd")).stdout, `${sandbox.workdir}\n`, "where commands start")
    })
  ),

  check(
    "workspace-stays",
    "the workspace itself cannot be removed or moved through FileSystem, or the sandbox copes",
    { marks: ["F26"] },
    (bench) =>
      Effect.gen(function* () {
        const { files, instance, workdir } = yield* bench.create()
        yield* Effect.exit(files.rename(workdir, `${workdir}-moved`))
        yield* Effect.exit(files.remove(workdir, { recursive: true }))
        yield* instance.reset
        yield* files.writeFileString("file", "content")
        yield* expect.equal(yield* files.readDirectory(workdir), ["file"], "the workspace after a reset")
      })
  ),

  check(
    "temporary-files",
    "temporary files and directories have fresh names, and their prefix and suffix",
    {},
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        const [one, two] = [yield* files.makeTempFile(), yield* files.makeTempFile()]
        const [three, four] = [yield* files.makeTempDirectory(), yield* files.makeTempDirectory()]
        yield* expect.equal(new Set([one, two, three, four]).size, 4, "different names of four")
        const types = yield* Effect.forEach([one, three], (path) => Effect.map(files.stat(path), ({ type }) => type))
        yield* expect.equal(types, ["File", "Directory"], "their types")
        yield* files.writeFileString(one, "content")
        yield* expect.equal(yield* files.readFileString(one), "content", "what was written to one")
        yield* files.writeFileString(`${three}/inner`, "")
        const named = yield* files.makeTempDirectory({ prefix: "prefix-" })
        yield* expect.isTrue((named.split("/").at(-1) ?? "").startsWith("prefix-"), `${named} has not its prefix`)
        const file = yield* files.makeTempFile({ suffix: ".txt" })
        yield* expect.isTrue(file.endsWith(".txt"), `${file} has not its suffix`)
        yield* expect.equal(yield* files.readDirectory("."), [], "the workspace")
      })
  ),

  check("temporary-directory-option", "temporary files can be made in a directory of the workspace", {}, (bench) =>
    Effect.gen(function* () {
      const { files, workdir } = yield* bench.create()
      yield* files.makeDirectory("own")
      yield* files.makeTempFile({ directory: "own" })
      yield* files.makeTempDirectory({ directory: `${workdir}/own` })
      yield* expect.equal((yield* files.readDirectory("own")).length, 2, "how many are in it")
      yield* expect.platformError(
        files.makeTempDirectory({ directory: "missing" }),
        "NotFound",
        "in a directory that is missing"
      )
    })
  ),

  check(
    "temporary-files-scoped",
    "scoped temporary files are removed with their scope, also when they were changed",
    { marks: ["I7"] },
    (bench) =>
      Effect.gen(function* () {
        const { files } = yield* bench.create()
        const made = yield* Effect.scoped(
          Effect.gen(function* () {
            const file = yield* files.makeTempFileScoped()
            const directory = yield* files.makeTempDirectoryScoped()
            yield* files.writeFileString(`${directory}/inner`, "")
            const found = yield* Effect.forEach([file, directory], files.exists)
            yield* expect.equal(found, [true, true], "whether they exist")
            return [file, directory]
          })
        )
        yield* expect.equal(yield* Effect.forEach(made, files.exists), [false, false], "whether they exist afterwards")
        yield* Effect.scoped(
          Effect.flatMap(files.makeTempDirectoryScoped(), (path) => files.remove(path, { recursive: true }))
        )
      })
  ),

  check(
    "temporary-files-for-commands",
    "commands can use temporary files, and have a place for their own",
    { needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const file = yield* sandbox.files.makeTempFile()
        yield* sandbox.files.writeFileString(file, "given")
        const { stdout } = yield* sandbox.run("sh", ["-c", 'cat "$1" && echo made >"$1"', "sh", file])
        yield* expect.equal(stdout, "given", "what a command reads")
        yield* expect.equal(yield* sandbox.files.readFileString(file), "made\n", "what a command wrote")
        const script =
          'file=$(mktemp) && echo own >"$file" && cat "$file" && rm "$file"; directory=$(mktemp -d) && rmdir "$directory"'
        yield* expect.equal(yield* sandbox.output(script), "own\n", "a command's own")
        yield* expect.equal(yield* sandbox.output("ls -A"), "", "the workspace")
      })
  ),

  check("home-lasts", "`home` is written in set-up and outlives resets", { marks: ["S1"], needs: ["home"] }, (bench) =>
    Effect.gen(function* () {
      const { files, instance } = yield* bench.create()
      const home = instance.home ?? ""
      const inSetup = Effect.provideService(CallLifetime, "sandbox")
      yield* files.makeDirectory(`${home}/feature/deep`, { recursive: true }).pipe(inSetup)
      yield* files.writeFileString(`${home}/feature/deep/file`, "made in set-up").pipe(inSetup)
      yield* instance.reset
      yield* instance.reset
      yield* expect.equal(
        yield* files.readFileString(`${home}/feature/deep/file`),
        "made in set-up",
        "the file, in a session"
      )
    })
  ),

  check(
    "home-for-commands",
    "commands of set-up write to `home`, and commands of sessions read it",
    { needs: ["home", "shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const home = sandbox.instance.home ?? ""
        yield* sandbox.output(`echo made >"${home}/file"`).pipe(Effect.provideService(CallLifetime, "sandbox"))
        yield* sandbox.instance.reset
        yield* expect.equal(yield* sandbox.output(`cat "${home}/file"`), "made\n", "what a session's command reads")
      })
  ),

  check(
    "home-is-read-only",
    "sessions cannot change `home` through FileSystem",
    { marks: ["S1"], needs: ["home"] },
    (bench) =>
      Effect.gen(function* () {
        const { files, instance } = yield* bench.create()
        const home = instance.home ?? ""
        yield* files.writeFileString(`${home}/file`, "kept").pipe(Effect.provideService(CallLifetime, "sandbox"))
        for (const [what, change] of [
          ["writeFile", files.writeFileString(`${home}/file`, "changed")],
          ["a new file", files.writeFileString(`${home}/new`, "")],
          ["remove", files.remove(`${home}/file`)],
          // Within it, as elsewhere may be another file system, to which nothing can be moved anyhow.
          ["rename", files.rename(`${home}/file`, `${home}/stolen`)],
          ["makeDirectory", files.makeDirectory(`${home}/directory`)],
          ["truncate", files.truncate(`${home}/file`)],
          ["open for writing", Effect.scoped(Effect.asVoid(files.open(`${home}/file`, { flag: "r+" })))]
        ] as const) {
          yield* expect.platformError(change, "PermissionDenied", what)
        }
        yield* expect.isTrue(yield* Effect.isFailure(files.rename(`${home}/file`, "stolen")), "it cannot be moved out")
        yield* expect.equal(yield* files.readFileString(`${home}/file`), "kept", "the file")
      })
  )
]
