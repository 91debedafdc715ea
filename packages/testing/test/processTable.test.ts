import { CallLifetime } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, PlatformError, Redacted, Scheduler, Scope, Sink, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { TestClock } from "effect/testing"
import * as SimProgram from "../src/SimProgram.ts"
import {
  command,
  ending,
  type Machine,
  machine,
  outcome,
  processes,
  read,
  run,
  script,
  sh
} from "./support/SimProcesses.ts"

const bytes = (...values: ReadonlyArray<number>) => Uint8Array.from(values)
const encode = (text: string) => new TextEncoder().encode(text)

const reasonOf = (error: PlatformError.PlatformError) => error.reason._tag

/** The reason that spawning a command fails with. */
const refused = (table: Machine, given: ChildProcess.Command) =>
  Effect.map(Effect.flip(Effect.scoped(table.spawner.spawn(given))), reasonOf)

/** How a fiber stands without waiting for it. */
const isDone = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.pollUnsafe() !== undefined

describe("ends", () => {
  it.effect("gives exit codes, up to 255", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      for (const code of [0, 1, 42, 255]) assert.strictEqual((yield* sh(table, `exit ${code}`)).end, code)
      assert.strictEqual((yield* sh(table, "exit 256")).end, 0)
      assert.strictEqual(yield* table.spawner.exitCode(script("exit 7")), 7)
    })
  )

  it.effect("F31 a death by signal is no exit code, and names the signal", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      for (const signal of ["TERM", "KILL", "SEGV", "USR1", "INT"]) {
        assert.strictEqual((yield* sh(table, `kill -${signal} $$`)).end, `SIG${signal}`)
      }
    })
  )

  it.effect("F18 the exit code is told again and again, and after the scope has closed", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const scope = yield* Scope.make()
      const handle = yield* Scope.provide(table.spawner.spawn(script("exit 3")), scope)
      assert.deepStrictEqual(yield* Effect.all([handle.exitCode, handle.exitCode], { concurrency: 2 }), [3, 3])
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* handle.exitCode, 3)
      assert.isFalse(yield* handle.isRunning)
    })
  )

  it.effect("F1 the exit is known when the command ends, whoever else holds its output; the streams end later", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const handle = yield* table.spawner.spawn(script("(sleep 10; echo late) & echo started"))
      const output = yield* Effect.forkChild(read(handle.stdout), { startImmediately: true })
      assert.strictEqual(yield* handle.exitCode, 0)
      assert.isFalse(isDone(output))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(output), "started\nlate\n")
    })
  )

  it.effect("F1 what a command that ended left behind runs on, also when nobody reads its output any more", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      yield* sh(table, "(sleep 5; head -c 1000000 /dev/zero; echo x > done) >&2 & exit 0", { stderr: "pipe" }).pipe(
        Effect.timeoutOption("1 second"),
        Effect.forkChild({ startImmediately: true }),
        Effect.tap(() => TestClock.adjust("1 second")),
        Effect.flatMap(Fiber.join)
      )
      assert.strictEqual(table.processes().length, 2)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* table.files.readFileString("done"), "x\n")
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect("a defect of a program ends it by SIGABRT and says why", () =>
    Effect.gen(function* () {
      const table = yield* machine({ programs: [{ name: "broken", run: () => Effect.die(new Error("a bug")) }] })
      assert.deepStrictEqual(yield* run(table, command("broken")), {
        end: "SIGABRT",
        stdout: "",
        stderr: "broken: a bug\n"
      })
      assert.strictEqual((yield* sh(table, "broken; echo $?")).stdout, "134\n")
    })
  )
})

