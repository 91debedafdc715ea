import {
  CallLifetime,
  Environment,
  EnvironmentId,
  EnvironmentOutageError,
  Feature,
  ImageId,
  InvalidConfigurationError,
  Sandbox,
  SandboxDriver,
  SandboxId,
  SandboxStateError
} from "@effect-sandbox/core"
import { Latency, SimDriver, type SimDriverOptions, SimProgram } from "@effect-sandbox/testing"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Deferred, Effect, Exit, Fiber, FileSystem, Layer, Random, type Scope, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { TestClock } from "effect/testing"

const quiet = { id: "env", images: ["base"], keepaliveInterval: 0 } as const

const onSim = <A, E>(
  options: SimDriverOptions,
  test: Effect.Effect<A, E, Layer.Success<ReturnType<typeof SimDriver.layer>> | Scope.Scope>
) =>
  Effect.gen(function* () {
    const value = yield* Effect.scoped(test)
    const { resources } = yield* SimDriver
    assert.deepStrictEqual(
      resources(),
      { sandboxes: 0, processes: 0, handles: 0, watchers: 0, files: 0, bytes: 0 },
      "I7"
    )
    return value
  }).pipe(Effect.provide(SimDriver.layer(options)))

const spec = (slot = 0) => ({
  environmentId: EnvironmentId.make("env"),
  sandboxId: SandboxId.make(`env/base:${slot}:0`),
  image: ImageId.make("base"),
  slot,
  generation: 0
})

const instance = Effect.flatMap(SandboxDriver, (driver) => driver.create(spec()))
const exec = (command: string, ...args: ReadonlyArray<string>) =>
  Effect.flatMap(Sandbox, (sandbox) => sandbox.exec(command, args))

const hangs = SimProgram.script("hangs", [{ _tag: "Write", stdout: "up\n" }, { _tag: "Hang" }])
const leaves = SimProgram.script("leaves", [{ _tag: "Spawn", command: "hangs", background: true }])

describe("what it counts", () => {
  it.effect("every call, what is up, and the most that ever was", () =>
    onSim(
      {},
      Effect.gen(function* () {
        const sim = yield* SimDriver
        const env = yield* Environment.make({ ...quiet, images: ["base", "other"], pool: { base: 2, other: 0 } })
        assert.deepStrictEqual(sim.alive(), ["env/base:0:0", "env/base:1:0"] as never)
        yield* env.withSession({ image: "other" }, Effect.void)
        assert.deepStrictEqual([sim.peak(), sim.peak("base"), sim.peak("other"), sim.peak("none")], [3, 2, 1, 0])
        yield* env.withSession(
          {},
          Effect.flatMap(Sandbox, (sandbox) => sandbox.ping)
        )
        yield* env.shutdown
        assert.deepStrictEqual(sim.alive(), [])
        assert.deepStrictEqual(sim.calls(), [
          "create env/base:0:0",
          "create env/base:1:0",
          "create env/other:0:0",
          "destroy env/other:0:0",
          "ping env/base:0:0",
          "reset env/base:0:0",
          "destroy env/base:0:0",
          "destroy env/base:1:0"
        ])
      })
    )
  )

  it.effect("every call is counted, also when a fault strikes", () =>
    onSim(
      { faults: [{ at: ["create", "spawn", "ping", "reset"], calls: [2, 3, 4, 5], how: { _tag: "Fail" } }] },
      Effect.gen(function* () {
        const sim = yield* SimDriver
        const { ping, reset, spawner } = yield* instance
        yield* Effect.flip(Effect.scoped(spawner.spawn(ChildProcess.make("echo", ["a", "b"]))))
        yield* Effect.flip(ping)
        yield* Effect.flip(reset)
        yield* Effect.flip(Effect.flatMap(SandboxDriver, (driver) => driver.create(spec(1))))
        yield* ping
        assert.deepStrictEqual(sim.calls(), [
          "create env/base:0:0",
          "spawn env/base:0:0 echo a b",
          "ping env/base:0:0",
          "reset env/base:0:0",
          "create env/base:1:0",
          "ping env/base:0:0"
        ])
      })
    )
  )

  it.effect("processes, open files and watchers, while they are there", () =>
    onSim(
      { programs: [hangs] },
      Effect.gen(function* () {
        const { resources, sandbox } = yield* SimDriver
        const env = yield* Environment.make({ ...quiet, pool: { min: 0, max: 1 } })
        const body = Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          yield* files.writeFileString("a", "abc")
          yield* files.open("a")
          yield* Effect.forkScoped(Stream.runDrain(files.watch(".")))
          yield* Effect.forkScoped(exec("hangs"))
          yield* TestClock.adjust(0)
          const { bytes, files: count, handles, processes, sandboxes, watchers } = resources()
          assert.deepStrictEqual([sandboxes, processes, handles, watchers, count, bytes], [1, 1, 1, 1, 1, 3])
          const inside = sandbox("env/base:0:0")
          assert.deepStrictEqual(
            inside?.processes().map(({ command, lifetime, state }) => [...command, lifetime, state]),
            [["hangs", "session", "running"]]
          )
          assert.strictEqual(yield* inside?.fileSystem.readFileString("/workspace/a") ?? Effect.void, "abc")
        }).pipe(Effect.scoped)
        yield* env.withSession({}, body)
        yield* TestClock.adjust("1 second")
        const left = resources()
        assert.deepStrictEqual([left.processes, left.handles, left.watchers, left.files], [0, 0, 0, 0])
      })
    )
  )

  it.effect("a sandbox that is coming up counts, and is gone when that is interrupted", () =>
    onSim(
      { latency: { create: "1 minute" } },
      Effect.gen(function* () {
        const sim = yield* SimDriver
        const creating = yield* Effect.forkChild(Effect.scoped(instance))
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual(sim.resources().sandboxes, 1)
        yield* Fiber.interrupt(creating)
        assert.strictEqual(sim.resources().sandboxes, 0)
      })
    )
  )
})

