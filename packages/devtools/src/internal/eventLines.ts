/** Events as lines of JSON, and back. */
import * as SandboxEvent from "@effect-sandbox/core/SandboxEvent"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"

const decodeEvent = Schema.decodeUnknownResult(SandboxEvent.SandboxEvent)
const describeIssue = SchemaIssue.makeFormatterDefault()

/** An event as text without line breaks. An event is its own encoded form, so that nothing needs to be encoded first. */
export const stringify = (event: SandboxEvent.SandboxEvent): string => JSON.stringify(event)

/** The event that a text holds, or why it holds none. */
export const parse = (text: string): Result.Result<SandboxEvent.SandboxEvent, string> => {
  const json = Result.try(() => JSON.parse(text) as unknown)
  if (Result.isFailure(json)) return Result.fail("not JSON")
  const event = decodeEvent(json.success)
  return Result.isSuccess(event) ? Result.succeed(event.success) : Result.fail(describeIssue(event.failure.issue))
}
