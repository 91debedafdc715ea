/**
 * Writes `tasks.jsonl`, the data set of this example: submissions with the verdict a correct grader must give them.
 * Deterministic, and without dependencies: `node make-tasks.ts` (Node 24). The format is described in `TASKS.md`.
 *
 * Scripts keep to POSIX `sh`, coreutils (and `setsid`) and Node 18 to 24. JavaScript files end in `.cjs` or `.mjs`, so
 * that no `package.json` above the workspace decides what they are. Nothing opens `/dev/stdout` or `/dev/stdin`:
 * these fail where the streams are sockets.
 */
import { writeFileSync } from "node:fs"

type Verdict = "passed" | "failed" | "timed-out" | "output-limit" | "signalled" | "not-found"

interface Options {
  readonly files?: Record<string, string>
  readonly command?: ReadonlyArray<string>
  readonly stdin?: string
  readonly timeoutMillis?: number
  readonly maxOutputBytes?: number
  readonly expect?: {
    readonly exitCode: number
    readonly stdout?: string
    readonly stdoutContains?: string
    readonly stderrContains?: string
  }
  /** The text of `check.sh`, run instead of the comparison with `expect`. */
  readonly checkSh?: string
  /** The text of `check.cjs`, likewise. */
  readonly checkJs?: string
  /** Further files of the checker. */
  readonly checkFiles?: Record<string, string>
  readonly hostile?: true
}

interface Task extends Omit<Options, "checkSh" | "checkJs"> {
  readonly id: string
  readonly image: "shell" | "node"
  readonly command: ReadonlyArray<string>
  readonly check?: ReadonlyArray<string>
  readonly verdict: Verdict
}

const tasks: Array<Task> = []
const counts = { shell: 0, node: 0 }

/** A file's text from an indented literal: no escapes are read, and the common indentation is taken away. */
const file = (strings: TemplateStringsArray, ...values: ReadonlyArray<string | number>): string => {
  const lines = String.raw(strings, ...values)
    .replace(/^\n/, "")
    .replace(/\n[ ]*$/, "")
    .split("\n")
  const depths = lines.filter((line) => line.trim() !== "").map((line) => line.length - line.trimStart().length)
  const depth = depths.length === 0 ? 0 : Math.min(...depths)
  return lines.map((line) => line.slice(depth)).join("\n") + "\n"
}

const add = (image: "shell" | "node", name: string, verdict: Verdict, source: string | undefined, options: Options) => {
  const { checkSh, checkJs, checkFiles, expect, command, files, hostile, ...rest } = options
  const number = String(++counts[image]).padStart(3, "0")
  const main = image === "shell" ? "main.sh" : "main.cjs"
  const allFiles = { ...(source === undefined ? {} : { [main]: source }), ...files }
  const checker =
    checkSh !== undefined
      ? { check: ["sh", "check.sh"], checkFiles: { "check.sh": checkSh, ...checkFiles } }
      : checkJs !== undefined
        ? { check: ["node", "check.cjs"], checkFiles: { "check.cjs": checkJs, ...checkFiles } }
        : { expect: expect ?? { exitCode: 0 } }
  tasks.push({
    id: `${image === "shell" ? "sh" : "js"}-${number}-${name}`,
    image,
    ...(Object.keys(allFiles).length === 0 ? {} : { files: allFiles }),
    command: command ?? [image === "shell" ? "sh" : "node", main],
    ...rest,
    ...checker,
    ...(hostile === undefined ? {} : { hostile }),
    verdict
  })
}

const sh = (name: string, verdict: Verdict, source: string | undefined, options: Options = {}) =>
  add("shell", name, verdict, source, options)
const js = (name: string, verdict: Verdict, source: string | undefined, options: Options = {}) =>
  add("node", name, verdict, source, options)

/** Exit code zero and exactly this output. */
const prints = (stdout: string): Options => ({ expect: { exitCode: 0, stdout } })
const exits = (exitCode: number): Options => ({ expect: { exitCode } })

// ---------------------------------------------------------------------------------------------------------------------
// sh: output compared
// ---------------------------------------------------------------------------------------------------------------------

const hello = file`
  echo hello
`
sh("hello", "passed", hello, prints("hello\n"))
sh(
  "hello-wrong-case",
  "failed",
  file`
  echo Hello
`,
  prints("hello\n")
)
sh(
  "hello-no-newline",
  "passed",
  file`
  printf hello
`,
  prints("hello")
)
sh(
  "hello-missing-newline",
  "failed",
  file`
  printf hello
`,
  prints("hello\n")
)
sh(
  "hello-extra-newline",
  "failed",
  file`
  printf 'hello\n\n'
`,
  prints("hello\n")
)
sh(
  "hello-trailing-space",
  "failed",
  file`
  printf 'hello \n'
`,
  prints("hello\n")
)
sh(
  "hello-crlf",
  "failed",
  file`
  printf 'hello\r\n'
`,
  prints("hello\n")
)
sh(
  "hello-on-stderr",
  "failed",
  file`
  echo hello >&2
`,
  prints("hello\n")
)
sh(
  "hello-but-exit-1",
  "failed",
  file`
  echo hello
  exit 1
`,
  prints("hello\n")
)
sh(
  "silent",
  "passed",
  file`
  :
`,
  prints("")
)
sh("silence-expected", "failed", hello, prints(""))
sh("empty-script", "passed", "", prints(""))
sh("comment-only-script", "passed", "# nothing to do", prints(""))
sh(
  "streams-apart",
  "passed",
  file`
  echo to-stdout
  echo to-stderr >&2
`,
  { expect: { exitCode: 0, stdout: "to-stdout\n", stderrContains: "to-stderr" } }
)
sh(
  "streams-swapped",
  "failed",
  file`
  echo to-stdout >&2
  echo to-stderr
`,
  { expect: { exitCode: 0, stdout: "to-stdout\n", stderrContains: "to-stderr" } }
)
sh(
  "stderr-does-not-count-as-stdout",
  "passed",
  file`
  echo noise >&2
  echo 42
  echo noise >&2
`,
  prints("42\n")
)
sh(
  "stderr-merged-into-stdout",
  "passed",
  file`
  exec 2>&1
  echo one
  echo two >&2
  echo three
`,
  prints("one\ntwo\nthree\n")
)
sh(
  "stdout-contains",
  "passed",
  file`
  seq 1 1000
  echo needle
  seq 1 1000
`,
  { expect: { exitCode: 0, stdoutContains: "needle" } }
)
sh(
  "stdout-does-not-contain",
  "failed",
  file`
  seq 1 1000
`,
  { expect: { exitCode: 0, stdoutContains: "needle" } }
)
sh(
  "stderr-contains",
  "passed",
  file`
  echo "error: bad input on line 7" >&2
  exit 3
`,
  { expect: { exitCode: 3, stdout: "", stderrContains: "line 7" } }
)
sh(
  "stderr-does-not-contain",
  "failed",
  file`
  echo "error: bad input on line 8" >&2
  exit 3
`,
  { expect: { exitCode: 3, stderrContains: "line 7" } }
)
sh(
  "closes-its-streams",
  "passed",
  file`
  echo before
  exec >&- 2>&-
  exit 0
`,
  prints("before\n")
)
sh(
  "partial-last-line",
  "passed",
  file`
  echo first
  printf second
`,
  prints("first\nsecond")
)
sh(
  "tabs-and-quotes",
  "passed",
  file`
  printf '\t"quoted"\t%s\n' "it's"
`,
  prints('\t"quoted"\tit\'s\n')
)
sh(
  "nul-bytes",
  "passed",
  file`
  printf 'a\000b\n'
`,
  prints("a\u0000b\n")
)
sh(
  "control-characters",
  "passed",
  file`
  printf '\033[31mred\033[0m\007\n'
`,
  prints("\u001b[31mred\u001b[0m\u0007\n")
)
sh(
  "unicode",
  "passed",
  file`
  echo 'Grüße, 世界 🌍'
`,
  prints("Grüße, 世界 🌍\n")
)
sh(
  "unicode-composed-differently",
  "failed",
  file`
  printf 'e\314\201\n'
`,
  prints("\u00e9\n")
)
sh(
  "unicode-in-pieces",
  "passed",
  file`
  printf '\360\237'
  sleep 0.1
  printf '\214\215\n'
`,
  prints("🌍\n")
)
sh(
  "invalid-utf8",
  "passed",
  file`
  printf '\377\376\n'
`,
  prints("\ufffd\ufffd\n")
)
sh(
  "invalid-utf8-then-text",
  "passed",
  file`
  printf '\377 still here\n'
`,
  { expect: { exitCode: 0, stdoutContains: "still here" } }
)
sh(
  "cut-off-utf8",
  "passed",
  file`
  printf 'ok\303'
`,
  prints("ok\ufffd")
)
sh(
  "invalid-utf8-is-not-the-answer",
  "failed",
  file`
  printf '\374ber\n'
`,
  prints("über\n")
)
sh(
  "long-line",
  "passed",
  file`
  head -c 50000 /dev/zero | tr '\0' x
`,
  prints("x".repeat(50000))
)
sh(
  "many-lines",
  "passed",
  file`
  seq 1 2000
`,
  prints(Array.from({ length: 2000 }, (_, index) => `${index + 1}\n`).join(""))
)
sh(
  "many-lines-one-missing",
  "failed",
  file`
  seq 1 1999
`,
  prints(Array.from({ length: 2000 }, (_, index) => `${index + 1}\n`).join(""))
)