describe("sessions", () => {
  it.effect("S1 find their image's files, whatever the one before has done to them", () =>
    onSim(
      {
        images: {
          "ba.*": {
            files: {
              "src/main.c": "int main;",
              tool: { content: "#!/bin/hangs\n", mode: 0o755 },
              link: { link: "src/main.c" },
              "/etc/motd": "hello"
            },
            env: { LEVEL: "3" }
          }
        }
      },
      Effect.gen(function* () {
        const env = yield* Environment.make({ ...quiet, pool: 1 })
        const look = Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          assert.deepStrictEqual((yield* files.readDirectory(".", { recursive: true })).toSorted(), [
            "link",
            "src",
            "src/main.c",
            "tool"
          ])
          assert.strictEqual(yield* files.readFileString("link"), "int main;")
          assert.strictEqual((yield* files.stat("tool")).mode & 0o777, 0o755)
          assert.strictEqual(yield* files.readFileString("/etc/motd"), "hello")
          assert.deepStrictEqual(yield* files.readDirectory("/tmp"), [])
        })
        const mess = Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          yield* files.writeFileString("src/main.c", "changed")
          yield* files.remove("tool")
          yield* files.makeDirectory("a/b/c", { recursive: true })
          yield* files.chmod("a/b", 0)
          yield* files.makeTempFile()
          yield* files.symlink("/etc", "a/link")
          yield* files.chmod(".", 0o500)
          assert.strictEqual(
            (yield* Effect.flip(files.writeFileString("/etc/motd", "x"))).reason._tag,
            "PermissionDenied"
          )
        })
        for (let i = 0; i < 2; i++) yield* env.withSession({}, Effect.andThen(look, mess))
        yield* env.withSession({}, look)
      })
    )
  )

  it.effect("S1 do not find processes of the one before", () =>
    onSim(
      { programs: [hangs, leaves] },
      Effect.gen(function* () {
        const sim = yield* SimDriver
        const env = yield* Environment.make({ ...quiet, pool: 1 })
        const user = yield* Effect.forkChild(env.withSession({}, Effect.andThen(exec("leaves"), exec("leaves"))))
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(user)
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(sim.resources().processes, 0)
        assert.deepStrictEqual(sim.alive(), ["env/base:0:0"] as never)
      })
    )
  )

  it.effect("find what set-up has left for them in `home`, and cannot change it; its processes live on", () =>
    onSim(
      { programs: [hangs] },
      Effect.gen(function* () {
        const sim = yield* SimDriver
        class Tool extends Context.Service<Tool, { readonly home: string }>()("test/Tool") {}
        const tool = Feature.make(Tool, {
          setup: Effect.gen(function* () {
            const files = yield* FileSystem.FileSystem
            const { home } = yield* Sandbox
            yield* files.makeDirectory(home, { recursive: true })
            yield* files.writeFileString(`${home}/index`, "1")
            const handle = yield* ChildProcess.make("hangs")
            yield* Effect.addFinalizer(() => Effect.ignore(handle.kill({ killSignal: "SIGKILL" })))
            return { session: Effect.succeed({ home }) }
          })
        })
        const env = yield* Environment.make({ ...quiet, pool: 1, features: [tool] })
        const body = Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          const { home } = yield* Tool
          assert.strictEqual(yield* files.readFileString(`${home}/index`), "1")
          assert.strictEqual(
            (yield* Effect.flip(files.writeFileString(`${home}/index`, "2"))).reason._tag,
            "PermissionDenied"
          )
          assert.strictEqual(sim.resources().processes, 1)
        })
        for (let i = 0; i < 3; i++) yield* env.withSession({}, body)
      })
    )
  )

  it.effect("a shell's umask is that of the files it makes", () =>
    onSim(
      {},
      Effect.gen(function* () {
        const env = yield* Environment.make({ ...quiet, pool: 1 })
        const body = Effect.gen(function* () {
          yield* exec("sh", "-c", "umask 077; echo a > secret; umask 0; echo a > shared")
          const files = yield* FileSystem.FileSystem
          return [(yield* files.stat("secret")).mode & 0o777, (yield* files.stat("shared")).mode & 0o777]
        })
        assert.deepStrictEqual(yield* env.withSession({}, body), [0o600, 0o666])
      })
    )
  )

  it.effect("a full disk and too many processes are the session's own trouble", () =>
    onSim(
      { diskBytes: 200_000, maxProcesses: 2, programs: [hangs] },
      Effect.gen(function* () {
        const env = yield* Environment.make({ ...quiet, pool: 1 })
        const body = Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          const full = yield* Effect.flip(files.writeFile("big", new Uint8Array(300_000)))
          assert.include(full.message, "No space left on device")
          for (let i = 0; i < 2; i++) yield* Effect.forkScoped(exec("hangs"))
          yield* TestClock.adjust(0)
          assert.include(String(yield* Effect.flip(exec("hangs"))), "Resource temporarily unavailable")
        })
        yield* env.withSession({}, Effect.scoped(body))
      })
    )
  )
})