describe("refused commands", () => {
  it.effect("not found, not executable, not a directory: each says so when it is spawned", () =>
    Effect.gen(function* () {
      const table = yield* machine({ files: { "/work/plain": "text", "/work/dir": { directory: true } } })
      assert.strictEqual(yield* refused(table, command("missing")), "NotFound")
      assert.strictEqual(yield* refused(table, command("/missing/file")), "NotFound")
      assert.strictEqual(yield* refused(table, command("./plain")), "PermissionDenied")
      assert.strictEqual(yield* refused(table, command("/work/dir")), "PermissionDenied")
      assert.strictEqual(yield* refused(table, command("")), "NotFound")
      assert.strictEqual(yield* refused(table, command("true", [], { cwd: "missing" })), "NotFound")
      assert.strictEqual(yield* refused(table, command("true", [], { cwd: "plain" })), "BadResource")
      assert.strictEqual(yield* refused(table, command("true", [], { stdout: "inherit" })), "BadArgument")
      assert.strictEqual(yield* refused(table, command("true", [], { stdin: { stream: "inherit" } })), "BadArgument")
      assert.strictEqual(yield* refused(table, command("true", ["a\0b"])), "BadArgument")
      assert.strictEqual(yield* refused(table, command("echo", ["a"], { shell: true })), "BadArgument")
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect("a failure or a latency before the start is the spawn's", () =>
    Effect.gen(function* () {
      const error = PlatformError.systemError({ _tag: "TimedOut", module: "Test", method: "spawn" })
      const names: Array<string> = []
      const table = yield* machine({
        onSpawn: (name) => {
          names.push(name)
          return name === "false" ? Effect.fail(error) : Effect.sleep("3 seconds")
        }
      })
      assert.strictEqual(yield* refused(table, command("false")), "TimedOut")
      const fiber = yield* Effect.forkChild(run(table, command("true")), { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      assert.isFalse(isDone(fiber))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(fiber)).end, 0)
      assert.deepStrictEqual(names, ["false", "true"])
    })
  )

  it.effect("there is a limit to processes, for the host and inside", () =>
    Effect.gen(function* () {
      const table = yield* machine({ maxProcesses: 3 })
      yield* table.spawner.spawn(command("sleep", ["100"]))
      yield* table.spawner.spawn(command("sleep", ["100"]))
      assert.deepStrictEqual(yield* sh(table, "true; cat /dev/null; echo not reached"), {
        end: 2,
        stdout: "",
        stderr: "sh: 1: Cannot fork\n"
      })
      yield* table.spawner.spawn(command("sleep", ["100"]))
      const error = yield* Effect.flip(table.spawner.spawn(command("true")))
      assert.match(error.message, /Resource temporarily unavailable/)
    })
  )

  it.effect("a fork bomb stays within the limit, and is killed", () =>
    Effect.gen(function* () {
      const table = yield* machine({ maxProcesses: 60 })
      yield* table.spawner.spawn(script("bomb() { bomb | bomb & }; bomb; sleep 1000", { stderr: "ignore" }))
      for (let turn = 0; turn < 20; turn++) {
        assert.isAtMost(table.processes().length, 60)
        yield* Effect.yieldNow
      }
      yield* table.killAll()
      assert.deepStrictEqual(table.processes(), [])
    })
  )
})

describe("where commands start", () => {
  it.effect("F13 in the workspace, or in `cwd`, whatever its name", () =>
    Effect.gen(function* () {
      const odd = "it's a $(dir); rm *\n"
      const table = yield* machine({ files: { [`/work/${odd}/x`]: "" } })
      assert.strictEqual((yield* sh(table, "pwd")).stdout, "/work\n")
      assert.strictEqual((yield* sh(table, "pwd; ls", { cwd: odd })).stdout, `/work/${odd}\nx\n`)
      assert.strictEqual((yield* sh(table, "pwd", { cwd: "/tmp" })).stdout, "/tmp\n")
      assert.strictEqual((yield* run(table, command("pwd", [], { cwd: "/" }))).stdout, "/\n")
    })
  )

  it.effect("with the sandbox's environment, changed or replaced", () =>
    Effect.gen(function* () {
      const table = yield* machine({ environment: { PATH: "/bin", A: "1", B: "2" } })
      const show = (options: ChildProcess.CommandOptions) =>
        Effect.map(run(table, command("/usr/bin/env", [], options)), ({ stdout }) => stdout.trim().split("\n"))
      assert.deepStrictEqual(yield* show({}), ["PATH=/bin", "A=1", "B=2"])
      const changes = { A: undefined, B: "3", C: Redacted.make("4") }
      assert.deepStrictEqual(yield* show({ env: changes, extendEnv: true }), ["PATH=/bin", "B=3", "C=4"])
      assert.deepStrictEqual(yield* show({ env: changes }), ["B=3", "C=4"])
    })
  )

  it.effect("finds commands on PATH, by path, and scripts by their first line", () =>
    Effect.gen(function* () {
      const executable = (content: string) => ({ content, mode: 0o755 })
      const table = yield* machine({
        files: {
          "/work/bin/hello": executable('#!/bin/sh\necho "hello $1 from $0"\n'),
          "/work/plain": executable("echo no first line\n"),
          "/work/second": executable("#! /usr/bin/env sh\necho $0\n"),
          "/work/looped": executable("#!/work/looped\n"),
          "/work/linked": { link: "/usr/bin/printf" },
          "/work/binary": executable("\0\u0001")
        }
      })
      const env = { PATH: "/work/bin:/usr/bin" }
      const stdout = (given: ChildProcess.Command) => Effect.map(run(table, given), ({ stdout }) => stdout)
      assert.strictEqual(yield* stdout(command("hello", ["you"], { env })), "hello you from /work/bin/hello\n")
      assert.strictEqual(yield* stdout(command("bin/hello", ["me"])), "hello me from bin/hello\n")
      assert.strictEqual(yield* stdout(command("./plain")), "no first line\n")
      assert.strictEqual(yield* stdout(command("./second")), "./second\n")
      assert.strictEqual(yield* stdout(command("./linked", ["%s", "x"])), "x")
      assert.strictEqual(yield* stdout(command("/bin/echo", ["a", "b"])), "a b\n")
      assert.strictEqual(yield* refused(table, command("./looped")), "BadResource")
      assert.strictEqual(yield* refused(table, command("./binary")), "Unknown")
    })
  )

  it.effect("a script of the shell option, and arguments as they are", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      assert.strictEqual((yield* run(table, command("echo $((1+1)) | cat", [], { shell: true }))).stdout, "2\n")
      const args = ["", " ", "a b", "$HOME", "*", "'", '"', "\\", "\n", "é", "-n"]
      const shown = yield* run(table, command("printf", ["[%s]", ...args.map((arg) => Redacted.make(arg))]))
      assert.strictEqual(shown.stdout, args.map((arg) => `[${arg}]`).join(""))
    })
  )
})

describe("input", () => {
  it.effect("is empty when it is ignored, and open when it is a pipe", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      assert.deepStrictEqual(yield* run(table, command("cat")), { end: 0, stdout: "", stderr: "" })
      const handle = yield* table.spawner.spawn(command("cat", [], { stdin: "pipe" }))
      const ended = yield* Effect.forkChild(outcome(handle), { startImmediately: true })
      yield* TestClock.adjust("1 hour")
      assert.isFalse(isDone(ended))
      yield* Stream.run(Stream.make(encode("abc"), encode("def")), handle.stdin)
      assert.strictEqual((yield* Fiber.join(ended)).stdout, "abcdef")
    })
  )

  it.effect("F17 all of a large input arrives, with back-pressure", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      let taken = 0
      const input = Stream.range(1, 300).pipe(
        Stream.rechunk(1),
        Stream.map(() => {
          taken++
          return new Uint8Array(10_000).fill(120)
        })
      )
      const handle = yield* table.spawner.spawn(script("sleep 10; wc -c", { stdin: input }))
      yield* TestClock.adjust("9 seconds")
      assert.isBelow(taken, 20)
      const ended = yield* Effect.forkChild(outcome(handle), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(ended)).stdout, "3000000\n")
    })
  )

  it.effect("F17 a command that does not read its input is no error, whoever writes it", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const input = Stream.range(1, 100).pipe(Stream.map(() => new Uint8Array(10_000)))
      assert.strictEqual((yield* sh(table, "exit 4", { stdin: input })).end, 4)
      assert.strictEqual((yield* sh(table, "head -c 3 | wc -c", { stdin: input })).stdout, "3\n")
      const handle = yield* table.spawner.spawn(script("exit 5", { stdin: "pipe" }))
      assert.strictEqual(yield* handle.exitCode, 5)
      yield* Stream.run(input, handle.stdin)
    })
  )

  it.effect("that breaks off makes the exit code fail", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const error = PlatformError.systemError({ _tag: "UnexpectedEof", module: "Test", method: "read" })
      const input = Stream.concat(Stream.make(encode("a")), Stream.fail(error))
      const handle = yield* table.spawner.spawn(command("cat", [], { stdin: input }))
      assert.strictEqual(yield* Effect.flip(handle.exitCode), error)
    })
  )

  it.effect("stays open after a stream with `endOnDone: false`", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const stdin = { stream: Stream.make(encode("one\n")), endOnDone: false }
      const handle = yield* table.spawner.spawn(script("read a; echo $a; read b; echo $b; cat", { stdin }))
      const output = yield* Effect.forkChild(
        Stream.runCollect(Stream.take(Stream.splitLines(Stream.decodeText(handle.stdout)), 2)),
        { startImmediately: true }
      )
      yield* Stream.run(Stream.make(encode("two\n")), handle.stdin)
      assert.deepStrictEqual(yield* Fiber.join(output), ["one", "two"])
      assert.isTrue(yield* handle.isRunning)
    })
  )
})

