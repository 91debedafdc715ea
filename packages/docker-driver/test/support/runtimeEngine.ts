/**
 * An engine of the test's own that has other runtimes than the usual one. It lives in namespaces of its own, where it sees
 * no second hierarchy of control groups: crun refuses to work where there are both.
 */
import { Effect } from "effect"
import { spawn, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as secondEngine from "./secondEngine.ts"
import { eventually, gone, kill, processesWith } from "./lab.ts"

export type Runtime = "crun" | "runsc"

/** gVisor brings a network of its own, which it makes only where there is one; and its version of Debian's is old. */
const settings = {
  crun: { path: "/usr/bin/crun" },
  runsc: { path: "/usr/bin/runsc", runtimeArgs: ["--network=none", "--platform=ptrace", "--ignore-cgroups"] }
}

/** Why a runtime cannot be had; undefined when it can. */
export const missing = (runtime: Runtime): string | undefined =>
  secondEngine.missing ?? (fs.existsSync(settings[runtime].path) ? undefined : `there is no ${settings[runtime].path}`)

const script = 'umount /sys/fs/cgroup/unified 2>/dev/null; ip link set lo up 2>/dev/null; exec "$0" "$@"'

/** Starts it, and gives its address. It goes with the scope. */
export const make = Effect.gen(function* () {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "runtime-engine-")))),
    (directory) =>
      Effect.gen(function* () {
        for (const pid of processesWith(directory)) kill(Number(pid))
        yield* gone(directory)
        fs.rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
      })
  )
  const at = (name: string) => path.join(directory, name)
  fs.writeFileSync(at("dockerd.json"), JSON.stringify({ runtimes: settings }))
  const log = fs.openSync(at("log"), "a")
  const dockerd = [
    "dockerd",
    `--config-file=${at("dockerd.json")}`,
    `--data-root=${at("data")}`,
    `--exec-root=${at("exec")}`,
    `--pidfile=${at("pid")}`,
    `--host=unix://${at("engine.sock")}`,
    "--bridge=none",
    "--iptables=false",
    "--ip-forward=false",
    "--log-level=warn"
  ]
  const engine = spawn("unshare", ["--mount", "--net", "--", "sh", "-c", script, ...dockerd], {
    stdio: ["ignore", log, log],
    detached: true
  })
  yield* Effect.addFinalizer(() => Effect.sync(() => engine.kill("SIGTERM")))
  const address = `unix://${at("engine.sock")}`
  yield* eventually(
    "the engine answers",
    Effect.sync(() => spawnSync("docker", ["--host", address, "version"]).status === 0),
    60_000
  )
  return address
})
