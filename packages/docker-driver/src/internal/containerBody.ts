/** What the engine is asked for when a sandbox's container is made. */
import type { SandboxSpec } from "@effect-sandbox/core/SandboxDriver"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Resolved } from "../ContainerOptions.ts"
import type { ContainerSpec, Mount } from "../DockerClient.ts"
import { socketName } from "./directSockets.ts"
import * as egressProxy from "./egressProxy.ts"
import * as labels from "./labels.ts"
import * as places from "./places.ts"

/** What is known of an image. */
export interface ImageFacts {
  /** The engine's id, so that the image cannot change between two looks. */
  readonly id: string
  readonly env: ReadonlyArray<string>
  readonly user: string
  readonly volumes: ReadonlyArray<string>
  readonly labels: { readonly [label: string]: string }
}

/** All that the agent keeps: to become the user, to signal its processes, and to clean up after it. */
const agentCapabilities = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"]

const unprivileged = "1000:1000"

/** Whom commands run as. */
export const userOf = (options: Resolved, image: ImageFacts): string => {
  if (options.user !== undefined) return options.user
  const [name = ""] = image.user.split(":")
  return name === "" || name === "0" || name === "root" ? unprivileged : image.user
}

const SnapshotPlaces = Schema.fromJsonString(Schema.Array(Schema.String))

/** The places that an image of a snapshot has content for. */
const snapshotOf = (image: ImageFacts): ReadonlyArray<string> =>
  Option.getOrElse(Schema.decodeUnknownOption(SnapshotPlaces)(image.labels[labels.snapshot]), () => [])

/** Every place that is emptied between sessions, the workspace first. */
export const writableOf = (options: Resolved, image: ImageFacts): ReadonlyArray<string> => [
  ...new Set([options.workdir, ...(options.writable ?? places.defaultWritable), ...image.volumes, ...snapshotOf(image)])
]

/** The environment that commands start with. */
export const environmentOf = (options: Resolved, image: ImageFacts): { readonly [name: string]: string } => {
  const fromImage = image.env.map((line) => {
    const [name = "", ...value] = line.split("=")
    return [name, value.join("=")] as const
  })
  return {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    LANG: "C.UTF-8",
    ...Object.fromEntries(fromImage),
    HOME: options.workdir,
    TMPDIR: "/tmp",
    ...(typeof options.network === "object" && "egress" in options.network ? egressProxy.environment : {}),
    ...options.env
  }
}

/** What writable places start with, at the beginning and after every reset. */
export const seedsOf = (
  options: Resolved,
  image: ImageFacts
): ReadonlyArray<{ readonly from: string; readonly to: string }> => [
  ...(options.seed === undefined ? [] : [{ from: options.seed, to: options.workdir }]),
  ...snapshotOf(image).map((place) => ({ from: `${places.snapshot}${place}`, to: place }))
]

const isShared = (path: string): boolean => path === "/tmp" || path === "/var/tmp"

/** Files in memory: sized, without devices and set-user-id programs; the agent gives them to the user. */
const memoryBacked = (path: string, options: Resolved): string =>
  [
    "rw",
    "exec",
    "nosuid",
    "nodev",
    `size=${path === options.workdir ? options.disk : Math.min(options.disk, options.memory / 4)}`,
    `mode=${isShared(path) ? "1777" : "0755"}`
  ].join(",")

const networkOf = ({ network }: Resolved): string =>
  typeof network === "string" ? network : "name" in network ? network.name : "none"

const bind = (source: string, target: string): Mount => ({
  Type: "bind",
  Source: source,
  Target: target,
  ReadOnly: true
})

export const make = (request: {
  readonly spec: SandboxSpec
  readonly owner: string
  readonly options: Resolved
  readonly image: ImageFacts
  readonly agentVolume: string
  /** On this machine: where the agent is offered a socket. */
  readonly socketDirectory: string | undefined
}): ContainerSpec => {
  const { agentVolume, image, options, owner, socketDirectory, spec } = request
  const memory = Object.fromEntries(
    [...writableOf(options, image), places.home].map((path) => [path, memoryBacked(path, options)])
  )
  return {
    Image: image.id,
    // The agent is root without most of root's powers; commands are not.
    User: "0:0",
    Entrypoint: [places.agent],
    Cmd: socketDirectory === undefined ? [] : ["--socket", `${places.socketDirectory}/${socketName}`],
    WorkingDir: "/",
    Tty: false,
    OpenStdin: true,
    StdinOnce: true, // the lease: the agent sees the end of its input when we are gone (F8)
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    Healthcheck: { Test: ["NONE"] },
    Labels: { ...options.labels, ...labels.ofSandbox(spec, owner) },
    HostConfig: {
      AutoRemove: true,
      ReadonlyRootfs: true,
      CapDrop: ["ALL"],
      CapAdd: agentCapabilities,
      SecurityOpt: ["no-new-privileges", ...(options.seccomp === undefined ? [] : [`seccomp=${options.seccomp}`])],
      IpcMode: "private",
      NetworkMode: networkOf(options),
      ExtraHosts: Object.entries(options.extraHosts ?? {}).map(([name, address]) => `${name}:${address}`),
      Runtime: options.runtime,
      Memory: options.memory,
      MemorySwap: options.memory,
      NanoCpus: options.cpus === undefined ? undefined : Math.round(options.cpus * 1e9),
      PidsLimit: options.pids,
      LogConfig: { Type: "none", Config: {} }, // the engine must not store what goes over the stream
      Tmpfs: memory,
      Mounts: [
        {
          Type: "volume",
          Source: agentVolume,
          Target: places.agentDirectory,
          ReadOnly: true,
          VolumeOptions: { NoCopy: true }
        },
        ...(socketDirectory === undefined ? [] : [bind(socketDirectory, places.socketDirectory)]),
        ...(options.mounts ?? []).map(({ source, target, writable }): Mount => ({
          Type: source.startsWith("/") ? "bind" : "volume",
          Source: source,
          Target: target,
          ReadOnly: writable !== true
        }))
      ]
    }
  }
}
