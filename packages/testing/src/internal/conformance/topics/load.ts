/** Many things at the same time, and one that hangs among others that do not (F19, F24). */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import * as pattern from "../pattern.ts"
import { exited } from "../subject.ts"
import * as text from "../text.ts"

const check = inTopic("load")
const times = (count: number) => Array.from({ length: count }, (_, index) => index)

export const checks = [
  check(
    "load-hundred-commands",
    "100 commands at the same time each get their own output and end",
    { marks: ["F24"], needs: ["shell"], patience: 2 },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const ended = yield* Effect.forEach(
          times(100),
          (index) => sandbox.sh(`echo ${index}; sleep 0.5; echo error ${index} >&2; exit ${index}`),
          { concurrency: "unbounded" }
        )
        for (const [index, { end, stderr, stdout }] of ended.entries()) {
          yield* expect.equal(
            { end, stdout, stderr },
            { end: exited(index), stdout: `${index}\n`, stderr: `error ${index}\n` },
            `command ${index} of 100`
          )
        }
      })
  ),

  check(
    "load-large-outputs",
    "ten commands with 2 MB of input and output each do not mix them up",
    { marks: ["F14", "F17"], needs: ["programs"], patience: 2 },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const length = 2_000_000
        yield* Effect.forEach(
          times(10),
          (index) => {
            const own = pattern.repeat(text.encode(`stream ${index} `))
            return Effect.scoped(
              Effect.flatMap(sandbox.start("cat", [], { stdin: pattern.stream(own, length) }), (handle) =>
                pattern.verify(handle.stdout, own, { length }, `the output of command ${index}`)
              )
            )
          },
          { concurrency: "unbounded" }
        )
      })
  ),

  check("load-files", "100 files are written and read at the same time", { marks: ["F24"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      const found = yield* Effect.forEach(
        times(100),
        (index) =>
          Effect.andThen(
            files.writeFileString(`file-${index}`, `content ${index}`),
            files.readFileString(`file-${index}`)
          ),
        { concurrency: "unbounded" }
      )
      yield* expect.equal(
        found,
        times(100).map((index) => `content ${index}`),
        "the contents"
      )
      yield* expect.equal((yield* files.readDirectory(".")).length, 100, "files in the workspace")
    })
  ),

  check(
    "load-hanging-commands",
    "commands, files and pings go on while other commands hang in every way",
    { marks: ["F24", "F19"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const hang = { forceKillAfter: "500 millis" } as const
        yield* sandbox.startScript("sleep 60", hang)
        yield* sandbox.startScript("yes", hang)
        yield* sandbox.startScript("cat", { ...hang, stdin: Stream.never })
        yield* sandbox.startScript("kill -STOP $$; sleep 60", hang)
        yield* sandbox.startScript("sleep 60", { ...hang, stdin: pattern.stream(pattern.noise, 10_000_000) })
        const others = Effect.gen(function* () {
          yield* sandbox.instance.ping
          yield* sandbox.files.writeFileString("file", "content")
          yield* sandbox.files.readDirectory(".")
          return yield* sandbox.output("cat file")
        })
        yield* expect.equal(yield* expect.promptly(others, "everything else"), "content", "the file")
      })
  ),

  check(
    "load-other-sandboxes",
    "a sandbox works while another is made, is busy, hangs and is taken down",
    { marks: ["F24"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const busy = Effect.scoped(
          Effect.gen(function* () {
            const other = yield* bench.create()
            yield* other.startScript("trap '' TERM; while :; do :; done", { forceKillAfter: "300 millis" })
            yield* Effect.sleep("500 millis")
          })
        )
        yield* Effect.forkScoped(Effect.forEach(times(3), () => busy, { concurrency: 3 }))
        for (const index of times(10)) {
          const { stdout } = yield* expect.promptly(sandbox.run("echo", [`${index}`]), `command ${index}`)
          yield* expect.equal(stdout, `${index}\n`, "its output")
        }
      })
  ),

  check("ping-answers", "a sandbox answers pings, one by one and many at once", { marks: ["F19"] }, (bench) =>
    Effect.gen(function* () {
      const { instance } = yield* bench.create()
      yield* expect.promptly(instance.ping, "a ping")
      yield* expect.promptly(
        Effect.forEach(times(50), () => instance.ping, { concurrency: "unbounded", discard: true }),
        "50 pings"
      )
      yield* instance.reset
      yield* expect.promptly(instance.ping, "a ping after reset")
    })
  ),

  check(
    "ping-while-busy",
    "a busy sandbox is not dead: it answers, and nobody reports its death",
    { marks: ["F19"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const options = { forceKillAfter: "300 millis", stdout: "ignore" } as const
        for (const script of ["while :; do :; done", "while :; do :; done", "yes", "cat /dev/zero"]) {
          yield* sandbox.startScript(script, options)
        }
        const death = yield* Effect.forkScoped(sandbox.instance.awaitDeath)
        for (const index of times(5)) {
          yield* expect.promptly(sandbox.instance.ping, `ping ${index}`, "10 seconds")
          yield* Effect.sleep("200 millis")
        }
        yield* expect.equal(death.pollUnsafe(), undefined, "a death of a busy sandbox")
      })
  ),

  check(
    "death-is-not-made-up",
    "a sandbox that lives is never reported dead, also not by reset and commands that crash",
    { marks: ["F19", "F29"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const death = yield* Effect.forkScoped(sandbox.instance.awaitDeath)
        yield* Effect.exit(sandbox.run("no-such-command"))
        if (bench.has("shell")) yield* sandbox.sh("kill -KILL $$")
        yield* sandbox.instance.reset
        yield* Effect.sleep("500 millis")
        yield* sandbox.instance.ping
        yield* expect.equal(death.pollUnsafe(), undefined, "a death of a sandbox that lives")
      })
  )
]
