/** Names of images, as people write them: `node`, `ghcr.io/owner/tool:1.2`, `node@sha256:…`. */

export interface ImageReference {
  readonly registry: string
  /** What goes before the tag, as it was written: the engine adds its own defaults. */
  readonly name: string
  /** `latest` when neither a tag nor a digest is given: without any the engine would pull all of them. */
  readonly tag: string | undefined
  readonly digest: string | undefined
}

const pattern = /^(?<name>[^@\s]+?)(?::(?<tag>\w[\w.-]{0,127}))?(?:@(?<digest>[a-z0-9+._-]+:[a-f0-9]{32,}))?$/i

/** A registry, perhaps with a port, and words. */
const names = /^(?:(?:\[[0-9a-f:]+\]|[a-z0-9.-]+)(?::\d+)?\/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*$/i

/** The reference, or undefined when it is none. */
export const parse = (reference: string): ImageReference | undefined => {
  const groups = pattern.exec(reference)?.groups
  const name = groups?.["name"]
  if (name === undefined || !names.test(name)) return undefined
  const digest = groups?.["digest"]
  const tag = groups?.["tag"] ?? (digest === undefined ? "latest" : undefined)
  return { registry: registryOf(name), name, tag, digest }
}

/** The registry that an image comes from, by its name. */
export const registryOf = (image: string): string => {
  const slash = image.indexOf("/")
  const first = image.slice(0, Math.max(slash, 0))
  return /[.:]|^localhost$/.test(first) ? first : "docker.io"
}

/** Whether it is the id of an image rather than its name. */
export const isId = (reference: string): boolean => /^(sha256:)?[a-f0-9]{64}$/.test(reference)

/** Podman leaves the algorithm out in some answers. */
export const fullId = (id: string): string => (/^[a-f0-9]{64}$/.test(id) ? `sha256:${id}` : id)