describe("output", () => {
  it.effect("F14 stdout and stderr are apart, complete, and in order", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const result = yield* sh(table, "for i in 1 2 3; do echo out $i; echo err $i >&2; done")
      assert.strictEqual(result.stdout, "out 1\nout 2\nout 3\n")
      assert.strictEqual(result.stderr, "err 1\nerr 2\nerr 3\n")
      const handle = yield* table.spawner.spawn(script("echo a; echo b >&2; echo c"))
      assert.deepStrictEqual((yield* read(handle.all)).split("\n").sort(), ["", "a", "b", "c"])
    })
  )

  it.effect("F16 is bytes, whatever they are", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const handle = yield* table.spawner.spawn(script("printf '\\377\\000\\303'; sleep 1; printf '\\251'"))
      const chunks = yield* Effect.forkChild(Stream.runCollect(handle.stdout), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(chunks), [bytes(255, 0, 195), bytes(169)])
    })
  )

  it.effect("a command waits while nobody reads, at 64 KiB", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const handle = yield* table.spawner.spawn(script("head -c 65536 /dev/zero; echo >full; echo x; echo >more"))
      assert.isTrue(yield* table.files.exists("full"))
      yield* TestClock.adjust("1 hour")
      assert.isFalse(yield* table.files.exists("more"))
      assert.strictEqual((yield* read(handle.stdout)).length, 65538)
      assert.isTrue(yield* table.files.exists("more"))
    })
  )

  it.effect("a gigabyte passes through without being kept", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const handle = yield* table.spawner.spawn(script("head -c 1000000000 /dev/zero | cat"))
      const size = yield* Stream.runFold(
        handle.stdout,
        () => 0,
        (sum, chunk) => sum + chunk.length
      )
      assert.strictEqual(size, 1_000_000_000)
    })
  )

  it.effect("can be ignored, or go through a sink", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const handle = yield* table.spawner.spawn(
        script("yes | head -n 100000; echo >&2", { stdout: "ignore", stderr: "ignore" })
      )
      assert.strictEqual(yield* handle.exitCode, 0)
      assert.strictEqual(yield* read(handle.stdout), "")
      const first = Sink.ignoreLeftover(Sink.map(Sink.take<Uint8Array>(1), ([first]) => first ?? bytes()))
      const through = yield* table.spawner.spawn(script("echo a", { stdout: first }))
      assert.strictEqual(yield* read(through.stdout), "a\n")
    })
  )

  it.effect("further descriptors go in, out, and both ways", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const handle = yield* table.spawner.spawn(
        script("cat <&3 >&4; read x <&5; echo got $x >&5", {
          additionalFds: {
            fd3: { type: "input", stream: Stream.make(encode("input")) },
            fd4: { type: "output" },
            fd5: { type: "duplex" }
          }
        })
      )
      const four = yield* Effect.forkChild(read(handle.getOutputFd(4)), { startImmediately: true })
      const five = yield* Effect.forkChild(read(handle.getOutputFd(5)), { startImmediately: true })
      yield* Stream.run(Stream.make(encode("both\n")), handle.getInputFd(5))
      assert.deepStrictEqual([yield* Fiber.join(four), yield* Fiber.join(five)], ["input", "got both\n"])
      assert.strictEqual(yield* handle.exitCode, 0)
    })
  )
})