// ---------------------------------------------------------------------------------------------------------------------
// sh: exit codes, which are no signals
// ---------------------------------------------------------------------------------------------------------------------

for (const code of [0, 1, 2, 42, 77, 124, 126, 127, 128, 130, 134, 137, 139, 143, 255]) {
  sh(`exit-${code}`, "passed", `exit ${code}\n`, exits(code))
}
sh("exit-137-where-0-expected", "failed", "exit 137\n", exits(0))
sh("exit-1-where-2-expected", "failed", "exit 1\n", exits(2))
sh("exit-0-where-1-expected", "failed", "exit 0\n", exits(1))
sh(
  "exit-code-of-last-command",
  "passed",
  file`
  true
  false
`,
  exits(1)
)
sh(
  "set-e",
  "passed",
  file`
  set -e
  echo before
  false
  echo after
`,
  { expect: { exitCode: 1, stdout: "before\n" } }
)
sh(
  "exit-trap",
  "passed",
  file`
  trap 'echo cleaned up' EXIT
  echo working
  exit 5
`,
  { expect: { exitCode: 5, stdout: "working\ncleaned up\n" } }
)
sh(
  "inner-command-missing",
  "passed",
  file`
  no-such-command-7f3a
  exit $?
`,
  { expect: { exitCode: 127, stderrContains: "not found" } }
)
sh(
  "inner-command-not-executable",
  "passed",
  file`
  echo 'echo hi' > plain
  chmod 644 plain
  ./plain
  exit $?
`,
  exits(126)
)
sh(
  "inner-segfault-becomes-a-code",
  "passed",
  file`
  ulimit -c 0
  sh -c 'kill -SEGV $$'
  exit $?
`,
  exits(139)
)
sh(
  "inner-kill-becomes-a-code",
  "passed",
  file`
  sh -c 'kill -KILL $$'
  echo "child: $?"
`,
  prints("child: 137\n")
)
sh(
  "inner-timeout",
  "passed",
  file`
  timeout 0.2 sleep 5
  echo "code $?"
`,
  prints("code 124\n")
)
sh(
  "syntax-error",
  "passed",
  file`
  if true; then
    echo unfinished
`,
  { expect: { exitCode: 2, stdout: "" } }
)
sh(
  "syntax-error-where-success-expected",
  "failed",
  file`
  case x in
`,
  exits(0)
)
sh("script-missing", "failed", undefined, { command: ["sh", "nowhere.sh"], ...exits(0) })
sh("inline-script", "passed", undefined, {
  command: ["sh", "-c", 'echo "$1-$2"', "sh", "a b", "*"],
  ...prints("a b-*\n")
})
sh(
  "arguments-verbatim",
  "passed",
  file`
  printf '[%s]\n' "$@"
`,
  {
    command: ["sh", "main.sh", "", "two words", "$HOME", "a\"b'c", "--flag=ü", "back\\slash", "new\nline"],
    ...prints("[]\n[two words]\n[$HOME]\n[a\"b'c]\n[--flag=ü]\n[back\\slash]\n[new\nline]\n")
  }
)
sh("tool-without-shell", "passed", undefined, { command: ["seq", "3"], ...prints("1\n2\n3\n") })
sh("program-false", "failed", undefined, { command: ["false"] })

// ---------------------------------------------------------------------------------------------------------------------
// sh: commands that do not exist
// ---------------------------------------------------------------------------------------------------------------------

sh("no-such-command", "not-found", undefined, { command: ["no-such-command-7f3a"] })
sh("no-such-command-with-arguments", "not-found", hello, { command: ["no-such-command-7f3a", "main.sh"] })
sh("no-such-relative-path", "not-found", undefined, { command: ["./missing.sh"] })
sh("no-such-absolute-path", "not-found", undefined, { command: ["/usr/bin/no-such-tool-7f3a", "--version"] })
sh("no-such-directory", "not-found", hello, { command: ["./bin/main.sh"] })
sh("workspace-is-not-in-path", "not-found", undefined, { files: { "tool-7f3a": hello }, command: ["tool-7f3a"] })
sh("command-is-no-shell-line", "not-found", undefined, { command: ["echo hello"], ...prints("hello\n") })
js(
  "no-such-runtime",
  "not-found",
  file`
  console.log("hello")
`,
  { command: ["node-7f3a", "main.cjs"] }
)

// ---------------------------------------------------------------------------------------------------------------------
// sh: signals
// ---------------------------------------------------------------------------------------------------------------------

for (const signal of ["KILL", "TERM", "SEGV", "ABRT", "FPE", "BUS", "ILL", "USR1", "ALRM"]) {
  sh(
    `signal-${signal.toLowerCase()}`,
    "signalled",
    file`
    ulimit -c 0
    echo before
    kill -${signal} $$
    echo after
  `
  )
}
sh(
  "signal-where-its-code-is-expected",
  "signalled",
  file`
  kill -KILL $$
`,
  exits(137)
)
sh(
  "signal-from-child",
  "signalled",
  file`
  sh -c "kill -KILL $$"
  sleep 5
`
)
sh(
  "signal-after-right-answer",
  "signalled",
  file`
  echo 42
  kill -TERM $$
`,
  prints("42\n")
)
sh(
  "signal-caught",
  "passed",
  file`
  trap 'echo caught; exit 9' TERM
  kill -TERM $$
  echo not reached
`,
  { expect: { exitCode: 9, stdout: "caught\n" } }
)
sh(
  "signal-ignored",
  "passed",
  file`
  trap '' TERM USR1
  kill -TERM $$
  kill -USR1 $$
  echo survived
`,
  prints("survived\n")
)
sh(
  "cpu-limit-of-its-own",
  "signalled",
  file`
  ulimit -c 0
  ulimit -t 1
  while :; do :; done
`
)

// ---------------------------------------------------------------------------------------------------------------------
// sh: time
// ---------------------------------------------------------------------------------------------------------------------

sh(
  "sleep-within-time",
  "passed",
  file`
  sleep 0.3
  echo awake
`,
  prints("awake\n")
)
sh(
  "sleep-too-long",
  "timed-out",
  file`
  sleep 1000
`,
  { timeoutMillis: 500 }
)
sh("sleep-without-shell", "timed-out", undefined, { command: ["sleep", "1000"], timeoutMillis: 500 })
sh(
  "busy-loop",
  "timed-out",
  file`
  while :; do :; done
`,
  { timeoutMillis: 500 }
)
sh(
  "answer-then-hang",
  "timed-out",
  file`
  echo 42
  sleep 1000
`,
  { timeoutMillis: 700, ...prints("42\n") }
)
sh(
  "ignores-term",
  "timed-out",
  file`
  trap '' TERM INT HUP
  while :; do sleep 0.1; done
`,
  { timeoutMillis: 500 }
)
sh(
  "exits-0-when-told-to-end",
  "timed-out",
  file`
  trap 'exit 0' TERM
  while :; do sleep 0.05; done
`,
  { timeoutMillis: 700 }
)
sh(
  "children-hang",
  "timed-out",
  file`
  sleep 1000 &
  sleep 1000 &
  (sleep 1000; echo never) &
  wait
`,
  { timeoutMillis: 500 }
)
sh(
  "waits-on-a-pipe-nobody-writes",
  "timed-out",
  file`
  mkfifo pipe
  read -r line < pipe
  echo "$line"
`,
  { timeoutMillis: 500 }
)

