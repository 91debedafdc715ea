import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, type Cause, Effect, Fiber, Queue, Scheduler, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as fs from "node:fs"
import * as RandomScripts from "./support/RandomScripts.ts"
import * as RealShell from "./support/RealShell.ts"
import { command, environment, machine, outcome, processes, read, run, script, sh } from "./support/SimProcesses.ts"

const limit = 120_000

/** Runs a script on a machine of its own. */
const simulated = (script: string) => Effect.scoped(Effect.flatMap(machine(), (table) => sh(table, script)))

/** What has to be the same: the words of errors need not. */
const comparable = ({ end, stderr, stdout }: RealShell.Result) => ({ end, stdout, complains: stderr !== "" })

const scripts = fs
  .readFileSync(new URL("fixtures/scripts.txt", import.meta.url), "utf8")
  .trimEnd()
  .split("\n---\n")

describe.skipIf(!RealShell.isThere)("compared with the real shell", () => {
  it.live(
    `${scripts.length} scripts do the same`,
    () =>
      Effect.forEach(
        scripts,
        (script) =>
          Effect.gen(function* () {
            const real = yield* RealShell.run(script, environment)
            assert.deepStrictEqual(comparable(yield* simulated(script)), comparable(real), script)
          }),
        { concurrency: 4, discard: true }
      ),
    limit
  )

  it.live(
    "200 random scripts do the same",
    () =>
      Effect.gen(function* () {
        const { SHELL_RUNS: runs = "200", SHELL_SEED: seed = "1" } = process.env
        const result = yield* Arbitrary.checkEffect(
          RandomScripts.numbers,
          (numbers) =>
            Effect.gen(function* () {
              const script = RandomScripts.scriptOf(numbers)
              const real = yield* RealShell.run(script, environment)
              assert.deepStrictEqual(yield* simulated(script), real, script)
              return true
            }).pipe(Effect.catchDefect(Effect.fail)),
          { runs: Number(runs), seed: Number(seed), size: 120 }
        )
        assert.isUndefined(Arbitrary.formatCheckFailure(result))
      }),
    limit
  )
})

/** A script, what it writes, and how it ends when that is not 0. */
type Case = readonly [
  script: string,
  stdout: string,
  options?: { readonly stderr?: string; readonly end?: number | string }
]

