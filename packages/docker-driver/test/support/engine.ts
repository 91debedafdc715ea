/** The engine that tests run on: whether there is one, and a label for everything that they make on it. */
import { NodeServices } from "@effect/platform-node"
import { it } from "@effect/vitest"
import { Effect, Layer, type Scope } from "effect"
import * as os from "node:os"
import * as DockerClient from "../../src/DockerClient.ts"
import * as DockerImage from "../../src/DockerImage.ts"

/** What tests leave is found by it. */
export const label = "effect-sandbox.test"

export const layer = Layer.provideMerge(
  DockerImage.layer,
  Layer.provideMerge(DockerClient.layer({ timeout: "2 minutes" }), NodeServices.layer)
)

/** Why there is none; undefined when there is one. */
export const missing: string | undefined = await Effect.runPromise(
  Effect.flatMap(DockerClient.DockerClient, (docker) => docker.ping).pipe(
    Effect.timeout("20 seconds"),
    Effect.match({ onSuccess: () => undefined, onFailure: (error) => error.message }),
    Effect.provide(layer),
    Effect.match({ onSuccess: (found) => found, onFailure: (error) => error.message })
  )
)

/** Whether it is on this machine and has this process's files, as far as can be told without the driver. */
export const sharesFiles: boolean =
  missing === undefined &&
  (await Effect.runPromise(
    Effect.flatMap(DockerClient.DockerClient, ({ info, target }) =>
      Effect.map(info, ({ Name }) => target.connection._tag === "Unix" && Name === os.hostname())
    ).pipe(Effect.provide(layer))
  ))

/** Ends the titles of suites that need one, so that the reason is seen where they are skipped. */
export const because = missing === undefined ? "" : ` (skipped, there is no engine: ${missing})`

// Reporters count what is skipped, and do not say why.
if (missing !== undefined) process.stderr.write(`Tests on a real engine are skipped: ${missing}\n`)

/** A test with a client of its own, which goes after everything that the test has made. */
export const live = (
  name: string,
  body: Effect.Effect<void, unknown, Layer.Success<typeof layer> | Scope.Scope>,
  timeout = 60_000
): void => it.live(name, () => Effect.provide(Effect.scoped(body), layer), timeout)
