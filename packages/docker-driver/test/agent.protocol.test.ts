/** What the agent answers to frames, right and wrong ones: `docs/agent-protocol.md`, sentence by sentence. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import {
  type Frame,
  frame,
  greeted,
  helloFrame,
  missing,
  onSocket,
  runFrame,
  silent,
  str,
  type Talk,
  u16,
  u32,
  u8
} from "./support/AgentTalk.ts"

const types = (frames: ReadonlyArray<Frame>, channel: number): ReadonlyArray<number> =>
  frames.filter((frame) => frame.channel === channel).map(({ type }) => type)

const errorOf = ({ payload, type }: Frame) => {
  assert.strictEqual(type, 0x89)
  return { errno: payload.readUInt32LE(0), stage: payload[4], message: payload.subarray(9).toString() }
}

const ping = Buffer.from("12345678")
const kill = (signal: number, target: number, channel: number) => frame(0x07, target, channel, u32(signal))
const data = (channel: number, text: string | Buffer, stream = 0) => frame(0x04, stream, channel, Buffer.from(text))
const end = (channel: number, stream = 0) => frame(0x05, stream, channel)

/** Commands inside, by what they are called with. */
const inside = (talk: Talk, pattern: string) =>
  Effect.map(talk.output(`ps -eo stat,args | grep -c '^[^Z][^ ]* *sleep ${pattern}'`), Number)

/** The number that the supervisor which waits for a command has on this machine, as soon as there is one. */
const spareOf = (talk: Talk): Effect.Effect<number> =>
  Effect.suspend(() => {
    const parentOf = (pid: string) => fieldOf(pid, "PPid")
    const spare = fs.readdirSync("/proc").find((pid) => {
      if (!/^\d+$/.test(pid) || fieldOf(pid, "Name") !== "spare") return false
      return parentOf(parentOf(pid) ?? "") === String(talk.pid)
    })
    return spare === undefined ? Effect.andThen(Effect.sleep(5), spareOf(talk)) : Effect.succeed(Number(spare))
  })

const fieldOf = (pid: string, field: string): string | undefined => {
  try {
    return new RegExp(`^${field}:\\t(.*)$`, "m").exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]
  } catch {
    return undefined
  }
}

const onAgent = (name: string, program: (talk: Talk) => Effect.Effect<unknown>) =>
  it.live(name, () => Effect.scoped(Effect.flatMap(greeted(), program)))

/** The same over a socket of the host's. */
const onAgentWithSocket = (name: string, program: (talk: Talk) => Effect.Effect<unknown>) =>
  it.live(name, () =>
    Effect.scoped(
      Effect.gen(function* () {
        const talk = yield* onSocket
        talk.send(helloFrame(path.join(talk.directory, "work")))
        yield* talk.next(({ type }) => type === 0x81)
        yield* program(talk)
      })
    )
  )

