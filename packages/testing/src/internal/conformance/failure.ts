/** How a check says that a driver does not keep the contract. */
import * as Schema from "effect/Schema"

/** What a check found: what was expected and what was there, where that can be said in two values. */
export class CheckFailed extends Schema.TaggedError<CheckFailed>()("CheckFailed", {
  message: Schema.String,
  expected: Schema.optional(Schema.Unknown),
  actual: Schema.optional(Schema.Unknown),
  cause: Schema.optional(Schema.Defect())
}) {}

const longest = 2000

const shorten = (text: string): string =>
  text.length <= longest ? text : `${text.slice(0, longest)}… (${text.length} characters)`

/** A value as a report shows it. */
export const show = (value: unknown): string => {
  if (typeof value === "string") return shorten(JSON.stringify(value))
  if (value instanceof Uint8Array) {
    const bytes = [...value.subarray(0, 32)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ")
    return `${value.length} bytes <${bytes}${value.length > 32 ? " …" : ""}>`
  }
  return shorten(
    JSON.stringify(value, (_, inner: unknown) => (typeof inner === "bigint" ? `${inner}n` : inner)) ?? String(value)
  )
}
