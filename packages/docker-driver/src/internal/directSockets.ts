/**
 * Sockets of this machine by which agents reach us past the engine: each is in a directory of its own, which is mounted
 * into one container, and there is nothing to connect to any more once its agent has. Where the engine does not share our
 * files, or the agent cannot reach the socket, everything goes over the engine's attached stream instead.
 */
import { Buffer } from "node:buffer"
import { createHash } from "node:crypto"
import * as net from "node:net"
import * as path from "node:path"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as byteSocket from "./byteSocket.ts"
import * as ownership from "./owner.ts"

export interface Offer {
  /** On this machine: what is to be mounted into the container. */
  readonly directory: string
  /** The agent, once it has connected, after which nobody else can; undefined when the offer was withdrawn before. */
  readonly accepted: Effect.Effect<Accepted | undefined>
  /** From here on nobody can connect any more. */
  readonly withdraw: Effect.Effect<void>
}

export interface Accepted {
  readonly connection: byteSocket.Connection<unknown>
  /** It closes with the scope of the offer, too. */
  readonly close: Effect.Effect<void>
}

export interface DirectSockets {
  /** Of every error by which an engine refuses to mount one of ours, its path, and with it this, is a part. */
  readonly name: Effect.Effect<string | undefined>
  /** A socket for one container; undefined where there can be none. It goes with the scope. */
  readonly offer: Effect.Effect<Offer | undefined, never, Scope.Scope>
}

export interface Options {
  readonly files: FileSystem.FileSystem
  readonly owner: ownership.Owner
  /** Whether to remove what dead processes of ours have left. */
  readonly sweep: boolean
}

/** The name of the socket within its directory. */
export const socketName = "socket"

/** The system's limit for the path of a socket, in bytes, without the final zero. */
const longestPath = 107

/** The directory is the scope's, and made when the first socket is wanted. */
export const make = (options: Options): Effect.Effect<DirectSockets, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { files } = options
    const scope = yield* Effect.scope
    const root = yield* Effect.cached(
      makeRoot(options).pipe(
        Scope.provide(scope),
        Effect.tapError(({ message }) => Effect.logDebug(`Agents are reached through the engine: ${message}`)),
        Effect.orElseSucceed(() => undefined)
      )
    )
    let offers = 0
    const offer = Effect.gen(function* () {
      const parent = yield* root
      if (parent === undefined) return undefined
      const directory = path.join(parent, String(++offers))
      const socket = path.join(directory, socketName)
      if (Buffer.byteLength(socket) > longestPath) return undefined
      yield* Effect.acquireRelease(
        // The agent may be anybody in a namespace of users, and only gets at what is in here.
        Effect.andThen(files.makeDirectory(directory), files.chmod(directory, 0o711)),
        () => Effect.ignore(files.remove(directory, { recursive: true, force: true }))
      )
      const accepted = Deferred.makeUnsafe<Accepted | undefined>()
      const listener = yield* Effect.acquireRelease(listen(socket, accepted), ({ close }) => Effect.sync(close))
      return { directory, accepted: Deferred.await(accepted), withdraw: Effect.sync(listener.withdraw) }
    }).pipe(
      Effect.tapError((error) => Effect.logDebug(`An agent is reached through the engine: ${error.message}`)),
      Effect.orElseSucceed(() => undefined)
    )
    return { name: Effect.map(root, (found) => (found === undefined ? undefined : path.basename(found))), offer }
  })

interface Listener {
  readonly withdraw: () => void
  /** Also what was accepted. */
  readonly close: () => void
}

const listen = (at: string, accepted: Deferred.Deferred<Accepted | undefined>): Effect.Effect<Listener, Error> =>
  Effect.callback((resume) => {
    let taken: { readonly close: () => void } | undefined
    // Closing the server removes the socket's file, at once.
    const server = net.createServer({ pauseOnConnect: true }, (socket) => {
      server.close()
      if (taken !== undefined) return void socket.destroy()
      const { close, connection } = byteSocket.accepted(socket, (cause) => cause)
      taken = { close }
      Deferred.doneUnsafe(accepted, Effect.succeed({ connection, close: Effect.sync(close) }))
    })
    const withdraw = () => {
      server.close()
      Deferred.doneUnsafe(accepted, Effect.succeed(undefined))
    }
    const close = () => {
      withdraw()
      taken?.close()
    }
    server.once("error", (error) => resume(Effect.fail(error)))
    server.listen({ path: at, readableAll: true, writableAll: true, exclusive: true }, () =>
      resume(Effect.succeed({ withdraw, close }))
    )
  })

// --- whose a directory is -----------------------------------------------------------------------------------------------

/** Its name begins so: it is whose as soon as it is there. */
const prefixOf = (boot: string): string =>
  `effect-sandbox-${createHash("sha256").update(boot).digest("base64url").slice(0, 8)}-`

const makeRoot = Effect.fnUntraced(function* ({ files, owner, sweep }: Options) {
  const [, boot = "", pid = "", start = ""] = owner.split("/")
  // Nobody could tell whose it is.
  if (boot === "") return undefined
  // It is ours alone, so that no one else of this machine gets at a socket.
  const made = yield* Effect.acquireRelease(
    files.makeTempDirectory({ prefix: `${prefixOf(boot)}${pid}-${start}-` }),
    (directory) => Effect.ignore(files.remove(directory, { recursive: true, force: true }))
  )
  if (sweep) yield* Effect.ignore(removeLeft(files, path.dirname(made), boot))
  return made
})

/** Removes what dead processes of ours have left there; in doubt nothing. */
const removeLeft = Effect.fnUntraced(function* (files: FileSystem.FileSystem, parent: string, boot: string) {
  const prefix = prefixOf(boot)
  const isLeft = Effect.fnUntraced(function* (name: string, directory: string) {
    const [pid = "", start = ""] = name.slice(prefix.length).split("-")
    if (!(yield* ownership.isGone(files, `/${boot}/${pid}/${start}`))) return false
    const { mode, type, uid } = yield* files.lstat(directory)
    // Names can be anybody's. In a directory of ours nobody else can put anything in the way of its removal.
    return type === "Directory" && Option.getOrUndefined(uid) === process.getuid?.() && (mode & 0o077) === 0
  })
  for (const name of yield* files.readDirectory(parent)) {
    if (!name.startsWith(prefix)) continue
    const directory = path.join(parent, name)
    // Another process may sweep as well.
    const left = yield* Effect.orElseSucceed(isLeft(name, directory), () => false)
    if (left) yield* Effect.ignore(files.remove(directory, { recursive: true, force: true }))
  }
})
