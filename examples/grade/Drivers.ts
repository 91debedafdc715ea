/**
 * Where tasks can be run, by the name that `--driver` takes. Another backend is another entry of `drivers`.
 */
import type { InvalidConfigurationError, SandboxDriver, UnsupportedOptionError } from "@effect-sandbox/core"
import { LocalDriver } from "@effect-sandbox/core"
import type { NodeServices } from "@effect/platform-node"
import type { Layer, PlatformError } from "effect"
import { dirname } from "node:path"

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
    InvalidConfigurationError | UnsupportedOptionError | PlatformError.PlatformError,
    NodeServices.NodeServices
  >
}

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
      // More than any honest task needs, and few enough for a fork bomb to be no more than a nuisance.
      maxProcesses: 160
    })
}

export const drivers: ReadonlyArray<Driver> = [local]

/** Whether a sandbox of that isolation level holds a program that means harm. */
export const holdsHostile = (level: string): boolean => level === "bubblewrap" || level === "container"
