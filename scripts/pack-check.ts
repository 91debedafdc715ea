/**
 * Packs the packages as they would be published, looks the tarballs over with publint and are-the-types-wrong, and uses
 * the core as its users will: installed into an empty project, running the README's first example.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Data, Effect, FileSystem, Path, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"

class CheckFailed extends Data.TaggedError("CheckFailed")<{ readonly check: string; readonly output: string }> {
  override get message() {
    return `${this.check} failed\n${this.output}`
  }
}

const pnpm = "pnpm@12.21.0"
const peers = { effect: "4.1.0", "@effect/platform-node": "4.1.0" }
const testPeers = { "@effect/vitest": "4.0.5", vitest: "5.1.1" }
const marker = "<!-- example: first -->"

/** Runs a command and gives its output; fails with all of it. */
const run = (check: string, cwd: string, command: string, ...args: ReadonlyArray<string>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
      const handle = yield* spawner.spawn(ChildProcess.make(command, args, { cwd, extendEnv: true, stdin: "ignore" }))
      const [code, output] = yield* Effect.all([handle.exitCode, Stream.mkString(Stream.decodeText(handle.all))], {
        concurrency: 2
      })
      if (code !== 0) return yield* new CheckFailed({ check, output })
      yield* Console.log(`ok  ${check}`)
      return output
    })
  )

/** The TypeScript after the marker of a README. */
const exampleOf = (file: string, readme: string) => {
  const code = /```ts\n([\s\S]*?)```/.exec(readme.slice(readme.indexOf(marker)))?.[1]
  return readme.includes(marker) && code !== undefined
    ? Effect.succeed(code)
    : Effect.fail(new CheckFailed({ check: "first example", output: `${file} has no example after ${marker}` }))
}

/** A container of an image with nothing in it, in which only the agent of the package can run. */
const dockerProgram = `
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Environment, Sandbox } from "@effect-sandbox/core"
import { DockerClient, DockerDriver } from "@effect-sandbox/docker-driver"
import { Console, Effect, Layer } from "effect"

class Lab extends Environment.Service()("pack/Lab", { images: ["empty"], pool: 0 }) {}
const source = { _tag: "Build", tag: "effect-sandbox-test/empty", text: "FROM scratch\\nLABEL effect-sandbox.test=pack" }
const driver = DockerDriver.layer({ images: { empty: { source } } })

const session = Lab.withSession({}, Effect.flatMap(Sandbox, (box) => box.exec("/.effect-sandbox/bin/agent", ["--version"])))
const inContainer = session.pipe(
  Effect.flatMap(({ stdout }) => Console.log("in a container: " + stdout)),
  Effect.provide(Lab.layer.pipe(Layer.provide(driver)))
)

DockerClient.DockerClient.pipe(
  Effect.flatMap(({ ping }) => Effect.result(ping)),
  Effect.provide(DockerClient.layer()),
  Effect.flatMap((found) => found._tag === "Success" ? inContainer : Console.log("skipped: " + found.failure.message)),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
`

const packages = ["core", "testing", "docker-driver", "devtools"]

const main = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const root = path.resolve(import.meta.dirname, "..")
  const bin = (name: string) => path.join(root, "node_modules/.bin", name)
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "pack-check-" })

  const tarballs = new Map<string, string>()
  for (const name of packages) {
    const source = path.join(root, "packages", name)
    const target = path.join(directory, name)
    yield* fs.makeDirectory(target)
    yield* run(`pack ${name}`, source, "npx", "--yes", pnpm, "pack", "--pack-destination", target)
    const tarball = (yield* fs.readDirectory(target)).find((file) => file.endsWith(".tgz"))
    if (tarball === undefined) return yield* new CheckFailed({ check: `pack ${name}`, output: "no tarball was made" })
    tarballs.set(name, path.join(target, tarball))
    yield* run(`publint ${name}`, root, bin("publint"), "run", path.join(target, tarball), "--strict")
    yield* run(`attw ${name}`, root, bin("attw"), path.join(target, tarball), "--profile", "esm-only")
  }

  const example = exampleOf("README.md", yield* fs.readFileString(path.join(root, "README.md")))
  const testing = "packages/testing/README.md"
  const testExample = exampleOf(testing, yield* fs.readFileString(path.join(root, testing)))
  const project = path.join(directory, "project")
  yield* fs.makeDirectory(project)
  yield* fs.writeFileString(path.join(project, "package.json"), '{ "type": "module", "private": true }')
  yield* fs.writeFileString(path.join(project, "main.ts"), yield* example)
  yield* fs.writeFileString(path.join(project, "main.test.ts"), yield* testExample)
  const dependencies = Object.entries(peers).map(([name, version]) => `${name}@${version}`)
  const install = (...what: ReadonlyArray<string>) => ["install", "--no-audit", "--no-fund", ...what]
  yield* run("install into an empty project", project, "npm", ...install(tarballs.get("core") ?? "", ...dependencies))
  const output = yield* run("run the README's first example there", project, bin("node"), "main.ts")
  if (!output.includes("hello, sandbox")) {
    return yield* new CheckFailed({ check: "first example", output: `it printed ${JSON.stringify(output)}` })
  }
  const tools = Object.entries(testPeers).map(([name, version]) => `${name}@${version}`)
  yield* run("install the tools for tests", project, "npm", ...install(tarballs.get("testing") ?? "", ...tools))
  yield* run("run the tests of its README there", project, bin("node"), "node_modules/vitest/vitest.mjs", "run")
  yield* run("install the tools to look", project, "npm", ...install(tarballs.get("devtools") ?? ""))
  const tool = path.join(project, "node_modules/.bin/effect-sandbox")
  const version = yield* run("run the command line tool there", project, bin("node"), tool, "--version")
  if (!version.startsWith("effect-sandbox v")) {
    return yield* new CheckFailed({ check: "run the command line tool there", output: version })
  }
  yield* run("install the Docker driver", project, "npm", ...install(tarballs.get("docker-driver") ?? ""))
  yield* fs.writeFileString(path.join(project, "docker.mjs"), dockerProgram)
  const inContainer = yield* run("run a container there", project, bin("node"), "docker.mjs")
  if (inContainer.startsWith("skipped: ")) yield* Console.log(`    ${inContainer.trim()}`)
  else if (!inContainer.includes("in a container: ")) {
    return yield* new CheckFailed({ check: "run a container there", output: inContainer })
  }
  yield* Console.log("The packages are ready to publish.")
})

NodeRuntime.runMain(main.pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
