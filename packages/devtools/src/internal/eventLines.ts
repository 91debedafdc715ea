/** Events as lines of JSON, and back. */
import * as SandboxEvent from "@effect-sandbox/core/SandboxEvent"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"

const decodeEvent = Schema.decodeUnknownResult(SandboxEvent.SandboxEvent)
const describeIssue = SchemaIssue.makeFormatterDefault()

/** An event as text without line breaks. An event is its own encoded form, so that nothing needs to be encoded first. */
export const stringify = (event: SandboxEvent.SandboxEvent): string => JSON.stringify(event)

/**
 * Makes a function that does the same faster, up to the order of keys.
 *
 * The three kinds that every session brings are put together from parts that are the same in thousands of events: that
 * is a third of the work, and a journal's share of a busy program's thread is little else.
 */
export const encoder = (): ((event: SandboxEvent.SandboxEvent) => string) => {
  const subjects = new Map<string, Subject>()
  let sessionId: string | undefined
  let session = ""

  const subjectOf = (event: Frequent): string => {
    const { environmentId, image, sandboxId } = event
    let subject = subjects.get(sandboxId)
    if (subject === undefined || subject.environmentId !== environmentId || subject.image !== image) {
      if (subjects.size >= maxSubjects) subjects.clear()
      const json = JSON.stringify({ environmentId, sandboxId, image }).slice(1, -1)
      subject = { environmentId, image, json: `",${json},"timestamp":` }
      subjects.set(sandboxId, subject)
    }
    return subject.json
  }
  const sessionOf = (id: string | undefined): string => {
    if (id === undefined) return ""
    if (id !== sessionId) {
      sessionId = id
      session = `,"sessionId":${JSON.stringify(id)}`
    }
    return session
  }

  return (event) => {
    switch (event._tag) {
      case "SandboxStatusChanged": {
        if (event.trace !== undefined) break
        const { from, spentMillis, timestamp, to } = event
        const begin = `{"_tag":"SandboxStatusChanged${subjectOf(event)}${timestamp}${sessionOf(event.sessionId)}`
        return `${begin},"from":"${from}","to":"${to}","spentMillis":${spentMillis}}`
      }
      case "SessionStarted": {
        if (event.trace !== undefined || event.error !== undefined) break
        const { durationMillis, timestamp, waitedMillis } = event
        const begin = `{"_tag":"SessionStarted${subjectOf(event)}${timestamp}${sessionOf(event.sessionId)}`
        return `${begin},"waitedMillis":${waitedMillis},"durationMillis":${durationMillis}}`
      }
      case "SessionEnded": {
        if (event.trace !== undefined || event.error !== undefined) break
        const { durationMillis, lifetimeMillis, timestamp } = event
        const begin = `{"_tag":"SessionEnded${subjectOf(event)}${timestamp}${sessionOf(event.sessionId)}`
        return `${begin},"lifetimeMillis":${lifetimeMillis},"durationMillis":${durationMillis}}`
      }
    }
    return stringify(event)
  }
}

type Frequent = SandboxEvent.Of<"SandboxStatusChanged" | "SessionStarted" | "SessionEnded">

/** What the events of one sandbox have in common. */
interface Subject {
  readonly environmentId: string
  readonly image: string
  readonly json: string
}

const maxSubjects = 10_000

/** The event that a text holds, or why it holds none. */
export const parse = (text: string): Result.Result<SandboxEvent.SandboxEvent, string> => {
  const json = Result.try(() => JSON.parse(text) as unknown)
  if (Result.isFailure(json)) return Result.fail("not JSON")
  const event = decodeEvent(json.success)
  return Result.isSuccess(event) ? Result.succeed(event.success) : Result.fail(describeIssue(event.failure.issue))
}