// ---------------------------------------------------------------------------------------------------------------------
// sh: standard input
// ---------------------------------------------------------------------------------------------------------------------

const bigInput = "0123456789abcde\n".repeat(12800) // 204,800 bytes

sh(
  "stdin-closed",
  "passed",
  file`
  cat
  echo end
`,
  prints("end\n")
)
sh(
  "stdin-closed-read-fails",
  "passed",
  file`
  if read -r line; then echo "got $line"; else echo eof; fi
`,
  prints("eof\n")
)
sh(
  "stdin-echo",
  "passed",
  file`
  cat
`,
  { stdin: "one\ntwo\n", ...prints("one\ntwo\n") }
)
sh("stdin-without-newline", "passed", undefined, { command: ["cat"], stdin: "no newline", ...prints("no newline") })
sh("stdin-empty", "passed", undefined, {
  command: ["wc", "-c"],
  stdin: "",
  expect: { exitCode: 0, stdoutContains: "0" }
})
sh(
  "stdin-unicode",
  "passed",
  file`
  read -r name
  echo "Hallo, $name!"
`,
  { stdin: "Jürgen 🦊\n", ...prints("Hallo, Jürgen 🦊!\n") }
)
sh(
  "stdin-nul-and-controls",
  "passed",
  file`
  od -An -tx1
`,
  { stdin: "a\u0000\u0001\u007f", ...prints(" 61 00 01 7f\n") }
)
sh(
  "stdin-200-kilobytes",
  "passed",
  file`
  echo $(( $(wc -c) ))
`,
  { stdin: bigInput, ...prints("204800\n") }
)
sh(
  "stdin-200-kilobytes-never-read",
  "passed",
  file`
  echo done
`,
  { stdin: bigInput, ...prints("done\n") }
)
sh(
  "stdin-200-kilobytes-first-line-read",
  "passed",
  file`
  head -n 1
`,
  { stdin: bigInput, ...prints("0123456789abcde\n") }
)
sh(
  "stdin-closed-by-submission",
  "passed",
  file`
  exec <&-
  sleep 0.1
  echo closed
`,
  { stdin: "unwanted\n", ...prints("closed\n") }
)
sh(
  "stdin-sum",
  "passed",
  file`
  sum=0
  while read -r number; do sum=$((sum + number)); done
  echo "$sum"
`,
  { stdin: "1\n20\n300\n-21\n", ...prints("300\n") }
)
sh(
  "stdin-sum-forgets-last-line",
  "failed",
  file`
  sum=0
  while read -r number; do sum=$((sum + number)); done
  echo "$sum"
`,
  { stdin: "1\n20\n300", ...prints("321\n") }
)
sh(
  "stdin-two-readers",
  "passed",
  file`
  read -r first
  rest=$(cat)
  echo "$rest / $first"
`,
  { stdin: "a\nb\n", ...prints("b / a\n") }
)

// ---------------------------------------------------------------------------------------------------------------------
// sh: more output than allowed
// ---------------------------------------------------------------------------------------------------------------------

sh(
  "flood-one-gigabyte",
  "output-limit",
  file`
  yes | head -c 1073741824
`
)
sh("flood-without-end", "output-limit", undefined, { command: ["yes", "flood"] })
sh(
  "flood-on-stderr",
  "output-limit",
  file`
  yes >&2
`
)
sh("flood-of-nul-bytes", "output-limit", undefined, { command: ["cat", "/dev/zero"] })
sh(
  "flood-ignores-term",
  "output-limit",
  file`
  trap '' TERM PIPE
  while :; do echo "an answer that never comes to an end"; done
`,
  { maxOutputBytes: 4096 }
)
sh(
  "flood-from-a-child",
  "output-limit",
  file`
  yes &
  wait
`
)
sh(
  "flood-then-sleep",
  "output-limit",
  file`
  head -c 2000 /dev/zero
  sleep 9
`,
  { maxOutputBytes: 1000 }
)
sh(
  "output-exactly-at-limit",
  "passed",
  file`
  head -c 1000 /dev/zero | tr '\0' y
`,
  { maxOutputBytes: 1000, ...prints("y".repeat(1000)) }
)
sh(
  "output-one-byte-over",
  "output-limit",
  file`
  head -c 1001 /dev/zero | tr '\0' y
  sleep 2
`,
  { maxOutputBytes: 1000 }
)
sh(
  "stderr-one-byte-over",
  "output-limit",
  file`
  head -c 1001 /dev/zero >&2
  sleep 2
`,
  { maxOutputBytes: 1000 }
)
sh(
  "limit-is-per-stream",
  "passed",
  file`
  head -c 800 /dev/zero | tr '\0' o
  head -c 800 /dev/zero | tr '\0' e >&2
`,
  { maxOutputBytes: 1000, ...prints("o".repeat(800)) }
)
sh(
  "long-line-over-limit",
  "output-limit",
  file`
  head -c 100000 /dev/zero | tr '\0' x
  sleep 2
`
)
sh(
  "right-start-then-flood",
  "output-limit",
  file`
  echo 42
  yes 42
`,
  { expect: { exitCode: 0, stdoutContains: "42" } }
)
sh(
  "raised-limit",
  "passed",
  file`
  head -c 300000 /dev/zero | tr '\0' z
`,
  {
    maxOutputBytes: 1048576,
    checkSh: file`
    test $(( $(wc -c < .grade/stdout) )) -eq 300000
  `
  }
)
sh(
  "flood-into-a-file",
  "passed",
  file`
  head -c 5000000 /dev/zero > big
  echo $(( $(wc -c < big) ))
`,
  prints("5000000\n")
)
sh(
  "flood-into-nothing",
  "passed",
  file`
  yes | head -c 50000000 > /dev/null
  echo quiet
`,
  prints("quiet\n")
)

// ---------------------------------------------------------------------------------------------------------------------
// sh: processes left behind
// ---------------------------------------------------------------------------------------------------------------------

/** Accepts when the file `beat` stops growing, so when what wrote it is gone. */
const beatStops = file`
  i=0
  while [ $i -lt 20 ]; do
    before=$(wc -c < beat)
    sleep 0.3
    after=$(wc -c < beat)
    [ "$before" = "$after" ] && exit 0
    i=$((i + 1))
  done
  exit 1
`
const beat = file`
  i=0
  while [ $i -lt 400 ]; do
    echo x >> beat
    sleep 0.05
    i=$((i + 1))
  done
`

sh(
  "background-sleep",
  "passed",
  file`
  sleep 60 > /dev/null 2>&1 &
  echo left
`,
  prints("left\n")
)
sh(
  "background-holds-stdout",
  "passed",
  file`
  sleep 60 &
  echo left
`,
  prints("left\n")
)
sh(
  "background-wrong-answer",
  "failed",
  file`
  sleep 60 &
  echo wrong
`,
  prints("left\n")
)
sh(
  "nohup",
  "passed",
  file`
  nohup sleep 60 > /dev/null 2>&1 &
  echo left
`,
  prints("left\n")
)
sh(
  "setsid",
  "passed",
  file`
  setsid sleep 30 > /dev/null 2>&1 < /dev/null &
  echo left
`,
  prints("left\n")
)
sh(
  "setsid-holds-stdout",
  "passed",
  file`
  setsid sleep 30 &
  echo left
`,
  prints("left\n")
)
sh(
  "double-fork",
  "passed",
  file`
  ( ( sleep 60 & ) & )
  echo left
`,
  prints("left\n")
)
sh(
  "background-ignores-term",
  "passed",
  file`
  ( trap '' TERM HUP; sleep 60 ) &
  echo left
  exit 7
`,
  { expect: { exitCode: 7, stdout: "left\n" } }
)
sh(
  "background-is-ended",
  "passed",
  file`
  : > beat
  sh beat.sh &
  sleep 0.2
  echo left
`,
  { files: { "beat.sh": beat }, checkSh: beatStops }
)
sh(
  "background-of-background-is-ended",
  "passed",
  file`
  : > beat
  ( ( sh beat.sh & ) & )
  sleep 0.2
`,
  { files: { "beat.sh": beat }, checkSh: beatStops }
)
sh(
  "fifty-children",
  "passed",
  file`
  i=0
  while [ $i -lt 50 ]; do
    sleep 0.2 &
    i=$((i + 1))
  done
  wait
  echo "$i children"
`,
  prints("50 children\n")
)
sh(
  "children-in-order",
  "passed",
  file`
  for i in 1 2 3 4 5; do
    sh -c "echo child $i"
  done
`,
  prints("child 1\nchild 2\nchild 3\nchild 4\nchild 5\n")
)
sh(
  "pipeline-of-ten",
  "passed",
  file`
  seq 1 100 | cat | cat | cat | cat | cat | cat | cat | tail -n 1
`,
  prints("100\n")
)
sh(
  "waits-for-background-code",
  "passed",
  file`
  ( sleep 0.1; exit 23 ) &
  wait $!
  exit $?
`,
  exits(23)
)

