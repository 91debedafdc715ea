/** Files over a connection: what is asked for, how refusals are told, and that nothing is left whatever happens. */
import { CallLifetime } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import {
  ByteSize,
  Deferred,
  Effect,
  Exit,
  Fiber,
  type FileSystem,
  Option,
  type PlatformError,
  Scheduler,
  Scope,
  Stream
} from "effect"
import { TestClock } from "effect/testing"
import { make as makeFileSystem } from "../src/internal/agent/fileSystem.ts"
import { errnoNumber, openFlag } from "../src/internal/protocol/errno.ts"
import {
  agentFrame,
  errorStage,
  eventKind,
  fileOperation,
  fileType,
  hostFrame,
  streamCredit
} from "../src/internal/protocol/frames.ts"
import { Reader, Writer } from "../src/internal/protocol/payload.ts"
import { connected, type FakeAgent, type Frame, turns } from "./support/FakeAgent.ts"

const bench = Effect.gen(function* () {
  const { agent, connection } = yield* connected()
  const made = makeFileSystem({ connection, workdir: "/work", temporary: "/tmp" })
  return { agent, connection, files: made.fileSystem, forget: made.forgetSessionFiles }
})

/** Starts something, and gives the agent's view of it. */
const asked = <A, E>(agent: FakeAgent, effect: Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    const frame = yield* agent.take(hostFrame.file)
    const reader = new Reader(frame.payload)
    return { fiber, channel: frame.channel, detail: frame.detail, operation: reader.u8(), reader }
  })

const operationOf = ({ payload }: Frame): number => payload[0] ?? 0

const info = (type: number, mode = 0o644) =>
  new Writer()
    .u8(type)
    .u64(1n)
    .u64(2n)
    .u32(mode)
    .u64(3n)
    .u32(1000)
    .u32(1001)
    .u64(4n)
    .u64(5n)
    .u64(4096n)
    .u64(8n)
    .i64(1_500_000_000n)
    .i64(-1n)
    .i64(0n)
    .i64(-(2n ** 63n))

/** Answers opens with the number of their channel, and everything else with nothing. */
const willing = (agent: FakeAgent) => (frame: Frame) => {
  if (frame.type === hostFrame.close) agent.send(agentFrame.closed, 0, frame.channel)
  if (frame.type !== hostFrame.file) return
  const reply = new Writer()
  if (operationOf(frame) === fileOperation.open) reply.u32(frame.channel)
  if (operationOf(frame) === fileOperation.watch) {
    return agent.send(agentFrame.event, 0, frame.channel, reply.u8(eventKind.ready).str(""))
  }
  agent.send(agentFrame.reply, 0, frame.channel, reply)
}

