/** Whatever is going on in a sandbox that dies ends promptly, after the death was told, and never in a guess (F3, F4). */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Check, inTopic } from "../check.ts"
import * as expect from "../expect.ts"
import { type Subject } from "../subject.ts"
import * as text from "../text.ts"

const check = inTopic("death-in-flight")

/** Longer than any teardown takes, and much shorter than what hangs. */
const limit = "8 seconds"

/** Something that goes on until the sandbox dies. It tells when it has begun, and ends by failing. */
interface InFlight {
  readonly id: string
  readonly what: string
  readonly needs: Check["needs"]
  readonly run: (sandbox: Subject, begun: Deferred.Deferred<void>) => Effect.Effect<unknown, unknown, Scope.Scope>
}

/** Says that it has begun. */
const has = (begun: Deferred.Deferred<void>) => Deferred.succeed(begun, undefined)

/** Repeats an operation that is too quick to be caught in the middle. */
const over = <A, E, R>(begun: Deferred.Deferred<void>, effect: Effect.Effect<A, E, R>) =>
  effect.pipe(Effect.andThen(has(begun)), Effect.andThen(Effect.forever(Effect.andThen(effect, Effect.yieldNow))))

const megabyte = new Uint8Array(1024 * 1024)

const inFlight: ReadonlyArray<InFlight> = [
  {
    id: "waiting-for-exit",
    what: "the wait for a command's end",
    needs: ["programs"],
    run: ({ start }, begun) =>
      Effect.flatMap(start("sleep", ["300"]), ({ exitCode }) => Effect.andThen(has(begun), exitCode))
  },
  {
    id: "reading-output",
    what: "reading the output of a command",
    needs: ["programs"],
    // Ending is right here as well: what was received is kept, and how the command ended is for `exitCode` to say.
    run: ({ start }, begun) =>
      Effect.flatMap(start("sleep", ["300"]), ({ stdout }) => Effect.andThen(has(begun), Stream.runDrain(stdout)))
  },
  {
    id: "writing-input",
    what: "writing to a command that does not read",
    needs: ["programs"],
    run: ({ start }, begun) =>
      Effect.flatMap(start("sleep", ["300"], { stdin: "pipe" }), ({ stdin }) =>
        Effect.andThen(has(begun), Stream.run(Stream.forever(Stream.make(megabyte)), stdin))
      )
  },
  {
    id: "spawning",
    what: "starting one command after another",
    needs: ["programs"],
    run: ({ start }, begun) => over(begun, Effect.scoped(Effect.flatMap(start("true"), ({ exitCode }) => exitCode)))
  },
  {
    id: "reading-files",
    what: "reading files",
    needs: [],
    run: ({ files }, begun) => Effect.andThen(files.writeFile("file", megabyte), over(begun, files.readFile("file")))
  },
  {
    id: "writing-files",
    what: "writing files",
    needs: [],
    run: ({ files }, begun) => over(begun, files.writeFile("file", megabyte))
  },
  {
    id: "streaming-to-file",
    what: "writing a stream that does not end to a file",
    needs: [],
    run: ({ files }, begun) =>
      Effect.andThen(
        has(begun),
        Stream.run(Stream.forever(Stream.fromEffect(Effect.as(Effect.sleep(20), text.encode("x")))), files.sink("file"))
      )
  },
  {
    id: "listing-files",
    what: "listing and searching directories",
    needs: [],
    run: ({ files }, begun) => over(begun, Effect.all([files.readDirectory("."), files.stat("."), files.glob("**")]))
  },
  {
    id: "watching-files",
    what: "watching a directory",
    needs: ["watch"],
    // Ending is right here as well.
    run: ({ files }, begun) =>
      Stream.runDrain(files.watch(".", { onReady: () => Deferred.doneUnsafe(begun, Effect.void) }))
  },
  {
    id: "pinging",
    what: "one ping after another",
    needs: [],
    run: ({ instance }, begun) => over(begun, instance.ping)
  },
  {
    id: "resetting",
    what: "one reset after another",
    needs: [],
    run: ({ instance }, begun) => over(begun, instance.reset)
  }
]

const endsInFlight = ({ id, needs, run, what }: InFlight): Check =>
  check(
    `death-while-${id}`,
    `${what} ends promptly when the sandbox dies, after the death was told`,
    { marks: ["F3", "F4", "S4"], needs: ["death", ...needs] },
    (bench) =>
      Effect.gen(function* () {
        const sandbox = yield* bench.create()
        const order: Array<string> = []
        const note = (name: string) => Effect.sync(() => order.push(name))
        const begun = yield* Deferred.make<void>()
        yield* Effect.forkScoped(Effect.ensuring(Effect.exit(sandbox.instance.awaitDeath), note("death")), {
          startImmediately: true
        })
        const operation = yield* Effect.forkScoped(
          Effect.ensuring(Effect.exit(Effect.scoped(run(sandbox, begun))), note("operation")),
          { startImmediately: true }
        )
        yield* bench.during(`${what} begins`, Deferred.await(begun))
        yield* Effect.sleep("100 millis")
        yield* expect.equal([...order], [], "what has ended before the sandbox died")
        yield* bench.kill(sandbox)
        const over = expect.eventually(
          Effect.sync(() => order.length === 2),
          what,
          limit
        )
        yield* bench.during(what, Effect.ignore(over))
        yield* expect.equal([...order], ["death", "operation"], "what has ended, in order")
        const exit = operation.pollUnsafe()
        if (exit !== undefined && Exit.isSuccess(exit)) {
          yield* expect.isTrue(!Exit.hasDies(exit.value), `${what} ends in a defect`)
          if (id === "waiting-for-exit") yield* expect.isTrue(Exit.isFailure(exit.value), "an exit code was made up")
        }
      })
  )

export const checks = inFlight.map(endsInFlight)