describe("several commands", () => {
  it.effect("connected by pipes, of which the last one counts", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const lines = command("seq", ["100000"]).pipe(
        ChildProcess.pipeTo(command("grep", ["9"])),
        ChildProcess.pipeTo(script("head -n 2; exit 3"))
      )
      assert.deepStrictEqual(yield* run(table, lines), { end: 3, stdout: "9\n19\n", stderr: "" })
      const errors = ChildProcess.pipeTo(script("echo a; echo b >&2"), command("cat"), { from: "stderr" })
      assert.strictEqual((yield* run(table, errors)).stdout, "b\n")
      const descriptor = ChildProcess.pipeTo(script("echo c"), script("cat <&7"), { to: "fd7" })
      assert.strictEqual((yield* run(table, descriptor)).stdout, "c\n")
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect("a hundred at once, each with its own output", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const all = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, index) => index),
        (index) => sh(table, `sleep ${(index * 37) % 11}; seq ${index} | wc -l; exit ${index}`),
        { concurrency: "unbounded" }
      ).pipe(Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust("10 seconds")
      const results = yield* Fiber.join(all)
      assert.deepStrictEqual(
        results.map(({ end, stdout }) => [end, stdout]),
        results.map((_, index) => [index, `${index}\n`])
      )
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect("I10 the same commands at the same times give the same run", () =>
    Effect.gen(function* () {
      const trace = Effect.gen(function* () {
        const table = yield* machine()
        const text = "for i in 3 1 2; do (sleep $i; echo $i $$; ps) & done; wait; seq 500 | sort -r | head -n 3"
        const fiber = yield* Effect.forkChild(Effect.all([sh(table, text), sh(table, text)], { concurrency: 2 }), {
          startImmediately: true
        })
        yield* TestClock.adjust("3 seconds")
        return yield* Fiber.join(fiber)
      })
      const first = yield* trace
      for (let i = 0; i < 5; i++) assert.deepStrictEqual(yield* trace, first)
    })
  )
})

