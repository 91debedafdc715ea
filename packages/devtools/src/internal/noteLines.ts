/** Lines of JSON from notes. Also runs in a thread that has little else to load. */
import { Buffer } from "node:buffer"

/** Events as numbers, in memory that a thread can read where it is. */
export interface Notes {
  /** How many events these are. */
  readonly count: number
  /** For each event its kind and what that has, see `kinds`. */
  readonly numbers: Float64Array<SharedArrayBuffer>
  /** How many numbers there are. */
  readonly end: number
  /** The texts, which numbers refer to by where they begin: their length, and one byte or two for each of their units. */
  readonly texts: DataView<SharedArrayBuffer>
}

/**
 * What stands in the numbers after the kind: where the texts of subject and session are, the timestamp, and then what is
 * said here. The text of a subject is a part of the line already.
 */
export const kinds = {
  /** Only where the whole line is. */
  whole: 0,
  /** Where both statuses are; the time spent. */
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
export const linesOf = ({ end, numbers, texts }: Notes): string => {
  const bytes = Buffer.from(texts.buffer)
  const textAt = (place: number) => {
    const header = texts.getUint32(place, true)
    const start = place + textHeader
    const length = header >>> 1
    return (header & 1) === 0
      ? bytes.toString("latin1", start, start + length)
      : bytes.toString("utf16le", start, start + 2 * length)
  }
  const known = new Map<number, string>()
  /** What is made of the text that the next number refers to. */
  const part = (make: (text: string) => string) => {
    const place = number()
    let made = known.get(place)
    if (made === undefined) {
      made = place === noText ? "" : make(textAt(place))
      known.set(place, made)
    }
    return made
  }
  let at = 0
  const number = () => numbers[at++] ?? 0
  let lines = ""
  while (at < end) {
    switch (number()) {
      case kinds.whole:
        lines += `${textAt(number())}\n`
        break
      case kinds.statusChanged: {
        const begin = `{"_tag":"SandboxStatusChanged"${part(asIs)}${part(asSession)},"timestamp":${number()}`
        lines += `${begin},"from":${part(asJson)},"to":${part(asJson)},"spentMillis":${number()}}\n`
        break
      }
      case kinds.sessionStarted: {
        const begin = `{"_tag":"SessionStarted"${part(asIs)}${part(asSession)},"timestamp":${number()}`
        lines += `${begin},"waitedMillis":${number()},"durationMillis":${number()}}\n`
        break
      }
      case kinds.sessionEnded: {
        const begin = `{"_tag":"SessionEnded"${part(asIs)}${part(asSession)},"timestamp":${number()}`
        lines += `${begin},"lifetimeMillis":${number()},"durationMillis":${number()}}\n`
        break
      }
      case kinds.activity: {
        const begin = `{"_tag":"SandboxActivity"${part(asIs)}${part(asSession)},"timestamp":${number()}`
        lines += `${begin},"durationMillis":${number()},"name":${part(asJson)}}\n`
        break
      }
    }
  }
  return lines
}

const asIs = (text: string): string => text
const asJson = (text: string): string => JSON.stringify(text)
const asSession = (text: string): string => `,"sessionId":${JSON.stringify(text)}`