const cases: { readonly [topic: string]: ReadonlyArray<Case> } = {
  words: [
    [`echo 'a  b' "c  d" e  f`, "a  b c  d e f\n"],
    [`x='a  b'; echo $x "$x"`, "a b a  b\n"],
    [`set -- 'a b' '' c; for i in "$@"; do echo "[$i]"; done`, "[a b]\n[]\n[c]\n"],
    [`echo \${x:-d} \${x:=e} $x \${x:+f} \${#x}`, "d e e f 1\n"],
    [`p=/a/b.tar.gz; echo \${p##*/} \${p%%.*} \${p#*/} \${p%.*}`, "b.tar.gz /a/b a/b.tar.gz /a/b.tar\n"],
    [`echo $((1 + 2 * 3)) $((7 % 4)) $((1 << 62)) $((x = 5)) $x`, "7 3 4611686018427387904 5 5\n"],
    [`echo "$(echo "in  $(echo deep)")" \`echo old\``, "in  deep old\n"],
    [`touch b a .c; echo * .[!.]* "*" [x]`, "a b .c * [x]\n"],
    [`echo ~ "~" ~/x`, "/work ~ /work/x\n"],
    // Other than dash, a character is one for patterns; its length is in bytes, as there.
    [`x=é; echo \${#x}; case $x in ?) echo one;; esac`, "2\none\n"],
    [`printf '\\377' >f; x=$(cat f); printf %s "$x" | cmp - f && echo same`, "same\n"],
    [`echo $LINENO\necho $LINENO`, "1\n2\n"]
  ],
  commands: [
    [`false || echo a && ! false && echo b; echo $?`, "a\nb\n0\n"],
    [`f() { local x=2; echo $x $1 $#; return 3; }; x=1; f a b; echo $? $x`, "2 a 2\n3 1\n"],
    [`for i in 1 2 3; do [ $i = 2 ] && continue; echo $i; done`, "1\n3\n"],
    [`case abc in x) echo no;; a*|b*) echo yes;; esac`, "yes\n"],
    [`cat <<A; cat <<'B'\n$((1+1))\nA\n$no\nB`, "2\n$no\n"],
    [`x=1; (x=2; cd /; set -- a; f() { :; }; trap '' TERM; umask 0); echo $x $# $(umask); pwd`, "1 0 0022\n/work\n"],
    [`echo a >f; echo b >>f; cat <f; { echo e >&2; echo o; } 2>&1 >g; cat g`, "a\nb\ne\no\n"],
    [`exec 3>f; echo x >&3; exec 3>&-; cat f; exec <f; read y; echo $y`, "x\nx\n"],
    [`echo 'echo sourced $1; return 4' >l; . ./l; echo $?; sh l a`, "sourced\n4\nsourced a\n", { end: 4 }],
    [`command -v cat; command -v cd; command -v nosuch; echo $?`, "/usr/bin/cat\ncd\n127\n"]
  ],
  errors: [
    ["nosuch; echo $?", "127\n", { stderr: "sh: 1: nosuch: not found\n" }],
    ["echo >f; ./f; echo $?", "126\n", { stderr: "sh: 1: ./f: Permission denied\n" }],
    ["echo a; if", "", { end: 2, stderr: 'sh: 1: Syntax error: end of file unexpected (expecting "then")\n' }],
    ["echo a\nfi", "a\n", { end: 2, stderr: 'sh: 2: Syntax error: "fi" unexpected\n' }],
    ["echo ${x?gone}; echo no", "", { end: 2, stderr: "sh: 1: x: gone\n" }],
    ["set -u; echo $x; echo no", "", { end: 2, stderr: "sh: 1: x: parameter not set\n" }],
    ["set -e; false; echo no", "", { end: 1 }],
    ["cat <nosuch; echo $?", "2\n", { stderr: "sh: 1: cannot open nosuch: No such file\n" }],
    ["echo >a/b; echo $?", "2\n", { stderr: "sh: 1: cannot create a/b: Directory nonexistent\n" }],
    ["cd nosuch; echo $?", "2\n", { stderr: "sh: 1: cd: can't cd to nosuch\n" }],
    ["echo $((1/0))", "", { end: 2, stderr: 'sh: 1: arithmetic expression: division by zero: "1/0"\n' }],
    ["shift; echo no", "", { end: 2, stderr: "sh: 1: shift: can't shift that many\n" }],
    ["exec nosuch; echo no", "", { end: 127, stderr: "sh: 1: exec: nosuch: not found\n" }],
    ["f() { f; }; f; echo no", "", { end: 2, stderr: "sh: 1: Maximum function recursion depth (1000) reached\n" }],
    ["echo x >/dev/full; echo $?", "1\n", { stderr: "sh: 1: echo: echo: I/O error\n" }],
    ["kill -9 1; echo $?", "1\n", { stderr: "sh: 1: kill: Operation not permitted\n" }]
  ],
  signals: [
    ["sh -c 'kill -9 $$'; echo $?", "137\n", { stderr: "Killed\n" }],
    ["sh -c 'kill -INT $$'; echo $?; sh -c 'kill -PIPE $$'; echo $?", "130\n141\n"],
    ["yes | head -n 1; echo $?", "y\n0\n"],
    [
      "trap '' PIPE; (echo a; sleep 0.1; echo b; echo $? >f) | true; cat f",
      "1\n",
      { stderr: "sh: 1: echo: echo: I/O error\n" }
    ],
    ["trap 'echo bye' EXIT; exit 3", "bye\n", { end: 3 }],
    ["trap 'echo term; exit 9' TERM; kill $$; echo no", "term\n", { end: 9 }],
    ["trap '' TERM; kill $$; sh -c 'kill $$; echo both live'", "both live\n"],
    ["trap 'echo usr' USR1; (kill -USR1 $$; exit 5); echo $?", "usr\n5\n"],
    ["(trap - TERM; kill $(sh -c 'echo $PPID'); echo no); echo $?", "143\n", { stderr: "Terminated\n" }]
  ],
  processes: [
    ["echo $$; (echo $$); sh -c 'echo $$'; exec sh -c 'echo $$'", "2\n2\n4\n2\n"],
    ["(exit 3) & wait $!; echo $?; wait; echo $?; wait 99; echo $?", "3\n0\n127\n"],
    ["cat & wait; echo read nothing", "read nothing\n"],
    [
      "(sleep 0.5; echo late) & echo early; wait; (echo a; sleep 0.2; echo c) & sleep 0.1; echo b; wait",
      "early\nlate\na\nb\nc\n"
    ],
    ["for i in 3 1 2; do (sleep 0.$i; echo $i) & done; wait; echo all", "1\n2\n3\nall\n"],
    ["trap 'echo t' TERM; (sleep 0.1; kill $$) & sleep 0.5; echo end", "t\nend\n"],
    ["(trap '' TERM; sleep 0.5; echo survived) & sleep 0.1; kill $!; wait $!; echo $?", "survived\n0\n"],
    ["sleep 10 & sleep 0.1; kill $!; wait $!; echo $?", "143\n", { stderr: "Terminated\n" }],
    ["x=$(exit 4); echo $?; false | true; echo $?; true | false; echo $?", "4\n0\n1\n"],
    ["echo $(sleep 0; echo a) | while read l; do x=$l; done; echo [$x]", "[]\n"]
  ]
}

