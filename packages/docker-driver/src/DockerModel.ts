/**
 * What engines say, as far as we need it, under the names of the engine's API. Engines leave out, or send as null, what
 * is empty: here lists and records are always there. What is not named is dropped.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"

/** Missing and null are `empty`. */
const nullAs = <S extends Schema.Constraint>(schema: S, empty: S["Type"]) =>
  Schema.NullOr(schema).pipe(
    Schema.decodeTo(
      Schema.toType(schema),
      SchemaTransformation.transform({
        decode: (found: S["Type"] | null): S["Type"] => found ?? empty,
        encode: (value: S["Type"]): S["Type"] | null => value
      })
    ),
    Schema.withDecodingDefaultKey(Effect.succeed(null))
  )

const list = <S extends Schema.Constraint>(item: S) => nullAs(Schema.Array(item), [])

const text = Schema.optional(Schema.NullOr(Schema.String))
const number = Schema.optional(Schema.NullOr(Schema.Finite))
const flag = Schema.optional(Schema.NullOr(Schema.Boolean))
const labels = nullAs(Schema.Record(Schema.String, Schema.String), {})

export const Version = Schema.Struct({
  Version: Schema.String,
  ApiVersion: Schema.String,
  MinAPIVersion: text,
  Os: Schema.String,
  Arch: Schema.String,
  KernelVersion: text,
  Components: list(Schema.Struct({ Name: Schema.String, Version: Schema.String }))
})
export type Version = typeof Version.Type

export const Info = Schema.Struct({
  ID: text,
  Name: text,
  ServerVersion: text,
  OperatingSystem: text,
  OSType: text,
  Architecture: text,
  NCPU: number,
  MemTotal: number,
  Driver: text,
  CgroupDriver: text,
  CgroupVersion: text,
  MemoryLimit: flag,
  SwapLimit: flag,
  PidsLimit: flag,
  CpuCfsQuota: flag,
  LiveRestoreEnabled: flag,
  DefaultRuntime: text,
  Runtimes: nullAs(Schema.Record(Schema.String, Schema.Struct({ path: text })), {}),
  SecurityOptions: list(Schema.String),
  Labels: list(Schema.String),
  Warnings: list(Schema.String)
})
export type Info = typeof Info.Type

export const Image = Schema.Struct({
  Id: Schema.String,
  RepoTags: list(Schema.String),
  RepoDigests: list(Schema.String),
  Created: text,
  Os: Schema.String,
  Architecture: Schema.String,
  Variant: text,
  Size: Schema.Finite,
  Config: Schema.NullOr(
    Schema.Struct({
      User: text,
      Env: list(Schema.String),
      Cmd: list(Schema.String),
      Entrypoint: list(Schema.String),
      WorkingDir: text,
      Labels: labels,
      Volumes: nullAs(Schema.Record(Schema.String, Schema.Unknown), {})
    })
  ).pipe(Schema.withDecodingDefaultKey(Effect.succeed(null)))
})
export type Image = typeof Image.Type

export const ImageSummary = Schema.Struct({
  Id: Schema.String,
  RepoTags: list(Schema.String),
  Labels: labels,
  Created: Schema.Finite,
  Size: Schema.Finite
})
export type ImageSummary = typeof ImageSummary.Type

export const ImageRemoval = Schema.Struct({ Untagged: text, Deleted: text })

export const Created = Schema.Struct({ Id: Schema.String, Warnings: list(Schema.String) })
export type Created = typeof Created.Type

export const Committed = Schema.Struct({ Id: Schema.String })

export const ContainerState = Schema.Struct({
  /** created, running, paused, restarting, removing, exited or dead. */
  Status: Schema.String,
  Running: Schema.Boolean,
  Paused: Schema.Boolean,
  OOMKilled: Schema.Boolean,
  Dead: Schema.optional(Schema.Boolean),
  Pid: Schema.Finite,
  ExitCode: Schema.Finite,
  Error: text,
  StartedAt: text,
  FinishedAt: text
})

export const Container = Schema.Struct({
  Id: Schema.String,
  Name: Schema.String,
  Created: text,
  /** The id of the image. */
  Image: Schema.String,
  State: ContainerState,
  Config: Schema.Struct({
    Image: text,
    User: text,
    WorkingDir: text,
    Env: list(Schema.String),
    Labels: labels,
    Tty: flag,
    OpenStdin: flag
  }),
  HostConfig: Schema.Struct({
    NetworkMode: text,
    AutoRemove: flag,
    ReadonlyRootfs: flag,
    Runtime: text,
    Memory: number,
    PidsLimit: number
  }),
  Mounts: list(
    Schema.Struct({
      Type: Schema.String,
      Name: text,
      Source: text,
      Destination: Schema.String,
      RW: flag
    })
  ),
  NetworkSettings: Schema.Struct({
    Networks: nullAs(
      Schema.Record(
        Schema.String,
        Schema.Struct({ NetworkID: text, IPAddress: text, Gateway: text, MacAddress: text })
      ),
      {}
    )
  })
})
export type Container = typeof Container.Type

