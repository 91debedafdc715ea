/**
 * Makes the images that tests, examples and benchmarks of the Docker driver run in, unless they are there:
 *
 *     node scripts/images.ts
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import * as engine from "../packages/docker-driver/test/support/engine.ts"
import * as images from "../examples/support/images.ts"

const main = Effect.forEach(["shell", "node", "debian", "debianNode", "scratch"] as const, (name) =>
  Effect.flatMap(images.ensure(name), (tag) => Console.log(tag))
)

NodeRuntime.runMain(Effect.provide(main, engine.layer))
