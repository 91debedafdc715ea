/** Built-in programs that pass bytes on: `cat`, `head`, `tail`, `tee`, `wc`, `yes`, `dd`, `cmp`. */
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as files from "../processes/processFiles.ts"
import type { Process } from "../processes/process.ts"
import * as text from "../processes/processText.ts"
import * as calls from "./programsCall.ts"

const newline = 10

const operandsOf = (operands: ReadonlyArray<string>): ReadonlyArray<string> =>
  operands.length === 0 ? ["-"] : operands

const self = (name: string): string => name

const cat = calls.withOptions("cat", "u", (call, { operands }) =>
  calls.each(call, operandsOf(operands), self, (name) =>
    calls.withReader(call, name, (reader) =>
      Effect.gen(function* () {
        if (yield* isOutput(call.process, name)) return yield* calls.problem(`${name}: input file is output file`)
        yield* calls.forEachChunk(reader, (bytes) => calls.out(call, bytes))
      })
    )
  )
)

/** Whether reading a file would never end, because what is read is written behind it. */
const isOutput = (process: Process, name: string): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    const info = (fd: number) => process.descriptors.get(fd)?.info ?? Effect.succeedNone
    const output = Option.getOrUndefined(yield* info(1))
    if (output === undefined || ByteSize.toBigInt(output.size) === 0n) return false
    const input = Option.getOrUndefined(yield* name === "-" ? info(0) : Effect.asSome(process.files.stat(name)))
    const inode = Option.getOrUndefined(output.ino)
    return input?.dev === output.dev && inode !== undefined && Option.getOrUndefined(input.ino) === inode
  }).pipe(Effect.orElseSucceed(() => false))

/** `5`, `1K`, `1M`, `1G` (and `KB`, which is 1000). */
export const sizeOf = (given: string): number | undefined => {
  const match = /^(\d+)(?:([kKMG])(B?))?$/.exec(given)
  if (match === null) return undefined
  const unit = match[3] === "B" ? 1000 : 1024
  const power = match[2] === undefined ? 0 : "kMG".indexOf(match[2] === "K" ? "k" : match[2]) + 1
  return Number(match[1]) * unit ** power
}

/** The first bytes or lines. */
const head = calls.withOptions("head", "n:c:q", (call, { operands, values }) => {
  const bytes = values.get("c")
  const count = sizeOf(bytes ?? values.get("n") ?? "10")
  if (count === undefined) {
    return calls.complain(
      call,
      `invalid number of ${bytes === undefined ? "lines" : "bytes"}: '${bytes ?? values.get("n")}'`
    )
  }
  return calls.each(call, operandsOf(operands), self, (name) =>
    calls.withReader(call, name, (reader) =>
      bytes === undefined ? firstLines(call, reader, count) : firstBytes(call, reader, count)
    )
  )
})

const firstBytes = (call: calls.Call, reader: calls.Reader, count: number) =>
  Effect.gen(function* () {
    for (let left = count; left > 0;) {
      const bytes = yield* reader.read(Math.min(left, files.blockSize))
      if (bytes.length === 0) return
      yield* calls.out(call, bytes)
      left -= bytes.length
    }
  })

const firstLines = (call: calls.Call, reader: calls.Reader, count: number) =>
  Effect.gen(function* () {
    for (let left = count; left > 0;) {
      const bytes = yield* reader.read()
      if (bytes.length === 0) return
      let end = 0
      while (left > 0 && end < bytes.length) {
        const next = bytes.indexOf(newline, end)
        if (next >= 0) left--
        end = next < 0 ? bytes.length : next + 1
      }
      yield* calls.out(call, bytes.subarray(0, end))
    }
  })

/** The last bytes or lines; with `+N`, everything from the N-th on. */
const tail = calls.withOptions("tail", "n:c:q", (call, { operands, values }) => {
  const isBytes = values.has("c")
  const given = values.get("c") ?? values.get("n") ?? "10"
  const count = sizeOf(given.replace(/^[+-]/, ""))
  if (count === undefined) return calls.complain(call, `invalid number of ${isBytes ? "bytes" : "lines"}: '${given}'`)
  return calls.each(call, operandsOf(operands), self, (name) =>
    calls.withReader(call, name, (reader) => {
      if (given.startsWith("+")) return fromNth(call, reader, count, isBytes)
      return isBytes ? lastBytes(call, reader, count) : lastLines(call, reader, count)
    })
  )
})

