/**
 * What can go wrong between us and an engine: one error, whose `reason` says what it was and what to do about it.
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { DockerClient } from "@effect-sandbox/docker-driver"
 *
 * const images = Effect.gen(function* () {
 *   const docker = yield* DockerClient.DockerClient
 *   return yield* docker.images.list({})
 * }).pipe(Effect.catchReason("DockerError", "EngineUnavailable", (reason) => Console.error(reason.message)))
 * ```
 */
import * as Schema from "effect/Schema"

/** No engine answers where we looked for it. */
export class EngineUnavailable extends Schema.TaggedError<EngineUnavailable>()("EngineUnavailable", {
  /** Where we looked: `unix:///var/run/docker.sock`, … */
  address: Schema.String,
  /** How we came to look there: `DOCKER_HOST`, `the default`, … */
  source: Schema.String,
  /** What the system said. */
  description: Schema.String
}) {
  override get message() {
    const start = this.address.startsWith("unix:")
      ? "Start it (systemctl start docker, or Docker Desktop)"
      : "See that it runs and can be reached from here"
    return `No container engine answers at ${this.address}, which comes from ${this.source}: ${this.description}. ${start}, or say with DOCKER_HOST where it is.`
  }
}

/** The engine's socket may not be used by this user. */
export class PermissionDenied extends Schema.TaggedError<PermissionDenied>()("PermissionDenied", {
  address: Schema.String,
  source: Schema.String
}) {
  override get message() {
    return `You may not use the engine's socket at ${this.address} (from ${this.source}). Join its group, on most systems docker (usermod -aG docker "$USER", then log in again), or use a rootless engine and set DOCKER_HOST. Members of that group are as powerful as root.`
  }
}

/** A setting says where the engine is in a way that nobody understands. */
export class InvalidConnection extends Schema.TaggedError<InvalidConnection>()("InvalidConnection", {
  /** The variable, option or file at fault. */
  source: Schema.String,
  value: Schema.String,
  expected: Schema.String
}) {
  override get message() {
    return `${this.source} is ${JSON.stringify(this.value)}: expected ${this.expected}`
  }
}

/** The engine speaks no version of the API that we speak. */
export class UnsupportedVersion extends Schema.TaggedError<UnsupportedVersion>()("UnsupportedVersion", {
  /** What the engine speaks at most, as far as it said. */
  engine: Schema.String,
  oldest: Schema.String,
  newest: Schema.String
}) {
  override get message() {
    return `The engine speaks version ${this.engine} of the API; ${this.oldest} to ${this.newest} are supported. Docker 19.03 is the oldest engine that will do.`
  }
}

/** The image is neither on the engine nor in its registry. */
export class ImageNotFound extends Schema.TaggedError<ImageNotFound>()("ImageNotFound", {
  image: Schema.String,
  description: Schema.String
}) {
  override get message() {
    return `There is no image ${this.image}: ${this.description}. Check its name, pull or build it, or log in if its registry is private (registries do not tell the two apart).`
  }
}

/** An image could not be pulled, for another reason than that it does not exist. */
export class PullFailed extends Schema.TaggedError<PullFailed>()("PullFailed", {
  image: Schema.String,
  description: Schema.String
}) {
  override get message() {
    return `Image ${this.image} could not be pulled: ${this.description}. Check that the engine, not only this machine, can reach the registry.`
  }
}

/** A registry refused the credentials, or there were none. */
export class RegistryAuth extends Schema.TaggedError<RegistryAuth>()("RegistryAuth", {
  registry: Schema.String,
  description: Schema.String
}) {
  override get message() {
    return `Registry ${this.registry} refused access: ${this.description}. Log in (docker login ${this.registry}) or give the credentials as an option.`
  }
}

/** The image is for another processor or system than was asked for. */
export class WrongPlatform extends Schema.TaggedError<WrongPlatform>()("WrongPlatform", {
  image: Schema.String,
  wanted: Schema.String,
  /** What there is, as far as it is known. */
  found: Schema.String
}) {
  override get message() {
    return `Image ${this.image} is for ${this.found}, and ${this.wanted} was asked for. Choose an image for ${this.wanted}, or set the option platform.`
  }
}

/** A build stopped. */
export class BuildFailed extends Schema.TaggedError<BuildFailed>()("BuildFailed", {
  image: Schema.String,
  /** The step at which it stopped. */
  step: Schema.String,
  description: Schema.String,
  /** What the step printed. */
  output: Schema.String
}) {
  override get message() {
    const output = this.output.trimEnd()
    return `Building ${this.image} failed at ${this.step}: ${this.description}${output === "" ? "" : `\n${output}`}`
  }
}

