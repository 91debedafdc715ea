/** Commands that do what few real ones do, and a simulated driver that knows them. */
import { type FaultPlan, type SimDriverOptions, SimProgram, TestEnvironment } from "@effect-sandbox/testing"
import { Context, Deferred, Effect } from "effect"

/** `hang` runs until it is killed, `zombie` cannot even be killed (F3). */
const hang = SimProgram.script("hang", [{ _tag: "Hang" }])
const zombie = SimProgram.script("zombie", [{ _tag: "Hang" }])

/** `dies` of a signal, and of the end of `vanishes` nobody can tell (F31). */
const dies = SimProgram.script("dies", [{ _tag: "Die", signal: "SIGKILL" }])
const vanishes = SimProgram.script("vanishes", [])

const faults: FaultPlan.FaultPlan = [
  { at: ["kill"], operation: "zombie", how: { _tag: "Hang" } },
  { at: ["exit"], operation: "vanishes", how: { _tag: "Fail", message: "nobody knows" } }
]

/** Ends `daemon`, which runs until then or until it is killed. */
export class Daemon extends Context.Service<
  Daemon,
  {
    /** Tells whether there was one. */
    readonly end: (code: number) => Effect.Effect<boolean>
  }
>()("test/Daemon") {}

const makeDaemon = () => {
  const running = new Set<Deferred.Deferred<number>>()
  const program = SimProgram.make("daemon", () =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        const ended = Deferred.makeUnsafe<number>()
        running.add(ended)
        return ended
      }),
      (ended) => Deferred.await(ended),
      (ended) => Effect.sync(() => running.delete(ended))
    )
  )
  return {
    program,
    end: (code: number) =>
      Effect.suspend(() =>
        Effect.map(
          Effect.forEach([...running], (ended) => Deferred.succeed(ended, code)),
          (ends) => ends.length > 0
        )
      )
  }
}

/** Runs a test as `TestEnvironment.run` does, with these commands. */
export const run = <A, E, R>(test: Effect.Effect<A, E, R>, driver: SimDriverOptions = {}) =>
  Effect.suspend(() => {
    const daemon = makeDaemon()
    return TestEnvironment.run(Effect.provideService(test, Daemon, Daemon.of({ end: daemon.end })), {
      driver: { programs: [hang, zombie, dies, vanishes, daemon.program], faults, ...driver }
    })
  })
