/** A program as a token that fits into a line of a test, and back. */
import * as Base64Url from "effect/encoding/Base64Url"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Program } from "./program.ts"

const Json = Schema.fromJsonString(Program)
const encodeJson = Schema.encodeEffect(Json)
const decodeJson = Schema.decodeEffect(Json)

export const encode = (program: Program): Effect.Effect<string> =>
  // A program is plain data that was checked when it was made.
  Effect.map(Effect.orDie(encodeJson(program)), Base64Url.encode)

/** Fails with what is wrong with a token. */
export const decode = (token: string): Effect.Effect<Program, string> => {
  const text = Base64Url.decodeString(token)
  if (Result.isFailure(text)) return Effect.fail("it is not a token of this module")
  return Effect.mapError(decodeJson(text.success), (error) => error.message)
}