describe("a refusal", () => {
  it.effect("is told as Node's platform tells it", () =>
    Effect.gen(function* () {
      const { agent, files } = yield* bench
      const refused = (
        effect: Effect.Effect<unknown, PlatformError.PlatformError>,
        errno: Parameters<typeof errnoNumber>[0],
        stage: number = errorStage.operation,
        message = ""
      ) =>
        Effect.gen(function* () {
          const { channel, fiber } = yield* asked(agent, Effect.flip(effect))
          agent.error(channel, errnoNumber(errno), stage, message)
          const error = yield* Fiber.join(fiber)
          yield* agent.rest
          return error
        })
      const stat = yield* refused(files.stat("a/b"), "ENOENT")
      assert.strictEqual(stat.message, "NotFound: FileSystem.stat (a/b): No such file or directory")
      assert.deepInclude(stat.cause, { _tag: "SystemCallError", code: "ENOENT", errno: 2 })
      const messages = yield* Effect.forEach(
        [
          refused(files.readFile("x"), "EACCES"),
          refused(files.chown("x", 1, 1), "EPERM"),
          refused(files.makeDirectory("x"), "EEXIST"),
          refused(files.readDirectory("x"), "ENOTDIR"),
          refused(files.writeFileString("x", "y"), "EISDIR"),
          refused(files.remove("x"), "EISDIR"),
          refused(files.realPath("x"), "ELOOP"),
          refused(files.rename("x", "y"), "EBUSY"),
          refused(files.link("x", "y"), "EXDEV", errorStage.secondPath, "another device"),
          refused(files.utimes("x", 1, 1), "EROFS"),
          refused(files.writeFileString("x", "y"), "ENOSPC", errorStage.operation, "the quota is used up")
        ],
        Effect.map(({ message }) => message)
      )
      assert.deepStrictEqual(messages, [
        "PermissionDenied: FileSystem.readFile (x): Permission denied",
        "PermissionDenied: FileSystem.chown (x): Operation not permitted",
        "AlreadyExists: FileSystem.makeDirectory (x): File exists",
        "BadResource: FileSystem.readDirectory (x): Not a directory",
        "BadResource: FileSystem.writeFile (x): Is a directory",
        "Unknown: FileSystem.remove (x): Is a directory",
        "BadResource: FileSystem.realPath (x): Too many levels of symbolic links",
        "Busy: FileSystem.rename (x): Device or resource busy",
        "Unknown: FileSystem.link (x): Invalid cross-device link: (y) another device",
        "Unknown: FileSystem.utime (x): Read-only file system",
        "Unknown: FileSystem.writeFile (x): No space left on device: the quota is used up"
      ])
      const missing = yield* asked(agent, files.exists("gone"))
      agent.error(missing.channel, errnoNumber("ENOENT"))
      assert.isFalse(yield* Fiber.join(missing.fiber))
    })
  )

  it.effect("of what no system is asked for needs no agent", () =>
    Effect.gen(function* () {
      const { agent, files } = yield* bench
      const tags = yield* Effect.forEach(
        [
          files.stat("a\0b"),
          files.rename("a", "b\0"),
          files.readDirectory("\0"),
          files.chmod("a", -1),
          files.chown("a", 1.5, 0),
          files.truncate("a", Number.NaN),
          files.utimes("a", Number.NaN, 0),
          files.utimes("a", 1e12, 0),
          Effect.scoped(files.open("a", { mode: 2 ** 32 })),
          Stream.runDrain(files.stream("\0")),
          Stream.run(Stream.make(new Uint8Array(1)), files.sink("\0")),
          Stream.runDrain(files.watch("\0"))
        ],
        (effect: Effect.Effect<unknown, PlatformError.PlatformError>) =>
          Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)
      )
      assert.deepStrictEqual(tags, [
        "BadArgument",
        "BadArgument",
        "Unknown",
        ...Array.from({ length: 4 }, () => "BadArgument"),
        "Unknown",
        ...Array.from({ length: 4 }, () => "BadArgument")
      ])
      assert.deepStrictEqual(yield* agent.rest, [])
    })
  )
})

