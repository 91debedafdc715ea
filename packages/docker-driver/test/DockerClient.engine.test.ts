import { assert, describe, it } from "@effect/vitest"
import { NodeServices } from "@effect/platform-node"
import { Cause, Effect, Exit, Fiber, FileSystem, Option, Pull, Scope, Stream } from "effect"
import { Tar } from "effect/encoding"
import * as DockerClient from "../src/DockerClient.ts"
import type { DockerError } from "../src/DockerError.ts"
import * as engine from "./support/engine.ts"
import * as images from "./support/images.ts"

const labels = { [engine.label]: `client-${process.pid}` }
const labelFilter = `${engine.label}=client-${process.pid}`

let counter = 0
const ownName = () => `effect-sandbox-test-${process.pid}-client-${counter++}`

const failure = <A, R>(effect: Effect.Effect<A, DockerError, R>) =>
  Effect.map(Effect.flip(effect), ({ message, reason }) => ({ tag: reason._tag, message }))

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const bytes = (text: string) => new TextEncoder().encode(text)

/** A container that is removed with the scope; created only. */
const container = (command: string, spec: Partial<DockerClient.ContainerSpec> = {}) =>
  Effect.gen(function* () {
    const docker = yield* DockerClient.DockerClient
    const Image = yield* images.ensure("shell")
    const name = ownName()
    const created = yield* docker.containers.scoped({
      name,
      spec: {
        Image,
        Cmd: ["sh", "-c", command],
        OpenStdin: true,
        StdinOnce: true,
        AttachStdin: true,
        AttachStdout: true,
        AttachStderr: true,
        Labels: labels,
        ...spec,
        HostConfig: { NetworkMode: "none", ...spec.HostConfig }
      }
    })
    return { docker, name, id: created.Id }
  })

/** Everything that comes, by stream, until the end. */
const collect = ({ pieces }: DockerClient.Attachment) => {
  const output = { stdout: "", stderr: "" }
  const take = Effect.map(pieces, (taken) => {
    for (const { bytes, source } of taken) output[source] += text(bytes)
  })
  return Effect.forever(take).pipe(Pull.catchDone(() => Effect.succeed(output)))
}

const tarOf = (...entries: ReadonlyArray<Tar.Entry<never>>) =>
  Stream.fromIterable(entries).pipe(
    Stream.pipeThroughChannel(Tar.encode<never, unknown, Tar.Entry<never>>()),
    Stream.orDie
  )

describe.skipIf(engine.missing !== undefined)(`an engine${engine.because}`, () => {
  engine.live(
    "says what it is",
    Effect.gen(function* () {
      const docker = yield* DockerClient.DockerClient
      const spoken = yield* docker.ping
      assert.match(spoken, /^1\.\d+$/)
      const version = yield* docker.version
      assert.strictEqual(version.Os, "linux")
      const info = yield* docker.info
      assert.isAbove(info.NCPU ?? 0, 0)
      assert.isDefined(info.Runtimes["runc"] ?? Object.keys(info.Runtimes)[0])
    })
  )
})

