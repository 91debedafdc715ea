import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Option, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as SimProgram from "../src/SimProgram.ts"
import { command, ending, machine, outcome, processes, run, script, sh } from "./support/SimProcesses.ts"

const text = (value: string) => Stream.encodeText(Stream.make(value))

/** A machine with one program. */
const having = (...programs: ReadonlyArray<SimProgram.SimProgram>) => machine({ programs })

const later = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

describe("make", () => {
  it.effect("has its arguments, environment, directory and files", () =>
    Effect.gen(function* () {
      const show = SimProgram.make("show", (process) =>
        Effect.gen(function* () {
          const content = yield* process.fileSystem.readFileString("data")
          yield* process.fileSystem.writeFileString("result", content.toUpperCase())
          yield* process.stdout(
            `${process.pid} ${process.name} ${process.args.join("|")} ${process.env["A"]} ${process.cwd}\n`
          )
        })
      )
      const table = yield* machine({ programs: [show], files: { "/work/sub/data": "content" } })
      const options = { env: { A: "1" }, extendEnv: true, cwd: "sub" }
      const result = yield* run(table, command("show", ["a b", "c"], options))
      assert.deepStrictEqual(result, { end: 0, stdout: "2 show a b|c 1 /work/sub\n", stderr: "" })
      assert.strictEqual(yield* table.files.readFileString("sub/result"), "CONTENT")
      assert.match(
        (yield* sh(table, "command -v show; /bin/show | cat", { cwd: "sub" })).stdout,
        /^\/usr\/bin\/show\n\d+ \/bin\/show/
      )
    })
  )

  it.effect("gives an exit code: its own, 0 for nothing, 1 for a failure, which is printed", () =>
    Effect.gen(function* () {
      class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {
        override get message() {
          return "refused, sorry"
        }
      }
      const table = yield* having(
        SimProgram.make("three", () => Effect.succeed(3)),
        SimProgram.make("nothing", () => Effect.void),
        SimProgram.make("fails", () => Effect.fail(new Refused())),
        SimProgram.make("exits", (process) => Effect.andThen(process.exit(9), Effect.die("not reached"))),
        SimProgram.make("raises", (process) => Effect.andThen(process.raise("SIGUSR1"), Effect.die("not reached")))
      )
      assert.strictEqual((yield* run(table, command("three"))).end, 3)
      assert.strictEqual((yield* run(table, command("nothing"))).end, 0)
      assert.deepStrictEqual(yield* run(table, command("fails")), {
        end: 1,
        stdout: "",
        stderr: "fails: refused, sorry\n"
      })
      assert.strictEqual((yield* run(table, command("exits"))).end, 9)
      assert.strictEqual((yield* run(table, command("raises"))).end, "SIGUSR1")
    })
  )

  it.effect("wins over a built-in program of the same name", () =>
    Effect.gen(function* () {
      const table = yield* having(SimProgram.make("cat", (process) => process.stdout("meow\n")))
      assert.strictEqual((yield* sh(table, "echo x | cat")).stdout, "meow\n")
    })
  )

  it.effect("takes time on the clock, and releases what it acquired at its end", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const note = (line: string) => Effect.map(Clock.currentTimeMillis, (millis) => void log.push(`${millis} ${line}`))
      const work = SimProgram.make("work", (process) =>
        Effect.gen(function* () {
          yield* Effect.acquireRelease(note("acquired"), () => note("released"))
          yield* Effect.sleep("2 seconds")
          if (process.args[0] === "exit") return yield* process.exit(0)
          yield* note("done")
        })
      )
      const table = yield* having(work)
      const fiber = yield* later(sh(table, "work; work exit; timeout 1 work"))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(log, [
        "0 acquired",
        "2000 done",
        "2000 released",
        "2000 acquired",
        "4000 released",
        "4000 acquired",
        "5000 released"
      ])
    })
  )
})

