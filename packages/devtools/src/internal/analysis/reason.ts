/**
 * Why sandboxes end, for tables: reasons are sentences, of which some hold the message of an error and so are different
 * for every sandbox.
 */

/** Reasons that begin like this are of one kind, whatever comes after it. */
const prefixes = ["session set-up failed", "set-up failed"]

/** How `EnvironmentClosedError` says that the environment goes; also what a set-up fails with that it cuts short. */
const closed = /hands out no sessions: it is (\w+)$/

export const categoryOf = (reason: string, sandboxId: string): string => {
  const status = closed.exec(reason)?.[1]
  if (status !== undefined) return status === "Draining" ? "the environment is drained" : "the environment shuts down"
  const prefix = prefixes.find((one) => reason.startsWith(`${one}:`))
  if (prefix !== undefined) return prefix
  // The message of a state error names the sandbox that it condemns.
  return reason.includes(sandboxId) ? "broken" : reason.slice(0, 80)
}