describe.skipIf(engine.missing !== undefined)(`a container${engine.because}`, () => {
  engine.live(
    "is attached to before it starts, so that nothing is missed",
    Effect.gen(function* () {
      const { docker, id, name } = yield* container("echo out; echo err >&2; cat; exit 7")
      const attachment = yield* docker.containers.attach(id)
      const waiting = yield* Effect.forkChild(docker.containers.wait(id, "next-exit"))
      yield* docker.containers.start(id)
      // It has started already: that is as asked for.
      yield* docker.containers.start(id)
      yield* attachment.write(bytes("in"), bytes("put\n"))
      yield* attachment.end
      assert.deepStrictEqual(yield* collect(attachment), { stdout: "out\ninput\n", stderr: "err\n" })
      assert.strictEqual((yield* Fiber.join(waiting)).StatusCode, 7)
      assert.strictEqual((yield* docker.containers.wait(id)).StatusCode, 7)
      const state = (yield* docker.containers.inspect(name)).State
      assert.deepStrictEqual([state.Status, state.ExitCode], ["exited", 7])
      const logs = yield* Stream.runCollect(docker.containers.logs(id))
      assert.strictEqual(logs.map(({ bytes, source }) => `${source} ${text(bytes)}`).sort()[0], "stderr err\n")
    })
  )

  engine.live(
    "that nobody reads from stands still, and fills no memory",
    Effect.gen(function* () {
      const { docker, id } = yield* container("dd if=/dev/zero bs=65536 count=3200 2>/dev/null; echo done >&2", {
        HostConfig: { LogConfig: { Type: "none" } }
      })
      const { pieces } = yield* docker.containers.attach(id)
      yield* docker.containers.start(id)
      yield* Effect.sleep("1 second")
      const before = process.memoryUsage.rss()
      assert.isTrue((yield* docker.containers.inspect(id)).State.Running)
      yield* Effect.sleep("1 second")
      assert.isTrue((yield* docker.containers.inspect(id)).State.Running)
      assert.isBelow(process.memoryUsage.rss() - before, 50_000_000)
      let length = 0
      const take = Effect.map(pieces, (taken) => {
        for (const { bytes, source } of taken) if (source === "stdout") length += bytes.length
      })
      yield* Effect.forever(take).pipe(Pull.catchDone(() => Effect.void))
      assert.strictEqual(length, 3200 * 65_536)
    })
  )

  engine.live(
    "takes input no faster than it reads",
    Effect.gen(function* () {
      const { docker, id } = yield* container("sleep 1; wc -c")
      const attachment = yield* docker.containers.attach(id)
      yield* docker.containers.start(id)
      const chunk = new Uint8Array(1_000_000)
      let sent = 0
      const sending = yield* Effect.forkChild(
        Effect.repeat(
          Effect.tap(attachment.write(chunk), () => Effect.sync(() => sent++)),
          { times: 39 }
        )
      )
      yield* Effect.sleep("500 millis")
      assert.isBelow(sent, 20)
      yield* Fiber.join(sending)
      yield* attachment.end
      assert.strictEqual((yield* collect(attachment)).stdout.trim(), "40000000")
    })
  )

  engine.live(
    "loses its input with the scope of the attachment: that is the lease",
    Effect.gen(function* () {
      const { docker, id } = yield* container("cat >/dev/null; echo gone")
      const scope = yield* Scope.make()
      yield* Scope.provide(docker.containers.attach(id), scope)
      yield* docker.containers.start(id)
      const waiting = yield* Effect.forkChild(docker.containers.wait(id))
      yield* Effect.sleep("100 millis")
      assert.isTrue((yield* docker.containers.inspect(id)).State.Running)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(waiting)).StatusCode, 0)
    })
  )

  engine.live(
    "that dies ends its attachment, and fails what is written after",
    Effect.gen(function* () {
      const { docker, id } = yield* container("sleep 1000")
      const attachment = yield* docker.containers.attach(id)
      yield* docker.containers.start(id)
      const reading = yield* Effect.forkChild(collect(attachment))
      yield* docker.containers.kill(id)
      yield* Fiber.join(reading)
      assert.strictEqual((yield* failure(attachment.write(bytes("x")))).tag, "ConnectionLost")
      assert.strictEqual((yield* docker.containers.wait(id)).StatusCode, 137)
    })
  )

  engine.live(
    "is paused, signalled and stopped",
    Effect.gen(function* () {
      const { docker, id } = yield* container("trap 'echo hup; exit 3' HUP; while :; do sleep 0.05; done")
      const attachment = yield* docker.containers.attach(id)
      assert.strictEqual((yield* failure(docker.containers.pause(id))).tag, "WrongState")
      yield* docker.containers.start(id)
      yield* docker.containers.pause(id)
      assert.isTrue((yield* docker.containers.inspect(id)).State.Paused)
      assert.strictEqual((yield* failure(docker.containers.pause(id))).tag, "WrongState")
      yield* docker.containers.unpause(id)
      yield* Effect.sleep("200 millis")
      yield* docker.containers.kill(id, "SIGHUP")
      assert.strictEqual((yield* collect(attachment)).stdout, "hup\n")
      assert.strictEqual((yield* docker.containers.wait(id)).StatusCode, 3)
      yield* docker.containers.stop(id, 1)
      assert.strictEqual((yield* failure(docker.containers.kill(id))).tag, "WrongState")
    })
  )

  engine.live(
    "has files that go in and out as archives, also before it has started",
    Effect.gen(function* () {
      const { docker, id } = yield* container("cat /work/deep/file")
      const archive = tarOf(Tar.directory("work"), Tar.directory("work/deep"), Tar.file("work/deep/file", "héllo"))
      yield* docker.containers.putArchive(id, "/", archive)
      const stat = yield* docker.containers.statPath(id, "/work/deep/file")
      assert.deepStrictEqual([stat.name, stat.size], ["file", 6])
      const back = yield* docker.containers.getArchive(id, "/work").pipe(
        Stream.pipeThroughChannel(Tar.decode()),
        Stream.mapEffect(({ body, header }) =>
          Effect.map(Stream.mkString(Stream.decodeText(body)), (content) => `${header.path} ${content}`)
        ),
        Stream.runCollect
      )
      assert.deepStrictEqual(back.sort(), ["work/ ", "work/deep/ ", "work/deep/file héllo"])
      for (const attempt of [
        docker.containers.statPath(id, "/no"),
        Stream.runDrain(docker.containers.getArchive(id, "/no")),
        docker.containers.putArchive(id, "/no", tarOf(Tar.file("a", "b")))
      ]) {
        assert.strictEqual((yield* failure<unknown, never>(attempt)).tag, "NotFound")
      }
    })
  )

  engine.live(
    "becomes an image with what it has written",
    Effect.gen(function* () {
      const { docker, id } = yield* container("echo kept >/kept")
      yield* docker.containers.start(id)
      yield* docker.containers.wait(id)
      const tag = `effect-sandbox-test-${process.pid}/snapshot:1`
      const image = yield* Effect.acquireRelease(
        docker.containers.commit(id, { tag, labels, changes: ['CMD ["cat", "/kept"]'] }),
        () => Effect.ignore(docker.images.remove(tag, { force: true }))
      )
      assert.strictEqual((yield* docker.images.inspect(tag)).Id, image)
      assert.deepStrictEqual(
        (yield* docker.images.list({ labels: [labelFilter] })).map(({ Id, RepoTags }) => [Id, ...RepoTags]),
        [[image, tag]]
      )
      yield* Effect.scoped(
        Effect.gen(function* () {
          const copy = yield* container("cat /kept", { Image: image })
          const attachment = yield* docker.containers.attach(copy.id)
          yield* docker.containers.start(copy.id)
          assert.strictEqual((yield* collect(attachment)).stdout, "kept\n")
        })
      )
      const other = `effect-sandbox-test-${process.pid}/other:2`
      yield* docker.images.tag(image, other)
      yield* docker.images.remove(other)
      assert.strictEqual((yield* failure(docker.images.inspect(other))).tag, "ImageNotFound")
    })
  )

  engine.live(
    "tells its statistics while it runs",
    Effect.gen(function* () {
      const { docker, id } = yield* container("cat", {
        HostConfig: { Memory: 64 * 1024 * 1024, PidsLimit: 32 }
      })
      yield* docker.containers.attach(id)
      yield* docker.containers.start(id)
      const stats = yield* Stream.runHead(docker.containers.stats(id))
      assert.isTrue(Option.isSome(stats))
      if (Option.isSome(stats)) {
        assert.strictEqual(stats.value.memory_stats.limit, 64 * 1024 * 1024)
        assert.isAbove(stats.value.pids_stats.current ?? 0, 0)
        assert.isAbove(stats.value.cpu_stats.cpu_usage.total_usage, 0)
      }
    })
  )

  engine.live(
    "is removed with its scope, found by its labels, and its name given once",
    Effect.gen(function* () {
      const docker = yield* DockerClient.DockerClient
      const scope = yield* Scope.make()
      const { id, name } = yield* Scope.provide(container("cat"), scope)
      yield* Effect.scoped(docker.containers.attach(id))
      yield* docker.containers.start(id)
      const ours = Effect.map(docker.containers.list({ labels: [labelFilter] }), (found) =>
        found.filter(({ Names }) => Names.includes(`/${name}`))
      )
      const [found] = yield* ours
      assert.strictEqual(found?.Id, id)
      assert.strictEqual(found?.Labels[engine.label], labels[engine.label])
      const taken = yield* failure(docker.containers.create({ name, spec: { Image: images.names.shell } }))
      assert.strictEqual(taken.tag, "NameConflict", taken.message)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* ours, [])
      assert.strictEqual((yield* failure(docker.containers.inspect(id))).tag, "NotFound")
      // There is nothing to be removed any more, which is as asked for.
      yield* docker.containers.remove(id)
    })
  )

  engine.live(
    "that is interrupted while it is made is not left behind",
    Effect.gen(function* () {
      const docker = yield* DockerClient.DockerClient
      yield* images.ensure("shell")
      for (const delay of [0, 1, 5, 20, 50]) {
        const fiber = yield* Effect.forkChild(Effect.scoped(Effect.andThen(container("cat"), Effect.never)))
        yield* Effect.sleep(delay)
        yield* Fiber.interrupt(fiber)
      }
      const left = (yield* docker.containers.list({ labels: [labelFilter] })).filter(({ State }) => State === "created")
      // Other tests of this file may have some at the same time, which are gone in a moment.
      yield* Effect.forEach(left, ({ Id }) => docker.containers.wait(Id, "removed").pipe(Effect.timeout("50 seconds")))
    })
  )

  engine.live(
    "of an image that there is not, or with options that there are not, is refused",
    Effect.gen(function* () {
      const docker = yield* DockerClient.DockerClient
      const Image = yield* images.ensure("shell")
      const create = (spec: DockerClient.ContainerSpec) =>
        Effect.map(
          failure(docker.containers.create({ name: ownName(), spec: { Cmd: ["cat"], Labels: labels, ...spec } })),
          ({ tag }) => tag
        )
      assert.strictEqual(yield* create({ Image: "effect-sandbox-test/nothing:1" }), "ImageNotFound")
      assert.strictEqual(yield* create({ Image, HostConfig: { Memory: 1 } }), "InvalidRequest")
      const noCommand = yield* container("x", { Cmd: ["/nonexistent"] })
      const { message, tag } = yield* failure(docker.containers.start(noCommand.id))
      assert.strictEqual(tag, "InvalidRequest", message)
      assert.include(message, "/nonexistent")
    })
  )
})

