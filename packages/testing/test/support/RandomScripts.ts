/** Scripts by chance: a list of numbers chooses what comes next in each place, and a shorter list makes a simpler script. */
import { Arbitrary, Schema } from "effect"

/** Chooses by number; when there are none left, the first and simplest. */
class Choices {
  readonly #numbers: ReadonlyArray<number>
  #at = 0

  constructor(numbers: ReadonlyArray<number>) {
    this.#numbers = numbers
  }

  get isOver(): boolean {
    return this.#at >= this.#numbers.length
  }

  pick<A>(options: readonly [A, ...ReadonlyArray<A>]): A {
    const number = this.#numbers[this.#at++] ?? 0
    return options[number % options.length] ?? options[0]
  }
}

type Make = (choices: Choices, depth: number) => string

const name: Make = (choices) => choices.pick(["x", "y", "z", "empty", "1", "2"])
const variable: Make = (choices) => choices.pick(["x", "y", "z"])
const file: Make = (choices) => choices.pick(["f", "g", '"h i"'])

const text: Make = (choices) =>
  choices.pick(["a", "b c", "", "*", "a:b::c", "-n", "\\", "$x", "q'q", " lead", "tail ", "0", "12", "[x]", "f*", "~"])

const singleQuoted: Make = (choices, depth) => `'${text(choices, depth).replaceAll("'", "")}'`

const inDoubleQuotes: Make = (choices, depth) =>
  choices.pick<Make>([
    () => "a b",
    () => '\\$ \\\\ \\"',
    expansion,
    () => "'",
    (choices, depth) => `${expansion(choices, depth)} ${expansion(choices, depth)}`,
    () => "*"
  ])(choices, depth)

const expansion: Make = (choices, depth) =>
  choices.pick<Make>([
    (choices, depth) => `$${variable(choices, depth)}`,
    (choices, depth) => `\${${name(choices, depth)}}`,
    (choices, depth) =>
      `\${${name(choices, depth)}${choices.pick(["-", ":-", "+", ":+"])}${innerWord(choices, depth)}}`,
    (choices, depth) =>
      `\${${variable(choices, depth)}${choices.pick(["#", "##", "%", "%%"])}${pattern(choices, depth)}}`,
    (choices, depth) => `\${#${name(choices, depth)}}`,
    () => "$?",
    () => "$#",
    () => "$@",
    () => "$*",
    (choices, depth) => `$((${arithmetic(choices, depth)}))`,
    (choices, depth) => (depth > 3 ? "$x" : `$( ${list(choices, depth + 2)})`)
  ])(choices, depth)

const innerWord: Make = (choices, depth) =>
  choices.pick<Make>([
    () => "w",
    () => "v  w",
    () => '"v  w"',
    singleQuotedInner,
    (choices, depth) => (depth > 3 ? "$y" : expansion(choices, depth + 1)),
    () => ""
  ])(choices, depth)

const singleQuotedInner: Make = (choices) => choices.pick(["'s'", "'s  t'", "\\}"])

const pattern: Make = (choices) => choices.pick(["*", "?", "a", "*:", ":*", "[a-c]", "[!a]", "'*'", '"$x"', "b*"])

const arithmetic: Make = (choices, depth) =>
  depth > 3
    ? choices.pick(["1", "0", "7", "n"])
    : choices.pick<Make>([
        () => "1",
        () => "n",
        () => "10 - 3",
        (choices, depth) => `(${arithmetic(choices, depth + 1)})`,
        (choices, depth) =>
          `${arithmetic(choices, depth + 1)} ${choices.pick(["+", "-", "*", "/", "%", "<", ">", "==", "!=", "&&", "||", "&", "|", "^", "<<"])} ${arithmetic(choices, depth + 1)}`,
        (choices, depth) => `-${arithmetic(choices, depth + 1)}`,
        (choices, depth) => `!${arithmetic(choices, depth + 1)}`,
        (choices, depth) =>
          `${arithmetic(choices, depth + 1)} ? ${arithmetic(choices, depth + 1)} : ${arithmetic(choices, depth + 1)}`,
        () => "n = 5",
        () => "n += 2"
      ])(choices, depth)

const word: Make = (choices, depth) =>
  choices.pick<Make>([
    () => "a",
    (choices, depth) => `"${inDoubleQuotes(choices, depth)}"`,
    singleQuoted,
    expansion,
    (choices, depth) => `a${expansion(choices, depth)}b`,
    () => "\\*",
    () => "*",
    (choices, depth) => `"${inDoubleQuotes(choices, depth)}"${singleQuoted(choices, depth)}`,
    () => "b=c"
  ])(choices, depth)

const words: Make = (choices, depth) =>
  choices.pick<Make>([
    word,
    (choices, depth) => `${word(choices, depth)} ${word(choices, depth)}`,
    (choices, depth) => `${word(choices, depth)} ${word(choices, depth)} ${word(choices, depth)}`
  ])(choices, depth)

