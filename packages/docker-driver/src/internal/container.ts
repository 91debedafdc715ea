/** One container with its agent: brought up as a whole or not at all (F26), and gone for certain in the end (F23). */
import type { SandboxSpec } from "@effect-sandbox/core/SandboxDriver"
import { SandboxStateError } from "@effect-sandbox/core/SandboxError"
import * as ByteSize from "effect/ByteSize"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Resolved } from "../ContainerOptions.ts"
import type { Attachment, DockerClient } from "../DockerClient.ts"
import type { DockerError } from "../DockerError.ts"
import type { Transport } from "./agent/connection.ts"
import * as agentInstance from "./agent/instance.ts"
import * as containerBody from "./containerBody.ts"
import type { Deaths } from "./deaths.ts"
import * as places from "./places.ts"

export interface Request {
  readonly spec: SandboxSpec
  /** Nobody else on the engine has it. */
  readonly name: string
  readonly owner: string
  readonly options: Resolved
  readonly image: containerBody.ImageFacts
  readonly platform: string | undefined
  readonly agentVolume: string
  readonly forceKillAfter: Duration.Input | undefined
  /** How long the agent may take to come up, and to clean up after a session. */
  readonly answerLimit: Duration.Input
}

export interface Container {
  readonly id: string
  readonly instance: agentInstance.AgentInstance
}

/** How long the engine may take to tell why a container has died, when the stream has told that it has. */
const explanationLimit = "300 millis"

/** As much of the agent's last words as a message can hold. */
const lastWordsBytes = 2048

/** A container that is being removed goes within milliseconds, and when its mounts are busy within seconds (F15). */
const removal = Schedule.min([Schedule.exponential("5 millis"), Schedule.spaced("250 millis")])
const removalLimit = "10 seconds"

export const run = (
  docker: DockerClient["Service"],
  deaths: Deaths,
  request: Request
): Effect.Effect<Container, DockerError | SandboxStateError, Scope.Scope> =>
  Effect.gen(function* () {
    const { answerLimit, image, name, options, platform, spec } = request
    // A connection can be open and dead (F3).
    const tooLong = (operation: string) =>
      Effect.fail(
        new SandboxStateError({
          sandboxId: spec.sandboxId,
          operation,
          description: `its agent did not answer within ${Duration.toMillis(answerLimit)} ms`
        })
      )
    const { Id: id } = yield* Effect.acquireRelease(
      docker.containers.create({ name, platform, spec: containerBody.make(request) }).pipe(
        // It may have been created nevertheless, and nobody else has its name.
        Effect.tapError((error) => (isDoubtful(error) ? Effect.ignore(docker.containers.remove(name)) : Effect.void))
      ),
      ({ Id }) => remove(docker, Id)
    )
    const watch = yield* deaths.watch(id)
    // Before the start, so that not a byte is missed and the lease holds from the first moment.
    const attachment = yield* docker.containers.attach(id)
    yield* docker.containers.start(id)
    const words = new LastWords()
    const explainEnd = () =>
      Effect.map(Effect.timeoutOption(watch.death, explanationLimit), (death) => {
        const said = words.text === "" ? "" : `; its last words: ${words.text}`
        if (death._tag === "None") return words.text === "" ? undefined : `it said: ${words.text}`
        const { exitCode, outOfMemory } = death.value
        if (outOfMemory)
          return `its memory ran out, of which it may have ${ByteSize.format(ByteSize.fromInputUnsafe(options.memory))}${said}`
        return exitCode === undefined ? `it has died${said}` : `it has died with exit code ${exitCode}${said}`
      })
    const instance = yield* agentInstance
      .make({
        sandboxId: spec.sandboxId,
        transport: transportOf(attachment, words),
        hello: {
          user: containerBody.userOf(options, image),
          workdir: options.workdir,
          home: places.home,
          writable: [...containerBody.writableOf(options, image), ...places.engineWritable],
          seeds: containerBody.seedsOf(options, image),
          environment: containerBody.environmentOf(options, image)
        },
        forceKillAfter: request.forceKillAfter,
        explainEnd
      })
      .pipe(Effect.timeoutOrElse({ duration: answerLimit, orElse: () => tooLong("create") }))
    return { id, instance: { ...instance, reset: leftAfter(instance.reset, answerLimit, tooLong("reset")) } }
  })

/** Fails when an effect takes too long, also one that does not even let itself be interrupted: that is left behind. */
const leftAfter = <A, E>(effect: Effect.Effect<A, E>, limit: Duration.Input, tooLong: Effect.Effect<never, E>) =>
  Effect.uninterruptibleMask((restore) =>
    // Detached because it may outlive the sandbox; interrupted below.
    Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), (fiber) =>
      restore(Effect.timeoutOrElse(Fiber.join(fiber), { duration: limit, orElse: () => tooLong })).pipe(
        Effect.onExit(() => Effect.sync(() => fiber.interruptUnsafe()))
      )
    )
  )

/** Whether what was asked of the engine may have happened. */
const isDoubtful = ({ reason }: DockerError): boolean =>
  reason._tag === "TimedOut" || reason._tag === "ConnectionLost" || reason._tag === "MalformedResponse"

/** Removes a container, and sees that it has gone; what stays is a leak, which the environment reports (F12, F23). */
const remove = (docker: DockerClient["Service"], id: string) =>
  Effect.gen(function* () {
    yield* docker.containers.remove(id)
    // It can be "being removed" by itself; then the engine is still at it.
    return yield* Effect.as(docker.containers.inspect(id), false)
  }).pipe(
    Effect.catch(({ reason }) => Effect.succeed(reason._tag === "NotFound")),
    Effect.repeat({ schedule: removal, until: (gone) => gone }),
    Effect.timeoutOption(removalLimit),
    Effect.flatMap((gone) =>
      gone._tag === "Some" ? Effect.void : Effect.die(new Error(`container ${id} cannot be removed`))
    )
  )

/** The end of what the agent has written to its standard error. */
class LastWords {
  readonly #decoder = new TextDecoder()
  text = ""
  add(bytes: Uint8Array): void {
    this.text = (this.text + this.#decoder.decode(bytes, { stream: true })).slice(-lastWordsBytes).trimStart()
  }
}

const transportOf = (attachment: Attachment, words: LastWords): Transport => ({
  receive: (take) =>
    attachment.receive(({ bytes, source }) => {
      if (source === "stdout") return take(bytes)
      words.add(bytes)
      return undefined
    }),
  write: (chunks) => attachment.write(...chunks)
})