describe("input and output", () => {
  it.effect("reads as a stream, as text, by chunk and by line, and takes no more than it reads", () =>
    Effect.gen(function* () {
      const reader = SimProgram.make("reader", (process) =>
        Effect.gen(function* () {
          const first = yield* process.stdin.readLine
          const rest = process.args[0] === "all" ? yield* process.stdin.text : ""
          yield* process.stdout(`${Option.getOrElse(first, () => "nothing")}/${rest}\n`)
        })
      )
      const table = yield* having(reader)
      const stdout = (given: string, options: { readonly stdin: Stream.Stream<Uint8Array> }) =>
        Effect.map(sh(table, given, options), ({ stdout }) => stdout)
      assert.strictEqual(yield* stdout("reader; cat", { stdin: text("a\nb\nc") }), "a/\nb\nc")
      assert.strictEqual(yield* stdout("reader all", { stdin: text("a\nb\nc") }), "a/b\nc\n")
      assert.strictEqual(yield* stdout("reader", { stdin: Stream.empty }), "nothing/\n")
      assert.strictEqual(yield* stdout("reader", { stdin: text("no newline") }), "no newline/\n")
    })
  )

  it.effect("F16 keeps bytes as they are", () =>
    Effect.gen(function* () {
      const twice = SimProgram.make("twice", (process) =>
        Stream.runForEach(process.stdin.stream, (bytes) =>
          Effect.andThen(process.stdout(bytes), process.stdout(bytes.toReversed()))
        )
      )
      const table = yield* having(twice)
      const given = Uint8Array.of(0, 255, 195, 10)
      const handle = yield* table.spawner.spawn(command("twice", [], { stdin: Stream.make(given) }))
      const all = (yield* Stream.runCollect(handle.stdout)).flatMap((chunk) => [...chunk])
      assert.deepStrictEqual(all, [0, 255, 195, 10, 10, 195, 255, 0])
    })
  )

  it.effect("a program may use its buffer again", () =>
    Effect.gen(function* () {
      const table = yield* having(
        SimProgram.make("reuse", (process) =>
          Effect.gen(function* () {
            const buffer = new Uint8Array(1)
            for (const byte of [97, 98, 99]) {
              buffer[0] = byte
              yield* process.stdout(buffer)
            }
          })
        )
      )
      assert.strictEqual((yield* run(table, command("reuse"))).stdout, "abc")
    })
  )

  it.effect("waits while a pipe is full, and is ended by SIGPIPE when nobody reads, or told", () =>
    Effect.gen(function* () {
      const writer = SimProgram.make("writer", (process) =>
        Effect.gen(function* () {
          if (process.args[0] === "ignore") yield* process.ignoreSignals(["SIGPIPE"])
          const told = yield* Effect.flip(Effect.forever(process.stdout(new Uint8Array(1000))))
          yield* process.stderr(`${told.reason._tag} ${told.reason.description}\n`)
          return 5
        })
      )
      const table = yield* having(writer)
      assert.strictEqual((yield* sh(table, "(writer; echo $? >&2) | true")).stderr, "141\n")
      assert.strictEqual((yield* sh(table, "(writer ignore; echo $? >&2) | true")).stderr, "Unknown Broken pipe\n5\n")
      assert.strictEqual(
        (yield* sh(table, "writer ignore >/dev/full; echo $?")).stderr,
        "Unknown No space left on device\n"
      )
      const handle = yield* table.spawner.spawn(command("writer"))
      yield* TestClock.adjust("1 hour")
      assert.isTrue(yield* handle.isRunning)
    })
  )
})

