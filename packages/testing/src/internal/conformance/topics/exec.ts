/** `sandbox.exec` on the driver, in a session of the core's environment. */
import { Sandbox } from "@effect-sandbox/core/Sandbox"
import * as Effect from "effect/Effect"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { exited, inSession, sh } from "../inSession.ts"
import * as pattern from "../pattern.ts"

const check = inTopic("exec")

export const checks = [
  check("exec-result", "exec gives the outcome, both outputs and the time it took", { needs: ["shell"] }, (bench) =>
    inSession(bench, () =>
      Effect.gen(function* () {
        const result = yield* sh("echo out; echo error >&2; sleep 0.3; exit 3")
        yield* expect.equal(
          { outcome: result.outcome, stdout: result.stdout, stderr: result.stderr, truncated: result.truncated },
          { outcome: exited(3), stdout: "out\n", stderr: "error\n", truncated: { stdout: false, stderr: false } },
          "the result"
        )
        yield* expect.atLeast(result.durationMillis, 250, "the time of a command that sleeps for 300 ms")
      })
    )
  ),

  check(
    "exec-signalled",
    "a death by signal is an outcome of its own",
    { marks: ["F31", "F25"], needs: ["shell", "signals"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const result = yield* sh("echo before; kill -KILL $$")
          yield* expect.equal(result.outcome, { _tag: "Signalled", signal: "SIGKILL" }, "the outcome")
          yield* expect.equal(result.stdout, "before\n", "stdout")
        })
      )
  ),

  check(
    "exec-stdin-closed",
    "without input a command sees its end at once",
    { marks: ["F7"], needs: ["shell"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const result = yield* expect.promptly(sh("cat; read -r line || echo no input"), "exec")
          yield* expect.equal([result.outcome, result.stdout], [exited(0), "no input\n"], "the result")
        })
      )
  ),

  check("exec-stdin-given", "text, bytes and streams are input", { marks: ["F17"], needs: ["programs"] }, (bench) =>
    inSession(bench, () =>
      Effect.gen(function* () {
        const sandbox = yield* Sandbox
        const length = 500_000
        const given = pattern.slice(pattern.noise, 0, length)
        yield* expect.equal((yield* sandbox.exec("cat", [], { stdin: "text é" })).stdout, "text é", "text")
        for (const stdin of [given, pattern.stream(pattern.noise, length, 9999)]) {
          const { stdoutBytes } = yield* sandbox.exec("cat", [], { stdin })
          yield* expect.bytes(stdoutBytes, given, "bytes")
        }
      })
    )
  ),

  check(
    "exec-user-refused",
    "the option `user` is refused by a driver that cannot honour it, and nothing runs",
    { marks: ["F5"], needs: ["programs"] },
    (bench) =>
      inSession(bench, (subject) =>
        Effect.gen(function* () {
          if (subject.instance.capabilities?.user === true) {
            // `exec-user` sees to it, which is skipped without the option.
            return yield* expect.isTrue(
              bench.has("user"),
              "the driver says that it can; say with the option `user` whom to try"
            )
          }
          const sandbox = yield* Sandbox
          const error = yield* expect.fails(sandbox.exec("touch", ["ran"], { user: "nobody" }), "exec as another user")
          yield* expect.equal(error._tag, "UnsupportedOptionError", "the kind of error")
          yield* expect.equal(yield* subject.files.exists("ran"), false, "whether the command ran")
        })
      )
  ),

  check(
    "exec-user",
    "commands run as the user that was asked for",
    { marks: ["F5"], needs: ["programs", "user"] },
    (bench) =>
      inSession(bench, (subject) =>
        Effect.gen(function* () {
          const user = bench.options.user ?? { name: "", uid: -1 }
          yield* expect.equal(subject.instance.capabilities?.user, true, "the driver's capability `user`")
          const sandbox = yield* Sandbox
          const result = yield* sandbox.exec("id", ["-u"], { user: user.name })
          yield* expect.equal([result.outcome, result.stdout], [exited(0), `${user.uid}\n`], "the user's number")
          const usual = yield* sandbox.exec("id", ["-u"])
          yield* expect.isTrue(usual.stdout !== result.stdout, "without the option it is the same user")
        })
      )
  ),

  check(
    "exec-not-started",
    "a command that could not be started is an error that names the layer and the command",
    { marks: ["F6", "F31"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox
          const error = yield* expect.platformError(sandbox.exec("no-such-command-7291"), "NotFound", "exec")
          yield* expect.equal([error.reason.module, error.reason.method], ["ChildProcess", "spawn"], "the layer")
          yield* expect.includes(error.message, "no-such-command-7291", "the message")
        })
      )
  ),

  check(
    "exec-cwd-and-env",
    "exec takes a working directory and variables, and removes variables",
    { marks: ["F13"], needs: ["shell"] },
    (bench) =>
      inSession(bench, (subject) =>
        Effect.gen(function* () {
          yield* subject.files.makeDirectory("a 'b'")
          const options = { cwd: "a 'b'", env: { GIVEN: "1 '2'", HOME: undefined } }
          const result = yield* sh('echo "$(pwd)|$GIVEN|${HOME-unset}|${PATH:+path}"', options)
          yield* expect.equal(result.stdout, `${subject.workdir}/a 'b'|1 '2'|unset|path\n`, "what it sees")
        })
      )
  ),

  check(
    "exec-bytes-and-text",
    "output is text and bytes: what is not UTF-8 is replaced in the one and kept in the other",
    { marks: ["F16"], needs: ["programs"] },
    (bench) =>
      inSession(bench, () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox
          const { stdout, stdoutBytes } = yield* sandbox.exec("printf", ["\\377a\\303"])
          yield* expect.equal(stdout, "\uFFFDa\uFFFD", "the text")
          yield* expect.bytes(stdoutBytes, Uint8Array.of(0xff, 0x61, 0xc3), "the bytes")
        })
      )
  ),

  check("exec-once", "a command runs once, whatever its end", { marks: ["F27", "X7"], needs: ["shell"] }, (bench) =>
    inSession(bench, (subject) =>
      Effect.gen(function* () {
        for (const [script, options] of [
          ["exit 1", {}],
          ["kill -KILL $$", {}],
          ["sleep 60", { timeout: "2 seconds" }],
          ["yes", { maxOutputBytes: 10, onOutputLimit: "kill" }]
        ] as const) {
          yield* Effect.exit(sh(`echo x >>count; ${script}`, options))
        }
        yield* expect.equal(yield* subject.files.readFileString("count"), "x\n".repeat(4), "four commands, a line each")
      })
    )
  )
]
