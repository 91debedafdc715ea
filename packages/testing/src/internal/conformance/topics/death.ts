/** A sandbox dies by itself: that is told first, and then nothing hangs, nothing is guessed, nothing goes on (F4, F18). */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Bench } from "../bench.ts"
import { type Check, inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import * as pattern from "../pattern.ts"
import { endOf, type Subject, ticks } from "../subject.ts"

const check = inTopic("death")

/** Longer than any teardown takes, and much shorter than what hangs. */
const limit = "8 seconds"

/** Kills a sandbox and waits until that is told. */
const killed = (bench: Bench, { instance, spec }: Subject) =>
  Effect.gen(function* () {
    yield* bench.kill({ instance, spec })
    const told = expect.promptly(instance.awaitDeath, "awaitDeath of a sandbox that was killed", limit)
    return yield* expect.stateError(told, spec.sandboxId, "awaitDeath of a sandbox that was killed")
  })

export const checks: ReadonlyArray<Check> = [
  check(
    "death-is-told",
    "a death is told to everybody who waits for it, with the sandbox and a reason",
    { marks: ["F29", "F6"], needs: ["death"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const waiters = yield* Effect.forEach(Array.from({ length: 5 }), () =>
          Effect.forkScoped(Effect.exit(sandbox.instance.awaitDeath), { startImmediately: true })
        )
        const error = yield* killed(bench, sandbox)
        yield* expect.isTrue(error.description !== undefined || error.cause !== undefined, "the error gives no reason")
        yield* expect.eventually(
          Effect.sync(() => waiters.every((waiter) => waiter.pollUnsafe() !== undefined)),
          "everybody who waited knows"
        )
      })
  ),

  check(
    "death-is-told-late",
    "a death is told to whoever asks after it",
    { marks: ["F21"], needs: ["death"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        yield* killed(bench, sandbox)
        yield* Effect.sleep("300 millis")
        const late = expect.promptly(sandbox.instance.awaitDeath, "awaitDeath after the death")
        yield* expect.stateError(late, sandbox.spec.sandboxId, "awaitDeath after the death")
      })
  ),

  check(
    "death-ends-everything",
    "after a death everything fails promptly, and nothing succeeds",
    { marks: ["F4", "F18"], needs: ["death"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const { files, instance } = sandbox
        yield* files.writeFileString("file", "content")
        yield* killed(bench, sandbox)
        yield* expect.stateError(expect.promptly(instance.ping, "ping"), sandbox.spec.sandboxId, "ping after the death")
        yield* expect.stateError(
          expect.promptly(instance.reset, "reset"),
          sandbox.spec.sandboxId,
          "reset after the death"
        )
        for (const [what, operation] of [
          ["spawn", Effect.scoped(Effect.asVoid(sandbox.start("true")))],
          ["readFile", Effect.asVoid(files.readFile("file"))],
          ["writeFile", files.writeFileString("file", "more")],
          ["stat", Effect.asVoid(files.stat("file"))],
          ["readDirectory", Effect.asVoid(files.readDirectory("."))],
          ["makeDirectory", files.makeDirectory("directory")],
          ["makeTempFile", Effect.asVoid(files.makeTempFile())],
          ["remove", files.remove("file")],
          ["rename", files.rename("file", "other")],
          ["stream", Stream.runDrain(files.stream("file"))],
          ["sink", Stream.run(pattern.stream(pattern.noise, 10), files.sink("new"))],
          ["open", Effect.scoped(Effect.asVoid(files.open("file")))]
        ] as const) {
          yield* expect.platformError(expect.promptly(operation, what), undefined, `${what} after the death`)
        }
      })
  ),

  check(
    "death-keeps-what-was-received",
    "output that had been received is kept when the sandbox dies",
    { marks: ["F18"], needs: ["death", "shell"] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const handle = yield* sandbox.startScript("seq 1000; echo done; sleep 300")
        const received: Array<string> = []
        const seen = yield* Deferred.make<void>()
        const reading = yield* handle.stdout.pipe(
          Stream.decodeText(),
          Stream.splitLines,
          Stream.runForEach((line) =>
            Effect.sync(() => {
              received.push(line)
              if (line === "done") Deferred.doneUnsafe(seen, Effect.void)
            })
          ),
          Effect.exit,
          Effect.forkScoped
        )
        yield* Deferred.await(seen)
        yield* killed(bench, sandbox)
        yield* expect.eventually(
          Effect.sync(() => reading.pollUnsafe() !== undefined),
          "reading has ended",
          limit
        )
        yield* expect.equal(received.length, 1001, "lines received")
        const end = yield* expect.promptly(endOf(handle), "the end of the command", limit)
        yield* expect.isTrue(end._tag !== "Exited", "an exit code was made up")
      })
  ),

  check(
    "death-stops-what-runs",
    "what ran in a sandbox does not go on after its death",
    { marks: ["F4", "F29"], needs: ["death", "shell", "leaks"], exclusive: true },
    (bench) =>
      Effect.gen(function* () {
        const before = yield* bench.alive
        yield* Effect.scoped(
          Effect.gen(function* () {
            const sandbox = yield* bench.create()
            yield* sandbox.startScript(`setsid sh -c '${ticks("a")}' & ${ticks("b")}`)
            yield* sandbox.isTicking("a")
            yield* killed(bench, sandbox)
          })
        )
        const added = Effect.map(bench.alive, (now) => now.filter((one) => !before.includes(one)))
        yield* Effect.ignore(
          expect.eventually(
            Effect.map(added, (left) => left.length === 0),
            "nothing is left"
          )
        )
        yield* expect.equal(yield* added, [], "what a sandbox that died and was closed has left")
      })
  ),

  check(
    "death-then-close",
    "a sandbox that has died is taken down promptly",
    { marks: ["F12", "F15"], needs: ["death", "programs"] },
    (bench) =>
      Effect.gen(function* () {
        const use = Effect.scoped(
          Effect.gen(function* () {
            const sandbox = yield* bench.create()
            yield* sandbox.start("sleep", ["300"])
            yield* killed(bench, sandbox)
          })
        )
        yield* expect.promptly(use, "a sandbox that dies and is taken down", "15 seconds")
      })
  ),

  check(
    "death-of-one",
    "the death of one sandbox is not that of another",
    { marks: ["F19", "F30"], needs: ["death", "programs"] },
    (bench) =>
      Effect.gen(function* () {
        const [one, two] = yield* Effect.all([bench.create(), bench.create()], { concurrency: 2 })
        const handle = yield* two.start("sleep", ["300"])
        const death = yield* Effect.forkScoped(two.instance.awaitDeath)
        yield* killed(bench, one)
        yield* Effect.sleep("500 millis")
        yield* two.instance.ping
        yield* two.files.writeFileString("file", "content")
        yield* expect.equal((yield* two.run("cat", ["file"])).stdout, "content", "a command of the other")
        yield* expect.equal(yield* handle.isRunning, true, "isRunning of the other's command")
        yield* expect.equal(death.pollUnsafe(), undefined, "a death of the other")
      })
  ),

  check(
    "death-on-the-way-up",
    "a sandbox that dies right after it was made tells so to who asks first later",
    { marks: ["F21"], needs: ["death"] },
    (bench) =>
      Effect.gen(function* () {
        const spec = bench.spec()
        const instance = yield* bench.driver.create(spec)
        yield* bench.kill({ spec, instance })
        const first = expect.promptly(instance.awaitDeath, "awaitDeath", limit)
        yield* expect.stateError(first, spec.sandboxId, "awaitDeath")
        yield* expect.stateError(expect.promptly(instance.reset, "reset"), spec.sandboxId, "reset")
      })
  )
]
