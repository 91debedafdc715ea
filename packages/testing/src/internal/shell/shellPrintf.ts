/** What `echo` and `printf` print. */

const named: { readonly [letter: string]: string } = {
  a: "\u0007",
  b: "\b",
  e: "\u001b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\"
}

/** A byte as text that loses nothing, see `processText`. */
const byte = (value: number): string => String.fromCharCode(value < 0x80 ? value : 0xdc00 + value)

/** Resolves escapes. `\\c` ends everything. For `echo` and `%b`, octal numbers may start with one 0 more. */
const unescape = (text: string, extraZero: boolean): { readonly text: string; readonly isEnd: boolean } => {
  let result = ""
  let last = 0
  for (const match of text.matchAll(extraZero ? /\\(?:0?([0-7]{1,3})|(.))/gs : /\\(?:([0-7]{1,3})|(.))/gs)) {
    const [whole, octal, letter = ""] = match
    result += text.slice(last, match.index)
    last = match.index + whole.length
    if (letter === "c") return { text: result, isEnd: true }
    if (octal !== undefined) result += byte(Number.parseInt(octal, 8) & 0xff)
    else result += Object.hasOwn(named, letter) ? named[letter] : whole
  }
  return { text: result + text.slice(last), isEnd: false }
}

/** `echo` of the shell: escapes are resolved, and `-n` is the only option. */
export const echo = (args: ReadonlyArray<string>): string => {
  const isBare = args[0] === "-n"
  const { isEnd, text } = unescape((isBare ? args.slice(1) : args).join(" "), true)
  return text + (isBare || isEnd ? "" : "\n")
}

/** `echo` of coreutils: escapes are resolved with `-e`. */
export const echoProgram = (args: ReadonlyArray<string>): string => {
  let first = 0
  let isBare = false
  let isEscaped = false
  for (; /^-[neE]+$/.test(args[first] ?? ""); first++) {
    for (const letter of (args[first] ?? "").slice(1)) {
      if (letter === "n") isBare = true
      else isEscaped = letter === "e"
    }
  }
  const joined = args.slice(first).join(" ")
  const { isEnd, text } = isEscaped ? unescape(joined, true) : { text: joined, isEnd: false }
  return text + (isBare || isEnd ? "" : "\n")
}

interface Printed {
  readonly text: string
  readonly complaints: ReadonlyArray<string>
}

const conversion = /%(?:%|([-+ 0#]*)(\*|\d+)?(?:\.(\*|\d+)?)?([a-zA-Z]))/g

/** `printf`: the format is used again until all arguments are. */
export const printf = (format: string, args: ReadonlyArray<string>): Printed => {
  const complaints: Array<string> = []
  let rest = [...args]
  let text = ""
  do {
    const before = rest.length
    const round = printOnce(format, rest, complaints)
    text += round.text
    rest = round.rest
    if (round.isEnd || rest.length === before) break
  } while (rest.length > 0)
  return { text, complaints }
}

const printOnce = (format: string, args: ReadonlyArray<string>, complaints: Array<string>) => {
  const rest = [...args]
  let isEnd = false
  let text = ""
  let last = 0
  const number = () => toNumber(rest.shift(), complaints)
  const addLiteral = (part: string): void => {
    const resolved = unescape(part, false)
    text += resolved.text
    isEnd = resolved.isEnd
  }
  for (const match of format.matchAll(conversion)) {
    addLiteral(format.slice(last, match.index))
    last = match.index + match[0].length
    if (isEnd) break
    const [whole, flags = "", widthGiven, precisionGiven, letter = "%"] = match
    if (letter === "%") {
      text += "%"
      continue
    }
    const width = widthGiven === "*" ? Number(number()) : Number(widthGiven ?? 0)
    const isPrecise = whole.includes(".")
    const precision = precisionGiven === "*" ? Number(number()) : Number(precisionGiven ?? 0)
    const spec: Spec = { flags, width, precision: isPrecise ? precision : undefined }
    if (letter === "s") text += pad(spec, cut(spec, rest.shift() ?? ""))
    else if (letter === "b") {
      const resolved = unescape(rest.shift() ?? "", true)
      text += pad(spec, cut(spec, resolved.text))
      isEnd = resolved.isEnd
    } else if (letter === "c") text += pad(spec, Array.from(rest.shift() ?? "")[0] ?? "")
    else if ("diouxX".includes(letter)) text += integer(spec, letter, number())
    else if ("eEfFgG".includes(letter)) text += pad(spec, floating(spec, letter, Number(rest.shift() ?? 0)))
    else {
      complaints.push(`${whole}: invalid directive`)
      isEnd = true
    }
    if (isEnd) break
  }
  if (!isEnd) addLiteral(format.slice(last))
  return { text, rest, isEnd }
}

interface Spec {
  readonly flags: string
  readonly width: number
  readonly precision: number | undefined
}

const cut = ({ precision }: Spec, text: string): string => (precision === undefined ? text : text.slice(0, precision))

const pad = ({ flags, width }: Spec, text: string): string =>
  flags.includes("-") || width < 0 ? text.padEnd(Math.abs(width)) : text.padStart(width)

const sign = ({ flags }: Spec, isNegative: boolean): string => {
  if (isNegative) return "-"
  if (flags.includes("+")) return "+"
  return flags.includes(" ") ? " " : ""
}

const integer = (spec: Spec, letter: string, value: bigint): string => {
  const isSigned = letter === "d" || letter === "i"
  const magnitude = isSigned ? (value < 0n ? -value : value) : BigInt.asUintN(64, value)
  const base = letter === "o" ? 8 : letter === "x" || letter === "X" ? 16 : 10
  let digits = magnitude.toString(base).padStart(spec.precision ?? 1, "0")
  if (letter === "X") digits = digits.toUpperCase()
  if (spec.flags.includes("#") && magnitude !== 0n)
    digits = (base === 16 ? `0${letter}` : base === 8 ? "0" : "") + digits
  const prefix = isSigned ? sign(spec, value < 0n) : ""
  const isZeroed = spec.flags.includes("0") && !spec.flags.includes("-") && spec.precision === undefined
  return pad(spec, prefix + (isZeroed ? digits.padStart(spec.width - prefix.length, "0") : digits))
}

const floating = (spec: Spec, letter: string, value: number): string => {
  const precision = spec.precision ?? 6
  const magnitude = Math.abs(value)
  const exponent = (text: string) => text.replace(/e([+-])(\d)$/, "e$10$2")
  let text = magnitude.toFixed(precision)
  if (letter === "e" || letter === "E") text = exponent(magnitude.toExponential(precision))
  if (letter === "g" || letter === "G")
    text = exponent(String(Number(magnitude.toPrecision(precision === 0 ? 1 : precision))))
  if (letter === "E" || letter === "G") text = text.toUpperCase()
  return sign(spec, value < 0 || Object.is(value, -0)) + text
}

/** A number as C writes it, or the code of a character after a quote. */
const toNumber = (given: string | undefined, complaints: Array<string>): bigint => {
  if (given === undefined || given === "") return 0n
  const quoted = /^["'](.)/su.exec(given)?.[1]
  if (quoted !== undefined) return BigInt(quoted.codePointAt(0) ?? 0)
  const match = /^\s*([-+]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)/.exec(given)
  if (match === null) {
    complaints.push(`${given}: expected numeric value`)
    return 0n
  }
  const [whole, minus, digits = "0"] = match
  if (whole.length < given.length) complaints.push(`${given}: not completely converted`)
  const value = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits)
  return minus === "-" ? -value : value
}
