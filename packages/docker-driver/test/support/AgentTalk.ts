/**
 * A conversation with the agent, frame by frame, in namespaces of its own. It knows the protocol from its page, not from
 * the host's code: where the two disagree, one of the tests fails. Needs Linux and root.
 */
import { Effect, type Scope } from "effect"
import { execFileSync, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

const architectures: { readonly [name: string]: string } = { x64: "amd64", arm64: "arm64" }
const agentDirectory = fileURLToPath(new URL("../../agent", import.meta.url))

const binary: string | undefined = [
  process.env["SANDBOX_TEST_AGENT"],
  path.join(agentDirectory, "build", "agent"),
  path.join(agentDirectory, "prebuilt", `agent-${architectures[process.arch]}`)
].find((candidate) => candidate !== undefined && fs.existsSync(candidate))

const namespaces = ["--mount", "--pid", "--net", "--fork", "--mount-proc", "--kill-child"]

const works = (): boolean => {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return false
  try {
    execFileSync("unshare", [...namespaces, "true"], { stdio: "ignore" })
    return true
  } catch {
    return false
  }
}

/** Why no agent can be spoken with here, if so. */
export const missing: string | undefined =
  binary === undefined ? "the agent is not built" : works() ? undefined : "it needs Linux and root"

export const u8 = (value: number): Buffer => Buffer.of(value)
export const u16 = (value: number): Buffer => Buffer.of(value & 0xff, value >>> 8)
export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
export const u64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes
}
export const str = (value: string): Buffer => Buffer.concat([u32(Buffer.byteLength(value)), Buffer.from(value)])
export const list = (entries: ReadonlyArray<Buffer>): Buffer => Buffer.concat([u32(entries.length), ...entries])

export interface Frame {
  readonly type: number
  readonly detail: number
  readonly channel: number
  readonly payload: Buffer
}

export const frame = (type: number, detail: number, channel: number, ...parts: ReadonlyArray<Buffer>): Buffer => {
  const payload = Buffer.concat(parts)
  return Buffer.concat([u32(6 + payload.length), u8(type), u8(detail), u32(channel), payload])
}

export interface Run {
  /** Default: 0. */
  readonly flags?: number
  /** Default: the user of the handshake. */
  readonly user?: string
  readonly cwd?: string
  readonly env?: ReadonlyArray<string>
  readonly fds?: ReadonlyArray<readonly [fd: number, direction: number]>
  readonly limits?: ReadonlyArray<readonly [resource: number, soft: number, hard: number]>
}

export const runFrame = (channel: number, argv: ReadonlyArray<string>, options: Run = {}): Buffer =>
  frame(
    0x03,
    0,
    channel,
    u8(options.flags ?? 0),
    str(options.user ?? ""),
    str(options.cwd ?? ""),
    list(argv.map(str)),
    list((options.env ?? []).map(str)),
    list((options.fds ?? []).map(([fd, direction]) => Buffer.concat([u32(fd), u8(direction)]))),
    list(
      (options.limits ?? []).map(([resource, soft, hard]) =>
        Buffer.concat([u8(resource), u64(BigInt(soft)), u64(BigInt(hard))])
      )
    ),
    u16(24),
    u16(80)
  )

export const helloFrame = (workdir: string, user = "1000"): Buffer =>
  frame(
    0x01,
    0,
    0,
    str("effect-sandbox"),
    u16(1),
    u16(1),
    str(user),
    str(workdir),
    str(""),
    list([str(workdir)]),
    list([]),
    list([str("PATH=/usr/local/bin:/usr/bin:/bin"), str("GREETING=hello")])
  )

export class Talk {
  /** Everything that came and was not asked for yet. */
  frames: Array<Frame> = []
  readonly directory: string
  readonly #child: ReturnType<typeof start>
  /** What the frames go over, when it is not the child's standard input and output. */
  #socket: net.Socket | undefined
  #bytes = Buffer.alloc(0)
  #waiting: Array<() => void> = []
  #channel = 0
  ended: { readonly code: number | null } | undefined

