/** The environment of commands: clean, and exactly what was asked for. */
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { oddWords } from "../oddWords.ts"
import { finish } from "../subject.ts"

const check = inTopic("environment")

export const checks = [
  check("env-default", "there is a PATH, and a HOME that can be written to", { needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const path = yield* sandbox.output('echo "$PATH"')
      yield* expect.includes(path, "/bin", "PATH")
      yield* expect.equal(
        yield* sandbox.output('cd "$HOME" && echo kept >file && cat file && rm file'),
        "kept\n",
        "HOME"
      )
    })
  ),

  check("env-extend", "variables are added and replaced, and the others stay", { needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const script = 'echo "$ADDED|$LANG|${PATH:+path}|${HOME:+home}"'
      const { stdout } = yield* sandbox.sh(script, { env: { ADDED: "1", LANG: "x" }, extendEnv: true })
      yield* expect.equal(stdout, "1|x|path|home\n", "the variables")
    })
  ),

  check("env-replace", "without `extendEnv` the environment is what was given", { needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const script = 'echo "$GIVEN|${HOME-unset}|${TMPDIR-unset}"'
      const env = { GIVEN: "1" }
      const handle = yield* sandbox.spawner.spawn(
        ChildProcess.make("/bin/sh", ["-c", script], { stdin: "ignore", env })
      )
      yield* expect.equal((yield* finish(handle)).stdout, "1|unset|unset\n", "the variables")
    })
  ),

  check("env-remove", "a variable that is undefined is removed", { marks: ["S1"], needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const { stdout } = yield* sandbox.sh('echo "${HOME-unset}"', { env: { HOME: undefined }, extendEnv: true })
      yield* expect.equal(stdout, "unset\n", "HOME")
    })
  ),

  check("env-odd-values", "values of variables arrive as they are", { marks: ["F13"], needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const values = [...oddWords, "=", "a=b=c", "x".repeat(20_000)]
      const found = yield* Effect.forEach(
        values,
        (value) => Effect.map(sandbox.run("printenv", ["ODD"], { env: { ODD: value } }), ({ stdout }) => stdout),
        { concurrency: 8 }
      )
      yield* expect.equal(
        found,
        values.map((value) => `${value}\n`),
        "the values"
      )
    })
  ),

  check(
    "env-per-command",
    "what a command does to its environment ends with it",
    { marks: ["S1"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.output("export LEFT=1; cd /; umask 000; set -e; echo done", { env: { GIVEN: "1" } })
        const after = yield* sandbox.output('echo "${LEFT-unset}|${GIVEN-unset}|$(pwd)"; touch made')
        yield* expect.equal(after, `unset|unset|${sandbox.workdir}\n`, "what the next command sees")
        const { mode } = yield* sandbox.files.stat("made")
        yield* expect.equal(mode & 0o002, 0, "whether its files can be written by everybody")
      })
  ),

  check(
    "env-path",
    "a command's name is looked up on the PATH that it is given",
    { needs: ["shell", "modes"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* sandbox.files.makeDirectory("bin")
        yield* sandbox.files.writeFileString("bin/own-command", "#!/bin/sh\necho own\n")
        yield* sandbox.files.chmod("bin/own-command", 0o755)
        const PATH = `${sandbox.workdir}/bin:/usr/bin:/bin`
        yield* expect.equal((yield* sandbox.run("own-command", [], { env: { PATH } })).stdout, "own\n", "found on PATH")
        yield* expect.platformError(sandbox.run("own-command"), "NotFound", "without that PATH")
      })
  ),

  check("env-not-the-hosts", "variables of the host do not leak in", { needs: ["programs", "hostVariable"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const name = bench.options.hostVariable ?? ""
      for (const options of [{}, { env: { A: "1" } }, { env: { A: "1" }, extendEnv: false }]) {
        const { stdout } = yield* sandbox.run("/usr/bin/env", [], options)
        const found = stdout.split("\n").filter((line) => line.startsWith(`${name}=`))
        yield* expect.equal(found, [], `the host's variable ${name}, inside`)
      }
    })
  )
]
