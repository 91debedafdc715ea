/**
 * Plants bugs in a copy of the core and lets the model checker find them: what it does not find it does not test.
 *
 *     sh scripts/run.sh mutate [--only NAME] [--runs N]
 *
 * Each mutation of `mutations.ts` is applied to a copy in a temporary directory, on which `lifecycle-worker.ts` runs
 * random programs, always the same ones. The unchanged core must pass them all. Prints a table; the exit code is 1 when
 * a mutation survives.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Clock, Console, Data, Effect, FileSystem, Option, Path, Schema, Stream } from "effect"
import { Command, Flag } from "effect/cli"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { type Mutation, mutations } from "./mutations.ts"

class MutationFailed extends Data.TaggedError("MutationFailed")<{ readonly message: string }> {}

/** What the worker prints. */
const Output = Schema.fromJsonString(
  Schema.Union([
    Schema.Struct({
      failure: Schema.Struct({
        rule: Schema.String,
        violation: Schema.String,
        runs: Schema.Finite,
        tries: Schema.Finite,
        size: Schema.Finite,
        report: Schema.String
      })
    }),
    Schema.Struct({ report: Schema.Struct({ runs: Schema.Finite }) })
  ])
)

interface Row {
  readonly name: string
  readonly caught: boolean
  readonly rule: string
  readonly runs: string
  readonly size: string
  readonly seconds: string
}

/** The core itself, which nothing may be found in. */
const unchanged: Mutation = {
  name: "(unchanged)",
  what: "the core as it is",
  file: "index.ts",
  search: "",
  replace: "",
  breaks: ""
}

const copies = [
  "packages/core/src",
  "packages/core/package.json",
  "packages/testing/src",
  "packages/testing/package.json",
  "scripts/lifecycle-worker.ts"
]

/** Copies what is needed, once, so that whoever edits it meanwhile does not disturb; it goes with the scope. */
const snapshot = Effect.fn(function* (root: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "mutations-" })
  for (const copy of copies) {
    yield* fs.makeDirectory(path.dirname(path.join(directory, copy)), { recursive: true })
    yield* fs.copy(path.join(root, copy), path.join(directory, copy))
  }
  return directory
})

/** Makes a small workspace with the changed core; it goes with the scope. */
const workspace = Effect.fn(function* (root: string, base: string, mutation: Mutation) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "mutation-" })
  for (const part of ["packages", "scripts"]) yield* fs.copy(path.join(base, part), path.join(directory, part))
  yield* fs.writeFileString(path.join(directory, "package.json"), '{ "type": "module", "private": true }')
  yield* fs.symlink(path.join(root, "node_modules"), path.join(directory, "node_modules"))
  const scope = path.join(directory, "packages/testing/node_modules/@effect-sandbox")
  yield* fs.makeDirectory(scope, { recursive: true })
  yield* fs.symlink(path.join(directory, "packages/core"), path.join(scope, "core"))
  if (mutation !== unchanged) {
    const file = path.join(directory, "packages/core/src", mutation.file)
    const source = yield* fs.readFileString(file)
    const count = source.split(mutation.search).length - 1
    if (count !== 1) {
      return yield* new MutationFailed({
        message: `${mutation.name}: the text to replace occurs ${count} times in ${mutation.file}, not once`
      })
    }
    yield* fs.writeFileString(
      file,
      source.replace(mutation.search, () => mutation.replace)
    )
  }
  return directory
})

