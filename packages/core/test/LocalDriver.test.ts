import type { LocalDriver } from "@effect-sandbox/core"
import { Sandbox } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, FileSystem, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { createHash } from "node:crypto"
import * as path from "node:path"
import {
  cannot,
  eventually,
  exec,
  gone,
  inSession,
  lab,
  levels,
  output,
  processesWith,
  running,
  sh,
  timed,
  token
} from "./support/LocalTest.ts"

const limit = 20_000
const exited = (code: number) => ({ _tag: "Exited" as const, code })

for (const isolation of levels) {
  const options: LocalDriver.Options = { isolation }

  describe.skipIf(cannot(isolation))(`isolation ${isolation}`, () => {
    describe("ends of commands", () => {
      it.live(
        "F1 returns when the command exits, whoever else holds its output; what stays behind dies with the session",
        () =>
          Effect.gen(function* () {
            const sleep = token()
            const environment = yield* lab(options)
            const [millis, result] = yield* timed(
              environment.withSession({}, sh(`sleep ${sleep} & setsid sleep ${sleep} & echo started; echo oops >&2`))
            )
            assert.deepStrictEqual(result.outcome, exited(0))
            assert.strictEqual(result.stdout, "started\n")
            assert.strictEqual(result.stderr, "oops\n")
            assert.isBelow(millis, 3000)
            yield* environment.withSession({}, Effect.void)
            assert.deepStrictEqual(processesWith(sleep), [])
          }),
        limit
      )

      it.live(
        "F1 a background process that never stops writing holds nobody up",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const [millis, result] = yield* timed(sh("echo first; yes >&2 & sleep 0.2", { maxOutputBytes: 1000 }))
              assert.deepStrictEqual(result.outcome, exited(0))
              assert.strictEqual(result.stdout, "first\n")
              assert.isTrue(result.truncated.stderr)
              assert.isBelow(millis, 4000)
            })
          ),
        limit
      )

      it.live(
        "F2 a timeout kills the whole tree, politely first, and says so",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const sleep = token()
              const script = `trap 'echo >polite; exit 3' TERM; sh -c "sleep ${sleep} & wait" & echo out; wait`
              const [millis, result] = yield* timed(sh(script, { timeout: "400 millis" }))
              assert.deepStrictEqual(result.outcome, { _tag: "TimedOut", timeoutMillis: 400 })
              assert.strictEqual(result.stdout, "out\n")
              assert.strictEqual(yield* output("ls"), "polite\n")
              assert.isBelow(millis, 4000)
              assert.isAtLeast(result.durationMillis, 400)
              assert.deepStrictEqual(processesWith(sleep), [])
            })
          ),
        limit
      )

      it.live(
        "F2 a timeout kills what left the command's process group, too",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const sleep = token()
              yield* sh(`setsid sleep ${sleep} & sleep ${sleep}`, { timeout: "400 millis" })
              assert.deepStrictEqual(processesWith(sleep), [])
            })
          ),
        limit
      )

      it.live(
        "F2 F3 a command that ignores the polite signal is killed after forceKillAfter",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const sleep = token()
              const script = `trap "" TERM INT HUP; echo out; sh -c "sleep ${sleep}"; sleep ${sleep}`
              const [millis, result] = yield* timed(sh(script, { timeout: "300 millis", forceKillAfter: "300 millis" }))
              assert.deepStrictEqual(result.outcome, { _tag: "TimedOut", timeoutMillis: 300 })
              assert.strictEqual(result.stdout, "out\n")
              assert.isBelow(millis, 3500)
              yield* gone(sleep)
            })
          ),
        limit
      )

      it.live(
        "F18 the exit code is the system's",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              for (const code of [0, 1, 3, 125, 126, 127, 130, 137, 143, 255]) {
                assert.deepStrictEqual((yield* sh(`exit ${code}`)).outcome, exited(code))
              }
            })
          ),
        limit
      )

      it.live(
        "F18 F31 a death by signal is no exit code, and what was written before is kept",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              for (const signal of ["KILL", "SEGV", "TERM", "ABRT", "HUP"]) {
                const result = yield* sh(`echo before; kill -${signal} $$; echo after`)
                assert.deepStrictEqual(result.outcome, { _tag: "Signalled", signal: `SIG${signal}` })
                assert.strictEqual(result.stdout, "before\n")
              }
            })
          ),
        limit
      )

      it.live(
        "F30 a command that signals its whole process group hurts nobody else",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const other = yield* Effect.forkChild(output("sleep 1; echo survived"), { startImmediately: true })
              for (const [kill, signal] of [
                ["kill 0", "SIGTERM"],
                ["kill -KILL 0", "SIGKILL"]
              ] as const) {
                const result = yield* sh(`echo before; ${kill}; sleep 5; echo after`)
                assert.deepStrictEqual(result.outcome, { _tag: "Signalled", signal })
                assert.strictEqual(result.stdout, "before\n")
              }
              // In namespaces the leader of the group cannot be named.
              assert.notStrictEqual((yield* sh("kill -TERM -$$")).outcome._tag, "Unknown")
              assert.strictEqual(yield* Fiber.join(other), "survived\n")
            })
          ),
        limit
      )

      it.live(
        "S5 interruption kills the command, its children and its grandchildren",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const sleep = token()
              const fiber = yield* Effect.forkChild(
                sh(`sh -c "sleep ${sleep} & wait" & setsid sleep ${sleep} & sleep ${sleep}`)
              )
              yield* eventually("three sleeps", () => processesWith(`sleep\0${sleep}`).length >= 3)
              yield* Fiber.interrupt(fiber)
              yield* gone(sleep)
            })
          ),
        limit
      )

      it.live(
        "S5 interrupting the user of a session kills what runs in it",
        () =>
          Effect.gen(function* () {
            const sleep = token()
            const environment = yield* lab(options)
            const body = Effect.gen(function* () {
              const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
              yield* spawner.spawn(ChildProcess.make("sleep", [sleep]))
              yield* sh(`sleep ${sleep}`)
            })
            const fiber = yield* Effect.forkChild(environment.withSession({}, Effect.scoped(body)))
            yield* running(sleep, 2)
            yield* Fiber.interrupt(fiber)
            assert.deepStrictEqual(processesWith(sleep), [])
            assert.strictEqual(yield* environment.withSession({}, output("echo on")), "on\n")
          }),
        limit
      )
    })

    describe("streams", () => {
      it.live(
        "F7 standard input is closed and no terminal, unless it is given",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              assert.strictEqual(yield* output("cat; test -t 0 || echo no terminal"), "no terminal\n")
              assert.strictEqual(yield* output("read line || echo end of input"), "end of input\n")
              assert.strictEqual(yield* output("cat", { stdin: "given" }), "given")
            })
          ),
        limit
      )

      it.live(
        "F7 output limits hold per stream and are reported",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const both = yield* sh("head -c 500000 /dev/zero; echo short >&2; exit 4", { maxOutputBytes: 1000 })
              assert.deepStrictEqual(both.outcome, exited(4))
              assert.strictEqual(both.stdoutBytes.length, 1000)
              assert.strictEqual(both.stderr, "short\n")
              assert.deepStrictEqual(both.truncated, { stdout: true, stderr: false })
              const exact = yield* sh("head -c 1000 /dev/zero", { maxOutputBytes: 1000 })
              assert.deepStrictEqual(exact.truncated, { stdout: false, stderr: false })
              const none = yield* sh("echo a; echo b >&2", { maxOutputBytes: 0 })
              assert.deepStrictEqual([none.stdout, none.stderr], ["", ""])
              assert.deepStrictEqual(none.truncated, { stdout: true, stderr: true })
            })
          ),
        limit
      )

      it.live(
        "F7 a command is killed at the output limit when asked for",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const sleep = token()
              const result = yield* sh(`sleep ${sleep} & yes`, { maxOutputBytes: 1000, onOutputLimit: "kill" })
              assert.deepStrictEqual(result.outcome, { _tag: "OutputLimit", maxOutputBytes: 1000 })
              assert.strictEqual(result.stdout, "y\n".repeat(500))
              assert.isTrue(result.truncated.stdout)
              assert.deepStrictEqual(processesWith(sleep), [])
            })
          ),
        limit
      )

      it.live(
        "F13 a long command streams its output while it runs",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
              const handle = yield* spawner.spawn(
                ChildProcess.make("sh", ["-c", "for i in 1 2 3; do echo $i; read line || exit 9; done"])
              )
              const answers = yield* handle.stdout.pipe(
                Stream.decodeText(),
                Stream.splitLines,
                // The command waits for an answer to every line, so nothing may be held back.
                Stream.mapEffect((line) =>
                  Effect.as(
                    Effect.forkScoped(
                      Stream.run(Stream.make(new TextEncoder().encode("ok\n")), handle.getInputFd(0) && handle.stdin)
                    ),
                    line
                  )
                ),
                Stream.take(1),
                Stream.runCollect
              )
              assert.deepStrictEqual(answers, ["1"])
              assert.isTrue(yield* handle.isRunning)
            }).pipe(Effect.scoped)
          ),
        limit
      )

      it.live(
        "F14 stdout and stderr are separate, in order and complete",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const numbers = 1_350_000
              const result = yield* sh(`seq ${numbers} & seq ${numbers} | sed s/^/e/ >&2; wait`, {
                maxOutputBytes: 32 * 1024 * 1024
              })
              assert.deepStrictEqual(result.outcome, exited(0))
              assert.isAbove(result.stdoutBytes.length, 9_500_000)
              const lines = Array.from({ length: numbers }, (_, index) => `${index + 1}\n`)
              // Not `strictEqual`, whose message would hold both.
              assert.isTrue(result.stdout === lines.join(""), "stdout")
              assert.isTrue(result.stderr === lines.map((line) => `e${line}`).join(""), "stderr")
            })
          ),
        limit
      )

      it.live(
        "F16 characters of several bytes survive being split over chunks",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const split = yield* output("printf 'a\\342'; sleep 0.1; printf '\\202'; sleep 0.1; printf '\\254b'")
              assert.strictEqual(split, "a€b")
              const count = 200_000
              const long = yield* output(`printf a; head -c ${count} /dev/zero | sed 's/\\x00/€/g'`)
              assert.isTrue(long === `a${"€".repeat(count)}`, "600 KB of euros")
            })
          ),
        limit
      )

      it.live(
        "F16 what is not UTF-8 becomes U+FFFD, and the bytes are kept",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const result = yield* sh("printf '\\377a\\303'")
              assert.strictEqual(result.stdout, "\uFFFDa\uFFFD")
              assert.deepStrictEqual([...result.stdoutBytes], [0xff, 0x61, 0xc3])
            })
          ),
        limit
      )

      it.live(
        "F17 all of a large standard input arrives",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const input = new Uint8Array(5 * 1024 * 1024).map((_, index) => (index * 31) % 251)
              const sum = createHash("sha256").update(input).digest("hex")
              assert.include(yield* output("sha256sum", { stdin: input }), sum)
              const chunks = Stream.fromIterable(
                Array.from({ length: 500 }, (_, index) => input.subarray(index * 10486, (index + 1) * 10486))
              )
              assert.include(yield* output("sleep 0.2; sha256sum", { stdin: chunks }), sum)
            })
          ),
        limit
      )

      it.live(
        "F17 a command that does not read its input is no error",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const stdin = new Uint8Array(5 * 1024 * 1024)
              for (const script of ["exit 0", "head -c 1 >/dev/null", "exec <&-; sleep 0.2"]) {
                const [millis, result] = yield* timed(sh(script, { stdin }))
                assert.deepStrictEqual(result.outcome, exited(0))
                assert.isBelow(millis, 3000)
              }
            })
          ),
        limit
      )

      it.live(
        "piped commands, and commands of a shell",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
              const make = ChildProcess.make
              const piped = make("printf", ["b\\na\\nb\\n"]).pipe(
                ChildProcess.pipeTo(make("sort")),
                ChildProcess.pipeTo(make("uniq", ["-c"]))
              )
              assert.deepStrictEqual(
                (yield* spawner.lines(piped)).map((line) => line.trim()),
                ["1 a", "2 b"]
              )
              const errors = make("sh", ["-c", "echo out; echo error >&2"]).pipe(
                ChildProcess.pipeTo(make("cat"), { from: "stderr" })
              )
              assert.strictEqual(yield* spawner.string(errors), "error\n")
              const failing = make("true").pipe(ChildProcess.pipeTo(make("sh", ["-c", "exit 5"])))
              assert.strictEqual(yield* spawner.exitCode(failing), 5)
              assert.strictEqual(yield* spawner.string(make("echo $((1 + 2)) | cat", { shell: true })), "3\n")
              assert.strictEqual(yield* spawner.string(make("echo ${0##*/}", { shell: "/bin/bash" })), "bash\n")
            }).pipe(Effect.scoped)
          ),
        limit
      )
    })

    describe("where and how commands run", () => {
      const names = ["with space", "quo'te", '"double"', "new\nline", "$HOME `id`", "-dash", "ünï", "a;b", "%2f"]

      it.live(
        "F13 the driver sets the working directory, whatever it is called",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const files = yield* FileSystem.FileSystem
              const { workdir } = yield* Sandbox
              assert.strictEqual(yield* output("pwd"), `${workdir}\n`)
              for (const name of names) {
                yield* files.makeDirectory(name)
                assert.strictEqual(yield* output("pwd", { cwd: name }), `${workdir}/${name}\n`)
                assert.strictEqual(yield* output("pwd", { cwd: `${workdir}/${name}` }), `${workdir}/${name}\n`)
              }
            })
          ),
        limit
      )

      it.live(
        "working directories outside the sandbox, and missing ones, are refused",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const files = yield* FileSystem.FileSystem
              yield* files.symlink("/", "out")
              for (const [cwd, tag] of [
                ["..", "PermissionDenied"],
                ["/", "PermissionDenied"],
                ["out", "PermissionDenied"],
                ["out/usr", "PermissionDenied"],
                ["missing", "NotFound"]
              ] as const) {
                const error = yield* Effect.flip(exec("pwd", [], { cwd }))
                assert.strictEqual(error._tag === "PlatformError" && error.reason._tag, tag, cwd)
              }
            })
          ),
        limit
      )

      it.live(
        "arguments arrive as they are",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const args = ["", " ", "$HOME", "`id`", "a'b", 'a"b', "new\nline", "*", "--", "ü", "\\n"]
              const result = yield* exec("printf", ["%s\\037", ...args])
              assert.deepStrictEqual(result.stdout.split("\u001f").slice(0, -1), args)
            })
          ),
        limit
      )

      it.live(
        "the environment is clean",
        () =>
          Effect.gen(function* () {
            process.env["LOCAL_DRIVER_TEST_SECRET"] = "secret"
            const variables = yield* inSession({ ...options, env: { GIVEN: "1", EMPTY: "" } }, output("env"))
            const names = variables
              .split("\n")
              .map((line) => line.split("=")[0])
              .filter((name) => name !== "")
            assert.deepStrictEqual(names.filter((name) => !["_", "SHLVL", "OLDPWD"].includes(name ?? "")).sort(), [
              "EFFECT_SANDBOX",
              "EMPTY",
              "GIVEN",
              "HOME",
              "LANG",
              "PATH",
              "PWD",
              "TMPDIR"
            ])
          }),
        limit
      )

      it.live(
        "HOME and TMPDIR are the sandbox's own, and can be written",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const { workdir } = yield* Sandbox
              assert.strictEqual(yield* output('echo "$HOME"'), `${workdir}\n`)
              const made = (yield* output("mktemp")).trim()
              const temporary = (yield* output('echo "$TMPDIR"')).trim()
              assert.isTrue(
                made.startsWith(`${isolation === "bubblewrap" ? "/tmp" : temporary}/`) ||
                  made.startsWith(`${temporary}/`)
              )
              assert.strictEqual(path.dirname(temporary), path.dirname(workdir))
            })
          ),
        limit
      )

      it.live(
        "the option env adds, replaces and removes variables",
        () =>
          inSession(
            { ...options, env: { GIVEN: "driver", GONE: "driver" } },
            Effect.gen(function* () {
              const script = 'echo "$GIVEN|${GONE-unset}|$NEW|${LANG-unset}|$HOME"'
              const { workdir } = yield* Sandbox
              const env = { GIVEN: "call", GONE: undefined, NEW: "a b\n'c'", LANG: undefined }
              assert.strictEqual(yield* output(script, { env }), `call|unset|a b\n'c'|unset|${workdir}\n`)
              assert.strictEqual(yield* output(script), `driver|driver||C.UTF-8|${workdir}\n`)
            })
          ),
        limit
      )

      it.live(
        "the spawner's env replaces the environment unless it is to extend it",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
              const show = (extendEnv: boolean) =>
                spawner.string(
                  ChildProcess.make("/bin/sh", ["-c", 'echo "${A-unset} ${LANG-unset}"'], {
                    env: { A: "1" },
                    extendEnv
                  })
                )
              assert.strictEqual(yield* show(true), "1 C.UTF-8\n")
              assert.strictEqual(yield* show(false), "1 unset\n")
            })
          ),
        limit
      )

      it.live(
        "commands that are missing or no executable files are typed errors",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const files = yield* FileSystem.FileSystem
              yield* files.writeFileString("plain", "#!/bin/sh\necho plain\n")
              yield* files.makeDirectory("directory")
              for (const [command, tag] of [
                ["no-such-command", "NotFound"],
                ["./missing", "NotFound"],
                ["/no/such/file", "NotFound"],
                ["./plain", "PermissionDenied"],
                ["./directory", "PermissionDenied"]
              ] as const) {
                const error = yield* Effect.flip(exec(command))
                assert.strictEqual(error._tag === "PlatformError" && error.reason._tag, tag, command)
                assert.include(error.message, command)
              }
              yield* files.chmod("plain", 0o755)
              assert.strictEqual((yield* exec("./plain")).stdout, "plain\n")
              yield* files.makeDirectory("bin")
              yield* files.rename("plain", "bin/plain")
              const found = yield* exec("plain", [], { env: { PATH: "bin:/usr/bin" } })
              assert.strictEqual(found.stdout, "plain\n")
              assert.strictEqual((yield* exec("../bin/plain", [], { cwd: "directory" })).stdout, "plain\n")
            })
          ),
        limit
      )

      it.live(
        "F31 a file that the system cannot execute is no exit code",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const files = yield* FileSystem.FileSystem
              yield* files.writeFileString("script", "#!/no/such/interpreter\n")
              yield* files.chmod("script", 0o755)
              const exit = yield* Effect.exit(exec("./script"))
              assert.isFalse(Exit.isSuccess(exit) && exit.value.outcome._tag === "Exited", JSON.stringify(exit))
            })
          ),
        limit
      )

      it.live(
        "F13 an argument list that is too long is a typed error",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const error = yield* Effect.flip(exec("echo", ["a".repeat(3_000_000)]))
              assert.strictEqual(error._tag, "PlatformError")
              assert.strictEqual(yield* output("echo on"), "on\n")
            })
          ),
        limit
      )

      it.live(
        "the host's streams cannot be inherited",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
              for (const one of [
                { stdin: "inherit" },
                { stdout: "inherit" },
                { stderr: { stream: "inherit" } }
              ] as const) {
                const error = yield* Effect.flip(spawner.spawn(ChildProcess.make("echo", ["a"], one)))
                assert.strictEqual(error.reason._tag, "BadArgument")
              }
            }).pipe(Effect.scoped)
          ),
        limit
      )
    })
  })
}
