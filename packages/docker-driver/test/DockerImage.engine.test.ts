import { assert, describe } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Redacted, Stream } from "effect"
import { Tar } from "effect/encoding"
import * as DockerClient from "../src/DockerClient.ts"
import type { DockerError } from "../src/DockerError.ts"
import * as DockerImage from "../src/DockerImage.ts"
import * as engine from "./support/engine.ts"
import * as fakeRegistry from "./support/fakeRegistry.ts"
import * as images from "./support/images.ts"

const labels = { [engine.label]: "image" }

/** Names that nobody else has, removed in the end. */
const ownName = (host: string) =>
  Effect.gen(function* () {
    const docker = yield* DockerClient.DockerClient
    const name = `${host}/effect-sandbox-test-${process.pid}-${counter++}:1`
    yield* Effect.addFinalizer(() => Effect.ignore(docker.images.remove(name, { force: true })))
    return name
  })
let counter = 0

const failure = <A, R>(effect: Effect.Effect<A, DockerError, R>) =>
  Effect.map(Effect.flip(effect), ({ message, reason }) => ({ tag: reason._tag, message, reason }))

const ensure = (source: DockerImage.Source, options?: DockerImage.EnsureOptions) =>
  DockerImage.DockerImage.use((service) => service.ensure(source, options))

const reference = (reference: string, more: object = {}): DockerImage.Source => ({
  _tag: "Reference",
  reference,
  ...more
})

/** The repository and tag of a name at the registry. */
const pathOf = (name: string) => name.slice(name.indexOf("/") + 1)

/** Not the same twice: the engine would not ask for a layer that it has. */
const files = () => ({ program: `not really ${process.pid} ${counter++}` })

