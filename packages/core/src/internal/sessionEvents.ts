/**
 * The events that every session brings, made by constructors. What literals make, V8 watches: when events of a program's
 * first moments wait for their handlers while garbage is collected, it takes all later ones for long-lived, and puts them
 * where they stay until the whole heap is collected, along with what they refer to. That made a cycle a fifth slower.
 */
import type { Of } from "../SandboxEvent.ts"

type Fields<A> = { -readonly [Field in keyof A]: A[Field] }

/** What it makes are plain objects, which compare and print like those of literals. */
const constructorOf = <A>(copy: (this: Fields<A>, from: A) => void): new (from: A) => A => {
  copy.prototype = Object.prototype
  return copy as never // a function can be called with `new`, which its type does not tell
}

export const SandboxStatusChanged = constructorOf<Of<"SandboxStatusChanged">>(function (from) {
  this._tag = from._tag
  this.environmentId = from.environmentId
  this.timestamp = from.timestamp
  this.sandboxId = from.sandboxId
  this.image = from.image
  this.from = from.from
  this.to = from.to
  this.spentMillis = from.spentMillis
  this.sessionId = from.sessionId
})

export const SessionStarted = constructorOf<Of<"SessionStarted">>(function (from) {
  this._tag = from._tag
  this.environmentId = from.environmentId
  this.timestamp = from.timestamp
  this.sandboxId = from.sandboxId
  this.image = from.image
  this.sessionId = from.sessionId
  this.waitedMillis = from.waitedMillis
  this.durationMillis = from.durationMillis
  this.error = from.error
})

export const SessionEnded = constructorOf<Of<"SessionEnded">>(function (from) {
  this._tag = from._tag
  this.environmentId = from.environmentId
  this.timestamp = from.timestamp
  this.sandboxId = from.sandboxId
  this.image = from.image
  this.sessionId = from.sessionId
  this.durationMillis = from.durationMillis
  this.lifetimeMillis = from.lifetimeMillis
  this.error = from.error
})
