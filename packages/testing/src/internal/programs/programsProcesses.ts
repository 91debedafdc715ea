/** Built-in programs that have to do with processes: those that start others, end them, list them, or wait. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Environment, Process } from "../processes/process.ts"
import * as errno from "../processes/processErrno.ts"
import * as signals from "../processes/processSignal.ts"
import * as calls from "./programsCall.ts"

const units: { readonly [unit: string]: number } = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `5`, `0.5`, `2m`, `infinity`: in milliseconds. */
const millisOf = (given: string): number | undefined => {
  if (/^inf(inity)?$/i.test(given)) return Infinity
  const match = /^(\d+\.?\d*|\.\d+)([smhd]?)$/.exec(given)
  return match === null ? undefined : Number(match[1]) * (units[match[2] === "" ? "s" : (match[2] ?? "s")] ?? 1000)
}

const sleepFor = (millis: number): Effect.Effect<void> => (millis === Infinity ? Effect.never : Effect.sleep(millis))

const sleep = calls.program("sleep", (call) => {
  const times = call.args.map(millisOf)
  const wrong = times.indexOf(undefined)
  if (times.length === 0) return calls.complain(call, "missing operand")
  if (wrong >= 0) return calls.complain(call, `invalid time interval '${call.args[wrong]}'`)
  return Effect.as(sleepFor(times.reduce<number>((sum, time) => sum + (time ?? 0), 0)), 0)
})

/** Becomes another command; what cannot be run is complained about as `env` does. */
const become = (call: calls.Call, argv: ReadonlyArray<string>, environment: Environment = call.process.environment) => {
  const [command = "", ...args] = argv
  const { process } = call
  return process.kernel.executables
    .find([command, ...args], { cwd: process.cwd, environment, files: process.files })
    .pipe(
      Effect.matchEffect({
        onFailure: (error) =>
          calls.complain(call, `'${command}': ${errno.text(error)}`, errno.codeOf(error) === "ENOENT" ? 127 : 126),
        onSuccess: (program) => process.exec(program, environment)
      })
    )
}

const assignment = /^([^=]+)=(.*)$/s

const listed = (environment: Environment): string =>
  Object.entries(environment)
    .map(([name, value]) => `${name}=${value}\n`)
    .join("")

const env = calls.program("env", (call) => {
  let environment: { [name: string]: string } = { ...call.process.environment }
  let i = 0
  for (; i < call.args.length; i++) {
    const arg = call.args[i] ?? ""
    if (arg === "-i" || arg === "-" || arg === "--ignore-environment") environment = {}
    else if (arg === "-u") delete environment[call.args[++i] ?? ""]
    else if (arg.startsWith("-u")) delete environment[arg.slice(2)]
    else break
  }
  for (; i < call.args.length; i++) {
    const [whole, name, value] = assignment.exec(call.args[i] ?? "") ?? []
    if (whole === undefined || name === undefined || value === undefined) break
    environment[name] = value
  }
  const argv = call.args.slice(i)
  if (argv[0]?.startsWith("-") === true) return calls.complain(call, `invalid option -- '${argv[0].slice(1)}'`, 125)
  return argv.length === 0 ? Effect.as(calls.out(call, listed(environment)), 0) : become(call, argv, environment)
})

const printenv = calls.program("printenv", (call) =>
  Effect.gen(function* () {
    const { environment } = call.process
    if (call.args.length === 0) yield* calls.out(call, listed(environment))
    let code = 0
    for (const name of call.args) {
      if (Object.hasOwn(environment, name)) yield* calls.out(call, `${environment[name]}\n`)
      else code = 1
    }
    return code
  })
)

const nohup = calls.program("nohup", (call) => {
  if (call.args.length === 0) return calls.complain(call, "missing operand", 125)
  call.process.dispositions.set("SIGHUP", "ignore")
  return become(call, call.args)
})

const setsid = calls.program("setsid", (call) =>
  Effect.gen(function* () {
    const { process } = call
    const argv = call.args.filter((arg, index) => !(index === 0 && /^(?:-[fwc]|--fork|--wait|--ctty)$/.test(arg)))
    if (argv.length === 0) return yield* calls.complain(call, "no command specified")
    if (process.newSession()) return yield* become(call, argv)
    // A group's leader cannot leave it, but its child can.
    const child = yield* process.fork({
      body: (child) => {
        child.newSession()
        return become({ ...call, process: child }, argv)
      }
    })
    if (call.args[0] !== "-w" && call.args[0] !== "--wait") return 0
    const status = yield* process.wait(child)
    return status._tag === "Exited" ? status.code : 128 + signals.numberOf(status.signal)
  })
)

const timeout = calls.withOptions(
  "timeout",
  "s:k:",
  (call, { operands, values }) =>
    Effect.gen(function* () {
      const { process } = call
      const [duration = "", ...argv] = operands
      const limit = millisOf(duration)
      const grace = values.has("k") ? millisOf(values.get("k") ?? "") : undefined
      const signal = signals.parse(values.get("s") ?? "TERM")
      if (limit === undefined) return yield* calls.complain(call, `invalid time interval '${duration}'`, 125)
      if (argv.length === 0) return yield* calls.complain(call, "missing operand", 125)
      if (signal === undefined) return yield* calls.complain(call, `${values.get("s")}: invalid signal`, 125)
      const child = yield* process.fork({ body: (child) => become({ ...call, process: child }, argv) })
      const ended = process.wait(child)
      const inTime = yield* limit === 0 || limit === Infinity
        ? Effect.asSome(ended)
        : Effect.timeoutOption(ended, limit)
      if (inTime._tag === "Some") {
        const status = inTime.value
        return status._tag === "Exited" ? status.code : 128 + signals.numberOf(status.signal)
      }
      yield* child.deliver(signal)
      if (grace !== undefined && Option.isNone(yield* Effect.timeoutOption(ended, grace)))
        yield* child.deliver("SIGKILL")
      const status = yield* ended
      return status._tag === "Signalled" && status.signal === "SIGKILL" ? 137 : 124
    }),
  { stopAtOperand: true, usage: 125, longs: { signal: "s", "kill-after": "k" } }
)