/** Something of that name exists already. */
export class NameConflict extends Schema.TaggedError<NameConflict>()("NameConflict", {
  subject: Schema.String,
  description: Schema.String
}) {
  override get message() {
    return `The engine refused ${this.subject}: ${this.description}. Remove what has the name, or choose another.`
  }
}

/** The engine has no such container, volume, network or file. */
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", {
  subject: Schema.String,
  description: Schema.String
}) {
  override get message() {
    return `There is no ${this.subject}: ${this.description}`
  }
}

/** What was asked for does not fit the state that its subject is in: a container that does not run, a volume in use. */
export class WrongState extends Schema.TaggedError<WrongState>()("WrongState", {
  subject: Schema.String,
  description: Schema.String
}) {
  override get message() {
    return `Not possible now for ${this.subject}: ${this.description}`
  }
}

/** The engine did not accept an option. */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>()("InvalidRequest", {
  operation: Schema.String,
  description: Schema.String
}) {
  override get message() {
    return `The engine did not accept ${this.operation}: ${this.description}. Change the option that it names.`
  }
}

/** All address ranges that the engine has for networks are in use (F35). */
export class OutOfAddressPools extends Schema.TaggedError<OutOfAddressPools>()("OutOfAddressPools", {
  description: Schema.String
}) {
  override get message() {
    return `The engine has no addresses left for another network: ${this.description}. Remove unused networks (docker network prune), share one network, or give the engine more with default-address-pools in daemon.json. Trying again does not help.`
  }
}

/** The engine's disk is full. */
export class DiskFull extends Schema.TaggedError<DiskFull>()("DiskFull", {
  operation: Schema.String,
  description: Schema.String
}) {
  override get message() {
    return `The engine's disk is full, so ${this.operation} failed: ${this.description}. Make room (docker system df shows what uses it).`
  }
}

/** The engine took longer than it may. What it was asked to do may have happened. */
export class TimedOut extends Schema.TaggedError<TimedOut>()("TimedOut", {
  operation: Schema.String,
  limitMillis: Schema.Finite
}) {
  override get message() {
    return `The engine did not answer ${this.operation} within ${this.limitMillis} ms. It may be overloaded; what was asked of it may have happened.`
  }
}

/** The engine failed at something, and we know no better word for it. */
export class EngineError extends Schema.TaggedError<EngineError>()("EngineError", {
  operation: Schema.String,
  status: Schema.Finite,
  description: Schema.String
}) {
  override get message() {
    return `The engine failed at ${this.operation} (${this.status}): ${this.description}`
  }
}

/** The engine answered with something that is no answer. */
export class MalformedResponse extends Schema.TaggedError<MalformedResponse>()("MalformedResponse", {
  operation: Schema.String,
  description: Schema.String
}) {
  override get message() {
    return `The engine's answer to ${this.operation} makes no sense: ${this.description}. Is it an engine that listens there?`
  }
}

/** The connection broke. What the engine was asked to do may have happened (F27). */
export class ConnectionLost extends Schema.TaggedError<ConnectionLost>()("ConnectionLost", {
  operation: Schema.String,
  description: Schema.String
}) {
  override get message() {
    return `The connection to the engine broke during ${this.operation}: ${this.description}. What was asked of it may have happened.`
  }
}

/** The agent for this processor is not in the package. */
export class AgentMissing extends Schema.TaggedError<AgentMissing>()("AgentMissing", {
  path: Schema.String,
  description: Schema.String
}) {
  override get message() {
    return `The agent cannot be read: ${this.description}. It belongs into the package at ${this.path}; install the package again.`
  }
}

/** What a sandbox holds could not be made an image. */
export class SnapshotFailed extends Schema.TaggedError<SnapshotFailed>()("SnapshotFailed", {
  description: Schema.String
}) {
  override get message() {
    return `The snapshot failed: ${this.description}. Files that change meanwhile, or that the sandbox's user may not read, cannot be part of one.`
  }
}

export const Reason = Schema.Union([
  EngineUnavailable,
  PermissionDenied,
  InvalidConnection,
  UnsupportedVersion,
  ImageNotFound,
  PullFailed,
  RegistryAuth,
  WrongPlatform,
  BuildFailed,
  NameConflict,
  NotFound,
  WrongState,
  InvalidRequest,
  OutOfAddressPools,
  DiskFull,
  TimedOut,
  EngineError,
  MalformedResponse,
  ConnectionLost,
  AgentMissing,
  SnapshotFailed
])
export type Reason = typeof Reason.Type

/** Everything that the engine and the way to it can do to us. */
export class DockerError extends Schema.TaggedError<DockerError>()("DockerError", { reason: Reason }) {
  override get message() {
    return this.reason.message
  }
}
