/** Files that a session leaves, the next one does not see (S1). */
import { CallLifetime } from "@effect-sandbox/core/SandboxDriver"
import * as Effect from "effect/Effect"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { isFresh } from "../fresh.ts"
import * as pattern from "../pattern.ts"

const check = inTopic("reset")
const inSetup = Effect.provideService(CallLifetime, "sandbox")

export const checks = [
  check("reset-fresh", "reset works on a new sandbox, and twice in a row", { marks: ["S1"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      yield* sandbox.instance.reset
      yield* sandbox.instance.reset
      yield* isFresh(sandbox)
      yield* sandbox.instance.ping
    })
  ),

  check("reset-files", "reset removes files, hidden ones and whole trees", { marks: ["S1"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const { files } = sandbox
      yield* files.makeDirectory("a/b/c", { recursive: true })
      yield* files.makeDirectory(".hidden/.deeper", { recursive: true })
      for (const path of ["file", ".dot", "a/b/c/file", ".hidden/.deeper/.file", "..odd", "new\nline", "-rf"]) {
        yield* files.writeFileString(path, path)
      }
      yield* sandbox.instance.reset
      yield* isFresh(sandbox)
    })
  ),

  check(
    "reset-odd-modes",
    "reset removes what its permission bits protect",
    { marks: ["S1"], needs: ["shell", "modes"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.output(`
        mkdir -p closed/inner read-only/inner
        echo x >closed/inner/file; echo x >read-only/inner/file; echo x >file
        chmod 000 file closed/inner closed; chmod 500 read-only/inner read-only; chmod 400 read-only/inner/file || true
        chmod 500 .`)
        yield* sandbox.instance.reset
        yield* isFresh(sandbox)
      })
  ),

  check(
    "reset-closed-workspace",
    "reset opens a workspace that was closed to everybody",
    { marks: ["S1", "F26"], needs: ["shell", "modes"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.output('echo x >file; chmod 000 "$TMPDIR" 2>/dev/null; chmod 000 .')
        yield* sandbox.instance.reset
        yield* isFresh(sandbox)
        yield* expect.equal(
          yield* sandbox.output("echo x >file && cat file && rm file && rm $(mktemp)"),
          "x\n",
          "a command"
        )
      })
  ),

  check(
    "reset-links",
    "reset removes links, and not what they lead to",
    { marks: ["S1"], needs: ["symlinks", "home"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { files, instance } = sandbox
        const home = instance.home ?? ""
        yield* files.makeDirectory(`${home}/kept`).pipe(inSetup)
        yield* files.writeFileString(`${home}/kept/file`, "kept").pipe(inSetup)
        yield* files.symlink(`${home}/kept`, "directory")
        yield* files.symlink(`${home}/kept/file`, "file")
        yield* files.symlink("missing", "dangling")
        yield* files.symlink(".", "loop")
        yield* instance.reset
        yield* isFresh(sandbox)
        yield* expect.equal(yield* files.readFileString(`${home}/kept/file`), "kept", "what the links led to")
      })
  ),

  check(
    "reset-many-files",
    "reset removes 1,000 files and a tree of 200 levels",
    { marks: ["S1"], patience: 2 },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { files } = sandbox
        const deep = Array.from({ length: 200 }, (_, level) => `l${level}`).join("/")
        yield* files.makeDirectory(deep, { recursive: true })
        yield* Effect.forEach(
          Array.from({ length: 1000 }, (_, index) => `file-${index}`),
          (name) => files.writeFileString(name, ""),
          { concurrency: 32, discard: true }
        )
        yield* sandbox.instance.reset
        yield* isFresh(sandbox)
      })
  ),

  check(
    "reset-temporary-files",
    "reset removes temporary files, of FileSystem and of commands",
    { marks: ["S1"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { files } = sandbox
        const before = yield* sandbox.output('cd "$TMPDIR" && ls -A')
        const made = [yield* files.makeTempFile(), yield* files.makeTempDirectory()]
        const byCommand = (yield* sandbox.output(
          'mktemp; mktemp -d; echo x >"$TMPDIR/.hidden"; echo "$TMPDIR/.hidden"'
        ))
          .trim()
          .split("\n")
        yield* sandbox.instance.reset
        const left = yield* Effect.forEach(made, files.exists)
        yield* expect.equal(left, [false, false], "whether FileSystem's exist")
        for (const path of byCommand) {
          const { end } = yield* sandbox.run("test", ["-e", path])
          yield* expect.equal(end, { _tag: "Exited", code: 1 }, `whether a command finds ${path}`)
        }
        yield* expect.equal(yield* sandbox.output('cd "$TMPDIR" && ls -A'), before, "the directory of temporary files")
      })
  ),

  check(
    "reset-workspace-removed",
    "reset makes the workspace again when a session has removed it",
    { marks: ["F26"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.files.writeFileString("file", "")
        yield* sandbox.run("sh", ["-c", 'cd / && rm -rf "$1" 2>/dev/null; exit 0', "sh", sandbox.workdir])
        yield* sandbox.instance.reset
        yield* isFresh(sandbox)
        yield* expect.equal((yield* sandbox.run("pwd")).stdout, `${sandbox.workdir}\n`, "where commands start")
      })
  ),

  check(
    "reset-workspace-replaced",
    "reset puts a workspace in place of what a session has put there",
    { marks: ["F26"], needs: ["shell", "symlinks"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        for (const replace of ['mkdir "$TMPDIR/kept"; ln -s "$TMPDIR/kept" "$1"', 'echo file >"$1"']) {
          const script = `cd /; mv "$1" "$TMPDIR/away" 2>/dev/null && { ${replace}; } 2>/dev/null; exit 0`
          yield* sandbox.run("sh", ["-c", script, "sh", sandbox.workdir])
          yield* sandbox.instance.reset
          yield* isFresh(sandbox)
          yield* expect.equal((yield* sandbox.run("pwd")).stdout, `${sandbox.workdir}\n`, "where commands start")
        }
      })
  ),

  check(
    "reset-open-file",
    "a file that was open across a reset does not bring anything back",
    { marks: ["S1"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const file = yield* sandbox.files.open("file", { flag: "w+" })
        yield* file.writeAll(pattern.slice(pattern.noise, 0, 1000))
        yield* sandbox.instance.reset
        yield* Effect.exit(file.writeAll(pattern.slice(pattern.noise, 0, 1000)))
        yield* isFresh(sandbox)
      })
  )
]
