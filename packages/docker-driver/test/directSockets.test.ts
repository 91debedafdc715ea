/** Sockets that are offered to agents: who gets at them, and that nothing of them is left. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, FileSystem, Scope } from "effect"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import type { Transport } from "../src/internal/agent/connection.ts"
import * as directSockets from "../src/internal/directSockets.ts"
import * as directTransport from "../src/internal/directTransport.ts"
import * as ownership from "../src/internal/owner.ts"
import { agentFrame, encode } from "../src/internal/protocol/frames.ts"
import { Writer } from "../src/internal/protocol/payload.ts"
import { FakeAgent, turns } from "./support/FakeAgent.ts"

/** A directory of the test's own in the place of the system's for temporary files. */
const place = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "place-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

const filesIn = (directory: string) =>
  Effect.map(FileSystem.FileSystem, (files) => ({
    ...files,
    makeTempDirectory: (options?: { readonly prefix?: string | undefined }) =>
      files.makeTempDirectory({ ...options, directory })
  }))

const make = Effect.fnUntraced(function* (directory: string, owner?: string) {
  const files = yield* filesIn(directory)
  const mine = owner ?? (yield* ownership.current(files, process.pid))
  return yield* directSockets.make({ files, owner: mine, sweep: true })
})

/** An offer that there is, and where its socket is. */
const offered = Effect.fnUntraced(function* (sockets: directSockets.DirectSockets) {
  const offer = yield* sockets.offer
  assert.isDefined(offer)
  return { ...offer, socket: path.join(offer.directory, directSockets.socketName) }
})

/** The other side of a socket; what is heard is its end, or an error's code. */
const connect = (socket: string) => {
  const client = net.connect(socket)
  const heard: Array<string> = []
  const ended = new Promise<string>((resolve) => {
    client.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""))
    client.on("close", () => resolve("closed"))
  })
  client.on("data", (bytes) => heard.push(bytes.toString()))
  return { client, heard, ended: Effect.promise(() => ended) }
}

const list = (directory: string) => Effect.sync(() => fs.readdirSync(directory, { recursive: true }).map(String))

const live = (
  name: string,
  test: (place: string) => Effect.Effect<void, unknown, Scope.Scope | FileSystem.FileSystem>
) => it.live(name, () => Effect.scoped(Effect.flatMap(place, test)).pipe(Effect.provide(NodeServices.layer)))

const isLinux = process.platform === "linux"

