/**
 * An engine behind `ssh`: a socket of our own, each connection to which is one `ssh … docker system dial-stdio`, which
 * is how the docker command does it. Keys, hosts and jumps are `ssh`'s business.
 */
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import type * as Pull from "effect/Pull"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import type { DockerConnection, Target } from "../../DockerConnection.ts"
import { DockerError, EngineUnavailable } from "../../DockerError.ts"

type Ssh = Extract<DockerConnection, { readonly _tag: "Ssh" }>

export interface SshProxy {
  /** The socket to connect to. */
  readonly path: string
  /** What `ssh` said when it last failed. */
  readonly complaint: Effect.Effect<string | undefined>
}

/** The command's arguments. Nothing of it passes a shell here; the words behind the host pass one there. */
export const args = ({ host, path, port, user }: Ssh): ReadonlyArray<string> => [
  "-o",
  "ConnectTimeout=30",
  "-T",
  ...(user === undefined ? [] : ["-l", user]),
  ...(port === undefined ? [] : ["-p", String(port)]),
  "--",
  host,
  "docker",
  ...(path === undefined ? [] : ["--host", quote(`unix://${path}`)]),
  "system",
  "dial-stdio"
]

const quote = (word: string): string => (/^[\w./:@-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)

export const make = (
  ssh: Ssh,
  target: Target
): Effect.Effect<SshProxy, DockerError, Scope.Scope | FileSystem.FileSystem | Path.Path | ChildProcessSpawner> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const paths = yield* Path.Path
    const spawner = yield* ChildProcessSpawner
    let complaint: string | undefined

    // Readable by nobody else, so nobody else gets to the engine.
    const directory = yield* files.makeTempDirectoryScoped({ prefix: "effect-sandbox-ssh-" })
    const path = paths.join(directory, "docker.sock")
    const server = yield* NodeSocketServer.make({ path, allowHalfOpen: true })
    const command = ChildProcess.make("ssh", args(ssh), { extendEnv: true, forceKillAfter: "2 seconds" })

    const serve = (socket: Socket.Socket) =>
      Effect.gen(function* () {
        const pull = yield* Socket.readerBytes(socket)
        // Closes when everything else is done: by then the complaint is there for whoever sees the end.
        const writer = yield* socket.writer
        const child = yield* spawner.spawn(command)
        const fromClient = Effect.catch(pull, (error): Pull.Pull<never, Socket.SocketError> =>
          error.reason._tag === "SocketCloseError" ? Cause.done() : Effect.fail(error)
        )
        yield* Stream.fromPull(Effect.succeed(fromClient)).pipe(
          Stream.run(child.stdin),
          Effect.ignore,
          Effect.forkScoped
        )
        const toClient = Stream.runForEachArray(child.stdout, (chunks) => writer.writeAll(chunks))
        const said = Stream.mkString(Stream.decodeText(child.stderr))
        const [words] = yield* Effect.all([said, toClient], { concurrency: "unbounded" })
        const code = yield* child.exitCode
        if (code !== 0) complaint = words.trim() === "" ? `it ended with ${code}` : words.trim()
      }).pipe(
        Effect.scoped,
        Effect.catch((error) =>
          Effect.sync(() => {
            complaint ??= error.message
          })
        )
      )

    // Ends with the scope, and all its connections with it.
    yield* Effect.forkScoped(server.run(serve))
    return {
      path,
      complaint: Effect.sync(() => {
        const last = complaint
        complaint = undefined
        return last
      })
    }
  }).pipe(
    Effect.mapError(
      (error) =>
        new DockerError({
          reason: new EngineUnavailable({
            address: target.address,
            source: target.source,
            description: `no way to ssh could be opened: ${error.message}`
          })
        })
    )
  )