describe("what is known of a file", () => {
  it.effect("is told in full", () =>
    Effect.gen(function* () {
      const { agent, files } = yield* bench
      const lstat = yield* asked(agent, files.lstat("link"))
      assert.deepStrictEqual([lstat.operation, lstat.reader.str(), lstat.reader.u8()], [fileOperation.stat, "link", 0])
      agent.send(agentFrame.reply, 0, lstat.channel, info(fileType.link, 0o777))
      const found = yield* Fiber.join(lstat.fiber)
      assert.strictEqual(found.type, "SymbolicLink")
      assert.strictEqual(found.mode, 0o120777)
      assert.strictEqual(ByteSize.toBigInt(found.size), 5n)
      assert.deepStrictEqual(
        [found.ino, found.nlink, found.uid, found.gid, found.rdev, found.blocks],
        [Option.some(2n), Option.some(3n), Option.some(1000), Option.some(1001), Option.some(4n), Option.some(8n)]
      )
      const millis = Option.map((date: Date) => date.getTime())
      assert.deepStrictEqual([millis(found.atime), millis(found.mtime)], [Option.some(1500), Option.some(-1)])
      assert.deepStrictEqual(found.birthtime, Option.none())
    })
  )

  it.effect("comes in a listing whose entries are cut anywhere", () =>
    Effect.gen(function* () {
      const { agent, files } = yield* bench
      const list = yield* asked(agent, files.readDirectoryEntries("place"))
      const entries = new Writer().u8(fileType.file).str("a").u8(fileType.directory).str("bä").u8(42).str("c")
      const payload = entries.frame(0, 0, 0).subarray(10)
      for (const byte of payload) agent.send(agentFrame.data, 1, list.channel, Uint8Array.of(byte))
      agent.send(agentFrame.reply, 0, list.channel)
      assert.deepStrictEqual(yield* Fiber.join(list.fiber), [
        { name: "a", type: "File" },
        { name: "bä", type: "Directory" },
        { name: "c", type: "Unknown" }
      ])
    })
  )
})

