/** Built-in programs that work on lines: `cut`, `grep`, `seq`, `sort`, `tr`, `uniq`. */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as text from "../processes/processText.ts"
import * as calls from "./programsCall.ts"

const operandsOf = (operands: ReadonlyArray<string>): ReadonlyArray<string> =>
  operands.length === 0 ? ["-"] : operands

const linesOf = (call: calls.Call, operands: ReadonlyArray<string>): Effect.Effect<Array<string>, PlatformError> =>
  Effect.map(
    Effect.forEach(operandsOf(operands), (name) => calls.withReader(call, name, calls.allLines)),
    (all) => all.flat()
  )

const byBytes = (left: string, right: string): number => {
  const a = text.encode(left)
  const b = text.encode(right)
  for (let i = 0; i < a.length && i < b.length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

const numberAtStart = (line: string): number => Number(/^\s*(-?\d*\.?\d+)/.exec(line)?.[1] ?? 0)

const sort = calls.withOptions(
  "sort",
  "bfnruk:t:o:",
  (call, { flags, operands, values }) =>
    Effect.gen(function* () {
      const separator = values.get("t")
      const [, field, keyFlags] = /^(\d+)(?:\.\d+)?([a-z]*)/.exec(values.get("k") ?? "") ?? []
      const isNumeric = flags.has("n") || keyFlags?.includes("n") === true
      const isReverse = flags.has("r") || keyFlags?.includes("r") === true
      const keyOf = (line: string): string => {
        const folded = flags.has("f") ? line.toUpperCase() : line
        if (field === undefined) return folded
        const fields = separator === undefined ? folded.trimStart().split(/\s+/) : folded.split(separator)
        return fields.slice(Number(field) - 1).join(separator ?? " ")
      }
      const compare = (left: string, right: string): number =>
        isNumeric ? numberAtStart(keyOf(left)) - numberAtStart(keyOf(right)) : byBytes(keyOf(left), keyOf(right))
      const lines = yield* linesOf(call, operands)
      const sorted = lines.toSorted((left, right) => {
        const order = compare(left, right)
        const last = order === 0 && !flags.has("u") ? byBytes(left, right) : order
        return isReverse ? -last : last
      })
      const kept = flags.has("u")
        ? sorted.filter((line, index) => index === 0 || compare(sorted[index - 1] ?? "", line) !== 0)
        : sorted
      const result = kept.map((line) => `${line}\n`).join("")
      const target = values.get("o")
      if (target === undefined) yield* calls.out(call, result)
      else yield* call.process.files.writeFile(target, text.encode(result))
      return 0
    }),
  { usage: 2 }
)

const uniq = calls.withOptions("uniq", "cdui", (call, { flags, operands }) =>
  Effect.gen(function* () {
    const groups: Array<{ readonly line: string; count: number }> = []
    const same = (left: string, right: string) =>
      flags.has("i") ? left.toLowerCase() === right.toLowerCase() : left === right
    for (const line of yield* linesOf(call, operands.slice(0, 1))) {
      const last = groups.at(-1)
      if (last !== undefined && same(last.line, line)) last.count++
      else groups.push({ line, count: 1 })
    }
    const wanted = groups.filter(({ count }) => (!flags.has("d") || count > 1) && (!flags.has("u") || count === 1))
    const lines = wanted.map(({ count, line }) =>
      flags.has("c") ? `${String(count).padStart(7)} ${line}\n` : `${line}\n`
    )
    yield* calls.out(call, lines.join(""))
    return 0
  })
)

const seq = calls.program("seq", (call) => {
  const [first = ""] = call.args
  const isSeparated = first.startsWith("-s")
  const separator = first === "-s" ? (call.args[1] ?? "") : isSeparated ? first.slice(2) : "\n"
  const given = first === "-s" ? call.args.slice(2) : isSeparated ? call.args.slice(1) : call.args
  const numbers = given.map(Number)
  const wrong = numbers.findIndex((number) => !Number.isFinite(number))
  if (given.length === 0) return calls.complain(call, "missing operand")
  if (wrong >= 0) return calls.complain(call, `invalid floating point argument: '${given[wrong]}'`)
  const start = given.length > 1 ? (numbers[0] ?? 1) : 1
  const last = numbers.at(-1) ?? 1
  const step = given.length > 2 ? (numbers[1] ?? 1) : 1
  if (step === 0) return calls.complain(call, "invalid Zero increment value: '0'")
  const digits = Math.max(...given.map((number) => number.split(".")[1]?.length ?? 0))
  const isLast = (value: number) => (step > 0 ? value > last : value < last)
  return Effect.gen(function* () {
    let block = ""
    for (let i = 0; !isLast(start + i * step); i++) {
      block += `${i === 0 ? "" : separator}${(start + i * step).toFixed(digits)}`
      if (block.length < 4096) continue
      yield* calls.out(call, block)
      block = ""
    }
    if (!isLast(start)) yield* calls.out(call, `${block}\n`)
    return 0
  })
})

/** The items of a list such as `1,3-5,7-`, counted from 1. */
const inList = (list: string): ((position: number) => boolean) => {
  const ranges = list.split(",").map((range) => {
    const [from = "", to] = range.split("-")
    const start = from === "" ? 1 : Number(from)
    return { from: start, to: to === undefined ? start : to === "" ? Infinity : Number(to) }
  })
  return (position) => ranges.some(({ from, to }) => position >= from && position <= to)
}

const cut = calls.withOptions("cut", "d:f:c:b:s", (call, { flags, operands, values }) => {
  const characters = values.get("c") ?? values.get("b")
  const isWanted = inList(characters ?? values.get("f") ?? "")
  const delimiter = values.get("d") ?? "\t"
  return calls.each(
    call,
    operandsOf(operands),
    (name) => name,
    (name) =>
      calls.withReader(call, name, (reader) =>
        calls.forEachLine(reader, (line) => {
          if (characters === undefined && !line.includes(delimiter)) {
            return flags.has("s") ? Effect.void : calls.out(call, `${line}\n`)
          }
          const [parts, joint] = characters === undefined ? [line.split(delimiter), delimiter] : [[...line], ""]
          return calls.out(call, `${parts.filter((_, index) => isWanted(index + 1)).join(joint)}\n`)
        })
      )
  )
})

const classes: { readonly [name: string]: string } = {
  alpha: "A-Za-z",
  digit: "0-9",
  alnum: "0-9A-Za-z",
  upper: "A-Z",
  lower: "a-z",
  space: "\\t-\\r ",
  blank: "\\t ",
  punct: "!-/:-@[-`{-~",
  xdigit: "0-9A-Fa-f",
  cntrl: "\\0-\\037\\177",
  print: " -~",
  graph: "!-~"
}

const escapes: { readonly [letter: string]: number } = { a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11, "\\": 92 }

/** The bytes of a set of `tr`: ranges, classes and escapes resolved. */
const bytesOfSet = (set: string): ReadonlyArray<number> => {
  const source = text.encode(set.replace(/\[:(\w+):\]/g, (whole, name: string) => classes[name] ?? whole))
  const items: Array<number> = []
  const result: Array<number> = []
  let rangeFrom: number | undefined
  for (let i = 0; i < source.length; i++) {
    let byte = source[i] ?? 0
    if (byte === 92) {
      const rest = text.decode(source.subarray(i + 1, i + 4))
      const octal = /^[0-7]{1,3}/.exec(rest)?.[0]
      byte = octal === undefined ? (escapes[rest[0] ?? "\\"] ?? rest.charCodeAt(0)) : Number.parseInt(octal, 8)
      i += octal?.length ?? 1
    } else if (byte === 45 && items.length > 0 && i < source.length - 1 && rangeFrom === undefined) {
      rangeFrom = items.at(-1)
      continue
    }
    if (rangeFrom === undefined) result.push(byte)
    else for (let each = rangeFrom + 1; each <= byte; each++) result.push(each)
    rangeFrom = undefined
    items.push(byte)
  }
  return result
}

const tr = calls.withOptions("tr", "cCds", (call, { flags, operands }) => {
  const [given = "", to] = operands
  if (given === "" || (to === undefined && !flags.has("d") && !flags.has("s"))) {
    return calls.complain(call, given === "" ? "missing operand" : `missing operand after '${given}'`)
  }
  const listed = bytesOfSet(given)
  const isComplement = flags.has("c") || flags.has("C")
  const from = isComplement ? [...new Uint8Array(256).keys()].filter((byte) => !listed.includes(byte)) : listed
  const target = to === undefined ? [] : bytesOfSet(to)
  const mapped = new Uint8Array(256).map((_, byte) => byte)
  if (!flags.has("d") && to !== undefined) {
    for (const [index, byte] of from.entries()) mapped[byte] = target[Math.min(index, target.length - 1)] ?? byte
  }
  const deleted = new Set(flags.has("d") ? from : [])
  const squeezed = new Set(flags.has("s") ? (to === undefined ? from : target) : [])
  let last = -1
  return Effect.as(
    calls.withReader(call, "-", (reader) =>
      calls.forEachChunk(reader, (bytes) => {
        const result: Array<number> = []
        for (const byte of bytes) {
          if (deleted.has(byte)) continue
          const translated = mapped[byte] ?? byte
          if (translated === last && squeezed.has(translated)) continue
          last = translated
          result.push(translated)
        }
        return result.length === 0 ? Effect.void : calls.out(call, Uint8Array.from(result))
      })
    ),
    0
  )
})

/** A basic regular expression as JavaScript writes it: there `\(`, `\{`, `\|`, `\+` and `\?` are special, not the bare ones. */
const extended = (basic: string): string =>
  basic.replace(/\[\^?\]?[^\]]*\]|\\.|[(){}|+?]/g, (token) => {
    if (token.startsWith("[")) return token
    if (token.startsWith("\\")) return /[(){}|+?]/.test(token) ? token.slice(1) : token
    return `\\${token}`
  })