// ---------------------------------------------------------------------------------------------------------------------
// sh: environment
// ---------------------------------------------------------------------------------------------------------------------

sh(
  "home-is-workspace",
  "passed",
  file`
  [ "$(cd "$HOME" && pwd -P)" = "$(pwd -P)" ] && echo home
`,
  prints("home\n")
)
sh(
  "lang-is-utf8",
  "passed",
  file`
  echo "$LANG"
`,
  prints("C.UTF-8\n")
)
sh(
  "path-is-set",
  "passed",
  file`
  [ -n "$PATH" ] && command -v cat > /dev/null && echo path
`,
  prints("path\n")
)
sh(
  "tmpdir-is-usable",
  "passed",
  file`
  file=$(mktemp) && echo kept > "$file" && cat "$file" && rm "$file"
  [ -d "$TMPDIR" ] && echo tmpdir
`,
  prints("kept\ntmpdir\n")
)
sh(
  "environment-has-no-secrets",
  "passed",
  file`
  for name in $(env | cut -d= -f1); do
    case $name in
      *SECRET* | *TOKEN* | *PASSWORD* | *API_KEY* | AWS_* | SSH_* | GITHUB_* | npm_* | DBUS_*) echo "leaked $name" ;;
    esac
  done
  echo checked
`,
  prints("checked\n")
)
sh(
  "environment-is-small",
  "passed",
  file`
  [ $(( $(env | wc -l) )) -le 16 ] && echo small
`,
  prints("small\n")
)
sh(
  "environment-of-its-own",
  "passed",
  file`
  ANSWER=42 sh -c 'echo "$ANSWER"'
  echo "[$ANSWER]"
`,
  prints("42\n[]\n")
)

// ---------------------------------------------------------------------------------------------------------------------
// sh: files
// ---------------------------------------------------------------------------------------------------------------------

sh(
  "reads-its-file",
  "passed",
  file`
  cat data/input.txt
`,
  { files: { "data/input.txt": "from a file\n" }, ...prints("from a file\n") }
)
sh(
  "reads-odd-names",
  "passed",
  file`
  cat "with space.txt" ünï/cödé.txt ./-dash.txt
`,
  {
    files: { "with space.txt": "1\n", "ünï/cödé.txt": "2\n", "-dash.txt": "3\n" },
    ...prints("1\n2\n3\n")
  }
)
sh(
  "file-without-newline",
  "passed",
  file`
  echo $(( $(wc -c < data) )) $(( $(wc -l < data) ))
`,
  { files: { data: "abc" }, ...prints("3 0\n") }
)
sh(
  "empty-file",
  "passed",
  file`
  [ -f nothing ] && [ ! -s nothing ] && echo empty
`,
  { files: { nothing: "" }, ...prints("empty\n") }
)
sh(
  "missing-file",
  "passed",
  file`
  cat nowhere.txt
`,
  { expect: { exitCode: 1, stdout: "", stderrContains: "nowhere.txt" } }
)
sh(
  "many-small-files",
  "passed",
  file`
  mkdir many
  i=0
  while [ $i -lt 500 ]; do
    echo $i > many/$i
    i=$((i + 1))
  done
  set -- many/*
  echo $#
  cat many/499
`,
  prints("500\n499\n")
)
sh(
  "deep-directories",
  "passed",
  file`
  i=0
  path=d
  while [ $i -lt 60 ]; do
    path=$path/d
    i=$((i + 1))
  done
  mkdir -p "$path"
  echo deep > "$path/leaf"
  cat "$path/leaf"
  rm -r d
  [ -e d ] || echo gone
`,
  prints("deep\ngone\n")
)
sh(
  "symlinks",
  "passed",
  file`
  echo target > real
  ln -s real link
  ln -s nowhere broken
  readlink link
  cat link
  [ -L broken ] && [ ! -e broken ] && echo dangling
`,
  prints("real\ntarget\ndangling\n")
)
sh(
  "symlink-loop",
  "passed",
  file`
  ln -s b a
  ln -s a b
  cat a 2> /dev/null || echo loop
`,
  prints("loop\n")
)
sh(
  "hard-link",
  "passed",
  file`
  echo one > first
  ln first second
  echo two >> second
  cat first
`,
  prints("one\ntwo\n")
)
sh(
  "file-modes",
  "passed",
  file`
  umask 022
  : > plain
  : > script
  chmod 750 script
  mkdir folder
  stat -c '%a' plain script folder
`,
  prints("644\n750\n755\n")
)
sh(
  "makes-a-program",
  "passed",
  file`
  printf '#!/bin/sh\necho "made $1"\n' > tool
  chmod +x tool
  ./tool here
`,
  prints("made here\n")
)
sh(
  "append-and-truncate",
  "passed",
  file`
  echo a > log
  echo b >> log
  cat log
  : > log
  echo $(( $(wc -c < log) ))
`,
  prints("a\nb\n0\n")
)
sh(
  "named-pipe",
  "passed",
  file`
  mkfifo pipe
  echo through > pipe &
  cat pipe
  wait
`,
  prints("through\n")
)
sh(
  "rename-over-existing",
  "passed",
  file`
  echo old > result
  echo new > result.tmp
  mv result.tmp result
  cat result
`,
  prints("new\n")
)
sh(
  "deletes-its-own-script",
  "passed",
  file`
  rm main.sh
  [ -e main.sh ] || echo deleted
`,
  prints("deleted\n")
)
sh(
  "deletes-everything",
  "passed",
  file`
  rm -rf ./* 2> /dev/null
  echo alone
`,
  { files: { "data/a": "a\n" }, ...prints("alone\n") }
)
sh(
  "checksum",
  "passed",
  file`
  cksum < data | cut -d' ' -f1,2
`,
  { files: { data: "123456789" }, ...prints("930766865 9\n") }
)

// ---------------------------------------------------------------------------------------------------------------------
// sh: algorithms
// ---------------------------------------------------------------------------------------------------------------------

const poem = "the cat and the dog and the bird\na bird in the hand\n"

