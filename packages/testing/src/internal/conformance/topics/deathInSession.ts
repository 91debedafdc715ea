/** A sandbox dies or falls silent in a session: a state error, promptly, and a new sandbox for the next (S4, F3, F21). */
import type { SessionServices } from "@effect-sandbox/core/Environment"
import { Sandbox } from "@effect-sandbox/core/Sandbox"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Stream from "effect/Stream"
import type { Bench, Lab } from "../bench.ts"
import { type Check, inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { sh } from "../inSession.ts"

const check = inTopic("death-in-session")

const limit = "10 seconds"

/** A session whose sandbox is killed while the body is at something; gives how the session ended. */
const killedDuring = <A, E>(bench: Bench, lab: Lab, body: Effect.Effect<A, E, SessionServices>) =>
  Effect.gen(function* () {
    const begun = yield* Deferred.make<void>()
    const session = yield* Effect.forkScoped(
      Effect.exit(lab.withSession({}, Effect.andThen(Deferred.succeed(begun, undefined), body)))
    )
    yield* bench.during("the session begins", Deferred.await(begun))
    yield* Effect.sleep("300 millis")
    const victim = yield* lab.latest
    yield* bench.kill(victim)
    const exit = yield* bench.during(
      "the session ends",
      expect.promptly(Fiber.join(session), "the end of the session", limit)
    )
    return { victim, exit }
  })

const bodies: ReadonlyArray<{
  readonly id: string
  readonly what: string
  readonly needs: Check["needs"]
  readonly body: Effect.Effect<unknown, unknown, SessionServices>
}> = [
  { id: "in-exec", what: "in exec", needs: ["shell"], body: sh("sleep 300") },
  {
    id: "in-exec-with-timeout",
    what: "in exec with a time limit, whose end it is not",
    needs: ["shell"],
    body: Effect.flatMap(Sandbox, (sandbox) => sandbox.exec("sleep", ["300"], { timeout: "200 seconds" }))
  },
  { id: "elsewhere", what: "waiting for something else", needs: [], body: Effect.never },
  {
    id: "in-spawned-command",
    what: "waiting for a command of the spawner",
    needs: ["programs"],
    body: Effect.flatMap(ChildProcessSpawner, (spawner) => spawner.exitCode(ChildProcess.make("sleep", ["300"])))
  },
  {
    id: "in-files",
    what: "writing files",
    needs: [],
    body: Effect.flatMap(FileSystem.FileSystem, (files) =>
      Effect.forever(Effect.andThen(files.writeFileString("file", "x"), Effect.sleep(5)))
    )
  },
  {
    id: "in-stream",
    what: "reading a command's output",
    needs: ["programs"],
    body: Effect.flatMap(ChildProcessSpawner, (spawner) =>
      Stream.runDrain(spawner.streamLines(ChildProcess.make("sleep", ["300"])))
    )
  },
  {
    id: "uninterested",
    what: "in a body that catches every error",
    needs: ["shell"],
    body: Effect.andThen(Effect.exit(sh("sleep 300")), Effect.never)
  }
]

export const checks: ReadonlyArray<Check> = [
  ...bodies.map(({ body, id, needs, what }) =>
    check(
      `session-death-${id}`,
      `a session ${what} fails with the state error of its sandbox at once`,
      { marks: ["S4", "F4", "F25", "X3"], needs: ["death", ...needs] },
      (bench) =>
        Effect.gen(function* () {
          const lab = yield* bench.environment()
          const { exit, victim } = yield* killedDuring(bench, lab, body)
          yield* expect.stateError(exit, victim.spec.sandboxId, "the session")
        })
    )
  ),

  check(
    "session-death-replaced",
    "the next session has a new sandbox that knows nothing of the old one",
    { marks: ["F21", "F29", "H2", "S1"], needs: ["death", "shell"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment()
        const write = Effect.flatMap(FileSystem.FileSystem, (files) => files.writeFileString("file", "old"))
        const { victim } = yield* killedDuring(bench, lab, Effect.andThen(write, Effect.never))
        const next = yield* expect.promptly(lab.withSession({}, sh("ls -A; echo works")), "the next session", limit)
        yield* expect.equal(next.stdout, "works\n", "what it sees")
        const { spec } = yield* lab.latest
        yield* expect.equal(
          [spec.slot, spec.generation],
          [victim.spec.slot, victim.spec.generation + 1],
          "slot and generation"
        )
      })
  ),

  check(
    "session-death-not-restarted",
    "nothing is started again under a session whose sandbox has died",
    { marks: ["F29", "F27"], needs: ["death", "shell"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment()
        const body = Effect.gen(function* () {
          yield* Effect.exit(sh("sleep 300"))
          return (yield* sh("echo a success that is none")).stdout
        })
        const { exit, victim } = yield* killedDuring(bench, lab, body)
        yield* expect.stateError(exit, victim.spec.sandboxId, "the session")
        const commands = (yield* lab.recorder.events).filter(
          (event) => event._tag === "SandboxActivity" && event.name === "exec sh" && event.error === undefined
        )
        yield* expect.equal(commands, [], "commands that are said to have ended well")
      })
  ),

  check(
    "session-death-while-ready",
    "a sandbox that dies while nobody uses it is never handed out",
    { marks: ["F21", "H2"], needs: ["death", "shell"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment({ pool: 1 })
        for (let round = 0; round < 3; round++) {
          const victim = yield* lab.latest
          yield* bench.kill(victim)
          // A death that has not been noticed yet is met by whoever comes: the session ends with it.
          yield* expect.promptly(Effect.exit(victim.instance.awaitDeath), "its death is told", limit)
          const next = lab.withSession({}, Effect.all([Effect.map(Sandbox, ({ id }) => id), sh("echo on")]))
          const [id, result] = yield* expect.promptly(next, "the next session", limit)
          yield* expect.isTrue(id !== victim.spec.sandboxId, "the sandbox that had died was handed out")
          yield* expect.equal(result.stdout, "on\n", "its command")
        }
      })
  ),

  check(
    "session-death-of-one",
    "the death of one sandbox is no business of the session in another",
    { marks: ["L6", "F19"], needs: ["death", "shell"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment({ pool: { min: 0, max: 2 } })
        const other = yield* lab.session()
        yield* other.run(sh("echo kept >file"))
        yield* killedDuring(bench, lab, Effect.never)
        yield* expect.equal((yield* other.run(sh("cat file"))).stdout, "kept\n", "the other session")
      })
  ),

  check(
    "session-death-refuses",
    "what a session held of a dead sandbox fails promptly and does nothing",
    { marks: ["F4", "L18"], needs: ["death", "programs"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment()
        const session = yield* lab.session()
        const [sandbox, files] = yield* session.run(Effect.all([Sandbox, FileSystem.FileSystem]))
        yield* bench.kill(yield* lab.latest)
        yield* expect.promptly(Effect.exit(session.run(Effect.never)), "the body of the session", limit)
        for (const [what, attempt] of [
          ["exec", Effect.asVoid(sandbox.exec("true"))],
          ["readFile", Effect.asVoid(files.readFile("file"))],
          ["writeFile", files.writeFileString("file", "x")]
        ] as const) {
          const exit = yield* Effect.exit(expect.promptly(attempt, what))
          yield* expect.isTrue(Exit.isFailure(exit) && !Exit.hasDies(exit), `${what} after the death does not fail`)
        }
      })
  ),

  check(
    "session-death-events",
    "a death is told by events, with the error, once",
    { marks: ["F6", "V1"], needs: ["death"] },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment()
        const { victim } = yield* killedDuring(bench, lab, Effect.never)
        const down = yield* expect.promptly(
          lab.recorder.waitFor(
            (event) => event._tag === "SandboxShutDown" && event.sandboxId === victim.spec.sandboxId
          ),
          "the event of its end",
          limit
        )
        yield* expect.isTrue(down._tag === "SandboxShutDown" && down.reason !== "", "the event gives no reason")
        const ended = (yield* lab.recorder.events).filter((event) => event._tag === "SessionEnded")
        yield* expect.equal(
          ended.map((event) => event._tag === "SessionEnded" && event.error?.isStateError),
          [true],
          "whether the session's end is told with a state error"
        )
      })
  ),

  check(
    "freeze-exec",
    "a command in a sandbox that falls silent ends at its time limit",
    { marks: ["F3"], needs: ["freezing", "programs"], patience: 2 },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment()
        const run = lab.withSession(
          {},
          Effect.gen(function* () {
            const sandbox = yield* Sandbox
            yield* bench.freeze(yield* lab.latest)
            return yield* sandbox.exec("sleep", ["1"], { timeout: "1 second", forceKillAfter: "500 millis" })
          })
        )
        const exit = yield* Effect.exit(expect.promptly(run, "the session", "20 seconds"))
        if (Exit.isSuccess(exit)) yield* expect.equal(exit.value.outcome._tag, "TimedOut", "the outcome")
        else yield* expect.stateError(exit, undefined, "the session")
      })
  ),

  check(
    "freeze-is-noticed",
    "a sandbox that falls silent is found by pings: its session ends with a state error",
    { marks: ["F3", "F4"], needs: ["freezing"], patience: 2 },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment({
          keepaliveInterval: "300 millis",
          pingTimeout: "500 millis",
          missedPings: 2
        })
        const body = Effect.gen(function* () {
          yield* bench.freeze(yield* lab.latest)
          return yield* Effect.never
        })
        const exit = yield* Effect.exit(expect.promptly(lab.withSession({}, body), "the session", "20 seconds"))
        yield* expect.stateError(exit, undefined, "the session")
      })
  ),

  check(
    "freeze-close",
    "a sandbox that has fallen silent is taken down, and the others are not held up",
    { marks: ["F3", "F24"], needs: ["freezing"], patience: 2 },
    (bench) =>
      Effect.gen(function* () {
        const other = yield* bench.create()
        const use = Effect.scoped(Effect.flatMap(bench.create(), (sandbox) => bench.freeze(sandbox)))
        const closing = yield* Effect.forkScoped(
          expect.promptly(use, "a sandbox that falls silent and is taken down", "25 seconds")
        )
        yield* expect.promptly(other.instance.ping, "a ping of another sandbox")
        yield* other.files.writeFileString("file", "content")
        yield* Fiber.join(closing)
      })
  ),

  check(
    "memory-limit",
    "a command that takes all memory is no success, and the next session works",
    { marks: ["F29", "F31"], needs: ["memoryLimit", "shell"], patience: 3 },
    (bench) =>
      Effect.gen(function* () {
        const lab = yield* bench.environment()
        const greedy = lab.withSession({}, sh("x=0123456789abcdef; while :; do x=$x$x; done; echo survived"))
        const exit = yield* Effect.exit(expect.promptly(greedy, "the session", "50 seconds"))
        if (Exit.isSuccess(exit)) {
          const { outcome } = exit.value
          yield* expect.isTrue(outcome._tag !== "Exited" || outcome.code !== 0, "it is told as a success")
        } else yield* expect.stateError(exit, undefined, "the session")
        const next = yield* expect.promptly(lab.withSession({}, sh("echo on")), "the next session", limit)
        yield* expect.equal(next.stdout, "on\n", "the next session")
      })
  )
]
