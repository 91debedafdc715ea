/** What the tests of the local driver share: sandboxes of it, a look at the host's processes, and a probe of bubblewrap. */
import {
  type Command,
  Environment,
  type EnvironmentConfig,
  EnvironmentId,
  ImageId,
  LocalDriver,
  Sandbox,
  SandboxDriver,
  SandboxId,
  type SandboxInstance,
  type SandboxSpec
} from "@effect-sandbox/core"
import { EventRecorder } from "@effect-sandbox/core/EventRecorder"
import { NodeServices } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import { Clock, Context, Duration, Effect, Exit, Layer, Scope, Stream } from "effect"
import type { ChildProcess } from "effect/process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

/** The driver on this machine; `changed` replaces some of the host's platform services. */
export const layer = (options: LocalDriver.Options, changed: Layer.Layer<never> = Layer.empty) =>
  LocalDriver.layer(options).pipe(Layer.provide(changed), Layer.provide(NodeServices.layer))

const works = (options: LocalDriver.Options): Promise<boolean> =>
  Effect.runPromise(Effect.isSuccess(Effect.scoped(Layer.build(layer(options)))))

/** Whether bubblewrap works here; tests that need it are skipped when it does not. */
export const bubblewrapWorks = await works({ isolation: "bubblewrap" })

/** Whether the number of processes can be limited here without isolation. */
export const processLimitWorks = await works({ isolation: "none", maxProcesses: 64 })

export type Level = "bubblewrap" | "none"
export const levels: ReadonlyArray<Level> = ["none", "bubblewrap"]
export const cannot = (level: Level): boolean => level === "bubblewrap" && !bubblewrapWorks

/** An environment of one sandbox on the local driver, with everything that happens in it recorded. */
export const lab = Effect.fnUntraced(function* (
  options: LocalDriver.Options,
  settings: EnvironmentConfig.Settings = {},
  changed?: Layer.Layer<never>
) {
  const context = yield* Layer.build(Layer.merge(layer(options, changed), EventRecorder.layer))
  const environment = yield* Environment.make({
    id: "env",
    images: ["shell"],
    pool: { min: 0, max: 1 },
    ...settings
  }).pipe(Effect.provide(context))
  return { ...environment, recorder: Context.get(context, EventRecorder) }
})

/** Runs a body in one session of a sandbox of its own, and takes everything down. */
export const inSession = <A, E, R>(options: LocalDriver.Options, body: Effect.Effect<A, E, R>) =>
  Effect.scoped(Effect.flatMap(lab(options), (environment) => environment.withSession({}, body)))

export const exec = (command: string, args: ReadonlyArray<string> = [], options: Command.Options = {}) =>
  Effect.flatMap(Sandbox, (sandbox) => sandbox.exec(command, args, options))

/** Runs a script of the shell. */
export const sh = (script: string, options: Command.Options = {}) => exec("sh", ["-c", script], options)

/** The standard output of a script that must succeed. */
export const output = (script: string, options: Command.Options = {}) =>
  Effect.map(sh(script, options), (result) => {
    assert.deepStrictEqual(result.outcome, { _tag: "Exited", code: 0 }, result.stderr)
    return result.stdout
  })

let specs = 0
export const spec = (
  options: { readonly environmentId?: string; readonly sandboxId?: string; readonly image?: string } = {}
): SandboxSpec => ({
  environmentId: EnvironmentId.make(options.environmentId ?? "env"),
  sandboxId: SandboxId.make(options.sandboxId ?? `env/shell:0:${specs++}`),
  image: ImageId.make(options.image ?? "shell"),
  slot: 0,
  generation: 0
})

export const driver = (options: LocalDriver.Options) =>
  Effect.map(Layer.build(layer(options)), (context) => Context.get(context, SandboxDriver))

/** One sandbox as the driver gives it. */
export const instance = (options: LocalDriver.Options, wanted: Parameters<typeof spec>[0] = {}) =>
  Effect.flatMap(driver(options), (made) => made.create(spec(wanted)))

/** Runs a command by a sandbox's spawner, to its end. */
export const spawn = (
  { spawner }: SandboxInstance,
  command: ChildProcess.Command
): Effect.Effect<{ readonly exit: Exit.Exit<number, unknown>; readonly stdout: string; readonly stderr: string }> =>
  Effect.scoped(
    Effect.gen(function* () {
      const handle = yield* spawner.spawn(command)
      const text = (stream: typeof handle.stdout) => Stream.mkString(Stream.decodeText(stream))
      const [stdout, stderr, exit] = yield* Effect.all(
        [text(handle.stdout), text(handle.stderr), Effect.exit(handle.exitCode)],
        { concurrency: 3 }
      )
      return { exit, stdout, stderr }
    })
  ).pipe(Effect.orDie)

/** A scope that a test closes itself. */
export const scoped = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    return { value: yield* Scope.provide(effect, scope), close: Scope.close(scope, Exit.void) }
  })

let tokens = 0
/** A duration for `sleep` that nobody else sleeps for, so that its processes can be told from all others. */
export const token = (): string => `1000.${process.pid}${String(++tokens).padStart(4, "0")}1`

const readOr = (file: string, otherwise: string): string => {
  try {
    return fs.readFileSync(file, "latin1")
  } catch {
    return otherwise
  }
}

/** The host's processes, zombies aside, whose command line holds a text. */
export const processesWith = (text: string): ReadonlyArray<string> =>
  fs
    .readdirSync("/proc")
    .filter(
      (pid) =>
        /^\d+$/.test(pid) &&
        readOr(`/proc/${pid}/cmdline`, "").includes(text) &&
        !/^\d+ \(.*\) [ZX]/s.test(readOr(`/proc/${pid}/stat`, "0 () X"))
    )

/** Waits until something holds; for what may take a moment and has no event. */
export const eventually = (what: string, check: () => boolean, limitMillis = 5000) =>
  Effect.gen(function* () {
    const started = yield* Clock.currentTimeMillis
    while (!check()) {
      if ((yield* Clock.currentTimeMillis) - started > limitMillis) assert.fail(`not within ${limitMillis} ms: ${what}`)
      yield* Effect.sleep(20)
    }
  })

/** Waits until a process with that text runs. */
export const running = (text: string, count = 1) =>
  eventually(`${count} processes with ${text}`, () => processesWith(text).length >= count)

/** Waits until no process with that text runs. */
export const gone = (text: string) => eventually(`no process with ${text}`, () => processesWith(text).length === 0)

/** A directory of the host, outside of every sandbox. */
export const hostDirectory = Effect.acquireRelease(
  Effect.sync(() => fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "local-driver-test-")))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

/** How long an effect took, in milliseconds, and its result. */
export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.timed(effect), ([duration, value]) => [Duration.toMillis(duration), value] as const)
