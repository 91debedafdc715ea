/** Standard output and error: bytes, apart, in order, complete, and neither held back nor hoarded (F14, F16, F18). */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import * as pattern from "../pattern.ts"
import { collect, endOf, exited, finish } from "../subject.ts"
import * as text from "../text.ts"

const check = inTopic("output")
const megabyte = 1024 * 1024
const lines = (count: number) => text.encode(Array.from({ length: count }, (_, index) => `${index + 1}\n`).join(""))

export const checks = [
  check("output-apart", "stdout and stderr are two streams", { marks: ["F14"], needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const { stderr, stdout } = yield* sandbox.sh("echo out; echo error >&2; echo more; echo worse >&2")
      yield* expect.equal({ stdout, stderr }, { stdout: "out\nmore\n", stderr: "error\nworse\n" }, "the streams")
    })
  ),

  check(
    "output-stderr-only",
    "a command may write to stderr alone, or not at all",
    { marks: ["F14"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const errors = yield* sandbox.sh("echo error >&2")
        yield* expect.equal([errors.stdout, errors.stderr], ["", "error\n"], "stdout and stderr")
        const nothing = yield* sandbox.sh(":")
        yield* expect.equal([nothing.stdout, nothing.stderr], ["", ""], "stdout and stderr of nothing")
        const closed = yield* sandbox.sh("exec >&- 2>&-; exit 3")
        yield* expect.equal(
          [closed.stdout, closed.stderr, closed.end],
          ["", "", exited(3)],
          "a command that closes both"
        )
      })
  ),

  check(
    "output-merged-in-order",
    "what a command merges itself keeps its order",
    { marks: ["F14"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const script = "exec 2>&1; for i in 1 2 3 4 5; do echo out $i; echo error $i >&2; done"
        const expected = [1, 2, 3, 4, 5].map((i) => `out ${i}\nerror ${i}\n`).join("")
        yield* expect.equal(yield* sandbox.output(script), expected, "stdout")
      })
  ),

  check("output-all", "`all` has both streams", { marks: ["F14"], needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const handle = yield* sandbox.startScript("echo out; sleep 0.2; echo error >&2; sleep 0.2; echo more")
      yield* expect.equal(text.decode(yield* collect(handle.all)), "out\nerror\nmore\n", "all")
    })
  ),

  check(
    "output-both-large",
    "two streams of 2 MB at the same time are complete, each in its order",
    { marks: ["F14"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { end, stderrBytes, stdoutBytes } = yield* sandbox.sh("seq 320000 & seq 320000 >&2; wait")
        const expected = lines(320_000)
        yield* expect.equal(end, exited(0), "the end")
        yield* expect.bytes(stdoutBytes, expected, "stdout")
        yield* expect.bytes(stderrBytes, expected, "stderr")
      })
  ),

  check("output-large", "50 MB of output arrive to the last byte", { marks: ["F14"], needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const line = "the quick brown fox jumps over the lazy dog and 0123456789 in 75 characters"
      const length = 50 * megabyte
      const handle = yield* sandbox.startScript(`yes "${line}" | head -c ${length}`)
      yield* pattern.verify(handle.stdout, pattern.repeat(text.encode(`${line}\n`)), { length }, "stdout")
      yield* expect.equal(yield* endOf(handle), exited(0), "the end")
    })
  ),

  check("output-binary", "bytes arrive as they are", { marks: ["F16"], needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const length = 1_000_003
      yield* sandbox.files.writeFile("binary", pattern.slice(pattern.noise, 0, length))
      const handle = yield* sandbox.start("cat", ["binary"])
      yield* pattern.verify(handle.stdout, pattern.noise, { length }, "stdout")
    })
  ),

  check("output-invalid-utf8", "what is not UTF-8 is kept as bytes", { marks: ["F16"], needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const { stdoutBytes } = yield* sandbox.run("printf", ["\\377\\376a\\303\\000b\\200"])
      yield* expect.bytes(stdoutBytes, Uint8Array.of(0xff, 0xfe, 0x61, 0xc3, 0, 0x62, 0x80), "stdout")
    })
  ),

  check(
    "output-split-characters",
    "characters of several bytes that are written in pieces come out whole",
    { marks: ["F16"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const script =
          "printf 'a\\342'; sleep 0.2; printf '\\202'; sleep 0.2; printf '\\254b\\360\\237'; sleep 0.2; printf '\\231\\202'"
        const handle = yield* sandbox.startScript(script)
        const decoded = yield* Stream.mkString(Stream.decodeText(handle.stdout))
        yield* expect.equal(decoded, "a€b🙂", "the text")
      })
  ),

  check(
    "output-long-text",
    "600 KB of three-byte characters come out whole, wherever chunks end",
    { marks: ["F16"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const euros = `a${"€".repeat(200_000)}`
        yield* sandbox.files.writeFileString("euros", euros)
        const handle = yield* sandbox.start("cat", ["euros"])
        const decoded = yield* Stream.mkString(Stream.decodeText(handle.stdout))
        yield* expect.equal(decoded.length, euros.length, "the length of the text")
        yield* expect.isTrue(decoded === euros, "the text differs")
      })
  ),

  check("output-tiny-writes", "2,000 small writes arrive in order", { marks: ["F14"], needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const script = "i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); echo $i; done"
      const { end, stdoutBytes } = yield* sandbox.sh(script)
      yield* expect.equal(end, exited(0), "the end")
      yield* expect.bytes(stdoutBytes, lines(2000), "stdout")
    })
  ),

  check(
    "output-while-running",
    "output arrives while the command runs",
    { marks: ["F13"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.startScript("echo first; echo early >&2; sleep 30")
        const head = (stream: typeof handle.stdout) =>
          stream.pipe(Stream.decodeText(), Stream.splitLines, Stream.take(1), Stream.runCollect)
        const [out, error] = yield* expect.promptly(
          Effect.all([head(handle.stdout), head(handle.stderr)], { concurrency: 2 }),
          "the first line of each stream of a command that goes on for 30 s"
        )
        yield* expect.equal([...out, ...error], ["first", "early"], "the lines")
        yield* expect.equal(yield* handle.isRunning, true, "isRunning")
      })
  ),

  check(
    "output-trickle",
    "the lines of a long command arrive one by one, with nothing lost to a time limit",
    { marks: ["F13"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.startScript("for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done; exit 2")
        let chunks = 0
        const [all] = yield* Effect.all(
          [collect(Stream.tap(handle.stdout, () => Effect.sync(() => chunks++))), endOf(handle)],
          { concurrency: 2 }
        )
        yield* expect.equal(text.decode(all), "1\n2\n3\n4\n5\n6\n", "stdout")
        yield* expect.atLeast(chunks, 3, "how many chunks arrived in three seconds")
        yield* expect.equal(yield* endOf(handle), exited(2), "the end")
      })
  ),

  check(
    "output-slow-reader",
    "a reader that is slow misses nothing, also of a command that has ended",
    { marks: ["F14", "F18"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const length = 1_000_000
        const handle = yield* sandbox.startScript(`yes | head -c ${length}; echo end >&2`)
        let reads = 0
        const slow = Stream.mapEffect(handle.stdout, (chunk) =>
          ++reads > 8 ? Effect.succeed(chunk) : Effect.as(Effect.sleep("100 millis"), chunk)
        )
        yield* Effect.sleep("400 millis")
        yield* pattern.verify(slow, pattern.repeat(text.encode("y\n")), { length }, "stdout")
        yield* expect.equal(text.decode(yield* collect(handle.stderr)), "end\n", "stderr")
      })
  ),

  check(
    "output-unread-flood",
    "a command that floods its output can be ended while nobody reads it",
    { marks: ["F7"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const run = Effect.scoped(Effect.andThen(sandbox.start("yes", ["flood"]), Effect.sleep("300 millis")))
        yield* expect.promptly(run, "closing a command that floods its output", "15 seconds")
        yield* expect.equal((yield* sandbox.run("echo", ["on"])).stdout, "on\n", "the next command")
      })
  ),

  check(
    "output-no-trailing-newline",
    "a last line without its end, empty lines and carriage returns are kept",
    { marks: ["F14"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { stdout } = yield* sandbox.run("printf", ["\\n\\r\\na\\r\\n\\n\\nb"])
        yield* expect.equal(stdout, "\n\r\na\r\n\n\nb", "stdout")
      })
  ),

  check("output-ends", "the streams end when the command has ended", { marks: ["F3"], needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const handle = yield* sandbox.startScript("echo a; sleep 0.3")
      const ended = yield* expect.promptly(finish(handle), "the end of the streams")
      yield* expect.equal(ended.stdout, "a\n", "stdout")
    })
  ),

  check("output-ignored", "output that is ignored is empty, and stops nobody", { needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const { end, stderr, stdout } = yield* sandbox.sh("seq 100000; echo error >&2; exit 3", { stdout: "ignore" })
      yield* expect.equal({ end, stdout, stderr }, { end: exited(3), stdout: "", stderr: "error\n" }, "the command")
    })
  )
]