describe("killing", () => {
  it.effect("F2 closing the scope ends the whole group, first politely, and what left it", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const scope = yield* Scope.make()
      const text =
        "sleep 100 & setsid sleep 200 & (trap '' TERM; sleep 300; sleep 400) & trap 'echo bye > said; exit' TERM; wait"
      yield* Scope.provide(table.spawner.spawn(script(text)), scope)
      assert.strictEqual(table.processes().length, 5)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      assert.strictEqual(yield* table.files.readFileString("said"), "bye\n")
      assert.deepStrictEqual(processes(table), [
        "4 <- 1 running sleep 200",
        "5 <- 1 running sh -c " + text,
        "6 <- 5 running sleep 300"
      ])
      yield* TestClock.adjust("1999 millis")
      assert.isFalse(isDone(closing))
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect("S5 interrupting whoever runs a command ends it", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const fiber = yield* Effect.forkChild(sh(table, "sleep 100 | sleep 200"), { startImmediately: true })
      assert.strictEqual(table.processes().length, 3)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect("F28 interrupted at any moment, a command leaves no process and no open file", () =>
    Effect.gen(function* () {
      const table = yield* machine({ files: { "/work/f": "content\n" } })
      const text =
        "x=$(cat f); { cat <f | (read a; echo $a) >g 2>&1; } 3>h; tee i j <f >/dev/null; cp f k; sleep 1 & wait"
      for (const operations of [3, 4, 5, 7, 16, 64]) {
        for (let turns = 0; turns < 40; turns++) {
          const fiber = yield* sh(table, text).pipe(
            Effect.provideService(Scheduler.MaxOpsBeforeYield, operations),
            Effect.forkChild({ startImmediately: true })
          )
          for (let turn = 0; turn < turns * 6; turn++) yield* Effect.yieldNow
          yield* turns % 2 === 0 ? Fiber.interrupt(fiber) : Effect.andThen(table.killAll(), Fiber.interrupt(fiber))
          assert.deepStrictEqual([processes(table), table.usage().handles], [[], 0], `${operations} ${turns}`)
        }
      }
    })
  )

  it.effect("options choose the signal and the patience", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const text = "trap 'echo int > said' INT; trap 'echo term > said' TERM; while :; do sleep 1; done"
      const options = { killSignal: "SIGINT", forceKillAfter: "5 seconds" } as const
      const fiber = yield* Effect.forkChild(sh(table, text, options), { startImmediately: true })
      const killing = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(yield* table.files.readFileString("said"), "int\n")
      assert.isFalse(isDone(killing))
      yield* TestClock.adjust("1 second")
      assert.isTrue(isDone(killing))
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect("`kill` waits for the end, enforces it when asked to, and does not mind a command that has ended", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const gentle = yield* table.spawner.spawn(command("sleep", ["100"]))
      yield* gentle.kill()
      assert.strictEqual(ending(yield* Effect.exit(gentle.exitCode)), "SIGTERM")
      yield* gentle.kill()
      const signal = yield* table.spawner.spawn(command("sleep", ["100"]))
      yield* signal.kill({ killSignal: "SIGUSR1" })
      assert.strictEqual(ending(yield* Effect.exit(signal.exitCode)), "SIGUSR1")
      const stubborn = yield* table.spawner.spawn(script("trap '' TERM; while :; do sleep 1; done"))
      const waiting = yield* Effect.forkChild(stubborn.kill(), { startImmediately: true })
      yield* TestClock.adjust("1 hour")
      assert.isFalse(isDone(waiting))
      const forced = yield* Effect.forkChild(stubborn.kill({ forceKillAfter: "1 second" }), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.isTrue(isDone(forced))
      yield* TestClock.adjust("1 second")
      assert.isTrue(isDone(waiting))
      assert.strictEqual(ending(yield* Effect.exit(stubborn.exitCode)), "SIGKILL")
    })
  )

  it.effect("a busy loop can be killed, and keeps nobody else from running", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const busy = yield* table.spawner.spawn(script("while :; do :; done"))
      const other = yield* table.spawner.spawn(command("cat", ["/dev/zero"], { stdout: "ignore" }))
      assert.strictEqual((yield* sh(table, "echo still here")).stdout, "still here\n")
      yield* busy.kill()
      yield* other.kill({ killSignal: "SIGKILL" })
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect("a stopped command does nothing until it goes on; only SIGKILL ends it meanwhile", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const handle = yield* table.spawner.spawn(script("while :; do sleep 1; echo x >> ticks; done"))
      yield* TestClock.adjust("2 seconds")
      const pid = Number(handle.pid)
      yield* sh(table, `kill -STOP -${pid}`)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* table.files.readFileString("ticks"), "x\nx\n")
      assert.strictEqual(table.processes()[0]?.state, "stopped")
      yield* sh(table, `kill -CONT -${pid}`)
      yield* TestClock.adjust("1 second")
      assert.isAbove((yield* table.files.readFileString("ticks")).length, 4)
      yield* sh(table, `kill -STOP -${pid}; kill -TERM -${pid}`)
      assert.isTrue(yield* handle.isRunning)
      yield* sh(table, `kill -CONT -${pid}`)
      assert.strictEqual(ending(yield* Effect.exit(handle.exitCode)), "SIGTERM")
      const second = yield* table.spawner.spawn(command("sleep", ["100"]))
      yield* sh(table, `kill -STOP ${second.pid}; kill -KILL ${second.pid}`)
      assert.strictEqual(ending(yield* Effect.exit(second.exitCode)), "SIGKILL")
    })
  )

  it.effect("an unreferenced command outlives its scope", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const scope = yield* Scope.make()
      const handle = yield* Scope.provide(table.spawner.spawn(command("sleep", ["100"])), scope)
      const second = yield* Scope.provide(table.spawner.spawn(command("sleep", ["100"])), scope)
      const again = yield* handle.unref
      yield* again
      yield* Effect.asVoid(handle.unref)
      yield* Effect.flatten(second.unref)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(processes(table), ["2 <- 1 running sleep 100"])
      assert.isTrue(yield* handle.isRunning)
    })
  )

  it.effect("F30 nothing outside of the table can be hit: process 1 is refused, unknown ones are not there", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const result = yield* sh(table, "kill -9 1; echo $?; kill -0 12345; echo $?; kill -TERM -12345; echo $?")
      assert.strictEqual(result.stdout, "1\n1\n1\n")
      assert.strictEqual(
        result.stderr,
        "sh: 1: kill: Operation not permitted\nsh: 1: kill: No such process\nsh: 1: kill: No such process\n"
      )
    })
  )
})