describe.skipIf(!isLinux)("a socket that is offered", () => {
  live("is for whoever comes first, in a directory that nobody else of this machine gets at", (place) =>
    Effect.gen(function* () {
      const sockets = yield* make(place)
      // Nothing is made before it is wanted.
      assert.deepStrictEqual(yield* list(place), [])
      const { accepted, directory, socket } = yield* offered(sockets)
      const mode = (file: string) => (fs.statSync(file).mode & 0o777).toString(8)
      assert.deepStrictEqual([path.dirname(directory), directory, socket].map(mode), ["700", "711", "666"])
      assert.isAtMost(Buffer.byteLength(socket), 107)
      const [first, second] = [connect(socket), connect(socket)]
      const agent = yield* accepted
      assert.isDefined(agent)
      assert.match(yield* second.ended, /closed|ECONNRESET/)
      assert.deepStrictEqual(fs.readdirSync(directory), [])
      assert.strictEqual(yield* connect(socket).ended, "ENOENT")

      yield* agent.connection.write(Buffer.from("hello"))
      first.client.write("here I am")
      const heard = yield* agent.connection.pull
      assert.strictEqual(Buffer.concat(heard).toString(), "here I am")
      yield* agent.close
      assert.strictEqual(yield* first.ended, "closed")
      assert.strictEqual(first.heard.join(""), "hello")
    })
  )

  live("hands over without new memory what comes before and after somebody listens", (place) =>
    Effect.gen(function* () {
      const { accepted, socket } = yield* offered(yield* make(place))
      const { client } = connect(socket)
      client.write("early ")
      const agent = yield* accepted
      yield* Effect.sleep(50)
      const memories = new Set<ArrayBufferLike>()
      let text = ""
      const receiving = agent?.connection.receive?.((chunk) => {
        if (text.length > 6) memories.add(chunk.buffer)
        text += Buffer.from(chunk).toString()
        return text.includes("end") ? ("all" as const) : undefined
      })
      assert.isDefined(receiving)
      const done = yield* Effect.forkChild(Effect.flip(receiving), { startImmediately: true })
      for (const part of ["x".repeat(1_000_000), "y".repeat(1_000_000), "end"]) {
        yield* Effect.promise(() => new Promise((resolve) => client.write(part, resolve)))
      }
      assert.strictEqual(yield* Fiber.join(done), "all")
      assert.strictEqual(text.length, 2_000_009)
      assert.strictEqual(memories.size, 1)
      client.destroy()
    })
  )

  live("is gone when it is withdrawn, and with its scope; the directory goes with that of all", (place) =>
    Effect.gen(function* () {
      const all = yield* Scope.make()
      const sockets = yield* Scope.provide(make(place), all)
      const one = yield* Scope.make()
      const { accepted, directory, socket, withdraw } = yield* Scope.provide(offered(sockets), one)
      const other = yield* Scope.provide(offered(sockets), all)
      yield* withdraw
      assert.isUndefined(yield* accepted)
      assert.strictEqual(yield* connect(socket).ended, "ENOENT")
      yield* Scope.close(one, Exit.void)
      assert.isFalse(fs.existsSync(directory))
      const { client, ended } = connect(other.socket)
      yield* other.accepted
      yield* Scope.close(all, Exit.void)
      assert.strictEqual(yield* ended, "closed")
      assert.isTrue(client.destroyed)
      assert.deepStrictEqual(yield* list(place), [])
    })
  )

  live("leaves nothing when it is interrupted at any moment", (place) =>
    Effect.gen(function* () {
      for (let moment = 0; moment < 60; moment++) {
        const use = Effect.scoped(Effect.flatMap(make(place), (sockets) => Effect.scoped(sockets.offer)))
        const fiber = yield* Effect.forkChild(use, { startImmediately: true })
        yield* moment % 2 === 0 ? turns(moment) : Effect.sleep(moment / 10)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* list(place), [], `at moment ${moment}`)
      }
    })
  )

  live("there is none where its path is too long, its directory is lost, or nobody could tell whose it is", (place) =>
    Effect.gen(function* () {
      const deep = path.join(place, "x".repeat(60), "y".repeat(30))
      fs.mkdirSync(deep, { recursive: true })
      const tooDeep = yield* make(deep)
      assert.isUndefined(yield* tooDeep.offer)
      const nowhere = yield* make(path.join(place, "nowhere"))
      assert.isUndefined(yield* nowhere.offer)
      assert.isUndefined(yield* nowhere.name)
      const unknown = yield* make(place, "0123abcd///")
      assert.isUndefined(yield* unknown.offer)
      const cleaned = yield* make(place)
      fs.rmSync(path.join(place, (yield* cleaned.name) ?? ""), { recursive: true })
      assert.isUndefined(yield* cleaned.offer)
    })
  )

  live("a dead process's directory is removed by the next, and nothing that only looks like one", (place) =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      const owner = yield* ownership.current(files, process.pid)
      const [, boot = "", pid = "", start = ""] = owner.split("/")
      const first = yield* Effect.scoped(Effect.flatMap(make(place), ({ name }) => name))
      const prefix = first?.slice(0, first.indexOf(`-${pid}-${start}-`)) ?? ""
      const add = (name: string, mode: number) => {
        fs.mkdirSync(path.join(place, name, "1"), { recursive: true })
        fs.writeFileSync(path.join(place, name, "1", directSockets.socketName), "")
        fs.chmodSync(path.join(place, name), mode)
      }
      // Numbers are used again; start times are not.
      add(`${prefix}-${pid}-1${start}-abcdef`, 0o700)
      add(`${prefix}-4194305-${start}-abcdef`, 0o700)
      const others = [
        `${prefix}-${pid}-${start}-living`,
        `${prefix}-1-${start}-opened`,
        `effect-sandbox-otherone-${pid}-1${start}-abcdef`,
        "effect-sandbox-abcdef"
      ]
      for (const name of others) add(name, name.endsWith("opened") ? 0o755 : 0o700)
      fs.mkdirSync(path.join(place, "kept"), { mode: 0o700 })
      fs.symlinkSync(path.join(place, "kept"), path.join(place, `${prefix}-1-2${start}-linked`))
      fs.writeFileSync(path.join(place, `${prefix}-1-2${start}-afile1`), "")
      const { offer } = yield* make(place)
      const { directory } = yield* offer.pipe(Effect.map((found) => found ?? assert.fail("there is no offer")))
      assert.deepStrictEqual(
        fs.readdirSync(place).toSorted(),
        [
          path.basename(path.dirname(directory)),
          ...others,
          "kept",
          `${prefix}-1-2${start}-linked`,
          `${prefix}-1-2${start}-afile1`
        ].toSorted()
      )
      assert.isNotEmpty(boot)
    })
  )
})

/** What an agent that says so on the attached stream says. */
const indirect = (errno = 13) => new Writer().u32(errno).frame(agentFrame.indirect, 0, 0)

/** An offer that was made, the attached stream beside it, and what is to come of both. */
const offering = (place: string) =>
  Effect.gen(function* () {
    const { socket, ...offer } = yield* offered(yield* make(place))
    const attached = new FakeAgent()
    const transport = yield* directTransport.make(offer, attached.transport)
    const texts: Array<string> = []
    const receive = transport.receive((chunk): undefined => void texts.push(Buffer.from(chunk).toString()))
    return { attached, transport, socket, texts, receive }
  })