describe("time", () => {
  it.effect("passes with create, reset, ping, spawn, files and destroy, on the clock alone", () =>
    onSim(
      {
        latency: {
          create: "10 seconds",
          reset: "5 seconds",
          ping: "1 second",
          spawn: "2 seconds",
          files: "100 millis",
          destroy: "3 seconds"
        },
        programs: [SimProgram.make("quick", () => Effect.void)]
      },
      Effect.gen(function* () {
        const times: Array<readonly [string, number]> = []
        const timed = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>) =>
          Effect.gen(function* () {
            const started = yield* Clock.currentTimeMillis
            const value = yield* effect
            times.push([what, (yield* Clock.currentTimeMillis) - started])
            return value
          })
        const all = Effect.gen(function* () {
          const made = yield* timed("create", instance)
          yield* timed("reset", made.reset)
          yield* timed("ping", made.ping)
          yield* timed("write", made.fileSystem.writeFileString("a", "a"))
          const handle = yield* timed("spawn", made.spawner.spawn(ChildProcess.make("quick")))
          yield* timed("exit", handle.exitCode)
        })
        const running = yield* Effect.forkChild(timed("all", Effect.scoped(all)))
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(running)
        assert.deepStrictEqual(times, [
          ["create", 10_000],
          ["reset", 5000],
          ["ping", 1000],
          ["write", 100],
          ["spawn", 2000],
          ["exit", 0],
          ["all", 21_100]
        ])
      })
    )
  )

  it.effect("I10 is the same with the same seed, and another with another", () =>
    Effect.gen(function* () {
      const timesOf = (seed: string) =>
        onSim(
          { seed, latency: { create: Latency.longTailed({ median: "1 second", p99: "10 seconds" }) } },
          Effect.gen(function* () {
            const started = yield* Clock.currentTimeMillis
            const driver = yield* SandboxDriver
            const create = (slot: number) =>
              Effect.andThen(
                driver.create(spec(slot)),
                Effect.map(Clock.currentTimeMillis, (now) => now - started)
              )
            const all = yield* Effect.forkChild(Effect.forEach([0, 1, 2, 3], create, { concurrency: 4 }))
            yield* TestClock.adjust("1 hour")
            return yield* Fiber.join(all)
          })
        ).pipe(Random.withSeed(String(Math.E)))
      const first = yield* timesOf("one")
      assert.strictEqual(new Set(first).size, 4)
      assert.deepStrictEqual(yield* timesOf("one"), first)
      assert.notDeepEqual(yield* timesOf("two"), first)
    })
  )
})