const kill = calls.program("kill", (call) =>
  Effect.gen(function* () {
    const parsed = parseKill(call.args)
    if ("listing" in parsed) {
      yield* calls.out(call, parsed.listing)
      return 0
    }
    if ("error" in parsed) return yield* calls.complain(call, parsed.error)
    let code = 0
    for (const pid of parsed.pids) {
      const sent = yield* Effect.result(call.process.kernel.kill(call.process, pid, parsed.signal))
      if (sent._tag === "Failure") code = yield* calls.complain(call, `(${pid}) - ${errno.text(sent.failure)}`)
    }
    return code
  })
)

/** The signal and the processes that `kill` is asked for; the signal 0 is none. */
export const parseKill = (
  args: ReadonlyArray<string>
):
  | { readonly signal: signals.Signal | undefined; readonly pids: ReadonlyArray<number> }
  | { readonly listing: string }
  | { readonly error: string } => {
  let rest = args
  let name = "TERM"
  const [first = ""] = args
  if (first === "-l") {
    const [, given] = args
    if (given === undefined) return { listing: `${signals.names.join("\n")}\n` }
    const number = Number(given) > 128 ? Number(given) - 128 : given
    const signal = signals.parse(String(number))
    return signal === undefined
      ? { error: `invalid signal number or exit status: ${given}` }
      : { listing: `${signal.slice(3)}\n` }
  }
  if (first === "-s" || first === "-n") {
    name = args[1] ?? ""
    rest = args.slice(2)
  } else if (first.startsWith("-") && first !== "--" && first.length > 1) {
    name = first.slice(1)
    rest = args.slice(1)
  }
  if (rest[0] === "--") rest = rest.slice(1)
  const signal = signals.parse(name)
  if (signal === undefined && name !== "0") {
    return { error: first === "-s" ? `invalid signal number or name: ${name}` : `Illegal option -${name.slice(0, 1)}` }
  }
  if (rest.length === 0) {
    return { error: "Usage: kill [-s sigspec | -signum | -sigspec] [pid | job]... or\nkill -l [exitstatus]" }
  }
  const wrong = rest.find((pid) => !/^-?\d+$/.test(pid))
  return wrong === undefined ? { signal, pids: rest.map(Number) } : { error: `Illegal number: ${wrong}` }
}

const stateLetter = ({ state }: Process): string => (state === "running" ? "S" : state === "stopped" ? "T" : "Z")

const columns: { readonly [name: string]: readonly [heading: string, of: (process: Process) => string] } = {
  pid: ["PID", ({ pid }) => String(pid)],
  ppid: ["PPID", ({ parent }) => String(parent?.pid ?? 1)],
  pgid: ["PGID", ({ pgid }) => String(pgid)],
  sid: ["SID", ({ sid }) => String(sid)],
  state: ["S", stateLetter],
  stat: ["STAT", stateLetter],
  comm: ["COMMAND", ({ name, state }) => `${name.replace(/^.*\//, "")}${state === "zombie" ? " <defunct>" : ""}`],
  args: ["COMMAND", ({ argv }) => argv.join(" ")]
}

const ps = calls.program("ps", (call) =>
  Effect.gen(function* () {
    const { args, process } = call
    const format = args.findIndex((arg) => arg.startsWith("-o"))
    const given =
      format < 0
        ? "pid,ppid,state,comm"
        : args[format] === "-o"
          ? (args[format + 1] ?? "")
          : (args[format] ?? "").slice(2)
    const fields = given.split(",").map((field) => {
      const [name = "", heading] = field.split("=")
      return { name: name === "s" ? "state" : name === "cmd" || name === "command" ? "args" : name, heading }
    })
    const unknown = fields.find(({ name }) => columns[name] === undefined)
    if (unknown !== undefined)
      return yield* calls.complain(call, `error: unknown user-defined format specifier "${unknown.name}"`)
    const wanted = args.indexOf("-p")
    const pids = wanted < 0 ? undefined : new Set((args[wanted + 1] ?? "").split(",").map(Number))
    const shown = [...process.kernel.processes.values()].filter(({ pid }) => pids === undefined || pids.has(pid))
    const rows = shown.map((each) => fields.map(({ name }) => columns[name]?.[1](each) ?? ""))
    const headings = fields.map(({ heading, name }) => heading ?? columns[name]?.[0] ?? "")
    const all = headings.every((heading) => heading === "") ? rows : [headings, ...rows]
    const widths = headings.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
    const line = (row: ReadonlyArray<string>) =>
      row.map((cell, column) => (column === row.length - 1 ? cell : cell.padStart(widths[column] ?? 0))).join(" ")
    yield* calls.out(call, all.map((row) => `${line(row)}\n`).join(""))
    return shown.length === 0 ? 1 : 0
  })
)

export const processPrograms: ReadonlyArray<calls.Program> = [env, kill, nohup, printenv, ps, setsid, sleep, timeout]