describe("an open file", () => {
  const opened = (path: string, options?: Parameters<FileSystem.FileSystem["open"]>[1]) =>
    Effect.gen(function* () {
      const { agent, connection, files, forget } = yield* bench
      const scope = yield* Scope.make()
      const open = yield* asked(agent, Scope.provide(files.open(path, options), scope))
      const request = [open.reader.str(), open.reader.u32(), open.reader.u32()]
      agent.send(agentFrame.reply, 0, open.channel, new Writer().u32(5))
      return { agent, connection, scope, request, forget, file: yield* Fiber.join(open.fiber) }
    })

  it.effect("is asked for with the flags of Linux", () =>
    Effect.gen(function* () {
      const requests = yield* Effect.forEach(
        [{}, { flag: "r+" }, { flag: "w", mode: 0o600 }, { flag: "ax+" }, { flag: "wx", noFollow: true }] as const,
        (options) => Effect.map(opened("file", options), ({ request }) => request)
      )
      const { append, create, exclusive, noFollow, readWrite, truncate, writeOnly } = openFlag
      assert.deepStrictEqual(requests, [
        ["file", 0, 0o666],
        ["file", readWrite, 0o666],
        ["file", writeOnly | create | truncate, 0o600],
        ["file", readWrite | create | append | exclusive, 0o666],
        ["file", writeOnly | create | truncate | exclusive | noFollow, 0o666]
      ])
    })
  )

  it.effect("is read and written at its cursor, in pieces that the agent can take", () =>
    Effect.gen(function* () {
      const { agent, file } = yield* opened("file", { flag: "r+" })
      const megabyte = 1024 * 1024
      const read = yield* Effect.forkChild(file.readAlloc(megabyte + 10), { startImmediately: true })
      const positions: Array<readonly [bigint, number]> = []
      for (const length of [megabyte, 4]) {
        const { channel, payload } = yield* agent.take(hostFrame.file)
        const reader = new Reader(payload)
        assert.deepStrictEqual([reader.u8(), reader.u32()], [fileOperation.read, 5])
        positions.push([reader.i64(), reader.u32()])
        agent.send(agentFrame.reply, 0, channel, new Uint8Array(length).fill(length % 255))
      }
      const found = yield* Fiber.join(read)
      assert.strictEqual(found._tag === "Some" ? found.value.length : 0, megabyte + 4)
      assert.deepStrictEqual(positions, [
        [0n, megabyte],
        [BigInt(megabyte), 10]
      ])
      const write = yield* Effect.forkChild(file.writeAll(new Uint8Array(10)), { startImmediately: true })
      for (const written of [3, 7]) {
        const { channel, payload } = yield* agent.take(hostFrame.file)
        const reader = new Reader(payload)
        assert.deepStrictEqual([reader.u8(), reader.u32()], [fileOperation.write, 5])
        positions.push([reader.i64(), reader.rest().length])
        agent.send(agentFrame.reply, 0, channel, new Writer().u32(written))
      }
      yield* Fiber.join(write)
      assert.deepStrictEqual(positions.slice(2), [
        [BigInt(megabyte + 4), 10],
        [BigInt(megabyte + 7), 7]
      ])
      assert.strictEqual(yield* file.seek(0n, "current"), BigInt(megabyte + 14))
    })
  )

  it.effect("is closed once with its scope, and is not used afterwards", () =>
    Effect.gen(function* () {
      const { agent, file, scope } = yield* opened("file")
      agent.answer = willing(agent)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(operationOf(yield* agent.take(hostFrame.file)), fileOperation.close)
      const errors = yield* Effect.forEach(
        [
          file.stat,
          file.readAlloc(1),
          file.writeAll(new Uint8Array(1)),
          file.truncate(),
          file.sync,
          file.seek(0n, "start")
        ],
        (effect: Effect.Effect<unknown, PlatformError.PlatformError>) =>
          Effect.map(Effect.flip(effect), ({ cause }) => cause)
      )
      for (const cause of errors) assert.deepInclude(cause, { code: "EBADF" })
      assert.deepStrictEqual(yield* agent.rest, [])
    })
  )

  it.effect("of a session is never used again when that was reset", () =>
    Effect.gen(function* () {
      const { agent, file, forget, scope } = yield* opened("file", { flag: "w" })
      forget()
      assert.deepInclude((yield* Effect.flip(file.writeAll(new Uint8Array(1)))).cause, { code: "EBADF" })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* agent.rest, [])
    })
  )

  it.effect("of the sandbox stays open, and is used on its behalf", () =>
    Effect.gen(function* () {
      const { agent, file, forget } = yield* opened("file").pipe(Effect.provideService(CallLifetime, "sandbox"))
      forget()
      agent.answer = (frame) => agent.send(agentFrame.reply, 0, frame.channel)
      yield* file.sync
      assert.strictEqual((yield* agent.take(hostFrame.file)).detail, 1)
    })
  )

  it.effect("that nobody wants any more is closed, at whatever moment that was", () =>
    Effect.gen(function* () {
      for (const operations of [3, 5, 2048]) {
        yield* Effect.gen(function* () {
          const { agent, connection, files } = yield* bench
          agent.answer = willing(agent)
          const use = Effect.scoped(Effect.andThen(files.open("file"), Effect.never))
          for (let count = 0; count < 25; count++) {
            const fiber = yield* Effect.forkChild(use, { startImmediately: true })
            yield* turns(count)
            yield* Fiber.interrupt(fiber)
            assert.strictEqual(connection.channelCount, 0)
          }
          const frames = yield* agent.rest
          const open = frames.filter(
            (frame) => operationOf(frame) === fileOperation.open && frame.type === hostFrame.file
          )
          const closed = frames.filter(
            (frame) => operationOf(frame) === fileOperation.close && frame.type === hostFrame.file
          )
          // The answer of an open that was given up tells whether there is anything to close.
          assert.isAtMost(closed.length, open.length)
          const numbers = closed.map(({ payload }) => new Reader(payload.subarray(1)).u32())
          assert.strictEqual(new Set(numbers).size, numbers.length)
          const answered = open.filter(
            ({ channel }) => !frames.some((frame) => frame.type === hostFrame.close && frame.channel === channel)
          )
          assert.isAtLeast(numbers.length, answered.length)
        }).pipe(Effect.provideService(Scheduler.MaxOpsBeforeYield, operations))
      }
    })
  )
})