for (const [topic, all] of Object.entries(cases)) {
  describe(`${topic}`, () => {
    it.effect.each(all)("%j", ([text, stdout, { end = 0, stderr = "" } = {}]) =>
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(simulated(text), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.join(fiber), { end, stdout, stderr })
      })
    )
  })
}

describe("scripts", () => {
  it.effect("come from a file, from standard input, or from both at once with what they read", () =>
    Effect.gen(function* () {
      const input = (text: string) => ({ stdin: Stream.encodeText(Stream.make(text)) })
      const table = yield* machine({ files: { "/work/s": "echo $0 $1\nread x\necho got $x\n" } })
      assert.strictEqual((yield* run(table, command("sh", ["s", "a"], input("b\n")))).stdout, "s a\ngot b\n")
      assert.strictEqual((yield* run(table, command("sh", ["-s", "a"], input("echo $1")))).stdout, "a\n")
      const mixed = "read x\nthe line after\necho got $x\ncat\nrest\n"
      assert.strictEqual((yield* run(table, command("sh", [], input(mixed)))).stdout, "got the line after\nrest\n")
      const missing = yield* run(table, command("sh", ["nosuch"]))
      assert.deepStrictEqual(missing, { end: 2, stdout: "", stderr: "sh: 0: cannot open nosuch: No such file\n" })
    })
  )

  it.effect("a shell on a pipe runs each line as it comes, and goes on", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const input = yield* Queue.unbounded<Uint8Array, Cause.Done>()
      const handle = yield* table.spawner.spawn(command("sh", [], { stdin: Stream.fromQueue(input) }))
      const lines = yield* Queue.unbounded<string>()
      yield* Effect.forkChild(
        Stream.runForEach(Stream.splitLines(Stream.decodeText(handle.stdout)), (line) => Queue.offer(lines, line)),
        { startImmediately: true }
      )
      const send = (text: string) => Queue.offer(input, new TextEncoder().encode(text))
      yield* send("x=5; cd /tmp; echo one\n")
      assert.strictEqual(yield* Queue.take(lines), "one")
      yield* send("if true\n")
      yield* send("then echo $x $(pwd)\n")
      yield* send("fi\n")
      assert.strictEqual(yield* Queue.take(lines), "5 /tmp")
      yield* send("cat <<E; exit 6\n$x\n")
      yield* send("E\n")
      assert.strictEqual(yield* Queue.take(lines), "5")
      assert.strictEqual(yield* handle.exitCode, 6)
    })
  )
})

