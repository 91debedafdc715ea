/** What those have in common that run a part of their work in a thread. */
import type { Worker } from "node:worker_threads"

/** The file of a thread that is beside this one: source in development, and compiled in the package. */
export const fileOf = (name: string): URL =>
  new URL(`./${name}.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url)

export const post = <Message>(worker: Worker, message: Message): void => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  worker.postMessage(message)
}
