/** Environments on the real engine whose containers can be told from all others, and what tests do to those. */
import { type Command, Environment, type EnvironmentConfig, Sandbox, type SandboxEvent } from "@effect-sandbox/core"
import { EventRecorder } from "@effect-sandbox/core/EventRecorder"
import { assert } from "@effect/vitest"
import { Clock, Context, Duration, Effect, Exit, Layer, Option } from "effect"
import * as fs from "node:fs"
import * as DockerClient from "../../src/DockerClient.ts"
import type * as DockerDriver from "../../src/DockerDriver.ts"
import { DockerSandbox } from "../../src/DockerSandbox.ts"
import * as docker from "./docker.ts"
import * as engine from "./engine.ts"
import * as images from "./images.ts"

export type Docker = DockerClient.DockerClient["Service"]

/** A label's value that no other test has. */
let marks = 0
export const mark = (): string => `faults-${process.pid}-${++marks}`

/** The containers with that mark, also those that do not run. */
export const containersOf = (client: Docker, marked: string) =>
  client.containers.list({ labels: [`${engine.label}=${marked}`] })

export interface Options extends EnvironmentConfig.Settings, Pick<EnvironmentConfig.Options, "outageRetry"> {
  readonly driver?: DockerDriver.Options | undefined
}

/** The test image, as an environment is asked for it. */
export const image = images.names.shell

/** An environment of one sandbox that holds nobody up; when its scope has closed no container of it may be there. */
export const make = Effect.fnUntraced(function* ({ driver = {}, ...settings }: Options = {}) {
  const marked = mark()
  const context = yield* Layer.build(
    Layer.mergeAll(
      engine.layer,
      docker.layer(["shell"], {
        ...driver,
        defaults: { memory: 64 * 1024 * 1024, ...driver.defaults, labels: { [engine.label]: marked } }
      }),
      EventRecorder.layer
    )
  )
  const client = Context.get(context, DockerClient.DockerClient)
  yield* Effect.addFinalizer((exit) =>
    Effect.gen(function* () {
      const left = yield* containersOf(client, marked)
      yield* Effect.forEach(left, ({ Id }) => client.containers.remove(Id), { discard: true })
      // A test that has failed already keeps its own error.
      if (Exit.isSuccess(exit)) assert.deepStrictEqual(left, [], "containers are left")
    }).pipe(Effect.orDie)
  )
  const environment = yield* Environment.make({
    id: "env",
    images: [image],
    pool: { min: 0, max: 1 },
    ...settings
  }).pipe(Effect.provide(context))
  const containers = containersOf(client, marked)
  return {
    ...environment,
    recorder: Context.get(context, EventRecorder),
    docker: client,
    mark: marked,
    containers,
    /** The only container's id. */
    container: Effect.map(containers, (found) => {
      assert.lengthOf(found, 1)
      return found[0]?.Id ?? ""
    })
  }
})

export const exec = (command: string, args: ReadonlyArray<string> = [], options: Command.Options = {}) =>
  Effect.flatMap(Sandbox, (sandbox) => sandbox.exec(command, args, options))

/** Runs a script of the shell. */
export const sh = (script: string, options: Command.Options = {}) => exec("sh", ["-c", script], options)

/** The standard output of a script that must succeed. */
export const output = (script: string, options: Command.Options = {}) =>
  Effect.map(sh(script, options), (result) => {
    assert.deepStrictEqual(result.outcome, exited(0), result.stderr)
    return result.stdout
  })

export const exited = (code: number): Command.Outcome => ({ _tag: "Exited", code })

/** The id of the container one is in. */
export const containerId = Effect.map(
  Sandbox,
  (sandbox) => Option.getOrThrow(sandbox.service(DockerSandbox)).containerId
)

export const generation = Effect.map(Sandbox, (sandbox) => sandbox.generation)

/** How long an effect took, in milliseconds, and its result. */
export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.timed(effect), ([duration, value]) => [Duration.toMillis(duration), value] as const)

/** From a container's creation to its removal on a machine of two processors that has nothing else to do. */
const referenceMillis = 400

/** By how much slower than such a machine the engine is now, as others use it as well; at least 1. */
export const slowness = (client: Docker) =>
  Effect.gen(function* () {
    const cycle = Effect.gen(function* () {
      const name = mark()
      const { Id } = yield* client.containers.scoped({
        name,
        spec: {
          Image: `${image}:latest`,
          Cmd: ["sleep", "1000"],
          Labels: { [engine.label]: name },
          HostConfig: { NetworkMode: "none" }
        }
      })
      yield* client.containers.start(Id)
    }).pipe(Effect.scoped, timed)
    const [first] = yield* cycle
    const [second] = yield* cycle
    return Math.max(1, Math.min(first, second) / referenceMillis)
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

/** The machine's processes, zombies aside, whose command line holds a text; those of local containers are among them. */
export const processesWith = (text: string): ReadonlyArray<string> =>
  fs
    .readdirSync("/proc")
    .filter(
      (pid) =>
        /^\d+$/.test(pid) &&
        readOr(`/proc/${pid}/cmdline`, "").includes(text) &&
        !/^\d+ \(.*\) [ZX]/s.test(readOr(`/proc/${pid}/stat`, "0 () X"))
    )

/** Kills a process of the machine for good, unless it has gone by now. */
export const kill = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // The death of one may be that of another.
  }
}

const namespaceOf = (pid: number | string): string | undefined => {
  try {
    return fs.readlinkSync(`/proc/${pid}/ns/pid`)
  } catch {
    return undefined
  }
}

/** The machine's processes that are in the same container as one of them; needs root. */
export const processesBeside = (pid: number): ReadonlyArray<number> => {
  const namespace = namespaceOf(pid)
  return fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && namespaceOf(name) === namespace)
    .map(Number)
    .filter((other) => other !== pid)
}

/** Waits until something holds; gives how long that took. For what may take a moment and has no event. */
export const eventually = <E, R>(what: string, check: Effect.Effect<boolean, E, R>, limitMillis = 5000) =>
  Effect.gen(function* () {
    const started = yield* Clock.currentTimeMillis
    while (!(yield* check)) {
      if ((yield* Clock.currentTimeMillis) - started > limitMillis) assert.fail(`not within ${limitMillis} ms: ${what}`)
      yield* Effect.sleep(20)
    }
    return (yield* Clock.currentTimeMillis) - started
  })

/** Waits until a process with that text runs. */
export const running = (text: string, count = 1) =>
  eventually(
    `${count} processes with ${text}`,
    Effect.sync(() => processesWith(text).length >= count)
  )

/** Waits until no process with that text runs. */
export const gone = (text: string) =>
  eventually(
    `no process with ${text}`,
    Effect.sync(() => processesWith(text).length === 0)
  )

/** The event of one kind, as soon as there is one. */
export const event = <T extends SandboxEvent.Tag>(recorder: EventRecorder["Service"], tag: T) =>
  recorder.waitFor((event) => event._tag === tag).pipe(Effect.timeout("30 seconds"))

/** Every error that an error was caused by, itself first, by their words. */
export const causesOf = (error: unknown): string => {
  const messages: Array<string> = []
  for (let at = error; at instanceof Error; at = at.cause) messages.push(`${at.name}: ${at.message}`)
  return messages.join("\n")
}
