/** A real Prometheus, where there is one; tests that need it are skipped elsewhere, and say so. */
import { Effect, FileSystem, Schema, Schedule, Stream } from "effect"
import { FetchHttpClient, HttpClient, HttpClientResponse } from "effect/http"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { existsSync } from "node:fs"
import { createServer } from "node:net"

/** Where Prometheus is, or nothing; its `promtool` lies beside it. */
export const executable = ["/usr/bin/prometheus", "/usr/local/bin/prometheus"].find((path) => existsSync(path))

const freePort = Effect.callback<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = typeof address === "object" && address !== null ? address.port : 0
    server.close(() => resume(Effect.succeed(port)))
  })
})

const Answer = Schema.Struct({
  status: Schema.String,
  error: Schema.optionalKey(Schema.String),
  data: Schema.optionalKey(
    Schema.Struct({
      result: Schema.Array(
        Schema.Struct({
          metric: Schema.Record(Schema.String, Schema.String),
          value: Schema.Tuple([Schema.Finite, Schema.String])
        })
      )
    })
  )
})

/** Starts one that scrapes the target four times a second, until the scope closes. */
export const start = Effect.fnUntraced(function* (target: { readonly port: number }) {
  const fs = yield* FileSystem.FileSystem
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "prometheus-" })
  const port = yield* freePort
  yield* fs.writeFileString(
    `${directory}/prometheus.yml`,
    `global: { scrape_interval: 250ms, scrape_timeout: 250ms }
scrape_configs:
  - job_name: sandboxes
    static_configs: [{ targets: ["127.0.0.1:${target.port}"] }]
`
  )
  yield* spawner.spawn(
    ChildProcess.make(
      executable ?? "prometheus",
      [
        `--config.file=${directory}/prometheus.yml`,
        `--storage.tsdb.path=${directory}/data`,
        `--web.listen-address=127.0.0.1:${port}`,
        "--log.level=error"
      ],
      { stdout: "ignore", stderr: "inherit", forceKillAfter: "5 seconds" }
    )
  )
  const client = yield* HttpClient.HttpClient
  const get = (path: string, params: Record<string, string> = {}) =>
    client.get(`http://127.0.0.1:${port}${path}`, { urlParams: params })
  yield* get("/-/ready").pipe(
    Effect.flatMap(HttpClientResponse.filterStatusOk),
    Effect.retry({ schedule: Schedule.spaced("100 millis"), times: 300 })
  )
  /** What an expression gives now. Fails when it is none. */
  const query = (expression: string) =>
    Effect.gen(function* () {
      const response = yield* get("/api/v1/query", { query: expression })
      const { data, error } = yield* HttpClientResponse.schemaBodyJson(Answer)(response)
      if (error !== undefined) return yield* Effect.die(new Error(`${expression}: ${error}`))
      return (data?.result ?? []).map(({ metric, value }) => ({ metric, value: Number(value[1]) }))
    })
  // It looks for what it is to scrape only every five seconds.
  yield* query("up").pipe(
    Effect.delay("100 millis"),
    Effect.repeat({ until: ([up]) => up?.value === 1 }),
    Effect.timeout("30 seconds")
  )
  return { query }
}, Effect.provide(FetchHttpClient.layer))

/** What `promtool check metrics` has to say; nothing when all is well. */
export const lint = (text: string) =>
  Effect.gen(function* () {
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const promtool = (executable ?? "prometheus").replace(/prometheus$/, "promtool")
    const handle = yield* spawner.spawn(
      ChildProcess.make(promtool, ["check", "metrics"], { stdin: Stream.make(new TextEncoder().encode(text)) })
    )
    const [said, code] = yield* Effect.all([Stream.mkString(Stream.decodeText(handle.all)), handle.exitCode], {
      concurrency: 2
    })
    return { said, code: Number(code) }
  }).pipe(Effect.scoped)
