import { CallLifetime, type LocalDriver, ProcessSignalled, Sandbox } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, FileSystem, PlatformError, Scope, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { spawn as spawnOnHost } from "node:child_process"
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import * as path from "node:path"
import {
  cannot,
  driver,
  eventually,
  exec,
  gone,
  hostDirectory,
  inSession,
  instance,
  lab,
  levels,
  output,
  processesWith,
  processLimitWorks,
  running,
  scoped,
  sh,
  spawn,
  spec,
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

    describe("what the driver gives, without the environment", () => {
      it.live(
        "a signal right after the start is not lost",
        () =>
          Effect.gen(function* () {
            const { spawner } = yield* instance(options)
            for (const killSignal of ["SIGTERM", "SIGUSR1", "SIGKILL"] as const) {
              const handle = yield* spawner.spawn(ChildProcess.make("sleep", ["60"]))
              const [millis] = yield* timed(handle.kill({ killSignal }))
              assert.isBelow(millis, 5000)
              const error = yield* Effect.flip(handle.exitCode)
              assert.deepStrictEqual(error.cause, new ProcessSignalled({ signal: killSignal }))
            }
          }),
        limit
      )

      it.live(
        "F18 the end is told after the command's scope has closed, too",
        () =>
          Effect.gen(function* () {
            const { spawner } = yield* instance(options)
            const one = yield* scoped(spawner.spawn(ChildProcess.make("sleep", ["60"])))
            yield* one.close
            const error = yield* Effect.flip(one.value.exitCode)
            assert.deepStrictEqual(error.cause, new ProcessSignalled({ signal: "SIGTERM" }))
          }),
        limit
      )

      it.live(
        "F17 an input that breaks off is an error, not the end of the input",
        () =>
          Effect.gen(function* () {
            const { spawner } = yield* instance(options)
            const broken = PlatformError.systemError({ _tag: "UnexpectedEof", module: "test", method: "source" })
            const stdin = Stream.concat(Stream.make(new TextEncoder().encode("half")), Stream.fail(broken))
            const handle = yield* spawner.spawn(ChildProcess.make("cat", { stdin }))
            const error = yield* Effect.flip(handle.exitCode)
            assert.strictEqual(error.reason._tag, "UnexpectedEof")
          }),
        limit
      )

      it.live(
        "S1 reset ends commands of sessions that still run, and leaves those of set-up",
        () =>
          Effect.gen(function* () {
            const sleep = token()
            const { reset, spawner } = yield* instance(options)
            const start = spawner.spawn(ChildProcess.make("sleep", [sleep]))
            const ofSetUp = yield* Effect.provideService(start, CallLifetime, "sandbox")
            const ofSession = yield* start
            yield* reset
            assert.isFalse(yield* ofSession.isRunning)
            assert.isTrue(yield* ofSetUp.isRunning)
            yield* Effect.flip(ofSession.exitCode)
          }),
        limit
      )

      it.live(
        "I7 an open file is nobody's once its scope has closed, also when its descriptor's number is used again",
        () =>
          Effect.gen(function* () {
            const { fileSystem } = yield* instance(options)
            yield* fileSystem.writeFileString("one", "one")
            yield* fileSystem.writeFileString("two", "two")
            const closed = yield* Effect.scoped(fileSystem.open("one", { flag: "r+" }))
            yield* Effect.forEach(Array.from({ length: 50 }), () => fileSystem.open("two", { flag: "r+" }))
            for (const operation of [closed.readAlloc(3), closed.writeAll(new Uint8Array(3)), closed.truncate(0)]) {
              const error = yield* Effect.flip<unknown, PlatformError.PlatformError, never>(operation)
              assert.strictEqual(error.reason._tag, "BadResource")
            }
            assert.strictEqual(yield* fileSystem.readFileString("two"), "two")
          }),
        limit
      )

      it.live(
        "F26 a command that is interrupted while it starts is gone at once",
        () =>
          Effect.gen(function* () {
            const sleep = token()
            const one = yield* instance({ ...options, forceKillAfter: "30 seconds" })
            for (const millis of [0, 1, 3, 10, 30]) {
              const fiber = yield* Effect.forkChild(spawn(one, ChildProcess.make("sleep", [sleep])))
              yield* Effect.sleep(millis)
              const [took] = yield* timed(Fiber.interrupt(fiber))
              assert.isBelow(took, 5000, "it was asked politely before it could hear")
              yield* gone(sleep)
            }
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
              const error = yield* Effect.flip(exec("./script"))
              assert.strictEqual(error._tag === "PlatformError" && error.reason._tag, "NotFound")
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

    describe("between sessions", () => {
      const list = output(`find . "$TMPDIR" -mindepth 1 | grep -v '/effect-sandbox-' || true`)

      it.live(
        "S1 reset leaves no files",
        () =>
          Effect.gen(function* () {
            const environment = yield* lab(options)
            const mess = sh(`
              mkdir -p deep/a/b/c locked/inner .dot; echo x >deep/a/b/c/file; echo x >.hidden; echo x >.dot/file
              echo x >locked/inner/file; chmod 000 locked/inner locked
              ln -s /etc link; ln -s . loop; ln -s missing dangling; ln deep/a/b/c/file hard; mkfifo pipe
              touch "$(printf 'new\\nline')" "$(printf 'not \\377 text')" "$(printf '\\303')" -- -dash 'sp ace' '"'
              mkdir "$(printf 'directory \\376')"; touch "$(printf 'directory \\376/\\375')"
              mktemp; mktemp -d; echo x >"$TMPDIR/.hidden"; touch "$TMPDIR/$(printf '\\377')"
              chmod 500 .; chmod 000 "$TMPDIR"
            `)
            const first = yield* environment.withSession({}, Effect.all([Sandbox, mess]))
            assert.deepStrictEqual(first[1].outcome, exited(0), first[1].stderr)
            const [sandbox, found] = yield* environment.withSession({}, Effect.all([Sandbox, list]))
            assert.strictEqual(sandbox.id, first[0].id, "it is the same sandbox")
            assert.strictEqual(found, "")
            const again = yield* environment.withSession(
              {},
              output('echo a >file && echo b >"$TMPDIR/file" && cat file')
            )
            assert.strictEqual(again, "a\n")
          }),
        limit
      )

      it.live(
        "S1 reset leaves no processes",
        () =>
          Effect.gen(function* () {
            const sleep = token()
            const environment = yield* lab(options)
            const left = sh(`
              sleep ${sleep} & setsid sleep ${sleep} & (setsid sh -c 'trap "" TERM HUP INT; sleep ${sleep}; true' &)
              env -i /usr/bin/setsid /bin/sleep ${sleep} &
              EFFECT_SANDBOX=session:/somewhere/else:1 setsid sleep ${sleep} &
              cd "$TMPDIR" && env -i /usr/bin/setsid /bin/sleep ${sleep} &
              sleep 0.3
            `)
            const first = yield* environment.withSession({}, Effect.all([Sandbox, left]))
            assert.deepStrictEqual(first[1].outcome, exited(0))
            const second = yield* environment.withSession(
              {},
              Effect.tap(Sandbox, () => Effect.sync(() => assert.deepStrictEqual(processesWith(sleep), [])))
            )
            assert.strictEqual(second.id, first[0].id, "it is the same sandbox")
          }),
        limit
      )

      it.live(
        "S1 reset kills a process that keeps forking away",
        () =>
          Effect.gen(function* () {
            const sleep = token()
            const environment = yield* lab(options)
            const fork = `sh -c 'i=0; while [ $i -lt 60 ]; do setsid sleep ${sleep} & i=$((i+1)); sleep 0.02; done'`
            yield* environment.withSession({}, sh(`setsid ${fork} & sleep 0.2`))
            yield* environment.withSession({}, Effect.void)
            yield* Effect.sleep(200)
            assert.deepStrictEqual(processesWith(sleep), [])
          }),
        limit
      )

      it.live(
        "S1 a changed environment and working directory end with their command",
        () =>
          inSession(
            options,
            Effect.gen(function* () {
              const { workdir } = yield* Sandbox
              yield* output("mkdir d; cd d; export A=1; umask 0; ulimit -n 10")
              assert.strictEqual(yield* output('echo "$PWD ${A-unset}"'), `${workdir} unset\n`)
            })
          ),
        limit
      )

      it.live(
        "F26 a workspace that the session has removed or replaced is whole again",
        () =>
          Effect.gen(function* () {
            const host = yield* hostDirectory
            fs.writeFileSync(path.join(host, "precious"), "precious")
            const one = yield* instance(options)
            for (const replace of [
              () => fs.rmSync(one.workdir, { recursive: true }),
              () => {
                fs.rmSync(one.workdir, { recursive: true })
                fs.symlinkSync(host, one.workdir)
              },
              () => {
                fs.rmSync(one.workdir, { recursive: true })
                fs.writeFileSync(one.workdir, "a file")
              }
            ]) {
              replace()
              yield* one.reset
              const listed = yield* spawn(one, ChildProcess.make("sh", ["-c", "ls -A; pwd -P; echo a >file"]))
              assert.strictEqual(listed.stdout, `${one.workdir}\n`)
              assert.deepStrictEqual(fs.readdirSync(one.workdir), ["file"])
              assert.deepStrictEqual(fs.readdirSync(host), ["precious"])
            }
          }),
        limit
      )

      it.live(
        "F30 S1 nothing is killed by its name: a stranger with the same command line lives on",
        () =>
          Effect.gen(function* () {
            const sleep = token()
            const stranger = spawnOnHost("sleep", [sleep], { stdio: "ignore", detached: true })
            yield* Effect.addFinalizer(() => Effect.sync(() => stranger.kill("SIGKILL")))
            const other = yield* instance(options)
            yield* other.spawner.spawn(ChildProcess.make("sleep", [sleep]))
            const one = yield* scoped(instance(options))
            yield* spawn(
              one.value,
              ChildProcess.make("sh", ["-c", `setsid sleep ${sleep} >/dev/null 2>&1 & sleep 0.1`])
            )
            yield* running(sleep, 3)
            const before = processesWith(sleep)
            yield* one.value.reset
            yield* one.close
            const left = processesWith(sleep)
            assert.include(left, String(stranger.pid))
            assert.isAtLeast(left.length, 2, "the other sandbox's lives, too")
            assert.isTrue(left.every((pid) => before.includes(pid)))
          }),
        limit
      )

      it.live(
        "what belongs to the sandbox outlives its sessions: home, and processes of set-up",
        () =>
          Effect.gen(function* () {
            const ofSandbox = Effect.provideService(CallLifetime, "sandbox")
            const [daemon, writer, session] = [token(), token(), token()]
            const one = yield* scoped(instance(options))
            const { fileSystem, home = "", spawner } = one.value
            yield* ofSandbox(fileSystem.writeFileString(`${home}/tool`, "#!/bin/sh\necho tool\n"))
            yield* ofSandbox(fileSystem.chmod(`${home}/tool`, 0o755))
            const scope = yield* Scope.make()
            const start = (script: string) =>
              Scope.provide(spawner.spawn(ChildProcess.make("sh", ["-c", script])), scope)
            // Each says in a file that it runs: an isolated command's name is on the host before the command is.
            yield* ofSandbox(start(`echo up >"${home}/daemon"; exec setsid -w sleep ${daemon}`))
            yield* ofSandbox(start(`echo up >"${home}/writer"; sleep ${writer}`))
            yield* start(`echo up >up; sleep ${session}`)
            for (const file of [`${home}/daemon`, `${home}/writer`, path.join(one.value.workdir, "up")]) {
              yield* eventually(file, () => fs.existsSync(file) && fs.readFileSync(file, "utf8") === "up\n")
            }
            yield* one.value.reset
            assert.isNotEmpty(processesWith(daemon))
            assert.isNotEmpty(processesWith(writer))
            assert.strictEqual(yield* fileSystem.readFileString(`${home}/writer`), "up\n")
            assert.strictEqual((yield* spawn(one.value, ChildProcess.make(`${home}/tool`))).stdout, "tool\n")
            assert.strictEqual(
              (yield* Effect.flip(fileSystem.writeFileString(`${home}/tool`, ""))).reason._tag,
              "PermissionDenied"
            )
            if (isolation === "none") assert.deepStrictEqual(processesWith(session), [])
            yield* Scope.close(scope, Exit.void)
            yield* one.close
            for (const sleep of [daemon, writer, session]) yield* gone(sleep)
            assert.isFalse(fs.existsSync(home))
          }),
        limit
      )

      it.live(
        "templates are copied before each session, links as links",
        () =>
          Effect.gen(function* () {
            const host = yield* hostDirectory
            const template = path.join(host, "template")
            fs.mkdirSync(path.join(template, "src"), { recursive: true })
            fs.writeFileSync(path.join(template, "src", "main"), "original")
            fs.writeFileSync(path.join(template, ".hidden"), "")
            fs.writeFileSync(path.join(template, "run"), "#!/bin/sh\necho ran\n", { mode: 0o755 })
            fs.symlinkSync("src/main", path.join(template, "link"))
            const environment = yield* lab({ ...options, images: { shell: template } }, { images: ["shell", "bare"] })
            for (let i = 0; i < 2; i++) {
              const seen = yield* environment.withSession(
                {},
                output("./run; cat link; ls -A; readlink link; echo changed >src/main; rm .hidden run; touch more")
              )
              assert.strictEqual(seen, "ran\noriginal.hidden\nlink\nrun\nsrc\nsrc/main\n")
            }
            assert.strictEqual(yield* environment.withSession({ image: "bare" }, output("ls -A")), "")
            assert.strictEqual(fs.readFileSync(path.join(template, "src", "main"), "utf8"), "original")
          }),
        limit
      )
    })

    describe("the end", () => {
      it.live(
        "I7 nothing is left: no directory, no process, no zombie",
        () =>
          Effect.gen(function* () {
            const host = yield* hostDirectory
            const root = path.join(host, "made", "for it")
            const sleep = token()
            const environment = yield* scoped(lab({ ...options, root }, { pool: 2 }))
            yield* environment.value.withSession({}, sh(`setsid sleep ${sleep} & mkdir -m 000 locked; sleep 0.1`))
            assert.notDeepEqual(fs.readdirSync(root), [])
            // A session that is running is ended, too.
            const busy = yield* Effect.forkChild(
              environment.value.withSession({}, sh(`setsid sleep ${sleep} & sleep ${sleep}`))
            )
            yield* running(sleep)
            yield* environment.close
            yield* Fiber.await(busy)
            assert.deepStrictEqual(processesWith(sleep), [])
            assert.deepStrictEqual(fs.readdirSync(root), [], "the root itself is its owner's")
            // Those of the tests beside this one are asked about at once; a zombie that is left stays.
            const dead = zombies()
            yield* eventually("no zombies", () => !zombies().some((pid) => dead.includes(pid)))
          }),
        limit
      )

      it.live(
        "the default root is removed",
        () =>
          Effect.gen(function* () {
            const one = yield* scoped(instance(options))
            yield* one.value.fileSystem.writeFileString("file", "")
            const root = path.dirname(path.dirname(one.value.workdir))
            assert.isTrue(fs.existsSync(root))
            yield* one.close
            assert.isFalse(fs.existsSync(one.value.workdir))
            assert.isFalse(fs.existsSync(root))
          }),
        limit
      )

      it.live(
        "F26 an interrupted start leaves nothing",
        () =>
          Effect.gen(function* () {
            const root = yield* hostDirectory
            const made = yield* driver({ ...options, root })
            for (let millis = 0; millis < 12; millis++) {
              yield* made.create(spec()).pipe(Effect.scoped, Effect.timeoutOption(millis))
            }
            assert.deepStrictEqual(fs.readdirSync(root), [])
          }),
        limit
      )

      it.live(
        "L27 sandboxes with strange ids stay within the root, apart from each other",
        () =>
          Effect.gen(function* () {
            const root = fs.realpathSync(yield* hostDirectory)
            const made = yield* driver({ ...options, root })
            const ids = [
              "..",
              ".",
              "/etc",
              "a/b",
              "a%2fb",
              "a%2f;b",
              "A/B",
              "%",
              " ",
              "new\nline",
              "é",
              "x".repeat(500),
              "..;"
            ]
            const directories = yield* Effect.forEach(ids, (id) =>
              Effect.gen(function* () {
                const one = yield* made.create(spec({ environmentId: id, sandboxId: id }))
                yield* one.fileSystem.writeFileString("id", id)
                const shown = yield* spawn(one, ChildProcess.make("cat", ["id"]))
                assert.strictEqual(shown.stdout, id)
                return one.workdir
              })
            )
            assert.strictEqual(new Set(directories).size, ids.length)
            for (const directory of directories) {
              assert.isTrue(fs.realpathSync(directory).startsWith(`${root}/`), directory)
              assert.deepStrictEqual(fs.readdirSync(directory), ["id"])
            }
          }),
        limit
      )
    })

    describe.skipIf(!processLimitWorks)("maxProcesses", () => {
      it.live(
        "holds for all commands of a sandbox together, and its control group goes with the sandbox",
        () =>
          Effect.gen(function* () {
            const sleep = token()
            const one = yield* scoped(instance({ ...options, maxProcesses: 24 }))
            // A shell would give up at the first fork that fails.
            const many = 'for (1..60) { my $pid = fork; exec "sleep", @ARGV if defined $pid && !$pid } sleep 100'
            yield* Effect.scoped(
              Effect.gen(function* () {
                for (let i = 0; i < 2; i++)
                  yield* one.value.spawner.spawn(ChildProcess.make("perl", ["-e", many, sleep]))
                yield* running(`sleep\0${sleep}`, 10)
                yield* Effect.sleep(300)
                assert.isAtMost(processesWith(`sleep\0${sleep}`).length, 24)
              })
            )
            yield* one.value.reset
            assert.strictEqual((yield* spawn(one.value, ChildProcess.make("echo", ["again"]))).stdout, "again\n")
            const group = path.basename(path.dirname(one.value.workdir))
            assert.isNotEmpty(controlGroups(group))
            yield* one.close
            assert.deepStrictEqual(controlGroups(group), [])
            assert.deepStrictEqual(processesWith(sleep), [])
          }),
        limit
      )
    })
  })
}

/** Children of this process that have ended and that nobody has asked about. */
const zombies = (): ReadonlyArray<string> =>
  fs.readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      return new RegExp(`\\) Z ${process.pid} `).test(fs.readFileSync(`/proc/${pid}/stat`, "latin1"))
    } catch {
      return false
    }
  })

const controlGroups = (name: string): ReadonlyArray<string> =>
  ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].filter((hierarchy) =>
    fs.existsSync(path.join(hierarchy, `effect-sandbox-${name}`))
  )