describe("parents and children", () => {
  it.effect("F20 an orphan becomes the child of 1, and is reaped", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      yield* sh(table, "(sleep 3 & sleep 6 &) ; exit 0").pipe(
        Effect.timeoutOption("0 seconds"),
        Effect.forkChild({ startImmediately: true }),
        Effect.tap(() => TestClock.adjust("1 second")),
        Effect.flatMap(Fiber.join)
      )
      assert.deepStrictEqual(processes(table), ["4 <- 1 running sleep 3", "5 <- 1 running sleep 6"])
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(processes(table), ["5 <- 1 running sleep 6"])
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect("F20 a child that nobody waits for is a zombie until its parent ends", () =>
    Effect.gen(function* () {
      const careless = SimProgram.make("careless", (process) =>
        Effect.andThen(process.spawn("true"), Effect.sleep("10 seconds"))
      )
      const table = yield* machine({ programs: [careless] })
      yield* table.spawner.spawn(command("careless"))
      assert.deepStrictEqual(processes(table), ["2 <- 1 running careless", "3 <- 2 zombie true"])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect("the shell reaps what it starts", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      yield* table.spawner.spawn(script("for i in 1 2 3 4 5; do true & /bin/true; done; /bin/true; sleep 100"))
      assert.strictEqual(table.processes().filter(({ state }) => state === "zombie").length, 0)
      assert.strictEqual(
        (yield* sh(table, "sleep 0 & p=$!; kill -0 $p; echo $?; wait $p; kill -0 $p 2>/dev/null; echo $?").pipe(
          Effect.forkChild({ startImmediately: true }),
          Effect.tap(() => TestClock.adjust("1 second")),
          Effect.flatMap(Fiber.join)
        )).stdout,
        "0\n1\n"
      )
    })
  )

  it.effect("groups and sessions are inherited, and left with setsid", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      yield* table.spawner.spawn(script("sleep 100 & setsid sleep 200 & wait"))
      yield* table.spawner.spawn(command("setsid", ["sleep", "300"]))
      assert.deepStrictEqual(
        table.processes().map(({ command, pgid, pid, sid }) => [command[0], pid, pgid, sid]),
        [
          ["sh", 2, 2, 2],
          ["sleep", 3, 2, 2],
          ["sleep", 4, 4, 4],
          // The leader of a group cannot leave it: setsid forks.
          ["sleep", 6, 6, 6]
        ]
      )
    })
  )
})

