/* oxlint-disable vitest/no-conditional-tests, vitest/no-disabled-tests -- what cannot be had here is shown as skipped */
import { driverConformance } from "@effect-sandbox/testing/vitest"
import { afterAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as docker from "./support/docker.ts"
import * as engine from "./support/engine.ts"
import * as images from "./support/images.ts"

const variable = "EFFECT_SANDBOX_HOST_SECRET"
const mark = `conformance-${process.pid}`
const label = `${engine.label}=${mark}`

/** The containers with a label. */
const aliveWith = (label: string) =>
  docker.onEngine(({ containers }) =>
    Effect.map(containers.list({ labels: [label] }), (found) => found.map(({ Id }) => Id))
  )

/** As older releases of gVisor do, it refuses PR_SET_CHILD_SUBREAPER: orphans go to process 1 then, and not to supervisors. */
const withoutSubreapers = JSON.stringify({
  defaultAction: "SCMP_ACT_ALLOW",
  syscalls: [{ names: ["prctl"], action: "SCMP_ACT_ERRNO", args: [{ index: 0, value: 36, op: "SCMP_CMP_EQ" }] }]
})

if (engine.missing === undefined) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "host-secret-"))
  const file = path.join(directory, "secret")
  fs.writeFileSync(file, `secret ${Math.random()}`, { mode: 0o644 })
  process.env[variable] = "secret"
  afterAll(() => fs.rmSync(directory, { recursive: true }))

  driverConformance("DockerDriver", docker.layer(["debian"], { defaults: { labels: { [engine.label]: mark } } }), {
    image: images.names.debian,
    timeLimit: "1 minute",
    capabilities: {
      home: true,
      permissions: true,
      additionalFds: true,
      commandConfinement: true,
      processIsolation: true,
      memoryLimit: true
    },
    kill: (target) => docker.onEngine(({ containers }) => containers.kill(docker.containerOf(target))),
    freeze: (target) => docker.onEngine(({ containers }) => containers.pause(docker.containerOf(target))),
    alive: aliveWith(label),
    hostFile: { path: file, read: Effect.sync(() => fs.readFileSync(file, "utf8")) },
    hostVariable: variable,
    user: { name: "nobody", uid: 65534 }
  })

  driverConformance(
    "DockerDriver without subreapers",
    docker.layer(["debian"], { defaults: { seccomp: withoutSubreapers } }),
    {
      image: images.names.debian,
      timeLimit: "1 minute",
      capabilities: { home: true, permissions: true, additionalFds: true, processIsolation: true },
      user: { name: "nobody", uid: 65534 },
      only: { topics: ["trees", "exec-limits", "reset-processes"] }
    }
  )

  // The others go over a socket where the engine is on this machine.
  driverConformance(
    "DockerDriver over the attached stream",
    docker.layer(["debian"], {
      transport: "attached",
      defaults: { labels: { [engine.label]: `${mark}-attached` } }
    }),
    {
      image: images.names.debian,
      timeLimit: "1 minute",
      capabilities: { home: true, permissions: true, additionalFds: true, processIsolation: true },
      user: { name: "nobody", uid: 65534 },
      kill: (target) => docker.onEngine(({ containers }) => containers.kill(docker.containerOf(target))),
      alive: aliveWith(`${label}-attached`),
      only: { topics: ["output", "pipes", "stdin", "large-files", "death"] }
    }
  )
} else {
  describe("DockerDriver", () => {
    it.skip(`cannot be checked here: ${engine.missing}`, () => {})
  })
}
