/** Commands in pipes, output to sinks, and the spawner's helpers. */
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import * as pattern from "../pattern.ts"
import { collect } from "../subject.ts"
import * as text from "../text.ts"

const check = inTopic("pipes")
const megabyte = 1024 * 1024

export const checks = [
  check(
    "output-not-inherited",
    "the host's own streams are refused to commands",
    { marks: ["F5"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        for (const [name, options] of [
          ["stdin", { stdin: "inherit" }],
          ["stdout", { stdout: "inherit" }],
          ["stderr", { stderr: "inherit" }]
        ] as const) {
          yield* expect.platformError(
            Effect.scoped(sandbox.start("true", [], options)),
            undefined,
            `a command that inherits ${name}`
          )
        }
      })
  ),

  check("output-to-sink", "output can go to a sink", { needs: ["programs"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const chunks: Array<Uint8Array> = []
      const sink = Sink.forEach((chunk: Uint8Array) => Effect.sync(() => chunks.push(chunk)))
      const handle = yield* sandbox.start("echo", ["given"])
      yield* Stream.run(handle.stdout, sink)
      yield* expect.equal(text.decode(text.concat(chunks)), "given\n", "what the sink was given")
    })
  ),

  check(
    "output-pipeline",
    "commands can be piped into each other, and the last one's end counts",
    { needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const { spawner } = yield* bench.create()
        const make = ChildProcess.make
        const sorted = make("printf", ["b\\na\\nb\\n"]).pipe(
          ChildProcess.pipeTo(make("sort")),
          ChildProcess.pipeTo(make("uniq"))
        )
        yield* expect.equal(yield* spawner.lines(sorted), ["a", "b"], "three commands")
        const failing = make("true").pipe(ChildProcess.pipeTo(make("sh", ["-c", "cat; exit 5"])))
        yield* expect.equal<number>(yield* spawner.exitCode(failing), 5, "the end of the last")
        const succeeding = make("false").pipe(ChildProcess.pipeTo(make("true")))
        yield* expect.equal<number>(yield* spawner.exitCode(succeeding), 0, "the end of the last")
      })
  ),

  check(
    "output-pipeline-large",
    "10 MB pass through a pipe between commands",
    { marks: ["F17"], needs: ["programs"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const length = 10 * megabyte
        yield* Stream.run(pattern.stream(pattern.noise, length), sandbox.files.sink("source"))
        const piped = ChildProcess.make("cat", ["source"], { stdin: "ignore" }).pipe(
          ChildProcess.pipeTo(ChildProcess.make("cat")),
          ChildProcess.pipeTo(ChildProcess.make("cat"))
        )
        const handle = yield* sandbox.spawner.spawn(piped)
        yield* pattern.verify(handle.stdout, pattern.noise, { length }, "what came out")
      })
  ),

  check("output-pipe-of-stderr", "a pipe may take stderr", { marks: ["F14"], needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const { spawner } = yield* bench.create()
      const left = ChildProcess.make("sh", ["-c", "echo out; echo error >&2"])
      const piped = left.pipe(ChildProcess.pipeTo(ChildProcess.make("cat"), { from: "stderr" }))
      yield* expect.equal(yield* spawner.string(piped), "error\n", "what came through")
    })
  ),

  check("output-of-shell-option", "the option `shell` runs a command line", { needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const { spawner } = yield* bench.create()
      const command = ChildProcess.make("echo $((1 + 2)) | cat; echo two", { shell: true })
      yield* expect.equal(yield* spawner.string(command), "3\ntwo\n", "stdout")
    })
  ),

  check("output-helpers", "the spawner's helpers give text, lines and exit codes", { needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const { spawner } = yield* bench.create()
      const script = (code: string) => ChildProcess.make("sh", ["-c", code], { stdin: "ignore" })
      yield* expect.equal(yield* spawner.string(script("echo a; echo b >&2; echo c")), "a\nc\n", "string")
      yield* expect.equal(yield* spawner.lines(script("echo a; echo; echo b")), ["a", "", "b"], "lines")
      const streamed = yield* Stream.runCollect(
        spawner.streamLines(script("echo a; echo b >&2"), { includeStderr: true })
      )
      yield* expect.equal([...streamed].sort(), ["a", "b"], "streamLines with stderr")
      yield* expect.equal<number>(yield* spawner.exitCode(script("seq 50000; exit 9")), 9, "exitCode")
    })
  ),

  check(
    "output-more-descriptors",
    "a command can write to a descriptor beyond the usual three",
    { needs: ["shell", "additionalFds"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.startScript("echo third >&4; echo out", {
          additionalFds: { fd4: { type: "output" } }
        })
        const [third, out] = yield* Effect.all([collect(handle.getOutputFd(4)), collect(handle.stdout)], {
          concurrency: 2
        })
        yield* expect.equal([text.decode(third), text.decode(out)], ["third\n", "out\n"], "descriptor 4 and stdout")
      })
  ),

  check(
    "input-more-descriptors",
    "a command can read from a descriptor beyond the usual three",
    { needs: ["shell", "additionalFds"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const stream = Stream.make(text.encode("given\n"))
        const { stdout } = yield* sandbox.sh("cat <&4", { additionalFds: { fd4: { type: "input", stream } } })
        yield* expect.equal(stdout, "given\n", "stdout")
      })
  )
]
