/** The arguments of commands, exactly as they were given (F13). */
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Redacted from "effect/Redacted"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { oddWords } from "../oddWords.ts"
import { exited, finish } from "../subject.ts"

const check = inTopic("arguments")

export const checks = [
  check("arguments-verbatim", "arguments arrive as they are", { marks: ["F13"], needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const { end, stdout } = yield* sandbox.run("printf", ["%s\\037", ...oddWords])
      yield* expect.equal(end, exited(0), "the end")
      yield* expect.equal(stdout.split("\u001f").slice(0, -1), oddWords, "the arguments")
    })
  ),

  check("arguments-counted", "empty arguments are arguments, and no argument is none", { needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const count = (...args: ReadonlyArray<string>) =>
        Effect.map(sandbox.run("sh", ["-c", "echo $#", "sh", ...args]), ({ stdout }) => stdout)
      yield* expect.equal(yield* count(), "0\n", "no arguments")
      yield* expect.equal(yield* count(""), "1\n", "an empty one")
      yield* expect.equal(yield* count("", "", ""), "3\n", "three empty ones")
      yield* expect.equal(yield* count("a b"), "1\n", "one with a space")
    })
  ),

  check("arguments-long", "an argument of 100 KB arrives whole", { needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const long = "0123456789".repeat(10_000)
      const { stdout } = yield* sandbox.run("printf", ["%s", long])
      yield* expect.equal(stdout.length, long.length, "the length of what arrived")
      yield* expect.isTrue(stdout === long, "what arrived differs")
    })
  ),

  check("arguments-many", "2,000 arguments arrive in their order", { needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const many = Array.from({ length: 2000 }, (_, index) => `argument-${index}`)
      const { stdout } = yield* sandbox.run("printf", ["%s\\n", ...many])
      yield* expect.isTrue(stdout === `${many.join("\n")}\n`, "the arguments differ")
    })
  ),

  check(
    "arguments-too-long",
    "an argument list that is too long is a typed error, or arrives whole; the sandbox goes on",
    { marks: ["F5"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const long = "x".repeat(4_000_000)
        const result = yield* Effect.result(sandbox.run("printf", ["%s", long]))
        if (result._tag === "Success") {
          yield* expect.equal(result.success.stdout.length, long.length, "the length of what arrived")
        } else yield* expect.equal(result.failure._tag, "PlatformError", "the kind of error")
        yield* expect.equal((yield* sandbox.run("echo", ["on"])).stdout, "on\n", "the next command")
      })
  ),

  check(
    "arguments-nul",
    "an argument with a NUL is refused, not cut short",
    { marks: ["F5"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* expect.platformError(sandbox.run("echo", ["a\0b"]), undefined, "an argument with a NUL")
        yield* expect.platformError(
          sandbox.run("echo", ["a"], { env: { A: "a\0b" } }),
          undefined,
          "a variable with a NUL"
        )
      })
  ),

  check(
    "arguments-redacted",
    "a redacted argument or variable arrives as its value",
    { needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const run = (command: ChildProcess.Command) =>
          Effect.scoped(Effect.flatMap(sandbox.spawner.spawn(command), finish))
        const argument = yield* run(ChildProcess.make("echo", [Redacted.make("secret")], { stdin: "ignore" }))
        yield* expect.equal(argument.stdout, "secret\n", "the argument")
        const env = { HIDDEN: Redacted.make("secret") }
        const variable = yield* run(ChildProcess.make("env", { stdin: "ignore", env, extendEnv: true }))
        yield* expect.includes(variable.stdout, "HIDDEN=secret\n", "the variable")
      })
  ),

  check(
    "command-odd-name",
    "a command's own name may have spaces and any characters",
    { needs: ["shell", "modes"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        for (const name of ["with space", "quo'te", "$HOME", "日本", "semi;colon", "-dash"]) {
          yield* sandbox.files.writeFileString(name, "#!/bin/sh\necho ran\n")
          yield* sandbox.files.chmod(name, 0o755)
          yield* expect.equal((yield* sandbox.run(`./${name}`)).stdout, "ran\n", `the command ${name}`)
        }
      })
  )
]
