/** The thread that makes lines of notes while the program does something else. */
import { Buffer } from "node:buffer"
import { parentPort } from "node:worker_threads"
import { linesOf, type Notes } from "./noteLines.ts"

export interface Request {
  readonly notes: Notes
  /** Where the lines may be put; when they don't fit, there is new memory in the reply. */
  readonly memory: SharedArrayBuffer
}

export interface Reply {
  readonly memory: SharedArrayBuffer
  readonly length: number
}

/** The most bytes that a UTF-16 unit becomes. */
const bytesPerUnit = 3

const make = ({ memory, notes }: Request): Reply => {
  const lines = linesOf(notes)
  const fits = lines.length * bytesPerUnit <= memory.byteLength || Buffer.byteLength(lines) <= memory.byteLength
  const target = fits ? memory : new SharedArrayBuffer(Buffer.byteLength(lines) * 2)
  return { memory: target, length: Buffer.from(target).write(lines) }
}

// Only the thread has a port; whoever imports the types has none.
if (parentPort !== null) {
  const port = parentPort
  port.on("message", (request: Request) => port.postMessage(make(request)))
}
