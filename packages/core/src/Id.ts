/**
 * The names of things: environments, images, sandboxes, sessions and features, each a branded string.
 *
 * A sandbox is called `environment/image:slot:generation`: the slot says which place of the image's pool it fills, the
 * generation how many sandboxes have been started in that slot before it. No two sandboxes of an environment ever
 * share an id, also not two attempts to start one (L7).
 */
import * as Schema from "effect/Schema"

/** Name of an environment. */
export const EnvironmentId = Schema.NonEmptyString.pipe(Schema.brand("@effect-sandbox/core/EnvironmentId"))
export type EnvironmentId = typeof EnvironmentId.Type

/** Name of what a sandbox is made from; its meaning is the driver's (a container image, a template, …). */
export const ImageId = Schema.NonEmptyString.pipe(Schema.brand("@effect-sandbox/core/ImageId"))
export type ImageId = typeof ImageId.Type

/** `environment/image:slot:generation`. */
export const SandboxId = Schema.NonEmptyString.pipe(Schema.brand("@effect-sandbox/core/SandboxId"))
export type SandboxId = typeof SandboxId.Type

/** Name of a session, unique within the life of its environment. */
export const SessionId = Schema.NonEmptyString.pipe(Schema.brand("@effect-sandbox/core/SessionId"))
export type SessionId = typeof SessionId.Type

/** Name of a feature: the key of the service that it provides, unless it was given another. */
export const FeatureId = Schema.NonEmptyString.pipe(Schema.brand("@effect-sandbox/core/FeatureId"))
export type FeatureId = typeof FeatureId.Type

/** Puts the id of a sandbox together. */
export const sandboxId = (environment: EnvironmentId, image: ImageId, slot: number, generation: number): SandboxId =>
  SandboxId.make(`${environment}/${image}:${slot}:${generation}`)

/**
 * A file name that is safe in every file system and different for different ids (L27): letters, digits, `.`, `_` and
 * `-` stay, every other character becomes `%` and its code in hexadecimal and `;`, and so does a leading `.`.
 * Long ids keep their first 120 characters and get a 64-bit hash of the whole.
 */
export const pathSegment = (id: string): string => {
  let name = ""
  for (const char of id) {
    const safe = /[A-Za-z0-9_-]/.test(char) || (char === "." && name !== "")
    name += safe ? char : `%${char.codePointAt(0)?.toString(16)};`
  }
  if (name === "") return "%"
  return name.length <= 160 ? name : `${name.slice(0, 120)}~${hash64(id)}`
}

/** FNV-1a over UTF-16 code units, 64 bits, as hexadecimal digits. */
const hash64 = (text: string): string => {
  let hash = 0xcbf29ce484222325n
  for (let i = 0; i < text.length; i++) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(text.charCodeAt(i))) * 0x100000001b3n)
  }
  return hash.toString(16).padStart(16, "0")
}
