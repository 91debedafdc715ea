/** Standard input: closed unless it is given, and then all of it, with back-pressure (F7, F17). */
import * as Effect from "effect/Effect"
import * as PlatformError from "effect/PlatformError"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import * as pattern from "../pattern.ts"
import { endOf, exited, finish } from "../subject.ts"
import * as text from "../text.ts"

const check = inTopic("stdin")
const megabyte = 1024 * 1024

export const checks = [
  check(
    "stdin-ignored",
    "input that is not given is at its end at once",
    { marks: ["F7"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { end, stdout } = yield* expect.promptly(
          sandbox.run("cat", [], { stdin: "ignore" }),
          "`cat` without input"
        )
        yield* expect.equal({ end, stdout }, { end: exited(0), stdout: "" }, "`cat` without input")
      })
  ),

  check("stdin-no-terminal", "input and output are no terminals", { marks: ["F7"], needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const script = "for i in 0 1 2; do [ -t $i ] && echo $i; done; echo done"
      yield* expect.equal(yield* sandbox.output(script), "done\n", "the descriptors that are terminals")
    })
  ),

  check("stdin-small", "a small input arrives, and then its end", { marks: ["F17"], needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const stdin = Stream.make(text.encode("a\nb\n"), text.encode("c"))
      const { end, stdout } = yield* sandbox.run("cat", [], { stdin })
      yield* expect.equal({ end, stdout }, { end: exited(0), stdout: "a\nb\nc" }, "what `cat` gave back")
    })
  ),

  check("stdin-empty", "an empty input is at its end", { marks: ["F7"], needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      for (const stdin of [Stream.empty, Stream.make(new Uint8Array(0))]) {
        const { end, stdout } = yield* expect.promptly(sandbox.run("cat", [], { stdin }), "`cat` of nothing")
        yield* expect.equal({ end, stdout }, { end: exited(0), stdout: "" }, "`cat` of nothing")
      }
    })
  ),

  check("stdin-binary", "every byte value arrives as it is", { marks: ["F16", "F17"], needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const all = Uint8Array.from({ length: 1024 }, (_, index) => (index * 7) % 256)
      const { stdoutBytes } = yield* sandbox.run("cat", [], { stdin: Stream.make(all) })
      yield* expect.bytes(stdoutBytes, all, "what `cat` gave back")
    })
  ),

  check(
    "stdin-large",
    "an input of 10 MB arrives to its last byte, and comes back",
    { marks: ["F17"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const length = 10 * megabyte
        const handle = yield* sandbox.start("cat", [], { stdin: pattern.stream(pattern.noise, length) })
        yield* pattern.verify(handle.stdout, pattern.noise, { length }, "what `cat` gave back")
        yield* expect.equal(yield* endOf(handle), exited(0), "the end")
      })
  ),

  check(
    "stdin-large-to-file",
    "an input of 10 MB that a command reads slowly is written to its last byte",
    { marks: ["F17"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const length = 10 * megabyte
        const stdin = pattern.stream(pattern.noise, length, 100_003)
        const { end } = yield* sandbox.sh("sleep 0.5; head -c 1000000 >first; sleep 0.3; cat >rest", { stdin })
        yield* expect.equal(end, exited(0), "the end")
        const written = Stream.concat(sandbox.files.stream("first"), sandbox.files.stream("rest"))
        yield* pattern.verify(written, pattern.noise, { length }, "what was written")
      })
  ),

  check(
    "stdin-tiny-chunks",
    "5,000 chunks of one byte arrive in order",
    { marks: ["F17"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const length = 5000
        const handle = yield* sandbox.start("cat", [], { stdin: pattern.stream(pattern.noise, length, 1) })
        yield* pattern.verify(handle.stdout, pattern.noise, { length }, "what `cat` gave back")
      })
  ),

  check(
    "stdin-through-handle",
    "the handle's sink is the input, and ends it",
    { marks: ["F17"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const length = 300_000
        const handle = yield* sandbox.start("cat", [], { stdin: "pipe" })
        yield* Effect.all(
          [
            Stream.run(pattern.stream(pattern.noise, length), handle.stdin),
            pattern.verify(handle.stdout, pattern.noise, { length }, "what `cat` gave back")
          ],
          { concurrency: 2 }
        )
        yield* expect.equal(yield* expect.promptly(endOf(handle), "the end"), exited(0), "the end")
      })
  ),

  check(
    "stdin-dialogue",
    "what is written arrives at once, and so do the answers",
    { marks: ["F13", "F17"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const questions = yield* Queue.unbounded<Uint8Array>()
        const script = 'while read -r line; do [ "$line" = end ] && exit 3; echo "answer to $line"; done'
        const handle = yield* sandbox.startScript(script, { stdin: Stream.fromQueue(questions) })
        const answers = yield* Queue.unbounded<string>()
        yield* handle.stdout.pipe(
          Stream.decodeText(),
          Stream.splitLines,
          Stream.runForEach((line) => Queue.offer(answers, line)),
          Effect.forkScoped
        )
        for (const word of ["one", "two", "three"]) {
          yield* Queue.offer(questions, text.encode(`${word}\n`))
          const answer = yield* expect.promptly(Queue.take(answers), `the answer to ${word}`)
          yield* expect.equal(answer, `answer to ${word}`, "the answer")
        }
        yield* Queue.offer(questions, text.encode("end\n"))
        yield* expect.equal(yield* expect.promptly(endOf(handle), "the end"), exited(3), "the end")
      })
  ),

  check(
    "stdin-not-read",
    "a command that ends without reading its input is no error",
    { marks: ["F17"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        for (const [script, code] of [
          ["exit 0", 0],
          ["exit 6", 6],
          ["head -c 1 >/dev/null; exit 0", 0],
          ["exec <&-; sleep 0.2; exit 4", 4]
        ] as const) {
          const stdin = pattern.stream(pattern.noise, 5 * megabyte)
          const { end } = yield* expect.promptly(sandbox.sh(script, { stdin }), `\`${script}\` with 5 MB of input`)
          yield* expect.equal(end, exited(code), `the end of \`${script}\` with 5 MB of input`)
        }
      })
  ),

  check(
    "stdin-never-ends",
    "an input that never ends holds nobody up when the command has ended",
    { marks: ["F17", "F3"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const stdin = Stream.concat(Stream.make(text.encode("a\n")), Stream.never)
        const { end, stdout } = yield* expect.promptly(sandbox.sh("read -r line; echo $line", { stdin }), "the command")
        yield* expect.equal({ end, stdout }, { end: exited(0), stdout: "a\n" }, "the command")
      })
  ),

  check(
    "stdin-back-pressure",
    "input that a command does not read is not taken from its source for ever",
    { marks: ["F17"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        let taken = 0
        const chunk = new Uint8Array(64 * 1024)
        const stdin = Stream.unfold(0, () =>
          Effect.sync(() => {
            taken += chunk.length
            return taken > 512 * megabyte ? undefined : ([chunk, 0] as const)
          })
        )
        yield* sandbox.run("sleep", ["1.5"], { stdin })
        yield* expect.atMost(taken, 64 * megabyte, "bytes taken for a command that reads none")
      })
  ),

  check(
    "stdin-source-fails",
    "an input that breaks off is an error, not the end of the input",
    { marks: ["F17", "F31"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const broken = PlatformError.systemError({ _tag: "UnexpectedEof", module: "Test", method: "source" })
        const stdin = Stream.concat(Stream.make(text.encode("half")), Stream.fail(broken))
        const result = Effect.gen(function* () {
          const handle = yield* sandbox.start("cat", [], { stdin })
          const [, code] = yield* Effect.all([Effect.exit(finish(handle)), handle.exitCode], { concurrency: 2 })
          return code
        })
        const error = yield* expect.platformError(
          expect.promptly(result, "a command whose input breaks off"),
          undefined,
          "its end"
        )
        yield* expect.equal(error.reason._tag, "UnexpectedEof", "whose error it is")
      })
  )
]