describe("lifetimes", () => {
  it.effect("S1 killing a session's processes leaves those of the sandbox alone", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const ofSandbox = yield* table.spawner
        .spawn(script("sleep 100 & wait"))
        .pipe(Effect.provideService(CallLifetime, "sandbox"))
      const ofSession = yield* table.spawner.spawn(script("trap '' TERM; setsid sleep 100 & sleep 100; sleep 100"))
      assert.deepStrictEqual(
        table.processes().map(({ lifetime }) => lifetime),
        ["sandbox", "sandbox", "session", "session", "session"]
      )
      yield* table.killAll("session")
      assert.deepStrictEqual(
        table.processes().map(({ lifetime }) => lifetime),
        ["sandbox", "sandbox"]
      )
      assert.strictEqual(ending(yield* Effect.exit(ofSession.exitCode)), "SIGKILL")
      assert.isTrue(yield* ofSandbox.isRunning)
      yield* table.killAll()
      assert.deepStrictEqual(table.processes(), [])
    })
  )

  it.effect("killing waits a second for what killed programs still do, and no longer", () =>
    Effect.gen(function* () {
      // The first sleep under a test clock is an interruptible one: it must not be that of a finalizer.
      yield* TestClock.adjust("0 millis")
      const said: Array<string> = []
      const cleaning = (name: string, time: "500 millis" | "1 hour") => ({
        name,
        run: () =>
          Effect.onInterrupt(Effect.never, () =>
            Effect.andThen(
              Effect.sleep(time),
              Effect.sync(() => said.push(name))
            )
          )
      })
      const table = yield* machine({ programs: [cleaning("quick", "500 millis"), cleaning("slow", "1 hour")] })
      yield* table.spawner.spawn(command("quick"))
      yield* table.spawner.spawn(command("slow"))
      const killing = yield* Effect.forkChild(table.killAll(), { startImmediately: true })
      assert.deepStrictEqual(table.processes(), [])
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(said, ["quick"])
      assert.isFalse(isDone(killing))
      yield* TestClock.adjust("1 millis")
      assert.isTrue(isDone(killing))
      yield* TestClock.adjust("1 hour")
    })
  )

  it.effect("startedAt is the clock's", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      yield* TestClock.adjust("5 seconds")
      yield* table.spawner.spawn(command("sleep", ["1"]))
      assert.deepStrictEqual(table.processes(), [
        {
          pid: 2,
          ppid: 1,
          pgid: 2,
          sid: 2,
          command: ["sleep", "1"],
          lifetime: "session",
          state: "running",
          startedAt: 5000
        }
      ])
    })
  )
})

