/** `sandbox.exec`: one command to its end, on any driver's spawner. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { PlatformError } from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Command from "../Command.ts"
import type { SandboxId } from "../Id.ts"
import { CommandUser } from "../SandboxDriver.ts"
import { SandboxStateError } from "../SandboxError.ts"
import * as bounded from "./bounded.ts"
import * as text from "./text.ts"

const defaultMaxOutputBytes = 1024 * 1024
/** What a command wrote before it exited is in the pipe by then; a stream silent for this long holds no more of it (F1, F14). */
const silenceAfterExitMillis = 100
/** And so many turns of the event loop: when they take long, time has passed and nothing could be received. */
const silentTurns = 64
/** However busy what was left behind keeps the streams, the call returns after this long (F1). */
const drainLimitMillis = 2000
/** A kill that takes this much longer than `forceKillAfter` will not come any more (F3). */
const killLimitMillis = 5000

/** Keeps the first bytes of a stream. */
class Collector {
  readonly max: number
  readonly chunks: Array<Uint8Array> = []
  size = 0
  total = 0
  constructor(max: number) {
    this.max = max
  }
  get truncated(): boolean {
    return this.total > this.size
  }
  add(chunk: Uint8Array): void {
    this.total += chunk.length
    const room = this.max - this.size
    if (room <= 0) return
    // A slice would keep the whole chunk's memory.
    const kept = chunk.length <= room ? chunk : Uint8Array.from(chunk.subarray(0, room))
    this.chunks.push(kept)
    this.size += kept.length
  }
  bytes(): Uint8Array {
    const all = new Uint8Array(this.size)
    let offset = 0
    for (const chunk of this.chunks) {
      all.set(chunk, offset)
      offset += chunk.length
    }
    return all
  }
}

/** What the system said about the end of a process. */
const outcomeOf = (exit: Exit.Exit<number, PlatformError>): Command.Outcome => {
  if (Exit.isSuccess(exit)) return { _tag: "Exited", code: exit.value }
  for (const reason of exit.cause.reasons) {
    if (reason._tag !== "Fail") continue
    const { cause } = reason.error
    if (Predicate.isTagged(cause, "ProcessSignalled")) {
      return { _tag: "Signalled", signal: Predicate.hasProperty(cause, "signal") ? String(cause.signal) : "unknown" }
    }
    if (Predicate.isTagged(cause, "ProcessOutOfMemory") && Predicate.hasProperty(cause, "limitBytes")) {
      return { _tag: "MemoryLimit", limitBytes: Number(cause.limitBytes) }
    }
    return { _tag: "Unknown", description: reason.error.message }
  }
  return { _tag: "Unknown", description: "waiting for its exit was interrupted" }
}

const stdinOf = (stdin: Command.Options["stdin"]): "ignore" | Stream.Stream<Uint8Array> => {
  if (stdin === undefined) return "ignore"
  if (typeof stdin === "string") return Stream.make(text.encode(stdin))
  return stdin instanceof Uint8Array ? Stream.make(stdin) : stdin
}