describe.skipIf(engine.missing !== undefined)(`volumes and networks${engine.because}`, () => {
  engine.live(
    "are made, found by their labels, and removed when nobody uses them",
    Effect.gen(function* () {
      const docker = yield* DockerClient.DockerClient
      const name = ownName()
      const volume = yield* Effect.acquireRelease(docker.volumes.create({ name, labels }), () =>
        Effect.ignore(docker.volumes.remove(name))
      )
      assert.strictEqual(volume.Name, name)
      assert.deepStrictEqual(
        (yield* docker.volumes.list([labelFilter])).map(({ Name }) => Name),
        [name]
      )
      assert.deepStrictEqual((yield* docker.volumes.inspect(name)).Labels, labels)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* container("cat", { HostConfig: { Mounts: [{ Type: "volume", Source: name, Target: "/data" }] } })
          assert.strictEqual((yield* failure(docker.volumes.remove(name))).tag, "WrongState")
        })
      )
      yield* docker.volumes.remove(name)
      assert.strictEqual((yield* failure(docker.volumes.remove(name))).tag, "NotFound")

      const network = yield* Effect.acquireRelease(docker.networks.create({ name, labels, internal: true }), () =>
        Effect.ignore(docker.networks.remove(name))
      )
      assert.strictEqual((yield* failure(docker.networks.create({ name, labels }))).tag, "NameConflict")
      const found = (yield* docker.networks.list([labelFilter])).find(({ Name }) => Name === name)
      assert.deepStrictEqual([found?.Id, found?.Internal], [network.Id, true])
      yield* Effect.scoped(
        Effect.gen(function* () {
          // Another of our own: engines need not have a bridge.
          const other = `${name}-other`
          yield* Effect.acquireRelease(docker.networks.create({ name: other, labels, internal: true }), () =>
            Effect.ignore(docker.networks.remove(other))
          )
          const { id } = yield* container("cat", { HostConfig: { NetworkMode: other } })
          yield* docker.containers.attach(id)
          yield* docker.networks.connect(name, id, { aliases: ["web"] })
          yield* docker.containers.start(id)
          assert.deepStrictEqual(Object.keys((yield* docker.networks.inspect(name)).Containers), [id])
          yield* docker.networks.disconnect(name, id)
        })
      )
      yield* docker.networks.remove(name)
      assert.strictEqual((yield* failure(docker.networks.inspect(name))).tag, "NotFound")
    })
  )
})

