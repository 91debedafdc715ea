/**
 * Sandboxes that are simulated: files in memory, commands that are small Effect programs, latencies, and faults at
 * every point of a driver's contract. Time is the `Clock`'s, so that under `TestClock` a day of a thousand sandboxes
 * takes a moment; chance is `Random`'s, so that the same seed gives the same run.
 *
 * The layer gives the `SandboxDriver`, the control of it (`SimDriver`) and the control of its faults (`Faults`).
 *
 * ```ts
 * import { assert, it } from "@effect/vitest"
 * import { Effect } from "effect"
 * import { Environment, Sandbox } from "@effect-sandbox/core"
 * import { SimDriver } from "@effect-sandbox/testing"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"], pool: 1 }) {}
 *
 * it.effect("a sandbox that dies is replaced", () =>
 *   Effect.gen(function*() {
 *     const sim = yield* SimDriver
 *     const first = yield* Lab.withSession({}, Effect.map(Sandbox, (sandbox) => sandbox.id))
 *     yield* sim.kill(first)
 *     const second = yield* Lab.withSession({}, Effect.map(Sandbox, (sandbox) => sandbox.id))
 *     assert.deepStrictEqual([first, second], ["app/Lab/base:0:0", "app/Lab/base:0:1"])
 *   }).pipe(Effect.provide(Lab.layer), Effect.provide(SimDriver.layer())))
 * ```
 */
import type { ImageId, SandboxId } from "@effect-sandbox/core/Id"
import * as OptionCheck from "@effect-sandbox/core/Options"
import { SandboxDriver, type SandboxSpec } from "@effect-sandbox/core/SandboxDriver"
import { EnvironmentOutageError, type InvalidConfigurationError } from "@effect-sandbox/core/SandboxError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Plan from "./FaultPlan.ts"
import { Faults } from "./Faults.ts"
import type { Journal } from "./FeatureProbe.ts"
import type { ProcessInfo } from "./internal/processes/processTable.ts"
import { imageFor, type SimImage, templateOf } from "./internal/driver/simImage.ts"
import { type Before, type SimMachine, simMachine } from "./internal/driver/simMachine.ts"
import * as Latency from "./Latency.ts"
import type { SimProgram } from "./SimProgram.ts"

export type { ProcessInfo } from "./internal/processes/processTable.ts"
export type { SimImage } from "./internal/driver/simImage.ts"

/** How long the operations of a simulated sandbox take. What is left out takes no time. */
export interface Latencies {
  readonly create?: Latency.Input | undefined
  readonly destroy?: Latency.Input | undefined
  readonly reset?: Latency.Input | undefined
  readonly ping?: Latency.Input | undefined
  /** From the request to the start of a command. */
  readonly spawn?: Latency.Input | undefined
  /** Each operation on files. */
  readonly files?: Latency.Input | undefined
}

export interface SimDriverOptions {
  /** Makes chance reproducible apart from everything else. Default: what `Random` gives. */
  readonly seed?: string | number | undefined
  /** Default: nothing takes time. */
  readonly latency?: Latencies | undefined
  /** What goes wrong. Default: nothing. */
  readonly faults?: Plan.FaultPlan | undefined
  /** What images hold, by id or pattern for the whole id. Default: the built-in commands and an empty workspace. */
  readonly images?: { readonly [idOrPattern: string]: SimImage } | undefined
  /** Commands of every image, besides the built-in ones; of the same name, these win. Default: none. */
  readonly programs?: ReadonlyArray<SimProgram> | undefined
  /** Where its calls are noted, too: their order among those of features can be seen there. Default: nowhere. */
  readonly journal?: Journal | undefined
  /** How many bytes of files fit into one sandbox. Default: no limit. */
  readonly diskBytes?: number | undefined
  /** How many processes one sandbox may have at once. Default: 1024. */
  readonly maxProcesses?: number | undefined
  /** How many sandboxes there may be; beyond that `create` fails with `EnvironmentOutageError`. Default: no limit. */
  readonly maxSandboxes?: number | undefined
}

