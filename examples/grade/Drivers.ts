/**
 * Where tasks can be run, by the name that `--driver` takes. Another backend is another entry of `drivers`.
 */
import type { InvalidConfigurationError, SandboxDriver, UnsupportedOptionError } from "@effect-sandbox/core"
import { LocalDriver } from "@effect-sandbox/core"
import type { DockerError } from "@effect-sandbox/docker-driver"
import { DockerClient, DockerDriver } from "@effect-sandbox/docker-driver"
import type { NodeServices } from "@effect/platform-node"
import type { PlatformError } from "effect"
import { Console, Effect, Layer } from "effect"
import { dirname } from "node:path"
import * as images from "../support/images.ts"

/** How strongly sandboxes are kept apart from the machine. */
export const isolations = ["auto", "bubblewrap", "none"] as const

export interface Settings {
  readonly isolation: (typeof isolations)[number]
}

export interface Driver {
  readonly name: string
  readonly description: string
  /** The images that a task may name. */
  readonly images: ReadonlyArray<string>
  readonly layer: (
    settings: Settings
  ) => Layer.Layer<
    SandboxDriver,
    | DockerError
    | images.IngredientMissing
    | InvalidConfigurationError
    | UnsupportedOptionError
    | PlatformError.PlatformError,
    NodeServices.NodeServices
  >
}

/** More than any honest task needs, and few enough for a fork bomb to be no more than a nuisance. */
const maxProcesses = 160

/** The directory with the Node that runs this program: tasks of the image `node` run on the same one. */
const nodeBin = dirname(process.execPath)

export const local: Driver = {
  name: "local",
  description: "processes of this machine, each sandbox in a directory of its own",
  // Both images are this machine: what differs is which of its programs a task may count on.
  images: ["shell", "node"],
  layer: ({ isolation }) =>
    LocalDriver.layer({
      isolation,
      env: { PATH: `${nodeBin}:/usr/local/bin:/usr/bin:/bin` },
      readOnlyPaths: [dirname(nodeBin)],
      maxProcesses
    })
}

export const docker: Driver = {
  name: "docker",
  description: "containers of a Docker engine, their images made of this machine's programs",
  images: ["shell", "node"],
  layer: () =>
    Layer.unwrap(
      Effect.gen(function* () {
        // Without an engine this is where it ends: the driver itself would wait for one to come.
        const make = (name: images.Name) =>
          Effect.map(
            images.ensure(name, (tag) => Console.error(`Making the image ${tag}`)),
            (reference) => ({ source: { _tag: "Reference", reference, pull: "never" } as const })
          )
        return DockerDriver.layer({
          defaults: { pids: maxProcesses },
          images: { shell: yield* make("debian"), node: yield* make("debianNode") }
        })
      })
    ).pipe(Layer.provide(DockerClient.layer()))
}

export const drivers: ReadonlyArray<Driver> = [local, docker]

/** Whether a sandbox of that isolation level holds a program that means harm. */
export const holdsHostile = (level: string): boolean => ["bubblewrap", "container", "gvisor"].includes(level)
