/**
 * What an engine's API costs without any library: the baseline that the Docker driver is measured against. Nothing but
 * `node:http`; no schemas, no scopes, no errors but exceptions.
 *
 *     node bench/rawEngine.ts [image]     measures it (default: effect-sandbox-test/shell)
 */
import * as http from "node:http"
import type { Duplex } from "node:stream"

let socketPath = process.env["DOCKER_SOCKET"] ?? "/var/run/docker.sock"

/** Measures the engine at this socket. */
export const use = (path: string): void => {
  socketPath = path
}

const agent = new http.Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY })
const base = "/v1.41"

/** The label of everything made here. */
export const label = "effect-sandbox.bench"

interface Answer {
  readonly status: number
  readonly body: string
}

export const call = (method: string, path: string, body?: unknown): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const headers: http.OutgoingHttpHeaders =
      text === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) }
    const request = http.request({ socketPath, agent, method, path: base + path, headers }, (response) => {
      let answer = ""
      response.setEncoding("utf8")
      response.on("data", (part: string) => (answer += part))
      response.on("end", () => {
        const status = response.statusCode ?? 0
        if (status < 400) resolve({ status, body: answer })
        else reject(new Error(`${method} ${path}: ${status} ${answer}`))
      })
      response.on("error", reject)
    })
    request.on("error", reject)
    request.end(text)
  })

const json = async <A>(method: string, path: string, body?: unknown): Promise<A> =>
  JSON.parse((await call(method, path, body)).body) as A // a benchmark believes the engine

/** The connection itself, after 101. */
export const hijack = (path: string, body?: unknown): Promise<Duplex> =>
  new Promise((resolve, reject) => {
    const text = body === undefined ? "" : JSON.stringify(body)
    const headers = {
      connection: "Upgrade",
      upgrade: "tcp",
      "content-type": "application/json",
      "content-length": Buffer.byteLength(text)
    }
    const request = http.request({ socketPath, agent: false, method: "POST", path: base + path, headers })
    request.on("upgrade", (_, socket, head) => {
      if (head.length > 0) socket.unshift(head)
      resolve(socket)
    })
    request.on("response", (response) => reject(new Error(`${path}: ${response.statusCode}`)))
    request.on("error", reject)
    request.end(text)
  })

/** A container whose first process is `command`, attached to and started. */
export const createAttachStart = async (image: string, command: ReadonlyArray<string>, host: object = {}) => {
  const { Id } = await json<{ readonly Id: string }>("POST", "/containers/create", {
    Image: image,
    Entrypoint: [],
    Cmd: command,
    OpenStdin: true,
    StdinOnce: true,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    Labels: { [label]: "raw" },
    HostConfig: { AutoRemove: true, NetworkMode: "none", LogConfig: { Type: "none" }, ...host }
  })
  const socket = await hijack(`/containers/${Id}/attach?stream=1&stdin=1&stdout=1&stderr=1`)
  await call("POST", `/containers/${Id}/start`)
  return { id: Id, socket }
}

export const remove = (id: string): Promise<unknown> =>
  // What has ended removes itself.
  call("DELETE", `/containers/${id}?force=1&v=1`).catch((error: Error) => {
    if (!/: 40[49] /.test(error.message)) throw error
  })

/** Reads a connection to its end, and gives how many bytes came. */
export const drain = async (socket: Duplex): Promise<number> => {
  let length = 0
  for await (const chunk of socket) length += (chunk as Buffer).length // a duplex without an encoding gives these
  return length
}

/** One command through the engine's own API for it: create, start, read to the end, ask for the exit code. */
export const exec = async (id: string, command: ReadonlyArray<string>) => {
  const created = await json<{ readonly Id: string }>("POST", `/containers/${id}/exec`, {
    Cmd: command,
    AttachStdout: true,
    AttachStderr: true
  })
  const socket = await hijack(`/exec/${created.Id}/start`, { Detach: false, Tty: false })
  const length = await drain(socket)
  const { ExitCode } = await json<{ readonly ExitCode: number }>("GET", `/exec/${created.Id}/json`)
  return { exitCode: ExitCode, length }
}

const median = (values: ReadonlyArray<number>): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const before = performance.now()
  await work()
  return performance.now() - before
}

/** One after the other. */
const series = async (runs: number, work: () => Promise<unknown>): Promise<ReadonlyArray<number>> => {
  if (runs === 0) return []
  const first = await timed(work)
  return [first, ...(await series(runs - 1, work))]
}

const measure = async (image: string) => {
  const ids: Array<string> = []
  const starts = await series(10, async () => ids.push((await createAttachStart(image, ["cat"])).id))
  const [first = ""] = ids
  const commands = await series(20, () => exec(first, ["true"]))
  const many = await timed(() => Promise.all(Array.from({ length: 64 }, () => exec(first, ["true"]))))
  await Promise.all(ids.map(remove))
  const { id, socket } = await createAttachStart(image, ["dd", "if=/dev/zero", "bs=65536", "count=8000"])
  let length = 0
  const stream = await timed(async () => (length = await drain(socket)))
  await remove(id)
  console.log(`create + attach + start   ${median(starts).toFixed(0)} ms (median of ${starts.length})`)
  console.log(`exec of true              ${median(commands).toFixed(1)} ms (median of ${commands.length})`)
  console.log(`64 execs at once          ${many.toFixed(0)} ms, ${((64 / many) * 1000).toFixed(0)} a second`)
  console.log(`output                    ${(length / 1_048_576 / (stream / 1000)).toFixed(0)} MiB/s`)
}

if (import.meta.main) {
  await measure(process.argv[2] ?? "effect-sandbox-test/shell")
  agent.destroy()
}