const write = (transport: Transport, text: string) => transport.write([Buffer.from(text)])

describe.skipIf(!isLinux)("the way to an agent that was offered a socket", () => {
  live("is the socket when it connects, until the attached stream ends", (place) =>
    Effect.gen(function* () {
      const { attached, receive, socket, texts, transport } = yield* offering(place)
      const written = yield* Effect.forkChild(write(transport, "hello"), { startImmediately: true })
      const received = yield* Effect.forkChild(Effect.flip(receive), { startImmediately: true })
      assert.isFalse(transport.isDirect())
      const { client, ended, heard } = connect(socket)
      yield* Fiber.join(written)
      assert.isTrue(transport.isDirect())
      yield* Effect.promise(() => new Promise((resolve) => client.write("welcome", resolve)))
      while (texts.length === 0) yield* Effect.sleep(5)
      assert.deepStrictEqual(texts, ["welcome"])
      attached.end()
      assert.isTrue(Cause.isDone(yield* Fiber.join(received)))
      yield* transport.isOver
      assert.strictEqual(yield* ended, "closed")
      assert.deepStrictEqual(heard, ["hello"])
      assert.isTrue(Exit.isFailure(yield* Effect.exit(write(transport, "nobody hears it"))))
    })
  )

  live("is the attached stream when the agent says so, and there is no socket any more", (place) =>
    Effect.gen(function* () {
      const { attached, receive, socket, texts, transport } = yield* offering(place)
      const written = yield* Effect.forkChild(write(transport, "x"), { startImmediately: true })
      const received = yield* Effect.forkChild(Effect.flip(receive), { startImmediately: true })
      assert.strictEqual(attached.writes, 0)
      for (const byte of indirect()) attached.raw(Uint8Array.of(byte))
      yield* Fiber.join(written)
      assert.strictEqual(attached.writes, 1)
      assert.isFalse(transport.isDirect())
      assert.strictEqual(yield* connect(socket).ended, "ENOENT")
      yield* transport.isOver
      attached.raw(Buffer.from("welcome"))
      yield* turns(5)
      assert.deepStrictEqual(texts, ["welcome"])
      attached.break(new Error("broken"))
      assert.match(String(yield* Fiber.join(received)), /broken/)
    })
  )

  const wrong: { readonly [what: string]: (agent: FakeAgent) => void } = {
    "something else": (agent) => agent.welcome(),
    "the same on a channel": (agent) => agent.raw(encode(agentFrame.indirect, 0, 1, new Uint8Array(4))),
    "half of it": (agent) => agent.raw(encode(agentFrame.indirect, 0, 0, new Uint8Array(2))),
    "no frame": (agent) => agent.raw(Buffer.from("hello there, who are you?"))
  }
  for (const [what, say] of Object.entries(wrong)) {
    live(`is none when the agent says ${what}`, (place) =>
      Effect.gen(function* () {
        const { attached, receive, socket, transport } = yield* offering(place)
        say(attached)
        assert.match(String(yield* Effect.flip(receive)), /MalformedFrame/)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(write(transport, "x"))))
        assert.strictEqual(yield* connect(socket).ended, "ENOENT")
      })
    )
  }

  live("ends when anything comes on the attached stream beside the socket", (place) =>
    Effect.gen(function* () {
      const { attached, receive, socket } = yield* offering(place)
      const received = yield* Effect.forkChild(Effect.flip(receive), { startImmediately: true })
      const { client, ended } = connect(socket)
      yield* Effect.promise(() => new Promise((resolve) => client.write("welcome", resolve)))
      yield* Effect.sleep(20)
      attached.raw(indirect())
      assert.match(String(yield* Fiber.join(received)), /MalformedFrame/)
      assert.strictEqual(yield* ended, "closed")
    })
  )

  live("ends with its agent before that has chosen, and says how", (place) =>
    Effect.gen(function* () {
      const { attached, receive, socket, transport } = yield* offering(place)
      const written = yield* Effect.forkChild(Effect.exit(write(transport, "x")), { startImmediately: true })
      attached.break(new Error("the engine has gone"))
      assert.match(String(yield* Effect.flip(receive)), /the engine has gone/)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(written)))
      assert.strictEqual(yield* connect(socket).ended, "ENOENT")
    })
  )

  live("can be interrupted while it waits for the agent", (place) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { receive, socket } = yield* Scope.provide(offering(place), scope)
      const received = yield* Effect.forkChild(receive, { startImmediately: true })
      yield* Fiber.interrupt(received)
      const { ended } = connect(socket)
      yield* Scope.close(scope, Exit.void)
      assert.match(yield* ended, /closed|ENOENT|ECONNRE/)
      assert.deepStrictEqual(yield* list(place), [])
    })
  )
})