const test: Make = (choices, depth) =>
  choices.pick<Make>([
    () => "true",
    () => "false",
    (choices, depth) => `[ "${expansion(choices, depth)}" = ${singleQuoted(choices, depth)} ]`,
    (choices, depth) => `[ -n "${expansion(choices, depth)}" ]`,
    (choices, depth) => `[ $((${arithmetic(choices, depth)})) -gt 0 ]`,
    (choices, depth) => `[ -e ${file(choices, depth)} ]`,
    (choices, depth) => `! ${test(choices, depth + 1)}`,
    (choices) => `(exit ${choices.pick(["0", "1", "3"])})`
  ])(choices, depth)

const simple: Make = (choices, depth) =>
  choices.pick<Make>([
    (choices, depth) => `echo ${words(choices, depth)}`,
    (choices, depth) => `printf '<%s>' ${words(choices, depth)}; echo`,
    (choices, depth) => `${variable(choices, depth)}=${word(choices, depth)}`,
    test,
    (choices, depth) => `echo ${words(choices, depth)} >${choices.pick(["", ">"])}${file(choices, depth)}`,
    (choices, depth) => `cat ${file(choices, depth)} 2>/dev/null`,
    (choices, depth) => `set -- ${words(choices, depth)}`,
    (choices, depth) => `read -r ${variable(choices, depth)} z <${choices.pick(["f", "/dev/null"])}`,
    (choices, depth) => `${variable(choices, depth)}=${word(choices, depth)} eval 'echo "$x"'`,
    (choices, depth) => `unset ${variable(choices, depth)}`,
    (choices) => `IFS=${choices.pick(["':'", "' :'", "''", "' '"])}`,
    (choices) => choices.pick(["shift 2>/dev/null || true", "set -f", "set +f", "n=3", "echo err >&2", ": ${x:=new}"]),
    (choices, depth) => `cat <<E\n${inDoubleQuotes(choices, depth).replaceAll("*", "s")}\nE\n`,
    (choices) =>
      choices.pick(["nosuch", "cd nosuch", "echo a >nosuch/f", "f2 1 2", "exit 3", "set -e", "set -u", "return 4"])
  ])(choices, depth)

const compound: Make = (choices, depth) =>
  choices.pick<Make>([
    simple,
    (choices, depth) =>
      `if ${test(choices, depth)}; then ${list(choices, depth + 1)}; else ${list(choices, depth + 1)}; fi`,
    (choices, depth) => `for x in ${words(choices, depth)}; do ${list(choices, depth + 1)}; done`,
    (choices, depth) =>
      `i${depth}=0; while [ $i${depth} -lt 3 ]; do i${depth}=$((i${depth}+1)); ${list(choices, depth + 2)}; ${choices.pick([":", "break", "continue"])}; done`,
    (choices, depth) =>
      `case ${word(choices, depth)} in ${pattern(choices, depth)}) ${list(choices, depth + 1)};; *) echo other;; esac`,
    (choices, depth) => `(${list(choices, depth + 1)})`,
    (choices, depth) => `{ ${list(choices, depth + 1)}; }`,
    (choices, depth) =>
      `{ ${list(choices, depth + 1)}; } ${choices.pick([">f", ">>g", "2>/dev/null", ">/dev/null 2>&1", "2>&1"])}`,
    (choices, depth) => `g${depth}() { ${list(choices, depth + 1)}; }; g${depth} ${words(choices, depth)}`,
    (choices, depth) =>
      `{ ${list(choices, depth + 2)}; } | ${choices.pick(["cat", "wc -l", "tr a b", '{ read -r x; echo "[$x]"; cat >/dev/null; }', "sort"])}`
  ])(choices, depth)

const joined: Make = (choices, depth) =>
  choices.pick<Make>([
    compound,
    (choices, depth) => `${compound(choices, depth)} && ${compound(choices, depth)}`,
    (choices, depth) => `${compound(choices, depth)} || ${compound(choices, depth)}`,
    (choices, depth) => `! ${compound(choices, depth)}`
  ])(choices, depth)

function list(choices: Choices, depth: number): string {
  if (depth > 4) return choices.pick(["echo a", "false", "echo $?", ":"])
  return choices.pick<Make>([
    compound,
    (choices, depth) => `${joined(choices, depth)}; ${joined(choices, depth)}`,
    joined
  ])(choices, depth)
}

/** The script that a list of numbers chooses. */
export const scriptOf = (numbers: ReadonlyArray<number>): string => {
  const choices = new Choices(numbers)
  const lines = ["n=0 x='a:b c' y= ; f2() { echo \"f2 $# $1\"; return 2; }", "set -- one 'two three'"]
  while (!choices.isOver) lines.push(joined(choices, 0))
  lines.push('echo "end $? [$x] [$y] $#"')
  // A here-document wants its line to end where it starts.
  return lines.map((line) => line.replaceAll("\nE\n;", "\nE\n").replaceAll("\nE\n ", "\nE\n")).join("\n")
}

/** What chooses a script. */
export const numbers = Arbitrary.array(
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 }))),
  { maxLength: 120 }
)
