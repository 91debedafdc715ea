/**
 * What sandboxes of the Docker driver have beyond those of others: ports, terminals, copies of files,
 * snapshots, statistics.
 *
 * ```ts
 * import { Sandbox } from "@effect-sandbox/core"
 * import { DockerSandbox } from "@effect-sandbox/docker-driver"
 * import { Effect, FileSystem, Option } from "effect"
 *
 * const prepare = Effect.gen(function* () {
 *   const files = yield* FileSystem.FileSystem
 *   yield* files.writeFileString("numbers.txt", "1 2 3")
 *   const docker = (yield* Sandbox).service(DockerSandbox)
 *   // An image whose sandboxes start with that file.
 *   return Option.isSome(docker) ? yield* docker.value.snapshot({ tag: "numbers:1" }) : undefined
 * })
 * ```
 */
import type { SandboxStateError } from "@effect-sandbox/core/SandboxError"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import type * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessHandle } from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import type * as SocketServer from "effect/socket/SocketServer"
import type * as Stream from "effect/Stream"
import type { DockerError } from "./DockerError.ts"

export interface ConnectOptions {
  /** An address inside. Default: `127.0.0.1`, then `::1`. */
  readonly address?: string | undefined
}

export interface ForwardOptions extends ConnectOptions {
  /** Where to listen on this machine. Default: `127.0.0.1`. */
  readonly host?: string | undefined
  /** Default: any that is free. */
  readonly localPort?: number | undefined
}

/** The size of a terminal, in characters. */
export interface TerminalSize {
  readonly rows: number
  readonly columns: number
}

export interface TerminalOptions {
  /** Default: 24 rows of 80 columns. */
  readonly size?: TerminalSize | undefined
  /** The sizes that it has later, as long as the command's scope is open. Default: none. */
  readonly resizes?: Stream.Stream<TerminalSize> | undefined
}

export interface SnapshotOptions {
  /** A name for the image, `name:tag`. Default: none; the id will do. */
  readonly tag?: string | undefined
}

/** What a container used, at one moment. Counters start with the container. */
export interface Stats {
  /** Nanoseconds of processor time so far. */
  readonly cpuNanos: number
  /** Processors in use since the last reading: 1.5 is one and a half. Undefined in the first. */
  readonly cpus: number | undefined
  /** Bytes in use, without what the kernel would give up at once, and the limit. */
  readonly memory: { readonly used: number; readonly limit: number | undefined }
  /** Processes and threads, the agent's among them. */
  readonly pids: { readonly current: number; readonly limit: number | undefined }
  /** Bytes read from and written to disks so far. */
  readonly disk: { readonly read: number; readonly written: number }
  /** Bytes received and sent over the network so far; nothing of what goes through `connect`. */
  readonly network: { readonly received: number; readonly sent: number }
}

export class DockerSandbox extends Context.Service<
  DockerSandbox,
  {
    /** The engine's id of the container. */
    readonly containerId: string
    /** What commands and files go over: a socket of this machine, or the engine's attached stream. */
    readonly transport: "socket" | "attached"
    /** A TCP port of a server inside, whatever the container's network is. Connects when its reader is acquired. */
    readonly connect: (port: number, options?: ConnectOptions) => Socket.Socket
    /** Listens on a port of this machine, for as long as the scope is open, and connects it to one inside. */
    readonly forward: (
      port: number,
      options?: ForwardOptions
    ) => Effect.Effect<{ readonly host: string; readonly port: number }, SocketServer.SocketServerError, Scope.Scope>
    /**
     * Starts a command on a terminal of its own: what it writes, errors among it, comes from `stdout`, and what goes to
     * `stdin` is typed. Closing the scope ends it, as with Effect's spawner.
     */
    readonly terminal: (
      command: ChildProcess.StandardCommand,
      options?: TerminalOptions
    ) => Effect.Effect<ChildProcessHandle, PlatformError, Scope.Scope>
    /**
     * Copies a file of this machine to one inside, which is overwritten. Other than `docker cp` it reaches memory-backed
     * places, and no directories. The new file belongs to the user, and has the permissions of the one it comes from.
     */
    readonly upload: (from: string, to: string) => Effect.Effect<void, PlatformError>
    /** The other way round: copies a file inside to one of this machine. */
    readonly download: (from: string, to: string) => Effect.Effect<void, PlatformError>
    /**
     * An image of what the writable places hold; gives its id, of which sandboxes can be made. Files that the user of
     * the sandbox may not read are refused with an error.
     */
    readonly snapshot: (
      options?: SnapshotOptions
    ) => Effect.Effect<string, DockerError | PlatformError | SandboxStateError>
    /** About one reading a second. */
    readonly stats: Stream.Stream<Stats, DockerError>
  }
>()("@effect-sandbox/docker-driver/DockerSandbox") {}