describe.skipIf(engine.missing !== undefined)(`an image from a registry${engine.because}`, () => {
  engine.live(
    "is pulled when it is missing, once for all who want it, with progress for each",
    Effect.gen(function* () {
      const name = yield* ownName("unused")
      const registry = yield* fakeRegistry.make({
        images: { [pathOf(name)]: { files: files(), labels } },
        delayMillis: 100
      })
      const full = `${registry.host}/${pathOf(name)}`
      const docker = yield* DockerClient.DockerClient
      yield* Effect.addFinalizer(() => Effect.ignore(docker.images.remove(full, { force: true })))
      const heard = [0, 0, 0]
      const all = yield* Effect.all(
        heard.map((_, index) =>
          ensure(reference(full), {
            onProgress: () => Effect.sync(() => void (heard[index] = (heard[index] ?? 0) + 1))
          })
        ),
        { concurrency: 3 }
      )
      assert.strictEqual(new Set(all.map(({ Id }) => Id)).size, 1)
      assert.deepStrictEqual(all[0]?.Config?.Labels, labels)
      for (const count of heard) assert.isAbove(count, 0)
      const pulls = () => registry.requests.filter((request) => request.includes("/blobs/")).length
      assert.strictEqual(pulls(), 2)
      yield* ensure(reference(full))
      assert.strictEqual(pulls(), 2)
      const before = registry.requests.length
      yield* ensure(reference(full, { pull: "always" }))
      assert.isAbove(registry.requests.length, before)
    })
  )

  engine.live(
    "that there is not is said to be missing",
    Effect.gen(function* () {
      const registry = yield* fakeRegistry.make({ images: {} })
      const name = `${registry.host}/nothing:1`
      const missing = yield* failure(ensure(reference(name)))
      assert.strictEqual(missing.tag, "ImageNotFound", missing.message)
      const never = yield* failure(ensure(reference(name, { pull: "never" })))
      assert.strictEqual(never.tag, "ImageNotFound")
      assert.include(never.message, "is not to be pulled")
      assert.strictEqual((yield* failure(ensure(reference("A B")))).tag, "InvalidRequest")
      const gone = yield* failure(ensure(reference("127.0.0.1:1/nothing:1")))
      assert.strictEqual(gone.tag, "PullFailed", gone.message)
      assert.include(gone.message, "the engine, not only this machine")
    })
  )

  engine.live(
    "that is private needs the right credentials",
    Effect.gen(function* () {
      const user = { name: "me", password: "päss:word" }
      const name = pathOf(yield* ownName("unused"))
      const registry = yield* fakeRegistry.make({ images: { [name]: { files: files(), labels } }, user })
      const full = `${registry.host}/${name}`
      const docker = yield* DockerClient.DockerClient
      yield* Effect.addFinalizer(() => Effect.ignore(docker.images.remove(full, { force: true })))
      const nobody = yield* failure(ensure(reference(full)))
      assert.strictEqual(nobody.tag, "RegistryAuth", nobody.message)
      assert.include(nobody.message, `docker login ${registry.host}`)
      const credentials = (password: string) => ({
        registry: registry.host,
        username: user.name,
        password: Redacted.make(password)
      })
      const wrong = yield* failure(ensure(reference(full, { credentials: credentials("wrong") })))
      assert.strictEqual(wrong.tag, "RegistryAuth", wrong.message)
      const image = yield* ensure(reference(full, { credentials: credentials(user.password) }))
      assert.deepStrictEqual(image.Config?.Labels, labels)
    })
  )

  engine.live(
    "for another processor is refused",
    Effect.gen(function* () {
      const name = pathOf(yield* ownName("unused"))
      const registry = yield* fakeRegistry.make({ images: { [name]: { files: files(), architecture: "s390x" } } })
      const full = `${registry.host}/${name}`
      const wrong = yield* failure(ensure(reference(full)))
      assert.strictEqual(wrong.tag, "WrongPlatform", wrong.message)
      // One that does not say beforehand what it is for is pulled, and would not run.
      const single = pathOf(yield* ownName("unused"))
      const image = { files: files(), architecture: "s390x", isList: false }
      const singles = yield* fakeRegistry.make({ images: { [single]: image } })
      const pulled = `${singles.host}/${single}`
      const docker = yield* DockerClient.DockerClient
      yield* Effect.addFinalizer(() => Effect.ignore(docker.images.remove(pulled, { force: true })))
      const unusable = yield* failure(ensure(reference(pulled)))
      assert.strictEqual(unusable.tag, "WrongPlatform", unusable.message)
      assert.include(unusable.message, "which is what the engine runs on")
      assert.strictEqual((yield* ensure(reference(pulled, { platform: "linux/s390x" }))).Architecture, "s390x")
      yield* images.ensure("scratch")
      const other = yield* failure(ensure(reference(images.names.scratch, { platform: "linux/s390x", pull: "never" })))
      assert.strictEqual(other.tag, "WrongPlatform", other.message)
      assert.include(other.message, "linux/s390x was asked for")
    })
  )

  engine.live(
    "that arrives damaged is refused",
    Effect.gen(function* () {
      const name = pathOf(yield* ownName("unused"))
      const registry = yield* fakeRegistry.make({ images: { [name]: { files: files() } }, corrupt: true })
      const damaged = yield* failure(ensure(reference(`${registry.host}/${name}`)))
      assert.strictEqual(damaged.tag, "PullFailed", damaged.message)
    })
  )

  engine.live(
    "is not pulled any longer when nobody waits for it",
    Effect.gen(function* () {
      const name = pathOf(yield* ownName("unused"))
      const registry = yield* fakeRegistry.make({ images: { [name]: { files: files() } }, delayMillis: 60_000 })
      const started = yield* Effect.forkChild(Effect.ignore(ensure(reference(`${registry.host}/${name}`))))
      yield* Effect.repeat(Effect.sleep("20 millis"), {
        until: () => registry.requests.filter((request) => request.includes("/blobs/")).length === 2
      })
      yield* Fiber.interrupt(started)
      const again = yield* failure(ensure(reference(`${registry.host}/${name}`, { pull: "never" })))
      assert.strictEqual(again.tag, "ImageNotFound")
    })
  )
})

