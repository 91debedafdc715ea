/** Ids for sessions whose callers choose none. */
import type * as Random from "effect/Random"
import { SessionId } from "../Id.ts"

const codesOf = (text: string): Array<number> => Array.from(text, (char) => char.charCodeAt(0))

const digits = codesOf("0123456789abcdefghijklmnopqrstuv")

const bitsPerDigit = 5

/** As many as a small integer has bits for. */
const digitsPerNumber = 6

const prefix = codesOf("session-")

/** The id that is being made. */
const codes = [...prefix, ...codesOf("0".repeat(4 * digitsPerNumber))]

/**
 * A random id of 120 bits: a million of them collide with a probability of 1 in 10²⁴. It is made character by character:
 * texts that are added up are put together anew whenever somebody looks at them, which takes a twentieth of a session.
 */
export const randomSessionId = (source: Random.Random): SessionId => {
  let at = prefix.length
  while (at < codes.length) {
    let bits = Math.floor(source.nextDoubleUnsafe() * 2 ** (bitsPerDigit * digitsPerNumber))
    for (let i = 0; i < digitsPerNumber; i++) {
      codes[at++] = digits[bits % digits.length] ?? 0
      bits >>>= bitsPerDigit
    }
  }
  return SessionId.make(String.fromCharCode(...codes))
}
