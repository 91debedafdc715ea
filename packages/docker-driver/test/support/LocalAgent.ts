/**
 * The agent as a process of this machine, in namespaces of its own: a sandbox that needs no engine, for tests. Needs
 * Linux and root.
 */
import { SandboxDriver, type SandboxInstance, type SandboxSpec, type SandboxStateError } from "@effect-sandbox/core"
import { Cause, Effect, Layer, type Scope } from "effect"
import { isReadonlyArrayNonEmpty, type NonEmptyReadonlyArray } from "effect/Array"
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import * as fs from "node:fs"
import { randomUUID } from "node:crypto"
import * as path from "node:path"
import type { Readable, Writable } from "node:stream"
import { fileURLToPath } from "node:url"
import { eachPulled } from "../../src/internal/eachPulled.ts"
import type { Hello, Transport } from "../../src/internal/agent/connection.ts"
import * as instances from "../../src/internal/agent/instance.ts"

const architectures: { readonly [name: string]: string } = { x64: "amd64", arm64: "arm64" }
const agentDirectory = fileURLToPath(new URL("../../agent", import.meta.url))

/** Where the agent's binary is, if anywhere. */
export const binary: string | undefined = [
  process.env["SANDBOX_TEST_AGENT"],
  path.join(agentDirectory, "build", "agent"),
  path.join(agentDirectory, "prebuilt", `agent-${architectures[process.arch]}`)
].find((candidate) => candidate !== undefined && fs.existsSync(candidate))

/** Not of interprocess communication: by that the agent knows that shared memory and devices are not its own to clear. */
const namespaces = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]

/** What only the sandbox itself sees: a file system of its own over a directory that every Linux has. */
const place = "/mnt"
const setUp = `mount -t tmpfs -o mode=755 tmpfs ${place} && mkdir ${place}/tmp && exec "$0"`

const works = (): boolean => {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return false
  try {
    execFileSync("unshare", [...namespaces, "sh", "-c", setUp, "/bin/true"], { stdio: "ignore" })
    return true
  } catch {
    return false
  }
}

/** Why no agent can be run here, if so. */
export const missing: string | undefined =
  binary === undefined ? "the agent is not built" : works() ? undefined : "it needs Linux and root"

const reading = (stream: Readable): Effect.Effect<NonEmptyReadonlyArray<Uint8Array>, unknown> => {
  const take = (): NonEmptyReadonlyArray<Uint8Array> | undefined => {
    const chunks: Array<Uint8Array> = []
    for (let chunk: unknown = stream.read(); chunk instanceof Uint8Array; chunk = stream.read()) chunks.push(chunk)
    return isReadonlyArrayNonEmpty(chunks) ? chunks : undefined
  }
  return Effect.callback((resume) => {
    const events = ["readable", "end", "error", "close"] as const
    const cancel = () => {
      for (const event of events) stream.off(event, look)
    }
    const look = (error?: unknown) => {
      const chunks = take()
      if (chunks === undefined && error === undefined && !stream.readableEnded && !stream.destroyed) return
      cancel()
      resume(chunks !== undefined ? Effect.succeed(chunks) : Effect.fail(error ?? Cause.Done()))
    }
    for (const event of events) stream.on(event, look)
    look()
    return Effect.sync(cancel)
  })
}

const writing =
  (stream: Writable): Transport["write"] =>
  (chunks) =>
    Effect.callback((resume) => {
      let left = chunks.length
      const done = (error?: Error | null) => {
        if (error) resume(Effect.fail(error))
        else if (--left === 0) resume(Effect.void)
      }
      stream.cork()
      for (const chunk of chunks) stream.write(chunk, done)
      stream.uncork()
    })

export interface Machine {
  /** A variable of all its commands tells them from those of others. */
  readonly mark: string
  /** The processes that hold agents, by sandbox. */
  readonly processes: Map<string, ChildProcess>
}

export const makeMachine = (): Machine => ({ mark: `LOCAL_AGENT_TEST=${randomUUID()}`, processes: new Map() })

export const environment = { PATH: "/usr/local/bin:/usr/bin:/bin", LANG: "C.UTF-8" }

/** A process that is an agent within its namespaces, and what it said on standard error. */
const started = (machine: Machine, name: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn("unshare", [...namespaces, "sh", "-c", setUp, binary ?? ""], {
        stdio: "pipe",
        env: { HOST_SECRET: "1" }
      })
      machine.processes.set(name, child)
      child.stdin.on("error", () => undefined)
      let isClosed = false
      child.once("close", () => {
        isClosed = true
        if (machine.processes.get(name) === child) machine.processes.delete(name)
      })
      let messages = ""
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        messages += text
      })
      return { child, messages: () => messages, isClosed: () => isClosed }
    }),
    ({ child, isClosed }) =>
      Effect.callback<void>((resume) => {
        // Its streams are closed when the agent itself has gone, which is later than what holds it.
        if (isClosed()) return resume(Effect.void)
        child.once("close", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  )

/** An agent to speak with; its end is the scope's. */
export const transport = (machine: Machine, name: string): Effect.Effect<Transport, never, Scope.Scope> =>
  Effect.map(started(machine, name), ({ child }) => ({
    receive: (take) => eachPulled(reading(child.stdout), take),
    write: writing(child.stdin)
  }))

export const hello = (machine: Machine): Hello => {
  const [name = "", value = ""] = machine.mark.split("=")
  return {
    user: "1000",
    workdir: `${place}/work`,
    home: `${place}/home`,
    writable: [`${place}/work`, `${place}/tmp`],
    environment: { ...environment, HOME: `${place}/work`, TMPDIR: `${place}/tmp`, [name]: value }
  }
}

export const create = (
  machine: Machine,
  spec: SandboxSpec
): Effect.Effect<instances.AgentInstance, SandboxStateError, Scope.Scope> =>
  Effect.gen(function* () {
    const { child, messages } = yield* started(machine, spec.sandboxId)
    return yield* instances.make({
      sandboxId: spec.sandboxId,
      transport: {
        receive: (take) => eachPulled(reading(child.stdout), take),
        write: writing(child.stdin)
      },
      hello: hello(machine),
      explainEnd: () => Effect.sync(() => messages().trim() || undefined)
    })
  })

/** What a machine has: agents, and processes that were started by them. */
export const alive = (machine: Machine): ReadonlyArray<string> => {
  const agents = [...machine.processes.keys()].map((name) => `agent ${name}`)
  const processes = fs.readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return []
    try {
      return fs.readFileSync(`/proc/${pid}/environ`, "latin1").includes(machine.mark) ? [`process ${pid}`] : []
    } catch {
      return [] // it has gone meanwhile
    }
  })
  return [...agents, ...processes]
}

/** The agent itself, as the host numbers it. */
export const agentPid = (machine: Machine, name: string): number => {
  const { pid } = machine.processes.get(name) ?? {}
  return Number(fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0])
}

/** Kills an agent, and waits until it has gone. */
export const kill = (machine: Machine, name: string): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const child = machine.processes.get(name)
    if (child === undefined) return resume(Effect.void)
    child.once("close", () => resume(Effect.void))
    child.kill("SIGKILL")
  })

export const layer = (machine: Machine): Layer.Layer<SandboxDriver> =>
  Layer.succeed(SandboxDriver, {
    name: "local-agent",
    create: (spec): Effect.Effect<SandboxInstance, SandboxStateError, Scope.Scope> => create(machine, spec)
  })