describe.skipIf(engine.missing !== undefined)(`an image that is built${engine.because}`, () => {
  engine.live(
    "from text or a directory has what they say",
    Effect.gen(function* () {
      yield* images.ensure("shell")
      const disk = yield* FileSystem.FileSystem
      const directory = yield* disk.makeTempDirectoryScoped()
      yield* disk.writeFileString(`${directory}/hello`, "hello")
      const docker = yield* DockerClient.DockerClient
      const tag = yield* ownName("local")
      const steps: Array<string> = []
      const built = yield* ensure(
        {
          _tag: "Build",
          text: `FROM ${images.names.shell}\nARG WHO\nCOPY hello /hello\nRUN echo "$WHO" >>/hello\n`,
          directory,
          tag,
          labels,
          arguments: { WHO: "world" },
          network: "none"
        },
        { onProgress: ({ text }) => Effect.sync(() => void steps.push(text)) }
      )
      assert.deepStrictEqual(built.Config?.Labels[engine.label], "image")
      assert.isTrue(
        steps.some((step) => step.startsWith("Step 4/5 : RUN") || step.startsWith("Step 4/4 : RUN")),
        steps.join("\n")
      )
      assert.strictEqual((yield* docker.images.inspect(tag)).Id, built.Id)
      const { Id } = yield* docker.containers.scoped({
        name: `effect-sandbox-test-${process.pid}-built`,
        spec: { Image: tag, Labels: labels, HostConfig: { NetworkMode: "none" } }
      })
      const contents = yield* docker.containers.getArchive(Id, "/hello").pipe(
        Stream.pipeThroughChannel(Tar.decode()),
        Stream.flatMap(({ body }) => Stream.decodeText(body)),
        Stream.mkString
      )
      assert.strictEqual(contents, "helloworld\n")
    })
  )

  engine.live(
    "badly says at which step it stopped, and what that printed",
    Effect.gen(function* () {
      yield* images.ensure("shell")
      const build = (text: string) => failure(ensure({ _tag: "Build", text, network: "none", labels }))
      const failed = yield* build(`FROM ${images.names.shell}\nRUN echo oh no; exit 3\n`)
      assert.strictEqual(failed.reason._tag, "BuildFailed", failed.message)
      if (failed.reason._tag === "BuildFailed") {
        assert.include(failed.reason.step, "RUN echo oh no; exit 3")
        assert.include(failed.reason.output, "oh no")
        assert.include(failed.reason.description, "3")
      }
      assert.strictEqual((yield* build("NONSENSE")).tag, "BuildFailed")
      assert.strictEqual((yield* build("")).tag, "BuildFailed")
      const nothing = yield* failure(ensure({ _tag: "Build" }))
      assert.include(nothing.message, "neither a directory nor the text of a Dockerfile")
      const file = yield* failure(ensure({ _tag: "Build", directory: "/nonexistent" }))
      assert.include(file.message, "the build context")
    })
  )
})

describe.skipIf(engine.missing !== undefined)(`an image that is imported${engine.because}`, () => {
  engine.live(
    "is the file system in the archive, imported once",
    Effect.gen(function* () {
      const disk = yield* FileSystem.FileSystem
      const archive = `${yield* disk.makeTempDirectoryScoped()}/root.tar`
      yield* Stream.make(Tar.file("hello", "hello")).pipe(
        Stream.pipeThroughChannel(Tar.encode<never, unknown, Tar.Entry<never>>()),
        Stream.run(disk.sink(archive))
      )
      const tag = yield* ownName("local")
      const changes = [`LABEL ${engine.label}=image`, "ENV A=b"]
      const source: DockerImage.Source = { _tag: "Import", archive, tag, changes }
      const [one, two] = yield* Effect.all([ensure(source), ensure(source)], { concurrency: 2 })
      assert.strictEqual(one.Id, two.Id)
      assert.strictEqual((yield* ensure(source)).Id, one.Id)
      assert.deepStrictEqual(one.Config?.Env, ["A=b"])
      const missing = yield* failure(ensure({ _tag: "Import", archive: `${archive}.no`, tag: yield* ownName("local") }))
      assert.strictEqual(missing.tag, "BuildFailed", missing.message)
    })
  )
})