const LatencyInput = Schema.Union([Latency.Latency, OptionCheck.DurationInput("zero")]).check(
  // `Duration` reads any object as one, also a model that is none.
  Schema.makeFilter((input) => !Predicate.hasProperty(input, "_tag") || Latency.isLatency(input) || notLatency)
)
const notLatency = "expected a latency model whose times are not negative"

const OptionsSchema = Schema.Struct({
  seed: Schema.optional(Schema.Union([Schema.String, Schema.Finite])),
  latency: Schema.optional(
    Schema.Struct({
      create: Schema.optional(LatencyInput),
      destroy: Schema.optional(LatencyInput),
      reset: Schema.optional(LatencyInput),
      ping: Schema.optional(LatencyInput),
      spawn: Schema.optional(LatencyInput),
      files: Schema.optional(LatencyInput)
    })
  ),
  faults: Schema.optional(Plan.FaultPlan),
  images: Schema.optional(Schema.Record(Schema.String, Schema.Unknown)),
  programs: Schema.optional(Schema.Array(Schema.Unknown)),
  journal: Schema.optional(Schema.Unknown),
  diskBytes: Schema.optional(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))),
  maxProcesses: Schema.optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))),
  maxSandboxes: Schema.optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))
})

/** What the simulation holds at a moment. After everything was taken down, all of it is zero. */
export interface Resources {
  /** Sandboxes that are up or coming up. */
  readonly sandboxes: number
  readonly processes: number
  /** Open files. */
  readonly handles: number
  readonly watchers: number
  readonly files: number
  readonly bytes: number
}

/** One simulated sandbox from outside. */
export interface SimSandbox {
  readonly id: SandboxId
  readonly image: ImageId
  /** Its files, as root sees them. */
  readonly fileSystem: FileSystem.FileSystem
  readonly processes: () => ReadonlyArray<ProcessInfo>
}

export class SimDriver extends Context.Service<
  SimDriver,
  {
    /** The sandboxes that are up or coming up, in order of creation. */
    readonly alive: () => ReadonlyArray<SandboxId>
    readonly sandbox: (id: string) => SimSandbox | undefined
    /** The largest number of sandboxes that were ever up or coming up at once, of all images or of one. */
    readonly peak: (image?: string) => number
    readonly resources: () => Resources
    /**
     * Everything that was asked for, in order, also where a fault struck: `create env/base:0:0`, `ping …`, `reset …`,
     * `destroy …`, `spawn … echo a`.
     */
    readonly calls: () => ReadonlyArray<string>
    /** Makes a sandbox die by itself; tells whether it was alive. */
    readonly kill: (id: string, description?: string) => Effect.Effect<boolean>
  }
>()("@effect-sandbox/testing/SimDriver") {
  /** The driver, and the control of it and of its faults. */
  static readonly layer = (
    options: SimDriverOptions = {}
  ): Layer.Layer<SimDriver | SandboxDriver | Faults, InvalidConfigurationError> =>
    Layer.effectContext(make(options)).pipe(Layer.provideMerge(Faults.layer(options.faults, { seed: options.seed })))
}

