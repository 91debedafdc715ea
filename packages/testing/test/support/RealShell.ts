/** The shell of this computer, to compare the simulated one with. */
import { Effect } from "effect"
import { spawn, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

/** The simulated shell speaks as dash does; others have other words for the same things. */
export const isThere = spawnSync("dash", ["-c", "exit 42"]).status === 42

export interface Result {
  readonly end: number | string
  readonly stdout: string
  readonly stderr: string
}

/** Runs a script in a directory of its own. */
export const run = (script: string, environment: { readonly [name: string]: string }): Effect.Effect<Result> =>
  Effect.acquireUseRelease(
    Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "sh-"))),
    (directory) =>
      Effect.callback<Result>((resume) => {
        const child = spawn("dash", ["-c", script], {
          cwd: directory,
          env: { ...environment, HOME: directory, TMPDIR: directory, LANG: "C" },
          argv0: "sh",
          stdio: ["ignore", "pipe", "pipe"]
        })
        const stdout: Array<Buffer> = []
        const stderr: Array<Buffer> = []
        child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk))
        child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk))
        child.on("close", (code, signal) => {
          const text = (chunks: ReadonlyArray<Buffer>) =>
            Buffer.concat(chunks).toString().replaceAll(directory, "/work")
          resume(Effect.succeed({ end: signal ?? code ?? -1, stdout: text(stdout), stderr: text(stderr) }))
        })
        return Effect.sync(() => child.kill("SIGKILL"))
      }),
    (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
  )
