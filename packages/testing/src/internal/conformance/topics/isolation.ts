/** Sandboxes do not see each other, whatever they are called and whatever happens to them. */
import * as Effect from "effect/Effect"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { endOf, ticks } from "../subject.ts"

const check = inTopic("isolation")

export const checks = [
  check("isolation-files", "files of one sandbox are not those of another", { marks: ["L27"] }, (bench) =>
    Effect.gen(function* () {
      const [one, two] = yield* Effect.all([bench.create(), bench.create()], { concurrency: 2 })
      yield* one.files.writeFileString("file", "one")
      yield* expect.equal(yield* two.files.exists("file"), false, "whether the other sees it")
      yield* two.files.writeFileString("file", "two")
      const temporary = yield* one.files.makeTempFile()
      yield* one.files.writeFileString(temporary, "one")
      const contents = [yield* one.files.readFileString("file"), yield* two.files.readFileString("file")]
      yield* expect.equal(contents, ["one", "two"], "a file of the same name in both")
      const other = yield* Effect.option(two.files.readFileString(temporary))
      yield* expect.isTrue(
        other._tag === "None" || other.value !== "one",
        "a temporary file of one is seen by the other"
      )
    })
  ),

  check(
    "isolation-commands",
    "commands of one sandbox do not see the files of another",
    { needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const [one, two] = yield* Effect.all([bench.create(), bench.create()], { concurrency: 2 })
        yield* one.output('echo one >file; echo one >"$TMPDIR/file"; echo one >"$HOME/in-home"')
        const seen = yield* two.output(
          'ls -A; (cd "$TMPDIR" && ls -A); cat file "$TMPDIR/file" "$HOME/in-home" 2>/dev/null || true'
        )
        yield* expect.isTrue(
          !seen.includes("one") && !seen.includes("file") && !seen.includes("in-home"),
          `the other sees ${seen}`
        )
      })
  ),

  check(
    "isolation-reset",
    "resetting one sandbox leaves the other alone, files and processes of the same name included",
    { marks: ["F30", "S1"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const [one, two] = yield* Effect.all([bench.create(), bench.create()], { concurrency: 2 })
        yield* Effect.forEach([one, two], (sandbox) => sandbox.startScript(ticks("ticks")))
        yield* Effect.forEach([one, two], (sandbox) => sandbox.isTicking("ticks"))
        const temporary = yield* two.files.makeTempFile()
        yield* one.instance.reset
        yield* two.isTicking("ticks")
        yield* expect.equal(yield* two.files.exists(temporary), true, "whether the other's temporary file exists")
      })
  ),

  check(
    "isolation-close",
    "taking one sandbox down leaves the other alone, a stranger's process of the same name included",
    { marks: ["F30", "I7"], needs: ["shell"] },
    (bench) =>
      Effect.gen(function* () {
        const two = yield* bench.create()
        const handle = yield* two.startScript(ticks("ticks"))
        const sleep = yield* two.start("sleep", ["61"])
        yield* Effect.scoped(
          Effect.gen(function* () {
            const one = yield* bench.create()
            yield* one.startScript(ticks("ticks"))
            yield* one.start("sleep", ["61"])
            yield* one.isTicking("ticks")
          })
        )
        yield* two.isTicking("ticks")
        yield* expect.equal(
          [yield* handle.isRunning, yield* sleep.isRunning],
          [true, true],
          "isRunning of the other's commands"
        )
        yield* two.instance.ping
      })
  ),

  check(
    "isolation-processes",
    "a command cannot signal the processes of another sandbox",
    { marks: ["F30"], needs: ["shell", "signals", "processIsolation"] },
    (bench) =>
      Effect.gen(function* () {
        const [one, two] = yield* Effect.all([bench.create(), bench.create()], { concurrency: 2 })
        const handle = yield* one.startScript(`echo $$ >pid; ${ticks("ticks")}`)
        yield* one.isTicking("ticks")
        const pid = (yield* one.files.readFileString("pid")).trim()
        const outside = String(handle.pid)
        yield* two.run("sh", [
          "-c",
          'for pid in "$@"; do [ "$pid" -gt 1 ] && [ "$pid" != $$ ] && kill -KILL "$pid"; done; exit 0',
          "sh",
          pid,
          outside
        ])
        yield* one.isTicking("ticks")
        yield* expect.equal(yield* handle.isRunning, true, "isRunning of the other's command")
      })
  ),

  check("isolation-names", "sandboxes with odd and similar names are apart", { marks: ["L27", "F10"] }, (bench) =>
    Effect.gen(function* () {
      const ids = [
        "../escape",
        "/absolute/id",
        "..",
        ".",
        "a/b",
        "a%2fb",
        "a b",
        "a\nb",
        "ä",
        "a\u0308",
        "x".repeat(300),
        `${"x".repeat(299)}y`,
        "$(id)",
        "conformance",
        "conformance-"
      ]
      const sandboxes = yield* Effect.forEach(ids, (sandboxId) => bench.create(bench.spec({ sandboxId })), {
        concurrency: 4
      })
      yield* Effect.forEach(sandboxes, ({ files, spec }) => files.writeFileString("file", spec.sandboxId))
      for (const { files, spec } of sandboxes) {
        yield* expect.equal<string>(
          yield* files.readFileString("file"),
          spec.sandboxId,
          `the file of ${JSON.stringify(spec.sandboxId.slice(0, 50))}`
        )
        yield* expect.equal(yield* files.readDirectory("."), ["file"], "its workspace")
      }
    })
  ),

  check(
    "isolation-generations",
    "the next generation of a slot is apart from the one that is going",
    { marks: ["H2", "F19"] },
    (bench) =>
      Effect.gen(function* () {
        const first = bench.spec()
        const old = yield* bench.create(first)
        yield* old.files.writeFileString("file", "old")
        const next = yield* bench.create(bench.spec({ slot: first.slot, generation: 1 }))
        yield* expect.equal(yield* next.files.readDirectory("."), [], "what the next generation sees")
        yield* next.files.writeFileString("file", "next")
        yield* old.instance.reset
        yield* expect.equal(yield* next.files.readFileString("file"), "next", "its file after a reset of the old one")
      })
  ),

  check(
    "isolation-environments",
    "sandboxes of two environments with the same slot are apart",
    { marks: ["L27"] },
    (bench) =>
      Effect.gen(function* () {
        const spec = (environmentId: string) =>
          bench.spec({ environmentId, slot: 0, sandboxId: `${environmentId}:0:0-${bench.spec().slot}` })
        const [one, two] = yield* Effect.all([bench.create(spec("env-one")), bench.create(spec("env-two"))])
        yield* one.files.writeFileString("file", "one")
        yield* expect.equal(yield* two.files.readDirectory("."), [], "what the other sees")
      })
  ),

  check("isolation-ends", "a command's end is told to its own sandbox", { marks: ["F18"], needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandboxes = yield* Effect.forEach([1, 2, 3, 4], () => bench.create(), { concurrency: 4 })
      const ends = yield* Effect.forEach(
        sandboxes,
        (sandbox, index) =>
          Effect.scoped(
            Effect.gen(function* () {
              const handle = yield* sandbox.startScript(`sleep 0.${index + 1}; exit ${index + 10}`)
              return yield* endOf(handle)
            })
          ),
        { concurrency: "unbounded" }
      )
      yield* expect.equal(
        ends,
        [10, 11, 12, 13].map((code) => ({ _tag: "Exited" as const, code })),
        "the ends"
      )
    })
  )
]