describe("signals", () => {
  it.effect("interrupt a program, whose finalizers run before it is gone", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const polite = SimProgram.make("polite", (process) =>
        Effect.onInterrupt(Effect.never, () =>
          process.fileSystem
            .writeFileString("bye", "1")
            .pipe(
              Effect.andThen(process.stdout("bye\n")),
              Effect.ignore,
              Effect.ensuring(Effect.sync(() => log.push("cleaned")))
            )
        )
      )
      const table = yield* having(polite)
      for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2"] as const) {
        const handle = yield* table.spawner.spawn(command("polite"))
        const ended = yield* later(outcome(handle))
        yield* handle.kill({ killSignal: signal })
        assert.deepStrictEqual(yield* Fiber.join(ended), { end: signal, stdout: "bye\n", stderr: "" })
      }
      assert.strictEqual(log.length, 4)
      // After SIGKILL they run, too, but nobody hears of it.
      const handle = yield* table.spawner.spawn(command("polite"))
      const ended = yield* later(outcome(handle))
      yield* handle.kill({ killSignal: "SIGKILL" })
      assert.deepStrictEqual(yield* Fiber.join(ended), { end: "SIGKILL", stdout: "", stderr: "" })
      assert.strictEqual(log.length, 5)
    })
  )

  it.effect("F2 a clean-up that hangs is ended by SIGKILL", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("0 millis")
      const stuck = SimProgram.make("stuck", () => Effect.onInterrupt(Effect.never, () => Effect.sleep("1 hour")))
      const table = yield* having(stuck)
      const scope = yield* Scope.make()
      const handle = yield* Scope.provide(table.spawner.spawn(command("stuck")), scope)
      const closing = yield* later(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1999 millis")
      assert.deepStrictEqual(processes(table), ["2 <- 1 running stuck"])
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
      assert.strictEqual(ending(yield* Effect.exit(handle.exitCode)), "SIGKILL")
      yield* TestClock.adjust("1 hour")
    })
  )

  it.effect("are handled, ignored, or waited for", () =>
    Effect.gen(function* () {
      const careful = SimProgram.make("careful", (process) =>
        Effect.gen(function* () {
          yield* process.ignoreSignals(["SIGINT"])
          yield* process.onSignal(["SIGUSR1", "SIGUSR2"], (signal) => Effect.ignore(process.stdout(`got ${signal}\n`)))
          yield* process.onSignal(["SIGTERM"], () => Effect.andThen(Effect.sleep("3 seconds"), process.exit(7)))
          const hup = yield* process.awaitSignal(["SIGHUP"])
          yield* process.stdout(`awaited ${hup}\n`)
          return yield* Effect.never
        })
      )
      const table = yield* having(careful)
      const handle = yield* table.spawner.spawn(command("careful"))
      const ended = yield* later(outcome(handle))
      yield* sh(table, `for s in INT USR1 HUP USR2 TERM; do kill -$s ${handle.pid}; done`)
      yield* TestClock.adjust("2999 millis")
      assert.isTrue(yield* handle.isRunning)
      yield* TestClock.adjust("1 millis")
      const stdout = "got SIGUSR1\nawaited SIGHUP\ngot SIGUSR2\n"
      assert.deepStrictEqual(yield* Fiber.join(ended), { end: 7, stdout, stderr: "" })
      // Outside of the wait, the signal does what it always did.
      const second = yield* table.spawner.spawn(command("careful"))
      yield* sh(table, `kill -HUP ${second.pid}; kill -HUP ${second.pid}`)
      assert.strictEqual(ending(yield* Effect.exit(second.exitCode)), "SIGHUP")
    })
  )
})

