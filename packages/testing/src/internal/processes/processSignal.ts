/** Signals, as Linux numbers them, and what they do to a process that does not care. */
import type * as ChildProcess from "effect/process/ChildProcess"

export type Signal = ChildProcess.Signal

const numbers = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGSTKFLT: 16,
  SIGCHLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGVTALRM: 26,
  SIGPROF: 27,
  SIGWINCH: 28,
  SIGIO: 29,
  SIGPWR: 30,
  SIGSYS: 31
} as const satisfies { readonly [signal in Signal]?: number }

type Known = keyof typeof numbers

const isKnown = (name: string): name is Known => Object.hasOwn(numbers, name)

const byNumber: ReadonlyMap<number, Known> = new Map(
  Object.keys(numbers).flatMap((name) => (isKnown(name) ? [[numbers[name], name] as const] : []))
)

/** 0 for signals that Linux does not have. */
export const numberOf = (signal: Signal): number => (isKnown(signal) ? numbers[signal] : 0)

/** The signal of a number, or of a name with or without `SIG`. */
export const parse = (text: string): Signal | undefined => {
  if (/^\d+$/.test(text)) return byNumber.get(Number(text))
  const name = text.toUpperCase()
  const full = name.startsWith("SIG") ? name : `SIG${name}`
  return isKnown(full) ? full : undefined
}

/** Names without `SIG`, by number. */
export const names: ReadonlyArray<string> = Object.keys(numbers).map((name) => name.slice(3))

const descriptions: { readonly [signal in Signal]?: string } = {
  SIGHUP: "Hangup",
  SIGQUIT: "Quit",
  SIGILL: "Illegal instruction",
  SIGTRAP: "Trace/breakpoint trap",
  SIGABRT: "Aborted",
  SIGBUS: "Bus error",
  SIGFPE: "Floating point exception",
  SIGKILL: "Killed",
  SIGUSR1: "User defined signal 1",
  SIGSEGV: "Segmentation fault",
  SIGUSR2: "User defined signal 2",
  SIGALRM: "Alarm clock",
  SIGTERM: "Terminated",
  SIGSTKFLT: "Stack fault",
  SIGXCPU: "CPU time limit exceeded",
  SIGXFSZ: "File size limit exceeded",
  SIGVTALRM: "Virtual timer expired",
  SIGPROF: "Profiling timer expired",
  SIGIO: "I/O possible",
  SIGPWR: "Power failure",
  SIGSYS: "Bad system call"
}

/** What shells print when a signal ends a command; nothing for those that are no news. */
export const description = (signal: Signal): string | undefined => descriptions[signal]

/** What happens to a process that neither handles nor ignores a signal. */
export const defaultAction = (signal: Signal): "terminate" | "ignore" | "stop" | "continue" => {
  switch (signal) {
    case "SIGCHLD":
    case "SIGURG":
    case "SIGWINCH":
      return "ignore"
    case "SIGSTOP":
    case "SIGTSTP":
    case "SIGTTIN":
    case "SIGTTOU":
      return "stop"
    case "SIGCONT":
      return "continue"
    default:
      return "terminate"
  }
}
