/* oxlint-disable vitest/no-conditional-tests, vitest/no-disabled-tests -- what cannot be had here is shown as skipped */
/** The host's side against the agent itself, as a process of this machine: what the conformance suite does not ask for. */
import { CommandUser, SandboxId } from "@effect-sandbox/core"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, FileSystem, Option, Queue, Scope, Stream } from "effect"
import { ChildProcess } from "effect/process"
import type { Socket } from "effect/socket"
import { connect, listen } from "../src/internal/agent/connect.ts"
import * as hostFiles from "../src/internal/agent/hostFiles.ts"
import * as instances from "../src/internal/agent/instance.ts"
import * as LocalAgent from "./support/LocalAgent.ts"

const limit = 60_000
const machine = LocalAgent.makeMachine()
let count = 0

const sandbox = Effect.suspend(() => {
  const sandboxId = SandboxId.make(`test-${++count}`)
  return Effect.flatMap(LocalAgent.transport(machine, sandboxId), (transport) =>
    Effect.map(instances.make({ sandboxId, transport, hello: LocalAgent.hello(machine) }), (instance) => ({
      ...instance,
      sandboxId
    }))
  )
})

const sh = (script: string, options: ChildProcess.CommandOptions = {}) =>
  ChildProcess.make("sh", ["-c", script], { stdin: "ignore", extendEnv: true, ...options })

const text = (bytes: ReadonlyArray<Uint8Array | string>): string =>
  bytes.map((part) => (typeof part === "string" ? part : new TextDecoder().decode(part))).join("")

/** Everything that comes on a socket until its end. */
const readAll = (pull: Socket.Reader["pull"]) =>
  Effect.gen(function* () {
    let all = ""
    const loop = Effect.forever(Effect.map(pull, (parts) => (all += text(parts))))
    const error = yield* Effect.flip(loop)
    return { all, reason: error.reason }
  })

/** 5 MiB and a bit, unlike at any two offsets. */
const content = Uint8Array.from({ length: 5 * 1_048_576 + 17 }, (_, index) => (index * 31 + (index >> 8)) & 0xff)

