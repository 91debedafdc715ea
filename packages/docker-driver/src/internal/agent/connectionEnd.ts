/** How a conversation with an agent ended. */
import * as PlatformError from "effect/PlatformError"
import * as Schema from "effect/Schema"

/** Nothing more is said on the connection, for the reason given. What runs inside is dead, or soon will be. */
export class ConnectionEnded extends Schema.TaggedError<ConnectionEnded>()("ConnectionEnded", {
  /**
   * - `closed`: its scope was closed
   * - `ended`: the agent's output ended, as it does when the agent dies
   * - `broken`: reading or writing failed
   * - `malformed`: the agent said something that the protocol does not allow
   * - `fatal`: the agent gave up, and said why
   */
  reason: Schema.Literals(["closed", "ended", "broken", "malformed", "fatal"]),
  description: Schema.String,
  cause: Schema.optional(Schema.Defect())
}) {
  override get message() {
    return `the connection to the agent has ended: ${this.description}`
  }
}

/** The same where only the platform's errors can be told. */
export const toPlatformError = (method: string, end: ConnectionEnded): PlatformError.PlatformError =>
  PlatformError.systemError({
    _tag: "BadResource",
    module: "Sandbox",
    method,
    description: end.message,
    cause: end
  })
