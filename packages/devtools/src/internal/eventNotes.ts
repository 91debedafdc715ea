/**
 * What a journal keeps of events until they are lines: numbers and texts instead of objects. They cost the collector of
 * garbage next to nothing, and go to another thread as they are.
 *
 * The kinds that every session brings are noted part by part, others as the whole line.
 */
import type * as SandboxEvent from "@effect-sandbox/core/SandboxEvent"
import { all as statuses, type SandboxStatus } from "@effect-sandbox/core/SandboxStatus"
import { stringify } from "./eventLines.ts"
import { follows, hasSession, kinds, lastFollows, lastShift, noText, type Notes, textHeader } from "./noteLines.ts"

/** What the events of one sandbox have in common. */
interface Subject {
  readonly environmentId: string
  readonly image: string
  readonly text: string
  /** On which page the text is, and where. */
  page: number
  at: number
  /** Its session that was noted last on that page, and where. */
  sessionId: string | undefined
  sessionAt: number
}

const maxSubjects = 10_000

/** The most numbers that an event has. */
const width = 6

/** As many bytes of text as few events fill. */
const firstTexts = 64 * 1024

/** How much memory is kept to be used again: new memory has to be emptied by the system. */
const maxSpare = 2

interface Memory {
  readonly numbers: Notes["numbers"]
  readonly texts: Notes["texts"]
}

const textsOf = (bytes: number): Notes["texts"] => new Uint8Array(new SharedArrayBuffer(bytes))

/** Takes notes, on pages of so many events. */
export class Notebook {
  private readonly size: number
  private readonly subjects = new Map<string, Subject>()
  private lastSubject: Subject | undefined
  private lastSandboxId: string | undefined
  private full: Array<Notes> = []
  private readonly spare: Array<Memory> = []
  // The page that is being written.
  private page = 0
  private count = 0
  private since = 0
  private numbers: Notes["numbers"]
  private end = 0
  private texts: Notes["texts"]
  private textsEnd = textHeader // nothing is where `noText` is
  // What the last event had, on this page.
  private lastSubjectAt = noText
  private lastSessionAt = noText
  private lastTime = 0
  private readonly nameAt = new Map<string, number>()
  private readonly moveAt = new Int32Array(statuses.length ** 2)

  constructor(size: number) {
    this.size = size
    this.numbers = new Int32Array(new SharedArrayBuffer(size * width * Int32Array.BYTES_PER_ELEMENT))
    this.texts = textsOf(firstTexts)
  }

  /** How many events were noted and not taken out. */
  get noted(): number {
    return this.full.length * this.size + this.count
  }

  add(event: SandboxEvent.SandboxEvent): void {
    if (this.count === 0) this.since = Math.floor(event.timestamp)
    if (!this.addParts(event)) {
      this.end = this.addLast(this.end, kinds.whole, this.write(stringify(event)), this.end + 1)
    }
    if (++this.count === this.size) this.turnPage()
  }

  /** Takes everything out, in order. */
  takeAll(): ReadonlyArray<Notes> {
    if (this.count > 0) this.turnPage()
    const all = this.full
    this.full = []
    return all
  }

  /** Gives back what was taken out and is not needed any more. */
  giveBack({ numbers, texts }: Notes): void {
    if (this.spare.length < maxSpare) this.spare.push({ numbers, texts })
  }

  private turnPage(): void {
    const { count, end, numbers, since, texts } = this
    this.full.push({ count, since, numbers, end, texts })
    const memory = this.spare.pop()
    this.numbers = memory?.numbers ?? new Int32Array(new SharedArrayBuffer(numbers.byteLength))
    this.texts = memory?.texts ?? textsOf(firstTexts)
    this.page++
    this.count = 0
    this.end = 0
    this.textsEnd = textHeader
    this.lastSubjectAt = noText
    this.lastSessionAt = noText
    this.lastTime = 0
    this.nameAt.clear()
    this.moveAt.fill(noText)
  }

  /** Reads events case by case, since reading the same field of several kinds at one place takes longer. */
  private addParts(event: SandboxEvent.SandboxEvent): boolean {
    switch (event._tag) {
      case "SandboxStatusChanged": {
        if (event.trace !== undefined) return false
        const { environmentId, image, sandboxId, sessionId, spentMillis, timestamp } = event
        const subject = this.subjectOf(environmentId, sandboxId, image)
        return this.addNumbers(
          kinds.statusChanged,
          subject,
          sessionId,
          timestamp,
          spentMillis,
          this.moveOf(event.from, event.to)
        )
      }
      case "SessionStarted": {
        if (event.trace !== undefined || event.error !== undefined) return false
        const { durationMillis, environmentId, image, sandboxId, sessionId, timestamp, waitedMillis } = event
        const subject = this.subjectOf(environmentId, sandboxId, image)
        return this.addNumbers(kinds.sessionStarted, subject, sessionId, timestamp, waitedMillis, durationMillis)
      }
      case "SessionEnded": {
        if (event.trace !== undefined || event.error !== undefined) return false
        const { durationMillis, environmentId, image, lifetimeMillis, sandboxId, sessionId, timestamp } = event
        const subject = this.subjectOf(environmentId, sandboxId, image)
        return this.addNumbers(kinds.sessionEnded, subject, sessionId, timestamp, lifetimeMillis, durationMillis)
      }
      case "SandboxActivity": {
        if (event.trace !== undefined || event.error !== undefined) return false
        const { durationMillis, environmentId, image, name, sandboxId, sessionId, timestamp } = event
        const subject = this.subjectOf(environmentId, sandboxId, image)
        return this.addNumbers(kinds.activity, subject, sessionId, timestamp, durationMillis, this.nameOf(name))
      }
      default:
        return false
    }
  }