const fromNth = (call: calls.Call, reader: calls.Reader, nth: number, isBytes: boolean) => {
  let skip = Math.max(nth - 1, 0)
  return calls.forEachChunk(reader, (bytes) => {
    let start = isBytes ? Math.min(skip, bytes.length) : 0
    if (isBytes) skip -= start
    else {
      while (skip > 0 && start < bytes.length) {
        const next = bytes.indexOf(newline, start)
        if (next >= 0) skip--
        start = next < 0 ? bytes.length : next + 1
      }
    }
    return start === bytes.length ? Effect.void : calls.out(call, bytes.subarray(start))
  })
}

const lastBytes = (call: calls.Call, reader: calls.Reader, count: number) =>
  Effect.gen(function* () {
    let kept = new Uint8Array(0)
    yield* calls.forEachChunk(reader, (bytes) =>
      Effect.sync(() => {
        const all = text.concat([kept, bytes])
        kept = new Uint8Array(all.subarray(Math.max(0, all.length - count)))
      })
    )
    yield* calls.out(call, kept)
  })

const lastLines = (call: calls.Call, reader: calls.Reader, count: number) =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    yield* calls.forEachLine(reader, (line, isWhole) =>
      Effect.sync(() => {
        lines.push(isWhole ? `${line}\n` : line)
        if (lines.length > count) lines.shift()
      })
    )
    yield* calls.out(call, lines.join(""))
  })

const tee = calls.withOptions("tee", "ai", (call, { flags, operands }) => {
  const { process } = call
  if (flags.has("i")) process.dispositions.set("SIGINT", "ignore")
  const targets: Array<files.OpenFile> = []
  const open = (name: string) =>
    Effect.uninterruptible(
      Effect.map(process.open(name, flags.has("a") ? "a" : "w"), (file) => void targets.push(file))
    )
  const write = (bytes: Uint8Array) =>
    Effect.andThen(
      calls.out(call, bytes),
      Effect.forEach(targets, (file) => file.write(bytes), { discard: true })
    )
  return Effect.gen(function* () {
    const code = yield* calls.each(call, operands, self, open)
    yield* calls.withReader(call, "-", (reader) => calls.forEachChunk(reader, write))
    return code
  }).pipe(Effect.ensuring(Effect.suspend(() => Effect.forEach(targets, (file) => file.release, { discard: true }))))
})

interface Counts {
  lines: number
  words: number
  bytes: number
  characters: number
}

const count = (reader: calls.Reader, onlyBytes: boolean): Effect.Effect<Counts, PlatformError> =>
  Effect.gen(function* () {
    const counts: Counts = { lines: 0, words: 0, bytes: 0, characters: 0 }
    let inWord = false
    yield* calls.forEachChunk(reader, (bytes) =>
      Effect.sync(() => {
        counts.bytes += bytes.length
        if (onlyBytes) return
        for (const byte of bytes) {
          if (byte === newline) counts.lines++
          if ((byte & 0xc0) !== 0x80) counts.characters++
          const isSpace = byte === 32 || (byte >= 9 && byte <= 13)
          if (!isSpace && !inWord) counts.words++
          inWord = !isSpace
        }
      })
    )
    return counts
  })

const wc = calls.withOptions("wc", "clmw", (call, { flags, operands }) =>
  Effect.gen(function* () {
    const wanted = (
      [
        ["l", "lines"],
        ["w", "words"],
        ["m", "characters"],
        ["c", "bytes"]
      ] as const
    ).filter(([flag]) => (flags.size === 0 ? flag !== "m" : flags.has(flag)))
    const isOnlyBytes = wanted.every(([, key]) => key === "bytes")
    const total: Counts = { lines: 0, words: 0, bytes: 0, characters: 0 }
    const all: Array<{ readonly counts: Counts; readonly name: string }> = []
    const code = yield* calls.each(call, operandsOf(operands), self, (name) =>
      Effect.gen(function* () {
        const counts = yield* calls.withReader(call, name, (reader) => count(reader, isOnlyBytes))
        for (const key of ["lines", "words", "bytes", "characters"] as const) total[key] += counts[key]
        all.push({ counts, name: operands.length === 0 ? "" : name })
      })
    )
    if (operands.length > 1) all.push({ counts: total, name: "total" })
    // One number stands alone; columns are as wide as any number may be.
    const isSingle = wanted.length === 1 && operands.length <= 1
    const width = isSingle ? 0 : operands.length === 0 ? 7 : String(total.bytes).length
    for (const { counts, name } of all) {
      const numbers = wanted.map(([, key]) => String(counts[key]).padStart(width)).join(" ")
      yield* calls.out(call, `${numbers}${name === "" ? "" : ` ${name}`}\n`)
    }
    return code
  })
)