sh(
  "fibonacci",
  "passed",
  file`
  a=0 b=1 i=0
  while [ $i -lt 10 ]; do
    echo $a
    c=$((a + b)) a=$b b=$c
    i=$((i + 1))
  done
`,
  prints("0\n1\n1\n2\n3\n5\n8\n13\n21\n34\n")
)
sh(
  "fibonacci-off-by-one",
  "failed",
  file`
  a=0 b=1 i=0
  while [ $i -le 10 ]; do
    echo $a
    c=$((a + b)) a=$b b=$c
    i=$((i + 1))
  done
`,
  prints("0\n1\n1\n2\n3\n5\n8\n13\n21\n34\n")
)
sh(
  "factorial-recursive",
  "passed",
  file`
  fact() {
    if [ "$1" -le 1 ]; then echo 1; else echo $(( $1 * $(fact $(( $1 - 1 ))) )); fi
  }
  fact 12
`,
  prints("479001600\n")
)
sh(
  "gcd",
  "passed",
  file`
  a=1071 b=462
  while [ $b -ne 0 ]; do t=$((a % b)) a=$b b=$t; done
  echo $a
`,
  prints("21\n")
)
sh(
  "primes",
  "passed",
  file`
  n=2
  while [ $n -lt 50 ]; do
    d=2 prime=1
    while [ $((d * d)) -le $n ]; do
      [ $((n % d)) -eq 0 ] && prime=0 && break
      d=$((d + 1))
    done
    [ $prime -eq 1 ] && printf '%s ' $n
    n=$((n + 1))
  done
  echo
`,
  prints("2 3 5 7 11 13 17 19 23 29 31 37 41 43 47 \n")
)
sh(
  "primes-with-nine",
  "failed",
  file`
  echo "2 3 5 7 9 11 13"
`,
  prints("2 3 5 7 11 13\n")
)
sh(
  "fizzbuzz",
  "passed",
  file`
  for i in $(seq 1 15); do
    if [ $((i % 15)) -eq 0 ]; then echo FizzBuzz
    elif [ $((i % 5)) -eq 0 ]; then echo Buzz
    elif [ $((i % 3)) -eq 0 ]; then echo Fizz
    else echo $i
    fi
  done
`,
  prints("1\n2\nFizz\n4\nBuzz\nFizz\n7\n8\nFizz\nBuzz\n11\nFizz\n13\n14\nFizzBuzz\n")
)
sh("sort-numbers", "passed", undefined, {
  command: ["sort", "-n"],
  stdin: "10\n9\n-1\n100\n",
  ...prints("-1\n9\n10\n100\n")
})
sh(
  "sort-numbers-as-text",
  "failed",
  file`
  LC_ALL=C sort
`,
  { stdin: "10\n9\n100\n", ...prints("9\n10\n100\n") }
)
sh(
  "word-count",
  "passed",
  file`
  tr ' ' '\n' | LC_ALL=C sort | uniq -c | LC_ALL=C sort -k1,1nr -k2 | head -n 3 | while read -r count word; do
    echo "$word $count"
  done
`,
  { stdin: poem, ...prints("the 4\nand 2\nbird 2\n") }
)
sh(
  "word-count-first-line-only",
  "failed",
  file`
  head -n 1 | tr ' ' '\n' | LC_ALL=C sort | uniq -c | LC_ALL=C sort -k1,1nr -k2 | head -n 3 | while read -r count word; do
    echo "$word $count"
  done
`,
  { stdin: poem, ...prints("the 4\nand 2\nbird 2\n") }
)
sh("upper-case", "passed", undefined, { command: ["tr", "a-z", "A-Z"], stdin: "shout\n", ...prints("SHOUT\n") })
sh("reverse-lines", "passed", undefined, { command: ["tac"], stdin: "1\n2\n3\n", ...prints("3\n2\n1\n") })
sh(
  "join-tables",
  "passed",
  file`
  join left right
`,
  { files: { left: "1 ann\n2 bob\n3 cy\n", right: "1 red\n3 blue\n" }, ...prints("1 ann red\n3 cy blue\n") }
)
sh(
  "base64-round-trip",
  "passed",
  file`
  printf 'grade me' | base64
  printf 'Z3JhZGUgbWU=' | base64 -d
`,
  prints("Z3JhZGUgbWU=\ngrade me")
)
sh(
  "collatz",
  "passed",
  file`
  n=27 steps=0
  while [ $n -ne 1 ]; do
    if [ $((n % 2)) -eq 0 ]; then n=$((n / 2)); else n=$((3 * n + 1)); fi
    steps=$((steps + 1))
  done
  echo $steps
`,
  prints("111\n")
)

// ---------------------------------------------------------------------------------------------------------------------
// sh: checked by a program
// ---------------------------------------------------------------------------------------------------------------------

const is42 = file`
  read -r answer < .grade/stdout || exit 1
  [ "$answer" = 42 ]
`

sh(
  "check-accepts",
  "passed",
  file`
  echo 42
`,
  { checkSh: is42 }
)
sh(
  "check-refuses",
  "failed",
  file`
  echo 41
`,
  { checkSh: is42 }
)
sh(
  "check-refuses-silence",
  "failed",
  file`
  :
`,
  { checkSh: is42 }
)
sh(
  "check-any-order",
  "passed",
  file`
  printf '3\n1\n2\n'
`,
  {
    checkSh: file`
    sort -n .grade/stdout | cmp -s - want.txt
  `,
    checkFiles: { "want.txt": "1\n2\n3\n" }
  }
)
sh(
  "check-any-order-refuses",
  "failed",
  file`
  printf '3\n1\n1\n'
`,
  {
    checkSh: file`
    sort -n .grade/stdout | cmp -s - want.txt
  `,
    checkFiles: { "want.txt": "1\n2\n3\n" }
  }
)
sh(
  "check-raw-bytes",
  "passed",
  file`
  printf '\377\000\376'
`,
  {
    checkSh: file`
    [ "$(od -An -tx1 .grade/stdout)" = " ff 00 fe" ]
  `
  }
)
sh(
  "check-produced-files",
  "passed",
  file`
  mkdir -p out
  echo one > out/1
  echo two > out/2
`,
  {
    checkSh: file`
    [ "$(cat out/1 out/2)" = "$(printf 'one\ntwo')" ]
  `
  }
)
sh(
  "check-produced-file-missing",
  "failed",
  file`
  mkdir -p out
  echo one > out/1
`,
  {
    checkSh: file`
    [ -f out/1 ] && [ -f out/2 ]
  `
  }
)
sh(
  "check-symlink-produced",
  "passed",
  file`
  echo x > a
  ln -s a b
`,
  {
    checkSh: file`
    [ "$(readlink b)" = a ]
  `
  }
)
sh(
  "check-not-there-during-submission",
  "passed",
  file`
  if [ -e check.sh ] || [ -e answer.txt ]; then echo peeked; else echo blind; fi
`,
  {
    checkSh: file`
    [ "$(cat .grade/stdout)" = "$(cat answer.txt)" ]
  `,
    checkFiles: { "answer.txt": "blind\n" }
  }
)
sh(
  "check-copies-the-answer",
  "failed",
  file`
  cat answer.txt 2> /dev/null
`,
  {
    checkSh: file`
    cmp -s .grade/stdout answer.txt
  `,
    checkFiles: { "answer.txt": "17\n" }
  }
)
sh(
  "check-overwritten-beforehand",
  "failed",
  file`
  echo 'exit 0' > check.sh
  echo 41
`,
  { checkSh: is42 }
)
sh(
  "check-overwritten-beforehand-right-answer",
  "passed",
  file`
  echo 'exit 1' > check.sh
  echo 42
`,
  { checkSh: is42 }
)
sh(
  "check-is-a-symlink-beforehand",
  "failed",
  file`
  echo 'exit 0' > decoy
  ln -s decoy check.sh
  echo 41
`,
  { checkSh: is42 }
)
sh(
  "check-is-a-symlink-to-nothing-beforehand",
  "failed",
  file`
  ln -s /dev/null check.sh
  echo 41
`,
  { checkSh: is42 }
)
sh(
  "check-is-a-directory-beforehand",
  "failed",
  file`
  mkdir check.sh
  echo 41
`,
  { checkSh: is42 }
)
sh(
  "stdout-file-forged-beforehand",
  "failed",
  file`
  mkdir .grade
  echo 42 > .grade/stdout
  echo 41
`,
  { checkSh: is42 }
)
sh(
  "stdout-file-is-a-symlink-beforehand",
  "failed",
  file`
  mkdir .grade
  echo 42 > answer
  ln -s ../answer .grade/stdout
  echo 41
`,
  { checkSh: is42 }
)
sh(
  "check-ignores-exit-code",
  "passed",
  file`
  echo 42
  exit 3
`,
  { checkSh: is42 }
)
sh(
  "check-hang-is-not-checked",
  "timed-out",
  file`
  echo 42
  sleep 1000
`,
  { timeoutMillis: 500, checkSh: is42 }
)
sh(
  "check-flood-is-not-checked",
  "output-limit",
  file`
  yes 42
`,
  { checkSh: is42 }
)
sh(
  "check-signal-is-not-checked",
  "signalled",
  file`
  echo 42
  kill -KILL $$
`,
  { checkSh: is42 }
)
sh(
  "check-itself-is-killed",
  "failed",
  file`
  echo 42
`,
  {
    checkSh: file`
    kill -KILL $$
  `
  }
)