const copies = () => {
  it.live(
    "copies files from this machine and back, with their permissions, over what was there",
    () =>
      Effect.gen(function* () {
        const { connection, fileSystem } = yield* sandbox
        const host = yield* FileSystem.FileSystem
        const directory = yield* host.makeTempDirectoryScoped()
        const here = `${directory}/here`
        for (const length of [content.length, 1_048_576, 1, 0]) {
          yield* host.writeFile(here, content.subarray(0, length))
          yield* hostFiles.upload({ connection, host, from: here, to: "there", mode: 0o100_750 })
          assert.strictEqual(Buffer.compare(yield* fileSystem.readFile("there"), content.subarray(0, length)), 0)
          yield* hostFiles.download({ connection, host, from: "there", to: `${directory}/back`, mode: 0o100_640 })
          assert.strictEqual(
            Buffer.compare(yield* host.readFile(`${directory}/back`), content.subarray(0, length)),
            0,
            String(length)
          )
        }
        assert.strictEqual((yield* fileSystem.stat("there")).mode & 0o7777, 0o750)
        assert.strictEqual((yield* host.stat(`${directory}/back`)).mode & 0o7777, 0o640)
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    limit
  )

  it.live(
    "overwrites nothing with a file that cannot be read, and says which it was",
    () =>
      Effect.gen(function* () {
        const { connection, fileSystem } = yield* sandbox
        const host = yield* FileSystem.FileSystem
        const here = `${yield* host.makeTempDirectoryScoped()}/here`
        yield* host.writeFileString(here, "kept here")
        yield* fileSystem.writeFileString("there", "kept there")
        const copy = { connection, host, mode: 0o644 }
        const failures = [
          yield* Effect.flip(hostFiles.upload({ ...copy, from: `${here}-not`, to: "there" })),
          yield* Effect.flip(hostFiles.download({ ...copy, from: "not-there", to: here })),
          yield* Effect.flip(hostFiles.upload({ ...copy, from: here, to: "no/such/directory" })),
          yield* Effect.flip(hostFiles.download({ ...copy, from: ".", to: here }))
        ]
        assert.deepStrictEqual(
          failures.map(({ reason }) => `${reason._tag} ${"pathOrDescriptor" in reason ? reason.pathOrDescriptor : ""}`),
          [`NotFound ${here}-not`, "NotFound not-there", "NotFound no/such/directory", "BadResource ."]
        )
        assert.strictEqual(yield* host.readFileString(here), "kept here")
        assert.strictEqual(yield* fileSystem.readFileString("there"), "kept there")
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    limit
  )

  it.live(
    "gives up a copy at any moment, and copies on",
    () =>
      Effect.gen(function* () {
        const { connection, fileSystem } = yield* sandbox
        const host = yield* FileSystem.FileSystem
        const here = `${yield* host.makeTempDirectoryScoped()}/here`
        yield* host.writeFile(here, content)
        const copy = { connection, host, mode: 0o644 }
        for (let moment = 0; moment < 40; moment++) {
          const up = yield* Effect.forkChild(hostFiles.upload({ ...copy, from: here, to: "there" }))
          yield* Effect.sleep(moment / 4)
          yield* Fiber.interrupt(up)
          yield* fileSystem.writeFile("whole", content)
          const down = yield* Effect.forkChild(hostFiles.download({ ...copy, from: "whole", to: `${here}-back` }))
          yield* Effect.sleep(moment / 4)
          yield* Fiber.interrupt(down)
        }
        assert.strictEqual(connection.channelCount, 0)
        yield* hostFiles.upload({ ...copy, from: here, to: "there" })
        assert.strictEqual(Buffer.compare(yield* fileSystem.readFile("there"), content), 0)
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    limit
  )
}

const tests = () => {
  copies()

  it.live(
    "a gigabyte of output needs no memory, and holds up nobody",
    () =>
      Effect.gen(function* () {
        const { ping, spawner } = yield* sandbox
        const unread = yield* spawner.spawn(sh("exec cat /dev/zero"))
        const handle = yield* spawner.spawn(sh("exec head -c 1073741824 /dev/zero"))
        const before = process.memoryUsage().rss
        let most = 0
        let size = 0
        yield* Stream.runForEach(handle.stdout, (chunk) =>
          Effect.sync(() => {
            size += chunk.length
            most = Math.max(most, process.memoryUsage.rss())
          })
        )
        assert.strictEqual(size, 1_073_741_824)
        assert.isBelow((most - before) / 1_000_000, 200)
        yield* Effect.timeout(ping, "5 seconds")
        assert.isTrue(yield* unread.isRunning)
      }),
    limit
  )

  it.live(
    "a descriptor can be for both directions, and ends in each by itself",
    () =>
      Effect.gen(function* () {
        const { spawner } = yield* sandbox
        const script = 'while read -r line <&3; do echo "<$line>" >&3; done; echo over >&3'
        const handle = yield* spawner.spawn(sh(script, { additionalFds: { fd3: { type: "duplex" } } }))
        const answers = yield* Queue.unbounded<string>()
        const reading = yield* handle.getOutputFd(3).pipe(
          Stream.decodeText(),
          Stream.splitLines,
          Stream.runForEach((line) => Queue.offer(answers, line)),
          Effect.forkChild
        )
        const gate = yield* Deferred.make<void>()
        const input = Stream.concat(
          Stream.make("one\ntwo\n"),
          Stream.drain(Stream.fromEffect(Deferred.await(gate)))
        ).pipe(Stream.encodeText)
        const writing = yield* Effect.forkChild(Stream.run(input, handle.getInputFd(3)))
        assert.deepStrictEqual([yield* Queue.take(answers), yield* Queue.take(answers)], ["<one>", "<two>"])
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(writing)
        assert.strictEqual(yield* Queue.take(answers), "over")
        yield* Fiber.join(reading)
        assert.strictEqual(yield* handle.exitCode, 0)
      }),
    limit
  )

  it.live(
    "who is not there, and where nothing is, is told when a command starts",
    () =>
      Effect.gen(function* () {
        const { spawner } = yield* sandbox
        const failed = (command: ChildProcess.Command) =>
          Effect.map(Effect.flip(Effect.scoped(spawner.spawn(command))), ({ reason }) => reason._tag)
        assert.strictEqual(
          yield* failed(sh("true")).pipe(Effect.provideService(CommandUser, "nobody-7291")),
          "NotFound"
        )
        assert.strictEqual(yield* failed(sh("true", { cwd: "missing" })), "NotFound")
        assert.strictEqual(yield* failed(sh("true", { cwd: "/etc/passwd" })), "BadResource")
        assert.strictEqual(yield* failed(ChildProcess.make("true", ["x".repeat(3_000_000)])), "Unknown")
        assert.strictEqual(yield* spawner.exitCode(sh("exit 3")), 3)
      }),
    limit
  )

  it.live(
    "writing to a command that does not read any more ends by itself",
    () =>
      Effect.gen(function* () {
        const { spawner } = yield* sandbox
        const handle = yield* spawner.spawn(sh("exec <&-; sleep 30", { stdin: "pipe" }))
        const endless = Stream.forever(Stream.make(new Uint8Array(50_000)))
        yield* Effect.timeout(Stream.run(endless, handle.stdin), "10 seconds")
        assert.isTrue(yield* handle.isRunning)
      }),
    limit
  )

  it.live(
    "a polite end gives the whole process group its time, and no more than it needs",
    () =>
      Effect.gen(function* () {
        const { fileSystem, spawner } = yield* sandbox
        const scope = yield* Scope.make()
        const child = "trap 'sleep 0.4; echo said >word; exit' TERM; echo x >ready; while :; do sleep 0.05; done"
        yield* Scope.provide(spawner.spawn(sh(`sh -c "${child}" & wait`, { forceKillAfter: "20 seconds" })), scope)
        yield* Effect.repeat(Effect.andThen(Effect.sleep(20), fileSystem.exists("ready")), { until: (is) => is })
        yield* Effect.timeout(Scope.close(scope, Exit.void), "10 seconds")
        assert.strictEqual(yield* fileSystem.readFileString("word"), "said\n")
      }),
    limit
  )

  it.live(
    "a reset ends what is in flight for a session, and nothing else",
    () =>
      Effect.gen(function* () {
        const { connection, fileSystem, reset, spawner } = yield* sandbox
        const handle = yield* spawner.spawn(sh("sleep 60"))
        const ready = yield* Deferred.make<void>()
        const watching = yield* Effect.forkChild(
          Effect.exit(Stream.runDrain(fileSystem.watch(".", { onReady: () => Deferred.doneUnsafe(ready, Exit.void) })))
        )
        yield* Deferred.await(ready)
        yield* reset
        assert.isTrue(Exit.isFailure(yield* Effect.exit(handle.exitCode)))
        assert.isTrue(Exit.isFailure(yield* Fiber.join(watching)))
        assert.strictEqual(connection.channelCount, 0)
        assert.strictEqual(yield* spawner.exitCode(sh("exit 4")), 4)
      }),
    limit
  )

  it.live(
    "commands interrupted at any moment leave no channel and no process",
    () =>
      Effect.gen(function* () {
        const { connection, spawner } = yield* sandbox
        const run = Effect.scoped(
          Effect.flatMap(spawner.spawn(sh("sleep 50 & sleep 50", { forceKillAfter: "1 second" })), ({ stdout }) =>
            Stream.runDrain(stdout)
          )
        )
        for (let moment = 0; moment < 40; moment++) {
          const fiber = yield* Effect.forkChild(run, { startImmediately: true })
          if (moment < 25) for (let turn = 0; turn < moment; turn++) yield* Effect.yieldNow
          else yield* Effect.sleep(moment - 24)
          yield* Effect.timeout(Fiber.interrupt(fiber), "10 seconds")
        }
        assert.strictEqual(connection.channelCount, 0)
        const left = yield* spawner.string(sh("ps -e -o args= 2>/dev/null | grep -c '^sleep 50' || true"))
        assert.strictEqual(left.trim(), "0")
      }),
    limit
  )

  it.live(
    "a port inside can be reached, in both directions and by halves",
    () =>
      Effect.gen(function* () {
        const { connection, spawner } = yield* sandbox
        const script = `
          import { createServer } from "node:net"
          createServer({ allowHalfOpen: true }, (socket) => {
            let size = 0
            socket.on("data", (chunk) => { size += chunk.length })
            socket.on("end", () => socket.end("received " + size))
          }).listen(0, "127.0.0.1", function () { console.log(this.address().port) })`
        const server = yield* spawner.spawn(
          ChildProcess.make(process.execPath, ["--input-type=module", "-e", script], { stdin: "ignore" })
        )
        const line = yield* Stream.runHead(Stream.splitLines(Stream.decodeText(server.stdout)))
        const port = Number(Option.getOrThrow(line))
        const socket = connect(connection, { port })
        const { pull } = yield* socket.reader
        yield* Effect.scoped(
          Effect.flatMap(socket.writer, (writer) =>
            Effect.andThen(writer.write("hello "), writer.writeAll([new Uint8Array(1_000_000), "end"]))
          )
        )
        const { all, reason } = yield* readAll(pull)
        assert.strictEqual(all, "received 1000009")
        assert.isTrue(reason._tag === "SocketCloseError" && reason.code === 1000)
        const refused = yield* Effect.flip(Effect.scoped(connect(connection, { port: 1 }).reader))
        const { reason: why } = refused
        assert.include(why._tag === "SocketOpenError" ? String(why.cause) : why._tag, "Connection refused")
      }),
    limit
  )

  it.live(
    "a process inside reaches what the host offers",
    () =>
      Effect.gen(function* () {
        const { connection, spawner } = yield* sandbox
        const listener = yield* listen(connection)
        const serving = yield* Effect.forkScoped(
          listener.run((socket) =>
            Effect.scoped(
              Effect.gen(function* () {
                const { pull } = yield* socket.reader
                const writer = yield* socket.writer
                const question = text(yield* pull)
                yield* writer.write(`you said ${question}`)
              })
            )
          )
        )
        const script = `
          import { connect } from "node:net"
          const ask = (word) => new Promise((resolve) => {
            const socket = connect(${listener.port}, "127.0.0.1", () => socket.write(word))
            let all = ""
            socket.on("data", (chunk) => { all += chunk })
            socket.on("end", () => resolve(all))
          })
          console.log((await Promise.all(Array.from({ length: 20 }, (_, index) => ask("word " + index)))).join())`
        const said = yield* spawner.string(
          ChildProcess.make(process.execPath, ["--input-type=module", "-e", script], { stdin: "ignore" })
        )
        assert.strictEqual(said.trim(), Array.from({ length: 20 }, (_, index) => `you said word ${index}`).join())
        yield* Fiber.interrupt(serving)
        assert.isUndefined(connection.end)
      }),
    limit
  )

  it.live(
    "an agent that gives up says why",
    () =>
      Effect.gen(function* () {
        const transport = yield* LocalAgent.transport(machine, `test-${++count}`)
        const hello = { ...LocalAgent.hello(machine), user: "nobody-7291" }
        const error = yield* Effect.flip(instances.make({ sandboxId: SandboxId.make("x"), transport, hello }))
        assert.strictEqual(error.operation, "create")
        assert.include(error.description ?? "", "nobody-7291")
      }),
    limit
  )

  it.live(
    "nothing hangs when the agent is killed in the middle of everything",
    () =>
      Effect.gen(function* () {
        const { awaitDeath, connection, fileSystem, ping, reset, sandboxId, spawner } = yield* sandbox
        const order: Array<string> = []
        const death = yield* Effect.forkChild(
          Effect.ensuring(
            Effect.flip(awaitDeath),
            Effect.sync(() => order.push("death"))
          ),
          { startImmediately: true }
        )
        const port = connect(connection, { port: 1 }).reader
        const fibers = yield* Effect.forEach(
          [
            Effect.scoped(Effect.flatMap(spawner.spawn(sh("sleep 60")), ({ exitCode }) => exitCode)),
            Effect.forever(fileSystem.writeFile("file", new Uint8Array(2_000_000))),
            Stream.runDrain(fileSystem.stream("/dev/zero")),
            Stream.run(Stream.forever(Stream.make(new Uint8Array(10_000))), fileSystem.sink("sink")),
            Stream.runDrain(fileSystem.watch(".")),
            Effect.forever(ping),
            Effect.forever(Effect.andThen(Effect.ignore(reset), ping)),
            Effect.forever(Effect.andThen(Effect.ignore(Effect.scoped(port)), ping))
          ],
          (effect: Effect.Effect<unknown, unknown>) =>
            Effect.forkChild(
              Effect.ensuring(
                Effect.exit(effect),
                Effect.sync(() => order.push("operation"))
              )
            )
        )
        yield* Effect.sleep(200)
        const before = order.length
        yield* LocalAgent.kill(machine, sandboxId)
        const error = yield* Fiber.join(death)
        yield* Effect.timeout(Fiber.joinAll(fibers), "5 seconds")
        assert.strictEqual(order[before], "death")
        assert.strictEqual(connection.channelCount, 0)
        // The same error for everybody who asks.
        assert.strictEqual(yield* Effect.flip(ping), error)
        assert.strictEqual(yield* Effect.flip(reset), error)
      }),
    limit
  )
}

describe("the agent on this machine", () => {
  if (LocalAgent.missing === undefined) tests()
  else it.skip(`cannot be checked here: ${LocalAgent.missing}`, () => {})
})