  /** Unless one of them is too large for that, or no whole number. */
  private addNumbers(
    kind: number,
    subject: Subject,
    sessionId: string | undefined,
    timestamp: number,
    first: number,
    second: number
  ): boolean {
    const time = timestamp - this.since
    if (this.since + time !== timestamp) return false // too small a fraction
    if (time !== (time | 0) || first !== (first | 0) || second !== (second | 0)) return false
    const { end: start, numbers } = this
    let head = kind
    let end = start + 1
    if (subject.at !== this.lastSubjectAt) {
      head |= follows.subject
      numbers[end++] = this.lastSubjectAt = subject.at
    }
    if (sessionId !== undefined) {
      head |= hasSession
      const session = this.sessionOf(subject, sessionId)
      if (session !== this.lastSessionAt) {
        head |= follows.session
        numbers[end++] = this.lastSessionAt = session
      }
    }
    if (time !== this.lastTime) {
      head |= follows.time
      numbers[end++] = this.lastTime = time
    }
    if (first !== 0) {
      head |= follows.first
      numbers[end++] = first
    }
    this.end = this.addLast(start, head, second, end)
    return true
  }

  /** Writes the first number, and what does not fit into it as the last one; where the next event begins. */
  private addLast(start: number, head: number, last: number, end: number): number {
    const fits = last >= 0 && last < lastFollows
    this.numbers[start] = head | ((fits ? last : lastFollows) << lastShift)
    if (fits) return end
    this.numbers[end] = last
    return end + 1
  }

  private subjectOf(environmentId: string, sandboxId: string, image: string): Subject {
    let subject = sandboxId === this.lastSandboxId ? this.lastSubject : this.subjects.get(sandboxId)
    if (subject === undefined || subject.environmentId !== environmentId || subject.image !== image) {
      if (this.subjects.size >= maxSubjects) this.subjects.clear()
      const json = JSON.stringify({ environmentId, sandboxId, image })
      const text = `,${json.slice(1, -1)}`
      subject = { environmentId, image, text, page: -1, at: noText, sessionId: undefined, sessionAt: noText }
      this.subjects.set(sandboxId, subject)
    }
    if (subject.page !== this.page) {
      subject.page = this.page
      subject.at = this.write(subject.text)
      subject.sessionId = undefined
    }
    this.lastSandboxId = sandboxId
    this.lastSubject = subject
    return subject
  }

  private sessionOf(subject: Subject, id: string): number {
    if (id !== subject.sessionId) {
      subject.sessionId = id
      subject.sessionAt = this.write(id)
    }
    return subject.sessionAt
  }

  private nameOf(name: string): number {
    let at = this.nameAt.get(name)
    if (at === undefined) {
      at = this.write(JSON.stringify(name))
      this.nameAt.set(name, at)
    }
    return at
  }

  private moveOf(from: SandboxStatus, to: SandboxStatus): number {
    const move = statuses.indexOf(from) * statuses.length + statuses.indexOf(to)
    let at = this.moveAt[move]
    if (at === undefined || at === noText) {
      at = this.write(`"from":"${from}","to":"${to}"`)
      this.moveAt[move] = at
    }
    return at
  }

  /** Writes a text, and gives where it begins. */
  private write(text: string): number {
    const at = this.textsEnd
    const start = at + textHeader
    const { length } = text
    if (start + 2 * length > this.texts.length) this.grow(start + 2 * length)
    const { texts } = this
    let all = 0
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i)
      all |= unit
      texts[start + i] = unit
    }
    const isWide = all > 0xff
    if (isWide) {
      for (let i = 0; i < length; i++) {
        const unit = text.charCodeAt(i)
        texts[start + 2 * i] = unit
        texts[start + 2 * i + 1] = unit >>> 8
      }
    }
    const header = 2 * length + (isWide ? 1 : 0)
    for (let i = 0; i < textHeader; i++) texts[at + i] = header >>> (8 * i)
    this.textsEnd = start + (isWide ? 2 * length : length)
    return at
  }

  private grow(needed: number): void {
    const before = this.texts
    this.texts = textsOf(Math.max(needed, 2 * before.length))
    this.texts.set(before)
  }
}