  constructor(directory: string, inNamespaces: boolean, args: ReadonlyArray<string> = []) {
    this.directory = directory
    this.#child = start(inNamespaces, args)
    this.#child.stdin.on("error", () => undefined)
    this.#child.stdout.on("data", (bytes: Buffer) => this.#feed(bytes))
    this.#child.on("close", (code) => {
      this.ended = { code }
      this.#wake()
    })
  }

  /** Of the process that was started: the agent, or what made its namespaces. */
  get pid(): number | undefined {
    return this.#child.pid
  }

  get newChannel(): number {
    return ++this.#channel
  }

  send(...frames: ReadonlyArray<Buffer>): void {
    const to = this.#socket ?? this.#child.stdin
    to.write(Buffer.concat(frames))
  }

  /** Says something on standard input, where that is not what the frames go over. */
  sendBeside(bytes: Buffer): void {
    this.#child.stdin.write(bytes)
  }

  /** Speaks over a socket from now on, as the agent does. */
  use(socket: net.Socket): void {
    this.#socket = socket
    socket.on("error", () => undefined)
    socket.on("data", (bytes) => this.#feed(bytes))
  }

  /** Ends the socket. */
  endSocket(): void {
    this.#socket?.end()
  }

  run(argv: ReadonlyArray<string>, options?: Run): number {
    const channel = this.newChannel
    this.send(runFrame(channel, argv, options))
    return channel
  }

  /** A program for the shell. */
  sh(script: string, options?: Run): number {
    return this.run(["sh", "-c", script], options)
  }

  endInput(): void {
    this.#child.stdin.end()
  }

  kill(): void {
    this.#child.kill("SIGKILL")
  }

  /** The first frame that is wanted, as soon as it is there. */
  readonly next = (wanted: (frame: Frame) => boolean): Effect.Effect<Frame> =>
    this.#when(() => {
      const index = this.frames.findIndex(wanted)
      return index < 0 ? undefined : this.frames.splice(index, 1)[0]
    })

  readonly nextOf = (channel: number, ...types: ReadonlyArray<number>): Effect.Effect<Frame> =>
    this.next((frame) => frame.channel === channel && (types.length === 0 || types.includes(frame.type)))

  /** The code with which the agent ended. */
  readonly exit: Effect.Effect<number | null> = Effect.suspend(() =>
    Effect.map(
      this.#when(() => this.ended),
      ({ code }) => code
    )
  )

  /** What a stream brings until its end. */
  readonly text = (channel: number, stream = 1): Effect.Effect<string> =>
    Effect.gen({ self: this }, function* () {
      let result = ""
      while (true) {
        const frame = yield* this.next(
          ({ channel: number, detail, type }) =>
            number === channel && detail === stream && (type === 0x84 || type === 0x85)
        )
        if (frame.type === 0x85) return result
        result += frame.payload.toString("latin1")
      }
    })

  /** How a command ended: kind, and code or signal. */
  readonly exitOf = (channel: number): Effect.Effect<ReadonlyArray<number>> =>
    Effect.map(this.nextOf(channel, 0x88), ({ payload }) => [payload[0] ?? -1, payload.readUInt32LE(1)])

  /** The output of a program for the shell that is expected to succeed. */
  readonly output = (script: string, options?: Run): Effect.Effect<string> =>
    Effect.gen({ self: this }, function* () {
      const channel = this.sh(script, options)
      const text = yield* this.text(channel)
      yield* this.exitOf(channel)
      yield* this.close(channel)
      return text
    })

  /** Ends a channel, and waits until it has ended. */
  readonly close = (channel: number, detail = 1): Effect.Effect<Frame> =>
    Effect.suspend(() => {
      this.send(frame(0x09, detail, channel))
      return this.nextOf(channel, 0x8a)
    })

  #when<A>(look: () => A | undefined): Effect.Effect<A> {
    return Effect.callback<A>((resume) => {
      const attempt = () => {
        const found = look()
        if (found !== undefined) resume(Effect.succeed(found))
        else this.#waiting.push(attempt)
      }
      attempt()
    })
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const attempt of waiting) attempt()
  }

  #feed(bytes: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes])
    while (this.#bytes.length >= 10) {
      const end = 4 + this.#bytes.readUInt32LE(0)
      if (this.#bytes.length < end) break
      this.frames.push({
        type: this.#bytes.readUInt8(4),
        detail: this.#bytes.readUInt8(5),
        channel: this.#bytes.readUInt32LE(6),
        payload: this.#bytes.subarray(10, end)
      })
      this.#bytes = this.#bytes.subarray(end)
    }
    this.#wake()
  }
}

const start = (inNamespaces: boolean, args: ReadonlyArray<string>) => {
  const agent = binary ?? ""
  const [program, before] = inNamespaces
    ? ["unshare", [...namespaces, "sh", "-c", `ip link set lo up 2>/dev/null; exec "$0" "$@"`, agent]]
    : [agent, []]
  return spawn(program, [...before, ...args], { stdio: ["pipe", "pipe", "inherit"] })
}

/** An agent that nothing was said to yet. */
export const silent = (options?: {
  readonly inNamespaces?: boolean
  /** For the agent, which may name something in its directory. Default: none. */
  readonly args?: (directory: string) => ReadonlyArray<string>
}): Effect.Effect<Talk, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const directory = fs.mkdtempSync(path.join(os.tmpdir(), "agent-talk-"))
      fs.chmodSync(directory, 0o755)
      return new Talk(directory, options?.inNamespaces ?? true, options?.args?.(directory))
    }),
    (talk) =>
      Effect.gen(function* () {
        talk.endInput()
        if (talk.ended === undefined) talk.kill()
        yield* talk.exit
        fs.rmSync(talk.directory, { recursive: true, force: true })
      })
  )

/** An agent that was offered a socket, and has connected to it. */
export const onSocket: Effect.Effect<Talk, never, Scope.Scope> = Effect.gen(function* () {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "agent-socket-"))),
    (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
  )
  const at = path.join(directory, "socket")
  const server = yield* Effect.acquireRelease(
    Effect.callback<net.Server>((resume) => {
      const server = net.createServer()
      server.listen(at, () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => void server.close())
  )
  const connected = new Promise<net.Socket>((resolve) => server.once("connection", resolve))
  const talk = yield* silent({ args: () => ["--socket", at] })
  talk.use(yield* Effect.promise(() => connected))
  return talk
})

/** An agent that has been greeted. */
export const greeted = (options?: {
  readonly inNamespaces?: boolean
  readonly user?: string
}): Effect.Effect<Talk, never, Scope.Scope> =>
  Effect.tap(silent(options), (talk) => {
    talk.send(helloFrame(path.join(talk.directory, "work"), options?.user))
    return talk.next(({ type }) => type === 0x81)
  })
