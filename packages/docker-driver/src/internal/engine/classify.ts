/** The one place that decides what an engine's refusal, or a broken connection, means. */
import * as Predicate from "effect/Predicate"
import type { Target } from "../../DockerConnection.ts"
import type * as DockerError from "../../DockerError.ts"
import {
  ConnectionLost,
  DiskFull,
  EngineError,
  EngineUnavailable,
  ImageNotFound,
  InvalidRequest,
  NameConflict,
  NotFound,
  OutOfAddressPools,
  PermissionDenied,
  PullFailed,
  RegistryAuth,
  UnsupportedVersion,
  WrongPlatform,
  WrongState
} from "../../DockerError.ts"
import * as apiVersion from "./apiVersion.ts"
import { registryOf } from "./imageReference.ts"

/** What a request was about. */
export interface Call {
  /** For people: `the start of container web`. */
  readonly operation: string
  /** For people: `container web`. */
  readonly subject: string
  /** The image concerned, if any. */
  readonly image?: string | undefined
  /** A name that is to be given away. */
  readonly name?: string | undefined
  /** The platform asked for. */
  readonly platform?: string | undefined
}

/** What the engine says when it refuses. */
export interface Refusal {
  readonly status: number
  readonly message: string
}

interface Rule {
  /** Any of them; any status when missing. */
  readonly status?: ReadonlyArray<number>
  readonly text?: RegExp
  readonly when?: (call: Call) => boolean
  readonly reason: (refusal: Refusal, call: Call) => DockerError.Reason
}

const hasImage = (call: Call) => call.image !== undefined

/** From the particular to the general; the first that fits counts. */
const rules: ReadonlyArray<Rule> = [
  {
    text: /client version .* is too (new|old)|API version .* (too old|too new)/i,
    reason: ({ message }) =>
      new UnsupportedVersion({
        engine: /(?:Maximum|minimum) supported API version is (\d+\.\d+)/i.exec(message)?.[1] ?? message,
        oldest: apiVersion.oldest,
        newest: apiVersion.newest
      })
  },
  {
    text: /no space left on device|disk quota exceeded/i,
    reason: ({ message }, { operation }) => new DiskFull({ operation, description: message })
  },
  {
    text: /non-overlapping IPv4 address pool|address pools have been fully subnetted|no available network/i,
    reason: ({ message }) => new OutOfAddressPools({ description: message })
  },
  {
    text: /no matching manifest|does not match the specified platform|no match for platform|image operating system .* cannot be used/i,
    when: hasImage,
    reason: ({ message }, { image, platform }) =>
      new WrongPlatform({ image: image ?? "", wanted: platform ?? "the engine's platform", found: message })
  },
  {
    text: /manifest( for .*)? (not found|unknown)|no such image|repository .* not found|name unknown|reference does not exist|failed to resolve reference .* not found/i,
    when: hasImage,
    reason: ({ message }, { image }) => new ImageNotFound({ image: image ?? "", description: message })
  },
  {
    text: /unauthorized|authentication required|no basic auth credentials|incorrect username or password|pull access denied|requested access to the resource is denied|insufficient_scope|403 Forbidden|401 Unauthorized/i,
    when: hasImage,
    reason: ({ message }, { image }) => new RegistryAuth({ registry: registryOf(image ?? ""), description: message })
  },
  {
    status: [409],
    text: /already in use|already exists|name conflict/i,
    reason: ({ message }, { subject }) => new NameConflict({ subject, description: message })
  },
  {
    // Podman's status for it is 500.
    text: /(container|volume|network) name .* is already in use|that name is already in use/i,
    reason: ({ message }, { subject }) => new NameConflict({ subject, description: message })
  },
  {
    status: [409, 304],
    reason: ({ message }, { subject }) => new WrongState({ subject, description: message })
  },
  {
    status: [403],
    text: /network with name .* already exists|already exists in network/i,
    reason: ({ message }, { subject }) => new NameConflict({ subject, description: message })
  },
  {
    // The start of a container does not find the network that its creation took for granted.
    status: [404],
    text: /network \S+ not found/i,
    reason: ({ message }) =>
      new NotFound({ subject: /network \S+/i.exec(message)?.[0] ?? "network", description: message })
  },
  { status: [404], reason: ({ message }, { subject }) => new NotFound({ subject, description: message }) },
  {
    status: [400],
    reason: ({ message }, { operation }) => new InvalidRequest({ operation, description: message })
  },
  {
    text: /container .* is not (running|paused)|is already paused|container state improper/i,
    reason: ({ message }, { subject }) => new WrongState({ subject, description: message })
  },
  {
    text: /pull|registry|dial tcp|TLS handshake|x509|Client\.Timeout|i\/o timeout|toomanyrequests|unexpected EOF|filesystem layer verification/i,
    when: ({ image, operation }) => image !== undefined && operation.startsWith("the pull"),
    reason: ({ message }, { image }) => new PullFailed({ image: image ?? "", description: message })
  }
]