// ---------------------------------------------------------------------------------------------------------------------
// JavaScript: output and exit codes
// ---------------------------------------------------------------------------------------------------------------------

js(
  "hello",
  "passed",
  file`
  console.log("hello")
`,
  prints("hello\n")
)
js(
  "hello-wrong",
  "failed",
  file`
  console.log("hullo")
`,
  prints("hello\n")
)
js("module", "passed", undefined, {
  files: {
    "main.mjs": file`
      import { double } from "./lib/double.mjs"
      console.log(double(21))
    `,
    "lib/double.mjs": file`
      export const double = (n) => n * 2
    `
  },
  command: ["node", "main.mjs"],
  ...prints("42\n")
})
js(
  "require",
  "passed",
  file`
  console.log(require("./data.json").name)
`,
  { files: { "data.json": '{"name":"from json"}\n' }, ...prints("from json\n") }
)
js("inline", "passed", undefined, { command: ["node", "-p", "6 * 7"], ...prints("42\n") })
js(
  "arguments",
  "passed",
  file`
  console.log(JSON.stringify(process.argv.slice(2)))
`,
  { command: ["node", "main.cjs", "a b", "", "ü"], ...prints('["a b","","ü"]\n') }
)
js(
  "syntax-error",
  "passed",
  file`
  const = 1
`,
  { expect: { exitCode: 1, stdout: "", stderrContains: "SyntaxError" } }
)
js(
  "syntax-error-where-success-expected",
  "failed",
  file`
  function (
`
)
js(
  "uncaught-exception",
  "passed",
  file`
  console.log("before")
  throw new Error("boom-7f3a")
`,
  { expect: { exitCode: 1, stdout: "before\n", stderrContains: "boom-7f3a" } }
)
js(
  "uncaught-in-timer",
  "passed",
  file`
  setTimeout(() => { throw new Error("late-7f3a") }, 10)
`,
  { expect: { exitCode: 1, stderrContains: "late-7f3a" } }
)
js(
  "unhandled-rejection",
  "passed",
  file`
  Promise.reject(new Error("rejected-7f3a"))
`,
  { expect: { exitCode: 1, stderrContains: "rejected-7f3a" } }
)
js(
  "unhandled-rejection-where-success-expected",
  "failed",
  file`
  console.log("ok")
  Promise.reject(new Error("no"))
`,
  prints("ok\n")
)
js(
  "reference-error",
  "passed",
  file`
  undefinedFunction7f3a()
`,
  { expect: { exitCode: 1, stderrContains: "ReferenceError" } }
)
js(
  "infinite-recursion",
  "passed",
  file`
  const f = () => f() + 1
  f()
`,
  { expect: { exitCode: 1, stderrContains: "RangeError" } }
)
js(
  "infinite-recursion-caught",
  "passed",
  file`
  const f = () => f() + 1
  try { f() } catch (error) { console.log(error instanceof RangeError) }
`,
  prints("true\n")
)
js(
  "missing-module",
  "passed",
  file`
  require("no-such-module-7f3a")
`,
  { expect: { exitCode: 1, stderrContains: "no-such-module-7f3a" } }
)
js("never-settled-await", "passed", undefined, {
  files: { "main.mjs": "await new Promise(() => {})\n" },
  command: ["node", "main.mjs"],
  ...exits(13)
})
for (const code of [0, 3, 137, 255]) js(`exit-${code}`, "passed", `process.exit(${code})\n`, exits(code))
js(
  "exit-code-property",
  "passed",
  file`
  process.exitCode = 12
  console.log("set")
`,
  { expect: { exitCode: 12, stdout: "set\n" } }
)
js(
  "exit-handler",
  "passed",
  file`
  process.on("exit", (code) => console.log("exit", code))
  process.exit(4)
`,
  { expect: { exitCode: 4, stdout: "exit 4\n" } }
)
js(
  "exit-code-wrong",
  "failed",
  file`
  process.exit(1)
`,
  exits(0)
)
js(
  "streams-apart",
  "passed",
  file`
  console.error("to stderr")
  console.log("to stdout")
`,
  { expect: { exitCode: 0, stdout: "to stdout\n", stderrContains: "to stderr" } }
)
js(
  "no-newline",
  "passed",
  file`
  process.stdout.write("partial")
`,
  prints("partial")
)
js(
  "invalid-utf8",
  "passed",
  file`
  process.stdout.write(Buffer.from([0x6f, 0x6b, 0xff]))
`,
  prints("ok\ufffd")
)
js(
  "unicode",
  "passed",
  file`
  console.log("\u{1F98A}", "é".normalize("NFD").length, [..."👍🏽"].length)
`,
  prints("🦊 2 2\n")
)
js(
  "large-output-within-limit",
  "passed",
  file`
  process.stdout.write("q".repeat(500000) + "END")
`,
  { maxOutputBytes: 1048576, expect: { exitCode: 0, stdoutContains: "qqqEND" } }
)

// ---------------------------------------------------------------------------------------------------------------------
// JavaScript: signals, time, floods, processes
// ---------------------------------------------------------------------------------------------------------------------

js(
  "signal-kill",
  "signalled",
  file`
  process.kill(process.pid, "SIGKILL")
  setTimeout(() => {}, 5000)
`
)
js(
  "signal-term",
  "signalled",
  file`
  console.log(42)
  process.kill(process.pid, "SIGTERM")
  setTimeout(() => {}, 5000)
`,
  prints("42\n")
)
js(
  "signal-handled",
  "passed",
  file`
  process.on("SIGTERM", () => { console.log("handled"); process.exit(0) })
  process.kill(process.pid, "SIGTERM")
  setTimeout(() => {}, 5000)
`,
  prints("handled\n")
)
js(
  "abort",
  "signalled",
  file`
  process.abort()
`,
  { command: ["sh", "-c", "ulimit -c 0; exec node main.cjs"] }
)
js(
  "heap-exhausted",
  "signalled",
  file`
  const kept = []
  for (;;) kept.push(new Array(1000).fill(kept.length))
`,
  { command: ["sh", "-c", "ulimit -c 0; exec node --max-old-space-size=16 main.cjs"] }
)
js(
  "infinite-loop",
  "timed-out",
  file`
  for (;;) {}
`,
  { timeoutMillis: 700 }
)
js(
  "waits-forever",
  "timed-out",
  file`
  setInterval(() => {}, 1000)
`,
  { timeoutMillis: 700 }
)
js(
  "ignores-term",
  "timed-out",
  file`
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => {})
  setInterval(() => {}, 1000)
`,
  { timeoutMillis: 1000 }
)
js(
  "timers-in-order",
  "passed",
  file`
  setTimeout(() => console.log("c"), 100)
  setTimeout(() => console.log("b"), 10)
  Promise.resolve().then(() => console.log("a"))
`,
  prints("a\nb\nc\n")
)
js(
  "flood-100-megabytes",
  "output-limit",
  file`
  const chunk = Buffer.alloc(1 << 20, "f")
  for (let i = 0; i < 100; i++) process.stdout.write(chunk)
`
)
js(
  "flood-of-lines",
  "output-limit",
  file`
  for (let i = 0; ; i++) require("fs").writeSync(1, "line " + i + "\n")
`,
  { maxOutputBytes: 20000 }
)
js(
  "flood-on-stderr",
  "output-limit",
  file`
  for (let i = 0; i < 2000; i++) console.error("x".repeat(1000))
`
)
js(
  "child-process",
  "passed",
  file`
  const { execFileSync } = require("child_process")
  console.log(execFileSync("sh", ["-c", "echo from child"], { encoding: "utf8" }).trim())
`,
  prints("from child\n")
)
js(
  "detached-child-left-behind",
  "passed",
  file`
  const { spawn } = require("child_process")
  spawn("sleep", ["30"], { detached: true, stdio: "inherit" }).unref()
  console.log("left")
`,
  prints("left\n")
)
js(
  "worker",
  "passed",
  file`
  const { Worker, isMainThread, parentPort } = require("worker_threads")
  if (isMainThread) new Worker(__filename).on("message", (n) => console.log(n))
  else parentPort.postMessage(6 * 7)
`,
  prints("42\n")
)

