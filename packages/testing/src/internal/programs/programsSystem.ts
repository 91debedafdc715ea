/** Built-in programs that print something or say something about the system. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import type { Process } from "../processes/process.ts"
import * as calls from "./programsCall.ts"
import * as printing from "../shell/shellPrintf.ts"
import * as expressions from "../shell/shellTest.ts"

const printed = (name: string, print: (call: calls.Call) => string): calls.Program =>
  calls.silent(name, (call) => calls.out(call, print(call)))

const echo = printed("echo", ({ args }) => printing.echoProgram(args))

const printf = calls.program("printf", (call) =>
  Effect.gen(function* () {
    const [format, ...args] = call.args
    if (format === undefined) return yield* calls.complain(call, "missing operand")
    const { complaints, text } = printing.printf(format, args)
    yield* calls.out(call, text)
    for (const complaint of complaints) yield* calls.complain(call, complaint)
    return complaints.length === 0 ? 0 : 1
  })
)

const test = (name: string): calls.Program =>
  calls.program(name, (call) => {
    const isBracket = name === "["
    if (isBracket && call.args.at(-1) !== "]") return calls.complain(call, "missing ']'", 2)
    return Effect.match(expressions.evaluate(call.process, isBracket ? call.args.slice(0, -1) : call.args), {
      onFailure: ({ message }) => calls.complain(call, message, 2),
      onSuccess: (holds) => Effect.succeed(holds ? 0 : 1)
    }).pipe(Effect.flatten)
  })

const which = calls.program("which", (call) =>
  Effect.gen(function* () {
    const { process } = call
    let code = 0
    for (const name of call.args.filter((arg) => arg !== "-a")) {
      const path = yield* Effect.option(process.kernel.executables.locate(name, { ...process, files: process.files }))
      if (Option.isSome(path)) yield* calls.out(call, `${path.value}\n`)
      else code = 1
    }
    return code
  })
)

/** Who a process is: whom its working directory belongs to. */
const identity = (process: Process): Effect.Effect<{ readonly uid: number; readonly gid: number }> =>
  Effect.match(process.files.stat(process.environment["HOME"] ?? "."), {
    onFailure: () => ({ uid: 1000, gid: 1000 }),
    onSuccess: ({ gid, uid }) => ({ uid: Option.getOrElse(uid, () => 1000), gid: Option.getOrElse(gid, () => 1000) })
  })

const userName = (uid: number): string => (uid === 0 ? "root" : "user")

const id = calls.withOptions("id", "ugnrG", (call, { flags }) =>
  Effect.gen(function* () {
    const { gid, uid } = yield* identity(call.process)
    const number = flags.has("g") || flags.has("G") ? gid : uid
    const name = userName(number)
    const all = `uid=${uid}(${userName(uid)}) gid=${gid}(${userName(gid)}) groups=${gid}(${userName(gid)})`
    const isSingle = flags.has("u") || flags.has("g") || flags.has("G")
    yield* calls.out(call, `${isSingle ? (flags.has("n") ? name : number) : all}\n`)
    return 0
  })
)

const whoami = calls.silent("whoami", (call) =>
  Effect.flatMap(identity(call.process), ({ uid }) => calls.out(call, `${userName(uid)}\n`))
)

const pwd = calls.silent("pwd", (call) => {
  const { cwd, environment, files } = call.process
  const real = Effect.orElseSucceed(files.realPath("."), () => cwd)
  return Effect.flatMap(call.args.includes("-L") ? Effect.succeed(environment["PWD"] ?? cwd) : real, (path) =>
    calls.out(call, `${path}\n`)
  )
})

const days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

const dated = (format: string, millis: number): string => {
  const parts = DateTime.toPartsUtc(DateTime.makeUnsafe(millis))
  const two = (number: number) => String(number).padStart(2, "0")
  const fields: { readonly [letter: string]: () => string } = {
    "%": () => "%",
    a: () => days[parts.weekDay] ?? "",
    b: () => months[parts.month - 1] ?? "",
    d: () => two(parts.day),
    e: () => String(parts.day).padStart(2),
    F: () => dated("%Y-%m-%d", millis),
    H: () => two(parts.hour),
    m: () => two(parts.month),
    M: () => two(parts.minute),
    n: () => "\n",
    N: () => String(Math.floor((millis % 1000) * 1_000_000)).padStart(9, "0"),
    s: () => String(Math.floor(millis / 1000)),
    S: () => two(parts.second),
    T: () => dated("%H:%M:%S", millis),
    Y: () => String(parts.year),
    Z: () => "UTC"
  }
  return format.replace(/%(.)/g, (whole, letter: string) => fields[letter]?.() ?? whole)
}

const date = calls.silent("date", (call) =>
  Effect.flatMap(Clock.currentTimeMillis, (millis) => {
    const format = call.args.find((arg) => arg.startsWith("+"))?.slice(1)
    return calls.out(call, `${dated(format ?? "%a %b %e %H:%M:%S %Z %Y", millis)}\n`)
  })
)

const system: { readonly [letter: string]: string } = {
  s: "Linux",
  n: "sandbox",
  r: "6.1.0",
  v: "#1 SMP",
  m: "x86_64",
  o: "GNU/Linux"
}

const uname = calls.withOptions("uname", "asnrvmo", (call, { flags }) => {
  const wanted = flags.has("a")
    ? Object.keys(system)
    : flags.size === 0
      ? ["s"]
      : Object.keys(system).filter((letter) => flags.has(letter))
  return Effect.as(calls.out(call, `${wanted.map((letter) => system[letter]).join(" ")}\n`), 0)
})

const nothing = (name: string, code: number): calls.Program =>
  calls.program(name, (): Effect.Effect<number, PlatformError> => Effect.succeed(code))

export const systemPrograms: ReadonlyArray<calls.Program> = [
  date,
  echo,
  nothing("false", 1),
  printed("hostname", () => "sandbox\n"),
  id,
  printed("nproc", () => "1\n"),
  printf,
  pwd,
  nothing("sync", 0),
  test("test"),
  test("["),
  nothing("true", 0),
  uname,
  which,
  whoami
]