describe("the end of the machine", () => {
  const cause = new Error("power failure")

  const isGone = (exit: Exit.Exit<unknown, PlatformError.PlatformError>): boolean =>
    Exit.isFailure(exit) &&
    exit.cause.reasons.some(
      (reason) =>
        Cause.isFailReason(reason) && reason.error.reason._tag === "BadResource" && reason.error.cause === cause
    )

  it.effect("F4 everything in flight and everything after it fails at once, with the cause", () =>
    Effect.gen(function* () {
      const blocked = yield* Deferred.make<void>()
      const table = yield* machine({ onSpawn: (name) => (name === "late" ? Deferred.await(blocked) : Effect.void) })
      const handle = yield* table.spawner.spawn(script("trap '' TERM; echo ready; sleep 100", { stdin: "pipe" }))
      const stubborn = yield* table.spawner.spawn(script("trap '' TERM; while :; do sleep 1; done"))
      const ended = yield* table.spawner.spawn(script("echo last words; exit 6"))
      const operations = {
        exitCode: handle.exitCode,
        stdout: Stream.runDrain(handle.stdout),
        stderr: Stream.runDrain(handle.stderr),
        stdin: Stream.run(Stream.fromEffectRepeat(Effect.sync(() => new Uint8Array(10_000))), handle.stdin),
        spawn: Effect.scoped(table.spawner.spawn(command("late"))),
        string: table.spawner.string(command("sleep", ["100"]))
      }
      const inFlight = yield* Effect.forEach(Object.entries(operations), ([name, operation]) =>
        Effect.map(
          Effect.forkChild(Effect.exit(operation as Effect.Effect<unknown, PlatformError.PlatformError>), {
            startImmediately: true
          }),
          (fiber) => ({ name, fiber })
        )
      )
      const killing = yield* Effect.forkChild(stubborn.kill(), { startImmediately: true })
      yield* table.halt(cause)
      for (const { fiber, name } of inFlight) {
        assert.isTrue(isGone(yield* Fiber.join(fiber)), name)
      }
      assert.isTrue(isDone(killing))
      assert.deepStrictEqual(table.processes(), [])
      // What had ended before had ended.
      assert.deepStrictEqual(yield* outcome(ended), { end: 6, stdout: "last words\n", stderr: "" })
      assert.isTrue(isGone(yield* Effect.exit(Effect.scoped(table.spawner.spawn(command("true"))))))
      assert.isTrue(isGone(yield* Effect.exit(handle.isRunning)))
      assert.isTrue(isGone(yield* Effect.exit(handle.kill())))
      assert.isTrue(isGone(yield* Effect.exit(handle.exitCode)))
      yield* table.killAll()
      yield* table.halt(new Error("again"))
    })
  )

  it.effect("I7 closing the table's scope leaves no process and no fiber", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const table = yield* Scope.provide(machine(), scope)
      const handle = yield* table.spawner.spawn(
        script("trap '' TERM; sleep 100 | cat & setsid sleep 100 & while :; do sleep 1; done")
      )
      yield* TestClock.adjust("3 seconds")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(table.processes(), [])
      assert.strictEqual(reasonOf(yield* Effect.flip(handle.exitCode)), "BadResource")
      assert.strictEqual(yield* refused(table, command("true")), "BadResource")
    })
  )
})