const yes = calls.program("yes", (call) => {
  const line = `${call.args.length === 0 ? "y" : call.args.join(" ")}\n`
  const lines = text.encode(line.repeat(Math.max(1, Math.floor(8192 / line.length))))
  return Effect.forever(calls.out(call, lines))
})

const dd = calls.program("dd", (call) => {
  const settings = new Map(
    call.args.map((arg) => [arg.slice(0, arg.indexOf("=")), arg.slice(arg.indexOf("=") + 1)] as const)
  )
  const number = (name: string, otherwise: number) => sizeOf(settings.get(name) ?? String(otherwise)) ?? otherwise
  const block = number("bs", 512)
  const blocks = number("count", Infinity)
  const target = settings.get("of")
  const records = { whole: 0, partial: 0, size: 0 }
  const copy = (write: (bytes: Uint8Array) => Effect.Effect<void, PlatformError>) => (reader: calls.Reader) =>
    Effect.gen(function* () {
      for (let skip = number("skip", 0); skip > 0; skip--) yield* reader.read(block)
      while (records.whole + records.partial < blocks) {
        const bytes = yield* reader.read(block)
        if (bytes.length === 0) break
        if (bytes.length === block) records.whole++
        else records.partial++
        records.size += bytes.length
        yield* write(bytes)
      }
    })
  const copyTo = (write: (bytes: Uint8Array) => Effect.Effect<void, PlatformError>) =>
    calls.withReader(call, settings.get("if") ?? "-", copy(write))
  return Effect.gen(function* () {
    const started = yield* Clock.currentTimeMillis
    const copied = yield* Effect.result(
      target === undefined
        ? copyTo((bytes) => calls.out(call, bytes))
        : withTarget(call, target, settings.get("conv") ?? "", (file) => copyTo((bytes) => file.write(bytes)))
    )
    if (settings.get("status") !== "none") {
      const seconds = ((yield* Clock.currentTimeMillis) - started) / 1000
      const { partial, size, whole } = records
      const counts = `${whole}+${partial} records in\n${whole}+${partial} records out\n`
      yield* call.process.write(2, `${counts}${size} bytes copied, ${seconds} s\n`)
    }
    return copied._tag === "Success" ? 0 : yield* copied.failure
  })
})

/** Opens the file that `dd` writes, from the start, and without emptying it when that is asked for. */
const withTarget = (
  call: calls.Call,
  path: string,
  conversions: string,
  use: (file: files.OpenFile) => Effect.Effect<void, PlatformError>
): Effect.Effect<void, PlatformError> => {
  if (!conversions.split(",").includes("notrunc")) return calls.withWriter(call, path, "w", use)
  return Effect.andThen(calls.create(call, path, "a"), calls.withWriter(call, path, "r+", use))
}

const cmp = calls.withOptions("cmp", "s", (call, { flags, operands }) =>
  Effect.gen(function* () {
    const [left = "-", right = "-"] = operands
    const all = (name: string) =>
      calls.withReader(call, name, (reader) =>
        Effect.gen(function* () {
          const parts: Array<Uint8Array> = []
          yield* calls.forEachChunk(reader, (bytes) => Effect.sync(() => void parts.push(bytes)))
          return text.concat(parts)
        })
      )
    const one = yield* all(left)
    const other = yield* all(right)
    const at = one.findIndex((byte, index) => byte !== other[index])
    if (at < 0 && one.length === other.length) return 0
    if (flags.has("s")) return 1
    if (at < 0 || at >= other.length) {
      yield* call.process.write(2, `cmp: EOF on ${one.length < other.length ? left : right}\n`)
    } else {
      const line = one.subarray(0, at).filter((byte) => byte === newline).length + 1
      yield* calls.out(call, `${left} ${right} differ: byte ${at + 1}, line ${line}\n`)
    }
    return 1
  })
)

export const streamPrograms: ReadonlyArray<calls.Program> = [cat, cmp, dd, head, tail, tee, wc, yes]
