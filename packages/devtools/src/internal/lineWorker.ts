/** The thread that makes lines of notes, and writes them, while the program does something else. */
import { Buffer } from "node:buffer"
import { writeSync } from "node:fs"
import { parentPort } from "node:worker_threads"
import { type Notes, textsOf } from "./noteLines.ts"

/** Where in an open file lines are to be written. */
export interface Target {
  readonly descriptor: number
  readonly position: number
  /** How many bytes there may be at most. */
  readonly room: number
}

export interface Request {
  readonly notes: Notes
  /** Where the lines may be put; when they don't fit, there is new memory in the reply. */
  readonly memory: SharedArrayBuffer
  readonly target: Target | undefined
}

export interface Reply {
  readonly memory: SharedArrayBuffer
  readonly length: number
  /** Whether all lines are in the file. */
  readonly isWritten: boolean
}

/** The most bytes that a UTF-16 unit becomes. */
const bytesPerUnit = 3

const make = ({ memory, notes, target }: Request): Reply => {
  let made = memory
  let bytes = Buffer.from(made)
  let length = 0
  for (const text of textsOf(notes)) {
    const needed = length + text.length * bytesPerUnit
    if (needed > bytes.length) {
      made = new SharedArrayBuffer(2 * needed)
      const before = bytes
      bytes = Buffer.from(made)
      before.copy(bytes, 0, 0, length)
    }
    length += bytes.write(text, length)
  }
  return { memory: made, length, isWritten: target !== undefined && write(target, bytes.subarray(0, length)) }
}

/** Whether it could. Whoever asked tries again when not, and learns why. */
const write = ({ descriptor, position, room }: Target, bytes: Uint8Array): boolean => {
  if (bytes.length > room) return false
  try {
    let written = 0
    while (written < bytes.length) {
      const count = writeSync(descriptor, bytes, written, bytes.length - written, position + written)
      if (count === 0) return false
      written += count
    }
    return true
  } catch {
    return false
  }
}

// Only the thread has a port; whoever imports the types has none.
if (parentPort !== null) {
  const port = parentPort
  port.on("message", (request: Request) => port.postMessage(make(request)))
}
