/** One container with its agent: brought up as a whole or not at all (F26), and gone for certain in the end (F23). */
import type { SandboxSpec } from "@effect-sandbox/core/SandboxDriver"
import { SandboxStateError } from "@effect-sandbox/core/SandboxError"
import * as ByteSize from "effect/ByteSize"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { Resolved } from "../ContainerOptions.ts"
import type { Attachment, DockerClient } from "../DockerClient.ts"
import type { DockerError } from "../DockerError.ts"
import type { Transport } from "./agent/connection.ts"
import * as agentInstance from "./agent/instance.ts"
import * as containerBody from "./containerBody.ts"
import type { Deaths } from "./deaths.ts"
import type { DirectSockets } from "./directSockets.ts"
import * as directTransport from "./directTransport.ts"
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
  /** Where the agent can be offered a socket; none: the engine's attached stream is all there is. */
  readonly sockets: DirectSockets | undefined
  readonly forceKillAfter: Duration.Input | undefined
  /** How long the agent may take to come up, and to clean up after a session. */
  readonly answerLimit: Duration.Input
}

export interface Container {
  readonly id: string
  readonly instance: agentInstance.AgentInstance
  /** Whether the agent was offered a socket, and whether it is what is used. */
  readonly socket: "none" | "offered" | "used"
}

/** How long the engine may take to tell why a container has died, when the stream has told that it has. */
const explanationLimit = "300 millis"

/** As much of the agent's last words as a message can hold. */
const lastWordsBytes = 2048

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
    const offer = yield* request.sockets?.offer ?? Effect.succeed(undefined)
    const body = containerBody.make({ ...request, socketDirectory: offer?.directory })
    const { Id: id } = yield* docker.containers.scoped({ name, platform, spec: body })
    const watch = yield* deaths.watch(id)
    // Before the start, so that not a byte is missed and the lease holds from the first moment.
    const attachment = yield* docker.containers.attach(id)
    yield* docker.containers.start(id)
    const words = new LastWords()
    const attached = transportOf(attachment, words)
    const direct = offer === undefined ? undefined : yield* directTransport.make(offer, attached)
    // A socket ends at once; its agent's last words come through the engine.
    const wordsEnd = Effect.timeoutOption(direct?.isOver ?? Effect.void, explanationLimit)
    const explained = Effect.andThen(wordsEnd, Effect.timeoutOption(watch.death, explanationLimit))
    const explainEnd = () =>
      Effect.map(explained, (death) => {
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
        transport: direct ?? attached,
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
    const socket = direct === undefined ? "none" : direct.isDirect() ? "used" : "offered"
    return { id, socket, instance: { ...instance, reset: leftAfter(instance.reset, answerLimit, tooLong("reset")) } }
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
