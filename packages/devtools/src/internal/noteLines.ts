/** Lines of JSON from notes. Also runs in a thread that has little else to load. */
import { Buffer } from "node:buffer"

/** Events as numbers, in memory that a thread can read where it is. */
export interface Notes {
  /** How many events these are. */
  readonly count: number
  /** The time from which theirs are counted. */
  readonly since: number
  /** For each event what it is and tells, see `kinds`. */
  readonly numbers: Int32Array<SharedArrayBuffer>
  /** How many numbers there are. */
  readonly end: number
  /** The texts, which numbers refer to by where they begin: their length, and one byte or two for each of their units. */
  readonly texts: Uint8Array<SharedArrayBuffer>
}

/**
 * A first number says what kind of event it is (the lowest three bits), which numbers follow (`follows`), and the last of
 * what the event tells (the upper bits). As most events have the sandbox, the session and the time of the one before, one
 * number is mostly all there is.
 */
export const kinds = {
  /** The whole line; its place. */
  whole: 0,
  /** The time spent; the place of the move. */
  statusChanged: 1,
  /** How long the caller waited; the duration. */
  sessionStarted: 2,
  /** The lifetime; the duration. */
  sessionEnded: 3,
  /** The duration; the place of the name. */
  activity: 4
}

export const kindBits = 0b111

/**
 * What follows, in this order. Texts are told by their place; but for that of a session they are parts of the line
 * already.
 */
export const follows = {
  /** The text of the sandbox: not the one before. */
  subject: 1 << 3,
  /** A session: not the one before. */
  session: 1 << 4,
  /** The time: not the one before. */
  time: 1 << 5,
  /** The first of the two that the event tells: not nothing. */
  first: 1 << 6
}

/** There is a session. */
export const hasSession = 1 << 7

/** The last of what the event tells is in the bits from here on; when all of them are set it follows, last. */
export const lastShift = 8

/** All of those bits. */
export const lastFollows = 0xff_ffff

/** By kind. */
const tags = ["", "SandboxStatusChanged", "SessionStarted", "SessionEnded", "SandboxActivity"]

/** Where there is no text. */
export const noText = 0

/** What stands before a text: twice its length, and one more when its units have two bytes. */
export const textHeader = 4

/** How long texts of several lines are: long ones cost more to put together than several of these. */
const textLength = 32 * 1024

/** What lines end with after the session, and what that was made of. */
interface Ending {
  readonly time: number
  readonly first: number
  readonly second: number
  readonly text: string
}

/** Makes the parts of lines, each once for as many lines as have it. */
class Parts {
  private readonly bytes: Buffer
  private readonly since: number
  private readonly texts = new Map<number, string>()
  private readonly beginnings = new Map<number, string>()
  private lastSession = noText
  private lastSessionText = ""
  /** The last ending of each kind and text: sessions that follow each other within a millisecond end their lines alike. */
  private readonly endings = new Map<number, Ending>()

  constructor({ since, texts }: Notes) {
    this.bytes = Buffer.from(texts.buffer)
    this.since = since
  }

  read(place: number): string {
    const header = this.bytes.readUInt32LE(place)
    const start = place + textHeader
    const length = header >>> 1
    return (header & 1) === 0
      ? this.bytes.toString("latin1", start, start + length)
      : this.bytes.toString("utf16le", start, start + 2 * length)
  }

  beginning(kind: number, subject: number): string {
    const key = subject * tags.length + kind
    let text = this.beginnings.get(key)
    if (text === undefined) {
      text = `{"_tag":"${tags[kind]}"${this.text(subject)}`
      this.beginnings.set(key, text)
    }
    return text
  }

  session(place: number): string {
    if (place !== this.lastSession) {
      this.lastSession = place
      this.lastSessionText = `,"sessionId":${JSON.stringify(this.read(place))}`
    }
    return this.lastSessionText
  }

  ending(kind: number, time: number, first: number, second: number): string {
    const key = kind === kinds.statusChanged || kind === kinds.activity ? second : -kind
    const known = this.endings.get(key)
    if (known !== undefined && known.time === time && known.first === first && known.second === second) {
      return known.text
    }
    const text = `,"timestamp":${this.since + time},${this.facts(kind, first, second)}}\n`
    this.endings.set(key, { time, first, second, text })
    return text
  }

  private facts(kind: number, first: number, second: number): string {
    switch (kind) {
      case kinds.statusChanged:
        return `${this.text(second)},"spentMillis":${first}`
      case kinds.sessionStarted:
        return `"waitedMillis":${first},"durationMillis":${second}`
      case kinds.sessionEnded:
        return `"lifetimeMillis":${first},"durationMillis":${second}`
      default:
        return `"durationMillis":${first},"name":${this.text(second)}`
    }
  }

  private text(place: number): string {
    let text = this.texts.get(place)
    if (text === undefined) {
      text = this.read(place)
      this.texts.set(place, text)
    }
    return text
  }
}

/** One line for each event, with its end; some hundred lines at a time. */
export function* textsOf(notes: Notes): Generator<string> {
  const { end, numbers } = notes
  const parts = new Parts(notes)
  let at = 0
  const number = (): number => numbers[at++] ?? 0
  let subject = noText
  let session = noText
  let time = 0
  let lines = ""
  while (at < end) {
    const head = number()
    if ((head & follows.subject) !== 0) subject = number()
    if ((head & follows.session) !== 0) session = number()
    if ((head & follows.time) !== 0) time = number()
    const first = (head & follows.first) === 0 ? 0 : number()
    const short = head >>> lastShift
    const last = short === lastFollows ? number() : short
    const kind = head & kindBits
    if (kind === kinds.whole) {
      lines += `${parts.read(last)}\n`
    } else {
      const sessionText = (head & hasSession) === 0 ? "" : parts.session(session)
      lines += parts.beginning(kind, subject) + sessionText + parts.ending(kind, time, first, last)
    }
    if (lines.length >= textLength) {
      yield lines
      lines = ""
    }
  }
  yield lines
}

/** All lines as one text. */
export const linesOf = (notes: Notes): string => {
  let lines = ""
  for (const text of textsOf(notes)) lines += text
  return lines
}