export const exec = (
  target: {
    readonly sandboxId: SandboxId
    readonly spawner: ChildProcessSpawner["Service"]
    /** Runs what need not be waited for, within the session. */
    readonly background: (effect: Effect.Effect<unknown>) => void
  },
  command: string,
  args: ReadonlyArray<string>,
  options: Command.Options
): Effect.Effect<Command.Result, SandboxStateError | PlatformError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const started = yield* Clock.currentTimeMillis
      const forceKillAfter = Duration.toMillis(options.forceKillAfter ?? "2 seconds")
      const timeout = options.timeout === undefined ? undefined : Duration.toMillis(options.timeout)
      const max = options.maxOutputBytes ?? defaultMaxOutputBytes
      const stdout = new Collector(max)
      const stderr = new Collector(max)
      const overLimit = Deferred.makeUnsafe<void>()
      const scope = Scope.makeUnsafe()
      /** Ends before `scope`, so that what a command writes while it is asked to end is still read. */
      const processScope = Scope.forkUnsafe(scope)
      let received = 0

      const collect = (stream: Stream.Stream<Uint8Array, PlatformError>, collector: Collector) =>
        Stream.runForEach(stream, (chunk) =>
          Effect.sync(() => {
            received++
            collector.add(chunk)
            if (collector.truncated && options.onOutputLimit === "kill") Deferred.doneUnsafe(overLimit, Effect.void)
          })
        )

      const spawned = target.spawner
        .spawn(
          ChildProcess.make(command, args, {
            cwd: options.cwd,
            env: options.env,
            extendEnv: true,
            stdin: stdinOf(options.stdin),
            forceKillAfter
          })
        )
        .pipe(Effect.provideService(CommandUser, options.user), Scope.provide(processScope))

      /** Ends when both streams did, or nothing more can be from the command itself. */
      let readers: Fiber.Fiber<unknown, PlatformError> | undefined
      const quiet = Effect.gen(function* () {
        for (let waited = 0; waited < drainLimitMillis; waited += silenceAfterExitMillis) {
          const before = received
          yield* Effect.sleep(silenceAfterExitMillis)
          for (let turn = 0; turn < silentTurns && received === before; turn++) yield* Effect.yieldNow
          if (received === before) return
        }
      })
      const drained = Effect.suspend(() =>
        readers === undefined ? Effect.void : Effect.asVoid(Effect.raceFirst(Fiber.await(readers), quiet))
      )

      const run = Effect.gen(function* () {
        const handle = yield* spawned
        readers = yield* Effect.all([collect(handle.stdout, stdout), collect(handle.stderr, stderr)], {
          concurrency: 2,
          discard: true
        }).pipe(Effect.forkIn(scope, { startImmediately: true }))
        const ended = Effect.map(Effect.exit(handle.exitCode), outcomeOf)
        if (options.onOutputLimit !== "kill") {
          const outcome = yield* ended
          yield* drained
          return outcome
        }
        const limited = Effect.as(
          Deferred.await(overLimit),
          Command.Outcome.cases.OutputLimit.make({ maxOutputBytes: max })
        )
        return yield* Effect.raceFirst(
          limited,
          Effect.tap(ended, () => drained)
        )
      })

      const runner = yield* Effect.forkDetach(run, { startImmediately: true }) // ended below, whatever happens
      const exit = yield* Effect.exit(
        restore(
          timeout === undefined
            ? Effect.asSome(Fiber.join(runner))
            : Fiber.join(runner).pipe(Effect.timeoutOption(timeout))
        )
      )
      const exited = Exit.isSuccess(exit) && exit.value._tag === "Some" && exit.value.value._tag !== "OutputLimit"
      const kill = Effect.andThen(Fiber.interrupt(runner), Scope.close(processScope, Exit.void))
      const close = Scope.close(scope, Exit.void)
      if (exited) {
        // What the command left behind need not be waited for (F1).
        target.background(Effect.andThen(kill, close))
      } else {
        const closed = yield* bounded.wait(kill, forceKillAfter + killLimitMillis)
        if (!closed) {
          return yield* new SandboxStateError({
            sandboxId: target.sandboxId,
            operation: `exec ${command}`,
            description: `the command could not be killed within ${forceKillAfter + killLimitMillis} ms`
          })
        }
        yield* Effect.andThen(Exit.isSuccess(exit) ? drained : Effect.void, close)
      }
      if (Exit.isFailure(exit)) return yield* Effect.failCause(exit.cause)
      const outcome: Command.Outcome =
        exit.value._tag === "Some" ? exit.value.value : { _tag: "TimedOut", timeoutMillis: timeout ?? 0 }
      const ended = yield* Clock.currentTimeMillis
      const stdoutBytes = stdout.bytes()
      const stderrBytes = stderr.bytes()
      return {
        outcome,
        stdout: text.decode(stdoutBytes),
        stderr: text.decode(stderrBytes),
        stdoutBytes,
        stderrBytes,
        truncated: { stdout: stdout.truncated, stderr: stderr.truncated },
        durationMillis: ended - started
      }
    })
  )