describe.skipIf(engine.missing !== undefined)(`events${engine.because}`, () => {
  engine.live(
    "tell of what happens to what has a label",
    Effect.gen(function* () {
      const docker = yield* DockerClient.DockerClient
      yield* images.ensure("shell")
      const mark = { [engine.label]: `events-${process.pid}` }
      const seen: Array<string> = []
      const watching = yield* Effect.forkChild(
        docker
          .events({ labels: [`${engine.label}=events-${process.pid}`], types: ["container"] })
          .pipe(
            Stream.runForEach((event) =>
              Effect.sync(() => seen.push(`${event.Action} ${event.Actor.Attributes["exitCode"] ?? ""}`))
            )
          )
      )
      yield* Effect.sleep("300 millis")
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { id } = yield* container("exit 5", { Labels: mark })
          yield* docker.containers.start(id)
          yield* docker.containers.wait(id)
        })
      )
      yield* Effect.repeat(Effect.sleep("20 millis"), {
        until: () => seen.includes("destroy 5") || seen.includes("destroy ")
      }).pipe(Effect.timeout("10 seconds"))
      yield* Fiber.interrupt(watching)
      assert.includeMembers(seen, ["create ", "start ", "die 5"])
    })
  )
})

/** An `ssh` that goes nowhere: the command that is to run there runs here. */
const pretendSsh = (script: string) =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const directory = yield* files.makeTempDirectoryScoped()
    yield* files.writeFileString(`${directory}/ssh`, `#!/bin/sh\n${script}\n`)
    yield* files.chmod(`${directory}/ssh`, 0o755)
    const before = process.env["PATH"]
    process.env["PATH"] = `${directory}:${before}`
    return () => {
      process.env["PATH"] = before
    }
  })