describe("content", () => {
  it.effect("is written as far as there is room, and has arrived when that is answered", () =>
    Effect.gen(function* () {
      const { agent, files } = yield* bench
      const data = new Uint8Array(streamCredit + 5).fill(7)
      const write = yield* asked(agent, files.writeFile("file", data, { flag: "a", mode: 0o640 }))
      assert.deepStrictEqual(
        [write.operation, write.reader.str(), write.reader.u32(), write.reader.u32()],
        [fileOperation.upload, "file", openFlag.writeOnly | openFlag.create | openFlag.append, 0o640]
      )
      const size = (frames: ReadonlyArray<Frame>) => frames.reduce((sum, { payload }) => sum + payload.length, 0)
      assert.strictEqual(size(yield* agent.rest), streamCredit)
      agent.credit(write.channel, 0, 100)
      const last = yield* agent.rest
      assert.deepStrictEqual([size(last), last.at(-1)?.type], [5, hostFrame.end])
      assert.isUndefined(write.fiber.pollUnsafe())
      agent.send(agentFrame.reply, 0, write.channel, new Writer().u64(BigInt(data.length)))
      yield* Fiber.join(write.fiber)
    })
  )

  it.effect("that is refused in the middle is written no further", () =>
    Effect.gen(function* () {
      const { agent, connection, files } = yield* bench
      let taken = 0
      const source = Stream.forever(Stream.fromEffect(Effect.sync(() => (taken++, new Uint8Array(60_000)))))
      const write = yield* asked(agent, Stream.run(source, files.sink("file")))
      yield* turns(5)
      agent.error(write.channel, errnoNumber("ENOSPC"))
      const error = yield* Effect.flip(Fiber.join(write.fiber))
      assert.strictEqual(error.message, "Unknown: FileSystem.sink (file): No space left on device")
      assert.isBelow(taken, 10)
      assert.strictEqual(connection.channelCount, 0)
    })
  )

  it.effect("is read as fast as it is taken, from where and as far as was asked", () =>
    Effect.gen(function* () {
      const { agent, files } = yield* bench
      const read = yield* asked(
        agent,
        Stream.runFold(
          files.stream("file", { offset: 10, bytesToRead: 300_000 }),
          () => 0,
          (sum, chunk) => sum + chunk.length
        )
      )
      assert.deepStrictEqual(
        [read.operation, read.reader.str(), read.reader.u64(), read.reader.u64()],
        [fileOperation.download, "file", 10n, 300_000n]
      )
      for (let sent = 0; sent < 4; sent++) agent.send(agentFrame.data, 1, read.channel, new Uint8Array(50_000))
      assert.strictEqual((yield* agent.take(hostFrame.credit)).detail, 1)
      agent.send(agentFrame.data, 1, read.channel, new Uint8Array(9))
      agent.send(agentFrame.reply, 0, read.channel, new Writer().u64(200_009n))
      assert.strictEqual(yield* Fiber.join(read.fiber), 200_009)
    })
  )

  it.effect("that nobody reads any more is given up", () =>
    Effect.gen(function* () {
      const { agent, connection, files } = yield* bench
      const read = yield* asked(agent, Stream.runDrain(Stream.take(files.stream("file"), 1)))
      agent.send(agentFrame.data, 1, read.channel, new Uint8Array(50_000))
      yield* agent.take(hostFrame.close)
      agent.send(agentFrame.data, 1, read.channel, new Uint8Array(50_000))
      agent.send(agentFrame.closed, 0, read.channel)
      yield* Fiber.join(read.fiber)
      assert.strictEqual(connection.channelCount, 0)
    })
  )

  it.effect("of a reset is told as an error", () =>
    Effect.gen(function* () {
      const { agent, files } = yield* bench
      const read = yield* asked(agent, Effect.flip(files.readFile("file")))
      agent.send(agentFrame.closed, 0, read.channel)
      assert.strictEqual((yield* Fiber.join(read.fiber)).reason._tag, "BadResource")
    })
  )

  it.effect("is given up at any moment, and no channel stays open", () =>
    Effect.gen(function* () {
      const { agent, connection, files } = yield* bench
      agent.answer = (frame) => {
        if (frame.type === hostFrame.close) agent.send(agentFrame.closed, 0, frame.channel)
        if (frame.type === hostFrame.file && operationOf(frame) === fileOperation.download) {
          agent.send(agentFrame.data, 1, frame.channel, new Uint8Array(10))
        }
      }
      const uses: ReadonlyArray<Effect.Effect<unknown, PlatformError.PlatformError>> = [
        files.readFile("a"),
        files.writeFile("a", new Uint8Array(500_000)),
        Stream.runDrain(files.stream("a")),
        Stream.run(Stream.forever(Stream.make(new Uint8Array(1000))), files.sink("a")),
        files.stat("a"),
        files.readDirectory("a"),
        Stream.runDrain(files.watch("a"))
      ]
      for (const use of uses) {
        for (let count = 0; count < 12; count++) {
          const fiber = yield* Effect.forkChild(use, { startImmediately: true })
          yield* turns(count)
          yield* Fiber.interrupt(fiber)
          assert.strictEqual(connection.channelCount, 0)
        }
      }
      assert.isUndefined(connection.end)
    }).pipe(Effect.provideService(Scheduler.MaxOpsBeforeYield, 4))
  )
})