/** What a status outside of 2xx means, or an error in a stream that began well. */
export const refusal = (refused: Refusal, call: Call): DockerError.Reason => {
  const fitting = rules.find(
    (rule) =>
      (rule.status === undefined || rule.status.includes(refused.status)) &&
      (rule.text === undefined || rule.text.test(refused.message)) &&
      (rule.when === undefined || rule.when(call))
  )
  return (
    fitting?.reason(refused, call) ??
    new EngineError({ operation: call.operation, status: refused.status, description: refused.message })
  )
}

/** Errors of the system, before anything was heard from the engine. */
const unreachable: { readonly [code: string]: string } = {
  ENOENT: "there is no such socket",
  ENOTDIR: "there is no such socket",
  ENOTSOCK: "that is no socket",
  ECONNREFUSED: "the connection was refused, so nothing listens there",
  ENOTFOUND: "there is no such host",
  EAI_AGAIN: "the host's name could not be looked up",
  EHOSTUNREACH: "the host cannot be reached",
  ENETUNREACH: "the network cannot be reached",
  EHOSTDOWN: "the host is down",
  ETIMEDOUT: "the connection timed out",
  UND_ERR_CONNECT_TIMEOUT: "the connection timed out"
}

const text = (error: unknown, field: "code" | "message"): string | undefined =>
  Predicate.hasProperty(error, field) && typeof error[field] === "string" ? error[field] : undefined

/** The innermost error says what the system said. */
const causesOf = (error: unknown): ReadonlyArray<unknown> => {
  const causes: Array<unknown> = []
  let at: unknown = error
  while (Predicate.isObject(at) && causes.length < 8) {
    causes.push(at)
    at =
      Predicate.hasProperty(at, "errors") && Array.isArray(at.errors)
        ? at.errors[0]
        : Predicate.hasProperty(at, "cause")
          ? at.cause
          : undefined
  }
  return causes
}

/** What a request that got no answer means. */
export const transport = (error: unknown, target: Target, operation: string): DockerError.Reason => {
  const causes = causesOf(error)
  const code = causes.map((cause) => text(cause, "code")).findLast((found) => found !== undefined) ?? ""
  const message = causes.map((cause) => text(cause, "message")).findLast((found) => found !== undefined)
  const { address, source } = target
  if (code === "EACCES" || code === "EPERM") return new PermissionDenied({ address, source })
  const known = unreachable[code]
  if (known !== undefined) return new EngineUnavailable({ address, source, description: known })
  if (/CERT|TLS|SSL|SIGNATURE|SELF_SIGNED|wrong version number/i.test(`${code} ${message}`)) {
    const description = `the encrypted connection failed (${message ?? code}); see DOCKER_CERT_PATH and DOCKER_TLS_VERIFY`
    return new EngineUnavailable({ address, source, description })
  }
  return new ConnectionLost({ operation, description: message ?? (code === "" ? "no reason was given" : code) })
}