export const ContainerSummary = Schema.Struct({
  Id: Schema.String,
  Names: list(Schema.String),
  Image: Schema.String,
  ImageID: Schema.String,
  Labels: labels,
  Created: Schema.Finite,
  State: Schema.String,
  Status: text
})
export type ContainerSummary = typeof ContainerSummary.Type

export const Waited = Schema.Struct({
  StatusCode: Schema.Finite,
  Error: Schema.optional(Schema.NullOr(Schema.Struct({ Message: text })))
})
export type Waited = typeof Waited.Type

const CpuStats = Schema.Struct({
  cpu_usage: Schema.Struct({ total_usage: Schema.Finite, usage_in_kernelmode: number, usage_in_usermode: number }),
  system_cpu_usage: number,
  online_cpus: number,
  throttling_data: Schema.optional(
    Schema.NullOr(Schema.Struct({ periods: number, throttled_periods: number, throttled_time: number }))
  )
})

export const Stats = Schema.Struct({
  read: Schema.String,
  cpu_stats: CpuStats,
  precpu_stats: CpuStats,
  /** Empty while the container does not run. `stats` has other keys with control groups 1 than with 2. */
  memory_stats: Schema.Struct({
    usage: number,
    max_usage: number,
    limit: number,
    failcnt: number,
    stats: nullAs(Schema.Record(Schema.String, Schema.Finite), {})
  }),
  pids_stats: Schema.Struct({ current: number, limit: number }),
  blkio_stats: Schema.Struct({
    io_service_bytes_recursive: list(
      Schema.Struct({ major: Schema.Finite, minor: Schema.Finite, op: Schema.String, value: Schema.Finite })
    )
  }),
  networks: nullAs(
    Schema.Record(
      Schema.String,
      Schema.Struct({
        rx_bytes: Schema.Finite,
        rx_packets: Schema.Finite,
        tx_bytes: Schema.Finite,
        tx_packets: Schema.Finite
      })
    ),
    {}
  )
})
export type Stats = typeof Stats.Type

export const Volume = Schema.Struct({
  Name: Schema.String,
  Driver: Schema.String,
  Mountpoint: text,
  CreatedAt: text,
  Labels: labels
})
export type Volume = typeof Volume.Type

export const Volumes = Schema.Struct({ Volumes: list(Volume) })

export const Network = Schema.Struct({
  Id: Schema.String,
  Name: Schema.String,
  Driver: text,
  Scope: text,
  Internal: flag,
  Labels: labels,
  IPAM: Schema.optional(Schema.NullOr(Schema.Struct({ Config: list(Schema.Struct({ Subnet: text, Gateway: text })) }))),
  /** By id; only in what `inspect` gives. */
  Containers: nullAs(Schema.Record(Schema.String, Schema.Struct({ Name: text, IPv4Address: text })), {})
})
export type Network = typeof Network.Type

export const Event = Schema.Struct({
  /** container, image, network, volume, … */
  Type: Schema.String,
  /** create, start, die, oom, destroy, … */
  Action: Schema.String,
  Actor: Schema.Struct({ ID: Schema.String, Attributes: labels }),
  time: number,
  timeNano: number
})
export type Event = typeof Event.Type

/** What `ls` would say of a file in a container. */
export const PathStat = Schema.Struct({
  name: Schema.String,
  size: Schema.Finite,
  /** As Go has it: the low nine bits are the permissions. */
  mode: Schema.Finite,
  mtime: Schema.String,
  linkTarget: text
})
export type PathStat = typeof PathStat.Type

/** A line of a pull, a build or an import. */
export const Progress = Schema.Struct({
  id: text,
  status: text,
  /** What a build printed. */
  stream: text,
  progressDetail: Schema.optional(Schema.NullOr(Schema.Struct({ current: number, total: number }))),
  aux: Schema.optional(Schema.Unknown),
  error: text,
  errorDetail: Schema.optional(Schema.NullOr(Schema.Struct({ code: number, message: text })))
})
export type Progress = typeof Progress.Type

export const BuildResult = Schema.Struct({ ID: Schema.String })
