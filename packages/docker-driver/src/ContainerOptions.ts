/**
 * How the sandboxes of an image are made: what they may use, what they can reach, what becomes of them between sessions.
 *
 * The defaults are the safe ones: no network, a read-only root with memory-backed writable places, an unprivileged user
 * without capabilities, limits on memory and processes.
 */
import * as OptionCheck from "@effect-sandbox/core/Options"
import * as Schema from "effect/Schema"

/** What becomes of a sandbox between two sessions. */
export type Reuse =
  /** Everything is killed and every writable place emptied, in a few milliseconds (S1). */
  | "reset"
  /** The container is thrown away, and another takes its place, brought up in the background. */
  | "recreate"
  /** Nothing is cleaned: files and processes of one session are there in the next. */
  | "keep"

/** What a sandbox can reach. */
export type Network =
  /** Nothing: there is not even an interface but loopback. `connect` and `forward` still reach servers inside. */
  | "none"
  /** The engine's default bridge: the whole network of the host's that it lets through. */
  | "bridge"
  /** A network of the engine's by name, which has to exist. */
  | { readonly name: string }
  /**
   * Only these hosts, by name, through a proxy of the driver's that `HTTP_PROXY` and `HTTPS_PROXY` name: `example.com`,
   * `*.example.com`, either with `:port` (default: 80 and 443). There is no interface but loopback, so whatever does not
   * use the proxy reaches nothing.
   */
  | { readonly egress: ReadonlyArray<string> }

export interface Mount {
  /** A directory of the engine's host (absolute), or the name of a volume. */
  readonly source: string
  /** Absolute path inside. */
  readonly target: string
  /** Default: false. */
  readonly writable?: boolean | undefined
}

export interface ContainerOptions {
  /** The CPUs that it may use at the same time, such as 0.5. Default: no limit. */
  readonly cpus?: number | undefined
  /** Bytes of memory, those of files in memory-backed places among them. Default: 1 GiB. */
  readonly memory?: number | undefined
  /** Processes and threads. Default: 512. */
  readonly pids?: number | undefined
  /** Bytes that fit into the workspace. Default: half of `memory`. */
  readonly disk?: number | undefined
  /** Variables of every command, on top of the image's. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Whom commands run as: a name or number of the image, `user:group`. Default: the image's `USER`, or 1000 when that is root. */
  readonly user?: string | undefined
  /** The workspace's absolute path. Default: `/workspace`. */
  readonly workdir?: string | undefined
  /** A directory of the image whose content every session's workspace starts with. Default: none. */
  readonly seed?: string | undefined
  /**
   * Places that can be written to besides the workspace and the image's volumes, emptied between sessions like those.
   * Default: `/tmp`, `/var/tmp`, `/run`.
   */
  readonly writable?: ReadonlyArray<string> | undefined
  /** Default: none. What sessions write to a mount stays there. */
  readonly mounts?: ReadonlyArray<Mount> | undefined
  /** Default: `"none"`. */
  readonly network?: Network | undefined
  /** Names for `/etc/hosts`, each with its address. */
  readonly extraHosts?: { readonly [name: string]: string } | undefined
  /** The engine's runtime: `runc`, `crun`, `runsc` (gVisor), … Default: the engine's default. */
  readonly runtime?: string | undefined
  /** The seccomp profile as JSON, or `"unconfined"`. Default: the engine's. */
  readonly seccomp?: string | undefined
  /** More labels of its containers. */
  readonly labels?: { readonly [name: string]: string } | undefined
  /** Default: `"reset"`. */
  readonly reuse?: Reuse | undefined
}

/** Options with their defaults. */
export interface Resolved extends Omit<ContainerOptions, "disk" | "memory" | "pids" | "workdir" | "reuse" | "network"> {
  readonly memory: number
  readonly pids: number
  readonly disk: number
  readonly workdir: string
  readonly reuse: Reuse
  readonly network: Network
}

const AbsolutePath = Schema.String.check(
  Schema.makeFilter((path) => {
    if (!path.startsWith("/")) return `expected an absolute path, got ${JSON.stringify(path)}`
    const isPlain = path.split("/").every((part) => part !== "." && part !== "..") && !path.includes("\0")
    return isPlain || `expected a path without . and .., got ${JSON.stringify(path)}`
  })
)

/** The engine refuses less memory than this. */
const leastMemory = 6 * 1024 * 1024

const Bytes = (least: number) => Schema.Int.check(Schema.isGreaterThanOrEqualTo(least))

/** A host of an egress allow-list. */
const Host = Schema.String.check(
  Schema.makeFilter(
    (host) =>
      /^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?$/i.test(host) ||
      `expected a host name such as example.com, *.example.com or example.com:8443, got ${JSON.stringify(host)}`
  )
)

/** The schema of `ContainerOptions`. */
export const ContainerOptions = Schema.Struct({
  cpus: Schema.optional(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0.01))),
  memory: Schema.optional(Bytes(leastMemory)),
  pids: Schema.optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(8))),
  disk: Schema.optional(Bytes(4096)),
  env: Schema.optional(Schema.Record(Schema.String, Schema.String)),
  user: Schema.optional(Schema.NonEmptyString),
  workdir: Schema.optional(AbsolutePath),
  seed: Schema.optional(AbsolutePath),
  writable: Schema.optional(Schema.Array(AbsolutePath)),
  mounts: Schema.optional(
    Schema.Array(
      Schema.Struct({
        source: Schema.NonEmptyString,
        target: AbsolutePath,
        writable: Schema.optional(Schema.Boolean)
      })
    )
  ),
  network: Schema.optional(
    Schema.Union([
      Schema.Literals(["none", "bridge"]),
      Schema.Struct({
        name: Schema.optional(Schema.NonEmptyString),
        egress: Schema.optional(Schema.Array(Host))
      }).check(
        Schema.makeFilter(
          ({ egress, name }) => (egress === undefined) !== (name === undefined) || "expected either a name or egress"
        )
      )
    ])
  ),
  extraHosts: Schema.optional(Schema.Record(Schema.NonEmptyString, Schema.NonEmptyString)),
  runtime: Schema.optional(Schema.NonEmptyString),
  seccomp: Schema.optional(Schema.NonEmptyString),
  labels: Schema.optional(Schema.Record(Schema.NonEmptyString, Schema.String)),
  reuse: Schema.optional(Schema.Literals(["reset", "recreate", "keep"]))
})

const gibibyte = 1024 * 1024 * 1024

/** Later options go before earlier ones, field by field; then come the defaults. */
export const resolve = (...layers: ReadonlyArray<ContainerOptions | undefined>): Resolved => {
  const given: ContainerOptions = Object.assign(
    {},
    ...layers.map((layer) => Object.fromEntries(Object.entries(layer ?? {}).filter(([, value]) => value !== undefined)))
  )
  const memory = given.memory ?? gibibyte
  return {
    ...given,
    memory,
    pids: given.pids ?? 512,
    disk: given.disk ?? Math.floor(memory / 2),
    workdir: given.workdir ?? "/workspace",
    reuse: given.reuse ?? "reset",
    network: given.network ?? "none"
  }
}

/** The options of an image: its exact id first, then the first pattern in order that matches the whole id. */
export const find = <Options extends ContainerOptions>(
  images: { readonly [pattern: string]: Options } | undefined,
  image: string
): Options | undefined => {
  if (images === undefined) return undefined
  if (Object.hasOwn(images, image)) return images[image]
  return Object.entries(images).find(([pattern]) => OptionCheck.whole(pattern).test(image))?.[1]
}
