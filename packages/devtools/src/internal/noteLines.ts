/** Lines of JSON from notes. Also runs in a thread that has little else to load. */
import { Buffer } from "node:buffer"

/** Events as numbers, in memory that a thread can read where it is. */
export interface Notes {
  /** How many events these are. */
  readonly count: number
  /** The time from which theirs are counted. */
  readonly since: number
  /** For each event its kind and what that has, see `kinds`. */
  readonly numbers: Int32Array<SharedArrayBuffer>
  /** How many numbers there are. */
  readonly end: number
  /** The texts, which numbers refer to by where they begin: their length, and one byte or two for each of their units. */
  readonly texts: Uint8Array<SharedArrayBuffer>
}

/**
 * What stands in the numbers after the kind: where the texts of subject and session are, the time, and then two that are
 * told here. But for that of a session, texts are parts of the line already.
 */
export const kinds = {
  /** Nothing but where the whole line is. */
  whole: 0,
  /** The time spent; where the move is. */
  statusChanged: 1,
  /** How long the caller waited; the duration. */
  sessionStarted: 2,
  /** The lifetime; the duration. */
  sessionEnded: 3,
  /** The duration; where the name is. */
  activity: 4
}

/** Where there is no text: no session. */
export const noText = 0

/** What stands before a text: twice its length, and one more when its units have two bytes. */
export const textHeader = 4

/** One line for each event, with its end. */
export const linesOf = ({ end, numbers, since, texts }: Notes): string => {
  const bytes = Buffer.from(texts.buffer)
  const read = (place: number) => {
    const header = bytes.readUInt32LE(place)
    const start = place + textHeader
    const length = header >>> 1
    return (header & 1) === 0
      ? bytes.toString("latin1", start, start + length)
      : bytes.toString("utf16le", start, start + 2 * length)
  }
  const known = new Map<number, string>()
  const part = (place: number): string => {
    let text = known.get(place)
    if (text === undefined) {
      text = read(place)
      known.set(place, text)
    }
    return text
  }
  const sessions = new Map<number, string>([[noText, ""]])
  const session = (place: number): string => {
    let text = sessions.get(place)
    if (text === undefined) {
      text = `,"sessionId":${JSON.stringify(read(place))}`
      sessions.set(place, text)
    }
    return text
  }
  let at = 0
  const number = (): number => numbers[at++] ?? 0
  let lines = ""
  while (at < end) {
    const kind = number()
    if (kind === kinds.whole) {
      lines += `${read(number())}\n`
      continue
    }
    const subject = `${part(number())}${session(number())},"timestamp":${since + number()}`
    const first = number()
    const second = number()
    switch (kind) {
      case kinds.statusChanged:
        lines += `{"_tag":"SandboxStatusChanged"${subject},${part(second)},"spentMillis":${first}}\n`
        break
      case kinds.sessionStarted:
        lines += `{"_tag":"SessionStarted"${subject},"waitedMillis":${first},"durationMillis":${second}}\n`
        break
      case kinds.sessionEnded:
        lines += `{"_tag":"SessionEnded"${subject},"lifetimeMillis":${first},"durationMillis":${second}}\n`
        break
      case kinds.activity:
        lines += `{"_tag":"SandboxActivity"${subject},"durationMillis":${first},"name":${part(second)}}\n`
        break
    }
  }
  return lines
}
