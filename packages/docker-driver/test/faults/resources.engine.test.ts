import { Sandbox } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Option } from "effect"
import * as engine from "../support/engine.ts"
import * as lab from "../support/lab.ts"

const limit = 60_000
const mebibyte = 1024 * 1024
const memory = 64 * mebibyte
const hog = "tail /dev/zero"

const defaults = { memory, pids: 64 }

describe.skipIf(engine.missing !== undefined)(`resources that run out${engine.because}`, { concurrent: true }, () => {
  it.live(
    "F25 F29 a command for which there is no memory is reported as that, with the limit, and the sandbox lives on",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({ driver: { defaults } })
        const body = Effect.gen(function* () {
          const result = yield* lab.sh(`exec ${hog}`)
          assert.deepStrictEqual(result.outcome, { _tag: "MemoryLimit", limitBytes: memory })
          // A command may survive the end of a part of it: then its exit code is what counts.
          assert.deepStrictEqual((yield* lab.sh(`${hog}; exit 3`)).outcome, lab.exited(3))
          // Nobody takes a death by the user's own hand for one of these.
          assert.deepStrictEqual((yield* lab.sh("kill -9 $$")).outcome, { _tag: "Signalled", signal: "SIGKILL" })
          assert.strictEqual(yield* lab.output("echo alive"), "alive\n")
        })
        yield* environment.withSession({}, body)
        assert.strictEqual(yield* environment.withSession({}, lab.generation), 0)
      }),
    limit
  )

  it.live(
    "F25 a background process without memory takes neither a command nor the sandbox along",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({ driver: { defaults } })
        const body = Effect.gen(function* () {
          assert.strictEqual(yield* lab.output(`(${hog}) >/dev/null 2>&1 & wait $!; echo $?`), "137\n")
          assert.strictEqual(yield* lab.output(`setsid ${hog} >/dev/null 2>&1 & echo started`), "started\n")
          yield* Effect.sleep(1000)
          yield* Effect.flatMap(Sandbox, ({ ping }) => ping)
          assert.strictEqual(yield* lab.output("echo alive"), "alive\n")
        })
        yield* environment.withSession({}, body)
        assert.strictEqual(yield* environment.withSession({}, lab.generation), 0)
      }),
    limit
  )

  it.live(
    "memory that is full of files kills who writes them, and is free again in the next session",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({ driver: { defaults: { ...defaults, disk: memory } } })
        const body = Effect.gen(function* () {
          const { outcome } = yield* lab.exec("dd", ["if=/dev/zero", "of=full", "bs=1M", "count=200"])
          assert.deepStrictEqual(outcome, { _tag: "MemoryLimit", limitBytes: memory })
        })
        yield* environment.withSession({}, body)
        const next = Effect.gen(function* () {
          assert.strictEqual(yield* lab.output("ls -A"), "")
          assert.strictEqual(
            yield* lab.output("dd if=/dev/zero of=some bs=1M count=20 2>/dev/null; wc -c <some"),
            `${20 * mebibyte}\n`
          )
        })
        yield* environment.withSession({}, next)
      }),
    limit
  )

  it.live(
    "a full workspace is the platform's error, not the sandbox's end; a reset makes room",
    () =>
      Effect.gen(function* () {
        const disk = 8 * mebibyte
        const environment = yield* lab.make({ driver: { defaults: { ...defaults, disk } } })
        const body = Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          const error = yield* Effect.flip(files.writeFile("full", new Uint8Array(2 * disk)))
          assert.strictEqual(error._tag, "PlatformError")
          assert.match(error.message, /no space left on device/i)
          const result = yield* lab.sh("echo more >more")
          assert.strictEqual(result.outcome._tag, "Exited")
          assert.match(result.stderr, /no space left on device/i)
          // There are other places.
          assert.strictEqual(yield* lab.output("echo elsewhere >/tmp/file; cat /tmp/file"), "elsewhere\n")
        })
        yield* environment.withSession({}, body)
        const next = Effect.gen(function* () {
          const files = yield* FileSystem.FileSystem
          assert.deepStrictEqual(yield* files.readDirectory("."), [])
          yield* files.writeFile("fits", new Uint8Array(disk / 2))
          return yield* lab.generation
        })
        assert.strictEqual(yield* environment.withSession({}, next), 0)
      }),
    limit
  )

  it.live(
    "a fork bomb fills its own sandbox and no other, and a reset ends it",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({ driver: { defaults }, pool: { min: 0, max: 2 } })
        const body = Effect.gen(function* () {
          const bomb = yield* lab.sh("bomb() { bomb | bomb & }; bomb", { timeout: "2 seconds" })
          assert.include(["Exited", "TimedOut", "Signalled"], bomb.outcome._tag)
          yield* Effect.flatMap(Sandbox, ({ ping }) => ping)
          // Another sandbox has room.
          const other = yield* environment.withSession({}, lab.output("echo other"))
          assert.strictEqual(other, "other\n")
        })
        yield* environment.withSession({ id: "bomb" }, body)
        const full = Effect.gen(function* () {
          // So many processes that none is left, for as long as the session lasts.
          yield* lab.sh("i=0; while [ $i -lt 100 ]; do sleep 1000 & i=$((i+1)); done")
          // The places of that shell, of who looked after it, and of who waits for the next command, one after the other.
          const last = Effect.forkScoped(lab.exec("sleep", ["1000"])).pipe(
            Effect.flatMap((fiber) => Effect.timeoutOption(Effect.flip(Fiber.join(fiber)), "500 millis"))
          )
          let refused = yield* last
          for (let places = 0; places < 5 && Option.isNone(refused); places++) refused = yield* last
          assert.strictEqual(Option.getOrUndefined(refused)?._tag, "PlatformError")
          yield* Effect.flatMap(Sandbox, ({ ping }) => ping)
        }).pipe(Effect.scoped)
        yield* environment.withSession({}, full)
        yield* Effect.forEach([1, 2, 3], () => environment.withSession({}, lab.output("true")))
        const { ledger } = yield* environment.stats
        assert.strictEqual(ledger.created, 2, "a sandbox was replaced")
      }),
    limit
  )
})