describe("death", () => {
  const operations = (made: Effect.Success<typeof instance>) =>
    ({
      ping: made.ping,
      reset: made.reset,
      spawn: made.spawner.spawn(ChildProcess.make("hangs")),
      exit: Effect.flatMap(made.spawner.spawn(ChildProcess.make("hangs")), (handle) => handle.exitCode),
      stdout: Effect.flatMap(made.spawner.spawn(ChildProcess.make("hangs")), (handle) =>
        Stream.runDrain(handle.stdout)
      ),
      stdin: Effect.flatMap(made.spawner.spawn(ChildProcess.make("hangs")), (handle) =>
        Stream.run(Stream.make(new Uint8Array(1_000_000)), handle.stdin)
      ),
      readFile: made.fileSystem.readFile("a"),
      watch: Stream.runDrain(made.fileSystem.watch("."))
    }) as const

  it.effect("S4 F4 is told first, then ends everything in flight, and everything after", () =>
    onSim(
      { programs: [hangs] },
      Effect.gen(function* () {
        const sim = yield* SimDriver
        const made = yield* instance
        const told: Array<string> = []
        const note = (what: string) =>
          Effect.onExit((exit: Exit.Exit<unknown, unknown>) =>
            Effect.sync(() => told.push(Exit.isFailure(exit) ? what : `${what} succeeded`))
          )
        const death = yield* Effect.forkChild(
          Effect.flip(made.awaitDeath).pipe(Effect.tap(() => Effect.sync(() => told.push("death")))),
          { startImmediately: true }
        )
        yield* made.fileSystem.writeFileString("a", "a")
        const ops = operations(made)
        const slow = ["exit", "stdout", "stdin", "watch"] as const
        const running = yield* Effect.forEach(slow, (name) =>
          Effect.forkChild(Effect.exit(ops[name].pipe(note(name))), { startImmediately: true })
        )
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(told, [])
        assert.isTrue(yield* sim.kill("env/base:0:0", "out of memory"))
        yield* TestClock.adjust(0)
        assert.strictEqual(told[0], "death")
        assert.deepStrictEqual(told.slice(1).toSorted(), [...slow].toSorted())
        const error = yield* Fiber.join(death)
        assert.instanceOf(error, SandboxStateError)
        assert.include(error.message, "out of memory")
        for (const fiber of running) assert.isTrue(Exit.isFailure(yield* Fiber.join(fiber)))
        const after: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown, Scope.Scope>]> =
          Object.entries(ops)
        for (const [name, operation] of after) {
          assert.isTrue(Exit.isFailure(yield* Effect.exit(operation)), name)
        }
        assert.strictEqual(sim.resources().processes, 0)
        assert.isTrue(yield* sim.kill("env/base:0:0"), "it is there until it is taken down")
        assert.isFalse(yield* sim.kill("env/base:1:0"))
      })
    )
  )

  it.effect("S4 H2 F29 of a sandbox in a session: the body hears of it at once, and another takes its place", () =>
    onSim(
      { latency: { files: "1 hour" } },
      Effect.gen(function* () {
        const sim = yield* SimDriver
        const env = yield* Environment.make({ ...quiet, pool: 1 })
        const began = yield* Deferred.make<void>()
        const body = Effect.gen(function* () {
          yield* Deferred.succeed(began, undefined)
          return yield* Effect.flatMap(FileSystem.FileSystem, (files) => files.readFileString("a"))
        })
        const user = yield* Effect.forkChild(Effect.flip(env.withSession({}, body)))
        yield* Deferred.await(began)
        yield* sim.kill("env/base:0:0")
        assert.instanceOf(yield* Fiber.join(user), SandboxStateError)
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(sim.alive(), ["env/base:0:1"] as never)
      })
    )
  )
})