const check = Effect.fn(function* (
  root: string,
  base: string,
  mutation: Mutation,
  options: { readonly runs: number; readonly seed: string; readonly shrinks: number; readonly report: boolean }
) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const path = yield* Path.Path
  const directory = yield* workspace(root, base, mutation)
  const started = yield* Clock.currentTimeMillis
  const handle = yield* spawner.spawn(
    ChildProcess.make(
      path.join(root, "node_modules/.bin/node"),
      [
        "scripts/lifecycle-worker.ts",
        ...["--runs", String(options.runs), "--seed", options.seed, "--shrinks", String(options.shrinks)]
      ],
      { cwd: directory, extendEnv: true, stdin: "ignore", forceKillAfter: "1 second" }
    )
  )
  const [output, errors] = yield* Effect.all(
    [Stream.mkString(Stream.decodeText(handle.stdout)), Stream.mkString(Stream.decodeText(handle.stderr))],
    { concurrency: 2 }
  ).pipe(Effect.timeoutOrElse({ duration: "3 minutes", orElse: () => Effect.succeed(["", "it hangs"] as const) }))
  const seconds = (((yield* Clock.currentTimeMillis) - started) / 1000).toFixed(1)
  const line = output.trim().split("\n").at(-1) ?? ""
  const result = yield* Schema.decodeEffect(Output)(line).pipe(
    Effect.mapError(() => new MutationFailed({ message: `${mutation.name}: the worker said\n${output}\n${errors}` }))
  )
  if ("report" in result) {
    return { name: mutation.name, caught: false, rule: "", runs: String(result.report.runs), size: "", seconds }
  }
  const { failure } = result
  if (options.report || mutation === unchanged) yield* Console.log(`--- ${mutation.name}\n${failure.report}\n`)
  return {
    name: mutation.name,
    caught: true,
    rule: `${failure.rule}: ${failure.violation}`,
    runs: String(failure.runs),
    size: String(failure.size),
    seconds
  }
}, Effect.scoped)

const table = (rows: ReadonlyArray<Row>): string => {
  const all: ReadonlyArray<Omit<Row, "caught"> & { readonly caught: string }> = [
    { name: "mutation", caught: "caught", runs: "runs", size: "steps", seconds: "s", rule: "by" },
    ...rows.map((row) => ({ ...row, caught: row.caught ? "yes" : "NO" }))
  ]
  const width = (key: "name" | "caught" | "runs" | "size" | "seconds") => Math.max(...all.map((row) => row[key].length))
  return all
    .map((row) =>
      [
        row.name.padEnd(width("name")),
        row.caught.padEnd(width("caught")),
        row.runs.padStart(width("runs")),
        row.size.padStart(width("size")),
        row.seconds.padStart(width("seconds")),
        row.rule.length > 90 ? `${row.rule.slice(0, 87)}...` : row.rule
      ].join("  ")
    )
    .join("\n")
}

const mutate = Command.make(
  "mutate",
  {
    only: Flag.String("only").pipe(Flag.withDescription("The name of a mutation, or a part of it"), Flag.optional),
    runs: Flag.Int("runs").pipe(Flag.withDescription("Programs for each mutation"), Flag.withDefault(1500)),
    seed: Flag.String("seed").pipe(Flag.withDescription("Where the programs come from"), Flag.withDefault("mutate")),
    shrinks: Flag.Int("shrinks").pipe(Flag.withDescription("Programs to try for a smaller one"), Flag.withDefault(400)),
    report: Flag.Boolean("report").pipe(Flag.withDescription("Shows the timelines, too"), Flag.withDefault(false))
  },
  Effect.fn(function* ({ only, ...options }) {
    const path = yield* Path.Path
    const root = path.resolve(import.meta.dirname, "..")
    const wanted = Option.match(only, {
      onNone: () => [unchanged, ...mutations],
      onSome: (name) => mutations.filter((mutation) => mutation.name.includes(name))
    })
    if (wanted.length === 0) return yield* new MutationFailed({ message: "there is no mutation of that name" })
    const base = yield* snapshot(root)
    let done = 0
    const rows = yield* Effect.forEach(
      wanted,
      (mutation) =>
        Effect.tap(check(root, base, mutation, options), (row) =>
          Console.error(
            `${String(++done).padStart(3)}/${wanted.length} ${mutation.name}: ${row.caught ? `caught by ${row.rule.split(":")[0]} after ${row.runs} programs` : `nothing found in ${row.runs} programs`} (${row.seconds} s)`
          )
        ),
      { concurrency: 2 }
    )
    yield* Console.log(table(rows))
    const survivors = rows.filter((row) => row.caught === (row.name === unchanged.name))
    if (survivors.length > 0) {
      return yield* new MutationFailed({
        message: `not as it should be: ${survivors.map(({ name }) => name).join(", ")}`
      })
    }
    yield* Console.log(`All ${rows.length - (Option.isNone(only) ? 1 : 0)} mutations were caught.`)
  })
)

NodeRuntime.runMain(Command.run(mutate, { version: "1" }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