describe.skipIf(engine.missing !== undefined)(`an engine behind ssh${engine.because}`, () => {
  it.live("is spoken to through docker system dial-stdio", () =>
    Effect.gen(function* () {
      // Everything up to -- is for ssh, then comes the host, then the command.
      const restore = yield* pretendSsh('while [ "$1" != -- ]; do shift; done; shift 2; exec "$@"')
      const docker = yield* DockerClient.make({ connection: "ssh://me@far" })
      assert.match(yield* docker.ping, /^1\./)
      const Image = yield* images.ensure("shell").pipe(Effect.provideService(DockerClient.DockerClient, docker))
      const { Id } = yield* docker.containers.scoped({
        name: ownName(),
        spec: {
          Image,
          Cmd: ["cat"],
          OpenStdin: true,
          StdinOnce: true,
          AttachStdin: true,
          AttachStdout: true,
          Labels: labels,
          HostConfig: { NetworkMode: "none" }
        }
      })
      const attachment = yield* docker.containers.attach(Id)
      yield* docker.containers.start(Id)
      yield* attachment.write(bytes("far away"))
      yield* attachment.end
      assert.strictEqual((yield* collect(attachment)).stdout, "far away")

      restore()
      // An engine that cannot be reached says what ssh said.
      const restoreAgain = yield* pretendSsh("echo 'me@far: Permission denied (publickey).' >&2; exit 255")
      const refused = yield* DockerClient.make({ connection: "ssh://me@far" })
      const { message, tag } = yield* failure(refused.ping)
      restoreAgain()
      assert.strictEqual(tag, "EngineUnavailable", message)
      assert.include(message, "ssh says: me@far: Permission denied (publickey).")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})

describe.skipIf(engine.missing !== undefined)(`an attachment${engine.because}`, () => {
  engine.live(
    "that is interrupted is closed",
    Effect.gen(function* () {
      const { docker, id } = yield* container("cat; echo gone")
      const fiber = yield* Effect.forkChild(
        Effect.scoped(Effect.flatMap(docker.containers.attach(id), ({ pull }) => Effect.forever(pull))).pipe(
          Effect.catchCause((cause) => (Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.failCause(cause)))
        )
      )
      yield* Effect.sleep("200 millis")
      yield* docker.containers.start(id)
      yield* Effect.sleep("200 millis")
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* docker.containers.wait(id).pipe(Effect.timeout("10 seconds"))).StatusCode, 0)
    })
  )
})
