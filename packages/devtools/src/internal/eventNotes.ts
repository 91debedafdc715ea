/**
 * What a journal keeps of events until they are lines: numbers and texts instead of objects. They cost the collector of
 * garbage next to nothing, and go to another thread as they are.
 *
 * The kinds that every session brings are noted part by part, others as the whole line.
 */
import type * as SandboxEvent from "@effect-sandbox/core/SandboxEvent"
import * as SandboxStatus from "@effect-sandbox/core/SandboxStatus"
import { stringify } from "./eventLines.ts"
import { kinds, noText, type Notes } from "./noteLines.ts"

type Frequent = SandboxEvent.Of<"SandboxStatusChanged" | "SessionStarted" | "SessionEnded" | "SandboxActivity">

/** What the events of one sandbox have in common. */
interface Subject {
  readonly environmentId: string
  readonly image: string
  readonly text: string
  /** The notes that have the text, and where. */
  notes: number
  at: number
}

const maxSubjects = 10_000

/** The most numbers that an event has. */
const width = 7

/** The texts that all notes begin with. */
const commonTexts = ["", ...SandboxStatus.all.map((status) => JSON.stringify(status))]

const statusAt: ReadonlyMap<string, number> = new Map(SandboxStatus.all.map((status, index) => [status, index + 1]))

/** Takes notes, of so many events at a time. */
export class Notebook {
  private readonly size: number
  private readonly subjects = new Map<string, Subject>()
  private lastSubject: Subject | undefined
  private lastSandboxId: string | undefined
  private full: Array<Notes> = []
  // The notes that are being taken.
  private current = 0
  private count = 0
  private numbers: Float64Array<ArrayBuffer>
  private end = 0
  private texts = [...commonTexts]
  private readonly sessionAt = new Map<string, number>()
  private readonly nameAt = new Map<string, number>()
  private lastSessionId: string | undefined
  private lastSessionAt = noText

  constructor(size: number) {
    this.size = size
    this.numbers = new Float64Array(size * width)
  }

  /** How many events were noted and not taken out. */
  get noted(): number {
    return this.full.length * this.size + this.count
  }

  add(event: SandboxEvent.SandboxEvent): void {
    if (!this.addParts(event)) {
      this.numbers[this.end] = kinds.whole
      this.numbers[this.end + 1] = this.texts.push(stringify(event)) - 1
      this.end += 2
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

  private turnPage(): void {
    const { count, end, numbers, texts } = this
    this.full.push({ count, numbers: end === numbers.length ? numbers : numbers.slice(0, end), texts })
    if (end === numbers.length) this.numbers = new Float64Array(numbers.length)
    this.current++
    this.count = 0
    this.end = 0
    this.texts = [...commonTexts]
    this.sessionAt.clear()
    this.nameAt.clear()
    this.lastSandboxId = undefined
    this.lastSessionId = undefined
  }

  private addParts(event: SandboxEvent.SandboxEvent): boolean {
    switch (event._tag) {
      case "SandboxStatusChanged":
        if (event.trace !== undefined) return false
        this.begin(kinds.statusChanged, event)
        this.put(statusAt.get(event.from) ?? noText)
        this.put(statusAt.get(event.to) ?? noText)
        this.put(event.spentMillis)
        return true
      case "SessionStarted":
        if (event.trace !== undefined || event.error !== undefined) return false
        this.begin(kinds.sessionStarted, event)
        this.put(event.waitedMillis)
        this.put(event.durationMillis)
        return true
      case "SessionEnded":
        if (event.trace !== undefined || event.error !== undefined) return false
        this.begin(kinds.sessionEnded, event)
        this.put(event.lifetimeMillis)
        this.put(event.durationMillis)
        return true
      case "SandboxActivity":
        if (event.trace !== undefined || event.error !== undefined) return false
        this.begin(kinds.activity, event)
        this.put(event.durationMillis)
        this.put(this.known(this.nameAt, event.name, ""))
        return true
      default:
        return false
    }
  }

  private put(value: number): void {
    this.numbers[this.end++] = value
  }

  private begin(kind: number, event: Frequent): void {
    this.put(kind)
    this.put(this.subjectOf(event))
    this.put(this.sessionOf(event.sessionId))
    this.put(event.timestamp)
  }

  private subjectOf(event: Frequent): number {
    const { environmentId, image, sandboxId } = event
    let subject = sandboxId === this.lastSandboxId ? this.lastSubject : this.subjects.get(sandboxId)
    if (subject === undefined || subject.environmentId !== environmentId || subject.image !== image) {
      if (this.subjects.size >= maxSubjects) this.subjects.clear()
      const json = JSON.stringify({ environmentId, sandboxId, image })
      subject = { environmentId, image, text: `,${json.slice(1, -1)}`, notes: -1, at: noText }
      this.subjects.set(sandboxId, subject)
    }
    if (subject.notes !== this.current) {
      subject.notes = this.current
      subject.at = this.texts.push(subject.text) - 1
    }
    this.lastSandboxId = sandboxId
    this.lastSubject = subject
    return subject.at
  }

  private sessionOf(id: string | undefined): number {
    if (id === undefined) return noText
    if (id !== this.lastSessionId) {
      this.lastSessionId = id
      this.lastSessionAt = this.known(this.sessionAt, id, ',"sessionId":')
    }
    return this.lastSessionAt
  }

  /** Where a text stands, as JSON behind what comes before it. */
  private known(places: Map<string, number>, text: string, before: string): number {
    let at = places.get(text)
    if (at === undefined) {
      at = this.texts.push(before + JSON.stringify(text)) - 1
      places.set(text, at)
    }
    return at
  }
}
