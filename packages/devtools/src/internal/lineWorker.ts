/** The thread that makes lines of notes while the program does something else. */
import { parentPort } from "node:worker_threads"
import { linesOf, type Notes } from "./noteLines.ts"

// Only the thread has a port; whoever imports the types has none.
if (parentPort !== null) {
  const port = parentPort
  const encoder = new TextEncoder()
  port.on("message", (notes: Notes) => {
    const lines = encoder.encode(linesOf(notes))
    port.postMessage(lines, [lines.buffer])
  })
}
