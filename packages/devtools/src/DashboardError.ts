/** Why a dashboard could not be started. */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

/** Another program listens there. */
export class PortInUse extends Schema.TaggedError<PortInUse>()("PortInUse", {
  host: Schema.String,
  port: Schema.Finite
}) {
  override get message() {
    return `port ${this.port} of ${this.host} is in use; choose another, or 0 for any that is free`
  }
}

/** It cannot listen there, for another reason. */
export class CannotListen extends Schema.TaggedError<CannotListen>()("CannotListen", {
  host: Schema.String,
  port: Schema.Finite,
  cause: Schema.Defect()
}) {
  override get message() {
    return `it cannot listen on port ${this.port} of ${this.host}: ${Predicate.isError(this.cause) ? this.cause.message : String(this.cause)}`
  }
}

/** The page is not where it should be: the package was not built, or lost a part. */
export class PageMissing extends Schema.TaggedError<PageMissing>()("PageMissing", { cause: Schema.Defect() }) {
  override get message() {
    return "its page has not been built (`npm run build` in a checkout), or is missing from the package"
  }
}

/** The dashboard could not be started. */
export class DashboardError extends Schema.TaggedError<DashboardError>()("DashboardError", {
  reason: Schema.Union([PortInUse, CannotListen, PageMissing])
}) {
  override get message() {
    return `The dashboard could not be started: ${this.reason.message}`
  }
}
