import * as Schema from "effect/Schema"

/** An environment that does not serve as it did before it was disturbed, or of which something is left. */
export class UnfitError extends Schema.TaggedError<UnfitError>()("UnfitError", {
  description: Schema.String
}) {
  override get message() {
    return this.description
  }
}