describe("time", () => {
  it.effect("passes on the clock, for all at once", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const text =
        "date +%s; (sleep 2.5; echo b) & (sleep 1m; echo c) & sleep 1; echo a; wait; date +%s; timeout 5 sleep 9; echo $?; date '+%F %T'"
      const fiber = yield* Effect.forkChild(sh(table, text), { startImmediately: true })
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* Fiber.join(fiber)).stdout, "0\na\nb\nc\n60\n124\n1970-01-01 00:01:05\n")
    })
  )

  it.effect("a trap waits for the command in the foreground, and ends a wait", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const text = "trap 'echo trapped' TERM; sleep 10; echo slept; sleep 10 & wait; echo $?; wait; echo done"
      const handle = yield* table.spawner.spawn(script(text))
      const lines: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(Stream.splitLines(Stream.decodeText(handle.stdout)), (line) =>
          Effect.sync(() => void lines.push(line))
        ),
        { startImmediately: true }
      )
      yield* sh(table, `kill ${handle.pid}`)
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual(lines, [])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(lines, ["trapped", "slept"])
      yield* sh(table, `kill ${handle.pid}`)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(lines.slice(2), ["trapped", "143"])
      yield* TestClock.adjust("9 seconds")
      yield* Fiber.join(fiber)
      assert.strictEqual(lines.at(-1), "done")
    })
  )
})

describe("processes of a shell", () => {
  it.effect(
    "F28 nothing changes when fibers take turns after every few operations",
    () =>
      Effect.gen(function* () {
        const text =
          "seq 30 | (while read x; do echo $x; done) | sort -rn | head -n 2 >f; x=$(cat f | tr '\\n' ,); echo $x; yes | head -c 100000 | wc -c; (exit 3) & wait $!; echo $?"
        for (const operations of [3, 4, 7, 16]) {
          const result = yield* Effect.provideService(simulated(text), Scheduler.MaxOpsBeforeYield, operations)
          assert.deepStrictEqual(result, { end: 0, stdout: "30,29,\n100000\n3\n", stderr: "" }, String(operations))
        }
      }),
    limit
  )

  it.effect("the last command takes the shell's place, unless there is a trap", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      yield* table.spawner.spawn(script("sleep 100"))
      yield* table.spawner.spawn(script("trap 'echo' EXIT; sleep 200"))
      yield* table.spawner.spawn(script("sleep 300 | cat"))
      assert.deepStrictEqual(processes(table), [
        "2 <- 1 running sleep 100",
        "3 <- 1 running sh -c trap 'echo' EXIT; sleep 200",
        "4 <- 3 running sleep 200",
        "5 <- 1 running sh -c sleep 300 | cat",
        "6 <- 5 running sleep 300",
        "7 <- 5 running cat"
      ])
    })
  )

  it.effect("the parts of a pipeline run at once, and wait for each other", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const text = "(head -c 65536 /dev/zero; echo >full; head -c 65536 /dev/zero; echo >sent) | (sleep 5; wc -c)"
      const handle = yield* table.spawner.spawn(script(text))
      yield* TestClock.adjust("4 seconds")
      assert.isTrue(yield* table.files.exists("full"))
      assert.isFalse(yield* table.files.exists("sent"))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* read(handle.stdout), "131072\n")
    })
  )

  it.effect("what goes through a long pipeline comes out of it", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const text = `seq 20000 ${"| cat ".repeat(200)} | tail -n 1`
      assert.deepStrictEqual(yield* sh(table, text), { end: 0, stdout: "20000\n", stderr: "" })
    })
  )

  it.effect("subshells in subshells, deeper than a stack", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const text = "deep() { if [ $1 -gt 0 ]; then (deep $(($1 - 1)); :); else echo bottom; fi; }; deep 300"
      assert.deepStrictEqual(yield* sh(table, text), { end: 0, stdout: "bottom\n", stderr: "" })
    })
  )

  it.effect("a handle's outcome is what the shell last did", () =>
    Effect.gen(function* () {
      const table = yield* machine()
      const handle = yield* table.spawner.spawn(script("trap 'exit 7' TERM; while :; do :; done"))
      const ended = yield* Effect.forkChild(outcome(handle), { startImmediately: true })
      yield* handle.kill()
      assert.strictEqual((yield* Fiber.join(ended)).end, 7)
    })
  )
})