const make = Effect.fnUntraced(function* (options: SimDriverOptions) {
  yield* OptionCheck.check("SimDriver", OptionsSchema, options)
  const faults = yield* Faults
  const random = yield* options.seed === undefined ? Random.Random : Random.withSeed(Random.Random, options.seed)
  const machines = new Map<SandboxId, { readonly spec: SandboxSpec; machine: SimMachine | undefined }>()
  const calls: Array<string> = []
  const note = (line: string): void => {
    calls.push(line)
    options.journal?.note(line)
  }
  const peaks = new Map<string | undefined, number>()
  const all = () => [...machines.values()].flatMap(({ machine }) => (machine === undefined ? [] : [machine]))

  const count = (image?: string): number =>
    image === undefined ? machines.size : [...machines.values()].filter(({ spec }) => spec.image === image).length
  const notePeak = (image?: string): void => {
    peaks.set(image, Math.max(peaks.get(image) ?? 0, count(image)))
  }

  const { latency = {} } = options
  const wait = (input: Latency.Input | undefined): Effect.Effect<void> => {
    if (input === undefined) return Effect.void
    const model = Latency.fromInput(input)
    return Effect.suspend(() => {
      const millis = Latency.sample(model, () => random.nextDoubleUnsafe())
      return millis > 0 ? Effect.sleep(millis) : Effect.void
    })
  }
  const spawnWait = wait(latency.spawn)
  const before: Before = {
    reset: wait(latency.reset),
    ping: wait(latency.ping),
    spawn: () => spawnWait,
    files: wait(latency.files)
  }

  // Made now, so that files that cannot be made are an error of the options.
  const prepared = (image: SimImage) =>
    Effect.map(templateOf(image, options.diskBytes), (template) => ({ image, template }))
  const blank = yield* prepared({})
  const images: { [idOrPattern: string]: typeof blank } = {}
  for (const [key, image] of Object.entries(options.images ?? {})) images[key] = yield* prepared(image)

  const create = Effect.fnUntraced(function* (spec: SandboxSpec) {
    const { sandboxId } = spec
    if (options.maxSandboxes !== undefined && machines.size >= options.maxSandboxes) {
      const cause = new Error(`the simulation has room for ${options.maxSandboxes} sandboxes`)
      return yield* new EnvironmentOutageError({ ...spec, offlineMillis: 0, cause })
    }
    const entry = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const entry: { readonly spec: SandboxSpec; machine: SimMachine | undefined } = { spec, machine: undefined }
        machines.set(sandboxId, entry)
        notePeak()
        notePeak(spec.image)
        return entry
      }),
      () =>
        Effect.andThen(
          wait(latency.destroy),
          Effect.sync(() => {
            note(`destroy ${sandboxId}`)
            machines.delete(sandboxId)
          })
        )
    )
    yield* wait(latency.create)
    entry.machine = yield* simMachine({
      spec,
      ...(imageFor(images, spec.image) ?? blank),
      programs: options.programs ?? [],
      maxProcesses: options.maxProcesses,
      before
    })
    return entry.machine.instance
  })

  const faulty = faults.driver(SandboxDriver.of({ name: "sim", create }), {
    onDeath: (id, error) => Effect.suspend(() => machines.get(id)?.machine?.halt(error) ?? Effect.void)
  })
  const noted = <A, E, R>(line: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.suspend(() => {
      note(line)
      return effect
    })
  /** Notes what is asked for, also when a fault strikes. */
  const driver = SandboxDriver.of({
    name: faulty.name,
    create: (spec) => {
      const { sandboxId } = spec
      return noted(
        `create ${sandboxId}`,
        Effect.map(faulty.create(spec), (instance) => ({
          ...instance,
          ping: noted(`ping ${sandboxId}`, instance.ping),
          reset: noted(`reset ${sandboxId}`, instance.reset),
          spawner: ChildProcessSpawner.make((command) =>
            noted(`spawn ${sandboxId} ${lineOf(command)}`, instance.spawner.spawn(command))
          )
        }))
      )
    }
  })

  const sum = (of: (machine: SimMachine) => number): number => all().reduce((total, machine) => total + of(machine), 0)
  return Context.make(SimDriver, {
    alive: () => [...machines.keys()],
    sandbox: (id) => {
      const entry = [...machines.values()].find(({ spec }) => spec.sandboxId === id)
      const machine = entry?.machine
      return entry === undefined || machine === undefined
        ? undefined
        : {
            id: entry.spec.sandboxId,
            image: entry.spec.image,
            get fileSystem() {
              return machine.fileSystem
            },
            processes: machine.processes
          }
    },
    peak: (image) => peaks.get(image) ?? 0,
    resources: () => ({
      sandboxes: machines.size,
      processes: sum((machine) => machine.processes().length),
      handles: sum((machine) => machine.usage().handles),
      watchers: sum((machine) => machine.usage().watchers),
      files: sum((machine) => machine.usage().files),
      bytes: sum((machine) => machine.usage().bytes)
    }),
    calls: () => [...calls],
    kill: faults.kill
  }).pipe(Context.add(SandboxDriver, driver))
})

const lineOf = (command: ChildProcess.Command): string =>
  ChildProcess.isStandardCommand(command)
    ? [command.command, ...command.args.map(String)].join(" ")
    : `${lineOf(command.left)} | ${lineOf(command.right)}`
