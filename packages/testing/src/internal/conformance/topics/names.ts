/** Names of files: whatever the system allows, unchanged, for FileSystem and commands alike. */
import * as Effect from "effect/Effect"
import { inTopic } from "../check.ts"
import * as expect from "../expect.ts"

const check = inTopic("names")

const odd = [
  "with space",
  " leading and trailing ",
  "new\nline",
  "tab\there",
  "quo'te",
  'dou"ble',
  "back\\slash",
  "$HOME",
  "`id`",
  "$(id)",
  "a;b&c|d",
  "<in>out",
  "*",
  "?",
  "[x]",
  "{a,b}",
  "-rf",
  "--",
  "~",
  "#comment",
  "!bang",
  "%2e%2e",
  "a%00b",
  "...",
  "..a",
  ".hidden",
  "é",
  "e\u0301",
  "ünïcödé",
  "日本語",
  "🙂🙃",
  "\u0001\u001f",
  "con",
  "a:b",
  "x".repeat(255)
]

export const checks = [
  check("name-odd", "files may have any name, and are listed by it", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      for (const name of odd) {
        yield* files.writeFileString(name, `content of ${name}`)
        yield* expect.equal(yield* files.readFileString(name), `content of ${name}`, `the file ${JSON.stringify(name)}`)
      }
      yield* expect.equal((yield* files.readDirectory(".")).sort(), [...odd].sort(), "the listing")
      for (const name of odd) yield* files.remove(name)
      yield* expect.equal(yield* files.readDirectory("."), [], "what is left")
    })
  ),

  check("name-odd-directories", "directories may have any name", {}, (bench) =>
    Effect.gen(function* () {
      const { files, workdir } = yield* bench.create()
      const use = (name: string) =>
        Effect.gen(function* () {
          yield* files.makeDirectory(`${name}/inner`, { recursive: true })
          yield* files.writeFileString(`${workdir}/${name}/inner/file`, name)
          yield* files.rename(`${name}/inner/file`, `${name}/moved`)
          yield* expect.equal(
            yield* files.readFileString(`${name}/moved`),
            name,
            `in the directory ${JSON.stringify(name)}`
          )
          yield* files.remove(name, { recursive: true })
        })
      yield* Effect.forEach(odd, use, { concurrency: 8 })
      yield* expect.equal(yield* files.readDirectory("."), [], "what is left")
    })
  ),

  check("name-odd-for-commands", "commands see the same names", { marks: ["F13"], needs: ["shell"] }, (bench) =>
    Effect.gen(function* () {
      const sandbox = yield* bench.create()
      const { files } = sandbox
      yield* Effect.forEach(odd, (name) => files.writeFileString(name, `given to ${name}`))
      const script = 'for name in "$@"; do cat "./$name"; printf "\\036"; echo made >"./$name"; done'
      const { stdout } = yield* sandbox.run("sh", ["-c", script, "sh", ...odd])
      const given = odd.map((name) => `given to ${name}`)
      yield* expect.equal(stdout.split("\u001e").slice(0, -1), given, "what a command reads")
      const made = yield* Effect.forEach(odd, (name) => files.readFileString(name))
      yield* expect.equal(
        made,
        odd.map(() => "made\n"),
        "what it has written"
      )
    })
  ),

  check("name-too-long", "a name of more than 255 bytes is an error", { marks: ["F6"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      for (const name of ["x".repeat(256), "日".repeat(86)]) {
        yield* expect.platformError(files.writeFileString(name, ""), undefined, "a file of such a name")
        yield* expect.platformError(files.makeDirectory(name), undefined, "a directory of such a name")
      }
      yield* files.writeFileString("日".repeat(85), "")
      yield* expect.equal(yield* files.readDirectory("."), ["日".repeat(85)], "the listing")
    })
  ),

  check("name-bad", "an empty name, and a name with a NUL, are errors", { marks: ["F6"] }, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      yield* expect.platformError(files.readFile("a\0b"), undefined, "reading a name with a NUL")
      yield* expect.platformError(files.writeFileString("a\0b", ""), undefined, "writing a name with a NUL")
      yield* expect.equal(yield* files.readDirectory("."), [], "the listing")
    })
  ),

  check("name-case-and-form", "names that differ in case or in their code points are different files", {}, (bench) =>
    Effect.gen(function* () {
      const { files } = yield* bench.create()
      const names = ["name", "Name", "NAME", "\u00e9", "e\u0301"]
      for (const name of names) yield* files.writeFileString(name, name)
      const contents = yield* Effect.forEach(names, (name) => files.readFileString(name))
      yield* expect.equal(contents, names, "what they hold")
    })
  )
]
