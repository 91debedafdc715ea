/** What the conformance suite needs to know of the host that local sandboxes run on. */
import { LocalDriver, type SandboxDriver } from "@effect-sandbox/core"
import type * as DriverConformance from "@effect-sandbox/testing/DriverConformance"
import { NodeServices } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { spawnSync } from "node:child_process"
import { randomUUID } from "node:crypto"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

export type Level = "bubblewrap" | "none"

const works = (isolation: Level): Promise<string | undefined> =>
  Effect.runPromise(
    Layer.build(layerOf({ isolation })).pipe(
      Effect.scoped,
      Effect.match({ onSuccess: () => undefined, onFailure: (error) => error.message })
    )
  )

const layerOf = (
  options: LocalDriver.Options
): Layer.Layer<SandboxDriver, Effect.Error<ReturnType<typeof LocalDriver.make>>> =>
  LocalDriver.layer(options).pipe(Layer.provide(NodeServices.layer))

/** Why an isolation cannot be had here; nothing when it can. */
export const obstacle = await (async () => ({ none: undefined, bubblewrap: await works("bubblewrap") }))()

/** Whether processes whose parent has gone are reaped here, which without isolation is the host's business. */
const hostReaps = (): boolean =>
  spawnSync("sh", [
    "-c",
    "sh -c 'sleep 0.1 & echo $!' >$0; sleep 0.5; kill -0 $(cat $0)",
    path.join(os.tmpdir(), `reaping-${randomUUID()}`)
  ]).status !== 0

const readOr = (file: string, read: (file: string) => string): string => {
  try {
    return read(file)
  } catch {
    return "" // gone meanwhile
  }
}

/** The host's processes that have to do with a directory, zombies aside. */
const processesOf = (directory: string): ReadonlyArray<string> =>
  fs
    .readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      const file = (name: string) => readOr(`/proc/${pid}/${name}`, (one) => fs.readFileSync(one, "latin1"))
      const command = file("cmdline")
      const isOurs =
        command.includes(directory) ||
        file("environ").includes(directory) ||
        readOr(`/proc/${pid}/cwd`, (one) => fs.readlinkSync(one)).startsWith(directory)
      return isOurs ? [`process ${pid}: ${command.replaceAll("\0", " ").slice(0, 200)}`] : []
    })

export interface Host {
  readonly layer: ReturnType<typeof layerOf>
  readonly options: DriverConformance.Options
  /** Removes what was made for it. */
  readonly remove: () => void
}

/** The local driver in a directory of its own, and what is true of it. */
export const host = (isolation: Level, options: LocalDriver.Options = {}): Host => {
  const directory = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "conformance-")))
  const root = path.join(directory, "root")
  const secret = path.join(directory, `secret-${randomUUID()}`)
  fs.writeFileSync(secret, randomUUID())
  const hostVariable = "CONFORMANCE_HOST_VARIABLE"
  process.env[hostVariable] = "of the host"
  const isolated = isolation === "bubblewrap"
  return {
    layer: layerOf({ isolation, root, ...options }),
    options: {
      image: "shell",
      // The machine may have much else to do.
      timeLimit: "1 minute",
      capabilities: {
        home: true,
        additionalFds: !isolated,
        orphanReaping: isolated || hostReaps(),
        permissions: isolated,
        commandConfinement: isolated,
        processIsolation: isolated
      },
      alive: Effect.sync(() => [...(fs.existsSync(root) ? fs.readdirSync(root) : []), ...processesOf(root)]),
      hostFile: { path: secret, read: Effect.sync(() => fs.readFileSync(secret, "utf8")) },
      hostVariable
    },
    remove: () => fs.rmSync(directory, { recursive: true, force: true })
  }
}