describe("the end", () => {
  it.effect("L18 F4 whoever has kept a sandbox that was taken down is told that it is over", () =>
    onSim(
      { programs: [hangs] },
      Effect.gen(function* () {
        const kept = yield* Effect.scoped(
          Effect.gen(function* () {
            const made = yield* instance
            yield* made.fileSystem.writeFileString("a", "a")
            return made
          })
        )
        const operations: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          kept.fileSystem.readFileString("a"),
          kept.spawner.exitCode(ChildProcess.make("hangs")),
          kept.ping,
          kept.reset
        ]
        for (const operation of operations) {
          assert.include(String(yield* Effect.flip(operation)), "was taken down")
        }
      })
    )
  )

  it.effect("F26 reset makes a workspace again that set-up has removed or replaced", () =>
    onSim(
      {},
      Effect.gen(function* () {
        const made = yield* instance
        const asRoot = Effect.provideService(CallLifetime, "sandbox")
        const files = made.fileSystem
        yield* files.remove("/workspace", { recursive: true }).pipe(asRoot)
        yield* made.reset
        yield* files.writeFileString("a", "a")
        yield* files.rename("/workspace", "/elsewhere").pipe(asRoot)
        yield* files.symlink("/elsewhere", "/workspace").pipe(asRoot)
        yield* made.reset
        assert.deepStrictEqual(yield* files.readDirectory("."), [])
        assert.strictEqual((yield* files.lstat("/workspace")).type, "Directory")
        yield* files.writeFileString("a", "a")
      })
    )
  )
})

describe("limits and options", () => {
  it.effect("F35 no more sandboxes than there is room for", () =>
    onSim(
      { maxSandboxes: 2 },
      Effect.gen(function* () {
        const { create } = yield* SandboxDriver
        yield* create(spec(0))
        yield* Effect.scoped(create(spec(1)))
        yield* create(spec(2))
        const error = yield* Effect.flip(create(spec(3)))
        assert.instanceOf(error, EnvironmentOutageError)
        assert.include(error.message, "room for 2 sandboxes")
      })
    )
  )

  it.effect("options that cannot work are refused, each with its path", () =>
    Effect.gen(function* () {
      const refused: ReadonlyArray<readonly [SimDriverOptions, string]> = [
        [{ latency: { create: "soon" as never } }, "latency.create"],
        [{ latency: { ping: Latency.uniform(-1, 1) } }, "latency.ping"],
        [{ maxSandboxes: -1 }, "maxSandboxes"],
        [{ images: { base: { files: { "/a": "file", "/a/b": "in it" } } } }, "files./a/b"]
      ]
      for (const [options, path] of refused) {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(SimDriver.layer(options))))
        assert.instanceOf(error, InvalidConfigurationError)
        assert.include(error.message, path)
      }
    })
  )
})