describe.skipIf(missing !== undefined)(`the agent's protocol${missing === undefined ? "" : ` [${missing}]`}`, () => {
  describe("handshake", () => {
    it.live("welcomes with its version, the user and its own number", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const talk = yield* silent()
          talk.send(helloFrame(path.join(talk.directory, "work"), "12345:678"))
          const { payload } = yield* talk.next(({ type }) => type === 0x81)
          assert.strictEqual(payload.readUInt16LE(0), 1)
          const at = 6 + payload.readUInt32LE(2)
          assert.deepStrictEqual(
            [payload.readUInt32LE(at), payload.readUInt32LE(at + 4), payload.readUInt32LE(at + 8)],
            [12_345, 678, 0]
          )
          assert.strictEqual(payload.readUInt32LE(at + 12), 1)
          assert.strictEqual(payload.length, at + 16)
        })
      )
    )

    for (const [what, greeting, reason] of [
      ["another version", frame(0x01, 0, 0, str("effect-sandbox"), u16(2), u16(9), str("what comes then")), 2],
      ["a user who is not there", helloFrame("/tmp", "nobody-of-this-name"), 3],
      ["another magic", frame(0x01, 0, 0, str("something else"), u16(1), u16(1)), 1],
      ["a relative workdir", helloFrame("work"), 1]
    ] as const) {
      it.live(`gives up for ${what}`, () =>
        Effect.scoped(
          Effect.gen(function* () {
            const talk = yield* silent()
            talk.send(greeting)
            const { payload, type } = yield* talk.next(() => true)
            assert.deepStrictEqual([type, payload[0]], [0x8f, reason])
            assert.strictEqual(yield* talk.exit, 1)
          })
        )
      )
    }
  })

  describe("malformed frames end the agent, with the reason", () => {
    const wrong: { readonly [what: string]: Buffer | ReadonlyArray<Buffer> } = {
      "an unknown type": frame(0x0f, 0, 1),
      "a type of the agent's": frame(0x81, 0, 0),
      "an impossible length": Buffer.from([0xff, 0xff, 0xff, 0xff]),
      "a length less than a header": Buffer.from([5, 0, 0, 0, 2, 0, 0, 0, 0]),
      "too much data": frame(0x04, 0, 1, Buffer.alloc(65_537)),
      "no data": frame(0x04, 0, 1),
      "a payload too short": frame(0x03, 0, 1, u8(0)),
      "a payload too long": Buffer.concat([frame(0x0c, 0, 1, u8(0))]),
      "a list longer than its payload": frame(0x03, 0, 1, u8(0), str(""), str(""), u32(0xffff_ffff)),
      "a NUL in a string": runFrame(1, ["a\0b"]),
      "no arguments": runFrame(1, []),
      "an unknown flag": runFrame(1, ["true"], { flags: 64 }),
      "descriptor 2 as an extra one": runFrame(1, ["true"], { fds: [[2, 1]] }),
      "a descriptor twice": runFrame(1, ["true"], {
        fds: [
          [3, 1],
          [3, 2]
        ]
      }),
      "channel 0": runFrame(0, ["true"]),
      "an open channel opened": [runFrame(1, ["sleep", "9"]), runFrame(1, ["sleep", "9"])],
      "data for a stream that is not there": [runFrame(1, ["sleep", "9"]), data(1, "x")],
      "data after the end": [runFrame(1, ["sleep", "9"], { flags: 2 }), end(1), data(1, "x")],
      "more data than credit": [
        runFrame(1, ["sleep", "9"], { flags: 2 }),
        ...Array.from({ length: 6 }, () => data(1, Buffer.alloc(65_536)))
      ],
      "a second greeting": helloFrame("/tmp"),
      "a short ping": frame(0x02, 0, 0, u8(1)),
      "a file operation that is not there": frame(0x0a, 0, 1, u8(99))
    }
    for (const [what, frames] of Object.entries(wrong)) {
      onAgent(what, (talk) =>
        Effect.gen(function* () {
          talk.send(...(Buffer.isBuffer(frames) ? [frames] : frames))
          const { payload } = yield* talk.next(({ type }) => type === 0x8f)
          assert.strictEqual(payload[0], 1)
          assert.isAbove(payload.readUInt32LE(1), 0)
          assert.strictEqual(yield* talk.exit, 1)
        })
      )
    }

    onAgent("frames for channels that are not open are no such thing", (talk) =>
      Effect.gen(function* () {
        talk.send(data(7, "x"), end(7), frame(0x06, 1, 7, u32(1)), kill(9, 2, 7), frame(0x08, 0, 7, u16(1), u16(1)))
        talk.send(frame(0x09, 1, 7), frame(0x02, 0, 0, ping))
        yield* talk.next(({ type }) => type === 0x82)
        assert.deepStrictEqual(talk.frames, [])
      })
    )
  })

  describe("the lease", () => {
    onAgent("ends with the input, whatever runs", (talk) =>
      Effect.gen(function* () {
        yield* talk.nextOf(talk.sh("trap '' TERM INT HUP; sleep 1000 & yes"), 0x84)
        talk.endInput()
        assert.strictEqual(yield* talk.exit, 0)
      })
    )

    it.live("takes everything along even where the agent is not the first process", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const talk = yield* greeted({ inNamespaces: false })
          const seconds = `${20_000 + process.pid}.125`
          const channel = talk.sh(`trap '' TERM; setsid sleep ${seconds} & sleep ${seconds} & echo up; wait`)
          yield* talk.nextOf(channel, 0x84)
          talk.kill()
          yield* talk.exit
          const left = () => {
            try {
              return execFileSync("pgrep", ["-f", `^sleep ${seconds}`]).toString()
            } catch {
              return ""
            }
          }
          for (let i = 0; i < 100 && left() !== ""; i++) yield* Effect.sleep(20)
          assert.strictEqual(left(), "")
        })
      )
    )
  })

  describe("a socket instead of standard input and output", () => {
    onAgentWithSocket("is what everything goes over, and no command has it", (talk) =>
      Effect.gen(function* () {
        // The shell's own directory listing takes one more.
        assert.strictEqual(yield* talk.output("ls /proc/self/fd | wc -l"), "4\n")
        const channel = talk.sh("cat", { flags: 2 })
        talk.send(data(channel, "there and back"), end(channel))
        assert.strictEqual(yield* talk.text(channel), "there and back")
      })
    )

    for (const [end, by] of [
      ["standard input", (talk: Talk) => talk.endInput()],
      ["the socket", (talk: Talk) => talk.endSocket()]
    ] as const) {
      onAgentWithSocket(`ends the agent with ${end}, whatever runs`, (talk) =>
        Effect.gen(function* () {
          yield* talk.nextOf(talk.sh("trap '' TERM INT HUP; sleep 1000 & yes"), 0x84)
          by(talk)
          assert.strictEqual(yield* talk.exit, 0)
        })
      )
    }

    it.live("ends the agent with standard input before anything was said", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const talk = yield* onSocket
          talk.endInput()
          assert.strictEqual(yield* talk.exit, 0)
        })
      )
    )

    onAgentWithSocket("suffers nothing on standard input beside it", (talk) =>
      Effect.gen(function* () {
        talk.sendBeside(frame(0x02, 0, 0, ping))
        const { payload } = yield* talk.next(({ type }) => type === 0x8f)
        assert.strictEqual(payload[0], 1)
        assert.strictEqual(yield* talk.exit, 1)
      })
    )

    const unreachable: { readonly [what: string]: readonly [(directory: string) => string, errno: number] } = {
      "is not there": [(directory) => path.join(directory, "socket"), 2],
      "has a name that is too long": [(directory) => path.join(directory, "x".repeat(108)), 36],
      "is no socket": [
        (directory) => {
          fs.writeFileSync(path.join(directory, "file"), "")
          return path.join(directory, "file")
        },
        111
      ]
    }
    for (const [what, [at, errno]] of Object.entries(unreachable)) {
      it.live(`is done without where it ${what}`, () =>
        Effect.scoped(
          Effect.gen(function* () {
            const talk = yield* silent({ args: (directory) => ["--socket", at(directory)] })
            const first = yield* talk.next(() => true)
            assert.deepStrictEqual([first.type, first.channel, first.payload.readUInt32LE(0)], [0x8e, 0, errno])
            talk.send(helloFrame(path.join(talk.directory, "work")))
            yield* talk.next(({ type }) => type === 0x81)
            assert.strictEqual(yield* talk.output("echo hello"), "hello\n")
            talk.endInput()
            assert.strictEqual(yield* talk.exit, 0)
          })
        )
      )
    }

    it.live("is offered in one way only", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const talk = yield* silent({ args: () => ["--sockets", "/there"] })
          assert.strictEqual(yield* talk.exit, 64)
        })
      )
    )
  })

  describe("commands", () => {
    onAgent("run as the user, without capabilities, and with nothing of the agent's", (talk) =>
      Effect.gen(function* () {
        const status = "grep -E '^(Uid|Gid|Cap(Prm|Eff)|NoNewPrivs|Sig(Blk|Ign))' /proc/self/status | tr '\\t' ' '"
        const text = yield* talk.output(`${status}; umask; pwd; echo $GREETING; ls /proc/self/fd | tr '\\n' ' '`)
        assert.deepStrictEqual(text.split("\n"), [
          "Uid: 1000 1000 1000 1000",
          "Gid: 1000 1000 1000 1000",
          "SigBlk: 0000000000000000",
          "SigIgn: 0000000000000000",
          "CapPrm: 0000000000000000",
          "CapEff: 0000000000000000",
          "NoNewPrivs: 1",
          "0022",
          path.join(talk.directory, "work"),
          "hello",
          "0 1 2 3 "
        ])
      })
    )

    onAgent("of root have no capabilities either, and reach neither the agent nor supervisors", (talk) =>
      Effect.gen(function* () {
        const script =
          "grep -E '^Cap(Prm|Eff)' /proc/self/status; kill -9 1; kill -9 $PPID; kill -9 -1; echo still here"
        const text = yield* talk.output(script, { user: "0:0" })
        assert.strictEqual(text, "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nstill here\n")
      })
    )

    for (const [what, argv, options, expected] of [
      ["a user who is not there", ["true"], { user: "nobody-of-this-name" }, { errno: 0, stage: 1 }],
      ["a directory that is not there", ["true"], { cwd: "not/there" }, { errno: 2, stage: 2 }],
      ["a program that is not there", ["not-there"], {}, { errno: 2, stage: 3 }],
      ["a program that may not be executed", ["/etc/passwd"], {}, { errno: 13, stage: 3 }],
      ["one in PATH that may not", ["passwd"], { env: ["PATH=/not/there:/etc"] }, { errno: 13, stage: 3 }],
      ["an empty name", [""], {}, { errno: 2, stage: 3 }],
      ["a limit that is not there", ["true"], { limits: [[99, 1, 1]] }, { errno: 22, stage: 4 }]
    ] as const) {
      onAgent(`say what is wrong with ${what}`, (talk) =>
        Effect.gen(function* () {
          const { errno, stage } = errorOf(yield* talk.nextOf(talk.run(argv, options)))
          assert.deepStrictEqual({ errno, stage }, expected)
        })
      )
    }

    onAgent("end with a code or a signal, and then their group is gone", (talk) =>
      Effect.gen(function* () {
        const first = talk.sh("exit 7")
        assert.deepStrictEqual(yield* talk.exitOf(first), [0, 7])
        yield* talk.nextOf(first, 0x8d)
        const second = talk.sh("kill -9 $$")
        assert.deepStrictEqual(yield* talk.exitOf(second), [1, 9])
        const third = talk.sh("sleep 1000 & echo up")
        assert.deepStrictEqual(yield* talk.exitOf(third), [0, 0])
        talk.send(frame(0x02, 0, 0, ping))
        yield* talk.next(({ type }) => type === 0x82)
        assert.notInclude(types(talk.frames, third), 0x8d)
        talk.send(kill(15, 1, third))
        yield* talk.nextOf(third, 0x8d)
      })
    )

    onAgent("are heard as far as there is credit, and hold up nobody else", (talk) =>
      Effect.gen(function* () {
        const channel = talk.run(["yes"])
        const received = () =>
          talk.frames.reduce((sum, { payload, type }) => (type === 0x84 ? sum + payload.length : sum), 0)
        yield* talk.nextOf(channel, 0x83)
        while (received() < 262_144) yield* Effect.sleep(5)
        talk.send(frame(0x02, 0, 0, ping))
        yield* talk.next(({ type }) => type === 0x82)
        assert.strictEqual(received(), 262_144)
        talk.send(frame(0x06, 1, channel, u32(1000)))
        while (received() < 263_144) yield* Effect.sleep(5)
        assert.strictEqual(yield* talk.output("echo other"), "other\n")
        assert.strictEqual(received(), 263_144)
      })
    )

    onAgent("get input, descriptors of their own, and a credit of 0 when they read no further", (talk) =>
      Effect.gen(function* () {
        const fds = [
          [5, 1],
          [6, 2],
          [9, 3]
        ] as const
        const channel = talk.sh("cat; cat <&5 >&6; echo two-way >&9; cat <&9", { flags: 2, fds })
        talk.send(data(channel, "input "), end(channel), data(channel, "five", 5), end(channel, 5))
        talk.send(data(channel, "back", 9), end(channel, 9))
        assert.strictEqual(yield* talk.text(channel), "input back")
        assert.strictEqual(yield* talk.text(channel, 6), "five")
        assert.strictEqual(yield* talk.text(channel, 9), "two-way\n")
        const deaf = talk.sh("exec <&-; echo closed; sleep 1000", { flags: 2 })
        yield* talk.nextOf(deaf, 0x84)
        talk.send(data(deaf, Buffer.alloc(65_536)), data(deaf, Buffer.alloc(65_536)))
        assert.strictEqual((yield* talk.nextOf(deaf, 0x86)).payload.readUInt32LE(0), 0)
      })
    )

    onAgent("get credit back for what they have read", (talk) =>
      Effect.gen(function* () {
        const channel = talk.sh("head -c 200000 >/dev/null; echo enough; sleep 1000", { flags: 2 })
        for (let i = 0; i < 4; i++) talk.send(data(channel, Buffer.alloc(65_536)))
        yield* talk.nextOf(channel, 0x84)
        let credit = 0
        while (credit < 196_608) credit += (yield* talk.nextOf(channel, 0x86)).payload.readUInt32LE(0)
        // What was sent, and as much again when all of it has gone by before the host looked: then the window grows.
        assert.isAtMost(credit, 2 * 262_144)
      })
    )

    onAgent("have a terminal when asked to", (talk) =>
      Effect.gen(function* () {
        const channel = talk.newChannel
        const script = "echo $(tty | cut -d/ -f3) $(stty size); read line; echo got $line; cat; echo end"
        // In one piece: else the command may look at its size before it is told the new one.
        talk.send(runFrame(channel, ["sh", "-c", script], { flags: 1 }), frame(0x08, 0, channel, u16(33), u16(99)))
        talk.send(data(channel, "a line\n"), end(channel))
        const text = (yield* talk.text(channel)).replaceAll("\r", "")
        assert.include(text, "pts 33 99\n")
        assert.include(text, "got a line\nend\n")
      })
    )

    onAgent("run 200 at once", (talk) =>
      Effect.gen(function* () {
        const one = (i: number) => talk.output(`echo ${i}; sleep 0.2`)
        const texts = yield* Effect.forEach(
          Array.from({ length: 200 }, (_, i) => i),
          one,
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          texts,
          Array.from({ length: 200 }, (_, i) => `${i}\n`)
        )
      })
    )
  })

  describe("the supervisor that waits for a command", () => {
    onAgent("is one of its own, of which nobody can get hold", (talk) =>
      Effect.gen(function* () {
        const spare = "$(ps -eo pid=,comm= | grep -w spare | cut -c 1-8)"
        const script = `while pid=${spare}; [ -z "$pid" ]; do sleep 0.01; done; kill -9 $pid 2>&1 | grep -c permitted`
        const before = yield* spareOf(talk)
        assert.strictEqual(yield* talk.output(script, { user: "0:0" }), "1\n")
        // The one that waited before has become the supervisor of what looked for the next.
        assert.notStrictEqual(yield* spareOf(talk), before)
      })
    )

    onAgent("holds nothing of the commands that ran when it began", (talk) =>
      Effect.gen(function* () {
        const channel = talk.run(["cat"], { flags: 2 })
        yield* talk.nextOf(channel, 0x83)
        const spare = yield* spareOf(talk)
        assert.deepStrictEqual(fs.readdirSync(`/proc/${spare}/fd`), ["0", "1"])
        talk.send(end(channel))
        assert.deepStrictEqual(yield* talk.exitOf(channel), [0, 0])
      })
    )

    onAgent("is done without when it is killed, and is there again afterwards", (talk) =>
      Effect.gen(function* () {
        const spare = yield* spareOf(talk)
        process.kill(spare, "SIGKILL")
        // One that is about to die can still be given a command, which then cannot be started.
        while (fieldOf(String(spare), "Name") !== undefined) yield* Effect.sleep(5)
        assert.strictEqual(yield* talk.output("echo on"), "on\n")
        while ((yield* spareOf(talk)) === spare) yield* Effect.sleep(5)
        assert.strictEqual(yield* talk.output("echo and on"), "and on\n")
      })
    )

    onAgent("is done without for what is too large for it", (talk) =>
      Effect.gen(function* () {
        const spare = yield* spareOf(talk)
        const large = "x".repeat(100_000)
        assert.strictEqual(yield* talk.output('echo "${#LARGE}"', { env: [`LARGE=${large}`] }), "100000\n")
        const fds = Array.from({ length: 200 }, (_, index) => [index + 3, 2] as const)
        const channel = talk.run(["perl", "-e", 'open($f, ">&=202"); print $f "here\\n"'], { fds })
        assert.strictEqual(yield* talk.text(channel, 202), "here\n")
        assert.strictEqual(yield* spareOf(talk), spare)
      })
    )

    onAgent("outlives a reset", (talk) =>
      Effect.gen(function* () {
        const spare = yield* spareOf(talk)
        const reset = talk.newChannel
        talk.send(frame(0x0c, 0, reset))
        assert.strictEqual((yield* talk.nextOf(reset)).type, 0x87)
        assert.strictEqual(yield* spareOf(talk), spare)
        assert.strictEqual(yield* talk.output("echo on"), "on\n")
      })
    )
  })

  describe("the end of commands", () => {
    onAgent("reaches what left the group, the session and its parent", (talk) =>
      Effect.gen(function* () {
        const channel = talk.sh("(trap '' TERM; setsid sh -c 'sleep 71001 & sleep 71001' >/dev/null 2>&1 &); echo up")
        assert.strictEqual(yield* talk.text(channel), "up\n")
        yield* talk.exitOf(channel)
        while ((yield* inside(talk, "71001")) < 2) yield* Effect.sleep(5)
        yield* talk.close(channel)
        assert.strictEqual(yield* inside(talk, "71001"), 0)
      })
    )

    onAgent("reaches those that fork faster than one can kill", (talk) =>
      Effect.gen(function* () {
        const channel = talk.sh("b() { b | b & }; b; sleep 72001", { limits: [[6, 300, 300]] })
        yield* talk.nextOf(channel, 0x83)
        yield* Effect.sleep(300)
        yield* talk.close(channel)
        assert.strictEqual(yield* talk.output("ps -eo user=,comm= | grep '^64998' | grep -vc spare"), "1\n")
      })
    )

    onAgent("reaches one that stops itself", (talk) =>
      Effect.gen(function* () {
        const channel = talk.sh("echo up; kill -STOP $$")
        yield* talk.nextOf(channel, 0x84)
        yield* talk.close(channel)
        assert.deepStrictEqual(yield* talk.exitOf(channel), [1, 9])
      })
    )

    onAgent("is not what letting go means", (talk) =>
      Effect.gen(function* () {
        const channel = talk.run(["sleep", "73001"])
        yield* talk.nextOf(channel, 0x83)
        yield* talk.close(channel, 0)
        assert.strictEqual(yield* inside(talk, "73001"), 1)
      })
    )

    onAgent("comes by signals to the process, the group or everything", (talk) =>
      Effect.gen(function* () {
        const script = "trap 'echo got it' TERM; sleep 74001 & setsid sleep 74002 & echo up; while ! wait; do :; done"
        const channel = talk.sh(script)
        yield* talk.nextOf(channel, 0x84)
        while ((yield* inside(talk, "7400")) < 2) yield* Effect.sleep(5)
        talk.send(kill(15, 0, channel))
        yield* talk.nextOf(channel, 0x84)
        assert.strictEqual(yield* inside(talk, "7400"), 2)
        talk.send(kill(15, 1, channel))
        while ((yield* inside(talk, "74001")) > 0) yield* Effect.sleep(5)
        assert.strictEqual(yield* inside(talk, "74002"), 1)
        talk.send(kill(15, 2, channel))
        while ((yield* inside(talk, "74002")) > 0) yield* Effect.sleep(5)
      })
    )
  })

  describe("resets", () => {
    onAgent("end what sessions left, and nothing of the sandbox", (talk) =>
      Effect.gen(function* () {
        const sandbox = talk.run(["sleep", "75001"], { flags: 4 })
        const session = talk.sh("trap '' TERM; setsid sleep 75002 & sleep 75002")
        const released = talk.sh("setsid sleep 75002 & sleep 75002")
        for (const channel of [sandbox, session, released]) yield* talk.nextOf(channel, 0x83)
        yield* talk.close(released, 0)
        while ((yield* inside(talk, "75002")) < 4) yield* Effect.sleep(5)
        talk.frames = []
        const [reset, refused] = [talk.newChannel, talk.newChannel]
        // In one piece, or it may come when the reset is over.
        talk.send(frame(0x0c, 0, reset), runFrame(refused, ["true"]))
        assert.strictEqual((yield* talk.nextOf(reset)).type, 0x87)
        assert.strictEqual(errorOf(yield* talk.nextOf(refused)).errno, 16)
        assert.deepStrictEqual(types(talk.frames, session), [0x88, 0x8d, 0x8a])
        assert.deepStrictEqual(types(talk.frames, sandbox), [])
        assert.strictEqual(yield* inside(talk, "75002"), 0)
        assert.strictEqual(yield* inside(talk, "75001"), 1)
      })
    )
  })

  describe("large files", () => {
    const u64 = (value: bigint) => {
      const bytes = Buffer.alloc(8)
      bytes.writeBigUInt64LE(value)
      return bytes
    }
    const download = (talk: Talk, name: string, offset: number, most: bigint) => {
      const channel = talk.newChannel
      talk.send(frame(0x0a, 0, channel, u8(25), str(name), u64(BigInt(offset)), u64(most)))
      talk.send(frame(0x06, 1, channel, u32(2 ** 30)))
      return channel
    }
    const received = (talk: Talk, channel: number) =>
      Effect.gen(function* () {
        const parts: Array<Buffer> = []
        while (true) {
          const { payload, type } = yield* talk.nextOf(channel, 0x84, 0x87)
          if (type === 0x87) return { bytes: Buffer.concat(parts), sent: Number(payload.readBigUInt64LE(0)) }
          parts.push(payload)
        }
      })
    const content = Buffer.from(Uint8Array.from({ length: 3_000_000 }, (_, i) => i * 31 + (i >> 8)))

    const comeWhole = (talk: Talk) =>
      Effect.gen(function* () {
        fs.writeFileSync(path.join(talk.directory, "work", "large"), content, { mode: 0o644 })
        const cuts = [
          [0, 2n ** 62n],
          [4097, 2n ** 62n],
          [1_000_003, 1_000_000n],
          [3_000_000, 10n],
          [5_000_000, 10n]
        ] as const
        const channels = cuts.map(([offset, most]) => download(talk, "large", offset, most))
        for (let i = 0; i < 200; i++) {
          talk.send(frame(0x02, 0, 0, ping))
          yield* talk.next(({ type }) => type === 0x82)
        }
        for (const [index, [offset, most]] of cuts.entries()) {
          const { bytes, sent } = yield* received(talk, channels[index] ?? 0)
          const wanted = content.subarray(offset, Math.min(offset + Number(most), content.length))
          assert.strictEqual(sent, wanted.length)
          assert.strictEqual(Buffer.compare(bytes, wanted), 0, `from ${offset}`)
        }
      })
    onAgent("come whole, from any place on, with pings and other files in between", comeWhole)
    onAgentWithSocket("come whole over a socket, too", comeWhole)

    onAgent("can be given up, and leave no descriptor open", (talk) =>
      Effect.gen(function* () {
        fs.writeFileSync(path.join(talk.directory, "work", "large"), content, { mode: 0o644 })
        const agent = fieldOf(String(yield* spareOf(talk)), "PPid")
        const open = () => fs.readdirSync(`/proc/${agent}/fd`).length
        yield* received(talk, download(talk, "large", 0, 2n ** 62n))
        const before = open()
        for (let i = 0; i < 20; i++) {
          const channel = talk.newChannel
          // Without credit for all of it.
          talk.send(frame(0x0a, 0, channel, u8(25), str("large"), u64(0n), u64(2n ** 62n)))
          yield* talk.nextOf(channel, 0x84)
          yield* talk.close(channel, 0)
        }
        talk.frames = []
        while (open() > before) yield* Effect.sleep(5)
        const { bytes } = yield* received(talk, download(talk, "large", 0, 2n ** 62n))
        assert.strictEqual(Buffer.compare(bytes, content), 0)
      })
    )
  })

  describe("connections", () => {
    const perl = (program: string) => ["perl", "-MIO::Socket::INET", "-e", program]
    const serve = `$l = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1", LocalPort => 7777); $| = 1; print "up";
      while ($c = $l->accept) { $c->recv($d, 100); $c->send("got $d"); $c->recv($d, 100); $c->send("end"); close $c }`

    onAgent("are made, and end in each direction", (talk) =>
      Effect.gen(function* () {
        yield* talk.nextOf(talk.run(perl(serve)), 0x84)
        const channel = talk.newChannel
        talk.send(frame(0x0b, 0, channel, u16(7777), str("")))
        assert.strictEqual((yield* talk.nextOf(channel)).type, 0x8c)
        talk.send(data(channel, "this"))
        assert.strictEqual((yield* talk.nextOf(channel, 0x84)).payload.toString(), "got this")
        talk.send(end(channel))
        assert.strictEqual(yield* talk.text(channel), "end")
        yield* talk.nextOf(channel, 0x8a)
        const refused = talk.newChannel
        talk.send(frame(0x0b, 0, refused, u16(7778), str("127.0.0.1")))
        assert.strictEqual(errorOf(yield* talk.nextOf(refused)).errno, 111)
      })
    )

    onAgent("are taken, for as long as somebody listens", (talk) =>
      Effect.gen(function* () {
        const [listener, first, second] = [talk.newChannel, talk.newChannel, talk.newChannel]
        talk.send(frame(0x0d, 0, listener, str(""), u16(0)))
        const port = (yield* talk.nextOf(listener, 0x8c)).payload.readUInt16LE(0)
        talk.send(frame(0x0e, 0, first, u32(listener)), frame(0x0e, 0, second, u32(listener)))
        const client = talk.run(
          perl(`$c = IO::Socket::INET->new("127.0.0.1:${port}"); $c->send("hello"); $c->recv($d, 100); print $d`)
        )
        assert.strictEqual((yield* talk.nextOf(first, 0x8c)).payload.length, 2)
        assert.strictEqual((yield* talk.nextOf(first, 0x84)).payload.toString(), "hello")
        talk.send(data(first, "good day"))
        assert.strictEqual(yield* talk.text(client), "good day")
        yield* talk.close(listener)
        yield* talk.nextOf(second, 0x8a)
        const late = talk.newChannel
        talk.send(frame(0x0e, 0, late, u32(listener)))
        yield* talk.nextOf(late, 0x8a)
      })
    )

    onAgent("of sessions end with a reset", (talk) =>
      Effect.gen(function* () {
        const [mine, theirs, reset] = [talk.newChannel, talk.newChannel, talk.newChannel]
        talk.send(frame(0x0d, 0, mine, str(""), u16(0)), frame(0x0d, 1, theirs, str(""), u16(0)))
        yield* talk.nextOf(mine, 0x8c)
        yield* talk.nextOf(theirs, 0x8c)
        talk.send(frame(0x0c, 0, reset))
        yield* talk.nextOf(mine, 0x8a)
        yield* talk.nextOf(reset, 0x87)
        assert.deepStrictEqual(talk.frames, [])
      })
    )
  })
})