// ---------------------------------------------------------------------------------------------------------------------
// JavaScript: input, environment, files, algorithms, checkers
// ---------------------------------------------------------------------------------------------------------------------

const readAll = `let input = ""
process.stdin.setEncoding("utf8").on("data", (text) => { input += text }).on("end", () => main(input))
`

js("stdin-closed", "passed", `${readAll}const main = (input) => console.log(input.length)\n`, prints("0\n"))
js(
  "stdin-json",
  "passed",
  `${readAll}${file`
  const main = (input) => {
    const people = JSON.parse(input)
    console.log(people.filter((p) => p.age >= 18).map((p) => p.name).sort().join(","))
  }
`}`,
  {
    stdin: '[{"name":"Zoë","age":30},{"name":"Al","age":18},{"name":"Kid","age":7}]',
    ...prints("Al,Zoë\n")
  }
)
js(
  "stdin-bad-json",
  "passed",
  `${readAll}${file`
  const main = (input) => {
    try { JSON.parse(input) } catch { console.log("invalid"); process.exitCode = 2 }
  }
`}`,
  { stdin: '{"a":', expect: { exitCode: 2, stdout: "invalid\n" } }
)
js("stdin-large", "passed", `${readAll}const main = (input) => console.log(input.length)\n`, {
  stdin: "é".repeat(50000) + "\n".repeat(50000),
  ...prints("100000\n")
})
js(
  "environment",
  "passed",
  file`
  const { HOME, LANG, PATH, TMPDIR } = process.env
  const real = require("fs").realpathSync
  console.log(real(HOME) === real("."), LANG, PATH !== "", require("fs").statSync(TMPDIR).isDirectory())
`,
  prints("true C.UTF-8 true true\n")
)
js(
  "files",
  "passed",
  file`
  const fs = require("fs")
  fs.mkdirSync("a/b/c", { recursive: true })
  for (let i = 0; i < 100; i++) fs.writeFileSync("a/b/c/" + i + ".txt", String(i))
  console.log(fs.readdirSync("a/b/c").length, fs.readFileSync("a/b/c/99.txt", "utf8"))
  fs.rmSync("a", { recursive: true })
  console.log(fs.existsSync("a"))
`,
  prints("100 99\nfalse\n")
)
js(
  "sort-numbers",
  "passed",
  file`
  console.log([10, 9, 1, 100].sort((a, b) => a - b).join(" "))
`,
  prints("1 9 10 100\n")
)
js(
  "sort-numbers-as-text",
  "failed",
  file`
  console.log([10, 9, 1, 100].sort().join(" "))
`,
  prints("1 9 10 100\n")
)
js(
  "fibonacci-big",
  "passed",
  file`
  let [a, b] = [0n, 1n]
  for (let i = 0; i < 100; i++) [a, b] = [b, a + b]
  console.log(String(a))
`,
  prints("354224848179261915075\n")
)
js(
  "fibonacci-big-in-doubles",
  "failed",
  file`
  let [a, b] = [0, 1]
  for (let i = 0; i < 100; i++) [a, b] = [b, a + b]
  console.log(String(a))
`,
  prints("354224848179261915075\n")
)
js(
  "queens",
  "passed",
  file`
  const solve = (n, row, cols, d1, d2) => {
    if (row === n) return 1
    let count = 0
    for (let c = 0; c < n; c++) {
      if (cols & 1 << c || d1 & 1 << row + c || d2 & 1 << row - c + n) continue
      count += solve(n, row + 1, cols | 1 << c, d1 | 1 << row + c, d2 | 1 << row - c + n)
    }
    return count
  }
  console.log(solve(8, 0, 0, 0, 0))
`,
  prints("92\n")
)
js(
  "sha256",
  "passed",
  file`
  console.log(require("crypto").createHash("sha256").update("abc").digest("hex"))
`,
  prints("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n")
)
js(
  "check-json",
  "passed",
  file`
  console.log(JSON.stringify({ b: [1, 2, 3], a: true }, null, 2))
`,
  {
    checkJs: file`
    const { a, b } = JSON.parse(require("fs").readFileSync(".grade/stdout", "utf8"))
    process.exitCode = a === true && b.length === 3 ? 0 : 1
  `
  }
)
js(
  "check-json-refuses",
  "failed",
  file`
  console.log("{ b: [1, 2, 3] }")
`,
  {
    checkJs: file`
    JSON.parse(require("fs").readFileSync(".grade/stdout", "utf8"))
  `
  }
)
js(
  "check-tolerance",
  "passed",
  file`
  let sum = 0
  for (let i = 0; i < 1e6; i++) sum += (i % 2 ? -4 : 4) / (2 * i + 1)
  console.log(sum)
`,
  {
    checkJs: file`
    const value = Number(require("fs").readFileSync(".grade/stdout", "utf8"))
    process.exitCode = Math.abs(value - Math.PI) < 1e-4 ? 0 : 1
  `
  }
)
js(
  "check-overwritten-beforehand",
  "failed",
  file`
  require("fs").writeFileSync("check.cjs", "process.exit(0)")
  console.log("no answer")
`,
  {
    checkJs: file`
    process.exitCode = require("fs").readFileSync(".grade/stdout", "utf8") === "42\n" ? 0 : 1
  `
  }
)

// ---------------------------------------------------------------------------------------------------------------------
// Hostile: the verdicts hold in a sandbox with namespaces, and only there are these run. Even so each is bounded and
// does no lasting harm should one run outside by mistake.
// ---------------------------------------------------------------------------------------------------------------------

const hostile = { hostile: true } as const