const withClasses = (expression: string): string =>
  expression.replace(/\[:(\w+):\]/g, (whole, name: string) => classes[name]?.replaceAll("[-`", "\\[-`") ?? whole)

const matcherOf = (pattern: string, flags: ReadonlySet<string>) => {
  const literal = (part: string) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
  const alternatives = pattern.split("\n").map((part) => {
    const source = withClasses(flags.has("F") ? literal(part) : flags.has("E") ? part : extended(part))
    if (flags.has("x")) return `^(?:${source})$`
    return flags.has("w") ? `\\b(?:${source})\\b` : source
  })
  return Effect.try({
    try: () => new RegExp(alternatives.map((part) => `(?:${part})`).join("|"), flags.has("i") ? "gi" : "g"),
    catch: () => "Invalid regular expression"
  })
}

const grep = calls.withOptions(
  "grep",
  "qcvilnhHFEwxose:",
  (call, options) =>
    Effect.gen(function* () {
      const { flags } = options
      const given = options.values.get("e")
      const pattern = given ?? options.operands[0]
      const names = given === undefined ? options.operands.slice(1) : options.operands
      if (pattern === undefined) return yield* calls.complain(call, "no pattern given", 2)
      const matcher = yield* Effect.result(matcherOf(pattern, flags))
      if (matcher._tag === "Failure") return yield* calls.complain(call, matcher.failure, 2)
      const label = flags.has("H") || (names.length > 1 && !flags.has("h"))
      let found = false
      const search = (name: string) =>
        Effect.gen(function* () {
          const prefix = label ? `${name === "-" ? "(standard input)" : name}:` : ""
          let count = 0
          let number = 0
          yield* calls.withReader(call, name, (reader) =>
            calls.forEachLine(reader, (line) => {
              number++
              const matches = [...line.matchAll(matcher.success)]
              if (matches.length > 0 === flags.has("v")) return Effect.void
              count++
              found = true
              if (flags.has("q") || flags.has("l")) return Effect.succeed("enough" as const)
              if (flags.has("c")) return Effect.void
              const start = `${prefix}${flags.has("n") ? `${number}:` : ""}`
              const shown = flags.has("o") ? matches.map(([match]) => match) : [line]
              return calls.out(call, shown.map((part) => `${start}${part}\n`).join(""))
            })
          )
          if (flags.has("l") && count > 0) yield* calls.out(call, `${name}\n`)
          else if (flags.has("c") && !flags.has("q")) yield* calls.out(call, `${prefix}${count}\n`)
        })
      const failed = yield* calls.each(call, operandsOf(names), (name) => name, search)
      if (found && (failed === 0 || flags.has("q"))) return 0
      return failed === 0 ? 1 : 2
    }),
  { usage: 2 }
)

export const textPrograms: ReadonlyArray<calls.Program> = [cut, grep, seq, sort, tr, uniq]
