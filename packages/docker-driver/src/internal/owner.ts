/**
 * Who made a thing on an engine: this process, told from every other that ever was (F9). A process id is used again, its
 * start time and the machine's boot are not.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import { randomBytes } from "node:crypto"

/** `random/boot/pid/start`; the last three are empty where there is no `/proc`. */
export type Owner = string

/** The time since boot at which a process started, in the kernel's ticks; empty when there is none. */
const startOf = (files: FileSystem.FileSystem, pid: number | string) =>
  files.readFileString(`/proc/${pid}/stat`).pipe(
    // The second field is the program's name in parentheses, which may hold anything.
    Effect.map((text) => text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? ""),
    Effect.orElseSucceed(() => "")
  )

/** The machine's boot and the namespace of process ids: in another one, as in a container, a number is another process. */
const bootOf = (files: FileSystem.FileSystem) =>
  Effect.all([files.readFileString("/proc/sys/kernel/random/boot_id"), files.readLink("/proc/self/ns/pid")]).pipe(
    Effect.map(([boot, namespace]) => `${boot.trim()}+${namespace.replaceAll(/\D/g, "")}`),
    Effect.orElseSucceed(() => "")
  )

/** This process. */
export const current = Effect.fnUntraced(function* (files: FileSystem.FileSystem, pid: number) {
  // Not `Random`, with which two processes of the same seed would take the same names.
  const random = randomBytes(4).toString("hex")
  const start = yield* startOf(files, pid)
  const boot = start === "" ? "" : yield* bootOf(files)
  return `${random}/${boot}/${boot === "" ? "" : pid}/${boot === "" ? "" : start}`
})

/** Whether the process of an owner has ended for certain: it ran on this machine, in this boot, and is not there. */
export const isGone = Effect.fnUntraced(function* (files: FileSystem.FileSystem, owner: Owner) {
  const [, boot = "", pid = "", start = ""] = owner.split("/")
  if (boot === "" || pid === "" || boot !== (yield* bootOf(files))) return false
  // Without a `/proc` of our own nothing could be told from "not there".
  if ((yield* startOf(files, "self")) === "") return false
  return (yield* startOf(files, pid)) !== start
})