sh(
  "hostile-write-usr",
  "passed",
  file`
  ( : > /usr/evil-7f3a ) 2> /dev/null && rm -f /usr/evil-7f3a && echo written
  mkdir /usr/local/evil-7f3a 2> /dev/null && rmdir /usr/local/evil-7f3a && echo made
  echo refused
`,
  { ...hostile, ...prints("refused\n") }
)
sh(
  "hostile-write-usr-fails",
  "failed",
  file`
  set -e
  mkdir /usr/evil-7f3a
  rmdir /usr/evil-7f3a
`,
  { ...hostile, ...exits(0) }
)
sh(
  "hostile-change-a-program",
  "passed",
  file`
  ( : >> /usr/bin/env ) 2> /dev/null || echo usr refused
  ( : >> /bin/cat ) 2> /dev/null || echo bin refused
`,
  { ...hostile, ...prints("usr refused\nbin refused\n") }
)
sh(
  "hostile-read-shadow",
  "passed",
  file`
  ln -s /etc/shadow link
  for path in /etc/shadow link ../../../../../../../../../../etc/shadow; do
    cat "$path" 2> /dev/null || echo refused
  done
`,
  { ...hostile, ...prints("refused\nrefused\nrefused\n") }
)
sh(
  "hostile-read-keys",
  "passed",
  file`
  cat /root/.ssh/id_* /home/*/.ssh/id_* 2> /dev/null
  [ $? -ne 0 ] && echo nothing
`,
  { ...hostile, ...prints("nothing\n") }
)
sh(
  "hostile-other-workspaces",
  "passed",
  file`
  for path in ../*/main.sh ../.*/main.sh ../../*/main.sh ../../.*/main.sh ../../*/*/main.sh ../../../*/*/main.sh; do
    [ -e "$path" ] && [ ! "$path" -ef main.sh ] && echo "found $path"
  done
  echo looked
`,
  { ...hostile, ...prints("looked\n") }
)
sh(
  "hostile-count-processes",
  "passed",
  file`
  set -- /proc/[0-9]*
  if [ -e "$1" ] && [ $# -gt 20 ]; then echo "sees $# processes"; else echo few; fi
`,
  { ...hostile, ...prints("few\n") }
)
sh(
  "hostile-environment-of-others",
  "passed",
  file`
  for path in /proc/[0-9]*/environ; do
    names=$( ( tr '\0' '\n' < "$path" | cut -d= -f1 ) 2> /dev/null )
    case $names in
      *SECRET* | *TOKEN* | *PASSWORD* | *API_KEY* | *AWS_* | *GITHUB_*) echo "leaked in $path" ;;
    esac
  done
  echo looked
`,
  { ...hostile, ...prints("looked\n") }
)
sh(
  "hostile-capabilities",
  "passed",
  file`
  while read -r key value; do
    case $key in CapEff: | CapPrm:) echo "$key $value" ;; esac
  done < /proc/self/status
`,
  { ...hostile, ...prints("CapPrm: 0000000000000000\nCapEff: 0000000000000000\n") }
)
sh(
  "hostile-no-new-privileges",
  "passed",
  file`
  while read -r key value; do
    case $key in NoNewPrivs:) echo "$value" ;; esac
  done < /proc/self/status
`,
  { ...hostile, ...prints("1\n") }
)
sh(
  "hostile-kill-strangers",
  "passed",
  file`
  hit=0 pid=20000
  while [ $pid -lt 20300 ]; do
    kill -0 $pid 2> /dev/null && hit=$((hit + 1))
    pid=$((pid + 1))
  done
  [ $hit -eq 0 ] && kill -KILL 20150 2> /dev/null || echo "hit $hit"
`,
  { ...hostile, ...prints("hit 0\n") }
)
sh(
  "hostile-kill-init",
  "passed",
  file`
  case $(cat /proc/1/cmdline 2> /dev/null) in */systemd* | */init*) exit 1 ;; esac
  kill -KILL 1 2> /dev/null
  sleep 0.1
  echo alive
`,
  { ...hostile, ...prints("alive\n") }
)
sh(
  "hostile-kill-everyone",
  "signalled",
  file`
  # Outside of a pid namespace this would end the machine, so it is tried only where few processes are seen.
  set -- /proc/[0-9]*
  [ $# -gt 20 ] && exit 1
  sh -c 'kill -KILL -1'
  sleep 5
`,
  hostile
)
sh(
  "hostile-mount",
  "passed",
  file`
  mkdir point
  mount -t tmpfs none point 2> /dev/null && umount point && echo mounted
  mount --bind / point 2> /dev/null && umount point && echo bound
  echo refused
`,
  { ...hostile, ...prints("refused\n") }
)
sh(
  "hostile-chroot",
  "passed",
  file`
  chroot / true 2> /dev/null && echo entered
  echo refused
`,
  { ...hostile, ...prints("refused\n") }
)
sh(
  "hostile-mknod",
  "passed",
  file`
  mknod disk b 8 0 2> /dev/null && echo made
  mknod memory c 1 1 2> /dev/null && echo made
  echo refused
`,
  { ...hostile, ...prints("refused\n") }
)
sh(
  "hostile-devices",
  "passed",
  file`
  for path in /dev/sd* /dev/nvme* /dev/vd* /dev/xvd* /dev/mem /dev/kmsg /dev/kvm /dev/fuse; do
    [ -e "$path" ] && echo "found $path"
  done
  echo looked
`,
  { ...hostile, ...prints("looked\n") }
)
sh(
  "hostile-kernel-settings",
  "passed",
  file`
  ( : >> /proc/sys/kernel/core_pattern ) 2> /dev/null && echo open
  ( : >> /proc/sysrq-trigger ) 2> /dev/null && echo open
  echo refused
`,
  { ...hostile, ...prints("refused\n") }
)
sh(
  "hostile-leave-cgroup",
  "passed",
  file`
  ( echo $$ > /sys/fs/cgroup/cgroup.procs ) 2> /dev/null && echo left
  ( echo max > /sys/fs/cgroup/pids.max ) 2> /dev/null && echo raised
  echo refused
`,
  { ...hostile, ...prints("refused\n") }
)
sh(
  "hostile-change-owner",
  "passed",
  file`
  : > mine
  chown 4242:4242 mine 2> /dev/null && echo given
  echo refused
`,
  { ...hostile, ...prints("refused\n") }
)
sh(
  "hostile-daemon-is-ended",
  "passed",
  file`
  : > beat
  setsid sh beat.sh > /dev/null 2>&1 < /dev/null &
  sleep 0.2
  echo left
`,
  { ...hostile, files: { "beat.sh": beat }, checkSh: beatStops }
)
// At most some 1,000 processes, if no limit stops it. The last line blocks without a fork, so a refused one changes nothing.
sh(
  "hostile-fork-bomb",
  "timed-out",
  file`
  mkfifo pipe
  bomb() {
    [ "$1" -ge 9 ] && exec sleep 20
    bomb $(($1 + 1)) | bomb $(($1 + 1)) &
    wait
  }
  ( bomb 0 ) > /dev/null 2>&1 &
  read -r line < pipe
`,
  { ...hostile, timeoutMillis: 1500 }
)
// Counts without a fork, since none is left.
sh(
  "hostile-fork-limit",
  "passed",
  file`
  sh fork.sh 2> /dev/null
  count=0
  while read -r line; do count=$((count + 1)); done < forks
  if [ $count -ge 100 ] && [ $count -le 256 ]; then echo limited; else echo "$count forks"; fi
`,
  {
    ...hostile,
    files: {
      "fork.sh": file`
      i=0
      while [ $i -lt 400 ]; do
        sleep 20 > /dev/null 2>&1 &
        echo $i >> forks
        i=$((i + 1))
      done
    `
    },
    ...prints("limited\n")
  }
)
js(
  "hostile-spawn-bomb",
  "timed-out",
  file`
  const { spawn } = require("child_process")
  for (let i = 0; i < 400; i++) {
    try { spawn("sleep", ["20"], { stdio: "ignore" }).on("error", () => {}) } catch {}
  }
  setInterval(() => {}, 1000)
`,
  { ...hostile, timeoutMillis: 1500 }
)

const connects = (targets: string) => file`
  const net = require("net")
  const targets = ${targets}
  const connect = (target) => new Promise((resolve) => {
    const socket = net.connect(target)
    socket.setTimeout(5000, () => { socket.destroy(); resolve("refused") })
    socket.on("connect", () => { socket.destroy(); resolve("connected") })
    socket.on("error", () => resolve("refused"))
  })
  Promise.all(targets.map(connect)).then((results) => console.log(results.includes("connected") ? "connected" : "refused"))
`
js("hostile-connect-outside", "passed", connects('[{ host: "1.1.1.1", port: 53 }, { host: "8.8.8.8", port: 443 }]'), {
  ...hostile,
  ...prints("refused\n")
})
js(
  "hostile-connect-outside-fails",
  "failed",
  file`
  require("net").connect({ host: "1.1.1.1", port: 53 }, () => process.exit(0)).setTimeout(5000, () => process.exit(1))
`,
  { ...hostile, ...exits(0) }
)
js(
  "hostile-connect-host-services",
  "passed",
  connects('[22, 80, 443, 2375, 3000, 5432, 8080].map((port) => ({ host: "127.0.0.1", port }))'),
  {
    ...hostile,
    ...prints("refused\n")
  }
)
js(
  "hostile-connect-docker",
  "passed",
  connects('["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"].map((path) => ({ path }))'),
  {
    ...hostile,
    ...prints("refused\n")
  }
)
js(
  "hostile-resolve-names",
  "passed",
  file`
  require("dns").lookup("example.com", (error) => console.log(error ? "refused" : "resolved"))
`,
  { ...hostile, ...prints("refused\n") }
)
js(
  "hostile-interfaces",
  "passed",
  file`
  const all = Object.values(require("os").networkInterfaces()).flat()
  console.log(all.filter((address) => !address.internal).length)
`,
  { ...hostile, ...prints("0\n") }
)

// ---------------------------------------------------------------------------------------------------------------------

const target = new URL("tasks.jsonl", import.meta.url)
writeFileSync(target, tasks.map((task) => JSON.stringify(task) + "\n").join(""))

const tally = (key: (task: Task) => string) => {
  const result: Record<string, number> = {}
  for (const task of tasks) result[key(task)] = (result[key(task)] ?? 0) + 1
  return result
}
console.log(tasks.length, "tasks", {
  verdict: tally((task) => task.verdict),
  image: tally((task) => task.image),
  hostile: tally((task) => (task.hostile === true ? "yes" : "no"))
})