describe("children", () => {
  it.effect("share streams, or give them to their parent", () =>
    Effect.gen(function* () {
      const parent = SimProgram.make("parent", (process) =>
        Effect.gen(function* () {
          const shared = yield* process.spawn("echo", ["shared"])
          assert.deepStrictEqual(yield* shared.exit, { _tag: "Exited", code: 0 })
          const piped = yield* process.spawn("sh", ["-c", "read x; echo $x $A $(pwd); echo err >&2; exit 3"], {
            stdin: "pipe",
            stdout: "pipe",
            stderr: "pipe",
            env: { A: "1" },
            cwd: "/tmp"
          })
          yield* piped.stdin("given\n")
          yield* piped.closeStdin
          const read = (stream: typeof piped.stdout) => Stream.mkString(Stream.decodeText(stream))
          const [out, err] = [yield* read(piped.stdout), yield* read(piped.stderr)]
          yield* process.stdout(`${out.trim()} ${err.trim()} ${JSON.stringify(yield* piped.exit)}\n`)
          const quiet = yield* process.spawn("sh", ["-c", "cat; echo no"], { stdin: "ignore", stdout: "ignore" })
          yield* quiet.exit
        })
      )
      const table = yield* having(parent)
      assert.deepStrictEqual(yield* run(table, command("parent", [], { stdin: "pipe" })), {
        end: 0,
        stdout: 'shared\ngiven 1 /tmp err {"_tag":"Exited","code":3}\n',
        stderr: ""
      })
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect("are killed, leave the group, and outlive their parent", () =>
    Effect.gen(function* () {
      const parent = SimProgram.make("parent", (process) =>
        Effect.gen(function* () {
          const victim = yield* process.spawn("sleep", ["100"])
          yield* victim.kill("SIGINT")
          assert.deepStrictEqual(yield* victim.exit, { _tag: "Signalled", signal: "SIGINT" })
          yield* process.spawn("sleep", ["200"], { newSession: true })
          yield* process.spawn("sleep", ["300"], { stdout: "ignore", stderr: "ignore" })
          const error = yield* Effect.flip(process.spawn("nosuch"))
          assert.strictEqual(error.reason._tag, "NotFound")
          assert.strictEqual((yield* Effect.flip(process.spawn("true", [], { cwd: "nosuch" }))).reason._tag, "NotFound")
        })
      )
      const table = yield* having(parent)
      const handle = yield* table.spawner.spawn(command("parent"))
      assert.strictEqual(yield* handle.exitCode, 0)
      assert.deepStrictEqual(
        table.processes().map(({ command, pgid, pid, ppid }) => [command.join(" "), pid, ppid, pgid]),
        [
          ["sleep 200", 4, 1, 4],
          ["sleep 300", 5, 1, 2]
        ]
      )
    })
  )
})

describe("script", () => {
  it.effect("takes one step after the other", () =>
    Effect.gen(function* () {
      const steps: ReadonlyArray<SimProgram.Step> = [
        { _tag: "Write", stdout: "out\n", stderr: "err\n" },
        { _tag: "Sleep", millis: 1500 },
        { _tag: "ReadStdin", echo: true },
        { _tag: "WriteFile", path: "made", content: "by a step" },
        { _tag: "Spawn", command: "echo", args: ["child"] },
        { _tag: "Spawn", command: "sleep", args: ["100"], background: true, newSession: true },
        { _tag: "Exit", code: 4 },
        { _tag: "Write", stdout: "not reached" }
      ]
      const table = yield* having(SimProgram.script("steps", steps))
      const handle = yield* table.spawner.spawn(command("steps", [], { stdin: text("input\n") }))
      assert.isTrue(yield* handle.isRunning)
      yield* TestClock.adjust("1500 millis")
      assert.strictEqual(yield* handle.exitCode, 4)
      assert.strictEqual(yield* table.files.readFileString("made"), "by a step")
      const first = yield* Stream.mkString(Stream.decodeText(Stream.take(handle.stdout, 1)))
      assert.strictEqual(first, "out\ninput\nchild\n")
      assert.deepStrictEqual(
        table.processes().map(({ command }) => command[0]),
        ["sleep"]
      )
    })
  )

  it.effect("hangs, ignores signals, and dies by one", () =>
    Effect.gen(function* () {
      const table = yield* having(
        SimProgram.script("hangs", [{ _tag: "IgnoreSignals", signals: ["SIGTERM"] }, { _tag: "Hang" }]),
        SimProgram.script("dies", [{ _tag: "Die", signal: "SIGSEGV" }]),
        SimProgram.script("empty", [])
      )
      assert.strictEqual((yield* run(table, command("dies"))).end, "SIGSEGV")
      assert.strictEqual((yield* run(table, command("empty"))).end, 0)
      const fiber = yield* later(run(table, command("hangs")))
      const killing = yield* later(Fiber.interrupt(fiber))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(table.processes().length, 1)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(killing)
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect.prop("steps can be stored", [Schema.Array(SimProgram.Step)], ([steps]) =>
    Effect.gen(function* () {
      const codec = Schema.toCodecJson(Schema.Array(SimProgram.Step))
      const encode = Schema.encodeEffect(codec)
      const stored = JSON.stringify(yield* encode(steps))
      const read = yield* Schema.decodeUnknownEffect(codec)(JSON.parse(stored))
      assert.strictEqual(JSON.stringify(yield* encode(read)), stored)
    })
  )

  it.effect("random scripts of steps end or can be killed, and leave nothing", () =>
    Effect.gen(function* () {
      const table = yield* having(SimProgram.script("loop", [{ _tag: "Spawn", command: "sh", args: ["-c", "echo a"] }]))
      const result = yield* sh(table, "loop | cat; loop")
      assert.strictEqual(result.stdout, "a\na\n")
      assert.strictEqual((yield* run(table, script("loop >&-; echo $?"))).stdout, "0\n")
      assert.deepStrictEqual(table.processes(), [])
    })
  )
})
