/** The Docker driver for tests: its layer on the real engine, and how the conformance suite gets at its containers. */
import type * as DriverConformance from "@effect-sandbox/testing/DriverConformance"
import { NodeServices } from "@effect/platform-node"
import { Context, Effect, Layer, Option } from "effect"
import * as DockerClient from "../../src/DockerClient.ts"
import * as DockerDriver from "../../src/DockerDriver.ts"
import { DockerSandbox } from "../../src/DockerSandbox.ts"
import * as engine from "./engine.ts"
import * as images from "./images.ts"

/** The driver, whether there is an engine or not. */
export const bare = (options: DockerDriver.Options) =>
  DockerDriver.layer(options).pipe(Layer.provide(NodeServices.layer))

/** The driver, once the images it is to use are there. */
export const layer = (needed: ReadonlyArray<images.Name>, options: DockerDriver.Options = {}) =>
  Layer.unwrap(
    Effect.as(
      Effect.forEach(needed, (name) => images.ensure(name)),
      DockerDriver.layer(options)
    )
  ).pipe(Layer.provide(engine.layer), Layer.provide(NodeServices.layer), Layer.orDie)

/** The engine's id of a sandbox's container. */
export const containerOf = ({ instance }: DriverConformance.Running): string =>
  Option.getOrThrow(Context.getOption(instance.services ?? Context.empty(), DockerSandbox)).containerId

/** What somebody else does on the engine. */
export const onEngine = <A, E>(use: (docker: DockerClient.DockerClient["Service"]) => Effect.Effect<A, E>) =>
  Effect.provide(Effect.flatMap(DockerClient.DockerClient, use), engine.layer)
