/**
 * An engine of the test's own, so that the machine's is left alone when one has to be stopped or killed. Everything of it
 * is in one directory, and goes with the scope: its processes, its mounts, its files.
 */
import { Effect } from "effect"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { eventually, gone, kill, processesWith } from "./lab.ts"

const has = (program: string): boolean => spawnSync(program, ["--version"]).status === 0

/** Why there can be none; undefined when there can. */
export const missing: string | undefined =
  process.platform !== "linux"
    ? "this is not Linux"
    : process.getuid?.() !== 0
      ? "only root may start one"
      : ["dockerd", "containerd", "umount", "unshare"].flatMap((program) =>
          has(program) ? [] : [`there is no ${program}`]
        )[0]

export interface SecondEngine {
  /** As `DOCKER_HOST` has it. */
  readonly address: string
  /** Starts the engine, until it answers. */
  readonly start: Effect.Effect<unknown>
  /** Ends the engine by a signal, until its process is no more. */
  readonly stop: (signal: "SIGTERM" | "SIGKILL") => Effect.Effect<void>
}

const ended = (child: ChildProcess): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const done = () => resume(Effect.void)
    if (child.exitCode === null && child.signalCode === null) child.once("exit", done)
    else done()
  })

const answers = (socketPath: string): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const socket = net.connect(socketPath)
    const say = (isThere: boolean) => resume(Effect.succeed(isThere))
    socket.on("connect", () => socket.write("GET /_ping HTTP/1.0\r\n\r\n"))
    socket.on("data", (bytes) => say(bytes.toString().includes("200 OK")))
    socket.on("error", () => say(false))
    socket.on("close", () => say(false))
    return Effect.sync(() => socket.destroy())
  })

/** What is mounted below a directory, the last one first. */
const mountsBelow = (directory: string): ReadonlyArray<string> =>
  fs
    .readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .flatMap((line) => line.split(" ")[4] ?? [])
    .filter((mount) => mount.startsWith(`${directory}/`))
    .toReversed()

/** Runs a program that sees nothing in a directory. */
const hiding = 'mount -t tmpfs none "$0" && exec "$@"'
const without = (directory: string | undefined): ReadonlyArray<string> =>
  directory === undefined ? [] : ["unshare", "--mount", "--", "sh", "-c", hiding, directory]

export interface Options {
  /** A directory of this machine that is empty for the engine. Default: none. */
  readonly hiddenFromEngine?: string | undefined
  /** The same for who starts containers. Default: none. */
  readonly hiddenFromRuntime?: string | undefined
}

/** The engine, which is not started yet. Settings are those of `daemon.json`. */
export const make = Effect.fnUntraced(function* (
  settings: { readonly [name: string]: unknown } = {},
  { hiddenFromEngine, hiddenFromRuntime }: Options = {}
) {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "second-engine-")))),
    (directory) =>
      Effect.gen(function* () {
        // Its shims and whatever it had started have the directory in their command lines.
        for (const pid of processesWith(directory)) kill(Number(pid))
        yield* gone(directory)
        for (const mount of mountsBelow(directory)) spawnSync("umount", ["--lazy", mount])
        fs.rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
      })
  )
  const at = (name: string) => path.join(directory, name)
  fs.writeFileSync(at("dockerd.json"), JSON.stringify(settings))
  fs.writeFileSync(at("containerd.toml"), "version = 2\n")
  const log = fs.openSync(at("log"), "a")
  const launch = (...[program = "", ...args]: ReadonlyArray<string>) =>
    spawn(program, args, { stdio: ["ignore", log, log], detached: true })

  launch(
    ...without(hiddenFromRuntime),
    "containerd",
    `--config=${at("containerd.toml")}`,
    `--address=${at("containerd.sock")}`,
    `--root=${at("containerd")}`,
    `--state=${at("containerd-state")}`,
    "--log-level=error"
  )
  yield* eventually(
    "containerd listens",
    Effect.sync(() => fs.existsSync(at("containerd.sock"))),
    30_000
  )
  let engine: ChildProcess | undefined
  const second: SecondEngine = {
    address: `unix://${at("engine.sock")}`,
    start: Effect.suspend(() => {
      // A network of its own, as an engine without a bridge removes that of the machine's engine.
      engine = launch(
        ...without(hiddenFromEngine),
        "unshare",
        "--net",
        "--",
        "dockerd",
        `--config-file=${at("dockerd.json")}`,
        `--containerd=${at("containerd.sock")}`,
        `--data-root=${at("data")}`,
        `--exec-root=${at("exec")}`,
        `--pidfile=${at("pid")}`,
        `--host=unix://${at("engine.sock")}`,
        // Images are small, and no mount of it can stay behind.
        "--storage-driver=vfs",
        "--bridge=none",
        "--iptables=false",
        "--ip-forward=false",
        "--shutdown-timeout=5",
        "--log-level=warn"
      )
      return eventually("the engine answers", answers(at("engine.sock")), 60_000)
    }),
    stop: (name) =>
      Effect.suspend(() => {
        if (engine === undefined) return Effect.void
        engine.kill(name)
        return ended(engine)
      })
  }
  yield* Effect.addFinalizer(() => second.stop("SIGKILL"))
  return second
})