describe("an agent that does not answer", () => {
  it.effect("does not keep for ever whoever gives up", () =>
    Effect.gen(function* () {
      const { agent, files } = yield* bench
      const stat = yield* asked(agent, files.stat("file"))
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(stat.fiber), { startImmediately: true })
      yield* agent.take(hostFrame.close)
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(interrupting.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(interrupting)
    })
  )
})

describe("watching", () => {
  it.effect("tells when it has begun, and every change by its name", () =>
    Effect.gen(function* () {
      const { agent, connection, files } = yield* bench
      let isReady = false
      const events: Array<string> = []
      const watch = yield* asked(
        agent,
        Stream.runForEach(files.watch("a/../place/", { recursive: true, onReady: () => (isReady = true) }), (event) =>
          Effect.sync(() => events.push(`${event._tag} ${event.path}`))
        )
      )
      assert.deepStrictEqual(
        [watch.operation, watch.reader.str(), watch.reader.u8()],
        [fileOperation.watch, "a/../place/", 1]
      )
      yield* turns(2)
      assert.isFalse(isReady)
      const say = (kind: number, name: string) =>
        agent.send(agentFrame.event, 0, watch.channel, new Writer().u8(kind).str(name))
      say(eventKind.ready, "")
      say(eventKind.created, "x/y")
      say(eventKind.changed, "x")
      say(eventKind.removed, "")
      yield* turns(3)
      assert.isTrue(isReady)
      assert.deepStrictEqual(events, ["Create x/y", "Update x", "Remove place"])
      say(eventKind.lost, "")
      yield* agent.take(hostFrame.close)
      agent.send(agentFrame.closed, 0, watch.channel)
      assert.include((yield* Effect.flip(Fiber.join(watch.fiber))).message, "too many events")
      assert.strictEqual(connection.channelCount, 0)
    })
  )

  it.effect("fails when too many events wait to be read", () =>
    Effect.gen(function* () {
      const { agent, files } = yield* bench
      const slow = yield* Deferred.make<void>()
      let seen = 0
      const watch = yield* asked(
        agent,
        Stream.runForEach(files.watch("place"), () =>
          Effect.andThen(
            Effect.sync(() => seen++),
            Deferred.await(slow)
          )
        )
      )
      const event = new Writer().u8(eventKind.created).str("x").frame(agentFrame.event, 0, watch.channel)
      agent.answer = willing(agent)
      for (let count = 0; count < 20_000; count++) agent.raw(event)
      yield* turns(5)
      yield* Deferred.succeed(slow, undefined)
      assert.include((yield* Effect.flip(Fiber.join(watch.fiber))).message, "too many events")
      assert.isAbove(seen, 16_000)
    })
  )
})
